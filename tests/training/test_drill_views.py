from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import nbformat
import pytest

from audit_kit.core.errors import RequestError
from audit_kit.core.words import Words
from audit_kit.report import notebooks
from audit_kit.training.drill import drill as drills
from audit_kit.training.drill import sealing
from audit_kit.training.drill.answer_sheet import Answers
from audit_kit.views.drill import charts
from audit_kit.views.drill.panel import DrillPanel, open_drill, scored

if TYPE_CHECKING:
    import polars as pl

NOTEBOOK = Path(__file__).parents[2] / "notebooks" / "04_training_drill.ipynb"


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AUDIT_KIT_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="module")
def drill(tmp_path_factory) -> drills.Drill:
    """A drill of the first level: number_invalid."""
    return drills.new(tmp_path_factory.mktemp("drills") / "d", seed=1, scenario="wrong_digit")


@pytest.fixture
def panel(drill) -> DrillPanel:
    return DrillPanel(drill, lang="en")


def click(panel: DrillPanel, name: str) -> None:
    panel.buttons[name].click()


def true_labels(drill: drills.Drill) -> pl.DataFrame:
    truth = sealing.opened(drill.folder).truth
    return truth.drop_nulls("cause").select(流水号="serial", 原因="cause")


@pytest.mark.slow
def test_a_trainee_answers_in_the_panel_and_reads_the_debrief(panel, drill, tmp_path):
    labels = true_labels(drill)
    labels.write_csv(tmp_path / "mine.csv", include_bom=True)
    panel.cause.value = drill.causes[0]
    panel.confidence.value = 1.0
    panel.evidence.value = f"{labels['流水号'][0]}，{labels['流水号'][1]}"
    click(panel, "add")
    assert labels["流水号"][1] in panel.listed.value
    panel.labels.value = str(tmp_path / "mine.csv")
    click(panel, "score")
    assert panel.score is not None
    assert panel.score.total == 100.0
    assert "Score 100.0 / 100" in panel.told.value
    assert len(panel.result.children) == 3


@pytest.mark.slow
def test_the_panel_forgets_when_told_to(panel):
    click(panel, "add")
    click(panel, "clear")
    assert panel.answers.named == ()
    assert panel.listed.value == ""


def test_the_panel_says_what_is_wrong_with_a_file_of_labels(panel, tmp_path):
    (tmp_path / "bad.csv").write_text("<script>,b\n1,2\n", encoding="utf-8")
    panel.labels.value = str(tmp_path / "bad.csv")
    click(panel, "score")
    assert "needs the columns" in panel.told.value
    assert "<script>" not in panel.told.value


@pytest.mark.slow
def test_a_hint_in_the_panel_counts(tmp_path):
    made = drills.new(tmp_path / "d", seed=2, scenario="wrong_digit")
    panel = DrillPanel(made, lang="zh")
    click(panel, "hint")
    assert panel.told.value.startswith("先看这一类")
    click(panel, "score")
    assert panel.score.hint_cost == 3


@pytest.mark.slow
def test_hypothesis_comes_first_then_labels_from_the_filter_the_response_and_the_three_questions(tmp_path):
    made = drills.new(tmp_path / "d", seed=5, scenario="wrong_digit")
    panel = DrillPanel(made, lang="en")
    assert panel.rest.layout.display == "none"
    panel.begin.click()
    assert panel.rest.layout.display == "none"
    assert "hypothesis first" in panel.first.value
    panel.hypothesis.value = "a typing error"
    panel.begin.click()
    assert panel.rest.layout.display == ""
    mistyped = {"number_mistyped": "Mistyped", "number_invalid": "Missing"}[made.causes[0]]
    outcome = panel.bench.choices["outcome"]
    outcome.value = next(value for _, value in outcome.options if value.lower().startswith(mistyped.lower()[:7]))
    panel.cause.value = made.causes[0]
    panel.confidence.value = 1.0
    click(panel, "label")
    assert len(panel.evidence.value.split(",")) == 3
    click(panel, "add")
    panel.response.recipients["support"].click()
    panel.response.parts["count"].value = "12"
    click(panel, "score")
    assert panel.score.response.order == 1.0
    if made.causes[0] == "number_mistyped":
        assert panel.score.total == 100.0
    written = drills.score(made.folder, made.folder / "answers.toml")
    assert (written.total, written.attempt) == (panel.score.total, "same")
    assert [line.what for line in sealing.opened(made.folder).log] == ["started", "scored"]
    panel.feedback.fields["noticed"].value = '<b>"the digit"</b>'
    panel.feedback.save.click()
    assert "the digit" in (made.folder / "feedback.toml").read_text(encoding="utf-8")


@pytest.mark.slow
def test_a_trainee_without_the_truth_hands_in_and_the_trainer_scores(tmp_path):
    made = drills.new(tmp_path / "d", seed=5, scenario="wrong_digit", trainer=tmp_path / "t")
    panel = DrillPanel(open_drill(str(made.folder), seed=0, level=1), lang="en")
    assert panel.buttons["score"].disabled
    assert panel.buttons["hint"].disabled
    panel.hypothesis.value = "x"
    panel.begin.click()
    panel.cause.value = made.causes[0]
    click(panel, "add")
    click(panel, "hand_in")
    assert "Handed in" in panel.told.value
    click(panel, "clear")
    click(panel, "hand_in")
    assert "not those that were handed in" in panel.told.value
    with pytest.raises(RequestError, match="not those that were handed in"):
        drills.score(made.folder, made.folder / "answers.toml", trainer=tmp_path / "t")


@pytest.mark.parametrize("lang", ["zh", "en"])
def test_the_charts_show_the_diagonal_and_the_worst_cause_first(drill, lang):
    made = drills.score(drill.folder, Answers(), lang=lang)
    spec = charts.confusion_chart(charts.confusion(made), lang=lang).to_dict()
    rows = next(iter(spec["datasets"].values()))
    assert {(row["true"], row["right"]) for row in rows if row["right"]} == {
        ("可能只是迟到" if lang == "zh" else "Probably just late", True)
    }
    quality = charts.quality_chart(charts.qualities(made), lang=lang).to_dict()
    assert quality["encoding"]["y"]["sort"][0] == Words(lang).cause(drill.causes[0])


def test_a_folder_with_answers_is_scored_by_them_and_not_by_the_toolkit(drill):
    Path(drill.folder / "answers.toml").write_text("hypothesis = 'none'\n", encoding="utf-8")
    (drill.folder / "labels.csv").write_text("流水号,原因\n", encoding="utf-8")
    assert scored(drill, demonstration=False).missed == drill.causes
    assert scored(drill, demonstration=True).missed == ()


def test_a_drill_is_opened_again_as_it_was_made(drill):
    assert open_drill(str(drill.folder), seed=99, level=5) == drill


@pytest.mark.slow
@pytest.mark.parametrize("lang", ["zh", "en"])
def test_the_notebook_runs_without_a_person(tmp_path, lang):
    out = notebooks.run(NOTEBOOK, {"lang": lang, "seed": 1, "level": 1}, lang=lang, folder=tmp_path)
    cells = nbformat.read(out, as_version=4).cells
    shown = [
        output["data"] for cell in cells if cell.cell_type == "code" for output in cell.outputs if "data" in output
    ]
    text = "\n".join(data.get("text/markdown", "") for data in shown)
    assert ("# 演练点评" if lang == "zh" else "# Debrief") in text
    assert sum("vega" in data.get("text/html", "") for data in shown) == 2
    assert not [cell for cell in cells if "interactive" in cell.metadata.get("tags", ())]
