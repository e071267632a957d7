"""From data rows to a canonical table: every column typed, every row that cannot be read set aside with its reason."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import polars as pl

from audit_kit import resources
from audit_kit.core import identity, schema
from audit_kit.loaders import red_links
from audit_kit.loaders.formats.grid import ROW
from audit_kit.loaders.formats.texts import field_faults
from audit_kit.loaders.reading import SET_ASIDE
from audit_kit.loaders.tables import cells as read_cells
from audit_kit.loaders.tables import precision
from audit_kit.loaders.tables.body import AT, NUMBER_COLUMNS
from audit_kit.loaders.tables.headers import INVOICE_TABLES, fold

if TYPE_CHECKING:
    from collections.abc import Mapping

    from audit_kit.loaders.formats.grid import Grid
    from audit_kit.loaders.tables.body import Body
    from audit_kit.loaders.tables.headers import Header, Placement

IDENTIFIERS = (*NUMBER_COLUMNS, "seller_tax_id", "buyer_tax_id")
ORIGINAL = "（原文）"
MANY_ROWS = 50_000  # from here on the columns are read side by side
_LONGEST_VALUE = 200
_TIDY_NUMBER = r"^[0-9]{20}$"
_NO_TAX = r"^\s*(?:\*+|免税|不征税)\s*$"


@dataclass(frozen=True, kw_only=True)
class Records:
    """The rows of one sheet: `kept` as a canonical table with unplaced columns behind, `aside` as in Reading."""

    kept: pl.DataFrame
    aside: pl.DataFrame


@dataclass(frozen=True, kw_only=True)
class _Fault:
    """Rows that cannot be used: which, why, and what stood there."""

    mask: pl.Series
    reason: str
    values: pl.Series | None = None


@dataclass(frozen=True, kw_only=True)
class _Column:
    """One column read: its values, what could not be read, words that no vocabulary knows, days without a time."""

    theirs: str
    values: pl.Series
    faults: list[_Fault] = field(default_factory=list)
    unknown: pl.Series | None = None
    date_only: pl.Series | None = None


def build(
    grid: Grid, header: Header | None, placement: Placement, body: Body, *, source: str, zone: str | None = None
) -> Records:
    """Return the canonical table of a sheet's data rows. `zone` is that of times without an offset."""
    data = body.data
    names = header.names if header is not None else grid.heads or ()
    made, faults, extra = _typed(grid, placement, data, names, zone=zone)
    frame = pl.DataFrame([data[ROW].alias("source_row").cast(pl.UInt32), *made.values()])
    if placement.table in INVOICE_TABLES:
        frame = _derived(frame, placement, grid, data)
    faults = [*_field_faults(grid, header, data), *faults]
    faults += _lacking(frame, placement, faults)
    frame = _canonical(frame, placement.table, source)
    frame = _with_unplaced(frame, placement, data, extra)
    bad, aside = _aside(faults, data, source)
    closing = _closing(body, source)
    return Records(kept=frame if bad is None else frame.filter(~bad), aside=pl.concat([aside, closing]))


def _typed(
    grid: Grid, placement: Placement, data: pl.DataFrame, names: tuple[str | None, ...], *, zone: str | None
) -> tuple[dict[str, pl.Series], list[_Fault], dict[str, pl.Series]]:
    """Return our columns, the faults found on the way, and source words that no vocabulary knows."""
    dtypes = schema.dtypes(placement.table)

    def column(name: str) -> _Column:
        at = placement.ours[name]
        clock = zone, grid.serials_from_1904
        return _column(data[str(at)].alias(name), dtypes[name], names[at] or name, clock)

    if data.height < MANY_ROWS:
        columns = list(map(column, placement.ours))
    else:
        with ThreadPoolExecutor() as others:
            columns = list(others.map(column, placement.ours))
    made = {column.values.name: column.values for column in columns}
    for column_ in columns:
        if column_.date_only is not None and column_.values.name == "issued_at":
            made.setdefault("date_only", column_.date_only.alias("date_only"))
    if "date_only" in made:
        made |= _with_clock(made["issued_at"], made["date_only"], placement, data)
    extra = {column.theirs + ORIGINAL: column.unknown for column in columns if column.unknown is not None}
    return made, [fault for column in columns for fault in column.faults], extra


