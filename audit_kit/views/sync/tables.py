"""Tables of the sync delay: service level and its budget, who still waits, how last month's predictions held."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import polars as pl

from audit_kit.core.schema import ALL_CHANNELS
from audit_kit.core.words import Words
from audit_kit.rules.sync import service_level as service
from audit_kit.rules.sync.forecast import forecast
from audit_kit.views.show.parts import within
from audit_kit.views.show.tables import badge, said, table

if TYPE_CHECKING:
    from datetime import datetime

    import great_tables as gt
    from IPython.display import HTML

    from audit_kit.analysis.analysis import Analysis

MOST_INCIDENTS = 12
WAITING = ("channel", "invoice_key", "issued_at", "buyer_name", "gross", "age", "late")


def service_level(analysis: Analysis) -> pl.DataFrame:
    """Return the share visible within the target by month and channel: see rules.sync.service_level."""
    told = service.of_delays(analysis.observations, analysis.findings)
    return service.service_level(told, policy=analysis.engagement.policy.sync, taken_at=analysis.taken_at)


def service_table(frame: pl.DataFrame, *, lang: str = "zh", most: int = 24) -> gt.GT | HTML:
    """Return the service level with its interval and the budget of misses used; `frame` is from service_level."""
    words = Words(lang)
    if frame.is_empty():
        return said(words("sync.curves_none"))
    recent = frame.sort("month", "channel", descending=[True, False]).head(most)
    lines = [_service_line(row, words) for row in recent.iter_rows(named=True)]
    return table(
        pl.DataFrame(lines),
        labels=words.heads("month", "channel", "issued", "share_in_time", "interval", "target", "used", "state"),
        numbers=["issued"],
        html=["state"],
        note=words("sync.service_note"),
    )


def _service_line(row: dict[str, Any], words: Words) -> dict[str, Any]:
    used = row["used_share"]
    return {
        "month": row["month"],
        "channel": words("unit.all") if row["channel"] == ALL_CHANNELS else row["channel"],
        "issued": row["issued"],
        "share_in_time": words.share(row["share"], digits=2),
        "interval": f"{words.share(row['lower'])} – {words.share(row['upper'])}",
        "target": f"{words.share(row['target_share'], digits=2)} / {words.span(row['target_minutes'])}",
        "used": words.share(used, digits=0) if used is not None and used < 1e4 else words("unit.nothing"),  # noqa: PLR2004
        "state": badge(row["state"], words.term("rules", row["state"])),
    }


def budget(analysis: Analysis, *, start: datetime | None = None, end: datetime | None = None) -> pl.DataFrame:
    """Return which incident used the budget of misses, most first: see rules.sync.service_level.budget_by_incident."""
    return service.budget_by_incident(
        within(service.of_delays(analysis.observations, analysis.findings), start, end),
        analysis.findings,
        analysis.stops,
        policy=analysis.engagement.policy.sync,
        taken_at=analysis.taken_at,
    ).head(MOST_INCIDENTS)


def waiting(analysis: Analysis) -> pl.DataFrame:
    """Return the invoices not visible yet, the longest wait first.

    Columns: `ledger_row`, WAITING: `age` (hours, stops taken out), `late` (chance of being merely late, per cent).
    """
    ledger = analysis.ledger.select(
        name for name in ("buyer_name", "gross") if name in analysis.ledger.columns
    ).with_row_index("ledger_row")
    chance = analysis.findings.select("ledger_row", "invoice_key", late=(pl.col("probability_late") * 100).round(1))
    rows = analysis.observations.filter(~pl.col("visible")).sort("minutes", descending=True, nulls_last=True)
    rows = rows.select("ledger_row", "channel", "issued_at", age=(pl.col("minutes") / 60).round(1))
    rows = rows.join(ledger, on="ledger_row", how="left", maintain_order="left")
    rows = rows.join(chance.unique("ledger_row"), on="ledger_row", how="left", maintain_order="left")
    return rows.select("ledger_row", *(name for name in WAITING if name in rows.columns))


def waiting_labels(frame: pl.DataFrame, *, lang: str = "zh") -> dict[str, str]:
    """Return the headings of the columns of `waiting` that are there."""
    words = Words(lang)
    heads = words.heads(*WAITING[:4], gross="amount", age="age_hours", late="late_percent")
    return {name: heads[name] for name in WAITING if name in frame.columns}


def tomorrow(analysis: Analysis, *, lang: str = "zh") -> gt.GT | HTML:
    """Return what will still be on its way 24 hours after the export, by channel, with a 90 % interval."""
    words = Words(lang)
    ahead = forecast(service.of_delays(analysis.observations, analysis.findings), taken_at=analysis.taken_at)
    if ahead.is_empty():
        return said(words("sync.late_none"))
    shown = ahead.with_columns(
        interval=pl.format("{} – {}", pl.col("lower").round(0).cast(pl.Int64), pl.col("upper").round(0).cast(pl.Int64))
    )
    names = ("channel", "waiting", "arriving", "still_late", "new_late", "late", "interval", "lost")
    heads = {"waiting": "waiting_now", "late": "late_tomorrow", "interval": "interval_90", "lost": "never"}
    return table(
        shown,
        labels={name: words(f"head.{heads.get(name, name)}") for name in names},
        numbers=["waiting", "arriving", "still_late", "new_late", "late", "lost"],
        note=words("sync.tomorrow_note"),
    )
