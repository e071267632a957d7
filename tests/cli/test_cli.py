from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from datetime import datetime
from pathlib import Path

import openpyxl
import polars as pl
import pytest
from filelock import FileLock

from audit_kit import resources
from audit_kit.cli import main as cli
from audit_kit.cli.parsing import width
from audit_kit.core.errors import EXIT_DEFECT, EXIT_UNUSABLE

HOUSE = Path(__file__).parents[2]
MISSING = "25112000000000000003"
LEDGER = """发票号码,开票日期,销方识别号,购买方名称,金额,税额,价税合计,开票渠道
25112000000000000001,2025-05-03 10:00:00,91110108MA01A2B3XP,北京甲公司,100.00,13.00,113.00,网页
25112000000000000002,2025-05-03 11:00:00,91110108MA01A2B3XP,北京乙公司,200.00,26.00,226.00,网页
25112000000000000003,2025-05-04 12:00:00,91110108MA01A2B3XP,北京丙公司,300.00,39.00,339.00,网页
２５１１２００００００００００００００４,2025-05-05 12:00:00,91110108MA01A2B3XP,北京丁公司,400.00,52.00,452.00,网页
"""
PLATFORM = "\n".join(
    line.replace("２５１１２００００００００００００００４", "25112000000000000004").replace(",网页", "")
    for line in LEDGER.replace(",开票渠道", "").splitlines()
    if MISSING not in line
)


