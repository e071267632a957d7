"""What is known of a company's backups, in order: one row a run, which could be restored, which were checked.

Listed is not verified. A run is restorable when it ended well, is still there, has all it needs and is whole; it is
verified when a check of level 2 or higher covered it, was good, and no later check found damage. Now is `taken_at`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import polars as pl

from audit_kit.core.identity import with_key
from audit_kit.core.policy import DATA_READ, LEAST_LETTERS, OURS, WHOLE_PERCENT
from audit_kit.rules.backups import chains, schedule
from audit_kit.rules.backups.coverage import Coverage
from audit_kit.rules.backups.tool_traits import tools_that, trait

if TYPE_CHECKING:
    from datetime import datetime

    from audit_kit.core.policy import BackupPolicy


@dataclass(frozen=True, kw_only=True, eq=False)
class BackupWorld:
    """The canonical tables that a backup audit is made from; an absent source is an empty table."""

    backups: pl.DataFrame
    backup_checks: pl.DataFrame
    restore_tests: pl.DataFrame
    backup_listing: pl.DataFrame
    schedule: pl.DataFrame
    invoice_files: pl.DataFrame
    ledger: pl.DataFrame
    policy: BackupPolicy
    taken_at: datetime

    @cached_property
    def state(self) -> State:
        """The runs in order, worked out once."""
        return State(self)


class State:
    """The runs of all repositories and what is proved of them.

    `runs`: table backups with `ord` (0-based in its repository by data_time, then backup_id), `short` (id as people
    say it), `start`, `ready_at` (from when it could be restored), `gone`, `whole`, `chained`, `restorable` and
    `verified_at`. `checks`: checks and restore tests together, ids in full.
    """

    def __init__(self, world: BackupWorld) -> None:
        """Put the world's runs in order and prove what can be proved of them."""
        self.world, self.policy, self.now = world, world.policy, world.taken_at
        runs = _ordered(world.backups, world.taken_at)
        self.own_checks = _full_ids(
            world.backup_checks.filter(pl.col("by").eq_missing(OURS) & pl.col("performed_at").is_null()), runs
        )
        self.checks = _full_ids(_checks(world), runs)
        self.broken = chains.broken(runs)
        self.gaps = chains.wal_gaps(runs, world.backup_listing)
        damaged = self.own_checks.filter(pl.col("result").cast(pl.String) == "error").select("repo_id", "backup_id")
        torn = chains.torn_by(self.gaps, runs)
        lost = self.broken.select("repo_id", "backup_id").unique()
        runs = runs.with_columns(
            whole=~(_among(runs, damaged) | _among(runs, torn)),
            chained=~_among(runs, lost),
        )
        runs = runs.with_columns(
            restorable=(pl.col("status").cast(pl.String) == "ok").fill_null(value=False)
            & pl.col("whole")
            & pl.col("chained")
            & ~pl.col("gone")
        )
        self.runs = _verified(runs, self.checks)

    @cached_property
    def coverage(self) -> Coverage:
        """The archive against all repositories, worked out once."""
        return Coverage(self.runs, self.world.backup_listing, self.world.invoice_files)

    @cached_property
    def planned(self) -> pl.DataFrame:
        """The schedule of every job; see `schedule.plans`."""
        return schedule.plans(self.runs, self.world.schedule, self.policy)

    @cached_property
    def slots(self) -> pl.DataFrame:
        """Every slot with its run; see `schedule.slots`."""
        return schedule.slots(self.runs, self.planned, self.now)

    @cached_property
    def incidents(self) -> pl.DataFrame:
        """Slots missing in a row; see `schedule.incidents`."""
        return schedule.incidents(self.slots)

    @cached_property
    def ledger(self) -> pl.DataFrame:
        """The ledger's `ledger_row`, `invoice_key`, `gross`, `issued_at`."""
        booked = with_key(self.world.ledger).with_row_index("ledger_row")
        return booked.select("ledger_row", "invoice_key", "gross", "issued_at")

    @cached_property
    def bare(self) -> pl.Series:
        """The ledger's invoices that have no file in the archive, sorted."""
        booked = self.ledger.select("invoice_key").drop_nulls().unique()
        if booked.height and self.coverage.files.height:
            booked = booked.join(self.coverage.files.select("invoice_key"), on="invoice_key", how="anti")
        return booked["invoice_key"].sort()

    @cached_property
    def repositories(self) -> list[str]:
        """The repositories that any run names, sorted."""
        return self.runs["repo_id"].drop_nulls().unique().sort().to_list()


