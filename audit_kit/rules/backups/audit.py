"""Backup completeness: which invoices would really come back, and what stands in the way. BK01 to BK24.

A listed backup is not a verified one. Evidence levels: 0 listed, 1 structure checked, 2 data read, 3 restored and
compared, 4 opened. What no evidence shows is unknown, never a pass. Times are Beijing time; now is `taken_at`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import polars as pl

from audit_kit import resources
from audit_kit.core.identity import with_key
from audit_kit.core.words import LANGUAGES
from audit_kit.rules.backups import copies, invoices, recovery, series, timing, verification
from audit_kit.rules.backups.backup_findings import findings, worded
from audit_kit.rules.backups.state import BackupWorld

if TYPE_CHECKING:
    from collections.abc import Callable

    from audit_kit.rules.backups.state import State

__all__ = ["BackupAudit", "BackupWorld", "audit_backups", "backup_keys"]

# Every cause with the function that looks for it; its record is in `backup_causes.toml`.
CAUSES: dict[str, Callable[[State], pl.DataFrame]] = {
    **invoices.CAUSES,
    **timing.CAUSES,
    **series.CAUSES,
    **verification.CAUSES,
    **copies.CAUSES,
}
RULES = {
    "id": pl.String(),
    "text": pl.String(),
    "source": pl.String(),
    "edition": pl.String(),
    "valid_from": pl.Date(),
    "state": pl.Enum(["pass", "fails", "unknown"]),
    "findings": pl.UInt32(),
}
KEYS = {"invoice_key": pl.String(), "repo_id": pl.String(), "backup_id": pl.String()}


@dataclass(frozen=True, kw_only=True, eq=False)
class BackupAudit:
    """What an audit of backups says.

    `findings`: see schema.Findings.
    `slots`: `job`, `kind`, `due`, `started_at`, `backup_id`, `state` (ok, late, missing, unknown).
    `incidents`: `job`, `kind`, `first_due`, `last_due`, `slots` (how many), `next_good`.
    `recovery_points`: `at` (every hour), `series` (listed, restorable, verified), `minutes`.
    `coverage`: `month`, `role`, how many files are `covered`, `unverified`, `uncovered`.
    `rules`: `id`, `text`, `source`, `edition`, `valid_from`, `state` (pass, fails, unknown), `findings` (how many).
    """

    findings: pl.DataFrame
    slots: pl.DataFrame
    incidents: pl.DataFrame
    recovery_points: pl.DataFrame
    coverage: pl.DataFrame
    rules: pl.DataFrame


def audit_backups(world: BackupWorld, *, lang: str = "zh") -> BackupAudit:
    """Return everything the rules say of a company's backups.

    Raises:
        EngagementError: a cron expression or a zone of the schedule or the policy is none.
    """
    state = world.state
    found = [worded(cause, rule(state), lang=lang) for cause, rule in CAUSES.items()]
    told = findings(found, state.ledger.select("ledger_row", "invoice_key", "gross"))
    return BackupAudit(
        findings=told,
        slots=state.slots,
        incidents=state.incidents,
        recovery_points=recovery.points(state.runs, state.now),
        coverage=invoices.by_month(state),
        rules=judged(told, nothing=state.runs.is_empty(), lang=lang),
    )


def judged(found: pl.DataFrame, *, nothing: bool, lang: str) -> pl.DataFrame:
    """Return the rules of `resources/rules.toml`, each with its state: fails, else unknown, else pass."""
    states: dict[str, set[str]] = {}
    counts: dict[str, int] = {}
    for cause, state in found.select("cause", pl.col("state").cast(pl.String)).iter_rows():
        states.setdefault(cause, set()).add(state)
        counts[cause] = counts.get(cause, 0) + (state == "fails")
    rows = []
    for rule in resources.load("rules")["rules"]:
        seen = set().union(*(states.get(cause, set()) for cause in rule["checks"]))
        state = "fails" if "fails" in seen else ("unknown" if nothing or seen else "pass")
        failing = sum(counts.get(cause, 0) for cause in rule["checks"])
        rows.append(rule | {"text": rule["text"][LANGUAGES.index(lang)], "state": state, "findings": failing})
    return pl.DataFrame([{name: row.get(name) for name in RULES} for row in rows], schema=RULES)


def backup_keys(world: BackupWorld) -> pl.DataFrame:
    """Return `invoice_key`, `repo_id`, `backup_id`: the last backup of each repository that holds a ledger invoice.

    By the archive's files where there are any, and by the numbers in the names that backups list.
    """
    if world.state.runs.is_empty():
        return pl.DataFrame(schema=KEYS)
    coverage = world.state.coverage
    booked = with_key(world.ledger).select("invoice_key").drop_nulls().unique()
    held = [
        coverage.files.select("invoice_key", one.last_ord.alias("last_ord"), repo_id=pl.lit(one.repo_id)).drop_nulls()
        for one in coverage.held
    ]
    named = coverage.numbers.select("invoice_key", "last_ord", "repo_id")
    known = [part.join(booked, on="invoice_key", how="semi") for part in (named, *held)]
    last = pl.concat(known).group_by("invoice_key", "repo_id").agg(ord=pl.col("last_ord").max())
    runs = world.state.runs.select("repo_id", "ord", "backup_id")
    return last.join(runs, on=["repo_id", "ord"]).select(list(KEYS)).sort("invoice_key", "repo_id")
