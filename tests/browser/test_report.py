"""The pages of a report as a person meets them: opened from a folder, with the network cut."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import openpyxl
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import sync_playwright

from audit_kit.core import places, schema
from audit_kit.core.words import Words
from audit_kit.report import run
from audit_kit.report.printing import browser_path
from audit_kit.training.world.simulate import simulate

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from playwright.sync_api import BrowserContext, Locator, Page

pytestmark = [pytest.mark.browser, pytest.mark.slow]
INVOICES = 900
LARGEST = 4_000_000
DRAWN = """() => [...document.querySelectorAll('[id^=altair-viz]')].map(
    chart => Boolean(chart.querySelector('canvas, svg')) && !chart.querySelector('.error'))"""


@pytest.fixture(scope="module", params=["zh", "en"])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A month's report of an engagement whose buyers' names attack pages and workbooks."""
    place = tmp_path_factory.mktemp(request.param)
    patch = pytest.MonkeyPatch()
    patch.setenv("AUDIT_KIT_CACHE", str(place / "cache"))
    simulate(place / "engagement", invoices=INVOICES, seed=5, hostile=True, format="parquet")
    try:
        return run.run_report(place / "engagement", out=place / "reports", lang=request.param).folder
    finally:
        patch.undo()


@pytest.fixture(scope="module")
def offline() -> Iterator[BrowserContext]:
    """A browser without a network."""
    with sync_playwright() as tool:
        browser = tool.chromium.launch(executable_path=browser_path(), args=["--no-sandbox"])
        yield browser.new_context(offline=True, viewport={"width": 1400, "height": 1000})
        browser.close()


