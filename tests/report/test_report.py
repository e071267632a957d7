from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import nbformat
import openpyxl
import polars as pl
import pytest
from nbformat import v4
from playwright.sync_api import Error

import audit_kit
from audit_kit.cli import main as cli
from audit_kit.core import places
from audit_kit.core.errors import (
    EXIT_DEFECT,
    EXIT_FINDINGS,
    EXIT_UNUSABLE,
    EngagementError,
    PlaceError,
    ReportError,
    RequestError,
    SourceError,
)
from audit_kit.core.words import Words
from audit_kit.report import front, manifest, notebooks, pages, printing
from audit_kit.report import run as report
from audit_kit.rules.sync import observations

if TYPE_CHECKING:
    from collections.abc import Callable

TAX_ID = "91110108MA01A2B3XP"
APRIL = [
    (1, "2025-04-03 10:00:00", "113.00"),
    (2, "2025-04-29 16:00:00", "226.00"),
    (3, "2025-04-30 17:00:00", "339.00"),
]
MAY = [(4, "2025-05-06 10:00:00", "452.00"), (5, "2025-05-07 11:00:00", "565.00"), (6, "2025-05-29 12:00:00", "678.00")]
PARAMETERS = """engagement: str = ""  # 项目
month: str = ""  # 月份
lang: str = "zh"  # 语言
redact: bool = False  # 脱敏
previous: str = ""  # 上月
history: str = ""  # 历史
without: str = ""  # 不用"""
OPEN = """from pathlib import Path
from audit_kit.views.show.page import open_page
more = {"previous": previous, "history": history, "without": without}
p = open_page(engagement, month=month, lang=lang, redact=redact, **more)
print(month, lang, redact, Path(previous).parent.name, p.findings.height, p.analysis.ledger.height)"""


def key(number: int) -> str:
    return f"251120000000000{number:05}"


def lines(rows: list[tuple[int, str, str]], *, without: set[int] = frozenset()) -> str:
    body = [
        f"{key(number)},{at},91110108MA01A2B3XP,北京示例卖方有限公司,北京示例第{number}买方有限公司,{gross},网页"
        for number, at, gross in rows
        if number not in without
    ]
    return "\n".join(["发票号码,开票日期,销方识别号,销方名称,购买方名称,价税合计,开票渠道", *body]) + "\n"


def engagement(
    folder: Path, *, taken_at: str, rows: list[tuple[int, str, str]], missing: set[int], tax_id: str = TAX_ID
) -> Path:
    """Write a ledger and an export in which some are missing."""
    folder.mkdir()
    (folder / "ledger.csv").write_text(lines(rows), encoding="utf-8")
    (folder / "platform.csv").write_text(lines(rows, without=missing), encoding="utf-8")
    (folder / "audit.toml").write_text(
        f"""[engagement]
name = "示例"
taxpayer_id = "{tax_id}"
taxpayer_name = "北京示例卖方有限公司"
taken_at = {taken_at}
[export]
period_start = 2025-04-01T00:00:00
period_end = 2025-06-01T00:00:00
[sources]
ledger = "ledger.csv"
platform = "platform.csv"
""",
        encoding="utf-8",
    )
    return folder


@pytest.fixture
def april(tmp_path: Path) -> Path:
    return engagement(tmp_path / "四月", taken_at="2025-05-01T09:00:00", rows=APRIL, missing={2, 3})


