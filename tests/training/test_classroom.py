"""A class: thirty answers of two sessions, the trainer's page, the training log, and the handouts."""

from __future__ import annotations

import json
import os
import random
import shutil
import time
import tomllib
from datetime import date, datetime
from typing import TYPE_CHECKING

import polars as pl
import pytest

from audit_kit.cli.main import main
from audit_kit.core.errors import RequestError
from audit_kit.core.policy import Training, TrainingEntry
from audit_kit.core.words import Words
from audit_kit.loaders.engagement.inputs import settings_of
from audit_kit.paper import handouts
from audit_kit.paper.document import Table
from audit_kit.paper.pdf_file import page_of
from audit_kit.rules.response.plan import drill_overdue
from audit_kit.rules.response.response_evidence import ResponseEvidence
from audit_kit.training.drill import classroom, drill, sealing
from audit_kit.training.drill.scenarios import scenarios

if TYPE_CHECKING:
    from pathlib import Path

HEADS = ("流水号", "原因")


@pytest.fixture(scope="module")
def school(tmp_path_factory) -> Path:
    """Two drills with a trainer; fifteen people answer each, the second better than the first."""
    base = tmp_path_factory.mktemp("school")
    chance = random.Random(1)
    for session, scenario, known in (("1-may", "wrong_digit", 0.3), ("2-june", "spreadsheet", 0.9)):
        made = drill.new(base / session, seed=1, scenario=scenario, trainer=base / "trainer")
        sealed = sealing.opened(made.folder, base / "trainer")
        truth = sealed.truth.drop_nulls("cause")
        folder = base / "answers" / session
        folder.mkdir(parents=True)
        for person in range(15):
            part = truth.sample(fraction=known * chance.uniform(0.5, 1), seed=person)
            rows = part.select(pl.col("serial").alias(HEADS[0]), pl.col("cause").alias(HEADS[1]))
            rows.write_csv(folder / f"p{person}.csv", include_bom=True)
            sheet = [
                f'drill = "{sealed.digest[:12]}"',
                f'name = "王{person}"',
                f'labels = "p{person}.csv"',
                "[[causes]]",
            ]
            sheet += [f'cause = "{made.causes[0]}"', "confidence = 0.9", f'evidence = ["{truth["serial"][0]}"]']
            (folder / f"p{person}.toml").write_text("\n".join(sheet), encoding="utf-8")
        (folder / "p0-feedback.toml").write_text('name = "王0"\nnoticed = "<script>x"\n', encoding="utf-8")
    return base


def held(school: Path, *arguments: str, out: Path) -> int:
    return main(
        ["drill", "class", str(school / "answers"), "--trainer", str(school / "trainer"), "--out", str(out), *arguments]
    )


def test_thirty_answers_make_the_trainers_page_in_ten_seconds(school, tmp_path, capsys):
    began = time.process_time()
    assert held(school, "--lang", "en", "--json", out=tmp_path / "class") == 0
    assert time.process_time() - began < 10
    told = json.loads(capsys.readouterr().out)
    assert (len(told["results"]), len(told["people"])) == (30, 15)
    assert told["weakest"][0]["people"] == 15
    page = (tmp_path / "class" / "class.html").read_text(encoding="utf-8")
    assert "Trainee 15" in page
    assert "--scenario" in page
    assert "<script>" not in page
    every = b"".join(path.read_bytes() for path in (tmp_path / "class").iterdir())
    assert "王".encode() not in every
    assert held(school, out=tmp_path / "class") == 0, "the next page takes the place of the first"
    assert held(school, "--names", out=tmp_path / "named") == 0
    assert "王7" in (tmp_path / "named" / "class.html").read_text(encoding="utf-8")


def test_the_trend_goes_by_sessions_and_the_next_drill_by_the_weakest_cause(school):
    made = classroom.gather(school / "answers", trainer=school / "trainer", names=True)
    trend = made.trend()
    assert trend["session"].to_list() == ["1-may", "2-june"]
    assert trend["total"][1] > trend["total"][0] + 10
    people = made.people()
    assert people["sessions"].to_list() == [2] * 15
    weak = people.drop_nulls("weakest").row(0, named=True)
    assert weak["weakest"] in scenarios()[weak["next"]].causes
    assert classroom.next_drill([], 4, set())[1] == 4
    assert made.feedback["noticed"].to_list() == ["<script>x"] * 2


def test_the_training_log_is_read_by_an_engagement_and_judged(school, tmp_path):
    made = classroom.gather(school / "answers", trainer=school / "trainer", names=True)
    log = classroom.training_log(made, every_days=30, names=True, lang="zh")
    assert len(tomllib.loads(log)["training_log"]) == 2
    (tmp_path / "audit.toml").write_text("[engagement]\nname = 'x'\n\n" + log, encoding="utf-8")
    training = settings_of(tmp_path).training
    assert (training.every_days, len(training.log), training.log[0].people) == (30, 2, 15)
    assert training.last == max(made.results["day"])


