"""This process and those it starts: nothing in the folder they stand in is run, and they end together.

A client's folder may hold `polars.py` or a program named as one of ours; the current folder is on no search path.
"""

from __future__ import annotations

import os
import shutil
import signal
import site
import subprocess
import sys
import threading
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType, TracebackType

SEARCHED = ("PATH", "PYTHONPATH", "JUPYTER_PATH", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH")
SAFE = {"PYTHONSAFEPATH": "1", "NoDefaultCurrentDirectoryInExePath": "1"}
STARTUP = "PYTHONSTARTUP"  # a file of the user's that IPython runs
ENDINGS = ("SIGTERM", "SIGHUP", "SIGBREAK")
SIGNALLED = 128  # plus the number of the signal: the exit code by convention
_HOME = str(Path(__file__).parents[1])


class Ended(KeyboardInterrupt):
    """The process was told to end by a signal other than the interrupt; it clears up as after one."""

    def __init__(self, number: int) -> None:
        """Keep the number of the signal."""
        super().__init__(number)
        self.number = number


@contextmanager
def endings() -> Iterator[None]:
    """Let a signal that would end the process raise `Ended`; a second one does not cut short what follows.

    A signal that is ignored or handled already, as under nohup, stays so.
    """
    caught: list[int] = []

    def end(number: int, _: FrameType | None) -> None:
        for other in caught:
            signal.signal(other, signal.SIG_IGN)
        raise Ended(number)

    if threading.current_thread() is threading.main_thread():
        found = [getattr(signal, name) for name in ENDINGS if hasattr(signal, name)]
        caught += [number for number in found if signal.getsignal(number) is signal.SIG_DFL]
    for number in caught:
        signal.signal(number, end)
    try:
        yield
    finally:
        for number in caught:
            signal.signal(number, signal.SIG_DFL)


def heed_interrupts() -> None:
    """Let an interrupt end a wait: polars, from its import on, makes the system go on waiting."""
    if sys.platform != "win32":
        signal.siginterrupt(signal.SIGINT, True)  # noqa: FBT003 (its own order)


def environment(**more: str) -> dict[str, str]:
    """Return our environment for a child: relative places are off every search path, and it finds this package."""
    found = {name: value for name, value in os.environ.items() if name not in {STARTUP, *SEARCHED}}
    for name in SEARCHED:
        places = [place for place in os.environ.get(name, "").split(os.pathsep) if os.path.isabs(place)]  # noqa: PTH117
        if name == "PYTHONPATH" and _HOME not in {*site.getsitepackages(), site.getusersitepackages()}:
            places.insert(0, _HOME)
        if places:
            found[name] = os.pathsep.join(dict.fromkeys(places))
    return found | SAFE | more


def forget_folder() -> None:
    """Take the current folder off this process's own search paths, for what is imported or started from now on.

    An absolute place in PYTHONPATH was asked for and stays, and so does the one that holds this package.
    """
    asked = {_HOME, *os.environ.get("PYTHONPATH", "").split(os.pathsep)}
    try:
        here = os.path.realpath(".")
    except OSError:  # it was deleted
        here = ""
    sys.path[:] = [
        place
        for place in sys.path
        if os.path.isabs(place) and (place in asked or os.path.realpath(place) != here)  # noqa: PTH117 (not a Path)
    ]
    clean_environment()


def clean_environment() -> None:
    """Give this process the environment of its children, for what libraries start."""
    cleaned = environment()
    for name in os.environ.keys() - cleaned.keys():
        del os.environ[name]
    os.environ.update(cleaned)


def program(name: str) -> str | None:
    """Return the absolute path of a program, or null: a bare name is never looked for in the current folder."""
    found = shutil.which(name, path=environment().get("PATH", os.defpath))
    if found is None or os.path.dirname(name):  # noqa: PTH120 (a place as a person wrote it)
        return found and os.path.abspath(found)  # noqa: PTH100 (links stay: a browser may look at its own name)
    return found if os.path.isabs(found) else None  # noqa: PTH117 (a text)


def python(*arguments: str) -> list[str]:
    """Return the command that runs this Python without the folder it stands in."""
    return [sys.executable, "-P", *arguments]


class Staff:
    """Processes of this Python that work for us: killed together where the work is broken off.

    A terminal's interrupt does not reach them, for it is ours to end them.
    """

    def __init__(self) -> None:
        """Begin with none."""
        heed_interrupts()
        self._started: list[subprocess.Popen[bytes]] = []
        self._lock = threading.Lock()
        self._is_closed = False

    def start(self, *arguments: str) -> subprocess.Popen[bytes]:
        """Start one, with pipes to and from it.

        Raises:
            RuntimeError: the work is already broken off.
        """
        options: dict[str, Any] = {"process_group": 0}
        if sys.platform == "win32":
            options = {"creationflags": subprocess.CREATE_NEW_PROCESS_GROUP}
        with self._lock:
            if self._is_closed:
                raise RuntimeError("the work was broken off")
            process: subprocess.Popen[bytes] = subprocess.Popen(  # noqa: S603 (our own Python, no shell)
                python(*arguments), env=environment(), stdin=subprocess.PIPE, stdout=subprocess.PIPE, **options
            )
            self._started.append(process)
        return process

    def __enter__(self) -> Self:
        """Hand out itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Kill whoever still works if the block did not come to its end."""
        with self._lock:
            self._is_closed = True
            for process in self._started if kind is not None else ():
                process.kill()
