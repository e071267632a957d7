from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import polars as pl
import pytest

from audit_kit import resources
from audit_kit.analysis.work import analyse
from audit_kit.cli.main import main
from audit_kit.core.cause_records import records, simulated
from audit_kit.core.errors import RequestError
from audit_kit.core.words import Words
from audit_kit.loaders.engagement.engagement import open_engagement
from audit_kit.training.drill import drill, scenarios, scoring, sealing
from audit_kit.training.drill.answer_sheet import Answers, Named, from_labels, read_answers
from audit_kit.training.world.dice import Dice

pytestmark = pytest.mark.slow

# Ten invoices: four lost in an outage, two mistyped, one late, three matched.
TRUTH = pl.DataFrame(
    {
        "ledger_row": range(10),
        "serial": [f"XS{row}" for row in range(10)],
        "key": [f"2511200000000000000{row}" for row in range(10)],
        "outcome": ["missing"] * 4 + ["mistyped"] * 2 + ["missing"] + ["matched"] * 3,
        "cause": ["outage"] * 4 + ["number_mistyped"] * 2 + ["late"] + [None] * 3,
    },
    schema_overrides={"ledger_row": pl.UInt32()},
)
FACTS = {
    cause: {"rows": rows, "first": "09:00", "last": "11:00", "account": "WY101", "channel": "网页", "kind": "数电发票"}
    for cause, rows in (("outage", 4), ("number_mistyped", 2), ("late", 1))
}
RIGHT = (
    Named(cause="outage", confidence=1.0, evidence=("XS0",)),
    Named(cause="number_mistyped", confidence=1.0, evidence=("4",)),
)


def labels(*causes: str | None) -> pl.DataFrame:
    rows = [(row, cause) for row, cause in enumerate(causes) if cause]
    return pl.DataFrame(rows, schema={"ledger_row": pl.UInt32(), "cause": pl.String()}, orient="row")


def scored(answers: Answers, *, null: bool = False, hint_cost: int = 0) -> scoring.Score:
    innocent = {"title": "线路调整", "start": "10:00", "end": "12:00", "rows": 40, "missing": 1}
    return scoring.score(TRUTH, answers, facts=FACTS, innocent=innocent, null=null, hint_cost=hint_cost, lang="zh")


TRUE_LABELS = labels(*["outage"] * 4, *["number_mistyped"] * 2, "late")


def test_a_perfect_answer_gets_all_the_points():
    made = scored(Answers(named=RIGHT, labels=TRUE_LABELS))
    assert (made.total, made.macro_f1, made.brier) == (100.0, 1.0, 0.0)
    assert (made.false, made.missed, made.unsupported) == ((), (), ())


def test_what_is_left_without_a_label_is_called_late():
    made = scored(Answers(named=RIGHT, labels=labels(*["outage"] * 4, *["number_mistyped"] * 2)))
    assert made.total == 100.0


def test_macro_f1_is_the_mean_over_causes_and_not_over_invoices():
    """All called an outage: F1 of outage 8/11, of the two others 0."""
    named = (Named(cause="outage", confidence=1.0, evidence=("XS0",)),)
    made = scored(Answers(named=named, labels=labels(*["outage"] * 7)))
    assert made.macro_f1 == pytest.approx((8 / 11) / 3)
    assert made.missed == ("number_mistyped",)
    assert made.total < 30


def test_confidence_counts_by_brier():
    sure = scored(Answers(named=RIGHT, labels=TRUE_LABELS))
    unsure = tuple(Named(cause=one.cause, confidence=0.7, evidence=one.evidence) for one in RIGHT)
    modest = scored(Answers(named=unsure, labels=TRUE_LABELS))
    assert modest.brier == pytest.approx(0.09)
    assert modest.total == pytest.approx(sure.total - 25 * 0.09 / 0.25)


def test_a_cause_that_is_not_there_costs_points_and_is_shown():
    wrong = Named(cause="no_permission", confidence=0.0, evidence=("XS1",))
    made = scored(Answers(named=(*RIGHT, wrong), labels=TRUE_LABELS))
    assert made.false == ("no_permission",)
    assert "账号无权限" in made.debrief
    assert made.total < 100 - scoring.FALSE_CAUSE


