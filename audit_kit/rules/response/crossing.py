"""When a measurement will cross its threshold, with a 90 % interval.

The highest reading of each day is followed as a level that drifts, with a weekly pattern and noise: the structural
model of statsmodels, whose filter gives the level, the drift and the week with their uncertainty. Sudden steps, which
its smoothed disturbances show, are taken out of the drift and may come again as often as they came. The interval is
that of the first crossing over many futures drawn from it. The same readings give the same figures.
"""

from __future__ import annotations

import warnings
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import polars as pl

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

LEAST_DAYS = 21  # three weeks, or the week cannot be told from the drift
LEAST_SHARE = 0.7  # of the days have readings
MOST_DAYS = 400  # of history
HORIZON_DAYS = 180  # what lies further ahead is not foretold
FUTURE_DAYS = 300
FUTURES = 600
DRIFT = 3.5  # standard errors above zero: what is flat is not foretold
STEP = 4.0  # standard errors of a disturbance that is a step
MOST_STEPS = 4
EDGE_DAYS = 3  # a step so near either end cannot be told from noise
NEW_STEPS = 0.4  # steps expected beyond those seen
TAKEN_BACK = 0.5  # of the growth, by steps downward: what is cleared again and again does not grow
WEEK = 7
STEPS_FROM = 8  # in the state: level, drift and six days of the week stand before them
VARIANCES = ("sigma2.irregular", "sigma2.level")
MOST_ROUNDS = 30
LEAST_VARIANCE = 1e-6
UNSEEN_STEP = 5.0  # size of steps of which none was seen, in standard deviations of a day
SCALE = 100.0  # standard deviation of what is fitted, so that variances are far from rounding
ROUNDING = 1e-9
SECONDS_AN_HOUR = 3600.0
SEED = 20251


class _Model(NamedTuple):
    """The level after the last day: state's mean and covariance, and the spread of what disturbs it."""

    mean: Floats
    cov: Floats
    level: float
    noise: float
    steps: Floats


def forecast(at: pl.Series, values: pl.Series, limit: float) -> dict[str, Any]:
    """Return when a series will be over `limit`: `days`, `growth` a day, `earliest`, `likely`, `latest`, `state`.

    Args:
        at: times, ascending.
        values: the readings.
        limit: the threshold.
    """
    daily, after, hour = _daily(at, values)
    told: dict[str, Any] = {"days": int(np.isfinite(daily).sum()), "growth": None}
    told |= dict.fromkeys(("earliest", "likely", "latest"))
    if values[-1] > limit:
        return {**told, "state": "over"}
    if told["days"] < max(LEAST_DAYS, LEAST_SHARE * len(daily)):
        return {**told, "state": "short"}
    unit = float(np.nanstd(daily)) / SCALE
    if unit <= ROUNDING * max(1.0, abs(limit)):
        return {**told, "growth": 0.0, "state": "flat"}
    model = _fitted(daily / unit)
    told["growth"] = float(model.mean[1]) * unit
    taken_back = -model.steps[model.steps < 0].sum()
    if model.mean[1] <= DRIFT * np.sqrt(model.cov[1, 1]) or taken_back > TAKEN_BACK * model.mean[1] * len(daily):
        return {**told, "state": "flat"}
    first = _crossings(model, limit / unit, days=len(daily))
    low, middle, high = np.quantile(first, (0.05, 0.5, 0.95), method="nearest")
    if middle > HORIZON_DAYS:
        return {**told, "state": "flat"}
    start = datetime.combine(after, datetime.min.time()) + timedelta(hours=hour)
    moments = [
        max(at[-1], (start + timedelta(days=float(day))).replace(second=0, microsecond=0))
        if day < FUTURE_DAYS
        else None
        for day in (low, middle, high)
    ]
    return told | dict(zip(("earliest", "likely", "latest"), moments, strict=True)) | {"state": "rising"}


def _daily(at: pl.Series, values: pl.Series) -> tuple[Floats, date, float]:
    """Return the highest reading of each day (nan: none), the day after the last, and the usual hour of the highest.

    A last day with less than half of the usual readings is not over yet and is left out.
    """
    rows = pl.DataFrame({"at": at, "value": values}).with_columns(day=pl.col("at").dt.date())
    top = pl.col("at").sort_by("value", descending=True, maintain_order=True).first()
    days = rows.group_by("day").agg(pl.col("value").max(), count=pl.len(), top=top).sort("day")
    if days.height > 1 and 2 * days["count"][-1] < float(np.median(days["count"].to_numpy())):
        days = days.head(-1)
    days = days.tail(MOST_DAYS)
    hours = (days["top"] - days["top"].dt.truncate("1d")).dt.total_seconds() / SECONDS_AN_HOUR
    whole = days.select("day", "value").upsample("day", every="1d")
    after: date = days["day"][-1] + timedelta(days=1)
    return whole["value"].to_numpy().astype(np.float64), after, float(np.mean(hours.to_numpy()))


