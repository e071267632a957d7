"""What the documents say holds: two languages side by side, links that lead somewhere, commands that exist."""

from __future__ import annotations

import inspect
import re
import shlex
import tomllib
from pathlib import Path

import pytest

from audit_kit import resources
from audit_kit.cli import main as cli
from audit_kit.core import schema
from audit_kit.loaders.tables.templates import TABLES

HOUSE = Path(__file__).parents[1]
READMES = ("README.md", "README.zh-CN.md")
CONTRIBUTING = ("CONTRIBUTING.md", "CONTRIBUTING.zh-CN.md")
PAGES = [
    *READMES,
    *CONTRIBUTING,
    "GLOSSARY.md",
    "CHANGES.md",
    *sorted(page.relative_to(HOUSE).as_posix() for page in (HOUSE / "docs").glob("**/*.md")),
]


def text(page: str) -> str:
    return (HOUSE / page).read_text(encoding="utf-8")


def shape(page: str) -> list[str]:
    """The level of every heading, every fenced block, every command and every link, in their order."""
    found = re.findall(
        r"^(#+) |^```\n(.*?)^```$|`(audit-kit [^`]+)`|\]\(([^)]+)\)", text(page), re.MULTILINE | re.DOTALL
    )
    parts = ["".join(parts).replace(".zh-CN", "") for parts in found]
    return [part for part in parts if not part.startswith(("README", "CONTRIBUTING"))]


@pytest.mark.parametrize("pages", [READMES, CONTRIBUTING], ids=["readme", "contributing"])
def test_both_languages_have_the_same_headings_commands_and_links(pages: tuple[str, str]):
    english, chinese = (shape(page) for page in pages)
    assert len(english) >= 8
    assert english == chinese


def twins(folder: str) -> list[str]:
    """The pages of a folder that are written in English, each of which has a Chinese twin."""
    names = (page.name for page in (HOUSE / folder).glob("*.md"))
    return sorted(f"{folder}/{name.removesuffix('.md')}" for name in names if not name.endswith(".zh-CN.md"))


def outline(page: str) -> dict[str, list[str]]:
    """What a page has in any language: the levels of its headings, rows of tables, blocks, commands and links."""
    said = text(page)
    links = [link.replace(".zh-CN", "") for link in re.findall(r"\]\(([^)#]+)\)", said)]
    return {
        "headings": re.findall(r"^(#+) ", said, re.MULTILINE),
        "rows": re.findall(r"^(\|)", said, re.MULTILINE),
        "blocks": re.findall(r"^```(\w*)", said, re.MULTILINE),
        "commands": sorted(" ".join(command.split()) for command in re.findall(r"`(audit-kit [^`]+)`", said)),
        "links": sorted(set(links)),
    }


@pytest.mark.parametrize("page", [*twins("docs"), *twins("docs/guide")])
def test_every_page_has_a_chinese_twin_with_the_same_chapters_tables_commands_and_links(page: str):
    assert outline(f"{page}.zh-CN.md") == outline(f"{page}.md")


@pytest.mark.parametrize("page", ["docs/engagement", "docs/backups"])
def test_settings_shown_are_read_the_same_in_both_languages(page: str):
    shown = [
        re.findall(r"^```toml\n(.*?)^```$", text(page + of), re.MULTILINE | re.DOTALL) for of in (".md", ".zh-CN.md")
    ]
    english, chinese = ([tomllib.loads(block) for block in blocks] for blocks in shown)
    assert english == chinese != []


@pytest.mark.parametrize("page", [page for page in PAGES if ".zh-CN." in page])
def test_a_chinese_page_leads_to_chinese_ones(page: str):
    links = re.findall(r"\]\(([^)#]+\.md)", re.sub(r"^\*\[.*$", "", text(page), count=1, flags=re.MULTILINE))
    here = (HOUSE / page).parent
    english = [link for link in links if not link.endswith(".zh-CN.md")]
    assert [link for link in english if (here / link.replace(".md", ".zh-CN.md")).exists()] == []


