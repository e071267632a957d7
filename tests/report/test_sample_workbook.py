"""A sample as an auditor gets it, fills it in and has it evaluated; what was changed is refused."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import TYPE_CHECKING

import openpyxl
import pytest

from audit_kit.analysis.sampling import Request, draw, score
from audit_kit.cli import main as cli
from audit_kit.core.errors import RequestError
from audit_kit.loaders.engagement.engagement import open_engagement
from audit_kit.report.sampling.sample_workbook import read_sample, write_sample

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

HEAD = "发票号码,开票日期,购买方名称,价税合计,开票渠道"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An engagement of 300 rows, with red-letter rows, a row of no amount, and one that cannot be read."""
    place = tmp_path / "e"
    place.mkdir()
    rows = [
        f"2511200000000000{number:04d},2025-05-{number % 28 + 1:02d} 10:00:00,=北京<b>{number}</b>,"
        f"{(number * 37 % 900 + 10) * (-1 if number % 40 == 1 else 1)}.50,{'乐企' if number % 3 else '网页'}"
        for number in range(300)
    ]
    rows[7] = "25112000000000000007,2025-05-03 10:00:00,甲,0.00,网页"
    rows.append("25112000000000009999,2025-05-03 10:00:00,甲,很多,网页")
    for name in ("ledger", "platform"):
        (place / f"{name}.csv").write_text("\n".join([HEAD, *rows]) + "\n", encoding="utf-8")
    (place / "audit.toml").write_text(
        '[engagement]\nname = "例"\ntaken_at = 2025-06-01T09:00:00\n[sources]\nledger = "ledger.csv"\n'
        'platform = "platform.csv"\n',
        encoding="utf-8",
    )
    return place


def fill(path: Path, change: Callable[..., None] | None = None, *, wrong: int = 3) -> Path:
    book = openpyxl.load_workbook(path)
    sheet = book.worksheets[0]
    heads = [cell.value for cell in sheet[2]]
    at, to = heads.index("账面金额（元）"), heads.index("审定金额（元）")
    for number, row in enumerate(sheet.iter_rows(min_row=3)):
        row[to].value = row[at].value if number >= wrong else 0
    if change:
        change(book, sheet, at, to)
    filled = path.with_name("filled.xlsx")
    book.save(filled)
    return filled


def sample(folder: Path, tmp_path: Path, **asked: object) -> Path:
    path = tmp_path / "sample.xlsx"
    given = {"tolerable": Decimal(10_000), "seed": "7", **asked}
    write_sample(draw(open_engagement(folder), Request(**given)), path)
    return path


@pytest.mark.parametrize("method", ["mus", "random", "stratified"])
def test_a_sample_is_drawn_filled_in_and_evaluated(folder: Path, tmp_path: Path, method: str) -> None:
    path = sample(folder, tmp_path, method=method)
    record, rows = read_sample(fill(path))
    found = score(record, rows, engagement=open_engagement(folder))
    assert found.errors >= 2
    assert found.known == int(rows.head(3)["cents"].sum())
    assert found.lower <= found.projected <= found.upper
    assert record["ledger"]["rows"] == 301
    assert record["exclusions"] == [{"name": "set_aside", "rows": 1, "cents": 0}]
    assert record["population"]["rows"] == 300
    texts = [str(cell.value) for row in openpyxl.load_workbook(path)["抽样记录"].rows for cell in row]
    assert {"sha256-counter-1", "7", record["population_sha256"], record["seal"]} <= set(texts)
    assert any("第1314号" in text for text in texts)
    assert all(cell.data_type != "f" for row in openpyxl.load_workbook(path).worksheets[0].rows for cell in row)


def _other_book(_book: object, sheet: openpyxl.worksheet.worksheet.Worksheet, at: int, to: int) -> None:
    sheet.cell(5, at + 1).value = 1.23
    sheet.cell(5, to + 1).value = 1.23


def _fewer(_book: object, sheet: openpyxl.worksheet.worksheet.Worksheet, _at: int, _to: int) -> None:
    sheet.delete_rows(4)


