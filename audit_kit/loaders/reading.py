"""What a reader returns: the rows, the rows set aside with their reasons, and the control totals."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import polars as pl

from audit_kit.core import schema

if TYPE_CHECKING:
    from collections.abc import Sequence

SET_ASIDE = {"source_file": pl.String(), "source_row": pl.UInt32(), "reason": pl.String(), "value": pl.String()}
CONTROL = {
    "source_file": pl.String(),
    "sheet": pl.String(),
    "column": pl.String(),
    "stated": pl.Decimal(18, 2),
    "computed": pl.Decimal(18, 2),
    "agrees": pl.Boolean(),
}
FILES = {
    "source_file": pl.String(),
    "table": pl.String(),
    "sheet": pl.String(),
    "encoding": pl.String(),
    "sha256": pl.String(),
    "size": pl.UInt64(),
    "rows_in": pl.UInt32(),
    "rows_kept": pl.UInt32(),
    "rows_set_aside": pl.UInt32(),
    "net": pl.Decimal(18, 2),
    "tax": pl.Decimal(18, 2),
    "gross": pl.Decimal(18, 2),
    "columns": pl.List(pl.Struct({"theirs": pl.String(), "ours": pl.String()})),
    "unplaced": pl.List(pl.String()),
}


@dataclass(frozen=True)
class Reading:
    """One source as it was read: rows in = rows kept + rows set aside, for every file.

    `rows`: the canonical columns of `table` (see schema), then columns of the source that have no place there.
    `set_aside`: `source_file`, `source_row`, `reason` (a sentence), `value` (what stood there).
    `control`: the file's own totals against ours, yuan. `files`: how each file or sheet was read.
    """

    table: str
    rows: pl.DataFrame
    set_aside: pl.DataFrame
    control: pl.DataFrame
    files: pl.DataFrame

    @classmethod
    def nothing(cls, table: str) -> Reading:
        """Return the reading of a source that is not there."""
        return cls(
            table=table,
            rows=schema.empty(table),
            set_aside=pl.DataFrame(schema=SET_ASIDE),
            control=pl.DataFrame(schema=CONTROL),
            files=pl.DataFrame(schema=FILES),
        )


def joined(table: str, readings: Sequence[Reading]) -> Reading:
    """Return several readings of one table as one, in order; columns without a place stand after the canonical ones."""
    if len(readings) == 1:
        return readings[0]
    parts = [Reading.nothing(table), *readings]

    def together(name: str) -> pl.DataFrame:
        frames: list[pl.DataFrame] = [getattr(part, name) for part in parts]
        return pl.concat(frames, how="diagonal_relaxed")

    return Reading(table, together("rows"), together("set_aside"), together("control"), together("files"))
