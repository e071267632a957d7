"""Hashing a folder, the manifest command, and a restored folder against the archive."""

from __future__ import annotations

import csv
import hashlib
import os
import subprocess
from datetime import datetime
from typing import TYPE_CHECKING

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from audit_kit.cli.main import main
from audit_kit.core import hashing
from audit_kit.core.errors import RequestError, SourceError
from audit_kit.core.hash_worker import FIRST, digest
from audit_kit.core.hashing import hash_files, sums
from audit_kit.loaders.catalogues.reader import read_checks
from audit_kit.loaders.catalogues.restores import verify_restore, write_evidence
from audit_kit.loaders.tables import pipeline

if TYPE_CHECKING:
    from pathlib import Path


def fill(folder: Path, files: dict[str, bytes]) -> Path:
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return folder


def expected(files: dict[str, bytes]) -> list[tuple[str, int, str]]:
    return sorted((name, len(data), hashlib.sha256(data).hexdigest()) for name, data in files.items())


FILES = {"2025/05/发票 1.xml": b"one", "a.pdf": b"", ".hidden": b"h", "big.ofd": bytes(3 * FIRST + 7)}


def test_every_file_below_is_hashed_and_links_are_not_followed(tmp_path: Path) -> None:
    fill(tmp_path, FILES)
    (tmp_path / "link").symlink_to(tmp_path / "a.pdf")
    (tmp_path / "loop").symlink_to(tmp_path)
    found = hash_files(tmp_path)
    assert found.columns == ["path", "size", "sha256"]
    assert found.rows() == expected(FILES)


def test_several_processes_give_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = {f"{at % 7}/{at}.xml": bytes([at % 251]) * at for at in range(1200)}
    fill(tmp_path, files)
    monkeypatch.setattr(hashing.os, "cpu_count", lambda: 3)
    assert hash_files(tmp_path, progress=True).rows() == expected(files)


@pytest.mark.parametrize("size", [0, 1, FIRST - 1, FIRST, FIRST + 1, 2 * FIRST, (1 << 20) + FIRST])
def test_sizes_around_the_edges_of_a_read(tmp_path: Path, size: int) -> None:
    data = os.urandom(size)
    (tmp_path / "file").write_bytes(data)
    assert digest(str(tmp_path / "file")) == hashlib.sha256(data).hexdigest()
    assert digest(str(tmp_path / "file"), "md5") == hashlib.md5(data, usedforsecurity=False).hexdigest()


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(tmp_path, {"gone.xml": b"x"})

    def refuse(*_: object) -> int:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(hashing.hash_worker.os, "open", refuse)
    with pytest.raises(SourceError, match=r"gone\.xml.*Permission denied"):
        hash_files(tmp_path)
    monkeypatch.undo()
    with pytest.raises(SourceError, match="no such folder"):
        hash_files(tmp_path / "nowhere")


def test_an_empty_folder_has_no_files(tmp_path: Path) -> None:
    assert hash_files(tmp_path).is_empty()


def test_the_cache_knows_unchanged_files_and_reads_changed_ones(tmp_path: Path) -> None:
    folder, cache = fill(tmp_path / "files", FILES), tmp_path / "kept" / "cache.parquet"
    assert hash_files(folder, cache=cache).rows() == expected(FILES)
    changed = {**FILES, "a.pdf": b"now something"}
    fill(folder, {"a.pdf": b"now something"})
    assert hash_files(folder, cache=cache).rows() == expected(changed)
    cache.write_bytes(b"damaged")
    assert hash_files(folder, cache=cache).rows() == expected(changed)


