"""Every cause on a ledger small enough to read, the order of causes, and months whose truth is known."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import numpy as np
import polars as pl
import pytest

from audit_kit import resources
from audit_kit.core import schema
from audit_kit.core.identity import with_key
from audit_kit.core.policy import Export, Policy
from audit_kit.rules.causes import batches
from audit_kit.rules.causes.diagnosis import CAUSES, Evidence, diagnose
from audit_kit.rules.matching.reconcile import reconcile
from audit_kit.rules.sync import observations as delays
from audit_kit.training.world.simulate import world

TAKEN = datetime(2025, 6, 2, 9)
OURS = "91110108MA01ABCD1X"
BRANCH = "91110105MA02WXYZ3K"
BUYER = "911101057693723456"


def at(day: int, hour: int = 10, minute: int = 0) -> datetime:
    return datetime(2025, 5, day, hour, minute)


def number(serial: int, channel: int = 2) -> str:
    return f"2511{channel}{serial:015d}"


def invoice(serial: int, /, **other: Any) -> dict[str, Any]:
    return {
        "digital_number": number(serial),
        "issued_at": at(6) + timedelta(minutes=serial),
        "seller_tax_id": OURS,
        "buyer_tax_id": BUYER,
        "buyer_name": "示例甲有限公司",
        "net": Decimal("100.00"),
        "tax": Decimal("6.00"),
        "gross": Decimal("106.00") + serial,
        "status": "normal",
        "channel": "网页",
        "source_file": "book.xlsx",
        "source_row": serial + 2,
    } | other


def listed(row: dict[str, Any], /, **other: Any) -> dict[str, Any]:
    """The platform's row of a ledger row, visible twenty minutes after issue."""
    return row | {"visible_at": row["issued_at"] + timedelta(minutes=20), "source_file": "export.xlsx"} | other


def frame(table: str, rows: list[dict[str, Any]]) -> pl.DataFrame:
    types = schema.dtypes(table)
    return pl.DataFrame([{name: row.get(name) for name in types} for row in rows], schema=types)


def evidence(ledger: list[dict[str, Any]], platform: list[dict[str, Any]], **other: Any) -> Evidence:
    ours, theirs = frame("ledger", ledger), frame("platform", platform)
    rows = {name: frame(name, other.pop(name, [])) for name in TABLES}
    matches = other.pop("matches", None)
    matches = reconcile(ours, theirs) if matches is None else matches
    taken_at = other.pop("taken_at", TAKEN)
    observations = delays.observations(
        ours, theirs, matches, sync_log=rows["sync_log"], taken_at=taken_at, notices=rows["notices"]
    )
    terms: dict[str, Any] = {
        "control": pl.DataFrame(schema={"source_file": pl.String, "column": pl.String, "stated": pl.Decimal(18, 2),
                                        "computed": pl.Decimal(18, 2), "agrees": pl.Boolean}),
        "backup_keys": pl.DataFrame(schema={"invoice_key": pl.String, "repo_id": pl.String, "backup_id": pl.String}),
        "export": Export(),
        "policy": Policy(),
        "taxpayer_ids": (OURS,),
        "direction": "issued",
    }  # fmt: skip
    return Evidence(
        ledger=ours,
        platform=theirs,
        matches=matches,
        observations=observations,
        stops=delays.stops(observations, rows["notices"], taken_at=taken_at),
        taken_at=taken_at,
        **rows,
        **(terms | other),
    )


TABLES = ("accounts", "notices", "operations", "sync_log", "confirmations", "substitute")
ORDINARY = [invoice(serial) for serial in range(100, 160)]
SEEN = [listed(row) for row in ORDINARY]


def found(ledger: list[dict[str, Any]], platform: list[dict[str, Any]], **other: Any) -> dict[str, Any]:
    """The one finding on top of sixty ordinary invoices that agree."""
    findings = diagnose(evidence([*ORDINARY, *ledger], [*SEEN, *platform], **other))
    assert findings.height == 1
    row = findings.row(0, named=True)
    assert row["evidence"]
    assert row["next_step"]
    return row


def test_the_causes_are_those_of_the_resources_in_their_order() -> None:
    assert [cause.__name__ for cause in CAUSES] == list(resources.load("causes")["causes"])
    for cause in CAUSES:
        assert cause.__doc__
        assert "\n" not in cause.__doc__


def test_nothing_is_found_where_all_agrees() -> None:
    assert diagnose(evidence(ORDINARY, SEEN)).is_empty()
    assert diagnose(evidence([], [])).is_empty()


def test_precision_lost() -> None:
    row = found([invoice(1, digital_number="2.5112000000000E+19", cleaning=["precision_lost"])], [])
    assert row["cause"] == "precision_lost"
    assert "2.5112000000000E+19" in row["evidence"]


def test_number_damaged() -> None:
    good = invoice(1)
    row = found([good | {"digital_number": " ２" + good["digital_number"][1:] + "'"}], [listed(good)])
    assert row["cause"] == "number_damaged"
    assert good["digital_number"] in row["evidence"]
    assert row["probability_late"] is None


