"""The processes that read e-invoices, as they are asked: what one says is believed only as far as its schema.

A file that ends its reader, takes too long or is answered with anything else is set aside, and the others are read on.
"""

from __future__ import annotations

import json
import queue
import re
import threading
import time
from contextlib import suppress
from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Self

import polars as pl

from audit_kit.core import schema
from audit_kit.core.errors import SourceError
from audit_kit.core.processes import Staff
from audit_kit.core.words import texts
from audit_kit.loaders.einvoices import worker

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import TracebackType

    Answer = dict[str, Any] | tuple[str, str]

# What the files say beyond the canonical columns; texts, but for the two lists.
MORE = {
    "eiid": pl.String(),
    "tax_rates": pl.String(),
    "red_confirmation": pl.String(),
    "booked": pl.String(),
    "posted_at": pl.String(),
    "usage": pl.String(),
    "file_faults": pl.List(pl.String()),
    "file_hints": pl.List(pl.String()),
}
COLUMNS = schema.dtypes("invoice_files") | MORE
LONGEST_ANSWER_BYTES = 64 << 20
START_S = 60
WATCHED_S = 0.1  # seconds between looks at the clock
AHEAD = 16  # questions sent at a time, before the last ones are answered; so few that no pipe fills up
MONEY = re.compile(r"-?\d{1,16}\.\d{2}")
MOMENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d")
HEX = re.compile(r"[0-9a-f]{64}")


class Workers:
    """Processes of our own that read files, started when they are first needed.

    Started as `python -m`, they need no import guard in the caller's script, and share no lock with polars.
    """

    def __init__(self, number: int) -> None:
        """Begin with none; `number` is how many there may be at once."""
        self._staff = Staff()
        self._idle: queue.SimpleQueue[_Worker | None] = queue.SimpleQueue()
        for _ in range(number):
            self._idle.put(None)

    def ask(self, files: Sequence[tuple[str, str]]) -> list[Answer]:
        """Return the answers to files, given as path and name.

        Raises:
            SourceError: a process cannot be started.
        """
        one = self._idle.get()
        answers: list[Answer] = []
        try:
            while len(answers) < len(files):
                one = one or _Worker(self._staff)
                answers += one.ask(files[len(answers) :])
                if one.has_ended:
                    one = None
        finally:
            self._idle.put(one)
        return answers

    def __enter__(self) -> Self:
        """Hand out itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End them all."""
        self._staff.__exit__(kind, error, trace)
        while not self._idle.empty():
            if (one := self._idle.get()) is not None:
                one.end()


class _Worker:
    """One process, and the moment by which it must have said something."""

    def __init__(self, staff: Staff) -> None:
        self._process = staff.start("-m", worker.__name__)
        self._deadline = time.monotonic() + START_S
        self._is_late = False
        self.has_ended = False
        threading.Thread(target=self._watch, daemon=True).start()
        if self._line() != worker.READY:
            self.end()
            raise SourceError("error_einvoices.no_process")

    def ask(self, files: Sequence[tuple[str, str]]) -> list[Answer]:
        """Return the answers up to the file that ended the process, or all."""
        answers: list[Answer] = []
        self._send(files[:AHEAD])
        for at, (_, name) in enumerate(files):
            if at % AHEAD == 0:
                self._send(files[at + AHEAD : at + 2 * AHEAD])
            self._deadline = time.monotonic() + worker.LONGEST_S
            try:
                answers.append(decoded(self._line(), name))
            except ValueError:
                self.end()
                return [*answers, ("too_slow", str(worker.LONGEST_S)) if self._is_late else ("crashed", "")]
        self._deadline = float("inf")
        return answers

    def end(self) -> None:
        """End the process at once."""
        self.has_ended = True
        self._process.kill()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with suppress(OSError):
                    pipe.close()
        self._process.wait()

    def _send(self, files: Sequence[tuple[str, str]]) -> None:
        lines = "".join(json.dumps(file, ensure_ascii=False) + "\n" for file in files)
        if self._process.stdin is not None and lines:
            with suppress(OSError):  # it died, which its answer tells
                self._process.stdin.write(lines.encode("utf-8", "surrogatepass"))
                self._process.stdin.flush()

    def _line(self) -> bytes:
        return self._process.stdout.readline(LONGEST_ANSWER_BYTES) if self._process.stdout is not None else b""

    def _watch(self) -> None:
        """Kill the process once it is late; a wait on its pipe ends by that on every system."""
        while not self.has_ended and self._process.poll() is None:
            if time.monotonic() > self._deadline:
                self._is_late = True
                self._process.kill()
                return
            time.sleep(WATCHED_S)


def decoded(line: bytes, name: str) -> Answer:
    """Return what a worker's line says of a file: its row, or the reason's key and what was found.

    Raises:
        ValueError: it is no such answer.
    """
    if not line.endswith(b"\n"):
        raise ValueError("it breaks off")
    said = json.loads(line)
    if not isinstance(said, dict):
        raise ValueError("no answer")  # noqa: TRY004 (one kind of error for all that is no answer)
    if said.keys() == {"reason", "detail"}:
        if said["reason"] not in texts()["einvoice"]:
            raise ValueError("no reason of ours")
        return said["reason"], _text(said["detail"])
    row = said["row"] if said.keys() == {"row"} else None
    if not isinstance(row, dict) or not row.keys() <= READERS.keys() or row.get("path") != name:
        raise ValueError("no row of this file")
    return {column: value if value is None else READERS[column](value) for column, value in row.items()}


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError("no text")  # noqa: TRY004 (one kind of error for all that is no answer)
    value.encode()  # a lone surrogate is no text: UnicodeEncodeError is a ValueError
    return value


def _texts(value: object) -> list[str]:
    if not isinstance(value, list):
        raise ValueError("no list")  # noqa: TRY004 (as above)
    return [_text(part) for part in value]


def _flag(value: object) -> bool:
    if not isinstance(value, bool):
        raise ValueError("neither true nor false")  # noqa: TRY004 (as above)
    return value


def _whole(value: object) -> int:
    if type(value) is not int or not 0 <= value < 1 << 63:
        raise ValueError("no number")
    return value


def _money(value: object) -> Decimal:
    return Decimal(_matched(MONEY, value))


def _moment(value: object) -> datetime:
    return datetime.fromisoformat(_matched(MOMENT, value))


def _matched(pattern: re.Pattern[str], value: object) -> str:
    if not pattern.fullmatch(text := _text(value)):
        raise ValueError("not of its shape")
    return text


_KINDS: dict[type[pl.DataType], Callable[[object], Any]] = {
    pl.String: _text,
    pl.List: _texts,
    pl.Boolean: _flag,
    pl.UInt64: _whole,
    pl.Decimal: _money,
    pl.Datetime: _moment,
}
# What a reader never says of a file has no entry.
READERS = {column: _KINDS[type(kind)] for column, kind in COLUMNS.items() if type(kind) in _KINDS}
READERS["sha256"] = lambda value: _matched(HEX, value)
