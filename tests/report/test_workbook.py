from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING

import openpyxl
import polars as pl
import pytest

from audit_kit.core import schema
from audit_kit.core.errors import RequestError
from audit_kit.core.words import Words
from audit_kit.loaders.engagement import unused
from audit_kit.report import workbook, working_papers

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
    found = findings(ledger_row=0)
    nothing = pl.DataFrame(schema=schema.dtypes("matches"))
    bare = pl.DataFrame(schema=working_papers.CONCLUSIONS)
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
        schema=dict.fromkeys(("table", "source_file", "sheet", "column", "stated", "computed"), pl.String)
        | {"agrees": pl.Boolean}
    )
    aside = pl.DataFrame(
        {"table": ["ledger"], "source_file": ["台账.xlsx"], "source_row": [9], "reason": ["empty"], "value": ["x"]}
        | {"code": ["catalogue.empty"], "fields": ["[{}]"], "gross": [None]}
    )
    steps = [
        pl.DataFrame({"line": ["=1"], "rows": [3]}),
        pl.DataFrame({"table": ["ledger"], "source_file": ["台账.xlsx"], "adds_up": [True]}),
    ]
    for lang, names in (
        ("zh", ["发现", "事项", "原因汇总", "数据来源", "合计核对", "勾稽", "逐文件勾稽", "未采用的行"]),
        ("en", ["Findings", "Events", "Causes", "Sources", "Totals", "Step totals", "File by file", "Set aside"]),
    ):
        path = tmp_path / f"{lang}.xlsx"
        left = pl.DataFrame({"file": ["notes.docx"], "kind": ["other"], "why": [unused.why("other", {}, lang=lang)]})
        words = Words(lang)
        paper = working_papers.papers(
            found, ledger, ledger.clear(), nothing, concluded=bare, direction="issued", words=words
        )
        more = {"unused": left, "settled": bare, "events": pl.DataFrame({"event": [1], "what": ["=1+1"]})}
        sheets = workbook.report_sheets(found, paper, inputs, control, aside, steps=steps, **more, lang=lang)
        workbook.write_workbook(path, sheets, lang=lang)
        assert openpyxl.load_workbook(path).sheetnames == names
    assert cells(tmp_path / "zh.xlsx", 1)[1:] == [["序号", "事项"], [1, "=1+1"]]
    lines = cells(tmp_path / "zh.xlsx")
    shown = dict(zip(lines[1], lines[2], strict=True))
    assert shown["开票日期"] == datetime(2025, 5, 3, 10, 20)
    assert (shown["对方名称"], shown["凭证号"], shown["严重程度"], shown["原因代码"]) == (
        "北京甲公司",
        "记-0012",
        "高",
        "lost",
    )
    assert cells(tmp_path / "zh.xlsx", 3)[2][-1] == "ab" * 32
    assert cells(tmp_path / "zh.xlsx", 7)[1] == [None, "notes.docx", None, "不是表、电子发票或备份目录", None, None]
    assert cells(tmp_path / "zh.xlsx", 7)[2] == ["企业台账", "台账.xlsx", 9, "空文件", "x", None]
    assert cells(tmp_path / "zh.xlsx", 5)[1:] == [["项目", "行数"], ["=1", 3]]
    assert cells(tmp_path / "zh.xlsx", 6)[1] == ["企业台账", "台账.xlsx", "是"]


SIDES = {
    "ledger": [
        ("25112000000000000001", "100.00"),
        ("25112000000000000002", "200.00"),
        ("25112000000000000003", "30.00"),
    ],
    "platform": [
        ("25112000000000000001", "100.50"),
        ("25112000000000000020", "200.00"),
        ("25112000000000000009", "9.00"),
    ],
}


def side(name: str) -> pl.DataFrame:
    rows = [
        {"digital_number": number, "gross": Decimal(gross), "tax": Decimal(1), "buyer_name": "甲", "issued_at": DAY}
        | {"source_file": f"{name}.csv", "source_row": at + 5}
        for at, (number, gross) in enumerate(SIDES[name])
    ]
    return pl.DataFrame(rows, schema_overrides={"gross": pl.Decimal(18, 2), "tax": pl.Decimal(18, 2)})


DAY = datetime(2025, 5, 3)
MATCHES = [
    (0, 0, "25112000000000000001", [], 0, "conflict", ["gross"], []),
    (1, 1, "25112000000000000002", [], 0, "mistyped", [], []),
    (2, None, "25112000000000000003", [], 0, "missing", [], []),
    (None, 2, None, [], 0, "unbooked", [], []),
]


