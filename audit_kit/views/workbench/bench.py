"""The workbench of a notebook: its panel, the basket, an invoice's story; what is done there goes to the log."""

from __future__ import annotations

from typing import TYPE_CHECKING

import ipywidgets as w

from audit_kit.analysis.exploration_log import note
from audit_kit.views.workbench.basket import Basket
from audit_kit.views.workbench.basket_panel import BasketPanel
from audit_kit.views.workbench.story import StoryPanel

if TYPE_CHECKING:
    import polars as pl

    from audit_kit.views.show.page import Page
    from audit_kit.views.show.panel import Panel
    from audit_kit.views.workbench.story import Papers

KEEP = "keep"


class Bench(w.VBox):  # type: ignore[misc]  # ipywidgets has no types
    """A panel whose rows can be kept, judged, followed to their story and taken away as papers."""

    def __init__(self, page: Page, panel: Panel, papers: Papers | None = None) -> None:
        """Put the parts under each other; `papers` writes files, null = nothing can be taken away."""
        self._page, self.panel = page, panel
        self._folder = page.whole.engagement.folder
        self.basket = BasketPanel(page, Basket(self._folder), papers)
        self.story = StoryPanel(page, papers)
        panel.on_action(self._act, {KEEP: page.words("basket.keep")})
        panel.watchers.append(self._filtered)
        self.basket.grid.when_acted, self.basket.grid.can_open = self._open_kept, True
        self.basket.grid.again()
        super().__init__([panel, self.basket, self.story])

    def _act(self, action: str, rows: pl.DataFrame) -> None:
        if action == KEEP:
            self.basket.keep(rows, source=self.panel.name, filters=self.panel.told)
        elif action == "open" and rows.height:
            self._open(rows)

    def _open(self, rows: pl.DataFrame) -> None:
        number = next((rows[name][0] for name in ("invoice_key", "number") if name in rows.columns), None)
        if number:
            self.story.show(str(number))

    def _open_kept(self, _action: str, places: pl.Series) -> None:
        self._open(self.basket.basket.rows[places])

    def _filtered(self) -> None:
        note(self._folder, "filter", filters=self.panel.told, counts={"rows": self.panel.height})


def bench(page: Page, panel: Panel, papers: Papers | None = None) -> Bench:
    """Return the workbench of a notebook."""
    return Bench(page, panel, papers)
