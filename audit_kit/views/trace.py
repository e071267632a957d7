"""One invoice's story: everything the sources, the rules and the backups know of it, in time order."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import polars as pl

from audit_kit import resources
from audit_kit.analysis.analysis import Analysis
from audit_kit.analysis.work import analyse
from audit_kit.core import schema
from audit_kit.core.errors import RequestError
from audit_kit.core.schema import ALL_CHANNELS
from audit_kit.core.words import Words, texts
from audit_kit.loaders.reading import said
from audit_kit.rules.causes.permission import viewers
from audit_kit.rules.sync.observations import chance_of
from audit_kit.views import held_numbers
from audit_kit.views.held_numbers import MENTIONED, SET_ASIDE
from audit_kit.views.show import masking

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from audit_kit.loaders.engagement.engagement import Engagement

STORY = {
    "at": pl.Datetime("us"),
    "source": pl.String(),
    "what": pl.String(),
    "source_file": pl.String(),
    "source_row": pl.UInt32(),
}
# Each table's moments: the column of the time, and the words for it in resources/words/trace.toml. Of any other table
# the first time is told.
MOMENTS = {
    "ledger": {"issued_at": "ledger"},
    "platform": {"issued_at": "platform", "visible_at": "platform_visible"},
    "exports": {"taken_at": "exports"},
    "substitute": {"issued_at": "substitute", "migrated_at": "substitute_migrated"},
    "register": {"issued_at": "register"},
    "invoice_files": {
        "issued_at": "invoice_files",
        "requested_at": "invoice_files_requested",
        "signed_at": "invoice_files_signed",
    },
    "sync_log": {"at": "sync_log"},
    "operations": {"at": "operations"},
    "confirmations": {"at": "confirmations"},
    "red_confirmations": {"applied_at": "red_confirmations", "confirmed_at": "red_confirmations_confirmed"},
    "tickets": {"opened_at": "tickets", "updated_at": "tickets_updated", "due_at": "tickets_due"},
}
SHORTEST_PREFIX = 8
MOST_CANDIDATES = 20
PERSONAL_NAME = 4
MOST_VIEWERS = 20


def trace(known: Engagement | Analysis, number: str, *, lang: str = "zh", reveal: bool = False) -> pl.DataFrame:
    """Return everything known of one invoice, in time order: `at`, `source`, `what`, `source_file`, `source_row`.

    Any table that holds the number will do: a ticket, a log, a confirmation, a file's name, a row set aside. The story
    ends with the chance that the invoice is merely late, where it is not listed, and with the accounts that could see
    it when the export was taken.

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
    if len(held_numbers.digits_of(number)) < SHORTEST_PREFIX:
        raise RequestError("error_views.short_number", number=number, shortest=SHORTEST_PREFIX)
    tables = held_numbers.frames(analysis)
    numbers = held_numbers.held(tables)
    keys = held_numbers.fitting(numbers, number, MOST_CANDIDATES)
    if not keys:
        raise RequestError("error_views.no_invoice", number=number, shortest=SHORTEST_PREFIX)
    if len(keys) > 1:
        return _listed(tables, numbers, keys, Words(lang))
    parts = list(_Story(analysis, tables, numbers, keys[0], Words(lang), reveal=reveal).told())
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


def _listed(tables: dict[str, pl.DataFrame], numbers: pl.DataFrame, keys: list[str], words: Words) -> pl.DataFrame:
    """Return the invoices that a number may mean, with where each was found."""
    rows = []
    for key in keys:
        hits = numbers.filter(pl.col("key") == key)
        found = words("answer.comma").join(_source(table, words) for table in hits["table"].unique(maintain_order=True))
        what = words("story_what.candidates", invoice_key=key, found_in=found)
        table, place = hits.select("table", "held_at").row(0)
        first = tables[table].row(place, named=True)
        rows.append(
            (first.get("issued_at"), words("story_source.candidates"), what, first["source_file"], first["source_row"])
        )
    return pl.DataFrame(rows, schema=STORY, orient="row")


