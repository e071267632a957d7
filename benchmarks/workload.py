"""Invoices of two books with known truth, for measuring: a ledger, a platform's export, and what was done to each row.

Normal: numbers drawn at random with runs, a quarter of the amounts round. Hard: every seller's numbers are consecutive
and nine amounts of ten come from 200 price points, so that a mistyped number often is another invoice's.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import polars as pl
import pyarrow.parquet as pq

if TYPE_CHECKING:
    from pathlib import Path

SHARES = {
    "missing": 0.02,
    "unbooked": 0.005,
    "mistyped": 0.005,
    "cleaned": 0.0026,
    "amount": 0.005,
    "duplicate": 0.002,
    "late_date": 0.05,
}
SELLERS = 2_000
BUYERS = 20_000
PRICE_POINTS = 200
SECONDS_A_YEAR = 364 * 86_400
RUNS_SHARE = 0.5
ROUND_SHARE = 0.25
PRICED_SHARE = 0.9
START = np.datetime64("2025-01-01T00:00:00", "us")
REGIONS = (11, 12, 13, 14, 15, 21, 22, 23, 31, 32, 33, 34, 35, 36, 37, 41, 42, 43, 44, 45)
INVOICES_A_REGION = 5_000_000


@dataclass(frozen=True)
class Work:
    """Both sides in canonical columns; `truth` has one row a ledger row: `ledger_row`, `platform_row`, `kind`."""

    ledger: pl.DataFrame
    platform: pl.DataFrame
    truth: pl.DataFrame


def write(folder: Path, invoices: int, *, hard: bool = False) -> None:
    """Write ledger.parquet, platform.parquet and truth.parquet; above five million, one region after the other."""
    starts = range(0, invoices, INVOICES_A_REGION)
    parts = [folder / f"part-{at}" for at in range(len(starts))]
    offsets = {"ledger_row": 0, "platform_row": 0}
    for at, start in enumerate(starts):
        work = make(min(INVOICES_A_REGION, invoices - start), hard=hard, seed=at + 1, region=REGIONS[at])
        parts[at].mkdir(exist_ok=True)
        work.ledger.write_parquet(parts[at] / "ledger.parquet")
        work.platform.write_parquet(parts[at] / "platform.parquet")
        moved = [(pl.col(name) + offset).cast(pl.UInt32) for name, offset in offsets.items()]
        work.truth.with_columns(moved).write_parquet(parts[at] / "truth.parquet")
        offsets["ledger_row"] += work.ledger.height
        offsets["platform_row"] += work.platform.height
    for name in ("ledger", "platform", "truth"):
        _append([part / f"{name}.parquet" for part in parts], folder / f"{name}.parquet")
    for part in parts:
        part.rmdir()


def _append(parts: list[Path], out: Path) -> None:
    """Write the row groups of several parquet files into one, and remove them."""
    with pq.ParquetWriter(out, pq.read_schema(parts[0])) as writer:
        for part in parts:
            file = pq.ParquetFile(part)
            for group in range(file.num_row_groups):
                writer.write_table(file.read_row_group(group))
            part.unlink()


def make(invoices: int, *, hard: bool = False, seed: int = 1, region: int = REGIONS[0]) -> Work:
    """Return about `invoices` ledger rows and as many platform rows, the same for the same arguments."""
    rng = np.random.default_rng(seed)
    books = _books(invoices, hard=hard, region=region, rng=rng)
    kinds = _kinds(invoices, rng)
    ledger = _spoil(books, kinds, rng)
    platform = _platform(books, kinds, rng)
    return _joined(ledger, platform, kinds, rng)


def _books(invoices: int, *, hard: bool, region: int, rng: np.random.Generator) -> pl.DataFrame:
    """Return the invoices as they were issued, with `invoice` as their identity."""
    seller = rng.integers(0, SELLERS, invoices)
    second = np.sort(rng.integers(0, SECONDS_A_YEAR, invoices))
    if hard:
        order = np.argsort(seller, kind="stable")
        place = np.empty(invoices, dtype=np.int64)
        starts = np.searchsorted(seller[order], np.arange(SELLERS))
        place[order] = np.arange(invoices) - starts[seller[order]]
        serial = seller * (10**15 // SELLERS) + rng.integers(0, 10**9, SELLERS)[seller] + place
        cents = _price_points(invoices, rng)
    else:
        runs = np.cumsum(rng.choice([1, 1, 1, 7, 4_000], invoices))
        serial = np.where(rng.random(invoices) < RUNS_SHARE, runs, 10**12 + rng.permutation(invoices * 9)[:invoices])
        cents = rng.integers(100, 50_000_000, invoices)
        rounded = rng.random(invoices) < ROUND_SHARE
        cents = np.where(rounded, cents // 10_000 * 10_000 + 10_000, cents)
    buyer = rng.integers(0, BUYERS, invoices)
    return pl.DataFrame(
        {
            "invoice": np.arange(invoices, dtype=np.uint32),
            "serial": serial,
            "issued_at": START + second.astype("timedelta64[s]"),
            "seller": seller,
            "buyer": buyer,
            "cents": cents,
        }
    ).select(
        "invoice",
        digital_number=pl.lit(f"25{region}2") + pl.col("serial").cast(pl.String).str.zfill(15),
        seller_tax_id=pl.lit("91110108MA") + pl.col("seller").cast(pl.String).str.zfill(8),
        buyer_tax_id=pl.lit("91110105MA") + pl.col("buyer").cast(pl.String).str.zfill(8),
        issued_at="issued_at",
        gross=(pl.col("cents").cast(pl.Decimal(18, 2)) / 100).cast(pl.Decimal(18, 2)),
        status=pl.lit("normal"),
        channel=pl.lit("网页"),
    )


def _price_points(invoices: int, rng: np.random.Generator) -> np.ndarray:
    """Return cents of which nine in ten are price points, the popular ones very popular."""
    points = rng.integers(100, 500_000, PRICE_POINTS)
    weights = 1 / np.arange(1, PRICE_POINTS + 1)
    chosen = rng.choice(points, invoices, p=weights / weights.sum())
    return np.where(rng.random(invoices) < PRICED_SHARE, chosen, rng.integers(100, 50_000_000, invoices))


def _kinds(invoices: int, rng: np.random.Generator) -> np.ndarray:
    """Return what happens to every invoice; no two things happen to one."""
    words = ["missing", "unbooked", "mistyped", "cleaned", "amount", "duplicate"]
    shares = [SHARES[word] for word in words]
    return rng.choice(["plain", *words], invoices, p=[1 - sum(shares), *shares])


def _spoil(books: pl.DataFrame, kinds: np.ndarray, rng: np.random.Generator) -> pl.DataFrame:
    """Return the ledger: numbers mistyped and dirtied, rows booked twice, unbooked ones left out."""
    numbers = books["digital_number"].to_numpy().copy().astype(object)
    for at in np.flatnonzero(kinds == "mistyped"):
        numbers[at] = _mistyped(numbers[at], rng)
    for at in np.flatnonzero(kinds == "cleaned"):
        numbers[at] = _dirtied(numbers[at], rng)
    spoiled = books.with_columns(pl.Series("digital_number", numbers, dtype=pl.String))
    booked = spoiled.filter(pl.Series(kinds != "unbooked"))
    twice = booked.join(books.filter(pl.Series(kinds == "duplicate")).select("invoice"), on="invoice", how="semi")
    return pl.concat([booked.with_columns(first=pl.lit(value=True)), twice.with_columns(first=pl.lit(value=False))])


def _mistyped(number: str, rng: np.random.Generator) -> str:
    """Replace one digit, or swap two unequal neighbours, anywhere behind the year."""
    if rng.integers(2):
        at = int(rng.integers(2, len(number)))
        other = str((int(number[at]) + int(rng.integers(1, 10))) % 10)
        return number[:at] + other + number[at + 1 :]
    places = [at for at in range(2, len(number) - 1) if number[at] != number[at + 1]]
    at = places[int(rng.integers(0, len(places)))]
    return number[:at] + number[at + 1] + number[at] + number[at + 2 :]


def _dirtied(number: str, rng: np.random.Generator) -> str:
    """Write a number as people write it: full width, in groups, quoted, with an O for a zero."""
    wide = str.maketrans("0123456789", "０１２３４５６７８９")
    ways = (
        number.translate(wide),
        f"{number[:4]} {number[4:12]}-{number[12:]}",
        f"'{number}",
        f'="{number}"',
        number.replace("0", "O", 1) if "0" in number else f"{number} ",
    )
    return ways[int(rng.integers(0, len(ways)))]


def _platform(books: pl.DataFrame, kinds: np.ndarray, rng: np.random.Generator) -> pl.DataFrame:
    """Return the platform's rows: missing ones left out, some amounts and dates other than booked, reordered."""
    later = np.where(rng.random(len(kinds)) < SHARES["late_date"], rng.integers(0, 2 * 86_400, len(kinds)), 0)
    later = np.where(np.isin(kinds, ["mistyped", "cleaned"]), 0, later)
    raised = pl.Series((kinds == "amount") * 100).cast(pl.Decimal(18, 2))
    rows = books.with_columns(
        pl.col("issued_at") + pl.Series(later * 1_000_000).cast(pl.Duration("us")),
        (pl.col("gross") + raised).cast(pl.Decimal(18, 2)),
    )
    return rows.filter(pl.Series(kinds != "missing")).sample(fraction=1, shuffle=True, seed=int(rng.integers(2**31)))


def _joined(ledger: pl.DataFrame, platform: pl.DataFrame, kinds: np.ndarray, rng: np.random.Generator) -> Work:
    """Shuffle the ledger and tie both sides by the invoice behind each row."""
    ledger = ledger.sample(fraction=1, shuffle=True, seed=int(rng.integers(2**31))).with_row_index("ledger_row")
    places = platform.with_row_index("platform_row").select("invoice", "platform_row")
    known = pl.DataFrame({"invoice": np.arange(len(kinds), dtype=np.uint32), "kind": kinds})
    truth = ledger.select("ledger_row", "invoice", "first").join(known, on="invoice", how="left", maintain_order="left")
    truth = truth.join(places, on="invoice", how="left", maintain_order="left")
    return Work(
        ledger=ledger.drop("invoice", "ledger_row", "first"),
        platform=platform.drop("invoice"),
        truth=truth.select("ledger_row", "platform_row", "kind"),
    )
