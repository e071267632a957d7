"""From columns to canonical tables."""

from __future__ import annotations

from typing import Any

import polars as pl

from audit_kit.core import schema


def shaped(frame: pl.DataFrame, table: str, *, source: str, first_row: int = 2) -> pl.DataFrame:
    """Return rows with the canonical columns and types of a table, read from `source` from its row `first_row` on."""
    frame = frame.with_columns(
        source_file=pl.lit(source), source_row=pl.int_range(pl.len(), dtype=pl.UInt32) + first_row
    )
    types = schema.dtypes(table)
    missing = [pl.lit(None, dtype=dtype).alias(name) for name, dtype in types.items() if name not in frame.columns]
    return frame.with_columns(missing).select(pl.col(name).cast(dtype) for name, dtype in types.items())


def listed(table: str, columns: dict[str, Any], *, source: str | None = None) -> pl.DataFrame:
    """Return columns of values as a canonical table; `source` is by default the table's own csv file."""
    types = schema.dtypes(table)
    frame = pl.DataFrame(columns, schema={name: types[name] for name in columns}, strict=False)
    return shaped(frame, table, source=source or f"{table}.csv")


def transposed(rows: list[tuple[Any, ...]], names: tuple[str, ...]) -> dict[str, Any]:
    """Return rows of values as columns by name."""
    return {name: [row[at] for row in rows] for at, name in enumerate(names)}
