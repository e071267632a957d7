"""Every sentence against figures computed apart: engagements in the shape of real exports, and the sample.

The engagements are written out invoice by invoice, so that each figure a page states is known before it is read: one
year without times of arrival in which one row is dated wrongly, received invoices, two months with times, and two
exports one after the other. What a page says must also be what its tables, charts and tooltips hold.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING

import polars as pl
import pytest

from audit_kit.core.places import sample
from audit_kit.views.missing import answers as missing_answers
from audit_kit.views.missing import charts as missing_charts
from audit_kit.views.overview import answers as overview_answers
from audit_kit.views.overview import charts as overview_charts
from audit_kit.views.overview import lines as head_lines
from audit_kit.views.show import event_rows, sentences
from audit_kit.views.show.page import open_page
from audit_kit.views.sync import answers as sync_answers
from audit_kit.views.sync import charts as sync_charts
from audit_kit.views.sync import late_charts
from audit_kit.views.sync import tables as sync_tables

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from audit_kit.views.show.page import Page

OURS, THEIRS = "91110108MA01A2B3XP", "91110105MA009T5X6U"
TARGET = timedelta(hours=24)
# Words of a service level: none of them may stand where no time of arrival is known.
OF_SPEED = re.compile(r"小时内可见|达标|超时|最慢|最低的渠道|在途|一半的发票|没有公告的停机|入库中断|%（扣除停机）")


@dataclass(frozen=True)
class Invoice:
    """One invoice of an engagement, as the test knows it."""

    place: int
    channel: str
    issued: datetime
    gross: Decimal
    arrived: datetime | None
    """When it can first be seen on the platform; null = never."""

    @property
    def number(self) -> str:
        return f"{self.issued:%y}11{self.channel}{self.place:015d}"

    def line(self, *, direction: str, arrival: bool = False) -> str:
        parties = (OURS, "北京示例甲有限公司", THEIRS, "北京示例乙有限公司")
        parties = parties if direction == "issued" else (*parties[2:], *parties[:2])
        net = self.gross - Decimal("1.00")
        fields = [self.number, f"{self.issued:%Y-%m-%d %H:%M:%S}", *parties, f"{net}", "1.00", f"{self.gross}", "正常"]
        return ",".join([*fields, f"{self.arrived:%Y-%m-%d %H:%M:%S}"] if arrival else fields)


HEAD = "数电发票号码,开票日期,销方识别号,销方名称,购方识别号,购买方名称,金额,税额,价税合计,发票状态"


@dataclass(frozen=True)
class Case:
    """An engagement, the moment of its export, and the month that is reported."""

    name: str
    invoices: tuple[Invoice, ...]
    taken_at: datetime
    month: str
    direction: str = "issued"
    arrival: bool = False
    before: datetime | None = None
    """When an earlier export was taken; null = there is only one."""

    def write(self, folder: Path) -> Path:
        folder.mkdir()
        how = {"direction": self.direction}
        ledger = [invoice.line(**how) for invoice in self.invoices]
        (folder / "ledger.csv").write_text("\n".join([HEAD, *ledger, ""]), encoding="utf-8")
        self._export(folder / "platform.csv", self.taken_at)
        toml = f'[engagement]\nname = "{self.name}"\ntaxpayer_id = "{OURS}"\ndirection = "{self.direction}"\n'
        toml += f'taken_at = {self.taken_at.isoformat()}\n[sources]\nledger = "ledger.csv"\nplatform = "platform.csv"\n'
        if self.before:
            self._export(folder / "before.csv", self.before)
            toml += f"exports = [{{path = 'before.csv', taken_at = {self.before.isoformat()}}}]\n"
        (folder / "audit.toml").write_text(toml, encoding="utf-8")
        return folder

    def _export(self, place: Path, at: datetime) -> None:
        rows = [
            invoice.line(direction=self.direction, arrival=self.arrival)
            for invoice in self.invoices
            if invoice.arrived and invoice.arrived <= at
        ]
        place.write_text("\n".join([f"{HEAD},入库时间" if self.arrival else HEAD, *rows, ""]), encoding="utf-8")

    def listed(self, invoice: Invoice) -> bool:
        return invoice.arrived is not None and invoice.arrived <= self.taken_at

    @property
    def reported(self) -> list[Invoice]:
        """The month's invoices, and earlier ones still missing."""
        return [
            invoice
            for invoice in self.invoices
            if f"{invoice.issued:%Y-%m}" == self.month
            or (f"{invoice.issued:%Y-%m}" < self.month and not self.listed(invoice))
        ]

    @property
    def own(self) -> list[Invoice]:
        """The month's invoices alone."""
        return [invoice for invoice in self.reported if f"{invoice.issued:%Y-%m}" == self.month]

    @property
    def gone(self) -> list[Invoice]:
        return [invoice for invoice in self.reported if not self.listed(invoice)]

    def judged(self, month: str) -> tuple[int, int]:
        """How many of a month can be judged, and how many of them missed the target."""
        old = [i for i in self.invoices if f"{i.issued:%Y-%m}" == month and i.issued + TARGET <= self.taken_at]
        return len(old), sum(not self.listed(i) or i.arrived - i.issued > TARGET for i in old)  # type: ignore[operator]


