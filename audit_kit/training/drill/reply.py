"""The response as part of a drill: whom a trainee tells, in which order, and how complete the problem report is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import polars as pl

from audit_kit import resources
from audit_kit.core.cause_records import of_stage

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from audit_kit.training.drill.answer_sheet import Answers

NEAR = 0.2  # a count so far off is still one that was counted
ALIASES = {"客服": "support", "IT部门": "it", "信息部": "it", "主管": "management", "税务局": "tax_bureau"}


@dataclass(frozen=True, kw_only=True)
class Response:
    """How good the response is, shares from 0 to 1; `lacking`: parts of the report that are empty or do not hold."""

    given: bool
    order: float
    report: float
    lacking: tuple[str, ...]


def judged(answers: Answers, truth: pl.DataFrame, tell: Sequence[str]) -> Response:
    """Judge whom an answer tells, against `tell`, and its report, part by part."""
    told = [ALIASES.get(one.strip(), one.strip().lower()) for one in answers.tell]
    parts: list[str] = resources.load("drills")["report"]["parts"]
    lacking = tuple(part for part in parts if not _holds(part, answers.report, truth))
    return Response(
        given=bool(told or answers.report),
        order=_in_order(told, tell),
        report=1 - len(lacking) / len(parts),
        lacking=lacking,
    )


def _in_order(told: Sequence[str], right: Sequence[str]) -> float:
    """Return how much of the right order is kept: the longest common part, against the longer of the two."""
    best = [[0] * (len(right) + 1) for _ in range(len(told) + 1)]
    for row, one in enumerate(told, 1):
        for column, other in enumerate(right, 1):
            longer = best[row - 1][column - 1] + 1 if one == other else 0
            best[row][column] = max(longer, best[row - 1][column], best[row][column - 1])
    return best[-1][-1] / max(len(told), len(right), 1)


def _holds(part: str, report: Mapping[str, Any], truth: pl.DataFrame) -> bool:
    """Tell whether a part of the report is there, and true where that can be seen: the count, the examples."""
    said = report.get(part)
    open_ = truth.filter(pl.col("cause").is_not_null())
    if part == "examples":
        known = {*open_["serial"], *open_["key"]}
        return isinstance(said, list) and bool(said) and all(str(one).strip() in known for one in said)
    if part == "count":
        if isinstance(said, bool) or not isinstance(said, (int, float)) or said <= 0:
            return False
        counts = [open_.height, open_.filter(~pl.col("cause").is_in(of_stage("age", "unbooked"))).height]
        return any(abs(said - count) <= NEAR * count for count in counts)
    if part == "amount":
        return not isinstance(said, bool) and isinstance(said, (int, float)) and said > 0
    return bool(str(said or "").strip())
