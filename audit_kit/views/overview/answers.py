"""Computed plain sentences that open the overview and the backup page: the answer first, in words and numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import polars as pl

from audit_kit.core import schema
from audit_kit.rules.sync.lateness import lost_interval
from audit_kit.views.missing import answers as rule_answers
from audit_kit.views.overview.charts import outcome_totals

if TYPE_CHECKING:
    from decimal import Decimal

    from audit_kit.views.show.page import Page

OPTIONAL = ("sync_log", "accounts", "notices", "operations", "confirmations", "backups")
NOT_AGREEING = ("mistyped", "conflict", "duplicate", "ambiguous", "unbooked")


def overview(page: Page) -> list[str]:
    """Return the overview's sentences: the tie, what is missing and merely late, what it costs, what is unknown."""
    words = page.words
    totals = outcome_totals(page.analysis)
    if totals.is_empty():
        return [words("answer.nothing")]
    ledger, platform = (totals.filter(pl.col("side") == side) for side in ("ledger", "platform"))
    agreed = ledger.filter(pl.col("outcome") == "matched")
    lines = [
        words(
            "answer.tie",
            ledger=words.count(ledger["rows"].sum()),
            ledger_yuan=words.yuan(ledger["yuan"].sum()),
            platform=words.count(platform["rows"].sum()),
            platform_yuan=words.yuan(platform["yuan"].sum()),
            agreed=words.count(agreed["rows"].sum()),
            share=words.share(_ratio(agreed["rows"].sum(), ledger["rows"].sum())),
        )
    ]
    lines.append(_others(totals, page))
    lines.append(_missing(page, ledger))
    lines.append(_dearest(page))
    lines.append(_since_last_month(page))
    lines.append(_control(page))
    lines.append(unknown_sources(page, OPTIONAL))
    return [line for line in lines if line]


def _ratio(part: Decimal | float | None, whole: Decimal | float | None) -> float | None:
    return float(part) / float(whole) if part is not None and whole else None


def _others(totals: pl.DataFrame, page: Page) -> str:
    words = page.words
    counts = totals.filter(
        (pl.col("side") == "ledger") | (pl.col("outcome") == "unbooked"), pl.col("outcome").is_in(NOT_AGREEING)
    )
    counts = counts.group_by("outcome").agg(pl.col("rows").sum()).sort(pl.col("outcome").cast(pl.Enum(schema.OUTCOMES)))
    named = [
        words("answer.count_of", name=words.term("outcome", outcome), count=words.count(rows))
        for outcome, rows in counts.iter_rows()
        if rows
    ]
    return words("answer.others", list=words("answer.comma").join(named)) if named else ""


def _missing(page: Page, ledger: pl.DataFrame) -> str:
    words = page.words
    missing = ledger.filter(pl.col("outcome") == "missing")
    count = missing["rows"].sum()
    if not count:
        return words("answer.none_missing")
    line = words(
        "answer.missing",
        missing=words.count(count),
        share=words.share(_ratio(count, ledger["rows"].sum()), digits=2),
        yuan=words.yuan(missing["yuan"].sum()),
    )
    chances = page.analysis.findings["probability_late"].drop_nulls()
    if chances.is_empty():
        return line + words("answer.late_unknown")
    lost = lost_interval(chances)
    return line + words(
        "answer.late",
        late=words.count(chances.len() - lost["expected"]),
        lost=words.count(lost["expected"]),
        lower=words.count(lost["lower"]),
        upper=words.count(lost["upper"]),
    )


def _dearest(page: Page) -> str:
    words = page.words
    findings = page.analysis.findings.filter(pl.col("severity").cast(pl.String) != "info")
    if findings.is_empty():
        return ""
    amount = pl.col("amount")
    sums = findings.group_by("cause").agg(rows=pl.len(), yuan=amount.sum(), involved=amount.abs().sum())
    top = sums.sort("involved", "rows", "cause", descending=[True, True, False]).head(3).drop("involved")
    named = [
        words("answer.cause", cause=words.cause(cause), rows=words.count(rows), yuan=words.yuan(yuan))
        for cause, rows, yuan in top.iter_rows()
    ]
    return words("answer.dearest", list=words("answer.semicolon").join(named))


def _since_last_month(page: Page) -> str:
    words = page.words
    if page.compared.is_empty():
        return words("answer.no_comparison")
    counts = dict(page.compared["change"].value_counts().iter_rows())
    return words("answer.compared", **{name: words.count(counts.get(name, 0)) for name in ("new", "open", "closed")})


def _control(page: Page) -> str:
    words, control = page.words, page.whole.control
    if control.is_empty():
        return words("answer.no_control")
    apart = control.filter(~pl.col("agrees"))
    if apart.is_empty():
        return words("answer.control", totals=words.count(control.height))
    first = apart.row(0, named=True)
    return words(
        "answer.control_apart",
        totals=words.count(control.height),
        apart=words.count(apart.height),
        file=first["source_file"],
        column=schema.headers("ledger").get(first["column"], first["column"]) if page.lang == "zh" else first["column"],
        stated=words.yuan(first["stated"]),
        computed=words.yuan(first["computed"]),
    )


