"""Tables as a whole: the families of exports, laws that hold for any file, and what is said of a file."""

from __future__ import annotations

import csv
import io
import json
import re
from datetime import datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import xlsxwriter
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from audit_kit import resources
from audit_kit.core import schema
from audit_kit.core.errors import RequestError, SourceError
from audit_kit.loaders.formats import texts, workbooks
from audit_kit.loaders.read import inspect, recognise
from audit_kit.loaders.read import reading_of as read
from audit_kit.loaders.red_links import red_of
from audit_kit.loaders.tables import cells, headers, pipeline, times
from audit_kit.rules.matching.reconcile import reconcile

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

QUICK = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
BLUE = "25112000000004499461"
EXPORT = [
    "序号", "发票代码", "发票号码", "数电发票号码", "销方识别号", "销方名称", "购方识别号", "购买方名称", "开票日期",
    "金额", "税额", "价税合计", "发票来源", "发票票种", "发票状态", "是否正数发票", "发票风险等级", "开票人", "备注",
]  # fmt: skip


def export_rows(count: int, *, seed: int = 0) -> list[list[object]]:
    """Invoices in the shape of the real export: 数电票, old and paper ones, red and void ones."""
    rows: list[list[object]] = []
    for i in range(count):
        number = f"25112{(seed + 1) * 10_000_000 + 37 * i:015d}"
        code, short = ("011002100111", f"{10_000_000 + i}") if i % 7 in (3, 5) else ("", "")
        digital = "--" if i % 7 == 3 else number
        net = Decimal(10_000 + 17 * i) / 100 * (-1 if i % 11 == 4 else 1)
        tax = (net * Decimal("0.06")).quantize(Decimal("0.01"))
        status = "已作废" if i % 13 == 5 else "已红冲-全额" if i % 13 == 6 else "正常"
        kind = (
            "增值税电子普通发票" if i % 7 == 3 else "数电纸质发票（普通发票）" if i % 7 == 5 else "数电发票（普通发票）"
        )
        remark = (
            f"被红冲蓝字数电票号码：{number[:-2]}00 红字发票信息确认单编号：1101{number[:16]}" if i % 11 == 4 else ""
        )
        at = datetime(2025, 5, 1, 8) + timedelta(minutes=7 * i)
        rows.append([
            str(i + 1), code, short, digital, "91110108MA01ABCD00", "北京甲科技有限公司",
            f"91110105MA02EFG{i % 90:02d}X",
            f"客户{i % 50}（上海）有限公司", f"{at:%Y-%m-%d %H:%M:%S}", net, tax, net + tax,
            "增值税发票管理系统" if i % 7 == 3 else "电子发票服务平台", kind, status, "否" if net < 0 else "是",
            "正常", "张三", remark,
        ])  # fmt: skip
    return rows


def workbook(path: Path, **sheets: list[list[object]]) -> Path:
    with xlsxwriter.Workbook(path) as book:
        for name, rows in sheets.items():
            sheet = book.add_worksheet(name)
            for i, row in enumerate(rows):
                for j, cell in enumerate(row):
                    if isinstance(cell, str):
                        sheet.write_string(i, j, cell)
                    elif cell is not None:
                        sheet.write_number(i, j, float(cell))
    return path


