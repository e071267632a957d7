"""Sizes against the published tables, the same sample everywhere, and an interval that covers."""

from __future__ import annotations

import hashlib

import numpy as np
import polars as pl
import pytest
from scipy import stats

from audit_kit.core.errors import RequestError
from audit_kit.rules.sampling import bounds, draws, selection, sizes
from audit_kit.rules.sampling.evaluation import evaluate
from audit_kit.rules.sampling.totals import Total, fingerprint, tie


@pytest.mark.parametrize(
    ("tolerable", "expected", "confidence", "size"),
    [(0.05, 0.0, 0.95, 60), (0.05, 0.01, 0.95, 93), (0.10, 0.0, 0.90, 24), (0.02, 0.0, 0.95, 150)],
)
def test_sizes_by_money_are_those_of_the_guide(tolerable, expected, confidence, size):
    assert sizes.monetary_unit(tolerable=tolerable, expected=expected, confidence=confidence) == size


@pytest.mark.parametrize(
    ("tolerable", "expected", "confidence", "size"),
    [(0.05, 0.0, 0.95, 59), (0.05, 0.01, 0.95, 93), (0.10, 0.0, 0.95, 29), (0.05, 0.0, 0.90, 45)],
)
def test_sizes_of_attributes_are_those_of_the_guide(tolerable, expected, confidence, size):
    assert sizes.attributes(tolerable=tolerable, expected=expected, confidence=confidence) == size


def test_where_no_size_would_do_it_is_said():
    assert sizes.monetary_unit(tolerable=0.05, expected=0.05, confidence=0.95) is None
    assert sizes.confidence_factor(0, confidence=0.95) == pytest.approx(3.0, abs=0.005)
    assert sizes.confidence_factor(1, confidence=0.95) == pytest.approx(4.74, abs=0.005)


def test_the_draw_is_that_of_its_description_and_stays_so():
    first = int.from_bytes(hashlib.sha256(b"2026|random|0").digest()[:8], "big")
    assert next(draws.numbers("2026", "random")) == first
    assert draws.choose(5, 1000, seed="2026", stream="random") == [343, 524, 771, 788, 903]
    assert draws.choose(7, 5, seed="x", stream="y") == [0, 1, 2, 3, 4]
    counts = np.zeros(20)
    for seed in range(2000):
        counts[draws.choose(5, 20, seed=str(seed), stream="s")] += 1
    assert stats.chisquare(counts).pvalue > 0.001


def amounts(rng: np.random.Generator, rows: int = 2000) -> np.ndarray:
    """Lognormal amounts in cents, some red-letter, some zero."""
    cents = np.round(rng.lognormal(9.5, 1.3, rows)).astype(np.int64) + 1
    cents[rng.random(rows) < 0.04] *= -1
    cents[rng.random(rows) < 0.01] = 0
    return cents


def test_by_money_every_large_row_is_drawn_and_each_part_says_what_it_is():
    cents = amounts(np.random.default_rng(1))
    found = selection.select(pl.Series(cents), method="mus", size=80, seed="a")
    again = selection.select(pl.Series(cents), method="mus", size=80, seed="a")
    assert found.rows.equals(again.rows)
    assert not found.rows.equals(selection.select(pl.Series(cents), method="mus", size=80, seed="b").rows)
    parts = {part["part"]: part for part in found.parts.to_dicts()}
    assert sum(part["rows"] for part in parts.values()) == len(cents)
    assert sum(part["cents"] for part in parts.values()) == cents.sum()
    interval = int(cents[cents > 0].sum()) // 80
    top = found.rows.filter(pl.col("part") == "top")
    assert set(top["row"]) == set(np.flatnonzero(cents >= interval))
    assert (found.rows.filter(pl.col("part") == "negative")["cents"] < 0).all()
    assert parts["zero"]["drawn"] == min(25, int((cents == 0).sum()))
    assert (found.rows["cents"].to_numpy() == cents[found.rows["row"].to_numpy()]).all()
    assert abs(parts["positive"]["drawn"] - parts["positive"]["cents"] / interval) <= 1


def test_strata_hold_every_row_once():
    cents = amounts(np.random.default_rng(2))
    found = selection.select(pl.Series(cents), method="stratified", size=100, seed="a", top_from=400_000)
    assert found.parts["rows"].sum() == len(cents)
    assert found.parts["cents"].sum() == cents.sum()
    layers = [part for part in found.parts["part"] if part.startswith("stratum")]
    assert len(layers) == 4
    assert found.rows["row"].is_unique().all()
    assert set(found.rows.filter(pl.col("part") == "top")["row"]) == set(np.flatnonzero(np.abs(cents) >= 400_000))


