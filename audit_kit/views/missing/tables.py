"""Where else to look: gaps in old number ranges, and counterparties."""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl

from audit_kit.core.words import Words
from audit_kit.rules.causes import leads
from audit_kit.views.show.tables import first_of, folded, said, table

if TYPE_CHECKING:
    import great_tables as gt
    from IPython.display import HTML

    from audit_kit.analysis.analysis import Analysis

MOST = 15


def gaps(analysis: Analysis, *, lang: str = "zh") -> gt.GT | HTML:
    """Return the gaps in the taxpayer's old number ranges, the widest first."""
    words = Words(lang)
    found = leads.gaps(analysis.ledger, analysis.platform).sort("absent", descending=True)
    if found.is_empty():
        return said(words("missing.gaps_none"))
    labels = words.heads("invoice_code", first="first_number", last="last_number", absent="absent")
    return table(
        found.head(MOST),
        labels=labels | words.heads("after_row", "before_row"),
        numbers=["absent"],
        note=first_of(words, MOST, found.height) or words("missing.gaps_note"),
    )


def of_missing(analysis: Analysis) -> pl.DataFrame:
    """Return the findings of the invoices that are not on the platform, and of no others."""
    gone = analysis.matches.filter(pl.col("outcome").cast(pl.String) == "missing")["ledger_row"].drop_nulls()
    return analysis.findings.filter(pl.col("ledger_row").is_in(gone.implode()))


def is_missing(analysis: Analysis) -> pl.DataFrame:
    """Return `ledger_row`, `missing` of every ledger row that the platform could list."""
    never = analysis.findings.filter(pl.col("cause") == "elsewhere")["ledger_row"].drop_nulls()
    rows = analysis.matches.select("ledger_row", missing=pl.col("outcome").cast(pl.String) == "missing")
    rows = rows.drop_nulls("ledger_row").unique("ledger_row", maintain_order=True)
    return rows.filter(~pl.col("ledger_row").is_in(never.implode()))


def counterparties(analysis: Analysis) -> pl.DataFrame:
    """Return the counterparties of missing invoices, most yuan first: see leads.counterparties."""
    rows = analysis.ledger.with_row_index("ledger_row").join(is_missing(analysis), on="ledger_row")
    found = leads.counterparties(rows, direction=analysis.engagement.direction)
    return found.rename({"level": "counterparty"}).head(MOST)


def counterparty_table(frame: pl.DataFrame, *, lang: str = "zh") -> gt.GT | HTML:
    """Return the counterparties as a table; `frame` is from counterparties, masked."""
    words = Words(lang)
    if frame.is_empty():
        return said(words("answer_overview.none_missing"))
    alone = pl.col("others_issued") == 0  # the only counterparty: there is nothing to compare it with
    shown = frame.with_columns(
        odds=pl.when(~alone).then(pl.col("odds_ratio").round(2)),
        q=pl.when(~alone).then(pl.Series([f"{q:.2g}" for q in frame["q"]], dtype=pl.String)),
        apart=pl.when("stands_out").then(pl.lit("●")).otherwise(pl.lit("")),
    )
    labels = words.heads("counterparty", "issued", "missing", yuan="missing_yuan", odds="odds", q="q")
    made = table(
        shown,
        labels=labels | words.heads(apart="stands_out"),
        numbers=["issued", "missing"],
        money=["yuan", "odds"],
    )
    return made if frame["stands_out"].any() else folded(words("missing.counterparties_none"), made)
