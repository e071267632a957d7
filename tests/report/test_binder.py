"""A binder is the same bytes of the same input, shows every change, harms nobody, and makes the report again."""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import shutil
import stat
import subprocess
import sys
import tracemalloc
import warnings
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

import nbformat
import openpyxl
import polars as pl
import pytest
from nbformat import v4

from audit_kit.analysis import exploration_log
from audit_kit.cli import main as cli
from audit_kit.core import places
from audit_kit.core.errors import EXIT_DEFECT, EXIT_FINDINGS, EXIT_UNUSABLE, ReportError, RequestError
from audit_kit.report import notebooks, working_papers
from audit_kit.report import run as report
from audit_kit.report.binder import binding, chain, checking
from audit_kit.report.binder.rerun import rerun

if TYPE_CHECKING:
    from collections.abc import Callable

PARAMETERS = "\n".join(
    [f'{name}: str = ""' for name in ("engagement", "month", "previous", "history", "without")]
    + ['lang: str = "zh"', "redact: bool = False"]
)
HEAD = "数电发票号码,开票日期,销方识别号,价税合计\n"
ODD = ("备注　1.md", "a:b\\c%41.md", "行\n.md", "CON .md")
TIMES = re.compile(r"20\d\d-\d\d-\d\d \d\d:\d\d(:\d\d)?")


def line(number: int, at: str, gross: str) -> str:
    return f"2511200000{number:010d},{at},91110108MA01A2B3XP,{gross}\n"


def engagement(place: Path, *, missing: frozenset[int] = frozenset({3, 14, 15})) -> Path:
    rows = [line(n, f"2025-0{4 + n // 10}-{n % 10 + 3:02d} 10:00:00", f"{n}00.25") for n in range(20)]
    place.mkdir(parents=True)
    (place / "ledger.csv").write_text(HEAD + "".join(rows) + line(77, "坏", "1.00"), encoding="utf-8")
    listed = [row for number, row in enumerate(rows) if number not in missing]
    (place / "platform.csv").write_text(HEAD + "".join(listed), encoding="utf-8")
    (place / "附件").mkdir()
    (place / "附件" / "读我.md").write_text("说明", encoding="utf-8")
    for name in ODD:
        (place / name).write_text(name, encoding="utf-8")
    (place / ".hidden").write_text("x", encoding="utf-8")
    (place / "audit.toml").write_text("[engagement]\ntaken_at = 2025-06-01T09:00:00\n", encoding="utf-8")
    return place


