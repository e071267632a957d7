"""What answers, papers, logs and risks explain, each on a ledger small enough to read, beside a clean twin."""

from __future__ import annotations

from datetime import datetime, timedelta
from decimal import Decimal
from functools import cache
from typing import Any

import polars as pl
import pytest

from audit_kit.core import schema
from audit_kit.core.identity import with_key
from audit_kit.core.policy import Export, Policy
from audit_kit.rules.causes.diagnosis import Evidence, diagnose
from audit_kit.rules.matching.reconcile import reconcile
from audit_kit.rules.proofs import failures
from audit_kit.rules.sync import observations as delays

TAKEN = datetime(2025, 6, 2, 9)
ISSUED = datetime(2025, 5, 6, 10)
OURS = "91110108MA01ABCD1X"
SISTER = "91110105MA02WXYZ3K"
OTHER = "911101057693723456"
TABLES = ("accounts", "notices", "operations", "sync_log", "confirmations", "substitute")


def number(serial: int) -> str:
    return f"25112{serial:015d}"


def invoice(serial: int, /, **other: Any) -> dict[str, Any]:
    """A row of a received ledger; its buyer is the audited company."""
    return {
        "digital_number": number(serial),
        "issued_at": ISSUED + timedelta(minutes=serial),
        "date_only": False,
        "seller_tax_id": OTHER,
        "seller_name": "示例甲有限公司",
        "buyer_tax_id": OURS,
        "buyer_name": "本公司",
        "net": Decimal("100.00") + serial,
        "tax": Decimal("6.00"),
        "gross": Decimal("106.00") + serial,
        "status": "normal",
        "channel": "网页",
        "source_file": "book.xlsx",
        "source_row": serial + 2,
    } | other


def frame(table: str, rows: list[dict[str, Any]]) -> pl.DataFrame:
    types = schema.dtypes(table)
    return pl.DataFrame([{name: row.get(name) for name in types} for row in rows], schema=types)


ORDINARY = [invoice(serial) for serial in range(100, 160)]


def listed(row: dict[str, Any], /, **other: Any) -> dict[str, Any]:
    return row | {"visible_at": row["issued_at"] + timedelta(minutes=20), "source_file": "export.xlsx"} | other


SEEN = [listed(row) for row in ORDINARY]


def findings(
    ledger: list[dict[str, Any]], platform: list[dict[str, Any]] | None = None, *, lang: str = "zh", **other: Any
) -> pl.DataFrame:
    """Everything found on top of sixty ordinary invoices that agree."""
    ours, theirs = frame("ledger", [*ORDINARY, *ledger]), frame("platform", platform if platform is not None else SEEN)
    rows = {name: frame(name, other.pop(name, [])) for name in TABLES}
    files, sisters = other.pop("files", None), other.pop("sisters", None)
    matches = reconcile(ours, theirs)
    observed = delays.observations(ours, theirs, matches, sync_log=rows["sync_log"], taken_at=TAKEN)
    nothing = {"source_file": pl.String, "column": pl.String, "stated": pl.Decimal(18, 2),
               "computed": pl.Decimal(18, 2), "agrees": pl.Boolean}  # fmt: skip
    terms: dict[str, Any] = {
        "export": Export(),
        "policy": Policy(),
        "taxpayer_ids": (OURS,),
        "direction": "received",
        "control": pl.DataFrame(schema=nothing),
        "backup_keys": pl.DataFrame(schema={"invoice_key": pl.String, "repo_id": pl.String, "backup_id": pl.String}),
        "archive": None if files is None else with_key(frame("invoice_files", files)),
        "sisters": None if sisters is None else with_key(frame("platform", sisters)),
    }
    known = Evidence(
        ledger=ours,
        platform=theirs,
        matches=matches,
        observations=observed,
        stops=delays.stops(observed, rows["notices"], taken_at=TAKEN),
        taken_at=TAKEN,
        **rows,
        **(terms | other),
    )
    return diagnose(known, lang=lang)


def found(*arguments: Any, **other: Any) -> dict[str, Any]:
    """The one finding there is."""
    rows = findings(*arguments, **other)
    assert rows.height == 1, rows["cause"].to_list()
    row = rows.row(0, named=True)
    assert row["evidence"]
    assert row["next_step"]
    return row