def test_number_mistyped() -> None:
    good = invoice(123456)
    row = found([good | {"digital_number": number(123465)}], [listed(good)])
    assert row["cause"] == "number_mistyped"
    assert number(123456) in row["evidence"]


def test_ambiguous() -> None:
    one, two = invoice(8000), invoice(9000, gross=Decimal("8106.00"), issued_at=invoice(8000)["issued_at"])
    findings = diagnose(
        evidence([*ORDINARY, one | {"digital_number": number(7000)}], [*SEEN, listed(one), listed(two)])
    )
    assert findings["cause"].to_list() == ["ambiguous", "unbooked", "unbooked"]
    assert "2 张" in findings["evidence"][0]


@pytest.mark.parametrize("lang", ["zh", "en"])
def test_an_incomplete_number_is_called_so_and_never_impossible(lang: str) -> None:
    good = invoice(12_345_678)
    short = good | {"digital_number": None, "invoice_number": "12345678", "cleaning": ["number_incomplete"]}
    row = diagnose(evidence([*ORDINARY, short], [*SEEN, listed(good)]), lang=lang).row(0, named=True)
    assert (row["cause"], row["severity"]) == ("number_damaged", "low")
    assert good["digital_number"] in row["evidence"]
    for day in (2, 31):  # long missing, and just issued
        gone = diagnose(evidence([*ORDINARY, short | {"issued_at": at(day)}], SEEN), lang=lang).row(0, named=True)
        assert gone["cause"] in ("lost", "late")
        assert {"zh": "…12345678（仅末 8 位）", "en": "…12345678 (last 8 digits only)"}[lang] in gone["evidence"]
        assert 0 < gone["probability_late"] < 1
    other = diagnose(evidence([*ORDINARY, short], [*SEEN, listed(good, gross=Decimal(7))]), lang=lang)
    assert other["cause"].to_list() == ["ambiguous", "unbooked"]
    assert {"zh": "只有末 8 位", "en": "only the last 8 digits"}[lang] in other["evidence"][0]
    assert {"zh": "同样相符", "en": "equally well"}[lang] not in other["evidence"][0]


OTHER = {"buyer_tax_id": "911101057693729999", "buyer_name": "示例乙有限公司", "gross": Decimal("250.00")}
REUSED = [
    *({"serial": serial, "other": OTHER | {"gross": Decimal(200 + 7 * serial)}} for serial in range(1, 11)),
    *({"serial": serial, "other": OTHER, "first": True} for serial in range(11, 16)),
    {"serial": 16, "other": OTHER | {"issued_at": at(9)}},
    {"serial": 17, "other": OTHER | {"buyer_name": "示例甲有限公司"}},
    {"serial": 18, "other": OTHER | {"buyer_tax_id": None}},
    {"serial": 19, "other": OTHER | {"seller_tax_id": None}},
    {"serial": 20, "other": {"seller_tax_id": BRANCH, "gross": Decimal("250.00")}},
    {"serial": 21, "other": OTHER, "alone": True},
    {"serial": 22, "other": OTHER | {"issued_at": at(9)}, "alone": True},
]


@pytest.mark.parametrize("case", REUSED)
def test_number_reused(case: dict[str, Any]) -> None:
    good = invoice(case["serial"])
    reused = good | case["other"] | {"source_row": 400}
    ledger = [reused] if "alone" in case else [reused, good] if "first" in case else [good, reused]
    row = found(ledger, [listed(good)])
    assert (row["cause"], row["severity"], row["source_row"]) == ("number_reused", "high", 400)
    assert row["amount"] == reused["gross"]
    assert str(good["gross"]) in row["evidence"]


NOT_REUSED = [
    *({"serial": serial, "other": {}, "cause": "booked_twice"} for serial in range(1, 7)),
    *({"serial": serial, "other": {"gross": Decimal(250)}, "cause": "booked_twice"} for serial in range(7, 11)),
    *({"serial": serial, "other": OTHER | {"gross": None}, "cause": "booked_twice"} for serial in range(11, 13)),
    {"serial": 13, "other": OTHER | {"gross": Decimal("119.01")}, "cause": "booked_twice"},
    {"serial": 14, "other": {"gross": Decimal(-120), "issued_at": at(9)}, "cause": "booked_twice"},
    {"serial": 15, "other": OTHER | {"buyer_tax_id": BUYER}, "cause": "booked_twice"},
    {"serial": 16, "other": {"gross": Decimal(250)}, "alone": True, "cause": "amount_conflict"},
    {"serial": 17, "other": OTHER | {"gross": Decimal(123)}, "alone": True, "cause": "party_conflict"},
    {"serial": 18, "other": OTHER, "alone": True, "edit": True, "cause": "edited_not_synced"},
    {"serial": 19, "other": OTHER, "listed": True, "cause": "booked_twice"},
    {"serial": 20, "other": OTHER, "listed": True, "alone": True, "cause": "amount_conflict"},
]


