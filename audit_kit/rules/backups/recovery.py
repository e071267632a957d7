"""How much would be lost: the age of the newest backup, at every hour and at the worst moment.

Three series: listed (the catalogue says so), restorable (it ended well and has all it needs), verified (a check read
it and was good). The worst moment lies just before a next backup is ready, or now.
"""

from __future__ import annotations

from datetime import datetime, timedelta

import polars as pl

SERIES = ("listed", "restorable", "verified")
POINTS = {"at": pl.Datetime("us"), "series": pl.Enum(list(SERIES)), "minutes": pl.Float64()}
MINUTE = 60_000_000


def steps(all_runs: pl.DataFrame, series: str) -> pl.DataFrame:
    """Return `ready_at`, `point`: from when on `point` was the newest moment that could be brought back.

    Copies are left aside: the scan of a store is no backup run.
    """
    runs = all_runs.filter(pl.col("data_time").is_not_null() & (pl.col("kind") != "copy"))
    if series == "listed":
        ready = runs.select(ready_at=pl.coalesce("finished_at", "start"), point="data_time")
    elif series == "restorable":
        ready = runs.filter("restorable").select("ready_at", point="data_time")
    else:
        ready = runs.filter(pl.col("restorable") & pl.col("verified_at").is_not_null()).select(
            ready_at=pl.max_horizontal("ready_at", "verified_at"), point="data_time"
        )
    return (
        ready.drop_nulls()
        .sort("ready_at", "point")
        .with_columns(pl.col("point").cum_max())
        .unique("ready_at", keep="last", maintain_order=True)
        .filter(pl.col("point") > pl.col("point").shift(1).fill_null(pl.datetime(1, 1, 1)))
    )


def points(runs: pl.DataFrame, now: datetime) -> pl.DataFrame:
    """Return `at` (every full hour), `series`, `minutes`: the age of the newest backup; null before the first."""
    frames = [pl.DataFrame(schema=POINTS)]
    first = steps(runs, "listed")["ready_at"].min()
    if not isinstance(first, datetime) or first > now:
        return frames[0]
    opening = first.replace(minute=0, second=0, microsecond=0) + timedelta(hours=1)
    hours = pl.DataFrame({"at": pl.datetime_range(opening, now, "1h", time_unit="us", eager=True)})
    for series in SERIES:
        known = hours.join_asof(steps(runs, series), left_on="at", right_on="ready_at", strategy="backward")
        minutes = (pl.col("at") - pl.col("point")).dt.total_microseconds() / MINUTE
        frames.append(known.select("at", series=pl.lit(series, POINTS["series"]), minutes=minutes))
    return pl.concat(frames)


def worst(runs: pl.DataFrame, now: datetime, series: str) -> tuple[float, datetime, datetime] | None:
    """Return the longest age in minutes, the moment it was reached and the point then known; null without any."""
    known = steps(runs, series).filter(pl.col("ready_at") <= now)
    if known.is_empty():
        return None
    ages = known.with_columns(until=pl.col("ready_at").shift(-1).fill_null(now)).with_columns(
        minutes=(pl.col("until") - pl.col("point")).dt.total_microseconds() / MINUTE
    )
    row = ages.sort("minutes", descending=True, maintain_order=True).row(0, named=True)
    return row["minutes"], row["until"], row["point"]
