"""Spark gives exactly what one machine gives: real Spark, in local mode."""

from __future__ import annotations

import random
from datetime import datetime
from decimal import Decimal

import polars as pl
import pytest
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

import audit_kit.engines.spark
from audit_kit.core.errors import RequestError
from audit_kit.rules.matching.reconcile import reconcile

pytestmark = pytest.mark.slow
SELLER, OTHER = "91110108MA00000001", "91110108MA00000002"
COLUMNS = {
    "digital_number": pl.String,
    "invoice_number": pl.String,
    "invoice_code": pl.String,
    "issued_at": pl.Datetime("us"),
    "gross": pl.Decimal(18, 2),
    "seller_tax_id": pl.String,
}


@pytest.fixture(scope="module")
def session():
    builder = SparkSession.builder.master("local[2]").appName("audit-kit tests")
    settings = {
        "spark.ui.enabled": "false",
        "spark.ui.showConsoleProgress": "false",
        "spark.sql.shuffle.partitions": "4",
        "spark.sql.session.timeZone": "Asia/Shanghai",
    }
    for name, value in settings.items():
        builder = builder.config(name, value)
    spark = builder.getOrCreate()
    yield spark
    spark.stop()


def book(*rows: tuple) -> pl.DataFrame:
    """Rows of the 20 digits (or a pair of code and number), day of May, yuan, seller."""
    full = []
    for numbers, *rest in rows:
        day, gross, seller = [*rest, *[6, 100, SELLER][len(rest) :]]
        digital, code, number = numbers if isinstance(numbers, tuple) else (numbers, None, None)
        full.append((digital, number, code, datetime(2025, 5, day, 9, 30), Decimal(gross), seller))
    return pl.DataFrame(full, schema=COLUMNS, orient="row")


def serial(number: int) -> str:
    return f"25112{number:015d}"


def hand_over(session: SparkSession, frame: pl.DataFrame, parts: int) -> DataFrame:
    table = frame.to_arrow(compat_level=pl.CompatLevel.oldest())
    return session.createDataFrame(table).repartition(parts)


def from_spark(frame: DataFrame, like: pl.DataFrame) -> pl.DataFrame:
    return pl.DataFrame(frame.toArrow()).cast(dict(like.schema))


