"""An invoice's story as a panel: what happened when, numbers that are nearly the same, its cause, and what is next."""

from __future__ import annotations

from difflib import SequenceMatcher
from functools import cached_property
from html import escape
from typing import TYPE_CHECKING, Protocol

import altair as alt
import ipywidgets as w
import polars as pl

from audit_kit.analysis.exploration_log import note
from audit_kit.core import schema
from audit_kit.core.errors import AuditError
from audit_kit.core.files import shown_path
from audit_kit.core.identity import with_key
from audit_kit.core.words import Words
from audit_kit.views import trace
from audit_kit.views.show import theme
from audit_kit.views.show.parts import days_axis, nothing, title, tooltips
from audit_kit.views.show.tables import badge, table

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from audit_kit.views.show.page import Page
    from audit_kit.views.show.parts import Chart
    from audit_kit.views.workbench.basket import Basket

MOST_CANDIDATES = 8
_LINE = w.Layout(flex_flow="row wrap")


class Papers(Protocol):
    """What leaves the lab as a file: the room that writes it lies above this one, so a notebook hands it in."""

    def recipients(self, lang: str) -> Mapping[str, str]:
        """Return to whom a problem report may go, with the word for it."""

    def problem_report(self, page: Page, finding_id: str, *, to: str) -> Path:
        """Write a problem report about a finding, and return its folder."""

    def working_paper(self, page: Page, basket: Basket) -> Path:
        """Write the basket as a working paper, and return its folder."""


class StoryPanel(w.VBox):  # type: ignore[misc]  # ipywidgets has no types
    """A number to type, and what is known of it; `show` does what a click on a number in a table does."""

    def __init__(self, page: Page, papers: Papers | None = None) -> None:
        """Lay the panel out, empty."""
        self._page, self._papers = page, papers
        words = page.words
        self._finding = ""
        self.number = w.Text(
            description=words("story_panel.number"),
            placeholder=words("story_panel.hint"),
            continuous_update=False,
            layout=w.Layout(width="380px"),
        )
        self.go = w.Button(description=words("story_panel.go"))
        recipients = papers.recipients(page.lang) if papers else {}
        self.to = w.Dropdown(options=[(label, name) for name, label in recipients.items()], layout=_LINE)
        self.report = w.Button(description=words("story_panel.report"), disabled=True, layout=w.Layout(width="auto"))
        self.head, self.told, self.said = w.HTML(), w.HTML(), w.HTML()
        self.chart = alt.JupyterChart(
            nothing("", words("story_panel.none")), embed_options=theme.embed_options(page.lang)
        )
        self.number.observe(lambda _change: self.show(self.number.value), names="value")
        self.go.on_click(lambda _button: self.show(self.number.value))
        self.report.on_click(self._report)
        heading = w.HTML(f"<b>{escape(words('story_panel.title'))}</b>")
        sending = [self.to, self.report] if recipients else []
        asked = w.Box([self.number, self.go, *sending, self.said], layout=_LINE)
        self.told.layout = w.Layout(max_height="420px", overflow="auto")
        super().__init__([heading, asked, self.head, self.chart, self.told])

    def show(self, number: str) -> None:
        """Tell the story of a number, however it is typed; one that nobody knows is said to be that."""
        if number and number != self.number.value:
            self.number.value = number  # which shows it
            return
        self._finding, self.said.value = "", ""
        try:
            story = trace.trace(self._page.whole, number, lang=self._page.lang, held=self._held)
        except AuditError as error:
            self.head.value, self.told.value = escape(error.said(self._page.lang)), ""
            self.chart.chart = nothing("", self._page.words("story_panel.none"))
            self.report.disabled = True
            return
        keys = trace.keys_of(self._held, number)
        story = self._safe(story)
        self.head.value = self._head(keys[0]) if len(keys) == 1 else escape(self._page.words("story_panel.several"))
        self.chart.chart = story_line(story, lang=self._page.lang)
        self.told.value = self._table(story)
        self.report.disabled = not self._finding
        note(self._page.whole.engagement.folder, "trace", filters={"number": number}, counts={"rows": story.height})

    @cached_property
    def _held(self) -> trace.Held:
        return trace.held_in(self._page.whole)

    def _safe(self, story: pl.DataFrame) -> pl.DataFrame:
        if not self._page.redact:
            return story
        return self._page.safe(story.rename({"what": "sentence"})).rename({"sentence": "what"})

    def _head(self, key: str) -> str:
        words, page = self._page.words, self._page
        found = pl.concat(
            [page.whole.findings, page.whole.backup_findings, page.whole.response_findings], how="diagonal_relaxed"
        ).filter(pl.col("invoice_key") == key)
        found = found.sort(schema.by_severity(), maintain_order=True)
        lines = [f"<b>{escape(words('story_panel.of', number=key))}</b>"]
        near = nearly_same(page, key)
        if near:
            listed = "<br>".join(marked(key, other) for other in near)
            lines.append(f"{escape(words('story_panel.candidates'))}<br><code>{listed}</code>")
        for row in page.safe(found).iter_rows(named=True):
            self._finding = self._finding or row["finding_id"]
            severity = badge(str(row["severity"]), words.term("severities", str(row["severity"])))
            late = row["probability_late"]
            chance = escape(words("story_panel.chance", share=words.share(late))) if late is not None else ""
            step = escape(words("story_panel.next", step=row["next_step"] or words.next_step(row["cause"])))
            cause, seen = escape(words.cause(row["cause"])), escape(row["evidence"] or "")
            lines.append(f"{severity} <b>{cause}</b> {chance}<br>{seen}<br>{step}")
        if found.is_empty():
            lines.append(escape(words("story_panel.no_finding")))
        return "".join(f'<div style="margin:4px 0;line-height:1.5">{line}</div>' for line in lines)

    def _table(self, story: pl.DataFrame) -> str:
        words = self._page.words
        shown = story.with_columns(
            at=pl.col("at").dt.strftime("%Y-%m-%d %H:%M").fill_null(words("unit.unknown")),
            place=pl.concat_str("source_file", "source_row", separator=":", ignore_nulls=True).replace("", None),
        )
        labels = {name: words(f"story_panel.{name}") for name in ("at", "source", "what", "place")}
        made: str = table(shown, labels=labels, widths={"at": "120px", "source": "110px", "place": "24%"}).as_raw_html()
        return made

    def _report(self, _button: object) -> None:
        words = self._page.words
        if self._papers is None or not self._finding:
            return
        self.said.value = escape(words("story_panel.writing"))
        try:
            folder = self._papers.problem_report(self._page, self._finding, to=self.to.value)
        except AuditError as error:
            self.said.value = escape(error.said(self._page.lang))
            return
        self.said.value = escape(words("story_panel.written", path=shown_path(folder)))
        note(
            self._page.whole.engagement.folder,
            "problem_report",
            filters={"finding": self._finding, "to": self.to.value},
        )


