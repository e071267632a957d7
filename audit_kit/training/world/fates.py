"""What happens to each invoice: at most one thing, drawn in an order that keeps runs and windows whole."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
import polars as pl

from audit_kit import resources
from audit_kit.core.cause_records import simulated
from audit_kit.training.world import windows as outages
from audit_kit.training.world.dice import Dice, Floats, Integers
from audit_kit.training.world.stream import DAY, HOUR

Flags: TypeAlias = np.ndarray[Any, np.dtype[np.bool_]]

RUN = 40  # invoices in a lost batch
LEVEL_RATE = 0.25  # share of a level that goes missing when the level is at fault
WINDOWS_ABOVE = 200  # so many lost to outages are spread over two


@dataclass
class Draft:
    """A world being made: true invoices, their arrival (seconds), their fate ("" = none) and the stops.

    `batch`: negative numbers are upload batches lost as a whole. `faulty`: invoices of a level that loses many.
    `outage_announced`: null = by chance.
    `avoided`: amounts (fen) that are never written.
    """

    base: pl.DataFrame
    seed: int
    taken: int
    counts: dict[str, int]
    visible: Floats = field(default_factory=lambda: np.empty(0))
    fate: np.ndarray[Any, np.dtype[np.object_]] = field(default_factory=lambda: np.empty(0, dtype=object))
    windows: list[outages.Window] = field(default_factory=list)
    batch: Integers = field(default_factory=lambda: np.empty(0, dtype=np.int64))
    faulty: Flags = field(default_factory=lambda: np.empty(0, dtype=bool))
    outage_announced: bool | None = None
    avoided: Integers = field(default_factory=lambda: np.empty(0, dtype=np.int64))

    def column(self, name: str) -> np.ndarray[Any, Any]:
        """Return a column of the true invoices."""
        return np.asarray(self.base[name].to_numpy())

    def free(self) -> Flags:
        """Return which ordinary invoices nothing has happened to yet; reversals and voids are left alone."""
        bound = (self.base["status"] == "voided").to_numpy(writable=True)
        blue = self.column("blue")
        bound[blue[blue >= 0]] = True
        bound[blue >= 0] = True
        return np.asarray((self.fate == "") & ~bound & ~self.column("early") & (self.column("owner") == 0))

    def seen(self) -> Flags:
        """Return which free invoices the platform has at the export, as normal ones."""
        return np.asarray(self.free() & (self.visible <= self.taken) & (self.base["status"] == "normal").to_numpy())

    def take(self, cause: str, chosen: Integers) -> None:
        """Let this happen to the invoices chosen."""
        self.fate[chosen] = cause


Step: TypeAlias = Callable[[Draft, Dice, int, str], None]


def scope(draft: Draft, _dice: Dice, _count: int, cause: str) -> None:
    """Invoices before the period, or of the branch: their place was kept when they were issued."""
    draft.take(
        cause, np.flatnonzero(draft.column("early") if cause == "outside_export" else draft.column("owner") == 1)
    )


def truncated(draft: Draft, _dice: Dice, count: int, cause: str) -> None:
    """The export lists the newest first and breaks off: the oldest rows are cut."""
    listed = (draft.fate == "") & ~draft.column("early") & (draft.visible <= draft.taken)
    draft.take(cause, np.flatnonzero(listed)[:count])


def batches(draft: Draft, dice: Dice, count: int, cause: str) -> None:
    """Runs of consecutive issues within a channel are lost together."""
    runs = max(1, round(count / RUN))
    by_channel = [np.flatnonzero(draft.column("channel") == channel) for channel in range(2)]
    open_ = [draft.free()[rows] for rows in by_channel]
    for number in range(runs):
        length = count // runs + (number < count % runs)
        rows, free = by_channel[number % 2], open_[number % 2]
        blocked = np.cumsum(np.concatenate([[0], ~free]))
        starts = np.flatnonzero(blocked[length:] == blocked[:-length]) if 0 < length < len(rows) else np.empty(0, int)
        if len(starts):
            first = int(starts[dice.one(len(starts))])
            draft.take(cause, rows[first : first + length])
            draft.batch[rows[first : first + length]] = -1 - number
            free[max(first - RUN, 0) : first + length + RUN] = False  # two runs never touch


def windows(draft: Draft, dice: Dice, count: int, cause: str) -> None:
    """Most of what is issued during an outage is lost; with many, a second outage is announced, the first is not."""
    many = 2 if count > WINDOWS_ABOVE else 1
    for number in range(many):
        share = count // many + (number < count % many)
        free = draft.free() & (draft.column("issued") < draft.taken - 3 * DAY)
        for other in draft.windows:
            free &= (draft.column("issued") < other.start - DAY) | (draft.column("issued") > other.end + DAY)
        announced = bool(number % 2) if many > 1 else bool(draft.seed % 2)
        announced = announced if draft.outage_announced is None else draft.outage_announced
        made = outages.losing(draft.column("issued"), free, share, dice, announced=announced)
        if made:
            draft.windows.append(made[0])
            draft.take(cause, made[1])


def level(draft: Draft, dice: Dice, count: int, cause: str) -> None:
    """One channel, account or kind loses many of its invoices; another than the levels that already do."""
    column = draft.column(cause.removesuffix("_excess"))
    free = draft.free()
    names, which = np.unique(column, return_inverse=True)
    inside = np.bincount(which[free & ~draft.faulty], minlength=len(names))
    overlap = np.bincount(which[free & draft.faulty], minlength=len(names))
    inside = np.where(overlap * 10 > inside, 0, inside)
    fits = np.flatnonzero(inside >= count / LEVEL_RATE)
    chosen = fits[np.argmin(inside[fits])] if len(fits) else np.argmax(inside)
    rows = which == chosen
    draft.take(cause, dice.sample(np.flatnonzero(free & ~draft.faulty & rows), count))
    draft.faulty |= rows


def lost(draft: Draft, dice: Dice, count: int, cause: str) -> None:
    """Single invoices are lost, in some channels more often than in others; a faulty level would explain them."""
    weights = np.array([law["lost"] for law in resources.load("simulation")["channels"].values()])
    rows = np.flatnonzero(draft.free() & ~draft.faulty)
    keys = np.log1p(-dice.uniform(len(rows))) / weights[draft.column("channel")[rows]]
    draft.take(cause, np.sort(rows[np.argsort(-keys, kind="stable")[:count]]))


def anywhere(draft: Draft, dice: Dice, count: int, cause: str) -> None:
    """Any ordinary invoice."""
    draft.take(cause, dice.sample(np.flatnonzero(draft.free()), count))


def filed(draft: Draft, dice: Dice, count: int, cause: str) -> None:
    """Any invoice with a 20-digit number from before the last night: it has a file that a backup holds."""
    kept = draft.base["digital"].is_not_null().to_numpy() & (draft.column("issued") < draft.taken // DAY * DAY)
    draft.take(cause, dice.sample(np.flatnonzero(draft.free() & kept), count))


def digital(draft: Draft, dice: Dice, count: int, cause: str) -> None:
    """An invoice with a 20-digit number, seen on the platform."""
    draft.take(cause, dice.sample(np.flatnonzero(draft.seen() & draft.base["digital"].is_not_null().to_numpy()), count))


def asked(draft: Draft, dice: Dice, count: int, cause: str) -> None:
    """An invoice with a 20-digit number, two days old or older, so that it could be asked for elsewhere."""
    old = draft.base["digital"].is_not_null().to_numpy() & (draft.column("issued") < draft.taken - 2 * DAY)
    draft.take(cause, dice.sample(np.flatnonzero(draft.free() & old), count))


def with_code(draft: Draft, dice: Dice, count: int, cause: str) -> None:
    """An invoice with code and number only, seen on the platform: 数电票 cannot be voided."""
    draft.take(cause, dice.sample(np.flatnonzero(draft.seen() & draft.base["digital"].is_null().to_numpy()), count))


def known_buyer(draft: Draft, dice: Dice, count: int, cause: str) -> None:
    """An invoice to a company, seen on the platform."""
    known = draft.base["buyer_tax_id"].is_not_null().to_numpy()
    draft.take(cause, dice.sample(np.flatnonzero(draft.seen() & known), count))


def visible(draft: Draft, dice: Dice, count: int, cause: str) -> None:
    """An invoice seen on the platform."""
    draft.take(cause, dice.sample(np.flatnonzero(draft.seen()), count))


def pairs(draft: Draft, dice: Dice, count: int, cause: str) -> None:
    """Two neighbours of one channel, kind and day with consecutive numbers, both seen: the first is booked badly."""
    rows = np.flatnonzero(draft.seen() & draft.base["digital"].is_not_null().to_numpy())
    tail = draft.base["digital"].str.tail(15).cast(pl.Int64).to_numpy()[rows] if len(rows) else rows
    order = np.argsort(tail + draft.column("channel")[rows] * 10**15, kind="stable")
    rows, tail = rows[order], tail[order]
    firsts, nexts = rows[:-1], rows[1:]
    same_day = draft.column("issued")[firsts] // DAY == draft.column("issued")[nexts] // DAY
    same_channel = draft.column("channel")[firsts] == draft.column("channel")[nexts]
    fits = np.flatnonzero((tail[1:] - tail[:-1] == 1) & (tail[:-1] % 10 < 8) & same_day & same_channel)  # noqa: PLR2004
    used: set[int] = set()
    chosen: list[tuple[int, int]] = []
    for at in dice.shuffle(fits)[: 3 * count]:
        pair = int(firsts[at]), int(nexts[at])
        if len(chosen) < count and not used & set(pair):
            used |= set(pair)
            chosen.append(pair)
    table = np.array(chosen, dtype=np.int64).reshape(-1, 2)
    draft.take(cause, table[:, 0])
    draft.take("ambiguous_other", table[:, 1])
    money = ("net", "tax", "gross", "rate")
    draft.base = draft.base.with_columns(
        draft.base[one].scatter(table[:, 1], draft.base[one][table[:, 0]]) for one in money
    )


def reversal(draft: Draft, dice: Dice, count: int, cause: str) -> None:
    """A blue invoice fully reversed on the platform while the ledger knows nothing of it, nor books the red one."""
    blue = draft.column("blue")
    full = (draft.base["status"] == "red_full").to_numpy()
    reds = np.flatnonzero((blue >= 0) & (draft.fate == ""))
    reds = reds[full[blue[reds]] & (draft.fate[blue[reds]] == "")]
    chosen = dice.sample(reds, count)
    draft.take("unbooked", chosen)
    draft.take(cause, blue[chosen])


STEPS: dict[str, Step] = {
    step.__name__: step
    for step in (
        scope,
        truncated,
        batches,
        windows,
        level,
        lost,
        anywhere,
        filed,
        digital,
        asked,
        with_code,
        known_buyer,
        visible,
        pairs,
        reversal,
    )
}


def reached(draft: Draft, *marks: str) -> Flags:
    """Return which invoices got so far on their way to the export: see `Simulation.reaches`."""
    return np.isin(draft.fate, [cause for cause, how in simulated().items() if how.reaches in marks])


def allot(draft: Draft, first: Callable[[Draft], None] | None = None) -> None:
    """Draw the fate of every invoice, and let the stops delay the arrivals.

    Runs and windows need whole stretches, so they have the first turns, before what may be anywhere; `first` comes
    before all of them.
    """
    draft.fate = np.full(len(draft.base), "", dtype=object)
    draft.batch = np.zeros(len(draft.base), dtype=np.int64)
    draft.faulty = np.zeros(len(draft.base), dtype=bool)
    arrive(draft)
    if first:
        first(draft)
    for cause, how in sorted(simulated().items(), key=lambda one: one[1].turn):
        if draft.counts.get(cause, 0):
            STEPS[how.step](draft, Dice(draft.seed, f"fate {cause}"), draft.counts[cause], cause)
            if cause == "outage":
                arrive(draft)


def arrive(draft: Draft) -> None:
    """Work out when each invoice becomes visible; red ones, what they reverse and voided ones are in time.

    They are there an hour before the export, or before a stop that is still open then.
    """
    issued, channel = draft.column("issued"), draft.column("channel")
    draft.visible = outages.arrivals(issued, draft.column("delay"), channel, draft.windows, Dice(draft.seed, "drain"))
    blue = draft.column("blue")
    reds = np.flatnonzero(blue >= 0)
    in_time = min([draft.taken, *(one.start for one in draft.windows if one.open_at_export)]) - HOUR
    for rows in (reds, blue[reds], np.flatnonzero(draft.base["status"] == "voided")):
        draft.visible[rows] = np.minimum(draft.visible[rows], np.maximum(issued[rows] + 1, in_time))
