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

RECIPIENTS = ("support", "it", "management", "tax_bureau")


def add(command: Callable[..., argparse.ArgumentParser]) -> None:
    """Add `package` and `plan` to the command line."""
    sub = command(
        "package",
        _package,
        "Write a problem report for its recipient: letter, workbook, proofs by their hashes.",
        "package engagements/acme --cause upload_failed --to support --out 情况说明",
    )
    sub.add_argument("engagement", type=Path)
    about = sub.add_mutually_exclusive_group(required=True)
    about.add_argument("--finding", metavar="ID", help="one finding, by its id in findings.xlsx")
    about.add_argument("--cause", metavar="CAUSE", help="all findings of a cause, by its code or title")
    sub.add_argument(
        "--to", choices=RECIPIENTS, required=True, help="who gets it: decides what is shown and what is not"
    )
    sub.add_argument("--out", type=Path, required=True, metavar="DIR", help="a new folder, or an earlier package")
    add_without(sub)

    sub = command(
        "plan",
        _plan,
        "Write the emergency plan, its gaps marked, and an exercise from a past month.",
        "plan engagements/acme --out 应急预案",
    )
    sub.add_argument("engagement", type=Path)
    sub.add_argument("--month", metavar="YYYY-MM", help="of the exercise (default: the one with most missing invoices)")
    sub.add_argument("--out", type=Path, required=True, metavar="DIR", help="a new folder, or an earlier plan")
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
