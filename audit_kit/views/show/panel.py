"""Panels for JupyterLab: filters with a table and a chart that follow. Thin over `select` and the chart functions.

A panel needs a kernel, so it stands in cells tagged `interactive`, which a report leaves out. It holds HTML and a chart
widget, never ipywidgets.Output (that can hang a batch run).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import altair as alt
import ipywidgets as w
import polars as pl
import traitlets

from audit_kit.core import outputs
from audit_kit.core.errors import AuditError
from audit_kit.core.files import shown_path
from audit_kit.core.spreadsheet_csv import safe_csv
from audit_kit.core.words import Words
from audit_kit.views.grid.chart_marks import marked
from audit_kit.views.grid.column_filters import amount_of, caseless
from audit_kit.views.grid.table_grid import PLACE, Grid, head_of
from audit_kit.views.show import theme
from audit_kit.views.show.parts import nothing

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from datetime import date

    from audit_kit.views.grid.period import Period
    from audit_kit.views.show.parts import Chart

MOST_CHOICES = 200
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
    """Which columns of a panel's rows the filters work on, and which are listed (column to heading).

    `marks` names the column that a chart's field shows, for what is clicked or brushed there; `order` ranks the words
    of a column, `opens` is the column whose cells open a row's story. `nothing` is the key of what is said when no row
    passes, `name` the beginning of a saved file's name.
    """

    choices: Mapping[str, str]
    listed: Mapping[str, str]
    searched: tuple[str, ...]
    amount: str | None = None
    day: str | None = None
    nothing: str = "panel.no_rows"
    name: str = "rows"
    opens: str = ""
    marks: Mapping[str, str] = field(default_factory=dict)
    order: Mapping[str, Sequence[str]] = field(default_factory=dict)


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
        texts = [caseless(pl.col(name).cast(pl.String), wanted) for name in columns.searched]
        kept.append(pl.any_horizontal(text.str.contains(wanted, literal=True).fill_null(value=False) for text in texts))
    return rows.filter(kept) if kept else rows


class Panel(w.VBox):  # type: ignore[misc]  # ipywidgets has no types
    """Filters over rows, with a sentence, a chart and a table of any length that follow; what is selected can be saved.

    `selected` are the rows that pass, `picked` those that are ticked; `on_action` hears what is to be done with them.
    """

    def __init__(
        self,
        rows: pl.DataFrame,
        columns: Columns,
        draw: Callable[[pl.DataFrame], Chart],
        *,
        lang: str = "zh",
        period: Period | None = None,
    ) -> None:
        """Lay the controls out and show everything; `draw` turns the rows that the filters leave into a chart.

        `period` are the days that panels share; null = this one has its own.
        """
        self._rows = rows.with_row_index(PLACE)
        self._columns, self._draw, self._words = columns, draw, Words(lang)
        self._filtered = self._kept = self._rows
        self._is_held = False
        self._heard: list[Callable[[str, pl.DataFrame], None]] = []
        self.watchers: list[Callable[[], None]] = []
        alt.JupyterChart.enable_offline(offline=True)
        self._make_controls()
        self.grid = self._make_grid()
        self.chart = alt.JupyterChart(
            self._drawn(self._rows),
            debounce_wait=150,
            max_wait=False,
            embed_options={**theme.embed_options(lang), "renderer": "svg"},
        )
        self._follow_marks()
        line = w.Layout(flex_flow="row wrap")
        heading = w.HTML(f"<b>{escape(self._words('panel.title'))}</b>")
        filters = w.Box([*self._controls, self.reset], layout=line)
        tail = w.Box([self.save, self.saved], layout=line)
        super().__init__([heading, filters, self.refused, self.sentence, self.chart, self.grid, tail])
        self._show()
        if period is not None and columns.day:
            for name, box in (("first", self.first), ("last", self.last)):
                traitlets.link((period, name), (box, "value"))

    @property
    def filters(self) -> Filters:
        """What the controls say now; an amount that is none restricts nothing, and `refused` says so."""
        return Filters(
            chosen={name: control.value or None for name, control in self.choices.items()},
            least=amount_of(self.least.value),
            most=amount_of(self.most.value),
            first=self.first.value,
            last=self.last.value,
            search=self.search.value,
        )

    @property
    def name(self) -> str:
        """What a file of these rows is called."""
        return self._columns.name

    @property
    def height(self) -> int:
        """How many rows are selected."""
        return self._kept.height

    @property
    def selected(self) -> pl.DataFrame:
        """The rows that pass all filters now, chart and table titles included, in the table's order."""
        return self.grid.rows.drop(PLACE)

    @property
    def picked(self) -> pl.DataFrame:
        """The rows that are ticked; where none is, those that are selected."""
        ticked = self.grid.ticked
        return self._rows[ticked].drop(PLACE) if len(ticked) else self.selected

    @property
    def told(self) -> dict[str, str]:
        """What is filtered now, in words: a heading with what was asked for."""
        said = {self._columns.choices[name]: box.value for name, box in self.choices.items() if box.value}
        boxes = {"least": self.least, "most": self.most, "first": self.first, "last": self.last, "search": self.search}
        said |= {self._words(f"panel.{name}"): str(box.value) for name, box in boxes.items() if box.value}
        said |= {self._columns.listed[name]: text for name, text in self.grid.filters.items()}
        marks = self._marks()
        return said | ({self._words("panel.marked"): self._words.count(self._kept.height)} if marks else {})

    def on_action(
        self, callback: Callable[[str, pl.DataFrame], None], actions: Mapping[str, str] | None = None
    ) -> None:
        """Call back with an action's name and its rows: `open` with the row whose number was clicked, else `actions`.

        Args:
            callback: told the name of the action, and the ticked rows or, where none is ticked, the selected.
            actions: name to the text of a button over the table.
        """
        self._heard.append(callback)
        self.grid.acts, self.grid.can_open = {**self.grid.acts, **(actions or {})}, True
        self.grid.again()

    def _make_controls(self) -> None:
        words, columns = self._words, self._columns
        self.choices = {name: self._dropdown(name, heading) for name, heading in columns.choices.items()}
        self.search = w.Text(
            description=words("panel.search"),
            placeholder=words("panel.search_hint"),
            continuous_update=False,
            layout=w.Layout(width="300px"),
        )
        self.least, self.most = self._amount("panel.least"), self._amount("panel.most")
        self.first = w.DatePicker(description=words("panel.first"), layout=_NARROW)
        self.last = w.DatePicker(description=words("panel.last"), layout=_NARROW)
        self.reset = w.Button(description=words("panel.reset"), icon="undo")
        self.save = w.Button(description=words("panel.save"))
        self.sentence, self.refused, self.saved = w.HTML(), w.HTML(), w.HTML()
        ranges = [self.least, self.most] if columns.amount else []
        ranges += [self.first, self.last] if columns.day else []
        self._controls = [*self.choices.values(), *ranges, self.search]
        for control in self._controls:
            control.observe(self._follow, names="value")
        self.reset.on_click(self._clear)
        self.save.on_click(self._save)

    def _make_grid(self) -> Grid:
        columns, schema = self._columns, self._rows.schema
        heads = [
            head_of(name, heading, schema[name], is_money=name == columns.amount, order=columns.order.get(name, ()))
            for name, heading in columns.listed.items()
        ]
        grid = Grid(heads, places=self._rows.height, words=self._words, opens=columns.opens)
        grid.when_filtered, grid.when_acted = self._follow, self._act
        return grid

    def _dropdown(self, name: str, heading: str) -> w.Dropdown:
        counts = self._rows[name].drop_nulls().value_counts(sort=True, name="rows").head(MOST_CHOICES)
        found = [(f"{value} ({rows:,})", value) for value, rows in counts.iter_rows()]
        if name in self._columns.order:
            known = {word: place for place, word in enumerate(self._columns.order[name])}
            found.sort(key=lambda one: known.get(one[1], len(known)))
        options = [(self._words("unit.all"), ""), *found]
        return w.Dropdown(options=options, value="", description=heading, layout=w.Layout(width="280px"))

    def _amount(self, key: str) -> w.Text:
        return w.Text(description=self._words(key), placeholder="–", continuous_update=False, layout=_NARROW)

    def _drawn(self, rows: pl.DataFrame) -> Chart:
        if rows.is_empty() and not self._rows.is_empty():
            return nothing("", self._words(self._columns.nothing))
        return self._draw(rows.drop(PLACE))

    def _follow(self, _change: object = None) -> None:
        """Filter, draw and list anew; what was marked in the chart before is marked no more."""
        if self._is_held:
            return
        self._filtered = self.grid.kept(select(self._rows, self.filters, self._columns))
        self._kept = self._filtered
        wrong = [box.value for box in (self.least, self.most) if box.value.strip() and amount_of(box.value) is None]
        said = [self._words("panel.no_amount", text=text) for text in wrong]
        said += [self._words("panel.no_filter", text=self.grid.filters[name]) for name in self.grid.wrong()]
        told = "<br>".join(map(escape, said))
        self.refused.value = f'<span role="alert" style="color:{theme.RED}">{told}</span>' if told else ""
        self._show()  # before the chart, which takes longer
        self.chart.chart = self._drawn(self._filtered)
        self._follow_marks()
        self._tell()

    def _tell(self) -> None:
        for watcher in self.watchers:
            watcher()

    def _follow_marks(self) -> None:
        for name in self.chart.selections.trait_names():
            self.chart.selections.observe(self._marked, names=name)

    def _marks(self) -> list[pl.Expr]:
        found = self.chart.selections.trait_values()
        return marked(
            found, self._columns.marks, self._rows.schema, zone=self.grid.zone, everything=self._words("unit.all")
        )

    def _marked(self, _change: object) -> None:
        """List what is marked in the chart, which stays as it is."""
        marks = self._marks()
        self._kept = self._filtered.filter(marks) if marks else self._filtered
        self._show()
        self._tell()

    def _clear(self, _button: object) -> None:
        self._is_held = True
        for control in self._controls:
            control.value = None if isinstance(control, w.DatePicker) else ""
        self.grid.reset()
        self._is_held = False
        self._follow()

    def _act(self, name: str, places: pl.Series) -> None:
        rows = self._rows[places].drop(PLACE)
        for callback in self._heard:
            callback(name, rows)

    def _save(self, _button: object) -> None:
        """Save all that is selected as csv beside the notebook, never over an earlier file."""
        rows = self.selected
        listed = rows.select(pl.col(name).alias(heading) for name, heading in self._columns.listed.items())
        path = Path.cwd() / f"{self._columns.name}-{datetime.now():%Y%m%d-%H%M%S-%f}.csv"  # noqa: DTZ005  a file's name
        try:
            with outputs.writing(path) as made:
                made.write_bytes(safe_csv(listed))
        except AuditError as error:
            self.saved.value = escape(str(error))
            return
        self.saved.value = escape(
            self._words("panel.saved", rows=self._words.count(rows.height), path=shown_path(path))
        )

    def _show(self) -> None:
        words, amount, rows = self._words, self._columns.amount, self._kept
        counts: dict[str, Any] = {"rows": words.count(rows.height)}
        said = words("panel.shown", yuan=words.yuan(rows[amount].sum()), **counts) if amount else ""
        said = said or words("panel.shown_plain", **counts)
        self.sentence.value = f"<b>{escape(words(self._columns.nothing) if rows.is_empty() else said)}</b>"
        self.save.disabled = rows.is_empty()
        self.saved.value = ""
        self.grid.show(rows)
