"""What may be shown: identity-card numbers never; in a redacted report no name, taxpayer id, account or file name.

This is the one place that decides what stands in their place. Columns are hidden by their role; within free text every
known word of the engagement and every taxpayer id is. Invoice numbers stay readable: without them no finding can be
followed up.
"""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

import polars as pl

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from audit_kit.analysis.analysis import Analysis
    from audit_kit.loaders.engagement.engagement import Engagement

# 18 characters with a plausible date of birth, not part of a longer number. 20-digit invoice numbers never match.
_ID_CARD = r"(?-u:\b)([1-9]\d{5})(?:18|19|20)\d{2}(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])\d{3}([\dXx])(?-u:\b)"
_TAX_ID = r"(?-u:\b)([0-9A-HJ-NPQRTUWXY]{2})\d{6}[0-9A-HJ-NPQRTUWXY]{6}([0-9A-HJ-NPQRTUWXY]{4})(?-u:\b)"
_PLAIN_TAX_ID = r"(^|[^0-9A-Za-z.])(\d{2})\d{4}[0-9A-Z]{5}([0-9A-Z]{4})(?-u:\b)"
_LETTERS = r"\p{L}{2}"
_EINVOICE = r"(?i)\.(?:xml|ofd|pdf|xbrl)\b"
_SHORT_NAME = 4
_STARS = "****"

NAMES = ("seller_name", "buyer_name", "counterparty", "holder", "entered_by", "checked_by", "by")
TAX_IDS = ("seller_tax_id", "buyer_tax_id", "tax_id")
PARTIES = ("seller_name", "buyer_name", "seller_tax_id", "buyer_tax_id")
ROLES = {
    **dict.fromkeys(NAMES, "name"),
    **dict.fromkeys(TAX_IDS, "tax_id"),
    "account": "account",
    "source_file": "file",
    "value": "loose",
    **dict.fromkeys(
        (
            "evidence",
            "remark",
            "message",
            "before",
            "after",
            "title",
            "ledger",
            "platform",
            "reason",
            "sheet",
            "why",
            "fields",
        ),
        "text",
    ),
    **dict.fromkeys(("subject", "level", "incident", "sentence"), "text"),
}


def id_cards(text: pl.Expr) -> pl.Expr:
    """Return the text with every identity-card number hidden but for its region and last character."""
    return text.str.replace_all(_ID_CARD, f"${{1}}{_STARS}${{2}}")


def tax_ids(text: pl.Expr) -> pl.Expr:
    """Return the text with every taxpayer id of 18 or 15 characters hidden but for its ends."""
    masked = id_cards(text).str.replace_all(_TAX_ID, f"${{1}}{_STARS}${{2}}")
    return masked.str.replace_all(_PLAIN_TAX_ID, f"${{1}}${{2}}{_STARS}${{3}}")


def names(name: pl.Expr) -> pl.Expr:
    """Return the name's first character (a person) or its first two and last two (a company), the rest as stars."""
    short = name.str.len_chars() <= _SHORT_NAME
    return (
        pl.when(name.is_null())
        .then(name)
        .when(short)
        .then(name.str.slice(0, 1) + pl.lit("**"))
        .otherwise(name.str.slice(0, 2) + pl.lit(_STARS) + name.str.slice(-2))
    )


def mask(frame: pl.DataFrame, *, redact: bool, known: Mapping[str, str] | None = None) -> pl.DataFrame:
    """Return the frame safe to show.

    Identity-card numbers are hidden in every text column. With `redact` every column of a role in ROLES is hidden;
    `known` are words with what stands in their place, wherever they occur in a text.
    """
    texts = [name for name, dtype in frame.schema.items() if dtype == pl.String]
    shown = frame.with_columns(id_cards(pl.col(name)) for name in texts)
    if not redact:
        return shown
    known = known or {}
    shown = shown.with_columns(_tax_ids(name, frame) for name in texts if ROLES.get(name) in {"text", "loose"})
    return shown.with_columns(_hidden(pl.col(name), ROLES[name], known).alias(name) for name in texts if name in ROLES)


def _tax_ids(name: str, frame: pl.DataFrame) -> pl.Expr:
    """Return a column of text without taxpayer ids; the row's own invoice number, which may look like one, stays."""
    text = pl.col(name)
    if "invoice_key" not in frame.columns:
        return tax_ids(text)
    number = pl.col("invoice_key")
    parts = text.str.split(number).list.eval(tax_ids(pl.element())).list.join(number)
    return pl.when(number.str.len_chars() > 0).then(parts).otherwise(tax_ids(text)).alias(name)


def _hidden(column: pl.Expr, role: str, known: Mapping[str, str]) -> pl.Expr:
    if role in {"name", "person"}:
        return names(column)
    if role == "tax_id":
        hidden = tax_ids(column)
        return pl.when(hidden == column).then(names(column)).otherwise(hidden)
    if role == "account":
        return column.replace_strict(dict(known), default=names(column)) if known else names(column)
    if role == "file":
        anywhere = pl.lit(_STARS) + column.str.extract(r"(\.[0-9A-Za-z]{1,5})$").fill_null("")
        return column.replace_strict(dict(known), default=anywhere) if known else anywhere
    text = _replaced(column, known)
    return pl.when(text.str.contains(_LETTERS)).then(names(text)).otherwise(text) if role == "loose" else text


