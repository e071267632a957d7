"""What the audited values of a sample say of the whole population: projected error, limits, part by part.

An error is the book amount less the audited one: above 0 = overstated.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt
from typing import TYPE_CHECKING

import polars as pl

from audit_kit.rules.sampling import bounds
from audit_kit.rules.sampling.selection import BY_MONEY, EVERY

if TYPE_CHECKING:
    from collections.abc import Mapping

CONCLUSIONS = ("acceptable", "exceeds", "unclear", "no_limit")
PARTS = {
    "part": pl.String(),
    "way": pl.String(),
    "rows": pl.Int64(),
    "cents": pl.Int64(),
    "drawn": pl.Int64(),
    "errors": pl.Int64(),
    "known": pl.Int64(),
    "taint": pl.Float64(),
    "projected": pl.Float64(),
    "lower": pl.Float64(),
    "upper": pl.Float64(),
}


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """What a sample says; money in cents.

    `known`: the errors of the rows drawn. `projected`, `lower`, `upper`: of the whole population, two-sided.
    `stringer`: Stringer's one-sided upper limit of the overstatement, of samples by money; else null. `rate_lower`,
    `rate_upper`: of rows with an error, of samples in which every row is as likely; else null. `parts`: `PARTS`, with
    the mean taint of what was drawn by money, whose limits are those of all of it together and stand in the whole.
    """

    drawn: int
    errors: int
    known: int
    projected: float
    lower: float
    upper: float
    confidence: float
    stringer: float | None
    rate_lower: float | None
    rate_upper: float | None
    conclusion: str
    parts: pl.DataFrame


def evaluate(
    parts: pl.DataFrame, items: pl.DataFrame, *, confidence: float, tolerable_cents: int | None = None
) -> Evaluation:
    """Return what the audited values say.

    Args:
        parts: as the selection has them, see selection.PART.
        items: the rows drawn: `part`, `cents` (book), `audited` (cents), none null.
        confidence: of the interval, 0 to 1.
        tolerable_cents: the misstatement that is tolerable; null = nothing is concluded.
    """
    errors = items.with_columns(error=pl.col("cents") - pl.col("audited"))
    told = [_part(part, errors.filter(pl.col("part") == part["part"]), confidence) for part in parts.to_dicts()]
    frame = pl.DataFrame(told, schema=PARTS)
    apart = frame.filter(pl.col("way") != BY_MONEY).select("projected", "lower", "upper").iter_rows()
    projected, lower, upper = bounds.together([*apart, *_by_money(parts, errors, confidence)])
    wrong = int((errors["error"] != 0).sum())
    alone = parts["part"].to_list() == ["random"]
    rates = bounds.rate_interval(wrong, errors.height, confidence=confidence) if alone else (None, None)
    return Evaluation(
        drawn=errors.height,
        errors=wrong,
        known=int(errors["error"].sum()),
        projected=projected,
        lower=lower,
        upper=upper,
        confidence=confidence,
        stringer=_stringer(parts, errors, confidence),
        rate_lower=rates[0],
        rate_upper=rates[1],
        conclusion=_conclusion(projected, lower, upper, tolerable_cents),
        parts=frame,
    )


def _part(part: Mapping[str, object], rows: pl.DataFrame, confidence: float) -> dict[str, object]:
    size, absolute = int(str(part["rows"])), int(str(part["absolute"]))
    known, taint = int(rows["error"].sum()), None
    lower: float | None
    upper: float | None
    errors = [float(error) for error in rows["error"]]
    if part["way"] == EVERY or rows.height >= size:
        estimate = lower = upper = float(known)
    elif part["way"] == BY_MONEY:
        taints = taints_of(rows)
        taint = sum(taints) / len(taints) if taints else 0.0
        estimate, lower, upper = taint * absolute, None, None
    else:
        # What was not drawn may be wrong by a whole amount, and a large one; without amounts, by the largest error.
        usual = float(int(str(part["usual"]))) or max(map(abs, errors), default=0.0)
        low, high = bounds.mean_interval(errors, unseen=(-usual, usual), confidence=confidence)
        left = sqrt(1 - rows.height / size)  # what was drawn is known
        mean = sum(errors) / len(errors)
        estimate = mean * size
        lower, upper = (estimate + (end - mean) * size * left for end in (low, high))
    return {
        **{name: part[name] for name in ("part", "way", "rows", "cents", "drawn")},
        "errors": int((rows["error"] != 0).sum()),
        "known": known,
        "taint": taint,
        "projected": estimate,
        "lower": None if lower is None else min(lower, estimate),
        "upper": None if upper is None else max(upper, estimate),
    }


def _by_money(parts: pl.DataFrame, errors: pl.DataFrame, confidence: float) -> list[tuple[float, float, float]]:
    """Return estimate and limits of what was drawn by money, above and below zero together: it is one sample."""
    money = parts.filter(pl.col("way") == BY_MONEY)
    drawn = errors.filter(pl.col("part").is_in(money["part"].implode()))
    if drawn.is_empty():
        return []
    taints, absolute = taints_of(drawn), int(money["absolute"].sum())
    if drawn.height >= int(money["rows"].sum()):
        known = float(drawn["error"].sum())
        return [(known, known, known)]
    mean = sum(taints) / len(taints)
    low, high = bounds.mean_interval(taints, unseen=(-1.0, 1.0), confidence=confidence)
    return [(mean * absolute, min(low, mean) * absolute, max(high, mean) * absolute)]


def taints_of(rows: pl.DataFrame) -> list[float]:
    """Return the error of each row over its book amount without sign."""
    return [error / abs(cents) for error, cents in rows.select("error", "cents").iter_rows()]


def _stringer(parts: pl.DataFrame, errors: pl.DataFrame, confidence: float) -> float | None:
    """Return Stringer's upper limit of the overstatement of rows above zero; null without a sample by money."""
    by_money = parts.filter(pl.col("part") == "positive")
    if by_money.is_empty() or not (drawn := errors.filter(pl.col("part") == "positive")).height:
        return None
    limit = bounds.stringer(taints_of(drawn), drawn.height, confidence=confidence)
    top = errors.filter((pl.col("part") == "top") & (pl.col("error") > 0))["error"].sum()
    return float(limit * int(by_money["absolute"][0]) + int(top))


def _conclusion(projected: float, lower: float, upper: float, tolerable: int | None) -> str:
    if tolerable is None:
        return "no_limit"
    if max(abs(lower), abs(upper)) <= tolerable:
        return "acceptable"
    return "exceeds" if abs(projected) > tolerable else "unclear"
