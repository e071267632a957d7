"""After `forget` nothing on this machine names the engagement; its folder, reports and other engagements stay."""

from __future__ import annotations

import hashlib
import json
import os
from typing import TYPE_CHECKING
from urllib.parse import quote

import pytest
from filelock import FileLock

from audit_kit.analysis.work import analyse
from audit_kit.cli.main import main
from audit_kit.core import cache_folder
from audit_kit.core.errors import EXIT_DONE, EXIT_UNUSABLE
from audit_kit.core.kept.pseudonyms import key_of, key_place
from audit_kit.loaders.engagement import permits
from audit_kit.loaders.engagement.engagement import open_engagement
from audit_kit.privacy import forgetting, places_kept
from audit_kit.report import lab

if TYPE_CHECKING:
    from pathlib import Path

NAME, TAX_ID, COMPANY = "绝密松业", "91110108MA01A2B3XP", "北京示例卖方有限公司"
HEAD = "发票号码,开票日期,销方识别号,销方名称,购买方名称,价税合计"
MONTH = "2025-05"


def engagement(folder: Path, *, tax_id: str = TAX_ID, company: str = COMPANY) -> Path:
    folder.mkdir()
    rows = [f"2511200000000000000{at},{MONTH}-0{at} 10:00:00,{tax_id},{company},买方{at},1.00" for at in range(1, 6)]
    (folder / "ledger.csv").write_text("\n".join([HEAD, *rows]) + "\n", encoding="utf-8")
    (folder / "platform.csv").write_text("\n".join([HEAD, *rows[:4]]) + "\n", encoding="utf-8")
    (folder / "audit.toml").write_text(
        f'[engagement]\nname = "{folder.name}"\ntaxpayer_id = "{tax_id}"\ntaken_at = 2025-06-10T09:00:00\n',
        encoding="utf-8",
    )
    return folder


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    place = tmp_path / "home"
    place.mkdir()
    monkeypatch.setenv("HOME", str(place))
    for name in ("AUDIT_KIT_CACHE", "AUDIT_KIT_CONFIG", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_DOCUMENTS_DIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("JUPYTER_CONFIG_DIR", str(place / ".jupyter"))
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", str(place / "runtime"))
    return place


@pytest.fixture
def used(tmp_path: Path, home: Path) -> Path:
    """An engagement that was worked up, opened in the lab, allowed a way out, and worked on."""
    folder = engagement(tmp_path / NAME)
    analyse(open_engagement(folder), lang="zh")
    key_of(folder)
    (tmp_path / "reports" / MONTH).mkdir(parents=True)
    (tmp_path / "reports" / MONTH / "manifest.json").write_text(NAME, encoding="utf-8")
    copies = lab.own_folder(folder)
    lab.copy_notebooks(copies, {"engagement": str(folder), "lang": "zh", "without": ""})
    (copies / "earlier").mkdir()
    (copies / "earlier" / "00_overview-20250601-090000.ipynb").write_text(COMPANY, encoding="utf-8")
    (copies / ".ipynb_checkpoints").mkdir()
    (copies / ".ipynb_checkpoints" / "x.ipynb").write_text(TAX_ID)
    permits.keep(folder.resolve(), [permits.Way(table="ledger", place="/srv/books")])
    layout(home, folder, other="别的文件夹/00.ipynb")
    (home / "runtime").mkdir()
    (home / "runtime" / "jpserver-7-open.html").write_text(f"/lab/tree/{quote(copies.name)}/00.ipynb")
    own = hashlib.sha256(os.fsencode(os.path.normcase(folder.resolve()))).hexdigest()
    work = cache_folder.cache_folder() / f"work-{own[:16]}"
    work.mkdir()
    (work / "exploration.jsonl").write_text(f"{NAME}\n", encoding="utf-8")
    work.with_suffix(".lock").touch()
    return folder


def layout(home: Path, folder: Path, *, other: str) -> Path:
    place = home / ".jupyter" / "lab" / "workspaces"
    place.mkdir(parents=True, exist_ok=True)
    name = lab.own_folder(folder).name
    told = {"data": {f"notebook:{name}/00.ipynb": {"data": {}}, f"notebook:{other}": {}}, "metadata": {"id": "default"}}
    file = place / "default-37a8.jupyterlab-workspace"
    file.write_text(json.dumps(told), encoding="utf-8")
    return file


def traces(home: Path, *words: str) -> list[str]:
    """Whatever below a folder has one of the words in its name or its bytes."""
    found = []
    for path in home.rglob("*"):
        data = path.read_bytes() if path.is_file() else b""
        spelt = {spelling for word in words for spelling in (word, json.dumps(word).strip('"'))}
        if any(word in path.name or word.encode() in data for word in spelt):
            found.append(str(path.relative_to(home)))
    return found


def snapshot(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_nothing_at_home_names_it_any_more(used: Path, home: Path, tmp_path: Path) -> None:
    words = (NAME, TAX_ID, COMPANY, quote(NAME), str(used.parent / NAME))
    assert len(traces(home, *words)) > 10
    before = snapshot(used) | snapshot(tmp_path / "reports")
    assert main(["forget", str(used), "--yes", "--keys"]) == EXIT_DONE
    assert traces(home, *words) == []
    assert traces(home, hashlib.sha256(os.fsencode(used.resolve())).hexdigest()[:16]) == []
    assert snapshot(used) | snapshot(tmp_path / "reports") == before
    assert not lab.own_folder(used).exists()
    kept = json.loads((home / ".jupyter/lab/workspaces/default-37a8.jupyterlab-workspace").read_text())
    assert list(kept["data"]) == ["notebook:别的文件夹/00.ipynb"]


def test_it_is_listed_first_and_nothing_goes_without_a_yes(
    used: Path, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = snapshot(home)
    assert main(["forget", str(used), "--dry-run", "--json"]) == EXIT_DONE
    told = json.loads(capsys.readouterr().out)
    assert {one["kind"] for one in told["found"]} == {"analyses", "basket", "copies", "layouts", "permits"}
    assert told["removed"] == 0
    assert main(["forget", str(used), "--lang", "en"]) == EXIT_UNUSABLE
    said = capsys.readouterr()
    assert "Kept analyses" in said.out
    assert "add --yes" in said.err
    assert snapshot(home) == before


def test_the_key_stays_unless_it_is_asked_for(used: Path) -> None:
    key = key_place(used)
    before = key_of(used)
    assert main(["forget", str(used), "--yes"]) == EXIT_DONE
    assert key.read_bytes() == before
    assert main(["forget", str(used), "--yes", "--keys"]) == EXIT_DONE
    assert not key.exists()
    assert main(["forget", str(used), "--yes", "--keys"]) == EXIT_DONE


def test_another_engagement_keeps_what_is_its_own(used: Path, home: Path, tmp_path: Path) -> None:
    other = engagement(tmp_path / f"{NAME}二", tax_id="91110105MA01ABCD2X", company="北京另一有限公司")
    analyse(open_engagement(other), lang="zh")
    lab.copy_notebooks(lab.own_folder(other), {"engagement": str(other), "lang": "zh", "without": ""})
    permits.keep(other.resolve(), [permits.Way(table="ledger", place="/srv/other")])
    before = snapshot(lab.own_folder(other))
    assert main(["forget", str(used), "--yes", "--keys"]) == EXIT_DONE
    assert snapshot(lab.own_folder(other)) == before
    assert list(permits.allowed()) == [str(other)]
    assert len(cache_folder.entries_of(cache_folder.cache_folder(), other)) == 1
    assert traces(home, COMPANY) == []


def test_an_engagement_that_is_gone_or_was_moved_is_forgotten_by_its_old_path(used: Path, home: Path) -> None:
    moved = used.rename(used.with_name("搬走了"))
    assert main(["forget", str(used), "--yes", "--keys"]) == EXIT_DONE
    assert traces(home, NAME, TAX_ID) == []
    assert (moved / "ledger.csv").is_file()


def test_it_may_be_named_by_its_settings(used: Path, home: Path) -> None:
    assert main(["forget", str(used / "audit.toml"), "--yes", "--keys"]) == EXIT_DONE
    assert traces(home, NAME, TAX_ID) == []


def test_an_analysis_that_two_folders_share_is_known_to_be_of_both(used: Path, home: Path, tmp_path: Path) -> None:
    import shutil  # noqa: PLC0415

    again = shutil.copytree(used, tmp_path / "副本")
    analyse(open_engagement(again), lang="zh")
    assert len(cache_folder.entries(cache_folder.cache_folder())) == 1
    assert main(["forget", str(again), "--yes"]) == EXIT_DONE
    assert cache_folder.entries(cache_folder.cache_folder()) == []
    assert home.is_dir()


def test_files_that_a_person_made_stay_and_are_named(used: Path, capsys: pytest.CaptureFixture[str]) -> None:
    copies = lab.own_folder(used)
    (copies / "reports" / MONTH).mkdir(parents=True)
    (copies / "reports" / MONTH / "manifest.json").write_text("{}")
    (copies / "我的笔记.ipynb").write_text("mine")
    assert main(["forget", str(used), "--yes", "--lang", "en"]) == EXIT_DONE
    assert "stays (a file of yours)" in capsys.readouterr().out
    assert sorted(path.name for path in copies.iterdir()) == ["reports", "我的笔记.ipynb"]
    assert (copies / "reports" / MONTH / "manifest.json").is_file()


def test_no_link_is_followed_out(used: Path, home: Path, tmp_path: Path) -> None:
    outside = tmp_path / "别人的"
    outside.mkdir()
    (outside / "00_overview.ipynb").write_text("theirs")
    copies, work = lab.own_folder(used), next(cache_folder.cache_folder().glob("work-*[0-9a-f]"))
    for path in (copies / "earlier", copies / ".ipynb_checkpoints"):
        forgetting._remove(path)
        path.symlink_to(outside)
    (work / "out").symlink_to(outside)
    assert main(["forget", str(used), "--yes"]) == EXIT_DONE
    assert (outside / "00_overview.ipynb").read_text() == "theirs"
    assert [path.name for path in copies.iterdir()] == ["earlier"]  # a link is nobody's copy
    forgetting._remove(copies)
    copies.symlink_to(outside)
    work.symlink_to(outside)
    assert main(["forget", str(used), "--yes"]) == EXIT_DONE
    assert (outside / "00_overview.ipynb").read_text() == "theirs"
    assert not copies.is_symlink()
    assert not work.is_symlink()
    assert home.is_dir()


def test_copies_that_are_a_link_to_the_engagement_leave_it_whole(used: Path) -> None:
    copies = lab.unresolved_folder(used)
    forgetting._remove(copies)
    copies.symlink_to(used)
    (used / "00_overview.ipynb").write_text("the client's")
    before = snapshot(used)
    assert main(["forget", str(used), "--yes"]) == EXIT_DONE
    assert snapshot(used) == before


def test_a_cache_inside_of_the_engagement_is_refused(
    used: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("AUDIT_KIT_CACHE", str(used / "cache"))
    assert main(["forget", str(used), "--yes", "--lang", "en"]) == EXIT_UNUSABLE
    assert "never written to" in capsys.readouterr().err


def test_what_a_run_at_work_holds_stays_and_is_said(used: Path) -> None:
    (entry,) = cache_folder.entries(cache_folder.cache_folder())
    with FileLock(entry.path.with_suffix(".lock")):
        assert main(["forget", str(used), "--yes"]) == EXIT_UNUSABLE
        assert entry.path.is_dir()
    assert main(["forget", str(used), "--yes"]) == EXIT_DONE
    assert not entry.path.exists()


@pytest.mark.parametrize("lang", ["zh", "en"])
def test_the_page_says_what_lies_where_and_how_long(
    used: Path, home: Path, lang: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert used.is_dir()
    assert main(["privacy", "--lang", lang]) == EXIT_DONE
    told = capsys.readouterr().out
    assert str(home / ".cache" / "audit-kit") in told
    assert "audit-kit forget" in told
    assert main(["privacy", "--json"]) == EXIT_DONE
    listed = {one["kind"]: one for one in json.loads(capsys.readouterr().out)}
    assert tuple(listed) == places_kept.KINDS
    assert {kind: one["count"] for kind, one in listed.items() if one["count"]} == {
        "analyses": 1,
        "copies": 1,
        "layouts": 2,
        "permits": 1,
        "keys": 1,
    }
