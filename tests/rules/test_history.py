"""New, recurring, closed, reopened over a year, and whether an action made a cause rarer."""

from __future__ import annotations

import random
from datetime import date, datetime
from decimal import Decimal

import numpy as np
import polars as pl
import pytest

from audit_kit.rules.history import histories
from audit_kit.rules.history.shrinkage import compare

MONTHS = [f"2024-{number:02d}" for number in range(1, 13)]


def entries(rows: list[tuple[str, str, str]]) -> pl.DataFrame:
    """Entries of `month`, `item`, `seen`; each is taken at the end of its month."""
    frame = pl.DataFrame(rows, schema=["month", "item", "seen"], orient="row")
    return frame.with_columns(
        taken_at=(pl.col("month") + "-28").str.to_datetime(time_unit="us"),
        finding_id=pl.col("item"),
        area=pl.lit("missing"),
        cause=pl.lit("lost"),
        amount=pl.lit(Decimal("10.00"), pl.Decimal(18, 2)),
        own=pl.lit(value=True),
        cluster=pl.lit(None, pl.UInt32),
    )


def test_what_became_of_each_finding_is_told_by_hand():
    found, clean = histories.FOUND, histories.CLEAN
    seen = [
        ("2024-01", "a", found), ("2024-02", "a", found), ("2024-03", "a", clean), ("2024-05", "a", found),
        ("2024-01", "b", found), ("2024-04", "b", found),
        ("2024-02", "c", found), ("2024-03", "c", clean), ("2024-04", "c", clean),
        ("2024-05", "d", clean),
    ]  # fmt: skip
    random.Random(1).shuffle(seen)
    told = histories.fates(entries(seen))
    changes = {(row["item"], row["month"][-2:]): row["change"] for row in told.iter_rows(named=True)}
    assert changes == {
        ("a", "01"): "new", ("a", "02"): "recurring", ("a", "03"): "closed", ("a", "05"): "reopened",
        ("b", "01"): "new", ("b", "04"): "recurring",
        ("c", "02"): "new", ("c", "03"): "closed", ("c", "04"): None,
        ("d", "05"): None,
    }  # fmt: skip
    stands = {row["item"]: row for row in histories.standing(entries(seen)).iter_rows(named=True)}
    assert {name for name, row in stands.items() if row["is_open"]} == {"a", "b"}
    assert (stands["a"]["first_month"], stands["a"]["opened_month"]) == ("2024-01", "2024-05")
    assert stands["a"]["opened_at"] == datetime(2024, 5, 28)
    assert histories.open_rows(entries(seen), histories.standing(entries(seen)))["item"].to_list().count("b") == 1


def test_a_month_told_twice_counts_once():
    seen = entries(
        [("2024-01", "a", histories.FOUND), ("2024-01", "a", histories.FOUND), ("2024-02", "a", histories.FOUND)]
    )
    assert histories.fates(seen)["change"].to_list() == ["new", "recurring"]


def test_over_a_simulated_year_every_change_is_exactly_right():
    chance = random.Random(7)
    state: dict[str, str] = {}
    since: dict[str, str] = {}
    rows, truth, opened = [], {}, {}
    for month in MONTHS:
        for number in range(400):
            item = f"i{number:03d}"
            draw = chance.random()
            if draw < 0.35:  # not looked at
                continue
            is_found = draw < 0.55
            before = state.get(item)
            if not is_found and before is None:
                continue
            rows.append((month, item, histories.FOUND if is_found else histories.CLEAN))
            if is_found:
                change = {None: "new", "open": "recurring", "closed": "reopened"}[before]
                since[item] = month if before != "open" else since[item]
                opened[item, month] = since[item]
            else:
                change = "closed" if before == "open" else None
            truth[item, month] = change
            state[item] = "open" if is_found else "closed"
    chance.shuffle(rows)
    told = histories.fates(entries(rows))
    assert {(row["item"], row["month"]): row["change"] for row in told.iter_rows(named=True)} == truth
    since_told = {(row["item"], row["month"]): row["opened_month"] for row in told.iter_rows(named=True)}
    assert {key: since_told[key] for key in opened} == opened
    assert set(histories.standing(entries(rows)).filter("is_open")["item"]) == {
        k for k, v in state.items() if v == "open"
    }
    counts = histories.monthly(entries(rows), told).group_by("change").agg(pl.col("rows").sum())
    assert dict(counts.iter_rows()) == {
        change: sum(one == change for one in truth.values()) for change in histories.CHANGES
    }


