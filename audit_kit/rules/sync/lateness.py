"""How likely a missing invoice is merely late: 1 − lost share / survival at its operational age, never 0 or 1."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from audit_kit.core.policy import SyncPolicy
from audit_kit.rules.sync.curves import log_likelihood, mixture, steps_of, survival, total, typed

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

FEW_ARRIVALS = 5
FEW = 50  # a channel with fewer invoices uses the curve of all channels
MOST_FITS = 100  # channels with a fit of their own, those of most invoices; the others use the curve of all channels
HEAVY_TAIL = 0.1  # share of what is still missing at the longest age that would yet arrive
SOME_TAIL = 0.03  # from here on the fitted tail is the better estimate
FALLING = 0.02
DRIFT = 0.15  # an earlier month's curve further off than this is not borrowed
PRIOR = 0.1  # invoices added to the late and to the lost, so that a share is never 0 or 1
PLATEAU_STEP = 1.5  # ages are compared over spans that grow by this factor when a plateau is looked for
STEP_COST = 1.5  # log likelihood that an isotonic step is worth by chance
CLIFF = 6.0  # log likelihood beyond that at which presence has a cliff
GRID = 400
LATEST = 8  # a median delay is at most this part of the oldest age, where presence is all that is known
PRESENCE_SPREAD = 1.6  # presence alone cannot tell a wide spread of delays from a lost share,
SCARCE, SCARCE_SPREAD = 300, 1.2  # the less so with few missing
POOLED = "*"

LATENESS: dict[str, pl.DataType] = {
    "channel": pl.String(),
    "minutes": pl.Float64(),
    "survival": pl.Float64(),
    "plateau": pl.Float64(),
    "invoices": pl.Float64(),
    "method": pl.String(),
    "certain": pl.Boolean(),
}
HISTORY: dict[str, pl.DataType] = {
    "month": pl.String(),
    "channel": pl.String(),
    "minutes": pl.Float64(),
    "survival": pl.Float64(),
    "plateau": pl.Float64(),
}


def lateness(
    observations: pl.DataFrame, *, history: pl.DataFrame | None = None, policy: SyncPolicy | None = None
) -> pl.DataFrame:
    """Return per channel the curve and lost share by which its missing invoices are judged.

    Args:
        observations: of all invoices that no other cause explains.
        history: `month`, `channel`, `minutes`, `survival`, `plateau` of earlier months; the latest one is borrowed
            where this export is too short to show how delays end.
        policy: the service level that stands in where nothing has arrived at all, the default one if null.

    Returns:
        `channel`, `minutes`, `survival`, `plateau` (lost share), `invoices` (behind the curve), `method` (`km`,
        `status`, `interval`, `mixture`, `history`, `policy`; `pooled` before it where the channel has few
        invoices of its own), `certain` (false: the tail is too heavy, or nothing arrived, to tell late from lost).
        Channel `*` is for invoices of no channel here; a pooled channel has one row, for the curve of `*` is its own.
    """
    known = _counted(observations)
    if known.is_empty():
        return pl.DataFrame(schema=LATENESS)
    if known["visible"].any():
        pooled = known.with_columns(channel=pl.lit(POOLED))
        everything = _judge(pooled, survival(pooled), history)
    else:
        everything = by_policy(policy or SyncPolicy())
    named = known.drop_nulls("channel")
    own = pl.concat([everything, *_own_curves(named, history)])
    rest = named.filter(~pl.col("channel").is_in(own["channel"].unique().implode()))
    method = pl.concat_str(pl.lit("pooled "), "method")
    pooled = rest.select(pl.col("channel").unique()).join(everything.head(1).drop("channel"), how="cross")
    return pl.concat([own, pooled.with_columns(method=method)]).sort("channel", "minutes", maintain_order=True)


def _counted(observations: pl.DataFrame) -> pl.DataFrame:
    """Return `channel`, `minutes`, `visible`, `since`, sorted, and the `weight` of all such observations."""
    names = ["channel", "minutes", "visible", "since"]
    known = _present(observations).filter(pl.col("minutes").is_not_null())
    # Equal weights are counted, then added in their order: a sum of floats must not depend on the turn of the rows.
    counts = known.group_by(*names, "weight").len().sort(*names, "weight")
    same = pl.struct(names)
    starts = counts.select(same.ne_missing(same.shift()).alias("new"))["new"].arg_true()
    sums = np.add.reduceat((counts["weight"] * counts["len"]).to_numpy(), starts.to_numpy())
    return counts[starts].select(names).with_columns(weight=sums)


def _present(observations: pl.DataFrame) -> pl.DataFrame:
    """Return the observations, those of channels known by successive exports as presence at the last of them.

    Intervals that are as long as the delays fit an endless delay as well as a loss; presence at each age tells them
    apart.
    """
    if "age" not in observations.columns:
        return observations
    interval = (pl.col("visible") & pl.col("since").is_not_null()).sum().over("channel")
    loose = pl.col("visible") & (interval > pl.col("visible").sum().over("channel") / 2)
    return observations.with_columns(
        minutes=pl.when(loose).then("age").otherwise("minutes"), since=pl.when(loose).then(0.0).otherwise("since")
    )


def _own_curves(named: pl.DataFrame, history: pl.DataFrame | None) -> list[pl.DataFrame]:
    """Return the curves of the channels with enough invoices, and of most of them where the curve needs a fit."""
    sizes = named.group_by("channel").agg(
        invoices=total(pl.col("weight")),
        arrivals=total(pl.col("weight").filter("visible")),
        presence=pl.col("since").is_not_null().any(),
    )
    sizes = sizes.filter((pl.col("invoices") >= FEW) & (pl.col("arrivals") >= FEW_ARRIVALS))
    sizes = sizes.sort("invoices", "channel", descending=[True, False]).with_row_index("rank")
    fitted = pl.col("rank") < MOST_FITS
    sizes = sizes.filter(fitted | ~pl.col("presence"))
    judged = named.join(sizes.select("channel", fitted=fitted), on="channel", maintain_order="left")
    parts = judged.partition_by("channel", maintain_order=True)
    curves = survival(judged).partition_by("channel", maintain_order=True)
    return [
        _judge(part, curve, history)
        for part, curve in zip(parts, curves, strict=True)
        if part["fitted"][0] or not _still_falling(*steps_of(curve))
    ]


def by_policy(policy: SyncPolicy) -> pl.DataFrame:
    """Return the curve of a platform that just meets its service level: all there is where nothing has arrived."""
    lost = 1 - policy.target_share
    minutes = np.concatenate([[0.0], np.geomspace(1, policy.target_hours * 60 * 31, GRID)])
    alive = lost + (1 - lost) * np.exp(-minutes * np.log(1 / lost) / (policy.target_hours * 60))
    columns = {"minutes": minutes, "survival": alive}
    return pl.DataFrame(columns).select(
        pl.lit(POOLED).alias("channel"),
        "minutes",
        "survival",
        plateau=pl.lit(lost),
        invoices=pl.lit(float(FEW)),
        method=pl.lit("policy"),
        certain=pl.lit(value=False),
    )


def _judge(part: pl.DataFrame, curve: pl.DataFrame, history: pl.DataFrame | None) -> pl.DataFrame:
    """Return the lateness curve of one channel from its counted invoices and their survival."""
    channel, (minutes, alive) = str(part["channel"][0]), steps_of(curve)
    invoices = float(part["weight"].rechunk().sum())
    method, certain, lost = str(curve["method"][0]), True, float(alive[-1])
    if method == "status":
        minutes, alive, lost = _by_presence(part, minutes, alive)
    elif _still_falling(minutes, alive):
        fit = mixture(part, steps=(minutes, alive))
        reach = float(fit.alive(minutes[-1:])[0])
        yet_to_come = (reach - fit.lost) / max(reach, 1e-12)
        if yet_to_come > HEAVY_TAIL:
            borrowed = _borrow(channel, history, minutes, alive)
            if borrowed is not None:
                return borrowed.with_columns(invoices=pl.lit(invoices)).select(*LATENESS)
        if yet_to_come > SOME_TAIL:
            method, certain, lost = "mixture", yet_to_come <= HEAVY_TAIL, fit.lost
            alive = fit.alive(minutes)
    return pl.DataFrame(
        {
            "channel": channel,
            "minutes": minutes,
            "survival": np.maximum(alive, lost),
            "plateau": lost,
            "invoices": invoices,
            "method": method,
            "certain": certain,
        },
        schema=LATENESS,
    )


def _still_falling(minutes: Floats, alive: Floats) -> bool:
    """Return whether the curve still comes down in the later half of the ages seen: its end need not be its plateau."""
    half = float(alive[max(0, int(np.searchsorted(minutes, minutes[-1] / 2, side="right")) - 1)])
    return half > (1 + FALLING) * float(alive[-1]) and float(alive[-1]) > 0


def _by_presence(part: pl.DataFrame, minutes: Floats, alive: Floats) -> tuple[Floats, Floats, float]:
    """Return minutes, survival and lost share from presence at one age each.

    A smooth mixture of delays is the better estimate, unless presence has a cliff that no delay makes, as a stop still
    open does; then the isotonic steps are kept down to the age at which the missing share no longer falls.
    """
    ages, where = np.unique(part["minutes"].to_numpy(), return_inverse=True)
    weight, visible = part["weight"].to_numpy(), part["visible"].to_numpy()
    missing, present = (np.bincount(where, weight * which).astype(np.float64) for which in (~visible, visible))
    steps = alive[np.maximum(np.searchsorted(minutes, ages, side="right") - 1, 0)]
    widest = PRESENCE_SPREAD if missing.sum() >= SCARCE else SCARCE_SPREAD
    fit = mixture(part, widest=widest, latest=max(2.0, float(ages.max()) / LATEST), steps=(minutes, alive))
    gained = log_likelihood(steps, missing, present) - log_likelihood(fit.alive(ages), missing, present)
    if gained < len(np.unique(steps)) * STEP_COST + CLIFF:
        grid = np.unique(np.round(np.geomspace(1, max(2.0, float(ages.max())), GRID)))
        grid = np.concatenate([[0.0], grid])
        return grid, fit.alive(grid), fit.lost
    lost, age = _plateau(part)
    return minutes, np.where(minutes >= age, lost, np.maximum(alive, lost)), lost


def _plateau(part: pl.DataFrame) -> tuple[float, float]:
    """Return the share missing among ages at which it no longer falls, and the youngest of those ages."""
    rows = part.select("minutes", "weight", gone=~pl.col("visible"))
    rows = rows.sort("minutes", descending=True, maintain_order=True)
    ages = rows["minutes"].to_numpy()
    n = np.cumsum(rows["weight"].to_numpy())
    missing = np.cumsum(rows["weight"].to_numpy() * rows["gone"].to_numpy())
    best = max(FEW, 0.1 * n[-1])
    start = int(min(np.searchsorted(n, best), len(n) - 1))
    share = missing[start] / n[start]
    age = ages[start]
    while age > 1:
        younger = age / PLATEAU_STEP
        end = int(np.searchsorted(-ages, -younger, side="right")) - 1
        added, lost = n[end] - n[start], missing[end] - missing[start]
        pooled = missing[end] / n[end]
        noise = np.sqrt(max(pooled * (1 - pooled), PRIOR / n[end]) * (1 / max(added, 1) + 1 / n[start]))
        if added > 0 and lost / added - share > 1.64 * noise:
            break
        start, age, share = end, younger, pooled
    return float((missing[start] + PRIOR) / (n[start] + 2 * PRIOR)), float(age)


def _borrow(channel: str, history: pl.DataFrame | None, minutes: Floats, alive: Floats) -> pl.DataFrame | None:
    """Return the latest month's curve of a channel; null if there is none, or delays have changed since."""
    if history is None:
        return None
    mine = history.filter(pl.col("channel") == channel)
    mine = mine.filter(pl.col("month") == pl.col("month").max()).sort("minutes")
    if mine.is_empty():
        return None
    early = minutes <= minutes[-1] / 4
    place = np.maximum(np.searchsorted(mine["minutes"].to_numpy(), minutes[early], side="right") - 1, 0)
    if np.abs(mine["survival"].to_numpy()[place] - alive[early]).max(initial=0.0) > DRIFT:
        return None
    return mine.with_columns(method=pl.lit("history"), certain=pl.lit(value=True))


