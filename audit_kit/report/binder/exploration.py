"""Where the lab keeps what an auditor did with an engagement."""

from __future__ import annotations

import hashlib
import os
from typing import TYPE_CHECKING

from audit_kit.core.cache_folder import cache_folder

if TYPE_CHECKING:
    from pathlib import Path

LOG = "exploration.jsonl"
KEY_DIGITS = 16


def exploration_log(engagement: Path) -> Path:
    """Return the log of an engagement's exploration, which lies beside the kept analyses; it may not be there."""
    key = hashlib.sha256(os.fsencode(os.path.normcase(engagement.resolve()))).hexdigest()[:KEY_DIGITS]
    return cache_folder() / f"work-{key}" / LOG