def _ordered(backups: pl.DataFrame, now: datetime) -> pl.DataFrame:
    """Return the runs in the order that listings count by; what a tool always does is filled in."""
    kind = pl.col("kind").cast(pl.String).fill_null("unknown")
    snapshot = pl.col("tool").is_in(tools_that("snapshot")) & (kind == "unknown")
    sealed = pl.col("tool").is_in(tools_that("encrypted")) & pl.col("encrypted").is_null()
    letters = pl.col("tool").replace_strict(trait("short_id"), default=None, return_dtype=pl.UInt32)
    return (
        backups.with_columns(
            repo_id=pl.coalesce("repo_id", "job", "tool"),
            job=pl.coalesce("job", "repo_id"),
            backup_id=pl.coalesce("backup_id", pl.col("data_time").dt.strftime("%Y-%m-%dT%H:%M:%S")),
        )
        .sort("repo_id", "data_time", "backup_id", nulls_last=True)
        .with_columns(
            ord=pl.int_range(pl.len(), dtype=pl.UInt32).over("repo_id"),
            short=pl.coalesce(pl.col("backup_id").str.head(letters), "backup_id"),
            start=pl.coalesce("started_at", "data_time"),
            kind=pl.when(snapshot).then(pl.lit("snapshot")).otherwise(kind),
            status=pl.col("status").cast(pl.String),
            encrypted=pl.when(sealed).then(pl.lit(value=True)).otherwise("encrypted"),
            gone=(pl.col("deleted_at") <= now).fill_null(value=False),
        )
        .with_columns(ready_at=pl.when(pl.col("status") == "ok").then(pl.coalesce("finished_at", "start")))
    )


def _checks(world: BackupWorld) -> pl.DataFrame:
    """Return checks and restore tests in one frame; of our own readings, made now, those that found all well.

    Those that found damage have a finding of their own, BK16.
    """
    ours = pl.col("by").eq_missing(OURS) & pl.col("performed_at").is_null()
    good = (pl.col("result").cast(pl.String) == "ok") & (pl.col("level") >= DATA_READ)
    checks = world.backup_checks.filter(~ours | good.fill_null(value=False)).with_columns(
        performed_at=pl.when(ours).then(pl.lit(world.taken_at)).otherwise("performed_at")
    )
    return pl.concat(
        [
            checks.with_columns(test=pl.lit(value=False), files_restored=pl.lit(None, pl.UInt64)),
            world.restore_tests.with_columns(test=pl.lit(value=True)),
        ],
        how="diagonal_relaxed",
    ).with_columns(
        result=pl.when(pl.col("errors") > 0)
        .then(pl.lit("error"))
        .otherwise(pl.col("result").cast(pl.String).fill_null("unknown")),
        level=pl.col("level").fill_null(0),
    )


def _full_ids(checks: pl.DataFrame, runs: pl.DataFrame) -> pl.DataFrame:
    """Return the checks with the full id of the backup they name; a beginning of it is enough."""
    known: dict[str, list[str]] = {}
    for repo, one in runs.select("repo_id", "backup_id").iter_rows():
        known.setdefault(repo, []).append(one)

    def full(repo: str, one: str | None) -> str | None:
        if not one or one in known.get(repo, ()):
            return one or None
        hits = [other for other in known.get(repo, ()) if other.startswith(one)] if len(one) >= LEAST_LETTERS else []
        return hits[0] if len(hits) == 1 else one

    ids = [full(repo, one) for repo, one in checks.select("repo_id", "backup_id").iter_rows()]
    return checks.with_columns(backup_id=pl.Series(ids, dtype=pl.String))


