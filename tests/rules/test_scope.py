"""How the platform was asked, and who asked: exports cut off, lists and filters, limits that bite, accounts."""

from __future__ import annotations

from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import numpy as np
import polars as pl
import pytest

from audit_kit.core import schema
from audit_kit.core.cause_records import refused
from audit_kit.core.policy import Export, Policy
from audit_kit.rules.causes import permission, scope
from audit_kit.rules.causes.diagnosis import Evidence, diagnose
from audit_kit.rules.causes.evidence import ROW, Case
from audit_kit.rules.matching.reconcile import reconcile
from audit_kit.rules.sync import observations as delays

OURS, BRANCH, SISTER, FORMER = "91110108MA01ABCD1X", "91110105MA02WXYZ3K", "911101057693723456", "91110108MA01ABCD00"
MAY, JUNE = datetime(2025, 5, 1), datetime(2025, 6, 1)
TAKEN = datetime(2025, 6, 3, 9)
STATED = Export(period_start=MAY, period_end=JUNE)
UNSTATED = Export(start_stated=False, period_stated=False)
TABLES = ("accounts", "notices", "operations", "sync_log", "confirmations", "substitute")
CHANNELS = {"网页": 2, "乐企": 7, "税控": 4, "移动端": 3}
KINDS = ("数电发票（普通发票）", "数电发票（增值税专用发票）", "机动车销售统一发票")


def company(rows: int, seed: int, *, channels: int = 3, start: datetime = MAY, days: int = 31) -> pl.DataFrame:
    """A month's ledger: times in office hours at random, channels and kinds mixed, in order of issue."""
    draw = np.random.default_rng(seed)
    minutes = draw.integers(0, days, rows) * 1440 + draw.integers(8 * 60, 20 * 60, rows)
    names = list(CHANNELS)[:channels]
    channel = draw.choice(names, rows, p=draw.dirichlet([8.0] * channels))
    issued = sorted(start + timedelta(minutes=int(one), seconds=int(draw.integers(60))) for one in minutes)
    frame = pl.DataFrame({"issued_at": issued, "channel": channel}).with_columns(
        digital_number=pl.Series(
            [f"25{11}{CHANNELS[name]}{seed % 100:02d}{place:013d}" for place, name in enumerate(channel)]
        ),
        gross=pl.Series([Decimal(int(cents)) / 100 for cents in draw.integers(1_000, 1_000_000, rows)]),
        kind=pl.Series(draw.choice(KINDS[:2], rows)),
        seller_tax_id=pl.lit(OURS),
        buyer_tax_id=pl.lit(SISTER),
        status=pl.lit("normal"),
        origin=pl.lit("电子发票服务平台"),
        account=pl.Series(draw.choice(["kpy01", "kpy02"], rows)),
    )
    return canonical("ledger", frame, "book.csv")


def canonical(table: str, frame: pl.DataFrame, file: str) -> pl.DataFrame:
    types = schema.dtypes(table)
    frame = frame.with_columns(source_file=pl.lit(file), source_row=pl.int_range(2, pl.len() + 2))
    return frame.select((pl.col(name) if name in frame.columns else pl.lit(None).alias(name)).cast(kind)
                        for name, kind in types.items())  # fmt: skip


def export_of(ledger: pl.DataFrame, listed: pl.Series | np.ndarray[Any, Any]) -> pl.DataFrame:
    """The platform's rows of what is listed, newest first."""
    return canonical("platform", ledger.filter(pl.Series(listed)).reverse(), "export.xlsx")


def usual(ledger: pl.DataFrame, seed: int, *, lost: float = 0.01) -> np.ndarray[Any, Any]:
    """Which rows are listed where nothing but a few are lost; those of the last hours are late."""
    draw = np.random.default_rng(seed + 1000)
    age = ((pl.Series([TAKEN] * ledger.height) - ledger["issued_at"]).dt.total_minutes() / 60).to_numpy()
    return (draw.random(ledger.height) > lost) & (age > draw.exponential(4.0, ledger.height))