@pytest.mark.parametrize("method", selection.METHODS)
@pytest.mark.parametrize("cents", [[100], [0, 0], [-500, -300], [100, 0, -100], [1, 1, 10**12]])
def test_odd_populations_are_drawn_from_and_evaluated(method, cents):
    found = selection.select(pl.Series(cents, dtype=pl.Int64), method=method, size=2, seed="s")
    assert found.parts["rows"].sum() == len(cents)
    right = evaluate(found.parts, found.rows.with_columns(audited=pl.col("cents")), confidence=0.95)
    assert right.projected == 0
    assert right.lower <= 0 <= right.upper


def test_the_mean_is_bounded_as_the_beta_distribution_has_it():
    low, high = bounds.mean_interval([0.0] * 97 + [1.0] * 3, unseen=(0.0, 1.0), confidence=0.95)
    third = bounds.UNSEEN
    assert (low, high) == pytest.approx(tuple(stats.beta.ppf([0.025, 0.975], 3 + third, 97 + third)), abs=1e-6)
    drawn = np.random.default_rng(0).dirichlet([97, 1, 1, 1, third, third], 200_000)
    expected = np.quantile(drawn @ np.array([0, 0.5, 0.2, -0.1, -1, 1]), [0.025, 0.975])
    found = bounds.mean_interval([0.0] * 97 + [0.5, 0.2, -0.1], unseen=(-1.0, 1.0), confidence=0.95)
    assert found == pytest.approx(tuple(expected), abs=4e-4)


def test_stringers_limit_is_that_of_the_textbook():
    assert bounds.stringer([], 100, confidence=0.95) == pytest.approx(0.0295, abs=1e-4)
    assert bounds.stringer([0.5], 100, confidence=0.95) == pytest.approx(0.0295 + (0.0466 - 0.0295) * 0.5, abs=1e-4)
    assert bounds.stringer([1.0], 1, confidence=0.95) == 1.0


ERRORS = {
    "over": [(0.05, lambda rng, n: rng.random(n))],
    "both": [(0.04, lambda rng, n: rng.random(n)), (0.04, lambda rng, n: -0.5 * rng.random(n))],
    "full": [(0.02, lambda _, n: np.ones(n))],
    "many": [(0.3, lambda rng, n: 0.6 * rng.random(n))],
    "mixed": [(0.05, lambda rng, n: 0.4 * rng.random(n)), (0.015, lambda _, n: np.ones(n))],
    "none": [],
}


@pytest.mark.slow
def test_the_interval_covers_the_true_error_of_500_populations():
    rng = np.random.default_rng(2026)
    covered: dict[str, list[bool]] = {kind: [] for kind in ERRORS}
    for at in range(500):
        kind = list(ERRORS)[at % len(ERRORS)] if at % 10 else "none"
        cents = amounts(rng, 1200)
        audited = cents.copy()
        for rate, taint in ERRORS[kind]:
            wrong = rng.random(len(cents)) < rate
            audited[wrong] = np.round(cents[wrong] * (1 - taint(rng, wrong.sum()))).astype(np.int64)
        found = selection.select(pl.Series(cents), method="mus", size=100, seed=str(at))
        rows = found.rows.with_columns(audited=pl.Series(audited[found.rows["row"].to_numpy()]))
        told = evaluate(found.parts, rows, confidence=0.95)
        covered[kind].append(told.lower <= int((cents - audited).sum()) <= told.upper)
    shares = {kind: float(np.mean(hits)) for kind, hits in covered.items()}
    assert all(shares[kind] >= 0.88 for kind in ERRORS), shares
    assert shares["none"] == 1
    with_errors = [hit for kind, hits in covered.items() if kind != "none" for hit in hits]
    assert 0.90 <= np.mean(with_errors) <= 0.99, shares


def test_a_conclusion_is_drawn_only_as_far_as_the_interval_reaches():
    found = selection.select(pl.Series([1000] * 500), method="mus", size=100, seed="a")
    right = found.rows.with_columns(audited=pl.col("cents"))
    wide = evaluate(found.parts, right, confidence=0.95, tolerable_cents=50_000)
    assert wide.conclusion == "acceptable"
    assert evaluate(found.parts, right, confidence=0.95, tolerable_cents=1_000).conclusion == "unclear"
    wrong = found.rows.with_columns(audited=pl.lit(0, pl.Int64))
    assert evaluate(found.parts, wrong, confidence=0.95, tolerable_cents=50_000).conclusion == "exceeds"
    assert evaluate(found.parts, right, confidence=0.95).conclusion == "no_limit"


def test_a_population_that_was_filtered_without_saying_so_is_refused():
    tie(Total("ledger", 10, 1000), [Total("x", 2, 100)], Total("population", 8, 900))
    for population in (Total("p", 7, 900), Total("p", 8, 899)):
        with pytest.raises(RequestError, match="does not tie"):
            tie(Total("ledger", 10, 1000), [Total("x", 2, 100)], population)
    rows = pl.DataFrame({"source_file": ["a", "a"], "source_row": [1, 2], "invoice_key": ["k", None], "cents": [5, 6]})
    assert fingerprint(rows) == hashlib.sha256(b"a\t1\tk\t5\na\t2\t\t6\n").hexdigest()
