"""Where an engagement's sources lie, confined to the engagement; whatever is not used is named, with why.

A relative path never leads out of the engagement, neither by `..` nor through a symbolic link; an absolute one
may, once the user has allowed it: see `permits`. A file that looks like a table and cannot be read stops the run,
unless it is left out on the user's word.
"""

from __future__ import annotations

import os
import re
from concurrent.futures import ThreadPoolExecutor
from functools import cache, lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING

from audit_kit import resources
from audit_kit.core import files as places
from audit_kit.core import schema
from audit_kit.core.errors import EngagementError, RequestError, SourceError
from audit_kit.core.files import TABLE_FILES, Place, census, is_debris, is_inside, shown, shown_path, walk
from audit_kit.core.hashing import hash_file, hash_once
from audit_kit.loaders.catalogues.tools import claimed
from audit_kit.loaders.engagement.settings import FILE, SISTERS, SOURCES
from audit_kit.loaders.engagement.unused import LEFT_OUT, Sorting, Unended, Unused, relative

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

INVOICE_FILES = (".xml", ".ofd", ".pdf", ".xbrl")
CATALOGUES = claimed()
# Tables whose sources may be folders that their own reader walks through.
FOLDERS = ("invoice_files", "backups")
# Tables that lie in the folder of backups and are told by their own name.
BESIDE_BACKUPS = ("backup_checks", "restore_tests", "backup_listing", "schedule")
# Endings of files that may hold what a workbook holds, and are none.
DOCUMENTS = (".doc", ".docx", ".dot", ".ppt", ".pptx", ".wps", ".msg", ".vsd", ".vsdx", ".msi", ".one", ".pub")
ARCHIVES = (".zip", ".rar", ".7z", ".gz", ".tgz", ".bz2", ".xz", ".zst")
# What is no file that anybody meant as a source.
NAMED_ONLY = (places.HIDDEN, places.EMPTY_FOLDER, places.REPORTS)
HEAD_BYTES = 1 << 16
_TEMPLATE = re.compile(r"[(（]([a-z_]+)[)）]$")  # how the name of a workbook of `audit-kit templates` ends
SHOWN_HEADERS = 4
LONGEST_HEADER = 20


def left_out(folder: Path, patterns: Sequence[str]) -> frozenset[Path]:
    """Return what paths, folders and globs name in an engagement's folder.

    Raises:
        RequestError: one of them names nothing.
    """
    listed = [place.path for place in census(folder) if place.path != folder / FILE] if patterns else []
    parts = {path: Path(relative(folder, path)).parts for path in listed}
    chosen: set[Path] = set()
    for pattern in patterns:
        written = Path(shown(pattern))
        inside = written.relative_to(folder) if written.is_relative_to(folder) else written
        wanted = inside.parts
        hits = {path for path, own in parts.items() if own[: len(wanted)] == wanted} if wanted else set()
        hits = hits or {path for path, own in parts.items() if places.fits(own, wanted)}
        if not hits:
            raise RequestError("error_engagement.without_nothing", pattern=shown(pattern), folder=shown(folder.name))
        chosen |= hits
    return frozenset(chosen)


def resolve(folder: Path, table: str, pattern: str) -> tuple[Place, ...]:
    """Return the files or folders that a path or glob of `[sources]` names, in order of their names.

    Raises:
        EngagementError: nothing is there, or a relative path leads out of the engagement.
    """
    written = Path(pattern)
    if not written.is_absolute() and ".." in written.parts:
        _outside(table, pattern)
    base = Path(written.anchor) if written.is_absolute() else folder
    asked = str(written.relative_to(base)) if written.is_absolute() else pattern
    exact = places.actual(base / asked)
    hits = [exact] if os.path.lexists(exact) else sorted(_glob(base, asked)) or _odd(base, asked)
    hits = [hit for hit in hits if not is_debris(hit)]
    if not hits:
        raise EngagementError(
            "error_engagement.names_nothing", file=FILE, table=table, pattern=pattern, folder=shown(folder.name)
        )
    if not written.is_absolute():
        for hit in hits:
            if not is_inside(folder, hit):
                _outside(table, pattern)
    opened = tuple(place for hit in hits for place in _opened(table, hit))
    if not opened:
        raise EngagementError("error_engagement.empty_folder", file=FILE, table=table, pattern=pattern)
    return opened


def _opened(table: str, hit: Path) -> Iterator[Place]:
    """Yield what a hit stands for: itself, or for a table that is no folder the files in it."""
    if not hit.is_dir():
        yield Place(hit, places.fault_of(hit))
    elif table in FOLDERS:
        yield Place(hit, None)
    else:
        yield from (place for place in census(hit) if place.fault not in NAMED_ONLY)


def _glob(base: Path, pattern: str) -> Iterator[Path]:
    try:
        yield from base.glob(pattern)
    except (ValueError, NotImplementedError) as error:
        raise EngagementError("error_engagement.no_glob", file=FILE, pattern=pattern, error=error) from error


