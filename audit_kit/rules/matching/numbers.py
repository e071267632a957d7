"""Invoice numbers as they stand, before any cleaning, and as exact integers where they are tidy.

A tidy number is an integer. 20 digits need 67 bits, but those that begin with 2 (数电票) fit into 64 once the 2 is
off, and those that begin with 0 (old invoices), like code and number of 18 digits, fit above them.
"""

from __future__ import annotations

import polars as pl

from audit_kit.core.identity import DIGITAL, NUMBER_COLUMNS, OLD_CODES, OLD_LENGTHS, OLD_NUMBER

TEN_19 = 10**19
OLD_LOWEST = 10**17
OLD_HIGHEST = 84 * 10**17
_DIGITAL_PLACEHOLDER = 2222222222222222222
_OLD_PLACEHOLDER = 111111111111111111


def number_columns(frame: pl.DataFrame) -> pl.DataFrame:
    """Return the columns that an invoice's number is read from."""
    return frame.select(name for name in (*NUMBER_COLUMNS, "cleaning") if name in frame.columns)


def as_it_stands(frame: pl.DataFrame) -> pl.Series:
    """Return the number of every row without any cleaning: 20 digits, or code and number joined; else null."""
    present = [name for name in NUMBER_COLUMNS if name in frame.columns and frame[name].null_count() < frame.height]
    digital, number, code = (
        pl.col(name).cast(pl.String) if name in present else pl.lit(None, pl.String) for name in NUMBER_COLUMNS
    )
    text = number
    if "invoice_code" in present:
        old = (code.str.len_bytes() == min(OLD_CODES)) | code.str.contains("^[01]")
        whole = pl.when(old & (number.str.len_bytes() == OLD_NUMBER)).then(code + number)
        text = pl.when(code.is_null() | (code.str.len_bytes() == 0)).then(number).otherwise(whole)
    if "digital_number" in present:
        text = pl.coalesce(digital, text) if frame["digital_number"].null_count() else digital
    return frame.select(
        pl.repeat(None, pl.len()).cast(pl.String).alias("number") if not present else text.alias("number")
    )["number"]


def as_integer(number: pl.Series) -> pl.Series:
    """Return each tidy number as a UInt64 of its own; null for a text that needs a closer look."""
    text, digital = pl.col("number"), pl.col("digital")
    table = number.to_frame("number").with_columns(digital=text.str.slice(1).cast(pl.UInt64, strict=False))
    fits = (text.str.len_bytes() == DIGITAL) & text.str.starts_with("2") & ~text.str.starts_with("2+")
    whole = table.select(pl.when(fits & (digital != _DIGITAL_PLACEHOLDER)).then(digital).alias("whole"))["whole"]
    if whole.null_count() == number.null_count():
        return whole
    others = (whole.is_null() & number.is_not_null()).arg_true()
    return whole.scatter(others, _old_integer(number.gather(others)))


def _old_integer(number: pl.Series) -> pl.Series:
    """Return each tidy number of an old invoice as an integer above those of the 数电票; null for another text."""
    table = pl.DataFrame({"value": number.cast(pl.Int128, strict=False), "number": number})
    value, text = pl.col("value"), pl.col("number")
    length = text.str.len_bytes()
    old = value.is_between(OLD_LOWEST, OLD_HIGHEST, closed="left") & (value % _OLD_PLACEHOLDER != 0)
    old &= (length == min(OLD_LENGTHS)) & (value < 10 * OLD_LOWEST) | (length == DIGITAL) & text.str.starts_with("0")
    moved = pl.when(old).then((value + TEN_19).cast(pl.UInt64, strict=False))
    return table.select(moved.alias("whole"))["whole"]


def tidy_integers(numbers: pl.DataFrame, text: pl.Series) -> pl.Series:
    """Return the tidy numbers as integers (see `as_integer`); a number that a reader has already cleaned is none."""
    whole = as_integer(text)
    if "cleaning" not in numbers.columns:
        return whole
    touched = (numbers["cleaning"].list.len() > 0).fill_null(value=False)
    return whole.zip_with(~touched, pl.Series([None], dtype=pl.UInt64)) if touched.any() else whole
