"""What leaves the house on paper: a problem report for whoever can mend it, and the emergency plan."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from audit_kit.cli.options import add_without, opened, print_json
from audit_kit.core.errors import EXIT_DONE
from audit_kit.core.files import shown

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

    from audit_kit.cli.parsing import Parser

RECIPIENTS = ("support", "it", "management", "tax_bureau")


def add(command: Callable[..., Parser]) -> None:
    """Add `package` and `plan` to the command line."""
    sub = command(
        "package",
        _package,
        "command.package",
        "package engagements/acme --cause upload_failed --to support --out 情况说明",
    )
    sub.add_argument("engagement", type=Path, metavar="metavar.engagement")
    about = sub.add_mutually_exclusive_group(required=True)
    about.add_argument("--finding", metavar="ID", help="option.finding")
    about.add_argument("--cause", metavar="metavar.cause", help="option.cause")
    sub.add_argument("--to", choices=RECIPIENTS, required=True, help="option.to")
    sub.add_argument("--out", type=Path, required=True, metavar="metavar.dir", help="option.package_out")
    add_without(sub)

    sub = command(
        "plan",
        _plan,
        "command.plan",
        "plan engagements/acme --out 应急预案",
    )
    sub.add_argument("engagement", type=Path, metavar="metavar.engagement")
    sub.add_argument("--month", metavar="metavar.month", help="option.exercise_month")
    sub.add_argument("--out", type=Path, required=True, metavar="metavar.dir", help="option.plan_out")
    add_without(sub)


def _package(options: argparse.Namespace) -> int:
    from audit_kit.paper.package import notes, package

    made = package(
        opened(options),
        options.out,
        to=options.to,
        finding=options.finding,
        cause=options.cause,
        lang=options.lang,
    )
    for line in notes(made, options.lang):
        print(f"audit-kit: {line}", file=sys.stderr)
    if options.json:
        told = {"out": str(made.folder), "files": made.files, "findings": made.findings, "reference": made.reference}
        print_json(told | {"no_pdf": made.no_pdf})
    else:
        print("\n".join(shown(str(made.folder / name)) for name in made.files))
    return EXIT_DONE


def _plan(options: argparse.Namespace) -> int:
    from audit_kit.core.words import Words
    from audit_kit.paper.plan_paper import write_plan

    made = write_plan(opened(options), options.out, month=options.month, lang=options.lang)
    if options.json:
        print_json({"out": str(made.folder), "files": made.files, "gaps": made.gaps, "month": made.month})
        return EXIT_DONE
    words, folder = Words(options.lang), shown(str(made.folder))
    print(words("plan_written.done", folder=folder, gaps=len(made.gaps), month=made.month))
    print("\n".join(f"  {gap}" for gap in made.gaps))
    return EXIT_DONE
