"""What a recipient does not need: every other name, taxpayer id, account and person stands there as a pseudonym.

Columns are hidden by their role. In free text every known word of the engagement is, and what looks like an identity
card, a taxpayer id, a telephone or a bank account. What a recipient needs stays, as do the company's own name and ids
and the invoice numbers concerned.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import polars as pl

from audit_kit.core import schema
from audit_kit.loaders.engagement.settings import SISTERS

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from audit_kit.analysis.analysis import Analysis
    from audit_kit.core.kept.pseudonyms import Pseudonyms

ROLES = {
    **dict.fromkeys(("seller_name", "buyer_name", "counterparty"), "party"),
    **dict.fromkeys(("seller_tax_id", "buyer_tax_id", "tax_id"), "tax_id"),
    **dict.fromkeys(("holder", "entered_by", "checked_by", "by"), "person"),
    "account": "account",
}
FREE_TEXTS = ("message", "evidence", "outcome", "result", "before", "after", "title", "remark")
# What tells where somebody sits, and on which machine: a table's column, by the word under which it may stay readable.
MACHINES = {"place": "operations", "host": "metrics"}
PLAIN = ("finding_id", "batch", "error_code", "ticket")  # codes, unless one is also somebody's name
WORDS = {"word": pl.String(), "role": pl.String()}
_CHUNK = 100_000  # words searched for at a time
_SHORT_DIGITS = 4  # fewer digits alone are no name in a free text: they would hide parts of dates
_COMPANY = r"[\p{Han}（）()]{2,30}(?:公司|集团|事务所|经营部|商行|工作室|合作社|商店)"
_ID_CARD = r"[1-9]\d{5}(?:18|19|20)\d{2}(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])\d{3}[\dXx]"
_SHAPE = re.compile(
    rf"(?P<tax_id>(?<![0-9A-Za-z])(?:{_ID_CARD}|[0-9A-HJ-NPQRTUWXY]{{2}}\d{{6}}[0-9A-HJ-NPQRTUWXY]{{10}})(?![0-9A-Za-z])"
    r"|(?<![0-9A-Za-z.])\d{6}[0-9A-Z]{9}(?![0-9A-Za-z]))"
    # Of a number whose unlike digits are marked, what is left is no bank account.
    r"|(?P<other>(?<![0-9A-Za-z】])(?:1[3-9]\d{9}|\d{16,17}|\d{19})(?![0-9A-Za-z【]))",
    re.IGNORECASE,
)
_MAIL = re.compile(r"[0-9A-Za-z._%+-]+@[0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)+")
_HIDDEN_AMOUNT = "***"
_MONEY = re.compile(r"\d[\d,【】]*\.[\d【】]*\d[\d【】]*")
_YUAN = ("元", "yuan", "CNY")
_ID_CARD_ONLY = re.compile(_ID_CARD)


@dataclass(frozen=True, eq=False)
class Veil:
    """What is hidden from one recipient, and what stands in its place.

    `words`: WORDS, every word that may have to be hidden. `kept`: words that stay. `amounts`: amounts that are hidden.
    """

    words: pl.DataFrame
    kept: frozenset[str]
    amounts: frozenset[str]
    pseudonyms: Pseudonyms
    shows_amounts: bool = True

    def frame(self, rows: pl.DataFrame) -> pl.DataFrame:
        """Return rows as the recipient may read them: columns by their role, all other text word by word."""
        texts = [name for name, dtype in rows.schema.items() if dtype == pl.String]
        free = [name for name in texts if name not in ROLES]
        shown = self.texts([text for name in free for text in rows[name].unique().drop_nulls()])
        cells = {
            name: {word: self.cell(ROLES[name], word) for word in rows[name].unique().drop_nulls()}
            for name in texts
            if name in ROLES
        }
        if not self.shows_amounts:
            shown |= {text: _without_money(said) for text, said in shown.items()}
        return rows.with_columns(
            pl.Series(name, [cells[name].get(v) for v in rows[name]], pl.String) for name in cells
        ).with_columns(pl.Series(name, [shown.get(v) for v in rows[name]], pl.String) for name in free)

    def cell(self, role: str, word: str) -> str:
        """Return the whole of a cell of a role."""
        return word if word.casefold() in self.kept else self.pseudonyms.of(role, word)

    def text(self, text: str) -> str:
        """Return one text as the recipient may read it."""
        return self.texts([text])[text]

    def texts(self, texts: Sequence[str]) -> dict[str, str]:
        """Return each text with what stands there for the recipient."""
        found = self._found(texts)
        wanted = {word.lower() for words in found for word in words}
        rows = self.words.filter(pl.col("word").str.to_lowercase().is_in(list(wanted)))
        roles = {word.lower(): role for word, role in rows.iter_rows()}
        return {text: self._hidden(text, words, roles) for text, words in zip(texts, found, strict=True)}

    def _found(self, texts: Sequence[str]) -> list[set[str]]:
        """Return the words that occur in each text, as they are written there, and its addresses of mail."""
        series = pl.Series(texts, dtype=pl.String)
        found = [set(_MAIL.findall(text)) for text in texts]
        known = pl.concat([self.words["word"], pl.Series("word", sorted({*self.kept, *self.amounts}), dtype=pl.String)])
        for at in range(0, len(known), _CHUNK):
            some = known.slice(at, _CHUNK).implode()
            hits = series.str.extract_many(some, ascii_case_insensitive=True, overlapping=True)
            for mine, words in zip(found, hits, strict=True):
                mine.update(words if words is not None else ())
        return found

    def _hidden(self, text: str, words: Iterable[str], roles: Mapping[str, str]) -> str:
        """Return one text: of words that overlap the longest counts, what is left is hidden by its shape."""
        taken, spans = bytearray(len(text)), []
        for word in sorted(words, key=lambda word: (-len(word), word)):
            start = text.find(word)
            while start >= 0:
                end = start + len(word)
                if _is_whole(text, start, end) and not any(taken[start:end]):
                    taken[start:end] = b"\x01" * len(word)
                    spans.append((start, end))
                start = text.find(word, start + 1)
        parts, done = [], 0
        for start, end in sorted(spans):
            parts += [self._by_shape(text[done:start]), self._instead(text[start:end], roles)]
            done = end
        return "".join([*parts, self._by_shape(text[done:])])

    def _instead(self, word: str, roles: Mapping[str, str]) -> str:
        if word.casefold() in self.kept:
            return word
        if word in self.amounts:
            return _HIDDEN_AMOUNT
        return self.pseudonyms.of(roles.get(word.lower(), "other"), word)

    def _by_shape(self, text: str) -> str:
        return _SHAPE.sub(lambda match: self.pseudonyms.of(match.lastgroup or "other", match[0]), text)


def veil(
    analysis: Analysis, concerned: Sequence[pl.DataFrame], recipient: Mapping[str, object], pseudonyms: Pseudonyms
) -> Veil:
    """Return what is hidden from a recipient.

    Args:
        analysis: the engagement, whose every name may stand in some text.
        concerned: the rows of the case, before anything is hidden; what they hold in clear roles stays readable.
        recipient: an entry of resources/recipients.toml.
        pseudonyms: see `Pseudonyms`.
    """
    clear = recipient["clear"]
    assert isinstance(clear, list)  # noqa: S101 (as the table has it)
    kept = {word.casefold() for word in own_words(analysis)}
    amounts: set[str] = set()
    plain: set[str] = set()
    for rows in concerned:
        for name in rows.columns:
            if ROLES.get(name) in clear:
                kept |= {word.casefold() for word in rows[name].drop_nulls() if not _ID_CARD_ONLY.fullmatch(word)}
            elif name == "invoice_key":
                kept |= set(rows[name].drop_nulls().str.to_lowercase())
            elif name in PLAIN:
                plain |= set(rows[name].drop_nulls())
            elif rows[name].dtype.is_decimal() and not recipient["amounts"]:
                amounts |= {
                    shape for amount in rows[name].drop_nulls() for shape in (f"{amount:.2f}", f"{amount:,.2f}")
                }
    if "account" in clear and analysis.export.account:
        kept.add(analysis.export.account.casefold())
    loose = [rows[name].drop_nulls() for rows in concerned for name in FREE_TEXTS if name in rows.columns]
    words = _words_of(analysis, loose)
    kept -= {word.casefold() for word in _people(analysis, words)} - {word.casefold() for word in own_words(analysis)}
    kept |= {word.casefold() for word in plain - set(words["word"])}
    kept.discard("")
    words = pl.concat([words, _machines(analysis, clear)]).unique("word", keep="first", maintain_order=True)
    return Veil(words, frozenset(kept), frozenset(amounts), pseudonyms, bool(recipient["amounts"]))


def _machines(analysis: Analysis, clear: Sequence[str]) -> pl.DataFrame:
    """Return the places and machines that the recipient need not know."""
    parts = [pl.DataFrame(schema=WORDS)]
    for name, table in MACHINES.items():
        if name not in clear and analysis.engagement.has(table):
            words = analysis.engagement.table(table)[name].drop_nulls().str.strip_chars().unique().sort().alias("word")
            parts.append(words.filter(words.str.len_chars() > 1).to_frame().with_columns(role=pl.lit("other")))
    return pl.concat(parts)


def _without_money(text: str) -> str:
    """Return a text that speaks of yuan without its amounts, be they written once or twice and unlike."""
    return _MONEY.sub(_HIDDEN_AMOUNT, text) if any(word in text for word in _YUAN) else text


def _people(analysis: Analysis, words: pl.DataFrame) -> set[str]:
    """Return who is a person: known as one, or called an account by a name that is no login (开票人)."""
    logins = set(analysis.engagement.table("accounts")["account"].drop_nulls())
    people = set(words.filter(pl.col("role") == "person")["word"])
    called = set(words.filter(pl.col("role") == "account", ~pl.col("word").str.contains("[0-9A-Za-z]"))["word"])
    return people | (called - logins)


def own_words(analysis: Analysis) -> set[str]:
    """Return the company's own name and taxpayer ids, which every recipient may know, other writings included."""
    engagement = analysis.engagement
    side = "seller" if engagement.direction == "issued" else "buyer"
    own = pl.col(f"{side}_tax_id").is_in(list(engagement.own_ids))
    names = {
        name
        for frame in (analysis.ledger, analysis.platform)
        if {f"{side}_tax_id", f"{side}_name"} <= set(frame.columns)
        for name in frame.filter(own)[f"{side}_name"].drop_nulls().unique()
    }
    return {*engagement.own_ids, *names, *filter(None, [engagement.settings.taxpayer_name])}


