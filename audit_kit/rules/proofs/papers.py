"""What a paper about an invoice shows: the file itself, a sister company's export, the counterparty's words."""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl
from rapidfuzz.distance import OSA

from audit_kit.core.identity import fold_name, fold_tax_id

if TYPE_CHECKING:
    from collections.abc import Iterable

PARTIES = ("seller_tax_id", "seller_name", "buyer_tax_id", "buyer_name")
TAX_IDS = ("seller_tax_id", "buyer_tax_id")
PROOF = {"proof": pl.String(), "proof_row": pl.UInt32()}
PAPER = {
    "invoice_key": pl.String(),
    **dict.fromkeys(PARTIES, pl.String()),
    "gross": pl.Decimal(18, 2),
    "issued_at": pl.Datetime("us"),
    **PROOF,
}
SOCIAL_CODE = 18  # characters
OLD_START, OLD_LENGTH = 2, 15  # where a social credit code holds the registration of before
FEW_EDITS = 4  # a number that is further off is another number
_NUMBER = r"[0-9]{20}"
# Whom a counterparty's words speak of, and the tax id that follows.
_ID = r"[^0-9A-Za-z]{0,40}?([0-9A-Za-z]{15,20})(?:[^0-9A-Za-z]|$)"
_SPOKEN = {
    "buyer": r"(?i)(?:购买?方|购货方|购货单位|受票方|抬头|买方|buyer)" + _ID,
    "seller": r"(?i)(?:销售?方|销货方|销货单位|开票方|卖方|seller)" + _ID,
}


def papers(frame: pl.DataFrame) -> pl.DataFrame:
    """Return the invoices that a source shows: PAPER. `proof` is the file, `proof_row` its row where it is a table.

    Args:
        frame: with `invoice_key` and whichever of the columns there are; a row with a `path` is a file by itself.
    """
    named = [name for name in ("path", "source_file") if name in frame.columns]
    alone = pl.col("source_row").is_null() if "source_row" in frame.columns else pl.lit(value=True)
    own = [pl.when(alone).then("source_file")] if "source_file" in named else []
    frame = frame.with_columns(
        proof=pl.coalesce(*own, *named) if named else pl.lit(None, pl.String),
        proof_row="source_row" if "source_row" in frame.columns and "path" not in named else pl.lit(None, pl.UInt32),
    )
    known = [pl.col(name) if name in frame.columns else pl.lit(None).alias(name) for name in PAPER]
    return frame.select(known).cast(pl.Schema(PAPER)).filter(pl.col("invoice_key").is_not_null())


def spoken(answers: pl.DataFrame) -> pl.DataFrame:
    """Return what counterparties said of the parties, as papers: a tax id behind the word for a buyer or seller.

    `answers`: see `confirmed.answers`. Returns `row`, PARTIES, PROOF.
    """
    told = answers.filter((pl.col("source") == "counterparty") & (pl.col("result") == "differ"))
    text = pl.col("evidence").str.normalize("NFKC")
    ids = {f"{side}_tax_id": text.str.extract(pattern) for side, pattern in _SPOKEN.items()}
    names = {name: pl.lit(None, pl.String) for name in ("seller_name", "buyer_name")}
    said = told.select("row", **ids, **names, proof="answer_file", proof_row="answer_row")
    return said.select("row", *PARTIES, *PROOF)


def another(
    rows: pl.DataFrame, shown: pl.DataFrame, *, side: str, own_ids: Iterable[str], own_name: str | None
) -> pl.DataFrame:
    """Return the rows of which a paper names another party than the audited taxpayer, with that paper.

    Tax ids are compared folded, and one of 15 characters with the social credit code that holds it. Where the paper
    has no tax id, another name than the ledger's and the taxpayer's is only a hint. What one of several papers calls
    ours is ours, and a party that the ledger names too is no news.

    Args:
        rows: `row`, and the ledger's `{side}_tax_id`, `{side}_name`.
        shown: `row`, PARTIES, PROOF.
        side: buyer or seller.
        own_ids: the taxpayer's ids, as stated.
        own_name: its name.

    Returns:
        `row`, `party` (name and tax id), PROOF, `certain` (the tax id says so).
    """
    tax_id, name = f"{side}_tax_id", f"{side}_name"
    own = pl.select(core_id(pl.lit(pl.Series(list(own_ids), dtype=pl.String)))).to_series().drop_nulls()
    own_called = pl.select(fold_name(pl.lit(own_name, pl.String))).item()
    booked = rows.select("row", booked=core_id(pl.col(tax_id)), booked_name=fold_name(pl.col(name)))
    pairs = shown.with_columns(theirs=core_id(pl.col(tax_id)), called=fold_name(pl.col(name))).join(
        booked, on="row", how="inner", maintain_order="left"
    )
    names = pl.concat_list("booked_name", pl.lit(own_called, pl.String)).list.drop_nulls()
    ids = pl.concat_list("booked", pl.lit(own.to_list(), pl.List(pl.String))).list.drop_nulls()
    same_id, same_name = ids.list.contains(pl.col("theirs")), names.list.contains(pl.col("called"))
    pairs = pairs.with_columns(
        certain=pl.col("theirs").is_not_null(),
        mine=pl.when(pl.col("theirs").is_not_null()).then(same_id).otherwise(same_name).fill_null(value=False),
        compared=pl.when(pl.col("theirs").is_not_null())
        .then(ids.list.len() > 0)
        .otherwise(pl.col("called").is_not_null() & (names.list.len() > 0)),
    )
    found = pairs.filter(~pl.col("mine").any().over("row"), pl.col("compared"))
    found = found.sort("certain", descending=True, maintain_order=True).unique("row", keep="first", maintain_order=True)
    party = pl.concat_str(name, tax_id, separator=" ", ignore_nulls=True)
    return found.select("row", *PROOF, "certain", party=party)


