"""What earlier reports say: their delays, their findings beside today's, and how their chances held."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl

from audit_kit.core.cause_records import of_stage
from audit_kit.core.errors import RequestError
from audit_kit.rules.sync import settling
from audit_kit.rules.sync.observations import HISTORY

if TYPE_CHECKING:
    from audit_kit.analysis.analysis import Analysis

FINDINGS = "findings.parquet"
CHANGES = ("new", "open", "closed")


def history(path: Path | None) -> pl.DataFrame | None:
    """Return the delays of the months reported so far, as `observations.HISTORY`; null where there is no such file.

    Raises:
        RequestError: the file is none that reports keep.
    """
    if path is None or not path.exists():
        return None
    try:
        return pl.read_parquet(path, glob=False).select(*HISTORY).cast(pl.Schema(HISTORY))
    except (OSError, pl.exceptions.PolarsError) as error:
        raise RequestError("error_analysis.no_history", path=path, error=error) from error


def changes(findings: pl.DataFrame, previous: str, *, whole: Analysis | None = None) -> pl.DataFrame:
    """Return `change` (new, open, closed), `seen` (bool: looked at again) beside the columns of findings.

    One is closed only where the same invoice is here again and nothing is found of it; what was not looked at again
    stays open, and so does an invoice that is found under another cause. A finding of the backups that names no invoice
    is closed where today's catalogue goes back to before the earlier report and no longer shows it.

    Args:
        findings: today's, those of the month reported.
        previous: the manifest of an earlier report, whose findings lie beside it; empty = no rows.
        whole: all of today's engagement, also beyond the month; without it nothing is closed.

    Raises:
        RequestError: `previous` is named, and has no findings beside it.
    """
    nothing = findings.clear().with_columns(change=pl.lit(None, pl.String), seen=pl.lit(None, pl.Boolean))
    if not previous:
        return nothing
    earlier = Path(previous).parent / FINDINGS
    if not earlier.is_file():
        raise RequestError("error_analysis.no_findings_beside", previous=previous, findings=FINDINGS)
    before = pl.read_parquet(earlier, glob=False)
    everything = (
        findings
        if whole is None
        else _together(whole.findings, whole.backup_findings, whole.response_findings, findings)
    )
    known = _same("finding_id", before) | _same(INVOICE, before.with_columns(_invoice()))
    now = findings.with_columns(_invoice()).with_columns(
        change=pl.when(known).then(pl.lit("open")).otherwise(pl.lit("new")), seen=pl.lit(value=True)
    )
    rest = before.with_columns(_invoice()).filter(~(_same("finding_id", now) | _same(INVOICE, now)))
    still = _same("finding_id", everything) | _same(INVOICE, everything.with_columns(_invoice()))
    rest = rest.with_columns(seen=still | _looked_at(whole, Path(previous))).with_columns(
        change=pl.when(pl.col("seen") & ~still).then(pl.lit("closed")).otherwise(pl.lit("open"))
    )
    return pl.concat([now, rest], how="diagonal_relaxed").drop(INVOICE)


INVOICE = "_invoice"


def _invoice() -> pl.Expr:
    """Return what an invoice's findings of one side of the audit share; null where a finding names no invoice."""
    backup = pl.col("area").cast(pl.String) == "backup"
    side = pl.when(backup).then(pl.lit("backup|")).otherwise(pl.lit("|"))
    beside = pl.col("cause").is_in(of_stage("beside"))  # said of an invoice that is matched: it keeps no other open
    return pl.when(~beside).then(pl.concat_str(side, "invoice_key")).alias(INVOICE)


def _same(column: str, other: pl.DataFrame) -> pl.Expr:
    return pl.col(column).is_in(other[column].drop_nulls().unique().implode()).fill_null(value=False)


def _together(*frames: pl.DataFrame) -> pl.DataFrame:
    return pl.concat(
        [frame.select("finding_id", "area", "cause", "invoice_key") for frame in frames], how="vertical_relaxed"
    )


def _looked_at(whole: Analysis | None, previous: Path) -> pl.Expr:
    """Return whether what an earlier finding speaks of is among today's evidence."""
    if whole is None:
        return pl.lit(value=False)
    listed = whole.matches["invoice_key"].drop_nulls().unique()
    backup = pl.col("area").cast(pl.String) == "backup"
    started = whole.engagement.table("backups")["started_at"].min() if whole.engagement.has("backups") else None
    before = _taken_at(previous)
    reaches = isinstance(started, datetime) and before is not None and started <= before
    invoice = pl.col("invoice_key").is_in(listed.implode()).fill_null(value=False)
    return pl.when(backup).then(pl.lit(reaches)).otherwise(invoice)


def reliability(whole: Analysis, previous: str) -> pl.DataFrame:
    """Return how the chances of an earlier report held: `predicted`, `observed`, `rows`, `lower`, `upper` by bin.

    They are scored on the invoices that the present ledger still lists; there are no rows without an earlier report,
    or where it was made from an export that is not older than the present one.
    """
    none = pl.DataFrame(schema={"ledger_row": pl.UInt32, "probability_late": pl.Float64})
    nothing = settling.settle(none, whole.matches).reliability.clear()
    earlier = Path(previous).parent / FINDINGS
    if not previous or not earlier.is_file() or not _is_older(Path(previous), whole.taken_at):
        return nothing
    predicted = (
        pl.read_parquet(earlier, glob=False, columns=["invoice_key", "probability_late"])
        .drop_nulls()
        .unique("invoice_key")
    )
    present = whole.matches.select("ledger_row", "invoice_key").drop_nulls().unique("invoice_key")
    scored = predicted.join(present, on="invoice_key").select("ledger_row", "probability_late")
    return nothing if scored.is_empty() else settling.settle(scored, whole.matches).reliability


def _is_older(manifest: Path, taken_at: datetime) -> bool:
    """Tell whether a report was made from an export taken before a moment; false where it does not say."""
    before = _taken_at(manifest)
    return before is not None and before < taken_at


def _taken_at(manifest: Path) -> datetime | None:
    """Return when the export of an earlier report was taken; null where it does not say."""
    try:
        return datetime.fromisoformat(json.loads(manifest.read_text(encoding="utf-8"))["taken_at"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
