"""Invoice numbers and tax ids: clean, decode, judge.

An invoice is known by its key: the 20 digits of a 数电票, or code (10 or 12 digits) and number (8 digits) of an old
invoice, joined. A 数电票 kept as its first 12 digits in the code column and its last 8 in the number column is joined
the same way. A paper 数电票 carries all three numbers and goes by its 20 digits. Eight digits alone are no key.

What cleaning did is named by the words of `schema.CLEANINGS`. A number that went through a floating-point cell has no
key: its last digits are gone. Nor has one of which only the last eight digits were kept, or that stands without its
code. `stated_number` says what is left of it.
"""

from __future__ import annotations

from functools import cache

import polars as pl
from stdnum.cn import uscc

from audit_kit.core.schema import CLEANINGS
from audit_kit.resources import load

NUMBER_COLUMNS = ("digital_number", "invoice_number", "invoice_code")
DIGITAL = 20
OLD_NUMBER = 8
OLD_CODES = (10, 12)
OLD_LENGTHS = (18, 20)
SOCIAL_CODE = 18
DOUBTED = "?"
"""Stands behind a stated number that was taken for damaged though few of its column were: it may well be whole."""

SHORTEST_TAIL = 5
"""Eight digits in a number cell lose their zeros; a text that is shorter still is no part of a number."""

SHORTEST = 9
"""A shorter text is no key: eight digits repeat from code to code."""

_TIDY = r"^[0-9]{20}$"
_TIDY_CODE = r"^(?:[0-9]{10}|[01][0-9]{11})$"
_TIDY_OLD_NUMBER = r"^[0-9]{8}$"
_QUOTES = r"""["'`´‘’“”=]"""
_SEPARATORS = r"[\s\-_./\\,;:·•‐‑‒–—―、。#*\u200b-\u200f\u2060\ufeff]"
_SCIENTIFIC = r"^[0-9](?:\.[0-9]+)?[eE]\+?[0-9]{1,2}$"
_DOUBTED = r"^[0-9]\.[0-9]{19}e\+19$"
_FLOAT = r"^[0-9]{16,}\.0+$"
_ONE_DIGIT = "^(?:" + "|".join(f"{digit}+" for digit in range(10)) + ")$"


def with_key(frame: pl.DataFrame) -> pl.DataFrame:
    """Add `invoice_key` (str, null without a usable number) and `cleaning` (list[str], what was cleaned in it).

    Reads whichever of `digital_number`, `invoice_number` and `invoice_code` exist. Words that a `cleaning` column
    already holds are kept. A key of a wrong length is kept for `judge` to say so; one digit repeated is a placeholder
    and no key.
    """
    columns = [name for name in NUMBER_COLUMNS if name in frame.columns]
    known = pl.col("cleaning") if "cleaning" in frame.columns else pl.lit(None, pl.List(pl.String))
    numbers = frame.select(
        *(pl.col(name).cast(pl.String) for name in columns),
        *(pl.lit(None, pl.String).alias(name) for name in NUMBER_COLUMNS if name not in columns),
        known=known.cast(pl.List(pl.String)),
    ).with_row_index("at")
    # Where a source has one column of numbers, the 20 digits stand in it alone.
    alone = pl.when(pl.col("invoice_code").is_null()).then("invoice_number")
    joined = pl.when("old").then(pl.col("invoice_code") + pl.col("invoice_number"))
    numbers = numbers.with_columns(old=_tidy_old()).with_columns(whole=pl.coalesce("digital_number", alone, joined))
    tidy = (pl.col("old") | pl.col("whole").str.contains(_TIDY)) & (pl.col("known").list.len().fill_null(0) == 0)
    numbers = numbers.with_columns(tidy=(tidy & ~pl.col("whole").str.contains(_ONE_DIGIT)).fill_null(value=False))
    plain = numbers.filter("tidy").select(
        "at",
        invoice_key="whole",
        cleaning=pl.lit([], dtype=pl.List(pl.String)),
    )
    keys = pl.concat([plain, _clean(numbers.filter(~pl.col("tidy")))]).sort("at")
    return frame.with_columns(keys["invoice_key"], keys["cleaning"])


