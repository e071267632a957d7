from __future__ import annotations

from typing import TYPE_CHECKING

import nbformat
import pytest
from nbformat import v4

from audit_kit.core import places
from audit_kit.core.errors import RequestError, SourceError
from audit_kit.report import notebooks

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.slow

PARAMETERS = 'month: str = "2025-01"  # 月份\nredact: bool = False\nmost: int = 3\nshare: float | None = None'


def notebook(folder: Path, *cells: tuple[str, str], name: str = "00_try.ipynb", prose: bool = False) -> Path:
    """Write a notebook of (code, tag) cells after the parameters cell."""
    made = [v4.new_code_cell(PARAMETERS, metadata={"tags": ["parameters"]})]
    made += [v4.new_code_cell(source, metadata={"tags": [tag] if tag else []}) for source, tag in cells]
    if prose:
        made += [
            v4.new_markdown_cell(text, metadata={"tags": [lang]}) for lang, text in (("zh", "# 总览"), ("en", "# All"))
        ]
    path = folder / name
    nbformat.write(v4.new_notebook(cells=made, metadata={"kernelspec": {"name": "missing", "display_name": "x"}}), path)
    return path


def printed(path: Path) -> str:
    cells = nbformat.read(path, as_version=4).cells
    return "".join(out.get("text", "") for cell in cells for out in cell.get("outputs", ()))


def run(path: Path, folder: Path, *, seconds: int = 60, **values: object) -> Path:
    out = folder / "out"
    out.mkdir(exist_ok=True)
    return notebooks.run(path, values, lang="zh", folder=out, seconds=seconds)


def test_parameters_arrive_typed_and_nobody_is_watching(tmp_path: Path) -> None:
    code = "import os\nprint(month, redact, most, share, os.environ['AUDIT_KIT_BATCH'])"
    executed = run(notebook(tmp_path, (code, "")), tmp_path, month="2025-05", redact=True, share=0.5)
    assert printed(executed) == "2025-05 True 3 0.5 1\n"


def test_a_kernel_leaves_nothing_in_the_temporary_folder_even_when_all_are_killed(tmp_path: Path) -> None:
    code = "from ipykernel.connect import get_connection_file\nprint(get_connection_file())"
    executed = run(notebook(tmp_path, (code, "")), tmp_path)
    assert printed(executed).startswith(str(tmp_path / "out")), "a folder that the next run clears"


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        (
            {"mnth": "2025-05"},
            "has no parameter 'mnth'; it has month: str, redact: bool, most: int, share: float | None.",
        ),
        ({"most": "3"}, "most must be int, not '3'"),
        ({"most": True}, "most must be int, not True"),
        ({"redact": 1}, "redact must be bool, not 1"),
        ({"month": None}, "month must be str, not None"),
    ],
)
def test_an_unknown_or_mistyped_parameter_is_refused_before_anything_runs(
    tmp_path: Path, values: dict[str, object], sentence: str
) -> None:
    with pytest.raises(RequestError) as refused:
        run(notebook(tmp_path), tmp_path, **values)
    assert sentence in str(refused.value)
    assert not list((tmp_path / "out").iterdir())


def test_cells_that_need_a_person_and_the_other_language_are_left_out(tmp_path: Path) -> None:
    executed = run(notebook(tmp_path, ("raise RuntimeError", "interactive"), prose=True), tmp_path)
    texts = [cell.source for cell in nbformat.read(executed, as_version=4).cells if cell.cell_type == "markdown"]
    assert texts == ["# 总览"]


def test_a_users_mistake_inside_a_notebook_stays_one(tmp_path: Path) -> None:
    code = "from audit_kit.core.errors import SourceError\nraise SourceError('ledger.xlsx cannot be read.')"
    with pytest.raises(notebooks.NotebookFailed) as stopped:
        run(notebook(tmp_path, ("print('before')", ""), (code, ""), ("print('after')", "")), tmp_path, month="2025-05")
    failure = stopped.value
    assert failure.user_error is SourceError
    assert failure.message == "ledger.xlsx cannot be read."
    assert printed(failure.path) == "before\n"
    assert nbformat.read(failure.path, as_version=4).cells[failure.cell - 1].source.startswith("from audit_kit")


def test_a_defect_inside_a_notebook_is_none_of_the_users(tmp_path: Path) -> None:
    with pytest.raises(notebooks.NotebookFailed) as stopped:
        run(notebook(tmp_path, ("1 / 0", "")), tmp_path)
    assert stopped.value.user_error is None
    assert stopped.value.kind == "ZeroDivisionError"


def test_a_dead_kernel_gets_one_more_try(tmp_path: Path) -> None:
    seen = tmp_path / "seen"
    code = f"""
import os, pathlib
seen = pathlib.Path({str(seen)!r})
if not seen.exists():
    seen.touch()
    os.kill(os.getpid(), 9)
print('second time')
"""
    assert printed(run(notebook(tmp_path, (code, "")), tmp_path)) == "second time\n"


def test_a_kernel_that_dies_twice_leaves_a_notebook_that_says_where(tmp_path: Path) -> None:
    with pytest.raises(notebooks.NotebookFailed, match="twice") as stopped:
        run(notebook(tmp_path, ("import os\nos.kill(os.getpid(), 9)", "")), tmp_path)
    cells = nbformat.read(stopped.value.path, as_version=4).cells
    assert "os.kill" in cells[stopped.value.cell - 1].source
    assert "可能是内存不足" in cells[stopped.value.cell].source


def test_a_cell_has_a_time_limit(tmp_path: Path) -> None:
    with pytest.raises(notebooks.NotebookFailed, match="more than 1 seconds"):
        run(notebook(tmp_path, ("import time\ntime.sleep(60)", "")), tmp_path, seconds=1)


def test_notebooks_run_beside_each_other_and_the_first_failure_stops_the_rest(tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    paths = [notebook(tmp_path, (f"print({number})", ""), name=f"0{number}_try.ipynb") for number in range(3)]
    done: list[str] = []
    notebooks.run_all(paths, {}, lang="zh", folder=out, jobs=2, done=lambda path: done.append(path.name))
    assert sorted(done) == [path.name for path in paths]
    assert [printed(out / path.name) for path in paths] == ["0\n", "1\n", "2\n"]
    with pytest.raises(notebooks.NotebookFailed):
        notebooks.run_all(
            [notebook(tmp_path, ("1 / 0", ""), name="09_bad.ipynb"), *paths],
            {},
            lang="zh",
            folder=out,
            jobs=1,
            done=done.append,
        )
    assert len(done) == 3


def test_every_notebook_of_the_kit_states_its_parameters_with_type_and_meaning() -> None:
    found = places.notebooks()
    assert [path.name[:3] for path in found] == ["00_", "01_", "02_", "03_", "04_", "05_"]
    for path in found:
        read = nbformat.read(path, as_version=4)
        (cell,) = [cell for cell in read.cells if notebooks.PARAMETERS in cell.metadata.get("tags", ())]
        lines = [line for line in cell.source.splitlines() if line.strip() and not line.startswith("#")]
        assert all(": " in line.split("=")[0] and "#" in line for line in lines), path.name
        assert all(parameter.types for parameter in notebooks.parameters(read).values()), path.name
