"""JupyterLab in a real browser, without a network: every notebook runs, and the panels react.

The pictures are kept under the folder that AUDIT_KIT_PICTURES names, if it is set, for a person to look at.
"""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import time
import urllib.request
from pathlib import Path

import nbformat
import pytest
from playwright.sync_api import Locator, Page, Route, expect, sync_playwright

from audit_kit.core.words import Words
from audit_kit.report import lab
from audit_kit.training.drill import drill, sealing
from audit_kit.training.world.simulate import simulate
from audit_kit.views.show import choices

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.timeout(900)]

NOTEBOOKS = ("00_overview", "01_sync_delays", "02_missing_invoices", "03_backup_completeness", "05_response")
WORKED = "02_missing_invoices"
TOKEN = "audit"  # noqa: S105 - of a server that lives as long as this test
HARMLESS = ("Failed to load resource", "net::ERR", "WebSocket", "favicon", "plugin", "Deprecat")
WAIT = 240_000

RUN = """async () => {
  const panel = window.jupyterapp.shell.currentWidget;
  await panel.context.ready; await panel.sessionContext.ready;
  await panel.sessionContext.session.kernel.info;
  await window.jupyterapp.commands.execute('notebook:run-all-cells');
  panel.content.activeCellIndex = 0;
}"""
RAN = """() => {
  const panel = window.jupyterapp?.shell?.currentWidget;
  const cells = Array.from(panel?.content?.model?.cells ?? []).filter((cell) => cell.type === 'code');
  return cells.length > 0 && panel.content.activeCellIndex === 0 && cells.every((cell) => cell.executionCount);
}"""
CELLS = """() => Array.from(window.jupyterapp.shell.currentWidget.content.model.cells)
    .filter((cell) => cell.type === 'code')
    .flatMap((cell) => cell.outputs.toJSON().filter((out) => out.output_type === 'error').map((out) => out.evalue))"""


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


@pytest.fixture(scope="module")
def books(tmp_path_factory):
    return tmp_path_factory.mktemp("lab") / "books"


@pytest.fixture(scope="module")
def server(books):
    folder = books.parent
    engagement = folder / "engagement"
    simulate(engagement, invoices=600, seed=3, month="2025-05", format="csv", hostile=True)
    settings = folder / "settings"
    lab.copy_notebooks(books, {"engagement": str(engagement), "lang": "zh"})
    lab.copy_notebooks(books / "en", {"engagement": str(engagement), "lang": "en"})
    settings.mkdir()
    lab.write_settings(settings, lang="zh")
    port = _free_port()
    command = lab._command(books, settings, port=port, browser=False, address=choices.address(""))
    command += [
        f"--IdentityProvider.token={TOKEN}",
        "--LabApp.expose_app_in_browser=True",
        "--ServerApp.port_retries=0",
    ]
    environment = lab._environment(settings, engagement) | {"AUDIT_KIT_CACHE": str(folder / "cache")}
    environment[choices.COPIES] = str(books)
    environment.pop("AUDIT_KIT_BATCH", None)
    log = (folder / "lab.log").open("w")
    process = subprocess.Popen(command, cwd=books, env=environment, stdout=log, stderr=subprocess.STDOUT)
    address = f"http://127.0.0.1:{port}"
    try:
        _wait_for(address, process, folder / "lab.log")
        yield address
    finally:
        process.terminate()
        process.wait(30)
        log.close()


def _wait_for(address: str, process: subprocess.Popen[bytes], log: Path) -> None:
    for _ in range(120):
        assert process.poll() is None, log.read_text()
        try:
            with urllib.request.urlopen(f"{address}/api", timeout=2):  # noqa: S310 - our own server
                return
        except OSError:
            time.sleep(1)
    pytest.fail(log.read_text())


@pytest.fixture(scope="module")
def browser():
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    assert chromium, "no Chromium on PATH; on Debian: apt-get install chromium"
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.fixture
def page(browser):
    context = browser.new_context(viewport={"width": 1360, "height": 1000}, locale="zh-CN")
    context.route("**/*", _only_home)
    opened = context.new_page()
    opened.complaints = []
    opened.on("console", lambda said: opened.complaints.append(said.text) if said.type == "error" else None)
    opened.on("pageerror", lambda error: opened.complaints.append(str(error)))
    opened.on("dialog", lambda dialog: opened.complaints.append(f"dialog: {dialog.message}") or dialog.dismiss())
    yield opened
    context.close()


def _only_home(route: Route) -> None:
    if route.request.url.startswith(("http://127.0.0.1", "ws://127.0.0.1", "data:", "blob:")):
        route.continue_()
    else:
        route.abort()


