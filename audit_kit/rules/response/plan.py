"""The emergency plan: what it lacks, drills that are due, and how long a restore takes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import polars as pl

from audit_kit.core.policy import WHOLE_PERCENT, Plan
from audit_kit.rules.backups.backup_findings import facts
from audit_kit.rules.response.plan_gaps import YEAR_DAYS, of_drill, of_plan, of_role

if TYPE_CHECKING:
    from collections.abc import Callable

    from audit_kit.rules.response.response_evidence import ResponseEvidence

CHECKED = {
    "part": pl.String(),
    "name": pl.String(),
    "state": pl.String(),
    "lacks": pl.List(pl.String()),
    "since": pl.Date(),
}
OF_PLAN = {"plan_old": ("plan", "old"), "undated": ("plan", "undated")}
UNCLEAR = ("undated", "drills", "drill_every")
# What is checked of the plan as a whole, and by which gaps it fails.
PARTS = {
    "roles": ("roles",),
    "priorities": ("priorities",),
    "resources": ("resources",),
    "contacts": ("contacts",),
    "date": ("undated", "plan_old"),
    "drills": ("drills",),
}


def plan_gap(evidence: ResponseEvidence) -> pl.DataFrame:
    """Find what the plan lacks, and what in it is older than a year; where there is no plan nothing is said."""
    if evidence.plan == Plan():
        return facts()
    day = evidence.taken_at.date()
    return facts(
        {
            "about": OF_PLAN.get(gap.key, (gap.name or gap.key, gap.key)),
            "variant": gap.key,
            "state": "unknown" if gap.key == "undated" else None,
            "item": OF_PLAN.get(gap.key, (gap.name or gap.key,))[0],
            "day": gap.since,
            "days": (day - gap.since).days if gap.since else None,
        }
        for gap in of_plan(evidence.plan, day)
        if gap.key != "drills"
    )


def checked(evidence: ResponseEvidence) -> pl.DataFrame:
    """Return what the plan was checked for, and what each part lacks: see `CHECKED`; nothing where there is no plan."""
    plan, day = evidence.plan, evidence.taken_at.date()
    if plan == Plan():
        return pl.DataFrame(schema=CHECKED)
    mine = of_plan(plan, day)
    parts = [(part, "", [gap for gap in mine if gap.key in keys]) for part, keys in PARTS.items()]
    parts += [("role", role.name, list(of_role(role, plan, day))) for role in plan.roles]
    parts += [("drill", drill.name, list(of_drill(drill, day))) for drill in plan.drills]
    rows = [
        {
            "part": part,
            "name": name,
            "state": "pass" if not lacks else "unknown" if all(gap.key in UNCLEAR for gap in lacks) else "fails",
            "lacks": [gap.key for gap in lacks],
            "since": next((gap.since for gap in lacks if gap.since), None),
        }
        for part, name, lacks in parts
    ]
    return pl.DataFrame(rows, schema=CHECKED)


def drill_overdue(evidence: ResponseEvidence) -> pl.DataFrame:
    """Find drills that are due: last held longer ago than they are to be, a year where the plan does not say."""
    plan, today = evidence.plan, evidence.taken_at.date()
    rows: list[dict[str, Any]] = []
    if plan != Plan() and not plan.drills:
        rows.append({"about": ["none"], "variant": "none", "state": "unknown"})
    for drill in plan.drills:
        gaps = {gap.key: gap.since for gap in of_drill(drill, today)}
        known = {"about": [drill.name], "drill": drill.name, "every": drill.every_days or YEAR_DAYS}
        if "drill_last" in gaps:
            rows.append({**known, "variant": "never"})
        elif due := gaps.get("drill_due"):
            rows.append({**known, "last": drill.last, "due": due, "days": (today - due).days})
    return facts(rows)


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
