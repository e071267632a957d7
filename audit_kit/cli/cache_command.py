"""The command that shows and empties the folder of kept analyses, which hold whole ledgers with the names in them."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from audit_kit.cli.options import print_json
from audit_kit.core.errors import EXIT_DONE, EXIT_UNUSABLE

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

    from audit_kit.cli.parsing import Parser


def add(command: Callable[..., Parser]) -> None:
    """Add `cache` to the command line."""
    sub = command(
        "cache",
        _cache,
        "command.cache",
        "cache clear",
    )
    sub.add_argument("step", nargs="?", choices=("show", "clear"), default="show", help="option.cache_step")


def _cache(options: argparse.Namespace) -> int:
    from audit_kit.core.cache_folder import cache_folder, contents, empty
    from audit_kit.core.words import Words

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