def _with_clock(
    days: pl.Series, date_only: pl.Series, placement: Placement, data: pl.DataFrame
) -> dict[str, pl.Series]:
    """Add the time of day that stands in a column of its own to the days that have none."""
    names = {fold(name) for name in resources.load("headers")["clock"]["issued_at"]}
    beside = [at for at, name in placement.unplaced.items() if fold(name) in names]
    if not beside or not date_only.any():
        return {}
    clock = read_cells.clocks(data[str(beside[0])])
    told = date_only & clock.is_not_null()
    at = pl.select(pl.when(told).then(days + clock).otherwise(days)).to_series()
    return {"issued_at": at.alias("issued_at"), "date_only": (date_only & ~told).alias("date_only")}


def _column(values: pl.Series, dtype: pl.DataType, theirs: str, clock: tuple[str | None, bool]) -> _Column:
    """Read one column by its type; `clock` is the zone of its times, and whether serial days count from 1904."""
    name = values.name
    if isinstance(dtype, pl.Enum | pl.Boolean):
        read, unknown = _worded(values, dtype)
        return _Column(theirs=theirs, values=read.values.alias(name), unknown=unknown)
    if isinstance(dtype, pl.Datetime):
        zone, from_1904 = clock
        read = read_cells.times(values, zone=zone, from_1904=from_1904)
    elif isinstance(dtype, pl.Decimal):
        read = read_cells.money(_without_exempt(values) if name == "tax" else values)
    elif dtype.is_numeric():
        read = read_cells.figures(values, dtype)
    else:
        return _Column(theirs=theirs, values=_text(name, values, dtype).alias(name))
    faults = _unreadable(read, theirs, values, money=isinstance(dtype, pl.Decimal))
    return _Column(theirs=theirs, values=read.values.alias(name), faults=faults, date_only=read.date_only)


def _without_exempt(values: pl.Series) -> pl.Series:
    """Return taxes with the words for none (`***`, 免税) as zero."""
    if values.dtype != pl.String:
        return values
    exempt = values.str.contains(_NO_TAX).fill_null(value=False)
    return values.set(exempt, "0") if exempt.any() else values


def _text(name: str, values: pl.Series, dtype: pl.DataType) -> pl.Series:
    if isinstance(dtype, pl.List):
        return read_cells.lists(values)
    if name == "kind":
        return read_cells.kinds(values)
    if name == "channel":
        return read_cells.channels(values)
    if name in IDENTIFIERS:
        return read_cells.present(read_cells.as_text(values))
    return read_cells.texts(values)


def _worded(values: pl.Series, dtype: pl.DataType) -> tuple[read_cells.Cells, pl.Series | None]:
    """Read an enumeration or a flag; words out of its vocabulary are `unknown` where it has that word, else null."""
    read = read_cells.enumerated(values, dtype) if isinstance(dtype, pl.Enum) else read_cells.flags(values)
    if not read.unreadable.any():
        return read, None
    unknown = read_cells.as_text(values).set(~read.unreadable, None)
    if isinstance(dtype, pl.Enum) and "unknown" in dtype.categories:
        filled = read.values.cast(pl.String).set(read.unreadable, "unknown").cast(dtype)
        read = read_cells.Cells(values=filled, unreadable=read.unreadable, reason=read.reason)
    return read, unknown