def _odd(base: Path, pattern: str) -> list[Path]:
    """Return the files that a glob names as they are shown, where their own names are in another encoding."""
    wanted = Path(pattern).parts
    if base == Path(base.anchor):
        return []
    return [place.path for place in census(base) if places.fits(Path(relative(base, place.path)).parts, wanted)]


def _outside(table: str, pattern: str) -> None:
    raise EngagementError("error_engagement.leads_out", file=FILE, table=table, pattern=pattern)


def stated(
    folder: Path, entries: Iterable[tuple[str, str]], without: frozenset[Path]
) -> tuple[list[tuple[Path, ...]], tuple[Unused, ...]]:
    """Return the paths of each entry of `[sources]`, given as table and pattern, and every file that none names.

    What no entry names is listed, but not opened.

    Raises:
        EngagementError: see `resolve`.
        SourceError: what an entry names is no file that can be read.
    """
    sorting, settings = Sorting(folder), folder / FILE
    named: list[tuple[Path, ...]] = []
    for table, pattern in entries:
        listed = [place for place in resolve(folder, table, pattern) if place.path not in without]
        for place in listed:
            if place.fault and table != "invoice_files":
                sorting.stop(place.path, place.fault)
        named.append(tuple(place.path for place in listed))
    sorting.check()
    known = {path for paths in named for path in paths}

    @cache
    def is_known(parent: Path) -> bool:
        """Tell whether an entry names a folder, or one that it lies in."""
        return parent in known or (parent != folder and is_known(parent.parent))

    for place in census(folder):
        if place.path in without:
            sorting.name(place.path, LEFT_OUT)
        elif place.fault in NAMED_ONLY:
            _sort_fault(sorting, place.path, place.fault)
        elif place.path not in known and not is_known(place.path.parent) and place.path != settings:
            sorting.name(place.path, "unnamed")
    return named, tuple(sorting.unused)


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


def recognised(
    folder: Path, headings: Mapping[str, str], without: frozenset[Path] = frozenset()
) -> tuple[dict[str, tuple[Path, ...]], tuple[Unused, ...]]:
    """Return the files of each table, found by name and headers, and every other file with the reason.

    Raises:
        SourceError: a file looks like a table and cannot be read.
    """
    sorting = Sorting(folder)
    for place in census(folder):
        if place.path in without:
            sorting.name(place.path, LEFT_OUT)
        elif place.fault:
            _sort_fault(sorting, place.path, place.fault)
        elif place.path != folder / FILE:
            _sort_file(sorting, place.path, headings)
    sorting.check()
    found = sorting.found
    if "invoice_files" in found:
        found["invoice_files"] = as_folders(folder, found["invoice_files"])
    return {table: tuple(files) for table, files in found.items()}, tuple(sorting.unused)


def _sort_fault(sorting: Sorting, path: Path, fault: str) -> None:
    """Sort what is no file to be read: an e-invoice is set aside by its reader, a table stops the run."""
    name, table = path.name.lower(), _told(path.relative_to(sorting.folder))
    if fault == places.EMPTY_FOLDER and not is_table(path):
        return
    if fault in NAMED_ONLY:
        sorting.name(path, fault)
    elif fault == places.CLOSED or is_table(path) or name.endswith(CATALOGUES) or table not in (None, "invoice_files"):
        sorting.stop(path, fault)
    elif table == "invoice_files" or name.endswith(INVOICE_FILES):
        sorting.found.setdefault("invoice_files", []).append(path)
    else:
        sorting.name(path, fault)


def _sort_file(sorting: Sorting, file: Path, headings: Mapping[str, str]) -> None:
    """Sort a file by what its folder, its name or else its headers tell."""
    try:
        tables = tables_of(file, sorting.folder, headings)
    except SourceError as error:  # nobody said that it is a table, but it looks like one
        sorting.stop(file, "unreadable", reason=Unended(error, file=shown(file.name)))
        return
    for table in tables:
        sorting.found.setdefault(table, []).append(file)
    if not tables:
        _sort_unknown(sorting, file, headings)


def _sort_unknown(sorting: Sorting, file: Path, headings: Mapping[str, str]) -> None:
    """Name a file that no table took; one that holds a table in spite of its ending is told from others."""
    if is_table(file):
        headers = _headers(file)
        sorting.name(file, "unknown" if headers else "no_header", **({"headers": headers} if headers else {}))
    elif file.name.lower().endswith(ARCHIVES):
        sorting.name(file, "archive")
    elif not _holds_table(file):
        sorting.name(file, "other")
    else:
        from audit_kit.loaders.read import recognise  # noqa: PLC0415 (heavy, and only needed here)

        try:
            held = recognise(file, headings=headings)
        except SourceError as error:
            sorting.stop(file, "unreadable", reason=Unended(error, file=shown(file.name)))
            return
        sorting.name(file, "ending" if held else "other", tables=", ".join(held))


