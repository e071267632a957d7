"""What missing invoices look like: first digits of amounts, gaps in old number ranges, counterparties.

None of it proves anything by itself; each says where to look, and whether the test may be used at all.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import polars as pl

from audit_kit.core.identity import OLD_CODES, OLD_NUMBER
from audit_kit.rules.causes.patterns import levels
from audit_kit.rules.sync.curves import total, typed

BENFORD_LEAST = 300  # amounts below which first digits say nothing
BENFORD_ORDERS = 2.0  # powers of ten that the middle 98 % of amounts must span
BENFORD_REPEATED = 0.3  # largest share that the twenty commonest amounts may have
COMMONEST = 20
CONFORMS = 0.015  # mean absolute deviation above which first digits do not follow Benford (Nigrini)
GAP_LONGEST = 500  # a longer jump is another range of numbers

GAPS = {
    "invoice_code": pl.String(),
    "first": pl.String(),
    "last": pl.String(),
    "absent": pl.UInt32(),
    "after_row": pl.UInt32(),
    "before_row": pl.UInt32(),
}


@dataclass(frozen=True, kw_only=True)
class DigitProfile:
    """First digits of amounts against Benford's law.

    `table`: `digit`, `count`, `share`, `expected`, `z`. `reason`: why the test may not be used (`few`, `narrow`,
    `repeated`), null where it may. `deviation`: mean absolute deviation of the shares. `conforms`: null where the test
    may not be used.
    """

    table: pl.DataFrame
    amounts: int
    orders: float
    repeated: float
    reason: str | None
    deviation: float
    conforms: bool | None


def digit_profile(amounts: pl.Series) -> DigitProfile:
    """Return the first digits of amounts (yuan; sign and amounts below one cent are left out)."""
    values = amounts.cast(pl.Float64).abs().rename("amount").to_frame().filter(pl.col("amount") >= 0.01)  # noqa: PLR2004
    n = values.height
    digits = values.select(
        digit=(pl.col("amount") * 100).round().cast(pl.Int64).cast(pl.String).str.slice(0, 1).cast(pl.Int64)
    )
    law = pl.DataFrame({"digit": range(1, 10)}).with_columns(expected=(1 + 1 / pl.col("digit")).log10())
    counts = digits.group_by("digit").agg(count=pl.len())
    table = law.join(counts, on="digit", how="left").with_columns(pl.col("count").fill_null(0))
    table = table.with_columns(share=pl.col("count") / max(n, 1)).with_columns(
        z=(pl.col("share") - pl.col("expected")) / (pl.col("expected") * (1 - pl.col("expected")) / max(n, 1)).sqrt()
    )
    low, high = (float(values["amount"].quantile(q) or 1.0) for q in (0.01, 0.99))
    orders = math.log10(high / low) if n else 0.0
    repeated = values["amount"].value_counts(sort=True)["count"].head(COMMONEST).sum() / max(n, 1)
    reason = "few" if n < BENFORD_LEAST else "narrow" if orders < BENFORD_ORDERS else None
    reason = reason or ("repeated" if repeated > BENFORD_REPEATED else None)
    deviation = float((table["share"] - table["expected"]).abs().mean() or 0.0)  # type: ignore[arg-type]
    return DigitProfile(
        table=table.select("digit", "count", "share", "expected", "z"),
        amounts=n,
        orders=orders,
        repeated=float(repeated),
        reason=reason,
        deviation=deviation,
        conforms=None if reason else deviation <= CONFORMS,
    )


def gaps(ledger: pl.DataFrame, platform: pl.DataFrame) -> pl.DataFrame:
    """Return numbers that neither ledger nor platform has, within ranges of old invoices.

    Only old invoices (code and 8 digits) come from a taxpayer's own ranges; 数电票 numbers are given out to everyone
    in turn, so that a gap in them means nothing.

    Returns:
        `invoice_code`, `first`, `last` (numbers absent, both ends included), `absent`, `after_row`, `before_row` (the
        ledger's source rows on either side; null where only the platform has that neighbour).
    """
    sides = [_old_numbers(ledger, own=True), _old_numbers(platform, own=False)]
    numbers = (
        pl.concat(sides)
        .group_by("invoice_code", "number")
        .agg(pl.col("source_row").max())
        .sort("invoice_code", "number")
    )
    step = (pl.col("number") - pl.col("number").shift()).over("invoice_code")
    broken = numbers.with_columns(
        step=step,
        before=pl.col("number").shift().over("invoice_code"),
        after_row=pl.col("source_row").shift().over("invoice_code"),
    ).filter(pl.col("step").is_between(2, GAP_LONGEST + 1))
    text = {"first": pl.col("before") + 1, "last": pl.col("number") - 1}
    found = broken.select(
        "invoice_code",
        *(value.cast(pl.String).str.zfill(OLD_NUMBER).alias(name) for name, value in text.items()),
        absent=pl.col("step") - 1,
        after_row="after_row",
        before_row="source_row",
    )
    return typed(found, GAPS)


def _old_numbers(frame: pl.DataFrame, *, own: bool) -> pl.DataFrame:
    """Return code, number and source row of the old invoices of a frame."""
    wanted = {
        "invoice_code": pl.String,
        "invoice_number": pl.String,
        "digital_number": pl.String,
        "source_row": pl.UInt32,
    }
    rows = frame.select(
        (pl.col(name) if name in frame.columns else pl.lit(None)).cast(dtype).alias(name)
        for name, dtype in wanted.items()
    )
    lengths = pl.col("invoice_code").str.len_bytes().is_in(list(OLD_CODES))
    old = lengths & pl.col("invoice_number").str.contains(r"^\d{8}$") & pl.col("digital_number").is_null()
    return rows.filter(old).select(
        "invoice_code",
        number=pl.col("invoice_number").cast(pl.Int64),
        source_row=pl.col("source_row") if own else pl.lit(None, pl.UInt32),
    )


def counterparties(rows: pl.DataFrame, *, direction: str = "issued") -> pl.DataFrame:
    """Return the counterparties of missing invoices, as `patterns.levels` does, with `yuan` missing; most yuan first.

    Args:
        rows: ledger columns and `missing`.
        direction: `issued` (the buyer is the counterparty) or `received` (the seller).
    """
    side = "buyer" if direction == "issued" else "seller"
    names = [f"{side}_name", f"{side}_tax_id"]
    who = pl.coalesce(*(pl.col(name) for name in names if name in rows.columns), pl.lit(None, pl.String))
    rows = rows.with_columns(counterparty=who)
    yuan = rows.filter("missing").group_by(level="counterparty").agg(yuan=total(pl.col("gross").cast(pl.Float64).abs()))
    found = levels(rows, ("counterparty",)).filter(pl.col("missing") > 0)
    return found.join(yuan, on="level", how="left").sort("yuan", "level", descending=[True, False], nulls_last=True)
