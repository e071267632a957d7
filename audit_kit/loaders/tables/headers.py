"""From the headers of a file to our columns: where they stand, what they mean, which table they make."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass, replace
from functools import cache
from itertools import pairwise
from typing import TYPE_CHECKING

from rapidfuzz import fuzz, process

from audit_kit import resources
from audit_kit.core import schema
from audit_kit.core.errors import SourceError
from audit_kit.resources.languages import Listed, Phrase, Table

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    import polars as pl

    from audit_kit.loaders.formats.grid import File, Grid

SEARCHED_ROWS = 60
INVOICE_TABLES = ("ledger", "platform", "substitute", "register", "invoice_files")
SPECIAL = ("substitute", "register", "invoice_files")  # invoices with a column that no ledger has
OWN_HEADER = 20
OFFERED = 3
MOST_NAMES = 20
LONGEST_NAME = 30
FEWEST = 2  # columns that make a table
ALIKE = 70.0  # of 100: below this two headers have nothing in common
SMALL_SHARE = 3  # a sheet with a third of the columns of another is a note beside it
_UNITS = re.compile(r"[（(\[](?:元|人民币元?|rmb|cny|单位:?元|%|分钟|秒)[）)\]]")
_FIGURE = re.compile(r"^[\d.,\-/:¥￥\s年月日]+$|[0-9]{5}")
_NOISE = re.compile(r"[\s*:_\-—()\[\]【】]+")


def fold(text: str) -> str:
    """Return a header as headers are compared: half width, without spaces, brackets, `*`, units, case."""
    return _NOISE.sub("", _UNITS.sub("", unicodedata.normalize("NFKC", text).casefold()))


@dataclass(frozen=True, kw_only=True)
class Header:
    """A header row: `rows` of the grid it takes (two where a title stands over several columns), `names` by column."""

    start: int
    height: int
    names: tuple[str | None, ...]

    @property
    def end(self) -> int:
        """Position of the first row below."""
        return self.start + self.height


@dataclass(frozen=True, kw_only=True)
class Placement:
    """What became of the columns: `ours` by position, `unplaced` names by position."""

    table: str
    ours: dict[str, int]
    unplaced: dict[int, str]


@dataclass(frozen=True, kw_only=True, eq=False)
class Placed:
    """A sheet whose columns have found their places.

    `header` is null where the file itself declares the names. `shape`: the type of each column of the table.
    `listing`: its rows are lines of invoices. `check_only`: it is only a check on the invoices of another sheet.
    `withheld`: columns that were not read in, each with its filled cells, see `personal`.
    """

    file: File
    grid: Grid
    header: Header | None
    placement: Placement
    shape: Mapping[str, pl.DataType]
    listing: bool
    check_only: bool = False
    withheld: tuple[tuple[str, int], ...] = ()

    @property
    def table(self) -> str:
        """The table that it is."""
        return self.placement.table

    @property
    def ours(self) -> dict[str, int]:
        """The position of each of our columns."""
        return self.placement.ours

    @property
    def names(self) -> tuple[str | None, ...]:
        """The headers as they stand in the file, by column."""
        return self.header.names if self.header is not None else self.grid.heads or ()

    @property
    def is_invoices(self) -> bool:
        """Whether its rows are invoices."""
        return self.table in INVOICE_TABLES


@dataclass(frozen=True, kw_only=True)
class Sheets:
    """The sheets of a file that are read, and the names of those that are not."""

    read: tuple[Placed, ...]
    unread: tuple[str | None, ...]


def placed(file: File) -> Sheets:
    """Place the columns of every sheet that is the table asked for, or the table most of the sheets are.

    Raises:
        SourceError: no sheet is such a table, or one lacks columns that it needs.
    """
    if not file.grids:
        raise SourceError("error_tables.no_cell", file=file.name)
    wanted = file.table
    if wanted is None:
        found = [name for grid in file.grids if (name := recognised(grid, file.headings, file=file.name)) is not None]
        if not found:
            raise _unrecognised(file.grids[0], file=file.name)
        wanted = max(dict.fromkeys(found), key=found.count)
    sheets = [sheet for grid in file.grids if (sheet := _placed(grid, wanted, file)) is not None]
    complete = _without_others([sheet for sheet in sheets if not missing(sheet.placement)], wanted)
    if complete:
        fullest = max(len(sheet.ours) for sheet in complete)
        return _roles(file, [sheet for sheet in complete if len(sheet.ours) * SMALL_SHARE >= fullest])
    if not sheets:
        raise _unrecognised(file.grids[0], file=file.name, table=wanted)
    best = max(sheets, key=lambda sheet: len(sheet.ours))
    raise explain(best.placement, file=file.name, sheet=best.grid.sheet)


def recognised(grid: Grid, headings: Mapping[str, str], *, file: str) -> str | None:
    """Return the table that a sheet is by its headers, its name and the file's; none where it is none."""
    known = {**all_headers(), **{fold(name): (ours, -1) for name, ours in headings.items()}}
    header = None if grid.heads is not None else find_header(grid.cells, known)
    names = grid.heads if header is None else header.names
    return recognise(names, headings, labels=[file, grid.sheet or ""]) if names else None


