"""Commands of this machine: what an engagement may use outside of its folder, and what is kept of analyses."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from audit_kit.cli.options import print_json
from audit_kit.core.errors import EXIT_DONE, EXIT_UNUSABLE
from audit_kit.core.words import Words

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

    from audit_kit.cli.parsing import Parser


def add(command: Callable[..., Parser]) -> None:
    """Add `allow` and `cache` to the command line."""
    sub = command(
        "allow",
        _allow,
        "command.allow",
        "allow engagements/acme postgresql://auditor@db.example:5432/books",
    )
    sub.add_argument("engagement", type=Path, metavar="metavar.engagement")
    sub.add_argument("place", nargs="*", metavar="metavar.place", help="option.place")

    sub = command(
        "cache",
        _cache,
        "command.cache",
        "cache clear",
    )
    sub.add_argument("step", nargs="?", choices=("show", "clear"), default="show", help="option.cache_step")


def _allow(options: argparse.Namespace) -> int:
    from audit_kit.loaders.engagement.inputs import allow
    from audit_kit.loaders.engagement.permits import shown

    ways = allow(options.engagement, options.place)
    if options.json:
        listed = [{"table": way.table, "place": way.place, "allowed": allowed} for way, allowed in ways]
        print_json(listed)
    else:
        words = Words(options.lang)
        said = {True: words("console.allowed"), False: words("console.not_allowed")}
        print("\n".join(f"{said[allowed]:<8} {way.table}: {shown(way.place)}" for way, allowed in ways))
    return EXIT_DONE if all(allowed for _, allowed in ways) else EXIT_UNUSABLE


def _cache(options: argparse.Namespace) -> int:
    from audit_kit.core.cache_folder import cache_folder, contents, empty

    words, folder = Words(options.lang), cache_folder()
    kept = contents(folder)
    held = empty(folder) if options.step == "clear" else []
    times = sorted(datetime.fromtimestamp(entry.used_at).isoformat(" ", "minutes") for entry in kept)  # noqa: DTZ006
    size = sum(entry.size for entry in kept)
    oldest, newest = (times[0], times[-1]) if times else (None, None)
    if options.json:
        figures = {"files": len(kept), "bytes": size, "oldest_used": oldest, "last_used": newest, "held": len(held)}
        print_json({"folder": str(folder), "step": options.step, **figures})
    else:
        said = {"count": words.count(len(kept)), "size": f"{size / 1e6:,.1f} MB"}
        key = "cache_cleared" if options.step == "clear" else "cache_kept" if kept else "cache_empty"
        print(words("console.cache_folder", folder=folder))
        print(words(f"console.{key}", **said, oldest=oldest, newest=newest))
        if held:
            print(words("console.cache_held", count=len(held)))
    return EXIT_UNUSABLE if held else EXIT_DONE