def renumbered(missing: pl.DataFrame, unbooked: pl.DataFrame, files: pl.DataFrame) -> pl.DataFrame:
    """Return the missing rows whose e-invoice bears another number, under which the platform lists it.

    Amount and day of file, ledger and platform are the same, and so is each tax id that both sides state. The file is
    the row's own if its name holds the ledger's number; else if no other missing row and no other unbooked one has
    that day and amount, and the number is a few edits away or, by a file of its own, belongs to another invoice.

    Args:
        missing: `row`, `invoice_key`, `issued_at`, `gross`, PARTIES.
        unbooked: the same, and `listed_row`, the platform's row.
        files: PAPER.

    Returns:
        `row`, `right` (the number), `right_row` (the platform's row), `right_at` (`row` of the unbooked one), PROOF.
    """
    day, what = pl.col("issued_at").dt.date().alias("day"), ["day", "gross"]
    ours = missing.with_columns(day, alike=pl.len().over(day, "gross"))
    theirs = unbooked.with_columns(day, alike=pl.len().over(day, "gross"))
    shown = files.select("invoice_key", day, "gross", *PROOF, named=pl.col("proof").str.extract_all(_NUMBER))
    listed = theirs.join(shown, on=["invoice_key", *what], how="inner", maintain_order="left")
    by_name = ours.join(
        listed.explode("named").filter(pl.col("named") != pl.col("invoice_key")),
        left_on=["invoice_key", *what],
        right_on=["named", *what],
        how="inner",
        suffix="_listed",
        coalesce=False,
        maintain_order="left_right",
    )
    alone = ours.filter(pl.col("alike") == 1).join(
        listed.filter(pl.col("alike") == 1), on=what, how="inner", suffix="_listed", maintain_order="left_right"
    )
    others = files.join(ours.select("invoice_key", booked="gross"), on="invoice_key", how="inner")
    elsewhere = others.filter(pl.col("gross") != pl.col("booked"))["invoice_key"]
    near = [_is_near(*numbers) for numbers in alone.select("invoice_key", "invoice_key_listed").iter_rows()]
    alone = alone.filter(pl.Series(near, dtype=pl.Boolean) | pl.col("invoice_key").is_in(elsewhere.implode()))
    columns = [f"{name}{side}" for name in ("row", "invoice_key", *TAX_IDS) for side in ("", "_listed")]
    columns += ["listed_row", *PROOF]
    pairs = pl.concat([by_name.select(columns), alone.select(columns)])
    for name in TAX_IDS:
        pairs = pairs.filter((core_id(pl.col(name)) == core_id(pl.col(f"{name}_listed"))).fill_null(value=True))
    pairs = pairs.unique(["row", "row_listed"], keep="first", maintain_order=True)
    single = (pl.len().over("row") == 1) & (pl.len().over("row_listed") == 1)
    return pairs.filter(single).select(
        "row", *PROOF, right="invoice_key_listed", right_row="listed_row", right_at="row_listed"
    )


def _is_near(number: str | None, other: str) -> bool:
    return number is not None and OSA.distance(number, other, score_cutoff=FEW_EDITS) <= FEW_EDITS


def core_id(tax_id: pl.Expr) -> pl.Expr:
    """Return a tax id as taxpayers are compared: folded; of a social credit code the old registration in it."""
    folded = fold_tax_id(tax_id)
    inner = folded.str.slice(OLD_START, OLD_LENGTH)
    return pl.when(folded.str.len_chars() == SOCIAL_CODE).then(inner).otherwise(folded)