def _run_all(page: Page, server: str, notebook: str) -> None:
    page.goto(f"{server}/lab/workspaces/auto-{notebook}/tree/{notebook}.ipynb?reset&token={TOKEN}", timeout=WAIT)
    page.wait_for_selector(".jp-NotebookPanel .jp-Cell", timeout=WAIT)
    if notebook not in NOTEBOOKS:  # a drill: a person runs it
        page.wait_for_function("() => window.jupyterapp.shell.currentWidget?.context", timeout=WAIT)
        page.evaluate(RUN)
    page.wait_for_function(RAN, timeout=WAIT)
    assert page.evaluate(CELLS) == []


def _picture(page: Page, panel: Locator, name: str) -> None:
    if folder := os.environ.get("AUDIT_KIT_PICTURES"):
        panel.evaluate("(panel) => panel.scrollIntoView({block: 'start'})")
        page.wait_for_timeout(500)
        page.screenshot(path=str(Path(folder) / f"{name}.png"))


ENGLISH = """() => Array.from(window.jupyterapp.shell.currentWidget.content.model.cells)
    .filter((cell) => (cell.getMetadata('tags') || []).includes('en')).length"""
SEEN = """async () => {
  const content = window.jupyterapp.shell.currentWidget.content, pictures = new Set();
  let errors = 0;
  for (let place = 0; place < content.widgets.length; place++) {
    await content.scrollToItem(place, 'start');
    await new Promise((then) => setTimeout(then, 150));
    content.node.querySelectorAll('img[alt^=chart-]').forEach(
      (one) => one.naturalWidth > 100 && pictures.add(one.alt));
    errors += content.node.innerText.includes('Error displaying widget');
  }
  return [pictures.size, errors];
}"""


def test_the_lab_opens_on_the_overview_run_and_folded_a_month_is_chosen_and_what_is_saved_is_seen(server, page, books):
    page.goto(f"{server}/?token={TOKEN}", timeout=WAIT)
    page.wait_for_function(RAN, timeout=WAIT)
    assert page.evaluate("() => window.jupyterapp.shell.currentWidget.context.path") == choices.FIRST
    assert page.evaluate(ENGLISH) == 0
    assert page.locator(".jp-CodeCell .cm-content:visible, .jp-PlaceholderText:visible").count() == 0
    months = page.locator("select[data-audit-kit=month]")
    assert [text[:7] for text in months.locator("option").all_inner_texts()] == [
        "2025-05",
        "2025-04",
        "2025 年（",
        "全部期间（60",
    ]
    page.locator("div[id^=chart-] canvas, div[id^=chart-] svg").first.wait_for(timeout=WAIT)
    months.select_option("2025-04")
    expect(page.get_by_text("台账 2 张").first).to_be_visible(timeout=WAIT)
    page.wait_for_function(RAN, timeout=WAIT)
    expect(months).to_have_value("2025-04")
    page.evaluate("() => window.jupyterapp.shell.currentWidget.context.save()")
    saved = nbformat.read(books / choices.FIRST, as_version=4)
    drawn = sum(
        'alt="chart-' in str(out.get("data", {}).get("text/html", ""))
        for c in saved.cells
        for out in c.get("outputs", ())
    )
    assert "2025-04" in saved.cells[1].source
    del saved.metadata["audit_kit"]
    nbformat.write(saved, books / "passed_on.ipynb")  # as a colleague gets it: nothing runs, nobody vouches for it
    page.goto(f"{server}/lab/workspaces/other/tree/passed_on.ipynb?reset&token={TOKEN}", timeout=WAIT)
    page.wait_for_selector(".jp-NotebookPanel .jp-Cell", timeout=WAIT)
    page.wait_for_function("() => window.jupyterapp.shell.currentWidget?.context?.isReady", timeout=WAIT)
    assert page.evaluate(SEEN) == [drawn, 0]
    assert drawn >= 4
    left = (*HARMLESS, "Failed to initialize model")  # of a page that was run anew, and left, while its widgets loaded
    assert [text for text in page.complaints if not any(word in text for word in left)] == []


def _panel(page: Page):
    panel = page.locator(".jp-OutputArea-output:has(.audit-kit-grid)").last
    panel.scroll_into_view_if_needed(timeout=WAIT)
    panel.locator(".vega-embed svg").first.wait_for(timeout=WAIT)
    panel.locator(".audit-kit-grid").first.locator("tbody tr").first.wait_for(timeout=WAIT)
    return panel


