"""A company's backups made with the real restic and borg, with seeded faults; and its clean twin.

Every time is stated in UTC to the tools and comes out in Beijing: 18:00 UTC is 02:00 the next day.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import tarfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pytest

from audit_kit.analysis.work import analyse
from audit_kit.loaders.engagement.engagement import open_engagement

pytestmark = pytest.mark.slow

DAYS = range(25, 31)
ROLES = ("xml", "ofd", "pdf")
WAL = [f"0000000100000000000000{number:02X}" for number in range(4, 12)]


def number(at: int) -> str:
    return f"2511200000{1234567 + 89 * at:010d}"


def write(folder: Path, at: int, *, when: datetime) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for role in ROLES:
        file = folder / f"{number(at)}.{role}"
        file.write_bytes(hashlib.sha256(f"{at}{role}".encode()).digest() * (40 + at))
        os.utime(file, (when.timestamp(), when.timestamp()))


def utc(day: int, hour: int = 0, minute: int = 0, month: int = 5) -> datetime:
    return datetime(2025, month, day, hour, minute, tzinfo=UTC)


class Tools:
    """The real tools, kept in one folder of their own."""

    def __init__(self, home: Path) -> None:
        for tool in ("restic", "borg"):
            assert shutil.which(tool), f"{tool} is not installed; on Debian: apt-get install restic borgbackup"
        self.home = home
        home.mkdir(parents=True, exist_ok=True)
        self.environment = {
            **os.environ,
            "TZ": "UTC",
            "RESTIC_PASSWORD": "sample",
            "RESTIC_CACHE_DIR": str(home / "cache"),
            "BORG_BASE_DIR": str(home / "borg"),
            "BORG_PASSPHRASE": "sample",
            "BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK": "yes",
            "BORG_RELOCATED_REPO_ACCESS_IS_OK": "yes",
        }

    def run(self, *command: object, cwd: Path | None = None) -> subprocess.CompletedProcess[bytes]:
        words = [str(word) for word in command]
        return subprocess.run(words, cwd=cwd, env=self.environment, capture_output=True, check=False)

    def restic(self, repository: str, *command: object, cwd: Path | None = None) -> bytes:
        done = self.run("restic", "-r", self.home / repository, *command, cwd=cwd)
        assert done.returncode == 0, done.stderr.decode()
        return done.stdout

    def snapshot(self, repository: str, folder: Path, when: datetime, *options: str, names: tuple[str, ...]) -> str:
        words = ("backup", "--time", f"{when:%Y-%m-%d %H:%M:%S}", *options, *names)
        self.restic(repository, *words, cwd=folder)
        return str(json.loads(self.restic(repository, "snapshots", "--json"))[-1]["short_id"])

    def borg(self, *command: object, cwd: Path | None = None) -> bytes:
        done = self.run("borg", *command, cwd=cwd)
        assert done.returncode in (0, 1), done.stderr.decode()
        return done.stdout

    def archive(self, repository: str, name: str, folder: Path, when: datetime, *options: str) -> None:
        place = f"{self.home / repository}::{name}"
        self.borg("create", "--timestamp", f"{when:%Y-%m-%dT%H:%M:%S}", *options, place, "invoices", cwd=folder)

    def catalogue(self, repository: str, out: Path) -> None:
        """Write the catalogue and the listing of every backup, as an auditor would ask for them."""
        if (self.home / repository / "snapshots").is_dir():
            text = self.restic(repository, "snapshots", "--json")
            (out / f"{repository}.json").write_bytes(text)
            for snapshot in json.loads(text):
                listing = self.restic(repository, "ls", "--json", snapshot["id"])
                (out / f"{repository}.{snapshot['short_id']}.jsonl").write_bytes(listing)
            return
        text = self.borg("info", "--json", "--glob-archives", "*", self.home / repository)
        (out / f"{repository}.json").write_bytes(text)
        for archive in json.loads(text)["archives"]:
            form = "{path}{size}{mtime}{sha256}"
            place = f"{self.home / repository}::{archive['name']}"
            listing = self.borg("list", "--json-lines", "--format", form, place)
            (out / f"{repository}.{archive['name']}.jsonl").write_bytes(listing)

    def flip(self, repository: str) -> None:
        """Change some bytes in the middle of the largest pack."""
        packs = [file for file in (self.home / repository / "data").rglob("*") if file.is_file()]
        pack = max(packs, key=lambda file: file.stat().st_size)
        data = bytearray(pack.read_bytes())
        for at in range(len(data) // 3, len(data) // 3 + 8):
            data[at] ^= 0xFF
        pack.chmod(0o600)
        pack.write_bytes(data)

    def check(self, engagement: Path, name: str, *command: object) -> dict[str, object]:
        """Run a check and keep its command, exit code and raw output, as a row of backup_checks."""
        done = self.run(*command)
        for ending, data in (("out", done.stdout), ("err", done.stderr)):
            (engagement / "checks" / f"{name}.{ending}").write_bytes(data)
        return {
            "command": " ".join(Path(str(word)).name for word in command),
            "exit_code": done.returncode,
            "output": f"checks/{name}.out",
            "errors_output": f"checks/{name}.err",
        }


TOML = """
[engagement]
name = "备份样例"
taxpayer_id = "91110108MA01ABCD3H"
taken_at = 2025-05-31T09:00:00

