"""What the sentences of several pages share: shares, lists, the late and the lost, sources that are absent."""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl

from audit_kit.rules.sync.lateness import lost_interval
from audit_kit.rules.sync.service_level import timed

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from datetime import datetime
    from decimal import Decimal

    from audit_kit.analysis.analysis import Analysis
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


def likely(words: Words, findings: pl.DataFrame) -> dict[str, str]:
    """Return the missing ones with a chance, and how many of them are merely late or will not come: see lost_interval.

    Fields of a sentence: `missing`, `late`, `lost` (whole numbers that add up), `lower`, `upper` (90 %, of the lost);
    none where no chance was estimated.
    """
    chances = findings["probability_late"].drop_nulls()
    if chances.is_empty():
        return {}
    lost = lost_interval(chances)
    never = round(lost["expected"])
    counts = {"missing": len(chances), "late": len(chances) - never, "lost": never}
    return {name: words.count(count) for name, count in counts.items()} | bounds(words, lost)


def bounds(words: Words, interval: Mapping[str, float]) -> dict[str, str]:
    """Return the ends of an interval as fields of a sentence."""
    return {name: words.count(interval[name]) for name in ("lower", "upper")}


def untimed(work: Analysis) -> bool:
    """Tell whether no time of arrival is known, so that chances rest on what is listed at each age alone."""
    return timed(work.observations).is_empty()


def stood_still(observations: pl.DataFrame, taken_at: datetime) -> bool:
    """Tell whether the time of a stop was taken off any of these delays and waits."""
    until = pl.when("visible").then("visible_at").otherwise(pl.lit(taken_at))
    passed = (until - pl.col("issued_at")).dt.total_seconds() / 60
    return bool(observations.select((passed - pl.col("minutes") > 1).any()).item())


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


def withheld(page: Page) -> str:
    """Return a sentence that says which columns of persons were not read in, and how many cells; else none."""
    told = page.whole.files.select("withheld").explode("withheld").drop_nulls().unnest("withheld")
    if told.is_empty():
        return ""
    columns = told["column"].str.slice(0, LONGEST_WORD).unique(maintain_order=True).head(MOST_UNREAD)
    cells = page.words.count(told["cells"].sum())
    return page.words("withheld.said", columns=listed(page.words, columns.to_list()), cells=cells)


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
