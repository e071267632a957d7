"""Why each invoice is not on the platform: causes in a fixed order, the first that explains it takes it."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import polars as pl

from audit_kit.core import schema
from audit_kit.core.cause_records import records
from audit_kit.core.words import Words
from audit_kit.rules.causes import batches, entries, levels, outages, permission, scope, statuses, systems
from audit_kit.rules.causes.evidence import CLAIMS, ROW, Case, Evidence, cleaned, flag, moment
from audit_kit.rules.causes.population import alive, population
from audit_kit.rules.causes.wording import phrase, rendered, sentences
from audit_kit.rules.sync.lateness import at_age, chance, lateness

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["CAUSES", "Evidence", "diagnose"]

SHORT_ID = 16
DAYS_FROM = 72 * 60  # minutes; a wait so long is told in days
NOTHING_TOLD = pl.DataFrame(schema={"evidence": pl.String, "look": pl.String})


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
    answers = systems.told(case, systems.answered(case, rows))
    rows = rows.join(answers, on=ROW, how="left", maintain_order="left")
    wall = (pl.lit(case.evidence.taken_at) - pl.col("issued_at")).dt.total_microseconds() / 60e6
    return rows.with_columns(
        hours=pl.col("age") / 60,
        days=pl.col("age") / (24 * 60),
        unit=pl.when(pl.col("age") < DAYS_FROM).then(pl.lit("hours")).otherwise(pl.lit("days")),
        stood=pl.when(wall - pl.col("age") > 1).then(pl.lit("yes")).otherwise(pl.lit("no")),
        arrived=1 - pl.col("survival"),
        state=pl.when("certain").then(pl.lit("fails")).otherwise(pl.lit("unknown")),
    )


def unexplained(case: Case) -> pl.DataFrame:
    """It is missing, and without a time of issue nothing can be said about lateness."""
    return case.open.filter(pl.col("ledger_row").is_not_null()).with_columns(state=pl.lit("unknown"))


def unbooked(case: Case) -> pl.DataFrame:
    """The platform lists an invoice that no ledger row claims."""
    meant = case.renumbered.select("right_at", meant_row=ROW)
    booked = case.rows.select(
        meant_row=ROW, booked_file="source_file", booked_row="source_row", booked_number="invoice_key"
    )
    rows = case.open.join(meant, left_on=ROW, right_on="right_at", how="left", maintain_order="left")
    rows = rows.join(booked, on="meant_row", how="left", maintain_order="left")
    unknown = pl.col("meant_row").is_null()
    nowhere = "nowhere_kept" if case.evidence.ledger_aside else "nowhere"
    booked_as = pl.when(unknown).then(pl.lit(nowhere)).otherwise(pl.lit("otherwise"))
    return rows.with_columns(booked=booked_as, aside=pl.lit(case.evidence.ledger_aside))


# The order is the design: what the entry itself, its status, the way of asking and the logs explain must not be
# mistaken for a pattern; runs go before windows, and windows before levels, since each would soak up the one before;
# lateness is what is left when nothing else explains a row.
KNOWN: tuple[Callable[[Case], pl.DataFrame], ...] = (
    *entries.CAUSES,
    *statuses.CAUSES,
    *scope.CAUSES,
    *permission.CAUSES,
    *systems.CAUSES,
)
EVENTS: tuple[Callable[[Case], pl.DataFrame], ...] = (batches.batch_lost, outages.outage)
THE_REST: tuple[Callable[[Case], pl.DataFrame], ...] = (
    *levels.CAUSES,
    late,
    lost,
    unexplained,
    unbooked,
    systems.risk_flagged,
)
CAUSES = (*KNOWN, *EVENTS, *THE_REST)


def diagnose(evidence: Evidence, *, lang: str = "zh") -> pl.DataFrame:
    """Return the findings of area missing and sync: one for every row that is not simply matched.

    A matched row has one where the platform calls the invoice doubtful.

    Args:
        evidence: see `Evidence`.
        lang: language of evidence and next steps, `zh` or `en`.

    Returns:
        schema.Findings, in the order of the ledger, then of the platform.
    """
    case = Case.of(evidence)
    _try(KNOWN, case)
    case.population = population(case)
    _try(EVENTS, case)
    case.excess = levels.excess_levels(case)
    case.late = _late(case)
    _try(THE_REST, case)
    return _findings(case, lang)


def _try(causes: tuple[Callable[[Case], pl.DataFrame], ...], case: Case) -> None:
    """Let each cause take what it explains of what those before it left."""
    for cause in causes:
        case.claim(cause.__name__, cause(case))


def _late(case: Case) -> pl.DataFrame:
    """Return `ledger_row`, `probability_late`, `age`, `survival`, `method`, `certain` of every missing row.

    Delays are read from the invoices that nothing else explains. Rows of a group with a lost share of its own (a run, a
    window, a level) are judged by that share.
    """
    observations, missing = case.evidence.observations, case.rows.filter(pl.col("outcome") == "missing")
    own = case.claimed().join(missing.select(ROW, "ledger_row"), on=ROW)
    # What an entry, a status, an account or a log explains does not come by waiting; how surely, the count of it says.
    lasting = [name for name, cause in records().items() if cause.lasting]
    settled, count = pl.col("cause").is_in(lasting), pl.len().over("cause")
    own = own.with_columns(
        lost_share=pl.when(settled).then((count + 0.5) / (count + 1)).otherwise("lost_share"),
        group=pl.when(settled).then(count.cast(pl.Float64)).otherwise("group"),
    )
    of_levels = levels.fault(case)
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


def _findings(case: Case, lang: str) -> pl.DataFrame:
    """Return the rows with their causes as findings, worded."""
    words, causes = Words(lang), records()
    told = [_told(case, claim, lang) for claim in case.claims]
    claims = pl.concat([case.claimed(), pl.concat([NOTHING_TOLD, *told])], how="horizontal")
    rows = case.rows.join(claims, on=ROW, how="left", maintain_order="left")
    ours = pl.col("ledger_row").is_not_null()
    rows = rows.with_columns(
        area=pl.col("cause").replace_strict({name: cause.area for name, cause in causes.items()}),
        severity=pl.coalesce(
            "severity", pl.col("cause").replace_strict({name: cause.severity for name, cause in causes.items()})
        ),
        next_step=pl.coalesce("look", pl.col("cause").replace_strict({name: words.next_step(name) for name in causes})),
        amount=pl.coalesce("gross", "p_gross"),
        source_file=pl.when(ours).then("source_file").otherwise("p_source_file"),
        source_row=pl.when(ours).then("source_row").otherwise("p_source_row"),
        invoice_key=pl.coalesce("invoice_key", "p_digital_number"),
        platform_row=pl.when(~ours).then("platform_row"),
    )
    rows = rows.with_columns(finding_id=_ids(rows))
    if case.late.height:
        chance = case.late.select("ledger_row", "probability_late")
        rows = rows.join(chance, on="ledger_row", how="left", maintain_order="left")
    else:
        rows = rows.with_columns(probability_late=pl.lit(None, pl.Float64))
    return rows.select(pl.col(name).cast(dtype) for name, dtype in schema.dtypes("findings").items())


def _told(case: Case, claim: pl.DataFrame, lang: str) -> pl.DataFrame:
    """Return the sentences of what one cause took: `evidence`, and `look` where each row has a place of its own."""
    figures = claim.drop(*CLAIMS)
    rows = case.rows[claim[ROW]].hstack(figures)
    rows = rows.with_columns(
        number=pl.coalesce("invoice_key", "digital_number", "invoice_number", "p_digital_number", "p_invoice_number"),
        date="issued_at",
        p_date="p_issued_at",
        file="source_file",
        row_number="source_row",
        p_file="p_source_file",
        p_row="p_source_row",
    )
    kept = pl.col("invoice_key").is_null() & cleaned("number_incomplete")
    rows = rows.with_columns(number=pl.when(kept).then(phrase("last_digits", rows, lang)).otherwise("number"))
    look = rendered("{unlisted:look}", rows, lang) if "unlisted" in figures.columns else pl.lit(None, pl.String)
    said = sentences(claim["cause"][0], rows, lang)
    more = [] if case.asides.is_empty() else ["{tried:tried}{form_note:form_note}"]
    rows = rows.join(case.asides, on=ROW, how="left", maintain_order="left") if more else rows
    if "flag" not in claim.columns:
        rows = rows.with_columns(flag())
        doubted = pl.when(pl.col("flag").is_null()).then(pl.lit("none")).otherwise(pl.lit("flagged"))
        rows, more = rows.with_columns(doubt=doubted), [*more, "{doubt:doubt}"]
    return rows.select(evidence=pl.concat_str(said, *(rendered(part, rows, lang) for part in more)), look=look)


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
