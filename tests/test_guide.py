"""The guide: it builds without a broken link, asks no network, and every command in it works in its order."""

from __future__ import annotations

import importlib.util
import re
import shlex
import shutil
import subprocess
import sys
import urllib.parse
from html.parser import HTMLParser
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import sync_playwright

from audit_kit.cli import main as cli
from audit_kit.core import places
from audit_kit.report.printing import browser_path

if TYPE_CHECKING:
    from types import ModuleType

HOUSE = Path(__file__).parents[1]
WALK = ("first-engagement", "real-exports", "chances")  # in the order in which a person reads them
LOADS = {("script", "src"), ("img", "src"), ("link", "href"), ("iframe", "src"), ("source", "src"), ("a", "href")}


@pytest.fixture(scope="module")
def builder() -> ModuleType:
    spec = importlib.util.spec_from_file_location("guide_site", HOUSE / "docs" / "site" / "build.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def site(builder: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return builder.build(tmp_path_factory.mktemp("build"))


class Page(HTMLParser):
    """What a page of the site leads to and loads, what can be led to in it, and its language."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.links: list[tuple[str, str]] = []
        self.anchors: set[str] = set()
        self.lang = ""
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name == "id" and value:
                self.anchors.add(value)
            if (tag, name) == ("html", "lang"):
                self.lang = value or ""
            if (tag, name) in LOADS and value:
                self.links.append((tag, value))


def test_every_link_of_the_site_leads_to_a_page_and_an_anchor_within_it(builder: ModuleType, site: Path):
    pages = {path: Page(path) for path in site.rglob("*.html") if path.name != "404.html"}
    assert len(pages) == sum(len(of) for of in builder.pages().values())
    faults = []
    for path, page in pages.items():
        for tag, link in page.links:
            parts = urllib.parse.urlsplit(link)
            target = (path.parent / urllib.parse.unquote(parts.path)).resolve() if parts.path else path
            is_there = not parts.scheme and not parts.netloc and target.is_relative_to(site) and target.exists()
            if is_there and tag == "a" and parts.fragment:
                is_there = urllib.parse.unquote(parts.fragment) in pages[target].anchors
            faults += [] if is_there else [f"{path.relative_to(site)}: {link}"]
    assert faults == []


def test_the_site_asks_no_network(site: Path):
    """No style, script or font comes from elsewhere; what the theme's script would fetch, no page asks for."""
    asked = r"(?:@import|url\()\s*[\"']?https?:|<(?:script|link|iframe|img)[^>]*(?:src|href)=[\"']?(?:https?:)?//"
    for path in [*site.rglob("*.html"), *site.rglob("*.css")]:
        assert re.search(asked, path.read_text(encoding="utf-8")) is None, path.name
    pages = [path.read_text(encoding="utf-8") for path in site.rglob("*.html")]
    assert not [page for page in pages if "data-md-exec" in page or 'class="mermaid"' in page]


@pytest.mark.browser
@pytest.mark.slow
def test_opened_from_disk_it_finds_chinese_words_and_asks_for_nothing_else(site: Path):
    with sync_playwright() as tool:
        browser = tool.chromium.launch(executable_path=browser_path(), args=["--no-sandbox"])
        page = browser.new_context(offline=True).new_page()
        asked: list[str] = []
        page.on("request", lambda request: asked.append(request.url))
        page.goto((site / "index.html").as_uri())
        page.keyboard.press("/")
        page.keyboard.type("重要性水平", delay=30)
        page.locator("mark", has_text="重要性水平").first.wait_for()
        page.get_by_text("一个项目，一个文件夹").last.click()
        page.wait_for_url("**/engagement.html*")
        browser.close()
    assert [url for url in asked if not url.startswith(("file:", "blob:", "data:"))] == []


def test_it_is_chinese_first_and_each_page_leads_to_its_twin(site: Path):
    for path in site.rglob("*.html"):
        here = path.relative_to(site)
        if here.name == "404.html":
            continue
        is_english = here.parts[0] == "en"
        page = Page(path)
        assert page.lang == ("en" if is_english else "zh"), here
        twin = site.joinpath(*here.parts[1:]) if is_english else site / "en" / here
        assert twin in [(path.parent / link).resolve() for tag, link in page.links if tag == "a"], here


def test_the_way_through_the_site_holds_every_page(builder: ModuleType):
    for lang, pages in builder.pages().items():
        config = (HOUSE / "docs" / "site" / f"{lang}.yml").read_text(encoding="utf-8")
        assert sorted(re.findall(r": (\S+\.md)$", config, re.MULTILINE)) == sorted(pages.values())


@pytest.mark.parametrize(
    ("broken", "error"), [("[x](no-such.md)", LookupError), ("[x](#no-such)", subprocess.CalledProcessError)]
)
def test_a_broken_link_fails_the_build(
    builder: ModuleType, broken: str, error: type[Exception], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    clone = tmp_path / "clone"
    shutil.copytree(HOUSE / "docs", clone / "docs", ignore=shutil.ignore_patterns("images"))
    for name in ("CONTRIBUTING.md", "CONTRIBUTING.zh-CN.md", "GLOSSARY.md"):
        shutil.copy(HOUSE / name, clone / name)
    monkeypatch.setattr(builder, "HOUSE", clone)
    with (clone / "docs" / "paper.zh-CN.md").open("a", encoding="utf-8") as page:
        page.write(f"\n{broken}\n")
    with pytest.raises(error):
        builder.build(tmp_path / "build")
    assert not (tmp_path / "build" / "site").exists()


def commands(page: str) -> list[str]:
    """The lines of the blocks of commands on a page."""
    text = (HOUSE / page).read_text(encoding="utf-8")
    return [
        line
        for block in re.findall(r"^```sh\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
        for line in block.split("\n")
        if line
    ]


def test_both_languages_give_the_same_commands():
    for page in WALK:
        assert commands(f"docs/guide/{page}.zh-CN.md") == commands(f"docs/guide/{page}.md") != []


@pytest.mark.slow
def test_every_command_of_the_guide_works_in_its_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("AUDIT_KIT_LANG", "zh")
    monkeypatch.setenv("AUDIT_KIT_CACHE", str(tmp_path / "cache"))
    whole = places.notebooks()
    monkeypatch.setattr(places, "notebooks", lambda: whole[:1])  # all pages are run where reports are tested
    ran = []
    for line in (line for page in WALK for line in commands(f"docs/guide/{page}.zh-CN.md")):
        words = shlex.split(line)
        if words[:2] == ["audit-kit", "lab"]:
            opens_the_lab(words, tmp_path)
        elif words[0] == "audit-kit":
            assert cli.main(words[1:]) == 0, f"{line}\n{capfd.readouterr().err}"
        else:
            subprocess.run(words, check=True)
        ran.append(" ".join(words[:2]))
    said = capfd.readouterr().out
    assert re.search(r"^ +96 +丢失精度$", said, re.MULTILINE)
    assert "按各年龄的在列比例" in said  # of the invoice that is traced: what the page on chances says of one export
    brier, base = (float(re.search(rf"{name}：([0-9.]+)", said)[1]) for name in ("（Brier）", "平均概率时的误差"))
    assert brier < base
    assert {"audit-kit simulate", "audit-kit init", "audit-kit report", "audit-kit trace", "audit-kit lab"} <= set(ran)
    made = (
        "reports/2025-05/index.html",
        "findings.xlsx",
        "letter/letter.docx",
        "matches.xlsx",
        "arrivals.xlsx",
        "forms",
    )
    assert [name for name in made if not (tmp_path / name).exists()] == []


def opens_the_lab(words: list[str], folder: Path) -> None:
    """Start the lab as the guide does, but for the browser, and end it once it tells its address."""
    command = [sys.executable, "-m", "audit_kit", *words[1:], "--no-browser", "--folder", str(folder / "lab")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as lab:
        assert lab.stdout is not None
        said = []
        for line in lab.stdout:
            said.append(line)
            if "http://127.0.0.1" in line:
                break
        lab.terminate()
        lab.stdout.read()
    assert "http://127.0.0.1" in said[-1], "".join(said)
