"""The response: each fault seeded is found exactly, and its clean twin shows none."""

from __future__ import annotations

import random
from datetime import datetime, time, timedelta
from decimal import Decimal
from typing import Any

import chinese_calendar
import polars as pl
import pytest

from audit_kit.core import schema
from audit_kit.core.cause_records import of_area
from audit_kit.core.policy import Policy, ResponsePolicy
from audit_kit.core.words import LANGUAGES
from audit_kit.rules.matching.reconcile import reconcile
from audit_kit.rules.response.response import CAUSES, ResponseEvidence, respond
from audit_kit.rules.response.working_time import WorkingTime

TAKEN = datetime(2025, 6, 2, 9)
START = datetime(2025, 5, 6, 9)


def number(at: int) -> str:
    return f"2511200000{at:010d}"


def invoices(count: int, *, table: str = "ledger", first: int = 1) -> pl.DataFrame:
    """Invoices of a quiet month, one every ten minutes."""
    rows = [
        {
            "digital_number": number(first + at),
            "issued_at": START + timedelta(minutes=10 * at),
            "gross": Decimal(11300 + 7 * at) / 100,
            "net": Decimal(10000) / 100,
            "source_file": f"{table}.csv",
            "source_row": at + 2,
        }
        for at in range(count)
    ]
    return frame(table, rows)


def frame(table: str, rows: list[dict[str, Any]]) -> pl.DataFrame:
    dtypes = schema.dtypes(table)
    made = pl.DataFrame(rows, schema_overrides={name: dtypes[name] for name in rows[0]}, infer_schema_length=None)
    return pl.concat([schema.empty(table), made.cast({name: dtypes[name] for name in made.columns})], how="diagonal")


def evidence(ledger: pl.DataFrame, platform: pl.DataFrame | None = None, **tables: Any) -> ResponseEvidence:
    listed = ledger if platform is None else platform
    given = {name for name, table in tables.items() if isinstance(table, pl.DataFrame) and name in schema.INPUTS}
    told = {"findings": schema.empty("findings"), "stops": pl.DataFrame(), "taken_at": TAKEN} | tables
    told |= {name: shaped(name, told[name]) for name in given}
    return ResponseEvidence(
        ledger=ledger, platform=listed, matches=reconcile(ledger, listed), given=frozenset(given), **told
    )


def shaped(table: str, made: pl.DataFrame) -> pl.DataFrame:
    dtypes = schema.dtypes(table)
    return made.cast({name: dtypes[name] for name in made.columns})


def found(case: ResponseEvidence, cause: str, *, lang: str = "en") -> pl.DataFrame:
    return respond(case, lang=lang).findings.filter(pl.col("cause") == cause)


def register(ledger: pl.DataFrame) -> pl.DataFrame:
    """A register of these invoices as it should be: checked by another person, who read the same."""
    table = ledger.with_columns(
        entered_by=pl.lit("王芳"), checked_by=pl.lit("李强"), checked_number="digital_number", checked_gross="gross"
    )
    return pl.concat([schema.empty("register"), table], how="diagonal")


def test_every_cause_has_a_record_and_every_record_a_rule() -> None:
    assert [cause for cause, _ in CAUSES] == list(of_area("response"))
    for record in of_area("response").values():
        assert record["severity"] in schema.SEVERITIES
        for name in ("title", "sentence", "evidence", "next_step"):
            assert len(record[name]) == len(LANGUAGES)


@pytest.mark.parametrize("lang", LANGUAGES)
def test_register_rows_that_nobody_else_checked(lang: str) -> None:
    ledger = invoices(60)
    at = pl.int_range(pl.len())
    faulty = register(ledger).with_columns(
        checked_by=pl.when(at < 10).then(None).when(at < 20).then(pl.lit("王 芳")).otherwise("checked_by"),
        checked_number=pl.when(at < 10).then(None).otherwise("checked_number"),
        checked_gross=pl.when(at < 10).then(None).otherwise("checked_gross"),
    )
    told = found(evidence(ledger, register=faulty), "register_unchecked", lang=lang)
    assert sorted(told["invoice_key"]) == [number(at) for at in range(1, 21)]
    assert told["evidence"].str.contains("王芳").all()
    assert respond(evidence(ledger, register=register(ledger)), lang=lang).findings.is_empty()


