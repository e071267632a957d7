"""When two records of one invoice agree.

What is absent on either side, a whole column or a single value, is not compared. Money is held in whole ten-thousandths
of a yuan (Int64), so that decimals, floats and integers compare alike and no sum drifts. Days are Beijing days.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl

from audit_kit.core import identity
from audit_kit.core.errors import RequestError
from audit_kit.resources.languages import Table

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

MONEY = ("net", "tax", "gross")
FIELDS = ("issued_at", "seller_tax_id", "seller_name", "buyer_tax_id", "buyer_name", "net", "tax", "gross", "status")
"""The fields that are compared, in the order in which `differences` names them."""

FOLDS: dict[str, Callable[[pl.Expr], pl.Expr]] = {
    "seller_tax_id": identity.fold_tax_id,
    "seller_name": identity.fold_name,
    "buyer_tax_id": identity.fold_tax_id,
    "buyer_name": identity.fold_name,
}
"""How texts are made comparable before they count as different."""

UNITS_PER_YUAN = 10_000
_UNITS_SCALE = 4
_BEIJING = "Asia/Shanghai"
_NEEDED = ("issued_at", "gross")


def require_columns(columns: Sequence[str], side: str) -> None:
    """Raise `RequestError` unless there is a number, a date and an amount."""
    if not {"digital_number", "invoice_number"} & set(columns):
        raise RequestError("error_rules.no_number", side=Table(side))
    for name in _NEEDED:
        if name not in columns:
            raise RequestError("error_rules.no_column", side=Table(side), name=name, known=", ".join(columns))


def common_fields(ledger: pl.DataFrame, platform: pl.DataFrame) -> tuple[str, ...]:
    """Return date and amount, and the other fields that both sides fill at least once, in the order of `FIELDS`."""
    return tuple(name for name in FIELDS if name in _NEEDED or (_filled(ledger, name) and _filled(platform, name)))


def plain(frame: pl.DataFrame, name: str) -> pl.Expr:
    """Return a field cheaply normalised: money in units, dates as days, texts as they stand, unknown status null."""
    if name in MONEY:
        return units(frame, name)
    if name == "issued_at":
        return day(frame)
    text = pl.col(name).cast(pl.String)
    if name == "status":
        return pl.when(text != "unknown").then(text).alias(name)
    return text


def values(frame: pl.DataFrame, fields: tuple[str, ...]) -> pl.DataFrame:
    """Return the fields of a side, cheaply normalised: see `plain`."""
    return frame.select(plain(frame, name) for name in fields)


def folded(values_: pl.DataFrame) -> pl.DataFrame:
    """Return plain values with tax ids and names folded, so that unequal values differ and equal ones do not."""
    return values_.with_columns(_folded(values_[name]) for name in FOLDS if name in values_.columns)


def apart(ours: pl.DataFrame, theirs: pl.DataFrame, *, tolerance: int) -> pl.DataFrame:
    """Compare two frames of plain values row by row.

    Returns `differences` (list[str], names of the fields that differ) and `other_amount` (bool). `tolerance` is in
    money units.
    """
    unlike = pl.DataFrame({name: _unlike(ours[name], theirs[name], tolerance=tolerance) for name in ours.columns})
    # Each set of fields that differ has a number, and its words are put together once.
    bits = (pl.when(name).then(1 << at).otherwise(0) for at, name in enumerate(unlike.columns))
    codes = unlike.select(pl.sum_horizontal(bits).alias("code"))["code"]
    sets = codes.unique().sort()
    words = [[name for at, name in enumerate(unlike.columns) if code >> at & 1] for code in sets]
    listed = pl.Series("differences", words, dtype=pl.List(pl.String))
    return pl.DataFrame([listed.gather(sets.search_sorted(codes)), unlike["gross"].alias("other_amount")])


def _unlike(ours: pl.Series, theirs: pl.Series, *, tolerance: int) -> pl.Series:
    """Say where two columns of one field differ; where either is null they do not. Only unequal texts are folded."""
    if ours.name in MONEY:
        return ((ours - theirs).abs() > tolerance).fill_null(value=False)
    unlike = (ours != theirs).fill_null(value=False)
    if ours.name not in FOLDS or not unlike.any():
        return unlike
    at = unlike.arg_true()
    folded = _folded(ours.gather(at)) != _folded(theirs.gather(at))
    return unlike.scatter(at, folded.fill_null(value=False))


def _folded(texts: pl.Series) -> pl.Series:
    """Fold each distinct text once."""
    distinct = texts.drop_nulls().unique()
    folded = distinct.to_frame().select(FOLDS[texts.name](pl.col(texts.name)))[texts.name]
    return texts.replace_strict(distinct, folded, default=None, return_dtype=pl.String)


def tolerance_units(yuan: float) -> int:
    """Return a tolerance in yuan as money units."""
    return round(yuan * UNITS_PER_YUAN)


def units(frame: pl.DataFrame, name: str) -> pl.Expr:
    """Return an amount in yuan as whole ten-thousandths (Int64)."""
    dtype, amount = frame.schema[name], pl.col(name)
    if isinstance(dtype, pl.Decimal) and (dtype.scale or 0) <= _UNITS_SCALE:
        cents = amount.to_physical().cast(pl.Int64)
        steps: int = 10 ** (_UNITS_SCALE - (dtype.scale or 0))
        return (cents * steps).alias(name)
    if dtype.is_integer():
        return (amount.cast(pl.Int64) * UNITS_PER_YUAN).alias(name)
    if dtype.is_float():
        finite = pl.when(amount.is_finite()).then(amount.cast(pl.Float64))
        return (finite * UNITS_PER_YUAN).round().cast(pl.Int64, strict=False).alias(name)
    exact = amount.cast(pl.Decimal(38, _UNITS_SCALE), strict=False)
    return exact.to_physical().cast(pl.Int64, strict=False).alias(name)


def day(frame: pl.DataFrame) -> pl.Expr:
    """Return the Beijing day of `issued_at`, whatever its type."""
    dtype, time = frame.schema["issued_at"], pl.col("issued_at")
    if isinstance(dtype, pl.Datetime) and dtype.time_zone:
        return time.dt.convert_time_zone(_BEIJING).dt.date()
    if dtype == pl.String:
        return time.str.slice(0, 10).str.replace_all("/", "-", literal=True).str.to_date("%Y-%m-%d", strict=False)
    return time.cast(pl.Date)


def _filled(frame: pl.DataFrame, name: str) -> bool:
    return name in frame.columns and frame[name].null_count() < frame.height
