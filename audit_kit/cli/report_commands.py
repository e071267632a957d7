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


def add(command: Callable[..., argparse.ArgumentParser]) -> None:
    """Add `report` and `lab` to the command line."""
    sub = command(
        "report",
        _report,
        "Write a month's report: HTML pages, findings.xlsx, manifest.",
        "report engagements/acme --month 2025-05 --out reports",
    )
    sub.add_argument("engagement", nargs="?", type=Path, help="folder with the audit.toml, or with the files alone")
    sub.add_argument("--sample", action="store_true", help="report on the sample engagement that comes with the kit")
    about = sub.add_mutually_exclusive_group()
    about.add_argument(
        "--month", metavar="YYYY-MM", help="default: the latest month in the ledger, lonely dates left out"
    )
    about.add_argument("--year", metavar="YYYY", help="a whole year in one report")
    about.add_argument("--all", action="store_true", help="everything in one report")
    sub.add_argument("--out", type=Path, default=Path("reports"), help="where reports are kept (default: reports)")
    sub.add_argument("--pdf", action="store_true", help="also print every page as PDF (needs Chromium, Chrome or Edge)")
    sub.add_argument("--redact", action="store_true", help="mask names and tax ids, to send the report outside")
    sub.add_argument(
        "--papers",
        action="append",
        default=[],
        type=Path,
        metavar="FILE",
        help="a findings.xlsx that was filled in elsewhere; what stands in the reports' own is kept anyway",
    )
    sub.add_argument("--fail-on", choices=SEVERITIES, help="exit 1 if a finding is at least this severe")
    sub.add_argument("--jobs", type=int, default=2, help="notebooks run at the same time (default: 2)")
    add_without(sub)

    sub = command(
        "lab",
        _lab,
        "Open JupyterLab on the notebooks, your engagement set.",
        "lab engagements/acme",
        json_too=False,
    )
    sub.add_argument("engagement", nargs="?", type=Path, help="default: the sample engagement")
    sub.add_argument("--folder", type=Path, help="where your copies of the notebooks are kept")
    sub.add_argument("--port", type=int, help="default: the first free one from 8888")
    add_without(sub)
    sub.add_argument("--no-browser", action="store_true", help="print the address, open nothing")
    sub.add_argument("--terminals", action="store_true", help="let JupyterLab open terminals")


def _report(options: argparse.Namespace) -> int:
    from audit_kit.core.places import sample
    from audit_kit.report.run import run_report

    if options.sample == (options.engagement is not None):
        raise RequestError("error_cli.one_engagement")
    result = run_report(
        sample() if options.sample else options.engagement,
        month=_month(options),
        out=options.out,
        lang=options.lang,
        pdf=options.pdf,
        redact=options.redact,
        fail_on=options.fail_on,
        jobs=options.jobs,
        without=options.without,
        papers=options.papers,
    )
    page = result.folder / "index.html"
    if options.json:
        print_json({"folder": str(result.folder), "page": str(page), "summary": result.summary})
    else:
        print(page.resolve().as_uri())
    return result.exit_code


def _month(options: argparse.Namespace) -> str | None:
    """Return what the report is to be about, as run_report takes it."""
    from audit_kit.analysis.report_scope import EVERYTHING, scope

    if options.year is not None and scope(options.year).kind != "year":
        raise RequestError(f"{options.year!r} is no year; write it as 2024.")
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
