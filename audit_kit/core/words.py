"""The words a person reads, in the language asked for: labels, sentences, amounts, spans of time.

Every text is an entry of a table of `resources/words/*.toml`, a pair: Chinese, then English. A sentence may hold named
fields; one that holds text from the engagement is escaped where it becomes HTML, never here. The texts of causes and of
vocabularies stand in their own tables.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from audit_kit import resources
from audit_kit.core.errors import RequestError
from audit_kit.resources.languages import LANGUAGES, reader_language, said, texts

if TYPE_CHECKING:
    from collections.abc import Iterable
    from decimal import Decimal

__all__ = ["LANGUAGES", "SEVERITIES", "Words", "reader_language", "texts"]

SEVERITIES = ("critical", "high", "medium", "low", "info")
CAUSE_TABLES = ("causes", "backup_causes", "response_causes")
MINUTES_AN_HOUR = 60
MINUTES_A_DAY = 24 * 60


@dataclass(frozen=True)
class Words:
    """The words of one language; call it with the key of an entry, as `section.name`."""

    lang: str = "zh"

    def __post_init__(self) -> None:
        """Refuse a language that we do not speak."""
        if self.lang not in LANGUAGES:
            raise RequestError("error_core.no_language", known=", ".join(LANGUAGES), lang=self.lang)

    def __call__(self, key: str, **fields: object) -> str:
        """Return a label or sentence by its `section.name`; `fields` fill its named places and are never interpreted.

        Raises:
            KeyError: there is no such entry.
        """
        return said(key, self.lang, fields)

    def term(self, vocabulary: str, word: str | None) -> str:
        """Return the label of a word of a vocabulary, by its key: outcomes, slots, or a section.

        Raises:
            KeyError: there is no such vocabulary, or the word is none of it.
        """
        if word is None:
            return self("unit.nothing")
        known = resources.load("vocabularies").get(vocabulary)
        return str(known[word][self.lang]) if known else self(f"{vocabulary}.{word}")

    def terms(self, vocabulary: str, words: Iterable[str | None]) -> dict[str, str]:
        """Return word to label for several words; null is left out."""
        return {word: self.term(vocabulary, word) for word in words if word is not None}

    def heads(self, *columns: str, **others: str) -> dict[str, str]:
        """Return columns with their headings, in order: each its own, of `others` the heading of that name."""
        return {name: self(f"head.{key}") for name, key in (dict(zip(columns, columns, strict=True)) | others).items()}

    def section(self, section: str) -> dict[str, str]:
        """Return every entry of a section by its name."""
        return {name: self(f"{section}.{name}") for name in texts()[section]}

    def cause(self, cause: str) -> str:
        """Return the title of a cause; one that only an older report knows stands for itself."""
        return self._of_cause(cause, "title") or cause

    def causes(self, causes: Iterable[str]) -> dict[str, str]:
        """Return cause to title for several causes."""
        return {cause: self.cause(cause) for cause in causes}

    def rule(self, cause: str) -> str:
        """Return the plain sentence that a cause stands for, or an empty text."""
        return self._of_cause(cause, "sentence")

    def next_step(self, cause: str) -> str:
        """Return what to do about a cause, or an empty text."""
        return self._of_cause(cause, "next_step")

    def _of_cause(self, cause: str, part: str) -> str:
        tables = [resources.load(name)["causes"] for name in CAUSE_TABLES]
        entry: dict[str, Any] = next((table[cause] for table in tables if cause in table), {})
        if part in entry:
            return str(entry[part][LANGUAGES.index(self.lang)])
        return str(entry.get(self.lang, {}).get(part, ""))

    def month(self, month: str) -> str:
        """Return a month, `YYYY-MM`, a year, `YYYY`, or `all`, as a person writes it."""
        year, dash, number = month.partition("-")
        if dash:
            return self("page.month", year=year, month=int(number))
        return self("page.year", year=year) if year.isdecimal() else self("page.all")

    def count(self, number: Decimal | float | None) -> str:
        """Return a whole number with thousands separators."""
        return self("unit.nothing") if number is None else f"{number:,.0f}"

    def yuan(self, amount: Decimal | float | None) -> str:
        """Return an amount of yuan with its unit and two decimals."""
        return self("unit.nothing") if amount is None else self("unit.yuan", amount=f"{amount:,.2f}")

    def share(self, share: float | None, *, digits: int = 1) -> str:
        """Return a share 0-1 as per cent; what rounds to 0 or 100 but is not, says so."""
        if share is None:
            return self("unit.nothing")
        smallest = 10.0**-digits
        percent = share * 100
        if 0 < percent < smallest:
            return f"<{smallest:.{digits}f} %"
        if 100 - smallest < percent < 100:  # noqa: PLR2004 -- per cent
            return f">{100 - smallest:.{digits}f} %"
        return f"{percent:.{digits}f} %"

    def span(self, minutes: float | None) -> str:
        """Return a length of time given in minutes, in its two largest units."""
        if minutes is None:
            return self("unit.nothing")
        whole = round(minutes)
        days, rest = divmod(whole, MINUTES_A_DAY)
        hours, mins = divmod(rest, MINUTES_AN_HOUR)
        if days:
            return self("unit.days_hours", days=days, hours=hours)
        if hours:
            return self("unit.hours_minutes", hours=hours, minutes=mins)
        return self("unit.minutes", minutes=mins)

    def about(self, minutes: float | None) -> str:
        """Return a length of time given in minutes, rounded, in the one unit that reads best."""
        if minutes is None:
            return self("unit.never")
        sizes = {"days": MINUTES_A_DAY, "hours": MINUTES_AN_HOUR}
        unit = next((unit for unit, size in sizes.items() if minutes >= 2 * size), "minutes")
        return self(f"unit.about_{unit}", size=f"{minutes / sizes.get(unit, 1):.3g}")
