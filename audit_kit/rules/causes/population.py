"""All invoices that no cause has taken yet, with what was to be expected of each."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from audit_kit.rules.sync.lateness import at_age, by_policy, lateness

if TYPE_CHECKING:
    from audit_kit.rules.causes.evidence import Case


def population(case: Case) -> pl.DataFrame:
    """Return all timed ledger rows that no cause has taken yet.

    `ledger_row`, `channel`, `issued_at`, `missing`, `expected` (chance to be missing at its operational age though
    nothing is wrong with it), `undisturbed` (the same had there been no stop), `plateau` (lost share of its channel),
    `invoices` (behind that estimate).
    """
    evidence = case.evidence
    explained = case.rows.filter(pl.col("outcome") == "missing")["ledger_row"]
    known = evidence.observations.filter(pl.col("issued_at").is_not_null())
    known = without(known, case, explained, but=case.missing["ledger_row"])
    table = lateness(known, history=evidence.history, policy=evidence.policy.sync)
    wall = ((pl.lit(evidence.taken_at) - pl.col("issued_at")).dt.total_microseconds() / 60e6).clip(0)
    known = known.with_columns(wall=wall)
    now, undisturbed = at_age(known, table), _undisturbed(known, table, case)
    return known.select("ledger_row", "channel", "issued_at", missing=~pl.col("visible")).with_columns(
        now["survival"].alias("expected"), undisturbed.alias("undisturbed"), now["plateau"], now["invoices"]
    )


def _undisturbed(known: pl.DataFrame, table: pl.DataFrame, case: Case) -> pl.Series:
    """Return the chance to be missing at its wall-clock age had there been no stop.

    Operational time takes stops off where arrivals are timed. Presence at an age has them in it: for what was issued in
    a stop still open, the service level stands in.
    """
    usual = at_age(known, table, age="wall")["survival"]
    opened = case.evidence.stops.filter(pl.col("ends_at").is_null())["starts_at"].min()
    if opened is None or (known.filter("visible")["since"] != 0).fill_null(value=True).any():
        return usual
    agreed = at_age(known, by_policy(case.evidence.policy.sync), age="wall")["survival"]
    return known.select(pl.when(pl.col("issued_at") >= opened).then(agreed).otherwise(usual)).to_series()


def still_open(people: pl.DataFrame, case: Case) -> pl.DataFrame:
    """Return the population without the missing rows that a cause took since it was laid out."""
    return without(people, case, people.filter("missing")["ledger_row"], but=case.missing["ledger_row"])


def without(people: pl.DataFrame, case: Case, rows: pl.Series, *, but: pl.Series | None = None) -> pl.DataFrame:
    """Return the population without these ledger rows, except those in `but`."""
    gone = np.zeros(case.evidence.ledger.height, dtype=bool)
    gone[rows.to_numpy()] = True
    if but is not None:
        gone[but.to_numpy()] = False
    return people.filter(pl.Series(~gone[people["ledger_row"].to_numpy()]))


def with_ledger(people: pl.DataFrame, case: Case, *names: str) -> pl.DataFrame:
    """Return the population with columns of the ledger as text; null where the ledger lacks them."""
    ledger, place = case.evidence.ledger, people["ledger_row"]
    return people.with_columns(
        (ledger[name].gather(place) if name in ledger.columns else pl.lit(None)).cast(pl.String).alias(name)
        for name in names
    )


def lost_share(rows: pl.DataFrame) -> float | None:
    """Return which share of a group is lost, what is merely late at its age taken out; null where all is still open."""
    among = rows.select(late_among_the_rest()).to_series().drop_nulls().to_numpy()
    late = float(among.mean()) if len(among) else 0.0  # polars adds chunk by chunk, and their number varies
    share = (float(rows["missing"].sum()) + 0.5) / (rows.height + 1)
    return None if late > 0.5 else max((share - late) / (1 - late), 0.0)  # noqa: PLR2004 - most


def alive(share: pl.Expr) -> pl.Expr:
    """Return the chance to be missing at an age when `share` of a group is lost, by the delays of its channel."""
    return share + (1 - share) * late_among_the_rest()


def late_among_the_rest() -> pl.Expr:
    """Return the chance that an invoice that is not lost is still on its way."""
    return (pl.col("expected") - pl.col("plateau")) / (1 - pl.col("plateau")).clip(1e-9)
