"""What the commands that open an engagement share: the option `--without`, and naming the files that are not used."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import argparse

    from audit_kit.loaders.engagement.engagement import Engagement


def add_without(sub: argparse.ArgumentParser) -> None:
    """Add `--without`, which leaves files of the engagement out on the user's word."""
    sub.add_argument(
        "--without",
        action="append",
        default=[],
        metavar="FILE",
        help="leave this file of the engagement out, a path within it or a glob; the report names it; may be repeated",
    )


def opened(options: argparse.Namespace) -> Engagement:
    """Return the engagement of a command, having said on stderr which of its files are not used."""
    from audit_kit.loaders.engagement.engagement import open_engagement
    from audit_kit.report.progress import unused_lines

    engagement = open_engagement(options.engagement, without=options.without)
    for line in unused_lines(engagement.unused, lang=options.lang):
        print(line, file=sys.stderr)
    return engagement
