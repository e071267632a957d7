"""An auditor's questions on delays and on missing invoices, each answered in a sentence of words and numbers."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Protocol

import polars as pl

from audit_kit import resources
from audit_kit.core.words import Words
from audit_kit.rules.causes.leads import digit_profile, forecast, gaps
from audit_kit.rules.sync.curves import quantiles, reverse_time, survival
from audit_kit.rules.sync.lateness import lateness, lost_interval
from audit_kit.rules.sync.service_level import WHOLE, budget_by_incident, of_delays, service_level

if TYPE_CHECKING:
    from datetime import datetime

    from audit_kit.core.policy import SyncPolicy

LANGUAGES = ("zh", "en")
LEVELS = ("channel_excess", "account_excess", "kind_excess")
BY_AGE = ("late", "lost", "unexplained")
HOUR, DAY = 60, 1440
TOP = 3


class Worked(Protocol):
    """An engagement worked up, as `analysis.Analysis` is."""

    @property
    def ledger(self) -> pl.DataFrame:
        """Canonical ledger."""

    @property
    def platform(self) -> pl.DataFrame:
        """Canonical platform export."""

    @property
    def matches(self) -> pl.DataFrame:
        """See schema.Matches."""

    @property
    def observations(self) -> pl.DataFrame:
        """See rules.delays."""

    @property
    def stops(self) -> pl.DataFrame:
        """See rules.stops."""

    @property
    def findings(self) -> pl.DataFrame:
        """See schema.Findings."""

    @property
    def taken_at(self) -> datetime:
        """When the export was taken."""


class _Words:
    """The sentences of one section in one language."""

    def __init__(self, section: str, lang: str) -> None:
        self._texts = resources.load("answers")[section]
        self._units = resources.load("answers")["units"]
        self._at = LANGUAGES.index(lang)

    def __call__(self, name: str, **fields: object) -> str:
        """Return a sentence; its fields are data and never interpreted."""
        text: str = self._texts[name][self._at]
        return text.format(**fields) if fields else text

    def span(self, minutes: float | None) -> str:
        """Return a span of time in the unit that reads best."""
        if minutes is None:
            return str(self._units["never"][self._at])
        unit, size = ("days", DAY) if minutes >= 2 * DAY else ("hours", HOUR) if minutes >= 2 * HOUR else ("minutes", 1)
        return str(self._units[unit][self._at]).format(f"{minutes / size:.3g}")


def delay_answers(
    work: Worked, *, policy: SyncPolicy, lang: str = "zh", history: pl.DataFrame | None = None
) -> list[str]:
    """Return the answers of the delay page: how fast, how good, what stopped, how many are late, what tomorrow brings.

    Args:
        work: the engagement worked up; one month of it or all.
        policy: the service level aimed at.
        lang: `zh` or `en`.
        history: earlier months' curves, if they were borrowed from.
    """
    words = _Words("delays", lang)
    told = of_delays(work.observations, work.findings)
    timed = told.filter(pl.col("minutes").is_not_null())
    if timed.is_empty():
        return _of_platform(words, work)
    table = lateness(told, history=history)
    lines = [*_speed(words, timed), *_level(words, work, told, policy), *_stops(words, work)]
    lines += [*_lateness(words, work, table), *_tomorrow(words, work, told, table)]
    return lines


def _of_platform(words: _Words, work: Worked) -> list[str]:
    """Return what the platform alone tells of delays, where there is no ledger to say what is not there."""
    known = work.platform.filter(pl.col("visible_at").is_not_null() & pl.col("issued_at").is_not_null())
    if known.is_empty():
        return [words("none")]
    delay, room = (
        ((until - pl.col("issued_at")).dt.total_microseconds() / 60e6).clip(0).round(0)
        for until in (pl.col("visible_at"), pl.lit(work.taken_at))
    )
    curve = reverse_time(known.select(minutes=delay, room=pl.max_horizontal(delay, room)))
    half, most = (curve.filter(pl.col("survival") <= share)["minutes"].min() for share in (0.5, 0.05))
    spans = {name: words.span(float(str(value))) for name, value in (("half", half), ("most", most))}
    return [words("platform_only", **spans), words("no_ledger")]


def _speed(words: _Words, timed: pl.DataFrame) -> list[str]:
    whole = quantiles(survival(timed.with_columns(channel=pl.lit(WHOLE))), (0.5, 0.95))["minutes"].to_list()
    each = quantiles(survival(timed), (0.95,)).sort("minutes", nulls_last=True)
    slowest = each.row(-1, named=True)
    line = words(
        "speed",
        half=words.span(whole[0]),
        most=words.span(whole[1]),
        slowest=slowest["channel"],
        slow=words.span(slowest["minutes"]),
    )
    presence = timed.filter("visible").select((pl.col("since") == 0).mean()).item() or 0
    return [line, words("presence")] if presence > 0.5 else [line]  # noqa: PLR2004 - most


def _level(words: _Words, work: Worked, told: pl.DataFrame, policy: SyncPolicy) -> list[str]:
    levels = service_level(told, policy=policy, taken_at=work.taken_at).filter(pl.col("channel") == WHOLE)
    if levels.is_empty():
        return []
    last = levels.row(-1, named=True)
    lines = [
        words(
            "level",
            month=last["month"],
            hours=f"{policy.target_hours:g}",
            share=_percent(last["share"]),
            lower=_percent(last["lower"]),
            upper=_percent(last["upper"]),
            target=_percent(policy.target_share),
            state=words(last["state"]),
            budget=f"{last['budget']:,.0f}",
            used=f"{last['used']:,.0f}",
        )
    ]
    if levels.height > 1:
        before = levels.row(-2, named=True)
        change = 100 * (last["share"] - before["share"])
        way = words("up" if change >= 0 else "down")
        lines.append(
            words(
                "trend",
                before=before["month"],
                share=_percent(before["share"]),
                change=way,
                points=f"{abs(change):.2f}",
            )
        )
    used = budget_by_incident(told, work.findings, work.stops, policy=policy, taken_at=work.taken_at)
    for row in used.head(1).iter_rows(named=True):
        name = words("slow") if row["kind"] == "slow" else row["incident"]
        lines.append(words("incident", incident=name, misses=f"{row['misses']:,}", share=_percent(row["share"])))
    return lines


def _stops(words: _Words, work: Worked) -> list[str]:
    if work.stops.is_empty():
        return [words("no_stops")]
    length = (pl.col("ends_at").fill_null(work.taken_at) - pl.col("starts_at")).dt.total_seconds() / 60
    longest = work.stops.with_columns(length=length).sort("length").row(-1, named=True)
    hours = work.stops.with_columns(hour=pl.col("starts_at").dt.truncate("1h")).unique(["hour", "announced"])
    return [
        words(
            "stops",
            count=hours["hour"].n_unique(),
            announced=hours.filter("announced").height,
            channel=longest["channel"],
            start=f"{longest['starts_at']:%Y-%m-%d %H:%M}",
            length=words.span(longest["length"]),
            open=words("open") if longest["ends_at"] is None else "",
        )
    ]


def _lateness(words: _Words, work: Worked, table: pl.DataFrame) -> list[str]:
    chances = work.findings["probability_late"].drop_nulls()
    if chances.is_empty():
        return [words("none_missing")]
    lost = lost_interval(chances)
    lines = [
        words(
            "late",
            missing=f"{len(chances):,}",
            late=f"{len(chances) - lost['expected']:,.0f}",
            lost=f"{lost['expected']:,.0f}",
            lower=f"{lost['lower']:,.0f}",
            upper=f"{lost['upper']:,.0f}",
        )
    ]
    own = table.filter(pl.col("channel").is_in(work.observations["channel"].unique().implode()))
    comma = resources.load("answers")["missing"]["comma"][LANGUAGES.index("zh")]
    for name, chosen in (("uncertain", ~pl.col("certain")), ("borrowed", pl.col("method").str.contains("history"))):
        channels = own.filter(chosen)["channel"].unique().sort().to_list()
        if channels:
            lines.append(words(name, channels=comma.join(channels)))
    return lines


def _tomorrow(words: _Words, work: Worked, told: pl.DataFrame, table: pl.DataFrame) -> list[str]:
    ahead = forecast(told, taken_at=work.taken_at, table=table)
    if ahead.is_empty():
        return []
    total = ahead.select(pl.col("late", "arriving").sum(), half=((pl.col("upper") - pl.col("late")) ** 2).sum().sqrt())
    row = total.row(0, named=True)
    return [
        words(
            "tomorrow",
            until=f"{work.taken_at + timedelta(days=1):%Y-%m-%d %H:%M}",
            late=f"{row['late']:,.0f}",
            lower=f"{max(0.0, row['late'] - row['half']):,.0f}",
            upper=f"{row['late'] + row['half']:,.0f}",
            arriving=f"{row['arriving']:,.0f}",
        )
    ]


def missing_answers(work: Worked, *, lang: str = "zh") -> list[str]:
    """Return the answers of the missing page: how many, why, when, in runs, in stops, where, and what is lost."""
    words = _Words("missing", lang)
    outcomes = work.matches.filter(pl.col("ledger_row").is_not_null())["outcome"].cast(pl.String)
    missing = int((outcomes == "missing").sum())
    lines = _counts(words, work, len(outcomes), missing, lang) if missing else [words("none")]
    if missing:
        lines += [*_day(words, work), *_common(words, work, lang), *_certain(words, work)]
    unbooked = work.findings.filter(pl.col("cause") == "unbooked")
    if unbooked.height:
        lines.append(words("unbooked", rows=f"{unbooked.height:,}", yuan=_yuan(unbooked)))
    lines += _numbers(words, work)
    unknown = work.findings.filter(pl.col("state") == "unknown").height
    return [*lines, words("unknown", rows=f"{unknown:,}")] if unknown else lines


def _counts(words: _Words, work: Worked, everyone: int, missing: int, lang: str) -> list[str]:
    rows = work.findings.filter(pl.col("ledger_row").is_not_null())
    gone = rows.join(
        work.matches.filter(pl.col("outcome") == "missing").select("ledger_row"), on="ledger_row", how="semi"
    )
    titles = Words(lang)
    sums = gone.group_by("cause").agg(rows=pl.len(), yuan=pl.col("amount").sum())
    top = sums.sort("rows", "cause", descending=[True, False]).head(TOP)
    named = [
        words("cause", title=titles.cause(row["cause"]), rows=f"{row['rows']:,}", yuan=f"{row['yuan']:,.2f}")
        for row in top.iter_rows(named=True)
    ]
    definite = gone.filter(~pl.col("cause").is_in(BY_AGE)).height
    return [
        words(
            "count",
            ledger=f"{everyone:,}",
            missing=f"{missing:,}",
            share=_percent(missing / everyone),
            yuan=_yuan(gone),
        ),
        words("causes", list=words("comma").join(named)),
        words("explained", share=_percent(definite / max(gone.height, 1))),
    ]


def _day(words: _Words, work: Worked) -> list[str]:
    days = work.observations.filter(pl.col("issued_at").is_not_null()).group_by(day=pl.col("issued_at").dt.date())
    table = days.agg(issued=pl.len(), missing=(~pl.col("visible")).sum())
    if table.is_empty():
        return []
    worst = table.sort("missing", "day").row(-1, named=True)
    share = _percent(worst["missing"] / worst["issued"])
    return [words("day", day=worst["day"], issued=f"{worst['issued']:,}", missing=f"{worst['missing']:,}", share=share)]


def _common(words: _Words, work: Worked, lang: str) -> list[str]:
    """Return what runs, stops and levels explain; evidence of one batch or stop is the same up to its invoice."""
    lines = []
    for cause, some, none in (("batch_lost", "batches", "no_batches"), ("outage", "outages", "no_outages")):
        rows = work.findings.filter(pl.col("cause") == cause)
        groups = rows["evidence"].str.split("；" if lang == "zh" else "; ").list.first().n_unique()
        lines.append(words(some, count=groups, rows=f"{rows.height:,}") if rows.height else words(none))
    at_fault = work.findings.filter(pl.col("cause").is_in(LEVELS))
    if at_fault.is_empty():
        return [*lines, words("no_levels")]
    head = at_fault["evidence"].str.split("：" if lang == "zh" else ": ").list.first()
    names = head.value_counts(sort=True)
    listed = [f"{name} ({count:,})" for name, count in names.iter_rows()]
    return [*lines, words("levels", list=words("comma").join(listed))]


def _certain(words: _Words, work: Worked) -> list[str]:
    chances = work.findings["probability_late"].drop_nulls()
    if chances.is_empty():
        return []
    lost = lost_interval(chances)
    return [
        words(
            "certain",
            lost=f"{lost['expected']:,.0f}",
            lower=f"{lost['lower']:,.0f}",
            upper=f"{lost['upper']:,.0f}",
        )
    ]


def _numbers(words: _Words, work: Worked) -> list[str]:
    lines = []
    if "gross" in work.ledger.columns:
        profile = digit_profile(work.ledger["gross"].drop_nulls())
        name = profile.reason or ("ok" if profile.conforms else "off")
        lines.append(words(f"benford_{name}", deviation=f"{profile.deviation:.4f}"))
    broken = gaps(work.ledger, work.platform)
    if broken.height:
        lines.append(words("gaps", absent=f"{broken['absent'].sum():,}", ranges=f"{broken.height:,}"))
    return lines


def _percent(share: float) -> str:
    return f"{100 * share:.2f}%"


def _yuan(findings: pl.DataFrame) -> str:
    return f"{findings['amount'].sum():,.2f}"
