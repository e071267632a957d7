"""A reconciliation under way: what the passes hand on to each other."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import polars as pl

if TYPE_CHECKING:
    from audit_kit.rules.matching.side import Side

_CLAIMED = {"key": pl.String, "platform_row": pl.UInt32}


@dataclass(frozen=True)
class Case:
    """A reconciliation under way.

    `left` and `right` are the open rows of ledger and platform, by `row`; once cleaned they have also `key`
    (canonical), `own` (the row's own key), `cleaning` and `stated` (what is left of a number that lost precision).
    `found` are the decided rows: `ledger_row`, `platform_row`, `outcome`. `differences` and `candidates` belong to some
    of them, by `ledger_row`. `claimed` are the platform rows that a cleaned ledger row has: `key`, `platform_row`.
    `cleaned` are the open rows of both sides as `clean_numbers` left them. `papers` are the paper 数电票 (`paper`,
    `invoice_key`), where they are known beforehand. `partitions`: in how many parts the tidy numbers are joined.
    """

    ledger: Side
    platform: Side
    tolerance: int
    left: pl.DataFrame
    right: pl.DataFrame
    found: tuple[pl.DataFrame, ...] = ()
    differences: tuple[pl.DataFrame, ...] = ()
    candidates: tuple[pl.DataFrame, ...] = ()
    claimed: pl.DataFrame = field(default_factory=lambda: pl.DataFrame(schema=_CLAIMED))
    cleaned: tuple[pl.DataFrame, pl.DataFrame] | None = None
    papers: pl.DataFrame | None = None
    partitions: int = 1
