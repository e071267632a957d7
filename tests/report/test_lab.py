from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from typing import TYPE_CHECKING, Any
from urllib.error import URLError

import nbformat
import pytest
from nbformat import v4

from audit_kit.core import places
from audit_kit.core.errors import RequestError
from audit_kit.report import lab

if TYPE_CHECKING:
    from pathlib import Path

PARAMETERS = 'engagement: str = "data/sample"  # 项目文件夹\nmonth: str = ""  # YYYY-MM\nlang: str = "zh"'


@pytest.fixture
def kit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """One notebook of the kit."""
    path = tmp_path / "kit" / "00_try.ipynb"
    path.parent.mkdir()
    cells = [v4.new_code_cell(PARAMETERS, metadata={"tags": ["parameters"]}), v4.new_code_cell("print(engagement)")]
    nbformat.write(v4.new_notebook(cells=cells), path)
    monkeypatch.setattr(places, "notebooks", lambda: [path])
    return path


def first_cell(path: Path) -> str:
    return str(nbformat.read(path, as_version=4).cells[0].source)


def test_a_copy_has_the_engagement_set_and_its_comments_kept(tmp_path: Path, kit: Path) -> None:
    assert lab.copy_notebooks(tmp_path / "mine", {"engagement": "/项目/甲", "lang": "en"}) == []
    assert first_cell(tmp_path / "mine" / kit.name).splitlines() == [
        "engagement: str = '/项目/甲'  # 项目文件夹",
        'month: str = ""  # YYYY-MM',
        "lang: str = 'en'",
    ]
    assert first_cell(kit) == PARAMETERS


def test_what_a_person_changed_is_kept_and_the_rest_is_renewed(tmp_path: Path, kit: Path) -> None:
    mine = tmp_path / "mine"
    lab.copy_notebooks(mine, {"engagement": "/a"})
    assert lab.copy_notebooks(mine, {"engagement": "/b"}) == []
    assert "'/b'" in first_cell(mine / kit.name)
    changed = nbformat.read(mine / kit.name, as_version=4)
    changed.cells.append(v4.new_code_cell("1 + 1"))
    nbformat.write(changed, mine / kit.name)
    assert lab.copy_notebooks(mine, {"engagement": "/c"}) == [kit.name]
    assert "'/b'" in first_cell(mine / kit.name)


@pytest.mark.parametrize(("lang", "locale"), [("zh", "zh_CN"), ("en", "en")])
def test_jupyterlab_speaks_the_language_and_asks_nobody_for_news(tmp_path: Path, lang: str, locale: str) -> None:
    lab.write_settings(tmp_path, lang=lang)
    settings = json.loads((tmp_path / "overrides.json").read_text(encoding="utf-8"))
    assert settings[lab.TRANSLATION]["locale"] == locale
    assert settings["@jupyterlab/apputils-extension:notification"] == {"fetchNews": "false", "checkForUpdates": False}


def engagement(folder: Path) -> Path:
    folder.mkdir()
    (folder / "audit.toml").write_text('[engagement]\nname = "甲"\n[sources]\nledger = "*.csv"\n', encoding="utf-8")
    (folder / "l.csv").write_text(
        "发票号码,开票日期,价税合计\n25112000000012345678,2025-05-03,1.00\n", encoding="utf-8"
    )
    return folder


def test_a_taken_port_is_refused(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(RequestError, match="is taken"):
        lab.run_lab(engagement(tmp_path / "e"), port=taken.getsockname()[1], folder=tmp_path / "mine")


@pytest.mark.slow
def test_the_lab_opens_on_the_copies_with_our_settings(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as found:
        port = found.getsockname()[1]
    command = [sys.executable, "-c", "import sys; from audit_kit.cli.main import main; sys.exit(main())", "lab"]
    command += [
        str(engagement(tmp_path / "e")),
        "--folder",
        str(tmp_path / "mine"),
        "--port",
        str(port),
        "--no-browser",
    ]
    environment = {**os.environ, "JUPYTER_TOKEN": "secret", "HOME": str(tmp_path)}
    with subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL) as server:
        try:
            settings = answer(port, "lab/api/settings")
            contents = answer(port, "api/contents")
        finally:
            server.kill()
    for _ in range(300):  # the server ends with the command that opened it, even one that was killed
        if lab._is_free(port):
            break
        time.sleep(0.1)
    assert lab._is_free(port)
    (language,) = [part["schema"] for part in settings["settings"] if part["id"] == lab.TRANSLATION]
    assert language["properties"]["locale"]["default"] == "zh_CN"
    assert sorted(entry["name"] for entry in contents["content"]) == [path.name for path in places.notebooks()]


def answer(port: int, path: str) -> dict[str, list[dict[str, Any]]]:
    """What the server says, once it is up."""
    asked = urllib.request.Request(f"http://127.0.0.1:{port}/{path}?token=secret")
    for _ in range(300):
        try:
            with urllib.request.urlopen(asked, timeout=20) as reply:  # noqa: S310  the same
                return dict(json.load(reply))
        except (URLError, ConnectionError):
            time.sleep(0.2)
    raise AssertionError("JupyterLab did not answer within a minute")
