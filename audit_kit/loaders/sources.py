"""Where an engagement's sources lie: globs, folders and files by name, confined to the engagement.

A relative path never leads out of the engagement, neither by `..` nor through a symbolic link; an absolute one
may, once the user has allowed it: see `permits`.
"""

from __future__ import annotations

import hashlib
import os
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from audit_kit import resources, schema
from audit_kit.errors import EngagementError, SourceError
from audit_kit.loaders.settings import FILE

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

TABLE_FILES = (".xlsx", ".xlsm", ".xls", ".csv", ".tsv", ".txt", ".parquet", ".json")
INVOICE_FILES = (".xml", ".ofd", ".pdf", ".xbrl")
CATALOGUES = (".jsonl", ".sha256", ".tar", ".wal.txt")
# Tables whose sources may be folders that their own reader walks through.
FOLDERS = ("invoice_files", "backups")
# Tables that lie in the folder of backups and are told by their own name.
BESIDE_BACKUPS = ("backup_checks", "restore_tests", "backup_listing", "schedule")
DEBRIS = (".", "~$")


def resolve(folder: Path, table: str, pattern: str) -> tuple[Path, ...]:
    """Return the files or folders that a path or glob of `[sources]` names, in order of their names.

    Raises:
        EngagementError: nothing is there, or a relative path leads out of the engagement.
    """
    written = Path(pattern)
    if not written.is_absolute() and ".." in written.parts:
        _outside(table, pattern)
    base = Path(written.anchor) if written.is_absolute() else folder
    relative = str(written.relative_to(base)) if written.is_absolute() else pattern
    exact = base / relative
    hits = [exact] if exact.exists() else sorted(_glob(base, relative))
    hits = [hit for hit in hits if not _is_debris(hit) and (hit.is_file() or hit.is_dir())]
    if not hits:
        raise EngagementError(f'{FILE}: [sources] {table} = "{pattern}" names no file in {folder.name}.')
    if not written.is_absolute():
        for hit in hits:
            if not is_inside(folder, hit):
                _outside(table, pattern)
    if table in FOLDERS:
        return tuple(hits)
    return tuple(file for hit in hits for file in (walk(hit) if hit.is_dir() else (hit,)))


def _glob(base: Path, pattern: str) -> Iterator[Path]:
    try:
        yield from base.glob(pattern)
    except (ValueError, NotImplementedError) as error:
        raise EngagementError(f'{FILE}: [sources] "{pattern}" is no path or glob: {error}.') from error


def _outside(table: str, pattern: str) -> None:
    raise EngagementError(
        f'{FILE}: [sources] {table} = "{pattern}" leads out of the engagement; if that is meant, write the whole path.'
    )


def ways_out(folder: Path, pattern: str) -> list[str]:
    """Return the places out of the engagement that a whole path, or one on another machine, leads to.

    Only what lies within it is looked at. A relative path that leads out is refused by `resolve`.
    """
    if pattern.startswith(("\\\\", "//")):
        return [pattern]
    written = Path(pattern)
    if not (written.is_absolute() or written.drive or written.root):
        return []
    if ".." in written.parts or not written.is_relative_to(folder):
        return [pattern]
    hits = [written] if written.exists() else _glob(folder, str(written.relative_to(folder)))
    return [str(hit.resolve()) for hit in hits if not is_inside(folder, hit)]


def is_inside(folder: Path, path: Path) -> bool:
    """Tell whether a path, its links followed, stays in the folder."""
    return path.resolve().is_relative_to(folder.resolve())


def _is_debris(path: Path) -> bool:
    """Tell whether a file is an editor's or a system's leftover: hidden, or Excel's lock file."""
    return path.name.startswith(DEBRIS)


def walk(folder: Path) -> Iterator[Path]:
    """Yield the files below a folder in order of their paths, hidden ones and links that lead out left aside."""
    with os.scandir(folder) as entries:
        listed = sorted(entries, key=lambda entry: entry.name)
    for entry in listed:
        path = Path(entry.path)
        if entry.name.startswith(DEBRIS) or (entry.is_symlink() and not is_inside(folder, path)):
            continue
        if entry.is_dir(follow_symlinks=False):
            yield from walk(path)
        elif entry.is_file():
            yield path


