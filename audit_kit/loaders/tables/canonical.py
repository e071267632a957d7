"""From data rows to a canonical table: every column typed, every row that cannot be read marked with its reason."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import polars as pl

from audit_kit import resources
from audit_kit.core import schema
from audit_kit.loaders import red_links
from audit_kit.loaders.formats.grid import AT, ROW
from audit_kit.loaders.reading import NUMBER_COLUMNS, ORIGINAL, Fault, Reason
from audit_kit.loaders.tables.cells import MONEY, Column, Raw, as_text, column
from audit_kit.loaders.tables.headers import fold

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from audit_kit.loaders.tables.body import Body
    from audit_kit.loaders.tables.headers import Placed

VERIFIED = "查验"
_A_NUMBER = r"(?:\d[\s.\-]*){6}|[0-9][eE]\+?[0-9]"  # six digits in any width, or a figure that lost its last ones
MANY_ROWS = 50_000  # from here on the columns are read side by side


@dataclass(frozen=True, kw_only=True)
class Typed:
    """The rows of a sheet as a canonical table, columns without a place behind, and the faults of some of them.

    `closing`: the words below the table, as a fault of the rows that hold them.
    """

    body: Body
    rows: pl.DataFrame
    faults: tuple[Fault, ...]
    closing: Fault


def typed(body: Body) -> Typed:
    """Return the rows of a sheet in the types of its table; none is left out."""
    columns = _columns(body)
    frame = _derived(_canonical(columns, body), body.sheet)
    faults = [*body.faults, *(fault for column_ in columns for fault in column_.faults)]
    faults += _lacking(frame, body.sheet.table, faults)
    return Typed(
        body=body,
        rows=_with_unplaced(frame, columns, body),
        faults=tuple(_with_values(faults, body.data)),
        closing=Fault(
            mask=pl.repeat(value=True, n=body.closing.height, dtype=pl.Boolean, eager=True),
            reason=Reason(code="reason.closing"),
            values=_written(body.closing),
        ),
    )


def _columns(body: Body) -> list[Column]:
    """Read the columns that have a place, where there are many rows side by side."""
    sheet, data = body.sheet, body.data
    clocks = {fold(name) for name in resources.load("headers")["clock"]["issued_at"]}
    beside = [data[str(at)] for at, name in sheet.placement.unplaced.items() if fold(name) in clocks]
    raws = [
        Raw(
            theirs=sheet.names[at] or name,
            cells=data[str(at)].alias(name),
            dtype=sheet.shape[name],
            zone=sheet.file.zone,
            from_1904=sheet.grid.serials_from_1904,
            clock=beside[0] if beside and name == "issued_at" else None,
        )
        for name, at in sheet.ours.items()
    ]
    if data.height < MANY_ROWS:
        return [column(raw) for raw in raws]
    with ThreadPoolExecutor() as others:
        return list(others.map(column, raws))


def _canonical(columns: Sequence[Column], body: Body) -> pl.DataFrame:
    """Return every column of the table in its order; those that the sheet does not have are null."""
    sheet = body.sheet
    made = {column_.values.name: column_.values for column_ in columns}
    dated = next((column_ for column_ in columns if column_.values.name == "issued_at"), None)
    if dated is not None and dated.date_only is not None:
        made.setdefault("date_only", dated.date_only.alias("date_only"))
    frame = pl.DataFrame([body.data[ROW].alias("source_row"), *made.values()])
    frame = frame.with_columns(source_file=pl.lit(sheet.file.source))
    return frame.select(
        (pl.col(name) if name in frame.columns else pl.lit(None)).cast(dtype).alias(name)
        for name, dtype in sheet.shape.items()
    )


def _derived(frame: pl.DataFrame, sheet: Placed) -> pl.DataFrame:
    """Add what follows from other cells: of an invoice sums, sign, the blue one that a red one reverses.

    Answers under a header such as 查验结果, without a column that says who gave them, are the verification page's.
    """
    if sheet.table == "confirmations" and "source" not in sheet.ours:
        asked = str(sheet.names[sheet.ours["result"]] or "").strip().startswith(VERIFIED)
        return frame.with_columns(source=pl.lit("national", frame.schema["source"])) if asked else frame
    if not sheet.is_invoices:
        return frame
    frame = frame.with_columns(
        gross=pl.coalesce("gross", (pl.col("net") + pl.col("tax")).cast(MONEY)),
        net=pl.coalesce("net", (pl.col("gross") - pl.col("tax")).cast(MONEY)),
    )
    frame = frame.with_columns(positive=pl.coalesce("positive", pl.col("gross") >= 0))
    if "remark" in sheet.ours:
        frame = frame.with_columns(red_of=pl.coalesce("red_of", red_links.red_of(frame["remark"])))
    return frame


def _lacking(frame: pl.DataFrame, table: str, known: Iterable[Fault]) -> list[Fault]:
    """Return the rows without what a row of this table must have; a row with a known fault needs no further one."""
    sound = pl.repeat(value=True, n=frame.height, dtype=pl.Boolean, eager=True)
    for fault in known:
        sound &= ~fault.mask.fill_null(value=False)
    headers = schema.headers(table)
    groups: list[list[str]] = resources.load("headers")["row"].get(table, [])
    return [
        Fault(
            mask=~frame.select(pl.any_horizontal(_stated(name) for name in group)).to_series() & sound,
            reason=Reason(code="reason.without", fields={"columns": headers[group[0]]}),
        )
        for group in groups
    ]


def _stated(name: str) -> pl.Expr:
    """Say where a column states something; words in a number column, as beside a sum, are no number."""
    if name in NUMBER_COLUMNS:
        return pl.col(name).str.contains(_A_NUMBER).fill_null(value=False)
    return pl.col(name).is_not_null()


def _with_values(faults: Iterable[Fault], data: pl.DataFrame) -> list[Fault]:
    """Return the faults that any row has; where no cell is at fault, with the whole row as a person would read it."""
    found = [fault for fault in faults if fault.mask.any()]
    whole = _written(data) if any(fault.values is None for fault in found) else None
    return [fault if fault.values is not None else replace(fault, values=whole) for fault in found]


def _with_unplaced(frame: pl.DataFrame, columns: Iterable[Column], body: Body) -> pl.DataFrame:
    """Add the columns that have no place in the table, and words that no vocabulary knows, under their own names."""
    more = {name: body.data[str(position)] for position, name in body.sheet.placement.unplaced.items()}
    more |= {column_.theirs + ORIGINAL: column_.unknown for column_ in columns if column_.unknown is not None}
    added: dict[str, pl.Series] = {}
    for name, values in more.items():
        unique = name if name not in frame.columns else f"{name}{ORIGINAL}"
        while unique in added:
            unique += "_"
        added[unique] = as_text(values).alias(unique)
    return frame.hstack(list(added.values())) if added else frame


def _written(data: pl.DataFrame) -> pl.Series:
    """Return every row as a person would read it, cells separated by ` | `."""
    texts = [as_text(data[name]).alias(name) for name in data.columns if name not in (AT, ROW)]
    return pl.DataFrame(texts).select(pl.concat_str(pl.all(), separator=" | ", ignore_nulls=True)).to_series()
