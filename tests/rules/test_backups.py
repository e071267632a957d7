"""The rules of a backup audit, one by one, on worlds small enough to be seen whole. Times are Beijing time."""

from __future__ import annotations

import random
import re
from datetime import datetime, timedelta
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from audit_kit import resources
from audit_kit.core import schema
from audit_kit.core.errors import EngagementError
from audit_kit.core.policy import BackupPolicy
from audit_kit.rules.backups import recovery, schedule
from audit_kit.rules.backups.audit import CAUSES, BackupAudit, audit_backups, backup_keys
from audit_kit.rules.backups.state import BackupWorld

NOW = datetime(2025, 5, 31, 9)
HASH = "ab" * 32


def frame(table: str, rows: list[dict[str, Any]]) -> pl.DataFrame:
    dtypes = schema.dtypes(table)
    known = {name: pl.String() if isinstance(dtype, pl.Enum) else dtype for name, dtype in dtypes.items()}
    complete = [{name: row.get(name) for name in dtypes} for row in rows]
    return pl.DataFrame(complete, schema=known, orient="row").cast(dtypes)


def run(day: int, hour: int = 2, minute: int = 0, **more: Any) -> dict[str, Any]:
    """A snapshot of May that took ten minutes and went well."""
    start = datetime(2025, 5, day, hour, minute)
    told = {"finished_at": start + timedelta(minutes=10), "data_time": start, "started_at": start}
    kinds = {"kind": "snapshot", "chain_semantics": "independent", "status": "ok", "encrypted": True}
    return {"repo_id": "nas", "job": "nas", "tool": "x", "backup_id": f"b{start:%d%H%M}", **told, **kinds, **more}


def plan(cron: str = "0 2 * * *", **more: Any) -> dict[str, Any]:
    return {
        "job": "nas",
        "kind": "snapshot",
        "cron": cron,
        "tz": "Asia/Shanghai",
        "tol_early": 5,
        "tol_late": 60,
        **more,
    }


def check(day: int, hour: int = 12, **more: Any) -> dict[str, Any]:
    return {"repo_id": "nas", "performed_at": datetime(2025, 5, day, hour), "level": 2, "result": "ok", **more}


def archived(key: str, **more: Any) -> dict[str, Any]:
    """An e-invoice of the archive, changed last at the end of April."""
    known = {"path": f"2025/{key}.xml", "size": 2000, "sha256": HASH, "mtime": datetime(2025, 4, 30)}
    return {"digital_number": key, "role": "xml", "issued_at": datetime(2025, 4, 30), **known, **more}


def held(key: str, first: int, last: int, **more: Any) -> dict[str, Any]:
    known = {"path_norm": f"/srv/2025/{key}.xml", "size": 2000, "hash": HASH, "hash_kind": "sha256"}
    return {"repo_id": "nas", "first_ord": first, "last_ord": last, **known, **more}


def invoice(at: int) -> str:
    return f"25112000001234{at:06d}"


POLICY = BackupPolicy(full=None, incremental=None, copies=1, sites=1)


def world(policy: BackupPolicy = POLICY, **tables: list[dict[str, Any]]) -> BackupWorld:
    names = ("backups", "backup_checks", "restore_tests", "backup_listing", "schedule", "invoice_files", "ledger")
    given = {name: frame(name, tables.get(name, [])) for name in names}
    return BackupWorld(policy=policy, taken_at=NOW, **given)


def audit(policy: BackupPolicy = POLICY, **tables: list[dict[str, Any]]) -> BackupAudit:
    return audit_backups(world(policy, **tables), lang="en")


def of(audited: BackupAudit, cause: str, *, state: str = "fails") -> pl.DataFrame:
    return audited.findings.filter((pl.col("cause") == cause) & (pl.col("state").cast(pl.String) == state))


def keys(audited: BackupAudit, cause: str) -> list[str]:
    return sorted(of(audited, cause)["invoice_key"].drop_nulls())


# Schedule


def test_a_make_up_run_fills_the_slot_in_which_it_came() -> None:
    hourly = [run(30, hour) for hour in (0, 1, 2)] + [run(30, 4, 10), run(30, 5)]
    valid = {"valid_from": datetime(2025, 5, 30), "valid_to": datetime(2025, 5, 30, 6)}
    audited = audit(backups=hourly, schedule=[plan("0 * * * *", **valid)])
    states = audited.slots.select(pl.col("due").dt.hour(), pl.col("state").cast(pl.String)).rows()
    assert states == [(0, "ok"), (1, "ok"), (2, "ok"), (3, "missing"), (4, "ok"), (5, "ok")]
    [evidence] = of(audited, "BK05")["evidence"]
    assert "Job nas " in evidence
    assert "from 2025-05-30 03:00" in evidence


def test_a_fast_clock_does_not_move_every_run_one_slot_back() -> None:
    early = [run(day, 1, 59) for day in range(25, 32)]
    assert of(audit(backups=early, schedule=[plan()]), "BK05").is_empty()


