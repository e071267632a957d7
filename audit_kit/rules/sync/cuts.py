"""Where the platform's export breaks off: nothing of any channel is listed beyond its first, or its last, moment.

A cut goes through a day or leaves out what the stated period holds. An export that begins with a month was asked for
so; what is newer than its last moment may be late, or wait for a platform that stands still.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from datetime import datetime, time, timedelta
from typing import TYPE_CHECKING, Literal, TypeAlias

import polars as pl

from audit_kit.core.schema import ALL_CHANNELS

if TYPE_CHECKING:
    from audit_kit.core.policy import Export, SyncPolicy

LEAST = 15  # ledger rows beyond the listed moment from which its end is no accident
LEAST_OF_A_CHANNEL = 2
LEAST_OF_THE_DAY = 3  # of the day of the cut, or of the month, beyond it: else it may just have been asked for so
CHANCE = 0.03
NEAR = 30  # ledger rows on the listed side that are looked at
LEAST_NEAR = 5
DAY_SHARE = 0.1  # of the day of the cut, missing, where only days are known
MOSTLY = 0.5
SHARP_SHARE = 0.15  # so much more than elsewhere may be missing among them at the newest end: more is lateness
LONG = timedelta(days=3)  # no stop of all channels, unannounced, lasts so long
DAY = timedelta(days=1)
SPANS_DAYS = (30, 31, 60, 61, 90, 91, 92, 180, 181, 182, 183, 184, 365, 366)
ROUND_LEAST, ROUND, ROUND_LARGE = 100, 100, 500  # row limits are multiples of these, below and above a thousand
THOUSAND = 1000
SHEET_ROWS = (65_535, 65_536, 1_048_575, 1_048_576)
LOGGED_LEAST = 5  # rows beyond that the log must know before its silence tells something
LOGGED_MOSTLY, LOGGED_HARDLY = 0.5, 0.1
WAIT = 2  # times the service level's hours: what is younger may be late

Side: TypeAlias = Literal["first", "last"]


@dataclass(frozen=True, kw_only=True)
class Edge:
    """An end of the listing beyond which nothing of any channel is listed though the ledger has invoices there.

    `side`: `first` or `last`. `what`: `cut`, or `asked` where it was likely not asked for more. `at`: the first or last
    listed moment; of `asked` the month, or day, with which it begins or ends. `rows`: ledger rows beyond; `on_day`:
    those of the day of the cut where only days are known, so that each may lie on either side. `state`: how sure a cut
    is. `listed`: rows of the export, or of the file of it whose rows are a round number (`is_round`). `is_logged`: the
    log calls most of what is beyond visible.
    `file`: the one that breaks off, where there are several.
    """

    side: Side
    what: str
    at: datetime
    rows: pl.Series
    on_day: pl.Series = field(default_factory=lambda: pl.Series(dtype=pl.UInt32))
    state: str = "unknown"
    listed: int = 0
    is_round: bool = False
    is_logged: bool = False
    file: str | None = None


@dataclass(frozen=True, kw_only=True)
class Terms:
    """The stated period of an export, when it was taken, and before when what it should list was issued."""

    starts: datetime | None
    ends: datetime | None
    taken_at: datetime
    old_before: datetime


@dataclass(frozen=True, kw_only=True)
class Listing:
    """An export and the ledger rows it should list.

    `rows`: `ledger_row`, `channel`, `visible`, `at` (the platform's moment of a listed one where it has a time,
    else the ledger's), `daily` (one is a day only). `first`, `last`: the listed moments. `files`: their rows.
    """

    rows: pl.DataFrame
    first: datetime
    last: datetime
    files: tuple[int, ...]
    terms: Terms

    def gone(self) -> pl.DataFrame:
        """Return the missing rows inside the period, as far as it is stated."""
        terms = self.terms
        asked = pl.col("at") < min(terms.taken_at, terms.ends or terms.taken_at)
        if terms.starts is not None:
            asked &= pl.col("at") >= terms.starts
        return self.rows.filter(~pl.col("visible") & asked)


def edges(
    observations: pl.DataFrame,
    platform: pl.DataFrame,
    matches: pl.DataFrame,
    *,
    sync_log: pl.DataFrame,
    notices: pl.DataFrame,
    export: Export,
    policy: SyncPolicy,
    taken_at: datetime | None,
) -> list[Edge]:
    """Return where the export breaks off, or was not asked for more: at either end, and between its files.

    Args:
        observations: `ledger_row`, `channel`, `issued_at`, `visible` of the ledger rows that are listed or missing.
        platform: canonical platform export.
        matches: the outcome of `reconcile`.
        sync_log: canonical; where it calls invoices visible it tells a cut from a stop of the platform.
        notices: canonical; what was issued in an announced stop tells nothing of a cut.
        export: how it was asked for.
        policy: what is younger than twice its target may be late.
        taken_at: when the export was taken; null where nobody says: then not before what the ledger's newest rows show.
    """
    taken_at = taken_at or _latest(observations)
    if taken_at is None or not _worth_a_look(observations, platform):
        return []
    terms = Terms(
        starts=export.period_start if export.start_stated else None,
        ends=export.period_end if export.period_stated else None,
        taken_at=taken_at,
        old_before=taken_at - timedelta(hours=WAIT * policy.target_hours),
    )
    listing = _listing(observations, platform, matches, terms)
    if listing is None:
        return []
    gone = listing.gone()
    logged = _Log(sync_log, matches, listing)
    sides: tuple[Side, ...] = ("first", "last")
    found = (_edge(side, listing, gone, logged, notices) for side in sides)
    return [*(edge for edge in found if edge is not None), *_between(platform, listing, gone)]


def _worth_a_look(observations: pl.DataFrame, platform: pl.DataFrame) -> bool:
    """Return whether anything is missing beyond what the export lists, or on a day of which only the day is known."""
    first, last = platform["issued_at"].min(), platform["issued_at"].max()
    if not isinstance(first, datetime) or not isinstance(last, datetime):
        return False
    gone = observations.filter(~pl.col("visible")).select(at="issued_at").drop_nulls()
    daily = _is_day("at") | pl.lit(time() in (first.time(), last.time()))
    before = (pl.col("at") < first) | (daily & (pl.col("at").dt.date() <= first.date()))
    after = (pl.col("at") > last) | (daily & (pl.col("at").dt.date() >= last.date()))
    several = "source_file" in platform.columns and platform["source_file"].n_unique() > 1
    return several or gone.filter(before).height > 0 or gone.filter(after).height >= LEAST


def _latest(observations: pl.DataFrame) -> datetime | None:
    """Return a moment after which next to nothing was issued: a wrong date or two do not move it."""
    moment = observations["issued_at"].drop_nulls().top_k(LEAST).min()
    return moment + DAY if isinstance(moment, datetime) else None


def _listing(observations: pl.DataFrame, platform: pl.DataFrame, matches: pl.DataFrame, terms: Terms) -> Listing | None:
    """Return what the export lists, in time; null where it lists nothing that has a time."""
    pairs = matches.filter(pl.col("platform_row").is_not_null()).select("ledger_row", "platform_row")
    theirs = platform["issued_at"].gather(pairs["platform_row"]).alias("theirs")
    mine = pairs.select("ledger_row").with_columns(theirs).drop_nulls().unique("ledger_row", keep="first")
    rows = observations.select("ledger_row", "channel", "visible", at="issued_at")
    rows = rows.join(mine, on="ledger_row", how="left", maintain_order="left")
    same_day = pl.col("theirs").dt.date() == pl.col("at").dt.date()
    moment = pl.when(_is_day("theirs") & same_day).then("at").otherwise(pl.coalesce("theirs", "at"))
    rows = rows.select(
        "ledger_row",
        "channel",
        "visible",
        at=pl.when("visible").then(moment).otherwise("at"),
        daily=_is_day("at") | _is_day("theirs").fill_null(value=False),
    ).drop_nulls("at")
    claimed = rows.filter("visible")["at"]
    loose = pl.DataFrame({"row": range(platform.height)}, schema={"row": pl.UInt32})
    loose = loose.join(pairs.drop_nulls(), left_on="row", right_on="platform_row", how="anti")
    others = loose.select(at=platform["issued_at"].gather(loose["row"])).drop_nulls()
    days = claimed.dt.date().unique().implode()  # a day alone says nothing of the moment within it
    others = others.filter(~(_is_day("at") & pl.col("at").dt.date().is_in(days)))
    listed = pl.concat([claimed, others["at"].cast(claimed.dtype)])
    first, last = listed.min(), listed.max()
    if not isinstance(first, datetime) or not isinstance(last, datetime):
        return None
    files = platform["source_file"].value_counts(sort=True) if "source_file" in platform.columns else None
    return Listing(
        rows=rows,
        first=first,
        last=last,
        files=(platform.height,) if files is None else tuple(sorted(files["count"], reverse=True)),
        terms=terms,
    )


def _is_day(name: str) -> pl.Expr:
    """Return whether a moment is a day without a time; an issue at midnight sharp is taken for one."""
    return pl.col(name).dt.time() == time()


class _Log:
    """What the sync log says of missing invoices."""

    def __init__(self, log: pl.DataFrame, matches: pl.DataFrame, listing: Listing) -> None:
        done = "visible" if (log["event"] == "visible").any() else "received"
        self._events = log.select(
            key="invoice_number", done=(pl.col("event") == done) & (pl.col("at") <= listing.terms.taken_at)
        )
        self._tells = bool(self._events["done"].any())
        self._keys = matches.select("ledger_row", key="invoice_key").drop_nulls()

    def knows(self, rows: pl.DataFrame) -> bool | None:
        """Return whether the log calls most of these rows visible; null where it cannot tell."""
        if not self._tells:
            return None
        keys = self._keys.join(rows.select("ledger_row"), on="ledger_row", how="semi")
        told = self._events.join(keys, on="key", how="semi").group_by("key").agg(pl.col("done").any())
        if told.height < LOGGED_LEAST:
            return None
        share = float(told["done"].sum()) / told.height
        return True if share >= LOGGED_MOSTLY else False if share <= LOGGED_HARDLY else None


def _edge(side: Side, listing: Listing, gone: pl.DataFrame, log: _Log, notices: pl.DataFrame) -> Edge | None:
    """Return the edge at one end of the listing, or null where nothing is missing beyond it or something else is."""
    moment = listing.first if side == "first" else listing.last
    beyond, on_day = _beyond(side, moment, listing.rows, gone)
    if (asked := _asked(side, listing, beyond, on_day)) is not None:
        outside = _past(side, gone, asked)
        seen = log.knows(outside) if side == "last" else None
        return None if seen is False else Edge(side=side, what="asked", at=asked, rows=outside["ledger_row"])
    rows = pl.concat([beyond, on_day])
    old = rows.filter(pl.col("at") < listing.terms.old_before)
    seen = log.knows(old if old.height >= LOGGED_LEAST else rows)
    telling = (rows if seen else old if side == "last" else rows).filter(~_announced(notices, listing.terms.taken_at))
    if seen is False or telling.height < LEAST or not _usual(side, listing, moment, seen=bool(seen)):
        return None
    rounds = [count for count in listing.files if _is_round(count)]
    span = moment - _furthest(side, telling) if side == "first" else _furthest(side, telling) - moment
    channels = _channels(telling, listing.rows)
    plain = bool(seen) or bool(rounds)
    if not plain and span < (LONG if side == "last" or not channels else DAY):
        return None
    through = on_day.height or beyond.filter(pl.col("at").dt.date() == moment.date()).height
    stated = listing.terms.starts if side == "first" else listing.terms.ends
    if stated is None and not plain and side == "first" and _by_chance(listing, through) and not _is_span(listing):
        return Edge(side=side, what="asked", at=_midnight(moment), rows=beyond["ledger_row"])
    sure = plain or span >= (2 * LONG if side == "last" else LONG if channels == 1 else 2 * DAY)
    return Edge(
        side=side,
        what="cut",
        at=moment,
        rows=beyond["ledger_row"],
        on_day=on_day["ledger_row"],
        state="fails" if sure and stated is not None else "unknown",
        listed=rounds[0] if rounds else sum(listing.files),
        is_round=bool(rounds),
        is_logged=bool(seen),
    )


def _by_chance(listing: Listing, through: int) -> bool:
    """Return whether so many of the day of the cut may be missing beyond it though the whole day was asked for."""
    inside = listing.rows.filter(pl.col("at").is_between(listing.first, listing.last))
    missing = (inside.filter(~pl.col("visible")).height + 1) / (inside.height + 2)
    return bool(missing**through > CHANCE)


def _between(platform: pl.DataFrame, listing: Listing, gone: pl.DataFrame) -> list[Edge]:
    """Return where one of several files, each of a time of its own, breaks off at a round number of rows."""
    if len(listing.files) == 1 or not any(_is_round(count) for count in listing.files):
        return []
    files = (
        platform.drop_nulls("issued_at")
        .group_by("source_file")
        .agg(first=pl.col("issued_at").min(), last=pl.col("issued_at").max(), count=pl.len())
    )
    found = []
    parts = files.sort("first", "last", "source_file").to_dicts()
    for older, newer in itertools.pairwise(parts):
        end = older["last"] + (DAY if older["last"].time() == time() else timedelta())
        rows = gone.filter((pl.col("at") > end) & (pl.col("at") < newer["first"]))
        side: Side = "first" if _is_round(newer["count"]) else "last"
        cut, at = (newer, newer["first"]) if side == "first" else (older, older["last"])
        if rows.height < LEAST or not _is_round(cut["count"]):
            continue
        stated = listing.terms.starts is not None and listing.terms.ends is not None
        found.append(
            Edge(
                side=side,
                what="cut",
                at=at,
                rows=rows["ledger_row"],
                state="fails" if stated else "unknown",
                listed=cut["count"],
                is_round=True,
                file=cut["source_file"],
            )
        )
    return found


def _past(side: Side, rows: pl.DataFrame, moment: datetime) -> pl.DataFrame:
    return rows.filter(pl.col("at") < moment if side == "first" else pl.col("at") >= moment)


def _beyond(side: Side, moment: datetime, rows: pl.DataFrame, gone: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return the missing rows beyond the listed moment, and those of its day where only days are known."""
    day = pl.col("at").dt.date() == moment.date()
    that_day = rows.filter(day)
    past = pl.col("at") < moment if side == "first" else pl.col("at") > moment
    if moment.time() != time() and not that_day["daily"].any():
        return gone.filter(past), gone.clear()
    beyond = _past(side, gone, _midnight(moment) + (timedelta() if side == "first" else DAY))
    of_day = gone.filter(day)
    through = of_day.height >= max(LEAST_OF_THE_DAY, DAY_SHARE * that_day.height)
    return beyond, of_day if through else of_day.filter(past & ~_is_day("at"))


def _asked(side: Side, listing: Listing, beyond: pl.DataFrame, on_day: pl.DataFrame) -> datetime | None:
    """Return the month with which the listing begins, or before which it ends, if so and more is missing beyond.

    At the newest end what is younger than late ones may be does not count.
    """
    moment = listing.first if side == "first" else listing.last
    month = _midnight(moment).replace(day=1)
    if side == "last":
        month = (month + 31 * DAY).replace(day=1)
    outside = _past(side, beyond, month)
    if outside.is_empty() or beyond.height - outside.height + on_day.height >= LEAST_OF_THE_DAY:
        return None
    if side == "last" and outside.filter(pl.col("at") < listing.terms.old_before).height < LEAST:
        return None
    return month


def _usual(side: Side, listing: Listing, moment: datetime, *, seen: bool) -> bool:
    """Return whether the listing goes on as usual up to its end, as it does where it is cut and lateness does not."""
    day = pl.col("at").dt.date() == moment.date()
    rows = listing.rows.filter(pl.col("at").is_between(listing.first, listing.last) & ~(day & _is_day("at")))
    near = rows.bottom_k(NEAR, by="at") if side == "first" else rows.top_k(NEAR, by="at")
    if near.height < LEAST_NEAR or near["visible"].sum() < MOSTLY * near.height:
        return False
    if side == "first" or seen:
        return True
    gone, near_gone = rows.filter(~pl.col("visible")).height, near.filter(~pl.col("visible")).height
    usual = (gone - near_gone) / max(rows.height - near.height, 1)
    return near_gone <= (usual + SHARP_SHARE) * near.height


def _announced(notices: pl.DataFrame, taken_at: datetime) -> pl.Expr:
    """Return which rows were issued in an announced stop of their channel."""
    within = pl.lit(value=False)
    for notice in notices.drop_nulls("starts_at").iter_rows(named=True):
        inside = pl.col("at").is_between(notice["starts_at"], notice["ends_at"] or taken_at, closed="left")
        if notice["scope"] not in (None, ALL_CHANNELS):
            inside &= pl.lit(notice["scope"]).str.contains(pl.col("channel"), literal=True).fill_null(value=False)
        within |= inside
    return within


def _channels(telling: pl.DataFrame, rows: pl.DataFrame) -> int:
    """Return how many channels stop together; 0 where it is one of several, which may just stand still alone."""
    counts = telling.group_by("channel").len().filter(pl.col("len") >= LEAST_OF_A_CHANNEL)
    return counts.height if counts.height > 1 or rows["channel"].n_unique() == 1 else 0


def _furthest(side: Side, rows: pl.DataFrame) -> datetime:
    moment = rows["at"].min() if side == "first" else rows["at"].max()
    assert isinstance(moment, datetime)  # noqa: S101 - rows without a time are left out, and there are some
    return moment


def _midnight(moment: datetime) -> datetime:
    return moment.replace(hour=0, minute=0, second=0, microsecond=0)


def _is_span(listing: Listing) -> bool:
    """Return whether the listing reaches back a usual number of days, counted from when it was taken or its end."""
    return any(
        (end.date() - listing.first.date()).days + 1 in SPANS_DAYS for end in (listing.terms.taken_at, listing.last)
    )


def _is_round(count: int) -> bool:
    """Return whether a file has as many rows as limits allow."""
    step = ROUND if count < THOUSAND else ROUND_LARGE
    return count in SHEET_ROWS or (count >= ROUND_LEAST and count % step == 0)
