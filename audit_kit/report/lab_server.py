"""JupyterLab's server as `audit-kit lab` starts it: it ends, and its kernels with it, once that process is gone.

The first argument is the number of that process; the others are JupyterLab's.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from contextlib import suppress


def main() -> None:
    """Run the server."""
    parent = int(sys.argv.pop(1))
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    with suppress(AttributeError):  # of a system without it
        signal.signal(signal.SIGHUP, _leave_it)
    from jupyterlab.labapp import LabApp  # noqa: PLC0415  the thread above watches meanwhile

    LabApp.launch_instance()


def _end_with(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(0.5)
    os.kill(os.getpid(), signal.SIGTERM)  # to the process, so that its loop wakes


def _leave_it(*_: object) -> None:
    """Let the process that started us, which a closed terminal tells the same, end us in good order."""


if __name__ == "__main__":
    main()