def swapped(text: pl.Expr) -> pl.Expr:
    """A number whose last digit was read as another."""
    last = (text.str.slice(-1).cast(pl.Int32) + 1) % 10
    return text.str.head(-1) + last.cast(pl.String)


def test_ten_thousand_register_rows_with_fifty_mismatches_twenty_unchecked_and_twenty_self_checked() -> None:
    ledger = invoices(10_000)
    clean = register(ledger)
    at = pl.int_range(pl.len())
    faulty = clean.with_columns(
        checked_number=pl.when(at < 10).then(swapped(pl.col("checked_number"))).otherwise("checked_number"),
        checked_gross=pl.when(at.is_between(10, 19)).then(pl.col("gross") + Decimal("0.01")).otherwise("checked_gross"),
        gross=pl.when(at.is_between(20, 39)).then(pl.col("gross") + 9).otherwise("gross"),
        digital_number=pl.when(at.is_between(40, 49))
        .then(swapped(pl.col("digital_number")))
        .otherwise("digital_number"),
        checked_by=pl.when(at.is_between(50, 69))
        .then(None)
        .when(at.is_between(70, 89))
        .then("entered_by")
        .otherwise("checked_by"),
    ).with_columns(
        checked_number=pl.when(at.is_between(40, 49))
        .then("digital_number")
        .when(at.is_between(50, 69))
        .then(None)
        .otherwise("checked_number"),
        checked_gross=pl.when(at.is_between(20, 39))
        .then("gross")
        .when(at.is_between(50, 69))
        .then(None)
        .otherwise("checked_gross"),
    )
    told = respond(evidence(ledger, register=faulty), lang="en").findings
    by_cause = {cause: set(rows["source_row"]) for (cause,), rows in told.partition_by("cause", as_dict=True).items()}
    assert by_cause == {
        "register_mismatch": {at + 2 for at in range(50)},
        "register_unchecked": {at + 2 for at in range(50, 90)},
    }
    assert told.height == 90
    said = dict(told.select("source_row", "evidence").iter_rows())
    assert "number written 2511200000000000000【1】, read by the checker as 2511200000000000000【2】" in said[2]
    assert "gross written 113.7【0】, read by the checker as 113.7【1】" in said[12]
    assert "gross written 123.40, in the ledger 114.40 (ledger.csv 22)" in said[22]
    assert "in the ledger" in said[42]
    assert "on the platform" in said[42]
    assert told["finding_id"].n_unique() == told.height
    assert respond(evidence(ledger, register=clean), lang="zh").findings.is_empty()


def test_an_invoice_in_the_register_twice_with_two_amounts() -> None:
    ledger = invoices(5)
    twice = register(invoices(3, table="register", first=100))
    again = twice.head(1).with_columns(
        gross=pl.lit(Decimal("99.00")), checked_gross=pl.lit(Decimal("99.00")), source_row=pl.lit(9)
    )
    faulty = pl.concat([twice, again], how="vertical_relaxed")
    told = found(evidence(ledger, register=faulty), "register_mismatch")
    assert told["evidence"].to_list() == [
        f"Register: {number(100)}, 99.00 yuan: row 2 gives the same number 113.00 yuan"
    ]
    same = pl.concat([twice, twice.head(1)])
    assert respond(evidence(ledger, register=same), lang="en").findings.is_empty()


