"""`audit-kit init` and `inspect` on the files of somebody else."""

from __future__ import annotations

import html
import io
import json
import re
import tomllib
from typing import TYPE_CHECKING

import openpyxl
import pytest

from audit_kit.cli.main import main
from audit_kit.core import schema
from audit_kit.loaders.engagement.engagement import open_engagement

if TYPE_CHECKING:
    from pathlib import Path

OWN, NAME = "91110108MA01A2B3XP", "北京某某科技有限公司"
LEDGER = """某某公司发票明细,,,,,,
编制单位：财务部,,,,,单位：元,
日期,凭证号,摘要,票据代码,票据号码,往来单位,价税合计
2024-12-03,记-1,销售,,24112000000012345678,甲公司,1000.00
2024-12-04,记-2,销售,011001900211,12345678,乙公司,500.00
2024-12-31,,本月合计,,,,1500.00
2025-01-03,记-1,销售,,25112000000012345679,甲公司,700.00
2025-01-31,,本月合计,,,,700.00
2025-01-31,,本年累计,,,,2200.00
"""
PLATFORM_HEADS = (
    "序号", "发票代码", "发票号码", "数电发票号码", "销方识别号", "销方名称", "购买方名称", "开票日期", "金额", "税额",
    "价税合计", "发票风险等级",
)  # fmt: skip
PLATFORM = [
    [1, None, None, "24112000000012345678", OWN, NAME, "甲公司", "2024-12-03 10:00:00", 943.40, 56.60, 1000, "正常"],
    [2, "011001900211", "12345678", None, OWN, NAME, "乙公司", "2024-12-04 11:00:00", 471.70, 28.30, 500, "正常"],
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A ledger with title rows and mixed numbers, a platform export, and a letter."""
    place = tmp_path / "客户"
    place.mkdir()
    (place / "发票明细.csv").write_text(LEDGER, encoding="gb18030")
    book = openpyxl.Workbook()
    sheet = book.worksheets[0]
    sheet.title = "发票基础信息"
    for row in [PLATFORM_HEADS, *PLATFORM]:
        sheet.append(row)
    book.save(place / "全量发票查询导出结果.xlsx")
    (place / "说明.doc").write_bytes(b"\xd0\xcf\x11\xe0")
    return place


def test_the_guesses_make_an_engagement_that_opens(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["init", str(folder), "--yes"]) == 0
    said = capsys.readouterr().out
    assert "“日期”没有同名的列，按其数值作为“开票日期”" in said
    assert "表头在第 3 行" in said
    engagement = open_engagement(folder)
    ledger = engagement.reading("ledger")
    assert ledger.rows["source_row"].to_list() == [4, 5, 7]
    assert ledger.set_aside.is_empty()
    assert ledger.control["agrees"].to_list() == [True, True, True]
    assert engagement.taxpayer_ids == (OWN,)
    assert engagement.settings.taxpayer_name == NAME
    assert engagement.direction == "issued"
    assert [file.file for file in engagement.unused] == ["说明.doc"]


def test_exports_of_other_days_and_companies_are_told_from_the_newest(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    book = (folder / "全量发票查询导出结果.xlsx").read_bytes()
    for place in ("exports", "sister_exports"):
        (folder / place).mkdir()
        (folder / place / "全量发票查询导出结果.xlsx").write_bytes(book)
    assert main(["init", str(folder), "--yes"]) == 0, capsys.readouterr().err
    settings = tomllib.loads((folder / "audit.toml").read_text(encoding="utf-8"))
    assert settings["sources"]["exports"] == "exports/全量发票查询导出结果.xlsx"
    assert settings["sources"]["sister_exports"] == "sister_exports/全量发票查询导出结果.xlsx"
    assert settings["sources"]["platform"] == "全量发票查询导出结果.xlsx"


def test_what_is_there_is_never_written_over(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "audit.toml").write_text("# mine", encoding="utf-8")
    assert main(["init", str(folder), "--yes"]) == 2
    assert (folder / "audit.toml").read_text(encoding="utf-8") == "# mine"
    assert "已存在" in capsys.readouterr().err


def test_without_a_terminal_nothing_is_guessed_silently(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(""))
    assert main(["init", str(folder)]) == 2
    assert not (folder / "audit.toml").exists()


def test_a_person_answers(folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "登记.csv").write_text("编号,何时,多少\n25112000000000000001,2025-01-01,3.00\n", encoding="utf-8")
    answers = iter(["", "", "-", "", OWN, "", "received", "2025-02-01T09:00:00"])
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("builtins.input", lambda _: next(answers))
    assert main(["init", str(folder)]) == 0
    settings = open_engagement(folder).settings
    assert settings.direction == "received"
    assert str(settings.taken_at) == "2025-02-01 09:00:00"
    assert "登记.csv" in {file.file for file in open_engagement(folder).unused}
    capsys.readouterr()


def test_a_hostile_name_stays_a_name(tmp_path: Path) -> None:
    file = tmp_path / '台账"]\n[sources]#.csv'
    file.write_text("发票号码,开票日期,价税合计\n25112000000000000001,2025-01-01,3.00\n", encoding="utf-8")
    assert main(["init", str(tmp_path), "--yes"]) == 0
    assert open_engagement(tmp_path).reading("ledger").rows.height == 1


def test_inspect_goes_on_after_a_file_it_does_not_know(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", str(folder), "--json"]) == 2
    shown = capsys.readouterr()
    assert [table["table"] for table in json.loads(shown.out)] == ["platform"]
    assert "发票明细.csv：没有表“企业台账”所需的列 开票日期 (issued_at)" in shown.err
    assert '"日期" = "issued_at"' in shown.err


def test_inspect_takes_a_table_by_its_title_and_a_glob(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    wanted = ["inspect", str(folder / "*.csv"), "--table", "企业台账", "--heading", "日期=issued_at", "--json"]
    assert main(wanted) == 0
    [found] = json.loads(capsys.readouterr().out)
    assert (found["table"], found["rows"], found["totals"]["net"]) == ("ledger", 3, None)
    assert main(["inspect", str(folder), "--table", "账号"]) == 2
    assert "账号权限" in capsys.readouterr().err


def test_without_a_command_it_shows_what_people_come_to_do(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    said = capsys.readouterr().out
    assert said.count("audit-kit ") == 7
    assert "init" in said


# --- the first ten minutes in Chinese ---------------------------------------------------------------------------------

# What may stand in Latin letters on a Chinese page: our own names, formats and settings; versions; units of the law.
ALLOWED = """audit-kit audit toml csv CSV Excel xlsx parquet json manifest findings ledger platform SHA settle month
lang zh redact False engagement target_hours target_share late_threshold python polars dataframely altair great-tables
ipywidgets papermill nbconvert index html init report inspect sources full incremental ISA IT CIS Controls NIST SP
JavaScript calendar plan policy"""
LATIN = {*ALLOWED.split(), *schema.INPUTS, *(name for table in schema.INPUTS for name in schema.dtypes(table))}
IDENTIFIER = re.compile(r"H4sI\S+|https?://\S+|file://\S+|[\w.-]*[\d_./\\][\w./\\:-]*")


class Keyboard(io.StringIO):
    """A terminal at which somebody types these lines."""

    def isatty(self) -> bool:
        return True


def _english(text: str) -> set[str]:
    """Return the English words of a text that are neither identifiers nor names of ours."""
    return {word for word in re.findall(r"[A-Za-z][A-Za-z-]+", IDENTIFIER.sub(" ", text)) if word not in LATIN}


def _visible(page: str) -> str:
    """Return what a reader sees of a page: its text, and the words of its charts."""
    charts = re.findall(r'"(?:title|text)": ?"((?:[^"\\]|\\.)*)"', page)
    plain = re.sub(r"(?s)<(script|style|pre|svg)\b.*?</\1>|<[^>]*hidden[^>]*>[^<]*", " ", page)
    return html.unescape(re.sub(r"<[^>]+>", " ", plain)) + " ".join(json.loads(f'"{text}"') for text in charts)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_the_first_ten_minutes_are_in_chinese(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Somebody else's ledger and a real export; init asks, report follows; nothing is edited, nothing is English."""
    before = {file.name: file.read_bytes() for file in folder.iterdir()}
    monkeypatch.setenv("AUDIT_KIT_LANG", "zh")
    monkeypatch.setenv("AUDIT_KIT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("sys.stdin", Keyboard("\n" * 12))
    assert main(["init", str(folder)]) == 0
    assert main(["report", str(folder), "--out", str(tmp_path / "报告"), "--year", "2024"]) == 0
    said = capsys.readouterr()
    report = tmp_path / "报告" / "2024"
    assert {file.name: file.read_bytes() for file in folder.iterdir() if file.name in before} == before
    assert not _english((said.out + said.err).replace(str(tmp_path), "").replace("%", " "))
    pages = [*report.glob("*.html"), tmp_path / "报告" / "index.html"]
    assert len(pages) == 7
    for page in pages:
        assert page.stat().st_size < 3_000_000
        assert not _english(_visible(page.read_text(encoding="utf-8"))), page.name
    book = openpyxl.load_workbook(report / "findings.xlsx", read_only=True)
    cells = [
        str(cell) for sheet in book for row in sheet.iter_rows(values_only=True) for cell in row if cell is not None
    ]
    assert len(cells) > 50
    assert not _english(" ".join([*book.sheetnames, *cells]))
    front = (report / "index.html").read_text(encoding="utf-8")
    assert "台账 2 张、1,500.00 元；平台 2 张、1,500.00 元" in front