def answer(
    result: str | None, *, after: timedelta | None = timedelta(days=2), serial: int = 1, **other: Any
) -> dict[str, Any]:
    """What the national page said of an invoice, some time after its issue."""
    at = None if after is None else invoice(serial)["issued_at"] + after
    return {"invoice_number": number(serial), "source": "national", "result": result, "at": at,
            "source_file": "asked.csv", "source_row": 7} | other  # fmt: skip


DAY = timedelta(days=1)
STANDS = {"agree": "exists_not_listed", "absent": "unknown_to_authority"}
KNOWN = number(0)  # stands for the case's own number
BY_AGE = {"late", "lost"}

# What was asked, as (result, after issue, other fields): of an invoice that is missing it proves that result.
PROVED: list[list[tuple[str | None, Any, dict[str, Any]]]] = [
    [("{}", DAY, {})],
    [("{}", DAY + timedelta(seconds=1), {})],
    [("{}", 20 * DAY, {})],
    [("{}", 3 * DAY, {"invoice_number": f" {KNOWN}　"})],
    [("{}", 3 * DAY, {"invoice_number": f"'{KNOWN}"})],
    [("over_limit", 2 * DAY, {}), ("{}", 3 * DAY, {})],
    [("{}", 2 * DAY, {}), ("over_limit", 3 * DAY, {})],
    [("too_soon", timedelta(hours=2), {}), ("{}", 3 * DAY, {})],
    [("no_answer", 2 * DAY, {}), ("{}", 3 * DAY, {}), ("unsupported", 4 * DAY, {})],
    [("differ", 2 * DAY, {}), ("{}", 3 * DAY, {})],
    [("{}", 2 * DAY, {}), ("{}", 3 * DAY, {})],
    [("{}", 2 * DAY, {}), ("differ", 3 * DAY, {"source": "counterparty"})],
]
# Answers that prove nothing: such an invoice is neither called existing nor unknown.
UNPROVED: list[list[tuple[str | None, Any, dict[str, Any]]]] = [
    [("{}", DAY - timedelta(seconds=1), {})],
    [("{}", timedelta(hours=1), {})],
    [("{}", -DAY, {})],
    [("{}", None, {})],
    [("{}", timedelta(days=1830), {})],
    [("{}", 2 * DAY, {"source": "counterparty"})],
    [("{}", 2 * DAY, {"source": "department"})],
    [("{}", 2 * DAY, {"source": "file"})],
    [("{}", 2 * DAY, {"source": None})],
    [("{}", 2 * DAY, {"invoice_number": number(99)})],
    [("{}", 2 * DAY, {}), ("differ", 3 * DAY, {})],
    [("agree", 2 * DAY, {}), ("absent", 3 * DAY, {})],
    [("agree", 2 * DAY, {}), ("absent", 2 * DAY, {})],
    [("agree", None, {}), ("absent", 2 * DAY, {})],
    [("differ", 2 * DAY, {})],
    [("over_limit", 2 * DAY, {})],
    [("too_soon", timedelta(hours=3), {})],
    [("too_old", 2 * DAY, {})],
    [("unsupported", 2 * DAY, {})],
    [("no_answer", 2 * DAY, {})],
    [(None, 2 * DAY, {})],
]
ASKED = [(cases, result) for cases in (*PROVED, *UNPROVED) for result in STANDS]
# The cases stand side by side in one ledger, each with an invoice of its own.
FIRST = 1_000


@cache
def answered() -> dict[str, dict[str, Any]]:
    """What is found of the invoice of each case, by its number."""
    told = [
        answer(
            word and word.format(result),
            after=after,
            serial=serial,
            **{name: value and str(value).replace(KNOWN, number(serial)) for name, value in other.items()},
        )
        for serial, (cases, result) in enumerate(ASKED, FIRST)
        for word, after, other in cases
    ]
    ledger = [invoice(serial) for serial in range(FIRST, FIRST + len(ASKED))]
    return {row["invoice_key"]: row for row in findings(ledger, confirmations=told).iter_rows(named=True)}