def issued(
    start: datetime,
    days: int,
    a_day: int,
    delay: Callable[[int, str], timedelta | None],
) -> tuple[Invoice, ...]:
    """Invoices at even paces through office hours; `delay` says how long each takes, null = for ever."""
    made = []
    for place in range(days * a_day):
        at = start + timedelta(days=place // a_day, hours=9, minutes=(place % a_day) * 480 // a_day)
        channel = "27472"[place % 5]
        wait = delay(place, channel)
        made.append(Invoice(place, channel, at, Decimal(100 + place % 37), None if wait is None else at + wait))
    return tuple(made)


def _year() -> Case:
    rows = issued(datetime(2024, 1, 1), 366, 2, lambda place, _: None if place in {40, 300, 700, 715} else timedelta())
    wrong = replace(rows[-3], issued=datetime(2025, 1, 21, 9), arrived=None)
    return Case("全年", (*rows[:-3], wrong, *rows[-2:]), datetime(2025, 2, 10, 9), "2024-12")


def _received() -> Case:
    rows = issued(datetime(2025, 3, 1), 61, 6, lambda place, _: None if place % 61 == 7 else timedelta(hours=1))
    return Case("取得", rows, datetime(2025, 5, 6, 18), "2025-04", direction="received")


def _timed() -> Case:
    def delay(place: int, channel: str) -> timedelta | None:
        if place % 53 == 0:
            return None
        slow = channel == "4" and place % 2
        return timedelta(hours=50 if slow else 2, minutes=place % 30)

    rows = issued(datetime(2025, 4, 1), 61, 20, delay)
    return Case("有入库时间", rows, datetime(2025, 5, 31, 20), "2025-05", arrival=True)


def _twice() -> Case:
    rows = issued(datetime(2025, 5, 1), 28, 15, lambda place, _: None if place % 71 == 3 else timedelta(hours=5))
    return Case("两次导出", rows, datetime(2025, 5, 30, 9), "2025-05", before=datetime(2025, 5, 20, 9))


CASES = {case.name: case for case in (_year(), _received(), _timed(), _twice())}
UNTIMED = ("全年", "取得")


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Page]:
    folder = tmp_path_factory.mktemp("shaped")
    made = {
        name: open_page(str(case.write(folder / f"e{place}")), month=case.month)
        for place, (name, case) in enumerate(CASES.items())
    }
    return made | {"示例": open_page(str(sample()))}


@pytest.fixture(scope="module", params=list(CASES))
def case(request: pytest.FixtureRequest) -> Case:
    return CASES[request.param]


@pytest.fixture(scope="module")
def page(case: Case, pages: dict[str, Page]) -> Page:
    return pages[case.name]


