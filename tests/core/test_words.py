from __future__ import annotations

import ast
import re
from decimal import Decimal
from pathlib import Path
from string import Formatter

import pytest

import audit_kit.views
from audit_kit import resources
from audit_kit.core import schema
from audit_kit.core.errors import RequestError
from audit_kit.core.words import Words

ROOMS = sorted(Path(audit_kit.views.__file__).parent.rglob("*.py"))
LABELS = [(section, name) for section, names in resources.load("labels").items() for name in names]


def _fields(text: str) -> set[str]:
    return {name for _, name, _, _ in Formatter().parse(text) if name}


@pytest.mark.parametrize(("section", "name"), LABELS)
def test_every_label_says_the_same_in_two_languages(section, name):
    chinese, english = resources.load("labels")[section][name]
    assert chinese.strip()
    assert english.strip()
    assert _fields(chinese) == _fields(english)
    assert not re.search("[\u4e00-\u9fff]", english)


def test_every_label_that_a_room_asks_for_is_there():
    asked = set()
    for room in ROOMS:
        for node in ast.walk(ast.parse(room.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                section, dot, name = node.value.partition(".")
                if dot and section in resources.load("labels") and re.fullmatch("[a-z_]*[a-z]", name):
                    asked.add((section, name))
    assert asked
    assert sorted(asked - set(LABELS)) == []


@pytest.mark.parametrize("lang", ["zh", "en"])
def test_every_outcome_severity_and_area_has_a_label(lang):
    words = Words(lang)
    for vocabulary, terms in (("outcome", schema.OUTCOMES), ("severity", schema.SEVERITIES), ("area", schema.AREAS)):
        labels = words.terms(vocabulary, terms)
        assert len(set(labels.values())) == len(terms)
    assert words.term("outcome", "no such outcome") == "no such outcome"


@pytest.mark.parametrize("cause", ["late", "amount_conflict", "BK05"])
def test_a_cause_has_a_title_a_rule_and_a_next_step_in_both_languages(cause):
    for words in (Words("zh"), Words("en")):
        assert words.cause(cause) not in {"", cause}
        assert words.rule(cause)
        assert words.next_step(cause)


def test_numbers_amounts_shares_and_spans_are_written_as_people_write_them():
    words = Words("zh")
    assert words.count(1234567) == "1,234,567"
    assert words.yuan(Decimal("1234567.8")) == "1,234,567.80 元"
    assert Words("en").yuan(-3) == "CNY -3.00"
    assert words.span(59.6) == "1 小时 0 分"
    assert words.span(26 * 60) == "1 天 2 小时"
    assert words.span(None) == words.count(None) == words.share(None) == "–"


def test_a_share_never_claims_to_be_nothing_or_everything_when_it_is_not():
    words = Words("zh")
    assert words.share(0) == "0.0 %"
    assert words.share(1) == "100.0 %"
    assert words.share(0.0000001) == "<0.1 %"
    assert words.share(0.99999999, digits=2) == ">99.99 %"


def test_another_language_is_refused():
    with pytest.raises(RequestError, match="zh, en"):
        Words("fr")