def opened(context: BrowserContext, path: Path) -> tuple[Page, list[str]]:
    """Open a page, its charts drawn; return it with whatever it complained of or asked the network for."""
    page = context.new_page()
    said: list[str] = []
    page.on("console", lambda message: said.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("dialog", lambda dialog: (said.append(f"dialog {dialog.message}"), dialog.dismiss()))
    own = ("file:", "data:", "blob:")
    page.on("request", lambda request: None if request.url.startswith(own) else said.append(request.url))
    page.goto(path.as_uri())
    page.wait_for_function(f"() => ({DRAWN})().every(Boolean)", timeout=60_000)
    page.wait_for_timeout(300)
    return page, said


@pytest.mark.parametrize("name", ["index.html", "00_overview.html"])
def test_a_page_has_no_serious_fault_for_who_reads_by_ear_or_keyboard(
    folder: Path, offline: BrowserContext, name: str
) -> None:
    page, _ = opened(offline, folder / name)
    found = Axe().run(page).response["violations"]
    page.close()
    grave = [one for one in found if one["impact"] in ("serious", "critical")]
    assert [(one["id"], one["nodes"][0]["html"]) for one in grave] == []


def names() -> list[str]:
    return ["index.html", *(f"{path.stem}.html" for path in places.notebooks() if not path.name.startswith("04_"))]


@pytest.mark.parametrize("name", names())
def test_a_page_opens_without_a_network_and_draws_every_chart(folder: Path, offline: BrowserContext, name: str) -> None:
    page, said = opened(offline, folder / name)
    charts = page.evaluate(DRAWN)
    text = page.inner_text("body")
    page.close()
    assert said == []
    assert all(charts)
    assert len(charts) >= (0 if name == "index.html" else 2)
    assert "49" not in re.findall(r"\{\{.*?\}\}|\b49贸易", text)
    assert "Traceback" not in text
    assert (folder / name).stat().st_size <= LARGEST


def test_the_list_of_months_leads_to_every_page(folder: Path, offline: BrowserContext) -> None:
    page, said = opened(offline, folder.parent / "index.html")
    page.click("table a")
    for tab in range(1, len(names())):
        page.click(f"nav a:nth-of-type({tab + 1})")
        assert page.url.endswith(names()[tab])
        page.click("nav a:nth-of-type(1)")
    page.close()
    assert said == []


def test_a_page_speaks_one_language(folder: Path, offline: BrowserContext) -> None:
    lang = folder.parent.parent.name.removesuffix("0")
    page, _ = opened(offline, folder / "00_overview.html")
    headings = page.eval_on_selector_all("h1, h2", "found => found.map(one => one.innerText)")
    declared = page.get_attribute("html", "lang")
    page.close()
    chinese = [bool(re.search("[\u4e00-\u9fff]", heading)) for heading in headings]
    assert declared == {"zh": "zh-CN", "en": "en"}[lang]
    assert all(chinese) if lang == "zh" else not any(chinese)


def test_the_contents_lead_to_the_headings(folder: Path, offline: BrowserContext) -> None:
    page, _ = opened(offline, folder / "02_missing_invoices.html")
    links = page.eval_on_selector_all(".contents a", "found => found.map(one => one.getAttribute('href').slice(1))")
    missing = page.evaluate("names => names.filter(name => !document.getElementById(name))", links)
    page.close()
    assert len(links) >= 4
    assert missing == []


def test_dragging_over_days_counts_again(folder: Path, offline: BrowserContext) -> None:
    page, _ = opened(offline, folder / "00_overview.html")
    chart = page.evaluate_handle(
        """() => [...document.querySelectorAll('[id^=altair-viz]')].find(
            one => JSON.stringify(one.__view__ ? one.__view__.getState().signals : {}).includes('brushed_days'))
            || [...document.querySelectorAll('[id^=altair-viz]')][2]"""
    ).as_element()
    assert chart is not None
    chart.scroll_into_view_if_needed()
    box = chart.bounding_box()
    assert box is not None
    before = chart.screenshot()
    page.mouse.move(box["x"] + 140, box["y"] + 120)
    page.mouse.down()
    page.mouse.move(box["x"] + 300, box["y"] + 150, steps=8)
    page.mouse.up()
    page.wait_for_timeout(500)
    after = chart.screenshot()
    page.close()
    assert before != after


def test_rows_are_saved_from_inside_the_page(folder: Path, offline: BrowserContext) -> None:
    page, said = opened(offline, folder / "00_overview.html")
    with page.expect_download() as saved:
        page.locator("button", has_text=re.compile("CSV", re.IGNORECASE)).first.click()
    data = saved.value.path().read_bytes()
    page.close()
    assert data.startswith(b"\xef\xbb\xbf")
    assert b'="25' in data.replace(b'""', b'"')
    assert said == []


def test_a_click_on_a_title_sorts_and_amounts_are_found_with_separators_and_without(
    folder: Path, offline: BrowserContext
) -> None:
    page, said = opened(offline, folder / "00_overview.html")
    table = page.locator(".dt-container").filter(has=page.locator(".dtcc-dropdown, .dtcc-button")).first
    lang = "zh" if table.get_by_text("搜索：").count() else "en"
    ranks = list(Words(lang).terms("severities", schema.SEVERITIES).values())

    def column(place: int) -> list[str]:
        page.wait_for_timeout(400)
        return table.locator(f"tbody tr td:nth-child({place})").all_inner_texts()

    def title(place: int) -> Locator:
        return table.locator(f"thead tr:first-child th:nth-child({place}) .dt-column-title").first

    for reverse in (False, True):
        title(1).click()
        found = [ranks.index(text) for text in column(1)]
        assert found == sorted(found, reverse=reverse)
    title(3).click()
    numbers = [text for text in column(3) if text]
    assert numbers == sorted(numbers)
    for _ in range(2):
        title(7).click()
    amounts = column(7)
    assert "," in amounts[0]
    assert [float(text.replace(",", "")) for text in amounts] == sorted(
        (float(text.replace(",", "")) for text in amounts), reverse=True
    )
    assert "dt-right" in str(table.locator("tbody tr:first-child td:nth-child(7)").get_attribute("class"))
    for text in (amounts[0], amounts[0].replace(",", "")):
        table.locator(".dt-search > input").fill(text)
        assert amounts[0] in column(7)
        table.locator(".dt-search > input").fill("")
        table.locator(".dtcc-searchNumber input").first.fill(text)
        assert set(column(7)) == {amounts[0]}
        table.locator(".dtcc-searchNumber input").first.fill("")
    page.close()
    assert said == []


def test_hostile_names_are_only_text_in_the_workbook(folder: Path) -> None:
    book = openpyxl.load_workbook(folder / "findings.xlsx")
    cells = [cell for sheet in book for row in sheet for cell in row]
    assert not [cell.coordinate for cell in cells if cell.data_type == "f" or cell.hyperlink is not None]
