"""Last time's chances against what then happened: who turned up in a later export, and how good the chances were."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl

from audit_kit.rules.sync.lateness import lost_interval

VISIBLE = ("matched", "matched_cleaned", "mistyped", "conflict")
BINS = 10


@dataclass(frozen=True, kw_only=True)
class Settlement:
    """How the chances held.

    `rows`: invoices with a chance. `brier`, `brier_base`: mean squared error of the chances, and of the observed share
    for all. `ece`: expected calibration error over ten bins. `late_predicted`, `late_observed`, `still_missing`:
    counts.
    `late_lower`, `late_upper`: 90 % interval of the number that should have come.
    `reliability`: `bin`, `rows`, `predicted`, `observed`, `lower`, `upper` (95 %).
    `arrivals`: `ledger_row`, `invoice_key`, `probability_late`, `came`.
    """

    rows: int
    brier: float | None
    brier_base: float | None
    ece: float | None
    late_predicted: float
    late_observed: int
    still_missing: int
    late_lower: float
    late_upper: float
    reliability: pl.DataFrame
    arrivals: pl.DataFrame

    def figures(self) -> dict[str, float | int | None]:
        """Return the figures of `audit-kit settle --json`."""
        names = ("rows", "brier", "brier_base", "ece", "late_predicted", "late_observed", "still_missing")
        return {name: getattr(self, name) for name in names}


def settle(predictions: pl.DataFrame, later: pl.DataFrame) -> Settlement:
    """Score chances against the matches of the same ledger with a later export.

    Args:
        predictions: `ledger_row`, `probability_late`; rows without a chance are left out.
        later: the outcome of `reconcile` of the ledger with the later platform export.
    """
    came = later.filter(pl.col("ledger_row").is_not_null()).select(
        "ledger_row", "invoice_key", came=pl.col("outcome").cast(pl.String).is_in(VISIBLE)
    )
    arrivals = (
        predictions.filter(pl.col("probability_late").is_not_null() & pl.col("ledger_row").is_not_null())
        .select("ledger_row", "probability_late")
        .join(came, on="ledger_row", how="left", maintain_order="left")
        .select("ledger_row", "invoice_key", "probability_late", pl.col("came").fill_null(value=False))
    )
    chances = arrivals["probability_late"].to_numpy()
    truth = arrivals["came"].cast(pl.Float64).to_numpy()
    table = reliability(arrivals)
    gap = (table["predicted"] - table["observed"]).abs() * table["rows"]
    interval = lost_interval(1 - arrivals["probability_late"])
    n = len(truth)
    return Settlement(
        rows=n,
        brier=float(np.mean((chances - truth) ** 2)) if n else None,
        brier_base=float(truth.mean() * (1 - truth.mean())) if n else None,
        ece=float(gap.sum()) / n if n else None,
        late_predicted=float(chances.sum()),
        late_observed=int(truth.sum()),
        still_missing=int(n - truth.sum()),
        late_lower=interval["lower"],
        late_upper=interval["upper"],
        reliability=table,
        arrivals=arrivals,
    )


def reliability(arrivals: pl.DataFrame, bins: int = BINS) -> pl.DataFrame:
    """Return predicted against observed share per bin of the chance: `bin` (its lower end) and more, see Settlement."""
    edge = (pl.col("probability_late") * bins).floor().clip(0, bins - 1) / bins
    table = arrivals.group_by(bin=edge).agg(
        rows=pl.len(), predicted=pl.col("probability_late").sort().mean(), observed=pl.col("came").mean()
    )
    spread = 1.96 * (pl.col("observed") * (1 - pl.col("observed")) / pl.col("rows") + 0.25 / pl.col("rows") ** 2).sqrt()
    return table.with_columns(
        lower=(pl.col("observed") - spread).clip(0, 1), upper=(pl.col("observed") + spread).clip(0, 1)
    ).sort("bin")
