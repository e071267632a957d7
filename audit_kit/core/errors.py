"""Errors a user can mend, each with its wording and its exit code.

Data faults are never raised: a bad row is set aside with its reason. What is raised here is misuse, or an input that
cannot be used at all. The command line prints the sentence alone, without a traceback.
"""

from __future__ import annotations

import platform
import sys
import traceback
from pathlib import Path
from typing import ClassVar

EXIT_DONE = 0
EXIT_FINDINGS = 1
EXIT_UNUSABLE = 2
EXIT_DEFECT = 70


class AuditError(Exception):
    """The request or an input cannot be used; the message is one sentence that says how to mend it."""

    exit_code: ClassVar[int] = EXIT_UNUSABLE


class RequestError(AuditError):
    """A command, a function call or a parameter that cannot be carried out as asked."""


class SourceError(AuditError):
    """A file, folder or database that cannot be read at all."""


class EngagementError(AuditError):
    """An audit.toml that does not say what it must."""


class PlaceError(AuditError):
    """A folder that cannot be written to: no room, no permission, or held by another run."""


class ReportError(AuditError):
    """A report that could not be finished; the failed notebook is kept beside it."""

    exit_code: ClassVar[int] = EXIT_DEFECT


def defect() -> str:
    """Return the traceback of the exception that is being handled, and what to report with it."""
    from importlib.metadata import version  # noqa: PLC0415  slow, and seldom needed

    words = " ".join([Path(sys.argv[0]).name, *sys.argv[1:]])
    return (
        f"{traceback.format_exc()}\nThis is a defect of audit-kit {version('audit-kit')}, not of your data. Please"
        f" report the lines above together with the command ({words}), Python {platform.python_version()} and"
        f" {platform.platform()}."
    )
