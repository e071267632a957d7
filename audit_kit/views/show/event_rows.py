"""Events as a person reads them: what is at risk, the largest, what to do first, and the table; one source for all."""

from __future__ import annotations

from decimal import Decimal
from html import escape
from typing import TYPE_CHECKING, Any

import polars as pl

from audit_kit.analysis.events import LEAST_YUAN, by_stake
from audit_kit.core import schema
from audit_kit.core.cause_records import of_stage
from audit_kit.views.show import theme
from audit_kit.views.show.sentences import ratio
from audit_kit.views.show.tables import badge, said, table

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    import great_tables as gt
    from IPython.display import HTML

    from audit_kit.core.words import Words
    from audit_kit.views.show.page import Page

LARGEST = 3
MOST_LISTED = 15
RISKY = ("risk", "differs")
BESIDE = ("late", "found", "outside")
NOT_BACKUP = (*RISKY, *BESIDE)
COLUMNS = (
    "event", "stake", "cause", "subject", "severity", "findings", "unknown", "yuan", "net_of_red", "at_risk",
    "tax_at_risk", "untaxed", "material", "first", "begins", "ends",
)  # fmt: skip


def events_of(page: Page) -> pl.DataFrame:
    """Return the events of a page as they may be shown: see events.roll_up."""
    return page.safe(page.events.select(COLUMNS))


def at_risk(page: Page) -> list[str]:
    """Return what is at risk in rows, yuan and tax, and what is not counted as such."""
    words, stakes = page.words, {row["stake"]: row for row in by_stake(page.events).iter_rows(named=True)}
    risky = [stakes[stake] for stake in RISKY if stake in stakes]
    named = [words(f"matters.part_{row['stake']}", **_told(words, row)) for row in risky if row["at_risk"] != 0]
    lines = [words("matters.no_risk")]
    if named:
        total, tax = (_total(row[name] for row in risky) for name in ("at_risk", "tax_at_risk"))
        parts = words("answer.semicolon").join(named)
        lines = [words("matters.risk", total=_yuan(words, total), tax=_yuan(words, tax), parts=parts)]
        if (untaxed := sum(row["untaxed"] for row in risky)) and tax is not None:
            lines[0] += words("matters.untaxed", rows=words.count(untaxed))
    agreeing = "differs" in stakes and stakes["differs"]["at_risk"] == 0
    beside = [*(("differs",) if agreeing else ()), *(stake for stake in BESIDE if stake in stakes)]
    others = [words(f"matters.beside_{stake}", **_told(words, stakes[stake])) for stake in beside]
    return lines + ([words("matters.beside", list=words("answer.semicolon").join(others))] if others else [])


def _told(words: Words, row: Mapping[str, Any]) -> dict[str, str]:
    amounts = {"yuan": _yuan(words, row["yuan"]), "gap": _yuan(words, row["at_risk"])}
    return {"rows": words.count(row["findings"])} | amounts


def _total(amounts: Iterable[Decimal | None]) -> Decimal | None:
    """Return the sum of the amounts that are stated; null where none is."""
    stated = [amount for amount in amounts if amount is not None]
    return sum(stated, Decimal()) if stated else None


def level(page: Page) -> str:
    """Return from how much on an event is material, and by which rule."""
    words, materiality = page.words, page.materiality
    if materiality.base is None:
        return words("matters.level_stated", yuan=words.yuan(materiality.yuan))
    rule = "least" if materiality.yuan == LEAST_YUAN else "share"
    return words(f"matters.level_{rule}", yuan=words.yuan(materiality.yuan), base=words.yuan(materiality.base))


def largest(page: Page) -> str:
    """Return the largest events by money at risk, and their share of it; empty where nothing is at risk."""
    words, events = page.words, events_of(page).filter(pl.col("at_risk") > 0)
    if events.is_empty():
        return ""
    top = events.head(LARGEST)
    named = [
        words(
            "matters.one",
            what=what(words, row),
            rows=words.count(row["findings"]),
            yuan=words.yuan(row["at_risk"]),
            tax=_yuan(words, row["tax_at_risk"]),
        )
        for row in top.iter_rows(named=True)
    ]
    share = words.share(ratio(top["at_risk"].sum(), events["at_risk"].sum()))
    return words("matters.largest", list=words("answer.semicolon").join(named), share=share)


def first_steps(page: Page) -> list[str]:
    """Return what to do first, and about what: mend the export if it is at fault, then take the largest event."""
    words, events = page.words, events_of(page)
    risky = _risky(events)
    if risky.is_empty():
        rest = events.filter(pl.col("severity").is_in(["critical", "high"])).head(1)
        return [_step(words, "matters.first_control", row) for row in rest.iter_rows(named=True)] or [
            words("matters.first_none")
        ]
    asked = risky.filter(pl.col("first"), pl.col("cause").is_in(of_stage("asked"))).sort(
        schema.by_severity(), maintain_order=True
    )
    chosen = pl.concat([asked.head(1), risky.head(1)]).unique("event", keep="first", maintain_order=True)
    return [_step(words, "matters.first", row) for row in chosen.iter_rows(named=True)]


