"""Invoice numbers and tax ids: how they are written, what is read, what is doubted."""

from __future__ import annotations

from datetime import datetime

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from audit_kit.core import identity
from audit_kit.rules.matching.numbers import as_integer, as_it_stands

NUMBER = "25112000000012345678"
WIDE = NUMBER.translate(str.maketrans("0123456789", "０１２３４５６７８９"))
COLUMNS = {"digital_number": pl.String, "invoice_code": pl.String, "invoice_number": pl.String}


def keyed(digital: str | None = None, code: str | None = None, number: str | None = None) -> tuple:
    frame = pl.DataFrame([(digital, code, number)], schema=COLUMNS, orient="row")
    return identity.with_key(frame).select("invoice_key", pl.col("cleaning").list.join(" ")).row(0)


@pytest.mark.parametrize(
    ("digital", "code", "number", "left", "cleaning"),
    [
        (None, None, "12345678", "12345678", "number_incomplete"),
        ("12345678", None, None, "12345678", "number_incomplete"),
        (None, "--", "12345678", "12345678", "number_incomplete"),
        (None, None, "345678", "00345678", "leading_zero number_incomplete"),
        (None, None, "'12345678", "12345678", "quote number_incomplete"),
        (None, "1100233130", "12345678", None, ""),
    ],
)
def test_eight_digits_alone_are_the_end_of_a_number(
    digital: str | None, code: str | None, number: str, left: str | None, cleaning: str
):
    columns = {"digital_number": [digital], "invoice_code": [code], "invoice_number": [number]}
    frame = pl.DataFrame(columns, schema=dict.fromkeys(columns, pl.String))
    known = identity.with_key(frame)
    assert (known["invoice_key"][0] is None) == (left is not None)
    assert known["cleaning"].to_list() == [cleaning.split()]
    assert identity.stated_number(known).to_list() == [left]
    assert identity.with_key(known).equals(known)


@pytest.mark.parametrize(
    ("written", "cleaning"),
    [
        (NUMBER, ""),
        (WIDE, "full_width"),
        (f"{NUMBER[:4]} {NUMBER[4:12]}-{NUMBER[12:]}", "separator"),
        (f"{NUMBER[:10]}.{NUMBER[10:]}", "separator"),
        (f"'{NUMBER}", "quote"),
        (f'="{NUMBER}"', "quote"),
        (f"‘{NUMBER}", "quote"),
        ("2511200OO00012345678", "confusable"),
        ("25ll2000000012345678", "confusable"),
        (f"'{WIDE} ", "full_width separator quote"),
    ],
)
def test_a_number_is_read_however_it_is_written(written: str, cleaning: str):
    assert keyed(written) == (NUMBER, cleaning)
    assert keyed(number=written) == (NUMBER, cleaning)


@pytest.mark.parametrize(
    ("code", "number", "key", "cleaning"),
    [
        ("011002300211", "12345678", "01100230021112345678", ""),
        ("1100233130", "12345678", "110023313012345678", ""),
        ("11002300211", "12345678", "01100230021112345678", "leading_zero"),
        ("011002300211", "1234567", "01100230021101234567", "leading_zero"),
        ("1100233130", "42", "110023313000000042", "leading_zero"),
        (NUMBER[:12], NUMBER[12:], NUMBER, "split_number"),
        (NUMBER[:12], NUMBER[13:], NUMBER[:12] + "0" + NUMBER[13:], "leading_zero split_number"),
        (None, "01100230021112345678", "01100230021112345678", ""),
        (None, "1100230021112345678", "01100230021112345678", "leading_zero"),
        (None, "110023313012345678", "110023313012345678", ""),
    ],
)
def test_code_and_number_are_joined(code: str | None, number: str, key: str, cleaning: str):
    assert keyed(code=code, number=number) == (key, cleaning)


@pytest.mark.parametrize(
    ("digital", "code", "number"),
    [
        (None, None, None),
        ("", "", ""),
        ("--", None, None),
        (None, None, "1234"),
        (None, None, "1" * 8),
        ("0" * 20, None, None),
        ("9" * 20, None, None),
        ("手写", None, None),
    ],
)
def test_without_a_usable_number_there_is_no_key(digital: str | None, code: str | None, number: str | None):
    assert keyed(digital, code, number) == (None, "")