def paper(concluded: pl.DataFrame | None = None) -> pl.DataFrame:
    matches = pl.DataFrame(MATCHES, schema=schema.dtypes("matches"), orient="row")
    found = pl.concat(
        findings(finding_id=f"f{at}", ledger_row=match[0], platform_row=match[1] if match[0] is None else None)
        for at, match in enumerate(MATCHES)
    )
    none = pl.DataFrame(schema=working_papers.CONCLUSIONS)
    return working_papers.papers(
        found,
        side("ledger"),
        side("platform"),
        matches,
        concluded=none if concluded is None else concluded,
        direction="issued",
        words=Words("zh"),
    )


def test_both_sides_values_stand_beside_each_other() -> None:
    assert paper().select("reference", "ledger_value", "platform_value").rows() == [
        ("Q-0001", "价税合计 100.00", "价税合计 100.50"),
        ("Q-0002", "25112000000000000002", "25112000000000000020"),
        ("Q-0003", "30.00", "未列示"),
        ("Q-0004", "未登记", "9.00"),
    ]


@pytest.mark.parametrize("lang", ["zh", "en"])
def test_what_an_auditor_fills_in_comes_back_by_the_findings_id(tmp_path: Path, lang: str) -> None:
    first = tmp_path / "findings.xlsx"
    workbook.write_workbook(first, [workbook.findings_sheet(paper(), Words(lang))], lang=lang)
    book = openpyxl.load_workbook(first)
    sheet = book.worksheets[0]
    heads = {cell.value: cell.column for cell in sheet[2]}
    note = "已查，=SUM(A1)"
    sheet.cell(3, heads[Words(lang)("workbook.audit_note")]).value = note
    sheet.cell(5, heads[Words(lang)("workbook.conclusion")]).value = "其他"
    book.save(first)
    told = working_papers.conclusions([first])
    assert told.select("finding_id", "conclusion", "audit_note").rows() == [("f0", None, note), ("f2", "其他", None)]
    again = paper(told)
    assert again["audit_note"].to_list() == [note, None, None, None]
    assert again["conclusion"].to_list() == [None, None, "其他", None]
    assert working_papers.settled(told, findings(finding_id="f0"))["finding_id"].to_list() == ["f2"]


def test_the_later_paper_goes_before_the_earlier(tmp_path: Path) -> None:
    for name, note in (("a.xlsx", "先"), ("b.xlsx", "后")):
        filled = paper(
            pl.DataFrame(
                {"finding_id": ["f1"], "audit_note": [note]} | _none("conclusion", "prepared_by", "reviewed_by")
            )
        )
        workbook.write_workbook(tmp_path / name, [workbook.findings_sheet(filled, Words("zh"))])
    told = working_papers.conclusions([tmp_path / "a.xlsx", tmp_path / "b.xlsx"])
    assert told["audit_note"].to_list() == ["后"]


def _none(*names: str) -> dict[str, pl.Series]:
    return {name: pl.Series([None], dtype=pl.String) for name in names}


def test_a_paper_that_cannot_be_read_stops_rather_than_losing_notes(tmp_path: Path) -> None:
    (tmp_path / "findings.xlsx").write_bytes(b"PK\x03\x04 cut off")
    with pytest.raises(RequestError, match=r"what auditors may have filled in there cannot be read"):
        working_papers.conclusions([tmp_path / "findings.xlsx"])
    workbook.write_workbook(tmp_path / "other.xlsx", [workbook.Sheet("s", pl.DataFrame({"n": [1]}), {})])
    with pytest.raises(RequestError, match=r"is no findings.xlsx of a report"):
        working_papers.conclusions([tmp_path / "other.xlsx"])


def test_matches_carry_both_sides_fields_and_the_rows_of_the_files() -> None:
    matches = pl.DataFrame(MATCHES, schema=schema.dtypes("matches"), orient="row")
    rows = working_papers.matched_rows(matches, side("ledger"), side("platform"), words=Words("zh"))
    columns = ("outcome", "ledger_gross", "platform_gross", "differences", "ledger_line", "platform_line")
    assert rows.select(columns).rows()[0] == ("内容不一致", Decimal("100.00"), Decimal("100.50"), ["价税合计"], 5, 5)
    assert rows.select("ledger_file", "platform_file").rows()[3] == (None, "platform.csv")


def test_a_working_paper_prints_whole(tmp_path: Path) -> None:
    path = tmp_path / "f.xlsx"
    workbook.write_workbook(path, [workbook.findings_sheet(paper(), Words("zh"))])
    sheet = openpyxl.load_workbook(path).worksheets[0]
    assert sheet.page_setup.orientation == "landscape"
    assert sheet.sheet_properties.pageSetUpPr.fitToPage
    assert sheet.page_setup.fitToHeight == 0
    assert sheet.print_title_rows == "$2:$2"
    [choice] = sheet.data_validations.dataValidation
    assert "待核实" in choice.formula1