def export(path: Path, rows: list[list[object]], *, sheet: str = "发票基础信息") -> Path:
    total = ["合计行", *[None] * 8, sum(row[9] for row in rows), sum(row[10] for row in rows)]
    return workbook(path, **{sheet: [EXPORT, *rows, total]})


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(10))
def test_an_export_is_read_byte_for_byte_and_a_ledger_made_from_it_reconciles(seed: int, tmp_path: Path) -> None:
    rows = export_rows(150 + seed, seed=seed)
    path = export(
        tmp_path / f"全量发票查询导出结果 ({seed}).xlsx", rows, sheet="发票基础信息" + ("1" if seed % 2 else "")
    )
    reading = read(path, table="platform")
    frame = reading.rows
    assert reading.set_aside.height == 0
    assert reading.control["agrees"].to_list() == [True, True]
    assert frame.height == len(rows)
    assert frame["gross"].sum() == sum(row[11] for row in rows)
    for column, at in (("invoice_code", 1), ("invoice_number", 2), ("digital_number", 3), ("seller_tax_id", 4)):
        assert frame[column].to_list() == [row[at] if row[at] not in ("", "--") else None for row in rows]
    assert frame["status"].to_list() == [
        {"正常": "normal", "已作废": "voided", "已红冲-全额": "red_full"}[str(row[14])] for row in rows
    ]
    assert frame["positive"].to_list() == [row[15] == "是" for row in rows]
    assert frame["kind"].to_list() == [row[13] for row in rows]
    assert frame["red_of"].is_not_null().to_list() == [row[18] != "" for row in rows]
    assert frame["cleaning"].list.len().sum() == 0

    ledger = tmp_path / "企业台账.csv"
    with ledger.open("w", encoding="gb18030", newline="") as file:
        csv.writer(file).writerows([EXPORT, *rows])
    matches = reconcile(read(ledger, table="ledger").rows, frame)
    assert matches["outcome"].cast(pl.String).unique().to_list() == ["matched"]


def canonical(table: str) -> pl.DataFrame:
    """Return one row of a table with a value in every column."""
    values: dict[str, object] = {}
    for name, dtype in schema.dtypes(table).items():
        if isinstance(dtype, pl.Enum):
            values[name] = dtype.categories[-1]
        elif isinstance(dtype, pl.Datetime):
            values[name] = datetime(2025, 5, 3, 10, 11, 12)
        elif isinstance(dtype, pl.List):
            values[name] = [] if name == "cleaning" else ["甲", "乙"]
        elif dtype.is_decimal():
            values[name] = Decimal("106.00")
        elif dtype == pl.Boolean:
            values[name] = name == "positive"
        elif dtype.is_numeric():
            values[name] = 1
        else:
            values[name] = {"digital_number": "25112000000123456789", "invoice_code": None}.get(name, f"{name} 甲")
    values |= {"invoice_number": "25112000000123456789"} if "digital_number" in values else {}
    return pl.DataFrame([values], schema=schema.dtypes(table))


@pytest.mark.parametrize("table", schema.INPUTS)
def test_a_table_of_ours_comes_back_from_parquet_and_csv_as_it_was(table: str, tmp_path: Path) -> None:
    frame = canonical(table)
    frame.write_parquet(tmp_path / f"{table}.parquet")
    lists = [name for name, dtype in frame.schema.items() if isinstance(dtype, pl.List)]
    frame.with_columns(pl.col(name).list.join("；") for name in lists).write_csv(tmp_path / f"{table}.csv")
    for suffix in ("parquet", "csv"):
        path = tmp_path / f"{table}.{suffix}"
        assert recognise(path) == [table]
        reading = read(path, table=table)
        assert reading.set_aside.rows() == []
        same = [name for name in frame.columns if name not in ("source_file", "source_row")]
        assert reading.rows.select(same).to_dicts() == frame.select(same).to_dicts()


NUMBERS = st.integers(1, 10**14).map(lambda n: f"25112{n | 1:015d}")  # an odd number bears no mark of a number cell
DATES = st.one_of(
    st.datetimes(datetime(2020, 1, 1), datetime(2026, 1, 1)).map(lambda at: f"{at:%Y-%m-%d %H:%M:%S}"),
    st.sampled_from(["2025/5/3", "2025年05月03日", "gestern", "", "2025-13-01", "45780"]),
)
AMOUNTS = st.one_of(
    st.decimals(-(10**9), 10**9, places=2).map(str),
    st.sampled_from(["1.234", "", "abc", "¥1,234.50", "(5.00)", "1E+5"]),
)
CELLS = st.one_of(st.text(alphabet='甲乙,"\n\t ab合计', max_size=8), st.just(""))
RECORD = st.tuples(NUMBERS, DATES, AMOUNTS, CELLS)


