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

import pytest
from playwright.sync_api import Error, Locator, Page, Route, expect, sync_playwright

from audit_kit.report import lab
from audit_kit.training.world.simulate import simulate

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.timeout(900)]

NOTEBOOKS = ("00_overview", "01_sync_delays", "02_missing_invoices", "03_backup_completeness")
TOKEN = "audit"  # noqa: S105 - of a server that lives as long as this test
HARMLESS = ("Failed to load resource", "net::ERR", "WebSocket", "favicon", "plugin", "Deprecat")
WAIT = 240_000

READY = """async () => {
  const panel = window.jupyterapp.shell.currentWidget;
  await panel.context.ready; await panel.sessionContext.ready;
  await panel.sessionContext.session.kernel.info;
  await window.jupyterapp.commands.execute('notebook:run-all-cells');
  const cells = Array.from(panel.content.model.cells).filter((cell) => cell.type === 'code');
  return cells.map((cell) => ({
    count: cell.executionCount,
    errors: cell.outputs.toJSON().filter((out) => out.output_type === 'error').map((out) => out.evalue),
  }));
}"""


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("lab")
    engagement = folder / "engagement"
    simulate(engagement, invoices=600, seed=3, month="2025-05", format="csv", hostile=True)
    books, settings = folder / "books", folder / "settings"
    lab.copy_notebooks(books, {"engagement": str(engagement), "lang": "zh"})
    settings.mkdir()
    lab.write_settings(settings, lang="zh")
    port = _free_port()
    command = lab._command(books, settings, port=port, browser=False)
    command += [
        f"--IdentityProvider.token={TOKEN}",
        "--LabApp.expose_app_in_browser=True",
        "--ServerApp.port_retries=0",
    ]
    environment = lab._environment(settings, engagement) | {"AUDIT_KIT_CACHE": str(folder / "cache")}
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
    for attempt in range(3):
        try:
            cells = page.evaluate(READY)
            break
        except Error:  # the page may reload once while its workspace settles
            assert attempt < 2
            page.wait_for_timeout(3000)
    assert [cell["errors"] for cell in cells if cell["errors"]] == []
    assert all(cell["count"] for cell in cells)


def _picture(page: Page, panel: Locator, name: str) -> None:
    if folder := os.environ.get("AUDIT_KIT_PICTURES"):
        panel.evaluate("(panel) => panel.scrollIntoView({block: 'start'})")
        page.wait_for_timeout(500)
        page.screenshot(path=str(Path(folder) / f"{name}.png"))


def _panel(page: Page):
    panel = page.locator(".jp-OutputArea-output:has(.widget-dropdown)").last
    panel.scroll_into_view_if_needed(timeout=WAIT)
    panel.locator("table.gt_table").first.wait_for(timeout=WAIT)
    panel.locator(".vega-embed canvas, .vega-embed svg").first.wait_for(timeout=WAIT)
    return panel


@pytest.mark.parametrize("notebook", NOTEBOOKS)
def test_every_notebook_runs_offline_and_its_panel_reacts(server, page, notebook):
    _run_all(page, server, notebook)
    panel = _panel(page)
    sentence = panel.locator(".widget-html b").nth(1)
    panel.locator(".vega-embed canvas, .vega-embed svg").first.evaluate(
        "(drawing) => { drawing.dataset.drawn = 'before' }"
    )
    _picture(page, panel, f"{notebook}-before")
    dropdown = panel.locator("select").last
    label = dropdown.locator("option").nth(1).inner_text()
    dropdown.select_option(index=1)
    wanted = label.rsplit("(", 1)[1].rstrip(")")
    expect(sentence).to_have_text(re.compile(f"^{wanted} 条"), timeout=WAIT)
    listed = min(50, int(wanted.replace(",", "")))
    expect(panel.locator("table.gt_table tbody tr")).to_have_count(listed, timeout=WAIT)
    expect(panel.locator("[data-drawn=before]")).to_have_count(0, timeout=WAIT)
    page.wait_for_timeout(500)
    _picture(page, panel, f"{notebook}-after")
    assert panel.locator(".vega-embed canvas, .vega-embed svg").count() >= 1
    complaints = [text for text in page.complaints if not any(word in text for word in HARMLESS)]
    assert complaints == []


def test_the_menus_speak_chinese_and_no_news_pops_up(server, page):
    page.goto(f"{server}/lab?reset&token={TOKEN}", timeout=WAIT)
    page.wait_for_selector(".lm-MenuBar-itemLabel", timeout=WAIT)
    page.wait_for_function("() => document.querySelector('.lm-MenuBar').innerText.includes('文件')", timeout=WAIT)
    assert page.locator(".jp-Notification-Toast, .Toastify__toast").count() == 0


def test_a_trainee_answers_the_drill_in_its_panel(server, page):
    _run_all(page, server, "04_training_drill")
    panel = page.locator(".jp-OutputArea-output:has(.widget-slider)").last
    panel.scroll_into_view_if_needed(timeout=WAIT)
    panel.locator("select").first.select_option(index=2)
    panel.get_by_text("加入", exact=True).click()
    expect(panel.locator(".widget-html").filter(has_text="号码录错 · 70%")).to_be_visible(timeout=WAIT)
    panel.get_by_text("评分", exact=True).click()
    expect(panel.locator(".widget-html").filter(has_text=re.compile(r"得分 \d+\.\d / 100"))).to_be_visible(timeout=WAIT)
    panel.locator("table.gt_table").first.wait_for(timeout=WAIT)
    panel.locator(".vega-embed canvas, .vega-embed svg").first.wait_for(timeout=WAIT)
    _picture(page, panel, "04_training_drill")
    assert [text for text in page.complaints if not any(word in text for word in HARMLESS)] == []