def _holds_table(file: Path) -> bool:
    """Tell whether a file begins as a workbook or a parquet file, whatever its name."""
    if file.name.lower().endswith(DOCUMENTS):
        return False
    try:
        with file.open("rb") as opened:
            head = opened.read(HEAD_BYTES)
    except OSError:
        return False
    if head.startswith(b"PK\x03\x04"):
        return b"xl/" in head or b"opendocument.spreadsheet" in head
    return head.startswith((b"PAR1", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", b"\x09\x08"))


def _headers(file: Path) -> str:
    """Return the first cells of a file, to say what was not known in it."""
    from audit_kit.loaders.formats.preview import open_heads  # noqa: PLC0415 (heavy, and only needed here)

    with places.openable(file) as place:
        grids = open_heads(place)
    cells = [cell for grid in grids[:1] for cell in grid.heads or (*grid.cells.head(1).rows(), ())[0]]
    names = [str(cell).strip()[:LONGEST_HEADER] for cell in cells if cell and str(cell).strip()]
    return ", ".join(names[:SHOWN_HEADERS]) + (" …" if len(names) > SHOWN_HEADERS else "")


def as_folders(root: Path, files: list[Path]) -> list[Path]:
    """Return a folder named for e-invoices instead of the files in it, which then go by their paths within it."""
    folders: dict[Path, list[Path]] = {}
    for file in files:
        parts = file.relative_to(root).parts[:-1]
        depth = next((at for at, part in enumerate(parts, 1) if _named(shown(part)) == "invoice_files"), 0)
        folders.setdefault(root.joinpath(*parts[:depth]) if depth else file, []).append(file)
    plain = {place for place, inside in folders.items() if not any(is_table(file) for file in inside)}
    return [path for place, inside in folders.items() for path in ([place] if place in plain else inside)]


def is_table(file: Path) -> bool:
    """Tell whether a file's name is that of a table."""
    return file.name.lower().endswith(TABLE_FILES)


def _told(path: Path) -> str | None:
    """Return the table that a path within the engagement gives away by the names in it, or null."""
    *above, name = shown_path(path).split("/")
    stem = Path(name).stem
    named = next(filter(None, map(_named, (*above, stem))), None)
    return own if named == "backups" and (own := _named(stem)) in BESIDE_BACKUPS else named


def tables_of(file: Path, folder: Path, headings: Mapping[str, str]) -> list[str]:
    """Return the tables in one file: its folder's or own name tells, else its headers.

    Raises:
        SourceError: only its headers would tell, and it cannot be read.
    """
    name = file.name.lower()
    if name.endswith(CATALOGUES) or _in_bag(file.parent, folder):
        return ["backups"]
    named = _told(file.relative_to(folder))
    if name.endswith(INVOICE_FILES):
        return [named if named == "backups" else "invoice_files"]
    if not is_table(file):
        return [named] if named == "invoice_files" else []
    if named is not None:
        return [named]
    from audit_kit.loaders.read import recognise  # noqa: PLC0415 (heavy, and only needed where no name tells)

    return recognise(file, headings=headings)


@lru_cache(maxsize=1 << 10)
def _in_bag(folder: Path, root: Path) -> bool:
    """Tell whether a folder is a BagIt bag, or its payload two levels down at most; the bag lies in the engagement."""
    bags = [place for place in [folder, *folder.parents][:3] if place != root and place.is_relative_to(root)]
    return any((place / "bagit.txt").exists() for place in bags)


@lru_cache(maxsize=1 << 10)
def _named(part: str) -> str | None:
    """Return the table that the name of a folder or file gives away, or null."""
    names = resources.load("engagement")["names"]
    word = part.lower()
    if (ours := _TEMPLATE.search(word)) and ours[1] in SOURCES:
        return ours[1]
    for table in (SISTERS, *schema.INPUTS, "exports"):  # a sister's export is called an export too
        if any(word.startswith(name) or (not name.isascii() and name in word) for name in names.get(table, ())):
            return table
    return None


def digests(
    paths: Iterable[Path], without: frozenset[Path] = frozenset(), *, afresh: bool = False
) -> list[tuple[Path, str]]:
    """Return every file below the paths with its SHA-256, in order; of one that cannot be read, why."""
    files = [file for path in paths for file in (walk(path) if path.is_dir() else (path,)) if file not in without]
    with ThreadPoolExecutor() as pool:
        return list(zip(files, pool.map(partial(_state, of=hash_file if afresh else hash_once), files), strict=True))


def _state(path: Path, *, of: Callable[[Path], str]) -> str:
    if fault := places.fault_of(path):  # a pipe would be waited for without end
        return fault
    try:
        return of(path)
    except OSError as error:
        return f"errno {error.errno}"
