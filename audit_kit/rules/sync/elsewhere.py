"""Vouchers that the tax platform never lists, by their kind and the shape of their number."""

from __future__ import annotations

import re
from functools import cache
from typing import TYPE_CHECKING, Any

import polars as pl

from audit_kit import resources
from audit_kit.core.identity import DIGITAL, NUMBER_COLUMNS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

TELLING = ("kind", *NUMBER_COLUMNS, "issued_at")
NOT_LETTERS = r"[^\p{L}\p{N}]"


def never_listed(rows: pl.DataFrame) -> pl.Series:
    """Return what voucher each row is, a name of `resources/elsewhere.toml`; null for one that could be listed.

    Args:
        rows: of a ledger, whichever of the columns `TELLING` it has.
    """
    known = [(name, kind) for name, kind in _table()["kinds"].items()]
    parts = rows.select(
        kind=_kind(rows) if "kind" in rows.columns else pl.lit(None, pl.String),
        number=_number(rows.columns),
        year=pl.col("issued_at").dt.year() % 100 if "issued_at" in rows.columns else pl.lit(None, pl.Int32),
    )
    said = [
        _any(pl.col("kind"), kind["words"])
        | (_any(pl.col("kind"), kind.get("shaped", ())) & _shaped(kind.get("shapes", ())))
        for _, kind in known
    ]
    silent = pl.col("kind").is_null() | pl.col("kind").str.contains(_table()["silent"])
    alone = [silent & _shaped(kind.get("alone", ()), dated=True) for _, kind in known]
    listed = _table()["listed"]
    possible = _any(pl.col("kind"), listed["words"]) | _shaped(listed["shapes"])
    names = [name for name, _ in known]
    found = [pl.when(test).then(pl.lit(name)) for test, name in zip([*said, *alone], [*names, *names], strict=True)]
    return parts.select(pl.when(~possible).then(pl.coalesce(found)).alias("unlisted")).to_series()


@cache
def _table() -> dict[str, Any]:
    """Return the resource with its areas filled in."""
    areas = resources.load("numbers")["areas"]
    area = f"(?:{'|'.join([*areas['codes'], *areas['cities']])})"
    table = resources.load("elsewhere")
    return {
        "silent": table["silent"],
        "listed": _filled(table["listed"], area),
        "kinds": {name: _filled(kind, area) for name, kind in table["kinds"].items()},
    }


def _filled(patterns: Mapping[str, Sequence[str]], area: str) -> dict[str, list[str]]:
    return {part: [pattern.replace("{area}", area) for pattern in some] for part, some in patterns.items()}


def _kind(rows: pl.DataFrame) -> pl.Expr:
    """Return kinds as they are compared; each distinct one is folded once."""
    forms = rows["kind"].cast(pl.String).unique().drop_nulls()
    folded = forms.str.normalize("NFKC").str.to_lowercase().str.replace_all(NOT_LETTERS, "")
    return pl.col("kind").cast(pl.String).replace_strict(forms, folded, return_dtype=pl.String)


def _number(columns: Sequence[str]) -> pl.Expr:
    """Return code, space and number as they are compared; of one with 20 digits the number alone, empty without any."""
    digital, number, code = (
        (pl.col(name).cast(pl.String) if name in columns else pl.lit(None, pl.String))
        .str.normalize("NFKC")
        .str.to_uppercase()
        .str.replace_all(NOT_LETTERS, "")
        .fill_null("")
        for name in NUMBER_COLUMNS
    )
    own = pl.when(digital != "").then(digital).otherwise(number)
    whole = pl.concat_str([code, own], separator=" ").str.strip_chars()
    return pl.when(own.str.len_chars() == DIGITAL).then(own).otherwise(whole)


def _any(text: pl.Expr, patterns: Sequence[str]) -> pl.Expr:
    if not patterns:
        return pl.lit(value=False)
    return text.str.contains("|".join(patterns)).fill_null(value=False)


def _shaped(patterns: Sequence[str], *, dated: bool = False) -> pl.Expr:
    """Return whether the number has one of these shapes; without a date a year in it counts unless it must be dated."""
    found = pl.lit(value=False)
    for pattern in patterns:
        fits = pl.col("number").str.contains(pattern)
        if re.compile(pattern).groups:
            ago = pl.col("year") - pl.col("number").str.extract(pattern).cast(pl.Int32, strict=False)
            fits &= ago.is_in([0, 1]).fill_null(value=not dated)
        found |= fits
    return found
