from __future__ import annotations

import re
from dataclasses import replace
from datetime import date, datetime
from zoneinfo import ZoneInfo

import altair as alt
import ipywidgets
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from audit_kit.core.errors import RequestError
from audit_kit.report.sampling.sample_workbook import read_sample, write_sample
from audit_kit.views.backups.panel import backup_panel
from audit_kit.views.grid.column_filters import passing
from audit_kit.views.missing.panel import missing_panel
from audit_kit.views.overview.panel import findings_panel
from audit_kit.views.sampling.panel import sampling_panel
from audit_kit.views.show import panel as widgets
from audit_kit.views.sync.panel import delay_panel

COLUMNS = widgets.Columns(
    choices={"channel": "渠道"},
    listed={"channel": "渠道", "amount": "金额", "text": "证据"},
    searched=("text",),
    amount="amount",
    day="at",
)
ROWS = pl.DataFrame(
    {
        "channel": ["网页", "乐企", None, "网页"],
        "amount": [10.0, 20.0, 30.0, None],
        "text": ["Alpha 甲", "beta(乙)", None, "=HYPERLINK"],
        "at": [datetime(2025, 5, 1, 23, 59), datetime(2025, 5, 2), datetime(2025, 5, 3), None],
    }
)


def chosen(channel: str | None = None, **rest: object) -> list[int]:
    rows = ROWS.with_row_index("place")
    return widgets.select(rows, widgets.Filters(chosen={"channel": channel}, **rest), COLUMNS)["place"].to_list()


def test_no_filter_leaves_everything():
    assert chosen() == [0, 1, 2, 3]


def test_each_filter_narrows_and_its_ends_are_included():
    assert chosen("网页") == [0, 3]
    assert chosen(least=20.0) == [1, 2]
    assert chosen(most=20.0) == [0, 1]
    assert chosen(first=date(2025, 5, 2)) == [1, 2]
    assert chosen(last=date(2025, 5, 1)) == [0]
    assert chosen("网页", least=5.0, last=date(2025, 5, 1)) == [0]


def test_search_is_plain_text_and_ignores_case():
    assert chosen(search=" ALPHA ") == [0]
    assert chosen(search="a(乙") == [1]
    assert chosen(search="=hyper") == [3]
    assert chosen(search=".*") == []


@given(
    st.sampled_from([None, "网页", "乐企", "无"]),
    st.one_of(st.none(), st.floats(0, 40)),
    st.one_of(st.none(), st.floats(0, 40)),
    st.text(max_size=3),
)
def test_filters_only_take_away_and_asking_twice_changes_nothing(channel, least, most, search):
    filters = widgets.Filters(chosen={"channel": channel}, least=least, most=most, search=search)
    once = widgets.select(ROWS, filters, COLUMNS)
    assert once.height <= ROWS.height
    assert widgets.select(once, filters, COLUMNS).equals(once)


@pytest.fixture
def panel():
    def draw(rows: pl.DataFrame) -> alt.Chart:
        counts = rows.group_by("channel").agg(n=pl.len())
        return alt.Chart(counts).mark_bar().encode(x="n:Q", y="channel:N")

    return widgets.Panel(ROWS, COLUMNS, draw)


def drawn(panel: widgets.Panel) -> int:
    (rows,) = panel.chart.spec["datasets"].values()
    return sum(row["n"] for row in rows)


def test_the_sentence_the_table_and_the_chart_follow_every_control(panel):
    assert "4 条" in panel.sentence.value
    panel.choices["channel"].value = "网页"
    assert "2 条，10.00 元" in panel.sentence.value
    assert drawn(panel) == 2
    assert len(panel.grid.shown["rows"]) == 2
    panel.search.value = "alpha"
    assert drawn(panel) == 1
    panel.reset.click()
    assert drawn(panel) == 4
    panel.least.value = "1,5"
    assert panel.selected["amount"].to_list() == [20.0, 30.0]
    assert panel.refused.value == ""
    panel.least.value = "<abc>"
    assert panel.selected.height == 4
    assert "“&lt;abc&gt;”不是金额" in panel.refused.value
    panel.least.value = ""
    assert panel.refused.value == ""
    panel.first.value = date(2025, 5, 3)
    assert panel.selected["amount"].to_list() == [30.0]


