"""An exercise made from a past month of the engagement: what is reported when, a sample to explain, and the answers."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

import polars as pl

from audit_kit.core.errors import RequestError
from audit_kit.core.schema import TICKET_LEVELS
from audit_kit.core.words import Words
from audit_kit.paper.document import Document, Facts, Heading, Paragraph, Table
from audit_kit.paper.figures import next_deadline
from audit_kit.paper.plan_document import STEPS
from audit_kit.resources.languages import Phrase

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from audit_kit.analysis.analysis import Analysis

SAMPLE = 8
STEP_MINUTES = 8
ENTRY = ("matched", "matched_cleaned")


@dataclass(frozen=True, kw_only=True, eq=False)
class Month:
    """What one month shows: its invoices, those with a finding, the stops, faults of backups."""

    name: str
    issued: pl.DataFrame
    found: pl.DataFrame
    stops: pl.DataFrame
    backup_faults: int


def months_of(analysis: Analysis) -> list[str]:
    """Return the months of the ledger, the one with most missing invoices first."""
    months = analysis.ledger.select(month=pl.col("issued_at").dt.strftime("%Y-%m")).with_row_index("ledger_row")
    missing = analysis.matches.filter(pl.col("outcome").cast(pl.String) == "missing")["ledger_row"]
    counts = months.drop_nulls().group_by("month").agg(missing=pl.col("ledger_row").is_in(missing.implode()).sum())
    return counts.sort("missing", "month", descending=True)["month"].to_list()


def month_of(analysis: Analysis, wanted: str | None) -> Month:
    """Return one month, `YYYY-MM`; null = the one with most missing invoices.

    Raises:
        RequestError: the ledger has no dated invoice, or none of that month.
    """
    known = months_of(analysis)
    if wanted is not None and wanted not in known:
        raise RequestError(
            "error_report.no_invoice_of", month=wanted, known=", ".join(sorted(known)) or Phrase("error_core.unknown")
        )
    if not known:
        raise RequestError("error_report.no_date")
    name = wanted or known[0]
    within = pl.col("issued_at").dt.strftime("%Y-%m") == name
    issued = analysis.ledger.with_row_index("ledger_row").filter(within)
    channels = analysis.observations.select("ledger_row", shown="channel").unique("ledger_row", keep="first")
    issued = issued.join(channels, on="ledger_row", how="left", maintain_order="left")
    issued = issued.with_columns(pl.coalesce("channel", "shown").alias("channel"))
    outcome = analysis.matches.select("ledger_row", pl.col("outcome").cast(pl.String)).drop_nulls("ledger_row")
    found = issued.join(
        analysis.findings.select("ledger_row", "cause", "invoice_key", "evidence").drop_nulls("ledger_row"),
        on="ledger_row",
        maintain_order="left",
    ).join(outcome.unique("ledger_row", keep="first"), on="ledger_row", how="left", maintain_order="left")
    stops = analysis.stops.filter(pl.col("starts_at").dt.strftime("%Y-%m") == name)
    stops = stops.unique(["starts_at", "ends_at"], keep="first", maintain_order=True)
    return Month(name=name, issued=issued, found=found, stops=stops, backup_faults=analysis.backup_findings.height)


class Exercise:
    """The exercise of one month, and its answers."""

    def __init__(self, analysis: Analysis, month: Month, role: Callable[[str], str], lang: str) -> None:
        """Take a month; `role` gives a role's name as a person reads it."""
        self.analysis, self.month, self.words, self._role = analysis, month, Words(lang), role
        self.settings = analysis.engagement.settings
        missing = month.found.filter(pl.col("outcome") == "missing").drop_nulls("invoice_key")
        self.missing = missing.unique("ledger_row", keep="first", maintain_order=True)
        kinds = pl.int_range(pl.len()).over("cause")
        varied = month.found.drop_nulls("invoice_key").with_columns(turn=kinds).sort("turn", "cause", "ledger_row")
        self.sample = varied.unique("invoice_key", keep="first", maintain_order=True).head(SAMPLE).sort("issued_at")

    def document(self) -> Document:
        """Return what the players get."""
        words, month = self.words, self.month
        title = words("exercise.title", month=month.name)
        counts = month.issued["channel"].drop_nulls().unique().sort()
        channels = words("answer.comma").join(counts) or words("letter.unnamed")
        said = {"count": words.count(month.issued.height), "yuan": words.yuan(month.issued["gross"].sum())}
        blocks = [
            Heading(title, 0),
            Facts(self._head()),
            Heading(words("exercise.background")),
            Paragraph(words("exercise.background_said", channels=channels, **said)),
            Heading(words("exercise.story")),
            Table(
                [words(f"exercise.{name}") for name in ("minute", "event", "question")],
                [(str(at * STEP_MINUTES), *event) for at, event in enumerate(self._events())],
            ),
            *self._sample(answered=False),
            Heading(words("exercise.score")),
            Table(
                [words(f"exercise.{name}") for name in ("minute", "question", "points")],
                [(str(at * STEP_MINUTES), event[1], "") for at, event in enumerate(self._events())],
            ),
        ]
        return Document(title, blocks, title)

    def answers(self) -> Document:
        """Return what only the leader of the exercise gets."""
        words, found = self.words, self.month.found
        title = words("exercise.answers", month=self.month.name)
        by_cause = found.group_by("cause").agg(rows=pl.col("ledger_row").n_unique(), yuan=pl.col("gross").sum())
        rows = [
            (words.cause(cause), words.count(count), f"{yuan:,.2f}", words.next_step(cause))
            for cause, count, yuan in by_cause.sort("rows", "cause", descending=[True, False]).iter_rows()
        ]
        heads = [words(f"exercise.{name}") for name in ("sample_cause", "invoices", "yuan", "expected")]
        causes = [Table(heads, rows)] if rows else [Paragraph(words("exercise.none"))]
        steps = [Paragraph(words(f"plan.step_{step}"), "item") for step in STEPS]
        expected = [Heading(words("exercise.expected")), *self._first(), *steps]
        blocks = [
            Heading(title, 0),
            Heading(words("exercise.causes")),
            *causes,
            *self._sample(answered=True),
            *expected,
        ]
        return Document(title, blocks, title)

    def _head(self) -> list[tuple[str, str]]:
        words, plan = self.words, self.settings.plan
        name = self.settings.taxpayer_name or self.analysis.engagement.name
        people = [f"{self._role(role.name)} {role.person or words('plan.gap')}" for role in plan.roles]
        return [
            (words("exercise.basis"), words("exercise.basis_said", name=name, month=self.month.name)),
            (words("exercise.players"), words("answer.comma").join(people) or words("plan.gap")),
            (words("exercise.length"), words("exercise.length_said")),
            (words("exercise.aim"), words("exercise.aim_said")),
        ]

    def _events(self) -> Iterator[tuple[str, str]]:
        """Yield what is reported, and what is asked, in order."""
        for kind, fields in self._facts():
            yield self.words(f"exercise.event_{kind}", **fields), self.words(f"exercise.question_{kind}")

    def _facts(self) -> Iterator[tuple[str, dict[str, str]]]:
        words, missing = self.words, self.missing
        begins = [*self._first_report(), *self._stops()]
        yield from sorted(begins, key=lambda event: event[1]["at"])
        if missing.height:
            yield "client", {"number": missing["invoice_key"][0]}
            sums = {"yuan": words.yuan(missing["gross"].sum()), "tax": words.yuan(missing["tax"].sum())}
            yield "count", {"at": _minute(self.analysis.taken_at), "count": words.count(missing.height), **sums}
        end = datetime.strptime(self.month.name, "%Y-%m").date()  # noqa: DTZ007 (Beijing time, stored without zone)
        if deadline := next_deadline(self.settings.calendar, end):
            yield "deadline", {"date": str(deadline)}
        if self.month.backup_faults:
            yield "backup", {"count": words.count(self.month.backup_faults)}
        yield "end", {}

    def _first_report(self) -> Iterator[tuple[str, dict[str, str]]]:
        """Yield the day with most missing invoices, those left out that may merely be late."""
        gone = self.missing.filter(pl.col("cause") != "late")
        if gone.is_empty():
            return
        date = pl.col("issued_at").dt.date()
        days = gone.group_by(day=date).len().sort("len", "day", descending=[True, False])
        there = gone.filter(date == days["day"][0]).sort("issued_at")
        channels = there.group_by("channel").len().sort("len", "channel", descending=[True, False], nulls_last=True)
        count = self.words.count(self.month.issued.filter(date == days["day"][0]).height)
        channel = channels["channel"][0] or self.words("letter.unnamed")
        yield "first", {"at": _minute(there["issued_at"][0]), "channel": channel, "count": count}

    def _stops(self) -> Iterator[tuple[str, dict[str, str]]]:
        words = self.words
        for stop in self.month.stops.head(2).iter_rows(named=True):
            until = _minute(stop["ends_at"]) if stop["ends_at"] else words("exercise.still_open")
            said = words("exercise.announced" if stop["announced"] else "exercise.unannounced")
            yield "stop", {"at": _minute(stop["starts_at"]), "announced": said, "until": until}

    def _sample(self, *, answered: bool) -> Iterator[Heading | Paragraph | Table]:
        words = self.words
        yield Heading(words("exercise.sample"))
        if self.sample.is_empty():
            yield Paragraph(words("exercise.none"))
            return
        if not answered:
            yield Paragraph(words("exercise.sample_said"))
        rows = [
            (row["invoice_key"], _minute(row["issued_at"]), row["channel"] or "–",
             words.cause(row["cause"]) if answered else "")
            for row in self.sample.iter_rows(named=True)
        ]  # fmt: skip
        heads = [words(f"annex_head.{name}") for name in ("invoice_key", "issued_at", "channel")]
        yield Table([*heads, words("exercise.sample_cause")], rows)

    def _first(self) -> Iterator[Paragraph]:
        words, hours = self.words, self.analysis.engagement.policy.response.first_reply_hours
        roles = self.settings.plan.roles
        role = self._role(roles[0].name) if roles else words("plan.gap")
        for level in (level for level in TICKET_LEVELS if level in hours):
            name = words.term("ticket_levels", level)
            yield Paragraph(words("exercise.first_by", role=role, level=name, hours=f"{hours[level]:g}"), "item")


def check_month(wanted: str | None) -> None:
    """Refuse what is no month.

    Raises:
        RequestError: it is not written as 2025-05.
    """
    if wanted is not None and not re.fullmatch(r"\d{4}-(?:0[1-9]|1[0-2])", wanted):
        raise RequestError("error_analysis.no_month", wanted=wanted)


def _minute(at: datetime) -> str:
    return f"{at:%Y-%m-%d %H:%M}"