@pytest.mark.parametrize("case", NOT_REUSED)
def test_the_same_invoice_again_or_a_wrong_number_is_no_number_given_again(case: dict[str, Any]) -> None:
    good = invoice(case["serial"])
    again = good | case["other"] | {"source_row": 400}
    platform = [listed(good)] + ([listed(again, digital_number=number(7_777_777))] if "listed" in case else [])
    log = {"at": at(8), "account": "zhang", "action": "edit", "invoice_number": good["digital_number"],
           "field": "价税合计", "before": str(good["gross"]), "after": "250.00"}  # fmt: skip
    ledger = [*ORDINARY, again] if "alone" in case else [*ORDINARY, good, again]
    findings = diagnose(evidence(ledger, [*SEEN, *platform], operations=[log] if "edit" in case else []))
    causes = findings.filter(pl.col("cause") != "unbooked")["cause"].to_list()
    assert causes == [case["cause"]]


@pytest.mark.parametrize(
    ("wrong", "word"),
    [("24112000000000000001", "年份"), ("251120000001", "长度"), (None, "没有可用的号码")],
)
def test_number_invalid(wrong: str | None, word: str) -> None:
    row = found([invoice(1, digital_number=wrong)], [])
    assert row["cause"] == "number_invalid"
    assert word in row["evidence"]


def test_edited_not_synced() -> None:
    old = invoice(1)
    new = old | {"gross": Decimal("999.00")}
    edit = {"at": at(8), "account": "zhang", "action": "edit", "invoice_number": number(1), "field": "价税合计",
            "before": "107.00", "after": "999.00"}  # fmt: skip
    assert found([new], [listed(old)], operations=[edit])["cause"] == "edited_not_synced"
    # An edit whose old value is not what the platform holds explains nothing.
    assert found([new], [listed(old)], operations=[edit | {"before": "500.00"}])["cause"] == "amount_conflict"


@pytest.mark.parametrize(
    ("ours", "theirs", "cause"),
    [
        ("normal", "voided", "voided"),
        ("normal", "red_full", "red_reversed"),
        ("normal", "red_part", "red_reversed"),
        ("not_issued", "normal", "not_issued"),
        ("voided", "normal", "status_conflict"),
    ],
)
def test_status(ours: str, theirs: str, cause: str) -> None:
    row = found([invoice(1, status=ours)], [listed(invoice(1, status=theirs))])
    assert row["cause"] == cause


def test_not_issued_and_missing() -> None:
    row = found([invoice(1, status="not_issued")], [])
    assert row["cause"] == "not_issued"
    assert 0 < row["probability_late"] < 0.5


def test_voided_ones_that_the_platform_leaves_out() -> None:
    assert found([invoice(1, status="voided")], [])["cause"] == "voided"
    # Where the platform lists the voided ones, being voided is no sure reason to be missing.
    kept = [invoice(serial, status="voided") for serial in range(2, 6)]
    row = found([invoice(1, status="voided"), *kept], [listed(row) for row in kept])
    assert (row["cause"], row["state"]) == ("voided", "unknown")


def test_reversed_by_a_red_invoice_that_names_it() -> None:
    red = invoice(2, positive=False, red_of=number(1))
    assert found([invoice(1), red], [listed(red)])["cause"] == "red_reversed"


@pytest.mark.parametrize(
    ("change", "cause", "shown"),
    [
        ({"gross": Decimal("110.00")}, "amount_conflict", "价税合计 台账 107.00、平台 110.00，台账−平台 -3.00"),
        ({"issued_at": at(9)}, "date_conflict", "2025-05-09"),
        ({"buyer_name": "示例乙有限公司"}, "party_conflict", "示例乙有限公司"),
        ({"buyer_tax_id": "911101057693729999"}, "party_conflict", "911101057693729999"),
    ],
)
def test_conflicts(change: dict[str, Any], cause: str, shown: str) -> None:
    row = found([invoice(1)], [listed(invoice(1)) | change])
    assert row["cause"] == cause
    assert shown in row["evidence"]


def test_booked_twice() -> None:
    row = found([invoice(1, voucher="记-1"), invoice(1, voucher="记-9", source_row=400)], [listed(invoice(1))])
    assert row["cause"] == "booked_twice"
    assert "记-1" in row["evidence"]
    assert "记-9" in row["evidence"]
    assert row["source_row"] == 400


@pytest.mark.parametrize(
    ("row", "export"),
    [
        (invoice(1, issued_at=at(2)), Export(period_start=at(5, 0), period_end=at(31, 0))),
        (invoice(1, issued_at=at(31, 11)), Export(period_start=at(5, 0), period_end=at(31, 0))),
        (invoice(1, status="unknown"), Export(status_filter=("正常",))),
        (invoice(1, seller_tax_id=BRANCH), Export()),
        (invoice(1, issued_at=TAKEN + timedelta(hours=1)), Export()),
    ],
)
def test_outside_export(row: dict[str, Any], export: Export) -> None:
    assert found([row], [], export=export)["cause"] == "outside_export"


