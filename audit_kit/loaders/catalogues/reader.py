"""Backup catalogues: from what the tools say of themselves to the canonical tables.

`REPO.json` is a catalogue, `REPO.BACKUP.jsonl|.json|.sha256|.tar` the content of one backup, `REPO.wal.txt` one WAL
segment a line, a BagIt bag, an inventory and an xtrabackup folder are folders. The repository, and the job, is the
name up to the first dot. Any other csv, xlsx or parquet is a job list of a known product or has the canonical columns.
"""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

import polars as pl

from audit_kit.core import schema
from audit_kit.core.errors import AuditError, RequestError, SourceError
from audit_kit.core.files import (
    CLOSED,
    OUTSIDE,
    Place,
    actual,
    fault_of,
    is_closed,
    is_debris,
    is_inside,
    shown,
    shown_path,
    walk,
)
from audit_kit.core.hashing import hash_file
from audit_kit.loaders.catalogues import borg, database_backups, inventories, job_lists, joining, manifests, restic
from audit_kit.loaders.catalogues.checks import read_checks
from audit_kit.loaders.catalogues.found import BEIJING, Found, Origin
from audit_kit.loaders.engagement.unused import why
from audit_kit.loaders.reading import FILES, SET_ASIDE, Reading

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

__all__ = ["every_file", "read_backups", "read_checks"]

INVOICE_FILES = (".xml", ".ofd", ".pdf", ".xbrl")
TABLES = ("backups", "backup_checks", "backup_listing")
TAR = (".tar", ".tar.gz", ".tgz", ".tar.xz", ".tar.bz2")
HEAD = 1 << 16
LINK = "link"  # why a link within a folder of backups is not read
SPREAD = (".csv", ".tsv", ".xlsx", ".xlsm", ".xls", ".parquet")
SUFFIXES = (
    *TAR,
    *SPREAD,
    ".wal.txt",
    ".xtrabackup_info",
    ".mariadb_backup_info",
    ".jsonl",
    ".json",
    ".sha256",
    ".sha256sum",
    ".txt",
)


def read_backups(
    paths: Sequence[Path],
    *,
    root: Path,
    tz: str | Mapping[Path, str | None] | None = None,
    headings: Mapping[str, str] | None = None,
    without: frozenset[Path] = frozenset(),
) -> dict[str, Reading]:
    """Return the tables backups, backup_checks and backup_listing that files and folders of backup tools give.

    Args:
        paths: files and folders; a folder that is no bag, inventory or database backup is walked through.
        root: the engagement's folder; `source_file` is relative to it.
        tz: the zone of times without one, for all or by path; null = such a time is refused.
        headings: the user's own headers for canonical tables.
        without: files and folders that are left out on the user's word.

    Raises:
        RequestError: a part of a backup that is read as a whole is left out.
        EngagementError: a time without a zone in a source that declares none; the sentence says what to add.
        SourceError: a file is not what its name says.
    """
    parts: dict[str, list[Reading]] = {table: [] for table in TABLES}
    found: list[tuple[Origin, Found]] = []
    for origin, fault in _origins(paths, root, tz, without):
        if fault is not None:
            found.append((origin, Found(set_aside=[(1, why(fault), "")], rows_in=1)))
        elif origin.path.name.lower().endswith(SPREAD) and (reading := _canonical(origin, root, headings or {})):
            parts[reading.table].append(reading)
        else:
            found.append((origin, _read(origin)))
    canonical = pl.concat(
        [schema.empty("backups"), *(reading.rows for reading in parts["backups"])], how="diagonal_relaxed"
    )
    told = [row for _, one in found for row in one.backups]
    rows, contents = joining.collect(told, [content for _, one in found for content in one.contents], canonical)
    known = pl.concat([frame.select("repo_id", "backup_id", "data_time") for frame in (rows, canonical)])
    checks = joining.rows_of("backup_checks", [check for _, one in found for check in one.checks])
    listing = joining.sparse(contents, known)
    return {
        "backups": _joined("backups", rows, parts["backups"], set_aside=_set_aside(found), files=_files(found)),
        "backup_checks": _joined("backup_checks", checks, parts["backup_checks"]),
        "backup_listing": _joined("backup_listing", listing, parts["backup_listing"]),
    }


def every_file(reading: Reading, root: Path) -> pl.DataFrame:
    """Return table invoice_files with the files that could not be read as invoices: they must be backed up too.

    Args:
        reading: of table invoice_files; a file set aside is hashed and gets its path, size, time, role and SHA-256.
        root: the engagement's folder, which `source_file` is relative to.
    """
    unread = reading.set_aside.filter(pl.col("source_row").is_null())["source_file"].drop_nulls().unique().sort()
    rows = []
    for name in unread:
        file = actual(root / name)
        if file.suffix.lower() in INVOICE_FILES and file.is_file():
            stat = file.stat()
            written = datetime.fromtimestamp(int(stat.st_mtime), BEIJING).replace(tzinfo=None)
            role = file.suffix.lower().removeprefix(".")
            rows.append((name, name, stat.st_size, written, role, hash_file(file)))
    columns = ("source_file", "path", "size", "mtime", "role", "sha256")
    dtypes = schema.dtypes("invoice_files")
    more = pl.DataFrame(rows, schema={column: dtypes[column] for column in columns}, orient="row")
    return pl.concat([reading.rows, more], how="diagonal_relaxed")


