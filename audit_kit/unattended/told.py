"""What a mail says of a report that was made, or of one that failed: no more than its reader needs, nobody named."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import quote

from audit_kit.core import schema
from audit_kit.core.cache_folder import owner_of
from audit_kit.core.errors import AuditError
from audit_kit.core.words import Words
from audit_kit.resources.languages import Phrase

if TYPE_CHECKING:
    from pathlib import Path

    from audit_kit.core.policy import Notify
    from audit_kit.loaders.engagement.settings import Settings
    from audit_kit.report.run import ReportResult

FRONT = "index.html"
HIDDEN = "…"
KEY_LETTERS = 8


def job(folder: Path) -> str:
    """Return the name of the job that reports on an engagement, which says nothing of it."""
    return f"audit-kit-{owner_of(folder)[:KEY_LETTERS]}"


def of_report(result: ReportResult, settings: Settings, folder: Path, *, lang: str) -> tuple[str, list[str]]:
    """Return the subject of a mail about a report that was made, and its lines: counts, the five lines, where it is."""
    words, notify = Words(lang), settings.notify
    counts = result.summary["severities"]
    month = words.month(result.month)
    counted = words("mail.between").join(
        words("mail.count", severity=words.term("severities", name), count=words.count(counts.get(name, 0)))
        for name in schema.SEVERITIES
    )
    told = result.summary["lines"] if notify.names else result.unnamed
    lines = [words("mail.line", name=line["name"], sentences=" ".join(line["sentences"])) for line in told]
    named = [words("mail.engagement", name=settings.name or folder.name)] if notify.names else []
    place = words("mail.place", place=_place(result.folder, settings, folder))
    note = words("mail.named" if notify.names else "mail.unnamed")
    head = [words("mail.job", job=job(folder)), *named, counted]
    return words("mail.made", month=month, counts=counted), [*head, "", *lines, "", place, "", note]


def of_failure(
    error: BaseException, settings: Settings, folder: Path, *, month: str | None, lang: str
) -> tuple[str, list[str]]:
    """Return the subject of a mail about a report that was not made, and its lines: why, and where to look."""
    words, names = Words(lang), settings.notify.names
    if isinstance(error, AuditError):
        why = error.said(lang) if names else _unnamed(error, lang)
    else:
        why = words("mail.defect", kind=type(error).__name__)
    named = [words("mail.engagement", name=settings.name or folder.name)] if names else []
    about = words.month(month) if month else words("mail.latest")
    lines = [words("mail.job", job=job(folder)), *named, words("mail.why", why=why), "", words("mail.earlier_stands")]
    return words("mail.failed", month=about), lines


def _unnamed(error: AuditError, lang: str) -> str:
    """Return the sentence of an error, with whatever text of the engagement stands in it left out."""
    if " " in error.key:  # words that stand for themselves, and may name anything
        return HIDDEN
    return type(error)(error.key, **{name: _hidden(value) for name, value in error.fields.items()}).said(lang)


def _hidden(value: object) -> object:
    if isinstance(value, Phrase):
        return Phrase(value.key, **{name: _hidden(part) for name, part in value.fields.items()})
    return value if isinstance(value, int | float) else HIDDEN


def _place(report: Path, settings: Settings, folder: Path) -> str:
    """Return where a report is: under the link, else its path; a path that names the engagement only by its end."""
    notify: Notify = settings.notify
    end = f"{report.name}/{FRONT}"
    if notify.link:
        return f"{notify.link.rstrip('/')}/{quote(end)}"
    whole = str(report.resolve() / FRONT)
    words = (folder.name, settings.name, settings.taxpayer_name, *settings.taxpayer_ids)
    is_telling = any(word and word.casefold() in whole.casefold() for word in words)
    return f"{HIDDEN}/{end}" if is_telling and not notify.names else whole
