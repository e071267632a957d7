"""What a person clicked or brushed in a chart, as a filter on the rows behind it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import polars as pl
from altair.utils.selection import IntervalSelection

if TYPE_CHECKING:
    from collections.abc import Mapping

UNITS = ("yearmonthdatehours", "yearmonthdate", "yearmonth", "yearweek", "year", "utcyearmonthdate")


def marked(
    selections: Mapping[str, Any],
    columns: Mapping[str, str],
    schema: pl.Schema,
    *,
    zone: str = "",
    everything: str = "",
) -> list[pl.Expr]:
    """Return the filters of a chart's selections.

    Args:
        selections: name to Altair's selection, as JupyterChart holds them.
        columns: a chart's field to the column of the rows that it shows; other fields filter nothing.
        schema: the types of the rows' columns.
        everything: the word that stands for all values in a chart; it filters nothing.
        zone: the browser's time zone, in which the chart counts its days; empty = this machine's.
    """
    found = []
    for selection in selections.values():
        if isinstance(selection, IntervalSelection):
            found += [_between(field, ends, columns, schema, zone) for field, ends in (selection.value or {}).items()]
        else:
            chosen = [one for one in selection.value or [] if isinstance(one, dict) and everything not in one.values()]
            found.append(_one_of(chosen, columns))
    return [one for one in found if one is not None]


def _one_of(chosen: list[dict[str, Any]], columns: Mapping[str, str]) -> pl.Expr | None:
    known = [{columns[field]: value for field, value in one.items() if field in columns} for one in chosen]
    every = [pl.all_horizontal(pl.col(name) == value for name, value in one.items()) for one in known if one]
    return pl.any_horizontal(every) if every else None


def _between(
    field: str,
    ends: Any,  # noqa: ANN401 (what a browser sends)
    columns: Mapping[str, str],
    schema: pl.Schema,
    zone: str,
) -> pl.Expr | None:
    unit = next((unit for unit in UNITS if field.startswith(f"{unit}_")), "")
    name = columns.get(field.removeprefix(f"{unit}_"))
    if name is None or not isinstance(ends, list) or not ends:
        return None
    column = pl.col(name)
    if not schema[name].is_temporal():
        return column.is_between(ends[0], ends[-1]) if schema[name].is_numeric() else column.is_in(ends)
    first, last = (_at(end, zone) for end in (ends[0], ends[-1]))
    if first is None or last is None:
        return None
    if unit == "yearmonthdate":  # a day stands at its beginning; it is marked where that lies within the brush
        column = column.dt.truncate("1d")
        first -= timedelta(seconds=1)
    return column.is_between(pl.lit(first), pl.lit(last))


def _at(milliseconds: Any, zone: str) -> datetime | None:  # noqa: ANN401 (what a browser sends)
    if not isinstance(milliseconds, int | float):
        return None
    try:
        at = datetime.fromtimestamp(milliseconds / 1000, UTC)
        return at.astimezone(ZoneInfo(zone) if zone else None).replace(tzinfo=None)
    except (ValueError, OverflowError, OSError, KeyError):
        return None
