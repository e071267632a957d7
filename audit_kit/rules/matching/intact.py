"""Numbers that were taken for damaged, and of which nothing was lost: the other side has that very number.

A number cell rounds 20 digits to a multiple of some thousands, or to a hundred thousand. An honest number may be such a
multiple by chance. Where number, day and amount agree with one open row of the other side, and no row near it may have
become the same in a cell, the number is whole.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import polars as pl

from audit_kit.core.identity import DIGITAL, DOUBTED
from audit_kit.rules.matching.near_numbers import LOST_BELOW
from audit_kit.rules.matching.numbers import as_integer

if TYPE_CHECKING:
    from audit_kit.rules.matching.case import Case

LOST = "precision_lost"
HALF_SPACING = 2_048
"""A binary float of 20 digits is at most so far from the number that it was made of."""

_TRUSTED = 15
_DAY_AND_AMOUNT = ["issued_at", "gross"]


def find(case: Case) -> pl.DataFrame | None:
    """Return `key`, `ledger_row`, `platform_row`, and of which side that key is news (`ours`, `theirs`).

    Parties are not compared. None where there are no such rows.
    """
    if not (_damaged(case.left).any() or _damaged(case.right).any()):
        return None
    left = case.left.with_columns(case.ledger.values_at(case.left["row"]).select(_DAY_AND_AMOUNT))
    right = case.right.with_columns(case.platform.values_at(case.right["row"]).select(_DAY_AND_AMOUNT))
    yes, no = pl.lit(value=True), pl.lit(value=False)
    mine = _whole(left, right).select("key", ledger_row="row", platform_row="row_right", ours=yes, theirs=no)
    other = _whole(right, left).select("key", ledger_row="row_right", platform_row="row", ours=no, theirs=yes)
    both = _doubted_on_both(left, right).select("key", "ledger_row", "platform_row", ours=yes, theirs=yes)
    pairs = pl.concat([mine, other, both])
    return None if pairs.is_empty() else pairs


def named(case: Case, pairs: pl.DataFrame) -> Case:
    """Give the rows of these pairs whose number was taken for damaged that number as their key."""
    mine, other = pairs.filter("ours"), pairs.filter("theirs")
    left, right = mine.select("key", row="ledger_row"), other.select("key", row="platform_row")
    cleaned = case.cleaned and (_keyed(case.cleaned[0], left), _keyed(case.cleaned[1], right))
    return replace(case, left=_keyed(case.left, left), right=_keyed(case.right, right), cleaned=cleaned)


def _damaged(rows: pl.DataFrame) -> pl.Series:
    return (rows["stated"].str.len_bytes() >= DIGITAL).fill_null(value=False)


def _doubted_on_both(left: pl.DataFrame, right: pl.DataFrame) -> pl.DataFrame:
    """Return `ledger_row`, `platform_row`, `key`: numbers that were doubted on both sides alike.

    Each stood among others that no cell has seen; files that were damaged apart hardly come to the same number.
    """
    on = ["stated", *_DAY_AND_AMOUNT]
    sides = []
    for rows, name in ((left, "ledger_row"), (right, "platform_row")):
        doubted = rows.filter(_damaged(rows) & rows["stated"].str.ends_with(DOUBTED) & rows["key"].is_null())
        sides.append(doubted.filter(pl.len().over(on) == 1).select(*on, pl.col("row").alias(name)))
    pairs = sides[0].join(sides[1], on=on)
    return pairs.with_columns(key=pl.col("stated").str.strip_suffix(DOUBTED))


def _whole(rows: pl.DataFrame, others: pl.DataFrame) -> pl.DataFrame:
    """Return `row`, `row_right`, `key`: pairs of a damaged number and the same number, each the only choice."""
    rows = rows.filter(_damaged(rows) & rows["key"].is_null())
    others = others.filter(pl.col("key").is_not_null())
    if rows.is_empty() or others.is_empty():
        return pl.DataFrame(schema={"row": pl.UInt32, "row_right": pl.UInt32, "key": pl.String})
    rows = rows.with_columns(pl.col("stated").str.strip_suffix(DOUBTED))
    rows = rows.with_columns(readings=_readings(rows["stated"])).explode("readings")
    there = others.sort("row").unique(["key", *_DAY_AND_AMOUNT], keep="first", maintain_order=True)
    there = there.with_columns(as_integer(there["key"]).alias("whole")).sort(*_DAY_AND_AMOUNT, "whole", "row")
    gaps = [pl.col("whole").shift(-1) - pl.col("whole"), pl.col("whole") - pl.col("whole").shift(1)]
    there = there.with_columns(gap=pl.min_horizontal(gap.over(_DAY_AND_AMOUNT) for gap in gaps))
    pairs = rows.select("row", "stated", *_DAY_AND_AMOUNT, key="readings").join(
        there.select("key", *_DAY_AND_AMOUNT, "gap", row_right="row"), on=["key", *_DAY_AND_AMOUNT]
    )
    cut = pl.col("stated").str.slice(_TRUSTED) == "0" * (DIGITAL - _TRUSTED)
    reach = pl.when(cut).then(LOST_BELOW).otherwise(HALF_SPACING)
    clear = (pl.col("gap") > reach).fill_null(value=True)
    once = [pl.len().over(name) == 1 for name in ("row", "row_right")]
    return pairs.filter(pl.all_horizontal(once)).filter(clear).select("row", "row_right", "key")


def _readings(stated: pl.Series) -> pl.Series:
    """Return the numbers that these may be if nothing was lost: as they stand, or the float nearest to 15 digits."""
    return pl.Series([sorted({text, f"{int(float(text)):020d}"}) for text in stated], dtype=pl.List(pl.String))


def _keyed(rows: pl.DataFrame, known: pl.DataFrame) -> pl.DataFrame:
    """Return the rows, those known to be whole with their key."""
    if known.is_empty():
        return rows
    key = rows.select("row").join(known, on="row", how="left", maintain_order="left")["key"]
    whole = key.is_not_null()
    without = pl.col("cleaning").list.set_difference([LOST])
    return rows.with_columns(
        own=pl.coalesce(key, "own"),
        key=pl.coalesce(key, "key"),
        cleaning=pl.when(whole).then(without).otherwise("cleaning"),
        stated=pl.when(~whole).then("stated"),
    )