def table(name: str, rows: list[dict[str, Any]]) -> pl.DataFrame:
    types = schema.dtypes(name)
    return pl.DataFrame([{column: row.get(column) for column in types} for row in rows], schema=types)


def evidence(ledger: pl.DataFrame, platform: pl.DataFrame, **other: Any) -> Evidence:
    rows = {name: other.pop(name, schema.empty(name)) for name in TABLES}
    rows = {name: table(name, part) if isinstance(part, list) else part for name, part in rows.items()}
    matches = reconcile(ledger, platform)
    log, notices = rows["sync_log"], rows["notices"]
    taken_at = other.pop("taken_at", TAKEN)
    seen = delays.observations(ledger, platform, matches, sync_log=log, taken_at=taken_at, notices=notices)
    nothing = {"source_file": pl.String, "column": pl.String, "stated": pl.Decimal(18, 2),
               "computed": pl.Decimal(18, 2), "agrees": pl.Boolean}  # fmt: skip
    keys = {"invoice_key": pl.String, "repo_id": pl.String, "backup_id": pl.String}
    terms: dict[str, Any] = {
        "control": pl.DataFrame(schema=nothing), "backup_keys": pl.DataFrame(schema=keys), "export": STATED,
        "policy": Policy(), "taxpayer_ids": (OURS,), "direction": "issued",
    }  # fmt: skip
    return Evidence(ledger=ledger, platform=platform, matches=matches, observations=seen,
                    stops=delays.stops(seen, notices, taken_at=taken_at), taken_at=taken_at,
                    **rows, **(terms | other))  # fmt: skip


def causes(ledger: pl.DataFrame, platform: pl.DataFrame, **other: Any) -> pl.DataFrame:
    """Findings by the row of the ledger."""
    return diagnose(evidence(ledger, platform, **other)).sort("ledger_row")


def asked(ledger: pl.DataFrame, platform: pl.DataFrame, **other: Any) -> pl.DataFrame:
    """What the way of asking alone explains: `ledger_row`, `cause`, `state`, `subject`; without the costly rest."""
    case = Case.of(evidence(ledger, platform, **other))
    for cause in (*scope.CAUSES, *permission.CAUSES):
        case.claim(cause.__name__, cause(case))
    rows = case.claimed().join(case.rows.select(ROW, "ledger_row"), on=ROW)
    return rows.select("ledger_row", "cause", "state", "subject").sort("ledger_row")


def logged(ledger: pl.DataFrame, rows: np.ndarray[Any, Any], event: str = "visible") -> list[dict[str, Any]]:
    """Upload events of every invoice, and `event` of these rows."""
    of = ledger.select("digital_number", "issued_at", "channel").rows()
    events = [(number, "uploaded", at + timedelta(minutes=5), channel) for number, at, channel in of]
    events += [(number, event, at + timedelta(minutes=50), channel)
               for (number, at, channel), hit in zip(of, rows, strict=True) if hit]  # fmt: skip
    return [{"invoice_number": number, "event": word, "at": at, "channel": channel, "source_file": "log.csv",
             "source_row": place + 2} for place, (number, word, at, channel) in enumerate(events)]  # fmt: skip


def cut(findings: pl.DataFrame, beyond: np.ndarray[Any, Any]) -> pl.DataFrame:
    """Check that of the rows beyond a cut 98 in 100 are called so, and return those that are."""
    rows = findings.filter(pl.col("ledger_row").is_in(np.flatnonzero(beyond).tolist()))
    found = rows.filter(pl.col("cause") == "export_truncated")
    assert found.height >= 0.98 * beyond.sum()
    assert found["subject"].n_unique() == 1
    assert not set(rows["cause"]) & {"outage", "batch_lost", "channel_excess", "account_excess", "kind_excess"}
    return found


