"""What is known of an invoice: deeds that failed, voids of the ledger, red invoices whose form is not confirmed."""

from __future__ import annotations

from datetime import datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import polars as pl
import pytest

from audit_kit import resources
from audit_kit.analysis.work import analyse
from audit_kit.core import schema
from audit_kit.core.policy import Export, Policy
from audit_kit.loaders.engagement.engagement import open_engagement
from audit_kit.rules.causes.diagnosis import Evidence, diagnose
from audit_kit.rules.matching.reconcile import reconcile
from audit_kit.rules.proofs import deeds
from audit_kit.rules.sync import observations as delays

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

TAKEN = datetime(2025, 6, 2, 9)
OURS = "91110108MA01ABCD1X"
BLUE, RED = "25112000000000000001", "25112000000000000002"
ROW_OF_LOG, ROW_OF_FORM = 17, 23


def invoice(number: str | None, /, **other: Any) -> dict[str, Any]:
    serial = int((number or "9")[-4:])
    return {
        "digital_number": number,
        "issued_at": datetime(2025, 5, 6, 10) + timedelta(minutes=serial),
        "seller_tax_id": OURS,
        "net": Decimal("100.00"),
        "gross": Decimal("106.00"),
        "positive": True,
        "status": "normal",
        "channel": "网页",
        "source_file": "book.xlsx",
        "source_row": serial + 2,
    } | other


ORDINARY = [invoice(f"2511200000000000{serial:04d}") for serial in range(100, 160)]
VOIDED = [invoice(f"2511200000000000{serial:04d}", status="voided") for serial in range(160, 180)]


def red(number: str | None = RED, /, gross: str = "-106.00", **other: Any) -> dict[str, Any]:
    sign = {"gross": Decimal(gross), "net": round(Decimal(gross) / Decimal("1.06"), 2), "positive": False}
    return invoice(number, **(sign | {"red_of": BLUE} | other))


def deed(action: str, result: str | None, /, number: str = BLUE, day: int = 8) -> dict[str, Any]:
    return {"at": datetime(2025, 5, day, 9), "account": "li", "action": action, "invoice_number": number,
            "result": result, "source_file": "operations.csv", "source_row": ROW_OF_LOG}  # fmt: skip


def form(state: str, /, **other: Any) -> dict[str, Any]:
    return {"form": "11010125050000000001", "invoice_number": BLUE, "state": state,
            "applied_at": datetime(2025, 6, 1, 9), "net": Decimal("-100.00"), "tax": Decimal("-6.00"),
            "source_file": "forms.xlsx", "source_row": ROW_OF_FORM} | other  # fmt: skip


def frame(table: str, rows: list[dict[str, Any]]) -> pl.DataFrame:
    types = schema.dtypes(table)
    return pl.DataFrame([{name: row.get(name) for name in types} for row in rows], schema=types)


LOGS = ("accounts", "notices", "operations", "sync_log", "confirmations", "substitute", "red_confirmations")
CONTROL = {"source_file": pl.String, "column": pl.String, "stated": pl.Decimal(18, 2), "computed": pl.Decimal(18, 2),
           "agrees": pl.Boolean}  # fmt: skip
KEYS = {"invoice_key": pl.String, "repo_id": pl.String, "backup_id": pl.String}


def found(
    ledger: list[dict[str, Any]], platform: Sequence[dict[str, Any]] = (), *, lang: str = "zh", **tables: Any
) -> list[dict[str, Any]]:
    """The findings on top of sixty ordinary invoices that agree."""
    seen = [row | {"source_file": "export.xlsx"} for row in (*ORDINARY, *platform)]
    ours, theirs = frame("ledger", [*ORDINARY, *ledger]), frame("platform", seen)
    rows = {name: frame(name, tables.pop(name, [])) for name in LOGS}
    matches = reconcile(ours, theirs)
    observations = delays.observations(ours, theirs, matches, sync_log=rows["sync_log"], taken_at=TAKEN)
    evidence = Evidence(
        ledger=ours, platform=theirs, matches=matches, observations=observations,
        stops=delays.stops(observations, rows["notices"], taken_at=TAKEN), taken_at=TAKEN, **rows,
        control=pl.DataFrame(schema=CONTROL), backup_keys=pl.DataFrame(schema=KEYS), export=Export(), policy=Policy(),
        taxpayer_ids=(OURS,), direction="issued",
    )  # fmt: skip
    return diagnose(evidence, lang=lang).to_dicts()


