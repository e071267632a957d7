"""Invoice numbers that went through a number cell: they must never come out well-formed and wrong.

A spreadsheet keeps 15 digits of a number, a binary float some 16 to 17. What remains of a longer number is written in
scientific form, so that nobody takes it for a number, and the row is flagged `precision_lost`. A text that merely bears
the marks of a cell keeps all it said, since honest numbers bear them too: matching finds those on the platform.
"""

from __future__ import annotations

from math import exp, factorial
from typing import TYPE_CHECKING

import polars as pl

from audit_kit import resources
from audit_kit.core import identity
from audit_kit.core.identity import DIGITAL
from audit_kit.loaders.reading import NUMBER_COLUMNS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from audit_kit.loaders.tables.headers import Placed

EXACT_DIGITS = 15
LOST = "precision_lost"
NOTHING = pl.lit([], pl.List(pl.String))
SPACING = 2048  # binary floats of 19 or 20 digits lie this far apart, or farther
CHANCE = 1e-6  # how unlikely honest numbers must be to be spaced so
RARE = 1e-4  # the same for the marks that one honest number in 100,000 bears: a single one among ten is no proof
FEW = 1000
_TIDY_NUMBER = r"^[0-9]{20}$"
_LONG = r"^[0-9]{16,}$"
_SHORT_FLOAT = r"^([0-9]{1,15})\.0$"
_LONG_FLOAT = r"^[0-9]{16,}\.0+$"
_EXPONENT = "[eE]"
_SCIENTIFIC = r"(?i)^\s*[+]?[0-9](?:\.[0-9]+)?e\+?[0-9]{1,2}\s*$"


def doubted(rows: pl.DataFrame, sheet: Placed, positions: pl.Series) -> pl.DataFrame:
    """Return invoices with damaged identifiers in scientific form, and `cleaning` naming what was done.

    `positions` are those of the rows in the sheet's grid. A channel that the sheet does not state is read from a whole
    number: a hint.
    """
    frame = _marked(rows, sheet, positions)
    if "channel" not in sheet.ours:
        frame = frame.with_columns(channel=_channel_hint([name for name in NUMBER_COLUMNS[:2] if name in sheet.ours]))
    return _cleaned(frame, sheet)


def _marked(frame: pl.DataFrame, sheet: Placed, positions: pl.Series) -> pl.DataFrame:
    grid, ours = sheet.grid, sheet.ours
    names = [name for name in (*NUMBER_COLUMNS, "seller_tax_id", "buyer_tax_id") if name in ours]
    numbers: dict[int, pl.Series] = {}
    if grid.numbers is not None:
        numbers = grid.numbers({ours[name]: _suspects(grid.cells[str(ours[name])]) for name in names})
    flagged = _constant(frame.height)
    for name in names:
        text = frame[name]
        stored = numbers.get(ours[name])
        lost = _constant(len(text)) if stored is None else stored.gather(positions)
        if name in NUMBER_COLUMNS:
            text, written = _written_as_number(text)
            lost |= written
            if name != "invoice_code":
                # Cells that are known to be damaged say nothing about the honest ones beside them.
                marked = from_text(text.set(lost, None))
                if marked.any():
                    few = int(marked.sum()) * 2 < int((text.str.len_bytes() == DIGITAL).sum())
                    text = in_full(text.set(~marked, None), doubted=few).fill_null(text)
                    lost |= marked
        elif text.str.contains("+", literal=True).any():
            lost |= text.str.contains(_SCIENTIFIC).fill_null(value=False)
        rounded = text
        if lost.any():
            rounded = scientific(text.set(~lost, None)).fill_null(text)
            flagged |= lost if name in NUMBER_COLUMNS else _constant(len(text))
        frame = frame.with_columns(rounded.alias(name))
    if not flagged.any():
        return frame
    more = pl.when(pl.lit(flagged)).then(pl.lit([LOST], pl.List(pl.String))).otherwise(NOTHING)
    both = pl.concat_list(pl.col("cleaning").fill_null([]), more).list.unique(maintain_order=True)
    return frame.with_columns(cleaning=both)


def _channel_hint(numbers: Sequence[str]) -> pl.Expr:
    """Read the channel from digit 5 of a whole 20-digit number: a hint, for sources that do not state it."""
    digits: Mapping[str, str] = resources.load("vocabularies")["channel_digits"]
    if not numbers:
        return pl.lit(None, pl.String)
    whole = pl.coalesce(pl.when(identity.is_digital(pl.col(name))).then(name) for name in numbers)
    return whole.str.slice(4, 1).replace_strict(digits, default=None, return_dtype=pl.String)


def _cleaned(frame: pl.DataFrame, sheet: Placed) -> pl.DataFrame:
    """Add what identity finds to clean in the numbers; a tidy 20-digit number needs no look."""
    number = frame["digital_number" if "digital_number" in sheet.ours else "invoice_number"]
    tidy = number.str.contains(_TIDY_NUMBER).fill_null(value=False)
    tidy &= (frame["cleaning"].list.len() == 0).fill_null(value=True)
    names = [name for name in NUMBER_COLUMNS if name in sheet.ours]
    if tidy.all() or not names:
        return frame.with_columns(cleaning=NOTHING)
    known = [] if frame["cleaning"].null_count() == frame.height else ["cleaning"]
    found = identity.with_key(frame.filter(~tidy).select(*names, *known)).select("cleaning")
    at = pl.int_range(frame.height, eager=True).alias("at")
    found = found.with_columns(at.filter(~tidy))
    cleaning = at.to_frame().join(found, on="at", how="left", maintain_order="left")["cleaning"]
    return frame.with_columns(cleaning).with_columns(pl.col("cleaning").fill_null(NOTHING))


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


def in_full(text: pl.Series, *, doubted: bool) -> pl.Series:
    """Return digits in a scientific form that still says what stood there: it may be honest after all.

    15 digits do where what stood there is these and zeros, or the binary float nearest to that; but where the damage is
    doubted, all are written with a small e.
    """
    forms = {word: _in_full(word, doubted=doubted) for word in text.drop_nulls().unique().to_list()}
    return text.replace_strict(forms, default=None, return_dtype=pl.String)


def _in_full(digits: str, *, doubted: bool) -> str:
    left = len(digits) - 1
    if doubted:
        return f"{digits[0]}.{digits[1:]}e+{left}"
    short = _scientific(digits)
    shown = int(short[0] + short[2 : EXACT_DIGITS + 1]) * 10 ** (len(digits) - EXACT_DIGITS)
    return short if int(digits) in (shown, int(float(shown))) else f"{digits[0]}.{digits[1:]}E+{left}"


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
