"""Working days and hours in China: public holidays and the weekends worked in their place (调休).

The days are those of the package chinesecalendar, which knows them once the State Council has announced them; of a year
that it does not know only weekends are days off, and whoever asks is told.
"""

from __future__ import annotations

from datetime import date, datetime, timedelta
from functools import cache
from typing import TYPE_CHECKING

import chinese_calendar
import numpy as np
import polars as pl
from chinese_calendar.constants import holidays

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

SATURDAY = 5
SECONDS_AN_HOUR = 3600.0
SECONDS_A_DAY = 86400.0
SPARE_DAYS = 400
EPOCH = date(1970, 1, 1)


@cache
def known_years() -> range:
    """Return the years whose holidays are known."""
    years = {day.year for day in holidays}
    return range(min(years), max(years) + 1)


@cache
def is_working_day(day: date) -> bool:
    """Tell whether people work on a day; of a year that is not known, on every day but Saturday and Sunday."""
    if day.year in known_years():
        return bool(chinese_calendar.is_workday(day))
    return day.weekday() < SATURDAY


class WorkingTime:
    """Working hours between moments, and moments that many working hours later.

    Days from 400 before the first of `moments` to 400 after the last are laid out; what lies beyond is cut off there.
    """

    def __init__(self, moments: Iterable[datetime | None], *, starts: float = 9, ends: float = 18) -> None:
        """Lay out the days; a working day lasts from `starts` to `ends`, in hours."""
        days = [moment.date() for moment in moments if moment is not None] or [EPOCH]
        self.first = min(days) - timedelta(days=SPARE_DAYS)
        self.starts, self.ends = starts, ends
        count = (max(days) - self.first).days + SPARE_DAYS
        laid = [self.first + timedelta(days=at) for at in range(count)]
        self.works = np.array([is_working_day(day) for day in laid])
        self.before = np.concatenate([[0.0], np.cumsum(self.works * (ends - starts))])
        self.guessed = np.array([day.year not in known_years() for day in laid])

    def hours(self, start: pl.Series, end: pl.Series) -> pl.Series:
        """Return the working hours between two columns of times; null where either is."""
        return (self._worked(end) - self._worked(start)).alias("hours")

    def after(self, start: pl.Series, hours: pl.Series) -> pl.Series:
        """Return the moment at which so many working hours have passed; null where either is."""
        target = (self._worked(start) + hours).to_numpy()
        known = np.nan_to_num(target, nan=0.0)
        at = np.clip(np.searchsorted(self.before, known, side="left") - 1, 0, len(self.works) - 1)
        seconds = at * SECONDS_A_DAY + (self.starts + known - self.before[at]) * SECONDS_AN_HOUR
        made = pl.Series("at", np.round(seconds).astype(np.int64)) * 1_000_000
        moments = made.cast(pl.Duration("us")) + datetime.combine(self.first, datetime.min.time())
        return pl.select(pl.when(pl.Series(~np.isnan(target))).then(moments)).to_series().alias("at")

    def is_guessed(self, start: pl.Series, end: pl.Series) -> pl.Series:
        """Tell whether a span touches a year whose holidays are not known."""
        first, last = self._day(start), self._day(end)
        seen = np.concatenate([[0], np.cumsum(self.guessed)])
        return pl.Series("guessed", seen[last + 1] > seen[first])

    def _day(self, moments: pl.Series) -> NDArray[np.int64]:
        days = (moments.dt.date() - self.first).dt.total_days().fill_null(0).to_numpy()
        at: NDArray[np.int64] = np.clip(days, 0, len(self.works) - 1)
        return at

    def _worked(self, moments: pl.Series) -> pl.Series:
        """Return the working hours from the first day to each moment."""
        day = self._day(moments)
        hour = (moments - moments.dt.truncate("1d")).dt.total_seconds().fill_null(0).to_numpy() / SECONDS_AN_HOUR
        done = np.clip(hour - self.starts, 0.0, self.ends - self.starts) * self.works[day]
        worked = pl.Series("worked", self.before[day] + done)
        return pl.select(pl.when(moments.is_not_null()).then(worked)).to_series()
