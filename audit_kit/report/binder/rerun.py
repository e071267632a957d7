"""Make the report of a binder again, from the inputs in it or from the engagement, and hold both against each other."""

from __future__ import annotations

import json
import os
import shutil
import zipfile
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from audit_kit.core import files as places
from audit_kit.core import outputs
from audit_kit.core.cache_folder import cache_folder
from audit_kit.core.errors import RequestError
from audit_kit.core.hashing import hash_file
from audit_kit.core.spreadsheet_csv import new_workbook
from audit_kit.core.words import Words
from audit_kit.loaders.engagement.engagement import package_version
from audit_kit.loaders.formats.archives import BLOCK
from audit_kit.report import manifest
from audit_kit.report.binder import binding, chain, checking
from audit_kit.report.run import run_report
from audit_kit.report.working_papers import CONCLUSIONS
from audit_kit.resources.languages import Listed

if TYPE_CHECKING:
    from collections.abc import Iterator

CACHE = "AUDIT_KIT_CACHE"


@dataclass(frozen=True)
class Rerun:
    """What came of it: `findings` then and now, `changed` (finding ids), `files` of other bytes, the version then.

    `kit` is null where the kit is the same.
    """

    findings: int
    findings_now: int
    changed: list[str]
    files: list[str]
    files_in_all: int
    kit: str | None

    @property
    def is_same(self) -> bool:
        """Whether all findings are the same, and all bytes, unless the kit is another."""
        return not self.changed and (not self.files or self.kit is not None)


def rerun(path: str | Path, engagement: str | Path | None = None, *, jobs: int = 2) -> Rerun:
    """Make the report of a binder again in a place of its own, nothing of it taken from what is kept.

    Args:
        path: the binder, or the folder of the report that it lies in.
        engagement: the folder with the inputs; null = the copies in the binder.
        jobs: notebooks run at the same time.

    Raises:
        RequestError: the binder is not intact, holds no inputs, or those of the engagement are no longer the same.
    """
    checked = checking.verify(path)
    if not checked.is_intact:
        raise RequestError("error_binder.not_intact", file=checked.path, why=checked.faults[0])
    with zipfile.ZipFile(checked.path) as archive, outputs.scratch() as scratch, _own_cache(scratch / "cache"):
        record = _record(archive)
        asked = record["asked"]
        if asked["redact"] and asked["without"]:
            raise RequestError("error_binder.hidden_without")
        folder = _unpacked(archive, record, scratch) if engagement is None else _checked(archive, Path(engagement))
        out = scratch / "reports"
        out.mkdir()
        papers = _earlier(archive, record, out, scratch)
        result = run_report(
            folder,
            month=asked["month"],
            out=out,
            lang=asked["lang"],
            redact=asked["redact"],
            jobs=jobs,
            without=asked["without"],
            papers=papers,
        )
        made = record["made"]
        then = _findings(archive, scratch)
        now = pl.read_parquet(result.folder / manifest.FINDINGS, glob=False)
        return Rerun(
            findings=then.height,
            findings_now=now.height,
            changed=_changed(then, now),
            files=[
                told["file"]
                for told in made
                if not (file := result.folder / Path(told["file"]).name).is_file() or hash_file(file) != told["sha256"]
            ],
            files_in_all=len(made),
            kit=None if record["kit"] == package_version() else str(record["kit"]),
        )


def _record(archive: zipfile.ZipFile) -> dict[str, Any]:
    """Return the record of a binder, with `made`, the files of its report; whoever forged it may have written anything.

    Raises:
        RequestError: it is none that we write.
    """
    try:
        record = json.loads(checking.text_of(archive, binding.RECORD))
        asked, made = record["asked"], json.loads(checking.text_of(archive, binding.MADE))
        sound = (
            isinstance(asked["month"], str | None)
            and isinstance(asked["lang"], str)
            and all(isinstance(flag, bool) for flag in (asked["redact"], record["inputs_copied"]))
            and all(isinstance(name, str) for name in [*asked["without"], *(name for name, _ in record["named_only"])])
            and all(isinstance(told[key], str) for told in made for key in ("file", "sha256"))
            and isinstance(record["kit"], str)
        )
    except (ValueError, KeyError, TypeError, RecursionError):
        sound = False
    if not sound:
        raise RequestError("error_binder.no_member", name=binding.RECORD)
    return {**record, "made": made}


