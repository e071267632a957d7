"""Numbers of which only the last eight digits were kept, or that stand without their code.

Such a row belongs to the one invoice that ends in these digits, where day, amount and parties agree as well and nothing
else fits on either side. In all other cases what may be meant is listed, also where a ledger row with the whole number
has it already. Nothing is done where no number is incomplete.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import polars as pl

from audit_kit.core.identity import OLD_NUMBER
from audit_kit.rules.matching import comparison
from audit_kit.rules.matching.near_numbers import MOST_CANDIDATES_ROWS

if TYPE_CHECKING:
    from audit_kit.rules.matching.case import Case
    from audit_kit.rules.matching.side import Side

MANY_PAIRS = 4_096
"""Rows of one ending and day (those of one side times those of the other) from which on none is linked."""

_TAILS = 10**OLD_NUMBER
_ALL_ALIKE = ["tail", "issued_at", "gross"]
_PARTIES = ("seller", "buyer")
_LISTED = {"ledger_row": pl.UInt32(), "candidates": pl.List(pl.UInt32), "candidate_count": pl.UInt32()}


class Found(NamedTuple):
    """What incomplete numbers belong to.

    `pairs`: `key` (the whole number), `ledger_row`, `platform_row`. `listed`: the other rows that have candidates:
    `ledger_row`, `candidates` (the first rows, in order), `candidate_count` (of all of them).
    """

    pairs: pl.DataFrame
    listed: pl.DataFrame


def find(case: Case) -> Found | None:
    """Return what the incomplete numbers of both sides belong to; None where there are none."""
    short = [rows.filter(pl.col("stated").str.len_bytes() == OLD_NUMBER) for rows in (case.left, case.right)]
    if short[0].is_empty() and short[1].is_empty():
        return None
    ours = _with_values(case.ledger, _tailed(short[0], case.left if short[1].height else None))
    theirs = _with_values(case.platform, _ending_so(case, short[1], ours["tail"]))
    theirs = theirs.with_columns(free=theirs["row"].is_in(case.right["row"].implode()))
    fitting = _with_parties(case, _pairs(ours, theirs, case.tolerance))
    pairs = _only(fitting)
    left = ours.filter("short").join(pairs, left_on="row", right_on="ledger_row", how="anti")
    listed = [_of_pairs(fitting.filter("short"), left)]
    for on in ([_ALL_ALIKE], [["tail", "issued_at"], ["tail", "gross"]]):
        left = left.join(listed[-1], left_on="row", right_on="ledger_row", how="anti")
        listed.append(_alike_in(left, theirs, on))
    # A whole number that two incomplete ones of the platform may be is listed too.
    whole = ours.filter(~pl.col("short")).join(pairs, left_on="row", right_on="ledger_row", how="anti")
    listed.append(_of_pairs(fitting.filter(~pl.col("short")), whole))
    return Found(pairs, pl.concat(listed).sort("ledger_row"))


def _tailed(short: pl.DataFrame, every: pl.DataFrame | None) -> pl.DataFrame:
    """Return `row`, `key`, `tail`, `short` of incomplete numbers and, where others are given, of the whole ones."""
    columns = {"row": pl.UInt32, "key": pl.String, "tail": pl.String, "short": pl.Boolean}
    parts = [short.select("row", "key", tail="stated", short=pl.lit(value=True))]
    if every is not None:
        whole = every.filter(pl.col("key").is_not_null())
        parts.append(whole.select("row", "key", tail=pl.col("key").str.tail(OLD_NUMBER), short=pl.lit(value=False)))
    return pl.concat([pl.DataFrame(schema=columns), *parts])


def _ending_so(case: Case, short: pl.DataFrame, tails: pl.Series) -> pl.DataFrame:
    """Return `row`, `key`, `tail`, `short` of the platform rows that end in these digits, claimed ones included."""
    cleaned = case.cleaned[1] if case.cleaned else case.right
    known = _tailed(short, cleaned)
    wanted = tails.unique().cast(pl.UInt64)
    whole = case.platform.whole
    hit = (whole % _TAILS).is_in(wanted.implode()).fill_null(value=False)
    tidy = pl.DataFrame({"row": hit.arg_true().cast(pl.UInt32)}).join(cleaned, on="row", how="anti")
    tidy = tidy.with_columns(key=case.platform.text_at(tidy["row"]))
    settled = _tailed(short.clear(), tidy)
    return pl.concat([known.filter(pl.col("tail").is_in(tails.implode())), settled]).sort("row")


def _with_values(side: Side, rows: pl.DataFrame) -> pl.DataFrame:
    """Add day and amount, and the parties as they are compared."""
    values = comparison.folded(side.values_at(rows["row"]))
    wanted = [name for name in ("issued_at", "gross", *comparison.FOLDS) if name in values.columns]
    return pl.concat([rows, values.select(wanted)], how="horizontal")


def _pairs(ours: pl.DataFrame, theirs: pl.DataFrame, tolerance: int) -> pl.DataFrame:
    """Return the rows that end alike and agree in day and amount, one of them incomplete; none where too many do."""
    on = ["tail", "issued_at"]
    counts = ours.group_by(on).len("mine").join(theirs.group_by(on).len("other"), on=on)
    few = counts.filter(pl.col("mine").cast(pl.UInt64) * pl.col("other") <= MANY_PAIRS)
    pairs = ours.join(few.select(on), on=on, how="semi").join(theirs, on=on)
    agree = (pl.col("gross") - pl.col("gross_right")).abs() <= tolerance
    return pairs.filter(agree & (pl.col("short") | pl.col("short_right")))


def _with_parties(case: Case, pairs: pl.DataFrame) -> pl.DataFrame:
    """Return the pairs of which no party is known to be another: by its tax id, else by its name."""
    known = set(case.ledger.values_at(pl.Series([], dtype=pl.UInt32)).columns)
    for party in _PARTIES:
        names = [name for name in (f"{party}_tax_id", f"{party}_name") if name in known]
        if names:
            same = pl.coalesce(pl.col(name) == pl.col(f"{name}_right") for name in names)
            pairs = pairs.filter(same.fill_null(value=True))
    return pairs.select(
        "short",
        "free",
        "key_right",
        ledger_row="row",
        platform_row="row_right",
        # Platform rows of one number are one invoice; an incomplete one stands for itself.
        invoice=pl.coalesce("key_right", pl.lit("row ") + pl.col("row_right").cast(pl.String)),
        key=pl.coalesce("key_right", "key"),
    )


def _only(fitting: pl.DataFrame) -> pl.DataFrame:
    """Return the pairs that are each other's only choice among what is not claimed: `key` and the rows."""
    free = fitting.filter("free").sort("ledger_row", "platform_row")
    free = free.unique(["ledger_row", "invoice"], keep="first", maintain_order=True)
    once = [pl.len().over(name) == 1 for name in ("ledger_row", "invoice")]
    return free.filter(pl.all_horizontal(once)).select("key", "ledger_row", "platform_row")


