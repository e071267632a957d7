"""The backups part: three jobs of a month with their faults, a sample of e-invoice files, and what the backups hold."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from audit_kit import resources
from audit_kit.training.world import einvoice_files, shaping
from audit_kit.training.world.dice import Dice
from audit_kit.training.world.stream import DAY as DAY_SECONDS
from audit_kit.training.world.stream import EPOCH, channels

if TYPE_CHECKING:
    from audit_kit.training.world.fates import Draft

FILES, CLOUD, DATABASE = "nas-restic", "cloud-borg", "db-pgbackrest"
KEPT = 40  # e-invoice files in the sample
OLDER = 60  # files of earlier months beside them, in the backups only
DATABASE_FILES = 60
FILE_BYTES = 4_100
KEPT_FOR = timedelta(days=6 * 366)
SOURCE = "/srv/invoices"
DAY = timedelta(days=1)
SUNDAY = 6
ROOM_FOR_FAULTS = 20  # days; a shorter period stays without faults in its runs
UNKEPT, CHANGED = 2, 4  # places among the files: in no backup, and kept with another content
RUN_NAMES = (
    "backup_id", "repo_id", "job", "tool", "kind", "chain_semantics", "parent_id", "needs_ids", "data_time",
    "started_at", "finished_at", "status", "raw_status", "files", "bytes_source", "encrypted", "site", "medium",
    "immutable_until", "expires_at", "source_paths",
)  # fmt: skip
CRONS = {
    FILES: ("invoice-files", "snapshot", "0 2 * * *"),
    CLOUD: ("offsite-copy", "snapshot", "30 3 * * *"),
    DATABASE: ("finance-db", "full", "0 1 * * 0"),
}


@dataclass(frozen=True, kw_only=True)
class Archive:
    """Canonical backup tables, `files` (path in the invoice folder → content), and the faults put in on purpose.

    `faults`: `cause` (BKnn), `subject` (repository, backup, job or invoice). `keys`: what only a backup still has, and
    what it has beside the platform: `invoice_key`, `repo_id`, `backup_id`.
    """

    backups: pl.DataFrame
    backup_checks: pl.DataFrame
    restore_tests: pl.DataFrame
    backup_listing: pl.DataFrame
    schedule: pl.DataFrame
    keys: pl.DataFrame
    faults: pl.DataFrame
    files: dict[str, bytes]


@dataclass(frozen=True)
class Kept:
    """An e-invoice file: where it lies, what is in it, when and under which number it was issued."""

    path: str
    content: bytes
    issued: datetime
    number: str
    only_in_backup: bool


@dataclass(frozen=True)
class Run:
    """One backup run; times are Beijing time."""

    repo: str
    at: datetime
    kind: str = "snapshot"
    needs: tuple[str, ...] = ()
    minutes: int | None = 12
    status: str = "ok"
    raw: str = "exit 0"
    shrunk: bool = False
    encrypted: bool = True

    @property
    def backup_id(self) -> str:
        """The tool's own name of the backup."""
        if self.repo == FILES:
            return hashlib.sha256(f"{self.repo} {self.at}".encode()).hexdigest()
        return f"{self.at:%Y%m%d-%H%M%S}{'F' if self.kind == 'full' else 'I' if self.kind == 'incr' else ''}"


def archive(draft: Draft, start: datetime, *, faulty: bool) -> Archive:
    """Return the backups of the month and a sample of e-invoice files; without faults every check passes."""
    taken = EPOCH + timedelta(seconds=draft.taken)
    papers = _papers(draft)
    runs, faults = _runs(start, taken, Dice(draft.seed, "backups"), faulty=faulty)
    listing, gone = _listing(papers, runs, faulty=faulty)
    rows = [_row(run, held) for run, held in zip(runs, _held(listing, runs), strict=True)]
    return Archive(
        backups=shaping.listed("backups", shaping.transposed(rows, RUN_NAMES)),
        backup_checks=_checks(start, taken, faulty=faulty),
        restore_tests=_restores(taken, faulty=faulty),
        backup_listing=listing,
        schedule=_schedule(start),
        keys=_keys(papers, runs),
        faults=pl.DataFrame([*faults, *gone], schema=["cause", "subject"], orient="row"),
        files={paper.path: paper.content for paper in papers if not paper.only_in_backup},
    )


