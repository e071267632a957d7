"""Delimited text: csv, tsv, semicolons; UTF-8, UTF-16 and GB18030, in bounded memory.

Polars pads short rows and drops what overflows without a word, and merges rows where a quote is never closed. So the
lines are counted first; a file whose quotes do not close within their lines is parsed line by line.
"""

from __future__ import annotations

import codecs
import csv
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import polars as pl

from audit_kit import places
from audit_kit.errors import SourceError
from audit_kit.loaders.grids import MAX_COLUMNS, Grid, numbered
from audit_kit.loaders.tally import tally

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

HEAD = 1 << 20
LARGE = 32 << 20  # bytes from which counts over the whole file stand for the count of every line
BLOCK = 8 << 20
MAX_WHOLE = 100 << 20  # bytes of a json, html or XML file, which are read into memory as a whole
SEPARATORS = (",", "\t", ";", "|")
SEARCHED_LINES = 60
OVERFLOW = "overflow"
BROKEN = "\ufffd"
_ASCII = 0x7F
_BROKEN_SHARE = 8  # one broken character in so many bytes beyond ASCII is damage, more is another encoding
_BATCH = 100_000  # rows that are parsed in Python before they become a frame
_JOINED = 50  # lines that one quoted cell may span
_UNUSED = "\x1f"  # a separator that no line holds: the line stays whole
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
        raise SourceError(f"{path.name}: is empty; export it again.")
    encoding = sniff_encoding(head)
    old_line_ends = b"\r" in head and b"\n" not in head
    if encoding == "utf-8" and not old_line_ends:
        try:
            return _read_utf8(path, path, "utf-8")
        except UnicodeDecodeError:
            encoding = _better_encoding(path)
    with places.scratch() as folder:
        copy = folder / "copy.csv"
        damaged = _transcode(path, copy, encoding, old_line_ends=old_line_ends)
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
        raise SourceError(f"{path.name}: is larger than {MAX_WHOLE >> 20} MB; export it as csv or parquet.")
    data = path.read_bytes()
    encoding = sniff_encoding(data[:HEAD])
    try:
        return data.decode(encoding), encoding.replace("-sig", "")
    except UnicodeDecodeError as error:
        raise SourceError(f"{path.name}: is not {encoding} throughout; export it again as UTF-8.") from error


def _decoded(path: Path, encoding: str, errors: str) -> Iterator[str]:
    decoder = codecs.getincrementaldecoder(encoding)(errors)
    with path.open("rb") as file:
        while block := file.read(BLOCK):
            yield decoder.decode(block)
    yield decoder.decode(b"", final=True)


def _transcode(path: Path, copy: Path, encoding: str, *, old_line_ends: bool) -> bool:
    """Write the file as UTF-8; return whether characters were broken on the way."""
    damaged = False
    with copy.open("w", encoding="utf-8", newline="") as out:
        for text in _decoded(path, encoding, "replace"):
            damaged = damaged or BROKEN in text
            out.write(text.replace("\r", "\n") if old_line_ends else text)
    return damaged


def _read_utf8(source: Path, path: Path, encoding: str, *, damaged: bool = False) -> Grid:
    with source.open("rb") as file:
        head = file.read(HEAD)
        whole = not file.read(1)
    if b"\x00" in head:
        raise SourceError(f"{path.name}: is binary, no text with separators; check what kind of file it is.")
    lines = head.decode("utf-8", errors="replace").split("\n")
    if not whole and len(lines) < 2:  # noqa: PLR2004 (one line that fills the head)
        raise SourceError(f"{path.name}: its first line is longer than 1 MB; no table has such a line.")
    complete = lines if whole and lines[-1] else lines[:-1]
    lines = [line.rstrip("\r") for line in complete[:SEARCHED_LINES]]
    separator = _separator(lines)
    width = max(_fields(line, separator) for line in lines)
    if width > MAX_COLUMNS:
        raise SourceError(f"{path.name}: has {width} columns; more than {MAX_COLUMNS} make no table of invoices.")
    cells, fields = _read_large(source, lines, separator, width) or _read_exactly(source, separator, width)
    return Grid(
        sheet=None,
        cells=cells.drop(OVERFLOW),
        rows=numbered(cells.height),
        encoding=encoding,
        fields=fields,
        overflow=cells[OVERFLOW].is_not_null(),
        broken=cells.select(pl.any_horizontal(pl.all().str.contains(BROKEN, literal=True))).to_series()
        if damaged
        else None,
    )


def _read_large(source: Path, head: list[str], separator: str, width: int) -> tuple[pl.DataFrame, pl.Series] | None:
    """Read a large file whose lines are as regular as its counts say; none where they are not, or it is small."""
    if source.stat().st_size < LARGE:
        return None
    with ThreadPoolExecutor(max_workers=1) as other:
        counting = other.submit(tally, source, separator)
        cells = _read_cells(source, separator, width)
        total = counting.result()
    if cells is None or not total.closed or total.lines != cells.height or cells[OVERFLOW].null_count() != cells.height:
        return None
    counts = [_fields(line, separator) for line in head]
    usual = max(counts, key=counts.count)
    rest = total.lines - len(counts)
    lacking = rest * (usual - 1) - (total.separators - sum(counts) + len(counts))
    if lacking:
        blank = cells.slice(len(counts)).filter(pl.all_horizontal(pl.all().is_null())).height
        if lacking != blank * (usual - 1):
            return None
    first = pl.Series("fields", counts, dtype=pl.UInt32)
    return cells, first.append(pl.repeat(usual, rest, dtype=pl.UInt32, eager=True))