@pytest.mark.parametrize(
    ("read", "state"),
    [
        (number(1), None),
        (f" {number(1)[:10]} {number(1)[10:]} ", None),
        ("２５１１２００００００００００００００１", None),
        (number(1)[-8:], None),
        ("2.5112E+19", "unknown"),
        (number(1)[:-1], "fails"),
        (number(1)[:-2] + "10", "fails"),
        ("X", "fails"),
    ],
)
def test_what_a_checker_may_write(read: str, state: str | None) -> None:
    ledger = invoices(1)
    table = register(ledger).with_columns(checked_number=pl.lit(read))
    told = found(evidence(ledger, register=table), "register_mismatch")
    assert told["state"].cast(pl.String).to_list() == ([state] if state else [])


def test_a_register_of_old_invoices_checked_by_number_alone() -> None:
    old = invoices(2).with_columns(
        digital_number=pl.lit(None, pl.String),
        invoice_code=pl.lit("011002500111"),
        invoice_number=pl.Series(["00000123", "00000124"]),
    )
    clean = register(old).with_columns(checked_number="invoice_number")
    assert respond(evidence(old, register=clean)).findings.is_empty()
    wrong = clean.with_columns(checked_number=pl.lit("00000123"))
    assert found(evidence(old, register=wrong), "register_mismatch").height == 1


def test_a_neighbour_of_the_same_day_and_amount_makes_no_number_mistyped() -> None:
    ledger = invoices(2).with_columns(gross=pl.lit(Decimal("100.00"), pl.Decimal(18, 2)))
    assert respond(evidence(ledger, ledger.tail(1), register=register(ledger.head(1)))).findings.is_empty()
    lost = evidence(ledger.tail(1), ledger.tail(1), register=register(ledger.head(1)))
    assert found(lost, "register_mismatch").height == 1  # nobody else knows its number


def outage(ledger: pl.DataFrame, rows: range) -> pl.DataFrame:
    """Findings that say that these ledger rows are missing for a stop."""
    return frame(
        "findings",
        [
            {
                "finding_id": f"f{at}", "area": "sync", "cause": "outage", "severity": "high", "state": "fails",
                "ledger_row": at, "subject": "网页 2025-05-06 09:00 – 2025-05-06 12:00", "amount": ledger["gross"][at],
                "invoice_key": ledger["digital_number"][at],
            }
            for at in rows
        ],
    )  # fmt: skip


def test_invoices_of_a_stop_that_the_register_lacks() -> None:
    ledger = invoices(40)
    told = {"findings": outage(ledger, range(20)), "tickets": schema.empty("tickets")}
    gone = ledger.slice(20)
    whole = evidence(ledger, gone, register=register(ledger.head(20)), **told)
    assert found(whole, "register_gap").is_empty()
    some = evidence(ledger, gone, register=register(ledger.head(15)), **told)
    gap = found(some, "register_gap").row(0, named=True)
    lacking = sum(ledger["gross"][15:20])
    assert gap["amount"] == lacking
    assert f"20 missing (CNY {sum(ledger['gross'][:20]):,})" in gap["evidence"]
    assert "15 in the register" in gap["evidence"]
    assert number(20) in gap["evidence"]
    assert found(
        evidence(ledger, gone, **told), "register_gap"
    ).is_empty()  # no register: nobody says that there is one


def working_hours(start: datetime, end: datetime) -> float:
    """Working hours, told day by day."""
    total, day = 0.0, start.date()
    while day <= end.date():
        if chinese_calendar.is_workday(day):
            opens, closes = datetime.combine(day, time(9)), datetime.combine(day, time(18))
            total += max(0.0, (min(end, closes) - max(start, opens)).total_seconds() / 3600)
        day += timedelta(days=1)
    return total


ALLOWED = {"support": 24.0, "it": 8.0, "management": 24.0, "tax_bureau": 72.0}


