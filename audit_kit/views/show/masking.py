"""What may be shown: identity-card numbers never; in a redacted report no name, taxpayer id, account or file name.

This is the one place that decides what stands in their place: the keyed pseudonyms that problem reports use too.
Columns are hidden by their role; within free text every known word of the engagement and every taxpayer id is. Invoice
numbers stay readable: without them no finding can be followed up.
"""

from __future__ import annotations

import re
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

import polars as pl

from audit_kit.core.kept.pseudonyms import Pseudonyms, key_of, key_place, shape
from audit_kit.core.words import LANGUAGES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from audit_kit.analysis.analysis import Analysis
    from audit_kit.loaders.engagement.engagement import Engagement

# 18 characters with a plausible date of birth, not part of a longer number. 20-digit invoice numbers never match.
_ID_CARD = r"(?-u:\b)([1-9]\d{5})(?:18|19|20)\d{2}(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])\d{3}([\dXx])(?-u:\b)"
# An identity card, or a taxpayer id of 18 or 15 characters.
_TAX_ID = re.compile(
    r"(?a:\b)(?:[1-9]\d{5}(?:18|19|20)\d{2}(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])\d{3}[\dXx]"
    r"|[0-9A-HJ-NPQRTUWXY]{2}[0-9]{6}[0-9A-HJ-NPQRTUWXY]{10})(?a:\b)"
    r"|(?<![0-9A-Za-z.])[0-9]{6}[0-9A-Z]{9}(?a:\b)"
)
_LONG = r"[0-9A-Za-z]{15}"  # no taxpayer id is shorter
_LETTERS = r"\p{L}{2}"
_EINVOICE = r"(?i)\.(?:xml|ofd|pdf|xbrl)\b"
_ENDING = re.compile(r"\.[0-9A-Za-z]{1,5}$")
_SHORT_NAME = 4
_STARS = "****"
_IS_ONE = re.compile(shape()).fullmatch

