"""Ours and what one would use instead, on the same generated invoices: time, memory, and what each found.

Every run is a process of its own, from two parquet files to its answer; the tools take turns, and medians are kept.
Peers get environments of their own under benchmarks/work/. `--rows 100000 1000000`, `--rounds 3`, `--tools ours …`.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import venv
from pathlib import Path

import polars as pl
import workload

HERE = Path(__file__).resolve().parent
WORK = HERE / "work"
RESULTS = HERE / "RESULTS.md"
MEASURED = WORK / "measured.json"
LIMIT_SECONDS, LIMIT_SECONDS_A_MILLION = 60, 60
ONCE = frozenset({"splink"})
"""Measured in the first round only: it takes longer than all others together."""

TOOLS = {
    "ours-in-memory": (),
    "polars-in-memory": (),
    "ours": (),
    "polars": (),
    "analysis": (),
    "polars-files": (),
    "duckdb": ("duckdb", "pyarrow"),
    "pandas": ("pandas", "pyarrow"),
    "datacompy": ("datacompy", "pandas", "pyarrow"),
    "splink": ("splink", "duckdb", "pandas", "pyarrow"),
}
NAMES = {
    "ours-in-memory": "`reconcile`, frames in memory",
    "polars-in-memory": "polars, full join in memory",
    "ours": "audit-kit reconcile",
    "polars": "polars, scan, full join, sink",
    "analysis": "audit-kit, whole analysis",
    "polars-files": "polars, read, full join",
    "duckdb": "DuckDB, full join",
    "pandas": "pandas, outer merge",
    "datacompy": "datacompy",
    "splink": "splink",
}

YARDSTICK = {
    "ours-in-memory": "polars-in-memory",
    "polars-in-memory": "polars-in-memory",
    "analysis": "polars-files",
    "polars-files": "polars-files",
}
"""What a tool's times are divided by, where it is not `polars`."""

UP_TO_ROWS = {"analysis": 1_000_000, "polars-files": 1_000_000}
"""Sets of more invoices are left out."""

INTRODUCTION = """\
# What reconciling costs, and what it finds

Medians on {cores} cores, each run a process of its own from two parquet files to its answer. In memory: from two
frames to the answer, warm, in turn with the plain join in one process, the ratios pair by pair. The whole analysis is
that of an engagement of these two files, diagnosis and cache included. On a shared machine compare the CPU columns;
seconds on the clock, and their ratio, say something only where nothing else runs.
Typos: numbers with one digit replaced or two neighbours swapped. False: links between different invoices. Hard: every
seller's numbers consecutive, nine amounts of ten from 200 price points. Peers run with the settings a newcomer would
use, splink once; what takes more than a minute, and a minute more for each million, is stopped."""


def main() -> None:
    """Measure, and write the table that the README shows."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--rows", type=int, nargs="+", default=[100_000, 1_000_000, 5_000_000])
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--tools", nargs="+", default=list(TOOLS), choices=list(TOOLS))
    chosen = options.parse_args()
    WORK.mkdir(exist_ok=True)
    known = json.loads(MEASURED.read_text(encoding="utf-8")) if MEASURED.exists() else []
    for rows in chosen.rows:
        for hard in (False, True):
            folder = _made(rows, hard=hard)
            tools = [tool for tool in chosen.tools if rows <= UP_TO_ROWS.get(tool, rows)]
            runs = {tool: [] for tool in tools}
            for turn in range(chosen.rounds):
                for tool in [tool for tool in tools if not turn or tool not in ONCE]:
                    runs[tool].append(_run(tool, rows, folder))
            fresh = [_median(tool, rows, found, hard=hard) for tool, found in runs.items()]
            known = [one for one in known if all(_place(one) != _place(new) for new in fresh)] + fresh
            _write(sorted(known, key=_place))


def _place(one: dict) -> tuple[int, bool, int]:
    """Return where a line of the table stands."""
    return one["rows"], one["set"] == "hard", list(TOOLS).index(one["tool"])


def _made(rows: int, *, hard: bool) -> Path:
    """Make the invoices once."""
    folder = WORK / f"{'hard' if hard else 'normal'}-{rows}"
    if not (folder / "truth.parquet").exists():
        folder.mkdir(exist_ok=True)
        workload.write(folder, rows, hard=hard)
    return folder


def _python(tool: str) -> str:
    """Return the Python of a tool, with its packages installed."""
    if not TOOLS[tool]:
        return sys.executable
    home = WORK / "environments" / tool
    python = home / "bin" / "python"
    if not python.exists():
        venv.create(home, with_pip=True)
        subprocess.run([python, "-m", "pip", "install", "-q", *TOOLS[tool]], check=True)
    return str(python)


def _run(tool: str, rows: int, folder: Path) -> dict:
    """Run one tool in a process of its own: wall and CPU seconds, peak MiB, what it found."""
    limit = LIMIT_SECONDS + LIMIT_SECONDS_A_MILLION * rows // 1_000_000
    command = [_python(tool), str(HERE / "peers.py"), tool, str(folder)]
    process = subprocess.Popen(command, cwd=WORK, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        output, complaint = process.communicate(timeout=limit)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        return {"failed": f"stopped after {limit} s"}
    if process.returncode:
        return {"failed": (complaint.strip().splitlines() or ["no message"])[-1][:120]}
    return json.loads(output.strip().splitlines()[-1])


def _median(tool: str, rows: int, runs: list[dict], *, hard: bool) -> dict:
    """Return the medians of one tool on one set."""
    kept = {"tool": tool, "rows": rows, "set": "hard" if hard else "normal", "runs": len(runs)}
    if any("failed" in run for run in runs):
        return kept | {"failed": next(run["failed"] for run in runs if "failed" in run)}
    figures = {name: statistics.median(run[name] for run in runs) for name in runs[0] if name != "found"}
    return kept | figures | {"found": runs[-1]["found"]}


def _write(measured: list[dict]) -> None:
    """Write the table as far as it is known."""
    base = {(one["rows"], one["set"], one["tool"]): one for one in measured}
    lines = [
        INTRODUCTION.format(cores=os.cpu_count()),
        "",
        "| invoices | set | tool | runs | clock s | CPU s | clock to polars | CPU to polars | peak MiB | found |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for one in measured:
        start = f"| {one['rows']:,} | {one['set']} | {NAMES[one['tool']]} | {one['runs']} |"
        if "failed" in one:
            lines.append(f"{start} – | – | – | – | – | {one['failed']} |")
            continue
        yardstick = base.get((one["rows"], one["set"], YARDSTICK.get(one["tool"], "polars")), {})
        ratios = " | ".join(_ratio(one, yardstick, name) for name in ("wall", "cpu"))
        lines.append(f"{start} {one['wall']:.2f} | {one['cpu']:.2f} | {ratios} | {one['peak']:,.0f} | {one['found']} |")
    RESULTS.write_text("\n".join(lines) + "\n", encoding="utf-8")
    MEASURED.write_text(json.dumps(measured, indent=1), encoding="utf-8")
    print(pl.DataFrame([{k: v for k, v in one.items() if k != "found"} for one in measured], infer_schema_length=None))


def _ratio(one: dict, yardstick: dict, name: str) -> str:
    """Return a time over that of the yardstick: as measured pair by pair, else of the medians."""
    if f"{name}_ratio" in one:
        return f"{one[f'{name}_ratio']:.2f}"
    return f"{one[name] / yardstick[name]:.2f}" if yardstick.get(name) else "–"


if __name__ == "__main__":
    main()
