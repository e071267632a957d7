"""One sheet or file as it stands: cells and the rows they stand in, before anything is known of their meaning."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import polars as pl

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

MAX_COLUMNS = 2_000
ROW = "physical row"

Numbers = dict[int, pl.Series]


def _no_numbers(_: Sequence[int]) -> Numbers:
    return {}


@dataclass(frozen=True, kw_only=True)
class Grid:
    """The cells of one sheet, or of a file without sheets.

    `cells`: columns `0`, `1`, … as text (columns of typed files keep their type). `rows`: the physical row of each,
    from 1. `heads`: the column names where the file itself declares them (parquet, json, databases), else null: they
    stand in some row. `numbers(columns)`: which cells of those columns the file stores as numbers. `faults`: positions
    in `cells` and the reason why such a row cannot be used. `serials_from_1904`: the workbook counts days from 1904.
    """

    sheet: str | None
    cells: pl.DataFrame
    rows: pl.Series
    heads: tuple[str, ...] | None = None
    encoding: str | None = None
    numbers: Callable[[Sequence[int]], Numbers] = _no_numbers
    faults: dict[int, str] = field(default_factory=dict)
    serials_from_1904: bool = False


def numbered(height: int, *, first: int = 1) -> pl.Series:
    """Return the physical rows of cells that follow each other without a gap."""
    return pl.int_range(first, first + height, dtype=pl.UInt32, eager=True).alias(ROW)
