"""What a simulated engagement holds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    import polars as pl

    from audit_kit.core.policy import Export
    from audit_kit.training.world.backup_runs import Archive
    from audit_kit.training.world.fates import Draft


@dataclass(frozen=True, kw_only=True)
class World:
    """An engagement as frames, canonical as its files would be read, and the truth about it.

    `earlier`: the platform's lists by the time they were taken. `later`: its list at `later_taken_at`. `control`: the
    totals stated in the export against its rows. `true_stops`: what really stopped: `starts_at`, `ends_at`, `channel`,
    `announced`. `draft`: how it was made.
    """

    ledger: pl.DataFrame
    platform: pl.DataFrame
    later: pl.DataFrame
    earlier: Mapping[datetime, pl.DataFrame]
    control: pl.DataFrame
    sync_log: pl.DataFrame
    accounts: pl.DataFrame
    notices: pl.DataFrame
    operations: pl.DataFrame
    confirmations: pl.DataFrame
    substitute: pl.DataFrame
    red_confirmations: pl.DataFrame
    register: pl.DataFrame
    tickets: pl.DataFrame
    metrics: pl.DataFrame
    true_stops: pl.DataFrame
    truth: pl.DataFrame
    archive: Archive | None
    taxpayer_ids: tuple[str, ...]
    taxpayer_name: str
    direction: str
    taken_at: datetime
    later_taken_at: datetime
    export: Export
    draft: Draft
