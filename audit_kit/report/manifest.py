"""What a report says of itself: its inputs, parameters and versions, its figures, and what changed since last month."""

from __future__ import annotations

import json
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from audit_kit.analysis import earlier
from audit_kit.analysis.report_scope import EVERYTHING
from audit_kit.core import schema
from audit_kit.core.errors import RequestError
from audit_kit.core.hashing import hash_file
from audit_kit.views.overview import answers, charts, lines, periods
from audit_kit.views.show import provenance
from audit_kit.views.show.masking import companies, company

if TYPE_CHECKING:
    from datetime import datetime

    from audit_kit.loaders.engagement.engagement import Engagement
    from audit_kit.views.show.page import Page

FILE = "manifest.json"
FINDINGS = earlier.FINDINGS
CHANGES = earlier.CHANGES
ACUTE = ("critical", "high")
MOST_INPUTS = 2_000


def findings(page: Page) -> pl.DataFrame:
    """Return all findings of a month, the most severe and dearest first; see schema.Findings."""
    keys = (schema.by_severity(), pl.col("amount").abs(), "finding_id")
    return page.findings.sort(*keys, descending=[False, True, False], nulls_last=True)


def summary(page: Page, found: pl.DataFrame, steps: pl.DataFrame) -> dict[str, Any]:
    """Return the figures of a month as plain values: the answer, outcomes on both sides, causes, changes, events."""
    totals = charts.outcome_totals(page.analysis, start=page.start, end=page.end)
    before = charts.before_totals(page.analysis, start=page.start)
    severities = found["severity"].cast(pl.String).value_counts()
    return {
        "answer": answers.overview(page),
        "outcomes": totals.to_dicts(),
        "ledger": _side(totals, "ledger"),
        "platform": _side(totals, "platform"),
        "missing": _plus(_side(totals.filter(pl.col("outcome") == "missing"), "ledger"), before["missing"]),
        "before": {name: {"rows": rows, "yuan": yuan} for name, (rows, yuan) in before.items()},
        "scope": _scope(page),
        "severities": dict(severities.sort(schema.by_severity()).iter_rows()),
        "causes": _causes(found),
        "changes": _changed(page.compared) if page.previous else None,
        "control_disagrees": page.whole.control.filter(~pl.col("agrees")).height,
        "set_aside": page.whole.set_aside.height,
        "totals": steps.to_dicts(),
        **lines.shown(page),
    }


def previous(out: Path, month: str, owner: Owner) -> Path | None:
    """Return the manifest of the latest earlier month of the same engagement in a folder of reports.

    A year is compared with an earlier year, and a report of everything with none.
    """
    for path in sorted(all_in(out), reverse=True):
        name = path.parent.name
        if len(name) == len(month) and name < month and belongs(read(path), owner):
            return path
    return None


def all_in(out: Path) -> list[Path]:
    """Return the manifests of the reports in a folder of reports: months, years, everything."""
    return [path for name in ("[12]???-??", "[12]???", EVERYTHING) for path in out.glob(f"{name}/{FILE}")]


@dataclass(frozen=True)
class Owner:
    """Whose reports a folder holds: what tells an engagement from others, and how a manifest may state it."""

    keys: tuple[str, str]
    stated: tuple[dict[str, Any], ...]


def owner(engagement: Engagement) -> Owner:
    """Return what tells an engagement from others: the same taxpayers, or where none is stated the same name."""
    keys = ("taxpayer_ids" if engagement.taxpayer_ids else "name", "direction")
    return Owner(keys, tuple(companies(engagement)))


def belongs(manifest: dict[str, Any] | None, owner: Owner) -> bool:
    """Tell whether a manifest is of an engagement."""
    theirs = (manifest or {}).get("engagement", {})
    return manifest is not None and any(
        all(theirs.get(key) == mine[key] for key in owner.keys) for mine in owner.stated
    )


