"""An engagement forgotten: everything that is kept of it on this machine, found by its folder, and removed.

Never anything in the engagement, nor a report, nor a file that a person made; no link is followed.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from audit_kit.core import cache_folder, outputs, places
from audit_kit.core.errors import RequestError
from audit_kit.core.files import actual
from audit_kit.core.kept import pseudonyms
from audit_kit.loaders.engagement import permits
from audit_kit.loaders.engagement.settings import FILE as SETTINGS
from audit_kit.privacy.places_kept import LAYOUT, copies_home, layouts
from audit_kit.report.lab import EARLIER, unresolved_folder
from audit_kit.views.show.choices import RECORD

if TYPE_CHECKING:
    from collections.abc import Iterator

CHECKPOINTS = ".ipynb_checkpoints"
_KEYED = re.compile(r"[a-z]+-(?P<key>[0-9a-f]{8,64})(?:\.[0-9a-z.]+)?")


@dataclass(frozen=True, kw_only=True)
class Found:
    """Something that is kept of an engagement: its kind (see places_kept.KINDS), where it lies, its bytes.

    `stays`: it is not ours to remove, and is only told.
    """

    kind: str
    path: Path
    size: int
    stays: bool = False


def found(engagement: Path, *, keys: bool = False) -> list[Found]:
    """Return what is kept of the engagement in a folder, which may be gone itself; with `keys` that of pseudonyms too.

    Raises:
        RequestError: the cache lies in the engagement, which is never written to.
    """
    folder = _folder(engagement)
    cache = cache_folder.cache_folder()
    for place in (cache, copies_home(), permits.config_folder()):
        if place.resolve().is_relative_to(folder):
            raise RequestError("error_privacy.inside", place=place)
    analyses = [
        Found(kind="analyses", path=entry.path, size=entry.size) for entry in cache_folder.entries_of(cache, folder)
    ]
    whole = [*analyses, *_work(cache, folder), *_copies(folder), *_layouts(folder)]
    if permits.allowed().get(permits.text_of(folder)):
        whole.append(Found(kind="permits", path=permits.config_folder() / permits.FILE, size=0))
    key = pseudonyms.key_place(folder)
    if keys and key.is_file() and not key.parent.is_symlink():
        whole.append(Found(kind="keys", path=key, size=key.lstat().st_size))
    return whole


def forget(engagement: Path, listed: list[Found]) -> list[Found]:
    """Remove what `found` listed, and what runs that died have left; return what is still held by a run at work.

    Raises:
        RequestError: the user's own settings cannot be written.
    """
    folder = _folder(engagement)
    cache = cache_folder.cache_folder()
    outputs.clear(cache, cache_folder.NEW)
    outputs.clear(Path(tempfile.gettempdir()), outputs.TEMPORARY)
    held = []
    for one in listed:
        if one.stays:
            continue
        if one.kind == "analyses":
            held += [] if cache_folder.remove(one.path) else [one]
        elif one.kind == "permits":
            permits.forget(folder)
        elif one.kind == "layouts":
            _without(one.path, unresolved_folder(folder).name)
        else:
            _remove(one.path)
            with suppress(OSError):
                one.path.with_suffix(".lock").unlink(missing_ok=True)
    _close(unresolved_folder(folder))
    return held


def _folder(engagement: Path) -> Path:
    folder = actual(engagement)
    return (folder.parent if folder.name == SETTINGS and not folder.is_dir() else folder).resolve()


def _work(cache: Path, folder: Path) -> Iterator[Found]:
    """Yield what else lies beside the analyses under a name made of the engagement's folder: baskets, logs."""
    own = hashlib.sha256(os.fsencode(os.path.normcase(folder))).hexdigest()
    for path in sorted(cache.iterdir()) if cache.is_dir() else ():
        named = _KEYED.fullmatch(path.name)
        if named and own.startswith(named["key"]):
            yield Found(kind="basket", path=path, size=_size(path))


def _copies(folder: Path) -> Iterator[Found]:
    """Yield our notebooks in the folder of their copies; of whatever else lies there, that it stays."""
    home = unresolved_folder(folder)
    if home.is_symlink():
        yield Found(kind="copies", path=home, size=0)
        return
    names = {path.name for path in places.notebooks()}
    for path in sorted(home.iterdir()) if home.is_dir() else ():
        if path.name == EARLIER and path.is_dir() and not path.is_symlink():
            for file in sorted(path.iterdir()):
                is_ours = any(file.name.startswith(f"{Path(name).stem}-") for name in names)
                yield Found(kind="copies", path=file, size=_size(file), stays=not is_ours)
        else:
            is_ours = path.name in {*names, RECORD, CHECKPOINTS}
            yield Found(kind="copies", path=path, size=_size(path), stays=not is_ours)


def _layouts(folder: Path) -> Iterator[Found]:
    words = _spelt(unresolved_folder(folder).name)
    for path in layouts():
        with suppress(OSError):
            text = path.read_text(encoding="utf-8", errors="replace")
            if not path.is_symlink() and any(word in text for word in words):
                yield Found(kind="layouts", path=path, size=path.stat().st_size)


def _without(layout: Path, name: str) -> None:
    """Take out of a layout of JupyterLab whatever names a folder of copies; one that is the folder's own goes whole."""
    words = _spelt(name)
    try:
        told: dict[str, Any] = json.loads(layout.read_text(encoding="utf-8"))
        parts, own = dict(told["data"]), str(told["metadata"]["id"])
    except (OSError, ValueError, KeyError, TypeError):
        parts, own = {}, ""
    kept = {key: part for key, part in parts.items() if not _names(key, part, words)}
    if layout.suffix != LAYOUT or not kept or own.rpartition("/")[2] == name.rpartition("-")[2]:
        layout.unlink(missing_ok=True)
        return
    with outputs.writing(layout) as made:
        made.write_text(json.dumps({**told, "data": kept}, ensure_ascii=False), encoding="utf-8")


def _names(key: str, part: object, words: set[str]) -> bool:
    text = f"{key} {json.dumps(part, ensure_ascii=False)} {json.dumps(part)}"
    return any(word in text for word in words)


def _spelt(name: str) -> set[str]:
    """Return how a name may stand in a layout: as it is, in an address, in JSON."""
    return {name, quote(name), json.dumps(name).strip('"')}


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with suppress(OSError):
            path.unlink(missing_ok=True)


def _close(home: Path) -> None:
    """Remove the folder of copies once nothing is in it."""
    for folder in (home / EARLIER, home):
        with suppress(OSError):
            folder.rmdir()


def _size(path: Path) -> int:
    if path.is_symlink() or not path.is_dir():
        return path.lstat().st_size
    return sum(file.lstat().st_size for file in path.rglob("*") if not file.is_dir())
