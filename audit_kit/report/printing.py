"""Pages as PDF, printed by a Chromium that is already on the machine."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

from audit_kit.core.errors import RequestError
from audit_kit.core.processes import program

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime
    from pathlib import Path

    from playwright.sync_api import Browser, BrowserType

BROWSER = "AUDIT_KIT_BROWSER"
_NODE = re.compile(rb"\(node(\d{8})\)")
_TIME = re.compile(rb"(/(?:CreationDate|ModDate) \(D:)(\d{14})")
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome", "msedge", "microsoft-edge")
_PROGRAMS = ("PROGRAMFILES", "PROGRAMFILES(X86)", "LOCALAPPDATA")
_INSTALLED = (r"Google\Chrome\Application\chrome.exe", r"Microsoft\Edge\Application\msedge.exe")
_MAC = "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome"
_DRAWN = """() => [...document.querySelectorAll('.vega-embed, [id^=altair-viz]')]
    .every(chart => chart.querySelector('canvas, svg')) && document.fonts.status === 'loaded'"""
_FOOT = (
    '<div style="width:100%;font-size:8px;color:#5b6573;padding:0 13mm;display:flex;justify-content:space-between">'
    '<span class="title"></span><span><span class="pageNumber"></span> / <span class="totalPages"></span></span></div>'
)


def browser_path() -> str:
    """Return a Chromium, Chrome or Edge: the one AUDIT_KIT_BROWSER names, else the first found.

    Raises:
        RequestError: there is none, or playwright is not installed.
    """
    try:
        import playwright.sync_api  # noqa: F401, PLC0415  an extra
    except ImportError:
        raise RequestError("error_report.no_playwright") from None
    if named := os.environ.get(BROWSER):
        if found := program(named):
            return found
        raise RequestError("error_report.browser_unusable", browser=BROWSER, named=named)
    places = [os.environ[place] for place in _PROGRAMS if place in os.environ]
    installed = [os.path.join(place, name) for place in places for name in _INSTALLED]  # noqa: PTH118
    for name in (*NAMES, *installed, _MAC):
        if found := program(name):
            return found
    raise RequestError("error_report.no_browser", browser=BROWSER)


def _browser(chromium: BrowserType) -> Browser:
    """Start the browser in its sandbox; without one only where it cannot start, as for root and in some containers."""
    from playwright.sync_api import Error  # noqa: PLC0415  an extra

    path = browser_path()
    try:
        return chromium.launch(executable_path=path, chromium_sandbox=True)
    except Error:
        return chromium.launch(executable_path=path, chromium_sandbox=False)


def print_pages(pages: Sequence[Path], *, made_at: datetime) -> list[Path]:
    """Print each HTML page beside itself, once all its charts are drawn; return the PDF files.

    `made_at` stands in their properties, so that a page is the same file whenever it is printed.
    """
    from playwright.sync_api import sync_playwright  # noqa: PLC0415  an extra

    printed = []
    with sync_playwright() as tool:
        browser = _browser(tool.chromium)
        context = browser.new_context(offline=True, viewport={"width": 1240, "height": 1600})
        for page_file in pages:
            page = context.new_page()
            page.goto(page_file.resolve().as_uri())
            page.wait_for_function(_DRAWN, timeout=60_000)
            out = page_file.with_suffix(".pdf")
            page.pdf(
                path=out,
                format="A4",
                prefer_css_page_size=True,
                print_background=True,
                display_header_footer=True,
                header_template="<span></span>",
                footer_template=_FOOT,
                tagged=True,
                outline=True,
            )
            page.close()
            out.write_bytes(_steady(out.read_bytes(), made_at))
            printed.append(out)
        browser.close()
    return printed


def _steady(pdf: bytes, made_at: datetime) -> bytes:
    """Return a PDF with its times, and the marks of table heads, which the browser counts over all that it printed."""
    places = {number: b"(node%08d)" % place for place, number in enumerate(sorted(set(_NODE.findall(pdf))))}
    stamp = f"{made_at:%Y%m%d%H%M%S}".encode()
    return _TIME.sub(lambda match: match[1] + stamp, _NODE.sub(lambda match: places[match[1]], pdf))
