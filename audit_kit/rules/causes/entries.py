"""Causes that lie in the entry itself: its number."""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl

from audit_kit.core.identity import judge
from audit_kit.rules.causes.evidence import cleaned, outcome
from audit_kit.rules.sync.elsewhere import never_listed

if TYPE_CHECKING:
    from collections.abc import Callable

    from audit_kit.rules.causes.evidence import Case

SEARCHED = ("invoice_code", "invoice_number", "digital_number")


def precision_lost(case: Case) -> pl.DataFrame:
    """The number went through a spreadsheet cell as a figure, so its last digits are gone."""
    return case.open.filter(cleaned("precision_lost")).with_columns(stated=_stated())


def number_damaged(case: Case) -> pl.DataFrame:
    """The invoice is on the platform once its number is cleaned of what is not part of it."""
    damaged = case.open.filter(outcome("matched_cleaned"))
    return damaged.with_columns(stated=_stated())


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
    return several.with_columns(stated=_stated(), more=more, rows=rows)


def elsewhere(case: Case) -> pl.DataFrame:
    """It is of a kind that this platform never lists: it is looked for elsewhere, and nothing is missing here."""
    rows = case.missing
    return rows.with_columns(never_listed(rows), stated=_stated()).filter(pl.col("unlisted").is_not_null())


def number_invalid(case: Case) -> pl.DataFrame:
    """The number breaks a hard rule: length, year of issue, or code; such an invoice cannot exist under it."""
    # A red row whose form is not confirmed has no number yet; what stands there is no number to judge.
    judged = judge(case.missing.join(case.form_pending, on="row", how="anti", maintain_order="left"))
    unusable = pl.col("invoice_key").is_null() & (pl.col("status").cast(pl.String) != "not_issued").fill_null(
        value=True
    )
    broken = judged.filter((pl.col("number_faults").list.len() > 0) | unusable)
    some = pl.col("number_faults").list.len() > 0
    faults = pl.when(some).then("number_faults").otherwise(pl.lit(["none"]))
    return broken.with_columns(stated=_stated(), faults=faults)


def _stated() -> pl.Expr:
    """Return the number as the ledger has it."""
    return pl.coalesce(
        "digital_number", pl.concat_str([pl.col(name) for name in SEARCHED[:2]], ignore_nulls=True), "invoice_key"
    )


CAUSES: tuple[Callable[[Case], pl.DataFrame], ...] = (
    precision_lost,
    number_damaged,
    number_mistyped,
    ambiguous,
    elsewhere,
    number_invalid,
)