[sources]
ledger = "ledger.csv"
platform = "platform.csv"
invoice_files = "invoices"
backups = [{{path = "backups", tz = "UTC"}}]
backup_checks = "backup_checks.csv"
restore_tests = "restore_tests.csv"
schedule = "schedule.csv"

[policy.backup]
full = "0 2 * * *"
incremental = "0 2 * * *"
tolerance_minutes = 60
rpo_minutes = 1980
copies = 2
paths = {paths}
"""


def engagement(folder: Path, *, invoices: int, jobs: tuple[str, ...], first: int, paths: str = '["invoices"]') -> Path:
    for name in ("backups", "checks"):
        (folder / name).mkdir(parents=True)
    (folder / "audit.toml").write_text(TOML.format(paths=paths), encoding="utf-8")
    rows = "".join(f"{number(at)},2025-05-{20 + at // 5:02d} 10:00:00,100.00,13.00,113.00\n" for at in range(invoices))
    header = "数电发票号码,开票日期,金额,税额,价税合计\n"
    (folder / "ledger.csv").write_text(header + rows, encoding="utf-8")
    (folder / "platform.csv").write_text(header + rows, encoding="utf-8")
    lines = [f"{job},snapshot,0 2 * * *,Asia/Shanghai,10,60,2025-05-{first:02d}T00:00:00,\n" for job in jobs]
    (folder / "schedule.csv").write_text(
        "job,kind,cron,tz,tol_early,tol_late,valid_from,valid_to\n" + "".join(lines), encoding="utf-8"
    )
    return folder


def table(folder: Path, name: str, rows: list[dict[str, object]]) -> None:
    pl.DataFrame(rows, infer_schema_length=None).write_csv(folder / f"{name}.csv")


def restored(repo: str, performed_at: str = "2025-05-20 12:00:00") -> dict[str, object]:
    return {"repo_id": repo, "performed_at": performed_at, "level": 3, "result": "ok", "compared_by": "hash"}


@dataclass(frozen=True)
class World:
    folder: Path
    findings: pl.DataFrame
    ids: dict[str, str]

    def of(self, cause: str) -> list[str]:
        return self.findings.filter(pl.col("cause") == cause)["evidence"].to_list()

    def keys(self, cause: str) -> list[str]:
        return sorted(self.findings.filter(pl.col("cause") == cause)["invoice_key"].drop_nulls())

    def fails(self, cause: str) -> list[str]:
        rows = self.findings.filter((pl.col("cause") == cause) & (pl.col("state").cast(pl.String) == "fails"))
        return rows["evidence"].to_list()


def audited(folder: Path, ids: dict[str, str], cache: Path) -> World:
    before = os.environ.get("AUDIT_KIT_CACHE")
    os.environ["AUDIT_KIT_CACHE"] = str(cache)
    try:
        findings = analyse(open_engagement(folder), lang="en").backup_findings
    finally:
        os.environ.pop("AUDIT_KIT_CACHE")
        if before is not None:
            os.environ["AUDIT_KIT_CACHE"] = before
    return World(folder, findings, ids)


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory) -> World:
    home = tmp_path_factory.mktemp("clean")
    tools, folder = Tools(home / "tools"), engagement(home / "eng", invoices=12, jobs=("main", "second"), first=29)
    for at in range(12):
        write(folder / "invoices", at, when=utc(23, 10))
    tools.restic("main", "init")
    tools.borg("init", "-e", "repokey-blake2", tools.home / "second")
    for day in DAYS[3:]:
        tools.snapshot("main", folder, utc(day, 18), names=("invoices",))
        tools.archive("second", f"d{day}", folder, utc(day, 18, 5))
    with ThreadPoolExecutor() as pool:
        list(pool.map(lambda repository: tools.catalogue(repository, folder / "backups"), ("main", "second")))
    at = "2025-05-31 05:00:00"
    checks = [
        {"repo_id": "main", **tools.check(folder, "main", "restic", "-r", tools.home / "main", "check", "--read-data")},
        {"repo_id": "second", **tools.check(folder, "second", "borg", "check", "--verify-data", tools.home / "second")},
    ]
    table(folder, "backup_checks", [{"performed_at": at, **row} for row in checks])
    table(folder, "restore_tests", [restored("main"), restored("second")])
    return audited(folder, {}, home / "kept")


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    home = tmp_path_factory.mktemp("faulty")
    jobs = ("main", "plain", "weak", "rotten")
    folder = engagement(home / "eng", invoices=24, jobs=jobs, first=26, paths='["invoices", "contracts"]')
    tools, ids, invoices = Tools(home / "tools"), {}, folder / "invoices"
    both = ("invoices", "contracts")
    (folder / "contracts").mkdir()
    (folder / "contracts" / "a.txt").write_text("a contract")
    for at in range(12):
        write(invoices, at, when=utc(23, 10))

    tools.restic("main", "init")
    tools.borg("init", "-e", "none", tools.home / "plain")
    write(invoices, 12, when=utc(23, 10))
    for day in DAYS:
        if day == 29:
            shutil.move(folder / "contracts", home / "contracts")
        if day != 26:  # the slot of 27 May, 02:00 Beijing, stays empty
            options = ("--exclude", "*.ofd") if day == 28 else ()
            names = both if day != 29 else both[:1]
            ids[f"main {day}"] = tools.snapshot("main", folder, utc(day, 18), *options, names=names)
        if day == 29:
            shutil.move(home / "contracts", folder / "contracts")
        tools.archive("plain", f"d{day}", folder, utc(day, 18, 5))
    # Verified copies end here; what follows is only in later, unverified backups or in none.
    checks = [
        {"repo_id": "main", "performed_at": "2025-05-31 04:00:00"}
        | tools.check(folder, "main", "restic", "-r", tools.home / "main", "check", "--read-data"),
        {"repo_id": "plain", "performed_at": "2025-03-01 04:00:00"}
        | tools.check(folder, "plain", "borg", "check", "--verify-data", tools.home / "plain"),
    ]
    write(invoices, 13, when=utc(30, 20))
    ids["main late"] = tools.snapshot("main", folder, utc(30, 21), names=both)  # 05:00 Beijing, after the check

    shutil.copytree(tools.home / "main", tools.home / "weak")
    tools.flip("weak")
    shutil.copytree(tools.home / "weak", tools.home / "rotten")
    weak = ("restic", "-r", tools.home / "weak", "check")
    checks += [
        {"repo_id": "weak", "performed_at": "2025-05-31 04:30:00"} | tools.check(folder, "weak", *weak),
        {"repo_id": "rotten", "performed_at": "2025-05-31 04:30:00"}
        | tools.check(folder, "rotten", "restic", "-r", tools.home / "rotten", "check", "--read-data"),
    ]
    write(invoices, 14, when=utc(30, 22))  # in no backup at all
    write(invoices, 15, when=utc(30, 22))

    with ThreadPoolExecutor() as pool:
        list(pool.map(lambda repository: tools.catalogue(repository, folder / "backups"), ("main", "plain")))
    for repository in ("weak", "rotten"):  # copies of main: the audit is of their checks
        shutil.copy(folder / "backups" / "main.json", folder / "backups" / f"{repository}.json")
    backdate(folder / "backups" / "rotten.json", ids)
    manifests(folder)
    databases(folder)
    jobs_of_veeam(folder)
    table(folder, "backup_checks", checks)
    table(
        folder,
        "restore_tests",
        [restored("main"), restored("weak"), restored("rotten"), restored("nas"), restored("pg")],
    )
    return audited(folder, ids, home / "kept")


def backdate(catalogue: Path, ids: dict[str, str]) -> None:
    """Say of one snapshot, as restic 0.17 and later would, when it was really made."""
    snapshots = json.loads(catalogue.read_text())
    for snapshot in snapshots:
        snapshot["program_version"] = "restic 0.17.3"
        made = snapshot["time"]
        if snapshot["short_id"] == ids["main 27"]:
            made = "2025-05-30T09:12:00.123456789+08:00"
        snapshot["summary"] = {
            "backup_start": made,
            "backup_end": made,
            "total_files_processed": 40,
            "total_bytes_processed": 100_000,
        }
    catalogue.write_text(json.dumps(snapshots))


def manifests(folder: Path) -> None:
    """A tar cut at the edge of a member beside its manifest, and a bag whose content changed."""
    files = sorted((folder / "invoices").iterdir())[:9]
    tar = folder / "backups" / "nas.2025-05-30.tar"
    with tarfile.open(tar, "w", format=tarfile.USTAR_FORMAT) as archive:
        for file in files:
            archive.add(file, arcname=f"invoices/{file.name}")
    with tarfile.open(tar) as archive:
        edge = archive.getmembers()[5].offset
    tar.write_bytes(tar.read_bytes()[:edge])
    lines = [f"{hashlib.sha256(file.read_bytes()).hexdigest()}  invoices/{file.name}\n" for file in files]
    tar.with_suffix(".sha256").write_text("".join(lines))
    bag = folder / "backups" / "vault.may"
    (bag / "data").mkdir(parents=True)
    (bag / "bagit.txt").write_text("BagIt-Version: 1.0\nTag-File-Character-Encoding: UTF-8\n")
    shutil.copy(files[0], bag / "data")
    shutil.copy(files[1], bag / "data")
    sums = [f"{hashlib.sha256(file.read_bytes()).hexdigest()}  data/{file.name}\n" for file in files[:2]]
    (bag / "manifest-sha256.txt").write_text("".join(sums))
    total = sum(file.stat().st_size for file in files[:2])
    (bag / "bag-info.txt").write_text(f"Bagging-Date: 2025-05-30\nPayload-Oxum: {total}.2\n")
    (bag / "data" / files[1].name).write_bytes(b"changed")


def databases(folder: Path) -> None:
    """pgBackRest's info, always green: a differential whose full was deleted, and a WAL archive with a hole."""

    def backup(label: str, kind: str, day: int, wal: tuple[int, int], *, needs: list[str]) -> dict[str, object]:
        start = int(utc(day, 19).timestamp())
        return {
            "label": label,
            "type": kind,
            "prior": needs[-1] if needs else None,
            "reference": needs or None,
            "timestamp": {"start": start, "stop": start + 300},
            "archive": {"start": WAL[wal[0]], "stop": WAL[wal[1]]},
            "lsn": {"start": f"0/{4 + wal[0]:X}000028", "stop": f"0/{4 + wal[1]:X}0000F8"},
            "info": {"size": 30_000_000, "delta": 1000, "repository": {"size": 4_000_000, "delta": 500}},
            "error": False,
            "backrest": {"format": 5, "version": "2.45"},
        }

    stanza = {
        "name": "main",
        "cipher": "aes-256-cbc",
        "status": {"code": 0, "message": "ok"},
        "repo": [{"key": 1, "cipher": "aes-256-cbc", "status": {"code": 0, "message": "ok"}}],
        "archive": [{"id": "15-1", "min": WAL[0], "max": WAL[7]}],
        "backup": [
            backup("20250529-030003F", "full", 28, (0, 0), needs=[]),
            backup("20250530-030003F_20250530-030003D", "diff", 29, (4, 4), needs=["20250530-020003F"]),
            backup("20250530-190003F", "full", 30, (5, 6), needs=[]),
        ],
    }
    (folder / "backups" / "pg.json").write_text(json.dumps([stanza]))
    (folder / "backups" / "pg.wal.txt").write_text("\n".join(name for name in WAL if name != WAL[2]) + "\n")


