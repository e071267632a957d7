"""Tell the data rows of a sheet from its blank lines, totals, repeated headers and closing words."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import TYPE_CHECKING

import polars as pl

from audit_kit.loaders.formats.grid import AT, ROW
from audit_kit.loaders.reading import MONEY_COLUMNS, NUMBER_COLUMNS, Fault, Reason
from audit_kit.loaders.tables import cells as read_cells
from audit_kit.loaders.tables import invoice_lines

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from audit_kit.loaders.tables.headers import Header, Placed, Placement

_TOTAL = (
    r"(?i)^[\s(（【\[]*"
    r"(?:[合小总共累]\s*计|总\s*和|本[页月年期季][合累小总]?计|份\s*数|sub\s*total|total)"
)
_LABEL = r"^\s*(?:[合小总共累]\s*计|本[页日月年期季](?:合计|累计|小计|计)|本年累计|total)\s*[:：]?\s*$"
_SHORTEST_DATE = 5  # characters: a serial day
_FIRST_IDEOGRAPH = "一"  # in the order of code points, all that may begin the label of a total comes behind it
_SECTION = re.compile(r"小\s*计|本[页月]|sub\s*total", re.IGNORECASE)
_COUNT = re.compile(r"份\s*数\D{0,3}([0-9,]+)")
_STATED = {
    "net": re.compile(r"(?:合计|总)?金\s*额\D{0,3}?([-−]?[0-9][0-9,]*(?:\.[0-9]+)?)"),
    "tax": re.compile(r"税\s*额\D{0,3}?([-−]?[0-9][0-9,]*(?:\.[0-9]+)?)"),
    "gross": re.compile(r"价税合计\D{0,3}?([-−]?[0-9][0-9,]*(?:\.[0-9]+)?)"),
}


@dataclass(frozen=True, kw_only=True)
class Total:
    """A row of totals: after how many rows of the sheet it stands, what it states, whether of a section only."""

    position: int
    row: int
    section: bool
    stated: Mapping[str, Decimal]


@dataclass(frozen=True, kw_only=True)
class Body:
    """The rows below a header: `data` with their position and physical row, what is wrong with them, totals, closing.

    `passed_over` counts the rows that are neither data nor closing words: blank ones, totals, repeated headers.
    """

    sheet: Placed
    data: pl.DataFrame
    closing: pl.DataFrame
    totals: tuple[Total, ...] = ()
    passed_over: int = 0
    faults: tuple[Fault, ...] = ()


def body(sheet: Placed) -> Body:
    """Return what stands below the header of a sheet; a row that has a time is data, but for lines of invoices."""
    cells = sheet.grid.cells.with_columns(sheet.grid.rows.alias(ROW)).with_row_index(AT)
    if sheet.header is not None:
        cells = cells.slice(sheet.header.end)
    found = _split(sheet, cells)
    data = invoice_lines.filled(found.data, sheet.placement) if sheet.listing else found.data
    return replace(found, data=data, faults=tuple(_broken(sheet, found.data)))


def _split(sheet: Placed, cells: pl.DataFrame) -> Body:
    header, placement = sheet.header, sheet.placement
    anchors = ("issued_at",) if sheet.is_invoices and not sheet.listing and "issued_at" in sheet.ours else ()
    odd = _odd(cells, header, placement, anchors)
    if not odd.any():
        return Body(sheet=sheet, data=cells, closing=cells.clear())
    doubtful = cells.filter(odd)
    texts = [name for name, dtype in doubtful.schema.items() if dtype == pl.String]
    blank = doubtful.select(
        pl.all_horizontal(
            (pl.col(name).str.strip_chars() == "").fill_null(value=True) if name in texts else pl.col(name).is_null()
            for name in doubtful.columns
            if name not in (AT, ROW)
        )
    ).to_series()
    total = doubtful.select(pl.any_horizontal(pl.col(name).str.contains(_TOTAL) for name in texts)).to_series()
    total = total.fill_null(value=False) & ~_numbered(doubtful, placement) & ~blank
    named = blank | total | _repeated(doubtful, header, placement)
    data = cells.filter(~odd)
    rest = doubtful.filter(~named)
    last = max(_last(data), _last_filled(rest, placement))
    closing = rest.filter(pl.col(AT) > last) if data.height else rest.clear()
    kept = rest.filter(pl.col(AT) <= last) if data.height else rest
    data = data if kept.is_empty() else pl.concat([data, kept]).sort(AT)
    totals = _totals(doubtful.filter(total), texts, placement)
    return Body(sheet=sheet, data=data, totals=totals, closing=closing, passed_over=int(named.sum()))


def _broken(sheet: Placed, data: pl.DataFrame) -> Iterator[Fault]:
    """Give the rows of a text whose fields are too few, too many or broken."""
    grid, header = sheet.grid, sheet.header
    if header is None:
        return
    found: list[tuple[pl.Series, Reason]] = []
    if grid.fields is not None and grid.overflow is not None:
        width = max((at for at, name in enumerate(header.names, start=1) if name is not None), default=0)
        expected = max(int(grid.fields[header.end - 1]), width)
        filled = grid.overflow.clone()
        for column in range(expected, grid.cells.width):
            filled |= grid.cells[str(column)].is_not_null()
        many = (grid.fields > expected) & (filled | (grid.fields > grid.cells.width + 1))
        found.append((grid.fields < width, Reason(code="reason.few_fields", fields={"fields": width})))
        found.append((many, Reason(code="reason.many_fields", fields={"fields": expected})))
    if grid.unclosed is not None:
        opened = pl.int_range(grid.cells.height, dtype=pl.UInt32, eager=True).is_in(grid.unclosed.implode())
        found.append((opened, Reason(code="reason.quote")))
    if grid.broken is not None:
        found.append((grid.broken, Reason(code="reason.broken", fields={"encoding": grid.encoding})))
    for mask, reason in found:
        if mask.any():
            yield Fault(mask=mask.gather(data[AT]), reason=reason)


def _odd(cells: pl.DataFrame, header: Header | None, placement: Placement, anchors: Sequence[str]) -> pl.Series:
    """Return the rows that need a second look: every anchor is empty, or holds its own header."""
    columns = [placement.ours[name] for name in anchors if name in placement.ours]
    if not columns:
        return pl.repeat(value=True, n=cells.height, dtype=pl.Boolean, eager=True)
    tests = []
    for column in columns:
        cell = pl.col(str(column))
        empty = cell.is_null()
        if cells.schema[str(column)] == pl.String:
            empty = empty | (cell.str.len_bytes() < _SHORTEST_DATE)
            if header is not None and (name := header.names[column]) is not None:
                empty = empty | (cell == name)
        tests.append(empty)
    return cells.select(pl.all_horizontal(tests)).to_series() | _labelled(cells, placement)


def _labelled(cells: pl.DataFrame, placement: Placement) -> pl.Series:
    """Return the rows that may be totals: by their first cell, number or date, or, without number, by any cell.

    A general ledger writes 本月合计 as its remark, beside a date.
    """
    numbers = {str(placement.ours[name]) for name in NUMBER_COLUMNS if name in placement.ours}
    columns = {"0", *numbers, *(str(placement.ours[name]) for name in ("issued_at",) if name in placement.ours)}
    texts = [name for name in cells.columns if name in columns and cells.schema[name] == pl.String]
    found = pl.repeat(value=False, n=cells.height, dtype=pl.Boolean, eager=True)
    for name in texts:
        if (cells[name] >= _FIRST_IDEOGRAPH).any():
            found |= cells[name].str.contains(_TOTAL).fill_null(value=False)
    return found | _called_total(cells, numbers)


def _called_total(cells: pl.DataFrame, numbers: set[str]) -> pl.Series:
    """Return the rows without a number of which one cell says nothing but 合计 or the like."""
    none = pl.repeat(value=False, n=cells.height, dtype=pl.Boolean, eager=True)
    if not numbers:
        return none
    bare = cells.select(pl.all_horizontal(pl.col(name).is_null() for name in numbers)).to_series()
    texts = [name for name, dtype in cells.schema.items() if dtype == pl.String]
    if not bare.any() or not texts:
        return none
    rows = cells.filter(bare).filter(pl.any_horizontal(pl.col(name).str.contains(_LABEL) for name in texts))
    return cells[AT].is_in(rows[AT].implode())


def _numbered(cells: pl.DataFrame, placement: Placement) -> pl.Series:
    """Return the rows that carry an invoice number of their own."""
    columns = [str(placement.ours[name]) for name in NUMBER_COLUMNS if name in placement.ours]
    texts = [name for name in columns if cells.schema[name] == pl.String]
    if not texts:
        return pl.repeat(value=False, n=cells.height, dtype=pl.Boolean, eager=True)
    number = pl.any_horizontal(pl.col(name).str.contains(r"[0-9]{6,}") for name in texts)
    return cells.select(number.fill_null(value=False)).to_series()


def _repeated(cells: pl.DataFrame, header: Header | None, placement: Placement) -> pl.Series:
    """Return the rows that say the header once more, as printed pages do."""
    if header is None:
        return pl.repeat(value=False, n=cells.height, dtype=pl.Boolean, eager=True)
    names = {
        str(column): name
        for column in placement.ours.values()
        if (name := header.names[column]) is not None and cells.schema[str(column)] == pl.String
    }
    same = [pl.col(column).str.strip_chars() == name.strip() for column, name in names.items()]
    enough = pl.sum_horizontal(test.fill_null(value=False).cast(pl.UInt32) for test in same) >= min(3, len(same))
    return cells.select(enough).to_series()


def _last_filled(rest: pl.DataFrame, placement: Placement) -> int:
    """Return the position of the last doubtful row that has a number or an amount, so that it is not closing words."""
    if rest.is_empty():
        return 0
    amounts = [str(placement.ours[name]) for name in MONEY_COLUMNS if name in placement.ours]
    filled = _numbered(rest, placement)
    if amounts:
        filled |= rest.select(pl.any_horizontal(pl.col(name).is_not_null() for name in amounts)).to_series()
    if not any(name in placement.ours for name in NUMBER_COLUMNS + MONEY_COLUMNS):
        filled |= True
    return _last(rest.filter(filled))


def _last(cells: pl.DataFrame) -> int:
    return int(cells[AT][-1]) if cells.height else 0


def _totals(cells: pl.DataFrame, texts: Sequence[str], placement: Placement) -> tuple[Total, ...]:
    columns = {name: str(placement.ours[name]) for name in MONEY_COLUMNS if name in placement.ours}
    amounts = {name: read_cells.money(cells[column]).values.to_list() for name, column in columns.items()}
    found = []
    for at, row in enumerate(cells.iter_rows(named=True)):
        written = [str(row[name]) for name in texts if row[name] is not None]
        stated = {name: values[at] for name, values in amounts.items() if values[at] is not None}
        if count := _COUNT.search(" ".join(written)):
            stated = _said(" ".join(written)) | stated | {"rows": _yuan(count[1])}
        label = next(text for text in written if re.match(_TOTAL, text))
        section = _SECTION.search(label) is not None
        found.append(Total(position=int(row[AT]), row=int(row[ROW]), section=section, stated=stated))
    return tuple(found)


def _said(words: str) -> dict[str, Decimal]:
    """Return the amounts that a line such as `份数：2 金额：150.00` states in words."""
    return {name: _yuan(found[1]) for name, pattern in _STATED.items() if (found := pattern.search(words))}


def _yuan(text: str) -> Decimal:
    return Decimal(text.replace(",", "").replace("−", "-"))