def test_a_true_cause_without_evidence_that_holds_costs_a_little():
    bare = (RIGHT[0], Named(cause="number_mistyped", confidence=1.0, evidence=("XS9",)))
    made = scored(Answers(named=bare, labels=TRUE_LABELS))
    assert made.unsupported == ("number_mistyped",)
    assert made.total == 100 - scoring.UNSUPPORTED


def test_hints_are_paid_for():
    assert scored(Answers(named=RIGHT, labels=TRUE_LABELS), hint_cost=9).total == 91.0


def test_the_debrief_shows_the_missed_signal_the_innocent_notice_and_the_confusion():
    made = scored(Answers(hypothesis="停机", named=RIGHT[:1], labels=labels(*["outage"] * 4)))
    assert "号码与平台某号只差一位" in made.debrief
    assert "线路调整" in made.debrief
    assert "与缺失无关" in made.debrief
    assert "你的假设：停机" in made.debrief
    assert "号码录错 被当作 可能只是迟到（2 张）" in made.debrief
    assert made.confusion.rows() == [("late", "late", 1), ("number_mistyped", "late", 2), ("outage", "outage", 4)]


@pytest.fixture(scope="module")
def mixed(tmp_path_factory) -> drill.Drill:
    """A drill with three causes."""
    folder = tmp_path_factory.mktemp("drill") / "mixed"
    made = drill.new(folder, seed=3, level=4, scenario="silent_outage")
    assert len(made.causes) == 3
    return made


@pytest.fixture(scope="module")
def findings(mixed, tmp_path_factory) -> pl.DataFrame:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AUDIT_KIT_CACHE", str(tmp_path_factory.mktemp("cache")))
        found = analyse(open_engagement(mixed.engagement)).findings
    return found.drop_nulls("ledger_row").select("ledger_row", "cause")


def test_the_toolkit_itself_passes(mixed, findings):
    made = drill.score(mixed.folder, from_labels(findings))
    assert made.total > 85
    assert made.macro_f1 > 0.9
    assert not made.false


def test_no_gamed_answer_comes_near_it(mixed, findings):
    rows = sealing.opened(mixed.folder).truth.drop_nulls("cause")["ledger_row"]
    biggest = findings["cause"].value_counts(sort=True)["cause"][0]
    every = [cause for cause in drill.menu() if cause not in scoring.NOT_CAUSES]
    gamed = {
        "everything is the biggest cause": from_labels(labels_of(rows, [biggest])),
        "everything is an outage": from_labels(labels_of(rows, ["outage"])),
        "the causes take turns": from_labels(labels_of(rows, drill.menu())),
        "every cause is named": Answers(named=tuple(Named(cause=cause, confidence=1.0) for cause in every)),
        "nothing is answered": Answers(),
    }
    totals = {name: drill.score(mixed.folder, answers).total for name, answers in gamed.items()}
    assert max(totals.values()) < 35, totals


def bytes_of(folder: Path) -> dict[str, bytes]:
    paths = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != "log.txt")
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


def labels_of(rows: pl.Series, causes: list[str]) -> pl.DataFrame:
    return pl.DataFrame({"ledger_row": rows, "cause": [causes[at % len(causes)] for at in range(len(rows))]})


def test_the_trainee_gets_no_truth(mixed):
    names = [path.relative_to(mixed.folder).as_posix() for path in mixed.folder.rglob("*") if path.is_file()]
    assert {"brief.zh.md", "brief.en.md", "answers.toml", "labels.csv", "seal.txt"} <= set(names)
    assert not [name for name in names if "truth" in name or "later" in name]
    briefs = "".join((mixed.folder / f"brief.{lang}.md").read_text(encoding="utf-8") for lang in ("zh", "en"))
    assert set(drill.menu()) == set(re.findall(r"^- `(\w+)`", briefs, re.MULTILINE))


def test_the_same_seed_gives_the_same_drill_and_seal(mixed, tmp_path):
    again = drill.new(tmp_path / "again", seed=mixed.seed, level=mixed.level, scenario=mixed.scenario)
    assert bytes_of(again.folder) == bytes_of(mixed.folder)
    other = drill.new(tmp_path / "other", seed=mixed.seed + 1, level=mixed.level, scenario=mixed.scenario)
    assert (other.folder / "seal.txt").read_bytes() != (mixed.folder / "seal.txt").read_bytes()


