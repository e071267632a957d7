"""Causes that lie in what an account may see: of the one that exported, and of those that issued."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

import polars as pl

from audit_kit import resources
from audit_kit.core.cause_records import refused
from audit_kit.core.identity import fold_tax_id
from audit_kit.rules.causes.patterns import fisher

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from datetime import datetime

    from audit_kit.rules.causes.evidence import Case

STANDS_OUT = 0.001  # chance below which an issuing account's missing share is no accident
FAULT = {"who": pl.String(), "fault": pl.String(), "missing": pl.Int64(), "issued": pl.Int64()}
DENIED = {
    "denied_at": pl.Datetime("us"),
    "denied_result": pl.String(),
    "denied_file": pl.String(),
    "denied_row": pl.UInt32(),
}
EVERYTHING = pl.lit(value=True)
_Fault: TypeAlias = tuple[pl.Expr, str, str, int, int]  # which rows it hides, then FAULT


def no_permission(case: Case) -> pl.DataFrame:
    """The account that exported or issued lacks role, grant, validity, is locked, of another tax id, or was refused."""
    missing = case.missing.with_columns(pl.lit(None, dtype).alias(name) for name, dtype in FAULT.items())
    missing = missing.with_columns(party=fold_tax_id(pl.col(case.evidence.side)))
    for test, *facts in [*_exporter_faults(case), *_denied_faults(case), *_issuer_faults(case)]:
        hit = (test & pl.col("fault").is_null()).fill_null(value=False)
        missing = missing.with_columns(
            pl.when(hit).then(pl.lit(fact)).otherwise(name).cast(dtype).alias(name)
            for (name, dtype), fact in zip(FAULT.items(), facts, strict=True)
        )
    known = denied(case) or {}
    facts_of = {"denied_at": "at", "denied_result": "result", "denied_file": "source_file", "denied_row": "source_row"}
    told = [pl.lit(known.get(facts_of[name]), dtype).alias(name) for name, dtype in DENIED.items()]
    rows = missing.drop("party").filter(pl.col("fault").is_not_null())
    return rows.with_columns(*told, subject=pl.when(pl.col("who") != "").then("who"))


def folded(tax_ids: tuple[str, ...]) -> list[str]:
    """Return tax ids as they are compared."""
    folded: list[str] = pl.select(fold_tax_id(pl.lit(pl.Series(list(tax_ids), dtype=pl.String)))).to_series().to_list()
    return folded


def exporting(case: Case) -> list[dict[str, Any]]:
    """Return the permission rows of the account that took the export: one a taxpayer, or one for all."""
    account = case.evidence.export.account
    return [] if account is None else case.evidence.accounts.filter(pl.col("account") == account).to_dicts()


def listed_ids(case: Case) -> list[str]:
    """Return the tax ids on the company's side that the export lists, as they are compared, in order."""
    return sorted(set(_parties(case.evidence.platform, case.evidence.side)["party"].drop_nulls().to_list()))


def denied(case: Case) -> dict[str, Any] | None:
    """Return the last export of the operation log that was refused, unless its account's next one was not.

    Of an account that is not the exporting one it says nothing, where that is known.
    """
    account, log = case.evidence.export.account, case.evidence.operations
    rows = log.filter((pl.col("action").cast(pl.String) == "export") & pl.col("at").is_not_null())
    rows = rows.with_columns(no=refused(pl.col("result"))).sort("at", maintain_order=True)
    if account is not None and (rows["account"] == account).any():
        rows = rows.filter(pl.col("account") == account)
    last = rows.filter("no").tail(1)
    return last.row(0, named=True) if last.height else None


def _parties(frame: pl.DataFrame, side: str) -> pl.DataFrame:
    """Return the tax ids of a side as they stand, `raw`, and as they are compared, `party`."""
    raw = frame[side].cast(pl.String).unique() if side in frame.columns else pl.Series([None], dtype=pl.String)
    return raw.rename("raw").to_frame().with_columns(party=fold_tax_id(pl.col("raw"))).sort("raw")


def _exporter_faults(case: Case) -> Iterator[_Fault]:
    """Yield the faults of the exporting account, with the rows each would hide: of each taxpayer by its own row."""
    rows = exporting(case)
    if not rows:
        return
    named = [folded((str(row["tax_id"] or ""),))[0] for row in rows]
    everyone = [row for row, tax_id in zip(rows, named, strict=True) if not tax_id]
    who, known = str(rows[0]["account"]), sorted({tax_id for tax_id in named if tax_id})
    for tax_id in known:
        mine = [row for row, name in zip(rows, named, strict=True) if name in (tax_id, None)]
        yield from _biting(case, who, pl.col("party") == tax_id, _lacks(mine))
    rest = ~pl.col("party").is_in(known) if known else EVERYTHING
    without = [("tax_id", pl.col("party").is_not_null())]
    yield from _biting(case, who, rest, _lacks(everyone) if everyone else without)
    if not everyone:
        yield from _biting(case, who, pl.col("party").is_null(), _lacks(rows))


def _lacks(rows: list[dict[str, Any]]) -> list[tuple[str, pl.Expr]]:
    """Return what all these rows of an account lack, each with the rows it hides; one that lacks nothing suffices."""
    faults = [_faults(row) for row in rows]
    if not all(faults):
        return []
    hidden = [pl.any_horizontal(*(test for _, test in of_row)) for of_row in faults]
    return [(word, test & pl.all_horizontal(*hidden)) for word, test in faults[0]]


