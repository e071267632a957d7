"""Causes that lie in what an account may see: of the one that exported, and of those that issued."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

import polars as pl

from audit_kit import resources
from audit_kit.core.identity import fold_tax_id
from audit_kit.rules.causes.patterns import fisher

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from datetime import datetime

    from audit_kit.rules.causes.evidence import Case

BITES = 0.1  # a fault of the exporting account explains what is missing only where this share is missing
STANDS_OUT = 0.001  # chance below which an issuing account's missing share is no accident
FAULT = {"who": pl.String(), "fault": pl.String(), "missing": pl.Int64(), "issued": pl.Int64()}
_Fault: TypeAlias = tuple[pl.Expr, str, str, int, int]  # which rows it hides, then FAULT


def no_permission(case: Case) -> pl.DataFrame:
    """The account that exported, or the one that issued, lacks the right: role, grant, validity, lock, other tax id."""
    missing = case.missing.with_columns(pl.lit(None, dtype).alias(name) for name, dtype in FAULT.items())
    if case.evidence.accounts.is_empty():
        return missing.clear()
    for test, *facts in [*_exporter_faults(case), *_issuer_faults(case)]:
        hit = (test & pl.col("fault").is_null()).fill_null(value=False)
        missing = missing.with_columns(
            pl.when(hit).then(pl.lit(fact)).otherwise(name).cast(dtype).alias(name)
            for (name, dtype), fact in zip(FAULT.items(), facts, strict=True)
        )
    return missing.filter(pl.col("fault").is_not_null())


def folded(tax_ids: tuple[str, ...]) -> list[str]:
    """Return tax ids as they are compared."""
    folded: list[str] = pl.select(fold_tax_id(pl.lit(pl.Series(list(tax_ids), dtype=pl.String)))).to_series().to_list()
    return folded


def exporting(case: Case) -> dict[str, Any] | None:
    """Return the permission row of the account that took the export."""
    if (account := case.evidence.export.account) is None:
        return None
    rows = case.evidence.accounts.filter(pl.col("account") == account)
    return rows.row(0, named=True) if rows.height else None


def _exporter_faults(case: Case) -> Iterator[_Fault]:
    """Yield the faults of the exporting account, with the rows each would hide."""
    account = exporting(case)
    if account is None:
        return
    side = "seller_tax_id" if case.evidence.direction == "issued" else "buyer_tax_id"
    tests = {}
    if account["tax_id"] and side in case.evidence.ledger.columns:
        parties = case.evidence.ledger[side].drop_nulls().unique()
        same = parties.to_frame("id").filter(fold_tax_id(pl.col("id")) == folded((str(account["tax_id"]),))[0])["id"]
        tests["tax_id"] = pl.col(side).is_not_null() & ~pl.col(side).is_in(same.implode())
    everything = pl.lit(value=True)
    if account["status"] not in (None, "active"):
        tests[str(account["status"])] = everything
    if not _may_query(account):
        tests["grant"] = everything
    if account["valid_from"] is not None:
        tests["not_yet"] = pl.col("issued_at") < account["valid_from"]
    if account["valid_to"] is not None:
        tests["expired"] = pl.col("issued_at") >= account["valid_to"]
    who = str(account["account"])
    yield from _biting(case, who, tests)


def _biting(case: Case, who: str, tests: dict[str, pl.Expr]) -> Iterator[_Fault]:
    """Yield the faults that show: a good share of the ledger rows they would hide is in fact missing."""
    ledger, missing = case.evidence.ledger, case.missing
    for fault, test in tests.items():
        needed = test.meta.root_names()
        if not set(needed) <= set(ledger.columns):
            continue
        reached = ledger.filter(test).height if needed else ledger.height
        gone = missing.filter(test).height if needed else missing.height
        if gone and gone >= BITES * reached:
            yield test, who, fault, gone, reached


def _may_query(account: dict[str, Any]) -> bool:
    """Return whether an account's role or grants allow it to query invoices."""
    words = resources.load("causes")["permissions"]
    grants = str(account["grants"] or "").replace(";", "；").split("；")
    return account["role"] in words["roles"] or any(grant.strip() in words["grants"] for grant in grants)


def _issuer_faults(case: Case) -> Iterator[_Fault]:
    """Yield the faults of issuing accounts whose missing share stands out beside them."""
    ledger = case.evidence.ledger
    if "account" not in ledger.columns or ledger["account"].null_count() == ledger.height:
        return
    issued = dict(ledger.drop_nulls("account").group_by("account").len().iter_rows())
    missing = dict(case.missing.drop_nulls("account").group_by("account").len().iter_rows())
    listed = {row["account"]: row for row in case.evidence.accounts.iter_rows(named=True)}
    for name, gone in sorted(missing.items()):
        fault = _issuer_fault(case, listed.get(name))
        if fault is None:
            continue
        word, test = fault
        others = sum(issued.values()) - issued[name], sum(missing.values()) - gone
        if (
            fisher(gone, issued[name], others[1], others[0]) < STANDS_OUT
            and gone * others[0] > 3 * others[1] * issued[name]
        ):
            yield (pl.col("account") == name) & test, name, word, gone, issued[name]


def _issuer_fault(case: Case, account: dict[str, Any] | None) -> tuple[str, pl.Expr] | None:
    """Return what an issuing account lacks and which rows that concerns, or null."""
    everything = pl.lit(value=True)
    if account is None:
        return "unlisted", everything
    if account["status"] not in (None, "active"):
        return str(account["status"]), everything
    own = case.evidence.taxpayer_ids
    if account["tax_id"] and own and account["tax_id"] not in own:
        return "tax_id", everything
    if account["valid_to"] is not None and account["valid_to"] <= case.evidence.taken_at:
        return "expired", pl.col("issued_at") >= account["valid_to"]
    if account["valid_from"] is not None:
        return "not_yet", pl.col("issued_at") < account["valid_from"]
    return None if _may_query(account) else ("grant", everything)


def viewers(accounts: pl.DataFrame, tax_ids: list[str], *, at: datetime) -> pl.DataFrame:
    """Return `account`, `holder` of those that could query invoices of a taxpayer at a moment.

    Args:
        accounts: canonical; an account may have a row per taxpayer.
        tax_ids: the taxpayers the invoice may belong to; where none is known, any will do.
        at: Beijing time.
    """
    mine = pl.col("tax_id").is_null() | fold_tax_id(pl.col("tax_id")).is_in(folded(tuple(tax_ids)))
    status = pl.col("status").cast(pl.String)
    may = accounts.filter(
        pl.col("account").is_not_null(),
        (status == "active") | status.is_null(),
        pl.col("valid_from").is_null() | (pl.col("valid_from") <= at),
        pl.col("valid_to").is_null() | (pl.col("valid_to") > at),
        mine if tax_ids else pl.lit(value=True),
    )
    allowed = pl.Series([_may_query(row) for row in may.iter_rows(named=True)], dtype=pl.Boolean)
    return may.filter(allowed).select("account", "holder").unique(maintain_order=True)


CAUSES: tuple[Callable[[Case], pl.DataFrame], ...] = (no_permission,)