def test_the_end_of_a_period_read_off_the_platform_explains_nothing() -> None:
    export = Export(period_start=at(5, 0), period_end=at(7, 0), period_stated=False)
    assert found([invoice(1, issued_at=at(20))], [], export=export)["cause"] == "lost"


def test_export_truncated() -> None:
    cut = [invoice(serial, issued_at=at(4, 9, serial)) for serial in range(1, 21)]
    control = pl.DataFrame({"source_file": ["export.xlsx"], "column": ["net"], "stated": [Decimal("8000.00")],
                            "computed": [Decimal("6000.00")], "agrees": [False]},
                           schema_overrides={"stated": pl.Decimal(18, 2), "computed": pl.Decimal(18, 2)})  # fmt: skip
    elsewhere = invoice(900, issued_at=at(6, 12, 30))
    newest_first = sorted(SEEN, key=lambda row: row["issued_at"], reverse=True)
    case = evidence([*ORDINARY, *cut, elsewhere], newest_first, control=control)
    causes = diagnose(case).sort("ledger_row")["cause"].to_list()
    assert causes == ["export_truncated"] * 20 + ["lost"]
    # The same rows without a total that disagrees: the file is whole.
    assert "export_truncated" not in diagnose(evidence([*ORDINARY, *cut], newest_first))["cause"].to_list()


EXPORTER = {"account": "li", "tax_id": OURS, "role": "办税员", "grants": "发票业务；发票查询统计", "status": "active"}


def test_no_permission_for_a_branch() -> None:
    branch = [invoice(serial, seller_tax_id=BRANCH) for serial in range(1, 6)]
    case = evidence(
        [*ORDINARY, *branch], SEEN, accounts=[EXPORTER], export=Export(account="li"), taxpayer_ids=(OURS, BRANCH)
    )
    findings = diagnose(case)
    assert set(findings["cause"]) == {"no_permission"}
    assert set(findings["subject"]) == {"li"}
    assert "li" in findings["evidence"][0]
    assert "5 张中缺 5 张" in findings["evidence"][0]


@pytest.mark.parametrize(
    ("fault", "word"),
    [
        ({"status": "locked"}, "锁定"),
        ({"status": "frozen"}, "冻结"),
        ({"grants": "代开"}, "授权"),
        ({"tax_id": BRANCH}, "其他纳税人"),
        ({"valid_to": at(1)}, "有效期已过"),
        ({"valid_from": at(30)}, "尚未生效"),
    ],
)
def test_no_permission_of_an_issuing_account(fault: dict[str, Any], word: str) -> None:
    gone = [invoice(serial, account="wang") for serial in range(1, 13)]
    rest = [row | {"account": "li"} for row in ORDINARY]
    accounts = [EXPORTER, EXPORTER | {"account": "wang"} | fault]
    findings = diagnose(evidence([*rest, *gone], SEEN, accounts=accounts, export=Export(account="li")))
    assert set(findings["cause"]) == {"no_permission"}
    assert set(findings["subject"]) == {"wang"}
    assert word in findings["evidence"][0]


def test_a_faulty_account_whose_invoices_are_all_there_is_innocent() -> None:
    mine = [row | {"account": "wang"} for row in ORDINARY]
    accounts = [EXPORTER, EXPORTER | {"account": "wang", "status": "locked"}]
    case = evidence([*mine, invoice(1, account="wang")], SEEN, accounts=accounts, export=Export(account="li"))
    assert diagnose(case)["cause"].to_list() == ["lost"]


def test_upload_failed() -> None:
    failed = {"invoice_number": number(1), "event": "failed", "at": at(6, 11), "error_code": "E5021", "message": "超时"}
    row = found([invoice(1)], [], sync_log=[failed])
    assert row["cause"] == "upload_failed"
    assert "E5021" in row["evidence"]
    again = {"invoice_number": number(1), "event": "uploaded", "at": at(6, 12)}
    assert found([invoice(1)], [], sync_log=[failed, again])["cause"] == "lost"


def test_not_migrated_back() -> None:
    assert found([invoice(1)], [], substitute=[invoice(1)])["cause"] == "not_migrated_back"
    back = invoice(1, migrated_at=at(7))
    assert found([invoice(1)], [], substitute=[back])["cause"] == "lost"


def test_only_in_backup() -> None:
    keys = pl.DataFrame({"invoice_key": [number(1)], "repo_id": ["nightly"], "backup_id": ["b7"]})
    row = found([invoice(1)], [], backup_keys=keys)
    assert row["cause"] == "only_in_backup"
    assert "nightly" in row["evidence"]
    # The live archive still has it, or the backup holds everything anyhow: it says nothing.
    archive = with_key(frame("ledger", [invoice(1)]))
    assert found([invoice(1)], [], backup_keys=keys, archive=archive)["cause"] == "lost"
    everything = pl.DataFrame({"invoice_key": [number(1), *(row["digital_number"] for row in ORDINARY)]})
    everything = everything.with_columns(repo_id=pl.lit("nightly"), backup_id=pl.lit("b7"))
    assert found([invoice(1)], [], backup_keys=everything)["cause"] == "lost"


