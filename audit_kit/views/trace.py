"""One invoice's story: everything the sources, the rules and the backups know of it, in time order."""

from __future__ import annotations

import re
import unicodedata
from typing import TYPE_CHECKING, Any

import polars as pl

from audit_kit import resources
from audit_kit.analysis.analysis import Analysis
from audit_kit.analysis.work import analyse
from audit_kit.core.errors import RequestError
from audit_kit.core.identity import with_key
from audit_kit.core.schema import ALL_CHANNELS
from audit_kit.core.words import Words
from audit_kit.views.show import masking

if TYPE_CHECKING:
    from collections.abc import Iterator

    from audit_kit.loaders.engagement.engagement import Engagement

STORY = {
    "at": pl.Datetime("us"),
    "source": pl.String(),
    "what": pl.String(),
    "source_file": pl.String(),
    "source_row": pl.UInt32(),
}
# Each table's moments: the column of the time, and the words for it in resources/words/trace.toml.
BOOKS = {
    "ledger": {"issued_at": "ledger"},
    "platform": {"issued_at": "platform", "visible_at": "platform_visible"},
    "substitute": {"issued_at": "substitute", "migrated_at": "substitute_migrated"},
    "register": {"issued_at": "register"},
    "invoice_files": {
        "issued_at": "invoice_files",
        "requested_at": "invoice_files_requested",
        "signed_at": "invoice_files_signed",
    },
}
LOGS = {
    "sync_log": {"at": "sync_log"},
    "operations": {"at": "operations"},
    "confirmations": {"at": "confirmations"},
    "red_confirmations": {"applied_at": "red_confirmations", "confirmed_at": "red_confirmations_confirmed"},
    "tickets": {"opened_at": "tickets", "updated_at": "tickets_updated", "due_at": "tickets_due"},
}
SHORTEST_PREFIX = 8
MOST_CANDIDATES = 20
PERSONAL_NAME = 4
ENDS = (18, 20)


def trace(known: Engagement | Analysis, number: str, *, lang: str = "zh", reveal: bool = False) -> pl.DataFrame:
    """Return everything known of one invoice, in time order: `at`, `source`, `what`, `source_file`, `source_row`.

    Args:
        known: an engagement, or its analysis.
        number: the number however it is typed: 20 digits, code and number, full width, with signs between, or its
            first eight digits and more, or the eight digits of an old one; where several invoices fit, they are
            listed, and nothing is chosen.
        lang: zh or en.
        reveal: show identity-card numbers and the names of persons, which are masked otherwise.

    Raises:
        RequestError: too few digits, or no source knows such a number.
    """
    analysis = known if isinstance(known, Analysis) else analyse(known, lang=lang)
    digits = re.sub(r"[^0-9A-Z]", "", unicodedata.normalize("NFKC", number).upper())
    if len(digits) < SHORTEST_PREFIX:
        raise RequestError(f"{number!r} is too short to find an invoice by; give at least {SHORTEST_PREFIX} digits.")
    books = {table: _keyed(analysis, table) for table in BOOKS if table in _frames(analysis)}
    keys = _fitting(books, digits)
    if not keys:
        raise RequestError(f"No source knows an invoice {number}; look at its first {SHORTEST_PREFIX} digits alone.")
    if len(keys) > 1:
        return _listed(books, keys, Words(lang))
    parts = list(_told(analysis, books, keys[0], Words(lang), reveal=reveal))
    return pl.concat([pl.DataFrame(schema=STORY), *parts]).sort("at", nulls_last=True, maintain_order=True)


def tell(story: pl.DataFrame, *, lang: str = "zh") -> str:
    """Return a story as lines of text: time, source, what, and the file and row it was read from."""
    unknown = Words(lang)("story.unknown_time")
    lines = []
    for at, source, what, file, row in story.select(list(STORY)).iter_rows():
        place = f"  [{file}{f':{row}' if row is not None else ''}]" if file else ""
        lines.append(
            f"{at:%Y-%m-%d %H:%M:%S}  {source}  {what}{place}" if at else f"{unknown}  {source}  {what}{place}"
        )
    return "\n".join(lines)


