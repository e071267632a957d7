"""What if target, threshold or tolerance were others: shown beside the policy's own result, kept nowhere."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from functools import cached_property
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ipywidgets as w
import polars as pl

from audit_kit.analysis.exploration_log import note
from audit_kit.analysis.work import backup_world
from audit_kit.core import outputs
from audit_kit.core.errors import AuditError
from audit_kit.core.files import shown_path
from audit_kit.core.schema import ALL_CHANNELS
from audit_kit.rules.backups import schedule
from audit_kit.rules.backups.state import State
from audit_kit.rules.sync import service_level as service
from audit_kit.views.show.tables import table

if TYPE_CHECKING:
    from audit_kit.core.policy import BackupPolicy, SyncPolicy
    from audit_kit.views.show.page import Page

BY_AGE = ("late", "lost")
MEASURES = ("judged", "late", "share", "merely_late", "lost", "slots_ok", "slots_late", "slots_missing")
_WIDE = w.Layout(width="430px")
_STYLE = {"description_width": "170px"}


@dataclass(frozen=True)
class Tried:
    """What a policy gives: invoices judged and late, merely late and lost, backup slots in time, late and missing."""

    judged: float
    late: float
    share: float | None
    merely_late: int
    lost: int
    slots_ok: int
    slots_late: int
    slots_missing: int


class WhatIf(w.VBox):  # type: ignore[misc]  # ipywidgets has no types
    """Three sliders, and a table of what the policy gives and what they would; a button writes them down on request."""

    def __init__(self, page: Page) -> None:
        """Lay the sliders out at the policy's values."""
        self._page, words = page, page.words
        policy = page.whole.engagement.policy
        self._sync, self._backup = policy.sync, policy.backup
        self.hours = self._slider("target_hours", policy.sync.target_hours, 1, max(168, policy.sync.target_hours), 1)
        self.threshold = self._slider("late_threshold", policy.sync.late_threshold, 0.05, 0.95, 0.05)
        minutes = policy.backup.tolerance_minutes
        self.tolerance = self._slider("tolerance_minutes", minutes, 0, max(240, minutes), 5)
        self.result, self.said = w.HTML(), w.HTML()
        self.back = w.Button(description=words("what_if.back"))
        self.write = w.Button(description=words("what_if.write"), layout=w.Layout(width="auto"))
        for slider in (self.hours, self.threshold, self.tolerance):
            slider.observe(self._follow, names="value")
        self.back.on_click(self._reset)
        self.write.on_click(self._write)
        heading = w.HTML(f"<b>{escape(words('what_if.title'))}</b><br>{escape(words('what_if.note'))}")
        buttons = w.Box([self.back, self.write, self.said], layout=w.Layout(flex_flow="row wrap"))
        super().__init__([heading, self.hours, self.threshold, self.tolerance, self.result, buttons])
        self._follow()

    @property
    def policies(self) -> tuple[SyncPolicy, BackupPolicy]:
        """The policies as the sliders have them."""
        sync = replace(self._sync, target_hours=self.hours.value, late_threshold=self.threshold.value)
        return sync, replace(self._backup, tolerance_minutes=self.tolerance.value)

    def tried(self, sync: SyncPolicy, backup: BackupPolicy) -> Tried:
        """Return what policies give for the period of the page."""
        page = self._page
        told = service.of_delays(page.analysis.observations, page.analysis.findings)
        level = service.service_level(told, policy=sync, taken_at=page.whole.taken_at, period=page.month)
        level = level.filter(pl.col("channel") == ALL_CHANNELS)
        row: dict[str, Any] = level.row(0, named=True) if level.height else {"issued": 0, "used": 0, "share": None}
        aged = page.analysis.findings.filter(pl.col("cause").is_in(BY_AGE))["probability_late"].drop_nulls()
        merely = int((aged >= sync.late_threshold).sum())
        runs, world = self._state.runs, self._state.world
        slots = schedule.slots(runs, schedule.plans(runs, world.schedule, backup), self._state.now)
        states = self._of_period(slots)["state"].cast(pl.String).to_list()
        counts = (states.count(state) for state in ("ok", "late", "missing"))
        return Tried(row["issued"], row["used"], row["share"], merely, len(aged) - merely, *counts)

    @cached_property
    def _state(self) -> State:
        work = self._page.whole
        return State(backup_world(work.engagement, work.ledger, work.taken_at))

    @cached_property
    def _now(self) -> Tried:
        return self.tried(self._sync, self._backup)

    def _of_period(self, slots: pl.DataFrame) -> pl.DataFrame:
        start, end = self._page.start, self._page.end
        slots = slots.filter(pl.col("due") >= start) if start else slots
        return slots.filter(pl.col("due") < end) if end else slots

    def _slider(self, key: str, value: float, least: float, most: float, step: float) -> w.FloatSlider:
        return w.FloatSlider(
            value=value,
            min=least,
            max=most,
            step=step,
            description=self._page.words(f"what_if.{key}"),
            continuous_update=False,
            layout=_WIDE,
            style=_STYLE,
        )

    def _follow(self, _change: object = None) -> None:
        words, now, then = self._page.words, self._now, self.tried(*self.policies)
        lines = [
            {
                "measure": words(f"what_if.{name}"),
                "policy": _figure(name, old),
                "tried": _figure(name, new),
                "change": change,
            }
            for name in MEASURES
            for old, new in [(getattr(now, name), getattr(then, name))]
            for change in [_changed(name, old, new)]
        ]
        labels = {name: words(f"what_if.{name}") for name in ("measure", "policy", "tried", "change")}
        self.result.value = table(pl.DataFrame(lines), labels=labels, right=["policy", "tried", "change"]).as_raw_html()
        self.said.value = ""

    def _reset(self, _button: object) -> None:
        self.hours.value, self.threshold.value = self._sync.target_hours, self._sync.late_threshold
        self.tolerance.value = self._backup.tolerance_minutes

    def _write(self, _button: object) -> None:
        """Write the settings beside the notebook, as they would stand in audit.toml; the engagement is not touched."""
        words, (sync, backup) = self._page.words, self.policies
        path = Path.cwd() / f"what-if-{datetime.now():%Y%m%d-%H%M%S-%f}.toml"  # noqa: DTZ005  a file's name
        settings = {"target_hours": sync.target_hours, "late_threshold": sync.late_threshold}
        text = "[policy.sync]\n" + "".join(f"{name} = {value:g}\n" for name, value in settings.items())
        text += f"\n[policy.backup]\ntolerance_minutes = {backup.tolerance_minutes:g}\n"
        try:
            with outputs.writing(path) as made:
                made.write_text(text, encoding="utf-8")
        except AuditError as error:
            self.said.value = escape(error.said(self._page.lang))
            return
        self.said.value = escape(words("what_if.written", path=shown_path(path)))
        asked = {**settings, "tolerance_minutes": backup.tolerance_minutes}
        note(
            self._page.whole.engagement.folder, "what_if", filters={name: f"{value:g}" for name, value in asked.items()}
        )


def _figure(name: str, value: float | None) -> str:
    if value is None:
        return "–"
    return f"{value:.2%}" if name == "share" else f"{value:,.0f}"


def _changed(name: str, old: float | None, new: float | None) -> str:
    if old is None or new is None or old == new:
        return "–"
    return f"{new - old:+.2%}" if name == "share" else f"{new - old:+,.0f}"
