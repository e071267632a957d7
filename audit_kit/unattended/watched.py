"""A report with somebody told of it: made as ever, then mailed about; a mail that fails loses nothing."""

from __future__ import annotations

import shlex
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from audit_kit.core.errors import EXIT_FINDINGS, EXIT_UNTOLD, EngagementError, MailError, RequestError
from audit_kit.core.files import actual
from audit_kit.core.words import Words
from audit_kit.loaders.engagement import permits
from audit_kit.loaders.engagement.inputs import mail_ways, settings_of
from audit_kit.unattended import mail, told

if TYPE_CHECKING:
    from collections.abc import Callable

    from audit_kit.loaders.engagement.settings import Settings
    from audit_kit.report.run import ReportResult


def watched(engagement: Path, make: Callable[[bool], ReportResult], *, month: str | None, lang: str) -> ReportResult:
    """Make a report and mail about it as `[notify]` says; return it with the exit code of both.

    Args:
        engagement: the engagement's folder.
        make: makes the report; told whether the five lines are wanted with nobody named, too.
        month: as it was asked for, null = the latest.
        lang: the mail's language.

    Raises:
        RequestError: `[notify]` names nobody; nothing was begun.
        Whatever `make` raises: the failure is mailed first.
    """
    folder, settings = prepared(engagement)
    notify = settings.notify
    try:
        result = make(not notify.names)
    except Exception as error:
        _tell(settings, folder, told.of_failure(error, settings, folder, month=month, lang=lang), lang)
        raise
    if notify.when == "failure" or (notify.when == "findings" and result.exit_code != EXIT_FINDINGS):
        return result
    is_told = _tell(settings, folder, told.of_report(result, settings, folder, lang=lang), lang)
    return result if is_told else replace(result, exit_code=EXIT_UNTOLD)


def try_out(engagement: Path, *, lang: str) -> tuple[str, ...]:
    """Send a mail that says that mail arrives; return to whom.

    Raises:
        RequestError: `[notify]` names nobody.
        MailError: it is not allowed, or was not taken.
    """
    folder, settings = prepared(engagement)
    words = Words(lang)
    _send(settings, folder, (words("mail.trial"), [words("mail.job", job=told.job(folder)), words("mail.trial_note")]))
    return settings.notify.to


def prepared(engagement: Path) -> tuple[Path, Settings]:
    """Return an engagement's folder and settings, those that name somebody to be told.

    Raises:
        EngagementError, RequestError: there is no such folder; nobody is named.
    """
    folder = actual(Path(engagement))
    folder = (folder.parent if folder.is_file() else folder).resolve()
    if not folder.is_dir():
        raise EngagementError("error_engagement.no_folder", folder=folder)
    settings = settings_of(folder)
    if not (settings.notify.to and settings.notify.server):
        raise RequestError("error_unattended.nobody")
    return folder, settings


def command_to_allow(folder: Path, settings: Settings) -> str | None:
    """Return the command that allows the mail of an engagement; null = it is allowed."""
    ways = permits.asked_for(folder, mail_ways(settings))
    if not ways:
        return None
    return f"audit-kit allow {shlex.quote(permits.shown(str(folder)))} {shlex.quote(permits.shown(ways[0].place))}"


def _tell(settings: Settings, folder: Path, text: tuple[str, list[str]], lang: str) -> bool:
    """Send a mail; where that fails say why on stderr, and return false."""
    try:
        _send(settings, folder, text)
    except MailError as error:
        print(f"audit-kit: {error.said(lang)}", file=sys.stderr)  # noqa: T201  nobody else hears of it
        return False
    return True


def _send(settings: Settings, folder: Path, text: tuple[str, list[str]]) -> None:
    if command := command_to_allow(folder, settings):
        raise MailError("error_unattended.not_allowed", command=command)
    subject, lines = text
    mail.send(settings.notify, mail.message(settings.notify, subject=subject, lines=lines))
