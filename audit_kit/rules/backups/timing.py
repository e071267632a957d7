"""BK05, BK06, BK09, BK20 and BK22: when backups ran, when they should have, and how much would be lost."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import polars as pl

from audit_kit.rules.backups import recovery, schedule
from audit_kit.rules.backups.backup_findings import facts, first_of, of_runs, together

if TYPE_CHECKING:
    from audit_kit.rules.backups.state import State

CLOCK_MINUTES = 10
MINUTE = timedelta(minutes=1)


def missing(state: State) -> pl.DataFrame:
    """BK05: consecutive slots of a job without a run that ended well; critical where the gap is over the RPO."""
    plan = {(row["job"], row["kind"]): row for row in state.planned.to_dicts()}
    good = state.runs.filter(pl.col("status") == "ok", pl.col("start").is_not_null())
    rows = []
    for row in state.incidents.to_dicts():
        own = plan[row["job"], row["kind"]]
        of_job = good.filter((pl.col("job") == row["job"]) & pl.col("kind").is_in(own["counts"]))["start"]
        before = of_job.filter(of_job < row["first_due"]).max()
        since = before if isinstance(before, datetime) else row["first_due"]
        gap = ((row["next_good"] or state.now) - since) / MINUTE
        severity = "critical" if gap > state.policy.rpo_minutes else "high"
        about = (row["job"], row["kind"], row["first_due"])
        rows.append({**row, "about": about, "severity": severity, "cron": own["cron"], "gap": gap, "before": before})
    return facts(rows)


def late(state: State) -> pl.DataFrame:
    """BK06: a run that never ended, came late, or began before the one before it had ended; one finding a run."""
    own, due = ["job", "backup_id"], state.slots.select("job", "kind", "due").sort("due")
    tardy = state.slots.filter(pl.col("state") == "late")
    faults = (
        schedule.unfinished(state.runs).select(*own, variant=pl.lit("unfinished")),
        tardy.select(*own, minutes=(pl.col("started_at") - pl.col("due")).dt.total_microseconds() / recovery.MINUTE),
        schedule.overlapping(state.runs).select(*own, "until", "previous", variant=pl.lit("overlap")),
    )
    runs = (
        pl.concat(faults, how="diagonal_relaxed")
        .unique(own, keep="first", maintain_order=True)
        .join(state.runs.unique(own, keep="last"), on=own, maintain_order="left")
        .join(state.slots.select(*own, "due").drop_nulls().unique(own, keep="last"), on=own, how="left")
        .sort("start")
        .join_asof(
            due.rename({"due": "due_kind"}),
            left_on="start",
            right_on="due_kind",
            by=["job", "kind"],
            check_sortedness=False,
        )
        .join_asof(
            due.select("job", due_job="due"), left_on="start", right_on="due_job", by="job", check_sortedness=False
        )
    )
    return of_runs(
        runs,
        due=pl.coalesce("due", "due_kind", "due_job", "start"),
        finish=pl.col("finished_at"),
        raw=pl.col("raw_status"),
        **{name: pl.col(name) for name in ("variant", "job", "kind", "start", "minutes", "until", "previous")},
    )


def recovery_point(state: State) -> pl.DataFrame:
    """BK09: at its worst, restoring would have lost more than the policy's RPO; all jobs together."""
    limit = state.policy.rpo_minutes
    if state.runs.is_empty():
        return facts()
    reached = recovery.worst(state.runs, state.now, "restorable")
    if reached is None:
        return facts([{"about": ["never"], "variant": "never", "limit": limit}])
    minutes, at, point = reached
    if minutes <= limit:
        return facts()
    over = (pl.col("series") == "restorable") & (pl.col("minutes") > limit)
    verified = recovery.worst(state.runs, state.now, "verified")
    known = {"minutes": minutes, "at": at, "point": point, "limit": limit, "verified": verified and verified[0]}
    hours = recovery.points(state.runs, state.now).filter(over).height
    return facts([{"about": ["over"], "hours": hours, **known}])


def clocks(state: State) -> pl.DataFrame:
    """BK20: a run's time is not when it was made, is later than its own child's, or is that of another run."""
    # A database backup's time is its end, so only the start of tools whose time is their start can differ from it.
    runs = state.runs.filter(pl.col("data_time").is_not_null() & (pl.col("kind") != "copy"))
    limit = timedelta(minutes=CLOCK_MINUTES)
    starting = (
        (pl.col("kind") == "snapshot")
        | (pl.col("data_time") < pl.col("start"))
        | (pl.col("data_time") > pl.col("finished_at") + limit)
    )
    moved = runs.filter(((pl.col("data_time") - pl.col("start")).abs() > limit) & starting)
    parents = runs.select("repo_id", parent_id="backup_id", parent_time="data_time", parent_short="short")
    turned = runs.join(parents, on=["repo_id", "parent_id"]).filter(
        pl.col("parent_time") > pl.col("data_time") + limit,
        ~pl.col("backup_id").is_in(moved["backup_id"].implode()),
    )
    paths = pl.col("source_paths").list.join("\n").fill_null("")
    alike = ("repo_id", "job", "source_host", "kind", "paths", "data_time")
    same = runs.with_columns(paths=paths).filter(pl.len().over(*alike) > 1)
    twins = first_of(same, "repo_id", "data_time")
    ids, at = pl.concat_list("short"), pl.col("data_time").cast(pl.String).str.strip_suffix(".000000")
    return together(
        of_runs(moved, ids=ids, other=pl.col("start")),
        of_runs(turned, variant=pl.lit("parent"), ids=ids, other=pl.col("parent_time"), parent=pl.col("parent_short")),
        of_runs(
            twins,
            about=pl.concat_list("repo_id", pl.lit("twins"), at),
            variant=pl.lit("twins"),
            severity=pl.lit("medium"),
            ids=pl.col("ids"),
        ),
    )


def against_policy(state: State) -> pl.DataFrame:
    """BK22: a schedule runs less often than policy asks of its kind, or a job has neither schedule nor policy."""
    policy = state.policy
    asked = {"full": policy.full, "snapshot": policy.full, "incr": policy.incremental}
    valid = pl.col("valid_to").is_null() | (pl.col("valid_to") > state.now)
    rows = []
    for row in state.planned.filter(pl.col("stated") & valid).to_dicts():
        wanted = asked.get(row["kind"])
        if wanted and schedule.period(row["cron"], row["tz"]) > schedule.period(wanted, policy.tz):
            known = {name: row[name] for name in ("job", "kind", "cron")}
            rows.append({**known, "about": known.values(), "wanted": wanted})
    served = set(state.planned["job"])
    jobs = schedule.regular(state.runs)["job"].drop_nulls().unique().sort()
    unplanned = ({"about": [job], "variant": "none", "job": job} for job in jobs if job not in served)
    return facts([*rows, *unplanned])


CAUSES = {"BK05": missing, "BK06": late, "BK09": recovery_point, "BK20": clocks, "BK22": against_policy}
