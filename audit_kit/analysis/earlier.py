"""What earlier reports say: their delays, their findings beside today's, and how their chances held."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl

from audit_kit.analysis import findings_history
from audit_kit.core.cause_records import of_stage
from audit_kit.core.errors import RequestError
from audit_kit.core.policy import Plan
from audit_kit.rules.history import histories
from audit_kit.rules.sync import settling
from audit_kit.rules.sync.observations import HISTORY

if TYPE_CHECKING:
    from audit_kit.analysis.analysis import Analysis

FINDINGS = findings_history.FINDINGS
CHANGES = ("new", "reopened", "open", "closed")
OF_PLAN = ("plan_gap", "drill_overdue")  # what is told from audit.toml alone


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


def changes(findings: pl.DataFrame, previous: str, *, whole: Analysis | None = None, month: str = "") -> pl.DataFrame:
    """Return `change` (see `CHANGES`), `seen` (bool: looked at again), `since` beside the columns of findings.

    One is closed only where the same invoice is here again and nothing is found of it; what was not looked at again
    stays open, through any number of months, and so does an invoice that is found under another cause. A finding of
    the backups that names no invoice is closed where today's catalogue goes back to before the earlier report and no
    longer shows it; one of the plan or the training where there is a plan today. What comes back after a closing is
    reopened. `since` is the month since whose report it is open without a closing; null = since this one.

    Args:
        findings: today's, those of the month reported.
        previous: the manifest of an earlier report, whose findings lie beside it; empty = no rows.
        whole: all of today's engagement, also beyond the month; without it nothing is closed.
        month: the month reported, as `2025-05`; empty = the history of findings is not asked.

    Raises:
        RequestError: `previous` is named, and has no findings beside it.
    """
    nothing = findings.clear().with_columns(
        change=pl.lit(None, pl.String), seen=pl.lit(None, pl.Boolean), since=pl.lit(None, pl.String)
    )
    if not previous:
        return nothing
    past = _past(Path(previous), month)
    stands = histories.standing(past)
    before = histories.open_rows(past, stands)
    shut = stands.filter(~pl.col("is_open"))
    everything = (
        findings
        if whole is None
        else _together(whole.findings, whole.backup_findings, whole.response_findings, findings)
    )
    known = _same("finding_id", before) | _same(ITEM, before)
    now = (
        findings.with_columns(_item())
        .with_columns(
            change=pl.when(known)
            .then(pl.lit("open"))
            .when(_same(ITEM, shut))
            .then(pl.lit("reopened"))
            .otherwise(pl.lit("new")),
            seen=pl.lit(value=True),
        )
        .join(stands.filter("is_open").select(ITEM, since="opened_month"), on=ITEM, how="left", maintain_order="left")
    )
    rest = before.filter(~(_same("finding_id", now) | _same(ITEM, now)))
    still = _same("finding_id", everything) | _same(ITEM, everything.with_columns(_item()))
    looked = _looked_at(whole, past.select("month", "taken_at").unique(), Path(previous))
    rest = rest.with_columns(seen=still | looked).with_columns(
        change=pl.when(pl.col("seen") & ~still).then(pl.lit("closed")).otherwise(pl.lit("open"))
    )
    rest = rest.rename({"opened_month": "since"}).drop(
        "month", "taken_at", "own", "cluster", "first_month", "opened_at"
    )
    return pl.concat([now, rest], how="diagonal_relaxed").drop(ITEM)


ITEM = "item"


def entry(findings: pl.DataFrame, compared: pl.DataFrame, *, month: str, taken_at: datetime) -> pl.DataFrame:
    """Return what a month's report saw, as `histories.ENTRY`: its findings, and what it saw again of earlier ones.

    Args:
        findings: today's, those of the month reported, with `own` and `cluster`.
        compared: what `changes` says of them.
        month: as `2025-05`.
        taken_at: when today's export was taken.
    """
    found = findings_history.of_findings(findings, _item(), month=month, taken_at=taken_at)
    found = found.with_columns(findings["own"], findings["cluster"])
    again = compared.filter(pl.col("seen") & ~_same("finding_id", findings))
    rest = findings_history.of_findings(again, _item(), month=month, taken_at=taken_at).with_columns(
        seen=pl.when(again["change"] == "closed").then(pl.lit(histories.CLEAN)).otherwise(pl.lit(histories.FOUND)),
        own=pl.lit(value=False),
        probability_late=pl.lit(None, pl.Float64),
    )
    return pl.concat([found, rest.filter(~_same(ITEM, found))])


def _past(previous: Path, month: str) -> pl.DataFrame:
    """Return the entries of the months before; where the last report has none, those of its findings."""
    reports, last = previous.parent.parent, previous.parent.name
    file = previous.parent / FINDINGS
    past = findings_history.read(reports, before=month) if month else pl.DataFrame(schema=histories.ENTRY)
    if last in set(past["month"]):
        return past
    if not file.is_file():
        raise RequestError("error_analysis.no_findings_beside", previous=previous, findings=FINDINGS)
    made = made_up_for(previous)
    return past if made is None else pl.concat([past, made])


def made_up_for(manifest: Path) -> pl.DataFrame | None:
    """Return the entry of a report that has none, from its findings; null where they cannot be read."""
    try:
        found = pl.read_parquet(manifest.parent / FINDINGS, glob=False)
        return findings_history.of_findings(found, _item(), month=manifest.parent.name, taken_at=_taken_at(manifest))
    except (OSError, pl.exceptions.PolarsError):
        return None


def _item() -> pl.Expr:
    """Return what the findings of one thing share: its invoice on one side of the audit, else the finding's own id."""
    backup = pl.col("area").cast(pl.String) == "backup"
    side = pl.when(backup).then(pl.lit("backup|")).otherwise(pl.lit("|"))
    beside = pl.col("cause").is_in(of_stage("beside"))  # said of an invoice that is matched: it keeps no other open
    invoice = pl.when(~beside).then(pl.concat_str(side, "invoice_key"))
    return pl.coalesce(invoice, "finding_id").alias(ITEM)


