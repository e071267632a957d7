"""What the page is about, and what lies outside it: sentences, and the lines of the table of months."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import polars as pl

from audit_kit.analysis import report_scope as scopes
from audit_kit.views.show.sentences import listed

if TYPE_CHECKING:
    from collections.abc import Mapping

    from audit_kit.core.words import Words
    from audit_kit.views.show.page import Page

MOST_MONTHS = 36
MOST_LONELY = 3
FIGURES = (
    "ledger_rows", "ledger_yuan", "platform_rows", "platform_yuan", "missing_rows", "missing_yuan", "findings",
)  # fmt: skip
OUTSIDE = ("before", "after")


def scope(page: Page) -> list[str]:
    """Return what the page is about and why, what lies outside it, and which dates stand alone."""
    words = page.words
    lines = [(words("scope.about", scope=words.month(page.month)) + _why(page)).strip()]
    left = outside(page)
    if left["ledger_rows"] or left["platform_rows"]:
        counts = {name: words.count(left[name]) for name in ("ledger_rows", "platform_rows", "findings")}
        if left["shown"]:
            shown = words("scope.outside_shown", shown=words.count(left["shown"]))
        else:
            shown = words("scope.outside_unshown") if left["findings"] else ""
        lines.append(
            words(
                "scope.outside",
                **counts,
                shown=shown,
                ledger_yuan=words.yuan(left["ledger_yuan"]),
                platform_yuan=words.yuan(left["platform_yuan"]),
            )
        )
    elif page.start is not None:
        lines.append(words("scope.nothing_outside"))
    return page.say([*lines, lonely(page)])


def _why(page: Page) -> str:
    words = page.words
    if not page.by_default:
        return ""
    if page.start is None:
        return words("scope.undated")
    skipped = scopes.lonely(page.whole.ledger).filter(pl.col("month") > page.month)
    return words("scope.latest") if skipped.is_empty() else words("scope.latest_but_lonely")


def lonely(page: Page) -> str:
    """Return which months stand alone with so few invoices that a wrong date is likely; empty where none does."""
    words, found = page.words, scopes.lonely(page.whole.ledger)
    if found.is_empty():
        return ""
    named = [
        words(
            "scope.lonely_month",
            month=words.month(row["month"]),
            rows=words.count(row["rows"]),
            file=row.get("source_file") or words("unit.nothing"),
            row=row.get("source_row") or words("unit.nothing"),
            day=f"{row['issued_at']:%Y-%m-%d}",
        )
        for row in found.head(MOST_LONELY).iter_rows(named=True)
    ]
    more = words("scope.lonely_more", months=found.height) if found.height > MOST_LONELY else ""
    return words("scope.lonely", list=listed(words, named) + more)


def outside(page: Page) -> dict[str, Any]:
    """Return the sums of FIGURES over the months outside, and `shown`: how many of their findings are shown."""
    rest = scopes.months(page.whole, page.scope).filter(pl.col("place").is_in(OUTSIDE))
    dates = scopes.dated(page.analysis.findings, page.analysis).drop_nulls("issued_at")
    return {
        **rest.select(pl.col(name).sum() for name in FIGURES).row(0, named=True),
        "shown": dates.filter(~page.scope.holds()).height,
    }


def lines(page: Page) -> pl.DataFrame:
    """Return the months as `scope.months`; of many, those outside are summed by year."""
    table = scopes.months(page.whole, page.scope)
    if table.height <= MOST_MONTHS:
        return table
    year = pl.col("month").str.slice(0, 4)
    own = table.filter(pl.col("place") == "within")["month"].str.slice(0, 4).unique()
    if len(own) > 1:  # everything
        own = own.clear()
    return (
        table.with_columns(month=pl.when(year.is_in(own.implode())).then(pl.col("month")).otherwise(year))
        .group_by("month")
        .agg(*(pl.col(name).sum() for name in FIGURES), pl.col("place").first(), pl.col("lonely").all())
        .sort("month", nulls_last=True)
    )


def month_name(row: Mapping[str, Any], words: Words) -> str:
    """Return the month of a line of the table, or that it has no date."""
    return words("scope.no_date") if row["month"] is None else words.month(row["month"])


def place_name(row: Mapping[str, Any], words: Words) -> str:
    """Return how a line of the table stands to what the page is about."""
    place = words.term("scope_place", row["place"])
    return words("scope.and_lonely", place=place) if row["lonely"] else place