def jobs_of_veeam(folder: Path) -> None:
    rows = [
        "JobName,CreationTime,EndTime,Result,JobType,Algorithm",
        "vm-invoice,2025-05-28 18:00:00,2025-05-28 18:20:00,Success,Backup,Full",
        "vm-invoice,2025-05-29 18:00:00,2025-05-29 18:20:00,Warning,Backup,Full",
        "vm-invoice,2025-05-30 18:00:00,2025-05-30 18:20:00,Success,Backup,Full",
    ]
    (folder / "backups" / "veeam.csv").write_text("\n".join(rows) + "\n", encoding="utf-16")


def test_the_clean_twin_is_accused_of_nothing_grave(clean: World) -> None:
    grave = clean.findings.filter(pl.col("severity").cast(pl.String).is_in(["critical", "high"]))
    assert grave["evidence"].to_list() == []
    assert clean.fails("BK01") == clean.fails("BK02") == clean.fails("BK05") == []


def test_invoices_in_no_backup_are_exactly_those(world: World) -> None:
    assert world.keys("BK02") == [number(14), number(15)]


def test_invoices_only_in_unverified_backups_are_exactly_those(world: World) -> None:
    assert world.keys("BK01") == [number(13)]


def test_the_missing_slot_is_one_incident_with_job_and_first_slot(world: World) -> None:
    main = [evidence for evidence in world.of("BK05") if "Job main " in evidence]
    assert len(main) == 1
    assert "2025-05-27 02:00" in main[0]


