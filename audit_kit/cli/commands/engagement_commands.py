"""Commands that ask one thing of an engagement."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from audit_kit.cli.options import add_out, add_without, counted, moment, opened, print_json
from audit_kit.core.errors import EXIT_DONE
from audit_kit.core.words import Words

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

    from audit_kit.cli.parsing import Parser


def add(command: Callable[..., Parser]) -> None:
    """Add `diagnose`, `backups`, `trace` and `settle` to the command line."""
    for name, run, text, example in (
        ("diagnose", _diagnose, "command.diagnose", "--out findings.xlsx"),
        ("backups", _backups, "command.backups", "--out backups.xlsx"),
    ):
        sub = command(name, run, text, f"{name} engagements/acme {example}")
        sub.add_argument("engagement", type=Path, metavar="metavar.engagement")
        add_without(sub)
        add_out(sub)

    sub = command(
        "trace",
        _trace,
        "command.trace",
        "trace engagements/acme 25112000000012345678",
    )
    sub.add_argument("engagement", type=Path, metavar="metavar.engagement")
    sub.add_argument("number", metavar="metavar.number", help="option.number")
    add_without(sub)
    sub.add_argument("--reveal", action="store_true", help="option.reveal")

    sub = command(
        "settle",
        _settle,
        "command.settle",
        "settle engagements/acme later.xlsx --taken-at 2025-06-10T09:00",
    )
    sub.add_argument("engagement", type=Path, metavar="metavar.engagement")
    sub.add_argument("later", type=Path, metavar="metavar.later")
    sub.add_argument("--predictions", type=Path, metavar="findings.parquet", help="option.predictions")
    add_without(sub)
    sub.add_argument("--taken-at", type=moment, metavar="metavar.time", help="option.later_taken_at")
    sub.add_argument("--out", type=Path, help="option.arrivals_out")


def _diagnose(options: argparse.Namespace) -> int:
    from audit_kit.analysis.work import diagnose
    from audit_kit.report.working_papers import write_findings

    return counted(write_findings(diagnose, opened(options), options.out, lang=options.lang), "cause", options)


def _backups(options: argparse.Namespace) -> int:
    from audit_kit.analysis.work import audit_backups
    from audit_kit.report.working_papers import write_findings

    return counted(write_findings(audit_backups, opened(options), options.out, lang=options.lang), "cause", options)


def _trace(options: argparse.Namespace) -> int:
    from audit_kit.views.trace import tell, trace

    story = trace(opened(options), options.number, lang=options.lang, reveal=options.reveal)
    if options.json:
        print(story.write_json())
    else:
        print(tell(story, lang=options.lang))
    return EXIT_DONE


def _settle(options: argparse.Namespace) -> int:
    from audit_kit.analysis.settle import arrivals, later_moment, settle_engagement
    from audit_kit.report.workbook import write_table

    engagement = opened(options)
    taken_at, is_stated = later_moment(engagement, options.taken_at)
    if not is_stated:
        said = Words(options.lang)("console.later_assumed", moment=f"{taken_at:%Y-%m-%d %H:%M}")
        print(f"audit-kit: {said}", file=sys.stderr)
    settled = settle_engagement(engagement, options.later, predictions=options.predictions, taken_at=taken_at)
    if options.out is not None:
        inputs = [options.later, *(path for some in engagement.sources.values() for one in some for path in one.paths)]
        rows = arrivals(settled, engagement, options.later, taken_at)
        write_table(rows, options.out, table="findings", lang=options.lang, inputs=inputs)
    figures = settled.figures()
    if options.json:
        print_json(figures)
    else:
        words = Words(options.lang)
        print(
            "\n".join(f"{words(f'settled.{name}')}{words('settled.colon')}{value}" for name, value in figures.items())
        )
    return EXIT_DONE
