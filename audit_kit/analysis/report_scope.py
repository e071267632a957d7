"""What a report is about: one month, one year or everything; which month it is where none is named; what lies outside.

A month is lonely where it stands at an end of the ledger with so few invoices beside those of the others that a wrong
date is the likelier reading; at the beginning only where days lie between, for a ledger often begins a little before
its period. It chooses no report, and is named in every one.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import polars as pl

from audit_kit.core.errors import RequestError

if TYPE_CHECKING:
    from audit_kit.analysis.analysis import Analysis

EVERYTHING = "all"
MONTHS_A_YEAR = 12
LONELY_ROWS = 3  # of a small ledger; of a large one LONELY_SHARE of a month
LONELY_SHARE = 0.001
LONELY_DAYS = 7  # between it and the next invoice, where it is the first
LONELY_TIMES = 5  # a month of others has so many times the rows
LONELY_TIMES_APART = 2  # the same, where months without any row lie between
PLACES = ("within", "before", "after", "undated")
_MONTH = re.compile(r"([12]\d{3})(?:[-/.年]?(\d{2})|[-/.年](\d))月?")
_YEAR = re.compile(r"([12]\d{3})年?")
_EVERYTHING = {"all", "全部"}
_COUNTED = {"rows": pl.UInt32(), "yuan": pl.Decimal(18, 2)}


@dataclass(frozen=True)
class Scope:
    """A month `2025-05`, a year `2024`, or `all`; `start` and `end` (excluded) are null where it is everything."""

    name: str
    start: datetime | None = None
    end: datetime | None = None

    @property
    def kind(self) -> str:
        """One of `month`, `year`, `all`."""
        if self.start is None:
            return EVERYTHING
        return "month" if "-" in self.name else "year"

    def contains(self, other: Scope) -> bool:
        """Return whether another lies within this one."""
        if self.start is None or self.end is None:
            return True
        return other.start is not None and other.end is not None and self.start <= other.start and other.end <= self.end

    def holds(self, column: str = "issued_at") -> pl.Expr:
        """Return whether a moment lies within; null where there is none, and it is not everything."""
        if self.start is None:
            return pl.lit(value=True)
        return pl.col(column).is_between(self.start, self.end, closed="left")


def scope(wanted: str) -> Scope:
    """Return what a report is to be about, as 2025-05 (2025-5, 2025年5月), 2024 or all.

    Raises:
        RequestError: it is none of them.
    """
    text = "".join(unicodedata.normalize("NFKC", wanted).split()).casefold()
    if text in _EVERYTHING:
        return Scope(EVERYTHING)
    if found := _MONTH.fullmatch(text):
        year, month = int(found[1]), int(found[2] or found[3])
        if 1 <= month <= MONTHS_A_YEAR:
            return Scope(f"{year}-{month:02d}", _first(year, month), _first(year, month + 1))
    if found := _YEAR.fullmatch(text):
        return Scope(found[1], _first(int(found[1]), 1), _first(int(found[1]), MONTHS_A_YEAR + 1))
    raise RequestError("error_analysis.no_scope", wanted=wanted)


def _first(year: int, month: int) -> datetime:
    after, left = divmod(month - 1, MONTHS_A_YEAR)
    return datetime(year + after, left + 1, 1)  # noqa: DTZ001 (Beijing time, stored without zone)


def latest(ledger: pl.DataFrame) -> str:
    """Return the latest month of the ledger that is not lonely; everything where no row has a date."""
    counts = _counts(ledger)
    kept = counts.filter(~pl.col("month").is_in(_lonely(counts)))
    return str(kept["month"][-1]) if kept.height else EVERYTHING


def month_before(today: datetime) -> str:
    """Return the calendar month before the one of a moment."""
    return f"{_first(today.year, today.month) - timedelta(days=1):%Y-%m}"


def lonely(ledger: pl.DataFrame) -> pl.DataFrame:
    """Return the lonely months: `month`, `rows`, and of its first invoice `issued_at`, `source_file`, `source_row`."""
    names = _lonely(_counts(ledger))
    place = [name for name in ("source_file", "source_row") if name in ledger.columns]
    rows = ledger.select("issued_at", *place, month=pl.col("issued_at").dt.strftime("%Y-%m"))
    rows = rows.filter(pl.col("month").is_in(names)).sort("issued_at")
    return rows.group_by("month").agg(pl.len().alias("rows"), pl.col("issued_at", *place).first()).sort("month")


def months_of(ledger: pl.DataFrame) -> list[str]:
    """Return the months in which the ledger has invoices."""
    return [str(month) for month in _counts(ledger)["month"]]


def _counts(ledger: pl.DataFrame) -> pl.DataFrame:
    dated = ledger.select(at="issued_at").drop_nulls()
    counts = dated.group_by(pl.col("at").dt.truncate("1mo").alias("start")).agg(
        rows=pl.len(), first=pl.col("at").min(), last=pl.col("at").max()
    )
    return counts.sort("start").select(pl.col("start").dt.strftime("%Y-%m").alias("month"), "rows", "first", "last")


def _lonely(counts: pl.DataFrame) -> list[str]:
    """Return the lonely months at the ends; `counts` is one row a month, in order."""
    months = list(counts.iter_rows(named=True))
    found: list[str] = []
    while len(months) > 1 and _few(months[-1], months[-2], months[:-1]):
        found.append(months.pop()["month"])
    while (
        len(months) > 1
        and months[1]["first"] - months[0]["last"] >= timedelta(days=LONELY_DAYS)
        and _few(months[0], months[1], months[1:])
    ):
        found.append(months.pop(0)["month"])
    return found


def _few(month: dict[str, Any], beside: dict[str, Any], others: list[dict[str, Any]]) -> bool:
    """Tell whether a month has next to nothing beside what is usual in the others."""
    usual = sorted(other["rows"] for other in others)[len(others) // 2]
    one, two = month["first"], beside["first"]
    apart = abs((one.year - two.year) * MONTHS_A_YEAR + one.month - two.month) > 1
    few = month["rows"] <= max(LONELY_ROWS, LONELY_SHARE * usual)
    return bool(few and month["rows"] * (LONELY_TIMES_APART if apart else LONELY_TIMES) <= usual)


def months(whole: Analysis, of: Scope) -> pl.DataFrame:
    """Return the months of ledger and platform by their own dates, in order, rows without a date last.

    Columns: `month` (null: no date), `ledger_rows`, `ledger_yuan`, `platform_rows`, `platform_yuan`, `missing_rows`,
    `missing_yuan`, `findings` (of the sync and of what is missing, by the date of their invoice), `place` (of PLACES),
    `lonely`. Sums are those of the files.
    """
    gone = whole.matches.filter(pl.col("outcome").cast(pl.String) == "missing")["ledger_row"].drop_nulls()
    parts = {"ledger": whole.ledger, "platform": whole.platform, "missing": whole.ledger[gone]}
    found = dated(whole.findings, whole).group_by(month=pl.col("issued_at").dt.strftime("%Y-%m")).len("findings")
    table = found
    for name, side in parts.items():
        sums = _sums(side).rename({"rows": f"{name}_rows", "yuan": f"{name}_yuan"})
        table = table.join(sums, on="month", how="full", coalesce=True, nulls_equal=True)
    names = [f"{name}_{column}" for name in parts for column in _COUNTED]
    begins = pl.col("month") + "-01"
    at = begins.str.to_datetime("%Y-%m-%d", time_unit="us", strict=False)
    place = pl.when(pl.col("month").is_null()).then(pl.lit("undated")).otherwise(_place(of, at))
    return table.select(
        "month",
        *(pl.col(name).fill_null(0) for name in (*names, "findings")),
        place=place,
        lonely=pl.col("month").is_in(_lonely(_counts(whole.ledger))).fill_null(value=False),
    ).sort("month", nulls_last=True)


def _place(of: Scope, at: pl.Expr) -> pl.Expr:
    if of.start is None:
        return pl.lit("within")
    later = pl.when(at >= of.end).then(pl.lit("after")).otherwise(pl.lit("within"))
    return pl.when(at < of.start).then(pl.lit("before")).otherwise(later)


def _sums(side: pl.DataFrame) -> pl.DataFrame:
    yuan = pl.col("gross").sum() if "gross" in side.columns else pl.lit(0, _COUNTED["yuan"])
    return side.group_by(month=pl.col("issued_at").dt.strftime("%Y-%m")).agg(rows=pl.len(), yuan=yuan)


def dated(findings: pl.DataFrame, analysis: Analysis) -> pl.DataFrame:
    """Return findings with `issued_at`: that of their ledger row, else of their platform row, else null."""
    times = [
        side["issued_at"].gather(findings[f"{name}_row"]).alias(name)
        for name, side in (("ledger", analysis.ledger), ("platform", analysis.platform))
    ]
    return findings.with_columns(pl.DataFrame(times).select(issued_at=pl.coalesce("ledger", "platform")).to_series())
