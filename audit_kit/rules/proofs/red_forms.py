"""What red confirmation forms 红字确认单 say of red invoices, and of blue ones that are booked as reversed.

A red 数电票 can be issued only once its form is confirmed or needs no confirmation; a form that the other side does not
confirm within 72 hours is void. So a red invoice whose form waits, lapsed or was refused does not exist, and the blue
one is not reversed.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import polars as pl

from audit_kit import resources
from audit_kit.rules.proofs.deeds import plain_number

if TYPE_CHECKING:
    from datetime import datetime

TO_CONFIRM = timedelta(hours=72)
CENT = 0.01
CONFIRMED, UNREAD, OVERDUE = "confirmed", "unread", "overdue"
NOT_SAID = (CONFIRMED, UNREAD)
ALL = float("inf")  # an amount that is not known covers the whole invoice
FORMS = {
    "form": pl.String(),
    "blue": pl.String(),
    "form_state": pl.String(),
    "means": pl.String(),
    "moment": pl.Datetime("us"),
    "applied": pl.Datetime("us"),
    "form_net": pl.Float64(),
    "form_amount": pl.Float64(),
    "form_file": pl.String(),
    "form_row": pl.UInt32(),
    "turn": pl.Int64(),
}


def forms(red_confirmations: pl.DataFrame, taken_at: datetime) -> pl.DataFrame:
    """Return the forms as they stood when the export was taken: see FORMS; amounts without their sign.

    `means`: confirmed, waiting, overdue (it waits, and the 72 hours were over by then), lapsed, refused, withdrawn,
    void, draft, not_accepted, or unread.
    """
    states = resources.load("vocabularies")["red_form_states"]
    means = {word: entry["means"].replace("unknown", UNREAD) for word, entry in states.items()}
    state = pl.col("state").cast(pl.String)
    says = state.replace_strict(means, default=UNREAD).fill_null(UNREAD)
    over = (says == "waiting") & (pl.col("applied_at") + TO_CONFIRM < taken_at).fill_null(value=False)
    table = red_confirmations.with_columns(turn=pl.int_range(pl.len()).cast(pl.Int64))
    return table.select(
        plain_number("form"),
        blue=plain_number("invoice_number"),
        form_state=state,
        means=pl.when(over).then(pl.lit(OVERDUE)).otherwise(says),
        moment=pl.max_horizontal("applied_at", "confirmed_at"),
        applied="applied_at",
        form_net=pl.col("net").cast(pl.Float64).abs(),
        form_amount=(pl.col("net") + pl.col("tax")).cast(pl.Float64).abs(),
        form_file="source_file",
        form_row="source_row",
        turn="turn",
    ).cast(pl.Schema(FORMS))


def of_red_rows(known: pl.DataFrame, reds: pl.DataFrame) -> pl.DataFrame:
    """Return the form that counts for each red row: `row`, then FORMS; rows of which no form speaks are left out.

    A form speaks of a red row where the row's remark names it, or where both name the same blue invoice and their
    amounts agree or one of them is not known. A form that is named comes first, then one whose amount agrees; of
    several the latest counts.

    Args:
        known: see `forms`.
        reds: `row`, `blue` (key or null), `gross`, `net`, `remark`.
    """
    named = reds.select("row", "gross", "net", form=pl.col("remark").str.extract_all(r"[0-9A-Za-z]{8,}")).explode(
        "form"
    )
    by_form = named.drop_nulls("form").join(known.drop_nulls("form"), on="form", how="inner")
    by_blue = (
        reds.select("row", "blue", "gross", "net")
        .drop_nulls("blue")
        .join(known.drop_nulls("blue"), on="blue", how="inner")
    )
    gross, net = (pl.col(name).cast(pl.Float64).abs() for name in ("gross", "net"))
    stated = pl.coalesce("form_amount", "form_net")
    ours = pl.when(pl.col("form_amount").is_null()).then(pl.coalesce(net, gross)).otherwise(gross)
    fit = pl.when((stated - ours).abs() <= CENT).then(1).when(stated.is_null() | ours.is_null()).then(2)
    fitting = pl.concat(
        [by_form.with_columns(fit=pl.lit(0)), by_blue.with_columns(fit=fit)], how="diagonal_relaxed"
    ).drop_nulls("fit")
    order = fitting.sort("fit", "moment", "turn", descending=[True, False, False], nulls_last=False)
    return order.unique("row", keep="last", maintain_order=True).sort("row").select("row", *FORMS)


def of_blue_rows(known: pl.DataFrame, marked: pl.DataFrame, proved: pl.DataFrame) -> pl.DataFrame:
    """Return the form that keeps a blue row from being reversed though it is booked so: `row`, then FORMS.

    The latest form of each amount counts. None keeps it from being reversed where a confirmed form, or a red invoice
    on the platform, covers what is booked; where they cover a part of what is booked as reversed in full, one that
    still waits does.

    Args:
        known: see `forms`.
        marked: `row`, `blue` (its own key), `gross`, `status` of rows booked as reversed.
        proved: `blue`, `reversed` (yuan, or null where not known) of red invoices on the platform.
    """
    last = known.drop_nulls("blue").sort("moment", "turn", nulls_last=False)
    last = last.unique(["blue", "form_amount"], keep="last", maintain_order=True)
    agreed = last.filter(pl.col("means") == CONFIRMED).group_by("blue").agg(agreed=_sum("form_amount").fill_null(ALL))
    covered = agreed.join(proved.with_columns(pl.col("reversed").fill_null(ALL)), on="blue", how="full", coalesce=True)
    covered = covered.with_columns(covered=pl.lit(value=True))
    rows = marked.join(last.filter(~pl.col("means").is_in(NOT_SAID)), on="blue", how="inner")
    rows = rows.join(covered, on="blue", how="left")
    some = pl.max_horizontal("agreed", "reversed") < pl.col("gross").cast(pl.Float64).abs() - CENT
    booked_whole = (pl.col("status") != "red_part").fill_null(value=True)
    waits = pl.col("means").is_in(["waiting", OVERDUE, "draft"])
    open_ = pl.col("covered").is_null() | (some.fill_null(value=False) & booked_whole & waits)
    order = rows.filter(open_).sort("moment", "turn", nulls_last=False)
    return order.unique("row", keep="last", maintain_order=True).sort("row").select("row", *FORMS)


def red_sums(invoices: pl.DataFrame) -> pl.DataFrame:
    """Return what red invoices in a list reverse: `blue`, `reversed` (yuan, null where an amount is not known)."""
    if "red_of" not in invoices.columns or invoices.is_empty():
        return pl.DataFrame(schema={"blue": pl.String, "reversed": pl.Float64})
    reds = invoices.filter(pl.col("red_of").is_not_null() & is_red())
    amounts = reds.select(blue=plain_number("red_of"), gross=pl.col("gross").cast(pl.Float64).abs())
    return amounts.group_by("blue", maintain_order=True).agg(reversed=_sum("gross"))


def _sum(column: str) -> pl.Expr:
    """Return the sum of yuan; null where one of them is not known."""
    return pl.when(pl.col(column).is_not_null().all()).then(pl.col(column).sum()).round(2)


def is_red() -> pl.Expr:
    """Return whether a row is a red invoice: said so, or of a negative amount."""
    return (pl.col("positive").not_() | (pl.col("gross") < 0) | (pl.col("net") < 0)).fill_null(value=False)