@pytest.mark.parametrize(
    ("text", "yuan"),
    [
        ("10000", 10_000), ("10,000.50", 10_000.5), ("1万", 10_000), (" 1.5 万元 ", 15_000), ("２亿", 2e8),
        ("¥3千", 3_000), ("￥1，000", 1_000), ("-500", -500), (".5", 0.5), ("１２,３元", 123), ("abc", None),
        ("", None), ("1万2", None), ("万", None), ("1e9", None), ("1.2.3", None), ("nan", None), ("∞", None),
    ],
)  # fmt: skip
def test_an_amount_is_read_as_it_is_written_or_not_at_all(text, yuan):
    assert widgets.amount_of(text) == yuan


def test_nothing_that_passes_is_no_assurance(page, panel):
    panel.search.value = "zzzz"
    assert "没有符合筛选条件" in panel.sentence.value
    for made in (findings_panel(page), missing_panel(page)):
        made.search.value = "zzzz"
        shown = str(made.chart.spec) + made.sentence.value
        assert shown.count("没有符合筛选条件的发现") == 2
        assert "都与平台一致" not in shown


@pytest.fixture
def long(panel):
    numbers = [f"2511200000000000{place:04d}" for place in range(130)]
    rows = pl.DataFrame(
        {"channel": ["网页"] * 130, "amount": [float(place % 7) for place in range(130)], "text": numbers}
    )
    return widgets.Panel(rows.with_columns(at=pl.lit(datetime(2025, 5, 1))), COLUMNS, panel._draw)


def hear(panel: widgets.Panel, kind: str, **rest: object) -> None:
    """Tell the table what the browser would."""
    panel.grid._handle_custom_msg({"kind": kind, **rest}, [])


def cells(panel: widgets.Panel, column: str) -> list[str]:
    return [row["cells"][column] for row in panel.grid.shown["rows"]]


def test_the_table_is_turned_page_by_page_and_every_row_is_reached(long):
    seen = []
    for page in (1, 2, 3):
        assert f"第 {page} 页，共 3 页" in long.grid.shown["place"]
        seen += cells(long, "text")
        hear(long, "turn", way="after")
    assert len(seen) == len(set(seen)) == 130
    assert long.grid.shown["page"] == 2
    hear(long, "size", rows=200)
    assert len(cells(long, "text")) == 130
    hear(long, "size", rows=10**9)
    assert long.grid.shown["size"] == 200
    long.search.value = "0007"
    assert "第 1 页，共 1 页" in long.grid.shown["place"]


def test_a_click_on_a_title_sorts_over_all_pages_back_and_then_as_found(long):
    hear(long, "sort", column="text")
    assert cells(long, "text")[0].endswith("0000")
    hear(long, "sort", column="text")
    assert cells(long, "text")[0] == "25112000000000000129"
    assert long.selected["text"].to_list() == sorted(long.selected["text"].to_list(), reverse=True)
    hear(long, "sort", column="text")
    assert long.grid.shown["sort"] == ""
    hear(long, "sort", column="amount")
    assert long.selected["amount"].to_list() == sorted(long.selected["amount"].to_list())
    hear(long, "sort", column="no such column")
    assert long.grid.shown["sort"] == "amount"
    long.reset.click()
    assert long.selected["text"][0].endswith("0000")


def test_words_are_sorted_by_rank_and_long_numbers_as_text():
    rows = ROWS.with_columns(channel=pl.Series(["低", "严重", "高", None]), text=pl.lit("25112000000000000001"))
    columns = replace(COLUMNS, order={"channel": ("严重", "高", "低")})
    made = widgets.Panel(rows, columns, lambda found: alt.Chart(found).mark_bar())
    hear(made, "sort", column="channel")
    assert cells(made, "channel") == ["严重", "高", "低", "–"]
    assert [label for label, _ in made.choices["channel"].options] == ["全部", "严重 (1)", "高 (1)", "低 (1)"]
    hear(made, "sort", column="channel")
    assert cells(made, "channel") == ["低", "高", "严重", "–"]
    assert cells(made, "text")[0] == "25112000000000000001"


