"""Tickets: late ones, those closed too early or kept open too long, and groups of findings that have none."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import polars as pl

from audit_kit.core import schema
from audit_kit.core.identity import with_key
from audit_kit.rules.response.working_time import WorkingTime

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from datetime import datetime

    from audit_kit.rules.response.response_evidence import ResponseEvidence

OPEN = ("open", "waiting")
DONE = ("solved", "closed")
ACUTE = ("critical", "high")
BETWEEN_NUMBERS = r"[;；,，、/|\n\r]+"
NUMBER = r"\d{18,22}"  # within other words
WHOLE_NUMBER = r"^\d+$"
A_SECOND = 1 / 3600  # in hours
SPAN = timedelta(days=3653)  # a time further from the export is a wrong one
TIME = "%Y-%m-%d %H:%M"
# What each rung wants to see before it acts; `statement` is a letter, which no table shows.
NEEDS = {
    "it": ("ticket", "log"),
    "management": ("ticket", "reply", "amount"),
    "tax_bureau": ("ticket", "original", "national", "statement"),
}
TICKETS = {
    "ticket": pl.String(),
    "level": pl.String(),
    "state": pl.String(),
    "opened_at": pl.Datetime("us"),
    "due_at": pl.Datetime("us"),
    "replied_at": pl.Datetime("us"),
    "updated_at": pl.Datetime("us"),
    "outcome": pl.String(),
    "keys": pl.List(pl.String()),
    "invoices": pl.UInt32(),
    "missing": pl.UInt32(),
    "yuan": pl.Decimal(38, 2),
    "hours": pl.Float64(),
    "allowed": pl.Float64(),
    "late_reply": pl.Boolean(),
    "late_due": pl.Boolean(),
    "guessed": pl.Boolean(),
    "handed_at": pl.Datetime("us"),
    "next_level": pl.String(),
    "next_at": pl.Datetime("us"),
    "needs": pl.List(pl.String()),
    "lacks": pl.List(pl.String()),
    "source_file": pl.String(),
    "source_row": pl.UInt32(),
}


def judged(evidence: ResponseEvidence) -> pl.DataFrame:
    """Return the tickets, a row for each rung that one was on: see `TICKETS`.

    Rows of one ticket, rung and time of opening are one: a log of its changes, or several invoices. `replied_at` is the
    first reply, else the first change after opening. `hours`: working hours until then, or until now. `handed_at`: when
    the next rung got it. `next_level`, `next_at`: to whom it goes next, and when.
    """
    rows = _with_keys(evidence.tickets)
    if rows.is_empty():
        return pl.DataFrame(schema=TICKETS)
    units = _answered(_handed(_units(rows)))
    units = units.with_columns(due_end=_end_of(pl.col("due_at")), is_open=_is_open())
    times = [units[name] for name in ("opened_at", "due_end", "replied_at", "updated_at", "handed_at")]
    near = pl.concat([pl.Series("at", [evidence.taken_at], pl.Datetime("us")), *(one.alias("at") for one in times)])
    near = near.filter(near.is_between(evidence.taken_at - SPAN, evidence.taken_at + SPAN))
    policy = evidence.policy.response
    work = WorkingTime(near, starts=policy.day_starts, ends=policy.day_ends)
    now, allowed = pl.lit(evidence.taken_at, pl.Datetime("us")), policy.first_reply_hours
    units = units.with_columns(
        allowed=pl.col("level").replace_strict(allowed, default=None, return_dtype=pl.Float64),
        until=pl.coalesce("replied_at", pl.when("is_open").then(now)),
        ended=pl.when("is_open").then(now).otherwise(pl.coalesce("handed_at", "updated_at")),
    )
    units = units.with_columns(
        work.hours(units["opened_at"], units["until"]), work.is_guessed(units["opened_at"], units["until"])
    )
    units = units.with_columns(
        late_reply=(pl.col("hours") > pl.col("allowed") + A_SECOND).fill_null(value=False),
        late_due=((pl.col("ended") > pl.col("due_end")) & (pl.col("due_end") > pl.col("opened_at"))).fill_null(
            value=False
        ),
    )
    units = _with_invoices(units, evidence)
    units = _laddered(units, work)
    return _needed(units, evidence).select(*TICKETS).cast(pl.Schema(TICKETS))


def ticket_overdue(evidence: ResponseEvidence) -> pl.DataFrame:
    """Find tickets past their due time, or whose first reply came later than the policy allows, or not at all."""
    late = evidence.once(judged).filter(pl.col("late_reply") | pl.col("late_due"))
    parts = [list(_reasons(row, evidence)) for row in late.iter_rows(named=True)]
    return _told(late, pl.Series("what", parts, dtype=pl.List(PART)))


def ticket_missing(evidence: ResponseEvidence) -> pl.DataFrame:
    """Find groups of critical or high findings of which no ticket names an invoice."""
    if "tickets" not in evidence.given:
        return pl.DataFrame()
    units = evidence.once(judged)
    acute = evidence.findings.filter(pl.col("severity").cast(pl.String).is_in(ACUTE))
    keys = evidence.booked.select("ledger_row", "issued_at", booked_key="invoice_key")
    listed = evidence.platform.select(listed_at="issued_at").with_row_index("platform_row")
    acute = acute.join(keys, on="ledger_row", how="left", maintain_order="left")
    acute = acute.join(listed, on="platform_row", how="left", maintain_order="left")
    acute = acute.with_columns(issued_at=pl.coalesce("issued_at", "listed_at"))
    named = units["keys"].explode().drop_nulls().unique().implode()
    has = pl.col("invoice_key").is_in(named) | pl.col("booked_key").is_in(named)
    groups = (
        acute.with_columns(has=has.fill_null(value=False))
        .group_by("cause", "subject", maintain_order=True)
        .agg(
            severity=schema.by_severity().min().cast(pl.String),
            rows=pl.len(),
            yuan=pl.col("amount").sum(),
            first=pl.col("issued_at").min(),
            last=pl.col("issued_at").max(),
            has=pl.col("has").any(),
            source_file=pl.col("source_file").first(),
            source_row=pl.col("source_row").first(),
        )
        .filter(~pl.col("has"))
    )
    unnamed = units.filter(pl.col("invoices") == 0)
    later = [
        unnamed.filter(pl.col("opened_at") >= first)["ticket"].drop_nulls().to_list()
        if first
        else unnamed["ticket"].drop_nulls().to_list()
        for first in groups["first"]
    ]
    maybe = pl.Series("tickets", later, dtype=pl.List(pl.String))
    return groups.with_columns(maybe).select(
        "rows", "yuan", "first", "last", "source_file", "source_row", "tickets",
        about=pl.concat_list("cause", pl.col("subject").fill_null("")),
        variant=pl.when(pl.col("tickets").list.len() > 0).then(pl.lit("unnamed")),
        state=pl.when(pl.col("tickets").list.len() > 0).then(pl.lit("unknown")),
        amount="yuan",
        group="cause",
        event="subject",
        level=pl.col("severity"),
    )  # fmt: skip


def ticket_closed_missing(evidence: ResponseEvidence) -> pl.DataFrame:
    """Find tickets that are solved or closed while the platform still lacks one of their invoices."""
    units = evidence.once(judged)
    still = units.filter(pl.col("state").is_in(OPEN) & pl.col("handed_at").is_null())["keys"].explode().drop_nulls()
    gone = _named(units, evidence.missing_keys)
    lacking = pl.col("keys").list.set_intersection(gone.filter(~gone.is_in(still.implode())).to_list())
    done = units.filter(pl.col("state").is_in(DONE)).with_columns(lacking=lacking.list.sort())
    closed = done.filter(pl.col("lacking").list.len() > 0)
    closed = closed.filter((pl.col("updated_at") <= evidence.taken_at).fill_null(value=True))
    return _told(closed).with_columns(
        state=pl.when(pl.col("updated_at").is_null()).then(pl.lit("unknown")),
        taken=pl.lit(evidence.taken_at, pl.Datetime("us")),
    )


def ticket_open_arrived(evidence: ResponseEvidence) -> pl.DataFrame:
    """Find tickets still open although the platform lists all their invoices as the ledger has them."""
    units = evidence.once(judged).filter(pl.col("state").is_in(OPEN) & pl.col("handed_at").is_null())
    there = pl.col("keys").list.set_intersection(_named(units, evidence.agreeing_keys).to_list()).list.len()
    stale = units.filter((pl.col("invoices") > 0) & (there == pl.col("invoices")))
    stale = stale.filter((pl.col("opened_at") <= evidence.taken_at).fill_null(value=False))
    seen = evidence.listed.select(invoice_key="invoice_key", seen="visible_at").drop_nulls()
    dates = dict(seen.sort("seen").unique("invoice_key", keep="first").iter_rows())
    since = [max((dates[key] for key in keys if key in dates), default=None) for keys in stale["keys"]]
    stale = stale.with_columns(pl.Series("since", since, dtype=pl.Datetime("us")))
    return _told(stale).with_columns(
        variant=pl.when(pl.col("since").is_not_null()).then(pl.lit("since")),
        taken=pl.lit(evidence.taken_at, pl.Datetime("us")),
    )


PART = pl.Struct({name: pl.String() for name in ("part", "at", "hours", "allowed")})


def _named(units: pl.DataFrame, keys: pl.Series) -> pl.Series:
    """Return those of many keys that tickets name."""
    return keys.filter(keys.is_in(units["keys"].explode().drop_nulls().unique().implode())).sort()


def _moment(at: datetime) -> str:
    """Return a time as evidence shows it; one without a time of day is a day."""
    return f"{at:%Y-%m-%d}" if (at.hour, at.minute) == (0, 0) else f"{at:{TIME}}"


def _reasons(row: dict[str, Any], evidence: ResponseEvidence) -> Iterator[dict[str, str | None]]:
    """Yield why a ticket is late, to whom it goes next, and what the hours rest on."""
    figures = {"hours": f"{row['hours'] or 0:.1f}", "allowed": f"{row['allowed'] or 0:g}"}
    policy = evidence.policy.response
    if row["late_due"]:
        ended = row["state"] in DONE or row["handed_at"] is not None
        yield {"part": "due_done" if ended else "due_open", "at": _moment(row["due_at"]), **figures}
    if row["late_reply"] and row["replied_at"] is None:
        yield {"part": "reply_none", "at": f"{evidence.taken_at:{TIME}}", **figures}
    elif row["late_reply"]:
        yield {"part": "reply_late", "at": f"{row['replied_at']:{TIME}}", **figures}
    if row["next_level"]:
        at = f"{row['next_at']:{TIME}}" if row["next_at"] else "–"
        yield {"part": f"next_{row['next_level']}", "at": at, **figures}
    if row["late_reply"]:
        yield {"part": "basis", "at": "", "hours": f"{policy.day_starts:g}", "allowed": f"{policy.day_ends:g}"}
    if row["late_reply"] and row["guessed"]:
        yield {"part": "guessed", "at": "", **figures}


def _told(units: pl.DataFrame, *more: pl.Series) -> pl.DataFrame:
    """Return tickets as a rule tells them: of one invoice its key, of several their sum."""
    one = pl.col("keys").list.len() == 1
    return (
        units.with_columns(*more)
        .with_columns(
            about=pl.concat_list(
                pl.coalesce("ticket", pl.format("row {}", "source_row")),
                pl.col("level").fill_null(""),
                pl.col("opened_at").cast(pl.String).fill_null(""),
            ),
            invoice_key=pl.when(one).then(pl.col("keys").list.first()),
            amount=pl.when(pl.col("invoices") > 0).then("yuan"),
            state=pl.lit(None, pl.String),
            said="state",
            rung="level",
        )
        .drop("level", "hours", "allowed")
    )


def _with_keys(tickets: pl.DataFrame) -> pl.DataFrame:
    """Return tickets with `keys`: the invoices that a cell names, be they several."""
    rows = tickets.with_row_index("row")
    text = pl.col("invoice_number").str.normalize("NFKC")
    parts = text.str.replace_all(BETWEEN_NUMBERS, "\n").str.split("\n")
    named = rows.select("row", digital_number=parts).explode("digital_number")
    named = with_key(named.with_columns(pl.col("digital_number").str.strip_chars())).select("row", "invoice_key")
    within = rows.select("row", invoice_key=text.str.extract_all(NUMBER)).explode("invoice_key")
    named = (
        pl.concat([named, within]).filter(pl.col("invoice_key").str.contains(WHOLE_NUMBER)).unique(maintain_order=True)
    )
    keys = named.group_by("row", maintain_order=True).agg(keys="invoice_key")
    return rows.join(keys, on="row", how="left", maintain_order="left").with_columns(pl.col("keys").fill_null([]))


def _units(rows: pl.DataFrame) -> pl.DataFrame:
    """Return a row for each ticket, rung and time of opening; what changes is as the latest row has it."""
    text = pl.col("level", "state").cast(pl.String)
    unit = pl.coalesce("ticket", pl.format("\x1f{}", "row"))
    change = pl.when(pl.col("updated_at") > pl.col("opened_at")).then("updated_at")
    rows = rows.with_columns(text, unit=unit, change=change).sort("updated_at", nulls_last=False, maintain_order=True)
    last = [pl.col(name).last() for name in ("ticket", "state", "updated_at", "source_file", "source_row")]
    return (
        rows.group_by("unit", "level", "opened_at", maintain_order=True)
        .agg(
            *last,
            pl.col("due_at", "outcome").drop_nulls().last(),
            pl.col("replied_at").min(),
            change=pl.col("change").min(),
            keys=pl.col("keys").explode().drop_nulls().unique().sort(),
            place=pl.col("row").min(),
        )
        .sort("place")
    )


def _handed(units: pl.DataFrame) -> pl.DataFrame:
    """Add `handed_at`: when the same ticket came to a higher rung."""
    rung = pl.col("level").cast(pl.Enum(schema.TICKET_LEVELS)).to_physical()
    rungs = units.select("unit", "place", "opened_at", rung=rung)
    pairs = rungs.join(rungs, on="unit", suffix="_next").filter(
        (pl.col("rung_next") > pl.col("rung")) & (pl.col("opened_at_next") >= pl.col("opened_at"))
    )
    handed = pairs.group_by("place").agg(handed_at=pl.col("opened_at_next").min())
    return units.join(handed, on="place", how="left", maintain_order="left")


def _answered(units: pl.DataFrame) -> pl.DataFrame:
    return units.with_columns(replied_at=pl.coalesce("replied_at", "change", "handed_at"))


def _is_open() -> pl.Expr:
    return (pl.col("state").is_in(OPEN) | pl.col("state").is_null()) & pl.col("handed_at").is_null()


def _end_of(moment: pl.Expr) -> pl.Expr:
    """Return when a due time is over: one that is a day alone ends with that day."""
    return pl.when(moment == moment.dt.truncate("1d")).then(moment.dt.offset_by("1d")).otherwise(moment)


def _with_invoices(units: pl.DataFrame, evidence: ResponseEvidence) -> pl.DataFrame:
    """Add `invoices`, `missing` and `yuan` of each ticket's invoices."""
    named = units.select("place", invoice_key="keys").explode("invoice_key").drop_nulls()
    booked = (
        evidence.booked.select("invoice_key", "gross").drop_nulls("invoice_key").unique("invoice_key", keep="first")
    )
    named = named.join(booked, on="invoice_key", how="left")
    gone = pl.col("invoice_key").is_in(evidence.missing_keys.implode())
    sums = named.with_columns(gone=gone).group_by("place").agg(missing=pl.col("gone").sum(), yuan=pl.col("gross").sum())
    return units.join(sums, on="place", how="left", maintain_order="left").with_columns(
        invoices=pl.col("keys").list.len(), missing=pl.col("missing").fill_null(0), yuan=pl.col("yuan").fill_null(0)
    )


