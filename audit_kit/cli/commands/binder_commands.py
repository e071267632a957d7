"""Whether a binder was changed, and its report made again."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from audit_kit.cli.options import print_json
from audit_kit.core.errors import EXIT_DONE, EXIT_FINDINGS
from audit_kit.core.files import shown
from audit_kit.core.words import Words

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

    from audit_kit.cli.parsing import Parser
    from audit_kit.report.binder.checking import Checked
    from audit_kit.report.binder.rerun import Rerun

MOST_NAMED = 5


def add(command: Callable[..., Parser]) -> None:
    """Add `verify` and `rerun` to the command line."""
    sub = command("verify", _verify, "command.verify", "verify reports/2025-05/binder.zip")
    _add_places(sub)
    sub.add_argument("--head", help="option.head")

    sub = command("rerun", _rerun, "command.rerun", "rerun reports/2025-05/binder.zip")
    _add_places(sub)
    sub.add_argument("--jobs", type=int, default=2, help="option.jobs")


def _add_places(sub: Parser) -> None:
    sub.add_argument("binder", type=Path, metavar="metavar.binder", help="option.binder_file")
    sub.add_argument("engagement", nargs="?", type=Path, metavar="metavar.engagement", help="option.binder_engagement")


def _verify(options: argparse.Namespace) -> int:
    from audit_kit.report.binder.checking import verify

    checked = verify(options.binder, head=options.head, engagement=options.engagement)
    if options.json:
        print_json(
            {
                "binder": str(checked.path),
                "intact": checked.is_intact,
                "head": checked.head,
                "head_from": checked.head_from,
                "members": len(checked.members),
                "bytes": checked.size,
                "faults": [fault.said() for fault in checked.faults],
            }
        )
    else:
        print("\n".join(_told(checked, Words(options.lang))))
    return EXIT_DONE if checked.is_intact else EXIT_FINDINGS


def _told(checked: Checked, words: Words) -> list[str]:
    file = shown(str(checked.path))
    if not checked.is_intact:
        return [words("binder.not_intact", file=file), *(f"  {shown(one.said(words.lang))}" for one in checked.faults)]
    figures = {"members": words.count(len(checked.members)), "size": words.count(checked.size)}
    return [
        words("binder.intact", file=file, **figures),
        words("binder.head_is", head=checked.head),
        words(f"binder.head_{checked.head_from or 'none'}"),
    ]


def _rerun(options: argparse.Namespace) -> int:
    from audit_kit.report.binder.rerun import rerun

    made = rerun(options.binder, options.engagement, jobs=options.jobs)
    if options.json:
        print_json({"same": made.is_same, **vars(made)})
    else:
        print("\n".join(_compared(made, Words(options.lang))))
    return EXIT_DONE if made.is_same else EXIT_FINDINGS


def _compared(made: Rerun, words: Words) -> list[str]:
    count, then = words.count, words.count(made.findings)
    if made.changed:
        figures = {"now": count(made.findings_now), "changed": count(len(made.changed)), "first": made.changed[0]}
        lines = [words("binder.other", findings=then, **figures)]
    else:
        lines = [words("binder.same", findings=then)]
    if made.files:
        named = words("answer.comma").join(map(shown, made.files[:MOST_NAMED]))
        lines.append(words("binder.other_bytes", all=made.files_in_all, files=len(made.files), list=named))
    else:
        lines.append(words("binder.same_bytes", files=made.files_in_all))
    return lines + ([words("binder.other_kit", kit=made.kit)] if made.kit else [])
