"""The register by hand: rows that nobody else checked, rows unlike what else is known, gaps that it does not fill."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import polars as pl
from rapidfuzz.distance import Levenshtein

from audit_kit.core.identity import fold_name, with_key
from audit_kit.rules.matching.reconcile import reconcile
from audit_kit.rules.proofs.deeds import plain_number
from audit_kit.rules.response.response_evidence import comparable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from audit_kit.rules.response.response_evidence import ResponseEvidence

MOSTLY = 0.5  # of the rows with a checker have a second reading: then a row without one was not read again
SUFFIX_DIGITS = 8  # a checker may write the last digits only
COMPARED = ("gross", "net", "tax", "issued_at")
SIDES = {"ledger": "ledger", "platform": "platform", "file": "invoice_files"}
PART = pl.Struct({name: pl.String() for name in ("part", "ours", "theirs", "place")})
HALF_A_CENT = 0.005
MARKS = ("【", "】")
WRITTEN = {
    "row": pl.UInt32(),
    "invoice_key": pl.String(),
    "number": pl.String(),
    "issued_at": pl.Datetime("us"),
    "gross": pl.Decimal(18, 2),
    "entered_by": pl.String(),
    "checked_by": pl.String(),
    "check": pl.String(),
    "unlike": pl.List(PART),
    "ledger": pl.String(),
    "platform": pl.String(),
    "file": pl.String(),
    "again": pl.Boolean(),
    "source_file": pl.String(),
    "source_row": pl.UInt32(),
}
LINKS = {"row": pl.UInt32(), "other_row": pl.UInt32(), "state": pl.String(), "differences": pl.List(pl.String)}
GAPS = {
    "subject": pl.String(),
    "rows": pl.UInt32(),
    "yuan": pl.Decimal(38, 2),
    "by_hand": pl.UInt32(),
    "by_hand_yuan": pl.Decimal(38, 2),
    "lacking": pl.List(pl.String()),
    "lacking_yuan": pl.Decimal(38, 2),
}


def written(evidence: ResponseEvidence) -> pl.DataFrame:
    """Return the register's rows with what became of them: see `WRITTEN`.

    `check`: ok, none, unsigned (a second reading, nobody's), self, writer (it does not say who wrote), unread (signed
    only). `unlike`: each way in which it is unlike its second reading or another source. `ledger`, `platform`, `file`:
    agrees, differs, mistyped, absent. `again`: an earlier row has the same number.
    """
    if evidence.register.is_empty():
        return pl.DataFrame(schema=WRITTEN)
    rows = evidence.written
    rows = rows.with_columns(_check(rows), again=pl.col("invoice_key").is_not_null() & (_place() > 0))
    parts = [_second_reading(rows)]
    for side, name in SIDES.items():
        other = evidence.listed if name == "platform" else _keyed(getattr(evidence, name))
        links = evidence.once(_in_ledger) if side == "ledger" else link(evidence, rows, other)
        state = pl.col("row").replace_strict(links["row"], links["state"], default="absent", return_dtype=pl.String)
        rows = rows.with_columns(state.alias(side))
        parts.append(_unlike(rows, links, other, side))
    parts.append(_twice(rows))
    told = (
        pl.concat(parts).group_by("row", maintain_order=True).agg(unlike=pl.struct("part", "ours", "theirs", "place"))
    )
    return rows.join(told, on="row", how="left", maintain_order="left").select(*WRITTEN).cast(pl.Schema(WRITTEN))


def register_unchecked(evidence: ResponseEvidence) -> pl.DataFrame:
    """Find rows that nobody checked, or only the person who wrote them."""
    rows = evidence.once(written).filter(pl.col("check") != "ok")
    return _told(rows).with_columns(
        variant=pl.col("check").replace("none", None),
        state=pl.when(pl.col("check") == "writer").then(pl.lit("unknown")),
        entered="entered_by",
        checked="checked_by",
    )


def register_mismatch(evidence: ResponseEvidence) -> pl.DataFrame:
    """Find rows whose number or amount was entered twice and unlike, or is unlike ledger, platform or file."""
    rows = evidence.once(written).filter(pl.col("unlike").list.len() > 0)
    parts = pl.col("unlike").list.eval(pl.element().struct.field("part"))
    unread = parts.list.eval(pl.element() == "unreadable").list.all()
    return _told(rows).with_columns(state=pl.when(unread).then(pl.lit("unknown")))


def register_gap(evidence: ResponseEvidence) -> pl.DataFrame:
    """Find stops whose missing invoices the register lacks."""
    found = evidence.once(gaps).filter(pl.col("subject").is_not_null() & (pl.col("lacking").list.len() > 0))
    return found.select(
        "rows",
        "by_hand",
        "yuan",
        "by_hand_yuan",
        "lacking_yuan",
        about=pl.concat_list("subject"),
        stop="subject",
        amount="lacking_yuan",
        keys="lacking",
        count=pl.col("lacking").list.len(),
    )


def gaps(evidence: ResponseEvidence) -> pl.DataFrame:
    """Return what is missing of each stop (null = of no stop) and how much of it stands in the register: see `GAPS`.

    Where there is no register, none: nobody knows.
    """
    if "register" not in evidence.given:
        return pl.DataFrame(schema=GAPS)
    stops = evidence.findings.filter(pl.col("cause") == "outage").select("ledger_row", "subject")
    gone = evidence.booked.filter(
        pl.col("outcome") == "missing", pl.col("invoice_key").is_in(evidence.missing_keys.implode())
    )
    gone = gone.join(stops, on="ledger_row", how="left", maintain_order="left").unique(
        "invoice_key", maintain_order=True
    )
    by_hand = pl.col("invoice_key").is_in(evidence.written["invoice_key"].drop_nulls().implode())
    by_hand |= pl.col("ledger_row").is_in(evidence.once(_in_ledger)["other_row"].implode())
    return (
        gone.with_columns(by_hand=by_hand)
        .group_by("subject", maintain_order=True)
        .agg(
            rows=pl.len(),
            yuan=pl.col("gross").sum(),
            by_hand=pl.col("by_hand").sum(),
            by_hand_yuan=pl.col("gross").filter("by_hand").sum(),
            lacking=pl.col("invoice_key").filter(~pl.col("by_hand")),
            lacking_yuan=pl.col("gross").filter(~pl.col("by_hand")).sum(),
        )
        .sort("subject", nulls_last=True)
        .cast(pl.Schema(GAPS))
    )


def _told(rows: pl.DataFrame) -> pl.DataFrame:
    """Return register rows as a rule tells them; what makes the id is what is written, and the how manieth alike."""
    told = [pl.col(name).cast(pl.String).fill_null("") for name in ("number", "gross", "issued_at")]
    again = pl.int_range(pl.len()).over(told).cast(pl.String)
    number = pl.coalesce("invoice_key", "number")
    return rows.with_columns(about=pl.concat_list(*told, again), amount="gross", number=number).drop("issued_at")


def _place() -> pl.Expr:
    return pl.int_range(pl.len()).over("invoice_key")


def _check(rows: pl.DataFrame) -> pl.Expr:
    """Return how a row was checked: see `written`."""
    writer, checker = (fold_name(pl.col(name)).str.to_lowercase() for name in ("entered_by", "checked_by"))
    second = pl.col("checked_number").is_not_null() | pl.col("checked_gross").is_not_null()
    signed = pl.col("checked_by").is_not_null()
    counts = rows.select(both=(second & signed).sum(), signed=signed.sum()).row(0, named=True)
    conditions = {
        "none": ~signed & ~second,
        "unsigned": ~signed,
        "self": writer == checker,
        "writer": pl.col("entered_by").is_null(),
        "unread": ~second & pl.lit(counts["both"] > MOSTLY * counts["signed"]),
    }
    words = [pl.when(condition).then(pl.lit(word)) for word, condition in conditions.items()]
    return pl.coalesce(*words, pl.lit("ok")).alias("check")


def _second_reading(rows: pl.DataFrame) -> pl.DataFrame:
    """Return the rows whose second reading is unlike the first: `row`, then the fields of `PART`."""
    seen = with_key(rows.select(digital_number="checked_number")).select(
        read="invoice_key", lost=pl.col("cleaning").list.contains("precision_lost")
    )
    seen = seen.with_columns(read=pl.coalesce("read", rows.select(plain_number("checked_number")).to_series()))
    both = rows.hstack(seen).filter(pl.col("checked_number").is_not_null() & pl.col("number").is_not_null())
    read, key = pl.col("read"), pl.col("invoice_key")
    alike = (read == key) | (pl.col("checked_number") == pl.col("number"))
    alike |= key.str.ends_with(read) & (read.str.len_chars() >= SUFFIX_DIGITS)
    unlike = both.filter(~alike.fill_null(value=False))
    numbers = [
        _part(
            row["row"],
            "unreadable" if row["lost"] else "checked_number",
            *marked(
                row["invoice_key"] or row["number"],
                row["read"] if (row["read"] or "").isdigit() else row["checked_number"],
            ),
        )
        for row in unlike.iter_rows(named=True)
    ]
    amounts = rows.filter(pl.col("checked_gross") != pl.col("gross"))
    texts = amounts.select("row", *(_money(name) for name in ("gross", "checked_gross"))).iter_rows()
    return _parts([*numbers, *(_part(row, "checked_gross", *marked(ours, theirs)) for row, ours, theirs in texts)])


def _twice(rows: pl.DataFrame) -> pl.DataFrame:
    """Return the rows that give a number of an earlier row another amount, and are not as the ledger has it."""
    first = pl.col("gross").first().over("invoice_key")
    place = pl.col("source_row").first().over("invoice_key")
    unlike = rows.with_columns(first=first, place=place).filter(
        pl.col("again") & (pl.col("gross") != pl.col("first")) & (pl.col("ledger") != "agrees")
    )
    texts = unlike.select("row", _money("gross"), _money("first"), pl.col("place").cast(pl.String)).iter_rows()
    return _parts(_part(row, "twice", ours, theirs, place) for row, ours, theirs, place in texts)


def _in_ledger(evidence: ResponseEvidence) -> pl.DataFrame:
    return link(evidence, evidence.written, evidence.booked)


def _unlike(rows: pl.DataFrame, links: pl.DataFrame, other: pl.DataFrame, side: str) -> pl.DataFrame:
    """Return the rows that are unlike another source: `row`, then the fields of `PART`."""
    found = links.filter(pl.col("state") != "agrees")
    if found.is_empty():
        return _parts([])
    place = pl.format(
        "{} {}", pl.col("source_file").fill_null("–"), pl.col("source_row").cast(pl.String).fill_null("–")
    )
    theirs = _keyed(other).with_row_index("other_row").join(found.select("other_row"), on="other_row", how="semi")
    both = found.join(rows.select("row", *_texts("our_")), on="row", how="left")
    both = both.join(theirs.select("other_row", place.alias("place"), *_texts("their_")), on="other_row", how="left")
    return _parts(_differences(both.sort("row"), side))


def link(evidence: ResponseEvidence, rows: pl.DataFrame, other: pl.DataFrame) -> pl.DataFrame:
    """Return the register's rows that another source has: `row`, `other_row`, `state`, `differences`."""
    if other.is_empty() or rows.is_empty():
        return pl.DataFrame(schema=LINKS)
    some = comparable(rows, _keyed(other))
    matches = reconcile(_plain(rows), _plain(some), policy=evidence.policy.matching)
    matches = matches.filter(pl.col("ledger_row").is_not_null() & pl.col("platform_row").is_not_null())
    pairs = matches.select(
        rows["row"].gather(matches["ledger_row"]),
        some["other_row"].gather(matches["platform_row"]),
        mistyped=pl.col("outcome") == "mistyped",
    )
    values = [pl.col(name).alias(f"their_{name}") for name in COMPARED]
    both = pairs.join(rows.select("row", *COMPARED), on="row", how="left", maintain_order="left")
    both = both.join(some.select("other_row", *values), on="other_row", how="left", maintain_order="left")
    unlike = pl.concat_list(pl.when(_differs(name, evidence)).then(pl.lit(name)) for name in COMPARED).list.drop_nulls()
    state = pl.when(unlike.list.len() > 0).then(pl.lit("differs")).otherwise(pl.lit("agrees"))
    state = pl.when("mistyped").then(pl.lit("mistyped")).otherwise(state)
    links = both.select("row", "other_row", state=state, differences=unlike)
    # What some source has under this number and amount is not mistyped: a neighbour may be of the same day and amount.
    real = rows.join(evidence.once(_known), on=["invoice_key", "gross"], how="semi")["row"]
    return links.filter((pl.col("state") != "mistyped") | ~pl.col("row").is_in(real.implode()))


