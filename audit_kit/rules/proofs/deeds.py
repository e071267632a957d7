"""What an operation log proves: only a deed that succeeded changed anything."""

from __future__ import annotations

import re
import unicodedata
from functools import cache

import polars as pl

from audit_kit import resources

SUCCEEDED, FAILED, PENDING, WITHDRAWN, UNREAD = "succeeded", "failed", "pending", "withdrawn", "unread"
UNDONE = (FAILED, PENDING, WITHDRAWN)  # the log says clearly that nothing came of it
LONGEST_RESULT = 60
OF_ONE = ("invoice_key", "action")


def plain_number(column: str) -> pl.Expr:
    """Return invoice numbers as keys are written: half width, letters and digits alone."""
    return pl.col(column).str.normalize("NFKC").str.replace_all(r"[^0-9A-Za-z]", "").str.to_uppercase()


def meaning(results: pl.Series) -> pl.Series:
    """Return what each result says: succeeded, failed, pending, withdrawn, or unread where no word is known.

    An empty result is succeeded: many logs list only what was done, and have no such column.
    """
    forms = results.drop_nulls().unique()
    known = {form: _meaning(form) for form in forms}
    return results.replace_strict(known, default=SUCCEEDED, return_dtype=pl.String).alias("meaning")


def _meaning(result: str) -> str:
    text = " ".join(unicodedata.normalize("NFKC", result).casefold().split())
    within, whole = _words()
    if not text:
        return SUCCEEDED
    said = {within[1][word] for word in within[0].findall(text)}
    if {SUCCEEDED, FAILED} <= said:
        return UNREAD
    return next((word for word in (FAILED, WITHDRAWN, PENDING, SUCCEEDED) if word in said), whole.get(text, UNREAD))


@cache
def _words() -> tuple[tuple[re.Pattern[str], dict[str, str]], dict[str, str]]:
    """Return the words that may stand anywhere, the longest first, with their meaning; and those that stand alone."""
    table = resources.load("vocabularies")["operation_results"]
    within = {word: name for name, entry in table.items() for word in entry["words"]}
    whole = {word: name for name, entry in table.items() for word in entry["exactly"]}
    longest = sorted(within, key=len, reverse=True)
    return (re.compile("|".join(map(re.escape, longest))), within), whole


def deeds(operations: pl.DataFrame) -> pl.DataFrame:
    """Return what was done to invoices, in time order: the log's columns, `invoice_key`, `meaning`, `stands`.

    `stands`: the deed had an effect. Of several voids, or several reversals, of one invoice one that succeeded stands
    whatever failed before or after it, unless a later one says that it was withdrawn.
    """
    rows = operations.filter(pl.col("invoice_number").is_not_null() & pl.col("action").is_not_null())
    rows = rows.with_columns(
        pl.col("action").cast(pl.String), meaning(rows["result"]), invoice_key=plain_number("invoice_number")
    )
    rows = rows.sort("at", nulls_last=False, maintain_order=True).with_columns(turn=pl.int_range(pl.len()))
    withdrawn = pl.col("turn").filter(pl.col("meaning") == WITHDRAWN).max().over(OF_ONE)
    stands = (pl.col("meaning") == SUCCEEDED) & (withdrawn.is_null() | (withdrawn < pl.col("turn")))
    return rows.with_columns(stands=stands).drop("turn")


def done(known: pl.DataFrame, action: str) -> pl.Series:
    """Return the keys of invoices to which this was done with effect."""
    return known.filter(pl.col("stands") & (pl.col("action") == action))["invoice_key"].unique()


def undone(known: pl.DataFrame) -> pl.DataFrame:
    """Return what was tried on an invoice without effect, once an invoice and action, by its last attempt.

    `invoice_key`, `action`, `meaning`, `result`, `count` (rows of the log with the same result), `log_file`, `log_row`.
    """
    rows = known.with_columns(count=pl.len().over("result"), vain=~pl.col("stands").any().over(OF_ONE))
    last = rows.filter("vain").unique(OF_ONE, keep="last", maintain_order=True)
    return last.select(
        *OF_ONE,
        "meaning",
        "count",
        result=pl.col("result").str.slice(0, LONGEST_RESULT),
        log_file="source_file",
        log_row="source_row",
    )
