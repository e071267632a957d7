"""Some seventy files as auditors get them: each is read right, or set aside with file, row and reason.

A trap is a file, the table it is read as, and what must come out: `rows` (some columns of every kept row, in order),
`aside` (physical row and a word of the reason), `control` (which totals agree), or `error` (a word of the sentence).
"""

from __future__ import annotations

import datetime as dt
import io
import json
import os
import random
import struct
import zipfile
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl
import pytest
import xlsxwriter

from audit_kit.core.errors import SourceError
from audit_kit.loaders.formats import preview
from audit_kit.loaders.read import inspect, recognise
from audit_kit.loaders.read import reading_of as read

if TYPE_CHECKING:
    from collections.abc import Callable

N1, N2, N3 = "25112000000123456789", "25112000000123456790", "25112000000123456803"
HEAD = ["数电发票号码", "开票日期", "金额", "税额", "价税合计"]
ROW1 = [N1, "2025-05-03 10:11:12", "100.00", "6.00", "106.00"]
ROW2 = [N2, "2025-05-04 09:00:00", "50.00", "3.00", "53.00"]
HALVES = ("2025/5/3 下午 3:04:05", "2025-05-03 3:04:05 PM", "2025-05-03 12:04 AM")
BOTH = [{"digital_number": N1, "gross": "106.00"}, {"digital_number": N2, "gross": "53.00"}]
ONE = BOTH[:1]


@dataclass(frozen=True, kw_only=True)
class Trap:
    name: str
    make: Callable[[Path], object]
    table: str = "ledger"
    rows: list[dict[str, Any]] = field(default_factory=list)
    aside: list[tuple[int, str]] = field(default_factory=list)
    control: list[bool] | None = None
    error: str | None = None
    headings: dict[str, str] = field(default_factory=dict)


def text(
    *lines: list[str] | str, encoding: str = "utf-8", separator: str = ",", end: str = "\n"
) -> Callable[[Path], object]:
    joined = end.join(line if isinstance(line, str) else separator.join(line) for line in lines) + end
    return lambda path: path.write_bytes(joined.encode(encoding))


def raw(data: bytes) -> Callable[[Path], object]:
    return lambda path: path.write_bytes(data)


def sheets(first_row: int = 0, first_column: int = 0, **rows_of: list[list[object]]) -> Callable[[Path], object]:
    """Write text as text and numbers as numbers; None is an empty cell, a datetime a formatted date."""

    def make(path: Path) -> None:
        with xlsxwriter.Workbook(path) as book:
            dated = book.add_format({"num_format": "yyyy-mm-dd hh:mm:ss"})
            for name, rows in rows_of.items():
                sheet = book.add_worksheet(name)
                for i, row in enumerate(rows, start=first_row):
                    for j, cell in enumerate(row, start=first_column):
                        if isinstance(cell, dt.datetime):
                            sheet.write_datetime(i, j, cell, dated)
                        elif isinstance(cell, str):
                            sheet.write_string(i, j, cell)
                        elif cell is not None:
                            sheet.write_number(i, j, cell)

    return make


def typed(frame: pl.DataFrame) -> Callable[[Path], object]:
    return frame.write_parquet


def bomb(path: Path) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("xl/workbook.xml", "<workbook/>")
        with archive.open("xl/worksheets/sheet1.xml", "w", force_zip64=True) as part:
            for _ in range(400):
                part.write(b" " * (1 << 20))


def rewritten(change: Callable[[str, bytes], bytes], *rows: list[object]) -> Callable[[Path], object]:
    """Write a workbook, then change its parts."""

    def make(path: Path) -> None:
        whole = io.BytesIO()
        with xlsxwriter.Workbook(whole) as book:
            sheet = book.add_worksheet("发票")
            for i, row in enumerate(rows):
                sheet.write_row(i, 0, row)
        with zipfile.ZipFile(whole) as old, zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as new:
            for name in old.namelist():
                new.writestr(name, change(name, old.read(name)))

    return make


def _entities(name: str, part: bytes) -> bytes:
    if not name.endswith("sheet1.xml"):
        return part
    bombs = b'<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;&a;&a;">]>'
    return part.replace(b"<worksheet", bombs + b"<worksheet", 1).replace(b"<v>0</v>", b"<v>&b;</v>")


def _outside(name: str, part: bytes) -> bytes:
    if not name.endswith("workbook.xml"):
        return part
    return part.replace(b"<workbook ", b'<!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/passwd">]><workbook ', 1)


def _far_apart(name: str, part: bytes) -> bytes:
    if not name.endswith("sheet1.xml"):
        return part
    return part.replace(b"</sheetData>", b'<row r="1048576"><c r="XFD1048576"><v>1</v></c></row></sheetData>')


def encrypted(path: Path) -> None:
    path.write_bytes(
        b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600) + "EncryptedPackage".encode("utf-16-le") + bytes(4000)
    )


def climbing(path: Path) -> None:
    sheets(发票=[HEAD, ROW1])(path)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("../../outside.txt", "x")


def _formula_error(path: Path) -> None:
    with xlsxwriter.Workbook(path) as book:
        sheet = book.add_worksheet("五月")
        sheet.write_row(0, 0, HEAD)
        sheet.write_row(1, 0, ROW1)
        sheet.write_row(2, 0, ROW2)
        sheet.write_formula(2, 1, "=1/0", None, "#DIV/0!")


def _nothing(path: Path) -> None:
    assert not path.exists()


