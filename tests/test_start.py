"""The start scripts set up once, and open the lab."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

HOUSE = Path(__file__).parents[1]
# Stands for the Python of .venv and for the lab: notes what it was asked, `pip` and the lab succeed.
NOTES = '#!/bin/sh\necho "$(basename "$0") $*" >> "$NOTED"\nexit ${FAILS:-0}\n'


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A clone, its path with a space in it, with a `.venv` that only notes what it is asked."""
    place = tmp_path / "a clone"
    (place / ".venv" / "bin").mkdir(parents=True)
    for name in ("start.py", "start.sh", "start.command", "pyproject.toml", "constraints.txt"):
        shutil.copy2(HOUSE / name, place / name)
    for name in ("python", "audit-kit"):
        (place / ".venv" / "bin" / name).write_text(NOTES)
        (place / ".venv" / "bin" / name).chmod(0o755)
    return place


def started(clone: Path, *arguments: str, script: str = "start.sh", **more: str) -> tuple[int, list[str], str]:
    """Return the exit code, what was asked in order, and what was said."""
    noted = clone.parent / "noted"
    noted.write_text("")
    environment = {**os.environ, "NOTED": str(noted), **more}
    done = subprocess.run(
        [clone / script, *arguments], check=False, cwd=clone.parent, env=environment, capture_output=True
    )
    return done.returncode, noted.read_text().splitlines(), done.stderr.decode()


def test_it_installs_once_and_opens_the_lab(clone: Path) -> None:
    code, asked, said = started(clone, "engagements/甲 公司", "--no-browser")
    assert code == 0
    assert "正在安装" in said
    assert "--constraint" in asked[0]
    assert asked[0].endswith(f"--editable {clone}")
    assert asked[1:] == ["audit-kit lab engagements/甲 公司 --no-browser"]
    assert started(clone, script="start.command") == (0, ["audit-kit lab"], "")
    os.utime(clone / "constraints.txt", (2**33, 2**33))
    assert len(started(clone)[1]) == 2


def test_wheels_beside_it_need_no_network(clone: Path) -> None:
    (clone / "wheels").mkdir()
    code, asked, _ = started(clone)
    assert code == 0
    assert asked[0].endswith(f"install --no-index --find-links {clone / 'wheels'} audit-kit")


def test_what_failed_is_tried_again(clone: Path) -> None:
    code, asked, said = started(clone, FAILS="3")
    assert code == 3
    assert len(asked) == 1
    assert "README.zh-CN.md" in said
    assert "README.md" in said
    assert [line.split()[0] for line in started(clone)[1]] == ["python", "audit-kit"]


@pytest.mark.slow
def test_the_environment_is_made_where_it_is_missing(clone: Path) -> None:
    shutil.rmtree(clone / ".venv")
    (clone / "wheels").mkdir()
    code, _, said = started(clone)
    assert code == 1  # the wheels are none, and the environment is there
    assert "Not installed" in said
    assert (clone / ".venv" / "bin" / "python").exists()


def test_without_a_python_it_says_what_to_install(clone: Path) -> None:
    tools = clone.parent / "tools"
    tools.mkdir()
    for name in ("sh", "dirname"):
        (tools / name).symlink_to(shutil.which(name) or "")
    code, asked, said = started(clone, PATH=str(tools))
    assert (code, asked) == (2, [])
    assert "Python 3.11" in said


def test_the_script_for_windows_is_one_that_windows_reads() -> None:
    whole = (HOUSE / "start.cmd").read_bytes()
    lines = whole.decode("ascii").split("\r\n")
    assert whole.count(b"\n") == whole.count(b"\r\n") == len(lines) - 1
    assert lines[0] == "@echo off"
    assert '%FOUND% "%~dp0start.py" %*' in lines
    assert sum(line.count("(") - line.count(")") for line in lines) == 0
    attributes = subprocess.run(
        ["git", "check-attr", "eol", "start.cmd", "start.sh", "start.command"],
        cwd=HOUSE, check=True, capture_output=True, text=True,
    ).stdout  # fmt: skip
    assert attributes.split("\n")[:3] == ["start.cmd: eol: crlf", "start.sh: eol: lf", "start.command: eol: lf"]
    for name in ("start.sh", "start.command"):
        assert b"\r" not in (HOUSE / name).read_bytes()


def test_the_floor_is_that_of_the_package() -> None:
    assert 'requires-python = ">=3.11"' in (HOUSE / "pyproject.toml").read_text(encoding="utf-8")
    assert "OLDEST = (3, 11)" in (HOUSE / "start.py").read_text(encoding="utf-8")
    assert all("(3, 11)" in (HOUSE / f"start.{ending}").read_text(encoding="utf-8") for ending in ("sh", "cmd"))
