"""Curves of the time to visibility: Kaplan–Meier, Turnbull, current status, reverse time, a mixture with a lost share.

Minutes are minutes of delay. Survival is the share not yet visible after that many minutes; what never comes down is
the plateau, the share that is lost. Every curve starts at minute 0 with survival 1 and ends at the longest delay or
age seen.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import polars as pl

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

CONFIDENCE_Z = 1.959963984540054  # 95 %, two-sided
FEW_BLOCKS = 1000  # blocks that are pooled one by one
SLOW = 0.9  # of the blocks are left after a round that pooled few
TURNBULL_POINTS = 1500  # more endpoints than this are rounded to a grid of this many
TURNBULL_ROUNDS = 5000
MIXTURE_BINS = 200
MIXTURE_ROUNDS = 200
MIXTURE_STILL = 1e-3  # gain in log likelihood
SMALLEST_SPREAD, LARGEST_SPREAD = 0.05, 5.0
SHORTEST_MINUTES = 0.5
LIMIT = 37.0  # beyond so many standard deviations a normal tail is nothing in double precision
TINY = 1e-300

CURVES: dict[str, pl.DataType] = {
    "minutes": pl.Float64(),
    "at_risk": pl.Float64(),
    "events": pl.Float64(),
    "survival": pl.Float64(),
    "lower": pl.Float64(),
    "upper": pl.Float64(),
    "method": pl.String(),
}


def survival(observations: pl.DataFrame, *, by: str = "channel") -> pl.DataFrame:
    """Return the share not yet visible after each delay, per stratum.

    Args:
        observations: `by`, `minutes` (delay of a visible invoice, age of one not yet visible), `visible`; optional
            `weight` (how many invoices a row stands for) and `since` (the delay is known only to lie above it).
        by: the column of the strata.

    Returns:
        `by`, `minutes`, `at_risk`, `events`, `survival`, `lower`, `upper` (95 %, log–log), `method` (`km` exact delays
        and right-censored ages; `status` only present or absent at one age is known; `interval` between two exports),
        sorted by stratum and minutes. Rows without minutes are left out.
    """
    known = observations.filter(pl.col("minutes").is_not_null() & pl.col(by).is_not_null())
    if "weight" not in known.columns:
        known = known.with_columns(weight=pl.lit(1.0))
    if "since" not in known.columns:
        known = known.with_columns(since=pl.lit(None, pl.Float64))
    known = known.with_columns(loose=pl.col("since").is_not_null().any().over(by))
    exact = kaplan_meier(known.filter(~pl.col("loose")), by=by)
    loose = known.filter("loose").sort(by, maintain_order=True).partition_by(by, maintain_order=True)
    parts = [exact, *(_stratum(part).select(pl.lit(part[by][0]).alias(by), pl.all()) for part in loose)]
    return pl.concat(parts).sort(by, "minutes", maintain_order=True)


def total(values: pl.Expr) -> pl.Expr:
    """Return the sum of a group's floats, to the last bit the same whatever the order of rows or number of threads."""
    return values.sort().sum()


def kaplan_meier(observations: pl.DataFrame, *, by: str) -> pl.DataFrame:
    """Return the product-limit curve per stratum, with Greenwood's variance on the log–log scale: see `survival`."""
    counts = (
        observations.group_by(by, pl.col("minutes").cast(pl.Float64))
        .agg(
            leaving=total(pl.col("weight").cast(pl.Float64)),
            events=total(pl.col("weight").filter("visible").cast(pl.Float64)),
        )
        .sort(by, "minutes")
        .with_columns(at_risk=pl.col("leaving").cum_sum(reverse=True).over(by))
    )
    steps = counts.with_columns(
        survival=(1 - pl.col("events") / pl.col("at_risk")).clip(0).cum_prod().over(by),
        variance=pl.when(pl.col("at_risk") > pl.col("events"))
        .then(pl.col("events") / (pl.col("at_risk") * (pl.col("at_risk") - pl.col("events"))))
        .otherwise(0.0)
        .cum_sum()
        .over(by),
        last=pl.col("minutes") == pl.col("minutes").max().over(by),
    ).filter((pl.col("events") > 0) | pl.col("last"))
    start = counts.group_by(by).agg(pl.col("at_risk").max()).filter(pl.col("at_risk") > 0)
    start = start.select(
        by,
        *(pl.lit(value).alias(name) for name, value in (("minutes", 0.0), ("events", 0.0), ("survival", 1.0))),
        "at_risk",
        variance=pl.lit(0.0),
    ).join(steps.filter(pl.col("minutes") == 0), on=[by, "minutes"], how="anti")
    columns = [by, "minutes", "at_risk", "events", "survival", "variance"]
    curve = pl.concat([steps.select(columns), start.select(columns)])
    return _with_band(curve).select(by, *CURVES).sort(by, "minutes")


