"""The exact answer: outcome and cause of every row, by the definitions of the tables and not by what was intended.

A typing error that by chance hits two invoices is ambiguous, whatever was meant; so the outcomes are worked out again
here from clean keys, plainly, and only the causes are remembered.
"""

from __future__ import annotations

import polars as pl
from rapidfuzz.distance import OSA
from rapidfuzz.process import cpdist

from audit_kit.core.cause_records import simulated

COMPARED = ("gross", "net", "tax", "day", "seller_tax_id", "seller_name", "buyer_tax_id", "buyer_name", "status")
TAXPAYERS = ("seller_tax_id", "buyer_tax_id")
KEPT_DIGITS, LOST_DIGITS = 15, 5  # of a 20-digit number in a numeric cell
TRUTH = {
    "ledger_row": pl.UInt32(),
    "platform_row": pl.UInt32(),
    "outcome": pl.String(),
    "cause": pl.String(),
    "late": pl.Boolean(),
    "true_key": pl.String(),
}
BY_OUTCOME = {
    "matched_cleaned": "number_damaged",
    "mistyped": "number_mistyped",
    "ambiguous": "ambiguous",
    "duplicate": "booked_twice",
    "unbooked": "unbooked",
}
BY_FIELD = {
    "status": "status_conflict",
    "gross": "amount_conflict",
    "net": "amount_conflict",
    "tax": "amount_conflict",
    "day": "date_conflict",
}


def outcomes(ledger: pl.DataFrame, platform: pl.DataFrame) -> pl.DataFrame:
    """Return `ledger_row`, `platform_row`, `outcome`, `differs` (first field) for every ledger row.

    Both frames have `clean` (key or null), `dirty` (the number had to be cleaned), `stated` (the true number, where
    only its first digits are left) and the compared fields; money is whole fen. Platform keys are unique.
    """
    right = platform.select(pl.col("clean"), *(pl.col(name).alias(f"p_{name}") for name in COMPARED))
    pairs = (
        ledger.select("clean", "dirty", "stated", *COMPARED)
        .with_row_index("ledger_row")
        .join(right.with_row_index("platform_row"), on="clean", how="left", maintain_order="left")
        .with_columns(differs=_first_difference(), same_gross=(pl.col("gross") - pl.col("p_gross")).abs() <= 1)
    )
    hit = pairs.filter(pl.col("platform_row").is_not_null())
    claimed = _claims(hit.filter("same_gross"))
    rest = pairs.join(claimed, on="ledger_row", how="anti", maintain_order="left")
    taken = claimed["platform_row"].unique().implode()
    typed = _candidates(rest, platform.with_row_index("platform_row").filter(~pl.col("platform_row").is_in(taken)))
    left = rest.join(typed, on="ledger_row", how="anti", maintain_order="left")
    others = _leftovers(left, pl.concat([claimed, typed]))
    return pl.concat([claimed, typed, others]).sort("ledger_row")


def _first_difference() -> pl.Expr:
    """Name the first field in which a pair differs; null where all agree or a field is absent on a side."""
    tests = [
        pl.when(
            (pl.col(name) - pl.col(f"p_{name}")).abs() > 1
            if name in ("gross", "net", "tax")
            else pl.col(name) != pl.col(f"p_{name}")
        ).then(pl.lit(name))
        for name in COMPARED
    ]
    return pl.coalesce(tests)


def _claims(hit: pl.DataFrame) -> pl.DataFrame:
    """Of several rows with one key the one whose fields agree is matched, among equals the first.

    A further row of another day and taxpayer is not its duplicate as long as its number may be mistyped.
    """
    best = hit.sort("platform_row", pl.col("differs").is_not_null(), "ledger_row").with_columns(
        first=pl.int_range(pl.len()).over("platform_row") == 0
    )
    word = pl.when("dirty").then(pl.lit("matched_cleaned")).otherwise(pl.lit("matched"))
    outcome = (
        pl.when(~pl.col("first"))
        .then(pl.lit("duplicate"))
        .when(pl.col("differs").is_not_null())
        .then(pl.lit("conflict"))
        .otherwise(word)
    )
    other_day = pl.col("day") != pl.col("p_day")
    others = [(pl.col(name) != pl.col(f"p_{name}")).fill_null(value=False) for name in TAXPAYERS]
    best = best.with_columns(outcome=outcome).filter(pl.col("first") | ~(other_day & pl.any_horizontal(others)))
    return best.select("ledger_row", "platform_row", "outcome", "differs")


