"""Every backup tool by its record in `catalogues.toml`, with the functions of this folder that read what it writes.

A new tool is a record there and, where its files are of a form of their own, a function here. By `reads`:
`json`: (content, text, origin) and `lines`: (first line's content, data, origin) return what was found, or null where
the file is not this tool's; `file` and `folder`: (origin) are asked by the tool's `endings` and `marks`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING, Any

from audit_kit import resources

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from audit_kit.loaders.catalogues.found import Found

MARK_BYTES = 100_000


@dataclass(frozen=True, kw_only=True)
class Tool:
    """What a record says to the readers; see `catalogues.toml`."""

    name: str
    reads: Mapping[str, str] = field(default_factory=dict)
    endings: tuple[str, ...] = ()
    claims: tuple[str, ...] = ()
    marks: Mapping[str, str] = field(default_factory=dict)
    jobs: Mapping[str, Any] = field(default_factory=dict)
    programs: tuple[str, ...] = ()
    commands: tuple[Mapping[str, Any], ...] = ()
    outcomes: Mapping[str, list[str]] = field(default_factory=dict)
    text_outcomes: Mapping[str, list[str]] = field(default_factory=dict)
    part: Mapping[str, str] = field(default_factory=dict)
    speaks: bool = False

    def is_in(self, folder: Path) -> bool:
        """Tell whether a folder is one backup of this tool: a file that marks it is there and holds its words."""
        for name, words in self.marks.items():
            if (folder / name).is_file():
                if not words:
                    return True
                with (folder / name).open("rb") as file:
                    return words.encode() in file.read(MARK_BYTES)
        return False


@cache
def tools() -> dict[str, Tool]:
    """Return all tools by name, in the order of their records."""
    return {name: _tool(name, record) for name, record in resources.load("catalogues").items()}


def _tool(name: str, record: Mapping[str, Any]) -> Tool:
    known = {key: value for key, value in record.items() if key in Tool.__dataclass_fields__}
    listed = {key: tuple(value) for key, value in known.items() if isinstance(value, list)}
    return Tool(name=name, **{"programs": (name,), **known, **listed})


def readers(form: str) -> Iterator[Callable[..., Found | None]]:
    """Yield the functions of all tools that read a form, in order."""
    return (reader(tool, form) for tool in tools().values() if form in tool.reads)


def reader(tool: Tool, form: str) -> Callable[..., Found | None]:
    """Return the function that reads a form of a tool's files."""
    module, _, name = tool.reads[form].partition(".")
    function: Callable[..., Found | None] = getattr(import_module(f"{__package__}.{module}"), name)
    return function


def of_file(name: str) -> Tool | None:
    """Return the tool whose ending a file's name has, or null."""
    return next((tool for tool in tools().values() if name.lower().endswith(tool.endings)), None)


def of_folder(folder: Path) -> Tool | None:
    """Return the tool of which a folder is one backup, or null."""
    return next((tool for tool in tools().values() if tool.is_in(folder)), None)


def claimed() -> tuple[str, ...]:
    """Return the endings that are of a backup wherever the file lies."""
    return tuple(dict.fromkeys(ending for tool in tools().values() for ending in tool.claims))
