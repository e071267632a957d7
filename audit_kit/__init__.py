"""audit_kit: why issued invoices are not on the tax platform, with evidence and next steps.

`import audit_kit as ak` is the library's door: `ak.open_engagement(path)`, `ak.analyse(engagement)`,
`ak.reconcile(ledger, platform)`, `ak.charts` and the names below. Nothing is loaded before it is used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from audit_kit.analysis.work import analyse as analyse
    from audit_kit.analysis.work import audit_backups as audit_backups
    from audit_kit.analysis.work import diagnose as diagnose
    from audit_kit.analysis.work import month as month
    from audit_kit.core.hashing import hash_files as hash_files
    from audit_kit.loaders.engagement.engagement import open_engagement as open_engagement
    from audit_kit.loaders.read import read as read
    from audit_kit.report.run import run_report as run_report
    from audit_kit.rules.matching.reconcile import reconcile as reconcile
    from audit_kit.rules.sync.observations import probability_late as probability_late
    from audit_kit.rules.sync.observations import survival as survival
    from audit_kit.views.overview import charts as charts
    from audit_kit.views.trace import trace as trace

# Each name of the library and the room it comes from; an empty name is the room itself.
_DOOR = {
    "analyse": ("audit_kit.analysis.work", "analyse"),
    "audit_backups": ("audit_kit.analysis.work", "audit_backups"),
    "charts": ("audit_kit.views.overview.charts", ""),
    "diagnose": ("audit_kit.analysis.work", "diagnose"),
    "hash_files": ("audit_kit.core.hashing", "hash_files"),
    "month": ("audit_kit.analysis.work", "month"),
    "open_engagement": ("audit_kit.loaders.engagement.engagement", "open_engagement"),
    "probability_late": ("audit_kit.rules.sync.observations", "probability_late"),
    "read": ("audit_kit.loaders.read", "read"),
    "reconcile": ("audit_kit.rules.matching.reconcile", "reconcile"),
    "run_report": ("audit_kit.report.run", "run_report"),
    "survival": ("audit_kit.rules.sync.observations", "survival"),
    "trace": ("audit_kit.views.trace", "trace"),
}
__all__ = sorted(_DOOR)  # noqa: PLE0605 (the door's own names)


def __getattr__(name: str) -> Any:  # noqa: ANN401 (functions, a module, a version)
    """Bring in a name of the library when it is first used."""
    if name == "__version__":
        from importlib.metadata import version  # noqa: PLC0415 (as lazy as the rest)

        return version("audit-kit")
    if name not in _DOOR:
        raise AttributeError(f"module 'audit_kit' has no attribute {name!r}")
    room, thing = _DOOR[name]
    module = import_module(room)
    return getattr(module, thing) if thing else module


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
