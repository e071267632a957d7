"""The same reconciliation on a cluster: Spark partitions the rows, the unchanged rules run on every partition.

Rows are first partitioned by a hash of the last digits of their cleaned number, so that one seller with all the rows
spreads as well as many sellers. What is still open then is small. It is settled in one partition while it fits there;
beyond that by day and amount, so that no pair of candidates is split, and then by number again: see
`audit_kit.engines.partitions`.

The workers need this package and its dependencies. Outside local mode set `PYSPARK_PYTHON` to a Python that has them.
"""

from __future__ import annotations

import os
import sys
from functools import reduce
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl
import pyarrow as pa
import pyspark
from pyspark import StorageLevel
from pyspark.sql import SparkSession
from pyspark.sql import functions as F  # noqa: N812 - the name everyone knows it by
from pyspark.sql.pandas.functions import arrow_udf
from pyspark.sql.types import ArrayType, DataType, DateType, LongType, StringType, StructField, StructType

from audit_kit.core import identity, processes
from audit_kit.core.policy import MatchingPolicy
from audit_kit.engines import partitions as rounds
from audit_kit.rules.matching import comparison

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pyspark.sql import Column, DataFrame

ROWS_A_PARTITION = 125_000
"""Ledger rows in one partition: a quarter of a second of work, and well under 1 GB."""

ROWS_AT_ONCE = 2_000_000
"""Open rows that one partition can take."""

_DEFAULT = MatchingPolicy()
_ROW_BITS = 33
_SPARK_TYPES: dict[pl.DataType, DataType] = {
    pl.Int64(): LongType(),
    pl.String(): StringType(),
    pl.Date(): DateType(),
    pl.List(pl.Int64()): ArrayType(LongType()),
    pl.List(pl.String()): ArrayType(StringType()),
}
_ARROW_TYPES = {
    pl.Int64(): pa.int64(),
    pl.String(): pa.string(),
    pl.Date(): pa.date32(),
    pl.List(pl.Int64()): pa.list_(pa.int64()),
    pl.List(pl.String()): pa.list_(pa.string()),
}
_ROUND = StructType([StructField(name, _SPARK_TYPES[dtype]) for name, dtype in rounds.ROUND.items()])
_ROUND_ARROW = pa.schema([(name, _ARROW_TYPES[dtype]) for name, dtype in rounds.ROUND.items()])


def reconcile(
    ledger: DataFrame,
    platform: DataFrame,
    *,
    policy: MatchingPolicy = _DEFAULT,
    partitions: int | None = None,
    rows_at_once: int = ROWS_AT_ONCE,
) -> DataFrame:
    """Return the matches of two Spark DataFrames, exactly as `audit_kit.reconcile` gives them.

    Args:
        ledger: columns as for `audit_kit.reconcile`. A column `ledger_row` (bigint), where there is one, is carried
            into the result and sets the order; else the rows are numbered from 0 as Spark holds them.
        platform: the same, with `platform_row`.
        policy: how far amounts may differ, in yuan.
        partitions: partitions of the first round; by default one for every 125,000 ledger rows.
        rows_at_once: up to so many rows still open after the first round are settled in one partition.

    Returns:
        The columns of `schema.Matches` (rows and candidates as bigint), in order. The rows of the first round are kept
        on the executors (memory, then disk) until the session ends or the cache is cleared.

    Raises:
        RequestError: a column that is needed is not there.
    """
    for side, frame in (("ledger", ledger), ("platform", platform)):
        comparison.require_columns(frame.columns, side)
    _use_this_python(ledger)
    left, right = _numbered(ledger, "ledger_row"), _numbered(platform, "platform_row")
    partition_count = partitions or _partition_count(left)
    papers = _papers(left, right)
    left, right = (_by_number(side, papers, partition_count) for side in (left, right))

    def first_round(ledger: pa.Table, platform: pa.Table) -> pa.Table:
        return _arrow(rounds.first_round(_frame(ledger), _frame(platform), policy=policy))

    pairs = left.groupBy("partition").cogroup(right.groupBy("partition"))
    settled = pairs.applyInArrow(first_round, _ROUND).persist(StorageLevel.MEMORY_AND_DISK)
    rest = _rest(settled.filter("side is not null"), policy, partition_count, rows_at_once)
    found = [part.filter("outcome is not null").select(*rounds.DECIDED) for part in (settled, *rest)]
    both = reduce(lambda above, below: above.unionByName(below), found)
    return both.orderBy(F.asc_nulls_last("ledger_row"), F.asc_nulls_last("platform_row"))


