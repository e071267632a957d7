"""Every reason has its Chinese wording: of tables, and of e-invoices."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from audit_kit import resources
from audit_kit.core.reasons import reason_in
from audit_kit.loaders.tables.pipeline import read

if TYPE_CHECKING:
    from pathlib import Path


def test_reasons_of_a_table_are_chinese_for_chinese_readers(tmp_path: Path) -> None:
    path = tmp_path / "台账.csv"
    head = "数电发票号码,开票日期,金额,税额,价税合计"
    lines = ["1,x,1,0,1", "2,2025-05-03,1.234,0,1", "3,2025-05-03,1E+5,0,1", "4,2025-05-03", "5,2025-05-03,1,0,1,9"]
    lines += ["6,,1,0,1", "7,2025-05-03,a,0,1", "制表：张三,,,,"]
    path.write_text("\n".join([head, *lines]), encoding="utf-8")
    reasons = read(path, table="ledger").set_aside["reason"]
    assert [reason_in("zh", reason) for reason in reasons] == [
        "开票日期：日期无法识别",
        "金额：超过两位小数",
        "金额：为科学计数法，末几位已丢失",
        "字段过少：少于 5 个",
        "字段过多：多于 5 个",
        "缺少开票日期",
        "金额：金额无法识别",
        "表尾说明，不是数据行",
    ]
    assert [reason_in("en", reason) for reason in reasons] == reasons.to_list()


@pytest.mark.parametrize("reason", resources.load("einvoices")["reasons"].values())
def test_no_english_is_left_in_the_reasons_of_e_invoices(reason: str) -> None:
    said = reason_in("zh", reason.format(detail="12"))
    words = re.findall(r"[A-Za-z]{4,}", re.sub(r"DOCTYPE|audit-kit|install|xbrl", "", said))
    assert words == []
