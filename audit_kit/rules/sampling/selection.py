"""Which rows: a sample of a population of amounts, part by part, the same for the same seed and population.

Amounts are whole cents, so that no sum is ever rounded. Parts: `top` and `negative_top` (every row), `positive` and
`negative` (by money without sign, at one fixed interval from a random start), `zero`, `random` and `stratum_1` … (each
row as likely).
"""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt
from statistics import pstdev

import polars as pl

from audit_kit.rules.sampling import draws, sizes

METHODS = ("mus", "random", "stratified")
EVERY, BY_MONEY, EQUAL = "every", "by_money", "equal"
ZERO_ROWS = 25  # no amount, no chance by money: so many are looked at, as a test of existence
STRATA = 4
_BINS = 400

PART = {
    "part": pl.String(),
    "way": pl.String(),
    "rows": pl.Int64(),
    "cents": pl.Int64(),
    "absolute": pl.Int64(),
    "usual": pl.Int64(),
    "drawn": pl.Int64(),
    "interval": pl.Int64(),
    "start": pl.Int64(),
}
ROW = {"row": pl.UInt32(), "part": pl.String(), "cents": pl.Int64()}


@dataclass(frozen=True)
class Selection:
    """A sample: `parts` of the population (`PART`, in cents) and the `rows` drawn of each (`ROW`, in order)."""

    parts: pl.DataFrame
    rows: pl.DataFrame


def select(
    cents: pl.Series, *, method: str, size: int, seed: str, top_from: int = 0, strata: int = STRATA
) -> Selection:
    """Return a sample of a population.

    Args:
        cents: the amount of each row, none null; `row` counts them.
        method: one of `METHODS`.
        size: how many monetary units, or rows, are drawn; rows that are all examined come on top by money, are
            counted in it by strata.
        seed: any text.
        top_from: with strata, from how many cents on every row is examined; 0 = none.
        strata: how many strata the other rows above zero form.
    """
    population = pl.DataFrame({"row": pl.int_range(len(cents), dtype=pl.UInt32, eager=True), "cents": cents})
    if method == "mus":
        picked = _by_money(population, size, seed)
    elif method == "random":
        picked = [_equally("random", population, size, seed)]
    else:
        picked = _by_strata(population, size, seed, top_from=top_from, strata=strata)
    picked = [one for one in picked if one[0]["rows"]]
    parts = pl.DataFrame([part for part, _ in picked], schema=PART)
    rows = pl.concat([pl.DataFrame(schema=ROW), *(rows for _, rows in picked)])
    return Selection(parts, rows.sort("row"))


_Picked = tuple[dict[str, object], pl.DataFrame]