def test_five_hundred_tickets_over_three_years() -> None:
    dice, taken = random.Random(7), datetime(2026, 11, 20, 17)
    ledger = invoices(500)
    rows, late = [], set()
    for at in range(500):
        level = schema.TICKET_LEVELS[at % 4]
        opened = datetime(2024, 1, 2, 8) + timedelta(minutes=dice.randrange(60 * 24 * 1040))
        state = dice.choice(schema.TICKET_STATES)
        updated = opened + timedelta(hours=dice.choice((0, 1, 5, 20, 60, 150, 300)), minutes=dice.randrange(1, 50))
        updated = None if state == "open" and dice.random() < 0.3 else updated
        due = opened + timedelta(days=dice.choice((3, 20, 400, 2000)), minutes=1)
        ended = taken if state in ("open", "waiting") else updated
        reply = updated or taken
        if working_hours(opened, reply) > ALLOWED[level] or (ended and ended > due):
            late.add(f"GD{at:04d}")
        rows.append(
            {
                "ticket": f"GD{at:04d}", "invoice_number": number(at + 1), "level": level, "opened_at": opened,
                "updated_at": updated, "due_at": due, "state": state, "source_file": "t.csv", "source_row": at + 2,
            }
        )  # fmt: skip
    tickets = frame("tickets", rows)
    told = found(evidence(ledger, tickets=tickets, taken_at=taken), "ticket_overdue")
    assert 100 < len(late) < 450
    assert set(told["subject"]) == late
    assert told.height == len(late)
    prompt = tickets.with_columns(
        updated_at=pl.col("opened_at"),
        replied_at=pl.col("opened_at").dt.offset_by("5m"),
        due_at=pl.lit(None),
        state=pl.lit("closed"),
    )
    assert respond(evidence(ledger, tickets=prompt, taken_at=taken)).findings.is_empty()


@pytest.mark.parametrize(
    ("opened", "replied", "hours"),
    [
        (datetime(2025, 1, 27, 17), datetime(2025, 2, 5, 10), 2.0),  # Spring Festival: 8 days off
        (datetime(2025, 1, 25, 17), datetime(2025, 1, 26, 10), 1.0),  # a Sunday worked for it
        (datetime(2025, 9, 30, 17, 30), datetime(2025, 10, 9, 9, 30), 1.0),
        (datetime(2024, 2, 4, 9), datetime(2024, 2, 4, 23), 9.0),
        (datetime(2025, 5, 9, 18), datetime(2025, 5, 12, 9), 0.0),
        (datetime(2031, 5, 2, 17), datetime(2031, 5, 5, 10), 2.0),  # not announced yet: weekends only
    ],
)
def test_working_hours_know_holidays_and_the_weekends_worked_for_them(
    opened: datetime, replied: datetime, hours: float
) -> None:
    work = WorkingTime([opened, replied])
    start, end = pl.Series([opened]), pl.Series([replied])
    assert work.hours(start, end).to_list() == pytest.approx([hours])
    assert work.is_guessed(start, end).to_list() == [opened.year == 2031]
    if hours:
        assert working_hours_agree(work, opened, hours)


def working_hours_agree(work: WorkingTime, opened: datetime, hours: float) -> bool:
    """Adding the hours again leads to a moment that is just as many hours away."""
    until = work.after(pl.Series([opened]), pl.Series([hours]))
    return work.hours(pl.Series([opened]), until).to_list() == pytest.approx([hours])


def ticket(at: int, **fields: Any) -> dict[str, Any]:
    plain = {
        "ticket": f"GD{at}", "invoice_number": number(at), "level": "support", "opened_at": datetime(2025, 5, 28, 10),
        "updated_at": datetime(2025, 5, 28, 15), "due_at": datetime(2025, 6, 10, 18), "state": "open",
        "replied_at": None, "source_file": "tickets.csv", "source_row": at + 1,
    }  # fmt: skip
    return plain | fields


def test_a_year_whose_holidays_are_not_known_is_said() -> None:
    late = frame(
        "tickets", [ticket(1, opened_at=datetime(2031, 5, 2, 10), updated_at=datetime(2031, 5, 20, 10), due_at=None)]
    )
    told = found(evidence(invoices(1), tickets=late, taken_at=datetime(2031, 6, 1)), "ticket_overdue")
    assert "only its weekends count" in told["evidence"][0]
    assert "9 to 18 o'clock" in told["evidence"][0]


