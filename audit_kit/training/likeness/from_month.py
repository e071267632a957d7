"""From a worked-up month to its likeness: times redrawn within the hour, ranks for parties, other amounts."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from audit_kit import resources
from audit_kit.analysis.month import month
from audit_kit.core.cause_records import simulated
from audit_kit.core.errors import RequestError
from audit_kit.core.identity import with_key
from audit_kit.resources.languages import Phrase
from audit_kit.training.likeness.likeness import BY_ROW, Likeness, shuffled_times
from audit_kit.training.world import stream

if TYPE_CHECKING:
    from audit_kit.analysis.analysis import Analysis
    from audit_kit.training.world.dice import Dice, Integers

DIGITAL = 20  # digits of a number that needs no code
UNMADE = (*BY_ROW, "only_in_backup")
ADDED = ("outside_export", "booked_twice", "unbooked")  # rows that a made month adds by itself
SPREAD = 0.25  # by how much an amount or a delay is changed
LEAST = 5_000  # fen
BATCHES = 90  # second digits of codes that are tried
ROUND = 10_000  # fen: an amount that is a whole multiple stays one


def month_of(analysis: Analysis, wanted: str | None) -> str:
    """Return the month asked for, `YYYY-MM`; null = the one with most missing invoices.

    Raises:
        RequestError: the ledger has no such month, or no dated invoice.
    """
    months = analysis.ledger.select(month=pl.col("issued_at").dt.strftime("%Y-%m")).with_row_index("ledger_row")
    missing = analysis.matches.filter(pl.col("outcome").cast(pl.String) == "missing")["ledger_row"]
    counts = months.drop_nulls().group_by("month").agg(missing=pl.col("ledger_row").is_in(missing.implode()).sum())
    known = counts.sort("missing", "month", descending=True)["month"].to_list()
    if not known or (wanted is not None and wanted not in known):
        listed = ", ".join(sorted(known)) or Phrase("error_core.unknown")
        raise RequestError("error_report.no_invoice_of", month=wanted or "–", known=listed)
    return wanted or str(known[0])


def likeness(analysis: Analysis, wanted: str, dice: Dice, *, taken_amounts: Integers, codes: set[str]) -> Likeness:
    """Return the shape of a month; no amount of it is one of `taken_amounts` (fen), no code one of `codes`."""
    of = month(analysis, wanted)
    booked = with_key(of.ledger).with_row_index("ledger_row")
    booked = booked.filter(pl.col("issued_at").dt.strftime("%Y-%m") == wanted)
    found = of.findings.unique("ledger_row", keep="first", maintain_order=True).select("ledger_row", "cause", "subject")
    rows = booked.join(found.drop_nulls("ledger_row"), on="ledger_row", how="left", maintain_order="left")
    seen = of.observations.select("ledger_row", shown="channel", came="visible_at")
    rows = rows.join(seen.unique("ledger_row", keep="first"), on="ledger_row", how="left", maintain_order="left")
    rows = rows.filter(~pl.col("cause").is_in(ADDED).fill_null(value=False))
    rows = rows.with_columns(pl.col("cause").replace({"only_in_backup": "lost"}))  # there are no backups to find it in
    start = stream.seconds(datetime.strptime(wanted, "%Y-%m"))  # noqa: DTZ007  Beijing time is kept without zone
    rows = rows.with_columns(
        issued=pl.Series(
            shuffled_times(_seconds(rows["issued_at"]), ~rows["date_only"].fill_null(value=True).to_numpy(), dice)
        )
    )
    rows = rows.sort("issued", maintain_order=True)
    last = int(rows["issued"].to_numpy().max())
    taken = max(stream.seconds(analysis.taken_at) // stream.HOUR * stream.HOUR, last + stream.HOUR)
    known = simulated()
    others = (
        found["cause"].drop_nulls().to_list() + of.findings.filter(pl.col("cause") == "unbooked")["cause"].to_list()
    )
    counts = {cause: others.count(cause) for cause in dict.fromkeys(others) if cause in known and cause not in UNMADE}
    return Likeness(
        rows=_shaped(rows, dice),
        counts=counts,
        start=start,
        taken=taken,
        announced=not analysis.engagement.table("notices").is_empty(),
        amounts=taken_amounts,
        batch=free_batch(codes),
    )


def _seconds(moments: pl.Series) -> Integers:
    return np.asarray(moments.dt.epoch("s").to_numpy(), dtype=np.int64)


def _shaped(rows: pl.DataFrame, dice: Dice) -> pl.DataFrame:
    """Return the columns of `Likeness.rows`."""
    digital = (pl.col("invoice_key").str.len_chars() == DIGITAL).fill_null(value=True) | (
        pl.col("digital_number").is_not_null()
    )
    old = ~digital & pl.col("invoice_code").is_not_null()
    channel = pl.coalesce("shown", "channel").fill_null("")
    rows = rows.with_columns(old=old, way=channel).with_columns(
        way=_rank("way", pl.col("way").len().over("way", "old")),
        buyer=_rank("buyer_name", pl.len().over("buyer_name")),
    )
    rows = rows.with_columns(way=pl.when("old").then(3).otherwise(pl.col("way").clip(0, 2)))
    wait = (pl.col("came").dt.epoch("s") - pl.col("issued")).cast(pl.Float64)
    spread = pl.Series(np.exp(SPREAD * dice.normal(rows.height)))
    event = pl.col("cause").is_in(["batch_lost", "outage"]).fill_null(value=False)
    kind = pl.col("kind").fill_null("")
    return rows.with_columns(account=_rank("account", pl.len().over("account", "way")).over("way")).select(
        "issued",
        channel=pl.col("way").cast(pl.Int64),
        given_buyer=pl.col("buyer").cast(pl.Float64),
        given_account=pl.col("account").cast(pl.Float64),
        given_price=pl.Series(_prices(rows["gross"], dice)),
        given_place=pl.when(kind.str.contains("专用"))
        .then(pl.when("old").then(0).otherwise(1))
        .when(pl.col("old") & kind.str.contains("电子"))
        .then(2)
        .when("old")
        .then(1)
        .otherwise(0)
        .cast(pl.Float64),
        given_delay=pl.when(wait > 0).then((wait * spread).floor() + 1),
        fate=pl.when(pl.col("cause").is_in(BY_ROW)).then("cause").fill_null(""),
        run=pl.when(event).then(pl.col("subject").fill_null("").rank("dense")).fill_null(0).cast(pl.Int64),
    )


def _rank(name: str, size: pl.Expr) -> pl.Expr:
    """Return the place of each value of a column by how many rows have it, 0 being the commonest."""
    return (pl.struct((-size.cast(pl.Int64)).alias("size"), pl.col(name).fill_null("")).rank("dense") - 1).cast(
        pl.Int64
    )


def _prices(gross: pl.Series, dice: Dice) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Return another amount for each, equal ones alike, and round ones round."""
    fen = np.abs(np.round(gross.cast(pl.Float64).fill_null(100.0).to_numpy() * 100)).astype(np.int64)
    each, where = np.unique(fen, return_inverse=True)
    made = np.maximum(np.round(each * np.exp(SPREAD * dice.normal(len(each)))), LEAST).astype(np.int64)
    even = (each % ROUND == 0) & (each > 0)
    made = np.where(even, np.maximum(made // ROUND, 1) * ROUND, made)
    return np.asarray(made[where], dtype=np.float64)


def free_batch(codes: set[str]) -> int:
    """Return the batch of invoice codes with which no made code is one of a real month's."""
    kinds = resources.load("simulation")["kinds"]
    templates = [*(code for _, _, code in kinds["old"]), kinds["paper_code"]]
    for batch in range(2, BATCHES):
        made = {stream.coded(code.replace("{year}", f"{year:02d}"), batch) for code in templates for year in range(100)}
        if not made & codes:
            return batch
    return BATCHES
