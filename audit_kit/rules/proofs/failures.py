"""Why an upload or an issue failed, in words: from the codes and messages that were seen of invoicing systems."""

from __future__ import annotations

from functools import cache

import polars as pl

from audit_kit import resources

NO_REASON = "none"
_HEX = r"^(?:0x)?"


def last_failures(log: pl.DataFrame, keys: pl.Series) -> pl.DataFrame:
    """Return the last failure of each of these invoices in the upload log.

    Returns:
        `invoice_key`, `failed_at`, `error`, `message`, `reason` (see `reason`), `log_file`, `log_row`.
    """
    failed = log.filter((pl.col("event") == "failed") & pl.col("at").is_not_null())
    failed = failed.filter(pl.col("invoice_number").is_in(keys.drop_nulls().implode()))
    last = failed.sort("at", maintain_order=True).unique("invoice_number", keep="last", maintain_order=True)
    return last.select(
        invoice_key="invoice_number",
        failed_at="at",
        error="error_code",
        message="message",
        reason=reason(last["message"], last["error_code"]),
        log_file="source_file",
        log_row="source_row",
    )


def reason(messages: pl.Series, codes: pl.Series | None = None) -> pl.Series:
    """Return the reason that each message, or else its code, tells: a word of causes.toml, or `none`."""
    within, by_code = _table()
    known = {text: _told(text, within) for text in messages.drop_nulls().unique()}
    found = messages.replace_strict(known, default=None, return_dtype=pl.String)
    if codes is not None:
        plain = codes.cast(pl.String).str.strip_chars().str.to_lowercase().str.replace(_HEX, "")
        found = found.fill_null(plain.replace_strict(by_code, default=None, return_dtype=pl.String))
    return found.fill_null(NO_REASON).alias("reason")


def _told(message: str, within: tuple[tuple[str, str], ...]) -> str | None:
    text = message.casefold()
    return next((name for phrase, name in within if phrase in text), None)


@cache
def _table() -> tuple[tuple[tuple[str, str], ...], dict[str, str]]:
    """Return the phrases with their reasons, in the order in which they are tried, and the codes with theirs."""
    table = resources.load("causes")["failures"]
    within = tuple((phrase.casefold(), name) for name, entry in table.items() for phrase in entry["within"])
    return within, {code: name for name, entry in table.items() for code in entry.get("codes", ())}
