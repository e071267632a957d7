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
from audit_kit.rules.matching.side import side_by_side

if TYPE_CHECKING:
    from audit_kit.rules.matching.side import Side

_SWELLS = 4
"""A join may give so many times the rows of a side; beyond, the repeated keys are left out first."""


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
    left, right = side_by_side(lambda one: one.fingerprints(solid, sparse), ledger, platform)
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
    most = _SWELLS * max(ledger.height, platform.height) // partitions
    for part in range(partitions):
        here = pl.lit(value=True) if partitions == 1 else pl.col("key") % partitions == part
        left, right = ledger.lazy().filter(here), platform.lazy().filter(here)
        joined = left.join(right, on="key").drop("key").head(most + 1).collect(engine="streaming")
        if joined.height > most:  # keys repeated on both sides: the join was stopped
            left, right = (side.filter(pl.col("key").is_unique()) for side in (left, right))
            joined = left.join(right, on="key").drop("key").collect(engine="streaming")
        parts.append(joined)
    joined = pl.concat(parts)
    return _once(_once(joined, "ledger_row", ledger.height), "platform_row", platform.height)


def _once(rows: pl.DataFrame, name: str, height: int) -> pl.DataFrame:
    """Return the rows without those whose row number, below `height`, occurs more often."""
    places = rows[name].to_numpy()
    seen = np.zeros(height, dtype=np.bool_)
    seen[places] = True
    if np.count_nonzero(seen) == len(places):
        return rows
    return rows.filter(pl.Series(np.bincount(places, minlength=height)[places] == 1))
