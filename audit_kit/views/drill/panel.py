"""The trainee's panel: hypothesis first, then causes from a filter, the response, a hint, the score and the debrief.

It needs a kernel, so it stands in a cell tagged `interactive`. It holds HTML and a chart widget, never
ipywidgets.Output, which can hang a batch run.
"""

from __future__ import annotations

from html import escape
from pathlib import Path
from tempfile import mkdtemp
from typing import TYPE_CHECKING

import altair as alt
import ipywidgets as w
import polars as pl
from IPython.display import Markdown

from audit_kit.core.errors import AuditError
from audit_kit.core.words import Words
from audit_kit.training.drill import answer_sheet
from audit_kit.training.drill import drill as drills
from audit_kit.training.drill.answer_sheet import Answers, Named, read_answers
from audit_kit.training.drill.making import ANSWERS, LABELS
from audit_kit.views.drill import charts, lookup
from audit_kit.views.drill.response_form import FeedbackForm, ResponseForm
from audit_kit.views.show import tables, theme

if TYPE_CHECKING:
    from audit_kit.training.drill.score import Score
    from audit_kit.views.show.panel import Panel

_WIDE, _FULL = w.Layout(width="460px"), w.Layout(width="640px")


def open_drill(folder: str, *, seed: int, level: int, trainer: str = "", lang: str = "zh") -> drills.Drill:
    """Return the drill in a folder, made if it is not there; without a folder one for demonstration, in a new place.

    Raises:
        RequestError: see `drills.new`.
    """
    theme.setup(lang)
    place = folder or Path(mkdtemp(prefix="audit-kit-drill-")) / "drill"
    return drills.opened(place, seed=seed, level=level, trainer=trainer or None)


def brief(drill: drills.Drill, *, lang: str = "zh") -> Markdown:
    """Return the brief as a notebook shows it."""
    return Markdown(drills.brief(drill.folder, lang=lang))  # type: ignore[no-untyped-call]  # IPython has no types


def scored(drill: drills.Drill, *, demonstration: bool, lang: str = "zh") -> Score | None:
    """Return the score of the toolkit's own diagnosis, or of the answers in the drill's folder.

    Null where answers are still the sheet that was given, so that running every cell tells no truth before its time,
    and where the truth is not at hand.
    """
    if demonstration:
        return drills.demonstrated(drill, lang=lang)
    path = drill.folder / ANSWERS
    if not drill.has_truth or answer_sheet.is_blank(path, str(answer_sheet.sheet(path).get("drill", ""))):
        return None
    return drills.score(drill.folder, path, lang=lang, trainer=drill.trainer)


def told(score: Score | None, *, lang: str = "zh") -> Markdown:
    """Return the debrief as a notebook shows it; before there is an answer, that there is none yet."""
    text = score.debrief if score else Words(lang)("drill.not_yet")
    return Markdown(text)  # type: ignore[no-untyped-call]  # IPython has no types


