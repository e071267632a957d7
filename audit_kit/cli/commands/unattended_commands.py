"""Reports made by the machine: when they run, and the mail about them."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from audit_kit.cli.options import print_json
from audit_kit.core.errors import EXIT_DONE
from audit_kit.core.files import shown
from audit_kit.core.words import SEVERITIES, Words

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

    from audit_kit.cli.parsing import Parser

KINDS = ("cron", "systemd", "windows")


def add(command: Callable[..., Parser]) -> None:
    """Add `schedule` and `notify` to the command line."""
    sub = command(
        "schedule",
        _schedule,
        "unattended.schedule",
        "schedule engagements/acme --out reports --day 5 --for systemd",
    )
    sub.add_argument("engagement", type=Path, metavar="metavar.engagement")
    default = "windows" if sys.platform == "win32" else "cron"
    sub.add_argument("--for", dest="kind", choices=KINDS, default=default, help="unattended.option_for")
    sub.add_argument("--out", type=Path, default=Path("reports"), help="option.reports", metavar="metavar.folder")
    sub.add_argument("--day", type=int, default=5, help="unattended.option_day", metavar="unattended.metavar_day")
    sub.add_argument("--time", default="07:00", help="unattended.option_time", metavar="unattended.metavar_time")
    sub.add_argument("--fail-on", choices=SEVERITIES, help="option.fail_on")
    sub.add_argument("--redact", action="store_true", help="option.redact")
    sub.add_argument("--pdf", action="store_true", help="option.pdf")
    sub.add_argument("--write", type=Path, help="unattended.option_write", metavar="metavar.folder")

    sub = command(
        "notify",
        _notify,
        "unattended.notify",
        "notify engagements/acme",
    )
    sub.add_argument("engagement", type=Path, metavar="metavar.engagement")


def _schedule(options: argparse.Namespace) -> int:
    from audit_kit.core.errors import EngagementError, RequestError
    from audit_kit.loaders.engagement.inputs import settings_of
    from audit_kit.unattended import timetable, watched

    if not options.engagement.is_dir():
        raise EngagementError("error_engagement.no_folder", folder=options.engagement)
    settings = settings_of(options.engagement)
    if settings.sources is None and options.out.resolve().is_relative_to(options.engagement.resolve()):
        raise RequestError("error_report.inside", out=options.out)
    notify = settings.notify
    is_told = bool(notify.to and notify.server)
    more = ["--notify"] if is_told else []
    more += [*(["--fail-on", options.fail_on] if options.fail_on else []), *(["--redact"] if options.redact else [])]
    made = timetable.schedule(
        options.engagement,
        out=options.out,
        day=options.day,
        time=options.time,
        lang=options.lang,
        more=[*more, *(["--pdf"] if options.pdf else [])],
    )
    if options.write is not None and options.write.resolve().is_relative_to(options.engagement.resolve()):
        raise RequestError("error_schedule.inside", folder=options.write)
    files = timetable.MAKERS[options.kind](made)
    is_checked = timetable.checked(options.kind, files)
    places = timetable.written(options.kind, files, options.write) if options.write is not None else []
    if options.json:
        about = {"name": made.name, "for": options.kind, "command": list(made.command), "checked": is_checked}
        print_json(about | {"files": files, "written": [str(place) for place in places]})
        return EXIT_DONE
    if not places:
        print("\n".join(text if len(files) == 1 else f"# {name}\n{text}" for name, text in files.items()), end="")
    words = Words(options.lang)
    said = [words("unattended.written", file=shown(str(place))) for place in places]
    folder = shlex.quote(str(options.write or "."))
    said += [words(f"unattended.install_{options.kind}", name=made.name, folder=folder)]
    said += [words(f"unattended.checked_{options.kind}") if is_checked else words("unattended.not_checked")]
    said += [words("unattended.mails", who=", ".join(notify.to)) if is_told else words("unattended.no_mail")]
    if is_told and (allow := watched.command_to_allow(*watched.prepared(options.engagement))):
        said.append(words("unattended.allow", command=allow))
    print("\n".join(said), file=sys.stderr)
    return EXIT_DONE


def _notify(options: argparse.Namespace) -> int:
    from audit_kit.unattended.watched import prepared, try_out

    server = prepared(options.engagement)[1].notify.server
    who = try_out(options.engagement, lang=options.lang)
    if options.json:
        print_json({"server": server, "to": list(who)})
    else:
        print(Words(options.lang)("mail.sent", server=server, who=", ".join(who)))
    return EXIT_DONE
