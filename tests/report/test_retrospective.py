"""The history of findings beside the reports, the page on how the months went, and what it costs."""

from __future__ import annotations

import json
import time
from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import polars as pl
import pytest

from audit_kit.analysis import findings_history
from audit_kit.core import places
from audit_kit.core.errors import EngagementError, RequestError
from audit_kit.loaders.engagement.engagement import open_engagement
from audit_kit.report import manifest, notebooks, publish
from audit_kit.report import run as report
from audit_kit.report.history import months_register, trend
from audit_kit.rules.history import histories

if TYPE_CHECKING:
    from pathlib import Path

HEAD = "发票号码,开票日期,销方识别号,销方名称,购买方名称,价税合计"
MONTHS = ("2025-01", "2025-02", "2025-03", "2025-04")
ACTIONS = """
[[actions]]
what = "复核<b>录入</b>"
owner = "张三丰"
cause = "很可能丢失"
due = 2025-02-10
[[actions]]
what = "换渠道"
cause = "late"
due = 2025-02-10
done = 2025-02-05
"""


@pytest.fixture(autouse=True)
def without_notebooks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AUDIT_KIT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(places, "notebooks", list)
    monkeypatch.setattr(notebooks, "run_all", lambda *_, **__: None)


def key(number: int) -> str:
    return f"25112000000000{number:06d}"


def engagement(folder: Path, month: str, booked: dict[int, str], missing: set[int], more: str = "") -> Path:
    """An engagement of one month; `booked` maps a number to its month."""
    folder.mkdir(exist_ok=True)
    rows = {
        number: f"{key(number)},{of}-05 10:00:00,91110108MA01A2B3XP,北京示例卖方有限公司,北京买方有限公司,{number}.00"
        for number, of in booked.items()
    }
    listed = [row for number, row in rows.items() if number not in missing]
    (folder / "ledger.csv").write_text("\n".join([HEAD, *rows.values()]) + "\n", encoding="utf-8")
    (folder / "platform.csv").write_text("\n".join([HEAD, *listed]) + "\n", encoding="utf-8")
    (folder / "audit.toml").write_text(
        f"""[engagement]
name = "示例"
taxpayer_id = "91110108MA01A2B3XP"
taken_at = {month}-28T09:00:00
[export]
period_start = 2025-01-01T00:00:00
period_end = 2026-01-01T00:00:00
[sources]
ledger = "ledger.csv"
platform = "platform.csv"
{more}""",
        encoding="utf-8",
    )
    return folder


BOOKED = {number: month for at, month in enumerate(MONTHS, 1) for number in range(100 * at, 100 * at + 20)}
# What each month's export lacks, and which invoices its ledger still has.
LACKS = {
    "2025-01": {100, 101, 102, 103},
    "2025-02": {100, 101, 200},
    "2025-03": {101, 300},
    "2025-04": {100, 101, 400},
}
FORGOTTEN = {"2025-03": {102, 200}}  # no longer in the ledger, so not looked at
TRUTH = {
    "2025-01": {"new": {100, 101, 102, 103}},
    "2025-02": {"new": {200}, "recurring": {100, 101}, "closed": {102, 103}},
    "2025-03": {"new": {300}, "recurring": {101}, "closed": {100}},
    "2025-04": {"new": {400}, "recurring": {101}, "reopened": {100}, "closed": {200, 300}},
}


def year(tmp_path: Path, months: tuple[str, ...] = MONTHS, more: str = "") -> Path:
    for month in months:
        booked = {n: of for n, of in BOOKED.items() if of <= month and n not in FORGOTTEN.get(month, set())}
        folder = engagement(tmp_path / month, month, booked, LACKS[month], more)
        report.run_report(folder, out=tmp_path / "reports", month=month)
    return tmp_path / "reports"


def told(out: Path) -> dict[str, dict[str, set[int]]]:
    """What became of each invoice, by month and change."""
    seen = findings_history.read(out).filter(
        pl.col("area").is_in(["missing", "sync"]) & pl.col("invoice_key").is_not_null()
    )
    rows = seen.join(histories.fates(seen).drop_nulls("change").select("month", "item", "change"), on=["month", "item"])
    found: dict[str, dict[str, set[int]]] = {}
    for row in rows.iter_rows(named=True):
        found.setdefault(row["month"], {}).setdefault(row["change"], set()).add(int(row["invoice_key"][-6:]))
    return found


