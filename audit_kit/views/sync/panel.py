"""The panel on sync delays in JupyterLab."""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl

from audit_kit.rules.sync import observations
from audit_kit.rules.sync.service_level import of_delays, timed
from audit_kit.views.show.panel import Columns, Panel
from audit_kit.views.sync import charts

if TYPE_CHECKING:
    from audit_kit.views.show.page import Page
    from audit_kit.views.show.parts import Chart


def delay_panel(page: Page) -> Panel:
    """Return notebook 01's panel: delays by channel, day and state; the chart is the delay curve of the selection."""
    words, analysis = page.words, page.analysis
    wanted = [name for name in ("gross", "kind", "buyer_name", "account") if name in analysis.ledger.columns]
    ledger = analysis.ledger.select(wanted).with_row_index("ledger_row")
    keys = analysis.matches.select("ledger_row", "invoice_key").drop_nulls("ledger_row").unique("ledger_row")
    state = pl.when("visible").then(pl.lit(words("panel.arrived"))).otherwise(pl.lit(words("panel.waiting")))
    rows = (
        of_delays(analysis.observations, analysis.findings)
        .with_columns(
            seen=state, minutes=pl.when(~(pl.col("visible") & pl.col("visible_at").is_null())).then("minutes")
        )
        .join(keys, on="ledger_row", how="left", maintain_order="left")
        .join(ledger, on="ledger_row", how="left", maintain_order="left")
        .sort("minutes", descending=True, nulls_last=True)
    )
    rows = page.safe(rows)
    listed = words.heads("channel", "invoice_key", "issued_at", whole_minutes="minutes_waiting", seen="is_visible")
    others = {name: "invoice_kind" if name == "kind" else name for name in wanted[1:] if rows[name].drop_nulls().len()}
    columns = Columns(
        choices=words.heads("channel", seen="is_visible", **others),
        listed=listed | words.heads(gross="amount", **others),
        searched=("invoice_key", *wanted[1:]),
        amount="gross",
        day="issued_at",
        name=f"delays-{page.month}",
        opens="invoice_key",
        marks={"channel": "channel", "day": "issued_at"},
    )
    sync = analysis.engagement.policy.sync

    def draw(selected: pl.DataFrame) -> Chart:
        told = timed(selected)
        curves = observations.survival(told)
        steps = charts.thinned(curves, told)
        goal = {"target_hours": sync.target_hours, "target_share": sync.target_share}
        return charts.delay_curves(steps, observations.quantiles(curves), **goal, lang=page.lang)

    return Panel(
        rows.with_columns(whole_minutes=pl.col("minutes").round().cast(pl.Int64)),
        columns,
        draw,
        lang=page.lang,
        period=page.period,
    )
