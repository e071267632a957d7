"""Causes that lie in how the platform was asked, or that logs and other systems tell."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeAlias

import polars as pl

from audit_kit import resources
from audit_kit.core.identity import fold_tax_id
from audit_kit.rules.causes.patterns import fisher

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from audit_kit.rules.causes.evidence import Case

BITES = 0.1  # a fault of the exporting account explains what is missing only where this share is missing
STANDS_OUT = 0.001  # chance below which an issuing account's missing share is no accident
SORTED_SHARE = 0.99
EVERYTHING = 0.5  # a backup that holds more than this share of both listed and missing invoices singles none out
FAULT = {"who": pl.String(), "fault": pl.String(), "missing": pl.Int64(), "issued": pl.Int64()}
_Fault: TypeAlias = tuple[pl.Expr, str, str, int, int]  # which rows it hides, then FAULT
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
    own = [tax_id for tax_id in _folded(evidence.taxpayer_ids) if tax_id]
    side = "seller_tax_id" if evidence.direction == "issued" else "buyer_tax_id"
    if own and not _account_of_another(case):
        reasons.append(("direction", ~fold_tax_id(pl.col(side)).is_in(own)))
    reason = pl.coalesce(*(pl.when(test.fill_null(value=False)).then(pl.lit(name)) for name, test in reasons))
    period = " – ".join(f"{time:%Y-%m-%d}" if time else "…" for time in (export.period_start, export.period_end))
    rows = case.missing.with_columns(reason=reason, period=pl.lit(period))
    return rows.filter(pl.col("reason").is_not_null())


def _folded(tax_ids: tuple[str, ...]) -> list[str]:
    folded: list[str] = pl.select(fold_tax_id(pl.lit(pl.Series(list(tax_ids), dtype=pl.String)))).to_series().to_list()
    return folded


def _account_of_another(case: Case) -> bool:
    """Return whether the exporting account is listed for another taxpayer than the audited ones."""
    account = _exporting(case)
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


def _exporting(case: Case) -> dict[str, Any] | None:
    """Return the permission row of the account that took the export."""
    if (account := case.evidence.export.account) is None:
        return None
    rows = case.evidence.accounts.filter(pl.col("account") == account)
    return rows.row(0, named=True) if rows.height else None


def _exporter_faults(case: Case) -> Iterator[_Fault]:
    """Yield the faults of the exporting account, with the rows each would hide."""
    account = _exporting(case)
    if account is None:
        return
    side = "seller_tax_id" if case.evidence.direction == "issued" else "buyer_tax_id"
    tests = {}
    if account["tax_id"] and side in case.evidence.ledger.columns:
        parties = case.evidence.ledger[side].drop_nulls().unique()
        same = parties.to_frame("id").filter(fold_tax_id(pl.col("id")) == _folded((str(account["tax_id"]),))[0])["id"]
        tests["tax_id"] = pl.col(side).is_not_null() & ~pl.col(side).is_in(same.implode())
    everything = pl.lit(value=True)
    if account["status"] in ("locked", "frozen"):
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
    if account["status"] in ("locked", "frozen"):
        return str(account["status"]), everything
    own = case.evidence.taxpayer_ids
    if account["tax_id"] and own and account["tax_id"] not in own:
        return "tax_id", everything
    if account["valid_to"] is not None and account["valid_to"] <= case.evidence.taken_at:
        return "expired", pl.col("issued_at") >= account["valid_to"]
    if account["valid_from"] is not None:
        return "not_yet", pl.col("issued_at") < account["valid_from"]
    return None if _may_query(account) else ("grant", everything)


def upload_failed(case: Case) -> pl.DataFrame:
    """The log shows that the upload failed, and nothing after it succeeded."""
    missing, log = case.missing, case.evidence.sync_log
    failed = log.filter((pl.col("event") == "failed") & pl.col("at").is_not_null())
    failed = failed.filter(pl.col("invoice_number").is_in(missing["invoice_key"].drop_nulls().implode()))
    last = failed.sort("at", maintain_order=True).unique("invoice_number", keep="last", maintain_order=True)
    last = last.select(
        invoice_key="invoice_number",
        failed_at="at",
        error="error_code",
        message="message",
        log_file="source_file",
        log_row="source_row",
    )
    done = log.filter(
        pl.col("invoice_number").is_in(last["invoice_key"].implode())
        & pl.col("event").is_in(["uploaded", "received", "visible"])
    )
    done = done.group_by(invoice_key="invoice_number").agg(succeeded=pl.col("at").max())
    last = last.join(done, on="invoice_key", how="left")
    last = last.filter(pl.col("succeeded").is_null() | (pl.col("succeeded") <= pl.col("failed_at")))
    return missing.join(last, on="invoice_key", how="inner", maintain_order="left")


def not_migrated_back(case: Case) -> pl.DataFrame:
    """The invoice stands in the substitute system only and was not brought back before the export."""
    left = case.substitute.filter(
        pl.col("invoice_key").is_not_null()
        & (pl.col("migrated_at").is_null() | (pl.col("migrated_at") > case.evidence.taken_at))
    ).unique("invoice_key", keep="first", maintain_order=True)
    left = left.select("invoice_key", substitute_file="source_file", substitute_row="source_row")
    return case.missing.join(left, on="invoice_key", how="inner", maintain_order="left")


def only_in_backup(case: Case) -> pl.DataFrame:
    """The invoice is in a backup, while the live systems no longer have it."""
    evidence = case.evidence
    kept = evidence.backup_keys.group_by("invoice_key", maintain_order=True).agg(
        repository=pl.col("repo_id").last(), backup=pl.col("backup_id").last()
    )
    found = case.missing.join(kept, on="invoice_key", how="inner", maintain_order="left")
    if evidence.archive is not None and evidence.archive.height:
        return found.join(evidence.archive.select("invoice_key"), on="invoice_key", how="anti", maintain_order="left")
    # Without a live archive to compare with, a backup that holds everything says nothing of what is missing.
    listed = evidence.matches.filter((pl.col("outcome") == "matched") & pl.col("invoice_key").is_not_null())
    covered = listed.join(kept, on="invoice_key", how="semi").height > EVERYTHING * listed.height
    return found.clear() if covered and found.height > EVERYTHING * case.missing.height else found


CAUSES: tuple[Callable[[Case], pl.DataFrame], ...] = (
    outside_export,
    export_truncated,
    no_permission,
    upload_failed,
    not_migrated_back,
    only_in_backup,
)
