"""The best pair of a number that several rows of both sides carry.

All pairs of a number are compared while they are few. Where they are many, rows of equal values are one, only rows
whose amounts agree are paired if any do, and the search stops at a pair than which none can be better: so that a number
written into every row costs neither memory nor time with the square.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from audit_kit.rules.matching import comparison

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from audit_kit.rules.matching.side import Side

    Codes = NDArray[np.int64]

MANY_PAIRS = 4_096
"""Pairs of one number from which on they are searched, not all compared."""

PAIRS_AT_ONCE = 1_000_000
"""Pairs compared at a time: a few hundred megabytes."""

_FIRST_PAIRS = 4_096
_OTHER_AMOUNT = 100  # outweighs every number of differences
_UNKNOWN = np.iinfo(np.int64).min
_PAIR = ("ledger_row", "platform_row")


def best(
    ours: pl.DataFrame,
    theirs: pl.DataFrame,
    ledger: Side,
    platform: Side,
    *,
    tolerance: int,
    many_pairs: int = MANY_PAIRS,
    pairs_at_once: int = PAIRS_AT_ONCE,
) -> pl.DataFrame:
    """Return the best pair of every shared key: right amount, then fewest differences, then first.

    Args:
        ours: `key`, `ledger_row` and what else is to be kept.
        theirs: `key`, `platform_row` and what else is to be kept.
        ledger: where the compared values of `ours` are.
        platform: where those of `theirs` are.
        tolerance: how far amounts may differ, in money units.
        many_pairs: see `MANY_PAIRS`; like `pairs_at_once` it changes nothing but what the search takes.
        pairs_at_once: see `PAIRS_AT_ONCE`.

    Returns:
        The columns of both, `differences` and `other_amount`, by `key`.
    """
    counts = ours.group_by("key").agg(mine=pl.len().cast(pl.UInt64))
    counts = counts.join(theirs.group_by("key").len(), on="key").with_columns(pairs=pl.col("mine") * pl.col("len"))
    few = counts.filter(pl.col("pairs") <= many_pairs).with_columns(turn=pl.col("pairs").cum_sum() // pairs_at_once)
    found = []
    for turn in few["turn"].unique().sort() if few.height else [0]:
        keys = few.filter(pl.col("turn") == turn).select("key")
        found.append(_first(ours.join(keys, on="key", how="semi").join(theirs, on="key"), ledger, platform, tolerance))
    many = counts.filter(pl.col("pairs") > many_pairs).select("key")
    if many.height:
        left, right = (rows.join(many, on="key", how="semi") for rows in (ours, theirs))
        pairs = _searched(left, right, ledger, platform, _Search(tolerance, pairs_at_once))
        pairs = pairs.join(ours.drop("key"), on="ledger_row").join(theirs.drop("key"), on="platform_row")
        found.append(_first(pairs.select(found[0].columns[: pairs.width]), ledger, platform, tolerance))
    return pl.concat(found).sort("key")


def _first(pairs: pl.DataFrame, ledger: Side, platform: Side, tolerance: int) -> pl.DataFrame:
    """Return the best of these pairs of every key."""
    values = ledger.values_at(pairs["ledger_row"]), platform.values_at(pairs["platform_row"])
    compared = pl.concat([pairs, comparison.apart(*values, tolerance=tolerance)], how="horizontal")
    ranked = compared.sort("key", "other_amount", pl.col("differences").list.len(), *_PAIR)
    return ranked.unique("key", keep="first", maintain_order=True)


def _searched(left: pl.DataFrame, right: pl.DataFrame, ledger: Side, platform: Side, search: _Search) -> pl.DataFrame:
    """Return `key`, `ledger_row`, `platform_row`: the best pair of each of the keys that have many."""
    values = comparison.folded(ledger.values_at(left["ledger_row"]))
    others = comparison.folded(platform.values_at(right["platform_row"]))
    names = sorted(values.columns, key=lambda name: name != "gross")
    for name in names:
        words = pl.concat([values[name], others[name]])
        if name not in comparison.MONEY:
            words = words.rank("dense").cast(pl.Int64)
        words = words.fill_null(_UNKNOWN)
        values, others = (
            values.with_columns(words[: left.height].alias(name)),
            others.with_columns(words[left.height :].alias(name)),
        )
    left = pl.concat([left.select("key", row="ledger_row"), values], how="horizontal")
    right = pl.concat([right.select("key", row="platform_row"), others], how="horizontal")
    parts = [
        rows.sort("row").unique(["key", *names], keep="first", maintain_order=True).partition_by("key", as_dict=True)
        for rows in (left, right)
    ]
    money = np.array([name in comparison.MONEY for name in names])
    found = []
    for key, mine in parts[0].items():
        other = parts[1][key]
        one, two = mine.select(names).to_numpy(), other.select(names).to_numpy()
        at, to = search.best(one.astype(np.int64), two.astype(np.int64), money * search.tolerance)
        found.append((key[0], mine["row"][at], other["row"][to]))
    return pl.DataFrame(
        found, schema={"key": pl.String, "ledger_row": pl.UInt32, "platform_row": pl.UInt32}, orient="row"
    )


@dataclass(frozen=True)
class _Search:
    """A search for the best pair of two tables of codes; the first column is the amount."""

    tolerance: int
    pairs_at_once: int

    def best(self, ours: Codes, theirs: Codes, allowed: Codes) -> tuple[int, int]:
        """Return the places of the best pair: of equals the first of ours, then the first of theirs."""
        agreeing = [_agrees(ours[:, at], theirs[:, at], int(allowed[at])) for at in range(ours.shape[1])]
        least = sum(not agrees.any() for agrees in agreeing) + _OTHER_AMOUNT * (not agreeing[0].any())
        best = (2 * _OTHER_AMOUNT, 0, 0)
        for mine, other in self._blocks(ours, theirs, agreeing[0], int(allowed[0])):
            apart = np.zeros(len(mine), dtype=np.int64)
            for at, within in enumerate(allowed):
                one, two = ours[mine, at], theirs[other, at]
                unlike = (np.abs(one - two) > within) & (one != _UNKNOWN) & (two != _UNKNOWN)
                apart += unlike * (1 + (_OTHER_AMOUNT if at == 0 else 0))
            score = int(apart.min())
            if score < best[0]:
                level = np.flatnonzero(apart == score)
                first = level[np.lexsort((other[level], mine[level]))[0]]
                best = (score, int(mine[first]), int(other[first]))
            if best[0] == least:
                break
        return best[1], best[2]

    def _blocks(
        self, ours: Codes, theirs: Codes, agrees: NDArray[np.bool_], within: int
    ) -> Iterator[tuple[Codes, Codes]]:
        """Yield places of pairs, ours in order: those of one amount, where there are any, else all."""
        amounts, known = ours[:, 0], ours[:, 0] != _UNKNOWN
        order = np.argsort(theirs[:, 0], kind="stable")
        ranked = theirs[order, 0]
        start, stop = np.zeros(len(ours), dtype=np.int64), np.full(len(ours), len(theirs))
        if agrees.any() and ranked[0] != _UNKNOWN:
            start = np.where(known, np.searchsorted(ranked, amounts - within * known, side="left"), 0)
            stop = np.where(known, np.searchsorted(ranked, amounts + within * known, side="right"), len(theirs))
        place, room = 0, _FIRST_PAIRS
        ends = np.cumsum(stop - start)
        while place < len(ours):
            done = int(ends[place - 1]) if place else 0
            last = max(place + 1, int(np.searchsorted(ends, done + room, side="right")))
            lengths = (stop - start)[place:last]
            mine = np.repeat(np.arange(place, last), lengths)
            inside = np.arange(len(mine)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
            if len(mine):
                yield mine, order[inside + np.repeat(start[place:last], lengths)]
            place, room = last, min(4 * room, self.pairs_at_once)


def _agrees(ours: Codes, theirs: Codes, within: int) -> NDArray[np.bool_]:
    """Return which of ours agree with any of theirs; what is unknown agrees with everything."""
    if (theirs == _UNKNOWN).any():
        return np.ones(len(ours), dtype=np.bool_)
    ranked = np.sort(theirs)
    known = ours != _UNKNOWN
    amounts = np.where(known, ours, 0)
    at = np.searchsorted(ranked, amounts - within, side="left")
    near = ranked[np.minimum(at, len(ranked) - 1)] <= amounts + within
    found: NDArray[np.bool_] = ((at < len(ranked)) & near) | ~known
    return found
