"""Invoice numbers that went through a number cell: they must never come out well-formed and wrong.

A spreadsheet keeps 15 digits of a number, a binary float some 16 to 17. What remains of a longer number is written in
scientific form, so that nobody takes it for a number, and the row is flagged `precision_lost`.
"""

from __future__ import annotations

from math import exp, factorial
from typing import TYPE_CHECKING

import polars as pl

from audit_kit.core.identity import DIGITAL
from audit_kit.loaders.tables.body import NUMBER_COLUMNS

if TYPE_CHECKING:
    from audit_kit.loaders.formats.grid import Grid
    from audit_kit.loaders.tables.headers import Placement

EXACT_DIGITS = 15
LOST = "precision_lost"
SPACING = 2048  # binary floats of 19 or 20 digits lie this far apart, or farther
CHANCE = 1e-6  # how unlikely honest numbers must be to be spaced so
RARE = 1e-3  # the same for the marks that one honest number in 100,000 bears
FEW = 1000
_LONG = r"^[0-9]{16,}$"
_SHORT_FLOAT = r"^([0-9]{1,15})\.0$"
_LONG_FLOAT = r"^[0-9]{16,}\.0+$"
_EXPONENT = "[eE]"
_SCIENTIFIC = r"(?i)^\s*[+]?[0-9](?:\.[0-9]+)?e\+?[0-9]{1,2}\s*$"


def mark(frame: pl.DataFrame, placement: Placement, grid: Grid, data: pl.DataFrame) -> pl.DataFrame:
    """Return the frame with damaged identifiers in scientific form and `cleaning` naming the damage."""
    names = [name for name in (*NUMBER_COLUMNS, "seller_tax_id", "buyer_tax_id") if name in frame.columns]
    numbers: dict[int, pl.Series] = {}
    if grid.numbers is not None:
        numbers = grid.numbers(
            {placement.ours[name]: _suspects(grid.cells[str(placement.ours[name])]) for name in names}
        )
    flagged = _constant(frame.height)
    for name in names:
        text = frame[name]
        stored = numbers.get(placement.ours[name])
        lost = _constant(len(text)) if stored is None else stored.gather(data["position"])
        if name in NUMBER_COLUMNS:
            text, written = _written_as_number(text)
            # Cells that are known to be damaged say nothing about the honest ones beside them.
            lost |= written if name == "invoice_code" else written | from_text(text.set(lost | written, None))
        elif text.str.contains("+", literal=True).any():
            lost |= text.str.contains(_SCIENTIFIC).fill_null(value=False)
        rounded = text
        if lost.any():
            rounded = scientific(text.set(~lost, None)).fill_null(text)
            flagged |= lost if name in NUMBER_COLUMNS else _constant(len(text))
        frame = frame.with_columns(rounded.alias(name))
    if not flagged.any():
        return frame
    known = pl.col("cleaning") if "cleaning" in frame.columns else pl.lit([], pl.List(pl.String))
    more = pl.when(pl.lit(flagged)).then(pl.lit([LOST], pl.List(pl.String))).otherwise(pl.lit([], pl.List(pl.String)))
    both = pl.concat_list(known.fill_null([]), more).list.unique(maintain_order=True)
    return frame.with_columns(cleaning=both)


def _constant(length: int) -> pl.Series:
    return pl.repeat(value=False, n=length, dtype=pl.Boolean, eager=True)


def _written_as_number(text: pl.Series) -> tuple[pl.Series, pl.Series]:
    """Return texts without the point of a float (`12345678.0`), and which were written as a number too long for one."""
    lost = _constant(len(text))
    odd = ((text.str.len_bytes() != DIGITAL) & text.str.contains(".", literal=True)).fill_null(value=False)
    odd |= text.str.contains(_EXPONENT).fill_null(value=False)
    if not odd.any():
        return text, lost
    lost = (text.str.contains(_SCIENTIFIC) | text.str.contains(_LONG_FLOAT)).fill_null(value=False)
    return text.str.replace(_SHORT_FLOAT, "$1"), lost


def _suspects(values: pl.Series) -> pl.Series:
    """Return the cells that may be numbers with more digits than a number keeps: all that a binary float can be."""
    nothing = _constant(len(values))
    long = (values.str.len_bytes() > EXACT_DIGITS).fill_null(value=False)
    if not long.any():
        return nothing
    number = values.set(~long, None).str.strip_suffix(".0").cast(pl.Int128, strict=False)
    near = number.cast(pl.Float64).cast(pl.Int128, strict=False)
    return (number == near).fill_null(value=False)


def scientific(text: pl.Series) -> pl.Series:
    """Return digits as the 15 that can be trusted, in scientific form; other text as it stands."""
    digits = text.str.strip_chars().str.replace(r"\.0+$", "")
    long = digits.set(~digits.str.contains(_LONG), None)
    forms = {word: _scientific(word) for word in long.drop_nulls().unique().to_list()}
    return long.replace_strict(forms, default=None, return_dtype=pl.String).fill_null(text)


def _scientific(digits: str) -> str:
    kept, left = int(digits[:EXACT_DIGITS]), len(digits) - EXACT_DIGITS
    # The float nearest to 15 digits and zeros may lie just below them; any other float is cut off.
    if int(float((kept + 1) * 10**left)) == int(digits):
        kept += 1
    trusted = f"{kept:0{EXACT_DIGITS}d}"
    return f"{trusted[0]}.{trusted[1:]}E+{len(digits) - 1}"


def from_text(text: pl.Series) -> pl.Series:
    """Return the 20-digit texts that show the marks of a number cell.

    The marks are a tail of five zeros, the float that is nearest to 15 digits and zeros, and the spacing of floats. A
    number may bear one by honest chance, so it is taken for damage only where chance would hardly make so many.
    """
    whole = (text.str.len_bytes() == DIGITAL).fill_null(value=False)
    count = int(whole.sum())
    nothing = _constant(len(text))
    if not count:
        return nothing
    # The last 11 digits decide: 10^11 is a multiple of both.
    tail = text.set(~whole, None).str.slice(9).cast(pl.Int64, strict=False)
    rounded = (tail % 100_000 == 0).fill_null(value=False)
    if count < FEW:  # the first of a made-up sequence ends in zeros too
        rounded &= text.str.slice(5, 10) != "0000000000"
    found = rounded if _unlikely(int(rounded.sum()), count / 10**5, RARE) else nothing
    spaced = (tail % SPACING == 0).fill_null(value=False)
    seen = int(spaced.sum())
    if seen > 1 and _unlikely(seen, count / SPACING, CHANCE):
        return found | spaced
    if 0 < seen < FEW:
        nearest = spaced & text.is_in([word for word in text.filter(spaced) if _is_nearest(word)])
        nearest &= ~rounded
        if _unlikely(int(nearest.sum()), count / 10**5, RARE):
            found |= nearest
    return found


def _is_nearest(digits: str) -> bool:
    """Tell whether a number is the binary float nearest to its own first 15 digits."""
    if not (digits.isascii() and digits.isdigit()):
        return False
    start = int(digits[:EXACT_DIGITS])
    return any(int(float(head * 10**5)) == int(digits) for head in (start - 1, start, start + 1))


def _unlikely(seen: int, expected: float, chance: float) -> bool:
    """Tell whether so many, or more, would hardly be chance (Poisson)."""
    if not seen or seen <= expected:
        return False
    below = sum(exp(-expected) * expected**k / factorial(k) for k in range(min(seen, 60)))
    return 1 - below < chance