def _laddered(units: pl.DataFrame, work: WorkingTime) -> pl.DataFrame:
    """Add the next rung of each open ticket and when it is due: at its due time, or when a reply is overdue."""
    above = dict(zip(schema.TICKET_LEVELS, (*schema.TICKET_LEVELS[1:], None), strict=True))
    since = units.select(pl.coalesce("replied_at", "opened_at")).to_series()
    answer = work.after(since, units["allowed"])
    return units.with_columns(
        next_level=pl.when("is_open").then(pl.col("level").replace_strict(above, default=None, return_dtype=pl.String)),
        answer=answer,
    ).with_columns(
        next_at=pl.when(pl.col("next_level").is_null())
        .then(None)
        .when(pl.col("replied_at").is_null() | pl.col("due_end").is_null())
        .then(pl.min_horizontal("answer", "due_end"))
        .otherwise("due_end")
    )


def _needed(units: pl.DataFrame, evidence: ResponseEvidence) -> pl.DataFrame:
    """Add what the next rung wants to see, and what of it no table shows."""
    files = set(with_key(evidence.invoice_files)["invoice_key"].drop_nulls())
    asked = evidence.confirmations.filter((pl.col("source") == "national") & pl.col("result").is_not_null())
    national = set(with_key(asked.select(digital_number="invoice_number"))["invoice_key"].drop_nulls())
    logged = set(with_key(evidence.sync_log.select(digital_number="invoice_number"))["invoice_key"].drop_nulls())
    known = {"original": files, "national": national, "log": logged}
    rows = []
    for row in units.select("next_level", "keys", "replied_at", "yuan").iter_rows(named=True):
        needs = NEEDS.get(row["next_level"] or "", ())
        there = {"ticket": True, "reply": row["replied_at"] is not None, "amount": bool(row["yuan"])}
        there |= {name: bool(row["keys"]) and keys.issuperset(row["keys"]) for name, keys in known.items()}
        rows.append((list(needs), [need for need in needs if not there.get(need, False)]))
    shape = {"needs": pl.List(pl.String), "lacks": pl.List(pl.String)}
    return units.hstack(pl.DataFrame(rows, schema=shape, orient="row"))


CAUSES: dict[str, Callable[[ResponseEvidence], pl.DataFrame]] = {
    "ticket_overdue": ticket_overdue,
    "ticket_missing": ticket_missing,
    "ticket_closed_missing": ticket_closed_missing,
    "ticket_open_arrived": ticket_open_arrived,
}
