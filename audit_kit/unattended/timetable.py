"""The line or file by which cron, systemd or Windows makes a report every month, whatever its paths are called."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from cronsim import CronSim, CronSimError
from lxml import etree

from audit_kit.core import outputs, processes
from audit_kit.core.errors import RequestError
from audit_kit.core.files import shown_path
from audit_kit.unattended.told import job

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

CRON, SYSTEMD, WINDOWS = KINDS = ("cron", "systemd", "windows")
LAST_DAY = 28  # every month has it
LONGEST_LINE = 998  # of a crontab, in bytes
MONTHS = (
    *("January", "February", "March", "April", "May", "June"),
    *("July", "August", "September", "October", "November", "December"),
)
CARRIED = ("AUDIT_KIT_CACHE", "AUDIT_KIT_CONFIG")  # where things lie: a scheduler starts with no environment of ours
TASK = "http://schemas.microsoft.com/windows/2004/02/mit/task"
CHECK_SECONDS = 60


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """A report to be made on a day of every month, `time` as 07:00; `arguments` are those of `audit-kit`."""

    name: str
    day: int
    time: str
    arguments: tuple[str, ...]
    environment: tuple[tuple[str, str], ...] = ()

    @property
    def command(self) -> tuple[str, ...]:
        """The program with its arguments; nothing in the folder it is started in is run."""
        return (*processes.python("-m", "audit_kit"), *self.arguments)


def schedule(engagement: Path, *, out: Path, day: int, time: str, lang: str, more: Sequence[str] = ()) -> Schedule:
    """Return the schedule of an engagement's reports, every path whole.

    Args:
        engagement: the engagement's folder.
        out: the folder of its reports.
        day: of the month, 1 to 28.
        time: of day on the machine's clock, as 07:00.
        lang: `zh` or `en`.
        more: further options of `audit-kit report`.

    Raises:
        RequestError: such a day, time or path cannot be scheduled.
    """
    if not 1 <= day <= LAST_DAY:
        raise RequestError("error_schedule.day", day=day, last=LAST_DAY)
    try:
        clock = datetime.strptime(time, "%H:%M")  # noqa: DTZ007  a time of day
    except ValueError:
        raise RequestError("error_schedule.time", time=time) from None
    whole, reports = engagement.resolve(), out.resolve()
    carried = tuple((name, os.path.abspath(os.environ[name])) for name in CARRIED if os.environ.get(name))  # noqa: PTH100
    for path in (whole, reports, Path(sys.executable), *(Path(place) for _, place in carried)):
        if not str(path).isprintable() or shown_path(str(path)) != path.as_posix():
            raise RequestError("error_schedule.odd_path", path=repr(str(path)))
    arguments = ("report", str(whole), "--month", "last", "--out", str(reports), "--lang", lang, *more)
    return Schedule(name=job(whole), day=day, time=f"{clock:%H:%M}", arguments=arguments, environment=carried)


def cron(made: Schedule) -> dict[str, str]:
    """Return the line of a crontab; cron takes a bare % for a line break.

    Raises:
        RequestError: cron would cut it off.
    """
    hour, minute = map(int, made.time.split(":"))
    set_ = [f"{name}={place}" for name, place in made.environment]
    command = shlex.join([*(["env", *set_] if set_ else []), *made.command]).replace("%", r"\%")
    line = f"{minute} {hour} {made.day} * * {command}\n"
    if len(os.fsencode(line)) > LONGEST_LINE:
        raise RequestError("error_schedule.long_line", most=LONGEST_LINE)
    return {f"{made.name}.cron": line}


def systemd(made: Schedule) -> dict[str, str]:
    """Return the service and its timer; a run that the machine slept through is made up for."""
    # A variable is put in for a bare $; a colon before the command forbids that, and systemd knows it from 244 on.
    colon = ":" if any("$" in word for word in made.command) else ""
    places = "".join(f"Environment={_quoted(f'{name}={place}')}\n" for name, place in made.environment)
    service = (
        f"[Unit]\nDescription=audit-kit report ({made.name})\n\n[Service]\nType=oneshot\n{places}"
        f"ExecStart={colon}{' '.join(map(_quoted, made.command))}\n"
    )
    timer = (
        f"[Unit]\nDescription=audit-kit report ({made.name})\n\n[Timer]\nOnCalendar=*-*-{made.day:02d} {made.time}:00\n"
        "Persistent=true\n\n[Install]\nWantedBy=timers.target\n"
    )
    return {f"{made.name}.service": service, f"{made.name}.timer": timer}


def _quoted(word: str) -> str:
    escaped = word.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")
    return f'"{escaped}"'


def windows(made: Schedule) -> dict[str, str]:
    """Return the task for `schtasks /create /xml`.

    Raises:
        RequestError: a path holds what the task scheduler would replace.
    """
    if any(word.count("%") > 1 or "$(" in word for word in made.command):
        raise RequestError("error_schedule.replaced")
    task = etree.Element(f"{{{TASK}}}Task", nsmap={None: TASK}, version="1.2")
    _add(task, "RegistrationInfo/Description", f"audit-kit report ({made.name})")
    trigger = _add(task, "Triggers/CalendarTrigger")
    _add(trigger, "StartBoundary", f"{datetime.now():%Y-%m-01}T{made.time}:00")  # noqa: DTZ005  the machine's clock
    monthly = _add(trigger, "ScheduleByMonth")
    _add(monthly, "DaysOfMonth/Day", str(made.day))
    months = _add(monthly, "Months")
    for month in MONTHS:
        _add(months, month)
    principal = _add(task, "Principals/Principal", id="Author")
    _add(principal, "LogonType", "InteractiveToken")
    _add(principal, "RunLevel", "LeastPrivilege")
    settings = _add(task, "Settings")
    for name, value in {
        "MultipleInstancesPolicy": "IgnoreNew",
        "DisallowStartIfOnBatteries": "false",
        "StopIfGoingOnBatteries": "false",
        "StartWhenAvailable": "true",
        "ExecutionTimeLimit": "P1D",
    }.items():
        _add(settings, name, value)
    action = _add(task, "Actions/Exec")
    action.getparent().set("Context", "Author")
    _add(action, "Command", made.command[0])
    _add(action, "Arguments", subprocess.list2cmdline(made.command[1:]))
    etree.indent(task)
    head = '<?xml version="1.0" encoding="UTF-16"?>\n'
    return {f"{made.name}.xml": head + etree.tostring(task, encoding="unicode") + "\n"}


def _add(parent: etree._Element, path: str, text: str | None = None, **attributes: str) -> etree._Element:
    for name in path.split("/"):
        parent = etree.SubElement(parent, f"{{{TASK}}}{name}")
    parent.text = text
    for name, value in attributes.items():
        parent.set(name, value)
    return parent


MAKERS: dict[str, Callable[[Schedule], dict[str, str]]] = {CRON: cron, SYSTEMD: systemd, WINDOWS: windows}


def checked(kind: str, files: dict[str, str]) -> bool:
    """Say whether the tool that will read the files takes them; false = it is not on hand.

    Raises:
        RequestError: it does not.
    """
    if kind == CRON:
        (line,) = files.values()
        try:
            CronSim(" ".join(line.split(" ", 5)[:5]), datetime(2025, 1, 1))  # noqa: DTZ001  any moment will do
        except CronSimError as error:
            raise RequestError("error_schedule.refused", tool="cron", why=error) from error
        return True
    if kind == WINDOWS:
        (text,) = files.values()
        etree.fromstring(text.encode("utf-16"))
        return True
    tool = shutil.which("systemd-analyze")
    return tool is not None and _verified(tool, files)


def _verified(tool: str, files: dict[str, str]) -> bool:
    with outputs.scratch() as folder:
        for name, text in files.items():
            (folder / name).write_text(text, encoding="utf-8")
        (timer,) = (folder / name for name in files if name.endswith(".timer"))
        command = [tool, "verify", "--man=no", str(timer)]
        try:
            done = subprocess.run(  # noqa: S603  the system's own tool on our files
                command, capture_output=True, text=True, errors="replace", timeout=CHECK_SECONDS, check=False
            )
        except (OSError, subprocess.TimeoutExpired):
            return False
        found = [line for line in done.stderr.splitlines() if any(name in line for name in files)]
    if done.returncode and found:
        raise RequestError("error_schedule.refused", tool="systemd-analyze", why=found[0])
    return not done.returncode


def written(kind: str, files: dict[str, str], folder: Path) -> list[Path]:
    """Write the files into a folder, each whole or not at all; return where they are.

    Raises:
        RequestError, PlaceError: see `outputs.check`.
    """
    places = []
    for name, text in files.items():
        encoding = "utf-16" if kind == WINDOWS else "utf-8"
        with outputs.writing(folder / name) as made:
            made.write_text(text, encoding=encoding, newline="\r\n" if kind == WINDOWS else "\n")
        places.append(folder / name)
    return places
