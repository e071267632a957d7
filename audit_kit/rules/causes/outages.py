"""Stops of the platform as a cause: announced, seen in the arrivals, or seen in what is missing.

What is missing is weighed against what would be missing had there been no stop, so that a notice during which all went
on as usual explains nothing.
"""

from __future__ import annotations

import math
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import polars as pl

from audit_kit.core.schema import ALL_CHANNELS
from audit_kit.rules.causes.patterns import RUN_TELLING_LAST, WINDOW_RATIO, windows
from audit_kit.rules.causes.population import lost_share, still_open, without
from audit_kit.rules.sync.curves import total

if TYPE_CHECKING:
    from audit_kit.rules.causes.evidence import Case

NOTICE_EVIDENCE = 6.0  # log likelihood ratio at which an announced stop is no longer innocent
MOSTLY = 0.5
DUE = pl.col("undisturbed") < (1 - MOSTLY) * pl.col("expected")
TOGETHER = timedelta(hours=2)
HELD_RATIO = 1.5  # missing in a stop per missing without it, from which the stop is to blame

HITS = {
    "ledger_row": pl.UInt32(),
    "subject": pl.String(),
    "what": pl.String(),
    "channel": pl.String(),
    "start": pl.Datetime("us"),
    "end": pl.Datetime("us"),
    "title": pl.String(),
    "notice_file": pl.String(),
    "notice_row": pl.UInt32(),
    "counts": pl.String(),
    "count": pl.UInt32(),
    "missing": pl.UInt32(),
    "issued": pl.UInt32(),
    "usual": pl.Float64(),
    "lost_share": pl.Float64(),
    "group": pl.Float64(),
}


def outage(case: Case) -> pl.DataFrame:
    """It was issued, or due, in a time in which far more is missing than usual; an innocent notice explains nothing."""
    people = still_open(case.population, case)
    hits = [_in_notice(case, people, notice) for notice in case.evidence.notices.iter_rows(named=True)]
    hits += _held_up(case, people)
    rest = without(people, case, pl.concat([pl.DataFrame(schema=HITS), *hits])["ledger_row"])
    found = windows(rest.with_columns(expected=_without_the_last(rest)))
    hits += [_in_window(rest, window) for window in found.iter_rows(named=True)]
    taken = pl.concat([pl.DataFrame(schema=HITS), *hits]).unique("ledger_row", keep="first", maintain_order=True)
    return case.missing.join(taken, on="ledger_row", how="inner", maintain_order="left")


def _without_the_last(people: pl.DataFrame) -> pl.Expr:
    """Return what would be missing without a stop; the last of a channel tell nothing while some of them may yet come.

    They may all wait for the channel's next upload, and so wait together.
    """
    arrived = people.filter(~pl.col("missing")).group_by("channel").agg(pl.col("issued_at").max())
    last = pl.col("channel").replace_strict(
        arrived["channel"], arrived["issued_at"], default=None, return_dtype=pl.Datetime("us")
    )
    waits = pl.col("missing") & (pl.col("issued_at") > last).fill_null(value=True)
    return pl.when(waits & (pl.col("undisturbed") > RUN_TELLING_LAST)).then(1.0).otherwise("undisturbed")


def _in_notice(case: Case, people: pl.DataFrame, notice: dict[str, Any]) -> pl.DataFrame:
    """Return the missing rows issued in an announced stop, if more is missing there than would be without it."""
    inside = people.filter(_within(notice["starts_at"], notice["ends_at"] or case.evidence.taken_at))
    if notice["scope"] not in (None, ALL_CHANNELS):
        inside = inside.filter(pl.lit(notice["scope"]).str.contains(pl.col("channel"), literal=True))
    gone, usual = float(inside["missing"].sum()), max(float(inside["undisturbed"].rechunk().sum()), 0.05)
    if gone <= WINDOW_RATIO * usual or gone * math.log(gone / usual) - (gone - usual) < NOTICE_EVIDENCE:
        return pl.DataFrame(schema=HITS)
    return _taken(inside, _stop("announced", notice | {"channel": notice["scope"]}))


