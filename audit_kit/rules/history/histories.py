"""Findings from report to report: new, recurring, closed, reopened, and since when.

An entry is what one month's report saw of one item: `found`, or `clean` where it was looked at again and nothing is
found of it. What was not looked at has no entry and stays as it was. Everything else follows from the entries by their
months, so that a month reported again, or late, leaves no trace of its earlier self.
"""

from __future__ import annotations

import polars as pl

ENTRY = {
    "month": pl.String(),
    "taken_at": pl.Datetime("us"),
    "item": pl.String(),
    "seen": pl.String(),
    "finding_id": pl.String(),
    "area": pl.String(),
    "cause": pl.String(),
    "severity": pl.String(),
    "state": pl.String(),
    "invoice_key": pl.String(),
    "amount": pl.Decimal(18, 2),
    "probability_late": pl.Float64(),
    "own": pl.Boolean(),
    "cluster": pl.UInt32(),
}
FOUND, CLEAN = "found", "clean"
CHANGES = ("new", "reopened", "recurring", "closed")
OPEN_CHANGES = CHANGES[:3]


def fates(entries: pl.DataFrame) -> pl.DataFrame:
    """Return one row for each month and item that a report saw: what changed, and since when it is open.

    Args:
        entries: see `ENTRY`; of these `month`, `item`, `seen` and `taken_at` are read. An item that a month has both
            found and clean is found.

    Returns:
        `month`, `item`, `change` (see `CHANGES`; null where a clean one was clean before), `first_month` (of its first
        report), `opened_month` and `opened_at` (the report since which it is open without a closing between).
    """
    once = (
        entries.group_by("month", "item")
        .agg(pl.col("taken_at").max(), found=(pl.col("seen") == FOUND).any())
        .sort("item", "month")
    )
    before = pl.col("found").shift().over("item")
    found = pl.col("found")
    once = once.with_columns(
        change=pl.when(found & before.is_null())
        .then(pl.lit("new"))
        .when(found & before)
        .then(pl.lit("recurring"))
        .when(found)
        .then(pl.lit("reopened"))
        .when(before)
        .then(pl.lit("closed")),
        first_month=pl.col("month").first().over("item"),
    )
    opens = pl.col("change").is_in(["new", "reopened"])
    return once.with_columns(spell=opens.cum_sum().over("item")).select(
        "month",
        "item",
        "change",
        "first_month",
        opened_month=pl.col("month").first().over("item", "spell"),
        opened_at=pl.col("taken_at").first().over("item", "spell"),
    )


def standing(entries: pl.DataFrame) -> pl.DataFrame:
    """Return every item as the last of these entries leaves it: `item`, `is_open`, and the columns of `fates`.

    The `month` is that of its last entry.
    """
    last = fates(entries).sort("month").group_by("item", maintain_order=True).last()
    seen = entries.group_by("month", "item").agg(is_open=(pl.col("seen") == FOUND).any())
    return last.join(seen, on=["month", "item"], how="left").sort("item")


def open_rows(entries: pl.DataFrame, stands: pl.DataFrame) -> pl.DataFrame:
    """Return the findings that are still open, as they were last found, with `first_month` and `opened_month`."""
    still = stands.filter("is_open").select("item", "month", "first_month", "opened_month", "opened_at")
    return entries.filter(pl.col("seen") == FOUND).join(still, on=["item", "month"], how="inner", maintain_order="left")


def age_months(since: pl.Expr, month: str) -> pl.Expr:
    """Return how many months lie between a month, as `2025-05`, and another; 0 = the same."""
    year, number = (int(part) for part in month.split("-"))
    return year * 12 + number - since.str.slice(0, 4).cast(pl.Int32) * 12 - since.str.slice(5, 2).cast(pl.Int32)


def monthly(entries: pl.DataFrame, told: pl.DataFrame) -> pl.DataFrame:
    """Return for each month and change how many findings it has: `month`, `change`, `rows`, `yuan`.

    `told` is from `fates`. What is closed counts with the findings that the item had when it was last found: those
    are the rows that a month writes of it as clean.
    """
    rows = entries.join(told.drop_nulls("change"), on=["month", "item"], how="inner")
    found = pl.col("seen") == FOUND
    rows = rows.filter(found == (pl.col("change") != "closed"))
    return rows.group_by("month", "change").agg(rows=pl.len(), yuan=pl.col("amount").sum()).sort("month", "change")


def causes(entries: pl.DataFrame) -> pl.DataFrame:
    """Return for each month and cause what was found: all of it, and what is of the month's own invoices.

    Returns:
        `month`, `area`, `cause`, `rows`, `yuan`, `own_rows`, `own_yuan`, `own_square` (the sum of the squared sizes of
        the clusters that the own rows form: rows of one event are one cluster, any other row is one by itself).
    """
    own = pl.col("own")
    found = entries.filter(pl.col("seen") == FOUND)
    keys = ["month", "area", "cause"]
    totals = found.group_by(keys).agg(
        rows=pl.len(),
        yuan=pl.col("amount").sum(),
        own_rows=own.sum(),
        own_yuan=pl.col("amount").filter(own).sum(),
        alone=(own & pl.col("cluster").is_null()).sum(),
    )
    sizes = found.filter(own & pl.col("cluster").is_not_null()).group_by(*keys, "cluster").agg(size=pl.len())
    squares = sizes.group_by(keys).agg(square=(pl.col("size").cast(pl.Int64) ** 2).sum())
    joined = totals.join(squares, on=keys, how="left")
    return joined.select(
        *keys, "rows", "yuan", "own_rows", "own_yuan", own_square=pl.col("alone") + pl.col("square").fill_null(0)
    ).sort(keys)
