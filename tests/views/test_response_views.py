"""The page on the response: its answers, sheets that add up, the ladder, and nobody named who should not be."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from types import SimpleNamespace

import polars as pl
import pytest

from audit_kit.core.kept.pseudonyms import Pseudonyms
from audit_kit.core.words import LANGUAGES, Words
from audit_kit.rules.response.testimony import RANKED
from audit_kit.rules.response.tickets import TICKETS
from audit_kit.views.response import (
    answers,
    charts,
    machine_charts,
    machine_tables,
    panel,
    plan_tables,
    tables,
    trail_tables,
)
from audit_kit.views.show import masking

NOW = datetime(2025, 6, 2, 9)
FOLLOWED = (
    trail_tables.cut_over,
    trail_tables.resends,
    trail_tables.patterns,
    trail_tables.shared,
    machine_tables.episodes,
    machine_tables.coincidences,
    machine_tables.forecasts,
    plan_tables.filing,
    plan_tables.windows,
    plan_tables.plan,
)


def html(shown) -> str:
    return shown.as_raw_html() if hasattr(shown, "as_raw_html") else shown.data


def tickets(rows: list[dict]) -> pl.DataFrame:
    plain = {
        "state": "open",
        "level": "support",
        "late_reply": False,
        "late_due": False,
        "missing": 0,
        "yuan": Decimal(0),
    }
    return pl.DataFrame([plain | row for row in rows], schema=pl.Schema(TICKETS))


def test_the_answers_count_tickets_register_and_sources(page):
    said = " ".join(answers.response(page))
    audit = page.analysis.response
    assert f"工单 {audit.tickets.height} 张" in said
    assert f"手工登记 {audit.register.height} 张" in said
    assert f"核实了 {audit.testimony.height} 张发票" in said
    assert "9 时至 18 时" in said
    assert "未提供" not in said


def test_without_its_sources_the_page_says_that_it_knows_nothing(bare):
    said = " ".join(answers.response(bare))
    assert "未知" in said
    assert all(name in said for name in ("工单", "手工登记", "备用查询"))
    assert "应急预案" in said
    for shown in (tables.climb, tables.register_days, tables.register_amounts, tables.against, *FOLLOWED):
        assert re.search("未知|未另行衡量", html(shown(bare))), shown
    audit = bare.analysis.response
    for chart in (
        machine_charts.metric_lines(machine_charts.readings(audit), machine_charts.happenings(audit), why="未知"),
        machine_charts.crossing_bars(machine_charts.crossings(audit, NOW), NOW, why="未知"),
        machine_charts.resend_bars(machine_charts.sent_again(audit), has_log=False),
    ):
        assert "未知" in str(chart.to_dict())


def cells(shown) -> list[list[str]]:
    rows = re.findall(r"<tr[ >].*?</tr>|<tr>.*?</tr>", html(shown), re.DOTALL)
    return [[re.sub("<[^>]+>", "", cell) for cell in re.findall(r"<t[dh].*?</t[dh]>", row, re.DOTALL)] for row in rows]


def test_the_statement_of_the_cut_over_adds_up(page):
    rows = {line[0]: line[1:3] for line in cells(trail_tables.cut_over(page)) if len(line) == 5}
    parts = [rows[name] for name in Words("zh").section("cut_over").values() if name in rows]
    counts = [int(rows_.replace(",", "")) for rows_, _ in parts]
    yuan = [Decimal(amount.replace(",", "")) for _, amount in parts]
    assert counts[0] == sum(counts[1:5]) == page.analysis.response.statement["rows"][0] > 0
    assert yuan[0] == sum(yuan[1:5])
    assert "张数差 0，金额差 0.00 元" in html(trail_tables.cut_over(page))


def test_times_over_a_threshold_name_host_length_and_what_happened_meanwhile(english):
    audit = english.analysis.response
    shown = html(machine_tables.episodes(english))
    longest = audit.episodes.sort("minutes", descending=True).row(0, named=True)
    assert f"{longest['starts_at']:%Y-%m-%d %H:%M}" in shown
    assert f"{100 * longest['peak']:.1f} %" in shown
    assert len(cells(machine_tables.coincidences(english))) > audit.coincidences.height
    states = Words("en").section("forecast_state")
    assert all(states[state] in html(machine_tables.forecasts(english)) for state in audit.forecasts["state"])


def test_metrics_without_a_threshold_are_unknown_and_no_pass(page):
    engagement = page.whole.engagement
    bare_policy = replace(engagement.policy, metrics={})
    no_limits = SimpleNamespace(
        words=page.words, analysis=page.analysis, whole=SimpleNamespace(engagement=SimpleNamespace(
            has=engagement.has, policy=bare_policy, table=engagement.table
        )),
    )  # fmt: skip
    assert "没有设置阈值" in machine_tables.unknown_metrics(no_limits)
    network = replace(engagement.policy, metrics={"cpu": 0.9, "network": 800})
    no_limits.whole.engagement.policy = network
    assert "磁盘" in machine_tables.not_judged(no_limits)
    assert "有阈值而没有读数、因此未知的指标：网络" in machine_tables.not_judged(no_limits)


def test_every_point_of_the_plan_has_its_state(page):
    shown = html(plan_tables.plan(page))
    assert shown.count("不通过") == (page.analysis.response.plan["state"] == "fails").sum() > 0
    assert "没有替补" in shown


def test_a_chart_of_many_machines_stays_within_its_bounds(page):
    hours = pl.datetime_range(datetime(2025, 1, 1), datetime(2025, 5, 1), "1h", eager=True)
    one = pl.DataFrame({"at": hours}).with_columns(metric=pl.lit("cpu"), limit=0.9, readings=pl.lit(1, pl.UInt32))
    many = [
        one.with_columns(host=pl.lit(f"h{at}"), value=pl.lit(0.5 + at / 100)).select(
            page.analysis.response.levels.columns
        )
        for at in range(12)
    ]
    audit = replace(page.analysis.response, levels=pl.concat(many))
    drawn = machine_charts.readings(audit)
    assert drawn["series"].n_unique() == machine_charts.MOST_SERIES
    assert drawn.height <= machine_charts.MOST_POINTS
    assert "h11 CPU" in drawn["series"].to_list()


def test_the_registers_sheets_add_up_to_the_cent(english):
    rows = english.analysis.response.register
    whole = f"{rows['gross'].sum():,.2f}"
    for sheet in (tables.register_days(english), tables.register_amounts(english)):
        last = html(sheet).split("<tr>")[-1]
        assert re.findall(r">([\d,.]+)</td>", last)[:2] == [f"{rows.height:,}", whole]


def test_the_ladder_lists_what_the_next_rung_needs(english):
    shown = html(tables.climb(english))
    still = english.analysis.response.tickets.filter(pl.col("next_level").is_not_null())
    assert still.height > 0
    assert all(ticket in shown for ticket in still["ticket"])
    assert "the exact messages of the sync log" in shown


@pytest.mark.parametrize("lang", LANGUAGES)
def test_every_source_has_its_weight_and_reason(page, lang):
    shown = html(tables.weights(page.analysis.response, lang=lang))
    assert "1301" in shown
    for source in RANKED:
        assert Words(lang)(f"response_weight.{source}").split("'")[0] in shown


def test_a_tickets_speed_is_told_by_its_share_of_what_is_allowed():
    frame = tickets(
        [
            {"hours": 4.0, "allowed": 8.0, "replied_at": NOW},
            {"hours": 7.0, "allowed": 8.0, "replied_at": NOW},
            {"hours": 9.0, "allowed": 8.0, "replied_at": NOW, "late_reply": True},
            {"hours": 3.0, "allowed": 8.0},
            {"hours": 30.0, "allowed": 8.0, "late_reply": True},
            {"hours": None, "allowed": 8.0, "state": "closed"},
        ]
    )
    assert frame.select(charts.speed()).to_series().to_list() == list(charts.SPEEDS)
    assert charts.replies(frame)["rows"].sum() == frame.height


def test_a_month_has_its_own_tickets_and_earlier_ones_still_open():
    may, june = datetime(2025, 5, 1), datetime(2025, 6, 1)
    frame = tickets(
        [
            {"ticket": "a", "opened_at": datetime(2025, 4, 1), "state": "closed"},
            {"ticket": "b", "opened_at": datetime(2025, 4, 1)},
            {"ticket": "c", "opened_at": datetime(2025, 5, 1), "state": "closed"},
            {"ticket": "d", "opened_at": june},
            {"ticket": "e", "opened_at": datetime(2025, 4, 1), "handed_at": datetime(2025, 4, 2)},
        ]
    )
    assert charts.of_period(frame, may, june)["ticket"].to_list() == ["b", "c"]


def test_what_goes_up_far_from_now_counts_at_the_edge_of_the_chart():
    frame = tickets(
        [
            {"next_level": "it", "next_at": datetime(2020, 1, 1)},
            {"next_level": "it", "next_at": datetime(2024, 1, 1)},
            {"next_level": "it", "next_at": datetime(2025, 6, 3)},
        ]
    )
    drawn = charts.climbing(frame, NOW)
    assert drawn.select("when", "rows").rows() == [("past", 2), ("ahead", 1)]
    assert drawn["day"][0] == datetime(2025, 4, 3)


def test_who_wrote_and_checked_is_named_by_pseudonyms_that_stay_apart():
    people = pl.Series(["王芳", "王敏", "李强", None])
    told = masking.instead(people, "person", Pseudonyms(b"k" * 32, "zh"))
    assert set(told) == {"王芳", "王敏", "李强"}
    assert len(set(told.values())) == 3
    assert not any(name[1] in shown for name, shown in told.items())


def test_a_redacted_page_says_that_one_person_did_both_and_not_who(english):
    found = english.analysis.response_findings.filter(pl.col("cause") == "register_unchecked")
    wrote = english.analysis.response.register["entered_by"].drop_nulls().unique().to_list()
    assert found.height > 0
    assert any(name in text for text in found["evidence"] for name in wrote)
    safe = english.safe(found)["evidence"]
    assert safe.str.contains("both wrote and checked").any()
    assert not any(name in text for text in safe for name in wrote)


def test_the_panel_filters_by_rung_and_speed(page):
    shown = panel.response_panel(page)
    assert set(shown.choices) == {"rung", "said", "reply"}
    shown.choices["rung"].value = "客服"
    assert set(shown.selected["level"]) == {"support"}
