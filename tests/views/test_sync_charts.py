from __future__ import annotations

import json
from datetime import datetime, timedelta
from types import SimpleNamespace

import polars as pl
import pytest

from audit_kit.analysis.earlier import FINDINGS, reliability
from audit_kit.rules.sync.curves import quantiles, survival
from audit_kit.views.show import parts, theme
from audit_kit.views.sync import charts, late_charts, tables


@pytest.fixture(autouse=True)
def quiet():
    theme.setup("zh", batch=True)


def observed(*rows: tuple[str, float, bool]) -> pl.DataFrame:
    frame = pl.DataFrame(rows, schema=["channel", "minutes", "visible"], orient="row")
    return frame.with_row_index("ledger_row").cast({"minutes": pl.Float64})


def test_a_thinned_curve_passes_through_the_full_one_and_ends_where_it_ends():
    rows = observed(*[("网页", 1.0 + place * 3.7, place % 9 > 0) for place in range(600)])
    curve = survival(rows)
    steps = charts.thinned(curve, rows)
    assert steps.height < 200
    exact = curve.select(minutes=pl.col("minutes").clip(0.5), visible=1 - pl.col("survival"))
    drawn = steps.filter(pl.col("waiting") == 0).join(exact, on="minutes", suffix="_full")
    assert (drawn["visible"] - drawn["visible_full"]).abs().max() < 1e-12
    assert steps["visible"].max() == pytest.approx(1 - curve["survival"][-1])


def test_every_invoice_that_still_waits_is_a_tick_on_its_curve():
    rows = observed(*[("网页", 10.0 * place, place < 50) for place in range(1, 61)], ("税控", 5000.0, False))
    steps = charts.thinned(survival(rows), rows)
    waiting = dict(steps.group_by("channel").agg(pl.col("waiting").sum()).iter_rows())
    assert waiting == {"网页": 11, "税控": 1}
    ticks = steps.filter(pl.col("waiting") > 0, pl.col("channel") == "网页")
    assert ticks["visible"].is_between(0.8, 0.9).all()


def test_only_the_largest_channels_are_drawn():
    rows = observed(*[(f"渠道{place % 12}", 5.0 + place, True) for place in range(240)])
    steps = charts.thinned(survival(rows), rows)
    assert steps["channel"].n_unique() == charts.MOST_CHANNELS


def test_the_delay_chart_shows_target_interval_and_a_close_up(page):
    steps = charts.curve_steps(page.whole)
    spec = charts.delay_curves(steps, page.whole.quantiles, target_hours=24, target_share=0.99).to_dict()
    names = {param["name"] for param in spec["params"]}
    assert names == {"chosen_channel", "curve_floor"}
    assert any(rows == [{"target": 1440, "share": 0.99, "text": "目标"}] for rows in spec["datasets"].values())
    assert max(len(rows) for rows in spec["datasets"].values()) <= parts.MOST_ROWS


def test_a_curve_that_nobody_knows_is_said_to_be_unknown():
    rows = observed().cast({"channel": pl.String, "visible": pl.Boolean})
    curve = survival(rows)
    chart = charts.delay_curves(charts.thinned(curve, rows), quantiles(curve), target_hours=24, target_share=0.99)
    (data,) = chart.to_dict()["datasets"].values()
    assert "无法评估" in data[0]["sentence"]


def test_hours_count_late_and_issued_within_the_period_only():
    start = datetime(2025, 5, 1)
    rows = pl.DataFrame(
        {
            "ledger_row": [0, 1, 2, 3],
            "channel": ["网页"] * 4,
            "issued_at": [start, start + timedelta(minutes=5), start + timedelta(hours=2), start - timedelta(days=9)],
            "visible_at": [
                start + timedelta(minutes=10),
                start + timedelta(minutes=1505),
                start + timedelta(hours=3),
                None,
            ],
            "visible": [True, True, True, False],
            "since": [None] * 4,
            "weight": [1.0] * 4,
        }
    ).cast({"ledger_row": pl.UInt32, "since": pl.Float64})
    policy = SimpleNamespace(sync=SimpleNamespace(target_hours=24))
    findings = pl.DataFrame(schema={"cause": pl.String, "ledger_row": pl.UInt32})
    analysis = SimpleNamespace(
        observations=rows,
        findings=findings,
        engagement=SimpleNamespace(policy=policy),
        taken_at=datetime(2025, 5, 20),
    )
    frame = charts.hours(analysis, start=start, end=datetime(2025, 6, 1))
    assert frame.select("hour", "issued", "late").rows() == [(0, 2, 1), (2, 1, 0)]


def test_chances_are_counted_once_each_in_bins_that_end_below_one(page):
    frame = late_charts.late_bins(page.analysis)
    estimated = page.analysis.findings["probability_late"].drop_nulls()
    assert frame["rows"].sum() == len(estimated)
    assert frame["bin"].min() >= 0
    assert frame["bin"].max() < 1


def test_the_waiting_are_listed_longest_first_with_their_chance(page):
    frame = tables.waiting(page.analysis)
    assert frame.height == page.analysis.observations.filter(~pl.col("visible")).height
    assert frame["age"].drop_nulls().is_sorted(descending=True)
    assert frame["late"].drop_nulls().is_between(0, 100).all()
    assert set(tables.waiting_labels(frame)) <= set(frame.columns)


def test_last_months_chances_are_scored_on_what_the_ledger_still_lists(page, tmp_path):
    matched = page.whole.matches.filter(pl.col("outcome") == "matched")["invoice_key"].head(30)
    missing = page.whole.matches.filter(pl.col("outcome") == "missing")["invoice_key"].drop_nulls().head(20)
    keys = pl.concat([matched, missing])
    earlier = pl.DataFrame({"invoice_key": keys, "probability_late": [0.85] * len(keys)})
    earlier.write_parquet(tmp_path / FINDINGS)
    manifest = tmp_path / "manifest.json"
    manifest.write_text(json.dumps({"taken_at": str(page.whole.taken_at)}))
    assert reliability(page.whole, str(manifest)).is_empty()  # the same export cannot judge its own predictions
    manifest.write_text(json.dumps({"taken_at": str(page.whole.taken_at - timedelta(days=7))}))
    scored = reliability(page.whole, str(manifest))
    assert scored["rows"].to_list() == [50]
    assert scored["observed"][0] == pytest.approx(0.6)
    assert late_charts.reliability(scored).to_dict()["layer"]


def test_without_an_earlier_report_reliability_is_unknown(page):
    (data,) = late_charts.reliability(reliability(page.whole, page.previous)).to_dict()["datasets"].values()
    assert "settle" in data[0]["sentence"]


def test_the_service_level_and_its_budget_are_tables_of_every_month(page):
    level = tables.service_level(page.whole)
    text = tables.service_table(level).as_raw_html()
    assert "2025 年 5 月" in text
    assert "不通过" in text or "通过" in text
    used = tables.budget(page.whole, start=page.start, end=page.end)
    assert used["share"].sum() <= 1 + 1e-9
