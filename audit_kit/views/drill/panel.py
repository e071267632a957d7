"""The trainee's panel: name causes with confidence and evidence, take a hint, hand in, read the debrief.

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
from IPython.display import Markdown

from audit_kit.core.errors import AuditError
from audit_kit.core.words import Words
from audit_kit.training.drill import drill as drills
from audit_kit.training.drill.answer_sheet import Answers, Named, read_answers
from audit_kit.views.drill import charts
from audit_kit.views.show import tables, theme

if TYPE_CHECKING:
    from audit_kit.training.drill.scoring import Score

_WIDE = w.Layout(width="460px")


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


def scored(drill: drills.Drill, *, demonstration: bool, lang: str = "zh") -> Score:
    """Return the score of the toolkit's own diagnosis, or of the answers that stand in the drill's folder."""
    if demonstration:
        return drills.demonstrated(drill, lang=lang)
    return drills.score(drill.folder, drill.folder / "answers.toml", lang=lang)


class DrillPanel(w.VBox):  # type: ignore[misc]  # ipywidgets has no types
    """A form for answers; `answers` is what it says now, `score` the last score or null."""

    def __init__(self, drill: drills.Drill, *, lang: str = "zh") -> None:
        """Lay the form out; the causes are those of the brief."""
        self._drill, self._lang, self._words = drill, lang, Words(lang)
        self._named: dict[str, Named] = {}
        self.score: Score | None = None
        alt.JupyterChart.enable_offline(offline=True)
        words = self._words
        options = [(words.cause(cause), cause) for cause in drills.menu()]
        self.cause = w.Dropdown(options=options, description=words("drill.cause"), layout=_WIDE)
        self.confidence = w.FloatSlider(
            value=0.7, min=0.05, max=1.0, step=0.05, description=words("drill.confidence"), layout=_WIDE
        )
        self.evidence = w.Text(
            description=words("drill.evidence"), style={"description_width": "initial"}, layout=_WIDE
        )
        self.labels = w.Text(
            value=str(drill.folder / "labels.csv"), description=words("drill.labels"), layout=w.Layout(width="640px")
        )
        self.buttons = {
            name: w.Button(description=words(f"drill.{name}")) for name in ("add", "clear", "hint", "score")
        }
        for name, act in (("add", self._add), ("clear", self._clear), ("hint", self._hint), ("score", self._score)):
            self.buttons[name].on_click(act)
        self.listed, self.told = w.HTML(), w.HTML()
        self.result = w.VBox()
        heading = w.HTML(f"<b>{escape(words('drill.heading'))}</b>")
        rows = [
            heading,
            self.cause,
            self.confidence,
            self.evidence,
            w.HBox([self.buttons["add"], self.buttons["clear"]]),
        ]
        handing_in = w.HBox([self.buttons["hint"], self.buttons["score"]])
        super().__init__([*rows, self.listed, self.labels, handing_in, self.told, self.result])

    @property
    def answers(self) -> Answers:
        """What the form says now: the named causes, and the labels in the file.

        Raises:
            RequestError: the file of labels cannot be read.
        """
        labels = Path(self.labels.value)
        read = read_answers(labels, drills.rows(self._drill.folder)).labels if labels.is_file() else Answers().labels
        return Answers(named=tuple(self._named.values()), labels=read)

    def _add(self, _button: object) -> None:
        evidence = [text.strip() for text in self.evidence.value.replace("，", ",").split(",") if text.strip()]
        cause = self.cause.value
        self._named[cause] = Named(cause=cause, confidence=self.confidence.value, evidence=tuple(evidence))
        self.evidence.value = ""
        self._list()

    def _clear(self, _button: object) -> None:
        self._named.clear()
        self._list()

    def _list(self) -> None:
        words = self._words
        lines = [
            f"{words.cause(one.cause)} · {one.confidence:.0%} · {', '.join(one.evidence) or '–'}"
            for one in self._named.values()
        ]
        self.listed.value = "<br>".join(escape(line) for line in lines)

    def _hint(self, _button: object) -> None:
        self.told.value = escape(drills.hint(self._drill.folder, lang=self._lang))

    def _score(self, _button: object) -> None:
        try:
            self.score = drills.score(self._drill.folder, self.answers, lang=self._lang)
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
        self.result.children = [table, chart]
