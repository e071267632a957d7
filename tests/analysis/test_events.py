"""Findings rolled up to events, and what they put at risk: by figures worked out by hand."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Any

import polars as pl
import pytest

from audit_kit.analysis.events import STAKES, Materiality, by_stake, materiality, roll_up, weigh
from audit_kit.core import schema
from audit_kit.core.cause_records import records
from audit_kit.core.policy import Policy

LEVEL = Materiality(yuan=Decimal(5000))
MONEY = pl.Decimal(18, 2)


def side(rows: list[tuple[str | None, str | None, str]]) -> pl.DataFrame:
    """Return invoices by gross, tax and status, issued one a day from 1 May on."""
    return pl.DataFrame(
        {
            "issued_at": [datetime(2025, 5, day + 1) for day in range(len(rows))],
            "gross": [row[0] for row in rows],
            "tax": [row[1] for row in rows],
            "net": [str(Decimal(row[0]) - Decimal(row[1])) if row[0] and row[1] else None for row in rows],
            "status": [row[2] for row in rows],
        },
        schema={
            "issued_at": pl.Datetime("us"),
            "gross": pl.String,
            "tax": pl.String,
            "net": pl.String,
            "status": pl.String,
        },
    ).with_columns(pl.col("gross", "tax", "net").cast(MONEY))


def told(*rows: dict[str, Any]) -> tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame, pl.DataFrame]:
    """Return findings, ledger, platform and matches; a row: cause, outcome, ledger and platform as (gross, tax)."""
    ledger, platform, matches, findings = [], [], [], []
    for place, row in enumerate(rows):
        booked, listed = row.get("ledger"), row.get("platform")
        ours = len(ledger) if booked else None
        theirs = len(platform) if listed else None
        ledger += [(*booked, row.get("status", "normal"))] if booked else []
        platform += [(*listed, "normal")] if listed else []
        matches.append({"ledger_row": ours, "platform_row": theirs, "outcome": row["outcome"]})
        findings.append(
            {
                "finding_id": f"f{place}",
                "area": row.get("area", "missing"),
                "cause": row["cause"],
                "severity": row.get("severity", "high"),
                "state": row.get("state", "fails"),
                "subject": row.get("subject"),
                "invoice_key": row.get("key"),
                "ledger_row": ours,
                "platform_row": theirs if ours is None else None,
                "amount": (booked or listed or (None,))[0],
            }
        )
    shape = {"ledger_row": pl.UInt32, "platform_row": pl.UInt32}
    text = {"subject": pl.String, "invoice_key": pl.String, "amount": pl.String}
    found = pl.DataFrame(findings, schema_overrides=shape | text, infer_schema_length=None)
    found = found.with_columns(pl.col("amount").cast(MONEY), pl.col("severity").cast(pl.Enum(schema.SEVERITIES)))
    return found, side(ledger), side(platform), pl.DataFrame(matches, schema={**shape, "outcome": pl.String})


def events(*rows: dict[str, Any], level: Materiality = LEVEL) -> pl.DataFrame:
    found, ledger, platform, matches = told(*rows)
    weighed = weigh(found, ledger=ledger, platform=platform, matches=matches, materiality=level)
    assert weighed["finding_id"].to_list() == found["finding_id"].to_list()
    rolled = roll_up(weighed, materiality=level)
    assert rolled["findings"].sum() == found.height == by_stake(rolled)["findings"].sum()
    return rolled


def gone(cause: str, gross: str, tax: str | None, **more: Any) -> dict[str, Any]:
    return {"cause": cause, "outcome": "missing", "ledger": (gross, tax), **more}


MONTH = (
    *(gone("batch_lost", "1130.00", "130.00", subject="网页 A", severity="critical") for _ in range(3)),
    *(gone("batch_lost", "113.00", "13.00", subject="网页 B", severity="critical") for _ in range(2)),
    *(gone("outage", "226.00", "26.00", subject="停机 1") for _ in range(4)),
    gone("lost", "-113.00", "-13.00", key="red"),
    gone("lost", "339.00", "39.00", key="small", state="unknown"),
    gone("lost", "5650.00", "650.00", key="large"),
    gone("late", "9000.00", "900.00", severity="info"),
    {
        "cause": "number_mistyped",
        "outcome": "mistyped",
        "ledger": ("7000.00", "700.00"),
        "platform": ("7000.00", "700.00"),
    },
    {
        "cause": "amount_conflict",
        "outcome": "conflict",
        "ledger": ("1130.00", "130.00"),
        "platform": ("1017.00", "117.00"),
    },
    {"cause": "amount_conflict", "outcome": "conflict", "ledger": ("100.00", "11.50"), "platform": ("213.00", "24.50")},
    {"cause": "unbooked", "outcome": "unbooked", "platform": ("452.00", "52.00")},
    {"cause": "BK07", "outcome": "matched", "area": "backup", "subject": "nas x", "severity": "critical"},
)


def test_a_batch_a_stop_and_a_large_invoice_are_one_event_each_ranked_by_what_is_at_risk() -> None:
    found = events(*MONTH)
    rows = found.select("event", "cause", "subject", "findings", "at_risk", "tax_at_risk", "material", "first").rows()
    assert rows == [
        (1, "lost", "large", 1, Decimal("5650.00"), Decimal("650.00"), True, True),
        (2, "batch_lost", "网页 A", 3, Decimal("3390.00"), Decimal("390.00"), False, True),
        (3, "outage", "停机 1", 4, Decimal("904.00"), Decimal("104.00"), False, False),
        (4, "lost", None, 2, Decimal("452.00"), Decimal("52.00"), False, False),  # the red one by its absolute amount
        (5, "unbooked", None, 1, Decimal("452.00"), Decimal("52.00"), False, False),
        (6, "batch_lost", "网页 B", 2, Decimal("226.00"), Decimal("26.00"), False, True),
        (7, "amount_conflict", None, 2, Decimal("226.00"), Decimal("26.00"), False, False),  # 113 and 113 apart
        (8, "BK07", "nas x", 1, Decimal("0.00"), Decimal("0.00"), False, True),
        (9, "number_mistyped", None, 1, Decimal("0.00"), Decimal("0.00"), False, False),
        (10, "late", None, 1, Decimal("0.00"), Decimal("0.00"), False, False),
    ]
    lost = found.filter(pl.col("cause") == "lost")
    assert lost["unknown"].to_list() == [0, 1]
    assert lost["net_of_red"].to_list() == [Decimal("5650.00"), Decimal("226.00")]  # 339 less 113
    first = found.row(1, named=True)
    assert (first["begins"], first["ends"]) == (datetime(2025, 5, 1), datetime(2025, 5, 3))


def test_what_is_at_risk_is_told_from_what_waits_and_what_is_only_miswritten() -> None:
    sums = {row[0]: row[1:] for row in by_stake(events(*MONTH)).select("stake", "findings", "yuan", "at_risk").rows()}
    assert sums == {
        "risk": (13, Decimal("11074.00"), Decimal("11074.00")),
        "differs": (2, Decimal("1230.00"), Decimal("226.00")),
        "late": (1, Decimal("9000.00"), Decimal("0.00")),
        "found": (1, Decimal("7000.00"), Decimal("0.00")),
        "backup": (1, None, Decimal("0.00")),
    }


# Labelled by hand: what each cause, with its outcome and the ledger's own status, means for the money.
CASES = [
    ("precision_lost", "missing", "normal", "risk"),
    ("precision_lost", "matched_cleaned", "normal", "found"),
    ("precision_lost", "mistyped", "normal", "found"),
    ("number_damaged", "matched_cleaned", "normal", "found"),
    ("number_mistyped", "mistyped", "normal", "found"),
    ("ambiguous", "ambiguous", "normal", "risk"),
    ("number_reused", "conflict", "normal", "risk"),
    ("elsewhere", "missing", "normal", "outside"),
    ("number_invalid", "missing", "normal", "risk"),
    ("edited_not_synced", "conflict", "normal", "differs"),
    ("voided", "conflict", "normal", "risk"),
    ("voided", "missing", "normal", "risk"),
    ("voided", "missing", "voided", "outside"),
    ("red_reversed", "conflict", "normal", "risk"),
    ("red_pending", "missing", "normal", "risk"),
    ("not_issued", "missing", "normal", "risk"),
    ("status_conflict", "conflict", "normal", "risk"),
    ("amount_conflict", "conflict", "normal", "differs"),
    ("date_conflict", "conflict", "normal", "differs"),
    ("party_conflict", "conflict", "normal", "differs"),
    ("issued_to_other", "missing", "normal", "risk"),
    ("booked_twice", "duplicate", "normal", "risk"),
    ("export_truncated", "missing", "normal", "risk"),
    ("outside_export", "missing", "normal", "outside"),
    ("no_permission", "missing", "normal", "risk"),
    ("exists_not_listed", "missing", "normal", "found"),
    ("unknown_to_authority", "missing", "normal", "risk"),
    ("upload_failed", "missing", "normal", "risk"),
    ("only_in_backup", "missing", "normal", "risk"),
    ("kind_excess", "missing", "normal", "risk"),
    ("late", "missing", "normal", "late"),
    ("lost", "missing", "normal", "risk"),
    ("unexplained", "missing", "normal", "risk"),
    ("risk_flagged", "matched", "normal", "risk"),
]


@pytest.mark.parametrize(("cause", "outcome", "status", "stake"), CASES)
def test_what_is_at_stake_by_cause(cause: str, outcome: str, status: str, stake: str) -> None:
    both = outcome in {"matched", "matched_cleaned", "mistyped", "conflict", "duplicate"}
    row = {"cause": cause, "outcome": outcome, "status": status, "ledger": ("113.00", "13.00")}
    found = events(row | ({"platform": ("113.00", "13.00")} if both else {})).row(0, named=True)
    assert found["stake"] == stake
    assert found["at_risk"] == Decimal("113.00" if stake == "risk" else "0.00")
    assert found["yuan"] == Decimal("113.00")


def test_every_cause_says_what_is_at_stake() -> None:
    assert {one.stake for one in records().values()} <= set(STAKES)


@pytest.mark.parametrize("cause", ["export_truncated", "no_permission", "kind_excess"])
def test_a_cut_export_is_one_event_however_large_its_invoices(cause: str) -> None:
    rows = [gone(cause, "9000.00", "900.00", subject="may.xlsx") for _ in range(5)]
    assert events(*rows).select("subject", "findings", "at_risk").rows() == [("may.xlsx", 5, Decimal("45000.00"))]
    apart = [gone("lost", "9000.00", "900.00", key=f"k{place}") for place in range(5)]  # the clean twin: five losses
    assert events(*apart)["findings"].to_list() == [1] * 5


def test_tax_that_is_not_stated_is_unknown_and_not_nothing() -> None:
    found = events(gone("lost", "200.00", None), gone("lost", "113.00", "13.00"), gone("upload_failed", "50.00", None))
    assert found.select("cause", "at_risk", "tax_at_risk", "untaxed").rows() == [
        ("lost", Decimal("313.00"), Decimal("13.00"), 1),
        ("upload_failed", Decimal("50.00"), None, 1),
    ]


def test_the_tax_of_a_list_without_such_a_column_is_gross_less_net() -> None:
    found, ledger, platform, matches = told(gone("lost", "113.00", "13.00"))
    plain = ledger.drop("tax", "status")
    weighed = weigh(found, ledger=plain, platform=platform, matches=matches, materiality=LEVEL)
    assert weighed["tax_at_risk"].to_list() == [Decimal("13.00")]


def test_nothing_found_is_no_event() -> None:
    nothing = {name: schema.empty(name) for name in ("ledger", "platform", "matches")}
    weighed = weigh(schema.empty("findings"), **nothing, materiality=LEVEL)
    rolled = roll_up(weighed, materiality=LEVEL)
    assert (weighed.height, rolled.height, by_stake(rolled).height) == (0, 0, 0)


@pytest.mark.parametrize(
    ("gross", "stated", "level"),
    [
        (["12000000.00", "-2000000.00"], None, "50000.00"),  # 0.5 % of 10,000,000: red invoices are taken off
        (["1000.00"], None, "1000.00"),  # 0.5 % would be 5: the least
        (["200000.00"], None, "1000.00"),
        (["200200.00"], None, "1001.00"),
        (["12000000.00"], 30000.0, "30000.00"),
        (["12000000.00"], 0.0, "0.00"),
        ([], None, "1000.00"),
    ],
)
def test_materiality_is_half_a_per_cent_of_the_period_unless_it_is_stated(
    gross: list[str], stated: float | None, level: str
) -> None:
    ledger = side([(amount, None, "normal") for amount in gross])
    assert materiality(ledger, Policy(materiality_yuan=stated)).yuan == Decimal(level)


def test_materiality_is_of_the_period_alone() -> None:
    ledger = side([("1000000.00", None, "normal")] * 4)  # issued on 1 to 4 May
    found = materiality(ledger, Policy(), start=datetime(2025, 5, 2), end=datetime(2025, 5, 4))
    assert (found.base, found.yuan) == (Decimal("2000000.00"), Decimal("10000.00"))


def test_a_materiality_of_nothing_makes_no_event_of_what_is_not_at_risk() -> None:
    found = events(gone("late", "9.00", "1.00"), gone("lost", "9.00", "1.00"), level=Materiality(yuan=Decimal(0)))
    assert found.select("cause", "material").rows() == [("lost", True), ("late", False)]