def test_the_ladder_names_the_next_rung_its_time_and_what_it_needs() -> None:
    late = frame("tickets", [ticket(1, updated_at=None, due_at=datetime(2025, 5, 30))])
    case = evidence(
        invoices(3),
        tickets=late,
        sync_log=frame("sync_log", [{"invoice_number": number(1), "at": START, "event": "failed"}]),
    )
    row = respond(case).tickets.row(0, named=True)
    assert (row["next_level"], row["next_at"]) == ("it", datetime(2025, 5, 30, 16))  # 24 working hours after
    assert (row["needs"], row["lacks"]) == (["ticket", "log"], [])
    told = found(case, "ticket_overdue")["evidence"][0]
    assert "the next rung is IT, at 2025-05-30 16:00" in told
    climbed = frame(
        "tickets",
        [
            ticket(1, updated_at=None),
            ticket(1, level="it", opened_at=datetime(2025, 5, 29, 9), updated_at=datetime(2025, 5, 29, 10)),
        ],
    )
    first, second = respond(evidence(invoices(3), tickets=climbed)).tickets.iter_rows(named=True)
    assert (first["next_level"], first["late_reply"]) == (None, False)
    assert (second["next_level"], second["lacks"]) == ("management", [])
    assert found(evidence(invoices(3), tickets=climbed), "ticket_overdue").is_empty()


def missing(
    ledger: pl.DataFrame, rows: range, *, cause: str = "lost", severity: str = "high", subject: str | None = None
) -> pl.DataFrame:
    return frame(
        "findings",
        [
            {
                "finding_id": f"{cause}{at}", "area": "missing", "cause": cause, "severity": severity, "state": "fails",
                "ledger_row": at, "invoice_key": ledger["digital_number"][at], "amount": ledger["gross"][at],
                "subject": subject,
            }
            for at in rows
        ],
    )  # fmt: skip


def test_tickets_closed_while_their_invoice_is_missing_and_open_ones_whose_invoice_came() -> None:
    ledger = invoices(40)
    listed, told = ledger.slice(20), missing(ledger, range(20))
    replied = datetime(2025, 5, 28, 11)
    closed = [ticket(at, state=("closed", "solved")[at % 2]) for at in range(1, 21)]
    arrived = [ticket(at, replied_at=replied) for at in range(21, 41)]
    case = evidence(ledger, listed, findings=told, tickets=frame("tickets", closed + arrived))
    assert found(case, "ticket_closed_missing")["evidence"].str.contains("is solved|is closed").all()
    assert sorted(found(case, "ticket_closed_missing")["invoice_key"]) == [number(at) for at in range(1, 21)]
    assert sorted(found(case, "ticket_open_arrived")["invoice_key"]) == [number(at) for at in range(21, 41)]
    right = [ticket(at) for at in range(1, 21)] + [ticket(at, state="closed") for at in range(21, 41)]
    assert respond(evidence(ledger, listed, findings=told, tickets=frame("tickets", right))).findings.is_empty()
    # Still open on a higher rung, closed after the export, or missing for a reason that needs no follow-up: no fault.
    above = [ticket(1, state="closed"), ticket(100, invoice_number=number(1), level="it")]
    later = [ticket(2, state="closed", updated_at=TAKEN + timedelta(hours=1), replied_at=replied)]
    case = evidence(ledger, listed, findings=told, tickets=frame("tickets", above + later))
    assert found(case, "ticket_closed_missing").is_empty()
    info = missing(ledger, range(20), cause="elsewhere", severity="info")
    case = evidence(ledger, listed, findings=info, tickets=frame("tickets", closed))
    assert found(case, "ticket_closed_missing").is_empty()


