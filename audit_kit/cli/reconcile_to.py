"""Two files of any kind matched into a third, by the engine that suits them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl

from audit_kit.core import outputs
from audit_kit.core.errors import RequestError
from audit_kit.engines import disk
from audit_kit.rules.matching.reconcile import reconcile

if TYPE_CHECKING:
    from pathlib import Path


def reconcile_to(ledger: Path, platform: Path, out: Path, *, engine: str = "local", lang: str = "zh") -> pl.DataFrame:
    """Reconcile two files of any kind into another, and return `outcome`, `len`.

    `engine` is `local` or `spark`; Spark reads and writes parquet. Parquet files with canonical columns are used as
    they are, everything else is read first.

    Raises:
        RequestError: Spark is asked for other files than parquet, or `out` cannot be written.
    """
    direct = disk.suits(ledger) and disk.suits(platform) and out.suffix.lower() == ".parquet"
    if engine == "spark":
        if not direct:
            raise RequestError("error_cli.spark_parquet")
        try:
            from audit_kit.engines.spark import reconcile_files as on_spark
        except ImportError:
            raise RequestError("error_cli.spark_missing") from None

        with outputs.writing(out, inputs=(ledger, platform), folder=True) as made:
            on_spark(ledger, platform, made)
            parts = sorted(made.glob("*.parquet"))  # beside them Spark lays files of sums
            return pl.scan_parquet(parts, glob=False).group_by("outcome").len().collect()
    if direct:
        return disk.reconcile_files(ledger, platform, out)
    outputs.check(out, inputs=(ledger, platform))
    from audit_kit.core.words import Words
    from audit_kit.loaders.tables.pipeline import read
    from audit_kit.report.workbook import Sheet, write_table, write_workbook
    from audit_kit.report.working_papers import matched_rows

    ours, theirs = read(ledger, table="ledger").rows, read(platform, table="platform").rows
    found = reconcile(ours, theirs)
    if out.suffix.lower() == ".xlsx":
        words = Words(lang)
        sheet = Sheet(
            words("workbook.matches"), matched_rows(found, ours, theirs, words=words), words.section("workbook")
        )
        with outputs.writing(out, inputs=(ledger, platform)) as made:
            write_workbook(made, [sheet], lang=lang)
    else:
        write_table(found, out, table="matches", lang=lang, inputs=(ledger, platform))
    return found.group_by("outcome").len()
