"""How many lines and separators a large text holds: enough to know that every line has its fields."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from pathlib import Path

BLOCK = 1 << 20
_QUOTE, _END = ord('"'), ord("\n")


@dataclass(frozen=True, kw_only=True)
class Tally:
    """Counts over a whole file: `lines`, `separators` outside quotes, whether every quote closes within its line."""

    lines: int
    separators: int
    closed: bool


def tally(source: Path, separator: str) -> Tally:
    """Count the lines of a text and the separators outside quotes, block by block."""
    lines = separators = 0
    inside = False
    closed = True
    last = b"\n"
    with source.open("rb") as file:
        while block := file.read(BLOCK):
            letters = np.frombuffer(block, dtype=np.uint8)
            ends, fields = letters == _END, letters == ord(separator)
            lines += int(np.count_nonzero(ends))
            separators += int(np.count_nonzero(fields))
            quotes = np.flatnonzero(letters == _QUOTE)
            if inside or len(quotes):
                hidden = _quoted(quotes, len(letters), inside=inside)
                separators -= int(np.count_nonzero(fields & hidden)) if hidden is not None else 0
                closed = closed and (hidden is None or not (ends & hidden).any())
                inside ^= bool(len(quotes) % 2)
            last = block[-1:]
    return Tally(lines=lines + (last != b"\n"), separators=separators, closed=closed and not inside)


def _quoted(quotes: np.ndarray, length: int, *, inside: bool) -> np.ndarray | None:
    """Return which letters of a block stand inside quotes; none where all quotes are empty pairs."""
    if not inside and len(quotes) % 2 == 0 and bool((quotes[1::2] - quotes[0::2] == 1).all()):
        return None
    turns = np.zeros(length, dtype=np.uint8)
    turns[quotes] = 1
    hidden: np.ndarray = (np.cumsum(turns, dtype=np.uint8) & 1).astype(bool)
    return ~hidden if inside else hidden
