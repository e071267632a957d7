"""What a diagnosis rests on, and the working sheet on which causes take their rows."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from audit_kit.core import schema
from audit_kit.core.identity import with_key
from audit_kit.rules.proofs import deeds, red_forms

if TYPE_CHECKING:
    from datetime import datetime

    from numpy.typing import NDArray

    from audit_kit.core.policy import Export, Policy

ROW = "row"
REVERSED = ("red_full", "red_part")
LEDGER_COLUMNS = (
    "serial", "issued_at", "seller_tax_id", "buyer_tax_id", "gross", "net", "kind", "status", "account", "voucher",
    "invoice_code", "invoice_number", "digital_number", "positive", "red_of", "remark", "source_file", "source_row",
)  # fmt: skip
PLATFORM_COLUMNS = (
    "issued_at", "net", "tax", "gross", "kind", "status", "seller_tax_id", "seller_name", "buyer_tax_id", "buyer_name",
    "visible_at", "invoice_code", "invoice_number", "digital_number", "source_file", "source_row",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """Everything a diagnosis may look at; an optional source that is absent is its empty canonical frame.

    `observations`, `stops`: see rules.sync. `control`: the platform export's own totals against ours.
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
    red_confirmations: pl.DataFrame = field(default_factory=lambda: schema.empty("red_confirmations"))


CLAIMS = {
    ROW: pl.UInt32(),
    "cause": pl.String(),
    "state": pl.String(),
    "subject": pl.String(),
    "lost_share": pl.Float64(),
    "group": pl.Float64(),
}