def only(*args: Any, **other: Any) -> dict[str, Any]:
    findings = found(*args, **other)
    assert len(findings) == 1, [row["cause"] for row in findings]
    return findings[0]


DONE = (
    "成功",
    "操作成功",
    "作废成功",
    "已作废",
    "完成",
    "已完成",
    "通过",
    "OK",
    "success",
    "Succeeded",
    "",
    None,
    "正常",
)
IN_VAIN = {
    "failed": ("失败", "操作失败", "作废失败：已超过作废期限", "驳回", "已驳回", "拒绝", "未通过", "审核不通过",
               "未成功", "超时", "请求超时", "无权限操作", "您没有该功能访问权限", "不允许作废", "Failed", "error 500",
               "rejected", "Ｆａｉｌｅｄ"),
    "pending": ("待确认", "待对方确认", "处理中", "审核中", "提交成功，待对方确认", "申请中", "已提交", "部分成功",
                "pending"),
    "withdrawn": ("已撤销", "已撤回", "撤销成功", "已取消"),
    "unread": ("甲乙丙", "9527", "失败后重试成功"),
}  # fmt: skip
WORDS = [(meaning, word) for meaning, words in IN_VAIN.items() for word in words]
MANY = [(f"2511200000000000{serial:04d}", word) for serial, (_, word) in enumerate(WORDS, 1)]


@pytest.mark.parametrize(("meaning", "word"), [*WORDS, *(("succeeded", word) for word in DONE)])
def test_what_a_result_says(meaning: str, word: str | None) -> None:
    assert deeds.meaning(pl.Series([word], dtype=pl.String)).to_list() == [meaning]


@pytest.mark.parametrize("action", ["void", "red"])
def test_a_deed_that_did_not_succeed_proves_nothing_and_is_cited(action: str) -> None:
    log = [deed(action, word, number=number) for number, word in MANY]
    findings = found([invoice(number) for number, _ in MANY], operations=log)
    assert {row["cause"] for row in findings}.isdisjoint({"voided", "red_reversed", "edited_not_synced"})
    assert len(findings) == len(WORDS)
    for row, (_, word) in zip(sorted(findings, key=lambda row: row["ledger_row"]), MANY, strict=True):
        assert f"“{word}”" in row["evidence"]
        assert f"operations.csv 第 {ROW_OF_LOG} 行" in row["evidence"]
        assert {"void": "作废", "red": "红冲"}[action] in row["evidence"]


@pytest.mark.parametrize(("action", "cause"), [("void", "voided"), ("red", "red_reversed")])
def test_a_deed_that_succeeded_counts_and_is_not_cited_as_vain(action: str, cause: str) -> None:
    numbers = [f"2511200000000000{serial:04d}" for serial in range(1, len(DONE) + 1)]
    log = [deed(action, word, number=number) for number, word in zip(numbers, DONE, strict=True)]
    findings = found([invoice(number) for number in numbers], operations=log)
    assert [row["cause"] for row in findings] == [cause] * len(DONE)
    assert not any("不作为证据" in row["evidence"] for row in findings)


@pytest.mark.parametrize(
    ("results", "cause"),
    [
        (("失败", "成功"), "voided"),
        (("成功", "失败"), "voided"),
        (("失败", "失败"), "lost"),
        (("待审核", "成功"), "voided"),
        (("成功", "已撤销"), "lost"),
        (("成功", "已撤销", "成功"), "voided"),
        (("已撤销", "成功"), "voided"),
    ],
)
def test_of_several_deeds_one_that_succeeded_and_was_not_withdrawn_counts(results: tuple[str, ...], cause: str) -> None:
    log = [deed("void", result, day=8 + turn) for turn, result in enumerate(results)]
    row = only([invoice(BLUE)], operations=log[::-1])
    assert row["cause"] == cause
    assert ("不作为证据" in row["evidence"]) == (cause == "lost")