@pytest.mark.parametrize(
    ("training", "said"),
    [
        (Training(), None),
        (Training(every_days=90, last=date(2025, 5, 1)), None),
        (Training(every_days=30, log=(TrainingEntry(date=date(2025, 5, 20)),), last=date(2025, 1, 1)), None),
        (Training(every_days=30, last=date(2025, 4, 1)), "29"),
        (Training(log=(TrainingEntry(date=date(2024, 5, 1), drill="abc"),)), "abc"),
        (Training(every_days=30, log=(TrainingEntry(date=date(2026, 1, 1)),)), "没有进行过"),
        (Training(every_days=30), "没有进行过"),
    ],
)
def test_training_that_is_due_is_found(training, said):
    empty = pl.DataFrame()
    evidence = ResponseEvidence(
        ledger=empty, platform=empty, matches=empty, findings=empty, stops=empty,
        taken_at=datetime(2025, 5, 30, 20), training=training,
    )  # fmt: skip
    rows = drill_overdue(evidence)
    assert rows.height == (said is not None)
    if said == "29":
        assert rows["days"][0] == 29
    elif said == "abc":
        assert rows["drill"][0] == "abc"
    elif said:
        assert rows["variant"][0] == "untrained"


def test_what_cannot_be_scored_is_set_aside_with_its_reason_and_stops_nobody(school, tmp_path):
    folder = tmp_path / "answers"
    shutil.copytree(school / "answers" / "2-june", folder)
    (folder / "bad.toml").write_text("drill = [", encoding="utf-8")
    (folder / "other.toml").write_text('drill = "0123456789ab"', encoding="utf-8")
    own = folder / "wang"
    own.mkdir()
    shutil.copy(folder / "p1.toml", own / "answers.toml")
    (own / "handed_in.txt").write_text("2025-05-01T10:00:00\t" + "0" * 64 + "\n", encoding="utf-8")
    made = classroom.gather(folder, trainer=school / "trainer", names=True, lang="en")
    reasons = dict(made.aside.iter_rows())
    assert set(reasons) == {"bad.toml", "other.toml", "wang/answers.toml"}
    assert "cannot be read" in reasons["bad.toml"]
    assert "not known to which drill" in reasons["other.toml"]
    assert "not those that were handed in" in reasons["wang/answers.toml"]
    assert made.results.height == 15
    masked = classroom.gather(folder, trainer=school / "trainer", lang="en")
    assert "wang" not in str(masked.aside.rows())


def test_a_class_of_folders_as_they_were_played(school, tmp_path):
    """A person's whole folder: its own answers, labels, receipt and feedback count, the engagement in it does not."""
    for person in ("li", "zhao"):
        shutil.copytree(school / "1-may", tmp_path / "a" / person)
        (tmp_path / "a" / person / "answers.toml").write_text("hypothesis = 'x'\n", encoding="utf-8")
        os.utime(tmp_path / "a" / person / "answers.toml", (0, 0))
        drill.hand_in(tmp_path / "a" / person)
    made = classroom.gather(tmp_path / "a", trainer=school / "trainer", names=True)
    assert made.aside.is_empty()
    assert made.results["name"].to_list() == ["li", "zhao"]
    assert made.results["session"].n_unique() == 1


@pytest.mark.parametrize("what", ["nothing", "no truths", "other files"])
def test_misuse_is_one_sentence(school, tmp_path, what):
    folder, trainer, out = school / "answers", school / "trainer", tmp_path / "out"
    if what == "nothing":
        folder = tmp_path / "none"
    elif what == "no truths":
        trainer = tmp_path
    else:
        out.mkdir()
        (out / "mine.txt").write_text("")
    assert main(["drill", "class", str(folder), "--trainer", str(trainer), "--out", str(out)]) == 2


@pytest.mark.parametrize("lang", ["zh", "en"])
def test_handouts_tell_each_scenario_and_the_course_takes_two_hours(lang):
    words = Words(lang)
    for name, one in scenarios().items():
        page = page_of(handouts.handout(one, lang=lang), lang=lang)
        for text in (one.said("lesson", lang), one.said("step", lang), *(words.cause(cause) for cause in one.causes)):
            assert text.split("&")[0] in page.replace("&#39;", "'").replace("&#34;", '"'), name
    course = handouts.course(scenarios(), lang=lang)
    [steps, listed] = [block for block in course.blocks if isinstance(block, Table)]
    assert steps.rows[-1][0].endswith("–120")
    assert len(listed.rows) == len(scenarios())


def test_handouts_are_written_whole_in_both_languages(tmp_path):
    names = handouts.write_handouts(tmp_path / "out", pages=True)
    played = [one for one in scenarios().values() if one.levels]
    assert len(played) >= 12
    assert len(names) == 2 * (len(played) + 1)
    assert {name.split("/")[0] for name in names} == {"zh", "en"}
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "x").write_text("")
    with pytest.raises(RequestError, match="holds other files"):
        handouts.write_handouts(tmp_path / "mine", pages=True)


@pytest.mark.browser
@pytest.mark.slow
def test_a_handout_is_one_page_of_pdf(tmp_path, monkeypatch):
    longest = max((one for one in scenarios().values() if one.levels), key=lambda one: len(one.causes))
    monkeypatch.setattr(handouts.scenarios, "scenarios", lambda: {longest.name: longest})
    names = handouts.write_handouts(tmp_path / "out")
    assert sorted(names) == [
        f"{lang}/{name}.pdf" for lang in ("en", "zh") for name in ("00-course", f"01-{longest.name}")
    ]
    for lang in ("zh", "en"):
        pdf = (tmp_path / "out" / lang / f"01-{longest.name}.pdf").read_bytes()
        assert pdf.startswith(b"%PDF")
        assert pdf.count(b"/Type /Page\n") == 1
