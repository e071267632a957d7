"""Computed plain sentences that open the page on delays: how fast, how good, what stopped, what tomorrow brings."""

from __future__ import annotations

from datetime import timedelta
from math import floor
from typing import TYPE_CHECKING, Any

import polars as pl

from audit_kit.core.schema import ALL_CHANNELS
from audit_kit.rules.sync.curves import quantiles, reverse_time, survival
from audit_kit.rules.sync.lateness import lateness
from audit_kit.rules.sync.service_level import of_delays, timed
from audit_kit.views.show.sentences import likely, listed, percent, stood_still, unknown_sources, untimed
from audit_kit.views.sync import tables

if TYPE_CHECKING:
    from audit_kit.analysis.analysis import Analysis
    from audit_kit.core.words import Words
    from audit_kit.views.show.page import Page

MOST_NAMED = 3


def delays(page: Page) -> list[str]:
    """Return the delay page's sentences: only what the times of arrival can carry, and what is missing or late."""
    words, work = page.words, page.analysis
    if work.observations.is_empty():
        lines = _of_platform(words, work)
    elif untimed(page.whole):
        lines = [words("answer_sync.untimed"), *_stops(page), *_lateness(page)]
    else:
        lines = [*_channels(page), *_speed(page), *_level(page), *_stops(page), *_lateness(page), *_tomorrow(page)]
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


def _channels(page: Page) -> list[str]:
    """Return which channels have no times of arrival, where others have."""
    seen = page.whole.observations
    rest = seen.join(timed(seen), on="ledger_row", how="anti")["channel"].drop_nulls().unique().sort().to_list()
    return [page.words("answer_sync.untimed_channels", channels=listed(page.words, rest))] if rest else []


def _speed(page: Page) -> list[str]:
    """Return how long half and most of the invoices took, over all channels that are timed and all months."""
    words, whole = page.words, page.whole
    told = timed(of_delays(whole.observations, whole.findings))
    half, most = quantiles(survival(told.with_columns(channel=pl.lit(ALL_CHANNELS))), (0.5, 0.95))["minutes"].to_list()
    first = words("answer_sync.half_never") if half is None else words("answer_sync.half", half=words.about(half))
    rest = words("answer_sync.most_never") if most is None else words("answer_sync.most", most=words.about(most))
    stopped = words("answer_sync.stopped") if stood_still(told, whole.taken_at) else ""
    outside = told.filter(~page.scope.holds()).height
    span = words("answer_sync.all_months") if outside else ""
    return [span + first + rest + stopped + words("answer_sync.stop")]


def _level(page: Page) -> list[str]:
    """Return the service level of what the page is about, its slowest channels, its change or months, the misses."""
    words, policy = page.words, page.whole.engagement.policy.sync
    table = tables.levels(page)
    levels = table.filter(pl.col("channel") == ALL_CHANNELS)
    hours = f"{policy.target_hours:g}"
    own = levels.filter(pl.col("month") == page.month)
    if own.is_empty():
        return [words("answer_sync.level_none", month=words.month(page.month), hours=hours)]
    one = own.row(0, named=True)
    lines = [_one_level(words, one, hours)]
    lines += [words("answer_sync.untimed_rows", rows=words.count(one["untimed"]))] if one["untimed"] else []
    lines += [*_slowest(words, table, one, hours)]
    others = levels.filter(pl.col("month") != page.month).sort("month")
    if page.scope.kind != "month":
        lines += _months(words, others, hours)
    elif others.height:
        lines += _trend(words, others.row(-1, named=True), one)
    return [*lines, *_incident(page)]


def _months(words: Words, months: pl.DataFrame, hours: str) -> list[str]:
    """Return how many months of a year, or of everything, met the target, and the worst of them."""
    if months.height < 2:  # noqa: PLR2004  one month is the whole, and told above
        return []
    counts = dict(months["state"].value_counts().iter_rows())
    counted = {state: words.count(counts.get(state, 0)) for state in ("pass", "fails", "unknown")}
    line = words("answer_sync.months", months=words.count(months.height), **counted)
    worst = months.filter(pl.col("share") == pl.col("share").min(), pl.col("share") < pl.col("share").max())
    if worst.is_empty() or months["share"].null_count():
        return [line]
    named = listed(words, [words.month(month) for month in worst["month"].head(MOST_NAMED)])
    more = words("answer_sync.more_months", months=worst.height) if worst.height > MOST_NAMED else ""
    return [line, words("answer_sync.worst", hours=hours, months=named + more, share=percent(worst["share"][0]))]


def _one_level(words: Words, row: dict[str, Any], hours: str) -> str:
    share = {} if row["share"] is None else {"share": percent(row["share"])}
    return words(
        "answer_sync.level" if share else "answer_sync.level_between",
        month=words.month(row["month"]),
        hours=hours,
        issued=words.count(row["issued"]),
        lower=percent(row["lower"]),
        upper=percent(row["upper"]),
        target=percent(row["target_share"]),
        state=words(f"answer_sync.{row['state']}"),
        budget=words.count(floor(row["budget"] + 1e-9)),
        used=words.count(row["used"]),
        open=words.count(row["open"]),
        **share,
    )


