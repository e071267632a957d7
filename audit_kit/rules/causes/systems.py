"""Causes that logs and other systems tell: answers, e-invoices, the upload log, the substitute system, the backups."""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl

from audit_kit import resources
from audit_kit.rules.causes.evidence import flag, moment
from audit_kit.rules.proofs import confirmed, failures, papers

if TYPE_CHECKING:
    from collections.abc import Callable

    from audit_kit.rules.causes.evidence import Case

MOST_ANSWERS = 20  # of one invoice that are told with their times; of more, each different one is told once
CENT = 0.01
EVERYTHING = 0.5  # a backup that holds more than this share of both listed and missing invoices singles none out


def exists_not_listed(case: Case) -> pl.DataFrame:
    """The national page knows the invoice, asked a day or more after issue; this account's list does not."""
    return _answered(case, "agree")


def unknown_to_authority(case: Case) -> pl.DataFrame:
    """The national verification page does not know the invoice, asked in time and for a kind that it knows."""
    return _answered(case, "absent")


def _answered(case: Case, result: str) -> pl.DataFrame:
    """Return the missing rows for which this answer stands, with it and whatever else was answered."""
    found = answered(case, case.missing)
    stands = confirmed.standing(found, result)
    rest = told(case, found.join(stands, on="answer", how="anti", maintain_order="left"))
    stands = stands.with_columns(asked_at=_asked("asked_at"))
    rows = case.missing.join(stands.drop("answer"), on="row", how="inner", maintain_order="left")
    return rows.join(rest, on="row", how="left", maintain_order="left")


def _asked(column: str) -> pl.Expr:
    """Return when somebody was asked, in words; midnight is a day without a time."""
    return moment(column).str.replace(" 00:00", "", literal=True)


def answered(case: Case, rows: pl.DataFrame) -> pl.DataFrame:
    """Return what was answered about rows of the sheet: see `confirmed.answers`."""
    return confirmed.answers(case.evidence.confirmations, rows)


def told(case: Case, found: pl.DataFrame) -> pl.DataFrame:
    """Return the answers of each row as its sentence tells them, and where its e-invoice says another amount or day.

    `row`, `answers` (`source`, `result`, `when`, `note`, `proof`, `value`).
    """
    when = pl.lit(" ") + _asked("at")
    known = pl.lit(None, pl.String)
    said = found.select(
        "row",
        "source",
        "result",
        when=when.fill_null(""),
        note="note",
        proof=known,
        value=known,
        many=pl.len().over("row"),
    )
    plain = said.with_columns(
        when=pl.when(pl.col("many") > MOST_ANSWERS).then(pl.lit("")).otherwise("when"),
        note=pl.when(pl.col("many") > MOST_ANSWERS).then(pl.lit(confirmed.COUNTS)).otherwise("note"),
    ).drop("many")
    several = pl.concat([plain.unique(maintain_order=True) if plain.height else plain, _differing_files(case)])
    answer = pl.struct(pl.exclude("row"))
    return several.group_by("row", maintain_order=True).agg(answers=answer)


def _differing_files(case: Case) -> pl.DataFrame:
    """Return, as answers, the e-invoices of missing rows whose amount or day is not the ledger's."""
    rows = case.missing.select("row", "invoice_key", "issued_at", "gross").drop_nulls("invoice_key")
    pairs = rows.join(case.files, on="invoice_key", how="inner", suffix="_file", maintain_order="left_right")
    day, theirs = pl.col("issued_at").dt.date(), pl.col("issued_at_file").dt.date()
    gross = (pl.col("gross") - pl.col("gross_file")).abs() > CENT
    values = {
        "file_gross": (gross, pl.col("gross_file").cast(pl.String)),
        "file_day": (day != theirs, theirs.cast(pl.String)),
    }
    parts = [
        pairs.filter(test.fill_null(value=False)).select(
            "row",
            source=pl.lit("file"),
            result=pl.lit("differ"),
            when=pl.lit(""),
            note=pl.lit(note),
            proof="proof",
            value=value,
        )
        for note, (test, value) in values.items()
    ]
    return pl.concat(parts).unique(["row", "note"], keep="first", maintain_order=True)


