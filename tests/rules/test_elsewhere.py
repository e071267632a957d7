"""Vouchers that this platform never lists: named with the place to look, and out of every estimate."""

from __future__ import annotations

from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import numpy as np
import polars as pl
import pytest

from audit_kit import resources
from audit_kit.core import schema
from audit_kit.core.cause_records import records
from audit_kit.core.policy import Export, Policy
from audit_kit.loaders.tables import pipeline
from audit_kit.rules.causes.diagnosis import Evidence, diagnose
from audit_kit.rules.matching.reconcile import reconcile
from audit_kit.rules.sync import observations as delays
from audit_kit.rules.sync.elsewhere import _table, never_listed

ORDINARY = "数电发票（普通发票）"
TAKEN = datetime(2025, 6, 2, 9)
OURS = "91110108MA01ABCD1X"

# Kind as a ledger writes it, code, number ({n} counts), what it is.
FORMS = [
    ("海关缴款书", None, "0102202510245678{n:02}-L01", "customs"),
    ("海关进口增值税专用缴款书", None, "0102202510245678{n:02}L02", "customs"),
    ("代扣代缴税收缴款凭证", None, "3110152505000012{n:02}", "withholding"),
    ("完税凭证", None, "3110 1525 0600 0012 {n:02}", "tax_paid"),
    ("税收完税证明", None, "（161）京国证000123{n:02}", "tax_paid"),
    ("财政票据", "11060125", "00123456{n:02}", "fiscal"),
    ("中央非税收入统一票据", "00010225", "00123457{n:02}", "fiscal"),
    ("公益事业捐赠统一票据（电子）", None, "1103012500000012{n:02}", "fiscal"),
    ("行政事业单位资金往来结算票据", "11070125", "00223457{n:02}", "fiscal"),
    ("医疗收费票据(电子)", "11060125", "01123456{n:02}", "medical"),
    ("北京市医疗门诊收费票据（电子）", "11060125", "01223456{n:02}", "medical"),
    ("定额发票", "111001971011", "012345{n:02}", "fixed"),
    ("北京市通用定额发票", "211001970110", "112345{n:02}", "fixed"),
    ("通用机打发票", "111001971421", "212345{n:02}", "machine"),
    ("区块链电子普通发票", "144032509110", "312345{n:02}", "blockchain"),
    ("税务区块链电子发票", None, "144032509110412345{n:02}", "blockchain"),
    ("出租车发票", "111001681002", "512345{n:02}", "taxi"),
    ("公路客票", "111001671003", "612345{n:02}", "road"),
    ("轮船 客票", None, "A7123{n:02}", "ship"),
    ("过路费（定额）", "111001981004", "712345{n:02}", "fixed"),
    ("过路费", "111001981005", "722345{n:02}", "toll"),
    ("门票", None, None, "admission"),
    ("火车票", None, "E0123456{n:02}", None),
    ("火车票", None, "E01234{n:02}", "rail_paper"),
    ("工会经费收入专用收据", None, "812345{n:02}", "fiscal"),
    (None, None, "0102202510249999{n:02}-L01", "customs"),
    (None, "11060125", "00993456{n:02}", "fiscal"),
]  # fmt: skip
UNMISTAKABLE = [form for form in FORMS if form[3]]

# Kinds and numbers that this platform lists, and numbers of which the shape says too little.
TWINS = [
    ("数电发票（铁路电子客票）", None, "25119166809000{n:06}"),
    ("铁路电子客票", None, "25119166809001{n:06}"),
    ("数电发票（航空运输电子客票行程单）", None, "25117000009002{n:06}"),
    ("航空运输电子客票行程单", None, "25117000009003{n:06}"),
    ("机动车销售统一发票", "111002522061", "012345{n:02}"),
    ("二手车销售统一发票", "011002500117", "012346{n:02}"),
    ("道路通行费电子普通发票", "011002500112", "012347{n:02}"),
    ("通行费", "011002500112", "012348{n:02}"),
    ("增值税普通发票（卷式）", "011002500107", "012349{n:02}"),
    ("增值税电子普通发票", "011002500111", "012350{n:02}"),
    ("增值税专用发票", "1100253130", "012351{n:02}"),
    ("数电发票（普通发票）", None, "25112000009004{n:06}"),
    ("电子发票（普通发票）", None, "25112000009005{n:06}"),
    ("数电纸质发票（普通发票）", "011002500104", "012352{n:02}"),
    ("财政票据", None, "25112000009006{n:06}"),
    ("门票", "251120000090", "070000{n:02}"),
    ("客运站服务费专票", None, "070100{n:02}"),
    ("通用机打发票", "011002500104", "012353{n:02}"),
    ("定额发票", "1100253130", "012354{n:02}"),
    ("火车票", None, "25119166809008{n:06}"),
    ("过路费", None, "25112000009009{n:06}"),
    (None, None, "3110152505000012{n:02}"),
    (None, "111001971011", "012355{n:02}"),
    (None, None, "25112000009010{n:06}"),
    (None, "00012345", "11002531{n:02}"),
]


