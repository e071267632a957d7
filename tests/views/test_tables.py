from __future__ import annotations

import base64
import csv
import gzip
import io
import itertools
import json
import re
from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from types import SimpleNamespace

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from audit_kit.analysis import earlier
from audit_kit.core import schema, spreadsheet_csv
from audit_kit.core.errors import RequestError
from audit_kit.views.missing import pattern_charts
from audit_kit.views.missing import tables as missing_tables
from audit_kit.views.overview import charts, differences
from audit_kit.views.overview import tables as overview_tables
from audit_kit.views.show import downloads, element_ids, finding_rows, provenance, tables, theme
from audit_kit.views.sync import tables as sync_tables

HOSTILE = "</script><img src=x onerror=alert(1)>{{7*7}}"


def unpacked(html: str) -> str:
    packed = re.search(r"<template>(.*?)</template>", html)
    assert packed
    return gzip.decompress(base64.b64decode(packed.group(1))).decode("utf-8-sig")


def test_a_table_escapes_text_and_keeps_our_own_markup():
    frame = pl.DataFrame({"name": [HOSTILE], "mark": ["<b>ok</b>"], "amount": [Decimal("1234567.80")]})
    text = tables.table(
        frame, labels={"name": "A<i>", "mark": "B", "amount": "C"}, html=["mark"], money=["amount"]
    ).as_raw_html()
    assert "<img" not in text
    assert "&lt;img src=x" in text
    assert "<b>ok</b>" in text
    assert "A&lt;i&gt;" in text
    assert "1,234,567.80" in text


def test_the_searchable_table_escapes_too_and_says_openly_what_it_leaves_out():
    frame = pl.DataFrame({"name": [HOSTILE] * 30, "number": ["25112000000000000001"] * 30})
    text = tables.searchable(frame, labels={"name": "名称", "number": "号码"}, most=10).data
    assert "<img src=x" not in text
    assert "25112000000000000001" in text
    assert "只列前 10 条，共 30 条" in text
    assert json.dumps("搜索：").strip('"') in text


def test_the_tie_shows_both_sides_and_their_sum(page):
    text = overview_tables.tie(charts.outcome_totals(page.analysis)).as_raw_html()
    for total in (page.analysis.ledger["gross"].sum(), page.analysis.platform["gross"].sum()):
        assert f"{total:,.2f}" in text
    assert f"{page.analysis.ledger.height:,}" in text


def test_every_cause_is_a_plain_sentence_with_what_was_observed(page):
    summary = finding_rows.cause_summary(page.findings, page.analysis.ledger)
    assert summary["findings"].sum() == page.findings.height
    text = finding_rows.causes(page.safe(summary)).as_raw_html()
    for row in summary.iter_rows(named=True):
        assert page.words.cause(row["cause"]) in text
    assert "例：" in text
    assert "<img src=x" not in text


def test_no_findings_is_good_news_in_words(page):
    said = finding_rows.causes(finding_rows.cause_summary(page.findings.clear(), page.analysis.ledger))
    assert "每张发票都与平台一致" in said.data


def test_findings_are_listed_most_severe_and_dearest_first(page):
    frame = finding_rows.findings_list(page.analysis, page.findings)
    assert frame.height == page.findings.height
    order = [page.words.term("severities", word) for word in ("critical", "high", "medium", "low", "info")]
    places = [order.index(word) for word in frame["severity"]]
    assert places == sorted(places)
    assert set(finding_rows.FINDING_COLUMNS) <= set(frame.columns)


@pytest.mark.parametrize(
    ("cell", "saved"),
    [
        ("25112000000000000001", '="25112000000000000001"'),
        ("00123", '="00123"'),
        ("=HYPERLINK(1)", "'=HYPERLINK(1)"),
        ("@sum", "'@sum"),
        ("+1", "'+1"),
        ("-2+3", "'-2+3"),
        ("\t=1", "'\t=1"),
        ("北京某公司", "北京某公司"),
        ("2025", "2025"),
    ],
)
def test_a_saved_cell_keeps_its_digits_and_does_nothing_in_a_spreadsheet(cell, saved):
    text = spreadsheet_csv.safe_csv(pl.DataFrame({"a": [cell]})).decode("utf-8-sig")
    assert list(csv.reader(io.StringIO(text, newline="")))[1:] == [[saved]]


