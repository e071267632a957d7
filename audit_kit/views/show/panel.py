"""Panels for JupyterLab: filters with a table and a chart that follow. Thin over `select` and the chart functions.

A panel needs a kernel, so it stands in cells tagged `interactive`, which a report leaves out. It holds HTML and a chart
widget, never ipywidgets.Output (that can hang a batch run).
"""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Any

import altair as alt
import ipywidgets as w
import polars as pl

from audit_kit.core.words import Words
from audit_kit.rules.sync import observations
from audit_kit.rules.sync.service_level import of_delays
from audit_kit.views.backups import charts as backup_charts
from audit_kit.views.missing import charts as missing_charts
from audit_kit.views.overview import charts
from audit_kit.views.show import theme
from audit_kit.views.show.tables import table
from audit_kit.views.sync import charts as sync_charts

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import date

    from audit_kit.views.show.page import Page
    from audit_kit.views.show.parts import Chart

MOST_LISTED = 50
MOST_CHOICES = 200
_WIDTHS = {"cause": "112px", "invoice_key": "172px", "issued_at": "100px", "channel": "66px", "amount": "100px"}
_NARROW = w.Layout(width="210px")


@dataclass(frozen=True, kw_only=True)
class Filters:
    """What a person asked to see. `chosen` maps a column to its value; null anywhere = no restriction.

    Amounts are yuan, both ends included; days are both included. `search` is looked for as plain text, case ignored.
    """

    chosen: Mapping[str, str | None]
    least: float | None = None
    most: float | None = None
    first: date | None = None
    last: date | None = None
    search: str = ""


@dataclass(frozen=True, kw_only=True)
class Columns:
    """Which columns of a panel's rows the filters work on, and which are listed (column to heading)."""

    choices: Mapping[str, str]
    listed: Mapping[str, str]
    searched: tuple[str, ...]
    amount: str | None = None
    day: str | None = None


def select(rows: pl.DataFrame, filters: Filters, columns: Columns) -> pl.DataFrame:
    """Return the rows that pass the filters, in their order. A row without amount or day fails a range on it."""
    kept = [pl.col(name) == value for name, value in filters.chosen.items() if value is not None]
    if columns.amount:
        kept += [pl.col(columns.amount) >= filters.least] if filters.least is not None else []
        kept += [pl.col(columns.amount) <= filters.most] if filters.most is not None else []
    if columns.day:
        kept += [pl.col(columns.day).dt.date() >= filters.first] if filters.first is not None else []
        kept += [pl.col(columns.day).dt.date() <= filters.last] if filters.last is not None else []
    if wanted := filters.search.strip().lower():
        texts = [pl.col(name).cast(pl.String).str.to_lowercase() for name in columns.searched]
        kept.append(pl.any_horizontal(text.str.contains(wanted, literal=True).fill_null(value=False) for text in texts))
    return rows.filter(kept) if kept else rows


