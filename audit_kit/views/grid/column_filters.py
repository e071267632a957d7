"""What a person writes under a column's title, as a filter: text, a figure or a day, with > < = and from..to."""

from __future__ import annotations

import re
import unicodedata
from datetime import datetime, timedelta
from decimal import Decimal

import polars as pl

TEXT, MONEY, COUNT, TIME = "text", "money", "count", "time"
FIGURES = (MONEY, COUNT)
_SIGN = re.compile(r"\s*(>=|<=|≥|≤|=|>|<|!)?\s*(.*?)\s*", re.DOTALL)
_DAY = re.compile(r"(\d{4})(?:[-/.年](\d{1,2}))?(?:[-/.月](\d{1,2}))?[月日年]?")
_RANGE = re.compile(r"\.\.|~|至|到| to ")
_SAME = {"≥": ">=", "≤": "<="}


def passing(name: str, kind: str, text: str) -> pl.Expr | None:
    """Return which rows of a column pass what was written; null where it cannot be understood.

    Text is looked for without case, `=` wants all of it, `!` wants those without it. Figures may be written as an
    amount is (1,000 or 1万), days as 2025, 2025-05 or 2025-05-03; both with a sign before them or from..to, ends
    included. A row without a value passes none but `!`.
    """
    if kind == TEXT:
        return _text(name, *_signed(text))
    sign, rest = _signed(unicodedata.normalize("NFKC", text))
    low, *high = (part.strip() for part in _RANGE.split(rest, maxsplit=1))
    if high and sign:
        return None
    spans = [_span(part, kind) if part else None for part in (low, *high)]
    if any(part and span is None for part, span in zip((low, *high), spans, strict=True)) or not any(spans):
        return None
    column = pl.col(name)
    first, last = spans[0], spans[-1]
    if high:
        kept = [column >= pl.lit(first[0])] if first else []
        kept += [column <= pl.lit(last[1])] if last else []
        return pl.all_horizontal(kept)
    if first is None:
        return None
    return {
        "": column.is_between(pl.lit(first[0]), pl.lit(first[1])),
        "=": column.is_between(pl.lit(first[0]), pl.lit(first[1])),
        "!": ~column.is_between(pl.lit(first[0]), pl.lit(first[1])),
        ">": column > pl.lit(first[1]),
        ">=": column >= pl.lit(first[0]),
        "<": column < pl.lit(first[0]),
        "<=": column <= pl.lit(first[1]),
    }[sign]


def amount_of(text: str) -> float | None:
    """Return an amount as a person writes it, in yuan: 10000, 10,000.00, ¥1万, 1.5 亿; null for what is none."""
    plain = unicodedata.normalize("NFKC", text).strip().removeprefix("¥").removeprefix("￥").removesuffix("元").strip()
    found = _AMOUNT.fullmatch(plain)
    if not found:
        return None
    return float(Decimal(found["figures"].replace(",", "").replace(" ", "")) * _UNITS[found["unit"]])


def caseless(text: pl.Expr, wanted: str) -> pl.Expr:
    """Return a text as it is searched: folding a million of them takes time, and figures and Chinese have no case."""
    return text if wanted.lower() == wanted.upper() else text.str.to_lowercase()


def _signed(text: str) -> tuple[str, str]:
    found = _SIGN.fullmatch(text)
    sign, rest = (found[1] or "", found[2]) if found else ("", text)
    return _SAME.get(sign, sign), rest


def _text(name: str, sign: str, wanted: str) -> pl.Expr:
    text = pl.col(name).cast(pl.String)
    text, wanted = caseless(text, wanted), wanted.lower()
    if sign == "=":
        return text == wanted
    if sign not in ("", "!"):
        wanted = f"{sign}{wanted}"
    held = text.str.contains(wanted, literal=True).fill_null(value=False)
    return ~held if sign == "!" else held


def _span(text: str, kind: str) -> tuple[float, float] | tuple[datetime, datetime] | None:
    """Return the first and last value that a text stands for."""
    if kind in FIGURES:
        figure = amount_of(text)
        return None if figure is None else (figure, figure)
    found = _DAY.fullmatch(text)
    if not found:
        return None
    year, month, day = (int(part) if part else None for part in found.groups())
    try:
        first = datetime(year or 1, month or 1, day or 1)  # noqa: DTZ001  the engagement's own clock, as its tables have it
        if day:
            after = first + timedelta(days=1)
        elif month:
            after = datetime(first.year + month // 12, month % 12 + 1, 1)  # noqa: DTZ001  the same
        else:
            after = datetime(first.year + 1, 1, 1)  # noqa: DTZ001  the same
    except (ValueError, OverflowError):
        return None
    return first, after - timedelta(microseconds=1)


_UNITS = {"": 1, "千": 1_000, "万": 10_000, "萬": 10_000, "亿": 100_000_000, "億": 100_000_000}
_AMOUNT = re.compile(r"(?P<figures>[+-]?(?:\d[\d, ]*(?:\.\d*)?|\.\d+))\s*(?P<unit>[千万萬亿億]?)")