def _faults(account: dict[str, Any]) -> list[tuple[str, pl.Expr]]:
    """Return what one row of an account lacks, each with the invoices it hides."""
    tests = []
    if account["status"] not in (None, "active"):
        tests.append((str(account["status"]), EVERYTHING))
    if not _may_query(account):
        tests.append(("grant", EVERYTHING))
    if account["valid_from"] is not None:
        tests.append(("not_yet", pl.col("issued_at") < account["valid_from"]))
    if account["valid_to"] is not None:
        tests.append(("expired", pl.col("issued_at") >= account["valid_to"]))
    return tests


def _biting(case: Case, who: str, whose: pl.Expr, tests: list[tuple[str, pl.Expr]]) -> Iterator[_Fault]:
    """Yield the faults that bite: something that they would hide is missing, and nothing of it is listed."""
    if not tests:
        return
    evidence = case.evidence
    missing = case.missing.with_columns(party=fold_tax_id(pl.col(evidence.side)))
    listed = _with_party(evidence.platform, evidence.side)
    ledger = _with_party(evidence.ledger, evidence.side)
    shown = ledger[evidence.observations.filter("visible")["ledger_row"]]
    for fault, test in tests:
        hidden = whose & test
        gone = missing.filter(hidden).height
        if gone and not listed.filter(hidden).height and not shown.filter(hidden).height:
            yield hidden, who, fault, gone, ledger.filter(hidden).height


def _with_party(frame: pl.DataFrame, side: str) -> pl.DataFrame:
    """Return `issued_at` and `party` of every row; a table without tax ids has none."""
    if side not in frame.columns:
        return frame.select("issued_at", party=pl.lit(None, pl.String))
    known = _parties(frame, side).drop_nulls()
    party = (
        pl.col(side).cast(pl.String).replace_strict(known["raw"], known["party"], default=None, return_dtype=pl.String)
    )
    return frame.select("issued_at", party=party)


def _denied_faults(case: Case) -> Iterator[_Fault]:
    """Yield what an export that was refused leaves out: taxpayers of whom nothing is listed."""
    operation = denied(case)
    if operation is None:
        return
    everything = case.evidence.platform.is_empty()
    whose = EVERYTHING if everything else pl.col("party").is_not_null()
    ids = [] if everything else listed_ids(case)
    others = whose & ~pl.col("party").is_in(ids) if ids else whose & pl.lit(everything)
    yield from _biting(case, str(operation["account"] or ""), others, [("denied", EVERYTHING)])


def _may_query(account: dict[str, Any]) -> bool:
    """Return whether an account's role or grants allow it to query invoices."""
    words = resources.load("causes")["permissions"]
    grants = str(account["grants"] or "").replace(";", "；").split("；")
    return account["role"] in words["roles"] or any(grant.strip() in words["grants"] for grant in grants)


def _issuer_faults(case: Case) -> Iterator[_Fault]:
    """Yield the faults of issuing accounts whose missing share stands out beside them, for each taxpayer apart."""
    ledger, side = case.evidence.ledger, case.evidence.side
    if case.evidence.accounts.is_empty() or "account" not in ledger.columns:
        return
    ids = _parties(case.evidence.accounts, "tax_id")["party"].drop_nulls().to_list()
    theirs = pl.when(pl.col("party").is_in([*ids, *folded(case.evidence.taxpayer_ids)])).then("party").alias("party")
    of = ledger.select("account", _with_party(ledger, side)["party"]).drop_nulls("account").with_columns(theirs)
    if of.is_empty():
        return
    missing = case.missing.select("account", party=fold_tax_id(pl.col(side))).drop_nulls("account").with_columns(theirs)
    listed = case.evidence.accounts.partition_by("account", as_dict=True)
    unlisted = ~pl.col("account").is_in([name for (name,) in listed])
    for name, party in missing.select("account", party=pl.when(~unlisted).then("party")).unique().sort(pl.all()).rows():
        rows = listed[(name,)].to_dicts() if (name,) in listed else []
        mine = pl.col("account") == name
        same = theirs.eq_missing(pl.lit(party, pl.String)) if rows else EVERYTHING
        if found := _stands_out(of, missing, mine, same):
            for word, test in _issuer_fault(case, rows, party):
                yield mine & same & test, name, word, *found


def _stands_out(of: pl.DataFrame, missing: pl.DataFrame, mine: pl.Expr, same: pl.Expr) -> tuple[int, int] | None:
    """Return how many of an account's invoices of a taxpayer are missing, and of how many, if others lose fewer.

    Others are the other accounts of that taxpayer; where it has none, all.
    """
    gone, issued = missing.filter(mine & same).height, of.filter(mine & same).height
    rest = ~mine & same if of.filter(~mine & same).height else ~(mine & same)
    others_gone, others = missing.filter(rest).height, of.filter(rest).height
    if fisher(gone, issued, others_gone, others) >= STANDS_OUT or gone * others <= 3 * others_gone * issued:
        return None
    return gone, issued


def _issuer_fault(case: Case, rows: list[dict[str, Any]], party: str | None) -> list[tuple[str, pl.Expr]]:
    """Return what an issuing account lacks for a taxpayer, and which rows that concerns."""
    if not rows:
        return [("unlisted", EVERYTHING)]
    known = [folded((str(row["tax_id"] or ""),))[0] for row in rows]
    mine = [row for row, tax_id in zip(rows, known, strict=True) if party is None or tax_id in (None, party)]
    own = folded(case.evidence.taxpayer_ids)
    if not mine and not own:
        mine = rows
    if not mine or (party is None and own and all(tax_id and tax_id not in own for tax_id in known)):
        return [("tax_id", EVERYTHING)]
    return _lacks([row | {"valid_to": _lapsed(row, case.evidence.taken_at)} for row in mine])


def _lapsed(account: dict[str, Any], taken_at: datetime) -> datetime | None:
    """Return when an account's validity ended, if it has by the time of the export."""
    end: datetime | None = account["valid_to"]
    return end if end is not None and end <= taken_at else None


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
