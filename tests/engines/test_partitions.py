"""However the rows are divided, the answer is that of one machine."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from audit_kit.core import identity
from audit_kit.engines import partitions
from audit_kit.rules.matching.reconcile import reconcile

pytestmark = pytest.mark.slow

COLUMNS = {
    "digital_number": pl.String,
    "invoice_number": pl.String,
    "invoice_code": pl.String,
    "issued_at": pl.Datetime("us"),
    "gross": pl.Decimal(18, 2),
    "seller_tax_id": pl.String,
}
NUMBERS = st.sampled_from(
    [
        ("25112000000000000001", None, None),
        ("25112000000000000002", None, None),
        ("25112000000000000012", None, None),
        ("25112000000000000021", None, None),
        ("'25112000000000000001", None, None),
        ("2.51120000000000E+19", None, None),
        (None, "12345678", "011002300211"),
        (None, "12345687", "011002300211"),
        ("25112000000000000003", "12345678", "011002300211"),
        ("25112000000000000004", "12345678", "011002300311"),
        (None, "00000001", "251120000000"),
        (None, "1234567", "1100233130"),
        (None, "00000001", None),
        ("00000012", None, None),
        (None, "12345678", None),
        ("25113000000000000001", None, None),
        ("2.5112000000000053248E+19", None, None),
        ("25112000000000053248", None, None),
        (None, None, None),
    ]
)
ROWS = st.tuples(
    NUMBERS,
    st.sampled_from([6, 6, 7]),
    st.sampled_from([100, 100, 250, None]),
    st.sampled_from(["甲", "甲", "丙", None]),
)


def book(rows: list) -> pl.DataFrame:
    return pl.DataFrame(
        [
            (*numbers, datetime(2025, 5, day), None if gross is None else Decimal(gross), seller)
            for numbers, day, gross, seller in rows
        ],
        schema=COLUMNS,
        orient="row",
    )


def divided(rows: pl.DataFrame, by: list, partition_count: int) -> list[pl.DataFrame]:
    where = pl.Series([hash(value) % partition_count for value in by], dtype=pl.Int64)
    return [rows.filter(where == partition) for partition in range(partition_count)]


def with_canonical(ledger: pl.DataFrame, platform: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    papers = pl.concat([identity.paper_numbers(side) for side in (ledger, platform)]).unique()
    papers = papers.filter(pl.len().over("paper") == 1)
    sides = []
    for side, name in ((ledger, "ledger_row"), (platform, "platform_row")):
        cleaned = identity.with_key(side)
        own = cleaned["invoice_key"]
        known = dict(papers.rows())
        tails = identity.stated_number(cleaned)
        canonical = pl.Series("canonical", [known.get(key) for key in own], dtype=pl.String)
        sides.append(
            side.with_row_index(name).with_columns(canonical, end=pl.coalesce(canonical, own, tails).str.tail(8))
        )
    return sides[0], sides[1]


def in_partitions(ledger: pl.DataFrame, platform: pl.DataFrame, partition_count: int, *, at_once: bool) -> pl.DataFrame:
    left, right = with_canonical(ledger, platform)
    lefts, rights = (divided(side.drop("end"), side["end"].to_list(), partition_count) for side in (left, right))
    settled = pl.concat(partitions.first_round(*sides) for sides in zip(lefts, rights, strict=True))
    rest = settled.filter(pl.col("side").is_not_null()).select(*partitions.OPEN)
    if at_once:
        found = [settled, partitions.whole_rest(rest)]
    else:
        blocks = rest.select("issued_at", "gross").rows()
        near = pl.concat(partitions.near_round(rows) for rows in divided(rest, blocks, partition_count))
        still = near.filter(pl.col("side").is_not_null()).select(*partitions.OPEN)
        last = [partitions.last_round(rows) for rows in divided(still, still["key"].to_list(), partition_count)]
        found = [settled, near, *last]
    decided = pl.concat(part.filter(pl.col("outcome").is_not_null()) for part in found)
    return decided.select(*partitions.DECIDED).sort("ledger_row", "platform_row", nulls_last=True)


@pytest.mark.parametrize("at_once", [True, False])
@settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.too_slow])
@given(ledger=st.lists(ROWS, max_size=10).map(book), platform=st.lists(ROWS, max_size=10).map(book))
def test_partitions_give_the_answer_of_one_machine(ledger: pl.DataFrame, platform: pl.DataFrame, at_once: bool):
    found = in_partitions(ledger, platform, 3, at_once=at_once)
    assert found.rows() == reconcile(ledger, platform).rows()
