"""What a trainee looks through: the invoices on which the two sides do not agree, with what the logs say of them.

No cause is named here; that is the trainee's part.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import altair as alt
import polars as pl

from audit_kit.analysis.work import analyse
from audit_kit.core import schema
from audit_kit.core.identity import with_key
from audit_kit.core.words import Words
from audit_kit.loaders.engagement.engagement import open_engagement
from audit_kit.views.show import theme
from audit_kit.views.show.panel import Columns, Panel
from audit_kit.views.show.parts import bounded, title, tooltips

if TYPE_CHECKING:
    from pathlib import Path

    from audit_kit.views.show.parts import Chart

CHOICES = ("outcome", "differs", "channel", "account", "kind", "last_event")
LISTED = ("serial", "invoice_key", "issued_at", "amount", *CHOICES, "buyer_name")


def ledger_rows(folder: Path, *, lang: str = "zh") -> pl.DataFrame:
    """Return every row of a drill's ledger: `ledger_row`, `serial`, `key`, and LISTED."""
    analysis, words = analyse(open_engagement(folder), lang=lang), Words(lang)
    booked = with_key(analysis.ledger).with_row_index("ledger_row")
    found = analysis.matches.drop_nulls("ledger_row").unique("ledger_row", keep="first", maintain_order=True)
    matches = found.select("ledger_row", pl.col("outcome").cast(pl.String), differs=pl.col("differences").list.first())
    log = with_key(analysis.engagement.table("sync_log")).drop_nulls("invoice_key").sort("at", maintain_order=True)
    last = log.group_by("invoice_key").agg(last_event=pl.col("event").cast(pl.String).last())
    rows = booked.join(matches, on="ledger_row", how="left", maintain_order="left")
    rows = rows.join(last, on="invoice_key", how="left", maintain_order="left")
    rows = rows.with_columns(
        pl.col("outcome").replace(words.terms("outcomes", rows["outcome"].unique())),
        pl.col("last_event").replace(words.terms("events", rows["last_event"].unique())).fill_null("–"),
        pl.col("differs").replace(_headings(lang)).fill_null("–"),
        agrees=pl.col("outcome") == "matched",
        key="invoice_key",
        amount="gross",
    )
    return rows.select("ledger_row", "key", "agrees", *LISTED)


def _headings(lang: str) -> dict[str, str]:
    """Return the ledger's fields with their Chinese headings; in English a field goes by its name."""
    return schema.headers("ledger") if lang == "zh" else {}


def bench(rows: pl.DataFrame, *, lang: str = "zh") -> Panel:
    """Return the panel over `ledger_rows` that do not simply agree; `selected` is what a trainee picks."""
    words = Words(lang)
    columns = Columns(
        choices={name: words(f"drill_bench.{name}") for name in CHOICES},
        listed={name: words(f"drill_bench.{name}") for name in LISTED},
        searched=("serial", "invoice_key", "buyer_name"),
        amount="amount",
        day="issued_at",
        name="drill",
    )
    return Panel(rows.filter(~pl.col("agrees")), columns, lambda chosen: day_bars(chosen, lang=lang), lang=lang)


def day_bars(rows: pl.DataFrame, *, lang: str = "zh") -> Chart:
    """Draw the rows by day and outcome."""
    words = Words(lang)
    counts = rows.group_by(day=pl.col("issued_at").dt.date(), outcome="outcome").agg(rows=pl.len()).drop_nulls("day")
    chart: Chart = (
        alt.Chart(
            bounded(counts.sort("day", "outcome")), title=title(words("drill_bench.chart")), height=150, width=640
        )
        .mark_bar(color=theme.BLUE)
        .encode(
            alt.X("day:T", title=None),
            alt.Y("rows:Q", title=words("drill.rows")),
            alt.Color("outcome:N", title=words("drill_bench.outcome")),
            tooltip=tooltips(
                words,
                ("day:T", "drill_bench.issued_at"),
                ("outcome:N", "drill_bench.outcome"),
                ("rows:Q", "drill.rows"),
            ),
        )
    )
    return chart
