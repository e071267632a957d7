"""The table of texts: every entry of `resources/words/*.toml` in each language, and what stands in its places."""

from __future__ import annotations

import os
import tomllib
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

LANGUAGES = ("zh", "en")
_ASKED: ContextVar[str | None] = ContextVar("lang", default=None)


@runtime_checkable
class Sayable(Protocol):
    """What has words of its own in every language: an error, a phrase, a reason."""

    def said(self, lang: str = "en") -> str:
        """Return it in a language (zh, en)."""
        ...


class Phrase:
    """A text within a text: the key of an entry, and what stands in its places."""

    def __init__(self, key: str, /, **fields: object) -> None:
        """Take the key, as `section.name`, and the fields of the entry."""
        self.key, self.fields = key, fields

    def said(self, lang: str = "en") -> str:
        """Return the text in a language (zh, en)."""
        return said(self.key, lang, self.fields)


class Listed:
    """Several texts, one after the other, each in the language of the whole."""

    def __init__(self, *parts: object, by: str) -> None:
        """Take the parts and the key of what stands between them."""
        self.parts, self.by = parts, by

    def said(self, lang: str = "en") -> str:
        """Return the parts in a language (zh, en)."""
        return said(self.by, lang, {}).join(str(_within(part, lang)) for part in self.parts)


class Table:
    """The name of a table: as people call it in Chinese, as our tables are called in English."""

    def __init__(self, name: str) -> None:
        """Take the name of a table or side."""
        self.name = name

    def said(self, lang: str = "en") -> str:
        """Return the name in a language (zh, en)."""
        known = texts()["table"].get(self.name)
        return known[LANGUAGES.index(lang)] if known and lang != "en" else self.name


def reader_language() -> str:
    """Return the language of whoever reads: that asked for, `AUDIT_KIT_LANG`, English where the locale is, Chinese."""
    if (asked := _ASKED.get() or os.environ.get("AUDIT_KIT_LANG")) in LANGUAGES:
        return str(asked)
    named = next((word for name in ("LC_ALL", "LC_MESSAGES", "LANG") if (word := os.environ.get(name))), "")
    return "en" if named.casefold().startswith("en") else "zh"


@contextmanager
def reading(lang: str) -> Iterator[None]:
    """Take a language as that of the reader, for as long as it is asked for."""
    before = _ASKED.set(lang)
    try:
        yield
    finally:
        _ASKED.reset(before)


@cache
def texts() -> dict[str, dict[str, list[str]]]:
    """Return every entry of `resources/words/*.toml` by section and name; callers must not change it."""
    tables = sorted(files("audit_kit.resources").joinpath("words").iterdir(), key=lambda table: table.name)
    return {
        section: entries for table in tables for section, entries in tomllib.loads(table.read_text("utf-8")).items()
    }


def said(key: str, lang: str, fields: Mapping[str, object]) -> str:
    """Return an entry by its `section.name`; `fields` fill its named places and are never interpreted.

    Raises:
        KeyError: there is no such entry.
    """
    section, _, name = key.partition(".")
    text = texts()[section][name][LANGUAGES.index(lang)]
    if not fields:
        return text
    return text.format(**{name: _within(value, lang) for name, value in fields.items()})


def _within(value: object, lang: str) -> object:
    """Return what stands in a sentence; an error in it does not end the whole."""
    if not isinstance(value, Sayable):
        return value
    return value.said(lang).removesuffix("。") if isinstance(value, Exception) else value.said(lang)
