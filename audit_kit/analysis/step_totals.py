"""Rows and yuan through every step: file, table, what the report is about, match, finding; each exclusion by its name.

Each step says what goes in, what is left out and why, and what comes out. What comes out is measured where it stands,
not worked out from the others, so that a row that is lost on the way makes the step not add up.
"""

from __future__ import annotations

from functools import reduce
from typing import TYPE_CHECKING

import polars as pl

from audit_kit.analysis.month import shown
from audit_kit.core import schema

if TYPE_CHECKING:
    from audit_kit.analysis.analysis import Analysis
    from audit_kit.analysis.report_scope import Scope

SIDES = ("ledger", "platform")
STEPS = ("read", "month", "tie", "match", "finding", "report")
KINDS = ("in", "less", "more", "out", "part")
MONEY = pl.Decimal(38, 2)
TOTALS = {
    "side": pl.String(),
    "step": pl.String(),
    "line": pl.String(),
    "kind": pl.String(),
    "rows": pl.Int64(),
    "yuan": MONEY,
    "unread": pl.Int64(),
}
FILES = (
    "table", "source_file", "rows_in", "yuan_in", "rows_set_aside", "yuan_set_aside", "rows_superseded",
    "yuan_superseded", "rows_table", "yuan_table", "unread_set_aside", "adds_up",
)  # fmt: skip
KEYS = ["source_file", "source_row"]
SAME = [
    *KEYS,
    "digital_number",
    "invoice_code",
    "invoice_number",
    "issued_at",
    "gross",
]  # rows may repeat on two sheets
OURS = ("missing", "sync")
GONE = ("earlier", "later", "undated_elsewhere")
SHOWN = ("within", "undated", "cross", "carried")


def superseded(exports: pl.DataFrame, platform: pl.DataFrame) -> pl.DataFrame:
    """Return the rows of earlier exports that later ones replace: `source_file`, `source_row`, `gross`.

    They are dated between the first and the last row of the later ones, or not at all.

    Args:
        exports: every row of the exports whose time is known, with `taken_at`.
        platform: what stands after all of them.
    """
    undated = platform.join(exports, on=SAME, how="anti", nulls_equal=True)["issued_at"]
    gone = exports.join(platform, on=SAME, how="anti", nulls_equal=True)
    found = []
    for taken_at in gone["taken_at"].unique().sort():
        later = pl.concat([exports.filter(pl.col("taken_at") > taken_at)["issued_at"], undated])
        replaced = pl.col("issued_at").is_null() | pl.col("issued_at").is_between(later.min(), later.max())
        found.append(gone.filter(pl.col("taken_at") == taken_at, replaced))
    return pl.concat([exports.clear(), *found]).select(*KEYS, "gross")


def files(whole: Analysis) -> pl.DataFrame:
    """Return both sides file by file, as each was read and as it stands in its table; all yuan are gross.

    Columns: `table`, `source_file`, `rows_in`, `yuan_in`, `rows_set_aside`, `yuan_set_aside`, `unread_set_aside` (rows
    set aside whose amount could not be read), `rows_superseded`, `yuan_superseded`, `rows_table`, `yuan_table`,
    `adds_up`.
    """
    return pl.concat([_files_of(whole, side) for side in SIDES])


def totals(
    whole: Analysis, view: Analysis, of: Scope, *, found: pl.DataFrame, tie: pl.DataFrame, written: int
) -> pl.DataFrame:
    """Return the lines of every step: see TOTALS; `unread` counts rows whose amount is not known.

    Args:
        whole: the engagement worked up.
        view: what of it the report is about.
        of: the month, the year or everything.
        found: all findings of the report.
        tie: `side`, `rows`, `yuan` of the outcomes that the report shows of its period.
        written: how many findings stand in the workbook.
    """
    parts = [frame for side in SIDES for frame in _of_side(whole, view, of, side, tie)]
    parts += [*_findings(found), _line(("findings", "report"), "workbook", "out", found.head(written), "amount")]
    return pl.concat(parts)


