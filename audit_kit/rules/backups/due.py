"""Whether a further copy of an invoice was due: a repository whose next run is still to come lacks nothing yet."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import polars as pl

from audit_kit.rules.backups.coverage import NOWHERE, RESTORABLE
from audit_kit.rules.backups.schedule import RHYTHM_LEAST, from_zone

if TYPE_CHECKING:
    from audit_kit.rules.backups.coverage import Held
    from audit_kit.rules.backups.state import State

DUE, NOT_YET, UNKNOWN = "due", "not_yet", "unknown"


def standings(state: State, pairs: pl.DataFrame) -> pl.DataFrame:
    """Return, for invoices that a repository does not hold whole, whether its copy was due.

    Args:
        state: of the backups.
        pairs: `invoice_key`, `repo`.

    Returns:
        `invoice_key`, `repo`, `standing`: due; not_yet: no slot of the repository's schedule, or of the policy's, has
        gone by since the files exist, and no run; unknown: no run since, and no schedule tells when there should be.
    """
    files = _existing(state, pairs["invoice_key"].unique())
    found = [pl.DataFrame(schema={"invoice_key": pl.String, "repo": pl.String, "standing": pl.String})]
    for held in state.coverage.held:
        wanted = pairs.filter(pl.col("repo") == held.repo_id).select("invoice_key")
        rows = files.join(wanted, on="invoice_key", how="semi")
        rows = rows.with_columns(level=held.level.gather(rows["file"])).filter(pl.col("level") < RESTORABLE)
        # What is listed but cannot be restored was backed up: that copy is bad, not late.
        rows = rows.with_columns(standing=pl.when(pl.col("level") == NOWHERE).then(_standing(state, held)))
        worst = pl.col("standing").fill_null(DUE)
        each = rows.group_by("invoice_key").agg(due=(worst == DUE).any(), unknown=(worst == UNKNOWN).any())
        standing = pl.when("due").then(pl.lit(DUE)).when("unknown").then(pl.lit(UNKNOWN)).otherwise(pl.lit(NOT_YET))
        found.append(each.select("invoice_key", repo=pl.lit(held.repo_id), standing=standing))
    return pl.concat(found)


def _existing(state: State, keys: pl.Series) -> pl.DataFrame:
    """Return the required files of invoices: `file`, `invoice_key`, `existed`, from when a run could have held it.

    By its last change, else its day of issue; not before the last run that still lacked it of a repository that has it,
    and no later than the first that had it. Without a time of day it is the end of the day.
    """
    files = state.coverage.files.filter(pl.col("required") & pl.col("invoice_key").is_in(keys.implode()))
    files = files.select("file", "invoice_key", "mtime", "issued_at")
    booked = state.ledger.drop_nulls("invoice_key").unique("invoice_key", keep="first", maintain_order=True)
    files = files.join(booked.select("invoice_key", booked="issued_at"), on="invoice_key", how="left")
    issued = pl.coalesce("issued_at", "booked")
    dayless = pl.when(issued == issued.dt.truncate("1d")).then(issued + pl.duration(days=1)).otherwise(issued)
    made = pl.when((pl.col("mtime") >= issued).fill_null(value=True)).then(pl.coalesce("mtime", dayless))
    firsts, befores = [], []
    for at, held in enumerate(state.coverage.held):
        times = state.runs.filter(pl.col("repo_id") == held.repo_id).sort("ord")["data_time"]
        first = held.first_ord.gather(files["file"]).cast(pl.Int64)
        places = pl.select(pl.when((first >= 0) & (first < len(times))).then(first)).to_series()
        earlier = pl.select(pl.when(places > 0).then(places - 1)).to_series()
        firsts.append(times.gather(places).alias(f"first {at}"))
        befores.append(times.gather(earlier).alias(f"before {at}"))
    files = files.with_columns(made=made.otherwise(dayless).cast(pl.Datetime("us"))).hstack([*firsts, *befores])
    lower = pl.max_horizontal("made", *(one.name for one in befores))
    return files.select("file", "invoice_key", existed=pl.min_horizontal(lower, *(one.name for one in firsts)))


def _standing(state: State, held: Held) -> pl.Expr:
    """Return the standing of a file that is nowhere in a repository, by `existed`: the mildest any of its jobs allows.

    A job whose schedule is over does not count where another's goes on.
    """
    clocks = [_clock(state, held.repo_id, job) for job in _jobs(state, held)]
    going = [clock for clock in clocks if clock.planned] or clocks
    said = pl.lit(DUE)
    for clock in sorted(going, key=lambda clock: clock.planned):
        own = _by_clock(clock, state.now)
        said = pl.when(own == DUE).then(said).when(said == NOT_YET).then(said).otherwise(own)
    return said


def _jobs(state: State, held: Held) -> list[str]:
    """Return the jobs of a repository that took files of the archive in; all of them where none did."""
    runs = state.runs.filter(pl.col("repo_id") == held.repo_id)
    first = held.first_ord.drop_nulls().unique()
    bringing = runs.filter(pl.col("ord").is_in(first.implode()))["job"].drop_nulls().unique().sort()
    return (bringing if len(bringing) else runs["job"].drop_nulls().unique().sort()).to_list()


@dataclass(frozen=True, kw_only=True)
class Clock:
    """When a job of a repository last ran, and should have.

    `ran`: the start of its last run that ended well. `slot`: a file that existed by then should be there. `planned`: a
    schedule of its own, or the policy's, goes on. `stated`: it is its own. `expected`: by its rhythm, its next run.
    """

    ran: datetime | None
    slot: datetime | None
    planned: bool
    stated: bool
    expected: datetime | None


def _clock(state: State, repo: str, job: str) -> Clock:
    own = (pl.col("repo_id") == repo) & (pl.col("job") == job) & (pl.col("kind") != "log")
    starts = state.runs.filter(own & (pl.col("status") == "ok"))["start"].drop_nulls().sort()
    plans = [plan for plan in state.planned.filter(pl.col("job") == job).to_dicts() if _goes_on(plan, state.now)]
    gone_by = []
    for plan in plans:
        slots = state.slots.filter((pl.col("job") == job) & (pl.col("kind") == plan["kind"]))
        last = slots["due"].max()
        gone_by += [last - timedelta(minutes=plan["tol_early"])] if isinstance(last, datetime) else []
    ran, gap = starts.max(), starts.diff().median() if len(starts) >= RHYTHM_LEAST else None
    ran = ran if isinstance(ran, datetime) else None
    late = timedelta(minutes=state.policy.tolerance_minutes)
    return Clock(
        ran=ran,
        slot=max(gone_by, default=None),
        planned=bool(plans),
        stated=any(plan["stated"] for plan in plans),
        expected=ran + gap + late if ran and isinstance(gap, timedelta) else None,
    )


def _goes_on(plan: dict[str, Any], now: datetime) -> bool:
    ends = from_zone(plan["valid_to"], plan["tz"])
    return ends is None or ends > now


def _by_clock(clock: Clock, now: datetime) -> pl.Expr:
    existed = pl.col("existed")
    ran_since = (existed < pl.lit(clock.ran, pl.Datetime("us"))).fill_null(value=False) | existed.is_null()
    missed = (existed <= pl.lit(clock.slot, pl.Datetime("us"))).fill_null(value=False)
    waits = clock.planned and not clock.stated and clock.expected is not None and now < clock.expected
    overdue = pl.lit(UNKNOWN if waits else DUE)
    open_ = pl.lit(NOT_YET if clock.planned else UNKNOWN)
    return pl.when(ran_since).then(pl.lit(DUE)).when(missed).then(overdue).otherwise(open_)
