"""Reconcile a ledger with the platform's export: which invoice is where, and what differs.

Every ledger row gets exactly one outcome. What is cheap and certain is settled first, on whole columns; only what
remains is cleaned and looked at more closely. Nothing ambiguous is ever resolved. The order of the rows decides only
between rows that are equal in everything else.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from audit_kit.core import identity, schema
from audit_kit.core.policy import MatchingPolicy
from audit_kit.rules.matching import answer, comparison, first_pass, incomplete, intact, near_numbers, rivals
from audit_kit.rules.matching.case import Case
from audit_kit.rules.matching.numbers import as_integer, as_it_stands
from audit_kit.rules.matching.side import FrameSide, side_by_side

if TYPE_CHECKING:
    from collections.abc import Callable

    from audit_kit.rules.matching.side import Side

_DEFAULT = MatchingPolicy()
_OUTCOME = pl.Enum(schema.OUTCOMES)
_TAXPAYERS = ("seller_tax_id", "buyer_tax_id")
_PAIR = ("ledger_row", "platform_row")


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
    case = open_case(ledger, platform, policy=policy)
    for step in PASSES:
        case = step(case)
    return answer.matches(case, as_it_stands(ledger))


def open_case(ledger: pl.DataFrame, platform: pl.DataFrame, *, policy: MatchingPolicy = _DEFAULT) -> Case:
    """Return both sides with every row open."""
    comparison.require_columns(ledger.columns, "ledger")
    comparison.require_columns(platform.columns, "platform")
    fields = comparison.common_fields(ledger, platform)
    left, right = side_by_side(lambda frame: FrameSide.of(frame, fields), ledger, platform)
    return Case(
        ledger=left,
        platform=right,
        tolerance=comparison.tolerance_units(policy.amount_tolerance_yuan),
        left=ledger.select(row=pl.int_range(pl.len(), dtype=pl.UInt32)),
        right=platform.select(row=pl.int_range(pl.len(), dtype=pl.UInt32)),
    )


def tidy_numbers(case: Case) -> Case:
    """Settle the tidy numbers that each side holds once, unless the amounts differ: see `first_pass`."""
    settled = first_pass.settle(case.ledger, case.platform, tolerance=case.tolerance, partitions=case.partitions)
    case = _decided(case, settled.agreeing, "matched")
    case = _decided(case, settled.differing.select(_PAIR), "conflict")
    return replace(case, differences=(settled.differing.select("ledger_row", "differences"),))


def clean_numbers(case: Case) -> Case:
    """Clean the numbers of the open rows, and open again what a cleaned number turns out to be a duplicate of."""
    papers = _papers(case) if case.papers is None else case.papers
    left, right = side_by_side(
        lambda side: _keyed(*side, papers), (case.ledger, case.left), (case.platform, case.right)
    )
    new_keys = pl.concat(
        [_new_keys(case.ledger, left), _new_keys(case.platform, right), _used_papers(case, papers)]
    ).unique()
    again = _reopened(case, new_keys)
    if not again.is_empty():
        left = pl.concat([left, _keyed(case.ledger, again.select(row="ledger_row"), papers)])
        right = pl.concat([right, _keyed(case.platform, again.select(row="platform_row"), papers)])
        found = tuple(rows.join(again, on="ledger_row", how="anti") for rows in case.found)
        notes = tuple(rows.join(again, on="ledger_row", how="anti") for rows in case.differences)
        case = replace(case, found=found, differences=notes)
    return replace(case, left=left, right=right, cleaned=(left, right))


def same_number(case: Case) -> Case:
    """Settle the keys under which some ledger row agrees with a platform row in amount.

    The pair with the fewest differences is matched, among equals the first. Other ledger rows of that amount are
    duplicates; those of another amount, or of another day and taxpayer, stay open, since their number may be mistyped.
    Further platform rows are duplicates that no ledger row claims.
    """
    pairs = _best_pairs(case).filter(~pl.col("other_amount"))
    case = _linked(case, pairs)
    others = case.left.select("key", ledger_row="row").join(pairs.select("key", "platform_row"), on="key")
    other_day = pl.col("differences").list.contains("issued_at")
    others = _compared(case, others).filter(~(pl.col("other_amount") | (other_day & _other_taxpayer())))
    return _platform_duplicates(_decided(case, others.select(_PAIR), "duplicate"))


def incomplete_numbers(case: Case) -> Case:
    """Link rows that keep only the last eight digits where day, amount and parties leave one invoice: `incomplete`."""
    found = incomplete.find(case)
    if found is None:
        return case
    case = _linked(case, _compared(case, found.pairs.with_columns(cleaned=pl.lit(value=True))))
    case = _decided(case, found.listed.select("ledger_row", platform_row=pl.lit(None, pl.UInt32)), "ambiguous")
    return _platform_duplicates(replace(case, candidates=(*case.candidates, found.listed)))


def intact_numbers(case: Case) -> Case:
    """Link rows whose number was taken for damaged though nothing was lost, unless a taxpayer is another: `intact`."""
    found = intact.find(case)
    if found is None:
        return case
    pairs = _compared(case, found).filter(~_other_taxpayer())
    case = intact.named(case, pairs)
    sides = ((case.left, "ledger_row"), (case.right, "platform_row"))
    cleaned = [
        pairs[name].is_in(rows.filter(pl.col("cleaning").list.len() > 0)["row"].implode()) for rows, name in sides
    ]
    return _linked(case, pairs.with_columns((cleaned[0] | cleaned[1]).alias("cleaned")))


def typing_errors(case: Case) -> Case:
    """Link open rows whose numbers are one error apart, or lost their last digits, where day and amount agree.

    Only a pair of which each is the other's only candidate is linked; all others are listed as ambiguous, where they
    are very many the first of them and their count. So is a pair with another taxpayer on either side: a fee that
    recurs on consecutive numbers agrees in day and amount by chance.
    """
    stated = pl.col("stated").str.strip_suffix(identity.DOUBTED)
    left = case.left.with_columns(case.ledger.values_at(case.left["row"]).select("issued_at", "gross"), stated=stated)
    right = case.right.with_columns(
        case.platform.values_at(case.right["row"]).select("issued_at", "gross"), stated=stated
    )
    found = near_numbers.links(left, right)
    pairs = _compared(case, found.alone.rename({"left": "ledger_row", "right": "platform_row"}))
    linked, unclear = pairs.filter(~_other_taxpayer()), pairs.filter(_other_taxpayer())
    unclear = unclear.select(
        "ledger_row", candidates=pl.concat_list("platform_row"), candidate_count=pl.lit(1, pl.UInt32)
    )
    listed = pl.concat([found.listed.rename({"left": "ledger_row"}), unclear])
    case = _decided(case, listed.select("ledger_row", pl.lit(None, pl.UInt32).alias("platform_row")), "ambiguous")
    case = replace(case, candidates=(*case.candidates, listed))
    keyed = linked.join(case.right.select("key", platform_row="row"), on="platform_row", how="left")
    keyed = keyed.with_columns(cleaned=pl.lit(value=True))
    case = _linked(case, keyed.filter("lost"))
    return _linked(case, keyed.filter(~pl.col("lost")), outcome="mistyped")


def other_amount(case: Case) -> Case:
    """Settle open rows that share a key with a platform row of another amount: no typing error explains them.

    Where a platform row of that key is claimed by now they are its duplicates, else the best of them is a conflict.
    """
    case = _ledger_duplicates(case)
    return _platform_duplicates(_ledger_duplicates(_linked(case, _best_pairs(case))))


def leftovers(case: Case) -> Case:
    """What is still open is missing from the platform, or not booked in the ledger."""
    nobody = pl.lit(None, pl.UInt32)
    missing = case.left.select(ledger_row="row", platform_row=nobody)
    unbooked = case.right.select(ledger_row=nobody, platform_row="row")
    return _decided(_decided(case, missing, "missing"), unbooked, "unbooked")


# Certain before likely: a number that agrees goes before one of which a part agrees, that before a typing error, and a
# typing error before a conflict of amounts, since a mistyped number can hit another invoice.
BY_NUMBER: tuple[Callable[[Case], Case], ...] = (tidy_numbers, clean_numbers, same_number, incomplete_numbers)
BY_DAY_AND_AMOUNT: tuple[Callable[[Case], Case], ...] = (intact_numbers, typing_errors)
THE_REST: tuple[Callable[[Case], Case], ...] = (other_amount, leftovers)
PASSES = (*BY_NUMBER, *BY_DAY_AND_AMOUNT, *THE_REST)
"""Numbers that share their last eight digits, then rows that share day and amount, then numbers again."""


def _papers(case: Case) -> pl.DataFrame:
    """Return `paper`, `invoice_key` of the paper 数电票 of both sides, where code and number mean one invoice only."""
    known = pl.concat([side.papers() for side in (case.ledger, case.platform)]).unique()
    return known.filter(pl.len().over("paper") == 1)


def _keyed(side: Side, rows: pl.DataFrame, papers: pl.DataFrame) -> pl.DataFrame:
    """Return the open rows with their keys; a paper 数电票 booked by code and number goes by its 20 digits."""
    rows = rows.select("row")
    tidy = side.whole[rows["row"]].is_not_null()
    plain = rows.filter(tidy).with_columns(
        own=side.text_at(rows["row"].filter(tidy)),
        cleaning=pl.lit([], pl.List(pl.String)),
        stated=pl.lit(None, pl.String),
    )
    numbers = identity.with_key(side.numbers_at(rows["row"].filter(~tidy)))
    cleaned = numbers.select("cleaning", identity.stated_number(numbers), own="invoice_key")
    cleaned = pl.concat([rows.filter(~tidy), cleaned], how="horizontal").select(plain.columns)
    keyed = pl.concat([plain, cleaned])
    key = keyed["own"].replace(papers["paper"], papers["invoice_key"]) if papers.height else keyed["own"]
    return keyed.with_columns(key.alias("key"))


def _new_keys(side: Side, rows: pl.DataFrame) -> pl.DataFrame:
    """Return the keys (`key`) that cleaning brought to light: not the numbers as they stand."""
    fresh = side.whole[rows["row"]].is_null() | rows["key"].ne_missing(rows["own"])
    return rows.filter(fresh).select("key").drop_nulls()


def _used_papers(case: Case, papers: pl.DataFrame) -> pl.DataFrame:
    """Return the keys of paper 数电票 that some settled row goes by as code and number."""
    whole = papers.with_columns(as_integer(papers["paper"]).alias("whole"))
    held = case.ledger.whole.alias("whole").to_frame()
    used = whole.join(held, on="whole", how="semi") if whole.height else whole
    return pl.concat([used.select(key="paper"), used.select(key="invoice_key")])


def _reopened(case: Case, new_keys: pl.DataFrame) -> pl.DataFrame:
    """Return the settled pairs whose number one of the keys is."""
    settled = (
        pl.concat([rows.select(_PAIR) for rows in case.found])
        if case.found
        else pl.DataFrame(schema=dict.fromkeys(_PAIR, pl.UInt32))
    )
    keys = as_integer(new_keys["key"]).drop_nulls()
    if keys.is_empty() or settled.is_empty():
        return settled.clear()
    hit = case.ledger.whole.alias("whole").to_frame().with_row_index("ledger_row")
    hit = hit.join(keys.alias("whole").to_frame(), on="whole", how="semi")
    return settled.join(hit, on="ledger_row", how="semi")


def _compared(case: Case, pairs: pl.DataFrame) -> pl.DataFrame:
    """Add `differences` and `other_amount` to pairs of rows."""
    ours, theirs = case.ledger.values_at(pairs["ledger_row"]), case.platform.values_at(pairs["platform_row"])
    return pl.concat([pairs, comparison.apart(ours, theirs, tolerance=case.tolerance)], how="horizontal")


def _other_taxpayer() -> pl.Expr:
    """Return which compared pairs have another taxpayer on either side."""
    return pl.col("differences").list.set_intersection(list(_TAXPAYERS)).list.len() > 0


def _best_pairs(case: Case) -> pl.DataFrame:
    """Return the best open pair of every shared key: right amount, then fewest differences, then first."""
    cleaned = pl.col("cleaning").list.len() > 0
    ours = case.left.select("key", ledger_row="row", cleaned=cleaned)
    theirs = case.right.select("key", platform_row="row", also=cleaned)
    pairs = rivals.best(ours, theirs, case.ledger, case.platform, tolerance=case.tolerance)
    return pairs.with_columns(pl.col("cleaned") | pl.col("also"))


def _linked(case: Case, pairs: pl.DataFrame, *, outcome: str | None = None) -> Case:
    """Link pairs (`key`, `cleaned`, `differences`); without an outcome given, their differences say which it is."""
    agrees = pl.col("differences").list.len() == 0
    parts = {"matched": agrees & ~pl.col("cleaned"), "matched_cleaned": agrees & pl.col("cleaned"), "conflict": ~agrees}
    for word, chosen in ({outcome: pl.lit(value=True)} if outcome else parts).items():
        case = _decided(case, pairs.filter(chosen).select(_PAIR), word)
    claimed = pl.concat([case.claimed, pairs.select("key", "platform_row")])
    notes = pairs.filter(~agrees).select("ledger_row", "differences")
    return replace(case, claimed=claimed, differences=(*case.differences, notes))


def _ledger_duplicates(case: Case) -> Case:
    """Call open ledger rows duplicates whose key is that of a claimed platform row."""
    claimed = case.claimed.sort("platform_row").unique("key", keep="first")
    duplicates = case.left.select("key", ledger_row="row").join(claimed, on="key")
    return _decided(case, duplicates.select(_PAIR), "duplicate")


def _platform_duplicates(case: Case) -> Case:
    """Call open platform rows duplicates, of no ledger row, whose key is that of a claimed one."""
    further = case.right.join(case.claimed, on="key", how="semi")
    return _decided(case, further.select(ledger_row=pl.lit(None, pl.UInt32), platform_row="row"), "duplicate")


def _decided(case: Case, rows: pl.DataFrame, outcome: str) -> Case:
    """Return the case with rows decided: they are open no more."""
    found = rows.with_columns(outcome=pl.lit(outcome, dtype=_OUTCOME))
    return replace(
        case,
        left=_without(case.left, rows["ledger_row"], len(case.ledger.whole)),
        right=_without(case.right, rows["platform_row"], len(case.platform.whole)),
        found=(*case.found, found),
    )


def _without(rows: pl.DataFrame, decided: pl.Series, height: int) -> pl.DataFrame:
    """Return the open rows that are not decided."""
    if decided.null_count() == len(decided):
        return rows
    still = np.ones(height, dtype=np.bool_)
    still[decided.drop_nulls().to_numpy()] = False
    return rows.filter(pl.Series(still[rows["row"].to_numpy()]))
