"""Every file of an engagement is used or named, or the run stops with a sentence; nothing is lost in silence."""

from __future__ import annotations

import io
import os
import shutil
import socket
import struct
import tempfile
import zipfile
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl
import pytest
import xlsxwriter
from open_folders import open_folder, passable

from audit_kit.cli import main as cli
from audit_kit.core import files as places
from audit_kit.core.errors import AuditError, EngagementError, RequestError, SourceError
from audit_kit.core.hashing import hash_files
from audit_kit.loaders.engagement.engagement import Engagement, open_engagement
from audit_kit.loaders.engagement.unused import Unused, why
from audit_kit.report.progress import unused_lines

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

HEAD = ("数电发票号码", "开票日期", "销方识别号", "购方识别号", "金额", "税额", "价税合计", "发票状态")
NOBODY = 65534
OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
BAD = "2025-05 2"
GBK = "补充五月".encode("gbk")


def row(number: int) -> tuple[str, ...]:
    parties = ("91110108MA01ABCD2X", "91110105MA00XYQW3Q")
    return (f"2511200000{number:010d}", "2025-05-03 10:00:00", *parties, "100.00", "6.00", "106.00", "正常")


def book(*numbers: int) -> str:
    return "\n".join(",".join(cells) for cells in (HEAD, *map(row, numbers))) + "\n"


def workbook(*numbers: int) -> bytes:
    whole = io.BytesIO()
    with xlsxwriter.Workbook(whole) as made:
        sheet = made.add_worksheet()
        for at, cells in enumerate((HEAD, *map(row, numbers))):
            sheet.write_row(at, 0, cells)
    return whole.getvalue()


def ods() -> bytes:
    whole = io.BytesIO()
    with zipfile.ZipFile(whole, "w") as archive:
        archive.writestr("mimetype", "application/vnd.oasis.opendocument.spreadsheet")
        archive.writestr("content.xml", f"<x>{os.urandom(500).hex()}</x>")
    return whole.getvalue()


def parquet() -> bytes:
    whole = io.BytesIO()
    pl.DataFrame([row(7)], schema=list(HEAD), orient="row").write_parquet(whole)
    return whole.getvalue()


def with_password() -> bytes:
    """Return an OLE container whose streams are those of a workbook that Excel saved with a password."""

    def entry(label: str, kind: int, child: int, first: int, size: int) -> bytes:
        coded = label.encode("utf-16-le") + b"\0\0"
        links = struct.pack("<HBBIII", len(coded), kind, 1, 0xFFFFFFFF, 0xFFFFFFFF, child)
        return coded.ljust(64, b"\0") + links + bytes(36) + struct.pack("<IQ", first, size)

    chain = [0xFFFFFFFD, 0xFFFFFFFE, *range(3, 10), 0xFFFFFFFE]
    head = OLE + bytes(16) + struct.pack("<HHHHH", 0x3E, 3, 0xFFFE, 9, 6) + bytes(6)
    head += struct.pack("<IIIIIIIII", 0, 1, 1, 0, 4096, 0xFFFFFFFE, 0, 0xFFFFFFFE, 0)
    head += struct.pack("<109I", 0, *[0xFFFFFFFF] * 108)
    table = struct.pack("<128I", *chain, *[0xFFFFFFFF] * (128 - len(chain)))
    folder = entry("Root Entry", 5, 1, 0xFFFFFFFE, 0) + entry("EncryptedPackage", 2, 0xFFFFFFFF, 2, 4096)
    return head + table + folder.ljust(512, b"\0") + os.urandom(4096)


