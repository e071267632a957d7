"""What is known of an engagement once it is worked up."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import datetime

    import polars as pl

    from audit_kit.core.policy import Export
    from audit_kit.loaders.engagement.engagement import Engagement
    from audit_kit.rules.backups.audit import BackupAudit
    from audit_kit.rules.response.response import ResponseAudit


@dataclass(frozen=True, kw_only=True, eq=False)
class Analysis:
    """What is known of an engagement; positions such as `ledger_row` are those in the frames here.

    `observations`, `stops`, `curves`, `quantiles`: see rules.sync. `findings`: causes of area missing and sync.
    `backup`, `response`: see rules.backups, rules.response.
    `files`, `set_aside`, `control`: how every source was read, by `table`. `superseded`: rows of earlier exports that
    later ones replace (see step_totals).
    `history`: the delays of earlier months that were borrowed from; null = none.
    """

    engagement: Engagement
    lang: str
    taken_at: datetime
    export: Export
    ledger: pl.DataFrame
    platform: pl.DataFrame
    matches: pl.DataFrame
    observations: pl.DataFrame
    stops: pl.DataFrame
    curves: pl.DataFrame
    quantiles: pl.DataFrame
    findings: pl.DataFrame
    files: pl.DataFrame
    set_aside: pl.DataFrame
    control: pl.DataFrame
    superseded: pl.DataFrame
    backup: BackupAudit
    response: ResponseAudit
    history: pl.DataFrame | None = None

    @property
    def backup_findings(self) -> pl.DataFrame:
        """Causes of area backup."""
        return self.backup.findings

    @property
    def response_findings(self) -> pl.DataFrame:
        """Causes of area response."""
        return self.response.findings