def test_an_edit_that_failed_changed_nothing() -> None:
    """The seeded fault: an edit whose result is one of all words that say that nothing came of it."""
    field = {"field": "价税合计", "before": "106.00", "after": "999.00"}
    log = [deed("edit", word, number=number) | field for number, word in MANY]
    ledger = [invoice(number, gross=Decimal("999.00")) for number, _ in MANY]
    findings = found(ledger, [invoice(number) for number, _ in MANY], operations=log)
    assert [row["cause"] for row in findings] == ["amount_conflict"] * len(WORDS)
    for row, (_, word) in zip(findings, MANY, strict=True):
        assert f"“{word}”" in row["evidence"]
        assert "修改" in row["evidence"]
        assert f"operations.csv 第 {ROW_OF_LOG} 行" in row["evidence"]


@pytest.mark.parametrize("result", ["成功", "已保存，待同步", None])
def test_an_edit_that_was_saved_is_one(result: str | None) -> None:
    edit = deed("edit", result) | {"field": "价税合计", "before": "106.00", "after": "999.00"}
    row = only([invoice(BLUE, gross=Decimal("999.00"))], [invoice(BLUE)], operations=[edit])
    assert row["cause"] == "edited_not_synced"


def test_a_ledger_that_says_voided_or_reversed_is_not_believed_where_the_deed_failed() -> None:
    for action, status in (("void", "voided"), ("red", "red_full")):
        row = only([invoice(BLUE, status=status)], operations=[deed(action, "失败")])
        assert row["cause"] == "lost"
        assert "没有成功" in row["evidence"]


def test_a_result_that_is_not_understood_is_counted_in_both_languages() -> None:
    log = [deed("void", "甲乙丙", number=BLUE), deed("void", "甲乙丙", number=RED)]
    assert "共 2 行" in found([invoice(BLUE)], operations=log)[0]["evidence"]
    english = found([invoice(BLUE)], operations=log, lang="en")[0]["evidence"]
    assert f"operations.csv, row {ROW_OF_LOG}" in english
    assert "is not understood" in english


ELECTRONIC, PAPER = "数电发票（普通发票）", "数电纸质发票（普通发票）"


@pytest.mark.parametrize("count", [1, 2, 4, 5, 9])
@pytest.mark.parametrize("listed", [0, 4])
def test_voided_in_the_ledger_and_not_listed(count: int, listed: int) -> None:
    """State unknown where the platform lists as many voided ones as are missing; else it leaves them out."""
    gone = [invoice(f"2511200000000000{serial:04d}", status="voided", kind=ELECTRONIC) for serial in range(count)]
    findings = found([*gone, *VOIDED[:listed]], VOIDED[:listed])
    assert [row["cause"] for row in findings] == ["voided"] * count
    assert {row["state"] for row in findings} == {"unknown" if listed >= count else "fails"}
    assert all("不能作废，只能" in row["evidence"] for row in findings)


def test_a_paper_invoice_can_be_voided() -> None:
    old = {"digital_number": None, "invoice_code": "011002400111", "invoice_number": "12345678"}
    for other in ({"kind": PAPER}, {"kind": PAPER, "invoice_code": "011002400111"}, old):
        row = only([invoice(BLUE, status="voided", **{"kind": "增值税普通发票"} | other)])
        assert row["cause"] == "voided"
        assert "不能作废，只能" not in row["evidence"]


def test_a_void_that_succeeded_is_sure_wherever_voided_ones_are_listed() -> None:
    row = only([invoice(BLUE, status="voided"), *VOIDED], VOIDED, operations=[deed("void", "成功")])
    assert (row["cause"], row["state"]) == ("voided", "fails")


