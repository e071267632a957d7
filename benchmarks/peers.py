"""One measured run: `peers.py TOOL FOLDER` reconciles ledger.parquet and platform.parquet, the tool's own way.

The last line on stdout is JSON: `cpu` seconds of this process, `peak` MiB, `found` in words.
"""

from __future__ import annotations

import json
import resource
import sys
from pathlib import Path

KEY = "digital_number"


def ours(folder: Path) -> str:
    """audit-kit reconcile, from parquet to parquet; judged by the truth afterwards, outside the figures."""
    from audit_kit.volumes import reconcile_files  # noqa: PLC0415 - each run pays for its own imports only

    reconcile_files(folder / "ledger.parquet", folder / "platform.parquet", folder / "ours.parquet")
    return ""


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


if __name__ == "__main__":
    tool, where = sys.argv[1], Path(sys.argv[2])
    found = {
        "ours": ours,
        "polars": polars,
        "duckdb": duckdb,
        "pandas": pandas,
        "datacompy": datacompy,
        "splink": splink,
    }[tool](where)
    usage = resource.getrusage(resource.RUSAGE_SELF)
    status = Path("/proc/self/status").read_text(encoding="ascii")  # unlike maxrss, it owes nothing to the parent
    peak = int(status.split("VmHWM:")[1].split()[0]) / 1024
    figures = {"cpu": usage.ru_utime + usage.ru_stime, "peak": peak}
    print(json.dumps(figures | {"found": found or judged(where)}, ensure_ascii=False))
