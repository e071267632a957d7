"""What the kit keeps where, for how long, and what removes it: one list for the page and for `forget`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import platformdirs
from jupyter_core.paths import jupyter_config_dir, jupyter_runtime_dir

from audit_kit.core import cache_folder
from audit_kit.core.kept import pseudonyms
from audit_kit.loaders.engagement import permits
from audit_kit.unattended.mail import PASSWORD_FILE

if TYPE_CHECKING:
    from collections.abc import Iterable

LAYOUT = ".jupyterlab-workspace"
KINDS = ("analyses", "basket", "copies", "layouts", "permits", "keys", "password", "scripts", "reports", "engagement")


@dataclass(frozen=True, kw_only=True)
class Kept:
    """One kind of thing that is kept: where it lies (null = where the user says), how many there are, their bytes."""

    kind: str
    place: Path | None
    count: int | None
    size: int | None


def kept() -> list[Kept]:
    """Return what is kept on this machine, of all engagements together, in the order of KINDS."""
    cache, config = cache_folder.cache_folder(), permits.config_folder()
    analyses = cache_folder.entries(cache)
    scripts = [entry for entry in cache_folder.contents(cache) if entry.path.is_file()]
    copies = [path for path in _listed(copies_home()) if path.is_dir() and not path.is_symlink()]
    keys = [path for path in _listed(cache / pseudonyms.KEYS) if path.suffix == ".key"]
    found = {
        "analyses": (cache, len(analyses), sum(entry.size for entry in analyses)),
        "copies": (copies_home(), len(copies), _bytes(copies)),
        "layouts": (layouts_home(), len(layouts()), _bytes(layouts())),
        "permits": (config / permits.FILE, len(permits.allowed()), _bytes([config / permits.FILE])),
        "keys": (cache / pseudonyms.KEYS, len(keys), _bytes(keys)),
        "password": (config / PASSWORD_FILE, int((config / PASSWORD_FILE).is_file()), None),
        "scripts": (cache, len(scripts), sum(entry.size for entry in scripts)),
    }
    told = {kind: found.get(kind, (None, None, None)) for kind in KINDS}
    return [Kept(kind=kind, place=place, count=count, size=size) for kind, (place, count, size) in told.items()]


def copies_home() -> Path:
    """Return the folder in which each engagement has its copies of the notebooks."""
    return Path(platformdirs.user_documents_dir()) / "audit-kit"


def layouts_home() -> Path:
    """Return the folder in which JupyterLab remembers which pages were open."""
    return Path(jupyter_config_dir()) / "lab" / "workspaces"


def layouts() -> list[Path]:
    """Return the files in which JupyterLab remembers that, and those that a server which was killed has left."""
    known = [path for path in _listed(layouts_home()) if path.suffix == LAYOUT]
    left = [path for path in _listed(Path(jupyter_runtime_dir())) if path.name.startswith("jpserver-")]
    return [path for path in (*known, *left) if path.is_file()]


def _listed(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except OSError:
        return []


def _bytes(paths: Iterable[Path]) -> int:
    files = (file for path in paths for file in (path.rglob("*") if path.is_dir() else (path,)))
    return sum(file.lstat().st_size for file in files if file.is_file() and not file.is_symlink())
