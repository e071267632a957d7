"""Settle at once, on whole columns, what needs no closer look: the tidy numbers that each side holds exactly once.

A tidy number is an integer. 20 digits need 67 bits, but those that begin with 2 (数电票) fit into 64 once the 2 is
off, and those that begin with 0 (old invoices), like code and number of 18 digits, fit above them: the join runs on
exact integers, and no text has to be compared again. All fields of a row are held in one hash beside its number; only
rows whose hashes differ are compared field by field.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from audit_kit.core.identity import DIGITAL, NUMBER_COLUMNS, OLD_CODES, OLD_LENGTHS, OLD_NUMBER
from audit_kit.rules.matching import comparison

if TYPE_CHECKING:
    from audit_kit.rules.matching.side import Side

TEN_19 = 10**19
OLD_LOWEST = 10**17
OLD_HIGHEST = 84 * 10**17
_DIGITAL_PLACEHOLDER = 2222222222222222222
_OLD_PLACEHOLDER = 111111111111111111
_BUCKETS, _BUCKETS_OF_MANY, _MANY_ROWS = 2**19 - 1, 2**22 - 3, 1_500_000
_SWELLS = 4


@dataclass(frozen=True)
class Settled:
    """Pairs by position: `ledger_row`, `platform_row`; where fields other than the amount differ, `differences` too."""

    agreeing: pl.DataFrame
    differing: pl.DataFrame


def as_it_stands(frame: pl.DataFrame) -> pl.Series:
    """Return the number of every row without any cleaning: 20 digits, or code and number joined; else null."""
    present = [name for name in NUMBER_COLUMNS if name in frame.columns and frame[name].null_count() < frame.height]
    digital, number, code = (
        pl.col(name).cast(pl.String) if name in present else pl.lit(None, pl.String) for name in NUMBER_COLUMNS
    )
    text = number
    if "invoice_code" in present:
        old = (code.str.len_bytes() == min(OLD_CODES)) | code.str.contains("^[01]")
        whole = pl.when(old & (number.str.len_bytes() == OLD_NUMBER)).then(code + number)
        text = pl.when(code.is_null() | (code.str.len_bytes() == 0)).then(number).otherwise(whole)
    if "digital_number" in present:
        text = pl.coalesce(digital, text) if frame["digital_number"].null_count() else digital
    return frame.select(
        pl.repeat(None, pl.len()).cast(pl.String).alias("number") if not present else text.alias("number")
    )["number"]


def as_integer(number: pl.Series) -> pl.Series:
    """Return each tidy number as a UInt64 of its own; null for a text that needs a closer look."""
    table = pl.DataFrame({"value": number.cast(pl.Int128, strict=False), "number": number})
    length = pl.col("number").str.len_bytes()
    digital = (pl.col("value") - pl.lit(2 * TEN_19, pl.Int128)).cast(pl.UInt64, strict=False)
    fits = (digital < TEN_19) & (digital != _DIGITAL_PLACEHOLDER) & (length == DIGITAL)
    whole = table.select(pl.when(fits).then(digital).alias("whole"))["whole"]
    if whole.null_count() == number.null_count():
        return whole
    value = pl.col("value")
    old = value.is_between(OLD_LOWEST, OLD_HIGHEST, closed="left") & (value % _OLD_PLACEHOLDER != 0)
    old &= (length == min(OLD_LENGTHS)) & (value < 10 * OLD_LOWEST) | (length == DIGITAL) & pl.col(
        "number"
    ).str.starts_with("0")
    moved = pl.when(old).then((value + TEN_19).cast(pl.UInt64, strict=False))
    return table.select(pl.coalesce(pl.lit(whole), moved).alias("whole"))["whole"]


def settle(ledger: Side, platform: Side, *, tolerance: int, partitions: int = 1) -> Settled:
    """Pair the rows whose tidy number each side holds once, unless their amounts differ (by more than `tolerance`).

    The numbers are joined in `partitions` parts, one after the other, to bound the memory this takes.
    """
    pairs, doubtful = _pairs(ledger, platform, partitions)
    unlike = pairs.filter(doubtful)
    ours, theirs = ledger.values_at(unlike["ledger_row"]), platform.values_at(unlike["platform_row"])
    unlike = pl.concat([unlike, comparison.apart(ours, theirs, tolerance=tolerance)], how="horizontal")
    same = pl.col("differences").list.len() == 0
    return Settled(
        agreeing=pl.concat([pairs.filter(~doubtful), unlike.filter(same).select(pairs.columns)]),
        differing=unlike.filter(~same & ~pl.col("other_amount")).drop("other_amount"),
    )


def _pairs(ledger: Side, platform: Side, partitions: int) -> tuple[pl.DataFrame, pl.Series]:
    """Return `ledger_row`, `platform_row` of the numbers that each side holds once, and whether they may differ."""
    gaps = ledger.gaps | platform.gaps
    names = ledger.values_at(pl.Series([], dtype=pl.UInt32)).columns
    solid, sparse = [name for name in names if name not in gaps], [name for name in names if name in gaps]
    left, right = ledger.prints(solid, sparse), platform.prints(solid, sparse)
    ours = _keyed(ledger.whole, left["print"], "ledger_row", "ours")
    theirs = _keyed(platform.whole, right["print"], "platform_row", "theirs")
    joined = _joined(ours, theirs, partitions)
    doubtful = joined["ours"] != joined["theirs"]
    for name in sparse:
        mine = left[name].gather(joined["ledger_row"])
        doubtful |= (mine != right[name].gather(joined["platform_row"])).fill_null(value=False)
    return joined.select("ledger_row", "platform_row"), doubtful


def _keyed(whole: pl.Series, prints: pl.Series, row: str, name: str) -> pl.DataFrame:
    """Return row, key and hash of every row."""
    return pl.DataFrame({"key": whole, name: prints}).with_row_index(row)


def _joined(ledger: pl.DataFrame, platform: pl.DataFrame, partitions: int) -> pl.DataFrame:
    """Join keys with their hashes where each side holds a key once: `ledger_row`, `platform_row`, `ours`, `theirs`."""
    parts = []
    swells = _swells(ledger["key"], platform["key"])
    for part in range(partitions):
        here = pl.lit(value=True) if partitions == 1 else pl.col("key") % partitions == part
        left, right = ledger.lazy().filter(here), platform.lazy().filter(here)
        if swells:
            left, right = (side.filter(pl.col("key").is_unique()) for side in (left, right))
        parts.append(left.join(right, on="key").drop("key").collect(engine="streaming"))
    joined = pl.concat(parts)
    once = _once(joined["ledger_row"], ledger.height) & _once(joined["platform_row"], platform.height)
    return joined if once.all() else joined.filter(once)


def _swells(ledger: pl.Series, platform: pl.Series) -> bool:
    """Say whether joining the keys may give far more rows than there are, for a key is repeated on both sides.

    Keys are counted by buckets, which is cheap and never too few.
    """
    buckets = _BUCKETS if max(len(ledger), len(platform)) <= _MANY_ROWS else _BUCKETS_OF_MANY
    counts = [
        np.bincount((keys.drop_nulls().to_numpy() % buckets).astype(np.int64), minlength=buckets)
        for keys in (ledger, platform)
    ]
    rows = [int(count.sum()) for count in counts]
    usual = rows[0] * rows[1] // buckets + max(rows)
    return int(counts[0] @ counts[1]) > _SWELLS * usual


def _once(rows: pl.Series, height: int) -> pl.Series:
    """Say of each row number whether it occurs only here."""
    places = rows.to_numpy()
    return pl.Series(np.bincount(places, minlength=height)[places] == 1)
