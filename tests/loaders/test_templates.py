"""The templates: written for every table, read back as that table, filled in as people do."""

from __future__ import annotations

from typing import TYPE_CHECKING

import openpyxl
import polars as pl
import pytest
from openpyxl.utils import get_column_letter

from audit_kit.core import schema
from audit_kit.core.errors import RequestError
from audit_kit.loaders.engagement.engagement import open_engagement
from audit_kit.loaders.read import inspect, recognise
from audit_kit.loaders.read import reading_of as read
from audit_kit.loaders.tables.cells import label, vocabulary_of
from audit_kit.loaders.tables.templates import OURS, SHAPES, TABLES, write_templates

if TYPE_CHECKING:
    from pathlib import Path

FILLED = {
    pl.String: "甲1",
    pl.Datetime: "2025-05-03 10:11:12",
    pl.Decimal: "106.00",
    pl.Boolean: "是",
    pl.List: "甲；乙",
    pl.Float64: "0.5",
}


@pytest.fixture(scope="module")
def templates(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("templates")
    return dict(zip(TABLES, write_templates(folder), strict=True))


@pytest.mark.parametrize("table", schema.INPUTS)
def test_an_empty_template_is_recognised_and_holds_no_row(table: str, templates: dict[str, Path]) -> None:
    path = templates[table]
    assert recognise(path) == [table]
    assert read(path, table=table).rows.height == 0
    [found] = inspect([path])
    placed = [name for name in schema.dtypes(table) if name not in OURS]
    assert sorted(ours for ours in found["columns"].values() if ours) == sorted(placed)


@pytest.mark.parametrize("table", schema.INPUTS)
def test_a_filled_template_is_read_back_word_by_word(table: str, templates: dict[str, Path], tmp_path: Path) -> None:
    book = openpyxl.load_workbook(templates[table])
    sheet = book.worksheets[0]
    names = [name for name in schema.dtypes(table) if name not in OURS]
    for column, name in enumerate(names, start=1):
        dtype = schema.dtypes(table)[name]
        if isinstance(dtype, pl.Enum):
            value = label(vocabulary_of(dtype), dtype.categories[0])
        else:
            value = FILLED.get(dtype.base_type(), "3")
        sheet.cell(2, column, "25112000000123456789" if name == "digital_number" else value)
    path = tmp_path / templates[table].name
    book.save(path)
    reading = read(path, table=table)
    assert reading.set_aside.rows() == []
    row = reading.rows.row(0, named=True)
    assert [name for name in names if row[name] is None] == []
    words = {name: dtype.categories[0] for name, dtype in schema.dtypes(table).items() if isinstance(dtype, pl.Enum)}
    assert {name: row[name] for name in words} == words


@pytest.mark.parametrize("table", SHAPES)
def test_an_export_is_filled_in_as_the_platform_is(table: str, templates: dict[str, Path]) -> None:
    found, platform = (
        [cell.value for cell in openpyxl.load_workbook(templates[name]).worksheets[0][1]]
        for name in (table, SHAPES[table])
    )
    assert found == platform


def test_a_folder_of_templates_is_an_engagement_with_every_source(templates: dict[str, Path]) -> None:
    assert sorted(open_engagement(templates["ledger"].parent).sources) == sorted(TABLES)


def test_numbers_are_text_and_words_are_offered(templates: dict[str, Path]) -> None:
    sheet = openpyxl.load_workbook(templates["ledger"]).worksheets[0]
    headers = {cell.value: cell for cell in sheet[1]}
    formats = {
        get_column_letter(at): column.number_format
        for column in sheet.column_dimensions.values()
        for at in range(column.min, column.max + 1)
    }
    for header in ("发票代码", "发票号码", "数电发票号码", "销方识别号"):
        assert formats[headers[header].column_letter] == "@"
        assert headers[header].comment is not None
    offered = {
        str(rule.sqref).split(":", maxsplit=1)[0].rstrip("0123456789"): rule.formula1
        for rule in sheet.data_validations.dataValidation
    }
    assert "已红冲-全额" in offered[headers["发票状态"].column_letter]


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    [path] = write_templates(tmp_path, tables=["accounts"])
    path.write_bytes(b"filled in")
    with pytest.raises(RequestError, match="already"):
        write_templates(tmp_path, tables=["notices", "accounts"])
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


def test_an_unknown_table_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="invoices"):
        write_templates(tmp_path, tables=["invoices"])
