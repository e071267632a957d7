"""One sheet or file as it stands: cells and the rows they stand in, before anything is known of their meaning."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import polars as pl

from audit_kit.core.errors import SourceError
from audit_kit.resources.languages import Phrase

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

MAX_COLUMNS = 2_000
FREE_PLACES = 20_000_000  # that any file may fill
PLACES_PER_BYTE = 4  # that it may fill beyond these
LEAST_COLUMNS = 20  # that every row counts as: the tables made of it are at least so wide
ROW = "physical row"
AT = "position"  # of a row in the grid, from 0

Numbers = dict[int, pl.Series]


class Places:
    """The places, rows times columns, that a file may still fill: more the larger it is.

    Every format passes here before its table is made: a few bytes can span, repeat or pack any number of cells.
    """

    def __init__(self, path: Path, *, size: int | None = None) -> None:
        """Measure the file; `size` stands for its own where that is known."""
        self._name = path.name
        self._left = FREE_PLACES + PLACES_PER_BYTE * (path.stat().st_size if size is None else size)

    @property
    def rows(self) -> int:
        """The most rows that may still come."""
        return self._left // LEAST_COLUMNS

    def take(self, rows: int, columns: int, *, sheet: str | None = None) -> None:
        """Count a table of so many rows and columns.

        Raises:
            SourceError: it is far larger than a table in a file of this size.
        """
        self._left -= rows * max(columns, LEAST_COLUMNS)
        if columns > MAX_COLUMNS or self._left < 0:
            where = self._name if sheet is None else Phrase("error_formats.sheet", file=self._name, sheet=sheet)
            raise SourceError("error_formats.too_wide", where=where, columns=columns, rows=rows)


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


@dataclass(frozen=True, kw_only=True)
class File:
    """What a file or a database holds, and what is asked of it.

    `source` is what `source_file` says. `table` is null where the headers shall tell it. `headings`: the user's own
    synonyms, their header → our column. `zone` is that of times without an offset; null = Beijing. `personal_ids`:
    columns of persons are read too, see `tables.personal`.
    """

    grids: Sequence[Grid]
    name: str
    source: str
    table: str | None
    headings: Mapping[str, str]
    zone: str | None = None
    personal_ids: bool = False


def numbered(height: int, *, first: int = 1) -> pl.Series:
    """Return the physical rows of cells that follow each other without a gap."""
    return pl.int_range(first, first + height, dtype=pl.UInt32, eager=True).alias(ROW)
