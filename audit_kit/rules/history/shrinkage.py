"""Whether a cause became rarer after an action, told from chance.

Two rates are compared by the exact conditional test: given both numbers together, the later one is binomial, with the
share of invoices that were looked at afterwards (Przyborowski and Wilenski 1940). Invoices that one event took are no
independent cases: the numbers are divided by the mean size of a cluster as a case meets it, sum of squares over sum,
which is the variance of a compound Poisson number over its mean. Where there are enough months, how far the months
differ among themselves counts too, by a t test on quasi-Poisson rates; the less favourable of the two decides.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import log, sqrt
from typing import TYPE_CHECKING

import polars as pl
from scipy import special, stats

if TYPE_CHECKING:
    from datetime import date

ALPHA = 0.05
HALF = 0.5
MOST_MONTHS = 12  # on each side: what lies further back is another time
FEWEST_FREE = 2  # degrees of freedom from which on months are compared among themselves
VERDICTS = ("shrank", "grew", "not_shown", "too_few", "too_early", "no_history", "not_done")


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """A cause before and after: numbers, invoices looked at, months; `ratio` of the rates, later over earlier.

    `p` is one-sided, the chance of so few afterwards if nothing had changed; null where nothing can be compared.
    `spread`: variance over mean of the numbers, at least 1.
    """

    before_rows: int
    before_invoices: int
    before_months: int
    after_rows: int
    after_invoices: int
    after_months: int
    spread: float
    ratio: float | None
    p: float | None
    verdict: str


def compare(months: pl.DataFrame, *, done: date | None) -> Comparison:
    """Compare a cause before and after the day on which an action was done; the month of that day counts on no side.

    Args:
        months: one row a month that was reported, also where the cause did not occur: `month`, `rows`, `square` (see
            histories.causes), `invoices` (how many were issued, or 1 where the cause is not one of invoices).
        done: null = not yet.
    """
    known = months.filter(pl.col("invoices") > 0).sort("month")
    before, after = known.tail(MOST_MONTHS), known.clear()
    if done is not None:
        name = f"{done:%Y-%m}"
        # An action done on the first day of a month has the whole month after it.
        is_after = (pl.col("month") >= name) if done.day == 1 else (pl.col("month") > name)
        before = known.filter(pl.col("month") < name).tail(MOST_MONTHS)
        after = known.filter(is_after).head(MOST_MONTHS)
    spread = _spread(before, after)
    sums = [int(side[column].sum() or 0) for side in (before, after) for column in ("rows", "invoices")]
    verdict = None
    if done is None:
        verdict = "not_done"
    elif after.is_empty():
        verdict = "too_early"
    elif before.is_empty():
        verdict = "no_history"
    p = None if verdict else fewer(before, after, spread=spread)
    return Comparison(
        before_rows=sums[0],
        before_invoices=sums[1],
        before_months=before.height,
        after_rows=sums[2],
        after_invoices=sums[3],
        after_months=after.height,
        spread=spread,
        ratio=(sums[2] / sums[3]) / (sums[0] / sums[1]) if sums[0] and sums[3] else None,
        p=p,
        verdict=verdict or _verdict(before, after, p or 0.0, spread),
    )


def fewer(before: pl.DataFrame, after: pl.DataFrame, *, spread: float) -> float:
    """Return the chance of so few afterwards, or fewer, if the rate had stayed the same."""
    exact = _tail(*_sums(before), *_sums(after), spread=spread)
    return max(exact, _between(before, after))


def _sums(side: pl.DataFrame) -> tuple[float, float]:
    return float(side["rows"].sum()), float(side["invoices"].sum())


def _tail(rows: float, invoices: float, later_rows: float, later_invoices: float, *, spread: float) -> float:
    """Return the lower binomial tail of the later number, both numbers divided by the spread."""
    share = later_invoices / (invoices + later_invoices)
    x, n = later_rows / spread, (rows + later_rows) / spread
    return float(special.betainc(n - x, x + 1, 1 - share)) if n > x else 1.0


def _spread(before: pl.DataFrame, after: pl.DataFrame) -> float:
    rows, square = (float(before[name].sum()) + float(after[name].sum()) for name in ("rows", "square"))
    return max(1.0, square / rows) if rows else 1.0


def _between(before: pl.DataFrame, after: pl.DataFrame) -> float:
    """Return the chance by a t test in which the months' own differences are the measure; 0 = too few months."""
    free = before.height + after.height - 2
    rows, invoices = _sums(before)
    later_rows, later_invoices = _sums(after)
    if free < FEWEST_FREE or not rows:
        return 0.0
    pearson = 0.0
    for side, number, of in ((before, rows, invoices), (after, later_rows, later_invoices)):
        expected = side["invoices"] * (number / of)
        pearson += float(((side["rows"] - expected) ** 2 / expected).sum()) if number else 0.0
    spread = max(pearson / free, 1e-9)
    half = HALF if not later_rows else 0.0  # the usual continuity correction, where a logarithm has none
    ratio = ((later_rows + half) / later_invoices) / (rows / invoices)
    error = sqrt(max(spread, 1.0) * (1 / rows + 1 / (later_rows + half)))
    return float(stats.t.cdf(log(ratio) / error, free))


def _verdict(before: pl.DataFrame, after: pl.DataFrame, p: float, spread: float) -> str:
    if p < ALPHA:
        return "shrank"
    if fewer(after, before, spread=spread) < ALPHA and after["rows"].sum():
        return "grew"
    rows, invoices = _sums(before)
    later = _sums(after)[1]
    half = HALF * rows * later / invoices
    return "not_shown" if _tail(rows, invoices, half, later, spread=spread) < ALPHA else "too_few"