def _papers(draft: Draft) -> list[Kept]:
    """Return the e-invoices kept as files, from before the last night, and those that only a backup still has."""
    digital = draft.base["digital"].is_not_null().to_numpy()
    fine = np.flatnonzero(draft.seen() & digital & (draft.column("issued") < draft.taken // DAY_SECONDS * DAY_SECONDS))
    chosen = fine[np.linspace(0, len(fine) - 1, min(KEPT, len(fine))).astype(np.int64)]
    lost = np.flatnonzero((draft.fate == "only_in_backup") & digital)
    names = channels()
    papers = []
    for only, rows in ((False, chosen), (True, lost)):
        for row in draft.base[rows].iter_rows(named=True):
            issued = EPOCH + timedelta(seconds=row["issued"])
            content = einvoice_files.xml(_paper(row, issued, names))
            papers.append(Kept(f"{issued:%Y-%m}/{row['digital']}.xml", content, issued, row["digital"], only))
    return papers


def _paper(row: dict[str, Any], issued: datetime, names: list[str]) -> einvoice_files.Paper:
    """Return what the e-invoice of a true invoice says."""
    goods = resources.load("simulation")["goods"]["rows"]
    return einvoice_files.Paper(
        number=row["digital"],
        issued_at=issued,
        seller_tax_id=row["seller_tax_id"],
        seller_name=row["seller_name"],
        buyer_tax_id=row["buyer_tax_id"] or "",
        buyer_name=row["buyer_name"],
        net=Decimal(row["net"]) / 100,
        tax=Decimal(row["tax"]) / 100,
        gross=Decimal(row["gross"]) / 100,
        rate=f"{row['rate']:.2f}",
        item=goods[row["good"]][1],
        special="专用" in row["kind"],
        channel=names[row["channel"]],
        drawer=row["drawer"],
        remark=row["remark"] or "",
        requested_at=issued - timedelta(seconds=40),
        signed_at=issued + timedelta(seconds=15),
    )


def _runs(start: datetime, taken: datetime, dice: Dice, *, faulty: bool) -> tuple[list[Run], list[tuple[str, str]]]:
    """Return the runs of the month in order of time, and the faults among them."""
    days = [start + DAY * at for at in range((taken - start).days + 1)]
    nightly = [Run(FILES, day + timedelta(hours=2, minutes=dice.one(4))) for day in days]
    copies = [Run(CLOUD, day + timedelta(hours=3, minutes=30 + dice.one(5))) for day in days]
    sundays = [day for day in days if day.weekday() == SUNDAY]
    fulls = [Run(DATABASE, day + timedelta(hours=1), kind="full", minutes=40) for day in sundays]
    faults: list[tuple[str, str]] = []
    if faulty and len(days) >= ROOM_FOR_FAULTS:
        faults = _spoil(nightly, copies, fulls)
    runs = [run for run in (*nightly, *copies, *fulls) if run.at < taken]
    return sorted(runs, key=lambda run: (run.at, run.repo)), faults


def _spoil(nightly: list[Run], copies: list[Run], fulls: list[Run]) -> list[tuple[str, str]]:
    """Put faults into the runs: late, shrunk, warned, hung, a broken chain, three nights missing; return them."""
    nightly[5] = replace(nightly[5], at=nightly[5].at + timedelta(minutes=95))
    nightly[15] = replace(nightly[15], shrunk=True)
    copies[7] = replace(copies[7], status="warning", raw="exit 1")
    copies[12] = replace(copies[12], minutes=None, status="running", raw="running")
    copies[:] = [replace(run, encrypted=False) for run in copies]
    fulls.append(Run(DATABASE, fulls[1].at + DAY, kind="incr", needs=("20250101-010000F",)))
    faults = [
        ("BK06", nightly[5].backup_id),
        ("BK15", nightly[15].backup_id),
        ("BK18", copies[7].backup_id),
        ("BK06", copies[12].backup_id),
        ("BK10", CLOUD),
        ("BK12", CLOUD),
        ("BK14", CLOUD),
        ("BK07", fulls[-1].backup_id),
        ("BK05", CRONS[FILES][0]),
    ]
    del nightly[9:12]
    return faults


def _row(run: Run, files: int) -> tuple[Any, ...]:
    """Return a run, and how many files it holds, as the columns of `RUN_NAMES`."""
    tool = {FILES: "restic", CLOUD: "borg", DATABASE: "pgbackrest"}[run.repo]
    finished = None if run.minutes is None else run.at + timedelta(minutes=run.minutes)
    restorable = finished if run.repo == DATABASE else run.at
    site, medium = ("cloud", "cloud") if run.repo == CLOUD else ("head-office", "disk")
    return (
        run.backup_id, run.repo, CRONS[run.repo][0], tool, run.kind,
        "linked" if run.repo == DATABASE else "independent", run.needs[0] if run.needs else None, list(run.needs),
        restorable, run.at, finished, run.status, run.raw, files, files * FILE_BYTES,
        run.encrypted, site, medium, run.at + KEPT_FOR, run.at + KEPT_FOR, [SOURCE],
    )  # fmt: skip


def _listing(papers: list[Kept], runs: list[Run], *, faulty: bool) -> tuple[pl.DataFrame, list[tuple[str, str]]]:
    """Return which file is in which backups; with faults, one file in none and one with another content."""
    rows: list[tuple[Any, ...]] = []
    faults: list[tuple[str, str]] = []
    for repo in (FILES, CLOUD):
        own = [run for run in runs if run.repo == repo]
        last = len(own) - 1
        small = [at for at, run in enumerate(own) if run.shrunk]
        for place in range(OLDER):
            digest = hashlib.sha256(f"older {place}".encode()).hexdigest()
            spans = [(0, small[0] - 1), (small[0] + 1, last)] if small and place >= OLDER // 3 else [(0, last)]
            path = f"{SOURCE}/older/scan-{place:04d}.pdf"
            rows += [(repo, path, FILE_BYTES, digest, "sha256", *span) for span in spans]
        for place, paper in enumerate(papers):
            after = [at for at, run in enumerate(own) if run.at > paper.issued]
            if faulty and place == UNKEPT:
                faults += [("BK02", paper.number)] if repo == FILES else []
                continue
            changed = faulty and place == CHANGED and repo == FILES
            faults += [("BK03", paper.number)] if changed else []
            digest = hashlib.sha256(paper.content + (b"\n" if changed else b"")).hexdigest()
            size = len(paper.content) + changed
            rows += [(repo, f"{SOURCE}/{paper.path}", size, digest, "sha256", after[0], last)] if after else []
    names = ("repo_id", "path_norm", "size", "hash", "hash_kind", "first_ord", "last_ord")
    return shaping.listed("backup_listing", shaping.transposed(rows, names)), faults


def _held(listing: pl.DataFrame, runs: list[Run]) -> list[int]:
    """Return how many files each run holds, as the listing says; the database always as many."""
    counts = []
    ordinals = dict.fromkeys((FILES, CLOUD, DATABASE), 0)
    for run in runs:
        at = ordinals[run.repo]
        ordinals[run.repo] += 1
        inside = (pl.col("repo_id") == run.repo) & (pl.col("first_ord") <= at) & (pl.col("last_ord") >= at)
        counts.append(DATABASE_FILES if run.repo == DATABASE else listing.filter(inside).height)
    return counts


def _checks(start: datetime, taken: datetime, *, faulty: bool) -> pl.DataFrame:
    """Return the weekly checks, which read every byte; with faults, of the copies only the structure."""
    weeks = [start + DAY * at + timedelta(hours=6) for at in range(6, (taken - start).days + 1, 7)]
    weeks = [*weeks, taken - timedelta(hours=2)]
    rows: list[tuple[Any, ...]] = []
    for at in weeks:
        rows.append((FILES, None, at, 2, 100.0, "ok", 0, "restic check --read-data", 0))
        weak = ("borg check --archives-only", 1) if faulty else ("borg check --verify-data", 2)
        rows.append((CLOUD, None, at, weak[1], 100.0, "ok", 0, weak[0], 0))
        rows.append((DATABASE, None, at, 2, 100.0, "ok", 0, "pgbackrest verify", 0))
    names = ("repo_id", "backup_id", "performed_at", "level", "scope_pct", "result", "errors", "command", "exit_code")
    return shaping.listed("backup_checks", shaping.transposed(rows, names))


def _restores(taken: datetime, *, faulty: bool) -> pl.DataFrame:
    """Return the restore tests: each repository within the quarter; with faults, the copies never."""
    repos = (FILES, DATABASE) if faulty else (FILES, CLOUD, DATABASE)
    rows = [
        (repo, taken - DAY * 20, 3, 5.0, "ok", 0, 40, 41 * FILE_BYTES, 95.0, "hash", "/srv/restore") for repo in repos
    ]
    names = (
        "repo_id", "performed_at", "level", "scope_pct", "result", "errors", "files_restored", "bytes_restored",
        "duration_s", "compared_by", "target",
    )  # fmt: skip
    return shaping.listed("restore_tests", shaping.transposed(rows, names))


def _schedule(start: datetime) -> pl.DataFrame:
    """Return when the jobs should run."""
    rows = [(job, kind, cron, "Asia/Shanghai", 10.0, 60.0, start) for job, kind, cron in CRONS.values()]
    return shaping.listed(
        "schedule", shaping.transposed(rows, ("job", "kind", "cron", "tz", "tol_early", "tol_late", "valid_from"))
    )


def _keys(papers: list[Kept], runs: list[Run]) -> pl.DataFrame:
    """Return which invoices the local repository's last backup holds."""
    last = [run for run in runs if run.repo == FILES][-1:]
    rows = [(paper.number, FILES, last[0].backup_id) for paper in papers if last and paper.issued < last[0].at]
    return pl.DataFrame(rows, schema=dict.fromkeys(("invoice_key", "repo_id", "backup_id"), pl.String()), orient="row")
