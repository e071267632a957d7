from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import nbformat
import pytest

from audit_kit.report import notebooks
from audit_kit.training.drill import drill as drills
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
    """A drill of the first level: number_mistyped."""
    return drills.new(tmp_path_factory.mktemp("drills") / "d", seed=1, level=1)


@pytest.fixture
def panel(drill) -> DrillPanel:
    return DrillPanel(drill, lang="en")


def click(panel: DrillPanel, name: str) -> None:
    panel.buttons[name].click()


def true_labels(drill: drills.Drill) -> pl.DataFrame:
    truth = drills._truth(drills._opened(drill.folder))
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
    assert len(panel.result.children) == 2


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
    made = drills.new(tmp_path / "d", seed=2, level=1)
    panel = DrillPanel(made, lang="zh")
    click(panel, "hint")
    assert panel.told.value.startswith("先看这一类")
    click(panel, "score")
    assert panel.score.hint_cost == 3


@pytest.mark.parametrize("lang", ["zh", "en"])
def test_the_charts_show_the_diagonal_and_the_worst_cause_first(drill, lang):
    made = drills.score(drill.folder, Answers(), lang=lang)
    spec = charts.confusion_chart(charts.confusion(made), lang=lang).to_dict()
    rows = next(iter(spec["datasets"].values()))
    assert {(row["true"], row["right"]) for row in rows if row["right"]} == {
        ("可能只是迟到" if lang == "zh" else "Probably just late", True)
    }
    quality = charts.quality_chart(charts.qualities(made), lang=lang).to_dict()
    assert quality["encoding"]["y"]["sort"][0] == ("号码录错" if lang == "zh" else "Number mistyped")


def test_a_folder_with_answers_is_scored_by_them_and_not_by_the_toolkit(drill):
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
