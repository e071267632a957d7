"""What the commands share: options, and how a result is printed."""

from __future__ import annotations

import argparse
import json
import sys
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from audit_kit.core.errors import EXIT_DONE, RequestError
from audit_kit.core.files import shown
from audit_kit.core.words import Words, reader_language
from audit_kit.resources.languages import Listed, Phrase

if TYPE_CHECKING:
    import polars as pl

    from audit_kit.loaders.engagement.engagement import Engagement


def add_out(sub: argparse.ArgumentParser) -> None:
    """Add `--out`, whose ending decides how a table is written."""
    sub.add_argument("--out", type=Path, required=True, help="option.out")


def add_without(sub: argparse.ArgumentParser) -> None:
    """Add `--without`, which leaves files of the engagement out on the user's word."""
    sub.add_argument(
        "--without",
        action="append",
        default=[],
        metavar="metavar.file",
        help="option.without",
    )


def opened(options: argparse.Namespace) -> Engagement:
    """Return the engagement of a command, having said on stderr which of its files are not used."""
    from audit_kit.loaders.engagement.engagement import open_engagement
    from audit_kit.report.progress import unused_lines

    engagement = open_engagement(options.engagement, without=options.without)
    for line in unused_lines(engagement.unused, lang=options.lang):
        print(line, file=sys.stderr)
    return engagement


def table_named(name: str) -> str:
    """Return the table that a person names, by our name or its Chinese or English title.

    Raises:
        RequestError: there is no such table.
    """
    from audit_kit.core import schema

    titles = {
        word: table
        for table in schema.INPUTS
        for word in (table, *(Words(of).term("table", table) for of in ("zh", "en")))
    }
    folded = {word.casefold(): table for word, table in titles.items()}
    if (table := folded.get(name.strip().casefold())) is None:
        known = Listed(*(Phrase(f"table.{table}") for table in schema.INPUTS), by="answer.comma")
        raise RequestError("init.no_such_table", table=shown(name), known=known)
    return table


def counted(frame: pl.DataFrame, column: str, options: argparse.Namespace) -> int:
    """Print how many rows have each word of a column, and return the exit code."""
    counts = dict(frame[column].drop_nulls().value_counts(sort=True).iter_rows())
    return told(counts, column, options, rows=frame.height)


def told(counts: dict[str, int], column: str, options: argparse.Namespace, *, rows: int | None = None) -> int:
    """Print what was written, and how many rows of each word; return the exit code."""
    out = shown(str(getattr(options, "out", getattr(options, "folder", ""))))
    rows = sum(counts.values()) if rows is None else rows
    if options.json:
        print_json({"out": out, "rows": rows, column: counts})
    else:
        words = Words(options.lang)
        labels = words.causes(counts) if column == "cause" else words.terms("outcomes", counts)
        print("\n".join([f"{out}: {rows:,}", *(f"{count:>12,}  {labels[word]}" for word, count in counts.items())]))
    return EXIT_DONE


def print_json(value: object) -> None:
    """Print a result as JSON."""
    print(json.dumps(value, ensure_ascii=False, indent=2, default=str))


def pair(text: str) -> tuple[str, str]:
    """Return the two sides of NAME=VALUE."""
    name, mark, value = text.partition("=")
    if not (name and mark and value):
        raise wrong("fault.pair", text=text)
    return name, value


def moment(text: str) -> datetime:
    """Return a time as it is typed, in Beijing time."""
    try:
        return datetime.fromisoformat(text).replace(tzinfo=None)
    except ValueError:
        raise wrong("fault.moment", text=text) from None


def wrong(key: str, **fields: object) -> argparse.ArgumentTypeError:
    """Return the error for a word of the command line that is not of its kind, in the reader's language."""
    return argparse.ArgumentTypeError(Words(reader_language())(key, **fields))
