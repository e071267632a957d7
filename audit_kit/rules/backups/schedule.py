"""Schedule against runs: which slots had a run of their own, which were late, which had none.

Every run belongs to the last slot that was due when it began, some minutes of grace for a fast clock included; so a
make-up run fills the slot in which it came, and the slot it was meant for stays missing. Times are Beijing time, a
cron expression is read in its own zone. Ranges include their start and exclude their end.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from itertools import pairwise
from math import log2
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import polars as pl
from cronsim import CronSim, CronSimError

from audit_kit.core.clock import BEIJING, beijing
from audit_kit.core.errors import EngagementError
from audit_kit.rules.backups.tool_traits import tools_that

if TYPE_CHECKING:
    from collections.abc import Iterator

    from audit_kit.core.policy import BackupPolicy

GRACE_MINUTES = 5.0
MOST_SLOTS = 600_000
WHOLE_KINDS = ("full", "snapshot")
PART_KINDS = ("incr", "diff", "log")
UNSCHEDULED = ("copy", "unknown")
RHYTHM_LEAST = 3
SLOTS = {
    "job": pl.String(),
    "kind": pl.String(),
    "due": pl.Datetime("us"),
    "started_at": pl.Datetime("us"),
    "backup_id": pl.String(),
    "state": pl.Enum(["ok", "late", "missing", "unknown"]),
}
INCIDENTS = {
    "job": pl.String(),
    "kind": pl.String(),
    "first_due": pl.Datetime("us"),
    "last_due": pl.Datetime("us"),
    "slots": pl.UInt32(),
    "next_good": pl.Datetime("us"),
}
PLANS = {
    "job": pl.String(),
    "kind": pl.String(),
    "cron": pl.String(),
    "tz": pl.String(),
    "tol_early": pl.Float64(),
    "tol_late": pl.Float64(),
    "valid_from": pl.Datetime("us"),
    "valid_to": pl.Datetime("us"),
    "stated": pl.Boolean(),
    "counts": pl.List(pl.String()),
}


def plans(runs: pl.DataFrame, schedule: pl.DataFrame, policy: BackupPolicy) -> pl.DataFrame:
    """Return the schedule of every job: its own rows, else what the policy asks; `stated` tells which.

    `counts` are the kinds of runs that fill a slot. To the policy's incremental slots a full backup counts as well. A
    snapshot job without a row is held to the policy's expression whose period is nearer to its own rhythm, since a
    snapshot is full and incremental at once.
    """
    own = schedule.filter(pl.col("cron").is_not_null()).with_columns(
        pl.col("kind").cast(pl.String).fill_null("unknown"),
        pl.col("tz").fill_null(policy.tz),
        pl.col("tol_early").fill_null(GRACE_MINUTES),
        pl.col("tol_late").fill_null(policy.tolerance_minutes),
        stated=pl.lit(value=True),
        counts=pl.when(pl.col("kind").is_null())
        .then(pl.lit([*WHOLE_KINDS, *PART_KINDS]))
        .otherwise(pl.concat_list(pl.col("kind").cast(pl.String))),
    )
    rows = []
    unplanned = regular(runs).filter(~pl.col("job").is_in(own["job"].implode()))
    merged = unplanned.with_columns(
        kind=pl.when(pl.col("kind").is_in(PART_KINDS)).then(pl.lit("incr")).otherwise("kind")
    )
    for (job, kind), group in merged.group_by(["job", "kind"], maintain_order=True):
        if cron := _policy_cron(str(kind), group["start"].drop_nulls().sort(), policy):
            counts = [*PART_KINDS, "full"] if kind == "incr" else [kind]
            rows.append({"job": job, "kind": kind, "cron": cron, "counts": counts})
    held = pl.DataFrame(rows, schema=PLANS).with_columns(
        tz=pl.lit(policy.tz),
        tol_early=pl.lit(GRACE_MINUTES),
        tol_late=pl.lit(policy.tolerance_minutes),
        stated=pl.lit(value=False),
    )
    return pl.concat([own.select(list(PLANS)), held], how="vertical_relaxed").cast(PLANS)  # type: ignore[arg-type]


def regular(runs: pl.DataFrame) -> pl.DataFrame:
    """Return the runs of jobs that can have a schedule; a copy, or a manifest or two, is a thing done once."""
    once = pl.col("tool").is_in(tools_that("once")).fill_null(value=False) & (pl.len().over("job") < RHYTHM_LEAST)
    return runs.filter(~pl.col("kind").is_in(UNSCHEDULED) & ~once)


def _policy_cron(kind: str, starts: pl.Series, policy: BackupPolicy) -> str | None:
    if kind == "full":
        return policy.full
    if kind == "incr":
        return policy.incremental
    if not policy.full or not policy.incremental:
        return policy.incremental or policy.full or None
    rhythm = starts.diff().dt.total_seconds().median()
    if not isinstance(rhythm, int | float):
        return policy.full
    return min((policy.incremental, policy.full), key=lambda cron: abs(_ratio(rhythm, period(cron, policy.tz))))


def _ratio(rhythm: float, wanted: timedelta) -> float:
    """Return how far a rhythm is from a period, as a power of two."""
    return log2(max(rhythm, 1) / max(wanted.total_seconds(), 1))


def ticks(cron: str, tz: str, start: datetime, end: datetime) -> Iterator[datetime]:
    """Yield the moments, Beijing time, at which a cron expression is due from `start` up to but not at `end`.

    Raises:
        EngagementError: the expression or the zone is none.
    """
    try:
        zone = ZoneInfo(tz)
        local = (start - timedelta(seconds=1)).replace(tzinfo=BEIJING).astimezone(zone)
        for number, tick in enumerate(CronSim(cron, local)):
            due = beijing(tick)
            if due >= end or number >= MOST_SLOTS:
                return
            if due >= start:
                yield due
    except CronSimError as error:
        raise EngagementError("error_rules.no_cron", cron=cron, error=error) from None
    except (ZoneInfoNotFoundError, ValueError):
        raise EngagementError("error_rules.no_zone", tz=tz) from None


def period(cron: str, tz: str) -> timedelta:
    """Return the longest time between two moments of a cron expression, over its next hundred."""
    start = datetime(2025, 1, 1)  # noqa: DTZ001 (Beijing time, stored without zone)
    due = []
    for tick in ticks(cron, tz, start, start + timedelta(days=800)):
        due.append(tick)
        if len(due) > 100:  # noqa: PLR2004 (enough for a week of hours)
            break
    return max((later - earlier for earlier, later in pairwise(due)), default=timedelta(days=800))


def slots(all_runs: pl.DataFrame, planned: pl.DataFrame, now: datetime) -> pl.DataFrame:
    """Return `job`, `kind`, `due`, `started_at`, `backup_id`, `state`: every slot up to now with its run.

    ok and late: a run that ended well; missing: none did; unknown: before the first run that the catalogue shows of the
    job, where earlier ones may have been deleted on purpose, or a run of which nothing says how it ended. A slot whose
    lateness is not over yet is not judged.
    """
    frames = [pl.DataFrame(schema=SLOTS)]
    started = all_runs.filter(pl.col("start").is_not_null()).sort("start")
    for plan in planned.to_dicts():
        of_job = started.filter(pl.col("job") == plan["job"])
        runs = of_job.filter(pl.col("kind").is_in(plan["counts"]))
        first = of_job["start"].min()
        frames.append(_slots_of(plan, runs, first if isinstance(first, datetime) else None, now))
    return (
        pl.concat(frames).unique(["job", "kind", "due"], keep="first", maintain_order=True).sort("job", "kind", "due")
    )


def _slots_of(plan: dict[str, Any], runs: pl.DataFrame, first_seen: datetime | None, now: datetime) -> pl.DataFrame:
    early, late = timedelta(minutes=plan["tol_early"]), timedelta(minutes=plan["tol_late"])
    begins = from_zone(plan["valid_from"], plan["tz"]) or (first_seen and first_seen - early)
    if begins is None:
        return pl.DataFrame(schema=SLOTS)
    ends = min(filter(None, (from_zone(plan["valid_to"], plan["tz"]), now - late)))
    due = pl.DataFrame({"due": list(ticks(plan["cron"], plan["tz"], begins, ends))}, schema={"due": pl.Datetime("us")})
    opened = due.with_columns(opens=pl.col("due") - early).sort("opens")
    assigned = runs.select("backup_id", "status", started_at="start").join_asof(
        opened, left_on="started_at", right_on="opens", strategy="backward"
    )
    filled = assigned.drop_nulls("due")
    good = (
        filled.filter(pl.col("status") == "ok").unique("due", keep="first", maintain_order=True).drop("status", "opens")
    )
    unsaid = (
        filled.filter(pl.col("status").fill_null("unknown") == "unknown")
        .select("due", unsaid=pl.lit(value=True))
        .unique()
    )
    state = (
        pl.when(pl.col("started_at").is_not_null())
        .then(pl.when(pl.col("started_at") - pl.col("due") > late).then(pl.lit("late")).otherwise(pl.lit("ok")))
        .when(pl.col("unsaid").fill_null(value=False) | (pl.lit(first_seen is None) | (pl.col("due") < first_seen)))
        .then(pl.lit("unknown"))
        .otherwise(pl.lit("missing"))
    )
    return (
        due.join(good, on="due", how="left", maintain_order="left")
        .join(unsaid, on="due", how="left", maintain_order="left")
        .with_columns(job=pl.lit(plan["job"]), kind=pl.lit(plan["kind"]), state=state)
        .select(list(SLOTS))
        .cast(SLOTS)  # type: ignore[arg-type]
    )


def from_zone(moment: datetime | None, tz: str) -> datetime | None:
    """Return a moment of a schedule's own zone as Beijing time."""
    return None if moment is None else beijing(moment.replace(tzinfo=ZoneInfo(tz)))


