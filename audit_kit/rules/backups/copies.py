"""BK19, BK21 to BK24: where the copies are, how long they stay, what was agreed, and what nobody can tell."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

import polars as pl

from audit_kit.rules.backups import schedule

if TYPE_CHECKING:
    from collections.abc import Iterator

    from audit_kit.rules.backups.backup_findings import Words
    from audit_kit.rules.backups.coverage import Coverage
    from audit_kit.rules.backups.state import State

SNAPSHOT_OBJECT = r"(?:^|/)snapshots/([0-9a-f]{64})$"
LABEL = r"(?:^|/)backup/[^/]+/(\d{8}-\d{6}F(?:_\d{8}-\d{6}[DI])?)(?:/|$)"
FILE_TOOLS = ("restic", "borg", "sha256sum", "tar", "bagit", "rclone", "inventory")
DAYS_GRACE = 2
STORES = ("inventory", "rclone")


def sites(state: State, words: Words) -> Iterator[dict[str, Any]]:
    """BK19: no copy at another site, or none that cannot be changed; unknown where the catalogues do not say."""
    runs, policy = state.runs.filter(~pl.col("gone")), state.world.policy
    if runs.is_empty():
        return
    known = runs["site"].drop_nulls().unique().sort().to_list()
    if policy.sites > 1 and len(known) < policy.sites:
        unsaid = runs["site"].null_count() > 0
        yield words.finding(
            "BK19",
            "sites",
            variant="evidence_unknown" if unsaid else "evidence",
            state="unknown" if unsaid else "fails",
            sites=known,
            wanted=policy.sites,
            repos=state.repositories,
        )
    until = runs["immutable_until"].drop_nulls()
    if until.is_empty() or (until.max() or datetime.min) <= state.world.taken_at:  # type: ignore[operator]  # noqa: DTZ901
        unsaid = runs["immutable_until"].null_count() > 0
        yield words.finding(
            "BK19",
            "immutable",
            variant="evidence_mutable_unknown" if unsaid else "evidence_mutable",
            state="unknown" if unsaid else "fails",
            at=until.max(),
            repos=state.repositories,
        )


def retention(state: State, words: Words) -> Iterator[dict[str, Any]]:
    """BK21: backups expire before the years that the law asks for are over; unknown where no expiry is stated."""
    runs, policy = state.runs.filter("restorable"), state.world.policy
    if runs.is_empty():
        return
    if runs["expires_at"].null_count() == runs.height:
        yield words.finding(
            "BK21", "unknown", variant="evidence_unknown", state="unknown", years=policy.retention_years
        )
        return
    newest = state.world.ledger["issued_at"].max()
    if not isinstance(newest, datetime):
        return
    # A backup is asked to outlast the newest invoice that it can hold.
    held = pl.min_horizontal(pl.lit(newest), pl.coalesce("data_time", pl.lit(newest)))
    needed = held + pl.duration(days=365.25 * policy.retention_years) - pl.duration(days=DAYS_GRACE)
    lasting = runs.filter(pl.col("expires_at").is_null() | (pl.col("expires_at") >= needed))
    if lasting.is_empty():
        last = runs.sort("expires_at", nulls_last=True).row(-1, named=True)
        yield words.finding(
            "BK21",
            "short",
            years=policy.retention_years,
            newest=newest,
            at=last["expires_at"],
            repo=last["repo_id"],
            backup=last["short"],
            source=(last["source_file"], last["source_row"]),
        )


def schedule_against_policy(state: State, planned: pl.DataFrame, words: Words) -> Iterator[dict[str, Any]]:
    """BK22: a schedule runs less often than policy asks of its kind, or a job has neither schedule nor policy."""
    policy, now = state.world.policy, state.world.taken_at
    asked = {"full": policy.full, "snapshot": policy.full, "incr": policy.incremental}
    valid = pl.col("valid_to").is_null() | (pl.col("valid_to") > now)
    for row in planned.filter(pl.col("stated") & valid).to_dicts():
        wanted = asked.get(row["kind"])
        if wanted and schedule.period(row["cron"], row["tz"]) > schedule.period(wanted, policy.tz):
            yield words.finding(
                "BK22",
                row["job"],
                row["kind"],
                row["cron"],
                job=row["job"],
                kind=words.kind(row["kind"]),
                cron=row["cron"],
                wanted=wanted,
            )
    served = set(planned["job"])
    for job in schedule.regular(state.runs)["job"].drop_nulls().unique().sort():
        if job not in served:
            yield words.finding("BK22", job, variant="evidence_none", job=job)


def store_against_catalogue(state: State, words: Words) -> Iterator[dict[str, Any]]:
    """BK23: a backup of the catalogue has no object in the store's own inventory, or an object no entry."""
    for repo in state.repositories:
        runs = state.runs.filter(pl.col("repo_id") == repo)
        stored = runs.filter(pl.col("tool").is_in(STORES))
        listed = runs.filter(~pl.col("tool").is_in(STORES) & ~pl.col("gone"))
        if stored.is_empty() or listed.is_empty():
            continue
        newest = stored.sort("ord").row(-1, named=True)
        objects = state.world.backup_listing.filter(
            (pl.col("repo_id") == repo) & (pl.col("last_ord") >= newest["ord"]) & (pl.col("first_ord") <= newest["ord"])
        )["path_norm"]
        ids = pl.concat([objects.str.extract(SNAPSHOT_OBJECT), objects.str.extract(LABEL)]).drop_nulls().unique().sort()
        listed = listed.filter(pl.col("data_time") <= newest["data_time"])
        parts = set(objects.str.split("/").explode()) | set(ids)
        absent = [
            short
            for one, short, place in listed.select("backup_id", "short", "location").iter_rows()
            if one not in parts and str(place or one).rpartition("/")[2] not in parts
        ]
        stray = [one[:8] if len(one) == 64 else one for one in ids if one not in set(runs["backup_id"])]  # noqa: PLR2004
        if absent or stray:
            yield words.finding(
                "BK23",
                repo,
                *absent,
                *stray,
                repo=repo,
                absent=absent,
                stray=stray,
                at=newest["data_time"],
                source=(newest["source_file"], newest["source_row"]),
            )