def stated_number(frame: pl.DataFrame) -> pl.Series:
    """Return what is left of a number that is not whole; null where it is whole, or nothing is left of it.

    Of one that lost precision the 20 digits that it still states (the last five are not to be trusted), with `DOUBTED`
    where a reader wrote all of them with a small e; of one that `cleaning` calls `number_incomplete` its last eight
    digits.
    """
    columns = [name for name in ("digital_number", "invoice_number") if name in frame.columns]
    stated = [_stated(_tidied(pl.col(name).cast(pl.String))) for name in columns]
    flagged = _has("precision_lost") if "cleaning" in frame.columns else pl.lit(value=False)
    whole = [pl.when(flagged & pl.col(name).cast(pl.String).str.contains(_TIDY)).then(name) for name in columns]
    if not columns:
        return pl.repeat(None, frame.height, dtype=pl.String, eager=True).alias("stated")
    left = frame.select(pl.coalesce(*stated, *whole).cast(pl.String).alias("stated"))["stated"]
    return left.zip_with(left.is_not_null(), _last_digits(frame)) if "cleaning" in frame.columns else left


def _has(word: str) -> pl.Expr:
    return pl.col("cleaning").list.contains(word).fill_null(value=False)


def _last_digits(frame: pl.DataFrame) -> pl.Series:
    """Return the eight digits that were kept of the numbers known to be incomplete, else null."""
    rows = frame.with_row_index("at").filter(_has("number_incomplete"))
    tails = pl.repeat(None, frame.height, dtype=pl.String, eager=True).alias("stated")
    if rows.is_empty():
        return tails
    numbers = rows.select(
        (pl.col(name).cast(pl.String) if name in rows.columns else pl.lit(None, pl.String)).alias(name)
        for name in NUMBER_COLUMNS
    )
    parts = numbers.with_columns(_part(name) for name in NUMBER_COLUMNS)
    return tails.scatter(rows["at"], parts.select(_number().str.zfill(OLD_NUMBER))["number"])


def paper_numbers(frame: pl.DataFrame) -> pl.DataFrame:
    """Return `paper`, `invoice_key` of every paper 数电票: code and number joined, and the 20 digits it goes by."""
    nothing = pl.DataFrame(schema={"paper": pl.String, "invoice_key": pl.String})
    if not set(NUMBER_COLUMNS) <= set(frame.columns):
        return nothing
    full = pl.all_horizontal(pl.col(name).cast(pl.String).str.len_bytes() >= OLD_NUMBER for name in NUMBER_COLUMNS)
    rows = frame.select(NUMBER_COLUMNS).filter(full)
    if rows.is_empty():
        return nothing
    paper = with_key(rows.drop("digital_number"))["invoice_key"].alias("paper")
    numbers = with_key(rows.select("digital_number")).select(paper, "invoice_key").drop_nulls()
    old = pl.col("paper").str.len_chars().is_in(list(OLD_LENGTHS))
    return numbers.filter(old & (pl.col("paper") != pl.col("invoice_key")))


def faulted(frame: pl.DataFrame) -> pl.DataFrame:
    """Add `number_faults` (list[str]), the hard rules that a number breaks; needs `invoice_key` and `issued_at`.

    `length` (neither 20 digits nor code and number), `year` (the first two digits of a 数电票 are not its year of
    issue), `code` (area, year or kind of an old code is impossible). Without a key there is nothing to judge; without a
    date the year is not judged.
    """
    key, year = pl.col("invoice_key"), pl.col("issued_at").dt.year() % 100
    length, old, digital = _shape(key)
    faults = {
        "length": ~length.is_in(list(OLD_LENGTHS)),
        "year": digital & (key.str.slice(0, 2).cast(pl.Int32, strict=False) != year),
        "code": old & ~_old_code_is_possible(key, length, year),
    }
    return frame.with_columns(number_faults=_named(faults))


