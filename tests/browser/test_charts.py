"""Charts linked by selections, in a browser and without a kernel: what is done in one panel is seen in the other."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import Page, sync_playwright

from audit_kit.report.printing import browser_path
from audit_kit.training.world.simulate import simulate
from audit_kit.views.backups import charts as backup_charts
from audit_kit.views.missing import charts as missing_charts
from audit_kit.views.overview import charts
from audit_kit.views.show import vega
from audit_kit.views.show.page import open_page
from audit_kit.views.sync import charts as sync_charts
from audit_kit.views.sync import late_charts

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = [pytest.mark.browser, pytest.mark.slow]

Box = tuple[float, float, float, float]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    place = tmp_path_factory.mktemp("charts")
    patch = pytest.MonkeyPatch()
    patch.setenv("AUDIT_KIT_CACHE", str(place / "cache"))
    patch.setenv("AUDIT_KIT_BATCH", "1")
    simulate(place / "engagement", invoices=1200, seed=8, month="2025-05", format="parquet", hostile=True)
    opened = open_page(str(place / "engagement"), month="2025-05")
    month = {"start": opened.start, "end": opened.end}
    analysis, backup = opened.analysis, opened.analysis.backup
    drawn = {
        "days": charts.day_bars(charts.days(analysis, **month)),
        "where": missing_charts.where_missing(
            missing_charts.cells(analysis, **month), missing_charts.bands(analysis, **month)
        ),
        "causes": missing_charts.causes_in_time(missing_charts.cause_days(analysis)),
        "slow": sync_charts.slow_hours(sync_charts.hours(opened.whole, **month), analysis.stops),
        "late": late_charts.late_bars(late_charts.late_bins(analysis)),
        "backups": backup_charts.timeline(
            backup_charts.segments(backup, **month), backup_charts.recovery(backup, **month), target_minutes=120
        ),
    }
    body = "".join(f'<section id="{name}">{_html(chart)}</section>' for name, chart in drawn.items())
    path = place / "charts.html"
    path.write_text(f'<!doctype html><meta charset="utf-8">{vega.scripts()}<body>{body}', encoding="utf-8")
    yield path
    patch.undo()


def _html(chart) -> str:
    bundle = chart._repr_mimebundle_()
    return (bundle[0] if isinstance(bundle, tuple) else bundle)["text/html"]


@pytest.fixture(scope="module")
def page(made):
    with sync_playwright() as tool:
        browser = tool.chromium.launch(executable_path=browser_path(), args=["--no-sandbox"])
        opened = browser.new_context(offline=True, viewport={"width": 1000, "height": 900}).new_page()
        opened.goto(made.as_uri())
        opened.wait_for_function("document.querySelectorAll('section .marks').length >= 6", timeout=60_000)
        yield opened
        browser.close()


def _drag(page: Page, left: float, right: float, height: float) -> None:
    page.mouse.move(left, height)
    page.mouse.down()
    page.mouse.move(right, height, steps=6)
    page.mouse.up()


# Where the hand goes, as shares of the drawing (from, to, height; from = to is a click), and which part must answer:
# left, top, right, bottom.
HANDS: dict[str, tuple[tuple[float, float, float], Box]] = {
    "days": ((0.2, 0.4, 0.6), (0.72, 0.1, 1.0, 1.0)),
    "where": ((0.33, 0.33, 0.3), (0.0, 0.65, 1.0, 1.0)),
    "causes": ((0.65, 0.8, 0.5), (0.1, 0.15, 0.5, 0.9)),
    "slow": ((0.3, 0.5, 0.4), (0.72, 0.1, 1.0, 0.8)),
    "late": ((0.1, 0.2, 0.6), (0.7, 0.1, 1.0, 1.0)),
    "backups": ((0.3, 0.6, 0.75), (0.1, 0.1, 1.0, 0.38)),
}


@pytest.mark.parametrize("name", HANDS)
def test_what_is_done_in_one_panel_is_seen_in_the_other(page, name):
    (start, end, height), (left, top, right, bottom) = HANDS[name]
    drawing = page.locator(f"#{name} .marks").first
    drawing.scroll_into_view_if_needed()
    box = drawing.bounding_box()
    assert box is not None
    clip = {
        "x": box["x"] + box["width"] * left,
        "y": box["y"] + box["height"] * top,
        "width": box["width"] * (right - left),
        "height": box["height"] * (bottom - top),
    }
    picture: Callable[[], bytes] = lambda: page.screenshot(clip=clip)  # noqa: E731 - taken twice
    page.mouse.move(1, 1)
    before = picture()
    where = box["x"] + box["width"] * start, box["x"] + box["width"] * end, box["y"] + box["height"] * height
    if start == end:
        page.mouse.click(where[0], where[2])
    else:
        _drag(page, *where)
    page.mouse.move(1, 1)
    page.wait_for_timeout(600)
    assert picture() != before
