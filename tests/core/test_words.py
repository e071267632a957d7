from __future__ import annotations

import ast
import copy
import errno
import json
import os
import re
import tomllib
from decimal import Decimal
from functools import cache
from pathlib import Path
from string import Formatter

import pytest

import audit_kit
from audit_kit import resources
from audit_kit.core import errors, places, schema
from audit_kit.core.cause_records import records, require_texts
from audit_kit.core.errors import RequestError
from audit_kit.core.words import Words, texts
from audit_kit.resources.languages import reading

PACKAGE = Path(audit_kit.__file__).parent
TABLES = sorted((PACKAGE / "resources" / "words").glob("*.toml"))
ENTRIES = [(section, name) for section, names in texts().items() for name in names]
KEYS = {f"{section}.{name}" for section, name in ENTRIES}


def _fields(text: str) -> set[str]:
    return {name for _, name, _, _ in Formatter().parse(text) if name}


def test_every_entry_says_the_same_in_two_languages():
    for section, name in ENTRIES:
        chinese, english = texts()[section][name]
        assert chinese.strip() and english.strip(), (section, name)  # noqa: PT018 -- names the entry
        assert _fields(chinese) == _fields(english), (section, name)
        heads = "发票号码|开票日期|金额|流水号|原因|企业台账|票号"  # that a reader looks for in the file itself
        said = re.sub(heads, "", english)
        assert not re.search("[\u4e00-\u9fff]", said), (section, name)


def test_a_section_stands_in_one_table_and_is_no_vocabulary():
    sections = [section for table in TABLES for section in tomllib.loads(table.read_text(encoding="utf-8"))]
    assert sorted(sections) == sorted(set(sections))
    assert not set(sections) & set(resources.load("vocabularies"))


def _sources() -> list[str]:
    cells = [json.loads(path.read_text(encoding="utf-8"))["cells"] for path in PACKAGE.parent.glob("notebooks/*.ipynb")]
    code = ["".join(cell["source"]) for page in cells for cell in page if cell["cell_type"] == "code"]
    return code + [path.read_text(encoding="utf-8") for path in PACKAGE.rglob("*.py")]


@cache
def _asked() -> tuple[set[str], set[str], set[str]]:
    """Return keys asked for whole, shapes of keys that hold a name in a variable, and every word of the code."""
    whole, shapes, words = set(), set(), set()
    for source in _sources():
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.JoinedStr):
                parts = [re.escape(part.value) if isinstance(part, ast.Constant) else "(.+)" for part in node.values]
                shapes.add("".join(parts))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                words.add(re.sub(r"^(?:\w+\()?(\w+)\)?:[NOQT]$", r"\1", node.value))  # a chart's column is a word too
                whole |= {node.value} & KEYS
            elif isinstance(node, ast.keyword) and node.arg:
                words.add(node.arg)
    for template in (PACKAGE / "resources" / "report").glob("*.j2"):
        whole |= set(re.findall(r"""words\(["']([a-z_.0-9]+)["']""", template.read_text(encoding="utf-8")))
    return whole, {shape for shape in shapes if re.match(r"[a-z_]+\\\.", shape)}, words


def test_every_entry_that_is_asked_for_is_there():
    asked = {
        node.args[0].value
        for source in _sources()
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Call)
        and re.search(r"\bwords$", ast.unparse(node.func))
        and node.args
        and isinstance(node.args[0], ast.Constant)
        and "." in node.args[0].value
    }
    assert len(asked) > len(KEYS) / 4
    assert sorted((asked | _asked()[0]) - KEYS) == []