def judge(frame: pl.DataFrame) -> pl.DataFrame:
    """Add `number_faults` (hard rules broken, see `faulted`) and `number_hints` (merely odd), both list[str].

    Hints: `province` (unknown, or not the seller's where `seller_tax_id` exists), `channel` (digit 5 not seen before),
    `tax_id` (the seller's id breaks its check digit).
    """
    key = pl.col("invoice_key")
    _, _, digital = _shape(key)
    hints = {
        "province": digital & ~_province_fits(key, has_seller="seller_tax_id" in frame.columns),
        "channel": digital & ~key.str.slice(4, 1).is_in(list(load("numbers")["channels"])),
    }
    if "seller_tax_id" in frame.columns:
        valid = tax_id_is_valid(frame["seller_tax_id"])
        hints["tax_id"] = ~pl.lit(valid)
    return faulted(frame).with_columns(number_hints=_named(hints))


def _shape(key: pl.Expr) -> tuple[pl.Expr, pl.Expr, pl.Expr]:
    """Return the length of a key, and whether it is of an old invoice or of a 数电票."""
    length, old = key.str.len_chars(), is_old(key)
    return length, old, (length == DIGITAL) & ~old


def is_old(key: pl.Expr) -> pl.Expr:
    """Return whether a key is code and number of an old invoice, by its length and, of 20 digits, the first."""
    length = key.str.len_chars()
    return (length == min(OLD_LENGTHS)) | ((length == DIGITAL) & key.str.contains("^[01]"))


def is_digital(key: pl.Expr) -> pl.Expr:
    """Return whether a key is the 20-digit number of a 数电票: a year from 2020 on, and an area."""
    areas = load("numbers")["areas"]
    known = key.str.slice(2, 2).is_in([*areas["codes"], *areas["cities"]])
    return (key.str.len_bytes() == DIGITAL) & key.str.starts_with("2") & known


def fold_tax_id(tax_id: pl.Expr) -> pl.Expr:
    """Return a tax id as it is compared: full width, case, signs and the letters O and I (never used) folded."""
    plain = tax_id.cast(pl.String).str.normalize("NFKC").str.to_uppercase().str.replace_all(r"[^0-9A-Z]", "")
    folded = plain.str.replace_all("O", "0", literal=True).str.replace_all("I", "1", literal=True)
    return pl.when(folded.str.len_bytes() > 0).then(folded)


def fold_name(name: pl.Expr) -> pl.Expr:
    """Return a company's name as it is compared: full width, kinds of brackets and spaces folded."""
    brackets = load("numbers")["brackets"]
    plain = name.cast(pl.String).str.normalize("NFKC").str.replace_all(r"[\s\u200b-\u200f\u2060\ufeff]", "")
    pairs = dict.fromkeys(brackets["open"], "(") | dict.fromkeys(brackets["close"], ")")
    folded = plain.str.replace_many(pairs)
    return pl.when(folded.str.len_bytes() > 0).then(folded)


def tax_id_is_valid(tax_ids: pl.Series) -> pl.Series:
    """Say of each tax id whether it is a unified social credit code with a right check digit; null stays null.

    A hint only: individuals and old registrations have ids of 15 or 20 characters. Each distinct id is checked once.
    """
    distinct = tax_ids.drop_nulls().unique().cast(pl.String)
    folded = distinct.to_frame("id").select(fold_tax_id(pl.col("id")))["id"]
    valid = [text is not None and uscc.is_valid(text) for text in folded]
    return tax_ids.cast(pl.String).replace_strict(distinct, valid, default=None, return_dtype=pl.Boolean)


def _tidy_old() -> pl.Expr:
    """Say which rows are an old invoice whose code and number need no cleaning."""
    digits = pl.col("invoice_code").str.contains(_TIDY_CODE) & pl.col("invoice_number").str.contains(_TIDY_OLD_NUMBER)
    return (pl.col("digital_number").is_null() & digits).fill_null(value=False)


def _clean(numbers: pl.DataFrame) -> pl.DataFrame:
    """Clean the rows that are not tidy as they stand; columns `at`, `invoice_key`, `cleaning`."""
    parts = numbers.with_columns(_part(name) for name in NUMBER_COLUMNS)
    parts = parts.with_columns(_code(), _number())
    chosen = parts.with_columns(_choose())
    return chosen.select("at", _key(), _flags())


@cache
def _confusables() -> dict[str, str]:
    table: dict[str, str] = load("numbers")["confusables"]
    return table


