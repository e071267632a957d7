"""Every reason a row is set aside for is told in both languages, from its code."""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl
import pytest

from audit_kit.core.words import texts
from audit_kit.loaders.reading import Reason, aside, said
from audit_kit.loaders.tables.pipeline import read

if TYPE_CHECKING:
    from pathlib import Path

HEAD = "数电发票号码,开票日期,金额,税额,价税合计"


def test_reasons_of_a_table_are_told_in_both_languages(tmp_path: Path) -> None:
    path = tmp_path / "台账.csv"
    lines = ["1,x,1,0,1", "2,2025-05-03,1.234,0,1", "3,2025-05-03,1E+5,0,1", "4,2025-05-03", "5,2025-05-03,1,0,1,9"]
    lines += ["6,,1,0,1", "7,2025-05-03,a,0,1", "8,x,a,0,1", "制表：张三,,,,"]
    path.write_text("\n".join([HEAD, *lines]), encoding="utf-8")
    found = read(path, table="ledger").set_aside
    assert said(found, "zh").to_list() == [
        "开票日期：日期无法识别",
        "金额：超过两位小数",
        "金额：为科学计数法，末几位已丢失",
        "字段过少：少于 5 个",
        "字段过多：多于 5 个",
        "缺少开票日期",
        "金额：金额无法识别",
        "开票日期：日期无法识别；金额：金额无法识别",
        "表尾说明，不是数据行",
    ]
    assert said(found, "en").to_list() == found["reason"].to_list()
    assert found["reason"][7] == "开票日期: no date that can be read; 金额: no amount that can be read"
    assert found["code"][7] == "reason.no_date;reason.no_amount"
    assert found["fields"][3] == '[{"fields": 5}]'


def test_what_stands_in_a_reason_is_never_taken_for_words() -> None:
    found = aside([("a.ofd", None, Reason(code="einvoice.bad_date", fields={"detail": '{x}; "a": 1'}), "")])
    assert said(found, "zh").to_list() == ['开票日期无法识别：{x}; "a": 1']
    assert found["reason"].to_list() == ['its 开票日期 cannot be read: {x}; "a": 1']


@pytest.mark.parametrize("section", ["reason", "einvoice", "catalogue", "unused"])
def test_every_reason_says_the_same_in_two_languages(section: str) -> None:
    fields = dict.fromkeys(("column", "columns", "fields", "encoding", "detail", "headers", "tables", "reason"), "〇")
    for name in texts()[section]:
        chinese, english = (Reason(code=f"{section}.{name}", fields=fields).said(lang) for lang in ("zh", "en"))
        assert chinese.count("〇") == english.count("〇")
        assert pl.Series([chinese]).str.contains(r"\p{Han}").all() or name == "and"


def test_a_code_without_words_is_an_error() -> None:
    with pytest.raises(KeyError):
        Reason(code="reason.nothing").said()
