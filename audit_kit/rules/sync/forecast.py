"""What tomorrow brings: how many invoices will still be on their way some hours after an export, merely late."""

from __future__ import annotations

from datetime import datetime, timedelta

import polars as pl

from audit_kit.rules.sync.curves import total
from audit_kit.rules.sync.lateness import at_age, lateness

WEEKS = 4
DAY_MINUTES = 1440.0
STEP_MINUTES = 30

FORECAST: dict[str, pl.DataType] = {
    "channel": pl.String(),
    "waiting": pl.UInt32(),
    **dict.fromkeys(("arriving", "still_late", "new_late", "late", "lower", "upper", "lost"), pl.Float64()),
}


def forecast(
    observations: pl.DataFrame,
    *,
    taken_at: datetime,
    hours: float = 24,
    table: pl.DataFrame | None = None,
    chances: pl.DataFrame | None = None,
    past: pl.DataFrame | None = None,
) -> pl.DataFrame:
    """Return how many of those missing are merely late and when they come, and how many new ones will be on their way.

    `arriving`, `still_late` and `lost` of a channel add up to `waiting`: what is late is late by the same chances
    everywhere, and the curve says only when it comes.

    Args:
        observations: as returned by `observations.observations`.
        taken_at: now.
        hours: how far ahead.
        table: as returned by `lateness`; made from the observations where not given.
        chances: `ledger_row`, `probability_late`, as the findings have them; by the curve alone where not given.
        past: what was issued so far, for the pace; the observations where not given.

    Returns:
        `channel`, `waiting` (missing now, with a chance), `arriving` (expected to come until then), `still_late` (of
        those waiting, expected to come later), `new_late` (of those yet to be issued, at the pace of the same weekday
        in the last four weeks), `late` (both on their way then), `lower`, `upper` (90 %), `lost` (not to come).
    """
    table = table if table is not None else lateness(observations)
    if table.is_empty():
        return pl.DataFrame(schema=FORECAST)
    span = hours * 60
    waiting = _waiting(observations, table, chances, span)
    old = waiting.group_by("channel").agg(
        waiting=pl.len(),
        arriving=total(pl.col("arrives")),
        still_late=total(pl.col("late")),
        spread=total(pl.col("late") * (1 - pl.col("late"))),
        lost=total(1 - pl.col("chance")),
    )
    new = _yet_to_come(observations if past is None else past, table, taken_at, span)
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


def _waiting(
    observations: pl.DataFrame, table: pl.DataFrame, chances: pl.DataFrame | None, span: float
) -> pl.DataFrame:
    """Return the missing with `chance` (to be late), and of it `arrives` (within the span) and `late` (later)."""
    waiting = observations.filter(~pl.col("visible") & pl.col("age").is_not_null())
    if chances is not None:
        known = chances.select("ledger_row", chance="probability_late").drop_nulls().unique("ledger_row")
        waiting = waiting.join(known, on="ledger_row", how="inner", maintain_order="left")
    now = at_age(waiting, table)
    then = at_age(waiting.with_columns(then=pl.col("age") + span), table, age="then")
    coming = (now["survival"] - now["plateau"]).clip(0)
    soon = ((now["survival"] - then["survival"]).clip(0) / coming).clip(0, 1).fill_nan(0.0).fill_null(0.0)
    if chances is None:
        waiting = waiting.with_columns(chance=(coming / now["survival"]).clip(0, 1))
    waiting = waiting.with_columns(arrives=pl.col("chance") * soon)
    return waiting.with_columns(late=pl.col("chance") - pl.col("arrives"))


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
