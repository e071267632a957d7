"""Why each invoice is not on the platform: causes in a fixed order, the first that explains it takes it."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import polars as pl

from audit_kit import resources
from audit_kit.core import schema
from audit_kit.rules.causes import access, batches, entries, levels, outages
from audit_kit.rules.causes.evidence import ROW, Case, Evidence, moment, percent, rendered
from audit_kit.rules.causes.levels import excess_levels, fault
from audit_kit.rules.causes.population import alive
from audit_kit.rules.sync.lateness import at_age, chance, lateness

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["CAUSES", "Evidence", "diagnose"]

SHORT_ID = 16
MOST_ANSWERS = 20  # confirmations of one invoice that are told one by one; of more, each different one is told once


def late(case: Case) -> pl.DataFrame:
    """Nothing else explains it, and at its age it is more likely late than lost."""
    likely = pl.col("probability_late") >= case.evidence.policy.sync.late_threshold
    return _by_age(case).filter(likely)


def lost(case: Case) -> pl.DataFrame:
    """Nothing else explains it, and at its age nearly all others were visible."""
    return _by_age(case).filter(pl.col("probability_late").is_not_null())


def _by_age(case: Case) -> pl.DataFrame:
    """Return what is still missing with its chance to be late and what that rests on."""
    rows = case.missing.join(case.late, on="ledger_row", how="inner", maintain_order="left")
    confirmed = _confirmed(case)
    method = pl.col("method").replace_strict(
        {word: case.phrase(f"method_{word}") for word in resources.load("causes")["methods"]},
        default=None, return_dtype=pl.String,
    )  # fmt: skip
    rows = rows.join(confirmed, on="invoice_key", how="left", maintain_order="left")
    return rows.with_columns(
        hours=(pl.col("age") / 60).round(1).cast(pl.String),
        chance=percent(pl.col("probability_late")),
        arrived=percent(1 - pl.col("survival")),
        basis=method,
        also=pl.coalesce("also", pl.lit("")),
        state=pl.when("certain").then(pl.lit("fails")).otherwise(pl.lit("unknown")),
    )


def _confirmed(case: Case) -> pl.DataFrame:
    """Return what other sources answered about an invoice: `invoice_key`, `also`."""
    asked = case.evidence.confirmations.filter(pl.col("invoice_number").is_not_null() & pl.col("result").is_not_null())
    said = pl.format(
        case.phrase("confirmed"),
        pl.col("source")
        .cast(pl.String)
        .replace({word: case.phrase(f"source_{word}") for word in schema.CONFIRMATION_SOURCES}),
        pl.col("result")
        .cast(pl.String)
        .replace({word: case.phrase(f"result_{word}") for word in schema.CONFIRMATION_RESULTS}),
    )
    several = said.unique(maintain_order=True)
    return asked.group_by(invoice_key=pl.col("invoice_number").str.strip_chars(), maintain_order=True).agg(
        also=pl.when(pl.len() > MOST_ANSWERS).then(several.str.join("")).otherwise(said.str.join(""))
    )


def unexplained(case: Case) -> pl.DataFrame:
    """It is missing, and without a time of issue nothing can be said about lateness."""
    return case.open.filter(pl.col("ledger_row").is_not_null()).with_columns(state=pl.lit("unknown"))


def unbooked(case: Case) -> pl.DataFrame:
    """The platform lists an invoice that no ledger row claims."""
    return case.open


# The order is the design: what the entry itself, its status, the way of asking and the logs explain must not be
# mistaken for a pattern; runs go before windows, and windows before levels, since each would soak up the one before;
# lateness is what is left when nothing else explains a row.
CAUSES: tuple[Callable[[Case], pl.DataFrame], ...] = (
    entries.precision_lost,
    entries.number_damaged,
    entries.number_mistyped,
    entries.ambiguous,
    entries.number_invalid,
    entries.edited_not_synced,
    entries.voided,
    entries.red_reversed,
    entries.not_issued,
    entries.status_conflict,
    entries.amount_conflict,
    entries.date_conflict,
    entries.party_conflict,
    entries.booked_twice,
    access.outside_export,
    access.export_truncated,
    access.no_permission,
    access.upload_failed,
    access.not_migrated_back,
    access.only_in_backup,
    batches.batch_lost,
    outages.outage,
    levels.channel_excess,
    levels.account_excess,
    levels.kind_excess,
    late,
    lost,
    unexplained,
    unbooked,
)


def diagnose(evidence: Evidence, *, lang: str = "zh") -> pl.DataFrame:
    """Return the findings of area missing and sync: one for every row that is not simply matched.

    Args:
        evidence: see `Evidence`.
        lang: language of evidence and next steps, `zh` or `en`.

    Returns:
        schema.Findings, in the order of the ledger, then of the platform.
    """
    case = Case.of(evidence, lang)
    for cause in CAUSES:
        if cause is levels.channel_excess:
            case.excess = excess_levels(case)
            case.late = _late(case)
        case.claim(_claim(case, cause.__name__, cause(case)))
    claims = pl.concat([pl.DataFrame(schema=CLAIMS), *case.claims])
    rows = case.rows.join(claims, on=ROW, how="left", maintain_order="left")
    if case.late.height:
        rows = rows.join(
            case.late.select("ledger_row", "probability_late"), on="ledger_row", how="left", maintain_order="left"
        )
    else:
        rows = rows.with_columns(probability_late=pl.lit(None, pl.Float64))
    return _findings(case, rows)


# Causes that mean an invoice will not appear under this entry, or in this export, by waiting.
SETTLED = [cause.__name__ for cause in CAUSES[: CAUSES.index(batches.batch_lost)]]

CLAIMS = {
    ROW: pl.UInt32(),
    "cause": pl.String(),
    "state": pl.String(),
    "evidence": pl.String(),
    "lost_share": pl.Float64(),
    "group": pl.Float64(),
}


def _claim(case: Case, cause: str, rows: pl.DataFrame) -> pl.DataFrame:
    """Return row, cause, state, evidence in words and the group's lost share of what a cause takes."""
    if rows.is_empty():
        return pl.DataFrame(schema=CLAIMS)
    issued, theirs = moment("issued_at"), moment("p_issued_at")
    number = pl.coalesce("invoice_key", "digital_number", "invoice_number", "p_digital_number", "p_invoice_number")
    ready = rows.with_columns(
        number=number,
        date=issued,
        p_date=theirs,
        file="source_file",
        p_file="p_source_file",
        p_row="p_source_row",
    )
    ready = ready.with_columns(row_number="source_row")
    text = rendered(case.words[cause]["evidence"], ready.columns)
    return ready.select(
        ROW,
        cause=pl.lit(cause),
        state=pl.col("state") if "state" in ready.columns else pl.lit("fails"),
        evidence=text,
        lost_share=pl.col("lost_share") if "lost_share" in ready.columns else pl.lit(None, pl.Float64),
        group=pl.col("group") if "group" in ready.columns else pl.lit(None, pl.Float64),
    )


