"""The page of all causes: what each means, what it needs, what it is confused with, an example, the next step."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from audit_kit import resources
from audit_kit.core.cause_records import require_texts
from audit_kit.core.words import LANGUAGES, Words

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

LINKS = "*[en](causes.md) · [zh](causes.zh-CN.md)*"
GROUPS = {"missing": "causes", "backup": "backup_causes", "response": "response_causes"}


def cause_page(lang: str) -> str:
    """Return every cause as a page of documentation in Markdown.

    Args:
        lang: zh or en.

    Raises:
        LookupError: the record of a cause lacks a text.
    """
    words = Words(lang)
    lines = [f"# {words('cause_page.title')}", LINKS]
    lines += [words("cause_page.made"), words("cause_page.how")]
    tables = {group: resources.load(table)["causes"] for group, table in GROUPS.items()}
    titles = {name: cause["title"] for table in tables.values() for name, cause in table.items()}
    for group, table in tables.items():
        require_texts(GROUPS[group], table)
        lines.append(f"## {words(f'cause_page.{group}')}")
        for name, cause in table.items():
            lines += _cause(name, cause, titles, words)
    return "\n\n".join(lines) + "\n"


def _cause(name: str, cause: Mapping[str, Any], titles: Mapping[str, list[str]], words: Words) -> Iterator[str]:
    """Yield the paragraphs of one cause; its heading is its name, so that links reach it."""
    place = LANGUAGES.index(words.lang)
    confused = words("answer.comma").join(
        f"[{titles[other][place]}](#{other.lower()})" for other in cause["confused_with"]
    )
    facts = {
        "severity": words.term("severities", cause["severity"]),
        "reference": cause.get("reference"),
        "needs": cause["needs"][place],
        "confused_with": confused or words("cause_page.nothing"),
        "example": cause["example"][place],
        "next_step": cause["next_step"][place],
    }
    colon = words("cause_page.colon")
    yield f"### {name}"
    yield f"**{cause['title'][place]}**{colon}{cause['sentence'][place]}"
    yield "\n".join(f"- {words(f'cause_page.{fact}')}{colon}{text}" for fact, text in facts.items() if text)
