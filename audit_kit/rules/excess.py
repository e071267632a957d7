"""Levels at fault: a channel, an account or a kind of invoice that loses several times more than the others."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from audit_kit.rules.lateness import chance
from audit_kit.rules.patterns import levels
from audit_kit.rules.population import alive, still_open, with_ledger

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from audit_kit.rules.evidence import Case

    Floats = NDArray[np.float64]

STILL_TO_COME = 0.002  # levels are compared among ages at which at most this share is yet to come,
STILL_TO_COME_SHARE = 0.1  # or this part of what is lost anyhow
LEVEL_SHARE = 0.04  # a level that loses less than this is no cause, whatever the odds
ODDS_LOWER = 2.0
MOST_LEVELS = 24
LEVEL_EVIDENCE = 8.0  # log likelihood that a level must add beside the others
LEVEL_ROUNDS = 60


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
    parts = []
    for level in found.iter_rows(named=True):
        rows = members(case, level)
        rows = rows.with_columns(late=chance(alive(pl.lit(level["share"])), pl.lit(level["share"]), pl.col("invoices")))
        hits = rows.filter(pl.col("missing") & (pl.col("late") < case.evidence.policy.sync.late_threshold))
        facts = {
            "level": level["level"],
            "count": str(level["missing"]),
            "issued": str(level["issued"]),
            "others": str(level["others_missing"]),
            "others_issued": str(level["others_issued"]),
            "odds": f"{level['odds_ratio']:.1f}",
            "q": f"{level['q']:.1g}",
            "excess": f"{level['excess']:.0f}",
        }
        parts.append(
            hits.select(
                "ledger_row",
                lost_share=pl.lit(level["share"]),
                group=pl.lit(float(level["issued"])),
                **{name: pl.lit(text) for name, text in facts.items()},
            )
        )
    if not parts:
        return case.missing.clear()
    hits = pl.concat(parts).unique("ledger_row", keep="first", maintain_order=True)
    return case.missing.join(hits, on="ledger_row", how="inner", maintain_order="left")


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
    levels that stand out are weighed against each other, and one that adds nothing beside the others is left out.
    """
    rows = still_open(case.population, case)
    allowed = pl.max_horizontal(pl.lit(STILL_TO_COME), STILL_TO_COME_SHARE * pl.col("plateau"))
    rows = rows.filter((pl.col("expected") - pl.col("plateau")) <= allowed)
    rows = with_ledger(rows.select("ledger_row", "channel", "missing"), case, "account", "kind")
    rate = (pl.col("missing") + 0.5) / (pl.col("issued") + 1)
    clear = pl.col("stands_out") & (rate >= LEVEL_SHARE) & (pl.col("odds_lower") > ODDS_LOWER)
    table = (
        levels(rows)
        .filter(clear)
        .sort("missing", "dimension", "level", descending=[True, False, False])
        .head(MOST_LEVELS)
    )
    if table.is_empty():
        return table.with_columns(share=pl.lit(0.0))
    share = blame(rows, table)
    return table.with_columns(share=pl.Series(share)).filter(pl.col("share") >= LEVEL_SHARE / 2)


def blame(rows: pl.DataFrame, table: pl.DataFrame) -> Floats:
    """Return for each level the share of its rows that is lost to it, all levels and a common share fitted at once.

    A level is kept only where leaving it out would cost the fit more than chance would.
    """
    names = table["dimension"].unique().to_list()
    cells = rows.group_by(names).agg(n=pl.len(), gone=pl.col("missing").sum())
    member = np.stack(
        [
            (cells[row["dimension"]] == row["level"]).fill_null(value=False).to_numpy()
            for row in table.iter_rows(named=True)
        ]
    )
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