def count(rows: int) -> str:
    return f"{rows:,}"


def yuan(rows: list[Invoice]) -> str:
    return f"{sum((row.gross for row in rows), Decimal('0.00')):,.2f} 元"


def per_cent(part: int, whole: int) -> str:
    return f"{100 * part / whole:.2f}%"


def chances(page: Page) -> tuple[int, int, int]:
    """Missing with a chance, late, not to come: by the findings, summed here."""
    late = page.analysis.findings["probability_late"].drop_nulls().to_list()
    never = round(sum(1 - chance for chance in late))
    return len(late), len(late) - never, never


# --- the overview -----------------------------------------------------------------------------------------------------


def test_the_overview_says_what_the_invoices_are(case: Case, page: Page) -> None:
    tie, *rest = overview_answers.overview(page)
    found = [invoice for invoice in case.own if case.listed(invoice)]
    share = f"{100 * len(found) / len(case.own):.1f} %"
    assert tie == (
        f"台账 {count(len(case.own))} 张、{yuan(case.own)}；平台 {count(len(found))} 张、{yuan(found)}。"
        f"其中 {count(len(found))} 张（{share}）号码与内容完全一致。"
    )
    with_chance, late, never = chances(page)
    assert with_chance == len(case.gone)
    gone = rest[0]
    own = [invoice for invoice in case.own if not case.listed(invoice)]
    share = f"{100 * len(own) / len(case.own):.2f} %"
    if early := [invoice for invoice in case.gone if invoice not in own]:
        said = f"平台上看不到 {len(case.gone)} 张，价税合计 {yuan(case.gone)}：本期开具的 {len(own)} 张"
        said += f"（占本期台账 {share}）、{yuan(own)}，此前月份开具而仍缺失的 {len(early)} 张、{yuan(early)}。"
    else:
        said = f"平台上看不到 {len(case.gone)} 张（{share}），价税合计 {yuan(case.gone)}。"
    assert gone.startswith(said)
    assert f"其中约 {late} 张只是迟到，约 {never} 张（90% 区间 " in gone
    assert gone.endswith("）不会自行出现。")
    assert ("没有入库时间" in gone) == (case.name in UNTIMED)
    by_cause = _by_cause(case, page)
    waiting = by_cause.pop("late", [])
    risky = [invoice for rows in by_cause.values() for invoice in rows]
    assert rest[1] == (
        f"风险金额合计 {yuan(risky)}，其中税额 {len(risky)}.00 元："  # the tax of each is 1.00
        f"平台查无、无法证明、状态或登记不符、平台标记风险的 {len(risky)} 张，价税合计 {yuan(risky)}。红字按绝对值计。"
    )
    beside = [f"未计入风险金额：可能只是迟到 {len(waiting)} 张（{yuan(waiting)}）。"] if waiting else []
    assert rest[2 : 2 + len(beside)] == beside
    largest = re.fullmatch(r"风险金额最大的事项：(.+)；合计占 100.0 %。", rest[2 + len(beside)])
    assert largest
    told: dict[str, tuple[int, Decimal]] = {}
    for name in largest.group(1).split("；"):
        cause, rows, money, tax = re.fullmatch(r"(.+?)(?:（.+）)?：(\d+) 张，(.+) 元，税额 (\d+).00 元", name).groups()  # type: ignore[union-attr]
        assert tax == rows
        number, amount = told.get(cause, (0, Decimal(0)))
        told[cause] = (number + int(rows), amount + Decimal(money.replace(",", "")))
    assert told == {
        page.words.cause(cause): (len(rows), sum(row.gross for row in rows)) for cause, rows in by_cause.items()
    }
    assert rest[3 + len(beside) :] == [
        "未取得上期报告，未作比较。",
        "各文件都没有列示合计，读入是否完整无法由文件本身证明。",
        "未提供：同步日志、账号权限、系统公告、操作日志、备用查询、备份目录。由它们回答的问题一律记为未知，不算通过。",
    ]


