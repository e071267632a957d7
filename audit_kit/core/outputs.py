"""Places that are written to: whole or not at all, by one at a time, with nothing left behind.

What is made stands in a folder beside its place, held by a lock, and is moved there in one step. A lock ends with the
process that holds it, so that what a dead run left is known and cleared by the next. Where a disk has no room, or
cannot be written to, one sentence names the folder.
"""

from __future__ import annotations

import ctypes
import errno
import os
import re
import secrets
import shutil
import socket
import stat
import sys
import tempfile
from contextlib import contextmanager, suppress
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import FileLock, Timeout

from audit_kit.core.errors import PlaceError, RequestError, of_system
from audit_kit.resources.languages import Phrase, reader_language

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    import polars as pl

MAKING = ".making-"
TEMPORARY = "audit-kit-"
WAIT_SECONDS = 120
_EARLIER = ".earlier-"
_LOCK = ".lock"
_FULL_BYTES = 1 << 20
_LONGEST_NAME = 255
_STREAMS = {("dev", "stdout"), ("dev", "stderr"), ("dev", "fd"), ("proc", "self")}
_AT_HERE, _EXCHANGE, _SWAP = -100, 2, 2
_NO_EXCHANGE = {errno.EINVAL, errno.ENOSYS, errno.EXDEV, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EPERM}
_NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP}
_NO_ROOM = {errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC)}
_NO_ENTRY = {errno.EACCES, errno.EPERM}
_HOLDER = re.compile(r"process (?P<process>\d+) on (?P<machine>.*) since (?P<since>.*)")
_NUMBER = re.compile(r"\(os error (\d+)\)")


@contextmanager
def scratch(parent: Path | None = None, prefix: str = TEMPORARY) -> Iterator[Path]:
    """Give a new folder in `parent` (null = the temporary folder) and remove it at the end.

    Folders of the same prefix whose makers are dead are removed first.

    Raises:
        PlaceError: there is no room, or `parent` cannot be written to.
    """
    place = _temporary() if parent is None else parent
    clear(place, prefix)
    folder, lock = _claimed(place, prefix)
    try:
        folder.mkdir(mode=0o700)
    except OSError as error:
        _remove(folder, lock)
        raise told(error, place) or _refused(error, place) from error
    try:
        yield folder
    except Exception as error:
        if (said := told(error, place)) is None:
            raise
        raise said from error
    finally:
        _remove(folder, lock)


def _claimed(place: Path, prefix: str) -> tuple[Path, FileLock]:
    """Return the name of a new folder with its lock, held.

    Another run that clears may hold a lock between its making and its taking, for it looks like that of a dead one;
    then another name is taken.
    """
    while True:
        folder = place / f"{prefix}{secrets.token_hex(6)}"
        lock = _lock_of(folder)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            continue
        except OSError as error:
            _remove(folder, lock)
            raise told(error, place) or _refused(error, place) from error
        return folder, lock


def clear(place: Path, prefix: str) -> None:
    """Remove the folders of `scratch` whose makers are dead; one that is held, or without a lock, stays."""
    with suppress(OSError), os.scandir(place) as entries:
        marks = [entry for entry in entries if entry.name.startswith(prefix) and entry.name.endswith(_LOCK)]
        ours = [entry.path for entry in marks if _is_ours(entry)]
        for mark in ours:
            folder = Path(mark.removesuffix(_LOCK))
            lock = _lock_of(folder)
            with suppress(OSError):
                lock.acquire(timeout=0)
                _remove(folder, lock)


@contextmanager
def writing(path: Path, *, inputs: Iterable[Path] = (), folder: bool = False) -> Iterator[Path]:
    """Give a path to write to; what stands there at the end takes the place of `path` in one step.

    An earlier file keeps its permissions, a link its target; a device or a pipe gets the bytes at the end. With
    `folder` it is a folder that is written.

    Raises:
        RequestError, PlaceError: see `check`; there is no room.
    """
    check(path, inputs=inputs, folder=folder)
    if _is_stream(path):
        with scratch() as beside:
            yield beside / path.name
            _pour(beside / path.name, path)
        return
    real = Path(os.path.realpath(path))
    with scratch(real.parent, MAKING) as beside:
        made = beside / real.name
        yield made
        if made.is_file() and real.is_file():
            shutil.copymode(real, made)
        move_in(made, real)


def check(path: Path, *, inputs: Iterable[Path] = (), folder: bool = False) -> None:
    """Refuse what cannot be written, before the work begins.

    Raises:
        RequestError: no such folder, no name for a file, or `path` is one of the `inputs` or in one of them.
        PlaceError: the file or its folder may not be written to.
    """
    real = Path(os.path.realpath(path))
    if len(os.fsencode(real.name)) > _LONGEST_NAME:
        raise RequestError("error_core.long_name", name=real.name[:40])
    if _is_stream(path):
        return
    if not real.parent.is_dir():
        raise RequestError("error_core.no_parent", folder=path.parent)
    if real.is_dir() and not folder:
        raise RequestError("error_core.is_folder", path=path)
    for one in inputs:
        if real.exists() and _holds(Path(os.path.realpath(one)), real):
            raise RequestError("error_core.among_inputs", path=path)
    for needed in (real, real.parent):
        if needed.exists() and not os.access(needed, os.W_OK):
            raise PlaceError("error_core.no_permission", path=needed)


