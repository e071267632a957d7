"""The basket in the lab: what is kept, with note and judgement for each or all, and the way out as a working paper."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, Any

import ipywidgets as w
import polars as pl

from audit_kit.analysis.exploration_log import first_broken, lines, note
from audit_kit.core.errors import AuditError
from audit_kit.core.files import shown_path
from audit_kit.views.grid.table_grid import PLACE, Grid, head_of
from audit_kit.views.workbench.basket import JUDGEMENTS, OPEN, ROWS, Basket

if TYPE_CHECKING:
    from collections.abc import Mapping

    from audit_kit.views.show.page import Page
    from audit_kit.views.workbench.story import Papers

LISTED = (
    "judgement", "note", "invoice_key", "level", "cause", "issued_at", "amount", "buyer_name", "evidence", "who", "at",
)  # fmt: skip
ACTIONS = ("filter", "keep", "judge", "remove", "working_paper", "trace", "problem_report", "what_if")
MOST_LOGGED = 12
_LINE = w.Layout(flex_flow="row wrap")


class BasketPanel(w.VBox):  # type: ignore[misc]  # ipywidgets has no types
    """The rows of the basket in a table, with what may be said of them."""

    def __init__(self, page: Page, basket: Basket, papers: Papers | None = None) -> None:
        """Show what the basket holds now."""
        self._page, self._papers, self.basket, words = page, papers, basket, page.words
        judgements = [(words(f"judgement.{name}"), name) for name in (OPEN, *JUDGEMENTS)]
        self.note = w.Text(
            description=words("basket.note"), placeholder=words("basket.note_hint"), layout=w.Layout(width="420px")
        )
        self.judgement = w.Dropdown(options=judgements, description=words("basket.judgement"))
        wide = w.Layout(width="auto")
        self.set, self.remove, self.export = (
            w.Button(description=words(f"basket.{name}"), layout=wide) for name in ("set", "remove", "export")
        )
        self.set.on_click(self._set)
        self.remove.on_click(self._remove)
        self.export.on_click(self._export)
        self.head, self.said, self.logged = w.HTML(), w.HTML(), w.HTML()
        ours = {"level": "head.severity", "note": "basket.note", "judgement": "basket.judgement"}
        ours |= {"who": "basket.who", "at": "basket.at"}
        heads = [
            head_of(name, words(ours.get(name, f"head.{name}")), ROWS[name], is_money=name == "amount")
            for name in LISTED
        ]
        self.grid = Grid(heads, places=0, words=words, opens="invoice_key")
        self.grid.when_filtered = self._list
        self._kept = pl.DataFrame(schema=ROWS)
        line = w.Box([self.note, self.judgement, self.set, self.remove], layout=_LINE)
        out = w.Box([self.export, self.said], layout=_LINE)
        super().__init__([self.head, line, self.grid, out, self.logged])
        self.refresh()

    def keep(self, rows: pl.DataFrame, *, source: str, filters: Mapping[str, str]) -> None:
        """Put rows of a panel into the basket, with the note and judgement that stand there."""
        lot = self.basket.keep(
            rows,
            source=source,
            period=self._page.month,
            filters=filters,
            fingerprint=self._page.whole.engagement.fingerprint(),
            note=self.note.value.strip(),
            judgement=self.judgement.value,
        )
        self._note("keep", lot.rows, filters)
        self.refresh()
        yuan = self._page.words.yuan(pl.Series([lot.yuan]).cast(pl.Decimal(18, 2))[0])
        self._say("kept", rows=self._page.words.count(lot.rows), yuan=yuan)

    def refresh(self) -> None:
        """Show what the basket holds now, also what another notebook put there."""
        words = self._page.words
        self._kept = self.basket.rows
        total = words.yuan(self._kept["amount"].sum())
        title = words("basket.title", rows=words.count(self._kept.height), yuan=total)
        empty = "" if self._kept.height else f"<br>{escape(words('basket.empty'))}"
        self.head.value = f"<b>{escape(title)}</b>{empty}"
        self.export.disabled = self._kept.is_empty() or self._papers is None
        self.set.disabled = self.remove.disabled = self._kept.is_empty()
        self._list(places=self._kept.height)
        found = lines(self.basket.engagement)
        broken = first_broken(found)
        chain = words("log.whole") if broken is None else words("log.broken", line=broken)
        said = escape(f"{words('log.title', lines=words.count(len(found)))} {chain}")
        latest = "".join(f"<li>{escape(self._told(line))}</li>" for line in reversed(found[-MOST_LOGGED:]))
        self.logged.value = f"{said}<details><summary>{escape(words('log.last'))}</summary><ul>{latest}</ul></details>"

    def _told(self, line: Mapping[str, Any]) -> str:
        """Return a line of the log as a person reads it; one that is none stands as it is."""
        words = self._page.words
        if line.get("action") not in ACTIONS:
            return str(line.get("broken", line))
        filters = words("answer.comma").join(
            f"{name} {value}" for name, value in dict(line.get("filters") or {}).items()
        )
        counts = words("answer.comma").join(words.count(count) for count in dict(line.get("counts") or {}).values())
        at = str(line.get("at"))[:19].replace("T", " ")
        return words("log.line", at=at, action=words(f"log.{line['action']}"), filters=filters, counts=counts or "–")

    def _list(self, *, places: int | None = None) -> None:
        judged = pl.col("judgement").replace(self._page.words.section("judgement"))
        rows = self._kept.with_columns(judged).with_row_index(PLACE)
        self.grid.show(self.grid.kept(rows), places=places)

    def _ids(self) -> pl.Series:
        return self._kept["row_id"][self.grid.ticked]

    def _set(self, _button: object) -> None:
        ids = self._ids() if len(self.grid.ticked) else self._kept["row_id"]
        self.basket.judge(ids, note=self.note.value.strip() or None, judgement=self.judgement.value)
        self._note("judge", len(ids), {"judgement": self.judgement.value, "note": self.note.value.strip()})
        self.refresh()
        self._say("judged", rows=self._page.words.count(len(ids)))

    def _remove(self, _button: object) -> None:
        ids = self._ids()
        if ids.is_empty():
            self._say("nothing")
            return
        self.basket.remove(ids)
        self._note("remove", len(ids), {})
        self.refresh()
        self._say("removed", rows=self._page.words.count(len(ids)))

    def _export(self, _button: object) -> None:
        if self._papers is None:
            return
        try:
            folder = self._papers.working_paper(self._page, self.basket)
        except AuditError as error:
            self.said.value = escape(error.said(self._page.lang))
            return
        self._note("working_paper", self._kept.height, {"folder": folder.name})
        self.refresh()
        self._say("exported", path=shown_path(folder))

    def _note(self, action: str, rows: int, filters: Mapping[str, str]) -> None:
        note(self.basket.engagement, action, filters=filters, counts={"rows": rows})

    def _say(self, key: str, **fields: object) -> None:
        self.said.value = f'<span role="status">{escape(self._page.words(f"basket.{key}", **fields))}</span>'
