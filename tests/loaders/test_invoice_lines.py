"""Line items of old invoices with a list: the line that stands for it is the sum of the others, not one of them."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

import pytest
import xlsxwriter

from audit_kit.loaders.read import reading_of

if TYPE_CHECKING:
    from pathlib import Path

    from audit_kit.loaders.reading import Reading

HEAD = ["发票代码", "发票号码", "数电发票号码", "销方识别号", "购买方名称", "开票日期"]
LINES = [
    *HEAD,
    "税收分类编码",
    "货物或应税劳务名称",
    "规格型号",
    "数量",
    "单价",
    "金额",
    "税率",
    "税额",
    "价税合计",
    "备注",
]
BASE = [*HEAD, "金额", "税额", "价税合计", "发票票种", "备注"]
Line = tuple[str, str, str]

# Lines of one invoice beside its list line: plain, many, with a discount, of a cent, red.
DETAILS: dict[str, list[Line]] = {
    "two": [("纸", "60.00", "7.80"), ("笔", "40.00", "5.20")],
    "many": [(f"零件{n}", f"{10 + n}.37", f"{n}.01") for n in range(36)],
    "discount": [("纸", "600.00", "78.00"), ("纸", "-60.00", "-7.80"), ("笔", "0.01", "0.00")],
    "red": [("纸", "-60.00", "-7.80"), ("笔", "-40.00", "-5.20")],
    "single": [("办公用品（详见清单附件）", "88.00", "11.44")],
}
WORDS = [
    "(详见销货清单)", "（详见销货清单）", "（详见销货清单)", " (详见 销货清单) ", "详见销货清单", "(详见清单)",
    "【详见销货清单】", "*纸制品*(详见销货清单)", "（见销货清单）", "(详见货物清单)",
]  # fmt: skip


def summed(lines: list[Line]) -> tuple[Decimal, Decimal]:
    return sum(Decimal(net) for _, net, _ in lines) + Decimal(0), sum(Decimal(tax) for *_, tax in lines) + Decimal(0)


def line(number: str, item: str, net: object, tax: object) -> list[object]:
    cells = {
        "发票代码": "1100211130", "发票号码": number, "数电发票号码": "--", "销方识别号": "91110108MA01ABCD1X",
        "开票日期": "2025-05-03 10:11:12", "货物或应税劳务名称": item, "税率": "13%",
        "金额": str(net), "税额": str(tax), "价税合计": str(Decimal(str(net)) + Decimal(str(tax))),
    }  # fmt: skip
    return [cells.get(name) for name in LINES]


def with_list(number: str, word: str, lines: list[Line], *, at: int = 0, off: str = "0") -> list[list[object]]:
    net, tax = summed(lines)
    made = [line(number, *one) for one in lines]
    made.insert(at if at >= 0 else len(made), line(number, word, net + Decimal(off), tax))
    return made


def book(path: Path, **sheets: list[list[object]]) -> Path:
    with xlsxwriter.Workbook(path) as made:
        for name, rows in sheets.items():
            sheet = made.add_worksheet(name)
            for at, row in enumerate(rows):
                for column, cell in enumerate(row):
                    if cell is not None:
                        sheet.write_string(at, column, str(cell))
    return path


def base_row(number: str, net: Decimal, tax: Decimal) -> list[object]:
    cells = {
        "发票代码": "1100211130", "发票号码": number, "数电发票号码": "--", "销方识别号": "91110108MA01ABCD1X",
        "开票日期": "2025-05-03 10:11:12", "金额": net, "税额": tax, "价税合计": net + tax,
        "发票票种": "增值税专用发票",
    }  # fmt: skip
    return [cells.get(name) for name in BASE]


def amounts(reading: Reading) -> dict[str, tuple[Decimal, Decimal, Decimal]]:
    return {number: values for number, *values in reading.rows.select("invoice_number", "net", "tax", "gross").rows()}


@pytest.mark.parametrize("name", DETAILS)
def test_a_list_line_is_the_sum_of_the_others(tmp_path: Path, name: str) -> None:
    numbers = {f"{10000001 + at}": (word, at % 3 - 1) for at, word in enumerate([*WORDS, *reversed(WORDS)])}
    rows = [LINES, line("20000002", "服务", 5, 1)]
    for number, (word, at) in numbers.items():
        rows += with_list(number, word, DETAILS[name], at=at)
    net, tax = summed(DETAILS[name])
    alone = reading_of(book(tmp_path / "信息汇总表.xlsx", 信息汇总表=rows), table="platform")
    assert amounts(alone) == {"20000002": [5, 1, 6]} | {key: [net, tax, net + tax] for key in numbers}
    assert alone.rows["明细行数"].to_list() == ["1", *[str(len(DETAILS[name]) + 1)] * len(numbers)]
    assert alone.control.is_empty()
    base = [BASE, base_row("20000002", Decimal(5), Decimal(1)), *(base_row(number, net, tax) for number in numbers)]
    beside = reading_of(book(tmp_path / "平台.xlsx", 发票基础信息=base, 信息汇总表=rows), table="platform")
    assert beside.rows.height == len(numbers) + 1
    assert beside.control["agrees"].to_list() == [True] * 4


def test_a_list_line_alone_is_the_invoice(tmp_path: Path) -> None:
    rows = [LINES, *(line(f"{10000001 + at}", word, 100, 13) for at, word in enumerate(WORDS))]
    read = reading_of(book(tmp_path / "信息汇总表.xlsx", 信息汇总表=rows), table="platform")
    assert list(amounts(read).values()) == [[100, 13, 113]] * len(WORDS)
    assert read.control.is_empty()


@pytest.mark.parametrize("off", ["0.01", "-0.01", "-10", "50", "1000"])
def test_a_list_that_its_lines_do_not_make_up_is_said(tmp_path: Path, off: str) -> None:
    rows, told = [LINES, line("20000002", "服务", 5, 1)], []
    base = [BASE, base_row("20000002", Decimal(5), Decimal(1))]
    for at, (name, lines) in enumerate(DETAILS.items()):
        (net, tax), place = summed(lines), f"信息汇总表!{len(rows) + 1}"
        stated = net + Decimal(off)
        told.append((place, "list of net", stated, net, False))
        told.append((place, "list of gross", stated + tax, net + tax, False))
        rows += with_list(f"1000000{at}", WORDS[at], DETAILS[name], off=off)
        base.append(base_row(f"1000000{at}", stated, tax))
    columns = ("sheet", "column", "stated", "computed", "agrees")
    alone = reading_of(book(tmp_path / "信息汇总表.xlsx", 信息汇总表=rows), table="platform")
    assert [net for net, *_ in amounts(alone).values()][1:] == [stated for _, name, stated, *_ in told[::2]]
    assert alone.control.select(columns).rows() == told
    beside = reading_of(book(tmp_path / "平台.xlsx", 发票基础信息=base, 信息汇总表=rows), table="platform")
    assert beside.control.select(columns).rows()[4:] == told
    assert beside.control["agrees"].to_list()[:4] == [True] * 4


def test_the_total_at_the_foot_agrees_and_one_that_counts_the_list_twice_does_not(tmp_path: Path) -> None:
    lines = [row for n in range(4) for row in with_list(f"1000000{n}", WORDS[n], DETAILS["two"], at=n % 3)]
    for total, agrees in ((400, True), (800, False)):
        foot = ["合计", *[None] * 10, str(total)]
        read = reading_of(book(tmp_path / f"{total}.xlsx", 信息汇总表=[LINES, *lines, foot]), table="platform")
        assert read.rows["net"].sum() == 400
        assert read.control.select("column", "agrees").rows() == [("net", agrees)]


def test_cells_on_the_first_line_only_and_subtotals(tmp_path: Path) -> None:
    path = tmp_path / "税控.csv"
    path.write_text(
        "发票代码,发票号码,购方企业名称,开票日期,商品名称,数量,单价,金额,税额\n"
        "1100211130,10000001,甲,2025-05-03,(详见销货清单),,,100.00,13.00\n"
        ",,,,纸,1,60,60.00,7.80\n,,,,笔,4,10,40.00,5.20\n,,,,小计,,,100.00,13.00\n"
        "1100211130,10000002,乙,2025-05-04,服务,1,5,5.00,1.00\n,,,,小计,,,5.00,1.00\n",
        encoding="utf-8",
    )
    read = reading_of(path, table="ledger")
    assert amounts(read) == {"10000001": [100, 13, 113], "10000002": [5, 1, 6]}
    assert read.control["agrees"].all()
    assert read.rows["明细行数"].to_list() == ["3", "1"]


def test_an_ordinary_line_is_added(tmp_path: Path) -> None:
    items = ["清单打印纸", "见习服务", "纸（按清单）", "详见合同", "销货", "清洁服务", "单详见", "（含清单）"]
    rows: list[list[object]] = [LINES]
    for at, item in enumerate(items):
        rows += [line(f"1000000{at}", *one) for one in ((item, "100", "13"), *DETAILS["two"])]
        rows[-1][LINES.index("规格型号")] = "(详见销货清单)"
    read = reading_of(book(tmp_path / "信息汇总表.xlsx", 信息汇总表=rows), table="platform")
    assert list(amounts(read).values()) == [[200, 26, 226]] * len(items)
    assert read.control.is_empty()


def test_many_lists_that_disagree_are_told_together(tmp_path: Path) -> None:
    rows = [row for n in range(150) for row in with_list(f"{10000000 + n}", WORDS[0], DETAILS["two"], off="1")]
    read = reading_of(book(tmp_path / "信息汇总表.xlsx", 信息汇总表=[LINES, *rows]), table="platform")
    assert read.control.height == 102
    assert read.control["sheet"][-2:].to_list() == ["信息汇总表"] * 2
    assert read.control.filter(column="list of net")["stated"].sum() == 150 * 101
    assert read.control.filter(column="list of net")["computed"].sum() == 150 * 100