SIZES = [(seed, (200, 700, 1514)[seed % 3], 1 + seed % 4) for seed in range(9)]


@pytest.mark.parametrize(("seed", "size", "channels"), SIZES)
def test_the_oldest_rows_cut_off(seed: int, size: int, channels: int) -> None:
    ledger = company(size, seed, channels=channels)
    listed = usual(ledger, seed)
    beyond = np.arange(size) < size - (137, 500, 1000)[seed % 3]
    platform = export_of(ledger, listed & ~beyond)
    stated = cut((causes if seed < 5 else asked)(ledger, platform), beyond)
    assert set(stated["state"]) == {"fails"}
    if seed < 5:
        assert f"{stated.height} 张" in stated["evidence"][0]
        assert f"{stated['amount'].sum()} 元" in stated["evidence"][0]
    unstated = cut(asked(ledger, platform, export=UNSTATED), beyond)
    assert set(unstated["state"]) == {"unknown"}
    assert "export_truncated" not in set(asked(ledger, export_of(ledger, listed))["cause"])


@pytest.mark.parametrize(("seed", "size", "channels"), SIZES[1:])
def test_the_newest_rows_cut_off(seed: int, size: int, channels: int) -> None:
    ledger = company(size, seed, channels=channels)
    listed = usual(ledger, seed)
    beyond = np.arange(size) >= (137, 500, 1000)[seed % 3]
    platform = export_of(ledger, listed & ~beyond)
    log = logged(ledger, listed)
    found = cut((causes if seed < 4 else asked)(ledger, platform, sync_log=log), beyond)
    assert set(found["state"]) == {"fails"}
    if seed < 4:
        assert "同步日志" in found["evidence"][0]
    # The same list while the log has nothing more become visible: the platform stands still.
    stopped = asked(ledger, platform, sync_log=logged(ledger, listed & ~beyond))
    assert "export_truncated" not in set(stopped["cause"])


@pytest.mark.parametrize("seed", range(6))
def test_what_is_merely_late_at_the_newest_end_is_no_cut(seed: int) -> None:
    ledger = company(1500, seed, days=33)
    listed = usual(ledger, seed) & (ledger["issued_at"] < TAKEN - timedelta(hours=30)).to_numpy()
    for export in (UNSTATED, Export(period_start=MAY, period_end=datetime(2025, 6, 4))):
        assert "export_truncated" not in set(asked(ledger, export_of(ledger, listed), export=export)["cause"])


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("daily", ["ledger", "platform", "both"])
def test_a_cut_where_only_days_are_known(seed: int, daily: str) -> None:
    ledger = company(600, seed)
    listed = usual(ledger, seed)
    beyond = np.arange(600) < 300 + seed
    platform = export_of(ledger, listed & ~beyond)
    day = pl.col("issued_at").dt.truncate("1d")
    book = ledger.with_columns(day) if daily != "platform" else ledger
    platform = platform.with_columns(day) if daily != "ledger" else platform
    found = cut((causes if seed == 0 else asked)(book, platform), beyond)
    day_of_cut = ledger["issued_at"].dt.date().gather(found["ledger_row"]) == ledger["issued_at"][300 + seed].date()
    assert set(found.filter(day_of_cut)["state"]) == {"unknown"}
    assert set(found.filter(~day_of_cut)["state"]) == {"fails"}
    if seed == 0:
        assert found.filter(day_of_cut)["evidence"].str.contains("只有日期").all()
    assert "export_truncated" not in set(asked(book, export_of(book, listed))["cause"])


@pytest.mark.parametrize("seed", range(4))
def test_a_cut_by_a_span_of_days(seed: int) -> None:
    ledger = company(2400, seed, start=datetime(2025, 1, 1), days=151)
    listed = usual(ledger, seed)
    beyond = (ledger["issued_at"] < datetime(2025, 3, 5)).to_numpy()  # the last 90 days
    platform = export_of(ledger, listed & ~beyond)
    year = Export(period_start=datetime(2025, 1, 1), period_end=JUNE)
    assert set(cut(asked(ledger, platform, export=year), beyond)["state"]) == {"fails"}
    assert set(cut(asked(ledger, platform, export=UNSTATED), beyond)["state"]) == {"unknown"}


