"""The platform's exports: how the last was asked for, and what stands after several taken one after the other."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import polars as pl

from audit_kit.core import schema
from audit_kit.core.cause_records import refused
from audit_kit.loaders.reading import Reading, joined

if TYPE_CHECKING:
    from collections.abc import Sequence

    from audit_kit.core.policy import Export

DAY = timedelta(days=1)


def settle_export(stated: Export, operations: pl.DataFrame, platform: pl.DataFrame) -> Export:
    """Return how the export was asked for, with what was not stated filled in.

    The last 导出 row of `operations` that was not refused gives the account. The platform's own range of `issued_at`,
    in whole days, gives the period, and that is noted; its end is excluded.
    """
    account = stated.account
    if account is None and (exported := last_export(operations)):
        account = exported["account"]
    first, last = platform["issued_at"].min(), platform["issued_at"].max()
    start, end = stated.period_start, stated.period_end
    if isinstance(first, datetime) and isinstance(last, datetime):
        start = start or first.replace(hour=0, minute=0, second=0, microsecond=0)
        end = end or end_of(last)
    return replace(
        stated,
        account=account,
        period_start=start,
        period_end=end,
        start_stated=stated.period_start is not None,
        period_stated=stated.period_end is not None,
    )


def last_export(operations: pl.DataFrame) -> dict[str, Any] | None:
    """Return the last 导出 row of an operation log that has a time and was not refused, or null."""
    asked = (pl.col("action").cast(pl.String) == "export") & pl.col("at").is_not_null()
    rows = operations.filter(asked & ~refused(pl.col("result"))).sort("at", maintain_order=True)
    return rows.row(-1, named=True) if rows.height else None


def end_of(moment: datetime) -> datetime:
    """Return the first moment after a moment's day."""
    return moment.replace(hour=0, minute=0, second=0, microsecond=0) + DAY


def successive(dated: Sequence[tuple[datetime, Reading]], undated: Sequence[Reading]) -> dict[str, Reading]:
    """Return `platform`, what stands after all exports, and `exports`, every row of the dated ones with its `taken_at`.

    Args:
        dated: exports with the time they were taken, in order.
        undated: parts of the newest one.
    """
    parts = [reading for _, reading in dated]
    whole = joined("platform", [*parts, *undated])
    moment = pl.Datetime("us")
    history = [schema.empty("platform").with_columns(taken_at=pl.lit(None, moment))]
    history += [reading.rows.with_columns(taken_at=pl.lit(taken_at, moment)) for taken_at, reading in dated]
    latest = [joined("platform", list(undated))] if undated else []
    rows = _standing([reading.rows for reading in (*parts, *latest)])
    exports = replace(Reading.nothing("platform"), table="exports", rows=pl.concat(history, how="diagonal_relaxed"))
    return {"platform": replace(whole, rows=rows), "exports": exports}


def _standing(exports: list[pl.DataFrame]) -> pl.DataFrame:
    """Return what stands after successive exports: the newest, and of older ones what lies outside its dates."""
    kept = exports[-1] if exports else schema.empty("platform")
    for older in reversed(exports[:-1]):
        first, last = kept["issued_at"].min(), kept["issued_at"].max()
        outside = older if first is None else older.filter(~pl.col("issued_at").is_between(first, last))
        kept = pl.concat([outside, kept], how="diagonal_relaxed")
    return kept
