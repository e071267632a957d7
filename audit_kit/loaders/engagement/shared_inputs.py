"""One truth for all processes of a report: its inputs' fingerprint, and what its databases answered, once.

The report's process names a folder in the environment; the notebooks' processes inherit it. What a database answered
the first of them is what the others are given, for it may answer otherwise a minute later.
"""

from __future__ import annotations

import hashlib
import json
import os
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl

from audit_kit.core.errors import EngagementError
from audit_kit.loaders.reading import Reading

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

FOLDER = "AUDIT_KIT_TRUTH"
STATED = "fingerprint.json"
FRAMES = ("rows", "set_aside", "control", "files")


@contextmanager
def shared(folder: Path) -> Iterator[None]:
    """Let this process and those it starts share what is put into a folder, which is made."""
    folder.mkdir(mode=0o700)
    before = os.environ.get(FOLDER)
    os.environ[FOLDER] = str(folder)
    try:
        yield
    finally:
        os.environ.pop(FOLDER)
        if before is not None:
            os.environ[FOLDER] = before


def once(question: str, table: str, read: Callable[[], Reading]) -> Reading:
    """Return what was read for a question first, by whichever process of the report; without a report, read it."""
    if (folder := _folder()) is None:
        return read()
    place = folder / hashlib.sha256(question.encode(errors="surrogateescape")).hexdigest()[:40]
    if (place / STATED).is_file():
        return Reading(table, *(pl.read_ipc(place / f"{name}.arrow") for name in FRAMES))
    reading = read()
    place.mkdir(mode=0o700, exist_ok=True)
    for name in FRAMES:
        getattr(reading, name).write_ipc(place / f"{name}.arrow")
    (place / STATED).touch()
    return reading


def state(folder: Path, fingerprint: str) -> None:
    """State what an engagement's inputs are for the whole report, or hold them against what was stated.

    Raises:
        EngagementError: they are no longer the same.
    """
    if (place := _folder()) is None:
        return
    file = place / STATED
    mine = {"folder": str(folder.resolve()), "fingerprint": fingerprint}
    if not file.exists():
        file.write_text(json.dumps(mine), encoding="utf-8")
        return
    stated = json.loads(file.read_text(encoding="utf-8"))
    if stated["folder"] == mine["folder"] and stated != mine:
        raise EngagementError("error_engagement.input_changed", folder=folder.name)


def _folder() -> Path | None:
    return Path(name) if (name := os.environ.get(FOLDER)) and Path(name).is_dir() else None
