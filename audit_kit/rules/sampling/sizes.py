"""How many: the standard formulas.

Monetary-unit: the smallest n at which the Poisson upper limit of the errors expected in it does not exceed the
tolerable misstatement (AICPA Audit Guide: Audit Sampling, appendix C; the confidence factor at no error is -ln(risk)).
Attributes: the smallest n at which finding no more than the expected deviations in it would be unlikely, binomially,
if the rate were the tolerable one (the same guide, appendix A). Strata: Neyman's allocation by size and spread.
"""

from __future__ import annotations

from math import ceil, floor

from scipy import stats

MOST = 1_000_000


def confidence_factor(errors: float, *, confidence: float) -> float:
    """Return the Poisson upper limit of a number of which so many were seen; 3.00 at none and 95 %."""
    return float(stats.gamma.ppf(confidence, errors + 1))


def monetary_unit(*, tolerable: float, expected: float, confidence: float) -> int | None:
    """Return how many monetary units are drawn from a population of 1; null where no number would do.

    Args:
        tolerable: misstatement over the population's money, 0 to 1.
        expected: the misstatement that is expected, in the same measure.
        confidence: 0 to 1.
    """
    return _least(lambda n: confidence_factor(expected * n, confidence=confidence) <= tolerable * n)


def attributes(*, tolerable: float, expected: float, confidence: float) -> int | None:
    """Return how many rows are drawn for a rate of deviations; null where no number would do.

    A number of expected deviations is rounded up, as the guide's tables do.
    """
    return _least(lambda n: float(stats.binom.cdf(ceil(expected * n - 1e-9), n, tolerable)) <= 1 - confidence)


def neyman(sizes: list[int], spreads: list[float], total: int) -> list[int]:
    """Return how many of a total each stratum gets by its rows times its standard deviation; at least 2, at most all.

    Where no stratum has any spread, each gets its share of the rows.
    """
    weights = [size * spread for size, spread in zip(sizes, spreads, strict=True)]
    if not sum(weights):
        weights = [float(size) for size in sizes]
    whole = sum(weights) or 1.0
    return [min(size, max(2, floor(total * weight / whole + 0.5))) for size, weight in zip(sizes, weights, strict=True)]


def _least(enough: object) -> int | None:
    """Return the smallest number that is enough, by doubling and halving: enough stays enough, but for rounding."""
    test = enough if callable(enough) else bool
    high = 1
    while not test(high):
        high *= 2
        if high > MOST:
            return None
    low = high // 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if test(middle) else (middle, high)
    return high
