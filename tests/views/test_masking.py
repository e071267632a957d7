from __future__ import annotations

import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from audit_kit.core.kept.pseudonyms import Pseudonyms
from audit_kit.views.show import masking

CARD = "110105199003071234"
HIDE = Pseudonyms(b"k" * 32, "zh")


def _one(text: str, **options: object) -> str:
    return masking.mask(pl.DataFrame({"evidence": [text]}), **options)["evidence"][0]


def _id(word: str) -> str:
    return HIDE.of("tax_id", word)


def test_identity_cards_are_hidden_always_even_side_by_side():
    assert _one(f"身份证{CARD}，{CARD},{CARD[:-1]}X") == "身份证110105****4，110105****4,110105****X"


def test_invoice_numbers_stay_readable():
    number = "25112000000000000001"
    assert _one(f"发票{number}。", hide=HIDE) == f"发票{number}。"
    assert _one("代码 011002400111 号码 20464149", hide=HIDE) == "代码 011002400111 号码 20464149"


def test_the_rows_own_number_stays_though_it_looks_like_a_tax_id():
    frame = pl.DataFrame(
        {
            "invoice_key": ["110025113048197858", None, ""],
            "evidence": ["发票 110025113048197858，购方 91110105MA01ABCD2X，另一 110025113048197859。"] * 3,
        }
    )
    looks, tax, other = map(_id, ("110025113048197858", "91110105MA01ABCD2X", "110025113048197859"))
    own, unknown, empty = masking.mask(frame, hide=HIDE)["evidence"]
    assert own == f"发票 110025113048197858，购方 {tax}，另一 {other}。"
    assert unknown == empty == f"发票 {looks}，购方 {tax}，另一 {other}。"
    assert _one("台账写作“2.51120000003710E+19”", hide=HIDE) == "台账写作“2.51120000003710E+19”"
    assert _one("110105199003071,110105199003072", hide=HIDE) == ",".join(
        map(_id, ("110105199003071", "110105199003072"))
    )


def test_an_invoice_number_that_is_known_stays_in_a_text_of_several():
    known = {"110025113048197858": "110025113048197858"}
    text = "例：发票 110025113048197858，购方 110025113048197859"
    assert _one(text, hide=HIDE, known=known) == f"例：发票 110025113048197858，购方 {_id('110025113048197859')}"


def test_a_credit_code_is_hidden_only_when_redacted():
    code = "91110105MA01ABCD2X"
    assert _one(f"税号{code}") == f"税号{code}"
    assert _one(f"税号{code}", hide=HIDE) == f"税号{_id(code)}"


def test_names_are_hidden_whole_and_inside_sentences_too():
    name = "北京某某科技有限公司"
    frame = pl.DataFrame(
        {"buyer_name": ["张三", name, None], "holder": ["李四", None, None], "evidence": [f"{name}的票"] * 3}
    )
    known = masking.instead(frame["buyer_name"], "party", HIDE)
    shown = masking.mask(frame, hide=HIDE, known=known)
    assert shown["buyer_name"].to_list() == [HIDE.of("party", "张三"), HIDE.of("party", name), None]
    assert shown["holder"][0] == HIDE.of("person", "李四")
    assert shown["evidence"][0] == f"{HIDE.of('party', name)}的票"
    assert masking.mask(frame, known=known).equals(frame)


def test_the_longest_of_several_known_names_is_hidden_first():
    branch = "北京某某科技有限公司第二分公司"
    known = masking.instead(pl.Series(["北京某某科技有限公司", branch]), "party", HIDE)
    assert _one(branch, hide=HIDE, known=known) == HIDE.of("party", branch)


def test_what_is_hidden_already_stays_though_a_known_word_stands_in_its_letters():
    once = HIDE.of("party", "北京某某科技有限公司")
    known = {once[3:6]: "账号-AAAAAAAA", "某某": "单位-BBBBBBBB"}
    frame = pl.DataFrame({"evidence": [f"{once}，某某"], "buyer_name": [once], "buyer_tax_id": [_id(CARD)]})
    shown = masking.mask(frame, hide=HIDE, known=known)
    assert shown.row(0) == (f"{once}，单位-BBBBBBBB", once, _id(CARD))


def test_a_word_is_called_the_same_in_a_redacted_report_and_in_a_letter():
    card = pl.DataFrame({"buyer_tax_id": [CARD], "value": [f"李四 | {CARD}"]})
    shown = masking.mask(card, hide=HIDE)
    assert shown["buyer_tax_id"][0] == HIDE.of("tax_id", CARD)
    assert CARD[:6] not in shown["value"][0]


@given(st.lists(st.text(max_size=30), max_size=5))
def test_rows_and_columns_are_kept_and_masking_twice_changes_nothing(texts):
    frame = pl.DataFrame({"evidence": texts, "n": range(len(texts))}, schema={"evidence": pl.String, "n": pl.Int64})
    once = masking.mask(frame)
    assert once.shape == frame.shape
    assert masking.mask(once).equals(once)


def test_a_page_that_is_redacted_shows_no_buyer(english):
    rows = english.safe(english.analysis.ledger.with_row_index("ledger_row"))
    names = english.analysis.ledger["buyer_name"].drop_nulls().unique()
    long = names.filter(names.str.len_chars() > 4)
    assert not set(rows["buyer_name"].to_list()) & set(long.to_list())
