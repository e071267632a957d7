"""Tables of what people did: the cut-over's statement, resends, failures in the log, shared logins."""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl

from audit_kit.rules.response.resend import NEW_WITHIN
from audit_kit.rules.response.substitute import CLASSES
from audit_kit.views.show.parts import within
from audit_kit.views.show.tables import badge, said, table

if TYPE_CHECKING:
    from datetime import datetime

    import great_tables as gt
    from IPython.display import HTML

    from audit_kit.core.words import Words
    from audit_kit.views.show.page import Page

MOST_ROWS = 25
CAME = ("failed", "no_answer", "waiting", "worked", "needless")
TIME = "%Y-%m-%d %H:%M"


def heads(words: Words, *columns: str) -> dict[str, str]:
    """Return columns with their headings, in order."""
    return {name: words(f"follow_head.{name}") for name in columns}


def first_of(words: Words, most: int, rows: int) -> str:
    """Return the sentence that only the first rows are listed; empty where they are all."""
    return words("follow.first", most=words.count(most), rows=words.count(rows)) if rows > most else ""


def cut_over(page: Page) -> gt.GT | HTML:
    """Return the statement of the cut-over, its rows and yuan added up to the cent; unknown without the list."""
    words, rows = page.words, page.analysis.response.statement
    if rows.is_empty():
        given = page.whole.engagement.has("substitute")
        return said(words("follow.substitute_empty" if given else "follow.no_substitute"))
    figures = dict(zip(rows["line"], rows.rows(named=True), strict=True))
    whole = figures["in"]
    apart = {name: whole[name] - sum(figures[line][name] for line in CLASSES) for name in ("rows", "yuan")}
    tie = words(
        "follow.ties",
        rows=words.count(whole["rows"]),
        yuan=words.yuan(whole["yuan"]),
        rows_apart=words.count(apart["rows"]),
        yuan_apart=words.yuan(apart["yuan"]),
    )
    note = [tie, words("follow.cut_over_note"), words("follow.whole") if page.start else ""]
    shown = rows.filter((pl.col("line") != "aside") | (pl.col("rows") > 0))
    return table(
        shown.with_columns(part=pl.col("line").replace(words.section("cut_over"))),
        labels=heads(words, "part", "rows", "yuan", "platform_rows", "platform_yuan"),
        numbers=["rows", "platform_rows"],
        money=["yuan", "platform_yuan"],
        note=" ".join(filter(None, note)),
    )


def resends(page: Page) -> gt.GT | HTML:
    """Return what came of the period's resends: how often, of how many invoices, how often without waiting."""
    words, engagement = page.words, page.whole.engagement
    if not engagement.has("operations"):
        return said(words("follow.no_operations"))
    rows = within(page.analysis.response.resends, page.start, page.end, column="at")
    if rows.is_empty():
        return said(words("follow.no_resends"))
    counts = rows.group_by("came").agg(
        resends=pl.len(), invoices=pl.col("invoice_key").n_unique(), repeated=pl.col("repeated").sum()
    )
    place = pl.col("came").replace_strict(CAME, range(len(CAME)), return_dtype=pl.Int8)
    shown = counts.sort(place).with_columns(pl.col("came").replace(words.section("came")))
    note = "follow.resend_note" if engagement.has("sync_log") else "follow.no_log_for_resends"
    labels = heads(words, "came", "resends", "invoices", "repeated")
    return table(shown, labels=labels, numbers=["resends", "invoices", "repeated"], note=words(note))


def not_worked(page: Page) -> gt.GT | HTML | None:
    """Return the period's resends that failed or had no answer, the latest first; null where there is none."""
    words = page.words
    rows = within(page.analysis.response.resends, page.start, page.end, column="at")
    rows = rows.filter(pl.col("came").is_in(["failed", "no_answer"])).sort("at", descending=True, maintain_order=True)
    if rows.is_empty():
        return None
    shown = rows.head(MOST_ROWS).with_columns(
        pl.col("at").dt.strftime(TIME), pl.col("came").replace(words.section("came")), message="error"
    )
    labels = heads(words, "invoice_key", "at", "came", "message")
    return table(page.safe(shown), labels=labels, note=first_of(words, MOST_ROWS, rows.height))


def patterns(page: Page) -> gt.GT | HTML:
    """Return the upload log's failures by code and wording, the most frequent first, new ones marked."""
    words, engagement = page.words, page.whole.engagement
    if not engagement.has("sync_log"):
        return said(words("follow.no_log"))
    rows = page.analysis.response.log_patterns
    if rows.is_empty():
        return said(words("follow.no_failures"))
    begins: datetime | None = engagement.table("sync_log").select(pl.col("at").min()).item()
    is_long = begins is not None and begins <= page.analysis.taken_at - 2 * NEW_WITHIN
    since = f"{begins:%Y-%m-%d}" if begins else words("unit.unknown")
    age = words("follow.new_from" if is_long else "follow.too_short", since=since)
    new = badge("new", words("follow.is_new"))
    shown = rows.sort("new", descending=True, maintain_order=True).head(MOST_ROWS)
    shown = page.safe(shown.rename({"pattern": "message"})).with_columns(
        pl.col("first", "last").dt.strftime(TIME), new=pl.when("new").then(pl.lit(new)).otherwise(pl.lit(""))
    )
    labels = heads(words, "error_code", "message", "lines", "invoices", "first", "last", "new")
    return table(
        shown,
        labels=labels | {"message": words("follow_head.pattern")},
        numbers=["lines", "invoices"],
        html=["new"],
        note=" ".join(filter(None, (age, first_of(words, MOST_ROWS, rows.height), words("follow.whole")))),
        widths={"message": "34%"},
    )


def shared(page: Page) -> gt.GT | HTML:
    """Return the accounts that were used in two places at once; unknown where the log does not say from where."""
    words, engagement = page.words, page.whole.engagement
    if not engagement.has("operations"):
        return said(words("follow.no_logins"))
    if engagement.table("operations")["place"].drop_nulls().is_empty():
        return said(words("follow.no_places"))
    found = page.analysis.response_findings.filter(pl.col("cause") == "account_shared")
    if found.is_empty():
        return said(words("follow.not_shared"))
    shown = page.safe(found.head(MOST_ROWS).with_columns(account="subject"))
    return table(shown, labels=heads(words, "account", "evidence"), note=first_of(words, MOST_ROWS, found.height))