@pytest.mark.parametrize("seed", range(4))
def test_an_export_that_begins_with_a_month_was_asked_for_so(seed: int) -> None:
    ledger = company(1500, seed, start=datetime(2025, 4, 1), days=61)
    listed = usual(ledger, seed)
    april = (ledger["issued_at"] < MAY).to_numpy()
    platform = export_of(ledger, listed & ~april)
    for export, state in ((UNSTATED, "unknown"), (STATED, "fails")):
        found = asked(ledger, platform, export=export)
        before = found.filter(pl.col("ledger_row") < april.sum())
        assert before["cause"].to_list() == ["outside_export"] * int(april.sum())
        assert set(before["state"]) == {state}
        assert "export_truncated" not in set(found["cause"])


def test_an_export_that_begins_with_a_day_was_perhaps_asked_for_so() -> None:
    ledger = company(1500, 5)
    before = (ledger["issued_at"] < datetime(2025, 5, 14)).to_numpy()
    found = causes(ledger, export_of(ledger, usual(ledger, 5) & ~before), export=UNSTATED)
    found = found.filter(pl.col("ledger_row") < before.sum())
    assert set(found.select("cause", "state").rows()) == {("outside_export", "unknown")}
    assert "可能并未要求" in found["evidence"][0]
    assert "未说明" in found["evidence"][0]


def test_a_company_that_began_to_issue_that_day() -> None:
    ledger = company(900, 3, start=datetime(2025, 5, 13, 0), days=19)
    found = asked(ledger, export_of(ledger, usual(ledger, 3)), export=Export(period_start=MAY, period_end=JUNE))
    assert not set(found["cause"]) & {"export_truncated", "outside_export"}


@pytest.mark.parametrize("seed", range(2))
def test_a_cut_hides_no_other_fault_and_bends_no_curve(seed: int) -> None:
    ledger = company(2800, seed)
    listed = usual(ledger, seed)
    beyond = np.arange(2800) < 800
    at, channel = ledger["issued_at"], ledger["channel"]
    stop = ((at >= datetime(2025, 5, 20, 9)) & (at < datetime(2025, 5, 20, 18))).to_numpy()
    web = np.flatnonzero((channel == "网页").to_numpy() & (at > datetime(2025, 5, 25)).to_numpy())[:12]
    run = np.isin(np.arange(2800), web)
    left = listed & ~stop & ~run
    found = causes(ledger, export_of(ledger, left & ~beyond))
    cut(found, beyond)
    assert set(found.filter(pl.col("ledger_row").is_in(web.tolist()))["cause"]) == {"batch_lost"}
    rest = causes(ledger.slice(800), export_of(ledger.slice(800), (left & ~beyond)[800:]))
    both = found.filter(pl.col("ledger_row") >= 800).join(rest, on="invoice_key")
    assert both.height == rest.height
    assert both["cause"].to_list() == both["cause_right"].to_list()
    assert ((both["probability_late"] - both["probability_late_right"]).abs() < 0.02).all()


@pytest.mark.parametrize("side", ["first", "last"])
def test_a_stop_of_one_channel_at_an_end_stays_a_stop(side: str) -> None:
    for seed in range(2):
        ledger = company(900, seed, channels=3)
        at, listed = ledger["issued_at"], usual(ledger, seed)
        within = at < datetime(2025, 5, 4) if side == "first" else at > datetime(2025, 5, 29)
        stopped = within.to_numpy() & (ledger["channel"] == "乐企").to_numpy()
        found = causes(ledger, export_of(ledger, listed & ~stopped))
        assert not set(found["cause"]) & {"export_truncated", "outside_export"}