def _with_band(curve: pl.DataFrame) -> pl.DataFrame:
    """Add `lower`, `upper` from the survival and Greenwood's sum: log–log, so the band stays within 0 and 1."""
    inner = (pl.col("survival") > 0) & (pl.col("survival") < 1)
    log = pl.col("survival").log()
    spread = CONFIDENCE_Z * pl.col("variance").sqrt() / log
    return curve.with_columns(
        lower=pl.when(inner).then(-((-log).log() - spread).exp()).otherwise(pl.col("survival").log()).exp(),
        upper=pl.when(inner).then(-((-log).log() + spread).exp()).otherwise(pl.col("survival").log()).exp(),
        method=pl.lit("km"),
    )


def quantiles(
    curves: pl.DataFrame, shares: Sequence[float] = (0.5, 0.9, 0.95, 0.99), *, by: str = "channel"
) -> pl.DataFrame:
    """Return after how many minutes a share of the invoices is visible: `by`, `share`, `minutes`, `lower`, `upper`.

    Null where the curve, or its band, never comes down that far within what was seen.
    """

    def first(column: str, share: float) -> pl.Expr:
        reached = pl.col(column) <= 1 - share + 1e-12
        return pl.col("minutes").filter(reached).min()

    parts = [
        curves.group_by(by)
        .agg(minutes=first("survival", share), lower=first("lower", share), upper=first("upper", share))
        .select(by, pl.lit(share).alias("share"), "minutes", "lower", "upper")
        for share in shares
    ]
    return pl.concat(parts).sort(by, "share") if parts else pl.DataFrame()


def _stratum(observations: pl.DataFrame) -> pl.DataFrame:
    """Return the curve of one stratum in which delays are known only to lie in intervals (columns: CURVES)."""
    visible = observations["visible"].to_numpy()
    high = observations["minutes"].to_numpy()
    since = observations["since"].fill_null(-1.0).to_numpy()
    low = np.where(visible & (since >= 0), since, np.where(visible, high - 1e-9, high))
    weight = observations["weight"].cast(pl.Float64).to_numpy()
    if bool((low[visible] <= 0).all()):
        return _current_status(high, visible, weight)
    return _turnbull(low, np.where(visible, high, np.inf), weight)


def _current_status(age: Floats, present: NDArray[np.bool_], weight: Floats) -> pl.DataFrame:
    """Return the curve from presence at one age each: isotonic regression, by pooling adjacent violators."""
    ages, where = np.unique(age, return_inverse=True)
    total, seen = np.bincount(where, weight), np.bincount(where, weight * present)
    starts, n, k = _pooled(total.astype(np.float64), seen.astype(np.float64))
    missing = 1 - k / n
    lower, upper = wilson(missing * n, n)
    return pl.DataFrame(
        {
            "minutes": ages[starts],
            "at_risk": n,
            "events": n * (1 - missing),
            "survival": missing,
            "lower": lower,
            "upper": upper,
            "method": ["status"] * len(n),
        },
        schema=CURVES,
    )


def _pooled(n: Floats, k: Floats) -> tuple[NDArray[np.int64], Floats, Floats]:
    """Pool neighbours until the share k / n rises from block to block: where each block starts, and its sums.

    Whatever falls from neighbour to neighbour ends up in one block, so that whole falls are pooled at once while they
    are many; the last few are pooled one by one.
    """
    starts = np.arange(len(n))
    while len(n) > FEW_BLOCKS:
        rises = np.flatnonzero(np.concatenate([[True], k[:-1] * n[1:] < k[1:] * n[:-1]]))
        few = len(rises) > SLOW * len(n)
        starts, n, k = starts[rises], np.add.reduceat(n, rises), np.add.reduceat(k, rises)
        if few:
            break
    blocks: list[tuple[int, float, float]] = []
    for start, mine, hits in zip(starts.tolist(), n.tolist(), k.tolist(), strict=True):
        block = (start, mine, hits)
        while blocks and blocks[-1][2] * block[1] >= block[2] * blocks[-1][1]:
            last = blocks.pop()
            block = (last[0], last[1] + block[1], last[2] + block[2])
        blocks.append(block)
    pooled = np.array(blocks).T
    return pooled[0].astype(np.int64), pooled[1], pooled[2]


