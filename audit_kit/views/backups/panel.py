"""The panel on backups in JupyterLab."""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl

from audit_kit.views.backups import charts
from audit_kit.views.show.panel import Columns, Panel
from audit_kit.views.show.parts import within

if TYPE_CHECKING:
    from audit_kit.views.show.page import Page
    from audit_kit.views.show.parts import Chart


def backup_panel(page: Page) -> Panel:
    """Return notebook 03's panel: planned slots by job, kind and state; the chart is their timeline."""
    words, audit = page.words, page.analysis.backup
    states = words.terms("slots", ("ok", "late", "missing", "unknown"))
    slots = audit.slots.with_columns(pl.col("kind", "state").cast(pl.String))
    slots = within(slots, page.start, page.end, column="due")
    kinds = words.terms("backup_kinds", slots["kind"].unique())
    rows = charts.with_next(slots).with_columns(
        shown=pl.col("state").replace(states),
        kind_name=pl.col("kind").replace(kinds),
        backup_id=pl.col("backup_id").str.slice(0, 24),
    )
    listed = words.heads("job", kind_name="backup_kind", due="due", started_at="started", backup_id="backup_id")
    columns = Columns(
        choices=words.heads("job", kind_name="backup_kind", shown="state"),
        listed=listed | words.heads(shown="state"),
        searched=("job", "backup_id"),
        day="due",
        name=f"backups-{page.month}",
        marks={"state": "shown", "starts": "due"},
        order={"shown": list(states.values())},
    )

    def draw(selected: pl.DataFrame) -> Chart:
        return charts.slot_lanes(charts.stretches(selected), lang=page.lang)

    return Panel(rows, columns, draw, lang=page.lang, period=page.period)
