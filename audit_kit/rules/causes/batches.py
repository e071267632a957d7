"""Lost batches: a run of consecutive issues of a channel, or an upload batch, of which next to nothing arrived."""

from __future__ import annotations

import math
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from audit_kit.core.schema import ALL_CHANNELS
from audit_kit.rules.causes.evidence import moment
from audit_kit.rules.causes.patterns import (
    BIN_MINUTES,
    EXPECTED_FLOOR,
    RUN_EVIDENCE,
    RUN_SHARE,
    WINDOW_LEAST,
    WINDOW_RATIO,
    runs,
)
from audit_kit.rules.causes.population import with_ledger, without
from audit_kit.rules.sync.curves import total, typed

if TYPE_CHECKING:
    from audit_kit.rules.causes.evidence import Case

IN_STOP = 0.9  # within an announced stop a missing invoice is nothing unusual for its channel
BATCH_LEAST = 5  # invoices of an upload batch from which its loss can be told
RUN_LEAST_SHARE = 0.9  # a stretch in which fewer are missing is no lost batch; windows look at it
OTHERS_LEAST = 3  # invoices of other channels missing beyond expectation that make a half hour suspect for all,
OTHERS_SPREAD = 2.0  # where so many standard deviations are still chance
OTHERS_SHARE = 0.5
AROUND_SHARE = 0.3

HITS = {
    "ledger_row": pl.UInt32(),
    "subject": pl.String(),
    "what": pl.String(),
    "name": pl.String(),
    "first_at": pl.Datetime("us"),
    "last_at": pl.Datetime("us"),
    "count": pl.UInt32(),
    "issued": pl.UInt32(),
    "expected": pl.Float64(),
    "lost_share": pl.Float64(),
    "group": pl.Float64(),
}


def batch_lost(case: Case) -> pl.DataFrame:
    """A run of consecutive issues within a channel, or an upload batch, is missing far beyond the local expectation."""
    local = _local(case)
    around = _Around(case.population)
    found = runs(with_ledger(local, case, "serial")).filter(pl.col("missing") >= RUN_LEAST_SHARE * pl.col("issued"))
    hits = _hits(around.alone(found), "run", "channel")
    rest = without(local, case, hits["ledger_row"])
    batches = around.alone(_upload_batches(case, rest))
    hits = pl.concat([hits, _hits(batches, "batch", "batch")])
    return case.missing.join(hits, on="ledger_row", how="inner", maintain_order="left")


def _hits(found: pl.DataFrame, what: str, name: str) -> pl.DataFrame:
    """Return the missing rows of what was lost together, with what is known of it: see HITS."""
    hits = found.select(
        pl.col("rows").alias("ledger_row"),
        subject=name if what == "batch" else pl.format("{} {}", name, moment("first_at")),
        what=pl.lit(what),
        name=name,
        first_at="first_at",
        last_at="last_at",
        count="missing",
        issued="issued",
        expected="expected",
        lost_share=(pl.col("missing") + 0.5) / (pl.col("issued") + 1),
        group="issued",
    ).explode("ledger_row")
    return typed(hits, HITS)


def _local(case: Case) -> pl.DataFrame:
    """Return the population with what is expected locally: no less than other channels miss in the same half hour.

    Of what they miss only that counts which their own delays do not let expect.
    """
    people = case.population
    around = _missed_around(people)
    floor = pl.when(_in_announced_stop(case)).then(IN_STOP).otherwise(0.0)
    return people.select(
        "ledger_row",
        "channel",
        "issued_at",
        "missing",
        expected=pl.max_horizontal("expected", around, floor),
    )