def check_ending(path: Path, writers: Mapping[str, object]) -> None:
    """Refuse a name whose ending is none of the writers'.

    Raises:
        RequestError: it is another.
    """
    if path.suffix.lower() not in writers:
        raise RequestError("error_core.ending", file=path.name, known=", ".join(writers))


def write_as(path: Path, writers: Mapping[str, Callable[[Path], object]], *, inputs: Iterable[Path] = ()) -> None:
    """Write a file by the writer of its name's ending.

    Raises:
        RequestError, PlaceError: another ending; see `check`.
    """
    check_ending(path, writers)
    with writing(path, inputs=inputs) as made:
        writers[path.suffix.lower()](made)


def write_parquet(frame: pl.DataFrame, path: Path) -> None:
    """Write a frame as parquet, also where the path holds bytes that are no letters: polars knows no such path."""
    with path.open("wb") as file:
        frame.write_parquet(file)


def move_in(new: Path, place: Path) -> None:
    """Move a finished file or folder to its place in one step; what stood there before is then where `new` was.

    Where the system cannot exchange two folders in one step, the earlier one waits under a name that `bring_back`
    knows.
    """
    _settle(new)
    if not os.path.lexists(place):
        new.rename(place)
    elif not new.is_dir():
        new.replace(place)
    elif not _exchanged(new, place):
        aside = place.with_name(f"{_EARLIER}{place.name}")
        shutil.rmtree(aside, ignore_errors=True)
        try:
            place.rename(aside)
            new.rename(place)
        except BaseException:
            if os.path.lexists(aside) and not os.path.lexists(place):
                aside.rename(place)
            raise
        shutil.rmtree(aside, ignore_errors=True)
    _settle(place.parent, deep=False)


def bring_back(folder: Path) -> None:
    """Give back its place to what a run that died between two steps of `move_in` has hidden."""
    for aside in folder.glob(f"{_EARLIER}*"):
        place = folder / aside.name.removeprefix(_EARLIER)
        if os.path.lexists(place):
            shutil.rmtree(aside, ignore_errors=True)
        else:
            aside.rename(place)


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Hold a folder against other runs; waits, says so on stderr, and gives up after `WAIT_SECONDS`.

    Raises:
        PlaceError: another run holds it for longer, or the folder cannot be written to.
    """
    mark = folder / _LOCK
    lock = FileLock(mark, thread_local=False)
    try:
        _acquire(lock, folder, mark)
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise told(error, folder) or _refused(error, folder) from error
    try:
        yield
    finally:
        if lock.is_locked:
            with suppress(OSError):
                mark.unlink()
            lock.release()


def told(error: BaseException, place: Path | None = None) -> PlaceError | None:
    """Return the sentence for a disk that is full or cannot be written to; null = it is another error.

    The system's error may stand behind that of a library. `place` is the folder that was written to; where its disk is
    not full, but another's may be, it is no error of `place`.
    """
    fault = None if isinstance(error, PlaceError) else _fault(error)
    if fault is None or fault.errno is None:
        return None
    named = Path(os.fsdecode(fault.filename)) if isinstance(fault.filename, str | bytes) else None
    inside = place is not None and named is not None and named.is_relative_to(place)
    if fault.errno == errno.ENOSPC and place is not None and not inside and not _is_full(place):
        return None
    at = _asked_for(place if inside or named is None else named.parent)
    if fault.errno in _NO_ROOM:
        return PlaceError("error_core.no_room", place=at or _full())
    if fault.errno == errno.EFBIG:
        return PlaceError("error_core.too_large", place=at or Phrase("error_core.the_place"))
    if fault.errno == errno.EROFS:
        return PlaceError("error_core.read_only", place=named or at or Phrase("error_core.the_place"))
    return _refused(fault, place) if inside and fault.errno in _NO_ENTRY else None


def _asked_for(place: Path | None) -> Path | None:
    """Return the folder that a person knows, of one in which something is being made."""
    if place is None:
        return None
    return next((one.parent for one in reversed([place, *place.parents]) if one.name.startswith(MAKING)), place)


def _fault(error: BaseException) -> OSError | None:
    """Return the operating system's error that is, or stands behind, another."""
    if isinstance(error, OSError) and error.errno is not None:
        return error
    behind = next((one for one in (*error.args, error.__cause__) if isinstance(one, OSError)), None)
    if behind is not None and behind.errno is not None:
        return behind
    number = _NUMBER.search(str(error))
    return OSError(int(number[1]), os.strerror(int(number[1]))) if number else None


