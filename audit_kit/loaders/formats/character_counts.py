"""The records of a text, counted over its bytes, apart from whatever reads them.

A quote opens a cell only where the cell begins; anywhere else it is text. A cell may go on over several lines where all
quotes of its record stand in their places. A quote that opens and never closes so is the fault of its own line alone.
"""

from __future__ import annotations

import mmap
import re
from functools import cache
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from audit_kit.core.errors import SourceError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

BLOCK = 1 << 20
LONGEST_CELL = 1 << 20  # characters
LONGEST_LINE = 16 << 20  # bytes
_QUOTE, _END, _RETURN = ord('"'), ord("\n"), ord("\r")


def count_lines(source: Path) -> int:
    """Return how many line ends a text has at most, at the speed of reading it."""
    total = 0
    with source.open("rb") as file:
        while block := file.read(BLOCK):
            letters = np.frombuffer(block, dtype=np.uint8)
            total += max(int(np.count_nonzero(letters == end)) for end in (_END, _RETURN))
    return total


def fields_of_lines(source: Path, separator: str, *, name: str) -> pl.Series | None:
    """Return how many fields every line has, 0 where it is blank; none where lines are not records.

    They are where every quote opens and closes in its place within a line, and lines end in one way. `name` is what
    the user calls the file.

    Raises:
        SourceError: a line that is far too long for a table.
    """
    counts = []
    for block in _blocks(source, name):
        found = _fields(block, ord(separator))
        if found is None:
            return None
        counts.append(found)
    return pl.Series("fields", np.concatenate(counts), dtype=pl.UInt32)


def _blocks(source: Path, name: str) -> Iterator[bytes]:
    """Yield the bytes of a text in blocks of whole lines."""
    rest = b""
    with source.open("rb") as file:
        while block := file.read(BLOCK):
            block = rest + block if rest else block
            cut = block.rfind(b"\n") + 1
            rest = block[cut:]
            if len(rest) > LONGEST_LINE:
                raise SourceError("error_formats.long_line", file=name, size=LONGEST_LINE >> 20)
            if cut:
                yield block[:cut]
    if rest:
        yield rest


def _fields(block: bytes, separator: int) -> np.ndarray | None:
    letters = np.frombuffer(block, dtype=np.uint8)
    ends = np.flatnonzero(letters == _END)
    if letters[-1] != _END:
        ends = np.append(ends, len(letters))
    returns = np.count_nonzero(letters == _RETURN)
    if returns and returns != np.count_nonzero(letters[ends[ends < len(letters)] - 1] == _RETURN):
        return None
    places = np.flatnonzero(letters == separator)
    quotes = np.flatnonzero(letters == _QUOTE)
    if len(quotes):
        if not _in_place(letters, quotes, ends, separator):
            return None
        places = _outside(quotes, places, len(letters))
    starts = np.concatenate([[0], ends[:-1] + 1])
    counts: np.ndarray = np.diff(np.searchsorted(places, ends), prepend=0) + 1
    length = ends - starts
    counts[(length == 0) | ((length == 1) & (letters[starts] == _RETURN))] = 0
    return counts.astype(np.uint32)


def _in_place(letters: np.ndarray, quotes: np.ndarray, ends: np.ndarray, separator: int) -> bool:
    """Tell whether every quote opens or closes a cell, or is doubled in one, and no cell leaves its line."""
    if (np.searchsorted(quotes, ends) % 2).any():
        return False
    known = np.zeros(256, dtype=bool)
    known[[separator, _END, _QUOTE]] = True
    opening, closing = quotes[0::2], quotes[1::2]
    begun = known[letters[opening[int(quotes[0] == 0) :] - 1]].all()
    known[_RETURN] = True
    ended = known[letters[closing[: len(closing) - int(quotes[-1] == len(letters) - 1)] + 1]].all()
    return bool(begun and ended)


def _outside(quotes: np.ndarray, places: np.ndarray, length: int) -> np.ndarray:
    """Return the places in a block that do not stand inside quotes."""
    if (quotes[1::2] - quotes[0::2] == 1).all():
        return places
    turns = np.zeros(length, dtype=np.uint8)
    turns[quotes] = 1
    outside: np.ndarray = places[np.cumsum(turns, dtype=np.uint8)[places] & 1 == 0]
    return outside


def count_records(source: Path, separator: str) -> int:
    """Return the number of records of a text in which a cell goes on over several lines, or a quote is out of place."""
    with source.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        return sum(1 for _ in _record(separator).finditer(data))


@cache
def _record(separator: str) -> re.Pattern[bytes]:
    """Return a pattern of one record: without quotes, with all quotes in place, closed within its line, or a line."""
    split = re.escape(separator)
    end = r"(?:\r\n|\r|\n|\Z)"
    bare = rf'(?!")[^{split}\r\n]*+'
    letter = r'(?:[^"\x80-\xbf][\x80-\xbf]*+|"")'
    strict = rf'(?:"{letter}{{0,{LONGEST_CELL}}}+"(?=[{split}\r\n]|\Z)|{bare})'
    loose = rf'(?:"(?:[^"\r\n]|"")*+"[^{split}\r\n]*+|{bare})'
    kinds = (
        rf'[^"\r\n]*+{end}',
        rf"{strict}(?:{split}{strict})*+{end}",
        rf"{loose}(?:{split}{loose})*+{end}",
        rf"[^\r\n]*+{end}",
    )
    return re.compile((r"(?!\Z)(?:" + "|".join(kinds) + ")").encode("latin-1"))
