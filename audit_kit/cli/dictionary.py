"""The data dictionary: the tables of schema.py as a page of documentation."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING

import polars as pl

from audit_kit import resources
from audit_kit.core import schema
from audit_kit.core.words import Words

if TYPE_CHECKING:
    from collections.abc import Iterable

    import dataframely as dy

LINKS = "*[en](data-dictionary.md) · [zh](data-dictionary.zh-CN.md)*"
HEADS = ("column", "header", "type", "unit", "empty", "meaning")
_TYPES = {"String": "text", "Boolean": "yes or no", "Float64": "number", "UInt64": "count", "UInt32": "count"}


def data_dictionary(lang: str) -> str:
    """Return every table with its columns: header, type, unit, meaning, and whether it may be empty.

    Args:
        lang: zh or en.

    Raises:
        LookupError: resources/dictionary.toml lacks what schema.py says of a table or column.
    """
    words = Words(lang)
    parts = [f"# {words('dictionary.title')}\n", f"{LINKS}\n"]
    parts += [f"{words('dictionary.made')}\n", f"{words('dictionary.how')}\n"]
    for title, tables in ((words("dictionary.inputs"), schema.INPUTS), (words("dictionary.outputs"), schema.OUTPUTS)):
        parts.append(f"## {title}\n")
        parts += [_table(name, table, words) for name, table in tables.items()]
    return "\n".join(parts)


def _table(name: str, table: type[dy.Schema], words: Words) -> str:
    lines = [_row(words(f"dictionary.{head}") for head in HEADS), "|---" * len(HEADS) + "|"]
    for column, field in table.columns().items():
        about = field.metadata or {}
        cells = (
            f"`{column}`",
            about.get("header", ""),
            _type(field, words),
            _said("units", about.get("unit", ""), words),
            words("dictionary.may_be" if field.nullable else "dictionary.never"),
            _said("meanings", about.get("meaning", ""), words),
        )
        lines.append(_row(cells))
    title, _, meaning = (inspect.getdoc(table) or "").splitlines()[0].partition(": ")
    return "\n".join(
        [f"### {name}\n", f"{title}{words('dictionary.colon')}{_said('tables', meaning, words)}\n", *lines, ""]
    )


def _row(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _type(field: dy.Column, words: Words) -> str:
    dtype = field.dtype
    if isinstance(dtype, pl.Enum):
        return _said("types", "one of {words}", words).format(words=", ".join(dtype.categories))
    if isinstance(dtype, pl.List):
        return _said("types", "list of texts" if dtype.inner == pl.String() else "list of counts", words)
    if isinstance(dtype, pl.Decimal):
        return _said("types", "decimal, {scale} places", words).format(scale=dtype.scale)
    if isinstance(dtype, pl.Datetime):
        return _said("types", "date and time", words)
    return _said("types", _TYPES.get(str(dtype), str(dtype)), words)


def _said(section: str, english: str, words: Words) -> str:
    """Return what schema.py says in English in the language of the page."""
    if words.lang == "en" or not english:
        return english
    known = resources.load("dictionary")[section]
    if english not in known:
        raise LookupError(f"resources/dictionary.toml: [{section}] lacks {english!r}.")
    return str(known[english])
