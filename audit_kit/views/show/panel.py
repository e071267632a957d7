"""Panels for JupyterLab: filters with a table and a chart that follow. Thin over `select` and the chart functions.

A panel needs a kernel, so it stands in cells tagged `interactive`, which a report leaves out. It holds HTML and a chart
widget, never ipywidgets.Output (that can hang a batch run).
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import altair as alt
import ipywidgets as w
import polars as pl

from audit_kit.core import outputs
from audit_kit.core.errors import AuditError
from audit_kit.core.files import shown_path
from audit_kit.core.spreadsheet_csv import safe_csv
from audit_kit.core.words import Words
from audit_kit.views.show import theme
from audit_kit.views.show.parts import nothing
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
    """Which columns of a panel's rows the filters work on, and which are listed (column to heading).

    `nothing` is the key of what is said when no row passes, `name` the beginning of a saved file's name.
    """

    choices: Mapping[str, str]
    listed: Mapping[str, str]
    searched: tuple[str, ...]
    amount: str | None = None
    day: str | None = None
    nothing: str = "panel.no_rows"
    name: str = "rows"


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
    """Filters over rows, with a sentence, a chart and a table in pages that follow; what is selected can be saved."""

    def __init__(
        self, rows: pl.DataFrame, columns: Columns, draw: Callable[[pl.DataFrame], Chart], *, lang: str = "zh"
    ) -> None:
        """Lay the controls out and show everything; `draw` turns the selected rows into a chart."""
        self._rows, self._columns, self._draw, self._words = rows, columns, draw, Words(lang)
        self._page = 0
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
        self.order = self._orders()
        self.reset = w.Button(description=self._words("panel.reset"), icon="undo")
        self.before, self.after, self.save = (
            w.Button(description=self._words(f"panel.{name}")) for name in ("before", "after", "save")
        )
        self.sentence, self.refused, self.place, self.saved = w.HTML(), w.HTML(), w.HTML(), w.HTML()
        self.table = w.HTML(layout=w.Layout(max_height="520px", overflow="auto"))
        self.chart = alt.JupyterChart(self._drawn(rows), embed_options=theme.embed_options(lang))
        ranges = [self.least, self.most] if columns.amount else []
        ranges += [self.first, self.last] if columns.day else []
        self._controls = [*self.choices.values(), *ranges, self.search]
        for control in self._controls:
            control.observe(self._follow, names="value")
        self.order.observe(self._turned, names="value")
        for button, act in ((self.reset, self._clear), (self.save, self._save)):
            button.on_click(act)
        self.before.on_click(lambda _button: self._turn(-1))
        self.after.on_click(lambda _button: self._turn(1))
        line = w.Layout(flex_flow="row wrap")
        heading = w.HTML(f"<b>{escape(self._words('panel.title'))}</b>")
        filters = w.Box([*self._controls, self.reset], layout=line)
        pages = w.Box([self.order, self.before, self.after, self.place, self.save, self.saved], layout=line)
        super().__init__([heading, filters, self.refused, self.sentence, self.chart, pages, self.table])
        self._list(rows)

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
    def selected(self) -> pl.DataFrame:
        """The rows that pass the filters now, in the order asked for."""
        rows = select(self._rows, self.filters, self._columns)
        name, descending = self.order.value
        return rows.sort(name, descending=descending, nulls_last=True, maintain_order=True) if name else rows

    def _dropdown(self, name: str, heading: str) -> w.Dropdown:
        counts = self._rows[name].drop_nulls().value_counts(sort=True, name="rows").head(MOST_CHOICES)
        options = [(self._words("unit.all"), "")]
        options += [(f"{value} ({rows:,})", value) for value, rows in counts.iter_rows()]
        return w.Dropdown(options=options, value="", description=heading, layout=w.Layout(width="280px"))

    def _orders(self) -> w.Dropdown:
        options = [(self._words("panel.as_found"), ("", False))]
        options += [
            (f"{heading} {sign}", (name, descending))
            for name, heading in self._columns.listed.items()
            for sign, descending in (("↑", False), ("↓", True))
        ]
        heading = self._words("panel.order")
        return w.Dropdown(options=options, value=("", False), description=heading, layout=w.Layout(width="280px"))

    def _amount(self, key: str) -> w.Text:
        return w.Text(description=self._words(key), placeholder="–", continuous_update=False, layout=_NARROW)

    def _drawn(self, rows: pl.DataFrame) -> Chart:
        if rows.is_empty() and not self._rows.is_empty():
            return nothing("", self._words(self._columns.nothing))
        return self._draw(rows)

    def _follow(self, _change: object) -> None:
        self._page = 0
        rows = self.selected
        self.chart.chart = self._drawn(rows)
        wrong = [box.value for box in (self.least, self.most) if box.value.strip() and amount_of(box.value) is None]
        said = "<br>".join(escape(self._words("panel.no_amount", text=text)) for text in wrong)
        self.refused.value = f'<span style="color:{theme.RED}">{said}</span>' if said else ""
        self._list(rows)

    def _turned(self, _change: object) -> None:
        self._page = 0
        self._list(self.selected)

    def _turn(self, pages: int) -> None:
        self._page += pages
        self._list(self.selected)

    def _clear(self, _button: object) -> None:
        for control in self._controls:
            control.value = None if isinstance(control, w.DatePicker) else ""
        self.order.value = ("", False)

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

    def _list(self, rows: pl.DataFrame) -> None:
        words, amount = self._words, self._columns.amount
        counts: dict[str, Any] = {"rows": words.count(rows.height)}
        said = words("panel.shown", yuan=words.yuan(rows[amount].sum()), **counts) if amount else ""
        said = said or words("panel.shown_plain", **counts)
        self.sentence.value = f"<b>{escape(words(self._columns.nothing) if rows.is_empty() else said)}</b>"
        pages = max(1, -(-rows.height // MOST_LISTED))
        self._page = min(max(self._page, 0), pages - 1)
        first = self._page * MOST_LISTED
        self.before.disabled, self.after.disabled = self._page == 0, self._page == pages - 1
        self.save.disabled = rows.is_empty()
        self.saved.value = ""
        ends = {"first": min(first + 1, rows.height), "last": min(first + MOST_LISTED, rows.height)}
        self.place.value = escape(words("panel.page", page=self._page + 1, pages=pages, **ends))
        listed = rows.slice(first, MOST_LISTED).with_columns(pl.selectors.datetime().dt.strftime("%Y-%m-%d %H:%M"))
        money = [amount] if amount and amount in self._columns.listed else []
        numbers = [name for name in self._columns.listed if rows.schema[name].is_integer()]
        self.table.value = table(
            listed, labels=self._columns.listed, numbers=numbers, money=money, widths=_WIDTHS
        ).as_raw_html()


def amount_of(text: str) -> float | None:
    """Return an amount as a person writes it, in yuan: 10000, 10,000.00, ¥1万, 1.5 亿; null for what is none."""
    plain = unicodedata.normalize("NFKC", text).strip().removeprefix("¥").removeprefix("￥").removesuffix("元").strip()
    found = _AMOUNT.fullmatch(plain)
    if not found:
        return None
    return float(Decimal(found["figures"].replace(",", "").replace(" ", "")) * _UNITS[found["unit"]])


_UNITS = {"": 1, "千": 1_000, "万": 10_000, "萬": 10_000, "亿": 100_000_000, "億": 100_000_000}
_AMOUNT = re.compile(r"(?P<figures>[+-]?(?:\d[\d, ]*(?:\.\d*)?|\.\d+))\s*(?P<unit>[千万萬亿億]?)")