NAMES = ["范围", "是否相符", "风险金额", "最大事项", "先做什么"]


@pytest.mark.parametrize("name", [*CASES, "示例"])
def test_the_five_lines_the_table_and_the_workbook_hold_the_same_events(name: str, pages: dict[str, Page]) -> None:
    page = pages[name]
    told = {line["name"]: "".join(line["sentences"]) for line in head_lines.lines(page)}
    assert list(told) == NAMES
    ledger, platform = re.search(r"台账 ([\d,]+) 张，平台 ([\d,]+) 张", told["范围"]).groups()  # type: ignore[union-attr]
    assert told["是否相符"].startswith(f"台账 {ledger} 张、")
    assert f"；平台 {platform} 张、" in told["是否相符"]
    top = page.events.row(0, named=True)
    assert f"{top['findings']} 张，{top['at_risk']:,.2f} 元，税额 {top['tax_at_risk']:,.2f} 元" in told["最大事项"]
    assert f"{page.events['at_risk'].sum():,.2f} 元" in told["风险金额"]
    assert page.words.next_step(top["cause"]) in told["先做什么"]
    assert page.events["findings"].sum() == page.findings.height
    sheet = event_rows.event_sheet(page)
    assert sheet["findings"].to_list() == page.events["findings"].to_list()
    assert sheet["at_risk"].sum() == page.events["at_risk"].sum()
    shown = event_rows.event_table(page).as_raw_html()  # type: ignore[union-attr]
    assert f"{top['at_risk']:,.2f}" in shown
    assert page.words.cause(top["cause"]) in shown
    summed = page.findings.filter(pl.col("cause") == "late")["amount"].abs().sum()
    assert (
        f"可能只是迟到 {page.findings.filter(pl.col('cause') == 'late').height} 张（{summed:,.2f} 元）"
        in told["风险金额"]
    ) == (summed > 0)


def test_the_sample_mends_its_export_first_and_rolls_a_batch_up(pages: dict[str, Page]) -> None:
    page = pages["示例"]
    steps = event_rows.first_steps(page)
    assert [step.partition("（")[0] for step in steps] == ["导出不完整", "整批丢失"]
    assert "先到全国增值税发票查验平台查验" in steps[1]
    batch = page.findings.filter(pl.col("cause") == "batch_lost")
    assert page.events.filter(pl.col("cause") == "batch_lost")["findings"].to_list() == [batch.height]
    assert page.events.height < page.findings.height / 5
    found = {"number_mistyped", "number_damaged"}
    assert page.events.filter(pl.col("cause").is_in(found))["at_risk"].unique().to_list() == [Decimal(0)]


def test_where_all_agree_nothing_is_at_risk(tmp_path: Path) -> None:
    rows = issued(datetime(2025, 5, 1), 20, 5, lambda *_: timedelta(hours=1))
    page = open_page(str(Case("都在", rows, datetime(2025, 5, 30), "2025-05").write(tmp_path / "e")), month="2025-05")
    told = {line["name"]: line["sentences"] for line in head_lines.lines(page)}
    assert told["风险金额"][0] == "没有发现存在风险的金额。"
    assert "最大事项" not in told
    assert page.events.filter(pl.col("stake") != "backup").is_empty()
    assert told["风险金额"][-1].startswith("重要性水平 1,000.00 元：本期台账价税合计 ")  # 100 invoices of about 117


def _by_cause(case: Case, page: Page) -> dict[str, list[Invoice]]:
    """The missing invoices by the cause that the findings name."""
    by_number = {invoice.number: invoice for invoice in case.gone}
    causes: dict[str, list[Invoice]] = {}
    for cause, number in page.analysis.findings["cause", "invoice_key"].iter_rows():
        causes.setdefault(cause, []).append(by_number.pop(number))
    assert not by_number
    return causes


# --- the missing ------------------------------------------------------------------------------------------------------


