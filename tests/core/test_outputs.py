"""Whole or not at all, one at a time, nothing left behind, and a sentence where there is no room."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl
import pytest
from filelock import FileLock
from xlsxwriter.exceptions import FileCreateError

from audit_kit.cli.main import main
from audit_kit.core import outputs, spreadsheet_csv
from audit_kit.core.errors import PlaceError, RequestError

if TYPE_CHECKING:
    from collections.abc import Iterator

KIT = [sys.executable, "-c", "import sys; from audit_kit.cli.main import main; sys.exit(main(sys.argv[1:]))"]
FAULTS = Path(__file__).with_name("faults.py")


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="faults are met in a forked child")
@pytest.mark.parametrize(("kind", "way"), [("report", "exchange"), ("report", "renames"), ("file", "exchange")])
def test_no_fault_at_any_step_loses_or_hides_what_stood_there(tmp_path: Path, kind: str, way: str) -> None:
    """Of 45 faults: kill, end, interrupt, full disk, no permission; before a step and after it."""
    every = {"report": "47", "file": "9"}[kind]
    command = [sys.executable, str(FAULTS), str(tmp_path / "trials"), kind, way, every]
    lines = subprocess.run(command, check=True, capture_output=True, text=True, timeout=300).stdout.splitlines()
    trials = [json.loads(line) for line in lines]
    assert len(trials) > 10
    assert {fault for _, fault, *_ in trials} == {"kill", "term", "interrupt", "full", "denied"}
    for step, fault, after, directly, later, again, left in trials:
        at = (step, fault, after)
        assert directly in {"old", "new"} or way == "renames", at
        assert (later in {"old", "new"}, again, left) == (True, "old", []), at


@pytest.mark.parametrize("found", ["before", "between", "after"])
def test_where_two_folders_cannot_be_exchanged_the_earlier_one_comes_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, found: str
) -> None:
    monkeypatch.setattr(outputs, "_exchanged", lambda *_: False)
    for name, word in (("2025-05", "old"), ("new", "new")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "word").write_text(word)
    rename, steps = Path.rename, {"before": 1, "between": 2, "after": 3}

    def interrupted(path: Path, target: Path) -> Path:
        steps[found] -= 1
        if steps[found] == 0:
            raise KeyboardInterrupt
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", interrupted)
    if found == "after":
        outputs.move_in(tmp_path / "new", tmp_path / "2025-05")
    else:
        with pytest.raises(KeyboardInterrupt):
            outputs.move_in(tmp_path / "new", tmp_path / "2025-05")
    outputs.bring_back(tmp_path)
    assert (tmp_path / "2025-05" / "word").read_text() == ("new" if found == "after" else "old")
    assert not list(tmp_path.glob(".*"))


HOLD = """import sys, time
from pathlib import Path
from audit_kit.core import outputs
with {what}(Path(sys.argv[1])) as folder:
    (folder or Path(sys.argv[1])).joinpath("held").write_text("x" * 1000)
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def holder(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[subprocess.Popen[str]]:
    """A process that holds a place."""
    script = HOLD.format(what=f"outputs.{request.param}")
    with subprocess.Popen([sys.executable, "-c", script, str(tmp_path)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


@pytest.mark.parametrize("holder", ["alone"], indirect=True)
def test_a_folder_is_held_by_one_whose_name_and_time_are_told_and_free_when_it_is_dead(
    holder: subprocess.Popen[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(outputs, "WAIT_SECONDS", 0.2)
    if hasattr(signal, "SIGSTOP"):
        holder.send_signal(signal.SIGSTOP)
    with pytest.raises(PlaceError, match=rf"still being written by process {holder.pid} on .* since \d\d:\d\d:\d\d"):
        outputs.alone(tmp_path).__enter__()
    assert f"上的进程 {holder.pid}，自 " in capsys.readouterr().err
    holder.kill()
    holder.wait()
    with outputs.alone(tmp_path):
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["held"]
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("holder", ["scratch"], indirect=True)
def test_what_the_dead_left_is_cleared_and_the_living_keep_theirs(
    holder: subprocess.Popen[str], tmp_path: Path
) -> None:
    with outputs.scratch(tmp_path):
        assert len([path for path in tmp_path.iterdir() if path.is_dir()]) == 2, (
            "the one of the living holder, and ours"
        )
    (tmp_path / "audit-kit-mine").mkdir()
    holder.kill()
    holder.wait()
    with outputs.scratch(tmp_path):
        assert len([path for path in tmp_path.iterdir() if path.is_dir()]) == 2
    assert [path.name for path in tmp_path.iterdir()] == ["audit-kit-mine"], "what has no lock is not known to be dead"


def test_whoever_clears_at_the_moment_a_folder_is_made_does_not_stop_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outputs.secrets, "token_hex", lambda _: "ours")
    clearing = FileLock(tmp_path / "audit-kit-ours.lock", thread_local=False)
    clearing.acquire()
    monkeypatch.setattr(outputs, "clear", lambda *_: threading.Timer(0.3, clearing.release).start())
    with outputs.scratch(tmp_path) as folder:
        assert folder.is_dir()


def test_a_link_keeps_its_target_and_a_file_its_permissions(tmp_path: Path) -> None:
    real = tmp_path / "kept" / "found.csv"
    real.parent.mkdir()
    real.write_text("old")
    real.chmod(0o640)
    (tmp_path / "link.csv").symlink_to(real)
    with outputs.writing(tmp_path / "link.csv") as made:
        made.write_text("new")
    assert (tmp_path / "link.csv").is_symlink()
    assert real.read_text() == "new"
    assert real.stat().st_mode & 0o777 == 0o640
    with outputs.writing(tmp_path / "fresh.csv") as made:
        made.write_text("new")
    (tmp_path / "plain").touch()
    assert (tmp_path / "fresh.csv").stat().st_mode == (tmp_path / "plain").stat().st_mode
    assert sorted(path.name for path in tmp_path.iterdir()) == ["fresh.csv", "kept", "link.csv", "plain"]


@pytest.mark.slow
def test_a_pipe_and_the_standard_output_get_the_bytes() -> None:
    command = [*KIT, "dictionary"]
    plain = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    for place in ("/dev/stdout", "/dev/fd/1"):
        assert subprocess.run([*command, "--out", place], check=True, capture_output=True, text=True).stdout == plain


def test_an_input_is_never_the_place_of_the_result(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = "发票号码,开票日期,价税合计\n25112000000000000001,2025-05-01,113.00\n"
    for name in ("ledger.csv", "platform.csv"):
        (tmp_path / name).write_text(rows, encoding="utf-8")
    (tmp_path / "link.csv").symlink_to(tmp_path / "platform.csv")
    files = [str(tmp_path / "ledger.csv"), str(tmp_path / "platform.csv")]
    for out in ("ledger.csv", "link.csv"):
        assert main(["reconcile", *files, "--out", str(tmp_path / out)]) == 2
        assert "是要读取的文件之一" in capsys.readouterr().err
    for command in ("diagnose", "backups"):
        assert main([command, str(tmp_path), "--out", str(tmp_path / "ledger.csv")]) == 2
        assert "是要读取的文件之一" in capsys.readouterr().err
    assert main(["manifest", str(tmp_path), "--out", str(tmp_path / "platform.csv")]) == 2
    assert {(tmp_path / name).read_text(encoding="utf-8") for name in ("ledger.csv", "platform.csv")} == {rows}
    assert main(["reconcile", *files, "--out", str(tmp_path / "found.csv")]) == 0


@pytest.mark.parametrize(
    ("name", "sentence"),
    [("x" * 300 + ".csv", "too long"), ("no/x.csv", "make the folder first"), (".", "is a folder")],
)
def test_a_place_that_cannot_be_is_refused_before_the_work(tmp_path: Path, name: str, sentence: str) -> None:
    with pytest.raises(RequestError, match=sentence):
        outputs.check(tmp_path / name)


LIMITED = """import resource, signal, sys
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
from audit_kit.cli import main as cli
from audit_kit.report import pages as publish
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
sys.exit(cli.main(sys.argv[1:]))
"""


@pytest.mark.slow
def test_no_room_is_one_sentence_that_names_the_folder(tmp_path: Path) -> None:
    pytest.importorskip("resource")
    out, temporary, table = tmp_path / "d.md", tmp_path / "temporary", tmp_path / "老台账.csv"
    out.write_text("earlier")
    temporary.mkdir()
    rows = "\n".join(f"251120000000000{row:05},2025-05-01,113.00,北京示例" for row in range(1000))
    table.write_bytes(f"发票号码,开票日期,价税合计,购买方名称\n{rows}\n".encode("gb18030"))
    for words, folder in ((["dictionary", "--out", str(out)], tmp_path), (["inspect", str(table)], temporary)):
        command = [sys.executable, "-c", LIMITED, *words]
        ended = subprocess.run(
            command, capture_output=True, text=True, check=False, env={**os.environ, "TMPDIR": str(temporary)}
        )
        assert (ended.returncode, ended.stdout) == (2, "")
        assert ended.stderr == (f"audit-kit: {folder}：存不下这么大的文件；请放宽限制，或换一个位置。\n")
    assert out.read_text() == "earlier"
    assert not list(temporary.iterdir())
    assert not list(tmp_path.glob(".*"))


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a device of Linux")
def test_a_full_standard_output_is_no_defect() -> None:
    with Path("/dev/full").open("w") as full:
        command = [*KIT, "dictionary"]
        ended = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert ended.returncode == 2
    assert "空间不足" in ended.stderr
    assert "Traceback" not in ended.stderr


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), "no room left"),
        (FileCreateError(OSError(errno.ENOSPC, "No space left on device")), "no room left"),
        (pl.exceptions.ComputeError("No space left on device (os error 28)"), "no room left"),
        (OSError(errno.EROFS, "Read-only file system", "x"), "can only be read"),
        (OSError("File too large (os error 27)"), "cannot hold a file of this size"),
        (PermissionError(errno.EACCES, "Permission denied", "{place}/x"), "cannot be written to"),
        (PermissionError(errno.EACCES, "Permission denied", "elsewhere/x"), None),
        (FileNotFoundError(errno.ENOENT, "No such file", "{place}/x"), None),
        (ValueError("no"), None),
    ],
)
def test_what_other_libraries_raise_of_a_full_disk_is_understood(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, sentence: str | None
) -> None:
    if isinstance(error, OSError) and error.filename:
        error.filename = error.filename.format(place=tmp_path)
    assert sentence != "no room left" or outputs.told(error, tmp_path) is None, "its disk is not full, another's may be"
    monkeypatch.setattr(outputs, "_is_full", lambda _: True)
    said = outputs.told(error, tmp_path)
    assert (said is None) == (sentence is None)
    assert sentence is None or sentence in str(said)


def test_the_folder_named_is_the_one_asked_for(tmp_path: Path) -> None:
    making = tmp_path / ".making-1" / "notebooks"
    assert str(outputs.told(OSError(errno.EFBIG, "File too large"), making)).startswith(f"{tmp_path} cannot hold")


@pytest.mark.parametrize(
    "cell",
    [
        "=1+1",
        "-main",
        "'-main",
        "''=x",
        "@x",
        "\t=x",
        "＝1",
        "25112000000000000001",
        "007",
        "1e5",
        '="1"',
        "北京",
        "'",
        "",
    ],
)
def test_a_cell_made_safe_can_be_read_back(cell: str) -> None:
    text = pl.Series("a", [cell, None])
    safe = spreadsheet_csv.harmless(text.to_frame())["a"]
    assert spreadsheet_csv.undone(safe).to_list() == [cell, None]


def test_a_lock_file_left_by_a_dead_run_is_no_lock(tmp_path: Path) -> None:
    (tmp_path / ".lock").write_text("process 1 since 00:00:00")
    began = time.monotonic()
    with outputs.alone(tmp_path):
        assert FileLock(tmp_path / ".lock").is_locked is False
    assert time.monotonic() - began < 5


def test_a_new_folder_is_not_lost_to_a_run_that_clears_at_the_same_moment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken = outputs.FileLock.acquire
    met = []

    def acquire(lock: outputs.FileLock, *args: object, **options: object) -> object:
        if not met:
            met.append(lock)
            raise outputs.Timeout(lock.lock_file)
        return taken(lock, *args, **options)

    monkeypatch.setattr(outputs.FileLock, "acquire", acquire)
    with outputs.scratch(tmp_path) as folder:
        assert folder.is_dir()
    assert list(tmp_path.iterdir()) == []
