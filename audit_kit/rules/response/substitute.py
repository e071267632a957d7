"""The substitute system: which of its invoices came back to the platform, and how.

Every row of it is of one class, so that the statement of the cut-over adds up: what went in is what came back, what did
not, what was changed on the way and what is there twice. What was voided there need not come back and stands aside.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import polars as pl

from audit_kit.core.identity import fold_name, fold_tax_id, with_key
from audit_kit.rules.matching.reconcile import reconcile
from audit_kit.rules.response.response_evidence import comparable

if TYPE_CHECKING:
    from collections.abc import Callable

    from audit_kit.rules.response.response_evidence import ResponseEvidence

CLASSES = ("back", "not_back", "changed", "doubled")
STATEMENT = {
    "line": pl.String(),
    "rows": pl.UInt32(),
    "yuan": pl.Decimal(18, 2),
    "platform_rows": pl.UInt32(),
    "platform_yuan": pl.Decimal(18, 2),
}
NEVER_ISSUED = ("voided", "not_issued")
AMOUNT, SIDES = ("net", "tax", "gross"), ("seller", "buyer")
ON_THE_WAY = (*AMOUNT, "issued_at", "seller_tax_id", "seller_name", "buyer_tax_id", "buyer_name")
FOUND = ("matched", "matched_cleaned", "mistyped", "conflict", "duplicate")
NO_MARKS_AT_ALL = 30  # rows on the platform and not one mark: the list does not keep marks
SHOWN = ("invoice_key", "number", "gross", "source_file", "source_row")


def statement(evidence: ResponseEvidence) -> pl.DataFrame:
    """Return the statement of the cut-over: see `STATEMENT`.

    The lines `in`, then the `CLASSES`, whose rows and yuan add up to it, then `aside`. `yuan` is as the substitute
    system has it, `platform_rows` and `platform_yuan` are what the platform lists of the same invoices.
    """
    rows = evidence.once(brought)
    line = pl.col("line")
    parts = [
        rows.filter(line.is_in(CLASSES)).with_columns(line=pl.lit("in")),
        *(rows.filter(line == name) for name in (*CLASSES, "aside")),
    ]
    names = ("in", *CLASSES, "aside")
    told = [
        part.select(
            line=pl.lit(name),
            rows=pl.len(),
            yuan=pl.col("gross").sum(),
            platform_rows=pl.col("listed").sum(),
            platform_yuan=pl.col("listed_yuan").sum(),
        )
        for name, part in zip(names, parts, strict=True)
    ]
    return pl.concat(told).cast(pl.Schema(STATEMENT)) if rows.height else pl.DataFrame(schema=STATEMENT)


def brought(evidence: ResponseEvidence) -> pl.DataFrame:
    """Return the substitute system's rows, each with what the platform has of it.

    Beside the columns of the table: `row`, `invoice_key`, `number`, `line` (a class, or aside), `marked` (as brought
    back by now), `differences`, `listed` (rows of the platform, counted once an invoice), `listed_yuan`, `again` (why
    it is twice: here, there, renumbered), `there_*` (the platform's values).
    """
    keyed = with_key(evidence.substitute).with_row_index("row")
    number = pl.coalesce("digital_number", pl.concat_str("invoice_code", "invoice_number", ignore_nulls=True))
    now = pl.lit(evidence.taken_at)
    keyed = keyed.with_columns(
        number=pl.when(number != "").then(number),
        marked=(pl.col("migrated_at") <= now).fill_null(value=False),
        aside=pl.col("status").cast(pl.String).is_in(NEVER_ISSUED).fill_null(value=False),
    )
    live = keyed.filter(~pl.col("aside"))
    some = comparable(live, evidence.listed)
    matches = reconcile(live, some, policy=evidence.policy.matching).drop_nulls("ledger_row")
    outcome = pl.col("outcome").cast(pl.String)
    found = matches.select(
        row=live["row"].gather(matches["ledger_row"]),
        there=pl.when(outcome.is_in(FOUND)).then(some["other_row"].gather(matches["platform_row"])),
        outcome=outcome,
        differences="differences",
    )
    rows = keyed.join(found, on="row", how="left", maintain_order="left")
    rows = rows.join(_moved(evidence, rows), on="row", how="left", maintain_order="left")
    rows = rows.with_columns(pl.coalesce("there", "moved_to").alias("there"))
    rows = rows.join(_there(evidence, rows["there"]), on="there", how="left", maintain_order="left")
    rows = rows.join(_renumbered(evidence, rows), on="row", how="left", maintain_order="left")
    again = (
        pl.when(pl.col("outcome") == "duplicate")
        .then(pl.lit("here"))
        .when(pl.col("times") > 1)
        .then(pl.lit("there"))
        .when(pl.col("other_number").is_not_null())
        .then(pl.lit("renumbered"))
    )
    rows = rows.with_columns(again=again, changed=_changed())
    extra = pl.col("other_number").is_not_null().cast(pl.UInt32)
    first = pl.col("outcome") != "duplicate"
    return rows.with_columns(
        line=pl.when("aside")
        .then(pl.lit("aside"))
        .when(pl.col("again").is_not_null())
        .then(pl.lit("doubled"))
        .when("changed")
        .then(pl.lit("changed"))
        .when(pl.col("there").is_not_null())
        .then(pl.lit("back"))
        .otherwise(pl.lit("not_back")),
        listed=pl.when(first).then(pl.col("times") + extra).fill_null(0),
        listed_yuan=pl.when(first).then(pl.col("times_yuan") + extra.cast(pl.Decimal(18, 2)) * pl.col("gross")),
    )


def _changed() -> pl.Expr:
    """Return whether number, amount, date or party were changed on the way; the status may well have moved on."""
    differs = pl.col("differences").fill_null([]).list.eval(pl.element().is_in(ON_THE_WAY)).list.any()
    return (differs | (pl.col("outcome") == "mistyped")).fill_null(value=False) | pl.col("moved_to").is_not_null()


def _there(evidence: ResponseEvidence, wanted: pl.Series) -> pl.DataFrame:
    """Return these platform rows with what their invoices count there: `there`, `times`, `times_yuan`, `there_*`.

    Two exports that overlap list an invoice once each: only what one file holds twice, or holds otherwise, is twice.
    """
    rows = evidence.listed.with_row_index("there").filter(pl.col("there").is_in(wanted.drop_nulls().implode()))
    same = ["invoice_key", "issued_at", "gross", "status", "positive"]
    listings = evidence.listed.join(rows.select("invoice_key").drop_nulls(), on="invoice_key", how="semi")
    copies = listings.group_by([*same, "source_file"]).agg(copies=pl.len())
    each = copies.group_by(same).agg(pl.col("copies").max())
    counted = each.group_by("invoice_key").agg(
        times=pl.col("copies").sum(), times_yuan=(pl.col("gross") * pl.col("copies").cast(pl.Decimal(18, 0))).sum()
    )
    rows = rows.join(counted, on="invoice_key", how="left", maintain_order="left")
    return rows.select(
        "there",
        times=pl.col("times").fill_null(1),
        times_yuan=pl.coalesce("times_yuan", "gross").cast(pl.Decimal(18, 2)),
        there_number=pl.coalesce("invoice_key", "digital_number", "invoice_number"),
        there_gross="gross",
        there_net="net",
        there_tax="tax",
        there_at="issued_at",
        **{f"there_{side}": _party(side) for side in SIDES},
        there_file="source_file",
        there_row="source_row",
    )


def _moved(evidence: ResponseEvidence, rows: pl.DataFrame) -> pl.DataFrame:
    """Return rows that came back under quite another number: `row`, `moved_to` (platform row), `sure`, `rivals`.

    That is the only platform row which nothing in the ledger claims, of the same day, parties and amount, and this the
    only such row here; with other times of day it is another invoice, and without them it is not `sure`. Where several
    could be it there is none, and `rivals` says how many.
    """
    gone = rows.filter(pl.col("there").is_null() & ~pl.col("aside") & pl.col("gross").is_not_null())
    spare = _spare(evidence).join(rows.select("invoice_key").drop_nulls(), on="invoice_key", how="anti")
    day, kept = pl.col("issued_at").dt.date().alias("day"), ["issued_at", "date_only"]
    parts = [day, pl.col("gross").cast(pl.Decimal(18, 2)), *_parties()]
    on = ["day", "gross", "seller", "buyer"]
    mine = gone.select("row", *kept, *parts).drop_nulls(on)
    theirs = spare.select("platform_row", *kept, *parts).drop_nulls(on)
    both = mine.join(theirs, on=on, suffix="_there").with_columns(
        timed=~pl.col("date_only").fill_null(value=False) & ~pl.col("date_only_there").fill_null(value=False)
    )
    both = both.filter(~pl.col("timed") | (pl.col("issued_at") == pl.col("issued_at_there")))
    rivals = pl.max_horizontal(pl.len().over("row"), pl.len().over("platform_row"))
    both = both.with_columns(rivals=rivals).sort("row", "platform_row").unique("row", keep="first", maintain_order=True)
    only = pl.col("rivals") == 1
    return both.select("row", "rivals", moved_to=pl.when(only).then("platform_row"), sure=only & pl.col("timed"))


def _spare(evidence: ResponseEvidence) -> pl.DataFrame:
    """Return the platform's rows that nothing in the ledger claims, with `platform_row` and `invoice_key`."""
    unbooked = evidence.matches.filter(pl.col("outcome").cast(pl.String) == "unbooked")["platform_row"].drop_nulls()
    listed = evidence.listed.with_row_index("platform_row")
    return listed.filter(pl.col("platform_row").is_in(unbooked.implode()))


def _parties() -> list[pl.Expr]:
    """Return `seller` and `buyer` as they are compared: by taxpayer id where there is one, else by name."""
    return [
        pl.coalesce(fold_tax_id(pl.col(f"{side}_tax_id")), fold_name(pl.col(f"{side}_name"))).alias(side)
        for side in SIDES
    ]


def _party(side: str) -> pl.Expr:
    return pl.concat_str(f"{side}_name", f"{side}_tax_id", separator=" ", ignore_nulls=True)


def _renumbered(evidence: ResponseEvidence, rows: pl.DataFrame) -> pl.DataFrame:
    """Return rows that the platform lists a second time under another number: `row`, `other_number`.

    That is a platform row that nothing in the ledger claims, of the same second, parties and amount.
    """
    spare = _spare(evidence)
    spare = spare.join(rows.select("invoice_key"), on="invoice_key", how="anti")
    exact = pl.col("date_only").eq_missing(other=False)
    party = [
        pl.col("gross").cast(pl.Decimal(18, 2)),
        fold_name(pl.col("buyer_name")).alias("buyer"),
        fold_name(pl.col("seller_name")).alias("seller"),
        fold_tax_id(pl.col("buyer_tax_id")).alias("buyer_id"),
    ]
    on = ["issued_at", "gross", "buyer", "seller", "buyer_id"]
    twin = spare.filter(exact).with_columns(party).select(*on, other_number="invoice_key").drop_nulls("other_number")
    mine = rows.filter(
        pl.col("there").is_not_null() & pl.col("moved_to").is_null() & exact & (pl.col("outcome") != "duplicate")
    ).with_columns(party)
    found = mine.filter(pl.col("buyer").is_not_null() | pl.col("buyer_id").is_not_null())
    found = found.join(twin.unique(on, maintain_order=True), on=on, how="inner", nulls_equal=True)
    return found.select("row", "other_number").unique("row", maintain_order=True)


def substitute_unmarked(evidence: ResponseEvidence) -> pl.DataFrame:
    """Find rows that the platform lists though they are not marked as brought back."""
    rows = evidence.once(brought)
    found = rows.filter(pl.col("line").is_in(["back", "changed"]) & ~pl.col("marked"))
    if found.height >= NO_MARKS_AT_ALL and rows["migrated_at"].null_count() == rows.height:
        first = found.head(1).select("source_file", "source_row")
        return first.with_columns(
            count=pl.lit(found.height),
            variant=pl.lit("none"),
            state=pl.lit("unknown"),
            about=pl.concat_list(pl.lit("none")),
        )
    return found.select(*SHOWN, "there_file", "there_row", about=_about(), amount="gross")


def substitute_absent(evidence: ResponseEvidence) -> pl.DataFrame:
    """Find rows that are marked as brought back and that the platform does not list.

    Unknown where the export may not reach so far, or the mark is so young that the invoice may be on its way.
    """
    rows = evidence.once(brought).filter((pl.col("line") == "not_back") & pl.col("marked"))
    listed = evidence.platform["issued_at"].dt.date()
    first, last = (pl.lit(day, pl.Date) for day in (listed.min(), listed.max()))
    outside = ~pl.col("issued_at").dt.date().is_between(first, last)
    recent = pl.col("migrated_at") > pl.lit(evidence.taken_at - timedelta(hours=evidence.policy.sync.target_hours))
    unclear = (pl.col("outcome") == "ambiguous") | (pl.col("rivals") > 1)
    variant = (
        pl.when(unclear)
        .then(pl.lit("ambiguous"))
        .when(recent)
        .then(pl.lit("recent"))
        .when(outside)
        .then(pl.lit("outside"))
    )
    told = rows.with_columns(variant=variant).with_columns(
        state=pl.when(pl.col("variant").is_not_null()).then(pl.lit("unknown"))
    )
    return told.select(*SHOWN, "variant", "state", about=_about(), amount="gross", marked="migrated_at")


def substitute_twice(evidence: ResponseEvidence) -> pl.DataFrame:
    """Find invoices that came back twice: listed twice here or there, or there again under another number."""
    rows = evidence.once(brought).filter(pl.col("line") == "doubled")
    return rows.select(*SHOWN, "times", "other_number", about=_about("again"), variant="again", amount="gross")


def substitute_changed(evidence: ResponseEvidence) -> pl.DataFrame:
    """Find invoices whose amount, party, date or number the platform holds otherwise than the substitute system."""
    rows = evidence.once(brought).filter(pl.col("line") == "changed")
    money = [(name, _text(name), _text(f"there_{name}")) for name in AMOUNT]
    pairs = (
        ("number", pl.col("number"), pl.col("there_number")),
        *money,
        ("issued_at", _text("issued_at"), _text("there_at")),
        *((side, _party(side), pl.col(f"there_{side}")) for side in SIDES),
    )
    differs = pl.col("differences").fill_null([])
    of_side = {side: differs.list.eval(pl.element().str.starts_with(side)).list.any() for side in SIDES}
    moved = pl.col("moved_to").is_not_null()
    tests = {"number": (pl.col("outcome") == "mistyped") | moved, **of_side}
    parts = [
        pl.when(tests.get(name, differs.list.contains(name))).then(
            pl.struct(part=pl.lit(name), ours=ours.fill_null("–"), theirs=theirs.fill_null("–"))
        )
        for name, ours, theirs in pairs
    ]
    return rows.select(
        *SHOWN,
        "there_file",
        "there_row",
        about=_about(),
        amount="gross",
        state=pl.when(moved & ~pl.col("sure")).then(pl.lit("unknown")),
        variant=pl.when(moved & ~pl.col("sure")).then(pl.lit("maybe")),
        changes=pl.concat_list(parts).list.drop_nulls(),
    )


def _text(name: str) -> pl.Expr:
    return pl.col(name).dt.strftime("%Y-%m-%d") if name in ("issued_at", "there_at") else pl.col(name).cast(pl.String)


def substitute_late(evidence: ResponseEvidence) -> pl.DataFrame:
    """Find rows that were brought back later than the policy allows, counted from the end of the stop, or of filing."""
    rows = evidence.once(brought)
    rows = rows.filter(pl.col("marked") & pl.col("line").is_in(["back", "changed", "doubled"]))
    rows = rows.filter(pl.col("outcome") != "duplicate")
    hours = evidence.policy.response.bring_back_hours
    next_month = pl.col("issued_at").dt.date().dt.month_start().dt.offset_by("1mo")
    rows = _with_end(rows, evidence).with_columns(due=pl.col("end").dt.offset_by(f"{round(hours * 60)}m"))
    days = pl.DataFrame({"filing": sorted(evidence.calendar.filing_deadlines)}, schema={"filing": pl.Date})
    rows = rows.with_columns(month=next_month).sort("month", maintain_order=True)
    rows = rows.join_asof(days, left_on="month", right_on="filing", strategy="forward").sort("row")
    missed = (pl.col("migrated_at").dt.date() > pl.col("filing")).fill_null(value=False)
    late = rows.filter((pl.col("migrated_at") > pl.col("due")) | missed)
    return late.select(
        *SHOWN,
        "due",
        "end",
        "filing",
        about=_about(),
        variant=pl.when(missed).then(pl.lit("filing")).when("stopped").then(pl.lit("stop")),
        severity=pl.when(missed).then(pl.lit("high")),
        amount="gross",
        marked="migrated_at",
        hours=(pl.col("migrated_at") - pl.col("end")).dt.total_minutes() / 60,
    )


def _with_end(rows: pl.DataFrame, evidence: ResponseEvidence) -> pl.DataFrame:
    """Add `end`, when the invoice could have been brought back first, and `stopped`, whether that was a stop's end."""
    names = ("starts_at", "ends_at")
    held = [frame.select(names) for frame in (evidence.stops, evidence.notices) if set(names) <= set(frame.columns)]
    stops = pl.concat(held).with_columns(pl.col("ends_at").fill_null(pl.lit(evidence.taken_at)))
    day_end = pl.col("issued_at").dt.truncate("1d").dt.offset_by("1d")
    own = pl.when(pl.col("date_only").fill_null(value=False)).then(day_end).otherwise("issued_at")
    rows = rows.with_columns(own=own.cast(pl.Datetime("us")))
    inside = rows.select("row", "issued_at", "own").join_where(
        stops, pl.col("own") >= pl.col("starts_at"), pl.col("issued_at") < pl.col("ends_at")
    )
    last = inside.group_by("row").agg(stop_end=pl.col("ends_at").max())
    rows = rows.join(last, on="row", how="left", maintain_order="left")
    return rows.with_columns(
        end=pl.max_horizontal("own", "stop_end"), stopped=(pl.col("stop_end") > pl.col("own")).fill_null(value=False)
    )


def _about(*more: str) -> pl.Expr:
    """Return what makes the id of a finding of a row: its number and amount, and the how manieth alike."""
    told = [pl.col(name).cast(pl.String).fill_null("") for name in ("number", "gross", *more)]
    again = pl.int_range(pl.len()).over(told).cast(pl.String)
    return pl.concat_list(*told, again)


CAUSES: dict[str, Callable[[ResponseEvidence], pl.DataFrame]] = {
    "substitute_absent": substitute_absent,
    "substitute_changed": substitute_changed,
    "substitute_twice": substitute_twice,
    "substitute_unmarked": substitute_unmarked,
    "substitute_late": substitute_late,
}
