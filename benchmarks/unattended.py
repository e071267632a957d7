"""Thirty-six months of reports made by the machine, with kills, a full disk and two runs at once among them.

Every month the whole command line runs with every notebook, on that month's files, into one folder of reports. In two
months of three a run meets a fault first: its process, or it and all that it started, are killed at a random moment;
the disk is full; or another run starts at the same moment. Then the month is run again, and looked at: every report so
far whole by its own hashes, the month's findings those of an undisturbed run, nothing left in home, cache, temporary
folder or beside the reports.

`python benchmarks/unattended.py --months 36`. As root the disk is a small one in memory, which can be filled;
else files may grow to a limit only.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import resource
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import polars as pl

DISK_MB, FREE_MB, FILE_MB = 900, 3, 1
TAX_ID = "91110108MA01A2B3XP"
HEAD = "发票号码,开票日期,销方识别号,销方名称,购买方名称,价税合计,开票渠道"
FAULTS = ("none", "kill", "full", "none", "killall", "twice")
KIT = [sys.executable, "-P", "-m", "audit_kit"]
LAST_SECONDS = 600


def write(folder: Path, month: str, *, invoices: int) -> None:
    """Write the files of a month: one invoice of forty is missing from the platform."""
    folder.mkdir(exist_ok=True)
    number = int(month.replace("-", "")) * 10_000
    rows = [
        f"2511{number + at:016},{month}-{at % 28 + 1:02} 10:{at % 60:02}:00,{TAX_ID},北京示例卖方有限公司,"
        f"北京第{at % 50}买方有限公司,{113 * (at % 90 + 1)}.00,网页"
        for at in range(invoices)
    ]
    kept = [row for at, row in enumerate(rows) if at % 40]
    year, at = map(int, month.split("-"))
    after = f"{year + at // 12}-{at % 12 + 1:02}"
    for name, lines in (("ledger", rows), ("platform", kept)):
        (folder / f"{name}.csv").write_text("\n".join([HEAD, *lines]) + "\n", encoding="utf-8")
    (folder / "audit.toml").write_text(
        f'[engagement]\nname = "示例"\ntaxpayer_id = "{TAX_ID}"\ntaken_at = {after}-10T09:00:00\n'
        f'[export]\nperiod_start = {month}-01\nperiod_end = {after}-01\n[sources]\nledger = "ledger.csv"\n'
        'platform = "platform.csv"\n',
        encoding="utf-8",
    )


class Machine:
    """A home, a temporary folder, an engagement and its reports, on a disk of their own."""

    def __init__(self, disk: Path, *, is_small: bool) -> None:
        """Make the folders."""
        self.disk, self.is_small = disk, is_small
        self.home, self.tmp, self.place, self.out = (disk / name for name in ("home", "tmp", "books", "reports"))
        for folder in (self.home, self.tmp):
            folder.mkdir()
        places = {"HOME": self.home, "TMPDIR": self.tmp, "AUDIT_KIT_CACHE": self.home / "cache"}
        self.environment = {**os.environ, **{name: str(place) for name, place in places.items()}}

    def start(self, month: str, *, limit_mb: int | None = None, out: Path | None = None) -> subprocess.Popen[bytes]:
        """Start a report in a group of processes of its own."""
        command = [*KIT, "report", str(self.place), "--month", month, "--out", str(out or self.out), "--jobs", "1"]

        def limit() -> None:
            if limit_mb is not None:
                resource.setrlimit(resource.RLIMIT_FSIZE, (limit_mb << 20, limit_mb << 20))

        return subprocess.Popen(
            command,
            env=self.environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            start_new_session=True,
            preexec_fn=limit,  # noqa: PLW1509  no thread is running here
        )

    def run(self, month: str, *, limit_mb: int | None = None, out: Path | None = None) -> tuple[int, str, float]:
        """Run a report to its end: exit code, what it said last, seconds."""
        began = time.monotonic()
        process = self.start(month, limit_mb=limit_mb, out=out)
        said = process.communicate(timeout=LAST_SECONDS)[1].decode(errors="replace").strip().splitlines()
        return process.returncode, said[-1] if said else "", time.monotonic() - began

    def killed(self, month: str, *, after: float, group: bool) -> int:
        """Start a report and kill it, or it and all that it started."""
        process = self.start(month)
        time.sleep(after)
        if process.poll() is None:
            (os.killpg if group else os.kill)(process.pid, signal.SIGKILL)
        process.communicate()
        time.sleep(3)  # what it started sees that it is alone
        return process.returncode

    def full(self, month: str) -> tuple[int, str]:
        """Run a report on a disk without room."""
        if not self.is_small:
            return self.run(month, limit_mb=FILE_MB)[:2]
        filler = self.disk / "filler"
        with filler.open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, shutil.disk_usage(self.disk).free - (FREE_MB << 20))
        try:
            return self.run(month)[:2]
        finally:
            filler.unlink()

    def twice(self, month: str) -> list[int]:
        """Run two reports of one month at once."""
        both = [self.start(month), self.start(month)]
        for process in both:
            process.communicate(timeout=LAST_SECONDS)
        return [process.returncode for process in both]

    def left(self) -> list[str]:
        """Return what no finished run may leave behind."""
        cache = self.home / "cache"
        beside = [path for path in self.out.iterdir() if path.name.startswith(".") or path.name == "failed"]
        kept = [path for path in cache.iterdir() if path.name.startswith("new-")]
        runtime = [path for path in self.home.rglob("*") if "runtime" in path.parts and path.is_file()]
        return [str(path.relative_to(self.disk)) for path in [*self.tmp.iterdir(), *beside, *kept, *runtime]]


def broken(out: Path) -> list[str]:
    """Return the reports that are not what their own manifest says, byte for byte."""
    found = []
    for manifest in sorted(out.glob("[12]*/manifest.json")):
        listed = {file["file"]: file["sha256"] for file in json.loads(manifest.read_text(encoding="utf-8"))["outputs"]}
        files = {path.name: path for path in manifest.parent.iterdir() if path != manifest}
        same = listed.keys() == files.keys() and all(
            hashlib.sha256(files[name].read_bytes()).hexdigest() == sum_ for name, sum_ in listed.items()
        )
        found += [] if same else [manifest.parent.name]
    return found


def year_month(at: int) -> str:
    """Return the month that is so many after January 2023."""
    return f"{2023 + at // 12}-{at % 12 + 1:02}"


def simulate(machine: Machine, months: int, *, invoices: int, seed: int) -> list[float]:
    """Run the months, each with its fault; return the seconds of the run after it, and stop at the first that fails."""
    dice, seconds = random.Random(seed), []  # noqa: S311  a seeded trial
    for at in range(months):
        month, fault = year_month(at), FAULTS[at % len(FAULTS)]
        write(machine.place, month, invoices=invoices)
        met: object = ""
        if fault in {"kill", "killall"}:
            longest = statistics.median(seconds) if seconds else 10
            met = machine.killed(month, after=dice.uniform(0.5, longest * 0.95), group=fault == "killall")
        elif fault == "full":
            met = machine.full(month)
        elif fault == "twice":
            met = machine.twice(month)
        whole_after_fault = broken(machine.out) if machine.out.exists() else []
        code, said, took = machine.run(month)
        seconds.append(took)
        problems = [*whole_after_fault, *broken(machine.out), *machine.left(), *([said] if code else [])]
        count = len(list(machine.out.glob("[12]*/manifest.json")))
        print(f"{month} {fault:8} {met!s:60.60} then {took:5.1f} s, {count} reports whole", flush=True)
        if problems or count != at + 1:
            raise SystemExit(f"{month}: {problems}, {count} reports")
    return seconds


def undisturbed(machine: Machine, months: int, *, invoices: int) -> None:
    """Hold the findings of the last month against those of a run that nothing disturbed."""
    month = year_month(months - 1)
    write(machine.place, month, invoices=invoices)
    other = machine.disk / "undisturbed"
    code, said, _ = machine.run(month, out=other)
    ours, theirs = (pl.read_parquet(out / month / "findings.parquet") for out in (machine.out, other))
    columns = [name for name in ours.columns if name != "change"]
    if code or not ours.select(columns).equals(theirs.select(columns)):
        raise SystemExit(f"{month}: not the findings of an undisturbed run ({said})")


def main() -> None:
    """Parse, run, and print what the README may state."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--months", type=int, default=36)
    parser.add_argument("--invoices", type=int, default=400)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    disk = Path(tempfile.mkdtemp(prefix="unattended-"))
    mount = ["mount", "-t", "tmpfs", "-o", f"size={DISK_MB}m", "tmpfs", str(disk)]
    is_small = subprocess.run(mount, check=False, capture_output=True).returncode == 0
    try:
        machine = Machine(disk, is_small=is_small)
        seconds = simulate(machine, options.months, invoices=options.invoices, seed=options.seed)
        undisturbed(machine, options.months, invoices=options.invoices)
    finally:
        if is_small:
            subprocess.run(["umount", str(disk)], check=False)  # noqa: S607  the system's own
        shutil.rmtree(disk, ignore_errors=True)
    half = len(seconds) // 2
    early, late = statistics.median(seconds[:half] or seconds), statistics.median(seconds[half:])
    print(f"{options.months} months; a month takes {early:.1f} s in the first half and {late:.1f} s in the second")


if __name__ == "__main__":
    main()