def flipped() -> bytes:
    data = bytearray(workbook(7))
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        sheet = archive.getinfo("xl/worksheets/sheet1.xml")
    data[sheet.header_offset + 30 + len(sheet.filename) + sheet.compress_size // 2] ^= 0x10
    return bytes(data)


def content(data: bytes) -> Callable[[Path], object]:
    return lambda path: path.write_bytes(data)


def no_permission(path: Path) -> None:
    path.write_text(book(7), encoding="utf-8")
    path.chmod(0)


def a_socket(path: Path) -> None:
    """Bind it by a short name: the whole path may be too long for one."""
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        with socket.socket(socket.AF_UNIX) as made:
            made.bind(f"/proc/self/fd/{folder}/{path.name}")
    finally:
        os.close(folder)


MAKERS: dict[str, tuple[str, Callable[[Path], object]]] = {
    "truncated xlsx": (".xlsx", content(workbook(7)[:-900])),
    "truncated xls": (".xls", content(with_password().replace(b"E\0n\0c\0", b"W\0o\0r\0")[:700])),
    "truncated ods": (".ods", content(ods()[:-60])),
    "truncated parquet": (".parquet", content(parquet()[:-20])),
    "empty xlsx": (".xlsx", content(b"")),
    "empty csv": (".csv", content(b"")),
    "password": (".xlsx", content(with_password())),
    "byte flipped": (".xlsx", content(flipped())),
    "no permission": (".csv", no_permission),
    "pipe": (".csv", os.mkfifo),
    "socket": (".csv", a_socket),
    "link to itself": (".csv", lambda path: path.symlink_to(path.name)),
    "link to nowhere": (".xlsx", lambda path: path.symlink_to("nowhere.xlsx")),
    "link out": (".csv", lambda path: path.symlink_to("/etc/hostname")),
    "picture": (".xlsx", content(b"\x89PNG\r\n\x1a\n" + bytes(50))),
}


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that another user may walk through, which those of tmp_path are not."""
    with open_folder() as place:
        yield write(place / "甲")


def write(folder: Path, toml: str = "") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "ledger.csv").write_text(book(1, 2), encoding="utf-8")
    (folder / "platform.csv").write_text(book(1), encoding="utf-8")
    if toml:
        (folder / "audit.toml").write_text(toml, encoding="utf-8")
    return folder


@contextmanager
def as_nobody() -> Iterator[None]:
    """Be nobody for a while, whom permissions hold back; who is not root is held back already."""
    if os.geteuid():
        yield
        return
    with tempfile.TemporaryDirectory() as place:  # nobody may be unable to import what is read with
        toml = "[sources]\nledger = 'ledger.csv'\nplatform = 'platform.csv'\nbackups = 'b'\ninvoice_files = 'b'\n"
        warm = write(Path(place), toml)
        (warm / "b").mkdir()
        (warm / "b" / "x.xml").write_bytes(b"<EInvoice/>")
        (warm / "b" / "x.json").write_bytes(b"[]")
        read_all(open_engagement(warm))
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


def read_all(engagement: Engagement) -> Engagement:
    for table in engagement.sources:
        engagement.reading(table)
    engagement.fingerprint()
    return engagement


def kinds(engagement: Engagement) -> dict[str, str]:
    return {file.file: file.kind for file in engagement.unused}


@pytest.mark.parametrize("stem", [BAD, "ledger 2"], ids=["unnamed", "named"])
@pytest.mark.parametrize("stated", ["", "all", "others"], ids=["no sources", "in sources", "not in sources"])
@pytest.mark.parametrize("kind", MAKERS)
def test_a_table_that_cannot_be_read_stops_the_run_or_is_named(folder: Path, kind: str, stem: str, stated: str) -> None:
    ending, make = MAKERS[kind]
    file = f"{stem}{ending}"
    make(folder / file)
    ledger = ["ledger.csv", file] if stated == "all" else ["ledger.csv"]
    if stated:
        write(folder, f"[sources]\nledger = {ledger}\nplatform = 'platform.csv'\n")
    with as_nobody() if kind == "no permission" else nullcontext():
        if stated == "others":
            assert kinds(read_all(open_engagement(folder))) == {file: "unnamed"}
            return
        with pytest.raises(AuditError) as caught:
            read_all(open_engagement(folder))
        said = str(caught.value)
        assert said.startswith(file) or "leads out of the engagement" in said
        if kind == "link out" and stated:
            return  # a link that leads out is refused by its entry
        assert f"--without '{file}'" in said
        assert said.count("\n") == 0
        left = read_all(open_engagement(folder, without=[file]))
    assert kinds(left) == {file: "left_out"}
    assert left.table("ledger").height == 2


@pytest.mark.parametrize("stated", [False, True], ids=["no sources", "in sources"])
@pytest.mark.parametrize("stem", [GBK, "台账二".encode("gbk")], ids=["unnamed", "named"])
def test_names_in_gbk_are_read_and_shown_in_letters(tmp_path: Path, stem: bytes, *, stated: bool) -> None:
    place = tmp_path / os.fsdecode("工程".encode("gbk"))
    shown = f"资料/{stem.decode('gbk')}"
    write(place, f"[sources]\nledger = ['ledger.csv', '资料/*.csv', '{shown}.xlsx']\n" if stated else "")
    inner = place / os.fsdecode("资料".encode("gbk"))
    inner.mkdir()
    (inner / os.fsdecode(stem + b".csv")).write_text(book(3), encoding="utf-8")
    (inner / os.fsdecode(stem + b".xlsx")).write_bytes(workbook(4))
    (inner / os.fsdecode("说明.docx".encode("gbk"))).write_bytes(b"x")
    (place / "platform.csv").unlink()
    engagement = read_all(open_engagement(place))
    assert engagement.name == "工程"
    ledger = engagement.table("ledger")
    assert ledger["source_file"].to_list() == ["ledger.csv", "ledger.csv", f"{shown}.csv", f"{shown}.xlsx"]
    assert kinds(engagement) == {"资料/说明.docx": "unnamed" if stated else "other"}
    assert ledger.write_json()
    ledger.write_parquet(tmp_path / "out.parquet")
    pl.DataFrame([file.file for file in engagement.unused]).write_csv(tmp_path / "out.csv")
    assert open_engagement(tmp_path / "工程").folder == engagement.folder  # what is shown can be written
    assert open_engagement(place, without=["资料/*.docx"]).unused[0].kind == "left_out"
    assert "资料/说明.docx" in hash_files(place)["path"].to_list()


def test_a_name_in_gbk_is_told_in_letters_by_the_command_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AUDIT_KIT_CACHE", str(tmp_path / "cache"))
    place = write(tmp_path / "甲")
    (place / os.fsdecode(GBK + b".xlsx")).write_bytes(workbook(4)[:-900])
    words = ["diagnose", str(place), "--out", str(tmp_path / "o.csv")]
    assert cli.main([*words, "--lang", "en"]) == 2
    assert capsys.readouterr().err.startswith("audit-kit: 补充五月.xlsx: looks like a table, and cannot be read: ")
    assert cli.main(words) == 2
    assert capsys.readouterr().err == (
        "audit-kit: 补充五月.xlsx：看似是表，但无法读取：不是可读取的工作簿，或已损坏；请重新导出；"
        "如要略去它继续，请加上 --without '补充五月.xlsx'。\n"
    )
    assert cli.main([*words, "--without", "补充*.xlsx", "--lang", "en"]) == 0
    assert capsys.readouterr().err == "not used: 补充五月.xlsx: left out on the user's word (--without)\n"
    assert cli.main([*words, "--without", os.fsdecode(GBK + b".xlsx")]) == 0
    capsys.readouterr()
    assert cli.main(["inspect", str(place / os.fsdecode(GBK + b".xlsx"))]) == 2
    assert "补充五月.xlsx" in capsys.readouterr().err


def test_whatever_is_no_table_is_named_with_why(tmp_path: Path) -> None:
    folder = write(tmp_path / "甲")
    (folder / "notes.docx").write_bytes(b"PK\x03\x04 xl/ ")
    (folder / "readme.txt").write_text("hello\n", encoding="utf-8")
    (folder / "other.csv").write_text("甲,乙,丙,丁,戊\n1,2,3,4,5\n", encoding="utf-8")
    (folder / "old.zip").write_bytes(b"PK\x03\x04")
    (folder / "ledger.bak").write_bytes(workbook(9))
    (folder / ".DS_Store").write_bytes(b"")
    (folder / "~$ledger.xlsx").write_bytes(b"")
    (folder / "empty.xlsx").mkdir()
    (folder / "tables.xlsx").mkdir()
    (folder / "tables.xlsx" / "more.csv").write_text(book(3), encoding="utf-8")
    (folder / "elsewhere").symlink_to(tmp_path)
    (folder / "round").symlink_to(folder)
    (folder / "gone").symlink_to("nowhere")
    os.mkfifo(folder / "pipe")
    engagement = read_all(open_engagement(folder))
    assert kinds(engagement) == {
        ".DS_Store": "hidden",
        "elsewhere": "outside",
        "empty.xlsx": "empty_folder",
        "gone": "nowhere",
        "ledger.bak": "ending",
        "notes.docx": "other",
        "old.zip": "archive",
        "other.csv": "unknown",
        "pipe": "pipe",
        "readme.txt": "unknown",
        "round": "linked_folder",
        "~$ledger.xlsx": "hidden",
    }
    told = {file.file: file.why for file in engagement.unused}
    assert told["other.csv"] == "its headers make no table that is known (甲, 乙, 丙, 丁 …)"
    assert told["ledger.bak"].startswith("holds a table (platform)") or "holds a table (ledger)" in told["ledger.bak"]
    (folder / "export").write_bytes(workbook(9)[:-900])  # no ending, but a workbook all the same
    with pytest.raises(SourceError, match=r"^export: looks like a table, and cannot be read"):
        open_engagement(folder)


def test_a_folder_that_cannot_be_opened_stops_the_run(folder: Path) -> None:
    closed = folder / "2025"
    closed.mkdir()
    (closed / "x.csv").write_text(book(3), encoding="utf-8")
    for mode in (0, 0o444):
        closed.chmod(mode)
        with as_nobody():
            with pytest.raises(SourceError, match=r"^2025: cannot be opened; .*--without '2025'"):
                open_engagement(folder)
            assert kinds(open_engagement(folder, without=["2025"])) == {"2025": "left_out"}
    closed.chmod(0o755)
    assert open_engagement(folder).unused == ()


@pytest.mark.parametrize("stated", [False, True], ids=["no sources", "in sources"])
def test_readers_of_folders_set_aside_what_they_cannot_read(folder: Path, *, stated: bool) -> None:
    for name, ending in (("invoice_files", ".xml"), ("backups", ".dat")):
        (folder / name).mkdir()
        os.mkfifo(folder / name / f"pipe{ending}")
        (folder / name / f"gone{ending}").symlink_to("nowhere")
        (folder / name / f"self{ending}").symlink_to(f"self{ending}")
    (folder / "invoice_files" / "shut.xml").write_bytes(b"<EInvoice/>")
    (folder / "invoice_files" / "shut.xml").chmod(0)
    (folder / "backups" / "main.json").write_text("[]", encoding="utf-8")
    if not stated:
        with pytest.raises(SourceError, match=r"backups/gone\.dat: .*2 more .*backups/pipe\.dat, backups/self\.dat"):
            open_engagement(folder)
        shutil.rmtree(folder / "backups")
    else:
        text = "invoice_files = 'invoice_files'\nbackups = 'backups'\n"
        write(folder, f"[sources]\nledger = 'ledger.csv'\nplatform = 'platform.csv'\n{text}")
        (folder / "invoice_files" / "closed").mkdir(mode=0)
    with as_nobody():
        engagement = read_all(open_engagement(folder))
    aside = dict(engagement.reading("invoice_files").set_aside.select("source_file", "reason").iter_rows())
    wanted = {"gone.xml", "pipe.xml", "self.xml", "shut.xml", *(["closed"] if stated else [])}
    assert set(aside) == {f"invoice_files/{name}" for name in wanted}
    assert aside["invoice_files/pipe.xml"] == "no regular file"
    if stated:
        assert aside["invoice_files/closed"].startswith("a folder that cannot be opened")
        backups = engagement.reading("backups").set_aside["source_file"].to_list()
        assert backups == ["backups/gone.dat", "backups/pipe.dat", "backups/self.dat"]
        assert set(kinds(open_engagement(folder, without=["backups/*.dat"])).values()) == {"left_out"}
        (folder / "backups" / "main.json").chmod(0)
        with as_nobody(), pytest.raises(SourceError, match=r"^backups/main\.json: cannot be opened .* --without"):
            read_all(open_engagement(folder))


def test_what_is_left_out_is_named_and_of_the_fingerprint(tmp_path: Path) -> None:
    folder = write(tmp_path / "甲")
    (folder / "2025" / "a").mkdir(parents=True)
    for name in ("2025/1.csv", "2025/a/2.csv", "3.csv"):
        (folder / name).write_text(book(3), encoding="utf-8")
    before = open_engagement(folder).fingerprint()
    for patterns, wanted in (
        (["2025"], {"2025/1.csv", "2025/a/2.csv"}),
        (["2025/*.csv"], {"2025/1.csv"}),
        (["*.csv"], {"3.csv", "ledger.csv", "platform.csv"}),
        (["2025/**/*.csv", str(folder / "3.csv")], {"2025/1.csv", "2025/a/2.csv", "3.csv"}),
    ):
        engagement = open_engagement(folder, without=patterns)
        assert kinds(engagement) == dict.fromkeys(wanted, "left_out")
        assert engagement.fingerprint() != before
    for nothing in ("2024", "*.xlsx", "", ".", "audit.toml", "../甲/3.csv"):
        with pytest.raises(RequestError, match=r"--without .* names no file in 甲"):
            open_engagement(folder, without=[nothing])
    (folder / "3.csv").unlink()
    gone = open_engagement(folder).fingerprint()
    (folder / "3.csv").write_text(book(3), encoding="utf-8")
    assert open_engagement(folder, without=["3.csv"]).fingerprint() not in {before, gone}


def test_a_bag_counts_only_within_the_engagement(tmp_path: Path) -> None:
    folder = write(tmp_path / "bag" / "data" / "甲")
    for bag in (tmp_path / "bag", folder.parent, folder):
        (bag / "bagit.txt").write_text("BagIt-Version: 0.97\n", encoding="utf-8")
    (folder / "backups").mkdir()
    (folder / "backups" / "main.json").write_text("[]", encoding="utf-8")
    engagement = read_all(open_engagement(folder))
    assert (engagement.has("ledger"), engagement.has("platform")) == (True, True)
    assert engagement.reading("backups").files["source_file"].to_list() == ["backups/main.json"]
    inner = folder / "copy" / "data"
    inner.mkdir(parents=True)
    (inner.parent / "bagit.txt").write_text("BagIt-Version: 0.97\n", encoding="utf-8")
    (inner / "ledger.csv").write_text(book(1), encoding="utf-8")
    engagement = read_all(open_engagement(folder))
    assert engagement.reading("backups").files["source_file"].to_list() == ["backups/main.json", "copy"]
    assert engagement.table("ledger").height == 2
    with pytest.raises(RequestError, match="copy is read as a whole"):
        open_engagement(folder, without=["copy/data/*.csv"]).reading("backups")
    left = open_engagement(folder, without=["copy"])
    assert left.reading("backups").files["source_file"].to_list() == ["backups/main.json"]


@pytest.mark.parametrize("stated", [False, True], ids=["no sources", "in sources"])
def test_reports_kept_in_the_engagement_are_named_as_one(tmp_path: Path, *, stated: bool) -> None:
    folder = write(tmp_path / "甲", "[sources]\nledger = 'ledger.csv'\n" if stated else "")
    (folder / "reports" / ".making-x").mkdir(parents=True)
    assert "reports" not in str(kinds(open_engagement(folder)))
    (folder / "reports" / "2025-05").mkdir()
    for name in ("history.parquet", "index.html", "2025-05/findings.parquet"):
        (folder / "reports" / name).write_bytes(b"PAR1")
    assert kinds(open_engagement(folder))["reports"] == "reports"


@pytest.mark.parametrize("make", [os.mkfifo, lambda path: path.symlink_to(path.name), Path.mkdir])
def test_settings_that_are_no_file_are_not_waited_for(tmp_path: Path, make: Callable[[Path], Any]) -> None:
    folder = write(tmp_path / "甲")
    make(folder / "audit.toml")
    with pytest.raises(EngagementError, match=r"^audit\.toml "):
        open_engagement(folder)


def test_sources_that_name_a_folder_without_files_are_refused(tmp_path: Path) -> None:
    folder = write(tmp_path / "甲", "[sources]\nledger = 'x.xlsx'\n")
    (folder / "x.xlsx").mkdir()
    with pytest.raises(EngagementError, match=r'ledger = "x\.xlsx" names a folder without files'):
        open_engagement(folder)


def test_the_command_line_names_the_first_and_counts_the_others() -> None:
    files = [Unused(f"{number}.docx", "other", why("other", {})) for number in range(30)]
    odd = Unused("a\n\x1b[1m.csv", "left_out", why("left_out", {}))
    files = [Unused(".x", "hidden", why("hidden", {})), *files, odd]
    lines = unused_lines(files, lang="en")
    assert len(lines) == 21
    assert lines[0] == r"not used: a\n\x1b[1m.csv: left out on the user's word (--without)"
    assert lines[-1] == "12 more files are not used."
    assert unused_lines(files[-1:], lang="zh") == ["未使用：a\\n\\x1b[1m.csv：按用户要求不使用（--without）"]
    assert unused_lines([], lang="zh") == []


def test_names_are_shown_part_by_part() -> None:
    odd = os.fsdecode("台账".encode("gbk"))
    assert places.shown_path(Path("资料") / odd / "a.csv") == "资料/台账/a.csv"
    assert places.shown(f"资料/{odd}.csv: is empty") == "资料/台账.csv: is empty"
    assert places.shown("台账.csv") == "台账.csv"
    assert places.shown(os.fsdecode(b"\xff\xff.csv")) == "\\xff\\xff.csv"


def test_a_folder_for_other_users_is_made_beside_a_private_one(tmp_path, monkeypatch):
    tmp_path.chmod(0o700)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    assert not passable(tmp_path)
    with open_folder() as place:
        assert passable(place) or os.geteuid()
        with as_nobody():
            assert list(place.iterdir()) == []
    assert not place.exists()
