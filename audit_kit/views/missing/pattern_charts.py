"""Charts of what the missing have in common: runs on the issue axis, levels of account, channel and kind.

Each chart takes a tidy frame of aggregates; the function above it prepares that frame from an Analysis.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import altair as alt
import polars as pl

from audit_kit.core.words import Words
from audit_kit.rules.causes import patterns
from audit_kit.rules.causes.leads import digit_profile
from audit_kit.views.missing.tables import is_missing
from audit_kit.views.show import theme
from audit_kit.views.show.finding_rows import not_listed
from audit_kit.views.show.parts import (
    Chart,
    bounded,
    figures_axis,
    heat_colour,
    labelled,
    nothing,
    title,
    tooltips,
    with_channels,
)

if TYPE_CHECKING:
    from audit_kit.analysis.analysis import Analysis
    from audit_kit.rules.causes.leads import DigitProfile

MOST_CHANNELS = 6
MOST_LEVELS = 14
_BINS = 240
_LEFT_TO_CHANCE = ("late", "lost", "unexplained", "channel_excess", "account_excess", "kind_excess")


def issue_axis(analysis: Analysis) -> pl.DataFrame:
    """Return the issue order of the largest channels in at most 240 stretches each.

    Columns: `channel`, `start`, `end` (places from 0), `issued`, `missing`, `batch` (judged part of a lost batch),
    `first_at`, `last_at`.
    """
    ledger = with_channels(analysis.ledger, analysis)
    columns = [name for name in ("serial", "issued_at", "channel") if name in ledger.columns]
    batch = analysis.findings.filter(pl.col("cause") == "batch_lost").select("ledger_row", batch=pl.lit(value=True))
    rows = (
        ledger.select(columns)
        .with_row_index("ledger_row")
        .join(is_missing(analysis), on="ledger_row")
        .join(batch.unique("ledger_row"), on="ledger_row", how="left")
        .filter(pl.col("channel").is_not_null())
    )
    top = rows.group_by("channel").len().top_k(MOST_CHANNELS, by="len")["channel"].to_list()
    ordered = patterns.in_issue_order(rows.filter(pl.col("channel").is_in(top)))
    place = pl.int_range(pl.len()).over("channel")
    width = (pl.len().over("channel") / _BINS).ceil().cast(pl.Int64)
    return (
        ordered.with_columns(place=place, width=width)
        .group_by("channel", pl.col("place") // pl.col("width") * pl.col("width"), maintain_order=True)
        .agg(
            end=pl.col("place").max() + 1,
            issued=pl.len(),
            missing=pl.col("missing").sum(),
            batch=pl.col("batch").fill_null(value=False).sum(),
            first_at=pl.col("issued_at").min(),
            last_at=pl.col("issued_at").max(),
        )
        .rename({"place": "start"})
        .sort("channel", "start")
    )


def run_strips(frame: pl.DataFrame, *, lang: str = "zh") -> Chart:
    """Draw each channel's issue order as a strip, darker where more is missing, with lost batches outlined."""
    words = Words(lang)
    if frame.is_empty() or not frame["missing"].sum():
        return nothing("", words("missing.runs_none"))
    data = bounded(frame).with_columns(share=pl.col("missing") / pl.col("issued"))
    tips = tooltips(
        words,
        "channel:N",
        ("start:Q", "place"),
        ("first_at:T", "from"),
        ("last_at:T", "to"),
        "issued:Q",
        "missing:Q",
        "batch:Q",
    )
    zoom = alt.selection_interval(encodings=["x"], bind="scales", name="zoom_runs")
    base = alt.Chart(data, width=760, height=alt.Step(34)).encode(
        alt.X("start:Q", title=words("head.place"), axis=figures_axis(words, grid=False)),
        alt.X2("end:Q"),
        alt.Y("channel:N", title=None),
        tooltip=tips,
    )
    colour = heat_colour(words("head.missing_share"), domain=[0, 1])
    strips = base.mark_bar(size=20, clip=True).encode(color=colour)
    if data["batch"].sum():
        marks = base.transform_filter("datum.batch > 0")
        strips += marks.mark_bar(size=24, filled=False, stroke=theme.INK, strokeWidth=1.5, clip=True)
    heading = title("", words("missing.runs_how"))
    chart: alt.Chart | alt.LayerChart = strips.add_params(zoom).properties(title=heading)
    return chart