def _placed(grid: Grid, table: str, file: File) -> Placed | None:
    header = None
    if grid.heads is None:
        header = find_header(grid.cells, lookup(table, file.headings), least=1)
        if header is None:
            return None
    names = (grid.heads if header is None else header.names) or ()
    return Placed(
        file=file,
        grid=grid,
        header=header,
        placement=place(names, table, file.headings),
        shape=schema.dtypes(table),
        listing=table in INVOICE_TABLES and _is_listing(names, grid.sheet),
    )


def _is_listing(names: Sequence[str | None], sheet: str | None) -> bool:
    """Tell whether a sheet lists the lines of invoices, several of which may belong to one."""
    spec = resources.load("headers")["lines"]
    folded = {fold(name) for name in names if name is not None}
    items, details, quantities = ({fold(name) for name in spec[part]} for part in ("items", "details", "quantities"))
    named = sheet is not None and sheet.startswith(tuple(spec["sheets"]))
    return bool(folded & (items | details)) and (named or bool(folded & quantities))


def _without_others(sheets: list[Placed], table: str) -> list[Placed]:
    """Drop the sheets that are called another table, where one is called this table."""
    names = [called(sheet.grid.sheet or "") for sheet in sheets]
    if not any(table in tables for tables in names):
        return sheets
    return [sheet for sheet, tables in zip(sheets, names, strict=True) if table in tables or not tables]


def _roles(file: File, sheets: list[Placed]) -> Sheets:
    """Return the sheets to read; beside invoices, the line items are only a check on them."""
    spec = resources.load("headers")
    invoices, lines = tuple(spec["sheets"]["invoices"]), tuple(spec["lines"]["sheets"])
    base = [sheet for sheet in sheets if (sheet.grid.sheet or "").startswith(invoices)]
    if base:
        others = [sheet for sheet in sheets if sheet not in base]
        checks = [sheet for sheet in others if (sheet.grid.sheet or "").startswith(lines)]
        sheets = base + [replace(sheet, check_only=True) for sheet in checks]
    used = {id(sheet.grid) for sheet in sheets}
    return Sheets(read=tuple(sheets), unread=tuple(grid.sheet for grid in file.grids if id(grid) not in used))


def _unrecognised(grid: Grid, *, file: str, table: str | None = None) -> SourceError:
    """Return the error for a file whose headers nobody knows."""
    seen = [name for name in grid.heads or likely_header(grid.cells).names if name is not None]
    placement = Placement(table=table or "ledger", ours={}, unplaced=dict(enumerate(seen)))
    if table is not None:
        return explain(placement, file=file, sheet=grid.sheet)
    nearest = max(INVOICE_TABLES[:2], key=lambda table: len(place(seen, table, {}).ours))
    if len((near := place(seen, nearest, {})).ours) >= FEWEST:
        return explain(near, file=file, sheet=grid.sheet)
    lines = ", ".join(f'"{shown([theirs])}" = "{ours}"' for theirs, ours in list(offers(placement).items())[:3])
    tail = Phrase("error_tables.add_headers", lines=lines) if lines else Phrase("error_tables.say_table")
    return SourceError("error_tables.unrecognised", file=file, seen=_seen(seen), tail=tail)