def test_serious_groups_without_a_ticket() -> None:
    ledger = invoices(60)
    groups = [
        missing(ledger, range(20), cause="outage", subject="网页 a"),
        missing(ledger, range(20, 40), cause="outage", subject="网页 b", severity="critical"),
        missing(ledger, range(40, 50), cause="late", severity="low"),
    ]
    told = pl.concat(groups)
    case = evidence(ledger, ledger.clear(), findings=told, tickets=frame("tickets", [ticket(5)]))
    group = found(case, "ticket_missing").row(0, named=True)
    assert found(case, "ticket_missing").height == 1
    assert (group["state"], group["amount"]) == ("fails", sum(ledger["gross"][20:40]))
    assert "网页 b" in group["evidence"]
    both = [ticket(5), ticket(77, invoice_number=f"{number(30)}；{number(31)}")]
    assert found(
        evidence(ledger, ledger.clear(), findings=told, tickets=frame("tickets", both)), "ticket_missing"
    ).is_empty()
    words = [ticket(5), ticket(77, invoice_number=f"发票{number(30)}等20张")]
    assert found(
        evidence(ledger, ledger.clear(), findings=told, tickets=frame("tickets", words)), "ticket_missing"
    ).is_empty()
    nameless = [ticket(5), ticket(6, invoice_number=None)]
    unsure = found(
        evidence(ledger, ledger.clear(), findings=told, tickets=frame("tickets", nameless)), "ticket_missing"
    )
    assert unsure["state"].cast(pl.String).to_list() == ["unknown"]
    empty = evidence(ledger, ledger.clear(), findings=told, tickets=schema.empty("tickets"))
    assert found(empty, "ticket_missing").height == 2
    assert found(evidence(ledger, ledger.clear(), findings=told), "ticket_missing").is_empty()  # no list of tickets


SAID = [
    # What each source says, and the one that holds where they, or they and the ledger, differ
    ({"national": "agree", "counterparty": "agree", "file": "agree", "department": "agree"}, None),
    ({"national": "absent", "counterparty": "agree"}, "national"),
    ({"national": "agree", "counterparty": "differ"}, "national"),
    ({"counterparty": "agree", "file": "differ"}, "counterparty"),
    ({"file": "agree", "department": "absent"}, "file"),
    ({"national": "over_limit", "counterparty": "agree"}, None),
    ({"department": "differ"}, "department"),
    ({"national": "differ", "counterparty": "differ", "file": "differ"}, "national"),
]


def asked(place: int, source: str, result: str, **fields: Any) -> dict[str, Any]:
    plain = {
        "invoice_number": number(place),
        "source": source,
        "result": result,
        "at": datetime(2025, 5, 30, 10),
        "source_file": "c.csv",
    }
    return plain | {"source_row": place + 1, "evidence": None} | fields


def test_eight_combinations_of_sources() -> None:
    ledger = invoices(160)
    rows = [
        asked(1 + at * 20 + place, source, result)
        for at, (said, _) in enumerate(SAID)
        for place in range(20)
        for source, result in said.items()
    ]
    case = evidence(ledger, confirmations=frame("confirmations", rows))
    told = found(case, "sources_disagree")
    wrong = {number(1 + at * 20 + place) for at, (_, holds) in enumerate(SAID) if holds for place in range(20)}
    assert set(told["invoice_key"]) == wrong
    assert told.height == len(wrong) == respond(case).findings.height
    holds = dict(respond(case).testimony.select("invoice_key", "holds").iter_rows())
    assert all(holds[number(1 + at * 20)] == top for at, (_, top) in enumerate(SAID) if top)
    medium = told.filter(pl.col("severity") == "medium")["invoice_key"]
    assert set(medium) == {number(1 + at * 20 + place) for at in (2, 3, 4) for place in range(20)}
    alike = frame("confirmations", [row | {"result": "agree"} for row in rows])
    assert respond(evidence(ledger, confirmations=alike)).findings.is_empty()


