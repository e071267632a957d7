"""What each chart draws of the sample, kept as text: its spec and the figures it holds.

Draw them again after a change that is meant: AUDIT_KIT_SNAPSHOTS=write python -m pytest tests/views/test_snapshots.py
"""

from __future__ import annotations

import difflib
import json
import os
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl
import pytest

from audit_kit.analysis import earlier
from audit_kit.core.places import sample
from audit_kit.views.backups import charts as backup_charts
from audit_kit.views.missing import charts as missing_charts
from audit_kit.views.missing import pattern_charts
from audit_kit.views.overview import charts
from audit_kit.views.response import charts as response_charts
from audit_kit.views.response import machine_charts
from audit_kit.views.show.page import Page, open_page
from audit_kit.views.sync import charts as sync_charts
from audit_kit.views.sync import late_charts
from audit_kit.views.sync import tables as sync_tables

if TYPE_CHECKING:
    from collections.abc import Callable

    from audit_kit.rules.response.response import ResponseAudit
    from audit_kit.views.show.parts import Chart

PLACE = Path(__file__).parent / "snapshots"
WRITE = os.environ.get("AUDIT_KIT_SNAPSHOTS") == "write"
MOST_LINES = 40


def _month(page: Page) -> dict[str, Any]:
    return {"start": page.start, "end": page.end}


def _changes(page: Page) -> Chart:
    severe = pl.col("severity").cast(pl.String)
    marked = page.findings.with_columns(change=pl.when(severe == "high").then(pl.lit("new")).otherwise(pl.lit("open")))
    return charts.change_bars(charts.change_totals(marked))


def _reliability(page: Page) -> Chart:
    told = page.whole.findings.select("ledger_row", "probability_late")
    return late_charts.reliability(earlier.settling.settle(told, page.whole.matches).reliability)


def _curves(page: Page) -> Chart:
    sync = page.analysis.engagement.policy.sync
    goal = {"target_hours": sync.target_hours, "target_share": sync.target_share}
    return sync_charts.delay_curves(sync_charts.curve_steps(page.whole), page.whole.quantiles, **goal)


CHARTS: dict[str, Callable[[Page], Chart]] = {
    "overview_outcomes": lambda page: charts.outcome_bar(charts.outcome_totals(page.analysis)),
    "overview_days": lambda page: charts.day_bars(charts.days(page.analysis, **_month(page))),
    "overview_causes": lambda page: charts.cause_bars(charts.cause_totals(page.findings)),
    "overview_changes": _changes,
    "sync_curves": _curves,
    "sync_budget": lambda page: late_charts.budget_bars(sync_tables.budget(page.whole, **_month(page))),
    "sync_hours": lambda page: sync_charts.slow_hours(sync_charts.hours(page.whole, **_month(page)), page.whole.stops),
    "sync_late": lambda page: late_charts.late_bars(late_charts.late_bins(page.analysis)),
    "sync_reliability": _reliability,
    "missing_where": lambda page: missing_charts.where_missing(
        missing_charts.cells(page.analysis, **_month(page)), missing_charts.bands(page.analysis, **_month(page))
    ),
    "missing_causes": lambda page: missing_charts.causes_in_time(missing_charts.cause_days(page.analysis)),
    "missing_runs": lambda page: pattern_charts.run_strips(pattern_charts.issue_axis(page.analysis)),
    "missing_levels": lambda page: pattern_charts.level_odds(pattern_charts.levels(page.analysis)),
    "missing_digits": lambda page: pattern_charts.digit_bars(pattern_charts.digits(page.analysis)),
    "backups_timeline": lambda page: backup_charts.timeline(
        backup_charts.segments(page.analysis.backup, **_month(page)),
        backup_charts.recovery(page.analysis.backup, **_month(page)),
        target_minutes=1620,
    ),
    "backups_sizes": lambda page: backup_charts.size_lines(
        backup_charts.sizes(page.analysis.engagement.table("backups"), **_month(page))
    ),
    "response_replies": lambda page: response_charts.reply_bars(
        response_charts.replies(page.analysis.response.tickets),
        allowed=page.analysis.engagement.policy.response.first_reply_hours,
    ),
    "response_ladder": lambda page: response_charts.ladder(
        response_charts.climbing(page.analysis.response.tickets, page.analysis.taken_at), page.analysis.taken_at
    ),
    "response_register": lambda page: response_charts.register_bars(
        response_charts.by_day(page.analysis.response), response_charts.by_amount(page.analysis.response)
    ),
    "response_gaps": lambda page: response_charts.gap_bars(
        response_charts.gap_rows(page.analysis.response), has_register=True
    ),
    "response_voices": lambda page: response_charts.voice_bars(response_charts.voices(page.analysis.response)),
    "response_metrics": lambda page: machine_charts.metric_lines(
        machine_charts.readings(page.analysis.response), machine_charts.happenings(page.analysis.response)
    ),
    "response_crossings": lambda page: machine_charts.crossing_bars(
        machine_charts.crossings(_rising(page), page.analysis.taken_at), page.analysis.taken_at
    ),
    "response_resends": lambda page: machine_charts.resend_bars(
        machine_charts.sent_again(page.analysis.response), has_log=True
    ),
    "backups_coverage": lambda page: backup_charts.coverage_bars(backup_charts.coverage(page.analysis.backup)),
}


