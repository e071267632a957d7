"""Personal data, hidden: identity-card numbers always, names and taxpayer ids when a report is redacted.

Invoice numbers stay readable: without them no finding can be followed up.
"""

from __future__ import annotations

import polars as pl

# 18 characters with a plausible date of birth, not part of a longer number. 20-digit invoice numbers never match.
_ID_CARD = r"(?-u:\b)([1-9]\d{5})(?:18|19|20)\d{2}(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])\d{3}([\dXx])(?-u:\b)"
_TAX_ID = r"(?-u:\b)([0-9A-HJ-NPQRTUWXY]{2})\d{6}[0-9A-HJ-NPQRTUWXY]{6}([0-9A-HJ-NPQRTUWXY]{4})(?-u:\b)"
_PLAIN_TAX_ID = r"(?-u:\b)(\d{2})\d{4}[0-9A-Z]{5}([0-9A-Z]{4})(?-u:\b)"
_SHORT_NAME = 4
_STARS = "****"

NAMES = ("seller_name", "buyer_name", "holder", "entered_by", "checked_by", "by")
TAX_IDS = ("seller_tax_id", "buyer_tax_id", "tax_id")
TEXTS = ("evidence", "remark", "message", "before", "after", "title", "ledger", "platform")


def id_cards(text: pl.Expr) -> pl.Expr:
    """Return the text with every identity-card number hidden but for its region and last character."""
    return text.str.replace_all(_ID_CARD, f"${{1}}{_STARS}${{2}}")


def tax_ids(text: pl.Expr) -> pl.Expr:
    """Return the text with every taxpayer id of 18 or 15 characters hidden but for its ends."""
    masked = id_cards(text).str.replace_all(_TAX_ID, f"${{1}}{_STARS}${{2}}")
    return masked.str.replace_all(_PLAIN_TAX_ID, f"${{1}}{_STARS}${{2}}")


def names(name: pl.Expr) -> pl.Expr:
    """Return the name's first character (a person) or its first two and last two (a company), the rest as stars."""
    short = name.str.len_chars() <= _SHORT_NAME
    return (
        pl.when(name.is_null())
        .then(name)
        .when(short)
        .then(name.str.slice(0, 1) + pl.lit("**"))
        .otherwise(name.str.slice(0, 2) + pl.lit(_STARS) + name.str.slice(-2))
    )


def mask(frame: pl.DataFrame, *, redact: bool, known: pl.Series | None = None) -> pl.DataFrame:
    """Return the frame safe to show.

    Identity-card numbers are hidden in every text column. With `redact` also the columns of names and taxpayer ids,
    and within free text every taxpayer id and every name of `known`.
    """
    texts = [name for name, dtype in frame.schema.items() if dtype == pl.String]
    shown = frame.with_columns(id_cards(pl.col(name)) for name in texts)
    if not redact:
        return shown
    columns = [names(pl.col(name)) for name in NAMES if name in texts]
    columns += [tax_ids(pl.col(name)) for name in TAX_IDS if name in texts]
    columns += [_known(tax_ids(pl.col(name)), known) for name in TEXTS if name in texts]
    return shown.with_columns(columns)


def _known(text: pl.Expr, known: pl.Series | None) -> pl.Expr:
    if known is None or known.drop_nulls().is_empty():
        return text
    unique = known.drop_nulls().unique().rename("name").to_frame().filter(pl.col("name").str.len_chars() > 1)
    unique = unique.sort(
        pl.col("name").str.len_chars(), descending=True
    )  # of two that begin alike the longer is hidden
    hidden = unique.with_columns(names(pl.col("name")).alias("hidden"))
    return text.str.replace_many(hidden["name"].to_list(), hidden["hidden"].to_list(), leftmost=True)
