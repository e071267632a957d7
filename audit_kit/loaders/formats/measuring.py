"""Open a workbook in a process of its own, within bounds, to learn how far its sheets reach.

A few bytes of a workbook can name a cell, or repeat one, so that a parser fills all memory or ends the process. It is
run as a file, isolated, so that nothing of the current folder or of the environment's Python paths is imported.
"""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

MAX_MEMORY = 3 << 30  # bytes
MAX_SECONDS = 60


def sheets_of(path: Path) -> list[tuple[int, int]] | None:
    """Return height and width of every sheet; none where that takes more memory or time than a workbook may.

    A workbook that cannot be opened for another reason gives an empty list: opening it will tell the reason.
    """
    command = [sys.executable, "-I", __file__, str(path.resolve())]
    try:
        done = subprocess.run(command, capture_output=True, timeout=MAX_SECONDS, check=False)  # noqa: S603 (our own file)
    except subprocess.TimeoutExpired:
        return None
    if done.returncode:
        return None
    return [(int(height), int(width)) for height, width in json.loads(done.stdout)]


def _measure(path: str) -> list[tuple[int, int]]:
    import python_calamine  # noqa: PLC0415 (only in the process that measures)

    try:
        with python_calamine.load_workbook(path) as book:
            sheets = (book.get_sheet_by_name(name) for name in book.sheet_names)
            return [(sheet.total_height, sheet.total_width) for sheet in sheets]
    except (python_calamine.CalamineError, ValueError, OSError):
        return []


def _within_bounds() -> None:
    try:
        import resource  # noqa: PLC0415 (there is none on Windows)
    except ImportError:
        return
    resource.setrlimit(resource.RLIMIT_AS, (MAX_MEMORY, MAX_MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


if __name__ == "__main__":
    _within_bounds()
    sys.stdout.write(json.dumps(_measure(sys.argv[1])))