def test_every_entry_is_asked_for():
    """By its whole key, or as one of those whose name stands in a variable: then the name is a word of the code."""
    whole, shapes, words = _asked()
    known = words | {name for table in schema.TABLES for name in schema.dtypes(table)} | set(schema.INPUTS)
    known |= {str(level) for level in range(5)} | {path.stem for path in places.notebooks()}
    drills = resources.load("drills")
    known |= {*drills["course"], *drills["report"]["parts"]}
    known |= {
        place[1]
        for of in (drills["charts"], drills["charts"]["group"])
        for place in of.values()
        if isinstance(place, list)
    }
    known |= {cause.drill.group for cause in records().values() if cause.drill}

    def may_be_asked(section: str, name: str) -> bool:
        fits = [found.groups() for shape in shapes if (found := re.fullmatch(shape, f"{section}.{name}"))]
        return any(known.issuperset(names) for names in fits) or (section in words and name in known)

    assert [key for key in sorted(KEYS - whole) if not may_be_asked(*key.split("."))] == []


def _faults_of(call: ast.Call) -> str | None:
    """Return what is wrong with a call that makes an error, a mistake or a phrase; none where its sentence is whole."""
    key = call.args[0] if call.args else None
    if not isinstance(key, ast.Constant):
        return None if "Phrase" in ast.unparse(call.func) else "no key"
    if key.value not in KEYS:
        return "no entry"
    section, _, name = key.value.partition(".")
    needed = _fields(texts()[section][name][0]) - ({"place"} if section == "mistake" else set())
    given = {word.arg for word in call.keywords}
    return None if given == needed or None in given else f"{sorted(needed)} are needed"


def test_every_error_has_a_sentence_in_the_table_and_what_stands_in_it():
    kinds = {name for name, kind in vars(errors).items() if isinstance(kind, type) and issubclass(kind, Exception)}
    calls = [
        (f"{path.relative_to(PACKAGE)}:{node.lineno}", node)
        for path in PACKAGE.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in {*kinds, "Phrase"}
    ]
    assert len(calls) > 150
    assert [(where, fault) for where, call in calls if (fault := _faults_of(call))] == []


def test_a_mistake_has_a_phrase():
    """A kind of value that is wrong is told by a phrase too, or by that of the mistake it was."""
    for path in (PACKAGE / "loaders" / "engagement").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "MistakeError":
                assert re.match(r"Phrase\(|\w+\.reason$", ast.unparse(node.args[0])), (path.name, node.lineno)


def test_an_error_is_said_in_every_language_with_the_one_within():
    inner = errors.SourceError("error_formats.empty", file="台账.csv")
    outer = errors.RequestError("error_report.paper_unreadable", file="a.xlsx", error=inner)
    assert str(inner) == "台账.csv: is empty; export it again."
    assert inner.said("zh") == "台账.csv：是空文件；请重新导出。"
    assert "（台账.csv：是空文件；请重新导出）" in outer.said("zh")
    assert "(台账.csv: is empty; export it again.)" in str(outer)
    assert str(copy.copy(outer)) == str(outer)
    told = errors.PlaceError("error_core.refused", place="/x", why=errors.of_system(os.strerror(errno.EACCES)))
    assert told.said("zh") == "/x 无法写入（权限不足）；请换一个位置，或修改权限。"
    assert "(Permission denied)" in str(told)
    assert errors.of_system("something else") == "something else"
    assert str(errors.RequestError("a sentence of one's own")) == "a sentence of one's own"
    assert errors.SourceError("error_formats.damaged", file="{x}").said("zh").startswith("{x}：")


def test_a_notebook_shows_an_error_as_its_sentence_in_the_language_of_whoever_reads():
    error = errors.SourceError("error_formats.empty", file="a.csv")
    for lang, sentence in (("zh", "a.csv：是空文件；请重新导出。"), ("en", "a.csv: is empty; export it again.")):
        with reading(lang):
            assert error._render_traceback_() == [sentence]


def test_a_missing_entry_is_an_error():
    with pytest.raises(KeyError):
        Words("zh")("head.no_such_entry")
    with pytest.raises(KeyError):
        Words("zh").term("outcomes", "no such outcome")
    with pytest.raises(KeyError):
        Words("zh").term("outcome", "matched")


