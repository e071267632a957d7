"""Numbers one typing error apart, and what is left of numbers that lost precision.

One error is one digit replaced or two neighbours swapped. Two numbers of one length that are one error apart become
equal when one digit is left out of each, so a join on the shortened numbers finds every such pair without comparing all
with all. It is a superset: the distance is measured afterwards.
"""

from __future__ import annotations

import numpy as np
import polars as pl
from rapidfuzz.distance import OSA
from rapidfuzz.process import cpdist

DIGITAL = 20
HALF = 10
STATED_DIGITS = 15
LOST_BELOW = 100_000
"""A number cell keeps 15 of 20 digits: the true number is less than this above what is stated …"""

ROUNDED_ABOVE = 50_000
"""… or, where the last digit kept was rounded up, at most this below it."""

_BLOCK = ["issued_at", "gross"]
_PAIR = {"left": pl.UInt32, "right": pl.UInt32}


def near_pairs(left: pl.DataFrame, right: pl.DataFrame) -> pl.DataFrame:
    """Return `left`, `right`: the `row`s whose `key`s are one error apart, with the same `issued_at` and `gross`."""
    blocks = _blocks(left, right)
    left, right = (rows.drop_nulls("key").join(blocks, on=_BLOCK) for rows in (left, right))
    if left.is_empty() or right.is_empty():
        return pl.DataFrame(schema=_PAIR)
    ours, theirs = _shortened(left), _shortened(right)
    pairs = ours.join(theirs, on=["short", "block"], suffix="_right")
    pairs = pairs.select(left="row", right="row_right").unique()
    keys = pairs.join(left.select(left="row", ours="key"), on="left").join(
        right.select(right="row", theirs="key"), on="right"
    )
    keys = keys.filter(pl.col("ours").str.len_bytes() == pl.col("theirs").str.len_bytes())
    distance = cpdist(keys["ours"].to_list(), keys["theirs"].to_list(), scorer=OSA.distance, score_cutoff=1)
    return keys.filter(pl.Series(distance == 1, dtype=pl.Boolean)).select("left", "right")


def stated_pairs(left: pl.DataFrame, right: pl.DataFrame) -> pl.DataFrame:
    """Return `left`, `right`: rows of which at least one lost precision, that agree in 15 digits, day and amount."""
    found = []
    for ours, theirs in (("stated", "key"), ("key", "stated"), ("stated", "stated")):
        lossy, whole = _prefixed(left, ours), _prefixed(right, theirs)
        pairs = lossy.join(whole, on=["prefix", "issued_at", "gross"], suffix="_right")
        gap = pl.col("tail_right").cast(pl.Int64) - pl.col("tail").cast(pl.Int64)
        if ours == "key":
            gap = -gap
        fits = (gap < LOST_BELOW) & (gap >= -ROUNDED_ABOVE)
        found.append(pairs.filter(fits).select(left="row", right="row_right"))
    return pl.concat(found).unique()


def _blocks(left: pl.DataFrame, right: pl.DataFrame) -> pl.DataFrame:
    """Number the days and amounts that both sides have: `issued_at`, `gross`, `block`."""
    shared = left.select(_BLOCK).join(right.select(_BLOCK), on=_BLOCK, how="semi").unique()
    return shared.with_row_index("block")


def _shortened(rows: pl.DataFrame) -> pl.DataFrame:
    """Return `row`, `block`, `short`: every key with each digit left out in turn, once each."""
    digital = rows.filter(pl.col("key").str.contains("^[0-9]{20}$"))
    others = rows.filter(~pl.col("key").str.contains("^[0-9]{20}$"))
    return pl.concat([_shortened_digits(digital), _shortened_texts(others)])


def _shortened_digits(rows: pl.DataFrame) -> pl.DataFrame:
    """Leave out each of 20 digits by arithmetic on two halves of ten, which fit 64 bits."""
    high = rows["key"].str.slice(0, HALF).cast(pl.UInt64).to_numpy()
    low = rows["key"].str.slice(HALF, HALF).cast(pl.UInt64).to_numpy()
    ten = np.uint64(10)
    powers = ten ** np.arange(HALF + 1, dtype=np.uint64)
    shorts = []
    for kept in range(HALF):
        above, below = powers[kept + 1], powers[kept]
        shorts.append((high // above * below + high % below) * powers[HALF] + low)
        shorts.append(high * powers[HALF - 1] + (low // above * below + low % below))
    table = pl.DataFrame(
        {
            "row": np.tile(rows["row"].to_numpy(), DIGITAL),
            "block": np.tile(rows["block"].to_numpy(), DIGITAL),
            "short": np.concatenate(shorts),
        },
        schema={"row": pl.UInt32, "block": pl.UInt32, "short": pl.UInt64},
    )
    return table.unique()


def _shortened_texts(rows: pl.DataFrame) -> pl.DataFrame:
    """Leave out each character of a text of any length, and hash what remains with the length."""
    cuts = rows.with_columns(at=pl.int_ranges(pl.col("key").str.len_chars())).explode("at", empty_as_null=False)
    key, at = pl.col("key"), pl.col("at")
    short = key.str.slice(0, at) + pl.lit("~") + key.str.slice(at + 1)
    unmarked = short.str.replace("~", "", literal=True)
    return cuts.select("row", "block", short=unmarked.hash()).unique()


def _prefixed(rows: pl.DataFrame, name: str) -> pl.DataFrame:
    """Return the rows by the first 15 digits of a 20-digit number, whole ones also under the prefixes beside it."""
    rows = rows.filter(pl.col(name).str.contains("^[0-9]{20}$"))
    number = rows.select(
        "row",
        "issued_at",
        "gross",
        prefix=pl.col(name).str.slice(0, STATED_DIGITS).cast(pl.Int64),
        tail=pl.col(name).str.slice(STATED_DIGITS).cast(pl.Int64),
    )
    if name == "stated":
        return number
    above = number.with_columns(pl.col("prefix") + 1, pl.col("tail") - LOST_BELOW)
    below = number.with_columns(pl.col("prefix") - 1, pl.col("tail") + LOST_BELOW)
    return pl.concat([number, above, below])