def remembered(
    history: pl.DataFrame | None, observations: pl.DataFrame, *, month: str, points: int = GRID
) -> pl.DataFrame:
    """Return the history with this month's curves in place of what it had of the month.

    Args:
        history: HISTORY columns, or null.
        observations: of the month, without what says nothing of delays.
        month: `YYYY-MM`.
        points: most steps kept of a curve.
    """
    table = lateness(observations).filter(~pl.col("method").str.contains("pooled|history") & pl.col("certain"))
    place = pl.int_range(pl.len()).over("channel")
    thin = (pl.len().over("channel") / points).ceil().cast(pl.Int64)
    last = place == pl.len().over("channel") - 1
    table = table.filter((place % thin == 0) | last).select(pl.lit(month).alias("month"), *list(HISTORY)[1:])
    earlier = history.filter(pl.col("month") != month).select(*HISTORY) if history is not None else table.clear()
    return pl.concat([typed(earlier, HISTORY), typed(table, HISTORY)]).sort("month", "channel", "minutes")


def at_age(rows: pl.DataFrame, table: pl.DataFrame, *, age: str = "age") -> pl.DataFrame:
    """Return, row by row, what is known at an invoice's age.

    Args:
        rows: `channel` and the age in minutes; with the age `age`, also `loose` and `held` (see observations).
        table: as returned by `lateness`.
        age: the column of the age.

    Returns:
        `survival`, `plateau`, `invoices`, `method`, `certain`; null without an age.
    """
    found = _gather(table.select("survival", "plateau", "invoices", "method", "certain"), _place(rows, table, age))
    methods = table.select("channel", own="method").unique("channel", keep="first", maintain_order=True)
    own = rows.select("channel").join(methods, on="channel", how="left", maintain_order="left")["own"]
    found = found.with_columns(method=pl.when(pl.col("method").is_not_null()).then(pl.coalesce(own, "method")))
    if age == "age" and (rows["held"] < 1).any():
        loose = table["survival"].gather(_place(rows, table, "loose"))
        held = rows["held"]
        return found.with_columns(survival=pl.col("survival") * held + loose * (1 - held))
    return found


