"""What is known of the trouble that a problem report is about: the invoices, the log, what was tried, the proofs.

Nothing is hidden here yet; see `veil`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import polars as pl

from audit_kit.core import schema
from audit_kit.core.errors import RequestError
from audit_kit.core.hashing import hash_file
from audit_kit.core.identity import with_key
from audit_kit.core.words import Words
from audit_kit.report import working_papers
from audit_kit.resources.languages import Phrase

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from audit_kit.analysis.analysis import Analysis

OF_INVOICE = (
    "issued_at", "kind", "account", "seller_tax_id", "seller_name", "buyer_tax_id", "buyer_name", "net", "tax", "gross",
)  # fmt: skip
LOGS = ("sync_log", "operations", "tickets", "confirmations")
IN_BOOKS = ("sync", "missing")
DEEDS = ("edit", "void", "red", "resend")
TRIED = {
    "at": pl.Datetime("us"),
    "source": pl.String(),
    "what": pl.String(),
    "invoice_key": pl.String(),
    "account": pl.String(),
    "result": pl.String(),
    "source_file": pl.String(),
    "source_row": pl.UInt32(),
}
ATTACHMENTS = {
    "what": pl.String(),
    "file": pl.String(),
    "size": pl.UInt64(),
    "sha256": pl.String(),
    "of_invoice": pl.Boolean(),
}
_FILE = re.compile(r"[^\s；;，,、]+\.[0-9A-Za-z]{1,5}")


@dataclass(frozen=True, kw_only=True, eq=False)
class Case:
    """What one problem report is about.

    `invoices`: a row a finding, with its invoice's fields where it has one. `messages`: `error_code`, `message`,
    `rows`, `first_at`, `last_at` of failures. `tried`: TRIED. `tickets`: the table's rows. `attachments`:
    ATTACHMENTS, null hash = missing.
    """

    analysis: Analysis
    found: pl.DataFrame
    invoices: pl.DataFrame
    messages: pl.DataFrame
    tried: pl.DataFrame
    tickets: pl.DataFrame
    attachments: pl.DataFrame

    @property
    def cause(self) -> str:
        """The code of the cause; of several, that of most findings."""
        return str(self.found["cause"].value_counts(sort=True)["cause"][0])

    @property
    def of_books(self) -> bool:
        """Whether it is about what ledger and platform say, not about how the trouble was followed up or backed up."""
        return str(self.found["area"][0]) in IN_BOOKS

    @property
    def affected(self) -> pl.DataFrame:
        """The invoices concerned, each once; findings that are about none left out."""
        keyed = self.invoices.with_columns(pl.coalesce("invoice_key", "place").alias("once")).drop_nulls("once")
        return keyed.unique("once", keep="first", maintain_order=True)


def all_findings(analysis: Analysis) -> pl.DataFrame:
    """Return the findings of every area."""
    areas = [analysis.findings, analysis.backup_findings, analysis.response_findings]
    return pl.concat(areas, how="diagonal_relaxed")


def chosen(analysis: Analysis, *, finding: str | None = None, cause: str | None = None) -> pl.DataFrame:
    """Return the one finding of this id, or all of a cause, named by its code or title.

    Raises:
        RequestError: both or neither is asked for, or there is none.
    """
    if (finding is None) == (cause is None):
        raise RequestError("error_paper.one_of_two")
    found = all_findings(analysis)
    if finding is not None:
        if (rows := found.filter(pl.col("finding_id") == finding.strip())).is_empty():
            raise RequestError("error_paper.no_finding", finding=finding)
        return rows
    named = str(cause).strip().casefold()
    codes = found["cause"].unique(maintain_order=True).to_list()
    titles = {title.casefold(): code for lang in ("zh", "en") for code, title in Words(lang).causes(codes).items()}
    titles |= {code.casefold(): code for code in codes}
    if named not in titles:
        raise RequestError(
            "error_paper.no_cause", cause=cause, known=", ".join(sorted(codes)) or Phrase("error_core.unknown")
        )
    return found.filter(pl.col("cause") == titles[named])


def case_of(analysis: Analysis, found: pl.DataFrame, *, lang: str) -> Case:
    """Return everything that is known of some findings, the words in the recipient's language."""
    words = Words(lang)
    base = _invoices(analysis, found, words)
    keys = base["invoice_key"].drop_nulls().unique()
    logs = {table: _of_keys(analysis, table, keys) for table in LOGS}
    invoices = _with_log(base, logs["sync_log"], words)
    tried = pl.concat([pl.DataFrame(schema=TRIED), *_tried(logs, words)]).sort("at", "invoice_key", nulls_last=True)
    return Case(
        analysis=analysis,
        found=found,
        invoices=invoices,
        messages=_messages(logs["sync_log"]),
        tried=tried,
        tickets=logs["tickets"],
        attachments=_attachments(analysis, invoices, logs, words),
    )


