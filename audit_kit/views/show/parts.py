"""What the chart rooms share: an honest empty panel, labels in place of words, titles that state the question."""

from __future__ import annotations

import re
import warnings
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any, Literal

import altair as alt
import polars as pl

from audit_kit.core.errors import RequestError
from audit_kit.views.show import theme

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from audit_kit.analysis.analysis import Analysis
    from audit_kit.core.words import Words

MOST_ROWS = 5000
FEWEST_DAYS = 14
OTHER = "其他"
Chart = alt.Chart | alt.LayerChart | alt.FacetChart | alt.HConcatChart | alt.VConcatChart


def title(text: str, subtitle: str = "") -> alt.TitleParams:
    """Return a chart title: the question, and under it how to read the answer."""
    return alt.TitleParams(text, subtitle=[subtitle] if subtitle else [])


def tooltips(words: Words, *lines: str | tuple[str, str] | tuple[str, str, str]) -> list[alt.Tooltip]:
    """Return tooltips: each a column with its type, as `rows:Q`, or with a heading, or with a heading and a format.

    A heading is a key of the words, its section left out where that is `head`; without one it is the column's own name.
    Counts are whole numbers, `yuan` has two decimals, times are to the minute and `day` is a day unless said otherwise.
    """
    made = []
    for line in lines:
        column, heading, form = (line, "", "") if isinstance(line, str) else (*line, "")[:3]
        name, kind = _COLUMN.sub(r"\1", column), column[-1]
        heading, form = heading or name, form or _FORMS.get(name) or _FORMS.get(kind, "")
        said = words(heading) if "." in heading else words(f"head.{heading}")
        made.append(alt.Tooltip(column, title=said, format=form) if form else alt.Tooltip(column, title=said))
    return made


_COLUMN = re.compile(r"^(?:\w+\()?(\w+)\)?:[NOQT]$")
_FORMS = {"yuan": ",.2f", "day": "%Y-%m-%d", "T": "%Y-%m-%d %H:%M", "Q": ","}


def figures_axis(words: Words, **options: Any) -> alt.Axis:  # noqa: ANN401 -- options of alt.Axis
    """Return an axis of figures as the language shortens them (万, k); whole ones unless `tickMinStep` < 1."""
    options = {"tickMinStep": 1, **options}
    label = "format(datum.value, ',.2~f')"
    if options["tickMinStep"] >= 1:  # with few rows Vega puts ticks between whole numbers all the same
        label = f"datum.value % 1 ? '' : {label}"
    for step in reversed(words("axis.steps").split("|")):
        size, unit = step.split()
        short = f"format(datum.value / {size}, ',.2~f') + '{unit}'"
        label = f"abs(datum.value) >= {size} ? {short} : {label}"
    return alt.Axis(labelExpr=label, **options)


def days_axis(words: Words, **options: Any) -> alt.Axis:  # noqa: ANN401 -- options of alt.Axis
    """Return an axis of days: the month with its year on its first day, the hour where ticks are that close."""
    first, other = words("axis.first_of_month"), words("axis.of_day")
    within_a_day = "hours(datum.value) || minutes(datum.value)"
    label = (
        f"{within_a_day} ? timeFormat(datum.value, '%H:%M') : "
        f"timeFormat(datum.value, date(datum.value) == 1 ? '{first}' : '{other}')"
    )
    return alt.Axis(labelExpr=label, **options)


def days_scale(days: pl.Series) -> alt.Scale:
    """Return the scale of an axis of days: that of the data, of two weeks where they span fewer."""
    first, last = days.min(), days.max()
    if not isinstance(first, date) or not isinstance(last, date) or (last - first).days >= FEWEST_DAYS:
        return alt.Scale()
    ends = (first, first + timedelta(days=FEWEST_DAYS))
    return alt.Scale(domain=[alt.DateTime(year=day.year, month=day.month, date=day.day) for day in ends])


def nothing(heading: str, sentence: str, *, width: int = theme.WIDTH, height: int = 40) -> alt.Chart:
    """Return a panel that says why there is nothing to draw; never an empty chart."""
    chart: alt.Chart = (
        alt.Chart(pl.DataFrame({"sentence": [sentence]}), title=title(heading), width=width, height=height)
        .mark_text(fontSize=13, color=theme.MUTED, align="left", x=14, y=height / 2, limit=width - 28)
        .encode(text="sentence:N")
        .properties(view=alt.ViewConfig(stroke=theme.GRID, fill="#fafbfc"))
    )
    return chart


