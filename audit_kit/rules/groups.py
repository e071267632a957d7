"""Several ledger lines for one invoice, and one line for several invoices, recognised by their sums.

Books split and merge: an invoice is posted by net and tax, or over several vouchers; one line covers a day's
invoices to a customer. Matching goes row by row and calls such rows conflicts, duplicates or missing. This shows where
sums explain them; it changes no outcome, and where several sums fit, all of them are shown.
"""

from __future__ import annotations

import polars as pl

from audit_kit.core.policy import MatchingPolicy
from audit_kit.rules.matching import comparison

LONGEST_RUN = 20
"""Rows that one sum may run over; longer runs fit by chance."""

GROUPS: dict[str, pl.DataType] = {
    "kind": pl.Enum(["many_to_one", "one_to_many"]),
    "evidence": pl.Enum(["same_number", "same_day_and_party"]),
    "ledger_rows": pl.List(pl.UInt32()),
    "platform_rows": pl.List(pl.UInt32()),
    "gross": pl.Decimal(18, 2),
    "alternatives": pl.UInt32(),
}
_DEFAULT = MatchingPolicy()
_PARTIES = ("seller_tax_id", "buyer_tax_id")


def groups(
    ledger: pl.DataFrame, platform: pl.DataFrame, matches: pl.DataFrame, *, policy: MatchingPolicy = _DEFAULT
) -> pl.DataFrame:
    """Return the groups of rows whose amounts add up (`GROUPS`), strongest evidence first.

    `same_number`: ledger rows that carry one invoice's number and together its amount. `same_day_and_party`: rows next
    to each other, of one day and the same seller and buyer, that are missing or unbooked and together the amount of a
    row on the other side. `gross` is the common sum in yuan; `alternatives` says how many sums fit the same single row.
    """
    tolerance = comparison.tolerance_units(policy.amount_tolerance_yuan)
    left, right = _side(ledger), _side(platform)
    numbered = _same_number(left, right, matches, tolerance)
    used = numbered.select(pl.col("ledger_rows").explode(empty_as_null=False).alias("row"))
    lines = left.join(_rows(matches, "ledger_row", ("missing", "conflict")), on="row", how="semi")
    lines = lines.join(used, on="row", how="anti")
    invoices = right.join(_rows(matches, "platform_row", ("unbooked",)), on="row", how="semi")
    only_missing = lines.join(_rows(matches, "ledger_row", ("missing",)), on="row", how="semi")
    merged = _runs(invoices, lines, "one_to_many")
    split = _runs(only_missing, invoices, "many_to_one")
    return pl.concat([numbered, split, merged]).cast(pl.Schema(GROUPS))


def _side(frame: pl.DataFrame) -> pl.DataFrame:
    """Return `row`, `block` (day, seller and buyer as far as known), `units` (gross)."""
    parties = tuple(name for name in _PARTIES if name in frame.columns)
    values = comparison.folded(comparison.values(frame, ("issued_at", *parties, "gross")))
    known = [pl.col(name) if name in parties else pl.lit(None, pl.String).alias(name) for name in _PARTIES]
    return values.select(
        pl.int_range(pl.len(), dtype=pl.UInt32).alias("row"), "issued_at", *known, units="gross"
    ).drop_nulls(["issued_at", "units"])


def _rows(matches: pl.DataFrame, name: str, outcomes: tuple[str, ...]) -> pl.DataFrame:
    chosen = matches.filter(pl.col("outcome").cast(pl.String).is_in(list(outcomes)))
    return chosen.select(row=name).drop_nulls()


def _same_number(left: pl.DataFrame, right: pl.DataFrame, matches: pl.DataFrame, tolerance: int) -> pl.DataFrame:
    """Return the ledger rows of one invoice that are no amount by themselves, and its amount together."""
    lines = matches.filter(pl.col("outcome").cast(pl.String).is_in(["conflict", "duplicate"]))
    lines = lines.select(row="ledger_row", platform_row="platform_row").drop_nulls().join(left, on="row")
    sums = lines.sort("row").group_by("platform_row", maintain_order=True).agg("row", pl.col("units").sum())
    sums = sums.join(right.select(platform_row="row", whole="units"), on="platform_row")
    fits = (pl.col("row").list.len() > 1) & ((pl.col("units") - pl.col("whole")).abs() <= tolerance)
    return sums.filter(fits).select(
        kind=pl.lit("many_to_one"),
        evidence=pl.lit("same_number"),
        ledger_rows="row",
        platform_rows=pl.concat_list("platform_row"),
        gross=_yuan("whole"),
        alternatives=pl.lit(1, pl.UInt32),
    )


def _runs(items: pl.DataFrame, singles: pl.DataFrame, kind: str) -> pl.DataFrame:
    """Return the single rows that a run of two or more items of their day and parties adds up to.

    A party that one side never states is left out; a row that does not state its party belongs to no run.
    A run is found by its running sums: the sum up to its end, less the single amount, is the sum before its start.
    """
    known = [name for name in _PARTIES if items[name].count() and singles[name].count()]
    block = ["issued_at", *known]
    items = items.sort(*block, "row").with_columns(
        place=pl.int_range(pl.len()), upto=pl.col("units").cum_sum().over(block)
    )
    ends = items.select(*block, "upto", end="place")
    starts = items.select(*block, (pl.col("upto") - pl.col("units")).alias("before"), start="place")
    wanted = singles.select(*block, single="row", units="units").join(ends, on=block)
    wanted = wanted.with_columns(before=pl.col("upto") - pl.col("units"))
    runs = wanted.join(starts, on=[*block, "before"])
    length = pl.col("end") - pl.col("start") + 1
    runs = runs.filter(length.is_between(2, LONGEST_RUN)).sort("single", "start", "end")
    rows = pl.int_ranges("start", pl.col("end") + 1)
    alternatives = pl.len().over("single").cast(pl.UInt32)
    runs = runs.with_columns(alternatives=alternatives, place=rows, run=pl.int_range(pl.len()))
    parts = runs.select("run", "place").explode("place", empty_as_null=False)
    listed = (
        parts.join(items.select("place", "row"), on="place")
        .sort("run", "place")
        .group_by("run", maintain_order=True)
        .agg("row")
    )
    several, single = pl.col("row"), pl.concat_list("single")
    return runs.join(listed, on="run", how="left", maintain_order="left").select(
        pl.lit(kind).alias("kind"),
        pl.lit("same_day_and_party").alias("evidence"),
        (several if kind == "many_to_one" else single).alias("ledger_rows"),
        (single if kind == "many_to_one" else several).alias("platform_rows"),
        _yuan("units").alias("gross"),
        "alternatives",
    )


def _yuan(units: str) -> pl.Expr:
    """Return money units as yuan."""
    return (pl.col(units).cast(pl.Decimal(38, 4)) / comparison.UNITS_PER_YUAN).cast(pl.Decimal(18, 2))
