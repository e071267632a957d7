"""The log of what an auditor did in the lab, a line each, only ever added to.

Each line holds the hash of the one before it, so that a line that was changed or taken out shows.

It lies beside the kept analyses, in a folder of the engagement's own, and never in the engagement.
"""

from __future__ import annotations

import getpass
import hashlib
import json
import os
import shutil
from datetime import datetime
from typing import TYPE_CHECKING, Any

from filelock import FileLock

from audit_kit.core.cache_folder import cache_folder, make_folder

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

LOG = "exploration.jsonl"
FIRST = "0" * 64
KEY_DIGITS = 16


def work_folder(engagement: Path) -> Path:
    """Return where the work on an engagement is kept; `cache clear` leaves it."""
    key = hashlib.sha256(os.fsencode(os.path.normcase(engagement.resolve()))).hexdigest()[:KEY_DIGITS]
    return cache_folder() / f"work-{key}"


def forget_work(engagement: Path) -> bool:
    """Remove all work that is kept of an engagement, its log included; false = there was none."""
    folder = work_folder(engagement)
    if not folder.is_dir():
        return False
    shutil.rmtree(folder)
    folder.with_suffix(".lock").unlink(missing_ok=True)
    return True


def held(engagement: Path) -> FileLock:
    """Return the lock of an engagement's work, whose folder is made."""
    folder = work_folder(engagement)
    make_folder(folder.parent)
    make_folder(folder)
    folder.chmod(0o700)
    return FileLock(folder.with_suffix(".lock"), timeout=30)


def note(
    engagement: Path, action: str, *, filters: Mapping[str, str] | None = None, counts: Mapping[str, int] | None = None
) -> dict[str, Any]:
    """Add a line: `at` (local time with its zone), `who`, `action`, `filters`, `counts`, `before`, `hash`."""
    with held(engagement):
        path = work_folder(engagement) / LOG
        before = _last(path)
        line = {
            "at": datetime.now().astimezone().isoformat(timespec="milliseconds"),
            "who": who(),
            "action": action,
            "filters": dict(filters or {}),
            "counts": dict(counts or {}),
            "before": before,
        }
        line["hash"] = _hash(line)
        with path.open("a", encoding="utf-8") as log:
            log.write(json.dumps(line, ensure_ascii=False) + "\n")
    return line


def lines(engagement: Path) -> list[dict[str, Any]]:
    """Return the lines of the log, the oldest first; one that cannot be read is `{"broken": its text}`."""
    path = work_folder(engagement) / LOG
    return [_read(text) for text in path.read_text(encoding="utf-8").splitlines()] if path.is_file() else []


def first_broken(found: list[dict[str, Any]]) -> int | None:
    """Return the place, from 1, of the first line that is not as it was written or does not follow; null = all do."""
    before = FIRST
    for place, line in enumerate(found, start=1):
        plain = {name: value for name, value in line.items() if name != "hash"}
        if line.get("before") != before or line.get("hash") != _hash(plain):
            return place
        before = line["hash"]
    return None


def who() -> str:
    """Return the name of whoever works here, as the system has it."""
    try:
        return getpass.getuser()
    except (KeyError, OSError, ImportError):
        return "?"


def _last(path: Path) -> str:
    if not path.is_file():
        return FIRST
    text = path.read_text(encoding="utf-8").rstrip("\n").rpartition("\n")[2]
    return str(_read(text).get("hash", FIRST))


def _read(text: str) -> dict[str, Any]:
    try:
        line = json.loads(text)
    except ValueError:
        return {"broken": text}
    return line if isinstance(line, dict) else {"broken": text}


def _hash(line: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(line, ensure_ascii=False, sort_keys=True).encode()).hexdigest()