def _frames(analysis: Analysis) -> list[str]:
    return [table for table in BOOKS if table in ("ledger", "platform") or analysis.engagement.has(table)]


def _keyed(analysis: Analysis, table: str) -> pl.DataFrame:
    """Return a table's rows with their keys and places."""
    frame = getattr(analysis, table) if table in ("ledger", "platform") else analysis.engagement.table(table)
    return with_key(frame).with_row_index("place")


def _fitting(books: dict[str, pl.DataFrame], digits: str) -> list[str]:
    """Return the keys that a typed number can mean: it whole, else those it begins, else old ones it ends."""
    keys = pl.concat([frame.select("invoice_key", _stated()) for frame in books.values()]).unique()
    key = pl.col("invoice_key")
    old_end = key.str.len_chars().is_in(list(ENDS)) & key.str.ends_with(digits)
    for fits in ((key == digits) | (pl.col("stated") == digits), key.str.starts_with(digits), old_end):
        found = keys.filter(fits)["invoice_key"].drop_nulls().unique().sort()
        if len(found):
            return found.head(MOST_CANDIDATES).to_list()
    return []


def _stated() -> pl.Expr:
    """Return the number as it stands in the source, signs left out."""
    text = pl.coalesce("digital_number", pl.concat_str("invoice_code", "invoice_number", ignore_nulls=True))
    return text.str.replace_all(r"[^0-9A-Za-z]", "").alias("stated")


def _listed(books: dict[str, pl.DataFrame], keys: list[str], words: Words) -> pl.DataFrame:
    """Return the invoices that a number may mean, with where each was found."""
    rows = []
    for key in keys:
        hits = {table: frame.filter(pl.col("invoice_key") == key) for table, frame in books.items()}
        hits = {table: frame for table, frame in hits.items() if frame.height}
        first = next(iter(hits.values())).row(0, named=True)
        found = words("answer.comma").join(words(f"story_source.{table}") for table in hits)
        what = words("story_what.candidates", invoice_key=key, found_in=found)
        rows.append(
            (first["issued_at"], words("story_source.candidates"), what, first["source_file"], first["source_row"])
        )
    return pl.DataFrame(rows, schema=STORY, orient="row")


def _told(
    analysis: Analysis, books: dict[str, pl.DataFrame], key: str, words: Words, *, reveal: bool
) -> Iterator[pl.DataFrame]:
    """Yield what each source tells."""
    mine = {table: frame.filter(pl.col("invoice_key") == key) for table, frame in books.items()}
    pairs = analysis.matches.filter(
        pl.col("ledger_row").is_in(mine["ledger"]["place"].implode())
        | pl.col("platform_row").is_in(mine["platform"]["place"].implode())
    )
    for table, column in (("ledger", "ledger_row"), ("platform", "platform_row")):
        places = pl.concat([mine[table]["place"], pairs[column].drop_nulls()]).unique()
        mine[table] = books[table].filter(pl.col("place").is_in(places.implode()))
    keys = pl.concat([frame["invoice_key"] for frame in mine.values()]).drop_nulls().unique()
    for table, frame in mine.items():
        yield from _moments(frame, table, BOOKS[table], words, reveal=reveal)
    number = pl.col("invoice_number").str.replace_all(r"[^0-9A-Za-z]", "")
    for table, moments in LOGS.items():
        if analysis.engagement.has(table):
            frame = analysis.engagement.table(table).filter(number.is_in(keys.implode()))
            yield from _moments(frame, table, moments, words, reveal=reveal)
    yield from _moments(_in_backups(analysis, mine, keys), "backups", {"data_time": "backups"}, words, reveal=reveal)
    yield from _moments(_stops(analysis, mine), "stops", {"starts_at": "stops"}, words, reveal=reveal)
    found = analysis.findings.filter(
        pl.col("invoice_key").is_in(keys.implode()) | pl.col("ledger_row").is_in(mine["ledger"]["place"].implode())
    )
    judged = pl.concat(
        [found, analysis.backup_findings.filter(pl.col("invoice_key").is_in(keys.implode()))], how="diagonal_relaxed"
    ).with_columns(at=pl.lit(analysis.taken_at, pl.Datetime("us")))
    yield from _moments(judged, "findings", {"at": "findings"}, words, reveal=reveal)


