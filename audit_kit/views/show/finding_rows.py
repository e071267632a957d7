"""Findings as rows: with their invoice's time, channel and buyer, in words, listed, summed by cause, and filtered."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, Any

import polars as pl

from audit_kit.core import schema
from audit_kit.core.cause_records import of_stage
from audit_kit.core.words import Words
from audit_kit.views.show import theme
from audit_kit.views.show.panel import Columns
from audit_kit.views.show.parts import with_channels
from audit_kit.views.show.tables import badge, said, table

if TYPE_CHECKING:
    from collections.abc import Mapping

    import great_tables as gt
    from IPython.display import HTML

    from audit_kit.analysis.analysis import Analysis
    from audit_kit.views.show.page import Page


def not_listed(findings: pl.DataFrame) -> pl.DataFrame:
    """Return findings without those of invoices that the platform lists and that agree, such as a risk it sees."""
    return findings.filter(~pl.col("cause").is_in(of_stage("beside")))


def findings_list(analysis: Analysis, findings: pl.DataFrame) -> pl.DataFrame:
    """Return findings as a person reads them, the most severe and dearest first.

    Columns: `severity`, `cause` (words), `invoice_key`, `issued_at`, `channel`, `buyer_name`, `amount`, `late` (P(late)
    in per cent), `evidence`, `next_step`, `source_file`, `source_row`.
    """
    words = Words(analysis.lang)
    ledger = with_channels(analysis.ledger, analysis)
    wanted = [name for name in ("issued_at", "channel", "buyer_name") if name in ledger.columns]
    rows = ledger.select(wanted).with_row_index("ledger_row")
    order = schema.by_severity()
    joined = findings.sort(order, pl.col("amount").abs(), descending=[False, True], nulls_last=True).join(
        rows, on="ledger_row", how="left", maintain_order="left"
    )
    present = joined["cause"].unique().to_list()
    return joined.with_columns(
        pl.col("severity").cast(pl.String).replace(words.terms("severities", schema.SEVERITIES)),
        pl.col("cause").replace(words.causes(present)),
        late=(pl.col("probability_late") * 100).round(1),
    )


FINDING_COLUMNS = (
    "severity", "cause", "invoice_key", "issued_at", "channel", "buyer_name", "amount", "late", "evidence",
    "next_step", "source_file", "source_row",
)  # fmt: skip


def finding_labels(lang: str = "zh") -> dict[str, str]:
    """Return the headings of the columns of findings_list that a page lists."""
    words = Words(lang)
    shown = [name for name in FINDING_COLUMNS if name not in {"next_step", "source_file", "source_row"}]
    return {name: words("head.late_percent" if name == "late" else f"head.{name}") for name in shown}


def cause_summary(findings: pl.DataFrame, ledger: pl.DataFrame) -> pl.DataFrame:
    """Return one row a cause, the worst first.

    Columns: `severity`, `cause`, `findings`, `unknown`, `yuan`, `first`, `last` (issue), `evidence` (an example:
    that of the largest amount), `ledger_row`, `platform_row`, `source_file` (of the example: to hide it).
    """
    issued = ledger.select("issued_at").with_row_index("ledger_row")
    joined = findings.join(issued, on="ledger_row", how="left")
    order = schema.by_severity()
    return (
        joined.sort(pl.col("amount").abs(), descending=True, nulls_last=True)
        .group_by("cause", maintain_order=True)
        .agg(
            severity=order.min().cast(pl.String),
            findings=pl.len(),
            unknown=(pl.col("state").cast(pl.String) == "unknown").sum(),
            yuan=pl.when(pl.col("amount").is_not_null().any()).then(pl.col("amount").sum()),
            first=pl.col("issued_at").min(),
            last=pl.col("issued_at").max(),
            evidence=pl.col("evidence").first(),
            ledger_row=pl.col("ledger_row").first(),
            platform_row=pl.col("platform_row").first(),
            source_file=pl.col("source_file").first(),
        )
        .sort(
            schema.by_severity(),
            pl.col("yuan").abs(),
            descending=[False, True],
            nulls_last=True,
        )
    )


def causes(summary: pl.DataFrame, *, lang: str = "zh") -> gt.GT | HTML:
    """Return causes with the rule as a plain sentence, what was observed beside it, and the next step."""
    words = Words(lang)
    if summary.is_empty():
        return said(words("overview.causes_none"))
    lines = [
        {
            "severity": badge(row["severity"], words.term("severities", row["severity"])),
            "rule": _rule(row["cause"], words),
            "observed": _observed(row, words),
            "next_step": words.next_step(row["cause"]),
        }
        for row in summary.iter_rows(named=True)
    ]
    labels = words.heads("severity", "rule", observed="found") | words.heads("next_step")
    widths = {"severity": "74px", "rule": "33%", "observed": "35%"}
    return table(pl.DataFrame(lines), labels=labels, html=["severity", "rule", "observed"], widths=widths)


def _rule(cause: str, words: Words) -> str:
    sentence = words.rule(cause)
    return f"<b>{escape(words.cause(cause))}</b>" + (f"<br>{escape(sentence)}" if sentence else "")


def _observed(row: Mapping[str, Any], words: Words) -> str:
    text = words("tables.observed", findings=words.count(row["findings"]))
    if row["yuan"] is not None:
        text += words("tables.observed_yuan", yuan=words.yuan(row["yuan"]))
    if row["unknown"]:
        text += words("tables.observed_unknown", unknown=words.count(row["unknown"]))
    example = escape(words("tables.example") + (row["evidence"] or ""))
    return f'<b>{escape(text)}</b><br><span style="color:{theme.MUTED};overflow-wrap:anywhere">{example}</span>'


def finding_rows(page: Page, findings: pl.DataFrame) -> pl.DataFrame:
    """Return findings with their invoice's time, channel, buyer and outcome, words in the page's language, masked."""
    words, analysis = page.words, page.analysis
    known = with_channels(analysis.ledger, analysis)
    wanted = [name for name in ("issued_at", "channel", "buyer_name") if name in known.columns]
    ledger = known.select(wanted).with_row_index("ledger_row")
    outcome = analysis.matches.select("ledger_row", pl.col("outcome").cast(pl.String)).drop_nulls("ledger_row")
    rows = findings.with_columns(pl.col("area", "severity", "state").cast(pl.String), code="cause")
    rows = rows.join(ledger, on="ledger_row", how="left", maintain_order="left")
    rows = rows.join(outcome.unique("ledger_row"), on="ledger_row", how="left", maintain_order="left")
    causes = words.causes(rows["cause"].unique())
    outcomes = words.terms("outcomes", rows["outcome"].unique())
    rows = rows.with_columns(pl.col("cause").replace(causes), pl.col("outcome").replace(outcomes))
    return page.safe(rows.sort("amount", descending=True, nulls_last=True))


def finding_columns(page: Page, choices: Mapping[str, str]) -> Columns:
    """Return the columns of a panel of findings; `choices` is a column to the key of its heading."""
    words = page.words
    listed = ("cause", "invoice_key", "issued_at", "channel", "buyer_name", "amount", "evidence")
    return Columns(
        choices=words.heads(**choices),
        listed=words.heads(*listed),
        searched=("invoice_key", "buyer_name", "evidence", "cause"),
        amount="amount",
        day="issued_at",
        nothing="panel.no_findings",
        name=f"findings-{page.month}",
    )
