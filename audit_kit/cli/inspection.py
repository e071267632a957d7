"""What the command line shows a person: how files were read, as lines of text."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from unicodedata import east_asian_width

from audit_kit.core.wording import wording

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

MOST_LINES = 20


def inspection(tables: Sequence[Mapping[str, Any]], *, lang: str) -> str:
    """Return how each table was read, from what `loaders.tables.inspect` gives."""
    w = wording(lang)
    return "\n\n".join("\n".join(_table(table, w)) for table in tables)


def _table(table: Mapping[str, Any], w: Mapping[str, Mapping[str, str]]) -> list[str]:
    say = w["console"]
    sheet = f" · {table['sheet']}" if table["sheet"] else ""
    name = w["table"].get(table["table"], table["table"])
    lines = [f"{table['file']}{sheet}", f"  {say['table']}: {name} ({table['table']})"]
    lines.append(f"  {say['rows']}: {table['rows']:,}   {say['set_aside']}: {len(table['set_aside']):,}")
    if table["encoding"]:
        lines.append(f"  {say['encoding']}: {table['encoding']}")
    if sums := {key: value for key, value in table["totals"].items() if value is not None}:
        lines.append(f"  {say['totals']}: " + "   ".join(f"{say[key]} {value}" for key, value in sums.items()))
    for line in table["control"]:
        verdict = say["agrees"] if line["agrees"] else say["disagrees"]
        stated = f"{say['stated']} {line['stated']}, {say['computed']} {line['computed']}"
        lines.append(f"  {say['control']} {line['column']}: {stated}: {verdict}")
    lines.append(f"  {say['columns']}:")
    width = max((_width(theirs) for theirs in table["columns"]), default=0)
    lines += [f"    {_padded(theirs, width)}  {ours or '–'}" for theirs, ours in table["columns"].items()]
    aside = [f"    {line['file']}:{line['row']}  {line['reason']}" for line in table["set_aside"]]
    lines += _some(aside, say["aside"])
    cleaned = [f"    {line['row']}  {', '.join(line['cleaning'])}" for line in table["cleaning"]]
    return lines + _some(cleaned, say["cleaning"])


def _some(lines: list[str], title: str) -> list[str]:
    """Return the first lines under a title, and how many more there are."""
    if not lines:
        return []
    more = [f"    … +{len(lines) - MOST_LINES:,}"] if len(lines) > MOST_LINES else []
    return [f"  {title}:", *lines[:MOST_LINES], *more]


def _width(text: str) -> int:
    return sum(2 if east_asian_width(letter) in "WF" else 1 for letter in text)


def _padded(text: str, width: int) -> str:
    return text + " " * (width - _width(text))
