"""BK04 of the newest invoices: a copy that is not due yet lacks nothing, one that is overdue does."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import polars as pl
import pytest

from audit_kit.core import schema
from audit_kit.core.policy import BackupPolicy
from audit_kit.rules.backups.audit import BackupAudit, audit_backups
from audit_kit.rules.backups.state import BackupWorld

if TYPE_CHECKING:
    from collections.abc import Sequence

NOW = datetime(2025, 5, 31, 9)
SILENT = BackupPolicy(full=None, incremental=None, copies=2, sites=1)
ASKED = BackupPolicy(full="0 2 * * *", incremental="0 * * * *", copies=2, sites=1)


def may(day: int, hour: int = 2, minute: int = 0) -> datetime:
    return datetime(2025, 5, day, hour, minute)


def frame(table: str, rows: list[dict[str, Any]]) -> pl.DataFrame:
    dtypes = schema.dtypes(table)
    known = {name: pl.String() if isinstance(dtype, pl.Enum) else dtype for name, dtype in dtypes.items()}
    complete = [{name: row.get(name) for name in dtypes} for row in rows]
    return pl.DataFrame(complete, schema=known, orient="row").cast(dtypes)


def runs(repo: str, starts: Sequence[datetime], **more: Any) -> list[dict[str, Any]]:
    known = {"kind": "snapshot", "chain_semantics": "independent", "status": "ok", "encrypted": True, "tool": "x"}
    return [
        {"repo_id": repo, "job": repo, "backup_id": f"{start:%d%H%M}", "data_time": start, "started_at": start}
        | {"finished_at": start + timedelta(minutes=10)} | known | more
        for start in starts
    ]  # fmt: skip


def plan(job: str, cron: str, **more: Any) -> dict[str, Any]:
    known = {"kind": "snapshot", "tz": "Asia/Shanghai", "tol_early": 5, "tol_late": 60}
    return {"job": job, "cron": cron} | known | more


HOURLY = [may(29) + timedelta(hours=at) for at in range(55)]  # to 31 May 08:00
NIGHTLY = [may(day) for day in range(20, 32)]
WEEKLY = [may(11), may(18), may(25)]


def key(at: int) -> str:
    return f"25112000001234{at:06d}"


def audited(
    made: datetime,
    second: Sequence[datetime],
    *,
    schedule: Sequence[dict[str, Any]] = (),
    policy: BackupPolicy = SILENT,
    first: Sequence[datetime] = HOURLY,
    more: Sequence[dict[str, Any]] = (),
    listed: Sequence[dict[str, Any]] = (),
    **file: Any,
) -> BackupAudit:
    """An old invoice that both repositories hold, and one made at a moment that only the first holds, since then."""
    files = [
        {"path": f"{key(at)}.xml", "digital_number": key(at), "size": 9, "sha256": f"{at:064x}", "role": "xml"} | own
        for at, own in ((1, {"mtime": may(1), "issued_at": may(1)}), (2, {"mtime": made, "issued_at": made} | file))
    ]
    since = next((at for at, start in enumerate(first) if start >= made), len(first) - 1)
    known = {"hash_kind": "sha256", "size": 9}
    spans = [("nas", 1, 0, len(first) - 1), ("nas", 2, since, len(first) - 1), ("cloud", 1, 0, len(second) - 1)]
    listing = [
        {"repo_id": repo, "path_norm": f"{key(at)}.xml", "hash": f"{at:064x}", "first_ord": start, "last_ord": end}
        for repo, at, start, end in spans
    ]
    listing += [
        *listed,
    ]  # fmt: skip
    tables = {
        "backups": [*runs("nas", first), *runs("cloud", second), *more],
        "backup_listing": [known | row for row in listing],
        "schedule": list(schedule),
        "invoice_files": files,
    }
    names = ("backups", "backup_checks", "restore_tests", "backup_listing", "schedule", "invoice_files", "ledger")
    world = BackupWorld(policy=policy, taken_at=NOW, **{name: frame(name, tables.get(name, [])) for name in names})
    return audit_backups(world, lang="en")


def told(audit: BackupAudit) -> str:
    """What BK04 says: nothing, fails (of the one invoice), or unknown."""
    found = audit.findings.filter(pl.col("cause") == "BK04")
    if found.is_empty():
        return "nothing"
    assert found.height == 1
    row = found.row(0, named=True)
    if row["state"] == "fails":
        assert row["invoice_key"] == key(2)
        assert row["severity"] == "high"
    else:
        assert key(2) in row["evidence"]
        assert "cloud" in row["evidence"]
    return str(row["state"])


NIGHT, NOON, WEEK = plan("cloud", "0 2 * * *"), plan("cloud", "0 12 * * *"), plan("cloud", "0 2 * * 0")

STATED = [
    # made, runs of the second repository, its schedule, what is right
    (may(31, 3), NIGHTLY, [NIGHT], "nothing"),
    (may(31, 2, 1), NIGHTLY, [NIGHT], "nothing"),
    (may(31, 7, 59), NIGHTLY, [NIGHT], "nothing"),
    (may(31, 1, 50), NIGHTLY, [NIGHT], "fails"),
    (may(30, 10), NIGHTLY, [NIGHT], "fails"),
    (may(30, 10), NIGHTLY[:-1], [NIGHT], "fails"),  # the run of the last night is missing
    (may(30, 1, 54), NIGHTLY[:-2], [NIGHT], "fails"),
    (may(30, 13), [may(day, 12) for day in range(20, 31)], [NOON], "nothing"),
    (may(30, 12, 5), [may(day, 12) for day in range(20, 31)], [NOON], "nothing"),
    (may(30, 11, 50), [may(day, 12) for day in range(20, 31)], [NOON], "fails"),
    (may(29, 13), [may(day, 12) for day in range(20, 30)], [NOON], "fails"),
    (may(26), WEEKLY, [WEEK], "nothing"),
    (may(30, 23), WEEKLY, [WEEK], "nothing"),
    (may(24), WEEKLY, [WEEK], "fails"),
    (may(24), WEEKLY[:-1], [WEEK], "fails"),
    (may(31, 7), NIGHTLY[:-1], [plan("cloud", "0 8 * * *")], "nothing"),  # 08:00 may be an hour late
    (may(31, 7), NIGHTLY[:-1], [plan("cloud", "0 8 * * *", tol_late=30)], "fails"),
    (may(31, 7), NIGHTLY, [plan("cloud", "0 0 * * *", tz="UTC")], "nothing"),  # 08:00 in Beijing
    (may(31, 3), NIGHTLY, [NIGHT, plan("cloud", "0 2 1 * *", kind="full")], "nothing"),
    (may(31, 3), NIGHTLY, [plan("cloud", "0 2 * * *", valid_from=may(1, 0))], "nothing"),
]  # fmt: skip


@pytest.mark.parametrize(("made", "second", "schedule", "right"), STATED)
def test_by_a_schedule(made: datetime, second: list[datetime], schedule: list[dict[str, Any]], right: str) -> None:
    assert told(audited(made, second, schedule=schedule)) == right


WITHOUT = [
    # made, runs, policy, what is right
    (may(31, 3), NIGHTLY, ASKED, "nothing"),  # nightly by its rhythm, as policy asks
    (may(30, 10), NIGHTLY, ASKED, "fails"),
    (may(30, 10), NIGHTLY[:-1], ASKED, "fails"),  # due at 02:00 by policy and by rhythm, an hour of grace over
    (may(20, 10), NIGHTLY[:2], ASKED, "fails"),
    (may(26), WEEKLY, ASKED, "unknown"),  # policy asks for every night, its rhythm is a week
    (may(24), WEEKLY, ASKED, "fails"),
    (may(31, 3), NIGHTLY, SILENT, "unknown"),
    (may(26), WEEKLY, SILENT, "unknown"),
    (may(30, 10), NIGHTLY, SILENT, "fails"),  # it ran since and did not take it in
    (may(24), WEEKLY, SILENT, "fails"),
    (may(31, 3), [may(20)], SILENT, "unknown"),
    (may(19), [may(20)], SILENT, "fails"),
]  # fmt: skip


@pytest.mark.parametrize(("made", "second", "policy", "right"), WITHOUT)
def test_without_a_schedule(made: datetime, second: list[datetime], policy: BackupPolicy, right: str) -> None:
    assert told(audited(made, second, policy=policy)) == right


FILES: list[tuple[dict[str, Any], str]] = [
    ({"mtime": None}, "nothing"),
    ({"mtime": None, "issued_at": datetime(2025, 5, 31)}, "nothing"),  # a day without a time
    ({"mtime": datetime(1980, 1, 1)}, "nothing"),  # no file is older than its invoice
    ({"mtime": None, "issued_at": may(20, 10)}, "nothing"),  # it came to the archive when the first run took it in
    ({"mtime": may(31, 8, 30)}, "nothing"),
    ({"mtime": None, "issued_at": None}, "nothing"),
]


@pytest.mark.parametrize(("file", "right"), FILES)
def test_when_a_file_came_to_be(file: dict[str, Any], right: str) -> None:
    assert told(audited(may(31, 3), NIGHTLY, schedule=[NIGHT], **file)) == right


@pytest.mark.parametrize("file", [{}, {"mtime": None}, {"mtime": may(31, 8, 30)}, {"mtime": None, "issued_at": None}])
def test_an_overdue_copy_is_overdue_whatever_the_file_says_of_its_time(file: dict[str, Any]) -> None:
    assert told(audited(may(29, 10), NIGHTLY, schedule=[NIGHT], **file)) == "fails"


def test_a_copy_that_is_listed_but_broken_is_a_fault_at_once() -> None:
    broken = runs("cloud", [may(31, 4)], status="failed")
    listed = [{"repo_id": "cloud", "path_norm": f"{key(2)}.xml", "hash": f"{2:064x}", "first_ord": 12, "last_ord": 12}]
    assert told(audited(may(31, 3), NIGHTLY, schedule=[NIGHT], more=broken, listed=listed)) == "fails"


def test_a_third_copy_that_waits_does_not_excuse_a_second_that_is_overdue() -> None:
    tape = runs("tape", WEEKLY)
    listed = [{"repo_id": "tape", "path_norm": f"{key(1)}.xml", "hash": f"{1:064x}", "first_ord": 0, "last_ord": 2}]
    both = [NIGHT, plan("tape", "0 2 * * 0")]
    three = BackupPolicy(full=None, incremental=None, copies=3, sites=1)
    assert told(audited(may(30, 10), NIGHTLY, schedule=both, more=tape, listed=listed, policy=three)) == "fails"
    assert told(audited(may(31, 3), NIGHTLY, schedule=both, more=tape, listed=listed, policy=three)) == "nothing"
    assert told(audited(may(30, 10), NIGHTLY, schedule=both, more=tape, listed=listed)) == "fails"