def test_a_truth_that_was_changed_is_refused(tmp_path):
    made = drill.new(tmp_path / "d", seed=1, level=1)
    path = tmp_path / "d.sealed"
    sealed = json.loads(path.read_text())
    other = json.loads(sealed_of(tmp_path, seed=2).read_text())
    path.write_text(json.dumps(sealed | {"truth": other["truth"]}))
    with pytest.raises(RequestError, match="seal of d is broken"):
        drill.score(made.folder, Answers())


def sealed_of(folder: Path, *, seed: int) -> Path:
    drill.new(folder / f"other{seed}", seed=seed, level=1)
    return folder / f"other{seed}.sealed"


def test_hints_go_from_vague_to_plain_and_end(tmp_path):
    made = drill.new(tmp_path / "d", seed=3, scenario="wrong_digit")
    told = [drill.hint(made.folder, lang="zh") for _ in range(4)]
    assert told[0] == "先看这一类：录入。（扣 3 分）"
    assert told[1].endswith("共有 1 种原因。（扣 6 分）")
    assert Words("zh").cause(made.causes[0]) in told[2]
    assert told[3] == "提示已用完。"
    assert drill.score(made.folder, Answers()).hint_cost == 3 + 6 + 12


def test_a_null_drill_is_passed_by_claiming_nothing(tmp_path):
    made = drill.new(tmp_path / "d", seed=1, scenario="nothing_wrong")
    assert made.causes == ()
    assert drill.score(made.folder, Answers()).total == 100.0
    assert "无异常演练" in drill.score(made.folder, Answers()).debrief
    panicked = Answers(named=(Named(cause="outage", confidence=0.8),))
    assert drill.score(made.folder, panicked).total < 70
    assert drill.hint(made.folder, lang="en").startswith("There is no cause to find")


@pytest.mark.parametrize("level", [1, 2, 3, 4, 5])
def test_every_level_draws_known_causes_and_a_null_drill_none(level):
    more = len(resources.load("drills")["levels"][str(level)]["more"])
    at_hand = scenarios.of_level(level, scenarios.scenarios())
    assert len(at_hand) >= 4
    assert [one.name for one in at_hand if not one.causes] == (["nothing_wrong"] if level > 1 else [])
    for scenario in at_hand:
        for seed in range(5):
            drawn = scenarios.drawn(scenario, level, Dice(seed, "drill"))
            own = 1 if scenario.one_of else len(scenario.causes)
            assert len(drawn) == (own + more if scenario.causes else 0)
            assert set(drawn) <= set(simulated())


def test_every_cause_of_the_area_occurs_in_some_level():
    """But for lateness, which is in every month: in a scenario, its background, or a group drawn from."""
    drawn = {cause for one in scenarios.scenarios().values() for cause in (*one.causes, *one.background)}
    groups = {name for level in resources.load("drills")["levels"].values() for name in level["more"]}
    drawn |= {name for name, cause in records().items() if cause.drill and cause.drill.group in groups}
    assert set(records()) - drawn == {"late"}


def test_no_call_gives_its_cause_away():
    """Each call is also told where other causes are hidden, and each scenario may borrow one."""
    known = {name: one for name, one in scenarios.scenarios().items() if one.levels}
    for name, one in known.items():
        assert one.like, name
        others = [other for other in known.values() if name in other.like]
        assert any(set(other.causes) != set(one.causes) for other in others), name


def test_a_trainer_adds_a_scenario_by_a_table_entry(tmp_path):
    entry = (Path(scenarios.resources.__file__).parent / "scenarios.toml").read_text(encoding="utf-8")
    entry = re.search(r"\[scenarios\.status\].*?(?=\[scenarios\.red_form)", entry, re.DOTALL)[0]
    mine = tmp_path / "mine.toml"
    mine.write_text(entry.replace("scenarios.status", "scenarios.ours").replace("[2, 4]", "[1]"), encoding="utf-8")
    made = drill.new(tmp_path / "d", seed=1, scenario="ours", own=mine)
    assert (made.scenario, made.level) == ("ours", 1)
    mine.write_text(mine.read_text(encoding="utf-8").replace("voided = 0.01", "gremlins = 0.01"), encoding="utf-8")
    with pytest.raises(RequestError, match=r"mine.toml: in the scenario ours, causes is missing"):
        drill.new(tmp_path / "e", seed=1, scenario="ours", own=mine)


