"""Causes that lie in what is known of the invoice: changed, voided, reversed or not yet, not issued, booked twice."""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl

from audit_kit import resources
from audit_kit.core import schema
from audit_kit.rules.causes.evidence import REVERSED, ROW, differs, outcome
from audit_kit.rules.causes.systems import issued_to_other
from audit_kit.rules.proofs import deeds, failures
from audit_kit.rules.proofs.red_forms import OVERDUE

if TYPE_CHECKING:
    from collections.abc import Callable

    from audit_kit.rules.causes.evidence import Case

AMOUNTS = ("net", "tax", "gross")
EDITABLE = (*AMOUNTS, "buyer_tax_id", "buyer_name", "seller_tax_id", "seller_name", "kind")
MONEY = pl.Decimal(18, 2)
CHANGES = ("edit", "void", "red")
CHANGES_OF_A_ROW = pl.List(
    pl.Struct({"field": pl.String, "ours": pl.String, "theirs": pl.String, "apart": pl.String, "gap": pl.String})
)
HALF_CENT = 0.005
LEFT_OUT = 0.5  # voided or reversed invoices are left out of the platform's list if more than this share is missing


def edited_not_synced(case: Case) -> pl.DataFrame:
    """The operation log shows a change, and the platform still holds the value from before it."""
    log = case.deeds.filter(pl.col("stands") & pl.col("action").is_in(CHANGES))
    log = log.select("at", "account", "action", "field", "before", "after", "invoice_key")
    headers = {header: name for name, header in schema.headers("platform").items()}
    log = log.with_columns(column=pl.col("field").replace(headers))
    rows = case.open.filter(pl.col("platform_row").is_not_null() & outcome("conflict"))
    joined = rows.join(log, on="invoice_key", how="inner", maintain_order="left")
    held = [_same_value(name) for name in EDITABLE]
    holds_old = pl.any_horizontal(*held, _old_status())
    joined = joined.join(case.form_pending, on="row", how="anti", maintain_order="left")
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
    """The invoice was voided: the platform or the operation log says so, or the ledger does and it is not listed."""
    booked = outcome("missing") & (pl.col("status").cast(pl.String) == "voided") & ~_in_vain(case, "void")
    known = (_stated(("voided",)) | _logged(case, "void")).fill_null(value=False)
    rows = case.open.filter((known | booked).fill_null(value=False))
    usual = ~known & pl.lit(_lists_voided(case))
    notes = [
        pl.when(usual).then(pl.lit("listed")),
        pl.when(outcome("missing") & _digital()).then(pl.lit("digital")),
    ]
    state = pl.when(usual).then(pl.lit("unknown")).otherwise(pl.lit("fails"))
    return _with_statuses(rows).with_columns(state=state, notes=pl.concat_list(notes).list.drop_nulls())


def red_reversed(case: Case) -> pl.DataFrame:
    """A red invoice reversed it while the ledger still carries it as normal, or reversed ones are no longer listed."""
    named = outcome("missing") & pl.col("invoice_key").is_in(case.named_as_blue.implode())
    booked = outcome("missing") & pl.col("status").cast(pl.String).is_in(REVERSED) & ~_in_vain(case, "red")
    booked &= pl.lit(_left_out(case, REVERSED))
    # A form that is not confirmed weighs more than the ledger or a log, and less than the platform's own word.
    told = (named | booked | _logged(case, "red")).fill_null(value=False)
    told &= ~pl.col(ROW).is_in(case.form_pending[ROW].implode())
    rows = case.open.filter(_stated(REVERSED).fill_null(value=False) | told)
    return _with_listed(case, rows)


def red_pending(case: Case) -> pl.DataFrame:
    """The red invoice cannot be there, nor the blue one be reversed: the red confirmation form is not confirmed."""
    rows = case.open.join(case.form_pending, on=ROW, how="inner", maintain_order="left")
    rows = rows.join(_gross_of(case, rows["blue"]), on="blue", how="left", maintain_order="left")
    red = pl.col("what") == "red"
    state = pl.when(pl.col("means") == OVERDUE).then(pl.lit("unknown")).otherwise(pl.lit("fails"))
    reds = pl.coalesce("form_amount", pl.when(red).then(pl.col("gross").cast(pl.Float64).abs()))
    return _with_left(rows.with_columns(state=state), pl.lit("form"), pl.col("blue_gross"), reds)


def _with_listed(case: Case, rows: pl.DataFrame) -> pl.DataFrame:
    """Add the statuses, and `left` of a blue invoice by the red invoices that the platform lists."""
    rows = rows.join(case.reds_listed, left_on="invoice_key", right_on="blue", how="left", maintain_order="left")
    theirs = pl.col("p_status").cast(pl.String)
    kind = (
        pl.when(theirs == "red_full")
        .then(None)
        .when(pl.col("reversed").is_not_null())
        .then(pl.lit("listed"))
        .when(theirs == "red_part")
        .then(pl.lit("unknown"))
    )
    return _with_left(_with_statuses(rows), kind, pl.coalesce("p_gross", "gross"), pl.col("reversed"))


def _with_left(rows: pl.DataFrame, kind: pl.Expr, gross: pl.Expr, reds: pl.Expr) -> pl.DataFrame:
    """Add `left`: of a blue invoice reversed in part its gross, what is reversed and what is left, else nothing.

    `kind`: null where nothing is said; `unknown` where it is reversed in part, and by how much is not known.
    """
    blue_gross, reds = (value.cast(pl.Float64).abs().round(2).cast(MONEY) for value in (gross, reds))
    rest = blue_gross - reds
    known = (kind == "unknown") | ((rest > HALF_CENT) & (reds > HALF_CENT))
    part = pl.struct(kind=kind, blue_gross=blue_gross, reds=reds, rest=rest)
    return rows.with_columns(left=pl.concat_list(pl.when(known).then(part)).list.drop_nulls())


