"""What the rules must know of a backup tool, from its record in `catalogues.toml`."""

from __future__ import annotations

from typing import Any

from audit_kit import resources


def trait(name: str) -> dict[str, Any]:
    """Return tool to value for the tools whose record has the trait."""
    return {tool: record[name] for tool, record in resources.load("catalogues").items() if name in record}


def tools_that(name: str) -> list[str]:
    """Return the tools of which a trait is true."""
    return [tool for tool, value in trait(name).items() if value]