def _within(start: object, end: object) -> pl.Expr:
    return pl.col("issued_at").is_between(pl.lit(start), pl.lit(end), closed="left")


def _stop(what: str, stop: dict[str, Any]) -> dict[str, Any]:
    """Return what is known of a stop, as HITS has it; its subject is the channel with start and end."""
    start, end = ("" if time is None else f"{time:%Y-%m-%d %H:%M}" for time in (stop["starts_at"], stop["ends_at"]))
    return {
        "subject": f"{stop['channel'] or ALL_CHANNELS} {start} – {end}",
        "what": what,
        "channel": stop["channel"],
        "start": stop["starts_at"],
        "end": stop["ends_at"],
        "title": stop.get("title"),
        "notice_file": stop.get("source_file"),
        "notice_row": stop.get("source_row"),
    }


def _hits(rows: pl.DataFrame, known: dict[str, Any]) -> pl.DataFrame:
    """Return rows with what is known of their stop: see HITS."""
    return rows.select("ledger_row").with_columns(
        pl.lit(known.get(name), dtype).alias(name) for name, dtype in HITS.items() if name != "ledger_row"
    )


def _held_up(case: Case, people: pl.DataFrame) -> list[pl.DataFrame]:
    """Return the missing rows issued in a stop that the arrivals show, or due in it: most likely visible without it.

    Channels that stood still together are judged together. Nothing is taken where as much would be missing anyhow, as
    in a slow channel that stood still alone and for a short while.
    """
    gone, stops = people.filter("missing"), case.evidence.stops
    parts = []
    for stop in stops.sort("starts_at", descending=True, maintain_order=True).iter_rows(named=True):
        near = (pl.col("starts_at") - stop["starts_at"]).abs() <= TOGETHER
        event = _held_rows(gone, stops.filter(near)["channel"], stop, case)
        usual = float(event["undisturbed"].rechunk().sum())
        if event.height < HELD_RATIO * usual or not event.select(DUE.any()).item():
            continue
        rows = _held_rows(gone, pl.Series([stop["channel"]]), stop, case)
        known = _stop("named" if stop["announced"] else "found", stop)
        known |= {"end": stop["ends_at"] or case.evidence.taken_at, "counts": "held", "count": rows.height}
        parts.append(_hits(rows, known | {"usual": float(rows["undisturbed"].rechunk().sum())}))
    return parts


def _held_rows(gone: pl.DataFrame, channels: pl.Series, stop: dict[str, Any], case: Case) -> pl.DataFrame:
    """Return the missing rows of these channels that were issued in a stop still open, or due in a stop."""
    mine = pl.col("channel").is_in(channels.implode()) | pl.lit(ALL_CHANNELS in channels)
    issued = (pl.col("issued_at") >= stop["starts_at"]) & pl.lit(stop["ends_at"] is None)
    return gone.filter(mine & (pl.col("issued_at") < (stop["ends_at"] or case.evidence.taken_at)) & (DUE | issued))


def _in_window(people: pl.DataFrame, window: dict[str, Any]) -> pl.DataFrame:
    """Return the missing rows issued in a window that the data show."""
    inside = people.filter(_within(window["starts_at"], window["ends_at"]))
    if window["channel"] != ALL_CHANNELS:
        inside = inside.filter(pl.col("channel") == window["channel"])
    return _taken(inside, _stop("window", window))


def _taken(inside: pl.DataFrame, stop: dict[str, Any]) -> pl.DataFrame:
    """Return the missing rows of the channels that stand out in a window."""
    each = inside.group_by("channel").agg(pl.col("missing").sum(), total(pl.col("undisturbed")))
    out = each.filter(pl.col("missing") > WINDOW_RATIO * pl.col("undisturbed"))["channel"]
    rows = inside.filter(pl.col("channel").is_in(out.implode()))
    if rows.is_empty():
        return pl.DataFrame(schema=HITS)
    gone = rows.filter("missing")
    known = stop | {"counts": "against", "missing": gone.height, "issued": rows.height}
    known |= {
        "usual": float(rows["undisturbed"].rechunk().sum()),
        "lost_share": lost_share(rows),
        "group": float(rows.height),
    }
    return _hits(gone, known)
