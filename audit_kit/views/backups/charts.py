"""Charts of the backups: planned slots and gaps, the recovery point through the month, which invoices would come back.

Each chart takes a tidy frame of aggregates; the function above it prepares that frame from a BackupAudit.
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

import altair as alt
import polars as pl

from audit_kit.core.words import Words
from audit_kit.views.show import theme
from audit_kit.views.show.parts import (
    Chart,
    bounded,
    by_legend,
    channel_colours,
    days_axis,
    days_scale,
    faded,
    figures_axis,
    labelled,
    nothing,
    title,
    together,
    tooltips,
    within,
)

if TYPE_CHECKING:
    from audit_kit.rules.backups.audit import BackupAudit

MOST_SEGMENTS = 4000
MOST_POINTS = 1500
_MARGIN = 124  # the two panels of the timeline share their left edge
_STATUSES = ("failed", "warning", "running", "unknown", "ok")  # the worst first
_HOURS = [0, 1, 2, 4, 8, 24, 72, 168, 720, 2160, 8760]
SERIES = ("listed", "restorable", "verified")
_SEGMENTS: dict[str, pl.DataType] = {
    "lane": pl.String(),
    "job": pl.String(),
    "kind": pl.String(),
    "state": pl.String(),
    "starts": pl.Datetime("us"),
    "ends": pl.Datetime("us"),
    "slots": pl.UInt32(),
}
COVERAGE = ("covered", "unverified", "uncovered")


def segments(audit: BackupAudit, *, start: datetime | None = None, end: datetime | None = None) -> pl.DataFrame:
    """Return stretches of consecutive slots in one state, per job and kind.

    Columns: `lane` (job · kind), `job`, `kind`, `state`, `starts`, `ends` (the next slot's due time), `slots`. Of more
    than 4,000 the longest are kept, those that are not in order first.
    """
    slots = audit.slots.with_columns(pl.col("kind", "state").cast(pl.String))
    return stretches(with_next(within(slots, start, end, column="due")))


def with_next(slots: pl.DataFrame) -> pl.DataFrame:
    """Return slots sorted by job, kind and due time, with `next_due`: when the lane's next slot is due."""
    lane = ("job", "kind")
    ordered = slots.sort(*lane, "due").with_columns(next_due=pl.col("due").shift(-1).over(lane))
    usual = (pl.col("next_due") - pl.col("due")).median().over(lane)
    last = pl.coalesce(pl.col("due") + usual, pl.col("due").dt.offset_by("1h"))
    return ordered.with_columns(pl.coalesce("next_due", last).alias("next_due"))


def stretches(slots: pl.DataFrame) -> pl.DataFrame:
    """Return consecutive slots in one state as one stretch: see segments.

    `slots`: `job`, `kind`, `due`, `state`, `next_due` as from with_next; slots left out since end a stretch.
    """
    if slots.is_empty():
        return pl.DataFrame(schema=_SEGMENTS)
    lane = ("job", "kind")
    apart = (pl.col("due") != pl.col("next_due").shift()) | (pl.col("state") != pl.col("state").shift())
    slots = slots.sort(*lane, "due").with_columns(
        run=apart.fill_null(value=True).cum_sum().over(lane), lane=pl.concat_str(lane, separator=" · ")
    )
    found = slots.group_by("lane", *lane, "run", maintain_order=True).agg(
        state=pl.col("state").first(), starts=pl.col("due").min(), ends=pl.col("next_due").max(), slots=pl.len()
    )
    found = found.sort(pl.col("state") == "ok", "slots", descending=[False, True]).head(MOST_SEGMENTS)
    return found.select(_SEGMENTS.keys()).sort("lane", "starts")


def recovery(audit: BackupAudit, *, start: datetime | None = None, end: datetime | None = None) -> pl.DataFrame:
    """Return `at`, `series`, `hours` (how much would be lost): the worst of each stretch, at most 1,500 a series."""
    points = within(audit.recovery_points.with_columns(pl.col("series").cast(pl.String)), start, end, column="at")
    moments = points["at"].n_unique()
    every = max(1, -(-moments // MOST_POINTS))
    return (
        points.sort("series", "at")
        .with_columns(place=pl.int_range(pl.len()).over("series") // every)
        .group_by("series", "place", maintain_order=True)
        .agg(at=pl.col("at").max(), hours=pl.col("minutes").max() / 60)
        .select("at", "series", "hours")
    )


def timeline(lanes: pl.DataFrame, points: pl.DataFrame, *, target_minutes: float | None, lang: str = "zh") -> Chart:
    """Draw the slots by state above the recovery point through time; brushing the lower panel zooms the upper.

    `lanes` are from segments, `points` from recovery.
    """
    words = Words(lang)
    if lanes.is_empty() and points.is_empty():
        return nothing(words("backup.timeline"), words("backup.timeline_none"))
    brush = alt.selection_interval(encodings=["x"], name="backup_time")
    panels: list[Chart] = [_lanes(lanes, brush, words, linked=not points.is_empty())]
    panels.append(_recovery(points, brush, target_minutes, _reach(lanes, points), words))
    heading = title(words("backup.timeline"), words("backup.timeline_how"))
    chart: alt.VConcatChart = together(*panels, heading=heading, way="below", spacing=18).resolve_scale(
        color="independent"
    )
    return chart


def slot_lanes(lanes: pl.DataFrame, *, lang: str = "zh") -> alt.Chart:
    """Draw each job's slots by state, one lane a job and kind; `lanes` are from segments or stretches."""
    return _lanes(lanes, alt.selection_interval(encodings=["x"], name="lanes_time"), Words(lang), linked=False)


def _lanes(lanes: pl.DataFrame, brush: alt.Parameter, words: Words, *, linked: bool) -> alt.Chart:
    if lanes.is_empty():
        return nothing("", words("backup.slots_none"), width=690, height=60)
    states = [state for state in theme.SLOTS if state in lanes["state"].to_list()]
    labels = words.terms("slots", states)
    kinds = words.terms("backup_kinds", lanes["kind"].unique())
    data = labelled(labelled(bounded(lanes), "state", labels), "kind", kinds)
    data = data.with_columns(lane=pl.concat_str("job", "kind", separator=" · "))
    time = alt.X("starts:T", title=None, axis=days_axis(words, grid=False))
    if linked:
        time = time.scale(domain=brush)
    chosen = by_legend("state", "slot_state")
    chart: alt.Chart = (
        alt.Chart(data, width=690, height=alt.Step(30))
        .mark_bar(size=18, clip=True)
        .encode(
            time,
            alt.X2("ends:T"),
            alt.Y("lane:N", title=None, axis=alt.Axis(labelLimit=120, minExtent=_MARGIN, maxExtent=_MARGIN)),
            color=alt.Color("state:N", title=words("head.state"), scale=theme.scale(theme.SLOTS, labels)),
            opacity=faded(chosen, low=0.1),
            tooltip=tooltips(words, ("lane:N", "job"), "state:N", ("starts:T", "from"), ("ends:T", "to"), "slots:Q"),
        )
        .add_params(chosen, *([] if linked else [brush]))
    )
    return chart


def _reach(lanes: pl.DataFrame, points: pl.DataFrame) -> list[alt.DateTime]:
    """Return the first and last moment of both panels, so that they stand exactly above each other."""
    times = pl.concat([lanes["starts"].rename("at"), lanes["ends"].rename("at"), points["at"]])
    ends = (times.min(), times.max())
    return [
        alt.DateTime(year=at.year, month=at.month, date=at.day, hours=at.hour, minutes=at.minute)
        for at in ends
        if isinstance(at, datetime)
    ]


def _recovery(
    points: pl.DataFrame, brush: alt.Parameter, target: float | None, reach: list[alt.DateTime], words: Words
) -> Chart:
    if points.is_empty():
        return nothing(words("backup.recovery"), words("backup.recovery_none"), width=690, height=80)
    labels = words.terms("series", SERIES)
    data = labelled(bounded(points), "series", labels)
    chosen = by_legend("series", "recovery_series")
    colour = alt.Color("series:N", title=words("head.series"), scale=theme.scale(theme.SERIES, labels))
    lines: alt.Chart = (
        alt.Chart(data, width=690, height=190, title=alt.TitleParams(words("backup.recovery"), fontSize=12))
        .mark_line(interpolate="step-after", strokeWidth=1.6)
        .encode(
            alt.X("at:T", title=None, scale=alt.Scale(domain=reach), axis=days_axis(words)),
            alt.Y(
                "hours:Q",
                title=words("head.would_lose"),
                scale=alt.Scale(type="symlog", constant=2),
                axis=alt.Axis(values=_HOURS, labelOverlap=False, minExtent=_MARGIN, maxExtent=_MARGIN, format="d"),
            ),
            color=colour,
            strokeDash=alt.StrokeDash(
                "series:N",
                scale=alt.Scale(domain=list(labels.values()), range=[[1, 0], [1, 0], [5, 3]]),
                legend=None,
            ),
            opacity=faded(chosen),
            tooltip=tooltips(words, "at:T", "series:N", ("hours:Q", "would_lose", ",.1f")),
        )
        .add_params(brush, chosen)
    )
    if target is None:
        return lines
    goal = pl.DataFrame({"hours": [target / 60], "text": [words("sync.target")]})
    rule = alt.Chart(goal).mark_rule(strokeDash=[5, 4], color=theme.RED).encode(alt.Y("hours:Q"))
    text = (
        alt.Chart(goal)
        .mark_text(align="left", dx=4, dy=-7, color=theme.RED)
        .encode(alt.Y("hours:Q"), x=alt.value(0), text="text:N")
    )
    layers: alt.LayerChart = lines + rule + text
    return layers


def coverage(audit: BackupAudit) -> pl.DataFrame:
    """Return `month`, `role`, `state` (covered, unverified, uncovered), `rows`: the last 24 months, roles by size."""
    wide = audit.coverage.with_columns(pl.col("month").cast(pl.String), pl.col("role").cast(pl.String).fill_null("–"))
    months = wide["month"].unique().sort().tail(24).to_list()
    long = wide.filter(pl.col("month").is_in(months)).unpivot(
        on=list(COVERAGE), index=["month", "role"], variable_name="state", value_name="rows"
    )
    return long.group_by("month", "role", "state").agg(pl.col("rows").sum()).sort("month", "role", "state")


def coverage_bars(frame: pl.DataFrame, *, lang: str = "zh") -> Chart:
    """Draw which files of which month and role would come back; click a role, or a state in the legend."""
    words = Words(lang)
    if frame.is_empty() or not frame["rows"].sum():
        return nothing(words("backup.coverage"), words("backup.coverage_none"))
    labels = words.terms("coverage", COVERAGE)
    order = pl.DataFrame({"state": list(COVERAGE), "place": range(len(COVERAGE))})
    data = labelled(bounded(frame.join(order, on="state")), "state", labels)
    roles = alt.selection_point(fields=["role"], name="coverage_role")
    chosen = by_legend("state", "coverage_state")
    colour = alt.Color("state:N", title=words("head.state"), scale=theme.scale(theme.COVERAGE, labels))
    tips = tooltips(words, "state:N", ("sum(rows):Q", "files"))
    left = (
        alt.Chart(data, width=alt.Step(max(24, min(64, 400 // data["month"].n_unique()))), height=200)
        .transform_filter(roles)
        .mark_bar()
        .encode(
            alt.X("month:O", title=words("head.month"), axis=alt.Axis(labelAngle=0)),
            alt.Y("sum(rows):Q", title=words("head.files"), axis=figures_axis(words)),
            color=colour,
            order="place:Q",
            opacity=faded(chosen),
            tooltip=[*tooltips(words, "month:O"), *tips],
        )
    )
    right = (
        alt.Chart(data, width=300, height=alt.Step(44))
        .mark_bar()
        .encode(
            alt.X("sum(rows):Q", stack="normalize", title=words("head.share"), axis=alt.Axis(format="%", tickCount=4)),
            alt.Y("role:N", title=words("head.role")),
            color=colour,
            order="place:Q",
            opacity=faded(roles, low=0.3),
            tooltip=[*tooltips(words, "role:N"), *tips],
        )
        .add_params(roles)
    )
    heading = title(words("backup.coverage"), words("backup.coverage_how"))
    return together(left, right, heading=heading, shared=(chosen,), spacing=28)


def sizes(backups: pl.DataFrame, *, start: datetime | None = None, end: datetime | None = None) -> pl.DataFrame:
    """Return `day`, `job`, `files`, `megabytes` (the smallest backup of the day), `status` (its worst), `runs`.

    At most the last 400 days of the eight jobs with most runs.
    """
    runs = within(backups.filter(pl.col("started_at").is_not_null()), start, end, column="started_at")
    runs = runs.with_columns(pl.col("job").fill_null("–"), day=pl.col("started_at").dt.date())
    top = runs.group_by("job").len().top_k(8, by="len")["job"].to_list()
    last = pl.col("day").max().dt.offset_by("-400d")
    worst = pl.col("status").cast(pl.Enum(_STATUSES))
    return (
        runs.filter(pl.col("job").is_in(top), pl.col("day") > last)
        .group_by("day", "job")
        .agg(
            files=pl.col("files").min(),
            megabytes=pl.col("bytes_source").min() / 1e6,
            status=worst.min().cast(pl.String),
            runs=pl.len(),
        )
        .sort("job", "day")
    )


def size_lines(frame: pl.DataFrame, *, lang: str = "zh") -> Chart:
    """Draw how many files and how many bytes each backup held; one that shrinks or did not end well stands out."""
    words = Words(lang)
    known = frame.filter(pl.col("files").is_not_null() | pl.col("megabytes").is_not_null())
    if known.is_empty():
        return nothing(words("backup.sizes"), words("backup.sizes_none"))
    states = [state for state in _STATUSES if state in known["status"].to_list()]
    labels = words.terms("run_statuses", states)
    data = labelled(bounded(known), "status", labels)
    jobs = data["job"].unique().sort().to_list()
    chosen = by_legend("job", "size_job")
    colours = alt.Color("job:N", title=words("head.job"), scale=channel_colours(jobs, ""))
    tips = tooltips(
        words, "job:N", "day:T", "files:Q", ("megabytes:Q", "megabytes", ",.1f"), ("status:N", "state"), "runs:Q"
    )
    panels = []
    for field, name, least in (("files", "head.files", 1), ("megabytes", "head.megabytes", 0.01)):
        axis = figures_axis(words, tickCount=5, tickMinStep=least)
        base = alt.Chart(data, width=345, height=170).encode(
            alt.X("yearmonthdate(day):T", title=None, scale=days_scale(known["day"]), axis=days_axis(words)),
            alt.Y(f"{field}:Q", title=words(name), axis=axis, scale=alt.Scale(zero=True)),
            color=colours,
            opacity=faded(chosen),
        )
        bad = base.transform_filter(alt.datum.status != labels.get("ok")).mark_point(size=90, shape="cross")
        line = base.mark_line(point=alt.OverlayMarkDef(size=18), strokeWidth=1.4).encode(tooltip=tips)
        panels.append(line + bad.encode(tooltip=tips))
    heading = title(words("backup.sizes"), words("backup.sizes_how"))
    return together(*panels, heading=heading, shared=(chosen,), spacing=24)