def test_answers_that_say_nothing_and_later_ones_that_correct_them() -> None:
    ledger = invoices(8)
    old = datetime(2031, 1, 1)
    rows = [
        asked(1, "national", "absent", at=START + timedelta(hours=20)),  # too early
        asked(2, "national", "absent", at=START + timedelta(days=3)),
        asked(2, "national", "agree", at=START + timedelta(days=9)),
        asked(3, "national", "absent", at=old),  # older than five years
        asked(4, "national", "over_limit"),
        asked(6, "national", "absent", at=None),  # who knows when
        asked(5, "counterparty", "agree"),
        asked(5, "counterparty", "absent"),  # at the same time
        asked(7, "national", "agree", at=START + timedelta(days=3)),
        asked(7, "national", "absent", at=START + timedelta(days=9)),  # it cannot have never known it
        *(asked(8, "national", result) for result in ("too_soon", "too_old", "unsupported", "no_answer")),
    ]
    case = evidence(ledger, confirmations=frame("confirmations", rows))
    told = found(case, "sources_disagree")
    assert told["invoice_key"].sort().to_list() == [number(5), number(7)]
    assert told["evidence"].str.contains("contradicts itself").all()
    said = dict(respond(case).testimony.select("invoice_key", "unanswered").iter_rows())
    assert said == {
        number(1): 1,
        number(2): 0,
        number(3): 1,
        number(4): 1,
        number(5): 0,
        number(6): 1,
        number(7): 0,
        number(8): 4,
    }


def test_an_invoice_verified_more_than_five_times_a_day() -> None:
    ledger = invoices(3)
    rows = [
        asked(at, "national", "agree", at=datetime(2025, 5, 30, 8 + hour)) for at in (1, 2) for hour in range(4 + at)
    ]
    rows += [asked(3, "counterparty", "agree", at=datetime(2025, 5, 30, hour)) for hour in range(9)]
    told = found(evidence(ledger, confirmations=frame("confirmations", rows)), "queries_over_limit")
    assert told["invoice_key"].to_list() == [number(2)]
    assert "6 times on 2025-05-30" in told["evidence"][0]


@pytest.mark.parametrize(("signed", "source"), [(datetime(2025, 5, 6), "file"), (None, "copy")])
def test_a_file_that_is_unlike_the_ledger(signed: datetime | None, source: str) -> None:
    ledger = invoices(4)
    files = pl.concat(
        [schema.empty("invoice_files"), shaped("invoice_files", ledger.head(2))], how="diagonal"
    ).with_columns(
        gross=pl.when(pl.int_range(pl.len()) == 0).then(pl.col("gross") + 1).otherwise("gross"),
        signed_at=pl.lit(signed, pl.Datetime("us")),
    )
    case = evidence(ledger, invoice_files=files)
    assert found(case, "sources_disagree")["invoice_key"].to_list() == [number(1)]
    assert respond(case).testimony["holds"].to_list() == [source]
    alike = files.with_columns(pl.Series("gross", ledger.head(2)["gross"]))
    assert respond(evidence(ledger, invoice_files=alike)).findings.is_empty()


def test_a_working_day_lasts_as_the_policy_says() -> None:
    slow = frame(
        "tickets", [ticket(1, level="it", opened_at=datetime(2025, 5, 28, 9), updated_at=datetime(2025, 5, 28, 18))]
    )
    assert found(evidence(invoices(1), tickets=slow), "ticket_overdue").height == 1
    short = Policy(response=ResponsePolicy(day_starts=10, day_ends=16))
    assert found(evidence(invoices(1), tickets=slow, policy=short), "ticket_overdue").is_empty()
    strict = Policy(response=ResponsePolicy(first_reply_hours={"it": 4.0}, day_starts=10, day_ends=16))
    told = found(evidence(invoices(1), tickets=slow, policy=strict), "ticket_overdue")
    assert "after 6.0 working hours; 4 are allowed" in told["evidence"][0]
    assert "10 to 16 o'clock" in told["evidence"][0]