def test_voided_ones_are_no_excess_of_their_channel() -> None:
    """Ten voided ones of one channel beside some that are listed: no level, no run, no chance of lateness of others."""
    gone = [invoice(f"2511700000000000{serial:04d}", status="voided", channel="乐企") for serial in range(10)]
    kept = [invoice(f"2511700000000000{serial:04d}", channel="乐企") for serial in range(10, 14)]
    stray = invoice("25112000000000000990")
    findings = found([*gone, *kept, *VOIDED, stray], [*kept, *VOIDED])
    causes = {row["cause"] for row in findings if row["ledger_row"] is not None}
    assert causes == {"voided", "lost"}
    alone = next(row for row in found([*kept, stray], kept) if row["cause"] == "lost")
    lost = next(row for row in findings if row["cause"] == "lost")
    assert lost["probability_late"] == pytest.approx(alone["probability_late"], rel=0.2)


STATES = {name: entry["means"] for name, entry in resources.load("vocabularies")["red_form_states"].items()}
OPEN = [state for state, means in STATES.items() if means not in ("confirmed", "unknown")]
AGREED = ["not_needed", "confirmed", "unknown"]
BLUES = [f"2511200000000000{serial:04d}" for serial in range(200, 200 + len(OPEN))]
RED_OF = {blue: f"2511200000000000{int(blue[-4:]) + 300:04d}" for blue in BLUES}
FORMS = [
    form(state, invoice_number=blue, form=f"110101250500000{blue[-4:]}")
    for state, blue in zip(OPEN, BLUES, strict=True)
]


@pytest.mark.parametrize("numbered", [True, False])
def test_a_red_row_whose_form_is_not_confirmed(numbered: bool) -> None:
    reds = [red(RED_OF[blue] if numbered else None, red_of=blue) for blue in BLUES]
    findings = found([*map(invoice, BLUES), *reds], [*map(invoice, BLUES)], red_confirmations=FORMS)
    assert [(row["cause"], row["state"]) for row in findings] == [("red_pending", "fails")] * len(OPEN)
    word = {"waiting": "等待对方确认", "lapsed": "不会再开出", "refused": "对方已否认", "withdrawn": "已被撤销"}
    for row, state, blue in zip(findings, OPEN, BLUES, strict=True):
        assert blue in row["evidence"]
        assert f"forms.xlsx 第 {ROW_OF_FORM} 行" in row["evidence"]
        assert word.get(STATES[state], "") in row["evidence"]


@pytest.mark.parametrize("state", AGREED)
def test_a_red_row_whose_form_is_confirmed_or_not_known_has_another_cause(state: str) -> None:
    row = only([invoice(BLUE), red()], [invoice(BLUE)], red_confirmations=[form(state)])
    assert row["cause"] == "lost"
    assert ("可以开出" if state != "unknown" else "状态不明") in row["evidence"]
    assert only([invoice(BLUE), red(None)], [invoice(BLUE)], red_confirmations=[form(state)])["cause"] == (
        "number_invalid"
    )


@pytest.mark.parametrize(
    "other",
    [
        {"positive": None},
        {"positive": False, "gross": Decimal("106.00"), "net": Decimal("100.00")},
        {"status": "red_full"},
        {"status": "not_issued", "digital_number": None},
        {"red_of": None, "remark": "红字发票信息确认单编号：11010125050000000001"},
        {"red_of": "2511 2000 0000 0000 0001"},
        {"digital_number": "11010125050000000001"},
    ],
)
def test_a_red_row_however_it_is_written(other: dict[str, Any]) -> None:
    assert only([invoice(BLUE), red(**other) if "digital_number" not in other else red() | other], [invoice(BLUE)],
                red_confirmations=[form("waiting_for_buyer")])["cause"] == "red_pending"  # fmt: skip


@pytest.mark.parametrize(
    "other",
    [
        {"red_of": "25112000000000000077"},
        {"red_of": None},
        {"positive": True, "gross": Decimal("106.00"), "net": Decimal("100.00")},
        {"gross": Decimal("-50.00"), "net": Decimal("-47.17")},
    ],
)
def test_a_form_of_another_invoice_or_amount_says_nothing(other: dict[str, Any]) -> None:
    row = only([invoice(BLUE), red() | other], [invoice(BLUE)], red_confirmations=[form("waiting_for_buyer")])
    assert row["cause"] == "lost"