def use_kit(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Put one notebook in place of the kit's own, run by no kernel."""
    folder.mkdir()
    monkeypatch.setenv("AUDIT_KIT_CACHE", str(folder / "cache"))
    cells = [
        v4.new_markdown_cell("# 总览：为什么", id="title"),
        v4.new_code_cell(PARAMETERS, metadata={"tags": ["parameters"]}, id="parameters"),
    ]
    nbformat.write(v4.new_notebook(cells=cells), folder / "00_overview.ipynb")
    monkeypatch.setattr(places, "notebooks", lambda: [folder / "00_overview.ipynb"])
    monkeypatch.setattr(notebooks, "run_all", without_kernel)


@pytest.fixture(autouse=True)
def kit(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    use_kit(tmp_path_factory.mktemp("kit") / "kit", monkeypatch)


def without_kernel(paths: list[Path], *_: object, folder: Path, done: Callable[[Path], None], **__: object) -> None:
    for path in paths:
        shutil.copy(path, folder / path.name)
        done(folder / path.name)


@pytest.fixture(scope="module")
def sealed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a report with a binder."""
    base = tmp_path_factory.mktemp("sealed")
    with pytest.MonkeyPatch.context() as patch:
        use_kit(base / "kit", patch)
        return report.run_report(engagement(base / "项目"), out=base / "reports", binder="copies").folder


@pytest.fixture
def binder(sealed: Path, tmp_path: Path) -> Path:
    """A binder far from its report."""
    return Path(shutil.copy(sealed / binding.FILE, tmp_path / "binder.zip"))


def head_of(folder: Path) -> str:
    return json.loads((folder / "manifest.json").read_text(encoding="utf-8"))["binder"]["head"]


def changed(
    binder: Path,
    change: Callable[[str, bytes], bytes | None] = lambda _, data: data,
    *,
    order: Callable[[list[str]], list[str]] = list,
    more: tuple[tuple[str, bytes], ...] = (),
    forge: bool = False,
) -> Path:
    """Write a binder anew with other members; a forger makes the chain again."""
    with zipfile.ZipFile(binder) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    kept = {name: made for name in order(list(members)) if (made := change(name, members[name])) is not None}
    if forge:
        del kept[chain.FILE]
        told = [chain.Member(name, len(data), sha256(data)) for name, data in kept.items()]
        kept[chain.FILE] = chain.written(told).encode()
    with warnings.catch_warnings(), zipfile.ZipFile(binder, "w", zipfile.ZIP_DEFLATED) as archive:
        warnings.simplefilter("ignore")
        last = [(chain.FILE, kept.pop(chain.FILE))] if chain.FILE in kept and more else []
        for name, data in [*kept.items(), *more, *last]:
            archive.writestr(name, data)
    return binder


def on_chain(change: Callable[[bytes], bytes]) -> Callable[[str, bytes], bytes]:
    return lambda name, data: change(data) if name == chain.FILE else data


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def faults(path: Path, **options: object) -> list[str]:
    return [fault.key.removeprefix("binder_fault.") for fault in checking.verify(path, **options).faults]


def test_the_head_on_the_front_page_is_that_of_the_binder(sealed: Path, binder: Path) -> None:
    head = head_of(sealed)
    assert f'id="binder-head">{head}<' in (sealed / "index.html").read_text(encoding="utf-8")
    beside, alone = checking.verify(sealed), checking.verify(binder)
    assert (beside.head, beside.head_from, beside.is_intact) == (head, "report", True)
    assert (alone.head, alone.head_from, alone.is_intact) == (head, None, True)
    assert checking.verify(binder, head=f" {head.upper()} ").head_from == "given"


def test_the_binder_holds_what_the_report_rests_on(sealed: Path) -> None:
    with zipfile.ZipFile(sealed / binding.FILE) as archive:
        names = archive.namelist()
        record, totals = (json.loads(archive.read(name)) for name in (binding.RECORD, binding.TOTALS))
        inputs = [json.loads(text) for text in archive.read(binding.INPUTS).splitlines()]
        made = {told["file"]: told["sha256"] for told in json.loads(archive.read(binding.MADE))}
    assert {"inputs/ledger.csv", "inputs/platform.csv", "inputs/audit.toml", "inputs/附件/读我.md"} <= set(names)
    assert "inputs/.hidden" not in names
    assert names[-1] == chain.FILE
    assert {told["source_file"] for told in inputs} == {"ledger.csv", "platform.csv", "audit.toml"}
    assert record["asked"] == {"month": None, "lang": "zh", "redact": False, "without": []}
    assert record["inputs_copied"]
    assert record["versions"]["polars"]
    assert [told["adds_up"] for told in totals["files"]] == [True, True]
    assert made["findings.parquet"] == sha256((sealed / "findings.parquet").read_bytes())
    assert set(made) == {"00_overview.html", "findings.parquet", "findings.xlsx"}


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda path: changed(path, lambda name, data: data + b" " * (name == "findings.parquet")), ["edited"]),
        (lambda path: changed(path, lambda name, data: None if name == binding.TOTALS else data), ["deleted"]),
        (lambda path: changed(path, more=(("more.txt", b"x"),)), ["added"]),
        (lambda path: changed(path, more=((binding.TOTALS, b"{}"),)), ["twice"]),
        (lambda path: changed(path, order=lambda names: [names[1], names[0], *names[2:]]), ["reordered"]),
        (lambda path: changed(path, lambda name, data: None if name == chain.FILE else data), ["no_chain"]),
        (lambda path: changed(path, on_chain(lambda data: data.replace(b"ledger", b"lodger"))), ["broken_chain"]),
        (lambda path: changed(path, on_chain(lambda _: b"[" * 99_999)), ["broken_chain"]),
        (lambda path: path.write_bytes(path.read_bytes()[:-900]), ["damaged"]),
        (lambda path: path.write_bytes(path.read_bytes()[:200]), ["damaged"]),
        (lambda path: path.write_bytes(b""), ["damaged"]),
        (lambda path: path.write_bytes(b"#!/bin/sh\n" + path.read_bytes()), ["more_bytes"]),
        (lambda path: path.write_bytes(path.read_bytes() + b"\n"), ["more_bytes"]),
    ],
    ids=[
        "edit",
        "deletion",
        "addition",
        "twice",
        "order",
        "no_chain",
        "chain",
        "deep",
        "cut",
        "cut_more",
        "empty",
        "front",
        "back",
    ],
)
def test_every_change_shows(binder: Path, change: Callable[[Path], object], told: list[str]) -> None:
    change(binder)
    assert faults(binder) == told


def test_one_flipped_bit_shows(binder: Path) -> None:
    with zipfile.ZipFile(binder) as archive:
        at = archive.getinfo("inputs/ledger.csv").header_offset + 60
    whole = bytearray(binder.read_bytes())
    whole[at] ^= 1
    binder.write_bytes(whole)
    assert faults(binder)


def test_a_swapped_input_shows(binder: Path) -> None:
    with zipfile.ZipFile(binder) as archive:
        ledger, platform = archive.read("inputs/ledger.csv"), archive.read("inputs/platform.csv")
    swapped = {"inputs/ledger.csv": platform, "inputs/platform.csv": ledger}
    changed(binder, swapped.get)
    assert faults(binder) == ["edited", "edited"]


def test_a_forged_head_is_no_longer_that_of_the_front_page(sealed: Path, binder: Path, tmp_path: Path) -> None:
    changed(binder, lambda name, data: b"{}" if name == binding.TOTALS else data, forge=True)
    alone = checking.verify(binder)
    assert alone.is_intact
    assert alone.head_from is None  # it agrees with itself, and verify says that this is all
    assert faults(binder, head=head_of(sealed)) == ["other_head"]
    beside = tmp_path / "report"
    shutil.copytree(sealed, beside)
    shutil.copy(binder, beside / binding.FILE)
    assert faults(beside) == ["other_head_report"]


def test_a_report_that_was_changed_beside_its_binder_shows(sealed: Path, tmp_path: Path) -> None:
    beside = tmp_path / "report"
    shutil.copytree(sealed, beside)
    with (beside / "findings.xlsx").open("ab") as filled_in:  # an auditor's own file
        filled_in.write(b"x")
    assert faults(beside) == []
    with (beside / "00_overview.html").open("a", encoding="utf-8") as page:
        page.write("<p>0</p>")
    (beside / "findings.parquet").unlink()
    assert faults(beside) == ["report_edited", "report_deleted"]


@pytest.mark.parametrize(
    "name", ["../out.txt", "/etc/out.txt", "a/../../out.txt", "C:/out.txt", "a\\..\\out.txt", "./a", "a//b", "a\n"]
)
def test_a_hostile_name_is_refused_and_nothing_is_written(binder: Path, name: str, tmp_path: Path) -> None:
    changed(binder, more=((f"inputs/{name}" if name.startswith(("a", ".")) else name, b"out"),), forge=True)
    before = sorted(tmp_path.rglob("*"))
    assert faults(binder) == ["unsafe_name"]
    with pytest.raises(RequestError, match="not as it was sealed"):
        rerun(binder)
    assert sorted(tmp_path.rglob("*")) == before


def test_odd_names_are_kept(sealed: Path) -> None:
    with zipfile.ZipFile(sealed / binding.FILE) as archive:
        kept = {chain.path_of(name.removeprefix("inputs/")) for name in archive.namelist()}
    assert set(ODD) <= kept  # that they come back, the report made again says: it names the files that are not used


@pytest.mark.parametrize(
    ("member", "text"),
    [
        (binding.RECORD, b"[]"),
        (binding.RECORD, b"[" * 50_000),
        (binding.RECORD, b'{"asked": {"month": 5}}'),
        (binding.MADE, b'[{"file": 1}]'),
        ("findings.parquet", b"PAR1"),
    ],
)
def test_what_a_forger_wrote_is_one_sentence(binder: Path, member: str, text: bytes) -> None:
    changed(binder, lambda name, data: text if name == member else data, forge=True)
    with pytest.raises(RequestError, match=r"has no usable|no longer the same|not as it was sealed"):
        rerun(binder)


def test_a_directory_of_too_many_members_is_not_read(binder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checking, "MOST_DIRECTORY_BYTES", 100)
    assert faults(binder) == ["many_members"]


def test_a_link_in_a_binder_is_refused(binder: Path) -> None:
    link = zipfile.ZipInfo("inputs/link")
    link.create_system, link.external_attr = 3, (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(binder, "a") as archive:
        archive.writestr(link, "/etc/passwd")
    assert faults(binder) == ["no_member_file"]


def test_a_bomb_is_refused_in_little_memory(tmp_path: Path) -> None:
    bomb = tmp_path / "bomb.zip"
    with (
        zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as archive,
        archive.open("zeros", "w", force_zip64=True) as part,
    ):
        for _ in range(48):
            part.write(bytes(1 << 20))
    # What it says of its size is a lie: no more is unpacked than the chain allows.
    shutil.copy(bomb, lying := tmp_path / "lying.zip")
    with zipfile.ZipFile(lying, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(chain.FILE, chain.written([chain.Member("zeros", 10, "0" * 64)]))
    tracemalloc.start()
    assert faults(lying) == ["edited"]
    grown = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert grown < 12 << 20


def test_what_claims_to_unpack_to_far_more_is_refused_unread(binder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checking, "SUSPECT_BYTES", 100)
    monkeypatch.setattr(checking, "MAX_RATIO", 1)
    changed(binder, more=(("zeros", bytes(1 << 20)),), forge=True)
    assert faults(binder) == ["bomb"]


def test_a_rerun_gives_every_finding_and_every_byte(sealed: Path) -> None:
    made = rerun(sealed)
    assert (made.is_same, made.changed, made.files, made.files_in_all) == (True, [], [], 3)
    assert made.findings == made.findings_now > 3


def test_a_rerun_on_the_engagement_says_which_input_changed(binder: Path, tmp_path: Path) -> None:
    place = engagement(tmp_path / "项目")
    assert rerun(binder, place).is_same
    assert faults(binder, engagement=place) == []
    with (place / "ledger.csv").open("a", encoding="utf-8") as ledger:
        ledger.write(line(99, "2025-05-20 10:00:00", "9.00"))
    (place / "platform.csv").unlink()
    assert sorted(faults(binder, engagement=place)) == ["input_changed", "input_gone"]
    with pytest.raises(RequestError, match=r"an input was changed: ledger\.csv; an input is gone: platform\.csv"):
        rerun(binder, place)


def test_a_rerun_with_other_findings_says_so(binder: Path) -> None:
    def fewer(name: str, data: bytes) -> bytes:
        if name != "findings.parquet":
            return data
        frame = pl.read_parquet(io.BytesIO(data))
        out = io.BytesIO()
        frame[1:].write_parquet(out)
        return out.getvalue()

    made = rerun(changed(binder, fewer, forge=True))
    assert not made.is_same
    assert len(made.changed) == 1


def test_what_earlier_reports_and_auditors_gave_is_in_the_binder(tmp_path: Path) -> None:
    out, place = tmp_path / "reports", engagement(tmp_path / "项目")
    report.run_report(place, month="2025-04", out=out)
    first = report.run_report(place, month="2025-05", out=out)
    book = openpyxl.load_workbook(first.folder / "findings.xlsx")
    page = book.worksheets[0]
    at = [cell.value for cell in page[2]].index("审计说明") + 1
    page.cell(3, at).value = "已查"
    book.save(first.folder / "findings.xlsx")
    made = report.run_report(place, month="2025-05", out=out, binder="copies")
    assert working_papers.conclusions([made.folder / "findings.xlsx"])["audit_note"].to_list() == ["已查"]
    assert rerun(made.folder).is_same


def test_a_redacted_binder_holds_no_input_and_no_name(tmp_path: Path) -> None:
    place = engagement(tmp_path / "北京某某有限公司")
    made = report.run_report(place, out=tmp_path / "reports", binder="copies", redact=True)
    with zipfile.ZipFile(made.folder / binding.FILE) as archive:
        assert not [name for name in archive.namelist() if name.startswith("inputs/")]
        whole = b"".join(archive.read(name) for name in archive.namelist())
    assert "某某".encode() not in whole
    assert b"91110108MA01A2B3XP" not in whole
    with pytest.raises(RequestError, match="only the inputs' hashes"):
        rerun(made.folder)
    assert rerun(made.folder, place).is_same


def test_hashes_alone_are_a_binder_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    place = engagement(tmp_path / "项目")
    told = ["--out", str(tmp_path / "reports"), "--lang", "en"]
    assert cli.main(["report", str(place), *told, "--binder", "--inputs-by-hash"]) == 0
    assert cli.main(["report", str(place), *told, "--inputs-by-hash"]) == EXIT_UNUSABLE
    made = tmp_path / "reports" / "2025-05"
    capsys.readouterr()
    assert cli.main(["verify", str(made), str(place), "--lang", "en"]) == 0
    assert "It is the head on the report's front page" in capsys.readouterr().out
    assert cli.main(["rerun", str(made), "--lang", "en"]) == EXIT_UNUSABLE
    assert "name the engagement's folder too" in capsys.readouterr().err
    assert cli.main(["rerun", str(made), str(place), "--lang", "en"]) == 0
    assert "findings are the same.\nAll 3 files of the report are the same bytes.\n" in capsys.readouterr().out
    changed(made / binding.FILE, more=(("x", b""),))
    assert cli.main(["verify", str(made), "--json"]) == EXIT_FINDINGS
    assert json.loads(capsys.readouterr().out)["faults"] == ["a member was added: x"]
    assert cli.main(["verify", str(tmp_path / "none.zip")]) == EXIT_UNUSABLE


def test_the_log_of_the_exploration_is_sealed(tmp_path: Path) -> None:
    place = engagement(tmp_path / "项目")
    log = exploration_log.work_folder(place) / exploration_log.LOG
    log.parent.mkdir(parents=True)
    log.write_text('{"action": "filtered"}\n', encoding="utf-8")
    made = report.run_report(place, out=tmp_path / "reports", binder="copies")
    with zipfile.ZipFile(made.folder / binding.FILE) as archive:
        assert archive.read(binding.EXPLORATION) == log.read_bytes()


ALLOWED = {"index.html", "manifest.json"}
RUN = """import sys; sys.path.insert(0, {tests!r})
import pathlib, pytest, test_binder
from audit_kit.report import run
place, base = map(pathlib.Path, sys.argv[1:])
with pytest.MonkeyPatch.context() as patch:
    test_binder.use_kit(base / "kit", patch)
    print(run.run_report(place, out=base / "out", binder='copies', jobs=1).folder)"""


def test_two_runs_differ_in_their_times_alone(sealed: Path, tmp_path: Path) -> None:
    """The other run: at another time, in another folder, in a process of other hashes and one thread."""
    place = engagement(tmp_path / "anders" / "项目")
    for path in place.rglob("*"):
        os.utime(path, (10**9, 10**9))
    code = RUN.format(tests=str(Path(__file__).parent))
    environment = {**os.environ, "PYTHONHASHSEED": "77", "POLARS_MAX_THREADS": "1"}
    told = [sys.executable, "-c", code, str(place), str(tmp_path)]
    done = subprocess.run(told, env=environment, capture_output=True, text=True, check=True)
    folders = [sealed, Path(done.stdout.strip())]
    one, two = ({path.name: path.read_bytes() for path in folder.iterdir()} for folder in folders)
    assert set(one) == set(two) >= {"binder.zip", "findings.xlsx", "findings.parquet", "index.html", "00_overview.html"}
    differing = {name for name in one if one[name] != two[name]}
    assert differing <= ALLOWED
    assert len({TIMES.sub("", made["index.html"].decode()) for made in (one, two)}) == 1
    abouts = [json.loads(made["manifest.json"]) for made in (one, two)]
    for about in abouts:
        for name in ("started_at", "finished_at", "seconds"):
            del about[name]
        about["outputs"] = [told for told in about["outputs"] if told["file"] not in ALLOWED]
    assert abouts[0] == abouts[1]


def test_a_report_that_does_not_add_up_is_not_published(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    place, out = engagement(tmp_path / "项目"), tmp_path / "reports"
    before = report.run_report(place, out=out).folder / "manifest.json"
    was, whole = before.read_bytes(), working_papers.papers
    monkeypatch.setattr(working_papers, "papers", lambda *given, **more: whole(*given, **more)[1:])
    with pytest.raises(ReportError, match="nothing is published: findings → report"):
        report.run_report(place, out=out)
    assert cli.main(["report", str(place), "--out", str(out), "--lang", "en"]) == EXIT_DEFECT
    assert "please report this sentence" in capsys.readouterr().err
    assert before.read_bytes() == was
    beside = ["findings-history", "history.parquet", "index.html", "trend.html"]
    assert sorted(path.name for path in out.iterdir()) == ["2025-05", *beside]
