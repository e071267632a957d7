"""Open any file by what it is, not by what it is called."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import polars as pl

from audit_kit.core.errors import AuditError, SourceError
from audit_kit.loaders.formats.grid import MAX_COLUMNS, Grid, Places, numbered
from audit_kit.loaders.formats.html_tables import read_html, read_spreadsheet_xml
from audit_kit.loaders.formats.texts import read_text, read_whole, sniff_encoding
from audit_kit.loaders.formats.workbooks import OLE, read_workbook

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


EINVOICES = (".xml", ".ofd", ".pdf", ".xbrl")
TABLE_XML = "schemas-microsoft-com:office:spreadsheet"
_HEAD = 4096
MAX_ROWS = 30_000_000  # of a parquet file, whose rows may take no room at all
MAX_PARQUET_CELLS = 600_000_000
LARGE = 100 << 20  # bytes of a parquet file from which its size speaks for what it holds
UNPACKED = 256 << 20  # bytes of text that any parquet file may hold
UNPACKED_PER_BYTE = 20
_ITEM = 64  # bytes that an item of a list takes as text
PANIC = "PanicException"  # what a parser written in Rust raises where it gives up; it is no Exception


def open_grids(path: Path) -> list[Grid]:
    """Return what a file holds: one grid a sheet, one for a file without sheets.

    Raises:
        SourceError: no file, or one that no reader can use.
    """
    if path.is_dir():
        raise SourceError("error_formats.folder", file=path.name)
    if path.exists() and not path.is_file():
        raise SourceError("error_formats.device", file=path.name)
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD)
    except OSError as error:
        raise SourceError("error_formats.closed", file=path.name) from error
    try:
        return _reader(path, head)(path)
    except AuditError:
        raise
    except Exception as error:  # whatever a parser trips over in a stranger's file
        raise SourceError("error_formats.damaged", file=path.name) from error
    except BaseException as error:
        if type(error).__name__ != PANIC:
            raise
        raise SourceError("error_formats.damaged", file=path.name) from None


def is_einvoice(path: Path) -> bool:
    """Tell whether a file is an e-invoice by its name, and no table that bears such a name."""
    if path.suffix.casefold() not in EINVOICES or not path.is_file():
        return False
    with path.open("rb") as file:
        head = file.read(_HEAD)
    return TABLE_XML.encode() not in head and not head.startswith(b"PAR1")


def _reader(path: Path, head: bytes) -> Callable[[Path], list[Grid]]:
    if head.startswith(b"PAR1"):
        return _parquet
    if head.startswith((b"PK\x03\x04", b"PK\x05\x06", OLE)) or head[:2] == b"\x09\x08":
        if path.suffix.casefold() in (".ofd", ".docx", ".pptx"):
            raise SourceError("error_formats.einvoice", file=path.name)
        return read_workbook
    if head.startswith((b"%PDF", b"\x89PNG", b"\xff\xd8\xff", b"GIF8", b"7z\xbc\xaf", b"Rar!", b"\x1f\x8b")):
        raise SourceError("error_formats.document", file=path.name)
    encoding = sniff_encoding(head[: head.rfind(b"\n") + 1] or head)
    start = head.decode(encoding, errors="replace").lstrip("\ufeff \t\r\n").casefold()
    if start.startswith(("[", "{")) and path.suffix.casefold() not in (".csv", ".tsv", ".txt"):
        return _json
    if start.startswith(("<html", "<!doctype html", "<table", "<meta", "<head", "<div", "<style")):
        return read_html
    if start.startswith("<?xml") and TABLE_XML in start:
        return read_spreadsheet_xml
    if start.startswith("<"):
        raise SourceError("error_formats.xml", file=path.name)
    return lambda file: [read_text(file)]


def _parquet(path: Path) -> list[Grid]:
    try:
        width = len(pl.read_parquet_schema(path))
        if width > MAX_COLUMNS:
            raise SourceError("error_formats.many_columns", file=path.name, width=width, most=MAX_COLUMNS)
        _measure(path)
        cells = pl.read_parquet(path, glob=False)
    except (pl.exceptions.PolarsError, OSError) as error:
        raise SourceError("error_formats.damaged_parquet", file=path.name) from error
    return [framed(cells)]


def _measure(path: Path) -> None:
    """Measure a parquet file without unpacking it as a whole: its rows, and the bytes and items in them.

    Raises:
        SourceError: far more than a file of its size holds.
    """
    scan = pl.scan_parquet(path, glob=False)
    schema = scan.collect_schema()
    height = int(scan.select(pl.len()).collect().item())
    if height > MAX_ROWS or height * len(schema) > MAX_PARQUET_CELLS:
        raise SourceError("error_formats.parquet_rows", file=path.name, rows=height)
    size = path.stat().st_size
    Places(path).take(height, len(schema))
    if size > LARGE:
        return
    sizes = [pl.col(name).str.len_bytes() for name, dtype in schema.items() if dtype == pl.String]
    sizes += [pl.col(name).bin.size() for name, dtype in schema.items() if dtype == pl.Binary]
    sizes += [pl.col(name).list.len() * _ITEM for name, dtype in schema.items() if isinstance(dtype, pl.List)]
    if not sizes or not height:
        return
    held = scan.select(pl.sum_horizontal(part.cast(pl.UInt64).sum() for part in sizes)).collect(engine="streaming")
    if held.item() > UNPACKED + UNPACKED_PER_BYTE * size:
        raise SourceError("error_formats.parquet_bytes", file=path.name, size=held.item())


def framed(cells: pl.DataFrame, *, sheet: str | None = None, encoding: str | None = None) -> Grid:
    """Return a typed frame as a grid; its rows count from 1."""
    heads = tuple(cells.columns)
    plain = cells.rename({name: str(index) for index, name in enumerate(heads)})
    plain = plain.cast({pl.Categorical: pl.String, pl.Enum: pl.String})
    return Grid(sheet=sheet, cells=plain, rows=numbered(plain.height), heads=heads, encoding=encoding)


def _json(path: Path) -> list[Grid]:
    """Read a list of records, records by line, or an object that holds one list; numbers keep their digits."""
    text, encoding = read_whole(path)
    try:
        found = json.loads(text, parse_int=str, parse_float=str)
    except (ValueError, RecursionError):
        found = _by_line(path, text)
    if isinstance(found, dict):
        lists = [value for value in found.values() if isinstance(value, list)]
        found = lists[0] if len(lists) == 1 else [found]
    records = [record for record in found if isinstance(record, dict)] if isinstance(found, list) else []
    if not isinstance(found, list) or len(records) != len(found):
        raise SourceError("error_formats.no_records", file=path.name)
    names = list(dict.fromkeys(name for record in records for name in record))
    if len(names) > MAX_COLUMNS:
        raise SourceError("error_formats.many_fields", file=path.name, width=len(names), most=MAX_COLUMNS)
    Places(path).take(len(records), len(names))
    columns = {name: [_scalar(record.get(name)) for record in records] for name in names}
    return [framed(pl.DataFrame(columns, schema=dict.fromkeys(names, pl.String())), encoding=encoding)]


def _by_line(path: Path, text: str) -> list[Any]:
    try:
        return [json.loads(line, parse_int=str, parse_float=str) for line in text.splitlines() if line.strip()]
    except (ValueError, RecursionError) as error:
        raise SourceError("error_formats.damaged_json", file=path.name) from error


def _scalar(value: object) -> str | None:
    if value is None:
        return None
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return "；".join(value)
    if isinstance(value, dict | list):
        return json.dumps(value, ensure_ascii=False)
    return str(value)
