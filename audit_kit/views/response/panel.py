"""The panel on the response in JupyterLab."""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl

from audit_kit.views.response import charts
from audit_kit.views.show.panel import Columns, Panel

if TYPE_CHECKING:
    from audit_kit.views.show.page import Page
    from audit_kit.views.show.parts import Chart


def response_panel(page: Page) -> Panel:
    """Return notebook 05's panel: tickets by rung, state and speed of reply; the chart is how soon they answer."""
    words, audit = page.words, page.analysis.response
    rows = charts.of_period(audit.tickets, page.start, page.end).with_columns(charts.speed().alias("speed"))
    rows = rows.with_columns(
        rung=pl.col("level").replace(words.section("rung")),
        said=pl.col("state").replace(words.section("ticket_word")),
        reply=pl.col("speed").replace(words.section("reply_speed")),
        next_rung=pl.col("next_level").replace(words.section("rung")),
        number=pl.col("keys").list.first(),
    )
    listed = words.heads(
        "ticket", "rung", "opened_at", "due_at", number="invoice_key", reply="reply", next_rung="next_rung"
    )
    columns = Columns(
        choices=words.heads(rung="rung", said="state", reply="reply"),
        listed=listed | words.heads("next_at", "yuan"),
        searched=("ticket", "number"),
        amount="yuan",
        day="opened_at",
        opens="number",
        marks={"speed": "reply"},
    )
    allowed = page.analysis.engagement.policy.response.first_reply_hours

    def draw(selected: pl.DataFrame) -> Chart:
        return charts.reply_bars(charts.replies(selected), allowed=allowed, lang=page.lang)

    return Panel(page.safe(rows), columns, draw, lang=page.lang, period=page.period)
