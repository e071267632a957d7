"""Causes that lie in the entry itself: its number."""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl

from audit_kit.core.identity import faulted, fold_name, fold_tax_id
from audit_kit.rules.causes.evidence import cleaned, outcome
from audit_kit.rules.causes.statuses import CHANGES
from audit_kit.rules.sync.elsewhere import never_listed

if TYPE_CHECKING:
    from collections.abc import Callable

    from audit_kit.rules.causes.evidence import Case

SEARCHED = ("invoice_code", "invoice_number", "digital_number")
PARTIES = ("buyer", "seller")
ALIKE = ("issued_on", "gross", *(f"{party}_{told}" for party in PARTIES for told in ("tax_id", "name")))
A_CENT_AND_A_HALF = 0.015


def precision_lost(case: Case) -> pl.DataFrame:
    """The number went through a spreadsheet cell as a figure, so its last digits are gone."""
    return case.open.filter(cleaned("precision_lost")).with_columns(stated=_stated())


def number_damaged(case: Case) -> pl.DataFrame:
    """The invoice is on the platform once its number is cleaned, or completed by day, amount and parties."""
    damaged = case.open.filter(outcome("matched_cleaned"))
    return damaged.with_columns(stated=_stated(), right=_listed_number(), how=_how())


def number_mistyped(case: Case) -> pl.DataFrame:
    """Another number was meant: one edit away with the same amount and date, or as its e-invoice says; it is listed."""
    right = pl.coalesce("p_digital_number", "p_invoice_number")
    typed = case.open.filter(outcome("mistyped")).with_columns(
        right=right, right_row="p_source_row", typo=pl.lit("edit")
    )
    filed = case.missing.join(case.renumbered, on="row", how="inner", maintain_order="left")
    filed = filed.with_columns(typo=pl.lit("file")).drop("proof_row")
    return pl.concat([typed, filed], how="diagonal").sort("row").with_columns(stated=_stated())


def ambiguous(case: Case) -> pl.DataFrame:
    """Several invoices on the platform fit equally well; none was chosen."""
    several = case.open.filter(outcome("ambiguous"))
    listed = several.select("row", platform_row="candidates").explode("platform_row")
    where = case.evidence.platform["source_row"].gather(listed["platform_row"])
    listed = (
        listed.with_columns(where=where.cast(pl.String))
        .group_by("row", maintain_order=True)
        .agg(shown=pl.len(), listed=pl.col("where").str.join("、"))
    )
    several = several.join(listed, on="row", how="left", maintain_order="left")
    more = pl.col("candidate_count").cast(pl.Int64) - pl.col("shown").cast(pl.Int64)
    rows = pl.when(more > 0).then(pl.lit("some")).otherwise(pl.lit("all"))
    return several.with_columns(stated=_stated(), more=more, rows=rows, how=_how())


def number_reused(case: Case) -> pl.DataFrame:
    """Under its number the platform lists another invoice, of another party and amount; this one is not listed."""
    rows = case.open.filter(pl.col("ledger_row").is_not_null() & (outcome("duplicate") | outcome("conflict")))
    rows = rows.filter(~(outcome("conflict") & _changed(case)))
    ours = _looks(case.evidence.ledger, rows["ledger_row"])
    theirs = _looks(case.evidence.platform, rows["platform_row"])
    looks = pl.concat([rows.select("row"), ours, theirs.select(pl.all().name.prefix("p_"))], how="horizontal")
    other_amount = (pl.col("gross") - pl.col("p_gross")).abs() > A_CENT_AND_A_HALF
    others = [_is_other(party) for party in PARTIES]
    looks = looks.filter((other_amount & pl.any_horizontal(others)).fill_null(value=False))
    # Where the platform lists this very invoice too, its number is wrong and was not given again.
    nobody = case.evidence.matches.filter(pl.col("ledger_row").is_null())["platform_row"]
    looks = looks.join(_looks(case.evidence.platform, nobody), on=ALIKE, how="anti", nulls_equal=True)
    party = pl.when(_is_other("buyer").fill_null(value=False)).then(pl.lit("buyer")).otherwise(pl.lit("seller"))
    looks = looks.select("row", party=party + "_name")
    return _with_parties(case, rows.join(looks, on="row", maintain_order="left"))