@pytest.mark.slow
def test_every_month_tells_what_is_new_recurring_closed_and_reopened(tmp_path: Path) -> None:
    out = year(tmp_path, more=ACTIONS)
    assert told(out) == TRUTH
    found = months_register.read(out)
    assert [line["month"] for line in found.months] == list(reversed(MONTHS))
    last = found.months[0]
    assert {name: count["rows"] for name, count in last["fates"].items()} == {
        "new": 1, "recurring": 2, "reopened": 1, "closed": 2,
    }  # fmt: skip  # that there is no backup recurs too
    changes = json.loads((out / MONTHS[3] / "manifest.json").read_text(encoding="utf-8"))["summary"]["changes"]
    assert {name: count["rows"] for name, count in changes.items()} == {
        "new": 1, "reopened": 1, "open": 2, "closed": 2,
    }  # fmt: skip
    assert [(band["from"], band["rows"]) for band in last["ages"]] == [(0, 2), (3, 2)]
    third = found.months[1]
    assert sum(band["unseen"] for band in third["ages"]) == 1  # 200 is open, and was not looked at
    page = (out / "trend.html").read_text(encoding="utf-8")
    assert "已逾期 77 天" in page
    assert "张三丰" in page
    assert "复核&lt;b&gt;录入&lt;/b&gt;" in page
    assert "default-src &#39;none&#39;" in page
    assert 'href="trend.html"' in (out / "index.html").read_text(encoding="utf-8")
    assert {one["month"]: one["by"] for one in trend.latest_scores(found.months).to_dicts()} == {
        "2025-01": "2025-04", "2025-02": "2025-04", "2025-03": "2025-04",
    }  # fmt: skip
    scores = {one["month"]: one for one in found.months[2]["settled"]}
    assert (scores["2025-01"]["rows"], scores["2025-01"]["late_observed"]) == (4, 2)  # 102 and 103 came

    # A month made again takes the place of its own entry, and later ones are counted anew.
    before = sorted(path.name for path in (out / findings_history.FOLDER).iterdir())
    again = engagement(tmp_path / MONTHS[1], MONTHS[1], {n: of for n, of in BOOKED.items() if of <= MONTHS[1]}, {200})
    report.run_report(again, out=out, month=MONTHS[1])
    assert sorted(path.name for path in (out / findings_history.FOLDER).iterdir()) == before
    assert told(out)[MONTHS[1]] == {"new": {200}, "closed": {100, 101, 102, 103}}
    assert told(out)[MONTHS[2]]["reopened"] == {101}
    assert months_register.read(out).months[1]["fates"]["reopened"]["rows"] == 1


@pytest.mark.slow
def test_a_report_from_before_there_was_a_history_is_compared_all_the_same(tmp_path: Path) -> None:
    out = year(tmp_path, MONTHS[:1])
    for path in (out / findings_history.FOLDER).iterdir():
        path.unlink()
    about = json.loads((out / MONTHS[0] / "manifest.json").read_text(encoding="utf-8"))
    del about["history"]
    del about["summary"]["changes"]
    (out / MONTHS[0] / "manifest.json").write_text(json.dumps(about), encoding="utf-8")
    year(tmp_path, MONTHS[1:2])
    assert told(out)["2025-02"] == TRUTH["2025-02"]  # January's entry was made from its findings
    changes = json.loads((out / MONTHS[1] / "manifest.json").read_text(encoding="utf-8"))["summary"]["changes"]
    assert {name: count["rows"] for name, count in changes.items()} == {"new": 1, "reopened": 0, "open": 3, "closed": 2}


@pytest.mark.parametrize(
    ("written", "fault"),
    [
        ('what = "x"\ncause = "losst"', "cause"),
        ('cause = "lost"', "what"),
        ('what = "x"\ncause = "lost"\ndue = "soon"', "due"),
        ('what = "x"\ncause = "lost"\nwhen = 2025-01-01', "when"),
    ],
)
def test_an_action_that_is_none_is_refused_in_a_sentence(tmp_path: Path, written: str, fault: str) -> None:
    folder = engagement(tmp_path / "a", "2025-01", {100: "2025-01"}, set(), f"[[actions]]\n{written}\n")
    with pytest.raises(EngagementError, match=fault):
        open_engagement(folder)


