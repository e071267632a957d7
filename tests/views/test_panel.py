from __future__ import annotations

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
    assert panel.table.value.count('headers="text"') == 2
    panel.search.value = "alpha"
    assert drawn(panel) == 1
    panel.reset.click()
    assert drawn(panel) == 4
    panel.least.value = "1,5"
    assert panel.selected["amount"].to_list() == [20.0, 30.0]
    panel.least.value = "abc"
    assert panel.selected.height == 4
    panel.first.value = date(2025, 5, 3)
    assert panel.selected["amount"].to_list() == [30.0]


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
