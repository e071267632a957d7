"""Runs, windows and levels on rows typed or drawn in the test; the tail of Fisher's test against scipy's."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import false_discovery_control, hypergeom

from audit_kit.rules.causes import levels as excess
from audit_kit.rules.causes import patterns
from audit_kit.rules.causes.patterns import false_discovery, fisher, in_issue_order, levels, runs, windows

START = datetime(2025, 5, 1)


def rows(missing: set[int], n: int = 2000, **other: Any) -> pl.DataFrame:
    frame = pl.DataFrame(
        {
            "ledger_row": pl.Series(range(n), dtype=pl.UInt32),
            "channel": ["网页"] * n,
            "issued_at": [START + timedelta(minutes=20 * place) for place in range(n)],
            "missing": [place in missing for place in range(n)],
            "expected": [0.01] * n,
        }
    )
    return frame.with_columns(**other)


def test_a_run_is_found_whole_and_scattered_losses_are_not() -> None:
    found = runs(rows(set(range(500, 560)) | {3, 90, 800, 801, 1500}))
    assert found.height == 1
    run = found.row(0, named=True)
    assert run["rows"] == list(range(500, 560))
    assert (run["first_row"], run["last_row"], run["missing"], run["issued"]) == (500, 559, 60, 60)
    assert run["expected"] == pytest.approx(0.6)


def test_a_stray_arrival_does_not_end_a_run() -> None:
    run = runs(rows(set(range(500, 560)) - {520})).row(0, named=True)
    assert (run["missing"], run["issued"]) == (59, 60)


def test_young_invoices_of_a_slow_channel_are_no_run() -> None:
    slow = pl.when(pl.col("ledger_row") >= 1900).then(0.995).otherwise(0.01)
    assert runs(rows(set(range(1900, 2000)), expected=slow)).is_empty()


def test_runs_follow_the_serial_not_the_clock() -> None:
    draw = np.random.default_rng(1)
    shuffled = pl.Series([START + timedelta(days=int(day)) for day in draw.integers(0, 28, 2000)])
    serial = pl.format("XS-{}", pl.col("ledger_row"))
    frame = rows(set(range(500, 560)), issued_at=shuffled, serial=serial)
    assert runs(frame.sample(fraction=1.0, shuffle=True, seed=2))["rows"].to_list() == [list(range(500, 560))]
    # Without serials the same rows lie scattered in time.
    assert runs(frame.drop("serial")).is_empty()


def test_serials_are_compared_as_numbers_and_need_one_series() -> None:
    serial = pl.Series([f"2025-{place}" for place in range(12)])
    ordered = in_issue_order(rows(set(), 12, serial=serial).reverse())
    assert ordered["serial"].to_list() == serial.to_list()
    by_day = pl.Series([f"{place % 7}-{place}" for place in range(12)])
    assert in_issue_order(rows(set(), 12, serial=by_day).reverse())["ledger_row"].to_list() == list(range(12))


def test_two_channels_have_orders_of_their_own() -> None:
    channel = pl.when(pl.col("ledger_row") % 2 == 0).then(pl.lit("网页")).otherwise(pl.lit("乐企"))
    found = runs(rows(set(range(500, 600, 2)), channel=channel))
    assert found.select("channel", "missing").rows() == [("网页", 50)]


def test_nothing_is_found_where_losses_are_independent() -> None:
    draw = np.random.default_rng(4)
    for _ in range(20):
        gone = set(np.flatnonzero(draw.random(5000) < 0.01).tolist())
        frame = rows(gone, 5000)
        assert runs(frame).is_empty()
        assert windows(frame).is_empty()


def test_a_window_is_found_within_a_half_hour_of_its_ends() -> None:
    draw = np.random.default_rng(5)
    gone = {place for place in range(600, 660) if draw.random() < 0.8}
    found = windows(rows(gone))
    assert set(found["channel"]) == {"全部", "网页"}
    best = found.row(0, named=True)
    assert abs(best["starts_at"] - (START + timedelta(minutes=20 * 600))) <= timedelta(hours=1)
    assert abs(best["ends_at"] - (START + timedelta(minutes=20 * 660))) <= timedelta(hours=2)
    assert best["missing"] >= 0.9 * len(gone)


def test_nothing_of_nothing() -> None:
    nothing = rows(set(), 5).clear()
    assert runs(nothing).is_empty()
    assert windows(nothing).is_empty()
    assert levels(nothing).is_empty()


@given(st.integers(0, 60), st.integers(0, 60), st.integers(0, 60), st.integers(0, 60))
@settings(max_examples=200, deadline=None)
def test_fisher_is_the_hypergeometric_tail(a: int, b: int, c: int, d: int) -> None:
    expected = float(hypergeom.sf(a - 1, a + b + c + d, a + c, a + b)) if a + b + c + d else 1.0
    assert fisher(a, a + b, c, c + d) == pytest.approx(expected, rel=1e-9, abs=1e-12)


@given(st.lists(st.floats(1e-12, 1), min_size=1, max_size=30))
@settings(max_examples=100, deadline=None)
def test_q_values_are_those_of_benjamini_and_hochberg(p: list[float]) -> None:
    np.testing.assert_allclose(false_discovery(pl.Series(p)), false_discovery_control(p), rtol=1e-9)


def test_a_level_at_fault_stands_out_with_its_excess() -> None:
    account = pl.format("a{}", pl.col("ledger_row") % 10)
    gone = {place for place in range(2000) if place % 10 == 3 and place % 3 == 0} | {1, 12, 25, 37, 48, 59}
    table = levels(rows(gone, account=account), ("account", "kind"))
    out = table.filter("stands_out")
    assert out["level"].to_list() == ["a3"]
    row = out.row(0, named=True)
    assert (row["issued"], row["others_missing"]) == (200, 6)
    assert row["odds_ratio"] > 100
    assert row["q"] < 1e-30
    assert row["excess"] == pytest.approx(row["missing"] - 200 * 6 / 1800)


def test_a_high_odds_ratio_alone_is_nothing() -> None:
    account = pl.format("a{}", pl.col("ledger_row") % 200)
    table = levels(rows({5, 205, 700}, account=account), ("account",))
    assert table["odds_ratio"].max() > 10
    assert not table["stands_out"].any()


def test_windows_are_the_same_beside_a_row_of_another_age_and_no_gap_is_laid_out() -> None:
    gone = set(range(500, 560))
    usual = windows(rows(gone)).drop("evidence")
    odd = rows(gone).with_columns(
        issued_at=pl.when(pl.col("ledger_row") == 1).then(datetime(1025, 5, 1)).otherwise("issued_at")
    )
    found = windows(odd).drop("evidence")
    assert found.equals(usual)
    assert found.height > 0
    assert patterns._half_hours(odd).height < 5_000


def test_only_channels_that_miss_enough_near_each_other_are_scanned(monkeypatch: pytest.MonkeyPatch) -> None:
    scanned = []
    scan = patterns._scan
    monkeypatch.setattr(patterns, "_scan", lambda name, part: scanned.append(name) or scan(name, part))
    channel = pl.format("c{}", pl.col("ledger_row") // 20)
    apart = {20 * channel + 3 * place for channel in range(90) for place in range(5)}
    found = windows(rows(apart | set(range(1900, 1915)), channel=channel))
    assert scanned == ["全部", "c95"]
    assert "c95" in found["channel"].to_list()


def test_levels_are_weighed_by_what_they_share_not_by_accounts_times_kinds(monkeypatch: pytest.MonkeyPatch) -> None:
    cells = []
    fitted = excess._noisy_or
    monkeypatch.setattr(excess, "_noisy_or", lambda member, *rest: cells.append(len(rest[0])) or fitted(member, *rest))
    n = 20_000
    draw = np.random.default_rng(3)
    account, kind = draw.integers(0, 500, n), draw.integers(0, 500, n)
    gone = ((account == 0) & (draw.random(n) < 0.5)) | ((kind == 1) & (draw.random(n) < 0.3)) | (draw.random(n) < 0.01)
    frame = pl.DataFrame({"account": account, "kind": kind, "missing": gone}).cast({"account": str, "kind": str})
    table = pl.DataFrame({"dimension": ["account", "kind", "kind"], "level": ["0", "1", "2"]})
    share = excess.blame(frame.with_columns(channel=pl.lit("网页")), table)
    assert max(cells) <= 2**3
    assert share[:2] == pytest.approx([0.5, 0.3], abs=0.2)
    assert share[2] == 0
