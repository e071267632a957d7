"""What is kept on this machine, and how an engagement is forgotten."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from audit_kit.cli.options import print_json
from audit_kit.core.errors import EXIT_DONE, EXIT_UNUSABLE, RequestError
from audit_kit.core.files import shown
from audit_kit.core.words import Words

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Sequence

    from audit_kit.cli.parsing import Parser
    from audit_kit.privacy.forgetting import Found

YES = ("y", "yes", "是")
MOST_LISTED = 40


def add(command: Callable[..., Parser]) -> None:
    """Add `privacy` and `forget` to the command line."""
    command(
        "privacy",
        _privacy,
        "privacy.about",
        "privacy",
    )
    sub = command(
        "forget",
        _forget,
        "privacy.forget",
        "forget engagements/acme --dry-run",
    )
    sub.add_argument("engagement", type=Path, metavar="metavar.engagement", help="privacy.option_engagement")
    sub.add_argument("--keys", action="store_true", help="privacy.option_keys")
    sub.add_argument("--dry-run", action="store_true", help="privacy.option_dry_run")
    sub.add_argument("--yes", action="store_true", help="privacy.option_yes")


def _privacy(options: argparse.Namespace) -> int:
    from audit_kit.privacy.places_kept import kept

    words, found = Words(options.lang), kept()
    if options.json:
        told = [
            {"kind": one.kind, "place": one.place and str(one.place), "count": one.count, "bytes": one.size}
            | {part: words(f"kept_{part}.{one.kind}") for part in ("what", "how_long", "removed_by")}
            for one in found
        ]
        print_json(told)
        return EXIT_DONE
    for one in found:
        place = shown(str(one.place)) if one.place else words(f"kept_where.{one.kind}")
        count = "" if one.count is None else words("privacy.count", count=words.count(one.count), size=_size(one.size))
        print(words("privacy.head", what=words(f"kept_what.{one.kind}"), count=count))
        print(f"  {words('privacy.where')}{place}")
        print(f"  {words('privacy.how_long')}{words(f'kept_how_long.{one.kind}')}")
        print(f"  {words('privacy.removed_by')}{words(f'kept_removed_by.{one.kind}')}")
    return EXIT_DONE


def _forget(options: argparse.Namespace) -> int:
    from audit_kit.privacy.forgetting import forget, found

    words = Words(options.lang)
    listed = found(options.engagement, keys=options.keys)
    ours = [one for one in listed if not one.stays]
    if not options.json:
        print("\n".join(_lines(listed, words)))
        if not options.keys and any(one.kind == "keys" for one in found(options.engagement, keys=True)):
            print(words("privacy.key_stays"))
    if options.dry_run or not ours:
        return _told(options, listed, removed=0, held=[])
    if not options.yes and not _is_confirmed(words):
        return _told(options, listed, removed=0, held=[])
    held = forget(options.engagement, listed)
    code = _told(options, listed, removed=len(ours) - len(held), held=held)
    return EXIT_UNUSABLE if held else code


def _lines(listed: Sequence[Found], words: Words) -> list[str]:
    ours, theirs = [one for one in listed if not one.stays], [one for one in listed if one.stays]
    if not ours:
        return [words("privacy.nothing")]
    lines = [words("privacy.listed", count=words.count(len(ours)))]
    for group, key in ((ours, "privacy.line"), (theirs, "privacy.line_stays")):
        lines += [
            words(key, kind=words(f"kept_what.{one.kind}"), path=shown(str(one.path)), size=_size(one.size))
            for one in group[:MOST_LISTED]
        ]
        lines += [f"  … +{len(group) - MOST_LISTED:,}"] if len(group) > MOST_LISTED else []
    return lines


def _is_confirmed(words: Words) -> bool:
    """Ask a person at the terminal.

    Raises:
        RequestError: nobody is there.
    """
    if not (sys.stdin and sys.stdin.isatty()):
        raise RequestError("error_privacy.no_answer")
    print(words("privacy.ask"), end=" ", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().casefold() in YES


def _told(options: argparse.Namespace, listed: Sequence[Found], *, removed: int, held: Sequence[Found]) -> int:
    words = Words(options.lang)
    if options.json:
        print_json(
            {
                "found": [
                    {"kind": one.kind, "path": str(one.path), "bytes": one.size, "stays": one.stays} for one in listed
                ],
                "removed": removed,
                "held": [str(one.path) for one in held],
            }
        )
    elif removed or held:
        print(words("privacy.removed", count=words.count(removed)))
        if held:
            print(words("privacy.held", count=words.count(len(held))))
    elif listed:
        print(words("privacy.none_removed"))
    return EXIT_DONE


def _size(size: int | None) -> str:
    return "" if size is None else f"{size / 1e6:,.1f} MB"