def breaks(lines: pl.DataFrame) -> pl.DataFrame:
    """Return where rows or yuan do not add up: `side`, `step`, `rows` and `yuan` expected and there, in the same order.

    Columns: `side`, `step`, `rows`, `yuan` (as the lines before make it), `rows_there`, `yuan_there` (as it stands).
    """
    is_part = pl.col("kind") == "part"
    sign = pl.col("kind").replace_strict({"in": 1, "more": 1, "less": -1}, default=0, return_dtype=pl.Int64)
    steps = lines.group_by("side", "step", maintain_order=True)
    made = steps.agg((pl.col(name) * sign).sum() for name in ("rows", "yuan"))
    parts = steps.agg(pl.col("rows", "yuan").filter(is_part).sum(), has=is_part.any())
    there = steps.agg(
        pl.col(name).filter(pl.col("kind") == "out").sum().alias(f"{name}_there") for name in ("rows", "yuan")
    )
    both = pl.concat([made, parts.filter("has").drop("has")]).join(there, on=["side", "step"], maintain_order="left")
    return both.filter((pl.col("rows") != pl.col("rows_there")) | (pl.col("yuan") != pl.col("yuan_there")))


def _of_side(whole: Analysis, view: Analysis, of: Scope, side: str, tie: pl.DataFrame) -> list[pl.DataFrame]:
    """Return the lines of one side, from its files to its findings."""
    table, seen = _gross(getattr(whole, side)), _gross(getattr(view, side))
    placed = _placed(whole, of, side)
    own = placed.filter(pl.col("place").is_in(("within", "undated")))
    said = tie.filter(pl.col("side") == side).select(pl.lit(None, MONEY).alias("gross"), "rows", "yuan")
    return [
        *_read(whole, side, table),
        _line((side, "month"), "table", "in", table),
        *(_line((side, "month"), name, "less", placed.filter(pl.col("place") == name)) for name in GONE),
        _line((side, "month"), "shown", "out", seen),
        *(_line((side, "month"), name, "part", placed.filter(pl.col("place") == name)) for name in SHOWN),
        _line((side, "tie"), "own", "in", own),
        _told((side, "tie"), "tie", "out", int(said["rows"].sum()), said["yuan"].sum()),
        *_matched(view, side, seen),
        *_found(view, side, seen),
    ]


def _read(whole: Analysis, side: str, table: pl.DataFrame) -> list[pl.DataFrame]:
    """Return the lines from the files of a side to its table."""
    given = whole.files.filter(pl.col("table") == side)
    aside = whole.set_aside.filter(pl.col("table") == side)
    replaced = whole.superseded if side == "platform" else whole.superseded.clear()
    read = pl.concat([given["gross"].cast(MONEY), aside["gross"].cast(MONEY)]).sum()
    unread = table["gross"].null_count() + aside["gross"].null_count() + replaced["gross"].null_count()
    return [
        _told((side, "read"), "files", "in", int(given["rows_in"].sum()), read, unread=unread),
        _line((side, "read"), "set_aside", "less", aside),
        _line((side, "read"), "superseded", "less", replaced),
        _line((side, "read"), "table", "out", table),
    ]