@pytest.mark.parametrize("place", range(2 * len(PROVED)))
def test_an_answer_that_counts_names_the_cause(place: int) -> None:
    row = answered()[number(FIRST + place)]
    assert row["cause"] == STANDS[ASKED[place][1]]
    assert row["state"] == "fails"
    assert "asked.csv 第 7 行" in row["evidence"]
    assert 0 < row["probability_late"] < 1
    assert "补传" not in row["next_step"].replace("不必补传", "")


@pytest.mark.parametrize("place", range(2 * len(PROVED), len(ASKED)))
def test_an_answer_that_does_not_count_names_none(place: int) -> None:
    row = answered()[number(FIRST + place)]
    assert row["cause"] not in STANDS.values()
    assert 0 < row["probability_late"] < 1


def test_an_answer_that_does_not_count_changes_nothing() -> None:
    row, twin = found([invoice(1)], confirmations=[answer("absent", after=timedelta(hours=1))]), found([invoice(1)])
    assert row["cause"] == twin["cause"]
    assert row["probability_late"] == twin["probability_late"]


OLD = {"issued_at": datetime(2020, 5, 6, 10), "digital_number": None, "invoice_code": "011001900411"}
MOMENTS: list[tuple[dict[str, Any], datetime, bool]] = [
    ({"issued_at": datetime(2025, 5, 6), "date_only": True}, datetime(2025, 5, 6, 23), False),
    ({"issued_at": datetime(2025, 5, 6), "date_only": True}, datetime(2025, 5, 7, 8), True),
    ({"issued_at": datetime(2025, 5, 6), "date_only": True}, datetime(2025, 5, 7), True),
    ({"issued_at": datetime(2025, 5, 6, 23, 30)}, datetime(2025, 5, 7, 8), False),
    ({"issued_at": datetime(2025, 5, 6, 23, 30)}, datetime(2025, 5, 7), True),
    ({"issued_at": datetime(2025, 5, 6, 23, 30)}, datetime(2025, 5, 6), False),
    (OLD | {"invoice_number": "00000001"}, datetime(2025, 5, 6, 10), True),
    (OLD | {"invoice_number": "00000002"}, datetime(2025, 5, 6, 11), False),
    ({"kind": "区块链电子发票"}, datetime(2025, 5, 9), False),
    ({"kind": "通用定额发票"}, datetime(2025, 5, 9), False),
    ({"kind": "医疗门诊收费票据"}, datetime(2025, 5, 9), False),
    ({"kind": "数电发票（普通发票）"}, datetime(2025, 5, 9), True),
]


@pytest.mark.parametrize("result", STANDS)
def test_a_day_and_five_years_and_the_kinds_that_the_page_knows(result: str) -> None:
    ledger = [invoice(serial, **other) for serial, (other, _, _) in enumerate(MOMENTS, FIRST)]
    keys = [row["digital_number"] or row["invoice_code"] + row["invoice_number"] for row in ledger]
    told = [answer(result, invoice_number=key) | {"at": at} for key, (_, at, _) in zip(keys, MOMENTS, strict=True)]
    older = invoice(900, issued_at=datetime(2020, 5, 1, 9))  # the list reaches back as far
    rows = findings([*ledger, older], [*SEEN, listed(older)], confirmations=told)
    assert rows["invoice_key"].to_list() == keys
    assert (rows["cause"] == STANDS[result]).to_list() == [counts for _, _, counts in MOMENTS]


def test_absent_first_and_found_later_is_there_and_both_are_told() -> None:
    row = found([invoice(1)], confirmations=[answer("absent"), answer("agree", after=9 * DAY)])
    assert row["cause"] == "exists_not_listed"
    assert "查验平台 2025-05-08 10:01：不存在" in row["evidence"]


def test_a_contradiction_is_told_and_decides_nothing() -> None:
    row = found([invoice(1)], confirmations=[answer("agree"), answer("absent", after=9 * DAY)])
    assert row["cause"] in BY_AGE
    assert "：一致" in row["evidence"]
    assert "：不存在" in row["evidence"]


def test_an_answer_without_a_time_is_told_and_that_it_decides_nothing() -> None:
    told = found([invoice(1)], confirmations=[answer("absent", after=None)])["evidence"]
    assert "查验平台：不存在（未注明查询时间，不作判断）" in told
    english = found([invoice(1)], confirmations=[answer("agree", after=timedelta(hours=1))], lang="en")["evidence"]
    assert "asked less than a day after issue" in english


