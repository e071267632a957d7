"""What a diagnosis rests on, and the working sheet on which causes take their rows."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from string import Formatter
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from audit_kit import resources
from audit_kit.core import schema
from audit_kit.core.identity import with_key

if TYPE_CHECKING:
    from datetime import datetime

    from audit_kit.core.policy import Export, Policy

ROW = "row"
LEDGER_COLUMNS = (
    "serial", "issued_at", "seller_tax_id", "buyer_tax_id", "gross", "net", "kind", "status", "account", "voucher",
    "invoice_code", "invoice_number", "digital_number", "source_file", "source_row",
)  # fmt: skip
PLATFORM_COLUMNS = (
    "issued_at", "net", "tax", "gross", "kind", "status", "seller_tax_id", "seller_name", "buyer_tax_id", "buyer_name",
    "visible_at", "invoice_code", "invoice_number", "digital_number", "source_file", "source_row",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """Everything a diagnosis may look at; an optional source that is absent is its empty canonical frame.

    `observations`, `stops`: see rules.delays. `control`: the platform export's own totals against ours.
    `backup_keys`: `invoice_key`, `repo_id`, `backup_id`. `history`: earlier months' curves, or null.
    `archive`: `invoice_key` of the e-invoices that the live archive holds, or null where none is known.
    """

    ledger: pl.DataFrame
    platform: pl.DataFrame
    matches: pl.DataFrame
    observations: pl.DataFrame
    stops: pl.DataFrame
    accounts: pl.DataFrame
    notices: pl.DataFrame
    operations: pl.DataFrame
    sync_log: pl.DataFrame
    confirmations: pl.DataFrame
    substitute: pl.DataFrame
    control: pl.DataFrame
    backup_keys: pl.DataFrame
    export: Export
    policy: Policy
    taxpayer_ids: tuple[str, ...]
    direction: str
    taken_at: datetime
    history: pl.DataFrame | None = None
    archive: pl.DataFrame | None = None


@dataclass
class Case:
    """The working sheet: every match row that needs a cause, and which cause took it.

    `rows`: `row` (its place here), the match, the ledger row's columns, the platform row's columns as `p_…`.
    `claims`: what causes took. `population`, `excess`, `late`: what later causes work out for those after them.
    """

    evidence: Evidence
    lang: str
    rows: pl.DataFrame
    claims: list[pl.DataFrame] = field(default_factory=list)
    population: pl.DataFrame = field(default_factory=pl.DataFrame)
    excess: pl.DataFrame = field(default_factory=pl.DataFrame)
    late: pl.DataFrame = field(default_factory=pl.DataFrame)

    @classmethod
    def of(cls, evidence: Evidence, lang: str) -> Case:
        """Lay out the rows that need a cause."""
        open_rows = evidence.matches.filter(pl.col("outcome").cast(pl.String) != "matched").with_row_index(ROW)
        ledger = _gathered(evidence.ledger, LEDGER_COLUMNS, open_rows["ledger_row"], "")
        platform = _gathered(evidence.platform, PLATFORM_COLUMNS, open_rows["platform_row"], "p_")
        rows = open_rows.with_columns(*ledger, *platform)
        return cls(evidence, lang, rows)

    def __post_init__(self) -> None:
        """Nothing is taken yet."""
        self._taken = np.zeros(self.rows.height, dtype=bool)
        self._open = self.rows
        self._missing = self.rows.filter(pl.col("outcome") == "missing")

    def claim(self, rows: pl.DataFrame) -> None:
        """Let a cause take rows; no later one sees them."""
        if rows.height:
            self.claims.append(rows)
            self._taken[rows[ROW].to_numpy()] = True

    @property
    def open(self) -> pl.DataFrame:
        """The rows that no cause has taken yet."""
        self._open = self._left(self._open)
        return self._open

    @property
    def missing(self) -> pl.DataFrame:
        """The rows that no cause has taken yet and that are missing from the platform."""
        self._missing = self._left(self._missing)
        return self._missing

    def _left(self, rows: pl.DataFrame) -> pl.DataFrame:
        gone = self._taken[rows[ROW].to_numpy()]
        return rows.filter(pl.Series(~gone)) if gone.any() else rows

    @cached_property
    def words(self) -> dict[str, dict[str, str]]:
        """Title, evidence and next step of each cause, in the language asked for."""
        causes = resources.load("causes")["causes"]
        return {cause: entry[self.lang] for cause, entry in causes.items()}

    def phrase(self, name: str) -> str:
        """Return a short phrase used inside evidence."""
        text: str = resources.load("causes")["phrases"][name][self.lang]
        return text

    @cached_property
    def substitute(self) -> pl.DataFrame:
        """The substitute system's rows with their key."""
        return with_key(self.evidence.substitute)


def _gathered(frame: pl.DataFrame, columns: tuple[str, ...], rows: pl.Series, prefix: str) -> list[pl.Series]:
    """Return the columns at these positions; null where there is no position, or the frame lacks the column."""
    types = schema.dtypes("ledger")
    known = set(frame.columns) if frame.height else set()
    nothing = [None] * len(rows)
    return [
        (frame[name].gather(rows) if name in known else pl.Series(nothing, dtype=types[name])).alias(prefix + name)
        for name in columns
    ]


def rendered(template: str, columns: list[str], missing: str = "—") -> pl.Expr:
    """Return the template filled row by row. Cells are data: braces in them mean nothing.

    Raises:
        KeyError: the template names a column that is not there.
    """
    parts: list[pl.Expr] = []
    for literal, name, _, _ in Formatter().parse(template):
        if literal:
            parts.append(pl.lit(literal))
        if name is not None:
            if name not in columns:
                raise KeyError(name)
            parts.append(pl.col(name).cast(pl.String).fill_null(missing))
    return pl.concat_str(parts)


def moment(column: str) -> pl.Expr:
    """Return a time as it is written in evidence: to the minute."""
    return pl.col(column).dt.strftime("%Y-%m-%d %H:%M")


def percent(expression: pl.Expr) -> pl.Expr:
    """Return a share as it is written in evidence: 12.3%."""
    return pl.concat_str((expression * 100).round(1).cast(pl.String), pl.lit("%"))
