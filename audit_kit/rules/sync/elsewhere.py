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
    kind = (
        rows["kind"].cast(pl.String)
        if "kind" in rows.columns
        else pl.repeat(None, rows.height, dtype=pl.String, eager=True)
    )
    year = pl.col("issued_at").dt.year() % 100 if "issued_at" in rows.columns else pl.lit(None, pl.Int32)
    told = _told(kind).rename({"kind": "form"})
    joined = (
        kind.to_frame("form")
        .with_row_index("at")
        .join(told, on="form", how="left", nulls_equal=True, maintain_order="left")
    )
    likely = joined.filter("possible")
    numbers = rows[likely["at"]].select(number=_number(rows.columns), year=year)
    found = likely.hstack(numbers).select(
        "at", unlisted=pl.when(~_shaped(_table()["listed"]["shapes"])).then(_kind_of())
    )
    nothing = pl.repeat(None, rows.height, dtype=pl.String, eager=True).alias("unlisted")
    return nothing.scatter(found["at"], found["unlisted"])


def _told(kinds: pl.Series) -> pl.DataFrame:
    """Return what each distinct kind tells: `kind`, `silent`, `words` and `shaped` (what it may be), `possible`."""
    table = _table()
    forms = kinds.unique().alias("kind").to_frame()
    folded = pl.col("kind").str.normalize("NFKC").str.to_lowercase().str.replace_all(NOT_LETTERS, "")
    forms = forms.with_columns(text=folded)
    first = {
        part: pl.coalesce(
            pl.lit(None, pl.String),
            *(pl.when(_any(kind[part])).then(pl.lit(name)) for name, kind in table["kinds"].items() if part in kind),
        )
        for part in ("words", "shaped")
    }
    forms = forms.with_columns(silent=pl.col("text").str.contains(table["silent"]).fill_null(value=True), **first)
    says = pl.col("silent") | pl.col("words").is_not_null() | pl.col("shaped").is_not_null()
    return forms.with_columns(possible=says & ~_any(table["listed"]["words"])).drop("text")


def _kind_of() -> pl.Expr:
    """Return what a voucher is: by its kind, by its kind and number, or by its number alone."""
    kinds = _table()["kinds"]
    shaped = [
        pl.when((pl.col("shaped") == name) & _shaped(kind["shapes"])).then(pl.lit(name))
        for name, kind in kinds.items()
        if "shapes" in kind
    ]
    alone = [
        pl.when(pl.col("silent") & _shaped(kind["alone"], dated=True)).then(pl.lit(name))
        for name, kind in kinds.items()
        if "alone" in kind
    ]
    return pl.coalesce("words", *shaped, *alone)


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


def _any(patterns: Sequence[str]) -> pl.Expr:
    return pl.col("text").str.contains("|".join(patterns)).fill_null(value=False)


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
