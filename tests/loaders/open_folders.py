"""A folder that another user can reach, as servers that never run as root need one; also where TMPDIR is private."""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

PUBLIC = ("/tmp", "/var/tmp", "/dev/shm", "/run")  # noqa: S108 (a folder of our own is made in one of them)


@contextmanager
def open_folder(owner: str | None = None) -> Iterator[Path]:
    """Give a new folder that `owner`, else every user, can reach; removed at the end.

    Who is not root starts no server as somebody else, and gets a folder where temporary ones are.
    """
    is_root = os.geteuid() == 0
    places = (tempfile.gettempdir(), *PUBLIC)
    parent = next((place for place in places if not is_root or passable(Path(place))), None)
    assert parent, f"other users can reach none of {', '.join(places)}"
    home = Path(tempfile.mkdtemp(prefix="audit-", dir=parent)).resolve()
    try:
        if owner is None:
            home.chmod(0o755)
        elif is_root:
            shutil.chown(home, owner, owner)
        yield home
    finally:
        shutil.rmtree(home, ignore_errors=True)


def passable(place: Path) -> bool:
    """Return whether we may write in a folder, and every user may pass it and all folders above it."""
    whole = place.resolve()
    if not (whole.is_dir() and os.access(whole, os.W_OK | os.X_OK)):
        return False
    return all(folder.stat().st_mode & stat.S_IXOTH for folder in (whole, *whole.parents))
