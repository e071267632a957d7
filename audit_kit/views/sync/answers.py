"""Computed plain sentences that open the page on delays: how fast, how good, what stopped, what tomorrow brings."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import polars as pl

from audit_kit.core.schema import ALL_CHANNELS
from audit_kit.rules.sync.curves import quantiles, reverse_time, survival
from audit_kit.rules.sync.forecast import forecast
from audit_kit.rules.sync.lateness import lateness, lost_interval
from audit_kit.rules.sync.service_level import budget_by_incident, of_delays, service_level
from audit_kit.views.show.sentences import bounds, listed, percent, unknown_sources

if TYPE_CHECKING:
    from audit_kit.analysis.analysis import Analysis
    from audit_kit.core.words import Words
    from audit_kit.views.show.page import Page


def delays(page: Page) -> list[str]:
    """Return the delay page's sentences; where only the platform tells of delays, what it alone can tell."""
    words, work = page.words, page.analysis
    told = of_delays(work.observations, work.findings)
    timed = told.filter(pl.col("minutes").is_not_null())
    if timed.is_empty():
        lines = _of_platform(words, work)
    else:
        table = lateness(told, history=page.whole.history)
        lines = [*_speed(words, timed), *_level(words, work, told), *_stops(words, work)]
        lines += [*_lateness(words, work, table), *_tomorrow(words, work, told, table)]
    return page.say([*lines, unknown_sources(page, ("sync_log", "notices"))])


def _of_platform(words: Words, work: Analysis) -> list[str]:
    known = work.platform.filter(pl.col("visible_at").is_not_null() & pl.col("issued_at").is_not_null())
    if known.is_empty():
        return [words("answer_sync.none")]
    delay, room = (
        ((until - pl.col("issued_at")).dt.total_microseconds() / 60e6).clip(0).round(0)
        for until in (pl.col("visible_at"), pl.lit(work.taken_at))
    )
    curve = reverse_time(known.select(minutes=delay, room=pl.max_horizontal(delay, room)))
    half, most = (curve.filter(pl.col("survival") <= share)["minutes"].min() for share in (0.5, 0.05))
    spans = {name: words.about(float(str(value))) for name, value in (("half", half), ("most", most))}
    return [words("answer_sync.platform_only", **spans), words("answer_sync.no_ledger")]


def _speed(words: Words, timed: pl.DataFrame) -> list[str]:
    whole = quantiles(survival(timed.with_columns(channel=pl.lit(ALL_CHANNELS))), (0.5, 0.95))["minutes"].to_list()
    each = quantiles(survival(timed), (0.95,)).sort("minutes", nulls_last=True)
    slowest = each.row(-1, named=True)
    line = words(
        "answer_sync.speed",
        half=words.about(whole[0]),
        most=words.about(whole[1]),
        slowest=slowest["channel"],
        slow=words.about(slowest["minutes"]),
    )
    presence = timed.filter("visible").select((pl.col("since") == 0).mean()).item() or 0
    return [line, words("answer_sync.presence")] if presence > 0.5 else [line]  # noqa: PLR2004 - most


def _level(words: Words, work: Analysis, told: pl.DataFrame) -> list[str]:
    policy = work.engagement.policy.sync
    levels = service_level(told, policy=policy, taken_at=work.taken_at).filter(pl.col("channel") == ALL_CHANNELS)
    if levels.is_empty():
        return []
    last = levels.row(-1, named=True)
    lines = [
        words(
            "answer_sync.level",
            month=last["month"],
            hours=f"{policy.target_hours:g}",
            share=percent(last["share"]),
            lower=percent(last["lower"]),
            upper=percent(last["upper"]),
            target=percent(policy.target_share),
            state=words(f"answer_sync.{last['state']}"),
            budget=words.count(last["budget"]),
            used=words.count(last["used"]),
        )
    ]
    if levels.height > 1:
        before = levels.row(-2, named=True)
        change = 100 * (last["share"] - before["share"])
        way = words("answer_sync.up" if change >= 0 else "answer_sync.down")
        share = percent(before["share"])
        points = f"{abs(change):.2f}"
        lines.append(words("answer_sync.trend", before=before["month"], share=share, change=way, points=points))
    used = budget_by_incident(told, work.findings, work.stops, policy=policy, taken_at=work.taken_at)
    for row in used.head(1).iter_rows(named=True):
        name = words("answer_sync.slow") if row["kind"] == "slow" else row["incident"]
        misses, share = words.count(row["misses"]), percent(row["share"])
        lines.append(words("answer_sync.incident", incident=name, misses=misses, share=share))
    return lines


def _stops(words: Words, work: Analysis) -> list[str]:
    if work.stops.is_empty():
        return [words("answer_sync.no_stops")]
    length = (pl.col("ends_at").fill_null(work.taken_at) - pl.col("starts_at")).dt.total_seconds() / 60
    longest = work.stops.with_columns(length=length).sort("length").row(-1, named=True)
    hours = work.stops.with_columns(hour=pl.col("starts_at").dt.truncate("1h")).unique(["hour", "announced"])
    return [
        words(
            "answer_sync.stops",
            count=hours["hour"].n_unique(),
            announced=hours.filter("announced").height,
            channel=longest["channel"],
            start=f"{longest['starts_at']:%Y-%m-%d %H:%M}",
            length=words.about(longest["length"]),
            open=words("answer_sync.open") if longest["ends_at"] is None else "",
        )
    ]


def _lateness(words: Words, work: Analysis, table: pl.DataFrame) -> list[str]:
    chances = work.findings["probability_late"].drop_nulls()
    if chances.is_empty():
        return [words("answer_sync.none_missing")]
    lost = lost_interval(chances)
    late = words.count(len(chances) - lost["expected"])
    lines = [words("answer_sync.late", missing=words.count(len(chances)), late=late, **bounds(words, lost))]
    own = table.filter(pl.col("channel").is_in(work.observations["channel"].unique().implode()))
    for name, chosen in (("uncertain", ~pl.col("certain")), ("borrowed", pl.col("method").str.contains("history"))):
        channels = own.filter(chosen)["channel"].unique().sort().to_list()
        if channels:
            lines.append(words(f"answer_sync.{name}", channels=listed(words, channels)))
    return lines


def _tomorrow(words: Words, work: Analysis, told: pl.DataFrame, table: pl.DataFrame) -> list[str]:
    ahead = forecast(told, taken_at=work.taken_at, table=table)
    if ahead.is_empty():
        return []
    total = ahead.select(pl.col("late", "arriving").sum(), half=((pl.col("upper") - pl.col("late")) ** 2).sum().sqrt())
    row = total.row(0, named=True)
    return [
        words(
            "answer_sync.tomorrow",
            until=f"{work.taken_at + timedelta(days=1):%Y-%m-%d %H:%M}",
            late=words.count(row["late"]),
            lower=words.count(max(0.0, row["late"] - row["half"])),
            upper=words.count(row["late"] + row["half"]),
            arriving=words.count(row["arriving"]),
        )
    ]