def _by_money(population: pl.DataFrame, size: int, seed: str) -> list[_Picked]:
    """Draw rows above zero at an interval, then go on through those below it, whose amounts count without sign."""
    amount = pl.col("cents")
    above, below = population.filter(amount > 0), population.filter(amount < 0)
    base = int(above["cents"].sum() or -below["cents"].sum() or 1)
    interval = max(1, base // max(1, size))
    is_top = amount.abs() >= interval
    rest = pl.concat([above.filter(~is_top), below.filter(~is_top)])
    drawn, interval, first = _at_interval(rest, interval, seed)
    sides = (("top", "positive", above, amount > 0), ("negative_top", "negative", below, amount < 0))
    picked = []
    for top, name, side, of_side in sides:
        chosen = drawn.filter(of_side)
        part = _part(name, BY_MONEY, side.filter(~is_top), chosen.height, interval=interval, start=first)
        picked += [_every(top, side.filter(is_top)), (part, _drawn(chosen, name))]
    return [*picked, _equally("zero", population.filter(amount == 0), ZERO_ROWS, seed)]


def _by_strata(population: pl.DataFrame, size: int, seed: str, *, top_from: int, strata: int) -> list[_Picked]:
    amount = pl.col("cents")
    is_top = (amount.abs() >= top_from) if top_from else pl.lit(value=False)
    tops = population.filter(is_top)
    rest = population.filter(~is_top)
    layers = [*_layers(rest.filter(amount > 0), strata), rest.filter(amount < 0)]
    names = [*(f"stratum_{at}" for at in range(1, len(layers))), "negative"]
    spreads = [_spread(layer["cents"]) for layer in layers]
    numbers = sizes.neyman([layer.height for layer in layers], spreads, max(0, size - tops.height))
    picked = [_every("top", tops)]
    picked += [_equally(name, layer, n, seed) for name, layer, n in zip(names, layers, numbers, strict=True)]
    return [*picked, _equally("zero", rest.filter(amount == 0), ZERO_ROWS, seed)]


def _spread(cents: pl.Series) -> float:
    values = [float(value) for value in cents]
    return pstdev(values) if len(values) > 1 else 0.0


def _layers(rows: pl.DataFrame, strata: int) -> list[pl.DataFrame]:
    """Return rows above zero in strata by amount, at equal steps of the cumulated root of the frequency.

    That is the rule of Dalenius and Hodges (1959), over bins of equal width in the root of the amount, for amounts are
    skewed.
    """
    if rows.is_empty():
        return []
    most = sqrt(int(rows["cents"].max() or 1))  # type: ignore[arg-type]
    binned = rows.with_columns(bin=(pl.col("cents").cast(pl.Float64).sqrt() * _BINS / (most + 1)).cast(pl.Int32))
    counts = binned.group_by("bin").len().sort("bin")
    cumulated = counts.with_columns(root=pl.col("len").cast(pl.Float64).sqrt().cum_sum())
    step = float(cumulated["root"][-1]) / strata
    layer = (pl.col("root") / step - 1e-9).floor().clip(0, strata - 1).cast(pl.Int32)
    placed = binned.join(cumulated.select("bin", layer=layer), on="bin", maintain_order="left")
    return [part.select("row", "cents") for part in placed.sort("layer", "row").partition_by("layer")]


def _part(
    name: str, way: str, rows: pl.DataFrame, drawn: int, *, interval: int = 0, start: int = 0
) -> dict[str, object]:
    return {
        "part": name,
        "way": way,
        "rows": rows.height,
        "cents": int(rows["cents"].sum()),
        "absolute": int(rows["cents"].abs().sum()),
        "usual": _usual(rows["cents"]),
        "drawn": drawn,
        "interval": interval,
        "start": start,
    }


def _usual(cents: pl.Series) -> int:
    """Return the amount of the row that a yuan drawn at random is in, on average: squares over sum, exactly."""
    values = [abs(int(value)) for value in cents]
    return sum(value * value for value in values) // sum(values) if any(values) else 0


def _drawn(rows: pl.DataFrame, name: str) -> pl.DataFrame:
    return rows.select("row", pl.lit(name).alias("part"), "cents")


def _every(name: str, rows: pl.DataFrame) -> _Picked:
    return _part(name, EVERY, rows, rows.height), _drawn(rows, name)


def _equally(name: str, rows: pl.DataFrame, size: int, seed: str) -> _Picked:
    chosen = rows[draws.choose(size, rows.height, seed=seed, stream=name)] if rows.height else rows
    return _part(name, EQUAL, rows, chosen.height), _drawn(chosen, name)


def _at_interval(rows: pl.DataFrame, interval: int, seed: str) -> tuple[pl.DataFrame, int, int]:
    """Return each row that holds a monetary unit at the start or a whole number of intervals after it.

    The interval is no longer than the money there is, so that one row at least is drawn; it is returned with the start.
    """
    total = int(rows["cents"].abs().sum())
    if not total:
        return rows, interval, 0
    step = min(interval, total)
    first = draws.start(step, seed=seed, stream="money")
    units = pl.Series(range(first, total + 1, step), dtype=pl.Int64)
    at = rows["cents"].abs().cum_sum().search_sorted(units, side="left")
    return rows[at.unique(maintain_order=True).to_list()], step, first
