"""Charts of the response: how soon tickets are answered, where they go next, what was written by hand, who says what.

Each chart takes a tidy frame of aggregates; the function above it prepares that frame from a ResponseAudit.
"""

from __future__ import annotations

from datetime import timedelta
from itertools import pairwise
from typing import TYPE_CHECKING

import altair as alt
import polars as pl

from audit_kit.core import schema
from audit_kit.core.words import Words
from audit_kit.rules.response.testimony import ANSWERS, RANKED, ranks
from audit_kit.rules.response.tickets import OPEN
from audit_kit.views.show import theme
from audit_kit.views.show.parts import (
    Chart,
    bounded,
    by_legend,
    faded,
    labelled,
    nothing,
    title,
    together,
    tooltips,
    within,
)

if TYPE_CHECKING:
    from datetime import datetime

    from audit_kit.rules.response.response import ResponseAudit

SPEEDS = ("half", "in_time", "late", "waiting", "none", "unknown")
STANDS = ("right", "unchecked", "unlike")
BANDS = (1_000, 10_000, 100_000, 1_000_000)  # yuan: the least amount of each band but the first
LONGEST_AHEAD = timedelta(days=60)
MOST_STOPS = 25
FEW_DAYS = 40
_SPEED_COLOURS = dict(zip(SPEEDS, (theme.BLUE, theme.SKY, theme.RED, theme.AMBER, "#8f2d14", theme.GREY), strict=True))
_STAND_COLOURS = dict(zip(STANDS, (theme.SKY, theme.AMBER, theme.RED), strict=True))
_ANSWER_COLOURS = dict(zip(ANSWERS, (theme.BLUE, theme.AMBER, theme.RED, theme.PLUM), strict=True))
_HAND_COLOURS = {"by_hand": theme.TEAL, "lacking": theme.RED}
_WHEN_COLOURS = {"past": theme.RED, "ahead": theme.SKY}


def of_period(tickets: pl.DataFrame, start: datetime | None, end: datetime | None) -> pl.DataFrame:
    """Return the tickets opened in a period, and earlier ones still open."""
    opened = pl.col("opened_at")
    still = pl.col("state").is_in(OPEN) & pl.col("handed_at").is_null()
    kept = (opened >= start).fill_null(value=True) | still if start is not None else pl.lit(value=True)
    before = (opened < end).fill_null(value=True) if end is not None else pl.lit(value=True)
    return tickets.filter(kept & before)


def speed() -> pl.Expr:
    """Return how soon a ticket was answered: see SPEEDS."""
    share, replied = pl.col("hours") / pl.col("allowed"), pl.col("replied_at").is_not_null()
    return (
        pl.when(pl.col("hours").is_null() | pl.col("allowed").is_null())
        .then(pl.lit("unknown"))
        .when(pl.col("late_reply") & ~replied)
        .then(pl.lit("none"))
        .when("late_reply")
        .then(pl.lit("late"))
        .when(~replied)
        .then(pl.lit("waiting"))
        .when(share <= 0.5)  # noqa: PLR2004 (half of what is allowed)
        .then(pl.lit("half"))
        .otherwise(pl.lit("in_time"))
    )


def replies(tickets: pl.DataFrame) -> pl.DataFrame:
    """Return `level`, `speed`, `rows`, `hours` (the median of working hours to the first reply)."""
    known = tickets.filter(pl.col("level").is_not_null()).with_columns(speed=speed())
    return known.group_by("level", "speed").agg(rows=pl.len(), hours=pl.col("hours").median()).sort("level", "speed")


