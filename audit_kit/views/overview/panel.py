"""The overview's panel in JupyterLab."""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl

from audit_kit.views.overview import charts
from audit_kit.views.show.finding_rows import finding_columns, finding_rows
from audit_kit.views.show.panel import Panel

if TYPE_CHECKING:
    from audit_kit.views.show.page import Page
    from audit_kit.views.show.parts import Chart


def findings_panel(page: Page) -> Panel:
    """Return the overview's panel: all findings by area, severity, cause; the chart is causes by number and yuan."""
    rows = finding_rows(page, page.findings)
    areas = page.words.terms("areas", rows["area"].unique())
    rows = rows.with_columns(area_name=pl.col("area").replace(areas))
    columns = finding_columns(page, rows, {"area_name": "area", "cause": "cause"})

    def draw(selected: pl.DataFrame) -> Chart:
        return charts.cause_bars(charts.cause_totals(selected.with_columns(cause="code")), lang=page.lang)

    return Panel(rows, columns, draw, lang=page.lang, period=page.period)
