"""The service level: the share visible within the target, the misses it allows, and what they are due to.

Without times of arrival nothing of it can be said, and every table here is empty.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl

from audit_kit.core.cause_records import of_stage, records
from audit_kit.core.schema import ALL_CHANNELS
from audit_kit.rules.sync.curves import CONFIDENCE_Z, total

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


def timed(observations: pl.DataFrame) -> pl.DataFrame:
    """Return the observations of the channels whose times of arrival are known; no rows where none is.

    A channel that the platform lists without times tells how long it takes to be listed of no invoice; one of which
    nothing is listed belongs to those that are timed, for its invoices are all still waiting.
    """
    if "visible_at" not in observations.columns or not observations["visible_at"].is_not_null().any():
        return observations.clear()
    silent = (pl.col("visible").any() & pl.col("visible_at").is_null().all()).over("channel")
    return observations.filter(~silent)


def judged(observations: pl.DataFrame, *, policy: SyncPolicy, taken_at: datetime) -> pl.DataFrame:
    """Return every invoice of which the target can be asked: those timed, and issued the target before the export.

    Wall-clock time counts: a user waits through a stop, whoever's fault it is. Every figure of the service level, the
    budget and the hours comes from these rows.

    Returns:
        `ledger_row`, `channel`, `issued_at`, `visible`, `weight`, `state`: `met`, `missed`, `open` (it arrived between
        two exports, and the target lies between them too), or `untimed` (it is visible, and its own time of arrival is
        not known). An untimed one weighs nothing, and the timed ones of its channel and month weigh so much more.
    """
    target = pl.duration(minutes=int(policy.target_hours * 60))
    known = timed(observations).filter(pl.col("issued_at") + target <= taken_at)
    dated = pl.col("visible") & pl.col("visible_at").is_not_null()
    group = ("channel", pl.col("issued_at").dt.truncate("1mo"))
    known = known.filter((dated.any() | ~pl.col("visible").any()).over(group))
    heavier = pl.col("visible").sum().over(group) / dated.sum().over(group)
    met = pl.col("visible_at") <= pl.col("issued_at") + target
    between = (pl.col("since") <= policy.target_hours * 60).fill_null(value=False)
    state = (
        pl.when(~pl.col("visible"))
        .then(pl.lit("missed"))
        .when(~dated)
        .then(pl.lit("untimed"))
        .when(met)
        .then(pl.lit("met"))
        .when(between)
        .then(pl.lit("open"))
        .otherwise(pl.lit("missed"))
    )
    weight = pl.when(~pl.col("visible")).then(1.0).when(dated).then(heavier).otherwise(0.0)
    return known.select("ledger_row", "channel", "issued_at", "visible", weight=weight, state=state)


def service_level(
    observations: pl.DataFrame, *, policy: SyncPolicy, taken_at: datetime, period: str | None = None
) -> pl.DataFrame:
    """Return how many became visible in time, month by month or as one `period`, per channel and in all.

    Returns:
        `month`, `channel` ("全部" = all), `issued` (those judged), `share` (null where some are open), `lower`, `upper`
        (95 %, Wilson; the open ones missed below, met above), `target_minutes`, `target_share`, `budget` (misses
        allowed), `used` (misses), `open`, `untimed` (counted by the share of the others), `used_share` (of the budget),
        `state` (fails, pass, unknown: the interval holds the target).
    """
    rows = judged(observations, policy=policy, taken_at=taken_at)
    month = pl.col("issued_at").dt.strftime("%Y-%m") if period is None else pl.lit(period)
    keyed = rows.with_columns(month=month)
    whole = pl.concat([keyed.with_columns(channel=pl.lit(ALL_CHANNELS)), keyed])

    def counted(state: str) -> pl.Expr:
        return total(pl.col("weight").filter(pl.col("state") == state))

    table = (
        whole.group_by("month", "channel")
        .agg(
            issued=total(pl.col("weight")),
            met=counted("met"),
            used=counted("missed"),
            open=counted("open"),
            untimed=(pl.col("state") == "untimed").sum(),
        )
        .filter(pl.col("issued") > 0)
    )
    best = pl.col("met") + pl.col("open")
    table = table.with_columns(
        share=pl.when(pl.col("open") == 0).then(pl.col("met") / pl.col("issued")),
        lower=_wilson(pl.col("met"), pl.col("issued"), -CONFIDENCE_Z),
        upper=_wilson(best, pl.col("issued"), CONFIDENCE_Z),
        budget=(1 - policy.target_share) * pl.col("issued"),
    )
    state = (
        pl.when(pl.col("lower") >= policy.target_share)
        .then(pl.lit("pass"))
        .when(pl.col("upper") < policy.target_share)
        .then(pl.lit("fails"))
        .otherwise(pl.lit("unknown"))
    )
    return table.select(
        "month",
        "channel",
        "issued",
        "share",
        "lower",
        "upper",
        target_minutes=pl.lit(policy.target_hours * 60),
        target_share=pl.lit(policy.target_share),
        budget="budget",
        used="used",
        open="open",
        untimed="untimed",
        used_share=pl.col("used") / pl.col("budget"),
        state=state,
    ).sort("month", "channel")


def _wilson(hits: pl.Expr, rows: pl.Expr, z: float) -> pl.Expr:
    """Return one end of Wilson's interval of a share: the lower where `z` is negative."""
    share = hits / rows
    half = z * (share * (1 - share) / rows + z * z / (4 * rows * rows)).sqrt()
    end = (share + z * z / (2 * rows) + half) / (1 + z * z / rows)
    return pl.when(share == float(z > 0)).then(share).otherwise(end).clip(0, 1)


def budget_by_incident(
    observations: pl.DataFrame, findings: pl.DataFrame, stops: pl.DataFrame, *, policy: SyncPolicy, taken_at: datetime
) -> pl.DataFrame:
    """Return which incident used the budget of misses: `incident`, `kind` (stop, cause, slow), `misses`, `share`.

    A miss is one of `judged`. One issued or due in a stop belongs to that stop, one that is still missing to its cause,
    and what is left was late for no particular reason.
    """
    target = policy.target_hours * 60
    misses = judged(observations, policy=policy, taken_at=taken_at).filter(pl.col("state") == "missed")
    explained = findings.filter(pl.col("ledger_row").is_not_null() & ~pl.col("cause").is_in(of_stage("beside")))
    misses = misses.join(explained.select("ledger_row", "cause"), on="ledger_row", how="left").with_columns(
        incident=pl.lit(None, pl.String), kind=pl.lit(None, pl.String)
    )
    until = pl.min_horizontal(pl.col("issued_at").dt.offset_by(f"{int(target)}m"), pl.lit(taken_at))
    for stop in stops.sort("starts_at", maintain_order=True).iter_rows(named=True):
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
    table = misses.group_by("incident", "kind").agg(misses=total(pl.col("weight")))
    return table.with_columns(share=pl.col("misses") / pl.col("misses").sum()).sort(
        "misses", "kind", "incident", descending=[True, False, False]
    )
