from __future__ import annotations

import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from audit_kit.views.show import masking

CARD = "110105199003071234"


def _one(text: str, **options: object) -> str:
    return masking.mask(pl.DataFrame({"evidence": [text]}), **options)["evidence"][0]


def test_identity_cards_are_hidden_always_even_side_by_side():
    assert _one(f"身份证{CARD}，{CARD},{CARD[:-1]}X", redact=False) == "身份证110105****4，110105****4,110105****X"


def test_invoice_numbers_stay_readable():
    number = "25112000000000000001"
    assert _one(f"发票{number}。", redact=True) == f"发票{number}。"
    assert _one("代码 011002400111 号码 20464149", redact=True) == "代码 011002400111 号码 20464149"


def test_the_rows_own_number_stays_though_it_looks_like_a_tax_id():
    frame = pl.DataFrame(
        {
            "invoice_key": ["110025113048197858", None, ""],
            "evidence": ["发票 110025113048197858，购方 91110105MA01ABCD2X，另一 110025113048197859。"] * 3,
        }
    )
    own, unknown, empty = masking.mask(frame, redact=True)["evidence"]
    assert own == "发票 110025113048197858，购方 91****CD2X，另一 11****7859。"
    assert unknown == empty == "发票 11****7858，购方 91****CD2X，另一 11****7859。"
    assert _one("台账写作“2.51120000003710E+19”", redact=True) == "台账写作“2.51120000003710E+19”"
    assert _one("110105199003071,110105199003072", redact=True) == "11****3071,11****3072"


def test_a_credit_code_is_hidden_only_when_redacted():
    code = "91110105MA01ABCD2X"
    assert _one(f"税号{code}", redact=False) == f"税号{code}"
    assert _one(f"税号{code}", redact=True) == "税号91****CD2X"


def test_names_keep_their_ends_and_are_hidden_inside_sentences_too():
    frame = pl.DataFrame(
        {"buyer_name": ["张三", "北京某某科技有限公司", None], "evidence": ["北京某某科技有限公司的票"] * 3}
    )
    known = masking.instead(frame["buyer_name"], "name")
    shown = masking.mask(frame, redact=True, known=known)
    assert shown["buyer_name"].to_list() == ["张**", "北京****公司", None]
    assert shown["evidence"][0] == "北京****公司的票"
    assert masking.mask(frame, redact=False, known=known).equals(frame)


def test_the_longest_of_several_known_names_is_hidden_first():
    names = pl.Series(["北京某某科技有限公司", "北京某某科技有限公司第二分公司"])
    known = masking.instead(names, "name")
    assert _one("北京某某科技有限公司第二分公司", redact=True, known=known) == "北京****公司"


@given(st.lists(st.text(max_size=30), max_size=5))
def test_rows_and_columns_are_kept_and_masking_twice_changes_nothing(texts):
    frame = pl.DataFrame({"evidence": texts, "n": range(len(texts))}, schema={"evidence": pl.String, "n": pl.Int64})
    once = masking.mask(frame, redact=False)
    assert once.shape == frame.shape
    assert masking.mask(once, redact=False).equals(once)


def test_a_page_that_is_redacted_shows_no_buyer(english):
    rows = english.safe(english.analysis.ledger.with_row_index("ledger_row"))
    names = english.analysis.ledger["buyer_name"].drop_nulls().unique()
    long = names.filter(names.str.len_chars() > 4)
    assert not set(rows["buyer_name"].to_list()) & set(long.to_list())
