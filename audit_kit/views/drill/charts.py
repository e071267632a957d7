"""A drill as a person sees it: what was taken for what, and how well each cause was found."""

from __future__ import annotations

import re
from html import escape
from typing import TYPE_CHECKING

import altair as alt
import polars as pl

from audit_kit.core.words import Words
from audit_kit.views.show import theme
from audit_kit.views.show.parts import bounded, labelled, title, tooltips

if TYPE_CHECKING:
    from audit_kit.training.drill.score import Score
    from audit_kit.views.show.parts import Chart

MATCHED = "matched"
_BOLD = re.compile(r"\*\*(.+?)\*\*")


def confusion(score: Score) -> pl.DataFrame:
    """Return `true`, `labelled`, `rows`, `right`: invoices by the cause they have and the cause they were given."""
    return score.confusion.with_columns(right=pl.col("true") == pl.col("labelled"))


def confusion_chart(counts: pl.DataFrame, *, lang: str = "zh") -> Chart:
    """Draw what was taken for what: the diagonal is right, everything beside it wrong."""
    words = Words(lang)
    named = _titles([*counts["true"], *counts["labelled"]], words)
    data = bounded(labelled(labelled(counts, "true", named), "labelled", named))
    order = sorted(set(named.values()))
    base = alt.Chart(data, title=title(words("drill.chart")), height=alt.Step(26), width=alt.Step(64)).encode(
        alt.X(
            "labelled:N", title=words("drill.labelled"), sort=order, axis=alt.Axis(labelAngle=-35, labelOverlap=False)
        ),
        alt.Y("true:N", title=words("drill.true"), sort=order, axis=alt.Axis(labelLimit=220)),
        tooltip=tooltips(words, ("true:N", "drill.true"), ("labelled:N", "drill.labelled"), ("rows:Q", "drill.rows")),
    )
    colour = alt.when(alt.datum.right).then(alt.value(theme.BLUE)).otherwise(alt.value(theme.RED))
    chart: Chart = base.mark_rect(opacity=0.85, stroke="white").encode(color=colour) + base.mark_text(
        fontWeight=600
    ).encode(text=alt.Text("rows:Q", format=","), color=alt.value("white"))
    return chart


def qualities(score: Score) -> pl.DataFrame:
    """Return `cause`, `measure` (recall, precision), `share`, `true`, `labelled`, `right`: two rows a cause."""
    told = score.causes.filter(pl.col("cause") != MATCHED)
    return told.unpivot(
        on=["recall", "precision"],
        index=["cause", "true", "labelled", "right"],
        variable_name="measure",
        value_name="share",
    )


def quality_chart(shares: pl.DataFrame, *, lang: str = "zh") -> Chart:
    """Draw recall and precision of every cause, the worst first."""
    words = Words(lang)
    named = _titles(shares["cause"].to_list(), words)
    worst = shares.group_by("cause").agg(pl.col("share").min()).sort("share", "cause")
    measures = {"recall": words("drill.recall"), "precision": words("drill.precision")}
    data = bounded(labelled(labelled(shares, "cause", named), "measure", measures))
    colours = theme.scale({"recall": theme.BLUE, "precision": theme.AMBER}, measures)
    chart: Chart = (
        alt.Chart(data, title=title(words("drill.by_cause")), height=alt.Step(12), width=520)
        .mark_bar(size=10)
        .encode(
            alt.X("share:Q", title=words("drill.share"), axis=alt.Axis(format="%"), scale=alt.Scale(domain=[0, 1])),
            alt.Y(
                "cause:N", title=None, sort=[named[cause] for cause in worst["cause"]], axis=alt.Axis(labelLimit=220)
            ),
            alt.Color("measure:N", title=words("drill.measure"), scale=colours, sort=list(measures.values())),
            yOffset=alt.YOffset("measure:N", sort=list(measures.values())),
            tooltip=tooltips(
                words,
                ("cause:N", "drill.cause"),
                ("measure:N", "drill.measure"),
                ("share:Q", "drill.share", ".0%"),
                ("true:Q", "drill.true"),
                ("labelled:Q", "drill.labelled"),
            ),
        )
    )
    return chart


def _titles(causes: list[str], words: Words) -> dict[str, str]:
    """Return the titles of causes; an invoice with nothing wrong is called so."""
    titles = words.causes(causes)
    return titles | {MATCHED: words("drill.matched")} if MATCHED in titles else titles


def shown(score: Score, *, lang: str = "zh") -> pl.DataFrame:
    """Return `cause` (title), `true`, `labelled`, `recall`, `precision` (as per cent), as a table shows them."""
    titles = _titles(score.causes["cause"].to_list(), Words(lang))
    percent = [(pl.col(name) * 100).round(0).cast(pl.Int64).cast(pl.String) + " %" for name in ("recall", "precision")]
    return labelled(score.causes, "cause", titles).select("cause", "true", "labelled", *percent)


def told(score: Score) -> str:
    """Return the debrief without its table, as harmless HTML: one short paragraph a line, headings and names bold."""
    lines = [line for line in score.debrief.splitlines() if line and not line.startswith("|")]
    marked = [f"**{line.lstrip('# ')}**" if line.startswith("#") else line for line in lines]
    bold = [_BOLD.sub(r"<b>\1</b>", escape(line)) for line in marked]
    return "".join(f'<p style="margin:4px 0">{line}</p>' for line in bold)
