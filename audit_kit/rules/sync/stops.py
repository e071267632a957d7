"""When the platform took nothing in: stops announced in notices, and stops that the arrivals themselves show.

Where arrivals have no times, a stop still open at the export shows too: nothing issued since is there, in several
channels at once, while much of what was issued just before is.

A stop has a channel, a start, an end (null = still open) and a share: 1 = nothing arrived, 0.6 = four in ten still
did. An announced stop during which invoices arrived as usual is innocent and is not returned.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import polars as pl

from audit_kit.core.schema import ALL_CHANNELS

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

BIN_MINUTES = 10.0
LONGEST_SPAN = timedelta(days=3653)  # what is dated earlier is a wrong date, or too old for any export
SPARSE = 50  # of so many bins at most one holds an issue: only those are spread, not all
LONGEST_DELAY_BINS = 720  # delays beyond five days add nothing to what is expected within a stop
SILENCE = 12.0  # arrivals expected, beyond the log of the number of gaps, before silence counts as a stop
MEANINGFUL = 10.0  # arrivals expected before an announced stop can be judged at all
PARTIAL_RATIO = 0.5  # a partial stop lets at most this share of the expected arrivals through
PARTIAL_EVIDENCE = 25.0  # log likelihood ratio of a partial stop
PARTIAL_BINS = (6, 12, 24, 36, 72, 144, 216, 288)
REFINE_BINS = 36
MOST_PARTIAL = 6
STILL_OPEN_BINS = 3  # a window that ends so shortly before the export is still open
TOTAL = 0.97  # a stop that lets less than three in a hundred through is total
CLIFF_ROWS = 30  # issues just before a stop whose presence is compared with what came after
CLIFF_EVIDENCE = 20.0  # log likelihood ratio at which presence ends too suddenly for a delay
CLIFF_SLIPPED = 0.05  # share of what is issued in a stop that may be listed all the same, as red invoices are
CLIFF_CHANNELS = 2  # one channel alone may just wait for its nightly upload
CLIFF_TOGETHER = timedelta(hours=2)
CLIFF_LEAST = timedelta(hours=3)  # younger than this, most invoices are on their way anyhow
MOST_STOPS_PER_DAY = 1 / 3  # more silences than this are the channel's own rhythm, not stops

STOPS: dict[str, pl.DataType] = {
    "channel": pl.String(),
    "starts_at": pl.Datetime("us"),
    "ends_at": pl.Datetime("us"),
    "announced": pl.Boolean(),
    "title": pl.String(),
    "share": pl.Float64(),
}


class _Flow(NamedTuple):
    """Arrivals of one channel against what its issues let expect; minutes since `origin`."""

    origin: datetime
    arrivals: Floats
    edges: Floats
    expected: Floats
    spread: float

    def at(self, minute: float) -> datetime:
        """Return the time of a minute."""
        return self.origin + timedelta(minutes=float(minute))

    def due(self, minute: Floats | float) -> Floats:
        """Return how many arrivals were expected up to a minute."""
        return np.asarray(np.interp(minute, self.edges, self.expected))

    def arrived(self, minute: Floats | float) -> Floats:
        """Return how many arrivals there were up to a minute."""
        return np.asarray(np.searchsorted(self.arrivals, minute, side="right"), dtype=np.float64)


def stops(observations: pl.DataFrame, notices: pl.DataFrame, *, taken_at: datetime) -> pl.DataFrame:
    """Return the stops of the platform per channel: `channel`, `starts_at`, `ends_at`, `announced`, `title`, `share`.

    Args:
        observations: `channel`, `issued_at`, `visible_at`, `visible`, and perhaps `since`: where it is not null, an
            arrival is known only to lie between two exports, and no silence can be told from it.
        notices: the canonical table; a notice counts where arrivals fell below half of what was due in it, or where
            so little was due that the data cannot tell.
        taken_at: when the platform export was taken.
    """
    timed = observations.filter(pl.col("issued_at").is_not_null() & (pl.col("issued_at") <= taken_at))
    timed = timed.filter(pl.col("issued_at") > taken_at - LONGEST_SPAN)
    timed = timed.filter(pl.col("issued_at") > _listed_from(timed))
    if "since" in timed.columns:
        timed = timed.with_columns(visible_at=pl.when(pl.col("since").is_null()).then("visible_at"))
    known = pl.col("channel").is_not_null() & (pl.col("visible_at").count().over("channel") > 0)
    channels = timed.filter(known).sort("channel", maintain_order=True).partition_by("channel", maintain_order=True)
    rows: list[dict[str, Any]] = []
    if channels:
        pooled = _flow(timed, taken_at)
        everywhere = _found(pooled, taken_at)
        announced = notices.filter(pl.col("starts_at") < taken_at).to_dicts()
        for part in channels:
            flow = _flow(part, taken_at)  # one at a time: each is as long as the whole span
            found = _found(flow, taken_at)
            found += _shared(flow, found, everywhere, taken_at)
            rows += _with_notices(part["channel"][0], (flow, pooled), found, announced, taken_at)
    else:
        rows = [
            _row(notice["scope"] or ALL_CHANNELS, notice["starts_at"], notice["ends_at"], 1.0, notice["title"])
            for notice in notices.filter(pl.col("starts_at") < taken_at).iter_rows(named=True)
        ]
        if all(row["ends_at"] is not None for row in rows):
            rows += _cliff(timed, taken_at)
    return pl.DataFrame(rows, schema=STOPS).sort("starts_at", "channel")


def _cliff(timed: pl.DataFrame, taken_at: datetime) -> list[dict[str, Any]]:
    """Return the stop still open that presence shows: it ends at once in several channels, and in all of them."""
    channels = timed.drop_nulls("channel").partition_by("channel", maintain_order=True)
    ends = [end for part in channels if (end := _sudden_end(part))]
    ends = [end for end in ends if taken_at - end >= CLIFF_LEAST]
    if sum(max(ends) - end <= CLIFF_TOGETHER for end in ends) < CLIFF_CHANNELS:
        return []
    later = timed.filter(pl.col("issued_at") > max(ends))["visible"]
    return [] if later.sum() > CLIFF_SLIPPED * len(later) else [_row(ALL_CHANNELS, max(ends), None, 1.0)]


def _sudden_end(part: pl.DataFrame) -> datetime | None:
    """Return from when on next to nothing that a channel issued is listed, though much of what it issued before is."""
    ordered = part.select("issued_at", "visible").sort("issued_at", maintain_order=True)
    listed = ordered["visible"].to_numpy()
    weight = np.where(listed, np.log(CLIFF_SLIPPED), np.log(1 - CLIFF_SLIPPED)) - np.log(PARTIAL_RATIO)
    split = int(np.cumsum(weight[::-1])[::-1].argmax())
    before, after = listed[max(0, split - CLIFF_ROWS) : split], listed[split : split + CLIFF_ROWS]
    if min(len(before), len(after)) < CLIFF_ROWS or before.sum() < 2 * max(after.sum(), 1):
        return None
    usual = (before.sum() - 0.5) / CLIFF_ROWS
    if listed[split:].mean() > CLIFF_SLIPPED or -(len(listed) - split) * np.log1p(-usual) < CLIFF_EVIDENCE:
        return None
    moment: datetime = ordered["issued_at"][split]
    return moment


def _listed_from(timed: pl.DataFrame) -> datetime:
    """Return the time before which the export lists next to nothing: what is older was not asked for, or cut off."""
    ordered = timed.select("issued_at", "visible").sort("issued_at", maintain_order=True)
    lead = ordered.select("issued_at", lead=pl.when("visible").then(-1).otherwise(1).cum_sum())
    best = lead.sort("lead", descending=True, maintain_order=True).head(1)
    if best.is_empty() or best["lead"][0] <= 0:
        return datetime.min  # noqa: DTZ901 - Beijing time is stored without zone
    moment: datetime = best["issued_at"][0]
    return moment


def _row(channel: str, start: datetime, end: datetime | None, share: float, title: str | None = None) -> dict[str, Any]:
    return {
        "channel": channel,
        "starts_at": start,
        "ends_at": end,
        "announced": title is not None,
        "title": title,
        "share": share,
    }


def _flow(observations: pl.DataFrame, taken_at: datetime) -> _Flow:
    """Return arrivals, and the arrivals expected from the issues and the delays usually seen."""
    origin = observations["issued_at"].min()
    assert isinstance(origin, datetime)  # noqa: S101 - filtered to rows with a time
    span = (taken_at - origin) / timedelta(minutes=1)
    bins = max(1, int(np.ceil(span / BIN_MINUTES)))
    issued = _minutes(observations["issued_at"], origin)
    seen = observations.filter(pl.col("visible") & pl.col("visible_at").is_not_null())
    arrivals = np.sort(_minutes(seen["visible_at"], origin))
    delays = np.maximum(_minutes(seen["visible_at"], origin) - _minutes(seen["issued_at"], origin), 0)
    shape = np.bincount(np.minimum(delays / BIN_MINUTES, LONGEST_DELAY_BINS).astype(np.int64))
    counts = np.bincount(np.minimum(issued / BIN_MINUTES, bins - 1).astype(np.int64), minlength=bins)
    due = _spread(counts, shape / max(1, shape.sum()))
    due *= len(arrivals) / max(due.sum(), 1e-9)
    edges = np.asarray(np.arange(bins + 1) * BIN_MINUTES, dtype=np.float64)
    edges[-1] = max(edges[-1], span)
    came = _counted(arrivals, edges)
    busy = due > 1
    spread = float(np.median((came[busy] - due[busy]) ** 2 / due[busy]) / 0.455) if busy.sum() > 50 else 1.0  # noqa: PLR2004
    expected = np.asarray(np.concatenate([[0.0], np.cumsum(due)]), dtype=np.float64)
    return _Flow(origin, arrivals, edges, expected, max(1.0, spread))


def _spread(counts: NDArray[np.int64], shape: Floats) -> Floats:
    """Return how many arrivals are due in each bin, of these issues with delays of this shape."""
    issued = np.flatnonzero(counts)
    if len(issued) * SPARSE > len(counts):
        return np.convolve(counts, shape)[: len(counts)]
    due = np.zeros(len(counts) + len(shape))
    for place in issued.tolist():
        due[place : place + len(shape)] += counts[place] * shape
    return due[: len(counts)]


def _counted(arrivals: Floats, edges: Floats) -> NDArray[np.int64]:
    """Return how many arrivals there are in each bin; the last one holds its end."""
    within = arrivals[(arrivals >= edges[0]) & (arrivals <= edges[-1])]
    places = np.searchsorted(edges, within, side="right") - 1
    return np.bincount(np.minimum(places, len(edges) - 2), minlength=len(edges) - 1)


def _minutes(times: pl.Series, origin: datetime) -> Floats:
    spans: Floats = ((times - origin).dt.total_microseconds() / 60e6).to_numpy()
    return spans


def _found(flow: _Flow, taken_at: datetime) -> list[dict[str, Any]]:
    """Return the stops that the arrivals show: silences, then windows in which far fewer came than were due.

    A channel that falls silent every other day, as one that uploads at night does, has a rhythm of its own: only a
    silence at the export twice as deep as any of those is a stop.
    """
    end = (taken_at - flow.origin) / timedelta(minutes=1)
    marks = np.concatenate([flow.arrivals, [end]])
    due = np.diff(flow.due(marks)) / flow.spread
    silent = np.flatnonzero(due > SILENCE + np.log(max(1, len(due))))
    closed, last = silent[silent < len(due) - 1], silent[silent == len(due) - 1]
    rhythm = len(closed) > max(3.0, end / 1440 * MOST_STOPS_PER_DAY)
    if rhythm:
        last = last[due[last] > 2 * due[closed].max()]
        closed = closed[:0]
    rows = [_row("", flow.at(marks[place]), flow.at(marks[place + 1]), 1.0) for place in closed]
    rows += [_row("", flow.at(marks[place]), None, 1.0) for place in last]
    return rows if rhythm else rows + _partial(flow, rows, taken_at)


def _shared(
    flow: _Flow, found: list[dict[str, Any]], everywhere: list[dict[str, Any]], taken_at: datetime
) -> list[dict[str, Any]]:
    """Return the stops of all channels together that a channel too small to show them took part in."""
    shared = []
    for stop in everywhere:
        start, end = _span(stop, flow.origin, taken_at)
        mine = [_span(own, flow.origin, taken_at) for own in found]
        if any(min(end, last) > max(start, first) for first, last in mine):
            continue
        due = float(flow.due(end) - flow.due(start))
        if float(flow.arrived(end) - flow.arrived(start)) <= (1 - PARTIAL_RATIO * float(str(stop["share"]))) * due:
            shared.append(stop)
    return shared


def _partial(flow: _Flow, found: list[dict[str, Any]], taken_at: datetime) -> list[dict[str, Any]]:
    """Return the windows in which far fewer arrived than were due, by a likelihood-ratio scan."""
    due = np.diff(flow.expected)
    came = _counted(flow.arrivals, flow.edges).astype(np.float64)
    for stop in found:
        start, end = _span(stop, flow.origin, taken_at)
        covered = (flow.edges[1:] > start) & (flow.edges[:-1] < end)
        due[covered] = came[covered] = 0.0
    rows: list[dict[str, Any]] = []
    if due.sum() < PARTIAL_EVIDENCE * flow.spread:  # no window can say more than what was due in all
        return rows
    for _ in range(MOST_PARTIAL):
        best = _emptiest(came, due, least=PARTIAL_EVIDENCE * flow.spread)
        if best is None or best[0] / flow.spread < PARTIAL_EVIDENCE:
            break
        _, first, last = best
        ratio = float(came[first:last].sum() / due[first:last].sum())
        until = None if last >= len(due) - STILL_OPEN_BINS else flow.at(flow.edges[last])
        rows.append(_row("", flow.at(flow.edges[first]), until, 1 - ratio))
        due[first:last] = came[first:last] = 0.0
    return rows


def _emptiest(came: Floats, due: Floats, *, least: float) -> tuple[float, int, int] | None:
    """Return evidence, first bin and bin after the last of the emptiest window: of set widths, its ends refined.

    Windows of set widths are left out where even the widest never has so much due in it as `least`, the evidence
    needed; of those up to the end only the longest between two arrivals is looked at then.
    """
    o, e = np.concatenate([[0.0], np.cumsum(came)]), np.concatenate([[0.0], np.cumsum(due)])
    widths, tails = [width for width in PARTIAL_BINS if width < len(came)], np.arange(len(came))
    reach = min(len(came), max(PARTIAL_BINS) + 4 * REFINE_BINS)
    if (e[reach:] - e[:-reach]).max() < least:
        widths, tails = [], np.concatenate([[0], np.flatnonzero(came[:-1]) + 1])
    firsts = np.concatenate([np.arange(len(came) - width + 1) for width in widths] + [tails])
    lasts = np.concatenate([np.arange(width, len(came) + 1) for width in widths] + [np.full(len(tails), len(came))])
    best = int((evidence := _deficit(o[lasts] - o[firsts], e[lasts] - e[firsts])).argmax())
    if evidence[best] <= 0:
        return None
    first, last = int(firsts[best]), int(lasts[best])
    for _ in range(2):
        starts = np.arange(max(0, first - REFINE_BINS), min(last, first + REFINE_BINS))
        first = int(starts[_deficit(o[last] - o[starts], e[last] - e[starts]).argmax()])
        ends = np.arange(max(first + 1, last - REFINE_BINS), min(len(came), last + REFINE_BINS) + 1)
        last = int(ends[_deficit(o[ends] - o[first], e[ends] - e[first]).argmax()])
    return float(_deficit(o[last] - o[first], e[last] - e[first])), first, last


def _deficit(came: Floats, due: Floats) -> Floats:
    """Return the log likelihood ratio of fewer arrivals than due; 0 unless at most half came."""
    due = np.maximum(due, 1e-9)
    ratio: Floats = np.where(came < PARTIAL_RATIO * due, due - came + came * np.log(np.maximum(came, 1e-9) / due), 0.0)
    return ratio


def _span(stop: dict[str, Any], origin: datetime, taken_at: datetime) -> tuple[float, float]:
    start, end = stop["starts_at"], stop["ends_at"] or taken_at
    assert isinstance(start, datetime)  # noqa: S101 - built above
    assert isinstance(end, datetime)  # noqa: S101 - built above
    return (start - origin) / timedelta(minutes=1), (min(end, taken_at) - origin) / timedelta(minutes=1)


def _with_notices(
    channel: str,
    flows: tuple[_Flow, _Flow],
    found: list[dict[str, Any]],
    notices: list[dict[str, Any]],
    taken_at: datetime,
) -> list[dict[str, Any]]:
    """Return the stops of a channel: those found, named by the notice they overlap, and announced ones not found."""
    flow = flows[0]
    rows = [stop | {"channel": channel} for stop in found]
    for notice in notices:
        if notice["scope"] not in (None, ALL_CHANNELS) and channel not in notice["scope"]:
            continue
        start, end = _span(notice, flow.origin, taken_at)
        named = False
        for row in rows:
            begin, stop = _span(row, flow.origin, taken_at)
            if min(end, stop) - max(start, begin) > 0.5 * (stop - begin):
                row |= {"announced": True, "title": notice["title"]}
                named = True
        share = _announced_share(flows, start, end)
        if not named and share > 0:
            rows.append(_row(channel, notice["starts_at"], notice["ends_at"], share, notice["title"] or ""))
    return rows


def _announced_share(flows: tuple[_Flow, _Flow], start: float, end: float) -> float:
    """Return which share of arrivals an announced stop held up, by its channel or by all; 1 where too few were due."""
    for flow in flows:
        shift = (flows[0].origin - flow.origin) / timedelta(minutes=1)
        due = float(flow.due(end + shift) - flow.due(start + shift))
        if due >= MEANINGFUL:
            ratio = float(flow.arrived(end + shift) - flow.arrived(start + shift)) / due
            return 1 - ratio if ratio < PARTIAL_RATIO else 0.0
    return 1.0


class StoodStill:
    """How many minutes one channel stood still up to a moment, and which partial stops invoices slipped through.

    A partial stop holds an invoice up or it does not: one that arrived within it was not held, one still missing is
    taken as held; `held` is the share of those that a stop still open at the export holds.
    """

    def __init__(self, mine: pl.DataFrame, *, taken_at: datetime) -> None:
        """Take the stops of one channel, at least one."""
        origin = mine["starts_at"].min()
        assert isinstance(origin, datetime)  # noqa: S101 - at least one
        self._origin = origin
        starts = _minutes(mine["starts_at"], origin)
        ends = _minutes(mine["ends_at"].fill_null(taken_at).clip(None, taken_at), origin)
        self._marks = np.unique(np.concatenate([starts, ends]))
        inside = (starts[:, None] <= self._marks[None, :-1]) & (ends[:, None] >= self._marks[None, 1:])
        self._stood = np.concatenate([[0.0], np.cumsum(inside.any(axis=0) * np.diff(self._marks))])
        partial = mine["share"].to_numpy() < TOTAL
        still_open = mine["ends_at"].is_null().to_numpy() & partial
        self._partial = list(zip(starts[partial], ends[partial], strict=True))
        self.held = float(mine["share"].to_numpy()[still_open].max()) if still_open.any() else 1.0
        self._open_since = float(starts[still_open].min()) if still_open.any() else float(self._marks[-1])

    @property
    def total(self) -> float:
        """Minutes stood still up to the export."""
        return float(self._stood[-1])

    def until(self, moments: pl.Series) -> pl.Series:
        """Return the minutes stood still up to each moment; null stays null."""
        stood = np.interp(self._numbers(moments), self._marks, self._stood)
        return _masked(stood, moments)

    def slipped(self, issued: pl.Series, arrived: pl.Series) -> pl.Series:
        """Return the minutes of partial stops that an invoice lived through without being held: it arrived within."""
        since, at = self._numbers(issued), self._numbers(arrived)
        back = np.zeros(len(at))
        for start, end in self._partial:
            back += np.where((at >= start) & (at < end), np.minimum(at - start, np.maximum(at - since, 0)), 0)
        return _masked(back, arrived)

    def loose(self, issued: pl.Series) -> pl.Series:
        """Return the minutes of a partial stop still open that an invoice not held would have lived through."""
        return _masked(self._marks[-1] - np.maximum(self._numbers(issued), self._open_since), issued)

    def _numbers(self, moments: pl.Series) -> Floats:
        return _minutes(moments.fill_null(self._origin), self._origin)


def _masked(values: Floats, moments: pl.Series) -> pl.Series:
    return pl.Series("stood", values).to_frame().select(pl.when(pl.lit(moments.is_not_null())).then("stood"))["stood"]