@pytest.mark.parametrize(
    ("written", "stated"),
    [
        ("2.51120000000123E+19", "25112000000012300000"),
        ("2.5112E+19", "25112000000000000000"),
        ("2.511200000001234e19", "25112000000012340000"),
        ("25112000000012345856.0", "25112000000012345856"),
    ],
)
def test_a_number_that_lost_precision_has_no_key_but_states_what_is_left(written: str, stated: str):
    assert keyed(written) == (None, "precision_lost")
    assert identity.stated_number(pl.DataFrame({"digital_number": [written]})).to_list() == [stated]


def test_what_a_reader_flagged_is_kept_and_its_number_not_trusted():
    flagged = pl.DataFrame({"digital_number": [NUMBER], "cleaning": [["precision_lost"]]})
    assert identity.with_key(flagged).select("invoice_key", "cleaning").row(0) == (None, ["precision_lost"])
    assert identity.stated_number(flagged).to_list() == [NUMBER]


def test_a_paper_invoice_goes_by_its_20_digits():
    assert keyed(NUMBER, "011002300211", "12345678") == (NUMBER, "")
    frame = pl.DataFrame([(NUMBER, "011002300211", "12345678")], schema=COLUMNS, orient="row")
    assert identity.paper_numbers(frame).rows() == [("01100230021112345678", NUMBER)]


@pytest.mark.slow
@settings(deadline=None, max_examples=100)
@given(st.lists(st.one_of(st.none(), st.text("0123456789 -'OIl０Ｅ.eE+", max_size=24)), max_size=8))
def test_cleaning_twice_changes_nothing_and_keeps_every_row(written: list[str | None]):
    frame = pl.DataFrame({"digital_number": pl.Series(written, dtype=pl.String)})
    once = identity.with_key(frame)["invoice_key"]
    again = identity.with_key(pl.DataFrame({"digital_number": once}))
    assert len(once) == len(written)
    assert again["invoice_key"].to_list() == once.to_list()
    assert again["cleaning"].list.len().sum() == 0


@pytest.mark.slow
@settings(deadline=None, max_examples=100)
@given(st.lists(st.from_regex(r"[+]?[0-9]{17,21}", fullmatch=True), max_size=12))
def test_tidy_numbers_are_integers_of_their_own(written: list[str]):
    frame = pl.DataFrame({"digital_number": pl.Series(written, dtype=pl.String)})
    text = as_it_stands(frame)
    pairs = [(number, whole) for number, whole in zip(text, as_integer(text), strict=True) if whole is not None]
    assert len({whole for _, whole in pairs}) == len({number for number, _ in pairs})
    for number, key in zip(text, identity.with_key(frame)["invoice_key"], strict=True):
        if number in {one for one, _ in pairs}:
            assert key == number


def judged(key: str, year: int = 2025, seller: str = "91110108MA01A2B3C4") -> tuple[list[str], list[str]]:
    frame = pl.DataFrame({"invoice_key": [key], "issued_at": [datetime(year, 5, 6)], "seller_tax_id": [seller]})
    faults, hints = identity.judge(frame).select("number_faults", "number_hints").row(0)
    return faults, [hint for hint in hints if hint != "tax_id"]


def test_hard_rules_and_hints():
    assert judged(NUMBER) == ([], [])
    assert judged(NUMBER, year=2024) == (["year"], [])
    assert judged(NUMBER[:-1]) == (["length"], [])
    assert judged("25115000000012345678") == ([], ["channel"])
    assert judged("25312000000012345678") == ([], ["province"])
    assert judged("01100230021112345678", year=2023) == ([], [])
    assert judged("01100230021112345678", year=2022) == (["code"], [])
    assert judged("09900230021112345678", year=2023) == (["code"], [])
    assert judged("110023313012345678", year=2023) == ([], [])
    assert judged("110023393012345678", year=2023) == (["code"], [])


def test_tax_ids_are_a_hint_only():
    ids = pl.Series(["91350211M000100Y43", "91350211M000100Y44", "110108199001011234", None])
    assert identity.tax_id_is_valid(ids).to_list()[1:] == [False, False, None]


def test_tax_ids_and_names_are_folded():
    frame = pl.DataFrame(
        {"id": ["９１１１０１０８ｍａ０１－a2b3cO", "--"], "name": ["甲（北京） 公司", "甲【北京】公司"]}
    )
    assert frame.select(identity.fold_tax_id(pl.col("id")))["id"].to_list() == ["91110108MA01A2B3C0", None]
    assert frame.select(identity.fold_name(pl.col("name")))["name"].to_list() == ["甲(北京)公司"] * 2
