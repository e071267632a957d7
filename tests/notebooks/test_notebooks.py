"""The notebooks: thin, without outputs, in two languages, and run as a report runs them, whatever sources there are."""

from __future__ import annotations

import ast
import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import nbformat
import polars as pl
import pytest

from audit_kit.report import notebooks as execution
from audit_kit.training.world.simulate import simulate

PATHS = sorted(Path(__file__).parents[2].joinpath("notebooks").glob("0[0-35]_*.ipynb"))
PARAMETERS = {"engagement", "month", "lang", "redact", "previous", "history", "without"}
LEAST_CHARTS = 3
LARGEST_OUTPUT = 1_800_000  # characters of a page's own outputs; the frame adds some 1.3 MB

pytestmark = [pytest.mark.timeout(600), pytest.mark.slow]


@pytest.fixture(scope="session")
def engagements(tmp_path_factory):
    place = tmp_path_factory.mktemp("notebooks")
    full, bare, nothing = place / "full", place / "bare", place / "nothing"
    simulate(full, invoices=700, seed=4, month="2025-05", format="parquet", hostile=True)
    for name in ("ledger", "platform"):
        shutil.copytree(full / name, bare / name)
    (bare / "audit.toml").write_text('[engagement]\nname = "bare"\n', encoding="utf-8")
    for name in ("ledger", "platform"):
        (nothing / name).mkdir(parents=True)
        (nothing / name / f"{name}.csv").write_text("数电发票号码,开票日期,金额,税额,价税合计\n", encoding="utf-8")
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
        is_for_a_person = any(word in cell.source for word in ("panel", "import choices", "views.workbench"))
        assert is_for_a_person == ("interactive" in _tags(cell))


def _html(notebook: nbformat.NotebookNode) -> list[str]:
    outputs = [out for cell in notebook.cells if cell.cell_type == "code" for out in cell.outputs]
    assert [out for out in outputs if out.output_type == "stream"] == []
    return [out.data["text/html"] for out in outputs if "text/html" in out.get("data", {})]


@pytest.fixture(scope="module", params=["full", "bare", "nothing"])
def executed(request, engagements, tmp_path_factory):
    """All notebooks run on one kind of engagement; the full one in English and redacted."""
    lang = "en" if request.param == "full" else "zh"
    values = {"engagement": str(engagements[request.param]), "lang": lang, "redact": lang == "en"}
    folder = tmp_path_factory.mktemp(request.param)
    done: list[Path] = []
    execution.run_all(PATHS, values, lang=lang, folder=folder, jobs=2, done=done.append)
    notebooks = {path.stem: nbformat.read(path, as_version=4) for path in done}
    return SimpleNamespace(kind=request.param, notebooks=notebooks)


def test_they_run_whatever_sources_there_are_and_say_what_is_unknown(executed):
    assert len(executed.notebooks) == len(PATHS)
    for notebook in executed.notebooks.values():
        pages = _html(notebook)
        text = "".join(pages)
        assert sum("altair-viz" in page for page in pages) >= LEAST_CHARTS
        assert executed.kind == "full" or "未知" in text
        assert not [page for page in pages if "<img src=x" in page or "<script>alert" in page]
        assert len(text) < LARGEST_OUTPUT


def test_a_redacted_page_names_no_buyer(executed, engagements):
    if executed.kind == "full":
        (path,) = (engagements["full"] / "ledger").glob("*.parquet")
        ledger = pl.read_parquet(path)
        names = [name for name in ledger["buyer_name"].drop_nulls().unique() if len(name) > 6 and "<" not in name]
        for notebook in executed.notebooks.values():
            text = "".join(_html(notebook))
            assert [name for name in names if name in text or json.dumps(name).strip('"') in text] == []
