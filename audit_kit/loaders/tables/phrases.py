"""What a longer text means: its stops and leading code left out, or by the phrase of a vocabulary that it holds."""

from __future__ import annotations

import re
import unicodedata
from functools import cache
from typing import TYPE_CHECKING

from audit_kit import resources

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

LONGEST = 200  # characters; a longer text is no answer
_STOPS = re.compile(r"[\W_]+")
_CODE = re.compile(r"^[0-9]{3,4}(?=[^0-9])")  # before the words it stands for


def understood(texts: Iterable[str], vocabulary: str, table: Mapping[str, str]) -> dict[str, str]:
    """Return text → word of those texts that say one word of a vocabulary; a text that says two is not understood.

    Args:
        texts: what no word of the vocabulary is by itself.
        vocabulary: one whose entries may have phrases `within` longer texts.
        table: its folded words → canonical word.
    """
    phrases = _phrases(vocabulary)
    if not phrases:
        return {}
    told = {text: _word(_bare(text), table, phrases) for text in texts if len(text) <= LONGEST}
    return {text: word for text, word in told.items() if word is not None}


def _word(bare: str, table: Mapping[str, str], phrases: Iterable[tuple[str, str]]) -> str | None:
    for form in (bare, _CODE.sub("", bare)):
        if form in table:
            return table[form]
    found = set()
    for phrase, word in phrases:
        if phrase in bare:
            found.add(word)
            bare = bare.replace(phrase, " ")
    return found.pop() if len(found) == 1 else None


@cache
def _phrases(vocabulary: str) -> tuple[tuple[str, str], ...]:
    """Return the phrases of a vocabulary, each with its word, the longest first."""
    entries = resources.load("vocabularies")[vocabulary].items()
    pairs = [(_bare(phrase), word) for word, entry in entries for phrase in entry.get("within", ())]
    return tuple(sorted(pairs, key=lambda pair: -len(pair[0])))


def _bare(text: str) -> str:
    return _STOPS.sub("", unicodedata.normalize("NFKC", text).casefold())