def test_a_red_row_that_is_listed_is_no_finding() -> None:
    rows = [invoice(BLUE, status="red_full"), red()]
    assert found(rows, rows, red_confirmations=[form("waiting_for_buyer")]) == []


@pytest.mark.parametrize(
    ("states", "cause"),
    [
        (("lapsed", "waiting_for_buyer"), "red_pending"),
        (("lapsed", "confirmed"), "lost"),
        (("confirmed", "withdrawn_after"), "red_pending"),
        (("refused_by_buyer", "not_needed"), "lost"),
    ],
)
def test_the_latest_form_counts(states: tuple[str, ...], cause: str) -> None:
    forms = [form(state, applied_at=datetime(2025, 5, 20 + turn)) for turn, state in enumerate(states)]
    assert only([invoice(BLUE), red()], [invoice(BLUE)], red_confirmations=forms[::-1])["cause"] == cause


def test_each_amount_has_its_own_form_and_what_is_left_is_said() -> None:
    parts = [red(RED, "-53.00"), red("25112000000000000003", "-21.20")]
    small = {"net": Decimal("-20.00"), "tax": Decimal("-1.20")}
    forms = [form("lapsed", net=Decimal("-50.00"), tax=Decimal("-3.00")), form("confirmed", form="F2", **small)]
    one, two = found([invoice(BLUE), *parts], [invoice(BLUE)], red_confirmations=forms)
    assert (one["cause"], two["cause"]) == ("red_pending", "lost")
    assert "蓝字价税合计 106.00，此单涉及 53.00，其余 53.00" in one["evidence"]


def test_a_form_that_waits_longer_than_it_may_is_not_sure() -> None:
    old = form("waiting_for_seller", applied_at=TAKEN - timedelta(hours=73))
    row = only([invoice(BLUE), red()], [invoice(BLUE)], red_confirmations=[old])
    assert (row["cause"], row["state"]) == ("red_pending", "unknown")
    assert "已超过 72 小时" in row["evidence"]


@pytest.mark.parametrize("listed", [True, False])
@pytest.mark.parametrize("result", ["no log", "成功", "待对方确认"])
def test_a_blue_row_booked_as_reversed_is_not_while_its_form_is_open(result: str, listed: bool) -> None:
    log = [deed("red", result, number=blue) for blue in BLUES if result != "no log"]
    ledger = [invoice(blue, status="red_full") for blue in BLUES]
    platform = [*map(invoice, BLUES)] if listed else []
    findings = found(ledger, platform, red_confirmations=FORMS, operations=log)
    assert [row["cause"] for row in findings] == ["red_pending"] * len(OPEN)
    assert all(("平台仍为“正常”" in row["evidence"]) == listed for row in findings)
    assert all(("不作为证据" in row["evidence"]) == (result == "待对方确认") for row in findings)


@pytest.mark.parametrize("state", AGREED)
def test_a_blue_row_booked_as_reversed_is_while_its_form_is_confirmed(state: str) -> None:
    gone = only([invoice(BLUE, status="red_full")], red_confirmations=[form(state)])
    assert gone["cause"] == "red_reversed"
    normal = only([invoice(BLUE)], red_confirmations=[form(state)], operations=[deed("red", "成功")])
    assert normal["cause"] == "red_reversed"


def test_the_platform_has_the_last_word() -> None:
    """It calls the blue one reversed, or lists the red one: an older list of forms says nothing against it."""
    waits = [form("waiting_for_buyer")]
    row = only([invoice(BLUE)], [invoice(BLUE, status="red_full")], red_confirmations=waits)
    assert row["cause"] == "red_reversed"
    findings = found([invoice(BLUE, status="red_full"), red()], [red()], red_confirmations=waits)
    assert [row["cause"] for row in findings] == ["red_reversed"]


