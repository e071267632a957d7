"""BK19, BK21, BK23 and BK24: where the copies are, how long they stay, what is stored, and what nobody can tell."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

import polars as pl

from audit_kit.rules.backups import schedule
from audit_kit.rules.backups.backup_findings import facts, of_runs, together
from audit_kit.rules.backups.tool_traits import tools_that, trait

if TYPE_CHECKING:
    from collections.abc import Iterator

    from audit_kit.rules.backups.state import State

DAYS_GRACE = 2
SHORT_ID = 8
LONG_ID = 64
UNKNOWN = {"state": "unknown"}


def sites(state: State) -> pl.DataFrame:
    """BK19: no copy at another site, or none that cannot be changed; unknown where the catalogues do not say."""
    runs, wanted = state.runs.filter(~pl.col("gone")), state.policy.sites
    rows: list[dict[str, Any]] = []
    known = runs["site"].drop_nulls().unique().sort().to_list()
    if runs.height and wanted > 1 and len(known) < wanted:
        verdict = {"variant": "unknown", **UNKNOWN} if runs["site"].null_count() else {}
        rows.append({"about": ["sites"], **verdict, "sites": known, "wanted": wanted, "repos": state.repositories})
    until = runs["immutable_until"].drop_nulls().max()
    if runs.height and not (isinstance(until, datetime) and until > state.now):
        unsaid = runs["immutable_until"].null_count() > 0
        verdict = {"variant": "mutable_unknown", **UNKNOWN} if unsaid else {"variant": "mutable"}
        rows.append({"about": ["immutable"], **verdict, "at": until, "repos": state.repositories})
    return facts(rows)


def retention(state: State) -> pl.DataFrame:
    """BK21: backups expire before the years that the law asks for are over; unknown where no expiry is stated."""
    runs, years = state.runs.filter("restorable"), state.policy.retention_years
    newest = state.world.ledger["issued_at"].max()
    if runs.height and runs["expires_at"].null_count() == runs.height:
        return facts([{"about": ["unknown"], "variant": "unknown", **UNKNOWN, "years": years}])
    if runs.is_empty() or not isinstance(newest, datetime):
        return facts()
    # A backup is asked to outlast the newest invoice that it can hold.
    held = pl.min_horizontal(pl.lit(newest), pl.coalesce("data_time", pl.lit(newest)))
    needed = held + pl.duration(days=365.25 * years) - pl.duration(days=DAYS_GRACE)
    if runs.filter(pl.col("expires_at").is_null() | (pl.col("expires_at") >= needed)).height:
        return facts()
    return of_runs(
        runs.sort("expires_at", nulls_last=True).tail(1),
        about=pl.concat_list(pl.lit("short")),
        years=pl.lit(years),
        newest=pl.lit(newest),
        at=pl.col("expires_at"),
    )


def store_against_catalogue(state: State) -> pl.DataFrame:
    """BK23: a backup of the catalogue has no object in the store's own inventory, or an object no entry."""
    is_store = pl.col("tool").is_in(tools_that("store"))
    rows = []
    for repo in state.repositories:
        runs = state.runs.filter(pl.col("repo_id") == repo)
        stored, listed = runs.filter(is_store), runs.filter(~is_store & ~pl.col("gone"))
        if stored.is_empty() or listed.is_empty():
            continue
        newest = stored.sort("ord").row(-1, named=True)
        objects = state.world.backup_listing.filter(
            (pl.col("repo_id") == repo) & (pl.col("last_ord") >= newest["ord"]) & (pl.col("first_ord") <= newest["ord"])
        )["path_norm"]
        known = [objects.str.extract(pattern) for pattern in trait("stored_as").values()]
        ids = pl.concat(known).drop_nulls().unique().sort()
        parts = set(objects.str.split("/").explode()) | set(ids)
        absent = [
            short
            for one, short, place in listed.filter(pl.col("data_time") <= newest["data_time"])
            .select("backup_id", "short", "location")
            .iter_rows()
            if one not in parts and str(place or one).rpartition("/")[2] not in parts
        ]
        stray = [one[:SHORT_ID] if len(one) == LONG_ID else one for one in ids if one not in set(runs["backup_id"])]
        if absent or stray:
            about = [repo, *absent, *stray]
            source = {name: newest[name] for name in ("source_file", "source_row")}
            at = newest["data_time"]
            rows.append({"about": about, "repo": repo, "absent": absent, "stray": stray, "at": at, **source})
    return facts(rows)


def gaps_of_evidence(state: State) -> pl.DataFrame:
    """BK24: a time, a content or a proof that no catalogue shows; what it would say is unknown, not missing."""
    nothing = [{"about": ["nothing"], "variant": "nothing"}] if state.runs.is_empty() else []
    rows = [*nothing, *_gaps_in_time(state), *_gaps_in_content(state)]
    return together(facts({**row, **UNKNOWN} for row in rows), *_short_listings(state))


def _gaps_in_time(state: State) -> Iterator[dict[str, Any]]:
    for plan in state.planned.filter("stated").to_dicts():
        known = {name: plan[name] for name in ("job", "kind", "cron")}
        first = state.runs.filter(pl.col("job") == plan["job"])["start"].min()
        begins = schedule.from_zone(plan["valid_from"], plan["tz"])
        about = (plan["job"], plan["kind"])
        if not isinstance(first, datetime):
            yield {"about": (*about, "no runs"), "variant": "no_runs", "severity": "high", **known}
        elif begins and first - begins > schedule.period(plan["cron"], plan["tz"]):
            yield {"about": (*about, begins), "begins": begins, "first": first, **known}


def _gaps_in_content(state: State) -> Iterator[dict[str, Any]]:
    for held in state.coverage.held:
        if by_name := int(((held.level > 0) & ~held.by_hash).sum()):
            variant = "by_name_timeless" if held.timeless else "by_name"
            yield {"about": (held.repo_id, "by name"), "variant": variant, "repo": held.repo_id, "count": by_name}
    listed = pl.col("repo_id").is_in(state.coverage.repositories)
    unlisted = state.runs.filter(pl.col("tool").is_in(tools_that("files")) & ~listed & ~pl.col("gone"))
    for repo in unlisted["repo_id"].unique().sort():
        yield {"about": (repo, "unlisted"), "variant": "unlisted", "repo": repo}


def _short_listings(state: State) -> Iterator[pl.DataFrame]:
    """Yield the backups of each repository whose listing has fewer files than they should have."""
    for held in state.coverage.held:
        runs = state.runs.filter(pl.col("repo_id") == held.repo_id).sort("ord")
        counted = runs.with_columns(held.listed.alias("listed"))
        short = counted.filter((pl.col("listed") > 0) & (pl.col("listed") < pl.col("files").cast(pl.Int64)))
        yield of_runs(
            short,
            about=pl.concat_list("repo_id", "backup_id", pl.lit("short")),
            variant=pl.lit("short"),
            state=pl.lit("unknown"),
            files=pl.col("files"),
            listed=pl.col("listed"),
        )


CAUSES = {"BK19": sites, "BK21": retention, "BK23": store_against_catalogue, "BK24": gaps_of_evidence}
