"""Make a binder: what a report rests on, in an archive that is the same bytes whenever it is made of the same."""

from __future__ import annotations

import hashlib
import json
import zipfile
from dataclasses import dataclass
from io import BytesIO
from typing import TYPE_CHECKING, Any

from audit_kit.analysis.exploration_log import LOG, work_folder
from audit_kit.core import files as places
from audit_kit.core.errors import EngagementError
from audit_kit.core.hashing import hash_file
from audit_kit.loaders.engagement.engagement import package_version
from audit_kit.report import manifest
from audit_kit.report.binder import chain
from audit_kit.report.binder.chain import Member
from audit_kit.report.job import HISTORY, INDEX

if TYPE_CHECKING:
    from pathlib import Path
    from typing import BinaryIO

    from audit_kit.loaders.engagement.engagement import Engagement
    from audit_kit.report.work_up import Material

FILE = "binder.zip"
RECORD, TOTALS, INPUTS, MADE = "record.json", "totals.json", "inputs.jsonl", "report.json"
EXPLORATION, CONCLUSIONS = "exploration.jsonl", "earlier/conclusions.parquet"
COPIES, EARLIER = "inputs/", "earlier/"
FORMAT = 1
COPIED, HASHED = "copies", "hashes"
MOST_COPIED_BYTES = 2 << 30
STOOD_IN = (places.HIDDEN, places.EMPTY_FOLDER)  # nothing is read of them, so that their names are enough
BLOCK = 1 << 20
_WITHOUT_TIME = (1980, 1, 1, 0, 0, 0)  # the first that a zip can state; the times of a run stand in its manifest
_MODE = 0o100644 << 16
_UNIX = 3


@dataclass(frozen=True)
class Sealed:
    """A binder that was made: the head of its chain, how many members it has, and whether it holds the inputs."""

    head: str
    members: int
    copied: bool


def seal(material: Material, folder: Path) -> Sealed:
    """Write the binder of the report whose files lie in `folder`, all but its front page and its manifest.

    Where copies were asked for it holds a copy of the engagement's folder, unless the report is redacted, an input lies
    elsewhere, or they are larger than MOST_COPIED_BYTES; their hashes it holds anyway.

    Raises:
        EngagementError: an input is no longer what was read.
    """
    job = material.job
    engagement = job.engagement
    why = "asked" if job.binder != COPIED else "redacted" if job.redact else _why_not(engagement)
    listed = list(places.census(engagement.folder)) if why is None else []
    with zipfile.ZipFile(folder / FILE, "w", zipfile.ZIP_DEFLATED, compresslevel=6) as archive:
        out = _Archive(archive)
        out.text(RECORD, _json(_record(material, why, listed)))
        out.text(TOTALS, _json(_totals(material)))
        out.text(INPUTS, "".join(_line(row) for row in material.inputs.iter_rows(named=True)))
        out.file(manifest.FINDINGS, folder / manifest.FINDINGS)
        out.text(MADE, _json(_made(folder)))
        log = work_folder(engagement.folder) / LOG
        if log.is_file() and not job.redact:
            out.file(EXPLORATION, log)
        _earlier(material, out)
        read = {path: sha256 for table in engagement.contents().values() for path, sha256 in table.items()}
        for place in listed:
            if place.fault is None:
                name = engagement.relative(place.path)
                member = out.file(COPIES + chain.member_name(name), place.path)
                if read.get(place.path, member.sha256) != member.sha256:
                    raise EngagementError("error_engagement.changed", name=engagement.name, file=name)
        head = chain.links(out.members)[-1]
        _write(archive, chain.FILE, chain.written(out.members).encode())
    return Sealed(head=head, members=len(out.members), copied=why is None)