def test_consecutive_missing_slots_are_one_incident_and_its_gap_decides_its_severity() -> None:
    audited = audit(backups=[run(day) for day in (20, 21, 25, 26, 27, 29, 30, 31)], schedule=[plan()])
    incidents = audited.incidents.select("first_due", "last_due", "slots", "next_good").rows()
    assert incidents == [
        (datetime(2025, 5, 22, 2), datetime(2025, 5, 24, 2), 3, datetime(2025, 5, 25, 2)),
        (datetime(2025, 5, 28, 2), datetime(2025, 5, 28, 2), 1, datetime(2025, 5, 29, 2)),
    ]
    assert set(of(audited, "BK05")["severity"].cast(pl.String)) == {"critical"}
    patient = BackupPolicy(full=None, incremental=None, rpo_minutes=3000)
    relaxed = audit(patient, backups=[run(day) for day in (20, 21, 25, 26, 27, 29, 30, 31)], schedule=[plan()])
    assert sorted(of(relaxed, "BK05")["severity"].cast(pl.String)) == ["critical", "high"]


def test_a_failed_run_or_a_warning_is_no_good_run() -> None:
    runs = [run(28), run(29, status="failed"), run(30, status="warning"), run(31)]
    audited = audit(backups=runs, schedule=[plan()])
    assert audited.incidents["slots"].to_list() == [2]
    assert of(audited, "BK18").height == 1


def test_a_run_of_which_nothing_says_how_it_ended_leaves_its_slot_unknown() -> None:
    audited = audit(backups=[run(29), run(30, status="unknown"), run(31)], schedule=[plan()])
    assert audited.slots["state"].cast(pl.String).to_list() == ["ok", "unknown", "ok"]
    assert of(audited, "BK05").is_empty()


def test_slots_before_the_catalogue_begins_are_unknown_not_missing() -> None:
    audited = audit(backups=[run(30), run(31)], schedule=[plan(valid_from=datetime(2025, 5, 1))])
    assert audited.slots.filter(pl.col("state") == "unknown").height == 29
    assert of(audited, "BK05").is_empty()
    assert of(audited, "BK24", state="unknown").height == 1


def test_a_slot_that_may_still_be_filled_is_not_judged() -> None:
    audited = audit(backups=[run(30)], schedule=[plan("30 8 * * *"), plan()])
    assert audited.slots["due"].max() == datetime(2025, 5, 31, 2)


def test_a_schedule_in_another_zone_comes_out_in_beijing() -> None:
    runs = [run(day, 2) for day in (29, 30)]
    audited = audit(backups=runs, schedule=[plan("0 18 * * *", tz="UTC", valid_from=datetime(2025, 5, 28))])
    [evidence] = of(audited, "BK05")["evidence"]
    assert "2025-05-31 02:00" in evidence


def test_the_policy_serves_jobs_without_a_row_by_their_own_rhythm() -> None:
    policy = BackupPolicy(full="0 2 * * *", incremental="0 * * * *")
    daily = [run(day) for day in range(20, 32) if day != 25]
    assert audit(policy, backups=daily).incidents["first_due"].to_list() == [datetime(2025, 5, 25, 2)]
    hourly = [run(30, hour) for hour in range(24) if hour != 7] + [run(31, hour) for hour in range(10)]
    assert audit(policy, backups=hourly).incidents["first_due"].to_list() == [datetime(2025, 5, 30, 7)]


def test_a_full_backup_fills_the_policy_s_incremental_slot_too() -> None:
    policy = BackupPolicy(full="0 2 * * *", incremental="0 * * * *")
    hours = [(day, hour) for day in (29, 30) for hour in range(24)] + [(31, hour) for hour in range(9)]
    runs = [run(day, hour, kind="full" if hour == 2 else ("diff" if hour == 12 else "incr")) for day, hour in hours]
    assert audit(policy, backups=runs).incidents.is_empty()
    lost = [row for row in runs if row["backup_id"] not in ("b301200", "b300200")]
    found = audit(policy, backups=lost).incidents.select("kind", "first_due").rows()
    assert found == [
        ("full", datetime(2025, 5, 30, 2)),
        ("incr", datetime(2025, 5, 30, 2)),
        ("incr", datetime(2025, 5, 30, 12)),
    ]
    assert audit(policy, backups=[run(day, kind="full") for day in (29, 30, 31)]).incidents.is_empty()


def test_late_unfinished_and_overlapping_runs_are_told_once_each_with_their_due_time() -> None:
    runs = [
        run(27),
        run(28, 3, 30),
        run(29, finished_at=None, status="running"),
        run(30, finished_at=datetime(2025, 5, 31, 4)),
        run(31),
    ]
    told = of(audit(backups=runs, schedule=[plan()]), "BK06")["evidence"].to_list()
    assert len(told) == 3
    assert any("due at 2025-05-28 02:00" in text and "90 minutes late" in text for text in told)
    assert any("due at 2025-05-29 02:00" in text and "never ended" in text for text in told)
    assert any("due at 2025-05-31 02:00" in text and "had not ended" in text for text in told)


