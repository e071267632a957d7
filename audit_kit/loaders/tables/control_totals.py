"""Control totals: what a file says of itself against what was read from it."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from decimal import Decimal
from typing import TYPE_CHECKING

import polars as pl

from audit_kit.loaders.reading import CONTROL, Reading
from audit_kit.loaders.tables.body import MONEY_COLUMNS, NUMBER_COLUMNS

MANY = 100  # totals from which agreeing subtotals are told together
END = 1 << 32  # below the last row of any file

if TYPE_CHECKING:
    from audit_kit.loaders.tables.body import Body
    from audit_kit.loaders.tables.canonical import Records


def check(built: Records, body: Body, *, source: str, sheet: str | None, listing: bool) -> pl.DataFrame:
    """Return the file's own totals against ours, one row a column and total: see `reading.CONTROL`.

    Where there are many subtotals (one an invoice), those that agree are one row a column, their sum.
    """
    if not body.totals:
        return pl.DataFrame(schema=CONTROL)
    found = []
    agreeing: dict[str, Decimal] = {}
    many = len(body.totals) > MANY
    kept = _Sums(built.kept)
    start = 0
    for total in body.totals:
        for column, stated in total.stated.items():
            part = kept.between(column, start, total.row)
            whole = kept.between(column, 0, END if listing else total.row)
            # 合计 at the foot of every page is of that page.
            computed = part if total.section or stated == part else whole
            if many and total.section and stated == computed:
                agreeing[column] = agreeing.get(column, Decimal(0)) + stated
            else:
                found.append((source, sheet, column, stated, computed, stated == computed))
        start = total.row
    found += [(source, sheet, column, amount, amount, True) for column, amount in agreeing.items()]
    return pl.DataFrame(found, schema=CONTROL, orient="row")


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


def against_lines(whole: Reading, check_: Reading) -> pl.DataFrame:
    """Return sums and count of the invoices that line items make, against those of the invoices themselves."""
    sheet = check_.files["sheet"].first()
    source = whole.rows["source_file"].first() if whole.rows.height else None
    numbers = [name for name in NUMBER_COLUMNS if name in whole.rows.columns]
    pairs: list[tuple[str, object, object]] = [("rows", check_.rows.n_unique(numbers), whole.rows.height)]
    pairs += [(name, check_.rows[name].sum(), whole.rows[name].sum()) for name in MONEY_COLUMNS]
    return pl.DataFrame(
        {
            "source_file": [source] * len(pairs),
            "sheet": [sheet] * len(pairs),
            "column": [name for name, _, _ in pairs],
            "stated": pl.Series([stated for _, stated, _ in pairs], strict=False).cast(pl.Decimal(18, 2)),
            "computed": pl.Series([computed for _, _, computed in pairs], strict=False).cast(pl.Decimal(18, 2)),
            "agrees": [stated == computed for _, stated, computed in pairs],
        },
        schema=CONTROL,
    )
