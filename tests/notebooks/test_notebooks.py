"""The notebooks: thin, without outputs, in two languages, and run as a report runs them, whatever sources there are."""

from __future__ import annotations

import ast
import shutil
from pathlib import Path

import nbformat
import pytest

from audit_kit import execution
from audit_kit.training.simulate import simulate

PATHS = sorted(Path(__file__).parents[2].joinpath("notebooks").glob("0[0-3]_*.ipynb"))
PARAMETERS = {"engagement", "month", "lang", "redact", "previous", "history"}
LEAST_CHARTS = 3
LARGEST_OUTPUT = 1_800_000  # characters of a page's own outputs; the frame adds some 1.3 MB

pytestmark = pytest.mark.timeout(600)


@pytest.fixture(scope="session")
def engagements(tmp_path_factory):
    place = tmp_path_factory.mktemp("notebooks")
    full, bare, nothing = place / "full", place / "bare", place / "nothing"
    simulate(full, invoices=700, seed=4, month="2025-05", format="csv", hostile=True)
    for name in ("ledger", "platform"):
        shutil.copytree(full / name, bare / name)
    (bare / "audit.toml").write_text('[engagement]\nname = "bare"\n', encoding="utf-8")
    for name in ("ledger", "platform"):
        (nothing / name).mkdir(parents=True)
        head = (next((full / name).glob("*.csv"))).read_text(encoding="utf-8-sig").splitlines()[0]
        (nothing / name / f"{name}.csv").write_text(head + "\n", encoding="utf-8")
    text = '[engagement]\nname = "nothing"\ntaken_at = 2025-06-01T00:00:00\n'
    (nothing / "audit.toml").write_text(text, encoding="utf-8")
    patch = pytest.MonkeyPatch()
    patch.setenv("AUDIT_KIT_CACHE", str(place / "cache"))
    yield {"full": full, "bare": bare, "nothing": nothing}
    patch.undo()


def _cells(path: Path, kind: str) -> list[nbformat.NotebookNode]:
    return [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == kind]


def _tags(cell: nbformat.NotebookNode) -> set[str]:
    return set(cell.metadata.get("tags", ()))


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_a_notebook_is_committed_without_outputs(path):
    for cell in _cells(path, "code"):
        assert cell.outputs == []
        assert cell.execution_count is None


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_a_notebook_holds_calls_and_no_logic(path):
    logic = (ast.FunctionDef, ast.ClassDef, ast.If, ast.For, ast.While, ast.Try, ast.With, ast.Lambda, ast.BinOp)
    for cell in _cells(path, "code"):
        assert [node for node in ast.walk(ast.parse(cell.source)) if isinstance(node, logic)] == []
        assert len(cell.source.splitlines()) <= 8


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_its_parameters_are_typed_and_explained(path):
    (cell,) = [cell for cell in _cells(path, "code") if "parameters" in _tags(cell)]
    assert set(execution.parameters(nbformat.read(path, as_version=4))) == PARAMETERS
    assert all("#" in line and "/" in line for line in cell.source.splitlines())


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_its_prose_is_there_in_both_languages(path):
    prose = [_tags(cell) & {"zh", "en"} for cell in _cells(path, "markdown") if "interactive" not in _tags(cell)]
    assert prose[0::2] == [{"zh"}] * (len(prose) // 2)
    assert prose[1::2] == [{"en"}] * (len(prose) // 2)


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_what_needs_a_person_is_tagged_so_that_a_report_leaves_it_out(path):
    for cell in _cells(path, "code"):
        assert ("widgets" in cell.source) == ("interactive" in _tags(cell))


def _html(notebook: nbformat.NotebookNode) -> list[str]:
    outputs = [out for cell in notebook.cells if cell.cell_type == "code" for out in cell.outputs]
    assert [out for out in outputs if out.output_type == "stream"] == []
    return [out.data["text/html"] for out in outputs if "text/html" in out.get("data", {})]


@pytest.mark.parametrize("lang", ["zh", "en"])
@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_it_runs_on_a_full_engagement_with_hostile_names(path, lang, engagements, tmp_path):
    values = {"engagement": str(engagements["full"]), "month": "2025-05", "lang": lang, "redact": lang == "en"}
    notebook = nbformat.read(execution.run(path, values, lang=lang, folder=tmp_path), as_version=4)
    pages = _html(notebook)
    assert sum("altair-viz" in page for page in pages) >= LEAST_CHARTS
    assert not [page for page in pages if "<img src=x" in page or "<script>alert" in page]
    assert sum(map(len, pages)) < LARGEST_OUTPUT


@pytest.mark.parametrize("kind", ["bare", "nothing"])
@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_it_runs_where_sources_or_invoices_are_missing_and_says_so(path, kind, engagements, tmp_path):
    values = {"engagement": str(engagements[kind])}
    notebook = nbformat.read(execution.run(path, values, lang="zh", folder=tmp_path), as_version=4)
    text = "".join(_html(notebook))
    assert "未知" in text
    assert "altair-viz" in text