@pytest.fixture
def may(tmp_path: Path) -> Path:
    return engagement(tmp_path / "五月", taken_at="2025-06-01T09:00:00", rows=[*APRIL, *MAY], missing={3, 6})


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(autouse=True)
def kit(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Path:
    """One small notebook in place of the kit's own; it is run by a kernel only where the test is marked slow."""
    monkeypatch.setenv("AUDIT_KIT_CACHE", str(cache))
    folder = tmp_path / "kit"
    folder.mkdir()
    use(folder, monkeypatch, OPEN)
    if request.node.get_closest_marker("slow") is None:
        monkeypatch.setattr(notebooks, "run_all", without_kernel)
    return folder


def without_kernel(
    paths: list[Path], values: dict[str, object], *, lang: str, folder: Path, jobs: int, done: Callable[[Path], None]
) -> None:
    """Leave behind what a run would, its parameters as the only output."""
    assert jobs > 0
    for path in paths:
        notebook = notebooks.prepared(nbformat.read(path, as_version=4), lang=lang)
        notebooks.check(notebook, values, name=path.name)
        notebook.cells[-1].outputs = [v4.new_output("stream", text=f"ran with {values}")]
        nbformat.write(notebook, folder / path.name)
        done(folder / path.name)


def use(folder: Path, monkeypatch: pytest.MonkeyPatch, *sources: str) -> None:
    cells = [v4.new_markdown_cell("# 总览：为什么", metadata={"tags": ["zh"]})]
    cells += [v4.new_markdown_cell("# Overview: why", metadata={"tags": ["en"]})]
    cells += [v4.new_code_cell(PARAMETERS, metadata={"tags": ["parameters"]}), *map(v4.new_code_cell, sources)]
    nbformat.write(v4.new_notebook(cells=cells), folder / "00_overview.ipynb")
    monkeypatch.setattr(places, "notebooks", lambda: sorted(folder.glob("*.ipynb")))


@pytest.mark.slow
def test_a_report_is_pages_workbook_and_manifest(may: Path, tmp_path: Path) -> None:
    out = tmp_path / "报告 {a} 50% [b]"
    result = report.run_report(may, out=out)
    assert result.folder == out / "2025-05"
    assert sorted(path.name for path in out.iterdir()) == [
        *("2025-05", "findings-history", "history.parquet", "index.html", "trend.html"),
    ]
    assert sorted(path.name for path in result.folder.iterdir()) == [
        "00_overview.html",
        "findings.parquet",
        "findings.xlsx",
        "index.html",
        "manifest.json",
    ]
    assert 'href="2025-05/index.html"' in (out / "index.html").read_text(encoding="utf-8")
    front = (result.folder / "index.html").read_text(encoding="utf-8")
    assert "平台缺失发票审计月报" in front
    assert "北京示例卖方有限公司 · 91110108MA01A2B3XP" in front
    assert 'title="总览：为什么">总览</a>' in front
    page = (result.folder / "00_overview.html").read_text(encoding="utf-8")
    assert f"2025-05 zh False  {result.findings.height} 4" in page
    assert "window.vegaEmbed" in page


def test_the_month_holds_its_invoices_and_earlier_ones_still_missing(may: Path, tmp_path: Path) -> None:
    found = report.run_report(may, out=tmp_path / "reports").findings.filter(pl.col("area") != "backup")
    assert sorted(found["invoice_key"].drop_nulls()) == [key(3), key(6)]
    figures = report.run_report(may, out=tmp_path / "reports", month="2025-04").summary
    assert (figures["ledger"]["rows"], figures["missing"]["rows"]) == (3, 1)


def test_the_front_page_opens_on_five_lines_and_events(may: Path, tmp_path: Path) -> None:
    (may / "audit.toml").write_text(
        (may / "audit.toml").read_text(encoding="utf-8") + "[policy]\nmateriality_yuan = 300\n", encoding="utf-8"
    )
    result = report.run_report(may, out=tmp_path / "reports")
    page = (result.folder / "index.html").read_text(encoding="utf-8")
    verdict = page.partition('<dl class="verdict')[2].partition("</dl>")[0]
    assert re.findall("<dt>(.+?)</dt>", verdict) == ["范围", "是否相符", "风险金额", "最大事项", "先做什么"]
    assert "重要性水平 300.00 元（audit.toml 设定）。" in verdict
    assert "先处理什么" in page
    about = json.loads((result.folder / "manifest.json").read_text(encoding="utf-8"))["summary"]
    assert about["materiality_yuan"] == "300.00"
    money = [event for event in about["events"] if event["stake"] != "backup"]
    # The older one is lost, and reaches 300.00 alone; that of the last day may be late, which is no money at risk.
    assert [(event["stake"], event["yuan"], event["at_risk"], event["material"]) for event in money] == [
        ("risk", "339.00", "339.00", True),
        ("late", "678.00", "0.00", False),
    ]
    book = openpyxl.load_workbook(result.folder / "findings.xlsx")
    assert book["事项"]["J3"].value == 339.0
    assert len(list(book["事项"].rows)) - 2 == about["events_in_all"]
    at = [cell.value for cell in book["发现"][2]].index("事项")
    numbers = {row[3]: row[at] for row in book["发现"].values}
    assert (numbers[key(3)], numbers[key(6)]) == (1, money[1]["event"])


def test_the_manifest_names_inputs_outputs_parameters_versions_and_times(may: Path, tmp_path: Path) -> None:
    folder = report.run_report(may, out=tmp_path / "reports", lang="en").folder
    about = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    by_file = {entry["source_file"]: entry for entry in about["inputs"]}
    assert by_file["ledger.csv"]["sha256"] == sha256(may / "ledger.csv")
    assert (by_file["ledger.csv"]["rows_in"], by_file["ledger.csv"]["gross"]) == (6, "2373.00")
    assert about["parameters"] == {"month": "2025-05", "lang": "en", "redact": False}
    assert {"python", "audit-kit", "polars", "papermill"} <= set(about["versions"])
    assert about["finished_at"] >= about["started_at"]
    assert {entry["file"]: entry["sha256"] for entry in about["outputs"]} == {
        path.name: sha256(path) for path in folder.iterdir() if path.name != "manifest.json"
    }
    assert str(tmp_path) not in json.dumps(about)


def sha256(path: Path) -> str:
    return subprocess.run(["sha256sum", path], check=True, capture_output=True, text=True).stdout.split()[0]


def test_the_workbook_has_every_finding_and_every_source(may: Path, tmp_path: Path) -> None:
    result = report.run_report(may, out=tmp_path / "reports")
    book = openpyxl.load_workbook(result.folder / "findings.xlsx")
    assert book.sheetnames == ["发现", "事项", "原因汇总", "数据来源", "合计核对", "勾稽", "逐文件勾稽", "未采用的行"]
    keys = [cell.value for cell in book["发现"]["D"][2:]]
    assert keys == result.findings["invoice_key"].to_list()
    assert [cell.value for cell in book["数据来源"]["B"][2:]] == ["ledger.csv", "platform.csv"]


def test_what_an_auditor_filled_in_stays_when_the_month_is_made_again(may: Path, tmp_path: Path) -> None:
    out = tmp_path / "reports"
    paper = report.run_report(may, out=out).folder / "findings.xlsx"
    book = openpyxl.load_workbook(paper)
    column = next(cell.column for cell in book["发现"][2] if cell.value == "审计说明")
    book["发现"].cell(3, column).value = "已与客户核实"
    book.save(paper)
    report.run_report(may, out=out)
    assert openpyxl.load_workbook(paper)["发现"].cell(3, column).value == "已与客户核实"
    with pytest.raises(RequestError, match=r"holds an auditor's notes, which a redacted report leaves out"):
        report.run_report(may, out=out, redact=True)


def noted(paper: Path, notes: dict[str, str]) -> None:
    """Fill notes into a paper, by the id of the finding."""
    book = openpyxl.load_workbook(paper)
    sheet = book["发现"]
    heads = {cell.value: cell.column for cell in sheet[2]}
    for row in range(3, sheet.max_row + 1):
        if (name := sheet.cell(row, heads["发现编号"]).value) in notes:
            sheet.cell(row, heads["审计说明"]).value = notes[name]
    book.save(paper)


def notes_of(paper: Path) -> dict[str, str]:
    """Return the notes in a paper by the id of the finding."""
    sheet = openpyxl.load_workbook(paper)["发现"]
    heads = {cell.value: cell.column - 1 for cell in sheet[2]}
    rows = list(sheet.iter_rows(min_row=3, values_only=True))
    return {str(row[heads["发现编号"]]): row[heads["审计说明"]] for row in rows if row[heads["审计说明"]]}


def test_what_was_filled_in_goes_from_months_to_the_year_and_back(
    april: Path, may: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "reports"
    papers = {month: out / month / "findings.xlsx" for month in ("2025-04", "2025-05", "2025", "all")}
    report.run_report(april, out=out)
    report.run_report(may, out=out)
    one, two, *_ = report.run_report(may, out=out, month="2025").findings["finding_id"]
    assert notes_of(papers["2025"]) == {}
    noted(papers["2025-05"], {one: "五月写下"})
    monkeypatch.chdir(tmp_path)
    for month in ("2025", "all"):
        report.run_report(may, out=Path("reports"), month=month)
        assert notes_of(papers[month]) == {one: "五月写下"}
    noted(papers["2025"], {one: "全年改写", two: "全年写下"})
    report.run_report(may, out=out, month="2025-05")
    assert notes_of(papers["2025-05"]) == {one: "全年改写", two: "全年写下"}
    noted(papers["2025-05"], {two: "五月再改"})
    report.run_report(may, out=out, month="2025")
    assert notes_of(papers["2025"]) == {one: "全年改写", two: "五月再改"}


def test_files_that_are_not_used_are_named_on_the_page_in_the_manifest_and_in_the_workbook(
    may: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = (may / "audit.toml").read_text(encoding="utf-8")
    (may / "audit.toml").write_text(text[: text.index("[sources]")], encoding="utf-8")
    for name in ("2025-05 2.xlsx", "<b>x</b>.docx", os.fsdecode("附件.docx".encode("gbk"))):
        (may / name.replace("/", "∕")).write_bytes(b"")
    with pytest.raises(SourceError, match=r"^2025-05 2\.xlsx: looks like a table, and cannot be read: is empty"):
        report.run_report(may, out=tmp_path / "reports")
    assert not (tmp_path / "reports").exists()
    made = report.run_report(may, out=tmp_path / "reports", without=["2025-05*.xlsx"])
    assert "未使用：2025-05 2.xlsx：按用户要求不使用（--without）\n" in capsys.readouterr().err
    about = json.loads((made.folder / "manifest.json").read_text(encoding="utf-8"))
    names = ["2025-05 2.xlsx", "<b>x<∕b>.docx", "附件.docx"]
    assert [(file["file"], file["kind"]) for file in about["unused"]] == list(
        zip(names, ("left_out", "other", "other"), strict=True)
    )
    assert (about["unused_in_all"], about["parameters"]["without"]) == (3, "2025-05*.xlsx")
    page = (made.folder / "index.html").read_text(encoding="utf-8")
    assert "文件夹中有 3 个文件未使用" in page
    for name in ("2025-05 2.xlsx", "&lt;b&gt;x&lt;∕b&gt;.docx", "附件.docx"):
        assert f'<td class="wrap">{name}</td>' in page
    assert "<b>x" not in page
    sheet = openpyxl.load_workbook(made.folder / "findings.xlsx")["未采用的行"]
    assert {cells[1] for cells in sheet.iter_rows(values_only=True)} >= set(names)


def test_months_are_listed_and_compared_with_the_one_before(april: Path, may: Path, tmp_path: Path) -> None:
    out = tmp_path / "reports"
    first = report.run_report(april, out=out)
    assert first.summary["changes"] is None
    second = report.run_report(may, out=out)
    before, now = (set(made.findings["invoice_key"]) for made in (first, second))
    assert len(before & now) == 2  # one of them under another cause than a month before: it is still open
    counts = {word: side["rows"] for word, side in second.summary["changes"].items()}
    assert counts == {
        "new": len(now - before),
        "reopened": 0,
        "open": len(before & now),
        "closed": len(before - now),
    }
    lists = (out / "index.html").read_text(encoding="utf-8")
    assert lists.index('href="2025-05/index.html"') < lists.index('href="2025-04/index.html"')
    page = (out / "2025-05" / "00_overview.html").read_text(encoding="utf-8")
    assert "2025-04/manifest.json" in page
    assert "与上期报告相比（2025-04）" in (out / "2025-05" / "index.html").read_text(encoding="utf-8")


def test_a_year_and_everything_are_reports_of_their_own_beside_the_months(
    april: Path, may: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "reports"
    report.run_report(april, out=out)
    year = report.run_report(may, out=out, month="2025")
    assert year.summary["changes"] is None  # a month is no earlier year
    assert (year.summary["ledger"]["rows"], year.summary["missing"]["rows"]) == (6, 2)
    assert cli.main(["report", str(may), "--out", str(out), "--all", "--json"]) == 0
    everything = json.loads(capsys.readouterr().out)
    assert everything["summary"]["ledger"] == year.summary["ledger"] | {"yuan": "2373.00"}
    assert cli.main(["report", str(may), "--out", str(out), "--month", "2025-5"]) == 0
    assert capsys.readouterr().out.endswith("/2025-05/index.html\n")
    assert sorted(path.name for path in out.iterdir() if path.is_dir()) == [
        *("2025", "2025-04", "2025-05", "all", "findings-history"),
    ]
    about = json.loads((out / "2025-05" / "manifest.json").read_text(encoding="utf-8"))
    assert (about["previous"], about["parameters"]["month"]) == ("2025-04", "2025-05")
    lists = (out / "index.html").read_text(encoding="utf-8")
    for name, said in (("2025", "2025 年"), ("2025-05", "2025 年 5 月"), ("all", "全部期间")):
        assert f'<a href="{name}/index.html">{said}</a>' in lists
    pages_of = {name: (out / name / "index.html").read_text(encoding="utf-8") for name in ("2025", "all")}
    assert "<h1>平台缺失发票审计年报</h1>" in pages_of["2025"]
    assert "<h1>平台缺失发票审计报告</h1>" in pages_of["all"]
    assert "全部期间的报告不与以往的报告比较" in pages_of["all"]
    other = engagement(tmp_path / "别家", taken_at="2025-06-01T09:00:00", rows=MAY, missing=set(), tax_id="91110105MA0")
    for name in ("2025-04", "2025-05", "2025"):
        shutil.rmtree(out / name)
    with pytest.raises(RequestError, match="holds the reports of"):
        report.run_report(other, out=out)


def test_only_months_are_kept_in_the_history(may: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(observations, "remembered", remembered)
    for month in ("all", "2025", "2025-05"):
        report.run_report(may, out=tmp_path / "reports", month=month)
    assert pl.read_parquet(tmp_path / "reports" / "history.parquet", glob=False)["month"].to_list() == ["2025-05"]


def test_a_later_month_of_the_same_files_closes_nothing(tmp_path: Path) -> None:
    """Each kind of finding of April is still there in May, though no file has changed."""
    folder = engagement(tmp_path / "e", taken_at="2025-06-01T09:00:00", rows=[*APRIL, *MAY], missing={3, 6})
    text = (folder / "platform.csv").read_text(encoding="utf-8")
    text = text.replace("113.00", "131.00") + lines([(90, "2025-04-09 10:00:00", "77.00")]).splitlines()[1] + "\n"
    (folder / "platform.csv").write_text(text, encoding="utf-8")
    first = report.run_report(folder, out=tmp_path / "reports", month="2025-04")
    before = first.findings.filter(pl.col("area") != "backup")
    assert before["invoice_key"].sort().to_list() == [key(1), key(3), key(90)]
    changes = report.run_report(folder, out=tmp_path / "reports", month="2025-05").summary["changes"]
    assert (changes["closed"]["rows"], changes["new"]["rows"]) == (0, 1)
    assert changes["open"]["rows"] == first.findings.height
    mended = text.replace("131.00", "113.00")
    (folder / "platform.csv").write_text(mended, encoding="utf-8")
    changes = report.run_report(folder, out=tmp_path / "reports", month="2025-05").summary["changes"]
    assert changes["closed"] == {"rows": 1, "yuan": Decimal("113.00")}


def test_the_page_and_the_console_say_which_month_and_what_lies_outside(
    may: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = report.run_report(may, out=tmp_path / "reports")
    lines_of = [
        "本报告范围：2025 年 5 月。未指定月份，取台账最近的一个月。",
        (
            "范围以外：台账 3 张、678.00 元，平台 2 张、339.00 元，涉及发现 1 项，"
            "其中 1 项此前未解决或跨月，已列入本报告。"
        ),
    ]
    assert made.summary["scope"]["lines"] == lines_of
    said = capsys.readouterr().err
    page = (made.folder / "index.html").read_text(encoding="utf-8")
    for line in lines_of:
        assert line in page
        assert line in said
    table = page[page.index('id="months"') :]
    rows = re.findall(r"<tr[^>]*><th scope=\"row\">(.*?)</th>(.*?)</tr>", table[: table.index("</table>")])
    cells = {name: re.findall("<td[^>]*>(.*?)</td>", line) for name, line in rows}
    assert cells["2025 年 4 月"] == ["3", "678.00", "2", "339.00", "1", "339.00", "1", "此前；未解决的列入本报告"]
    assert cells["2025 年 5 月"] == ["3", "1,695.00", "2", "1,017.00", "1", "678.00", "1", "本报告"]
    assert cells["合计"] == ["6", "2,373.00", "4", "1,356.00", "2", "1,017.00", "2", ""]
    assert "此前月份仍未解决（不计入合计）" in page
    assert "其中此前月份 1 张" in page
    asked = report.run_report(may, out=tmp_path / "reports", month="2025-05")
    assert asked.summary["scope"]["lines"][0] == "本报告范围：2025 年 5 月。"


def test_a_lonely_date_chooses_no_month_and_is_named_on_the_page(tmp_path: Path) -> None:
    rows = [(number, f"2024-12-{number:02d} 10:00:00", "106.00") for number in range(1, 21)]
    rows.append((21, "2025-01-21 10:00:00", "106.00"))
    folder = engagement(tmp_path / "e", taken_at="2025-02-01T09:00:00", rows=rows, missing={3})
    made = report.run_report(folder, out=tmp_path / "reports")
    assert made.folder.name == "2024-12"
    page = (made.folder / "index.html").read_text(encoding="utf-8")
    assert "取台账最近的一个月，孤立的日期不计" in page
    assert "2025 年 1 月只有 1 张（最早为 ledger.csv 第 22 行，2025-01-21）" in page
    assert report.run_report(folder, out=tmp_path / "reports", month="2025-01").folder.name == "2025-01"


def test_a_year_is_asked_for_as_a_year(may: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["report", str(may), "--out", str(tmp_path / "reports")]
    assert cli.main([*command, "--year", "2025-05"]) == EXIT_UNUSABLE
    assert "'2025-05' 不是年份" in capsys.readouterr().err
    assert cli.main([*command, "--year", "2024"]) == EXIT_UNUSABLE
    assert "没有 2024 的发票" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        cli.main([*command, "--year", "2025", "--all"])
    assert cli.main([*command, "--year", "2025"]) == 0


def test_two_months_at_once_keep_the_history_of_both(
    april: Path, may: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "报告 {a} 50% [b]"
    run = notebooks.run_all

    def with_april_meanwhile(*arguments: object, **options: object) -> None:
        monkeypatch.setattr(notebooks, "run_all", run)
        report.run_report(april, out=out)
        run(*arguments, **options)

    monkeypatch.setattr(notebooks, "run_all", with_april_meanwhile)
    monkeypatch.setattr(observations, "remembered", remembered)
    report.run_report(may, out=out)
    assert pl.read_parquet(out / "history.parquet", glob=False)["month"].to_list() == ["2025-04", "2025-05"]
    lists = (out / "index.html").read_text(encoding="utf-8")
    assert lists.index('href="2025-05/index.html"') < lists.index('href="2025-04/index.html"')


def remembered(history: pl.DataFrame | None, _: pl.DataFrame, *, month: str) -> pl.DataFrame:
    """A history of one line a month, where the sample is too small to have any."""
    new = pl.DataFrame([{"month": month, "channel": "网页"}], schema=observations.HISTORY)
    return new if history is None else pl.concat([history, new]).sort("month")


def test_a_history_that_cannot_be_read_is_kept(may: Path, tmp_path: Path) -> None:
    (tmp_path / "reports").mkdir()
    (tmp_path / "reports" / "history.parquet").write_bytes(b"PAR1 of another version")
    report.run_report(may, out=tmp_path / "reports")
    assert (tmp_path / "reports" / "history.unreadable.parquet").read_bytes() == b"PAR1 of another version"
    assert pl.read_parquet(tmp_path / "reports" / "history.parquet").columns[0] == "month"


def test_a_folder_that_is_no_report_is_not_replaced(may: Path, tmp_path: Path) -> None:
    exports = tmp_path / "exports" / "2025-05"
    exports.mkdir(parents=True)
    (exports / "platform.csv").write_text("evidence")
    with pytest.raises(RequestError, match="is no report"):
        report.run_report(may, out=tmp_path / "exports")
    assert [path.name for path in (tmp_path / "exports").rglob("*")] == ["2025-05", "platform.csv"]


def test_a_report_that_an_earlier_version_hid_is_brought_back(may: Path, tmp_path: Path) -> None:
    out = tmp_path / "reports"
    report.run_report(may, out=out)
    (out / ".making-x").mkdir()
    (out / "2025-05").rename(out / ".making-x" / "earlier")
    report.run_report(may, out=out, month="2025-04")
    assert json.loads((out / "2025-05" / "manifest.json").read_text(encoding="utf-8"))["month"] == "2025-05"


def test_reports_are_not_written_below_a_file(may: Path, tmp_path: Path) -> None:
    (tmp_path / "reports").write_text("")
    with pytest.raises(PlaceError, match="choose another --out"):
        report.run_report(may, out=tmp_path / "reports")


def test_a_month_made_again_is_the_same_but_for_its_times(april: Path, may: Path, tmp_path: Path) -> None:
    out = tmp_path / "reports"
    report.run_report(april, out=out)
    first = report.run_report(may, out=out)
    again = report.run_report(may, out=out)
    assert again.findings.equals(first.findings)
    assert again.summary == first.summary
    assert sorted(path.name for path in out.iterdir() if path.is_dir()) == [
        *("2025-04", "2025-05", "findings-history"),
    ]


@pytest.mark.slow
def test_a_failed_run_leaves_the_last_report_and_the_notebook_at_its_failing_cell(
    may: Path, tmp_path: Path, kit: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "reports"
    report.run_report(may, out=out)
    before = {path: path.read_bytes() for path in (out / "2025-05").iterdir()}
    use(kit, monkeypatch, OPEN, "1 / 0")
    with pytest.raises(
        ReportError, match=r"00_overview.ipynb stopped at cell \d+: ZeroDivisionError: division by zero"
    ):
        report.run_report(may, out=out)
    assert {path: path.read_bytes() for path in (out / "2025-05").iterdir()} == before
    failed = out / "failed" / "2025-05"
    assert sorted(path.name for path in failed.iterdir()) == ["00_overview.ipynb", "why.txt"]
    assert "ZeroDivisionError" in (failed / "why.txt").read_text(encoding="utf-8")
    outputs = nbformat.read(failed / "00_overview.ipynb", as_version=4).cells[-1].outputs
    assert outputs[0].ename == "ZeroDivisionError"
    assert not list(out.glob(".making-*"))
    use(kit, monkeypatch, "1")
    report.run_report(may, out=out)
    assert not failed.exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("source", "code"),
    [
        ("from audit_kit.core.errors import SourceError\nraise SourceError('error_formats.empty', file='x.csv')", 2),
        ("1 / 0", EXIT_DEFECT),
    ],
)
def test_the_exit_code_tells_whose_fault_it_is(  # noqa: PLR0917  fixtures
    may: Path,
    tmp_path: Path,
    kit: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    source: str,
    code: int,
) -> None:
    use(kit, monkeypatch, source)
    assert cli.main(["report", str(may), "--out", str(tmp_path / "reports")]) == code
    said = capsys.readouterr()
    assert said.out == ""
    told = said.err.splitlines()[-1]
    assert re.match(r"audit-kit: 00_overview\.ipynb 在第 \d+ 个单元格处停止：", told)
    why = "x.csv：是空文件；请重新导出" if code != EXIT_DEFECT else "ZeroDivisionError: division by zero"
    assert f"停止：{why}；已运行的部分保存在 " in told


def test_fail_on_a_severity(may: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "reports"
    severities = set(report.run_report(may, out=out).findings["severity"].cast(pl.String))
    assert "critical" not in severities
    assert report.run_report(may, out=out, fail_on="critical").exit_code == 0
    assert report.run_report(may, out=out, fail_on="info").exit_code == EXIT_FINDINGS
    capsys.readouterr()
    assert cli.main(["report", str(may), "--out", str(out), "--fail-on", "info", "--json"]) == EXIT_FINDINGS
    said = json.loads(capsys.readouterr().out)
    assert said["page"].endswith("2025-05/index.html")
    assert said["summary"]["missing"]["rows"] == 2


def test_a_redacted_report_names_nobody(may: Path, tmp_path: Path) -> None:
    out = tmp_path / "reports"
    report.run_report(may, out=out, redact=True)
    for path in [out / "index.html", *(out / "2025-05").iterdir()]:
        data = path.read_bytes()
        if path.suffix == ".xlsx":
            data = "".join(
                str(cell.value) for sheet in openpyxl.load_workbook(path) for row in sheet for cell in row
            ).encode()
        for name in ("北京示例卖方有限公司", "北京示例第6买方有限公司", "91110108MA01A2B3XP"):
            assert name.encode() not in data, (path.name, name)
    assert "本报告已脱敏" in (out / "2025-05" / "index.html").read_text(encoding="utf-8")
    assert report.run_report(may, out=out).exit_code == 0, "the masked report is known as one of the same company"


def test_a_folder_of_reports_is_of_one_engagement(may: Path, tmp_path: Path) -> None:
    out = tmp_path / "reports"
    report.run_report(may, out=out)
    other = engagement(
        tmp_path / "别家", taken_at="2025-06-01T09:00:00", rows=MAY, missing=set(), tax_id="91110105MA00000000"
    )
    with pytest.raises(RequestError, match="holds the reports of"):
        report.run_report(other, out=out)


def test_a_report_is_not_written_where_its_files_would_be_taken_for_sources(may: Path) -> None:
    text = (may / "audit.toml").read_text(encoding="utf-8")
    (may / "audit.toml").write_text(text[: text.index("[sources]")], encoding="utf-8")
    with pytest.raises(RequestError, match="inside the engagement"):
        report.run_report(may, out=may / "reports")
    assert not (may / "reports").exists()


def test_nothing_is_written_into_the_engagement(may: Path, tmp_path: Path) -> None:
    before = {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in may.iterdir()}
    report.run_report(may, out=tmp_path / "reports")
    assert {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in may.iterdir()} == before


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"lang": "fr"}, "no language"),
        ({"fail_on": "grave"}, "no severity"),
        ({"jobs": 0}, "at least 1"),
        ({"month": "2025-5-1"}, "write it as 2025-05"),
        ({"month": "2031-01"}, "its months are 2025-04, 2025-05"),
    ],
)
def test_what_cannot_be_reported_is_refused_before_anything_is_written(
    may: Path, tmp_path: Path, options: dict[str, object], sentence: str
) -> None:
    with pytest.raises(RequestError, match=sentence):
        report.run_report(may, out=tmp_path / "reports", **options)
    assert not list(tmp_path.glob("reports/2*"))


def test_progress_is_plain_lines_in_a_log_and_the_page_alone_on_stdout(
    may: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("AUDIT_KIT_CACHE", str(tmp_path / "own"))
    assert cli.main(["report", str(may), "--out", str(tmp_path / "reports")]) == 0
    said = capsys.readouterr()
    assert said.out == (tmp_path / "reports" / "2025-05" / "index.html").as_uri() + "\n"
    lines = [line for line in said.err.splitlines() if line.startswith("[")]
    assert [line.split("  ")[-1] for line in lines][:2] == ["读取文件", "核对台账与平台"]
    assert lines[-1].endswith("  保存报告")
    total = len(lines)
    assert [line.split()[0] for line in lines] == [f"[{done}/{total}]" for done in range(1, total + 1)]
    assert "\r" not in said.err


@pytest.mark.slow
def test_the_analysis_is_computed_once_and_the_notebooks_read_it(
    may: Path, tmp_path: Path, kit: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AUDIT_KIT_CACHE", str(tmp_path / "own"))
    entries = (
        "from audit_kit.core.cache_folder import cache_folder\n"
        "print('kept', len(list(cache_folder().glob('*/*.json'))))"
    )
    use(kit, monkeypatch, entries, OPEN, entries)
    folder = report.run_report(may, out=tmp_path / "reports").folder
    assert (folder / "00_overview.html").read_text(encoding="utf-8").count("kept 1") == 2


def test_an_earlier_manifest_that_is_damaged_is_no_obstacle(april: Path, may: Path, tmp_path: Path) -> None:
    out = tmp_path / "reports"
    report.run_report(april, out=out)
    (out / "2025-04" / manifest.FILE).write_text("{", encoding="utf-8")
    assert report.run_report(may, out=out).summary["changes"] is None


def test_a_pdf_without_a_browser_is_refused_before_the_work_begins(
    may: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AUDIT_KIT_BROWSER", str(tmp_path / "nothing"))
    with pytest.raises(RequestError, match="name a Chromium, Chrome or Edge"):
        report.run_report(may, out=tmp_path / "reports", pdf=True)
    assert not (tmp_path / "reports").exists()


@pytest.mark.browser
def test_pdf(may: Path, tmp_path: Path) -> None:
    folder = report.run_report(may, out=tmp_path / "reports", pdf=True).folder
    for name, words in (("index.pdf", "平台缺失发票审计月报"), ("00_overview.pdf", "总览：为什么")):
        text = subprocess.run(["pdftotext", folder / name, "-"], check=True, capture_output=True, text=True).stdout
        assert words in text


def test_the_library_door_gives_the_same() -> None:
    assert audit_kit.run_report is report.run_report


def test_an_input_that_changes_while_the_pages_are_made_stops_the_report(
    may: Path, tmp_path: Path, monkeypatch
) -> None:
    book = next(path for path in sorted(may.rglob("*")) if path.suffix == ".csv")
    run = notebooks.run_all

    def changed_meanwhile(*arguments: object, **options: object) -> None:
        run(*arguments, **options)
        book.write_bytes(book.read_bytes() + b"\n")

    monkeypatch.setattr(notebooks, "run_all", changed_meanwhile)
    with pytest.raises(EngagementError, match="changed while the work was under way"):
        report.run_report(may, out=tmp_path / "reports")
    assert list((tmp_path / "reports").glob("2025-*")) == []


@pytest.mark.parametrize("sandbox_starts", [True, False])
def test_the_browser_is_in_its_sandbox_where_that_can_start(
    monkeypatch: pytest.MonkeyPatch, *, sandbox_starts: bool
) -> None:
    class Chromium:
        asked: ClassVar[list[dict[str, object]]] = []

        def launch(self, **options: object) -> str:
            self.asked.append(options)
            if options["chromium_sandbox"] and not sandbox_starts:
                raise Error("Running as root without --no-sandbox is not supported")
            return "browser"

    monkeypatch.setattr(printing, "browser_path", lambda: "/chromium")
    Chromium.asked.clear()
    assert printing._browser(Chromium()) == "browser"
    assert [one["chromium_sandbox"] for one in Chromium.asked] == ([True] if sandbox_starts else [True, False])
    assert not any("args" in one for one in Chromium.asked)


def test_a_page_with_hostile_text_is_printed_as_text_and_asks_nobody(tmp_path: Path) -> None:
    hostile = "<script>document.title='RUN'</script><img src=http://127.0.0.1:9/x onerror=alert(1)>{{7*7}}"
    page = tmp_path / "page.html"
    page.write_text(pages.render("months", lang="zh", title=hostile, lines=[]), encoding="utf-8")
    (made,) = printing.print_pages([page], made_at=datetime(2025, 6, 1, 9))
    text = subprocess.run(["pdftotext", made, "-"], check=True, capture_output=True, text=True).stdout
    assert "onerror=alert(1)" in "".join(text.split())
    assert "RUN'</script>" in "".join(text.split())


def test_reports_are_not_kept_under_a_name_that_no_page_can_hold(may: Path, tmp_path: Path) -> None:
    out = Path(os.fsdecode(os.fsencode(tmp_path) + "/报告".encode("gbk")))
    with pytest.raises(RequestError, match="no UTF-8"):
        report.run_report(may, out=out)
    assert not out.exists()


def test_totals_of_a_sheet_that_only_checks_stand_on_its_files_line() -> None:
    def file(name: str, sheet: str | None) -> dict[str, object]:
        counts = dict.fromkeys(("rows_in", "rows_kept", "rows_set_aside"), 1)
        return {"table": "platform", "source_file": name, "sheet": sheet, "gross": None, "sha256": "", **counts}

    def total(sheet: str | None, *, agrees: bool) -> dict[str, object]:
        return {"source_file": "p.xlsx", "sheet": sheet, "agrees": agrees}

    control = [total("发票基础信息", agrees=True), total("信息汇总表", agrees=False), total("信息汇总表", agrees=True)]
    about = {"inputs": [file("p.xlsx", "发票基础信息"), file("q.csv", None)], "control": control}
    said = [line["stated"] for line in front._sources(about, Words("zh"))]
    assert said == ["不符 1/3", "未提供"]  # as many as the sentence counts: the table leaves none out
