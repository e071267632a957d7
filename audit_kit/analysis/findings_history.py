"""The history of findings beside the reports: a file a month, written whole, and by that month's report alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl

from audit_kit.rules.history import histories

if TYPE_CHECKING:
    from datetime import datetime
    from pathlib import Path

    from audit_kit.analysis.analysis import Analysis
    from audit_kit.analysis.report_scope import Scope

FOLDER = "findings-history"
FINDINGS = "findings.parquet"
_ENDING = ".parquet"


def place(reports: Path, month: str) -> Path:
    """Return where a month's entry stands among the reports."""
    return reports / FOLDER / f"{month}{_ENDING}"


def read(reports: Path, *, before: str = "", columns: tuple[str, ...] = tuple(histories.ENTRY)) -> pl.DataFrame:
    """Return the entries of all months, or of those before one, as `histories.ENTRY`; a spoilt file counts for none.

    Args:
        reports: the folder of the reports.
        before: a month as `2025-05`; empty = all.
        columns: which of the columns are wanted.
    """
    files = sorted((reports / FOLDER).glob(f"[12]???-??{_ENDING}"))
    files = [file for file in files if not before or file.stem < before]
    shape = pl.Schema({name: histories.ENTRY[name] for name in columns})
    if not files:
        return pl.DataFrame(schema=shape)
    try:
        return pl.read_parquet(files, columns=list(columns), glob=False).cast(shape)
    except (OSError, pl.exceptions.PolarsError):
        return pl.concat([pl.DataFrame(schema=shape), *(_one(file, shape) for file in files)])


def _one(file: Path, shape: pl.Schema) -> pl.DataFrame:
    try:
        return pl.read_parquet(file, columns=shape.names(), glob=False).cast(shape)
    except (OSError, pl.exceptions.PolarsError):
        return pl.DataFrame(schema=shape)


def of_findings(found: pl.DataFrame, item: pl.Expr, *, month: str, taken_at: datetime | None) -> pl.DataFrame:
    """Return the findings of a report as the entry of its month, all of them found, `own` and `cluster` not known."""
    text = pl.String()
    return found.select(
        month=pl.lit(month),
        taken_at=pl.lit(taken_at, pl.Datetime("us")),
        item=item,
        seen=pl.lit(histories.FOUND),
        finding_id="finding_id",
        area=pl.col("area").cast(text),
        cause=pl.col("cause").cast(text),
        severity=pl.col("severity").cast(text),
        state=pl.col("state").cast(text),
        invoice_key="invoice_key",
        amount=pl.col("amount").cast(pl.Decimal(18, 2)),
        probability_late=pl.col("probability_late").cast(pl.Float64),
        own=pl.lit(None, pl.Boolean),
        cluster=pl.lit(None, pl.UInt32),
    )


def placed(findings: pl.DataFrame, analysis: Analysis, of: Scope) -> pl.DataFrame:
    """Return the findings with `own`, whether they are of what the month itself dates, and `cluster` (u32).

    A finding without a row is of the month that reports it. Findings of one cause that share a subject are one
    cluster; null = by itself.
    """
    booked = analysis.ledger["issued_at"].gather(findings["ledger_row"])
    listed = analysis.platform["issued_at"].gather(findings["platform_row"])
    dated = pl.DataFrame({"issued_at": booked, "listed": listed}).select(pl.coalesce("issued_at", "listed"))
    own = dated.select(own=of.holds() | pl.col("issued_at").is_null()).to_series()
    shared = findings.select("cause", "subject").drop_nulls().unique().sort("cause", "subject")
    numbered = shared.with_row_index("cluster")
    joined = findings.join(numbered, on=["cause", "subject"], how="left", maintain_order="left")
    return findings.with_columns(own, joined["cluster"].cast(pl.UInt32))
