"""What earlier reports say: their delays, their findings beside today's, and how their chances held."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl

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
        raise RequestError(f"{path}: not the history.parquet that reports keep; leave it out ({error}).") from error


def changes(findings: pl.DataFrame, previous: str) -> pl.DataFrame:
    """Return `change` (new, open, closed) beside the columns of findings, compared by finding_id.

    `previous` is the manifest of an earlier report, whose findings lie beside it; empty = no rows.

    Raises:
        RequestError: `previous` is named, and has no findings beside it.
    """
    nothing = findings.clear().with_columns(change=pl.lit(None, pl.String))
    if not previous:
        return nothing
    earlier = Path(previous).parent / FINDINGS
    if not earlier.is_file():
        raise RequestError(f"{previous}: there is no {FINDINGS} beside it; name the manifest.json of a report.")
    before = pl.read_parquet(earlier, glob=False)
    known = pl.col("finding_id").is_in(before["finding_id"].unique().implode())
    now = findings.with_columns(change=pl.when(known).then(pl.lit("open")).otherwise(pl.lit("new")))
    gone = before.join(findings, on="finding_id", how="anti").with_columns(change=pl.lit("closed"))
    return pl.concat([now, gone], how="diagonal_relaxed")


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
    try:
        before = datetime.fromisoformat(json.loads(manifest.read_text(encoding="utf-8"))["taken_at"])
    except (OSError, ValueError, KeyError, TypeError):
        return False
    return before < taken_at
