"""The workbench: landing, basket, story, what if, and the log of what was done."""

from __future__ import annotations

import json
import os
import re
from dataclasses import replace

import docx
import polars as pl
import pytest

from audit_kit.analysis import exploration_log
from audit_kit.paper.from_lab import hand_over
from audit_kit.views.backups.panel import backup_panel
from audit_kit.views.missing.panel import missing_panel
from audit_kit.views.overview.panel import findings_panel
from audit_kit.views.response.panel import response_panel
from audit_kit.views.show import choices
from audit_kit.views.sync.panel import delay_panel
from audit_kit.views.workbench import landing
from audit_kit.views.workbench.basket import Basket
from audit_kit.views.workbench.bench import Bench
from audit_kit.views.workbench.story import StoryPanel, marked
from audit_kit.views.workbench.what_if import WhatIf


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("AUDIT_KIT_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def bench(page):
    return Bench(page, missing_panel(page), hand_over)


def folder_of(page):
    return page.whole.engagement.folder


def hear(grid, kind, **rest):
    grid._handle_custom_msg({"kind": kind, **rest}, [])


def test_the_landing_tells_what_was_read_asks_five_questions_and_names_what_to_do_first(page, english, monkeypatch):
    assert landing.landing(page).data == ""
    monkeypatch.setenv(choices.COPIES, "/nowhere")
    told = landing.landing(page).data
    assert len(re.findall(r'<a href="0\d_\w+\.ipynb">', told)) == 5
    assert "先做什么" in told
    sums = landing.sums(page)
    assert (sums["rows_in"] == sums["rows_kept"] + sums["rows_set_aside"]).all()
    assert sums["rows_in"].sum() == page.whole.files["rows_in"].sum()
    assert "Five questions" in landing.landing(english).data
    wrong = page.whole.control.head(1).with_columns(agrees=pl.lit(value=False), source_file=pl.lit("<img src=x>"))
    if wrong.height:
        doubted = replace(page, whole=replace(page.whole, control=wrong))
        shown = landing.landing(doubted).data
        assert "不符" in shown
        assert "&lt;img" in shown
        assert "<img" not in shown


def test_the_list_of_periods_ends_with_the_year_and_everything(page):
    found = [name for name, _ in choices.periods(page)]
    assert found[-2:] == ["2025", "all"]
    assert found[: len(choices.months(page))] == [name for name, _ in choices.months(page)]


def test_rows_are_kept_with_note_and_judgement_over_sessions_and_never_in_the_engagement(page, bench):
    before = sorted(folder_of(page).rglob("*"))
    hear(bench.panel.grid, "tick", place=0, on=True)
    hear(bench.panel.grid, "tick", place=1, on=True)
    bench.basket.note.value = " <b>问销方</b> "
    bench.basket.judgement.value = "to_ask"
    hear(bench.panel.grid, "act", name="keep")
    kept = Bench(page, missing_panel(page)).basket.basket.rows  # another session
    assert kept.height == 2
    assert kept["finding_id"].to_list() == bench.panel._rows["finding_id"].head(2).to_list()
    assert kept["note"].to_list() == ["<b>问销方</b>"] * 2
    hear(bench.panel.grid, "act", name="keep")
    assert bench.basket.basket.rows.height == 2
    hear(bench.basket.grid, "tick", place=1, on=True)
    bench.basket.judgement.value, bench.basket.note.value = "our_error", ""
    bench.basket.set.click()
    assert bench.basket.basket.rows["judgement"].to_list() == ["to_ask", "our_error"]
    assert bench.basket.basket.rows["note"].to_list() == ["<b>问销方</b>"] * 2
    hear(bench.basket.grid, "tick", place=0, on=True)
    bench.basket.remove.click()
    assert bench.basket.basket.rows["judgement"].to_list() == ["our_error"]
    assert sorted(folder_of(page).rglob("*")) == before
    work = exploration_log.work_folder(folder_of(page))
    assert work.stat().st_mode & 0o077 == 0
    assert exploration_log.forget_work(folder_of(page))
    assert not work.exists()
    assert not exploration_log.forget_work(folder_of(page))


def test_rows_of_every_panel_can_be_kept_each_for_itself(page):
    basket = Basket(folder_of(page))
    wanted = 0
    for make in (findings_panel, delay_panel, backup_panel, response_panel):
        panel = make(page)
        rows = panel.selected
        basket.keep(rows, source=panel.name, period=page.month, filters={}, fingerprint="x")
        mine = basket.rows.filter(pl.col("lot") == len(basket.lots))
        assert mine.height == rows.height
        assert mine["evidence"].null_count() == 0
        wanted += rows.height
    assert basket.rows.height == wanted
    assert mine["level"].null_count() == mine.height


@pytest.mark.parametrize("lang", ["zh", "en"])
def test_the_working_paper_holds_filter_control_totals_fingerprint_and_every_row(lang, request, tmp_path):
    page = request.getfixturevalue("page" if lang == "zh" else "english")
    bench = Bench(page, missing_panel(page), hand_over)
    cause = bench.panel.choices["cause"].options[1][1]
    bench.panel.choices["cause"].value = cause
    wanted = bench.panel.selected
    hear(bench.panel.grid, "act", name="keep")
    bench.basket.export.click()
    (folder,) = tmp_path.glob("working-paper-*")
    rows = pl.read_excel(folder / "working-paper.xlsx", sheet_id=2, engine="openpyxl", infer_schema_length=0)
    assert rows.height == wanted.height
    assert rows[:, 3].to_list() == wanted["invoice_key"].to_list()
    told = "\n".join(
        cell.text for t in docx.Document(str(folder / "working-paper.docx")).tables for r in t.rows for cell in r.cells
    )
    assert cause in told
    assert page.whole.engagement.fingerprint() in told
    assert page.words.yuan(wanted["amount"].sum()) in told
    listed = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    assert set(listed["files"]) == {"working-paper.docx", "working-paper.xlsx"}
    actions = [line["action"] for line in exploration_log.lines(folder_of(page))]
    assert actions == ["filter", "keep", "working_paper"]


def test_a_number_that_is_clicked_tells_its_story_and_becomes_a_problem_report(bench, tmp_path):
    place = bench.panel._rows.filter(pl.col("code") == "lost")["audit_kit_place"][0]
    number = bench.panel._rows["invoice_key"][place]
    hear(bench.panel.grid, "open", place=place)
    story = bench.story
    assert story.number.value == number
    assert number in story.head.value
    assert "很可能丢失" in story.head.value
    assert "下一步" in story.head.value
    assert story.chart.spec["layer"]
    story.report.click()
    (folder,) = tmp_path.glob("problem-report-support-*")
    assert (folder / "letter.docx").is_file()
    assert folder.name in story.said.value
    story.show("99999999")
    assert story.report.disabled
    assert "<b>" not in story.head.value
    story.show("<img src=x onerror=1>")
    assert "<img" not in story.head.value


def test_a_mistyped_number_shows_the_platforms_with_the_digits_that_differ(page):
    row = page.whole.matches.filter(pl.col("outcome").cast(pl.String) == "mistyped").row(0, named=True)
    story = StoryPanel(page)
    story.show(row["invoice_key"])
    assert "<mark>" in story.head.value
    assert marked("2511200000", "2511300000") == "2511<mark>3</mark>00000"
    assert marked("12", "<2") == "<mark>&lt;</mark>2"


def test_what_if_is_shown_beside_the_policy_and_written_only_on_request(page, tmp_path):
    before = sorted(folder_of(page).rglob("*"))
    made = WhatIf(page)
    now = made.tried(*made.policies)
    judged = page.whole.findings.filter(pl.col("cause").is_in(["late", "lost"]))["probability_late"].drop_nulls()
    assert now.merely_late + now.lost <= len(judged)
    made.threshold.value = 0.05
    assert made.tried(*made.policies).merely_late >= now.merely_late
    made.hours.value = 1
    assert made.tried(*made.policies).late >= now.late
    made.tolerance.value = 0
    assert made.tried(*made.policies).slots_ok <= now.slots_ok
    assert list(tmp_path.glob("*.toml")) == []
    made.write.click()
    (saved,) = tmp_path.glob("what-if-*.toml")
    assert "target_hours = 1" in saved.read_text(encoding="utf-8")
    made.back.click()
    assert made.tried(*made.policies) == now
    assert sorted(folder_of(page).rglob("*")) == before


def test_the_log_is_a_chain_that_shows_every_change(tmp_path):
    for place in range(3):
        exploration_log.note(tmp_path, "filter", filters={"渠道": "网页"}, counts={"rows": place})
    found = exploration_log.lines(tmp_path)
    assert [line["counts"]["rows"] for line in found] == [0, 1, 2]
    assert found[0]["who"]
    assert exploration_log.first_broken(found) is None
    assert exploration_log.first_broken([found[0], found[2]]) == 2
    assert exploration_log.first_broken([found[0], found[1] | {"counts": {"rows": 9}}, found[2]]) == 2
    log = exploration_log.work_folder(tmp_path) / exploration_log.LOG
    log.write_text(log.read_text(encoding="utf-8") + "{broken\n", encoding="utf-8")
    assert exploration_log.first_broken(exploration_log.lines(tmp_path)) == 4
    assert os.environ["AUDIT_KIT_CACHE"] in str(log)