def test_a_blue_row_reversed_in_part_says_what_is_left() -> None:
    part = red(RED, "-50.00")
    row = only([invoice(BLUE), part], [invoice(BLUE, status="red_part"), part])
    assert row["cause"] == "red_reversed"
    assert "平台红字合计 50.00，尚余 56.00" in row["evidence"]
    unknown = only([invoice(BLUE)], [invoice(BLUE, status="red_part")])
    assert "尚余金额无法计算" in unknown["evidence"]
    whole = only([invoice(BLUE), red()], [invoice(BLUE, status="red_full"), red()])
    assert "尚余" not in whole["evidence"]
    waits = form("waiting_for_buyer", net=Decimal("-52.83"), tax=Decimal("-3.17"))
    booked = only([invoice(BLUE, status="red_full"), part], [invoice(BLUE, status="red_part"), part],
                  red_confirmations=[waits])  # fmt: skip
    assert booked["cause"] == "red_pending"


def test_a_red_row_under_the_number_of_its_blue_one_is_not_booked_twice() -> None:
    rows = [invoice(BLUE), red(BLUE, red_of=None)]
    assert only(rows, [invoice(BLUE)], red_confirmations=[form("lapsed")])["cause"] == "red_pending"
    assert only(rows, [invoice(BLUE)], red_confirmations=[form("confirmed")])["cause"] == "booked_twice"
    alone = only(rows[1:], [invoice(BLUE)], red_confirmations=[form("waiting_for_buyer")])
    assert alone["cause"] == "red_pending"


def test_a_ledger_that_reverses_more_than_the_platform_is_told_what_is_left() -> None:
    part = red(RED, "-50.00")
    row = only([invoice(BLUE, status="red_full"), part], [invoice(BLUE, status="red_part"), part])
    assert row["cause"] == "status_conflict"
    assert "尚余 56.00 未冲销" in row["evidence"]


def test_from_files_as_an_auditor_brings_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AUDIT_KIT_CACHE", str(tmp_path / "cache"))
    head = "数电发票号码,开票日期,金额,税额,价税合计,发票状态,是否正数发票,备注\n"
    blues = "".join(
        f"2511200000000000{serial:04d},2025-05-{serial % 28 + 1:02d} 10:00:00,100.00,6.00,106.00,正常,是,\n"
        for serial in range(1, 60)
    )
    gone = "25112000000000000070,2025-05-06 10:00:00,100.00,6.00,106.00,正常,是,\n"
    reds = f",2025-05-31 10:00:00,-100.00,-6.00,-106.00,正常,否,被红冲蓝字数电发票号码：{BLUE}\n"
    forms = "红字发票信息确认单编号,蓝字数电发票号码,确认单状态,录入日期\n"
    log = "操作时间,操作账号,操作类型,发票号码,操作结果\n2025-05-07 09:00:00,li,作废,25112000000000000070,待对方确认\n"
    files = {
        "台账.csv": head + blues + gone + reds,
        "平台导出.csv": head + blues,
        "红字确认单.csv": forms + f"11010125050000000001,{BLUE},02:销方录入待购方确认,2025-05-31 11:00:00\n",
        "操作日志.csv": log,
        "audit.toml": "[engagement]\ntaken_at = 2025-06-02T09:00:00\n",
    }
    folder = tmp_path / "acme"
    folder.mkdir()
    for name, text in files.items():
        (folder / name).write_text(text, encoding="utf-8")
    void, pending = analyse(open_engagement(folder)).findings.to_dicts()
    assert (void["cause"], pending["cause"]) == ("lost", "red_pending")
    assert "作废尚未完成（结果“待对方确认”，操作日志.csv 第 2 行）" in void["evidence"]
    assert "红字确认单 11010125050000000001（销方录入待购方确认，申请于 2025-05-31 11:00" in pending["evidence"]


def test_red_pending_in_english() -> None:
    row = only([invoice(BLUE), red(None)], [invoice(BLUE)], red_confirmations=[form("lapsed")], lang="en")
    assert "will never come" in row["evidence"]
    assert "not confirmed within 72 hours" in row["evidence"]
