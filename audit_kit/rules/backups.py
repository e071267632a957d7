"""Backup completeness: which invoices would really come back, and what stands in the way. BK01 to BK24.

A listed backup is not a verified one. Evidence levels: 0 listed, 1 structure checked, 2 data read, 3 restored and
compared, 4 opened. What no evidence shows is unknown, never a pass. Times are Beijing time; now is `taken_at`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import polars as pl

from audit_kit import resources
from audit_kit.identity import with_key
from audit_kit.rules import backup_copies, backup_series, chains, recovery, schedules, verification
from audit_kit.rules.backup_findings import Words, frame
from audit_kit.rules.backup_world import BackupWorld
from audit_kit.rules.coverage import LISTED, NOWHERE, VERIFIED

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import timedelta

    from audit_kit.rules.backup_world import State
    from audit_kit.rules.coverage import Coverage

__all__ = ["BackupAudit", "BackupWorld", "audit_backups", "backup_keys"]

BY_MONTH = {
    "month": pl.String(),
    "role": pl.String(),
    "covered": pl.UInt32(),
    "unverified": pl.UInt32(),
    "uncovered": pl.UInt32(),
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

    `findings`: schema.Findings. `slots`: `job`, `kind`, `due`, `started_at`, `backup_id`, `state` (ok, late, missing,
    unknown). `incidents`: `job`, `kind`, `first_due`, `last_due`, `slots`, `next_good`. `recovery_points`: `at` (hourly),
    `series` (listed, restorable, verified), `minutes`. `coverage`: `month`, `role`, files `covered`, `unverified`,
    `uncovered`. `rules`: `id`, `text`, `source`, `edition`, `valid_from`, `state` (pass, fails, unknown), `findings`.
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
    planned = schedules.plans(state)
    slots = schedules.slots(state, planned)
    incidents = schedules.incidents(slots, state.runs)
    ledger = (
        with_key(world.ledger).with_row_index("ledger_row").select("ledger_row", "invoice_key", "gross", "issued_at")
    )
    found = [
        *uncovered(state, coverage, ledger, words),
        *one_copy(state, coverage, words),
        *missing(state, incidents, planned, words),
        *late(state, slots, words),
        *broken_chains(state, words),
        *wal_gaps(state, words),
        *recovery_point(state, words),
        *verification.not_encrypted(state, words),
        *verification.never_verified(state, words),
        *verification.failed(state, words),
        *verification.never_restored(state, words),
        *backup_series.shrinking(state, words),
        *backup_series.damaged(state, words),
        *backup_series.left_out(state, words),
        *backup_series.warnings(state, words),
        *backup_series.clocks(state, words),
        *backup_copies.sites(state, words),
        *backup_copies.retention(state, coverage, words),
        *backup_copies.schedule_against_policy(state, planned, words),
        *backup_copies.store_against_catalogue(state, words),
        *backup_copies.gaps_of_evidence(state, planned, coverage, words),
    ]
    findings = frame(found, ledger.select("ledger_row", "invoice_key", "gross"))
    return BackupAudit(
        findings=findings,
        slots=slots,
        incidents=incidents,
        recovery_points=recovery.points(state),
        coverage=by_month(coverage, ledger),
        rules=judged(findings, nothing=state.runs.is_empty(), lang=lang),
    )


def uncovered(state: State, coverage: Coverage, ledger: pl.DataFrame, words: Words) -> Iterator[dict[str, Any]]:
    """BK01, BK02 and BK03: an invoice in no verified backup, in none at all, or only with another content."""
    if state.runs.is_empty():
        return
    if coverage.files.is_empty() or not coverage.repositories:
        yield from _by_number(state, coverage, ledger, words)
        return
    bad = coverage.invoices.filter((pl.col("level") < VERIFIED) | pl.col("differs"))
    rows = bad.join(coverage.file_levels.select("file", "path", "sha256", "last_ord", "repo"), on="file", how="left")
    other = {row["file"]: (held.repo_id, row) for held in coverage.held for row in held.differing.to_dicts()}
    differing = _first_differing(coverage, set(other))
    names = _names(state)
    for row in rows.sort("invoice_key").to_dicts():
        key = row["invoice_key"]
        if row["differs"]:
            yield _differs(words, coverage, key, differing[key], *other[differing[key]], names)
            if row["level"] in (NOWHERE, VERIFIED):
                continue
        cause = "BK02" if row["level"] == NOWHERE else "BK01"
        repo = None if row["repo"] is None else coverage.held[row["repo"]].repo_id
        yield words.finding(
            cause,
            invoice_key=key,
            variant="evidence_listed" if row["level"] == LISTED else "evidence",
            key=key,
            path=row["path"],
            sha256=row["sha256"],
            repo=repo,
            backup=names.get((repo, row["last_ord"])),
        )


def _first_differing(coverage: Coverage, files: set[int]) -> dict[str, int]:
    """Return the first file with another content of every invoice that has one."""
    of_invoice = coverage.files.filter(pl.col("file").is_in(list(files)) & pl.col("invoice_key").is_not_null())
    return dict(of_invoice.sort("file", descending=True).select("invoice_key", "file").iter_rows())


def _differs(
    words: Words,
    coverage: Coverage,
    key: str,
    file: int,
    repo: str,
    held: dict[str, Any],
    names: dict[tuple[str | None, int | None], str],
) -> dict[str, Any]:
    own = coverage.files.row(file, named=True)
    return words.finding(
        "BK03",
        invoice_key=key,
        variant="evidence" if held["hash"] and own["sha256"] else "evidence_size",
        key=key,
        path=own["path"],
        sha256=own["sha256"],
        size=own["size"],
        mtime=own["mtime"],
        repo=repo,
        backup=names.get((repo, held["last_ord"])),
        other_hash=held["hash"],
        other_size=held["size"],
    )


def _names(state: State) -> dict[tuple[str | None, int | None], str]:
    """Return the short id of every backup by repository and ordinal."""
    return {(repo, ord_): short for repo, ord_, short in state.runs.select("repo_id", "ord", "short").iter_rows()}


def _by_number(state: State, coverage: Coverage, ledger: pl.DataFrame, words: Words) -> Iterator[dict[str, Any]]:
    """Judge the ledger's invoices by the numbers in the names that backups list, where no archive is there to compare."""
    wanted = ledger["invoice_key"].drop_nulls().unique(maintain_order=True)
    seen = coverage.numbers
    if seen.is_empty() or wanted.is_empty():
        yield words.finding("BK02", "unknown", variant="evidence_unknown", state="unknown", count=len(wanted))
        return
    levels = dict(seen.group_by("invoice_key").agg(pl.col("level").max()).iter_rows())
    for key in wanted:
        level = levels.get(key, NOWHERE)
        if level < VERIFIED:
            yield words.finding(
                "BK02" if level == NOWHERE else "BK01", invoice_key=key, variant="evidence_by_number", key=key
            )


