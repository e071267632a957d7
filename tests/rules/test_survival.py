"""Curves against lifelines, against numbers worked by hand, and against what a simulation knows."""

from __future__ import annotations

import math

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lifelines import KaplanMeierFitter

from audit_kit.rules.sync import curves
from audit_kit.rules.sync.curves import mixture, quantiles, reverse_time, survival, wilson


def observed(*rows: tuple[float, bool], channel: str = "网页") -> pl.DataFrame:
    return pl.DataFrame(
        [{"channel": channel, "minutes": minutes, "visible": visible} for minutes, visible in rows],
        schema={"channel": pl.String, "minutes": pl.Float64, "visible": pl.Boolean},
    )


def test_by_hand() -> None:
    curve = survival(observed((1, True), (2, False), (3, True), (3, True), (5, False)))
    assert curve["minutes"].to_list() == [0, 1, 3, 5]
    assert curve["at_risk"].to_list() == [5, 5, 3, 1]
    assert curve["events"].to_list() == [0, 1, 2, 0]
    assert curve["survival"].to_list() == pytest.approx([1, 0.8, 0.8 / 3, 0.8 / 3])
    assert curve["method"].unique().to_list() == ["km"]


@pytest.mark.parametrize("seed", range(3))
def test_kaplan_meier_and_its_band_are_those_of_lifelines(seed: int) -> None:
    draw = np.random.default_rng(seed)
    minutes = np.round(draw.lognormal(3, 1.2, 400))
    visible = draw.random(400) < 0.7
    weight = draw.integers(1, 5, 400)
    frame = pl.DataFrame({"channel": "a", "minutes": minutes, "visible": visible, "weight": weight})
    fit = KaplanMeierFitter().fit(minutes, visible, weights=weight)
    mine = survival(frame)
    at = mine["minutes"].to_numpy()
    theirs = fit.survival_function_at_times(at).to_numpy()
    band = fit.confidence_interval_survival_function_.loc[at].to_numpy()
    inner = (theirs > 0) & (theirs < 1)
    np.testing.assert_allclose(mine["survival"].to_numpy(), theirs, rtol=0, atol=1e-9)
    np.testing.assert_allclose(mine["lower"].to_numpy()[inner], band[inner, 0], rtol=0, atol=1e-9)
    np.testing.assert_allclose(mine["upper"].to_numpy()[inner], band[inner, 1], rtol=0, atol=1e-9)


@given(st.lists(st.tuples(st.integers(0, 30), st.booleans()), min_size=1, max_size=40))
@settings(max_examples=60, deadline=None)
def test_a_counted_table_gives_what_its_rows_give(rows: list[tuple[int, bool]]) -> None:
    whole = observed(*rows)
    counted = whole.group_by("channel", "minutes", "visible").agg(weight=pl.len())
    columns = ["channel", "minutes", "survival", "lower", "upper"]
    assert survival(counted).select(columns).equals(survival(whole.reverse()).select(columns), null_equal=True)
    curve = survival(whole)["survival"]
    assert (curve.diff().drop_nulls() <= 0).all()
    assert curve.is_between(0, 1).all()


def test_quantiles_have_a_band_and_say_where_they_are_not_reached() -> None:
    curve = survival(observed(*[(minute, True) for minute in range(1, 91)], *[(95, False)] * 10))
    found = quantiles(curve, (0.5, 0.95))
    half, most = found.rows(named=True)
    assert half["minutes"] == 50
    assert half["lower"] < 50 < half["upper"]
    assert most["minutes"] is None


def test_presence_at_one_age_is_isotonic() -> None:
    # Ages 1, 2 and 3 with 1 of 2, 1 of 4 and 4 of 4 present: the first two pool to 2 of 6.
    ages = [(1, True), (1, False), (2, True), (2, False), (2, False), (2, False), *[(3, True)] * 4]
    frame = observed(*ages).with_columns(since=pl.when("visible").then(0.0))
    curve = survival(frame)
    assert curve["survival"].to_list() == pytest.approx([4 / 6, 0])
    assert curve["minutes"].to_list() == [1, 3]
    assert curve["method"].unique().to_list() == ["status"]


