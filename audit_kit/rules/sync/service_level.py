"""The service level: the share visible within the target, the budget of misses, and which incident used it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl

from audit_kit.core.cause_records import of_stage, records
from audit_kit.core.schema import ALL_CHANNELS
from audit_kit.rules.sync.curves import survival

if TYPE_CHECKING:
    from datetime import datetime

    from audit_kit.core.policy import SyncPolicy


def of_delays(observations: pl.DataFrame, findings: pl.DataFrame) -> pl.DataFrame:
    """Return the observations that say something of delays.

    Left out is what is missing because of its entry, its status or the way the export was asked: the platform may well
    have had it in time.
    """
    silent = [name for name, cause in records().items() if not cause.delays]
    rows = findings.filter(pl.col("cause").is_in(silent))["ledger_row"].drop_nulls()
    return observations.filter(pl.col("visible") | ~pl.col("ledger_row").is_in(rows.implode()))


def wall_clock(observations: pl.DataFrame, *, taken_at: datetime) -> pl.DataFrame:
    """Return the observations with wall-clock minutes: a user waits through a stop, whoever's fault it is."""
    until = (
        pl.when(pl.col("visible") & pl.col("visible_at").is_not_null()).then("visible_at").otherwise(pl.lit(taken_at))
    )
    wall = ((until - pl.col("issued_at")).dt.total_microseconds() / 60e6).clip(0).round(0)
    return observations.with_columns(minutes=pl.when(pl.col("minutes").is_not_null()).then(wall))


def service_level(observations: pl.DataFrame, *, policy: SyncPolicy, taken_at: datetime) -> pl.DataFrame:
    """Return how many became visible within the policy's target, month by month, per channel and in all.

    Returns:
        `month`, `channel` ("全部" = all), `issued`, `share` (Kaplan–Meier on wall-clock time), `lower`, `upper` (95 %),
        `target_minutes`, `target_share`, `budget` (misses allowed), `used` (misses), `used_share` (of the budget),
        `state` (fails, pass, unknown: the interval holds the target).
    """
    timed = wall_clock(observations, taken_at=taken_at).filter(pl.col("issued_at").is_not_null())
    target = policy.target_hours * 60
    keyed = timed.with_columns(month=pl.col("issued_at").dt.strftime("%Y-%m"))
    whole = pl.concat([keyed.with_columns(channel=pl.lit(ALL_CHANNELS)), keyed])
    whole = whole.with_columns(stratum=pl.concat_str("month", pl.lit("\t"), "channel"))
    curve = survival(whole, by="stratum").filter(pl.col("minutes") <= target)
    last = curve.group_by("stratum", maintain_order=True).last()
    counts = whole.group_by("stratum", "month", "channel").agg(issued=pl.len())
    table = counts.join(last, on="stratum", how="inner").with_columns(
        share=1 - pl.col("survival"), low=1 - pl.col("upper"), high=1 - pl.col("lower")
    )
    budget = (1 - policy.target_share) * pl.col("issued")
    used = pl.col("survival") * pl.col("issued")
    state = (
        pl.when(pl.col("low") >= policy.target_share)
        .then(pl.lit("pass"))
        .when(pl.col("high") < policy.target_share)
        .then(pl.lit("fails"))
        .otherwise(pl.lit("unknown"))
    )
    return table.select(
        "month",
        "channel",
        "issued",
        "share",
        lower="low",
        upper="high",
        target_minutes=pl.lit(target),
        target_share=pl.lit(policy.target_share),
        budget=budget,
        used=used,
        used_share=used / budget,
        state=state,
    ).sort("month", "channel")


def budget_by_incident(
    observations: pl.DataFrame, findings: pl.DataFrame, stops: pl.DataFrame, *, policy: SyncPolicy, taken_at: datetime
) -> pl.DataFrame:
    """Return which incident used the budget of misses: `incident`, `kind` (stop, cause, slow), `misses`, `share`.

    A miss is an invoice not visible within the target though it is old enough. A miss issued or due in a stop belongs
    to that stop, one with a finding to its cause, and what is left was merely slow.
    """
    target = policy.target_hours * 60
    misses = wall_clock(observations, taken_at=taken_at).filter(pl.col("minutes") > target)
    explained = findings.filter(pl.col("ledger_row").is_not_null() & ~pl.col("cause").is_in(of_stage("beside")))
    misses = misses.join(explained.select("ledger_row", "cause"), on="ledger_row", how="left").with_columns(
        incident=pl.lit(None, pl.String), kind=pl.lit(None, pl.String)
    )
    until = pl.min_horizontal(pl.col("issued_at").dt.offset_by(f"{int(target)}m"), pl.lit(taken_at))
    for stop in stops.sort("starts_at").iter_rows(named=True):
        end = stop["ends_at"] or taken_at
        touched = (pl.col("issued_at") < end) & (until > stop["starts_at"])
        mine = touched & ((pl.col("channel") == stop["channel"]) | (stop["channel"] == ALL_CHANNELS))
        free = mine & pl.col("incident").is_null() & pl.col("cause").is_in(["outage", "late"]).fill_null(value=True)
        name = stop["title"] or f"{stop['starts_at']:%Y-%m-%d %H:%M}"
        misses = misses.with_columns(
            incident=pl.when(free).then(pl.lit(name)).otherwise("incident"),
            kind=pl.when(free).then(pl.lit("stop")).otherwise("kind"),
        )
    caused = pl.col("cause").is_not_null() & ~pl.col("visible")
    misses = misses.with_columns(
        incident=pl.coalesce("incident", pl.when(caused).then("cause"), pl.lit("slow")),
        kind=pl.coalesce("kind", pl.when(caused).then(pl.lit("cause")), pl.lit("slow")),
    )
    table = misses.group_by("incident", "kind").agg(misses=pl.len())
    return table.with_columns(share=pl.col("misses") / pl.col("misses").sum()).sort(
        "misses", "kind", "incident", descending=[True, False, False]
    )