@pytest.mark.slow
@QUICK
@given(records=st.lists(RECORD, max_size=30), encoding=st.sampled_from(["utf-8", "gb18030", "utf-8-sig", "utf-16"]))
def test_nothing_is_lost_whatever_a_csv_holds(records: list[tuple[str, ...]], encoding: str, tmp_path: Path) -> None:
    path = tmp_path / "ledger.csv"
    text = io.StringIO()
    csv.writer(text).writerows([["数电发票号码", "开票日期", "价税合计", "备注"], *records])
    path.write_bytes(text.getvalue().encode(encoding))
    reading = read(path, table="ledger")
    kept, aside = reading.rows, reading.set_aside
    assert kept.height + aside.height == len(records)
    assert sorted([*kept["source_row"], *aside["source_row"]]) == list(range(2, len(records) + 2))
    assert kept["digital_number"].to_list() == [records[row - 2][0] for row in kept["source_row"]]
    assert aside["reason"].is_not_null().all()
    assert reading.files.select("rows_in", "rows_kept", "rows_set_aside").row(0) == (
        len(records),
        kept.height,
        aside.height,
    )


@QUICK
@given(amount=st.decimals(-(10**12), 10**12, places=2))
def test_an_amount_is_the_same_however_it_is_written(amount: Decimal) -> None:
    sign, size = ("-" if amount < 0 else ""), abs(amount)
    forms = [f"{amount}", f"{sign}¥{size:,.2f}", f"{sign}{size:,.2f}元", f"{amount}0", f" {amount} "]
    forms += [f"({size:.2f})", f"（{size:,.2f}）"] if amount < 0 else [f"+{amount}"]
    read_as = cells.money(pl.Series(forms))
    assert read_as.values.to_list() == [amount] * len(forms)
    assert not read_as.unreadable.any()


@QUICK
@given(thousandths=st.integers(-(10**12), 10**12).filter(lambda n: n % 10 != 0))
def test_a_third_decimal_is_never_rounded_away(thousandths: int) -> None:
    read_as = cells.money(pl.Series([f"{Decimal(thousandths) / 1000:f}", f"¥{Decimal(thousandths) / 1000:,.3f}"]))
    assert read_as.values.null_count() == 2
    assert read_as.unreadable.all()


@QUICK
@given(at=st.datetimes(datetime(1990, 1, 1), datetime(2099, 12, 31)).map(lambda at: at.replace(microsecond=0)))
def test_a_time_is_the_same_however_it_is_written(at: datetime) -> None:
    serial = (at - datetime(1899, 12, 30)) / timedelta(days=1)
    forms = [
        f"{at:%Y-%m-%d %H:%M:%S}", f"{at:%Y/%m/%d %H:%M:%S}", f"{at:%Y年%m月%d日 %H时%M分%S秒}", f"{at:%Y%m%d%H%M%S}",
        f"{at:%Y-%m-%dT%H:%M:%S}+08:00", f"{at - timedelta(hours=8):%Y-%m-%dT%H:%M:%SZ}",
        f"{at.year}-{at.month}-{at.day} {at.hour}:{at.minute}:{at.second}", f"{serial:.10f}",
    ]  # fmt: skip
    assert times.times(pl.Series(forms)).values.to_list() == [at] * len(forms)


def test_times_without_an_offset_are_read_in_the_zone_of_their_source(tmp_path: Path) -> None:
    path = tmp_path / "sync_log.csv"
    path.write_text(
        "发票号码,事件,时间\n1,上传,2025-05-03 02:11:12\n2,上传,2025-05-03T02:11:12+00:00\n3,上传,2025-05-03\n"
    )
    at = pipeline.read(path, table="sync_log", tz="UTC").rows["at"].to_list()
    assert at == [datetime(2025, 5, 3, 10, 11, 12), datetime(2025, 5, 3, 10, 11, 12), datetime(2025, 5, 3)]
    with pytest.raises(RequestError, match="Beijing Time"):
        pipeline.read(path, table="sync_log", tz="Beijing Time")


