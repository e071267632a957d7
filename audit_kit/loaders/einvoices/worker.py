"""A process that reads e-invoices, so that a hostile one harms nobody else: see `workers`, which asks it.

For each line on standard input, `["path", "name"]`, goes out a line: `{"row": …}`, or `{"reason": …, "detail": …}`.
No polars here, so that it starts fast.
"""

from __future__ import annotations

import json
import os
import threading
import time
from contextlib import suppress
from datetime import datetime
from decimal import Decimal
from typing import IO

from audit_kit.loaders.einvoices.row import answer_of

READY = b"ready\n"
MOST_MEMORY_BYTES = 2 << 30
LONGEST_S = 30  # a file that takes longer is set aside


def main() -> None:
    """Answer until there are no more questions."""
    questions, answers = _pipes()
    _limit_memory()
    threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()
    answers.write(READY)
    for line in questions:
        path, name = json.loads(line.decode("utf-8", "surrogatepass"))
        answers.write(encoded(answer_of(path, name)))


def encoded(answer: dict[str, object] | tuple[str, str] | None) -> bytes:
    """Return an answer as its line: money and times as texts."""
    said = dict(zip(("reason", "detail"), answer, strict=True)) if isinstance(answer, tuple) else {"row": answer}
    return json.dumps(said, default=_text).encode() + b"\n"


def _text(value: object) -> str:
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, Decimal):
        return f"{value:f}"
    raise TypeError(type(value).__name__)


def _pipes() -> tuple[IO[bytes], IO[bytes]]:
    """Keep standard input and output for ourselves: what a library reads or prints reaches nobody."""
    questions = os.fdopen(os.dup(0), "rb")
    answers = os.fdopen(os.dup(1), "wb", buffering=0)
    with open(os.devnull, "r+b", buffering=0) as nothing:  # noqa: PTH123 (no path)
        for number in (0, 1, 2):
            os.dup2(nothing.fileno(), number)
    return questions, answers


def _end_with(asker: int) -> None:
    """End once the process that asks is gone, whatever is being read."""
    while os.getppid() == asker:
        time.sleep(1)
    os._exit(1)


def _limit_memory() -> None:
    """Set the limit where the system has one."""
    with suppress(ImportError, ValueError, OSError):
        import resource  # noqa: PLC0415 (not on Windows)

        resource.setrlimit(resource.RLIMIT_AS, (MOST_MEMORY_BYTES, MOST_MEMORY_BYTES))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


if __name__ == "__main__":
    main()
