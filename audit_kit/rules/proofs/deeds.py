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
    forms = pl.DataFrame({"form": results.drop_nulls().unique()})
    # Whatever numbers a message holds, its words say the same; figures alone are a code.
    without = pl.when(pl.col("form").str.contains(r"\D")).then(pl.col("form").str.replace_all(r"\d+", "0"))
    forms = forms.with_columns(shape=without.otherwise("form"))
    shapes = forms["shape"].unique()
    said = {shape: _meaning(shape) for shape in shapes}
    forms = forms.with_columns(meaning=pl.col("shape").replace_strict(said, return_dtype=pl.String))
    known = results.rename("form").to_frame().join(forms, on="form", how="left", maintain_order="left")
    return known["meaning"].fill_null(SUCCEEDED)


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
    taken_back = rows.filter(pl.col("meaning") == WITHDRAWN).group_by(OF_ONE).agg(withdrawn=pl.col("turn").max())
    rows = rows.with_columns(stands=pl.col("meaning") == SUCCEEDED)
    if taken_back.height:
        rows = rows.join(taken_back, on=OF_ONE, how="left", maintain_order="left")
        later = (pl.col("withdrawn") > pl.col("turn")).fill_null(value=False)
        rows = rows.with_columns(pl.col("stands") & ~later).drop("withdrawn")
    return rows.drop("turn")


def done(known: pl.DataFrame, action: str) -> pl.Series:
    """Return the keys of invoices to which this was done with effect."""
    return known.filter(pl.col("stands") & (pl.col("action") == action))["invoice_key"].unique()


def undone(known: pl.DataFrame) -> pl.DataFrame:
    """Return what was tried on an invoice without effect, once an invoice and action, by its last attempt.

    `invoice_key`, `action`, `meaning`, `result`, `count` (rows of the log with the same result), `log_file`, `log_row`.
    """
    tried = known.filter(~pl.col("stands"))
    standing = known.filter(pl.col("stands")).join(tried, on=OF_ONE, how="semi").select(OF_ONE)
    last = tried.join(standing, on=OF_ONE, how="anti", maintain_order="left")
    last = last.unique(OF_ONE, keep="last", maintain_order=True)
    alike = tried.group_by("result").agg(count=pl.len())
    last = last.join(alike, on="result", how="left", maintain_order="left")
    return last.select(
        *OF_ONE,
        "meaning",
        "count",
        result=pl.col("result").str.slice(0, LONGEST_RESULT),
        log_file="source_file",
        log_row="source_row",
    )
