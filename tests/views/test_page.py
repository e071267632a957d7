"""Pages and their answers, on a full engagement, in English and redacted, and with ledger and platform only."""

from __future__ import annotations

import re
from datetime import datetime

import polars as pl
import pytest

from audit_kit.core import places
from audit_kit.core.errors import RequestError
from audit_kit.views.backups.answers import backups
from audit_kit.views.missing.answers import missing
from audit_kit.views.overview.answers import OPTIONAL, overview
from audit_kit.views.show import page as pages
from audit_kit.views.show.sentences import unknown_sources
from audit_kit.views.sync.answers import delays

ABSENT = ("同步日志", "账号权限", "系统公告", "操作日志", "备用查询", "备份目录")


def test_a_page_is_one_month_with_its_bounds(page):
    assert (page.start, page.end) == (datetime(2025, 5, 1), datetime(2025, 6, 1))
    inside = page.analysis.ledger["issued_at"].drop_nulls()
    assert inside.max() < page.end
    assert page.findings.height == page.analysis.findings.height + page.analysis.backup_findings.height


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


@pytest.mark.parametrize("name", ["page", "english", "bare"])
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