def test_an_invoice_that_is_listed_needs_no_answer() -> None:
    told = [answer(result, invoice_number=number(100)) for result in STANDS]
    assert findings([], confirmations=told).is_empty()


def test_unknown_to_the_authority_stands_above_late() -> None:
    row = invoice(1, issued_at=TAKEN - timedelta(minutes=10), digital_number=number(1))
    asked_later = answer("absent") | {"at": TAKEN + timedelta(days=1, hours=1)}
    assert found([row])["cause"] == "late"
    assert found([row], confirmations=[asked_later])["cause"] == "unknown_to_authority"


# Papers: whose invoice it is. `row` is what the paper says otherwise than the ledger.
ANOTHER = [
    {"buyer_tax_id": SISTER, "buyer_name": "姐妹公司"},
    {"buyer_tax_id": SISTER, "buyer_name": "本公司"},
    {"buyer_tax_id": SISTER, "buyer_name": None},
    {"buyer_tax_id": SISTER.lower(), "buyer_name": "姐妹公司"},
    {"buyer_tax_id": f" {SISTER} ", "buyer_name": "姐妹公司"},
    {"buyer_tax_id": "110105MA02WXYZ3", "buyer_name": "姐妹公司"},
    {"buyer_tax_id": "92110105MA02WXYZ3K", "buyer_name": "个体户"},
]
SAME = [
    {},
    {"buyer_tax_id": OURS.lower()},
    {"buyer_tax_id": f"{OURS[:6]} {OURS[6:]}"},
    {"buyer_tax_id": OURS[2:17], "buyer_name": "本公司"},
    {"buyer_tax_id": "９１110108MA01ABCD1X"},
    {"buyer_tax_id": None, "buyer_name": "本公司"},
    {"buyer_tax_id": None, "buyer_name": " 本公司 "},
    {"buyer_tax_id": None, "buyer_name": None},
    {"seller_tax_id": SISTER, "seller_name": "另一销方"},
    {"buyer_name": "本公司（旧名）"},
]
BOOKED: list[dict[str, Any]] = [{}, {"buyer_tax_id": None}, {"buyer_tax_id": None, "buyer_name": None}]
PAPERS = [(said, booked) for said in (*ANOTHER, *SAME) for booked in BOOKED]


def paper(serial: int = 1, /, **other: Any) -> dict[str, Any]:
    """The e-invoice of an invoice."""
    return invoice(serial, source_file=f"files/{serial}.xml", path=f"{serial}.xml", source_row=None) | other


@cache
def filed() -> dict[str, dict[str, Any]]:
    """What is found of the invoice of each of PAPERS, by its number; then of one that a sister lists as ANOTHER."""
    ledger = [invoice(serial, **booked) for serial, (_, booked) in enumerate(PAPERS, FIRST)]
    files = [paper(serial, **said) for serial, (said, _) in enumerate(PAPERS, FIRST)]
    others = range(2 * FIRST, 2 * FIRST + len(ANOTHER))
    sisters = [
        listed(invoice(serial), source_file="sister.xlsx", source_row=9, **said)
        for serial, said in zip(others, ANOTHER, strict=True)
    ]
    rows = findings([*ledger, *map(invoice, others)], files=files, sisters=sisters, taxpayer_name="本公司")
    return {row["invoice_key"]: row for row in rows.iter_rows(named=True)}


@pytest.mark.parametrize("place", range(len(ANOTHER) * len(BOOKED)))
def test_its_file_names_another_buyer(place: int) -> None:
    row = filed()[number(FIRST + place)]
    assert (row["cause"], row["state"]) == ("issued_to_other", "fails")
    assert f"files/{FIRST + place}.xml" in row["evidence"]
    assert "不是本企业" in row["evidence"]
    assert 0 < row["probability_late"] < 1


@pytest.mark.parametrize("place", range(len(ANOTHER) * len(BOOKED), len(PAPERS)))
def test_its_file_names_ourselves(place: int) -> None:
    assert filed()[number(FIRST + place)]["cause"] != "issued_to_other"