def test_a_year_of_hourly_runs_is_exact() -> None:
    luck = random.Random(5)
    start, hours = datetime(2024, 5, 1), 8760
    kept = [hour for hour in range(hours) if hour < 2 or luck.random() > 0.05]
    delays = {hour: luck.choice([0, 3, 40]) for hour in kept}
    runs = [
        run(1, backup_id=f"{hour}", data_time=when, started_at=when, finished_at=when + timedelta(minutes=5))
        for hour in kept
        for when in [start + timedelta(hours=hour, minutes=delays[hour])]
    ]
    late = {"tol_late": 30, "valid_from": start, "valid_to": start + timedelta(hours=hours)}
    audited = audit(backups=runs, schedule=[plan("0 * * * *", **late)])
    wanted = {"ok": 0, "late": 0, "missing": 0}
    for hour in range(hours):
        wanted["missing" if hour not in delays else ("late" if delays[hour] > 30 else "ok")] += 1
    assert dict(audited.slots["state"].cast(pl.String).value_counts().iter_rows()) == wanted
    assert audited.incidents["slots"].sum() == wanted["missing"]


def test_a_bad_cron_expression_is_refused_in_one_sentence() -> None:
    with pytest.raises(EngagementError, match="no cron expression"):
        audit(backups=[run(30)], schedule=[plan("every day")])


# Chains and WAL


def linked(day: int, kind: str, needs: list[str], **more: Any) -> dict[str, Any]:
    return run(day, kind=kind, chain_semantics="linked", needs_ids=needs, backup_id=f"{kind}{day}", **more)


def test_the_parent_of_an_independent_snapshot_is_only_a_hint() -> None:
    assert of(audit(backups=[run(30, parent_id="pruned"), run(31)]), "BK07").is_empty()


def test_one_missing_full_is_told_once_with_all_that_hangs_on_it() -> None:
    runs = [linked(day, "incr", [f"incr{day - 1}"]) for day in range(22, 26)] + [linked(27, "full", [])]
    found = of(audit(backups=runs), "BK07")
    assert found.height == 1
    assert "incr21, needed by incr22" in found["evidence"][0]
    assert "4 backups" in found["evidence"][0]


def test_a_failed_or_deleted_base_breaks_the_chain() -> None:
    failed = [linked(22, "full", [], status="failed"), linked(23, "incr", ["full22"])]
    gone = [linked(24, "full", [], deleted_at=datetime(2025, 5, 26)), linked(25, "incr", ["full24"])]
    assert of(audit(backups=failed + gone), "BK07").height == 2


def test_an_lsn_chain_breaks_where_positions_do_not_join_and_ties_go_to_the_later() -> None:
    def part(day: int, kind: str, first: int, last: int) -> dict[str, Any]:
        lsn = {"chain_semantics": "lsn", "lsn_from": first, "lsn_to": last, "backup_id": f"{kind}{day}"}
        return run(day, kind=kind, **lsn)

    # Two backups may begin and end at one position.
    still = [part(20, "full", 0, 44744), part(21, "incr", 44744, 44744), part(22, "incr", 44744, 50000)]
    assert of(audit(backups=still), "BK07").is_empty()
    hole = [*still, part(23, "incr", 50001, 60000), part(24, "incr", 60000, 70000)]
    found = of(audit(backups=hole), "BK07")
    assert found.height == 1
    assert "incr23" in found["evidence"][0]
    assert "2 backups" in found["evidence"][0]


def test_chains_that_run_in_a_circle_end() -> None:
    runs = [linked(22, "incr", ["incr23"]), linked(23, "incr", ["incr22"])]
    assert of(audit(backups=runs), "BK07").is_empty()


def wal(*names: str) -> list[dict[str, Any]]:
    return [{"repo_id": "nas", "path_norm": f"wal/{name}", "hash_kind": "none"} for name in names]


def database(day: int, first: int, last: int) -> dict[str, Any]:
    lsn = {"lsn_from": (first << 24) + 40, "lsn_to": (last << 24) + 200}
    return run(day, tool="pgbackrest", kind="full", chain_semantics="linked", backup_id=f"F{day}", **lsn)


def test_a_wal_hole_within_a_backup_makes_it_useless_and_one_after_it_does_not() -> None:
    names = [f"0000000100000000000000{number:02X}" for number in range(4, 16)]
    within = audit(backups=[database(29, 5, 7), database(30, 9, 9)], backup_listing=wal(*names[:2], *names[3:]))
    assert "000000010000000000000006; " in of(within, "BK08")["evidence"][0]
    assert "F29" in of(within, "BK08")["evidence"][0]
    after = audit(backups=[database(29, 5, 7), database(30, 9, 9)], backup_listing=wal(*names[:4], *names[5:]))
    assert "000000010000000000000008; " in of(after, "BK08")["evidence"][0]
    assert "F29" not in of(after, "BK08")["evidence"][0]


def test_the_segment_a_backup_begins_with_is_looked_for_and_logs_carry_over() -> None:
    names = ["0000000100000000000000FE", "0000000100000000000000FF", "000000010000000100000001"]
    found = of(audit(backups=[database(29, 0xFD, 0xFE)], backup_listing=wal(*names)), "BK08")
    assert sorted(found["evidence"].str.extract("segments: ([0-9A-F]{24})")) == [
        "0000000100000000000000FD",
        "000000010000000100000000",
    ]


def test_without_a_list_of_segments_nobody_can_tell() -> None:
    assert of(audit(backups=[database(29, 5, 7)]), "BK08", state="unknown").height == 1


# Recovery point