def elsewhere(case: Case) -> pl.DataFrame:
    """It is of a kind that this platform never lists: it is looked for elsewhere, and nothing is missing here."""
    rows = case.missing
    return rows.with_columns(never_listed(rows), stated=_stated()).filter(pl.col("unlisted").is_not_null())


def number_invalid(case: Case) -> pl.DataFrame:
    """The number breaks a hard rule: length, year of issue, or code; such an invoice cannot exist under it."""
    # A red row whose form is not confirmed has no number yet; what stands there is no number to judge.
    judged = faulted(case.missing.join(case.form_pending, on="row", how="anti", maintain_order="left"))
    unusable = pl.col("invoice_key").is_null() & (pl.col("status").cast(pl.String) != "not_issued").fill_null(
        value=True
    )
    unusable &= ~cleaned("number_incomplete")  # the end of a number that may well exist
    broken = judged.filter((pl.col("number_faults").list.len() > 0) | unusable)
    some = pl.col("number_faults").list.len() > 0
    faults = pl.when(some).then("number_faults").otherwise(pl.lit(["none"]))
    return broken.with_columns(stated=_stated(), faults=faults)


def _stated() -> pl.Expr:
    """Return the number as the ledger has it."""
    return pl.coalesce(
        "digital_number", pl.concat_str([pl.col(name) for name in SEARCHED[:2]], ignore_nulls=True), "invoice_key"
    )


def _listed_number() -> pl.Expr:
    """Return the number as the platform has it."""
    return pl.coalesce("p_digital_number", pl.concat_str("p_invoice_code", "p_invoice_number"), "p_invoice_number")


def _how() -> pl.Expr:
    """Say whether a number was whole, or only its last eight digits were kept."""
    kept = cleaned("number_incomplete") & pl.col("invoice_key").is_null()
    return pl.when(kept).then(pl.lit("incomplete")).otherwise(pl.lit("whole"))


def _changed(case: Case) -> pl.Expr:
    """Return whether the operation log shows a change under the row's number: the platform may hold what was before."""
    log = case.evidence.operations.filter(pl.col("action").cast(pl.String).is_in(CHANGES))
    return pl.col("invoice_key").is_in(log["invoice_number"].str.strip_chars().drop_nulls().implode())


def _looks(frame: pl.DataFrame, places: pl.Series) -> pl.DataFrame:
    """Return what tells an invoice from another, as it is compared (`ALIKE`), of these rows."""
    known = {name: frame[name].gather(places) for name in frame.columns if name in (*ALIKE, "issued_at")}
    nothing = pl.Series([None] * len(places), dtype=pl.String)
    texts = pl.DataFrame({name: known.get(name, nothing) for name in ALIKE[2:]})
    folds = {name: fold_tax_id if name.endswith("tax_id") else fold_name for name in ALIKE[2:]}
    days = known["issued_at"].dt.date().alias("issued_on")
    return texts.select(days, known["gross"].cast(pl.Float64), *(fold(pl.col(name)) for name, fold in folds.items()))


def _is_other(party: str) -> pl.Expr:
    """Return whether a party is another: by its tax id, else by its name; null where neither is known."""
    return pl.coalesce(pl.col(f"{party}_{told}") != pl.col(f"p_{party}_{told}") for told in ("tax_id", "name"))


def _with_parties(case: Case, rows: pl.DataFrame) -> pl.DataFrame:
    """Add `ours` and `theirs`: the party that is another, by name, else by tax id."""
    for side, place, frame in (
        ("ours", "ledger_row", case.evidence.ledger),
        ("theirs", "platform_row", case.evidence.platform),
    ):
        told = pl.lit(None, pl.String)
        for party in PARTIES:
            names = [name for name in (f"{party}_name", f"{party}_tax_id") if name in frame.columns]
            values = [pl.lit(frame[name].gather(rows[place])) for name in names]
            told = (
                pl.when(pl.col("party") == f"{party}_name").then(pl.coalesce(values)).otherwise(told)
                if values
                else told
            )
        rows = rows.with_columns(told.alias(side))
    return rows


CAUSES: tuple[Callable[[Case], pl.DataFrame], ...] = (
    precision_lost,
    number_damaged,
    number_mistyped,
    ambiguous,
    number_reused,
    elsewhere,
    number_invalid,
)
