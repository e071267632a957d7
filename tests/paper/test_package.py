"""A problem report: what its recipient needs is in it, what he does not need is not, and it opens."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import stat
import subprocess
import zipfile
from typing import TYPE_CHECKING

import docx
import openpyxl
import polars as pl
import pypdf
import pytest
from docx.oxml.ns import qn
from lxml import etree

from audit_kit.analysis.work import analyse
from audit_kit.cli import main as cli
from audit_kit.core.errors import PlaceError, RequestError
from audit_kit.core.kept.pseudonyms import Pseudonyms, key_of, key_place
from audit_kit.loaders.engagement.engagement import open_engagement
from audit_kit.paper.document import plain
from audit_kit.paper.letter import RECIPIENTS
from audit_kit.paper.package import package

if TYPE_CHECKING:
    from pathlib import Path

OWN = "91110108MA01A2B3XP"
BUYERS = {  # name, id, and an amount of its own
    1: ("北京乙公司", "91110105MA02C3D4EF", "113.00"),
    2: ('=HYPERLINK("http://evil.example","丁公司")', "91110106MA03E5F6GH", "226.00"),
    3: ("丙<w:fldSimple w:instr='DDEAUTO c:\\cmd'>&公司", "91110107MA04G7H8JK", "1339.50"),
    4: ("李小明", "110105199003078515", "452.00"),
    5: ("北京戊公司", "91110108MA05J9K1LM", "565.00"),
}
NUMBERS = {at: f"2511200000000000000{at}" for at in BUYERS}
LOST = (2, 3, 4)  # of these the upload failed
MESSAGE = "拒收：购方 北京己贸易有限公司 91110109MA06L1M2NP，联系 13812345678 李小明 wang@firm.example，金额 1,339.50"
PERSONS = ("李小明", "王大力", "赵经理", "13812345678", "wang@firm.example", "孙总")
STRANGERS = ("北京戊公司", "91110108MA05J9K1LM", "北京己贸易有限公司", "91110109MA06L1M2NP", "CW09")
PARTIES = tuple(text for at in LOST for text in BUYERS[at][:2])
AMOUNTS = ("226.00", "1339.50", "1,339.50", "452.00")
ACCOUNTS = ("KP01", "KP02")
ID_CARD = "110105199003078515"


def ledger() -> str:
    head = "发票号码,开票日期,销方识别号,销方名称,购方识别号,购买方名称,金额,税额,价税合计,开票渠道,开票账号"
    rows = [head]
    for at, (name, taxpayer, gross) in BUYERS.items():
        net = f"{float(gross) / 1.13:.2f}"
        tax = f"{float(gross) - float(net):.2f}"
        quoted = '"' + name.replace('"', '""') + '"'
        account = "KP02" if at == 3 else "KP01"
        seller = f"2025-05-0{at} 10:00:00,{OWN},北京甲公司"
        rows.append(f"{NUMBERS[at]},{seller},{taxpayer},{quoted},{net},{tax},{gross},网页,{account}")
    return "\n".join(rows) + "\n"


def log() -> str:
    rows = ["发票号码,事件,时间,渠道,批次号,错误码,说明"]
    for at in BUYERS:
        rows.append(f"{NUMBERS[at]},开具,2025-05-0{at} 10:00:00,网页,B1,,")
        if at in LOST:
            rows.append(f'{NUMBERS[at]},失败,2025-05-0{at} 10:05:00,网页,B1,E5021,"{MESSAGE}"')
        else:
            rows.append(f"{NUMBERS[at]},上传,2025-05-0{at} 10:05:00,网页,B1,,")
    return "\n".join(rows) + "\n"


FILES = {
    "ledger.csv": ledger(),
    "platform.csv": "".join(f"{row}\n" for row in ledger().splitlines() if not any(NUMBERS[at] in row for at in LOST)),
    "sync_log.csv": log(),
    "operations.csv": "时间,账号,操作,发票号码,字段,原值,新值,结果\n"
    f"2025-05-04 09:00:00,KP01,重传,{NUMBERS[2]},,,,失败：李小明 来电\n",
    "accounts.csv": "账号,使用人,纳税人识别号,角色,权限,状态\n"
    f"KP01,王大力,{OWN},开票员,发票业务,正常\nCW09,赵经理,{OWN},财务负责人,发票业务,正常\n",
    "tickets.csv": "工单号,发票号码,级别,提交时间,期限,状态,处理结果\n"
    f"GD7,{NUMBERS[2]},客服,2025-05-05 09:00:00,2025-05-06 09:00:00,处理中,王大力 跟进\n",
    "confirmations.csv": "发票号码,来源,结果,时间,附件\n"
    f"{NUMBERS[2]},查验平台,超过次数,2025-05-06 09:00:00,QR-1.txt\n"
    f"{NUMBERS[3]},对方,一致,2025-05-06 09:00:00,../../QR-2.txt\n",
    "QR-1.txt": "proof",
    "audit.toml": f"""[engagement]