def reconcile_files(ledger: Path, platform: Path, out: Path) -> None:
    """Reconcile two parquet files, or folders of them, into a folder of parquet files, in a session of this machine.

    Spark's own settings (`spark-defaults.conf`, `SPARK_CONF_DIR`) name another master; the columns are as for
    `reconcile`.
    """
    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    processes.clean_environment()
    if "SPARK_HOME" not in os.environ:  # else the folder above the current one is looked at first
        os.environ["SPARK_HOME"] = _spark_home()
    builder = SparkSession.builder.appName("audit-kit reconcile")
    session = builder.config("spark.ui.showConsoleProgress", "false").getOrCreate()
    try:
        found = reconcile(session.read.parquet(str(ledger)), session.read.parquet(str(platform)))
        found.write.mode("overwrite").parquet(str(out))
    finally:
        session.stop()


def _spark_home() -> str:
    """Return the Spark that came with pyspark."""
    home = Path(pyspark.__file__).parent
    return str(next((place for place in (home / "spark-distribution", home) if (place / "bin").is_dir()), home))


def _use_this_python(frame: DataFrame) -> None:
    """Let no worker import from the folder it stands in; in local mode let it run this Python, unless told another."""
    context = frame.sparkSession.sparkContext
    context.environment.update(processes.SAFE)
    if (context.master or "").startswith("local") and "PYSPARK_PYTHON" not in os.environ:
        context.pythonExec = sys.executable


def _numbered(frame: DataFrame, name: str) -> DataFrame:
    """Return the columns that matter, with times of day as Beijing wall clock and an id for each row."""
    wanted = [*identity.NUMBER_COLUMNS, "cleaning", *comparison.FIELDS]
    zoned = dict(frame.dtypes).get("issued_at") == "timestamp"
    chosen = [name for name in wanted if name in frame.columns]
    columns: list[Column] = [
        F.col(column).cast("timestamp_ntz") if column == "issued_at" and zoned else F.col(column) for column in chosen
    ]
    if name in frame.columns:
        return frame.select(F.col(name).cast("bigint").alias(name), *columns)
    tagged = frame.select(F.monotonically_increasing_id().alias("tag"), *columns)
    part = F.shiftright("tag", _ROW_BITS)
    counts = sorted(tuple(row) for row in tagged.groupBy(part.alias("part")).count().collect())
    starts: list[Column] = []
    total = 0
    for number, count in counts:
        starts += [F.lit(number), F.lit(total)]
        total += count
    start = F.create_map(*starts)[part] if starts else F.lit(0)
    within = F.col("tag").bitwiseAND(F.lit((1 << _ROW_BITS) - 1))
    return tagged.select((start + within).cast("bigint").alias(name), *chosen)


