"""Backup catalogues: from what the tools say of themselves to the canonical tables.

`REPO.json` is a catalogue, `REPO.BACKUP.jsonl|.json|.sha256|.tar` the content of one backup, `REPO.wal.txt` one WAL
segment a line, a BagIt bag, an inventory and an xtrabackup folder are folders. The repository, and the job, is the
name up to the first dot. Any other csv, xlsx or parquet is a job list of a known product or has the canonical columns.
"""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import polars as pl

from audit_kit.core import schema
from audit_kit.core.clock import written_at
from audit_kit.core.errors import AuditError, RequestError, SourceError, of_system
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
from audit_kit.loaders.catalogues import inventories, job_lists, joining, tools
from audit_kit.loaders.catalogues.checks import read_checks
from audit_kit.loaders.catalogues.found import Found, Origin, decoded
from audit_kit.loaders.reading import FILES, Reading, Reason, aside, joined
from audit_kit.resources.languages import Sayable

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

__all__ = ["every_file", "read_backups", "read_checks"]

INVOICE_FILES = (".xml", ".ofd", ".pdf", ".xbrl")
TABLES = ("backups", "backup_checks", "backup_listing")
UNREADABLE = (ValueError, KeyError, TypeError, AttributeError, OSError, ArithmeticError, pl.exceptions.PolarsError)
HEAD = 1 << 16
LINK = "link"  # why a link within a folder of backups is not read
SPREAD = (".csv", ".tsv", ".xlsx", ".xlsm", ".xls", ".parquet")
JOB_LISTS = (".csv", ".tsv", ".txt")
# Every ending that is no part of a backup's name, the longest first.
_ENDINGS = (*SPREAD, ".jsonl", ".json", ".txt", *(one for tool in tools.tools().values() for one in tool.endings))
SUFFIXES = sorted({f".{ending.lstrip('.')}" for ending in _ENDINGS}, key=len, reverse=True)


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
            found.append((origin, Found(set_aside=[(1, f"unused.{fault}", "")], rows_in=1)))
        elif origin.path.name.lower().endswith(SPREAD) and (reading := _canonical(origin, root, headings or {})):
            parts[reading.table].append(reading)
        else:
            found.append((origin, _read(origin)))
    canonical = pl.concat(
        [schema.empty("backups"), *(reading.rows for reading in parts["backups"])], how="diagonal_relaxed"
    )
    catalogued = [row for _, one in found for row in one.backups]
    rows, contents = joining.collect(catalogued, [content for _, one in found for content in one.contents], canonical)
    known = pl.concat([frame.select("repo_id", "backup_id", "data_time") for frame in (rows, canonical)])
    checks = joining.rows_of("backup_checks", [check for _, one in found for check in one.checks])
    listing = joining.sparse(contents, known)
    told = {
        "backups": replace(Reading.nothing("backups"), rows=rows, set_aside=_set_aside(found), files=_files(found)),
        "backup_checks": replace(Reading.nothing("backup_checks"), rows=checks),
        "backup_listing": replace(Reading.nothing("backup_listing"), rows=listing),
    }
    return {table: joined(table, [told[table], *parts[table]]) for table in TABLES}


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
            role = file.suffix.lower().removeprefix(".")
            rows.append((name, name, file.stat().st_size, written_at(file), role, hash_file(file)))
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
    raise RequestError("error_catalogues.whole", place=shown(place.name))


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
    return tools.of_folder(folder) is not None


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
            raise SourceError("error_catalogues.closed", name=name, why=of_system(error.strerror)) from error
    return Origin(path=path, name=name, repo_id=repo, backup_id=backup_id.strip(".") or None, tz=tz, sha256=sha256)


def _canonical(origin: Origin, root: Path, headings: Mapping[str, str]) -> Reading | None:
    """Return the reading of a canonical table; null where a product's preset knows the file, or it is another table."""
    from audit_kit.loaders.read import recognise  # noqa: PLC0415 (heavy, and only for this kind of file)
    from audit_kit.loaders.tables import pipeline  # noqa: PLC0415 (the same)

    if origin.path.suffix.lower() in (".csv", ".tsv"):
        with origin.path.open("rb") as file:
            rows = job_lists.rows_of(decoded(file.read(HEAD)))
        if rows and job_lists.preset_of(list(rows[0][1])):
            return None
    held = recognise(origin.path, headings=headings)
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
    try:
        found = _by_form(origin) or Found(set_aside=[(1, "catalogue.unknown", "")], rows_in=1)
        own = (content.backup for content in found.contents if content.backup is not None)
        joining.rows_of("backups", [*found.backups, *own])  # a value that does not fit its column is this file's fault
    except AuditError:
        raise
    except RecursionError as error:
        raise SourceError("error_catalogues.too_deep", file=origin.name) from error
    except UNREADABLE as error:
        why = error if isinstance(error, Sayable) else str(error).partition("\n")[0]
        raise SourceError("error_catalogues.unreadable", file=origin.name, why=why) from error
    return found


def _by_form(origin: Origin) -> Found | None:
    """Read a folder or file by the tool whose marks or ending it has, else by what it holds; null where none knows."""
    name = origin.path.name.lower()
    if origin.path.is_dir():
        tool = tools.of_folder(origin.path)
        return tools.reader(tool, "folder")(origin) if tool else None
    if tool := tools.of_file(name):
        return tools.reader(tool, "file")(origin)
    if name.endswith(".jsonl"):
        return _read_lines(origin)
    if name.endswith(".json"):
        return _read_json(origin)
    return _read_jobs(origin) if name.endswith(JOB_LISTS) else None


def _first(form: str, *given: object) -> Found | None:
    """Return what the first tool that knows a content finds in it."""
    return next((found for reader in tools.readers(form) if (found := reader(*given)) is not None), None)


def _read_lines(origin: Origin) -> Found | None:
    """Read the content of one backup: restic's begins with the snapshot, borg's knows the owner of every file."""
    data = origin.path.read_bytes()
    if not data.strip():
        return Found(set_aside=[(1, "catalogue.empty", "")], rows_in=1)
    return _first("lines", json.loads(data.split(b"\n", 1)[0]), data, origin)


def _read_json(origin: Origin) -> Found | None:
    """Read a catalogue by what it holds; the output of a check is no catalogue and is read with the table of checks."""
    text = decoded(origin.path.read_bytes())
    try:
        content: Any = json.loads(text)
    except ValueError:
        if isinstance(json.loads(text.split("\n", 1)[0]), dict):  # one object a line: the output of a check
            return None
        raise
    return _first("json", content, text, origin) if content else Found()


def _read_jobs(origin: Origin) -> Found | None:
    rows = job_lists.rows_of(decoded(origin.path.read_bytes()))
    preset = job_lists.preset_of(list(rows[0][1])) if rows else None
    return job_lists.read_jobs(rows, preset, origin) if preset else None


def _set_aside(found: Sequence[tuple[Origin, Found]]) -> pl.DataFrame:
    return aside(
        (origin.name, row, Reason(code=code), value) for origin, one in found for row, code, value in one.set_aside
    )


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
