"""One measured run: `peers.py TOOL FOLDER` reconciles ledger.parquet and platform.parquet, the tool's own way.

The last line on stdout is JSON: `cpu` seconds of this process, `wall` seconds of the same, `peak` MiB, `found` in
words. The two tools in memory take turns with the plain join, warm, after reading: their seconds are medians, their
peak is that of a first run alone, and `cpu_ratio` and `wall_ratio` are the medians of the ratios pair by pair.
"""

from __future__ import annotations

import json
import os
import resource
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

KEY = "digital_number"
TURNS = 5
SETTINGS = """\
[engagement]
name = "benchmark"
taken_at = 2026-01-02T00:00:00
[sources]
ledger = "ledger.parquet"
platform = "platform.parquet"
"""


def ours(folder: Path) -> str:
    """audit-kit reconcile, from parquet to parquet; judged by the truth afterwards, outside the figures."""
    from audit_kit.engines.disk import reconcile_files  # noqa: PLC0415 - each run pays for its own imports only

    reconcile_files(folder / "ledger.parquet", folder / "platform.parquet", folder / "ours.parquet")
    return ""


def loaded(folder: Path) -> list[Any]:
    """Read both files whole, and import what the tools in memory use: neither counts."""
    import polars as pl  # noqa: PLC0415

    import audit_kit.rules.matching.reconcile  # noqa: F401, PLC0415

    return [pl.read_parquet(folder / f"{side}.parquet") for side in ("ledger", "platform")]


def ours_in_memory(frames: list[Any]) -> Any:  # noqa: ANN401 - a frame; not every environment has polars
    """Frames in, matches out; judged like `ours`."""
    from audit_kit.rules.matching.reconcile import reconcile  # noqa: PLC0415

    return reconcile(*frames)


def polars_in_memory(frames: list[Any]) -> str:
    """Full join of all columns, compare the amounts."""
    import polars as pl  # noqa: PLC0415

    ledger, platform = frames
    both = ledger.join(platform, on=KEY, how="full", coalesce=True)
    both.with_columns(apart=(pl.col("gross") - pl.col("gross_right")).abs() > pl.lit("0.01").cast(pl.Decimal(18, 2)))
    return "missing, extra, amount; no typos, no damaged numbers, no duplicates"


def analysis(folder: Path) -> str:
    """The whole analysis of an engagement of two files: read, matched, timed, diagnosed, kept."""
    with tempfile.TemporaryDirectory() as cache:
        os.environ["AUDIT_KIT_CACHE"] = cache
        import audit_kit  # noqa: PLC0415

        (folder / "audit.toml").write_text(SETTINGS, encoding="utf-8")
        findings = audit_kit.analyse(audit_kit.open_engagement(folder)).findings
    return f"{findings.height:,} findings, a cause for every row that is not simply matched"


def polars_files(folder: Path) -> str:
    """Read both files whole, full join of all columns, compare the amounts."""
    import polars as pl  # noqa: PLC0415

    return polars_in_memory([pl.read_parquet(folder / f"{side}.parquet") for side in ("ledger", "platform")])


def judged(folder: Path) -> str:
    """Say what ours found against the truth."""
    import polars as pl  # noqa: PLC0415

    found = pl.read_parquet(folder / "ours.parquet").drop_nulls("ledger_row")
    both = found.join(pl.read_parquet(folder / "truth.parquet"), on="ledger_row", suffix="_true")
    typed = both.filter(pl.col("kind") == "mistyped")
    linked = pl.col("outcome") == "mistyped"
    right = typed.filter(linked & (pl.col("platform_row") == pl.col("platform_row_true"))).height
    false = both.filter(linked & pl.col("platform_row").ne_missing(pl.col("platform_row_true"))).height
    unclear = both.filter(pl.col("outcome") == "ambiguous").height
    dirty = both.filter(pl.col("kind") == "cleaned")
    cleaned = dirty.filter(pl.col("platform_row") == pl.col("platform_row_true")).height
    return (
        f"8 outcomes with the fields that differ; typos {right:,} of {typed.height:,}, false {false}, "
        f"listed as ambiguous {unclear}; damaged numbers {cleaned:,} of {dirty.height:,}"
    )


def polars(folder: Path) -> str:
    """Scan, full join of all columns, compare the amounts, sink."""
    import polars as pl  # noqa: PLC0415

    ledger, platform = (pl.scan_parquet(folder / f"{side}.parquet") for side in ("ledger", "platform"))
    verdict = (
        pl.when(pl.col(f"{KEY}_right").is_null())
        .then(pl.lit("missing"))
        .when(pl.col(KEY).is_null())
        .then(pl.lit("extra"))
        .when(pl.col("gross") != pl.col("gross_right"))
        .then(pl.lit("conflict"))
        .otherwise(pl.lit("same"))
    )
    ledger.join(platform, on=KEY, how="full").with_columns(verdict=verdict).sink_parquet(folder / "polars.parquet")
    return "missing, extra, amount; no typos, no damaged numbers, no duplicates"


def duckdb(folder: Path) -> str:
    """Full join of all columns, compare the amounts, copy to parquet."""
    import duckdb as engine  # noqa: PLC0415

    engine.sql(
        f"""copy (select *, case when p.{KEY} is null then 'missing' when l.{KEY} is null then 'extra'
        when l.gross <> p.gross then 'conflict' else 'same' end as verdict
        from '{folder}/ledger.parquet' l full join '{folder}/platform.parquet' p on l.{KEY} = p.{KEY})
        to '{folder}/duckdb.parquet'"""  # noqa: S608 - our own file names
    )
    return "missing, extra, amount; no typos, no damaged numbers, no duplicates"