def _gross_of(case: Case, keys: pl.Series) -> pl.DataFrame:
    """Return `blue`, `blue_gross` of the invoices with these keys that either side has."""
    found = case.evidence.matches.filter(pl.col("invoice_key").is_in(keys.drop_nulls().unique().implode()))
    sides = ((case.evidence.platform, "platform_row"), (case.evidence.ledger, "ledger_row"))
    known = found.select(
        pl.coalesce(side["gross"].gather(found[row]) for side, row in sides if "gross" in side.columns).alias(
            "blue_gross"
        ),
        blue="invoice_key",
    )
    return known.drop_nulls().unique("blue", keep="first", maintain_order=True)


def not_issued(case: Case) -> pl.DataFrame:
    """The invoice was never issued: a draft or a failed request stands in the ledger."""
    draft = pl.col("status").cast(pl.String) == "not_issued"
    conflict = outcome("conflict") & differs("status") & (draft | (pl.col("p_status").cast(pl.String) == "not_issued"))
    rows = case.open.filter(((outcome("missing") & draft) | conflict).fill_null(value=False))
    return _with_failure(case, _with_statuses(rows))


def _with_failure(case: Case, rows: pl.DataFrame) -> pl.DataFrame:
    """Add why the issue failed: the last failure in the log, else a remark in the ledger that tells a known reason.

    `failure` (log, remark, none), `reason`, `failed_at`, `error`, `message`, `log_file`, `log_row`.
    """
    last = failures.last_failures(case.evidence.sync_log, rows["invoice_key"])
    remarked = rows.select("row", remarked=failures.reason(rows["remark"]))
    rows = rows.join(last, on="invoice_key", how="left", maintain_order="left", nulls_equal=False)
    rows = rows.with_columns(remarked["remarked"])
    from_remark = pl.col("remarked") != failures.NO_REASON
    return rows.with_columns(
        failure=pl.when(pl.col("failed_at").is_not_null())
        .then(pl.lit("log"))
        .when(from_remark)
        .then(pl.lit("remark"))
        .otherwise(pl.lit("none")),
        reason=pl.coalesce("reason", "remarked"),
    ).drop("remarked")


def _stated(words: tuple[str, ...]) -> pl.Expr:
    """Return where the platform calls an invoice voided or reversed, and the ledger does not."""
    ours, theirs = pl.col("status").cast(pl.String), pl.col("p_status").cast(pl.String)
    return outcome("conflict") & differs("status") & theirs.is_in(words) & ~ours.is_in(words).fill_null(value=False)


def _logged(case: Case, action: str) -> pl.Expr:
    """Return which missing rows the operation log shows to be voided or reversed, by a deed that had its effect."""
    return outcome("missing") & pl.col("invoice_key").is_in(deeds.done(case.deeds, action).implode())


def _in_vain(case: Case, action: str) -> pl.Expr:
    """Return of which rows the operation log says that voiding or reversing them did not succeed."""
    tried = case.vain.filter((pl.col("action") == action) & pl.col("meaning").is_in(deeds.UNDONE))
    return pl.col("invoice_key").is_in(tried["invoice_key"].implode()).fill_null(value=False)


def _left_out(case: Case, words: tuple[str, ...]) -> bool:
    """Return whether most of those that the ledger calls so are missing, so that the platform leaves them out."""
    ledger = case.evidence.ledger
    everyone = int(ledger["status"].is_in(words).sum()) if "status" in ledger.columns else 0
    return _gone(case, words) > LEFT_OUT * everyone


def _gone(case: Case, words: tuple[str, ...]) -> int:
    return case.rows.filter(outcome("missing") & pl.col("status").cast(pl.String).is_in(words)).height


def _lists_voided(case: Case) -> bool:
    """Return whether the platform lists voided invoices as a rule, so that being voided is no reason to be missing."""
    platform = case.evidence.platform
    listed = int((platform["status"] == "voided").sum()) if "status" in platform.columns else 0
    return not _left_out(case, ("voided",)) or listed >= _gone(case, ("voided",))


def _digital() -> pl.Expr:
    """Return which rows have the number of a 数电票, and none of a paper form."""
    paper = pl.col("invoice_code").is_not_null() | pl.col("kind").str.contains(
        resources.load("numbers")["paper"]["word"]
    ).fill_null(value=False)
    return pl.coalesce("digital_number", "invoice_key").str.contains(r"^\d{20}$").fill_null(value=False) & ~paper


def status_conflict(case: Case) -> pl.DataFrame:
    """Ledger and platform disagree about the invoice's status in another way."""
    return _with_listed(case, case.open.filter(outcome("conflict") & differs("status")))


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
        apart = pl.lit(
            (ours - theirs).map_elements("{:+,.2f}".format, pl.String) if name in AMOUNTS else None, pl.String
        )
        said = pl.struct(
            field=pl.lit(name),
            ours=_text(ours),
            theirs=_text(theirs),
            apart=apart,
            gap=pl.when(apart.is_null()).then(pl.lit("none")).otherwise(pl.lit("money")),
        )
        parts.append(pl.when(differs(name)).then(said))
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
    red_pending,
    not_issued,
    status_conflict,
    amount_conflict,
    date_conflict,
    party_conflict,
    issued_to_other,
    booked_twice,
)