def _random_sheet(path: Path, rows: list[list[object]], *, skip: int, blank_column: bool) -> Path:
    shift = 1 if blank_column else 0
    return workbook(path, 表=[[]] * skip + [[None] * shift + row for row in rows])


@pytest.mark.slow
@QUICK
@given(
    ids=st.lists(
        st.one_of(NUMBERS, NUMBERS.map(float), st.integers(0, 99_999_999), st.just(None), st.just("--")),
        min_size=1,
        max_size=25,
    ),
    skip=st.integers(0, 3),
    blank_column=st.booleans(),
)
def test_the_fast_and_the_slow_way_read_the_same(
    ids: list[object], *, skip: int, blank_column: bool, tmp_path: Path
) -> None:
    rows: list[list[object]] = [["发票号码", "开票日期", "价税合计", "备注"]]
    rows += [[number, "2025-05-03 10:11:12", i + 0.25, "甲" if i % 2 else None] for i, number in enumerate(ids)]
    path = _random_sheet(tmp_path / "ledger.xlsx", rows, skip=skip, blank_column=blank_column)
    readings = []
    usual = workbooks.LARGE
    try:
        for large in (0, usual):
            workbooks.LARGE = large
            readings.append(read(path, table="ledger"))
    finally:
        workbooks.LARGE = usual
    fast, slow = readings
    assert fast.rows.equals(slow.rows)
    assert fast.set_aside.equals(slow.set_aside)
    for number, got, cleaning in zip(ids, slow.rows["invoice_number"], slow.rows["cleaning"], strict=True):
        if isinstance(number, float):
            assert re.fullmatch(r"\d\.\d{14}E\+19", got)
            assert "precision_lost" in cleaning


@pytest.mark.slow
@QUICK
@given(
    records=st.lists(RECORD, min_size=1, max_size=30),
    spoiled=st.sampled_from(["nothing", "short", "long", "blank"]),
    place=st.integers(0, 29),
)
def test_texts_are_read_alike_by_lines_and_by_records(
    records: list[tuple[str, ...]], spoiled: str, place: int, tmp_path: Path
) -> None:
    head = ["数电发票号码", "开票日期", "价税合计", "备注"]
    lines = []
    for record in [head, *records]:
        text = io.StringIO()
        csv.writer(text, quoting=csv.QUOTE_ALL if place % 2 else csv.QUOTE_MINIMAL).writerow(record)
        lines.append(text.getvalue())
    at = 1 + place % len(records)
    lines[at] = {"nothing": lines[at], "short": "1,2\n", "long": "1,2,3,4,5\n", "blank": "\n"}[spoiled]
    path = tmp_path / "ledger.csv"
    path.write_text("".join(lines), encoding="utf-8", newline="")
    readings = [read(path, table="ledger")]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(texts, "_read_lines", lambda *_, **__: None)
        readings.append(read(path, table="ledger"))
    assert readings[0].rows.equals(readings[1].rows)
    assert readings[0].set_aside.equals(readings[1].set_aside)


def test_every_word_of_every_vocabulary_is_understood() -> None:
    for table in schema.INPUTS:
        for dtype in schema.dtypes(table).values():
            if isinstance(dtype, pl.Enum):
                entries = resources.load("vocabularies")[cells.vocabulary_of(dtype)]
                forms = [
                    (form, word)
                    for word, entry in entries.items()
                    for form in (word, entry["zh"], entry["en"], *entry.get("also", ()))
                ]
                found = cells.enumerated(pl.Series([form for form, _ in forms]), dtype).values
                assert found.to_list() == [word for _, word in forms]


def test_a_word_that_no_vocabulary_knows_is_kept_beside(tmp_path: Path) -> None:
    path = tmp_path / "ledger.csv"
    path.write_text("数电发票号码,开票日期,价税合计,发票状态\n25112000000123456789,2025-05-03,1,挂起\n")
    row = read(path, table="ledger").rows.row(0, named=True)
    assert (row["status"], row["发票状态（原文）"]) == ("unknown", "挂起")
    path.write_text("时间,操作\n2025-05-03,查看\n2025-05-03,作废\n")
    rows = read(path, table="operations").rows
    assert rows.select("action", "操作（原文）").rows() == [(None, "查看"), ("void", None)]


