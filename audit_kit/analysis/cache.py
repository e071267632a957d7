"""Analyses that are kept, so that whoever asks next reads what was worked up already.

The frames are kept as parquet in the user's cache folder, under the fingerprint of everything they depend on. An entry
is written whole or not at all; a damaged one is worked up again.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict, fields
from datetime import datetime
from operator import attrgetter
from typing import TYPE_CHECKING, Any

import polars as pl

from audit_kit.analysis.analysis import Analysis
from audit_kit.core import outputs
from audit_kit.core.cache_folder import NEW, alone, cache_folder, entries, mark, remove, warn
from audit_kit.core.errors import PlaceError
from audit_kit.core.hashing import hash_file, hash_once
from audit_kit.core.policy import Export
from audit_kit.rules.backups.audit import BackupAudit
from audit_kit.rules.response.response import ResponseAudit

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from audit_kit.loaders.engagement.engagement import Engagement

CACHE_BYTES = 4 << 30
CACHE_ENTRIES = 24
MANIFEST = "manifest.json"
FRAMES = tuple(field.name for field in fields(Analysis) if field.type == "pl.DataFrame")
AUDITS = {"backup": BackupAudit, "response": ResponseAudit}
PARTS = {name: tuple(field.name for field in fields(audit)) for name, audit in AUDITS.items()}
NAMES = (*FRAMES, *(f"{audit}.{name}" for audit, names in PARTS.items() for name in names))
KEPT = {f"{name}.parquet" for name in NAMES}


def kept(
    engagement: Engagement, lang: str, history: Path | None, earlier: pl.DataFrame | None, work: Callable[[], Analysis]
) -> Analysis:
    """Return the analysis of an engagement: the one that is kept, else the one that `work` makes, which is then kept.

    `history` is the file that `earlier` was read from. Of several processes that ask at once, one works.
    """
    entry = cache_folder() / _key(engagement, lang, history)
    if (found := load(entry, engagement, lang, earlier)) is not None:
        return found
    with alone(entry) as may_keep:
        if (found := load(entry, engagement, lang, earlier)) is not None:
            return found
        analysis = work()
        if may_keep:
            try:
                _save(entry, analysis)
                _prune(entry)
            except (OSError, PlaceError, pl.exceptions.PolarsError) as error:
                warn(error)
    return analysis


def _key(engagement: Engagement, lang: str, history: Path | None) -> str:
    earlier = hash_once(history) if history is not None and history.exists() else ""
    return hashlib.sha256(f"{engagement.fingerprint()} {lang} {earlier}".encode()).hexdigest()[:40]


def _save(entry: Path, analysis: Analysis) -> None:
    """Write an entry beside its place, then move it there in one step."""
    frames: dict[str, pl.DataFrame] = {name: attrgetter(name)(analysis) for name in NAMES}
    with outputs.scratch(entry.parent, NEW) as scratch:
        folder = scratch / entry.name
        folder.mkdir(mode=0o700)
        with ThreadPoolExecutor(max_workers=2) as writers:
            sums = dict(writers.map(lambda named: _written(folder, *named), frames.items()))
        about = {
            "taken_at": analysis.taken_at,
            "export": asdict(analysis.export),
            "sha256": sums,
        }
        text = json.dumps(about, default=str)
        (folder / MANIFEST).write_text(f"{_sum(entry, text)}\n{text}", encoding="utf-8")
        mark(folder, analysis.engagement.folder)
        shutil.rmtree(entry, ignore_errors=True)
        folder.replace(entry)


def load(entry: Path, engagement: Engagement, lang: str, history: pl.DataFrame | None = None) -> Analysis | None:
    """Return a kept analysis, or null where there is none or it is not what was written."""
    try:
        sum_, _, text = (entry / MANIFEST).read_text(encoding="utf-8").partition("\n")
        if sum_ != _sum(entry, text):
            return None
        about = json.loads(text)
        if set(about["sha256"]) != KEPT or any(
            hash_file(entry / name) != sum_ for name, sum_ in about["sha256"].items()
        ):
            return None
        with suppress(OSError):  # a cache shared read-only keeps no track of its use
            os.utime(entry / MANIFEST)
        frames = {name: pl.read_parquet(entry / f"{name}.parquet", glob=False) for name in NAMES}
        taken_at, export = datetime.fromisoformat(about["taken_at"]), _export(about["export"])
    except (OSError, ValueError, KeyError, TypeError, pl.exceptions.PolarsError):
        return None
    mark(entry, engagement.folder)
    return Analysis(
        engagement=engagement,
        lang=lang,
        taken_at=taken_at,
        export=export,
        backup=BackupAudit(**{name: frames[f"backup.{name}"] for name in PARTS["backup"]}),
        response=ResponseAudit(**{name: frames[f"response.{name}"] for name in PARTS["response"]}),
        history=history,
        **{name: frames[name] for name in FRAMES},
    )


def _sum(entry: Path, text: str) -> str:
    """Return the sum over an entry's manifest; the entry's own name is in it, so that none stands for another."""
    return hashlib.sha256(f"{entry.name}\n{text}".encode()).hexdigest()


def _export(about: dict[str, Any]) -> Export:
    times = ("period_start", "period_end", "later_taken_at")
    read = {name: datetime.fromisoformat(about[name]) if about[name] else None for name in times}
    return Export(
        account=about["account"],
        status_filter=tuple(about["status_filter"]),
        period_stated=bool(about["period_stated"]),
        start_stated=bool(about["start_stated"]),
        **read,
    )


def _written(folder: Path, name: str, frame: pl.DataFrame) -> tuple[str, str]:
    """Write a frame, and return the name of its file and its hash."""
    file = folder / f"{name}.parquet"
    frame.write_parquet(file, compression="lz4", statistics=False)
    return file.name, hash_file(file)


def _prune(newest: Path) -> None:
    """Keep the cache within its bounds: the entries longest unused go first, the newest stays."""
    total = 0
    for number, entry in enumerate(entries(newest.parent)):
        total += entry.size
        if entry.path != newest and (number >= CACHE_ENTRIES or total > CACHE_BYTES):
            remove(entry.path)
