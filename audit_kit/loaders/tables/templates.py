"""Ready-to-fill workbooks of every input table: Chinese headers, notes, drop-down lists, numbers kept as text."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import polars as pl

from audit_kit import resources
from audit_kit.core import outputs, schema
from audit_kit.core.errors import RequestError
from audit_kit.core.spreadsheet_csv import new_workbook
from audit_kit.loaders.tables.cells import label, vocabulary_of

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from xlsxwriter import Workbook

# Sources that are filled in as another table is.
SHAPES = {"exports": "platform", "sister_exports": "platform"}
TABLES = (*schema.INPUTS, *SHAPES)
# Filled in by the reader, not by people.
OURS = ("source_file", "source_row", "date_only", "cleaning")
PREPARED_ROWS = 5_000
LONGEST_LIST = 255  # characters that a spreadsheet takes in a drop-down list
_WIDTHS = {"time": 20, "money": 14, "word": 12, "flag": 8, "count": 10, "figure": 10, "list": 24, "text": 22}


def write_templates(folder: Path, *, tables: Sequence[str] | None = None) -> list[Path]:
    """Write a workbook to fill in for every source (or those named) and return their paths.

    Raises:
        RequestError: an unknown table, or a file of that name is already there.
    """
    tables = list(TABLES) if tables is None else tables
    if unknown := [table for table in tables if table not in TABLES]:
        raise RequestError("error_tables.unknown_table", table=unknown[0], known=", ".join(TABLES))
    words = resources.load("templates")
    paths = [folder / words["file"].format(title=words["titles"][table], table=table) for table in tables]
    if there := [path for path in paths if path.exists()]:
        raise RequestError("error_tables.template_there", file=there[0].name, folder=folder.name)
    folder.mkdir(parents=True, exist_ok=True)
    with outputs.scratch(folder, outputs.MAKING) as made:
        for table, path in zip(tables, paths, strict=True):
            _write(SHAPES.get(table, table), words["titles"][table], made / path.name, words)
        for path in paths:
            outputs.move_in(made / path.name, path)
    return paths


def _write(table: str, title: str, path: Path, words: dict[str, Any]) -> None:
    columns = [name for name in schema.dtypes(table) if name not in OURS]
    with new_workbook(path) as book:
        plain, text = (
            book.add_format({"bold": True, "bg_color": "#DCE6F1", "border": 1}),
            book.add_format({"num_format": "@"}),
        )
        needed = book.add_format({"bold": True, "bg_color": "#FCE4D6", "border": 1})
        formats = {
            "time": book.add_format({"num_format": "yyyy-mm-dd hh:mm:ss"}),
            "money": book.add_format({"num_format": "#,##0.00"}),
            "count": book.add_format({"num_format": "0"}),
        }
        sheet = book.add_worksheet(title)
        sheet.freeze_panes(1, 0)
        for at, name in enumerate(columns):
            kind = _kind(table, name)
            sheet.set_column(at, at, _WIDTHS[kind], formats.get(kind, text))
            sheet.write_string(0, at, schema.headers(table)[name], needed if _is_needed(table, name) else plain)
            sheet.write_comment(0, at, _note(table, name, words))
            if choices := _choices(table, name):
                _offer(sheet, at, choices, words)
        _write_guide(book, table, columns, words)


def _write_guide(book: Workbook, table: str, columns: Sequence[str], words: dict[str, Any]) -> None:
    """Write the second sheet, which says what belongs into each column."""
    bold, wrapped = book.add_format({"bold": True}), book.add_format({"text_wrap": True, "valign": "top"})
    sheet = book.add_worksheet(words["guide"])
    sheet.set_column(0, 1, 16)
    sheet.set_column(2, 3, 60, wrapped)
    sheet.write_row(0, 0, words["columns"], bold)
    for row, name in enumerate(columns, start=1):
        state = words["required"] if _is_needed(table, name) else words["optional"]
        said = [schema.headers(table)[name], state, _note(table, name, words), "、".join(_choices(table, name))]
        sheet.write_row(row, 0, said)


def _offer(sheet: Any, column: int, choices: Sequence[str], words: dict[str, Any]) -> None:  # noqa: ANN401 (untyped library)
    if len(",".join(choices)) > LONGEST_LIST:
        return
    rule = {
        "validate": "list",
        "source": list(choices),
        "error_title": words["list_title"],
        "error_message": words["list_error"],
    }
    sheet.data_validation(1, column, PREPARED_ROWS, column, rule)


def _kind(table: str, name: str) -> str:
    """Return what a column holds, as the words and widths know it."""
    dtype = schema.dtypes(table)[name]
    for kind, holds in (
        ("time", isinstance(dtype, pl.Datetime)),
        ("word", isinstance(dtype, pl.Enum)),
        ("list", isinstance(dtype, pl.List)),
        ("flag", dtype == pl.Boolean),
        ("money", dtype.is_decimal()),
        ("count", dtype.is_integer()),
        ("figure", dtype.is_float()),
    ):
        if holds:
            return kind
    return "text"


def _choices(table: str, name: str) -> list[str]:
    """Return the words that a cell may hold, as a reader sees them; none where it is free."""
    dtype = schema.dtypes(table)[name]
    if isinstance(dtype, pl.Enum):
        return [label(vocabulary_of(dtype), word) for word in dtype.categories]
    return [label("flags", "true"), label("flags", "false")] if dtype == pl.Boolean else []


def _is_needed(table: str, name: str) -> bool:
    """Tell whether a table is not read without this column."""
    groups: list[list[str]] = resources.load("headers")["required"].get(table, [])
    return any(name == group[0] for group in groups)


def _note(table: str, name: str, words: dict[str, Any]) -> str:
    own: str = words["notes"].get(name) or words["types"][_kind(table, name)]
    return own