def test_the_worst_moment_lies_just_before_the_next_backup_is_ready() -> None:
    runs = [run(29, 2), run(30, 2), run(31, 2)]
    audited = audit(BackupPolicy(full=None, incremental=None, rpo_minutes=120), backups=runs)
    # Until 02:10 of the next day the point of 02:00 is the newest: 24 h 10 min.
    assert " 1450 minutes before" in of(audited, "BK09")["evidence"][0]
    patient = audit(BackupPolicy(full=None, incremental=None, rpo_minutes=1450), backups=runs)
    assert of(patient, "BK09").is_empty()


def test_the_three_series_part_where_proof_is_missing() -> None:
    runs = [run(28), run(29), run(30, status="warning"), run(31)]
    state = world(backups=runs, backup_checks=[check(29)]).state
    assert recovery.worst(state.runs, NOW, "listed") == (1450, datetime(2025, 5, 29, 2, 10), datetime(2025, 5, 28, 2))
    assert recovery.worst(state.runs, NOW, "restorable") == (
        2890,
        datetime(2025, 5, 31, 2, 10),
        datetime(2025, 5, 29, 2),
    )
    assert recovery.worst(state.runs, NOW, "verified") == (3300, NOW, datetime(2025, 5, 29, 2))
    points = recovery.points(state.runs, NOW).filter(pl.col("at") == datetime(2025, 5, 29, 11))
    assert dict(points.select(pl.col("series").cast(pl.String), "minutes").iter_rows()) == {
        "listed": 540,
        "restorable": 540,
        "verified": None,
    }