def _read_exactly(source: Path, separator: str, width: int) -> tuple[pl.DataFrame, pl.Series]:
    """Read a file after counting the fields of every line."""
    counted = _counted(source, separator)
    odd = bool((counted["quotes"] % 2 == 1).any())
    cells = None if odd else _read_cells(source, separator, width)
    if cells is None or cells.height != counted.height:
        return _read_leniently(source, separator, width)
    return cells, counted["fields"]


def _counted(source: Path, separator: str) -> pl.DataFrame:
    """Return `fields` and `quotes` of every line, without holding the lines.

    Raises:
        UnicodeDecodeError: the text is not UTF-8.
    """
    lines = pl.scan_csv(
        source,
        has_header=False,
        separator=_UNUSED,
        quote_char=None,
        schema={"line": pl.String},
        truncate_ragged_lines=True,
        glob=False,
    )
    line = pl.col("line")
    quoted = line.str.contains('"', literal=True)
    bare = pl.when(quoted).then(line.str.replace_all('"[^"]*"', "")).otherwise(line)
    counts = lines.select(
        fields=(bare.str.count_matches(separator, literal=True) + 1).fill_null(0).cast(pl.UInt32),
        quotes=pl.when(quoted).then(line.str.count_matches('"', literal=True)).otherwise(0).fill_null(0),
    )
    try:
        return counts.collect(engine="streaming")
    except pl.exceptions.ComputeError as error:
        raise UnicodeDecodeError("utf-8", b"", 0, 1, "not UTF-8") from error


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


def _read_leniently(source: Path, separator: str, width: int) -> tuple[pl.DataFrame, pl.Series]:
    """Read record by record; a quote that never closes spoils its own line only."""
    frames, counts = [], []
    batch: list[list[str | None]] = []
    names = [*map(str, range(width)), OVERFLOW]
    schema = dict.fromkeys(names, pl.String())
    for record in _records(source, separator, width):
        counts.append(len(record))
        cells = [cell or None for cell in record[: width + 1]]
        batch.append(cells + [None] * (width + 1 - len(cells)))
        if len(batch) == _BATCH:
            frames.append(pl.DataFrame(batch, schema=schema, orient="row"))
            batch = []
    frames.append(pl.DataFrame(batch, schema=schema, orient="row"))
    return pl.concat(frames), pl.Series("fields", counts, dtype=pl.UInt32)


def _records(source: Path, separator: str, width: int) -> Iterator[list[str]]:
    """Yield the fields of every record; lines are joined only where that closes a quote and fills the record."""
    with source.open(encoding="utf-8", newline="\n") as file:
        waiting = [line.rstrip("\r\n") for line, _ in zip(file, range(_JOINED), strict=False)]
        while waiting:
            taken = 1
            if waiting[0].count('"') % 2:
                taken = _closing(waiting, separator, width)
            text = "\n".join(waiting[:taken])
            if taken == 1 and text.count('"') % 2:
                yield text.split(separator)
            else:
                yield _parsed(text, separator)
            del waiting[:taken]
            waiting += [line.rstrip("\r\n") for line, _ in zip(file, range(taken), strict=False)]


def _closing(waiting: list[str], separator: str, width: int) -> int:
    """Return how many lines make one record, 1 if no number of them does."""
    for taken in range(2, len(waiting) + 1):
        if waiting[taken - 1].count('"') % 2:
            fields = len(_parsed("\n".join(waiting[:taken]), separator))
            return taken if fields <= width else 1
    return 1


def _parsed(text: str, separator: str) -> list[str]:
    csv.field_size_limit(HEAD)
    try:
        return next(csv.reader([f"{text}\n"], delimiter=separator), [])
    except csv.Error:
        return text.split(separator)


def field_faults(grid: Grid, *, header: int, width: int) -> list[tuple[pl.Series, str]]:
    """Return the rows of a text whose fields are too few, too many or broken, each group with its reason.

    `header` is the row of the headers, `width` the number of columns they name.
    """
    found: list[tuple[pl.Series, str]] = []
    if grid.fields is not None and grid.overflow is not None:
        expected = max(int(grid.fields[header]), width)
        surplus = [str(column) for column in range(expected, grid.cells.width)]
        filled = grid.overflow.clone()
        for column in surplus:
            filled |= grid.cells[column].is_not_null()
        many = (grid.fields > expected) & (filled | (grid.fields > grid.cells.width + 1))
        found.append((grid.fields < width, f"too few fields: fewer than {width}"))
        found.append((many, f"too many fields: more than {expected}"))
    if grid.broken is not None:
        found.append((grid.broken, f"characters that are not {grid.encoding}"))
    return [(mask.arg_true(), reason) for mask, reason in found if mask.any()]