@pytest.mark.parametrize("table", schema.INPUTS)
def test_no_header_means_two_columns_of_a_table(table: str) -> None:
    spec = resources.load("headers")
    sections = [spec.get(table, {}), spec["invoices"] if table in headers.INVOICE_TABLES else {}]
    seen: dict[str, set[str]] = {}
    for section in sections:
        assert set(section) <= set(schema.dtypes(table))
        for ours, theirs in section.items():
            for header in theirs:
                seen.setdefault(headers.fold(header), set()).add(ours)
    assert {header: ours for header, ours in seen.items() if len(ours) > 1} == {}


def test_a_column_that_cannot_be_placed_is_kept_as_text_and_named(tmp_path: Path) -> None:
    path = tmp_path / "ledger.csv"
    path.write_text("数电发票号码,开票日期,价税合计,风险分\n25112000000123456789,2025-05-03,1,0.5\n")
    reading = read(path, table="ledger")
    assert reading.rows["风险分"].to_list() == ["0.5"]
    assert reading.files["unplaced"].to_list() == [["风险分"]]
    assert inspect([path])[0]["columns"]["风险分"] is None


ANSWERS = {
    "001": "agree", "查验成功": "agree", "查验成功，发票一致！": "agree", "001:查验成功": "agree", "一致": "agree",
    "002": "over_limit", "超过该张发票当日查验次数(请于次日再次查验)!": "over_limit",
    "当日查验次数已超限": "over_limit",
    "003": "no_answer", "010": "no_answer", "020": "no_answer", "20": "no_answer", "205": "no_answer",
    "由于查验行为异常，涉嫌违规，当前无法使用查验服务！": "no_answer", "网络超时，请重试！": "no_answer",
    "006": "differ", "6": "differ", "不一致": "differ", "发票信息不一致": "differ", "006 不一致": "differ",
    "009": "absent", "9": "absent", "查无此票": "absent", "所查发票不存在！": "absent",
    "009：查无此票": "absent",
    "当日开具发票可于次日进行查验！": "too_soon", "rqerr": "too_soon", "当天开具的发票请次日再查": "too_soon",
    "超过五年的发票不能查验": "too_old", "仅可查验5年内开具的发票": "too_old",
    "暂不支持该票种查验": "unsupported", "该省尚未开通发票查验功能": "unsupported",
    "1": None, "203": None, "存疑": None, "不存在异常": None, "未查验，不确定是否一致": None, "无": None, "作废": None,
    "查无此票，或当日开具发票可于次日进行查验": None,
}  # fmt: skip


def test_what_the_verification_page_answers_is_read_by_its_words(tmp_path: Path) -> None:
    path = tmp_path / "查验.csv"
    lines = [f'{25112000000000000000 + place},"{text}",2025-05-08' for place, text in enumerate(ANSWERS)]
    path.write_text("\n".join(["发票号码,查验结果,查验时间", *lines]), encoding="utf-8")
    reading = read(path)
    assert reading.table == "confirmations"
    assert dict(zip(ANSWERS, reading.rows["result"], strict=True)) == ANSWERS
    assert set(reading.rows["source"]) == {"national"}
    named = {word["word"]: word["rows"] for word in inspect([path])[0]["unread"]}
    assert named == {text: 1 for text, word in ANSWERS.items() if word is None and text != "无"}


def test_whose_answer_it_is_is_not_guessed(tmp_path: Path) -> None:
    path = tmp_path / "confirmations.csv"
    path.write_text("发票号码,结果,时间\n25112000000000000001,一致,2025-05-08\n", encoding="utf-8")
    assert read(path, table="confirmations").rows["source"].to_list() == [None]
    path.write_text("发票号码,来源,查验结果\n25112000000000000001,对方,一致\n", encoding="utf-8")
    assert read(path, table="confirmations").rows["source"].to_list() == ["counterparty"]
    assert "unread" not in inspect([path])[0]


