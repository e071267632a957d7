"""Tables of the overview: totals that tie, what changed since last month, what stays unknown for want of a table."""

from __future__ import annotations

from typing import TYPE_CHECKING

import great_tables as gt
import polars as pl

from audit_kit.analysis.earlier import CHANGES
from audit_kit.core import schema
from audit_kit.core.words import Words
from audit_kit.views.show.tables import badge, markup, said, table

if TYPE_CHECKING:
    from IPython.display import HTML

    from audit_kit.views.show.page import Page

NEEDED = ("ledger", "platform")


def tie(totals: pl.DataFrame, *, lang: str = "zh") -> gt.GT:
    """Return outcomes by number and yuan on both sides, with totals that tie; `totals` from charts.outcome_totals."""
    words = Words(lang)
    present = [word for word in schema.OUTCOMES if word in totals["outcome"].to_list()]
    wide = pl.DataFrame({"outcome": present}, schema={"outcome": pl.String})
    for side in ("ledger", "platform"):
        part = totals.filter(pl.col("side") == side).select(
            "outcome", pl.col("rows").alias(f"{side}_rows"), pl.col("yuan").alias(f"{side}_yuan")
        )
        wide = wide.join(part, on="outcome", how="left", maintain_order="left")
    sums = wide.select(pl.lit("total").alias("outcome"), pl.exclude("outcome").sum())
    wide = pl.concat([wide, sums], how="vertical_relaxed").with_columns(
        difference=pl.col("ledger_yuan").fill_null(0) - pl.col("platform_yuan").fill_null(0)
    )
    named = {**words.terms("outcomes", schema.OUTCOMES), "total": words("unit.total")}
    wide = wide.with_columns(pl.col("outcome").replace(named))
    labels = {
        "outcome": words("head.outcome"),
        "ledger_rows": words("head.rows"),
        "ledger_yuan": words("head.yuan"),
        "platform_rows": words("head.rows"),
        "platform_yuan": words("head.yuan"),
        "difference": words("head.difference"),
    }
    made = table(
        wide,
        labels=labels,
        note=words("tables.tie_note"),
        numbers=["ledger_rows", "platform_rows"],
        money=["ledger_yuan", "platform_yuan", "difference"],
    )
    for side in ("ledger", "platform"):
        made = made.tab_spanner(words.term("sides", side), columns=[f"{side}_rows", f"{side}_yuan"])
    bold = gt.style.text(weight="bold")
    return made.tab_style(bold, gt.loc.body(rows=[wide.height - 1]))


def change_table(compared: pl.DataFrame, *, lang: str = "zh", most: int = 6) -> gt.GT | HTML:
    """Return the new and closed findings by cause; `compared` is from changes."""
    words = Words(lang)
    if compared.is_empty():
        return markup("")  # the chart beside it says that there is nothing to compare with
    severity = schema.by_severity()
    amount = pl.when(pl.col("amount").is_not_null().any()).then(pl.col("amount").sum())
    grouped = (
        compared.group_by("change", "cause")
        .agg(severity=severity.min().cast(pl.String), findings=pl.len(), yuan=amount)
        .sort(
            pl.col("change").cast(pl.Enum(CHANGES)),
            schema.by_severity(),
            pl.col("yuan").abs(),
            descending=[False, False, True],
            nulls_last=True,
        )
    )
    shown = grouped.group_by("change", maintain_order=True).head(most)
    lines = [
        {
            "change": badge(row["change"], words.term("changes", row["change"])),
            "severity": badge(row["severity"], words.term("severities", row["severity"])),
            "cause": words.cause(row["cause"]),
            "findings": row["findings"],
            "yuan": row["yuan"],
        }
        for row in shown.iter_rows(named=True)
    ]
    labels = words.heads("change", "severity", "cause", "findings", "yuan")
    frame = pl.DataFrame(lines, schema_overrides={"yuan": pl.Decimal(18, 2)})
    return table(frame, labels=labels, html=["change", "severity"], numbers=["findings"], money=["yuan"])


def unknown(page: Page) -> gt.GT | HTML:
    """Return the tables that were not supplied, each with what therefore stays unknown."""
    words, engagement = page.words, page.whole.engagement
    optional = [table for table in (*schema.INPUTS, "exports") if table not in NEEDED]
    lines = [
        {"table": words.term("table", name), "unknown": words(f"unknown_without.{name}")}
        for name in optional
        if not engagement.has(name)
    ]
    if not lines:
        return said(words("unknown_without.none"))
    return table(pl.DataFrame(lines), labels=words.heads(table="not_supplied", unknown="stays_unknown"))
