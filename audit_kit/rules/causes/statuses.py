"""Causes that lie in what is known of the invoice: changed, voided, reversed, not issued, otherwise, booked twice."""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl

from audit_kit.core import schema
from audit_kit.rules.causes.evidence import differs, outcome

if TYPE_CHECKING:
    from collections.abc import Callable

    from audit_kit.rules.causes.evidence import Case

AMOUNTS = ("net", "tax", "gross")
EDITABLE = (*AMOUNTS, "buyer_tax_id", "buyer_name", "seller_tax_id", "seller_name", "kind")
REVERSED = ("red_full", "red_part")
CHANGES = ("edit", "void", "red")
CHANGES_OF_A_ROW = pl.List(pl.Struct({"field": pl.String, "values": pl.String}))
HALF_CENT = 0.005
LEFT_OUT = 0.5  # voided or reversed invoices are left out of the platform's list if more than this share is missing


def edited_not_synced(case: Case) -> pl.DataFrame:
    """The operation log shows a change, and the platform still holds the value from before it."""
    log = case.evidence.operations.filter(
        pl.col("action").cast(pl.String).is_in(CHANGES) & pl.col("invoice_number").is_not_null()
    ).select(
        "at", "account", "action", "field", "before", "after", invoice_key=pl.col("invoice_number").str.strip_chars()
    )
    headers = {header: name for name, header in schema.headers("platform").items()}
    log = log.with_columns(column=pl.col("field").replace(headers))
    rows = case.open.filter(pl.col("platform_row").is_not_null() & outcome("conflict"))
    joined = rows.join(log, on="invoice_key", how="inner", maintain_order="left")
    held = [_same_value(name) for name in EDITABLE]
    holds_old = pl.any_horizontal(*held, _old_status())
    kept = joined.filter(holds_old).sort("at").unique("row", keep="last", maintain_order=True).sort("row")
    return kept.rename({"at": "changed_at", "account_right": "by"})


def _same_value(name: str) -> pl.Expr:
    """Return whether the platform holds the old value in a field: the one named in the log, or one that differs."""
    number = name in AMOUNTS
    old = pl.col("before").str.replace_all(r"[,¥￥\s]", "")
    held = pl.col(f"p_{name}")
    same = (
        (held.cast(pl.Float64) - old.cast(pl.Float64, strict=False)).abs() < HALF_CENT
        if number
        else held == pl.col("before")
    )
    return ((pl.col("column") == name).fill_null(value=False) | differs(name)) & same.fill_null(value=False)


def _old_status() -> pl.Expr:
    """Return whether the invoice was voided or reversed while the platform still calls it normal."""
    undone = pl.col("action").cast(pl.String).is_in(["void", "red"])
    mine = pl.col("status").cast(pl.String).is_in(["voided", *REVERSED])
    return undone & mine & (pl.col("p_status").cast(pl.String) == "normal").fill_null(value=False)


def voided(case: Case) -> pl.DataFrame:
    """The invoice was voided: the platform or the operation log says so, or the voided ones are no longer listed."""
    return _with_statuses(case.open.filter(_undone(case, ("voided",), "void")))


def red_reversed(case: Case) -> pl.DataFrame:
    """A red invoice reversed it while the ledger still carries it as normal, or reversed ones are no longer listed."""
    referred = [
        frame["red_of"] for frame in (case.evidence.platform, case.evidence.ledger) if "red_of" in frame.columns
    ]
    reds = pl.concat(referred).drop_nulls().unique() if referred else pl.Series(dtype=pl.String)
    named = outcome("missing") & pl.col("invoice_key").is_in(reds.implode())
    return _with_statuses(case.open.filter(_undone(case, REVERSED, "red") | named.fill_null(value=False)))


def not_issued(case: Case) -> pl.DataFrame:
    """The invoice was never issued: a draft or a failed request stands in the ledger."""
    draft = pl.col("status").cast(pl.String) == "not_issued"
    conflict = outcome("conflict") & differs("status") & (draft | (pl.col("p_status").cast(pl.String) == "not_issued"))
    return _with_statuses(case.open.filter(((outcome("missing") & draft) | conflict).fill_null(value=False)))