def test_the_missing_page_says_what_is_missing(case: Case, page: Page) -> None:
    lines = missing_answers.missing(page)
    every, gone = count(len(case.own)), len(case.gone)
    own = sum(not case.listed(invoice) for invoice in case.own)
    share = per_cent(own, len(case.own))
    if gone == own:
        assert lines[0] == f"台账 {every} 张中有 {gone} 张在平台上找不到（{share}），价税合计 {yuan(case.gone)}。"
    else:
        said = f"有 {gone} 张在平台上找不到，价税合计 {yuan(case.gone)}：本期台账 {every} 张中的 {own} 张（{share}），"
        assert lines[0] == f"{said}及此前月份的 {gone - own} 张。"
    causes = _by_cause(case, page)
    definite = sum(len(rows) for cause, rows in causes.items() if cause not in {"late", "lost", "unexplained"})
    known = f"其中 {definite} 张（{per_cent(definite, len(case.gone))}）已查明具体原因。"
    assert lines[2] == (known if definite else "尚无一张查明具体原因。")
    assert sum(int(rows) for rows in re.findall(r" (\d+) 张（", lines[1])) == len(case.gone)
    _, late, never = chances(page)
    (will,) = [line for line in lines if "不会自行出现" in line]
    assert f"预计 {never} 张（90% 区间 " in will
    assert f"；约 {late} 张只是迟到。" in will
    late_ones = len(causes.get("late", []))
    assert (f"的 {late_ones} 张归为“可能只是迟到”" if late_ones else "没有一张归为“可能只是迟到”") in will
    assert not [line for line in lines if "真正丢失" in line]
    assert (
        lines[-1]
        == "未提供：同步日志、账号权限、系统公告、操作日志、备用查询。由它们回答的问题一律记为未知，不算通过。"
    )


def test_the_worst_day_is_the_calendars(case: Case, page: Page) -> None:
    days: dict[str, list[bool]] = {}
    for invoice in case.reported:
        if f"{invoice.issued:%Y-%m}" == case.month:
            days.setdefault(f"{invoice.issued:%Y-%m-%d}", []).append(not case.listed(invoice))
    most = max(sum(gone) for gone in days.values())
    worst = [day for day, gone in days.items() if sum(gone) == most]
    said = [line for line in missing_answers.missing(page) if "缺失张数最多" in line]
    if most < 2:
        assert not said
    elif len(worst) == 1:
        gone = days[worst[0]]
        assert said == [
            f"缺失张数最多的一天是 {worst[0]}：当日开具 {len(gone)} 张，缺 {most} 张（{per_cent(most, len(gone))}）。"
        ]
    drawn = missing_charts.cells(page.analysis, start=page.start, end=page.end)
    by_day = drawn.group_by(pl.col("day").cast(pl.String)).agg(pl.col("issued", "missing").sum())
    assert {day: (all_, gone) for day, all_, gone in by_day.iter_rows()} == {
        day: (len(gone), sum(gone)) for day, gone in days.items()
    }


# --- delays -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", UNTIMED)
def test_without_times_of_arrival_one_sentence_says_why_and_nothing_is_judged(
    name: str, pages: dict[str, Page]
) -> None:
    page = pages[name]
    lines = sync_answers.delays(page)
    with_chance, late, never = chances(page)
    assert lines[0].startswith("没有入库时间")
    assert all(wanted in lines[0] for wanted in ("入库时间", "同步日志", "两次导出"))
    assert lines[1].startswith(f"尚缺 {with_chance} 张，预计其中 {late} 张只是迟到，{never} 张不会自行出现（90% 区间 ")
    assert lines[2].startswith("以上概率仅据")
    assert lines[-1].startswith("未提供：同步日志、系统公告。")
    assert len(lines) == 4
    assert not [line for line in lines if OF_SPEED.search(line)]
    assert sync_charts.curve_steps(page.whole).is_empty()
    assert sync_tables.service_level(page.whole).is_empty()
    assert sync_tables.budget(page.whole, start=page.start, end=page.end).is_empty()
    hours = sync_charts.hours(page.whole, start=page.start, end=page.end)
    assert hours.is_empty()
    for shown in (
        sync_tables.service_table(sync_tables.service_level(page.whole)),
        late_charts.budget_bars(sync_tables.budget(page.whole)),
        sync_charts.slow_hours(hours, sync_tables.stops(page)),
        sync_tables.tomorrow(page),
    ):
        assert shown.data == ""
    bars = late_charts.late_bars(late_charts.late_bins(page.analysis), presence=sentences.untimed(page.whole)).to_dict()
    assert "没有入库时间" in str(bars["title"])


