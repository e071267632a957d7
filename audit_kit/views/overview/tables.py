"""Tables of the overview: totals that tie, what changed since last month, what stays unknown for want of a table."""

from __future__ import annotations

from typing import TYPE_CHECKING

import great_tables as gt
import polars as pl

from audit_kit.analysis.earlier import CHANGES
from audit_kit.core import schema
from audit_kit.core.words import Words
from audit_kit.views.overview.charts import CROSS_MONTH, PLACED
from audit_kit.views.overview.periods import FIGURES, month_name, place_name
from audit_kit.views.show.tables import badge, markup, said, table

if TYPE_CHECKING:
    from collections.abc import Mapping
    from decimal import Decimal

    from IPython.display import HTML

    from audit_kit.views.show.page import Page

NEEDED = ("ledger", "platform")


def tie(totals: pl.DataFrame, *, before: Mapping[str, tuple[int, Decimal]] | None = None, lang: str = "zh") -> gt.GT:
    """Return outcomes by number and yuan on both sides, with totals that tie; `totals` from charts.outcome_totals.

    `before` is from charts.before_totals: what is still open of earlier months is a line below the total.
    """
    words = Words(lang)
    present = [word for word in PLACED if word in totals["outcome"].to_list()]
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
    total = wide.height - 1
    if before and any(rows for rows, _ in before.values()):
        (ours, our_yuan), (theirs, their_yuan) = before["ledger"], before["platform"]
        line = pl.DataFrame(
            [("before", ours, our_yuan, theirs, their_yuan, our_yuan - their_yuan)], schema=wide.schema, orient="row"
        )
        wide = pl.concat([wide, line])
    named = {
        **words.terms("outcomes", PLACED),
        "total": words("unit.total"),
        "before": words("tables.before"),
    }
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
        note=words("tables.tie_note") + (words("tables.cross_note") if CROSS_MONTH in present else ""),
        numbers=["ledger_rows", "platform_rows"],
        money=["ledger_yuan", "platform_yuan", "difference"],
    )
    for side in ("ledger", "platform"):
        made = made.tab_spanner(words.term("sides", side), columns=[f"{side}_rows", f"{side}_yuan"])
    bold = gt.style.text(weight="bold")
    return made.tab_style(bold, gt.loc.body(rows=[total]))


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


def months(frame: pl.DataFrame, *, lang: str = "zh") -> gt.GT:
    """Return the months with what each side has of them, and which the page is about; `frame` is from periods.lines."""
    words = Words(lang)
    sums = frame.select(pl.lit("").alias("place"), *(pl.col(name).sum() for name in FIGURES))
    named = frame.with_columns(month=pl.Series([month_name(row, words) for row in frame.iter_rows(named=True)]))
    total = sums.with_columns(month=pl.lit(words("unit.total")))
    shown = pl.concat([named, total], how="diagonal_relaxed").with_columns(
        place=pl.Series([*(place_name(row, words) for row in frame.iter_rows(named=True)), ""], dtype=pl.String)
    )
    rows, yuan = words("head.rows"), words("head.yuan")
    labels = {"month": words("head.month")}
    labels |= {name: yuan if name.endswith("_yuan") else rows for name in FIGURES} | words.heads("findings", "place_of")
    made = table(
        shown.rename({"place": "place_of"}),
        labels=labels,
        numbers=[name for name in FIGURES if not name.endswith("_yuan")],
        money=[name for name in FIGURES if name.endswith("_yuan")],
        note=words("scope.note"),
    )
    sides = {**words.terms("sides", ("ledger", "platform")), "missing": words.term("outcomes", "missing")}
    for side, label in sides.items():
        made = made.tab_spanner(label, columns=[f"{side}_rows", f"{side}_yuan"])
    own = [at for at, place in enumerate(frame["place"]) if place == "within"]
    bold = gt.style.text(weight="bold")
    return made.tab_style(bold, gt.loc.body(rows=[*own, frame.height]))
