"""What the response is judged by, and what several of its rules need of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import TYPE_CHECKING

import polars as pl

from audit_kit.core import schema
from audit_kit.core.identity import with_key
from audit_kit.core.policy import Calendar, Plan, Policy, Training
from audit_kit.rules.matching.comparison import FIELDS
from audit_kit.rules.sync.observations import OBSERVATIONS

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

COMPARED = ("invoice_key", "digital_number", "invoice_code", "invoice_number", "cleaning", *FIELDS)


@dataclass(frozen=True, kw_only=True, eq=False)
class ResponseEvidence:
    """Everything the response is judged by; a source that is absent is its empty canonical frame.

    `matches`, `findings` (causes of area missing and sync), `stops` and `observations` are those of this ledger and
    platform; `given` names the tables that the engagement has, be they empty.
    """

    ledger: pl.DataFrame
    platform: pl.DataFrame
    matches: pl.DataFrame
    findings: pl.DataFrame
    stops: pl.DataFrame
    taken_at: datetime
    direction: str = "issued"
    given: frozenset[str] = frozenset()
    policy: Policy = field(default_factory=Policy)
    plan: Plan = field(default_factory=Plan)
    calendar: Calendar = field(default_factory=Calendar)
    training: Training = field(default_factory=Training)
    register: pl.DataFrame = field(default_factory=partial(schema.empty, "register"))
    tickets: pl.DataFrame = field(default_factory=partial(schema.empty, "tickets"))
    confirmations: pl.DataFrame = field(default_factory=partial(schema.empty, "confirmations"))
    substitute: pl.DataFrame = field(default_factory=partial(schema.empty, "substitute"))
    operations: pl.DataFrame = field(default_factory=partial(schema.empty, "operations"))
    sync_log: pl.DataFrame = field(default_factory=partial(schema.empty, "sync_log"))
    metrics: pl.DataFrame = field(default_factory=partial(schema.empty, "metrics"))
    notices: pl.DataFrame = field(default_factory=partial(schema.empty, "notices"))
    accounts: pl.DataFrame = field(default_factory=partial(schema.empty, "accounts"))
    invoice_files: pl.DataFrame = field(default_factory=partial(schema.empty, "invoice_files"))
    exports: pl.DataFrame = field(default_factory=partial(schema.empty, "platform"))
    restore_tests: pl.DataFrame = field(default_factory=partial(schema.empty, "restore_tests"))
    observations: pl.DataFrame = field(default_factory=partial(pl.DataFrame, schema=OBSERVATIONS))

    made: dict[Callable[[ResponseEvidence], pl.DataFrame], pl.DataFrame] = field(
        default_factory=dict, init=False, repr=False
    )

    def once(self, make: Callable[[ResponseEvidence], pl.DataFrame]) -> pl.DataFrame:
        """Return what several rules need, made by the first that asks."""
        if make not in self.made:
            self.made[make] = make(self)
        return self.made[make]

    @cached_property
    def booked(self) -> pl.DataFrame:
        """The ledger's rows with `ledger_row`, `invoice_key` and `outcome` as they were matched."""
        rows = with_key(self.ledger).with_row_index("ledger_row")
        matched = self.matches.select("ledger_row", pl.col("outcome").cast(pl.String)).drop_nulls("ledger_row")
        return rows.join(matched.unique("ledger_row"), on="ledger_row", how="left", maintain_order="left")

    @cached_property
    def listed(self) -> pl.DataFrame:
        """The platform's rows with `invoice_key`."""
        return with_key(self.platform)

    @cached_property
    def agreeing_keys(self) -> pl.Series:
        """The keys of ledger rows that the platform lists alike and of which no finding says anything."""
        told = self.findings["ledger_row"].drop_nulls()
        alike = pl.col("outcome").is_in(("matched", "matched_cleaned")) & ~pl.col("ledger_row").is_in(told.implode())
        return self.booked.filter(alike)["invoice_key"].drop_nulls().unique()

    @cached_property
    def written(self) -> pl.DataFrame:
        """The register's rows with `row` (their place), `invoice_key` and `number` (as it was written)."""
        number = pl.coalesce("digital_number", pl.concat_str("invoice_code", "invoice_number", ignore_nulls=True))
        rows = with_key(self.register).with_row_index("row")
        return rows.with_columns(number=pl.when(number != "").then(number))

    @cached_property
    def missing_keys(self) -> pl.Series:
        """The keys of invoices that the platform ought to list and does not; what needs no waiting is not among them.

        Those whose finding is merely for information, as of a kind that the platform never lists, are left out.
        """
        awaited = self.findings.filter(pl.col("severity").cast(pl.String) != "info")["ledger_row"]
        gone = self.booked.filter((pl.col("outcome") == "missing") & pl.col("ledger_row").is_in(awaited.implode()))
        return gone["invoice_key"].drop_nulls().unique()


def comparable(rows: pl.DataFrame, others: pl.DataFrame) -> pl.DataFrame:
    """Return the others that may be one of these rows for `reconcile`: of one number, else of the same day and gross.

    Both hold `invoice_key`, `gross`, `issued_at`. `other_row` is their place among the others, in whose order they are,
    beside what is compared. A row whose number and gross another one has, and none here has too, is that one.
    """
    names = [name for name in others.columns if name in COMPARED]
    gross, day = pl.col("gross").cast(pl.Decimal(18, 2)), pl.col("issued_at").dt.date()
    keyed, rows = others.select(names).with_columns(gross).with_row_index("other_row"), rows.with_columns(gross)
    same = keyed.join(rows.select("invoice_key"), on="invoice_key", how="semi")
    alone = rows.filter(pl.len().over("invoice_key") == 1).join(same, on=["invoice_key", "gross"], how="semi")
    unsettled = rows.join(alone, on="invoice_key", how="anti")
    near = keyed.join(unsettled, left_on=["gross", day], right_on=["gross", day], how="semi")
    return pl.concat([same, near]).unique("other_row").sort("other_row")
