"""Columns that name persons who are no party of the invoice: passengers, patients, their identity documents.

They are never read in unless the engagement asks for it: their cells are emptied before anything looks at a row, so
that no table, no row set aside and no kept analysis holds them. A column with a place in a table is that table's own.
"""

from __future__ import annotations

import re
from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING

import polars as pl

from audit_kit import resources
from audit_kit.loaders.tables.headers import fold

if TYPE_CHECKING:
    from audit_kit.loaders.tables.headers import Placed


def is_personal(header: str) -> bool:
    """Tell whether a header stands above names or documents of persons."""
    return _pattern().search(fold(header)) is not None


def withheld(sheet: Placed) -> Placed:
    """Return a sheet without its columns of that kind; `withheld` says which, and how many cells were filled."""
    placement = sheet.placement
    personal = {at: name for at, name in placement.unplaced.items() if is_personal(name)}
    if sheet.file.personal_ids or not personal:
        return sheet
    cells = sheet.grid.cells
    data = cells.slice(0 if sheet.header is None else sheet.header.end)
    told = tuple((name, data.height - data[str(at)].null_count()) for at, name in personal.items())
    kept = {at: name for at, name in placement.unplaced.items() if at not in personal}
    empty = [pl.lit(None, cells.schema[str(at)]).alias(str(at)) for at in personal]
    return replace(
        sheet,
        grid=replace(sheet.grid, cells=cells.with_columns(empty)),
        placement=replace(placement, unplaced=kept),
        withheld=told,
    )


@cache
def _pattern() -> re.Pattern[str]:
    return re.compile("|".join(resources.load("headers")["personal"]["headers"]))