def _tidied(text: pl.Expr) -> pl.Expr:
    """Return the text without full-width forms, quotes and outer space; dots and signs still stand."""
    return text.str.normalize("NFKC").str.replace_all(_QUOTES, "").str.strip_chars()


def _stated(tidied: pl.Expr) -> pl.Expr:
    """Return the 20 digits stated by a scientific or floating-point notation, else null."""
    mantissa = tidied.str.extract(r"^([0-9](?:\.[0-9]+)?)[eE]").str.replace(".", "", literal=True)
    whole = tidied.str.contains(r"[eE]\+?19$")
    padded = (mantissa + pl.lit("0" * DIGITAL)).str.slice(0, DIGITAL)
    doubted = pl.when(tidied.str.contains(_DOUBTED)).then(pl.lit(DOUBTED)).otherwise(pl.lit(""))
    scientific = pl.when(tidied.str.contains(_SCIENTIFIC) & whole).then(padded + doubted)
    floating = tidied.str.extract(r"^([0-9]{20})\.0+$")
    return pl.coalesce(scientific, floating)


def _part(name: str) -> pl.Expr:
    """Return one number column as a struct: `digits` (null if there are none), and a flag for each thing cleaned."""
    raw = pl.col(name)
    wide = raw.str.normalize("NFKC")
    bare = wide.str.replace_all(_QUOTES, "")
    lost = bare.str.strip_chars().str.contains(f"{_SCIENTIFIC}|{_FLOAT}")
    signless = bare.str.replace(r"\.0+$", "").str.replace_all(_SEPARATORS, "")
    mostly = signless.str.count_matches("[0-9]") * 2 >= signless.str.len_chars()
    read = pl.when(mostly).then(signless.str.replace_many(_confusables())).otherwise(signless)
    usable = read.str.contains("^[0-9]+$") & ~lost
    return pl.struct(
        digits=pl.when(usable).then(read),
        full_width=wide != raw,
        separator=signless != bare,
        confusable=read != signless,
        quote=bare != wide,
        precision_lost=lost,
    ).alias(name)


def _digits(name: str) -> pl.Expr:
    return pl.col(name).struct.field("digits")


def _code() -> pl.Expr:
    """Return the code with the zero that a number cell took from the front of a 12-digit one."""
    code = _digits("invoice_code")
    short = code.str.len_chars() == max(OLD_CODES) - 1
    return pl.when(short).then(pl.lit("0") + code).otherwise(code).alias("code")


def _number() -> pl.Expr:
    """Return the number; a short one standing beside a code gets its zeros back."""
    digital = pl.when(_digits("digital_number").str.len_chars() <= OLD_NUMBER).then(_digits("digital_number"))
    number = pl.coalesce(_digits("invoice_number"), digital)
    short = (number.str.len_chars() < OLD_NUMBER) & _digits("invoice_code").is_not_null()
    return pl.when(short).then(number.str.zfill(OLD_NUMBER)).otherwise(number).alias("number")


def _choose() -> pl.Expr:
    """Say which of the numbers is the key; the order is the order of trust."""
    digital, number, code = _digits("digital_number"), pl.col("number"), pl.col("code")
    length = number.str.len_chars()
    joins = code.str.len_chars().is_in(list(OLD_CODES)) & (length == OLD_NUMBER)
    zeroless = (length == DIGITAL - 1) & number.str.starts_with("1")
    return (
        pl.when(digital.str.len_chars() == DIGITAL)
        .then(pl.lit("digital"))
        .when(length == DIGITAL)
        .then(pl.lit("number"))
        .when(joins)
        .then(pl.lit("joined"))
        .when(length == min(OLD_LENGTHS))
        .then(pl.lit("number"))
        .when(zeroless)
        .then(pl.lit("zeroless"))
        .when(digital.str.len_chars() >= SHORTEST)
        .then(pl.lit("digital"))
        .when(length >= SHORTEST)
        .then(pl.lit("number"))
        .when(code.is_not_null() & number.is_not_null())
        .then(pl.lit("joined"))
        .otherwise(pl.lit("none"))
        .alias("chosen")
    )


