"""Charts over the months: what is new and closed, which causes, and how predictions held.

Frames come from the register of the months. Beyond `MOST_BARS` months the bars are years, so that a page stays small
and can be read.
"""

from __future__ import annotations

import altair as alt
import polars as pl

from audit_kit.core.words import Words
from audit_kit.rules.history.histories import CHANGES
from audit_kit.views.show import theme
from audit_kit.views.show.parts import (
    Chart,
    bounded,
    by_legend,
    faded,
    figures_axis,
    labelled,
    nothing,
    title,
    together,
    tooltips,
)

MOST_BARS = 48
MOST_CAUSES = 7
MOST_SETTLED = 36
OTHER = "other"
COLOURS = {"new": theme.RED, "reopened": theme.PLUM, "recurring": theme.AMBER, "closed": theme.TEAL}


def periods(frame: pl.DataFrame) -> pl.DataFrame:
    """Return a frame with `month` as months, or as years where there are too many of them."""
    if frame["month"].n_unique() <= MOST_BARS:
        return frame
    return frame.with_columns(pl.col("month").str.slice(0, 4))


def change_bars(changes: pl.DataFrame, *, lang: str = "zh") -> Chart:
    """Draw what each month found and closed; what was closed hangs below. `changes`: `month`, `change`, `rows`."""
    words = Words(lang)
    if changes.is_empty():
        return nothing(words("trend.changes"), words("trend.nothing"))
    labels = words.terms("trend_changes", CHANGES)
    counted = periods(changes).group_by("month", "change").agg(pl.col("rows").sum(), pl.col("yuan").sum())
    signed = pl.when(pl.col("change") == "closed").then(-pl.col("rows").cast(pl.Int64)).otherwise("rows")
    data = labelled(bounded(counted.with_columns(signed=signed).sort("month", "change")), "change", labels)
    chosen = by_legend("change", "chosen_change")
    bars = (
        alt.Chart(data, width=theme.WIDTH, height=220)
        .mark_bar()
        .encode(
            alt.X("month:O", title=None, axis=alt.Axis(labelAngle=-45)),
            alt.Y("signed:Q", title=words("head.findings"), axis=figures_axis(words)),
            color=alt.Color("change:N", title=None, scale=theme.scale(COLOURS, labels)),
            opacity=faded(chosen),
            tooltip=tooltips(words, ("month:O", "month"), ("change:N", "change"), ("rows:Q", "findings"), "yuan:Q"),
        )
        .add_params(chosen)
    )
    made: Chart = bars.properties(title=title(words("trend.changes"), words("trend.changes_how")))
    return made


def cause_totals(causes: pl.DataFrame) -> pl.DataFrame:
    """Return `month` (or year), `cause`, `rows`, `yuan`: those with most money over all, the others together."""
    counted = (
        periods(causes)
        .group_by("month", "cause")
        .agg(pl.col("own_rows").sum().alias("rows"), pl.col("own_yuan").cast(pl.Float64).abs().sum().alias("yuan"))
    )
    weight = counted.group_by("cause").agg(pl.col("yuan").sum(), pl.col("rows").sum())
    first = weight.sort("yuan", "rows", "cause", descending=[True, True, False]).head(MOST_CAUSES)["cause"]
    named = pl.when(pl.col("cause").is_in(first.implode())).then("cause").otherwise(pl.lit(OTHER))
    return (
        counted.with_columns(cause=named)
        .group_by("month", "cause")
        .agg(pl.col("rows").sum(), pl.col("yuan").sum())
        .filter(pl.col("rows") > 0)
        .sort("month", "cause")
    )


def cause_bars(totals: pl.DataFrame, *, lang: str = "zh") -> Chart:
    """Draw root causes by number and by money; `totals` is from `cause_totals`."""
    words = Words(lang)
    if totals.is_empty():
        return nothing(words("trend.causes"), words("trend.nothing"))
    order = totals.group_by("cause").agg(pl.col("yuan").sum()).sort("yuan", "cause", descending=[True, False])["cause"]
    names = [cause for cause in order if cause != OTHER] + [OTHER] * (OTHER in order)
    labels = {cause: words("trend.other") if cause == OTHER else words.cause(cause) for cause in names}
    palette = [*theme.CHANNELS, theme.GREY]
    colours = {cause: theme.GREY if cause == OTHER else palette[at] for at, cause in enumerate(names)}
    data = labelled(bounded(totals), "cause", labels)
    chosen = by_legend("cause", "chosen_cause")
    base = alt.Chart(data, width=390, height=240).mark_bar()
    panels = [
        base.encode(
            alt.X("month:O", title=None, axis=alt.Axis(labelAngle=-45)),
            alt.Y(f"{name}:Q", title=words(f"head.{name}"), axis=figures_axis(words)),
            color=alt.Color("cause:N", title=None, scale=theme.scale(colours, labels)),
            opacity=faded(chosen),
            tooltip=tooltips(words, ("month:O", "month"), ("cause:N", "cause"), "rows:Q", "yuan:Q"),
        )
        for name in ("rows", "yuan")
    ]
    heading = title(words("trend.causes"), words("trend.causes_how", most=MOST_BARS))
    return together(*panels, heading=heading, shared=(chosen,), spacing=30)


def settled_points(settled: pl.DataFrame, *, lang: str = "zh") -> Chart:
    """Draw how many were to come, with their interval, and how many came.

    `settled`: `month`, `late_predicted`, `late_observed`, `late_lower`, `late_upper`, `rows`.
    """
    words = Words(lang)
    if settled.is_empty():
        return nothing(words("trend.settled"), words("trend.settled_none"))
    data = bounded(settled.sort("month").tail(MOST_SETTLED))
    base = alt.Chart(data, width=theme.WIDTH, height=200).encode(
        alt.X("month:O", title=None, axis=alt.Axis(labelAngle=-45)),
        tooltip=tooltips(
            words,
            ("month:O", "month"),
            ("late_predicted:Q", "trend.predicted", ",.1f"),
            ("late_observed:Q", "trend.came"),
            "rows:Q",
        ),
    )
    heading, axis = words("head.rows"), figures_axis(words)
    span = base.mark_rule(color=theme.SKY, strokeWidth=6).encode(
        alt.Y("late_lower:Q", title=heading, axis=axis), alt.Y2("late_upper:Q")
    )
    said = base.mark_tick(color=theme.BLUE, thickness=3, width=16).encode(
        alt.Y("late_predicted:Q", title=heading, axis=axis)
    )
    came = base.mark_point(color=theme.RED, size=60).encode(alt.Y("late_observed:Q", title=heading, axis=axis))
    chart: Chart = alt.layer(span, said, came).properties(
        title=title(words("trend.settled"), words("trend.settled_how"))
    )
    return chart
