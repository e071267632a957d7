"""Delimited text: csv, tsv, semicolons; UTF-8, UTF-16 and GB18030, in bounded memory.

Polars pads short rows and drops what overflows without a word, and merges rows where a quote is never closed. So the
fields of every line are counted beside it; a file whose lines are not its records goes through the standard library.
"""

from __future__ import annotations

import codecs
import csv
import io
from array import array
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import TYPE_CHECKING

import polars as pl

from audit_kit.core import outputs
from audit_kit.core.errors import SourceError
from audit_kit.loaders.formats.character_counts import LONGEST_CELL, count_lines, count_records, fields_of_lines
from audit_kit.loaders.formats.grid import MAX_COLUMNS, Grid, Places, numbered

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    _Read = tuple[pl.DataFrame, pl.Series, pl.Series | None]

HEAD = 1 << 20
BLOCK = 8 << 20
MAX_WHOLE = 100 << 20  # bytes of a json, html or XML file, which are read into memory as a whole
SEPARATORS = (",", "\t", ";", "|")
SEARCHED_RECORDS = 60
OVERFLOW = "overflow"
BROKEN = "\ufffd"
_ASCII = 0x7F
_BROKEN_SHARE = 8  # one broken character in so many bytes beyond ASCII is damage, more is another encoding
_BATCH = 100_000  # rows that are parsed in Python before they become a frame
_BOMS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


def read_text(path: Path) -> Grid:
    """Return the cells of a delimited text file; `fields` and `broken` tell what is wrong with a line.

    Raises:
        SourceError: empty, binary, or without a line end in its first megabyte.
    """
    with path.open("rb") as file:
        head = file.read(HEAD)
    if not head.strip(b"\x00 \t\r\n\xef\xbb\xbf\xff\xfe"):
        raise SourceError("error_formats.empty", file=path.name)
    encoding = sniff_encoding(head)
    if encoding == "utf-8":
        try:
            return _read_utf8(path, path, "utf-8")
        except UnicodeDecodeError:
            encoding = _better_encoding(path)
    with outputs.scratch() as folder:
        copy = folder / "copy.csv"
        damaged = _transcode(path, copy, encoding)
        return _read_utf8(copy, path, encoding.replace("-sig", ""), damaged=damaged)


def sniff_encoding(head: bytes) -> str:
    """Return the encoding of the beginning of a file: by its mark, else UTF-8 if it is that, else GB18030."""
    for bom, name in _BOMS:
        if head.startswith(bom):
            return name
    sample = head[:4096]
    for order, name in ((1, "utf-16-le"), (0, "utf-16-be")):
        if (
            len(sample) >= len(codecs.BOM_UTF8)
            and sample[order::2].count(0) > len(sample) // 8 > sample[1 - order :: 2].count(0) * 8
        ):
            return name
    return "utf-8" if _is_utf8(head) else "gb18030"


def _is_utf8(data: bytes) -> bool:
    """Tell whether text is UTF-8, a few broken characters aside; other encodings break at nearly every character."""
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    broken = decoder.decode(data).count(BROKEN)
    return broken == 0 or broken * _BROKEN_SHARE < sum(byte > _ASCII for byte in data[:HEAD])


def _better_encoding(path: Path) -> str:
    """Return the encoding of a file whose beginning only looked like UTF-8, from its first block that is not ASCII."""
    with path.open("rb") as file:
        while block := file.read(BLOCK):
            if not block.isascii():
                return "utf-8" if _is_utf8(block) else "gb18030"
    return "utf-8"


def read_whole(path: Path) -> tuple[str, str]:
    """Return the text of a file that is read as a whole (json, html, XML), and its encoding.

    Raises:
        SourceError: too large for that, or not in one encoding throughout.
    """
    if path.stat().st_size > MAX_WHOLE:
        raise SourceError("error_formats.large_text", file=path.name, size=MAX_WHOLE >> 20)
    data = path.read_bytes()
    encoding = sniff_encoding(data[:HEAD])
    try:
        return data.decode(encoding), encoding.replace("-sig", "")
    except UnicodeDecodeError as error:
        raise SourceError("error_formats.encoding", file=path.name, encoding=encoding) from error


def _decoded(path: Path, encoding: str, errors: str) -> Iterator[str]:
    decoder = codecs.getincrementaldecoder(encoding)(errors)
    with path.open("rb") as file:
        while block := file.read(BLOCK):
            yield decoder.decode(block)
    yield decoder.decode(b"", final=True)


def _transcode(path: Path, copy: Path, encoding: str) -> bool:
    """Write the file as UTF-8; return whether characters were broken on the way."""
    damaged = False
    with copy.open("w", encoding="utf-8", newline="") as out:
        for text in _decoded(path, encoding, "replace"):
            damaged = damaged or BROKEN in text
            out.write(text)
    return damaged