def _of_keys(analysis: Analysis, table: str, keys: pl.Series) -> pl.DataFrame:
    """Return the rows of a table that are about these invoices, with `invoice_key`."""
    rows = with_key(analysis.engagement.table(table))
    return rows.filter(pl.col("invoice_key").is_in(keys.implode()))


def _invoices(analysis: Analysis, found: pl.DataFrame, words: Words) -> pl.DataFrame:
    """Return one row a finding: what is booked, else what is listed; expected and seen."""
    nothing = pl.DataFrame(schema=working_papers.CONCLUSIONS)
    paper = working_papers.papers(
        found,
        analysis.ledger,
        analysis.platform,
        analysis.matches,
        concluded=nothing,
        direction=analysis.engagement.direction,
        words=words,
    )
    by_key = (
        with_key(analysis.ledger).with_row_index("place").drop_nulls("invoice_key").unique("invoice_key", keep="first")
    )
    places = found.join(by_key.select("invoice_key", "place"), on="invoice_key", how="left", maintain_order="left")
    booked = _gathered(analysis.ledger, places.select(pl.coalesce("ledger_row", "place"))["ledger_row"])
    listed = _gathered(analysis.platform, found["platform_row"])
    row = pl.DataFrame(
        {
            name: [a if a is not None else b for a, b in zip(booked[name], listed[name], strict=True)]
            for name in OF_INVOICE
        },
        schema={name: schema.dtypes("ledger")[name] for name in OF_INVOICE},
    )
    channels = analysis.observations.select("ledger_row", "channel").unique("ledger_row", keep="first")
    whole = found.drop("source_file", "source_row").hstack(row).with_columns(found["source_file"], found["source_row"])
    whole = whole.join(channels, on="ledger_row", how="left", maintain_order="left")
    outcome = analysis.matches.select("ledger_row", outcome=pl.col("outcome").cast(pl.String)).drop_nulls("ledger_row")
    whole = whole.join(outcome.unique("ledger_row", keep="first"), on="ledger_row", how="left", maintain_order="left")
    return whole.with_columns(
        pl.col("gross").fill_null(pl.col("amount")),
        paper["ledger_value"],
        paper["platform_value"],
        place=pl.coalesce(pl.format("ledger {}", "ledger_row"), pl.format("platform {}", "platform_row")),
        symptom=pl.col("cause").replace(words.causes(found["cause"].unique())),
    ).pipe(_expected, analysis, words)


def _gathered(frame: pl.DataFrame, places: pl.Series) -> pl.DataFrame:
    """Return the rows at some places, a row of nulls where there is none."""
    at = places.to_frame("at").with_columns(pl.col("at").cast(pl.UInt32))
    return at.join(frame.with_row_index("at"), on="at", how="left", maintain_order="left")


