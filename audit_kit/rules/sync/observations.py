"""How long an invoice takes to become visible, and how likely a missing one is merely late.

Minutes are operational: time from issue, less the time in which the platform took nothing in on that channel.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl

from audit_kit import resources
from audit_kit.core import schema
from audit_kit.core.identity import DIGITAL, is_digital, is_old
from audit_kit.core.schema import ALL_CHANNELS
from audit_kit.rules.sync.curves import quantiles, survival, typed
from audit_kit.rules.sync.elsewhere import TELLING, never_listed
from audit_kit.rules.sync.lateness import HISTORY, at_age, chance, lateness, lost_interval, probability_late, remembered
from audit_kit.rules.sync.service_level import budget_by_incident, of_delays, service_level
from audit_kit.rules.sync.settling import Settlement, settle
from audit_kit.rules.sync.stops import STOPS, StoodStill, stops

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

__all__ = [
    "HISTORY",
    "OBSERVATIONS",
    "STOPS",
    "Settlement",
    "budget_by_incident",
    "chance_of",
    "lateness",
    "lost_interval",
    "observations",
    "of_delays",
    "operational",
    "probability_late",
    "quantiles",
    "remembered",
    "service_level",
    "settle",
    "stops",
    "survival",
]

VISIBLE = ("matched", "matched_cleaned", "mistyped", "conflict")
TIMED_SHARE = 0.2  # a channel with fewer of its arrivals timed is judged by presence alone

OBSERVATIONS: dict[str, pl.DataType] = {
    "ledger_row": pl.UInt32(),
    "channel": pl.String(),
    "issued_at": pl.Datetime("us"),
    "visible_at": pl.Datetime("us"),
    "minutes": pl.Float64(),
    "visible": pl.Boolean(),
    "since": pl.Float64(),
    "weight": pl.Float64(),
    "age": pl.Float64(),
    "loose": pl.Float64(),
    "held": pl.Float64(),
}


def observations(
    ledger: pl.DataFrame,
    platform: pl.DataFrame,
    matches: pl.DataFrame,
    *,
    sync_log: pl.DataFrame,
    taken_at: datetime,
    exports: Mapping[datetime, pl.DataFrame] | None = None,
    notices: pl.DataFrame | None = None,
    known_stops: pl.DataFrame | None = None,
) -> pl.DataFrame:
    """Return one row per ledger row that is visible on the platform or missing from it.

    A missing voucher of a kind that the platform never lists says nothing of it and is left out.

    Args:
        ledger: canonical ledger.
        platform: canonical platform export; its `visible_at` is the time of arrival where it has one.
        matches: the outcome of `reconcile`.
        sync_log: canonical; its `visible`, else `received` events give the time of arrival where the platform does not.
        taken_at: when the export was taken.
        exports: earlier exports by the time they were taken, each with `invoice_key`; a first appearance is then known
            to lie between two of them.
        notices: canonical; announced stops.
        known_stops: the stops to take off, where they were found before.

    Returns:
        `ledger_row`, `channel`, `issued_at`, `visible_at`, `minutes` (operational delay, or age so far; null without
        a time), `visible`, `since` (not null: the delay is known only to lie between `since` and `minutes`), `weight`,
        `age` (operational, at the time of the export, of every invoice), `loose` (the same for one that a partial stop
        still open did not hold up), `held` (share that it does hold up).
    """
    rows = _rows(ledger, platform, matches, sync_log)
    rows = rows.with_columns(previous=pl.lit(None, pl.Datetime("us")))
    if exports:
        rows = _between_exports(rows, exports, taken_at)
    timed = pl.col("visible_at").is_not_null()
    known = (timed & pl.col("visible")).sum().over("channel")
    seen = pl.col("visible").sum().over("channel")
    rows = rows.with_columns(exact=known >= TIMED_SHARE * seen, known=known, seen=seen)
    rows = rows.with_columns(visible_at=pl.when("exact").then("visible_at"))
    if known_stops is None:
        told = rows.with_columns(since="previous")
        known_stops = stops(told, notices if notices is not None else schema.empty("notices"), taken_at=taken_at)
    return operational(rows, known_stops, taken_at=taken_at)


def _rows(ledger: pl.DataFrame, platform: pl.DataFrame, matches: pl.DataFrame, sync_log: pl.DataFrame) -> pl.DataFrame:
    """Return key, channel, times and visibility of every ledger row that is visible or missing."""
    wanted = pl.col("ledger_row").is_not_null() & pl.col("outcome").is_in([*VISIBLE, "missing"])
    rows = matches.filter(wanted).select(
        "ledger_row", "platform_row", "invoice_key", visible=pl.col("outcome") != "missing"
    )
    absent = rows.filter(~pl.col("visible"))["ledger_row"]
    telling = ledger.select(pl.col(name).gather(absent) for name in TELLING if name in ledger.columns)
    never = absent.filter(never_listed(telling).is_not_null())
    rows = rows.filter(~pl.col("ledger_row").is_in(never.implode()))
    place = rows["ledger_row"]
    arrival = platform["visible_at"] if "visible_at" in platform.columns else pl.Series([None] * platform.height)
    rows = rows.with_columns(
        issued_at=ledger["issued_at"].gather(place),
        channel=ledger["channel"].gather(place) if "channel" in ledger.columns else pl.lit(None, pl.String),
        visible_at=arrival.cast(pl.Datetime("us")).gather(rows["platform_row"]),
    )
    if rows["channel"].null_count():
        rows = rows.with_columns(channel=pl.coalesce("channel", _channel_of_number()))
    logged = sync_log.filter(
        pl.col("event").cast(pl.String).is_in(["visible", "received"]) & pl.col("at").is_not_null()
    )
    if logged.is_empty():
        return rows
    first = logged.group_by(invoice_key="invoice_number").agg(
        logged_at=pl.coalesce(
            pl.col("at").filter(pl.col("event") == "visible").min(),
            pl.col("at").filter(pl.col("event") == "received").min(),
        )
    )
    rows = rows.join(first, on="invoice_key", how="left", maintain_order="left")
    return rows.with_columns(visible_at=pl.when("visible").then(pl.coalesce("visible_at", "logged_at"))).drop(
        "logged_at"
    )


def _channel_of_number() -> pl.Expr:
    """Return the channel that the fifth digit of a 20-digit number hints at, else that of an old number."""
    words = resources.load("causes")["channels"]
    key = pl.col("invoice_key")
    digit = key.str.slice(4, 1)
    hint = digit.replace_strict(words["digits"], default=None, return_dtype=pl.String)
    named = pl.coalesce(hint, pl.concat_str(pl.lit(words["digit"]), pl.lit(" "), digit))
    other = (key.str.len_bytes() == DIGITAL) & ~is_old(key)
    return (
        pl.when(is_digital(key))
        .then(named)
        .when(key.is_null() | other)
        .then(pl.lit(words["unknown"]))
        .otherwise(pl.lit(words["old"]))
    )


def _between_exports(rows: pl.DataFrame, exports: Mapping[datetime, pl.DataFrame], taken_at: datetime) -> pl.DataFrame:
    """Set `visible_at` to the first export that lists an invoice and `previous` to the last one that does not."""
    times = sorted(time for time in exports if time < taken_at)
    firsts = pl.concat(exports[time].select("invoice_key", first=pl.lit(time, pl.Datetime("us"))) for time in times)
    firsts = firsts.group_by("invoice_key").agg(pl.col("first").min())
    before = {later: earlier for earlier, later in zip(times, [*times[1:], taken_at], strict=True)}
    rows = rows.join(firsts, on="invoice_key", how="left", maintain_order="left")
    shown = pl.when(pl.col("visible") & pl.col("visible_at").is_null()).then(pl.col("first").fill_null(taken_at))
    last_absent = shown.replace_strict(before, default=None, return_dtype=pl.Datetime("us"))
    floor = pl.max_horizontal(last_absent.fill_null(pl.col("issued_at")), pl.col("issued_at"))
    return rows.with_columns(
        previous=pl.when(shown.is_not_null()).then(floor), visible_at=pl.coalesce("visible_at", shown)
    ).drop("first")


def operational(rows: pl.DataFrame, stops: pl.DataFrame, *, taken_at: datetime) -> pl.DataFrame:
    """Return the observations with their operational minutes; `rows` as prepared by `observations`.

    Where a channel has no times of arrival, presence at one age is all that is known: `since` is 0, and the wall-clock
    age is kept, since the share present at each age already shows every stop.
    """
    until = (
        pl.when(pl.col("visible") & pl.col("visible_at").is_not_null()).then("visible_at").otherwise(pl.lit(taken_at))
    )
    rows = (
        rows.with_columns(until=until.cast(pl.Datetime("us")))
        .with_columns(
            minutes=(pl.col("until") - pl.col("issued_at")).dt.total_microseconds() / 60e6,
            since=(pl.col("previous") - pl.col("issued_at")).dt.total_microseconds() / 60e6,
            age=(pl.lit(taken_at) - pl.col("issued_at")).dt.total_microseconds() / 60e6,
        )
        .with_columns(loose="age", held=pl.lit(1.0))
    )
    if stops.height and rows.height:
        parts = rows.group_by("channel", maintain_order=True)
        rows = pl.concat(_less_stops(part, str(name[0]), stops, taken_at) for name, part in parts).sort("ledger_row")
    presence = ~pl.col("exact") & pl.col("visible")
    untimed = pl.col("exact") & pl.col("visible") & pl.col("visible_at").is_null()
    shown = rows.select(
        "ledger_row",
        "channel",
        "issued_at",
        "visible_at",
        minutes=pl.when(untimed).then(None).otherwise(pl.col("minutes").clip(0).round(0)),
        visible="visible",
        since=pl.when(presence).then(0.0).otherwise(pl.col("since").clip(0).round(0)),
        weight=pl.when(pl.col("exact") & pl.col("visible")).then(pl.col("seen") / pl.col("known")).otherwise(1.0),
        age=pl.col("age").clip(0).round(0),
        loose=pl.col("loose").clip(0).round(0),
        held="held",
    )
    return typed(shown, OBSERVATIONS)


def _less_stops(part: pl.DataFrame, channel: str, stops: pl.DataFrame, taken_at: datetime) -> pl.DataFrame:
    """Take the time that a channel stood still off its minutes, where its arrivals are timed."""
    mine = stops.filter(pl.col("channel").is_in([channel, ALL_CHANNELS]))
    if mine.is_empty() or not part["exact"].any() or part["issued_at"].null_count() == part.height:
        return part
    stood = StoodStill(mine, taken_at=taken_at)
    issued = stood.until(part["issued_at"])
    slipped = stood.slipped(part["issued_at"], part["visible_at"]).fill_null(0.0)
    return part.with_columns(
        minutes=pl.col("minutes")
        - (stood.until(part["until"]) - issued)
        + pl.when("visible").then(slipped).otherwise(0.0),
        since=pl.col("since") - (stood.until(part["previous"]) - issued),
        age=pl.col("age") - (stood.total - issued),
        loose=pl.col("age") - (stood.total - issued) + stood.loose(part["issued_at"]),
        held=pl.lit(stood.held),
    )


def chance_of(
    number: str,
    observations: pl.DataFrame,
    findings: pl.DataFrame,
    stops: pl.DataFrame,
    *,
    channel: str | None,
    issued_at: datetime,
    taken_at: datetime,
    history: pl.DataFrame | None = None,
) -> float | None:
    """Return how likely an invoice that is in no ledger is merely late; null where no delay is known.

    Args:
        number: its key, which hints at the channel where that is not known.
        observations: see `observations`.
        findings: of the same engagement: what is missing for a reason of its own says nothing of delays.
        stops: see `stops`.
        channel: by which it was issued, or null.
        issued_at: when.
        taken_at: when the export was taken.
        history: earlier months' curves to borrow from.
    """
    telling = of_delays(observations, findings)
    table = lateness(telling, history=history)
    if table.is_empty() or issued_at > taken_at:
        return None
    row = pl.DataFrame(
        {"invoice_key": [number], "issued_at": [issued_at]}, schema_overrides={"issued_at": pl.Datetime("us")}
    )
    row = row.with_columns(
        ledger_row=pl.lit(0, pl.UInt32),
        channel=pl.lit(channel) if channel else _channel_of_number(),
        visible=pl.lit(value=False),
        visible_at=pl.lit(None, pl.Datetime("us")),
        previous=pl.lit(None, pl.Datetime("us")),
        seen=pl.lit(1.0),
        known=pl.lit(1.0),
    )
    same = telling.filter("visible", pl.col("channel") == row["channel"][0])
    row = row.with_columns(exact=pl.lit(not (same["since"] == 0).any()))
    known = at_age(operational(row, stops, taken_at=taken_at), table)
    late: float | None = known.select(chance(pl.col("survival"), pl.col("plateau"), pl.col("invoices"))).item()
    return late
