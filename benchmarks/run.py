"""Reconcile the same generated work with ours and with what one would pick instead, in turn, each in its own process.

python benchmarks/run.py [--invoices 100000 1000000] [--rounds 3]

Writes RESULTS.md beside this file: medians of wall seconds, CPU seconds and peak memory, the ratio of CPU time to a
plain polars full join of all columns in the same rounds, and what each found of the typing errors put in (Linux).
Peers live in environments of their own under benchmarks/work/.
"""

from __future__ import annotations

import argparse
import json
import os
import platform as machine
import statistics
import subprocess
import sys
import time
import venv
from dataclasses import dataclass
from pathlib import Path

import polars as pl
import workload

HERE = Path(__file__).parent
WORK = HERE / "work"
TIME_LIMIT_SECONDS = 600
KIB_PER_MIB = 1024


@dataclass(frozen=True)
class Contender:
    """A way to compare two parquet files: its script prints JSON with `found`, a count of linked rows by kind."""

    name: str
    packages: tuple[str, ...]
    script: str
    most_rows: int = 10_000_000


OURS = """
import json, sys, polars as pl
from pathlib import Path
from audit_kit.rules.matching import reconcile
matches = reconcile(pl.read_parquet(sys.argv[1]), pl.read_parquet(sys.argv[2]))
truth = pl.read_parquet(sys.argv[3]).filter(pl.col("kind") == "mistyped")
links = matches.filter(pl.col("outcome") == "mistyped").select("ledger_row", found="platform_row")
right = truth.join(links, on="ledger_row").filter(pl.col("platform_row") == pl.col("found")).height
wrong = links.height - right
print(json.dumps({"typos": right, "of": truth.height, "wrong": wrong, "says": "8 outcomes, differences"}))
"""
PLAIN = """
import json, sys, polars as pl
ledger, platform = pl.read_parquet(sys.argv[1]), pl.read_parquet(sys.argv[2])
joined = ledger.join(platform, on="digital_number", how="full").with_columns(
    differs=(pl.col("gross") - pl.col("gross_right")).abs() > 0.01)
print(json.dumps({"says": "both, left, right, differs"}))
"""
DUCKDB = """
import json, sys, duckdb
db = duckdb.connect()
db.execute("set threads to 2")
db.execute("create table joined as select l.digital_number a, p.digital_number b, l.* exclude (digital_number), "
           "p.* exclude (digital_number), abs(l.gross - p.gross) > 0.01 as differs from read_parquet(?) l "
           "full join read_parquet(?) p on l.digital_number = p.digital_number", sys.argv[1:3])
print(json.dumps({"says": "both, left, right, differs"}))
"""
PANDAS = """
import json, sys, pandas as pd
ledger, platform = pd.read_parquet(sys.argv[1]), pd.read_parquet(sys.argv[2])
joined = ledger.merge(platform, on="digital_number", how="outer", indicator=True)
joined["differs"] = (joined["gross_x"].astype(float) - joined["gross_y"].astype(float)).abs() > 0.01
print(json.dumps({"says": "both, left, right, differs"}))
"""
DATACOMPY = """
import json, sys, pandas as pd, datacompy
ledger, platform = pd.read_parquet(sys.argv[1]), pd.read_parquet(sys.argv[2])
kind = getattr(datacompy, "PandasCompare", None) or datacompy.Compare
result = kind(ledger, platform, join_columns="digital_number", abs_tol=0.01)
print(json.dumps({"says": "unique rows, column mismatches", "rows": len(result.df1_unq_rows)}))
"""
SPLINK = """
import json, sys, duckdb, pandas as pd
import splink.comparison_library as cl
from splink import DuckDBAPI, Linker, SettingsCreator, block_on
sides = []
for at, path in enumerate(sys.argv[1:3]):
    side = pd.read_parquet(path, columns=["digital_number", "issued_at", "gross", "seller_tax_id"])
    side["unique_id"] = range(len(side))
    side["day"] = side.pop("issued_at").dt.strftime("%Y-%m-%d")
    side["gross"] = side["gross"].astype(str)
    sides.append(side)
settings = SettingsCreator(link_type="link_only", retain_intermediate_calculation_columns=False,
    comparisons=[cl.DamerauLevenshteinAtThresholds("digital_number", [1]),
                 cl.ExactMatch("gross"), cl.ExactMatch("day")],
    blocking_rules_to_generate_predictions=[block_on("digital_number"), block_on("seller_tax_id", "gross", "day")])
api = DuckDBAPI()
try:
    linker = Linker([api.register(side, dataset_display_name=name) for side, name in zip(sides, "lp")], settings)
except (AttributeError, TypeError):
    linker = Linker(sides, settings, db_api=api)
linker.training.estimate_u_using_random_sampling(max_pairs=1e6)
pairs = linker.inference.predict(threshold_match_probability=0.5).as_pandas_dataframe()
truth = pd.read_parquet(sys.argv[3])
truth = truth[truth["kind"] == "mistyped"]
unequal = pairs[pairs["digital_number_l"] != pairs["digital_number_r"]]
linked = set(zip(unequal["unique_id_l"], unequal["unique_id_r"]))
right = sum((row.ledger_row, row.platform_row) in linked for row in truth.itertuples())
print(json.dumps({"typos": right, "of": len(truth), "unequal": len(linked), "says": "match probability"}))
"""
PEAK = """
print(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")))
"""
CONTENDERS = (
    Contender("plain polars full join", (), PLAIN),
    Contender("audit_kit", (), OURS),
    Contender("DuckDB", ("duckdb",), DUCKDB),
    Contender("pandas", ("pandas", "pyarrow"), PANDAS),
    Contender("datacompy", ("datacompy", "pyarrow"), DATACOMPY),
    Contender("splink", ("splink", "pandas", "pyarrow"), SPLINK, most_rows=1_000_000),
)


