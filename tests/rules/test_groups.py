"""Split and merged bookings are recognised by their sums, and shown."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal

import polars as pl

from audit_kit.rules.groups import GROUPS, groups
from audit_kit.rules.matching.reconcile import reconcile

BUYER, OTHER = "91110105MA00000001", "91110105MA00000002"
COLUMNS = {
    "digital_number": pl.String,
    "issued_at": pl.Datetime("us"),
    "gross": pl.Decimal(18, 2),
    "seller_tax_id": pl.String,
    "buyer_tax_id": pl.String,
}


def number(serial: int) -> str:
    return f"25112{serial:015d}"


def book(*rows: tuple) -> pl.DataFrame:
    """Rows of number, yuan, day of May, buyer, as far as they are given."""
    full = []
    for text, gross, *rest in rows:
        day, buyer = [*rest, *[6, BUYER][len(rest) :]]
        full.append((text, datetime(2025, 5, day), Decimal(gross), "91110108MA00000001", buyer))
    return pl.DataFrame(full, schema=COLUMNS, orient="row")


def found(ledger: pl.DataFrame, platform: pl.DataFrame) -> list[tuple]:
    return groups(ledger, platform, reconcile(ledger, platform)).rows()


def test_an_invoice_booked_by_net_and_tax():
    ledger = book((number(1), "100"), (number(1), "13"), (number(2), "50"))
    platform = book((number(1), "113"), (number(2), "50"))
    assert found(ledger, platform) == [("many_to_one", "same_number", [0, 1], [0], Decimal("113.00"), 1)]


def test_lines_that_do_not_add_up_are_no_group():
    ledger = book((number(1), "100"), (number(1), "12"))
    assert found(ledger, book((number(1), "113"))) == []


def test_a_line_without_number_that_covers_a_days_invoices_to_a_customer():
    ledger = book((None, "600"), (number(50), "70"))
    platform = book((number(1), "100"), (number(2), "200"), (number(3), "300"), (number(50), "70"))
    assert found(ledger, platform) == [("one_to_many", "same_day_and_party", [0], [0, 1, 2], Decimal("600.00"), 1)]


def test_lines_without_number_that_make_up_one_invoice():
    ledger = book((None, "40"), (None, "60"), (None, "7", 9))
    assert found(ledger, book((number(1), "100"))) == [
        ("many_to_one", "same_day_and_party", [0, 1], [0], Decimal("100.00"), 1)
    ]


def test_another_day_or_another_customer_is_another_matter():
    ledger = book((None, "300"))
    assert found(ledger, book((number(1), "100", 6), (number(2), "200", 7))) == []
    assert found(ledger, book((number(1), "100", 6, OTHER), (number(2), "200", 6, OTHER))) == []


def test_all_sums_that_fit_are_shown():
    ledger = book((None, "300"))
    platform = book((number(1), "100"), (number(2), "200"), (number(3), "100"))
    assert found(ledger, platform) == [
        ("one_to_many", "same_day_and_party", [0], [0, 1], Decimal("300.00"), 2),
        ("one_to_many", "same_day_and_party", [0], [1, 2], Decimal("300.00"), 2),
    ]


def test_nothing_to_group():
    empty = book().clear()
    shown = groups(empty, empty, reconcile(empty, empty))
    assert shown.is_empty()
    assert dict(shown.schema) == GROUPS