def rows(
    kind: str | None, code: str | None, pattern: str | None, count: int, *, start: int = 0
) -> list[dict[str, Any]]:
    made = []
    for n in range(start, start + count):
        number = pattern and pattern.format(n=n)
        column = "digital_number" if number and len(number) == 20 and not code else "invoice_number"
        made.append(
            {
                "kind": kind,
                "invoice_code": code,
                column: number,
                "issued_at": TAKEN - timedelta(days=1 + n % 20, minutes=37 * n),
                "gross": Decimal("88.00") + n,
                "seller_tax_id": OURS,
                "status": "normal",
                "source_file": "book.xlsx",
            }
        )
    return made


def frame(table: str, found: list[dict[str, Any]]) -> pl.DataFrame:
    types = schema.dtypes(table)
    listed = [{name: row.get(name) for name in types} | {"source_row": at + 2} for at, row in enumerate(found)]
    return pl.DataFrame(listed, schema=types)


def ordinary(count: int = 900) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """A month of invoices of two channels, each visible some hours after issue; a few are lost, the newest late."""
    dice = np.random.default_rng(3)
    ledger, platform = [], []
    for n in range(count):
        issued = TAKEN - timedelta(minutes=45 * n + 5)
        row = {
            "digital_number": f"2511{2 if n % 3 else 7}{count - n:015d}",
            "issued_at": issued,
            "gross": Decimal("106.00") + n,
            "kind": ORDINARY,
            "seller_tax_id": OURS,
            "status": "normal",
            "source_file": "book.xlsx",
        }
        ledger.append(row)
        visible = issued + timedelta(minutes=float(dice.lognormal(5, 1)))
        if visible <= TAKEN and dice.random() > 0.02:
            platform.append(row | {"visible_at": visible, "source_file": "export.xlsx"})
    return ledger, platform


def findings(ledger: list[dict[str, Any]], platform: list[dict[str, Any]], lang: str = "zh") -> pl.DataFrame:
    ours, theirs = frame("ledger", ledger), frame("platform", platform)
    matches = reconcile(ours, theirs)
    nothing = {name: schema.empty(name) for name in TABLES}
    seen = delays.observations(ours, theirs, matches, sync_log=nothing["sync_log"], taken_at=TAKEN)
    return diagnose(
        Evidence(
            ledger=ours,
            platform=theirs,
            matches=matches,
            observations=seen,
            stops=delays.stops(seen, nothing["notices"], taken_at=TAKEN),
            **nothing,
            control=pl.DataFrame(schema={"source_file": pl.String, "column": pl.String, "stated": pl.Decimal(18, 2),
                                         "computed": pl.Decimal(18, 2), "agrees": pl.Boolean}),
            backup_keys=pl.DataFrame(schema={"invoice_key": pl.String, "repo_id": pl.String, "backup_id": pl.String}),
            export=Export(),
            policy=Policy(),
            taxpayer_ids=(OURS,),
            direction="issued",
            taken_at=TAKEN,
        ),
        lang=lang,
    )  # fmt: skip


TABLES = ("accounts", "notices", "operations", "sync_log", "confirmations", "substitute")


def test_every_form_is_elsewhere_and_the_others_are_judged_as_if_it_were_not_there() -> None:
    ledger, platform = ordinary()
    before = findings(ledger, platform)
    extra = [row for kind, code, number, _ in UNMISTAKABLE for row in rows(kind, code, number, 15)]
    mixed = [row for pair in zip(ledger, extra, strict=False) for row in pair] + ledger[len(extra) :]
    after = findings(mixed, platform)
    own = after.filter(pl.col("source_row").is_in([at + 2 for at, row in enumerate(mixed) if row["kind"] != ORDINARY]))
    assert own.height == len(extra) == 15 * len(UNMISTAKABLE)
    assert set(own["cause"]) == {"elsewhere"}
    assert set(own["severity"]) == {"info"}
    assert own["probability_late"].null_count() == own.height
    rest = after.join(own, on="finding_id", how="anti")
    joined = before.join(rest, on="invoice_key", how="full", suffix="_after")
    assert joined.height == before.height == rest.height
    assert (joined["cause"] == joined["cause_after"]).all()
    assert ((joined["probability_late"] - joined["probability_late_after"]).abs() <= 1e-9).all()
    assert joined["probability_late"].is_not_null().sum() > 20


