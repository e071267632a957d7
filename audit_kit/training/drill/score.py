"""What a scored answer is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import polars as pl

    from audit_kit.training.drill.reply import Response

PER_CAUSE = (
    "cause", "true", "labelled", "right", "recall", "precision", "f1", "confidence", "evidence", "evidence_right",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Score:
    """A scored answer.

    `total` from 0 to 100, of which the labels' part goes by `skill`; `macro_f1`, `skill` and `brier` from 0 to 1.
    `causes`: one row a cause, true or labelled, `PER_CAUSE`. `confusion`: `true`, `labelled`, `rows`. `missed` and
    `false` name causes. `debrief` is Markdown. `response` and `minutes` are told and not in the total. `attempt`:
    first, same, or changed answers since the first score.
    """

    total: float
    macro_f1: float
    skill: float
    brier: float
    false: tuple[str, ...]
    missed: tuple[str, ...]
    unsupported: tuple[str, ...]
    hint_cost: int
    causes: pl.DataFrame
    confusion: pl.DataFrame
    debrief: str
    response: Response | None = None
    minutes: float | None = None
    seal: str = ""
    attempt: str = ""
