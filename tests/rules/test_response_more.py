"""Substitute system, resends, measurements, calendar, plan: each fault is found exactly, clean twins show none."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any

import numpy as np
import polars as pl
import pytest

from audit_kit.core import schema
from audit_kit.core.policy import Calendar, Plan, PlannedDrill, Policy, Role, Window
from audit_kit.core.words import LANGUAGES
from audit_kit.rules.matching.reconcile import reconcile
from audit_kit.rules.response.crossing import forecast
from audit_kit.rules.response.response import ResponseAudit, ResponseEvidence, respond
from audit_kit.rules.sync.observations import OBSERVATIONS
from audit_kit.rules.sync.stops import STOPS

TAKEN = datetime(2025, 6, 2, 9)
START = datetime(2025, 5, 6, 9)


def number(at: int) -> str:
    return f"2511200000{at:010d}"


def frame(table: str, rows: list[dict[str, Any]]) -> pl.DataFrame:
    dtypes = schema.dtypes(table)
    made = pl.DataFrame(rows, schema_overrides={name: dtypes[name] for name in rows[0]}, infer_schema_length=None)
    return pl.concat([schema.empty(table), made.cast({name: dtypes[name] for name in made.columns})], how="diagonal")


def invoices(count: int, *, table: str = "ledger") -> pl.DataFrame:
    return frame(
        table,
        [
            {
                "digital_number": number(at),
                "issued_at": START + timedelta(minutes=10 * at),
                "date_only": False,
                "seller_name": "北京示例科技有限公司",
                "buyer_name": f"示例购方{at}有限公司",
                "buyer_tax_id": f"91110108MA{at:08d}",
                "net": Decimal(10000 + 7 * at) / 100,
                "tax": Decimal(1300) / 100,
                "gross": Decimal(11300 + 7 * at) / 100,
                "status": "normal",
                "source_file": f"{table}.csv",
                "source_row": at + 2,
            }
            for at in range(count)
        ],
    )


def evidence(ledger: pl.DataFrame, platform: pl.DataFrame | None = None, **tables: Any) -> ResponseEvidence:
    listed = ledger if platform is None else platform
    given = {name for name, table in tables.items() if isinstance(table, pl.DataFrame) and name in schema.INPUTS}
    told = {"findings": schema.empty("findings"), "stops": pl.DataFrame(schema=STOPS), "taken_at": TAKEN} | tables
    return ResponseEvidence(
        ledger=ledger, platform=listed, matches=reconcile(ledger, listed), given=frozenset(given), **told
    )


def audit(case: ResponseEvidence, lang: str = "en") -> ResponseAudit:
    return respond(case, lang=lang)


def keys(audited: ResponseAudit, cause: str) -> list[str]:
    return sorted(audited.findings.filter(pl.col("cause") == cause)["invoice_key"])


def told(audited: ResponseAudit, cause: str) -> list[str]:
    return audited.findings.filter(pl.col("cause") == cause)["evidence"].to_list()


def since(start: datetime, *hours: float) -> list[datetime]:
    return [start + timedelta(hours=hour) for hour in hours]


# Substitute system


def substitute(ledger: pl.DataFrame) -> pl.DataFrame:
    """As it should be: everything marked as brought back five hours after issue."""
    rows = ledger.with_columns(migrated_at=pl.col("issued_at") + timedelta(hours=5), source_file=pl.lit("sub.csv"))
    return pl.concat([schema.empty("substitute"), rows], how="diagonal_relaxed")


def faulty_migration() -> tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame]:
    """Five kinds of faults, twenty each, then twenty not brought back and sixty good ones."""
    ledger = invoices(180)
    at = pl.int_range(pl.len())
    kept = substitute(ledger).with_columns(
        migrated_at=pl.when(at.is_between(0, 19) | at.is_between(100, 119))
        .then(None)
        .when(at.is_between(80, 99))
        .then(pl.col("issued_at") + timedelta(days=9))
        .otherwise("migrated_at")
    )
    platform = ledger.with_columns(
        gross=pl.when(at.is_between(60, 66)).then(pl.col("gross") + Decimal("1.00")).otherwise("gross"),
        buyer_name=pl.when(at.is_between(67, 73)).then(pl.lit("别的购方有限公司")).otherwise("buyer_name"),
        issued_at=pl.when(at.is_between(74, 79)).then(pl.col("issued_at") + timedelta(days=1)).otherwise("issued_at"),
    )
    twice = platform[40:60]
    platform = platform.filter(~(at.is_between(20, 39) | at.is_between(100, 119)))
    return ledger, pl.concat([platform, twice]), kept


@pytest.mark.parametrize("lang", LANGUAGES)
def test_five_kinds_of_faults_of_a_substitute_system(lang: str) -> None:
    ledger, platform, kept = faulty_migration()
    audited = audit(evidence(ledger, platform, substitute=kept), lang)
    wanted = {
        "substitute_unmarked": range(20),
        "substitute_absent": range(20, 40),
        "substitute_twice": range(40, 60),
        "substitute_changed": range(60, 80),
        "substitute_late": range(80, 100),
    }
    for cause, places in wanted.items():
        assert keys(audited, cause) == [number(at) for at in places], cause
        assert all(number(at) in "".join(told(audited, cause)) for at in places)
    assert set(audited.findings["state"]) == {"fails"}
    assert not audited.findings["evidence"].str.contains("{", literal=True).any()


def test_the_statement_of_the_cut_over_adds_up_to_the_cent() -> None:
    ledger, platform, kept = faulty_migration()
    voided = kept[150:153].with_columns(status=pl.lit("voided", pl.Enum(schema.STATUSES)), migrated_at=None)
    whole = pl.concat([kept[:150], voided, kept[153:]])
    lines = {row["line"]: row for row in audit(evidence(ledger, platform, substitute=whole)).statement.to_dicts()}
    parts = [lines[name] for name in ("back", "not_back", "changed", "doubled")]
    assert [part["rows"] for part in parts] == [97, 40, 20, 20]
    assert lines["in"]["rows"] == 177 == sum(part["rows"] for part in parts)
    assert lines["in"]["yuan"] == sum(part["yuan"] for part in parts)
    assert lines["in"]["yuan"] + lines["aside"]["yuan"] == whole["gross"].sum()
    assert lines["doubled"]["platform_rows"] == 40
    assert lines["doubled"]["platform_yuan"] == 2 * lines["doubled"]["yuan"]
    assert lines["changed"]["platform_yuan"] - lines["changed"]["yuan"] == Decimal("7.00")
    assert lines["not_back"]["platform_yuan"] in (None, Decimal(0))


def test_a_substitute_system_that_came_back_whole_gives_nothing() -> None:
    ledger = invoices(120)
    audited = audit(evidence(ledger, substitute=substitute(ledger)))
    assert audited.findings.is_empty()
    assert audited.statement.filter(pl.col("line") == "back")["rows"].item() == 120


def test_twice_is_neither_an_overlap_of_exports_nor_a_second_sale() -> None:
    ledger = invoices(40)
    second = ledger[:10].with_columns(source_file=pl.lit("second.csv"))
    assert audit(evidence(ledger, pl.concat([ledger, second]), substitute=substitute(ledger))).findings.is_empty()
    other = ledger[:3].with_columns(digital_number=pl.Series([number(900 + at) for at in range(3)]))
    both = pl.concat([ledger, other])
    assert audit(evidence(both, both, substitute=substitute(ledger))).findings.is_empty()
    renumbered = audit(evidence(ledger, both, substitute=substitute(ledger)))
    assert keys(renumbered, "substitute_twice") == [number(at) for at in range(3)]
    assert number(900) in "".join(told(renumbered, "substitute_twice"))
    listed_twice = pl.concat([substitute(ledger), substitute(ledger)[5:7]])
    assert keys(audit(evidence(ledger, substitute=listed_twice)), "substitute_twice") == [number(5), number(6)]


@pytest.mark.parametrize("date_only", [False, True])
def test_an_invoice_that_came_back_under_quite_another_number(*, date_only: bool) -> None:
    ledger = invoices(40)
    if date_only:
        ledger = ledger.with_columns(pl.col("issued_at").dt.truncate("1d"), date_only=pl.lit(value=True))
    other = ledger[:3].with_columns(digital_number=pl.Series([number(98765400 + at) for at in range(3)]))
    moved = audit(evidence(ledger, pl.concat([ledger[3:], other]), substitute=substitute(ledger)))
    assert keys(moved, "substitute_changed") == [number(at) for at in range(3)]
    assert keys(moved, "substitute_absent") == []
    assert set(moved.findings["state"]) == ({"unknown"} if date_only else {"fails"})
    assert number(98765400) in "".join(told(moved, "substitute_changed"))
    changed = moved.statement.filter(pl.col("line") == "changed")
    assert changed.select("rows", "platform_rows").row(0) == (3, 3)
    # Another's invoice, of another time, or one of two that it could be, is not it.
    for wrong in (other.with_columns(buyer_name=pl.lit("丁"), buyer_tax_id=pl.lit("91110108MA99999999")), other[:0]):
        gone = audit(evidence(ledger, pl.concat([ledger[3:], wrong]), substitute=substitute(ledger)))
        assert keys(gone, "substitute_absent") == [number(at) for at in range(3)]
    two = pl.concat([other[:1], other[:1].with_columns(digital_number=pl.lit(number(98765450)))])
    either = audit(evidence(ledger, pl.concat([ledger[1:], two]), substitute=substitute(ledger)))
    assert either.findings.select("cause", "state").rows() == [("substitute_absent", "unknown")]
    assert "several invoices of the platform could be it" in told(either, "substitute_absent")[0]


def test_what_cannot_be_told_of_a_migration_is_unknown() -> None:
    ledger = invoices(40)
    young = substitute(ledger).with_columns(migrated_at=pl.lit(TAKEN - timedelta(hours=2)))[:5]
    case = evidence(ledger, ledger[5:], substitute=young, policy=Policy())
    found = audit(case).findings.filter(pl.col("cause") == "substitute_absent")
    assert found["state"].to_list() == ["unknown"] * 5
    unmarked = substitute(ledger).with_columns(migrated_at=pl.lit(None, pl.Datetime("us")))
    none = audit(evidence(ledger, substitute=unmarked)).findings
    assert none.select("cause", "state").rows() == [("substitute_unmarked", "unknown")]


def test_lateness_counts_from_the_end_of_the_stop_and_filing_comes_first() -> None:
    ledger = invoices(20)
    stop = pl.DataFrame(
        [
            {
                "channel": "全部",
                "starts_at": START,
                "ends_at": START + timedelta(days=4),
                "announced": True,
                "share": 1.0,
            }
        ],
        schema=STOPS,
    )
    brought = substitute(ledger).with_columns(migrated_at=pl.lit(START + timedelta(days=6)))
    assert keys(audit(evidence(ledger, substitute=brought)), "substitute_late") == [number(at) for at in range(20)]
    assert audit(evidence(ledger, substitute=brought, stops=stop)).findings.is_empty()
    early = Calendar(filing_deadlines=(date(2025, 5, 9), date(2025, 6, 16)))
    assert audit(evidence(ledger, substitute=brought, stops=stop, calendar=early)).findings.is_empty()
    passed = substitute(ledger).with_columns(migrated_at=pl.lit(datetime(2025, 6, 17)))
    case = evidence(ledger, substitute=passed, stops=stop, calendar=early, taken_at=datetime(2025, 6, 20))
    assert all("2025-06-16" in text for text in told(audit(case), "substitute_late"))


# Resends


def log(*rows: tuple[int, str, datetime, str | None]) -> pl.DataFrame:
    return frame(
        "sync_log",
        [
            {"invoice_number": number(at), "event": event, "at": when, "message": message, "source_row": row}
            for row, (at, event, when, message) in enumerate(rows)
        ],
    )


def operations(*rows: tuple[int | None, datetime, str | None], **more: Any) -> pl.DataFrame:
    made = [
        {"invoice_number": None if at is None else number(at), "action": "resend", "at": when, "result": result}
        for at, when, result in rows
    ]
    return frame("operations", [row | {"account": "A1", "source_file": "ops.csv"} | more for row in made])


def test_what_came_of_each_resend() -> None:
    ledger = invoices(30)
    first = datetime(2025, 5, 20, 9)
    done = operations(
        (0, first, "成功"),  # uploaded, listed
        (1, first, "成功"),  # failed in the log
        (2, first, "成功"),  # no answer
        (3, first, "上传超时，连接被重置"),  # failed by its result
        (4, TAKEN - timedelta(hours=1), "成功"),  # waits
        (5, first, "成功"),  # shown by a later export alone
        (6, first, "成功"),  # had been listed before
        (7, first, "成功"),
        (7, first + timedelta(minutes=5), "成功"),
        (7, first + timedelta(minutes=15), "成功"),
        (8, first, "成功"),
        (8, first + timedelta(minutes=5), "成功"),
    )
    events = log(
        (0, "uploaded", first + timedelta(minutes=3), None),
        (1, "failed", first + timedelta(minutes=3), "税号校验失败"),
        (7, "visible", first + timedelta(hours=3), None),
        (8, "failed", first + timedelta(minutes=2), "超时"),
        (8, "received", first + timedelta(hours=1), None),
    )
    exports = ledger[5:7].with_columns(taken_at=pl.Series([first + timedelta(days=1), first - timedelta(days=1)]))
    platform = ledger.filter(~pl.col("digital_number").is_in([number(at) for at in (1, 2, 3, 4)]))
    case = evidence(ledger, platform, operations=done, sync_log=events, exports=exports)
    audited = audit(case)
    last = audited.resends.unique("invoice_key", keep="last", maintain_order=True)
    assert last["came"].to_list() == [
        "worked", "failed", "no_answer", "failed", "waiting", "worked", "needless", "worked", "worked",
    ]  # fmt: skip
    assert last["shown_by"].to_list()[:6] == ["log", "log", None, "result", None, "export"]
    assert keys(audited, "resend_failed") == [number(1), number(2), number(3)]
    assert "税号校验失败" in told(audited, "resend_failed")[0]
    assert keys(audited, "resend_repeated") == [number(7)]
    assert "2 times" in told(audited, "resend_repeated")[0]
    assert "5 minutes" in told(audited, "resend_repeated")[0]


def test_without_a_log_an_unanswered_resend_is_unknown() -> None:
    ledger = invoices(5)
    case = evidence(ledger, ledger[1:], operations=operations((0, datetime(2025, 5, 20, 9), "成功")))
    found = audit(case).findings.filter(pl.col("cause") == "resend_failed")
    assert found["state"].to_list() == ["unknown"]


def test_failures_are_counted_by_code_and_wording_and_new_ones_marked() -> None:
    old = [(at, "failed", START + timedelta(hours=at), f"上传超时，流水 {1000 + at}") for at in range(20)]
    new = [(at, "failed", TAKEN - timedelta(hours=at), "签名无效") for at in range(1, 4)]
    patterns = audit(evidence(invoices(30), sync_log=log(*old, *new))).log_patterns
    assert patterns.select("pattern", "lines", "invoices", "new").rows() == [
        ("上传超时,流水 #", 20, 20, False),
        ("签名无效", 3, 3, True),
    ]
    assert not audit(evidence(invoices(30), sync_log=log(*new))).log_patterns["new"].any()


@pytest.mark.parametrize(
    ("visits", "shared"),
    [
        ([(0, "10.0.0.1"), (2, "10.0.0.2")], True),
        ([(0, "10.0.0.1"), (20, "10.0.0.2"), (40, "10.0.0.1")], True),
        ([(0, "10.0.0.1"), (2, "10.0.0.1 ")], False),
        ([(0, "10.0.0.1"), (20, "10.0.0.2")], False),
        ([(0, "10.0.0.1"), (240, "10.0.0.2"), (480, "10.0.0.1")], False),
        ([(0, None), (2, "10.0.0.2")], False),
    ],
)
def test_one_login_in_two_places_at_once(visits: list[tuple[int, str | None]], *, shared: bool) -> None:
    done = frame(
        "operations",
        [
            {"at": START + timedelta(minutes=at), "account": "CW01", "action": "login", "place": place}
            for at, place in visits
        ],
    )
    found = audit(evidence(invoices(5), operations=done)).findings
    assert found["cause"].to_list() == ["account_shared"] * shared
    assert found["subject"].to_list() == ["CW01"] * shared


# Measurements


def metrics(values: list[float], *, metric: str = "cpu", every: float = 10, unit: str | None = None) -> pl.DataFrame:
    rows = [
        {"at": START + timedelta(minutes=every * at), "host": "kp-01", "metric": metric, "value": value, "unit": unit}
        for at, value in enumerate(values)
    ]
    return frame("metrics", [row | {"source_file": "m.csv", "source_row": at + 2} for at, row in enumerate(rows)])


def limits(**values: float) -> Policy:
    return Policy(metrics=values)


@pytest.mark.parametrize(
    ("unit", "times", "policy"),
    [(None, 1, 0.9), ("%", 100, 0.9), (None, 100, 0.9), (None, 100, 90), ("％", 100, 90)],
)
def test_crossings_are_exact_however_shares_are_written(unit: str | None, times: float, policy: float) -> None:
    values = [0.5] * 6 + [0.91, 0.95, 0.93] + [0.9] * 3 + [0.97] + [0.4] * 6
    case = evidence(invoices(5), metrics=metrics([v * times for v in values], unit=unit), policy=limits(cpu=policy))
    shown = audit(case).episodes.select("starts_at", "ends_at", "minutes", "readings").rows()
    first = START + timedelta(minutes=60)
    second = START + timedelta(minutes=120)
    assert shown == [
        (first, first + timedelta(minutes=30), 30.0, 3),
        (second, second + timedelta(minutes=10), 10.0, 1),
    ]
    assert len(told(audit(case), "metric_over_threshold")) == 2


def test_fifty_crossings_of_several_hosts_and_metrics() -> None:
    dice = np.random.default_rng(4)
    parts, wanted = [], []
    for metric, limit in (("cpu", 0.9), ("memory", 0.8), ("disk", 0.85), ("network", 200.0), ("queue", 50.0)):
        values = dice.uniform(0.1, 0.6, 1000) * limit
        for at in np.sort(dice.choice(np.arange(20, 980, 40), 10, replace=False)):
            length = int(dice.integers(1, 9))
            values[at : at + length] = limit * 1.05
            start = START + timedelta(minutes=10 * int(at))
            wanted.append((metric, start, start + timedelta(minutes=10 * length)))
        parts.append(metrics(values.tolist(), metric=metric, unit="ms" if metric == "network" else None))
    policy = limits(cpu=0.9, memory=0.8, disk=0.85, network=200, queue=50)
    audited = audit(evidence(invoices(5), metrics=pl.concat(parts), policy=policy))
    assert sorted(audited.episodes.select("metric", "starts_at", "ends_at").rows()) == sorted(wanted)
    assert len(told(audited, "metric_over_threshold")) == 50
    patient = limits(cpu=1.0, memory=1.0, disk=1.0, network=300, queue=90)
    assert audit(evidence(invoices(5), metrics=pl.concat(parts), policy=patient)).findings.is_empty()


def test_a_time_over_the_threshold_at_a_gap_or_at_the_end_has_no_end() -> None:
    values = metrics([0.5, 0.95, 0.95, 0.5, 0.5, 0.5, 0.95])
    torn = values.filter(~pl.col("source_row").is_in([5, 6, 7]))
    case = evidence(invoices(5), metrics=torn, policy=limits(cpu=0.9))
    rows = audit(case).episodes
    assert rows["ends_at"].to_list() == [None, None]
    assert rows["minutes"].to_list() == [10.0, 0.0]
    assert all("no reading tells" in text for text in told(audit(case), "metric_over_threshold"))


def test_measurements_that_go_with_stops_more_than_chance_would() -> None:
    stops = [{"channel": "全部", "starts_at": START + timedelta(days=day), "share": 1.0} for day in (3, 8, 15, 21)]
    stops = [stop | {"ends_at": stop["starts_at"] + timedelta(hours=4)} for stop in stops]
    table = pl.DataFrame(stops, schema=STOPS)
    hours = 24 * 26

    def busy(*days: float) -> pl.DataFrame:
        values = [0.4] * hours
        for day in days:
            at = round(24 * day)
            values[at : at + 4] = [0.95] * 4
        return metrics(values, every=60)

    case = evidence(invoices(5), metrics=busy(3, 8, 15, 21), stops=table, policy=limits(cpu=0.9))
    row = audit(case).coincidences.row(0, named=True)
    assert (row["event"], row["both"], row["over"], row["hours"]) == ("stop", 16, 16, hours)
    assert row["more_than_chance"]
    assert row["odds"] > 100
    found = audit(case).findings
    assert found["severity"].to_list() == ["high"] * 4
    assert found["evidence"].str.contains("more than chance").all()
    twin = evidence(invoices(5), metrics=busy(3, 5, 11, 18.5), stops=table, policy=limits(cpu=0.9))
    assert not audit(twin).coincidences["more_than_chance"].any()
    assert set(audit(twin).findings["severity"]) == {"medium"}


# A series like those of a disk: growth, noise, a week, now and then a step.
DAYS = 300


def grown(dice: np.random.Generator) -> np.ndarray:
    days = np.arange(DAYS)
    values = (
        dice.uniform(0.35, 0.6) + dice.uniform(0.001, 0.004) * days + dice.normal(0, dice.uniform(0.002, 0.012), DAYS)
    )
    if dice.random() < 0.7:
        values += dice.uniform(0.005, 0.02) * np.sin(2 * np.pi * (days + dice.integers(7)) / 7)
    if dice.random() < 0.5:
        for _ in range(int(dice.integers(1, 3))):
            values += (days >= dice.integers(5, 240)) * dice.choice([-1, 1]) * dice.uniform(0.02, 0.06)
    return values


@pytest.mark.slow
def test_the_interval_of_forecasts_holds_what_then_came_nine_times_in_ten() -> None:
    dice = np.random.default_rng(20)
    times = pl.Series([START + timedelta(days=at) for at in range(DAYS)])
    held: list[bool] = []
    while len(held) < 200:
        values, cut = grown(dice), int(dice.integers(45, 150))
        if (values[:cut] > 0.9).any() or not (values > 0.9).any():
            continue
        made = forecast(times[:cut], pl.Series(values[:cut]), 0.9)
        if made["state"] == "rising":
            came = times[int(np.argmax(values > 0.9))]
            held.append(made["earliest"] <= came and (made["latest"] is None or came <= made["latest"]))
    assert 0.85 <= np.mean(held) <= 0.95


def test_nothing_is_foretold_of_what_is_flat_short_or_over() -> None:
    dice = np.random.default_rng(7)
    states = []
    for _ in range(40):
        days = int(dice.integers(21, 120))
        week = dice.uniform(0, 0.03) * np.isin(np.arange(days) % 7, [0, 1, 2])
        values = dice.uniform(0.3, 0.85) + week + dice.normal(0, dice.uniform(0.001, 0.02), days)
        states.append(forecast(pl.Series([START + timedelta(days=at) for at in range(days)]), pl.Series(values), 0.95))
    assert {made["state"] for made in states} == {"flat"}
    times = pl.Series([START + timedelta(days=at) for at in range(40)])
    line = pl.Series(np.linspace(0.5, 0.8, 40))
    assert forecast(times, pl.Series([0.5] * 40), 0.9)["state"] == "flat"
    assert forecast(times[:15], line[:15], 0.9)["state"] == "short"
    assert forecast(times, line, 0.79)["state"] == "over"
    assert forecast(times, -line, 0.9)["state"] == "flat"
    assert forecast(times, line, 0.9) == forecast(times, line, 0.9)


@pytest.mark.parametrize("lang", LANGUAGES)
def test_a_forecast_is_told_with_its_interval(lang: str) -> None:
    dice = np.random.default_rng(1)
    rising = [0.5 + 0.01 * at / 6 + float(dice.normal(0, 0.003)) for at in range(27 * 6)]
    flat = [0.5 + float(dice.normal(0, 0.01)) for _ in rising]
    both = pl.concat([metrics(rising, metric="disk", every=240), metrics(flat, metric="memory", every=240)])
    found = audit(evidence(invoices(5), metrics=both, policy=limits(disk=0.85, memory=0.85)), lang).findings
    assert found["cause"].to_list() == ["metric_forecast"]
    told_days = pl.Series([found["evidence"].item()]).str.extract_all(r"2025-\d\d-\d\d").item().to_list()
    likely, earliest, latest = map(date.fromisoformat, told_days)
    assert earliest <= likely <= latest
    assert earliest <= date(2025, 6, 10) <= latest


# Calendar and plan


def missing(places: range) -> pl.DataFrame:
    rows = [
        {"finding_id": f"f{at}", "area": "missing", "cause": "unexplained", "severity": "high", "ledger_row": at}
        for at in places
    ]
    return frame("findings", [row | {"state": "fails", "invoice_key": number(row["ledger_row"])} for row in rows])


@pytest.mark.parametrize(
    ("deadline", "severity"),
    [(date(2025, 6, 16), "medium"), (date(2025, 6, 6), "high"), (date(2025, 6, 3), "critical")],
)
def test_the_tax_at_stake_before_filing(deadline: date, severity: str) -> None:
    ledger = invoices(40)
    calendar = Calendar(filing_deadlines=(date(2025, 5, 20), deadline, date(2025, 7, 15)))
    case = evidence(ledger, ledger[8:], findings=missing(range(8)), calendar=calendar)
    found = audit(case).findings
    assert found.select("cause", "severity", "amount").rows() == [
        ("filing_at_stake", severity, ledger["gross"][:8].sum())
    ]
    assert "104.00 yuan of tax" in found["evidence"].item()
    assert audit(case).filing["rows"].to_list() == [0, 8, 0]
    assert audit(evidence(ledger, calendar=calendar)).findings.is_empty()


def test_the_working_days_left_leave_holidays_out() -> None:
    ledger = invoices(4)
    calendar = Calendar(filing_deadlines=(date(2025, 10, 15),))
    case = evidence(ledger, calendar=calendar, taken_at=datetime(2025, 9, 28, 9))
    assert audit(case).filing.row(0, named=True)["working_days"] == 8


def observed(ledger: pl.DataFrame, minutes: pl.Expr) -> pl.DataFrame:
    rows = ledger.with_row_index("ledger_row").select(
        "ledger_row",
        "issued_at",
        channel=pl.lit("网页"),
        visible=pl.lit(value=True),
        weight=pl.lit(1.0),
        minutes=minutes.cast(pl.Float64),
    )
    rows = rows.with_columns(visible_at=pl.col("issued_at") + pl.duration(minutes="minutes"))
    empty = pl.DataFrame(schema=OBSERVATIONS)
    return pl.concat([empty, rows.cast({"weight": pl.Float64})], how="diagonal_relaxed")


def test_month_end_has_a_service_level_of_its_own() -> None:
    ledger = invoices(400).with_columns(issued_at=pl.lit(datetime(2025, 4, 27)) + pl.duration(hours=pl.int_range(400)))
    last_days = (pl.col("issued_at") >= datetime(2025, 4, 29)) & (pl.col("issued_at") < datetime(2025, 5, 3))
    slow = observed(ledger, pl.when(last_days & (pl.int_range(pl.len()) % 2 == 0)).then(4000).otherwise(60))
    calendar = Calendar(month_end=(Window(start=date(2025, 4, 29), end=date(2025, 5, 3)),))
    audited = audit(evidence(ledger, observations=slow, calendar=calendar))
    assert audited.windows.select("kind", "issued", "share", "state").rows() == [("month_end", 96, 0.5, "fails")]
    assert audited.findings["cause"].to_list() == ["window_slow"]
    assert "50 %" in audited.findings["evidence"].item()
    elsewhere = Calendar(year_end=(Window(start=date(2025, 5, 4), end=date(2025, 5, 8)),))
    assert audit(evidence(ledger, observations=slow, calendar=elsewhere)).findings.is_empty()


WHOLE = Plan(
    roles=(
        Role(name="lead", person="甲", deputy="乙", contact="1", updated=date(2025, 1, 1)),
        Role(name="it", person="丙", deputy="丁", updated=date(2025, 1, 1)),
    ),
    priorities=("开票",),
    resources=("备用终端",),
    contacts={"it": "8000"},
    drills=(PlannedDrill(name="断网", every_days=180, last=date(2025, 1, 10)),),
)


def changed(**parts: Any) -> Plan:
    return Plan(**{name: getattr(WHOLE, name) for name in Plan.__dataclass_fields__} | parts)


@pytest.mark.parametrize(
    ("plan", "wanted"),
    [
        (WHOLE, []),
        (Plan(), []),
        (changed(priorities=()), ["priorities"]),
        (changed(resources=()), ["resources"]),
        (changed(contacts={}), ["contacts", "“it” cannot be reached"]),
        (changed(roles=()), ["roles", "does not say when"]),
        (changed(roles=(Role(name="it", updated=date(2025, 1, 1)),)), ["nobody", "no deputy"]),
        (changed(roles=(Role(name="it", person="丙", deputy="丙", updated=date(2025, 1, 1)),)), ["same person"]),
        (changed(roles=(Role(name="it", person="丙", deputy="丁", updated=date(2024, 5, 1)),)), ["397 days ago"]),
        (changed(roles=WHOLE.roles[:1], updated=date(2020, 1, 1)), []),
        (changed(drills=()), ["lists no drills"]),
        (changed(drills=(PlannedDrill(name="断网"),)), ["ever held"]),
        (changed(drills=(PlannedDrill(name="断网", every_days=90, last=date(2025, 1, 10)),)), ["53 days ago"]),
        (changed(drills=(PlannedDrill(name="断网", last=date(2024, 7, 1)),)), []),
    ],
)
def test_gaps_of_the_plan_and_drills_that_are_due(plan: Plan, wanted: list[str]) -> None:
    found = audit(evidence(invoices(3), plan=plan)).findings
    texts = sorted(found["evidence"])
    assert len(texts) == len(wanted)
    assert all(any(part in text for text in texts) for part in wanted)


def test_restores_against_their_target() -> None:
    tests = frame(
        "restore_tests",
        [
            {"repo_id": repo, "performed_at": START, "result": "ok", "duration_s": seconds, "scope_pct": scope}
            for repo, seconds, scope in (("a", 15000, 100.0), ("b", 1500, 10.0), ("c", 1200, 10.0), ("d", 95, None))
        ],
    )
    found = audit(evidence(invoices(3), restore_tests=tests)).findings.sort("subject")
    assert found.select("subject", "state").rows() == [("a", "fails"), ("b", "unknown")]