def month(count: int = 1200, **other: Any) -> list[dict[str, Any]]:
    """A month of invoices, one about every half hour, in two channels, three accounts and two kinds."""
    return [
        invoice(
            serial,
            issued_at=at(1) + timedelta(minutes=33 * serial),
            channel=("网页", "乐企")[serial % 2],
            account=f"a{serial % 3}",
            kind=("普票", "专票")[serial % 5 == 0],
            serial=f"XS{serial:06d}",
        )
        | other
        for serial in range(count)
    ]


def judged(rows: list[dict[str, Any]], gone: set[int], **other: Any) -> pl.DataFrame:
    seen = [listed(row) for serial, row in enumerate(rows) if serial not in gone]
    return diagnose(evidence(rows, seen, **other)).sort("ledger_row")


def test_batch_lost_is_a_run_of_one_channel() -> None:
    gone = set(range(400, 440, 2))
    findings = judged(month(), gone | {13, 777})
    by_row = dict(findings.select("ledger_row", "cause").iter_rows())
    assert {row for row, cause in by_row.items() if cause == "batch_lost"} == gone
    assert by_row[13] == by_row[777] == "lost"
    assert "缺 20 张" in findings.filter(pl.col("cause") == "batch_lost")["evidence"][0]


def test_batch_lost_is_an_upload_batch() -> None:
    # Every tenth invoice went up in one batch: no run in the order of issue, and yet all of one piece.
    gone = set(range(5, 300, 40))
    log = [
        {
            "invoice_number": number(serial),
            "event": "uploaded",
            "at": at(1, 12),
            "batch": "B7" if serial in gone else "B8",
        }
        for serial in range(300)
    ]
    findings = judged(month(), gone, sync_log=log)
    assert set(findings["cause"]) == {"batch_lost"}
    assert "B7" in findings["evidence"][0]


def test_entry_errors_inside_a_run_do_not_break_it() -> None:
    rows = month()
    gone = set(range(400, 440, 2))
    rows[420] |= {"digital_number": "24" + number(420)[2:]}
    by_row = dict(judged(rows, gone).select("ledger_row", "cause").iter_rows())
    assert by_row.pop(420) == "number_invalid"
    assert set(by_row.values()) == {"batch_lost"}


DENSE = [row | {"issued_at": at(1) + timedelta(minutes=9 * serial)} for serial, row in enumerate(month(4000))]


def within(start: datetime, end: datetime) -> list[int]:
    return [serial for serial, row in enumerate(DENSE) if start <= row["issued_at"] < end]


def test_outage_announced_and_an_innocent_notice() -> None:
    inside = within(at(8, 9), at(8, 17))
    gone = {serial for serial in inside if serial % 5}
    notices = [
        {"starts_at": at(8, 9), "ends_at": at(8, 17), "kind": "outage", "scope": "全部", "title": "{0} 故障公告"},
        {"starts_at": at(12, 9), "ends_at": at(12, 17), "kind": "network", "scope": "全部", "title": "无关公告"},
    ]
    stray = set(within(at(12, 10), at(12, 11))[:1])
    findings = judged(DENSE, gone | stray, notices=notices)
    outage = findings.filter(pl.col("cause") == "outage")
    assert set(outage["ledger_row"]) == gone
    assert outage["evidence"].str.contains("{0} 故障公告", literal=True).all()
    assert set(findings.filter(pl.col("ledger_row").is_in(list(stray)))["cause"]) == {"lost"}


def test_outage_found_without_a_notice() -> None:
    gone = {serial for serial in within(at(8, 9), at(8, 17)) if serial % 5}
    findings = judged(DENSE, gone)
    assert findings.filter(pl.col("cause") == "outage").height >= 0.95 * len(gone)
    assert "无公告" in findings.filter(pl.col("cause") == "outage")["evidence"][0]


def test_outage_still_open_at_the_export_holds_up_what_is_not_lost() -> None:
    last = DENSE[-1]["issued_at"]
    taken_at = last + timedelta(minutes=10)
    gone = {serial for serial, row in enumerate(DENSE) if row["issued_at"] > last - timedelta(hours=30)}
    findings = judged(DENSE, gone, taken_at=taken_at)
    assert findings.filter(pl.col("cause") == "outage").height >= 0.95 * len(gone)
    assert findings["probability_late"].min() > 0.9


