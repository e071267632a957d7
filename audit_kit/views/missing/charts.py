"""Charts of what is missing: when and where, by which cause, in runs, and what the missing have in common.

Each chart takes a tidy frame of aggregates; the function above it prepares that frame from an Analysis. Days are those
of issue, at most the last 35 of the ledger; what is older is counted in the answers and tables, not drawn here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import altair as alt
import polars as pl

from audit_kit.core import schema
from audit_kit.core.words import Words
from audit_kit.views.show import theme
from audit_kit.views.show.finding_rows import not_listed
from audit_kit.views.show.linked import selected, with_zeros
from audit_kit.views.show.parts import (
    OTHER,
    Chart,
    bounded,
    days_axis,
    days_scale,
    faded,
    figures_axis,
    heat_colour,
    labelled,
    nothing,
    title,
    together,
    tooltips,
    with_channels,
    within,
)

if TYPE_CHECKING:
    from datetime import datetime

    from audit_kit.analysis.analysis import Analysis

MOST_DAYS = 35
MOST_CHANNELS = 4
MOST_CAUSES = 16
BAND_EDGES = (0, 100, 1_000, 10_000, 100_000, 1_000_000)


def _rows(analysis: Analysis, start: datetime | None, end: datetime | None) -> pl.DataFrame:
    """Return ledger_row, issued_at, gross, channel (the largest, else other), missing of the last days."""
    known = with_channels(analysis.ledger, analysis)
    ledger = known.select("issued_at", "gross", pl.col("channel").fill_null("–"))
    outcome = analysis.matches.select("ledger_row", missing=pl.col("outcome").cast(pl.String) == "missing")
    rows = ledger.with_row_index("ledger_row").join(outcome, on="ledger_row").filter(pl.col("issued_at").is_not_null())
    rows = within(rows, start, end)
    last = rows["issued_at"].max()
    if last is None:
        return rows
    rows = rows.filter(pl.col("issued_at") >= pl.lit(last).dt.truncate("1d").dt.offset_by(f"-{MOST_DAYS - 1}d"))
    top = rows.group_by("channel").len().top_k(MOST_CHANNELS, by="len")["channel"].to_list()
    return rows.with_columns(channel=pl.when(pl.col("channel").is_in(top)).then("channel").otherwise(pl.lit(OTHER)))


def cells(analysis: Analysis, *, start: datetime | None = None, end: datetime | None = None) -> pl.DataFrame:
    """Return `day`, `hour`, `channel`, `issued`, `missing`, `yuan` (missing): at most 35 × 24 × 5 rows."""
    frame = _rows(analysis, start, end).group_by(
        day=pl.col("issued_at").dt.date(), hour=pl.col("issued_at").dt.hour().cast(pl.Int32), channel="channel"
    )
    return _counted(frame).sort("day", "hour", "channel")


def bands(analysis: Analysis, *, start: datetime | None = None, end: datetime | None = None) -> pl.DataFrame:
    """Return `day`, `channel`, `band` (place in BAND_EDGES; 0 = red invoices), `issued`, `missing`, `yuan`."""
    gross = pl.col("gross").cast(pl.Float64)
    band = pl.sum_horizontal([(gross >= edge).cast(pl.Int32) for edge in BAND_EDGES])
    frame = (
        _rows(analysis, start, end)
        .drop_nulls("gross")
        .group_by(day=pl.col("issued_at").dt.date(), channel="channel", band=band)
    )
    return _counted(frame).sort("day", "channel", "band")


def _counted(groups: pl.dataframe.group_by.GroupBy) -> pl.DataFrame:
    return groups.agg(
        issued=pl.len(),
        missing=pl.col("missing").sum().cast(pl.UInt32),
        yuan=pl.col("gross").filter(pl.col("missing")).sum(),
    )


def where_missing(hours: pl.DataFrame, amounts: pl.DataFrame, *, lang: str = "zh") -> Chart:
    """Draw a calendar, hour by channel, and amount bands of what is missing; click days and channels to cross them.

    `hours` are from cells, `amounts` from bands.
    """
    words = Words(lang)
    if hours.is_empty():
        return nothing("", words("unit.no_rows"))
    if not hours["missing"].sum():
        return nothing("", words("missing.where_none"))
    days = alt.selection_point(fields=["day"], name="missing_days")
    channels = alt.selection_point(fields=["channel"], name="missing_channel")
    other = {OTHER: words("unit.other")}
    data = labelled(bounded(hours), "channel", other)
    upper = together(
        _calendar(data, days, channels, words),
        _hour_by_channel(data, days, channels, words),
        heading=alt.TitleParams(""),
        spacing=30,
    )
    lower = _bands(labelled(bounded(amounts), "channel", other), days, channels, words)
    heading = title("", words("missing.where_how"))
    return together(upper, lower, heading=heading, way="below", spacing=16)


def _tips(words: Words, *first: str | tuple[str, str]) -> list[alt.Tooltip]:
    return tooltips(words, *first, "issued:Q", "missing:Q", ("share:Q", "missing_share", ".2%"), "yuan:Q")


def _summed(chart: alt.Chart, by: list[str]) -> alt.Chart:
    sums = chart.transform_aggregate(
        issued="sum(issued)", missing="sum(missing)", yuan="sum(yuan)", groupby=list[str | alt.FieldName](by)
    )
    return sums.transform_calculate(share="datum.missing / datum.issued")


def _calendar(data: pl.DataFrame, days: alt.Parameter, channels: alt.Parameter, words: Words) -> alt.LayerChart:
    weekdays = words("axis.weekdays").split()
    monday = (pl.col("day") - pl.duration(days=pl.col("day").dt.weekday() - 1)).dt.strftime("%m-%d")
    sums = [pl.col(name).sum() for name in ("issued", "missing", "yuan")]
    data = data.group_by("day", "channel", maintain_order=True).agg(sums)
    data = data.with_columns(weekday=pl.col("day").dt.weekday() - 1, week=monday, number=pl.col("day").dt.day())
    week_order = data.sort("day")["week"].unique(maintain_order=True).to_list()
    base = _summed(
        alt.Chart(data, width=alt.Step(42), height=alt.Step(34)).transform_filter(channels),
        ["day", "weekday", "week", "number"],
    ).encode(
        alt.X(
            "weekday:O",
            title=None,
            scale=alt.Scale(domain=list(range(7))),
            axis=alt.Axis(labelExpr=f"{weekdays}[datum.value]", labelAngle=0, orient="top", domain=False, ticks=False),
        ),
        alt.Y("week:O", title=words("axis.week_of"), sort=week_order),
    )
    tips = _tips(words, "day:T")
    squares = base.mark_rect(cornerRadius=3, stroke=theme.PAPER, strokeWidth=2).encode(
        color=heat_colour(words("head.missing_share"), form=".1%"), opacity=faded(days, low=0.25), tooltip=tips
    )
    numbers = base.mark_text(fontSize=11).encode(
        text="number:Q",
        color=alt.condition("datum.share > 0.4", alt.value(theme.PAPER), alt.value(theme.INK)),
    )
    layers: alt.LayerChart = squares.add_params(days) + numbers
    return layers


def _hour_by_channel(data: pl.DataFrame, days: alt.Parameter, channels: alt.Parameter, words: Words) -> alt.Chart:
    chart: alt.Chart = (
        _summed(alt.Chart(data, width=385, height=alt.Step(34)).transform_filter(days), ["hour", "channel"])
        .mark_rect(cornerRadius=2, stroke=theme.PAPER, strokeWidth=1)
        .encode(
            alt.X("hour:O", title=words("head.hour"), axis=alt.Axis(labelAngle=0, values=list(range(0, 24, 2)))),
            alt.Y("channel:N", title=None),
            color=heat_colour(words("head.missing_share"), form=".1%"),
            opacity=faded(channels, low=0.25),
            tooltip=_tips(words, "channel:N", "hour:O"),
        )
        .add_params(channels)
    )
    return chart


def _bands(data: pl.DataFrame, days: alt.Parameter, channels: alt.Parameter, words: Words) -> Chart:
    labels = words("axis.bands").split("|")
    order = [labels[place] for place in sorted(data["band"].unique().to_list())]
    data = data.with_columns(label=pl.col("band").replace_strict(range(len(labels)), labels, return_dtype=pl.String))
    data = with_zeros(data, ["label", "band"], ["issued", "missing", "yuan"])
    base = _summed(
        alt.Chart(data, width=310, height=alt.Step(24)).transform_filter(selected(days, channels)),
        ["label", "band"],
    ).encode(alt.Y("label:N", title=words("axis.band"), sort=order))
    tips = _tips(words, ("label:N", "axis.band"))
    panels = []
    for field, heading, form in (("missing", "head.missing", ","), ("yuan", "head.missing_yuan", ",.0f")):
        x = alt.X(f"{field}:Q", title=words(heading), axis=figures_axis(words, tickCount=4))
        y = alt.Y("label:N", title=words("axis.band") if field == "missing" else None, sort=order)
        bars = base.mark_bar(color=theme.RED).encode(x, y, tooltip=tips)
        text = base.mark_text(align="left", dx=4, color=theme.MUTED).encode(
            x, y, text=alt.Text(f"{field}:Q", format=form)
        )
        panels.append(bars + text)
    return together(*panels, heading=alt.TitleParams(""), spacing=24)


def cause_days(analysis: Analysis, findings: pl.DataFrame | None = None) -> pl.DataFrame:
    """Return `cause`, `severity`, `day` (null = not within the last 35 days, or no row), `rows`, `yuan`.

    `findings`: some of the analysis' own; null = all but those of invoices that are listed and agree.
    """
    findings = not_listed(analysis.findings) if findings is None else findings
    issued = analysis.ledger.select(day=pl.col("issued_at").dt.date()).with_row_index("ledger_row")
    joined = findings.select("cause", "severity", "ledger_row", "amount").join(issued, on="ledger_row", how="left")
    last = joined["day"].max()
    if last is not None:
        recent = pl.col("day") >= pl.lit(last).dt.offset_by(f"-{MOST_DAYS - 1}d")
        joined = joined.with_columns(day=pl.when(recent).then("day"))
    return (
        joined.group_by("cause", pl.col("severity").cast(pl.String), "day")
        .agg(rows=pl.len(), yuan=pl.col("amount").sum())
        .sort("cause", "day")
    )


def causes_in_time(frame: pl.DataFrame, *, lang: str = "zh") -> Chart:
    """Draw causes by number and yuan, and the days on which they struck; click a cause, or brush days."""
    words = Words(lang)
    if frame.is_empty():
        return nothing(words("missing.causes"), words("overview.causes_none"))
    totals = frame.group_by("cause").agg(pl.col("yuan", "rows").sum()).sort("yuan", "rows", descending=True)
    kept = totals["cause"].head(MOST_CAUSES).to_list()
    named = words.causes(kept)
    severities = [word for word in schema.SEVERITIES if word in frame["severity"].to_list()]
    labels = words.terms("severities", severities)
    data = labelled(bounded(frame.filter(pl.col("cause").is_in(kept))), "severity", labels)
    data = with_zeros(labelled(data, "cause", named), ["cause", "severity"], ["rows", "yuan"])
    picked = alt.selection_point(fields=["cause"], name="picked_cause")
    brush = alt.selection_interval(encodings=["x"], name="cause_days")
    legend = alt.Legend(orient="bottom", columns=3, title=None)  # no wider than the panel it stands under
    colours = alt.Color("severity:N", legend=legend, scale=theme.scale(theme.SEVERITIES, labels))
    tips = tooltips(words, "cause:N", "sum(rows):Q", "sum(yuan):Q")
    panels = []
    for place, measure in enumerate(("rows", "yuan")):
        y = alt.Y(
            "cause:N", sort=list(named.values()), title=None, axis=alt.Axis(labelLimit=200) if not place else None
        )
        x = alt.X(f"sum({measure}):Q", title=words(f"head.{measure}"), axis=figures_axis(words, tickCount=3))
        bars = alt.Chart(data, width=150, height=alt.Step(20)).transform_filter(selected(brush)).mark_bar(size=13)
        colour = colours.legend(None) if place else colours
        panels.append(bars.encode(x, y, color=colour, opacity=faded(picked, low=0.3), tooltip=tips).add_params(picked))
    dated = data.filter(pl.col("day").is_not_null())
    when = (
        alt.Chart(dated, width=320, height=alt.Step(20))
        .mark_rect(stroke=theme.PAPER, strokeWidth=0.5)
        .encode(
            alt.X(
                "yearmonthdate(day):T", title=None, scale=days_scale(dated["day"]), axis=days_axis(words, grid=False)
            ),
            alt.Y("cause:N", sort=list(named.values()), title=None, axis=None),
            color=alt.Color(
                "sum(rows):Q", title=words("head.a_day"), scale=alt.Scale(type="sqrt", range=list(theme.HEAT))
            ),
            opacity=faded(picked, low=0.2),
            tooltip=[*tooltips(words, "yearmonthdate(day):T"), *tips],
        )
        .add_params(brush)
    )
    heading = title(words("missing.causes"), words("missing.causes_how"))
    chart: alt.HConcatChart = together(*panels, when, heading=heading, spacing=14).resolve_scale(color="independent")
    return chart
