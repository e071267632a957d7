"""What a report is about: the month that is chosen, what lies outside it, and totals that are those of the files."""

from __future__ import annotations

import itertools
from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING

import polars as pl
import pytest

from audit_kit.analysis import report_scope
from audit_kit.analysis.month import month
from audit_kit.analysis.work import analyse
from audit_kit.core.errors import RequestError
from audit_kit.loaders.engagement.engagement import open_engagement
from audit_kit.views.overview import charts

if TYPE_CHECKING:
    from pathlib import Path

    from audit_kit.analysis.analysis import Analysis

MONTHS = ("2024-09", "2024-10", "2024-11", "2024-12")
HEAD = "数电发票号码,开票日期,金额,税额,价税合计\n"


def line(number: int, at: str, gross: int) -> str:
    return f"2491200000{number:010d},{at},{gross - 6}.00,6.00,{gross}.00\n"


def year(folder: Path, *, faults: bool) -> Path:
    """Twenty invoices a month; the n-th is of 100 + n yuan, on the 5th and the days after it."""
    rows = {
        20 * place + day: (f"{name}-{day + 4:02d} 10:00:00", 100 + 20 * place + day)
        for place, name in enumerate(MONTHS)
        for day in range(1, 21)
    }
    ledger, platform = dict(rows), dict(rows)
    if faults:
        del platform[5]  # of September, 105 yuan
        platform[25] = (rows[25][0], 225)  # of October, 125 in the ledger
        platform[901] = ("2024-10-08 10:00:00", 212)  # not booked
        ledger[60], platform[60] = ("2024-11-30 23:00:00", 160), ("2024-12-01 09:00:00", 160)
        del platform[70]  # of December, 170 yuan
        ledger[77] = ("2025-01-21 10:00:00", 177)  # the wrong month and year; December on the platform
        ledger[990] = ("", 500)  # without a date, and missing
    folder.mkdir()
    for name, side in (("ledger", ledger), ("platform", platform)):
        text = HEAD + "".join(line(number, *row) for number, row in side.items())
        (folder / f"{name}.csv").write_text(text, encoding="utf-8")
    (folder / "audit.toml").write_text(
        '[engagement]\nname = "一年"\ntaken_at = 2025-02-01T09:00:00\n', encoding="utf-8"
    )
    return folder


@pytest.fixture(scope="module", params=[True, False], ids=["faults", "clean"])
def whole(request, tmp_path_factory) -> Analysis:
    place = tmp_path_factory.mktemp("year")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AUDIT_KIT_CACHE", str(place / "cache"))
        return analyse(open_engagement(year(place / "e", faults=request.param)))


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("2025-05", "2025-05"),
        ("2025-5", "2025-05"),
        ("2025/5", "2025-05"),
        ("2025年5月", "2025-05"),
        ("２０２５ 年 ５ 月", "2025-05"),
        ("202505", "2025-05"),
        ("2024", "2024"),
        ("2024 年", "2024"),
        ("all", "all"),
        ("ALL", "all"),
        ("全部", "all"),
    ],
)
def test_a_period_is_understood_as_people_write_it(text, name):
    assert report_scope.scope(text).name == name


@pytest.mark.parametrize("text", ["2025-13", "2025-00", "20255", "25-05", "2025-5-1", "0024", "May", "", "allen"])
def test_what_is_no_period_is_said(text):
    with pytest.raises(RequestError, match="write it as 2025-05"):
        report_scope.scope(text)


def test_a_period_ends_where_the_next_begins():
    december = report_scope.scope("2024-12")
    assert (december.start, december.end) == (datetime(2024, 12, 1), datetime(2025, 1, 1))
    twelve = report_scope.scope("2024")
    assert (twelve.start, twelve.end, twelve.kind) == (datetime(2024, 1, 1), datetime(2025, 1, 1), "year")
    assert report_scope.scope("all").kind == "all"


def ledger_of(**counts: int) -> pl.DataFrame:
    days = [
        datetime(int(name[1:5]), int(name[5:7]), 1 + place % 28)
        for name, rows in counts.items()
        for place in range(rows)
    ]
    return pl.DataFrame({"issued_at": days}, schema={"issued_at": pl.Datetime("us")})


