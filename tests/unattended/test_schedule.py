"""What a scheduler is given is what it then runs, whatever the paths are called."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from lxml import etree

from audit_kit.cli.main import main
from audit_kit.core.errors import EXIT_DONE, EXIT_UNUSABLE, RequestError
from audit_kit.unattended import timetable

if TYPE_CHECKING:
    from pathlib import Path

NAMES = [
    "plain",
    "with space",
    "o'brien",
    'a "b"',
    "100% of 50%",
    "甲公司 2025",
    "$HOME `id` $(id)",
    "a\\b;c&d|e#f",
    "-x",
]
TASK = f"{{{timetable.TASK}}}"
# What the schema of a task names, of the parts that we write.
ELEMENTS = {
    *("Task", "RegistrationInfo", "Description", "Triggers", "CalendarTrigger", "StartBoundary", "ScheduleByMonth"),
    *("DaysOfMonth", "Day", "Months", *timetable.MONTHS, "Principals", "Principal", "LogonType", "RunLevel"),
    *("Settings", "MultipleInstancesPolicy", "DisallowStartIfOnBatteries", "StopIfGoingOnBatteries"),
    *("StartWhenAvailable", "ExecutionTimeLimit", "Actions", "Exec", "Command", "Arguments"),
}


def made(folder: Path, name: str) -> timetable.Schedule:
    (folder / name).mkdir()
    return timetable.schedule(folder / name, out=folder / f"{name} reports", day=5, time="07:05", lang="zh")


def heard(command: str) -> list[str]:
    """The arguments that a shell hands to the program of a line."""
    shell = command.replace(timetable.shlex.quote(sys.executable), "printf '%s\\n'", 1)
    return subprocess.run(["sh", "-c", shell], check=True, capture_output=True, text=True).stdout.splitlines()


@pytest.mark.parametrize("name", NAMES)
def test_cron_hands_every_path_over_as_it_is(tmp_path: Path, name: str) -> None:
    plan = made(tmp_path, name)
    (line,) = timetable.cron(plan).values()
    assert line.count("\n") == 1
    assert re.search(r"(?<!\\)%", line) is None
    minute, hour, day, month, weekday, command = line.rstrip("\n").split(" ", 5)
    assert (minute, hour, day, month, weekday) == ("5", "7", "5", "*", "*")
    assert heard(command.replace(r"\%", "%")) == list(plan.command[1:])


@pytest.mark.parametrize("name", NAMES)
def test_systemd_hands_every_path_over_as_it_is(tmp_path: Path, name: str) -> None:
    plan = made(tmp_path, name)
    files = timetable.systemd(plan)
    service, timer = files[f"{plan.name}.service"], files[f"{plan.name}.timer"]
    (command,) = re.findall(r"^ExecStart=(:?.*)$", service, re.MULTILINE)
    assert command.startswith(":") == any("$" in word for word in plan.command)
    words = [re.sub(r"\\(.)", r"\1", word).replace("%%", "%") for word in re.findall(r'"((?:[^"\\]|\\.)*)"', command)]
    assert words == list(plan.command)
    assert re.search(r"(?<!%)%(?!%)", command.replace("%%", "")) is None
    assert "OnCalendar=*-*-05 07:05:00" in timer
    assert "Persistent=true" in timer


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not on this machine")
@pytest.mark.parametrize("name", NAMES[:7:2])
def test_systemd_takes_them(tmp_path: Path, name: str) -> None:
    plan = made(tmp_path, name)
    assert timetable.checked(timetable.SYSTEMD, timetable.systemd(plan))
    broken = {
        file: text.replace("OnCalendar=*-*-05", "OnCalendar=never") for file, text in timetable.systemd(plan).items()
    }
    with pytest.raises(RequestError, match="systemd-analyze does not take"):
        timetable.checked(timetable.SYSTEMD, broken)


def split(line: str) -> list[str]:
    """The arguments that Windows makes of a line (CommandLineToArgvW)."""
    words, word, quoted, slashes, begun = [], "", False, 0, False
    for sign in [*line, " "]:
        if sign == "\\":
            slashes, begun = slashes + 1, True
            continue
        if sign == '"':
            word += "\\" * (slashes // 2)
            if slashes % 2:
                word += '"'
            else:
                quoted = not quoted
            begun = True
        else:
            word += "\\" * slashes
            if sign == " " and not quoted:
                words += [word] if begun else []
                word, begun = "", False
            else:
                word, begun = word + sign, True
        slashes = 0
    return words


@pytest.mark.parametrize("name", [name for name in NAMES if name.count("%") < 2 and "$(" not in name])
def test_windows_hands_every_path_over_as_it_is(tmp_path: Path, name: str) -> None:
    plan = made(tmp_path, name)
    places = timetable.written(timetable.WINDOWS, timetable.windows(plan), tmp_path)
    data = places[0].read_bytes()
    assert data[:2] in {b"\xff\xfe", b"\xfe\xff"}
    task = etree.fromstring(data)
    assert {etree.QName(node).localname for node in task.iter()} == ELEMENTS
    assert {etree.QName(node).namespace for node in task.iter()} == {timetable.TASK}
    (arguments,) = task.iter(f"{TASK}Arguments")
    (command,) = task.iter(f"{TASK}Command")
    assert [command.text, *split(arguments.text)] == list(plan.command)
    assert timetable.checked(timetable.WINDOWS, timetable.windows(plan))


@pytest.mark.parametrize("name", ["100% of 50%", "$(Arg0)"])
def test_windows_is_given_no_path_that_it_would_replace(tmp_path: Path, name: str) -> None:
    with pytest.raises(RequestError, match="replaces"):
        timetable.windows(made(tmp_path, name))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"day": 31}, "every month has"),
        ({"day": 0}, "every month has"),
        ({"time": "7 Uhr"}, "no time of day"),
        ({"out": "re\nports"}, "no schedule can carry"),
        ({"out": b"\xbc\xd7".decode("utf-8", "surrogateescape")}, "no schedule can carry"),
    ],
)
def test_what_cannot_be_scheduled_is_one_sentence(tmp_path: Path, options: dict, said: str) -> None:
    wanted = {"day": 5, "time": "07:00", "lang": "zh", **options, "out": tmp_path / str(options.get("out", "reports"))}
    with pytest.raises(RequestError, match=said):
        timetable.schedule(tmp_path, **wanted)


def test_a_line_that_cron_would_cut_is_refused(tmp_path: Path) -> None:
    deep = tmp_path
    for part in ("长" * 80, "名" * 80, "字" * 80, "多" * 80):
        deep /= part
    plan = timetable.schedule(tmp_path, out=deep, day=1, time="07:00", lang="zh")
    with pytest.raises(RequestError, match="that cron reads"):
        timetable.cron(plan)
    assert timetable.systemd(plan)


def test_the_command_prints_writes_and_says_how_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("AUDIT_KIT_CACHE", str(tmp_path / "ca che"))
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "甲"
    folder.mkdir()
    assert main(["schedule", str(folder), "--for", "cron", "--fail-on", "high", "--lang", "en"]) == EXIT_DONE
    told = capsys.readouterr()
    words = heard(told.out.rstrip("\n").split(" ", 5)[5].replace(f"env 'AUDIT_KIT_CACHE={tmp_path / 'ca che'}' ", ""))
    assert words[3:] == [
        *("report", str(folder), "--month", "last", "--out", str(tmp_path / "reports"), "--lang", "en"),
        *("--fail-on", "high"),
    ]
    assert "ca che" in told.out
    assert "crontab -e" in told.err
    assert "mails nobody" in told.err
    (folder / "audit.toml").write_text('[notify]\nto = "a@example.com"\nserver = "mail.example.com"\n')
    assert main(["schedule", str(folder), "--for", "systemd", "--write", str(tmp_path), "--json"]) == EXIT_DONE
    about = json.loads(capsys.readouterr().out)
    assert about["command"][-1] == "--notify"
    assert sorted(path.suffix for path in tmp_path.glob("audit-kit-*")) == [".service", ".timer"]
    assert [os.path.basename(place) for place in about["written"]] == list(about["files"])  # noqa: PTH119
    assert main(["schedule", str(folder), "--for", "cron", "--lang", "en"]) == EXIT_DONE
    assert "audit-kit allow" in capsys.readouterr().err
    assert main(["schedule", str(folder), "--write", str(folder)]) == EXIT_UNUSABLE
    assert main(["schedule", str(folder), "--out", str(folder / "reports")]) == EXIT_UNUSABLE
    assert main(["schedule", str(tmp_path / "nowhere")]) == EXIT_UNUSABLE