def _expected(rows: pl.DataFrame, analysis: Analysis, words: Words) -> pl.DataFrame:
    """Add `expected` and `seen`: the two values that differ, else what should have come by when, and what there is."""
    hours = analysis.engagement.policy.sync.target_hours
    in_books = pl.col("area").cast(pl.String).is_in(IN_BOOKS)
    missing = in_books & (pl.col("outcome") == "missing")
    unbooked = pl.col("ledger_row").is_null() & pl.col("platform_row").is_not_null()
    due = (pl.col("issued_at") + pl.duration(seconds=round(hours * 3600))).dt.strftime("%Y-%m-%d %H:%M")
    taken = f"{analysis.taken_at:%Y-%m-%d %H:%M}"
    expected = (
        pl.when(missing & due.is_not_null())
        .then(pl.format(words("letter.expect_by"), due))
        .when(missing)
        .then(pl.lit(words("letter.expect_listed")))
        .when(unbooked & in_books)
        .then(pl.lit(words("letter.expect_booked")))
        .when(in_books & pl.col("ledger_value").is_not_null())
        .then("ledger_value")
        .when(in_books)
        .then(pl.lit(words("letter.expect_agree")))
        .otherwise(pl.lit(words("letter.expect_else")))
    )
    seen = (
        pl.when(missing)
        .then(pl.lit(words("letter.seen_missing", taken_at=taken)))
        .when(unbooked & in_books)
        .then(pl.lit(words("letter.seen_unbooked", taken_at=taken)))
        .when(in_books & pl.col("platform_value").is_not_null())
        .then("platform_value")
        .otherwise("evidence")
    )
    return rows.with_columns(expected=expected, seen=seen)


def _with_log(invoices: pl.DataFrame, log: pl.DataFrame, words: Words) -> pl.DataFrame:
    """Add each invoice's last event and its last failure, as the log has them."""
    timed = log.sort("at", nulls_last=False, maintain_order=True)
    events = words.terms("events", schema.EVENTS)
    last = timed.group_by("invoice_key", maintain_order=True).agg(
        last_event=pl.col("event").cast(pl.String).replace(events).last(),
        last_at=pl.col("at").last(),
        batch=pl.col("batch").drop_nulls().last(),
        logged=pl.col("channel").drop_nulls().last(),
    )
    failed = timed.filter(pl.col("error_code").is_not_null() | pl.col("message").is_not_null())
    why = failed.group_by("invoice_key", maintain_order=True).agg(pl.col("error_code", "message").last())
    join = partial(pl.DataFrame.join, on="invoice_key", how="left", maintain_order="left")
    whole = join(join(invoices, last), why)
    return whole.with_columns(pl.coalesce("channel", "logged").alias("channel")).drop("logged")


def _messages(log: pl.DataFrame) -> pl.DataFrame:
    """Return each message of the log as it stands there, how often and when, the most frequent first."""
    told = log.filter(pl.col("error_code").is_not_null() | pl.col("message").is_not_null())
    return (
        told.group_by("error_code", "message", maintain_order=True)
        .agg(rows=pl.len(), first_at=pl.col("at").min(), last_at=pl.col("at").max())
        .sort("rows", "error_code", "message", descending=[True, False, False], nulls_last=True)
    )


def _tried(logs: dict[str, pl.DataFrame], words: Words) -> Iterator[pl.DataFrame]:
    """Yield what was done about the invoices: deeds, further uploads, tickets, queries elsewhere."""

    def told(table: str, rows: pl.DataFrame, **columns: pl.Expr) -> pl.DataFrame:
        source = pl.lit(words.term("table", table))
        missing = {name: pl.lit(None, dtype) for name, dtype in TRIED.items() if name not in rows.columns}
        return rows.with_columns(**(missing | {"source": source} | columns)).select(
            pl.col(name).cast(dtype) for name, dtype in TRIED.items()
        )

    def term(column: str, vocabulary: str, entries: Sequence[str]) -> pl.Expr:
        return pl.col(column).cast(pl.String).replace(words.terms(vocabulary, entries))

    text = pl.String()
    deeds = logs["operations"].filter(pl.col("action").cast(text).is_in(list(DEEDS)))
    yield told(
        "operations",
        deeds,
        what=pl.concat_str(term("action", "actions", schema.ACTIONS), "field", separator=" ", ignore_nulls=True),
    )
    uploads = logs["sync_log"].filter(pl.col("event").cast(text) == "uploaded").sort("at", maintain_order=True)
    again = uploads.filter(pl.col("at").cum_count().over("invoice_key") > 1)
    yield told(
        "sync_log", again, what=pl.concat_str(pl.lit(words("letter.again")), "batch", separator=" ", ignore_nulls=True)
    )
    tickets = logs["tickets"]
    state = term("state", "ticket_states", schema.TICKET_STATES)
    level = term("level", "ticket_levels", schema.TICKET_LEVELS)
    yield told(
        "tickets",
        tickets,
        at=pl.col("opened_at"),
        what=pl.concat_str("ticket", level, separator=" · ", ignore_nulls=True),
        result=pl.concat_str(state, "outcome", separator=" · ", ignore_nulls=True),
    )
    yield told(
        "confirmations",
        logs["confirmations"],
        what=pl.format(
            words("letter.asked"), term("source", "confirmation_sources", schema.CONFIRMATION_SOURCES).fill_null("?")
        ),
        result=term("result", "confirmation_results", schema.CONFIRMATION_RESULTS),
    )


