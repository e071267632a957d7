"""Thirty-six months without a person: every report whole, the next run clean, nothing left, no month dearer."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
from collections import Counter
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from audit_kit.analysis.report_scope import month_before
from audit_kit.cli.commands.report_commands import _month
from audit_kit.cli.main import main, parser
from audit_kit.core import outputs
from audit_kit.core.errors import EXIT_DONE, EXIT_UNUSABLE
from audit_kit.report.job import now

if TYPE_CHECKING:
    from collections.abc import Callable

MONTHS = 36


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="each run is a forked child")
def test_36_months_with_kills_a_full_disk_and_two_runs_at_once(tmp_path: Path) -> None:
    command = [sys.executable, str(Path(__file__).with_name("months.py")), str(tmp_path), str(MONTHS)]
    run = subprocess.run(command, check=True, capture_output=True, text=True, timeout=500)
    months = [json.loads(line) for line in run.stdout.splitlines()]
    assert [month["reports"] for month in months] == list(range(1, MONTHS + 1))
    assert [month for month in months if month["broken"] or month["left"] or month["code"]] == []
    faults = Counter(month["fault"] for month in months)
    assert faults == dict.fromkeys(("none", "kill", "full", "term", "twice", "small"), MONTHS // 6)
    met = {fault: [month["disturbed"] for month in months if month["fault"] == fault] for fault in faults}
    assert met["kill"] == [[-9]] * 6
    assert met["term"] == [[143]] * 6
    assert met["twice"] == [[0, 0]] * 6
    assert met["small"] == [[EXIT_UNUSABLE]] * 6
    full = [code for [code] in met["full"]]  # one that is full when all stands in its place ends no report
    assert {EXIT_UNUSABLE} <= set(full) <= {EXIT_UNUSABLE, EXIT_DONE}
    assert {month["said"].count("\n") for month in months} == {0}
    seconds = [month["cpu"] for month in months if not month["whole"]]
    early, late = (statistics.median(part) for part in (seconds[:12], seconds[-12:]))
    assert late < 1.5 * early + 0.1


def test_a_second_run_waits_and_then_refuses_in_one_sentence(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    write_month: Callable[..., Path],
) -> None:
    monkeypatch.setenv("AUDIT_KIT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(outputs, "WAIT_SECONDS", 0.2)
    write_month(tmp_path / "项目", "2025-05")
    out = tmp_path / "reports"
    out.mkdir()
    with outputs.alone(out):
        assert main(["report", str(tmp_path / "项目"), "--out", str(out), "--lang", "en"]) == EXIT_UNUSABLE
    said = capsys.readouterr().err.strip().splitlines()
    assert "is still being written by process" in said[-1]
    assert list(out.iterdir()) == []


def test_the_calendar_month_before_is_last() -> None:
    assert (_month(parser().parse_args(["report", "x", "--month", "last"])) or "") < f"{now():%Y-%m}"
    told = [month_before(datetime(2025, month, day)) for month, day in ((1, 1), (3, 31), (12, 31))]
    assert told == ["2024-12", "2025-02", "2025-11"]