def one_copy(state: State, coverage: Coverage, words: Words) -> Iterator[dict[str, Any]]:
    """BK04: an invoice that fewer repositories hold than policy asks; one finding where hardly any repository is there."""
    wanted = state.world.policy.copies
    if coverage.files.is_empty() or not coverage.repositories or wanted < 2:  # noqa: PLR2004 (one copy is no copy more)
        return
    few = coverage.invoices.filter(
        (pl.col("level") > LISTED) & (pl.col("copies") < wanted) & (pl.col("copies") > 0)
    ).sort("invoice_key")
    if few.is_empty():
        return
    if len(coverage.repositories) < wanted:
        yield words.finding(
            "BK04", "all", variant="evidence_all", count=few.height, repos=coverage.repositories, wanted=wanted
        )
        return
    holders = _holders(coverage, few)
    for key, copies in few.select("invoice_key", "copies").iter_rows():
        yield words.finding("BK04", invoice_key=key, key=key, copies=copies, wanted=wanted, repos=holders.get(key, []))


def _holders(coverage: Coverage, invoices: pl.DataFrame) -> dict[str, list[str]]:
    """Return the repositories that hold a file of each invoice."""
    files = coverage.files.select("file", "invoice_key").join(
        invoices.select("invoice_key"), on="invoice_key", how="semi"
    )
    held: dict[str, list[str]] = {}
    for one in coverage.held:
        keys = files.join(one.files.filter(pl.col("level") > LISTED), on="file", how="semi")["invoice_key"].unique()
        for key in keys:
            held.setdefault(key, []).append(one.repo_id)
    return held