def _attachments(
    analysis: Analysis, invoices: pl.DataFrame, logs: dict[str, pl.DataFrame], words: Words
) -> pl.DataFrame:
    """Return the proofs with their hashes; what should be there and is not has none."""
    engagement = analysis.engagement
    cited = [frame["source_file"] for frame in (invoices, *logs.values())]
    used = pl.col("source_file").is_in(pl.concat(cited).drop_nulls().unique().implode())
    if invoices["area"].cast(pl.String).is_in(IN_BOOKS).any():
        used |= pl.col("table") == "platform"
    files = analysis.files.filter(used & (pl.col("table") != "invoice_files"))
    files = files.unique(["table", "source_file"], maintain_order=True)
    read = files.with_columns(pl.col("table").replace({name: words.term("table", name) for name in schema.INPUTS}))
    rows = [*read.select("table", "source_file", "size", "sha256").iter_rows()]
    rows += [(words.term("table", table), None, None, None) for table in LOGS if not engagement.has(table)]
    rows = [(*row, False) for row in rows]
    originals = _originals(analysis, invoices["invoice_key"].drop_nulls().unique(maintain_order=True), words)
    rows += [(*row, True) for row in originals]
    answers = logs["confirmations"]["evidence"].drop_nulls().unique(maintain_order=True)
    places = [
        engagement.folder,
        *{(engagement.folder / file).parent for file in logs["confirmations"]["source_file"].drop_nulls()},
    ]
    for name in (name for text in answers for name in _FILE.findall(text)):
        sizes = [_hashed(engagement.folder, place / name.replace("\\", "/")) for place in places]
        size, sha256 = next((found for found in sizes if found[1]), (None, None))
        rows.append((words("letter.answer"), name, size, sha256, False))
    return pl.DataFrame(rows, schema=ATTACHMENTS, orient="row").unique(maintain_order=True)


def _originals(
    analysis: Analysis, keys: pl.Series, words: Words
) -> list[tuple[str, str | None, int | None, str | None]]:
    """Return the e-invoice files of the invoices, and a line for each that has none."""
    engagement = analysis.engagement
    if keys.is_empty():
        return []
    if not engagement.has("invoice_files"):
        return [(words("letter.originals"), None, None, None)]
    held = with_key(engagement.table("invoice_files"))
    files = keys.to_frame("invoice_key").join(
        held.select("invoice_key", "path", "size", "sha256"), on="invoice_key", how="left", maintain_order="left"
    )
    return [(words("letter.original", number=key), path, size, sha256) for key, path, size, sha256 in files.iter_rows()]


def _hashed(folder: Path, named: Path) -> tuple[int | None, str | None]:
    """Return size and hash of a file within the engagement; nothing for what is not there or leads out of it."""
    try:
        path = named.resolve()
        if path.is_relative_to(folder) and path.is_file():
            return path.stat().st_size, hash_file(path)
    except (OSError, ValueError):
        pass
    return None, None