@pytest.mark.parametrize("place", range(len(ANOTHER)))
def test_a_sister_company_lists_it_as_her_own(place: int) -> None:
    row = filed()[number(2 * FIRST + place)]
    assert row["cause"] == "issued_to_other"
    assert "sister.xlsx 第 9 行" in row["evidence"]


def test_a_sister_company_lists_it_as_ours() -> None:
    assert found([invoice(1)], sisters=[listed(invoice(1))])["cause"] in BY_AGE
    assert found([invoice(1)], sisters=[listed(invoice(2), buyer_tax_id=SISTER)])["cause"] in BY_AGE


NAMING = [
    f"对方回函：购方税号 {SISTER}", f"购买方为姐妹公司（{SISTER}）",
    f"抬头：姐妹公司，税号：{SISTER}。", f"buyer: {SISTER}",
]  # fmt: skip
NAMING_NONE = [
    None, "金额不符", f"购方税号 {OURS}", f"销方税号 {SISTER}", f"发票 {number(FIRST)} 不符", "购方不符",
]  # fmt: skip


def test_the_counterparty_names_another_buyer() -> None:
    texts = [*NAMING, *NAMING_NONE]
    told = [
        answer("differ", serial=serial, source="counterparty", evidence=text)
        for serial, text in enumerate(texts, FIRST)
    ]
    rows = findings([invoice(serial) for serial in range(FIRST, FIRST + len(texts))], confirmations=told)
    assert (rows["cause"] == "issued_to_other").to_list() == [text in NAMING for text in texts]
    assert (
        rows["evidence"].head(len(NAMING)).str.contains(f"asked.csv 第 7 行）上的购方是 {SISTER}", literal=True).all()
    )


def issued(serial: int, /, **other: Any) -> dict[str, Any]:
    """The same invoice as its seller books it."""
    return (
        invoice(serial, seller_tax_id=OURS, seller_name="本公司", buyer_tax_id=OTHER, buyer_name="示例甲有限公司")
        | other
    )


def test_of_what_was_issued_only_another_seller_explains() -> None:
    kept = {"source_file": "files/a.xml", "path": "a.xml", "source_row": None}
    buyer = [issued(1, buyer_tax_id=SISTER, buyer_name="姐妹公司") | kept]
    seller = [issued(1, seller_tax_id=SISTER, seller_name="姐妹公司") | kept]
    assert found([issued(1)], files=buyer, direction="issued")["cause"] in BY_AGE
    row = found([issued(1)], files=seller, direction="issued", lang="en")
    assert row["cause"] == "issued_to_other"
    assert "as seller" in row["evidence"]


def test_another_name_without_a_tax_id_is_only_a_hint() -> None:
    row = found([invoice(1)], files=[paper(buyer_tax_id=None, buyer_name="张三")])
    assert (row["cause"], row["state"]) == ("issued_to_other", "unknown")


def test_what_one_of_several_files_calls_ours_is_ours() -> None:
    assert found([invoice(1)], files=[paper(buyer_tax_id=SISTER), paper(path="b.ofd")])["cause"] in BY_AGE


def test_a_party_that_the_ledger_names_too_is_no_news() -> None:
    row = invoice(1, buyer_tax_id=SISTER)
    assert found([row], files=[paper(buyer_tax_id=SISTER)])["cause"] == "outside_export"


@pytest.mark.parametrize(("other", "told"), [({"gross": Decimal("999.00")}, "合计是 999.00"),
                                             ({"issued_at": datetime(2025, 5, 9)}, "日期是 2025-05-09")])  # fmt: skip
def test_a_file_with_another_amount_or_day_is_told(other: dict[str, Any], told: str) -> None:
    row = found([invoice(1)], files=[paper(**other)])
    assert row["cause"] in BY_AGE
    assert told in row["evidence"]
    assert "files/1.xml" in row["evidence"]
    assert "电子原件" not in found([invoice(1)], files=[paper()])["evidence"]


def swapped(text: str, *places: int) -> str:
    digits = list(text)
    for place in places:
        digits[place] = "9" if digits[place] != "9" else "8"
    return "".join(digits)


