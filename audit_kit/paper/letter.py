"""A problem report as a letter: what happened, how much, what was tried, until when, why, and what is asked."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import polars as pl

from audit_kit.core import schema
from audit_kit.core.cause_records import records
from audit_kit.core.words import Words
from audit_kit.paper.document import Document, Facts, Heading, Paragraph, Table
from audit_kit.paper.figures import figures, next_deadline, windows
from audit_kit.paper.trouble import LOGS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from datetime import datetime
    from decimal import Decimal

    from audit_kit.paper.trouble import Case
    from audit_kit.paper.veil import Veil

RECIPIENTS = ("support", "it", "management", "tax_bureau")
SHOWN = 20  # rows of a list in the letter; the workbook has all
NAMED = 8  # channels, accounts and kinds of steps in a sentence
ANNEX = "annex.xlsx"
_SURE = {
    **dict.fromkeys(("entry", "known", "asked", "logs", "unbooked", "beside"), "documents"),
    **dict.fromkeys(("event", "level"), "statistics"),
    "age": "age",
}


class Letter:
    """One letter in the making: a case, seen through a recipient's veil."""

    def __init__(self, case: Case, recipient: str, about: Mapping[str, Any], veil: Veil, lang: str) -> None:
        """Take the case; `about` is the recipient's entry of resources/recipients.toml."""
        self.case, self.recipient, self.about, self.veil, self.words = case, recipient, about, veil, Words(lang)
        self.figures = figures(case)
        self.analysis = case.analysis
        self.invoices = veil.frame(_worded(case.invoices.select(self._columns("invoices")), self.words))
        self.tried = veil.frame(case.tried.select(about["tried"]))
        self.messages = veil.frame(case.messages)
        self.attachments = veil.frame(case.attachments)

    def _columns(self, part: str) -> list[str]:
        """Return the columns of a list (invoices, in_letter): what is not of the books is told by its evidence."""
        if self.case.of_books:
            return list(self.about[part])
        of_invoices = ("invoice_key", "issued_at") if self.figures.count else ()
        places = ("source_file", "source_row") if part == "invoices" and "source_file" in self.about[part] else ()
        return [*of_invoices, "severity", "evidence", *places]

    @property
    def reference(self) -> str:
        """The letter's number: the same for the same findings and recipient."""
        about = "\n".join([self.recipient, self.words.lang, *self.case.found["finding_id"].sort()])
        return f"AK-{self.analysis.taken_at:%Y%m%d}-{hashlib.sha256(about.encode()).hexdigest()[:6].upper()}"

    def document(self) -> Document:
        """Return the letter."""
        words, cause = self.words, self.words.cause(self.case.cause)
        title = (
            words("letter.title_many", count=words.count(self.figures.count), cause=cause)
            if self.figures.count > 1
            else words("letter.title", cause=cause)
        )
        blocks = [
            Heading(title, 0),
            Facts(self.head()),
            *self._what(),
            *self._seen(),
            *self._messages(),
            *self._tried(),
            *self._impact(),
            *self._cause(),
            *self._ask(),
            *self._attachments(),
            Paragraph(words("letter.signed")),
            Paragraph(words("letter.seal"), "right"),
            Paragraph(words("letter.masked"), "note"),
        ]
        return Document(title, blocks, words("letter.page_note", reference=self.reference))

    def head(self) -> list[tuple[str, str]]:
        """Return to whom, from whom, as of when."""
        words, settings = self.words, self.analysis.engagement.settings
        own = settings.taxpayer_name or self.analysis.engagement.name
        severity = min(self.case.found["severity"].cast(pl.String), key=schema.SEVERITIES.index)
        ids = words("answer.comma").join(settings.taxpayer_ids) or words("letter.not_known")
        rows = [
            (words("letter.to"), words(f"recipient.{self.recipient}")),
            (words("letter.sender"), own),
            (words("letter.taxpayer_id"), ids),
            (words("letter.reference"), self.reference),
            (words("letter.as_of"), _minute(self.analysis.taken_at)),
            (words("letter.urgency"), words.term("severities", severity)),
        ]
        account = self.analysis.export.account
        if account and "account" in self.about["clear"]:
            rows.append((words("letter.query_account"), self.veil.cell("account", account)))
        return rows

    def _what(self) -> Iterator[Heading | Paragraph]:
        words, told = self.words, self.figures
        yield Heading(words("letter.what"))
        yield Paragraph(words("letter.what_said", rule=words.rule(self.case.cause)))
        yield Heading(words("letter.scope"))
        taken_at = _minute(self.analysis.taken_at)
        if not told.count:
            yield Paragraph(words("letter.scope_few", taken_at=taken_at, count=words.count(told.findings)))
            return
        said = {"count": words.count(told.count), "yuan": self._money(told.yuan), "tax": self._money(told.tax)}
        share = words.share(min(told.count / told.all_rows, 1.0) if told.all_rows else None)
        yield Paragraph(
            words("letter.scope_said", taken_at=taken_at, all=words.count(told.all_rows), share=share, **said)
        )
        if told.first and told.last:
            spans = {"first": _minute(told.first[0]), "last": _minute(told.last[0])}
            numbers = {"first_number": told.first[1], "last_number": told.last[1]}
            yield Paragraph(words("letter.scope_span", **spans, **numbers))
        yield Paragraph(words("letter.scope_channels", list=self._counted(told.channels)))
        if "account" in self.about["invoices"]:
            accounts = [(self.veil.cell("account", name) if name else None, count) for name, count in told.accounts]
            yield Paragraph(words("letter.scope_accounts", list=self._counted(accounts)))

    def _money(self, amount: Decimal | None) -> str:
        """Return a sum; of one invoice alone only to whom its amount is shown."""
        is_shown = self.about["amounts"] or self.figures.count > 1
        return self.words.yuan(amount) if is_shown else self.words("letter.withheld")

    def _counted(self, counts: Sequence[tuple[str | None, int]]) -> str:
        words = self.words
        parts = [
            words("letter.of_these", name=name or words("letter.unnamed"), count=words.count(count))
            for name, count in counts[:NAMED]
        ]
        return words("answer.comma").join(parts) + ("…" if len(counts) > NAMED else "")

    def _seen(self) -> Iterator[Heading | Paragraph | Table]:
        words = self.words
        yield Heading(words("letter.seen"))
        sides = self.veil.frame(self.case.invoices.select("expected", "seen"))
        texts = {name: sides[name].drop_nulls().unique(maintain_order=True).to_list() for name in sides.columns}
        if self.case.of_books and (self.case.invoices["outcome"] == "missing").fill_null(value=False).all():
            within = words.about(self.analysis.engagement.policy.sync.target_hours * 60)
            texts["expected"] = [words("letter.expect_within", span=within)]
        for name, key in (("expected", "expected"), ("seen", "seen_said")):
            said = texts[name]
            each = words("letter.each" if self.case.of_books else "letter.each_below")
            is_told = len(said) == 1 and (self.case.of_books or name == "expected")
            yield Paragraph(words(f"letter.{key}", text=said[0] if is_told else each))
        rows = self.invoices.select(self._columns("in_letter"))
        shown, count = words.count(min(SHOWN, rows.height)), words.count(rows.height)
        if rows.height > SHOWN:
            key = "letter.listed" if self.figures.count else "letter.listed_items"
            yield Paragraph(words(key, shown=shown, count=count, file=ANNEX))
        else:
            yield Paragraph(words("letter.listed_all" if self.case.of_books else "letter.listed_these", file=ANNEX))
        yield self._table(rows)

    def _messages(self) -> Iterator[Heading | Paragraph | Table]:
        if not self.about["messages"] or not self.figures.count:
            return
        words = self.words
        yield Heading(words("letter.messages"), 2)
        if not self.analysis.engagement.has("sync_log"):
            yield Paragraph(words("letter.no_log"), "gap")
        elif self.messages.is_empty():
            yield Paragraph(words("letter.no_messages"))
        else:
            yield Paragraph(words("letter.messages_said"))
            yield self._table(self.messages, last_at="last_at_message")

    def _tried(self) -> Iterator[Heading | Paragraph | Table]:
        words = self.words
        yield Heading(words("letter.tried"))
        if not self.figures.count:
            yield Paragraph(words("letter.tried_else"))
            return
        if self.tried.is_empty():
            yield Paragraph(words("letter.tried_none"))
        else:
            counts = self.case.tried["source"].value_counts(sort=True).sort("count", "source", descending=[True, False])
            kinds = [words("letter.tried_of", source=source, count=count) for source, count in counts.iter_rows()]
            said = words("answer.comma").join(kinds)
            yield Paragraph(words("letter.tried_said", count=words.count(self.tried.height), list=said))
            yield self._table(self.tried)
        lacking = [words.term("table", table) for table in LOGS if not self.analysis.engagement.has(table)]
        if lacking:
            yield Paragraph(words("letter.tried_unknown", list=words("answer.comma").join(lacking)), "gap")

    def _impact(self) -> Iterator[Heading | Paragraph]:
        words, told, taken_at = self.words, self.figures, self.analysis.taken_at
        yield Heading(words("letter.impact"))
        if told.first:
            days = max((taken_at - told.first[0]).days, 0)
            yield Paragraph(words("letter.impact_said", days=words.count(days), tax=self._money(told.tax)))
        calendar, day = self.analysis.engagement.settings.calendar, taken_at.date()
        deadline = next_deadline(calendar, day)
        if deadline == day:
            yield Paragraph(words("letter.deadline_today", date=f"{day:%Y-%m-%d}"))
        elif deadline:
            yield Paragraph(words("letter.deadline", date=f"{deadline:%Y-%m-%d}", days=(deadline - day).days))
        elif calendar.filing_deadlines:
            last = max(calendar.filing_deadlines)
            yield Paragraph(words("letter.deadline_past", date=f"{last:%Y-%m-%d}"), "gap")
        else:
            yield Paragraph(words("letter.deadline_unknown"), "gap")
        for name, window in windows(calendar, day):
            yield Paragraph(
                words("letter.window", name=words(f"letter.{name}"), start=str(window.start), end=str(window.end))
            )
        if told.tickets_open:
            counts = {"count": words.count(told.tickets_open), "late": words.count(told.tickets_late)}
            yield Paragraph(words("letter.tickets_open", **counts))

    def _cause(self) -> Iterator[Heading | Paragraph]:
        words, told, code = self.words, self.figures, self.case.cause
        known = records().get(code)
        yield Heading(words("letter.cause"))
        sure = _SURE.get(known.stage, "documents") if known else "rule"
        yield Paragraph(words("letter.cause_said", cause=words.cause(code), evidence=words(f"letter.sure_{sure}")))
        if told.fails:
            key = "letter.cause_fails" if told.unknown else "letter.cause_all"
            yield Paragraph(words(key, count=words.count(told.fails)), "item")
        if told.unknown:
            yield Paragraph(words("letter.cause_unknown", count=words.count(told.unknown)), "item")
        if told.chances:
            low, high = (words.share(chance) for chance in told.chances)
            key = "chance_one" if low == high else "chance"
            yield Paragraph(
                words(f"letter.{key}", **({"low": low} if low == high else {"low": low, "high": high})), "item"
            )
        if known and known.confused_with:
            others = words("answer.comma").join(words.cause(other) for other in known.confused_with)
            yield Paragraph(words("letter.confused", list=others), "item")

    def _ask(self) -> Iterator[Heading | Paragraph]:
        words = self.words
        kind = "invoices" if self.case.of_books else "else"
        yield Heading(words("letter.ask"))
        yield Paragraph(words(f"letter_ask.{self.recipient}_{kind}"))
        if step := words.next_step(self.case.cause):
            yield Paragraph(words("letter.step", text=step))

    def _attachments(self) -> Iterator[Heading | Paragraph | Table]:
        words = self.words
        yield Heading(words("letter.attachments"))
        if self.attachments.is_empty():
            yield Paragraph(words("letter.attachments_none"))
            return
        yield Paragraph(words("letter.attachments_said"))
        rows = self.attachments.sort(pl.col("sha256").is_null(), maintain_order=True)
        lost = pl.col("file").is_null() & pl.col("sha256").is_null() & pl.col("of_invoice")
        count = rows.filter(lost).height
        if count > 1:
            one = {"what": words("letter.originals_lost", count=words.count(count))}
            rows = pl.concat([rows.filter(~lost), pl.DataFrame([one])], how="diagonal_relaxed")
        yield self._table(rows.select("what", "file", "sha256"), missing=("sha256",))
        if rows.height > SHOWN:
            yield Paragraph(words("letter.more_attachments", count=words.count(rows.height - SHOWN)))

    def _table(self, rows: pl.DataFrame, *, missing: Sequence[str] = (), **heads: str) -> Table:
        """Return the first rows of a frame as a table; null in a column of `missing` is a gap."""
        words = self.words
        gap = words("letter.missing")
        named = [words(f"annex_head.{heads.get(name, name)}") for name in rows.columns]
        lines = [
            [gap if value is None and name in missing else shown(value) for name, value in row.items()]
            for row in rows.head(SHOWN).iter_rows(named=True)
        ]
        return Table(named, lines, gap if missing else "")


def shown(value: Any) -> str:  # noqa: ANN401 (any column's value)
    """Return a value as it stands in a letter."""
    if value is None:
        return "–"
    if hasattr(value, "strftime"):
        return str(f"{value:%Y-%m-%d %H:%M:%S}")
    if hasattr(value, "as_tuple"):
        return f"{value:,.2f}"
    return f"{value:.1%}" if isinstance(value, float) else str(value)


def _worded(rows: pl.DataFrame, words: Words) -> pl.DataFrame:
    if "severity" not in rows.columns:
        return rows
    severities = words.terms("severities", schema.SEVERITIES)
    return rows.with_columns(pl.col("severity").cast(pl.String).replace(severities))


def _minute(at: datetime) -> str:
    return f"{at:%Y-%m-%d %H:%M}"
