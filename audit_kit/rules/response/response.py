"""The response: what was done about the trouble, judged: the register by hand, tickets, other sources.

A rule of `CAUSES` takes the evidence and gives one row a finding, as `rules.backups.backup_findings` takes them; its
record is in `response_causes.toml`. What no evidence shows is unknown, never a pass. Now is `taken_at`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import polars as pl

from audit_kit.rules.backups.backup_findings import findings, worded
from audit_kit.rules.response import (
    coincidence,
    deadlines,
    metrics,
    plan,
    register,
    resend,
    substitute,
    testimony,
    tickets,
)
from audit_kit.rules.response.response_evidence import ResponseEvidence

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["CAUSES", "ResponseAudit", "ResponseEvidence", "respond"]

AREA = "response"
# In running order: each cause with the function that looks for it.
CAUSES: tuple[tuple[str, Callable[[ResponseEvidence], pl.DataFrame]], ...] = (
    *register.CAUSES.items(),
    *tickets.CAUSES.items(),
    *testimony.CAUSES.items(),
    *substitute.CAUSES.items(),
    *resend.CAUSES.items(),
    *metrics.CAUSES.items(),
    *deadlines.CAUSES.items(),
    *plan.CAUSES.items(),
)


@dataclass(frozen=True, kw_only=True, eq=False)
class ResponseAudit:
    """What the response shows.

    `findings`: see schema.Findings. `register`, `gaps`: see `register.WRITTEN` and `register.GAPS`.
    `tickets`: see `tickets.TICKETS`. `testimony`: see `testimony.TESTIMONY`.
    `statement`: see `substitute.STATEMENT`. `resends`, `log_patterns`: see `resend.RESENDS` and `resend.PATTERNS`.
    `episodes`, `coincidences`, `forecasts`: see `metrics.EPISODES`, `coincidence.COINCIDENCES`, `metrics.FORECASTS`.
    `levels`, `troubles`: what the machines showed and what went wrong, see `metrics.LEVELS` and `coincidence.SPANS`.
    `filing`, `windows`: see `deadlines.FILING` and `deadlines.WINDOWS`. `plan`: see `plan.CHECKED`.
    """

    findings: pl.DataFrame
    register: pl.DataFrame
    gaps: pl.DataFrame
    tickets: pl.DataFrame
    testimony: pl.DataFrame
    statement: pl.DataFrame
    resends: pl.DataFrame
    log_patterns: pl.DataFrame
    episodes: pl.DataFrame
    coincidences: pl.DataFrame
    forecasts: pl.DataFrame
    levels: pl.DataFrame
    troubles: pl.DataFrame
    filing: pl.DataFrame
    windows: pl.DataFrame
    plan: pl.DataFrame


def respond(evidence: ResponseEvidence, *, lang: str = "zh") -> ResponseAudit:
    """Return everything the rules say of the response."""
    found = [worded(cause, rule(evidence), lang=lang, area=AREA) for cause, rule in CAUSES]
    booked = {"ledger_row": pl.UInt32(), "invoice_key": pl.String(), "gross": pl.Decimal(18, 2)}
    known = evidence.booked.select(*booked).drop_nulls("invoice_key") if any(rows.height for rows in found) else None
    return ResponseAudit(
        findings=findings(found, pl.DataFrame(schema=booked) if known is None else known),
        register=evidence.once(register.written),
        gaps=evidence.once(register.gaps),
        tickets=evidence.once(tickets.judged),
        testimony=evidence.once(testimony.testimony),
        statement=evidence.once(substitute.statement),
        resends=evidence.once(resend.resends),
        log_patterns=evidence.once(resend.log_patterns),
        episodes=evidence.once(metrics.episodes),
        coincidences=evidence.once(metrics.together),
        forecasts=evidence.once(metrics.forecasts),
        levels=metrics.levels(evidence),
        troubles=evidence.once(coincidence.troubles),
        filing=evidence.once(deadlines.filing),
        windows=evidence.once(deadlines.windows),
        plan=plan.checked(evidence),
    )