def test_age_is_counted_in_months_over_the_year():
    since = pl.DataFrame({"since": ["2023-11", "2024-02", "2024-12"]})
    assert since.select(histories.age_months(pl.col("since"), "2024-12")).to_series().to_list() == [13, 10, 0]


def months(numbers: list[int], *, invoices: int = 3000, size: int = 1) -> pl.DataFrame:
    """One month after another, each with so many clusters of a size."""
    rows = [(f"2024-{at:02d}", count * size, count * size * size, invoices) for at, count in enumerate(numbers, 1)]
    return pl.DataFrame(rows, schema=["month", "rows", "square", "invoices"], orient="row")


def pairs(seed: int, before: float, after: float, *, size: int = 1) -> list[str]:
    chance, done = np.random.default_rng(seed), date(2024, 2, 10)
    drawn = [chance.binomial(3000, mean / 3000, 200).tolist() for mean in (before, after)]
    return [compare(months([one, 0, other], size=size), done=done).verdict for one, other in zip(*drawn, strict=True)]


def test_an_action_that_halves_a_cause_is_told_and_a_useless_one_is_not():
    assert pairs(1, 60, 30).count("shrank") >= 160
    useless = [pairs(seed, mean, mean).count("shrank") for seed, mean in ((2, 60), (3, 15))]
    assert max(useless) <= 10
    assert pairs(4, 60, 60, size=20).count("shrank") <= 10  # 1,200 invoices each, in batches of 20


def test_months_that_differ_among_themselves_ask_for_more():
    wild = [90, 5, 80, 10, 85, 0, 40, 12, 60, 3, 45, 8]
    assert compare(months(wild), done=date(2024, 6, 15)).verdict != "shrank"
    calm = [50, 45, 55, 48, 52, 0, 24, 26, 25, 22, 27, 24]
    assert compare(months(calm), done=date(2024, 6, 15)).verdict == "shrank"
    assert compare(months(calm[::-1]), done=date(2024, 7, 15)).verdict == "grew"


@pytest.mark.parametrize(
    ("numbers", "done", "verdict", "side"),
    [
        ([50, 60], None, "not_done", (2, 0)),
        ([50, 60], date(2024, 2, 3), "too_early", (1, 0)),
        ([50, 60], date(2023, 12, 3), "no_history", (0, 2)),
        ([50, 20], date(2024, 2, 1), "shrank", (1, 1)),
        ([3, 0, 1], date(2024, 2, 3), "too_few", (1, 1)),
        ([0, 0, 0], date(2024, 2, 3), "too_few", (1, 1)),
        ([60, 0, 58], date(2024, 2, 3), "not_shown", (1, 1)),
    ],
)
def test_a_verdict_is_said_only_where_it_can_be(numbers, done, verdict, side):
    told = compare(months(numbers), done=done)
    assert (told.verdict, (told.before_months, told.after_months)) == (verdict, side)
    assert (told.p is None) == (verdict in {"not_done", "too_early", "no_history"})


def test_more_invoices_afterwards_are_reckoned_with():
    more = months([50, 0, 50]).with_columns(invoices=pl.Series([3000, 3000, 9000]))
    told = compare(more, done=date(2024, 2, 10))
    assert told.verdict == "shrank"
    assert told.ratio == pytest.approx(1 / 3)