@given(st.lists(st.text(max_size=12), min_size=1, max_size=8))
def test_no_saved_cell_begins_a_formula_and_no_row_is_lost(cells):
    raw = spreadsheet_csv.safe_csv(pl.DataFrame({"a": cells, "b": ["x"] * len(cells)}))
    assert raw.startswith(b"\xef\xbb\xbf")
    rows = list(csv.reader(io.StringIO(raw.decode("utf-8-sig"), newline="")))[1:]
    assert len(rows) == len(cells)
    for (saved, _), cell in zip(rows, cells, strict=True):
        assert saved[:1] not in set("=+-@\t\r\n") or re.fullmatch(r'="[0-9]+([eE][0-9]+)?"', saved)
        assert saved in {cell, f"'{cell}", f'="{cell}"'}


def test_the_button_holds_at_most_so_many_rows_and_says_so():
    frame = pl.DataFrame({"a": [str(place) for place in range(50)], "at": [datetime(2025, 5, 1, 9)] * 50})
    html = downloads.button(frame, name='x"><script>', most=20).data
    assert "只含前 20 行，共 50 行" in html
    assert html.count("<script>") == 1
    text = unpacked(html)
    assert text.count("\r\n") == 21
    assert "2025-05-01 09:00:00" in text
    assert downloads.button(frame.clear(), name="x").data == ""


def test_saved_columns_are_headed_in_chinese_and_named_in_english():
    frame = pl.DataFrame(
        {"invoice_key": ["1"], "late": [3.0], "amount": [1], "gross": [1], "buyer_name": ["甲"], "x": [0]}
    )
    chinese, english = (unpacked(downloads.button(frame, name="x", lang=lang).data) for lang in ("zh", "en"))
    assert english.splitlines()[0].lstrip("\ufeff") == "invoice_key,late,amount,gross,buyer_name,x"
    heads = chinese.splitlines()[0].lstrip("\ufeff").split(",")
    assert len(set(heads)) == len(heads) == 6
    assert not any(re.search("[a-z]", head) for head in heads[:3] + heads[4:5])
    assert heads[-1] == "x"
    assert chinese.splitlines()[1:] == english.splitlines()[1:]


