"""What a diagnosis rests on, and the working sheet on which causes take their rows."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from audit_kit import resources
from audit_kit.core import schema
from audit_kit.core.identity import with_key
from audit_kit.rules.proofs import deeds, papers, red_forms

if TYPE_CHECKING:
    from datetime import datetime

    from numpy.typing import NDArray

    from audit_kit.core.policy import Export, Policy
    from audit_kit.rules.sync.cuts import Edge

ROW = "row"
REVERSED = ("red_full", "red_part")
LEDGER_COLUMNS = (
    "serial", "issued_at", "date_only", "seller_tax_id", "seller_name", "buyer_tax_id", "buyer_name", "gross", "net",
    "kind", "status", "account", "voucher", "invoice_code", "invoice_number", "digital_number", "positive", "red_of",
    "remark", "source_file", "source_row",
)  # fmt: skip
PLATFORM_COLUMNS = (
    "issued_at", "net", "tax", "gross", "kind", "status", "seller_tax_id", "seller_name", "buyer_tax_id", "buyer_name",
    "visible_at", "risk", "risk_state", "invoice_code", "invoice_number", "digital_number", "source_file", "source_row",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """Everything a diagnosis may look at; an optional source that is absent is its empty canonical frame.

    `observations`, `stops`: see rules.sync. `control`: the platform export's own totals against ours.
    `backup_keys`: `invoice_key`, `repo_id`, `backup_id`. `history`: earlier months' curves, or null.
    `archive`: the e-invoices that the live archive holds, by `invoice_key` with what each says, or null where none is
    known. `sisters`: what exports of other companies of the group list, with `invoice_key`.
    `taken_stated`: false where the time of the export is only the end of the last day that it lists.
    `exported`: whether there is an export at all, so that one without rows is empty and not merely absent.
    `ledger_aside`: how many rows of the ledger were set aside.
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
    ledger_aside: int = 0
    red_confirmations: pl.DataFrame = field(default_factory=lambda: schema.empty("red_confirmations"))
    sisters: pl.DataFrame | None = None
    taxpayer_name: str | None = None
    exported: bool = True
    taken_stated: bool = True

    @property
    def side(self) -> str:
        """The column of the audited company's tax id."""
        return side_of(self.direction)


CLAIMS = {
    ROW: pl.UInt32(),
    "cause": pl.String(),
    "state": pl.String(),
    "severity": pl.String(),
    "subject": pl.String(),
    "lost_share": pl.Float64(),
    "group": pl.Float64(),
}


@dataclass
class Case:
    """The working sheet: every match row that needs a cause, and which cause took it.

    A row that is matched stands here too where the platform says of it what must be told (`flagged`); causes find it
    neither open nor missing.

    `rows`: `row` (its place here), the match, the ledger row's columns, the platform row's columns as `p_…`.
    `claims`: what each cause took, with `CLAIMS` first: `subject` (the batch, stop or level that several rows share),
    `lost_share`, `group` (what is known of that group, and its size), then the figures that its sentence shows.
    `edges`, `population`, `excess`, `late`: worked out on the way, see `scope` and `diagnosis`. `taken`: which rows a
    cause has; `unclaimed` and `unclaimed_missing`: what was left of the rows when it was last looked at.
    """

    evidence: Evidence
    rows: pl.DataFrame
    claims: list[pl.DataFrame] = field(default_factory=list)
    edges: list[Edge] = field(default_factory=list)
    population: pl.DataFrame = field(default_factory=pl.DataFrame)
    excess: pl.DataFrame = field(default_factory=pl.DataFrame)
    late: pl.DataFrame = field(default_factory=pl.DataFrame)
    taken: NDArray[np.bool_] = field(init=False)
    unclaimed: pl.DataFrame = field(init=False)
    unclaimed_missing: pl.DataFrame = field(init=False)

    def __post_init__(self) -> None:
        """Nothing is taken yet."""
        self.taken = np.zeros(self.rows.height, dtype=bool)
        self.unclaimed = self.rows.filter(pl.col("outcome") != "matched")
        self.unclaimed_missing = self.rows.filter(pl.col("outcome") == "missing")

    @classmethod
    def of(cls, evidence: Evidence) -> Case:
        """Lay out the rows that need a cause."""
        flagged = pl.col("platform_row").is_in(flagged_rows(evidence.platform).implode()).fill_null(value=False)
        told = (pl.col("outcome").cast(pl.String) != "matched") | flagged
        open_rows = evidence.matches.filter(told).with_row_index(ROW)
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
    def files(self) -> pl.DataFrame:
        """What the e-invoices that are kept say: see `papers.papers`."""
        archive = self.evidence.archive
        return papers.papers(pl.DataFrame(schema={"invoice_key": pl.String}) if archive is None else archive)

    @cached_property
    def renumbered(self) -> pl.DataFrame:
        """The rows whose e-invoice bears another number, under which the platform lists it: see `papers.renumbered`."""
        listed = self.rows.filter(outcome("unbooked") & pl.col("ledger_row").is_null())
        listed = listed.select(
            ROW,
            "invoice_key",
            *(pl.col(f"p_{name}").alias(name) for name in ("issued_at", "gross", *papers.PARTIES)),
            listed_row="p_source_row",
        )
        missing = self.rows.filter(outcome("missing")).select(ROW, "invoice_key", "issued_at", "gross", *papers.PARTIES)
        kept = self.files.join(listed.select("invoice_key"), on="invoice_key", how="semi")
        return papers.renumbered(missing, listed, kept if kept.is_empty() else self.files)

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
    types = schema.dtypes("platform")
    known = set(frame.columns) if frame.height else set()
    nothing = [None] * len(rows)
    return [
        (frame[name].gather(rows) if name in known else pl.Series(nothing, dtype=types[name])).alias(prefix + name)
        for name in columns
    ]


def flagged_rows(platform: pl.DataFrame) -> pl.Series:
    """Return the rows of the platform of which it says another risk than none, by their positions."""
    flagged = pl.Series([False], dtype=pl.Boolean).new_from_index(0, platform.height)
    for name in ("risk", "risk_state"):
        if name in platform.columns and platform[name].null_count() < platform.height:
            words = platform.select(pl.col(name).unique()).filter(doubted(name))[name]  # there are few words
            flagged |= platform[name].is_in(words.implode()).fill_null(value=False)
    return flagged.arg_true()


def doubted(column: str) -> pl.Expr:
    """Return whether the platform's word on a risk says that an invoice is not normal; a bare code says nothing."""
    words = resources.load("vocabularies")["risks"]
    word = pl.col(column).str.normalize("NFKC").str.strip_chars().str.to_lowercase()
    speaks = word.str.contains(r"\p{L}")
    settled = word.str.contains_any(words["settled"])
    return (speaks & ~word.is_in(words["normal"]) & ~settled).fill_null(value=False)


def flag() -> pl.Expr:
    """Return what the platform says of a row's risk where it is not normal, else null: `flag`."""
    said = [pl.when(doubted(f"p_{name}")).then(f"p_{name}") for name in ("risk", "risk_state")]
    words = pl.concat_list(said).list.drop_nulls().list.unique(maintain_order=True)
    return pl.when(words.list.len() > 0).then(words.list.join("、")).alias("flag")


def side_of(direction: str) -> str:
    """Return the column of the audited company's tax id, by direction: `issued` or `received`."""
    return "seller_tax_id" if direction == "issued" else "buyer_tax_id"


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
