"""Put the decided rows of a reconciliation together as one frame: `schema.Matches`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import polars as pl
import pyarrow as pa

from audit_kit import schema

if TYPE_CHECKING:
    from audit_kit.rules.matching import Case

_NONE = np.iinfo(np.uint32).max
_OUTCOME = pl.Enum(schema.OUTCOMES)


def matches(case: Case, text: pl.Series) -> pl.DataFrame:
    """Return the ledger rows in order, then the platform rows that no ledger row claims, in order.

    `text` are the ledger's numbers as they stand.
    """
    return pl.concat([_booked(case, text), _unclaimed(case)])


def _booked(case: Case, text: pl.Series) -> pl.DataFrame:
    """Return one row a ledger row."""
    height = len(text)
    partner, codes = np.full(height, _NONE, dtype=np.uint32), np.zeros(height, dtype=np.uint8)
    for rows in case.found:
        places = rows["ledger_row"]
        if places.null_count() < rows.height:
            partner[places.to_numpy()] = rows["platform_row"].fill_null(_NONE).to_numpy()
            codes[places.to_numpy()] = rows["outcome"].to_physical().to_numpy()
    platform_row = pl.Series("platform_row", partner)
    key, cleaning = text, pl.DataFrame(schema={"ledger_row": pl.UInt32, "cleaning": pl.List(pl.String)})
    if case.looked_at is not None:
        rows = case.looked_at[0]
        key = key.clone().scatter(rows["row"], rows["own"])
        cleaning = _cleaning(case.looked_at, platform_row)
    return pl.DataFrame(
        {
            "ledger_row": pl.int_range(height, dtype=pl.UInt32, eager=True),
            "platform_row": platform_row.set(platform_row == _NONE, None),
            "invoice_key": key,
            "candidates": _lists(height, "candidates", case.candidates, pl.UInt32()),
            "outcome": pl.Series(codes).cat.to(_OUTCOME),
            "differences": _lists(height, "differences", case.differences, pl.String()),
            "cleaning": _lists(height, "cleaning", (cleaning,), pl.String()),
        }
    )


def _unclaimed(case: Case) -> pl.DataFrame:
    """Return the platform rows without a ledger row."""
    rows = pl.concat([rows.filter(pl.col("ledger_row").is_null()) for rows in case.found]).sort("platform_row")
    cleaned = case.looked_at[1] if case.looked_at else pl.DataFrame(schema={"row": pl.UInt32, "own": pl.String})
    named = rows.join(cleaned, left_on="platform_row", right_on="row", how="left", maintain_order="left")
    return named.select(
        "ledger_row",
        "platform_row",
        invoice_key="own",
        candidates=pl.lit([], pl.List(pl.UInt32)),
        outcome="outcome",
        differences=pl.lit([], pl.List(pl.String)),
        cleaning="cleaning",
    )


def _cleaning(looked_at: tuple[pl.DataFrame, pl.DataFrame], platform_row: pl.Series) -> pl.DataFrame:
    """Return `ledger_row`, `cleaning`: what was cleaned in the ledger's number or in that of its platform row."""
    left, right = (rows.select("row", "cleaning") for rows in looked_at)
    ours = left.select("cleaning", ledger_row="row", partner=platform_row[left["row"]])
    both = ours.join(right, left_on="partner", right_on="row", how="left")
    words = pl.concat_list("cleaning", pl.col("cleaning_right").fill_null(pl.lit([], pl.List(pl.String))))
    return both.select("ledger_row", cleaning=words.list.unique(maintain_order=True))


def _lists(height: int, name: str, notes: tuple[pl.DataFrame, ...], inner: pl.DataType) -> pl.Series:
    """Return a list column that is empty but for the noted rows; nothing is allocated for the others."""
    schema_ = {"ledger_row": pl.UInt32(), name: pl.List(inner)}
    noted = pl.concat([pl.DataFrame(schema=schema_), *notes]).sort("ledger_row")
    lengths = np.zeros(height + 1, dtype=np.int64)
    lengths[noted["ledger_row"].to_numpy() + 1] = noted[name].list.len().to_numpy()
    values = noted[name].explode(empty_as_null=False).to_arrow(compat_level=pl.CompatLevel.oldest())
    lists = pa.LargeListArray.from_arrays(pa.array(np.cumsum(lengths)), values)
    return pl.Series(name, lists, dtype=pl.List(inner))