def test_risk_and_state_of_accounts_are_read(tmp_path: Path) -> None:
    path = tmp_path / "平台.csv"
    head = "数电发票号码,开票日期,价税合计,发票风险等级,风险状态"
    path.write_text(f"{head}\n25112000000123456789,2025-05-03,1,异常凭证,无风险\n", encoding="utf-8")
    assert read(path, table="platform").rows.select("risk", "risk_state").rows() == [("异常凭证", "无风险")]
    states = ["正常", "待确认", "停用", "已失效", "锁定", "待审核", "已过期", "已注销", "?"]
    path = tmp_path / "账号.csv"
    path.write_text("账号,状态\n" + "".join(f"a{at},{state}\n" for at, state in enumerate(states)), encoding="utf-8")
    read_as = read(path, table="accounts").rows["status"].to_list()
    assert read_as == ["active", "pending", "frozen", "ended", "locked", "pending", "ended", "frozen", None]


def test_a_heading_of_the_user_that_names_no_column_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "ledger.csv"
    path.write_text("票号,开票日期,价税合计\n1,2025-05-03,1\n")
    with pytest.raises(SourceError, match="invoice_number"):
        read(path, table="ledger", headings={"票号": "invoice_numbr"})


def test_an_unknown_table_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="ledger"):
        read(tmp_path / "x.csv", table="invoices")


def test_inspect_says_what_the_contract_says(tmp_path: Path) -> None:
    rows = export_rows(3)
    rows[1][8] = "gestern"
    path = export(tmp_path / "平台.xlsx", rows)
    [found] = json.loads(json.dumps(inspect([path])))
    assert list(found) == [
        "file", "table", "sheet", "rows", "columns", "set_aside", "totals", "control", "cleaning", "encoding",
    ]  # fmt: skip
    assert (found["file"], found["table"], found["sheet"], found["rows"]) == (
        "平台.xlsx",
        "platform",
        "发票基础信息",
        2,
    )
    assert found["columns"]["数电发票号码"] == "digital_number"
    assert found["set_aside"] == [{"file": "平台.xlsx", "row": 3, "reason": "开票日期: no date that can be read"}]
    assert found["totals"] == {"net": "200.34", "tax": "12.02", "gross": "212.36"}
    assert found["control"][0] == {"column": "net", "stated": "300.51", "computed": "200.34", "agrees": False}


def test_line_items_that_disagree_with_their_invoices_show_in_the_control(tmp_path: Path) -> None:
    invoice = export_rows(1)
    line = [*EXPORT[:9], "货物或应税劳务名称", "数量", "单价", *EXPORT[9:]]
    item = [*invoice[0][:9], "服务", 1, 99, 99, *invoice[0][10:]]
    path = workbook(tmp_path / "平台.xlsx", 发票基础信息=[EXPORT, *invoice], 信息汇总表=[line, item])
    control = read(path, table="platform").control
    assert control.select("sheet", "column", "agrees").rows() == [
        ("信息汇总表", "rows", True), ("信息汇总表", "net", False),
        ("信息汇总表", "tax", True), ("信息汇总表", "gross", True),
    ]  # fmt: skip


def test_many_subtotals_that_agree_are_told_together(tmp_path: Path) -> None:
    path = tmp_path / "税控.csv"
    lines = ["发票代码,发票号码,购方企业名称,开票日期,商品名称,数量,单价,金额,税额"]
    for i in range(150):
        stated = "101.00" if i == 70 else "100.00"
        lines += [f"1100211130,{10_000_000 + i},甲,2025-05-03,纸,1,60,60.00,7.80", ",,,,笔,4,10,40.00,5.20"]
        lines += [f",,,,小计,,,{stated},13.00"]
    path.write_text("\n".join(lines), encoding="utf-8")
    reading = read(path, table="platform")
    assert reading.rows.height == 150
    assert reading.control.select("column", "stated", "computed", "agrees").rows() == [
        ("net", Decimal("101.00"), Decimal("100.00"), False),
        ("net", Decimal("14900.00"), Decimal("14900.00"), True),
        ("tax", Decimal("1950.00"), Decimal("1950.00"), True),
    ]


