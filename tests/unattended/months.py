"""A process that makes the reports of 36 months, each run in a child; in five months of six one meets a fault first.

In the months of WHOLE all of a report is made but what needs a kernel. In the others the figures are those of the first
month, so that only what is written, moved, locked and cleared is done again: there the faults are.

`python months.py FOLDER MONTHS` prints a line of JSON a month: the fault, how the disturbed run ended, what was not
whole then or after the next run, what was left behind, and the CPU seconds of that run.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import pickle
import random
import resource
import signal
import sys
import time
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING

from audit_kit.core import outputs, places, processes
from audit_kit.core.errors import EXIT_DONE
from audit_kit.report import manifest, publish, workbook, write_pages
from audit_kit.report import run as report
from audit_kit.report.work_up import Material
from audit_kit.unattended import told  # noqa: F401  what the command line has loaded

if TYPE_CHECKING:
    from audit_kit.report.job import Job

FAULTS = ("none", "kill", "full", "term", "twice", "small")
WHOLE = (0, 7, 22)
STEPS = 24
ITS_OWN = ("job", "month", "owner", "history", "previous")  # of a month; all else is that of the first
TAX_ID = "91110108MA01A2B3XP"
HEAD = "发票号码,开票日期,销方识别号,销方名称,购买方名称,价税合计"
SMALL = 10_000  # bytes that a file may have on the small disk: less than a workbook or a page


def write(folder: Path, month: str) -> None:
    folder.mkdir(exist_ok=True)
    number = int(month.replace("-", "")) * 100
    rows = [
        f"2511{number + at:016},{month}-{at:02} 10:00:00,{TAX_ID},北京示例卖方有限公司,买方{at},{at}.00"
        for at in range(1, 9)
    ]
    for name, lines in (("ledger", rows), ("platform", rows[2:])):
        (folder / f"{name}.csv").write_text("\n".join([HEAD, *lines]) + "\n", encoding="utf-8")
    year, at = map(int, month.split("-"))
    after = f"{year + at // 12}-{at % 12 + 1:02}"
    (folder / "audit.toml").write_text(
        f'[engagement]\nname = "示例"\ntaxpayer_id = "{TAX_ID}"\ntaken_at = {after}-10T09:00:00\n'
        f"[export]\nperiod_start = {month}-01\nperiod_end = {after}-01\n",
        encoding="utf-8",
    )


def thin(folder: Path) -> None:
    """Take what the first month found for this one, or keep it for the others."""
    kept, whole = folder / "found", report.work_up
    if not kept.exists():

        def keeping(job: Job) -> Material:
            made = whole(job)
            parts = {of.name: getattr(made, of.name) for of in fields(made) if of.name not in ITS_OWN}
            kept.write_bytes(pickle.dumps(parts))
            return made

        report.work_up = keeping
        return

    def again(job: Job) -> Material:
        parts = pickle.loads(kept.read_bytes())  # noqa: S301  our own
        parts["manifest"] |= {"month": job.month}
        owner = manifest.owner(job.engagement)
        return Material(job=job, month=job.month, owner=owner, history=None, previous=None, **parts)

    report.work_up = again


def child(folder: Path, month: str, fault: str, step: int, *, whole: bool) -> int:
    """Start a report in a child, and return its process."""
    if (pid := os.fork()) != 0:
        return pid
    code = 70
    try:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        sys.stderr = sys.stdout = Path(os.devnull).open("w")  # noqa: SIM115  the child ends by itself
        if not whole:
            thin(folder)
        if fault == "small":
            resource.setrlimit(resource.RLIMIT_FSIZE, (SMALL, SMALL))
        if fault == "full":
            outputs._is_full = lambda _: True
        if fault in {"kill", "term", "full"}:
            strike_at(step, fault)
        with processes.endings():
            report.run_report(folder / "books", month=month, out=folder / "reports")
        code = EXIT_DONE
    except KeyboardInterrupt:
        code = processes.SIGNALLED + signal.SIGTERM
    except Exception as error:  # noqa: BLE001  what is told of it is looked at
        (folder / "said").write_text(str(error), encoding="utf-8")
        code = getattr(error, "exit_code", 70)
    finally:
        os._exit(code)


def strike_at(step: int, fault: str) -> None:
    """Let this process meet its fault at the step it is told, of those in which something is written or moved."""
    count = 0

    def watched(name: str, place: object) -> None:
        whole = getattr(place, name)

        def counted(*args: object, **options: object) -> object:
            nonlocal count
            count += 1
            if count == step and fault == "full":
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            if count == step:
                os.kill(os.getpid(), {"kill": signal.SIGKILL, "term": signal.SIGTERM}[fault])
            return whole(*args, **options)

        setattr(place, name, counted)

    for name in ("rename", "replace", "mkdir", "rmdir", "fsync"):
        watched(name, os)
    watched("_exchanged", outputs)
    watched("write_workbook", workbook)
    watched("_write", write_pages)
    watched("list_months", publish)


def ended(pid: int) -> tuple[int, float]:
    _, status, used = os.wait4(pid, 0)
    return os.waitstatus_to_exitcode(status), used.ru_utime + used.ru_stime


def broken(out: Path) -> list[str]:
    """The reports that are not what their own manifest says, byte for byte."""
    found = []
    for told_ in sorted(out.glob("[12]*/manifest.json")):
        listed = {file["file"]: file["sha256"] for file in json.loads(told_.read_text(encoding="utf-8"))["outputs"]}
        files = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in told_.parent.iterdir()}
        files.pop(told_.name)
        found += [] if listed == files else [told_.parent.name]
    return found


def left(folder: Path) -> list[str]:
    places_ = [*(folder / "tmp").iterdir(), *(folder / "reports").glob(".*"), *(folder / "cache").glob("new-*")]
    return [path.name for path in places_]


def main(folder: Path, months: int) -> None:
    for name in ("cache", "tmp"):
        (folder / name).mkdir()
    os.environ |= {"AUDIT_KIT_CACHE": str(folder / "cache"), "TMPDIR": str(folder / "tmp"), "POLARS_MAX_THREADS": "1"}
    places.notebooks = list
    dice, out = random.Random(7), folder / "reports"
    for at in range(months):
        month, fault = f"{2023 + at // 12}-{at % 12 + 1:02}", FAULTS[at % len(FAULTS)]
        write(folder / "books", month)
        disturbed, whole = [], at in WHOLE[1:]
        if fault != "none":
            step, count = dice.randint(1, STEPS), 2 if fault == "twice" else 1
            both = [child(folder, month, fault, step, whole=whole) for _ in range(count)]
            disturbed = [ended(pid)[0] for pid in both]
        said = (folder / "said").read_text(encoding="utf-8") if (folder / "said").exists() else ""
        (folder / "said").unlink(missing_ok=True)
        directly = broken(out)
        began = time.monotonic()
        code, seconds = ended(child(folder, month, "none", 0, whole=whole))
        line = {
            "month": month,
            "fault": fault,
            "whole": at in WHOLE,
            "disturbed": disturbed,
            "said": said,
            "broken": directly + broken(out),
            "code": code,
            "left": left(folder),
            "reports": len(list(out.glob("[12]*/manifest.json"))),
            "cpu": seconds,
            "clock": time.monotonic() - began,
        }
        sys.stdout.write(json.dumps(line, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
