"""Numbers one typing error apart, and what is left of numbers that lost precision.

One error is one digit replaced or two neighbours swapped. Two numbers of one length that are one error apart become
equal when one digit is left out of each, so a join on the shortened numbers finds every such pair without comparing all
with all. It is a superset: the distance is measured afterwards.

Rows of one day, amount and number have the same candidates, so that they are looked for once. The pairs are counted
before they are joined, and joined in blocks: how many rows share a day and an amount costs time, not memory.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import polars as pl
from rapidfuzz.distance import OSA
from rapidfuzz.process import cpdist

if TYPE_CHECKING:
    from collections.abc import Iterator

DIGITAL = 20
HALF = 10
STATED_DIGITS = 15
LOST_BELOW = 100_000
"""A number cell keeps 15 of 20 digits: the true number is less than this above what is stated …"""

ROUNDED_ABOVE = 50_000
"""… or, where the last digit kept was rounded up, at most this below it."""

MOST_CANDIDATES_ROWS = 100
"""Platform rows that are listed for one ledger row: the first; how many there are is counted."""

PAIRS_AT_ONCE = 4_000_000
"""Pairs joined at a time: a few hundred megabytes."""

_BLOCK = ["issued_at", "gross"]
_WHOLE = "^[0-9]{20}$"
_PAIR: dict[str, pl.DataType] = {"left": pl.UInt32(), "right": pl.UInt32(), "lost": pl.Boolean()}
_LISTED: dict[str, pl.DataType] = {
    "left": pl.UInt32(),
    "candidates": pl.List(pl.UInt32),
    "candidate_count": pl.UInt32(),
}


class Links(NamedTuple):
    """Which rows may be each other's.

    `alone`: `left`, `right` (rows that are each other's only candidate), `lost` (precision was). `listed`: the other
    rows that have candidates: `left`, `candidates` (the first rows, in order), `candidate_count` (of all of them).
    """

    alone: pl.DataFrame
    listed: pl.DataFrame


def links(left: pl.DataFrame, right: pl.DataFrame, *, pairs_at_once: int = PAIRS_AT_ONCE) -> Links:
    """Return the rows one typing error apart, or that agree in the digits they kept, of one day and amount.

    Args:
        left: `row`, `key`, `stated`, `issued_at`, `gross`.
        right: the same.
        pairs_at_once: how many pairs are joined at a time; it changes nothing but the memory this takes.
    """
    blocks = _blocks(left, right)
    ours, theirs = _nodes(left, blocks), _nodes(right, blocks)
    if ours.is_empty() or theirs.is_empty():
        return Links(pl.DataFrame(schema=_PAIR), pl.DataFrame(schema=_LISTED))
    claimants = np.zeros(theirs.height, dtype=np.int64)
    sizes = ours["size"].to_numpy()
    only, listed = [pl.DataFrame(schema=_PAIR)], [pl.DataFrame(schema=_LISTED)]
    for pairs in _pairs(ours, theirs, pairs_at_once):
        claimants += np.bincount(
            pairs["right"].to_numpy(), sizes[pairs["left"].to_numpy()], minlength=theirs.height
        ).astype(np.int64)
        weighed = pairs.with_columns(theirs["size"].gather(pairs["right"]))
        only.append(pairs.filter(weighed.select(pl.col("size").sum().over("left") == 1).to_series()))
        listed.append(_listed(weighed, theirs))
    single = pl.concat(only)
    mutual = claimants[single["right"].to_numpy()] == 1
    single, lists = single.filter(pl.Series(mutual, dtype=pl.Boolean)), pl.concat(listed)
    lists = lists.join(single, on="left", how="anti")
    rows = ours["rows"].gather(lists["left"])
    return Links(
        alone=single.with_columns(
            left=ours["rows"].gather(single["left"]).list.first(),
            right=theirs["rows"].gather(single["right"]).list.first(),
        ),
        listed=lists.with_columns(left=rows).explode("left").sort("left"),
    )


def _blocks(left: pl.DataFrame, right: pl.DataFrame) -> pl.DataFrame:
    """Number the days and amounts that both sides have: `issued_at`, `gross`, `block`."""
    shared = left.select(_BLOCK).join(right.select(_BLOCK), on=_BLOCK, how="semi").unique()
    return shared.with_row_index("block")


def _nodes(rows: pl.DataFrame, blocks: pl.DataFrame) -> pl.DataFrame:
    """Return the distinct numbers of each block: `node`, `block`, `key`, `stated`, `rows` (in order), `size`."""
    rows = rows.filter(pl.col("key").is_not_null() | pl.col("stated").is_not_null()).join(blocks, on=_BLOCK)
    found = rows.sort("row").group_by("block", "key", "stated", maintain_order=True).agg(rows="row", size=pl.len())
    return found.with_row_index("node")


def _listed(pairs: pl.DataFrame, theirs: pl.DataFrame) -> pl.DataFrame:
    """Return the candidates of every left node: `left`, `candidates`, `candidate_count`."""
    pairs = pairs.unique(["left", "right"])
    first = theirs["rows"].gather(pairs["right"]).list.head(MOST_CANDIDATES_ROWS)
    rows = pairs.select("left", candidates=first).explode("candidates").sort("left", "candidates")
    rows = rows.group_by("left", maintain_order=True).agg(pl.col("candidates").head(MOST_CANDIDATES_ROWS))
    counts = pairs.group_by("left").agg(candidate_count=pl.col("size").sum().cast(pl.UInt32))
    return rows.join(counts, on="left", how="left", maintain_order="left")


def _pairs(ours: pl.DataFrame, theirs: pl.DataFrame, at_once: int) -> Iterator[pl.DataFrame]:
    """Yield `left`, `right`, `lost`: pairs of nodes, all those of one left node together, some left nodes at a time.

    What is joined is weighed beforehand by the rows that it may list.
    """
    weights = theirs.select("node", weight=pl.col("size").clip(None, MOST_CANDIDATES_ROWS))
    joins = [
        (_weighed(one, other, weights), other, finish)
        for one, other, finish in (
            (_shortened(ours), _shortened(theirs), _one_apart),
            (_prefixed(ours, "stated"), _prefixed(theirs, "key"), _kept_alike),
            (_prefixed(ours, "key"), _prefixed(theirs, "stated"), _kept_alike_reversed),
            (_prefixed(ours, "stated"), _prefixed(theirs, "stated"), _kept_alike),
        )
    ]
    sizes = pl.concat(one.select("node", "weight") for one, _, _ in joins).group_by("node").agg(pl.col("weight").sum())
    turns = sizes.sort("node").select("node", turn=pl.col("weight").cum_sum() // at_once)
    joins = [(one.join(turns, on="node"), other, finish) for one, other, finish in joins]
    for turn in turns["turn"].unique().sort():
        found = []
        for one, other, finish in joins:
            here = one.filter(pl.col("turn") == turn)
            if here.height:
                found.append(finish(here.join(other, on=["short", "block"]), ours, theirs))
        lossy = [part for part in found if part["lost"].any()]
        near = [part for part in found if not part["lost"].any()]
        yield pl.concat([pl.DataFrame(schema=_PAIR), *near, *([pl.concat(lossy).unique()] if lossy else [])])


def _weighed(ours: pl.DataFrame, theirs: pl.DataFrame, weights: pl.DataFrame) -> pl.DataFrame:
    """Return what has a partner, with the `weight` of its partners."""
    on = ["short", "block"]
    counts = theirs.join(ours, on=on, how="semi").join(weights, on="node").group_by(on).agg(pl.col("weight").sum())
    return ours.join(counts.with_columns(pl.col("weight").cast(pl.UInt64)), on=on)


def _one_apart(pairs: pl.DataFrame, ours: pl.DataFrame, theirs: pl.DataFrame) -> pl.DataFrame:
    """Return the pairs whose numbers are one error apart."""
    pairs = pairs.select(left="node", right="node_right").unique()
    keys = pairs.with_columns(ours=ours["key"].gather(pairs["left"]), theirs=theirs["key"].gather(pairs["right"]))
    keys = keys.filter(pl.col("ours").str.len_bytes() == pl.col("theirs").str.len_bytes())
    distance = cpdist(keys["ours"].to_list(), keys["theirs"].to_list(), scorer=OSA.distance, score_cutoff=1)
    return keys.filter(pl.Series(distance == 1, dtype=pl.Boolean)).select("left", "right", lost=pl.lit(value=False))


def _kept_alike(pairs: pl.DataFrame, _ours: pl.DataFrame, _theirs: pl.DataFrame) -> pl.DataFrame:
    """Return the pairs in which the right number may be what the left one stated."""
    return _within(pairs, pl.col("tail_right") - pl.col("tail"))


def _kept_alike_reversed(pairs: pl.DataFrame, _ours: pl.DataFrame, _theirs: pl.DataFrame) -> pl.DataFrame:
    """Return the pairs in which the left number may be what the right one stated."""
    return _within(pairs, pl.col("tail") - pl.col("tail_right"))


def _within(pairs: pl.DataFrame, gap: pl.Expr) -> pl.DataFrame:
    fits = (gap < LOST_BELOW) & (gap >= -ROUNDED_ABOVE)
    return pairs.filter(fits).select(left="node", right="node_right", lost=pl.lit(value=True))


def _shortened(nodes: pl.DataFrame) -> pl.DataFrame:
    """Return `node`, `block`, `short`: every key with each digit left out in turn, once each."""
    nodes = nodes.drop_nulls("key")
    digital = nodes.filter(pl.col("key").str.contains(_WHOLE))
    others = nodes.filter(~pl.col("key").str.contains(_WHOLE))
    return pl.concat([_shortened_digits(digital), _shortened_texts(others)])


def _shortened_digits(nodes: pl.DataFrame) -> pl.DataFrame:
    """Leave out each of 20 digits by arithmetic on two halves of ten, which fit 64 bits."""
    high = nodes["key"].str.slice(0, HALF).cast(pl.UInt64).to_numpy()
    low = nodes["key"].str.slice(HALF, HALF).cast(pl.UInt64).to_numpy()
    ten = np.uint64(10)
    powers = ten ** np.arange(HALF + 1, dtype=np.uint64)
    shorts = []
    for kept in range(HALF):
        above, below = powers[kept + 1], powers[kept]
        shorts.append((high // above * below + high % below) * powers[HALF] + low)
        shorts.append(high * powers[HALF - 1] + (low // above * below + low % below))
    table = pl.DataFrame(
        {
            "node": np.tile(nodes["node"].to_numpy(), DIGITAL),
            "block": np.tile(nodes["block"].to_numpy(), DIGITAL),
            "short": np.concatenate(shorts),
        },
        schema={"node": pl.UInt32, "block": pl.UInt32, "short": pl.UInt64},
    )
    return table.unique()


def _shortened_texts(nodes: pl.DataFrame) -> pl.DataFrame:
    """Leave out each character of a text of any length, and hash what remains with the length."""
    cuts = nodes.with_columns(at=pl.int_ranges(pl.col("key").str.len_chars())).explode("at", empty_as_null=False)
    key, at = pl.col("key"), pl.col("at")
    short = key.str.slice(0, at) + pl.lit("~") + key.str.slice(at + 1)
    unmarked = short.str.replace("~", "", literal=True)
    return cuts.select("node", "block", short=unmarked.hash()).unique()


def _prefixed(nodes: pl.DataFrame, name: str) -> pl.DataFrame:
    """Return `node`, `block`, `short` (15 digits), `tail`; whole numbers also under the prefixes beside theirs."""
    number = nodes.filter(pl.col(name).str.contains(_WHOLE)).select(
        "node",
        "block",
        short=pl.col(name).str.slice(0, STATED_DIGITS).cast(pl.Int64),
        tail=pl.col(name).str.slice(STATED_DIGITS).cast(pl.Int64),
    )
    if name == "stated":
        return number
    above = number.with_columns(pl.col("short") + 1, pl.col("tail") - LOST_BELOW)
    below = number.with_columns(pl.col("short") - 1, pl.col("tail") + LOST_BELOW)
    return pl.concat([number, above, below])
