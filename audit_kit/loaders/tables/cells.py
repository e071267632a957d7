"""From what stands in a cell to what it means: times, money, words, numbers, identifiers.

Every reader returns the values and a mask of the cells that hold something it cannot read; it never guesses. Columns
of typed files (parquet, json, databases) come in with their type and lose nothing on the way.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, time
from functools import cache
from typing import TYPE_CHECKING

import polars as pl

from audit_kit import resources
from audit_kit.core.spreadsheet_csv import undone

if TYPE_CHECKING:
    from collections.abc import Mapping

MONEY = pl.Decimal(18, 2)
BEIJING = "Asia/Shanghai"
_NOON = 12
FIRST_YEAR, LAST_YEAR = 1990, 2100  # a year outside is a slip of the pen, not a date
EXACT_DIGITS = 15  # a spreadsheet keeps no more of a number
_SHORT = 12  # bytes that a word for nothing may have, spaces around it included

_PLAIN_TIME = "%Y-%m-%d %H:%M:%S"
_USUAL_TIMES = ("%Y/%m/%d %H:%M:%S", "%Y-%m-%dT%H:%M:%S")  # tried next, where there are many
MANY = 100_000
_DATE = r"^([0-9]{4})[-/.年]([0-9]{1,2})[-/.月]([0-9]{1,2})[日号]?"
_CLOCK = (
    r"(?:[t\s]*(上午|下午|am|pm)?\s*([0-9]{1,2})[:时点]([0-9]{1,2})?分?:?([0-9]{1,2})?(\.[0-9]{1,9})?秒?\s*(am|pm)?)?"
)
_ZONE = r"\s*(z|[+-][0-9]{2}:?[0-9]{2})?$"
_LONG_DATE = _DATE + _CLOCK + _ZONE
_COMPACT_DATE = r"^([0-9]{4})([0-9]{2})([0-9]{2})(?:[t\s]?([0-9]{2}):?([0-9]{2}):?([0-9]{2}))?$"
_SERIAL = r"^[2-7][0-9]{4}(?:\.[0-9]+)?$"
_EPOCH = r"^1[3-9][0-9]{8}(?:[0-9]{3})?$"
_PLAIN_MONEY = r"^-?[0-9]{1,16}(?:\.[0-9]{1,2}0*)?$"
_NOISY_MONEY = r"^-?[0-9]+\.[0-9]{3,}$"
_NOISE_DIGITS = 15  # a number with fewer digits shows no binary noise
_MORE_DECIMALS = r"^-?[0-9]*\.[0-9]{3,}$"
# Texts that need no zone: with an offset of their own, seconds since 1970, or a day without a time.
_SETTLED = (
    r"(?i)(?:[0-9]\s*(?:z|[+-][0-9]{2}:?[0-9]{2})\s*$|^1[3-9][0-9]{8}(?:[0-9]{3})?$"
    r"|^\D*[0-9]{4}\D?[0-9]{1,2}\D?[0-9]{1,2}\D?$)"
)
_SCIENTIFIC = r"(?i)^[+-]?\d(?:\.\d+)?e[+-]?\d+$"


@dataclass(frozen=True, kw_only=True)
class Cells:
    """A column read: its values, and where something stood that could not be read (with the reason in words)."""

    values: pl.Series
    unreadable: pl.Series
    reason: str
    date_only: pl.Series | None = None


def as_text(values: pl.Series) -> pl.Series:
    """Return any column as text, as a person would write it; lists are joined by `；`, empty text is null."""
    dtype = values.dtype
    if isinstance(dtype, pl.List):
        text = values.cast(pl.List(pl.String)).list.join("；")
    elif dtype == pl.Binary:
        text = pl.Series(values.name, [None if v is None else v.decode("utf-8", "replace") for v in values], pl.String)
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
        text = _typed_times(values).dt.to_string(_PLAIN_TIME)
    elif dtype == pl.Boolean:
        text = values.replace_strict({True: "true", False: "false"}, return_dtype=pl.String)
    else:
        text = values.cast(pl.String)
    return text.set(text == "", None) if (text == "").any() else text


@cache
def _nothing() -> frozenset[str]:
    return frozenset(resources.load("vocabularies")["nothing"]["words"])


@cache
def _open_ended() -> frozenset[str]:
    return frozenset(resources.load("vocabularies")["nothing"]["open_ended"])


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


def times(values: pl.Series, *, zone: str | None = None, from_1904: bool = False) -> Cells:
    """Return times in Beijing time without zone; `date_only` where no time of day is given (or midnight).

    A time with an offset is converted, one without is in `zone` (default: Beijing). A day without a time stays.
    """
    if isinstance(values.dtype, pl.Datetime | pl.Date):
        found = _typed_times(values)
        written = values.is_not_null()
        settled = _constant(len(values), value=getattr(values.dtype, "time_zone", None) is not None)
    else:
        text = as_text(values)
        found, written = _text_times(text, from_1904=from_1904)
        settled = text.str.contains(_SETTLED).fill_null(value=False) if zone else written
    date_only = found.dt.time() == time()
    if zone not in (None, BEIJING):
        local = _to_beijing(found, str(zone))
        found = pl.select(pl.when(settled).then(found).otherwise(local)).to_series()
    return Cells(
        values=found.alias(values.name),
        unreadable=found.is_null() & written,
        reason="no date that can be read",
        date_only=date_only,
    )


def clocks(values: pl.Series) -> pl.Series:
    """Return times of day (`10:11` or `10:11:12`) as durations; null where something else stands."""
    parts = as_text(values).str.strip_chars().str.extract_groups(r"^([0-9]{1,2}):([0-9]{2})(?::([0-9]{2}))?$")
    hours, minutes, seconds = (parts.struct.field(str(part)).cast(pl.Int64, strict=False) for part in (1, 2, 3))
    total = hours * 3600 + minutes * 60 + seconds.fill_null(0)
    return pl.select(pl.duration(seconds=pl.lit(total), time_unit="us")).to_series()


def _constant(length: int, *, value: bool) -> pl.Series:
    return pl.repeat(value=value, n=length, dtype=pl.Boolean, eager=True)


def _typed_times(values: pl.Series) -> pl.Series:
    if isinstance(values.dtype, pl.Datetime) and values.dtype.time_zone is not None:
        values = values.dt.convert_time_zone(BEIJING).dt.replace_time_zone(None)
    return values.cast(pl.Datetime("us"))


def _text_times(text: pl.Series, *, from_1904: bool) -> tuple[pl.Series, pl.Series]:
    """Return the times that texts state, and where a text states anything; `长期` and the like state no end."""
    found = text.str.to_datetime(_PLAIN_TIME, strict=False, time_unit="us")
    rest = found.is_null() & text.is_not_null()
    if rest.sum() > MANY:
        for form in _USUAL_TIMES:
            found = found.fill_null(text.set(~rest, None).str.to_datetime(form, strict=False, time_unit="us"))
            rest = found.is_null() & text.is_not_null()
    if rest.any():
        others = text.filter(rest).unique()
        table = pl.DataFrame({"text": others, "at": _other_times(others, from_1904=from_1904)})
        late = text.alias("text").to_frame().join(table, on="text", how="left", maintain_order="left")["at"]
        found = found.fill_null(late)
    if not len(found) or not _plausible(found):
        found = found.set(~found.dt.year().is_between(FIRST_YEAR, LAST_YEAR), None)
    written = text.is_not_null()
    empty = found.is_null() & written
    if empty.any():
        words_ = [
            word
            for word in text.filter(empty).unique().to_list()
            if _says_nothing(word) or word.strip() in _open_ended()
        ]
        written &= ~text.is_in(words_)
    return found, written


def _plausible(found: pl.Series) -> bool:
    ends = found.min(), found.max()
    return all(isinstance(end, datetime) and FIRST_YEAR <= end.year <= LAST_YEAR for end in ends)


def _to_beijing(found: pl.Series, zone: str) -> pl.Series:
    local = found.dt.replace_time_zone(zone, ambiguous="earliest", non_existent="null")
    return local.dt.convert_time_zone(BEIJING).dt.replace_time_zone(None)


def _other_times(texts: pl.Series, *, from_1904: bool) -> pl.Series:
    """Read the forms of a time other than the platform's own; null where none fits."""
    text = pl.col("text").str.normalize("NFKC").str.to_lowercase().str.strip_chars(" '\t")
    long, compact = text.str.extract_groups(_LONG_DATE), text.str.extract_groups(_COMPACT_DATE)

    def part(groups: pl.Expr, index: int, default: str) -> pl.Expr:
        return groups.struct.field(str(index)).fill_null(default).str.zfill(2)

    def joined(groups: pl.Expr, first_clock: int) -> pl.Expr:
        day = [groups.struct.field("1"), part(groups, 2, ""), part(groups, 3, "")]
        clock = [part(groups, first_clock + i, "0") for i in range(3)]
        return pl.concat_str(
            pl.concat_str(day, separator="-"), pl.lit(" "), pl.concat_str(clock, separator=":"), ignore_nulls=False
        ).str.to_datetime(_PLAIN_TIME, strict=False, time_unit="us")

    half, hour = pl.coalesce(long.struct.field("4"), long.struct.field("9")), long.struct.field("5").cast(pl.UInt8)
    shift = (
        pl.when(half.is_in(["下午", "pm"]) & (hour < _NOON))
        .then(_NOON)
        .when(half.is_in(["上午", "am"]) & (hour == _NOON))
        .then(-_NOON)
        .otherwise(0)
    )
    fraction = long.struct.field("8").cast(pl.Float64, strict=False).fill_null(0.0) * 1_000_000
    days = text.str.extract(f"({_SERIAL})").cast(pl.Float64, strict=False) + (1462 if from_1904 else 0)
    seconds = text.str.extract(f"({_EPOCH})").cast(pl.Int64, strict=False)
    return (
        pl.DataFrame({"text": texts})
        .select(
            pl.coalesce(
                joined(long, 5)
                + pl.duration(hours=shift)
                + pl.duration(microseconds=fraction.cast(pl.Int64))
                + _offset(long.struct.field("10")),
                joined(compact, 4),
                pl.datetime(1899, 12, 30, time_unit="us")
                + pl.duration(seconds=(days * 86_400).round(0).cast(pl.Int64)),
                pl.datetime(1970, 1, 1, 8, time_unit="us")
                + pl.duration(milliseconds=pl.when(seconds > 10**11).then(seconds).otherwise(seconds * 1000)),
            )
        )
        .to_series()
    )