@pytest.mark.parametrize("page", [page for page in PAGES if ".zh-CN." in page])
def test_a_chinese_page_uses_the_terms_of_the_glossary(page: str):
    table = text("GLOSSARY.md").split("| not | but |")[1].splitlines()[2:]
    losing = [term.strip() for line in table if line.startswith("|") for term in line.split("|")[1].split("、")]
    assert len(losing) > 20
    assert [term for term in losing if term in text(page)] == []


def test_the_dictionary_translates_what_the_tables_say_and_nothing_else():
    fields = [field for table in schema.TABLES.values() for field in table.columns().values()]
    said = resources.load("dictionary")
    assert set(said["meanings"]) == {field.metadata["meaning"] for field in fields} - {""}
    assert set(said["units"]) == {field.metadata["unit"] for field in fields} - {""}
    tables = {(inspect.getdoc(table) or "").splitlines()[0].split(": ", 1)[1] for table in schema.TABLES.values()}
    assert set(said["tables"]) == tables


@pytest.mark.parametrize("page", ["docs/tables.md", "docs/tables.zh-CN.md"])
def test_every_table_is_described_with_what_must_be_filled(page: str):
    chapters = dict(re.findall(r"^## (\w+) [^\n]*\n\n(.*?)(?=^## |\Z)", text(page), re.MULTILINE | re.DOTALL))
    assert set(TABLES) <= set(chapters)
    required = resources.load("headers")["required"]
    for table in (
        "ledger",
        "sync_log",
        "accounts",
        "notices",
        "operations",
        "confirmations",
        "red_confirmations",
        "metrics",
        "schedule",
    ):
        headers = [schema.headers(table)[group[0]] for group in required[table]]
        assert [header for header in headers if header not in chapters[table]] == [], table


@pytest.mark.parametrize("page", READMES)
def test_the_quick_start_is_two_commands_in_one_block(page: str):
    blocks = re.findall(r"^```\n(.*?)^```$", text(page), re.MULTILINE | re.DOTALL)
    assert blocks[0].split("\n")[:2] == ["make report", "make test"]
    assert [block for block in blocks if "make " in block] == ["make report\nmake test\n"]


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_to_what_is_there(page: str):
    links = [link for link in re.findall(r"\]\(([^)#]+)\)", text(page)) if "://" not in link]
    assert [link for link in links if not ((HOUSE / page).parent / link).exists()] == []


@pytest.mark.parametrize("page", PAGES)
def test_every_command_that_is_shown_exists(page: str, capsys: pytest.CaptureFixture[str]):
    for command in sorted(set(re.findall(r"audit-kit ([a-z][a-z-]+)", text(page)))):
        with pytest.raises(SystemExit) as stop:
            cli.main([command, "--help"])
        assert stop.value.code == 0, command
    capsys.readouterr()


def written_commands(page: str) -> list[str]:
    """The commands that stand in blocks of a page, and so are typed as they stand."""
    blocks = re.findall(r"^```\w*\n(.*?)^```$|^((?: {4}.*\n)+)", text(page), re.MULTILINE | re.DOTALL)
    lines = (line.strip() for block in blocks for part in block for line in part.split("\n"))
    return [re.sub(r" \[.*\]$", "", line) for line in lines if line.startswith("audit-kit ")]


@pytest.mark.parametrize("page", PAGES)
def test_every_command_in_a_block_has_options_that_it_knows(page: str):
    for command in written_commands(page):
        options = cli.parser().parse_args(shlex.split(command)[1:])
        assert callable(options.run), command


def test_the_commands_of_the_readme_are_those_that_are_tried():
    assert len(written_commands("README.md")) == 4
    assert sum(len(written_commands(page)) for page in PAGES) > 20


@pytest.mark.parametrize("page", [page for page in PAGES if not page.startswith(("CHANGES", "docs/decisions/"))])
def test_a_file_or_folder_that_is_named_is_there(page: str):
    own = "|".join(sorted(path.name for path in (HOUSE / "audit_kit").iterdir() if path.is_dir()))
    named = re.findall(rf"`((?:audit_kit|docs|tests|benchmarks|notebooks|{own})/[\w./-]*)`", text(page))
    assert [name for name in named if not any((base / name).exists() for base in (HOUSE, HOUSE / "audit_kit"))] == []
