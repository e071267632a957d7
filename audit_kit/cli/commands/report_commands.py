"""The month's report, and the lab in which its pages are read and changed."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from audit_kit.cli.options import add_without, print_json
from audit_kit.core.errors import RequestError
from audit_kit.core.words import SEVERITIES

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

    from audit_kit.cli.parsing import Parser
    from audit_kit.report.run import ReportResult


LAST_MONTH = ("last", "上月")


def add(command: Callable[..., Parser]) -> None:
    """Add `report` and `lab` to the command line."""
    sub = command(
        "report",
        _report,
        "command.report",
        "report engagements/acme --month 2025-05 --out reports",
    )
    sub.add_argument("engagement", nargs="?", type=Path, metavar="metavar.engagement", help="option.engagement")
    sub.add_argument("--sample", action="store_true", help="option.sample")
    about = sub.add_mutually_exclusive_group()
    about.add_argument("--month", metavar="metavar.month", help="option.month")
    about.add_argument("--year", metavar="metavar.year", help="option.year")
    about.add_argument("--all", action="store_true", help="option.all")
    sub.add_argument("--out", type=Path, default=Path("reports"), help="option.reports")
    sub.add_argument("--pdf", action="store_true", help="option.pdf")
    sub.add_argument("--redact", action="store_true", help="option.redact")
    sub.add_argument(
        "--papers",
        action="append",
        default=[],
        type=Path,
        metavar="metavar.file",
        help="option.papers",
    )
    sub.add_argument("--binder", action="store_true", help="option.binder")
    sub.add_argument("--inputs-by-hash", action="store_true", help="option.inputs_by_hash")
    sub.add_argument("--fail-on", choices=SEVERITIES, help="option.fail_on")
    sub.add_argument("--jobs", type=int, default=2, help="option.jobs")
    sub.add_argument("--notify", action="store_true", help="unattended.option_notify")
    add_without(sub)

    sub = command(
        "lab",
        _lab,
        "command.lab",
        "lab engagements/acme",
        json_too=False,
    )
    sub.add_argument("engagement", nargs="?", type=Path, metavar="metavar.engagement", help="option.lab_engagement")
    sub.add_argument("--folder", type=Path, help="option.lab_folder")
    sub.add_argument("--port", type=int, help="option.port")
    add_without(sub)
    sub.add_argument("--no-browser", action="store_true", help="option.no_browser")
    sub.add_argument("--terminals", action="store_true", help="option.terminals")


def _report(options: argparse.Namespace) -> int:
    from audit_kit.core.places import sample
    from audit_kit.report.run import run_report

    if options.sample == (options.engagement is not None):
        raise RequestError("error_cli.one_engagement")
    if options.inputs_by_hash and not options.binder:
        raise RequestError("error_binder.without_binder")
    engagement, month = sample() if options.sample else options.engagement, _month(options)

    def make(unnamed: bool = False) -> ReportResult:  # noqa: FBT001, FBT002  the one thing that varies
        return run_report(
            engagement,
            month=month,
            out=options.out,
            lang=options.lang,
            pdf=options.pdf,
            redact=options.redact,
            fail_on=options.fail_on,
            jobs=options.jobs,
            without=options.without,
            papers=options.papers,
            binder=("hashes" if options.inputs_by_hash else "copies") if options.binder else None,
            unnamed=unnamed,
        )

    if options.notify:
        from audit_kit.unattended.watched import watched

        result = watched(engagement, make, month=month, lang=options.lang)
    else:
        result = make()
    page = result.folder / "index.html"
    if options.json:
        told = {"folder": str(result.folder), "page": str(page), "binder": result.binder}
        print_json({**told, "summary": result.summary})
    else:
        print(page.resolve().as_uri())
    return result.exit_code


def _month(options: argparse.Namespace) -> str | None:
    """Return what the report is to be about, as run_report takes it."""
    from audit_kit.analysis.report_scope import EVERYTHING, month_before, scope
    from audit_kit.report.job import now

    if options.year is not None and scope(options.year).kind != "year":
        raise RequestError("error_cli.no_year", year=options.year)
    if options.month in LAST_MONTH:
        return month_before(now())
    return EVERYTHING if options.all else options.year or options.month


def _lab(options: argparse.Namespace) -> int:
    from audit_kit.report.lab import run_lab

    return run_lab(
        options.engagement,
        lang=options.lang,
        folder=options.folder,
        port=options.port,
        browser=not options.no_browser,
        without=options.without,
        terminals=options.terminals,
        say=lambda line: print(line, file=sys.stderr),
    )
