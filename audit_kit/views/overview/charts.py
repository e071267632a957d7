"""Charts of the whole engagement: outcomes on both sides, the month day by day, findings, change since last month.

Each chart takes a tidy frame of at most 5,000 aggregated rows and a language; the function above it prepares that
frame from an Analysis. Selections are Vega's own, so they work in a report that has no kernel.
"""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

import altair as alt
import polars as pl

from audit_kit.core import schema
from audit_kit.core.words import Words
from audit_kit.views.show import theme
from audit_kit.views.show.linked import REAL, selected, with_zeros
from audit_kit.views.show.parts import (
    Chart,
    bounded,
    by_legend,
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
    from datetime import datetime

    from audit_kit.analysis.analysis import Analysis

SIDES = ("ledger", "platform")
CROSS_MONTH = "cross_month"
PLACED = (*schema.OUTCOMES, CROSS_MONTH)
PAIRED = ("matched", "matched_cleaned", "mistyped", "conflict")
_FIT_FOR_LABEL = 0.13


def outcome_totals(analysis: Analysis, *, start: datetime | None = None, end: datetime | None = None) -> pl.DataFrame:
    """Return `side` (ledger, platform), `outcome`, `rows`, `yuan` (decimal): every row of both sides exactly once.

    A platform row that several ledger rows point to counts once, under the outcome of the first. With `start` and `end`
    each side has what it dates within them, and what has no date; a pair of which the other side's date lies outside is
    CROSS_MONTH, so that the sum of a side is that of its file.
    """
    sides = []
    for side, table in zip(SIDES, (analysis.ledger, analysis.platform), strict=True):
        row = f"{side}_row"
        matches = _of_period(analysis, side, start, end).unique(row, keep="first", maintain_order=True)
        amounts = table["gross"].gather(matches[row]) if "gross" in table.columns else None
        frame = matches.select("outcome")
        frame = frame.with_columns(yuan=pl.lit(None, pl.Decimal(18, 2)) if amounts is None else amounts)
        totals = frame.group_by("outcome").agg(rows=pl.len(), yuan=pl.col("yuan").sum())
        sides.append(totals.select(pl.lit(side).alias("side"), "outcome", "rows", "yuan"))
    return pl.concat(sides).sort("side", pl.col("outcome").cast(pl.Enum(PLACED)))


def _of_period(analysis: Analysis, side: str, start: datetime | None, end: datetime | None) -> pl.DataFrame:
    """Return the matches of one side's rows of a period, those that tie within it before the others."""
    outcome = pl.col("outcome").cast(pl.String)
    matches = analysis.matches.filter(pl.col(f"{side}_row").is_not_null()).with_columns(outcome)
    if start is None or end is None:
        return matches
    dates = {name: table["issued_at"] for name, table in zip(SIDES, (analysis.ledger, analysis.platform), strict=True)}
    matches = matches.with_columns(dates[name].gather(matches[f"{name}_row"]).alias(f"_{name}") for name in SIDES)
    own, other = (pl.col(f"_{name}") for name in (SIDES if side == "ledger" else SIDES[::-1]))
    if side == "platform":  # without a date of its own it is of the month of the row it is matched with
        own = pl.coalesce(own, other)
    within_it = own.is_null() | own.is_between(start, end, closed="left")
    elsewhere = pl.col("outcome").is_in(PAIRED) & ~other.is_between(start, end, closed="left").fill_null(value=True)
    matches = matches.filter(within_it).with_columns(
        outcome=pl.when(elsewhere).then(pl.lit(CROSS_MONTH)).otherwise("outcome")
    )
    return matches.sort(pl.col("outcome") == CROSS_MONTH, maintain_order=True)


def before_totals(analysis: Analysis, *, start: datetime | None) -> dict[str, tuple[int, Decimal]]:
    """Return number and yuan of what is shown though it is dated before `start`, because it is still open.

    By `ledger`, `platform` (rows that nothing in the ledger claims) and `missing` (of those of the ledger).
    """
    matches = analysis.matches.with_columns(pl.col("outcome").cast(pl.String))
    booked = matches.filter(pl.col("ledger_row").is_not_null())
    chosen = {
        "ledger": (analysis.ledger, booked["ledger_row"]),
        "platform": (analysis.platform, matches.filter(pl.col("ledger_row").is_null())["platform_row"].drop_nulls()),
        "missing": (analysis.ledger, booked.filter(pl.col("outcome") == "missing")["ledger_row"]),
    }
    found = {}
    for name, (table, rows) in chosen.items():
        early = table[rows.unique()].filter(pl.col("issued_at") < start) if start is not None else table.clear()
        found[name] = (early.height, Decimal(early["gross"].sum() or 0) if "gross" in early.columns else Decimal(0))
    return found


def outcome_bar(totals: pl.DataFrame, *, lang: str = "zh") -> Chart:
    """Draw one stacked bar a side, by number and by yuan; the legend singles out an outcome in both."""
    words = Words(lang)
    if totals.is_empty():
        return nothing("", words("unit.no_rows"))
    frame, labels = _placed(totals, words)
    frame = frame.with_columns(
        (pl.col(column) / pl.col(column).sum().over("side")).fill_nan(0).alias(f"{column}_share")
        for column in ("rows", "yuan")
    )
    frame = labelled(labelled(frame, "outcome", labels), "side", words.terms("sides", SIDES))
    chosen = by_legend("outcome", "chosen_outcome")
    base = alt.Chart(frame).encode(
        alt.Y("side:N", title=None, sort=list(words.terms("sides", SIDES).values())), order=alt.Order("place:Q")
    )
    colour = alt.Color("outcome:N", title=words("head.outcome"), scale=theme.scale(theme.OUTCOMES, labels))
    halves = [
        _half(base, colour, measure, words(f"head.{measure}"), number, chosen, words)
        for measure, number in (("rows", ",.0f"), ("yuan", ",.2f"))
    ]
    heading = title("", words("overview.outcomes_how"))
    return together(*halves, heading=heading, shared=(chosen,), spacing=28)


def _placed(frame: pl.DataFrame, words: Words) -> tuple[pl.DataFrame, dict[str, str]]:
    """Return the frame with `place`, the order in which its outcomes are stacked, and their labels in that order."""
    present = [word for word in PLACED if word in frame["outcome"].to_list()]
    order = pl.DataFrame({"outcome": present, "place": range(len(present))})
    return bounded(frame).join(order, on="outcome"), words.terms("outcomes", present)


def _half(  # noqa: PLR0917 -- one bar of the pair, called twice above
    base: alt.Chart, colour: alt.Color, measure: str, name: str, number: str, chosen: alt.Parameter, words: Words
) -> alt.LayerChart:
    axis = figures_axis(words, tickCount=5)
    tooltip = [
        *tooltips(words, "side:N", "outcome:N"),
        alt.Tooltip(f"{measure}:Q", title=name, format=number),
        alt.Tooltip(f"{measure}_share:Q", title=words("head.share"), format=".2%"),
    ]
    bars = base.mark_bar(size=34).encode(
        alt.X(f"{measure}:Q", title=name, axis=axis, stack="zero"), color=colour, opacity=faded(chosen), tooltip=tooltip
    )
    inside = (
        base.transform_filter(f"datum.{measure}_share > {_FIT_FOR_LABEL}")
        .mark_text(color=theme.PAPER, align="right", dx=-6, fontWeight=600)
        .encode(alt.X(f"{measure}:Q", stack="zero"), text=alt.Text(f"{measure}_share:Q", format=".1%"))
    )
    both: alt.LayerChart = (bars + inside).properties(width=335, height=96)
    return both


def days(analysis: Analysis, *, start: datetime | None = None, end: datetime | None = None) -> pl.DataFrame:
    """Return `day` (date), `outcome`, `rows`, `yuan` of the ledger, and of what only the platform has.

    Longer spans are by week, then by month.
    """
    parts = []
    for name, table in zip(SIDES, (analysis.ledger, analysis.platform), strict=True):
        row, own = f"{name}_row", pl.col("ledger_row").is_not_null() == (name == "ledger")
        rows = table.select("issued_at", "gross").with_row_index(row)
        parts.append(analysis.matches.filter(own).select(row, "outcome").join(rows, on=row).drop(row))
    frame = within(pl.concat(parts).filter(pl.col("issued_at").is_not_null()), start, end)
    step = _step(frame["issued_at"])
    return (
        frame.group_by(day=pl.col("issued_at").dt.truncate(step).dt.date(), outcome=pl.col("outcome").cast(pl.String))
        .agg(rows=pl.len(), yuan=pl.col("gross").sum())
        .sort("day", "outcome")
    )


def _step(times: pl.Series) -> str:
    first, last = times.min(), times.max()
    span = (last - first).days if first is not None and last is not None else 0  # type: ignore[operator, union-attr]
    if span <= 92:  # noqa: PLR2004 -- a quarter, day by day
        return "1d"
    return "1w" if span <= 730 else "1mo"  # noqa: PLR2004 -- two years, week by week


def day_bars(frame: pl.DataFrame, *, lang: str = "zh") -> Chart:
    """Draw invoices by day and outcome, and the same by outcome for the days that are brushed."""
    words = Words(lang)
    if frame.is_empty():
        return nothing(words("overview.days"), words("unit.no_rows"))
    placed, labels = _placed(frame, words)
    data = with_zeros(labelled(placed, "outcome", labels), ["outcome", "place"], ["rows", "yuan"])
    brush = alt.selection_interval(encodings=["x"], name="brushed_days")
    chosen = alt.selection_point(fields=["outcome"], name="outcome_of_days")
    colour = alt.Color("outcome:N", legend=None, scale=theme.scale(theme.OUTCOMES, labels))
    tooltip = tooltips(words, "day:T", "outcome:N", "rows:Q", "yuan:Q")
    by_day = (
        alt.Chart(data, width=510, height=190)
        .mark_bar()
        .encode(
            alt.X("yearmonthdate(day):T", title=None, scale=days_scale(frame["day"]), axis=days_axis(words)),
            alt.Y("rows:Q", title=words("overview.not_matched"), stack="zero", axis=figures_axis(words)),
            color=colour,
            opacity=faded(brush, low=0.3),
            order="place:Q",
            tooltip=tooltip,
        )
        .transform_filter(REAL)
        .transform_filter(alt.datum.outcome != labels.get("matched"))
        .transform_filter(chosen)
        .add_params(brush)
    )
    sums = alt.Chart(data, width=150, height=190).transform_filter(selected(brush))
    sums = sums.transform_filter(alt.datum.outcome != labels.get("matched"))
    sums = sums.transform_aggregate(rows="sum(rows)", yuan="sum(yuan)", groupby=["outcome", "place"])
    sums = sums.encode(
        alt.Y("outcome:N", title=None, sort=list(labels.values())),
        alt.X("rows:Q", title=words("head.rows"), axis=figures_axis(words, tickCount=3)),
    )
    bars = sums.mark_bar().encode(color=colour, opacity=faded(chosen), tooltip=tooltip[1:]).add_params(chosen)
    text = sums.mark_text(align="left", dx=4).encode(text=alt.Text("rows:Q", format=","))
    heading = title(words("overview.days"), words("overview.days_how"))
    return together(by_day, bars + text, heading=heading, spacing=24)


def cause_totals(findings: pl.DataFrame) -> pl.DataFrame:
    """Return `cause`, `area`, `severity`, `state`, `rows`, `yuan`, most yuan first."""
    keys = [pl.col(name).cast(pl.String) for name in ("cause", "area", "severity", "state")]
    totals = findings.group_by(keys).agg(rows=pl.len(), yuan=pl.col("amount").sum())
    return totals.sort("yuan", "rows", "cause", descending=[True, True, False])


def cause_bars(totals: pl.DataFrame, *, lang: str = "zh", most: int = 24) -> Chart:
    """Draw findings by cause, by number and by yuan; the legend singles out a severity, a click a cause."""
    words = Words(lang)
    if totals.is_empty():
        return nothing(words("overview.causes"), words("overview.causes_none"))
    severities = [word for word in schema.SEVERITIES if word in totals["severity"].to_list()]
    labels = words.terms("severities", severities)
    named = words.causes(totals["cause"].unique())
    first = totals.group_by("cause").agg(pl.col("yuan", "rows").sum()).sort("yuan", "rows", descending=True)
    order = [named[cause] for cause in first["cause"].head(most)]
    data = bounded(totals.filter(pl.col("cause").is_in(first["cause"].head(most).to_list())))
    data = labelled(labelled(data, "severity", labels), "cause", named)
    chosen = by_legend("severity", "chosen_severity")
    picked = alt.selection_point(fields=["cause"], name="chosen_cause")
    base = alt.Chart(data, height=alt.Step(22), width=300).encode(
        color=alt.Color("severity:N", title=words("head.severity"), scale=theme.scale(theme.SEVERITIES, labels))
    )
    tooltip = tooltips(words, "cause:N", "severity:N", ("rows:Q", "findings"), "yuan:Q")
    panels = []
    for place, (measure, number) in enumerate((("rows", ",.0f"), ("yuan", ",.0f"))):
        axis = alt.Axis(labelLimit=220) if place == 0 else None
        y = alt.Y("cause:N", sort=order, title=None, axis=axis)
        x = alt.X(f"sum({measure}):Q", title=words(f"head.{measure}"), axis=figures_axis(words, tickCount=4))
        shown = base.transform_filter(chosen)
        bars = shown.mark_bar(size=14).encode(y, x, tooltip=tooltip, opacity=faded(picked, low=0.3))
        total = f"all_{measure}"
        summed = alt.AggregatedFieldDef(op="sum", field=measure, **{"as": total})
        sums = base.transform_filter(chosen).transform_aggregate([summed], groupby=["cause"])
        text = sums.mark_text(align="left", dx=4).encode(
            y, alt.X(f"{total}:Q"), text=alt.Text(f"{total}:Q", format=number), color=alt.value(theme.MUTED)
        )
        panels.append(bars + text)
    heading = title(words("overview.causes"), words("overview.causes_how"))
    return together(*panels, heading=heading, shared=(chosen, picked), spacing=16)


def change_totals(changes: pl.DataFrame) -> pl.DataFrame:
    """Return `change` (new, open, closed), `area`, `severity`, `rows`, `yuan`."""
    keys = ["change", *(pl.col(name).cast(pl.String) for name in ("area", "severity"))]
    return changes.group_by(keys).agg(rows=pl.len(), yuan=pl.col("amount").sum()).sort("change", "area", "severity")


def change_bars(totals: pl.DataFrame, *, lang: str = "zh") -> Chart:
    """Draw what is new, still open and closed since last month, by severity."""
    words = Words(lang)
    if totals.is_empty():
        return nothing("", words("overview.changes_none"))
    changes = words.terms("changes", tuple(theme.CHANGES))
    severities = words.terms("severities", schema.SEVERITIES)
    data = labelled(labelled(bounded(totals), "change", changes), "severity", severities)
    chosen = by_legend("change", "chosen_change")
    bars = (
        alt.Chart(data, width=640, height=alt.Step(24))
        .mark_bar(size=16)
        .encode(
            alt.Y("severity:N", sort=list(severities.values()), title=None),
            alt.X("sum(rows):Q", title=words("head.findings"), axis=figures_axis(words)),
            color=alt.Color("change:N", title=words("head.change"), scale=theme.scale(theme.CHANGES, changes)),
            opacity=faded(chosen),
            tooltip=tooltips(words, "change:N", "severity:N", ("sum(rows):Q", "findings"), "sum(yuan):Q"),
        )
        .add_params(chosen)
    )
    chart: alt.Chart = bars.properties(title=title("", words("overview.changes_how")))
    return chart
