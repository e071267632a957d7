"""The front door: which reader for which kind of thing, and what is known of a file before it is read."""

from __future__ import annotations

import glob
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from audit_kit.core.errors import RequestError
from audit_kit.core.files import TABLE_FILES, census, openable, shown
from audit_kit.loaders.formats.opening import is_einvoice
from audit_kit.loaders.formats.preview import open_heads
from audit_kit.loaders.reading import Reading, said, sums
from audit_kit.loaders.tables import headers, pipeline

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence


def read(source: str | Path | Mapping[str, str], *, table: str | None = None) -> pl.DataFrame:
    """Return the kept rows of one file, a folder of e-invoices, or a database `{uri, query}`, in canonical columns.

    Args:
        source: where to read.
        table: which canonical table it is; null = told by its headers.

    Raises:
        RequestError: no such table, or none is named for a database.
        SourceError: it cannot be read at all.
    """
    if isinstance(source, str | Path):
        return reading_of(Path(source), table=table).rows
    from audit_kit.loaders.tables.databases import read_database  # noqa: PLC0415 (its drivers are an extra)

    if table is None:
        raise RequestError("error_tables.database_table")
    return read_database(source, table=table).rows


def reading_of(path: Path, *, table: str | None = None, headings: Mapping[str, str] | None = None) -> Reading:
    """Return the reading of one file, of an e-invoice, or of a folder of them; see `tables.pipeline.read`."""
    if table in (None, "invoice_files") and _holds_einvoices(path):
        from audit_kit.loaders.einvoices import folder  # noqa: PLC0415 (lxml and ofdkit only where needed)

        return folder.read_folder(path) if path.is_dir() else folder.read_paths([path], root=path.parent)
    return pipeline.read(path, table=table, headings=headings)


def _holds_einvoices(path: Path) -> bool:
    return path.is_dir() or is_einvoice(path)


def recognise(path: Path | str, *, headings: Mapping[str, str] | None = None) -> list[str]:
    """Return the tables that a file holds, by its headers and names; empty if none is recognised.

    Raises:
        SourceError: the file cannot be read at all.
    """
    path = Path(path)
    if _holds_einvoices(path):
        return ["invoice_files"]
    with openable(path) as place:
        found = [headers.recognised(grid, headings or {}, file=place.name) for grid in open_heads(place)]
    return list(dict.fromkeys(table for table in found if table is not None))


def inspect(
    paths: Iterable[Path | str],
    *,
    table: str | None = None,
    headings: Mapping[str, str] | None = None,
    lang: str = "en",
) -> list[dict[str, Any]]:
    """Return how files are read, one object a table: see the command `inspect` in tables.md.

    Args:
        paths: files, and folders of e-invoices.
        table: which table they are; null = told by their headers.
        headings: the user's own synonyms, their header → our column.
        lang: the language of the reasons (zh, en); programs are given English.

    Raises:
        SourceError: a file that cannot be used at all.
    """
    found: list[dict[str, Any]] = []
    for path in map(Path, paths):
        tables: Sequence[str | None] = [table] if table else recognise(path, headings=headings) or [None]
        readings = [reading_of(path, table=one, headings=headings) for one in tables]
        found += [_inspected(reading, file=shown(path.name), lang=lang) for reading in readings]
    return found


def files_named(text: str) -> list[Path]:
    """Return what a path names: a folder's tables, and itself where e-invoices lie in it; a glob no shell expanded."""
    path = Path(text)
    if path.is_dir():
        inside = [place.path for place in census(path) if place.fault is None]
        tables = [file for file in inside if file.name.lower().endswith(TABLE_FILES) and not is_einvoice(file)]
        return ([path] if any(map(is_einvoice, inside)) or not tables else []) + tables
    if not path.exists() and glob.has_magic(text):
        return sorted(map(Path, glob.glob(text, recursive=True))) or [path]  # noqa: PTH207  a whole path may be a glob
    return [path]


def _inspected(reading: Reading, *, file: str, lang: str) -> dict[str, Any]:
    """Describe a reading; sheets that make one table together are one object.

    `unread` is there only where a column holds words that no vocabulary knows, `withheld` where columns of persons
    were not read in.
    """
    files = reading.files.filter(pl.col("table").is_not_null())
    rows, aside = reading.rows, reading.set_aside
    columns = {pair["theirs"]: pair["ours"] for pairs in files["columns"].to_list() for pair in pairs or ()}
    columns |= {name: None for names in files["unplaced"].to_list() for name in names or () if name not in columns}
    cleaned = rows.filter(pl.col("cleaning").list.len() > 0) if "cleaning" in rows.columns else None
    reasons = aside.select(file="source_file", row="source_row", reason=said(aside, lang))
    withheld = [column for columns in files["withheld"].to_list() for column in columns or ()]
    unread = [word for words in files["unread"].to_list() for word in words or ()]
    return {
        "file": file,
        "table": reading.table,
        "sheet": "、".join(sheet for sheet in files["sheet"] if sheet) or None,
        "rows": rows.height,
        "columns": columns,
        "set_aside": reasons.to_dicts(),
        "totals": {name: None if value is None else str(value) for name, value in sums(rows).items()},
        "control": [
            {**row, "stated": str(row["stated"]), "computed": str(row["computed"])}
            for row in reading.control.select("column", "stated", "computed", "agrees").to_dicts()
        ],
        "cleaning": [] if cleaned is None else cleaned.select(pl.col("source_row").alias("row"), "cleaning").to_dicts(),
        "encoding": files["encoding"].first() if files.height else None,
    } | {name: found for name, found in (("unread", unread), ("withheld", withheld)) if found}
