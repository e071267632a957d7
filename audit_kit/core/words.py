"""The words a person reads, in the language asked for: labels, sentences, amounts, spans of time.

Labels come from `resources/labels.toml`, each a pair: Chinese, then English. A sentence may hold named fields; one
that holds text from the engagement is escaped where it becomes HTML, never here.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING

from audit_kit import resources
from audit_kit.core.errors import RequestError

if TYPE_CHECKING:
    from decimal import Decimal

LANGUAGES = ("zh", "en")
MINUTES_AN_HOUR = 60
MINUTES_A_DAY = 24 * 60


@cache
def texts() -> dict[str, dict[str, list[str]]]:
    """Return every entry of `resources/words/*.toml` by section and name; callers must not change it."""
    tables = sorted(files("audit_kit.resources").joinpath("words").iterdir(), key=lambda table: table.name)
    return {
        section: entries for table in tables for section, entries in tomllib.loads(table.read_text("utf-8")).items()
    }


@dataclass(frozen=True)
class Words:
    """The labels of one language; call it with a key of labels.toml, as `section.name`."""

    lang: str = "zh"

    def __post_init__(self) -> None:
        """Refuse a language that we do not speak."""
        if self.lang not in LANGUAGES:
            raise RequestError(f"lang must be one of {', '.join(LANGUAGES)}, not {self.lang!r}")

    def __call__(self, key: str, **fields: object) -> str:
        """Return a label or sentence; `fields` fill its named places."""
        section, _, name = key.partition(".")
        known = texts() if section in texts() else resources.load("labels")
        text: str = known[section][name][LANGUAGES.index(self.lang)]
        return text.format(**fields) if fields else text

    def term(self, vocabulary: str, word: str | None) -> str:
        """Return the label of a word of a vocabulary (outcome, severity, …); an unknown word stands for itself."""
        if word is None:
            return self("unit.nothing")
        for section in (vocabulary, f"{vocabulary}s", f"{vocabulary[:-1]}ies", f"{vocabulary}es"):
            known = resources.load("vocabularies").get(section, {}).get(word)
            if isinstance(known, dict):
                return str(known[self.lang])
            if pair := resources.load("labels").get(section, {}).get(word):
                return str(pair[LANGUAGES.index(self.lang)])
        return word

    def terms(self, vocabulary: str, words: list[str] | tuple[str, ...]) -> dict[str, str]:
        """Return word to label for several words."""
        return {word: self.term(vocabulary, word) for word in words}

    def cause(self, cause: str) -> str:
        """Return the title of a cause, from causes.toml or backup_causes.toml; else the cause itself."""
        return str(_wording(cause).get(self.lang, {}).get("title", cause))

    def rule(self, cause: str) -> str:
        """Return the plain sentence that a cause stands for, or an empty text."""
        return str(_wording(cause).get(self.lang, {}).get("sentence", ""))

    def next_step(self, cause: str) -> str:
        """Return what to do about a cause, or an empty text."""
        return str(_wording(cause).get(self.lang, {}).get("next_step", ""))

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


def _wording(cause: str) -> dict[str, dict[str, str]]:
    for name in ("causes", "backup_causes"):
        try:
            wording = resources.load(name)
        except FileNotFoundError:
            continue
        found = wording.get("causes", wording).get(cause)
        if found:
            return dict(found)
    return {}
