"""Computed plain sentences that open the response page: the answer first, in words and numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl

from audit_kit.rules.response.tickets import OPEN
from audit_kit.rules.response.working_time import known_years
from audit_kit.views.response.charts import of_period
from audit_kit.views.show.parts import within
from audit_kit.views.show.sentences import unknown_sources

if TYPE_CHECKING:
    from audit_kit.views.show.page import Page

ASKED = ("tickets", "register", "confirmations")


def response(page: Page) -> list[str]:
    """Return the response page's sentences: tickets, the register, sources, working hours, what is unknown."""
    given = page.whole.engagement.has
    lines = [
        *(_tickets(page) if given("tickets") else ()),
        *(_register(page) if given("register") else ()),
        _sources(page) if given("confirmations") else "",
        unknown_sources(page, ASKED),
    ]
    return page.say(lines)


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