def test_the_service_level_is_counted_on_the_invoices(pages: dict[str, Page]) -> None:
    case, page = CASES["有入库时间"], pages["有入库时间"]
    lines = sync_answers.delays(page)
    (old, missed), (old_before, missed_before) = case.judged("2025-05"), case.judged("2025-04")
    share, before = 100 - 100 * missed / old, 100 - 100 * missed_before / old_before
    (level,) = [line for line in lines if line.startswith("2025 年 5 月")]
    assert level.startswith(f"2025 年 5 月开具且已满 24 小时的 {old} 张中，24 小时内可见的占 {share:.2f}%（95% 区间 ")
    assert level.endswith(f"目标 99.00%：未达标；允许超时 {old // 100} 张，实际超时 {missed} 张。")
    (trend,) = [line for line in lines if line.startswith("与 2025 年 4 月")]
    change = round(share, 2) - round(before, 2)
    way = f"相比{'上升' if change > 0 else '下降'} {abs(change):.2f} 个百分点。" if round(abs(change), 2) else "持平。"
    assert f"{before:.2f}%" in trend
    assert trend.endswith(way)
    slow = [
        i
        for i in case.invoices
        if i.channel == "4" and f"{i.issued:%Y-%m}" == "2025-05" and i.issued + TARGET <= case.taken_at
    ]
    late = sum(i.arrived is None or i.arrived - i.issued > TARGET for i in slow)
    assert (
        f"24 小时内可见比例最低的渠道是“开票渠道码 4”（{per_cent(len(slow) - late, len(slow))}，"
        f"全部渠道 {share:.2f}%）。" in lines
    )
    assert not [line for line in lines if "没有入库时间" in line]


def test_a_tie_names_no_channel_by_its_name(tmp_path: Path) -> None:
    rows = issued(datetime(2025, 5, 1), 20, 10, lambda _place, _channel: timedelta(hours=3))
    case = Case("并列", rows, datetime(2025, 5, 30), "2025-05", arrival=True)
    lines = sync_answers.delays(open_page(str(case.write(tmp_path / "tie")), month="2025-05"))
    assert not [line for line in lines if "最低的渠道" in line]
    assert "没有缺失的发票。" in lines
    assert [line for line in lines if "24 小时内可见的占 100.00%" in line]


def test_between_two_exports_the_level_is_a_range(pages: dict[str, Page]) -> None:
    case, page = CASES["两次导出"], pages["两次导出"]
    (level,) = [line for line in sync_answers.delays(page) if line.startswith("2025 年 5 月")]
    row = sync_tables.service_level(page.whole).filter(pl.col("channel") == "全部").row(0, named=True)
    old = [i for i in case.invoices if i.issued + TARGET <= case.taken_at]
    assert row["issued"] == len(old)
    assert row["share"] is None
    assert f"{len(old)} 张中，超时 {row['used']:.0f} 张，另有 {row['open']:.0f} 张" in level
    assert row["used"] >= sum(i.arrived is None for i in old)
    assert not [line for line in sync_answers.delays(page) if "停机 " in line or "没有公告的停机" in line]
    truly = sum(i.arrived is not None for i in old) / len(old)
    assert row["lower"] <= truly <= row["upper"]


