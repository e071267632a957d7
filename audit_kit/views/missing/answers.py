"""Computed plain sentences that open the page on missing invoices: how many, why, when, where, and what is lost."""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl

from audit_kit.rules.causes.leads import digit_profile, gaps
from audit_kit.views.missing.charts import cells
from audit_kit.views.show.sentences import likely, listed, percent, undated, unknown_sources, untimed

if TYPE_CHECKING:
    from audit_kit.analysis.analysis import Analysis
    from audit_kit.core.words import Words
    from audit_kit.views.show.page import Page

LEVELS = {"channel_excess": "channel", "account_excess": "account", "kind_excess": "invoice_kind"}
BY_AGE = ("late", "lost", "unexplained")
ASKED = ("sync_log", "accounts", "notices", "operations", "confirmations")
TOP = 3


def missing(page: Page) -> list[str]:
    """Return the missing page's sentences: how many, why, when, in runs, in stops, where, and what is lost."""
    words, work = page.words, page.analysis
    count = work.matches.filter(pl.col("outcome").cast(pl.String) == "missing").height
    lines = [words("answer_missing.none")]
    if count:
        lines = _counts(page, count)
        lines += [*_day(page), *_common(words, work.findings), *_likely(page)]
    unbooked = work.findings.filter(pl.col("cause") == "unbooked")
    if unbooked.height:
        lines.append(
            words(
                "answer_missing.unbooked", rows=words.count(unbooked.height), yuan=words.yuan(unbooked["amount"].sum())
            )
        )
    lines += [undated(page), *_numbers(words, work)]
    unknown = work.findings.filter(pl.col("state") == "unknown").height
    lines += [words("answer_missing.unknown", rows=words.count(unknown))] if unknown else []
    return page.say([*lines, unknown_sources(page, ASKED)])


def _counts(page: Page, count: int) -> list[str]:
    words, work = page.words, page.analysis
    rows = work.findings.filter(pl.col("ledger_row").is_not_null())
    gone = rows.join(
        work.matches.filter(pl.col("outcome") == "missing").select("ledger_row"), on="ledger_row", how="semi"
    )
    sums = gone.group_by("cause").agg(rows=pl.len(), yuan=pl.col("amount").sum())
    top = sums.sort("rows", "cause", descending=[True, False]).head(TOP)
    named = [
        words("answer_missing.cause", title=words.cause(cause), rows=words.count(number), yuan=words.yuan(yuan))
        for cause, number, yuan in top.iter_rows()
    ]
    definite = gone.filter(~pl.col("cause").is_in(BY_AGE)).height
    booked = work.ledger.with_row_index("ledger_row")
    early = booked.clear() if page.start is None else booked.filter(pl.col("issued_at") < page.start)
    late = booked.clear() if page.end is None else booked.filter(pl.col("issued_at") >= page.end)
    everyone = booked.height - early.height - late.height
    still = early.join(gone, on="ledger_row", how="semi").height
    sentence = words(
        "answer_missing.count_early" if still else "answer_missing.count",
        ledger=words.count(everyone),
        missing=words.count(count),
        own=words.count(count - still),
        early=words.count(still),
        share=percent((count - still) / everyone) if everyone else words("unit.nothing"),
        yuan=words.yuan(gone["amount"].sum()),
    )
    share = percent(definite / max(gone.height, 1))
    return [
        sentence,
        words("answer_missing.causes", list=listed(words, named)),
        words(
            "answer_missing.explained" if definite else "answer_missing.explained_none",
            rows=words.count(definite),
            share=share,
        ),
    ]


def _day(page: Page) -> list[str]:
    """Return the day of the month on which most are missing, from the cells that the calendar draws."""
    words = page.words
    table = cells(page.analysis, start=page.start, end=page.end).group_by("day").agg(pl.col("issued", "missing").sum())
    worst = table.filter(pl.col("missing") == pl.col("missing").max(), pl.col("missing") > 1).sort("day")
    if worst.is_empty():
        return []
    if worst.height > 1:
        days = listed(words, [str(day) for day in worst["day"].head(TOP)])
        more = words("answer_missing.more_days", days=worst.height) if worst.height > TOP else ""
        return [words("answer_missing.days", days=days + more, missing=words.count(worst["missing"][0]))]
    row = worst.row(0, named=True)
    counts = {name: words.count(row[name]) for name in ("issued", "missing")}
    return [words("answer_missing.day", day=row["day"], share=percent(row["missing"] / row["issued"]), **counts)]


def _common(words: Words, findings: pl.DataFrame) -> list[str]:
    """Return what runs, stops and levels explain; `subject` names the batch, the stop or the level."""
    lines = []
    for cause, some, none in (("batch_lost", "batches", "no_batches"), ("outage", "outages", "no_outages")):
        rows = findings.filter(pl.col("cause") == cause)
        counts = {"count": rows["subject"].n_unique(), "rows": words.count(rows.height)}
        lines.append(words(f"answer_missing.{some}", **counts) if rows.height else words(f"answer_missing.{none}"))
    at_fault = findings.filter(pl.col("cause").is_in(list(LEVELS)))
    if at_fault.is_empty():
        return [*lines, words("answer_missing.no_levels")]
    names = at_fault.group_by("cause", "subject").len().sort("len", "cause", "subject", descending=[True, False, False])
    found = [
        f"{words(f'head.{LEVELS[cause]}')} {name} ({words.count(count)})" for cause, name, count in names.iter_rows()
    ]
    return [*lines, words("answer_missing.levels", list=listed(words, found))]


def _likely(page: Page) -> list[str]:
    """Return how many will not come by waiting, and why the sum of chances is not the number of a cause."""
    words, findings = page.words, page.analysis.findings
    counts = likely(words, findings)
    if not counts:
        return []
    called = findings.filter((pl.col("cause") == "late") & pl.col("probability_late").is_not_null()).height
    threshold = words.share(page.whole.engagement.policy.sync.late_threshold, digits=0)
    line = words("answer_missing.likely_presence" if untimed(page.whole) else "answer_missing.likely", **counts)
    told = "answer_missing.called_late" if called else "answer_missing.called_late_none"
    return [line + words(told, rows=words.count(called), threshold=threshold)]


def _numbers(words: Words, work: Analysis) -> list[str]:
    lines = []
    if "gross" in work.ledger.columns:
        profile = digit_profile(work.ledger["gross"].drop_nulls())
        name = profile.reason or ("ok" if profile.conforms else "off")
        lines.append(words(f"answer_missing.benford_{name}", deviation=f"{profile.deviation:.4f}"))
    broken = gaps(work.ledger, work.platform)
    if broken.height:
        absent = words.count(broken["absent"].sum())
        lines.append(words("answer_missing.gaps", absent=absent, ranges=words.count(broken.height)))
    return lines