name = "甲"
taxpayer_id = "{OWN}"
taxpayer_name = "北京甲公司"
taken_at = 2025-05-10T09:00:00
[export]
account = "KP01"
[sources]
ledger = "ledger.csv"
platform = "platform.csv"
sync_log = "sync_log.csv"
operations = "operations.csv"
accounts = "accounts.csv"
tickets = "tickets.csv"
confirmations = "confirmations.csv"
[plan]
roles = {{ lead = "孙总" }}
[calendar]
filing_deadlines = [2025-05-16]
""",
}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("paper")
    (folder / "甲").mkdir()
    for name, content in FILES.items():
        (folder / "甲" / name).write_text(content, encoding="utf-8")
    return folder


@pytest.fixture(autouse=True)
def _cache(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AUDIT_KIT_CACHE", str(place / "cache"))
    monkeypatch.setenv("AUDIT_KIT_BROWSER", "no-such-browser")


@pytest.fixture(scope="module")
def packages(place: Path) -> dict[tuple[str, str], Path]:
    """A package of the failed uploads for every recipient in both languages, without PDF."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AUDIT_KIT_CACHE", str(place / "cache"))
        patch.setenv("AUDIT_KIT_BROWSER", "no-such-browser")
        engagement = open_engagement(place / "甲")
        made = {}
        for to in RECIPIENTS:
            for lang in ("zh", "en"):
                made[to, lang] = place / f"{to}-{lang}"
                assert package(engagement, made[to, lang], to=to, cause="upload_failed", lang=lang).findings == len(
                    LOST
                )
        return made


def everything(folder: Path) -> str:
    """All that a package holds: every part of every file, as bytes are read, and as cells and paragraphs are."""
    texts = []
    for path in sorted(folder.iterdir()):
        texts.append(path.name)
        if path.suffix in {".docx", ".xlsx"}:
            with zipfile.ZipFile(path) as parts:
                for name in parts.namelist():
                    raw = parts.read(name).decode("utf-8", "replace")
                    texts += [name, raw, re.sub(r"<[^>]+>", "", raw)]
        else:
            texts.append(path.read_bytes().decode("utf-8", "replace"))
    return "\n".join(texts).replace("&quot;", '"').replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")


def said(folder: Path) -> str:
    paper = docx.Document(str(folder / "letter.docx"))
    cells = [cell.text for table in paper.tables for row in table.rows for cell in row.cells]
    return "\n".join([*(part.text for part in paper.paragraphs), *cells])


HIDDEN = {
    "support": (*PERSONS, *STRANGERS, *PARTIES, *AMOUNTS, ID_CARD),
    "it": (*PERSONS, *STRANGERS, *PARTIES, *AMOUNTS, ID_CARD),
    "management": (*PERSONS, *STRANGERS, *PARTIES, *ACCOUNTS, ID_CARD),
    "tax_bureau": (*(text for text in PERSONS if text != "李小明"), *STRANGERS, *ACCOUNTS, ID_CARD),
}


@pytest.mark.parametrize("lang", ["zh", "en"])
@pytest.mark.parametrize("to", RECIPIENTS)
def test_a_scan_finds_nothing_that_the_recipient_does_not_need(to: str, lang: str, packages: dict) -> None:
    whole = everything(packages[to, lang])
    assert [text for text in HIDDEN[to] if text in whole] == []
    assert NUMBERS[2] in whole