@contextmanager
def _own_cache(folder: Path) -> Iterator[None]:
    """Let nothing that is kept of an earlier run answer."""
    before, keys = os.environ.get(CACHE), cache_folder() / "keys"
    if keys.is_dir():  # of the pseudonyms
        shutil.copytree(keys, folder / "keys")
    os.environ[CACHE] = str(folder)
    try:
        yield
    finally:
        os.environ.pop(CACHE)
        if before is not None:
            os.environ[CACHE] = before


def _unpacked(archive: zipfile.ZipFile, record: dict[str, Any], scratch: Path) -> Path:
    """Return a folder with the copies of the inputs."""
    if not record["inputs_copied"]:
        raise RequestError("error_binder.no_inputs")
    folder = scratch / "inputs" / _inside(chain.member_name(str(record["folder"])).replace("/", "%2F"))
    folder.mkdir(parents=True)
    for entry in archive.infolist():
        if entry.filename.startswith(binding.COPIES):
            _unpack(archive, entry, folder / _inside(entry.filename.removeprefix(binding.COPIES)))
    for named, fault in record["named_only"]:
        inside = chain.path_of(chain.member_name(named)) is not None
        if fault in binding.STOOD_IN and inside and not (folder / named).exists():
            (folder / named).parent.mkdir(parents=True, exist_ok=True)
            (folder / named).mkdir() if fault == places.EMPTY_FOLDER else (folder / named).touch()
    return folder


def _inside(name: str) -> str:
    """Return the path that a member's name stands for.

    Raises:
        RequestError: it would lead out of its folder.
    """
    if (path := chain.path_of(name)) is None:
        raise RequestError("error_binder.no_member", name=name)
    return path


def _unpack(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, place: Path) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    with archive.open(entry) as source, place.open("xb") as made:
        shutil.copyfileobj(source, made, BLOCK)


def _checked(archive: zipfile.ZipFile, engagement: Path) -> Path:
    """Return the engagement's folder, its inputs held against those of the binder."""
    if faults := checking.changed_inputs(checking.lines(archive, binding.INPUTS), engagement):
        raise RequestError("error_binder.inputs_changed", list=Listed(*faults, by="answer.semicolon"))
    return engagement


def _earlier(archive: zipfile.ZipFile, record: dict[str, Any], out: Path, scratch: Path) -> list[Path]:
    """Put what the report took from earlier ones where it looks for that; return what auditors filled in."""
    kept = {entry.filename: entry for entry in archive.infolist() if entry.filename.startswith(binding.EARLIER)}
    conclusions = kept.pop(binding.CONCLUSIONS, None)
    for name, entry in kept.items():
        _unpack(archive, entry, out / _inside(name.removeprefix(binding.EARLIER)))
    if conclusions is None:
        return []
    rows, paper = _frame(archive, conclusions, scratch / "conclusions.parquet"), scratch / "paper.xlsx"
    if rows.schema != pl.Schema(CONCLUSIONS):
        raise RequestError("error_binder.no_member", name=binding.CONCLUSIONS)
    words = Words(record["asked"]["lang"])
    with new_workbook(paper, {"strings_to_formulas": False, "strings_to_urls": False}) as book:
        page = book.add_worksheet()
        for number, row in enumerate([[words(f"workbook.{name}") for name in CONCLUSIONS], *rows.rows()]):
            for place, value in enumerate(row):
                page.write_string(number, place, value or "")
    return [paper]


def _findings(archive: zipfile.ZipFile, scratch: Path) -> pl.DataFrame:
    name = manifest.FINDINGS
    if name not in archive.namelist():
        raise RequestError("error_binder.no_member", name=name)
    found = _frame(archive, archive.getinfo(name), scratch / "then.parquet")
    if "finding_id" not in found.columns:
        raise RequestError("error_binder.no_member", name=name)
    return found


def _frame(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, place: Path) -> pl.DataFrame:
    _unpack(archive, entry, place)
    try:
        return pl.read_parquet(place, glob=False)
    except pl.exceptions.PolarsError as error:
        raise RequestError("error_binder.no_member", name=entry.filename) from error


def _changed(then: pl.DataFrame, now: pl.DataFrame) -> list[str]:
    """Return the ids of findings that are gone, new or other than they were, in order."""
    if then.equals(now):
        return []
    before, after = ({row["finding_id"]: row for row in side.iter_rows(named=True)} for side in (then, now))
    differing = [name for name in before | after if before.get(name) != after.get(name)]
    return differing or list(before)[:1]
