"""What tomorrow brings: how many invoices will still be on their way some hours after an export, merely late."""

from __future__ import annotations

from datetime import datetime, timedelta

import polars as pl

from audit_kit.rules.sync.curves import total
from audit_kit.rules.sync.lateness import at_age, lateness

WEEKS = 4
DAY_MINUTES = 1440.0
STEP_MINUTES = 30


def forecast(
    observations: pl.DataFrame, *, taken_at: datetime, hours: float = 24, table: pl.DataFrame | None = None
) -> pl.DataFrame:
    """Return how many invoices will still be on their way some hours from now, merely late.

    Args:
        observations: as returned by `observations.observations`.
        taken_at: now.
        hours: how far ahead.
        table: as returned by `lateness`; made from the observations where not given.

    Returns:
        `channel`, `waiting` (missing now), `arriving` (expected to come until then), `still_late` (of those waiting,
        expected to come later), `new_late` (of those yet to be issued, at the pace of the same weekday in the last four
        weeks), `late` (both), `lower`, `upper` (90 %), `lost` (expected never to come).
    """
    table = table if table is not None else lateness(observations)
    span = hours * 60
    waiting = observations.filter(~pl.col("visible") & pl.col("age").is_not_null())
    now = at_age(waiting, table)
    then = at_age(waiting.with_columns(then=pl.col("age") + span), table, age="then")
    waiting = waiting.with_columns(
        arrives=((now["survival"] - then["survival"]) / now["survival"]).clip(0, 1),
        late=((then["survival"] - now["plateau"]) / now["survival"]).clip(0, 1),
    )
    old = waiting.group_by("channel").agg(
        waiting=pl.len(),
        arriving=total(pl.col("arrives")),
        still_late=total(pl.col("late")),
        spread=total(pl.col("late") * (1 - pl.col("late"))),
        lost=total(1 - pl.col("arrives") - pl.col("late")),
    )
    new = _yet_to_come(observations, table, taken_at, span)
    both = old.join(new, on="channel", how="full", coalesce=True).fill_null(0)
    late = pl.col("still_late") + pl.col("new_late")
    half = 1.645 * (pl.col("spread") + pl.col("new_late")).sqrt()
    return both.select(
        "channel",
        "waiting",
        "arriving",
        "still_late",
        "new_late",
        late=late,
        lower=(late - half).clip(0),
        upper=late + half,
        lost="lost",
    ).sort("channel")


def _yet_to_come(observations: pl.DataFrame, table: pl.DataFrame, taken_at: datetime, span: float) -> pl.DataFrame:
    """Return `channel`, `new_late`: of those issued in the span ahead, how many will be on their way at its end."""
    since = taken_at - timedelta(weeks=WEEKS)
    past = observations.filter(pl.col("issued_at").is_between(since, taken_at, closed="left"))
    first = past["issued_at"].min()
    if not isinstance(first, datetime):
        return pl.DataFrame(schema={"channel": pl.String(), "new_late": pl.Float64()})
    weeks = max(1.0, (taken_at - first) / timedelta(weeks=1))
    ahead = ((pl.col("issued_at") - since).dt.total_microseconds() / 60e6) % (7 * DAY_MINUTES)
    slots = (
        past.with_columns(ahead=ahead)
        .filter(pl.col("ahead") < span)
        .group_by("channel", slot=(pl.col("ahead") / STEP_MINUTES).floor())
        .agg(pace=pl.len() / weeks)
        .with_columns(age=span - (pl.col("slot") + 0.5) * STEP_MINUTES, held=pl.lit(1.0))
        .with_columns(loose="age")
    )
    known = at_age(slots, table)
    slots = slots.with_columns(new_late=pl.col("pace") * (known["survival"] - known["plateau"]).clip(0))
    return slots.group_by("channel").agg(total(pl.col("new_late")))
