"""Workbooks: xlsx, xlsm, xlsb, ods and the old xls, with the true type of every cell of an identifier column.

Read as text, a 20-digit number in a numeric cell comes out as 20 digits of which the last five are wrong. Large xlsx
sheets are read by fastexcel and their XML is looked through once more for the cells that are numbers; everything else
goes through calamine cell by cell. Before either, the archive is measured by really unpacking it.
"""

from __future__ import annotations

import logging
import re
import zipfile
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import fastexcel
import polars as pl
import python_calamine

from audit_kit.errors import SourceError
from audit_kit.loaders import archives
from audit_kit.loaders.grids import MAX_COLUMNS, Grid, Numbers, numbered

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

LARGE = 3 << 20  # bytes of sheet XML from which the fast way pays
MAX_CELLS = 60_000_000  # of the rectangle that a sheet spans
SPARSE = 5_000_000  # from this rectangle on, a tenth of it must be filled
OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
_ENCRYPTED = "EncryptedPackage".encode("utf-16-le")
_CELL = re.compile(rb'<c r="([A-Z]{1,3})([0-9]{1,7})"[^>]*>')
_FILLED = re.compile(rb'<c r="([A-Z]{1,3})([0-9]{1,7})"[^>/]*><(?:v|is|f)')
_FIRST_COLUMN = re.compile(rb'<c r="A[0-9]{1,7}"[^>/]*><(?:v|is|f)')
_WIDE = re.compile(rb'<c r="(?:[B-Z][A-Z]|[A-Z]{3})[0-9]')
_REL = "{http://schemas.openxmlformats.org/officeDocument/2006/relationships}id"


@dataclass(frozen=True, kw_only=True)
class _Part:
    """Where the XML of a sheet lies in an archive, and what was seen in it."""

    path: Path
    name: str
    size: int
    from_1904: bool


@dataclass(frozen=True, kw_only=True)
class _Span:
    """The rectangle of a sheet that holds anything; rows and columns from 1."""

    first_row: int
    last_row: int
    first_column: int


def read_workbook(path: Path) -> list[Grid]:
    """Return the sheets of a workbook that hold anything.

    Raises:
        SourceError: protected by a password, damaged, far larger unpacked than a table can be, or no workbook.
    """
    if zipfile.is_zipfile(path):
        archives.measure(path)
    elif _has_password(path):
        raise SourceError(f"{path.name}：文件有打开密码，请另存为无密码的文件后再试。")
    try:
        parts = _parts(path)
        spans = {name: _span(part) for name, part in parts.items()}
        with python_calamine.load_workbook(str(path)) as book:
            grids = [_sheet(path, book, name, parts.get(name), spans.get(name)) for name in book.sheet_names]
    except (python_calamine.CalamineError, fastexcel.FastExcelError, zipfile.BadZipFile, ValueError, OSError) as error:
        raise SourceError(f"{path.name}：不是可读的工作簿，或文件已损坏，请重新导出。") from error
    return [grid for grid in grids if grid is not None]


def _has_password(path: Path) -> bool:
    return _ENCRYPTED in path.read_bytes()[: 64 << 20]


def _parts(path: Path) -> dict[str, _Part]:
    """Return where the XML of every sheet of an xlsx lies; nothing for other kinds of workbook."""
    if not zipfile.is_zipfile(path):
        return {}
    with zipfile.ZipFile(path) as archive:
        book, links = archives.tree(archive, "xl/workbook.xml"), archives.tree(archive, "xl/_rels/workbook.xml.rels")
        if book is None or links is None:
            return {}
        targets = {link.get("Id"): str(link.get("Target")) for link in links}
        from_1904 = any(item.get("date1904") in ("1", "true") for item in book.iter("{*}workbookPr"))
        sizes = {entry.filename: entry.file_size for entry in archive.infolist()}
    parts = {}
    for sheet in book.iter("{*}sheet"):
        target = targets.get(sheet.get(_REL), "")
        name = target.lstrip("/") if target.startswith("/") else f"xl/{target}"
        if name in sizes and name.endswith(".xml"):
            parts[str(sheet.get("name"))] = _Part(path=path, name=name, size=sizes[name], from_1904=from_1904)
    return parts


def _blocks(part: _Part) -> Iterator[bytes]:
    """Yield the XML of a sheet in pieces that never cut a cell's opening in two."""
    rest = b""
    with zipfile.ZipFile(part.path) as archive:
        for block in archives.stream(archive, part.name):
            data = rest + block
            cut = data.rfind(b"<c ")
            cut = cut if cut > 0 else len(data)
            rest = data[cut:]
            yield data[:cut]
    yield rest