class Panel(w.VBox):  # type: ignore[misc]  # ipywidgets has no types
    """Filters over rows, with a sentence, a table of the first 50 and a chart that follow."""

    def __init__(
        self, rows: pl.DataFrame, columns: Columns, draw: Callable[[pl.DataFrame], Chart], *, lang: str = "zh"
    ) -> None:
        """Lay the controls out and show everything; `draw` turns the selected rows into a chart."""
        self._rows, self._columns, self._draw, self._words = rows, columns, draw, Words(lang)
        alt.JupyterChart.enable_offline(offline=True)
        self.choices = {name: self._dropdown(name, heading) for name, heading in columns.choices.items()}
        self.search = w.Text(
            description=self._words("panel.search"),
            placeholder=self._words("panel.search_hint"),
            continuous_update=False,
            layout=w.Layout(width="300px"),
        )
        self.least = self._amount("panel.least")
        self.most = self._amount("panel.most")
        self.first = w.DatePicker(description=self._words("panel.first"), layout=_NARROW)
        self.last = w.DatePicker(description=self._words("panel.last"), layout=_NARROW)
        self.reset = w.Button(description=self._words("panel.reset"), icon="undo")
        self.sentence, self.table = w.HTML(), w.HTML()
        self.chart = alt.JupyterChart(draw(rows), embed_options=theme.embed_options(lang))
        ranges = [self.least, self.most] if columns.amount else []
        ranges += [self.first, self.last] if columns.day else []
        self._controls = [*self.choices.values(), *ranges, self.search]
        for control in self._controls:
            control.observe(self._follow, names="value")
        self.reset.on_click(self._clear)
        line = w.Layout(flex_flow="row wrap")
        heading = w.HTML(f"<b>{escape(self._words('panel.title'))}</b>")
        super().__init__(
            [heading, w.Box([*self._controls, self.reset], layout=line), self.sentence, self.chart, self.table]
        )
        self._list(rows)

    @property
    def filters(self) -> Filters:
        """What the controls say now."""
        return Filters(
            chosen={name: control.value or None for name, control in self.choices.items()},
            least=_number(self.least.value),
            most=_number(self.most.value),
            first=self.first.value,
            last=self.last.value,
            search=self.search.value,
        )

    @property
    def selected(self) -> pl.DataFrame:
        """The rows that pass the filters now."""
        return select(self._rows, self.filters, self._columns)

    def _dropdown(self, name: str, heading: str) -> w.Dropdown:
        counts = self._rows[name].drop_nulls().value_counts(sort=True, name="rows").head(MOST_CHOICES)
        options = [(self._words("unit.all"), "")]
        options += [(f"{value} ({rows:,})", value) for value, rows in counts.iter_rows()]
        return w.Dropdown(options=options, value="", description=heading, layout=w.Layout(width="280px"))

    def _amount(self, key: str) -> w.Text:
        return w.Text(description=self._words(key), placeholder="–", continuous_update=False, layout=_NARROW)

    def _follow(self, _change: object) -> None:
        rows = self.selected
        self.chart.chart = self._draw(rows)
        self._list(rows)

    def _clear(self, _button: object) -> None:
        for control in self._controls:
            control.value = None if isinstance(control, w.DatePicker) else ""

    def _list(self, rows: pl.DataFrame) -> None:
        words, amount = self._words, self._columns.amount
        counts: dict[str, Any] = {"rows": words.count(rows.height), "most": min(MOST_LISTED, rows.height)}
        said = words("panel.shown", yuan=words.yuan(rows[amount].sum()), **counts) if amount else ""
        self.sentence.value = f"<b>{escape(said or words('panel.shown_plain', **counts))}</b>"
        listed = rows.head(MOST_LISTED).with_columns(pl.selectors.datetime().dt.strftime("%Y-%m-%d %H:%M"))
        money = [amount] if amount and amount in self._columns.listed else []
        numbers = [name for name in self._columns.listed if rows.schema[name].is_integer()]
        self.table.value = table(
            listed, labels=self._columns.listed, numbers=numbers, money=money, widths=_WIDTHS
        ).as_raw_html()


def _number(text: str) -> float | None:
    """Return the amount a person typed, thousands separators allowed; what is no number restricts nothing."""
    try:
        return float(text.replace(",", "").replace("，", "").strip())
    except ValueError:
        return None


def finding_rows(page: Page, findings: pl.DataFrame) -> pl.DataFrame:
    """Return findings with their invoice's time, channel, buyer and outcome, words in the page's language, masked."""
    words, analysis = page.words, page.analysis
    wanted = [name for name in ("issued_at", "channel", "buyer_name") if name in analysis.ledger.columns]
    ledger = analysis.ledger.select(wanted).with_row_index("ledger_row")
    outcome = analysis.matches.select("ledger_row", pl.col("outcome").cast(pl.String)).drop_nulls("ledger_row")
    rows = findings.with_columns(pl.col("area", "severity", "state").cast(pl.String), code="cause")
    rows = rows.join(ledger, on="ledger_row", how="left", maintain_order="left")
    rows = rows.join(outcome.unique("ledger_row"), on="ledger_row", how="left", maintain_order="left")
    causes = {cause: words.cause(cause) for cause in rows["cause"].unique().to_list()}
    outcomes = {name: words.term("outcome", name) for name in rows["outcome"].drop_nulls().unique().to_list()}
    rows = rows.with_columns(pl.col("cause").replace(causes), pl.col("outcome").replace(outcomes))
    return page.safe(rows.sort("amount", descending=True, nulls_last=True))


def findings_panel(page: Page) -> Panel:
    """Return the overview's panel: all findings by area, severity, cause; the chart is causes by number and yuan."""
    rows = finding_rows(page, page.findings)
    labels = {name: page.words.term("severity", name) for name in rows["severity"].unique().to_list()}
    rows = rows.with_columns(level=pl.col("severity").replace(labels))
    areas = {name: page.words.term("area", name) for name in rows["area"].unique().to_list()}
    rows = rows.with_columns(area_name=pl.col("area").replace(areas))
    columns = _finding_columns(page, {"area_name": "area", "level": "severity", "cause": "cause", "channel": "channel"})

    def draw(selected: pl.DataFrame) -> Chart:
        return charts.cause_bars(charts.cause_totals(selected.with_columns(cause="code")), lang=page.lang)

    return Panel(rows, columns, draw, lang=page.lang)