def _origins(
    paths: Sequence[Path], root: Path, tz: str | Mapping[Path, str | None] | None, without: frozenset[Path]
) -> Iterator[tuple[Origin, str | None]]:
    """Yield every file, and every folder that is one backup, once, with why it cannot be read."""
    seen: set[Path] = set()
    for path in paths:
        zone = tz.get(path) if tz is not None and not isinstance(tz, str) else tz
        for place, fault in _places(path, root):
            if place not in seen and not _is_left_out(place, without):
                seen.add(place)
                yield _origin(place, root, zone, fault), fault


def _is_left_out(place: Path, without: frozenset[Path]) -> bool:
    """Tell whether a file, or a folder with all that is in it, is left out on the user's word.

    Raises:
        RequestError: a part of such a folder is left out.
    """
    inside = {path for path in without if path.is_relative_to(place)}
    if not inside or place in inside:
        return bool(inside)
    if all(path in inside for path in walk(place)):
        return True
    raise RequestError(f"{shown(place.name)} is read as a whole; leave out all of it or nothing.")


def _places(path: Path, root: Path) -> Iterator[Place]:
    """Yield what is read together: a file, or a folder that is one backup."""
    if not path.is_dir():
        # A file inside a bag, an inventory or a database backup is read with its folder.
        above = [parent for parent in list(path.parents)[:4] if parent != root and not root.is_relative_to(parent)]
        one = next((parent for parent in above if _is_one(parent)), None)
        yield Place(path, fault_of(path)) if one is None else Place(one, None)
    elif is_closed(path):
        yield Place(path, CLOSED)
    elif _is_one(path):
        yield Place(path, None)
    else:
        for inner in sorted(path.iterdir()):
            if inner.is_symlink() and not is_debris(inner):
                yield Place(inner, fault_of(inner) or (LINK if is_inside(root, inner) else OUTSIDE))
            elif not is_debris(inner):
                yield from _places(inner, root)


def _is_one(folder: Path) -> bool:
    names = ("bagit.txt", *database_backups.INFO)
    if any((folder / name).is_file() for name in names):
        return True
    manifest = folder / "manifest.json"
    return manifest.is_file() and b'"fileSchema"' in manifest.read_bytes()[:100_000]


def _origin(path: Path, root: Path, tz: str | None, fault: str | None) -> Origin:
    """Return what a path's name says: REPO, then BACKUP up to the known ending.

    Raises:
        SourceError: the file cannot be opened.
    """
    name = shown_path(path.relative_to(root)) if path.is_relative_to(root) else shown(path.name)
    named = path
    if inventories.SCANNED.fullmatch(path.name) and path.parent != root:
        named = path.parent
    repo, _, rest = shown(named.name).partition(".")
    ending = next((suffix for suffix in SUFFIXES if f".{rest}".lower().endswith(suffix)), "") if path.is_file() else ""
    backup_id = rest[: len(rest) - len(ending) + 1] if ending else rest
    if named is not path:
        backup_id = shown(path.name)
    sha256 = None
    if fault is None and path.is_file():
        try:
            sha256 = hash_file(path)
        except OSError as error:
            raise SourceError(f"{name}: cannot be opened ({error.strerror}); check its permissions.") from error
    return Origin(path=path, name=name, repo_id=repo, backup_id=backup_id.strip(".") or None, tz=tz, sha256=sha256)


def _canonical(origin: Origin, root: Path, headings: Mapping[str, str]) -> Reading | None:
    """Return the reading of a canonical table; null where a product's preset knows the file, or it is another table."""
    from audit_kit.loaders.tables import pipeline  # noqa: PLC0415 (heavy, and only for this kind of file)

    if origin.path.suffix.lower() in (".csv", ".tsv"):
        with origin.path.open("rb") as file:
            rows = job_lists.rows_of(job_lists.decoded(file.read(HEAD)))
        if rows and job_lists.preset_of(list(rows[0][1])):
            return None
    held = pipeline.recognise(origin.path, headings=headings)
    kind = next((table for table in held if table in TABLES), None if held else "backups")
    if kind is None:
        return None
    reading: Reading = pipeline.read(origin.path, table=kind, headings=headings, root=root, tz=origin.tz)
    return replace(reading, rows=read_checks(reading.rows, root)) if kind == "backup_checks" else reading


def _read(origin: Origin) -> Found:
    """Read one file or folder by its form.

    Raises:
        SourceError: it is damaged, or not what its name says.
    """
    name = origin.path.name.lower()
    try:
        if origin.path.is_dir():
            return _read_folder(origin)
        reader = next((reader for endings, reader in READERS if name.endswith(endings)), None)
        return reader(origin) if reader else _unknown()
    except AuditError:
        raise
    except RecursionError as error:
        raise SourceError(f"{origin.name}: is nested too deeply for a backup catalogue; export it again.") from error
    except (ValueError, KeyError, TypeError, AttributeError, OSError, pl.exceptions.PolarsError) as error:
        raise SourceError(f"{origin.name}: cannot be read as a backup catalogue ({error}); export it again.") from error


