"""One side of a reconciliation, as the passes see it: whole columns where they are small, single rows where not."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, TypeVar

import polars as pl

from audit_kit.core import identity
from audit_kit.rules.matching import comparison
from audit_kit.rules.matching.numbers import as_it_stands, number_columns, tidy_integers

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

One = TypeVar("One")
Done = TypeVar("Done")


class Side(Protocol):
    """A ledger or a platform's export, wherever its rows are kept. Rows are asked for by position (UInt32)."""

    @property
    def whole(self) -> pl.Series:
        """The tidy numbers of all rows as exact integers (see `numbers`), null where a number needs a closer look."""

    @property
    def gaps(self) -> frozenset[str]:
        """The compared fields that are null in some row."""

    def fingerprints(self, solid: Sequence[str], sparse: Sequence[str]) -> pl.DataFrame:
        """Return `fingerprint` (one hash of a row's solid fields), and a comparable column for each sparse field."""

    def text_at(self, rows: pl.Series) -> pl.Series:
        """Return the numbers as they stand."""

    def numbers_at(self, rows: pl.Series) -> pl.DataFrame:
        """Return the number columns."""

    def values_at(self, rows: pl.Series) -> pl.DataFrame:
        """Return the compared fields (see `comparison.values`)."""

    def papers(self) -> pl.DataFrame:
        """Return the numbers of paper 数电票 (see `identity.paper_numbers`)."""


@dataclass(frozen=True)
class FrameSide:
    """A side held in memory."""

    numbers: pl.DataFrame
    values: pl.DataFrame
    text: pl.Series
    whole: pl.Series

    @classmethod
    def of(cls, frame: pl.DataFrame, fields: tuple[str, ...]) -> FrameSide:
        """Take what the passes need from a frame."""
        numbers = number_columns(frame)
        text = as_it_stands(numbers)
        return cls(
            numbers=numbers, values=comparison.values(frame, fields), text=text, whole=tidy_integers(numbers, text)
        )

    @property
    def gaps(self) -> frozenset[str]:
        """The compared fields that are null in some row."""
        return frozenset(name for name in self.values.columns if self.values[name].null_count())

    def fingerprints(self, solid: Sequence[str], sparse: Sequence[str]) -> pl.DataFrame:
        """Return one hash of the solid fields of each row, and the sparse fields as they are."""
        fingerprints = row_hashes(self.values.select(solid), len(self.whole))
        return self.values.select(fingerprints, *sparse)

    def text_at(self, rows: pl.Series) -> pl.Series:
        """Return the numbers as they stand."""
        return self.text.gather(rows)

    def numbers_at(self, rows: pl.Series) -> pl.DataFrame:
        """Return the number columns."""
        return self.numbers[rows]

    def values_at(self, rows: pl.Series) -> pl.DataFrame:
        """Return the compared fields."""
        return self.values[rows]

    def papers(self) -> pl.DataFrame:
        """Return the numbers of paper 数电票."""
        return identity.paper_numbers(self.numbers)


def row_hashes(fields: pl.DataFrame, height: int) -> pl.Series:
    """Return `fingerprint`: one hash of all fields of each row. It means something within this process only."""
    hashes = fields.hash_rows() if fields.width else pl.repeat(0, height, dtype=pl.UInt64, eager=True)
    return hashes.alias("fingerprint")


def side_by_side(work: Callable[[One], Done], ledger: One, platform: One) -> tuple[Done, Done]:
    """Do the same for both sides at once; polars holds no lock of Python's while it works."""
    with ThreadPoolExecutor(max_workers=1) as other:
        theirs = other.submit(work, platform)
        return work(ledger), theirs.result()
