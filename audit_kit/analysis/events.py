"""Findings rolled up to what an auditor acts on: a batch, an outage, a cut export, a locked account is one event.

Money at risk is told from money that waits, that was found and needs a correction only, and that was never to be there.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING

import polars as pl

from audit_kit.core import schema
from audit_kit.core.cause_records import of_stage, records

if TYPE_CHECKING:
    from datetime import datetime

    from audit_kit.core.policy import Policy

STAKES = ("risk", "differs", "late", "found", "outside", "backup")
FOUND_OUTCOMES = ("matched_cleaned", "mistyped")
SHARED = ("asked", "event", "level")  # stages of causes that strike many invoices at once
OURS = ("missing", "sync")  # areas whose findings are of invoices, and so of money
MONEY = pl.Decimal(38, 2)
REVENUE_SHARE = Decimal("0.005")
LEAST_YUAN = Decimal(1000)
FIGURES = ("yuan", "net_of_red", "at_risk", "tax_at_risk")
NEEDED = {"issued_at": pl.Datetime("us"), "status": pl.String(), "net": MONEY, "tax": MONEY, "gross": MONEY}


@dataclass(frozen=True, kw_only=True)
class Materiality:
    """From how much on an event is material; `base` is the gross amount it was worked out from, null if it is stated.

    Auditing standard CSA 1221 (ISA 320) prescribes no share and leaves the figure to judgement. Unless the engagement
    states one, half a per cent of the period's gross amount is taken to rank by, the lower end of the 0.5 to 1 % of
    revenue that is often taken in practice, and never less than 1,000 yuan.
    """

    yuan: Decimal
    base: Decimal | None = None


def materiality(
    ledger: pl.DataFrame, policy: Policy, *, start: datetime | None = None, end: datetime | None = None
) -> Materiality:
    """Return the materiality of a period, from `start` on and before `end`; null = no bound."""
    if policy.materiality_yuan is not None:
        return Materiality(yuan=Decimal(str(policy.materiality_yuan)).quantize(Decimal("0.01")))
    rows = _needed(ledger, "")
    rows = rows if start is None else rows.filter(pl.col("issued_at") >= start)
    rows = rows if end is None else rows.filter(pl.col("issued_at") < end)
    base = abs(Decimal(rows["gross"].sum() or 0))
    return Materiality(yuan=max((base * REVENUE_SHARE).quantize(Decimal("0.01")), LEAST_YUAN), base=base)


def weigh(
    findings: pl.DataFrame,
    *,
    ledger: pl.DataFrame,
    platform: pl.DataFrame,
    matches: pl.DataFrame,
    materiality: Materiality,
) -> pl.DataFrame:
    """Return what each finding weighs, and the event it belongs to; one row a finding, in their order.

    Args:
        findings: schema.Findings.
        ledger: the rows that `ledger_row` counts.
        platform: the rows that `platform_row` counts.
        matches: schema.Matches.
        materiality: an invoice at risk that reaches it alone is an event of its own.

    Returns:
        `finding_id`, `key` (the event), `stake`, `cause`, `subject` (the batch, stop, account, level, file or invoice
        that the event is about; null where it is all of one cause), `severity`, `state`, `issued_at`, and in yuan,
        whatever their sign: `yuan` (gross), `at_risk`, `tax_at_risk`; `net_of_red` keeps its sign. At risk is the whole
        invoice where `stake` is risk, the difference of both sides where it is differs, nothing elsewhere; null = not
        stated.
    """
    rows = _beside(findings, ledger, platform, matches)
    rows = rows.with_columns(stake=_stake())
    rows = rows.with_columns(
        pl.when(pl.col("stake") == "risk")
        .then(whole)
        .when(pl.col("stake") == "differs")
        .then(gap)
        .otherwise(pl.lit(0, MONEY))
        .alias(name)
        for name, whole, gap in (("at_risk", "yuan", "gap"), ("tax_at_risk", "tax", "tax_gap"))
    )
    shared = pl.col("cause").is_in(of_stage(*SHARED)) | (pl.col("stake") == "backup")
    large = (pl.col("at_risk") >= materiality.yuan) & (pl.col("at_risk") > 0) & ~shared
    alone = large.fill_null(value=False)
    subject = pl.when(alone).then(pl.coalesce("subject", "invoice_key")).otherwise("subject")
    which = pl.when(alone).then("finding_id").otherwise(pl.col("subject").fill_null(""))
    return rows.select(
        "finding_id",
        pl.concat_str("stake", "cause", which, separator="|").alias("key"),
        "stake",
        "cause",
        subject.alias("subject"),
        pl.col("severity").cast(pl.String),
        pl.col("state").cast(pl.String),
        "issued_at",
        *FIGURES,
    )


def roll_up(weighed: pl.DataFrame, *, materiality: Materiality) -> pl.DataFrame:
    """Return one row an event, most money at risk first, then most tax, then the most severe.

    `weighed` is from weigh.

    Returns:
        `event` (its place, from 1), `key`, `stake`, `cause`, `subject`, `severity` (its worst), `findings`, `unknown`
        (findings for want of evidence), `yuan`, `net_of_red`, `at_risk`, `tax_at_risk`, `untaxed` (findings at risk
        whose tax is not stated), `material`, `first` (to act on first: it is material, or critical), `begins`, `ends`
        (times of issue).
    """
    sums = [pl.when(pl.col(name).is_not_null().any()).then(pl.col(name).sum()).alias(name) for name in FIGURES]
    grouped = weighed.group_by("key", maintain_order=True).agg(
        pl.col("stake", "cause", "subject").first(),
        schema.by_severity().min().cast(pl.String),
        *sums,
        findings=pl.len(),
        unknown=(pl.col("state") == "unknown").sum(),
        untaxed=(pl.col("tax_at_risk").is_null() & (pl.col("at_risk") > 0)).sum(),
        begins=pl.col("issued_at").min(),
        ends=pl.col("issued_at").max(),
    )
    material = ((pl.col("at_risk") >= materiality.yuan) & (pl.col("at_risk") > 0)).fill_null(value=False)
    grouped = grouped.with_columns(material=material)
    grouped = grouped.with_columns(first=pl.col("material") | (pl.col("severity") == "critical"))
    order = [pl.col(name).fill_null(0) for name in ("at_risk", "tax_at_risk")]
    ranked = grouped.sort(
        *order, pl.col("at_risk").is_null(), schema.by_severity(), pl.col("yuan").fill_null(0), "findings", "key",
        descending=[True, True, True, False, True, True, False],
    )  # fmt: skip
    return ranked.with_row_index("event", offset=1)


def by_stake(events: pl.DataFrame) -> pl.DataFrame:
    """Return `stake`, `events`, `findings`, the sums of roll_up and `untaxed`: each finding exactly once."""
    sums = events.group_by("stake").agg(
        pl.len().alias("events"),
        pl.col("findings").sum(),
        *(pl.when(pl.col(name).is_not_null().any()).then(pl.col(name).sum()).alias(name) for name in FIGURES),
        pl.col("untaxed").sum(),
    )
    return sums.sort(pl.col("stake").cast(pl.Enum(STAKES)))


def _beside(
    findings: pl.DataFrame, ledger: pl.DataFrame, platform: pl.DataFrame, matches: pl.DataFrame
) -> pl.DataFrame:
    """Return findings with `outcome`, `status`, `issued_at`, `yuan`, `tax`, `gap`, `tax_gap`, from both sides."""
    if "platform_row" not in findings.columns:
        findings = findings.with_columns(platform_row=pl.lit(None, pl.UInt32))
    pairs = matches.select("ledger_row", pl.col("outcome").cast(pl.String), listed_row="platform_row")
    pairs = pairs.drop_nulls("ledger_row").unique("ledger_row", keep="first")
    rows = findings.join(pairs, on="ledger_row", how="left", maintain_order="left")
    rows = rows.with_columns(listed_row=pl.coalesce("platform_row", "listed_row"))
    for side, place in ((_needed(ledger, "b_"), "ledger_row"), (_needed(platform, "l_"), "listed_row")):
        numbered = side.with_row_index(place)
        rows = rows.join(numbered, on=place, how="left", maintain_order="left")
    tax = {side: pl.coalesce(f"{side}_tax", pl.col(f"{side}_gross") - pl.col(f"{side}_net")) for side in ("b", "l")}
    return rows.with_columns(
        status="b_status",
        issued_at=pl.coalesce("b_issued_at", "l_issued_at"),
        yuan=pl.col("amount").cast(MONEY).abs(),
        net_of_red=pl.col("amount").cast(MONEY),
        tax=pl.coalesce(tax["b"], tax["l"]).cast(MONEY).abs(),
        gap=(pl.col("b_gross") - pl.col("l_gross")).cast(MONEY).abs(),
        tax_gap=(tax["b"] - tax["l"]).cast(MONEY).abs(),
    )


def _stake() -> pl.Expr:
    """Return what is at stake in a finding: see `stake` in causes.toml; an entry that is found is no more than that."""
    told = {name: one.stake for name, one in records().items()}
    stake = pl.col("cause").replace_strict(told, default="risk", return_dtype=pl.String)
    found = pl.col("cause").is_in(of_stage("entry")) & pl.col("outcome").is_in(FOUND_OUTCOMES) & (stake == "risk")
    given_up = (pl.col("cause") == "voided") & (pl.col("status") == "voided") & (pl.col("outcome") == "missing")
    return (
        pl.when(~pl.col("area").cast(pl.String).is_in(OURS))
        .then(pl.lit("backup"))
        .when(found.fill_null(value=False))
        .then(pl.lit("found"))
        .when(given_up.fill_null(value=False))
        .then(pl.lit("outside"))
        .otherwise(stake)
    )


def _needed(frame: pl.DataFrame, prefix: str) -> pl.DataFrame:
    """Return the columns that weighing needs, by their names behind a prefix; null where a frame has none."""
    return frame.select(
        (pl.col(name) if name in frame.columns else pl.lit(None)).cast(dtype).alias(prefix + name)
        for name, dtype in NEEDED.items()
    )