def _keyed(rows: pl.DataFrame) -> pl.DataFrame:
    return rows if "invoice_key" in rows.columns else with_key(rows)


def _known(evidence: ResponseEvidence) -> pl.DataFrame:
    """Return the register's rows that ledger, platform or an e-invoice has too: `invoice_key`, `gross`."""
    mine = evidence.written.select("invoice_key", "gross").drop_nulls().unique()
    sides = (evidence.booked, evidence.listed, with_key(evidence.invoice_files))
    return pl.concat([mine.join(side, on=["invoice_key", "gross"], how="semi") for side in sides]).unique()


def _differs(name: str, evidence: ResponseEvidence) -> pl.Expr:
    ours, theirs = pl.col(name), pl.col(f"their_{name}")
    if name == "issued_at":
        return ours.dt.date() != theirs.dt.date()
    return (ours - theirs).abs().cast(pl.Float64) > evidence.policy.matching.amount_tolerance_yuan + HALF_A_CENT


def _plain(rows: pl.DataFrame) -> pl.DataFrame:
    """Return what is compared of invoices."""
    names = ("invoice_code", "invoice_number", "digital_number", "issued_at", "gross", "cleaning")
    return rows.select(name for name in names if name in rows.columns)


def _texts(prefix: str) -> list[pl.Expr]:
    """Return the compared fields, and the number, as they are told."""
    money = [_money(name).alias(f"{prefix}{name}") for name in COMPARED if name != "issued_at"]
    day = pl.col("issued_at").dt.strftime("%Y-%m-%d").fill_null("–").alias(f"{prefix}issued_at")
    return [pl.col("invoice_key").alias(f"{prefix}number"), *money, day]