def test_answers_are_read_as_people_write_them(tmp_path):
    (tmp_path / "answers.toml").write_text(
        """hypothesis = "停机？"
labels = "mine.csv"
[[causes]]
cause = "平台停机或故障"
confidence = 0.8
evidence = ["XS1", "XS2"]
""",
        encoding="utf-8",
    )
    (tmp_path / "mine.csv").write_text(
        "流水号,原因\nXS1,outage\n XS4 ,号码录错\nXS77,outage\nXS5,\n", encoding="utf-8-sig"
    )
    read = read_answers(tmp_path / "answers.toml", TRUTH)
    assert read.hypothesis == "停机？"
    assert read.named == (Named(cause="outage", confidence=0.8, evidence=("XS1", "XS2")),)
    assert read.labels.rows() == [(1, "outage"), (4, "number_mistyped")]


def test_the_findings_of_a_command_are_an_answer_too(tmp_path):
    (tmp_path / "findings.csv").write_text(
        "ledger_row,cause\n0,outage\n1,outage\n6,late\n,unbooked\n", encoding="utf-8-sig"
    )
    read = read_answers(tmp_path / "findings.csv", TRUTH)
    assert read.named == (Named(cause="outage", confidence=0.9, evidence=("0", "1")),)
    assert read.labels.height == 3


@pytest.mark.parametrize(
    ("toml", "sentence"),
    [
        ('[[causes]]\ncause = "gremlins"', "'gremlins' is not a cause"),
        ('[[causes]]\ncause = "outage"\nconfidence = 1.2', "a number from 0 to 1, not 1.2"),
        ('[[causes]]\nwhy = "outage"', "a cause has cause, confidence and evidence"),
        ("[[causes]", "cannot be read"),
    ],
)
def test_answers_that_cannot_be_understood_are_refused(tmp_path, toml, sentence):
    (tmp_path / "answers.toml").write_text(toml, encoding="utf-8")
    with pytest.raises(RequestError, match=re.escape(sentence)):
        read_answers(tmp_path / "answers.toml", TRUTH)


def test_labels_need_their_columns(tmp_path):
    (tmp_path / "labels.csv").write_text("a,b\n1,2\n", encoding="utf-8")
    with pytest.raises(RequestError, match="needs the columns"):
        read_answers(tmp_path / "labels.csv", TRUTH)


@pytest.mark.parametrize(
    ("made", "sentence"),
    [
        (lambda here: drill.new(here, seed=1, level=9), "no level 9"),
        (lambda here: drill.new(here.parent, seed=1, level=1), "is not empty"),
        (drill.hint, "is no drill"),
        (lambda here: drill.score(here, Answers()), "is no drill"),
        (lambda here: read_answers(here / "x.toml", TRUTH), "is not there"),
    ],
)
def test_misuse_is_one_sentence(tmp_path, made, sentence):
    (tmp_path / "something").write_text("")
    with pytest.raises(RequestError, match=sentence):
        made(tmp_path / "d")


def test_the_commands(tmp_path, capsys):
    folder, trainer = tmp_path / "d", tmp_path / "t"
    made = ["--seed", "2", "--scenario", "wrong_digit", "--trainer", str(trainer)]
    assert main(["drill", "new", str(folder), *made, "--lang", "en"]) == 0
    brief = Path(capsys.readouterr().out.strip())
    assert brief.read_text(encoding="utf-8").startswith("# Drill ")
    assert main(["drill", "hint", str(folder), "--lang", "en"]) == 2
    assert "--trainer" in capsys.readouterr().err
    assert main(["drill", "hint", str(folder), "--lang", "en", "--trainer", str(trainer)]) == 0
    assert capsys.readouterr().out == "Look here first: entries. (costs 3 points)\n"
    assert main(["drill", "brief", str(folder), "--lang", "en", "--trainer", str(trainer)]) == 0
    assert "calls for help" in capsys.readouterr().out
    score = ["drill", "score", str(folder), str(folder / "answers.toml"), "--trainer", str(trainer), "--json"]
    assert main(score) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["hint_cost"] == 3
    assert told["total"] == 0
    assert told["attempt"] == "first"
    assert main(["drill", "hint", str(tmp_path)]) == 2
    assert "不是演练文件夹" in capsys.readouterr().err


@pytest.fixture(scope="module")
def kept(tmp_path_factory) -> drill.Drill:
    """A drill whose truth a trainer keeps."""
    folder = tmp_path_factory.mktemp("kept")
    return drill.new(folder / "d", seed=7, scenario="wrong_digit", trainer=folder / "trainer")


