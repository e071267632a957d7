"""Line items: several rows make one invoice, whose own cells may stand on the first line only."""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl

from audit_kit.loaders.formats.grid import AT
from audit_kit.loaders.reading import MONEY_COLUMNS, NUMBER_COLUMNS

if TYPE_CHECKING:
    from audit_kit.loaders.tables.headers import Placement

LINES = "明细行数"
SAME = ("issued_at", "seller_tax_id", "seller_name", "buyer_tax_id", "buyer_name")


def filled(rows: pl.DataFrame, placement: Placement) -> pl.DataFrame:
    """Carry the cells of an invoice down to its further lines, which leave them empty; rows are as in `Body.data`."""
    numbers = [str(placement.ours[name]) for name in NUMBER_COLUMNS if name in placement.ours]
    carried = [str(at) for name, at in placement.ours.items() if name not in MONEY_COLUMNS]
    if not numbers or rows.is_empty():
        return rows
    data = rows.with_columns(
        pl.when(pl.col(name).cast(pl.String).str.strip_chars() != "").then(name).alias(name) for name in carried
    )
    own = pl.any_horizontal(pl.col(name).is_not_null() for name in numbers)
    if data.select(own.all()).item():
        return rows
    data = data.with_columns(own.cum_sum().alias("invoice"))
    heads = data.filter(own).select("invoice", *carried)
    joined = data.join(heads, on="invoice", how="left", maintain_order="left", suffix=" of head")
    further = pl.any_horizontal(pl.col(name).is_not_null() for name in numbers).not_()
    data = joined.with_columns(
        pl.when(further).then(pl.coalesce(name, f"{name} of head")).otherwise(name).alias(name) for name in carried
    ).select(rows.columns)
    return data.sort(AT)


def gathered(kept: pl.DataFrame, placement: Placement) -> pl.DataFrame:
    """Return one row an invoice: sums of its lines, everything else from its first line, and the count of lines.

    Lines are of one invoice where number, time and parties are the same. A line without any number stays by itself.
    """
    numbers = [name for name in NUMBER_COLUMNS if name in placement.ours]
    if not numbers or kept.is_empty():
        return kept
    keys = [*numbers, *(name for name in SAME if name in placement.ours)]
    nameless = pl.all_horizontal(pl.col(name).is_null() for name in numbers)
    alone = pl.when(nameless).then("source_row").alias("alone")
    sums = [pl.col(name).sum().alias(name) for name in MONEY_COLUMNS]
    rest = [pl.col(name).first() for name in kept.columns if name not in (*keys, *MONEY_COLUMNS)]
    table = kept.group_by(*keys, alone, maintain_order=True).agg(*sums, *rest, pl.len().cast(pl.String).alias(LINES))
    sign = (pl.col("gross") >= 0).alias("positive")
    table = table.with_columns(sign if "positive" not in placement.ours else pl.col("positive"))
    return table.select(*kept.columns, LINES)


def count(kept: pl.DataFrame) -> int:
    """Return how many lines stand in rows that were gathered, or were not for want of numbers."""
    return int(kept[LINES].cast(pl.UInt32).sum()) if kept.columns[-1] == LINES else kept.height