@pytest.mark.parametrize(
    ("remark", "key"),
    [
        (f"被红冲蓝字数电票号码：{BLUE} 红字发票信息确认单编号：11012505031000000001", BLUE),
        (f"红字发票信息确认单编号：11012505031000000001 被红冲蓝字数电发票号码：{BLUE}", BLUE),
        ("被红冲蓝字发票号码：12345678 被红冲蓝字发票代码：011002100111", "01100210011112345678"),
        ("被红冲蓝字发票代码：1100211130 被红冲蓝字发票号码：12345678", "110021113012345678"),
        ("对应正数发票代码:011002100111号码:12345678", "01100210011112345678"),
        ("开具红字增值税专用发票信息表编号1101082105000001", None),
        (f"合同号码：{BLUE}", None),
    ],
)  # fmt: skip
def test_the_blue_invoice_is_read_from_every_form_of_remark(remark: str, key: str | None) -> None:
    assert red_of(pl.Series([remark])).to_list() == [key]


def _written_by(write: Callable[[Path], object], path: Path) -> Path:
    write(path)
    return path


def test_a_honest_number_that_ends_in_zeros_is_not_called_damaged(tmp_path: Path) -> None:
    numbers = [f"25112{37 * 10**6 + i:015d}" for i in range(200_000)]
    frame = pl.DataFrame({"数电发票号码": numbers, "开票日期": "2025-05-03", "价税合计": "1.00"})
    path = _written_by(frame.write_csv, tmp_path / "ledger.csv")
    assert read(path, table="ledger").rows["cleaning"].list.len().sum() == 0


@pytest.mark.parametrize("size", [16, 20, 32])
def test_a_binary_hash_is_that_hash_in_hexadecimal(tmp_path: Path, size: int) -> None:
    raw = [bytes((7 * at + part) % 256 for part in range(size)) for at in range(200, 203)]
    frame = pl.DataFrame({"path": ["a", "b", "c"], "invoice_number": ["1" * 20] * 3, "sha256": raw})
    frame.write_parquet(tmp_path / "binary.parquet")
    frame.with_columns(pl.col("sha256").bin.encode("hex")).write_parquet(tmp_path / "letters.parquet")
    binary, letters = (
        pipeline.read(tmp_path / f"{name}.parquet", table="invoice_files") for name in ("binary", "letters")
    )
    for reading in (binary, letters):
        assert [*reading.rows["sha256"], *reading.set_aside["value"]].count("\ufffd") == 0
    assert binary.rows["sha256"].to_list() == letters.rows["sha256"].to_list()
    assert not any("hash" in reason for reason in binary.set_aside["reason"])


KEPT_AS = {
    "binary": lambda raw: pa.array(raw, pa.binary()),
    "large": lambda raw: pa.array(raw, pa.large_binary()),
    "fixed": lambda raw: pa.array(raw, pa.binary(len(raw[0]))),
    "view": lambda raw: pa.array(raw, pa.binary_view()),
    "dictionary": lambda raw: pa.array(raw, pa.binary()).dictionary_encode(),
    "list": lambda raw: pa.array([None if one is None else list(one) for one in raw], pa.list_(pa.uint8())),
    "array": lambda raw: pa.array(
        [None if one is None else list(one) for one in raw], pa.list_(pa.uint8(), len(raw[0]))
    ),
    "letters": lambda raw: pa.array([None if one is None else one.hex().upper() for one in raw], pa.large_string()),
}