def _key() -> pl.Expr:
    """Return the chosen key; null where precision is known to be lost or one digit is repeated."""
    chosen = pl.col("chosen")
    key = (
        pl.when(chosen == "digital")
        .then(_digits("digital_number"))
        .when(chosen == "number")
        .then(pl.col("number"))
        .when(chosen == "zeroless")
        .then(pl.lit("0") + pl.col("number"))
        .when(chosen == "joined")
        .then(pl.col("code") + pl.col("number"))
    )
    lost = pl.col("known").list.contains("precision_lost").fill_null(value=False) & (chosen != "joined")
    placeholder = key.str.contains(_ONE_DIGIT)
    return pl.when(~lost & ~placeholder).then(key).alias("invoice_key")


def _flags() -> pl.Expr:
    """Return the words of what was cleaned in the columns the key came from, in the order of `CLEANINGS`."""
    chosen, joined = pl.col("chosen"), pl.col("chosen") == "joined"
    used = {
        "digital_number": (chosen == "digital") | (joined & _digits("invoice_number").is_null()),
        "invoice_number": chosen.is_in(["number", "zeroless", "joined"]),
        "invoice_code": joined,
    }
    words: dict[str, pl.Expr] = {}
    for word in ("full_width", "separator", "confusable", "quote"):
        words[word] = pl.any_horizontal(used[name] & pl.col(name).struct.field(word) for name in NUMBER_COLUMNS)
    grown = (pl.col("code") != _digits("invoice_code")) | (pl.col("number") != _digits("invoice_number"))
    words["leading_zero"] = (chosen == "zeroless") | (joined & grown)
    long = pl.col("code").str.len_chars() == max(OLD_CODES)
    words["split_number"] = joined & long & ~pl.col("code").str.contains("^[01]")
    lost = pl.any_horizontal(pl.col(name).struct.field("precision_lost") for name in NUMBER_COLUMNS)
    words["precision_lost"] = (chosen == "none") & lost
    tail = pl.col("number").str.len_chars().is_between(SHORTEST_TAIL, OLD_NUMBER)
    tail &= (chosen == "none") & ~lost.fill_null(value=False) & ~pl.col("number").str.contains(_ONE_DIGIT)
    words["number_incomplete"] = tail
    words["leading_zero"] |= tail & (pl.col("number").str.len_chars() < OLD_NUMBER)
    for word in ("full_width", "separator", "confusable", "quote"):
        given = pl.any_horizontal(pl.col(name).struct.field(word) for name in NUMBER_COLUMNS[:2])
        words[word] |= tail & given
    known = pl.col("known")
    return _named({word: words[word] | known.list.contains(word) for word in CLEANINGS}).alias("cleaning")


def _named(conditions: dict[str, pl.Expr]) -> pl.Expr:
    """Return the list of the names whose condition holds; null counts as no."""
    words = [pl.when(holds).then(pl.lit(word)) for word, holds in conditions.items()]
    return pl.concat_list(words).list.drop_nulls()


def _old_code_is_possible(key: pl.Expr, length: pl.Expr, year: pl.Expr) -> pl.Expr:
    """Say whether an old code names an area, was printed no later than its year of issue, and has a known kind."""
    long = length == DIGITAL
    area = pl.when(long).then(key.str.slice(1, 2)).otherwise(key.str.slice(0, 2))
    printed = pl.when(long).then(key.str.slice(5, 2)).otherwise(key.str.slice(4, 2)).cast(pl.Int32, strict=False)
    kind = long | key.str.slice(7, 1).is_in(list("1234567"))
    return area.is_in(load("numbers")["areas"]["codes"]) & (printed <= year).fill_null(value=True) & kind


def _province_fits(key: pl.Expr, *, has_seller: bool) -> pl.Expr:
    """Say whether digits 3-4 are a known area and, where the seller's id is known, that of the seller."""
    areas = load("numbers")["areas"]
    stated = key.str.slice(2, 2)
    known = stated.is_in([*areas["codes"], *areas["cities"]])
    if not has_seller:
        return known
    home = stated.replace(areas["cities"])
    seller = pl.col("seller_tax_id").cast(pl.String)
    comparable = seller.str.len_chars() == SOCIAL_CODE
    return known & (~comparable | (home == seller.str.slice(2, 2))).fill_null(value=True)