def _read_utf8(source: Path, path: Path, encoding: str, *, damaged: bool = False) -> Grid:
    with source.open("rb") as file:
        head = file.read(HEAD)
        whole = not file.read(1)
    if b"\x00" in head:
        raise SourceError("error_formats.binary", file=path.name)
    cut = max(head.rfind(b"\n"), head.rfind(b"\r")) + 1
    if not whole and not cut:
        raise SourceError("error_formats.long_first_line", file=path.name)
    separator, width = _shape((head if whole else head[:cut]).decode("utf-8", errors="replace"))
    if width > MAX_COLUMNS:
        raise SourceError("error_formats.many_columns", file=path.name, width=width, most=MAX_COLUMNS)
    Places(path).take(count_lines(source), width + 1)
    read = _read_lines(source, separator, width, name=path.name)
    if read is None:
        read = _read_records(source, separator, width, name=path.name)
    cells, fields, unclosed = read
    return Grid(
        sheet=None,
        cells=cells.drop(OVERFLOW),
        rows=numbered(cells.height),
        encoding=encoding,
        fields=fields,
        overflow=cells[OVERFLOW].is_not_null(),
        unclosed=unclosed,
        broken=cells.select(pl.any_horizontal(pl.all().str.contains(BROKEN, literal=True))).to_series()
        if damaged
        else None,
    )


def _shape(head: str) -> tuple[str, int]:
    """Return the separator that most records agree on, and the most fields of one."""
    counts = {
        separator: [
            len(record) for record, _ in islice(_records(io.StringIO(head, newline=""), separator), SEARCHED_RECORDS)
        ]
        for separator in SEPARATORS
    }

    def agreement(separator: str) -> tuple[int, int]:
        found = [count - 1 for count in counts[separator] if count]
        usual = max(set(found), key=lambda count: (found.count(count) * (count > 0), count)) if found else 0
        return (found.count(usual) * (usual > 0), usual)

    best = max(SEPARATORS, key=agreement)
    return best, max(1, *counts[best])


def _read_lines(source: Path, separator: str, width: int, *, name: str) -> _Read | None:
    """Read a file whose lines are its records at once; none where they are not."""
    with ThreadPoolExecutor(max_workers=1) as other:
        counting = other.submit(fields_of_lines, source, separator, name=name)
        cells = _read_cells(source, separator, width)
        fields = counting.result()
    if cells is None or fields is None or cells.height != len(fields):
        return None
    return cells, fields, None


def _read_cells(source: Path, separator: str, width: int) -> pl.DataFrame | None:
    """Read the whole file at once; none where its quotes are not as they should be."""
    names = [*map(str, range(width)), OVERFLOW]
    try:
        return pl.read_csv(
            source,
            has_header=False,
            separator=separator,
            schema=dict.fromkeys(names, pl.String()),
            truncate_ragged_lines=True,
            missing_columns="insert",
            glob=False,
        )
    except pl.exceptions.PolarsError:
        return None


def _read_records(source: Path, separator: str, width: int, *, name: str) -> _Read:
    """Read record by record, and hold their number against a count of the bytes.

    Raises:
        SourceError: the two disagree, so that a row would be lost or invented.
    """
    frames, counts, unclosed = [], array("I"), []
    batch: list[list[str | None]] = []
    schema = dict.fromkeys([*map(str, range(width)), OVERFLOW], pl.String())
    with source.open(encoding="utf-8", newline="") as file:
        for record, closed in _records(file, separator):
            if not closed:
                unclosed.append(len(counts))
            counts.append(len(record))
            cells = [cell or None for cell in record[: width + 1]]
            batch.append(cells + [None] * (width + 1 - len(cells)))
            if len(batch) == _BATCH:
                frames.append(pl.DataFrame(batch, schema=schema, orient="row"))
                batch = []
    frames.append(pl.DataFrame(batch, schema=schema, orient="row"))
    counted = count_records(source, separator)
    if counted != len(counts):
        raise SourceError("error_formats.rows_differ", file=name, counted=counted, rows=len(counts))
    return pl.concat(frames), pl.Series("fields", counts, dtype=pl.UInt32), pl.Series(unclosed, dtype=pl.UInt32)


class _Lines:
    """The lines of a text, of which those of the record in hand can be given back."""

    def __init__(self, file: Iterable[str]) -> None:
        self._file = iter(file)
        self._back: deque[str] = deque()
        self.held: list[str] = []

    def __iter__(self) -> Iterator[str]:
        while True:
            line = self._back.popleft() if self._back else next(self._file, None)
            if line is None:
                return
            self.held.append(line)
            yield line

    def take_first(self) -> str:
        """Return the first line of the record in hand, and give the others back."""
        self._back.extendleft(reversed(self.held[1:]))
        first = self.held[0]
        self.held.clear()
        return first


def _records(file: Iterable[str], separator: str) -> Iterator[tuple[list[str], bool]]:
    """Yield the fields of every record, and whether its quotes close.

    A line whose quotes do not close as they should is a record of its own: what follows is not swallowed.
    """
    csv.field_size_limit(LONGEST_CELL)
    lines = _Lines(file)
    while True:
        try:
            for record in csv.reader(lines, delimiter=separator, strict=True):
                lines.held.clear()
                yield record, True
        except csv.Error:
            yield _alone(lines.take_first(), separator)
        else:
            return


def _alone(line: str, separator: str) -> tuple[list[str], bool]:
    """Return the fields of one line by itself, and whether its quotes close within it."""
    reader = csv.reader((line, ""), delimiter=separator)
    try:
        record = next(reader)
    except csv.Error:
        return line.rstrip("\r\n").split(separator), False
    if reader.line_num > 1:
        return line.rstrip("\r\n").split(separator), False
    return record, True
