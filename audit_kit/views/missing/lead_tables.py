"""Where else to look: first digits of amounts, gaps in old number ranges, counterparties, and what tomorrow brings."""

from __future__ import annotations

from typing import TYPE_CHECKING

import altair as alt
import polars as pl

from audit_kit.core.words import Words
from audit_kit.rules.causes import leads
from audit_kit.rules.sync.service_level import of_delays
from audit_kit.views.show import theme
from audit_kit.views.show.parts import Chart, nothing, title
from audit_kit.views.show.tables import said, table

if TYPE_CHECKING:
    import great_tables as gt
    from IPython.display import HTML

    from audit_kit.analysis.work import Analysis
    from audit_kit.rules.causes.leads import DigitProfile

MOST = 15


def digits(analysis: Analysis) -> DigitProfile:
    """Return the first digits of the ledger's amounts: see rules.profiles.digit_profile."""
    return leads.digit_profile(analysis.ledger["gross"].drop_nulls())


def digit_bars(profile: DigitProfile, *, lang: str = "zh") -> Chart:
    """Draw first digits against Benford's law, and say whether the law may be asked at all."""
    words = Words(lang)
    if not profile.amounts:
        return nothing(words("missing.digits"), words("unit.no_rows"))
    verdict = profile.reason or ("ok" if profile.conforms else "off")
    tips = [
        alt.Tooltip("digit:O", title=words("head.digit")),
        alt.Tooltip("count:Q", title=words("head.rows"), format=","),
        alt.Tooltip("share:Q", title=words("head.share"), format=".2%"),
        alt.Tooltip("expected:Q", title=words("head.benford"), format=".2%"),
        alt.Tooltip("z:Q", title="z", format="+.1f"),
    ]
    base = alt.Chart(profile.table, width=420, height=170).encode(
        alt.X("digit:O", title=words("head.digit"), axis=alt.Axis(labelAngle=0)), tooltip=tips
    )
    colour = theme.GREY if profile.reason else theme.BLUE
    bars = base.mark_bar(size=26, color=colour).encode(
        alt.Y("share:Q", title=words("head.share"), axis=alt.Axis(format="%"))
    )
    law = base.mark_tick(size=34, thickness=2.5, color=theme.RED).encode(alt.Y("expected:Q"))
    heading = title(words("missing.digits"), words(f"missing.digits_{verdict}"))
    chart: alt.LayerChart = (bars + law).properties(title=heading)
    return chart


def gaps(analysis: Analysis, *, lang: str = "zh") -> gt.GT | HTML:
    """Return the gaps in the taxpayer's old number ranges, the widest first."""
    words = Words(lang)
    found = leads.gaps(analysis.ledger, analysis.platform).sort("absent", descending=True)
    if found.is_empty():
        return said(words("missing.gaps_none"))
    names = ("invoice_code", "first", "last", "absent", "after_row", "before_row")
    heads = {"first": "first_number", "last": "last_number"}
    note = words("tables.first", most=words.count(MOST), rows=words.count(found.height))
    return table(
        found.head(MOST),
        labels={name: words(f"head.{heads.get(name, name)}") for name in names},
        numbers=["absent"],
        note=note if found.height > MOST else words("missing.gaps_note"),
    )


def counterparties(analysis: Analysis) -> pl.DataFrame:
    """Return the counterparties of missing invoices, most yuan first: see rules.profiles.counterparties.

    The column `level` is named `buyer_name`, so that it is masked as such.
    """
    missing = analysis.matches.select("ledger_row", missing=pl.col("outcome").cast(pl.String) == "missing").drop_nulls(
        "ledger_row"
    )
    rows = analysis.ledger.with_row_index("ledger_row").join(missing.unique("ledger_row"), on="ledger_row")
    found = leads.counterparties(rows, direction=analysis.engagement.direction)
    return found.rename({"level": "buyer_name"}).head(MOST)


def counterparty_table(frame: pl.DataFrame, *, lang: str = "zh") -> gt.GT | HTML:
    """Return the counterparties as a table; `frame` is from counterparties, masked."""
    words = Words(lang)
    if frame.is_empty():
        return said(words("answer.none_missing"))
    shown = frame.with_columns(
        odds=pl.col("odds_ratio").round(2),
        q=pl.Series([f"{q:.2g}" for q in frame["q"]], dtype=pl.String),
        apart=pl.when("stands_out").then(pl.lit("●")).otherwise(pl.lit("")),
    )
    heads = {"buyer_name": "counterparty", "issued": "issued", "missing": "missing", "yuan": "missing_yuan"}
    heads |= {"odds": "odds", "q": "q", "apart": "stands_out"}
    return table(
        shown,
        labels={name: words(f"head.{key}") for name, key in heads.items()},
        numbers=["issued", "missing"],
        money=["yuan", "odds"],
    )


def tomorrow(analysis: Analysis, *, lang: str = "zh") -> gt.GT | HTML:
    """Return what will still be on its way 24 hours after the export, by channel, with a 90 % interval."""
    words = Words(lang)
    ahead = leads.forecast(of_delays(analysis.observations, analysis.findings), taken_at=analysis.taken_at)
    if ahead.is_empty():
        return said(words("sync.late_none"))
    shown = ahead.with_columns(
        interval=pl.format("{} – {}", pl.col("lower").round(0).cast(pl.Int64), pl.col("upper").round(0).cast(pl.Int64))
    )
    names = ("channel", "waiting", "arriving", "still_late", "new_late", "late", "interval", "lost")
    heads = {"waiting": "waiting_now", "late": "late_tomorrow", "interval": "interval_90", "lost": "never"}
    return table(
        shown,
        labels={name: words(f"head.{heads.get(name, name)}") for name in names},
        numbers=["waiting", "arriving", "still_late", "new_late", "late", "lost"],
        note=words("sync.tomorrow_note"),
    )
