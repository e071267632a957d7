"""Control totals: what a file says of itself against what was read from it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl

from audit_kit.loaders import cells as read_cells
from audit_kit.loaders.reading import CONTROL, Reading
from audit_kit.loaders.rows import MONEY_COLUMNS, NUMBER_COLUMNS

if TYPE_CHECKING:
    from collections.abc import Iterator
    from decimal import Decimal

    from audit_kit.loaders.records import Records
    from audit_kit.loaders.rows import Body, Total


def check(built: Records, body: Body, *, source: str, sheet: str | None, listing: bool) -> pl.DataFrame:
    """Return the file's own totals against ours, one row a column and total: see `reading.CONTROL`."""
    found = []
    start = 0
    for total in body.totals:
        for column, stated in _stated(total):
            computed = _computed(built.kept, column, total, start, listing=listing)
            found.append((source, sheet, column, stated, computed, stated == computed))
        start = total.row
    return pl.DataFrame(found, schema=CONTROL, orient="row")


def _stated(total: Total) -> Iterator[tuple[str, Decimal]]:
    for column, text in total.stated.items():
        value = read_cells.money(pl.Series([text])).values.item()
        if value is not None:
            yield column, value


def _computed(kept: pl.DataFrame, column: str, total: Total, start: int, *, listing: bool) -> Decimal:
    """Sum the rows above a total: those of its section, or all of them."""
    above = kept if listing else kept.filter(pl.col("source_row") < total.row)
    if total.section:
        above = kept.filter(pl.col("source_row").is_between(start, total.row, closed="none"))
    value = above.height if column == "rows" else above[column].sum()
    computed: Decimal = pl.Series([value]).cast(pl.Decimal(18, 2)).item()
    return computed


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
