"""Panels for JupyterLab: filters with a table and a chart that follow. Thin over `select` and the chart functions.

A panel needs a kernel, so it stands in cells tagged `interactive`, which a report leaves out. It holds HTML and a chart
widget, never ipywidgets.Output (that can hang a batch run).
"""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Any

import altair as alt
import ipywidgets as w
import polars as pl

from audit_kit.core.words import Words
from audit_kit.views.show import theme
from audit_kit.views.show.tables import table

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import date

    from audit_kit.views.show.parts import Chart

MOST_LISTED = 50
MOST_CHOICES = 200
_WIDTHS = {"cause": "112px", "invoice_key": "172px", "issued_at": "100px", "channel": "66px", "amount": "100px"}
_NARROW = w.Layout(width="210px")


@dataclass(frozen=True, kw_only=True)
class Filters:
    """What a person asked to see. `chosen` maps a column to its value; null anywhere = no restriction.

    Amounts are yuan, both ends included; days are both included. `search` is looked for as plain text, case ignored.
    """

    chosen: Mapping[str, str | None]
    least: float | None = None
    most: float | None = None
    first: date | None = None
    last: date | None = None
    search: str = ""


@dataclass(frozen=True, kw_only=True)
class Columns:
    """Which columns of a panel's rows the filters work on, and which are listed (column to heading)."""

    choices: Mapping[str, str]
    listed: Mapping[str, str]
    searched: tuple[str, ...]
    amount: str | None = None
    day: str | None = None


def select(rows: pl.DataFrame, filters: Filters, columns: Columns) -> pl.DataFrame:
    """Return the rows that pass the filters, in their order. A row without amount or day fails a range on it."""
    kept = [pl.col(name) == value for name, value in filters.chosen.items() if value is not None]
    if columns.amount:
        kept += [pl.col(columns.amount) >= filters.least] if filters.least is not None else []
        kept += [pl.col(columns.amount) <= filters.most] if filters.most is not None else []
    if columns.day:
        kept += [pl.col(columns.day).dt.date() >= filters.first] if filters.first is not None else []
        kept += [pl.col(columns.day).dt.date() <= filters.last] if filters.last is not None else []
    if wanted := filters.search.strip().lower():
        texts = [pl.col(name).cast(pl.String).str.to_lowercase() for name in columns.searched]
        kept.append(pl.any_horizontal(text.str.contains(wanted, literal=True).fill_null(value=False) for text in texts))
    return rows.filter(kept) if kept else rows


class Panel(w.VBox):  # type: ignore[misc]  # ipywidgets has no types
    """Filters over rows, with a sentence, a table of the first 50 and a chart that follow."""

    def __init__(
        self, rows: pl.DataFrame, columns: Columns, draw: Callable[[pl.DataFrame], Chart], *, lang: str = "zh"
    ) -> None:
        """Lay the controls out and show everything; `draw` turns the selected rows into a chart."""
        self._rows, self._columns, self._draw, self._words = rows, columns, draw, Words(lang)
        alt.JupyterChart.enable_offline(offline=True)
        self.choices = {name: self._dropdown(name, heading) for name, heading in columns.choices.items()}
        self.search = w.Text(
            description=self._words("panel.search"),
            placeholder=self._words("panel.search_hint"),
            continuous_update=False,
            layout=w.Layout(width="300px"),
        )
        self.least = self._amount("panel.least")
        self.most = self._amount("panel.most")
        self.first = w.DatePicker(description=self._words("panel.first"), layout=_NARROW)
        self.last = w.DatePicker(description=self._words("panel.last"), layout=_NARROW)
        self.reset = w.Button(description=self._words("panel.reset"), icon="undo")
        self.sentence, self.table = w.HTML(), w.HTML()
        self.chart = alt.JupyterChart(draw(rows), embed_options=theme.embed_options(lang))
        ranges = [self.least, self.most] if columns.amount else []
        ranges += [self.first, self.last] if columns.day else []
        self._controls = [*self.choices.values(), *ranges, self.search]
        for control in self._controls:
            control.observe(self._follow, names="value")
        self.reset.on_click(self._clear)
        line = w.Layout(flex_flow="row wrap")
        heading = w.HTML(f"<b>{escape(self._words('panel.title'))}</b>")
        super().__init__(
            [heading, w.Box([*self._controls, self.reset], layout=line), self.sentence, self.chart, self.table]
        )
        self._list(rows)

    @property
    def filters(self) -> Filters:
        """What the controls say now."""
        return Filters(
            chosen={name: control.value or None for name, control in self.choices.items()},
            least=_number(self.least.value),
            most=_number(self.most.value),
            first=self.first.value,
            last=self.last.value,
            search=self.search.value,
        )

    @property
    def selected(self) -> pl.DataFrame:
        """The rows that pass the filters now."""
        return select(self._rows, self.filters, self._columns)

    def _dropdown(self, name: str, heading: str) -> w.Dropdown:
        counts = self._rows[name].drop_nulls().value_counts(sort=True, name="rows").head(MOST_CHOICES)
        options = [(self._words("unit.all"), "")]
        options += [(f"{value} ({rows:,})", value) for value, rows in counts.iter_rows()]
        return w.Dropdown(options=options, value="", description=heading, layout=w.Layout(width="280px"))

    def _amount(self, key: str) -> w.Text:
        return w.Text(description=self._words(key), placeholder="–", continuous_update=False, layout=_NARROW)

    def _follow(self, _change: object) -> None:
        rows = self.selected
        self.chart.chart = self._draw(rows)
        self._list(rows)

    def _clear(self, _button: object) -> None:
        for control in self._controls:
            control.value = None if isinstance(control, w.DatePicker) else ""

    def _list(self, rows: pl.DataFrame) -> None:
        words, amount = self._words, self._columns.amount
        counts: dict[str, Any] = {"rows": words.count(rows.height), "most": min(MOST_LISTED, rows.height)}
        said = words("panel.shown", yuan=words.yuan(rows[amount].sum()), **counts) if amount else ""
        self.sentence.value = f"<b>{escape(said or words('panel.shown_plain', **counts))}</b>"
        listed = rows.head(MOST_LISTED).with_columns(pl.selectors.datetime().dt.strftime("%Y-%m-%d %H:%M"))
        money = [amount] if amount and amount in self._columns.listed else []
        numbers = [name for name in self._columns.listed if rows.schema[name].is_integer()]
        self.table.value = table(
            listed, labels=self._columns.listed, numbers=numbers, money=money, widths=_WIDTHS
        ).as_raw_html()


def _number(text: str) -> float | None:
    """Return the amount a person typed, thousands separators allowed; what is no number restricts nothing."""
    try:
        return float(text.replace(",", "").replace("，", "").strip())
    except ValueError:
        return None