def test_a_notice_of_a_stop_at_the_beginning_is_no_cut() -> None:
    ledger = company(900, 2)
    stopped = (ledger["issued_at"] < datetime(2025, 5, 4, 12)).to_numpy()
    notice = {"starts_at": MAY, "ends_at": datetime(2025, 5, 4, 12), "kind": "outage", "scope": "全部", "title": "故障"}
    found = causes(ledger, export_of(ledger, usual(ledger, 2) & ~stopped), notices=[notice])
    assert "export_truncated" not in set(found["cause"])
    assert "outage" in set(found["cause"])


@pytest.mark.parametrize("seed", range(4))
def test_one_of_several_files_cut_off_at_a_row_limit(seed: int) -> None:
    ledger = company(1500, seed, start=datetime(2025, 4, 1), days=61)
    listed = usual(ledger, seed)
    may = (ledger["issued_at"] >= MAY).to_numpy()
    kept = np.flatnonzero(listed & may)[-500:]
    beyond = may & (np.arange(1500) < kept[0])
    april, rest = export_of(ledger, listed & ~may), export_of(ledger, listed & may & ~beyond)
    both = pl.concat([april, rest.with_columns(source_file=pl.lit("may.xlsx"))])
    export = Export(period_start=datetime(2025, 4, 1), period_end=JUNE)
    found = cut((causes if seed == 0 else asked)(ledger, both, export=export), beyond)
    assert set(found["state"]) == {"fails"}
    assert found["subject"][0].startswith("may.xlsx – 2025-05-")
    if seed == 0:
        assert "may.xlsx 最早一张" in found["evidence"][0]
    # The twin: the same rows missing, but its rows are no round number.
    odd = pl.concat([april, rest[:-1].with_columns(source_file=pl.lit("may.xlsx"))])
    assert "export_truncated" not in set(asked(ledger, odd, export=export)["cause"])


def test_nobody_says_when_the_export_was_taken() -> None:
    ledger = company(700, 9)
    beyond = np.arange(700) >= 450
    platform = export_of(ledger, usual(ledger, 9) & ~beyond)
    assumed = platform["issued_at"].max().replace(hour=0, minute=0, second=0) + timedelta(days=1)  # type: ignore[union-attr]
    known = {"taken_at": assumed, "taken_stated": False, "export": UNSTATED}
    found = cut(asked(ledger, platform, **known), beyond)
    assert set(found["state"]) == {"unknown"}
    # A few days more than the list has are neither cut nor surely outside.
    few = (ledger["issued_at"] >= datetime(2025, 5, 31)).to_numpy()
    found = asked(ledger, export_of(ledger, usual(ledger, 9) & ~few), **known | {"taken_at": datetime(2025, 5, 31)})
    assert set(of(found, few)["state"]) == {"unknown"}
    assert set(of(found, few)["cause"]) == {"outside_export"}


@pytest.mark.parametrize("size", [40, 700])
def test_an_export_with_a_header_only(size: int) -> None:
    ledger = company(size, size)
    nothing = schema.empty("platform")
    for export, state in ((STATED, "fails"), (UNSTATED, "unknown")):
        found = causes(ledger, nothing, export=export)
        assert set(found.select("cause", "state", "subject").rows()) == {("export_truncated", state, None)}
        assert f"{size} 张、价税合计 {ledger['gross'].sum()} 元" in found["evidence"][0]
        assert found.height == size
    # Without any export nothing can be said of one.
    assert "export_truncated" not in set(asked(ledger, nothing, exported=False)["cause"])


def some(ledger: pl.DataFrame, seed: int, count: int) -> np.ndarray[Any, Any]:
    """So many rows of a ledger, anywhere in it."""
    hit = np.zeros(ledger.height, dtype=bool)
    hit[np.random.default_rng(seed + 7).choice(ledger.height - 30, count, replace=False)] = True
    return hit