def _missed_around(people: pl.DataFrame) -> pl.Series:
    """Return the share that other channels miss beyond expectation in the half hour of each row, where it is clear."""
    slot = people.select(pl.col("issued_at").to_physical() // (BIN_MINUTES * 60_000_000)).to_series()
    places = people.select(slot.rank("dense").alias("slot"), channel=pl.col("channel").rank("dense").fill_null(0))
    half_hour = places["slot"].to_numpy().astype(np.int64)
    cells = places.select(pl.col("slot").cast(pl.Int64) * (pl.col("channel").max() + 1) + pl.col("channel"))
    cell = cells.to_series().rank("dense").to_numpy().astype(np.int64)
    counts = {"issued": None, "gone": people["missing"].to_numpy(), "due": people["expected"].to_numpy()}
    # Only the cells that hold rows are counted: half hours times channels may be far more than there are rows.
    others, lost, usual = (
        np.bincount(half_hour, weights)[half_hour] - np.bincount(cell, weights)[cell] for weights in counts.values()
    )
    excess = lost - usual - OTHERS_SPREAD * np.sqrt(usual.clip(0))
    around = np.where(excess >= OTHERS_LEAST, excess / np.maximum(others - usual, 1), 0.0)
    return pl.Series("around", around, dtype=pl.Float64)


def _in_announced_stop(case: Case) -> pl.Expr:
    """Return which rows were issued in an announced stop that held most of their channel up."""
    within = pl.lit(value=False)
    for stop in case.evidence.stops.filter((pl.col("share") > OTHERS_SHARE) & pl.col("announced")).iter_rows(
        named=True
    ):
        end = stop["ends_at"] or case.evidence.taken_at
        mine = pl.lit(stop["channel"] == ALL_CHANNELS) | (pl.col("channel") == stop["channel"])
        within |= mine & pl.col("issued_at").is_between(stop["starts_at"], end, closed="left")
    return within


def _upload_batches(case: Case, local: pl.DataFrame) -> pl.DataFrame:
    """Return the upload batches that were lost as a whole: columns of `patterns.runs` and `batch`."""
    log = case.evidence.sync_log.filter(pl.col("batch").is_not_null())
    gone = case.missing["invoice_key"].drop_nulls()
    hit = log.filter(pl.col("invoice_number").is_in(gone.implode()))
    hit = hit.group_by("batch").agg(n=pl.col("invoice_number").n_unique()).filter(pl.col("n") >= BATCH_LEAST)
    named = log.filter(pl.col("batch").is_in(hit["batch"].implode()))
    named = named.select(invoice_key="invoice_number", batch="batch").unique("invoice_key", keep="last")
    keys = case.evidence.matches.filter(pl.col("ledger_row").is_not_null()).select("ledger_row", "invoice_key")
    rows = local.join(
        keys.join(named, on="invoice_key").select("ledger_row", "batch"), on="ledger_row", maintain_order="left"
    )
    expected = pl.col("expected").clip(EXPECTED_FLOOR, 0.999)
    there = ((1 - RUN_SHARE) / (1 - expected)).log()
    sums = rows.group_by("batch").agg(
        pl.col("channel").first(),
        total(pl.col("expected")),
        pl.col("missing").sum(),
        score=total(pl.when("missing").then((RUN_SHARE / expected).log()).otherwise(there)),
        issued=pl.len(),
        first_at=pl.col("issued_at").min(),
        last_at=pl.col("issued_at").max(),
        rows=pl.col("ledger_row").filter("missing"),
    )
    return sums.filter(
        (pl.col("score") > RUN_EVIDENCE + math.log(sums.height + 1))
        & (pl.col("missing") >= BATCH_LEAST)
        & (pl.col("missing") >= RUN_LEAST_SHARE * pl.col("issued"))
    ).sort("first_at", "batch")


class _Around:
    """What else was issued near a run."""

    def __init__(self, people: pl.DataFrame) -> None:
        self._people = people.select("issued_at", "ledger_row", "channel", "missing", "undisturbed")
        self._sorted = False

    def alone(self, found: pl.DataFrame) -> pl.DataFrame:
        """Return the runs during which the other channels went on as usual, and before and after which its own did.

        Where they did not, a stop is the better explanation, and windows look at it. A stop of all channels before or
        after the run is another story.
        """
        if found.height and not self._sorted:
            self._people = self._people.sort("issued_at", maintain_order=True)
            self._sorted = True
        in_runs = found["rows"].explode().unique().implode()
        others = self._people.filter(~pl.col("ledger_row").is_in(in_runs))
        alone = [_is_alone(run, others) for run in found.iter_rows(named=True)]
        return found.filter(pl.Series(alone, dtype=pl.Boolean))


def _is_alone(run: dict[str, Any], others: pl.DataFrame) -> bool:
    """Say of one run whether it is alone; `others` are the rows in no run, by time."""
    start, end = run["first_at"], run["last_at"]
    spread = max(timedelta(minutes=2 * BIN_MINUTES), end - start)
    times = others["issued_at"]
    first = int(times.search_sorted(start - spread, side="left"))
    last = int(times.search_sorted(end + spread, side="right"))
    near = others[first:last]
    own, at = pl.col("channel") == run["channel"], pl.col("issued_at")
    if _stands_out(near.filter(~own & at.is_between(start, end)), OTHERS_SHARE):
        return False
    sides = (near.filter(at < start), near.filter(at > end))
    return not any(
        _stands_out(side.filter(own), AROUND_SHARE) and not _stands_out(side.filter(~own), AROUND_SHARE)
        for side in sides
    )


def _stands_out(rows: pl.DataFrame, share: float) -> bool:
    gone, usual = int(rows["missing"].sum()), float(rows["undisturbed"].rechunk().sum())
    return gone >= WINDOW_LEAST and gone > WINDOW_RATIO * usual and gone > share * rows.height
