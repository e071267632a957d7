"""Panels that follow a selection made in another: what is not selected counts nothing there, but is still named."""

from __future__ import annotations

from typing import TYPE_CHECKING

import altair as alt
import polars as pl

if TYPE_CHECKING:
    from collections.abc import Sequence

REAL = "!datum.always"  # the filter of a panel that shows every row


def with_zeros(frame: pl.DataFrame, by: Sequence[str], counted: Sequence[str]) -> pl.DataFrame:
    """Return the frame with a row of zeros for each of `by`, which passes every selection: see `selected`."""
    zeros = frame.select(by).unique(maintain_order=True)
    zeros = zeros.with_columns(*(pl.lit(0).cast(frame.schema[name]).alias(name) for name in counted), always=True)
    return pl.concat([frame.with_columns(always=pl.lit(None, pl.Boolean)), zeros], how="diagonal")


def selected(*selections: alt.Parameter) -> alt.PredicateComposition:
    """Return the filter of a panel that follows selections: with none of them made, everything."""
    return alt.LogicalOrPredicate(**{"or": ["datum.always", {"and": [{"param": one.name} for one in selections]}]})  # type: ignore[no-untyped-call]
