"""Charts of the overview and of what is missing: prepared on rows typed here, drawn, and honest when empty."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, datetime
from decimal import Decimal
from types import SimpleNamespace
from typing import TYPE_CHECKING

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from audit_kit.core import schema
from audit_kit.core.errors import RequestError
from audit_kit.core.words import Words
from audit_kit.views.missing import answers as missing_answers
from audit_kit.views.missing import charts as missing_charts
from audit_kit.views.missing import pattern_charts
from audit_kit.views.overview import charts
from audit_kit.views.show import parts, theme
from audit_kit.views.sync import charts as sync_charts

if TYPE_CHECKING:
    import altair as alt


def names_of_selections(spec: dict[str, object]) -> set[str]:
    return {param["name"] for param in spec.get("params", ())}


def sizes(chart: alt.TopLevelMixin) -> list[int]:
    return [len(rows) for rows in chart.to_dict().get("datasets", {}).values()]


def money(*amounts: str) -> pl.Series:
    return pl.Series([Decimal(amount) for amount in amounts], dtype=pl.Decimal(18, 2))


@pytest.fixture(autouse=True)
def quiet():
    theme.setup("zh", batch=True)


@pytest.fixture
def small():
    # Row 2 books row 0 a second time; row 3 is missing; the platform's last row is in no ledger.
    ledger = pl.DataFrame(
        {
            "issued_at": [
                datetime(2025, 5, 1, 9),
                datetime(2025, 5, 1, 10),
                datetime(2025, 5, 2, 9),
                datetime(2025, 5, 3),
            ],
            "gross": money("100.10", "200.00", "100.10", "9999.99"),
            "channel": ["网页", "网页", "乐企", None],
            "account": ["A", "A", "B", "B"],
            "kind": ["普票"] * 4,
        }
    )
    platform = pl.DataFrame({"issued_at": [datetime(2025, 5, 1)] * 3, "gross": money("100.10", "250.00", "7.00")})
    matches = pl.DataFrame(
        {
            "ledger_row": [0, 1, 2, 3, None],
            "platform_row": [0, 1, 0, None, 2],
            "outcome": ["matched", "conflict", "duplicate", "missing", "unbooked"],
        },
        schema_overrides={"ledger_row": pl.UInt32, "platform_row": pl.UInt32, "outcome": pl.Enum(schema.OUTCOMES)},
    )
    return SimpleNamespace(ledger=ledger, platform=platform, matches=matches)


def test_every_row_of_both_sides_counts_once_and_the_money_ties(small):
    totals = charts.outcome_totals(small)
    assert totals.rows() == [
        ("ledger", "matched", 1, Decimal("100.10")),
        ("ledger", "conflict", 1, Decimal("200.00")),
        ("ledger", "duplicate", 1, Decimal("100.10")),
        ("ledger", "missing", 1, Decimal("9999.99")),
        ("platform", "matched", 1, Decimal("100.10")),
        ("platform", "conflict", 1, Decimal("250.00")),
        ("platform", "unbooked", 1, Decimal("7.00")),
    ]
    sums = dict(totals.group_by("side").agg(pl.col("yuan").sum()).iter_rows())
    assert sums == {"ledger": small.ledger["gross"].sum(), "platform": small.platform["gross"].sum()}


@given(st.lists(st.sampled_from([*schema.OUTCOMES[:5], "missing"]), min_size=1, max_size=40))
def test_totals_lose_nothing_whatever_the_outcomes(outcomes):
    count = len(outcomes)
    frame = pl.DataFrame({"gross": money(*["1.01"] * count)})
    rows = [None if outcome == "missing" else place for place, outcome in enumerate(outcomes)]
    matches = pl.DataFrame(
        {"ledger_row": range(count), "platform_row": rows, "outcome": outcomes},
        schema={"ledger_row": pl.UInt32, "platform_row": pl.UInt32, "outcome": pl.String},
    )
    totals = charts.outcome_totals(SimpleNamespace(ledger=frame, platform=frame, matches=matches))
    ledger = totals.filter(pl.col("side") == "ledger")
    assert ledger["rows"].sum() == count
    assert ledger["yuan"].sum() == Decimal("1.01") * count
    assert totals.filter(pl.col("side") == "platform")["rows"].sum() == count - outcomes.count("missing")


def test_days_hold_the_ledger_of_the_period_and_nothing_else(small):
    frame = charts.days(small, start=datetime(2025, 5, 2), end=datetime(2025, 6, 1))
    assert frame.select("day", "outcome", "rows").rows() == [
        (date(2025, 5, 2), "duplicate", 1),
        (date(2025, 5, 3), "missing", 1),
    ]


def test_a_year_is_shown_by_week_and_ten_years_by_month():
    for years, most in ((1, 54), (10, 121)):
        times = pl.datetime_range(datetime(2015, 1, 1), datetime(2015 + years, 1, 1), "1d", eager=True)
        ledger = pl.DataFrame({"issued_at": times, "gross": money(*["1.00"] * len(times))})
        matches = pl.DataFrame({"ledger_row": range(len(times)), "outcome": ["missing"] * len(times)})
        matches = matches.cast({"ledger_row": pl.UInt32})
        nothing = ledger.clear()
        matches = matches.with_columns(platform_row=pl.lit(None, pl.UInt32))
        frame = charts.days(SimpleNamespace(ledger=ledger, platform=nothing, matches=matches))
        assert frame.height <= most
        assert frame["rows"].sum() == len(times)


def test_a_chart_refuses_rows_that_were_not_aggregated():
    with pytest.raises(RequestError, match="aggregate"):
        parts.bounded(pl.DataFrame({"n": range(5001)}))


@pytest.mark.slow
def test_charts_are_linked_by_selections_that_need_no_kernel(page):
    month = {"start": page.start, "end": page.end}
    made = {
        "outcomes": charts.outcome_bar(charts.outcome_totals(page.analysis)),
        "days": charts.day_bars(charts.days(page.analysis, **month)),
        "causes": charts.cause_bars(charts.cause_totals(page.findings)),
        "where": missing_charts.where_missing(
            missing_charts.cells(page.analysis, **month), missing_charts.bands(page.analysis, **month)
        ),
        "when": missing_charts.causes_in_time(missing_charts.cause_days(page.analysis)),
    }
    selections = {name: names_of_selections(chart.to_dict()) for name, chart in made.items()}
    assert selections == {
        "outcomes": {"chosen_outcome"},
        "days": {"brushed_days", "outcome_of_days"},
        "causes": {"chosen_severity", "chosen_cause"},
        "where": {"missing_days", "missing_channel"},
        "when": {"picked_cause", "cause_days"},
    }
    assert all(rows <= parts.MOST_ROWS for chart in made.values() for rows in sizes(chart))


def test_cells_and_bands_count_every_missing_invoice_of_the_month(page):
    month = {"start": page.start, "end": page.end}
    rows = page.analysis.ledger.with_row_index("ledger_row").join(
        page.analysis.matches.filter(pl.col("outcome") == "missing").select("ledger_row"), on="ledger_row"
    )
    wanted = rows.filter(pl.col("issued_at") >= page.start, pl.col("issued_at") < page.end)
    for frame in (missing_charts.cells(page.analysis, **month), missing_charts.bands(page.analysis, **month)):
        assert frame["missing"].sum() == wanted.height
        assert frame["yuan"].sum() == wanted["gross"].sum()


def test_small_channels_are_summed_as_others_not_dropped():
    count = 60
    ledger = pl.DataFrame(
        {
            "issued_at": [datetime(2025, 5, 1, place % 24) for place in range(count)],
            "gross": money(*["10.00"] * count),
            "channel": [f"渠道{place % 9}" for place in range(count)],
        }
    )
    matches = pl.DataFrame({"ledger_row": range(count), "outcome": ["missing"] * count}).cast({"ledger_row": pl.UInt32})
    seen = pl.DataFrame(schema={"ledger_row": pl.UInt32, "channel": pl.String})
    frame = missing_charts.cells(SimpleNamespace(ledger=ledger, matches=matches, observations=seen))
    assert frame["channel"].n_unique() == missing_charts.MOST_CHANNELS + 1
    assert frame["missing"].sum() == count


def test_the_issue_axis_keeps_every_invoice_and_marks_lost_batches(page):
    frame = pattern_charts.issue_axis(page.analysis)
    largest = page.analysis.ledger.drop_nulls("channel")
    assert frame["issued"].sum() == largest.height
    lost = page.analysis.findings.filter(pl.col("cause") == "batch_lost")["ledger_row"].n_unique()
    assert frame["batch"].sum() == lost
    assert frame.filter(pl.col("end") <= pl.col("start")).is_empty()


def test_levels_that_stand_out_are_drawn_first(page):
    frame = pattern_charts.levels(page.analysis)
    assert frame["q"].is_sorted()
    spec = pattern_charts.level_odds(frame).to_dict()
    assert len(spec["hconcat"]) == 2


def test_a_doubt_of_the_platform_counts_nothing_among_the_missing(page):
    work = page.analysis
    listed = work.matches.filter(pl.col("outcome") == "matched").select("ledger_row")
    doubts = listed.with_columns(cause=pl.lit("risk_flagged"), severity=pl.lit("high"), amount=pl.lit(1))
    doubted = replace(work, findings=pl.concat([work.findings, doubts], how="diagonal_relaxed"))
    days = missing_charts.cause_days(work)
    assert missing_charts.cause_days(doubted).equals(days)
    assert "risk_flagged" not in days["cause"]
    assert pattern_charts.levels(doubted).equals(pattern_charts.levels(work))
    assert missing_answers.missing(replace(page, analysis=doubted)) == missing_answers.missing(page)


@pytest.mark.parametrize("lang", ["zh", "en"])
def test_nothing_to_draw_is_said_and_never_an_error(page, lang):
    empty = page.analysis.findings.clear()
    nothing = [
        charts.outcome_bar(charts.outcome_totals(page.analysis).clear(), lang=lang),
        charts.day_bars(charts.days(page.analysis).clear(), lang=lang),
        charts.cause_bars(charts.cause_totals(empty), lang=lang),
        charts.change_bars(charts.change_totals(page.compared.clear()), lang=lang),
        missing_charts.where_missing(
            missing_charts.cells(page.analysis).clear(), missing_charts.bands(page.analysis), lang=lang
        ),
        missing_charts.causes_in_time(missing_charts.cause_days(page.analysis, empty), lang=lang),
        pattern_charts.run_strips(pattern_charts.issue_axis(page.analysis).clear(), lang=lang),
        pattern_charts.level_odds(pattern_charts.levels(page.analysis).clear(), lang=lang),
        sync_charts.stop_bars(page.analysis.stops.clear(), lang=lang),
    ]
    for chart in nothing:
        spec = chart.to_dict()
        (data,) = spec["datasets"].values()
        assert spec["mark"]["type"] == "text"
        assert len(data[0]["sentence"]) > 5
        assert not spec.get("params")


@pytest.mark.parametrize(
    ("lang", "units", "day"), [("zh", ("亿", "万"), "%-m月%-d日"), ("en", ("B", "M", "k"), "%-d %b")]
)
def test_axes_speak_the_readers_language(lang, units, day):
    label = parts.figures_axis(Words(lang)).to_dict()["labelExpr"]
    assert all(f"+ '{unit}'" in label for unit in units)
    assert "datum.value % 1 ? ''" in label  # three invoices have no ticks at 0.5
    assert "% 1" not in parts.figures_axis(Words(lang), tickMinStep=0.01).to_dict()["labelExpr"]
    assert day in parts.days_axis(Words(lang)).to_dict()["labelExpr"]


def test_one_day_does_not_fill_the_axis():
    days = pl.Series([date(2025, 5, 3)])
    first, last = parts.days_scale(days).to_dict()["domain"]
    assert (first["date"], last["date"]) == (3, 3 + parts.FEWEST_DAYS)
    assert parts.days_scale(pl.Series([date(2025, 5, 1), date(2025, 5, 31)])).to_dict() == {}
    assert parts.days_scale(days.clear()).to_dict() == {}
