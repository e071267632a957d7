"""Line items: several rows make one invoice, whose own cells may stand on the first line only.

An old invoice with a list has one line more, `(详见销货清单)`, that repeats the total of the others: it is the invoice.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl

from audit_kit import resources
from audit_kit.loaders.formats.grid import AT
from audit_kit.loaders.reading import LIST, MONEY_COLUMNS, NUMBER_COLUMNS
from audit_kit.loaders.tables.cells import half_width
from audit_kit.loaders.tables.headers import fold

if TYPE_CHECKING:
    from audit_kit.loaders.tables.headers import Placement

LINES = "明细行数"
DISAGREE = {
    "source_row": pl.UInt32(),
    "column": pl.String(),
    "stated": pl.Decimal(18, 2),
    "computed": pl.Decimal(18, 2),
}
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


def gathered(kept: pl.DataFrame, placement: Placement) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return one row an invoice, and where the lines of a list do not make up what its own line states.

    The first: sums of the lines, or the amounts of the line for the list, everything else from the first line, and the
    count of lines. The second: `source_row` (of the invoice), `column`, `stated`, `computed`. Lines are of one invoice
    where number, time and parties are the same. A line without any number stays by itself.
    """
    nothing = pl.DataFrame(schema=DISAGREE)
    numbers = [name for name in NUMBER_COLUMNS if name in placement.ours]
    if not numbers or kept.is_empty():
        return kept, nothing
    keys = [*numbers, *(name for name in SAME if name in placement.ours)]
    nameless = pl.all_horizontal(pl.col(name).is_null() for name in numbers)
    alone = pl.when(nameless).then("source_row").alias("alone")
    lists = _lists(kept, placement)
    amounts = [pl.col(name).sum().alias(name) for name in MONEY_COLUMNS]
    if lists.any():
        amounts = [expr for name in MONEY_COLUMNS for expr in _with_list(name)]
    rest = [pl.col(name).first() for name in kept.columns if name not in (*keys, *MONEY_COLUMNS)]
    marked = kept.with_columns(lists.alias(LIST))
    table = marked.group_by(*keys, alone, maintain_order=True).agg(
        *amounts, *rest, pl.len().cast(pl.String).alias(LINES)
    )
    sign = (pl.col("gross") >= 0).alias("positive")
    table = table.with_columns(sign if "positive" not in placement.ours else pl.col("positive"))
    return table.select(*kept.columns, LINES), _disagreeing(table) if lists.any() else nothing


def _lists(kept: pl.DataFrame, placement: Placement) -> pl.Series:
    """Return which lines stand for the list of an invoice's lines."""
    spec = resources.load("headers")["lines"]
    items = {fold(name) for name in spec["items"]}
    found = pl.repeat(value=False, n=kept.height, dtype=pl.Boolean, eager=True)
    for name in placement.unplaced.values():
        if fold(name) in items and name in kept.columns and kept.schema[name] == pl.String:
            likely = kept[name].str.contains("清", literal=True).fill_null(value=False)
            if likely.any():
                text = half_width(pl.col(name))
                found |= likely & kept.select(text.str.contains(spec["list"])).to_series().fill_null(value=False)
    return found


def _with_list(name: str) -> tuple[pl.Expr, pl.Expr, pl.Expr]:
    """Return an amount of an invoice that may have a line for its list, what that states, and what its lines sum to."""
    stated = pl.col(name).filter(pl.col(LIST)).drop_nulls()
    stated = pl.when(stated.len() > 0).then(stated.sum())
    lines = pl.col(name).filter(~pl.col(LIST)).drop_nulls()
    summed = lines.sum()
    return (
        pl.coalesce(stated, summed).alias(name),
        stated.alias(LIST + name),
        pl.when(lines.len() > 0).then(summed).alias(LINES + name),
    )


def _disagreeing(table: pl.DataFrame) -> pl.DataFrame:
    """Return the invoices whose lines do not sum to the line for their list, a row for each column."""
    found = [
        table.filter(pl.col(LIST + name) != pl.col(LINES + name)).select(
            "source_row", column=pl.lit(LIST + name), stated=LIST + name, computed=LINES + name
        )
        for name in MONEY_COLUMNS
    ]
    return pl.concat([pl.DataFrame(schema=DISAGREE), *found], how="vertical_relaxed").sort(
        "source_row", maintain_order=True
    )


def count(kept: pl.DataFrame) -> int:
    """Return how many lines stand in rows that were gathered, or were not for want of numbers."""
    return int(kept[LINES].cast(pl.UInt32).sum()) if kept.columns[-1] == LINES else kept.height
