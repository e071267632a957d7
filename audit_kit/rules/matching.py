"""Reconcile a ledger with the platform's export: which invoice is where, and what differs.

Every ledger row gets exactly one outcome. Numbers are tried first as they stand, then cleaned, then with one typing
error; what is cheap and certain is settled first, on whole columns, and only what remains is looked at more closely.
Nothing ambiguous is ever resolved. The order of the rows decides only between rows that are equal in everything else.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import polars as pl

from audit_kit import identity, schema
from audit_kit.policy import MatchingPolicy
from audit_kit.rules import comparison, neighbours

if TYPE_CHECKING:
    from collections.abc import Callable

_DEFAULT = MatchingPolicy()
_TEXTS = pl.List(pl.String)
_ROWS = pl.List(pl.UInt32)


@dataclass(frozen=True)
class Case:
    """A reconciliation under way.

    `ledger` and `platform` are both sides whole, `left` and `right` their open rows: `row` (position), `key`
    (canonical), `own` (the row's own key), `cleaning`, `stated`, and the compared fields, folded. `claimed` are the
    platform rows that a ledger row has: `key`, `platform_row`. `found` are the decided rows, in the columns of
    `schema.Matches` without key and cleaning.
    """

    ledger: pl.DataFrame
    platform: pl.DataFrame
    left: pl.DataFrame
    right: pl.DataFrame
    fields: tuple[str, ...]
    tolerance: int
    claimed: pl.DataFrame
    found: tuple[pl.DataFrame, ...] = ()


def reconcile(ledger: pl.DataFrame, platform: pl.DataFrame, *, policy: MatchingPolicy = _DEFAULT) -> pl.DataFrame:
    """Return the matches (`schema.Matches`): every ledger row once, in order, then the platform rows nobody claims.

    Args:
        ledger: any frame with `digital_number` or `invoice_number` (with `invoice_code`), `issued_at` and `gross`
            (yuan). The other compared columns are optional; what is absent on either side is not compared.
        platform: the same.
        policy: how far amounts may differ, in yuan.

    Raises:
        RequestError: a column that is needed is not there.
    """
    comparison.require(ledger, "ledger")
    comparison.require(platform, "platform")
    case = open_case(ledger, platform, policy=policy)
    for step in PASSES:
        case = step(case)
    return _assembled(case)


def open_case(ledger: pl.DataFrame, platform: pl.DataFrame, *, policy: MatchingPolicy) -> Case:
    """Prepare both sides, with every row open."""
    fields = comparison.common_fields(ledger, platform)
    left, right = _prepare(ledger, fields), _prepare(platform, fields)
    left, right = _canonical(left, right)
    return Case(
        ledger=left,
        platform=right,
        left=left,
        right=right,
        fields=fields,
        tolerance=comparison.tolerance_units(policy.amount_tolerance_yuan),
        claimed=pl.DataFrame(schema={"key": pl.String, "platform_row": pl.UInt32}),
    )


def same_number(case: Case) -> Case:
    """Settle the keys under which some ledger row agrees with a platform row in amount.

    The pair with the fewest differences is matched, among equals the first. Other ledger rows of that amount are
    duplicates; those of another amount stay open, since their number may be mistyped. Further platform rows are
    duplicates that no ledger row claims.
    """
    heads = _best_pairs(case).filter(~pl.col("other_amount"))
    return _settle(case, heads, duplicates=lambda rows: ~rows["other_amount"])


def typing_errors(case: Case) -> Case:
    """Link open rows whose numbers are one error apart, or lost their last digits, where day and amount agree.

    Only a pair of which each is the other's only candidate is linked; all others are listed as ambiguous.
    """
    near = neighbours.near_pairs(case.left, case.right).with_columns(stated=pl.lit(value=False))
    lossy = neighbours.stated_pairs(case.left, case.right).with_columns(stated=pl.lit(value=True))
    pairs = pl.concat([near, lossy]).unique(["left", "right"], keep="last")
    alone = (pl.len().over("left") == 1) & (pl.len().over("right") == 1)
    pairs = pairs.with_columns(alone=alone)
    linked = _compared(case, pairs.filter("alone").select("left", "right", "stated"))
    agrees = pl.col("differences").list.len() == 0
    lost = pl.when(agrees).then(pl.lit("matched_cleaned")).otherwise(pl.lit("conflict"))
    links = linked.select(
        ledger_row="left",
        platform_row="right",
        candidates=pl.lit([], _ROWS),
        outcome=pl.when("stated").then(lost).otherwise(pl.lit("mistyped")),
        differences="differences",
    )
    unclear = pairs.filter(~pl.col("alone")).group_by("left").agg(candidates=pl.col("right").sort())
    listed = unclear.select(
        ledger_row="left",
        platform_row=pl.lit(None, pl.UInt32),
        candidates="candidates",
        outcome=pl.lit("ambiguous"),
        differences=pl.lit([], _TEXTS),
    )
    claimed = links.select(row="platform_row").join(case.right.select("row", "key"), on="row")
    return _decided(case, pl.concat([links, listed]), claimed.select("key", platform_row="row"))


def other_amount(case: Case) -> Case:
    """Settle open rows that share a key with a platform row of another amount: no typing error explains them.

    Where that platform row is already claimed they are its duplicates, else the best of them is a conflict.
    """
    duplicates = case.left.join(case.claimed.unique("key", keep="first", maintain_order=True), on="key")
    further = case.right.join(case.claimed, on="key", how="semi")
    case = _decided(
        case,
        pl.concat(
            [
                _rows(duplicates["row"], duplicates["platform_row"], "duplicate"),
                _rows(None, further["row"], "duplicate"),
            ]
        ),
    )
    return _settle(case, _best_pairs(case), duplicates=lambda rows: rows["row"].is_not_null())


def leftovers(case: Case) -> Case:
    """What is still open is missing from the platform, or not booked in the ledger."""
    missing = _rows(case.left["row"], None, "missing")
    unbooked = _rows(None, case.right["row"], "unbooked")
    return _decided(case, pl.concat([missing, unbooked]))


# Certain before likely: a number that agrees is settled before a typing error is considered, and a typing error before
# a conflict of amounts, since a mistyped number can hit another invoice.
PASSES: tuple[Callable[[Case], Case], ...] = (same_number, typing_errors, other_amount, leftovers)


def _assembled(case: Case) -> pl.DataFrame:
    """Return the matches: ledger rows in order, then platform rows in order, with key and cleaning."""
    found = pl.concat(case.found).sort("ledger_row", "platform_row", nulls_last=True)
    found = found.join(
        case.ledger.select("own", "cleaning", ledger_row="row"), on="ledger_row", how="left", maintain_order="left"
    ).join(
        case.platform.select("own", "cleaning", platform_row="row"),
        on="platform_row",
        how="left",
        maintain_order="left",
        suffix="|right",
    )
    booked = pl.col("ledger_row").is_not_null()
    cleaning = [pl.col(name).fill_null(pl.lit([], _TEXTS)) for name in ("cleaning", "cleaning|right")]
    return found.select(
        "ledger_row",
        "platform_row",
        invoice_key=pl.when(booked).then("own").otherwise("own|right"),
        candidates="candidates",
        outcome=pl.col("outcome").cast(pl.Enum(schema.OUTCOMES)),
        differences="differences",
        cleaning=pl.concat_list(cleaning).list.unique(maintain_order=True),
    )


def _prepare(frame: pl.DataFrame, fields: tuple[str, ...]) -> pl.DataFrame:
    """Return the open rows of one side: keys, what is left of lost ones, and the compared fields, folded."""
    needed = dict.fromkeys((*fields, "issued_at", "gross"))
    values = frame.select(comparison.plain(frame, name) for name in needed)
    values = values.select(comparison.folded(name) for name in needed)
    keyed = identity.with_key(frame.select(name for name in (*identity.NUMBER_COLUMNS, "cleaning") if name in frame))
    return values.select(
        pl.int_range(pl.len(), dtype=pl.UInt32).alias("row"),
        keyed["invoice_key"].alias("own"),
        keyed["cleaning"],
        identity.stated_number(frame),
        identity.paper_key(frame),
        *needed,
    )


def _canonical(left: pl.DataFrame, right: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Add `key`: a paper 数电票 booked by code and number alone goes by the 20 digits of a row with all three."""
    columns = [pl.col("paper"), pl.col("own")]
    known = pl.concat([left.select(columns), right.select(columns)]).drop_nulls().unique()
    known = known.filter(pl.len().over("paper") == 1)
    if known.is_empty():
        sides = (rows.with_columns(key="own").drop("paper") for rows in (left, right))
    else:
        key = pl.col("own").replace(known["paper"], known["own"])
        sides = (rows.with_columns(key=key).drop("paper") for rows in (left, right))
    first, second = sides
    return first, second


def _compared(case: Case, pairs: pl.DataFrame) -> pl.DataFrame:
    """Add `other_amount` (bool), `differences` (list[str]) and `cleaned` (bool) to pairs of rows `left`, `right`."""
    ours = case.left.select(pl.col("row").alias("left"), "cleaning", *case.fields)
    theirs = case.right.select(pl.col("row").alias("right"), "cleaning", *case.fields)
    both = pairs.join(ours, on="left", how="left", maintain_order="left")
    both = both.join(theirs, on="right", how="left", maintain_order="left", suffix="|right")
    apart = {
        name: comparison.differs(name, f"{name}|right", tolerance=case.tolerance).fill_null(value=False)
        for name in case.fields
    }
    words = [pl.when(unlike).then(pl.lit(name)) for name, unlike in apart.items()]
    return both.select(
        *pairs.columns,
        other_amount=apart.get("gross", pl.lit(value=False)),
        differences=pl.concat_list(words).list.drop_nulls() if words else pl.lit([], _TEXTS),
        cleaned=(pl.col("cleaning").list.len() > 0) | (pl.col("cleaning|right").list.len() > 0),
    )


def _best_pairs(case: Case) -> pl.DataFrame:
    """Return the best pair of every key that both sides have: right amount, then fewest differences, then first."""
    pairs = case.left.select("key", left="row").join(case.right.select("key", right="row"), on="key")
    compared = _compared(case, pairs).with_columns(apart=pl.col("differences").list.len())
    ranked = compared.sort("key", "other_amount", "apart", "left", "right")
    return ranked.unique("key", keep="first", maintain_order=True)


def _settle(case: Case, heads: pl.DataFrame, *, duplicates: Callable[[pl.DataFrame], pl.Series]) -> Case:
    """Link the heads, and call duplicate the other rows of their keys (of the ledger, those that `duplicates` says)."""
    agrees = pl.col("differences").list.len() == 0
    clean = pl.when("cleaned").then(pl.lit("matched_cleaned")).otherwise(pl.lit("matched"))
    links = heads.select(
        ledger_row="left",
        platform_row="right",
        candidates=pl.lit([], _ROWS),
        outcome=pl.when(agrees).then(clean).otherwise(pl.lit("conflict")),
        differences="differences",
    )
    rivals = case.left.select("key", left="row").join(heads.select("key", "right", head="left"), on="key")
    rivals = _compared(case, rivals.filter(pl.col("left") != pl.col("head")))
    rivals = rivals.with_columns(row="left")
    doubles = rivals.filter(duplicates(rivals))
    further = case.right.join(heads.select("key", head="right"), on="key").filter(pl.col("row") != pl.col("head"))
    found = [
        links,
        _rows(doubles["row"], doubles["right"], "duplicate"),
        _rows(None, further["row"], "duplicate"),
    ]
    return _decided(case, pl.concat(found), heads.select("key", platform_row="right"))


def _rows(ledger_row: pl.Series | None, platform_row: pl.Series | None, outcome: str) -> pl.DataFrame:
    """Return decided rows without candidates or differences; None = null throughout."""
    given = {"ledger_row": ledger_row, "platform_row": platform_row}
    size = max(len(rows) for rows in given.values() if rows is not None)
    columns = {
        name: pl.repeat(None, size, dtype=pl.UInt32, eager=True) if rows is None else rows
        for name, rows in given.items()
    }
    return pl.DataFrame(columns).with_columns(
        candidates=pl.lit([], _ROWS), outcome=pl.lit(outcome), differences=pl.lit([], _TEXTS)
    )


def _decided(case: Case, found: pl.DataFrame, claimed: pl.DataFrame | None = None) -> Case:
    """Return the case with rows decided: they are open no more."""
    claimed = case.claimed if claimed is None else pl.concat([case.claimed, claimed])
    return replace(
        case,
        left=case.left.join(found, left_on="row", right_on="ledger_row", how="anti"),
        right=case.right.join(found, left_on="row", right_on="platform_row", how="anti"),
        found=(*case.found, found),
        claimed=claimed,
    )