def missing_panel(page: Page) -> Panel:
    """Return notebook 02's panel: findings by channel, cause and outcome; the chart is causes and their days."""
    rows = finding_rows(page, page.analysis.findings)
    columns = _finding_columns(page, {"channel": "channel", "cause": "cause", "outcome": "outcome"})

    def draw(selected: pl.DataFrame) -> Chart:
        frame = missing_charts.cause_days(page.analysis, selected.with_columns(cause="code"))
        return missing_charts.causes_in_time(frame, lang=page.lang)

    return Panel(rows, columns, draw, lang=page.lang)


def _finding_columns(page: Page, choices: Mapping[str, str]) -> Columns:
    words = page.words
    listed = ("cause", "invoice_key", "issued_at", "channel", "buyer_name", "amount", "evidence")
    return Columns(
        choices={name: words(f"head.{key}") for name, key in choices.items()},
        listed={name: words(f"head.{name}") for name in listed},
        searched=("invoice_key", "buyer_name", "evidence", "cause"),
        amount="amount",
        day="issued_at",
    )


def delay_panel(page: Page) -> Panel:
    """Return notebook 01's panel: delays by channel, day and state; the chart is the delay curve of the selection."""
    words, analysis = page.words, page.analysis
    wanted = [name for name in ("gross", "buyer_name", "account") if name in analysis.ledger.columns]
    ledger = analysis.ledger.select(wanted).with_row_index("ledger_row")
    keys = analysis.matches.select("ledger_row", "invoice_key").drop_nulls("ledger_row").unique("ledger_row")
    state = pl.when("visible").then(pl.lit(words("panel.arrived"))).otherwise(pl.lit(words("panel.waiting")))
    rows = (
        of_delays(analysis.observations, analysis.findings)
        .with_columns(seen=state)
        .join(keys, on="ledger_row", how="left", maintain_order="left")
        .join(ledger, on="ledger_row", how="left", maintain_order="left")
        .sort("minutes", descending=True, nulls_last=True)
    )
    listed = {
        "channel": "channel",
        "invoice_key": "invoice_key",
        "issued_at": "issued_at",
        "whole_minutes": "minutes_waiting",
    }
    listed |= {"seen": "is_visible", "gross": "amount"}
    columns = Columns(
        choices={"channel": words("head.channel"), "seen": words("head.is_visible")},
        listed={name: words(f"head.{key}") for name, key in listed.items()},
        searched=("invoice_key", *wanted[1:]),
        amount="gross",
        day="issued_at",
    )
    sync = analysis.engagement.policy.sync

    def draw(selected: pl.DataFrame) -> Chart:
        curves = observations.survival(selected)
        steps = sync_charts.thinned(curves, selected)
        goal = {"target_hours": sync.target_hours, "target_share": sync.target_share}
        return sync_charts.delay_curves(steps, observations.quantiles(curves), **goal, lang=page.lang)

    return Panel(
        rows.with_columns(whole_minutes=pl.col("minutes").round().cast(pl.Int64)), columns, draw, lang=page.lang
    )


def backup_panel(page: Page) -> Panel:
    """Return notebook 03's panel: planned slots by job, kind and state; the chart is their timeline."""
    words, audit = page.words, page.analysis.backup
    states = words.terms("slot", ("ok", "late", "missing", "unknown"))
    slots = audit.slots.with_columns(pl.col("kind", "state").cast(pl.String))
    if page.start is not None:
        slots = slots.filter(pl.col("due").is_between(page.start, page.end, closed="left"))
    kinds = {kind: words.term("backup_kind", kind) for kind in slots["kind"].drop_nulls().unique().to_list()}
    rows = backup_charts.with_next(slots).with_columns(
        shown=pl.col("state").replace(states),
        kind_name=pl.col("kind").replace(kinds),
        backup_id=pl.col("backup_id").str.slice(0, 24),
    )
    listed = {"job": "job", "kind_name": "backup_kind", "due": "due", "started_at": "started", "backup_id": "backup_id"}
    listed |= {"shown": "state"}
    columns = Columns(
        choices={"job": words("head.job"), "kind_name": words("head.backup_kind"), "shown": words("head.state")},
        listed={name: words(f"head.{key}") for name, key in listed.items()},
        searched=("job", "backup_id"),
        day="due",
    )

    def draw(selected: pl.DataFrame) -> Chart:
        return backup_charts.slot_lanes(backup_charts.stretches(selected), lang=page.lang)

    return Panel(rows, columns, draw, lang=page.lang)
