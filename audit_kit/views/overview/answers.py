"""Computed plain sentences that open the overview: the answer first, in words and numbers."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

import polars as pl

from audit_kit.analysis.earlier import CHANGES
from audit_kit.core import schema
from audit_kit.loaders.reading import LIST
from audit_kit.rules.causes.scope import unstated_ids
from audit_kit.views.overview.charts import CROSS_MONTH, before_totals, outcome_totals
from audit_kit.views.show import event_rows
from audit_kit.views.show.sentences import likely, listed, ratio, undated, unknown_sources, untimed

if TYPE_CHECKING:
    from audit_kit.views.show.page import Page

OPTIONAL = ("sync_log", "accounts", "notices", "operations", "confirmations", "backups")
NOT_AGREEING = ("mistyped", "conflict", "duplicate", "ambiguous", "unbooked")


def overview(page: Page) -> list[str]:
    """Return the overview's sentences: the tie, what is missing, what is at risk, the largest events, the unknown."""
    words = page.words
    totals = outcome_totals(page.analysis, start=page.start, end=page.end)
    if totals.is_empty():
        return [words("answer_overview.nothing")]
    ledger = totals.filter(pl.col("side") == "ledger")
    lines = tie(page)
    lines.append(_others(totals, page))
    lines.append(_cross_month(totals, page))
    lines.append(_missing(page, ledger))
    lines.append(undated(page))
    lines += [*event_rows.at_risk(page), event_rows.largest(page)]
    lines.append(_since_last_month(page))
    lines.append(control(page))
    lines.append(group(page))
    lines.append(unknown_sources(page, OPTIONAL))
    return page.say(lines)


def tie(page: Page) -> list[str]:
    """Return the sentence on how far the two sides agree; none where neither has an invoice."""
    words, totals = page.words, outcome_totals(page.analysis, start=page.start, end=page.end)
    if totals.is_empty():
        return []
    ledger, platform = (totals.filter(pl.col("side") == side) for side in ("ledger", "platform"))
    agreed = ledger.filter(pl.col("outcome") == "matched")
    return [
        words(
            "answer_overview.tie",
            ledger=words.count(ledger["rows"].sum()),
            ledger_yuan=words.yuan(ledger["yuan"].sum()),
            platform=words.count(platform["rows"].sum()),
            platform_yuan=words.yuan(platform["yuan"].sum()),
            agreed=words.count(agreed["rows"].sum()),
            share=words.share(ratio(agreed["rows"].sum(), ledger["rows"].sum())),
        )
    ]


def _cross_month(totals: pl.DataFrame, page: Page) -> str:
    """Return how many invoices the two sides date in different months; empty where there is none."""
    words, moved = page.words, totals.filter(pl.col("outcome") == CROSS_MONTH)
    if moved.is_empty():
        return ""
    said = [
        words(f"answer_overview.cross_{side}", rows=words.count(rows), yuan=words.yuan(yuan))
        for side, rows, yuan in moved.select("side", "rows", "yuan").iter_rows()
    ]
    return words("answer_overview.cross_month", list=words("answer.semicolon").join(said))


def _others(totals: pl.DataFrame, page: Page) -> str:
    words = page.words
    counts = totals.filter(
        (pl.col("side") == "ledger") | (pl.col("outcome") == "unbooked"), pl.col("outcome").is_in(NOT_AGREEING)
    )
    counts = counts.group_by("outcome").agg(pl.col("rows").sum()).sort(pl.col("outcome").cast(pl.Enum(schema.OUTCOMES)))
    named = [
        words("answer_overview.count_of", name=words.term("outcomes", outcome), count=words.count(rows))
        for outcome, rows in counts.iter_rows()
        if rows
    ]
    return words("answer_overview.others", list=listed(words, named)) if named else ""


def _missing(page: Page, ledger: pl.DataFrame) -> str:
    words = page.words
    missing = ledger.filter(pl.col("outcome") == "missing")
    own, (early, early_yuan) = missing["rows"].sum(), before_totals(page.analysis, start=page.start)["missing"]
    count, yuan = own + early, Decimal(missing["yuan"].sum() or 0) + early_yuan
    if not count:
        return words("answer_overview.none_missing")
    share = words.share(ratio(own, ledger["rows"].sum()), digits=2)
    said = {"missing": words.count(count), "share": share, "yuan": words.yuan(yuan)}
    if early:
        own_figures = {"own": words.count(own), "own_yuan": words.yuan(yuan - early_yuan)}
        line = words(
            "answer_overview.missing_early",
            **(said | own_figures),
            early=words.count(early),
            early_yuan=words.yuan(early_yuan),
        )
    else:
        line = words("answer_overview.missing", **said)
    counts = likely(words, page.analysis.findings)
    if not counts:
        return line + words("answer_overview.late_unknown")
    line += words("answer_overview.late_presence" if untimed(page.whole) else "answer_overview.late", **counts)
    rest = count - page.analysis.findings["probability_late"].count()
    return line + (words("answer_overview.undated", rows=words.count(rest)) if rest > 0 else "")


def _since_last_month(page: Page) -> str:
    words = page.words
    if page.compared.is_empty():
        return words("answer_overview.no_comparison")
    counts = dict(page.compared["change"].value_counts().iter_rows())
    counted = {name: words.count(counts.get(name, 0)) for name in CHANGES}
    unseen = page.compared.filter(~pl.col("seen")).height
    line = words("answer_overview.compared", **counted)
    return line + (words("answer_overview.unseen", rows=words.count(unseen)) if unseen else "")


def _stated_column(page: Page, column: str) -> str:
    """Return a column of a control total as a reader knows it."""
    name = column.removeprefix(LIST)
    shown = schema.headers("ledger").get(name, name) if page.lang == "zh" else name
    return shown if name == column else page.words("answer_overview.list_total", column=shown)


def group(page: Page) -> str:
    """Return which tax ids the export lists beside the company's own; empty where it lists none."""
    engagement = page.whole.engagement
    others = unstated_ids(
        page.whole.ledger, page.whole.platform, own=engagement.own_ids, direction=engagement.direction
    )
    if not others:
        return ""
    shown = page.safe(pl.DataFrame({"tax_id": others}))["tax_id"]
    return page.words("answer_overview.group", ids=listed(page.words, shown.to_list()))


def control(page: Page) -> str:
    """Return whether the totals that the files state agree with what was read."""
    words, control = page.words, page.whole.control
    if control.is_empty():
        return words("answer_overview.no_control")
    apart = control.filter(~pl.col("agrees"))
    if apart.is_empty():
        return words("answer_overview.control", totals=words.count(control.height))
    first = apart.row(0, named=True)
    return words(
        "answer_overview.control_apart",
        totals=words.count(control.height),
        apart=words.count(apart.height),
        file=first["source_file"],
        column=_stated_column(page, first["column"]),
        stated=words.yuan(first["stated"]),
        computed=words.yuan(first["computed"]),
    )
