"""From what stands in a cell to what it means: times, money, words, numbers, identifiers.

Every reader returns the values and a mask of the cells that hold something it cannot read; it never guesses. Columns
of typed files (parquet, json, databases) come in with their type and lose nothing on the way.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

import polars as pl

from audit_kit import resources
from audit_kit.core.spreadsheet_csv import undone
from audit_kit.loaders.reading import NUMBER_COLUMNS, Fault, Reason
from audit_kit.loaders.tables import phrases, times

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

MONEY = pl.Decimal(18, 2)
IDENTIFIERS = (*NUMBER_COLUMNS, "seller_tax_id", "buyer_tax_id")
HASHES = ("sha256", "hash", "evidence_sha256")
HASH_BYTES = (16, 20, 32)  # MD5, SHA-1, SHA-256
EXACT_DIGITS = 15  # a spreadsheet keeps no more of a number
_SHORT = 12  # bytes that a word for nothing may have, spaces around it included

_PLAIN_MONEY = r"^-?[0-9]{1,16}(?:\.[0-9]{1,2}0*)?$"
_NOISY_MONEY = r"^-?[0-9]+\.[0-9]{3,}$"
_NOISE_DIGITS = 15  # a number with fewer digits shows no binary noise
_MORE_DECIMALS = r"^-?[0-9]*\.[0-9]{3,}$"
_HEXADECIMAL = r"^(?:[0-9A-Fa-f]{32}|[0-9A-Fa-f]{40}|[0-9A-Fa-f]{64})$"
_NO_TAX = r"^\s*(?:\*+|免税|不征税)\s*$"
_CODED = re.compile(r"^(\d{1,3})[:.、\-_]*(\D.*)$")
_SCIENTIFIC = r"(?i)^[+-]?\d(?:\.\d+)?e[+-]?\d+$"


@dataclass(frozen=True, kw_only=True)
class Raw:
    """A column to read: the header over it, its cells, the type it shall have, and what its times need to be told."""

    theirs: str
    cells: pl.Series
    dtype: pl.DataType
    zone: str | None = None
    from_1904: bool = False
    clock: pl.Series | None = None


@dataclass(frozen=True, kw_only=True)
class Cells:
    """Cells read: their values, and where something stood that could not be read, with the code of the reason."""

    values: pl.Series
    unreadable: pl.Series
    code: str = ""


@dataclass(frozen=True, kw_only=True)
class Column:
    """One column read: its values, what could not be read, words that no vocabulary knows, days without a time."""

    theirs: str
    values: pl.Series
    faults: tuple[Fault, ...] = ()
    unknown: pl.Series | None = None
    date_only: pl.Series | None = None


def column(raw: Raw) -> Column:
    """Read one column by its type."""
    cells, dtype, name = raw.cells, raw.dtype, raw.cells.name
    date_only = unknown = None
    if isinstance(dtype, pl.Datetime):
        dated = isinstance(cells.dtype, pl.Datetime | pl.Date)
        clock = None if raw.clock is None else as_text(raw.clock)
        at = times.times(cells if dated else as_text(cells), zone=raw.zone, from_1904=raw.from_1904, clock=clock)
        read, date_only = Cells(values=at.values, unreadable=at.unreadable, code="reason.no_date"), at.date_only
    elif isinstance(dtype, pl.Enum | pl.Boolean):
        read, unknown = _worded(cells, dtype)
    elif isinstance(dtype, pl.Decimal):
        read = money(_without_exempt(cells) if name == "tax" else cells)
    elif dtype.is_numeric():
        read = figures(cells, dtype)
    else:
        read = _text(cells, dtype)
    return Column(
        theirs=raw.theirs,
        values=read.values.alias(name),
        faults=tuple(_faults(raw, read)),
        unknown=unknown,
        date_only=date_only,
    )


def _faults(raw: Raw, read: Cells) -> Iterator[Fault]:
    """Give the cells that cannot be read, each kind with its reason; a word for nothing is no fault."""
    if not read.code or not read.unreadable.any():
        return
    text = as_text(raw.cells).set(~read.unreadable, None)
    empty = [word for word in text.unique() if word is not None and _says_nothing(word)]
    bad = read.unreadable & ~text.is_in(empty).fill_null(value=False)
    codes = _money_codes(text) if read.code == "reason.no_amount" else pl.repeat(read.code, len(text), eager=True)
    for code in codes.filter(bad).unique(maintain_order=True):
        yield Fault(mask=bad & (codes == code), reason=Reason(code=code, fields={"column": raw.theirs}), values=text)


def _worded(cells: pl.Series, dtype: pl.DataType) -> tuple[Cells, pl.Series | None]:
    """Read an enumeration or a flag; words out of its vocabulary are `unknown` where it has that word, else null."""
    read = enumerated(cells, dtype) if isinstance(dtype, pl.Enum) else flags(cells)
    if not read.unreadable.any():
        return read, None
    unknown = as_text(cells).set(~read.unreadable, None)
    if isinstance(dtype, pl.Enum) and "unknown" in dtype.categories:
        filled = read.values.cast(pl.String).set(read.unreadable, "unknown").cast(dtype)
        read = Cells(values=filled, unreadable=read.unreadable)
    return read, unknown


def _without_exempt(values: pl.Series) -> pl.Series:
    """Return taxes with the words for none (`***`, 免税) as zero."""
    if values.dtype != pl.String:
        return values
    exempt = values.str.contains(_NO_TAX).fill_null(value=False)
    return values.set(exempt, "0") if exempt.any() else values


def _text(cells: pl.Series, dtype: pl.DataType) -> Cells:
    name = cells.name
    if isinstance(dtype, pl.List):
        found = lists(cells)
    elif name in HASHES and (cells.dtype == pl.Binary or cells.dtype.is_nested()):
        return _hashes(_bytes(cells))
    elif name == "kind":
        found = kinds(cells)
    elif name == "channel":
        found = channels(cells)
    elif name in IDENTIFIERS:
        found = present(as_text(cells))
    else:
        found = texts(cells)
    if cells.dtype == pl.Binary:
        return Cells(values=found, unreadable=_binary(cells), code="reason.binary")
    return Cells(values=found, unreadable=_constant(len(cells)))


def _bytes(cells: pl.Series) -> pl.Series:
    """Return lists of bytes as binary values; any other nested value as its text, which is no hash."""
    if cells.dtype == pl.Binary:
        return cells
    if cells.dtype in (pl.List(pl.UInt8), pl.Array(pl.UInt8, getattr(cells.dtype, "shape", 0))):
        values = [None if value is None or None in value else bytes(value) for value in cells.to_list()]
        return pl.Series(cells.name, values, dtype=pl.Binary)
    return as_text(cells).cast(pl.Binary)


def _hashes(cells: pl.Series) -> Cells:
    """Return binary values that are hashes, or hashes in letters, in hexadecimal."""
    text = _utf8(cells)
    letters = text.str.contains(_HEXADECIMAL).fill_null(value=False)
    whole = cells.bin.size().is_in(HASH_BYTES).fill_null(value=False) | letters
    found = text.set(~letters, None).fill_null(cells.set(~whole, None).bin.encode("hex"))
    filled = (cells.bin.size() > 0).fill_null(value=False)
    return Cells(values=found, unreadable=filled & ~whole, code="reason.no_hash")


def _utf8(cells: pl.Series) -> pl.Series:
    """Return the binary values that are text as text; the others are null."""
    try:
        return cells.cast(pl.String)
    except pl.exceptions.PolarsError:
        return pl.Series(cells.name, [_decoded(value) for value in cells], dtype=pl.String)


def _decoded(value: bytes | None) -> str | None:
    try:
        return None if value is None else value.decode()
    except UnicodeDecodeError:
        return None


def _binary(cells: pl.Series) -> pl.Series:
    """Return which binary values are no text."""
    return cells.is_not_null() & _utf8(cells).is_null()


def _constant(length: int) -> pl.Series:
    return pl.repeat(value=False, n=length, dtype=pl.Boolean, eager=True)


def as_text(values: pl.Series) -> pl.Series:
    """Return any column as text, as a person would write it; lists are joined by `；`, empty text is null.

    Binary values that are no UTF-8 text are hexadecimal.
    """
    dtype = values.dtype
    if isinstance(dtype, pl.List):
        text = values.cast(pl.List(pl.String)).list.join("；")
    elif dtype == pl.Binary:
        text = _utf8(values).fill_null(values.bin.encode("hex"))
    elif isinstance(dtype, pl.Struct | pl.Object | pl.Array):
        text = pl.Series(values.name, [None if value is None else str(value) for value in values], dtype=pl.String)
    elif dtype.is_float():
        whole = values.is_finite() & (values == values.round(0)) & (values.abs() < 10.0**EXACT_DIGITS)
        text = (
            pl.select(
                pl.when(whole)
                .then(pl.when(whole).then(values).cast(pl.Int64).cast(pl.String))
                .otherwise(values.cast(pl.String))
            )
            .to_series()
            .alias(values.name)
        )
    elif dtype.is_decimal():
        text = values.cast(pl.String).str.replace(r"\.0+$", "")
    elif isinstance(dtype, pl.Datetime):
        text = times.typed(values).dt.to_string("%Y-%m-%d %H:%M:%S")
    elif dtype == pl.Boolean:
        text = values.replace_strict({True: "true", False: "false"}, return_dtype=pl.String)
    else:
        text = values.cast(pl.String)
    return text.set(text == "", None) if (text == "").any() else text


@cache
def _nothing() -> frozenset[str]:
    return frozenset(resources.load("vocabularies")["nothing"]["words"])


def present(values: pl.Series) -> pl.Series:
    """Return text with blank cells, and words for nothing such as `--`, as null; the rest as it stands."""
    short = values.str.len_bytes() <= _SHORT
    words_ = values.filter(short).unique()
    empty = [word for word in words_ if word is not None and _says_nothing(word)]
    return values.set(values.is_in(empty), None) if empty else values


def _says_nothing(word: str) -> bool:
    bare = word.strip()
    return not bare or bare.casefold() in _nothing()


def stripped(values: pl.Series) -> pl.Series:
    """Return text without outer spaces; empty text, and words for nothing, are null."""
    return present(values).str.strip_chars()


def half_width(text: pl.Expr) -> pl.Expr:
    """Return text in half width, without spaces and in lower case, as words are compared."""
    return text.str.normalize("NFKC").str.to_lowercase().str.replace_all(r"\s+", "")


def money(values: pl.Series) -> Cells:
    """Return yuan with two decimals; a third decimal that is not the noise of a binary number is unreadable."""
    if values.dtype.is_numeric():
        values = values.cast(pl.String)
    text = as_text(values)
    plain = text.str.contains(_PLAIN_MONEY)
    rest = ~plain & text.is_not_null()
    found = (text.set(rest, None) if rest.any() else text).cast(MONEY, strict=False)
    unreadable = rest
    if rest.any():
        others = text.filter(rest).unique()
        known = pl.DataFrame({"text": others, "yuan": _other_money(others)})
        late = pl.DataFrame({"text": text}).join(known, on="text", how="left", maintain_order="left")["yuan"]
        found = found.fill_null(late)
        unreadable = rest & found.is_null()
    unreadable = unreadable | (plain.fill_null(value=False) & found.is_null())
    return Cells(values=found.alias(values.name), unreadable=unreadable, code="reason.no_amount")


def tidy_money(text: pl.Expr) -> pl.Expr:
    """Return an amount without currency, thousands and full width, its brackets turned into a sign."""
    bare = text.str.normalize("NFKC").str.replace_all(r"[\s'¥￥元,]|(?i:cny|rmb|人民币)", "").str.replace("−", "-")
    return (
        pl.when(bare.str.contains(r"^\(.*\)$"))
        .then(pl.lit("-") + bare.str.strip_chars("()"))
        .when(bare.str.ends_with("-"))
        .then(pl.lit("-") + bare.str.strip_suffix("-"))
        .otherwise(bare)
        .str.replace(r"^\+", "")
        .str.replace(r"^(-?)\.", "${1}0.")
        .str.replace(r"\.$", "")
    )


def _other_money(texts: pl.Series) -> pl.Series:
    tidy = pl.DataFrame({"text": texts}).select(tidy_money(pl.col("text"))).to_series()
    grouped = texts.str.normalize("NFKC").str.contains(r"\d,\d{3}(?:,\d{3})*(?:\D|$)") | ~texts.str.contains(r"[,，]")
    plain = tidy.str.contains(_PLAIN_MONEY) & grouped
    noisy = tidy.str.contains(_NOISY_MONEY) & (tidy.str.len_bytes() > _NOISE_DIGITS)
    near = tidy.set(~noisy, None).cast(pl.Float64, strict=False)
    noise = ((near - near.round(2)).abs() <= near.abs() * 1e-15 + 1e-9) & grouped
    return pl.select(
        pl.when(plain)
        .then(tidy.set(~plain, None).cast(MONEY, strict=False))
        .when(noise)
        .then(near.round(2).cast(MONEY, strict=False))
    ).to_series()


def _money_codes(texts: pl.Series) -> pl.Series:
    """Return why amounts cannot be read."""
    tidy = tidy_money(pl.col("text"))
    code = (
        pl.when(tidy.str.contains(_MORE_DECIMALS))
        .then(pl.lit("reason.more_decimals"))
        .when(tidy.str.contains(_SCIENTIFIC))
        .then(pl.lit("reason.scientific"))
        .otherwise(pl.lit("reason.no_amount"))
    )
    return texts.to_frame("text").select(code.alias("code")).to_series()


def figures(values: pl.Series, dtype: pl.DataType) -> Cells:
    """Return counts and shares; thousands and full width are understood, and `85%` is 0.85."""
    text = as_text(values)
    found = text.cast(dtype, strict=False)
    rest = found.is_null() & text.is_not_null()
    if rest.any():
        tidy = pl.DataFrame({"text": text}).select(tidy_money(pl.col("text"))).to_series()
        per_cent = tidy.str.ends_with("%")
        number = tidy.str.strip_chars("%").cast(pl.Float64, strict=False)
        number = pl.select(pl.when(per_cent).then(number / 100).otherwise(number)).to_series()
        if dtype.is_integer():
            number = number.set(number != number.round(0), None)
        found = found.fill_null(number.cast(dtype, strict=False))
    unreadable = found.is_null()
    return Cells(values=found.alias(values.name), unreadable=unreadable, code="reason.no_number")


@cache
def words(vocabulary: str) -> Mapping[str, str]:
    """Return every folded word of a vocabulary → its canonical word."""
    table: dict[str, str] = {}
    for word, entry in resources.load("vocabularies")[vocabulary].items():
        for form in (word, entry["zh"], entry["en"], *entry.get("also", ())):
            table.setdefault(pl.select(half_width(pl.lit(form))).item(), word)
    return table


def label(vocabulary: str, word: str | None, lang: str = "zh") -> str:
    """Return what a reader sees for a canonical word; an unknown word stands for itself."""
    entry = resources.load("vocabularies")[vocabulary].get(word)
    return str(entry[lang]) if entry else (word or "")


@cache
def _other_kinds() -> Mapping[str, str]:
    spec: dict[str, list[str]] = resources.load("vocabularies")["kinds"]
    return {pl.select(half_width(pl.lit(form))).item(): kind for kind, forms in spec.items() for form in (kind, *forms)}


@cache
def _other_channels() -> Mapping[str, str]:
    spec: dict[str, list[str]] = resources.load("vocabularies")["channels"]
    return {pl.select(half_width(pl.lit(form))).item(): name for name, forms in spec.items() for form in (name, *forms)}


def vocabulary_of(dtype: pl.Enum) -> str:
    """Return the name of the vocabulary whose words an enumeration has."""
    return _vocabulary(tuple(dtype.categories))


@cache
def _vocabulary(categories: tuple[str, ...]) -> str:
    return next(name for name, entries in resources.load("vocabularies").items() if tuple(entries) == categories)


def enumerated(values: pl.Series, dtype: pl.Enum) -> Cells:
    """Return the canonical words of a column; `unreadable` marks words that its vocabulary does not know."""
    text, vocabulary = as_text(values).str.strip_chars(), vocabulary_of(dtype)
    read = _replaced(text, words(vocabulary), dtype)
    if not read.unreadable.any():
        return read
    longer = phrases.understood(text.filter(read.unreadable).unique(), vocabulary, words(vocabulary))
    found = (
        read.values.fill_null(text.replace_strict(longer, default=None, return_dtype=dtype)) if longer else read.values
    )
    return Cells(values=found, unreadable=read.unreadable & found.is_null())


def flags(values: pl.Series) -> Cells:
    """Return yes and no."""
    if values.dtype == pl.Boolean:
        return Cells(values=values, unreadable=_constant(len(values)))
    cells = _replaced(as_text(values).str.strip_chars(), words("flags"), pl.String())
    found = cells.values == "true"
    return Cells(values=found, unreadable=cells.unreadable)


def _replaced(text: pl.Series, table: Mapping[str, str], dtype: pl.DataType) -> Cells:
    forms = text.drop_nulls().unique()
    folded = pl.DataFrame({"form": forms}).select(half_width(pl.col("form"))).to_series()
    known = {form: word for form, fold in zip(forms, folded, strict=True) if (word := _word(fold, table)) is not None}
    found = text.replace_strict(known, default=None, return_dtype=dtype)
    return Cells(values=found, unreadable=found.is_null() & text.is_not_null())


def _word(fold: str, table: Mapping[str, str]) -> str | None:
    """Return the canonical word of a folded cell, which may be a word, a code, or a code before its word."""
    if fold in table or (parts := _CODED.match(fold)) is None:
        return table.get(fold)
    code, word = (table.get(part) for part in parts.groups())
    return word if code in (None, word) else None


def kinds(values: pl.Series) -> pl.Series:
    """Return kinds of invoice in the platform's own words where they are known, else as they stand."""
    return _named(values, _other_kinds())


def channels(values: pl.Series) -> pl.Series:
    """Return channels by their usual name where it is known, else as they stand."""
    return _named(values, _other_channels())


def _named(values: pl.Series, table: Mapping[str, str]) -> pl.Series:
    text = stripped(as_text(values))
    forms = text.drop_nulls().unique()
    folded = forms.to_frame("form").select(half_width(pl.col("form"))).to_series()
    other = {form: table[fold] for form, fold in zip(forms, folded, strict=True) if table.get(fold, form) != form}
    return text.replace(other) if other else text


def texts(values: pl.Series) -> pl.Series:
    """Return free text without outer spaces and without what makes it safe in a csv; empty text is null."""
    return undone(stripped(as_text(values)))


def lists(values: pl.Series) -> pl.Series:
    """Return texts separated by `；`, `;`, or line ends as lists; empty text is null."""
    if isinstance(values.dtype, pl.List):
        return values.cast(pl.List(pl.String))
    parts = texts(values).str.replace_all(r"[；\n|]", ";").str.split(";")
    return parts.list.eval(pl.element().str.strip_chars()).list.eval(pl.element().filter(pl.element() != ""))