class DrillPanel(w.VBox):  # type: ignore[misc]  # ipywidgets has no types
    """A drill played: hypothesis, then the invoices, causes with confidence, the response, the score, three questions.

    `answers` is what it says now, `score` the last score or null. What comes after the hypothesis is hidden until that
    is written. Where the truth is not at hand, answers are handed in and the trainer scores them.
    """

    def __init__(self, drill: drills.Drill, *, lang: str = "zh") -> None:
        """Lay the form out; the causes are those of the brief."""
        self._drill, self._lang, self._words = drill, lang, Words(lang)
        self._named: dict[str, Named] = {}
        self._labelled: dict[str, str] = {}
        self._rows: pl.DataFrame | None = None
        self._bench: Panel | None = None
        self._wrote = False
        self.score: Score | None = None
        alt.JupyterChart.enable_offline(offline=True)
        self.hypothesis = w.Textarea(placeholder=self._words("drill.hypothesis_hint"), rows=2, layout=_FULL)
        self.begin = w.Button(description=self._words("drill.begin"), button_style="primary")
        self.begin.on_click(self._begin)
        self.listed, self.told, self.counted, self.first = w.HTML(), w.HTML(), w.HTML(), w.HTML()
        self.response, self.feedback = ResponseForm(lang=lang), FeedbackForm(lang=lang)
        self.feedback.save.on_click(self._keep_feedback)
        self.place, self.result = w.VBox(), w.VBox()
        self._fields(self._words)
        opening = [w.HTML(f"<b>{escape(self._words('drill.hypothesis'))}</b>"), self.hypothesis, self.begin, self.first]
        self.rest = w.VBox(self._answering(), layout=w.Layout(display="none"))
        super().__init__([*opening, self.rest])

    def _fields(self, words: Words) -> None:
        """Make the fields for a cause, and the buttons."""
        options = [(words.cause(cause), cause) for cause in drills.menu()]
        self.cause = w.Dropdown(options=options, description=words("drill.cause"), layout=_WIDE)
        self.confidence = w.FloatSlider(
            value=0.7, min=0.05, max=1.0, step=0.05, description=words("drill.confidence"), layout=_WIDE
        )
        style = {"description_width": "initial"}
        self.evidence = w.Text(description=words("drill.evidence"), style=style, layout=_WIDE)
        labels = str(self._drill.folder / LABELS)
        self.labels = w.Text(value=labels, description=words("drill.labels"), layout=w.Layout(width="640px"))
        acts = {
            "label": self._label,
            "add": self._add,
            "clear": self._clear,
            "hint": self._hint,
            "hand_in": self._hand_in,
            "score": self._score,
        }
        self.buttons = {name: w.Button(description=words(f"drill.{name}")) for name in acts}
        self.buttons["label"].layout.width = "auto"
        for name, act in acts.items():
            self.buttons[name].on_click(act)
        self.buttons["score"].disabled = self.buttons["hint"].disabled = not self._drill.has_truth

    def _answering(self) -> list[w.Widget]:
        """Return what comes after the hypothesis, in order."""
        buttons = self.buttons
        naming = [
            self.cause,
            self.confidence,
            self.evidence,
            w.HBox([buttons["label"], buttons["add"], buttons["clear"]]),
        ]
        handing_in = w.HBox([buttons["hint"], buttons["hand_in"], buttons["score"]])
        heading = w.HTML(f"<b>{escape(self._words('drill.heading'))}</b>")
        parts = [self.place, heading, *naming, self.counted, self.listed, self.labels, self.response, handing_in]
        return [*parts, self.told, self.result]

    @property
    def rows(self) -> pl.DataFrame:
        """Every row of the drill's ledger: see `lookup.ledger_rows`."""
        if self._rows is None:
            self._rows = lookup.ledger_rows(self._drill.engagement, lang=self._lang)
        return self._rows

    @property
    def bench(self) -> Panel:
        """The panel over the invoices on which the sides do not simply agree."""
        if self._bench is None:
            self._bench = lookup.bench(self.rows, lang=self._lang)
        return self._bench

    @property
    def answers(self) -> Answers:
        """What the form says now: hypothesis, named causes, labels of the file and those given here, the response.

        Raises:
            RequestError: the file of labels cannot be read.
        """
        labels = Path(self.labels.value)
        held = self.rows.select("ledger_row", "serial", "key")
        ours = self._wrote and labels == self._drill.folder / LABELS
        read = read_answers(labels, held).labels if labels.is_file() and not ours else Answers().labels
        own = pl.DataFrame(list(self._labelled.items()), schema={"serial": pl.String, "cause": pl.String}, orient="row")
        mine = own.join(held, on="serial", maintain_order="left").select("ledger_row", "cause")
        both = pl.concat([mine, read]).unique("ledger_row", keep="first", maintain_order=True)
        return Answers(
            hypothesis=self.hypothesis.value.strip(),
            named=tuple(self._named.values()),
            labels=both,
            tell=self.response.tell,
            report=self.response.report,
        )

    def _begin(self, _button: object) -> None:
        if not self.hypothesis.value.strip():
            self.first.value = escape(self._words("drill.hypothesis_first"))
            return
        self.first.value, self.begin.disabled, self.hypothesis.disabled = "", True, True
        drills.start(self._drill.folder, trainer=self._drill.trainer)
        self.place.children = [self.bench]
        self.rest.layout.display = ""

    def _label(self, _button: object) -> None:
        """Give the chosen cause to every invoice that passes the filters, the first three as evidence."""
        chosen = [serial for serial in self.bench.selected["serial"] if serial]
        self._labelled |= dict.fromkeys(chosen, self.cause.value)
        self.evidence.value = ", ".join(chosen[:3])
        said = {"rows": len(chosen), "cause": self._words.cause(self.cause.value), "all": len(self._labelled)}
        self.counted.value = escape(self._words("drill.labelled_now", **said))

    def _add(self, _button: object) -> None:
        evidence = [text.strip() for text in self.evidence.value.replace("，", ",").split(",") if text.strip()]
        cause = self.cause.value
        self._named[cause] = Named(cause=cause, confidence=self.confidence.value, evidence=tuple(evidence))
        self.evidence.value = ""
        self._list()

    def _clear(self, _button: object) -> None:
        self._named.clear()
        self._labelled.clear()
        self.counted.value = ""
        self._list()

    def _list(self) -> None:
        words = self._words
        lines = [
            f"{words.cause(one.cause)} · {one.confidence:.0%} · {', '.join(one.evidence) or '–'}"
            for one in self._named.values()
        ]
        self.listed.value = "<br>".join(escape(line) for line in lines)

    def _hint(self, _button: object) -> None:
        self.told.value = escape(drills.hint(self._drill.folder, lang=self._lang, trainer=self._drill.trainer))

    def _written(self) -> Path:
        """Write the answers into the drill's folder, and return the sheet."""
        answers = self.answers
        path = answer_sheet.write(self._drill.folder, answers, self.rows)
        named = answers.labels.join(self.rows.select("ledger_row", "serial"), on="ledger_row", maintain_order="left")
        self._labelled = {serial: cause for cause, serial in named.select("cause", "serial").iter_rows() if serial}
        self._wrote = True
        return path

    def _hand_in(self, _button: object) -> None:
        try:
            digest = drills.hand_in(self._drill.folder, self._written(), trainer=self._drill.trainer)
        except AuditError as error:
            self.told.value = escape(error.said(self._lang))
            return
        self.told.value = escape(self._words("drill.handed_in", digest=digest))

    def _score(self, _button: object) -> None:
        try:
            self.score = drills.score(self._drill.folder, self._written(), lang=self._lang, trainer=self._drill.trainer)
        except AuditError as error:
            self.told.value = escape(error.said(self._lang))
            return
        said = {name: self._words(f"drill.{name}") for name in ("cause", "true", "labelled", "recall", "precision")}
        rows = charts.shown(self.score, lang=self._lang)
        table = w.HTML(tables.table(rows, labels=said, numbers=["true", "labelled"]).as_raw_html())
        chart = alt.JupyterChart(
            charts.confusion_chart(charts.confusion(self.score), lang=self._lang),
            embed_options=theme.embed_options(self._lang),
        )
        self.told.value = charts.told(self.score)
        self.result.children = [table, chart, self.feedback]

    def _keep_feedback(self, _button: object) -> None:
        try:
            path = answer_sheet.write_feedback(self._drill.folder, self.feedback.said)
        except AuditError as error:
            self.feedback.saved.value = escape(error.said(self._lang))
            return
        self.feedback.saved.value = escape(self._words("drill.saved", file=path.name))