def _offset(zone: pl.Expr) -> pl.Expr:
    """Return what to add to a time with an offset to get Beijing time; nothing without an offset."""
    digits = zone.str.replace("z", "+0000").str.replace(":", "")
    sign = pl.when(digits.str.starts_with("-")).then(-1).otherwise(1)
    minutes = sign * (
        digits.str.slice(1, 2).cast(pl.Int64, strict=False) * 60 + digits.str.slice(3, 2).cast(pl.Int64, strict=False)
    )
    return pl.duration(minutes=pl.when(zone.is_null()).then(0).otherwise(480 - minutes))


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
        unreadable = rest & found.is_null() & stripped(text).is_not_null()
    unreadable = unreadable | (plain.fill_null(value=False) & found.is_null())
    return Cells(values=found.alias(values.name), unreadable=unreadable, reason="no amount that can be read")


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


def money_reasons(texts: pl.Series) -> pl.Series:
    """Say why amounts were set aside."""
    tidy = tidy_money(pl.col("text"))
    reason = (
        pl.when(tidy.str.contains(_MORE_DECIMALS))
        .then(pl.lit("more than two decimals"))
        .when(tidy.str.contains(_SCIENTIFIC))
        .then(pl.lit("in scientific form, its last digits are gone"))
        .otherwise(pl.lit("no amount that can be read"))
    )
    return pl.DataFrame({"text": texts}).select(reason.alias("reason")).to_series()


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
    unreadable = found.is_null() & stripped(text).is_not_null()
    return Cells(values=found.alias(values.name), unreadable=unreadable, reason="no number that can be read")


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
    return _replaced(as_text(values).str.strip_chars(), words(vocabulary_of(dtype)), dtype)


def flags(values: pl.Series) -> Cells:
    """Return yes and no."""
    if values.dtype == pl.Boolean:
        return Cells(values=values, unreadable=_constant(len(values), value=False), reason="")
    cells = _replaced(as_text(values).str.strip_chars(), words("flags"), pl.String())
    found = cells.values == "true"
    return Cells(values=found, unreadable=cells.unreadable, reason="neither yes nor no")


def _replaced(text: pl.Series, table: Mapping[str, str], dtype: pl.DataType) -> Cells:
    forms = text.drop_nulls().unique()
    folded = pl.DataFrame({"form": forms}).select(half_width(pl.col("form"))).to_series()
    known = {form: table[fold] for form, fold in zip(forms, folded, strict=True) if fold in table}
    found = text.replace_strict(known, default=None, return_dtype=dtype)
    return Cells(
        values=found, unreadable=found.is_null() & text.is_not_null(), reason="a word that the vocabulary does not know"
    )


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
