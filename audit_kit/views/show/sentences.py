"""What the sentences of several pages share: shares, lists, the lost with their interval, sources that are absent."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from decimal import Decimal

    from audit_kit.core.words import Words
    from audit_kit.views.show.page import Page


def ratio(part: Decimal | float | None, whole: Decimal | float | None) -> float | None:
    """Return a share 0-1, null where there is no whole."""
    return float(part) / float(whole) if part is not None and whole else None


def percent(share: float) -> str:
    """Return a share 0-1 as per cent with two decimals."""
    return f"{100 * share:.2f}%"


def listed(words: Words, names: Iterable[str]) -> str:
    """Return names one after the other, as the language lists them."""
    return words("answer.comma").join(names)


def bounds(words: Words, lost: Mapping[str, float]) -> dict[str, str]:
    """Return how many are really lost, and the ends of the interval, as fields of a sentence; see lost_interval."""
    return {
        name: words.count(lost[key]) for name, key in (("lost", "expected"), ("lower", "lower"), ("upper", "upper"))
    }


def unknown_sources(page: Page, wanted: tuple[str, ...]) -> str:
    """Return a sentence that names the sources that are not there, and that their questions stay unknown."""
    absent = [page.words.term("table", table) for table in wanted if not page.whole.engagement.has(table)]
    return page.words("answer.absent", list=listed(page.words, absent)) if absent else ""