@pytest.mark.parametrize("half_life", [30.0, 3_000.0, math.inf])
def test_presence_is_pooled_whole_falls_at_once_or_one_by_one(half_life: float, monkeypatch) -> None:
    draw = np.random.default_rng(3)
    minutes = np.round(draw.exponential(1000, 5_000), 1)
    frame = pl.DataFrame(
        {"channel": "a", "minutes": minutes, "visible": draw.random(5_000) > 0.5 ** (minutes / half_life)}
    )
    frame = frame.with_columns(since=pl.when("visible").then(0.0))
    at_once = survival(frame)
    monkeypatch.setattr(curves, "FEW_BLOCKS", len(frame))
    assert survival(frame).equals(at_once)


@pytest.mark.slow
def test_intervals_between_exports_are_those_of_lifelines() -> None:
    draw = np.random.default_rng(1)
    low = np.floor(draw.lognormal(3, 1, 200) / 7) * 7 + draw.random(200)
    high = low + 7 + draw.random(200) * 0.3
    high[draw.random(200) < 0.2] = np.inf
    arrived = np.isfinite(high)
    frame = pl.DataFrame({"channel": "a", "minutes": np.where(arrived, high, low), "visible": arrived})
    curve = survival(frame.with_columns(since=pl.when("visible").then(pl.Series(low))))
    theirs = KaplanMeierFitter().fit_interval_censoring(low, high, tol=1e-9).survival_function_["NPMLE_estimate_lower"]
    mine = curve.filter(pl.col("minutes").is_in(theirs.index[1:-1].to_list()))
    assert curve["method"].unique().to_list() == ["interval"]
    assert mine.height > 100
    np.testing.assert_allclose(mine["survival"].to_numpy(), theirs.loc[mine["minutes"].to_list()], atol=1e-5)


def test_reverse_time_sees_past_what_was_too_young_to_be_seen() -> None:
    draw = np.random.default_rng(3)
    issued = draw.uniform(0, 7200, 60_000)
    delay = draw.lognormal(math.log(900), 1.0, 60_000)
    seen = issued + delay <= 7200
    rows = pl.DataFrame({"minutes": np.round(delay[seen]), "room": np.ceil(7200 - issued[seen])})
    curve = reverse_time(rows)
    reached = float(curve.filter(pl.col("survival") <= 0.5)["minutes"].min())  # type: ignore[arg-type]
    # The truth is the median among delays of less than the five days of the export.
    truth = float(np.median(delay[delay < 7200]))
    assert reached == pytest.approx(truth, rel=0.05)
    assert abs(float(np.median(delay[seen])) - truth) > 0.1 * truth


@pytest.mark.parametrize("since", [None, 0.0])
def test_the_mixture_finds_the_lost_share_of_delays_not_yet_over(since: float | None) -> None:
    draw = np.random.default_rng(5)
    n = 30_000
    delay = np.where(draw.random(n) < 0.6, draw.lognormal(4, 0.8, n), draw.lognormal(7, 0.7, n))
    delay[draw.random(n) < 0.03] = np.inf
    age = draw.uniform(0, 7200, n)
    visible = delay <= age
    minutes = np.where(visible, age if since is not None else delay, age)
    frame = pl.DataFrame({"minutes": minutes, "visible": visible, "weight": 1.0}).with_columns(
        since=pl.when("visible").then(pl.lit(since, pl.Float64))
    )
    fit = mixture(frame)
    assert fit.lost == pytest.approx(0.03, abs=0.006)
    truth = np.array([(delay > minute).mean() for minute in (60.0, 600.0, 3000.0)])
    np.testing.assert_allclose(fit.alive(np.array([60.0, 600.0, 3000.0])), truth, atol=0.02)


def test_the_wilson_interval_is_honest_at_the_ends() -> None:
    lower, upper = wilson(np.array([0.0, 10.0]), np.array([10.0, 10.0]))
    assert lower[0] == 0
    assert upper[0] == pytest.approx(0.2775, abs=1e-4)
    assert lower[1] == pytest.approx(1 - 0.2775, abs=1e-4)