def _words_of(analysis: Analysis, loose: Sequence[pl.Series]) -> pl.DataFrame:
    """Return every name, id, account and person that any table or setting of the engagement holds."""
    engagement = analysis.engagement
    tables = {name: engagement.table(name) for name in (*schema.INPUTS, SISTERS, "exports") if engagement.has(name)}
    frames = [*tables.values(), analysis.ledger, analysis.platform]
    parts = [
        frame.select(pl.col(name).cast(pl.String).str.strip_chars().alias("word"), role=pl.lit(role))
        for name, role in ROLES.items()
        for frame in frames
        if name in frame.columns
    ]
    plan, training = engagement.settings.plan, engagement.settings.training
    people = [person for role in plan.roles for person in (role.person, role.deputy, role.contact)]
    people += [*plan.contacts.values(), *(name for entry in training.log for name in entry.who)]
    stated = [(analysis.export.account, "account"), *((person, "person") for person in people)]
    parts.append(pl.DataFrame(stated, schema=WORDS, orient="row"))
    for texts in loose:
        named = texts.cast(pl.String).str.extract_all(_COMPANY).explode().drop_nulls()
        parts.append(pl.DataFrame({"word": named, "role": ["party"] * len(named)}, schema=WORDS))
    word = pl.col("word")
    worth = (word.str.len_chars() > 1) & ~(word.str.contains(r"^\d+$") & (word.str.len_chars() < _SHORT_DIGITS))
    return pl.concat(parts).filter(worth).unique("word", keep="first", maintain_order=True)


def _is_whole(text: str, start: int, end: int) -> bool:
    """Say whether a word is not part of a longer number or Latin word."""
    before, after = text[start - 1 : start + 1] if start else "", text[end - 1 : end + 1]
    return not any(len(pair) > 1 and pair.isascii() and pair.isalnum() for pair in (before, after))