def test_who_issued_by_name_is_no_account(place: Path) -> None:
    folder = place / "乙"
    shutil.copytree(place / "甲", folder)
    named = (folder / "ledger.csv").read_text(encoding="utf-8").replace(",KP02", ",钱小姐").replace(",KP01", ",王大力")
    (folder / "ledger.csv").write_text(named, encoding="utf-8")
    package(open_engagement(folder), place / "named", to="it", cause="upload_failed")
    assert [name for name in ("钱小姐", "王大力") if name in everything(place / "named")] == []


NEEDED = {
    "support": (*NUMBERS.values(), OWN, "北京甲公司", *ACCOUNTS, "E5021", "2025-05-02 10:00:00", "GD7", "2025-05-16"),
    "it": (*NUMBERS.values(), "B1", *ACCOUNTS, "E5021", "拒收：购方", "2025-05-02 10:05:00"),
    "management": ("1,339.50", "2,017.50", "2025-05-16"),
    "tax_bureau": (*PARTIES[:2], "北京甲公司", OWN, "226.00", "2025-05-02 10:00:00", "2025-05-16"),
}


@pytest.mark.parametrize("to", RECIPIENTS)
def test_what_the_recipient_needs_is_there(to: str, packages: dict) -> None:
    lost = {NUMBERS[at] for at in LOST}
    needed = [text for text in NEEDED[to] if text not in NUMBERS.values() or text in lost]
    for lang in ("zh", "en"):
        whole = said(packages[to, lang]) + everything(packages[to, lang])
        assert [text for text in needed if text not in whole] == []


def test_the_letter_tells_scope_span_steps_cause_and_proofs(packages: dict) -> None:
    letter = said(packages["support", "zh"])
    for sentence in (
        "关于 3 张发票“上传失败”的情况说明",
        "共涉及发票 3 张，价税合计 2,017.50 元",
        f"最早一张开具于 2025-05-02 10:00（{NUMBERS[2]}），最近一张开具于 2025-05-04 10:00（{NUMBERS[4]}）",
        "应有：开具后 24 小时内在平台可查",
        "所见：2025-05-10 09:00 导出时平台未列示",
        "已记录的处理共 4 项：备用查询 2 项、工单 1 项、操作日志 1 项。",
        "下一申报期限为 2025-05-16，距数据截止日还有 6 天。",
        "尚有 1 件工单未结，其中 1 件已过期限。",
        "所列 3 项均有证据支持。",
        hashlib.sha256(b"proof").hexdigest(),
        "缺",
    ):
        assert sentence in letter
    assert "Next filing deadline: 2025-05-16; days left when the data were taken: 6." in said(packages["it", "en"])


def test_a_proof_outside_of_the_folder_is_missing_and_not_read(place: Path, packages: dict) -> None:
    (place / "QR-2.txt").write_text("elsewhere", encoding="utf-8")
    rows = list(openpyxl.load_workbook(packages["it", "zh"] / "annex.xlsx").worksheets[-1].iter_rows(values_only=True))
    [proof] = [row for row in rows if row[1] and "QR-2" in str(row[1])]
    assert proof[3] == "缺"


@pytest.mark.parametrize("to", RECIPIENTS)
def test_names_are_never_formulas_links_or_fields(to: str, packages: dict) -> None:
    for lang in ("zh", "en"):
        folder = packages[to, lang]
        book = openpyxl.load_workbook(folder / "annex.xlsx")
        cells = [cell for sheet in book for row in sheet.iter_rows() for cell in row]
        assert [cell.value for cell in cells if cell.data_type == "f" or cell.hyperlink] == []
        with zipfile.ZipFile(folder / "letter.docx") as parts:
            for name in parts.namelist():
                if name.endswith((".xml", ".rels")):
                    tree = etree.fromstring(parts.read(name))
                    assert not list(
                        tree.iter(qn("w:fldSimple"), qn("w:instrText"), qn("w:hyperlink"), qn("w:altChunk"))
                    )
                    assert 'TargetMode="External"' not in parts.read(name).decode()
    assert BUYERS[3][0] in everything(packages["tax_bureau", "zh"])