def test_the_button_of_a_large_frame_stays_small(page):
    rows = page.safe(finding_rows.findings_list(page.analysis, page.findings)).select(finding_rows.FINDING_COLUMNS)
    many = pl.concat([rows] * (20_000 // rows.height + 1))
    html = downloads.button(many, name="x").data
    assert len(html) < 600_000
    assert unpacked(html).count("\r\n") == downloads.MOST_ROWS + 1


@pytest.fixture
def apart():
    money = pl.Decimal(18, 2)
    ledger = pl.DataFrame(
        {
            "gross": ["100.00", "50.00"],
            "buyer_name": ["甲<b>", "乙"],
            "issued_at": [datetime(2025, 5, 1), datetime(2025, 5, 2)],
        }
    ).cast({"gross": money})
    platform = pl.DataFrame(
        {
            "gross": ["98.50", "50.00"],
            "buyer_name": [None, "丙"],
            "issued_at": [datetime(2025, 5, 4), datetime(2025, 5, 2)],
        }
    ).cast({"gross": money})
    matches = pl.DataFrame(
        {
            "ledger_row": [0, 1],
            "platform_row": [0, 1],
            "invoice_key": ["1", "2"],
            "differences": [["gross", "buyer_name", "issued_at"], ["buyer_name"]],
        }
    ).cast({"ledger_row": pl.UInt32, "platform_row": pl.UInt32})
    return SimpleNamespace(ledger=ledger, platform=platform, matches=matches)


def test_a_changed_field_shows_old_new_and_the_signed_difference(apart):
    changed = differences.changed_fields(apart)
    assert changed.select("field", "ledger", "platform", "difference").rows() == [
        ("gross", "100.00", "98.50", 1.5),
        ("issued_at", "2025-05-01 00:00", "2025-05-04 00:00", -3.0),
        ("buyer_name", "甲<b>", None, None),
        ("buyer_name", "乙", "丙", None),
    ]
    text = differences.changes(changed).as_raw_html()
    assert ">100.00</del> → <b" in text
    assert "+1.50 元" in text
    assert "-3.0 天" in text
    assert "甲&lt;b&gt;" in text
    assert "∅" in text


def test_the_tally_of_fields_has_largest_net_and_empty_sides(apart):
    rows = differences.field_tally(differences.changed_fields(apart)).rows()
    assert rows == [("buyer_name", 2, 1, None, None), ("gross", 1, 0, 1.5, 1.5), ("issued_at", 1, 0, -3.0, -3.0)]
    text = differences.tally(differences.field_tally(differences.changed_fields(apart))).as_raw_html()
    assert "净差异" in text
    assert "+1.50 元" in text  # yuan and days stand in one column, each with its unit
    assert "-3.0 天" in text


def test_agreement_in_every_field_is_said(apart):
    none = differences.changed_fields(apart).clear()
    assert differences.changes(none).data == ""  # the tally above it says so
    assert "都一致" in differences.tally(differences.field_tally(none)).data


def test_a_finding_is_closed_only_where_its_invoice_was_looked_at_again(page, tmp_path):
    findings = page.findings
    clean = page.whole.matches.filter(pl.col("outcome") == "matched").filter(
        ~pl.col("invoice_key").is_in(page.whole.findings["invoice_key"].drop_nulls().implode())
    )["invoice_key"]
    gone = findings.head(1).with_columns(area=pl.lit("missing"), cause=pl.lit("lost"), amount=pl.lit(None))
    again = gone.with_columns(finding_id=pl.lit("again"), invoice_key=pl.lit(clean[0]))
    never = gone.with_columns(finding_id=pl.lit("never"), invoice_key=pl.lit("25112000000999999999"))
    nameless = gone.with_columns(finding_id=pl.lit("nameless"), invoice_key=pl.lit(None, pl.String))
    before = pl.concat([findings.tail(findings.height - 3), again, never, nameless], how="diagonal_relaxed")
    before.write_parquet(tmp_path / earlier.FINDINGS)
    manifest = str(tmp_path / "manifest.json")
    compared = earlier.changes(findings, manifest, whole=page.whole)
    told = dict(compared.select("finding_id", "change").iter_rows())
    assert (told["again"], told["never"], told["nameless"]) == ("closed", "open", "open")
    assert set(compared.filter(~pl.col("seen"))["finding_id"]) == {"never", "nameless"}
    known = set(before["finding_id"])
    assert all(told[name] == "open" for name in findings["finding_id"] if name in known)
    assert compared.height == findings.height + 3
    assert charts.change_totals(compared)["rows"].sum() == findings.height + 3
    assert "已消除" in overview_tables.change_table(compared).as_raw_html()
    assert "closed" not in set(earlier.changes(findings, manifest)["change"])
    doubt = again.with_columns(cause=pl.lit("risk_flagged"), finding_id=pl.lit("doubt"))
    doubted = replace(page.whole, findings=pl.concat([page.whole.findings, doubt], how="diagonal_relaxed"))
    compared = earlier.changes(findings, manifest, whole=doubted)  # the platform's doubt is a matter of its own
    assert dict(compared.select("finding_id", "change").iter_rows())["again"] == "closed"


def test_a_month_that_lists_other_invoices_closes_nothing(page, tmp_path):
    page.findings.write_parquet(tmp_path / earlier.FINDINGS)
    other = replace(page.whole, matches=page.whole.matches.clear(), findings=page.whole.findings.clear())
    compared = earlier.changes(page.findings.clear(), str(tmp_path / "manifest.json"), whole=other)
    assert set(compared.filter(pl.col("area") != "backup")["change"]) == {"open"}


def test_without_a_previous_report_nothing_is_compared(page):
    assert earlier.changes(page.findings, "").is_empty()
    assert overview_tables.change_table(earlier.changes(page.findings, "")).data == ""


def test_a_previous_report_without_findings_is_a_mistake_to_mend(page, tmp_path):
    with pytest.raises(RequestError, match="manifest"):
        earlier.changes(page.findings, str(tmp_path / "manifest.json"))


def test_each_absent_table_says_what_stays_unknown(page, bare):
    told = {
        name: bare.words(f"unknown_without.{name}")
        for name in (*schema.INPUTS, "exports")
        if name not in overview_tables.NEEDED
    }
    absent = overview_tables.unknown(bare).as_raw_html()
    assert [name for name, text in told.items() if text not in absent] == []
    assert "同步日志" in absent
    here = overview_tables.unknown(page).as_raw_html()
    given = [name for name in told if page.whole.engagement.has(name)]
    assert len(given) > 5
    assert [name for name in given if told[name] in here] == []
    assert told["exports"] in here


def test_nothing_stays_unknown_where_all_is_there(page):
    everything = SimpleNamespace(
        words=page.words, whole=SimpleNamespace(engagement=SimpleNamespace(has=lambda _: True))
    )
    assert "各类资料都已提供" in overview_tables.unknown(everything).data


def test_sources_and_foot_say_what_was_read_and_how_to_make_it_again(page):
    text = provenance.sources(page).as_raw_html()
    assert "ledger-2025-05" in text
    foot = provenance.foot(page).data
    assert page.whole.engagement.fingerprint() in foot
    assert "audit-kit" in foot
    assert "target_hours = 24" in foot


def test_counterparties_digits_gaps_and_tomorrow_are_drawn_or_said(page):
    masked = page.safe(missing_tables.counterparties(page.analysis))
    flat = missing_tables.counterparty_table(masked.with_columns(stands_out=pl.lit(value=False))).data
    assert flat.startswith("<details>")
    assert "没有突出的交易对方" in flat.partition("</summary>")[0]
    assert "交易对方" in missing_tables.counterparty_table(masked.with_columns(stands_out=True)).as_raw_html()
    assert missing_tables.counterparty_table(masked.clear()).data
    profile = pattern_charts.digits(page.analysis)
    for reason in ("few", "narrow", "repeated"):
        assert "layer" not in pattern_charts.digit_bars(replace(profile, reason=reason)).to_dict()
    assert pattern_charts.digit_bars(replace(profile, reason=None, conforms=True)).to_dict()["layer"]
    assert missing_tables.gaps(page.analysis)
    assert sync_tables.tomorrow(page)


def drawn_twice(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """Two tables and a chart, as two kernels would draw them from the first cell on."""
    frame, labels = pl.DataFrame({"name": ["a"]}), {"name": "Name"}
    runs = []
    for _ in range(2):
        monkeypatch.setattr(element_ids, "_turns", itertools.count(1))
        chart = theme._safe_html({"mark": "bar"}, embed_options={})["text/html"]
        found = tables.searchable(frame, labels=labels, lang="en").data
        runs.append([tables.table(frame, labels=labels).as_raw_html(), found, chart])
    return runs


def test_ids_are_the_same_in_every_report_and_never_in_a_lab(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(element_ids.BATCH, "1")
    first, again = drawn_twice(monkeypatch)
    assert first == again
    marks = [re.search(r'<(?:div|table) id="([\w-]+)"', html) for html in first]
    assert len({mark[1] for mark in marks if mark}) == 3
    monkeypatch.delenv(element_ids.BATCH)
    first, again = drawn_twice(monkeypatch)
    assert [one == other for one, other in zip(first, again, strict=True)] == [False, False, False]