def _unreadable(read: read_cells.Cells, theirs: str, values: pl.Series, *, money: bool) -> list[_Fault]:
    if not read.unreadable.any():
        return []
    text = read_cells.as_text(values)
    if not money:
        return [_Fault(mask=read.unreadable, reason=f"{theirs}: {read.reason}", values=text)]
    reasons = read_cells.money_reasons(text.set(~read.unreadable, None))
    return [
        _Fault(mask=read.unreadable & (reasons == reason), reason=f"{theirs}: {reason}", values=text)
        for reason in reasons.filter(read.unreadable).unique(maintain_order=True)
    ]


def _field_faults(grid: Grid, header: Header | None, data: pl.DataFrame) -> list[_Fault]:
    """Return the faults that the file's reader found: too few or too many fields, broken characters."""
    if header is None:
        return []
    width = max((at for at, name in enumerate(header.names, start=1) if name is not None), default=0)
    return [
        _Fault(mask=data[AT].is_in(rows.cast(data[AT].dtype).implode()), reason=reason)
        for rows, reason in field_faults(grid, header=header.end - 1, width=width)
    ]


def _lacking(frame: pl.DataFrame, placement: Placement, known: list[_Fault]) -> list[_Fault]:
    """Return the rows without what a row of this table must have; a row with a known fault needs no further one."""
    sound = pl.repeat(value=True, n=frame.height, dtype=pl.Boolean, eager=True)
    for fault in known:
        sound &= ~fault.mask.fill_null(value=False)
    headers = schema.headers(placement.table)
    groups: list[list[str]] = resources.load("headers")["row"].get(placement.table, [])
    faults = []
    for group in groups:
        present = [name for name in group if name in frame.columns]
        empty = (
            frame.select(pl.all_horizontal(pl.col(name).is_null() for name in present)).to_series()
            if present
            else pl.repeat(value=True, n=frame.height, dtype=pl.Boolean, eager=True)
        )
        faults.append(_Fault(mask=empty & sound, reason=f"without {' or '.join(headers[name] for name in group)}"))
    return faults


def _derived(frame: pl.DataFrame, placement: Placement, grid: Grid, data: pl.DataFrame) -> pl.DataFrame:
    """Add what follows from other cells: sums, sign, channel hint, red link, damage to the numbers."""
    frame = frame.with_columns(
        pl.lit(None, read_cells.MONEY).alias(name) for name in ("net", "tax", "gross") if name not in frame.columns
    )
    frame = frame.with_columns(
        gross=pl.coalesce("gross", (pl.col("net") + pl.col("tax")).cast(read_cells.MONEY)),
        net=pl.coalesce("net", (pl.col("gross") - pl.col("tax")).cast(read_cells.MONEY)),
    )
    sign = pl.col("gross") >= 0
    frame = frame.with_columns(positive=pl.coalesce("positive", sign) if "positive" in frame.columns else sign)
    frame = precision.mark(frame, placement, grid, data)
    if "remark" in frame.columns:
        parsed = red_links.red_of(frame["remark"])
        frame = frame.with_columns(red_of=pl.coalesce("red_of", parsed) if "red_of" in frame.columns else parsed)
    if "channel" not in frame.columns:
        frame = frame.with_columns(channel=_channel_hint(frame))
    return _cleaned(frame)


def _cleaned(frame: pl.DataFrame) -> pl.DataFrame:
    """Add what identity finds to clean in the numbers; a tidy 20-digit number needs no look."""
    number = frame["digital_number"] if "digital_number" in frame.columns else frame.get_column("invoice_number")
    tidy = number.str.contains(_TIDY_NUMBER).fill_null(value=False)
    known = frame["cleaning"] if "cleaning" in frame.columns else None
    if known is not None:
        tidy &= (known.list.len() == 0).fill_null(value=True)
    nothing = pl.lit([], pl.List(pl.String))
    if tidy.all():
        return frame.with_columns(cleaning=nothing)
    rest = frame.filter(~tidy).select(name for name in (*NUMBER_COLUMNS, "cleaning") if name in frame.columns)
    places = tidy.not_().arg_true()
    found = pl.DataFrame({"at": places, "cleaning": identity.with_key(rest)["cleaning"]})
    at = frame.select("source_row").with_row_index("at").select("at")
    cleaning = at.join(found, on="at", how="left", maintain_order="left")["cleaning"]
    return frame.with_columns(cleaning).with_columns(pl.col("cleaning").fill_null(nothing))


