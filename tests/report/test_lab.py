from __future__ import annotations

import dataclasses
import json
import os
import re
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
    assert "'/c'" in first_cell(mine / kit.name)
    assert nbformat.read(mine / kit.name, as_version=4).cells[-1].source == "1 + 1"


def saved(path: Path, **changes: str) -> None:
    """Save a copy as a person does after running it: with results, and perhaps with other parameters."""
    notebook = nbformat.read(path, as_version=4)
    notebook.cells[0].source = changes.get("parameters", notebook.cells[0].source)
    notebook.cells[1].outputs = [v4.new_output("display_data", {"text/plain": "figures of " + first_cell(path)})]
    nbformat.write(notebook, path)


def test_two_clients_folders_of_one_name_never_share_copies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lab.platformdirs, "user_documents_dir", lambda: str(tmp_path / "documents"))
    one, other = (lab.own_folder(tmp_path / client / "2024") for client in ("A", "B"))
    assert one != other
    assert one.parent == other.parent == tmp_path / "documents" / "audit-kit"
    assert one == lab.own_folder(tmp_path / "A" / "x" / ".." / "2024")
    assert one.name.startswith("2024-")


def test_a_folder_of_another_engagement_is_refused_and_ones_own_is_not(tmp_path: Path, kit: Path) -> None:
    mine, owner = tmp_path / "mine", tmp_path / "A" / "2024"
    lab.copy_notebooks(mine, {"engagement": str(owner)})
    lab._check_owner(mine, owner)
    lab._check_owner(tmp_path / "new", owner)
    with pytest.raises(RequestError, match="name another folder"):
        lab._check_owner(mine, tmp_path / "B" / "2024")
    assert first_cell(mine / kit.name).startswith(f"engagement: str = '{owner}'")


def test_results_stay_while_they_are_of_the_same_and_else_are_put_by(tmp_path: Path, kit: Path) -> None:
    mine = tmp_path / "mine"
    lab.copy_notebooks(mine, {"engagement": "/a"}, state="1")
    saved(mine / kit.name)
    before = (mine / kit.name).read_bytes()
    assert lab.copy_notebooks(mine, {"engagement": "/a"}, state="1") == []
    assert (mine / kit.name).read_bytes() == before
    assert lab.copy_notebooks(mine, {"engagement": "/a"}, state="2") == []
    assert nbformat.read(mine / kit.name, as_version=4).cells[1].outputs == []
    (put_by,) = (mine / lab.EARLIER).iterdir()
    assert put_by.read_bytes() == before


@pytest.mark.parametrize(
    "broken",
    [
        'engagement: str = "/b"\nlang: str = "zh"',
        'engagement = "/b"\nlang: str = "zh"',
        'engagement: str = "/a"\nengagement = "/b"',
        'engagement: str = (\n    "/b"\n)',
        "engagement: str = ",
        "",
    ],
)
def test_whatever_a_person_did_to_the_parameters_they_are_those_of_this_engagement(
    tmp_path: Path, kit: Path, broken: str
) -> None:
    mine = tmp_path / "mine"
    lab.copy_notebooks(mine, {"engagement": "/a", "lang": "zh"})
    saved(mine / kit.name, parameters=broken)
    lab.copy_notebooks(mine, {"engagement": "/a", "lang": "zh"})
    made = nbformat.read(mine / kit.name, as_version=4)
    told: dict[str, str] = {}
    exec(made.cells[0].source, {}, told)  # noqa: S102  what the kernel does with it
    assert (told["engagement"], told["lang"]) == ("/a", "zh")
    assert made.cells[1].outputs == []


def test_a_copy_that_cannot_be_read_is_put_by_and_made_anew(tmp_path: Path, kit: Path) -> None:
    mine = tmp_path / "mine"
    lab.copy_notebooks(mine, {"engagement": "/a"})
    (mine / kit.name).write_text("<html>")
    (mine / lab.choices.RECORD).write_text("[1")
    assert lab.copy_notebooks(mine, {"engagement": "/a"}) == []
    assert "'/a'" in first_cell(mine / kit.name)
    assert [path.read_text() for path in (mine / lab.EARLIER).iterdir()] == ["<html>"]