def _late(case: Case) -> pl.DataFrame:
    """Return `ledger_row`, `probability_late`, `age`, `survival`, `method`, `certain` of every missing row.

    Delays are read from the invoices that nothing else explains. Rows of a group with a lost share of its own (a run, a
    window, a level) are judged by that share.
    """
    observations, missing = case.evidence.observations, case.rows.filter(pl.col("outcome") == "missing")
    claims = pl.concat([pl.DataFrame(schema=CLAIMS), *case.claims])
    own = claims.join(missing.select(ROW, "ledger_row"), on=ROW)
    # What an entry, a status, an account or a log explains does not come by waiting; how surely, the count of it says.
    settled, count = pl.col("cause").is_in(SETTLED), pl.len().over("cause")
    own = own.with_columns(
        lost_share=pl.when(settled).then((count + 0.5) / (count + 1)).otherwise("lost_share"),
        group=pl.when(settled).then(count.cast(pl.Float64)).otherwise("group"),
    )
    of_levels = fault(case)
    out = pl.concat([own["ledger_row"], of_levels["ledger_row"]]).drop_nulls().unique()
    telling = observations.filter(~pl.col("ledger_row").is_in(out.implode()))
    history, policy = case.evidence.history, case.evidence.policy.sync
    table = lateness(telling, history=history, policy=policy)
    if table.is_empty():
        table = lateness(observations, history=history, policy=policy)
    rows = observations.filter(~pl.col("visible") & pl.col("minutes").is_not_null())
    rows = rows.with_columns(at_age(rows, table)).filter(pl.col("survival").is_not_null())
    rows = rows.join(
        own.select("ledger_row", "lost_share", "group"), on="ledger_row", how="left", maintain_order="left"
    ).join(of_levels, on="ledger_row", how="left", maintain_order="left")
    share = pl.coalesce("lost_share", 1 - (1 - pl.col("plateau")) * (1 - pl.col("fault").fill_null(0.0)))
    rows = rows.with_columns(expected="survival")
    return rows.select(
        "ledger_row",
        "age",
        "survival",
        "method",
        "certain",
        probability_late=chance(alive(share), share, pl.min_horizontal("invoices", "group")),
    )


def _findings(case: Case, rows: pl.DataFrame) -> pl.DataFrame:
    """Return the rows with their causes as findings."""
    causes = resources.load("causes")["causes"]
    rows = rows.with_columns(
        area=pl.col("cause").replace_strict({name: entry["area"] for name, entry in causes.items()}),
        severity=pl.col("cause").replace_strict({name: entry["severity"] for name, entry in causes.items()}),
        next_step=pl.col("cause").replace_strict({name: entry["next_step"] for name, entry in case.words.items()}),
        amount=pl.coalesce("gross", "p_gross"),
        source_file=pl.when(pl.col("ledger_row").is_null()).then("p_source_file").otherwise("source_file"),
        source_row=pl.when(pl.col("ledger_row").is_null()).then("p_source_row").otherwise("source_row"),
        invoice_key=pl.coalesce("invoice_key", "p_digital_number"),
        platform_row=pl.when(pl.col("ledger_row").is_null()).then("platform_row"),
        subject=pl.lit(None, pl.String),
    )
    rows = rows.with_columns(finding_id=_ids(rows))
    return rows.select(pl.col(name).cast(dtype) for name, dtype in schema.dtypes("findings").items())


def _ids(rows: pl.DataFrame) -> pl.Series:
    """Return an id per finding that is the same in the next run: cause and invoice, counted where they repeat."""
    what = pl.coalesce(
        "invoice_key",
        pl.concat_str(
            ["serial", moment("issued_at"), pl.col("amount").cast(pl.String)], separator="|", ignore_nulls=True
        ),
    )
    keys = rows.select(key=pl.concat_str(["cause", what], separator="|", ignore_nulls=True))
    keys = keys.with_columns(turn=pl.int_range(pl.len()).over("key"))
    texts = keys.select(pl.concat_str(["key", pl.col("turn").cast(pl.String)], separator="|")).to_series()
    return pl.Series([hashlib.sha256(text.encode()).hexdigest()[:SHORT_ID] for text in texts], dtype=pl.String)
