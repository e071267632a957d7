"""The cache's folder: where it is, who may write in it now, what is kept there, and how it is emptied.

It holds whole ledgers with the names in them, so it is its owner's alone. `AUDIT_KIT_CACHE` may name a folder with
other things in it: nothing is counted or removed there but what bears a name that we give.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import sys
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import platformdirs
from filelock import FileLock, Timeout

from audit_kit.core import outputs
from audit_kit.core.errors import PlaceError, of_system
from audit_kit.resources.languages import Phrase, reader_language

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

NEW = "new-"
OF = "of-"  # a mark in an entry: before the name of an engagement that used it, see `owner_of`
_ENTRY = re.compile(r"[0-9a-f]{40}")
_SCRIPT = re.compile(r"vega-[0-9A-Za-z.+-]+\.js")


@dataclass(frozen=True)
class Entry:
    """Something that is kept: an analysis or a script, its size in bytes, when it was last used (seconds, epoch)."""

    path: Path
    size: int
    used_at: float


def cache_folder() -> Path:
    """Return the folder of kept analyses: `AUDIT_KIT_CACHE`, else the user's cache folder."""
    return Path(os.environ.get("AUDIT_KIT_CACHE") or platformdirs.user_cache_dir("audit-kit", appauthor=False))


def owner_of(folder: Path) -> str:
    """Return what tells the engagement in a folder from others, and does not tell its name."""
    return hashlib.sha256(os.fsencode(folder.resolve())).hexdigest()[:40]


def make_folder(folder: Path) -> None:
    """Make the cache's folder, for the user alone; one that the user has made stays as it is."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    folder.mkdir(mode=0o700, exist_ok=True)
    if "AUDIT_KIT_CACHE" not in os.environ:
        folder.chmod(0o700)


@cache
def _warn_once(folder: Path, reason: str) -> None:
    told = Phrase("console.cannot_keep", folder=folder, why=of_system(reason)).said(reader_language())
    print(f"audit-kit: {told}", file=sys.stderr)  # noqa: T201


def warn(error: Exception) -> None:
    """Say once that the cache cannot be written, unless nobody is there: a notebook's cell would show it."""
    error = error.__cause__ if isinstance(error, PlaceError) and isinstance(error.__cause__, Exception) else error
    if "AUDIT_KIT_BATCH" not in os.environ:
        _warn_once(cache_folder(), getattr(error, "strerror", None) or str(error).splitlines()[0][:200])


@contextmanager
def alone(entry: Path) -> Iterator[bool]:
    """Hold the entry against other processes; false = its folder cannot be written, so nothing can be kept."""
    lock = FileLock(entry.with_suffix(".lock"))
    try:
        make_folder(entry.parent)
        lock.acquire()
    except (OSError, NotImplementedError) as error:
        warn(error)
        yield False
        return
    try:
        yield True
    finally:
        lock.release()


def entries(folder: Path) -> list[Entry]:
    """Return the analyses that are kept in a folder, the one last used first."""
    return _sized(path for path in _ours(folder) if path.is_dir() and not path.name.startswith(NEW))


def contents(folder: Path) -> list[Entry]:
    """Return everything of ours in a folder, scripts and what is being written included."""
    return _sized(_ours(folder))


def mark(entry: Path, folder: Path) -> None:
    """Note in an entry that the engagement in a folder used it, so that it can be forgotten."""
    with suppress(OSError):  # a cache shared read-only keeps no track of its use
        (entry / f"{OF}{owner_of(folder)}").touch(mode=0o600)


def entries_of(folder: Path, engagement: Path) -> list[Entry]:
    """Return the analyses that an engagement used, and those of which nobody noted whose they are."""
    name = f"{OF}{owner_of(engagement)}"
    found = []
    for entry in entries(folder):
        marks = {path.name for path in entry.path.glob(f"{OF}*")}
        if not marks or name in marks:
            found.append(entry)
    return found


def remove(entry: Path) -> bool:
    """Remove an entry with its lock; false = a run that is at work holds it, and it stays."""
    lock = FileLock(entry.with_suffix(".lock"), timeout=0)
    try:
        with lock:
            shutil.rmtree(entry, ignore_errors=True)
            Path(lock.lock_file).unlink(missing_ok=True)
    except (Timeout, OSError):
        return False
    return True


def empty(folder: Path) -> list[Path]:
    """Remove everything of ours from a folder; return what runs that are at work hold, which stays."""
    outputs.clear(folder, NEW)
    held = []
    for path in _ours(folder):
        if path.is_file():
            path.unlink(missing_ok=True)
        elif (path.name.startswith(NEW) and path.with_name(f"{path.name}.lock").exists()) or not remove(path):
            held.append(path)
    for lock in folder.glob("*.lock"):  # of entries that were never written
        if _ENTRY.fullmatch(lock.stem):
            remove(lock.with_suffix(""))
    return held


def _ours(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    found = [path for path in sorted(folder.iterdir()) if not path.is_symlink()]
    return [
        path
        for path in found
        if (path.is_dir() and (_ENTRY.fullmatch(path.name) or path.name.startswith(NEW)))
        or (path.is_file() and _SCRIPT.fullmatch(path.name))
    ]


def _sized(paths: Iterable[Path]) -> list[Entry]:
    found = []
    for path in paths:
        with suppress(OSError):  # another run may remove it meanwhile
            stats = [file.stat() for file in (path.rglob("*") if path.is_dir() else (path,)) if file.is_file()]
            used_at = max((stat.st_mtime for stat in stats), default=path.stat().st_mtime)
            found.append(Entry(path, sum(stat.st_size for stat in stats), used_at))
    return sorted(found, key=lambda entry: entry.used_at, reverse=True)