@pytest.mark.parametrize("notebook", [name for name in NOTEBOOKS if name != WORKED])
def test_every_notebook_runs_offline_and_its_panel_reacts(server, page, notebook):
    _run_all(page, server, notebook)
    panel = _panel(page)
    sentence = panel.locator(".widget-html b").nth(1)
    panel.locator(".vega-embed svg").first.evaluate("(drawing) => { drawing.dataset.drawn = 'before' }")
    _picture(page, panel, f"{notebook}-before")
    counted = panel.locator("select").filter(has_text=re.compile(r"\(\d"))  # the order's list counts nothing
    dropdown = counted.filter(has=page.locator("option:nth-child(3)")).last  # a choice of two leaves some out
    label = dropdown.locator("option").nth(1).text_content(timeout=WAIT)
    dropdown.select_option(index=1)
    wanted = label.rsplit("(", 1)[1].rstrip(")")
    expect(sentence).to_have_text(re.compile(f"^{wanted} 条"), timeout=WAIT)
    listed = min(50, int(wanted.replace(",", "")))
    expect(panel.locator(".audit-kit-grid").first.locator("tbody tr")).to_have_count(listed, timeout=WAIT)
    expect(panel.locator("[data-drawn=before]")).to_have_count(0, timeout=WAIT)
    page.wait_for_timeout(500)
    _picture(page, panel, f"{notebook}-after")
    assert panel.locator(".vega-embed svg").count() >= 1
    complaints = [text for text in page.complaints if not any(word in text for word in HARMLESS)]
    assert complaints == []


def _listed(place: Locator) -> int:
    return int(re.findall(r"[\d,]+", place.inner_text(timeout=WAIT))[-1].replace(",", ""))


def _brush(page: Page, panel: Locator, place: Locator) -> int:
    """Drag over the first days of the chart until the table follows; return how many rows it lists then."""
    before = _listed(place)
    drawing = panel.locator(".vega-embed svg").first
    for _ in range(20):
        drawing.evaluate("(drawing) => drawing.scrollIntoView({block: 'center'})")
        page.wait_for_timeout(700)
        days = drawing.locator("g.mark-rect.role-mark[class*=_2_marks]").bounding_box(timeout=WAIT)
        page.mouse.move(days["x"] + 8, days["y"] + 8)
        page.mouse.down()
        page.mouse.move(days["x"] + 60, days["y"] + 60, steps=4)
        page.mouse.move(days["x"] + days["width"] / 2, days["y"] + days["height"] - 2, steps=6)
        page.mouse.up()
        page.wait_for_timeout(700)
        if 0 < _listed(place) < before:
            return _listed(place)
    pytest.fail("the table does not follow the brush")


SAID = {
    "zh": {
        "link": "哪些发票缺失",
        "first": "先做什么",
        "keep": "加入底稿篮",
        "export": "导出底稿",
        "report": "出具问题报告",
    },
    "en": {
        "link": "Which invoices are missing",
        "first": "What to do first",
        "keep": "Keep in the basket",
        "export": "Working paper",
        "report": "Write a problem report",
    },
}


