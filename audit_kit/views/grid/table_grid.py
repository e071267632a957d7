"""The table of the panels: the kernel pages, sorts and filters; the browser holds one page of it, as text."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.resources import files
from typing import TYPE_CHECKING, Any

import anywidget
import polars as pl
import traitlets

from audit_kit.views.grid.column_filters import COUNT, FIGURES, MONEY, TEXT, TIME, passing

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from datetime import datetime

    from audit_kit.core.words import Words

PLACE = "audit_kit_place"
ROWS_A_PAGE = 50
SIZES = (20, 50, 100, 200)
BARS = 16
LONGEST_CELL = 400
_SAID = (
    "first", "before", "after", "last", "size", "columns", "region", "sort", "filter", "tick", "tick_all", "untick",
    "open", "hint_text", "hint_money", "hint_count", "hint_time", "help_text", "help_money", "help_count", "help_time",
)  # fmt: skip
_OURS = files("audit_kit").joinpath("resources", "jupyterlab")


@dataclass(frozen=True, kw_only=True)
class Head:
    """A column of the table: its heading, and its kind (text, money, count, time); `order` ranks words, first first."""

    name: str
    heading: str
    kind: str = TEXT
    order: tuple[str, ...] = ()


class Grid(anywidget.AnyWidget):
    """A table of any length in pages. `show` gives it rows, each with its `PLACE`; ticks are kept by place."""

    _esm = _OURS.joinpath("grid.js").read_text(encoding="utf-8")
    _css = _OURS.joinpath("grid.css").read_text(encoding="utf-8")
    heads: traitlets.List[dict[str, str]] = traitlets.List().tag(sync=True)
    words = traitlets.Dict().tag(sync=True)
    shown = traitlets.Dict().tag(sync=True)

    def __init__(self, heads: Sequence[Head], *, places: int, words: Words, opens: str = "") -> None:
        """Lay the columns out; `places` is how many rows there are at most, `opens` the column whose cells open."""
        self._heads, self._words, self._opens = {head.name: head for head in heads}, words, opens
        self._rows = pl.DataFrame(schema={PLACE: pl.UInt32})
        self._ticked = pl.zeros(places, pl.Boolean, eager=True)
        self._edges: dict[str, tuple[float, float]] = {}
        self._sort, self._descending, self._page, self._size = "", False, 0, ROWS_A_PAGE
        self._hidden: set[str] = set()
        self.filters: dict[str, str] = {}
        self.zone = ""
        self.acts: dict[str, str] = {}
        self.can_open = False
        self.when_filtered: Callable[[], None] = self.again
        self.when_acted: Callable[[str, pl.Series], None] = lambda _name, _places: None
        first = {"rows": [], "hidden": [], "wrong": [], "filters": {}, "bars": {}, "totals": {}, "acts": [], "pages": 1}
        listed = [{"name": head.name, "heading": head.heading, "kind": head.kind} for head in heads]
        super().__init__(
            heads=listed,
            words={name: words(f"grid.{name}") for name in _SAID},
            shown=first | {"page": 0, "size": ROWS_A_PAGE},
        )
        self.on_msg(self._heard)

    @property
    def rows(self) -> pl.DataFrame:
        """All rows that are shown, on every page, in the order of the table."""
        return self._sorted()

    @property
    def ticked(self) -> pl.Series:
        """The places of the rows that are ticked."""
        return self._ticked.arg_true()

    def wrong(self) -> list[str]:
        """Return the columns whose filter cannot be understood; they filter nothing."""
        return [name for name, text in self.filters.items() if passing(name, self._heads[name].kind, text) is None]

    def kept(self, rows: pl.DataFrame) -> pl.DataFrame:
        """Return the rows that pass what is written under the titles."""
        wanted = [passing(name, self._heads[name].kind, text) for name, text in self.filters.items()]
        known = [one for one in wanted if one is not None]
        return rows.filter(known) if known else rows

    def show(self, rows: pl.DataFrame, *, places: int | None = None) -> None:
        """Show other rows, from the first page; with `places` they are new ones, of which none is ticked."""
        if places is not None:
            self._ticked, self._edges = pl.zeros(places, pl.Boolean, eager=True), {}
        self._rows, self._page = rows, 0
        self.again()

    def again(self) -> None:
        """Send the page that is wanted now."""
        self.shown = self._made()

    def sort(self, column: str) -> None:
        """Sort by a column; again: the other way round; a third time: as found."""
        if self._sort != column:
            self._sort, self._descending = column, False
        elif not self._descending:
            self._descending = True
        else:
            self._sort, self._descending = "", False
        self._page = 0
        self.again()

    def filter(self, column: str, text: str) -> None:
        """Filter by what is written under a title; nothing written takes it away."""
        self.filters = {name: said for name, said in self.filters.items() if name != column}
        if text.strip():
            self.filters[column] = text
        self.when_filtered()

    def reset(self) -> None:
        """Take filters and order away; ticks stay."""
        self.filters, self._sort, self._descending = {}, "", False

    def tick(self, places: pl.Series, *, on: bool) -> None:
        """Tick rows, or take the tick away."""
        self._ticked = self._ticked.scatter(places.to_list(), on) if len(places) else self._ticked
        self.again()

    def _heard(self, _widget: object, told: dict[str, Any], _buffers: object) -> None:
        """Do what the browser asks; what names no column or row of ours is not heard."""
        kind, column = told.get("kind"), told.get("column", "")
        if column and column not in self._heads:
            return
        if kind == "sort":
            self.sort(column)
        elif kind == "filter":
            self.filter(column, str(told.get("text", "")))
        elif kind == "column":
            self._hidden = self._hidden - {column} if told.get("on") else self._hidden | {column}
            self.again()
        elif kind == "turn":
            last = self._pages() - 1
            ways = {"first": 0, "before": self._page - 1, "after": self._page + 1, "last": last}
            self._page = min(max(ways.get(str(told.get("way")), self._page), 0), last)
            self.again()
        elif kind == "size" and told.get("rows") in SIZES:
            self._size, self._page = int(told["rows"]), 0
            self.again()
        elif kind == "zone":
            self.zone = str(told.get("zone", ""))
        else:
            self._heard_of_rows(told)

    def _heard_of_rows(self, told: dict[str, Any]) -> None:
        kind, place = told.get("kind"), told.get("place")
        if kind == "tick_all":
            is_on = bool(told.get("on"))
            self.tick(self._rows[PLACE] if is_on else self.ticked, on=is_on)
        elif kind == "act" and told.get("name") in self.acts:
            self.when_acted(str(told["name"]), self.ticked if self._ticked.any() else self._rows[PLACE])
        elif isinstance(place, int) and 0 <= place < len(self._ticked):
            one = pl.Series([place], dtype=pl.UInt32)
            if kind == "tick":
                self.tick(one, on=bool(told.get("on")))
            elif kind == "open":
                self.when_acted("open", one)

    def _pages(self) -> int:
        return max(1, -(-self._rows.height // self._size))

    def _sorted(self, first: int = 0, rows: int | None = None) -> pl.DataFrame:
        """Return rows in the order of the table, from the `first` on; only those are moved."""
        if not self._sort:
            return self._rows.slice(first, rows)
        head = self._heads[self._sort]
        key = pl.col(head.name)
        if head.order:
            key = key.replace_strict({word: place for place, word in enumerate(head.order)}, default=None)
        order = pl.arg_sort_by(key, descending=self._descending, nulls_last=True, maintain_order=True)
        return self._rows[self._rows.select(order.slice(first, rows)).to_series()]

    def _made(self) -> dict[str, Any]:
        words, first = self._words, self._page * self._size
        is_ticked = self._ticked.gather(self._rows[PLACE])
        picks = self._ticked.sum()
        return {
            "rows": [self._line(row) for row in self._sorted(first, self._size).iter_rows(named=True)],
            "page": self._page,
            "pages": self._pages(),
            "size": self._size,
            "place": words(
                "grid.page",
                page=self._page + 1,
                pages=words.count(self._pages()),
                first=words.count(min(first + 1, self._rows.height)),
                last=words.count(min(first + self._size, self._rows.height)),
                rows=words.count(self._rows.height),
            ),
            "sort": self._sort,
            "descending": self._descending,
            "filters": self.filters,
            "wrong": self.wrong(),
            "hidden": sorted(self._hidden),
            "is_any": bool(picks),
            "is_all": bool(self._rows.height) and bool(is_ticked.all()),
            "picks": words("grid.picks", rows=words.count(picks)) if picks else "",
            "totals": self._totals(),
            "bars": self._bars(),
            "acts": [*self.acts.items()],
            "opens": self._opens if self.can_open else "",
        }

    def _line(self, row: Mapping[str, Any]) -> dict[str, Any]:
        cells = {name: _shown(row[name], head.kind) for name, head in self._heads.items()}
        named = cells.get(self._opens) or next(iter(cells.values()), "")
        return {"place": row[PLACE], "ticked": self._ticked[row[PLACE]], "cells": cells, "name": named}

    def _totals(self) -> dict[str, str]:
        money = [name for name, head in self._heads.items() if head.kind == MONEY]
        return {name: f"{self._rows[name].sum():,.2f}" for name in money}

    def _bars(self) -> dict[str, list[int]]:
        """Return how the values of a figure or time are spread, from the least to the largest of all."""
        found = {}
        for name, head in self._heads.items():
            if head.kind not in (*FIGURES, TIME) or name in self._hidden:
                continue
            values = self._rows[name].drop_nulls().to_physical().cast(pl.Float64)
            if name not in self._edges:
                low, high = values.min(), values.max()
                self._edges[name] = (0.0, 0.0) if low is None or high is None else (low, high)  # type: ignore[assignment]
            low, high = self._edges[name]
            if high > low:
                place = ((values - low) * (BARS / (high - low))).clip(0, BARS - 1).cast(pl.UInt8)
                counted = dict(place.value_counts().iter_rows())
                found[name] = [counted.get(bar, 0) for bar in range(BARS)]
        return found


def head_of(name: str, heading: str, dtype: pl.DataType, *, is_money: bool, order: Sequence[str] = ()) -> Head:
    """Return a column's head, its kind by its type."""
    kinds = {MONEY: is_money, COUNT: dtype.is_numeric(), TIME: dtype.is_temporal()}
    kind = next((kind for kind, holds in kinds.items() if holds), TEXT)
    return Head(name=name, heading=heading, kind=kind, order=tuple(order))


def _shown(value: Any, kind: str) -> str:  # noqa: ANN401 (any column's value)
    if value is None:
        return "–"
    if kind == MONEY:
        return f"{value:,.2f}"
    if kind == COUNT:
        return f"{value:,}"
    if kind == TIME:
        at: datetime = value
        return f"{at:%Y-%m-%d %H:%M}"
    text = str(value)
    return text if len(text) <= LONGEST_CELL else f"{text[:LONGEST_CELL]}…"
