"""The command that lets an engagement use hosts and paths outside of its folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from audit_kit.core.errors import EXIT_DONE, EXIT_UNUSABLE
from audit_kit.core.words import Words

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

    from audit_kit.cli.parsing import Parser


def add(command: Callable[..., Parser]) -> None:
    """Add `allow` to the command line."""
    sub = command(
        "allow",
        _allow,
        "command.allow",
        "allow engagements/acme postgresql://auditor@db.example:5432/books",
    )
    sub.add_argument("engagement", type=Path, metavar="metavar.engagement")
    sub.add_argument("place", nargs="*", metavar="metavar.place", help="option.place")


def _allow(options: argparse.Namespace) -> int:
    from audit_kit.loaders.engagement.inputs import allow
    from audit_kit.loaders.engagement.permits import shown

    ways = allow(options.engagement, options.place)
    if options.json:
        listed = [{"table": way.table, "place": way.place, "allowed": allowed} for way, allowed in ways]
        print(json.dumps(listed, ensure_ascii=False, indent=2))
    else:
        words = Words(options.lang)
        said = {True: words("console.allowed"), False: words("console.not_allowed")}
        print("\n".join(f"{said[allowed]:<8} {way.table}: {shown(way.place)}" for way, allowed in ways))
    return EXIT_DONE if all(allowed for _, allowed in ways) else EXIT_UNUSABLE