def _place(rows: pl.DataFrame, table: pl.DataFrame, age: str) -> pl.Series:
    """Return where in the table the step of each row's channel and age stands; null without an age."""
    if table.is_empty():
        return pl.repeat(None, rows.height, dtype=pl.UInt32, eager=True)
    place = np.zeros(rows.height, dtype=np.int64)
    ages = rows[age].cast(pl.Float64).fill_null(0.0).to_numpy()
    minutes = table["minutes"].to_numpy()
    own = table.with_row_index("place").filter(~pl.col("method").str.starts_with("pooled"))
    spans = own.group_by("channel").agg(pl.col("place").min(), pl.len()).rows_by_key("channel")
    for part in rows.select("channel").with_row_index("at").partition_by("channel"):
        first, size = spans.get(part["channel"][0], spans[POOLED])[0]
        at = part["at"].to_numpy()
        steps = np.searchsorted(minutes[first : first + size], ages[at], side="right") - 1
        place[at] = first + np.maximum(steps, 0)
    known = pl.lit(rows[age].is_not_null())
    return pl.DataFrame({"place": place}).select(pl.when(known).then(pl.col("place").cast(pl.UInt32)))["place"]


def _gather(frame: pl.DataFrame, place: pl.Series) -> pl.DataFrame:
    """Return the rows at these places; nulls where there is none."""
    return pl.DataFrame([frame[name].gather(place) for name in frame.columns])