def with_ids(ledger: pl.DataFrame, platform: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    named = ((ledger, "ledger_row"), (platform, "platform_row"))
    first, second = (side.with_columns(pl.int_range(pl.len()).alias(name)) for side, name in named)
    return first, second


def every_case() -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return books in which everything happens that two partitions could separate."""
    ledger = book(
        (serial(1),),
        (serial(1),),
        (serial(2), 6, 250),
        (f"'{serial(3)}",),
        (serial(1_000_021), 6, 310),
        (serial(501), 7, 99),
        (serial(502), 7, 99),
        (serial(60), 6, 60),
        (serial(6), 6, 1),
        ("2.51120000000777E+19", 8, 70),
        ((None, "011002300211", "12345678"), 9, 12),
        ((None, "251120000000", "00000010"), 9, 13),
        ((None, "11002300211", "1234567"), 9, 14),
        (serial(77), 6, 100, OTHER),
        (serial(900), 6, 5),
        (None, 6, 5),
        (serial(78),),
        (serial(903),),
        ((None, None, "00000444"), 10, 44),
        ((None, None, "555"), 10, 55),
        ((None, None, "00000010"), 9, 13),
        ("55555", 10, 55),
        ("2.5112000000000053248E+19", 11, 7),
    )
    undated = pl.col("digital_number").is_in([serial(78), serial(903)]).fill_null(value=False)
    ledger = ledger.with_columns(issued_at=pl.when(~undated).then("issued_at"))
    platform = book(
        (serial(1),),
        (serial(2), 6, 251),
        (serial(3),),
        (serial(1_000_012), 6, 310),
        (serial(511), 7, 99),
        (serial(512), 7, 99),
        (serial(6), 6, 60),
        (serial(77_712_345), 8, 70),
        ((serial(88), "011002300211", "12345678"), 9, 12),
        (serial(10), 9, 13),
        ((None, "011002300211", "01234567"), 9, 14),
        (serial(77), 6, 100, SELLER),
        (serial(1),),
        (serial(901), 6, 5, OTHER),
        (serial(78),),
        (serial(444), 10, 44),
        (serial(500_000_000_000 + 444), 10, 45),
        ((None, "011002300211", "00055555"), 10, 55),
        (serial(53_248), 11, 7),
    )
    return ledger, platform


@pytest.mark.slow
@pytest.mark.parametrize("rows_at_once", [0, 1000])
def test_every_outcome_is_that_of_one_machine(session: SparkSession, rows_at_once: int):
    ledger, platform = every_case()
    alone = reconcile(ledger, platform)
    assert set(alone["outcome"]) == set(alone["outcome"].dtype.categories)
    left, right = (hand_over(session, side, 3) for side in with_ids(ledger, platform))
    found = audit_kit.engines.spark.reconcile(left, right, partitions=5, rows_at_once=rows_at_once)
    assert from_spark(found, alone).rows() == alone.rows()


@pytest.mark.slow
def test_rows_without_ids_are_numbered_as_spark_holds_them(session: SparkSession):
    ledger, platform = every_case()
    left, right = hand_over(session, ledger, 3).persist(), hand_over(session, platform, 2).persist()
    held = [pl.DataFrame(side.toArrow()) for side in (left, right)]
    alone = reconcile(*held)
    assert from_spark(audit_kit.engines.spark.reconcile(left, right, partitions=3), alone).rows() == alone.rows()


@pytest.mark.slow
def test_given_ids_are_carried_and_set_the_order(session: SparkSession):
    ledger = book((serial(5),), (serial(5),)).with_columns(ledger_row=pl.Series([900, 17]))
    platform = book((serial(5),)).with_columns(platform_row=pl.Series([10**12]))
    found = audit_kit.engines.spark.reconcile(hand_over(session, ledger, 1), hand_over(session, platform, 1))
    assert [tuple(row) for row in found.select("ledger_row", "platform_row", "outcome").collect()] == [
        (17, 10**12, "matched"),
        (900, 10**12, "duplicate"),
    ]


@pytest.mark.slow
def test_one_seller_with_all_the_rows_spreads_over_partitions(session: SparkSession):
    ledger = book(*((serial(number),) for number in range(2_000)))
    left = audit_kit.engines.spark._numbered(hand_over(session, ledger, 2), "ledger_row")
    spread = audit_kit.engines.spark._by_number(left, None, 8)
    sizes = [row["count"] for row in spread.groupBy("partition").count().collect()]
    assert len(sizes) == 8
    assert max(sizes) < 1.3 * 2_000 / 8


@pytest.mark.slow
def test_random_books_with_wrong_tax_ids_ties_and_duplicates(session: SparkSession):
    dice = random.Random(7)
    rows = [(serial(dice.choice([1, 10, 100, 1000]) * n % 700), 6 + n % 2, dice.choice([100, 250])) for n in range(900)]
    wrong = [(number, day, gross, dice.choice([SELLER, SELLER, OTHER])) for number, day, gross in rows]
    typed = [
        (number[:19] + str(dice.randrange(10)) if dice.random() < 0.1 else number, *rest) for number, *rest in wrong
    ]
    ledger, platform = book(*typed), book(*dice.sample(rows, 850))
    alone = reconcile(ledger, platform)
    assert {"ambiguous", "mistyped", "duplicate", "conflict"} <= set(alone["outcome"])
    left, right = (hand_over(session, side, 4) for side in with_ids(ledger, platform))
    for rows_at_once in (0, 10_000):
        found = audit_kit.engines.spark.reconcile(left, right, partitions=6, rows_at_once=rows_at_once)
        assert from_spark(found, alone).rows() == alone.rows()


@pytest.mark.slow
def test_times_with_a_zone_fall_on_the_day_of_the_session(session: SparkSession):
    ledger = book((serial(1), 6)).with_columns(issued_at=pl.lit(datetime(2025, 5, 6, 0, 30)))
    platform = book((serial(1), 6))
    left = hand_over(session, ledger, 1).withColumn("issued_at", F.col("issued_at").cast("timestamp"))
    found = audit_kit.engines.spark.reconcile(left, hand_over(session, platform, 1)).collect()
    assert [row["outcome"] for row in found] == ["matched"]


def test_a_missing_column_is_named(session: SparkSession):
    ledger, platform = (hand_over(session, side, 1) for side in every_case())
    with pytest.raises(RequestError, match="ledger has no column gross"):
        audit_kit.engines.spark.reconcile(ledger.drop("gross"), platform)