def _replaced(text: pl.Expr, known: Mapping[str, str]) -> pl.Expr:
    """Return the text without known words; of two that begin alike the longer is hidden."""
    longest = sorted((word for word in known if len(word) > 1), key=len, reverse=True)
    return text.str.replace_many(longest, [known[word] for word in longest], leftmost=True) if longest else text


def instead(words: pl.Series, role: str) -> dict[str, str]:
    """Return what stands in place of each word of a role: name, person, tax_id or account."""
    unique = words.drop_nulls().unique().sort().alias("word").to_frame()
    hidden = unique.with_columns(shown=_hidden(pl.col("word"), role, {}))
    if role in {"account", "person"}:  # two accounts, or two people, must not look like one
        number = pl.int_range(pl.len()).over("shown") + 1
        again = pl.when(number > 1).then(pl.format("{}·{}", "shown", number)).otherwise("shown")
        hidden = hidden.with_columns(shown=again)
    return dict(hidden.iter_rows())


def known_of(analysis: Analysis) -> dict[str, str]:
    """Return every word of an engagement that a redacted page must not show, but for the parties of its invoices.

    Its own names and ids, who holds an account or wrote in the register, all accounts, and the files that were read:
    a file is called by its table and a number.
    """
    engagement = analysis.engagement
    told = {name: engagement.table(name) for name in ("accounts", "operations", "register", "substitute")}
    frames = [analysis.ledger, analysis.platform, *told.values()]
    stated = pl.Series("account", [analysis.export.account], dtype=pl.String)
    people = [told["accounts"]["holder"], told["register"]["entered_by"], told["register"]["checked_by"]]
    own = company(engagement, redact=False)
    known = instead(_joined(people), "person")
    known |= instead(pl.Series([own["name"], own["taxpayer_name"]], dtype=pl.String), "name")
    known |= instead(pl.concat([pl.Series(engagement.own_ids, dtype=pl.String), told["accounts"]["tax_id"]]), "tax_id")
    known |= instead(
        _joined([stated, *(frame["account"] for frame in frames if "account" in frame.columns)]), "account"
    )
    files = analysis.files.select("table", "source_file").unique(maintain_order=True)
    number = pl.int_range(pl.len()).over("table") + 1
    for file, table, place in files.select("source_file", "table", number=number).drop_nulls().iter_rows():
        path = PurePosixPath(file)
        known |= dict.fromkeys((path.name, file), f"{table}-{place}{path.suffix}")
    return known | _cited(analysis)


def _cited(analysis: Analysis) -> dict[str, str]:
    """Return what findings cite of papers: the parties that they name, and the files of single e-invoices."""
    cited = (pl.col("cause") == "issued_to_other") | pl.col("evidence").str.contains(_EINVOICE)
    text = "\n".join(analysis.findings.filter(cited)["evidence"])
    known: dict[str, str] = {}
    for table in ("invoice_files", "sister_exports") if text else ():
        papers = analysis.engagement.table(table)
        for name in (name for name in PARTIES if name in papers.columns):
            words = [word for word in papers[name].drop_nulls().unique() if word in text]
            known |= instead(pl.Series(words, dtype=pl.String), ROLES[name])
        files = [
            file for file in papers["source_file"].drop_nulls().unique() if table == "invoice_files" and file in text
        ]
        known |= {file: f"{_STARS}{PurePosixPath(file).suffix}" for file in files}
    return known


def known_in(frame: pl.DataFrame, known: Mapping[str, str]) -> dict[str, str]:
    """Return the file names in a frame that are not known yet: of single e-invoices, called by their ending alone."""
    if "source_file" not in frame.columns:
        return {}
    files = [PurePosixPath(file) for file in frame["source_file"].drop_nulls().unique() if file not in known]
    return {name: f"{_STARS}{file.suffix}" for file in files for name in (file.name, str(file))}


def _joined(columns: Iterable[pl.Series]) -> pl.Series:
    return pl.concat([column.cast(pl.String).rename("word") for column in columns])


def company(engagement: Engagement, *, redact: bool) -> dict[str, Any]:
    """Return who is audited, as a page may name it: `name`, `taxpayer_name`, `taxpayer_ids`, `direction`."""
    names = pl.DataFrame(
        {"seller_name": [engagement.name, engagement.settings.taxpayer_name]}, schema={"seller_name": pl.String}
    )
    ids = pl.DataFrame({"tax_id": engagement.taxpayer_ids}, schema={"tax_id": pl.String})
    name, taxpayer_name = mask(names, redact=redact)["seller_name"]
    return {
        "name": name,
        "taxpayer_name": taxpayer_name,
        "taxpayer_ids": mask(ids, redact=redact)["tax_id"].to_list(),
        "direction": engagement.direction,
    }
