"""What a file says of itself against what was read from it: its numbers, its count of rows, its control totals."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from decimal import Decimal
from typing import TYPE_CHECKING

import polars as pl

from audit_kit.core.errors import SourceError
from audit_kit.loaders.formats.grid import AT, ROW
from audit_kit.loaders.reading import CONTROL, MONEY_COLUMNS, Checked, aside_of
from audit_kit.loaders.tables import invoice_lines, precision

if TYPE_CHECKING:
    from audit_kit.loaders.tables.body import Body
    from audit_kit.loaders.tables.canonical import Typed
    from audit_kit.loaders.tables.headers import Placed

MANY = 100  # totals from which agreeing subtotals are told together
OUT_OF_PLACE = ["reason.few_fields", "reason.many_fields", "reason.quote", "reason.broken"]
END = 1 << 32  # below the last row of any file


def checked(typed: Typed) -> Checked:
    """Return a sheet's rows kept and set aside, its numbers doubted, its totals held against ours.

    Raises:
        SourceError: a row was lost or invented on the way.
    """
    body, sheet = typed.body, typed.body.sheet
    source = sheet.file.source
    rows = precision.doubted(typed.rows, sheet, body.data[AT]) if sheet.is_invoices else typed.rows
    aside = pl.concat(
        [
            _with_gross(aside_of(typed.faults, body.data[ROW], source=source), typed.rows),
            aside_of([typed.closing], body.closing[ROW], source=source),
        ]
    )
    masks = [fault.mask.fill_null(value=False) for fault in typed.faults]
    kept = rows.filter(~pl.select(pl.any_horizontal(masks)).to_series()) if masks else rows
    lines = kept.height
    lists = pl.DataFrame(schema=CONTROL)
    if sheet.listing:
        kept, apart = invoice_lines.gathered(kept, sheet.placement)
        lines, lists = invoice_lines.count(kept), _lists(apart, sheet)
    _account(body, lines, aside.height)
    return Checked(
        table=sheet.table,
        sheet=sheet.grid.sheet,
        encoding=sheet.grid.encoding,
        check_only=sheet.check_only,
        rows=kept,
        set_aside=aside,
        control=pl.concat([_totals(kept, body), lists]),
        names={name: sheet.names[at] for name, at in sheet.ours.items()},
        unplaced=tuple(sheet.placement.unplaced.values()),
        withheld=sheet.withheld,
    )


def _with_gross(aside: pl.DataFrame, rows: pl.DataFrame) -> pl.DataFrame:
    """Add the amount of rows set aside; where a row's fields are not in their places nobody knows which it is."""
    if "gross" not in rows.columns:
        return aside
    known = aside.drop("gross").join(
        rows.select("source_row", "gross"), on="source_row", how="left", maintain_order="left"
    )
    in_place = ~pl.col("code").str.contains_any(OUT_OF_PLACE)
    return known.with_columns(pl.when(in_place).then("gross")).select(aside.columns)


def _account(body: Body, kept: int, aside: int) -> None:
    """Hold the rows below a header, those named as no data aside, against the rows kept and set aside."""
    sheet = body.sheet
    above = sheet.header.end if sheet.header is not None else 0
    stand = sheet.grid.cells.height - above - body.passed_over
    if stand != kept + aside:
        raise SourceError("error_tables.rows_lost", file=sheet.file.source, stand=stand, count=kept + aside)


def _totals(kept: pl.DataFrame, body: Body) -> pl.DataFrame:
    """Return the file's own totals against ours, one row a column and total: see `reading.CONTROL`.

    Where there are many subtotals (one an invoice), those that agree are one row a column, their sum.
    """
    if not body.totals:
        return pl.DataFrame(schema=CONTROL)
    found = []
    source, name = body.sheet.file.source, body.sheet.grid.sheet
    agreeing: dict[str, Decimal] = {}
    many = len(body.totals) > MANY
    sums = _Sums(kept)
    start = 0
    for total in body.totals:
        for column, stated in total.stated.items():
            part = sums.between(column, start, total.row)
            whole = sums.between(column, 0, END if body.sheet.listing else total.row)
            # 合计 at the foot of every page is of that page.
            computed = part if total.section or stated == part else whole
            if many and total.section and stated == computed:
                agreeing[column] = agreeing.get(column, Decimal(0)) + stated
            else:
                found.append((source, name, column, stated, computed, stated == computed))
        start = total.row
    found += [(source, name, column, amount, amount, True) for column, amount in agreeing.items()]
    return pl.DataFrame(found, schema=CONTROL, orient="row")


def _lists(apart: pl.DataFrame, sheet: Placed) -> pl.DataFrame:
    """Return the invoices whose lines do not make up their list as control totals, the sheet with its row.

    Beyond the first of many they are one row a column, their sum.
    """
    name = pl.lit(sheet.grid.sheet or "")
    first, rest = apart.head(MANY), apart.slice(MANY).group_by("column", maintain_order=True)
    told = [
        first.with_columns(sheet=pl.concat_str(name, pl.lit("!"), "source_row")),
        rest.agg(pl.col("stated", "computed").sum()).with_columns(sheet=name),
    ]
    known = {"source_file": pl.lit(sheet.file.source), "agrees": pl.lit(value=False)}
    return pl.concat(
        part.with_columns(**known).select(pl.col(name).cast(dtype) for name, dtype in CONTROL.items()) for part in told
    )


class _Sums:
    """Sums of kept rows by physical row, each found by two look-ups."""

    def __init__(self, kept: pl.DataFrame) -> None:
        """Add up every column of money, and the rows, from the top."""
        kept = kept.sort("source_row")
        self._rows: list[int] = kept["source_row"].to_list()
        self._below: dict[str, list[Decimal]] = {
            name: [Decimal(0), *kept[name].fill_null(0).cum_sum().to_list()]
            for name in MONEY_COLUMNS
            if name in kept.columns
        }

    def between(self, column: str, after: int, before: int) -> Decimal:
        """Return the sum of a column (`rows`: the count) over the rows between two physical rows."""
        low, high = bisect_right(self._rows, after), bisect_left(self._rows, before)
        if column not in self._below:
            return Decimal(high - low)
        return self._below[column][high] - self._below[column][low]
