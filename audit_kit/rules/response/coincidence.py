"""Whether machines were over their thresholds when something went wrong, more than chance would have it.

Time is cut into hours. The odds of trouble in an hour over a threshold stand against those in the rest of the time. How
often chance alone gives as many common hours is counted by shifting the measurements round against the troubles by
every whole number of hours: what lasts long, on either side, meets by chance as often as it does so then.
"""

from __future__ import annotations

import math
from datetime import timedelta
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from audit_kit.rules.proofs.deeds import plain_number

if TYPE_CHECKING:
    from datetime import datetime

    from numpy.typing import NDArray

    from audit_kit.rules.response.response_evidence import ResponseEvidence

EVENTS = ("stop", "lost_batch", "failed_upload")
COINCIDENCES = {
    "metric": pl.String(),
    "event": pl.String(),
    "both": pl.UInt32(),
    "over": pl.UInt32(),
    "trouble": pl.UInt32(),
    "hours": pl.UInt32(),
    "meetings": pl.UInt32(),
    "odds": pl.Float64(),
    "p": pl.Float64(),
    "more_than_chance": pl.Boolean(),
}
HOUR_S = 3600
LEAST_HOURS = 48
ODDS = 3.0
MEETINGS = 2  # that two things met once says nothing
CHANCE = 0.05  # of all pairs together: Bonferroni
SPANS = {"event": pl.String(), "starts_at": pl.Datetime("us"), "ends_at": pl.Datetime("us")}


def troubles(evidence: ResponseEvidence) -> pl.DataFrame:
    """Return what went wrong and when: `event` (stop, lost_batch, failed_upload), `starts_at`, `ends_at`."""
    found = [pl.DataFrame(schema=SPANS)]
    if evidence.stops.height:
        end = pl.col("ends_at").fill_null(pl.lit(evidence.taken_at))
        stops = evidence.stops.select(event=pl.lit("stop"), starts_at="starts_at", ends_at=end)
        found.append(stops.unique())  # one that stops several channels is one
    lost = evidence.findings.filter(pl.col("cause") == "batch_lost").select("ledger_row", "subject")
    issued = evidence.booked.select("ledger_row", "issued_at")
    spans = lost.join(issued, on="ledger_row", how="inner").drop_nulls().group_by("subject")
    batches = spans.agg(starts_at=pl.col("issued_at").min(), ends_at=pl.col("issued_at").max())
    found.append(batches.select(event=pl.lit("lost_batch"), starts_at="starts_at", ends_at="ends_at"))
    failed = evidence.sync_log.filter((pl.col("event") == "failed") & pl.col("at").is_not_null())
    failed = failed.unique(["invoice_number", "at"], maintain_order=True).with_columns(plain_number("invoice_number"))
    found.append(failed.select(event=pl.lit("failed_upload"), starts_at="at", ends_at="at"))
    spans_of = [part.cast(pl.Schema(SPANS)) for part in found]
    return pl.concat(spans_of).sort("starts_at", "event", "ends_at")


def coincidences(evidence: ResponseEvidence, episodes: pl.DataFrame, readings: pl.DataFrame) -> pl.DataFrame:
    """Return, for each metric and kind of trouble, how they fall together: see `COINCIDENCES`.

    `hours` that were measured, of them `over` a threshold (of any host), in `trouble`, and `both`, in so many
    `meetings`; `odds`: ratio of the odds of trouble over the threshold to those of the rest; `p`: share of shifts with
    as many common hours.
    """
    held = evidence.once(troubles)
    rows = []
    for name, part in readings.group_by("metric", maintain_order=True):
        metric = str(name[0])
        times = part["at"].sort()
        start: datetime = times[0]
        end: datetime = times[-1]
        hours = int((end - start).total_seconds() // HOUR_S) + 1
        mine = episodes.filter(pl.col("metric") == metric)
        over = _hours(start, hours, mine["starts_at"], mine["ends_at"].fill_null(mine["until"]))
        for event in EVENTS:
            some = held.filter(pl.col("event") == event)
            trouble = _hours(start, hours, some["starts_at"], some["ends_at"])
            if hours >= LEAST_HOURS and over.any() and trouble.any():
                rows.append({"metric": metric, "event": event, **_met(over, trouble)})
    table = pl.DataFrame(rows, schema={name: kind for name, kind in COINCIDENCES.items() if name != "more_than_chance"})
    more = (pl.col("meetings") >= MEETINGS) & (pl.col("odds") > ODDS) & (pl.col("p") * pl.len() < CHANCE)
    return table.with_columns(more_than_chance=more).sort("metric", "event")


def _hours(start: datetime, hours: int, starts: pl.Series, ends: pl.Series) -> NDArray[np.bool_]:
    """Return which hours from the start on are touched by any of these spans."""
    touched = np.zeros(hours, dtype=bool)
    for first, last in zip(starts, ends, strict=True):
        if last >= start and first < start + timedelta(hours=hours):
            begin = int(max((first - start).total_seconds(), 0) // HOUR_S)
            seconds = (last - start).total_seconds()
            touched[begin : max(begin + 1, math.ceil(seconds / HOUR_S))] = True
    return touched


def _met(over: NDArray[np.bool_], trouble: NDArray[np.bool_]) -> dict[str, float]:
    common = (over & trouble).astype(np.int8)
    both = int(common.sum())
    only_over, only_trouble = int(over.sum()) - both, int(trouble.sum()) - both
    neither = len(over) - both - only_over - only_trouble
    odds = (both + 0.5) * (neither + 0.5) / ((only_over + 0.5) * (only_trouble + 0.5))
    spectrum = np.fft.rfft(over) * np.conj(np.fft.rfft(trouble))
    shifted = np.rint(np.fft.irfft(spectrum, n=len(over)))
    return {
        "both": both,
        "over": int(over.sum()),
        "trouble": int(trouble.sum()),
        "hours": len(over),
        "meetings": int((np.diff(common, prepend=0) == 1).sum()),
        "odds": float(odds),
        "p": float((shifted >= both).mean()),
    }