def recognised(folder: Path, headings: Mapping[str, str]) -> tuple[dict[str, tuple[Path, ...]], tuple[str, ...]]:
    """Return the files of each table, found by name and headers, and the paths of files that are none."""
    found: dict[str, list[Path]] = {}
    unused: list[str] = []
    for file in walk(folder):
        if file == folder / FILE:
            continue
        tables = _tables_of(file, file.relative_to(folder), headings)
        for table in tables:
            found.setdefault(table, []).append(file)
        if not tables:
            unused.append(file.relative_to(folder).as_posix())
    if "invoice_files" in found:
        found["invoice_files"] = _as_folders(folder, found["invoice_files"])
    return {table: tuple(files) for table, files in found.items()}, tuple(unused)


def _as_folders(root: Path, files: list[Path]) -> list[Path]:
    """Return a folder named for e-invoices instead of the files in it, which then go by their paths within it."""
    folders: dict[Path, list[Path]] = {}
    for file in files:
        parts = file.relative_to(root).parts[:-1]
        depth = next((at for at, part in enumerate(parts, 1) if _named(part) == "invoice_files"), 0)
        folders.setdefault(root.joinpath(*parts[:depth]) if depth else file, []).append(file)
    plain = {place for place, inside in folders.items() if not any(is_table(file) for file in inside)}
    return [path for place, inside in folders.items() for path in ([place] if place in plain else inside)]


def is_table(file: Path) -> bool:
    """Tell whether a file's name is that of a table."""
    return file.name.lower().endswith(TABLE_FILES)


def _tables_of(file: Path, relative: Path, headings: Mapping[str, str]) -> list[str]:
    """Return the tables in one file: its folder's or own name tells, else its headers."""
    name = file.name.lower()
    if name.endswith(CATALOGUES) or _in_bag(file.parent):
        return ["backups"]
    named = next(filter(None, map(_named, (*relative.parts[:-1], relative.stem))), None)
    if named == "backups" and (own := _named(relative.stem)) in BESIDE_BACKUPS:
        named = own
    if name.endswith(INVOICE_FILES):
        return [named if named == "backups" else "invoice_files"]
    if not is_table(file):
        return [named] if named == "invoice_files" else []
    if named is not None:
        return [named]
    from audit_kit.loaders import tables  # noqa: PLC0415 (heavy, and only needed where no name tells)

    try:
        return tables.recognise(file, headings=headings)
    except SourceError:  # no table at all, and nobody said that it is one
        return []


@lru_cache(maxsize=1 << 10)
def _in_bag(folder: Path) -> bool:
    """Tell whether a folder is a BagIt bag, or its payload two levels down at most."""
    return any((place / "bagit.txt").exists() for place in [folder, *folder.parents][:3])


@lru_cache(maxsize=1 << 10)
def _named(part: str) -> str | None:
    """Return the table that the name of a folder or file gives away, or null."""
    names = resources.load("engagement")["names"]
    word = part.lower()
    for table in (*schema.INPUTS, "exports"):
        if any(word.startswith(name) or (not name.isascii() and name in word) for name in names.get(table, ())):
            return table
    return None


def digest(path: Path) -> str:
    """Return a file's SHA-256 in hexadecimal; within a process an unchanged file is read once."""
    stat = path.stat()
    return _digest(str(path), stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino)


@lru_cache(maxsize=1 << 18)
def _digest(path: str, *_state: int) -> str:
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def fresh(path: Path) -> str:
    """Return a file's SHA-256, read again whatever its size and times say; empty = it can no longer be read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return ""


def digests(paths: Iterable[Path], *, afresh: bool = False) -> list[tuple[Path, str]]:
    """Return every file below the paths with its SHA-256, in order."""
    files = [file for path in paths for file in (walk(path) if path.is_dir() else (path,))]
    with ThreadPoolExecutor() as pool:
        return list(zip(files, pool.map(fresh if afresh else digest, files), strict=True))