@pytest.mark.parametrize(
    ("cause", "column", "level"),
    [("channel_excess", "channel", "乐企"), ("account_excess", "account", "a1"), ("kind_excess", "kind", "专票")],
)
def test_levels(cause: str, column: str, level: str) -> None:
    hit = [serial for serial, row in enumerate(DENSE) if row[column] == level]
    gone = {serial for place, serial in enumerate(hit) if place % 7 == 3}
    findings = judged(DENSE, gone)
    assert set(findings["cause"]) == {cause}
    assert level in findings["evidence"][0]
    assert "优势比" in findings["evidence"][0]


@pytest.mark.slow
def test_an_open_outage_is_named_without_any_time_of_arrival() -> None:
    w = world(invoices=30_000, seed=3, backups=False, open_outage_hours=30, open_outage_announced=False)
    w = replace(w, sync_log=w.sync_log.filter(~pl.col("event").is_in(["visible", "received"])))
    since = w.taken_at - timedelta(hours=30)
    inside = w.ledger.with_row_index("ledger_row").filter(pl.col("issued_at") >= since).select("ledger_row")
    gone = diagnose(simulated(w)).filter(pl.col("probability_late").is_not_null()).join(inside, on="ledger_row")
    assert (gone["cause"] == "outage").mean() > 0.9
    assert gone.filter(pl.col("cause") == "outage")["probability_late"].median() > 0.9


def test_one_level_at_fault_does_not_hide_another() -> None:
    by_account = {serial for serial, row in enumerate(DENSE) if row["account"] == "a1" and serial % 3 == 1}
    by_kind = [serial for serial, row in enumerate(DENSE) if row["kind"] == "专票" and row["account"] != "a1"]
    gone = by_account | {serial for place, serial in enumerate(by_kind) if place % 6 == 0}
    findings = judged(DENSE, gone)
    named = dict(findings.group_by("cause").agg(pl.col("ledger_row")).iter_rows())
    assert set(named) == {"account_excess", "kind_excess"}
    assert set(named["account_excess"]) >= by_account - set(named["kind_excess"])
    assert "缺 89 张" in findings.filter(pl.col("cause") == "kind_excess")["evidence"][0]


def test_a_late_member_of_a_level_at_fault_is_less_surely_late() -> None:
    last = DENSE[-1]["issued_at"]
    young = [invoice(9000 + place, issued_at=last, account=f"a{place}") for place in range(2)]
    gone = {serial for serial, row in enumerate(DENSE) if row["account"] == "a1" and serial % 3 == 1}
    findings = judged([*DENSE, *young], gone | {4000, 4001}, taken_at=last + timedelta(minutes=5))
    innocent, faulty = findings.filter(pl.col("ledger_row") >= 4000)["probability_late"].to_list()
    assert innocent > 0.9
    assert faulty < innocent


def test_a_run_beside_a_slow_channel_that_is_merely_late_is_a_lost_batch() -> None:
    # Of the slow channel nothing is there yet in these hours, as is usual for it.
    slow = [row | {"channel": "税控", "visible_at": row["issued_at"] + timedelta(hours=40)} for row in DENSE[1::4]]
    fast = [row for serial, row in enumerate(DENSE) if serial % 4 != 1]
    taken_at = DENSE[-1]["issued_at"] + timedelta(hours=12)
    gone = {row["digital_number"] for row in fast[-120:-80]}
    seen = [listed(row) for row in fast if row["digital_number"] not in gone]
    seen += [row for row in slow if row["visible_at"] <= taken_at]
    findings = diagnose(evidence([*fast, *slow], seen, taken_at=taken_at))
    lost = findings.filter(pl.col("cause") == "batch_lost")
    assert set(lost["invoice_key"]) == gone


def test_late_and_lost() -> None:
    findings = judged([*DENSE, invoice(9000, issued_at=DENSE[-1]["issued_at"])], {100, 4000},
                      taken_at=DENSE[-1]["issued_at"] + timedelta(minutes=5))  # fmt: skip
    by_row = {row["ledger_row"]: row for row in findings.iter_rows(named=True)}
    assert by_row[4000]["cause"] == "late"
    assert by_row[100]["cause"] == "lost"
    assert by_row[4000]["probability_late"] > 0.9
    assert 0 < by_row[100]["probability_late"] < 0.1


def test_what_others_confirmed_is_told() -> None:
    asked = [{"invoice_number": number(1), "source": "national", "result": "agree", "at": at(9)}]
    assert "查验平台" in found([invoice(1)], [], confirmations=asked)["evidence"]


def test_unexplained_without_a_time() -> None:
    row = found([invoice(1, issued_at=None)], [])
    assert row["cause"] == "unexplained"
    assert row["state"] == "unknown"
    assert row["probability_late"] is None


def test_unbooked() -> None:
    row = found([], [listed(invoice(1))])
    assert row["cause"] == "unbooked"
    assert row["ledger_row"] is None
    assert row["platform_row"] == 60
    assert row["source_file"] == "export.xlsx"


def _unbooked_told(**other: Any) -> str:
    seen = evidence(ORDINARY, [*SEEN, listed(invoice(1))], **other)
    return str(diagnose(seen, lang="en").row(0, named=True)["evidence"])