def _undone(case: Case, words: tuple[str, ...], action: str) -> pl.Expr:
    """Return which rows were voided or reversed, for all that is known of them.

    The platform says so and the ledger does not; or the log shows it and the platform does not list the invoice; or the
    ledger says so and most of those that it says so of are not listed, so that the platform leaves them out.
    """
    ours, theirs = pl.col("status").cast(pl.String), pl.col("p_status").cast(pl.String)
    stated = outcome("conflict") & differs("status") & theirs.is_in(words) & ~ours.is_in(words).fill_null(value=False)
    log = case.evidence.operations.filter((pl.col("action") == action) & pl.col("invoice_number").is_not_null())
    logged = outcome("missing") & pl.col("invoice_key").is_in(log["invoice_number"].str.strip_chars().implode())
    ledger = case.evidence.ledger
    everyone = int(ledger["status"].is_in(words).sum()) if "status" in ledger.columns else 0
    gone = outcome("missing") & ours.is_in(words)
    left_out = case.rows.filter(gone).height > LEFT_OUT * everyone
    return (stated | logged | (gone & pl.lit(left_out))).fill_null(value=False)


def status_conflict(case: Case) -> pl.DataFrame:
    """Ledger and platform disagree about the invoice's status in another way."""
    return _with_statuses(case.open.filter(outcome("conflict") & differs("status")))


def _with_statuses(rows: pl.DataFrame) -> pl.DataFrame:
    theirs = pl.when(outcome("missing")).then(pl.lit("absent")).otherwise(pl.col("p_status").cast(pl.String))
    return rows.with_columns(ours="status", theirs=theirs)


def amount_conflict(case: Case) -> pl.DataFrame:
    """The amounts differ by more than a cent."""
    rows = case.open.filter(outcome("conflict") & pl.any_horizontal(differs(name) for name in AMOUNTS))
    return _with_values(case, rows)


def date_conflict(case: Case) -> pl.DataFrame:
    """The invoice was issued on another day than the ledger says."""
    return _with_values(case, case.open.filter(outcome("conflict") & differs("issued_at")))


def party_conflict(case: Case) -> pl.DataFrame:
    """The platform names another seller or buyer: another tax id, or another name; or another field differs."""
    return _with_values(case, case.open.filter(outcome("conflict")))


def _with_values(case: Case, rows: pl.DataFrame) -> pl.DataFrame:
    """Add `changes`: each differing field with the ledger's value, the platform's and, for money, the difference."""
    parts = []
    fields = rows["differences"].explode().unique().drop_nulls().to_list()
    ledger, platform = case.evidence.ledger, case.evidence.platform
    for name in sorted(fields):
        if name not in ledger.columns or name not in platform.columns:
            continue
        ours = ledger[name].gather(rows["ledger_row"]).alias("ours")
        theirs = platform[name].gather(rows["platform_row"]).alias("theirs")
        values = pl.format("{} → {}", _text(ours), _text(theirs))
        if name in AMOUNTS:
            gap = _text((theirs - ours).alias("gap"))
            values = pl.concat_str(values, pl.lit(" ("), gap, pl.lit(")"))
        parts.append(pl.when(differs(name)).then(pl.struct(field=pl.lit(name), values=values)))
    return rows.with_columns(changes=pl.concat_list(parts).list.drop_nulls() if parts else pl.lit([], CHANGES_OF_A_ROW))


def _text(values: pl.Series) -> pl.Expr:
    if values.dtype == pl.Datetime:
        values = values.dt.strftime("%Y-%m-%d %H:%M")
    return pl.lit(values.cast(pl.String)).fill_null("—")


def booked_twice(case: Case) -> pl.DataFrame:
    """The ledger carries the same invoice a second time."""
    rows = case.open.filter(outcome("duplicate") & pl.col("ledger_row").is_not_null())
    first = case.evidence.matches.filter(
        pl.col("platform_row").is_in(rows["platform_row"].drop_nulls().implode())
        & pl.col("ledger_row").is_not_null()
        & (pl.col("outcome") != "duplicate")
    ).unique("platform_row", keep="first")
    ledger = case.evidence.ledger
    first = first.select(
        "platform_row",
        first_file=ledger["source_file"].gather(first["ledger_row"])
        if "source_file" in ledger.columns
        else pl.lit(None),
        first_row=ledger["source_row"].gather(first["ledger_row"]) if "source_row" in ledger.columns else pl.lit(None),
        first_voucher=ledger["voucher"].gather(first["ledger_row"]) if "voucher" in ledger.columns else pl.lit(None),
    )
    return rows.join(first, on="platform_row", how="left", maintain_order="left")


CAUSES: tuple[Callable[[Case], pl.DataFrame], ...] = (
    edited_not_synced,
    voided,
    red_reversed,
    not_issued,
    status_conflict,
    amount_conflict,
    date_conflict,
    party_conflict,
    booked_twice,
)