@pytest.mark.parametrize(
    ("booked", "name"),
    [
        (swapped(number(1), 8, 12), "a.xml"),
        (swapped(number(1), 6, 9, 15), "a.xml"),
        (swapped(number(1), 5, 6, 7, 8), "a.xml"),
        (swapped(number(1), 5, 6, 7, 8, 9, 10, 11), f"{swapped(number(1), 5, 6, 7, 8, 9, 10, 11)}.pdf"),
    ],
)
def test_its_file_bears_the_number_under_which_it_is_listed(booked: str, name: str) -> None:
    kept = paper(source_file=f"files/{name}", path=name)
    rows = findings([invoice(1, digital_number=booked)], [*SEEN, listed(invoice(1))], files=[kept])
    by_cause = {row["cause"]: row for row in rows.iter_rows(named=True)}
    assert set(by_cause) == {"number_mistyped", "unbooked"}
    assert f"files/{name}" in by_cause["number_mistyped"]["evidence"]
    assert number(1) in by_cause["number_mistyped"]["evidence"]
    assert "只差一处" not in by_cause["number_mistyped"]["evidence"]
    assert booked in by_cause["unbooked"]["evidence"]
    assert "台账没有" not in by_cause["unbooked"]["evidence"]


@pytest.mark.parametrize(
    "change",
    [
        {"files": None},
        {"kept": {"gross": Decimal("1.00")}},
        {"kept": {"issued_at": datetime(2025, 5, 9)}},
        {"ledger": {"seller_tax_id": SISTER}},
        {"booked": swapped(number(1), 5, 6, 7, 8, 9, 10, 11)},
        {"twice": True},
    ],
)
def test_a_number_is_not_taken_from_a_file_that_may_be_another_s(change: dict[str, Any]) -> None:
    booked = change.get("booked", swapped(number(1), 8, 12))
    ledger = [invoice(1, digital_number=booked, **change.get("ledger", {}))]
    if "twice" in change:
        ledger.append(invoice(1, digital_number=swapped(number(1), 9, 13)))
    files = None if "files" in change else [paper(**change.get("kept", {}))]
    causes = findings(ledger, [*SEEN, listed(invoice(1))], files=files)["cause"]
    assert "number_mistyped" not in causes
    assert "unbooked" in causes


# Risks: what the platform says of what it lists.
DOUBTS = [
    ("疑点发票", "medium"), ("异常凭证", "high"), ("失控发票", "high"), ("走逃（失联）", "high"), ("疑点", "medium"),
    (" 异常 ", "high"), ("高风险", "medium"), ("中", "medium"), ("待核实", "medium"),
    ("非正常", "high"), ("虚开", "high"),
]  # fmt: skip
SOUND = ["正常", "正常发票", "无风险", "无异常", " 正常 ", "NORMAL", "已解除", "异常已解除", "0", "01", "--", "", None]


@pytest.mark.parametrize("column", ["risk", "risk_state"])
def test_a_doubt_of_the_platform_is_told_of_an_invoice_that_agrees(column: str) -> None:
    doubted = [listed(row, **{column: word}) for row, (word, _) in zip(ORDINARY, DOUBTS, strict=False)]
    rows = findings([], [*doubted, *SEEN[len(DOUBTS) :]])
    assert rows["severity"].to_list() == [severity for _, severity in DOUBTS]
    assert rows["invoice_key"].to_list() == [row["digital_number"] for row in ORDINARY[: len(DOUBTS)]]
    assert rows["ledger_row"].to_list() == list(range(len(DOUBTS)))
    assert set(rows.select("cause", "area", "state", "probability_late").rows()) == {
        ("risk_flagged", "missing", "fails", None)
    }
    for row, (word, _) in zip(rows.iter_rows(named=True), DOUBTS, strict=True):
        assert f"{word}（export.xlsx" in row["evidence"]


@pytest.mark.parametrize("column", ["risk", "risk_state"])
def test_no_doubt_is_no_finding(column: str) -> None:
    sound = [listed(row, **{column: word}) for row, word in zip(ORDINARY, SOUND, strict=False)]
    assert findings([], [*sound, *SEEN[len(SOUND) :]]).is_empty()


