"""Backup completeness: which invoices would really come back, and what stands in the way. BK01 to BK24.

A listed backup is not a verified one. Evidence levels: 0 listed, 1 structure checked, 2 data read, 3 restored and
compared, 4 opened. What no evidence shows is unknown, never a pass. Times are Beijing time; now is `taken_at`.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

import polars as pl

from audit_kit import resources
from audit_kit.core.identity import with_key
from audit_kit.rules.backups import chains, copies, recovery, schedule, series, verification
from audit_kit.rules.backups import invoices as backup_invoices
from audit_kit.rules.backups.backup_findings import Words, frame
from audit_kit.rules.backups.state import BackupWorld

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import timedelta

    from audit_kit.rules.backups.state import State

__all__ = ["BackupAudit", "BackupWorld", "audit_backups", "backup_keys"]

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
    state, words = world.state, Words(lang)
    coverage = state.coverage
    planned = schedule.plans(state)
    slots = schedule.slots(state, planned)
    incidents = schedule.incidents(slots)
    ledger = (
        with_key(world.ledger).with_row_index("ledger_row").select("ledger_row", "invoice_key", "gross", "issued_at")
    )
    bare = backup_invoices.without_file(coverage, ledger)
    found = [
        *backup_invoices.undecided(state, coverage, bare, words),
        *missing(state, incidents, planned, words),
        *late(state, slots, words),
        *broken_chains(state, words),
        *wal_gaps(state, words),
        *recovery_point(state, words),
        *verification.not_encrypted(state, words),
        *verification.never_verified(state, words),
        *verification.failed(state, words),
        *verification.never_restored(state, words),
        *series.shrinking(state, words),
        *series.damaged(state, words),
        *series.left_out(state, words),
        *series.warnings(state, words),
        *series.clocks(state, words),
        *copies.sites(state, words),
        *copies.retention(state, words),
        *copies.schedule_against_policy(state, planned, words),
        *copies.store_against_catalogue(state, words),
        *copies.gaps_of_evidence(state, planned, coverage, words),
    ]
    invoices = backup_invoices.uncovered(state, coverage, bare, words)
    findings = frame(found, invoices, ledger.select("ledger_row", "invoice_key", "gross"))
    return BackupAudit(
        findings=findings,
        slots=slots,
        incidents=incidents,
        recovery_points=recovery.points(state),
        coverage=backup_invoices.by_month(coverage, ledger),
        rules=judged(findings, nothing=state.runs.is_empty(), lang=lang),
    )


def missing(state: State, incidents: pl.DataFrame, planned: pl.DataFrame, words: Words) -> Iterator[dict[str, Any]]:
    """BK05: consecutive slots of a job without a run that ended well; critical where the gap is over the RPO."""
    plan = {(row["job"], row["kind"]): row for row in planned.to_dicts()}
    good = state.runs.filter(pl.col("status") == "ok", pl.col("start").is_not_null())
    for row in incidents.to_dicts():
        of_job = good.filter(
            (pl.col("job") == row["job"]) & pl.col("kind").is_in(plan[row["job"], row["kind"]]["counts"])
        )["start"]
        before = of_job.filter(of_job < row["first_due"]).max()
        since = before if isinstance(before, datetime) else row["first_due"]
        gap: timedelta = (row["next_good"] or state.world.taken_at) - since
        over = gap.total_seconds() / 60 > state.world.policy.rpo_minutes
        yield words.finding(
            "BK05",
            row["job"],
            row["kind"],
            row["first_due"],
            severity="critical" if over else "high",
            cron=plan[row["job"], row["kind"]]["cron"],
            gap=gap.total_seconds() / 60,
            before=before,
            **row | {"kind": words.kind(row["kind"])},
        )


def late(state: State, slots: pl.DataFrame, words: Words) -> Iterator[dict[str, Any]]:
    """BK06: a run that never ended, came late, or began before the one before it had ended; one finding a run."""
    faults: dict[tuple[str, str], tuple[str, dict[str, Any]]] = {}
    for run in schedule.unfinished(state.runs).to_dicts():
        faults[run["job"], run["backup_id"]] = "evidence_unfinished", {}
    for row in slots.filter(pl.col("state") == "late").to_dicts():
        minutes = (row["started_at"] - row["due"]).total_seconds() / 60
        faults.setdefault((row["job"], row["backup_id"]), ("evidence", {"minutes": minutes}))
    for run in schedule.overlapping(state.runs).to_dicts():
        more = {"until": run["until"], "previous": run["previous"]}
        faults.setdefault((run["job"], run["backup_id"]), ("evidence_overlap", more))
    ids = pl.Series([one for _, one in faults], dtype=pl.String).implode()
    runs = {(row["job"], row["backup_id"]): row for row in state.runs.filter(pl.col("backup_id").is_in(ids)).to_dicts()}
    filled = slots.filter(pl.col("backup_id").is_in(ids)).select("job", "backup_id", "due").iter_rows()
    due = {(job, one): when for job, one, when in filled}
    for key, (variant, more) in faults.items():
        run = runs[key]
        yield words.finding(
            "BK06",
            run["repo_id"],
            run["backup_id"],
            variant=variant,
            job=run["job"],
            kind=words.kind(run["kind"]),
            backup=run["short"],
            due=due.get(key) or schedule.due_before(slots, run) or run["start"],
            start=run["start"],
            finish=run["finished_at"],
            raw=run["raw_status"],
            source=(run["source_file"], run["source_row"]),
            **more,
        )


def broken_chains(state: State, words: Words) -> Iterator[dict[str, Any]]:
    """BK07: a backup that others need is not there, failed, or the log positions leave a hole; one finding a fault."""
    short = {(repo, one): name for repo, one, name in state.runs.select("repo_id", "backup_id", "short").iter_rows()}
    for (repo, root), group in state.broken.sort("depth").group_by(["repo_id", "root"], maintain_order=True):
        first = group.row(0, named=True)
        yield words.finding(
            "BK07",
            repo,
            root,
            repo=repo,
            root=short.get((repo, root), root),
            fault=words.say(first["fault"]),
            first=short.get((repo, first["backup_id"])),
            count=group.height,
            ids=[short.get((repo, one), one) for one in group["backup_id"]],
        )


def wal_gaps(state: State, words: Words) -> Iterator[dict[str, Any]]:
    """BK08: WAL segments that must be there and are not; consecutive ones are one finding."""
    gaps = state.gaps.with_columns(
        spell=(pl.col("position") // chains.SEGMENT_BYTES).diff().fill_null(1).ne(1).cum_sum().over("repo_id")
    )
    for (repo, _), group in gaps.group_by(["repo_id", "spell"], maintain_order=True):
        torn = chains.torn_by(group.drop("spell"), state.runs)["backup_id"].sort().to_list()
        segments = group["segment"].to_list()
        yield words.finding("BK08", repo, *segments, repo=repo, segments=segments, count=len(segments), ids=torn)
    listed = set(state.world.backup_listing.filter(pl.col("path_norm").str.starts_with(chains.WAL))["repo_id"])
    for repo in state.runs.filter(pl.col("tool") == "pgbackrest")["repo_id"].unique().sort():
        if repo not in listed:
            yield words.finding("BK08", repo, variant="evidence_unknown", state="unknown", repo=repo)


def recovery_point(state: State, words: Words) -> Iterator[dict[str, Any]]:
    """BK09: at its worst, restoring would have lost more than the policy's RPO; all jobs together."""
    if state.runs.is_empty():
        return
    limit = state.world.policy.rpo_minutes
    reached = recovery.worst(state, "restorable")
    if reached is None:
        yield words.finding("BK09", "never", variant="evidence_never", limit=limit)
        return
    minutes, at, point = reached
    if minutes > limit:
        hours = recovery.points(state).filter((pl.col("series") == "restorable") & (pl.col("minutes") > limit)).height
        verified = recovery.worst(state, "verified")
        yield words.finding(
            "BK09",
            "over",
            minutes=minutes,
            at=at,
            point=point,
            limit=limit,
            hours=hours,
            verified=verified and verified[0],
        )


def judged(findings: pl.DataFrame, *, nothing: bool, lang: str) -> pl.DataFrame:
    """Return the rules of `resources/rules.toml`, each with its state: fails, else unknown, else pass."""
    states: dict[str, set[str]] = {}
    counts: dict[str, int] = {}
    for cause, state in findings.select("cause", pl.col("state").cast(pl.String)).iter_rows():
        states.setdefault(cause, set()).add(state)
        counts[cause] = counts.get(cause, 0) + (state == "fails")
    rows = []
    for rule in resources.load("rules")["rules"]:
        seen = set().union(*(states.get(cause, set()) for cause in rule["checks"]))
        state = "fails" if "fails" in seen else ("unknown" if nothing or seen else "pass")
        rows.append(
            {name: rule.get(name) for name in ("id", "source", "edition", "valid_from")}
            | {"text": rule[lang], "state": state, "findings": sum(counts.get(cause, 0) for cause in rule["checks"])}
        )
    return pl.DataFrame(rows, schema=RULES)


def backup_keys(world: BackupWorld) -> pl.DataFrame:
    """Return `invoice_key`, `repo_id`, `backup_id`: the last backup of each repository that holds a ledger invoice.

    By the archive's files where there are any, and by the numbers in the names that backups list.
    """
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
