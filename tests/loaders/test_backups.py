"""Catalogues of backup tools, read as the tools write them: restic, borg and pgBackRest are run, others are typed."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import shutil
import subprocess
import tarfile
import time
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl
import pytest
from open_folders import open_folder

from audit_kit import resources
from audit_kit.cli.main import main
from audit_kit.core import schema
from audit_kit.core.errors import EngagementError, SourceError
from audit_kit.loaders.catalogues import tools
from audit_kit.loaders.catalogues.checks import outcome, understood
from audit_kit.loaders.catalogues.reader import read_backups, read_checks
from audit_kit.loaders.formats import archives, tar_limits

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.slow


def put(folder: Path, name: str, text: str | bytes) -> Path:
    file = folder / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(text.encode() if isinstance(text, str) else text)
    return file


def read(folder: Path, *, tz: str | None = None) -> dict[str, pl.DataFrame]:
    return {name: reading.rows for name, reading in read_backups([folder], root=folder, tz=tz).items()}


# Real tools


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The output of restic and borg on 2 files and 3 backups, as an auditor would be given it."""
    home = tmp_path_factory.mktemp("tools")
    out, source = home / "out", home / "source"
    for tool in ("restic", "borg"):
        assert shutil.which(tool), f"{tool} is not installed; on Debian: apt-get install restic borgbackup"
    environment = {
        **os.environ,
        "TZ": "UTC",
        "RESTIC_PASSWORD": "sample",
        "RESTIC_REPOSITORY": str(home / "r"),
        "RESTIC_CACHE_DIR": str(home / "cache"),
        "BORG_BASE_DIR": str(home / "b-home"),
        "BORG_PASSPHRASE": "sample",
    }

    def run(*command: str, into: str | None = None, zone: str = "UTC") -> bytes:
        done = subprocess.run(
            command, cwd=home, env=environment | {"TZ": zone}, capture_output=True, check=True, text=False
        )
        if into:
            put(out, into, done.stdout)
            put(out, f"{into}.err", done.stderr)
        return done.stdout

    put(source, "发票/25112000001234000001.xml", "first")
    run("restic", "init")
    run("restic", "backup", "--time", "2025-05-01 18:00:00", "source")
    put(source, "发票/25112000001234000002.xml", "second, longer")
    run("restic", "backup", "--time", "2025-05-02 18:00:00", "--exclude", "*.tmp", "source")
    run("restic", "snapshots", "--json", into="main.json")
    for snapshot in json.loads((out / "main.json").read_text()):
        run("restic", "ls", "--json", snapshot["id"], into=f"main.{snapshot['short_id']}.jsonl")
        run("restic", "stats", "--json", snapshot["id"], into=f"stats/main.{snapshot['short_id']}.json")
    run("restic", "check", into="checks/restic-check")
    run("restic", "check", "--read-data", into="checks/restic-read")
    run("restic", "restore", "latest", "--verify", "--target", str(home / "restored"), into="checks/restic-restore")
    run("borg", "init", "-e", "repokey", "b")
    run("borg", "create", "--timestamp", "2025-05-02T18:00:05", "--exclude", "*.bak", "b::may.02", "source")
    for zone, folder in (("UTC", "utc"), ("Asia/Shanghai", "beijing")):
        run("borg", "info", "--json", "--last", "9", "b", into=f"{folder}/plain.json", zone=zone)
        form = "{path}{size}{mtime}{sha256}"
        listing = ("borg", "list", "--json-lines", "--format", form, "b::may.02")
        run(*listing, into=f"{folder}/plain.may.02.jsonl", zone=zone)
    run("borg", "list", "--json", "b", into="list/plain.json")
    run("borg", "check", "--verify-data", "b", into="checks/borg-quiet")
    run("borg", "check", "-v", "b", into="checks/borg-loud")
    run("borg", "check", "-v", "--log-json", "b", into="checks/borg-json")
    for file in out.rglob("*.err"):
        if file.parent.name != "checks":
            file.unlink()
    return out


def test_restic_snapshots_with_their_listings(real: Path) -> None:
    found = {name: reading.rows for name, reading in read_backups(sorted(real.glob("main.*")), root=real).items()}
    backups = found["backups"].sort("data_time")
    assert backups["data_time"].to_list() == [datetime(2025, 5, 2, 2), datetime(2025, 5, 3, 2)]
    assert backups["repo_id"].unique().to_list() == backups["job"].unique().to_list() == ["main"]
    assert backups["files"].to_list() == [1, 2]
    assert backups["bytes_source"].to_list() == [5, 19]
    assert backups["encrypted"].to_list() == [True, True]
    assert backups["excludes"].to_list() == [[], ["*.tmp"]]
    assert backups["source_paths"].list.first().str.ends_with("source").all()
    assert set(backups["kind"].cast(pl.String)) == {"snapshot"}
    listing = found["backup_listing"].select(pl.col("path_norm").str.tail(24), "size", "first_ord", "last_ord")
    assert sorted(listing.rows()) == [
        ("25112000001234000001.xml", 5, 0, 1),
        ("25112000001234000002.xml", 14, 1, 1),
    ]


def test_restic_statistics_fill_in_what_an_old_catalogue_lacks(real: Path, tmp_path: Path) -> None:
    shutil.copy(real / "main.json", tmp_path)
    for file in (real / "stats").glob("*.json"):
        shutil.copy(file, tmp_path)
    backups = read(tmp_path)["backups"].sort("data_time")
    assert backups["bytes_source"].to_list() == [5, 19]
    assert backups.height == 2


def test_borg_times_are_refused_without_a_zone(real: Path) -> None:
    with pytest.raises(EngagementError, match=r'backups = \[\{path = "plain\*", tz = "Asia/Shanghai"\}\]'):
        read(real / "utc")