@given(st.lists(st.tuples(st.integers(0, 3000), st.integers(1, 400), st.booleans()), min_size=1, max_size=25))
@settings(max_examples=40, deadline=None)
def test_the_worst_recovery_point_agrees_with_asking_every_minute(runs: list[tuple[int, int, bool]]) -> None:
    start = datetime(2025, 5, 29)
    rows = []
    for number, (minute, length, good) in enumerate(runs):
        when = start + timedelta(minutes=minute)
        times = {"data_time": when, "started_at": when, "finished_at": when + timedelta(minutes=length)}
        rows.append(run(1, backup_id=str(number), status="ok" if good else "failed", **times))
    known = recovery.worst(world(backups=rows).state.runs, NOW, "restorable")
    ages = []
    now = int((NOW - start).total_seconds() // 60)
    for minute in range(now + 1):
        # Just before a minute: what was ready earlier.
        ready = [began for began, length, good in runs if good and began + length < minute]
        if ready:
            ages.append(minute - max(ready))
    if known is not None:
        assert known[0] == max(ages, default=known[0])
    else:
        assert ages == []


# Verification


def test_only_repositories_at_fault_are_named() -> None:
    repos = ("clear", "never", "old", "weak", "good")
    backups = [run(30, repo_id=repo, job=repo, encrypted=repo != "clear") for repo in repos]
    checks = [
        check(30, repo_id="clear"),
        check(30, repo_id="good"),
        check(30, repo_id="weak", level=1, command="restic check"),
        {**check(1, repo_id="old"), "performed_at": datetime(2025, 3, 1)},
    ]
    audited = audit(backups=backups, backup_checks=checks)
    named = {
        cause: sorted(
            repo
            for repo in repos
            if any(re.search(rf"epository {repo}\b", text) for text in of(audited, cause)["evidence"])
        )
        for cause in ("BK10", "BK11", "BK12", "BK13")
    }
    assert named == {"BK10": ["clear"], "BK11": ["never", "old"], "BK12": ["weak"], "BK13": []}


def test_a_failed_check_stands_until_one_as_strong_is_good() -> None:
    failed = check(20, result="error", errors=1, damaged=["2025/25112000001234000001.xml"], command="restic check")
    told = of(audit(backups=[run(10)], backup_checks=[failed, check(25, level=1)]), "BK13")["evidence"]
    assert "25112000001234000001" in told[0]
    assert of(audit(backups=[run(10)], backup_checks=[failed, check(25)]), "BK13").is_empty()


def test_errors_outweigh_a_stated_ok() -> None:
    assert of(audit(backups=[run(10)], backup_checks=[check(20, result="ok", errors=2)]), "BK13").height == 1


def test_a_restore_counts_when_it_was_compared() -> None:
    plain = {"repo_id": "nas", "performed_at": datetime(2025, 5, 20), "result": "ok"}
    compared = audit(backups=[run(10)], restore_tests=[{**plain, "level": 3, "compared_by": "hash"}])
    assert of(compared, "BK14").is_empty()
    looked = audit(backups=[run(10)], restore_tests=[{**plain, "level": 2, "compared_by": "none"}])
    assert of(looked, "BK14").height == 1


def test_what_no_source_shows_is_unknown_and_never_grave() -> None:
    audited = audit(backups=[run(31, encrypted=None)])
    unknown = audited.findings.filter(pl.col("state") == "unknown")
    assert {"BK10", "BK11", "BK14", "BK19", "BK21"} <= set(unknown["cause"])
    assert set(unknown["severity"].cast(pl.String)) <= {"medium", "info"}


def test_what_we_read_and_compared_ourselves_is_verified_now() -> None:
    ours = {"repo_id": "nas", "backup_id": "b300200", "level": 2, "result": "ok", "by": "audit-kit"}
    tables = {"backups": THREE, "invoice_files": [archived(invoice(1))], "backup_listing": [held(invoice(1), 2, 2)]}
    audited = audit(**tables, backup_checks=[ours])
    assert keys(audited, "BK01") == []
    assert of(audited, "BK11").is_empty()
    damaged = audit(**tables, backup_checks=[{**ours, "result": "error", "damaged": ["1/2 members"], "errors": 1}])
    assert keys(damaged, "BK01") == [invoice(1)]
    assert of(damaged, "BK13").is_empty()
    assert of(damaged, "BK16").height == 1


def test_the_scan_of_a_store_is_no_repository_that_must_be_checked() -> None:
    scan = run(30, repo_id="bucket", job="bucket", tool="inventory", kind="copy")
    audited = audit(backups=[run(30), scan], backup_checks=[check(31, 3)], schedule=[plan()])
    assert not any("bucket" in text for cause in ("BK05", "BK11", "BK14") for text in of(audited, cause)["evidence"])


def test_copies_are_unknown_where_other_repositories_have_no_listing() -> None:
    two = BackupPolicy(full=None, incremental=None, copies=2)
    tables = {"invoice_files": [archived(invoice(1))], "backup_listing": [held(invoice(1), 0, 2)]}
    assert of(audit(two, backups=THREE, **tables), "BK04").height == 1
    more = [*THREE, run(30, repo_id="cloud", job="cloud")]
    assert of(audit(two, backups=more, **tables), "BK04").is_empty()
    assert of(audit(two, backups=more, **tables), "BK04", state="unknown").height == 1


# Coverage

THREE = [run(day) for day in (10, 20, 30)]


def test_levels_of_an_invoice_none_unverified_verified() -> None:
    files = [archived(invoice(at), sha256=f"{at:064x}") for at in range(4)]
    listing = [
        held(invoice(0), 0, 2, hash=f"{0:064x}"),
        held(invoice(1), 2, 2, hash=f"{1:064x}"),
        held(invoice(2), 1, 1, hash=f"{2:064X}".lower()),
    ]
    audited = audit(backups=THREE, invoice_files=files, backup_listing=listing, backup_checks=[check(25)])
    assert (keys(audited, "BK02"), keys(audited, "BK01")) == ([invoice(3)], [invoice(1)])
    assert audited.coverage.rows() == [("2025-04", "xml", 2, 1, 1)]


def test_an_invoice_is_as_safe_as_the_worst_of_its_files() -> None:
    files = [
        archived(invoice(1), sha256="1" * 64),
        archived(invoice(1), path=f"2025/{invoice(1)}.ofd", role="ofd", sha256="2" * 64),
        archived(invoice(1), path="dump.sql", role="dump", sha256="3" * 64),
    ]
    listing = [held(invoice(1), 0, 2, hash="1" * 64)]
    audited = audit(backups=THREE, invoice_files=files, backup_listing=listing, backup_checks=[check(31, 3)])
    assert keys(audited, "BK02") == [invoice(1)]


def test_the_number_is_taken_from_the_name_where_the_file_has_none() -> None:
    file = archived(invoice(5), digital_number=None)
    listing = [held(invoice(6), 0, 0, hash="9" * 64)]
    assert keys(audit(backups=THREE, invoice_files=[file], backup_listing=listing), "BK02") == [invoice(5)]


def test_a_listing_without_hashes_needs_the_end_of_the_path_the_size_and_the_time() -> None:
    files = [
        archived(invoice(1), sha256="1" * 64),
        archived(invoice(2), sha256="2" * 64),
        archived(invoice(3), sha256="3" * 64),
    ]
    bare = {"hash": None, "hash_kind": "none"}
    listing = [
        held(invoice(1), 0, 2, mtime=datetime(2025, 4, 30), **bare),
        held(invoice(2), 0, 2, mtime=datetime(2025, 5, 2), **bare),
        held(invoice(3), 0, 2, size=1999, mtime=datetime(2025, 4, 30), **bare),
    ]
    audited = audit(backups=THREE, invoice_files=files, backup_listing=listing, backup_checks=[check(31, 3)])
    assert keys(audited, "BK02") == [invoice(2)]
    assert keys(audited, "BK03") == [invoice(3)]
    assert any("path, size and time" in text for text in of(audited, "BK24", state="unknown")["evidence"])


def test_the_same_name_in_another_folder_is_another_file() -> None:
    files = [archived(invoice(at), path=f"{invoice(at)}/invoice.xml", sha256=f"{at:064x}", size=2000) for at in (1, 2)]
    bare = {"hash": None, "hash_kind": "none"}
    listing = [held("", 0, 2, path_norm=f"/srv/{invoice(1)}/invoice.xml", **bare)]
    audited = audit(backups=THREE, invoice_files=files, backup_listing=listing, backup_checks=[check(31, 3)])
    assert keys(audited, "BK02") == [invoice(2)]


def test_times_lost_in_copying_the_archive_are_left_aside() -> None:
    files = [archived(invoice(at), mtime=datetime(2025, 5, 31), sha256=f"{at:064x}") for at in range(30)]
    bare = {"hash": None, "hash_kind": "none", "mtime": datetime(2025, 4, 30)}
    listing = [held(invoice(at), 0, 2, **bare) for at in range(30)]
    audited = audit(backups=THREE, invoice_files=files, backup_listing=listing, backup_checks=[check(31, 3)])
    assert keys(audited, "BK02") == []
    assert any("lost in copying" in text for text in of(audited, "BK24", state="unknown")["evidence"])


def test_another_content_under_the_same_path_is_told_once() -> None:
    files = [archived(invoice(1), sha256="1" * 64), archived(invoice(2), sha256="2" * 64, mtime=datetime(2025, 5, 31))]
    listing = [held(invoice(1), 0, 2, hash="8" * 64), held(invoice(2), 0, 2, hash="9" * 64)]
    audited = audit(backups=THREE, invoice_files=files, backup_listing=listing, backup_checks=[check(31, 3)])
    # The second was changed after the backups; its new content is simply in none of them.
    assert (keys(audited, "BK03"), keys(audited, "BK02")) == ([invoice(1)], [invoice(2)])
    assert "8" * 64 in of(audited, "BK03")["evidence"][0]
    assert "1" * 64 in of(audited, "BK03")["evidence"][0]


def test_an_invoice_in_one_copy_where_policy_asks_for_two() -> None:
    files = [archived(invoice(at), sha256=f"{at:064x}") for at in (1, 2)]
    listing = [
        held(invoice(1), 0, 2, hash=f"{1:064x}"),
        held(invoice(2), 0, 2, hash=f"{2:064x}"),
        held(invoice(2), 0, 0, hash=f"{2:064x}", repo_id="cloud"),
    ]
    two = BackupPolicy(full=None, incremental=None, copies=2)
    backups = [*THREE, run(30, repo_id="cloud", job="cloud")]
    audited = audit(two, backups=backups, invoice_files=files, backup_listing=listing)
    assert keys(audited, "BK04") == [invoice(1)]
    assert "(nas)" in of(audited, "BK04")["evidence"][0]


def test_a_check_of_a_part_proves_nothing_of_the_whole() -> None:
    tables = {"backups": THREE, "invoice_files": [archived(invoice(1))], "backup_listing": [held(invoice(1), 0, 2)]}
    assert keys(audit(**tables, backup_checks=[check(31, 3, scope_pct=10.0)]), "BK01") == [invoice(1)]
    assert keys(audit(**tables, backup_checks=[check(31, 3, scope_pct=100.0)]), "BK01") == []


def test_a_later_failure_takes_the_proof_back() -> None:
    tables = {"backups": THREE, "invoice_files": [archived(invoice(1))], "backup_listing": [held(invoice(1), 0, 2)]}
    checks = [check(30, 12), check(31, 3, result="error")]
    assert keys(audit(**tables, backup_checks=checks), "BK01") == [invoice(1)]
    assert keys(audit(**tables, backup_checks=[*checks, check(31, 5)]), "BK01") == []


def test_a_check_covers_no_backup_made_after_it_whatever_its_date_says() -> None:
    back = [run(10, started_at=datetime(2025, 5, 30, 12))]
    tables = {"backups": back, "invoice_files": [archived(invoice(1))], "backup_listing": [held(invoice(1), 0, 0)]}
    assert keys(audit(**tables, backup_checks=[check(25)]), "BK01") == [invoice(1)]


def test_without_an_archive_the_ledger_is_judged_by_the_numbers_in_names() -> None:
    ledger = [{"digital_number": invoice(at), "issued_at": datetime(2025, 5, 1)} for at in (1, 2, 3)]
    listing = [held(invoice(1), 0, 0), held(invoice(2), 2, 2)]
    audited = audit(backups=THREE, ledger=ledger, backup_listing=listing, backup_checks=[check(25)])
    assert (keys(audited, "BK02"), keys(audited, "BK01")) == ([invoice(3)], [invoice(2)])
    assert of(audited, "BK02")["ledger_row"].to_list() == [2]


def test_ledger_invoices_without_a_file_are_unknown_together() -> None:
    ledger = [{"digital_number": invoice(at), "issued_at": datetime(2025, 5, 1)} for at in (1, 2, 3)]
    tables = {"backups": THREE, "invoice_files": [archived(invoice(1))], "backup_listing": [held(invoice(1), 0, 2)]}
    audited = audit(**tables, ledger=ledger, backup_checks=[check(31, 3)])
    assert keys(audited, "BK02") == []
    assert "2 invoices" in of(audited, "BK02", state="unknown")["evidence"][0]


def test_backup_keys_name_the_last_backup_that_holds_an_invoice() -> None:
    ledger = [{"digital_number": invoice(at)} for at in (1, 2, 3)]
    listing = [held(invoice(1), 0, 1), held(invoice(2), 2, 2, hash="7" * 64)]
    known = backup_keys(
        world(backups=THREE, ledger=ledger, invoice_files=[archived(invoice(1))], backup_listing=listing)
    )
    assert known.rows() == [(invoice(1), "nas", "b200200"), (invoice(2), "nas", "b300200")]


@st.composite
def stores(draw: st.DrawFn) -> tuple[list[tuple[bool, bool]], list[tuple[int, int, int]]]:
    """Backups (good, checked) and listed spans (file, first, last)."""
    backups = draw(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=6))
    last = len(backups) - 1
    span = st.tuples(st.integers(0, 5), st.integers(0, last), st.integers(0, last))
    spans = draw(st.lists(span, max_size=8))
    return backups, [(file, min(a, b), max(a, b)) for file, a, b in spans]


