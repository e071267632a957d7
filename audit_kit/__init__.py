"""audit_kit: why issued invoices are not on the tax platform, with evidence and next steps.

`import audit_kit as ak` is the library's door: `ak.open_engagement(path)`, `ak.analyse(engagement)`,
`ak.reconcile(ledger, platform)`, `ak.charts` and the names below. Nothing is loaded before it is used.
"""

from __future__ import annotations

import ast
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # the one list of the library's names; they are brought in from there as they are used
    from audit_kit.analysis.month import month as month
    from audit_kit.analysis.work import analyse as analyse
    from audit_kit.analysis.work import audit_backups as audit_backups
    from audit_kit.analysis.work import diagnose as diagnose
    from audit_kit.core.hashing import hash_files as hash_files
    from audit_kit.loaders.engagement.engagement import open_engagement as open_engagement
    from audit_kit.loaders.read import read as read
    from audit_kit.report.run import run_report as run_report
    from audit_kit.rules.matching.reconcile import reconcile as reconcile
    from audit_kit.rules.sync.observations import probability_late as probability_late
    from audit_kit.rules.sync.observations import survival as survival
    from audit_kit.views.overview import charts as charts
    from audit_kit.views.trace import trace as trace

_ROOMS = {
    alias.name: line.module
    for block in ast.parse(Path(__file__).read_text(encoding="utf-8")).body
    if isinstance(block, ast.If)
    for line in block.body
    if isinstance(line, ast.ImportFrom) and line.module
    for alias in line.names
}
__all__ = sorted(_ROOMS)  # noqa: PLE0605 (the door's own names)


def __getattr__(name: str) -> Any:  # noqa: ANN401 (functions, a module, a version)
    """Bring in a name of the library when it is first used."""
    if name == "__version__":
        from importlib.metadata import version  # noqa: PLC0415 (as lazy as the rest)

        return version("audit-kit")
    if name not in _ROOMS:
        raise AttributeError(f"module 'audit_kit' has no attribute {name!r}")
    room = import_module(_ROOMS[name])
    return getattr(room, name) if hasattr(room, name) else import_module(f"{_ROOMS[name]}.{name}")


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
