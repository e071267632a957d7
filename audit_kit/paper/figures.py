"""The figures of a problem report: how many, how much, since when, until when."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING

import polars as pl

if TYPE_CHECKING:
    from datetime import date, datetime

    from audit_kit.core.policy import Calendar, Window
    from audit_kit.paper.trouble import Case

DONE = ("solved", "closed")


@dataclass(frozen=True, kw_only=True)
class Figures:
    """Counts of invoices, sums in yuan; `first`, `last`: time of issue and number; `chances`: lowest and highest."""

    findings: int
    count: int
    yuan: Decimal | None
    tax: Decimal | None
    all_rows: int
    first: tuple[datetime, str] | None
    last: tuple[datetime, str] | None
    channels: tuple[tuple[str | None, int], ...]
    accounts: tuple[tuple[str | None, int], ...]
    fails: int
    unknown: int
    chances: tuple[float, float] | None
    tickets_open: int
    tickets_late: int


def figures(case: Case) -> Figures:
    """Return the figures of a case."""
    mine = case.affected
    timed = mine.drop_nulls("issued_at").sort("issued_at", "invoice_key", nulls_last=True)
    chances = mine["probability_late"].drop_nulls().sort().to_list()
    states = case.found["state"].cast(pl.String)
    waiting = case.tickets.filter(~pl.col("state").cast(pl.String).is_in(DONE).fill_null(value=False)).unique("ticket")
    return Figures(
        findings=case.found.height,
        count=mine.height,
        yuan=_sum(mine["gross"]),
        tax=_sum(mine["tax"]),
        all_rows=case.analysis.ledger.height,
        first=_end(timed.head(1)),
        last=_end(timed.tail(1)),
        channels=_counts(mine["channel"]),
        accounts=_counts(mine["account"]),
        fails=int((states == "fails").sum()),
        unknown=int((states == "unknown").sum()),
        chances=(chances[0], chances[-1]) if chances else None,
        tickets_open=waiting.height,
        tickets_late=waiting.filter(pl.col("due_at") < case.analysis.taken_at).height,
    )


def next_deadline(calendar: Calendar, day: date) -> date | None:
    """Return the first filing deadline on or after a day; null where none is set."""
    return min((deadline for deadline in calendar.filing_deadlines if deadline >= day), default=None)


def windows(calendar: Calendar, day: date) -> list[tuple[str, Window]]:
    """Return the windows that a day is in, as `month_end` or `year_end`."""
    named = [*(("month_end", one) for one in calendar.month_end), *(("year_end", one) for one in calendar.year_end)]
    return [(name, window) for name, window in named if window.start <= day < window.end]


def _end(rows: pl.DataFrame) -> tuple[datetime, str] | None:
    """Return time of issue and number of a row; null where there is none."""
    return next(((at, key or "–") for at, key in rows.select("issued_at", "invoice_key").iter_rows()), None)


def _sum(amounts: pl.Series) -> Decimal | None:
    """Return a sum; null where no amount is known."""
    known = amounts.drop_nulls()
    return Decimal(str(known.sum())) if len(known) else None


def _counts(words: pl.Series) -> tuple[tuple[str | None, int], ...]:
    counts = words.alias("word").value_counts().sort("count", "word", descending=[True, False], nulls_last=True)
    return tuple((word, count) for word, count in counts.iter_rows())
