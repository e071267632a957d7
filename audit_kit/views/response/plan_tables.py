"""Tables of the calendar and the plan: tax before filing deadlines, windows, what the emergency plan lacks."""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl

from audit_kit.views.response.trail_tables import heads
from audit_kit.views.show.tables import badge, said, table

if TYPE_CHECKING:
    from collections.abc import Iterator

    import great_tables as gt
    from IPython.display import HTML

    from audit_kit.views.show.page import Page


def filing(page: Page) -> gt.GT | HTML:
    """Return each filing deadline with what is missing of its months, and the tax at stake before it."""
    words, rows = page.words, page.analysis.response.filing
    if rows.is_empty():
        return said(words("follow.no_deadlines"))
    left = [
        words("follow.days_left", days=days, working=working)
        if days >= 0
        else words("follow.days_past", days=words.count(-days))
        for days, working in rows.select("days", "working_days").iter_rows()
    ]
    tax = [
        words("follow.at_least_tax", tax=f"{tax:,.2f}") if untaxed else f"{tax:,.2f}"
        for tax, untaxed in rows.select("tax", "untaxed").iter_rows()
    ]
    shown = rows.with_columns(
        pl.col("state").replace(words.section("filing_state")),
        pl.col("deadline").cast(pl.String),
        pl.Series("left", left, dtype=pl.String),
        pl.Series("tax", tax, dtype=pl.String),
        before=pl.col("until").cast(pl.String),
        missing="rows",
        gross="yuan",
    )
    labels = heads(words, "deadline", "state", "left", "before", "missing", "gross", "tax")
    note = " ".join(filter(None, (words("follow.filing_note"), words("follow.whole") if page.start else "")))
    return table(shown, labels=labels, numbers=["missing"], money=["gross"], right=["tax"], note=note)


def windows(page: Page) -> gt.GT | HTML:
    """Return the service level of each window of month-end and year-end, against the target."""
    words, rows = page.words, page.analysis.response.windows
    calendar = page.whole.engagement.settings.calendar
    if rows.is_empty():
        is_set = calendar.month_end or calendar.year_end
        return said(words("follow.windows_empty" if is_set else "follow.no_windows"))
    lines = [
        {
            "window": words.term("window_kind", row["kind"]),
            "span": words("plan.span", start=row["start"], end=row["end"]),
            "issued": row["issued"],
            "share": words.share(row["share"]),
            "range": f"{words.share(row['lower'])} – {words.share(row['upper'])}",
            "target": words(
                "follow.window_target",
                share=words.share(row["target_share"]),
                span=words.about(row["target_hours"] * 60),
            ),
            "state": badge(row["state"], words.term("rules", row["state"])),
        }
        for row in rows.iter_rows(named=True)
    ]
    labels = heads(words, "window", "span", "issued", "share", "range", "target", "state")
    return table(
        pl.DataFrame(lines), labels=labels, numbers=["issued"], html=["state"], note=words("follow.windows_note")
    )


def plan(page: Page) -> gt.GT | HTML:
    """Return what the emergency plan was checked for, and what each part lacks; unknown without a plan."""
    words, rows = page.words, page.analysis.response.plan
    if rows.is_empty():
        return said(words("follow.no_plan"))
    shown = page.safe(
        pl.DataFrame(list(_points(page)), schema=dict.fromkeys(("part", "state", "lacks", "since"), pl.String))
    )
    labels = heads(words, "part", "state", "lacks", "since")
    return table(shown, labels=labels, html=["state"], note=words("follow.plan_note"), widths={"lacks": "44%"})


def _points(page: Page) -> Iterator[dict[str, str]]:
    """Yield a line for each point of the plan, what fails first."""
    words = page.words
    roles = words.section("plan_role")
    order = pl.col("state").replace_strict(("fails", "unknown", "pass"), range(3), return_dtype=pl.Int8)
    for row in page.analysis.response.plan.sort(order, maintain_order=True).iter_rows(named=True):
        name = roles.get(row["name"], row["name"])
        yield {
            "part": words(f"plan_part.{row['part']}", name=name),
            "state": badge(row["state"], words.term("rules", row["state"])),
            "lacks": words("answer.semicolon").join(words(f"plan_lack.{lack}") for lack in row["lacks"]),
            "since": str(row["since"] or ""),
        }
