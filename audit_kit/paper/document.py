"""A document as what it says, before it becomes docx or a page: headings, paragraphs, facts and tables.

Text is data: whoever writes a document makes nothing of it but letters.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

# What no document may hold: control characters, halves of characters, and signs that turn the direction of reading.
_UNFIT = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff\ufeff\ufffe\uffff]"
)


@dataclass(frozen=True)
class Heading:
    """A heading of a section, or with level 0 the title."""

    text: str
    level: int = 1


@dataclass(frozen=True)
class Paragraph:
    """A paragraph: `plain`, `note` (small), `gap` (marked as missing), `item` (of a list), `right` (a signature)."""

    text: str
    style: str = "plain"


@dataclass(frozen=True)
class Facts:
    """Names with their values, two columns."""

    rows: Sequence[tuple[str, str]]


@dataclass(frozen=True)
class Table:
    """A table; cells that begin with `gap` are marked as missing."""

    heads: Sequence[str]
    rows: Sequence[Sequence[str]]
    gap: str = ""

    def is_gap(self, cell: str) -> bool:
        """Say whether a cell is marked as missing."""
        return bool(self.gap) and cell.startswith(self.gap)


@dataclass(frozen=True)
class Document:
    """A whole document; `note` stands at the foot of every page."""

    title: str
    blocks: Sequence[Heading | Paragraph | Facts | Table]
    note: str = ""


def plain(text: str) -> str:
    """Return a text without what no document may hold, on one line."""
    return _UNFIT.sub("", " ".join(text.split("\n"))).replace("\t", " ")
