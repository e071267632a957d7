"""Backup catalogues: from what the tools say of themselves to the canonical tables.

`REPO.json` is a catalogue, `REPO.BACKUP.jsonl|.json|.sha256|.tar` the content of one backup, `REPO.wal.txt` one WAL
segment a line, a BagIt bag, an inventory and an xtrabackup folder are folders. The repository, and the job, is the
name up to the first dot. Any other csv, xlsx or parquet is a job list of a known product or has the canonical columns.
"""

from __future__ import annotations

import hashlib
import json
from datetime import datetime
from typing import TYPE_CHECKING, Any

import polars as pl

from audit_kit import schema
from audit_kit.errors import AuditError, SourceError
from audit_kit.loaders.catalogues import assembly, borg, databases, inventories, job_lists, manifests, restic
from audit_kit.loaders.catalogues.checks import read_checks
from audit_kit.loaders.catalogues.shape import BEIJING, Found, Origin
from audit_kit.loaders.hashing import hash_file
from audit_kit.loaders.reading import FILES, SET_ASIDE, Reading

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

__all__ = ["every_file", "read_backups", "read_checks"]

INVOICE_FILES = (".xml", ".ofd", ".pdf", ".xbrl")
TABLES = ("backups", "backup_checks", "backup_listing")
TAR = (".tar", ".tar.gz", ".tgz", ".tar.xz", ".tar.bz2")
SPREAD = (".csv", ".tsv", ".xlsx", ".xlsm", ".xls", ".parquet")
SUFFIXES = (*TAR, *SPREAD, ".wal.txt", ".jsonl", ".json", ".sha256", ".sha256sum", ".txt")


def read_backups(
    paths: Sequence[Path],
    *,
    root: Path,
    tz: str | Mapping[Path, str | None] | None = None,
    headings: Mapping[str, str] | None = None,
) -> dict[str, Reading]:
    """Return the tables backups, backup_checks and backup_listing that files and folders of backup tools give.

    Args:
        paths: files and folders; a folder that is no bag, inventory or database backup is walked through.
        root: the engagement's folder; `source_file` is relative to it.
        tz: the zone of times without one, for all or by path; null = such a time is refused.
        headings: the user's own headers for canonical tables.

    Raises:
        EngagementError: a time without a zone in a source that declares none; the sentence says what to add.
        SourceError: a file is not what its name says.
    """
    parts: dict[str, list[Reading]] = {table: [] for table in TABLES}
    found: list[tuple[Origin, Found]] = []
    for origin in _origins(paths, root, tz):
        if origin.path.name.lower().endswith(SPREAD) and (reading := _canonical(origin, root, headings or {})):
            parts[reading.table].append(reading)
        else:
            found.append((origin, _read(origin)))
    canonical = pl.concat(
        [schema.empty("backups"), *(reading.rows for reading in parts["backups"])], how="diagonal_relaxed"
    )
    told = [row for _, one in found for row in one.backups]
    rows, contents = assembly.collect(told, [content for _, one in found for content in one.contents], canonical)
    known = pl.concat([frame.select("repo_id", "backup_id", "data_time") for frame in (rows, canonical)])
    checks = assembly.rows_of("backup_checks", [check for _, one in found for check in one.checks])
    listing = assembly.sparse(contents, known)
    return {
        "backups": _joined("backups", rows, parts["backups"], set_aside=_set_aside(found), files=_files(found)),
        "backup_checks": _joined("backup_checks", checks, parts["backup_checks"]),
        "backup_listing": _joined("backup_listing", listing, parts["backup_listing"]),
    }


def every_file(reading: Reading, root: Path) -> pl.DataFrame:
    """Return table invoice_files with the files that could not be read as invoices too, for they must be backed up as well.

    Args:
        reading: of table invoice_files; a file set aside is hashed and gets its path, size, time, role and SHA-256.
        root: the engagement's folder, which `source_file` is relative to.
    """
    unread = reading.set_aside.filter(pl.col("source_row").is_null())["source_file"].drop_nulls().unique().sort()
    rows = []
    for name in unread:
        file = root / name
        if file.suffix.lower() in INVOICE_FILES and file.is_file():
            stat = file.stat()
            written = datetime.fromtimestamp(int(stat.st_mtime), BEIJING).replace(tzinfo=None)
            role = file.suffix.lower().removeprefix(".")
            rows.append((name, name, stat.st_size, written, role, hash_file(file)))
    columns = ("source_file", "path", "size", "mtime", "role", "sha256")
    dtypes = schema.dtypes("invoice_files")
    more = pl.DataFrame(rows, schema={column: dtypes[column] for column in columns}, orient="row")
    return pl.concat([reading.rows, more], how="diagonal_relaxed")


