from __future__ import annotations

import re
from datetime import date, datetime

import altair as alt
import ipywidgets
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from audit_kit.views.backups.panel import backup_panel
from audit_kit.views.missing.panel import missing_panel
from audit_kit.views.overview.panel import findings_panel
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
    assert len(re.findall(r'headers="table-\w+-text"', panel.table.value)) == 2
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


def test_the_table_is_turned_page_by_page_and_every_row_is_reached(long):
    seen = []
    for pages in (1, 2, 3):
        assert f"第 {pages} 页，共 3 页" in long.place.value
        seen += re.findall(r"2511200000000000\d{4}", long.table.value)
        long.after.click()
    assert len(set(seen)) == 130
    assert long.after.disabled
    long.search.value = "0007"
    assert "第 1 页，共 1 页" in long.place.value


def test_the_table_is_sorted_as_asked_over_all_pages(long):
    long.order.value = ("text", True)
    assert re.search(r"2511200000000000\d{4}", long.table.value)[0].endswith("0129")
    long.order.value = ("amount", True)
    assert long.selected["amount"].to_list() == sorted(long.selected["amount"].to_list(), reverse=True)
    long.reset.click()
    assert long.selected["text"][0].endswith("0000")


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
    assert "<img" not in hostile.table.value
    assert "&lt;img" in hostile.table.value


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
