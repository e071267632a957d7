"""Charts of the sync delay: how long until an invoice is visible, when it was slow, what is still waiting.

Minutes are operational: announced and found stops are taken out. Shares are 0-1. Each chart takes a tidy frame; the
function above it prepares that frame.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import altair as alt
import polars as pl

from audit_kit.core.schema import ALL_CHANNELS
from audit_kit.core.words import Words
from audit_kit.rules.sync.curves import total
from audit_kit.rules.sync.service_level import judged, of_delays, timed
from audit_kit.views.show import theme
from audit_kit.views.show.linked import REAL, selected, with_zeros
from audit_kit.views.show.parts import (
    OTHER,
    Chart,
    bounded,
    by_legend,
    channel_colours,
    days_axis,
    days_scale,
    faded,
    heat_colour,
    labelled,
    nothing,
    title,
    together,
    tooltips,
    within,
)
from audit_kit.views.show.tables import markup

if TYPE_CHECKING:
    from datetime import date, datetime

    from IPython.display import HTML

    from audit_kit.analysis.analysis import Analysis

MOST_CHANNELS = 7
_AXIS_MINUTES = [1, 5, 15, 60, 360, 1440, 4320, 10080, 43200, 129600]


def curve_steps(analysis: Analysis) -> pl.DataFrame:
    """Return the share visible after a delay, thinned to at most 160 steps a channel.

    Columns: `channel`, `minutes` (≥ 0.5), `visible`, `lower`, `upper` (95 %), `waiting` (invoices not yet visible whose
    age falls into this step; a censoring tick where > 0).
    """
    told = timed(of_delays(analysis.observations, analysis.findings))
    return thinned(analysis.curves.filter(pl.col("channel").is_in(told["channel"].unique().implode())), told)


def thinned(curves: pl.DataFrame, observations: pl.DataFrame) -> pl.DataFrame:
    """Return curves thinned for drawing, with the observations that still wait: see curve_steps."""
    if curves.is_empty():
        return pl.DataFrame(schema={name: pl.String if name == "channel" else pl.Float64 for name in _STEP_COLUMNS})
    top = _largest_channels(observations)
    grid = (pl.col("minutes").clip(0.5).log(2) * 10).round().cast(pl.Int32).alias("bin")
    steps = curves.filter(pl.col("channel").is_in(top)).with_columns(grid).sort("channel", "minutes")
    steps = steps.group_by("channel", "bin", maintain_order=True).last()
    waiting = observations.filter(~pl.col("visible") & pl.col("minutes").is_not_null())
    waiting = waiting.with_columns(grid).group_by("channel", "bin").agg(waiting=pl.len(), age=pl.col("minutes").max())
    drawn = steps.join(waiting.select("channel", "bin", "waiting"), on=("channel", "bin"), how="left")
    alone = waiting.join(steps, on=("channel", "bin"), how="anti").filter(pl.col("channel").is_in(top))
    held = alone.sort("age").join_asof(
        steps.sort("minutes").drop("bin"),
        left_on="age",
        right_on="minutes",
        by="channel",
        strategy="backward",
        check_sortedness=False,
    )
    held = held.with_columns(minutes=pl.col("age"))
    columns = ["channel", "minutes", "survival", "lower", "upper", "waiting"]
    frame = pl.concat([drawn.select(columns), held.select(columns)], how="vertical_relaxed").drop_nulls("survival")
    return frame.select(
        "channel",
        pl.col("minutes").clip(0.5),
        visible=1 - pl.col("survival"),
        lower=1 - pl.col("upper"),
        upper=1 - pl.col("lower"),
        waiting=pl.col("waiting").fill_null(0),
    ).sort("channel", "minutes")


_STEP_COLUMNS = ("channel", "minutes", "visible", "lower", "upper", "waiting")


def _largest_channels(observations: pl.DataFrame) -> list[str]:
    counts = observations.group_by("channel").len().sort("len", "channel", descending=[True, False])
    return [*counts["channel"].drop_nulls().head(MOST_CHANNELS), ALL_CHANNELS]


def delay_curves(
    steps: pl.DataFrame,
    quantiles: pl.DataFrame,
    *,
    target_hours: float,
    target_share: float,
    lang: str = "zh",
) -> Chart:
    """Draw the share visible by delay, with interval, censoring ticks and target; beside it the quantiles.

    `steps` are from curve_steps; `quantiles`: `channel`, `share`, `minutes`, `lower`, `upper`.
    """
    words = Words(lang)
    if steps.is_empty():
        return nothing(words("sync.curves"), words("sync.curves_none"))
    channels = steps["channel"].unique(maintain_order=True).to_list()
    data = labelled(bounded(steps), "channel", {ALL_CHANNELS: words("unit.all")})
    chosen = by_legend("channel", "chosen_channel")
    colour = _channel_colour(channels, words)
    goal = pl.DataFrame({"target": [target_hours * 60], "share": [target_share], "text": [words("sync.target")]})
    left = _curve_panel(data, goal, colour, chosen, words)
    known = quantiles.filter(pl.col("channel").is_in(channels) & pl.col("minutes").is_not_null())
    right = _quantile_panel(labelled(known, "channel", {ALL_CHANNELS: words("unit.all")}), colour, chosen, words)
    heading = title(words("sync.curves"), words("sync.curves_how"))
    return together(left, right, heading=heading, shared=(chosen,), spacing=26)


def _channel_colour(channels: list[str], words: Words) -> alt.Color:
    named = [words("unit.all") if channel == ALL_CHANNELS else channel for channel in channels]
    return alt.Color(
        "channel:N",
        title=words("head.channel"),
        scale=channel_colours(named, words("unit.all")),
        legend=alt.Legend(symbolOpacity=1),
    )


def _all_first(data: pl.DataFrame, words: Words) -> list[str]:
    """Return the channels of a chart in order, the whole before its parts."""
    everything = words("unit.all")
    return sorted(data["channel"].unique().drop_nulls().to_list(), key=lambda name: (name != everything, name))


def minutes_axis(words: Words) -> alt.Axis:
    """Return an axis of minutes on a log scale that speaks of minutes, hours and days."""
    expression = (
        f"datum.value < 60 ? datum.value + '{words('axis.min')}' : "
        f"datum.value < 1440 ? datum.value/60 + '{words('axis.hour')}' : datum.value/1440 + '{words('axis.day')}'"
    )
    return alt.Axis(values=_AXIS_MINUTES, labelExpr=expression, gridDash=[2, 2])


def _minutes(field: str, heading: str, words: Words) -> alt.X:
    scale = alt.Scale(type="log", nice=False, clamp=True)
    return alt.X(f"{field}:Q", title=heading, scale=scale, axis=minutes_axis(words))


def _curve_panel(
    data: pl.DataFrame, goal: pl.DataFrame, colour: alt.Color, chosen: alt.Parameter, words: Words
) -> alt.LayerChart:
    tooltip = tooltips(
        words,
        "channel:N",
        ("minutes:Q", "minutes", ",.0f"),
        ("visible:Q", "visible", ".2%"),
        ("lower:Q", "lower", ".2%"),
        ("upper:Q", "upper", ".2%"),
        "waiting:Q",
    )
    x = _minutes("minutes", words("head.delay"), words)
    base = alt.Chart(data, width=470, height=270).encode(x, color=colour)
    percent = alt.Axis(format="%", tickCount=6)
    floor = alt.param(
        name="curve_floor",
        value=0,
        bind=alt.binding_radio(
            options=[0, 0.8], labels=[words("unit.all"), words("sync.zoom_tail")], name=words("sync.zoom")
        ),
    )
    reach = alt.Scale(domain=[alt.ExprRef("curve_floor"), 1], nice=False)
    band = base.mark_area(interpolate="step-after", strokeWidth=0, clip=True).encode(
        alt.Y("lower:Q", axis=percent, title=words("head.visible"), scale=reach),
        alt.Y2("upper:Q"),
        opacity=alt.when(chosen).then(alt.value(0.16)).otherwise(alt.value(0.02)),
    )
    line = base.mark_line(interpolate="step-after", clip=True).encode(
        alt.Y("visible:Q"), opacity=faded(chosen), tooltip=tooltip
    )
    ticks = (
        base.transform_filter("datum.waiting > 0")
        .mark_point(shape="stroke", angle=90, size=70, strokeWidth=1.5, filled=False, clip=True)
        .encode(alt.Y("visible:Q"), opacity=faded(chosen, low=0.05), tooltip=tooltip)
    )
    rules = alt.Chart(goal).mark_rule(strokeDash=[5, 4], color=theme.INK)
    text = (
        alt.Chart(goal)
        .mark_text(align="right", dx=-6, dy=12, color=theme.INK)
        .encode(alt.X("target:Q"), y=alt.value(0), text="text:N")
    )
    lines = band + line + ticks + rules.encode(alt.X("target:Q")) + rules.encode(alt.Y("share:Q")) + text
    layers: alt.LayerChart = lines.add_params(floor)
    return layers


def _quantile_panel(
    quantiles: pl.DataFrame, colour: alt.Color, chosen: alt.Parameter, words: Words
) -> alt.Chart | alt.LayerChart:
    if quantiles.is_empty():
        return nothing("", words("sync.quantiles_none"), width=240, height=270)
    data = bounded(quantiles).with_columns(
        label=pl.format("{}%", (pl.col("share") * 100).round(1).cast(pl.String).str.strip_suffix(".0"))
    )
    base = alt.Chart(data, width=230, height=270).encode(
        alt.Y("label:N", title=words("head.quantile"), sort=None),
        yOffset=alt.YOffset("channel:N", sort=_all_first(data, words)),
        color=colour,
        opacity=faded(chosen),
        tooltip=tooltips(
            words,
            "channel:N",
            ("label:N", "quantile"),
            ("minutes:Q", "minutes", ",.0f"),
            ("lower:Q", "lower", ",.0f"),
            ("upper:Q", "upper", ",.0f"),
        ),
    )
    rule = base.mark_rule(strokeWidth=2).encode(alt.X("lower:Q"), alt.X2("upper:Q"))
    layers: alt.LayerChart = rule + base.mark_point().encode(_minutes("minutes", words("head.delay"), words))
    return layers


def hours(analysis: Analysis, *, start: datetime | None = None, end: datetime | None = None) -> pl.DataFrame:
    """Return `day`, `hour`, `channel`, `issued`, `late`: those judged and those that missed the target, see `judged`.

    Days are those of issue; at most 35, the last ones; smaller channels are summed as "其他" beyond four.
    """
    told = of_delays(analysis.observations, analysis.findings)
    known = judged(told, policy=analysis.engagement.policy.sync, taken_at=analysis.taken_at)
    known = within(known, start, end)
    last = known["issued_at"].max()
    if last is None:
        return pl.DataFrame(schema=_HOURS)
    known = known.filter(pl.col("issued_at") >= pl.lit(last).dt.truncate("1d").dt.offset_by("-34d"))
    top = known.group_by("channel").len().top_k(4, by="len")["channel"].to_list()
    channel = pl.when(pl.col("channel").is_in(top)).then("channel").otherwise(pl.lit(OTHER))
    return (
        known.group_by(
            day=pl.col("issued_at").dt.date(), hour=pl.col("issued_at").dt.hour().cast(pl.Int32), channel=channel
        )
        .agg(issued=total(pl.col("weight")), late=total(pl.col("weight").filter(pl.col("state") == "missed")))
        .sort("day", "hour", "channel")
        .cast(_HOURS)  # type: ignore[arg-type]
    )


_HOURS = {"day": pl.Date, "hour": pl.Int32, "channel": pl.String, "issued": pl.Float64, "late": pl.Float64}


def slow_hours(frame: pl.DataFrame, stops: pl.DataFrame, *, lang: str = "zh") -> Chart | HTML:
    """Draw the share not visible in time by day and hour of issue, by channel, and the stops on the same days.

    `stops`: `channel`, `starts_at`, `ends_at`, `announced`, `title`. Brush days in the lower panel; click a channel.
    Nothing where no invoice can be judged: the chart of the curves says why.
    """
    words = Words(lang)
    if frame.is_empty():
        return markup("")
    data = labelled(bounded(frame), "channel", {OTHER: words("unit.other")})
    data = with_zeros(data, ["channel"], ["issued", "late"])
    chosen = alt.selection_point(fields=["channel"], name="slow_channel")
    brush = alt.selection_interval(encodings=["x"], name="slow_days")
    heat = (
        alt.Chart(data, width=570, height=230)
        .transform_filter(REAL)
        .transform_filter(chosen)
        .transform_aggregate(issued="sum(issued)", late="sum(late)", groupby=["day", "hour"])
        .transform_calculate(share="datum.late / datum.issued")
        .mark_rect()
        .encode(
            alt.X(
                "yearmonthdate(day):T",
                title=None,
                scale=days_scale(frame["day"]),
                axis=days_axis(words, grid=False),
            ),
            alt.Y("hour:O", title=words("head.hour"), axis=alt.Axis(values=list(range(0, 24, 3)))),
            color=heat_colour(words("head.late_share")),
            opacity=faded(brush, low=0.35),
            tooltip=tooltips(
                words,
                "yearmonthdate(day):T",
                "hour:O",
                ("issued:Q", "judged", ",.0f"),
                ("late:Q", "late", ",.0f"),
                ("share:Q", "late_share", ".2%"),
            ),
        )
    )
    late = _late_by_channel(data, brush, chosen, words)
    upper = together(heat.add_params(brush), late, heading=alt.TitleParams(""), spacing=18)
    heading = title(words("sync.slow"), words("sync.slow_how"))
    days = frame["day"].sort()
    first, last = days[0], days[-1]
    shown = stops.filter(
        (pl.col("ends_at").fill_null(pl.lit(last).cast(pl.Datetime("us")))).dt.date() >= first,
        pl.col("starts_at").dt.date() <= last,
    )
    bars = stop_bars(shown, first=first, last=last + timedelta(days=1), lang=lang)
    return together(upper, bars, heading=heading, way="below", spacing=14)


def _late_by_channel(data: pl.DataFrame, brush: alt.Parameter, chosen: alt.Parameter, words: Words) -> alt.LayerChart:
    sums = (
        alt.Chart(data, width=120, height=230)
        .transform_filter(selected(brush))
        .transform_aggregate(issued="sum(issued)", late="sum(late)", groupby=["channel"])
        .transform_calculate(
            share="datum.issued ? datum.late / datum.issued : 0",
            told=f"datum.issued ? format(datum.share, '.2%') : '{words('unit.nothing')}'",
        )
        .encode(alt.Y("channel:N", title=None), alt.X("share:Q", title=words("head.late_share"), axis=None))
    )
    tips = tooltips(words, "channel:N", ("issued:Q", "judged", ",.0f"), ("late:Q", "late", ",.0f"))
    bars = sums.mark_bar(color=theme.RED).encode(opacity=faded(chosen, low=0.3), tooltip=tips).add_params(chosen)
    text = sums.mark_text(align="left", dx=4).encode(text="told:N")
    layers: alt.LayerChart = bars + text
    return layers


def stop_bars(
    stops: pl.DataFrame, *, first: date | None = None, last: date | None = None, lang: str = "zh"
) -> alt.Chart:
    """Draw announced and found stops as bars in time, by channel; an open one runs to its last known moment."""
    words = Words(lang)
    if stops.is_empty():
        return nothing(words("sync.stops"), words("sync.stops_none"), width=570, height=56)
    labels = {"true": words("sync.announced"), "false": words("sync.found")}
    data = labelled(stops.head(500), "channel", {ALL_CHANNELS: words("unit.all")})
    data = labelled(data.with_columns(kind=pl.col("announced").cast(pl.String)), "kind", labels)
    data = data.with_columns(hours=(pl.col("ends_at") - pl.col("starts_at")).dt.total_minutes() / 60)
    colours = alt.Scale(domain=list(labels.values()), range=[theme.SLATE, theme.RED])
    ends = [alt.DateTime(year=day.year, month=day.month, date=day.day) for day in (first, last) if day]
    span = alt.Scale(domainMin=ends[0], domainMax=ends[-1]) if ends else alt.Scale()
    chart: alt.Chart = (
        alt.Chart(data, width=570, height=alt.Step(20), title=alt.TitleParams(words("sync.stops"), fontSize=12))
        .mark_bar(size=10, cornerRadius=2, clip=True)
        .encode(
            alt.X("starts_at:T", title=None, scale=span, axis=days_axis(words)),
            alt.X2("ends_at:T"),
            alt.Y("channel:N", title=None, sort=_all_first(data, words)),
            color=alt.Color("kind:N", title=words("head.kind"), scale=colours),
            tooltip=tooltips(
                words, "title:N", ("starts_at:T", "from"), ("ends_at:T", "to"), ("hours:Q", "hours", ",.1f"), "kind:N"
            ),
        )
    )
    return chart
