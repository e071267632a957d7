"""Pages and their answers, on a full engagement, in English and redacted, and with ledger and platform only."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from datetime import datetime

import polars as pl
import pytest

from audit_kit.core import places
from audit_kit.core.errors import RequestError
from audit_kit.views.backups.answers import backups
from audit_kit.views.missing import tables as missing_tables
from audit_kit.views.missing.answers import missing
from audit_kit.views.overview import charts, periods
from audit_kit.views.overview import tables as overview_tables
from audit_kit.views.overview.answers import OPTIONAL, overview
from audit_kit.views.show import choices
from audit_kit.views.show import page as pages
from audit_kit.views.show.sentences import unknown_sources
from audit_kit.views.sync.answers import delays

ABSENT = ("同步日志", "账号权限", "系统公告", "操作日志", "备用查询", "备份目录")


def test_a_page_is_one_month_with_its_bounds(page):
    assert (page.start, page.end) == (datetime(2025, 5, 1), datetime(2025, 6, 1))
    inside = page.analysis.ledger["issued_at"].drop_nulls()
    assert inside.max() < page.end
    parts = (page.analysis.findings, page.analysis.backup_findings, page.analysis.response_findings)
    assert page.findings.height == sum(part.height for part in parts)


def test_without_a_month_it_is_the_ledgers_latest(engagement):
    opened = pages.open_page(str(engagement))
    assert opened.month == "2025-05"
    assert opened.parameters["month"] == "2025-05"


def test_without_an_engagement_it_is_the_one_the_lab_was_given_or_the_sample(engagement, monkeypatch):
    monkeypatch.setenv(pages.ENGAGEMENT, str(engagement))
    assert pages.open_page("").whole.engagement.folder == engagement
    assert (places.sample() / "audit.toml").is_file()


def test_a_month_that_is_none_is_refused(engagement):
    with pytest.raises(RequestError, match="2025-5x"):
        pages.open_page(str(engagement), month="2025-5x")


@pytest.fixture(scope="module")
def year(engagement):
    return pages.open_page(str(engagement), month="2025")


@pytest.fixture(scope="module")
def everything(bare_engagement):
    return pages.open_page(str(bare_engagement), month="all")


def test_a_page_is_a_year_or_everything(year, everything):
    assert (year.start, year.end, year.month) == (datetime(2025, 1, 1), datetime(2026, 1, 1), "2025")
    assert (everything.start, everything.end) == (None, None)
    assert everything.analysis is everything.whole
    assert pages.open_page(str(everything.whole.engagement.folder), month="2025-5").month == "2025-05"


def test_the_missing_are_listed_and_no_others(page, year):
    for opened in (page, year):
        rows = missing_tables.of_missing(opened.analysis)
        gone = opened.analysis.matches.filter(pl.col("outcome") == "missing")
        assert sorted(rows["ledger_row"]) == sorted(gone["ledger_row"])
        assert rows.height < opened.analysis.findings.height


def test_the_months_and_the_tie_are_drawn(page, year, everything):
    for opened in (page, year, everything):
        lines = periods.lines(opened)
        assert lines["ledger_rows"].sum() == opened.whole.ledger.height
        drawn = overview_tables.months(lines, lang=opened.lang).as_raw_html()
        assert f"{opened.whole.ledger.height:,}" in drawn
        assert opened.words.month(opened.whole.ledger["issued_at"].max().strftime("%Y-%m")) in drawn
        before = charts.before_totals(opened.analysis, start=opened.start)
        totals = charts.outcome_totals(opened.analysis, start=opened.start, end=opened.end)
        tie = overview_tables.tie(totals, before=before, lang=opened.lang).as_raw_html()
        assert ("此前月份仍未解决" in tie) == (before["ledger"][0] > 0)


def test_of_many_months_those_outside_are_summed_by_year(page):
    days = [datetime(2019 + place // 12, place % 12 + 1, 5) for place in range(76)]
    ledger = page.whole.ledger.head(76).with_columns(issued_at=pl.Series(days, dtype=pl.Datetime("us")))
    matches, findings = page.whole.matches.clear(), page.whole.findings.clear()
    whole = replace(page.whole, ledger=ledger, matches=matches, findings=findings)
    lines = periods.lines(replace(page, whole=whole, analysis=whole, month="2024-03")).filter(pl.col("ledger_rows") > 0)
    months = [f"2024-{number:02d}" for number in range(1, 13)]
    assert lines["month"].to_list() == ["2019", "2020", "2021", "2022", "2023", *months, "2025"]
    assert lines.filter(pl.col("place") == "within")["month"].to_list() == ["2024-03"]
    assert lines["ledger_rows"].sum() == 76
    whole_years = periods.lines(replace(page, whole=whole, analysis=whole, month="all"))
    assert whole_years.filter(pl.col("ledger_rows") > 0)["month"].to_list() == [str(year) for year in range(2019, 2026)]


@pytest.mark.parametrize("name", ["page", "english", "bare", "year", "everything"])
@pytest.mark.parametrize("answer", [overview, delays, missing, backups])
def test_every_page_opens_with_sentences_in_words_and_numbers(name, answer, request):
    opened = request.getfixturevalue(name)
    lines = answer(opened)
    assert lines
    for line in lines:
        assert line.strip().endswith(("。", "."))
        assert "{" not in line
        assert "None" not in line
        assert "nan" not in line.lower().split()
    text = " ".join(lines)
    if name == "english":
        files = {str(file) for file in opened.whole.files["source_file"]}
        for file in files:
            text = text.replace(file, "")
        assert len(re.findall("[\u4e00-\u9fff]", text)) < 60  # channel names and titles of notices stay as they are


def test_the_overview_counts_what_the_matches_hold(page):
    text = " ".join(overview(page))
    gone = page.analysis.matches.filter(pl.col("outcome") == "missing").height
    own = page.whole.ledger.filter(page.scope.holds().fill_null(value=True))
    assert f"台账 {own.height:,} 张、{own['gross'].sum():,.2f} 元" in text
    assert f"看不到 {gone} 张" in text


def test_sources_that_are_not_there_are_named_and_never_a_pass(bare):
    (line,) = [line for line in overview(bare) if "未提供：" in line]
    assert all(name in line for name in ABSENT)
    assert "不算通过" in line
    assert "未知" in backups(bare)[0]


def test_every_optional_source_is_there_on_a_full_engagement(page):
    assert unknown_sources(page, OPTIONAL) == ""


def test_a_redacted_page_hides_names_inside_evidence_too(english):
    shown = english.safe(english.findings)
    names = english.analysis.ledger["buyer_name"].drop_nulls().unique()
    long = [name for name in names if len(name) > 4]
    text = "\n".join(shown["evidence"].drop_nulls())
    assert [name for name in long if name in text] == []


def test_an_open_page_shows_names_as_they_are(page):
    shown = page.safe(page.analysis.ledger.with_row_index("ledger_row"))
    assert shown["buyer_name"].to_list() == page.analysis.ledger["buyer_name"].to_list()


def test_a_party_that_only_a_paper_names_is_hidden(tmp_path, monkeypatch):
    monkeypatch.setenv("AUDIT_KIT_CACHE", str(tmp_path / "cache"))
    head = "数电发票号码,开票日期,价税合计,购方识别号,购买方名称"
    rows = [f"25112{n:015d},2025-05-0{1 + n % 9} 10:00:00,{n}.00,91110108MA01ABCD1X,本公司" for n in range(1, 41)]
    files = {
        "platform.csv": [head, *rows[1:]],
        "ledger.csv": [head, *rows],
        "sister_exports/乙.csv": [
            head,
            rows[0].replace("91110108MA01ABCD1X,本公司", "91110105MA02WXYR3K,某某姐妹公司"),
        ],
    }
    for name, lines in files.items():
        (tmp_path / "e" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "e" / name).write_text("\n".join(lines), encoding="utf-8")
    settings = (
        '[engagement]\ntaxpayer_id = "91110108MA01ABCD1X"\ndirection = "received"\ntaken_at = 2025-06-01T09:00:00\n'
    )
    (tmp_path / "e" / "audit.toml").write_text(settings, encoding="utf-8")
    told = {}
    for redact in (True, False):
        page = pages.open_page(str(tmp_path / "e"), redact=redact)
        one = page.findings.filter(pl.col("cause") == "issued_to_other")
        told[redact] = page.safe(one)["evidence"].item()
    assert "某某姐妹公司 91110105MA02WXYR3K" in told[False]
    assert not [word for word in ("姐妹", "91110105MA02WXYR3K", "乙.csv") if word in told[True]]


def test_the_lists_of_the_lab_name_every_month_and_engagement_and_stand_nowhere_else(
    page, english, tmp_path, monkeypatch
):
    monkeypatch.delenv(choices.COPIES, raising=False)
    assert choices.lists(page).data == ""
    home = tmp_path / "home"
    here = page.whole.engagement.folder.resolve()
    hostile = tmp_path / "<b>2024"
    for key, folder in (("11111111", here), ("22222222", hostile)):
        folder.mkdir(exist_ok=True)
        place = home / f"2024-{key}"
        place.mkdir(parents=True)
        (place / choices.FIRST).write_text("{}")
        (place / choices.RECORD).write_text(json.dumps({"engagement": str(folder)}))
    monkeypatch.setenv(choices.COPIES, str(home))
    text = choices.lists(page).data
    months = page.whole.ledger["issued_at"].dt.strftime("%Y-%m").drop_nulls().unique()
    years = months.str.head(4).unique()
    assert set(re.findall(r'<option value="(20[^"]*)"', text)) == {*months, *years}
    assert '<option value="2025-05" selected>2025-05（' in text
    assert f'<option value="/lab/workspaces/11111111/tree/2024-11111111/{choices.FIRST}" selected>' in text
    assert "&lt;b&gt;2024" in text
    assert "<b>2024" not in text
    assert "engagement" not in choices.lists(english).data  # redacted: other clients' names are not shown
