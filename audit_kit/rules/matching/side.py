"""One side of a reconciliation, as the passes see it: whole columns where they are small, single rows where not."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import polars as pl

from audit_kit.core import identity
from audit_kit.rules.matching import comparison, first_pass

if TYPE_CHECKING:
    from collections.abc import Sequence


class Side(Protocol):
    """A ledger or a platform's export, wherever its rows are kept. Rows are asked for by position (UInt32)."""

    @property
    def whole(self) -> pl.Series:
        """The tidy numbers of all rows as exact integers (see `bulk`), null where a number needs a closer look."""

    @property
    def gaps(self) -> frozenset[str]:
        """The compared fields that are null in some row."""

    def prints(self, solid: Sequence[str], sparse: Sequence[str]) -> pl.DataFrame:
        """Return `print`, one hash of the solid fields of each row, and a comparable column for each sparse field."""

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
        text = first_pass.as_it_stands(numbers)
        return cls(
            numbers=numbers, values=comparison.values(frame, fields), text=text, whole=tidy_numbers(numbers, text)
        )

    @property
    def gaps(self) -> frozenset[str]:
        """The compared fields that are null in some row."""
        return frozenset(name for name in self.values.columns if self.values[name].null_count())

    def prints(self, solid: Sequence[str], sparse: Sequence[str]) -> pl.DataFrame:
        """Return one hash of the solid fields of each row, and the sparse fields as they are."""
        prints = row_hashes(self.values.select(solid), len(self.whole))
        return self.values.select(prints, *sparse)

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


def number_columns(frame: pl.DataFrame) -> pl.DataFrame:
    """Return the columns that an invoice's number is read from."""
    return frame.select(name for name in (*identity.NUMBER_COLUMNS, "cleaning") if name in frame.columns)


def tidy_numbers(numbers: pl.DataFrame, text: pl.Series) -> pl.Series:
    """Return the tidy numbers as integers; a number that a reader has already cleaned is none."""
    whole = first_pass.as_integer(text)
    if "cleaning" not in numbers.columns:
        return whole
    touched = (numbers["cleaning"].list.len() > 0).fill_null(value=False)
    return whole.zip_with(~touched, pl.Series([None], dtype=pl.UInt64)) if touched.any() else whole


def row_hashes(fields: pl.DataFrame, height: int) -> pl.Series:
    """Return `print`: one hash of all fields of each row. It means something within this process only."""
    hashes = fields.hash_rows() if fields.width else pl.repeat(0, height, dtype=pl.UInt64, eager=True)
    return hashes.alias("print")