# --- one figure, one place --------------------------------------------------------------------------------------------


@pytest.fixture(params=[*CASES, "示例"])
def any_page(request: pytest.FixtureRequest, pages: dict[str, Page]) -> Page:
    return pages[request.param]


def test_a_figure_of_the_delays_is_the_same_in_sentence_table_chart_and_tooltip(any_page: Page) -> None:
    page = any_page
    said = "\n".join(sync_answers.delays(page))
    level = sync_tables.service_level(page.whole).filter(pl.col("month") == page.month)
    budget = sync_tables.budget(page.whole, start=page.start, end=page.end)
    hours = sync_charts.hours(page.whole, start=page.start, end=page.end)
    if level.is_empty():
        assert budget.is_empty()
        assert hours.is_empty()
        return
    everything = level.filter(pl.col("channel") == "全部").row(0, named=True)
    channels = level.filter(pl.col("channel") != "全部")
    for total, parts in ((everything["issued"], channels["issued"]), (everything["used"], channels["used"])):
        assert parts.sum() == pytest.approx(total)
    assert hours["issued"].sum() == pytest.approx(everything["issued"])
    assert hours["late"].sum() == pytest.approx(everything["used"])
    assert budget["misses"].sum() == pytest.approx(everything["used"])
    assert f"{everything['issued']:,.0f} 张中" in said
    assert f"超时 {everything['used']:,.0f} 张" in said
    table = sync_tables.service_table(level).as_raw_html()
    for wanted in (f"{everything['issued']:,.0f}", f"{everything['used']:,.0f}"):
        assert f">{wanted}</td>" in table
    slow = sync_charts.slow_hours(hours, sync_tables.stops(page)).to_dict()
    drawn = next(rows for rows in slow["datasets"].values() if rows and "late" in rows[0])
    assert sum(row["late"] for row in drawn) == pytest.approx(everything["used"])
    if budget.height:
        bars = late_charts.budget_bars(budget).to_dict()
        top = max(next(iter(bars["datasets"].values())), key=lambda row: row["misses"])
        assert f"{top['misses']:,.0f} 张（{100 * top['share']:.2f}%）" in said
        assert top["incident"] in said


def test_what_is_late_is_late_everywhere(any_page: Page) -> None:
    page = any_page
    with_chance, late, never = chances(page)
    for lines in (overview_answers.overview(page), sync_answers.delays(page), missing_answers.missing(page)):
        (line,) = [line for line in lines if "不会自行出现" in line]
        assert re.search(rf"\b{late} 张只是迟到", line)
        assert re.search(rf"\b{never} 张", line)
    ahead = sync_tables.ahead(page)
    if ahead.height:
        assert ahead["waiting"].sum() == with_chance
        assert ahead.select(pl.col("arriving", "still_late").sum()).sum_horizontal()[0] == pytest.approx(late, abs=0.51)
        assert ahead["lost"].sum() == pytest.approx(never, abs=0.51)
    assert late_charts.late_bins(page.analysis)["rows"].sum() == with_chance


def test_the_tie_of_the_overview_is_the_charts(any_page: Page) -> None:
    page = any_page
    totals = overview_charts.outcome_totals(page.analysis, start=page.start, end=page.end)
    early, _ = overview_charts.before_totals(page.analysis, start=page.start)["missing"]
    tie, *_ = overview_answers.overview(page)
    for side in ("ledger", "platform"):
        rows = totals.filter(pl.col("side") == side)
        assert f"{rows['rows'].sum():,} 张、{rows['yuan'].sum():,.2f} 元" in tie
    drawn = next(iter(overview_charts.outcome_bar(totals).to_dict()["datasets"].values()))
    assert sum(row["rows"] for row in drawn) == totals["rows"].sum()
    missing = totals.filter((pl.col("outcome") == "missing") & (pl.col("side") == "ledger"))
    assert f"有 {missing['rows'].sum() + early:,} 张在平台上找不到" in missing_answers.missing(page)[0]
