"""Computed plain sentences that open the backup page: the answer first, in words and numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl

from audit_kit.views.show.parts import within
from audit_kit.views.show.sentences import ratio, unknown_sources

if TYPE_CHECKING:
    from audit_kit.views.show.page import Page

ASKED = ("backup_checks", "restore_tests", "schedule", "invoice_files")


def backups(page: Page) -> list[str]:
    """Return the backup page's sentences: planned runs, the recovery point, coverage, rules, what is unknown."""
    words = page.words
    if not page.whole.engagement.has("backups"):
        return page.say([words("answer_backups.no_backups"), _rules(page)])
    lines = [_slots(page), _recovery(page), _coverage(page), _rules(page)]
    return page.say([*lines, unknown_sources(page, ASKED)])


def _slots(page: Page) -> str:
    words = page.words
    slots = within(page.analysis.backup.slots, page.start, page.end, column="due")
    if slots.is_empty():
        return words("answer_backups.no_slots")
    counts = dict(slots["state"].cast(pl.String).value_counts().iter_rows())
    found = {state: words.count(counts.get(state, 0)) for state in ("ok", "late", "missing", "unknown")}
    line = words("answer_backups.slots", slots=words.count(slots.height), **found)
    incidents = within(page.analysis.backup.incidents, page.start, page.end, column="first_due")
    if incidents.is_empty():
        return line
    worst = incidents.sort("slots", descending=True).row(0, named=True)
    return line + words(
        "answer_backups.incident",
        incidents=words.count(incidents.height),
        job=worst["job"],
        slots=words.count(worst["slots"]),
        first=f"{worst['first_due']:%Y-%m-%d %H:%M}",
        last=f"{worst['last_due']:%Y-%m-%d %H:%M}",
    )


def _recovery(page: Page) -> str:
    words = page.words
    points = within(page.analysis.backup.recovery_points, page.start, page.end, column="at").drop_nulls("minutes")
    if points.is_empty():
        return words("answer_backups.no_recovery")
    worst = points.group_by(pl.col("series").cast(pl.String)).agg(pl.all().sort_by("minutes").last())
    spans = {row["series"]: row for row in worst.iter_rows(named=True)}
    named = [
        words(
            "answer_backups.series",
            series=words.term("series", name),
            span=words.span(spans[name]["minutes"]),
            at=f"{spans[name]['at']:%m-%d %H:%M}",
        )
        for name in ("listed", "restorable", "verified")
        if name in spans
    ]
    target = page.whole.engagement.policy.backup.rpo_minutes
    return words("answer_backups.recovery", target=words.span(target), list=words("answer.semicolon").join(named))


def _coverage(page: Page) -> str:
    words = page.words
    sums = page.analysis.backup.coverage.select(pl.col("covered", "unverified", "uncovered").sum()).row(0, named=True)
    whole = sum(value or 0 for value in sums.values())
    if not whole:
        return words("answer_backups.no_coverage")
    share = words.share(ratio(sums["covered"], whole))
    counts = {name: words.count(value) for name, value in sums.items()}
    line = words("answer_backups.coverage", files=words.count(whole), share=share, **counts)
    bare = page.analysis.backup_findings.filter(pl.col("cause").is_in(("BK01", "BK02")))
    invoices = bare["invoice_key"].drop_nulls().n_unique()
    return line + (words("answer_backups.invoices_at_risk", invoices=words.count(invoices)) if invoices else "")


def _rules(page: Page) -> str:
    words = page.words
    states = page.analysis.backup.rules["state"].cast(pl.String)
    if states.is_empty():
        return ""
    counts = dict(states.value_counts().iter_rows())
    return words(
        "answer_backups.rules",
        rules=words.count(states.len()),
        passed=words.count(counts.get("pass", 0)),
        fails=words.count(counts.get("fails", 0)),
        unknown=words.count(counts.get("unknown", 0)),
    )