def issued_to_other(case: Case) -> pl.DataFrame:
    """Its e-invoice, a sister company's export or the counterparty names another buyer or seller."""
    evidence, rows = case.evidence, case.missing
    # Of an invoice issued another buyer explains nothing: it is listed for its seller all the same.
    side = "seller" if evidence.direction == "issued" else "buyer"
    keyed = rows.select("row", "invoice_key").drop_nulls()
    sisters = papers.papers(evidence.sisters) if evidence.sisters is not None else case.files.clear()
    shown = {
        "file": keyed.join(case.files, on="invoice_key", how="inner", maintain_order="left_right"),
        "sister": keyed.join(sisters, on="invoice_key", how="inner", maintain_order="left_right"),
        "counterparty": papers.spoken(answered(case, rows)),
    }
    own, name = evidence.taxpayer_ids, evidence.taxpayer_name
    found = [
        papers.another(rows, paper, side=side, own_ids=own, own_name=name).with_columns(shown=pl.lit(source))
        for source, paper in shown.items()
    ]
    first = pl.concat(found).sort("certain", descending=True, maintain_order=True)
    first = first.unique("row", keep="first", maintain_order=True)
    state = pl.when("certain").then(pl.lit("fails")).otherwise(pl.lit("unknown"))
    place = pl.when(pl.col("proof_row").is_null()).then(pl.lit("file")).otherwise(pl.lit("row"))
    first = first.with_columns(state=state, place=place, side=pl.lit(side)).drop("certain")
    return rows.join(first, on="row", how="inner", maintain_order="left")


def upload_failed(case: Case) -> pl.DataFrame:
    """The log shows that the upload failed, and nothing after it succeeded."""
    missing, log = case.missing, case.evidence.sync_log
    last = failures.last_failures(log, missing["invoice_key"])
    done = log.filter(
        pl.col("invoice_number").is_in(last["invoice_key"].implode())
        & pl.col("event").is_in(["uploaded", "received", "visible"])
    )
    done = done.group_by(invoice_key="invoice_number").agg(succeeded=pl.col("at").max())
    last = last.join(done, on="invoice_key", how="left")
    last = last.filter(pl.col("succeeded").is_null() | (pl.col("succeeded") <= pl.col("failed_at")))
    return missing.join(last, on="invoice_key", how="inner", maintain_order="left")


def not_migrated_back(case: Case) -> pl.DataFrame:
    """The invoice stands in the substitute system only and was not brought back before the export."""
    left = case.substitute.filter(
        pl.col("invoice_key").is_not_null()
        & (pl.col("migrated_at").is_null() | (pl.col("migrated_at") > case.evidence.taken_at))
    ).unique("invoice_key", keep="first", maintain_order=True)
    left = left.select("invoice_key", substitute_file="source_file", substitute_row="source_row")
    return case.missing.join(left, on="invoice_key", how="inner", maintain_order="left")


def only_in_backup(case: Case) -> pl.DataFrame:
    """The invoice is in a backup, while the live systems no longer have it."""
    evidence = case.evidence
    kept = evidence.backup_keys.group_by("invoice_key", maintain_order=True).agg(
        repository=pl.col("repo_id").last(), backup=pl.col("backup_id").last()
    )
    found = case.missing.join(kept, on="invoice_key", how="inner", maintain_order="left")
    if evidence.archive is not None and evidence.archive.height:
        return found.join(evidence.archive.select("invoice_key"), on="invoice_key", how="anti", maintain_order="left")
    # Without a live archive to compare with, a backup that holds everything says nothing of what is missing.
    listed = evidence.matches.filter((pl.col("outcome") == "matched") & pl.col("invoice_key").is_not_null())
    covered = listed.join(kept, on="invoice_key", how="semi").height > EVERYTHING * listed.height
    return found.clear() if covered and found.height > EVERYTHING * case.missing.height else found


def risk_flagged(case: Case) -> pl.DataFrame:
    """The platform lists the invoice and says of it that something is doubtful."""
    rows = case.rows.filter(pl.col("outcome") == "matched").with_columns(flag())
    grave = pl.col("flag").str.contains_any(resources.load("vocabularies")["risks"]["grave"])
    return rows.with_columns(severity=pl.when(grave).then(pl.lit("high")).otherwise(pl.lit("medium")))


CAUSES: tuple[Callable[[Case], pl.DataFrame], ...] = (
    exists_not_listed,
    unknown_to_authority,
    upload_failed,
    not_migrated_back,
    only_in_backup,
)