@pytest.mark.parametrize("size", [16, 20, 32, 7, 33])
@pytest.mark.parametrize("kept_as", KEPT_AS)
def test_a_hash_is_read_however_parquet_keeps_it(tmp_path: Path, kept_as: str, size: int) -> None:
    raw = [bytes((11 * at + 5 * part) % 256 for part in range(size)) for at in range(40, 43)] + [None]
    hashes, names = KEPT_AS[kept_as](raw), list("abcd")
    tables = {
        "invoice_files": {"path": names, "size": range(4), "sha256": hashes},
        "backup_listing": {"repo_id": ["r"] * 4, "path_norm": names, "hash": hashes},
    }
    for table, columns in tables.items():
        pq.write_table(pa.table(columns), tmp_path / f"{table}.parquet")
        reading = pipeline.read(tmp_path / f"{table}.parquet", table=table)
        found = reading.rows["sha256" if table == "invoice_files" else "hash"].to_list()
        if size in (16, 20, 32) or kept_as == "letters":
            assert [one and one.lower() for one in found] == [one and one.hex() for one in raw]
        else:
            assert found == [None]
            assert set(reading.set_aside["code"]) == {"reason.no_hash"}
            assert reading.set_aside["source_row"].to_list() == [1, 2, 3]


def test_other_binary_values_are_set_aside_and_text_in_bytes_is_text(tmp_path: Path) -> None:
    path = tmp_path / "hashes.parquet"
    frame = {"repo_id": ["r"] * 4, "path_norm": [b"a", b"\xff\xfe", "乙".encode(), b"d"]}
    values = [b"\x80" * 32, b"\x81" * 32, b"ab" * 32, b"\x83" * 7]
    pl.DataFrame({**frame, "hash": values}).write_parquet(path)
    found = pipeline.read(path, table="backup_listing")
    assert found.rows["hash"].to_list() == ["80" * 32, "ab" * 32]
    assert found.rows["path_norm"].to_list() == ["a", "乙"]
    assert dict(found.set_aside.select("source_row", "reason").iter_rows()) == {
        2: "path_norm: a binary value that is no text",
        4: "hash: a binary value that is no hash of 16, 20 or 32 bytes",
    }
    assert found.set_aside["value"].to_list() == ["fffe", "83" * 7]


@pytest.mark.parametrize(
    ("written", "state"),
    [
        ("01", "not_needed"),
        ("2", "waiting_for_buyer"),
        ("销方录入待购方确认", "waiting_for_buyer"),
        ("02 销方录入待购方确认", "waiting_for_buyer"),
        ("03:购方录入待销方确认", "waiting_for_seller"),
        ("04-购销双方已确认", "confirmed"),
        ("作废（销方录入购方否认）", "refused_by_buyer"),
        ("06、作废(购方录入销方否认)", "refused_by_seller"),
        ("作废（超 72 小时未确认）", "lapsed"),
        ("超72小时未确认", "lapsed"),
        ("08", "withdrawn"),
        ("作废（发起方已撤销）", "withdrawn"),
        ("作废（确认后撤销）", "withdrawn_after"),
        ("10", "abnormal"),
        ("作废（异常凭证）", "abnormal"),
        ("11", "taxpayer_state"),
        ("作废（纳税人状态异常阻断）", "taxpayer_state"),
        ("待确认", "waiting"),
        ("已作废", "void"),
        ("05 购销双方已确认", "unknown"),
        ("火星文", "unknown"),
    ],
)
def test_a_red_confirmation_form_by_code_or_word(tmp_path: Path, written: str, state: str) -> None:
    path = tmp_path / "红字确认单.csv"
    path.write_text(
        "红字发票信息确认单编号,对应蓝字发票号码,红字发票号码,确认单状态,录入日期,确认日期,金额,税额\n"
        f"11010125050000000001,25112000000000000001,,{written},2025-05-30 10:00:00,,-100.00,***\n",
        encoding="utf-8",
    )
    row = read(path, table="red_confirmations").rows.row(0, named=True)
    assert row["state"] == state
    assert (row["form"], row["invoice_number"]) == ("11010125050000000001", "25112000000000000001")
    assert (row["applied_at"], row["confirmed_at"]) == (datetime(2025, 5, 30, 10), None)
    assert (row["net"], row["tax"], row["source_row"]) == (Decimal("-100.00"), Decimal("0.00"), 2)
    assert row.get("确认单状态（原文）") == (written if state == "unknown" else None)
