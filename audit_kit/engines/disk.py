"""Reconcile parquet files straight from disk, also when they are larger than memory.

Of every row only 16 bytes and a little are kept: its number as an exact integer and a hash of its fields. That settles
nearly all rows; only those that need a closer look are fetched whole, and the same passes run on them as in memory. The
answer is written a stretch at a time. At 30 million rows a side this takes a few gigabytes.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import polars as pl
import pyarrow.parquet as pq
from polars.io.plugins import register_io_source

from audit_kit.core import identity, outputs
from audit_kit.core.policy import MatchingPolicy
from audit_kit.rules.matching import answer, comparison, reconcile, side
from audit_kit.rules.matching.case import Case
from audit_kit.rules.matching.numbers import as_it_stands, number_columns, tidy_integers

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

IN_MEMORY_ROWS = 6_000_000
"""Ledger rows up to which both files are simply loaded."""

STRETCH = 1_000_000
"""Rows read, hashed or written at a time."""

ROWS_A_PARTITION = 10_000_000
_DEFAULT = MatchingPolicy()


def suits(path: Path) -> bool:
    """Say whether a file is parquet with canonical columns of the right types, so that it can be used as it is."""
    if path.suffix.lower() != ".parquet" or not path.exists():
        return False
    columns = pl.scan_parquet(path, glob=False).collect_schema()
    if not {"digital_number", "invoice_number"} & set(columns) or not {"issued_at", "gross"} <= set(columns):
        return False
    return columns["issued_at"].is_temporal() and columns["gross"].is_numeric()


def reconcile_files(
    ledger: Path, platform: Path, out: Path, *, policy: MatchingPolicy = _DEFAULT, partitions: int | None = None
) -> pl.DataFrame:
    """Write the matches of two parquet files to a parquet file, as `rules.matching.reconcile` would give them.

    Args:
        ledger: parquet with canonical columns; as for `reconcile`, all but number, date and amount are optional.
        platform: the same.
        out: the file to write (`schema.Matches`).
        policy: how far amounts may differ, in yuan.
        partitions: join the numbers in so many parts; by default one for every ten million ledger rows, and files of up
            to six million rows are simply loaded.

    Returns:
        `outcome`, `len`: how many rows have each outcome.

    Raises:
        RequestError: a column that is needed is not there, or `out` is one of the two files.
        PlaceError: `out` cannot be written.
    """
    with outputs.writing(out, inputs=(ledger, platform)) as made:
        return _reconciled(Stored(ledger), Stored(platform), made, policy, partitions)


def _reconciled(left: Stored, right: Stored, out: Path, policy: MatchingPolicy, partitions: int | None) -> pl.DataFrame:
    comparison.require_columns(list(left.columns), "ledger")
    comparison.require_columns(list(right.columns), "platform")
    if partitions is None and max(left.height, right.height) <= IN_MEMORY_ROWS:
        found = reconcile.reconcile(left.load(), right.load(), policy=policy)
        outputs.write_parquet(found, out)
        return found.group_by("outcome").len()
    fields = tuple(name for name in comparison.FIELDS if name in left.columns and name in right.columns)
    left, right = replace(left, fields=fields), replace(right, fields=fields)
    return _write(_settled(left, right, policy, partitions or -(-left.height // ROWS_A_PARTITION)), left, out)


@dataclass(frozen=True)
class Stored:
    """A side that stays on disk (`rules.matching.side.Side`)."""

    path: Path
    fields: tuple[str, ...] = ()
    kept: dict[str, pl.DataFrame] = field(default_factory=dict)

    @cached_property
    def columns(self) -> pl.Schema:
        """The columns of the file."""
        return pl.scan_parquet(self.path, glob=False).collect_schema()

    @cached_property
    def height(self) -> int:
        """The number of rows."""
        return int(pl.scan_parquet(self.path, glob=False).select(pl.len()).collect().item())

    @cached_property
    def whole(self) -> pl.Series:
        """The tidy numbers of all rows as exact integers."""
        stretches = (tidy_integers(numbers, as_it_stands(numbers)) for numbers in self._numbers())
        return pl.concat(stretches, rechunk=True)

    @cached_property
    def gaps(self) -> frozenset[str]:
        """The fields that may be null in some row, as far as the file itself says."""
        file = pq.ParquetFile(self.path).metadata
        places = {file.schema.column(at).path: at for at in range(file.num_columns)}
        groups = [file.row_group(at) for at in range(file.num_row_groups)]

        def full(name: str) -> bool:
            statistics = [group.column(places[name]).statistics for group in groups]
            return all(one is not None and one.has_null_count and not one.null_count for one in statistics)

        return frozenset(name for name in self.fields if name == "status" or not full(name))

    def fingerprints(self, solid: Sequence[str], sparse: Sequence[str]) -> pl.DataFrame:
        """Return one hash of the solid fields of each row, and a hash, or null, for each sparse field."""
        parts = []
        for stretch in self._stretches(self.fields):
            folded = comparison.folded(comparison.values(stretch, self.fields))
            hashes = [pl.when(pl.col(name).is_not_null()).then(pl.col(name).hash()).alias(name) for name in sparse]
            parts.append(folded.select(side.row_hashes(folded.select(solid), folded.height), *hashes))
        return pl.concat(parts, rechunk=True)

    def text_at(self, rows: pl.Series) -> pl.Series:
        """Return the numbers as they stand."""
        return as_it_stands(self.numbers_at(rows))

    def numbers_at(self, rows: pl.Series) -> pl.DataFrame:
        """Return the number columns."""
        return number_columns(self._rows(rows))

    def values_at(self, rows: pl.Series) -> pl.DataFrame:
        """Return the compared fields."""
        return comparison.values(self._rows(rows), self.fields)

    def papers(self) -> pl.DataFrame:
        """Return the numbers of paper 数电票."""
        nothing = pl.DataFrame(schema={"paper": pl.String, "invoice_key": pl.String})
        return pl.concat([nothing, *(identity.paper_numbers(numbers) for numbers in self._numbers())])

    def load(self) -> pl.DataFrame:
        """Return the columns that matter, whole."""
        wanted = [name for name in (*self._number_names, *comparison.FIELDS) if name in self.columns]
        return pl.read_parquet(self.path, glob=False, columns=list(dict.fromkeys(wanted)))

    def texts(self) -> Iterator[pl.Series]:
        """Yield the numbers as they stand, a stretch at a time."""
        yield from (as_it_stands(numbers) for numbers in self._numbers())

    @property
    def _number_names(self) -> list[str]:
        return [name for name in (*identity.NUMBER_COLUMNS, "cleaning") if name in self.columns]

    def _numbers(self) -> Iterator[pl.DataFrame]:
        yield from self._stretches(self._number_names)

    def _stretches(self, names: Sequence[str]) -> Iterator[pl.DataFrame]:
        chosen = pl.scan_parquet(self.path, glob=False).select(names)
        for start in range(0, max(self.height, 1), STRETCH):
            yield chosen.slice(start, STRETCH).collect()

    def _rows(self, rows: pl.Series) -> pl.DataFrame:
        """Return rows whole, in the order asked for; what was fetched once is kept."""
        names = list(dict.fromkeys([*self._number_names, *self.fields]))
        held = self.kept.get("rows")
        wanted = np.unique(rows.to_numpy())
        fresh = wanted if held is None else np.setdiff1d(wanted, held["|at"].to_numpy(), assume_unique=True)
        if held is None or len(fresh):
            parts = [] if held is None else [held]
            parts += [self._fetch(names, fresh, at) for at in range(0, max(self.height, 1), STRETCH)]
            held = self.kept["rows"] = pl.concat(parts).sort("|at")
        places = np.searchsorted(held["|at"].to_numpy(), rows.to_numpy())
        return held[pl.Series(places, dtype=pl.UInt32)].drop("|at")

    def _fetch(self, names: list[str], rows: np.ndarray, start: int) -> pl.DataFrame:
        """Return the asked-for rows that lie in one stretch."""
        first, last = np.searchsorted(rows, [start, start + STRETCH])
        here = pl.Series("|at", rows[first:last], dtype=pl.UInt32)
        chosen = pl.scan_parquet(self.path, glob=False).select(names)
        if not len(here):
            return chosen.head(0).collect().with_columns(here)
        return chosen.slice(start, STRETCH).collect()[here - start].with_columns(here)


def _settled(left: Stored, right: Stored, policy: MatchingPolicy, partitions: int) -> Case:
    """Run the passes on two stored sides."""
    case = Case(
        ledger=left,
        platform=right,
        tolerance=comparison.tolerance_units(policy.amount_tolerance_yuan),
        left=pl.DataFrame({"row": pl.int_range(left.height, dtype=pl.UInt32, eager=True)}),
        right=pl.DataFrame({"row": pl.int_range(right.height, dtype=pl.UInt32, eager=True)}),
        partitions=partitions,
    )
    for step in reconcile.PASSES:
        case = step(case)
    return case


def _write(case: Case, ledger: Stored, out: Path) -> pl.DataFrame:
    """Write the answer a stretch at a time, and count its outcomes."""
    found = answer.answer(case)

    def stretches(*_: object) -> Iterator[pl.DataFrame]:
        start = 0
        for text in ledger.texts():
            yield found.booked(text, start)
            start += len(text)
        yield found.unclaimed

    with out.open("wb") as file:
        register_io_source(stretches, schema=found.unclaimed.schema).sink_parquet(file)
    outcomes = pl.concat([found.outcomes.alias("outcome"), found.unclaimed["outcome"]])
    return outcomes.to_frame().group_by("outcome").len()
