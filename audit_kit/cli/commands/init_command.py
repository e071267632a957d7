"""`audit-kit init`: what the files of a folder seem to be, shown, asked about, and written as an audit.toml."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from audit_kit.cli.inspection import columns_of
from audit_kit.cli.options import table_named
from audit_kit.core.errors import EXIT_DONE, EngagementError, RequestError
from audit_kit.core.files import shown
from audit_kit.core.words import Words

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

    from audit_kit.cli.parsing import Parser
    from audit_kit.loaders.engagement.proposal import Guess, Proposal

NOT_USED = "-"
DIRECTIONS = ("issued", "received")


def add(command: Callable[..., Parser]) -> None:
    """Add `init` to the command line."""
    sub = command(
        "init",
        _init,
        "command.init",
        "init engagements/acme",
        json_too=False,
    )
    sub.add_argument("folder", type=Path, metavar="metavar.folder")
    sub.add_argument("--yes", action="store_true", help="option.yes")


def _init(options: argparse.Namespace) -> int:
    from audit_kit.core import outputs
    from audit_kit.loaders.engagement.proposal import propose
    from audit_kit.loaders.engagement.settings import FILE

    words = Words(options.lang)
    file = options.folder / FILE
    if file.exists():
        raise EngagementError("error_cli.settings_there", file=shown(str(file)))
    if not options.yes and not sys.stdin.isatty():
        raise RequestError("error_cli.init_asks")
    proposal = propose(options.folder)
    guesses = tuple(_agreed(guess, options, words) for guess in proposal.guesses)
    proposal = replace(proposal, guesses=guesses)
    if not options.yes:
        proposal = _terms(proposal, words)
    with outputs.writing(file) as made:
        made.write_text(settings(proposal, words), encoding="utf-8")
    print(words("init.written", file=shown(str(file)), folder=shown(str(options.folder))))
    return EXIT_DONE


def _agreed(guess: Guess, options: argparse.Namespace, words: Words) -> Guess:
    """Show a guess, and return what a person makes of it."""
    print("\n".join(_shown(guess, words)))
    if options.yes or (guess.table is None and not guess.columns):
        return guess
    while True:
        asked = words("init.ask_which") if guess.table is None else words("init.ask_table", table=_called(guess, words))
        answer = input(f"  {asked}").strip()
        if answer == NOT_USED or not (answer or guess.table):
            return replace(guess, table=None)
        if not answer:
            return guess
        try:
            return _named(guess, table_named(answer), options.folder, words)
        except RequestError as error:
            print(f"  {error.said(words.lang)}")


def _named(guess: Guess, table: str, folder: Path, words: Words) -> Guess:
    """Return a file as the table that a person names, having asked for the columns that it lacks."""
    from audit_kit.core import schema
    from audit_kit.loaders.engagement.proposal import guess as guessed
    from audit_kit.loaders.tables import headers
    from audit_kit.loaders.tables.templates import SHAPES

    shape = SHAPES.get(table, table)
    again = guessed(folder / guess.file, file=guess.file, table=table) if guess.columns else guess
    again = replace(again, table=table)
    names = [column.theirs for column in again.columns]
    chosen = dict(again.headings)
    for group in headers.missing(headers.place(names, shape, chosen)) if names else ():
        print("  " + "   ".join(f"{at} {shown(name)}" for at, name in enumerate(names, start=1)))
        wanted = schema.headers(shape)[group[0]]
        while answer := input(f"  {words('init.ask_column', column=wanted)}").strip():
            name = names[int(answer) - 1] if answer.isdecimal() and 0 < int(answer) <= len(names) else answer
            if name in names:
                chosen[name] = group[0]
                break
            print(f"  {words('init.no_such_column')}")
    return replace(again, headings=chosen)


def _terms(proposal: Proposal, words: Words) -> Proposal:
    """Ask on what terms the files are audited; an empty answer takes what stands in brackets."""

    def asked(key: str, known: str | None) -> str | None:
        offer = f" [{known}]" if known else ""
        return input(f"{words(f'init.{key}')}{offer}: ").strip() or known

    name = asked("ask_name", proposal.name) or proposal.name
    tax_id, company = asked("ask_id", proposal.taxpayer_id), asked("ask_company", proposal.taxpayer_name)
    known = {words(f"init.{direction}"): direction for direction in DIRECTIONS} | {name: name for name in DIRECTIONS}
    while (answer := asked("ask_direction", words(f"init.{proposal.direction}"))) not in known:
        print(words("init.no_direction"))
    direction = known[answer]
    taken_at = None
    while taken_at is None and (answer := asked("ask_taken", None)):
        try:
            taken_at = datetime.fromisoformat(answer).replace(tzinfo=None)
        except ValueError:
            print(words("init.no_time"))
    return replace(
        proposal, name=name, taxpayer_id=tax_id, taxpayer_name=company, direction=direction, taken_at=taken_at
    )


def _called(guess: Guess, words: Words) -> str:
    return words.term("table", guess.table)


def _shown(guess: Guess, words: Words) -> list[str]:
    """Return the lines that tell a person what a file seems to be."""
    sheet = f" · {shown(guess.sheet)}" if guess.sheet else ""
    row = f"   {words('init.header_row', row=guess.header_row)}" if guess.header_row else ""
    table = words("init.nothing") if guess.table is None else f"{_called(guess, words)} ({guess.table})"
    lines = ["", f"{guess.file}{sheet}", f"  {words('console.table')}: {table}{row}"]
    if guess.columns:
        lines.append(f"  {words('init.columns')}:")
    ours = {None: "–"} | (columns_of(guess.table, words) if guess.table else {})
    for column in guess.columns:
        values = "；".join(column.samples)
        name = ours.get(column.ours, column.ours)
        lines.append(f"    {shown(column.theirs)} → {name}" + (f"   ({values})" if values else ""))
    return [*lines, *(f"  {words('init.doubt', doubt=doubt.said(words.lang))}" for doubt in guess.doubts)]


def settings(proposal: Proposal, words: Words) -> str:
    """Return an audit.toml that says what was agreed, every line with what it means."""
    lines = [f"# {words('init.toml_top')}", "", "[engagement]", f"name = {_text(proposal.name)}"]
    lines.append(f"# {words('init.toml_id')}")
    lines.append(f"taxpayer_id = {_text(proposal.taxpayer_id)}" if proposal.taxpayer_id else '# taxpayer_id = ""')
    if proposal.taxpayer_name:
        lines.append(f"taxpayer_name = {_text(proposal.taxpayer_name)}")
    lines += [f"# {words('init.toml_direction')}", f"direction = {_text(proposal.direction)}"]
    taken = f"{proposal.taken_at:%Y-%m-%dT%H:%M:%S}" if proposal.taken_at else None
    lines.append(f"# {words('init.toml_taken')}")
    lines.append(f"taken_at = {taken}" if taken else "# taken_at = 2025-06-10T09:00:00")
    lines += ["", f"# {words('init.toml_period')}", "# [export]"]
    lines += ["# period_start = 2025-05-01T00:00:00", "# period_end = 2025-06-01T00:00:00"]
    lines += ["", f"# {words('init.toml_sources')}", "[sources]"]
    for table, files in proposal.sources.items():
        names = [_text(file) for file in files]
        lines.append(f"{table} = {names[0] if len(names) == 1 else '[' + ', '.join(names) + ']'}")
    for guess in proposal.guesses:
        if guess.table is None:
            why = "；".join(doubt.said(words.lang) for doubt in guess.doubts) or words("init.nothing")
            lines.append(f"# {shown(words('init.toml_unused', file=guess.file, why=why))}")
    if proposal.headings:
        lines += ["", f"# {words('init.toml_headers')}", "[headers]"]
        lines += [f"{_text(theirs)} = {_text(ours)}" for theirs, ours in proposal.headings.items()]
    return "\n".join(lines) + "\n"


def _text(text: str | None) -> str:
    """Return a text as TOML writes it."""
    return json.dumps(text or "", ensure_ascii=False).replace("\x7f", "\\u007f")
