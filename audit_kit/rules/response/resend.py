"""What people did in the logs: invoices sent again and what came of it, failures by their wording, shared logins."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import polars as pl

from audit_kit.core.identity import with_key
from audit_kit.rules.proofs.deeds import FAILED, meaning, plain_number

if TYPE_CHECKING:
    from collections.abc import Callable

    from audit_kit.rules.response.response_evidence import ResponseEvidence

RESENDS = {
    "invoice_key": pl.String(),
    "at": pl.Datetime("us"),
    "account": pl.String(),
    "result": pl.String(),
    "came": pl.String(),
    "shown_by": pl.String(),
    "shown_at": pl.Datetime("us"),
    "error": pl.String(),
    "repeated": pl.Boolean(),
    "minutes": pl.Float64(),
    "source_file": pl.String(),
    "source_row": pl.UInt32(),
}
PATTERNS = {
    "error_code": pl.String(),
    "pattern": pl.String(),
    "lines": pl.UInt32(),
    "invoices": pl.UInt32(),
    "first": pl.Datetime("us"),
    "last": pl.Datetime("us"),
    "new": pl.Boolean(),
}
LEAST_WAIT = timedelta(minutes=60)
NEW_WITHIN = timedelta(days=7)
TOGETHER = timedelta(minutes=5)  # from two places within so short a time is at once
BETWEEN = timedelta(minutes=60)  # and so is one place between two uses of another
_NUMBERS = r"0x[0-9A-Fa-f]+|[0-9A-Fa-f]{8,}|\d+"


def resends(evidence: ResponseEvidence) -> pl.DataFrame:
    """Return every resend with what came of it: see `RESENDS`.

    `came`: needless (the platform had it before), worked, failed, waiting (so young that an answer may come),
    no_answer. `shown_by`: log, export or result. `repeated`: sent again though the one before had no answer and was
    less than an hour old, `minutes` after it.
    """
    wanted = (pl.col("action") == "resend") & pl.col("at").is_not_null() & pl.col("invoice_number").is_not_null()
    rows = evidence.operations.filter(wanted & (pl.col("at") <= pl.lit(evidence.taken_at)))
    rows = rows.with_columns(meaning(rows["result"]), invoice_key=plain_number("invoice_number"))
    rows = rows.sort("invoice_key", "at", maintain_order=True).with_row_index("turn")
    of_one = pl.col("at").shift(-1).over("invoice_key")
    rows = rows.with_columns(until=of_one.fill_null(pl.lit(evidence.taken_at + LEAST_WAIT)))
    rows = rows.join(_answers(evidence, rows), on="turn", how="left", maintain_order="left")
    rows = rows.join(_first_listed(evidence), on="invoice_key", how="left", maintain_order="left")
    here, after = pl.col("listed_at") <= pl.col("at"), pl.col("listed_at") <= pl.col("until")
    young = pl.col("at") > pl.lit(evidence.taken_at - timedelta(hours=evidence.policy.sync.target_hours))
    last = pl.col("turn") == pl.col("turn").max().over("invoice_key")
    steps = (
        (here, "needless", "export"),
        (pl.col("event").is_not_null() & (pl.col("event") != "failed"), "worked", "log"),
        (after, "worked", "export"),
        (pl.col("event") == "failed", "failed", "log"),
        (pl.col("meaning") == FAILED, "failed", "result"),
        (last & young, "waiting", None),
    )
    came = pl.coalesce(*(pl.when(test).then(pl.lit(name)) for test, name, _ in steps), pl.lit("no_answer"))
    said = pl.coalesce(*(pl.when(test).then(pl.lit(by or "")) for test, _, by in steps)).replace("", None)
    before = pl.col("at").shift(1).over("invoice_key")
    answered = pl.col("event").is_not_null() | (pl.col("meaning") == FAILED)
    silent = ~answered.shift(1).over("invoice_key")
    failure = pl.concat_str("error_code", "message", separator=" ", ignore_nulls=True).replace("", None)
    return rows.select(
        "invoice_key",
        "at",
        "account",
        "result",
        came=came,
        shown_by=said,
        shown_at=pl.when(said == "log").then("shown_at").when(said == "export").then("listed_at"),
        error=pl.when(came == "failed").then(pl.coalesce(failure, "result")),
        repeated=(silent & (pl.col("at") - before < LEAST_WAIT)).fill_null(value=False),
        minutes=(pl.col("at") - before).dt.total_seconds() / 60,
        source_file="source_file",
        source_row="source_row",
    ).cast(pl.Schema(RESENDS))


def _answers(evidence: ResponseEvidence, rows: pl.DataFrame) -> pl.DataFrame:
    """Return the last word of the log before the next resend: `turn`, `event`, `shown_at`, `error_code`, `message`."""
    log = evidence.sync_log.filter(pl.col("at").is_not_null() & pl.col("event").is_not_null())
    log = log.filter(pl.col("event") != "issued").select(
        "error_code",
        "message",
        invoice_key=plain_number("invoice_number"),
        shown_at="at",
        event=pl.col("event").cast(pl.String),
    )
    both = rows.select("turn", "invoice_key", "at", "until").join(log, on="invoice_key", how="inner")
    inside = both.filter((pl.col("shown_at") >= pl.col("at")) & (pl.col("shown_at") < pl.col("until")))
    last = inside.sort("turn", "shown_at", maintain_order=True).unique("turn", keep="last", maintain_order=True)
    return last.drop("invoice_key", "at", "until")


def _first_listed(evidence: ResponseEvidence) -> pl.DataFrame:
    """Return when the platform was first seen to list each invoice: `invoice_key`, `listed_at`."""
    seen = [evidence.listed.select("invoice_key", listed_at=pl.lit(evidence.taken_at, pl.Datetime("us")))]
    if "taken_at" in evidence.exports.columns:
        earlier = with_key(evidence.exports).drop_nulls("taken_at")
        seen.append(earlier.select("invoice_key", listed_at=pl.col("taken_at").cast(pl.Datetime("us"))))
    return pl.concat(seen).drop_nulls("invoice_key").group_by("invoice_key").agg(pl.col("listed_at").min())


def resend_failed(evidence: ResponseEvidence) -> pl.DataFrame:
    """Find invoices whose last resend failed, or had no answer, and that the platform does not list."""
    rows = evidence.once(resends).with_columns(count=pl.len().over("invoice_key"))
    last = rows.unique("invoice_key", keep="last", maintain_order=True)
    last = last.filter(pl.col("came").is_in(["failed", "no_answer"]))
    last = last.join(evidence.listed.select("invoice_key"), on="invoice_key", how="anti", maintain_order="left")
    unseen = (pl.col("came") == "no_answer") & pl.lit("sync_log" not in evidence.given)
    return last.select(
        "invoice_key",
        "at",
        "result",
        "error",
        "count",
        "source_file",
        "source_row",
        number="invoice_key",
        about=pl.concat_list("invoice_key"),
        variant=pl.when(unseen).then(pl.lit("unseen")).when(pl.col("came") == "no_answer").then(pl.lit("no_answer")),
        state=pl.when(unseen).then(pl.lit("unknown")),
    )


def resend_repeated(evidence: ResponseEvidence) -> pl.DataFrame:
    """Find invoices that were sent again without waiting for what came of the resend before."""
    rows = evidence.once(resends).filter("repeated")
    return (
        rows.group_by("invoice_key", maintain_order=True)
        .agg(
            number=pl.col("invoice_key").first(),
            count=pl.len(),
            minutes=pl.col("minutes").min(),
            at=pl.col("at").first(),
            source_file=pl.col("source_file").first(),
            source_row=pl.col("source_row").first(),
        )
        .with_columns(about=pl.concat_list("invoice_key"))
    )


def log_patterns(evidence: ResponseEvidence) -> pl.DataFrame:
    """Return the failures of the upload log by code and wording, the most frequent first: see `PATTERNS`.

    `pattern` is the message with every number as #. `new`: never before the last week of a log of two weeks or more.
    """
    failed = (pl.col("event") == "failed") | pl.col("error_code").is_not_null()
    lines = evidence.sync_log.filter(pl.col("at").is_not_null())
    start = lines["at"].min()
    since = evidence.taken_at - NEW_WITHIN
    long_enough = start is not None and start <= since - NEW_WITHIN  # type: ignore[operator]  # a time: of a time column
    pattern = pl.col("message").str.normalize("NFKC").str.replace_all(_NUMBERS, "#").str.strip_chars()
    table = (
        lines.filter(failed)
        .group_by("error_code", pattern=pattern)
        .agg(
            lines=pl.len(),
            invoices=pl.col("invoice_number").drop_nulls().n_unique(),
            first=pl.col("at").min(),
            last=pl.col("at").max(),
        )
        .with_columns(new=(pl.col("first") >= since) & pl.lit(long_enough))
    )
    order = ["lines", "error_code", "pattern"]
    return table.sort(order, descending=[True, False, False]).select(*PATTERNS).cast(pl.Schema(PATTERNS))


def account_shared(evidence: ResponseEvidence) -> pl.DataFrame:
    """Find accounts that were used from two places at once, where the log says from where."""
    known = pl.col("account").is_not_null() & pl.col("place").is_not_null() & pl.col("at").is_not_null()
    rows = evidence.operations.filter(known).with_columns(pl.col("place").str.strip_chars().str.to_lowercase())
    rows = rows.sort("account", "at", maintain_order=True)

    def near(column: str, by: int) -> pl.Expr:
        return pl.col(column).shift(by).over("account")

    moved = pl.col("place") != near("place", 1)
    sudden = moved & (pl.col("at") - near("at", 1) <= TOGETHER)
    back = moved & (near("place", -1) == near("place", 1)) & (near("at", -1) - near("at", 1) <= BETWEEN)
    rows = rows.with_columns(other=near("place", 1), since=near("at", 1))
    found = rows.filter((sudden | back).fill_null(value=False))
    return (
        found.group_by("account", maintain_order=True)
        .agg(
            count=pl.len(),
            at=pl.col("at").first(),
            since=pl.col("since").first(),
            place=pl.col("place").first(),
            other=pl.col("other").first(),
            source_file=pl.col("source_file").first(),
            source_row=pl.col("source_row").first(),
        )
        .with_columns(about=pl.concat_list("account"))
    )


CAUSES: dict[str, Callable[[ResponseEvidence], pl.DataFrame]] = {
    "resend_failed": resend_failed,
    "resend_repeated": resend_repeated,
    "account_shared": account_shared,
}
