"""What missing invoices have in common: runs in the order of issue, windows in time, levels of an account or channel.

All three compare what is missing with what was to be expected. `expected` is the chance that a row is missing though
nothing is wrong with it: its survival at its age. So young invoices in a slow channel raise no alarm.
"""

from __future__ import annotations

import math
from datetime import timedelta
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from audit_kit.core.schema import ALL_CHANNELS
from audit_kit.rules.sync.curves import CONFIDENCE_Z, total

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

RUN_SHORTEST = 8  # fewer consecutive missing invoices are no batch
RUN_EVIDENCE = 9.2  # log odds beyond the log of the number of rows: one false run in 10,000 months
RUN_SHARE = 0.97  # share of a lost batch that is missing
RUN_TELLING, RUN_TELLING_LAST = 0.2, 0.05
EXPECTED_FLOOR = 0.002
SERIAL_SAMPLE = 1000
BIN_MINUTES = 30
WINDOW_BINS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 60, 72, 96)
REFINE_BINS = 24
GAP_BINS = max(WINDOW_BINS) + 3 * REFINE_BINS
WINDOW_EVIDENCE = 9.2  # log likelihood ratio beyond the log of the number of windows
WINDOW_RATIO = 3.0  # missing per missing expected
WINDOW_LEAST = 5.0  # missing beyond expectation
ODDS = 3.0
FALSE_DISCOVERY = 0.01
LEVEL_LEAST = 5
TAIL_TERMS = 5000

RUNS: dict[str, pl.DataType] = {
    "channel": pl.String(),
    "first_row": pl.UInt32(),
    "last_row": pl.UInt32(),
    "first_at": pl.Datetime("us"),
    "last_at": pl.Datetime("us"),
    "issued": pl.UInt32(),
    "missing": pl.UInt32(),
    "expected": pl.Float64(),
    "evidence": pl.Float64(),
    "rows": pl.List(pl.UInt32),
}
WINDOWS: dict[str, pl.DataType] = {
    "channel": pl.String(),
    "starts_at": pl.Datetime("us"),
    "ends_at": pl.Datetime("us"),
    "issued": pl.UInt32(),
    "missing": pl.UInt32(),
    "expected": pl.Float64(),
    "evidence": pl.Float64(),
}
LEVELS: dict[str, pl.DataType] = {
    "dimension": pl.String(),
    "level": pl.String(),
    "issued": pl.UInt32(),
    "missing": pl.UInt32(),
    "others_issued": pl.UInt32(),
    "others_missing": pl.UInt32(),
    "odds_ratio": pl.Float64(),
    "odds_lower": pl.Float64(),
    "p": pl.Float64(),
    "q": pl.Float64(),
    "excess": pl.Float64(),
    "stands_out": pl.Boolean(),
}


