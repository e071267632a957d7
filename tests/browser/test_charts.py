"""Charts linked by selections, in a browser and without a kernel: what is done in one panel is seen in the other."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import Page, sync_playwright

from audit_kit.report.printing import browser_path
from audit_kit.rules.sync import observations
from audit_kit.training.world.simulate import simulate
from audit_kit.views.backups import charts as backup_charts
from audit_kit.views.missing import charts as missing_charts
from audit_kit.views.missing import pattern_charts
from audit_kit.views.overview import charts
from audit_kit.views.show import vega
from audit_kit.views.show.page import open_page
from audit_kit.views.sync import charts as sync_charts
from audit_kit.views.sync import late_charts

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = [pytest.mark.browser, pytest.mark.slow]

KEPT_VIEWS = """<script>const embed = window.vegaEmbed; window.vegaEmbed = (box, spec, options) => {
  box.__again__ = async () => { box.__view__?.finalize(); box.__view__ = (await embed(box, spec, options)).view; };
  return box.__again__();
};</script>"""
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
        "outcomes": charts.outcome_bar(charts.outcome_totals(analysis)),
        "found": charts.cause_bars(charts.cause_totals(opened.findings)),
        "curves": sync_charts.delay_curves(
            sync_charts.curve_steps(analysis),
            observations.quantiles(analysis.curves),
            target_hours=24,
            target_share=0.99,
        ),
        "runs": pattern_charts.run_strips(pattern_charts.issue_axis(analysis)),
        "coverage": backup_charts.coverage_bars(backup_charts.coverage(backup)),
        "sizes": backup_charts.size_lines(backup_charts.sizes(opened.whole.engagement.table("backups"), **month)),
        "late": late_charts.late_bars(late_charts.late_bins(analysis)),
        "backups": backup_charts.timeline(
            backup_charts.segments(backup, **month), backup_charts.recovery(backup, **month), target_minutes=120
        ),
    }
    body = "".join(f'<section id="{name}">{_html(chart)}</section>' for name, chart in drawn.items())
    path = place / "charts.html"
    path.write_text(f'<!doctype html><meta charset="utf-8">{vega.scripts()}{KEPT_VIEWS}<body>{body}', encoding="utf-8")
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
        opened.wait_for_function("document.querySelectorAll('section .marks').length >= 12", timeout=60_000)
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


# Each panel of a chart: where it stands, how many marks and labels are in it, and how many of its marks have a size.
PANELS = """(name) => {
  const view = document.querySelector(`#${name} [id^=altair-viz]`).__view__;
  const walk = (mark, x, y, panel, found) => {
    if (mark.marktype !== 'group') {
      if (!panel || mark.role !== 'mark') return;
      const shown = mark.items.filter((one) => one.opacity !== 0);
      panel.marks += shown.length;
      if (mark.marktype === 'text') return;
      panel.sized += shown.filter((one) => mark.marktype !== 'rect' || (one.width > 0.5 && one.height > 0.5)).length;
      return;
    }
    if (['legend', 'axis', 'title'].includes(mark.role)) return;
    for (const group of mark.items) {
      const [left, top] = [x + (group.x || 0), y + (group.y || 0)];
      let inner = panel;
      if (!panel && group.width > 0 && (mark.role === 'scope' || found.whole)) {
        found.push(inner = {left, top, width: group.width, height: group.height, marks: 0, sized: 0});
      }
      for (const item of group.items) walk(item, left, top, inner, found);
    }
  };
  const panels = (whole) => {
    const found = Object.assign([], {whole});
    walk(view.scenegraph().root, ...view.origin(), null, found);
    return found;
  };
  const found = panels(false);
  return [...(found.length ? found : panels(true))];
}"""
AS_IT_WAS = "async (name) => { await document.querySelector(`#${name} [id^=altair-viz]`).__again__(); }"
WORST_DAY = """() => {
  const view = document.querySelector('#where [id^=altair-viz]').__view__, found = [];
  const walk = (mark, x, y) => mark.items.forEach((one) => {
    const [left, top] = [x + (one.x || 0), y + (one.y || 0)];
    if (mark.marktype === 'group') one.items.forEach((inner) => walk(inner, left, top));
    else if (one.datum?.weekday !== undefined && mark.marktype === 'rect')
      found.push({x: left + one.width / 2, y: top + one.height / 2, missing: one.datum.missing});
  });
  walk(view.scenegraph().root, ...view.origin());
  return found.sort((one, other) => other.missing - one.missing)[0];
}"""
COUNTED = """() => {
  const view = document.querySelector('#where [id^=altair-viz]').__view__;
  let sum = 0;
  const walk = (mark) => mark.items.forEach((one) => {
    if (mark.marktype === 'group') one.items.forEach(walk);
    else if (mark.marktype === 'rect' && one.datum?.hour !== undefined) sum += one.datum.missing;
  });
  walk(view.scenegraph().root);
  return sum;
}"""
CLICKS = [(0.15, 0.2), (0.35, 0.5), (0.55, 0.4), (0.85, 0.7)]
DRAGS = [(0.05, 0.4), (0.3, 0.6), (0.55, 0.95), (0.02, 0.98)]  # the last over all there is


@pytest.mark.parametrize("name", sorted({*HANDS, "outcomes", "found", "curves", "runs", "coverage", "sizes"}))
def test_wherever_one_clicks_or_drags_no_panel_goes_blank(page, name):
    drawing = page.locator(f"#{name} .marks").first
    drawing.scroll_into_view_if_needed()
    box = drawing.bounding_box()
    page.evaluate(AS_IT_WAS, name)
    before = page.evaluate(PANELS, name)
    assert before
    assert all(panel["sized"] for panel in before)
    for panel in before:
        left, top = box["x"] + panel["left"], box["y"] + panel["top"]
        hands = [(x, x, y) for x, y in CLICKS] + [(start, end, 0.5) for start, end in DRAGS]
        for start, end, height in hands:
            y = top + panel["height"] * height
            if start == end:
                page.mouse.click(left + panel["width"] * start, y)
            else:
                _drag(page, left + panel["width"] * start, left + panel["width"] * end, y)
            after = page.evaluate(PANELS, name)
            assert [place for place, one in enumerate(after) if not one["marks"]] == [], (panel, start, end)
            page.mouse.dblclick(left + panel["width"] * 0.5, y)  # takes back what was selected
            if (start, end) == DRAGS[-1]:
                assert [place for place, one in enumerate(after) if not one["sized"]] == [], panel


def test_a_day_of_the_calendar_counts_in_every_other_panel(page):
    page.evaluate(AS_IT_WAS, "where")
    drawing = page.locator("#where .marks").first
    drawing.scroll_into_view_if_needed()
    box = drawing.bounding_box()
    day = page.evaluate(WORST_DAY)
    page.mouse.click(box["x"] + day["x"], box["y"] + day["y"])
    assert page.evaluate(COUNTED) == pytest.approx(day["missing"])
    page.evaluate(AS_IT_WAS, "where")
    assert page.evaluate(COUNTED) > day["missing"]
