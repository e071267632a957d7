"""What the errors of a sample say of all: an interval that allows for errors that were not drawn.

Monetary-unit samples. The taint of a row is its error over its book amount: 1 = wholly overstated, 0 = right, below 0 =
understated. The mean taint has the posterior of the multinomial-Dirichlet bound (Tsui, Matsumura and Tsui 1985): one
unit of weight for each taint seen and, as in the neutral prior of a rate (Kerman 2011), a third of a unit each for a
full overstatement and a full understatement that was not drawn. A Dirichlet mean is below c exactly where a sum of
independent gamma numbers, each times its taint less c, is below 0, so that its distribution is had by Gil-Pelaez
inversion, without a random draw.

Stringer's upper limit (1963) of the overstatement stands beside it, for it is what reviewers know; it is cautious.
Parts are put together by their distances from their estimates (MOVER, Zou and Donner 2008).
"""

from __future__ import annotations

from math import sqrt
from typing import TYPE_CHECKING

import numpy as np
from scipy import optimize, stats

if TYPE_CHECKING:
    from collections.abc import Sequence

HALF = 0.5
UNSEEN = 1 / 3
_POINTS = 1_600
_WIDEST = 13.0  # in e-foldings of the frequency, below and above the spread's own


def mean_interval(values: Sequence[float], *, unseen: Sequence[float], confidence: float) -> tuple[float, float]:
    """Return the interval of a mean by the Dirichlet posterior: one for each value, `UNSEEN` for each unseen."""
    seen, weights = np.unique(np.asarray(values, dtype=float), return_counts=True)
    support = np.concatenate([seen, np.asarray(unseen, dtype=float)])
    weight = np.concatenate([weights.astype(float), np.full(len(unseen), UNSEEN)])
    least, most = float(support.min()), float(support.max())
    if most - least < 1e-15:  # noqa: PLR2004  no spread at all
        return least, most
    tail = (1 - confidence) / 2
    edge = (most - least) * 1e-9
    ends = [
        optimize.brentq(lambda c, p=p: _below(support - c, weight) - p, least + edge, most - edge, xtol=edge)
        if _below(support - least - edge, weight) < p < _below(support - most + edge, weight)
        else (least if p < HALF else most)
        for p in (tail, 1 - tail)
    ]
    return float(ends[0]), float(ends[1])


def _below(scaled: np.ndarray, weight: np.ndarray) -> float:
    """Return the chance that the sum of gamma(weight) times scaled is below 0 (Gil-Pelaez)."""
    spread = sqrt(float((weight * scaled**2).sum())) or 1.0
    logs = np.linspace(-_WIDEST, _WIDEST, _POINTS)
    u = np.exp(logs) / spread
    turned = np.outer(u, scaled)
    size = np.exp(-0.5 * (weight * np.log1p(turned**2)).sum(axis=1))
    angle = (weight * np.arctan(turned)).sum(axis=1)
    # du / u is d log u; below the first point the integrand is the angle, which is straight.
    inside = float(np.trapezoid(size * np.sin(angle), logs)) + float(angle[0])
    return HALF - inside / np.pi


def stringer(taints: Sequence[float], size: int, *, confidence: float) -> float:
    """Return Stringer's upper limit of the mean overstatement taint of a sample of a size; understatements count 0."""
    over = sorted((taint for taint in taints if taint > 0), reverse=True)
    limits = [float(stats.beta.ppf(confidence, k + 1, size - k)) if k < size else 1.0 for k in range(len(over) + 1)]
    return limits[0] + sum((limits[at + 1] - limits[at]) * min(taint, 1.0) for at, taint in enumerate(over))


def rate_interval(errors: int, size: int, *, confidence: float) -> tuple[float, float]:
    """Return the exact interval of a rate (Clopper and Pearson 1934)."""
    tail = (1 - confidence) / 2
    low = float(stats.beta.ppf(tail, errors, size - errors + 1)) if errors else 0.0
    high = float(stats.beta.ppf(1 - tail, errors + 1, size - errors)) if errors < size else 1.0
    return low, high


def together(parts: Sequence[tuple[float, float, float]]) -> tuple[float, float, float]:
    """Return the sum of independent estimates with their limits: estimate, lower, upper."""
    estimate = sum(part[0] for part in parts)
    below = sqrt(sum(max(part[0] - part[1], 0.0) ** 2 for part in parts))
    above = sqrt(sum(max(part[2] - part[0], 0.0) ** 2 for part in parts))
    return estimate, estimate - below, estimate + above
