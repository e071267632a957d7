"""A folder of redacted reports goes on as one engagement's, in either language, and is nobody else's."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from audit_kit.core import places
from audit_kit.core.errors import RequestError
from audit_kit.core.kept.pseudonyms import Pseudonyms, key_of
from audit_kit.report.run import run_report

if TYPE_CHECKING:
    from pathlib import Path

NAME = "北京示例卖方有限公司"
HEAD = "发票号码,开票日期,销方识别号,销方名称,购买方名称,价税合计"


def engagement(folder: Path, tax_id: str) -> Path:
    folder.mkdir()
    rows = [
        f"251120000000000000{month}{at},2025-0{month}-0{at} 10:00:00,{tax_id},{NAME},买方{at},1.00"
        for month in (4, 5)
        for at in range(1, 6)
    ]
    (folder / "ledger.csv").write_text("\n".join([HEAD, *rows]) + "\n", encoding="utf-8")
    (folder / "platform.csv").write_text("\n".join([HEAD, *rows[1:-1]]) + "\n", encoding="utf-8")
    (folder / "audit.toml").write_text(
        f'[engagement]\nname = "甲"\ntaxpayer_id = "{tax_id}"\ntaxpayer_name = "{NAME}"\n'
        "taken_at = 2025-06-10T09:00:00\n",
        encoding="utf-8",
    )
    return folder


def test_months_in_both_languages_are_of_one_engagement_and_another_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AUDIT_KIT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(places, "notebooks", list)
    mine, other = engagement(tmp_path / "甲", "91110108MA01A2B3XP"), engagement(tmp_path / "乙", "91110105MA01ABCD2X")
    out = tmp_path / "reports"
    run_report(mine, month="2025-04", out=out, redact=True)
    made = run_report(mine, month="2025-05", out=out, redact=True, lang="en")
    told = json.loads((made.folder / "manifest.json").read_text(encoding="utf-8"))
    assert told["previous"] == "2025-04"
    hide = Pseudonyms(key_of(mine), "en")
    assert told["engagement"]["taxpayer_name"] == hide.of("party", NAME)
    assert told["engagement"]["taxpayer_ids"] == [hide.of("tax_id", "91110108MA01A2B3XP")]
    assert run_report(mine, month="2025-05", out=out).summary["changes"] is not None
    with pytest.raises(RequestError):
        run_report(other, month="2025-05", out=out, redact=True)
