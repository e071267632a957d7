"""Tables of the sync delay: service level and its budget, who still waits, how last month's predictions held."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import altair as alt
import polars as pl

from audit_kit.core.words import Words
from audit_kit.rules.sync import service_level as service
from audit_kit.rules.sync import settling
from audit_kit.views.show import theme
from audit_kit.views.show.parts import Chart, bounded, labelled, nothing, title, within
from audit_kit.views.show.provenance import FINDINGS
from audit_kit.views.show.tables import badge, said, table

if TYPE_CHECKING:
    import great_tables as gt
    from IPython.display import HTML

    from audit_kit.analysis.work import Analysis
    from audit_kit.views.show.page import Page

MOST_INCIDENTS = 12
WAITING = ("channel", "invoice_key", "issued_at", "buyer_name", "gross", "age", "late")


def service_level(analysis: Analysis) -> pl.DataFrame:
    """Return the share visible within the target by month and channel: see rules.service.service_level."""
    told = service.of_delays(analysis.observations, analysis.findings)
    return service.service_level(told, policy=analysis.engagement.policy.sync, taken_at=analysis.taken_at)


def service_table(frame: pl.DataFrame, *, lang: str = "zh", most: int = 24) -> gt.GT | HTML:
    """Return the service level with its interval and the budget of misses used; `frame` is from service_level."""
    words = Words(lang)
    if frame.is_empty():
        return said(words("sync.curves_none"))
    recent = frame.sort("month", "channel", descending=[True, False]).head(most)
    lines = [_service_line(row, words) for row in recent.iter_rows(named=True)]
    names = ("month", "channel", "issued", "share_in_time", "interval", "target", "used", "state")
    return table(
        pl.DataFrame(lines),
        labels={name: words(f"head.{name}") for name in names},
        numbers=["issued"],
        html=["state"],
        note=words("sync.service_note"),
    )


def _service_line(row: dict[str, Any], words: Words) -> dict[str, Any]:
    state = {"passes": "pass"}.get(row["state"], row["state"])
    used = row["used_share"]
    return {
        "month": row["month"],
        "channel": words("unit.all") if row["channel"] == service.WHOLE else row["channel"],
        "issued": row["issued"],
        "share_in_time": words.share(row["share"], digits=2),
        "interval": f"{words.share(row['lower'])} – {words.share(row['upper'])}",
        "target": f"{words.share(row['target_share'], digits=2)} / {words.span(row['target_minutes'])}",
        "used": words.share(used, digits=0) if used is not None and used < 1e4 else words("unit.nothing"),  # noqa: PLR2004
        "state": badge(state, words.term("rules", state)),
    }


def budget(analysis: Analysis, *, start: datetime | None = None, end: datetime | None = None) -> pl.DataFrame:
    """Return which incident used the budget of misses, most first: see rules.service.budget_by_incident."""
    return service.budget_by_incident(
        within(service.of_delays(analysis.observations, analysis.findings), start, end),
        analysis.findings,
        analysis.stops,
        policy=analysis.engagement.policy.sync,
        taken_at=analysis.taken_at,
    ).head(MOST_INCIDENTS)


def budget_bars(frame: pl.DataFrame, *, lang: str = "zh") -> Chart:
    """Draw what used the budget: stops, causes, and what was merely slow."""
    words = Words(lang)
    if frame.is_empty():
        return nothing(words("sync.budget"), words("sync.budget_none"))
    kinds = words.terms("miss", ("stop", "cause", "slow"))
    names = {row: _incident(row, kind, words) for row, kind in frame.select("incident", "kind").iter_rows()}
    data = labelled(labelled(bounded(frame), "incident", names), "kind", kinds)
    colours = {"stop": theme.SLATE, "cause": theme.RED, "slow": theme.AMBER}
    base = alt.Chart(data, width=540, height=alt.Step(22)).encode(
        alt.Y("incident:N", sort=data["incident"].to_list(), title=None, axis=alt.Axis(labelLimit=240)),
        alt.X("misses:Q", title=words("head.late"), axis=alt.Axis(format="~s")),
        tooltip=[
            alt.Tooltip("incident:N", title=words("head.cause")),
            alt.Tooltip("kind:N", title=words("head.kind")),
            alt.Tooltip("misses:Q", title=words("head.late"), format=","),
            alt.Tooltip("share:Q", title=words("head.share"), format=".1%"),
        ],
    )
    bars = base.mark_bar(size=14).encode(
        color=alt.Color("kind:N", title=words("head.kind"), scale=theme.scale(colours, kinds))
    )
    text = base.mark_text(align="left", dx=4, color=theme.MUTED).encode(text=alt.Text("share:Q", format=".0%"))
    chart: alt.LayerChart = (bars + text).properties(title=title(words("sync.budget"), words("sync.budget_how")))
    return chart


def _incident(name: str, kind: str, words: Words) -> str:
    if kind == "slow":
        return words.term("miss", "slow")
    return words.cause(name) if kind == "cause" else name


def waiting(analysis: Analysis) -> pl.DataFrame:
    """Return the invoices not visible yet, the longest wait first.

    Columns: `ledger_row`, WAITING: `age` (hours, stops taken out), `late` (chance of being merely late, per cent).
    """
    ledger = analysis.ledger.select(
        name for name in ("buyer_name", "gross") if name in analysis.ledger.columns
    ).with_row_index("ledger_row")
    chance = analysis.findings.select("ledger_row", "invoice_key", late=(pl.col("probability_late") * 100).round(1))
    rows = analysis.observations.filter(~pl.col("visible")).sort("minutes", descending=True, nulls_last=True)
    rows = rows.select("ledger_row", "channel", "issued_at", age=(pl.col("minutes") / 60).round(1))
    rows = rows.join(ledger, on="ledger_row", how="left", maintain_order="left")
    rows = rows.join(chance.unique("ledger_row"), on="ledger_row", how="left", maintain_order="left")
    return rows.select("ledger_row", *(name for name in WAITING if name in rows.columns))


def waiting_labels(frame: pl.DataFrame, *, lang: str = "zh") -> dict[str, str]:
    """Return the headings of the columns of `waiting` that are there."""
    words = Words(lang)
    heads = {"gross": "amount", "age": "age_hours", "late": "late_percent"}
    return {name: words(f"head.{heads.get(name, name)}") for name in WAITING if name in frame.columns}


def _is_older(manifest: Path, taken_at: datetime) -> bool:
    """Tell whether a report was made from an export taken before a moment; false where it does not say."""
    try:
        before = datetime.fromisoformat(json.loads(manifest.read_text(encoding="utf-8"))["taken_at"])
    except (OSError, ValueError, KeyError, TypeError):
        return False
    return before < taken_at


def reliability(page: Page) -> pl.DataFrame:
    """Return how last month's chances held: `predicted`, `observed`, `rows`, `lower`, `upper` by bin of the chance.

    The previous report's predictions are scored on the invoices that the present ledger still lists; there are no rows
    without a previous report, or where it was made from an export that is not older than the present one.
    """
    nothing_scored = settling.settle(
        pl.DataFrame(schema={"ledger_row": pl.UInt32, "probability_late": pl.Float64}), page.whole.matches
    ).reliability
    earlier = Path(page.previous).parent / FINDINGS
    if not page.previous or not earlier.is_file() or not _is_older(Path(page.previous), page.whole.taken_at):
        return nothing_scored.clear()
    predicted = (
        pl.read_parquet(earlier, glob=False, columns=["invoice_key", "probability_late"])
        .drop_nulls()
        .unique("invoice_key")
    )
    present = page.whole.matches.select("ledger_row", "invoice_key").drop_nulls().unique("invoice_key")
    scored = predicted.join(present, on="invoice_key").select("ledger_row", "probability_late")
    return nothing_scored.clear() if scored.is_empty() else settling.settle(scored, page.whole.matches).reliability