def reply_bars(frame: pl.DataFrame, *, allowed: dict[str, float], lang: str = "zh") -> Chart:
    """Draw how soon each rung answers; `frame` from replies, `allowed` working hours by level."""
    words = Words(lang)
    if frame.is_empty():
        return nothing(words("response.replies"), words("response.replies_none"))
    speeds = [word for word in SPEEDS if word in frame["speed"].to_list()]
    labels = words.terms("reply_speed", speeds)
    levels = [level for level in schema.TICKET_LEVELS if level in frame["level"].to_list()]
    named = {
        level: words("response.level_allowed", level=words.term("ticket_levels", level), hours=f"{allowed[level]:g}")
        for level in levels
    }
    order = pl.DataFrame({"speed": list(SPEEDS), "place": range(len(SPEEDS))})
    data = labelled(labelled(bounded(frame.join(order, on="speed")), "speed", labels), "level", named)
    chosen = by_legend("speed", "reply_speed")
    chart: alt.Chart = (
        alt.Chart(
            data, width=620, height=alt.Step(34), title=title(words("response.replies"), words("response.replies_how"))
        )
        .mark_bar()
        .encode(
            alt.X("rows:Q", title=words("head.tickets"), axis=alt.Axis(format="~s", tickMinStep=1)),
            alt.Y("level:N", title=None, sort=list(named.values()), axis=alt.Axis(labelLimit=220)),
            color=alt.Color("speed:N", title=words("head.reply"), scale=theme.scale(_SPEED_COLOURS, labels)),
            order="place:Q",
            opacity=faded(chosen),
            tooltip=tooltips(
                words, "level:N", ("speed:N", "reply"), ("rows:Q", "tickets"), ("hours:Q", "median_hours", ",.1f")
            ),
        )
        .add_params(chosen)
    )
    return chart


def climbing(tickets: pl.DataFrame, now: datetime) -> pl.DataFrame:
    """Return `next_level`, `day`, `when` (past, ahead), `rows`, `missing`, `yuan`: to which rung open tickets go, when.

    What is further than 60 days from now counts at that edge.
    """
    due = tickets.filter(pl.col("next_level").is_not_null() & pl.col("next_at").is_not_null())
    edge = pl.col("next_at").clip(now - LONGEST_AHEAD, now + LONGEST_AHEAD)
    return (
        due.with_columns(
            day=edge.dt.truncate("1d"),
            when=pl.when(pl.col("next_at") <= now).then(pl.lit("past")).otherwise(pl.lit("ahead")),
        )
        .group_by("next_level", "day", "when")
        .agg(rows=pl.len(), missing=pl.col("missing").sum(), yuan=pl.col("yuan").sum().cast(pl.Float64))
        .sort("day", "next_level", "when")
    )


