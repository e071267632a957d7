"""The shape of a real month, without a name, number or amount of it: given to a made month instead of chance."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from audit_kit.training.world.dice import Dice
from audit_kit.training.world.stream import DAY, HOUR
from audit_kit.training.world.windows import Window

if TYPE_CHECKING:
    from collections.abc import Mapping

    import polars as pl

    from audit_kit.training.world.dice import Integers
    from audit_kit.training.world.fates import Draft

BY_ROW = (
    "batch_lost", "outage", "channel_excess", "account_excess", "kind_excess", "upload_failed", "not_migrated_back",
    "not_issued", "lost", "late",
)  # fmt: skip
LATE_WITHIN = 5  # days after the export
FIRST_HOUR, LAST_HOUR = 8, 18  # of an invoice whose hour is not known


@dataclass(frozen=True, kw_only=True)
class Likeness:
    """The shape of a month.

    `rows`, in order of issue: `issued` (seconds), `channel`, `stream.GIVEN` (buyer and account as ranks, price in fen,
    place of the kind, delay in seconds), `fate` (a cause of BY_ROW, or empty), `run` (of a batch or stop).
    `counts`: how many invoices every other cause takes. `announced`: whether notices told of the stops.
    `amounts`: those, in fen, that nothing may have. `batch`: see `stream.Plan`.
    """

    rows: pl.DataFrame
    counts: Mapping[str, int]
    start: int
    taken: int
    announced: bool
    amounts: Integers
    batch: int

    def befall(self, draft: Draft) -> None:
        """Let happen what happened, row by row, with stops that hold exactly what was lost in them."""
        dice, place = Dice(draft.seed, "likeness"), draft.column("like")
        known = place >= 0
        fate = np.array(self.rows["fate"].to_list(), dtype=object)
        run = self.rows["run"].to_numpy()
        in_time = np.minimum(draft.visible, np.maximum(draft.column("issued") + 1, draft.taken - 60))
        draft.visible = np.where(known, in_time, draft.visible)
        free = draft.free() & known
        for cause in BY_ROW:
            rows = np.flatnonzero(free & (np.where(known, fate[place], "") == cause))
            if cause == "late":
                draft.visible[rows] = draft.taken + HOUR + np.floor(dice.uniform(len(rows)) * LATE_WITHIN * DAY)
                continue
            draft.take(cause, rows)
            if cause == "batch_lost":
                draft.batch[rows] = -1 - run[place[rows]]
            if cause == "outage":
                _stop(draft, rows, run[place[rows]], announced=self.announced)


def shuffled_times(hours: Integers, known: np.ndarray[tuple[int], np.dtype[np.bool_]], dice: Dice) -> Integers:
    """Return times of the same hours, minute and second drawn anew, in the same order; an unknown hour is drawn too."""
    drawn = hours // DAY * DAY + (FIRST_HOUR + dice.below(LAST_HOUR - FIRST_HOUR, len(hours))) * HOUR
    hours = np.where(known, hours // HOUR * HOUR, drawn)
    order = np.lexsort((np.arange(len(hours)), hours))
    within = dice.below(HOUR, len(hours))
    times = np.empty(len(hours), dtype=np.int64)
    times[order] = np.sort(hours[order] + within[np.lexsort((within, hours[order]))])
    return times


def _stop(draft: Draft, rows: Integers, which: Integers, *, announced: bool) -> None:
    for one in np.unique(which):
        inside = draft.column("issued")[rows[which == one]]
        window = Window(start=int(inside.min()), end=int(inside.max()) + 60, kind="outage", announced=announced)
        draft.windows.append(window)