def nearly_same(page: Page, key: str) -> list[str]:
    """Return the platform's numbers that matching took, or could have taken, for a number of the ledger."""
    work = page.whole
    mine = work.matches.filter(pl.col("invoice_key") == key)
    rows = pl.concat([mine["platform_row"], mine["candidates"].explode()]).drop_nulls().unique().sort()
    others = with_key(work.platform[rows.head(MOST_CANDIDATES)])["invoice_key"].drop_nulls()
    return [other for other in others.unique(maintain_order=True) if other != key]


def marked(number: str, other: str) -> str:
    """Return another number as HTML, with what differs marked."""
    parts = []
    for tag, _, _, begin, end in SequenceMatcher(None, number, other, autojunk=False).get_opcodes():
        text = escape(other[begin:end])
        parts.append(text if tag == "equal" else f"<mark>{text or '·'}</mark>")
    return "".join(parts)


def story_line(story: pl.DataFrame, *, lang: str = "zh") -> Chart:
    """Draw a story on an axis of time, one lane a source; what has no time is left to the table."""
    words, dated = Words(lang), story.filter(pl.col("at").is_not_null())
    if dated.is_empty():
        return nothing("", words("story_panel.undated"))
    data = dated.select("at", "source", "what").with_columns(place=pl.int_range(pl.len()))
    base = alt.Chart(data, width=640, height=alt.Step(24), title=title(words("story_panel.line")))
    x = alt.X("at:T", title=None, axis=days_axis(words))
    y = alt.Y("source:N", title=None, sort=alt.EncodingSortField("place", op="min"), axis=alt.Axis(labelLimit=160))
    points = base.mark_point(size=80).encode(
        x,
        y,
        color=alt.Color("source:N", legend=None),
        tooltip=tooltips(words, "at:T", ("source:N", "story_panel.source"), ("what:N", "story_panel.what")),
    )
    line = base.mark_line(color=theme.GREY, strokeWidth=1).encode(x, y, order="place:Q")
    layers: alt.LayerChart = line + points
    return layers
