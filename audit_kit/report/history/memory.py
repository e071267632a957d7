"""What a month's report adds to the history, and what it can say of the months before."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING, Any

import polars as pl

from audit_kit.analysis import earlier, findings_history
from audit_kit.rules.history import histories

if TYPE_CHECKING:
    from pathlib import Path

    from audit_kit.core.words import Words
    from audit_kit.views.show.page import Page

BANDS = (0, 1, 3, 6, 12)  # months, from which on a finding belongs to the band


@dataclass(frozen=True)
class Memory:
    """The entry of the month (see histories.ENTRY; null for a year or everything), and what its manifest says of it."""

    entry: pl.DataFrame | None
    told: dict[str, Any]


def remember(page: Page, out: Path) -> Memory:
    """Return what is kept of a report, and its causes, ages, scored predictions and actions as plain values."""
    told: dict[str, Any] = {"actions": actions(page)}
    if page.scope.kind != "month":
        return Memory(None, told)
    placed = findings_history.placed(page.findings, page.analysis, page.scope)
    entry = earlier.entry(placed, page.compared, month=page.month, taken_at=page.whole.taken_at)
    told |= {
        "causes": histories.causes(entry).to_dicts(),
        "ages": ages(page).to_dicts(),
        "settled": earlier.settled(page.whole, out, page.month),
    }
    return Memory(entry, told)


def ages(page: Page) -> pl.DataFrame:
    """Return the open findings by how many months they are open: `from` (see `BANDS`), `rows`, `yuan`, `unseen`."""
    shown = (
        page.compared
        if page.previous
        else page.findings.with_columns(change=pl.lit("new"), seen=pl.lit(value=True), since=pl.lit(None, pl.String))
    )
    months = histories.age_months(pl.col("since").fill_null(page.month), page.month)
    band = pl.max_horizontal(pl.when(months >= least).then(pl.lit(least)) for least in BANDS)
    return (
        shown.filter(pl.col("change") != "closed")
        .group_by(band.fill_null(0).alias("from"))
        .agg(rows=pl.len(), yuan=pl.col("amount").sum(), unseen=(~pl.col("seen")).sum())
        .sort("from")
    )


def actions(page: Page) -> list[dict[str, Any]]:
    """Return the actions of audit.toml as they may be shown; in a redacted report nobody is named."""
    settings = page.whole.engagement.settings
    rows = [
        {"evidence": action.what, "by": action.owner, "cause": action.cause, "due": action.due, "done": action.done}
        for action in settings.actions
    ]
    shape = {"evidence": pl.String, "by": pl.String, "cause": pl.String, "due": pl.Date, "done": pl.Date}
    shown = page.safe(pl.DataFrame(rows, schema=shape)).rename({"evidence": "what", "by": "owner"})
    return shown.to_dicts()


def is_overdue(action: dict[str, Any], on: str) -> bool:
    """Tell whether an action was due before a day, as 2025-05-31, and was not done by then."""
    due, done = (str(action[name]) if action.get(name) else None for name in ("due", "done"))
    return due is not None and due < on[:10] and (done is None or done > on[:10])


def overdue_lines(told: dict[str, Any], page: Page, words: Words) -> list[str]:
    """Return a line for each action that is overdue when the export was taken."""
    on = f"{page.whole.taken_at:%Y-%m-%d}"
    return [
        words(
            "trend.overdue_line",
            what=one["what"],
            owner=one["owner"] or words("trend.nobody"),
            due=one["due"],
            days=(date.fromisoformat(on) - one["due"]).days,
        )
        for one in told["actions"]
        if is_overdue(one, on)
    ]