@pytest.mark.parametrize("lang", ["zh", "en"])
def test_an_auditor_works_from_landing_to_problem_report(server, page, books, lang):
    words, folder = SAID[lang], books if lang == "zh" else books / lang
    at = "" if lang == "zh" else f"{lang}/"
    page.goto(f"{server}/lab/workspaces/auto-{lang}/tree/{at}{choices.FIRST}?reset&token={TOKEN}", timeout=WAIT)
    landing = page.locator("section[aria-label]")
    expect(landing).to_contain_text(words["first"], timeout=WAIT)
    expect(landing.locator("a[href]")).to_have_count(5, timeout=WAIT)
    _picture(page, landing, f"landing-{lang}")
    landing.get_by_text(words["link"]).click()
    page.wait_for_function(f"() => window.jupyterapp.shell.currentWidget?.context?.path === '{at}{WORKED}.ipynb'")
    page.wait_for_function(RAN, timeout=WAIT)
    panel = _panel(page)
    place = panel.locator(".audit-kit-grid").first.locator(".audit-kit-place")
    level = panel.locator("select").first
    wanted = level.locator("option").nth(2).text_content(timeout=WAIT).rsplit("(", 1)[1].rstrip(")")
    level.select_option(index=2)
    expect(place).to_have_text(re.compile(rf"\b{wanted}( 条)?$"), timeout=WAIT)
    rows = _brush(page, panel, place)
    grid, basket = panel.locator(".audit-kit-grid").first, panel.locator(".audit-kit-grid").nth(1)
    expect(grid.locator("tbody tr")).to_have_count(min(rows, 50), timeout=WAIT)
    grid.locator("tbody input[type=checkbox]").first.check(timeout=WAIT)
    expect(grid.locator("tr.audit-kit-ticked")).to_have_count(1, timeout=WAIT)
    panel.locator(".widget-text input[type=text]:visible").nth(-2).fill("<b>asked by phone</b>")
    panel.get_by_role("button", name=words["keep"]).click()
    expect(basket.locator("tbody tr").filter(has_text="<b>asked by phone</b>")).to_have_count(1, timeout=WAIT)
    panel.get_by_role("button", name=words["export"]).click()
    expect(panel.get_by_text(re.compile("working-paper-")).first).to_be_visible(timeout=WAIT)
    number = grid.locator("tbody button").first
    text = number.text_content()
    number.click()
    expect(panel.get_by_text(text).locator("visible=true").last).to_be_visible(timeout=WAIT)
    report = panel.get_by_role("button", name=words["report"])
    expect(report).to_be_enabled(timeout=WAIT)
    _picture(page, report, f"story-{lang}")
    report.click()
    expect(panel.get_by_text(re.compile("problem-report-"))).to_be_visible(timeout=WAIT)
    assert len(list(folder.glob("working-paper-*/working-paper.docx"))) == 1
    assert len(list(folder.glob("problem-report-*/letter.docx"))) == 1
    assert [said for said in page.complaints if not any(word in said for word in HARMLESS)] == []


def test_the_menus_speak_chinese_and_no_news_pops_up(server, page):
    page.goto(f"{server}/lab?reset&token={TOKEN}", timeout=WAIT)
    page.wait_for_selector(".lm-MenuBar-itemLabel", timeout=WAIT)
    page.wait_for_function("() => document.querySelector('.lm-MenuBar').innerText.includes('文件')", timeout=WAIT)
    assert page.locator(".jp-Notification-Toast, .Toastify__toast").count() == 0


def test_a_trainee_goes_from_the_brief_to_the_debrief_in_the_panel(server, page, books):
    notebook = nbformat.read(books / "04_training_drill.ipynb", as_version=4)
    played = books.parent / "played"
    made = drill.new(played, seed=1, scenario="wrong_tax_id")  # of 900 invoices, so that it is soon worked up
    for cell in notebook.cells:
        cell.source = cell.source.replace('folder: str = ""', f"folder: str = {str(played)!r}")
    nbformat.write(notebook, books / "04_training_drill.ipynb")
    _run_all(page, server, "04_training_drill")
    panel = page.locator(".jp-OutputArea-output:has(textarea):has(.widget-slider)").last
    panel.scroll_into_view_if_needed(timeout=WAIT)
    assert "求助电话" in drill.brief(played)
    assert panel.locator(".widget-slider").first.is_hidden()
    panel.locator("textarea").first.fill("抬头写错了")
    panel.get_by_text("写好了，开始看数据").click()
    expect(panel.locator(".widget-slider").first).to_be_visible(timeout=WAIT)
    panel.locator(".audit-kit-grid tbody tr").first.wait_for(timeout=WAIT)
    panel.locator("select").filter(has_text="内容不一致").first.select_option(index=1)
    causes = panel.locator("select").filter(has_text="号码录错").first
    causes.select_option(label=Words("zh").cause(made.causes[0]))
    panel.get_by_text("把筛选出的发票都标为这个原因").click()
    expect(panel.get_by_text(re.compile(r"已把 \d+ 张标为"))).to_be_visible(timeout=WAIT)
    panel.get_by_text("加入", exact=True).click()
    expect(panel.locator(".widget-html").filter(has_text="· 70%")).to_be_visible(timeout=WAIT)
    panel.get_by_text("电子税务局客服", exact=True).click()
    panel.get_by_text("评分", exact=True).click()
    expect(panel.locator(".widget-html").filter(has_text=re.compile(r"得分 \d+\.\d / 100"))).to_be_visible(timeout=WAIT)
    expect(panel.get_by_text("三个问题").first).to_be_visible(timeout=WAIT)
    panel.get_by_text("保存", exact=True).last.click()
    expect(panel.get_by_text("已写入 feedback.toml")).to_be_visible(timeout=WAIT)
    _picture(page, panel, "04_training_drill")
    assert [line.what for line in sealing.opened(played).log] == ["started", "scored"]
    assert [text for text in page.complaints if not any(word in text for word in HARMLESS)] == []