def _differences(both: pl.DataFrame, side: str) -> Iterator[dict[str, Any]]:
    for row in both.iter_rows(named=True):
        if row["state"] == "mistyped":
            pair = marked(row["our_number"], row["their_number"])
            yield _part(row["row"], f"{side}_number", *pair, row["place"])
        for name in row["differences"]:
            yield _part(row["row"], f"{side}_{name}", row[f"our_{name}"], row[f"their_{name}"], row["place"])


def marked(ours: str | None, theirs: str | None) -> tuple[str, str]:
    """Return two texts, the characters in which they are unlike in brackets."""
    first, second = ours or "–", theirs or "–"
    told: tuple[list[str], list[str]] = ([], [])
    for step in Levenshtein.opcodes(first, second):
        for parts, piece in zip(
            told, (first[step.src_start : step.src_end], second[step.dest_start : step.dest_end]), strict=True
        ):
            parts.append(piece if step.tag == "equal" or not piece else piece.join(MARKS))
    first, second = ("".join(parts).replace("".join(reversed(MARKS)), "") for parts in told)
    return first, second


def _money(name: str) -> pl.Expr:
    return pl.col(name).cast(pl.String).fill_null("–").alias(name)


def _part(row: int, part: str, ours: str, theirs: str, place: str = "") -> dict[str, Any]:
    return {"row": row, "part": part, "ours": ours, "theirs": theirs, "place": place}


def _parts(parts: Iterable[dict[str, Any]]) -> pl.DataFrame:
    shape = {"row": pl.UInt32(), **{field.name: field.dtype for field in PART.fields}}
    return pl.DataFrame(list(parts), schema=shape)


CAUSES: dict[str, Callable[[ResponseEvidence], pl.DataFrame]] = {
    "register_mismatch": register_mismatch,
    "register_unchecked": register_unchecked,
    "register_gap": register_gap,
}
