"""The panel on missing invoices in JupyterLab."""

from __future__ import annotations

from typing import TYPE_CHECKING

from audit_kit.views.missing import charts
from audit_kit.views.show.finding_rows import finding_columns, finding_rows, not_listed
from audit_kit.views.show.panel import Panel

if TYPE_CHECKING:
    import polars as pl

    from audit_kit.views.show.page import Page
    from audit_kit.views.show.parts import Chart


def missing_panel(page: Page) -> Panel:
    """Return notebook 02's panel: findings by channel, cause and outcome; the chart is causes and their days."""
    rows = finding_rows(page, not_listed(page.analysis.findings))
    columns = finding_columns(page, rows, {"cause": "cause", "outcome": "outcome"})

    def draw(selected: pl.DataFrame) -> Chart:
        frame = charts.cause_days(page.analysis, selected.with_columns(cause="code"))
        return charts.causes_in_time(frame, lang=page.lang)

    return Panel(rows, columns, draw, lang=page.lang, period=page.period)
