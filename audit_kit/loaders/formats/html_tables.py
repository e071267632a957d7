"""Tables that systems write as markup and call `.xls`: web pages, and the XML of Excel 2003."""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl
from lxml import etree, html

from audit_kit.core.errors import SourceError
from audit_kit.loaders.formats.grid import MAX_COLUMNS, Grid, Numbers, Places, numbered
from audit_kit.loaders.formats.texts import read_whole

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

_SPACE = "{urn:schemas-microsoft-com:office:spreadsheet}"
_MAX_ROWS = 1 << 20


def read_html(path: Path) -> list[Grid]:
    """Return the largest table of a web page.

    Raises:
        SourceError: a page without a table.
    """
    text, encoding = read_whole(path)
    parser = html.HTMLParser(encoding="utf-8", no_network=True)
    try:
        page = html.document_fromstring(text.encode(), parser=parser)
    except (etree.ParserError, ValueError) as error:
        raise SourceError("error_formats.web_page", file=path.name) from error
    tables: dict[html.HtmlElement, list[html.HtmlElement]] = {}
    for row in page.iter("tr"):
        tables.setdefault(next(row.iterancestors("table"), page), []).append(row)
    found = max(tables.values(), key=len, default=[])
    Places(path).take(len(found), max(map(_width, found), default=0))
    return [_grid(path, [_cells(row) for row in found], sheet=None, encoding=encoding)]


def _span(cell: html.HtmlElement) -> int:
    span = cell.get("colspan", "1")
    return max(1, min(int(span), MAX_COLUMNS)) if span.isdecimal() else 1


def _width(row: html.HtmlElement) -> int:
    return sum(map(_span, row.iterchildren("td", "th")))


def _cells(row: html.HtmlElement) -> list[str | None]:
    found: list[str | None] = []
    for cell in row.iterchildren("td", "th"):
        found.append(cell.text_content().strip() or None)
        found += [None] * (_span(cell) - 1)
    return found


def read_spreadsheet_xml(path: Path) -> list[Grid]:
    """Return the sheets of an Excel 2003 XML file; entities and network are off.

    Raises:
        SourceError: damaged XML, or cells far outside any table.
    """
    text, encoding = read_whole(path)
    parser = etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False, huge_tree=False)
    try:
        book = etree.fromstring(text.encode(), parser)
    except (etree.XMLSyntaxError, ValueError) as error:
        raise SourceError("error_formats.damaged_xml", file=path.name) from error
    grids = []
    places = Places(path)
    for sheet in book.iterchildren(f"{_SPACE}Worksheet"):
        rows: list[list[str | None]] = []
        numeric: set[tuple[int, int]] = set()
        for row in sheet.iterfind(f"{_SPACE}Table/{_SPACE}Row"):
            rows += [[]] * (min(_index(row, len(rows)), _MAX_ROWS) - len(rows))
            rows.append(_values(row, len(rows), numeric))
        if any(rows):
            places.take(len(rows), max(map(len, rows)), sheet=sheet.get(f"{_SPACE}Name"))
            grids.append(_grid(path, rows, sheet=sheet.get(f"{_SPACE}Name"), encoding=encoding, numeric=numeric))
    return grids


def _index(element: etree._Element, following: int) -> int:
    """Return the place of a row or cell, from 0: the next one, unless it says another."""
    stated = element.get(f"{_SPACE}Index", "")
    return max(int(stated) - 1, following) if stated.isdecimal() else following


def _values(row: etree._Element, at: int, numeric: set[tuple[int, int]]) -> list[str | None]:
    values: list[str | None] = []
    for cell in row.iterchildren(f"{_SPACE}Cell"):
        values += [None] * (min(_index(cell, len(values)), MAX_COLUMNS) - len(values))
        data = cell.find(f"{_SPACE}Data")
        text = None if data is None else "".join(map(str, data.itertext())).strip() or None
        if data is not None and data.get(f"{_SPACE}Type") == "Number":
            numeric.add((at, len(values)))
        values.append(text)
    return values


def _grid(
    path: Path,
    rows: Sequence[Sequence[str | None]],
    *,
    sheet: str | None,
    encoding: str,
    numeric: set[tuple[int, int]] | None = None,
) -> Grid:
    width = max((len(row) for row in rows), default=0)
    if not width:
        raise SourceError("error_formats.no_table", file=path.name)
    cells = pl.DataFrame(
        {str(at): [row[at] if at < len(row) else None for row in rows] for at in range(width)},
        schema={str(at): pl.String for at in range(width)},
    )

    def numbers(candidates: Mapping[int, pl.Series]) -> Numbers:
        stored = numeric or set()
        return {
            at: mask & pl.Series([(row, at) in stored for row in range(len(rows))]) for at, mask in candidates.items()
        }

    rows_ = numbered(cells.height)
    return Grid(sheet=sheet, cells=cells, rows=rows_, encoding=encoding, numbers=numbers if numeric else None)