PEOPLE = ("holder", "entered_by", "checked_by", "by")
NAMES = ("seller_name", "buyer_name", "counterparty", *PEOPLE)
TAX_IDS = ("seller_tax_id", "buyer_tax_id", "tax_id")
PARTIES = ("seller_name", "buyer_name", "seller_tax_id", "buyer_tax_id")
ROLES = {
    **dict.fromkeys(NAMES, "party"),
    **dict.fromkeys(PEOPLE, "person"),
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


def mask(
    frame: pl.DataFrame, *, hide: Pseudonyms | None = None, known: Mapping[str, str] | None = None
) -> pl.DataFrame:
    """Return the frame safe to show.

    Identity-card numbers are hidden in every text column. With `hide`, every column of a role in ROLES is hidden by
    its pseudonyms; `known` are words with what stands in their place, wherever they occur in a text: a number that
    looks like a taxpayer id and stands for itself stays.
    """
    texts = [name for name, dtype in frame.schema.items() if dtype == pl.String]
    shown = frame.with_columns(id_cards(pl.col(name)) for name in texts)
    if hide is None:
        return shown
    return shown.with_columns(
        _hidden(frame, name, known or {}, hide).alias(name) for name in texts if name in ROLES and frame.height
    )


def _hidden(frame: pl.DataFrame, name: str, known: Mapping[str, str], hide: Pseudonyms) -> pl.Series:
    """Return a column as its role wants it hidden; what is a pseudonym already stays."""
    role, column = ROLES[name], frame[name]
    if role == "file":
        return _each(column, lambda word: known.get(word) or hidden_file(word))
    if role not in {"text", "loose"}:
        return _each(column, lambda word: word if _IS_ONE(word) else known.get(word) or hide.of(role, word))
    shown = _replaced(_without_tax_ids(frame, name, _by_shape(hide, known)), known)
    if role == "text":
        return shown
    whole = _each(column, lambda word: word if _IS_ONE(word) else hide.of("other", word))
    return whole.zip_with(shown.str.contains(_LETTERS).fill_null(value=False), shown)


def hidden_file(name: str) -> str:
    """Return what stands in place of a file whose table is not known: its ending."""
    ending = _ENDING.search(name)
    return _STARS + (ending[0] if ending else "")


def _each(column: pl.Series, shown: Callable[[str], str]) -> pl.Series:
    """Return a column with another word for each of its words."""
    words = column.drop_nulls().unique().to_list()
    return column.replace_strict(words, [shown(word) for word in words], default=None, return_dtype=pl.String)


def _without_tax_ids(frame: pl.DataFrame, name: str, hidden: Callable[[str], str]) -> pl.Series:
    """Return a column of text without taxpayer ids; the row's own invoice number, which may look like one, stays."""
    texts = frame.select(text=name, key="invoice_key" if "invoice_key" in frame.columns else pl.lit(None, pl.String))
    doubtful = texts.filter(pl.col("text").str.contains(_LONG)).unique()
    if doubtful.is_empty():
        return texts["text"]
    made = [key.join(map(hidden, text.split(key))) if key else hidden(text) for text, key in doubtful.iter_rows()]
    found = doubtful.with_columns(shown=pl.Series(made, dtype=pl.String))
    joined = texts.join(found, on=["text", "key"], how="left", nulls_equal=True, maintain_order="left")
    return joined.select(pl.coalesce("shown", "text")).to_series()


def _by_shape(hide: Pseudonyms, known: Mapping[str, str]) -> Callable[[str], str]:
    def shown(found: re.Match[str]) -> str:
        return found[0] if known.get(found[0]) == found[0] else hide.of("tax_id", found[0])

    return lambda text: _TAX_ID.sub(shown, text)


def _replaced(text: pl.Series, known: Mapping[str, str]) -> pl.Series:
    """Return the text without known words; of two that begin alike the longer is hidden, a pseudonym stays whole."""
    ours = text.str.extract_all(shape()).explode().drop_nulls().unique()
    known = {word: shown for word, shown in known.items() if len(word) > 1 and shown != word}
    known |= {word: word for word in ours}
    longest = sorted(known, key=len, reverse=True)
    return text.str.replace_many(longest, [known[word] for word in longest], leftmost=True) if longest else text


def instead(words: pl.Series, role: str, hide: Pseudonyms) -> dict[str, str]:
    """Return what stands in place of each word of a role: party, person, tax_id or account."""
    return {word: word if _IS_ONE(word) else hide.of(role, word) for word in words.drop_nulls().unique().sort()}


def pseudonyms_of(engagement: Engagement, lang: str) -> Pseudonyms:
    """Return the pseudonyms of an engagement; its key is made where there is none."""
    return Pseudonyms(key_of(engagement.folder), lang)


def known_of(analysis: Analysis, hide: Pseudonyms) -> dict[str, str]:
    """Return every word of an engagement that a redacted page must not show, but for the parties of its invoices.

    Its own names and ids, who holds an account or wrote in the register, all accounts, and the files that were read:
    a file is called by its table and a number.
    """
    engagement = analysis.engagement
    told = {name: engagement.table(name) for name in ("accounts", "operations", "register", "substitute")}
    frames = [analysis.ledger, analysis.platform, *told.values()]
    stated = pl.Series("account", [analysis.export.account], dtype=pl.String)
    people = [told["accounts"]["holder"], told["register"]["entered_by"], told["register"]["checked_by"]]
    own = company(engagement)
    known = instead(_joined(people), "person", hide)
    known |= instead(pl.Series([own["name"], own["taxpayer_name"]], dtype=pl.String), "party", hide)
    own_ids = pl.Series(engagement.own_ids, dtype=pl.String)
    known |= instead(_joined([own_ids, told["accounts"]["tax_id"]]), "tax_id", hide)
    accounts = [stated, *(frame["account"] for frame in frames if "account" in frame.columns)]
    known |= instead(_joined(accounts), "account", hide)
    files = analysis.files.select("table", "source_file").unique(maintain_order=True)
    number = pl.int_range(pl.len()).over("table") + 1
    for file, table, place in files.select("source_file", "table", number=number).drop_nulls().iter_rows():
        path = PurePosixPath(file)
        known |= dict.fromkeys((path.name, file), f"{table}-{place}{path.suffix}")
    return _numbers(analysis.matches) | known | _cited(analysis, hide)


def _numbers(matches: pl.DataFrame) -> dict[str, str]:
    """Return the invoice numbers that look like a taxpayer id, and like no identity card, each for itself."""
    looks = pl.col("invoice_key").str.contains(r"^(?:[0-9]{15}|[0-9]{18})$")
    found = matches.filter(looks & ~pl.col("invoice_key").str.contains(_ID_CARD))
    return {number: number for number in found["invoice_key"].unique().sort()}


def _cited(analysis: Analysis, hide: Pseudonyms) -> dict[str, str]:
    """Return what findings cite of papers: the parties that they name, and the files of single e-invoices."""
    cited = (pl.col("cause") == "issued_to_other") | pl.col("evidence").str.contains(_EINVOICE)
    text = "\n".join(analysis.findings.filter(cited)["evidence"])
    known: dict[str, str] = {}
    for table in ("invoice_files", "sister_exports") if text else ():
        papers = analysis.engagement.table(table)
        for name in (name for name in PARTIES if name in papers.columns):
            words = [word for word in papers[name].drop_nulls().unique() if word in text]
            known |= instead(pl.Series(words, dtype=pl.String), ROLES[name], hide)
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


def company(engagement: Engagement, hide: Pseudonyms | None = None) -> dict[str, Any]:
    """Return who is audited, as a page may name it: `name`, `taxpayer_name`, `taxpayer_ids`, `direction`."""
    names = pl.DataFrame(
        {"seller_name": [engagement.name, engagement.settings.taxpayer_name]}, schema={"seller_name": pl.String}
    )
    ids = pl.DataFrame({"tax_id": engagement.taxpayer_ids}, schema={"tax_id": pl.String})
    name, taxpayer_name = mask(names, hide=hide)["seller_name"]
    return {
        "name": name,
        "taxpayer_name": taxpayer_name,
        "taxpayer_ids": mask(ids, hide=hide)["tax_id"].to_list(),
        "direction": engagement.direction,
    }


def companies(engagement: Engagement) -> list[dict[str, Any]]:
    """Return every way in which pages of an engagement may have named it: in the open, and redacted."""
    hidden = [pseudonyms_of(engagement, lang) for lang in LANGUAGES] if key_place(engagement.folder).exists() else []
    return [company(engagement, hide) for hide in (None, *hidden)]