@pytest.mark.slow
@given(stores(), st.randoms(use_true_random=False))
@settings(max_examples=60, deadline=None)
def test_running_totals_agree_with_looking_into_every_backup(
    store: tuple[list[tuple[bool, bool]], list[tuple[int, int, int]]], luck: random.Random
) -> None:
    backups, spans = store
    rows = [run(1 + at, status="ok" if good else "failed") for at, (good, _) in enumerate(backups)]
    checks = [check(30, backup_id=row["backup_id"]) for row, (_, checked) in zip(rows, backups, strict=True) if checked]
    files = [archived(invoice(file), sha256=f"{file:064x}") for file in range(6)]
    listing = [held(invoice(file), first, last, hash=f"{file:064x}") for file, first, last in spans]
    for part in (rows, files, listing):
        luck.shuffle(part)
    audited = audit(backups=rows, backup_checks=checks, invoice_files=files, backup_listing=listing)
    nowhere, unverified = [], []
    for file in range(6):
        inside = [at for one, first, last in spans if one == file for at in range(first, last + 1)]
        if not inside:
            nowhere.append(invoice(file))
        elif not any(backups[at] == (True, True) for at in inside):
            unverified.append(invoice(file))
    if spans:
        assert (keys(audited, "BK02"), keys(audited, "BK01")) == (nowhere, unverified)


