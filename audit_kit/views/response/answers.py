"""Computed plain sentences that open the response page: the answer first, in words and numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl

from audit_kit.rules.response.substitute import CLASSES
from audit_kit.rules.response.tickets import OPEN
from audit_kit.rules.response.working_time import known_years
from audit_kit.views.response.charts import of_period
from audit_kit.views.response.machine_tables import not_judged, unknown_metrics
from audit_kit.views.show.parts import within
from audit_kit.views.show.sentences import listed, unknown_sources

if TYPE_CHECKING:
    from audit_kit.views.show.page import Page

ASKED = ("tickets", "register", "confirmations", "substitute", "operations", "sync_log", "metrics")


def response(page: Page) -> list[str]:
    """Return the response page's sentences: tickets, register, sources, resends, machines, filing, plan, unknowns."""
    given = page.whole.engagement.has
    lines = [
        *(_tickets(page) if given("tickets") else ()),
        *(_register(page) if given("register") else ()),
        _sources(page) if given("confirmations") else "",
        _substitute(page),
        _resends(page),
        *_metrics(page),
        _filing(page),
        _plan(page),
        unknown_sources(page, ASKED),
    ]
    return page.say(lines)


def _substitute(page: Page) -> str:
    words, rows = page.words, page.analysis.response.statement
    if rows.is_empty():
        return ""
    counts = {line: words.count(count) for line, count in rows.select("line", "rows").iter_rows() if line in CLASSES}
    whole = rows.row(0, named=True)
    return words("answer_follow.substitute", rows=words.count(whole["rows"]), yuan=words.yuan(whole["yuan"]), **counts)


def _resends(page: Page) -> str:
    words = page.words
    rows = within(page.analysis.response.resends, page.start, page.end, column="at")
    if rows.is_empty():
        return ""
    counts = {name: words.count((rows["came"] == name).sum()) for name in ("worked", "failed", "no_answer")}
    repeated = words.count(rows["repeated"].sum())
    return words("answer_follow.resends", count=words.count(rows.height), repeated=repeated, **counts)


def _metrics(page: Page) -> list[str]:
    """Return how often thresholds were crossed and what went with it, and what will cross one."""
    words, audit = page.words, page.analysis.response
    if why := unknown_metrics(page):
        return [why] if page.whole.engagement.has("metrics") else []
    rows = within(audit.episodes, page.start, page.end, column="starts_at")
    more = audit.coincidences.filter("more_than_chance")["event"].unique().sort()
    together = (
        words("answer_follow.linked", list=listed(words, words.terms("trouble", more).values()))
        if len(more)
        else words("answer_follow.not_linked" if audit.coincidences.height else "answer_follow.not_compared")
    )
    lasted = words.span(float(rows["minutes"].sum()))
    told = words("answer_follow.metrics", episodes=words.count(rows.height), lasted=lasted, linked=together)
    measured = within(audit.levels, page.start, page.end, column="at").height
    quiet = words("follow.none_over" if measured else "follow.no_period_readings")
    rising = audit.forecasts.filter(pl.col("state") == "rising").sort("likely")
    lines = [told if rows.height else quiet, not_judged(page)]
    if rising.height:
        day = f"{rising['likely'][0]:%Y-%m-%d}"
        lines.append(words("answer_follow.rising", count=words.count(rising.height), day=day))
    return lines


def _filing(page: Page) -> str:
    words, rows = page.words, page.analysis.response.filing.filter(pl.col("state") == "next")
    if rows.is_empty():
        return ""
    row = rows.row(0, named=True)
    tax = words.yuan(row["tax"])
    return words(
        "answer_follow.filing",
        deadline=row["deadline"],
        working=row["working_days"],
        rows=words.count(row["rows"]),
        tax=words("follow.at_least_tax", tax=tax) if row["untaxed"] else tax,
    )


def _plan(page: Page) -> str:
    words, rows = page.words, page.analysis.response.plan
    if rows.is_empty():
        return words("follow.no_plan")
    counts = {state: words.count((rows["state"] == state).sum()) for state in ("fails", "unknown")}
    return words("answer_follow.plan", count=words.count(rows.height), **counts)


def _count(page: Page, cause: str) -> int:
    return page.analysis.response_findings.filter(pl.col("cause") == cause).height


def _tickets(page: Page) -> list[str]:
    words = page.words
    rows = of_period(page.analysis.response.tickets, page.start, page.end)
    if rows.is_empty():
        first = words("answer_response.no_tickets")
    else:
        still = rows.filter(pl.col("state").is_in(OPEN) & pl.col("handed_at").is_null())
        first = words(
            "answer_response.tickets",
            tickets=words.count(rows.height),
            still=words.count(still.height),
            late=words.count(rows.select((pl.col("late_due") | pl.col("late_reply")).sum()).item()),
            up=words.count(still.filter(pl.col("next_at") <= page.analysis.taken_at).height),
        )
    policy = page.whole.engagement.policy.response
    hours = words(
        "answer_response.hours",
        starts=f"{policy.day_starts:g}",
        ends=f"{policy.day_ends:g}",
        first=known_years().start,
        last=known_years().stop - 1,
    )
    names = ("ticket_missing", "ticket_closed_missing", "ticket_open_arrived")
    counts = {name: words.count(_count(page, name)) for name in names}
    return [first, words("answer_response.ticket_faults", **counts), hours]


def _register(page: Page) -> list[str]:
    words, audit = page.words, page.analysis.response
    rows = within(audit.register, page.start, page.end)
    if rows.is_empty():
        first = words("answer_response.no_rows")
    else:
        first = words(
            "answer_response.register",
            rows=words.count(rows.height),
            yuan=words.yuan(rows["gross"].sum()),
            unlike=words.count((rows["unlike"].list.len() > 0).sum()),
            unchecked=words.count((rows["check"] != "ok").sum()),
        )
    gone = audit.gaps.select(pl.col("rows", "yuan", "by_hand", "by_hand_yuan").sum()).row(0, named=True)
    if not gone["rows"]:
        return [first]
    filled = words(
        "answer_response.filled",
        rows=words.count(gone["rows"]),
        yuan=words.yuan(gone["yuan"]),
        by_hand=words.count(gone["by_hand"]),
        by_hand_yuan=words.yuan(gone["by_hand_yuan"]),
        stops=words.count(_count(page, "register_gap")),
    )
    return [first, filled]


def _sources(page: Page) -> str:
    words, testimony = page.words, page.analysis.response.testimony
    if testimony.is_empty():
        return words("answer_response.not_asked")
    return words(
        "answer_response.sources",
        invoices=words.count(testimony.height),
        disagree=words.count(testimony["disagree"].sum()),
        silent=words.count(testimony["unanswered"].sum()),
        often=words.count(_count(page, "queries_over_limit")),
    )
