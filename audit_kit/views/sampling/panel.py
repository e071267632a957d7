"""A sample drawn in JupyterLab: its terms in fields, what is drawn in a table, the workbook saved where you stand."""

from __future__ import annotations

from decimal import Decimal, InvalidOperation
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

import ipywidgets as w
import polars as pl

from audit_kit.analysis.sampling import Request, Sample, draw
from audit_kit.core.errors import AuditError, RequestError
from audit_kit.core.files import shown_path
from audit_kit.rules.sampling.selection import METHODS
from audit_kit.views.show.tables import table

if TYPE_CHECKING:
    from collections.abc import Callable

    from audit_kit.views.show.page import Page

MOST_SHOWN = 50
_WIDE = w.Layout(width="300px")


def sampling_panel(page: Page, write: Callable[..., None]) -> SamplingPanel:
    """Return the panel for the page's engagement and period; `write` puts a sample into a workbook at a path."""
    return SamplingPanel(page, write)


class SamplingPanel(w.VBox):  # type: ignore[misc]  # ipywidgets has no types
    """The terms of a sample, what is drawn under them, and a button that saves it as a workbook to fill in."""

    def __init__(self, page: Page, write: Callable[..., None]) -> None:
        """Lay the fields out; nothing is drawn before it is asked for."""
        self._page, self._write, words = page, write, page.words
        self.sample: Sample | None = None
        style = {"description_width": "120px"}
        methods = [(words(f"sampling_methods.{name}"), name) for name in METHODS]
        self.method = w.Dropdown(options=methods, description=words("sampling_panel.method"), layout=_WIDE, style=style)
        self.seed, self.tolerable, self.size, self.confidence = (
            w.Text(value=value, description=words(f"sampling_panel.{name}"), layout=_WIDE, style=style)
            for name, value in (("seed", "1"), ("tolerable", ""), ("size", ""), ("confidence", "0.95"))
        )
        self.draw = w.Button(description=words("sampling_panel.draw"), icon="random")
        self.save = w.Button(description=words("sampling_panel.save"), icon="download", disabled=True)
        self.told, self.table, self.saved = w.HTML(), w.HTML(), w.HTML()
        self.draw.on_click(lambda _: self.show())
        self.save.on_click(lambda _: self.keep())
        fields = w.HBox([self.method, self.seed, self.tolerable, self.size, self.confidence])
        fields.layout.flex_flow = "row wrap"
        super().__init__([fields, w.HBox([self.draw, self.save, self.saved]), self.told, self.table])

    def show(self) -> None:
        """Draw under the present terms, and show it; or say why not."""
        words = self._page.words
        try:
            self.sample = draw(self._page.whole.engagement, self._asked())
        except AuditError as error:
            self.sample, self.save.disabled, self.table.value = None, True, ""
            self.told.value = escape(error.said(self._page.lang))
            return
        record, rows = self.sample.record, self.sample.rows
        said = words(
            "sampling.printed",
            out=words("sampling_panel.title"),
            method=words(f"sampling_methods.{record['method']}"),
            drawn=words.count(rows.height),
            rows=words.count(record["population"]["rows"]),
            yuan=words.yuan(Decimal(record["population"]["cents"]) / 100),
            seed=record["seed"],
        )
        self.told.value, self.save.disabled, self.saved.value = escape(said), False, ""
        shown = self._page.safe(rows.head(MOST_SHOWN)).with_columns(
            book=(pl.col("cents").cast(pl.Decimal(20, 2)) / 100).cast(pl.Decimal(18, 2))
        )
        names = [
            name
            for name in ("invoice_key", "issued_at", "buyer_name", "source_file", "source_row")
            if name in shown.columns
        ]
        labels = {name: words(f"sampling.{name}") for name in (*names, "book")}
        self.table.value = table(shown, labels=labels, money=["book"]).as_raw_html()

    def keep(self) -> None:
        """Save what was drawn as a workbook in the folder of the notebook."""
        if self.sample is None:
            return
        path = Path(f"sample-{self._page.month}-{self.sample.record['seal'][:8]}.xlsx")
        try:
            self._write(self.sample, path, lang=self._page.lang)
        except AuditError as error:
            self.saved.value = escape(error.said(self._page.lang))
            return
        self.saved.value = escape(self._page.words("sampling_panel.saved", file=shown_path(path)))

    def _asked(self) -> Request:
        size = self.size.value.strip()
        if size and not size.isdecimal():
            raise RequestError("error_sampling.size", value=size)
        tolerable, confidence = _number(self.tolerable.value), _number(self.confidence.value)
        return Request(
            method=self.method.value,
            seed=self.seed.value,
            tolerable=tolerable,
            size=int(size) if size else None,
            confidence=float(confidence or 0),
            month=None if self._page.start is None else self._page.month,
        )


def _number(text: str) -> Decimal | None:
    """Return a number as it is typed; null where the field is empty."""
    if not text.strip():
        return None
    try:
        return Decimal(text.replace(",", "").replace("，", "").strip())
    except InvalidOperation:
        raise RequestError("error_sampling.no_number", value=text) from None