@pytest.mark.parametrize(
    ("column", "text", "places"),
    [
        ("text", "ALPHA", [0]), ("text", "!a", [2, 3]), ("text", "=beta(乙)", [1]), ("text", ".*", []),
        ("amount", "20", [1]), ("amount", ">10", [1, 2]), ("amount", "≤２０", [0, 1]),
        ("amount", "15..0.003万", [1, 2]),         ("amount", "..10", [0]), ("amount", "!20", [0, 2]),
        ("at", "2025-05", [0, 1, 2]), ("at", ">2025-05-01", [1, 2]),
        ("at", "2025-05-01..2025-05-02", [0, 1]), ("at", "2025年5月3日", [2]), ("at", "<=2025-05-01", [0]),
    ],
)  # fmt: skip
def test_what_is_written_under_a_title_filters_table_and_chart(panel, column, text, places):
    kinds = {"text": "text", "amount": "money", "at": "time"}
    passed = ROWS.with_row_index("place").filter(passing(column, kinds[column], text))["place"].to_list()
    assert passed == places
    if column in COLUMNS.listed:
        hear(panel, "filter", column=column, text=text)
        assert panel.selected.equals(ROWS[places])
        assert panel.told[COLUMNS.listed[column]] == text


@pytest.mark.parametrize("text", ["abc", ">", "2025-13..", "1..x", ">1..2", "..", "<img>"])
def test_a_column_filter_that_is_none_filters_nothing_and_is_said(panel, text):
    hear(panel, "filter", column="amount", text=text)
    assert panel.selected.height == 4
    assert panel.grid.shown["wrong"] == ["amount"]
    assert "无法识别" in panel.refused.value
    assert "<img" not in panel.refused.value
    hear(panel, "filter", column="amount", text="")
    assert panel.refused.value == ""


def test_amounts_have_separators_totals_follow_and_columns_can_be_left_out(panel):
    hear(panel, "filter", column="amount", text="10..20")
    assert panel.grid.shown["totals"] == {"amount": "30.00"}
    assert sum(panel.grid.shown["bars"]["amount"]) == 2
    hear(panel, "column", column="text", on=False)
    assert panel.grid.shown["hidden"] == ["text"]
    made = widgets.Panel(ROWS.with_columns(amount=pl.lit(36000.0)), COLUMNS, panel._draw)
    assert cells(made, "amount")[0] == "36,000.00"


def test_rows_are_ticked_over_filters_and_what_is_to_be_done_is_told_with_them(panel):
    told = []
    panel.on_action(lambda name, rows: told.append((name, rows["amount"].to_list())), {"keep": "加入"})
    assert panel.picked.equals(panel.selected)
    hear(panel, "tick", place=1, on=True)
    hear(panel, "tick", place=99, on=True)
    panel.search.value = "alpha"
    assert panel.picked.equals(ROWS[[1]])
    hear(panel, "tick_all", on=True)
    assert panel.picked.equals(ROWS[[0, 1]])
    assert panel.grid.shown["is_all"]
    hear(panel, "act", name="keep")
    hear(panel, "act", name="unknown")
    hear(panel, "open", place=3)
    assert told == [("keep", [10.0, 20.0]), ("open", [None])]
    hear(panel, "tick_all", on=False)
    assert panel.picked.equals(panel.selected)


def mark(panel: widgets.Panel, name: str, value: object) -> None:
    """Click or brush in the chart, as the browser tells it."""
    panel.chart._vl_selections = {**panel.chart._vl_selections, name: {"value": value, "store": []}}


