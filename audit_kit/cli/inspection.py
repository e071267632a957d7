"""What the command line shows a person: how files were read, as lines of text."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from audit_kit.cli.parsing import width as width_of
from audit_kit.core.words import Words

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

MOST_LINES = 20


def inspection(tables: Sequence[Mapping[str, Any]], *, lang: str) -> str:
    """Return how each table was read, from what `loaders.tables.inspect` gives."""
    words = Words(lang)
    return "\n\n".join("\n".join(_table(table, words)) for table in tables)


def _table(table: Mapping[str, Any], words: Words) -> list[str]:
    sheet = f" · {table['sheet']}" if table["sheet"] else ""
    name = words.term("table", table["table"])
    lines = [f"{table['file']}{sheet}", f"  {words('console.table')}: {name} ({table['table']})"]
    lines.append(
        f"  {words('console.rows')}: {table['rows']:,}   {words('console.set_aside')}: {len(table['set_aside']):,}"
    )
    if table["encoding"]:
        lines.append(f"  {words('console.encoding')}: {table['encoding']}")
    if sums := {key: value for key, value in table["totals"].items() if value is not None}:
        lines.append(
            f"  {words('console.totals')}: "
            + "   ".join(f"{words(f'console.{key}')} {value}" for key, value in sums.items())
        )
    for line in table["control"]:
        verdict = words("console.agrees") if line["agrees"] else words("console.disagrees")
        stated = f"{words('console.stated')} {line['stated']}, {words('console.computed')} {line['computed']}"
        column = words(f"console.{line['column']}")
        lines.append(f"  {words('console.control')} {column}: {stated}: {verdict}")
    lines.append(f"  {words('console.columns')}:")
    width = max((width_of(theirs) for theirs in table["columns"]), default=0)
    columns = {None: "–"} | columns_of(table["table"], words)
    lines += [f"    {_padded(theirs, width)}  {columns[ours]}" for theirs, ours in table["columns"].items()]
    aside = [f"    {line['file']}:{line['row']}  {line['reason']}" for line in table["set_aside"]]
    lines += _some(aside, words("console.aside"))
    listed = words("answer.comma").join
    cleaned = [
        f"    {line['row']}  {listed(words.term('cleanings', word) for word in line['cleaning'])}"
        for line in table["cleaning"]
    ]
    unread = [f"    {columns[line['column']]}  {line['word']}  × {line['rows']:,}" for line in table.get("unread", ())]
    withheld = [f"    {line['column']}  × {line['cells']:,}" for line in table.get("withheld", ())]
    lines += _some(cleaned, words("console.cleaning")) + _some(unread, words("console.unread"))
    return lines + _some(withheld, words("withheld.columns"))


def columns_of(table: str, words: Words) -> dict[str | None, str]:
    """Return our columns as a person reads them: in Chinese with their headers before their names."""
    from audit_kit.core import schema
    from audit_kit.loaders.tables.templates import SHAPES

    shape = SHAPES.get(table, table)
    headers = schema.headers(shape)
    return {name: name if words.lang == "en" else f"{headers[name]} ({name})" for name in schema.dtypes(shape)}


def _some(lines: list[str], title: str) -> list[str]:
    """Return the first lines under a title, and how many more there are."""
    if not lines:
        return []
    more = [f"    … +{len(lines) - MOST_LINES:,}"] if len(lines) > MOST_LINES else []
    return [f"  {title}:", *lines[:MOST_LINES], *more]


def _padded(text: str, width: int) -> str:
    return text + " " * (width - width_of(text))
