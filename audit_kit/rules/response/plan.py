"""The emergency plan: what it lacks, drills that are due, and how long a restore takes."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import polars as pl

from audit_kit.core.policy import WHOLE_PERCENT, Plan, Training
from audit_kit.rules.backups.backup_findings import facts

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from audit_kit.core.policy import Role
    from audit_kit.rules.response.response_evidence import ResponseEvidence

YEAR_DAYS = 365


def plan_gap(evidence: ResponseEvidence) -> pl.DataFrame:
    """Find what the plan lacks, and what in it is older than a year; where there is no plan nothing is said."""
    plan = evidence.plan
    if plan == Plan():
        return facts()
    sections = {
        "roles": plan.roles,
        "priorities": plan.priorities,
        "resources": plan.resources,
        "contacts": plan.contacts,
    }
    gaps = [{"item": section, "lack": section} for section, said in sections.items() if not said]
    gaps += [gap for role in plan.roles for gap in _of_role(role, evidence)]
    if not any(role.updated for role in plan.roles):
        gaps += _age("plan", plan.updated, evidence)
    return facts(
        {
            "about": [gap["item"], gap["lack"]],
            "variant": gap["lack"],
            "state": "unknown" if gap["lack"] == "undated" else None,
            **gap,
        }
        for gap in gaps
    )


def _of_role(role: Role, evidence: ResponseEvidence) -> Iterator[dict[str, Any]]:
    contacts = {name.strip().casefold() for name, number in evidence.plan.contacts.items() if number.strip()}
    names = {text.strip().casefold() for text in (role.name, role.person) if text}
    lacks = {
        "person": not _said(role.person),
        "deputy": not _said(role.deputy),
        "contact": not (_said(role.contact) or names & contacts),
        "same": _said(role.deputy) and role.deputy == role.person,
    }
    yield from ({"item": role.name, "lack": lack} for lack, is_so in lacks.items() if is_so)
    if role.updated:
        yield from _age(role.name, role.updated, evidence)


def _said(text: str | None) -> bool:
    return bool(text and text.strip())


def _age(item: str, updated: Any, evidence: ResponseEvidence) -> list[dict[str, Any]]:  # noqa: ANN401 - a day or null
    if updated is None:
        return [{"item": item, "lack": "undated"}]
    days = (evidence.taken_at.date() - updated).days
    return [{"item": item, "lack": "old", "day": updated, "days": days}] if days > YEAR_DAYS else []


def drill_overdue(evidence: ResponseEvidence) -> pl.DataFrame:
    """Find drills and training that are due: last held longer ago than they are to be, a year where nothing says."""
    plan, today = evidence.plan, evidence.taken_at.date()
    rows: list[dict[str, Any]] = []
    if plan != Plan() and not plan.drills:
        rows.append({"about": ["none"], "variant": "none", "state": "unknown"})
    for drill in plan.drills:
        every = drill.every_days or YEAR_DAYS
        known = {"about": [drill.name], "drill": drill.name, "every": every}
        if drill.last is None:
            rows.append({**known, "variant": "never"})
        elif (today - drill.last).days > every:
            due = drill.last + timedelta(days=every)
            rows.append({**known, "last": drill.last, "due": due, "days": (today - due).days})
    return facts([*rows, *_training(evidence)])


def _training(evidence: ResponseEvidence) -> Iterator[dict[str, Any]]:
    """Say whether training is due: by its own interval, else yearly; nothing where no training is spoken of."""
    training, today = evidence.training, evidence.taken_at.date()
    if training == Training():
        return
    held = sorted((entry.date, entry.drill or "") for entry in training.log if entry.date and entry.date <= today)
    last = max((day for day in (training.last, *(day for day, _ in held)) if day), default=None)
    every = training.every_days or YEAR_DAYS
    known = {"about": ["training"], "drill": next((name for _, name in reversed(held) if name), "–"), "every": every}
    if last is None:
        yield {**known, "variant": "untrained"}
    elif (today - last).days > every:
        due = last + timedelta(days=every)
        yield {**known, "variant": "training", "last": last, "due": due, "days": (today - due).days}


def restore_slow(evidence: ResponseEvidence) -> pl.DataFrame:
    """Find restore tests that took longer than allowed, or would have if everything had been restored.

    Where a test read only a part, the whole is reckoned in proportion; that is no measurement, hence unknown.
    """
    limit = evidence.policy.backup.restore_minutes
    known = pl.col("duration_s").is_not_null() & (pl.col("performed_at") <= pl.lit(evidence.taken_at))
    rows = evidence.restore_tests.filter(known & (pl.col("result") == "ok"))
    rows = rows.sort("performed_at", maintain_order=True).unique("repo_id", keep="last", maintain_order=True)
    part = pl.when(pl.col("scope_pct") > 0).then(pl.col("scope_pct")).clip(upper_bound=WHOLE_PERCENT)
    rows = rows.with_columns(minutes=pl.col("duration_s") / 60, scope=part.fill_null(WHOLE_PERCENT))
    rows = rows.with_columns(whole=pl.col("minutes") * WHOLE_PERCENT / pl.col("scope"))
    slow = pl.col("minutes") > limit
    return rows.filter(slow | (pl.col("whole") > limit)).select(
        "minutes",
        "scope",
        "whole",
        "source_file",
        "source_row",
        about=pl.concat_list(pl.col("repo_id").fill_null("")),
        repo="repo_id",
        at="performed_at",
        limit=pl.lit(limit),
        variant=pl.when(~slow).then(pl.lit("reckoned")),
        state=pl.when(~slow).then(pl.lit("unknown")),
    )


CAUSES: dict[str, Callable[[ResponseEvidence], pl.DataFrame]] = {
    "plan_gap": plan_gap,
    "drill_overdue": drill_overdue,
    "restore_slow": restore_slow,
}