@cache
def synonyms(table: str) -> dict[str, tuple[str, int]]:
    """Return folded header → (our column, rank); the lowest rank is the likeliest source of a column."""
    spec = resources.load("headers")
    found: dict[str, tuple[str, int]] = {}
    for name, header in schema.headers(table).items():
        found[fold(name)] = found[fold(header)] = (name, 0)
    sections = [spec.get(table, {})]
    if table in INVOICE_TABLES:
        sections.append(spec["invoices"])
    for section in sections:
        for name, theirs in section.items():
            for rank, header in enumerate(theirs, start=1):
                found.setdefault(fold(header), (name, rank))
    return found


def lookup(table: str, headings: Mapping[str, str]) -> dict[str, tuple[str, int]]:
    """Return the synonyms of a table with the user's own before all others.

    Raises:
        SourceError: a heading of the user names no column of any table.
    """
    known = dict(synonyms(table))
    for theirs, ours in headings.items():
        if ours in schema.dtypes(table):
            known[fold(theirs)] = (ours, -1)
        elif not any(ours in schema.dtypes(other) for other in schema.INPUTS):
            near = _alike(ours, {name for other in schema.INPUTS for name in schema.dtypes(other)})
            hint = Phrase("error_tables.perhaps", name=near[0]) if near else ""
            raise SourceError("error_tables.no_column", theirs=theirs, ours=ours, hint=hint)
    return known


def place(names: Sequence[str | None], table: str, headings: Mapping[str, str]) -> Placement:
    """Give every column its place in a table; of several for one place the likeliest takes it."""
    known = lookup(table, headings)
    best: dict[str, tuple[int, int]] = {}
    for position, name in enumerate(names):
        if name is None or (hit := known.get(fold(name))) is None:
            continue
        ours, rank = hit
        if ours not in best or rank < best[ours][0]:
            best[ours] = (rank, position)
    placed = {name: position for name, (_, position) in best.items() if name not in ("source_file", "source_row")}
    taken = set(placed.values())
    unplaced = {i: name for i, name in enumerate(names) if name is not None and i not in taken}
    return Placement(table=table, ours=placed, unplaced=unplaced)


def find_header(cells: pl.DataFrame, known: Mapping[str, object], *, least: int = FEWEST) -> Header | None:
    """Return the row, or two rows, near the top that hold most headers we know; none with fewer than `least`."""
    head = [tuple(_text(cell) for cell in row) for row in cells.head(SEARCHED_ROWS).rows()]
    best, most = None, least - 1
    single = [Header(start=at, height=1, names=row) for at, row in enumerate(head)]
    double = [
        Header(start=at, height=2, names=_joined(row, below, known))
        for at, (row, below) in enumerate(pairwise(head))
        if any(row)
    ]
    for header in (*single, *double):
        score = sum(1 for name in set(header.names) if name is not None and fold(name) in known)
        if score > most:
            best, most = header, score
    return best


def likely_header(cells: pl.DataFrame) -> Header:
    """Return the row near the top that looks most like a header: the most different words, none of them a figure."""
    head = [tuple(_text(cell) for cell in row) for row in cells.head(SEARCHED_ROWS).rows()]
    words = [len({name for name in row if name is not None and not _FIGURE.search(name)}) for row in head]
    at = max(range(len(head)), key=lambda at: words[at], default=0)
    return Header(start=at, height=1, names=head[at] if head else ())


def _text(cell: object) -> str | None:
    text = str(cell).strip() if cell is not None else ""
    return text or None


def _joined(
    row: tuple[str | None, ...], below: tuple[str | None, ...], known: Mapping[str, object]
) -> tuple[str | None, ...]:
    """Return the names of two header rows read as one: a title over several columns stands before their own names."""
    names: list[str | None] = []
    over: str | None = None
    for own, lower in zip(row, below, strict=True):
        over = own if own is not None else over
        forms = [f"{over or ''}{lower}" if lower is not None else own, lower, own]
        names.append(next((form for form in forms if form is not None and fold(form) in known), lower or own))
    return tuple(names)


@cache
def all_headers() -> dict[str, tuple[str, int]]:
    """Return the synonyms of every input together, to find a header before the table is known."""
    together: dict[str, tuple[str, int]] = {}
    for table in schema.INPUTS:
        together |= synonyms(table)
    return together