def ladder(frame: pl.DataFrame, now: datetime, *, has_tickets: bool = True, lang: str = "zh") -> Chart:
    """Draw when open tickets go to which rung, with a line at now; `frame` from climbing."""
    words = Words(lang)
    if frame.is_empty():
        why = "response.ladder_none" if has_tickets else "response.no_tickets"
        return nothing(words("response.ladder"), words(why))
    labels = words.terms("rung_when", [word for word in _WHEN_COLOURS if word in frame["when"].to_list()])
    levels = words.terms("ticket_levels", schema.TICKET_LEVELS[1:])
    data = labelled(labelled(bounded(frame), "when", labels), "next_level", levels)
    most = max(frame["rows"])
    sizes = alt.Legend(format="d", values=sorted({1, -(-most // 2), most}), symbolFillColor=theme.GREY)
    chosen = by_legend("when", "rung_when")
    dots = (
        alt.Chart(data)
        .mark_circle(opacity=0.85)
        .encode(
            alt.X("day:T", title=None, axis=alt.Axis(format="%-m-%-d"), scale=alt.Scale(padding=22)),
            alt.Y("next_level:N", title=words("head.next_rung"), sort=list(reversed(levels.values()))),
            size=alt.Size(
                "rows:Q", title=words("head.tickets"), scale=alt.Scale(range=[60, 500], domainMin=0), legend=sizes
            ),
            color=alt.Color("when:N", title=words("head.state"), scale=theme.scale(_WHEN_COLOURS, labels)),
            opacity=faded(chosen),
            tooltip=tooltips(
                words, ("next_level:N", "next_rung"), "day:T", ("rows:Q", "tickets"), "missing:Q", "yuan:Q"
            ),
        )
        .add_params(chosen)
    )
    moment = pl.DataFrame({"day": [now]}, schema={"day": pl.Datetime("us")})
    line = alt.Chart(moment).mark_rule(color=theme.INK, strokeDash=[4, 3]).encode(alt.X("day:T"))
    made: alt.LayerChart = (dots + line).properties(
        width=690, height=150, title=title(words("response.ladder"), words("response.ladder_how"))
    )
    return made


def stand() -> pl.Expr:
    """Return how a register row stands: unlike something, unchecked, or right."""
    unlike, unchecked = pl.col("unlike").list.len() > 0, pl.col("check") != "ok"
    return (
        pl.when(unlike)
        .then(pl.lit("unlike"))
        .when(unchecked)
        .then(pl.lit("unchecked"))
        .otherwise(pl.lit("right"))
        .alias("stand")
    )


def band() -> pl.Expr:
    """Return the band of a row's amount by its place, 0 the smallest; null without an amount."""
    gross = pl.col("gross").abs().cast(pl.Float64)
    return pl.when(gross.is_not_null()).then(sum((gross >= least).cast(pl.UInt8) for least in BANDS)).alias("band")


def band_names(words: Words) -> list[str]:
    """Return the names of the bands, the smallest first, then that of rows without an amount."""
    counts = [words.count(least) for least in BANDS]
    within_ = [words("response.band", least=least, most=most) for least, most in pairwise(counts)]
    ends = words("response.band_below", most=counts[0]), words("response.band_above", least=counts[-1])
    return [ends[0], *within_, ends[1], words("unit.nothing")]


def by_day(audit: ResponseAudit, *, start: datetime | None = None, end: datetime | None = None) -> pl.DataFrame:
    """Return `day`, `stand`, `rows`, `yuan` of the register, at most its last 400 days."""
    rows = (
        within(audit.register, start, end)
        .drop_nulls("issued_at")
        .with_columns(stand(), day=pl.col("issued_at").dt.truncate("1d"))
    )
    last = pl.col("day").max().dt.offset_by("-400d")
    return _sums(rows.filter(pl.col("day") > last), "day")


def by_amount(audit: ResponseAudit, *, start: datetime | None = None, end: datetime | None = None) -> pl.DataFrame:
    """Return `band` (its place, see band_names), `stand`, `rows`, `yuan` of the register."""
    rows = within(audit.register, start, end).with_columns(stand(), band())
    return _sums(rows.with_columns(pl.col("band").fill_null(len(BANDS) + 1)), "band")


def _sums(rows: pl.DataFrame, by: str) -> pl.DataFrame:
    return rows.group_by(by, "stand").agg(rows=pl.len(), yuan=pl.col("gross").sum().cast(pl.Float64)).sort(by, "stand")


def register_bars(days: pl.DataFrame, bands: pl.DataFrame, *, has_register: bool = True, lang: str = "zh") -> Chart:
    """Draw what was written by hand, by day and by amount, and how it stands; `days` from by_day, `bands` by_amount."""
    words = Words(lang)
    if bands.is_empty():
        why = "response.register_none" if has_register else "response.no_register"
        return nothing(words("response.register"), words(why))
    labels = words.terms("register_stand", [word for word in STANDS if word in bands["stand"].to_list()])
    names = band_names(words)
    chosen = by_legend("stand", "register_stand")
    colour = alt.Color("stand:N", title=words("head.state"), scale=theme.scale(_STAND_COLOURS, labels))
    tips = tooltips(words, ("stand:N", "state"), "rows:Q", "yuan:Q")
    few = days["day"].n_unique() <= FEW_DAYS
    named = bands.with_columns(pl.Series("amount", [names[place] for place in bands["band"]]))
    left = (
        alt.Chart(labelled(bounded(days), "stand", labels), width=400, height=190)
        .mark_bar()
        .encode(
            alt.X(
                f"yearmonthdate(day):{'O' if few else 'T'}",
                title=None,
                axis=alt.Axis(format="%-m-%-d", labelAngle=0, labelOverlap=True),
            ),
            alt.Y("rows:Q", title=words("head.rows"), axis=alt.Axis(format="~s", tickMinStep=1)),
            color=colour,
            opacity=faded(chosen),
            tooltip=[*tooltips(words, "day:T"), *tips],
        )
    )
    right = (
        alt.Chart(labelled(bounded(named), "stand", labels), width=240, height=190)
        .mark_bar()
        .encode(
            alt.X("rows:Q", title=words("head.rows"), axis=alt.Axis(format="~s", tickMinStep=1, tickCount=4)),
            alt.Y("amount:N", title=None, sort=names, axis=alt.Axis(labelLimit=150)),
            color=colour,
            opacity=faded(chosen),
            tooltip=[*tooltips(words, "amount:N"), *tips],
        )
    )
    heading = title(words("response.register"), words("response.register_how"))
    return together(left, right, heading=heading, shared=(chosen,), spacing=24)


def gap_rows(audit: ResponseAudit, *, lang: str = "zh") -> pl.DataFrame:
    """Return `stop`, `hand` (by_hand, lacking), `rows`, `yuan`: what is missing of each stop, at most 25."""
    rest = Words(lang)("response.no_stop")
    wide = audit.gaps.sort("rows", descending=True, maintain_order=True).head(MOST_STOPS)
    wide = wide.with_columns(stop=pl.col("subject").fill_null(rest), lacking_rows=pl.col("lacking").list.len())
    hand = wide.select("stop", hand=pl.lit("by_hand"), rows="by_hand", yuan="by_hand_yuan")
    lacking = wide.select("stop", hand=pl.lit("lacking"), rows="lacking_rows", yuan="lacking_yuan")
    return pl.concat([hand, lacking], how="vertical_relaxed").with_columns(pl.col("yuan").cast(pl.Float64))


def gap_bars(frame: pl.DataFrame, *, has_register: bool, lang: str = "zh") -> Chart:
    """Draw how much of each stop's gap was filled by hand; `frame` from gap_rows."""
    words = Words(lang)
    if not has_register:
        return nothing(words("response.gaps"), words("response.no_register"))
    if frame.is_empty():
        return nothing(words("response.gaps"), words("response.gaps_none"))
    labels = words.terms("filled", _HAND_COLOURS)
    chosen = by_legend("hand", "filled")
    data = labelled(bounded(frame), "hand", labels)
    chart: alt.Chart = (
        alt.Chart(data, width=500, height=alt.Step(30), title=title(words("response.gaps"), words("response.gaps_how")))
        .mark_bar()
        .encode(
            alt.X("rows:Q", title=words("head.rows"), axis=alt.Axis(format="~s", tickMinStep=1)),
            alt.Y("stop:N", title=None, sort=None, axis=alt.Axis(labelLimit=300)),
            color=alt.Color("hand:N", title=words("head.state"), scale=theme.scale(_HAND_COLOURS, labels)),
            opacity=faded(chosen),
            tooltip=tooltips(words, "stop:N", ("hand:N", "state"), "rows:Q", "yuan:Q"),
        )
        .add_params(chosen)
    )
    return chart


def voices(audit: ResponseAudit) -> pl.DataFrame:
    """Return `source`, `answer`, `rows`: what each source says, the weightiest first."""
    rows = [
        {"source": one["source"], "answer": answer, "rows": one[answer]}
        for one in ranks(audit.testimony)
        for answer in ANSWERS
        if one[answer]
    ]
    return pl.DataFrame(rows, schema={"source": pl.String, "answer": pl.String, "rows": pl.UInt32})


def voice_bars(frame: pl.DataFrame, *, lang: str = "zh") -> Chart:
    """Draw what each source says of the invoices asked about; `frame` from voices."""
    words = Words(lang)
    if frame.is_empty():
        return nothing(words("response.voices"), words("response.voices_none"))
    labels = words.terms("response_answer", [word for word in ANSWERS if word in frame["answer"].to_list()])
    sources = words.terms("response_source", [source for source in RANKED if source in frame["source"].to_list()])
    data = labelled(labelled(bounded(frame), "answer", labels), "source", sources)
    chosen = by_legend("answer", "response_answer")
    chart: alt.Chart = (
        alt.Chart(
            data, width=620, height=alt.Step(30), title=title(words("response.voices"), words("response.voices_how"))
        )
        .mark_bar()
        .encode(
            alt.X("rows:Q", title=words("head.rows"), axis=alt.Axis(format="~s", tickMinStep=1)),
            alt.Y("source:N", title=None, sort=list(sources.values()), axis=alt.Axis(labelLimit=180)),
            color=alt.Color("answer:N", title=words("head.answer"), scale=theme.scale(_ANSWER_COLOURS, labels)),
            opacity=faded(chosen),
            tooltip=tooltips(words, "source:N", "answer:N", "rows:Q"),
        )
        .add_params(chosen)
    )
    return chart