def _of_pairs(pairs: pl.DataFrame, left: pl.DataFrame) -> pl.DataFrame:
    """Return the candidates of these rows among the pairs."""
    pairs = pairs.join(left.select(ledger_row="row"), on="ledger_row", how="semi").sort("ledger_row", "platform_row")
    found = pairs.group_by("ledger_row", maintain_order=True).agg(
        candidates=pl.col("platform_row").head(MOST_CANDIDATES_ROWS), candidate_count=pl.len()
    )
    return found.cast(pl.Schema(_LISTED))


def _alike_in(left: pl.DataFrame, theirs: pl.DataFrame, alternatives: list[list[str]]) -> pl.DataFrame:
    """Return the candidates of these rows that agree with them in one of these sets of columns."""
    found = []
    for on in alternatives:
        groups = theirs.join(left, on=on, how="semi").sort("row").group_by(on, maintain_order=True)
        lists = groups.agg(candidates=pl.col("row").head(MOST_CANDIDATES_ROWS), candidate_count=pl.len())
        found.append(left.join(lists, on=on).select("candidates", "candidate_count", ledger_row="row"))
    every = pl.concat(found)
    counts = every.group_by("ledger_row").agg(pl.col("candidate_count").sum())
    rows = every.select("ledger_row", "candidates").explode("candidates").sort("ledger_row", "candidates")
    rows = rows.group_by("ledger_row").agg(pl.col("candidates").head(MOST_CANDIDATES_ROWS))
    both = rows.join(counts, on="ledger_row").select(list(_LISTED))
    return both.cast(pl.Schema(_LISTED))
