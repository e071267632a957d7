from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING

import openpyxl
import polars as pl
import pytest

from audit_kit.core import schema
from audit_kit.core.errors import RequestError
from audit_kit.loaders.engagement import unused
from audit_kit.report import workbook

if TYPE_CHECKING:
    from pathlib import Path

HOSTILE = ['=HYPERLINK("http://bad","x")', "@SUM(A1)", "+1", "-1+1", "http://bad.example", "<script>alert(1)</script>"]


def findings(**columns: object) -> pl.DataFrame:
    row = {
        "finding_id": "f1",
        "area": "missing",
        "cause": "lost",
        "severity": "high",
        "state": "fails",
        "invoice_key": "25112000000012345678",
        "amount": Decimal("1234.50"),
        "probability_late": 0.25,
        "evidence": "台账.xlsx 第 5 行",
        "source_row": 5,
    }
    shape = schema.dtypes("findings")
    return pl.DataFrame([{name: (row | columns).get(name) for name in shape}], schema=shape)


def cells(path: Path, sheet: int = 0) -> list[list[object]]:
    return [list(row) for row in openpyxl.load_workbook(path).worksheets[sheet].iter_rows(values_only=True)]


def test_identifiers_are_text_and_amounts_are_numbers(tmp_path: Path) -> None:
    workbook.write_table(findings(), tmp_path / "f.xlsx", table="findings")
    header, row = cells(tmp_path / "f.xlsx")
    shown = dict(zip(header, row, strict=True))
    assert shown["发票主键"] == "25112000000012345678"
    assert shown["金额"] == 1234.5
    assert shown["来源行"] == 5
    sheet = openpyxl.load_workbook(tmp_path / "f.xlsx").active
    assert sheet.freeze_panes == "A2"
    assert sheet.auto_filter.ref is not None


@pytest.mark.parametrize("text", HOSTILE)
def test_nothing_in_a_workbook_acts(tmp_path: Path, text: str) -> None:
    workbook.write_table(findings(evidence=text), tmp_path / "f.xlsx", table="findings")
    sheet = openpyxl.load_workbook(tmp_path / "f.xlsx").active
    (cell,) = [cell for cell in sheet[2] if cell.value == text]
    assert cell.data_type == "s"
    assert cell.hyperlink is None


@pytest.mark.parametrize("text", HOSTILE[:4])
def test_nothing_in_a_csv_acts(tmp_path: Path, text: str) -> None:
    workbook.write_table(findings(evidence=text), tmp_path / "f.csv", table="findings")
    data = (tmp_path / "f.csv").read_bytes()
    assert data.startswith(b"\xef\xbb\xbf")
    assert pl.read_csv(tmp_path / "f.csv", infer_schema=False)["evidence"].to_list() == ["'" + text]


@pytest.mark.parametrize("ending", ["parquet", "csv", "xlsx"])
def test_every_ending_keeps_every_row(tmp_path: Path, ending: str) -> None:
    shape = schema.dtypes("matches")
    rows = [
        [0, 3, "25112000000012345678", [3, 4], 2, "ambiguous", ["gross", "status"], []],
        [1, None, None, [], 0, "missing", [], []],
    ]
    frame = pl.DataFrame(rows, schema=shape, orient="row")
    path = tmp_path / f"m.{ending}"
    workbook.write_table(frame, path, table="matches", lang="en")
    read = {
        "parquet": lambda: pl.read_parquet(path),
        "csv": lambda: pl.read_csv(path, infer_schema=False),
        "xlsx": lambda: pl.read_excel(path, infer_schema_length=0),
    }[ending]()
    assert read.columns == list(shape)
    assert read["outcome"].cast(pl.String).to_list() == ["ambiguous", "missing"]
    number = '="25112000000012345678"' if ending == "csv" else "25112000000012345678"
    assert read["invoice_key"].to_list() == [number, None]
    if ending != "parquet":
        assert read["candidates"][0] == "3；4"


@pytest.mark.parametrize(("name", "sentence"), [("m.txt", "must end in one of"), ("no/m.csv", "make the folder first")])
def test_where_it_cannot_be_written_it_says_so(tmp_path: Path, name: str, sentence: str) -> None:
    with pytest.raises(RequestError, match=sentence):
        workbook.write_table(findings(), tmp_path / name, table="findings")


def test_a_sheet_that_is_too_small_says_what_it_leaves_out(tmp_path: Path) -> None:
    frame = pl.DataFrame({"n": range(50)})
    workbook.write_workbook(tmp_path / "b.xlsx", [workbook.Sheet("s", frame, {}, ("above",))], lang="en", most=20)
    lines = cells(tmp_path / "b.xlsx")
    assert len(lines) == 20
    assert lines[0] == ["above"]
    assert lines[1] == ["50 rows in all; a sheet holds 17, the others are in the parquet file of the same name."]
    assert lines[2:4] == [["n"], [0]]
    assert lines[-1] == [16]


def test_findings_stand_beside_what_an_auditor_looks_for(tmp_path: Path) -> None:
    ledger = pl.DataFrame(
        {
            "issued_at": [datetime(2025, 5, 3, 10, 20)],
            "voucher": ["记-0012"],
            "buyer_name": ["北京甲公司"],
            "seller_name": ["北京乙公司"],
        }
    )
    found = workbook.detailed(findings(ledger_row=0), ledger, direction="issued")
    inputs = pl.DataFrame(
        {
            "table": ["ledger"],
            "source_file": ["台账.xlsx"],
            "sheet": ["Sheet1"],
            "encoding": [None],
            "sha256": ["ab" * 32],
        }
        | {name: [1] for name in ("size", "rows_in", "rows_kept", "rows_set_aside", "net", "tax", "gross")}
    )
    control = pl.DataFrame(
        schema=dict.fromkeys(("table", "source_file", "sheet", "column", "stated", "computed", "agrees"), pl.String)
    )
    aside = pl.DataFrame(
        {"table": ["ledger"], "source_file": ["台账.xlsx"], "source_row": [9], "reason": ["empty"], "value": ["x"]}
        | {"code": ["catalogue.empty"], "fields": ["[{}]"]}
    )
    for lang, names in (
        ("zh", ["发现", "原因汇总", "数据来源", "合计核对", "未采用的行"]),
        ("en", ["Findings", "Causes", "Sources", "Totals", "Set aside"]),
    ):
        path = tmp_path / f"{lang}.xlsx"
        left = pl.DataFrame({"file": ["notes.docx"], "kind": ["other"], "why": [unused.why("other", lang=lang)]})
        sheets = workbook.report_sheets(found, inputs, control, aside, unused=left, lang=lang)
        workbook.write_workbook(path, sheets, lang=lang)
        assert openpyxl.load_workbook(path).sheetnames == names
    lines = cells(tmp_path / "zh.xlsx")
    shown = dict(zip(lines[1], lines[2], strict=True))
    assert shown["开票日期"] == datetime(2025, 5, 3, 10, 20)
    assert (shown["对方名称"], shown["凭证号"], shown["严重程度"], shown["原因代码"]) == (
        "北京甲公司",
        "记-0012",
        "高",
        "lost",
    )
    assert cells(tmp_path / "zh.xlsx", 2)[2][-1] == "ab" * 32
    assert cells(tmp_path / "zh.xlsx", 4)[1] == [None, "notes.docx", None, "不是表、电子发票或备份目录", None]
    assert cells(tmp_path / "zh.xlsx", 4)[2] == ["ledger", "台账.xlsx", 9, "空文件", "x"]
