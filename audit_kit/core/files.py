"""What lies in a folder: every file in order, and of whatever is no file to be read, why.

Names are shown as a person reads them. Old zip programs unpack names in GBK, which are no UTF-8: Python keeps such
bytes as lone surrogates, which neither JSON nor parquet nor a page can hold.
"""

from __future__ import annotations

import os
import re
import stat
import tempfile
from contextlib import contextmanager
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

DEBRIS = (".", "~$")
TABLE_FILES = (".xlsx", ".xlsm", ".xlsb", ".xls", ".et", ".ods", ".csv", ".tsv", ".txt", ".parquet", ".json")
BEING_MADE = ".making-"  # the folder of a report that is not yet whole
# What a place is if it is no file to be read; the words are in resources/engagement.toml.
HIDDEN, OUTSIDE, LINKED_FOLDER, NOWHERE, PIPE, CLOSED, EMPTY_FOLDER = (
    *("hidden", "outside", "linked_folder", "nowhere", "pipe", "closed", "empty_folder"),
)
REPORTS = "reports"
_MONTH = re.compile(r"[12]\d{3}-\d{2}")
_ODD = re.compile(r"[\udc80-\udcff]")
_ODD_WORD = re.compile(r"[^\s/'\"]*[\udc80-\udcff][^\s/'\"]*")


class Place(NamedTuple):
    """A file, or with its fault whatever cannot be read as one."""

    path: Path
    fault: str | None


def shown(text: str) -> str:
    """Return a name, a path or a sentence with names in letters: what is no UTF-8 is read as GB18030."""
    return _ODD_WORD.sub(lambda word: _in_letters(word[0]), text) if _ODD.search(text) else text


def shown_path(path: Path | str) -> str:
    """Return a path in letters, with forward slashes; each of its parts is read by itself."""
    text = str(path).replace(os.sep, "/")
    return "/".join(map(_in_letters, text.split("/"))) if _ODD.search(text) else text


def _in_letters(name: str) -> str:
    data = os.fsencode(name)
    try:
        data.decode("utf-8")
    except UnicodeDecodeError:
        try:
            return data.decode("gb18030")
        except UnicodeDecodeError:
            return data.decode("utf-8", "backslashreplace")
    return name


def actual(path: Path) -> Path:
    """Return the path that one as it is shown stands for; itself where nothing else does."""
    if os.path.lexists(path):
        return path
    place = Path(path.anchor)
    for part in path.parts[1 if path.anchor else 0 :]:
        step = place / part
        if not os.path.lexists(step):
            odd = (name for name in _listed(place) if _ODD.search(name) and _in_letters(name) == part)
            if (name := next(odd, None)) is None:
                return path
            step = place / name
        place = step
    return place


def _listed(folder: Path) -> list[str]:
    try:
        return sorted(path.name for path in folder.iterdir())
    except OSError:
        return []


@contextmanager
def openable(path: Path) -> Iterator[Path]:
    """Give a path in letters to a file: the readers written in Rust know no other. It ends with the block."""
    if not _ODD.search(str(path)):
        yield path
        return
    with tempfile.TemporaryDirectory(prefix="audit-kit-", ignore_cleanup_errors=True) as folder:
        link = Path(folder) / shown(path.name)
        link.symlink_to(path.absolute())
        yield link


def is_inside(folder: Path, path: Path) -> bool:
    """Tell whether a path, its links followed, stays in the folder; a link that ends nowhere stays where it ends."""
    return Path(os.path.realpath(path)).is_relative_to(os.path.realpath(folder))


def is_debris(path: Path) -> bool:
    """Tell whether a file is an editor's or a system's leftover: hidden, or Excel's lock file."""
    return path.name.startswith(DEBRIS)


def is_closed(folder: Path) -> bool:
    """Tell whether a folder cannot be listed, or what is in it be reached."""
    try:
        os.scandir(folder).close()
        (folder / "..").stat()
    except OSError:
        return True
    return False


def fault_of(path: Path) -> str | None:
    """Return why a path is no file that can be read; null for a file, and for a folder that is no link."""
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError):
        return NOWHERE if path.is_symlink() else CLOSED
    if stat.S_ISDIR(mode):
        return LINKED_FOLDER if path.is_symlink() else None
    return None if stat.S_ISREG(mode) else PIPE


def census(folder: Path) -> Iterator[Place]:
    """Yield every file below a folder in order of their paths, and everything else there that is no folder.

    Links to folders are not followed; of a hidden folder, or one that cannot be opened, only itself is told. Nothing
    is opened but folders.
    """
    yield from _below(folder, folder)


def _below(folder: Path, root: Path) -> Iterator[Place]:
    if is_closed(folder):
        yield Place(folder, CLOSED)
        return
    with os.scandir(folder) as entries:
        listed = sorted(entries, key=lambda entry: entry.name)
    if not listed:
        yield Place(folder, EMPTY_FOLDER)
    if _holds_reports({entry.name for entry in listed}):
        yield Place(folder, REPORTS)
        return
    for entry in listed:
        path = Path(entry.path)
        if entry.name.startswith(BEING_MADE):
            continue
        if entry.name.startswith(DEBRIS):
            yield Place(path, HIDDEN)
        elif entry.is_dir(follow_symlinks=False):
            yield from _below(path, root)
        elif entry.is_symlink():
            fault = fault_of(path)
            yield Place(path, OUTSIDE if fault in (None, LINKED_FOLDER) and not is_inside(root, path) else fault)
        else:
            yield Place(path, None if entry.is_file(follow_symlinks=False) else PIPE)


def _holds_reports(names: set[str]) -> bool:
    """Tell whether a folder with these names in it is where this kit keeps its reports."""
    return names.issuperset(("history.parquet", "index.html")) and any(map(_MONTH.fullmatch, names))


def walk(folder: Path) -> Iterator[Path]:
    """Yield the files below a folder in order of their paths; hidden ones, links that lead out and pipes left aside."""
    return (place.path for place in census(folder) if place.fault is None)


def fits(path: tuple[str, ...], pattern: tuple[str, ...]) -> bool:
    """Tell whether the parts of a path are as those of a glob; `**` stands for any number of them."""
    if not pattern:
        return not path
    if pattern[0] == "**":
        return any(fits(path[start:], pattern[1:]) for start in range(len(path) + 1))
    return bool(path) and fnmatchcase(path[0], pattern[0]) and fits(path[1:], pattern[1:])
