"""What a folder of files seems to be, before anybody has said so: the settings that `audit-kit init` proposes.

Nothing is decided here that a person does not see: every guess carries what it rests on.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import polars as pl

from audit_kit import resources
from audit_kit.core import schema
from audit_kit.core.errors import AuditError, EngagementError
from audit_kit.core.files import census, openable, shown
from audit_kit.loaders.engagement.settings import FILE, SOURCES
from audit_kit.loaders.engagement.sources import NAMED_ONLY, as_folders, is_table, tables_of
from audit_kit.loaders.engagement.unused import relative
from audit_kit.loaders.formats.preview import open_heads
from audit_kit.loaders.reading import Reason
from audit_kit.loaders.tables import headers, templates
from audit_kit.loaders.tables.personal import is_personal

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime
    from pathlib import Path

    from audit_kit.loaders.formats.grid import Grid

SAMPLED_ROWS = 200
SHOWN_SAMPLES = 2
LONGEST_SAMPLE = 24
MOSTLY = 0.8  # share of a column's cells that must be of a kind for the column to be of it
# What the values of a column give away, for the columns without which no list of invoices can be used.
SHAPES = {
    "digital_number": re.compile(r"^[0-9]{20}$"),
    "invoice_number": re.compile(r"^(?:[0-9]{20}|[0-9]{8})$"),
    "invoice_code": re.compile(r"^[0-9]{10}(?:[0-9]{2})?$"),
    "issued_at": re.compile(r"^20[0-9]{2}[-/.年]?[01]?[0-9][-/.月]?[0-3]?[0-9]日?(?:[ T].*)?$"),
    "gross": re.compile(r"^[-−]?[¥￥]?[0-9][0-9,]*(?:\.[0-9]{1,2})?$"),
}
LISTS = ("ledger", "platform")


@dataclass(frozen=True, kw_only=True)
class Column:
    """A column of a file, our name for it or null, and the first of its values."""

    theirs: str
    ours: str | None
    samples: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Guess:
    """What a file seems to be: its table, or null with the doubt that says why; where its header stands, its columns.

    `header_row` is the physical row; `headings` what must be added to `[headers]` for the file to be read so.
    """

    file: str
    table: str | None
    sheet: str | None = None
    header_row: int | None = None
    columns: tuple[Column, ...] = ()
    headings: Mapping[str, str] = field(default_factory=dict)
    doubts: tuple[Reason, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Proposal:
    """What the files seem to be, and on what terms they would be audited; null = nothing tells."""

    guesses: tuple[Guess, ...]
    name: str
    taxpayer_id: str | None = None
    taxpayer_name: str | None = None
    direction: str = "issued"
    taken_at: datetime | None = None

    @property
    def headings(self) -> dict[str, str]:
        """Their headers that no table knows, and our columns for them."""
        return {theirs: ours for guess in self.guesses if guess.table for theirs, ours in guess.headings.items()}

    @property
    def sources(self) -> dict[str, list[str]]:
        """The files of each table, in the order of the tables."""
        tables = [table for table in SOURCES if any(guess.table == table for guess in self.guesses)]
        return {table: [guess.file for guess in self.guesses if guess.table == table] for table in tables}


def propose(folder: Path) -> Proposal:
    """Return what the files of a folder seem to be; nothing is written.

    Raises:
        EngagementError: there is no such folder, or it holds no file.
    """
    if not folder.is_dir():
        raise EngagementError("error_engagement.no_files_folder", folder=shown(str(folder)))
    folder = folder.resolve()
    guesses: list[Guess] = []
    together: dict[str, list[Path]] = {"invoice_files": [], "backups": []}
    for place in census(folder):
        if place.path == folder / FILE or place.fault in NAMED_ONLY:
            continue
        file = relative(folder, place.path)
        if place.fault:
            guesses.append(Guess(file=file, table=None, doubts=(Reason(code=f"unused.{place.fault}"),)))
            continue
        try:
            tables = tables_of(place.path, folder, {})
        except AuditError as error:
            guesses.append(Guess(file=file, table=None, doubts=(_because(error),)))
            continue
        if (table := tables[0] if tables else None) in together and not is_table(place.path):
            together[str(table)].append(place.path)
        elif is_table(place.path):
            guesses.append(guess(place.path, file=file, table=table))
        else:
            guesses.append(Guess(file=file, table=None, doubts=(Reason(code="guess.other"),)))
    for table, files in together.items():
        places = as_folders(folder, files) if table == "invoice_files" else files
        guesses += [Guess(file=relative(folder, path), table=table) for path in places]
    if not guesses:
        raise EngagementError("error_engagement.no_files", folder=shown(folder.name))
    return _terms(folder, Proposal(guesses=tuple(guesses), name=shown(folder.name)))


def _because(error: AuditError) -> Reason:
    return Reason(code="guess.unread", fields={"why": error})


def guess(path: Path, *, file: str, table: str | None = None) -> Guess:
    """Return what a table file seems to be; `table` where its name or a person says so."""
    try:
        with openable(path) as place:
            grids = [grid for grid in open_heads(place) if grid.cells.height or grid.heads]
    except AuditError as error:
        return Guess(file=file, table=None, doubts=(_because(error),))
    if not grids:
        return Guess(file=file, table=None, doubts=(Reason(code="guess.empty"),))
    looked = [_sheet(grid, file, templates.SHAPES.get(table or "", table)) for grid in grids]
    lines = tuple(resources.load("headers")["lines"]["sheets"])
    best = max(
        looked,
        key=lambda found: (
            found.table is not None,
            not (found.sheet or "").startswith(lines),
            len(found.columns) - len(found.doubts),
        ),
    )
    return replace(best, table=table) if table and best.table else best


def _sheet(grid: Grid, file: str, table: str | None) -> Guess:
    """Return what a sheet seems to be: by its headers, and where they do not tell, by its values."""
    known = headers.all_headers() if table is None else headers.lookup(table, {})
    header = None if grid.heads is not None else headers.find_header(grid.cells, known)
    header = header or (None if grid.heads is not None else headers.likely_header(grid.cells))
    names = (grid.heads if header is None else header.names) or ()
    below = grid.cells.slice(0 if header is None else header.end, SAMPLED_ROWS)
    table = table or headers.recognise(names, {}, labels=[file, grid.sheet or ""])
    found, by_values = table, {}
    for other in (table,) if table else LISTS:
        by_values = _by_values(names, below, other)
        if not headers.missing(headers.place(names, other, by_values)):
            found = other
            break
    doubts = [
        Reason(code="guess.by_values", fields={"theirs": theirs, "ours": schema.headers(found or LISTS[0])[ours]})
        for theirs, ours in by_values.items()
    ]
    if found is None or headers.missing(headers.place(names, found, by_values)):
        found, by_values, doubts = None, {}, [Reason(code="guess.unknown")]
    elif table is None:
        doubts.append(Reason(code="guess.by_columns"))
    placement = headers.place(names, found or LISTS[0], by_values)
    ours = {at: name for name, at in placement.ours.items()} if found else {}
    return Guess(
        file=file,
        table=found,
        sheet=grid.sheet,
        header_row=None if header is None else int(grid.rows[header.start]),
        columns=tuple(
            Column(theirs=name, ours=ours.get(at), samples=_samples(below, at) if _may_show(name, at, ours) else ())
            for at, name in enumerate(names)
            if name is not None
        ),
        headings=by_values,
        doubts=tuple(doubts),
    )


def _may_show(name: str, at: int, ours: Mapping[int, str]) -> bool:
    return at in ours or not is_personal(name)


def _by_values(names: Sequence[str | None], below: pl.DataFrame, table: str) -> dict[str, str]:
    """Return, for the columns a table needs and has not, the header whose values and words fit best."""
    placement = headers.place(names, table, {})
    free = {at: name for at, name in placement.unplaced.items() if not is_personal(name)}
    found: dict[str, str] = {}
    for group in headers.missing(placement):
        for ours in group:
            fitting = [at for at in free if ours in SHAPES and _is_mostly(below, at, SHAPES[ours])]
            if not fitting:
                continue
            near = headers.likely(ours, table, [free[at] for at in fitting])
            best = next((at for at in fitting if near and free[at] == near[0]), fitting[0])
            if near or len(fitting) == 1:
                found[free.pop(best)] = ours
                break
    return found


def _is_mostly(below: pl.DataFrame, at: int, shape: re.Pattern[str]) -> bool:
    values = _values(below, at)
    return bool(values) and sum(shape.match(value) is not None for value in values) >= MOSTLY * len(values)


def _values(below: pl.DataFrame, at: int) -> list[str]:
    column = below.columns[at] if at < below.width else None
    if column is None:
        return []
    return [text for cell in below[column].drop_nulls().to_list() if (text := str(cell).strip())]


def _samples(below: pl.DataFrame, at: int) -> tuple[str, ...]:
    return tuple(shown(value)[:LONGEST_SAMPLE] for value in _values(below, at)[:SHOWN_SAMPLES])


def _terms(folder: Path, proposal: Proposal) -> Proposal:
    """Add whose invoices these are and on which side they stand, as the platform's export, or the ledger, tells.

    The audited company is the one party that nearly all rows name.
    """
    from audit_kit.loaders.read import reading_of  # noqa: PLC0415 (heavy, and only needed here)

    for table in ("platform", "ledger"):
        for file in proposal.sources.get(table, ()):
            try:
                rows = reading_of(folder / file, table=table, headings=proposal.headings).rows
            except AuditError:
                continue
            for side, direction in (("seller", "issued"), ("buyer", "received")):
                ids = rows[f"{side}_tax_id"].drop_nulls()
                if ids.len() and ids.len() >= MOSTLY * rows.height and (ids == ids.mode().sort()[0]).mean() >= MOSTLY:
                    own = rows.filter(pl.col(f"{side}_tax_id") == ids.mode().sort()[0])
                    names = own[f"{side}_name"].drop_nulls()
                    return replace(
                        proposal,
                        direction=direction,
                        taxpayer_id=ids.mode().sort()[0],
                        taxpayer_name=names.mode().sort()[0] if names.len() else None,
                    )
    return proposal
