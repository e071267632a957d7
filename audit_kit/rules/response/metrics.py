"""The company's own machines: when a measurement was over its threshold, and when it will be.

Thresholds are `[policy.metrics]`: the highest value that is allowed. Shares may be written as 0.9, 90 or 90 %.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl

from audit_kit.rules.response.coincidence import coincidences, troubles
from audit_kit.rules.response.crossing import forecast

if TYPE_CHECKING:
    from collections.abc import Callable

    from audit_kit.rules.response.response_evidence import ResponseEvidence

SHARES = ("cpu", "memory", "disk")
PERCENT = ("%", "％", "percent", "pct", "百分比", "百分之")
MOST_SHARE = 1.5  # a share above this is written in percent
SOON_DAYS = 30
GAP_STEPS = 3.0  # so many usual steps without a reading, and what lies between is not known
EPISODES = {
    "host": pl.String(),
    "metric": pl.String(),
    "starts_at": pl.Datetime("us"),
    "ends_at": pl.Datetime("us"),
    "until": pl.Datetime("us"),
    "minutes": pl.Float64(),
    "peak": pl.Float64(),
    "limit": pl.Float64(),
    "readings": pl.UInt32(),
    "source_file": pl.String(),
    "source_row": pl.UInt32(),
}
FORECASTS = {
    "host": pl.String(),
    "metric": pl.String(),
    "days": pl.UInt32(),
    "value": pl.Float64(),
    "limit": pl.Float64(),
    "growth": pl.Float64(),
    "earliest": pl.Datetime("us"),
    "likely": pl.Datetime("us"),
    "latest": pl.Datetime("us"),
    "state": pl.String(),
}
LEVELS = {
    "host": pl.String(),
    "metric": pl.String(),
    "at": pl.Datetime("us"),
    "value": pl.Float64(),
    "limit": pl.Float64(),
    "readings": pl.UInt32(),
}
MOST_LEVELS = 20_000  # rows of all hosts and metrics: hours, else days
_ONE = ("host", "metric")


def readings(evidence: ResponseEvidence) -> pl.DataFrame:
    """Return the measurements that have a threshold, in order of host, metric and time.

    `host`, `metric`, `at`, `value`, `limit` (both as shares where the metric is one), `unit`, `step` (usual minutes
    between readings), `source_file`, `source_row`. Of readings at one time the highest counts.
    """
    limits = pl.DataFrame(
        {"metric": list(evidence.policy.metrics), "limit": list(evidence.policy.metrics.values())},
        schema={"metric": pl.String, "limit": pl.Float64},
    )
    rows = evidence.metrics.filter(pl.col("at").is_not_null() & pl.col("value").is_finite())
    rows = rows.filter(pl.col("at") <= pl.lit(evidence.taken_at))
    rows = rows.with_columns(pl.col("metric").cast(pl.String), pl.col("host").fill_null(""))
    rows = rows.join(limits, on="metric", how="inner", maintain_order="left")
    unit = pl.col("unit").str.strip_chars().str.to_lowercase()
    bare = pl.col("metric").is_in(SHARES) & (unit.is_null() | (unit == ""))
    percent = unit.is_in(PERCENT) | (bare & (pl.col("value").max().over(_ONE) > MOST_SHARE))
    of_share = (percent | bare).fill_null(value=False)
    rows = rows.with_columns(
        value=pl.when(percent.fill_null(value=False)).then(pl.col("value") / 100).otherwise("value"),
        limit=pl.when(of_share & (pl.col("limit") > MOST_SHARE)).then(pl.col("limit") / 100).otherwise("limit"),
        share=of_share,
    )
    rows = rows.sort(*_ONE, "at", "value", maintain_order=True).unique([*_ONE, "at"], keep="last", maintain_order=True)
    step = pl.col("at").diff().over(_ONE).dt.total_seconds() / 60
    return rows.with_columns(step=step.median().over(_ONE)).select(
        *_ONE, "at", "value", "limit", "unit", "share", "step", "source_file", "source_row"
    )


def episodes(evidence: ResponseEvidence) -> pl.DataFrame:
    """Return each time that a measurement stayed over its threshold: see `EPISODES`.

    It lasts from the first reading over the threshold to the first one not over it, `ends_at`; that is null where the
    readings stop before, and `until` is the last reading over it.
    """
    rows = evidence.once(readings)
    before, after = pl.col("at").shift(1).over(_ONE), pl.col("at").shift(-1).over(_ONE)
    minutes = (pl.col("at") - before).dt.total_seconds() / 60
    over = pl.col("value") > pl.col("limit")
    torn = (minutes > GAP_STEPS * pl.col("step")).fill_null(value=True)
    begins = over & (~over.shift(1).over(_ONE).fill_null(value=False) | torn)
    rows = rows.with_columns(
        over=over,
        episode=begins.cast(pl.UInt32).cum_sum().over(_ONE),
        next_at=pl.when((after - pl.col("at")).dt.total_seconds() / 60 <= GAP_STEPS * pl.col("step")).then(after),
    )
    table = (
        rows.filter("over")
        .group_by(*_ONE, "episode", maintain_order=True)
        .agg(
            starts_at=pl.col("at").first(),
            ends_at=pl.col("next_at").last(),
            until=pl.col("at").last(),
            peak=pl.col("value").max(),
            limit=pl.col("limit").first(),
            readings=pl.len(),
            source_file=pl.col("source_file").first(),
            source_row=pl.col("source_row").first(),
        )
    )
    lasted = pl.coalesce("ends_at", "until") - pl.col("starts_at")
    return table.with_columns(minutes=lasted.dt.total_seconds() / 60).select(*EPISODES).cast(pl.Schema(EPISODES))


def levels(evidence: ResponseEvidence) -> pl.DataFrame:
    """Return the highest reading of each hour, or day where hours are too many: see `LEVELS`."""
    rows = evidence.once(readings)
    for every in ("1h", "1d"):
        told = rows.group_by(*_ONE, pl.col("at").dt.truncate(every), maintain_order=True).agg(
            pl.col("value").max(), pl.col("limit").first(), readings=pl.len()
        )
        if told.height <= MOST_LEVELS:
            break
    return told.select(*LEVELS).cast(pl.Schema(LEVELS))


def together(evidence: ResponseEvidence) -> pl.DataFrame:
    """Return whether times over a threshold fall together with troubles: see `coincidence.COINCIDENCES`."""
    return coincidences(evidence, evidence.once(episodes), evidence.once(readings))


def forecasts(evidence: ResponseEvidence) -> pl.DataFrame:
    """Return for each host and metric when its threshold will be crossed: see `FORECASTS`.

    `days` with readings, the last `value`, `growth` a day; the crossing will most likely be at `likely`, with 90 %
    between `earliest` and `latest` (null: not within the time that can be foreseen). `state`: rising, flat, over (it is
    now), short (too few days).
    """
    rows = evidence.once(readings)
    told = []
    for (host, metric), part in rows.group_by(_ONE, maintain_order=True):
        found = forecast(part["at"], part["value"], float(part["limit"][0]))
        told.append({"host": host, "metric": metric, "value": part["value"][-1], "limit": part["limit"][0], **found})
    return pl.DataFrame(told, schema=FORECASTS)


def metric_over_threshold(evidence: ResponseEvidence) -> pl.DataFrame:
    """Find each time that a measurement was over its threshold, and what trouble it fell together with."""
    found = evidence.once(episodes)
    linked = evidence.once(together)
    if found.is_empty():
        return found
    odds = pl.col("odds").round(1).cast(pl.String)
    beyond = linked.filter("more_than_chance").select("metric", "event", odds=odds)
    rows = found.with_row_index("place")
    met = _met(evidence, rows).join(rows.select("place", "metric"), on="place")
    met = met.join(beyond, on=["metric", "event"], how="left", maintain_order="left")
    linked_too = pl.col("odds").is_not_null()
    part = pl.concat_str("event", pl.when(linked_too).then(pl.lit("_linked")).otherwise(pl.lit("")))
    parts = met.group_by("place", maintain_order=True).agg(
        met=pl.struct(part=part, count=pl.col("count").cast(pl.String), odds=pl.col("odds").fill_null("")),
        more=linked_too.any(),
    )
    rows = rows.join(parts, on="place", how="left", maintain_order="left")
    last = pl.when(pl.col("ends_at").is_null()).then(pl.lit("open")).otherwise(pl.lit("ended"))
    with_trouble = pl.when(pl.col("met").is_not_null()).then(pl.lit("_met")).otherwise(pl.lit(""))
    return rows.select(
        "host",
        "metric",
        "until",
        "met",
        "limit",
        "source_file",
        "source_row",
        about=pl.concat_list("host", "metric", pl.col("starts_at").cast(pl.String)),
        variant=pl.concat_str(last, with_trouble).replace({"ended": None, "ended_met": "met"}),
        severity=pl.when("more").then(pl.lit("high")),
        since="starts_at",
        ends="ends_at",
        minutes=pl.col("minutes").round(1),
        peak=pl.col("peak").round(4),
        count="readings",
    )


def _met(evidence: ResponseEvidence, rows: pl.DataFrame) -> pl.DataFrame:
    """Return the trouble within each time over a threshold: `place`, `event`, `count`."""
    spans = rows.select("place", since="starts_at", till=pl.coalesce("ends_at", "until"))
    both = spans.join_where(
        evidence.once(troubles), pl.col("starts_at") <= pl.col("till"), pl.col("ends_at") >= pl.col("since")
    )
    return both.group_by("place", "event").agg(count=pl.len()).sort("place", "event")


def metric_forecast(evidence: ResponseEvidence) -> pl.DataFrame:
    """Find measurements that will cross their threshold."""
    rows = evidence.once(forecasts).filter(pl.col("state") == "rising")
    day = {name: pl.col(name).dt.date() for name in ("earliest", "likely", "latest")}
    left = (pl.col("likely") - pl.lit(evidence.taken_at)).dt.total_days()
    return rows.select(
        "host",
        "metric",
        "value",
        "limit",
        "days",
        *(expression.alias(name) for name, expression in day.items()),
        about=pl.concat_list("host", "metric"),
        variant=pl.when(pl.col("latest").is_null()).then(pl.lit("open")),
        severity=pl.when(left <= SOON_DAYS).then(pl.lit("high")),
        growth=pl.col("growth") * 30,
    )


CAUSES: dict[str, Callable[[ResponseEvidence], pl.DataFrame]] = {
    "metric_over_threshold": metric_over_threshold,
    "metric_forecast": metric_forecast,
}
