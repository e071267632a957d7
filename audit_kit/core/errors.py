"""Errors a user can mend, each with its wording and its exit code.

Data faults are never raised: a bad row is set aside with its reason. What is raised here is misuse, or an input that
cannot be used at all. The command line prints the sentence alone, without a traceback. An error carries the key of its
sentence in `resources/words/errors.toml` and what stands in it, so that it can be said in every language.
"""

from __future__ import annotations

import errno
import os
import platform
import sys
import traceback
from pathlib import Path
from typing import ClassVar

from audit_kit.resources.languages import Phrase, Sayable, reader_language, said, texts

EXIT_DONE = 0
EXIT_FINDINGS = 1
EXIT_UNUSABLE = 2
EXIT_UNTOLD = 3
EXIT_DEFECT = 70
# Faults of the operating system that people meet, by the names of their entries.
FAULTS = {
    errno.EACCES: "permission",
    errno.EPERM: "not_permitted",
    errno.ENOENT: "absent",
    errno.ENOTDIR: "no_folder",
    errno.EISDIR: "folder",
    errno.EEXIST: "exists",
    errno.EROFS: "read_only",
    errno.ENAMETOOLONG: "long_name",
    errno.EIO: "faulty",
    errno.EBUSY: "busy",
    errno.ELOOP: "loop",
    errno.ECONNREFUSED: "refused",
    errno.EHOSTUNREACH: "no_route",
    errno.ENETUNREACH: "no_network",
}


class AuditError(Exception):
    """The request or an input cannot be used; the message is one sentence that says how to mend it."""

    exit_code: ClassVar[int] = EXIT_UNUSABLE

    def __init__(self, key: str, /, **fields: object) -> None:
        """Take the key of the sentence, as `section.name`, and its fields; another text stands for itself."""
        super().__init__(key)
        self.key = key
        self.fields = {name: _kept(value) for name, value in fields.items()}

    def said(self, lang: str = "en") -> str:
        """Return the sentence in a language (zh, en)."""
        section, _, name = self.key.partition(".")
        return said(self.key, lang, self.fields) if name in texts().get(section, {}) else self.key

    def __str__(self) -> str:
        """Return the sentence in English, as programs read it."""
        return self.said("en")

    def _render_traceback_(self) -> list[str]:
        """Return what a notebook shows of it: the sentence, in the reader's language."""
        return [self.said(reader_language())]


class RequestError(AuditError):
    """A command, a function call or a parameter that cannot be carried out as asked."""


class SourceError(AuditError):
    """A file, folder or database that cannot be read at all."""


class EngagementError(AuditError):
    """An audit.toml that does not say what it must."""


class PlaceError(AuditError):
    """A folder that cannot be written to: no room, no permission, or held by another run."""


class MailError(AuditError):
    """A mail that could not be sent; what it would have told is done all the same."""

    exit_code: ClassVar[int] = EXIT_UNTOLD


class ReportError(AuditError):
    """A report that could not be finished; the failed notebook is kept beside it."""

    exit_code: ClassVar[int] = EXIT_DEFECT


def _kept(value: object) -> object:
    """Return what an error may keep of another: its words, not the frames it came through."""
    return value if isinstance(value, Sayable) or not isinstance(value, BaseException) else str(value)


def of_system(words: str | None) -> Phrase | str:
    """Return the operating system's own words for a fault, in a form that can be said in every language."""
    name = next((name for number, name in FAULTS.items() if os.strerror(number) == words), None)
    return Phrase(f"error_system.{name}") if name else words or Phrase("error_core.no_access")


def defect(lang: str | None = None) -> str:
    """Return the traceback of the exception that is being handled, and what to report with it."""
    from importlib.metadata import version  # noqa: PLC0415  slow, and seldom needed

    about = {
        "version": version("audit-kit"),
        "command": " ".join([Path(sys.argv[0]).name, *sys.argv[1:]]),
        "python": platform.python_version(),
        "system": platform.platform(),
    }
    return f"{traceback.format_exc()}\n{said('error_core.defect', lang or reader_language(), about)}"