def test_the_unencrypted_repository_and_no_other(world: World) -> None:
    assert [evidence for evidence in world.fails("BK10") if "plain" not in evidence] == []
    assert len(world.fails("BK10")) == 1


def test_the_repository_that_was_verified_too_long_ago(world: World) -> None:
    named = {name for name in ("main", "plain", "weak", "rotten") if any(f" {name}" in e for e in world.fails("BK11"))}
    assert named == {"plain"}
    assert "2025-03-01" in next(e for e in world.fails("BK11") if "plain" in e)


def test_a_check_that_reads_no_data_misses_the_flip_and_is_too_weak(world: World) -> None:
    assert len(world.fails("BK12")) == 1
    assert "weak" in world.fails("BK12")[0]


def test_the_flip_found_by_reading_the_data(world: World) -> None:
    assert len(world.fails("BK13")) == 1
    assert "rotten" in world.fails("BK13")[0]


def test_the_repository_that_was_never_restored(world: World) -> None:
    named = {
        name for name in ("main", "plain", "weak", "rotten", "nas", "pg") if any(name in e for e in world.fails("BK14"))
    }
    assert named == {"plain"}


def test_the_snapshot_that_left_files_out_is_named(world: World) -> None:
    shrunk = [evidence for evidence in world.of("BK15") if "main" in evidence]
    assert len(shrunk) == 1
    assert world.ids["main 28"] in shrunk[0]
    excluded = [evidence for evidence in world.of("BK17") if "*.ofd" in evidence and "main" in evidence]
    assert len(excluded) == 1
    assert world.ids["main 28"] in excluded[0]