def wilson(hits: Floats, n: Floats, z: float = CONFIDENCE_Z) -> tuple[Floats, Floats]:
    """Return the Wilson interval of a share; honest at 0 and 1 and for small numbers."""
    share = hits / n
    centre = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z * np.sqrt(share * (1 - share) / n + z * z / (4 * n * n)) / (1 + z * z / n)
    return np.clip(centre - half, 0, 1), np.clip(centre + half, 0, 1)


def _turnbull(low: Floats, high: Floats, weight: Floats) -> pl.DataFrame:
    """Return Turnbull's self-consistent curve for delays known to lie in (low, high]; high = inf: not yet visible."""
    ends = np.unique(np.concatenate([low, high[np.isfinite(high)]]))
    if len(ends) > TURNBULL_POINTS:
        ends = np.unique(np.quantile(ends, np.linspace(0, 1, TURNBULL_POINTS)))
    # Cell j is (ends[j-1], ends[j]]; cell 0 is up to ends[0], the last one is beyond all that was seen.
    first = np.searchsorted(ends, low, side="right")
    last = np.where(np.isfinite(high), np.searchsorted(ends, np.where(np.isfinite(high), high, 0)), len(ends))
    last = np.maximum(last, np.minimum(first, len(ends)))
    pairs, where = np.unique(np.stack([np.minimum(first, last), last]), axis=1, return_inverse=True)
    count = np.bincount(where.ravel(), weight)
    cells = len(ends) + 1
    mass = np.full(cells, 1 / cells)
    for _ in range(TURNBULL_ROUNDS):
        cumulative = np.concatenate([[0.0], np.cumsum(mass)])
        share = count / np.maximum(cumulative[pairs[1] + 1] - cumulative[pairs[0]], 1e-300)
        slope = np.bincount(pairs[0], share, cells + 1) - np.bincount(pairs[1] + 1, share, cells + 1)
        fresh = mass * np.cumsum(slope)[:cells] / count.sum()
        done = float(np.abs(fresh - mass).max()) < 1e-10  # noqa: PLR2004
        mass = fresh
        if done:
            break
    alive = np.clip(1 - np.cumsum(mass)[:-1], 0, 1)
    lower, upper = wilson(alive * count.sum(), np.full(len(alive), count.sum()))
    at_risk = count.sum() * np.concatenate([[1.0], alive[:-1]])
    columns = {"minutes": ends, "at_risk": at_risk, "events": count.sum() * mass[:-1], "survival": alive}
    curve = pl.DataFrame(columns | {"lower": lower, "upper": upper, "method": ["interval"] * len(ends)}, schema=CURVES)
    if ends[0] > 0:
        head = {
            "minutes": 0.0,
            "at_risk": float(count.sum()),
            "events": 0.0,
            "survival": 1.0,
            "lower": 1.0,
            "upper": 1.0,
        }
        curve = pl.concat([pl.DataFrame([head | {"method": "interval"}], schema=CURVES), curve])
    return curve


def reverse_time(delays: pl.DataFrame) -> pl.DataFrame:
    """Return the curve of delays from platform rows alone, where what is not visible is not known at all.

    Args:
        delays: `minutes` (delay) and `room` (minutes from issue to the export: a longer delay could not be seen).

    Returns:
        `minutes`, `events`, `survival` among those that become visible within the longest room. The lost share cannot
        be known from such data; only a ledger tells it.
    """
    counts = delays.group_by("minutes").agg(events=pl.len().cast(pl.Float64)).sort("minutes")
    minutes = counts["minutes"].to_numpy()
    events = counts["events"].to_numpy()
    rooms = np.sort(delays["room"].to_numpy())
    seen_by_then = np.cumsum(events)
    too_short = np.searchsorted(rooms, minutes, side="left")
    at_risk = np.maximum(seen_by_then - too_short, events)
    factors = 1 - events / at_risk
    factors[0] = 1.0
    below = np.concatenate([np.cumprod(factors[::-1])[::-1][1:], [1.0]])
    return counts.with_columns(survival=1 - pl.Series(below))


def typed(frame: pl.DataFrame, types: Mapping[str, pl.DataType]) -> pl.DataFrame:
    """Return the named columns of a frame in these types."""
    return frame.select(pl.col(name).cast(dtype) for name, dtype in types.items())