def _origins(paths: Sequence[Path], root: Path, tz: str | Mapping[Path, str | None] | None) -> Iterator[Origin]:
    """Yield every file, and every folder that is one backup, once."""
    seen: set[Path] = set()
    for path in paths:
        zone = tz.get(path) if tz is not None and not isinstance(tz, str) else tz
        for place in _places(path):
            if place not in seen:
                seen.add(place)
                yield _origin(place, root, zone)


def _places(path: Path) -> Iterator[Path]:
    if not path.is_dir():
        # A file inside a bag, an inventory or a database backup is read with its folder.
        yield next((parent for parent in list(path.parents)[:4] if _is_one(parent)), path)
    elif _is_one(path):
        yield path
    else:
        for inner in sorted(path.iterdir()):
            if not inner.name.startswith(".") and not inner.is_symlink():
                yield from _places(inner)


def _is_one(folder: Path) -> bool:
    names = ("bagit.txt", *databases.INFO)
    if any((folder / name).is_file() for name in names):
        return True
    manifest = folder / "manifest.json"
    return manifest.is_file() and b'"fileSchema"' in manifest.read_bytes()[:100_000]


def _origin(path: Path, root: Path, tz: str | None) -> Origin:
    """Return what a path's name says: REPO, then BACKUP up to the known ending."""
    name = path.relative_to(root).as_posix() if path.is_relative_to(root) else path.name
    named = path
    if inventories.SCANNED.fullmatch(path.name) and path.parent != root:
        named = path.parent
    repo, _, rest = named.name.partition(".")
    ending = next((suffix for suffix in SUFFIXES if f".{rest}".lower().endswith(suffix)), "") if path.is_file() else ""
    backup_id = rest[: len(rest) - len(ending) + 1] if ending else rest
    if named is not path:
        backup_id = path.name
    sha256 = None
    if path.is_file():
        with path.open("rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    return Origin(path=path, name=name, repo_id=repo, backup_id=backup_id.strip(".") or None, tz=tz, sha256=sha256)


def _canonical(origin: Origin, root: Path, headings: Mapping[str, str]) -> Reading | None:
    """Return the reading of a canonical table; null where a preset of a product knows the file."""
    from audit_kit.loaders import tables  # noqa: PLC0415 (heavy, and only for this kind of file)

    if origin.path.suffix.lower() in (".csv", ".tsv"):
        rows = job_lists.rows_of(job_lists.decoded(origin.path.read_bytes()))
        if rows and job_lists.preset_of(list(rows[0][1])):
            return None
    kinds = [table for table in tables.recognise(origin.path, headings=headings) if table in TABLES]
    reading: Reading = tables.read(origin.path, table=kinds[0] if kinds else "backups", headings=headings, root=root)
    return reading


def _read(origin: Origin) -> Found:
    """Read one file or folder by its form.

    Raises:
        SourceError: it is none that is known, or damaged.
    """
    name = origin.path.name.lower()
    try:
        if origin.path.is_dir():
            return _read_folder(origin)
        if name.endswith(TAR):
            return manifests.read_tar(origin, _manifest_beside(origin.path))
        data = origin.path.read_bytes()
        if name.endswith(".jsonl"):
            return _read_lines(data, origin)
        text = job_lists.decoded(data)
        if name.endswith(".wal.txt"):
            return databases.read_wal(text, origin)
        if name.endswith((".sha256", ".sha256sum")):
            return Found() if _tar_beside(origin.path) else manifests.read_sums(text, origin)
        if name.endswith(databases.INFO):
            return databases.read_info([text], origin)
        if name.endswith(".json"):
            return _read_json(text, origin)
        rows = job_lists.rows_of(text)
        if rows and (preset := job_lists.preset_of(list(rows[0][1]))):
            return job_lists.read_jobs(rows, preset, origin)
    except AuditError:
        raise
    except (ValueError, KeyError, TypeError, AttributeError, OSError, pl.exceptions.PolarsError) as error:
        raise SourceError(f"{origin.name}: cannot be read as a backup catalogue ({error}); export it again.") from error
    return Found(set_aside=[(1, "no backup catalogue, listing or manifest that is known", "")])


def _read_folder(origin: Origin) -> Found:
    folder = origin.path
    if (folder / "bagit.txt").is_file():
        return manifests.read_bag(origin)
    if (manifest := folder / "manifest.json").is_file():
        return inventories.read_inventory(json.loads(manifest.read_text(encoding="utf-8")), origin)
    texts = [
        (folder / name).read_text(encoding="utf-8", errors="replace")
        for name in (*databases.CHECKPOINTS, *databases.INFO)
        if (folder / name).is_file()
    ]
    return databases.read_info(texts, origin)


def _read_lines(data: bytes, origin: Origin) -> Found:
    """Read the content of one backup: restic's begins with the snapshot, borg's knows the owner of every file."""
    if not data.strip():
        return Found(set_aside=[(1, "empty", "")])
    first = json.loads(data.split(b"\n", 1)[0])
    if "struct_type" in first or "message_type" in first:
        return restic.read_listing(data, origin)
    return borg.read_listing(data, origin)


def _read_json(text: str, origin: Origin) -> Found:
    """Read a catalogue by what it holds; the outputs of checks are read with the table of checks, not here."""
    if not text.strip():
        return Found(set_aside=[(1, "empty", "")])
    try:
        content: Any = json.loads(text)
    except ValueError:
        if "\n{" in text and text.lstrip().startswith("{"):
            return Found()
        raise
    if content == []:
        return Found()
    if restic.is_snapshots(content):
        return restic.read_snapshots(content, text, origin)
    if borg.is_catalogue(content):
        return borg.read_catalogue(content, text, origin)
    if databases.is_pgbackrest(content):
        return databases.read_pgbackrest(content, text, origin)
    if manifests.is_rclone(content):
        return manifests.read_rclone(content, origin)
    if inventories.is_inventory(content):
        return inventories.read_inventory(content, origin)
    if isinstance(content, dict) and "total_file_count" in content and origin.backup_id:
        return restic.read_stats(content, origin)
    return Found(set_aside=[(1, "no backup catalogue, listing or manifest that is known", "")])


def _manifest_beside(path: Path) -> Path | None:
    stem = next(
        path.name[: -len(ending)] for ending in sorted(TAR, key=len, reverse=True) if path.name.lower().endswith(ending)
    )
    options = (path.with_name(f"{stem}.sha256"), path.with_name(f"{path.name}.sha256"))
    return next((option for option in options if option.is_file()), None)


def _tar_beside(path: Path) -> bool:
    stem = path.name.rpartition(".")[0]
    return any(
        (path.with_name(stem + ending)).is_file()
        for ending in ("", *TAR)
        if stem + ending != path.name and (stem + ending).lower().endswith(TAR)
    )


def _set_aside(found: Sequence[tuple[Origin, Found]]) -> pl.DataFrame:
    rows = [
        {"source_file": origin.name, "source_row": row, "reason": reason, "value": value}
        for origin, one in found
        for row, reason, value in one.set_aside
    ]
    return pl.DataFrame(rows, schema=SET_ASIDE)


def _files(found: Sequence[tuple[Origin, Found]]) -> pl.DataFrame:
    rows = [
        {
            "source_file": origin.name,
            "table": "backup_listing" if one.contents else "backups",
            "sha256": origin.sha256,
            "size": origin.path.stat().st_size if origin.path.is_file() else None,
            "rows_in": one.rows_in,
            "rows_kept": one.rows_in - len(one.set_aside),
            "rows_set_aside": len(one.set_aside),
        }
        for origin, one in found
    ]
    return pl.DataFrame([{**dict.fromkeys(FILES), **row} for row in rows], schema=FILES)


def _joined(table: str, rows: pl.DataFrame, more: Sequence[Reading], **found: pl.DataFrame) -> Reading:
    """Return what adapters and canonical tables gave of one table as one reading."""
    nothing = Reading.nothing(table)

    def together(name: str, first: pl.DataFrame) -> pl.DataFrame:
        return pl.concat([first, *(getattr(reading, name) for reading in more)], how="diagonal_relaxed")

    return Reading(
        table=table,
        rows=together("rows", rows),
        set_aside=together("set_aside", found.get("set_aside", nothing.set_aside)),
        control=together("control", nothing.control),
        files=together("files", found.get("files", nothing.files)),
    )
