"""Causes that logs and other systems tell: the upload log, the substitute system, the backups."""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl

if TYPE_CHECKING:
    from collections.abc import Callable

    from audit_kit.rules.causes.evidence import Case

EVERYTHING = 0.5  # a backup that holds more than this share of both listed and missing invoices singles none out


def upload_failed(case: Case) -> pl.DataFrame:
    """The log shows that the upload failed, and nothing after it succeeded."""
    missing, log = case.missing, case.evidence.sync_log
    failed = log.filter((pl.col("event") == "failed") & pl.col("at").is_not_null())
    failed = failed.filter(pl.col("invoice_number").is_in(missing["invoice_key"].drop_nulls().implode()))
    last = failed.sort("at", maintain_order=True).unique("invoice_number", keep="last", maintain_order=True)
    last = last.select(
        invoice_key="invoice_number",
        failed_at="at",
        error="error_code",
        message="message",
        log_file="source_file",
        log_row="source_row",
    )
    done = log.filter(
        pl.col("invoice_number").is_in(last["invoice_key"].implode())
        & pl.col("event").is_in(["uploaded", "received", "visible"])
    )
    done = done.group_by(invoice_key="invoice_number").agg(succeeded=pl.col("at").max())
    last = last.join(done, on="invoice_key", how="left")
    last = last.filter(pl.col("succeeded").is_null() | (pl.col("succeeded") <= pl.col("failed_at")))
    return missing.join(last, on="invoice_key", how="inner", maintain_order="left")


def not_migrated_back(case: Case) -> pl.DataFrame:
    """The invoice stands in the substitute system only and was not brought back before the export."""
    left = case.substitute.filter(
        pl.col("invoice_key").is_not_null()
        & (pl.col("migrated_at").is_null() | (pl.col("migrated_at") > case.evidence.taken_at))
    ).unique("invoice_key", keep="first", maintain_order=True)
    left = left.select("invoice_key", substitute_file="source_file", substitute_row="source_row")
    return case.missing.join(left, on="invoice_key", how="inner", maintain_order="left")


def only_in_backup(case: Case) -> pl.DataFrame:
    """The invoice is in a backup, while the live systems no longer have it."""
    evidence = case.evidence
    kept = evidence.backup_keys.group_by("invoice_key", maintain_order=True).agg(
        repository=pl.col("repo_id").last(), backup=pl.col("backup_id").last()
    )
    found = case.missing.join(kept, on="invoice_key", how="inner", maintain_order="left")
    if evidence.archive is not None and evidence.archive.height:
        return found.join(evidence.archive.select("invoice_key"), on="invoice_key", how="anti", maintain_order="left")
    # Without a live archive to compare with, a backup that holds everything says nothing of what is missing.
    listed = evidence.matches.filter((pl.col("outcome") == "matched") & pl.col("invoice_key").is_not_null())
    covered = listed.join(kept, on="invoice_key", how="semi").height > EVERYTHING * listed.height
    return found.clear() if covered and found.height > EVERYTHING * case.missing.height else found


CAUSES: tuple[Callable[[Case], pl.DataFrame], ...] = (
    upload_failed,
    not_migrated_back,
    only_in_backup,
)
