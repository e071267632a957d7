"""Tables of the machines: times over a threshold, what they fell together with, and when a threshold is crossed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl

from audit_kit.core.schema import METRICS
from audit_kit.rules.response.metrics import MOST_SHARE, SHARES
from audit_kit.views.response.trail_tables import MOST_ROWS, TIME, first_of, heads
from audit_kit.views.show.parts import within
from audit_kit.views.show.sentences import listed
from audit_kit.views.show.tables import said, table

if TYPE_CHECKING:
    import great_tables as gt
    from IPython.display import HTML

    from audit_kit.core.words import Words
    from audit_kit.views.show.page import Page

STATES = ("over", "rising", "flat", "short")


def unknown_metrics(page: Page) -> str:
    """Return why nothing can be said of thresholds; empty where there are readings of a metric that has one."""
    words, engagement = page.words, page.whole.engagement
    if not engagement.has("metrics"):
        return words("follow.no_metrics")
    if not engagement.policy.metrics:
        return words("follow.no_limits")
    return words("follow.no_readings") if page.analysis.response.levels.is_empty() else ""


def not_judged(page: Page) -> str:
    """Return a sentence on metrics with a threshold and no readings, or with readings and no threshold; else none."""
    words, engagement = page.words, page.whole.engagement
    read = set(engagement.table("metrics")["metric"].cast(pl.String).drop_nulls())
    limits, known = set(engagement.policy.metrics), set(page.analysis.response.levels["metric"])
    names = words.terms("metrics", sorted((read | limits) & set(words_of_metrics(words))))
    parts = {"without_limit": sorted(read - limits), "without_readings": sorted(limits - known)}
    return " ".join(
        words(f"follow.{key}", list=listed(words, [names.get(metric, metric) for metric in metrics]))
        for key, metrics in parts.items()
        if metrics
    )


def episodes(page: Page) -> gt.GT | HTML:
    """Return the times over a threshold in the period, the longest first, with the trouble within each."""
    words = page.words
    if why := unknown_metrics(page):
        return said(why)
    audit = page.analysis.response
    rows = within(audit.episodes, page.start, page.end, column="starts_at")
    if rows.is_empty():
        measured = within(audit.levels, page.start, page.end, column="at").height
        return said(words("follow.none_over" if measured else "follow.no_period_readings"), not_judged(page))
    shown = rows.sort("minutes", "starts_at", descending=[True, False], maintain_order=True).head(MOST_ROWS)
    met = [_met(words, audit.troubles, *span) for span in _spans(shown)]
    lasted = [
        words.span(minutes) if end else words("follow.at_least", span=words.span(minutes))
        for minutes, end in shown.select("minutes", "ends_at").iter_rows()
    ]
    shown = shown.with_columns(
        pl.Series("met", met, dtype=pl.String),
        pl.Series("lasted", lasted, dtype=pl.String),
        *(pl.Series(name, values(shown, name), dtype=pl.String) for name in ("peak", "limit")),
        _named(words),
        pl.col("starts_at").dt.strftime(TIME),
        pl.col("ends_at").dt.strftime(TIME).fill_null(words("follow.no_end")),
    )
    note = " ".join(filter(None, (first_of(words, MOST_ROWS, rows.height), not_judged(page))))
    labels = heads(words, "host", "metric", "starts_at", "ends_at", "lasted", "peak", "limit", "met")
    return table(page.safe(shown), labels=labels, right=["peak", "limit"], note=note)


def coincidences(page: Page) -> gt.GT | HTML:
    """Return how times over a threshold fall together with trouble: odds against the rest, and what chance gives."""
    words, rows = page.words, page.analysis.response.coincidences
    if unknown_metrics(page):
        return said(unknown_metrics(page))
    if rows.is_empty():
        return said(words("follow.coincide_none"))
    verdict = (
        pl.when("more_than_chance").then(pl.lit(words("follow.more"))).otherwise(pl.lit(words("follow.by_chance")))
    )
    shown = rows.with_columns(
        _named(words),
        pl.col("event").replace(words.section("trouble")),
        pl.Series("odds", [f"{odds:,.1f}" for odds in rows["odds"]], dtype=pl.String),
        pl.Series("p", [words.share(p) for p in rows["p"]], dtype=pl.String),
        verdict=verdict,
    )
    return table(
        shown,
        labels=heads(words, "metric", "event", "over", "trouble", "both", "hours", "odds", "p", "verdict"),
        numbers=["over", "trouble", "both", "hours"],
        right=["odds", "p"],
        note=" ".join(filter(None, (words("follow.coincide_note"), words("follow.whole") if page.start else ""))),
    )


def forecasts(page: Page) -> gt.GT | HTML:
    """Return for each host and metric whether and when its threshold will be crossed, with the 90 % interval."""
    words, rows = page.words, page.analysis.response.forecasts
    if unknown_metrics(page) or rows.is_empty():
        return said(unknown_metrics(page) or words("follow.no_forecasts"))
    place = pl.col("state").replace_strict(STATES, range(len(STATES)), return_dtype=pl.Int8)
    rows = rows.sort(place, "likely", "host", "metric", nulls_last=True, maintain_order=True)
    shown = rows.head(MOST_ROWS)
    day = {name: pl.col(name).dt.strftime("%Y-%m-%d").fill_null("–") for name in ("earliest", "likely", "latest")}
    rising = pl.col("state") == "rising"
    shown = shown.with_columns(
        _named(words),
        *(pl.Series(name, values(shown, name), dtype=pl.String) for name in ("value", "limit")),
        pl.Series("growth", values(shown.with_columns(pl.col("growth") * 30), "growth", signed=True), dtype=pl.String),
        pl.col("state").replace(words.section("forecast_state")),
        likely=pl.when(rising).then(day["likely"]),
        interval=pl.when(rising).then(pl.concat_str(day["earliest"], pl.lit(" – "), day["latest"])),
    )
    labels = heads(words, "host", "metric", "state", "value", "limit", "growth", "likely", "interval", "days")
    note = " ".join(filter(None, (words("follow.forecast_note"), first_of(words, MOST_ROWS, rows.height))))
    return table(page.safe(shown), labels=labels, numbers=["days"], right=["value", "limit", "growth"], note=note)


def values(rows: pl.DataFrame, column: str, *, signed: bool = False) -> list[str | None]:
    """Return measurements as they are read: shares in per cent, all else plain."""
    sign = "+" if signed else ""
    told = []
    for metric, limit, value in rows.select("metric", "limit", pl.col(column).alias("value")).iter_rows():
        of_share = metric in SHARES and limit <= MOST_SHARE
        told.append(None if value is None else f"{100 * value:{sign}.1f} %" if of_share else f"{value:{sign},.4g}")
    return told


def words_of_metrics(words: Words) -> dict[str, str]:
    """Return the metrics that have a name in words."""
    return words.terms("metrics", METRICS)


def _named(words: Words) -> pl.Expr:
    return pl.col("metric").replace(words_of_metrics(words))


def _spans(rows: pl.DataFrame) -> list[tuple[object, object]]:
    return list(rows.select("starts_at", pl.coalesce("ends_at", "until")).iter_rows())


def _met(words: Words, troubles: pl.DataFrame, start: object, end: object) -> str:
    """Return the trouble within a span, in words."""
    inside = troubles.filter((pl.col("starts_at") <= pl.lit(end)) & (pl.col("ends_at") >= pl.lit(start)))
    counts = inside.group_by("event").agg(count=pl.len()).sort("event")
    names = words.section("trouble")
    told = [
        words("follow.count_of", event=names[event], count=words.count(count)) for event, count in counts.iter_rows()
    ]
    return listed(words, told) or words("unit.nothing")