def unknown_sources(page: Page, wanted: tuple[str, ...]) -> str:
    """Return a sentence that names the sources that are not there, and that their questions stay unknown."""
    words = page.words
    absent = [words.term("table", table) for table in wanted if not page.whole.engagement.has(table)]
    return words("answer.absent", list=words("answer.comma").join(absent)) if absent else ""


def delays(page: Page) -> list[str]:
    """Return the delay page's sentences: see rules.answers.delay_answers."""
    sync = page.analysis.engagement.policy.sync
    lines = rule_answers.delay_answers(_worked(page), policy=sync, lang=page.lang, history=page.history)
    absent = unknown_sources(page, ("sync_log", "notices"))
    return [*lines, absent] if absent else lines


def _worked(page: Page) -> rule_answers.Worked:
    return cast("rule_answers.Worked", page.analysis)  # frozen, where the protocol's attributes could be set


def missing(page: Page) -> list[str]:
    """Return the missing page's sentences: see rules.answers.missing_answers."""
    lines = rule_answers.missing_answers(_worked(page), lang=page.lang)
    absent = unknown_sources(page, ("sync_log", "accounts", "notices", "operations", "confirmations"))
    return [*lines, absent] if absent else lines


def backups(page: Page) -> list[str]:
    """Return the backup page's sentences: planned runs, the recovery point, coverage, rules, what is unknown."""
    words, audit = page.words, page.analysis.backup
    if not page.whole.engagement.has("backups"):
        return [words("answer.no_backups"), _rules(page)]
    lines = [_slots(page), _recovery(page), _coverage(page), _rules(page)]
    absent = unknown_sources(page, ("backup_checks", "restore_tests", "schedule", "invoice_files"))
    return [line for line in (*lines, absent) if line] or [words("answer.no_backups"), str(audit.rules.height)]


def _within(page: Page, column: str) -> pl.Expr:
    if page.start is None:
        return pl.lit(value=True)
    return pl.col(column).is_between(page.start, page.end, closed="left")


def _slots(page: Page) -> str:
    words = page.words
    slots = page.analysis.backup.slots.filter(_within(page, "due"))
    if slots.is_empty():
        return words("answer.no_slots")
    counts = dict(slots["state"].cast(pl.String).value_counts().iter_rows())
    line = words("answer.slots", slots=words.count(slots.height), **{
        state: words.count(counts.get(state, 0)) for state in ("ok", "late", "missing", "unknown")
    })  # fmt: skip
    incidents = page.analysis.backup.incidents.filter(_within(page, "first_due"))
    if incidents.is_empty():
        return line
    worst = incidents.sort("slots", descending=True).row(0, named=True)
    return line + words(
        "answer.incident",
        incidents=words.count(incidents.height),
        job=worst["job"],
        slots=words.count(worst["slots"]),
        first=f"{worst['first_due']:%Y-%m-%d %H:%M}",
        last=f"{worst['last_due']:%Y-%m-%d %H:%M}",
    )


def _recovery(page: Page) -> str:
    words = page.words
    points = page.analysis.backup.recovery_points.filter(_within(page, "at")).drop_nulls("minutes")
    if points.is_empty():
        return words("answer.no_recovery")
    worst = points.group_by(pl.col("series").cast(pl.String)).agg(pl.all().sort_by("minutes").last())
    spans = {row["series"]: row for row in worst.iter_rows(named=True)}
    named = [
        words(
            "answer.series",
            series=words.term("series", name),
            span=words.span(spans[name]["minutes"]),
            at=f"{spans[name]['at']:%m-%d %H:%M}",
        )
        for name in ("listed", "restorable", "verified")
        if name in spans
    ]
    target = page.whole.engagement.policy.backup.rpo_minutes
    return words("answer.recovery", target=words.span(target), list=words("answer.semicolon").join(named))


def _coverage(page: Page) -> str:
    words = page.words
    sums = page.analysis.backup.coverage.select(pl.col("covered", "unverified", "uncovered").sum()).row(0, named=True)
    whole = sum(value or 0 for value in sums.values())
    if not whole:
        return words("answer.no_coverage")
    line = words("answer.coverage", files=words.count(whole), share=words.share(_ratio(sums["covered"], whole)), **{
        name: words.count(value) for name, value in sums.items()
    })  # fmt: skip
    bare = page.analysis.backup_findings.filter(pl.col("cause").is_in(("BK01", "BK02")))
    invoices = bare["invoice_key"].drop_nulls().n_unique()
    return line + (words("answer.invoices_at_risk", invoices=words.count(invoices)) if invoices else "")


def _rules(page: Page) -> str:
    words = page.words
    states = page.analysis.backup.rules["state"].cast(pl.String)
    if states.is_empty():
        return ""
    counts = dict(states.value_counts().iter_rows())
    return words(
        "answer.rules",
        rules=words.count(states.len()),
        passed=words.count(counts.get("pass", 0) + counts.get("passes", 0)),
        fails=words.count(counts.get("fails", 0)),
        unknown=words.count(counts.get("unknown", 0)),
    )
