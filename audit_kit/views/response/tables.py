"""Tables of the response: the register by day and by amount, the ladder of open tickets, sources by their weight."""

from __future__ import annotations

from typing import TYPE_CHECKING

import great_tables as gt
import polars as pl

from audit_kit.core.words import Words
from audit_kit.rules.response.testimony import ANSWERS, ranks
from audit_kit.views.response.charts import BANDS, band, band_names, of_period, stand
from audit_kit.views.show.parts import within
from audit_kit.views.show.tables import first_of, said, table

if TYPE_CHECKING:
    from IPython.display import HTML

    from audit_kit.rules.response.response import ResponseAudit
    from audit_kit.views.show.page import Page

MOST_DAYS = 31
MOST_TICKETS = 25


def register_days(page: Page) -> gt.GT | HTML:
    """Return the register's sheet by date: rows, yuan, how many are unlike or unchecked, and the sums."""
    rows = within(page.analysis.response.register, page.start, page.end)
    day = pl.col("issued_at").dt.strftime("%Y-%m-%d").fill_null("–")
    return _sheet(page, rows.with_columns(part=day), heading=page.words("head.day"))


def register_amounts(page: Page) -> gt.GT | HTML:
    """Return the register's sheet by amount, in bands of yuan, with the sums."""
    rows = within(page.analysis.response.register, page.start, page.end)
    names = band_names(page.words)
    place = rows.select(band()).to_series().fill_null(len(BANDS) + 1)
    rows = rows.with_columns(place=place, part=pl.Series([names[at] for at in place], dtype=pl.String))
    return _sheet(page, rows.sort("place", maintain_order=True), heading=page.words("response.band_head"))


def _sheet(page: Page, rows: pl.DataFrame, *, heading: str) -> gt.GT | HTML:
    words = page.words
    if rows.is_empty():
        given = page.whole.engagement.has("register")
        return said(words("response.register_none" if given else "response.no_register"))
    state = rows.with_columns(stand())
    yuan = pl.col("gross").sum()
    figures = {
        "rows": pl.len(),
        "yuan": yuan,
        "unlike": (pl.col("stand") == "unlike").sum(),
        "unlike_yuan": pl.col("gross").filter(pl.col("stand") == "unlike").sum(),
        "unchecked": (pl.col("check") != "ok").sum(),
    }
    ordered = state if "place" in state.columns else state.sort("part", maintain_order=True)
    parts = ordered.group_by("part", maintain_order=True).agg(**figures)
    sums = state.select(part=pl.lit(words("unit.total")), **figures)
    shown = pl.concat([parts.head(MOST_DAYS), sums], how="vertical_relaxed")
    labels = {"part": heading} | words.heads("rows", "yuan", "unlike", "unlike_yuan", "unchecked")
    made = table(
        shown,
        labels=labels,
        numbers=["rows", "unlike", "unchecked"],
        money=["yuan", "unlike_yuan"],
        note=first_of(words, MOST_DAYS, parts.height) or words("response.sheet_note"),
    )
    return made.tab_style(gt.style.text(weight="bold"), gt.loc.body(rows=[shown.height - 1]))


def climb(page: Page) -> gt.GT | HTML:
    """Return the open tickets in the order in which they go to the next rung, with what that needs and lacks."""
    words = page.words
    rows = of_period(page.analysis.response.tickets, page.start, page.end).filter(pl.col("next_level").is_not_null())
    if rows.is_empty():
        given = page.whole.engagement.has("tickets")
        return said(words("response.ladder_none" if given else "response.no_tickets"))
    rows = rows.sort("next_at", "ticket", nulls_last=True, maintain_order=True)
    needs = words.section("rung_need")
    named = [
        pl.col(name).list.eval(pl.element().replace(needs)).list.join(words("answer.comma"))
        for name in ("needs", "lacks")
    ]
    levels = words.section("rung")
    shown = rows.head(MOST_TICKETS).with_columns(
        *named,
        pl.col("level").replace(levels),
        pl.col("next_level").replace(levels),
        pl.col("opened_at", "next_at").dt.strftime("%Y-%m-%d %H:%M"),
        late=pl.when(pl.col("next_at") <= page.analysis.taken_at)
        .then(pl.lit(words("rung_when.past")))
        .otherwise(pl.lit(words("rung_when.ahead"))),
    )
    labels = words.heads(
        "ticket", "level", "opened_at", "missing", "next_level", "next_at", "late", "needs", "lacks",
        level="rung", next_level="next_rung", late="state",
    )  # fmt: skip
    return table(
        page.safe(shown),
        labels=labels,
        numbers=["missing"],
        note=first_of(words, MOST_TICKETS, rows.height) or words("response.ladder_note"),
        widths={"ticket": "104px", "level": "92px", "next_level": "104px", "opened_at": "96px", "next_at": "96px"},
    )


def weights(audit: ResponseAudit, *, lang: str = "zh") -> gt.GT:
    """Return the sources in order of weight, each with its reason (审计准则1301) and what it says."""
    words = Words(lang)
    lines = [
        {
            "rank": place,
            "source": words.term("response_source", row["source"]),
            "weight": words(f"response_weight.{row['source']}"),
            **{answer: row[answer] for answer in ANSWERS},
        }
        for place, row in enumerate(ranks(audit.testimony), 1)
    ]
    labels = words.heads("rank", source="said_by", weight="weight") | {
        answer: words(f"response_answer.{answer}") for answer in ANSWERS
    }
    return table(
        pl.DataFrame(lines),
        labels=labels,
        numbers=["rank", *ANSWERS],
        note=words("response.weights_note"),
        widths={"weight": "46%", "rank": "48px"},
    )


def against(page: Page, *, most: int = MOST_TICKETS) -> gt.GT | HTML:
    """Return the invoices on which sources disagree: what each says, what the register says, and what holds."""
    words = page.words
    keys = page.analysis.response_findings.filter(pl.col("cause") == "sources_disagree")["invoice_key"]
    rows = page.analysis.response.testimony.filter(pl.col("disagree") & pl.col("invoice_key").is_in(keys.implode()))
    if rows.is_empty():
        heard = page.analysis.response.testimony.height
        return said(words("response.agree" if heard else "response.voices_none"))
    answers, sources = words.section("response_answer"), words.section("response_source")
    named = ("national", "counterparty", "file", "department", "copy", "ledger")
    shown = rows.head(most).with_columns(
        *(pl.col(name).replace(answers) for name in (*named, "answer")),
        pl.col("register").replace(words.section("register_word")),
        pl.col("holds").replace(sources),
    )
    labels = words.heads("invoice_key") | {name: sources[name] for name in named}
    labels |= {"register": words.term("table", "register")} | words.heads("holds", "answer")
    return table(page.safe(shown), labels=labels, note=first_of(words, most, rows.height))