def _among(runs: pl.DataFrame, ids: pl.DataFrame) -> pl.Series:
    """Tell for every run whether its repository and id are among `ids`."""
    marked = ids.unique().with_columns(hit=pl.lit(value=True))
    return runs.join(marked, on=["repo_id", "backup_id"], how="left", maintain_order="left")["hit"].fill_null(
        value=False
    )


def _verified(runs: pl.DataFrame, checks: pl.DataFrame) -> pl.DataFrame:
    """Add `verified_at`: when a run was first shown to be good; null where it never was, or a later check found damage.

    A check covers runs with max(data_time, started_at) ≤ performed_at; one that reads a part of the data, or a restore
    of fewer files than the run has, proves nothing of the whole.
    """
    good = (
        (pl.col("result") == "ok")
        & (pl.col("level") >= DATA_READ)
        & (pl.col("scope_pct") >= WHOLE_PERCENT).fill_null(value=True)
    )
    told = checks.filter(pl.col("performed_at").is_not_null()).select(
        "repo_id",
        "backup_id",
        "files_restored",
        at="performed_at",
        good=good,
        bad=pl.col("result") == "error",
        single=pl.col("backup_id").is_not_null() | pl.col("files_restored").is_not_null(),
    )
    made = runs.select("repo_id", "backup_id", "files", "ord", made=pl.max_horizontal("data_time", "started_at"))
    marks = pl.concat([_by_repository(made, told.filter(~pl.col("single"))), _one_by_one(made, told.filter("single"))])
    verdicts = marks.group_by("repo_id", "ord").agg(
        pl.col("first_good").min(), pl.col("last_good").max(), pl.col("last_bad").max()
    )
    stands = pl.col("last_bad").is_null() | (pl.col("last_good") > pl.col("last_bad"))
    return (
        runs.join(verdicts, on=["repo_id", "ord"], how="left", maintain_order="left")
        .with_columns(verified_at=pl.when(stands).then("first_good"))
        .drop("first_good", "last_good", "last_bad")
    )


def _by_repository(made: pl.DataFrame, told: pl.DataFrame) -> pl.DataFrame:
    """Return `repo_id`, `ord`, `first_good`, `last_good`, `last_bad` by checks of whole repositories."""
    last = told.group_by("repo_id").agg(
        last_good=pl.col("at").filter(pl.col("good")).max(), last_bad=pl.col("at").filter(pl.col("bad")).max()
    )
    goods = told.filter("good").select("repo_id", first_good="at").sort("first_good")
    ordered = made.filter(pl.col("made").is_not_null()).sort("made")
    first = ordered.join_asof(
        goods, left_on="made", right_on="first_good", by="repo_id", strategy="forward", check_sortedness=False
    )
    covered = (pl.when(pl.col(name) >= pl.col("made")).then(name).alias(name) for name in ("last_good", "last_bad"))
    return first.join(last, on="repo_id").select("repo_id", "ord", "first_good", *covered)


def _one_by_one(made: pl.DataFrame, told: pl.DataFrame) -> pl.DataFrame:
    """Return the same by checks of single backups, and by restores that say how many files came back."""
    enough = (pl.col("files_restored") >= pl.col("files")).fill_null(value=True)
    pairs = made.join(told, on="repo_id", suffix="_told").filter(
        pl.col("backup_id_told").is_null() | (pl.col("backup_id_told") == pl.col("backup_id")),
        pl.col("made") <= pl.col("at"),
    )
    good = pl.when(pl.col("good") & enough).then("at")
    bad = pl.when("bad").then("at")
    return pairs.select("repo_id", "ord", first_good=good, last_good=good, last_bad=bad)