def test_an_unbooked_one_may_stand_in_a_row_that_was_set_aside() -> None:
    assert "the ledger has none" in _unbooked_told()
    said = _unbooked_told(ledger_aside=2)
    assert "no row of the ledger that was kept has it (2 were set aside: look there first)" in said


def test_hostile_names_are_data() -> None:
    name = '{0}{gross}<script>=HYPERLINK("x")'
    row = found([invoice(1, buyer_name=name)], [listed(invoice(1))])
    assert name in row["evidence"]


def test_english() -> None:
    text = diagnose(evidence([*ORDINARY, invoice(1)], SEEN), lang="en").row(0, named=True)
    assert text["evidence"].startswith("Waiting for")
    assert text["next_step"].startswith("First ask the national verification")


def test_ids_stay_when_rows_move() -> None:
    twins = [invoice(1), invoice(1, source_row=900)]
    first = diagnose(evidence([*ORDINARY, *twins, invoice(2)], SEEN))
    moved = diagnose(evidence([invoice(2), *twins, *ORDINARY], SEEN))
    assert set(first["finding_id"]) == set(moved["finding_id"])
    assert first["finding_id"].is_unique().all()


def simulated(w: Any, **other: Any) -> Evidence:
    matches = reconcile(w.ledger, w.platform)
    observations = delays.observations(
        w.ledger, w.platform, matches, sync_log=w.sync_log, taken_at=w.taken_at, notices=w.notices,
        exports={at: with_key(rows) for at, rows in w.earlier.items()},
    )  # fmt: skip
    keys = w.truth.filter(pl.col("cause") == "only_in_backup").select(invoice_key="true_key")
    return Evidence(
        ledger=w.ledger, platform=w.platform, matches=matches, observations=observations,
        stops=delays.stops(observations, w.notices, taken_at=w.taken_at), accounts=w.accounts, notices=w.notices,
        operations=w.operations, sync_log=w.sync_log, confirmations=w.confirmations, substitute=w.substitute,
        control=w.control, backup_keys=keys.with_columns(repo_id=pl.lit("r"), backup_id=pl.lit("b")), export=w.export,
        policy=Policy(), taxpayer_ids=w.taxpayer_ids, direction=w.direction, taken_at=w.taken_at, **other,
    )  # fmt: skip


def scored(w: Any, findings: pl.DataFrame) -> pl.DataFrame:
    """Recall, precision and F1 of every cause over the ledger rows that do not simply agree."""
    truth = w.truth.filter(pl.col("ledger_row").is_not_null() & (pl.col("outcome") != "matched"))
    got = findings.filter(pl.col("ledger_row").is_not_null()).select("ledger_row", got="cause")
    both = truth.join(got, on="ledger_row", how="left")
    causes = pl.concat([both["cause"], both["got"]]).drop_nulls().unique().sort()
    rows = []
    for cause in causes:
        is_it, said = both["cause"] == cause, both["got"] == cause
        hits = int((is_it & said).sum())
        recall, precision = hits / max(int(is_it.sum()), 1), hits / max(int(said.sum()), 1)
        f1 = 2 * recall * precision / max(recall + precision, 1e-9)
        rows.append({"cause": cause, "recall": recall, "precision": precision, "f1": f1})
    return pl.DataFrame(rows)


def test_a_month_of_mixed_causes() -> None:
    w = world(invoices=30_000, seed=20)
    findings = diagnose(simulated(w))
    open_rows = w.truth.filter(pl.col("outcome") != "matched")
    assert findings.height == reconcile(w.ledger, w.platform).filter(pl.col("outcome") != "matched").height
    assert findings.height >= 0.99 * open_rows.height
    assert findings["finding_id"].is_unique().all()
    table = scored(w, findings)
    assert table["f1"].mean() >= 0.93
    others = table.filter(~pl.col("cause").is_in(["lost", "kind_excess"]))
    assert others["recall"].min() >= 0.85
    assert table["precision"].min() >= 0.75
    assert table.filter(pl.col("cause") == "lost")["recall"].item() >= 0.75


@pytest.mark.parametrize("exports", [1, 6])
@pytest.mark.parametrize("causes", [{"lost": 0.015}, {}], ids=["lost", "clean"])
def test_exports_a_day_apart_show_no_stops_and_hide_no_loss(causes: dict[str, float], exports: int) -> None:
    w = world(invoices=4000, seed=20, causes=causes, arrivals="exports", exports=exports, backups=False)
    w = replace(w, notices=w.notices.clear())
    case = simulated(w)
    assert case.stops.is_empty()
    findings = diagnose(case)
    assert set(findings["cause"]) <= {"late", *causes}
    both = findings.join(w.truth.select("ledger_row", "late"), on="ledger_row")
    assert (both["probability_late"] - both["late"]).pow(2).mean() < 0.08
    assert both.filter("late")["probability_late"].mean() > 0.9
    if causes:
        assert both.filter(~pl.col("late"))["probability_late"].mean() < 0.25