def _partition_count(ledger: DataFrame) -> int:
    """Return how many partitions the first round needs."""
    least: int = ledger.sparkSession.sparkContext.defaultParallelism
    return max(least, -(-ledger.count() // ROWS_A_PARTITION))


def _papers(ledger: DataFrame, platform: DataFrame) -> DataFrame | None:
    """Return `paper`, `canonical` of the paper 数电票 of both sides that mean one invoice; None if there are none."""
    found = []
    for side in (ledger, platform):
        if set(identity.NUMBER_COLUMNS) <= set(side.columns):
            full = [F.length(F.col(name).cast("string")) >= identity.OLD_NUMBER for name in identity.NUMBER_COLUMNS]
            rows = side.filter(reduce(lambda one, other: one & other, full)).select(*identity.NUMBER_COLUMNS)
            found.append(rows.mapInArrow(_paper_numbers, "paper string, canonical string"))
    if not found:
        return None
    known = reduce(lambda above, below: above.unionByName(below), found).distinct()
    single = known.groupBy("paper").agg(F.count("*").alias("meanings"), F.first("canonical").alias("canonical"))
    single = single.filter("meanings = 1").drop("meanings").persist(StorageLevel.MEMORY_AND_DISK)
    return None if single.isEmpty() else single


def _paper_numbers(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Read paper 数电票 from rows that carry all three numbers."""
    for batch in batches:
        papers = identity.paper_numbers(_frame(pa.Table.from_batches([batch])))
        table = papers.rename({"invoice_key": "canonical"}).to_arrow(compat_level=pl.CompatLevel.oldest())
        yield from table.cast(pa.schema([(name, pa.string()) for name in table.column_names])).to_batches()


def _by_number(side: DataFrame, papers: DataFrame | None, partition_count: int) -> DataFrame:
    """Add `canonical` (of paper 数电票 booked by code and number) and `partition`: one for all keys that end alike.

    So the numbers of which only these digits were kept meet all that they may be.
    """
    keyed = side.withColumn("key", _key(side))
    if papers is None:
        keyed = keyed.withColumn("canonical", F.lit(None).cast("string"))
    else:
        known = papers.select(F.col("paper").alias("of"), F.col("canonical").alias("canonical"))
        keyed = keyed.join(known, F.col("key") == F.col("of"), "left").drop("of")
    ending = F.substring(F.coalesce("canonical", "key"), -identity.OLD_NUMBER, identity.OLD_NUMBER)
    spread = F.xxhash64(F.coalesce(ending, F.col(side.columns[0]).cast("string")))
    return _partitioned(keyed, spread, partition_count).drop("key")


def _key(side: DataFrame) -> Column:
    """Return the cleaned key, or the digits kept of an incomplete number; Python sees only what may not be tidy."""
    names = [name for name in (*identity.NUMBER_COLUMNS, "cleaning") if name in side.columns]

    def keys(*columns: pa.Array) -> pa.Array:
        numbers = _frame(pa.table(list(columns), names=names))
        key = pl.Series([None], dtype=pl.String).extend_constant(None, numbers.height - 1)
        if any(numbers[name].null_count() < numbers.height for name in names):
            known = identity.with_key(numbers)
            tails = identity.stated_number(known)
            key = known["invoice_key"].zip_with(known["invoice_key"].is_not_null(), tails)
        return pa.array(key.to_arrow(compat_level=pl.CompatLevel.oldest())).cast(pa.string())

    # Spark reads the kind of function from its hints, and warns where it is told so, as its stubs want it.
    clean: Callable[..., Column] = arrow_udf(keys, "string")  # type: ignore[call-overload]
    if "digital_number" not in names:
        return clean(*names)
    number = F.col("digital_number").cast("string")
    tidy = F.coalesce(number.rlike("^[0-9]{20}$"), F.lit(False))  # noqa: FBT003 - a literal
    if "cleaning" in names:
        tidy &= F.coalesce(F.size("cleaning"), F.lit(0)) <= 0
    cleaned = clean(*(F.when(~tidy, F.col(name)) for name in names))
    return F.when(tidy, number).otherwise(cleaned)


def _rest(opened: DataFrame, policy: MatchingPolicy, partition_count: int, rows_at_once: int) -> list[DataFrame]:
    """Return the rounds that settle what is open: one if it fits a partition, else two."""

    def whole_rest(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        if tables := list(batches):
            rows = _frame(pa.Table.from_batches(tables))
            yield from _arrow(rounds.whole_rest(rows, policy=policy)).to_batches()

    def near_round(rows: pa.Table) -> pa.Table:
        return _arrow(rounds.near_round(_frame(rows), policy=policy))

    def last_round(rows: pa.Table) -> pa.Table:
        return _arrow(rounds.last_round(_frame(rows), policy=policy))

    rows = opened.select(*rounds.OPEN)
    if rows.count() <= rows_at_once:
        return [rows.coalesce(1).mapInArrow(whole_rest, _ROUND).persist(StorageLevel.MEMORY_AND_DISK)]
    spread = F.xxhash64("issued_at", "gross", F.when(F.col("gross").isNull(), F.col("id")))
    near = _partitioned(rows, spread, partition_count).groupBy("partition").applyInArrow(near_round, _ROUND)
    near = near.persist(StorageLevel.MEMORY_AND_DISK)
    still = near.filter("side is not null").select(*rounds.OPEN)
    spread = F.xxhash64(F.coalesce("key", F.col("id").cast("string")))
    last = _partitioned(still, spread, partition_count).groupBy("partition").applyInArrow(last_round, _ROUND)
    return [near, last.persist(StorageLevel.MEMORY_AND_DISK)]


def _partitioned(rows: DataFrame, spread: Column, partition_count: int) -> DataFrame:
    """Partition the rows by a hash: one task a partition, however the session is set."""
    partition = F.pmod(spread, F.lit(partition_count)).cast("int")
    return rows.withColumn("partition", partition).repartition(partition_count, "partition")


def _frame(table: pa.Table) -> pl.DataFrame:
    """Return a table that Spark handed over as a frame."""
    return pl.DataFrame(table).drop("partition", strict=False)


def _arrow(rows: pl.DataFrame) -> pa.Table:
    """Return a round's rows in the types that Spark declares: no string views, no large lists."""
    return rows.to_arrow(compat_level=pl.CompatLevel.oldest()).cast(_ROUND_ARROW)
