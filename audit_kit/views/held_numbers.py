"""Where every invoice number stands: in each table that has one, in remarks and names of files, in rows set aside."""

from __future__ import annotations

import re
import unicodedata
from typing import TYPE_CHECKING

import polars as pl

from audit_kit.core import schema
from audit_kit.core.identity import OLD_LENGTHS, OLD_NUMBER, with_key
from audit_kit.rules.backups.coverage import base, numbered

if TYPE_CHECKING:
    from collections.abc import Iterator

    import dataframely as dy

    from audit_kit.analysis.analysis import Analysis

OWN = "own"
SET_ASIDE = "set_aside"
HELD = {"table": pl.String(), "held_at": pl.UInt32(), "role": pl.String(), "key": pl.String(), "stated": pl.String()}
BOOKS = tuple(name for name, table in schema.INPUTS.items() if issubclass(table, schema.Ledger))
LOGS = tuple(name for name, table in schema.INPUTS.items() if name not in BOOKS and "invoice_number" in table.columns())
MENTIONED = ("red_of", "checked_number")  # columns that hold the number of another invoice, or of the same once more
NAMED = ("path", "path_norm")  # columns whose file names may hold a number
SUCCESSIVE = "exports"  # the platform's earlier exports; no table of their own
_RUNS = r"[0-9]{8,}"
_SIGNS = r"[^0-9A-Z]"


def frames(analysis: Analysis) -> dict[str, pl.DataFrame]:
    """Return every table that may hold an invoice number, its rows counted in `held_at`."""
    engagement = analysis.engagement
    tables = {"ledger": analysis.ledger, "platform": analysis.platform}
    others = [name for name, table in schema.INPUTS.items() if _columns(table) and name not in tables]
    tables |= {name: engagement.table(name) for name in (*others, SUCCESSIVE) if engagement.has(name)}
    tables[SET_ASIDE] = analysis.set_aside
    return {name: frame.with_row_index("held_at") for name, frame in tables.items()}


def _columns(table: type[dy.Schema]) -> set[str]:
    return {"invoice_number", *MENTIONED, *NAMED} & set(table.columns())


def held(tables: dict[str, pl.DataFrame]) -> pl.DataFrame:
    """Return `table`, `held_at`, `role` (own, else the column that mentions it), `key`, `stated` of every number.

    `key` is the invoice's key, else the number as it stands in half width without signs, which is `stated`.
    """
    parts = [part for name, frame in tables.items() for part in _of_table(name, frame)]
    return pl.concat([pl.DataFrame(schema=HELD), *parts]).filter(pl.col("key").is_not_null())


def _of_table(name: str, frame: pl.DataFrame) -> Iterator[pl.DataFrame]:
    if name == SET_ASIDE:
        yield _of_texts(frame)
        return
    if "invoice_number" in frame.columns:
        columns = [column for column in ("digital_number", "invoice_code", "invoice_number") if column in frame.columns]
        text = pl.concat_str(
            [column for column in columns if column != "digital_number"], separator="", ignore_nulls=True
        )
        stated = pl.coalesce("digital_number", text) if "digital_number" in columns else text
        yield _placed(name, OWN, with_key(frame).select("held_at", "invoice_key", stated=stated))
    for column in MENTIONED:
        if column in frame.columns:
            others = frame.select("held_at", invoice_number=column).drop_nulls()
            yield _placed(name, column, with_key(others).select("held_at", "invoice_key", stated="invoice_number"))
    for column in NAMED:
        if column in frame.columns:
            number = numbered(base(pl.col(column)))
            files = frame.select("held_at", invoice_key=number, stated=number).drop_nulls()
            yield _placed(name, column, files)


def _placed(name: str, role: str, rows: pl.DataFrame) -> pl.DataFrame:
    stated = plain(pl.col("stated"))
    stated = pl.when(stated != "").then(stated)
    rows = rows.with_columns(stated=stated)
    key = pl.coalesce("invoice_key", "stated")
    return rows.select(pl.lit(name).alias("table"), "held_at", pl.lit(role).alias("role"), key.alias("key"), "stated")


def _of_texts(frame: pl.DataFrame) -> pl.DataFrame:
    """Return the numbers in the texts of rows set aside; code and number in cells beside each other are joined."""
    cells = (
        pl.col("value").str.normalize("NFKC").str.replace_all(r"\b([0-9]{10}|[0-9]{12}) \| ([0-9]{8})\b", "${1}${2}")
    )
    found = frame.select("held_at", stated=cells.str.extract_all(_RUNS)).explode("stated").drop_nulls()
    return _placed(SET_ASIDE, OWN, found.with_columns(invoice_key="stated"))


def plain(text: pl.Expr) -> pl.Expr:
    """Return a number as it is compared: half width, capitals, without signs."""
    return text.cast(pl.String).str.normalize("NFKC").str.to_uppercase().str.replace_all(_SIGNS, "")


def digits_of(number: str) -> str:
    """Return a typed number as it is compared."""
    return re.sub(_SIGNS, "", unicodedata.normalize("NFKC", number).upper())


def fitting(numbers: pl.DataFrame, number: str, most: int) -> list[str]:
    """Return the keys that a typed number can mean: it whole, an old one it ends, else those that it begins.

    Args:
        numbers: as returned by `held`.
        number: as typed.
        most: keys returned.
    """
    digits = digits_of(number)
    clean = with_key(pl.DataFrame({"invoice_number": [number]}))["invoice_key"][0]
    typed = [text for text in (digits, clean) if text]
    key, stated = pl.col("key"), pl.col("stated")
    old_end = key.str.len_chars().is_in(list(OLD_LENGTHS)) & key.str.ends_with(digits)
    whole = key.is_in(typed) | stated.is_in(typed)
    if len(digits) == OLD_NUMBER:
        whole |= old_end & key.str.contains("^[01]|^.{18}$")
    known = numbers.select("key", "stated").unique()
    for fits in (whole, key.str.starts_with(digits), old_end):
        found = known.filter(fits)["key"].unique().sort()
        if len(found):
            return found.head(most).to_list()
    return []
