"""One month of an analysis, its positions moved to the rows that are left."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING

import polars as pl

from audit_kit.core.errors import RequestError

if TYPE_CHECKING:
    from audit_kit.analysis.analysis import Analysis


def month(analysis: Analysis, wanted: str) -> Analysis:
    """Return the analysis of one month, `YYYY-MM`: the ledger's rows of it, and earlier ones still missing.

    Rows without a date stay, for nobody knows that they are not of it. Positions are those in the new frames.

    Raises:
        RequestError: `wanted` is no month.
    """
    start, end = _bounds(wanted)
    issued, outcome = pl.col("issued_at"), pl.col("outcome").cast(pl.String)
    dates = analysis.ledger.select("issued_at").with_row_index("ledger_row")
    status = analysis.matches.select("ledger_row", outcome).drop_nulls("ledger_row")
    within = issued.is_between(start, end, closed="left") | issued.is_null()
    kept = dates.join(status, on="ledger_row", how="left", maintain_order="left").filter(
        within | ((issued < start) & (outcome == "missing"))
    )["ledger_row"]
    unbooked = analysis.platform.select("issued_at").with_row_index("platform_row").filter(within)["platform_row"]
    booked = pl.col("ledger_row").is_in(kept.implode())
    matches = analysis.matches.filter(
        booked | (pl.col("ledger_row").is_null() & pl.col("platform_row").is_in(unbooked.implode()))
    )
    listed = pl.concat([matches["platform_row"], matches["candidates"].explode()]).drop_nulls().unique().sort()
    if matches.height == analysis.matches.height and len(listed) == analysis.platform.height:
        return analysis
    move = _Moves(kept, listed)
    without_row = pl.col("ledger_row").is_null() & (
        pl.col("platform_row").is_null() | pl.col("platform_row").is_in(listed.implode())
    )
    return replace(
        analysis,
        ledger=analysis.ledger[kept],
        platform=analysis.platform[listed],
        matches=move.rows(matches).with_columns(
            candidates=pl.col("candidates").list.eval(pl.element().replace_strict(listed, move.listed))
        ),
        observations=move.rows(analysis.observations.filter(booked)),
        findings=move.rows(analysis.findings.filter(booked | without_row)),
    )


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


def _bounds(wanted: str) -> tuple[datetime, datetime]:
    try:
        start = datetime.strptime(wanted, "%Y-%m")  # noqa: DTZ007 (Beijing time, stored without zone)
    except ValueError:
        raise RequestError(f"{wanted!r} is no month; write it as 2025-05.") from None
    return start, datetime(start.year + start.month // 12, start.month % 12 + 1, 1)  # noqa: DTZ001 (the same)