def test_pseudonyms_stay_the_same_and_their_key_stays_with_us(place: Path, packages: dict) -> None:
    engagement = open_engagement(place / "甲")
    key = key_of(engagement.folder)
    assert stat.S_IMODE(key_place(engagement.folder).stat().st_mode) == 0o600
    assert Pseudonyms(key, "zh").of("party", "北京己贸易有限公司") in said(packages["support", "zh"])
    assert Pseudonyms(key, "en").of("account", "KP01") not in said(packages["support", "en"])
    for folder in packages.values():
        whole = b"".join(path.read_bytes() for path in folder.iterdir())
        assert key not in whole
        assert key.hex().encode() not in whole
        assert str(place).encode() not in whole


def test_another_key_gives_other_pseudonyms(place: Path) -> None:
    assert Pseudonyms(b"a" * 32, "zh").of("party", "北京乙公司") != Pseudonyms(b"b" * 32, "zh").of(
        "party", "北京乙公司"
    )
    engagement = open_engagement(place / "甲")
    key_of(engagement.folder)
    kept = key_place(engagement.folder).read_bytes()
    key_place(engagement.folder).write_bytes(b"short")
    with pytest.raises(PlaceError, match="no key of 32 bytes"):
        key_of(engagement.folder)
    key_place(engagement.folder).write_bytes(kept)


def test_the_same_input_gives_the_same_bytes(place: Path, packages: dict) -> None:
    engagement = open_engagement(place / "甲")
    package(engagement, place / "again", to="it", cause="上传失败")
    names = sorted(path.name for path in (place / "again").iterdir())
    assert names == ["annex.xlsx", "letter.docx", "manifest.json"]
    for name in names:
        assert (place / "again" / name).read_bytes() == (packages["it", "zh"] / name).read_bytes(), name
    listed = json.loads((place / "again" / "manifest.json").read_text(encoding="utf-8"))["files"]
    assert listed["letter.docx"] == hashlib.sha256((place / "again" / "letter.docx").read_bytes()).hexdigest()