def _step(words: Words, sentence: str, row: Mapping[str, Any]) -> str:
    return words(sentence, what=what(words, row), step=words.next_step(row["cause"]))


def counted(page: Page) -> str:
    """Return how many events the findings are, and how many of them come first; empty where there are none."""
    words, events = page.words, page.events
    counts = {"findings": int(events["findings"].sum()), "events": events.height}
    counts |= {name: int(events[name].sum()) for name in ("first", "material")}
    counts["others"] = counts["first"] - counts["material"]
    told = {name: words.count(count) for name, count in counts.items()}
    if not events.height:
        return ""
    return words("matters.counted" if counts["first"] else "matters.counted_calm", **told)


def what(words: Words, event: Mapping[str, Any]) -> str:
    """Return what an event is called: its cause, and what it is about where that is one thing."""
    cause = words.cause(event["cause"])
    return words("matters.named", cause=cause, subject=event["subject"]) if event["subject"] else cause


def event_table(page: Page, *, stakes: tuple[str, ...] = (), most: int = MOST_LISTED) -> gt.GT | HTML:
    """Return the events of a page as a table, what matters most first; of these stakes only, if any are named."""
    words, events = page.words, events_of(page)
    events = events.filter(pl.col("stake").is_in(stakes)) if stakes else events
    if events.is_empty():
        return said(words("matters.none"))
    lines = [_line(row, words) for row in events.head(most).iter_rows(named=True)]
    labels = {name: words(f"matters.{name}") for name in ("event", "what", "findings", "at_risk", "tax_at_risk")}
    more = words("matters.more", most=most, count=words.count(events.height)) if events.height > most else ""
    return table(
        pl.DataFrame(lines, infer_schema_length=None),
        labels=labels | {"next_step": words("matters.next_step")},
        html=["what"],
        numbers=["event", "findings"],
        right=["at_risk", "tax_at_risk"],
        widths={"what": "34%", "next_step": "32%"},
        note=words("matters.note") + level(page) + more,
    )


def about(words: Words, event: Mapping[str, Any]) -> str:
    """Return what stands under an event's name: what it is, if it is material, other money, red ones taken off."""
    stake = "" if event["stake"] == event["cause"] else words.term("stakes", event["stake"])
    told = [stake, words("matters.material") if event["material"] else ""]
    amount = None if event["stake"] in RISKY else event["yuan"]
    told.append("" if amount is None else words.yuan(amount))
    if event["net_of_red"] != event["yuan"]:
        told.append(words("matters.net_of_red", yuan=words.yuan(event["net_of_red"])))
    return " · ".join(filter(None, told))


def figures(event: Mapping[str, Any]) -> dict[str, str]:
    """Return `at_risk`, `tax_at_risk` of an event as they are written; a dash where none is, or is stated."""
    amounts = {name: event[name] for name in ("at_risk", "tax_at_risk")}
    return {
        name: "–" if amount is None or event["stake"] not in RISKY else f"{amount:,.2f}"
        for name, amount in amounts.items()
    }


def _line(row: Mapping[str, Any], words: Words) -> dict[str, Any]:
    severity = badge(row["severity"], words.term("severities", row["severity"]))
    quiet = f'<br><span style="color:{theme.MUTED}">{escape(about(words, row))}</span>'
    return {
        "event": row["event"],
        "what": f"{severity} <b>{escape(what(words, row))}</b>{quiet}",
        "findings": row["findings"],
        **figures(row),
        "next_step": words.next_step(row["cause"]),
    }


def event_sheet(page: Page) -> pl.DataFrame:
    """Return every event of a page for the workbook: see sheet_of."""
    return sheet_of(events_of(page), page.words)


def sheet_of(events: pl.DataFrame, words: Words) -> pl.DataFrame:
    """Return events with words in place of codes; its headings are the section `matters`."""
    causes = words.causes(events["cause"].unique())
    told = pl.col("stake").is_in(RISKY)
    marks = {True: words("workbook.yes"), False: words("workbook.no")}
    return events.select(
        "event",
        pl.col("severity").replace(words.terms("severities", schema.SEVERITIES)),
        pl.col("cause").replace(causes).alias("what"),
        "subject",
        pl.col("stake").replace(words.section("stakes")),
        *("findings", "unknown", "yuan"),
        pl.col("net_of_red").alias("net"),
        *(pl.when(told).then(name).alias(name) for name in ("at_risk", "tax_at_risk")),
        pl.col("material").replace_strict(marks, return_dtype=pl.String),
        "begins",
        "ends",
        next_step=pl.col("cause").replace({cause: words.next_step(cause) for cause in causes}),
    )


def _risky(events: pl.DataFrame) -> pl.DataFrame:
    """Return the events that put money at risk, those included whose amount is not stated."""
    return events.filter(pl.col("stake").is_in(RISKY), (pl.col("at_risk") > 0) | pl.col("at_risk").is_null())


def _yuan(words: Words, amount: Any) -> str:  # noqa: ANN401  a decimal, or null
    return words("unit.unknown") if amount is None else words.yuan(amount)
