"""The words of the report's own pages, of its workbook and of the console, in one language."""

from __future__ import annotations

from audit_kit import resources

LANGUAGES = ("zh", "en")


def wording(lang: str) -> dict[str, dict[str, str]]:
    """Return the words of resources/report.toml in one language, by part and key."""
    place = LANGUAGES.index(lang)
    return {part: {key: pair[place] for key, pair in pairs.items()} for part, pairs in resources.load("report").items()}