@pytest.mark.parametrize(("kind", "code", "number", "voucher"), FORMS)
def test_a_voucher_is_known_by_its_kind_and_number(
    kind: str | None, code: str | None, number: str | None, voucher: str | None
) -> None:
    found = never_listed(frame("ledger", rows(kind, code, number, 15)))
    assert found.to_list() == [voucher] * 15


@pytest.mark.parametrize(("kind", "code", "number"), TWINS)
def test_what_is_listed_or_unclear_is_not_elsewhere(kind: str | None, code: str | None, number: str) -> None:
    assert never_listed(frame("ledger", rows(kind, code, number, 15))).null_count() == 15


def test_twins_are_never_elsewhere() -> None:
    ledger = [row for kind, code, number in TWINS for row in rows(kind, code, number, 15)]
    found = findings(ledger, [])
    assert found.height == len(ledger)
    assert "elsewhere" not in set(found["cause"])


def test_a_row_that_the_platform_has_is_untouched_by_its_kind() -> None:
    book = rows("定额发票", "111001971011", "012345{n:02}", 3)
    seen = [row | {"kind": "增值税普通发票", "source_file": "export.xlsx"} for row in book]
    assert "elsewhere" not in set(findings(book, seen)["cause"])


@pytest.mark.parametrize("lang", ["zh", "en"])
def test_each_voucher_has_its_own_place_to_look(lang: str) -> None:
    ledger = [row for kind, code, number, _ in UNMISTAKABLE for row in rows(kind, code, number, 1)]
    told = findings(ledger, [], lang).sort("ledger_row")
    assert told["ledger_row"].to_list() == list(range(len(UNMISTAKABLE)))
    places = {}
    for (kind, *_, voucher), row in zip(UNMISTAKABLE, told.iter_rows(named=True), strict=True):
        assert places.setdefault(voucher, row["next_step"]) == row["next_step"]
        assert "{" not in row["next_step"] + row["evidence"]
        assert kind is None or kind in row["evidence"]
    assert ("海关缴款书清单" if lang == "zh" else "customs payment") in places["customs"]
    assert ("财政部" if lang == "zh" else "Ministry of Finance") in places["fiscal"]
    assert records()["elsewhere"].next_step[lang == "en"] not in places.values()


def test_every_kind_has_its_words() -> None:
    phrases = set(resources.load("causes")["phrases"])
    for kind in _table()["kinds"]:
        assert {f"unlisted_{kind}", f"look_{kind}"} <= phrases


@pytest.mark.parametrize(
    ("number", "channel"),
    [
        ("25112" + "0" * 14 + "1", "网页"), ("25117" + "0" * 14 + "1", "乐企"),
        ("25114" + "0" * 14 + "1", "开票渠道码 4"),
        ("11100197101101234567", "税控"), ("14403250911031234567", "税控"), ("01100250010401234567", "税控"),
        ("110025313001234567", "税控"), ("21100197011011234567", "未知"), ("31101525050000121234", "未知"),
        ("99887766554433221100", "未知"),
    ],
)  # fmt: skip
def test_the_fifth_digit_is_read_of_a_digital_number_only(number: str, channel: str) -> None:
    book = frame("ledger", [{"digital_number": number, "issued_at": TAKEN - timedelta(days=1), "gross": Decimal(1)}])
    seen = delays.observations(
        book, schema.empty("platform"), reconcile(book, schema.empty("platform")),
        sync_log=schema.empty("sync_log"), taken_at=TAKEN,
    )  # fmt: skip
    assert seen["channel"].to_list() == [channel]


def test_a_ledger_file_as_it_comes(tmp_path: Any) -> None:
    lines = ["票据类型,发票代码,发票号码,开票日期,价税合计"]
    lines += [
        f"{kind or ''},{code or ''},{(number or '').format(n=7)},2025-05-06,88.00" for kind, code, number, _ in FORMS
    ]
    book = tmp_path / "台账.csv"
    book.write_text("\n".join(lines), encoding="utf-8")
    read = pipeline.read(book, table="ledger").rows
    assert never_listed(read).to_list() == [voucher for *_, voucher in FORMS]