@pytest.fixture
def engagement(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Four invoices, one of them missing from the platform, one written in full width."""
    monkeypatch.setenv("AUDIT_KIT_CACHE", str(tmp_path / "cache"))
    folder = tmp_path / "甲"
    folder.mkdir()
    (folder / "ledger.csv").write_text(LEDGER, encoding="utf-8")
    (folder / "platform.csv").write_text(PLATFORM + "\n", encoding="utf-8")
    (folder / "audit.toml").write_text(
        """[engagement]
name = "甲"
taxpayer_id = "91110108MA01A2B3XP"
taken_at = 2025-05-10T09:00:00
[sources]
ledger = "ledger.csv"
platform = "platform.csv"
""",
        encoding="utf-8",
    )
    return folder


def parsers() -> dict[str, object]:
    """Every command and its parser, those of a command's own commands included."""
    found: dict[str, object] = {}

    def visit(parser: object, words: str) -> None:
        for action in parser._actions:  # type: ignore[attr-defined]
            if isinstance(action.choices, dict):
                for name, sub in action.choices.items():
                    found[f"{words}{name}"] = sub
                    visit(sub, f"{words}{name} ")

    visit(cli.parser(), "")
    return found


def test_every_command_of_the_design_is_there() -> None:
    wanted = ["report", "inspect", "reconcile", "diagnose", "trace", "backups", "settle", "simulate", "lab"]
    assert set(wanted) <= set(parsers())


@pytest.mark.parametrize("name", list(parsers()))
def test_every_command_says_what_it_does_with_an_example_that_works(name: str) -> None:
    sub = parsers()[name]
    assert width(sub.description) > 20  # type: ignore[attr-defined]
    if "{" in sub.format_usage() and sub.epilog is None:  # type: ignore[attr-defined]
        return
    example = sub.epilog.removeprefix("示例：audit-kit ")  # type: ignore[attr-defined]
    assert example.startswith(name)
    options = cli.parser().parse_args(shlex.split(example))
    assert callable(options.run)


@pytest.mark.parametrize("name", list(parsers()))
def test_help_is_in_the_language_of_whoever_asks(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    said = {}
    for lang in ("zh", "en"):
        with pytest.raises(SystemExit) as ended:
            cli.main([*name.split(), "--lang", lang, "--help"])
        assert ended.value.code == 0
        said[lang] = capsys.readouterr().out
    assert said["zh"].startswith(f"用法：audit-kit {name} ")
    assert said["en"].startswith(f"usage: audit-kit {name} ")
    assert not re.search(
        r"[a-z]{2,} [a-z]{2,} [a-z]{2,}", said["zh"].split("示例：")[0].replace(f"audit-kit {name}", "")
    )
    assert max(width(line) for line in said["zh"].splitlines() if " " in line.strip()) <= 100


@pytest.mark.parametrize(
    ("words", "chinese", "english"),
    [
        (["report", "--lang", "fr"], "参数 --lang：不能是 'fr'（可选：", "argument --lang: invalid choice: 'fr'"),
        (["trace"], "缺少参数：审计项目, 发票号码", "the following arguments are required: engagement, number"),
        (["settle", "a", "b", "--taken-at", "x"], "'x' 不是时间", "'x' is not a time"),
        (["simulate", "d", "--cause", "x=much"], "'much' 不是占比", "'much' is not a share"),
        (["simulate", "d", "--seed", "x"], "参数 --seed：'x' 不是 int 类型的值", "invalid int value: 'x'"),
        (["report", "--month"], "参数 --month：需要一个值", "expected one argument"),
        (["cache", "show", "x"], "不认识的参数：x", "unrecognized arguments: x"),
        (["drill", "dance"], "不能是 'dance'", "invalid choice: 'dance'"),
    ],
)
def test_a_wrong_word_is_told_in_the_language_of_whoever_reads(
    words: list[str], chinese: str, english: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for lang, sentence in (("zh", chinese), ("en", english)):
        monkeypatch.setenv("AUDIT_KIT_LANG", lang)
        with pytest.raises(SystemExit):
            cli.main(words)
        assert sentence in capsys.readouterr().err


def test_help_loads_no_room() -> None:
    shown = "import sys, audit_kit.cli.main as cli\ntry: cli.main(['--help'])\nfinally: print('polars' in sys.modules)"
    said = subprocess.run([sys.executable, "-c", shown], check=True, capture_output=True, text=True).stdout
    assert "audit-kit report --sample" in said
    assert said.endswith("False\n")


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        cli.main(["--version"])
    assert stopped.value.code == 0
    assert re.fullmatch(r"audit-kit \d+\.\d+\.\d+\n", capsys.readouterr().out)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["report"], "Name the engagement's folder, or ask for --sample"),
        (["report", "{here}", "--sample"], "Name the engagement's folder, or ask for --sample"),
        (["report", "{here}/nowhere"], "no such folder"),
        (["report", "{engagement}", "--month", "May"], "write it as 2025-05"),
        (["report", "{engagement}", "--month", "2024-01"], "its months are 2025-05"),
        (["report", "{engagement}", "--jobs", "0"], "at least 1"),
        (["inspect", "{here}/nothing.xlsx"], "nothing.xlsx"),
        (["reconcile", "{here}/a.csv", "{here}/b.csv", "--out", "{here}/m.csv"], "a.csv"),
        (["reconcile", "{engagement}/ledger.csv", "{engagement}/platform.csv", "--out", "{here}/m.doc"], "must end in"),
        (["diagnose", "{here}/empty", "--out", "{here}/f.csv"], "audit.toml"),
        (["diagnose", "{engagement}", "--out", "{here}/no/f.csv"], "make the folder first"),
        (["trace", "{engagement}", "25119999999999999999"], "no"),
        (["backups", "{here}/nowhere", "--out", "{here}/f.csv"], "no such folder"),
        (["settle", "{engagement}", "{here}/none.xlsx"], "none.xlsx"),
        (["settle", "{engagement}", "{engagement}/platform.csv", "--taken-at", "2025-05-01T00:00"], "no later than"),
        (["simulate", "{engagement}"], "empty"),
        (["simulate", "{here}/new", "--month", "2025-13"], "2025-13"),
        (["simulate", "{here}/new", "--cause", "gremlins=0.1"], "gremlins"),
        (["lab", "{here}/nowhere"], "no such folder"),
    ],
)
def test_what_cannot_be_done_is_one_sentence(
    engagement: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], sentence: str
) -> None:
    filled = [word.format(here=tmp_path, engagement=engagement) for word in words]
    (tmp_path / "empty").mkdir()
    if words[0] == "report":
        filled += ["--out", str(tmp_path / "reports")]
    told = {}
    for lang in ("en", "zh"):
        assert cli.main([*filled, "--lang", lang]) == EXIT_UNUSABLE
        said = capsys.readouterr()
        assert said.out == ""
        progress = re.compile(r"\[\d+/\d+\]|.*(?:未注明|no time of)")
        (told[lang],) = [line for line in said.err.splitlines() if not progress.match(line)]
        assert told[lang].startswith("audit-kit: ")
    assert sentence in told["en"]
    assert re.search("[\u4e00-\u9fff]", told["zh"].replace("甲", ""))
    assert not re.search(r"[a-z]{2,} [a-z]{2,} [a-z]{2,}", told["zh"])


