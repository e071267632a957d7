"""Delimited text: csv, tsv, semicolons; UTF-8, UTF-16 and GB18030, in bounded memory.

Polars pads short rows and drops what overflows without a word, so the fields of every line are counted here.
"""

from __future__ import annotations

import codecs
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl

from audit_kit.errors import SourceError
from audit_kit.loaders.grids import MAX_COLUMNS, Grid, numbered

if TYPE_CHECKING:
    from collections.abc import Iterator

HEAD = 1 << 20
BLOCK = 8 << 20
SEPARATORS = (",", "\t", ";", "|")
OVERFLOW = "overflow"
BROKEN = "\ufffd"
_UNUSED = "\x1f"  # a separator that no line holds: the line stays whole
_BOMS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


def read_text(path: Path) -> Grid:
    """Return the cells of a delimited text file, with the lines whose fields are too few or too many as faults.

    Raises:
        SourceError: empty, binary, or without a line end in its first megabyte.
    """
    with path.open("rb") as file:
        head = file.read(HEAD)
    if not head.strip(b"\x00 \t\r\n\xef\xbb\xbf"):
        raise SourceError(f"{path.name}：文件是空的，请重新导出。")
    encoding = sniff_encoding(head)
    if encoding == "utf-8":
        try:
            return _read_utf8(path, path, "utf-8")
        except pl.exceptions.ComputeError:
            encoding = _better_encoding(path)
    with tempfile.NamedTemporaryFile(suffix=".csv", prefix="audit-kit-") as copy:
        _transcode(path, Path(copy.name), encoding)
        return _read_utf8(Path(copy.name), path, encoding.replace("-sig", ""))


def sniff_encoding(head: bytes) -> str:
    """Return the encoding of the beginning of a file: by its mark, else UTF-8 if it is that, else GB18030."""
    for bom, name in _BOMS:
        if head.startswith(bom):
            return name
    sample = head[:4096]
    for order, name in ((1, "utf-16-le"), (0, "utf-16-be")):
        if len(sample) > 3 and sample[order::2].count(0) > len(sample) // 8 > sample[1 - order :: 2].count(0) * 8:
            return name
    try:
        codecs.getincrementaldecoder("utf-8")().decode(head)
    except UnicodeDecodeError:
        return "gb18030"
    return "utf-8"


def _better_encoding(path: Path) -> str:
    """Return GB18030 if the whole file is that, else UTF-8, whose broken lines are set aside."""
    try:
        for _ in _decoded(path, "gb18030", "strict"):
            pass
    except UnicodeDecodeError:
        return "utf-8"
    return "gb18030"


def _decoded(path: Path, encoding: str, errors: str) -> Iterator[str]:
    decoder = codecs.getincrementaldecoder(encoding)(errors)
    with path.open("rb") as file:
        while block := file.read(BLOCK):
            yield decoder.decode(block)
    yield decoder.decode(b"", final=True)


def _transcode(path: Path, copy: Path, encoding: str) -> None:
    with copy.open("w", encoding="utf-8", newline="") as out:
        out.writelines(_decoded(path, encoding, "replace"))


def _read_utf8(source: Path, path: Path, encoding: str) -> Grid:
    with source.open("rb") as file:
        head = file.read(HEAD)
        whole = not file.read(1)
    if b"\x00" in head:
        raise SourceError(f"{path.name}：这是二进制内容，不是文本表格；请确认文件格式并重新导出。")
    lines = head.decode("utf-8", errors="replace").splitlines()
    if not whole:
        if len(lines) < 2:
            raise SourceError(f"{path.name}：第一行超过 1 MB，不是可读的表格；请重新导出。")
        lines = lines[:-1]
    separator = _separator(lines[:60])
    width = max(_fields(line, separator) for line in lines[:60])
    if width > MAX_COLUMNS:
        raise SourceError(f"{path.name}：有 {width} 列，超过 {MAX_COLUMNS} 列；请确认分隔符并重新导出。")
    cells = _read_cells(source, separator, width)
    faults = _faults(source, cells, separator, width)
    return Grid(
        sheet=None,
        cells=cells.drop(OVERFLOW),
        rows=numbered(cells.height),
        encoding=encoding,
        faults=faults,
    )


def _separator(lines: list[str]) -> str:
    """Return the separator that most lines agree on."""

    def agreement(separator: str) -> tuple[int, int]:
        counts = [_fields(line, separator) - 1 for line in lines if line.strip()]
        usual = max(set(counts), key=lambda count: (counts.count(count) * (count > 0), count)) if counts else 0
        return (counts.count(usual) * (usual > 0), usual)

    return max(SEPARATORS, key=agreement)


def _fields(line: str, separator: str) -> int:
    """Count the fields of a line, separators inside quotes aside."""
    if '"' not in line:
        return line.count(separator) + 1
    return sum(part.count(separator) for part in line.split('"')[::2]) + 1


def _read_cells(source: Path, separator: str, width: int) -> pl.DataFrame:
    names = [*map(str, range(width)), OVERFLOW]
    return pl.read_csv(
        source,
        has_header=False,
        separator=separator,
        schema=dict.fromkeys(names, pl.String()),
        truncate_ragged_lines=True,
        missing_columns="insert",
        glob=False,
    )


def _faults(source: Path, cells: pl.DataFrame, separator: str, width: int) -> dict[int, str]:
    """Return the rows with more fields than the header, and with broken characters."""
    found = {int(row): f"字段过多：多于 {width} 个" for row in cells[OVERFLOW].is_not_null().arg_true()}
    return found
