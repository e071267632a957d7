"""Times as cells state them: dates in all their forms, serial days, seconds since 1970, offsets; in Beijing time."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, time
from functools import cache

import polars as pl

from audit_kit import resources

BEIJING = "Asia/Shanghai"
_NOON = 12
FIRST_YEAR, LAST_YEAR = 1990, 2100  # a year outside is a slip of the pen, not a date
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
# Texts that need no zone: with an offset of their own, seconds since 1970, or a day without a time.
_SETTLED = (
    r"(?i)(?:[0-9]\s*(?:z|[+-][0-9]{2}:?[0-9]{2})\s*$|^1[3-9][0-9]{8}(?:[0-9]{3})?$"
    r"|^\D*[0-9]{4}\D?[0-9]{1,2}\D?[0-9]{1,2}\D?$)"
)


@dataclass(frozen=True, kw_only=True)
class Times:
    """Times read: `unreadable` where something else stood, `date_only` where no time of day stood (or midnight)."""

    values: pl.Series
    unreadable: pl.Series
    date_only: pl.Series


def times(
    cells: pl.Series, *, zone: str | None = None, from_1904: bool = False, clock: pl.Series | None = None
) -> Times:
    """Return times in Beijing time without zone.

    A time with an offset is converted, one without is in `zone` (default: Beijing). A day without a time stays.

    Args:
        cells: text, or times and days of a typed file.
        zone: that of times without an offset.
        from_1904: serial days count from 1904.
        clock: text beside the cells: the time of day of days that have none.
    """
    if cells.dtype == pl.String:
        found, written = _text_times(cells, from_1904=from_1904)
        settled = cells.str.contains(_SETTLED).fill_null(value=False) if zone else written
    else:
        found, written = typed(cells), cells.is_not_null()
        settled = _constant(len(cells), value=getattr(cells.dtype, "time_zone", None) is not None)
    date_only = found.dt.time() == time()
    if zone not in (None, BEIJING):
        local = _to_beijing(found, str(zone))
        found = pl.select(pl.when(settled).then(found).otherwise(local)).to_series()
    unreadable = found.is_null() & written
    if clock is not None and date_only.any():
        at = _clocks(clock)
        told = date_only & at.is_not_null()
        found = pl.select(pl.when(told).then(found + at).otherwise(found)).to_series()
        date_only &= ~told
    return Times(values=found.alias(cells.name), unreadable=unreadable, date_only=date_only)


def _clocks(text: pl.Series) -> pl.Series:
    """Return times of day (`10:11` or `10:11:12`) as durations; null where something else stands."""
    parts = text.str.strip_chars().str.extract_groups(r"^([0-9]{1,2}):([0-9]{2})(?::([0-9]{2}))?$")
    hours, minutes, seconds = (parts.struct.field(str(part)).cast(pl.Int64, strict=False) for part in (1, 2, 3))
    total = hours * 3600 + minutes * 60 + seconds.fill_null(0)
    return pl.select(pl.duration(seconds=pl.lit(total), time_unit="us")).to_series()


def _constant(length: int, *, value: bool) -> pl.Series:
    return pl.repeat(value=value, n=length, dtype=pl.Boolean, eager=True)


def typed(values: pl.Series) -> pl.Series:
    """Return times and days of a typed file in Beijing time without zone."""
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
        written &= ~text.is_in([word for word in text.filter(empty).unique() if word.strip() in _open_ended()])
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


@cache
def _open_ended() -> frozenset[str]:
    return frozenset(resources.load("vocabularies")["nothing"]["open_ended"])