def test_the_command_ends_with_2_and_the_line_to_add_and_runs_once_it_is_added(
    real: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("AUDIT_KIT_CACHE", str(tmp_path / "kept"))
    folder = tmp_path / "engagement"
    shutil.copytree(real / "utc", folder / "backups")
    header = "数电发票号码,开票日期,金额,税额,价税合计\n"
    put(folder, "ledger.csv", f"{header}25112000001234000001,2025-05-01 10:00:00,1.00,0.13,1.13\n")
    start = '[engagement]\ntaken_at = 2025-05-31T09:00:00\n[sources]\nledger = "ledger.csv"\nplatform = "ledger.csv"\n'
    put(folder, "audit.toml", f'{start}backups = "backups/*"\n')
    out = tmp_path / "found.csv"
    assert main(["backups", str(folder), "--out", str(out)]) == 2
    line = 'backups = [{path = "backups/plain*", tz = "Asia/Shanghai"}]'
    assert line in capsys.readouterr().err
    put(folder, "audit.toml", f"{start}{line.replace('Asia/Shanghai', 'UTC')}\n")
    assert main(["backups", str(folder), "--out", str(out)]) == 0
    assert "BK11" in pl.read_csv(out)["cause"].to_list()


def test_borg_gives_one_moment_whatever_the_zone_it_was_asked_in(real: Path) -> None:
    utc, beijing = read(real / "utc", tz="UTC"), read(real / "beijing", tz="Asia/Shanghai")
    assert utc["backups"]["data_time"].to_list() == [datetime(2025, 5, 3, 2, 0, 5)]
    kept = ("backup_id", "data_time", "finished_at", "files", "bytes_source", "encrypted", "enc_method", "excludes")
    assert utc["backups"].select(kept).equals(beijing["backups"].select(kept))
    assert (
        utc["backup_listing"]
        .select("path_norm", "mtime", "hash")
        .equals(beijing["backup_listing"].select("path_norm", "mtime", "hash"))
    )
    row = utc["backups"].row(0, named=True)
    assert (row["backup_id"], row["files"], row["encrypted"]) == ("may.02", 2, True)
    assert (row["excludes"], row["source_paths"]) == (["*.bak"], ["source"])
    assert hashlib.sha256(b"first").hexdigest() in utc["backup_listing"]["hash"].to_list()


def test_borg_list_and_info_are_one_catalogue(real: Path, tmp_path: Path) -> None:
    shutil.copy(real / "list" / "plain.json", tmp_path / "plain.json")
    shutil.copy(real / "utc" / "plain.json", tmp_path / "plain.info.json")
    backups = read(tmp_path, tz="UTC")["backups"]
    assert backups.select("repo_id", "backup_id", "files").rows() == [("plain", "may.02", 2)]


def test_borg_info_of_the_repository_alone_still_says_whether_it_is_encrypted(real: Path, tmp_path: Path) -> None:
    bare = {"encryption": {"mode": "none"}, "repository": {"id": "x", "location": "/b"}, "cache": {}}
    put(tmp_path, "plain.json", json.dumps(bare))
    shutil.copy(real / "utc" / "plain.may.02.jsonl", tmp_path)
    [row] = read(tmp_path, tz="UTC")["backups"].to_dicts()
    assert (row["backup_id"], row["tool"], row["encrypted"], row["location"]) == ("may.02", "borg", False, "/b")
    assert row["files"] == 2


@pytest.mark.parametrize(
    ("name", "command", "level"),
    [
        ("restic-check", "restic check", 1),
        ("restic-read", "sudo restic -r /r check --read-data", 2),
        ("restic-restore", "restic restore latest --verify --target x", 3),
        ("borg-quiet", "borg check --verify-data b", 2),
        ("borg-loud", "borg check -v b", 1),
        ("borg-json", "borg check -v --log-json b", 1),
    ],
)
def test_the_output_of_real_checks_is_understood(real: Path, name: str, command: str, level: int) -> None:
    row = {"command": command, "exit_code": 0, "output": f"checks/{name}", "errors_output": f"checks/{name}.err"}
    [read_row] = read_checks(checks([row]), real).to_dicts()
    assert (read_row["level"], read_row["result"]) == (level, "ok")


def test_damage_made_for_real_is_seen_by_what_reads_the_data_and_missed_by_what_does_not(tmp_path: Path) -> None:
    names = [f"25112000001234{at:06d}.xml" for at in range(12)]
    for name in names:
        put(tmp_path, f"source/{name}", os.urandom(20_000))
    more = {"RESTIC_PASSWORD": "x", "RESTIC_CACHE_DIR": str(tmp_path / "c"), "BORG_BASE_DIR": str(tmp_path / "h")}

    def run(command: str) -> tuple[str, int]:
        environment = {**os.environ, **more, "TZ": "UTC", "BORG_PASSPHRASE": "x"}
        done = subprocess.run(command.split(), cwd=tmp_path, env=environment, capture_output=True, check=False)
        return (done.stdout + done.stderr).decode(), done.returncode

    def flip(folder: str) -> Path:
        largest = max((tmp_path / folder).rglob("*"), key=lambda file: file.stat().st_size if file.is_file() else 0)
        data = bytearray(largest.read_bytes())
        middle = len(data) // 2
        data[middle : middle + 8] = bytes(byte ^ 0xFF for byte in data[middle : middle + 8])
        largest.chmod(0o600)
        largest.write_bytes(data)
        return largest

    for command in (
        "borg init -e repokey b",
        "borg create b::a source",
        "restic -r r init",
        "restic -r r backup source",
    ):
        assert run(command)[1] == 0
    flip("b/data")
    pack = flip("r/data")
    seen = {}
    for command in (
        "borg check --archives-only b",
        "borg check b",
        "borg check --verify-data b",
        "borg extract -n b::a",
        "restic -r r check",
        "restic -r r check --read-data",
        "restic -r r restore latest --verify --target t",
    ):
        text, code = run(command)
        read_command = understood(command)
        result, damaged = outcome(read_command, text, code)
        seen[command] = (read_command.level, result)
        # The text alone tells as much.
        assert outcome(read_command, text, None)[0] in (result, "unknown" if not text.strip() else result)
    assert list(seen.values()) == [
        (1, "ok"),
        (1, "error"),
        (2, "error"),
        (2, "error"),
        (1, "ok"),
        (2, "error"),
        (3, "error"),
    ]
    assert any(name in path for path in damaged for name in names)
    pack.unlink()
    text, code = run("restic -r r check")
    assert outcome(understood("restic -r r check"), text, code) == ("error", [pack.name])


def test_a_real_pgbackrest_repository(tmp_path_factory: pytest.TempPathFactory) -> None:
    binaries = next(iter(sorted(Path("/usr/lib/postgresql").glob("*/bin"))), None)
    assert binaries, "PostgreSQL is not installed; on Debian: apt-get install postgresql pgbackrest"
    assert shutil.which("pgbackrest"), "pgbackrest is not installed; on Debian: apt-get install pgbackrest"
    with open_folder("postgres") as home:
        info, segments = run_pgbackrest(home, binaries)
    out = tmp_path_factory.mktemp("pg")
    put(out, "pg.json", info)
    put(out, "pg.wal.txt", "\n".join(segments))
    found = read(out)
    backups = found["backups"].sort("data_time")
    assert backups["kind"].cast(pl.String).to_list() == ["full", "diff"]
    assert backups["needs_ids"].to_list() == [[], [backups["backup_id"][0]]]
    assert backups["encrypted"].to_list() == [False, False]
    assert (backups["data_time"] == backups["finished_at"]).all()
    assert set(found["backup_listing"]["path_norm"].str.head(4)) == {"wal/"}


def run_pgbackrest(home: Path, binaries: Path) -> tuple[str, list[str]]:
    """Make a cluster, a full and a differential backup; PostgreSQL never runs as root."""
    put(
        home,
        "c",
        f"[global]\nrepo1-path={home}/repo\nlock-path={home}/lock\nspool-path={home}/spool\nlog-level-console=off\n"
        "log-level-file=off\nstart-fast=y\nrepo1-retention-full=9\n"
        f"[main]\npg1-path={home}/data\npg1-socket-path={home}\npg1-port=5599\n",
    )
    put(
        home,
        "more",
        f"archive_mode=on\narchive_command='pgbackrest --config={home}/c --stanza=main archive-push %p'\n"
        f"unix_socket_directories='{home}'\nlisten_addresses=''\nport=5599\n",
    )
    script = f"""
set -e
cd {home}
mkdir data repo lock spool
{binaries}/initdb -D data -A trust > /dev/null
cat more >> data/postgresql.conf
{binaries}/pg_ctl -D data -w -l log start > /dev/null
trap '{binaries}/pg_ctl -D data -m immediate stop > /dev/null' EXIT
pgb() {{ pgbackrest --config={home}/c --stanza=main "$@"; }}
pgb stanza-create
pgb --type=full backup
pgb --type=diff backup
pgb info --output=json > info.json
"""
    put(home, "run.sh", script)
    as_user = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
    done = subprocess.run([*as_user, "bash", str(home / "run.sh")], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr + done.stdout
    segments = sorted(file.name for file in (home / "repo" / "archive").rglob("0000*") if file.is_file())
    return (home / "info.json").read_text(), segments


# Newer and other tools, typed


def test_restic_017_says_when_a_snapshot_was_really_made(tmp_path: Path) -> None:
    snapshot = {
        "time": "2025-05-03T02:00:00.682236854+08:00",
        "tree": "f" * 64,
        "paths": ["/srv/发票"],
        "hostname": "nas",
        "program_version": "restic 0.17.3",
        "summary": {
            "backup_start": "2025-05-10T09:00:00.1+08:00",
            "backup_end": "2025-05-10T01:02:00.1Z",
            "total_files_processed": 794,
            "total_bytes_processed": 12345,
            "data_added": 99,
            "data_added_packed": 88,
        },
        "id": "a" * 64,
        "short_id": "a" * 8,
    }
    put(tmp_path, "main.json", json.dumps([{"group_key": {}, "snapshots": [snapshot]}]))
    row = read(tmp_path)["backups"].row(0, named=True)
    assert row["data_time"] == datetime(2025, 5, 3, 2, 0, 0, 682236)
    assert row["started_at"] == datetime(2025, 5, 10, 9, 0, 0, 100000)
    assert row["finished_at"] == datetime(2025, 5, 10, 9, 2, 0, 100000)
    assert (row["files"], row["bytes_source"], row["bytes_stored"]) == (794, 12345, 88)


def test_a_listing_whose_backup_no_catalogue_names_is_a_backup_of_its_own(tmp_path: Path) -> None:
    head = {"time": "2025-05-03T02:00:00Z", "tree": "f", "paths": ["/a"], "id": "c" * 64, "struct_type": "snapshot"}
    node = {
        "name": "x",
        "type": "file",
        "path": "/a/x",
        "size": 7,
        "mtime": "2025-05-01T00:00:00Z",
        "struct_type": "node",
    }
    put(tmp_path, "main.cccccccc.jsonl", f"{json.dumps(head)}\n{json.dumps(node)}\n")
    found = read(tmp_path)
    assert found["backups"]["backup_id"].to_list() == ["c" * 64]
    assert found["backup_listing"].select("path_norm", "size", "mtime", "first_ord").rows() == [
        ("/a/x", 7, datetime(2025, 5, 1, 8), 0)
    ]


def test_the_three_syntaxes_of_sha256sum(tmp_path: Path) -> None:
    a, b, c, d = ("a" * 64, "B" * 64, "c" * 64, "d" * 64)
    lines = [f"{a}  ./x.xml", f"{b} *y z.xml", f"SHA256 (发票/q.ofd) = {c}", f"\\{d}  one\\\\two\\nthree", "no line"]
    put(tmp_path, "nas.2025-05-31.sha256", "\n".join(lines) + "\n")
    reading = read_backups([tmp_path], root=tmp_path)
    listing = dict(reading["backup_listing"].rows.select("path_norm", "hash").iter_rows())
    assert listing == {"x.xml": a, "y z.xml": b.lower(), "发票/q.ofd": c, "one/two\nthree": d}
    aside = reading["backups"].set_aside.select("source_file", "source_row", "value").rows()
    assert aside == [("nas.2025-05-31.sha256", 5, "no line")]
    row = reading["backups"].rows.row(0, named=True)
    assert (row["repo_id"], row["backup_id"], row["data_time"]) == ("nas", "2025-05-31", datetime(2025, 5, 31))


def tar_of(folder: Path, name: str, members: dict[str, bytes]) -> tuple[Path, list[int]]:
    path = folder / name
    with tarfile.open(path, "w:gz" if name.endswith("gz") else "w") as archive:
        for member, data in members.items():
            entry = tarfile.TarInfo(member)
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
    with tarfile.open(path) as archive:
        return path, [member.offset for member in archive]


MEMBERS = {f"2025/{at}.xml": bytes([65 + at]) * 700 for at in range(6)}
SUMS = "".join(f"{hashlib.sha256(data).hexdigest()}  {name}\n" for name, data in MEMBERS.items())


def faults(found: dict[str, pl.DataFrame]) -> list[str]:
    return found["backup_checks"]["damaged"].explode().drop_nulls().to_list()


def test_a_whole_tar_agrees_with_its_manifest(tmp_path: Path) -> None:
    tar_of(tmp_path, "nas.may.tar", MEMBERS)
    put(tmp_path, "nas.may.sha256", SUMS)
    found = read(tmp_path)
    assert faults(found) == []
    assert found["backups"].select("files", "bytes_source").rows() == [(6, 4200)]
    assert found["backup_listing"].height == 6


def test_a_tar_cut_at_the_edge_of_a_member(tmp_path: Path) -> None:
    path, offsets = tar_of(tmp_path, "nas.may.tar", MEMBERS)
    path.write_bytes(path.read_bytes()[: offsets[4]])
    put(tmp_path, "nas.may.sha256", SUMS)
    told = " ".join(faults(read(tmp_path)))
    assert "4/6 members" in told
    assert "2025/4.xml" in told
    (tmp_path / "nas.may.sha256").unlink()
    assert "two empty blocks" in " ".join(faults(read(tmp_path)))


def test_a_truncated_gzip_and_a_changed_member(tmp_path: Path) -> None:
    path, _ = tar_of(tmp_path, "nas.one.tar.gz", MEMBERS)
    path.write_bytes(path.read_bytes()[:-20])
    tar_of(tmp_path, "nas.two.tar", {**MEMBERS, "2025/3.xml": b"other"})
    put(tmp_path, "nas.two.sha256", SUMS)
    told = faults(read(tmp_path))
    assert any("cannot be read to its end" in fault for fault in told)
    assert any("sha256 differs: 2025/3.xml" in fault for fault in told)


def test_a_manifest_of_the_tar_itself(tmp_path: Path) -> None:
    path, _ = tar_of(tmp_path, "nas.may.tar", MEMBERS)
    put(tmp_path, "nas.may.sha256", f"{hashlib.sha256(path.read_bytes()).hexdigest()}  nas.may.tar\n")
    assert faults(read(tmp_path)) == []
    put(tmp_path, "nas.may.sha256", f"{'0' * 64}  nas.may.tar\n")
    assert faults(read(tmp_path)) == ["nas.may.tar: sha256 differs from the manifest"]


def bag(folder: Path, data: bytes = b"x" * 10) -> Path:
    put(folder, "bagit.txt", "BagIt-Version: 1.0\nTag-File-Character-Encoding: UTF-8\n")
    put(folder, "bag-info.txt", "Bagging-Date: 2025-05-30\nPayload-Oxum: 10.1\n")
    put(folder, "manifest-sha256.txt", f"{hashlib.sha256(b'x' * 10).hexdigest()}  data/a%0Ab.xml\n")
    put(folder, "data/a\nb.xml", data)
    return folder


def test_a_bag_good_changed_and_incomplete(tmp_path: Path) -> None:
    bag(tmp_path / "vault.good")
    bag(tmp_path / "vault.changed", b"y" * 10)
    (bag(tmp_path / "vault.lost") / "data" / "a\nb.xml").unlink()
    found = read(tmp_path)
    results = dict(found["backup_checks"].select("backup_id", pl.col("result").cast(pl.String)).iter_rows())
    assert results == {"good": "ok", "changed": "error", "lost": "error"}
    assert found["backups"]["data_time"].unique().to_list() == [datetime(2025, 5, 30)]
    assert any("not there" in fault for fault in faults(found))


def test_rclone_hashes_depend_on_the_storage(tmp_path: Path) -> None:
    rows = [
        {
            "Path": "a.xml",
            "Size": 3,
            "ModTime": "2025-05-01T00:00:00.5Z",
            "IsDir": False,
            "Hashes": {"SHA256": "A" * 64},
        },
        {
            "Path": "b.xml",
            "Size": 4,
            "ModTime": "2025-05-01T08:00:00+08:00",
            "IsDir": False,
            "Hashes": {"md5": "b" * 32},
        },
        {"Path": "d", "Size": -1, "ModTime": "2025-05-01T00:00:00Z", "IsDir": True},
    ]
    put(tmp_path, "cloud.2025-05-31.json", json.dumps(rows))
    listing = read(tmp_path)["backup_listing"].sort("path_norm")
    assert listing["hash_kind"].cast(pl.String).to_list() == ["sha256", "md5"]
    assert listing["mtime"].to_list() == [datetime(2025, 5, 1, 8, 0, 0, 500000), datetime(2025, 5, 1, 8)]


def test_a_real_rclone_listing(tmp_path: Path) -> None:
    assert shutil.which("rclone"), "rclone is not installed; on Debian: apt-get install rclone"
    put(tmp_path / "store", "2025/发票.xml", "first")
    command = ("rclone", "lsjson", "-R", "--hash", str(tmp_path / "store"))
    listing = subprocess.run(command, capture_output=True, check=True).stdout
    out = tmp_path / "out"
    put(out, "cloud.2025-05-31.json", listing)
    [row] = read(out)["backup_listing"].to_dicts()
    assert (row["path_norm"], row["size"], row["hash_kind"]) == ("2025/发票.xml", 5, "sha256")
    assert row["hash"] == hashlib.sha256(b"first").hexdigest()


def test_an_inventory_takes_its_columns_from_the_manifest_and_decodes_its_keys(tmp_path: Path) -> None:
    folder = tmp_path / "bucket" / "2025-05-31T18-00Z"
    manifest = {
        "sourceBucket": "invoices",
        "fileSchema": "Bucket, Key, Size, EncryptionStatus, LastModifiedDate",
        "files": [{"key": "x/data/1.csv.gz"}],
    }
    put(folder, "manifest.json", json.dumps(manifest))
    rows = (
        '"b","2025%2F%E5%8F%91%E7%A5%A8+1.xml","12","true","2025-05-01T00-00-00Z"\n'
        '"b","2025%2F","0","true","2025-05-01T00:00:00Z"\n'
    )
    put(folder, "data/1.csv.gz", gzip.compress(rows.encode()))
    found = read(tmp_path)
    row = found["backups"].row(0, named=True)
    assert (row["repo_id"], row["kind"], row["encrypted"]) == ("bucket", "copy", True)
    assert row["data_time"] == datetime(2025, 6, 1, 2)
    assert found["backup_listing"].select("path_norm", "size", "mtime").rows() == [
        ("2025/发票 1.xml", 12, datetime(2025, 5, 1, 8))
    ]


def test_an_inventory_without_its_data_is_refused(tmp_path: Path) -> None:
    put(tmp_path, "bucket/manifest.json", json.dumps({"fileSchema": "Key", "files": [{"key": "data/1.csv"}]}))
    with pytest.raises(SourceError, match="not beside it"):
        read(tmp_path)


def test_xtrabackup_files_give_an_lsn_chain(tmp_path: Path) -> None:
    info = "uuid = 1\ntool_name = mariadb-backup\nstart_time = 2025-05-30 02:00:00\nend_time = 2025-05-30 02:09:00\n"
    put(tmp_path, "mysql.full/xtrabackup_info", f"{info}innodb_from_lsn = 0\ninnodb_to_lsn = 44744\nincremental = N\n")
    put(tmp_path, "mysql.inc/xtrabackup_info", info)
    put(tmp_path, "mysql.inc/xtrabackup_checkpoints", "backup_type = incremental\nfrom_lsn = 44744\nto_lsn = 50000\n")
    rows = read(tmp_path, tz="Asia/Shanghai")["backups"].sort("backup_id")
    assert rows.select("repo_id", "backup_id", pl.col("kind").cast(pl.String), "lsn_from", "lsn_to").rows() == [
        ("mysql", "full", "full", 0, 44744),
        ("mysql", "inc", "incr", 44744, 50000),
    ]
    assert rows["data_time"][0] == datetime(2025, 5, 30, 2, 9)
    with pytest.raises(EngagementError, match="has no zone"):
        read(tmp_path)
    flat = put(tmp_path / "flat", "mysql.one.xtrabackup_info", info)
    rows = read(flat.parent, tz="UTC")["backups"]
    assert rows.select("repo_id", "backup_id", "data_time").rows() == [("mysql", "one", datetime(2025, 5, 30, 10, 9))]


def test_bacula_jobs_verify_and_restore_jobs_are_proofs(tmp_path: Path) -> None:
    table = """
+-------+------+---------------------+------+-------+----------+-----------+-----------+
| jobid | name | starttime           | type | level | jobfiles | jobbytes  | jobstatus |
+-------+------+---------------------+------+-------+----------+-----------+-----------+
|     1 | docs | 2025-05-28 02:00:00 | B    | F     |    1,000 | 2,000,000 | T         |
|     2 | docs | 2025-05-29 02:00:00 | B    | I     |       10 |    20,000 | E         |
|     3 | docs | 2025-05-30 02:00:00 | B    | I     |       12 |    22,000 | W         |
|     4 | docs | 2025-05-30 03:00:00 | V    | A     |        0 |         0 | T         |
+-------+------+---------------------+------+-------+----------+-----------+-----------+
"""
    put(tmp_path, "bacula.txt", table)
    found = read(tmp_path, tz="Asia/Shanghai")
    rows = (
        found["backups"].sort("backup_id").select("backup_id", pl.col("status").cast(pl.String), "parent_id", "files")
    )
    assert rows.rows() == [("1", "ok", None, 1000), ("2", "failed", "1", 10), ("3", "warning", "1", 12)]
    assert found["backup_checks"].select("level", pl.col("result").cast(pl.String)).rows() == [(2, "ok")]


def test_veeam_sessions_from_powershell_with_surebackup_as_proof(tmp_path: Path) -> None:
    rows = (
        '#TYPE Veeam\n"JobName","CreationTime","EndTime","Result","JobType"\n'
        '"发票","5/28/2025 6:00:00 PM","5/28/2025 6:20:00 PM","Warning","Backup"\n'
        '"验证","5/29/2025 6:00:00 PM","5/29/2025 6:20:00 PM","Success","SureBackup"\n'
    )
    put(tmp_path, "veeam.csv", rows.encode("utf-16"))
    found = read(tmp_path, tz="UTC")
    assert found["backups"].select("job", "started_at", pl.col("status").cast(pl.String)).rows() == [
        ("发票", datetime(2025, 5, 29, 2), "warning")
    ]
    assert found["backup_checks"]["level"].to_list() == [4]


def test_canonical_tables_are_read_as_they_are(tmp_path: Path) -> None:
    header = "备份库,任务,备份号,备份类型,数据时间,开始时间,结束时间,状态"
    row = "nas,nas,1,快照,2025-05-30 02:00:00,2025-05-30 02:00:00,2025-05-30 02:10:00,成功"
    text = f"{header}\n{row}\n"
    put(tmp_path, "backups.csv", text)
    found = read(tmp_path)["backups"]
    assert found.select("repo_id", "backup_id", "data_time", pl.col("kind").cast(pl.String)).rows() == [
        ("nas", "1", datetime(2025, 5, 30, 2), "snapshot")
    ]


def test_tables_that_lie_beside_the_catalogues(tmp_path: Path) -> None:
    put(tmp_path, "schedule.csv", "job,kind,cron,tz\nnas,snapshot,0 2 * * *,UTC\n")
    text = "repo_id,performed_at,command,exit_code,output\nnas,2025-05-30 02:00:00,restic check,0,out.log\n"
    put(tmp_path, "backup_checks.csv", text)
    put(tmp_path, "out.log", "Fatal: repository contains errors")
    reading = read_backups([tmp_path], root=tmp_path)
    assert reading["backup_checks"].rows.select("level", pl.col("result").cast(pl.String)).rows() == [(1, "error")]
    assert reading["backups"].rows.is_empty()
    assert "schedule.csv" in reading["backups"].set_aside["source_file"].to_list()


def test_what_is_no_catalogue_is_set_aside_and_what_is_damaged_refused(tmp_path: Path) -> None:
    put(tmp_path, "main.json", '{"message_type":"summary","num_errors":0}')
    put(tmp_path, "notes.txt", "nothing here")
    put(tmp_path, "check.json", '{"message_type":"error"}\n{"message_type":"exit_error","code":1}\n')
    reading = read_backups([tmp_path], root=tmp_path)["backups"]
    assert reading.set_aside["source_file"].to_list() == ["check.json", "main.json", "notes.txt"]
    assert (reading.files["rows_in"] == reading.files["rows_kept"] + reading.files["rows_set_aside"]).all()
    put(tmp_path, "bad.json", "{")
    with pytest.raises(SourceError, match=r"bad\.json"):
        read(tmp_path)


def test_the_order_in_which_files_are_named_changes_nothing(real: Path) -> None:
    files = sorted(real.glob("main.*"))
    first, last = (read_backups(some, root=real) for some in (files, files[::-1]))
    for name in first:
        order = [column for column in ("repo_id", "backup_id", "path_norm") if column in first[name].rows.columns]
        columns = [column for column in first[name].rows.columns if not column.startswith(("source_", "evidence_"))]
        assert first[name].rows.select(columns).sort(order).equals(last[name].rows.select(columns).sort(order))


def test_every_record_of_a_tool_is_understood_whole() -> None:
    traits = {
        "snapshot",
        "files",
        "encrypted",
        "short_id",
        "silent_end",
        "once",
        "store",
        "stored_as",
        "wal",
        "whole_sizes",
    }
    for name, record in resources.load("catalogues").items():
        tool = tools.tools()[name]
        assert set(record) <= traits | set(vars(tool)), name
        assert set(tool.reads) <= {"json", "lines", "file", "folder"}
        assert all(callable(tools.reader(tool, form)) for form in tool.reads)
        assert ("file" in tool.reads) == bool(tool.endings)
        assert ("folder" in tool.reads) == bool(tool.marks)
        for patterns in (tool.outcomes, tool.text_outcomes, resources.load("checks")["outcomes"]):
            assert not patterns or set(patterns) == {"not_run", "broken", "sound", "damaged"}


def kopia(at: int, **more: Any) -> dict[str, Any]:
    """A snapshot as kopia 0.17 lists it."""
    return {
        "id": f"d1876aac51503cad8076163c2d9627{at:02}",
        "source": {"host": "nas", "userName": "root", "path": "/srv/invoices"},
        "description": "",
        "startTime": f"2025-05-{at:02}T18:00:12.756383737Z",
        "endTime": f"2025-05-{at:02}T18:03:14.104913436Z",
        "rootEntry": {
            "name": "invoices",
            "type": "d",
            "mode": "0755",
            "obj": f"k49485a96e3a2a88940d8821c126dbe{at:02}",
            "summ": {"size": 806572104, "files": 11676, "symlinks": 0, "dirs": 1000, "numFailed": 0},
        },
        "retentionReason": ["latest-1", "daily-1"],
        **more,
    }


def test_kopia_snapshots_and_checkpoints_of_runs_that_were_cut_off(tmp_path: Path) -> None:
    failed = {"summ": {"size": 9, "files": 3, "numFailed": 1, "numIgnoredErrors": 2, "errors": [{"path": "a.xml"}]}}
    rows = [kopia(1), kopia(2, incomplete="checkpoint"), kopia(3, rootEntry=failed)]
    put(tmp_path, "vault.json", json.dumps(rows, indent=1))
    known = read(tmp_path)["backups"].sort("data_time")
    assert known["backup_id"].to_list() == [row["id"] for row in rows]
    assert known["data_time"].dt.replace(microsecond=0)[0] == datetime(2025, 5, 2, 2, 0, 12)
    assert known["finished_at"].dt.replace(microsecond=0)[0] == datetime(2025, 5, 2, 2, 3, 14)
    assert known["status"].cast(pl.String).to_list() == ["ok", "failed", "warning"]
    assert known["raw_status"].to_list() == ["listed", "incomplete: checkpoint", "3 errors"]
    assert known.select("repo_id", "tool", "source_host", "files", "bytes_source", "encrypted").row(0) == (
        "vault", "kopia", "nas", 11676, 806572104, None,
    )  # fmt: skip
    assert known["source_paths"].to_list() == [["/srv/invoices"]] * 3
    assert (tmp_path / "vault.json").read_text().splitlines()[known["source_row"][1] - 1].strip().startswith('"id"')


@pytest.mark.parametrize(
    "row",
    [
        kopia(1, id=None),
        kopia(1, source={"host": ["nas"], "path": {"a": 1}}),
        kopia(1, startTime=5e300),
        kopia(1, rootEntry={"summ": {"size": -1, "files": "many"}}),
        {"id": "a" * 64, "tree": "b", "time": "2025-05-01T00:00:00Z", "paths": [1, {"x": 2}]},
        {"id": "a" * 64, "tree": "b", "time": "2025-05-01T00:00:00Z", "summary": {"total_bytes_processed": 10**30}},
    ],
)
def test_a_catalogue_whose_values_are_of_another_type_is_refused_by_name(tmp_path: Path, row: dict[str, Any]) -> None:
    put(tmp_path, "vault.json", json.dumps([row]))
    with pytest.raises(SourceError, match=r"^vault\.json: cannot be read as a backup catalogue \([^\n]+\); export it"):
        read(tmp_path)


def test_a_mount_of_a_kopia_snapshot_gives_its_content_as_a_manifest(tmp_path: Path) -> None:
    put(tmp_path, "vault.json", json.dumps([kopia(1)]))
    put(tmp_path, f"vault.{kopia(1)['id'][:8]}.sha256", f"{'ab' * 32}  2025/25112000001234000001.xml\n")
    found = read(tmp_path)
    assert found["backups"]["backup_id"].to_list() == [kopia(1)["id"]]
    assert found["backup_listing"].select("path_norm", "hash", "first_ord").rows() == [
        ("2025/25112000001234000001.xml", "ab" * 32, 0)
    ]


# Outcomes of checks


def checks(rows: list[dict[str, Any]]) -> pl.DataFrame:
    dtypes = schema.dtypes("backup_checks")
    plain = {name: pl.String() if isinstance(dtype, pl.Enum) else dtype for name, dtype in dtypes.items()}
    return pl.DataFrame([{name: row.get(name) for name in dtypes} for row in rows], schema=plain).cast(dtypes)


@pytest.mark.parametrize(
    ("command", "text", "code", "expected"),
    [
        ("restic check", "no errors were found", 0, (1, "ok")),
        (
            "restic check --read-data",
            "Pack ID does not match, want aa\nFatal: repository contains errors",
            1,
            (2, "error"),
        ),
        ("restic check --json", '{"message_type":"summary","num_errors":1,"broken_packs":null}', 1, (1, "error")),
        (
            "restic check --json --read-data",
            '{"message_type":"summary","num_errors":0,"broken_packs":null}',
            0,
            (2, "ok"),
        ),
        ("restic check", "Fatal: unable to create lock in backend: repository is already locked", 11, (1, "unknown")),
        ("restic check", None, 0, (1, "ok")),
        ("restic check", "", 0, (1, "unknown")),
        ("restic restore a --verify -t x", "ignoring error for /a/1.xml: x\nThere were 1 errors", 1, (3, "error")),
        ("borg check --verify-data r", "", 0, (2, "ok")),
        ("borg check -v r", "Archive consistency check complete, no problems found.", 0, (1, "ok")),
        ("borg check -v r", "Archive consistency check complete, problems found.", 1, (1, "error")),
        ("borg check --verify-data r", "a.xml: chunk 12 not found", 1, (2, "error")),
        ("borg check r", "Failed to create/acquire the lock /r/lock.exclusive (timeout).", 2, (1, "unknown")),
        ("borg extract -n r::a", "", 0, (2, "ok")),
        (
            "pgbackrest verify",
            "status: error\n  backup: 20250530-020003F, status: invalid, missing: 937",
            0,
            (2, "error"),
        ),
        ("pgbackrest verify", "status: ok\n  total WAL checked: 8\n    missing: 0, checksum invalid: 0", 0, (2, "ok")),
        ("pgbackrest verify", "", 0, (2, "unknown")),
        ("pgbackrest verify --output=text", "verify command end: completed successfully", 0, (2, "ok")),
        (
            "sha256sum -c m",
            "a.xml: OK\nb.xml: FAILED\nsha256sum: WARNING: 1 computed checksum did NOT match",
            1,
            (2, "error"),
        ),
        ("sha256sum --check --quiet m", "", 0, (2, "ok")),
        ("sha256sum -c m", "sha256sum: a: No such file or directory\na: FAILED open or read", 1, (2, "error")),
        ("LANG=zh sha256sum -c m", "a.xml: 成功\n", 0, (2, "ok")),
        ("bagit.py --validate --fast b", "b is valid", 0, (1, "ok")),
        ("bagit.py --validate b", "b is invalid: Payload-Oxum", 1, (2, "error")),
        ("audit-kit verify-restore x", None, 0, (3, "ok")),
        ("sha512sum --check m", "a.xml: OK", 0, (2, "ok")),
        ("kopia snapshot verify", "Listed 546 blobs.\nFinished processing 2467 objects.", 0, (1, "ok")),
        ("kopia snapshot verify --verify-files-percent=0", "Finished processing 9 objects.", 0, (1, "ok")),
        ("kopia snapshot verify --verify-files-percent=100", "Finished processing 2467 objects.", 0, (2, "ok")),
        ("kopia snapshot verify --verify-files-percent 100", "Processed 0 objects.", None, (2, "unknown")),
        ("kopia snapshot verify --json --verify-files-percent=100", '{"errorCount": 2}', 0, (2, "error")),
        (
            "kopia snapshot verify",
            "ERROR error connecting to repository: repository is not connected",
            1,
            (1, "unknown"),
        ),
        ("/opt/own-check.sh", None, None, (1, "unknown")),
        ("/opt/own-check.sh", "all fine", 0, (1, "ok")),
    ],
)
def test_outcomes(command: str, text: str | None, code: int | None, expected: tuple[int, str]) -> None:
    read_command = understood(command)
    assert (read_command.level, outcome(read_command, text, code)[0]) == expected


def test_what_a_check_names_as_damaged() -> None:
    restore = understood("restic restore a --verify")
    assert outcome(restore, "ignoring error for /a/1.xml: x\nThere were 1 errors", 1)[1] == ["/a/1.xml"]
    verify = understood("kopia snapshot verify --verify-files-percent=100")
    when = "root@nas:/srv@2024-05-30 13:04:38 CEST"
    text = f"ERROR error processing {when}/2025/0bdb:1910.xml: error reading object c8b7: unable to open"
    assert outcome(verify, text, 1) == ("error", ["/2025/0bdb:1910.xml"])
    sums = understood("sha256sum -c m")
    assert outcome(sums, "发票/b.xml: FAILED open or read\na: OK", 1)[1] == ["发票/b.xml"]


def test_part_of_the_data_is_said_in_percent() -> None:
    assert understood("restic check --read-data-subset=5%").scope_pct == 5
    assert understood("restic check --read-data-subset 1/4").scope_pct == 25
    assert understood("restic check --read-data").scope_pct is None
    assert understood("restic check --read-data --read-data-subset=5%").scope_pct == 5
    assert understood("restic check --read-data-subset=50M").scope_pct == 0
    assert understood("kopia snapshot verify --verify-files-percent=10").scope_pct == 10


def test_text_outweighs_code_and_a_stated_ok_and_output_stays_in_the_engagement(tmp_path: Path) -> None:
    put(tmp_path, "out.txt", "status: error")
    rows = [
        {"command": "pgbackrest verify", "exit_code": 0, "output": "out.txt"},
        {"command": "pgbackrest verify", "exit_code": 0, "output": "out.txt", "result": "ok", "level": 2},
        {"command": "restic check", "exit_code": 0, "output": "../../etc/passwd"},
        {"level": 2, "result": "ok"},
        {"level": 2, "result": "ok", "errors": 3},
    ]
    found = read_checks(checks(rows), tmp_path)
    assert found["result"].cast(pl.String).to_list() == ["error", "error", "ok", "ok", "error"]
    assert found["evidence_sha256"][0] == hashlib.sha256(b"status: error").hexdigest()


# Hostile archives and catalogues


def _sparse(path: Path) -> None:
    """Write a tar of 10 KB whose one member says it has a terabyte, all of it a hole."""
    hole = tarfile.TarInfo("hole.db")
    hole.pax_headers = {"GNU.sparse.map": f"{1 << 40},0", "GNU.sparse.size": str(1 << 40), "GNU.sparse.numblocks": "1"}
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as archive:
        archive.addfile(hole)


def _packed_zeros(path: Path) -> None:
    """Write a packed tar with three times more zeros than an archive of its size may hold."""
    member = tarfile.TarInfo("zeros")
    member.size = 3 * tar_limits.FREE_BYTES
    block = gzip.compress(bytes(1 << 20))
    path.write_bytes(gzip.compress(member.tobuf()) + block * (member.size >> 20))


def _many_members(path: Path) -> None:
    """Write a packed tar with more members than an archive of its size may have."""
    empty = tarfile.TarInfo("empty").tobuf() * 2048
    path.write_bytes(gzip.compress(empty) * (tar_limits.FREE_MEMBERS // 2048 + 60))


def _long_name(path: Path) -> None:
    """Write a packed tar with a name of a gigabyte."""
    name = tarfile.TarInfo("././@LongLink")
    name.type, name.size = tarfile.GNUTYPE_LONGNAME, 1 << 30
    path.write_bytes(gzip.compress(name.tobuf()))


@pytest.mark.parametrize(
    ("make", "name", "words"),
    [
        (_sparse, "tars.a.tar", "hole.db: unpacks to far more"),
        (_packed_zeros, "tars.b.tar.gz", "unpacks to far more"),
        (_many_members, "tars.c.tar.gz", "far more members"),
        (_long_name, "tars.d.tar.gz", "far too large"),
    ],
)
def test_a_tar_is_measured_while_it_is_read(
    make: Callable[[Path], None], name: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tar_limits, "FREE_BYTES", 32 << 20)
    monkeypatch.setattr(tar_limits, "FREE_MEMBERS", 4_000)
    make(tmp_path / name)
    began = time.process_time()
    checks = read(tmp_path)["backup_checks"]
    assert time.process_time() - began < 5
    assert checks["result"].to_list() == ["error"]
    assert words in checks["damaged"][0][0]


def test_a_sound_sparse_tar_is_read(tmp_path: Path) -> None:
    hole = tarfile.TarInfo("hole.db")
    hole.pax_headers = {"GNU.sparse.map": "4096,0", "GNU.sparse.size": "4096", "GNU.sparse.numblocks": "1"}
    with tarfile.open(tmp_path / "tars.a.tar", "w", format=tarfile.PAX_FORMAT) as archive:
        archive.addfile(hole)
    tables = read(tmp_path)
    assert tables["backup_checks"]["result"].to_list() == ["ok"]
    assert tables["backup_listing"]["hash"].to_list() == [hashlib.sha256(bytes(4096)).hexdigest()]


@pytest.mark.parametrize("name", ["restic.json", "restic.deep.jsonl", "borg.more.jsonl"])
def test_a_catalogue_nested_too_deeply_is_one_sentence(name: str, tmp_path: Path) -> None:
    first = "" if name != "borg.more.jsonl" else '{"type": "-", "path": "a"}\n'
    put(tmp_path, name, first + '{"a":' * 100_000)
    with pytest.raises(SourceError) as raised:
        read(tmp_path)
    assert str(raised.value).startswith(f"{name}: ")
    assert "\n" not in str(raised.value)


def test_an_inventory_is_measured_while_it_is_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, "SUSPECT_BYTES", 1 << 20)
    put(tmp_path, "oss/data/a.csv.gz", gzip.compress(bytes(8 << 20)))
    put(tmp_path, "oss/manifest.json", json.dumps({"fileSchema": "Bucket, Key", "files": [{"key": "data/a.csv.gz"}]}))
    with pytest.raises(SourceError, match=r"a\.csv\.gz: unpacks to far more than an inventory holds"):
        read(tmp_path)