def gaps_of_evidence(state: State, planned: pl.DataFrame, coverage: Coverage, words: Words) -> Iterator[dict[str, Any]]:
    """BK24: a time, a content or a proof that no catalogue shows; what it would say is unknown, not missing."""
    if state.runs.is_empty():
        yield words.finding("BK24", "nothing", variant="evidence_nothing", state="unknown")
    yield from _gaps_in_time(state, planned, words)
    yield from _gaps_in_content(state, coverage, words)


def _gaps_in_time(state: State, planned: pl.DataFrame, words: Words) -> Iterator[dict[str, Any]]:
    for plan in planned.filter("stated").to_dicts():
        about = {"job": plan["job"], "kind": words.kind(plan["kind"]), "cron": plan["cron"]}
        first = state.runs.filter(pl.col("job") == plan["job"])["start"].min()
        begins = schedule.beijing(plan["valid_from"], plan["tz"])
        if not isinstance(first, datetime):
            yield words.finding(
                "BK24",
                plan["job"],
                plan["kind"],
                "no runs",
                variant="evidence_no_runs",
                state="unknown",
                severity="high",
                **about,
            )
        elif begins and first - begins > schedule.period(plan["cron"], plan["tz"]):
            yield words.finding(
                "BK24", plan["job"], plan["kind"], begins, state="unknown", begins=begins, first=first, **about
            )


def _gaps_in_content(state: State, coverage: Coverage, words: Words) -> Iterator[dict[str, Any]]:
    for held in coverage.held:
        by_name = int(((held.level > 0) & ~held.by_hash).sum())
        if by_name:
            yield words.finding(
                "BK24",
                held.repo_id,
                "by name",
                variant="evidence_by_name_timeless" if held.timeless else "evidence_by_name",
                state="unknown",
                repo=held.repo_id,
                count=by_name,
            )
    unlisted = state.runs.filter(
        pl.col("tool").is_in(FILE_TOOLS) & ~pl.col("repo_id").is_in(coverage.repositories) & ~pl.col("gone")
    )
    for repo in unlisted["repo_id"].unique().sort():
        yield words.finding("BK24", repo, "unlisted", variant="evidence_unlisted", state="unknown", repo=repo)
    for held in coverage.held:
        runs = state.runs.filter(pl.col("repo_id") == held.repo_id).sort("ord")
        counted = runs.with_columns(held.listed.alias("listed"))
        short = counted.filter((pl.col("listed") > 0) & (pl.col("listed") < pl.col("files").cast(pl.Int64)))
        for row in short.to_dicts():
            yield words.finding(
                "BK24",
                row["repo_id"],
                row["backup_id"],
                "short",
                variant="evidence_short",
                state="unknown",
                repo=row["repo_id"],
                backup=row["short"],
                files=row["files"],
                listed=row["listed"],
                source=(row["source_file"], row["source_row"]),
            )