def _placed(whole: Analysis, of: Scope, side: str) -> pl.DataFrame:
    """Return the rows of a side with `gross` and `place`: why each is shown, or is not; null = nobody knows why not.

    A row of the period itself is always shown, and so is an earlier one of the ledger that something is found of.
    """
    row, other = f"{side}_row", next(name for name in SIDES if name != side)
    rows = _gross(getattr(whole, side)).select("issued_at", "gross").with_row_index(row)
    if of.start is None:
        return rows.with_columns(place=pl.lit("within"))
    pairs = whole.matches.drop_nulls(["ledger_row", "platform_row"]).select("ledger_row", "platform_row")
    dates = getattr(whole, other)["issued_at"].gather(pairs[f"{other}_row"])
    partners = (
        pairs.with_columns(at=dates)
        .group_by(row)
        .agg(within=of.holds("at").any(ignore_nulls=True), dated=pl.col("at").is_not_null().all())
    )
    rows = rows.join(partners, on=row, how="left", maintain_order="left")
    listed = shown(whole, of)[side]
    found = whole.findings["ledger_row"].drop_nulls()
    lost = pl.col(row).is_in(found.implode()) if side == "ledger" else pl.lit(value=False)
    is_shown, undated = pl.col(row).is_in(listed.implode()), pl.col("issued_at").is_null()
    elsewhere = pl.col("dated").fill_null(value=False) & ~pl.col("within").fill_null(value=False)
    told = (
        (is_shown & undated & ~(elsewhere & pl.lit(side == "platform")), "undated"),
        (is_shown & of.holds(), "within"),
        (is_shown & ~undated & pl.col("within"), "cross"),
        (is_shown, "carried"),
        (undated & elsewhere & pl.lit(side == "platform"), "undated_elsewhere"),
        (~lost & (pl.col("issued_at") < of.start), "earlier"),
        (pl.col("issued_at") >= of.end, "later"),
    )
    # The first that holds names the row: put together from the last to the first.
    nothing = pl.lit(None, pl.String)
    place = reduce(lambda rest, one: pl.when(one[0]).then(pl.lit(one[1])).otherwise(rest), reversed(told), nothing)
    return rows.with_columns(place=place)


def _matched(view: Analysis, side: str, seen: pl.DataFrame) -> list[pl.DataFrame]:
    """Return the lines of the outcomes: every row of a side once."""
    matches = _outcomes(view, side)
    names = [name for name in schema.OUTCOMES if name in view.matches["outcome"].cast(pl.String).unique()]
    held = seen.with_row_index(f"{side}_row").join(matches, on=f"{side}_row", how="left", maintain_order="left")
    parts = [held.filter(pl.col("outcome") == name) for name in names]
    alone = held.filter(pl.col("outcome").is_null() & _is_candidate(view, side))
    return [
        _line((side, "match"), "shown", "in", seen),
        *(_line((side, "match"), name, "part", part) for name, part in zip(names, parts, strict=True)),
        _line((side, "match"), "candidate", "part", alone),
        _told((side, "match"), "matches", "out", matches.height + alone.height, held["gross"].cast(MONEY).sum()),
    ]


def _outcomes(view: Analysis, side: str) -> pl.DataFrame:
    """Return `ledger_row` or `platform_row`, and its `outcome`: that of the first pair it is in."""
    row = f"{side}_row"
    named = view.matches.filter(pl.col(row).is_not_null()).select(row, pl.col("outcome").cast(pl.String))
    return named.unique(row, keep="first", maintain_order=True)


def _is_candidate(view: Analysis, side: str) -> pl.Expr:
    """Return whether a row is shown only because another may be it."""
    listed = view.matches["candidates"].explode().drop_nulls().unique()
    return pl.col(f"{side}_row").is_in(listed.implode()) if side == "platform" else pl.lit(value=False)


def _found(view: Analysis, side: str, seen: pl.DataFrame) -> list[pl.DataFrame]:
    """Return the lines from the rows of a side to their findings; what agrees, or is counted opposite, has none."""
    row, findings = f"{side}_row", _own_findings(view.findings, side)
    numbered = seen.with_row_index(row).join(_outcomes(view, side), on=row, how="left", maintain_order="left")
    once = findings.unique(row, keep="first", maintain_order=True)
    rows = numbered.join(once.select(row, "amount"), on=row, how="left", maintain_order="left")
    has = pl.col(row).is_in(findings[row].implode())
    candidate = pl.col("outcome").is_null() & _is_candidate(view, side)
    claimed = pl.lit(value=False)
    if side == "platform":
        pairs = view.matches.drop_nulls(["ledger_row", "platform_row"])["platform_row"]
        claimed = pl.col(row).is_in(pairs.implode())
    again = findings.join(once, on="finding_id", how="anti")
    filled = rows.filter(has & pl.col("gross").is_null())["amount"].cast(MONEY).sum()
    return [
        _line((side, "finding"), "shown", "in", seen),
        _line((side, "finding"), "agreed", "less", rows.filter(~has & ~claimed & (pl.col("outcome") == "matched"))),
        _line((side, "finding"), "claimed", "less", rows.filter(~has & claimed)),
        _line((side, "finding"), "candidate", "less", rows.filter(candidate)),
        _told((side, "finding"), "filled", "more", 0, filled),
        _line((side, "finding"), "again", "more", again, "amount"),
        _line((side, "finding"), "findings", "out", findings, "amount"),
    ]