def test_a_click_in_the_chart_filters_the_table_and_the_chart_stays(page):
    made = missing_panel(page)
    made.grid.zone = "Asia/Shanghai"
    cause, rows = made.selected["cause"].value_counts(sort=True).row(0)
    spec = made.chart.spec
    mark(made, "picked_cause", {"cause": [cause], "vlPoint": {"or": [{"cause": cause}]}})
    assert made.selected["cause"].to_list() == [cause] * rows
    assert made.chart.spec is spec
    day = made.selected["issued_at"].drop_nulls().dt.date()[0]
    start = datetime(day.year, day.month, day.day, tzinfo=ZoneInfo("Asia/Shanghai")).timestamp() * 1000
    mark(made, "cause_days", {"yearmonthdate_day": [start, start + 3_600_000]})
    assert set(made.selected["issued_at"].dt.date()) == {day}
    assert "图中所选" in str(made.told)
    made.choices["level"].value = made.selected["level"][0]
    assert "图中所选" not in str(made.told)
    mark(made, "picked_cause", {})
    assert set(made.selected["level"]) == {made.choices["level"].value}


def test_findings_are_filtered_by_severity_account_kind_and_buyer(page):
    for made in (findings_panel(page), missing_panel(page)):
        assert {"level", "account", "kind", "buyer_name", "cause"} <= set(made.choices)
        assert made.grid.shown["opens"] == ""
    assert {"channel", "seen", "account", "kind", "buyer_name"} <= set(delay_panel(page).choices)


def test_a_page_and_its_panels_share_their_days(page):
    first, second = findings_panel(page), missing_panel(page)
    first.first.value = date(2025, 5, 9)
    assert second.first.value == date(2025, 5, 9)
    second.reset.click()
    assert first.first.value is None


def test_all_that_is_selected_is_saved_and_no_earlier_file_is_touched(long, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    long.least.value = "1"
    long.save.click()
    long.save.click()
    first, second = tmp_path.glob("rows-*.csv")
    assert first.read_bytes() == second.read_bytes()
    lines = first.read_text(encoding="utf-8-sig").splitlines()
    assert len(lines) == 1 + long.selected.height == 1 + 130 - 19
    assert lines[0] == "渠道,金额,证据"
    assert second.name in long.saved.value or first.name in long.saved.value


def test_a_choice_shows_how_many_rows_it_has(panel):
    assert panel.choices["channel"].options[:2] == (("全部", ""), ("网页 (2)", "网页"))


def test_what_stands_in_the_rows_is_text_and_never_markup(panel):
    rows = ROWS.with_columns(text=pl.lit("</script><img src=x onerror=alert(1)>"))
    hostile = widgets.Panel(rows, COLUMNS, panel._draw)
    assert cells(hostile, "text")[0].startswith("</script><img")  # drawn as text: see grid.js
    script = hostile.grid._esm
    assert not re.search(r"innerHTML|insertAdjacent|outerHTML|document\.write", script)


@pytest.mark.slow
@pytest.mark.parametrize("make", [findings_panel, missing_panel, delay_panel, backup_panel])
@pytest.mark.parametrize("name", ["page", "bare"])
def test_every_panel_follows_its_dropdowns_and_holds_no_output_widget(make, name, request):
    made = make(request.getfixturevalue(name))
    everything = made.selected.height
    for dropdown in made.choices.values():
        for _, value in dropdown.options[1:3]:
            dropdown.value = value
            assert 0 < made.selected.height <= everything
        dropdown.value = ""
    made.search.value = "nothing holds this text"
    assert made.selected.is_empty()
    assert made.chart.spec
    made.reset.click()
    assert made.selected.height == everything
    kinds = {type(widget) for widget in _all(made)}
    assert ipywidgets.Output not in kinds


def _all(widget: ipywidgets.Widget) -> list[ipywidgets.Widget]:
    return [widget, *(inner for child in getattr(widget, "children", ()) for inner in _all(child))]


def test_a_sample_is_drawn_shown_and_saved_from_its_panel(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    panel = sampling_panel(page, write_sample)
    panel.show()
    assert panel.save.disabled is (panel.sample is None)
    panel.tolerable.value, panel.method.value = "一万", "mus"
    panel.show()
    assert panel.save.disabled
    assert "一万" in panel.told.value
    panel.tolerable.value, panel.seed.value = "20,000", "<b>7"
    panel.show()
    assert "<b>7" not in panel.told.value
    assert "&lt;b&gt;7" in panel.told.value
    panel.keep()
    (saved,) = tmp_path.glob("sample-*.xlsx")
    assert saved.name in panel.saved.value
    with pytest.raises(RequestError, match="without an audited amount"):
        read_sample(saved)