def test_a_row_that_is_not_matched_keeps_its_one_finding_and_tells_the_doubt() -> None:
    differing = listed(ORDINARY[0], gross=Decimal("1.00"), net=Decimal("0.50"), tax=Decimal("0.50"), risk="异常凭证")
    stranger = listed(invoice(1), risk="疑点发票")
    rows = findings([], [differing, stranger, *SEEN[1:]])
    assert rows["cause"].to_list() == ["amount_conflict", "unbooked"]
    assert rows["evidence"].str.contains("平台所记风险：(异常凭证|疑点发票)").all()


def test_both_words_of_risk_are_told_once() -> None:
    row = found([], [listed(ORDINARY[0], risk="异常凭证", risk_state="异常凭证"), *SEEN[1:]])
    assert row["evidence"].count("异常凭证") == 1


# Failures: the reason behind a code or a message.
REASONS = [
    ("开票预扣授信额度失败，授信额度不足", None, "credit"), ("可用额度为 0", None, "credit"),
    ("授信额度有效期已过，请先申报", None, "credit_expired"),
    ("发票额度不在有效期内：额度已过期", None, "credit_expired"),
    ("已暂停授信", None, "credit_stopped"), ("超过离线开票限定金额", None, "offline"),
    ("离线限额已满", "E1", "offline"),
    (None, "09d121", "offline"), (None, "0x09D120", "offline"),
    ("失败", "09d11f", "offline"), (None, "09d122", "offline"),
    ("已到开票截止日期，禁止开票", None, "locked"), ("金税盘已锁死", None, "locked"), (None, "09d109", "locked"),
    ("验签不通过", None, "signature"), ("购方税号有误", None, "party"), ("号码重复", None, "number"),
    ("没有开票权限", None, "identity"), ("非正常户不得开票", None, "risk"),
    ("上传超时，连接被重置", "E5021", "network"),
    ("Connection reset", None, "network"), ("其他错误", "E1", "none"), (None, None, "none"), ("失败", "9", "none"),
]  # fmt: skip


@pytest.mark.parametrize(("message", "code", "reason"), REASONS)
def test_a_failure_is_told_in_words(message: str | None, code: str | None, reason: str) -> None:
    text = pl.Series([message], dtype=pl.String)
    assert failures.reason(text, pl.Series([code], dtype=pl.String)).to_list() == [reason]


def failed(message: str | None, code: str | None = None) -> dict[str, Any]:
    return {"invoice_number": number(1), "event": "failed", "at": ISSUED + timedelta(hours=1), "message": message,
            "error_code": code, "source_file": "sync.csv", "source_row": 4}  # fmt: skip


def test_reasons_stand_in_the_evidence_of_failed_uploads_and_drafts() -> None:
    row = found([invoice(1)], sync_log=[failed("授信额度不足", "01")])
    assert row["cause"] == "upload_failed"
    assert "授信额度不足，与授信额度（发票总额度）有关（sync.csv 第 4 行）" in row["evidence"]
    row = found([invoice(1, status="not_issued")], sync_log=[failed(None, "09d121")])
    assert row["cause"] == "not_issued"
    assert "错误码 09d121：—，即离线开票超过限定" in row["evidence"]
    row = found([invoice(1, status="not_issued", digital_number=None, remark="开票失败：授信额度不足")], lang="en")
    assert "the ledger's remark “开票失败：授信额度不足”, which concerns the credit" in row["evidence"]
    plain = found([invoice(1, status="not_issued", remark="五月服务费")])["evidence"]
    assert "五月服务费" not in plain


@pytest.mark.parametrize(("status", "word"), [("pending", "授权尚待确认"), ("ended", "已失效"), ("locked", "已锁定")])
def test_an_account_that_is_not_confirmed_or_has_ended_sees_nothing(status: str, word: str) -> None:
    account = {"account": "cw", "tax_id": OURS, "role": "财务负责人", "status": status}
    rows = findings([invoice(1)], [], accounts=[account], export=Export(account="cw"))
    assert set(rows["cause"]) == {"no_permission"}
    assert rows["evidence"].str.contains(word).all()
    sound = findings([invoice(1)], [], accounts=[account | {"status": "active"}], export=Export(account="cw"))
    assert "no_permission" not in sound["cause"]
