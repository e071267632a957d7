"""Read any table an auditor gets: by headers and synonyms, nothing lost, nothing guessed."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zoneinfo import available_timezones

import polars as pl

from audit_kit import resources
from audit_kit.core import schema
from audit_kit.core.errors import RequestError, SourceError
from audit_kit.core.files import openable, shown, shown_path
from audit_kit.core.hashing import hash_file
from audit_kit.loaders.formats.opening import is_einvoice, open_grids
from audit_kit.loaders.formats.preview import open_heads
from audit_kit.loaders.reading import FILES, Reading
from audit_kit.loaders.tables import canonical, control_totals, headers, invoice_lines
from audit_kit.loaders.tables.body import is_listing, split
from audit_kit.loaders.tables.headers import Header, Placement

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from audit_kit.loaders.formats.grid import Grid
    from audit_kit.loaders.tables.body import Body

SMALL_SHARE = 3  # a sheet with a third of the columns of another is a note beside it


@dataclass(frozen=True, kw_only=True)
class _Sheet:
    """A grid whose columns have found their places."""

    grid: Grid
    header: Header | None
    placement: Placement
    listing: bool

    @property
    def names(self) -> tuple[str | None, ...]:
        """The headers as they stand in the file, by column."""
        return self.header.names if self.header is not None else self.grid.heads or ()


def read(
    path: Path | str,
    *,
    table: str | None = None,
    headings: Mapping[str, str] | None = None,
    root: Path | None = None,
    progress: bool = False,
    tz: str | None = None,
) -> Reading:
    """Read one file (xlsx, xls, xlsb, ods, csv, tsv, parquet, json), an e-invoice, or a folder of them.

    Args:
        path: the file; a folder only for `invoice_files`.
        table: one of `schema.INPUTS`; recognised by the headers when left out.
        headings: the user's own synonyms, their header → our column.
        root: `source_file` is relative to this folder (default: the file's name).
        progress: show a bar for folders.
        tz: the zone of times that state none (default: Beijing).

    Returns:
        The kept rows in canonical columns, then columns without a place as text; the rows set aside with file, row,
        reason and value; the file's totals against ours (yuan); how each sheet was read.

    Raises:
        RequestError: there is no such table or time zone.
        SourceError: the file cannot be read at all, or lacks columns that the table needs.
    """
    path = Path(path)
    if table is not None and table not in schema.INPUTS:
        raise RequestError(f"there is no table {table}; known are {', '.join(schema.INPUTS)}.")
    if tz is not None and tz not in available_timezones():
        raise RequestError(f"there is no time zone {tz}; write one such as UTC or Asia/Shanghai.")
    if path.is_dir() and table in (None, "invoice_files"):
        from audit_kit.loaders.einvoices.folder import read_folder  # noqa: PLC0415 (lxml and ofdkit only where needed)

        return read_folder(path, root=root, progress=progress)
    if is_einvoice(path) and table in (None, "invoice_files"):
        from audit_kit.loaders.einvoices.folder import read_paths  # noqa: PLC0415 (as above)

        return read_paths([path], root=root or path.parent)
    with openable(path) as place:
        grids = open_grids(place)
        return read_grids(grids, file=path.name, path=path, table=table, headings=headings or {}, root=root, tz=tz)


def read_grids(
    grids: Sequence[Grid],
    *,
    file: str,
    path: Path | None,
    table: str | None,
    headings: Mapping[str, str],
    root: Path | None = None,
    tz: str | None = None,
) -> Reading:
    """Read what a file or a database gave, as `read` does."""
    sheets = _place_all(grids, table, headings, file=file)
    main, checks = _roles(sheets)
    file = shown(file)
    source = _relative(path, root) if path is not None else file
    with ThreadPoolExecutor(max_workers=1) as other:  # the file is hashed while its rows are read
        fingerprint = other.submit(_fingerprint, path)
        readings = [_read_sheet(sheet, source=source, tz=tz) for sheet in main]
        whole = merge([*readings, *_unread(grids, [*main, *checks], table=main[0].placement.table)])
        whole = _with_checks(whole, [_read_sheet(sheet, source=source, tz=tz) for sheet in checks])
        digest, size = fingerprint.result()
    files = whole.files.with_columns(
        sha256=pl.lit(digest, pl.String), size=pl.lit(size, pl.UInt64), source_file=pl.lit(source)
    )
    return replace(whole, files=files.select(*FILES))


def recognise(path: Path | str, *, headings: Mapping[str, str] | None = None) -> list[str]:
    """Return the tables that a file holds, by its headers and names; empty if none is recognised.

    Raises:
        SourceError: the file cannot be read at all.
    """
    path = Path(path)
    if path.is_dir() or is_einvoice(path):
        return ["invoice_files"]
    with openable(path) as place:
        return _tables_of(open_heads(place), headings or {}, file=place.name)


def _tables_of(grids: Sequence[Grid], headings: Mapping[str, str], *, file: str) -> list[str]:
    found = [_recognised(grid, headings, file=file) for grid in grids]
    return list(dict.fromkeys(table for table in found if table is not None))


def _recognised(grid: Grid, headings: Mapping[str, str], *, file: str) -> str | None:
    known = {**headers.all_headers(), **{headers.fold(name): (ours, -1) for name, ours in headings.items()}}
    header = None if grid.heads is not None else headers.find_header(grid.cells, known)
    names = grid.heads if header is None else header.names
    return headers.recognise(names, headings, labels=[file, grid.sheet or ""]) if names else None


def _place_all(grids: Sequence[Grid], table: str | None, headings: Mapping[str, str], *, file: str) -> list[_Sheet]:
    """Place the columns of every sheet that is the table asked for, or the table most of the sheets are."""
    if not grids:
        raise SourceError(f"{file}: is a workbook without any cell; export it again.")
    wanted = table
    if wanted is None:
        found = [name for grid in grids if (name := _recognised(grid, headings, file=file)) is not None]
        if not found:
            raise _unrecognised(grids[0], headings, file=file)
        wanted = max(dict.fromkeys(found), key=found.count)
    sheets = [sheet for grid in grids if (sheet := _placed(grid, wanted, headings)) is not None]
    complete = [sheet for sheet in sheets if not headers.missing(sheet.placement)]
    complete = _without_others(complete, wanted)
    if complete:
        fullest = max(len(sheet.placement.ours) for sheet in complete)
        return [sheet for sheet in complete if len(sheet.placement.ours) * SMALL_SHARE >= fullest]
    if not sheets:
        raise _unrecognised(grids[0], headings, file=file, table=wanted)
    best = max(sheets, key=lambda sheet: len(sheet.placement.ours))
    raise headers.explain(best.placement, file=file, sheet=best.grid.sheet)


def _without_others(sheets: list[_Sheet], table: str) -> list[_Sheet]:
    """Drop the sheets that are called another table, where one is called this table."""
    called = {id(sheet): headers.called(sheet.grid.sheet or "") for sheet in sheets}
    if not any(table in names for names in called.values()):
        return sheets
    return [sheet for sheet in sheets if table in called[id(sheet)] or not called[id(sheet)]]


def _placed(grid: Grid, table: str, headings: Mapping[str, str]) -> _Sheet | None:
    header = None
    if grid.heads is None:
        header = headers.find_header(grid.cells, headers.lookup(table, headings), least=1)
        if header is None:
            return None
    names = grid.heads if header is None else header.names
    placement = headers.place(names or (), table, headings)
    listing = table in headers.INVOICE_TABLES and is_listing(
        names or (), grid.sheet, resources.load("headers")["lines"]
    )
    return _Sheet(grid=grid, header=header, placement=placement, listing=listing)


def _unrecognised(grid: Grid, headings: Mapping[str, str], *, file: str, table: str | None = None) -> SourceError:
    """Return the error for a file whose headers nobody knows."""
    names: Iterable[str | None] = grid.heads or next(
        (row for row in grid.cells.head(headers.SEARCHED_ROWS).rows() if sum(cell is not None for cell in row) > 1), ()
    )
    seen = [str(name) for name in names if name is not None]
    placement = Placement(table=table or "ledger", ours={}, unplaced=dict(enumerate(seen)))
    if table is None:
        offered = headers.offers(placement)
        lines_ = ", ".join(f'"{headers.shown([theirs])}" = "{ours}"' for theirs, ours in list(offered.items())[:3])
        tail = f"add to [headers] of audit.toml, if it is meant: {lines_}." if lines_ else "say which table it is."
        return SourceError(f"{file}: its headers make no table that is known ({headers.shown(seen)}); {tail}")
    del headings
    return headers.explain(placement, file=file, sheet=grid.sheet)


def _roles(sheets: list[_Sheet]) -> tuple[list[_Sheet], list[_Sheet]]:
    """Return the sheets to read, and the line items that are only a check on them."""
    spec = resources.load("headers")["sheets"]["invoices"]
    base = [sheet for sheet in sheets if any((sheet.grid.sheet or "").startswith(name) for name in spec)]
    if base:
        listings = resources.load("headers")["lines"]["sheets"]
        checks = [
            sheet
            for sheet in sheets
            if sheet not in base and any((sheet.grid.sheet or "").startswith(name) for name in listings)
        ]
        return base, checks
    return sheets, []


def _read_sheet(sheet: _Sheet, *, source: str, tz: str | None) -> Reading:
    table = sheet.placement.table
    anchors = ("issued_at",) if table in headers.INVOICE_TABLES and "issued_at" in sheet.placement.ours else ()
    body = split(sheet.grid, sheet.header, sheet.placement, () if sheet.listing else anchors)
    if sheet.listing:
        body = invoice_lines.filled(body, sheet.placement)
    built = canonical.build(sheet.grid, sheet.header, sheet.placement, body, source=source, zone=tz)
    if sheet.listing:
        built = invoice_lines.gathered(built, sheet.placement)
    _account(sheet, body, built, source=source)
    checks = control_totals.check(built, body, source=source, sheet=sheet.grid.sheet, listing=sheet.listing)
    return Reading(
        table=table,
        rows=built.kept,
        set_aside=built.aside,
        control=checks,
        files=_file(sheet, built),
    )


def _account(sheet: _Sheet, body: Body, built: canonical.Records, *, source: str) -> None:
    """Hold the rows below a header, those named as no data aside, against the rows kept and set aside.

    Raises:
        SourceError: a row was lost or invented on the way.
    """
    above = sheet.header.end if sheet.header is not None else 0
    stand = sheet.grid.cells.height - above - body.passed_over
    kept = built.kept
    gathered = sheet.listing and kept.columns[-1] == invoice_lines.LINES
    told = int(kept[invoice_lines.LINES].cast(pl.UInt32).sum()) if gathered else kept.height
    told += built.aside.height
    if stand != told:
        raise SourceError(
            f"{source}: {stand:,} rows stand below its header but {told:,} were kept or set aside, so none is used; "
            "open it in Excel and save it as xlsx."
        )


def _file(sheet: _Sheet, built: canonical.Records) -> pl.DataFrame:
    kept, aside = built.kept, built.aside
    sums = {
        name: kept[name].sum() if name in kept.columns and kept.height else None for name in ("net", "tax", "gross")
    }
    columns = [{"theirs": sheet.names[at], "ours": name} for name, at in sheet.placement.ours.items()]
    return pl.DataFrame(
        {
            "source_file": [None],
            "table": [sheet.placement.table],
            "sheet": [sheet.grid.sheet],
            "encoding": [sheet.grid.encoding],
            "sha256": [None],
            "size": [None],
            "rows_in": [kept.height + aside.height],
            "rows_kept": [kept.height],
            "rows_set_aside": [aside.height],
            **{name: [value] for name, value in sums.items()},
            "columns": [columns],
            "unplaced": [list(sheet.placement.unplaced.values())],
        },
        schema=FILES,
    )


def _with_checks(whole: Reading, checks: list[Reading]) -> Reading:
    """Compare the invoices with the sums of their lines, read from another sheet of the file."""
    if not checks:
        return whole
    against = [control_totals.against_lines(whole, check) for check in checks]
    return replace(whole, control=pl.concat([whole.control, *against]))


def _unread(grids: Sequence[Grid], sheets: Sequence[_Sheet], *, table: str) -> list[Reading]:
    """Return an empty reading for every sheet that is not this table, so that it is named and not dropped silently."""
    used = {id(sheet.grid) for sheet in sheets}
    names = [grid.sheet for grid in grids if id(grid) not in used]
    files = pl.DataFrame({"sheet": names}, schema={"sheet": FILES["sheet"]}).select(
        (pl.col(name) if name == "sheet" else pl.lit(0 if name.startswith("rows_") else None)).cast(dtype).alias(name)
        for name, dtype in FILES.items()
    )
    return [replace(Reading.nothing(table), files=files)] if names else []


def merge(readings: Sequence[Reading]) -> Reading:
    """Return several readings of one table as one, in the order given."""
    if len(readings) == 1:
        return readings[0]
    return Reading(
        table=readings[0].table,
        rows=pl.concat([reading.rows for reading in readings], how="diagonal"),
        set_aside=pl.concat([reading.set_aside for reading in readings]),
        control=pl.concat([reading.control for reading in readings]),
        files=pl.concat([reading.files for reading in readings]),
    )


def _relative(path: Path, root: Path | None) -> str:
    if root is None:
        return shown(path.name)
    try:
        return shown_path(path.resolve().relative_to(root.resolve()))
    except ValueError:
        return shown(path.name)


def _fingerprint(path: Path | None) -> tuple[str | None, int | None]:
    return (None, None) if path is None else (hash_file(path), path.stat().st_size)


def inspect(paths: Iterable[Path | str], *, headings: Mapping[str, str] | None = None) -> list[dict[str, Any]]:
    """Return how files are read, one object a table: see the command `inspect` in tables.md.

    Raises:
        SourceError: a file that cannot be used at all.
    """
    found: list[dict[str, Any]] = []
    for path in map(Path, paths):
        if path.is_dir() or is_einvoice(path):
            readings = [read(path, headings=headings)]
        else:
            with openable(path) as place:
                grids, ours = open_grids(place), headings or {}
                tables: list[str | None] = [*_tables_of(grids, ours, file=place.name)]
                readings = [
                    read_grids(grids, file=place.name, path=path, table=table, headings=ours)
                    for table in tables or [None]
                ]
        found += [_inspected(reading, file=shown(path.name)) for reading in readings]
    return found


def _inspected(reading: Reading, *, file: str) -> dict[str, Any]:
    """Describe a reading; sheets that make one table together are one object."""
    files = reading.files.filter(pl.col("table").is_not_null())
    rows = reading.rows
    columns = {pair["theirs"]: pair["ours"] for pairs in files["columns"].to_list() for pair in pairs or ()}
    columns |= {name: None for names in files["unplaced"].to_list() for name in names or () if name not in columns}
    sums = {
        name: rows[name].sum() if name in rows.columns and rows.height else None for name in ("net", "tax", "gross")
    }
    cleaning = (
        rows.filter(pl.col("cleaning").list.len() > 0).select(pl.col("source_row").alias("row"), "cleaning").to_dicts()
        if "cleaning" in rows.columns
        else []
    )
    return {
        "file": file,
        "table": reading.table,
        "sheet": "、".join(sheet for sheet in files["sheet"] if sheet) or None,
        "rows": rows.height,
        "columns": columns,
        "set_aside": [
            {"file": row["source_file"], "row": row["source_row"], "reason": row["reason"]}
            for row in reading.set_aside.iter_rows(named=True)
        ],
        "totals": {name: None if value is None else str(value) for name, value in sums.items()},
        "control": [
            {
                "column": row["column"],
                "stated": str(row["stated"]),
                "computed": str(row["computed"]),
                "agrees": row["agrees"],
            }
            for row in reading.control.iter_rows(named=True)
        ],
        "cleaning": cleaning,
        "encoding": files["encoding"].first() if files.height else None,
    }