def _empty(_book: object, sheet: openpyxl.worksheet.worksheet.Worksheet, _at: int, to: int) -> None:
    sheet.cell(6, to + 1).value = None


def _words(_book: object, sheet: openpyxl.worksheet.worksheet.Worksheet, _at: int, to: int) -> None:
    sheet.cell(6, to + 1).value = "无误"


def _record(book: openpyxl.Workbook, *_: object) -> None:
    for row in book["抽样记录"].rows:
        if str(row[1].value).startswith("{"):
            row[1].value = str(row[1].value).replace('"confidence": 0.95', '"confidence": 0.9')


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (_other_book, "seal does not match"),
        (_fewer, "seal does not match"),
        (_record, "seal does not match"),
        (_empty, "1 rows without an audited amount"),
        (_words, "无误"),
    ],
)
def test_what_was_changed_or_left_out_is_refused(folder: Path, tmp_path: Path, change, said: str) -> None:
    filled = fill(sample(folder, tmp_path), change)
    with pytest.raises(RequestError, match=said):
        score(*read_sample(filled))


def test_sorting_is_harmless_and_another_ledger_is_not(folder: Path, tmp_path: Path) -> None:
    def turned(_book: object, sheet: openpyxl.worksheet.worksheet.Worksheet, _at: int, _to: int) -> None:
        rows = [[cell.value for cell in row] for row in sheet.iter_rows(min_row=3)]
        for at, row in enumerate(reversed(rows), 3):
            for place, value in enumerate(row, 1):
                sheet.cell(at, place).value = value

    record, rows = read_sample(fill(sample(folder, tmp_path), turned))
    assert score(record, rows, engagement=open_engagement(folder)).errors == 2  # one of the three was 0.00 anyway
    ledger = folder / "ledger.csv"
    ledger.write_text("\n".join(ledger.read_text(encoding="utf-8").splitlines()[:-20]) + "\n", encoding="utf-8")
    with pytest.raises(RequestError, match="not the same"):
        score(record, rows, engagement=open_engagement(folder))


def test_filters_are_named_and_control_totals_must_agree(folder: Path) -> None:
    engagement = open_engagement(folder)
    found = draw(engagement, Request(tolerable=Decimal(5000), only={"channel": "乐企"}, month="2025-05"))
    assert [one["name"] for one in found.record["exclusions"]] == ["set_aside", "channel=乐企"]
    left = found.record["population"]["rows"] + sum(one["rows"] for one in found.record["exclusions"])
    assert left == found.record["ledger"]["rows"]
    yuan = Decimal(found.record["ledger"]["cents"]) / 100
    draw(engagement, Request(tolerable=Decimal(5000), rows=301, yuan=yuan))
    for asked in (
        {"rows": 300},
        {"yuan": yuan + 1},
        {"only": {"nothing": "1"}},
        {"month": "2024-01"},
        {"confidence": 95},
    ):
        with pytest.raises(RequestError):
            draw(engagement, Request(tolerable=Decimal(5000), **asked))  # type: ignore[arg-type]
    with pytest.raises(RequestError, match="tolerable"):
        draw(engagement, Request())


def test_the_command_draws_and_evaluates(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, result = tmp_path / "s.xlsx", tmp_path / "r.xlsx"
    asked = ["--tolerable", "10,000", "--seed", "7", "--json", "--out", str(out)]
    assert cli.main(["sample", str(folder), *asked]) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["drawn"] > 10
    filled = fill(out)
    assert cli.main(["sample", str(folder), "--evaluate", str(filled), "--out", str(result)]) == 0
    assert "推断错报" in capsys.readouterr().out
    book = openpyxl.load_workbook(result)
    assert book.sheetnames == ["评价结果", "样本", "抽样记录"]
    assert {"开票日期", "来源文件", "行"} <= {cell.value for cell in book["样本"][2]}
    assert cli.main(["sample"]) == 2
    assert cli.main(["sample", "--evaluate", str(folder / "ledger.csv")]) == 2
    assert cli.main(["sample", str(folder), "--out", str(folder / "ledger.csv"), "--size", "5"]) == 2
