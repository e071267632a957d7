"""Tables of the sync delay: service level and its budget, who still waits, how last month's predictions held."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import polars as pl

from audit_kit.analysis import report_scope as scopes
from audit_kit.core.schema import ALL_CHANNELS
from audit_kit.core.words import Words
from audit_kit.rules.sync import service_level as service
from audit_kit.rules.sync.forecast import forecast
from audit_kit.rules.sync.lateness import lateness
from audit_kit.views.show.parts import within
from audit_kit.views.show.tables import badge, first_of, markup, table

if TYPE_CHECKING:
    from datetime import datetime

    import great_tables as gt
    from IPython.display import HTML

    from audit_kit.analysis.analysis import Analysis
    from audit_kit.views.show.page import Page

MOST_INCIDENTS = 12
WAITING = ("channel", "invoice_key", "issued_at", "buyer_name", "gross", "age", "late")


def service_level(analysis: Analysis) -> pl.DataFrame:
    """Return the share visible within the target by month and channel: see rules.sync.service_level."""
    told = service.of_delays(analysis.observations, analysis.findings)
    return service.service_level(told, policy=analysis.engagement.policy.sync, taken_at=analysis.taken_at)


def levels(page: Page) -> pl.DataFrame:
    """Return the service level of what a page is about, as service_level: of a month, with the months before it.

    Of a year or of everything, `month` is its name: in all and by channel; and its months, each in all.
    """
    work = page.whole
    by_month = service_level(work)
    if page.scope.kind == "month":
        return by_month.filter(pl.col("month") <= page.month)
    told = within(service.timed(service.of_delays(work.observations, work.findings)), page.start, page.end)
    policy, taken_at = work.engagement.policy.sync, work.taken_at
    period = service.service_level(told, policy=policy, taken_at=taken_at, period=page.month)
    months = told["issued_at"].drop_nulls().dt.strftime("%Y-%m").unique()
    own = by_month.filter(pl.col("month").is_in(months.implode()), pl.col("channel") == ALL_CHANNELS)
    return pl.concat([period, own])


def service_table(frame: pl.DataFrame, *, lang: str = "zh", most: int = 40) -> gt.GT | HTML:
    """Return the service level with its interval and the misses; `frame` is from service_level or levels.

    Nothing where there is none: the chart above it says why.
    """
    words = Words(lang)
    if frame.is_empty():
        return markup("")
    one, of_month = pl.col("channel") != ALL_CHANNELS, pl.col("month").str.contains("-", literal=True)
    ordered = frame.sort(of_month, "month", one, "channel", descending=[False, True, False, False])
    lines = [_service_line(row, words) for row in ordered.head(most).iter_rows(named=True)]
    return table(
        pl.DataFrame(lines),
        labels=words.heads("month", "channel", issued="judged")
        | words.heads("share_in_time", "interval", "target", "late", "used", "state"),
        numbers=["issued", "late"],
        html=["state"],
        note=words("sync.service_note") + first_of(words, most, frame.height),
    )


def _service_line(row: dict[str, Any], words: Words) -> dict[str, Any]:
    used = row["used_share"]
    return {
        "month": words.month(row["month"]),
        "channel": words("unit.all") if row["channel"] == ALL_CHANNELS else row["channel"],
        "issued": row["issued"],
        "share_in_time": words.share(row["share"], digits=2),
        "interval": f"{words.share(row['lower'])} – {words.share(row['upper'])}",
        "target": f"{words.share(row['target_share'], digits=2)} / {words.span(row['target_minutes'])}",
        "late": row["used"],
        "used": words.share(used, digits=0) if used is not None and used < 1e4 else words("unit.nothing"),  # noqa: PLR2004
        "state": badge(row["state"], words.term("rules", row["state"])),
    }


def budget(analysis: Analysis, *, start: datetime | None = None, end: datetime | None = None) -> pl.DataFrame:
    """Return what the misses are due to, most first: see rules.sync.service_level.budget_by_incident."""
    return service.budget_by_incident(
        within(service.timed(service.of_delays(analysis.observations, analysis.findings)), start, end),
        analysis.findings,
        analysis.stops,
        policy=analysis.engagement.policy.sync,
        taken_at=analysis.taken_at,
    ).head(MOST_INCIDENTS)


def incident(name: str, kind: str, words: Words) -> str:
    """Return what misses are due to, in words; `name` and `kind` are from budget."""
    if kind == "slow":
        return words.term("miss", "slow")
    return words.cause(name) if kind == "cause" else name


def stops(page: Page) -> pl.DataFrame:
    """Return the stops of the page's month, those that began before or went on after it included."""
    found = page.whole.stops
    if page.start is not None:
        found = found.filter(pl.col("ends_at").is_null() | (pl.col("ends_at") > page.start))
    return found if page.end is None else found.filter(pl.col("starts_at") < page.end)


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


def waiting_labels(frame: pl.DataFrame, *, clock: bool = False, lang: str = "zh") -> dict[str, str]:
    """Return the headings of the columns of `waiting` that are there; `clock`: no stop was taken out of the ages."""
    words = Words(lang)
    heads = words.heads(*WAITING[:4], gross="amount", age="age_clock" if clock else "age_hours", late="late_percent")
    return {name: heads[name] for name in WAITING if name in frame.columns}


def ahead(page: Page, *, hours: float = 24) -> pl.DataFrame:
    """Return what will still be on its way some hours after the export, by channel: see rules.sync.forecast.

    No rows without times of arrival, or where the page's month is not the last: it is the moment of the export that is
    looked ahead from.
    """
    whole, work = page.whole, page.analysis
    told = service.of_delays(whole.observations, whole.findings)
    table = lateness(told, history=whole.history)
    rows = work.observations
    is_last = page.end is None or scopes.latest(whole.ledger) < f"{page.end:%Y-%m}"
    if service.timed(told).is_empty() or not is_last:
        rows, table = rows.clear(), table.clear()
    return forecast(
        rows, taken_at=work.taken_at, hours=hours, table=table, chances=work.findings, past=whole.observations
    )


def tomorrow(page: Page, *, lang: str = "zh") -> gt.GT | HTML:
    """Return what will still be on its way 24 hours after the export, by channel and in all; see `ahead`."""
    words = Words(lang)
    found = ahead(page)
    if found.is_empty():
        return markup("")
    sums = found.select(pl.lit(words("unit.total")).alias("channel"), pl.exclude("channel").sum())
    names = ("channel", "waiting", "arriving", "still_late", "lost", "new_late", "late")
    heads = {"waiting": "waiting_now", "late": "late_tomorrow", "lost": "never"}
    return table(
        pl.concat([found, sums], how="vertical_relaxed").with_columns(pl.col(names[2:]).round(1).cast(pl.String)),
        labels={name: words(f"head.{heads.get(name, name)}") for name in names},
        numbers=["waiting"],
        right=names[2:],
        heading=words("sync.tomorrow"),
        note=words("sync.tomorrow_note"),
    )
