"""The response as part of a drill: whom to tell, in which order, and the problem report; and the three questions."""

from __future__ import annotations

from html import escape
from typing import Any

import ipywidgets as w

from audit_kit import resources
from audit_kit.core.words import Words
from audit_kit.training.drill.debrief import QUESTIONS
from audit_kit.training.drill.scenarios import RECIPIENTS

FIGURES = ("count", "amount")
_WIDE = w.Layout(width="640px")
_STYLE = {"description_width": "180px"}


class ResponseForm(w.VBox):  # type: ignore[misc]  # ipywidgets has no types
    """Buttons that name the recipients in the order in which they are pressed, and a field for each part."""

    def __init__(self, *, lang: str) -> None:
        """Lay the form out, empty."""
        self._words = words = Words(lang)
        self._tell: list[str] = []
        self.told = w.HTML()
        self.recipients = {one: w.Button(description=words(f"recipient.{one}")) for one in RECIPIENTS}
        for one, button in self.recipients.items():
            button.layout.width = "auto"
            button.on_click(lambda _button, one=one: self._add(one))
        self.again = w.Button(description=words("drill.clear"))
        self.again.on_click(lambda _button: self._add(None))
        parts = resources.load("drills")["report"]["parts"]
        self.parts = {
            part: w.Text(description=words(f"drill_report.{part}"), style=_STYLE, layout=_WIDE) for part in parts
        }
        heading = w.HTML(f"<b>{escape(words('drill.response'))}</b>")
        row = w.Box([*self.recipients.values(), self.again], layout=w.Layout(flex_flow="row wrap"))
        super().__init__([heading, row, self.told, *self.parts.values()])

    @property
    def tell(self) -> tuple[str, ...]:
        """Whom to tell, in order."""
        return tuple(self._tell)

    @property
    def report(self) -> dict[str, Any]:
        """What is written of the report; figures as numbers where they are, examples as a list."""
        said: dict[str, Any] = {part: field.value.strip() for part, field in self.parts.items() if field.value.strip()}
        for part in FIGURES:
            try:
                said[part] = float(said[part].replace(",", "")) if part in said else None
            except ValueError:
                continue
        if "examples" in said:
            said["examples"] = [text.strip() for text in said["examples"].replace("，", ",").split(",") if text.strip()]
        return {part: value for part, value in said.items() if value is not None}

    def _add(self, one: str | None) -> None:
        if one is None:
            self._tell.clear()
        elif one not in self._tell:
            self._tell.append(one)
        names = [self._words(f"recipient.{name}") for name in self._tell]
        self.told.value = escape(self._words("drill.then").join(names))


class FeedbackForm(w.VBox):  # type: ignore[misc]  # ipywidgets has no types
    """The three questions of the debrief."""

    def __init__(self, *, lang: str) -> None:
        """Lay the questions out."""
        words = Words(lang)
        self.fields = {one: w.Textarea(rows=2, layout=_WIDE) for one in QUESTIONS}
        self.save = w.Button(description=words("drill.save"))
        self.saved = w.HTML()
        rows: list[Any] = []
        for one, field in self.fields.items():
            rows += [w.HTML(escape(words(f"drill_question.{one}"))), field]
        super().__init__([*rows, w.HBox([self.save, self.saved])])

    @property
    def said(self) -> dict[str, str]:
        """What is written, by question."""
        return {one: field.value.strip() for one, field in self.fields.items()}
