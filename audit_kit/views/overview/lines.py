"""The five lines at the head of a report: scope, tie-out, what is at risk, the largest events, what to do first."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import polars as pl

from audit_kit.analysis.events import by_stake
from audit_kit.views.overview import answers
from audit_kit.views.overview.charts import outcome_totals
from audit_kit.views.show import event_rows

if TYPE_CHECKING:
    from audit_kit.views.show.page import Page


def lines(page: Page) -> list[dict[str, Any]]:
    """Return the lines in their order: `name` (what it is), `sentences`."""
    words = page.words
    told = {
        "scope": [scope(page)],
        "tie": [*answers.tie(page), answers.control(page)],
        "risk": [*event_rows.at_risk(page), event_rows.level(page)],
        "largest": [event_rows.largest(page)],
        "first": event_rows.first_steps(page),
    }
    made = [{"name": words(f"lines.{name}"), "sentences": page.say(sentences)} for name, sentences in told.items()]
    return [line for line in made if line["sentences"]]


def scope(page: Page) -> str:
    """Return which invoices a page is about, and when the export was taken."""
    words, work, engagement = page.words, page.analysis, page.whole.engagement
    totals = outcome_totals(work, start=page.start, end=page.end)
    rows = {side: int(totals.filter(pl.col("side") == side)["rows"].sum()) for side in ("ledger", "platform")}
    sentence = words(
        "lines.of_month" if page.month else "lines.of_all",
        month=words.month(page.month) if page.month else "",
        direction=words(f"lines.{engagement.direction}"),
        ledger=words.count(rows["ledger"]),
        platform=words.count(rows["platform"]),
        taken_at=f"{page.whole.taken_at:%Y-%m-%d %H:%M}" + ("" if engagement.taken_stated else words("lines.assumed")),
    )
    earlier = work.ledger.filter(pl.col("issued_at") < page.start).height if page.start else 0
    return sentence + (words("lines.carried", rows=words.count(earlier)) if earlier else "")


def shown(page: Page) -> dict[str, Any]:
    """Return what the front page and the manifest say of the events: lines, counts, materiality, and the largest."""
    events = event_rows.events_of(page)
    return {
        "lines": lines(page),
        "counted": page.say([event_rows.counted(page)]),
        "materiality_yuan": page.materiality.yuan,
        "material": int(events["material"].sum()),
        "first": int(events["first"].sum()),
        "events_in_all": events.height,
        "events": events.head(event_rows.MOST_LISTED).to_dicts(),
        "stakes": by_stake(page.events).to_dicts(),
    }
