"""One sheet or file as it stands: cells and the rows they stand in, before anything is known of their meaning."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import polars as pl

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

MAX_COLUMNS = 2_000
ROW = "physical row"

Numbers = dict[int, pl.Series]


@dataclass(frozen=True, kw_only=True)
class Grid:
    """The cells of one sheet, or of a file without sheets.

    `cells`: columns `0`, `1`, … as text (columns of typed files keep their type). `rows`: the physical row of each,
    from 1. `heads`: the column names where the file itself declares them (parquet, json, databases), else null: they
    stand in some row. `numbers(candidates)`: of the cells marked in those columns, the ones the file stores as numbers;
    null where a file has no such cells. `serials_from_1904`: the workbook counts days from 1904. Of delimited text also
    `fields`: how many each line has; `overflow`: lines with something beyond the last column; `broken`: lines with
    characters that could not be decoded; `unclosed`: the positions of lines whose quotes do not close.
    """

    sheet: str | None
    cells: pl.DataFrame
    rows: pl.Series
    heads: tuple[str, ...] | None = None
    encoding: str | None = None
    numbers: Callable[[Mapping[int, pl.Series]], Numbers] | None = None
    serials_from_1904: bool = False
    fields: pl.Series | None = None
    overflow: pl.Series | None = None
    broken: pl.Series | None = None
    unclosed: pl.Series | None = None


def numbered(height: int, *, first: int = 1) -> pl.Series:
    """Return the physical rows of cells that follow each other without a gap."""
    return pl.int_range(first, first + height, dtype=pl.UInt32, eager=True).alias(ROW)
