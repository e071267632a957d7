"""Settle at once, on whole columns, what needs no closer look: the tidy numbers that each side holds exactly once.

The join runs on exact integers (see `numbers`), and no text has to be compared again. All fields of a row are held in
one hash beside its number; only rows whose hashes differ are compared field by field.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from audit_kit.rules.matching import comparison

if TYPE_CHECKING:
    from audit_kit.rules.matching.side import Side

_BUCKETS, _BUCKETS_OF_MANY, _MANY_ROWS = 2**19 - 1, 2**22 - 3, 1_500_000
_SWELLS = 4


@dataclass(frozen=True)
class Settled:
    """Pairs by position: `ledger_row`, `platform_row`; where fields other than the amount differ, `differences` too."""

    agreeing: pl.DataFrame
    differing: pl.DataFrame


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
    left, right = ledger.fingerprints(solid, sparse), platform.fingerprints(solid, sparse)
    ours = _keyed(ledger.whole, left["fingerprint"], "ledger_row", "ours")
    theirs = _keyed(platform.whole, right["fingerprint"], "platform_row", "theirs")
    joined = _joined(ours, theirs, partitions)
    doubtful = joined["ours"] != joined["theirs"]
    for name in sparse:
        mine = left[name].gather(joined["ledger_row"])
        doubtful |= (mine != right[name].gather(joined["platform_row"])).fill_null(value=False)
    return joined.select("ledger_row", "platform_row"), doubtful


def _keyed(whole: pl.Series, fingerprints: pl.Series, row: str, name: str) -> pl.DataFrame:
    """Return row, key and hash of every row."""
    return pl.DataFrame({"key": whole, name: fingerprints}).with_row_index(row)


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