class Mixture(NamedTuple):
    """Two lognormal delays and a lost share: `lost`, and each part's share of the rest, log mean and log spread."""

    lost: float
    shares: Floats
    means: Floats
    spreads: Floats

    def alive(self, minutes: Floats) -> Floats:
        """Return the share not visible after so many minutes."""
        tail: Floats = self.shares @ (1 - _normal(self.scaled(_log(minutes))))
        return self.lost + (1 - self.lost) * tail

    def vector(self) -> Floats:
        """Return the parameters on scales without bounds."""
        odds = [math.log(self.lost / (1 - self.lost)), math.log(self.shares[0] / self.shares[1])]
        return np.concatenate([odds, self.means, np.log(self.spreads)])

    @classmethod
    def of(cls, vector: Floats) -> Mixture:
        """Return the mixture of such a vector, kept within what double precision can tell."""
        lost, first = 1 / (1 + np.exp(-np.clip(vector[:2], -20, 20)))
        spreads = np.exp(np.clip(vector[4:], math.log(SMALLEST_SPREAD), math.log(LARGEST_SPREAD)))
        return cls(float(lost), np.array([first, 1 - first]), np.clip(vector[2:4], -5, 20), spreads)

    def within(self, widest: float, latest: float) -> Mixture:
        """Return the mixture with no part wider, and no median later, than that."""
        return self._replace(spreads=np.minimum(self.spreads, widest), means=np.minimum(self.means, math.log(latest)))

    def scaled(self, logs: Floats) -> Floats:
        """Return log minutes on the scale of each part."""
        z: Floats = (logs[None, :] - self.means[:, None]) / self.spreads[:, None]
        return z


class _Spans(NamedTuple):
    """Counted delays on a log scale: between `low` and `high`; equal = exact, high inf = not yet visible."""

    low: Floats
    high: Floats
    weight: Floats


# Chebyshev coefficients of the complementary error function, good to 1.2e-7 of its value (Press et al., erfcc).
_ERFC = (
    -1.26551223, 1.00002368, 0.37409196, 0.09678418, -0.18628806, 0.27886807, -1.13520398, 1.48851587, -0.82215223,
    0.17087277,
)  # fmt: skip


def _log(minutes: Floats) -> Floats:
    logs: Floats = np.log(np.maximum(minutes, SHORTEST_MINUTES))
    return logs


def _normal(z: Floats) -> Floats:
    """Return the share of a standard normal below z."""
    x = np.minimum(np.abs(z), LIMIT) / math.sqrt(2)
    t = 1 / (1 + 0.5 * x)
    tail = 0.5 * t * np.exp(-x * x + np.polynomial.polynomial.polyval(t, _ERFC))
    below: Floats = np.where(z > 0, 1 - tail, tail)
    return below


def _bell(z: Floats) -> Floats:
    height: Floats = np.exp(-0.5 * np.clip(z, -LIMIT, LIMIT) ** 2) / math.sqrt(2 * math.pi)
    return height


def mixture(
    observations: pl.DataFrame,
    *,
    widest: float = LARGEST_SPREAD,
    latest: float = math.inf,
    steps: tuple[Floats, Floats] | None = None,
) -> Mixture:
    """Fit two lognormal delays and a lost share by expectation–maximisation (columns as in `survival`).

    It sees beyond the last age, which the product limit cannot, and it is smooth where presence at one age is all that
    is known. `widest` bounds the log spread of a part, so that few data do not stretch it; `latest`
    bounds its median in minutes, so that what is lost is not taken for an endless delay. `steps` are minutes and
    survival of these observations, where they are known.
    """
    spans = _spans(observations)
    fit = _first_guess(steps or steps_of(survival(observations.with_columns(all=pl.lit("")), by="all")), spans)
    likely = -math.inf
    for _ in range(MIXTURE_ROUNDS):
        once, before = _improve(fit, spans)
        twice, _ = _improve(once, spans)
        # Squared extrapolation (Varadhan and Roland 2008): single steps are small where the data say little.
        step, bend = once.vector() - fit.vector(), twice.vector() - 2 * once.vector() + fit.vector()
        length = min(-1.0, -float(np.linalg.norm(step) / max(float(np.linalg.norm(bend)), 1e-12)))
        leap, reached = _improve(Mixture.of(fit.vector() - 2 * length * step + length**2 * bend), spans)
        fit = (leap if reached > before else twice).within(widest, latest)
        if abs(before - likely) < MIXTURE_STILL:
            break
        likely = before
    return fit


