"""The calendar: the tax at stake before a filing deadline, and the service level of month-end and year-end."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import polars as pl

from audit_kit.core.schema import ALL_CHANNELS
from audit_kit.rules.response.working_time import is_working_day
from audit_kit.rules.sync.service_level import of_delays, service_level

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import date

    from audit_kit.rules.response.response_evidence import ResponseEvidence

FILING = {
    "deadline": pl.Date(),
    "until": pl.Date(),
    "days": pl.Int32(),
    "working_days": pl.Int32(),
    "rows": pl.UInt32(),
    "yuan": pl.Decimal(18, 2),
    "tax": pl.Decimal(18, 2),
    "untaxed": pl.UInt32(),
    "state": pl.String(),
}
WINDOWS = {
    "kind": pl.String(),
    "start": pl.Date(),
    "end": pl.Date(),
    "issued": pl.UInt32(),
    "share": pl.Float64(),
    "lower": pl.Float64(),
    "upper": pl.Float64(),
    "target_hours": pl.Float64(),
    "target_share": pl.Float64(),
    "state": pl.String(),
}
CRITICAL_DAYS, HIGH_DAYS = 2, 5  # working days left


def filing(evidence: ResponseEvidence) -> pl.DataFrame:
    """Return what is missing of the months that each filing deadline is for: see `FILING`.

    A deadline is for what was issued before its month began (`until`, excluded) and after what the deadline before it
    was for. `untaxed`: rows of which no tax is known, so that `tax` is the least that is at stake. `state`: next,
    later, passed.
    """
    gone = evidence.booked.filter(
        pl.col("invoice_key").is_in(evidence.missing_keys.implode()) & (pl.col("outcome") == "missing")
    ).unique("invoice_key", maintain_order=True)
    today = evidence.taken_at.date()
    days = sorted(set(evidence.calendar.filing_deadlines))
    coming = next((day for day in days if day >= today), None)
    rows = []
    for before, deadline in pairwise((None, *days)):
        assert deadline is not None  # noqa: S101 - only the first of all is null
        until = deadline.replace(day=1)
        mine = gone.filter(pl.col("issued_at").dt.date() < until)
        if before is not None:
            mine = mine.filter(pl.col("issued_at").dt.date() >= before.replace(day=1))
        rows.append(
            {
                "deadline": deadline,
                "until": until,
                "days": (deadline - today).days,
                "working_days": _working_days(today, deadline),
                "rows": mine.height,
                "yuan": mine["gross"].sum(),
                "tax": mine["tax"].sum(),
                "untaxed": mine["tax"].null_count(),
                "state": "next" if deadline == coming else "later" if deadline > today else "passed",
            }
        )
    return pl.DataFrame(rows, schema=FILING)


def _working_days(today: date, deadline: date) -> int:
    """Return the working days after today up to the deadline, which counts; none once it has passed."""
    if deadline <= today:
        return 0
    days = pl.date_range(today, deadline, closed="right", eager=True)
    return sum(is_working_day(day) for day in days)


def filing_at_stake(evidence: ResponseEvidence) -> pl.DataFrame:
    """Find deadlines, the next one and those that passed, for whose months invoices are missing."""
    rows = evidence.once(filing).filter((pl.col("rows") > 0) & (pl.col("state") != "later"))
    passed, left = pl.col("state") == "passed", pl.col("working_days")
    urgency = (
        pl.when(passed | (left <= CRITICAL_DAYS))
        .then(pl.lit("critical"))
        .when(left <= HIGH_DAYS)
        .then(pl.lit("high"))
        .otherwise(pl.lit("medium"))
    )
    part = pl.when(pl.col("untaxed") > 0).then(pl.lit("_least")).otherwise(pl.lit(""))
    base = pl.when(passed).then(pl.lit("passed")).otherwise(pl.lit("coming"))
    return rows.select(
        "deadline",
        "days",
        "working_days",
        "yuan",
        "tax",
        "untaxed",
        about=pl.concat_list(pl.col("deadline").cast(pl.String)),
        variant=pl.concat_str(base, part).replace("coming", None),
        severity=urgency,
        amount="yuan",
        count="rows",
        late=-pl.col("days"),
    )


def windows(evidence: ResponseEvidence) -> pl.DataFrame:
    """Return the service level of each window of month-end and year-end with invoices: see `WINDOWS`."""
    seen = of_delays(evidence.observations, evidence.findings)
    spans = [("month_end", one) for one in evidence.calendar.month_end]
    spans += [("year_end", one) for one in evidence.calendar.year_end]
    found = [pl.DataFrame(schema=WINDOWS)]
    for kind, span in sorted(spans, key=lambda pair: (pair[1].start, pair[0])):
        day = pl.col("issued_at").dt.date()
        mine = seen.filter((day >= span.start) & (day < span.end))
        level = service_level(mine, policy=evidence.policy.sync, taken_at=evidence.taken_at, period=str(span.start))
        whole = level.filter(pl.col("channel") == ALL_CHANNELS).with_columns(
            kind=pl.lit(kind),
            start=pl.lit(span.start),
            end=pl.lit(span.end),
            target_hours=pl.col("target_minutes") / 60,
        )
        found.append(whole.select(*WINDOWS).cast(pl.Schema(WINDOWS)))
    return pl.concat(found)


def window_slow(evidence: ResponseEvidence) -> pl.DataFrame:
    """Find windows of month-end and year-end whose service level is surely below the target."""
    rows = evidence.once(windows).filter(pl.col("state") == "fails")
    last = pl.col("end").dt.offset_by("-1d")
    percent = {name: (pl.col(name) * 100).round(1) for name in ("share", "upper", "target_share")}
    return rows.select(
        "start",
        *(expression.alias(name) for name, expression in percent.items()),
        about=pl.concat_list("kind", pl.col("start").cast(pl.String)),
        variant=pl.when(pl.col("kind") == "year_end").then(pl.lit("year_end")),
        last=last,
        count="issued",
        hours="target_hours",
    )


CAUSES: dict[str, Callable[[ResponseEvidence], pl.DataFrame]] = {
    "filing_at_stake": filing_at_stake,
    "window_slow": window_slow,
}