@pytest.mark.parametrize("lang", ["zh", "en"])
def test_every_outcome_severity_and_area_has_a_label(lang):
    words = Words(lang)
    for vocabulary, terms in (
        ("outcomes", schema.OUTCOMES),
        ("severities", schema.SEVERITIES),
        ("areas", schema.AREAS),
    ):
        labels = words.terms(vocabulary, terms)
        assert len(set(labels.values())) == len(terms)
    assert words.term("outcomes", None) == "–"


def test_headings_come_in_the_order_asked_for():
    heads = Words("en").heads("channel", "rows", gross="amount", rows="findings")
    assert list(heads.items()) == [("channel", "Channel"), ("rows", "Findings"), ("gross", "Gross (CNY)")]


def test_what_is_filled_in_is_data():
    assert Words("en")("answer.absent", list="{list} {0}").startswith("Not supplied: {list} {0}.")


@pytest.mark.parametrize("cause", ["late", "amount_conflict", "BK05"])
def test_a_cause_has_a_title_a_rule_and_a_next_step_in_both_languages(cause):
    for words in (Words("zh"), Words("en")):
        assert words.cause(cause) not in {"", cause}
        assert words.rule(cause)
        assert words.next_step(cause)
    assert Words("zh").cause("of an older report") == "of an older report"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"needs": None}, "late lacks needs"),
        ({"example": ["例", ""], "confused_with": None}, "late lacks example, confused_with"),
        ({"confused_with": ["late", "gone"]}, "late is confused with late, gone, which is no other cause"),
    ],
)
def test_a_cause_that_does_not_say_what_it_must_is_an_error(change, said):
    table = resources.load("causes")["causes"]
    require_texts("causes", table)
    record = {key: value for key, value in (table["late"] | change).items() if value is not None}
    with pytest.raises(LookupError, match=rf"^resources/causes\.toml: {said}\.$"):
        require_texts("causes", table | {"late": record})


def test_numbers_amounts_shares_and_spans_are_written_as_people_write_them():
    words = Words("zh")
    assert words.count(1234567) == "1,234,567"
    assert words.yuan(Decimal("1234567.8")) == "1,234,567.80 元"
    assert Words("en").yuan(-3) == "CNY -3.00"
    assert words.span(59.6) == "1 小时 0 分"
    assert words.span(26 * 60) == "1 天 2 小时"
    assert words.span(None) == words.count(None) == words.share(None) == "–"
    assert [words.about(minutes) for minutes in (119, 120, 2880)] == ["119 分钟", "2 小时", "2 天"]
    assert words.about(None) == "截至导出时尚未达到"


def test_a_share_never_claims_to_be_nothing_or_everything_when_it_is_not():
    words = Words("zh")
    assert words.share(0) == "0.0 %"
    assert words.share(1) == "100.0 %"
    assert words.share(0.0000001) == "<0.1 %"
    assert words.share(0.99999999, digits=2) == ">99.99 %"


def test_another_language_is_refused():
    with pytest.raises(RequestError, match="zh, en"):
        Words("fr")


def losing_terms() -> list[str]:
    """The left column of the glossary's table of terms that lose."""
    table = (PACKAGE.parent / "GLOSSARY.md").read_text("utf-8").split("| not | but |")[1].splitlines()[2:]
    return [term.strip() for line in table if line.startswith("|") for term in line.split("|")[1].split("、")]


def test_one_term_for_one_thing():
    """What a person reads uses the glossary's terms: none that loses stands in words, causes, notebooks, README."""
    places = [
        *(PACKAGE.parent / "audit_kit" / "resources").rglob("*.toml"),
        *(PACKAGE.parent / "notebooks").glob("*.ipynb"),
    ]
    losing = losing_terms()
    assert len(losing) > 20
    used = [
        f"{place.name}: {term}"
        for place in [*places, PACKAGE.parent / "README.zh-CN.md"]
        if place.name != "headers.toml"  # what files of others call their columns
        for term in losing
        if term in place.read_text("utf-8")
    ]
    assert not used
