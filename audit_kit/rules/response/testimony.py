"""What sources say of an invoice, ranked by how much their word weighs, and where they disagree.

The rank follows audit standard 1301: evidence from outside and independent of the company weighs more than its own, and
an original more than a copy. A source that gave no answer says nothing: asked too early, too late, or too often.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import polars as pl

from audit_kit.core.identity import with_key
from audit_kit.rules.matching import comparison
from audit_kit.rules.proofs import confirmed
from audit_kit.rules.response.register import written

if TYPE_CHECKING:
    from collections.abc import Callable

    from audit_kit.rules.response.response_evidence import ResponseEvidence

# The most weighty first; a copy is a file without a signature, which anybody may have changed.
RANKED = ("national", "counterparty", "file", "department", "copy", "ledger")
ASKED = ("national", "counterparty", "file", "department")
ANSWERS = ("agree", "differ", "absent", "mixed")
QUERIES_A_DAY = 5  # of one invoice on the national verification platform
COMPARED = ("issued_at", "seller_tax_id", "buyer_tax_id", "net", "tax", "gross")
TESTIMONY = {
    "invoice_key": pl.String(),
    "ledger_row": pl.UInt32(),
    **dict.fromkeys(RANKED, pl.String()),
    "register": pl.String(),
    "holds": pl.String(),
    "answer": pl.String(),
    "disagree": pl.Boolean(),
    "unanswered": pl.UInt32(),
    "answers": pl.List(
        pl.Struct(
            {name: pl.String() for name in ("part", "source", "answer", "at", "times", "attached", "file", "row")}
        )
    ),
    "source_file": pl.String(),
    "source_row": pl.UInt32(),
}


def testimony(evidence: ResponseEvidence) -> pl.DataFrame:
    """Return what is said of each invoice that was asked about, or whose file is unlike the ledger: see `TESTIMONY`.

    A column for each source holds its last answer: agree, differ, absent, mixed (it contradicts itself); null = none.
    `register`: agree, differ, alone (the ledger lacks it). `holds`: the weightiest source that answered, `answer` its
    word. `unanswered`: how many answers say nothing.
    """
    if evidence.confirmations.is_empty() and evidence.invoice_files.is_empty():
        return pl.DataFrame(schema=TESTIMONY)
    asked = evidence.once(answers)
    files = _files(evidence)
    said = pl.concat([_last(asked), files.filter(_is_asked(asked) | (pl.col("answer") == "differ"))])
    if said.is_empty():
        return pl.DataFrame(schema=TESTIMONY)
    keys = pl.concat([asked["invoice_key"], said["invoice_key"]]).unique(maintain_order=True)
    rows = keys.to_frame().join(_wide(said), on="invoice_key", how="left", maintain_order="left")
    booked = evidence.booked.select("invoice_key", "ledger_row", status=pl.col("status").cast(pl.String))
    booked = booked.drop_nulls("invoice_key").unique("invoice_key", keep="first", maintain_order=True)
    rows = rows.join(booked, on="invoice_key", how="left", maintain_order="left").with_columns(
        ledger=pl.when(
            pl.col("ledger_row").is_not_null() & (pl.col("status") != "not_issued").fill_null(value=True)
        ).then(pl.lit("agree"))
    )
    heard = [pl.when(pl.col(source).is_not_null()).then(pl.lit(source)) for source in RANKED]
    words = pl.concat_list(pl.col(source) for source in RANKED).list.drop_nulls().list.unique()
    rows = rows.with_columns(
        holds=pl.coalesce(heard),
        answer=pl.coalesce(pl.col(source) for source in RANKED),
        disagree=(words.list.len() > 1) | words.list.contains("mixed"),
    )
    silent = asked.filter(~pl.col("counts")).group_by("invoice_key").agg(unanswered=pl.len())
    told = _told(asked, said, rows.filter(pl.col("ledger") == "agree"))
    place = (
        asked.sort("rank", maintain_order=True)
        .unique("invoice_key", keep="first")
        .select("invoice_key", "source_file", "source_row")
    )
    for more in (_registered(evidence), silent, told, place):
        rows = rows.join(more, on="invoice_key", how="left", maintain_order="left")
    return (
        rows.with_columns(pl.col("unanswered").fill_null(0))
        .select(*TESTIMONY)
        .cast(pl.Schema(TESTIMONY))
        .sort("invoice_key")
    )


def answers(evidence: ResponseEvidence) -> pl.DataFrame:
    """Return every answer with `invoice_key`, `answer`, `rank`, and whether it `counts`: says anything at all."""
    table = evidence.confirmations.filter(pl.col("source").is_not_null())
    keys = (
        with_key(table.select(digital_number="invoice_number"))
        .select("invoice_key")
        .drop_nulls()
        .unique(maintain_order=True)
    )
    booked = evidence.booked.select("invoice_key", "issued_at", "date_only", "kind").drop_nulls("invoice_key")
    booked = booked.unique("invoice_key", keep="first", maintain_order=True)
    invoices = keys.join(booked, on="invoice_key", how="left", maintain_order="left").with_row_index("row")
    found = confirmed.answers(table, invoices).join(
        invoices.select("row", "invoice_key"), on="row", maintain_order="left"
    )
    # What was not there too soon after issue, or too long ago, says nothing; what was there was there.
    void = (pl.col("result") == "absent") & (pl.col("note") != confirmed.COUNTS)
    answer = pl.when(void).then("note").otherwise("result")
    return found.select(
        *("invoice_key", "at", "source"),
        source_file="answer_file",
        source_row="answer_row",
        attached="evidence",
        answer=answer,
        counts=answer.is_in(confirmed.SAID),
        rank=pl.col("source").cast(pl.Enum(RANKED)).to_physical(),
    )


def sources_disagree(evidence: ResponseEvidence) -> pl.DataFrame:
    """Find invoices of which two sources say different things; the weightier one holds."""
    rows = evidence.once(testimony).filter("disagree")
    return rows.select(
        "invoice_key", "holds", "source_file", "source_row", "answers", "answer",
        about=pl.concat_list(pl.lit("sources")),
        severity=pl.when(pl.col("answer") == "agree").then(pl.lit("medium")),
        variant=pl.when(pl.col("register").is_not_null()).then(pl.concat_str(pl.lit("register_"), "register")),
    )  # fmt: skip


def queries_over_limit(evidence: ResponseEvidence) -> pl.DataFrame:
    """Find days on which the national platform was asked about one invoice more often than it answers."""
    if evidence.confirmations.is_empty():
        return pl.DataFrame()
    rows = evidence.once(answers).filter((pl.col("source") == "national") & pl.col("at").is_not_null())
    days = rows.group_by("invoice_key", day=pl.col("at").dt.date(), maintain_order=True).agg(
        queries=pl.len(), source_file=pl.col("source_file").first(), source_row=pl.col("source_row").first()
    )
    often = days.filter(pl.col("queries") > QUERIES_A_DAY)
    return often.with_columns(about=pl.concat_list(pl.col("day").cast(pl.String)), limit=pl.lit(QUERIES_A_DAY))


def _is_asked(asked: pl.DataFrame) -> pl.Expr:
    return pl.col("invoice_key").is_in(asked["invoice_key"].unique().implode())


def _last(asked: pl.DataFrame) -> pl.DataFrame:
    """Return each source's last answer of an invoice; mixed where several at one time differ.

    What the national platform had once it cannot have never known: that it is absent later contradicts it.
    """
    counted = asked.filter("counts")
    last = pl.col("at").max().over("invoice_key", "source")
    latest = counted.filter(pl.col("at").is_null() | (pl.col("at") == last))
    known = counted.filter((pl.col("source") == "national") & (pl.col("answer") == "agree"))
    gone = (pl.col("source") == "national") & (pl.col("answer") == "absent")
    latest = latest.with_columns(against=gone & pl.col("invoice_key").is_in(known["invoice_key"].unique().implode()))
    several = (pl.col("answer").n_unique() > 1) | pl.col("against").any()
    return latest.group_by("invoice_key", "source", maintain_order=True).agg(
        answer=pl.when(several).then(pl.lit("mixed")).otherwise(pl.col("answer").first())
    )


def _files(evidence: ResponseEvidence) -> pl.DataFrame:
    """Return what e-invoice files say of the ledger: `invoice_key`, `source` (file, copy), `answer` (agree, differ)."""
    shape = {"invoice_key": pl.String(), "source": pl.String(), "answer": pl.String()}
    files = with_key(evidence.invoice_files).filter(pl.col("invoice_key").is_not_null() & pl.col("gross").is_not_null())
    files = files.with_row_index("file_row").select("invoice_key", "file_row", "signed_at", *COMPARED)
    ledger = evidence.booked.filter(pl.col("gross").is_not_null())
    pairs = files.join(ledger.select("invoice_key", "ledger_row"), on="invoice_key", how="inner", maintain_order="left")
    if pairs.is_empty():
        return pl.DataFrame(schema=shape)
    ours = comparison.values(evidence.ledger.select(COMPARED), COMPARED)[pairs["ledger_row"]]
    theirs = comparison.values(files.select(COMPARED), COMPARED)[pairs["file_row"]]
    tolerance = comparison.tolerance_units(evidence.policy.matching.amount_tolerance_yuan)
    unlike = comparison.apart(ours, theirs, tolerance=tolerance)["differences"].list.len() > 0
    source = pl.when(pl.col("signed_at").is_not_null()).then(pl.lit("file")).otherwise(pl.lit("copy"))
    # A file is unlike the ledger where no row of its number is like it.
    of_file = pairs.with_columns(unlike, source=source).group_by(
        "invoice_key", "file_row", "source", maintain_order=True
    )
    judged = of_file.agg(pl.col("differences").all())
    differ = pl.when(pl.col("differences").any()).then(pl.lit("differ")).otherwise(pl.lit("agree"))
    return judged.group_by("invoice_key", "source", maintain_order=True).agg(answer=differ)


def _wide(said: pl.DataFrame) -> pl.DataFrame:
    """Return a column a source; of a file asked about and a file at hand that differ, the worse."""
    order = pl.Enum(("mixed", "absent", "differ", "agree"))
    worst = said.group_by("invoice_key", "source", maintain_order=True).agg(
        pl.col("answer").cast(order).min().cast(pl.String)
    )
    columns = [pl.col("answer").filter(pl.col("source") == source).first().alias(source) for source in RANKED[:-1]]
    return worst.group_by("invoice_key", maintain_order=True).agg(columns)


def _told(asked: pl.DataFrame, said: pl.DataFrame, booked: pl.DataFrame) -> pl.DataFrame:
    """Return the answers of each invoice as they are told, the weightiest first, the ledger last."""
    held = said.join(asked.select("invoice_key", "source"), on=["invoice_key", "source"], how="anti")
    of_files = held.select(
        *("invoice_key", "source", "answer"),
        part=pl.lit("file"),
        rank=pl.col("source").cast(pl.Enum(RANKED)).to_physical(),
    )
    alike = ("invoice_key", "source", "answer")
    last = asked.sort("at", nulls_last=False, maintain_order=True).with_columns(times=pl.len().over(alike))
    told = last.unique(alike, keep="last", maintain_order=True).select(
        *("invoice_key", "source", "answer", "rank"),
        at=pl.col("at").dt.strftime("%Y-%m-%d %H:%M").fill_null("–"),
        times=pl.col("times").cast(pl.String),
        attached=pl.col("attached").fill_null("–"),
        file=pl.col("source_file").fill_null("–"),
        row=pl.col("source_row").cast(pl.String).fill_null("–"),
        part=pl.when(pl.col("times") > 1)
        .then(pl.lit("several"))
        .when(pl.col("attached").is_null())
        .then(pl.lit("plain"))
        .otherwise(pl.lit("proved")),
    )
    own = booked.select("invoice_key", source=pl.lit("ledger"), part=pl.lit("booked"), answer=pl.lit("agree"))
    own = own.with_columns(rank=pl.lit(RANKED.index("ledger")))
    parts = pl.concat([told, of_files, own], how="diagonal_relaxed").sort("rank", maintain_order=True)
    fields = [field.name for field in TESTIMONY["answers"].inner.fields]  # type: ignore[attr-defined]
    return parts.group_by("invoice_key", maintain_order=True).agg(answers=pl.struct(fields))


def _registered(evidence: ResponseEvidence) -> pl.DataFrame:
    """Return what the register says of each invoice in it."""
    rows = evidence.once(written).filter(pl.col("invoice_key").is_not_null())
    unlike = pl.col("unlike").list.len() > 0
    word = pl.when(unlike.any()).then(pl.lit("differ")).when((pl.col("ledger") == "absent").all()).then(pl.lit("alone"))
    return rows.group_by("invoice_key").agg(register=word.otherwise(pl.lit("agree")))


def ranks(rows: pl.DataFrame) -> list[dict[str, Any]]:
    """Return each source in order of weight: `source`, then how many invoices it says agree, differ, absent, mixed."""
    counts = []
    for source in RANKED:
        found = dict(rows[source].drop_nulls().value_counts().iter_rows())
        counts.append({"source": source} | {answer: found.get(answer, 0) for answer in ANSWERS})
    return counts


CAUSES: dict[str, Callable[[ResponseEvidence], pl.DataFrame]] = {
    "sources_disagree": sources_disagree,
    "queries_over_limit": queries_over_limit,
}
