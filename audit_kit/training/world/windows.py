"""Stops of the platform: when they are, which are announced, and what they do to the time an invoice takes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from audit_kit import resources
from audit_kit.training.world import shaping, stream
from audit_kit.training.world.stream import DAY, HOUR

if TYPE_CHECKING:
    import polars as pl

    from audit_kit.training.world.dice import Dice, Floats, Integers

EVERYWHERE = -1
DRAIN_SHARE = 0.15  # after a stop the queue drains for this share of its length
LOSING_SHARE = 0.85  # of what is issued during an outage that loses invoices
LONGEST_HOURS = 14


@dataclass(frozen=True, kw_only=True)
class Window:
    """A stop, or the notice of one: seconds, the channel (−1 = all), whether it is announced, whether it happens."""

    start: int
    end: int
    kind: str
    channel: int = EVERYWHERE
    announced: bool = True
    real: bool = True
    open_at_export: bool = False


def calendar(start: int, end: int, dice: Dice) -> list[Window]:
    """Return the usual stops of a month: a maintenance night that loses nothing, and a notice that means nothing."""
    days = np.arange(start, end, DAY)
    weekday = (days // DAY + 3) % 7
    saturdays = days[(weekday == 5) & (days + 2 * DAY < end)]  # noqa: PLR2004  Monday is 0
    working = days[(weekday < 5) & (days + 2 * DAY < end)]  # noqa: PLR2004
    windows = []
    if len(saturdays):
        night = int(saturdays[dice.one(len(saturdays))]) + 22 * HOUR
        windows.append(Window(start=night, end=night + 8 * HOUR, kind="maintenance"))
    if len(working):
        noon = int(working[dice.one(len(working))]) + (10 + dice.one(5)) * HOUR
        windows.append(Window(start=noon, end=noon + 3 * HOUR, kind="network", real=False))
    return windows


def losing(
    issued: Integers, free: np.ndarray[Any, np.dtype[np.bool_]], count: int, dice: Dice, *, announced: bool
) -> tuple[Window, Integers] | None:
    """Return an outage in working hours and `count` invoices lost in it; none where the period is too thin for one."""
    days = np.unique(issued[free] // DAY)
    weekday = (days + 3) % 7
    days = days[weekday < stream.SATURDAY] if (weekday < stream.SATURDAY).any() else days
    if count == 0 or not len(days):
        return None
    for _ in range(24):
        start = int(days[dice.one(len(days))]) * DAY + (9 + dice.one(5)) * HOUR + dice.one(HOUR)
        inside = np.flatnonzero(free & (issued >= start) & (issued < start + LONGEST_HOURS * HOUR))
        need = round(count / LOSING_SHARE)
        if len(inside) >= need:
            break
    if not len(inside):
        return None
    inside = inside[:need]
    end = int(issued[inside[-1]]) + 60
    window = Window(start=start, end=end, kind="outage", announced=announced)
    return window, dice.sample(inside, min(count, len(inside)))


def arrivals(issued: Integers, delay: Floats, channel: Integers, windows: list[Window], dice: Dice) -> Floats:
    """Return when each invoice becomes visible: the clock stands still during a stop, then the queue drains."""
    visible = issued + delay
    for window in sorted((one for one in windows if one.real), key=lambda one: one.start):
        held = (issued < window.end) & (visible > window.start)
        if window.channel != EVERYWHERE:
            held &= channel == window.channel
        waited = window.end - np.maximum(issued, window.start)
        drain = np.floor(dice.uniform(len(issued)) * DRAIN_SHARE * (window.end - window.start))
        visible = np.where(held, visible + waited + drain, visible)
    return visible


def notices(windows: list[Window]) -> pl.DataFrame:
    """Return the notices table: what was announced, in order of time."""
    words = resources.load("simulation")["notices"]
    names = [*stream.channels(), words["all"]]
    announced = sorted((one for one in windows if one.announced), key=lambda one: one.start)
    titles = {"maintenance": words["maintenance"], "network": words["innocent"], "outage": words["outage"]}
    ends = [np.nan if one.open_at_export else one.end for one in announced]
    return shaping.listed(
        "notices",
        {
            "starts_at": stream.times(np.array([one.start for one in announced], dtype=np.int64)),
            "ends_at": stream.times(np.array(ends, dtype=np.float64)),
            "kind": [one.kind for one in announced],
            "scope": [names[one.channel] for one in announced],
            "title": [titles[one.kind] for one in announced],
            "source": [words["source"]] * len(announced),
        },
    )