# What runs say of themselves, copies, schedule, evidence


def test_shrinking_is_measured_against_the_largest_before() -> None:
    counts = {10: 1000, 11: 1100, 12: 850, 13: 1150}
    runs = [run(day, files=count, bytes_source=count * 10) for day, count in counts.items()]
    found = of(audit(backups=runs), "BK15")
    assert found.height == 1
    assert "b120200" in found["evidence"][0]
    assert of(audit(backups=[run(10, files=0)]), "BK15").height == 1


def test_excluded_patterns_and_lost_folders_are_named() -> None:
    runs = [
        run(10, source_paths=["/srv/invoices", "/srv/contracts"]),
        run(11, source_paths=["/srv/invoices"]),
        run(12, source_paths=["/srv/invoices", "/srv/contracts"], excludes=["*.pdf"]),
    ]
    told = of(audit(backups=runs), "BK17")["evidence"].to_list()
    assert len(told) == 2
    assert any("b110200" in text and "/srv/contracts" in text for text in told)
    assert any("b120200" in text and "*.pdf" in text for text in told)


def test_expected_folders_are_compared_by_their_ends() -> None:
    wanted = BackupPolicy(full=None, incremental=None, paths=("invoices", "srv/contracts"))
    runs = [run(10, source_paths=["/mnt/a/invoices", "/mnt/srv/contracts"])]
    assert of(audit(wanted, backups=runs), "BK17").is_empty()
    assert of(audit(wanted, backups=[run(10, source_paths=["/mnt/a/invoices"])]), "BK17").height == 1


def test_a_run_dated_otherwise_than_it_was_made() -> None:
    runs = [run(10), run(11, started_at=datetime(2025, 5, 11, 2, 11)), run(12, started_at=datetime(2025, 5, 12, 2, 9))]
    found = of(audit(backups=runs), "BK20")["evidence"]
    assert len(found) == 1
    assert "b110200" in found[0]
    twins = [run(10, backup_id="one"), run(10, backup_id="two")]
    assert of(audit(backups=twins), "BK20")["severity"].cast(pl.String).to_list() == ["medium"]


def test_sites_and_immutability_pass_fail_or_are_unknown() -> None:
    two = BackupPolicy(full=None, incremental=None, sites=2)
    until = datetime(2026, 5, 31)
    here = [run(10, site="head office", immutable_until=until)]
    both = [*here, run(10, repo_id="cloud", job="cloud", site="cloud", immutable_until=until)]
    assert of(audit(two, backups=both), "BK19").is_empty()
    assert of(audit(two, backups=here), "BK19").height == 1
    assert of(audit(two, backups=[run(10)]), "BK19", state="unknown").height == 2


def test_retention_must_outlast_the_legal_years() -> None:
    ledger = [{"digital_number": invoice(1), "issued_at": datetime(2025, 5, 9)}]
    soon, late = datetime(2026, 5, 10), datetime(2030, 5, 10)
    assert of(audit(backups=[run(10, expires_at=soon)], ledger=ledger), "BK21").height == 1
    assert of(audit(backups=[run(10, expires_at=soon), run(11, expires_at=late)], ledger=ledger), "BK21").is_empty()


def test_a_schedule_weaker_than_policy() -> None:
    daily = BackupPolicy(full="0 2 * * *", incremental="0 * * * *")
    found = of(audit(daily, backups=[run(31)], schedule=[plan("0 2 * * 0")]), "BK22")
    assert found.height == 1
    assert of(audit(daily, backups=[run(31)], schedule=[plan("30 3 * * *")]), "BK22").is_empty()