@pytest.fixture
def copied(kept, tmp_path) -> tuple[Path, Path]:
    """That drill and its trainer's folder, to be changed."""
    shutil.copytree(kept.folder, tmp_path / "d")
    shutil.copytree(kept.trainer, tmp_path / "trainer")
    return tmp_path / "d", tmp_path / "trainer"


def test_the_trainees_folder_tells_neither_seed_nor_level_nor_scenario_nor_secret(kept):
    held = b"".join(bytes_of(kept.folder).values())
    sealed = sealing.opened(kept.folder, kept.trainer)
    secrets = (sealed.nonce, (kept.trainer / "trainer.key").read_text().strip(), "wrong_digit", "seed", "种子")
    assert [secret for secret in secrets if secret.encode() in held] == []
    assert not list(kept.folder.parent.glob("*.sealed"))
    assert sealed.digest in (kept.folder / "brief.zh.md").read_text(encoding="utf-8")
    assert (kept.trainer / "d.sealed").stat().st_mode & 0o077 == 0


def test_whoever_knows_the_seed_cannot_make_the_drill_without_the_trainers_secret(kept, tmp_path):
    ledger = "engagement/ledger/ledger-2025-05.xlsx"
    mine = drill.new(tmp_path / "mine", seed=7, scenario="wrong_digit")
    another = drill.new(tmp_path / "another", seed=7, scenario="wrong_digit", trainer=tmp_path / "t")
    shutil.copy(kept.trainer / "trainer.key", tmp_path / "same.key")
    (tmp_path / "u").mkdir()
    shutil.copy(kept.trainer / "trainer.key", tmp_path / "u")
    again = drill.new(tmp_path / "again", seed=7, scenario="wrong_digit", trainer=tmp_path / "u")
    made = [(one.folder / ledger).read_bytes() for one in (kept, mine, another, again)]
    assert len(set(made)) == 3
    assert bytes_of(again.folder) == bytes_of(kept.folder)


def test_without_a_seed_no_two_drills_are_the_same_and_solo_says_what_it_cannot_prevent(tmp_path):
    made = [drill.new(tmp_path / name, scenario="wrong_digit") for name in ("a", "b")]
    assert made[0].seed is None
    assert len({(one.folder / "seal.txt").read_text() for one in made}) == 2
    assert "not against cheating oneself" in drill.brief(made[0].folder, lang="en")


def test_a_changed_hint_count_is_caught_on_either_side(copied):
    folder, trainer = copied
    drill.hint(folder, trainer=trainer)
    drill.hint(folder, trainer=trainer)
    log, sealed = folder / "log.txt", trainer / "d.sealed"
    whole, content = log.read_text(), json.loads(sealed.read_text())
    assert drill.score(folder, Answers(), trainer=trainer).hint_cost == 3 + 6
    log.write_text(whole.splitlines(keepends=True)[0])
    refuse_log(folder, trainer)
    log.unlink()
    refuse_log(folder, trainer)
    log.write_text("")
    sealed.write_text(json.dumps(content | {"log": []}))
    assert drill.score(folder, Answers(), trainer=trainer).hint_cost == 0, "both sides agree to forget"
    log.write_text(whole)
    refuse_log(folder, trainer)
    dropped = content["log"][1:]
    sealed.write_text(json.dumps(content | {"log": dropped}))
    log.write_text("".join(f"{line}\n" for line in dropped))
    refuse_log(folder, trainer)
    later = [line.replace("hint", "started") for line in content["log"]]
    sealed.write_text(json.dumps(content | {"log": later}))
    log.write_text("".join(f"{line}\n" for line in later))
    refuse_log(folder, trainer)


def refuse_log(folder: Path, trainer: Path) -> None:
    with pytest.raises(RequestError, match="a hint or a handing in was changed"):
        drill.score(folder, Answers(), trainer=trainer)


@pytest.mark.parametrize("part", ["causes", "facts", "scene", "innocent", "level", "seed"])
def test_whatever_is_changed_in_the_truth_is_caught(copied, part):
    folder, trainer = copied
    sealed = json.loads((trainer / "d.sealed").read_text())
    (trainer / "d.sealed").write_text(json.dumps(sealed | {part: None}))
    with pytest.raises(RequestError, match="seal of d is broken"):
        drill.hint(folder, trainer=trainer)


