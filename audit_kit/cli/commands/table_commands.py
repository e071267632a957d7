"""Commands that need no engagement: files read, matched, and the forms to fill in."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from audit_kit.cli.options import add_out, pair, print_json, table_named, told
from audit_kit.core.errors import EXIT_DONE, AuditError
from audit_kit.core.files import shown

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

    from audit_kit.cli.parsing import Parser


def add(command: Callable[..., Parser]) -> None:
    """Add `inspect`, `dictionary`, `causes`, `templates` and `reconcile` to the command line."""
    sub = command("inspect", _inspect, "command.inspect", "inspect 平台导出.xlsx")
    sub.add_argument("files", nargs="+", metavar="metavar.file", help="option.files")
    sub.add_argument("--table", metavar="metavar.name", help="option.table")
    sub.add_argument(
        "--heading",
        action="append",
        type=pair,
        default=[],
        metavar="metavar.heading",
        help="option.heading",
    )

    sub = command(
        "dictionary",
        _dictionary,
        "command.dictionary",
        "dictionary --lang en --out docs/data-dictionary.md",
        json_too=False,
    )
    sub.add_argument("--out", type=Path, help="option.page_out")

    sub = command(
        "causes",
        _causes,
        "command.causes",
        "causes --lang en --out docs/causes.md",
        json_too=False,
    )
    sub.add_argument("--out", type=Path, help="option.page_out")

    sub = command(
        "templates",
        _templates,
        "command.templates",
        "templates engagements/acme/forms",
    )
    sub.add_argument("folder", type=Path, metavar="metavar.dir")
    sub.add_argument("--table", action="append", default=[], metavar="metavar.name", help="option.only_table")

    sub = command(
        "reconcile",
        _reconcile,
        "command.reconcile",
        "reconcile ledger.xlsx platform.xlsx --out matches.xlsx",
    )
    sub.add_argument("ledger", type=Path, metavar="metavar.ledger")
    sub.add_argument("platform", type=Path, metavar="metavar.platform")
    sub.add_argument("--engine", choices=("local", "spark"), default="local", help="option.engine")
    add_out(sub)


def _inspect(options: argparse.Namespace) -> int:
    from audit_kit.cli.inspection import inspection
    from audit_kit.loaders.read import files_named, inspect

    table = table_named(options.table) if options.table else None
    lang = "en" if options.json else options.lang
    tables, code = [], EXIT_DONE
    for file in (file for text in options.files for file in files_named(text)):
        try:
            tables += inspect([file], table=table, headings=dict(options.heading), lang=lang)
        except AuditError as error:  # the other files are shown all the same
            print(f"audit-kit: {shown(error.said(options.lang))}", file=sys.stderr)
            code = error.exit_code
    if options.json:
        print_json(tables)
    elif tables:
        print(inspection(tables, lang=options.lang))
    return code


def _dictionary(options: argparse.Namespace) -> int:
    from audit_kit.cli.dictionary import data_dictionary

    return _page(data_dictionary(options.lang), options.out)


def _causes(options: argparse.Namespace) -> int:
    from audit_kit.cli.cause_page import cause_page

    return _page(cause_page(options.lang), options.out)


def _page(text: str, out: Path | None) -> int:
    """Print a page, or write it."""
    from audit_kit.core import outputs

    if out is None:
        print(text, end="")
    else:
        with outputs.writing(out) as made:
            made.write_text(text, encoding="utf-8")
    return EXIT_DONE


def _templates(options: argparse.Namespace) -> int:
    from audit_kit.loaders.tables.templates import write_templates

    paths = write_templates(options.folder, tables=options.table or None)
    if options.json:
        print_json([str(path) for path in paths])
    else:
        print("\n".join(str(path) for path in paths))
    return EXIT_DONE


def _reconcile(options: argparse.Namespace) -> int:
    from audit_kit.cli.reconcile_to import reconcile_to

    found = reconcile_to(options.ledger, options.platform, options.out, engine=options.engine, lang=options.lang)
    return told(dict(found.sort("len", descending=True).iter_rows()), "outcome", options)