def _source(table: str, words: Words) -> str:
    """Return a source's name in the story, of a table without one there that of the table."""
    return words(f"story_source.{table}") if table in texts()["story_source"] else words.term("table", table)


class _Story:
    """What each source tells of one invoice, and what the rules say of it."""

    def __init__(
        self,
        analysis: Analysis,
        tables: dict[str, pl.DataFrame],
        numbers: pl.DataFrame,
        key: str,
        words: Words,
        *,
        reveal: bool,
    ) -> None:
        """Take the rows of every table that hold the number, and those that matching paired with them."""
        self.analysis, self.tables, self.words, self.reveal = analysis, tables, words, reveal
        self.numbers = numbers
        mine = {table: self._places(table, pl.Series([key])) for table in tables}
        pairs = analysis.matches.filter(
            pl.col("ledger_row").is_in(mine["ledger"].implode())
            | pl.col("platform_row").is_in(mine["platform"].implode())
        )
        for table in ("ledger", "platform"):
            mine[table] = pl.concat([mine[table], pairs[f"{table}_row"].drop_nulls()]).unique()
        paired = (
            numbers.filter(
                pl.col("table") == table,
                pl.col("role") == held_numbers.OWN,
                pl.col("held_at").is_in(mine[table].implode()),
            )["key"]
            for table in ("ledger", "platform")
        )
        self.keys = pl.concat([pl.Series([key]), *paired]).unique(maintain_order=True)
        for table in tables:
            mine[table] = pl.concat([mine[table], self._places(table, self.keys)]).unique()
        self.mine = {
            table: frame.filter(pl.col("held_at").is_in(mine[table].implode())) for table, frame in tables.items()
        }
        self.outcomes = set(pairs["outcome"].cast(pl.String))

    def _places(self, table: str, keys: pl.Series) -> pl.Series:
        """Return the rows of a table that are of this invoice, those that only mention it left out."""
        own = (pl.col("table") == table) & ~pl.col("role").is_in(list(MENTIONED)) & pl.col("key").is_in(keys.implode())
        return self.numbers.filter(own)["held_at"].unique()

    def told(self) -> Iterator[pl.DataFrame]:
        """Yield what each source tells, then what the rules say."""
        for table, frame in self.mine.items():
            if table not in (SET_ASIDE, "backup_listing"):
                yield from self._moments(_keyed(frame, self.numbers, table), table)
        for column in MENTIONED:
            yield from self._mentions(column)
        yield from self._aside()
        held = _in_backups(self.analysis, self.mine, self.keys)
        yield from self._moments(held, "backups", {"data_time": "backups"})
        yield from self._moments(_stops(self.analysis, self.mine["ledger"]), "stops", {"starts_at": "stops"})
        yield from self._moments(self._findings(), "findings", {"at": "findings"})
        yield from self._judged("lateness", self._lateness())
        yield from self._judged("viewers", self._viewers())

    def _moments(
        self, frame: pl.DataFrame, table: str, moments: dict[str, str] | None = None
    ) -> Iterator[pl.DataFrame]:
        """Yield a table's rows in words, once a moment; a row without its first moment is told without a time."""
        if frame.is_empty():
            return
        shown = _worded(frame if self.reveal else _masked(frame), self.words)
        moments = moments or MOMENTS.get(table) or _first_time(frame)
        for number, (column, name) in enumerate(moments.items()):
            rows = [
                (
                    row.get(column),
                    _source(table, self.words),
                    self._what(name, row),
                    row.get("source_file"),
                    row.get("source_row"),
                )
                for row in shown.iter_rows(named=True)
                if number == 0 or row.get(column) is not None
            ]
            yield pl.DataFrame(rows, schema=STORY, orient="row")

    def _what(self, name: str, row: dict[str, Any]) -> str:
        """Return a row in the words for it; where there are none, every filled column."""
        if name in texts()["story_what"]:
            fields = {field: _shown(field, value, self.words) for field, value in row.items()}
            return self.words(f"story_what.{name}", **fields)
        filled = {field: value for field, value in row.items() if field in schema.headers(name) and value is not None}
        return self.words("answer.semicolon").join(
            f"{field} {_shown(field, value, self.words)}" for field, value in filled.items() if field not in _PLACE
        )

    def _mentions(self, column: str) -> Iterator[pl.DataFrame]:
        """Yield the rows that name this invoice beside their own number."""
        hits = self.numbers.filter(pl.col("role") == column, pl.col("key").is_in(self.keys.implode()))
        for table in hits["table"].unique(maintain_order=True):
            places = hits.filter(pl.col("table") == table)["held_at"]
            rows = self.tables[table].filter(pl.col("held_at").is_in(places.implode()))
            if column == "checked_number":
                rows = rows.filter(~pl.col("held_at").is_in(self.mine[table]["held_at"].implode()))
            yield from self._moments(_keyed(rows, self.numbers, table), table, {"issued_at": column})

    def _aside(self) -> Iterator[pl.DataFrame]:
        """Yield the rows that could not be read and hold the number."""
        rows = self.mine[SET_ASIDE].with_columns(
            at=pl.lit(None, pl.Datetime("us")), reason=said(self.mine[SET_ASIDE], self.words.lang)
        )
        yield from self._moments(rows, SET_ASIDE, {"at": SET_ASIDE})

    def _findings(self) -> pl.DataFrame:
        """Return what was found of it, at the time of the export."""
        mine = pl.col("invoice_key").is_in(self.keys.implode())
        found = self.analysis.findings.filter(
            mine | pl.col("ledger_row").is_in(self.mine["ledger"]["held_at"].implode())
        )
        others = (self.analysis.backup_findings, self.analysis.response_findings)
        judged = pl.concat([found, *(frame.filter(mine) for frame in others)], how="diagonal_relaxed")
        return judged.with_columns(at=pl.lit(self.analysis.taken_at, pl.Datetime("us")))

    def _judged(self, source: str, what: str) -> Iterator[pl.DataFrame]:
        """Yield a sentence of ours, said of the time of the export."""
        if what:
            line = (self.analysis.taken_at, _source(source, self.words), what, None, None)
            yield pl.DataFrame([line], schema=STORY, orient="row")

    def _lateness(self) -> str:
        """Return the chance that it is merely late; nothing where the platform lists it."""
        if self.mine["platform"].height:
            return ""
        mine = pl.col("ledger_row").is_in(self.mine["ledger"]["held_at"].implode())
        chances = self.analysis.findings.filter(mine)["probability_late"].drop_nulls()
        if len(chances):
            return self.words("story_what.lateness", share=self.words.share(chances[0]))
        if self.mine["ledger"].height and self.outcomes != {"missing"}:
            return ""
        issued_at, channel = self._issued()
        if issued_at is None:
            return self.words("story_what.lateness_unknown")
        late = chance_of(
            self.keys[0],
            self.analysis.observations,
            self.analysis.findings,
            self.analysis.stops,
            channel=channel,
            issued_at=issued_at,
            taken_at=self.analysis.taken_at,
            history=self.analysis.history,
        )
        if late is None:
            return self.words("story_what.lateness_unknown")
        at = f"{issued_at:%Y-%m-%d %H:%M}"
        return self.words("story_what.lateness_if", share=self.words.share(late), at=at)

    def _issued(self) -> tuple[datetime | None, str | None]:
        """Return when it was issued and by which channel, by the first of the other sources that says so."""
        for table in ("substitute", "register", "invoice_files"):
            rows = self.mine.get(table, pl.DataFrame(schema={"issued_at": pl.Datetime("us")})).drop_nulls("issued_at")
            if rows.height:
                return rows["issued_at"][0], rows["channel"][0]
        log = self.mine.get("sync_log")
        if log is not None:
            log = log.filter(pl.col("event").cast(pl.String) == "issued", pl.col("at").is_not_null()).sort("at")
            if log.height:
                return log["at"][0], log["channel"][0]
        return None, None

    def _viewers(self) -> str:
        """Return which accounts could see it when the export was taken."""
        engagement = self.analysis.engagement
        if not engagement.has("accounts"):
            return self.words("story_what.viewers_unknown")
        side = "seller_tax_id" if engagement.direction == "issued" else "buyer_tax_id"
        books = [self.mine[table] for table in held_numbers.BOOKS if table in self.mine]
        parties = pl.concat([rows[side] for rows in books]).drop_nulls().unique(maintain_order=True).to_list()
        may = viewers(engagement.table("accounts"), parties or list(engagement.taxpayer_ids), at=self.analysis.taken_at)
        if may.is_empty():
            return self.words("story_what.viewers_none")
        shown = (may if self.reveal else _masked(may)).head(MOST_VIEWERS)
        named = [f"{account} ({holder})" if holder else account for account, holder in shown.iter_rows()]
        return self.words(
            "story_what.viewers", list=self.words("answer.comma").join(named), count=self.words.count(may.height)
        )