@pytest.mark.parametrize("name", ["seal.txt", "brief.zh.md", "brief.en.md"])
def test_another_digest_in_the_folder_is_caught(copied, name):
    folder, trainer = copied
    text = (folder / name).read_text(encoding="utf-8")
    (folder / name).write_text(re.sub(r"\b[0-9a-f]{64}\b", "0" * 64, text), encoding="utf-8")
    with pytest.raises(RequestError, match="seal of d is broken"):
        drill.hint(folder, trainer=trainer)


@pytest.mark.parametrize("changed", ["answers.toml", "labels.csv"])
def test_answers_changed_after_the_handing_in_are_caught(copied, changed):
    folder, trainer = copied
    drill.hand_in(folder, trainer=trainer)
    assert drill.score(folder, folder / "answers.toml", trainer=trainer).attempt == "first"
    assert drill.score(folder, folder / "answers.toml", trainer=trainer).attempt == "same"
    with (folder / changed).open("a", encoding="utf-8") as file:
        file.write("# later\n" if changed == "answers.toml" else "XS000000001,outage\n")
    for act in (drill.score, drill.hand_in):
        with pytest.raises(RequestError, match="not those that were handed in"):
            act(folder, folder / "answers.toml", trainer=trainer)


def test_a_trainee_hands_in_without_the_truth_and_a_later_change_is_caught(copied):
    folder, trainer = copied
    drill.hand_in(folder)
    (folder / "answers.toml").write_text('hypothesis = "later"\n', encoding="utf-8")
    with pytest.raises(RequestError, match="not those that were handed in"):
        drill.hand_in(folder)
    with pytest.raises(RequestError, match="not those that were handed in"):
        drill.score(folder, folder / "answers.toml", trainer=trainer)


def test_answers_changed_after_the_debrief_are_practice(copied):
    folder, trainer = copied
    drill.score(folder, folder / "answers.toml", trainer=trainer)
    (folder / "answers.toml").write_text('hypothesis = "later"\n', encoding="utf-8")
    made = drill.score(folder, folder / "answers.toml", trainer=trainer, lang="en")
    assert made.attempt == "changed"
    assert "practice" in made.debrief


def test_a_renamed_folder_finds_its_truth_by_the_digest(copied):
    folder, trainer = copied
    folder.rename(folder.parent / "wang")
    assert drill.hint(folder.parent / "wang", trainer=trainer).startswith("先看")


def test_the_time_is_noted_and_never_scored(copied):
    folder, trainer = copied
    drill.start(folder, trainer=trainer)
    drill.start(folder, trainer=trainer)
    made = drill.score(folder, Answers(), trainer=trainer, lang="en")
    assert made.minutes is not None
    assert "noted, never scored" in made.debrief
    assert len(sealing.opened(folder, trainer).of("started")) == 1


def test_the_debrief_shows_the_chart_of_a_missed_signal_the_seal_the_lesson_and_three_questions(kept):
    made = drill.score(kept.folder, Answers(), trainer=kept.trainer, lang="en")
    for text in (
        "02_missing_invoices",
        made.seal,
        "The lesson",
        "What the guide does",
        "Three questions",
        "1. ",
        "3. ",
    ):
        assert text in made.debrief


def test_the_response_is_judged_apart_from_the_total(kept):
    truth = sealing.opened(kept.folder, kept.trainer).truth.drop_nulls("cause")
    parts = {"what": "x", "since": "x", "where": "x", "tried": "x", "evidence": "x", "impact": "x", "asked": "x"}
    report = {**parts, "contact": "x", "count": truth.height, "amount": 1, "examples": [truth["serial"][0]]}
    made = drill.score(kept.folder, Answers(tell=("客服",), report=report), trainer=kept.trainer)
    assert (made.response.order, made.response.report) == (1.0, 1.0)
    wrong = Answers(tell=("tax_bureau", "support"), report=report | {"count": 9999, "examples": ["nobody's"]})
    half = drill.score(kept.folder, wrong, trainer=kept.trainer)
    assert half.response.order == 0.5
    assert half.response.lacking == ("count", "examples")
    assert half.total == made.total


def test_a_trainers_folder_within_the_drill_is_refused(tmp_path):
    with pytest.raises(RequestError, match="cannot lie within"):
        drill.new(tmp_path / "d", scenario="wrong_digit", trainer=tmp_path / "d" / "t")
