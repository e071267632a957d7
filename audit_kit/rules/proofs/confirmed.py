"""What others answered about an invoice, and which of those answers count."""

from __future__ import annotations

from datetime import time, timedelta

import polars as pl

from audit_kit import resources
from audit_kit.core.identity import with_key

DAY = timedelta(days=1)
YEARS = "5y"  # how far back the national verification page answers
SAID = ("agree", "differ", "absent")  # what is an answer; the other results say why there was none
COUNTS = "none"  # the note of an answer that counts


def answers(confirmations: pl.DataFrame, invoices: pl.DataFrame) -> pl.DataFrame:
    """Return every answer about these invoices, in the order asked.

    Args:
        confirmations: canonical.
        invoices: `row`, `invoice_key`, `issued_at`, `date_only`, `kind`.

    Returns:
        `answer` (its place), `row`, `source`, `result`, `at`, `issued_at`, `evidence`, `note`, `answer_file`,
        `answer_row`. `note`: why an answer of the national verification page does not count, else `none`: undated,
        untimed (no time of issue), too_soon (less than a day after issue; the next calendar day where either has no
        time of day), too_old (more than five years), kind (one that the page does not know).
    """
    asked = confirmations.filter(pl.col("result").is_not_null() & pl.col("invoice_number").is_not_null())
    keys = with_key(asked.select("invoice_number"))["invoice_key"]
    asked = asked.with_columns(invoice_key=keys.fill_null(asked["invoice_number"].str.strip_chars()))
    found = invoices.select("row", "invoice_key", "issued_at", "date_only", "kind").join(
        asked.select(
            "invoice_key",
            "at",
            pl.col("source", "result", "evidence").cast(pl.String),
            answer_file="source_file",
            answer_row="source_row",
        ),
        on="invoice_key",
        how="inner",
        maintain_order="left_right",
    )
    found = found.with_columns(note=pl.when(_judged()).then(_note()).otherwise(pl.lit(COUNTS)))
    found = found.sort("row", "at", nulls_last=True, maintain_order=True).with_row_index("answer")
    return found.drop("invoice_key", "date_only", "kind")


def _judged() -> pl.Expr:
    """Return which rows are answers of the page that knows them all."""
    return (pl.col("source") == "national").fill_null(value=False) & pl.col("result").is_in(SAID)


def _note() -> pl.Expr:
    asked, issued = pl.col("at"), pl.col("issued_at")
    by_day = pl.col("date_only").fill_null(value=False) | (asked.dt.time() == time(0)) | (issued.dt.time() == time(0))
    soon = pl.when(by_day).then(asked.dt.date() <= issued.dt.date()).otherwise(asked - issued < DAY)
    words = resources.load("vocabularies")["verification"]["unsupported"]
    unknown_kind = pl.col("kind").str.contains_any(words).fill_null(value=False)
    return (
        pl.when(asked.is_null())
        .then(pl.lit("undated"))
        .when(issued.is_null())
        .then(pl.lit("untimed"))
        .when(soon)
        .then(pl.lit("too_soon"))
        .when(asked > issued.dt.offset_by(YEARS))
        .then(pl.lit("too_old"))
        .when(unknown_kind)
        .then(pl.lit("kind"))
        .otherwise(pl.lit(COUNTS))
    )


def standing(found: pl.DataFrame, result: str) -> pl.DataFrame:
    """Return the rows of which the latest answer of the national page that counts is this one, with that answer.

    What the page found once it cannot have never known: an absence beside an agreement, of whatever time, does not
    stand, and nor do two answers of one moment that differ.

    Args:
        found: from `answers`.
        result: agree or absent.

    Returns:
        `row`, `answer`, `asked_at`, `answer_file`, `answer_row`.
    """
    national = found.filter(_judged())
    counting = national.filter((pl.col("note") == COUNTS) & (pl.col("at") == pl.col("at").max().over("row", "note")))
    one = counting.filter(pl.col("result").n_unique().over("row") == 1, pl.col("result") == result)
    if result == "absent":
        known = national.filter(pl.col("result") == "agree")
        one = one.join(known.select("row"), on="row", how="anti", maintain_order="left")
    last = one.unique("row", keep="last", maintain_order=True)
    return last.select("row", "answer", "answer_file", "answer_row", asked_at="at")
