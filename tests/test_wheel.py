"""The wheel is a product of its own: it works where there is no checkout."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

HOUSE = Path(__file__).parents[1]
PLACES = "import sysconfig; print(sysconfig.get_paths()['purelib'])"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(HOUSE)]
    subprocess.run(command, check=True, capture_output=True)
    (built,) = folder.glob("audit_kit-*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel alone in an environment of its own; what it builds on is borrowed from the one that runs the tests."""
    place = tmp_path_factory.mktemp("installed") / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(place)], check=True)
    python = place / "bin" / "python"
    own = Path(subprocess.run([python, "-c", PLACES], check=True, capture_output=True, text=True).stdout.strip())
    borrowed = subprocess.run([sys.executable, "-c", PLACES], check=True, capture_output=True, text=True).stdout.strip()
    install = [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet", "--no-deps", "--no-index"]
    subprocess.run([*install, str(wheel)], check=True, env={**os.environ, "PIP_DISABLE_PIP_VERSION_CHECK": "1"})
    (own / "borrowed.pth").write_text(borrowed + "\n", encoding="utf-8")
    return place / "bin" / "audit-kit"


def test_notebooks_resources_and_sample_travel_inside(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    for folder, inside in (("notebooks", "notebooks"), ("data/sample", "sample"), ("audit_kit/resources", "resources")):
        sources = {
            path.relative_to(HOUSE / folder).as_posix() for path in (HOUSE / folder).rglob("*") if path.is_file()
        }
        kept = {name for name in sources if "__pycache__" not in name and ".ipynb_checkpoints" not in name}
        assert {f"audit_kit/{inside}/{name}" for name in kept} <= names
    assert not [name for name in names if name.startswith(("tests/", "reports/", "benchmarks/"))]


@pytest.mark.slow
def test_the_sample_report_needs_no_checkout(installed: Path, tmp_path: Path) -> None:
    borrowed = str(Path(sys.prefix) / "share" / "jupyter")  # nbconvert keeps its templates there
    environment = {**os.environ, "AUDIT_KIT_CACHE": str(tmp_path / "cache"), "JUPYTER_PATH": borrowed}
    environment.pop("PYTHONPATH", None)

    def run(*command: str | Path) -> str:
        done = subprocess.run(command, check=True, capture_output=True, text=True, cwd=tmp_path, env=environment)
        return done.stdout

    where = run(installed.with_name("python"), "-c", "import audit_kit; print(audit_kit.__file__)")
    assert Path(where.strip()).is_relative_to(installed.parents[1])
    said = json.loads(run(installed, "report", "--sample", "--json"))
    pages = sorted(path.name for path in (tmp_path / said["folder"]).glob("*.html"))
    notebooks = sorted(path.stem for path in (HOUSE / "notebooks").glob("0[01235]_*.ipynb"))
    assert pages == sorted([*(f"{stem}.html" for stem in notebooks), "index.html"])
    assert said["summary"]["missing"]["rows"] > 0
