"""Last time's chances against a later export: see rules.settling for the score."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import polars as pl

from audit_kit.analysis.work import analyse
from audit_kit.core.errors import RequestError
from audit_kit.loaders.tables import pipeline
from audit_kit.rules.matching.reconcile import reconcile
from audit_kit.rules.sync.settling import settle

if TYPE_CHECKING:
    from pathlib import Path

    from audit_kit.loaders.engagement.engagement import Engagement
    from audit_kit.rules.sync.settling import Settlement

LATER = timedelta(days=7)
PLACE = ("source_file", "source_row")


def later_moment(engagement: Engagement, taken_at: datetime | None = None) -> tuple[datetime, bool]:
    """Return when the later export was taken, and whether that is stated; where it is not, a week later is assumed."""
    stated = taken_at or engagement.export.later_taken_at
    return (stated, True) if stated else (engagement.taken_at + LATER, False)


def settle_engagement(
    engagement: Engagement, later: Path, *, predictions: Path | None = None, taken_at: datetime | None = None
) -> Settlement:
    """Score an engagement's P(late) against a later platform export.

    Args:
        engagement: the engagement as it was; the chances are made again from it.
        later: the later export.
        predictions: findings.parquet of the report whose chances are scored instead.
        taken_at: when the later export was taken; null = `[export] later_taken_at`, else a week later.

    Raises:
        RequestError: predictions that are no findings of this engagement, or an export no later than the first.
        SourceError: an export that cannot be read.
    """
    moment, _ = later_moment(engagement, taken_at)
    if moment <= engagement.taken_at:
        raise RequestError("error_analysis.not_later", moment=moment, taken_at=engagement.taken_at)
    ledger = engagement.table("ledger")
    export = pipeline.read(later, table="platform", headings=engagement.settings.headings)
    chances = analyse(engagement).findings if predictions is None else _of_file(predictions, ledger)
    return settle(chances, reconcile(ledger, export.rows, policy=engagement.policy.matching))


def arrivals(settled: Settlement, engagement: Engagement, later: Path, moment: datetime) -> pl.DataFrame:
    """Return what became of each invoice that had a chance: `invoice_key`, its place, the chance, whether it came.

    `first_export` and `first_export_at` are the later export and its time, where it lists the invoice.
    """
    places = engagement.table("ledger").select(*PLACE, "gross").with_row_index("ledger_row")
    rows = settled.arrivals.join(places, on="ledger_row", how="left", maintain_order="left")
    return rows.select(
        "invoice_key",
        "ledger_row",
        *PLACE,
        "gross",
        "probability_late",
        "came",
        first_export=pl.when("came").then(pl.lit(later.name)),
        first_export_at=pl.when("came").then(pl.lit(moment, pl.Datetime("us"))),
    )


def _of_file(path: Path, ledger: pl.DataFrame) -> pl.DataFrame:
    """Return chances from a report's findings, at the ledger's own rows: a report counts the rows of its month only."""
    try:
        found = pl.read_parquet(path, glob=False, columns=[*PLACE, "probability_late"])
    except (OSError, pl.exceptions.PolarsError):
        raise RequestError("error_analysis.no_findings_file", path=path) from None
    rows = ledger.select(*PLACE).with_row_index("ledger_row")
    placed = found.drop_nulls("probability_late").join(rows, on=PLACE, how="inner", maintain_order="left")
    if placed.is_empty() and found["probability_late"].is_not_null().any():
        raise RequestError("error_analysis.other_engagement", path=path)
    return placed.select("ledger_row", "probability_late")
