"""The table of control totals: rows and yuan of both sides through every step, as it is read."""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl

from audit_kit.analysis import step_totals
from audit_kit.analysis.step_totals import SIDES, STEPS
from audit_kit.core import schema
from audit_kit.views.overview.charts import outcome_totals

if TYPE_CHECKING:
    from audit_kit.core.words import Words
    from audit_kit.views.show.page import Page

NEEDED = ("in", "out")


def totals(page: Page, found: pl.DataFrame, *, written: int) -> pl.DataFrame:
    """Return the lines of every step of a page's report: see step_totals.totals."""
    tie = outcome_totals(page.analysis, start=page.start, end=page.end)
    return step_totals.totals(page.whole, page.analysis, page.scope, found=found, tie=tie, written=written)


def both_sides(lines: pl.DataFrame, words: Words) -> pl.DataFrame:
    """Return the lines of both sides beside each other: `step`, `kind`, `line` and the rows and yuan of each side.

    Lines of which neither side has anything are left out, but for what goes in and comes out.
    """
    sides = [
        lines.filter(pl.col("side") == side).select(
            *("step", "kind", "line"),
            *(pl.col(name).alias(f"{side}_{name}") for name in ("rows", "yuan", "unread")),
        )
        for side in SIDES
    ]
    keys = ["step", "kind", "line"]
    wide = sides[0].join(sides[1], on=keys, how="full", coalesce=True, maintain_order="left_right")
    wide = wide.with_columns(pl.selectors.numeric().fill_null(0))
    figures = pl.exclude(keys) != 0
    kept = wide.filter(pl.any_horizontal(figures) | pl.col("kind").is_in(NEEDED))
    order = kept["step"].cast(pl.Enum(STEPS)).to_physical().alias("_order")
    named = _named(kept.with_columns(order, aside=pl.col("line") == "set_aside"), words)
    unread = pl.sum_horizontal(f"{side}_unread" for side in SIDES)
    told = (
        pl.when(pl.col("aside") & (unread > 0)).then(pl.format(words("totals.unknown"), unread)).otherwise(pl.lit(""))
    )
    named = named.with_columns(pl.col("line") + told).sort("_order", maintain_order=True)
    return named.select(*keys, *(f"{side}_{name}" for side in SIDES for name in ("rows", "yuan")))


def of_findings(lines: pl.DataFrame, words: Words) -> pl.DataFrame:
    """Return the lines of all findings: `step`, `kind`, `line`, `rows`, `yuan`."""
    kept = lines.filter(pl.col("side") == "findings", (pl.col("rows") != 0) | (pl.col("kind") == "out"))
    return _named(kept.select("step", "kind", "line", "rows", "yuan"), words)


def sheet(lines: pl.DataFrame, words: Words) -> pl.DataFrame:
    """Return every line as a sheet of the workbook."""
    return _named(lines, words).with_columns(pl.col("side").replace(words.section("totals_side")))


def _named(lines: pl.DataFrame, words: Words) -> pl.DataFrame:
    names = words.section("totals_line") | words.terms("outcomes", schema.OUTCOMES)
    told = {"step": words.section("totals_step"), "kind": words.section("totals_kind"), "line": names}
    is_outcome = (pl.col("step") == "match") & pl.col("line").is_in(schema.OUTCOMES)
    own = words.section("totals_line")
    line = pl.when(is_outcome).then(pl.col("line").replace(told["line"])).otherwise(pl.col("line").replace(own))
    return lines.with_columns(pl.col("step").replace(told["step"]), pl.col("kind").replace(told["kind"]), line)