@pytest.mark.parametrize(
    "words",
    [
        ["report", "x", "--lang", "fr"],
        ["settle", "a", "b", "--taken-at", "soon"],
        ["simulate", "d", "--cause", "x"],
    ],
)
def test_what_cannot_be_parsed_exits_with_2_too(words: list[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        cli.main(words)
    assert stopped.value.code == EXIT_UNUSABLE


def test_a_defect_says_what_to_report(
    engagement: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("audit_kit.analysis.work.analyse", lambda *_, **__: 1 / 0)
    assert cli.main(["diagnose", str(engagement), "--out", str(engagement.parent / "f.csv")]) == EXIT_DEFECT
    said = capsys.readouterr().err
    assert "ZeroDivisionError" in said
    assert "的缺陷，与您的数据无关" in said


def test_inspect_shows_how_files_are_read(engagement: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["inspect", str(engagement / "ledger.csv"), "--json"]) == 0
    (table,) = json.loads(capsys.readouterr().out)
    assert (table["table"], table["rows"], table["totals"]["gross"]) == ("ledger", 4, "1130.00")
    assert table["columns"]["价税合计"] == "gross"
    assert table["cleaning"] == [{"row": 5, "cleaning": ["full_width"]}]
    assert cli.main(["inspect", str(engagement / "ledger.csv")]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "  表: 企业台账 (ledger)" in lines
    assert "  采用行数: 4   未采用: 0" in lines
    assert "    价税合计    价税合计 (gross)" in lines
    assert "    5  全角字符" in lines


def test_inspect_takes_the_users_own_headers(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "l.csv").write_text(LEDGER.replace("发票号码", "票号甲"), encoding="utf-8")
    assert cli.main(["inspect", str(tmp_path / "l.csv"), "--heading", "票号甲=digital_number", "--json"]) == 0
    (table,) = json.loads(capsys.readouterr().out)
    assert table["columns"]["票号甲"] == "digital_number"


@pytest.mark.parametrize("ending", ["parquet", "csv", "xlsx"])
def test_reconcile(engagement: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], ending: str) -> None:
    out = tmp_path / f"m.{ending}"
    words = ["reconcile", str(engagement / "ledger.csv"), str(engagement / "platform.csv"), "--out", str(out), "--json"]
    assert cli.main(words) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["outcome"] == {"matched": 2, "missing": 1, "matched_cleaned": 1}
    rows = {"parquet": lambda: pl.read_parquet(out).height, "csv": lambda: pl.read_csv(out).height}
    rows["xlsx"] = lambda: openpyxl.load_workbook(out).active.max_row - 1
    assert rows[ending]() == 4


def test_diagnose_gives_the_missing_one_a_cause(
    engagement: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "f.parquet"
    assert cli.main(["diagnose", str(engagement), "--out", str(out)]) == 0
    found = pl.read_parquet(out)
    assert found.filter(pl.col("invoice_key") == MISSING).height == 1
    assert found.filter(pl.col("cause") == "number_damaged").height == 1
    assert f"{out}: {found.height}" in capsys.readouterr().out


@pytest.mark.parametrize("lang", ["zh", "en"])
def test_a_workbook_of_diagnose_has_the_events_too(engagement: Path, tmp_path: Path, lang: str) -> None:
    out = tmp_path / "f.xlsx"
    assert cli.main(["diagnose", str(engagement), "--out", str(out), "--lang", lang]) == 0
    book = openpyxl.load_workbook(out)
    assert book.sheetnames == {"zh": ["发现", "事项"], "en": ["Findings", "Events"]}[lang]
    found, events = (list(book[name].iter_rows(min_row=2, values_only=True)) for name in book.sheetnames)
    heads = {"zh": ("事项", "序号", "张数/项数"), "en": ("Events", "No.", "Findings")}[lang]
    numbered = [row[found[0].index(heads[0])] for row in found[1:]]
    counts = {row[events[0].index(heads[1])]: row[events[0].index(heads[2])] for row in events[1:]}
    assert counts == {event: numbered.count(event) for event in numbered}


def test_backups_without_any_evidence_are_unknown_never_fine(engagement: Path, tmp_path: Path) -> None:
    out = tmp_path / "b.parquet"
    assert cli.main(["backups", str(engagement), "--out", str(out), "--lang", "en"]) == 0
    found = pl.read_parquet(out)
    assert found.height > 0
    assert set(found["area"].cast(pl.String)) == {"backup"}
    assert set(found["state"].cast(pl.String)) == {"unknown"}


def test_trace_tells_one_invoice(engagement: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["trace", str(engagement), MISSING]) == 0
    assert "2025-05-04 12:00:00" in capsys.readouterr().out
    assert cli.main(["trace", str(engagement), MISSING, "--json"]) == 0
    story = json.loads(capsys.readouterr().out)
    assert {"at", "source", "what"} <= set(story[0])


def test_settle_scores_the_chances(engagement: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    later = tmp_path / "later.csv"
    later.write_text(LEDGER.replace(",开票渠道", "").replace(",网页", ""), encoding="utf-8")
    assert cli.main(["settle", str(engagement), str(later), "--json"]) == 0
    said = capsys.readouterr()
    figures = json.loads(said.out)
    assert list(figures) == ["rows", "brier", "brier_base", "ece", "late_predicted", "late_observed", "still_missing"]
    assert (figures["rows"], figures["late_observed"], figures["still_missing"]) == (1, 1, 0)
    assert "按 2025-05-17 09:00 计" in said.err
    cli.main(["settle", str(engagement), str(later), "--taken-at", "2025-05-12T09:00"])
    said = capsys.readouterr()
    assert "实际已到达的张数：1\n" in said.out
    assert said.err == ""
    for ending in ("parquet", "csv", "xlsx"):
        out = tmp_path / f"arrivals.{ending}"
        assert cli.main(["settle", str(engagement), str(later), "--taken-at", "2025-05-12", "--out", str(out)]) == 0
        assert out.exists()
    came = pl.read_parquet(tmp_path / "arrivals.parquet").select("came", "first_export", "first_export_at").rows()
    assert came == [(True, "later.csv", datetime(2025, 5, 12))]
    capsys.readouterr()


def test_settle_with_the_predictions_of_a_report(
    engagement: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    findings = tmp_path / "findings.parquet"
    cli.main(["diagnose", str(engagement), "--out", str(findings)])
    words = ["settle", str(engagement), str(engagement / "platform.csv"), "--taken-at", "2025-05-12", "--json"]
    capsys.readouterr()
    cli.main([*words, "--predictions", str(findings)])
    first = json.loads(capsys.readouterr().out)
    cli.main(words)
    assert json.loads(capsys.readouterr().out) == first
    pl.read_parquet(findings).with_columns(source_file=pl.lit("other.csv")).write_parquet(findings)
    assert cli.main([*words, "--predictions", str(findings)]) == EXIT_UNUSABLE
    assert "属于另一个审计项目" in capsys.readouterr().err


def test_simulate_puts_the_truth_beside_the_engagement(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "made"
    words = [
        "simulate",
        str(folder),
        "--invoices",
        "200",
        "--seed",
        "3",
        "--format",
        "csv",
        "--cause",
        "lost=0.05",
        "--json",
    ]
    assert cli.main(words) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["cause"]["lost"] == 10
    assert (folder / "audit.toml").is_file()
    assert (tmp_path / "made.truth.parquet").is_file()


@pytest.mark.parametrize(("lang", "page"), [("en", "causes.md"), ("zh", "causes.zh-CN.md")])
def test_the_page_of_causes_in_the_docs_is_current(lang: str, page: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["causes", "--lang", lang]) == 0
    current = capsys.readouterr().out
    assert current == (HOUSE / "docs" / page).read_text(encoding="utf-8"), "run: make docs"
    names = [
        name for table in ("causes", "backup_causes", "response_causes") for name in resources.load(table)["causes"]
    ]
    assert re.findall(r"^### (.+)$", current, re.MULTILINE) == names
    anchors = set(re.findall(r"\]\(#([^)]+)\)", current))
    assert anchors <= {name.lower() for name in names}
    assert not {"{", "}"} & set(current)


@pytest.mark.parametrize(("lang", "page"), [("en", "data-dictionary.md"), ("zh", "data-dictionary.zh-CN.md")])
def test_the_data_dictionary_in_the_docs_is_current(
    lang: str, page: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["dictionary", "--lang", lang]) == 0
    current = capsys.readouterr().out
    assert current == (HOUSE / "docs" / page).read_text(encoding="utf-8"), "run: make docs"
    assert cli.main(["dictionary", "--lang", lang, "--out", str(tmp_path / "d.md")]) == 0
    assert (tmp_path / "d.md").read_text(encoding="utf-8") == current


@pytest.mark.parametrize("ending", ["parquet", "csv", "xlsx"])
def test_a_result_goes_to_a_name_in_gbk(engagement: Path, ending: str, capsys: pytest.CaptureFixture[str]) -> None:
    folder = Path(os.fsdecode(os.fsencode(engagement.parent) + b"/" + "结果".encode("gbk")))
    folder.mkdir()
    out = folder / os.fsdecode("原因.".encode("gbk") + ending.encode())
    assert cli.main(["diagnose", str(engagement), "--out", str(out)]) == 0, capsys.readouterr().err
    assert out.stat().st_size > 0
    assert list(folder.iterdir()) == [out]


def test_the_cache_is_shown_and_cleared_and_what_is_not_ours_stays(
    engagement: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["diagnose", str(engagement), "--out", str(tmp_path / "out.csv")]) == 0
    kept = tmp_path / "cache"
    (kept / "mine").mkdir()
    (kept / "mine.lock").touch()
    (kept / "notes.txt").write_text("mine", encoding="utf-8")
    capsys.readouterr()
    assert cli.main(["cache", "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["folder"] == str(kept)
    assert shown["files"] == 1
    assert shown["bytes"] > 1000
    (entry,) = (path.parent for path in kept.glob("*/manifest.json"))
    with FileLock(entry.with_suffix(".lock")):
        assert cli.main(["cache", "clear"]) == EXIT_UNUSABLE
        assert entry.is_dir()
    assert cli.main(["cache", "clear", "--lang", "en"]) == 0
    assert "1 removed" in capsys.readouterr().out
    assert sorted(path.name for path in kept.iterdir()) == ["mine", "mine.lock", "notes.txt"]
    assert cli.main(["cache", "--lang", "en"]) == 0
    assert "Nothing is kept" in capsys.readouterr().out


def test_spark_that_is_missing_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = {"digital_number": ["1"], "issued_at": [datetime(2025, 5, 1)], "gross": [1.0]}
    files = [str(tmp_path / f"{name}.parquet") for name in ("ledger", "platform", "out")]
    for file in files[:2]:
        pl.DataFrame(rows).write_parquet(file)
    monkeypatch.setitem(sys.modules, "audit_kit.engines.spark", None)
    assert cli.main(["reconcile", *files[:2], "--out", files[2], "--engine", "spark"]) == EXIT_UNUSABLE
    assert "audit-kit[spark]" in capsys.readouterr().err