def missing(state: State, incidents: pl.DataFrame, planned: pl.DataFrame, words: Words) -> Iterator[dict[str, Any]]:
    """BK05: consecutive slots of a job without a run that ended well; critical where the gap is over the policy's RPO."""
    plan = {(row["job"], row["kind"]): row for row in planned.to_dicts()}
    good = state.runs.filter(pl.col("status") == "ok", pl.col("start").is_not_null())
    for row in incidents.to_dicts():
        of_job = good.filter((pl.col("job") == row["job"]) & (pl.col("kind") == row["kind"]))["start"]
        before = of_job.filter(of_job < row["first_due"]).max()
        gap: timedelta = (row["next_good"] or state.world.taken_at) - (before or row["first_due"])
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
            **row,
        )


def late(state: State, slots: pl.DataFrame, words: Words) -> Iterator[dict[str, Any]]:
    """BK06: a run that came late, never ended, or began before the one before it had ended."""
    known = {(row["job"], row["backup_id"]): row for row in state.runs.to_dicts()}
    due = {(row["job"], row["backup_id"]): row["due"] for row in slots.drop_nulls("backup_id").to_dicts()}
    for row in slots.filter(pl.col("state") == "late").to_dicts():
        run = known[row["job"], row["backup_id"]]
        minutes = (row["started_at"] - row["due"]).total_seconds() / 60
        yield _run(words, run, "evidence", row["due"], minutes=minutes)
    for run in schedules.unfinished(state.runs).to_dicts():
        yield _run(words, run, "evidence_unfinished", due.get((run["job"], run["backup_id"]), run["start"]))
    for run in schedules.overlapping(state.runs).to_dicts():
        about = due.get((run["job"], run["backup_id"]), run["start"])
        yield _run(words, run, "evidence_overlap", about, until=run["until"], previous=run["previous"])


def _run(words: Words, run: dict[str, Any], variant: str, due: object, **more: Any) -> dict[str, Any]:  # noqa: ANN401
    return words.finding(
        "BK06",
        run["repo_id"],
        run["backup_id"],
        variant,
        variant=variant,
        job=run["job"],
        kind=run["kind"],
        backup=run["short"],
        due=due,
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


def by_month(coverage: Coverage, ledger: pl.DataFrame) -> pl.DataFrame:
    """Return `month`, `role`, and how many files are covered (verified), unverified and uncovered.

    The month is that of the invoice's issue, in the file or in the ledger; null where neither knows.
    """
    issued = (
        ledger.unique("invoice_key", keep="first").drop_nulls("invoice_key").select("invoice_key", booked="issued_at")
    )
    level = pl.col("level")
    return (
        coverage.file_levels.join(issued, on="invoice_key", how="left")
        .group_by(month=pl.coalesce("issued_at", "booked").dt.strftime("%Y-%m"), role="role")
        .agg(
            covered=(level == VERIFIED).sum(),
            unverified=level.is_between(LISTED, VERIFIED, closed="left").sum(),
            uncovered=(level == NOWHERE).sum(),
        )
        .select(list(BY_MONTH))
        .cast(BY_MONTH)  # type: ignore[arg-type]
        .sort("month", "role", nulls_last=True)
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
    """Return `invoice_key`, `repo_id`, `backup_id`: the last backup of each repository that holds an invoice.

    By the archive's files where there are any, and by the numbers in the names that backups list.
    """
    coverage = world.state.coverage
    held = [
        one.files.join(coverage.files.select("file", "invoice_key"), on="file")
        .drop_nulls("invoice_key")
        .select("invoice_key", "last_ord", repo_id=pl.lit(one.repo_id))
        for one in coverage.held
    ]
    named = coverage.numbers.select("invoice_key", "last_ord", "repo_id")
    known = pl.concat([named, *held]).group_by("invoice_key", "repo_id").agg(ord=pl.col("last_ord").max())
    runs = world.state.runs.select("repo_id", "ord", "backup_id")
    return known.join(runs, on=["repo_id", "ord"]).select(list(KEYS)).sort("invoice_key", "repo_id")
