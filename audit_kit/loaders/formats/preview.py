"""The beginning of a file, to know what it is without reading all of it."""

from __future__ import annotations

import shutil
import zipfile
from typing import TYPE_CHECKING

import polars as pl

from audit_kit.core import outputs
from audit_kit.loaders.formats import archives
from audit_kit.loaders.formats.opening import framed, open_grids

if TYPE_CHECKING:
    from pathlib import Path

    from audit_kit.loaders.formats.grid import Grid

SMALL = 8 << 20  # bytes of a file that is simply read
HEAD = 1 << 20
_ROW_END, _SHEET_END = b"</row>", b"</sheetData></worksheet>"


def open_heads(path: Path) -> list[Grid]:
    """Return the sheets of a file with at least the rows in which headers are looked for.

    Raises:
        SourceError: no file, or one that no reader can use.
    """
    if not path.is_file() or path.stat().st_size < SMALL:
        return open_grids(path)
    with path.open("rb") as file:
        start = file.read(4)
    if start == b"PAR1":
        return [framed(pl.scan_parquet(path, glob=False).head(1).collect())]
    with outputs.scratch() as folder:
        copy = folder / path.name
        if start == b"PK\x03\x04":
            archives.measure(path)
            _shorten(path, copy)
        elif start[:1] in (b"[", b"{", b"<", b"\xd0"):
            return open_grids(path)
        else:
            _first_lines(path, copy)
        return open_grids(copy)


def _shorten(path: Path, copy: Path) -> None:
    """Copy a workbook with the first rows of its large sheets only."""
    with zipfile.ZipFile(path) as whole, zipfile.ZipFile(copy, "w", zipfile.ZIP_STORED) as short:
        for entry in whole.infolist():
            with whole.open(entry) as part, short.open(entry.filename, "w", force_zip64=True) as out:
                sheet = "worksheets/" in entry.filename and entry.file_size > HEAD
                block = part.read(HEAD) if sheet else b""
                cut = block.rfind(_ROW_END)
                if cut >= 0:
                    out.write(block[: cut + len(_ROW_END)] + _SHEET_END)
                else:
                    out.write(block)
                    shutil.copyfileobj(part, out)


def _first_lines(path: Path, copy: Path) -> None:
    with path.open("rb") as file:
        block = file.read(HEAD)
    cut = block.rfind(b"\n") + 1
    cut += cut % 2 if block[:2] in (b"\xff\xfe", b"\xfe\xff") else 0
    copy.write_bytes(block[: cut or len(block)])