def _candidates(rest: pl.DataFrame, unclaimed: pl.DataFrame) -> pl.DataFrame:
    """Link numbers one edit apart, or equal in the digits that are left, at the same amount and day.

    A pair is linked where it is unique on both sides and no other taxpayer is in it; all others are ambiguous.
    """
    left = rest.select("ledger_row", "clean", "stated", "gross", "day", *TAXPAYERS)
    right = unclaimed.select("platform_row", "gross", "day", *TAXPAYERS, other="clean")
    near = left.join(right, on=["gross", "day"])
    near = near.filter(_one_edit(near["clean"], near["other"]) | _same_start(near["stated"], near["other"]))
    near = near.with_columns(mine=pl.len().over("ledger_row"), theirs=pl.len().over("platform_row"))
    others = [(pl.col(name) != pl.col(f"{name}_right")).fill_null(value=False) for name in TAXPAYERS]
    single = (pl.col("mine") == 1) & (pl.col("theirs") == 1) & ~pl.any_horizontal(others)
    linked = pl.when(pl.col("stated").is_null()).then(pl.lit("mistyped")).otherwise(pl.lit("matched_cleaned"))
    return near.select(
        "ledger_row",
        platform_row=pl.when(single).then("platform_row"),
        outcome=pl.when(single).then(linked).otherwise(pl.lit("ambiguous")),
        differs=pl.lit(None, dtype=pl.String),
    ).unique(maintain_order=True)


def _same_start(stated: pl.Series, other: pl.Series) -> pl.Series:
    """Return whether a number may be the one of which fifteen digits are left, cut off or rounded."""
    digits, scale = KEPT_DIGITS, 10**LOST_DIGITS
    start, rest = pl.col("other").str.head(digits).cast(pl.Int64), pl.col("other").str.slice(digits)
    gap = (start - pl.col("stated").str.head(digits).cast(pl.Int64)) * scale + rest.cast(pl.Int64, strict=False)
    fits = (gap >= -scale // 2) & (gap < scale) & (rest.str.len_chars() == LOST_DIGITS)
    return pl.DataFrame({"stated": stated, "other": other}).select(fits.fill_null(value=False)).to_series()


def _one_edit(left: pl.Series, right: pl.Series) -> pl.Series:
    """Return whether one digit is replaced or two neighbours are swapped."""
    pairs = pl.DataFrame({"left": left, "right": right}).fill_null("")
    distance = cpdist(pairs["left"].to_list(), pairs["right"].to_list(), scorer=OSA.distance, score_cutoff=1)
    same_size = pairs["left"].str.len_bytes() == pairs["right"].str.len_bytes()
    return same_size & pl.Series(distance == 1, dtype=pl.Boolean)


def _leftovers(left: pl.DataFrame, claimed: pl.DataFrame) -> pl.DataFrame:
    """What is neither claimed nor mistyped: a conflict, a duplicate of a claimed one, or missing."""
    owned = pl.col("platform_row").is_in(claimed["platform_row"].drop_nulls().unique().implode())
    again = pl.int_range(pl.len()).over("platform_row") > 0
    outcome = (
        pl.when(pl.col("platform_row").is_null())
        .then(pl.lit("missing"))
        .when(owned | again)
        .then(pl.lit("duplicate"))
        .otherwise(pl.lit("conflict"))
    )
    return left.select("ledger_row", "platform_row", outcome=outcome, differs="differs")


def answer(ledger: pl.DataFrame, platform: pl.DataFrame) -> pl.DataFrame:
    """Return the truth: one row a ledger row, then the platform rows that nothing in the ledger claims.

    `ledger` and `platform` carry `fate` (what was done to the row), `late` and `key` beside the compared fields.
    """
    found = outcomes(ledger, platform)
    booked = found.with_columns(
        fate=ledger["fate"].gather(found["ledger_row"]),
        true_key=ledger["key"].gather(found["ledger_row"]),
        late=pl.when(pl.col("outcome") == "missing").then(ledger["late"].gather(found["ledger_row"])),
    ).with_columns(cause=_cause())
    claimed = booked["platform_row"].drop_nulls().unique().implode()
    free = platform.with_row_index("platform_row").filter(~pl.col("platform_row").is_in(claimed))
    unbooked = free.select("platform_row", true_key="key", outcome=pl.lit("unbooked"), cause=pl.lit("unbooked"))
    booked = booked.select(pl.col(name).cast(dtype) for name, dtype in TRUTH.items())
    empty = [pl.lit(None, dtype=dtype).alias(name) for name, dtype in TRUTH.items() if name not in unbooked.columns]
    unbooked = unbooked.with_columns(empty).select(pl.col(name).cast(dtype) for name, dtype in TRUTH.items())
    return pl.concat([booked, unbooked])


def _cause() -> pl.Expr:
    """Name the cause: what was done to the row where its outcome is the one meant, else what the outcome says."""
    meant = {cause: how.outcome for cause, how in simulated().items()}
    expected = pl.col("fate").replace_strict(meant, default="missing", return_dtype=pl.String)
    beside = [cause for cause, outcome in meant.items() if outcome == "matched"]
    by_field = pl.col("differs").replace_strict(BY_FIELD, default="party_conflict", return_dtype=pl.String)
    return (
        pl.when((pl.col("outcome") == "matched") & ~pl.col("fate").is_in(beside).fill_null(value=False))
        .then(pl.lit(None, dtype=pl.String))
        .when(pl.col("fate") == "precision_lost")
        .then("fate")
        .when(pl.col("outcome") == expected)
        .then(pl.col("fate"))
        .when(pl.col("outcome") == "conflict")
        .then(by_field)
        .when(pl.col("outcome") == "missing")
        .then(pl.lit("lost"))
        .otherwise(pl.col("outcome").replace_strict(BY_OUTCOME, default=None, return_dtype=pl.String))
    )
