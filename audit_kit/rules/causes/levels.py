"""Levels at fault: a channel, an account or a kind of invoice that loses several times more than the others."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from audit_kit.rules.causes.patterns import levels
from audit_kit.rules.causes.population import still_open, with_ledger

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from audit_kit.rules.causes.evidence import Case

    Floats = NDArray[np.float64]

STILL_TO_COME = 0.002  # levels are compared among ages at which at most this share is yet to come,
STILL_TO_COME_SHARE = 0.1  # or this part of what is lost anyhow
LEVEL_SHARE = 0.04  # a level that loses less than this is no cause, whatever the odds
ODDS_LOWER = 2.0
MOST_LEVELS = 24
LEVEL_EVIDENCE = 8.0  # log likelihood that a level must add beside the others
LEVEL_ROUNDS = 60
# What the sentence of a level shows, by its column in `patterns.levels`.
FACTS = {
    "subject": "level",
    "level": "level",
    "count": "missing",
    "issued": "issued",
    "others": "others_missing",
    "others_issued": "others_issued",
    "odds": "odds_ratio",
    "q": "q",
    "excess": "excess",
}


def channel_excess(case: Case) -> pl.DataFrame:
    """One channel loses several times more than the others."""
    return _excess(case, "channel")


def account_excess(case: Case) -> pl.DataFrame:
    """One issuing account loses several times more than the others."""
    return _excess(case, "account")


def kind_excess(case: Case) -> pl.DataFrame:
    """One kind of invoice is lost several times more often than the others."""
    return _excess(case, "kind")


def _excess(case: Case, dimension: str) -> pl.DataFrame:
    """Return the missing rows of the levels of this dimension at fault, but not those that are likely just late."""
    found = case.excess.filter(pl.col("dimension") == dimension)
    unlikely = case.late.filter(pl.col("probability_late") < case.evidence.policy.sync.late_threshold)
    unlikely = unlikely.select("ledger_row")
    parts = []
    for level in found.iter_rows(named=True):
        hits = members(case, level).filter("missing").join(unlikely, on="ledger_row", maintain_order="left")
        facts = {ours: pl.lit(level[theirs]) for ours, theirs in FACTS.items()}
        parts.append(hits.select("ledger_row", **facts))
    if not parts:
        return case.missing.clear()
    hits = pl.concat(parts).unique("ledger_row", keep="first", maintain_order=True)
    return case.missing.join(hits, on="ledger_row", how="inner", maintain_order="left")


def fault(case: Case) -> pl.DataFrame:
    """Return `ledger_row`, `fault` of the members of accounts and kinds at fault: the share that is lost to them.

    A channel has a curve of its own, which shows what it loses.
    """
    kept = pl.DataFrame(schema={"ledger_row": pl.UInt32, "kept": pl.Float64})
    for level in case.excess.filter(pl.col("dimension") != "channel").iter_rows(named=True):
        mine = members(case, level).select("ledger_row", kept=pl.lit(1 - level["share"]))
        kept = pl.concat([kept, mine]).group_by("ledger_row", maintain_order=True).agg(pl.col("kept").product())
    return kept.select("ledger_row", fault=1 - pl.col("kept")).sort("ledger_row")


def members(case: Case, level: dict[str, Any]) -> pl.DataFrame:
    """Return the population of a level, explained or not."""
    dimension, people = level["dimension"], case.population
    if dimension == "channel":
        return people.filter(pl.col("channel") == level["level"])
    mine = case.evidence.ledger[dimension].gather(people["ledger_row"]).cast(pl.String) == level["level"]
    return people.filter(mine.fill_null(value=False))


def excess_levels(case: Case) -> pl.DataFrame:
    """Return the levels at fault: `patterns.levels` and `share`, the chance that a row of the level is lost to it.

    Levels overlap: an account belongs to a channel, and a channel stands out because one of its accounts does. So the
    levels that stand out are weighed against each other, and one that adds nothing beside the others is left out. Each
    is compared with what no other level at fault explains, so that one fault does not hide another.
    """
    rows = still_open(case.population, case)
    allowed = pl.max_horizontal(pl.lit(STILL_TO_COME), STILL_TO_COME_SHARE * pl.col("plateau"))
    rows = rows.filter((pl.col("expected") - pl.col("plateau")) <= allowed)
    rows = with_ledger(rows.select("ledger_row", "channel", "missing"), case, "account", "kind")
    table = _suspects(rows)
    if table.is_empty():
        return table.with_columns(share=pl.lit(0.0))
    table = table.with_columns(share=pl.Series(blame(rows, table))).filter(pl.col("share") >= LEVEL_SHARE / 2)
    return pl.concat([table.clear(), *(_against_the_rest(rows, table, place) for place in range(table.height))])


def _suspects(rows: pl.DataFrame) -> pl.DataFrame:
    """Return the levels that stand out, then those that stand out among the rest, and so on; most missing first."""
    parts = [_clear(levels(rows))]
    while parts[-1].height:
        rows = rows.filter(~_within(parts[-1]))
        parts.append(_clear(levels(rows)))
    return pl.concat(parts).sort("missing", "dimension", "level", descending=[True, False, False]).head(MOST_LEVELS)


def _clear(table: pl.DataFrame) -> pl.DataFrame:
    """Return the levels that stand out clearly, and lose enough to matter."""
    rate = (pl.col("missing") + 0.5) / (pl.col("issued") + 1)
    return table.filter(pl.col("stands_out") & (rate >= LEVEL_SHARE) & (pl.col("odds_lower") > ODDS_LOWER))


def _within(table: pl.DataFrame) -> pl.Expr:
    """Return which rows belong to any of these levels."""
    inside = pl.lit(value=False)
    for (dimension,), part in table.group_by("dimension", maintain_order=True):
        inside |= pl.col(str(dimension)).is_in(part["level"].implode()).fill_null(value=False)
    return inside


def _against_the_rest(rows: pl.DataFrame, table: pl.DataFrame, place: int) -> pl.DataFrame:
    """Return a level with its counts and odds against what is in no other level at fault, if it stands out there."""
    mine = table[place]
    others = table.filter(pl.int_range(pl.len()) != place)
    counted = levels(rows.filter(~_within(others)), [mine["dimension"][0]])
    counted = counted.filter((pl.col("level") == mine["level"][0]) & pl.col("stands_out"))
    return counted.with_columns(share=pl.lit(mine["share"][0]))


def blame(rows: pl.DataFrame, table: pl.DataFrame) -> Floats:
    """Return for each level the share of its rows that is lost to it, all levels and a common share fitted at once.

    A level is kept only where leaving it out would cost the fit more than chance would.
    """
    # Rows of the same levels at fault are one cell: accounts times kinds may be as many as there are rows.
    levels = {
        str(place): pl.col(dimension).eq_missing(pl.lit(level))
        for place, (dimension, level) in enumerate(table.select("dimension", "level").iter_rows())
    }
    cells = (
        rows.select("missing", **levels)
        .group_by(list(levels))
        .agg(n=pl.len(), gone=pl.col("missing").sum())
        .sort(list(levels))
    )
    member = cells.select(list(levels)).to_numpy().T
    n, gone = cells["n"].cast(pl.Float64).to_numpy(), cells["gone"].cast(pl.Float64).to_numpy()
    kept = sorted(range(table.height), key=lambda place: int((member[place] * n).sum()))
    share, fit = _noisy_or(member[kept], n, gone)
    while kept:
        costs = [fit - _noisy_or(np.delete(member[kept], place, axis=0), n, gone)[1] for place in range(len(kept))]
        idle = [place for place, cost in enumerate(costs) if cost < LEVEL_EVIDENCE]
        if not idle:
            break
        kept.pop(idle[0])  # the narrowest: a channel at fault is one finding, not one for each of its accounts
        share, fit = _noisy_or(member[kept], n, gone)
    result = np.zeros(table.height)
    result[kept] = share
    return result


def _noisy_or(member: NDArray[np.bool_], n: Floats, gone: Floats) -> tuple[Floats, float]:
    """Return each level's share and the log likelihood, where a row is lost to any of its levels or to none of them."""
    parts = np.vstack([np.ones((1, len(n)), dtype=bool), member])
    share = np.full(len(parts), max(float(gone.sum() / n.sum()), 1e-6))
    kept = np.ones(len(n))
    for _ in range(LEVEL_ROUNDS):
        kept = np.clip(1 - np.prod(np.where(parts, 1 - share[:, None], 1), axis=0), 1e-9, 1 - 1e-9)
        # Of those gone, a level took share / kept; of those there, none.
        took = (parts * (gone / kept)).sum(axis=1) * share
        share = np.clip(took / np.maximum((parts * n).sum(axis=1), 1), 1e-9, 1 - 1e-9)
    likelihood = float((gone * np.log(kept) + (n - gone) * np.log(1 - kept)).sum())
    return share[1:], likelihood


CAUSES = (channel_excess, account_excess, kind_excess)
