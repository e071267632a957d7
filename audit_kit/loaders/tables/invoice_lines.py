"""Line items: several rows make one invoice, whose own cells may stand on the first line only."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import polars as pl

from audit_kit.loaders.tables.body import AT, MONEY_COLUMNS, NUMBER_COLUMNS
from audit_kit.loaders.tables.canonical import Records

if TYPE_CHECKING:
    from audit_kit.loaders.tables.body import Body
    from audit_kit.loaders.tables.headers import Placement

LINES = "明细行数"
SAME = ("issued_at", "seller_tax_id", "seller_name", "buyer_tax_id", "buyer_name")


def filled(body: Body, placement: Placement) -> Body:
    """Carry the cells of an invoice down to its further lines, which leave them empty."""
    numbers = [str(placement.ours[name]) for name in NUMBER_COLUMNS if name in placement.ours]
    carried = [str(at) for name, at in placement.ours.items() if name not in MONEY_COLUMNS]
    if not numbers or body.data.is_empty():
        return body
    data = body.data.with_columns(
        pl.when(pl.col(name).cast(pl.String).str.strip_chars() != "").then(name).alias(name) for name in carried
    )
    own = pl.any_horizontal(pl.col(name).is_not_null() for name in numbers)
    if data.select(own.all()).item():
        return body
    data = data.with_columns(own.cum_sum().alias("invoice"))
    heads = data.filter(own).select("invoice", *carried)
    joined = data.join(heads, on="invoice", how="left", maintain_order="left", suffix=" of head")
    further = pl.any_horizontal(pl.col(name).is_not_null() for name in numbers).not_()
    data = joined.with_columns(
        pl.when(further).then(pl.coalesce(name, f"{name} of head")).otherwise(name).alias(name) for name in carried
    ).select(body.data.columns)
    return replace(body, data=data.sort(AT))


def gathered(records: Records, placement: Placement) -> Records:
    """Return one row an invoice: sums of its lines, everything else from its first line, and the count of lines.

    Lines are of one invoice where number, time and parties are the same. A line without any number stays by itself.
    """
    kept = records.kept
    numbers = [name for name in NUMBER_COLUMNS if name in placement.ours]
    if not numbers or kept.is_empty():
        return records
    keys = [*numbers, *(name for name in SAME if name in placement.ours)]
    nameless = pl.all_horizontal(pl.col(name).is_null() for name in numbers)
    alone = pl.when(nameless).then("source_row").alias("alone")
    sums = [pl.col(name).sum().alias(name) for name in MONEY_COLUMNS]
    rest = [pl.col(name).first() for name in kept.columns if name not in (*keys, *MONEY_COLUMNS)]
    table = kept.group_by(*keys, alone, maintain_order=True).agg(*sums, *rest, pl.len().cast(pl.String).alias(LINES))
    sign = (pl.col("gross") >= 0).alias("positive")
    table = table.with_columns(sign if "positive" not in placement.ours else pl.col("positive"))
    return Records(kept=table.select(*kept.columns, LINES), aside=records.aside)