def _rising(page: Page) -> ResponseAudit:
    """What the sample's machines would show were none over its threshold yet: crossings ahead."""
    now = page.analysis.taken_at
    days = {"earliest": 9, "likely": 14, "latest": 30}
    ahead = [pl.lit(now + timedelta(days=count), pl.Datetime("us")).alias(name) for name, count in days.items()]
    audit = page.analysis.response
    return replace(audit, forecasts=audit.forecasts.with_columns(*ahead, state=pl.lit("rising")))


@pytest.fixture(scope="module")
def opened() -> Page:
    return open_page(str(sample()))


def normal(chart: Chart) -> str:
    """Return a chart's spec as text that is the same from run to run, its data as sums of each column."""
    spec = chart.to_dict()
    spec.pop("config", None)
    spec.pop("$schema", None)
    datasets = spec.pop("datasets", {})
    names = {name: f"data {place}" for place, name in enumerate(_in_order(spec, datasets))}
    views: dict[str, str] = {}
    text = json.dumps(spec, ensure_ascii=False, indent=1, sort_keys=True)
    for name, short in names.items():
        text = text.replace(name, short)
    for view in _views(spec):
        text = text.replace(f'"{view}"', f'"{views.setdefault(view, f"view {len(views)}")}"')
    sums = {short: _sums(datasets[name]) for name, short in names.items()}
    return f"{text}\n{json.dumps(sums, ensure_ascii=False, indent=1)}\n"


def _in_order(spec: Any, datasets: dict[str, Any]) -> list[str]:
    text = json.dumps(spec)
    return sorted(datasets, key=text.index)


def _views(spec: Any) -> list[str]:
    if isinstance(spec, dict):
        own = [spec["name"]] if str(spec.get("name", "")).startswith("view_") else []
        return own + [view for value in spec.values() for view in _views(value)]
    return [view for value in spec for view in _views(value)] if isinstance(spec, list) else []


def _sums(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the number of rows, sums of figures to 6 digits, and how often each of few words occurs."""
    frame = pl.DataFrame(rows, infer_schema_length=None)
    found: dict[str, Any] = {"rows": frame.height}
    for name, column in frame.to_dict(as_series=True).items():
        if column.dtype.is_numeric():
            found[name] = float(f"{column.sum():.6g}")
        elif column.dtype == pl.String and column.n_unique() <= 20:
            found[name] = dict(column.value_counts().sort(name).iter_rows())
        else:
            found[name] = [str(column.drop_nulls().min()), str(column.drop_nulls().max()), column.n_unique()]
    return found


@pytest.mark.slow
@pytest.mark.parametrize("name", CHARTS)
def test_a_chart_draws_what_it_drew(name, opened):
    drawn, place = normal(CHARTS[name](opened)), PLACE / f"{name}.json.txt"
    if WRITE:
        place.parent.mkdir(exist_ok=True)
        place.write_text(drawn, encoding="utf-8")
    before = place.read_text(encoding="utf-8").splitlines()
    changed = list(difflib.unified_diff(before, drawn.splitlines(), lineterm="", n=1))
    assert not changed, "\n".join([f"{name} draws otherwise:", *changed[:MOST_LINES], f"… {len(changed)} lines in all"])


def test_every_snapshot_is_of_a_chart():
    assert {path.name.removesuffix(".json.txt") for path in PLACE.iterdir()} == set(CHARTS)
