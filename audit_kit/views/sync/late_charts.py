"""Charts of those that are late: what used up the budget of misses, the chance of being merely late, and how it held.

Each chart takes a tidy frame; the function above it, or one of `tables`, prepares that frame.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import altair as alt
import polars as pl

from audit_kit.core.schema import ALL_CHANNELS
from audit_kit.core.words import Words
from audit_kit.views.show import theme
from audit_kit.views.show.linked import REAL, selected, with_zeros
from audit_kit.views.show.parts import (
    Chart,
    bounded,
    channel_colours,
    faded,
    figures_axis,
    labelled,
    nothing,
    title,
    together,
    tooltips,
    with_channels,
)
from audit_kit.views.show.tables import markup
from audit_kit.views.sync.tables import incident

if TYPE_CHECKING:
    from IPython.display import HTML

    from audit_kit.analysis.analysis import Analysis

MOST_CHANNELS = 7
_BINS = 20


def late_bins(analysis: Analysis) -> pl.DataFrame:
    """Return `channel`, `bin` (0, 0.05, … 0.95), `rows`, `yuan` of the invoices with an estimated P(late)."""
    likely = analysis.findings.filter(pl.col("probability_late").is_not_null())
    channels = (
        with_channels(analysis.ledger, analysis).select(pl.col("channel").fill_null("–")).with_row_index("ledger_row")
    )
    joined = likely.select("ledger_row", "probability_late", "amount").join(channels, on="ledger_row", how="left")
    place = (pl.col("probability_late") * _BINS).floor().clip(0, _BINS - 1) / _BINS
    return joined.group_by("channel", bin=place).agg(rows=pl.len(), yuan=pl.col("amount").sum()).sort("channel", "bin")


def late_bars(frame: pl.DataFrame, *, threshold: float = 0.5, presence: bool = False, lang: str = "zh") -> Chart:
    """Draw missing invoices by their chance of being merely late, beside it the same by channel for a brushed range.

    `presence`: no time of arrival is known, and the chart says what the chances rest on.
    """
    words = Words(lang)
    if frame.is_empty():
        return nothing(words("sync.late"), words("sync.late_none"))
    top = frame.group_by("channel").agg(pl.col("rows").sum()).top_k(MOST_CHANNELS, by="rows")["channel"].sort()
    data = bounded(frame).with_columns(
        channel=pl.when(pl.col("channel").is_in(top.to_list())).then("channel").otherwise(pl.lit(words("unit.other"))),
        end=pl.col("bin") + 1 / _BINS,
    )
    data = with_zeros(data, ["channel"], ["rows", "yuan"])
    brush = alt.selection_interval(encodings=["x"], name="brushed_chance")
    channels = top.to_list()
    colour = alt.Color("channel:N", title=words("head.channel"), scale=channel_colours(channels, ALL_CHANNELS))
    left = (
        alt.Chart(data, width=490, height=190)
        .transform_filter(REAL)
        .mark_bar(stroke=theme.PAPER, strokeWidth=0.5)
        .encode(
            alt.X(
                "bin:Q",
                bin="binned",
                title=words("head.late_chance"),
                scale=alt.Scale(domain=[0, 1]),
                axis=alt.Axis(format="%", values=[tenth / 10 for tenth in range(11)]),
            ),
            alt.X2("end:Q"),
            alt.Y("sum(rows):Q", title=words("head.rows"), axis=figures_axis(words)),
            color=colour,
            opacity=faded(brush, low=0.35),
            tooltip=tooltips(words, "channel:N", ("bin:Q", "late_chance", ".0%"), "sum(rows):Q", "sum(yuan):Q"),
        )
        .add_params(brush)
    )
    line = alt.Chart(pl.DataFrame({"at": [threshold]})).mark_rule(strokeDash=[5, 4], color=theme.INK).encode(x="at:Q")
    right = (
        alt.Chart(data, width=210, height=190)
        .mark_bar()
        .transform_filter(selected(brush))
        .encode(
            alt.X("sum(yuan):Q", title=words("head.yuan"), axis=figures_axis(words, tickCount=3)),
            alt.Y("channel:N", title=None, sort="-x"),
            color=colour,
            tooltip=tooltips(words, "channel:N", "sum(rows):Q", "sum(yuan):Q"),
        )
    )
    return together(
        left + line,
        right,
        heading=title(words("sync.late"), words("sync.late_how_presence" if presence else "sync.late_how")),
        spacing=26,
    )


def reliability(scored: pl.DataFrame, *, lang: str = "zh") -> Chart:
    """Draw how often what was called late turned up. `scored`: `predicted`, `observed`, `rows`, `lower`, `upper`."""
    words = Words(lang)
    if scored.is_empty():
        return nothing(words("sync.reliability"), words("sync.reliability_none"))
    base = alt.Chart(bounded(scored), width=330, height=260).encode(
        alt.X("predicted:Q", title=words("head.predicted"), scale=alt.Scale(domain=[0, 1]), axis=alt.Axis(format="%")),
        tooltip=tooltips(words, ("predicted:Q", "predicted", ".1%"), ("observed:Q", "observed", ".1%"), "rows:Q"),
    )
    y = alt.Y("observed:Q", title=words("head.observed"), scale=alt.Scale(domain=[0, 1]), axis=alt.Axis(format="%"))
    even = pl.DataFrame({"predicted": [0.0, 1.0], "observed": [0.0, 1.0]})
    diagonal = (
        alt.Chart(even)
        .mark_line(strokeDash=[4, 4], color=theme.GREY, strokeWidth=1)
        .encode(alt.X("predicted:Q"), alt.Y("observed:Q"))
    )
    points = base.mark_point().encode(
        y, size=alt.Size("rows:Q", title=words("head.rows"), scale=alt.Scale(range=[30, 400]))
    )
    layers = [diagonal]
    if {"lower", "upper"} <= set(scored.columns):
        layers.append(base.mark_rule(color=theme.SKY, strokeWidth=2).encode(alt.Y("lower:Q"), alt.Y2("upper:Q")))
    heading = title(words("sync.reliability"), words("sync.reliability_how"))
    chart: Chart = alt.layer(*layers, points).properties(title=heading)
    return chart


def budget_bars(frame: pl.DataFrame, *, lang: str = "zh") -> Chart | HTML:
    """Draw what the misses are due to: stops, causes, no particular reason; nothing where there are none."""
    words = Words(lang)
    if frame.is_empty():
        return markup("")
    kinds = words.terms("miss", ("stop", "cause", "slow"))
    names = {row: incident(row, kind, words) for row, kind in frame.select("incident", "kind").iter_rows()}
    data = labelled(labelled(bounded(frame), "incident", names), "kind", kinds)
    colours = {"stop": theme.SLATE, "cause": theme.RED, "slow": theme.AMBER}
    base = alt.Chart(data, width=540, height=alt.Step(22)).encode(
        alt.Y("incident:N", sort=data["incident"].to_list(), title=None, axis=alt.Axis(labelLimit=240)),
        alt.X("misses:Q", title=words("head.late"), axis=figures_axis(words)),
        tooltip=tooltips(
            words, ("incident:N", "cause"), "kind:N", ("misses:Q", "late", ",.0f"), ("share:Q", "share", ".2%")
        ),
    )
    bars = base.mark_bar(size=14).encode(
        color=alt.Color("kind:N", title=words("head.kind"), scale=theme.scale(colours, kinds))
    )
    text = base.mark_text(align="left", dx=4, color=theme.MUTED).encode(text=alt.Text("share:Q", format=".0%"))
    chart: alt.LayerChart = (bars + text).properties(title=title(words("sync.budget"), words("sync.budget_how")))
    return chart