def in_issue_order(rows: pl.DataFrame) -> pl.DataFrame:
    """Return the rows in the company's own issue order within each channel: by serial where all have one, else by time.

    Serials are compared by their last run of digits, since 2025-9 comes before 2025-10; serials that count anew for
    each of several prefixes are no order of a channel.
    """
    rows, by = rows.sort("ledger_row"), "issued_at"
    if "serial" in rows.columns and rows["serial"].null_count() == 0:
        order = rows["serial"].str.extract(r"(\d{1,18})\D*$").cast(pl.Int64, strict=False).alias("order")
        sample = rows.gather_every(max(1, rows.height // SERIAL_SAMPLE))
        prefixes = sample.select("channel", prefix=pl.col("serial").str.replace(r"\d{1,18}\D*$", "")).n_unique()
        if order.null_count() == 0 and prefixes <= rows["channel"].n_unique():
            rows, by = rows.with_columns(order), "order"
    # Channel by channel, each by one key, takes a fifth of the time of one sort by several.
    parts = [
        part.sort(by, nulls_last=True, maintain_order=True)
        for part in rows.partition_by("channel", maintain_order=True)
    ]
    return pl.concat([rows.clear(), *parts], rechunk=True).drop("order", strict=False)


def runs(rows: pl.DataFrame) -> pl.DataFrame:
    """Return stretches of consecutive issues within a channel that are missing far beyond the local expectation.

    Args:
        rows: `ledger_row`, `channel`, `issued_at`, `missing`, `expected`; optional `serial`. Rows that another cause
            explains are left out before, so that they do not break a run.

    Returns:
        `channel`, `first_row`, `last_row`, `first_at`, `last_at`, `issued`, `missing`, `expected`, `evidence` (log odds
        of a lost batch), `rows` (the missing ledger rows).
    """
    ordered = in_issue_order(rows.filter(pl.col("channel").is_not_null()))
    if ordered.is_empty():
        return pl.DataFrame(schema=RUNS)
    expected = ordered["expected"].clip(EXPECTED_FLOOR, 1).to_numpy()
    missing = ordered["missing"].to_numpy()
    present = np.log((1 - RUN_SHARE) / np.maximum(1 - expected, 1e-3))
    # What may be missing anyhow is no evidence, for invoices that wait for one upload wait together; least of all where
    # nothing of the channel has arrived since.
    last = ordered.select((~pl.col("missing")).cum_sum(reverse=True).over("channel") == 0)["missing"].to_numpy()
    telling = expected < np.where(last, RUN_TELLING_LAST, RUN_TELLING)
    gain = np.where(telling, np.log(RUN_SHARE / expected), 0.0)
    score = np.where(missing, gain, np.minimum(present, 0.0))
    breaks = ordered.select((pl.col("channel") != pl.col("channel").shift()).fill_null(value=True))[
        "channel"
    ].to_numpy()
    needed = RUN_EVIDENCE + math.log(ordered.height)
    found = [
        (first, last, weight)
        for first, last, weight in _segments(score, missing, breaks)
        if weight >= needed and int(missing[first : last + 1].sum()) >= RUN_SHORTEST
    ]
    return pl.DataFrame([_run(ordered[first : last + 1], weight) for first, last, weight in found], schema=RUNS)


def _run(part: pl.DataFrame, evidence: float) -> dict[str, object]:
    gone = part.filter("missing")
    return {
        "channel": part["channel"][0],
        "first_row": gone["ledger_row"][0],
        "last_row": gone["ledger_row"][-1],
        "first_at": part["issued_at"].min(),
        "last_at": part["issued_at"].max(),
        "issued": part.height,
        "missing": gone.height,
        "expected": float(part["expected"].rechunk().sum()),
        "evidence": evidence,
        "rows": gone["ledger_row"].to_list(),
    }


def _segments(score: Floats, missing: NDArray[np.bool_], breaks: NDArray[np.bool_]) -> list[tuple[int, int, float]]:
    """Return the stretches of highest total score, none across a break; each starts and ends with a missing row."""
    total = np.concatenate([[0.0], np.cumsum(score)])
    group = np.cumsum(breaks)
    at = np.flatnonzero(missing)
    segments: list[tuple[int, int, float]] = []
    start, best_end, best, low = -1, -1, 0.0, 0.0
    current = -1
    for index in at.tolist():
        if start >= 0 and (group[index] != current or total[index] < low):
            segments.append((start, best_end, best))
            start = -1
        if start < 0:
            start, low, best, current = index, float(total[index]), 0.0, int(group[index])
        weight = float(total[index + 1]) - low
        if weight > best:
            best, best_end = weight, index
        elif best - weight > 12:  # noqa: PLR2004 - past its peak: what follows is another stretch
            segments.append((start, best_end, best))
            start, low, best, best_end, current = (
                index,
                float(total[index]),
                float(score[index]),
                index,
                int(group[index]),
            )
    if start >= 0:
        segments.append((start, best_end, best))
    return segments


def windows(rows: pl.DataFrame) -> pl.DataFrame:
    """Return the times of issue in which far more is missing than expected, per channel and over all channels.

    Args:
        rows: `channel`, `issued_at`, `missing`, `expected`.

    Returns:
        `channel` ("全部" for all), `starts_at`, `ends_at`, `issued`, `missing`, `expected`, `evidence` (log likelihood
        ratio); windows of one channel do not overlap.
    """
    timed = rows.filter(pl.col("issued_at").is_not_null())
    if timed.is_empty():
        return pl.DataFrame(schema=WINDOWS)
    crowded = timed.filter(pl.col("channel").is_in(_crowded(timed).implode()))
    parts = crowded.partition_by("channel", maintain_order=True)
    scans = [(ALL_CHANNELS, timed)] + [(part["channel"][0], part) for part in parts]
    found = [window for name, part in scans for window in _scan(name, part)]
    return pl.DataFrame(found, schema=WINDOWS).sort("evidence", descending=True, maintain_order=True)


def _crowded(timed: pl.DataFrame) -> pl.Series:
    """Return the channels of which some window, its ends refined, may hold as many missing as one must."""
    gone = timed.filter("missing").sort("issued_at", maintain_order=True)
    span = pl.col("issued_at") - pl.col("issued_at").shift(int(WINDOW_LEAST)).over("channel")
    return gone.filter(span <= timedelta(minutes=BIN_MINUTES * (max(WINDOW_BINS) + 4 * REFINE_BINS)))["channel"]


def _scan(name: str, rows: pl.DataFrame) -> list[dict[str, object]]:
    """Return the windows of one channel by a likelihood-ratio scan over half hours."""
    bins = _half_hours(rows)
    missing = bins["missing"].cast(pl.Float64).to_numpy().copy()
    expected = bins["expected"].to_numpy().copy()
    span = int((bins["at"][-1] - bins["at"][0]) / timedelta(minutes=BIN_MINUTES)) + 1
    needed = WINDOW_EVIDENCE + math.log(span * len(WINDOW_BINS))
    found: list[dict[str, object]] = []
    for _ in range(12):
        best = _fullest(missing, expected)
        if best is None or best[0] < needed:
            break
        evidence, first, last = best
        part = bins[first:last]
        found.append(
            {
                "channel": name,
                "starts_at": part["at"][0],
                "ends_at": part["at"].dt.offset_by(f"{BIN_MINUTES}m")[-1],
                "issued": int(part["issued"].sum()),
                "missing": int(missing[first:last].sum()),
                "expected": float(expected[first:last].sum()),
                "evidence": evidence,
            }
        )
        missing[first:last] = expected[first:last] = 0.0
    return found


def _half_hours(rows: pl.DataFrame) -> pl.DataFrame:
    """Return `at`, `issued`, `missing`, `expected` of the half hours from the first issue to the last.

    Of a gap that no window can bridge only as much is laid out as windows and their refined ends may reach.
    """
    width = timedelta(minutes=BIN_MINUTES)
    held = (
        rows.group_by(at=pl.col("issued_at").dt.truncate(f"{BIN_MINUTES}m"))
        .agg(issued=pl.len(), missing=pl.col("missing").sum(), expected=total(pl.col("expected")))
        .sort("at")
    )
    reach = GAP_BINS * width
    at, following = pl.col("at"), pl.col("at").shift(-1)
    gap = following - at > 2 * reach
    behind = held.select("at", end=pl.when(gap).then(at + reach).otherwise(following.fill_null(at)))
    before = held.select(at=following - reach, end=following, gap=gap)
    stretches = pl.concat([behind, before.filter("gap").select("at", "end")])
    every = stretches.select(pl.datetime_ranges("at", "end", f"{BIN_MINUTES}m", closed="both").explode()).to_series()
    bins = every.unique().sort().alias("at").to_frame().join(held, on="at", how="left", maintain_order="left")
    return bins.with_columns(pl.col("issued", "missing", "expected").fill_null(0))


def _fullest(missing: Floats, expected: Floats) -> tuple[float, int, int] | None:
    """Return evidence, first bin and bin after the last of the fullest window: of set widths, then its ends refined."""
    gone = np.concatenate([[0.0], np.cumsum(missing)])
    due = np.concatenate([[0.0], np.cumsum(expected)])
    widths = [width for width in WINDOW_BINS if width <= len(missing)]
    firsts = np.concatenate([np.arange(len(missing) - width + 1) for width in widths])
    lasts = np.concatenate([np.arange(width, len(missing) + 1) for width in widths])
    best = int(_excess(gone[lasts] - gone[firsts], due[lasts] - due[firsts]).argmax())
    first, last = int(firsts[best]), int(lasts[best])
    for _ in range(2):
        starts = np.arange(max(0, first - REFINE_BINS), min(last, first + REFINE_BINS))
        first = int(starts[_excess(gone[last] - gone[starts], due[last] - due[starts]).argmax()])
        ends = np.arange(max(first + 1, last - REFINE_BINS), min(len(missing), last + REFINE_BINS) + 1)
        last = int(ends[_excess(gone[ends] - gone[first], due[ends] - due[first]).argmax()])
    evidence = float(_excess(gone[last] - gone[first], due[last] - due[first]))
    return (evidence, first, last) if evidence > 0 else None


def _excess(missing: Floats, expected: Floats) -> Floats:
    """Return the log likelihood ratio of more missing than expected; 0 unless they are clearly more."""
    expected = np.maximum(expected, 0.05)
    stands = (missing > WINDOW_RATIO * expected) & (missing - expected >= WINDOW_LEAST)
    ratio = missing * np.log(np.maximum(missing, 1e-9) / expected) - (missing - expected)
    return np.asarray(np.where(stands, ratio, 0.0), dtype=np.float64)


def levels(rows: pl.DataFrame, dimensions: Sequence[str] = ("account", "channel", "kind")) -> pl.DataFrame:
    """Return for each level how many are missing against all others: one-sided Fisher, Benjamini–Hochberg.

    Args:
        rows: `missing` and the dimensions; rows too young to tell, or explained before, are left out by the caller.
        dimensions: columns whose values are levels.

    Returns:
        `dimension`, `level`, `issued`, `missing`, `others_issued`, `others_missing`, `odds_ratio`, `odds_lower` (95 %),
        `p`, `q`, `excess` (missing beyond the others' rate), `stands_out` (odds ratio > 3 and q < 0.01).
    """
    tables = [
        rows.filter(pl.col(name).is_not_null())
        .group_by(level=pl.col(name).cast(pl.String))
        .agg(issued=pl.len(), missing=pl.col("missing").sum())
        .select(pl.lit(name).alias("dimension"), "level", "issued", "missing")
        for name in dimensions
        if name in rows.columns
    ]
    if not tables:
        return pl.DataFrame(schema=LEVELS)
    table = pl.concat(tables).with_columns(
        others_issued=pl.col("issued").sum().over("dimension") - pl.col("issued"),
        others_missing=pl.col("missing").sum().over("dimension") - pl.col("missing"),
    )
    a, b = pl.col("missing") + 0.5, pl.col("issued") - pl.col("missing") + 0.5
    c, d = pl.col("others_missing") + 0.5, pl.col("others_issued") - pl.col("others_missing") + 0.5
    table = table.with_columns(odds_ratio=a * d / (b * c), spread=(1 / a + 1 / b + 1 / c + 1 / d).sqrt())
    counts = table.select("missing", "issued", "others_missing", "others_issued").iter_rows()
    p = [fisher(*count) if count[0] else 1.0 for count in counts]
    table = table.with_columns(
        p=pl.Series(p, dtype=pl.Float64),
        odds_lower=pl.col("odds_ratio") * (-CONFIDENCE_Z * pl.col("spread")).exp(),
        excess=pl.col("missing") - pl.col("issued") * pl.col("others_missing") / pl.col("others_issued").clip(1),
    )
    table = table.with_columns(q=false_discovery(table["p"]))
    stands = (pl.col("odds_ratio") > ODDS) & (pl.col("q") < FALSE_DISCOVERY) & (pl.col("missing") >= LEVEL_LEAST)
    return (
        table.with_columns(stands_out=stands)
        .select(pl.col(name).cast(dtype) for name, dtype in LEVELS.items())
        .sort("q", "dimension", "level")
    )


def fisher(missing: int, issued: int, others_missing: int, others_issued: int) -> float:
    """Return the chance of so many missing or more in a level, given the totals: the hypergeometric tail."""
    all_missing, everyone = missing + others_missing, issued + others_issued
    most = min(issued, all_missing)
    if missing <= max(0, all_missing - others_issued):
        return 1.0
    first = _choose(issued, missing) + _choose(others_issued, all_missing - missing) - _choose(everyone, all_missing)
    k = np.arange(missing, min(most, missing + TAIL_TERMS), dtype=np.float64)
    steps = np.log((issued - k) * (all_missing - k)) - np.log((k + 1) * (others_issued - all_missing + k + 1))
    return min(1.0, float(np.exp(first + np.concatenate([[0.0], np.cumsum(steps)])).sum()))


def _choose(n: int, k: int) -> float:
    return math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)


def false_discovery(p: pl.Series) -> pl.Series:
    """Return Benjamini–Hochberg q-values."""
    values = p.to_numpy()
    order = np.argsort(values)
    ranked = values[order] * len(values) / np.arange(1, len(values) + 1)
    q = np.empty(len(values))
    q[order] = np.minimum(np.minimum.accumulate(ranked[::-1])[::-1], 1.0)
    return pl.Series("q", q)
