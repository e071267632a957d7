"""What the documents say holds: two languages side by side, links that lead somewhere, commands that exist."""

from __future__ import annotations

import re
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
    *sorted(f"docs/{page.name}" for page in (HOUSE / "docs").glob("*.md")),
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


@pytest.mark.parametrize("page", ["tables", "paper", "binder"])
def test_a_page_in_two_languages_has_the_same_chapters_and_commands(page: str):
    shape = r"^(#+) (?:([a-z_]+) (?=[\u4e00-\u9fff]))?|`(audit-kit [^`]+)`"
    english, chinese = (re.findall(shape, text(f"docs/{page}{of}.md"), re.MULTILINE) for of in ("", ".zh-CN"))
    assert english == chinese


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