def _spans(observations: pl.DataFrame) -> _Spans:
    """Return the delays counted in bins of their logs."""
    log = pl.col("minutes").clip(SHORTEST_MINUTES).log()
    width = pl.max_horizontal((log.max() - log.min()) / MIXTURE_BINS, pl.lit(1e-6))
    since = pl.col("since") if "since" in observations.columns else pl.lit(None, pl.Float64)
    weight = pl.col("weight") if "weight" in observations.columns else pl.lit(1.0)
    bins = (
        observations.with_columns(log=log, low=since.clip(SHORTEST_MINUTES).log(), weight=weight.cast(pl.Float64))
        .with_columns(at=((pl.col("log") - log.min()) / width).round(), from_=(pl.col("low") / width).round())
        .group_by("at", "from_", "visible", loose=since.is_not_null(), nothing=since <= 0)
        .agg(
            log=total(pl.col("log") * pl.col("weight")) / total(pl.col("weight")),
            low=pl.col("low").sort().mean(),
            weight=total(pl.col("weight")),
        )
        .sort("at", "from_", "visible", "loose", "nothing", nulls_last=True)
        .with_columns(
            low=pl.when(~pl.col("visible") | ~pl.col("loose"))
            .then("log")
            .when(pl.col("nothing"))
            .then(-math.inf)
            .otherwise(pl.min_horizontal("low", pl.col("log") - 1e-6)),
            high=pl.when("visible").then("log").otherwise(math.inf),
        )
    )
    return _Spans(bins["low"].to_numpy(), bins["high"].to_numpy(), bins["weight"].to_numpy())


def steps_of(curve: pl.DataFrame) -> tuple[Floats, Floats]:
    """Return minutes and survival of one curve."""
    return curve["minutes"].to_numpy(), curve["survival"].to_numpy()


def _first_guess(steps: tuple[Floats, Floats], spans: _Spans) -> Mixture:
    """Start from the empirical curve: two parts about its lower and upper delays, and half of what is missing lost."""
    alive, logs = steps[1], _log(steps[0])
    missing = float(spans.weight[np.isinf(spans.high)].sum() / spans.weight.sum())
    lost = min(0.5, max(1e-4, min(float(alive[-1]), missing) / 2))
    rest = np.clip((alive - lost) / (1 - lost), 0, 1)
    low, middle, high = (float(logs[int(np.argmax(rest <= share))]) for share in (0.7, 0.5, 0.15))
    spread = max(0.3, (high - low) / 2)
    return Mixture(
        lost, np.array([0.6, 0.4]), np.array([min(low, middle), max(high, middle + 0.2)]), np.array([spread] * 2)
    )


def _improve(fit: Mixture, spans: _Spans) -> tuple[Mixture, float]:
    """Return the fit after one round of expectation and maximisation, and the log likelihood before it."""
    exact = spans.low == spans.high
    a, b = fit.scaled(spans.low), fit.scaled(spans.high)
    bell_a, bell_b = _bell(a), _bell(b)
    inside = np.maximum(_normal(b) - _normal(a), TINY)
    first = np.where(exact, a, (bell_a - bell_b) / inside)
    edge_a, edge_b = (np.where(np.isfinite(z), np.clip(z, -LIMIT, LIMIT), 0) for z in (a, b))
    second = np.where(exact, a * a, 1 + (edge_a * bell_a - edge_b * bell_b) / inside)
    likely = np.where(exact, bell_a / fit.spreads[:, None], inside)
    share = (1 - fit.lost) * fit.shares[:, None] * likely
    total = share.sum(axis=0) + np.where(np.isinf(spans.high), fit.lost, 0.0)
    part = spans.weight * share / np.maximum(total, TINY)
    mass = np.maximum(part.sum(axis=1), 1e-9)
    mean = (part * np.clip(first, -LIMIT, LIMIT)).sum(axis=1) / mass
    square = (part * np.clip(second, 0, LIMIT**2)).sum(axis=1) / mass
    spreads = fit.spreads * np.sqrt(np.maximum(square - mean**2, 1e-4))
    means = fit.means + fit.spreads * mean
    lost = min(max(float(1 - mass.sum() / spans.weight.sum()), 1e-9), 1 - 1e-9)
    spreads = np.clip(spreads, SMALLEST_SPREAD, LARGEST_SPREAD)
    return Mixture(lost, mass / mass.sum(), means, spreads), float(
        (spans.weight * np.log(np.maximum(total, TINY))).sum()
    )


def log_likelihood(alive: Floats, missing: Floats, present: Floats) -> float:
    """Return the log likelihood of presence at one age each, given the share not visible at each age."""
    safe = np.clip(alive, 1e-6, 1 - 1e-6)
    return float((missing * np.log(safe) + present * np.log(1 - safe)).sum())