def incidents(all_slots: pl.DataFrame) -> pl.DataFrame:
    """Return consecutive missing slots of one job and kind as one incident, with the next good run after them."""
    judged = all_slots.filter(pl.col("state") != "unknown").with_columns(
        missing=pl.col("state") == "missing",
        next_good=pl.col("started_at").backward_fill().over("job", "kind"),
    )
    return (
        judged.with_columns(spell=pl.col("missing").rle_id().over("job", "kind"))
        .filter("missing")
        .group_by("job", "kind", "spell", maintain_order=True)
        .agg(
            first_due=pl.col("due").min(),
            last_due=pl.col("due").max(),
            slots=pl.len(),
            next_good=pl.col("next_good").last(),
        )
        .select(list(INCIDENTS))
        .cast(INCIDENTS)  # type: ignore[arg-type]
        .sort("job", "kind", "first_due")
    )


def unfinished(runs: pl.DataFrame) -> pl.DataFrame:
    """Return the runs that never ended, of tools that say when a run ends."""
    says = runs.filter(pl.col("finished_at").is_not_null())["repo_id"].unique()
    return runs.filter(
        pl.col("finished_at").is_null()
        & ~pl.col("tool").is_in(tools_that("silent_end")).fill_null(value=False)
        & ((pl.col("status") != "ok").fill_null(value=True) | pl.col("repo_id").is_in(says.implode()))
        & pl.col("start").is_not_null()
    )


def overlapping(runs: pl.DataFrame) -> pl.DataFrame:
    """Return the runs that began before an earlier run of the same job had ended, with `previous` and `until`."""
    return (
        runs.filter(pl.col("start").is_not_null())
        .sort("job", "start", "ord")
        .with_columns(
            until=pl.col("finished_at").cum_max().forward_fill().shift(1).over("job", "source_host"),
            previous=pl.col("short").shift(1).over("job", "source_host"),
        )
        .filter(pl.col("start") < pl.col("until"))
    )