def _fitted(daily: Floats) -> _Model:
    """Return the level after the last day; steps are taken out one by one, the clearest first."""
    from statsmodels.tsa.statespace.structural import UnobservedComponents  # noqa: PLC0415 - slow to load

    steps: list[int] = []
    start = None
    while True:
        known = (np.arange(len(daily))[:, None] >= np.array(steps)[None, :]).astype(np.float64) if steps else None
        structure = UnobservedComponents(
            daily,
            level=True,
            stochastic_level=True,
            trend=True,
            irregular=True,
            seasonal=WEEK,
            stochastic_seasonal=False,
            exog=known,
            mle_regression=False,
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a variance of zero lies at the edge of what is searched
            result = structure.fit(start, disp=0, maxiter=MOST_ROUNDS, cov_type="none")
        start = np.maximum(result.params, LEAST_VARIANCE)
        noise, level = (float(result.params[structure.param_names.index(name)]) for name in VARIANCES)
        step = _step(result, level) if len(steps) < MOST_STEPS else None
        if step is None:
            mean, cov = result.predicted_state[:, -1], result.predicted_state_cov[:, :, -1]
            return _Model(mean, cov, level, noise, mean[STEPS_FROM:])
        steps.append(step)


def _step(result: Any, level: float) -> int | None:  # noqa: ANN401 - statsmodels has no types
    """Return the day of the clearest step that the smoothed disturbances of the level show; null for none."""
    left = level - result.smoothed_state_disturbance_cov[0, 0]
    if level < LEAST_VARIANCE or len(left) <= 2 * EDGE_DAYS + 1:
        return None
    sizes = np.abs(result.smoothed_state_disturbance[0]) / np.sqrt(np.maximum(left, LEAST_VARIANCE))
    inner = sizes[EDGE_DAYS : -EDGE_DAYS - 1]
    day = int(inner.argmax())
    return day + EDGE_DAYS + 1 if inner[day] >= STEP else None


def _crossings(model: _Model, limit: float, *, days: int) -> Floats:
    """Return after how many days each of many futures is first over the limit; `FUTURE_DAYS` where it never is."""
    dice = np.random.default_rng(SEED)
    shape = (FUTURES, FUTURE_DAYS)
    steps = len(model.steps)
    # The variances were estimated themselves.
    spread = np.sqrt(days / dice.chisquare(days, (FUTURES, 1)))
    centred = dice.multivariate_normal(
        np.zeros(len(model.mean)), model.cov, FUTURES, method="svd", check_valid="ignore"
    )
    state = model.mean + spread * centred
    moves = spread * dice.normal(0, np.sqrt(model.level), shape)
    moves[:, 0] = 0
    if steps:
        often = dice.gamma(steps + NEW_STEPS, 1, (FUTURES, 1)) / days
        down = (1 + (model.steps < 0).sum()) / (2 + steps)
        ways = np.where(dice.random(shape) < down, -1, 1)
        moves += (dice.random(shape) < often) * dice.choice(np.abs(model.steps), shape) * ways
    else:
        often = dice.gamma(NEW_STEPS, 1, (FUTURES, 1)) / days
        moves += (dice.random(shape) < often) * dice.normal(0, UNSEEN_STEP * np.sqrt(model.noise + model.level), shape)
    ahead = np.arange(FUTURE_DAYS)
    paths = (
        state[:, [0]] + state[:, [1]] * ahead + np.cumsum(moves, axis=1) + state[:, STEPS_FROM:].sum(axis=1)[:, None]
    )
    paths += _weeks(state[:, 2:STEPS_FROM])[:, ahead % WEEK]
    paths += spread * dice.normal(0, np.sqrt(model.noise), shape)
    over = paths > limit
    first = np.where(over.any(axis=1), over.argmax(axis=1), np.inf)
    # Within a day the time is not known; so a day is no atom of the interval.
    return np.minimum(first + dice.uniform(-0.5, 0.5, FUTURES), FUTURE_DAYS)


def _weeks(state: Floats) -> Floats:
    """Return the seven effects of a week from the next day on, of states that hold six of them, the newest first."""
    effects = np.empty((len(state), WEEK))
    for day in range(WEEK):
        effects[:, day] = state[:, 0]
        state = np.column_stack([-state.sum(axis=1), state[:, :-1]])
    return effects
