"""The data dictionary: the tables of schema.py as a page of documentation."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING

import polars as pl

from audit_kit.core import schema

if TYPE_CHECKING:
    import dataframely as dy

_HEAD = """# Data dictionary

Made from `audit_kit/core/schema.py` by `audit-kit dictionary`; a test keeps it current.

Times are Beijing time (UTC+8), stored without zone. Ranges include their start and exclude their end. Money is yuan
with two decimals. Identifiers are text. Empty text is null. A source may use the header, the name, or any synonym of
`audit_kit/resources/headers.toml`; your own synonyms go under `[headers]` in `audit.toml`.
"""
_TYPES = {"String": "text", "Boolean": "yes or no", "Float64": "number", "UInt64": "count", "UInt32": "count"}


def data_dictionary() -> str:
    """Return every table with its columns: header, type, unit, meaning, and whether it may be empty."""
    parts = [_HEAD]
    for title, tables in (("Inputs", schema.INPUTS), ("Outputs", schema.OUTPUTS)):
        parts.append(f"## {title}\n")
        parts += [_table(name, table) for name, table in tables.items()]
    return "\n".join(parts)


def _table(name: str, table: type[dy.Schema]) -> str:
    lines = ["| column | header | type | unit | empty | meaning |", "|---|---|---|---|---|---|"]
    for column, field in table.columns().items():
        about = field.metadata or {}
        cells = (
            f"`{column}`",
            about.get("header", ""),
            _type(field),
            about.get("unit", ""),
            "may be" if field.nullable else "never",
            about.get("meaning", ""),
        )
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    meaning = (inspect.getdoc(table) or "").splitlines()[0]
    return "\n".join([f"### {name}\n", f"{meaning}\n", *lines, ""])


def _type(field: dy.Column) -> str:
    dtype = field.dtype
    if isinstance(dtype, pl.Enum):
        return "one of " + ", ".join(dtype.categories)
    if isinstance(dtype, pl.List):
        return "list of texts" if dtype.inner == pl.String() else "list of counts"
    if isinstance(dtype, pl.Decimal):
        return f"decimal, {dtype.scale} places"
    if isinstance(dtype, pl.Datetime):
        return "date and time"
    return _TYPES.get(str(dtype), str(dtype))