def where(ledger: pl.DataFrame, rows: np.ndarray[Any, Any], **values: str) -> pl.DataFrame:
    """The ledger with other values in these rows."""
    hit = pl.Series(rows)
    return ledger.with_columns(pl.when(hit).then(pl.lit(value)).otherwise(name).alias(name)
                               for name, value in values.items())  # fmt: skip


def of(findings: pl.DataFrame, rows: np.ndarray[Any, Any]) -> pl.DataFrame:
    return findings.filter(pl.col("ledger_row").is_in(np.flatnonzero(rows).tolist()))


@pytest.mark.parametrize("seed", range(20))
def test_an_export_filtered_by_kind_or_origin(seed: int) -> None:
    ledger = company((300, 900)[seed % 2], seed, channels=1 + seed % 3)
    special = some(ledger, seed, (5, 12, 150)[seed % 3])
    column, value = (("kind", KINDS[2]), ("origin", "增值税发票管理系统"))[seed // 2 % 2]
    ledger = where(ledger, special, **{column: value})
    listed = usual(ledger, seed)
    found = (causes if seed < 4 else asked)(
        ledger, export_of(ledger, listed & ~special), export=(STATED, UNSTATED)[seed % 2]
    )
    mine = of(found, special)
    assert mine.height == special.sum()
    assert set(mine.select("cause", "state", "subject").rows()) == {("outside_export", "unknown", value)}
    if seed < 4:
        assert f"“{value}”在台账有 {mine.height} 张" in mine["evidence"][0]
    rest = found.filter(~pl.col("ledger_row").is_in(mine["ledger_row"].implode()))
    assert not set(rest["cause"]) & {"outside_export", "kind_excess", "channel_excess", "export_truncated"}
    # The twin: all are listed but for the usual few; and one of which a single one is listed was not left out.
    one = np.flatnonzero(special)[2]
    but_one = listed & ~special
    but_one[one] = True
    for twin in (listed, but_one)[: 2 if seed < 6 else 1]:
        assert "outside_export" not in set(asked(ledger, export_of(ledger, twin))["cause"])
    if seed > 5:
        return
    # A list that does not say so proves nothing.
    blank = export_of(ledger, listed & ~special).with_columns(pl.lit(None, pl.String).alias(column))
    assert "outside_export" not in set(asked(ledger, blank)["cause"])


@pytest.mark.parametrize("seed", range(6))
def test_a_list_of_deductible_invoices(seed: int) -> None:
    ledger = company(900, seed)
    ordinary = (ledger["kind"] == KINDS[0]).to_numpy()
    toll = some(ledger, seed, 3)
    ledger = where(ledger, toll, kind="道路通行费电子普通发票")
    listed = usual(ledger, seed)
    platform = export_of(ledger, listed & (~ordinary | toll))
    platform = platform.with_columns(pl.lit("否").alias("是否勾选*"), pl.lit("6").alias("有效抵扣税额*"))
    found = (causes if seed < 2 else asked)(ledger, platform)
    mine = of(found, ordinary & ~toll)
    assert set(mine.select("cause", "state", "subject").rows()) == {("outside_export", "unknown", KINDS[0])}
    if seed < 2:
        assert "抵扣勾选" in mine["evidence"][0]
    assert "kind_excess" not in set(found["cause"])
    assert not of(found, toll)["cause"].is_in(["outside_export"]).any()
    whole = export_of(ledger, listed).with_columns(pl.lit("否").alias("是否勾选*"), pl.lit("6").alias("有效抵扣税额*"))
    assert "outside_export" not in set(asked(ledger, whole)["cause"])


@pytest.mark.parametrize("seed", range(4))
def test_a_kind_lost_in_one_stretch_was_not_left_out(seed: int) -> None:
    ledger = company(1500, seed, channels=2)
    web = np.flatnonzero((ledger["channel"] == "网页").to_numpy())[200:215]
    run = np.isin(np.arange(1500), web)
    ledger = where(ledger, run, kind=KINDS[2])
    found = of(asked(ledger, export_of(ledger, usual(ledger, seed) & ~run)), run)
    assert "outside_export" not in set(found["cause"])


def test_a_kind_written_otherwise_is_the_same_kind() -> None:
    ledger = company(600, 4)
    few = some(ledger, 4, 8)
    listed = usual(ledger, 4)
    platform = export_of(ledger, listed & ~few)
    assert "outside_export" not in set(asked(where(ledger, few, kind="数电专票"), platform)["cause"])


GROUP = (OURS, BRANCH, SISTER, FORMER)


@pytest.mark.parametrize("seed", range(20))
def test_a_limit_that_the_export_goes_beyond_explains_nothing(seed: int) -> None:
    ledger = company(600, seed)
    ids = pl.Series(np.random.default_rng(seed).choice(GROUP, 600))
    ledger = ledger.with_columns(seller_tax_id=ids)
    listed = usual(ledger, seed, lost=0.03)
    case = evidence(ledger, export_of(ledger, listed))
    found = asked(ledger, export_of(ledger, listed))
    assert not set(found["cause"]) & {"outside_export", "no_permission"}
    assert set(scope.unstated_ids(ledger, case.platform, own=(OURS,), direction="issued")) == set(GROUP[1:])
    # The twin: one of them is not listed at all, and only that one lies outside.
    sister = (ids == SISTER).to_numpy()
    found = asked(ledger, export_of(ledger, listed & ~sister))
    assert set(of(found, sister)["cause"]) == {"outside_export"}
    assert set(found.filter(pl.col("cause") == "outside_export")["ledger_row"]) == set(np.flatnonzero(sister).tolist())
    if seed > 5:
        return
    # Stated as the company's own, it lies outside no more.
    found = asked(ledger, export_of(ledger, listed & ~sister), taxpayer_ids=(OURS, SISTER))
    assert "outside_export" not in set(of(found, sister)["cause"])


@pytest.mark.parametrize("seed", range(6))
def test_a_period_or_status_that_the_export_goes_beyond_explains_nothing(seed: int) -> None:
    ledger = company(600, seed)
    listed = usual(ledger, seed, lost=0.03)
    narrow = Export(period_start=datetime(2025, 5, 8), period_end=datetime(2025, 5, 24), status_filter=("已作废",))
    assert "outside_export" not in set(asked(ledger, export_of(ledger, listed), export=narrow)["cause"])
    inside = ledger["issued_at"].is_between(datetime(2025, 5, 8), datetime(2025, 5, 24), closed="left").to_numpy()
    found = asked(ledger, export_of(ledger, listed & inside), export=narrow)
    assert set(found.filter(pl.col("cause") == "outside_export")["ledger_row"]) == set(np.flatnonzero(~inside).tolist())


def permit(**other: Any) -> dict[str, Any]:
    return {"account": "li", "tax_id": OURS, "role": "办税员", "grants": "发票业务", "status": "active"} | other


@pytest.mark.parametrize("seed", range(20))
def test_every_row_of_an_account_counts_for_its_taxpayer(seed: int) -> None:
    ledger = company(900, seed)
    ids = pl.Series(np.random.default_rng(seed).choice(GROUP[:3], 900))
    ledger = ledger.with_columns(seller_tax_id=ids)
    sister, listed = (ids == SISTER).to_numpy(), usual(ledger, seed, lost=0.03)
    fault = ({"status": "locked"}, {"status": "frozen"}, {"grants": "代开"}, {"valid_to": datetime(2025, 1, 1)})[
        seed % 4
    ]
    rows = [permit(tax_id=SISTER) | fault, permit(), permit(tax_id=BRANCH)]
    rows = rows[seed % 3 :] + rows[: seed % 3]
    known = {"export": Export(account="li", period_start=MAY, period_end=JUNE), "taxpayer_ids": GROUP[:3]}
    found = (causes if seed < 2 else asked)(ledger, export_of(ledger, listed & ~sister), accounts=rows, **known)
    denied = found.filter(pl.col("cause") == "no_permission")
    assert set(denied["ledger_row"]) == set(np.flatnonzero(sister).tolist())
    if seed < 2:
        assert "账号 li" in denied["evidence"][0]
    # Twins: its list shows it; another row of the same account allows it.
    assert "no_permission" not in set(asked(ledger, export_of(ledger, listed), accounts=rows, **known)["cause"])
    if seed > 5:
        return
    again = [*rows, permit(tax_id=SISTER)]
    found = asked(ledger, export_of(ledger, listed & ~sister), accounts=again, **known)
    assert "no_permission" not in set(found["cause"])


@pytest.mark.parametrize("seed", range(4))
def test_an_issuing_account_locked_for_one_taxpayer(seed: int) -> None:
    ledger = company(900, seed)
    ids = pl.Series(np.random.default_rng(seed).choice([OURS, SISTER], 900))
    ledger = ledger.with_columns(seller_tax_id=ids)
    hit = (ids == SISTER).to_numpy() & (ledger["account"] == "kpy02").to_numpy()
    hit &= np.random.default_rng(seed).random(900) < 0.5
    rows = [permit(account=name, tax_id=one) for name in ("kpy01", "kpy02") for one in (OURS, SISTER)]
    rows[3]["status"] = "locked"
    found = asked(ledger, export_of(ledger, usual(ledger, seed) & ~hit), accounts=rows, taxpayer_ids=(OURS, SISTER))
    mine = found.filter(pl.col("cause") == "no_permission")
    assert set(np.flatnonzero(hit)) <= set(mine["ledger_row"])
    other = set(ledger["seller_tax_id"].gather(mine["ledger_row"]))
    assert other == {SISTER}


WORDS = ("失败", "拒绝", "导出失败：无权限", "denied", "权限不足", "已驳回")


def test_words_of_a_refusal() -> None:
    said = pl.DataFrame({"result": [*WORDS, "成功", "", None, "成功 800 条，失败 0 条", "完成"]})
    assert said.select(refused(pl.col("result")))["result"].to_list() == [True] * len(WORDS) + [False] * 5


@pytest.mark.parametrize("word", WORDS[:2])
def test_an_export_that_was_refused(word: str) -> None:
    ledger = company(800, len(word))
    ids = pl.Series(np.random.default_rng(1).choice([OURS, SISTER], 800))
    ledger = ledger.with_columns(seller_tax_id=ids)
    sister, listed = (ids == SISTER).to_numpy(), usual(ledger, 1)
    log = [{"at": datetime(2025, 6, 2, hour), "account": "li", "action": "export", "result": result,
            "source_file": "log.csv", "source_row": hour} for hour, result in ((8, "成功"), (9, word))]  # fmt: skip
    known = {"export": Export(account="li"), "taxpayer_ids": (OURS, SISTER)}
    found = (causes if word == WORDS[0] else asked)(
        ledger, export_of(ledger, listed & ~sister), operations=log, **known
    )
    refused = found.filter(pl.col("cause") == "no_permission")
    assert set(refused["ledger_row"]) == set(np.flatnonzero(sister).tolist())
    if word == WORDS[0]:
        assert f"（{word}，log.csv 第 9 行）" in refused["evidence"][0]
    assert set(asked(ledger, schema.empty("platform"), operations=log, **known)["cause"]) == {"no_permission"}
    # Twins: all is listed; nothing was refused.
    assert "no_permission" not in set(asked(ledger, export_of(ledger, listed), operations=log, **known)["cause"])
    log[1]["result"] = "成功 800 条，失败 0 条"
    found = asked(ledger, export_of(ledger, listed & ~sister), operations=log, **known)
    assert "no_permission" not in set(found["cause"])
