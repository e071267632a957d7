"""What the sentences of several pages share: shares, lists, the lost with their interval, sources that are absent."""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from decimal import Decimal

    from audit_kit.core.words import Words
    from audit_kit.views.show.page import Page

MOST_UNREAD = 5  # words that a sentence names
LONGEST_WORD = 30


def ratio(part: Decimal | float | None, whole: Decimal | float | None) -> float | None:
    """Return a share 0-1, null where there is no whole."""
    return float(part) / float(whole) if part is not None and whole else None


def percent(share: float) -> str:
    """Return a share 0-1 as per cent with two decimals."""
    return f"{100 * share:.2f}%"


def listed(words: Words, names: Iterable[str]) -> str:
    """Return names one after the other, as the language lists them."""
    return words("answer.comma").join(names)


def bounds(words: Words, lost: Mapping[str, float]) -> dict[str, str]:
    """Return how many are really lost, and the ends of the interval, as fields of a sentence; see lost_interval."""
    return {
        name: words.count(lost[key]) for name, key in (("lost", "expected"), ("lower", "lower"), ("upper", "upper"))
    }


def unread_words(page: Page) -> str:
    """Return a sentence that names the words in the sources that no vocabulary knows, by file and rows; else none."""
    words, read = page.words, page.whole.files.select("source_file", "unread").explode("unread")
    rows = read.drop_nulls("unread").unnest("unread").sort("rows", descending=True, maintain_order=True)
    if rows.is_empty():
        return ""
    count = words.count(rows["rows"].sum())
    if page.redact:  # a word that nobody knows may be a name
        return words("answer.unread_count", rows=count)
    named = [
        words("answer.unread_word", file=file, column=column, word=word[:LONGEST_WORD], rows=words.count(number))
        for file, column, word, number in rows.head(MOST_UNREAD).iter_rows()
    ]
    return words("answer.unread", rows=count, list=listed(words, named))


def unknown_sources(page: Page, wanted: tuple[str, ...]) -> str:
    """Return a sentence that names the sources that are not there, and that their questions stay unknown."""
    absent = [page.words.term("table", table) for table in wanted if not page.whole.engagement.has(table)]
    return page.words("answer.absent", list=listed(page.words, absent)) if absent else ""


def undated(page: Page) -> str:
    """Return a sentence on the ledger rows without a date of issue: they are of no month, so each month counts them."""
    work = page.analysis
    if "issued_at" not in work.ledger.columns or not work.ledger["issued_at"].null_count():
        return ""
    gone = work.matches.filter(pl.col("outcome").cast(pl.String) == "missing")["ledger_row"].drop_nulls()
    rows = work.ledger.with_row_index("ledger_row").filter(pl.col("issued_at").is_null())
    missing = rows.filter(pl.col("ledger_row").is_in(gone.implode()))
    return page.words(
        "answer.undated",
        rows=page.words.count(rows.height),
        missing=page.words.count(missing.height),
        yuan=page.words.yuan(missing["gross"].sum()),
    )