def old_xls(*rows: list[object]) -> Callable[[Path], object]:
    """Write a BIFF8 sheet into an OLE container, as Excel 97 did: text as LABEL, numbers as NUMBER."""

    def record(kind: int, data: bytes) -> bytes:
        return struct.pack("<HH", kind, len(data)) + data

    def cell(i: int, j: int, value: object) -> bytes:
        if isinstance(value, str):
            text_ = value.encode("utf-16-le")
            return record(0x204, struct.pack("<HHHHB", i, j, 0, len(value), 1) + text_)
        return record(0x203, struct.pack("<HHHd", i, j, 0, value))

    def make(path: Path) -> None:
        start, end = struct.pack("<HHHHII", 0x600, 5, 0, 0, 0, 0), record(0x0A, b"")
        name = "五月".encode("utf-16-le")
        bound = struct.pack("<IHBB", 0, 0, 2, 1) + name
        book = record(0x809, start) + record(0x42, struct.pack("<H", 1200)) + record(0x85, bound) + end
        bound = struct.pack("<IHBB", len(book), 0, 2, 1) + name
        book = record(0x809, start) + record(0x42, struct.pack("<H", 1200)) + record(0x85, bound) + end
        cells = b"".join(cell(i, j, value) for i, row in enumerate(rows) for j, value in enumerate(row))
        book += record(0x809, struct.pack("<HHHHII", 0x600, 16, 0, 0, 0, 0)) + cells + end
        book = book.ljust(max(4096, -(-len(book) // 512) * 512), b"\0")
        sectors = len(book) // 512
        chain = [0xFFFFFFFD, 0xFFFFFFFE, *range(3, sectors + 2), 0xFFFFFFFE]
        table = struct.pack("<128I", *chain, *[0xFFFFFFFF] * (128 - len(chain)))

        def entry(label: str, kind: int, child: int, first: int, size: int) -> bytes:
            coded = label.encode("utf-16-le") + b"\0\0"
            links = struct.pack("<HBBIII", len(coded), kind, 1, 0xFFFFFFFF, 0xFFFFFFFF, child)
            return coded.ljust(64, b"\0") + links + bytes(36) + struct.pack("<IQ", first, size)

        folder = entry("Root Entry", 5, 1, 0xFFFFFFFE, 0) + entry("Workbook", 2, 0xFFFFFFFF, 2, len(book))
        head = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(16) + struct.pack("<HHHHH", 0x3E, 3, 0xFFFE, 9, 6) + bytes(6)
        head += struct.pack("<IIIIIIIII", 0, 1, 1, 0, 4096, 0xFFFFFFFE, 0, 0xFFFFFFFE, 0)
        head += struct.pack("<109I", 0, *[0xFFFFFFFF] * 108)
        path.write_bytes(head + table + folder.ljust(512, b"\0") + book)

    return make


def ods(*rows: list[object], row: str = "") -> Callable[[Path], object]:
    """Write an OpenDocument sheet; `row` is XML put behind the rows."""
    spaces = " ".join(
        f'xmlns:{name}="urn:oasis:names:tc:opendocument:xmlns:{name}:1.0"' for name in ("office", "table", "text")
    )

    def cell(value: object) -> str:
        if isinstance(value, str):
            return f'<table:table-cell office:value-type="string"><text:p>{value}</text:p></table:table-cell>'
        return f'<table:table-cell office:value-type="float" office:value="{value}"/>'

    def make(path: Path) -> None:
        body = "".join(f"<table:table-row>{''.join(map(cell, cells))}</table:table-row>" for cells in rows)
        sheet = f'<table:table table:name="五月">{body}{row}</table:table>'
        body = f"<office:body><office:spreadsheet>{sheet}</office:spreadsheet></office:body>"
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("mimetype", "application/vnd.oasis.opendocument.spreadsheet")
            archive.writestr(
                "META-INF/manifest.xml",
                '<manifest:manifest xmlns:manifest="urn:oasis:names:tc:opendocument:xmlns:manifest:1.0"/>',
            )
            archive.writestr("content.xml", f"<office:document-content {spaces}>{body}</office:document-content>")

    return make


def spreadsheet_xml(*rows: list[object], head: str = "") -> Callable[[Path], object]:
    """Write the XML of Excel 2003, as some invoicing clients do."""

    def cell(value: object) -> str:
        kind = "String" if isinstance(value, str) else "Number"
        return f'<Cell><Data ss:Type="{kind}">{value}</Data></Cell>'

    body = "".join(f"<Row>{''.join(map(cell, row))}</Row>" for row in rows)
    space = (
        'xmlns="urn:schemas-microsoft-com:office:spreadsheet" xmlns:ss="urn:schemas-microsoft-com:office:spreadsheet"'
    )
    sheet = f'<Worksheet ss:Name="五月"><Table>{body}</Table></Worksheet>'
    whole = f'<?xml version="1.0"?>{head}<Workbook {space}>{sheet}</Workbook>'
    return lambda path: path.write_text(whole, encoding="utf-8")


def _half(path: Path) -> None:
    sheets(五月=[HEAD, *[ROW1] * 200])(path)
    path.write_bytes(path.read_bytes()[:2000])


PLATFORM_HEAD = [
    "序号", "发票代码", "发票号码", "数电发票号码", "销方识别号", "销方名称", "购方识别号", "购买方名称", "开票日期",
    "金额", "税额", "价税合计", "发票来源", "发票票种", "发票状态", "是否正数发票", "发票风险等级", "开票人", "备注",
]  # fmt: skip


def platform_row(number: str, net: float, tax: float, **other: object) -> list[object]:
    cells: dict[str, object] = {
        "序号": "1", "数电发票号码": number, "开票日期": "2025-05-03 10:11:12", "金额": net, "税额": tax,
        "价税合计": round(net + tax, 2), "发票来源": "电子发票服务平台", "发票票种": "数电发票（普通发票）",
        "发票状态": "正常",
        "是否正数发票": "是", "发票风险等级": "正常",
    }  # fmt: skip
    cells |= other
    return [cells.get(name) for name in PLATFORM_HEAD]


LINE_HEAD = [
    *PLATFORM_HEAD[:9],
    "税收分类编码",
    "货物或应税劳务名称",
    "规格型号",
    "单位",
    "数量",
    "单价",
    "金额",
    "税率",
    *PLATFORM_HEAD[10:],
]


def line_row(number: str, item: str, net: float, tax: float) -> list[object]:
    cells: dict[str, object] = {
        "数电发票号码": number, "开票日期": "2025-05-03 10:11:12", "货物或应税劳务名称": item, "数量": 1,
        "单价": net, "金额": net,
        "税率": "6%", "税额": tax, "价税合计": round(net + tax, 2), "发票状态": "正常", "是否正数发票": "是",
    }  # fmt: skip
    return [cells.get(name) for name in LINE_HEAD]


TRAPS = [
    # Text and its encodings
    Trap(name="utf8.csv", make=text(HEAD, ROW1, ROW2), rows=BOTH),
    Trap(name="bom.csv", make=text(HEAD, ROW1, ROW2, encoding="utf-8-sig"), rows=BOTH),
    Trap(name="gb18030.csv", make=text(HEAD, ROW1, ROW2, encoding="gb18030"), rows=BOTH),
    Trap(
        name="gb18030 deep down.csv",
        make=text(
            ["digital_number", "issued_at", "gross", "buyer_name"],
            *[[N1, "2025-05-03", "1.00", "abc"]] * 40_000,
            [N1, "2025-05-03", "1.00", "北京公司"],
            encoding="gb18030",
        ),
        rows=[{"buyer_name": "abc"}] * 40_000 + [{"buyer_name": "北京公司"}],
    ),
    Trap(name="utf16.csv", make=text(HEAD, ROW1, ROW2, encoding="utf-16"), rows=BOTH),
    Trap(name="utf16 without mark.tsv", make=text(HEAD, ROW1, ROW2, encoding="utf-16-le", separator="\t"), rows=BOTH),
    Trap(name="tabs called xls.xls", make=text(HEAD, ROW1, ROW2, separator="\t", encoding="gb18030"), rows=BOTH),
    Trap(name="semicolons.csv", make=text(HEAD, ROW1, ROW2, separator=";"), rows=BOTH),
    Trap(name="pipes.txt", make=text(HEAD, ROW1, ROW2, separator="|"), rows=BOTH),
    Trap(name="crlf.csv", make=text(HEAD, ROW1, ROW2, end="\r\n"), rows=BOTH),
    Trap(name="old mac.csv", make=text(HEAD, ROW1, ROW2, end="\r"), rows=BOTH),
    Trap(
        name="one broken character.csv",
        make=raw(
            f"{','.join(HEAD)},购买方名称\n{','.join(ROW1)},甲\n".encode()
            + f"{','.join(ROW2)},".encode()
            + b"\xff\xfe\xff\n"
        ),
        rows=ONE,
        aside=[(3, "utf-8")],
    ),
    # Lines and fields
    Trap(name="too few fields.csv", make=text(HEAD, ROW1, ROW2[:3]), rows=ONE, aside=[(3, "too few")]),
    Trap(name="too many fields.csv", make=text(HEAD, ROW1, [*ROW2, "x", "y"]), rows=ONE, aside=[(3, "too many")]),
    Trap(
        name="too many far down.csv",
        make=text(HEAD, *[ROW1] * 300, [*ROW2, "x"]),
        rows=ONE * 300,
        aside=[(302, "too many")],
    ),
    Trap(
        name="amount with a bare comma.csv",
        make=text(HEAD, ROW1, [N2, "2025-05-04", "1", "234.00", "0", "1234.00"]),
        rows=ONE,
        aside=[(3, "too many")],
    ),
    Trap(name="comma at every end.csv", make=text(HEAD, [*ROW1, ""], [*ROW2, ""]), rows=BOTH),
    Trap(
        name="blank lines.csv",
        make=text("", HEAD, "", ROW1, "", [*ROW2[:4], "x"], ""),
        rows=ONE,
        aside=[(6, "价税合计")],
    ),
    Trap(
        name="comma in quotes.csv",
        make=text([*HEAD, "备注"], [*ROW1, '"a,b"'], [*ROW2, '"say ""x"""']),
        rows=[{"remark": "a,b"}, {"remark": 'say "x"'}],
    ),
    Trap(
        name="line end in quotes.csv",
        make=text([*HEAD, "备注"], [*ROW1, '"a\nb"'], [*ROW2, "c"], [N3, "x", "1", "0", "1", ""]),
        rows=[{"remark": "a\nb", "source_row": 2}, {"remark": "c", "source_row": 3}],
        aside=[(4, "开票日期")],
    ),
    Trap(
        name="quote never closed.csv",
        make=text([*HEAD, "备注"], [*ROW1, '"a'], [*ROW2, "c"], [N3, *ROW2[1:], "d"]),
        rows=[{"remark": "c"}, {"remark": "d"}],
        aside=[(2, "a quote that opens and never closes")],
    ),
    Trap(
        name="preamble.csv",
        make=text("2025年5月开票明细", "单位：北京某公司", HEAD, ROW1, ROW2),
        rows=[{"source_row": 4}, {"source_row": 5}],
    ),
    Trap(name="header only.csv", make=text(HEAD), rows=[]),
    Trap(name="headers every page.csv", make=text(HEAD, ROW1, HEAD, ROW2), rows=BOTH),
    # Headers
    Trap(
        name="stars and spaces.csv",
        make=text(["数电票号码 *", "开 票 日 期*", "金额（元）", " 税额 ", "价税合计(元)"], ROW1, ROW2),
        rows=BOTH,
    ),
    Trap(
        name="English headers.csv",
        make=text(["Digital_Number", "issued_at", "net", "tax", "GROSS"], ROW1, ROW2),
        rows=BOTH,
    ),
    Trap(
        name="user's heading.csv",
        make=text(["税票票面号", *HEAD[1:]], ROW1, ROW2),
        rows=BOTH,
        headings={"税票票面号": "digital_number"},
    ),
    Trap(
        name="unknown heading.csv",
        make=text(["数电发票号马", *HEAD[1:]], ROW1),
        error='"数电发票号马" = "digital_number"',
    ),
    Trap(
        name="two header rows.xlsx", make=sheets(五月=[["发票", None, "合计", None, None], HEAD, ROW1, ROW2]), rows=BOTH
    ),
    Trap(
        name="title over columns.xlsx",
        make=sheets(
            五月=[
                ["数电发票", None, "购买方", None, "价税合计"],
                ["号码", "开票日期", "名称", "识别号", None],
                [N1, "2025-05-03", "甲", "91110108MA01ABCD00", 106],
            ]
        ),
        rows=[{"digital_number": N1, "buyer_name": "甲", "buyer_tax_id": "91110108MA01ABCD00", "gross": "106.00"}],
    ),
    Trap(
        name="merged title.xlsx",
        make=sheets(五月=[["销项发票台账"], [], HEAD, ROW1, ROW2]),
        rows=[{"source_row": 4}, {"source_row": 5}],
    ),
    Trap(
        name="not at A1.xlsx",
        make=sheets(first_row=4, first_column=2, 五月=[HEAD, ROW1, ROW2]),
        rows=[{"source_row": 6}, {"source_row": 7}],
    ),
    Trap(
        name="months in sheets.xlsx",
        make=sheets(**{"4月": [HEAD, ROW1], "5月": [HEAD, ROW2], "说明": [["口径见附件"]]}),
        rows=BOTH,
    ),
    # Numbers that Excel damaged
    Trap(
        name="number cell.xlsx",
        make=sheets(五月=[HEAD, [float(N1), *ROW1[1:]], ROW2]),
        rows=[
            {"digital_number": "2.51120000001234E+19", "cleaning": ["precision_lost"]},
            {"digital_number": N2, "cleaning": []},
        ],
    ),
    Trap(
        name="number cell, old and new.xlsx",
        make=sheets(
            五月=[
                ["发票代码", "发票号码", *HEAD[1:]],
                [11002100111.0, 1234567.0, *ROW1[1:]],
                ["011002100111", "00345678", *ROW2[1:]],
            ]
        ),
        rows=[
            {"invoice_code": "11002100111", "invoice_number": "1234567", "cleaning": ["leading_zero"]},
            {"invoice_code": "011002100111", "invoice_number": "00345678", "cleaning": []},
        ],
    ),
    Trap(
        name="scientific.csv",
        make=text(HEAD, ["2.51120E+19", *ROW1[1:]], ROW2),
        rows=[{"digital_number": "2.51120E+19", "cleaning": ["precision_lost"]}, {"digital_number": N2}],
    ),
    Trap(
        name="zeros at the end.csv",
        make=text(HEAD, ["25112000000123400000", *ROW1[1:]], ROW2),
        rows=[{"digital_number": "2.51120000001234E+19", "cleaning": ["precision_lost"]}, {"digital_number": N2}],
    ),
    Trap(
        name="float tail.csv",
        make=text(HEAD, [str(int(25112000000123400000.0)), *ROW1[1:]], ROW2),
        rows=[{"digital_number": "2.51120000001234E+19", "cleaning": ["precision_lost"]}, {"digital_number": N2}],
    ),
    Trap(
        name="float column.parquet",
        make=typed(pl.DataFrame({"发票号码": [float(N1)], "开票日期": ["2025-05-03"], "价税合计": [106.0]})),
        rows=[{"invoice_number": "2.5112000000123458e+19", "cleaning": ["precision_lost"]}],
    ),
    Trap(
        name="integer column.parquet",
        make=typed(
            pl.DataFrame(
                {
                    "发票代码": [11002100111],
                    "发票号码": [12345678],
                    "开票日期": [dt.date(2025, 5, 3)],
                    "价税合计": [106.5],
                }
            )
        ),
        rows=[
            {
                "invoice_code": "11002100111",
                "invoice_number": "12345678",
                "gross": "106.50",
                "cleaning": ["leading_zero"],
            }
        ],
    ),
    Trap(
        name="quoted numbers.csv",
        make=text(HEAD, [f"'{N1}", *ROW1[1:]], [f'"=""{N2}"""', *ROW2[1:]]),
        rows=[{"cleaning": ["quote"]}, {"cleaning": ["quote"]}],
    ),
    Trap(
        name="tax id in a number cell.xlsx",
        make=sheets(五月=[[*HEAD, "购方识别号"], [*ROW1, 911101080000000123.0]]),
        rows=[{"buyer_tax_id": "9.11101080000000E+17", "cleaning": []}],
    ),
    # Dates
    Trap(
        name="dates of many kinds.csv",
        make=text(
            HEAD[:1] + HEAD[1:2] + HEAD[4:],
            *[
                [N1, day, "1.00"]
                for day in ("2025年05月03日", "2025/5/3", "20250503", "2025.5.3", "45780", "２０２５－０５－０３")
            ],
        ),
        rows=[{"issued_at": dt.datetime(2025, 5, 3), "date_only": True}] * 6,
    ),
    Trap(
        name="times of many kinds.csv",
        make=text(
            HEAD[:2] + HEAD[4:],
            *[
                [N1, at, "1.00"]
                for at in (
                    "2025-05-03 10:11:12",
                    "2025/5/3 10:11:12",
                    "20250503101112",
                    "2025年5月3日10时11分12秒",
                    "2025-05-03T02:11:12Z",
                    "2025-05-03T10:11:12+08:00",
                    "1746238272000",
                )
            ],
        ),
        rows=[{"issued_at": dt.datetime(2025, 5, 3, 10, 11, 12), "date_only": False}] * 7,
    ),
    Trap(
        name="serial in a number cell.xlsx",
        make=sheets(
            五月=[
                HEAD,
                [N1, 45780.5, 1, 0, 1],
                [N2, dt.datetime(2025, 5, 3, 10, 11, 12), 1, 0, 1],
                [N3, 45780, 1, 0, 1],
            ]
        ),
        rows=[
            {"issued_at": dt.datetime(2025, 5, 3, 12)},
            {"issued_at": dt.datetime(2025, 5, 3, 10, 11, 12)},
            {"date_only": True},
        ],
    ),
    Trap(
        name="days that are none.csv",
        make=text(
            HEAD,
            ROW1,
            [N2, "2025-02-30", "1", "0", "1"],
            [N3, "03/05/2025", "1", "0", "1"],
            ["", "", "1", "0", "1"],
            [N3, "0205-05-03", "1", "0", "1"],
        ),
        rows=ONE,
        aside=[(3, "开票日期"), (4, "开票日期"), (5, "开票日期"), (6, "开票日期")],
    ),
    Trap(
        name="a number without a day.csv",
        make=text(
            HEAD,
            ROW1,
            [N2, "", "1", "0", "1"],
            ["２５１１ ２０００", "--", "1", "0", "1"],
            ["见附件", "", "1", "0", "1"],
        ),
        rows=[{}, {"digital_number": N2, "issued_at": None}, {"issued_at": None}],
        aside=[(5, "开票日期")],
    ),
    Trap(
        name="a platform row without a day.csv",
        make=text(HEAD, ROW1, [N2, "", "1", "0", "1"]),
        table="platform",
        rows=ONE,
        aside=[(3, "开票日期")],
    ),
    Trap(
        name="time in a column of its own.csv",
        make=text(["数电发票号码", "开票日期", "开票时间", "价税合计"], [N1, "2025/5/3", "10:11:12", "106.00"]),
        rows=[{"issued_at": dt.datetime(2025, 5, 3, 10, 11, 12), "date_only": False}],
    ),
    Trap(
        name="halves of the day.csv",
        make=text(["数电发票号码", "开票日期", "价税合计"], *[[N1, at, "1.00"] for at in HALVES]),
        rows=[{"issued_at": dt.datetime(2025, 5, 3, 15, 4, 5)}] * 2 + [{"issued_at": dt.datetime(2025, 5, 3, 0, 4)}],
    ),
    # Money
    Trap(
        name="money of many kinds.csv",
        make=text(
            ["数电发票号码", "开票日期", "价税合计"],
            *[
                [N1, "2025-05-03", f'"{yuan}"']
                for yuan in ("¥1,234.50", "￥1234.5", "1 234.50", "１２３４.５０", "1,234.50元", "1234.500")
            ],
        ),
        rows=[{"gross": "1234.50"}] * 6,
    ),
    Trap(
        name="red in brackets.csv",
        make=text(
            ["数电发票号码", "开票日期", "价税合计"], [N1, "2025-05-03", "(106.00)"], [N2, "2025-05-03", "－53.00"]
        ),
        rows=[{"gross": "-106.00", "positive": False}, {"gross": "-53.00", "positive": False}],
    ),
    Trap(
        name="third decimal.csv",
        make=text(HEAD, ROW1, [*ROW2[:2], "50.001", "3.00", "53.00"]),
        rows=ONE,
        aside=[(3, "two decimals")],
    ),
    Trap(
        name="third decimal in a number cell.xlsx",
        make=sheets(五月=[HEAD, [*ROW1[:2], 100, 6, 106], [*ROW2[:2], 50.125, 3, 53.125]]),
        rows=ONE,
        aside=[(3, "two decimals")],
    ),
    Trap(
        name="noise of sums.xlsx",
        make=sheets(五月=[HEAD, [*ROW1[:2], 99.9 + 0.1, 6, 0.1 + 0.2]]),
        rows=[{"net": "100.00", "gross": "0.30"}],
    ),
    Trap(
        name="amount in words.csv",
        make=text(HEAD, ROW1, [*ROW2[:4], "伍拾叁元"], [*ROW2[:2], "", "", ""]),
        rows=ONE,
        aside=[(3, "价税合计"), (4, "价税合计")],
    ),
    Trap(
        name="scientific amount.csv", make=text(HEAD, ROW1, [*ROW2[:4], "1.23E+5"]), rows=ONE, aside=[(3, "scientific")]
    ),
    Trap(name="no gross.csv", make=text(HEAD[:4], ROW1[:4], ROW2[:4]), rows=BOTH),
    Trap(name="error cell.xlsx", make=_formula_error, rows=[*ONE, {"issued_at": None}]),
    Trap(
        name="error cell of a platform.xlsx", make=_formula_error, table="platform", rows=ONE, aside=[(3, "开票日期")]
    ),
    # Totals
    Trap(
        name="totals at the end.csv",
        make=text(HEAD, ROW1, ROW2, ["合计", "", "150.00", "9.00", "159.00"]),
        rows=BOTH,
        control=[True] * 3,
    ),
    Trap(
        name="totals that lie.csv",
        make=text(HEAD, ROW1, ROW2, ["合  计：", "", "151.00", "9.00", "159.00"]),
        rows=BOTH,
        control=[False, True, True],
    ),
    Trap(
        name="sections.csv",
        make=text(
            HEAD,
            ROW1,
            ["小计", "", "100", "6", "106"],
            ROW2,
            ["小计", "", "50", "3", "53"],
            ["总计", "", "150", "9", "159"],
        ),
        rows=BOTH,
        control=[True] * 9,
    ),
    Trap(
        name="a total on every page.csv",
        make=text(HEAD, ROW1, ["合计", "", "100", "6", "106"], HEAD, ROW2, ["合计", "", "50", "3", "53"]),
        rows=BOTH,
        control=[True] * 6,
    ),
    Trap(
        name="count at the end.csv",
        make=text(HEAD, ROW1, ROW2, "份数：2 金额：150.00 税额：9.00,,,,"),
        rows=BOTH,
        control=[True] * 3,
    ),
    Trap(
        name="closing words.csv",
        make=text(HEAD, ROW1, ROW2, ["合计", "", "150", "9", "159"], ["制表人：张三", "", "", "", ""]),
        rows=BOTH,
        control=[True] * 3,
        aside=[(5, "closing")],
    ),
    # The families of exports
    Trap(
        name="全量发票查询导出结果 (50).xlsx",
        table="platform",
        make=sheets(
            发票基础信息=[
                PLATFORM_HEAD,
                platform_row(N1, 100, 6),
                platform_row(
                    N2,
                    -50,
                    -3,
                    是否正数发票="否",
                    备注=f"被红冲蓝字数电票号码：{N1} 红字发票信息确认单编号：11012505031000000001",
                ),
                platform_row(
                    "--",
                    10,
                    1,
                    发票代码="011002100111",
                    发票号码="12345678",
                    发票状态="已作废",
                    发票来源="增值税发票管理系统",
                ),
                ["合计行", *[None] * 8, 60, 4],
            ],
            信息汇总表=[
                LINE_HEAD,
                line_row(N1, "服务", 60, 3.6),
                line_row(N1, "维护", 40, 2.4),
                line_row(N2, "服务", -50, -3),
                line_row(N3, "无", 10, 1),
            ],
        ),
        rows=[
            {"digital_number": N1, "status": "normal", "positive": True, "channel": "网页", "date_only": False},
            {"digital_number": N2, "positive": False, "red_of": N1, "gross": "-53.00"},
            {
                "digital_number": None,
                "invoice_code": "011002100111",
                "invoice_number": "12345678",
                "status": "voided",
                "channel": None,
            },
        ],
        control=[True] * 6,
    ),
    Trap(
        name="numbered sheets.xlsx",
        table="platform",
        make=sheets(
            发票基础信息1=[PLATFORM_HEAD, platform_row(N1, 100, 6)],
            发票基础信息2=[PLATFORM_HEAD, platform_row(N2, 50, 3)],
            建筑服务=[PLATFORM_HEAD, platform_row(N2, 50, 3)],
        ),
        rows=BOTH,
    ),
    Trap(
        name="信息汇总表.xlsx",
        table="platform",
        make=sheets(
            信息汇总表=[
                LINE_HEAD,
                line_row(N1, "服务", 60, 3.6),
                line_row(N1, "维护", 40, 2.4),
                line_row(N2, "服务", 50, 3),
            ]
        ),
        rows=BOTH,
    ),
    Trap(
        name="抵扣勾选.xlsx",
        table="platform",
        make=sheets(
            Sheet1=[
                [
                    "序号",
                    "是否勾选*",
                    "数电票号码",
                    "发票代码",
                    "发票号码",
                    "开票日期*",
                    "金额*",
                    "票面税额*",
                    "有效抵扣税额*",
                    "购买方识别号*",
                    "销售方纳税人名称",
                    "销售方纳税人识别号",
                    "发票来源",
                    "票种*",
                    "发票状态",
                    "红字锁定标志",
                ],
                [
                    "1",
                    "否",
                    N1,
                    None,
                    None,
                    "2025-05-03",
                    100,
                    6,
                    6,
                    "91110108MA01ABCD00",
                    "甲",
                    "91110105MA02EFGH00",
                    "电子发票服务平台",
                    "数电票（增值税专用发票）",
                    "正常",
                    "未锁定",
                ],
            ]
        ),
        rows=[
            {
                "digital_number": N1,
                "gross": "106.00",
                "kind": "数电发票（增值税专用发票）",
                "buyer_tax_id": "91110108MA01ABCD00",
                "date_only": True,
            }
        ],
    ),
    Trap(
        name="税控.xls.csv",
        table="platform",
        make=text(
            "发票类别：增值税专用发票",
            [
                "发票代码",
                "发票号码",
                "购方企业名称",
                "购方税号",
                "开票日期",
                "商品名称",
                "规格",
                "单位",
                "数量",
                "单价",
                "金额",
                "税率",
                "税额",
            ],
            [
                "1100211130",
                "12345678",
                "甲",
                "91110108MA01ABCD00",
                "2025-05-03",
                "纸",
                "A4",
                "包",
                "1",
                "60",
                "60.00",
                "13%",
                "7.80",
            ],
            ["", "", "", "", "", "笔", "", "支", "4", "10", "40.00", "13%", "5.20"],
            ["", "", "", "", "", "小计", "", "", "", "", "100.00", "", "13.00"],
            ["1100211130", "12345679", "乙", "", "2025-05-04", "纸", "A4", "包", "1", "50", "50.00", "13%", "6.50"],
            ["", "", "", "", "", "小计", "", "", "", "", "50.00", "", "6.50"],
            "份数：2 金额：150.00 税额：19.50,,,,,,,,,,,,",
        ),
        rows=[
            {"invoice_number": "12345678", "gross": "113.00", "buyer_name": "甲", "source_row": 3},
            {"invoice_number": "12345679", "gross": "56.50", "source_row": 6},
        ],
        control=[True] * 7,
    ),
    Trap(
        name="third party.csv",
        table="platform",
        make=text(
            [
                "数电号码",
                "购方企业名称",
                "购方税号",
                "销方企业名称",
                "销方税号",
                "开票日期",
                "商品名称",
                "数量",
                "单价",
                "金额",
                "税额",
            ],
            [N1, "甲", "", "乙", "", "2025-05-03", "x", "1", "60", "60", "3.6"],
            [N1, "甲", "", "乙", "", "2025-05-03", "y", "1", "40", "40", "2.4"],
            "份数：1  金额：100.00,,,,,,,,,,",
        ),
        rows=[{"digital_number": N1, "gross": "106.00", "seller_name": "乙"}],
        control=[True, True],
    ),
    Trap(
        name="monthly book.xlsx",
        make=sheets(
            销项=[
                [
                    "序号",
                    "发票号码",
                    "发票种类",
                    "开票日期",
                    "发票状态",
                    "凭证号",
                    "货物、应税劳务及服务",
                    "购方名称",
                    "价税合计",
                    "不含税金额",
                    "税率",
                    "税额",
                    "备注",
                ],
                [1, N1, "数电普票", "2025-05-03", "正常", "记-12", "服务", "甲", 106, 100, "6%", 6, None],
                [2, N1, "数电普票", "2025-05-03", "正常", "记-12", "服务", "甲", 106, 100, "6%", 6, None],
            ]
        ),
        rows=[{"invoice_number": N1, "voucher": "记-12", "net": "100.00", "kind": "数电发票（普通发票）"}] * 2,
    ),
    Trap(
        name="NC.csv",
        make=text(
            ["发票号", "发票日期", "本币无税金额", "税额", "本币价税合计", "凭证号数", "客户"],
            [N1, "2025-05-03", "100", "6", "106", "12", "甲"],
        ),
        rows=[{"invoice_number": N1, "net": "100.00", "gross": "106.00", "voucher": "12", "buyer_name": "甲"}],
    ),
    # Other kinds of file
    Trap(
        name="list.json",
        make=lambda path: path.write_text(
            json.dumps([dict(zip(HEAD, ROW1, strict=True)), dict(zip(HEAD, ROW2, strict=True))])
        ),
        rows=BOTH,
    ),
    Trap(
        name="numbers.json",
        make=raw(f'{{"data": [{{"数电发票号码": {N1}, "开票日期": "2025-05-03", "价税合计": 106.00}}]}}'.encode()),
        rows=ONE,
    ),
    Trap(
        name="page.xls",
        make=lambda path: path.write_text(
            "<html><table><tr>"
            + "".join(f"<th>{h}</th>" for h in HEAD)
            + "</tr><tr>"
            + "".join(f"<td>{c}</td>" for c in ROW1)
            + "</tr></table></html>"
        ),
        rows=ONE,
    ),
    Trap(
        name="excel 97.xls",
        make=old_xls(HEAD, [float(N1), *ROW1[1:]], [N2, "2025-05-04", 50.0, 3.0, 53.0]),
        rows=[{"digital_number": "2.51120000001234E+19", "cleaning": ["precision_lost"]}, *BOTH[1:]],
    ),
    Trap(
        name="LibreOffice.ods",
        make=ods(HEAD, [25112000000123456789, *ROW1[1:]], [N2, "2025-05-04", 50, 3, 53]),
        rows=[{"digital_number": "2.51120000001234E+19", "cleaning": ["precision_lost"]}, *BOTH[1:]],
    ),
    Trap(
        name="excel 2003.xls",
        make=spreadsheet_xml(
            HEAD, ["25112000000123400000", *ROW1[1:]], [25112000000123400000, *ROW2[1:]], [N3, "x", 1, 1, 1]
        ),
        rows=[{"digital_number": "2.51120000001234E+19", "cleaning": ["precision_lost"]}] * 2,
        aside=[(4, "开票日期")],
    ),
    Trap(
        name="entities.xls",
        make=spreadsheet_xml(
            HEAD, ["&b;", *ROW1[1:]], ROW2, head='<!DOCTYPE x [<!ENTITY b SYSTEM "file:///etc/passwd">]>'
        ),
        rows=[{"digital_number": "&b;"}, {"digital_number": N2}],
    ),
    Trap(
        name="floats as text.csv",
        make=text(
            ["发票代码", "发票号码", "开票日期", "价税合计"],
            ["1100211130.0", "12345678.0", "2025-05-03", "1.0"],
            ["", "25112000000123457536.0", "2025-05-03", "1.0"],
        ),
        rows=[
            {"invoice_code": "1100211130", "invoice_number": "12345678", "cleaning": []},
            {"invoice_number": "2.51120000001234E+19", "cleaning": ["precision_lost"]},
        ],
    ),
    Trap(
        name="monthly total with a date.csv",
        make=text(HEAD, ROW1, ROW2, ["本月合计", "2025-05-31", "150", "9", "159"]),
        rows=BOTH,
        control=[True] * 3,
    ),
    Trap(
        name="brackets.csv",
        make=text(["发票号码（数电）", "开票日期", "金额（不含税）", "税额[元]", "金额(含税)"], ROW1, ROW2),
        rows=BOTH,
    ),
    Trap(
        name="both in one.xlsx",
        make=sheets(企业台账=[HEAD, ROW1], 平台导出=[PLATFORM_HEAD, platform_row(N2, 50, 3), platform_row(N3, 50, 3)]),
        rows=ONE,
    ),
    Trap(name="pipe.csv", make=os.mkfifo, error="pipe"),
    # Hostile files
    Trap(
        name="repeated.ods",
        make=ods(
            HEAD,
            row='<table:table-row table:number-rows-repeated="1000000"><table:table-cell '
            'office:value-type="float" office:value="1" table:number-columns-repeated="10000"/></table:table-row>',
        ),
        error="damaged",
    ),
    Trap(
        name="eight digits, two invoices.csv",
        table="platform",
        make=text(
            ["发票号码", "购方企业名称", "开票日期", "商品名称", "数量", "单价", "金额", "税额"],
            ["12345678", "甲", "2025-05-03", "x", "1", "60", "60", "3.6"],
            ["12345678", "乙", "2025-05-03", "y", "1", "40", "40", "2.4"],
        ),
        rows=[{"gross": "63.60"}, {"gross": "42.40"}],
    ),
    Trap(name="nothing.csv", make=raw(b""), error="empty"),
    Trap(name="nothing.xlsx", make=raw(b""), error="empty"),
    Trap(name="empty sheets.xlsx", make=sheets(a=[], b=[]), error="without any cell"),
    Trap(name="half.xlsx", make=_half, error="damaged"),
    Trap(name="half.parquet", make=raw(b"PAR1" + bytes(100)), error="damaged"),
    Trap(
        name="rows of nothing.parquet",
        make=typed(pl.select(a=pl.repeat(1, 40_000_000, dtype=pl.UInt8))),
        error="40,000,000",
    ),
    Trap(name="half.json", make=raw(b'[{"a": 1}, {"b"'), error="JSON"),
    Trap(name="password.xlsx", make=encrypted, error="password"),
    Trap(name="bomb.xlsx", make=bomb, error="bomb"),
    Trap(name="entities.xlsx", make=rewritten(_entities, HEAD, ROW1), error="no column"),
    Trap(name="external.xlsx", make=rewritten(_outside, HEAD, ROW1), rows=ONE),
    Trap(name="far apart.xlsx", make=rewritten(_far_apart, HEAD, ROW1), error="columns"),
    Trap(name="climbing.xlsx", make=climbing, rows=ONE),
    Trap(name="wide.csv", make=raw(b"a," * 400_000 + b"\n"), error="columns"),
    Trap(name="two million columns.csv", make=raw(b"a," * 2_000_000 + b"\n"), error="longer than 1 MB"),
    Trap(name="binary.csv", make=raw(bytes(range(256)) * 40), error="binary"),
    Trap(name="folder.csv", make=Path.mkdir, error="folder"),
    Trap(name="missing.csv", make=_nothing, error="does not exist"),
    Trap(name="picture.xlsx", make=raw(b"\x89PNG\r\n" + bytes(200)), error="picture"),
    Trap(name="letter.csv", make=raw("亲爱的审计员：\n请查收。\n".encode()), error="headers"),
]


@pytest.mark.slow
@pytest.mark.parametrize("trap", TRAPS, ids=lambda trap: trap.name)
def test_a_trap_is_read_right_or_set_aside(trap: Trap, tmp_path: Path) -> None:
    path = tmp_path / trap.name
    trap.make(path)
    if trap.error is not None:
        with pytest.raises(SourceError, match=trap.error) as raised:
            read(path, table=trap.table, headings=trap.headings)
        assert trap.name in str(raised.value)
        assert "\n" not in str(raised.value)
        return
    reading = read(path, table=trap.table, headings=trap.headings)
    seen = [
        {name: str(row[name]) if name in ("net", "tax", "gross") else row[name] for name in want}
        for want, row in zip(trap.rows, reading.rows.iter_rows(named=True), strict=True)
    ]
    assert seen == trap.rows
    aside = [(row["source_file"], row["source_row"]) for row in reading.set_aside.iter_rows(named=True)]
    assert aside == [(trap.name, row) for row, _ in trap.aside]
    for (_, word), reason in zip(trap.aside, reading.set_aside["reason"], strict=True):
        assert word in reason
    if trap.control is not None:
        assert reading.control["agrees"].to_list() == trap.control
    kept, set_aside, rows_in = reading.files.select("rows_kept", "rows_set_aside", "rows_in").sum().row(0)
    assert rows_in == kept + set_aside == reading.rows.height + reading.set_aside.height


@pytest.mark.slow
@pytest.mark.parametrize("trap", TRAPS, ids=lambda trap: trap.name)
def test_inspect_describes_every_trap_or_refuses_it_in_one_sentence(trap: Trap, tmp_path: Path) -> None:
    path = tmp_path / trap.name
    trap.make(path)
    if trap.error is not None:
        with suppress(SourceError):  # what is no ledger may still be another table
            json.dumps(inspect([path], headings=trap.headings))
        return
    found = inspect([path], headings=trap.headings)
    json.dumps(found)
    assert len(trap.rows) in [table["rows"] for table in found]


@pytest.mark.parametrize("trap", [trap for trap in TRAPS if trap.error is None], ids=lambda trap: trap.name)
def test_the_beginning_of_a_file_tells_what_it_is(trap: Trap, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / trap.name
    trap.make(path)
    whole = recognise(path, headings=trap.headings)
    monkeypatch.setattr(preview, "SMALL", 0)
    monkeypatch.setattr(preview, "HEAD", 2_000)
    assert recognise(path, headings=trap.headings) == whole


def test_there_are_some_sixty_traps() -> None:
    assert len(TRAPS) >= 60


@pytest.mark.parametrize("seed", range(150))
def test_a_file_damaged_anywhere_is_read_or_refused_in_one_sentence(seed: int, tmp_path: Path) -> None:
    chance = random.Random(seed)
    trap = chance.choice([trap for trap in TRAPS if trap.error is None and len(trap.rows) < 100])
    path = tmp_path / trap.name
    trap.make(path)
    data = bytearray(path.read_bytes())
    if seed % 3 == 0:
        del data[chance.randrange(len(data)) :]
    else:
        for _ in range(1 + seed % 7):
            data[chance.randrange(len(data))] = chance.randrange(256)
    path.write_bytes(data)
    try:
        reading = read(path, table=trap.table, headings=trap.headings)
    except SourceError as error:
        said = str(error)
    else:
        said = ""
        kept, aside = reading.rows, reading.set_aside
        assert reading.files["rows_in"].sum() == kept.height + aside.height
    assert "\n" not in said