@pytest.mark.slow
@pytest.mark.parametrize("seed", [31, 32, 33])
def test_a_month_in_which_nothing_is_wrong_has_no_cause(seed: int) -> None:
    w = world(invoices=30_000, seed=seed, causes={"lost": 0.006})
    assert set(diagnose(simulated(w))["cause"]) <= {"late", "lost"}


def test_every_missing_row_has_a_chance_and_every_row_one_finding() -> None:
    w = world(invoices=3000, seed=5)
    case = simulated(w)
    findings = diagnose(case)
    rows = case.matches.filter(pl.col("outcome") != "matched")
    assert findings.height == rows.height
    missing = rows.filter(pl.col("outcome") == "missing")["ledger_row"]
    chances = findings.filter(pl.col("ledger_row").is_in(missing.implode()))["probability_late"]
    assert chances.null_count() == 0
    assert chances.is_between(0, 1, closed="none").all()
    rest = findings.filter(~pl.col("ledger_row").is_in(missing.implode()))["probability_late"]
    assert rest.null_count() == len(rest)


def test_where_nothing_has_arrived_the_service_level_stands_in_and_says_so() -> None:
    young = [invoice(serial, issued_at=TAKEN - timedelta(minutes=30 + serial)) for serial in range(4)]
    old = [invoice(50, issued_at=at(3))]
    findings = diagnose(evidence([*young, *old], []))
    assert findings["cause"].to_list() == ["late"] * 4 + ["lost"]
    assert set(findings["state"]) == {"unknown"}
    assert findings["evidence"].str.contains("按服务目标推算").all()


def with_holes(frame: pl.DataFrame, draw: np.random.Generator, share: float) -> pl.DataFrame:
    """The frame with cells missing in about a third of its columns."""
    holes = [
        pl.when(~pl.Series(draw.random(frame.height) < share)).then(pl.col(name)).alias(name)
        for name in frame.columns
        if draw.random() < 0.3
    ]
    return frame.with_columns(holes)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(14))
def test_holes_in_every_table_lose_no_row(seed: int) -> None:
    draw = np.random.default_rng(seed)
    w = world(invoices=int(draw.choice([1, 2, 5, 30, 300])), seed=seed, direction=("issued", "received")[seed % 2])
    tables = ("ledger", "platform", "sync_log", "notices", "operations", "confirmations", "substitute")
    w = replace(w, **{name: with_holes(getattr(w, name), draw, draw.choice([0.1, 0.9, 1.0])) for name in tables})
    empty = {0: "ledger", 1: "platform"}.get(seed % 7)
    if empty:
        w = replace(w, **{empty: getattr(w, empty).clear()})
    case = simulated(w)
    findings = diagnose(case, lang=("zh", "en")[seed % 2])
    assert findings.height == case.matches.filter(pl.col("outcome") != "matched").height
    assert findings["finding_id"].is_unique().all()
    assert findings["evidence"].null_count() == 0
    assert findings["probability_late"].drop_nulls().is_between(0, 1, closed="none").all()


def test_the_order_of_the_files_does_not_matter() -> None:
    w = world(invoices=2000, seed=8)
    turned = replace(w, ledger=w.ledger.reverse(), platform=w.platform.sample(fraction=1.0, shuffle=True, seed=1))
    columns = ["finding_id", "cause", "invoice_key"]
    settled = ("late", "lost", "export_truncated", "unexplained")

    def told(one: Any) -> pl.DataFrame:
        findings = diagnose(simulated(one)).filter(~pl.col("cause").is_in(settled))
        return findings.filter(pl.col("cause") != "booked_twice").select(columns).sort(columns)

    whole = {"control": w.control.clear()}
    assert told(replace(turned, **whole)).equals(told(replace(w, **whole)))


def test_what_others_miss_is_counted_by_the_cells_that_hold_rows() -> None:
    """Half hours times channels would be 4e9 cells here."""
    n = 60_000
    people = pl.DataFrame(
        {
            "channel": [f"c{place}" for place in range(n)],
            "issued_at": [at(6)] * 10 + [at(6) + timedelta(hours=place) for place in range(10, n)],
            "missing": [True] * 8 + [False] * (n - 8),
            "expected": [0.0] * n,
        }
    )
    around = batches._missed_around(people)
    assert around[:10].to_list() == pytest.approx([7 / 9] * 8 + [8 / 9] * 2)
    assert around[10:].sum() == 0


def test_ambiguous_says_how_many_fit_where_not_all_are_listed() -> None:
    theirs = [invoice(1, source_row=place) for place in range(130)]
    booked = invoice(1, digital_number=number(2))
    for lang, more in (("zh", "另有 30 行未列出"), ("en", "and 30 more")):
        said = diagnose(evidence([booked], [listed(row) for row in theirs]), lang=lang)["evidence"][0]
        assert "130" in said
        assert more in said
