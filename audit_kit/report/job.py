"""A report as it was asked for, with what its steps work on."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING

from audit_kit.core.schema import BEIJING

if TYPE_CHECKING:
    from pathlib import Path

    from audit_kit.loaders.engagement.engagement import Engagement
    from audit_kit.report.progress import Progress

HISTORY = "history.parquet"
INDEX = "index.html"
WORKBOOK = "findings.xlsx"
FAILED = "failed"
STEPS = ("reading", "matching", "delays", "backups", "diagnosis", "response")


def now() -> datetime:
    """Return the time in Beijing, without a zone, to the second."""
    return datetime.now(BEIJING).replace(tzinfo=None, microsecond=0)


@dataclass(frozen=True, kw_only=True)
class Job:
    """A report that is being made: what was asked for, the folder `stage` in which it is made, and who is told.

    `month` is as it was named, null for the latest; `place` is the engagement's folder; `notebooks` become the pages;
    `papers` are working papers that auditors filled in; `binder` is `copies`
    or `hashes`, null where none is made; `unnamed`: the five lines are wanted with nobody named, too.
    """

    engagement: Engagement
    place: Path
    month: str | None
    out: Path
    lang: str
    pdf: bool
    redact: bool
    jobs: int
    without: tuple[str, ...]
    notebooks: list[Path]
    papers: tuple[Path, ...]
    binder: str | None
    stage: Path
    progress: Progress
    unnamed: bool
    started_at: datetime = field(default_factory=now)