def test_one_finding_is_told_alone_and_nothing_is_written_into_the_engagement(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {path.name: path.read_bytes() for path in (place / "甲").iterdir()}
    found = analyse(open_engagement(place / "甲")).findings
    [one] = found.filter(pl.col("invoice_key") == NUMBERS[3])["finding_id"]
    out = place / "one"
    arguments = ["package", str(place / "甲"), "--finding", one, "--to", "tax_bureau", "--out", str(out), "--json"]
    assert cli.main(arguments) == 0
    told = capsys.readouterr()
    assert json.loads(told.out)["findings"] == 1
    assert "没有打印 PDF" in told.err
    assert cli.main([*arguments[:4], "--to", "support", "--out", str(place / "one-support")]) == 0
    assert "1,339.50" not in everything(place / "one-support")
    capsys.readouterr()
    letter = said(out)
    assert "价税合计 1,339.50 元" in letter
    assert NUMBERS[3] in letter
    assert NUMBERS[2] not in letter
    assert before == {path.name: path.read_bytes() for path in (place / "甲").iterdir()}


@pytest.mark.parametrize(
    ("asked", "sentence"),
    [
        ({"cause": "no_such"}, "no finding of the cause"),
        ({"finding": "0000"}, "no finding '0000'"),
        ({}, "one of the two"),
        ({"cause": "upload_failed", "to": "press"}, "no recipient 'press'"),
    ],
)
def test_what_cannot_be_told_is_refused_and_leaves_nothing(place: Path, asked: dict, sentence: str) -> None:
    with pytest.raises(RequestError, match=sentence):
        package(open_engagement(place / "甲"), place / "refused", **({"to": "it"} | asked))
    assert not (place / "refused").exists()


def test_a_folder_with_other_files_is_never_replaced(place: Path) -> None:
    engagement, out = open_engagement(place / "甲"), place / "mine"
    out.mkdir()
    package(engagement, out, to="it", cause="upload_failed")
    package(engagement, out, to="support", cause="upload_failed")
    (out / "notes.txt").write_text("mine", encoding="utf-8")
    with pytest.raises(RequestError, match="other files"):
        package(engagement, out, to="it", cause="upload_failed")
    assert (out / "notes.txt").read_text(encoding="utf-8") == "mine"
    with pytest.raises(RequestError, match="inside the engagement"):
        package(engagement, place / "甲" / "out", to="it", cause="upload_failed")


def test_a_package_that_fails_half_way_leaves_the_earlier_one(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    engagement, out = open_engagement(place / "甲"), place / "half"
    package(engagement, out, to="it", cause="upload_failed")
    before = {path.name: path.read_bytes() for path in out.iterdir()}

    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("audit_kit.paper.package.write_workbook", stop)
    with pytest.raises(KeyboardInterrupt):
        package(engagement, out, to="support", cause="upload_failed")
    assert before == {path.name: path.read_bytes() for path in out.iterdir()}
    assert not [path.name for path in place.iterdir() if path.name.startswith(".making-")]


def test_where_logs_are_not_there_the_letter_says_unknown(tmp_path: Path) -> None:
    folder = tmp_path / "乙"
    folder.mkdir()
    for name in ("ledger.csv", "platform.csv"):
        (folder / name).write_text(FILES[name], encoding="utf-8")
    text = f'[engagement]\ntaxpayer_id = "{OWN}"\ntaken_at = 2025-05-10T09:00:00\n[sources]\nledger = "ledger.csv"\n'
    (folder / "audit.toml").write_text(text + 'platform = "platform.csv"\n', encoding="utf-8")
    engagement = open_engagement(folder)
    cause = analyse(engagement).findings["cause"][0]
    package(engagement, tmp_path / "out", to="support", cause=cause)
    letter = said(tmp_path / "out")
    for sentence in ("系统消息未知", "是否另有处理未知", "申报期限未知", "没有对这些发票的处理"):
        assert sentence in letter


def test_text_that_no_document_may_hold_is_left_out() -> None:
    assert plain("a\x00b\x0b\ud800\u202ec\n\td") == "abc  d"


@pytest.mark.slow
def test_the_letter_opens_in_libreoffice(packages: dict, tmp_path: Path) -> None:
    letters = []
    for to, lang in (("support", "zh"), ("tax_bureau", "en")):
        letters.append(tmp_path / f"{to}-{lang}.docx")
        shutil.copy(packages[to, lang] / "letter.docx", letters[-1])
    home = f"-env:UserInstallation={(tmp_path / 'home').as_uri()}"
    command = ["soffice", home, "--headless", "--convert-to", "pdf", "--outdir", str(tmp_path), *map(str, letters)]
    subprocess.run(command, check=True, capture_output=True, timeout=240, env={**os.environ, "HOME": str(tmp_path)})
    for letter in letters:
        pages = pypdf.PdfReader(letter.with_suffix(".pdf")).pages
        text = "".join(page.extract_text() for page in pages).replace("\n", "")
        assert NUMBERS[2] in re.sub(r"\s", "", text)
        to = letter.stem.split("-")[0]
        assert [hidden for hidden in HIDDEN[to] if hidden in text] == []


@pytest.mark.browser
@pytest.mark.slow
def test_the_printed_letter_is_the_same_each_time_and_hides_the_same(
    place: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("AUDIT_KIT_BROWSER")
    engagement = open_engagement(place / "甲")
    for name in ("a", "b"):
        assert package(engagement, tmp_path / name, to="support", cause="upload_failed").no_pdf is None
    printed = (tmp_path / "a" / "letter.pdf").read_bytes()
    assert printed == (tmp_path / "b" / "letter.pdf").read_bytes()
    text = "".join(page.extract_text() for page in pypdf.PdfReader(tmp_path / "a" / "letter.pdf").pages)
    assert NUMBERS[2] in re.sub(r"\s", "", text)
    assert [hidden for hidden in HIDDEN["support"] if hidden in text] == []