_PLACE = ("source_file", "source_row")


def _keyed(frame: pl.DataFrame, numbers: pl.DataFrame, table: str) -> pl.DataFrame:
    """Return a table's rows with the key of each."""
    own = numbers.filter(pl.col("table") == table, pl.col("role") == held_numbers.OWN)
    keys = own.select("held_at", invoice_key="key").unique("held_at", keep="first")
    return frame.join(keys, on="held_at", how="left", maintain_order="left")


def _first_time(frame: pl.DataFrame) -> dict[str, str]:
    """Return the first column of a time, for a table that has no words of its own."""
    times = [name for name, dtype in frame.schema.items() if isinstance(dtype, pl.Datetime)]
    return {(times or ["at"])[0]: ""}


def _masked(frame: pl.DataFrame) -> pl.DataFrame:
    """Return the frame without identity-card numbers and names of persons; companies keep theirs."""
    people = [name for name in masking.NAMES if name in frame.columns]
    is_person = {
        name: pl.col(name).str.len_chars().le(PERSONAL_NAME) | pl.col(name).str.contains("个人") for name in people
    }
    return masking.mask(frame).with_columns(
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
    if "backup_listing" in mine:  # where the file's name is code and number with a sign between
        at = pl.int_range(pl.len(), dtype=pl.UInt32)
        named |= at.is_in(mine["backup_listing"]["held_at"].implode())
    held = listing.filter(pl.col("hash").is_in(hashes.implode()) | named)
    order = (
        backups.sort("data_time", "backup_id", nulls_last=True)
        .with_columns(held_at=pl.int_range(pl.len(), dtype=pl.UInt32).over("repo_id"))
        .select("repo_id", "backup_id", "data_time", first_ord="held_at")
    )
    return held.join(order, on=["repo_id", "first_ord"], how="left", maintain_order="left").with_columns(
        count=pl.col("last_ord") - pl.col("first_ord") + 1
    )


def _stops(analysis: Analysis, mine: pl.DataFrame) -> pl.DataFrame:
    """Return the stops of the platform during which the invoice was issued, on its channel."""
    rows = analysis.observations.filter(pl.col("ledger_row").is_in(mine["held_at"].implode()))
    during = [
        analysis.stops.filter(
            (pl.col("starts_at") <= issued_at)
            & (pl.col("ends_at").is_null() | (pl.col("ends_at") > issued_at))
            & pl.col("channel").is_in([channel, ALL_CHANNELS])
        )
        for channel, issued_at in rows.select("channel", "issued_at").drop_nulls().unique().iter_rows()
    ]
    return pl.concat([analysis.stops.clear(), *during]).unique(maintain_order=True)