def test_copies_are_in_one_language_folded_and_change_it_but_for_a_persons_words(tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    lab.copy_notebooks(mine, {"engagement": "/a", "lang": "zh"})
    path = mine / "00_overview.ipynb"
    made = nbformat.read(path, as_version=4)
    assert not [cell for cell in made.cells if "en" in cell.metadata.get("tags", ())]
    assert all(cell.metadata.jupyter.source_hidden for cell in made.cells if cell.cell_type == "code")
    made.cells[0].source = "# 我的说明"
    nbformat.write(made, path)
    assert lab.copy_notebooks(mine, {"engagement": "/a", "lang": "en"}) == [path.name]
    prose = [cell.source for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "markdown"]
    assert prose[0] == "# 我的说明"
    assert len(prose) > 5
    assert not [text for text in prose[1:] if re.search("[\u4e00-\u9fff]", text)]


def test_only_engagements_that_were_opened_and_are_still_there_are_listed(
    tmp_path: Path, kit: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lab.choices, "FIRST", kit.name)
    for client in ("A", "B", "C"):
        (tmp_path / client / "2024").mkdir(parents=True)
        lab.copy_notebooks(tmp_path / "home" / f"2024-{client}", {"engagement": str(tmp_path / client / "2024")})
    (tmp_path / "C" / "2024").rmdir()
    found = lab.choices.engagements(tmp_path / "home")
    assert [(where, folder) for where, _, folder in found] == [
        (f"/lab/workspaces/{client}/tree/2024-{client}/{lab.choices.FIRST}", tmp_path / client / "2024")
        for client in ("A", "B")
    ]


@pytest.mark.parametrize(("lang", "locale"), [("zh", "zh_CN"), ("en", "en")])
def test_jupyterlab_speaks_the_language_and_asks_nobody_for_news(tmp_path: Path, lang: str, locale: str) -> None:
    lab.write_settings(tmp_path, lang=lang)
    settings = json.loads((tmp_path / "overrides.json").read_text(encoding="utf-8"))
    assert settings[lab.TRANSLATION]["locale"] == locale
    assert (tmp_path / lab.EXTENSIONS / "audit-kit-lab" / "package.json").is_file()
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


def test_copies_that_a_list_leads_to_are_renewed_once_their_files_changed(
    tmp_path: Path, kit: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lab.platformdirs, "user_documents_dir", lambda: str(tmp_path / "documents"))
    here, other = engagement(tmp_path / "here"), engagement(tmp_path / "other")
    place = lab.own_folder(other)
    lab.copy_notebooks(place, {"engagement": str(other), "lang": "zh"}, state=lab.state_of(other))
    saved(place / kit.name)
    before = (place / kit.name).read_bytes()
    lab._renew_others(place.parent, lab.own_folder(here), lang="zh")
    assert (place / kit.name).read_bytes() == before
    (other / "l.csv").write_text("发票号码\n")
    lab._renew_others(place.parent, lab.own_folder(here), lang="zh")
    made = nbformat.read(place / kit.name, as_version=4)
    assert made.cells[1].outputs == []
    assert first_cell(place / kit.name).startswith(f"engagement: str = '{other}'")


def test_what_is_read_from_elsewhere_is_never_taken_for_the_same(tmp_path: Path) -> None:
    inside = engagement(tmp_path / "e")
    opened = lab.open_engagement(inside)
    assert lab._is_whole(opened)
    assert not lab._is_whole(dataclasses.replace(opened, folder=tmp_path / "other"))
    assert lab.state_of(inside) == lab.state_of(inside)
    assert lab.state_of(inside, is_whole=False) != lab.state_of(inside, is_whole=False)