def _span(part: _Part) -> _Span | None:
    """Look through a sheet's XML once; none where its cells do not name themselves.

    Raises:
        SourceError: two million columns, or a few cells so far apart that the rectangle would not fit into memory.
    """
    first = last = None
    in_first_column = wide = False
    cells = 0
    for data in _blocks(part):
        first = first or _FILLED.search(data)
        in_first_column = in_first_column or _FIRST_COLUMN.search(data) is not None
        wide = wide or _WIDE.search(data) is not None
        cells += data.count(b"<c ")
        filled = max(data.rfind(b"<v>"), data.rfind(b"<is>"), data.rfind(b"<v "))
        if filled >= 0 and (cell := _CELL.match(data, data.rfind(b'<c r="', 0, filled))):
            last = int(cell[2])
    if first is None or last is None:
        return None
    columns = _columns(part) if wide or not in_first_column else {1}
    area = (last - int(first[2]) + 1) * (max(columns) - min(columns) + 1)
    if max(columns) > MAX_COLUMNS or area > MAX_CELLS or (area > SPARSE and cells < area // 10):
        raise SourceError(f"{part.path.name}：工作表跨度过大（{max(columns)} 列 × {last} 行），不像发票表，拒绝读取。")
    return _Span(first_row=int(first[2]), last_row=last, first_column=min(columns))


def _columns(part: _Part) -> set[int]:
    letters: set[bytes] = set()
    for data in _blocks(part):
        letters |= {cell[1] for cell in _FILLED.finditer(data)}
    return {_column_number(name) for name in letters} or {1}


def _column_number(letters: bytes) -> int:
    number = 0
    for letter in letters:
        number = number * 26 + letter - 64
    return number


def _column_letters(number: int) -> str:
    letters = ""
    while number:
        number, rest = divmod(number - 1, 26)
        letters = chr(65 + rest) + letters
    return letters


def _sheet(
    path: Path, book: python_calamine.CalamineWorkbook, name: str, part: _Part | None, span: _Span | None
) -> Grid | None:
    if part is not None and span is not None and part.size >= LARGE and (grid := _fast(path, name, part, span)):
        return grid
    sheet = book.get_sheet_by_name(name)
    if sheet.total_height * sheet.total_width > MAX_CELLS or sheet.total_width > MAX_COLUMNS:
        raise SourceError(f"{path.name}：工作表 {name} 过大（{sheet.total_width} 列），不像发票表，拒绝读取。")
    return _slow(name, sheet.to_python(skip_empty_area=False), from_1904=part is not None and part.from_1904)


def _fast(path: Path, name: str, part: _Part, span: _Span) -> Grid | None:
    """Read a large sheet as text; none where its XML and the frame do not agree on the rows."""
    logging.getLogger("fastexcel").setLevel(logging.ERROR)
    sheet = fastexcel.read_excel(path).load_sheet(name, header_row=None, dtypes="string")
    if sheet.height != span.last_row - span.first_row + 1:
        return None
    cells = sheet.to_polars()
    cells.columns = [str(index) for index in range(cells.width)]

    def numbers(columns: Sequence[int]) -> Numbers:
        return _numbers(part, span, columns, cells.height)

    return Grid(
        sheet=name,
        cells=cells,
        rows=numbered(cells.height, first=span.first_row),
        numbers=numbers,
        serials_from_1904=part.from_1904,
    )


def _numbers(part: _Part, span: _Span, columns: Sequence[int], height: int) -> Numbers:
    """Return which cells of some columns are stored as numbers, from the sheet's XML."""
    letters = {_column_letters(span.first_column + column).encode(): column for column in columns}
    pattern = re.compile(rb'<c r="(' + b"|".join(letters) + rb')([0-9]{1,7})"([^>]*)>')
    found: dict[int, list[int]] = {column: [] for column in columns}
    for data in _blocks(part):
        for letter, row, attributes in pattern.findall(data):
            if b't="' not in attributes or b't="n"' in attributes:
                found[letters[letter]].append(int(row) - span.first_row)
    everywhere = pl.int_range(height, eager=True)
    return {column: everywhere.is_in(pl.Series(rows, dtype=pl.Int64).implode()) for column, rows in found.items()}


def _slow(name: str, rows: list[list[Any]], *, from_1904: bool) -> Grid | None:
    """Turn cells with their types into text, remembering which were numbers."""
    if not rows or not any(cell != "" for row in rows for cell in row):
        return None
    columns = list(zip(*rows, strict=True))
    cells = pl.DataFrame(
        {str(index): [_written(cell) for cell in column] for index, column in enumerate(columns)},
        schema={str(index): pl.String for index in range(len(columns))},
    )

    def numbers(asked: Sequence[int]) -> Numbers:
        return {
            index: pl.Series([isinstance(cell, int | float) and not isinstance(cell, bool) for cell in columns[index]])
            for index in asked
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
