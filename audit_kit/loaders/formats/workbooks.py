"""Workbooks: xlsx, xlsm, xlsb, ods and the old xls, with the true type of every cell of an identifier column.

Read as text, a 20-digit number in a numeric cell comes out as 20 digits of which the last five are wrong. Large xlsx
sheets are read by fastexcel and their XML is looked through once more for the cells that are numbers; everything else
goes through calamine cell by cell. Before either, the archive is measured by really unpacking it.
"""

from __future__ import annotations

import logging
import zipfile
from datetime import date, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import fastexcel
import polars as pl
import python_calamine

from audit_kit.core.errors import SourceError
from audit_kit.loaders.formats import archives, measuring
from audit_kit.loaders.formats.grid import Grid, Numbers, Places, numbered
from audit_kit.loaders.formats.workbook_cells import SheetXml, Span

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

LARGE = 3 << 20  # bytes of sheet XML from which the fast way pays
OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
_ENCRYPTED = "EncryptedPackage".encode("utf-16-le")
_HEAD = 64 << 20
_REL = "{http://schemas.openxmlformats.org/officeDocument/2006/relationships}id"


def read_workbook(path: Path) -> list[Grid]:
    """Return the sheets of a workbook that hold anything.

    Raises:
        SourceError: protected by a password, damaged, far larger unpacked than a table can be, or no workbook.
    """
    parts, from_1904 = _parts(path)
    if zipfile.is_zipfile(path):
        archives.measure(path, {part.name: part.feed for part in parts.values()})
    elif _has_password(path):
        raise SourceError("error_formats.password", file=path.name)
    _hold(path, parts)
    try:
        grids = _large_sheets(parts, from_1904=from_1904)
        if not parts or len(grids) < len(parts):
            with python_calamine.load_workbook(str(path)) as book:
                grids = {name: grids.get(name) or _slow(book, name, from_1904=from_1904) for name in book.sheet_names}
    except python_calamine.PasswordError as error:
        raise SourceError("error_formats.password", file=path.name) from error
    except (python_calamine.CalamineError, fastexcel.FastExcelError, zipfile.BadZipFile, ValueError, OSError) as error:
        raise SourceError("error_formats.no_workbook", file=path.name) from error
    return [grid for grid in grids.values() if grid is not None]


def _hold(path: Path, parts: Mapping[str, SheetXml]) -> None:
    """Hold the rectangles that the sheets span against what a file of this size may fill.

    Raises:
        SourceError: a sheet spans far more, or only a process of its own could tell and ran out of its bounds.
    """
    places = Places(path)
    told = bool(parts)
    for name, part in parts.items():
        part.close()
        if (span := part.span()) is not None:
            places.take(span.last_row, span.last_column, sheet=name)
        told = told and part.is_usual and (span is not None or not part.has_cells)
    if told:
        return
    sheets = measuring.sheets_of(path)
    if sheets is None:
        raise SourceError("error_formats.too_heavy", file=path.name)
    places = Places(path)
    for height, width in sheets:
        places.take(height, width)


def _has_password(path: Path) -> bool:
    with path.open("rb") as file:
        return _ENCRYPTED in file.read(_HEAD)


def _parts(path: Path) -> tuple[dict[str, SheetXml], bool]:
    """Return the XML of every sheet of an xlsx, and whether it counts days from 1904; no XML for other workbooks."""
    if not zipfile.is_zipfile(path):
        return {}, False
    with zipfile.ZipFile(path) as archive:
        book, links = archives.tree(archive, "xl/workbook.xml"), archives.tree(archive, "xl/_rels/workbook.xml.rels")
        if book is None or links is None:
            return {}, False
        known = set(archive.namelist())
    targets = {link.get("Id"): str(link.get("Target")) for link in links}
    parts = {}
    for sheet in book.iter("{*}sheet"):
        target = targets.get(sheet.get(_REL), "")
        name = target.lstrip("/") if target.startswith("/") else f"xl/{target}"
        if name in known and name.endswith(".xml"):
            parts[str(sheet.get("name"))] = SheetXml(path, name)
    return parts, any(item.get("date1904") in ("1", "true") for item in book.iter("{*}workbookPr"))


def _large_sheets(parts: Mapping[str, SheetXml], *, from_1904: bool) -> dict[str, Grid | None]:
    """Read the large sheets the fast way; one whose XML is not as usual is left out."""
    grids: dict[str, Grid | None] = {}
    for name, part in parts.items():
        span = part.span()
        if span is not None and part.size >= LARGE and (grid := _fast(part, name, span, from_1904=from_1904)):
            grids[name] = grid
    return grids


def _fast(part: SheetXml, name: str, span: Span, *, from_1904: bool) -> Grid | None:
    """Read a large sheet as text; none where its XML and the frame do not agree on the rows."""
    logging.getLogger("fastexcel").setLevel(logging.ERROR)
    sheet = fastexcel.read_excel(part.path).load_sheet(name, header_row=None, dtypes="string")
    if sheet.height != span.last_row - span.first_row + 1:
        return None
    cells = sheet.to_polars()
    cells.columns = [str(index) for index in range(cells.width)]
    return Grid(
        sheet=name,
        cells=cells,
        rows=numbered(cells.height, first=span.first_row),
        numbers=lambda candidates: part.numbers(span, candidates, cells.height),
        serials_from_1904=from_1904,
    )


def _slow(book: python_calamine.CalamineWorkbook, name: str, *, from_1904: bool) -> Grid | None:
    """Read a sheet cell by cell, remembering which cells are numbers; none where it holds nothing."""
    sheet = book.get_sheet_by_name(name)
    rows: list[list[Any]] = sheet.to_python(skip_empty_area=False)
    if not rows or not any(cell != "" for row in rows for cell in row):
        return None
    columns = list(zip(*rows, strict=True))
    cells = pl.DataFrame(
        {str(index): [_written(cell) for cell in column] for index, column in enumerate(columns)},
        schema={str(index): pl.String for index in range(len(columns))},
    )

    def numbers(candidates: Mapping[int, pl.Series]) -> Numbers:
        return {
            index: mask & pl.Series([type(cell) in (int, float) for cell in columns[index]], dtype=pl.Boolean)
            for index, mask in candidates.items()
        }

    return Grid(sheet=name, cells=cells, rows=numbered(cells.height), numbers=numbers, serials_from_1904=from_1904)


def _written(cell: object) -> str | None:
    """Return a cell as text, numbers without exponent."""
    if cell == "" or cell is None:
        return None
    if isinstance(cell, bool):
        return "true" if cell else "false"
    if isinstance(cell, float):
        return str(int(cell)) if cell.is_integer() else format(Decimal(repr(cell)), "f")
    if isinstance(cell, datetime):
        return cell.isoformat(sep=" ")
    if isinstance(cell, date):
        return f"{cell.isoformat()} 00:00:00"
    return str(cell)