def read(path: Path) -> dict[str, Any] | None:
    """Return a manifest, or null where there is none that can be read."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def build(page: Page, found: pl.DataFrame, *, steps: pl.DataFrame, started_at: datetime) -> dict[str, Any]:
    """Return the manifest as plain values, not yet with its end and the files it made."""
    analysis = page.whole
    inputs = page.safe(analysis.files.drop("columns", "unplaced", strict=False))
    return {
        "made_by": "audit-kit",
        "month": page.month,
        "engagement": company(analysis.engagement, page.hide),
        "taken_at": analysis.taken_at,
        "previous": Path(page.previous).parent.name if page.previous else None,
        "fingerprint": analysis.engagement.fingerprint(),
        "parameters": page.parameters,
        "started_at": started_at,
        "versions": provenance.versions(),
        "inputs": inputs.head(MOST_INPUTS).to_dicts(),
        "inputs_in_all": inputs.height,
        "unused": page.unused.head(MOST_INPUTS).to_dicts(),
        "unused_in_all": len(analysis.engagement.unused),
        "control": page.safe(analysis.control).to_dicts(),
        "summary": summary(page, found, steps),
    }


def finished(manifest: dict[str, Any], *, at: datetime) -> dict[str, Any]:
    """Return the manifest with the time it took."""
    return {**manifest, "finished_at": at, "seconds": (at - manifest["started_at"]).total_seconds()}


def write(folder: Path, manifest: dict[str, Any]) -> None:
    """Write manifest.json, with the size and SHA-256 of every file beside it."""
    outputs = [
        {"file": path.name, "size": path.stat().st_size, "sha256": hash_file(path)} for path in sorted(folder.iterdir())
    ]
    (folder / FILE).write_text(text({**manifest, "outputs": outputs}), encoding="utf-8")


def text(manifest: dict[str, Any]) -> str:
    """Return a manifest as JSON; amounts keep their cents as text."""
    return json.dumps(manifest, ensure_ascii=False, indent=1, default=str) + "\n"


def _side(totals: pl.DataFrame, side: str) -> dict[str, Any]:
    of_side = totals.filter(pl.col("side") == side)
    return {"rows": int(of_side["rows"].sum()), "yuan": of_side["yuan"].sum() or Decimal(0)}


def _plus(side: dict[str, Any], before: tuple[int, Decimal]) -> dict[str, Any]:
    return {"rows": side["rows"] + before[0], "yuan": side["yuan"] + before[1]}


def _scope(page: Page) -> dict[str, Any]:
    """Return what the report is about, in sentences and by month."""
    return {
        "kind": page.scope.kind,
        "by_default": page.by_default,
        "lines": periods.scope(page),
        "outside": periods.outside(page),
        "months": periods.lines(page).to_dicts(),
    }


def _causes(found: pl.DataFrame) -> list[dict[str, Any]]:
    grouped = found.group_by("cause", pl.col("area").cast(pl.String), schema.by_severity()).agg(
        rows=pl.len(), yuan=pl.col("amount").sum(), unknown=(pl.col("state") == "unknown").sum()
    )
    ordered = grouped.sort("severity", pl.col("yuan").abs(), "cause", descending=[False, True, False], nulls_last=True)
    return ordered.with_columns(pl.col("severity").cast(pl.String)).to_dicts()


def _changed(changes: pl.DataFrame) -> dict[str, Any]:
    grouped = changes.group_by("change").agg(rows=pl.len(), yuan=pl.col("amount").sum())
    nothing: dict[str, dict[str, Any]] = {word: {"rows": 0, "yuan": Decimal(0)} for word in CHANGES}
    return nothing | {word: {"rows": rows, "yuan": yuan} for word, rows, yuan in grouped.iter_rows()}


def check_month(place: Path) -> None:
    """Refuse to replace what is no report."""
    if place.exists() and not (place / FILE).exists() and not (place.is_dir() and not any(place.iterdir())):
        raise RequestError("error_report.no_report_there", place=place)
