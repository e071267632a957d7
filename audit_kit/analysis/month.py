"""A month of an analysis, or a year, its positions moved to the rows that are left."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import polars as pl

from audit_kit.analysis.report_scope import lonely, scope

if TYPE_CHECKING:
    from audit_kit.analysis.analysis import Analysis
    from audit_kit.analysis.report_scope import Scope


def month(analysis: Analysis, wanted: str) -> Analysis:
    """Return the analysis of a month, `YYYY-MM`, or of a year, `YYYY`; all of it for `all`.

    It holds what either side dates within it, both rows of such a pair, and earlier rows of either side whose finding
    is still open. Rows without a date stay, for nobody knows that they are not of it. Positions are those in the new
    frames.

    Raises:
        RequestError: `wanted` is no month, no year and not `all`.
    """
    of = scope(wanted)
    if of.start is None:
        return analysis
    kept, unbooked = _booked(analysis, of), _unbooked(analysis, of)
    booked = pl.col("ledger_row").is_in(kept.implode())
    matches = _pairs(analysis, kept, unbooked)
    listed = _listed(matches)
    if matches.height == analysis.matches.height and len(listed) == analysis.platform.height:
        return analysis
    move = _Moves(kept, listed)
    without_row = pl.col("ledger_row").is_null() & (
        pl.col("platform_row").is_null() | pl.col("platform_row").is_in(listed.implode())
    )
    # What was done about an invoice is of its month; a ticket is of every month while it stands.
    of_tickets = pl.col("cause").str.starts_with("ticket_")
    response = analysis.response_findings.filter(booked | pl.col("ledger_row").is_null() | of_tickets)
    return replace(
        analysis,
        ledger=analysis.ledger[kept],
        platform=analysis.platform[listed],
        matches=move.rows(matches).with_columns(
            candidates=pl.col("candidates").list.eval(pl.element().replace_strict(listed, move.listed))
        ),
        observations=move.rows(analysis.observations.filter(booked)),
        findings=move.rows(analysis.findings.filter(booked | without_row)),
        backup=replace(analysis.backup, findings=move.rows(analysis.backup_findings)),
        response=replace(analysis.response, findings=move.rows(response)),
    )


def shown(analysis: Analysis, of: Scope) -> dict[str, pl.Series]:
    """Return the rows of `ledger` and `platform` that a month or a year shows, in order."""
    kept = _booked(analysis, of)
    return {"ledger": kept, "platform": _listed(_pairs(analysis, kept, _unbooked(analysis, of)))}


def _pairs(analysis: Analysis, kept: pl.Series, unbooked: pl.Series) -> pl.DataFrame:
    """Return the matches of the ledger rows that are kept, and of the platform rows that none of them claims."""
    alone = pl.col("ledger_row").is_null() & pl.col("platform_row").is_in(unbooked.implode())
    return analysis.matches.filter(pl.col("ledger_row").is_in(kept.implode()) | alone)


def _listed(matches: pl.DataFrame) -> pl.Series:
    """Return the platform rows that matches speak of, in order."""
    return pl.concat([matches["platform_row"], matches["candidates"].explode()]).drop_nulls().unique().sort()


def _booked(analysis: Analysis, of: Scope) -> pl.Series:
    """Return the ledger rows that a scope shows, in order."""
    rows = analysis.ledger.select("issued_at").with_row_index("ledger_row")
    pairs = analysis.matches.drop_nulls(["ledger_row", "platform_row"]).select("ledger_row", "platform_row")
    listed = pairs.with_columns(issued_at=analysis.platform["issued_at"].gather(pairs["platform_row"]))
    before, found = pl.col("issued_at") < of.start, analysis.findings["ledger_row"].drop_nulls()

    def either(when: pl.Expr) -> pl.Expr:
        return when | pl.col("ledger_row").is_in(listed.filter(when)["ledger_row"].implode())

    is_open = either(before) & pl.col("ledger_row").is_in(found.implode())
    return rows.filter(pl.col("issued_at").is_null() | either(of.holds()) | is_open)["ledger_row"]


def _unbooked(analysis: Analysis, of: Scope) -> pl.Series:
    """Return the platform rows that a scope shows where no ledger row claims them.

    Earlier ones are open only from the ledger's first month on: what lies before it, the ledger does not cover.
    """
    rows = analysis.platform.select("issued_at").with_row_index("platform_row")
    found = analysis.findings.filter(pl.col("ledger_row").is_null())["platform_row"].drop_nulls()
    odd = pl.col("issued_at").dt.strftime("%Y-%m").is_in(lonely(analysis.ledger)["month"].implode())
    begins = analysis.ledger.filter(~odd).select(pl.col("issued_at").min().dt.truncate("1mo")).item()
    is_open = pl.col("issued_at").is_between(pl.lit(begins, pl.Datetime("us")), of.start, closed="left")
    is_open &= pl.col("platform_row").is_in(found.implode())
    return rows.filter(of.holds() | pl.col("issued_at").is_null() | is_open)["platform_row"]


class _Moves:
    """Positions before and after rows were left out."""

    def __init__(self, kept: pl.Series, listed: pl.Series) -> None:
        self.kept = pl.DataFrame({"ledger_row": kept}).with_row_index("_ledger")
        self.listed = pl.Series(range(len(listed)), dtype=pl.UInt32)
        self._platform = pl.DataFrame({"platform_row": listed}).with_row_index("_platform")

    def rows(self, frame: pl.DataFrame) -> pl.DataFrame:
        """Return the frame with its positions moved."""
        columns = frame.columns
        for moved, name in ((self.kept, "ledger_row"), (self._platform, "platform_row")):
            if name in columns:
                new = moved.columns[0]
                frame = frame.join(moved, on=name, how="left", maintain_order="left").drop(name).rename({new: name})
        return frame.select(columns)