def labelled(frame: pl.DataFrame, column: str, labels: Mapping[str, str]) -> pl.DataFrame:
    """Return the frame with the words of a column replaced by their labels; unknown words stay."""
    text = pl.col(column).cast(pl.String)
    return frame.with_columns(text.replace(dict(labels)).alias(column))


def within(
    frame: pl.DataFrame, start: datetime | None, end: datetime | None, *, column: str = "issued_at"
) -> pl.DataFrame:
    """Return the rows from `start` on and before `end`; null = no bound. Rows without a time stay only unbounded."""
    if start is not None:
        frame = frame.filter(pl.col(column) >= start)
    return frame if end is None else frame.filter(pl.col(column) < end)


def with_channels(ledger: pl.DataFrame, analysis: Analysis) -> pl.DataFrame:
    """Return rows of the ledger, in its order, with `channel` as the delays have it where the ledger names none."""
    stated = ledger["channel"] if "channel" in ledger.columns else pl.Series("channel", [None] * ledger.height)
    seen = analysis.observations.select("ledger_row", "channel").unique("ledger_row")
    rows = pl.select(ledger_row=pl.int_range(ledger.height, dtype=pl.UInt32))
    hinted = rows.join(seen, on="ledger_row", how="left", maintain_order="left")["channel"]
    both = pl.DataFrame({"stated": stated.cast(pl.String), "hinted": hinted})
    return ledger.with_columns(channel=both.select(pl.coalesce("stated", "hinted")).to_series())


def bounded(frame: pl.DataFrame) -> pl.DataFrame:
    """Return the frame as it is; refuse one too long for a chart, since charts take aggregates only."""
    if frame.height > MOST_ROWS:
        raise RequestError("error_views.too_many_rows", most=MOST_ROWS, height=frame.height)
    return frame.with_columns(pl.selectors.decimal().cast(pl.Float64))


def by_legend(field: str, name: str) -> alt.Parameter:
    """Return a selection made by clicking a legend entry; shift-click adds, a double click clears."""
    return alt.selection_point(fields=[field], bind="legend", name=name)


def faded(selection: alt.Parameter, *, low: float = 0.15, high: float = 1.0) -> Any:  # noqa: ANN401 -- Altair names no public type
    """Return an opacity that lets what is not selected step back."""
    return alt.when(selection).then(alt.value(high)).otherwise(alt.value(low))


def channel_colours(channels: list[str], everything: str) -> alt.Scale:
    """Return one colour a channel, the same in every chart of a page; the whole is dark."""
    named = [channel for channel in channels if channel != everything]
    colours = [theme.CHANNELS[place % len(theme.CHANNELS)] for place in range(len(named))]
    if everything in channels:
        return alt.Scale(domain=[everything, *named], range=[theme.INK, *colours])
    return alt.Scale(domain=named, range=colours)


def heat_colour(heading: str, *, form: str = "%", **scale: Any) -> alt.Color:  # noqa: ANN401 -- options of alt.Scale
    """Return the colour of a share, darker where it is larger; the scale begins at 0 unless said otherwise."""
    colours = alt.Scale(range=list(theme.HEAT), **(scale or {"domainMin": 0}))
    return alt.Color("share:Q", title=heading, scale=colours, legend=alt.Legend(format=form))


def together(
    *charts: Chart,
    heading: alt.TitleParams,
    shared: tuple[alt.Parameter, ...] = (),
    way: Literal["beside", "below"] = "beside",
    spacing: int = 20,
) -> alt.HConcatChart | alt.VConcatChart:
    """Return charts beside or below each other, with selections that they share: made in any, seen by all."""
    with warnings.catch_warnings():
        # One selection in several views is meant here; Altair warns because it could also be an accident.
        warnings.filterwarnings("ignore", "Automatically deduplicated selection", UserWarning)
        if way == "beside":
            return alt.hconcat(*charts, spacing=spacing).add_params(*shared).properties(title=heading)
        return alt.vconcat(*charts, spacing=spacing).add_params(*shared).properties(title=heading)