def _own_findings(findings: pl.DataFrame, side: str) -> pl.DataFrame:
    """Return the findings of the sync and of what is missing that are of a row of one side."""
    ours = findings.filter(pl.col("area").cast(pl.String).is_in(OURS))
    booked = pl.col("ledger_row").is_not_null()
    return ours.filter(booked) if side == "ledger" else ours.filter(~booked & pl.col("platform_row").is_not_null())


def _findings(found: pl.DataFrame) -> list[pl.DataFrame]:
    """Return the lines from the findings by what they are of to those of the report."""
    area = pl.col("area").cast(pl.String)
    rest = found.filter(area.is_in(OURS) & pl.col("ledger_row").is_null() & pl.col("platform_row").is_null())
    kinds = {side: _own_findings(found, side) for side in SIDES} | {"general": rest}
    kinds |= {name: found.filter(area == name) for name in ("backup", "response")}
    return [_line(("findings", "report"), name, "in", rows, "amount") for name, rows in kinds.items()]


def _files_of(whole: Analysis, side: str) -> pl.DataFrame:
    given = whole.files.filter(pl.col("table") == side).with_columns(source_row=pl.lit(None, pl.UInt32))
    read = given.group_by("source_file", maintain_order=True).agg(
        rows_in=pl.col("rows_in").sum(), kept=pl.col("rows_kept").sum(), yuan_kept=pl.col("gross").cast(MONEY).sum()
    )
    aside = whole.set_aside.filter(pl.col("table") == side)
    replaced = whole.superseded if side == "platform" else whole.superseded.clear()
    for name, rows in (("set_aside", aside), ("superseded", replaced), ("table", _gross(getattr(whole, side)))):
        sums = rows.group_by("source_file").agg(
            pl.len().alias(f"rows_{name}"),
            pl.col("gross").cast(MONEY).sum().alias(f"yuan_{name}"),
            pl.col("gross").null_count().alias(f"unread_{name}"),
        )
        read = read.join(
            sums, on="source_file", how="full", coalesce=True, nulls_equal=True, maintain_order="left_right"
        )
    read = read.with_columns(pl.exclude("source_file").fill_null(0)).with_columns(
        yuan_in=pl.col("yuan_kept") + pl.col("yuan_set_aside"), table=pl.lit(side)
    )
    left = {name: pl.col(f"{name}_table") + pl.col(f"{name}_superseded") for name in ("rows", "yuan")}
    adds_up = (
        (pl.col("rows_in") == left["rows"] + pl.col("rows_set_aside"))
        & (pl.col("kept") == left["rows"])
        & (pl.col("yuan_kept") == left["yuan"])
    )
    return read.with_columns(adds_up=adds_up).select(FILES)


def _gross(rows: pl.DataFrame) -> pl.DataFrame:
    return rows if "gross" in rows.columns else rows.with_columns(gross=pl.lit(None, MONEY))


def _line(at: tuple[str, str], line: str, kind: str, rows: pl.DataFrame, column: str = "gross") -> pl.DataFrame:
    """Return one line of a side and step (`at`): how many rows, their yuan, and of how many the amount is not known."""
    amounts = rows[column]
    return _told(at, line, kind, rows.height, amounts.cast(MONEY).sum(), unread=amounts.null_count())


def _told(at: tuple[str, str], line: str, kind: str, rows: int, yuan: object, *, unread: int = 0) -> pl.DataFrame:
    return pl.DataFrame([(*at, line, kind, rows, yuan or 0, unread)], schema=TOTALS, orient="row", strict=False)