def _full() -> Path | Phrase:
    """Return a folder that has no room, of those that may have been written to."""
    with suppress(OSError):
        known = (one for one in (Path(tempfile.gettempdir()), Path.cwd()) if _is_full(one))
        return next(known, Phrase("error_core.the_place"))
    return Phrase("error_core.temporary_folder")


def _is_full(place: Path) -> bool:
    """Say whether a disk is full; one that cannot be asked counts as full."""
    try:
        return shutil.disk_usage(place).free < _FULL_BYTES
    except OSError:
        return True


def _refused(error: OSError, place: Path | None) -> PlaceError:
    return PlaceError("error_core.refused", place=place, why=of_system(error.strerror))


def _temporary() -> Path:
    try:
        return Path(tempfile.gettempdir())
    except FileNotFoundError:
        raise PlaceError("error_core.no_temporary") from None


def _lock_of(folder: Path) -> FileLock:
    return FileLock(f"{folder}{_LOCK}", thread_local=False)


def _remove(folder: Path, lock: FileLock) -> None:
    """Remove a folder, then the lock that says whose it is."""
    if lock.is_locked:
        shutil.rmtree(folder, ignore_errors=True)
        if not folder.exists():
            Path(lock.lock_file).unlink(missing_ok=True)
        lock.release()


def _is_ours(entry: os.DirEntry[str]) -> bool:
    about = entry.stat(follow_symlinks=False)
    return stat.S_ISREG(about.st_mode) and (not hasattr(os, "getuid") or about.st_uid == os.getuid())


def _is_stream(path: Path) -> bool:
    under = Path(os.path.abspath(path)).parts  # noqa: PTH100  /dev/stdout, not where it leads
    return under[1:3] in _STREAMS or (path.exists() and not path.is_file() and not path.is_dir())


def _pour(made: Path, stream: Path) -> None:
    with made.open("rb") as file:
        try:
            with stream.open("wb") as out:
                shutil.copyfileobj(file, out)
        except OSError as error:
            if error.errno in _NO_ROOM:
                raise PlaceError("error_core.stream_full", stream=stream) from error
            raise


def _holds(one: Path, real: Path) -> bool:
    """Say whether a file is an input or in it, or would take it along."""
    if one.is_dir() or real.is_dir():
        return real.is_relative_to(one) or one.is_relative_to(real)
    return one.exists() and one.samefile(real)


def _settle(path: Path, *, deep: bool = True) -> None:
    """See to it that a file, or the files of a folder, are on the disk before they take another's place."""
    if os.name == "nt":
        return
    for one in [*(path.rglob("*") if deep and path.is_dir() else ()), path]:
        if one.is_symlink():
            continue
        opened = os.open(one, os.O_RDONLY)
        try:
            os.fsync(opened)
        except OSError as error:
            if error.errno not in {errno.EINVAL, errno.ENOTSUP}:
                raise
        finally:
            os.close(opened)


def _exchanged(one: Path, other: Path) -> bool:
    """Exchange two names in one step; false = the system or the disk cannot."""
    exchange = _exchange()
    if exchange is None:
        return False
    if exchange(os.fsencode(one), os.fsencode(other)) == 0:
        return True
    number = ctypes.get_errno()
    if number in _NO_EXCHANGE:
        return False
    raise OSError(number, os.strerror(number), str(other))


@cache
def _exchange() -> Callable[[bytes, bytes], int] | None:
    if os.name == "nt":
        return None
    library = ctypes.CDLL(None, use_errno=True)
    text = ctypes.c_char_p
    if swap := getattr(library, "renamex_np", None):
        swap.argtypes = [text, text, ctypes.c_uint]
        return lambda one, other: int(swap(one, other, _SWAP))
    if rename := getattr(library, "renameat2", None):
        rename.argtypes = [ctypes.c_int, text, ctypes.c_int, text, ctypes.c_uint]
        return lambda one, other: int(rename(_AT_HERE, one, _AT_HERE, other, _EXCHANGE))
    return None


def _acquire(lock: FileLock, folder: Path, mark: Path) -> None:
    try:
        lock.acquire(timeout=0)
    except Timeout:
        waits = Phrase("error_core.waiting", folder=folder, holder=_holder(mark), seconds=WAIT_SECONDS)
        print(f"audit-kit: {waits.said(reader_language())}", file=sys.stderr)  # noqa: T201  whoever waits is told why
        try:
            lock.acquire(timeout=WAIT_SECONDS)
        except Timeout:
            raise PlaceError("error_core.held", folder=folder, holder=_holder(mark)) from None
    with suppress(OSError):
        mark.write_text(f"process {os.getpid()} on {socket.gethostname()} since {datetime.now():%H:%M:%S}")  # noqa: DTZ005


def _holder(mark: Path) -> Phrase | str:
    with suppress(OSError):
        named = mark.read_text(encoding="utf-8", errors="replace")[:200]
        if known := _HOLDER.fullmatch(named):
            return Phrase("error_core.holder", **known.groupdict())
        if named:
            return named
    return Phrase("error_core.another_run")