@pytest.mark.parametrize(
    ("counts", "chosen", "alone"),
    [
        ({"m202411": 25, "m202412": 24, "m202501": 1}, "2024-12", ["2025-01"]),
        ({"m202411": 25, "m202412": 24, "m202501": 24}, "2025-01", []),
        ({"m202411": 25, "m202412": 24, "m205212": 1}, "2024-12", ["2052-12"]),
        ({"m202411": 6, "m202412": 5, "m202501": 1}, "2024-12", ["2025-01"]),
        ({"m202411": 3, "m202412": 4, "m202501": 1}, "2025-01", []),  # a small company, and no month between
        ({"m202411": 3, "m202412": 4, "m202601": 1}, "2024-12", ["2026-01"]),
        ({"m202404": 25, "m202501": 24, "m202412": 1, "m202411": 25}, "2025-01", []),  # few, but not at an end
        ({"m201204": 1, "m202411": 25, "m202412": 25}, "2024-12", ["2012-04"]),
        ({"m202412": 25, "m202501": 1, "m202502": 1}, "2024-12", ["2025-01", "2025-02"]),
        ({"m202411": 20_000, "m202412": 20_000, "m202501": 15}, "2024-12", ["2025-01"]),
        ({"m202411": 20_000, "m202412": 20_000, "m202501": 90}, "2025-01", []),  # a month that has begun
        ({"m202501": 1}, "2025-01", []),
        ({"m202412": 1, "m202501": 1}, "2025-01", []),
        ({}, "all", []),
    ],
)
def test_a_lonely_date_is_named_and_chooses_no_month(counts, chosen, alone):
    ledger = ledger_of(**counts)
    assert report_scope.latest(ledger) == chosen
    assert report_scope.lonely(ledger)["month"].to_list() == alone


@pytest.mark.parametrize(("day", "alone"), [(30, []), (2, ["2025-04"])])
def test_a_ledger_may_begin_a_day_before_its_period(day, alone):
    days = [datetime(2025, 4, day), *(datetime(2025, 5, 1 + place) for place in range(30))]
    ledger = pl.DataFrame({"issued_at": days}, schema={"issued_at": pl.Datetime("us")})
    assert (report_scope.latest(ledger), report_scope.lonely(ledger)["month"].to_list()) == ("2025-05", alone)


def test_a_lonely_date_is_named_with_its_row(tmp_path, monkeypatch):
    monkeypatch.setenv("AUDIT_KIT_CACHE", str(tmp_path / "cache"))
    found = analyse(open_engagement(year(tmp_path / "e", faults=True)))
    (row,) = report_scope.lonely(found.ledger).iter_rows(named=True)
    assert (row["month"], row["rows"], row["source_file"], row["source_row"]) == ("2025-01", 1, "ledger.csv", 78)


TOTALS = {  # by hand: of each file's month, rows and yuan; the row without a date is of every month of the ledger
    True: {
        "2024-09": ((21, 2710), (19, 2105)),
        "2024-10": ((21, 3110), (21, 2922)),
        "2024-11": ((21, 3510), (19, 2850)),
        "2024-12": ((20, 3733), (20, 3400)),
        "2025-01": ((2, 677), (0, 0)),
        "2024": ((80, 11563), (79, 11277)),
        "all": ((81, 11740), (79, 11277)),
    },
    False: {
        **{name: ((20, rows), (20, rows)) for name, rows in zip(MONTHS, (2210, 2610, 3010, 3410), strict=True)},
        "2024": ((80, 11240), (80, 11240)),
        "all": ((80, 11240), (80, 11240)),
    },
}


def test_each_total_is_the_files_own_whatever_moved_between_months(whole):
    faults = whole.findings.height > 0
    for name, sides in TOTALS[faults].items():
        of = report_scope.scope(name)
        totals = charts.outcome_totals(month(whole, name), start=of.start, end=of.end)
        for side, wanted in zip(("ledger", "platform"), sides, strict=True):
            part = totals.filter(pl.col("side") == side)
            assert (part["rows"].sum(), part["yuan"].sum()) == wanted, (name, side)