def test_the_snapshot_that_lacks_a_folder_is_named(world: World) -> None:
    lacking = [evidence for evidence in world.of("BK17") if "contracts" in evidence and "repository main" in evidence]
    assert len(lacking) == 1
    assert world.ids["main 29"] in lacking[0]


def test_the_cut_tar_and_the_changed_bag(world: World) -> None:
    assert sorted(evidence.split()[0] for evidence in world.of("BK16")) == ["nas.2025-05-30.tar", "vault.may"]


def test_the_warning_taken_for_success(world: World) -> None:
    assert len(world.of("BK18")) == 1
    assert "Warning" in world.of("BK18")[0]


def test_the_snapshot_dated_back(world: World) -> None:
    assert len(world.fails("BK20")) == 1
    assert world.ids["main 27"] in world.fails("BK20")[0]


def test_the_chain_whose_full_is_gone(world: World) -> None:
    assert len(world.fails("BK07")) == 1
    assert "20250530-020003F" in world.fails("BK07")[0]
    assert "20250530-030003F_20250530-030003D" in world.fails("BK07")[0]


def test_the_hole_in_the_wal_archive(world: World) -> None:
    assert len(world.fails("BK08")) == 1
    assert WAL[2] in world.fails("BK08")[0]


def test_every_finding_is_written_in_both_languages(world: World) -> None:
    assert world.findings["evidence"].str.contains("{", literal=True).sum() == 0
    assert world.findings["finding_id"].is_unique().all()
    assert set(world.findings["state"].cast(pl.String)) == {"fails", "unknown"}