def test_the_store_against_the_catalogue() -> None:
    known, lost, stray = "1" * 64, "2" * 64, "3" * 64
    runs = [run(10, backup_id=known, tool="restic"), run(11, backup_id=lost, tool="restic")]
    scan = run(20, backup_id="scan", tool="inventory", kind="copy")
    objects = [f"repo/snapshots/{known}", f"repo/snapshots/{stray}", "repo/config"]
    listing = [held("", 2, 2, path_norm=name, hash=None, hash_kind="etag") for name in objects]
    [evidence] = of(audit(backups=[*runs, scan], backup_listing=listing), "BK23")["evidence"]
    assert "not stored: 22222222;" in evidence
    assert "not in the catalogue: 33333333" in evidence


def test_a_short_listing_is_a_gap_in_the_evidence() -> None:
    listing = [held(invoice(at), 0, 0) for at in range(7)]
    audited = audit(backups=[run(10, files=903)], backup_listing=listing)
    assert any("903" in text and "7" in text for text in of(audited, "BK24", state="unknown")["evidence"])


# The whole


def test_nothing_given_is_unknown_everywhere() -> None:
    audited = audit()
    assert set(audited.rules["state"].cast(pl.String)) == {"unknown"}
    assert audited.findings["cause"].to_list() == ["BK24"]


def test_rules_pass_fail_or_are_unknown_by_their_checks() -> None:
    audited = audit(backups=[run(31, encrypted=False)], backup_checks=[check(31, 3)])
    states = dict(audited.rules.select("id", pl.col("state").cast(pl.String)).iter_rows())
    by_checks = {rule["id"]: rule["checks"] for rule in resources.load("rules")["rules"]}
    assert states[next(rule for rule, checks in by_checks.items() if checks == ["BK10"])] == "fails"
    assert states[next(rule for rule, checks in by_checks.items() if checks == ["BK19"])] == "unknown"


def test_every_cause_has_a_record_and_a_rule_and_is_worded_in_both_languages() -> None:
    causes = resources.load("backup_causes")["causes"]
    assert list(causes) == sorted(CAUSES) == [f"BK{number:02d}" for number in range(1, 25)]
    for cause in causes.values():
        assert {"severity", "reference", "title", "sentence", "evidence", "next_step"} <= set(cause)
        texts = [pair for name, pair in cause.items() if name.startswith("evidence")]
        for zh, en in [cause["title"], cause["sentence"], cause["next_step"], *texts]:
            assert re.search(r"[\u4e00-\u9fff]", zh)
            assert not re.search(r"[\u4e00-\u9fff]", en)
        assert all(set(re.findall(r"{\w+}", zh)) == set(re.findall(r"{\w+}", en)) for zh, en in texts)
    assert {check for rule in resources.load("rules")["rules"] for check in rule["checks"]} == set(causes)


def test_ids_stay_the_same_whatever_the_order_and_the_language() -> None:
    tables = {
        "backups": [run(day) for day in (10, 11, 14)],
        "invoice_files": [archived(invoice(at), sha256=f"{at:064x}") for at in range(4)],
        "backup_listing": [held(invoice(0), 0, 1, hash=f"{0:064x}")],
        "schedule": [plan()],
    }
    turned = {name: list(reversed(rows)) for name, rows in tables.items()}
    first = audit(**tables).findings["finding_id"].to_list()
    assert audit(**turned).findings["finding_id"].to_list() == first
    assert audit_backups(world(**tables), lang="zh").findings["finding_id"].to_list() == first


def test_a_finding_says_what_it_is_about_without_a_word_of_its_sentence() -> None:
    night = {"tool": "borg", "excludes": ["*.ofd"], "encrypted": False}
    tables = {
        "backups": [run(day, **night) for day in (20, 21, 25)] + [run(26, 4, status="warning", **night)],
        "backup_checks": [check(21, result="error", backup_id="b200200", command="borg check")],
        "schedule": [plan(valid_to=datetime(2025, 5, 27))],
    }
    told = audit(**tables).findings
    subjects = {cause: told.filter(pl.col("cause") == cause)["subject"].to_list() for cause in told["cause"].unique()}
    assert sorted(subjects["BK05"]) == ["nas 2025-05-22 02:00", "nas 2025-05-26 02:00"]
    assert subjects["BK10"] == subjects["BK14"] == ["nas"]
    assert subjects["BK13"] == subjects["BK17"] == ["nas b200200"]
    assert subjects["BK18"] == ["nas b260400"]
    assert subjects["BK09"] == [None]
    chinese = audit_backups(world(**tables), lang="zh").findings
    assert chinese["subject"].to_list() == told["subject"].to_list()
    assert chinese["evidence"].to_list() != told["evidence"].to_list()


def test_an_invoice_is_its_own_subject() -> None:
    audited = audit(
        backups=[run(31)], invoice_files=[archived(invoice(1))], backup_listing=[held(invoice(2), 0, 0, hash="cd" * 32)]
    )
    lost = audited.findings.filter(pl.col("invoice_key").is_not_null())
    assert lost.select("cause", "invoice_key", "subject").rows() == [("BK02", invoice(1), None)]


def test_periods_of_cron_expressions() -> None:
    assert schedule.period("0 2 * * *", "Asia/Shanghai") == timedelta(days=1)
    assert schedule.period("*/15 * * * *", "UTC") == timedelta(minutes=15)