def test_silent_damage_behind_the_cache_is_found_by_the_sample(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    files = {f"{at}.xml": b"%d" % at for at in range(10)}
    folder, cache = fill(tmp_path / "files", files), tmp_path / "cache.parquet"
    hash_files(folder, cache=cache)
    rotten = folder / "3.xml"
    before = rotten.stat()
    with rotten.open("r+b") as file:
        file.write(b"X")
    os.utime(rotten, ns=(before.st_atime_ns, before.st_mtime_ns))
    # Ten files are fewer than the least sample, so each of them is read again.
    assert hash_files(folder, cache=cache).rows() == expected({**files, "3.xml": b"X"})
    assert "全部重新读取" in caplog.text


def test_the_manifest_is_what_sha256sum_checks(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    odd = {**FILES, "back\\slash.xml": b"1", "line\nend.xml": b"2"}
    folder = fill(tmp_path / "files", odd)
    assert main(["manifest", str(folder), "--out", str(tmp_path / "m.sha256")]) == 0
    done = subprocess.run(["sha256sum", "-c", "--quiet", str(tmp_path / "m.sha256")], cwd=folder, check=False)
    assert done.returncode == 0
    capsys.readouterr()
    assert main(["manifest", str(folder)]) == 0
    assert capsys.readouterr().out == (tmp_path / "m.sha256").read_text()
    assert (
        main(["manifest", str(folder), "--out", str(tmp_path / "m.csv"), "--cache", str(tmp_path / "c.parquet")]) == 0
    )
    assert pl.read_csv(tmp_path / "m.csv").height == len(odd)
    assert main(["manifest", str(folder), "--out", str(tmp_path / "m.doc")]) == 2


@given(st.dictionaries(st.text("ab\\\n\r 发", min_size=1, max_size=6), st.just("a" * 64), min_size=1, max_size=5))
@settings(max_examples=50)
def test_names_survive_the_manifest(names: dict[str, str]) -> None:
    text = sums(pl.DataFrame({"path": list(names), "sha256": list(names.values())}))
    lines = text.removesuffix("\n").split("\n")
    unescape = {"\\\\": "\\", "\\n": "\n", "\\r": "\r"}

    def name(line: str) -> str:
        if not line.startswith("\\"):
            return line[66:]
        rest, out = line[67:], ""
        while rest:
            step = 2 if rest[:2] in unescape else 1
            out, rest = out + unescape.get(rest[:step], rest[:step]), rest[step:]
        return out

    assert [name(line) for line in lines] == list(names)


# A restored folder


ARCHIVE = {"2025/1.xml": b"one", "2025/2.ofd": b"two", "2025/3.pdf": b"three"}


def test_a_good_restore_under_other_folders_is_of_level_3(tmp_path: Path) -> None:
    archive, restored = fill(tmp_path / "archive", ARCHIVE), tmp_path / "restored"
    fill(restored / "srv" / "archive", {**ARCHIVE, "notes.txt": b"more"})
    when = datetime(2025, 5, 31, 8)
    found = verify_restore(restored, archive, repo_id="main", backup_id="4f0c1d2e", performed_at=when, by="甲")
    assert found.is_good
    row = found.row
    assert (row["level"], row["result"], row["scope_pct"], row["compared_by"]) == (3, "ok", 100.0, "hash")
    assert (row["files_restored"], row["bytes_restored"]) == (4, 15)
    assert dict(found.files.iter_rows()) == {
        "srv/archive/2025/1.xml": "unopened",
        "srv/archive/2025/2.ofd": "unopened",
        "srv/archive/2025/3.pdf": "equal",
        "srv/archive/notes.txt": "extra",
    }


def test_a_damaged_file_is_named_and_a_part_is_said_to_be_one(tmp_path: Path) -> None:
    archive = fill(tmp_path / "archive", ARCHIVE)
    restored = fill(tmp_path / "restored", {"2025/1.xml": b"one", "2025/2.ofd": b"other"})
    row = verify_restore(restored, archive, repo_id="main").row
    assert (row["result"], row["errors"], row["damaged"], row["exit_code"]) == ("error", 1, ["2025/2.ofd"], 1)
    assert row["scope_pct"] == pytest.approx(100 / 3, abs=0.001)


def test_nothing_in_common_proves_nothing(tmp_path: Path) -> None:
    archive = fill(tmp_path / "archive", ARCHIVE)
    row = verify_restore(fill(tmp_path / "restored", {"x.txt": b"x"}), archive, repo_id="main").row
    assert (row["result"], row["level"], row["compared_by"]) == ("unknown", None, "none")
    (tmp_path / "empty").mkdir()
    with pytest.raises(SourceError, match="nothing was restored"):
        verify_restore(tmp_path / "empty", archive, repo_id="main")


def test_the_same_name_in_another_folder_is_not_compared(tmp_path: Path) -> None:
    archive = fill(tmp_path / "archive", {"1/invoice.xml": b"one", "2/invoice.xml": b"two"})
    restored = fill(tmp_path / "restored", {"archive/1/invoice.xml": b"one", "archive/2/invoice.xml": b"one"})
    states = dict(verify_restore(restored, archive, repo_id="main").files.iter_rows())
    assert states["archive/2/invoice.xml"] == "differs"


@pytest.mark.parametrize("ending", ["csv", "json"])
def test_evidence_is_read_back_as_restore_tests_and_never_overwritten(tmp_path: Path, ending: str) -> None:
    archive = fill(tmp_path / "archive", ARCHIVE)
    restored = fill(tmp_path / "restored", {"2025/1.xml": b"other", "2025/2.ofd": b"other"})
    row = verify_restore(restored, archive, repo_id="main", performed_at=datetime(2025, 5, 31, 8)).row
    out = tmp_path / f"restore_tests.{ending}"
    write_evidence(row, out)
    [back] = read_checks(pipeline.read(out, table="restore_tests").rows, tmp_path).to_dicts()
    assert (back["repo_id"], back["level"], back["result"], back["errors"]) == ("main", 3, "error", 2)
    assert back["performed_at"] == datetime(2025, 5, 31, 8)
    assert back["damaged"] == ["2025/1.xml", "2025/2.ofd"]
    with pytest.raises(RequestError, match="not overwritten"):
        write_evidence(row, out)


def test_no_cell_of_evidence_or_manifest_acts_in_a_spreadsheet_and_the_evidence_is_read_back(tmp_path: Path) -> None:
    files = {"=cmd.xml": b"one", "-2+3.xml": b"two"}
    archive, restored = (
        fill(tmp_path / "archive", files),
        fill(tmp_path / "restored", {**files, "=cmd.xml": b"other"}),
    )
    out, listed = tmp_path / "restore_tests.csv", tmp_path / "m.csv"
    command = ["verify-restore", str(restored), "--archive", str(archive), "--repo=-main", "--backup", "20250531"]
    assert main([*command, "--by", "@SUM(1+1)", "--out", str(out)]) == 1
    assert main(["manifest", str(archive), "--out", str(listed)]) == 0
    for path in (out, listed):
        with path.open(encoding="utf-8-sig", newline="") as file:
            cells = [cell for row in csv.reader(file) for cell in row]
        assert [cell for cell in cells if cell[:1] in "=+-@" and cell and cell != '="20250531"'] == []
    [back] = read_checks(pipeline.read(out, table="restore_tests").rows, tmp_path).to_dicts()
    assert (back["repo_id"], back["backup_id"], back["by"]) == ("-main", "20250531", "@SUM(1+1)")
    assert back["damaged"] == ["=cmd.xml"]


def test_the_command_writes_evidence_and_ends_with_1_where_something_differs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    archive, restored = fill(tmp_path / "archive", ARCHIVE), fill(tmp_path / "restored", ARCHIVE)
    command = ["verify-restore", str(restored), "--archive", str(archive), "--repo", "main"]
    assert main([*command, "--out", str(tmp_path / "good.csv"), "--json"]) == 0
    assert '"result": "ok"' in capsys.readouterr().out
    fill(restored, {"2025/3.pdf": b"other"})
    assert main([*command, "--out", str(tmp_path / "bad.csv")]) == 1
    assert main([*command, "--out", str(tmp_path / "bad.csv")]) == 2
    assert main([*command, "--out", str(tmp_path / "bad.doc")]) == 2