def _channel_hint(frame: pl.DataFrame) -> pl.Expr:
    """Read the channel from digit 5 of a whole 20-digit number: a hint, for sources that do not state it."""
    digits: Mapping[str, str] = resources.load("vocabularies")["channel_digits"]
    numbers = [pl.col(name) for name in ("digital_number", "invoice_number") if name in frame.columns]
    if not numbers:
        return pl.lit(None, pl.String)
    whole = pl.coalesce(pl.when(number.str.len_bytes() == identity.DIGITAL).then(number) for number in numbers)
    return whole.str.slice(4, 1).replace_strict(digits, default=None, return_dtype=pl.String)


def _canonical(frame: pl.DataFrame, table: str, source: str) -> pl.DataFrame:
    frame = frame.with_columns(source_file=pl.lit(source))
    return frame.select(
        (pl.col(name) if name in frame.columns else pl.lit(None)).cast(dtype).alias(name)
        for name, dtype in schema.dtypes(table).items()
    )


def _with_unplaced(
    frame: pl.DataFrame, placement: Placement, data: pl.DataFrame, extra: Mapping[str, pl.Series]
) -> pl.DataFrame:
    """Add the columns that have no place in the table, as text under their own names."""
    columns = {name: data[str(position)] for position, name in placement.unplaced.items()} | dict(extra)
    added: dict[str, pl.Series] = {}
    for name, values in columns.items():
        unique = name if name not in frame.columns else f"{name}{ORIGINAL}"
        while unique in added:
            unique += "_"
        added[unique] = read_cells.as_text(values).alias(unique)
    return frame.hstack(list(added.values())) if added else frame


def _aside(faults: list[_Fault], data: pl.DataFrame, source: str) -> tuple[pl.Series | None, pl.DataFrame]:
    """Return which rows are set aside, and each of them with all its reasons."""
    found = [fault for fault in faults if fault.mask.any()]
    if not found:
        return None, pl.DataFrame(schema=SET_ASIDE)
    bad = pl.repeat(value=False, n=data.height, dtype=pl.Boolean, eager=True)
    pieces = []
    for fault in found:
        mask = fault.mask.fill_null(value=False)
        values = fault.values if fault.values is not None else written(data)
        piece = pl.DataFrame({"source_row": data[ROW], "value": values}).filter(mask)
        pieces.append(piece.with_columns(reason=pl.lit(fault.reason)))
        bad |= mask
    aside = (
        pl.concat(pieces)
        .group_by("source_row", maintain_order=True)
        .agg(pl.col("reason").str.join("; "), pl.col("value").drop_nulls().first())
        .sort("source_row")
    )
    return bad, _set_aside(aside, source)


def _closing(body: Body, source: str) -> pl.DataFrame:
    rows = body.closing.select(source_row=ROW, reason=pl.lit("closing words below the table, no row of it"))
    return _set_aside(rows.with_columns(written(body.closing).alias("value")), source)


def _set_aside(rows: pl.DataFrame, source: str) -> pl.DataFrame:
    return rows.select(
        pl.lit(source).alias("source_file"),
        pl.col("source_row").cast(pl.UInt32),
        "reason",
        pl.col("value").str.slice(0, _LONGEST_VALUE),
    )


def written(data: pl.DataFrame) -> pl.Series:
    """Return every row as a person would read it, cells separated by ` | `."""
    texts = [read_cells.as_text(data[name]).alias(name) for name in data.columns if name not in (AT, ROW)]
    return pl.DataFrame(texts).select(pl.concat_str(pl.all(), separator=" | ", ignore_nulls=True)).to_series()
