"""The cache's folder: where it is, who may write in it now, and what dead runs left there."""

from __future__ import annotations

import os
import shutil
import sys
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import platformdirs
from filelock import FileLock, Timeout

if TYPE_CHECKING:
    from collections.abc import Iterator

NEW = "new-"


def cache_folder() -> Path:
    """Return the folder of kept analyses: `AUDIT_KIT_CACHE`, else the user's cache folder."""
    return Path(os.environ.get("AUDIT_KIT_CACHE") or platformdirs.user_cache_dir("audit-kit", appauthor=False))


def make_folder(folder: Path) -> None:
    """Make the cache's folder, for the user alone; one that the user has made stays as it is."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    folder.mkdir(mode=0o700, exist_ok=True)
    if "AUDIT_KIT_CACHE" not in os.environ:
        folder.chmod(0o700)


@cache
def _warn_once(folder: Path, reason: str) -> None:
    print(f"audit-kit: {folder}: nothing can be kept there ({reason}); the work goes on without.", file=sys.stderr)  # noqa: T201


def warn(error: Exception) -> None:
    """Say once that the cache cannot be written, unless nobody is there: a notebook's cell would show it."""
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


def clear(entry: Path) -> None:
    """Remove what runs that are dead left half written; whoever writes an entry holds its lock."""
    for left in entry.parent.glob(f"{NEW}*"):
        owner = left.with_name(left.name.removeprefix(NEW).partition("-")[0])
        lock = FileLock(owner.with_suffix(".lock"), timeout=0)
        if owner.name == entry.name:
            shutil.rmtree(left, ignore_errors=True)
            continue
        with suppress(Timeout, OSError), lock:
            shutil.rmtree(left, ignore_errors=True)
