"""The XML of an xlsx sheet, looked through as a stream: where its cells lie, and which of them are numbers."""

from __future__ import annotations

import re
import zipfile
from bisect import bisect_left
from dataclasses import dataclass
from typing import TYPE_CHECKING

import polars as pl

from audit_kit.loaders.formats import archives

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from audit_kit.loaders.formats.grid import Numbers

KEPT = 128 << 20  # bytes of XML that are kept for the second look
FEW = 2_000  # cells that are looked up one by one
_FILLED = re.compile(rb'<c r="([A-Z]{1,3})([0-9]{1,7})"[^>/]*><(?:v|is|f)')
_CELL = re.compile(rb'<c r="[A-Z]{1,3}([0-9]{1,7})"')
_FIRST_COLUMN = re.compile(rb'<c r="A[0-9]{1,7}"[^>/]*><(?:v|is|f)')
_USUAL_CELL = b'<c r="'
_PREFIXED = re.compile(rb"<[A-Za-z0-9_.-]+:(?:c|row|sheetData)[ >]")
_WIDE = re.compile(rb'<c r="(?:[B-Z][A-Z]|[A-Z]{3})[0-9]')


@dataclass(frozen=True, kw_only=True)
class Span:
    """The rectangle of a sheet that holds anything; rows and columns from 1."""

    first_row: int
    last_row: int
    first_column: int
    last_column: int


class SheetXml:
    """One sheet's XML: fed with its blocks once, then asked."""

    def __init__(self, path: Path, name: str) -> None:
        """Remember the archive and the entry in it."""
        self.path, self.name = path, name
        self.size = 0
        self._rest = b""
        self._kept: list[bytes] | None = []
        self._first: re.Match[bytes] | None = None
        self._last = 0
        self._in_first_column = self._wide = False
        self.is_usual, self.has_cells = True, False

    def feed(self, block: bytes) -> None:
        """Look at the next block of the XML."""
        self.size += len(block)
        data = self._rest + block
        cut = data.rfind(b"<c ")
        cut = cut if cut > 0 else len(data)
        data, self._rest = data[:cut], data[cut:]
        self._look(data)

    def close(self) -> None:
        """Look at what is left when the last block was fed."""
        self._look(self._rest)
        self._rest = b""

    def _look(self, data: bytes) -> None:
        if self._kept is not None:
            self._kept = [*self._kept, data] if self.size <= KEPT else None
        usual = data.count(_USUAL_CELL)
        self.is_usual = (
            self.is_usual and usual == data.count(b"<c ") + data.count(b"<c>") and not _PREFIXED.search(data)
        )
        self.has_cells = self.has_cells or usual > 0
        self._first = self._first or _FILLED.search(data)
        self._in_first_column = self._in_first_column or _FIRST_COLUMN.search(data) is not None
        self._wide = self._wide or _WIDE.search(data) is not None
        filled = max(data.rfind(b"<v>"), data.rfind(b"<is>"))
        if filled >= 0 and (cell := _CELL.match(data, max(data.rfind(b'<c r="', 0, filled), 0))):
            self._last = int(cell[1])

    def blocks(self) -> Iterator[bytes]:
        """Yield the XML in pieces that never cut the opening of a cell in two."""
        if self._kept is not None:
            yield from self._kept
            return
        rest = b""
        with zipfile.ZipFile(self.path) as archive:
            for block in archives.stream(archive, self.name):
                data = rest + block
                cut = data.rfind(b"<c ")
                cut = cut if cut > 0 else len(data)
                yield data[:cut]
                rest = data[cut:]
        yield rest

    def span(self) -> Span | None:
        """Return where the cells lie; none where they do not say so themselves, or not in their order."""
        if self._first is None or int(self._first[2]) > self._last:
            return None
        columns = self._columns() if self._wide or not self._in_first_column else {1}
        return Span(
            first_row=int(self._first[2]),
            last_row=self._last,
            first_column=min(columns),
            last_column=max(columns),
        )

    def _columns(self) -> set[int]:
        letters: set[bytes] = set()
        for data in self.blocks():
            letters |= {cell[0] for cell in _FILLED.findall(data)}
        return {column_number(name) for name in letters} or {1}

    def numbers(self, span: Span, candidates: Mapping[int, pl.Series], height: int) -> Numbers:
        """Return, for each column, which of the candidate rows (positions) are cells stored as numbers."""
        wanted = {column: rows for column, mask in candidates.items() if len(rows := mask.arg_true())}
        if not wanted:
            return {}
        letters = {column: column_letters(span.first_column + column) for column in wanted}
        if sum(map(len, wanted.values())) <= FEW:
            cells = {
                (row + span.first_row, letters[column].encode()): (column, row)
                for column, rows in wanted.items()
                for row in rows.to_list()
            }
            hits = self._looked_up(cells)
        else:
            hits = self._all_numbers({name.encode(): column for column, name in letters.items()}, span.first_row)
        places = pl.int_range(height, eager=True)
        return {
            column: mask & places.is_in(pl.Series(hits.get(column, []), dtype=pl.Int64).implode())
            for column, mask in candidates.items()
        }

    def _looked_up(self, cells: Mapping[tuple[int, bytes], tuple[int, int]]) -> dict[int, list[int]]:
        """Look a few cells up in the blocks that hold their rows."""
        asked = sorted(cells)
        found: dict[int, list[int]] = {}
        for data in self.blocks():
            top, bottom = _CELL.search(data), _CELL.match(data, max(data.rfind(b'<c r="'), 0))
            if top is None or bottom is None:
                continue
            for row, name in asked[
                bisect_left(asked, (int(top[1]), b"")) : bisect_left(asked, (int(bottom[1]) + 1, b""))
            ]:
                start = data.find(b'<c r="%b%d"' % (name, row))
                if start >= 0 and is_number(data[start : data.find(b">", start)]):
                    column, position = cells[row, name]
                    found.setdefault(column, []).append(position)
        return found

    def _all_numbers(self, letters: Mapping[bytes, int], first_row: int) -> dict[int, list[int]]:
        pattern = re.compile(rb'<c r="(' + b"|".join(letters) + rb')([0-9]{1,7})"([^>]*)>')
        found: dict[int, list[int]] = {}
        for data in self.blocks():
            for letter, row, attributes in pattern.findall(data):
                if is_number(attributes):
                    found.setdefault(letters[letter], []).append(int(row) - first_row)
        return found


def is_number(attributes: bytes) -> bool:
    """Tell whether the attributes of a cell make it a number."""
    return b't="' not in attributes or b't="n"' in attributes


def column_number(letters: bytes) -> int:
    """Return the number of a column from its letters, A = 1."""
    number = 0
    for letter in letters:
        number = number * 26 + letter - 64
    return number


def column_letters(number: int) -> str:
    """Return the letters of a column from its number, 1 = A."""
    letters = ""
    while number:
        number, rest = divmod(number - 1, 26)
        letters = chr(65 + rest) + letters
    return letters