def _moments(
    frame: pl.DataFrame, table: str, moments: dict[str, str], words: Words, *, reveal: bool
) -> Iterator[pl.DataFrame]:
    """Yield a table's rows in words, once a moment; a row without its first moment is told without a time."""
    shown = _worded(frame if reveal else _masked(frame), words)
    for number, (column, name) in enumerate(moments.items()):
        rows = [
            (
                row[column],
                words(f"story_source.{table}"),
                words(f"story_what.{name}", **{field: _shown(field, value, words) for field, value in row.items()}),
                row.get("source_file"),
                row.get("source_row"),
            )
            for row in shown.iter_rows(named=True)
            if number == 0 or row[column] is not None
        ]
        yield pl.DataFrame(rows, schema=STORY, orient="row")


def _masked(frame: pl.DataFrame) -> pl.DataFrame:
    """Return the frame without identity-card numbers and names of persons; companies keep theirs."""
    people = [name for name in masking.NAMES if name in frame.columns]
    is_person = {
        name: pl.col(name).str.len_chars().le(PERSONAL_NAME) | pl.col(name).str.contains("个人") for name in people
    }
    return masking.mask(frame, redact=False).with_columns(
        pl.when(is_person[name]).then(masking.names(pl.col(name))).otherwise(pl.col(name)).alias(name)
        for name in people
    )


def _worded(frame: pl.DataFrame, words: Words) -> pl.DataFrame:
    """Return the frame with the words of its enumerations as a person reads them."""
    vocabularies = {tuple(entries): name for name, entries in resources.load("vocabularies").items()}
    return frame.with_columns(
        pl.col(name).cast(pl.String).replace(words.terms(vocabularies[tuple(dtype.categories)], dtype.categories))
        for name, dtype in frame.schema.items()
        if isinstance(dtype, pl.Enum)
    )


def _shown(field: str, value: Any, words: Words) -> str:  # noqa: ANN401 (any column's value)
    """Return a value as it is read."""
    if value is None or value == []:
        return "–"
    if isinstance(value, list):
        return words("answer.comma").join(map(str, value))
    if field == "cause":
        return words.cause(value)
    return f"{value:,}" if field == "gross" else str(value)


def _in_backups(analysis: Analysis, mine: dict[str, pl.DataFrame], keys: pl.Series) -> pl.DataFrame:
    """Return the backed-up files of an invoice, known by hash or by the number in their path, with their backups."""
    engagement = analysis.engagement
    listing, backups = engagement.table("backup_listing"), engagement.table("backups")
    files = mine.get("invoice_files")
    hashes = files["sha256"].drop_nulls() if files is not None else pl.Series([], dtype=pl.String)
    named = pl.any_horizontal(
        pl.lit(value=False), *(pl.col("path_norm").str.contains(key, literal=True) for key in keys)
    )
    held = listing.filter(pl.col("hash").is_in(hashes.implode()) | named)
    order = (
        backups.sort("data_time", "backup_id", nulls_last=True)
        .with_columns(place=pl.int_range(pl.len(), dtype=pl.UInt32).over("repo_id"))
        .select("repo_id", "backup_id", "data_time", first_ord="place")
    )
    return held.join(order, on=["repo_id", "first_ord"], how="left", maintain_order="left").with_columns(
        count=pl.col("last_ord") - pl.col("first_ord") + 1
    )


def _stops(analysis: Analysis, mine: dict[str, pl.DataFrame]) -> pl.DataFrame:
    """Return the stops of the platform during which the invoice was issued, on its channel."""
    rows = analysis.observations.filter(pl.col("ledger_row").is_in(mine["ledger"]["place"].implode()))
    during = [
        analysis.stops.filter(
            (pl.col("starts_at") <= issued_at)
            & (pl.col("ends_at").is_null() | (pl.col("ends_at") > issued_at))
            & pl.col("channel").is_in([channel, ALL_CHANNELS])
        )
        for channel, issued_at in rows.select("channel", "issued_at").drop_nulls().unique().iter_rows()
    ]
    return pl.concat([analysis.stops.clear(), *during]).unique(maintain_order=True)