def _unknown() -> Found:
    return Found(set_aside=[(1, "no backup catalogue, listing or manifest that is known", "")], rows_in=1)


def _text(origin: Origin) -> str:
    return job_lists.decoded(origin.path.read_bytes())


def _read_folder(origin: Origin) -> Found:
    folder = origin.path
    if (folder / "bagit.txt").is_file():
        return manifests.read_bag(origin)
    if (manifest := folder / "manifest.json").is_file():
        return inventories.read_inventory(json.loads(manifest.read_text(encoding="utf-8")), origin)
    names = (*database_backups.CHECKPOINTS, *database_backups.INFO)
    texts = [
        (folder / name).read_text(encoding="utf-8", errors="replace") for name in names if (folder / name).is_file()
    ]
    return database_backups.read_info(texts, origin)


def _read_tar(origin: Origin) -> Found:
    return manifests.read_tar(origin, _manifest_beside(origin.path))


def _read_sums(origin: Origin) -> Found:
    """Read a manifest; one that lies beside its tar is read with it."""
    stem = origin.path.name.rpartition(".")[0]
    beside = (stem, *(stem + ending for ending in TAR))
    if any(name.lower().endswith(TAR) and origin.path.with_name(name).is_file() for name in beside):
        return Found()
    return manifests.read_sums(_text(origin), origin)


def _read_lines(origin: Origin) -> Found:
    """Read the content of one backup: restic's begins with the snapshot, borg's knows the owner of every file."""
    data = origin.path.read_bytes()
    if not data.strip():
        return Found(set_aside=[(1, "empty", "")], rows_in=1)
    first = json.loads(data.split(b"\n", 1)[0])
    if "struct_type" in first or "message_type" in first:
        return restic.read_listing(data, origin)
    return borg.read_listing(data, origin)


def _read_json(origin: Origin) -> Found:
    """Read a catalogue by what it holds; the output of a check is no catalogue and is read with the table of checks."""
    text = _text(origin)
    try:
        content: Any = json.loads(text)
    except ValueError:
        if isinstance(json.loads(text.split("\n", 1)[0]), dict):  # one object a line: the output of a check
            return _unknown()
        raise
    if not content:
        return Found()
    if isinstance(content, dict) and "total_file_count" in content and origin.backup_id:
        return restic.read_stats(content, origin)
    for is_kind, read in CATALOGUES:
        if is_kind(content):
            return read(content, text, origin)
    return _unknown()


def _read_jobs(origin: Origin) -> Found:
    rows = job_lists.rows_of(_text(origin))
    preset = job_lists.preset_of(list(rows[0][1])) if rows else None
    return job_lists.read_jobs(rows, preset, origin) if preset else _unknown()


def _manifest_beside(path: Path) -> Path | None:
    """Return the sha256sum manifest of a tar: of the same name with another ending, or with one more."""
    ending = next(ending for ending in sorted(TAR, key=len, reverse=True) if path.name.lower().endswith(ending))
    options = (path.with_name(f"{path.name[: -len(ending)]}.sha256"), path.with_name(f"{path.name}.sha256"))
    return next((option for option in options if option.is_file()), None)


# What a file holds is told by its ending; the first that fits counts.
READERS: tuple[tuple[tuple[str, ...], Callable[[Origin], Found]], ...] = (
    (TAR, _read_tar),
    ((".jsonl",), _read_lines),
    ((".json",), _read_json),
    ((".wal.txt",), lambda origin: database_backups.read_wal(_text(origin), origin)),
    ((".sha256", ".sha256sum"), _read_sums),
    (database_backups.INFO, lambda origin: database_backups.read_info([_text(origin)], origin)),
    ((".csv", ".tsv", ".txt"), _read_jobs),
)
# What a JSON catalogue is, is told by what it holds.
CATALOGUES: tuple[tuple[Callable[[Any], bool], Callable[[Any, str, Origin], Found]], ...] = (
    (restic.is_snapshots, restic.read_snapshots),
    (borg.is_catalogue, borg.read_catalogue),
    (database_backups.is_pgbackrest, database_backups.read_pgbackrest),
    (manifests.is_rclone, lambda content, _text, origin: manifests.read_rclone(content, origin)),
    (inventories.is_inventory, lambda content, _text, origin: inventories.read_inventory(content, origin)),
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
        frames: list[pl.DataFrame] = [first, *(getattr(reading, name) for reading in more)]
        return pl.concat(frames, how="diagonal_relaxed")

    return Reading(
        table=table,
        rows=together("rows", rows),
        set_aside=together("set_aside", found.get("set_aside", nothing.set_aside)),
        control=together("control", nothing.control),
        files=together("files", found.get("files", nothing.files)),
    )