def _slowest(words: Words, table: pl.DataFrame, last: dict[str, Any], hours: str) -> list[str]:
    """Return the channels with the lowest share in time, all of them where several tie; none that may be chance."""
    if last["share"] is None:
        return []
    each = table.filter(
        pl.col("month") == last["month"],
        pl.col("channel") != ALL_CHANNELS,
        pl.max_horizontal("upper", "share") < last["share"],
    )
    slow = each.filter(pl.col("share") == pl.col("share").min())
    if slow.is_empty():
        return []
    names, share = listed(words, slow["channel"].to_list()), percent(slow["share"][0])
    return [words("answer_sync.slowest", hours=hours, channels=names, share=share, whole=percent(last["share"]))]


def _trend(words: Words, before: dict[str, Any], last: dict[str, Any]) -> list[str]:
    if before["share"] is None or last["share"] is None:
        return []
    change = round(100 * last["share"], 2) - round(100 * before["share"], 2)
    said = {"before": words.month(before["month"]), "share": percent(before["share"])}
    points = f"{abs(change):.2f}"
    if float(points) == 0:
        return [words("answer_sync.same", **said)]
    way = words("answer_sync.up" if change > 0 else "answer_sync.down")
    return [words("answer_sync.trend", change=way, points=points, **said)]


def _incident(page: Page) -> list[str]:
    """Return what most misses of the month are due to, all where several tie; as the chart of them has it."""
    words = page.words
    used = tables.budget(page.whole, start=page.start, end=page.end)
    most = used.filter(pl.col("misses") == pl.col("misses").max())
    if most.is_empty():
        return []
    names = listed(words, [tables.incident(row, kind, words) for row, kind in most["incident", "kind"].iter_rows()])
    misses, share = words.count(most["misses"][0]), percent(most["share"][0])
    return [words("answer_sync.incident", incident=names, misses=misses, share=share)]


def _stops(page: Page) -> list[str]:
    """Return what is known of stops; of silence nothing is known where no arrival has a moment, only two exports."""
    words, taken_at = page.words, page.whole.taken_at
    stops = tables.stops(page)
    blind = bool(timed(page.whole.observations).filter("visible")["since"].is_not_null().all())
    if blind:
        stops = stops.filter("announced")
    if stops.is_empty():
        return [] if blind else [words("answer_sync.no_stops")]
    length = (pl.col("ends_at").fill_null(taken_at) - pl.col("starts_at")).dt.total_seconds() / 60
    longest = stops.with_columns(length=length).sort("length", "starts_at").row(-1, named=True)
    hours = stops.with_columns(hour=pl.col("starts_at").dt.truncate("1h")).unique(["hour", "announced"])
    everywhere = longest["channel"] == ALL_CHANNELS
    return [
        words(
            "answer_sync.stops_untimed" if blind else "answer_sync.stops",
            count=hours["hour"].n_unique(),
            announced=hours.filter("announced").height,
            channel=words("answer_sync.all_channels") if everywhere else longest["channel"],
            start=f"{longest['starts_at']:%Y-%m-%d %H:%M}",
            length=words.about(longest["length"]),
            open=words("answer_sync.open") if longest["ends_at"] is None else "",
        )
    ]


def _lateness(page: Page) -> list[str]:
    """Return how many are merely late, what the chances rest on, and where they are less than sure."""
    words, work = page.words, page.analysis
    gone = work.matches.filter(pl.col("outcome") == "missing").height
    counts = likely(words, work.findings)
    if not counts:
        return [
            words("answer_sync.late_unknown", missing=words.count(gone)) if gone else words("answer_sync.none_missing")
        ]
    lines = [words("answer_sync.late", **counts)]
    rest = gone - work.findings["probability_late"].count()
    lines += [words("answer_sync.undated", rows=words.count(rest))] if rest > 0 else []
    if untimed(page.whole):
        lines.append(words("answer_sync.presence"))
    told = of_delays(page.whole.observations, page.whole.findings)
    table = lateness(told, history=page.whole.history)
    if not told["visible"].any():
        return [*lines, words("answer_sync.by_policy")]
    waiting = work.observations.filter(~pl.col("visible"))["channel"].unique()
    own = table.filter(pl.col("channel").is_in(waiting.implode()))
    for name, chosen in (("uncertain", ~pl.col("certain")), ("borrowed", pl.col("method").str.contains("history"))):
        channels = own.filter(chosen)["channel"].unique().sort().to_list()
        if channels:
            lines.append(words(f"answer_sync.{name}", channels=listed(words, channels)))
    return lines


def _tomorrow(page: Page) -> list[str]:
    words, found = page.words, tables.ahead(page)
    if found.is_empty():
        return []
    half = ((pl.col("upper") - pl.col("late")) ** 2).sum().sqrt()
    row = found.select(pl.col("late", "arriving", "new_late").sum(), half=half).row(0, named=True)
    if not any(round(row[name]) for name in ("late", "arriving", "new_late")):
        return []
    return [
        words(
            "answer_sync.tomorrow",
            until=f"{page.analysis.taken_at + timedelta(days=1):%Y-%m-%d %H:%M}",
            late=words.count(row["late"]),
            lower=words.count(max(0.0, row["late"] - row["half"])),
            upper=words.count(row["late"] + row["half"]),
            arriving=words.count(row["arriving"]),
            new=words.count(row["new_late"]),
        )
    ]