def month_of(out: Path, month: str, *, found: int, cause: str = "lost") -> None:
    """A report of a month as far as the register reads it, and its entry."""
    (out / month).mkdir(parents=True)
    about: dict[str, Any] = {
        "month": month,
        "engagement": {
            "name": "示例",
            "taxpayer_name": "",
            "taxpayer_ids": ["91110108MA01A2B3XP"],
            "direction": "issued",
        },
        "started_at": f"{month}-28 10:00:00",
        "taken_at": f"{month}-28 09:00:00",
        "previous": None,
        "summary": {
            "ledger": {"rows": 3000, "yuan": "1.00"},
            "missing": {"rows": found, "yuan": "1.00"},
            "severities": {"high": found},
            "changes": None,
        },
        "history": {
            "causes": [{"area": "missing", "cause": cause, "own_rows": found, "own_yuan": "5.00", "own_square": found}],
            "ages": [{"from": 0, "rows": found, "yuan": "5.00", "unseen": 0}],
            "settled": [],
            "actions": [{"what": "x", "owner": None, "cause": cause, "due": "1950-01-01", "done": "1960-02-10"}],
        },
        "more": ["x" * 100] * 100,
    }
    (out / month / manifest.FILE).write_text(json.dumps(about), encoding="utf-8")
    numbers = pl.int_range(found, eager=True).cast(pl.String)
    entry = pl.DataFrame({"item": numbers, "finding_id": numbers}).with_columns(
        month=pl.lit(month), taken_at=pl.lit(datetime(1990, 1, 1)), seen=pl.lit("found"), area=pl.lit("missing"),
        cause=pl.lit(cause), severity=pl.lit("high"), state=pl.lit("fails"), invoice_key=pl.lit(None),
        amount=pl.lit(Decimal("1.00")), probability_late=pl.lit(0.5), own=pl.lit(value=True), cluster=pl.lit(None),
    )  # fmt: skip
    (out / findings_history.FOLDER).mkdir(exist_ok=True)
    entry.select(*histories.ENTRY).cast(pl.Schema(histories.ENTRY)).write_parquet(findings_history.place(out, month))


@pytest.mark.slow
def test_the_list_of_a_thousand_months_is_brought_up_to_date_in_a_second(tmp_path: Path) -> None:
    months = [f"{1930 + at // 12}-{at % 12 + 1:02d}" for at in range(1000)]
    for at, month in enumerate(months):
        month_of(tmp_path, month, found=60 if at < 361 else 30)
    publish.list_months(tmp_path, months[-1], lang="zh")
    began = time.process_time()
    publish.list_months(tmp_path, months[-1], lang="zh")
    assert time.process_time() - began < 1.5  # of both processors; in time it is well below a second
    page = (tmp_path / trend.FILE).read_text(encoding="utf-8")
    assert "下降，超出偶然范围" in page
    assert len(page) < 3_000_000
    assert (tmp_path / "index.html").read_text(encoding="utf-8").count('<th scope="row">') == 1000
    months_register.check_owner(tmp_path, manifest.Owner(("taxpayer_ids", "direction"), ({"taxpayer_ids": ["91110108MA01A2B3XP"], "direction": "issued"},)))  # fmt: skip  # noqa: E501
    with pytest.raises(RequestError):
        months_register.check_owner(tmp_path, manifest.Owner(("name", "name"), ({"name": "other"},)))


def test_a_register_that_was_spoilt_or_is_behind_is_made_anew(tmp_path: Path) -> None:
    for month in MONTHS:
        month_of(tmp_path, month, found=3)
    first = months_register.renew(tmp_path, MONTHS[0])
    folder = tmp_path / findings_history.FOLDER
    (folder / months_register.LINES).write_text('{"version": 1, "lines": [{"stamp": 1}, 5]}', encoding="utf-8")
    assert months_register.renew(tmp_path, MONTHS[3]).lines == first.lines
    (folder / months_register.CAUSES).write_bytes(b"PAR1")
    assert months_register.renew(tmp_path, MONTHS[3]).causes.equals(first.causes)
    findings_history.place(tmp_path, MONTHS[1]).write_bytes(b"no parquet")
    assert set(findings_history.read(tmp_path)["month"]) == {*MONTHS} - {MONTHS[1]}
    (tmp_path / MONTHS[0] / manifest.FILE).unlink()
    again = months_register.read(tmp_path)
    assert len(again.lines) == 3
    assert set(again.causes["month"]) == {*MONTHS[1:]}
    publish.list_months(tmp_path, MONTHS[3], lang="en")
    assert "Looking back" in (tmp_path / trend.FILE).read_text(encoding="utf-8")
