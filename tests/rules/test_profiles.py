"""Amounts and digits, gaps in old ranges only, counterparties, and tomorrow's count against what then happened."""

from __future__ import annotations

from datetime import datetime, timedelta

import numpy as np
import polars as pl
import pytest

from audit_kit.core import schema
from audit_kit.rules.causes.leads import counterparties, digit_profile, gaps
from audit_kit.rules.sync.forecast import forecast


def test_digits_that_follow_benford() -> None:
    draw = np.random.default_rng(1)
    profile = digit_profile(pl.Series(10 ** draw.uniform(1, 6, 5000)).round(2))
    assert profile.conforms is True
    assert profile.reason is None
    assert profile.table["share"].sum() == pytest.approx(1)
    assert profile.table["expected"][0] == pytest.approx(0.30103)


def test_digits_that_do_not() -> None:
    draw = np.random.default_rng(2)
    amounts = pl.Series(10 ** draw.uniform(1, 6, 5000)).round(2)
    profile = digit_profile(pl.concat([amounts, pl.Series(draw.uniform(4000, 5000, 1500)).round(2)]))
    assert profile.conforms is False
    assert profile.table.filter(pl.col("digit") == 4)["z"].item() > 5


@pytest.mark.parametrize(
    ("amounts", "reason"),
    [
        ([10.0, 200.0], "few"),
        ([100.0 + place / 10 for place in range(1000)], "narrow"),
        ([9.9, 120.0, 36000.0] * 400, "repeated"),
        ([], "few"),
    ],
)
def test_where_benford_says_nothing(amounts: list[float], reason: str) -> None:
    profile = digit_profile(pl.Series(amounts, dtype=pl.Float64))
    assert profile.reason == reason
    assert profile.conforms is None


def old(code: str, *numbers: int) -> pl.DataFrame:
    rows = [{"invoice_code": code, "invoice_number": f"{number:08d}", "source_row": place + 2}
            for place, number in enumerate(numbers)]  # fmt: skip
    return pl.DataFrame(rows, schema_overrides={"source_row": pl.UInt32})


def test_gaps_are_those_of_both_sides_in_old_ranges() -> None:
    ledger = pl.concat([old("1100251130", 1, 2, 5, 9), old("011002500111", 70, 72)])
    found = gaps(ledger, old("1100251130", 3))
    assert found.select("invoice_code", "first", "last", "absent").rows() == [
        ("011002500111", "00000071", "00000071", 1),
        ("1100251130", "00000004", "00000004", 1),
        ("1100251130", "00000006", "00000008", 3),
    ]


def test_a_long_jump_is_another_range_and_digital_numbers_have_no_gaps() -> None:
    assert gaps(old("1100251130", 1, 90_000), old("1100251130", 2)).is_empty()
    digital = pl.DataFrame({"digital_number": ["25112000000000000001", "25112000000000000009"]})
    assert gaps(digital, digital.clear()).is_empty()


def test_counterparties_by_what_is_missing() -> None:
    rows = pl.DataFrame(
        {
            "buyer_name": ["甲", "甲", "乙", "丙"],
            "gross": [10.0, 20.0, 500.0, 1.0],
            "missing": [True, True, True, False],
        }
    )
    table = counterparties(rows)
    assert table["level"].to_list() == ["乙", "甲"]
    assert table["yuan"].to_list() == [500, 30]
    assert counterparties(rows, direction="received").is_empty()


def test_tomorrow_against_what_then_happened() -> None:
    draw = np.random.default_rng(3)
    start = datetime(2025, 5, 1)
    issued = np.sort(draw.uniform(0, 29 * 1440, 30_000))
    visible = issued + 600 * np.exp(0.8 * draw.normal(size=30_000))
    visible[draw.random(30_000) < 0.02] = np.inf
    now = 28 * 1440
    known = issued <= now
    seen = visible[known] <= now
    age = now - issued[known]
    observations = pl.DataFrame(
        {
            "channel": "税控", "issued_at": [start + timedelta(minutes=float(minute)) for minute in issued[known]],
            "minutes": np.where(seen, visible[known] - issued[known], age).round(), "visible": seen, "weight": 1.0,
            "age": age.round(), "loose": age.round(), "held": 1.0,
        }
    ).with_columns(since=pl.lit(None, pl.Float64))  # fmt: skip
    row = forecast(observations, taken_at=start + timedelta(minutes=now)).row(0, named=True)
    then = now + 1440
    on_their_way = (issued <= then) & (visible > then) & np.isfinite(visible)
    came = known & (visible > now) & (visible <= then)
    assert row["waiting"] == int((~seen).sum())
    assert row["late"] == pytest.approx(on_their_way.sum(), rel=0.1)
    assert row["arriving"] == pytest.approx(came.sum(), rel=0.1)
    assert row["lower"] < row["late"] < row["upper"]


def test_tomorrow_of_nothing() -> None:
    types = {"channel": pl.String, "issued_at": pl.Datetime("us"), "minutes": pl.Float64, "visible": pl.Boolean,
             "weight": pl.Float64, "age": pl.Float64, "loose": pl.Float64, "held": pl.Float64,
             "since": pl.Float64}  # fmt: skip
    assert forecast(pl.DataFrame(schema=types), taken_at=datetime(2025, 5, 1)).is_empty()
    assert gaps(schema.empty("ledger"), schema.empty("platform")).is_empty()