def _same(column: str, other: pl.DataFrame) -> pl.Expr:
    return pl.col(column).is_in(other[column].drop_nulls().unique().implode()).fill_null(value=False)


def _together(*frames: pl.DataFrame) -> pl.DataFrame:
    return pl.concat(
        [frame.select("finding_id", "area", "cause", "invoice_key") for frame in frames], how="vertical_relaxed"
    )


def _looked_at(whole: Analysis | None, reports: pl.DataFrame, previous: Path) -> pl.Expr:
    """Return whether what an earlier finding speaks of is among today's evidence."""
    if whole is None:
        return pl.lit(value=False)
    listed = whole.matches["invoice_key"].drop_nulls().unique()
    area = pl.col("area").cast(pl.String)
    started = whole.engagement.table("backups")["started_at"].min() if whole.engagement.has("backups") else None
    before = reports["taken_at"].max() or _taken_at(previous)
    reaches = isinstance(started, datetime) and isinstance(before, datetime) and started <= before
    invoice = pl.col("invoice_key").is_in(listed.implode())
    planned = whole.engagement.settings.plan != Plan()
    of_plan = pl.col("cause").is_in(OF_PLAN) & pl.lit(planned)
    return pl.when(area == "backup").then(pl.lit(reaches)).otherwise(invoice | of_plan).fill_null(value=False)


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


def settled(whole: Analysis, reports: Path, month: str) -> list[dict[str, object]]:
    """Return how the chances of every earlier month held against the present export: one a month, see settling.settle.

    They are scored on the invoices that the present ledger still lists (`rows`, of `predictions`); a month whose export
    is not older than the present one is left out.
    """
    wanted = ("month", "taken_at", "invoice_key", "probability_late")
    past = findings_history.read(reports, before=month, columns=wanted).filter(pl.col("taken_at") < whole.taken_at)
    past = past.drop_nulls(["invoice_key", "probability_late"]).unique(["month", "invoice_key"])
    counts = dict(past["month"].value_counts().iter_rows())
    present = whole.matches.select("ledger_row", "invoice_key").drop_nulls().unique("invoice_key")
    parts = past.join(present, on="invoice_key").sort("month", "ledger_row").partition_by("month", as_dict=True)
    told: list[dict[str, object]] = []
    for (name,), part in sorted(parts.items()):
        score = settling.settle(part.select("ledger_row", "probability_late"), whole.matches)
        told.append(
            {"month": name, "predictions": counts[name], "taken_at": whole.taken_at}
            | score.figures()
            | {"late_lower": score.late_lower, "late_upper": score.late_upper}
        )
    return told


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
