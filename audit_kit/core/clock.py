"""The one zone that every time is kept in: Beijing time, stored without a zone."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

if TYPE_CHECKING:
    from pathlib import Path

BEIJING = ZoneInfo("Asia/Shanghai")


def beijing(moment: datetime) -> datetime:
    """Return a moment with a zone as Beijing time without one."""
    return moment.astimezone(BEIJING).replace(tzinfo=None)


def now() -> datetime:
    """Return Beijing time, to the second."""
    return datetime.now(BEIJING).replace(tzinfo=None, microsecond=0)


def written_at(file: Path) -> datetime:
    """Return when a file was last written, Beijing time, to the second."""
    return datetime.fromtimestamp(int(file.stat().st_mtime), BEIJING).replace(tzinfo=None)
