"""The emergency plan on paper: filled from the settings, its gaps marked, an exercise from a month that happened."""

from __future__ import annotations

import json
from datetime import date
from typing import TYPE_CHECKING

import docx
import pytest
from docx.enum.text import WD_COLOR_INDEX

from audit_kit.cli import main as cli
from audit_kit.core.errors import RequestError
from audit_kit.core.policy import Calendar, Plan, PlannedDrill, Role, Training
from audit_kit.loaders.engagement.engagement import open_engagement
from audit_kit.paper.plan_paper import write_plan
from audit_kit.rules.response.plan_gaps import gaps

if TYPE_CHECKING:
    from pathlib import Path

OWN = "91110108MA01A2B3XP"
HEAD = "发票号码,开票日期,销方识别号,购买方名称,金额,税额,价税合计,开票渠道"
ROWS = [
    f"251120000000000000{at:02},2025-0{4 + at // 6}-{1 + at % 6:02} 10:00:00,{OWN},北京乙公司,100.00,13.00,113.00,网页"
    for at in range(12)
]
COMPLETE = """
[plan]
updated = 2025-01-10
roles = [{ name = "lead", person = "甲", deputy = "乙", contact = "010-1", updated = 2025-01-10 }]
priorities = ["开票"]
resources = ["备用终端"]
contacts = { tax_bureau = "12366", support = "400" }
drills = [{ name = "断网", every_days = 180, last = 2025-03-01 }]
[calendar]
filing_deadlines = [2025-06-16]
[training]
every_days = 365
last = 2025-02-20
"""
LACKING = """
[plan]
roles = [{ name = "lead", person = "甲<b>", updated = 2023-01-10 }]
drills = [{ name = "断网", every_days = 30, last = 2025-03-01 }]
"""


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Path:
    monkeypatch.setenv("AUDIT_KIT_CACHE", str(tmp_path / "cache"))
    folder = tmp_path / "甲"
    folder.mkdir()
    (folder / "ledger.csv").write_text("\n".join([HEAD, *ROWS]) + "\n", encoding="utf-8")
    listed = [row for at, row in enumerate(ROWS) if at not in {6, 7, 8, 1}]
    (folder / "platform.csv").write_text("\n".join([HEAD, *listed]) + "\n", encoding="utf-8")
    about = f'[engagement]\nname = "甲"\ntaxpayer_id = "{OWN}"\ntaken_at = 2025-06-01T09:00:00\n[sources]\n'
    about += 'ledger = "ledger.csv"\nplatform = "platform.csv"\n'
    (folder / "audit.toml").write_text(about + request.param, encoding="utf-8")
    return folder


def said(path: Path) -> str:
    paper = docx.Document(str(path))
    cells = [cell.text for table in paper.tables for row in table.rows for cell in row.cells]
    return "\n".join([*(part.text for part in paper.paragraphs), *cells])


def marked(path: Path) -> list[str]:
    """What stands in yellow."""
    paper = docx.Document(str(path))
    parts = [part for table in paper.tables for row in table.rows for cell in row.cells for part in cell.paragraphs]
    runs = [run for part in [*paper.paragraphs, *parts] for run in part.runs]
    return [run.text for run in runs if run.font.highlight_color == WD_COLOR_INDEX.YELLOW]


@pytest.mark.parametrize("made", [LACKING], indirect=True)
def test_gaps_are_listed_and_marked(made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    assert cli.main(["plan", str(made), "--out", str(out), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["gaps"] == [
        "角色“总指挥”没有代理人",
        "角色“总指挥”没有联系方式",
        "角色“总指挥”超过一年未核对（2023-01-10）",
        "没有恢复顺序",
        "没有备用资源",
        "没有任何对外联络方式",
        "演练“断网”已于 2025-03-31 到期",
        "没有未来的申报期限",
        "没有培训间隔或上次日期",
    ]
    text = said(out / "plan.docx")
    assert [gap for gap in told["gaps"] if gap not in text] == []
    assert "甲<b>" in text
    yellow = marked(out / "plan.docx")
    assert "【待补】超过一年未核对：2023-01-10" in yellow
    assert "【待补】已逾期：2025-03-31" in yellow
    assert all(mark.startswith("【待补】") for mark in yellow)


@pytest.mark.parametrize("made", [COMPLETE], indirect=True)
def test_a_complete_plan_has_no_gap_and_the_exercise_is_of_what_happened(made: Path, tmp_path: Path) -> None:
    before = {path.name: path.read_bytes() for path in made.iterdir()}
    written = write_plan(open_engagement(made), tmp_path / "out", lang="en")
    assert written.gaps == ()
    assert written.month == "2025-05"
    plan = said(tmp_path / "out" / "plan.docx")
    assert "Everything that the settings should say is there." in plan
    assert [text for text in ("12366", "2025-06-16", "lead", "010-1", "2025-08-28") if text not in plan] == []
    missing = [row.split(",")[0] for row in ROWS[6:9]]
    exercise, answers = (said(tmp_path / "out" / f"{name}.docx") for name in ("exercise", "answers"))
    assert "6 invoices were issued, gross CNY 678.00" in exercise
    assert "3 of the month's invoices are still not listed: gross CNY 339.00" in exercise
    assert [number for number in missing if number not in exercise or number not in answers] == []
    assert "Probably lost" not in exercise
    assert before == {path.name: path.read_bytes() for path in made.iterdir()}
    again = write_plan(open_engagement(made), tmp_path / "again", lang="en")
    for name in again.files:
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "again" / name).read_bytes(), name
    for lang in ("zh", "en"):
        april = write_plan(open_engagement(made), tmp_path / "out", month="2025-04", lang=lang)
        assert april.month == "2025-04"
        assert marked(tmp_path / "out" / "plan.docx") in (
            ["【待补】"] * 2,
            ["[to fill in]"] * 2,
        )  # rungs it need not call
    with pytest.raises(RequestError, match="no invoice of 2025-07"):
        write_plan(open_engagement(made), tmp_path / "out", month="2025-07")
    with pytest.raises(RequestError, match="is no month"):
        write_plan(open_engagement(made), tmp_path / "out", month="2025-13")


def test_gaps_are_of_the_day() -> None:
    role = Role(name="lead", person="甲", deputy="乙", contact="1", updated=date(2024, 6, 1))
    plan = Plan(
        roles=(role,),
        priorities=("a",),
        resources=("b",),
        contacts={"support": "1", "tax_bureau": "2"},
        drills=(PlannedDrill(name="x", every_days=30, last=date(2025, 5, 2)),),
        updated=date(2025, 1, 1),
    )
    calendar, training = Calendar(filing_deadlines=(date(2025, 6, 1),)), Training(every_days=1, last=date(2025, 5, 31))
    assert gaps(plan, calendar, training, date(2025, 6, 1)) == []
    assert [gap.key for gap in gaps(plan, calendar, training, date(2025, 6, 2))] == [
        "old",
        "drill_due",
        "deadlines",
        "training_due",
    ]
