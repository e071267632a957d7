"""Charts of what followed: machines over their thresholds beside the stops, crossings to come, resends by outcome."""

from __future__ import annotations

from typing import TYPE_CHECKING

import altair as alt
import polars as pl

from audit_kit.core.words import Words
from audit_kit.rules.response.coincidence import EVENTS
from audit_kit.views.response.trail_tables import CAME
from audit_kit.views.show import theme
from audit_kit.views.show.parts import (
    Chart,
    bounded,
    by_legend,
    channel_colours,
    days_axis,
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
    from collections.abc import Sequence
    from datetime import datetime

    from audit_kit.rules.response.response import ResponseAudit

MOST_SERIES = 7
MOST_POINTS = 3000
STEPS = ("1h", "3h", "6h", "1d", "7d")
LONGEST = "300d"
_CAME_COLOURS = dict(zip(CAME, (theme.RED, theme.AMBER, theme.GREY, theme.TEAL, theme.SKY), strict=True))
_EVENT_COLOURS = dict(zip(EVENTS, (theme.SLATE, theme.PLUM, theme.RED), strict=True))


def readings(
    audit: ResponseAudit, *, start: datetime | None = None, end: datetime | None = None, lang: str = "zh"
) -> pl.DataFrame:
    """Return `series` (host and metric), `at`, `share` (of the threshold), `value`, `limit`: those nearest to it.

    At most 7 series, and their highest reading of an hour or more.
    """
    words = Words(lang)
    rows = within(audit.levels, start, end, column="at").filter(pl.col("limit") > 0)
    rows = rows.with_columns(share=pl.col("value") / pl.col("limit"))
    top = (
        rows.group_by("host", "metric")
        .agg(pl.col("share").max())
        .sort("share", "host", "metric", descending=[True, False, False])
    )
    rows = rows.join(top.head(MOST_SERIES).select("host", "metric"), on=["host", "metric"], how="semi")
    name = pl.concat_str(
        "host", pl.col("metric").replace(words.terms("metrics", rows["metric"].unique())), separator=" "
    )
    rows = rows.with_columns(series=name)
    for every in STEPS:
        told = rows.group_by("series", pl.col("at").dt.truncate(every)).agg(
            pl.col("share", "value").max(), pl.col("limit").first()
        )
        if told.height <= MOST_POINTS:
            break
    return told.sort("series", "at")


def happenings(audit: ResponseAudit, *, start: datetime | None = None, end: datetime | None = None) -> pl.DataFrame:
    """Return `event`, `starts_at`, `ends_at`, `rows`: stops and lost batches each, failed uploads by the hour."""
    rows = audit.troubles
    if start is not None:
        rows = rows.filter(pl.col("ends_at") >= start)
    if end is not None:
        rows = rows.filter(pl.col("starts_at") < end)
    hour = pl.col("starts_at").dt.truncate("1h")
    failed = rows.filter(pl.col("event") == "failed_upload").group_by("event", starts_at=hour).agg(rows=pl.len())
    failed = failed.with_columns(ends_at=pl.col("starts_at").dt.offset_by("1h"))
    held = rows.filter(pl.col("event") != "failed_upload").with_columns(rows=pl.lit(1, pl.UInt32))
    names = ["event", "starts_at", "ends_at", "rows"]
    both = pl.concat([held.select(names), failed.select(names).cast({"rows": pl.UInt32})])
    return both.unique(maintain_order=True).sort("starts_at", "event").head(MOST_POINTS)


def metric_lines(frame: pl.DataFrame, events: pl.DataFrame, *, why: str = "", lang: str = "zh") -> Chart:
    """Draw readings against their thresholds, over the stops; `frame` from readings, `events` from happenings.

    `why`: said where there is nothing to draw.
    """
    words = Words(lang)
    if frame.is_empty():
        return nothing(words("follow.levels"), why or words("follow.no_period_readings"))
    chosen = by_legend("series", "metric_series")
    brush = alt.selection_interval(encodings=["x"], name="metric_days")
    ends = [frame["at"].min(), frame["at"].max()]
    inside = alt.Scale(domain={"param": brush.name, "encoding": "x"})
    near = alt.X("at:T", title=None, scale=inside, axis=days_axis(words, grid=False))
    lines = (
        alt.Chart(bounded(frame))
        .mark_line(clip=True, strokeWidth=1.4)
        .encode(
            near,
            alt.Y("share:Q", title=words("follow.of_limit"), axis=alt.Axis(format="%")),
            color=alt.Color(
                "series:N",
                title=words("follow_head.metric"),
                scale=channel_colours(frame["series"].unique(maintain_order=True).to_list(), ""),
            ),
            opacity=faded(chosen),
            tooltip=tooltips(
                words,
                ("series:N", "follow_head.metric"),
                "at:T",
                ("value:Q", "follow_head.value", ",.4~g"),
                ("limit:Q", "follow_head.limit", ",.4~g"),
            ),
        )
        .add_params(chosen)
    )
    limit = (
        alt.Chart(pl.DataFrame({"share": [1.0]})).mark_rule(color=theme.INK, strokeDash=[4, 3]).encode(alt.Y("share:Q"))
    )
    stops = events.filter(pl.col("event") == "stop")
    shade = alt.Chart(bounded(stops)).mark_rect(color=theme.GREY, opacity=0.45, clip=True)
    shade = shade.encode(alt.X("starts_at:T", scale=inside), alt.X2("ends_at:T"))
    upper = alt.layer(*([shade] if stops.height else []), lines, limit).properties(width=700, height=210)
    lower = _events(events, ends, words).add_params(brush)
    heading = title(words("follow.levels"), words("follow.levels_how"))
    # Hosts and kinds of trouble have colours of their own.
    made: Chart = together(upper, lower, heading=heading, way="below").resolve_scale(color="independent")
    return made


def _events(events: pl.DataFrame, ends: Sequence[object], words: Words) -> alt.Chart:
    """Draw stops, lost batches and failed uploads on the days that were measured."""
    names = words.terms("trouble", EVENTS)
    shown = labelled(bounded(events), "event", names)
    names_of = {"year": "year", "month": "month", "date": "day", "hours": "hour", "minutes": "minute"}
    domain = [alt.DateTime(**{name: getattr(at, part) for name, part in names_of.items()}) for at in ends]
    scale = alt.Scale(domain=domain, clamp=True)
    chart: alt.Chart = (
        alt.Chart(shown, width=700, height=70)
        .mark_bar(minBandSize=2, height=12)
        .encode(
            alt.X("starts_at:T", title=None, scale=scale, axis=days_axis(words)),
            alt.X2("ends_at:T"),
            alt.Y("event:N", title=None, scale=alt.Scale(domain=list(names.values()))),
            color=alt.Color("event:N", legend=None, scale=theme.scale(_EVENT_COLOURS, names)),
            tooltip=tooltips(
                words,
                ("event:N", "follow_head.event"),
                ("starts_at:T", "from"),
                ("ends_at:T", "to"),
                ("rows:Q", "times"),
            ),
        )
    )
    return chart


def crossings(audit: ResponseAudit, now: datetime, *, lang: str = "zh") -> pl.DataFrame:
    """Return `series`, `metric`, `earliest`, `likely`, `latest`, `value`, `limit` of what will cross its threshold."""
    words = Words(lang)
    rows = audit.forecasts.filter(pl.col("state") == "rising").sort("likely", "host", "metric").head(MOST_SERIES * 3)
    names = pl.col("metric").replace(words.terms("metrics", rows["metric"].unique()))
    last = pl.lit(now, pl.Datetime("us")).dt.offset_by(LONGEST)
    return rows.select(
        "earliest", "likely", "value", "limit",
        series=pl.concat_str("host", names, separator=" "),
        metric=names,
        latest=pl.col("latest").fill_null(last),
    )  # fmt: skip


def crossing_bars(frame: pl.DataFrame, now: datetime, *, why: str = "", lang: str = "zh") -> Chart:
    """Draw when thresholds will be crossed, with their 90 % intervals; `frame` from crossings."""
    words = Words(lang)
    if frame.is_empty():
        return nothing(words("follow.forecasts"), why or words("follow.none_foretold"))
    chosen = by_legend("metric", "crossing_metric")
    colours = channel_colours(frame["metric"].unique(maintain_order=True).to_list(), "")
    order = frame["series"].to_list()
    tips = tooltips(
        words, ("series:N", "follow_head.metric"), ("value:Q", "follow_head.value", ",.4~g"),
        ("limit:Q", "follow_head.limit", ",.4~g"), ("earliest:T", "from", "%Y-%m-%d"),
        ("likely:T", "follow_head.likely", "%Y-%m-%d"), ("latest:T", "to", "%Y-%m-%d"),
    )  # fmt: skip
    shown = bounded(frame).with_columns(now=pl.lit(now, pl.Datetime("us")))
    base = alt.Chart(shown).encode(
        alt.Y("series:N", title=None, sort=order, axis=alt.Axis(labelLimit=220)),
        color=alt.Color("metric:N", title=words("follow_head.metric"), scale=colours),
        opacity=faded(chosen),
        tooltip=tips,
    )
    bars = base.mark_rule(strokeWidth=5, strokeCap="round").encode(
        alt.X("earliest:T", title=None, axis=days_axis(words)), alt.X2("latest:T")
    )
    dots = base.mark_point(size=110, filled=True, stroke=theme.PAPER, strokeWidth=1.5).encode(alt.X("likely:T"))
    line = alt.Chart(shown).mark_rule(color=theme.INK, strokeDash=[4, 3]).encode(alt.X("min(now):T"))
    made: alt.LayerChart = (bars + dots.add_params(chosen) + line).properties(
        width=620, height=alt.Step(34), title=title(words("follow.forecasts"), words("follow.forecasts_how"))
    )
    return made


def sent_again(audit: ResponseAudit, *, start: datetime | None = None, end: datetime | None = None) -> pl.DataFrame:
    """Return `day`, `came`, `rows` (resends), `invoices` of a period, at most its last 400 days."""
    rows = within(audit.resends, start, end, column="at").with_columns(day=pl.col("at").dt.truncate("1d"))
    rows = rows.filter(pl.col("day") > pl.col("day").max().dt.offset_by("-400d"))
    return (
        rows.group_by("day", "came").agg(rows=pl.len(), invoices=pl.col("invoice_key").n_unique()).sort("day", "came")
    )


def resend_bars(frame: pl.DataFrame, *, has_log: bool, lang: str = "zh") -> Chart:
    """Draw what came of sending again, by day; `frame` from sent_again, `has_log`: there is an operation log."""
    words = Words(lang)
    if frame.is_empty():
        return nothing(words("follow.resends"), words("follow.no_resends" if has_log else "follow.no_operations"))
    labels = words.terms("came", [word for word in CAME if word in frame["came"].to_list()])
    chosen = by_legend("came", "resend_came")
    chart: alt.Chart = (
        alt.Chart(
            labelled(bounded(frame), "came", labels),
            width=700,
            height=170,
            title=title(words("follow.resends"), words("follow.resends_how")),
        )
        .mark_bar()
        .encode(
            alt.X("yearmonthdate(day):O", title=None, axis=alt.Axis(format="%-m-%-d", labelAngle=0, labelOverlap=True)),
            alt.Y("rows:Q", title=words("follow_head.resends"), axis=figures_axis(words)),
            color=alt.Color("came:N", title=words("follow_head.came"), scale=theme.scale(_CAME_COLOURS, labels)),
            opacity=faded(chosen),
            tooltip=tooltips(
                words,
                "day:T",
                ("came:N", "follow_head.came"),
                ("rows:Q", "follow_head.resends"),
                ("invoices:Q", "follow_head.invoices"),
            ),
        )
        .add_params(chosen)
    )
    return chart
