"""Read any table an auditor gets: by headers and synonyms, nothing lost, nothing guessed."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING
from zoneinfo import available_timezones

import polars as pl

from audit_kit.core import schema
from audit_kit.core.errors import RequestError
from audit_kit.core.files import openable, shown, shown_path
from audit_kit.core.hashing import hash_file
from audit_kit.loaders.formats.grid import File
from audit_kit.loaders.formats.opening import open_grids
from audit_kit.loaders.reading import FILES, Reading, reading
from audit_kit.loaders.tables.body import body
from audit_kit.loaders.tables.canonical import typed
from audit_kit.loaders.tables.control_totals import checked
from audit_kit.loaders.tables.headers import placed
from audit_kit.loaders.tables.personal import withheld

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


def read(
    path: Path,
    *,
    table: str | None = None,
    headings: Mapping[str, str] | None = None,
    root: Path | None = None,
    tz: str | None = None,
    personal_ids: bool = False,
) -> Reading:
    """Read one file (xlsx, xls, xlsb, ods, csv, tsv, parquet, json) as a table.

    Args:
        path: the file.
        table: one of `schema.INPUTS`; recognised by the headers when left out.
        headings: the user's own synonyms, their header → our column.
        root: `source_file` is relative to this folder (default: the file's name).
        tz: the zone of times that state none (default: Beijing).
        personal_ids: read columns of persons too, such as 出行人证件号码.

    Returns:
        The kept rows in canonical columns, then columns without a place as text; the rows set aside with file, row,
        reason and value; the file's totals against ours (yuan); how each sheet was read.

    Raises:
        RequestError: there is no such table or time zone.
        SourceError: the file cannot be read at all, or lacks columns that the table needs.
    """
    if table is not None and table not in schema.INPUTS:
        raise RequestError("error_tables.unknown_table", table=table, known=", ".join(schema.INPUTS))
    if tz is not None and tz not in available_timezones():
        raise RequestError("error_tables.unknown_zone", tz=tz)
    name, source = path.name, _relative(path, root)
    with openable(path) as place, ThreadPoolExecutor(max_workers=1) as other:
        grids = open_grids(place)
        digest = other.submit(hash_file, path)  # while its rows are read
        file = File(
            grids=grids,
            name=name,
            source=source,
            table=table,
            headings=headings or {},
            zone=tz,
            personal_ids=personal_ids,
        )
        found = read_file(file)
        size = path.stat().st_size
        files = found.files.with_columns(sha256=pl.lit(digest.result()), size=pl.lit(size, pl.UInt64))
    return replace(found, files=files.select(*FILES))


def read_file(file: File) -> Reading:
    """Read what a file or a database gave: the way of every row, from the grid it stands in to the reading.

    Raises:
        SourceError: it is no such table, lacks columns that the table needs, or a row would be lost.
    """
    sheets = placed(file)
    found = [checked(typed(body(withheld(sheet)))) for sheet in sheets.read]
    return reading(found, unread=sheets.unread, source=file.source)


def _relative(path: Path, root: Path | None) -> str:
    if root is None:
        return shown(path.name)
    try:
        return shown_path(path.resolve().relative_to(root.resolve()))
    except ValueError:
        return shown(path.name)