def pandas(folder: Path) -> str:
    """Outer merge with indicator, compare the amounts."""
    import pandas as pd  # noqa: PLC0415

    ledger, platform = (pd.read_parquet(folder / f"{side}.parquet") for side in ("ledger", "platform"))
    both = ledger.merge(platform, on=KEY, how="outer", indicator=True)
    both["same"] = both["gross_x"] == both["gross_y"]
    both.to_parquet(folder / "pandas.parquet")
    return "missing, extra, amount; no typos, no damaged numbers, no duplicates"


def datacompy(folder: Path) -> str:
    """Compare two pandas frames and report."""
    import datacompy as peer  # noqa: PLC0415
    import pandas as pd  # noqa: PLC0415

    ledger, platform = (pd.read_parquet(folder / f"{side}.parquet") for side in ("ledger", "platform"))
    compare = getattr(peer, "PandasCompare", None) or peer.Compare
    compare(ledger, platform, join_columns=KEY, df1_name="ledger", df2_name="platform").report()
    return "rows on one side, differences by column; no typos, no damaged numbers"


def splink(folder: Path) -> str:
    """Link by number, amount and seller with default training; pairs of probability one half and more."""
    import pandas as pd  # noqa: PLC0415
    import splink.comparison_library as cl  # noqa: PLC0415
    from splink import DuckDBAPI, Linker, SettingsCreator, block_on  # noqa: PLC0415

    frames = []
    for side in ("ledger", "platform"):
        frame = pd.read_parquet(folder / f"{side}.parquet")[[KEY, "seller_tax_id", "gross"]]
        frame["gross"] = frame["gross"].astype(float)
        frame["unique_id"] = range(len(frame))
        frames.append(frame)
    settings = SettingsCreator(
        link_type="link_only",
        comparisons=[
            cl.DamerauLevenshteinAtThresholds(KEY, [1]),
            cl.ExactMatch("gross"),
            cl.ExactMatch("seller_tax_id"),
        ],
        blocking_rules_to_generate_predictions=[block_on(KEY), block_on("gross", "seller_tax_id")],
    )
    api = DuckDBAPI()
    tables = [api.register(frame, dataset_display_name=name) for frame, name in zip(frames, ("l", "p"), strict=True)]
    linker = Linker(tables, settings)
    linker.training.estimate_u_using_random_sampling(max_pairs=1_000_000)
    linker.training.estimate_parameters_using_expectation_maximisation(block_on(KEY))
    pairs = linker.inference.predict(threshold_match_probability=0.5).as_pandas_dataframe()
    return _judged_pairs(pairs, folder, pd)


def _judged_pairs(pairs, folder: Path, pd) -> str:  # noqa: ANN001 - only that environment has the types
    """Say how many typos the pairs hold, and how many pairs tie different invoices."""
    truth = pd.read_parquet(folder / "truth.parquet").set_index("ledger_row")
    left, right = ("l", "r") if pairs["source_dataset_l"].iloc[0] == "l" else ("r", "l")
    known = truth.loc[pairs[f"unique_id_{left}"]]
    true = known["platform_row"].to_numpy() == pairs[f"unique_id_{right}"].to_numpy()
    typed = known["kind"].to_numpy() == "mistyped"
    total = int((truth["kind"] == "mistyped").sum())
    return f"pairs with a probability; typos {int((true & typed).sum()):,} of {total:,}, false {int((~true).sum()):,}"


TOOLS = {
    "ours": ours,
    "polars": polars,
    "analysis": analysis,
    "polars-files": polars_files,
    "ours-in-memory": ours_in_memory,
    "polars-in-memory": polars_in_memory,
    "duckdb": duckdb,
    "pandas": pandas,
    "datacompy": datacompy,
    "splink": splink,
}
IN_MEMORY = frozenset({"ours-in-memory", "polars-in-memory"})


def cpu() -> float:
    """Return the CPU seconds of this process."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def timed(tool: str, given: Any) -> dict[str, float]:  # noqa: ANN401 - a folder, or frames
    """Return wall and CPU seconds of one run."""
    began, clock = cpu(), time.perf_counter()
    TOOLS[tool](given)
    return {"wall": time.perf_counter() - clock, "cpu": cpu() - began}


def peak() -> float:
    """Return the most memory this process held so far, in MiB."""
    status = Path("/proc/self/status").read_text(encoding="ascii")  # unlike maxrss, it owes nothing to the parent
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


def in_turn(tool: str, frames: list[Any]) -> dict[str, float]:
    """Run a tool in memory and the plain join in turn."""
    pairs = [(timed(tool, frames), timed("polars-in-memory", frames)) for _ in range(TURNS)]
    figures = {name: statistics.median(mine[name] for mine, _ in pairs) for name in ("wall", "cpu")}
    ratios = {f"{name}_ratio": statistics.median(mine[name] / join[name] for mine, join in pairs) for name in figures}
    return figures | ratios


def main(tool: str, folder: Path) -> None:
    """Run one tool and print its figures."""
    given = loaded(folder) if tool in IN_MEMORY else folder
    clock = time.perf_counter()
    found = TOOLS[tool](given)
    figures = {"cpu": cpu(), "wall": time.perf_counter() - clock, "peak": peak()}
    if tool in IN_MEMORY:
        figures |= in_turn(tool, given)
    if not isinstance(found, str):
        found.write_parquet(folder / "ours.parquet")
        found = ""
    print(json.dumps(figures | {"found": found or judged(folder)}, ensure_ascii=False))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
