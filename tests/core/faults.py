"""A process that publishes again and again, each time in a child that meets one fault at one step.

`python faults.py FOLDER report|file exchange|renames EVERY` prints a line of JSON for every trial: what stood there
directly after the fault, once the next run had begun, and after it.
"""

from __future__ import annotations

import builtins
import errno
import json
import os
import shutil
import signal
import sys
from pathlib import Path
from types import SimpleNamespace

import polars as pl

from audit_kit.cli.main import main as _main  # noqa: F401  what the command line has loaded
from audit_kit.core import outputs
from audit_kit.report import front
from audit_kit.report import publish as publishing
from audit_kit.report import run as report
from audit_kit.rules.sync import observations

STEPS = ("rename", "replace", "mkdir", "unlink", "rmdir", "open", "close", "fsync")
FAULTS = ("kill", "term", "interrupt", "full", "denied")
MONTH = "2025-05"
OLD, NEW = "old", "new"


class Steps:
    """Counts the system's steps of a child, and lets the one that is `wanted` meet the fault."""

    def __init__(self, wanted: int, fault: str, *, after: bool) -> None:
        self.count, self.wanted, self.fault, self.after = 0, wanted, fault, after

    def watch(self) -> None:
        for name in STEPS:
            setattr(os, name, self._watched(getattr(os, name)))
        builtins.open = self._watched(builtins.open)
        exchange = outputs._exchanged
        outputs._exchanged = self._watched(exchange)

    def _watched(self, step):
        def watched(*args, **options):
            self.count += 1
            meets = self.count == self.wanted
            if meets and not self.after:
                self._strike()
            done = step(*args, **options)
            if meets and self.after:
                self._strike()
            return done

        return watched

    def _strike(self) -> None:
        if self.fault in {"kill", "term", "interrupt"}:
            sort = {"kill": signal.SIGKILL, "term": signal.SIGTERM, "interrupt": signal.SIGINT}[self.fault]
            os.kill(os.getpid(), sort)
        number = {"full": errno.ENOSPC, "denied": errno.EACCES}.get(self.fault)
        if number:
            raise OSError(number, os.strerror(number))


def publish(out: Path, word: str) -> None:
    """Publish a report whose every file says `word`."""
    with report._staging(out) as stage:
        (stage / "report").mkdir()
        for name in ("index.html", "findings.parquet", "manifest.json"):
            (stage / "report" / name).write_text(json.dumps({"word": word}), encoding="utf-8")
        engagement = SimpleNamespace(check_unchanged=lambda: None)
        steps = SimpleNamespace(step=lambda _: None)
        job = SimpleNamespace(out=out, lang="zh", stage=stage, progress=steps, engagement=engagement)
        finished = SimpleNamespace(job=job, month=MONTH, owner=None, folder=stage / "report", delays=None, entry=None)
        publishing.publish(finished)


def begin(out: Path, _: str) -> None:
    """Begin a report, and no more."""
    with report._staging(out):
        pass


def write(out: Path, word: str) -> None:
    """Write a file that says `word`, as every `--out FILE` is written."""
    with outputs.writing(out / "found.csv") as made:
        made.write_text(word, encoding="utf-8")


def stands(out: Path, kind: str) -> str:
    """Return the word of what stands there, or what is wrong with it."""
    if kind == "file":
        file = out / "found.csv"
        return file.read_text(encoding="utf-8") if file.is_file() else "lost"
    files = sorted((out / MONTH).glob("*"))
    words = {json.loads(file.read_text(encoding="utf-8"))["word"] for file in files}
    beside = [out / "index.html", out / "history.parquet"]
    if len(files) != 3 or len(words) != 1 or not all(file.is_file() for file in beside):
        return "lost"
    listed, kept = (file.read_bytes() for file in beside)
    return words.pop() if listed and kept[:4] == kept[-4:] == b"PAR1" else "lost"


def child(run, out: Path, word: str, steps: Steps | None = None) -> int:
    """Run in a child; return its steps where none strikes."""
    read, told = os.pipe()
    if (pid := os.fork()) == 0:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        sys.stderr = Path(os.devnull).open("w")  # noqa: SIM115  the child ends by itself
        if steps:
            steps.watch()
        try:
            run(out, word)
        finally:
            os.write(told, f"{steps.count if steps else 0}".encode())
            os._exit(0)
    os.close(told)
    os.waitpid(pid, 0)
    with os.fdopen(read) as pipe:
        return int(pipe.read() or 0)


def main(folder: Path, kind: str, way: str, every: int) -> None:
    run = {"report": publish, "file": write}[kind]
    if way == "renames":
        outputs._exchanged = lambda *_: False
    observations.remembered = lambda *_, month: pl.DataFrame([{"month": month}], schema=observations.HISTORY)
    publishing.months_register.check_owner = lambda *_: None
    publishing.trend.write = lambda *_, **__: None
    front.months_page = lambda found, **_: f"{len(found)} months"
    out = folder / "reports"
    out.mkdir()
    child(run, out, OLD)
    total = child(run, out, OLD, Steps(0, "", after=False))
    trials = [(step, fault, after) for fault in FAULTS for after in (False, True) for step in range(1, total + 1)]
    for step, fault, after in trials[::every]:
        child(run, out, NEW, Steps(step, fault, after=after))
        directly = stands(out, kind)
        child(begin, out, "")
        later = stands(out, kind)
        child(run, out, OLD)
        left = sorted(path.name for path in out.iterdir() if path.name.startswith("."))
        sys.stdout.write(json.dumps([step, fault, after, directly, later, stands(out, kind), left]) + "\n")


if __name__ == "__main__":
    shutil.rmtree(sys.argv[1], ignore_errors=True)
    Path(sys.argv[1]).mkdir(parents=True)
    main(Path(sys.argv[1]), sys.argv[2], sys.argv[3], int(sys.argv[4]))