@dataclass
class Case:
    """The working sheet: every match row that needs a cause, and which cause took it.

    `rows`: `row` (its place here), the match, the ledger row's columns, the platform row's columns as `p_…`.
    `claims`: what each cause took, with `CLAIMS` first: `subject` (the batch, stop or level that several rows share),
    `lost_share`, `group` (what is known of that group, and its size), then the figures that its sentence shows.
    `population`, `excess`, `late`: worked out on the way, see `diagnosis`. `taken`: which rows a cause has; `unclaimed`
    and `unclaimed_missing`: what was left of the rows when it was last looked at.
    """

    evidence: Evidence
    rows: pl.DataFrame
    claims: list[pl.DataFrame] = field(default_factory=list)
    population: pl.DataFrame = field(default_factory=pl.DataFrame)
    excess: pl.DataFrame = field(default_factory=pl.DataFrame)
    late: pl.DataFrame = field(default_factory=pl.DataFrame)
    taken: NDArray[np.bool_] = field(init=False)
    unclaimed: pl.DataFrame = field(init=False)
    unclaimed_missing: pl.DataFrame = field(init=False)

    def __post_init__(self) -> None:
        """Nothing is taken yet."""
        self.taken = np.zeros(self.rows.height, dtype=bool)
        self.unclaimed = self.rows
        self.unclaimed_missing = self.rows.filter(pl.col("outcome") == "missing")

    @classmethod
    def of(cls, evidence: Evidence) -> Case:
        """Lay out the rows that need a cause."""
        open_rows = evidence.matches.filter(pl.col("outcome").cast(pl.String) != "matched").with_row_index(ROW)
        ledger = _gathered(evidence.ledger, LEDGER_COLUMNS, open_rows["ledger_row"], "")
        platform = _gathered(evidence.platform, PLATFORM_COLUMNS, open_rows["platform_row"], "p_")
        return cls(evidence, open_rows.with_columns(*ledger, *platform))

    def claim(self, cause: str, rows: pl.DataFrame) -> None:
        """Let a cause take rows; no later one sees them. It fails unless the rows have a `state` of their own."""
        if rows.is_empty():
            return
        plain: dict[str, Any] = dict.fromkeys(CLAIMS) | {"cause": cause, "state": "fails"}
        known = [pl.col(name) if name in rows.columns else pl.lit(plain[name]).alias(name) for name in CLAIMS]
        figures = [name for name in rows.columns if name not in self.rows.columns and name not in CLAIMS]
        self.claims.append(rows.select(*known, *figures).cast(pl.Schema(CLAIMS)))
        self.taken[rows[ROW].to_numpy()] = True

    def claimed(self) -> pl.DataFrame:
        """Return what all causes took so far, without figures: `CLAIMS`."""
        return pl.concat([pl.DataFrame(schema=CLAIMS), *(rows.select(*CLAIMS) for rows in self.claims)])

    @property
    def open(self) -> pl.DataFrame:
        """The rows that no cause has taken yet."""
        self.unclaimed = self._left(self.unclaimed)
        return self.unclaimed

    @property
    def missing(self) -> pl.DataFrame:
        """The rows that no cause has taken yet and that are missing from the platform."""
        self.unclaimed_missing = self._left(self.unclaimed_missing)
        return self.unclaimed_missing

    def _left(self, rows: pl.DataFrame) -> pl.DataFrame:
        gone = self.taken[rows[ROW].to_numpy()]
        return rows.filter(pl.Series(~gone)) if gone.any() else rows

    @cached_property
    def substitute(self) -> pl.DataFrame:
        """The substitute system's rows with their key."""
        return with_key(self.evidence.substitute)

    @cached_property
    def deeds(self) -> pl.DataFrame:
        """What was done to invoices, and whether it had an effect: see rules.proofs.deeds."""
        return deeds.deeds(self.evidence.operations)

    @cached_property
    def vain(self) -> pl.DataFrame:
        """What was tried on invoices without effect: see `rules.proofs.deeds.undone`."""
        return deeds.undone(self.deeds)

    @cached_property
    def reds_listed(self) -> pl.DataFrame:
        """What red invoices on the platform reverse: `blue`, `reversed`."""
        return red_forms.red_sums(self.evidence.platform)

    @cached_property
    def named_as_blue(self) -> pl.Series:
        """The keys of the invoices that a row of either side names as the one it reverses."""
        sides = (self.evidence.platform, self.evidence.ledger)
        named = [side.select(pl.col("red_of").drop_nulls()) for side in sides if "red_of" in side.columns]
        nothing = pl.DataFrame(schema={"red_of": pl.String})
        return pl.concat([nothing, *named]).unique().select(deeds.plain_number("red_of"))["red_of"].unique()

    @cached_property
    def red_rows(self) -> pl.DataFrame:
        """The form that counts for each red row that is not listed: see `red_forms.of_red_rows`.

        A red invoice that was not issued yet has no number, or stands under that of the blue one.
        """
        under_blue = (outcome("duplicate") | outcome("conflict")) & (pl.col("gross") < 0) & (pl.col("p_gross") > 0)
        reds = self.rows.filter((outcome("missing") | under_blue).fill_null(value=False) & red_forms.is_red())
        blue = pl.coalesce(deeds.plain_number("red_of"), pl.when(under_blue).then("invoice_key"))
        reds = reds.select(ROW, "gross", "net", "remark", blue=blue)
        return red_forms.of_red_rows(self._forms, reds)

    @cached_property
    def form_pending(self) -> pl.DataFrame:
        """The rows that are not reversed, or not reversing, since their form is not confirmed.

        `row`, `what` (red, blue_listed, blue_missing), then `red_forms.FORMS`.
        """
        ours, theirs = pl.col("status").cast(pl.String), pl.col("p_status").cast(pl.String)
        key = pl.col("invoice_key")
        behind = (theirs == "normal") | ((theirs == "red_part") & (ours == "red_full"))
        booked = ours.is_in(REVERSED) & (outcome("missing") | (outcome("conflict") & differs("status") & behind))
        done = key.is_in(deeds.done(self.deeds, "red").implode())
        named = outcome("missing") & (key.is_in(self.named_as_blue.implode()) | done)
        marked = self.rows.filter((booked | named).fill_null(value=False) & ~red_forms.is_red())
        marked = marked.select(ROW, "gross", status=ours, blue=key, listed=outcome("conflict"))
        blues = red_forms.of_blue_rows(self._forms, marked.drop("listed"), self.reds_listed)
        listed = marked.filter("listed")[ROW].implode()
        what = pl.when(pl.col(ROW).is_in(listed)).then(pl.lit("blue_listed")).otherwise(pl.lit("blue_missing"))
        reds = self.red_rows.filter(~pl.col("means").is_in(red_forms.NOT_SAID))
        return pl.concat([reds.with_columns(what=pl.lit("red")), blues.with_columns(what=what)])

    @cached_property
    def asides(self) -> pl.DataFrame:
        """What is told of some rows beside their cause.

        `row`, `tried` (deeds without effect), `form_note` (a red confirmation form that is confirmed, or not read).
        """
        of_rows = self.rows.select(ROW, "invoice_key").join(self.vain, on="invoice_key", how="inner")
        told = pl.struct("action", "meaning", "result", "count", "log_file", "log_row")
        acts = of_rows.group_by(ROW, maintain_order=True).agg(tried=told)
        forms = self.red_rows.filter(pl.col("means").is_in(red_forms.NOT_SAID))
        note = pl.concat_list(pl.struct("means", "form", "moment", "form_file", "form_row"))
        return acts.join(forms.select(ROW, form_note=note), on=ROW, how="full", coalesce=True)

    @cached_property
    def _forms(self) -> pl.DataFrame:
        return red_forms.forms(self.evidence.red_confirmations, self.evidence.taken_at)


def _gathered(frame: pl.DataFrame, columns: tuple[str, ...], rows: pl.Series, prefix: str) -> list[pl.Series]:
    """Return the columns at these positions; null where there is no position, or the frame lacks the column."""
    types = schema.dtypes("ledger")
    known = set(frame.columns) if frame.height else set()
    nothing = [None] * len(rows)
    return [
        (frame[name].gather(rows) if name in known else pl.Series(nothing, dtype=types[name])).alias(prefix + name)
        for name in columns
    ]


def moment(column: str) -> pl.Expr:
    """Return a time as it is written in evidence: to the minute."""
    return pl.col(column).dt.strftime("%Y-%m-%d %H:%M")


def outcome(word: str) -> pl.Expr:
    """Return whether a row came out of matching in this way."""
    return pl.col("outcome").cast(pl.String) == word


def differs(name: str) -> pl.Expr:
    """Return whether ledger and platform disagree in this field."""
    return pl.col("differences").list.contains(name).fill_null(value=False)


def cleaned(word: str) -> pl.Expr:
    """Return whether the number was cleaned in this way."""
    return pl.col("cleaning").list.contains(word).fill_null(value=False)
