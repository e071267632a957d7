"""What a sample is drawn from, and that nothing fell out of it unsaid: rows and money tie to the ledger's totals."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import polars as pl

from audit_kit.core.errors import RequestError

if TYPE_CHECKING:
    from collections.abc import Sequence

IDENTITY = ("source_file", "source_row", "invoice_key", "cents")


@dataclass(frozen=True)
class Total:
    """So many rows, and their money in cents; `name` says what they are."""

    name: str
    rows: int
    cents: int


def tie(total: Total, exclusions: Sequence[Total], population: Total) -> None:
    """Refuse a population that is not the total less what was left out by name.

    Raises:
        RequestError: rows or money do not add up: it was filtered without saying so.
    """
    rows = total.rows - sum(one.rows for one in exclusions) - population.rows
    cents = total.cents - sum(one.cents for one in exclusions) - population.cents
    if rows or cents:
        raise RequestError("error_sampling.not_tied", rows=f"{rows:,}", yuan=f"{cents / 100:,.2f}")


def fingerprint(rows: pl.DataFrame) -> str:
    """Return the SHA-256 of a population: of each row, in order, `IDENTITY` between tabs, a line each."""
    lines = rows.select(
        pl.concat_str([pl.col(name).cast(pl.String).fill_null("") for name in IDENTITY], separator="\t") + "\n"
    ).to_series()
    digest = hashlib.sha256()
    for line in lines:
        digest.update(line.encode())
    return digest.hexdigest()


def cents_of(yuan: pl.Expr) -> pl.Expr:
    """Return yuan with two decimals as whole cents."""
    return (yuan.cast(pl.Decimal(18, 2)) * 100).cast(pl.Int64)