def test_what_moved_between_months_is_a_line_of_its_own(whole):
    faults = whole.findings.height > 0
    moved = {}
    for name in (*MONTHS, "2024", "all"):
        of = report_scope.scope(name)
        totals = charts.outcome_totals(month(whole, name), start=of.start, end=of.end)
        lines = totals.filter(pl.col("outcome") == charts.CROSS_MONTH).select("side", "rows", "yuan").rows()
        moved |= {name: lines} if lines else {}
    november, december = ("ledger", 1, Decimal(160)), ("platform", 2, Decimal(337))
    year_end = [("platform", 1, Decimal(177))]
    assert moved == ({"2024-11": [november], "2024-12": [december], "2024": year_end} if faults else {})


def test_what_is_open_is_carried_into_every_later_month(whole):
    causes = {name: dict(month(whole, name).findings.group_by("cause").len().iter_rows()) for name in MONTHS}
    if whole.findings.is_empty():
        assert causes == {key: {} for key in MONTHS}
        return
    for earlier, later in itertools.pairwise(MONTHS):
        known = set(month(whole, earlier).findings["finding_id"])
        assert known < set(month(whole, later).findings["finding_id"])
    assert causes["2024-09"].keys() == {"lost", "unexplained"}
    assert causes["2024-12"] == {"lost": 2, "unexplained": 1, "amount_conflict": 1, "unbooked": 1, "date_conflict": 2}
    assert month(whole, "all") is whole


def test_what_is_still_open_of_before_is_no_part_of_the_totals(whole):
    of = report_scope.scope("2024-12")
    before = charts.before_totals(month(whole, "2024-12"), start=of.start)
    nothing = (0, Decimal(0))
    if whole.findings.is_empty():
        assert before == {"ledger": nothing, "platform": nothing, "missing": nothing}
    else:  # 105 missing, 125 of another amount, 160 of the other month; 212 not booked
        assert before == {"ledger": (3, Decimal(390)), "platform": (1, Decimal(212)), "missing": (1, Decimal(105))}
    whole_of = charts.before_totals(whole, start=None)
    assert whole_of == {"ledger": nothing, "platform": nothing, "missing": nothing}


def test_the_table_of_months_sums_to_the_files_and_says_what_lies_outside(whole):
    table = report_scope.months(whole, report_scope.scope("2024-12"))
    for name, side in (("ledger", whole.ledger), ("platform", whole.platform)):
        assert table[f"{name}_rows"].sum() == side.height
        assert table[f"{name}_yuan"].sum() == side["gross"].sum()
    assert table["findings"].sum() == whole.findings.height
    places = dict(table.select("month", "place").iter_rows())
    expected = dict(zip(MONTHS, ("before", "before", "before", "within"), strict=True))
    if whole.findings.is_empty():
        assert places == expected
        return
    assert places == {**expected, "2025-01": "after", None: "undated"}
    assert table.filter("lonely")["month"].to_list() == ["2025-01"]
    assert dict(table.select("month", "findings").iter_rows()) == {
        "2024-09": 1,
        "2024-10": 2,
        "2024-11": 1,
        "2024-12": 1,
        "2025-01": 1,
        None: 1,
    }
    assert dict(table.select("month", "missing_yuan").iter_rows())[None] == 500


def test_a_platform_that_reaches_far_back_is_not_carried_forward_where_the_ledger_does_not(tmp_path, monkeypatch):
    monkeypatch.setenv("AUDIT_KIT_CACHE", str(tmp_path / "cache"))
    folder = tmp_path / "e"
    folder.mkdir()
    old = "".join(line(1000 + i, f"2023-{i % 12 + 1:02d}-05 10:00:00", 150) for i in range(48))
    own = "".join(line(i, f"2024-{11 + i % 2}-0{i % 9 + 1} 10:00:00", 100 + i) for i in range(30))
    unbooked = line(900, "2024-11-20 10:00:00", 300)
    (folder / "ledger.csv").write_text(HEAD + own, encoding="utf-8")
    (folder / "platform.csv").write_text(HEAD + old + own + unbooked, encoding="utf-8")
    found = analyse(open_engagement(folder))
    december = month(found, "2024-12").findings
    assert december["cause"].to_list() == ["unbooked"]
    assert found.findings.filter(pl.col("cause") == "unbooked").height == 49
    table = report_scope.months(found, report_scope.scope("2024-12"))
    assert table.filter(pl.col("month") < "2024")["findings"].sum() == 48