def levels(analysis: Analysis) -> pl.DataFrame:
    """Return the accounts, channels and kinds by how far more of them is missing than of all others.

    Columns: see patterns.levels. Rows that an earlier cause explains, and rows younger than the target, are left
    out: they would speak of that cause, or of their youth. A level that is alone has nothing to be compared with.
    """
    taken_at = analysis.engagement.taken_at
    target = pl.duration(minutes=int(analysis.engagement.policy.sync.target_hours * 60))
    explained = not_listed(analysis.findings).filter(~pl.col("cause").is_in(_LEFT_TO_CHANCE))
    explained_rows = explained["ledger_row"].drop_nulls().unique()
    names = [name for name in ("account", "channel", "kind") if name in analysis.ledger.columns]
    rows = (
        analysis.ledger.select("issued_at", *names)
        .with_row_index("ledger_row")
        .filter(pl.col("issued_at") <= pl.lit(taken_at) - target, ~pl.col("ledger_row").is_in(explained_rows.implode()))
        .join(is_missing(analysis), on="ledger_row")
    )
    found = patterns.levels(rows, tuple(names))
    compared = (pl.col("missing") > 0) & (pl.col("others_issued") > 0)
    return found.filter(compared).sort("q", "odds_ratio", descending=[False, True]).head(MOST_LEVELS)


def level_odds(frame: pl.DataFrame, *, lang: str = "zh") -> Chart:
    """Draw the odds ratio of each level with its lower bound, and beside it how many are missing beyond expectation."""
    words = Words(lang)
    if frame.is_empty():
        return nothing("", words("missing.levels_none"))
    names = words.heads("account", "channel", kind="invoice_kind")
    data = bounded(labelled(frame, "dimension", names)).with_columns(
        name=pl.format("{}：{}" if lang == "zh" else "{}: {}", "dimension", "level"),
        odds_ratio=pl.col("odds_ratio").clip(0.05, 2000),
        odds_lower=pl.col("odds_lower").clip(0.05, 2000),
        own=pl.col("missing") / pl.col("issued"),
        others=pl.col("others_missing") / pl.col("others_issued"),
    )
    tips = tooltips(
        words,
        ("name:N", "level"),
        "issued:Q",
        "missing:Q",
        ("own:Q", "missing_share", ".2%"),
        ("others:Q", "others", ".2%"),
        ("odds_ratio:Q", "odds", ",.2f"),
        ("q:Q", "q", ".2g"),
        ("excess:Q", "excess", ",.1f"),
    )
    colour = alt.condition("datum.stands_out", alt.value(theme.RED), alt.value(theme.GREY))
    y = alt.Y("name:N", sort=data["name"].to_list(), title=None, axis=alt.Axis(labelLimit=260))
    x = alt.X(
        "odds_ratio:Q",
        title=words("head.odds"),
        scale=alt.Scale(type="log"),
        axis=figures_axis(words, tickMinStep=0.01),
    )
    base = alt.Chart(data, width=330, height=alt.Step(22)).encode(y, color=colour, tooltip=tips)
    rule = base.mark_rule(strokeWidth=2).encode(alt.X("odds_lower:Q"), alt.X2("odds_ratio:Q"))
    even = alt.Chart(pl.DataFrame({"at": [1.0, 3.0]})).mark_rule(strokeDash=[3, 3], color=theme.MUTED).encode(x="at:Q")
    left = even + rule + base.mark_point(size=70).encode(x)
    right = (
        alt.Chart(data, width=170, height=alt.Step(22))
        .mark_bar(size=13)
        .encode(
            alt.X("excess:Q", title=words("head.excess"), axis=figures_axis(words, tickCount=4)),
            alt.Y("name:N", sort=data["name"].to_list(), title=None, axis=None),
            color=colour,
            tooltip=tips,
        )
    )
    heading = title("", words("missing.levels_how"))
    return alt.hconcat(left, right, spacing=20).properties(title=heading)


def digits(analysis: Analysis) -> DigitProfile:
    """Return the first digits of the ledger's amounts: see leads.digit_profile."""
    return digit_profile(analysis.ledger["gross"].drop_nulls())


def digit_bars(profile: DigitProfile, *, lang: str = "zh") -> Chart:
    """Draw first digits against Benford's law; where the law does not apply, only say so."""
    words = Words(lang)
    if not profile.amounts:
        return nothing(words("missing.digits"), words("unit.no_rows"))
    if profile.reason:
        return nothing(words("missing.digits"), words(f"missing.digits_{profile.reason}"))
    verdict = "ok" if profile.conforms else "off"
    tips = [
        *tooltips(words, "digit:O", ("count:Q", "rows"), ("share:Q", "share", ".2%"), ("expected:Q", "benford", ".2%")),
        alt.Tooltip("z:Q", title="z", format="+.1f"),
    ]
    base = alt.Chart(profile.table, width=420, height=170).encode(
        alt.X("digit:O", title=words("head.digit"), axis=alt.Axis(labelAngle=0)), tooltip=tips
    )
    bars = base.mark_bar(size=26, color=theme.BLUE).encode(
        alt.Y("share:Q", title=words("head.share"), axis=alt.Axis(format="%"))
    )
    law = base.mark_tick(size=34, thickness=2.5, color=theme.RED).encode(alt.Y("expected:Q"))
    heading = title(words("missing.digits"), words(f"missing.digits_{verdict}"))
    chart: alt.LayerChart = (bars + law).properties(title=heading)
    return chart
