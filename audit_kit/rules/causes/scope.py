"""Causes that lie in how the platform was asked: for which period, direction, status, and whether all came."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import polars as pl

from audit_kit.core.identity import fold_tax_id
from audit_kit.rules.causes.permission import exporting, folded

if TYPE_CHECKING:
    from collections.abc import Callable

    from audit_kit.rules.causes.evidence import Case

SORTED_SHARE = 0.99
FITS = 0.02  # how far the missing amount may be from what the control total lacks


def outside_export(case: Case) -> pl.DataFrame:
    """The export was not asked for this invoice: its date, its direction or its status lies outside what was asked."""
    evidence, export = case.evidence, case.evidence.export
    issued = pl.col("issued_at")
    reasons = [("after_taken", issued >= evidence.taken_at)]
    if export.period_start is not None:
        reasons.append(("before_period", issued < export.period_start))
    if export.period_end is not None and export.period_stated:
        reasons.append(("after_period", issued >= export.period_end))
    if export.status_filter:
        unlisted = ~pl.col("status").cast(pl.String).is_in(list(export.status_filter))
        reasons.append(("status", unlisted))
    own = [tax_id for tax_id in folded(evidence.taxpayer_ids) if tax_id]
    side = "seller_tax_id" if evidence.direction == "issued" else "buyer_tax_id"
    if own and not _account_of_another(case):
        reasons.append(("direction", ~fold_tax_id(pl.col(side)).is_in(own)))
    reason = pl.coalesce(*(pl.when(test.fill_null(value=False)).then(pl.lit(name)) for name, test in reasons))
    period = " – ".join(f"{time:%Y-%m-%d}" if time else "…" for time in (export.period_start, export.period_end))
    rows = case.missing.with_columns(reason=reason, period=pl.lit(period))
    return rows.filter(pl.col("reason").is_not_null())


def _account_of_another(case: Case) -> bool:
    """Return whether the exporting account is listed for another taxpayer than the audited ones."""
    account = exporting(case)
    return account is not None and account["tax_id"] is not None and account["tax_id"] not in case.evidence.taxpayer_ids


def export_truncated(case: Case) -> pl.DataFrame:
    """The export's own total is larger than the sum of its rows: it broke off before its end."""
    control = case.evidence.control.filter(
        ~pl.col("agrees").fill_null(value=True) & pl.col("column").is_in(["net", "gross"])
    )
    control = control.with_columns(lack=pl.col("stated").cast(pl.Float64) - pl.col("computed").cast(pl.Float64))
    if control.is_empty():
        return case.missing.clear()
    worst = control.sort(pl.col("lack").abs(), descending=True).row(0, named=True)
    tail = _beyond_the_end(case)
    rows = case.missing.filter(tail) if tail is not None else case.missing
    total = float(rows.select(pl.col(worst["column"]).cast(pl.Float64).sum()).item() or 0.0)
    if tail is None and abs(total - worst["lack"]) > FITS * abs(worst["lack"]):
        return case.missing.clear()
    facts = {name: str(worst[name]) for name in ("source_file", "stated", "computed")}
    return rows.with_columns(
        control_file=pl.lit(facts["source_file"]),
        stated=pl.lit(facts["stated"]),
        computed=pl.lit(facts["computed"]),
        lack=pl.lit(worst["lack"]),
        total=pl.lit(total),
    )


def _beyond_the_end(case: Case) -> pl.Expr | None:
    """Return which dates lie beyond the break of an export that is sorted by date; null if it is not sorted.

    The break is where, from that end, the ledger rows that are missing outnumber those listed the most.
    """
    dates = case.evidence.platform["issued_at"].drop_nulls()
    steps = dates.diff().drop_nulls()
    if len(steps) == 0:
        return None
    upwards = bool((steps >= timedelta(0)).mean() >= SORTED_SHARE)  # type: ignore[operator]
    if not upwards and (steps <= timedelta(0)).mean() < SORTED_SHARE:  # type: ignore[operator]
        return None
    listed = case.evidence.observations.filter("visible").select("issued_at", gone=pl.lit(-1))
    rows = pl.concat([listed, case.missing.select("issued_at", gone=pl.lit(1))]).drop_nulls()
    if rows.is_empty():
        return None
    ordered = rows.sort("issued_at", descending=upwards).with_columns(lead=pl.col("gone").cum_sum())
    best = ordered.sort("lead", descending=True, maintain_order=True).row(0, named=True)
    if best["lead"] <= 0:
        return pl.lit(value=False)
    at = pl.lit(best["issued_at"])
    return pl.col("issued_at") >= at if upwards else pl.col("issued_at") <= at


CAUSES: tuple[Callable[[Case], pl.DataFrame], ...] = (
    outside_export,
    export_truncated,
)
