"""Letters on how the trouble was followed up: each item told by its evidence, and nobody named who need not be."""

from __future__ import annotations

from typing import TYPE_CHECKING

import docx
import openpyxl
import pytest

from audit_kit.loaders.engagement.engagement import open_engagement
from audit_kit.paper.package import package

if TYPE_CHECKING:
    from pathlib import Path

OWN, NUMBERS = "91110108MA01A2B3XP", [f"2511200000000000{at:04}" for at in range(1, 9)]
HEAD = "发票号码,开票日期,销方识别号,销方名称,购方识别号,购买方名称,金额,税额,价税合计,开票账号"
ROWS = [
    f"{number},2025-05-06 10:00:00,{OWN},北京甲公司,91310115MA1K4XXXX{at},上海乙{at}公司,100.00,13.00,113.00,WY101"
    for at, number in enumerate(NUMBERS)
]
FILES = {
    "ledger.csv": [HEAD, *ROWS],
    "platform.csv": [HEAD, *ROWS],
    "register.csv": [
        f"{HEAD},登记人,复核人,复核号码,复核价税合计",
        f"{ROWS[0]},王小芳,李志强,{NUMBERS[0][:-1]}7,131.00",
        f"{ROWS[1]},王小芳,王小芳,{NUMBERS[1]},113.00",
    ],
    "operations.csv": [
        "时间,账号,操作,发票号码,结果,登录地点",
        "2025-05-20 09:00:00,WY101,登录,,成功,10.20.30.40",
        "2025-05-20 09:02:00,WY101,登录,,成功,172.16.9.9",
        "2025-05-20 09:04:00,WY101,登录,,成功,10.20.30.40",
    ],
    "metrics.csv": [
        "时间,主机,指标,数值",
        *(f"2025-05-20 {hour:02}:00:00,kp-gw-01,CPU,{0.95 if hour == 9 else 0.4}" for hour in range(24)),
    ],
}
SETTINGS = f"""
[engagement]
name = "甲"
taxpayer_name = "北京甲公司"
taxpayer_id = "{OWN}"
taken_at = 2025-06-01T09:00:00
[policy.metrics]
cpu = 0.9
[plan]
roles = [{{ name = "lead", person = "赵大刚", deputy = "赵大刚", contact = "13800138000", updated = 2025-01-01 }}]
priorities = ["开票"]
resources = ["备用终端"]
contacts = {{ support = "400" }}
drills = [{{ name = "断网", every_days = 180, last = 2025-03-01 }}]
"""
CAUSES = ("register_mismatch", "register_unchecked", "metric_over_threshold", "account_shared", "plan_gap")
PEOPLE = {"王小芳", "李志强", "赵大刚", "13800138000"}
PARTIES = {"上海乙0公司", "91310115MA1K4XXXX0"}
PLACES, HOSTS, ACCOUNT = {"10.20.30.40", "172.16.9.9"}, {"kp-gw-01"}, {"WY101"}
AMOUNTS = {"131.00", "1【3】1.00"}
HIDDEN = {
    "support": PEOPLE | PARTIES | PLACES | HOSTS | AMOUNTS,
    "it": PEOPLE | PARTIES | AMOUNTS,
    "management": PEOPLE | PARTIES | PLACES | ACCOUNT,
    "tax_bureau": PEOPLE | PLACES | HOSTS | ACCOUNT,
}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("followup") / "甲"
    folder.mkdir()
    for name, lines in FILES.items():
        (folder / name).write_text("\n".join(lines) + "\n", encoding="utf-8")
    sources = "\n".join(f'{name.removesuffix(".csv")} = "{name}"' for name in FILES)
    (folder / "audit.toml").write_text(f"{SETTINGS}[sources]\n{sources}\n", encoding="utf-8")
    return folder


def texts(folder: Path) -> str:
    paper = docx.Document(str(folder / "letter.docx"))
    cells = [cell.text for table in paper.tables for row in table.rows for cell in row.cells]
    book = openpyxl.load_workbook(folder / "annex.xlsx", read_only=True)
    rows = [str(value) for sheet in book for row in sheet.iter_rows(values_only=True) for value in row if value]
    return "\n".join([*(part.text for part in paper.paragraphs), *cells, *rows])


@pytest.mark.parametrize("lang", ["zh", "en"])
def test_letters_on_the_follow_up_tell_their_evidence_and_hide_the_rest(
    lang: str, place: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("AUDIT_KIT_CACHE", str(place.parent / "cache"))
    monkeypatch.setenv("AUDIT_KIT_BROWSER", "no-such-browser")
    engagement = open_engagement(place)
    for to, hidden in HIDDEN.items():
        for cause in CAUSES:
            folder = tmp_path / f"{to}-{cause}"
            package(engagement, folder, to=to, cause=cause, lang=lang)
            said = texts(folder)
            assert [word for word in hidden if word in said] == [], (to, cause)
            assert "[policy" not in said
            assert ("平台未列示" if lang == "zh" else "not listed in the export") not in said
            shown = {"register_mismatch": NUMBERS[0], "metric_over_threshold": "2025-05-20 09:00"}.get(cause, "")
            assert shown in said
    assert ("登记人与复核人同为" if lang == "zh" else "both wrote and checked") in texts(
        tmp_path / "it-register_unchecked"
    )
    if lang == "en":
        assert "the deputy of the role “lead” is the same person" in texts(tmp_path / "management-plan_gap")
    assert f"{NUMBERS[0][:-1]}【7】" in texts(tmp_path / "support-register_mismatch")