def chance(alive: pl.Expr, lost: pl.Expr, invoices: pl.Expr) -> pl.Expr:
    """Return 1 − lost / survival, drawn in from 0 and 1 by what so many missing invoices can tell."""
    missing = alive * invoices
    return ((alive - lost).clip(0) * invoices + PRIOR) / (missing + 2 * PRIOR)


def probability_late(
    observations: pl.DataFrame, curves: pl.DataFrame | None = None, *, history: pl.DataFrame | None = None
) -> pl.DataFrame:
    """Return `ledger_row`, `probability_late` of every missing invoice; null where no time is known.

    Args:
        observations: as returned by `observations`.
        curves: as returned by `lateness`; made from the observations where not given.
        history: earlier months' curves to borrow from.
    """
    table = curves if curves is not None and "plateau" in curves.columns else lateness(observations, history=history)
    missing = observations.filter(~pl.col("visible"))
    if table.is_empty():
        return missing.select("ledger_row", probability_late=pl.lit(None, pl.Float64))
    known = at_age(missing, table)
    late = known.select(probability_late=chance(pl.col("survival"), pl.col("plateau"), pl.col("invoices")))
    return missing.select("ledger_row").with_columns(late)


def lost_interval(probabilities: pl.Series, *, confidence: float = 0.9) -> dict[str, float]:
    """Return how many are really lost: `expected`, `lower`, `upper`, by the Poisson-binomial normal approximation."""
    lost = 1 - probabilities.drop_nulls().to_numpy()
    mean, deviation = float(lost.sum()), float(np.sqrt((lost * (1 - lost)).sum()))
    z = {0.9: 1.6448536, 0.95: 1.959964, 0.99: 2.5758293}[confidence]
    return {
        "expected": mean,
        "lower": max(0.0, mean - z * deviation),
        "upper": min(float(len(lost)), mean + z * deviation),
    }