def missing(placement: Placement) -> list[list[str]]:
    """Return the groups of columns of which a table needs one and has none."""
    groups: list[list[str]] = resources.load("headers")["required"].get(placement.table, [])
    return [group for group in groups if not any(name in placement.ours for name in group)]


def recognise(names: Sequence[str | None], headings: Mapping[str, str], *, labels: Iterable[str]) -> str | None:
    """Return the table that headers make, helped by the names of file and sheet; none if no table is complete."""
    signs = resources.load("headers")["signs"]
    folded = {fold(name) for name in names if name is not None}
    labels = list(labels)
    scores: dict[str, float] = {}
    for table in schema.INPUTS:
        placement = place(names, table, headings)
        if missing(placement) or len(placement.ours) < FEWEST:
            continue
        sign = signs.get(table, {})
        own = len({fold(header) for header in sign.get("headers", ())} & folded)
        named = any(table in called(label) for label in labels)
        special = (OWN_HEADER if own else -OWN_HEADER) if table in SPECIAL else 0
        scores[table] = len(placement.ours) + 4 * own + 6 * named + special
    return max(scores, key=lambda table: scores[table]) if scores else None


def called(label: str) -> set[str]:
    """Return the tables that the name of a file or sheet speaks of."""
    signs = resources.load("headers")["signs"]
    return {table for table, sign in signs.items() if any(word in label.casefold() for word in sign.get("names", ()))}


def explain(placement: Placement, *, file: str, sheet: str | None) -> SourceError:
    """Return the error for a file that lacks columns: the likely ones, and the line to add to audit.toml."""
    where = Phrase("error_tables.sheet", file=file, sheet=sheet) if sheet else file
    headers = schema.headers(placement.table)
    lacking = missing(placement)
    groups = (Listed(*(f"{headers[name]} ({name})" for name in group), by="error_tables.or") for group in lacking)
    offers = [
        f'"{shown(near[:1])}" = "{name}"'
        for group in lacking
        for name in group
        if (near := likely(name, placement.table, placement.unplaced.values()))
    ]
    tail = (
        Phrase("error_tables.add_headers", lines=Listed(*offers, by="error_tables.or_else"))
        if offers
        else Phrase("error_tables.name_header", name=lacking[0][0])
    )
    return SourceError(
        "error_tables.no_place",
        where=where,
        wanted=Listed(*groups, by="error_tables.and"),
        table=Table(placement.table),
        seen=_seen(placement.unplaced.values()),
        tail=tail,
    )


def _seen(names: Iterable[str]) -> str | Phrase:
    return shown(names) or Phrase("error_core.none")


def shown(names: Iterable[str]) -> str:
    """Return headers as a sentence can name them: the first of them, each short and on one line."""
    short = [" ".join(name.split())[:LONGEST_NAME] for name in list(names)[:MOST_NAMES]]
    return ", ".join(short)


def likely(name: str, table: str, candidates: Iterable[str]) -> list[str]:
    """Return the headers of a file that most resemble one of our columns, the nearest first."""
    pool = list(candidates)
    wanted = [theirs for theirs, (ours, _) in synonyms(table).items() if ours == name]
    scored = {header: max(fuzz.WRatio(fold(header), other) for other in wanted) for header in pool}
    near = [header for header in sorted(scored, key=lambda header: -scored[header]) if scored[header] >= ALIKE]
    return near[:OFFERED]


def offers(placement: Placement) -> dict[str, str]:
    """Return, for unplaced headers, the free column of ours that they most resemble."""
    free = {theirs: ours for theirs, (ours, _) in synonyms(placement.table).items() if ours not in placement.ours}
    found: dict[str, str] = {}
    for header in placement.unplaced.values():
        hit = process.extractOne(fold(header), free.keys(), scorer=fuzz.ratio, score_cutoff=70.0)
        if hit is not None:
            found[header] = free[hit[0]]
    return found


def _alike(word: str, pool: Iterable[str]) -> list[str]:
    return [hit[0] for hit in process.extract(word, list(pool), limit=1, score_cutoff=ALIKE)]