def python_of(contender: Contender) -> Path:
    """Return the interpreter of a contender, its environment made if it is not there."""
    if not contender.packages:
        return Path(sys.executable)
    home = WORK / "venvs" / contender.name.lower()
    if not (home / "bin" / "python").exists():
        venv.create(home, with_pip=True)
        subprocess.run([home / "bin" / "pip", "install", "--quiet", *contender.packages], check=True)
    return home / "bin" / "python"


def measure(contender: Contender, files: list[Path]) -> dict[str, object]:
    """Run once; return `wall` and `cpu` seconds, `peak` MiB and what it printed, or `failed`."""
    start = time.perf_counter()
    child = subprocess.Popen(
        [python_of(contender), "-c", contender.script + PEAK, *map(str, files)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    stop = start + TIME_LIMIT_SECONDS
    while (done := os.wait4(child.pid, os.WNOHANG))[0] == 0:
        if time.perf_counter() > stop:
            child.kill()
        time.sleep(0.005)
    _, status, used = done
    wall = time.perf_counter() - start
    output = child.stdout.read() if child.stdout else ""
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        return {"failed": True}
    said, peak = output.strip().splitlines()[-2:]
    return {"wall": wall, "cpu": used.ru_utime + used.ru_stime, "peak": int(peak) / KIB_PER_MIB, **json.loads(said)}


def prepare(invoices: int, *, hard: bool) -> list[Path]:
    """Return the ledger, platform and truth files of a set, made once."""
    name = f"{invoices}-{'hard' if hard else 'normal'}"
    files = [WORK / f"{name}.{side}.parquet" for side in ("ledger", "platform", "truth")]
    if not all(file.exists() for file in files):
        work = workload.make(invoices, hard=hard)
        for file, frame in zip(files, (work.ledger, work.platform, work.truth), strict=True):
            frame.write_parquet(file)
    return files


def compare(invoices: int, *, hard: bool, rounds: int) -> list[str]:
    """Return the rows of the table for one set: contenders in turn, round by round, medians."""
    files = prepare(invoices, hard=hard)
    entered = [contender for contender in CONTENDERS if contender.most_rows >= invoices]
    runs: dict[str, list[dict[str, object]]] = {contender.name: [] for contender in entered}
    for number in range(rounds):
        for contender in entered:
            if number and runs[contender.name][0].get("failed"):
                continue
            runs[contender.name].append(measure(contender, files))
            print(invoices, "hard" if hard else "normal", contender.name, runs[contender.name][-1], flush=True)
    title = f"{invoices:,} {'hard' if hard else 'normal'}"
    return [_row(title, name, results, runs[CONTENDERS[0].name]) for name, results in runs.items()]


def _row(title: str, name: str, results: list[dict[str, object]], plain: list[dict[str, object]]) -> str:
    if any(result.get("failed") for result in results):
        return f"| {title} | {name} | did not finish | | | | | |"
    wall, cpu, peak = (statistics.median(float(str(r[key])) for r in results) for key in ("wall", "cpu", "peak"))
    pairs = zip(results, plain, strict=True)
    ratio = statistics.median(float(str(ours["cpu"])) / float(str(base["cpu"])) for ours, base in pairs)
    last = results[-1]
    typos = f"{last['typos']} of {last['of']}" if "typos" in last else "–"
    wrong = str(last.get("wrong", f"{last['unequal']} unequal pairs in all" if "unequal" in last else "–"))
    found = f"{typos}; wrong: {wrong}"
    return f"| {title} | {name} | {wall:.2f} | {cpu:.2f} | {ratio:.2f} | {peak:,.0f} | {found} | {last['says']} |"


def main() -> None:
    """Measure every set and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--invoices", type=int, nargs="+", default=[100_000, 1_000_000])
    parser.add_argument("--rounds", type=int, default=3)
    chosen = parser.parse_args()
    WORK.mkdir(exist_ok=True)
    rows = [
        row
        for invoices in chosen.invoices
        for hard in (False, True)
        for row in compare(invoices, hard=hard, rounds=chosen.rounds)
    ]
    head = (
        "# Reconciling, measured\n\nWhole processes, reading parquet included; medians of "
        f"{chosen.rounds} rounds in turn on {os.cpu_count()} processors, Python {machine.python_version()}, "
        f"polars {pl.__version__}. Ratio: CPU time to the plain join of the same round. "
        "Absolute times are those of one shared machine; compare the ratios.\n\n"
        "| invoices | contender | wall s | CPU s | ratio | peak MiB | typing errors found | what it says |\n"
        "|---|---|--:|--:|--:|--:|---|---|\n"
    )
    (HERE / "RESULTS.md").write_text(head + "\n".join(rows) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