class _Archive:
    """An archive that is written, and its members so far."""

    def __init__(self, archive: zipfile.ZipFile) -> None:
        self.archive = archive
        self.members: list[Member] = []

    def text(self, name: str, text: str) -> None:
        """Add a text."""
        self.data(name, text.encode())

    def data(self, name: str, data: bytes) -> None:
        """Add what is in memory."""
        self._add(name, BytesIO(data), len(data))

    def file(self, name: str, path: Path) -> Member:
        """Add a file, a block at a time, as it is now."""
        with path.open("rb") as source:
            return self._add(name, source, path.stat().st_size)

    def _add(self, name: str, source: BinaryIO | BytesIO, size: int) -> Member:
        total, length = hashlib.sha256(), 0
        with self.archive.open(_about(name), "w", force_zip64=size >= zipfile.ZIP64_LIMIT) as part:
            while block := source.read(BLOCK):
                total.update(block)
                length += len(block)
                part.write(block)
        self.members.append(Member(name, length, total.hexdigest()))
        return self.members[-1]


def _write(archive: zipfile.ZipFile, name: str, data: bytes) -> None:
    with archive.open(_about(name), "w") as part:
        part.write(data)


def _about(name: str) -> zipfile.ZipInfo:
    about = zipfile.ZipInfo(name, _WITHOUT_TIME)
    about.compress_type, about.external_attr, about.create_system = zipfile.ZIP_DEFLATED, _MODE, _UNIX
    return about


def _why_not(engagement: Engagement) -> str | None:
    """Return why the inputs cannot be copied; null where they can."""
    if any(entry.uri is not None for entries in engagement.sources.values() for entry in entries):
        return "database"
    found = {place.path: place.path.stat().st_size for place in places.census(engagement.folder) if place.fault is None}
    if any(path not in found for table in engagement.contents().values() for path in table):
        return "elsewhere"
    return "large" if sum(found.values()) > MOST_COPIED_BYTES else None


def _record(material: Material, why: str | None, listed: list[places.Place]) -> dict[str, Any]:
    """Return what the report was asked for, of what, and with what it was made; without times of its own."""
    job, about = material.job, material.manifest
    engagement = job.engagement
    named = [(engagement.relative(place.path), place.fault) for place in listed if place.fault is not None]
    asked = {"month": job.month, "lang": job.lang, "redact": job.redact}
    without = about["parameters"].get("without", "").splitlines()
    return {
        "binder": FORMAT,
        "month": material.month,
        "engagement": about["engagement"],
        "folder": None if job.redact else places.shown(engagement.folder.name),
        "asked": {**asked, "without": without},
        "parameters": about["parameters"],
        "taken_at": about["taken_at"],
        "fingerprint": about["fingerprint"],
        "previous": about["previous"],
        "kit": package_version(),
        "versions": about["versions"],
        "inputs_copied": why is None,
        "not_copied_because": why,
        "named_only": named,
    }


def _totals(material: Material) -> dict[str, Any]:
    summary = material.manifest["summary"]
    return {"control": material.manifest["control"], "steps": summary["totals"], "files": material.file_totals}


def _made(folder: Path) -> list[dict[str, Any]]:
    """Return the files of the report but those that bear its times or this binder's head, and what is printed."""
    kept = [path for path in sorted(folder.iterdir()) if path.name not in {INDEX, manifest.FILE, FILE}]
    return [
        {"file": path.name, "size": path.stat().st_size, "sha256": hash_file(path)}
        for path in kept
        if path.suffix != ".pdf"
    ]


def _earlier(material: Material, out: _Archive) -> None:
    """Add what the report took from earlier ones: delays, findings, and what auditors filled in."""
    if material.history is not None:
        out.file(EARLIER + HISTORY, material.history)
    if material.previous is not None:
        for name in (manifest.FILE, manifest.FINDINGS):
            out.file(f"{EARLIER}{material.previous.parent.name}/{name}", material.previous.with_name(name))
    if material.concluded.height:
        packed = BytesIO()
        material.concluded.write_parquet(packed)
        out.data(CONCLUSIONS, packed.getvalue())


def _line(row: dict[str, Any]) -> str:
    return json.dumps(row, ensure_ascii=False, default=str) + "\n"


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, indent=1, default=str) + "\n"
