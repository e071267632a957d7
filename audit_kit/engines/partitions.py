"""Reconcile in partitions, so that the answer never depends on how the rows were divided.

What shares a number is settled first, in partitions by the last eight digits of the canonical key, so that a number of
which only these were kept meets all that it may be: the same passes run on each, and what they leave open is small.
Typing errors join rows of one day and amount only, so that what is open is partitioned again by these, and no pair of
candidates is split; what then remains shares a number or nothing, and is partitioned by key once more.
Whether three rounds are taken, or one for all that is open, makes no difference to the answer.

Rows are known by their ids, `ledger_row` and `platform_row` (Int64); the order of the ids is the order of the rows.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import polars as pl

from audit_kit.core import identity
from audit_kit.core.policy import MatchingPolicy
from audit_kit.rules.matching import answer, comparison, reconcile
from audit_kit.rules.matching.case import Case
from audit_kit.rules.matching.numbers import as_it_stands, number_columns
from audit_kit.rules.matching.side import FrameSide

if TYPE_CHECKING:
    from audit_kit.rules.matching.side import Side

_DEFAULT = MatchingPolicy()
_ID = pl.Int64()
_IDS = ("ledger_row", "platform_row")
_TEXTS = pl.List(pl.String)

DECIDED = {
    "ledger_row": _ID,
    "platform_row": _ID,
    "invoice_key": pl.String(),
    "candidates": pl.List(_ID),
    "candidate_count": _ID,
    "outcome": pl.String(),
    "differences": _TEXTS,
    "cleaning": _TEXTS,
}
"""Rows of `schema.Matches`, with ids for positions."""

VALUES = {
    name: pl.Int64() if name in comparison.MONEY else pl.Date() if name == "issued_at" else pl.String()
    for name in comparison.FIELDS
}
OPEN = {
    "side": pl.String(),
    "id": _ID,
    "key": pl.String(),
    "own": pl.String(),
    "cleaned": _TEXTS,
    "stated": pl.String(),
    "claimed": _ID,
    "claimed_cleaned": _TEXTS,
    **VALUES,
}
"""Rows still open: `side` is ledger or platform. `claimed` is the platform row that a ledger row has which shares the
key, `claimed_cleaned` what was cleaned in its number; a row of side `claim` says nothing else."""

ROUND = {**DECIDED, **OPEN}
"""What a round returns: decided rows have an `outcome`, open ones a `side`."""


def first_round(ledger: pl.DataFrame, platform: pl.DataFrame, *, policy: MatchingPolicy = _DEFAULT) -> pl.DataFrame:
    """Settle what shares a number; both sides hold every row of the canonical keys that end as those in this partition.

    `canonical`, where a side has it, is the number that a paper 数电票 booked by code and number goes by.
    """
    ledger, platform = ledger.sort("ledger_row"), platform.sort("platform_row")
    papers = pl.concat([_papers(ledger), _papers(platform)]).unique()
    ids = ledger["ledger_row"].cast(_ID), platform["platform_row"].cast(_ID)
    case = reconcile.open_case(*(side.drop(*_IDS, strict=False) for side in (ledger, platform)), policy=policy)
    case = replace(case, papers=papers)
    for step in reconcile.BY_NUMBER:
        case = step(case)
    return _round(case, ids, as_it_stands(ledger))


def near_round(rows: pl.DataFrame, *, policy: MatchingPolicy = _DEFAULT) -> pl.DataFrame:
    """Look for typing errors; `rows` (`OPEN`) hold every open row of the days and amounts in this partition."""
    case, ids = _resumed(rows, policy)
    known = case.claimed.height
    for step in reconcile.BY_DAY_AND_AMOUNT:
        case = step(case)
    claims = _claims(case, case.claimed[known:].drop_nulls(), ids[1]).with_columns(side=pl.lit("claim"))
    return _shaped(_round(case, ids, _own(case)), claims)


def last_round(rows: pl.DataFrame, *, policy: MatchingPolicy = _DEFAULT) -> pl.DataFrame:
    """Settle the rest; `rows` (`OPEN`) hold every open row and every claim of the keys in this partition."""
    case, ids = _resumed(rows, policy)
    for step in reconcile.THE_REST:
        case = step(case)
    return _round(case, ids, _own(case))


def whole_rest(rows: pl.DataFrame, *, policy: MatchingPolicy = _DEFAULT) -> pl.DataFrame:
    """Look for typing errors and settle the rest at once; `rows` (`OPEN`) hold every open row there is."""
    case, ids = _resumed(rows, policy)
    for step in (*reconcile.BY_DAY_AND_AMOUNT, *reconcile.THE_REST):
        case = step(case)
    return _round(case, ids, _own(case))


def _papers(side: pl.DataFrame) -> pl.DataFrame:
    """Return `paper`, `invoice_key` of the rows whose canonical key is given."""
    if "canonical" not in side.columns:
        return pl.DataFrame(schema={"paper": pl.String, "invoice_key": pl.String})
    rows = side.filter(pl.col("canonical").is_not_null())
    return identity.with_key(number_columns(rows)).select(paper="invoice_key", invoice_key=rows["canonical"])


def _resumed(rows: pl.DataFrame, policy: MatchingPolicy) -> tuple[Case, tuple[pl.Series, pl.Series]]:
    """Return the open rows as a case again, and the ids of its positions on both sides."""
    claims = rows.filter(pl.col("claimed").is_not_null()).select("key", "claimed", "claimed_cleaned").unique()
    sides = {side: rows.filter(pl.col("side") == side).sort("id") for side in ("ledger", "platform")}
    known = pl.concat([sides["platform"]["id"], claims["claimed"]]).unique().sort().alias("id")
    ids = sides["ledger"]["id"], known
    left, right = (_rows_at(frame, place) for frame, place in zip(sides.values(), ids, strict=True))
    claimed = claims.join(known.to_frame().with_row_index("platform_row"), left_on="claimed", right_on="id")
    theirs = claimed.select(row="platform_row", cleaning=pl.col("claimed_cleaned")).unique("row")
    case = Case(
        ledger=_side(sides["ledger"], ids[0]),
        platform=_side(sides["platform"], ids[1]),
        tolerance=comparison.tolerance_units(policy.amount_tolerance_yuan),
        left=left,
        right=right,
        claimed=claimed.select("key", "platform_row"),
        cleaned=(left, pl.concat([right, theirs], how="diagonal").unique("row", keep="first")),
    )
    return case, ids


def _rows_at(rows: pl.DataFrame, ids: pl.Series) -> pl.DataFrame:
    """Return open rows as a case holds them, by position."""
    placed = rows.join(ids.to_frame().with_row_index("row"), on="id", how="left", maintain_order="left")
    return placed.select("row", "own", pl.col("cleaned").alias("cleaning"), "stated", "key")


def _side(rows: pl.DataFrame, ids: pl.Series) -> FrameSide:
    """Return a side whose numbers were cleaned in an earlier round; rows that are only claimed have no values."""
    placed = ids.to_frame().join(rows, on="id", how="left", maintain_order="left")
    return FrameSide(
        numbers=placed.select("own"),
        values=placed.select(*VALUES),
        text=placed["own"],
        whole=pl.repeat(None, placed.height, dtype=pl.UInt64, eager=True),
    )


def _own(case: Case) -> pl.Series:
    """Return the own keys of all ledger rows of a resumed case."""
    return case.ledger.text_at(pl.int_range(len(case.ledger.whole), dtype=pl.UInt32, eager=True))


def _round(case: Case, ids: tuple[pl.Series, pl.Series], text: pl.Series) -> pl.DataFrame:
    """Return what is decided and what is still open, in the columns of `ROUND`."""
    matches = answer.matches(case, text)
    decided = matches.join(case.left, left_on="ledger_row", right_on="row", how="anti")
    decided = _by_id(_by_id(decided, "ledger_row", ids[0]), "platform_row", ids[1])
    listed = decided.select("candidates").with_row_index("at").explode("candidates", empty_as_null=False)
    listed = _by_id(listed, "candidates", ids[1]).group_by("at", maintain_order=True).agg("candidates")
    lists = decided.select(pl.int_range(pl.len(), dtype=pl.UInt32).alias("at")).join(
        listed, on="at", how="left", maintain_order="left"
    )
    decided = decided.with_columns(
        lists["candidates"].fill_null(pl.Series([[]], dtype=pl.List(_ID))), pl.col("outcome").cast(pl.String)
    )
    claimed = _claims(case, case.claimed.sort("platform_row").unique("key", keep="first"), ids[1])
    left = _open(case.left, case.ledger, "ledger", ids[0]).join(claimed, on="key", how="left")
    return _shaped(decided, left, _open(case.right, case.platform, "platform", ids[1]))


def _claims(case: Case, claimed: pl.DataFrame, ids: pl.Series) -> pl.DataFrame:
    """Return `key`, `claimed`, `claimed_cleaned` of claimed platform rows, by id."""
    cleaned = case.cleaned[1].select("row", claimed_cleaned="cleaning") if case.cleaned else None
    if cleaned is not None:
        claimed = claimed.join(cleaned, left_on="platform_row", right_on="row", how="left")
    return _by_id(claimed, "platform_row", ids).rename({"platform_row": "claimed"})


def _open(rows: pl.DataFrame, side: Side, name: str, ids: pl.Series) -> pl.DataFrame:
    """Return the open rows of a side with their values and ids."""
    values = side.values_at(rows["row"])
    table = pl.concat([rows.rename({"cleaning": "cleaned"}), values], how="horizontal")
    return _by_id(table, "row", ids).rename({"row": "id"}).with_columns(side=pl.lit(name))


def _by_id(rows: pl.DataFrame, name: str, ids: pl.Series) -> pl.DataFrame:
    """Return the rows with the positions in a column replaced by ids; null stays null."""
    places = pl.DataFrame({name: pl.int_range(len(ids), dtype=pl.UInt32, eager=True), "|id": ids.cast(_ID)})
    found = rows.select(name).join(places, on=name, how="left", maintain_order="left")
    return rows.with_columns(found["|id"].alias(name))


def _shaped(*parts: pl.DataFrame) -> pl.DataFrame:
    """Return the parts under each other, in the columns and types of `ROUND`."""
    return pl.concat(
        part.select(
            (pl.col(name) if name in part.columns else pl.lit(None)).cast(dtype).alias(name)
            for name, dtype in ROUND.items()
        )
        for part in parts
    )
