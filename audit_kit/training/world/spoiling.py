"""From the true invoices and their fates to what the ledger says and what the platform lists."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from audit_kit import resources
from audit_kit.training.world import shaping
from audit_kit.training.world.dice import Dice
from audit_kit.training.world.fates import Draft, reached
from audit_kit.training.world.stream import DAY, channels, held, times

if TYPE_CHECKING:
    from audit_kit.training.world.dice import Integers

FULL_WIDTH = str.maketrans("0123456789", "０１２３４５６７８９")
CONFUSED = str.maketrans("01", "Ol")
COPY_LATER = 60  # an invoice booked twice is booked again so many rows later
ON_THE_WAY = ("nowhere", "failed", "issued", "uploaded", "platform")  # what this export does not list
PARTIES = ("seller_tax_id", "seller_name", "buyer_tax_id", "buyer_name")


@dataclass
class Book:
    """The ledger being spoilt: columns by name, one row a true invoice, and the number as the row would be cleaned."""

    frame: pl.DataFrame
    draft: Draft
    dice: Dice

    def rows(self, cause: str) -> Integers:
        """Return the invoices of a fate."""
        return np.flatnonzero(self.draft.fate == cause)

    def patch(self, rows: Integers, **columns: Any) -> None:  # noqa: ANN401  any column's values
        """Write values into rows of columns."""
        changed = (self.frame[name].scatter(rows, values) for name, values in columns.items())
        self.frame = self.frame.with_columns(*changed)

    def texts(self, rows: Integers, name: str) -> list[str]:
        """Return the text of a column in rows, empty for null."""
        return [value or "" for value in self.frame[name][rows].to_list()]


def ledger(draft: Draft) -> pl.DataFrame:
    """Return the ledger's rows in booking order, with `i` (true invoice), `clean` (the key once cleaned) and `copy`.

    Money is whole fen, `issued` is in seconds.
    """
    base = draft.base
    frame = base.select(
        "issued",
        "kind",
        "origin",
        "positive",
        "status",
        "account",
        "remark",
        "red_of",
        *PARTIES,
        pl.col("net", "tax", "gross"),
        i=pl.int_range(pl.len(), dtype=pl.UInt32),
        invoice_code=pl.when(pl.col("digital").is_null()).then("code"),
        invoice_number=pl.coalesce("digital", "number"),
        clean=pl.col("key"),
        channel=pl.Series(channels()).gather(base["channel"]),
        cleaning=pl.when(pl.Series(draft.fate == "precision_lost")).then(pl.lit(["precision_lost"])),
    )
    book = Book(frame, draft, Dice(draft.seed, "spoiling"))
    for spoil in SPOILERS:
        spoil(book)
    absent = np.isin(draft.fate, ["unbooked", "ambiguous_other"])
    kept = book.frame.filter(~pl.Series(absent))
    order = pl.col("i").cast(pl.Float64)
    again = kept.filter(pl.Series(draft.fate[kept["i"].to_numpy()] == "booked_twice"))
    return (
        pl.concat([kept.with_columns(copy=False, at=order), again.with_columns(copy=True, at=order + COPY_LATER + 0.5)])
        .sort("at", maintain_order=True)
        .drop("at")
    )


def _mistype(book: Book) -> None:
    """Replace one digit of the number, or swap two neighbours that differ."""
    rows = book.rows("number_mistyped")
    keys = [edited(key, book.dice) for key in book.texts(rows, "clean")]
    _write(book, rows, keys)


def edited(key: str, dice: Dice) -> str:
    """Return a number one edit away."""
    at = dice.one(len(key) - 1)
    if dice.one(3) == 0 and key[at] != key[at + 1]:
        return key[:at] + key[at + 1] + key[at] + key[at + 2 :]
    return key[:at] + str((int(key[at]) + 1 + dice.one(9)) % 10) + key[at + 1 :]


def _write(book: Book, rows: Integers, keys: list[str]) -> None:
    """Write numbers in the columns of the ledger: 20 digits in one, old ones in code and number."""
    old = [bool(code) for code in book.texts(rows, "invoice_code")]
    codes = [key[:-8] if is_old else None for key, is_old in zip(keys, old, strict=True)]
    numbers = [key[-8:] if is_old else key for key, is_old in zip(keys, old, strict=True)]
    book.patch(rows, invoice_code=codes, invoice_number=numbers, clean=keys)


def _invalidate(book: Book) -> None:
    """Break a hard rule: a digit too few, a digit too many, or a year that is not the year of issue."""
    rows = book.rows("number_invalid")
    made = []
    for at, key in enumerate(book.texts(rows, "clean")):
        place = 6 + book.dice.one(10)
        wrong_year = f"{key[1]}{(int(key[0]) + 5) % 10}" if key[0] == key[1] else f"9{(int(key[1]) + 3) % 10}"
        forms = (key[:place] + key[place + 1 :], key[:place] + key[place] + key[place:], wrong_year + key[2:])
        made.append(forms[at % 3])
    _write(book, rows, made)


def _lose_precision(book: Book) -> None:
    """The number was stored as a number: fifteen digits are left of twenty, in scientific notation."""
    rows = book.rows("precision_lost")
    stated = [scientific(key) for key in book.texts(rows, "clean")]
    book.patch(rows, invoice_number=stated, clean=[None] * len(rows))


def scientific(key: str) -> str:
    """Return a 20-digit number as a spreadsheet keeps and shows it."""
    return f"{key[0]}.{key[1:15]}E+{len(key) - 1}"


def _damage(book: Book) -> None:
    """Write the number so that it is equal only once cleaned, in every way that is seen."""
    rows = book.rows("number_damaged")
    codes, numbers = book.texts(rows, "invoice_code"), book.texts(rows, "invoice_number")
    made = [damaged(code, number, at) for at, (code, number) in enumerate(zip(codes, numbers, strict=True))]
    book.patch(rows, invoice_code=[code or None for code, _ in made], invoice_number=[number for _, number in made])


def damaged(code: str, number: str, way: int) -> tuple[str, str]:
    """Return code and number as somebody spoilt them, in the way numbered."""
    if code:
        short = number.lstrip("0") if number.startswith("0") else number
        old = [(f"'{code}", number), (code.translate(FULL_WIDTH), number), (code, f"{number[:4]} {number[4:]}")]
        if code.startswith("0"):
            old += [(code[1:], short), (code[1:], short)]
        return old[way % len(old)]
    ways = [
        ("", number.translate(FULL_WIDTH)),
        ("", " ".join(number[at : at + 4] for at in range(0, 20, 4))),
        ("", f"'{number}"),
        (number[:12], number[12:]),
        ("", number[:8] + number[8:].translate(CONFUSED)),
        ("", f'="{number}"'),
        ("", f"{number[:12]}-{number[12:]}"),
    ]
    return ways[way % len(ways)]


def _blur(book: Book) -> None:
    """Two invoices of one amount and day with neighbouring numbers, and one booking that could be either."""
    rows = book.rows("ambiguous")
    keys = book.texts(rows, "clean")
    _write(book, rows, [key[:-1] + _neither(key) for key in keys])


def _neither(key: str) -> str:
    """Return a last digit that is neither this number's nor the next one's."""
    return str((int(key[-1]) + 5) % 10)


def _amounts(book: Book) -> None:
    """Book another amount than the invoice's, by typing error or by an edit that was never synchronised."""
    for cause in ("amount_conflict", "edited_not_synced"):
        rows = book.rows(cause)
        rows = rows[::2] if cause == "edited_not_synced" else rows
        gross, tax = book.frame["gross"].to_numpy()[rows], book.frame["tax"].to_numpy()[rows]
        change = np.where(book.dice.below(2, len(rows)) == 1, 9, -1) * (1 + book.dice.below(90, len(rows))) * 10
        changed = np.where(gross + change > tax, gross + change, gross + 9_000)
        while (met := held(book.draft.avoided, changed, changed - tax)).any():
            changed = np.where(met, changed + 10, changed)
        book.patch(rows, gross=changed, net=changed - tax)


def _dates(book: Book) -> None:
    """Book another day, within the month."""
    rows = book.rows("date_conflict")
    issued = book.frame["issued"].to_numpy()[rows]
    day = times(issued).dt.day().to_numpy()
    step = np.where(day > 4, -1, 1) * (1 + book.dice.below(3, len(rows)))  # noqa: PLR2004
    book.patch(rows, issued=issued + step * DAY)


def _parties(book: Book) -> None:
    """Book another buyer: a wrong tax id, a wrong name, or an edited name that was never synchronised."""
    rows = book.rows("party_conflict")
    wrong = [edited_id(tax_id) for tax_id in book.texts(rows[::2], "buyer_tax_id")]
    book.patch(rows[::2], buyer_tax_id=wrong)
    names = book.frame["buyer_name"].unique(maintain_order=True).to_list()
    for chosen in (rows[1::2], book.rows("edited_not_synced")[1::2]):
        own = book.texts(chosen, "buyer_name")
        other = [names[(names.index(name) + 1) % len(names)] for name in own]
        book.patch(chosen, buyer_name=other)


def edited_id(tax_id: str) -> str:
    """Return a tax id with one digit of its own part replaced: the check digit no longer fits."""
    return tax_id[:12] + str((int(tax_id[12]) + 3) % 10) + tax_id[13:]


def _states(book: Book) -> None:
    """Book another state than the platform's."""
    conflicts = book.rows("status_conflict")
    book.patch(conflicts, status=["voided" if at % 3 else "red_part" for at in range(len(conflicts))])
    reversed_ = book.rows("red_reversed")
    book.patch(reversed_, status=["normal"] * len(reversed_))
    drafts = book.rows("not_issued")
    book.patch(drafts, status=["not_issued"] * len(drafts))
    blank = drafts[::2]
    nothing = [None] * len(blank)
    book.patch(blank, invoice_code=nothing, invoice_number=nothing, clean=nothing)


def _reuse(book: Book) -> None:
    """Write the number of an invoice of another buyer and amount, which the platform lists."""
    rows = book.rows("number_reused")
    digital = book.draft.base["digital"].is_not_null().to_numpy()
    others = book.dice.shuffle(np.flatnonzero(book.draft.seen() & digital)) if len(rows) else rows
    looks = book.frame.select("buyer_name", "gross", "clean").rows()
    keys, place = [], 0
    for row in rows:
        while looks[others[place]][0] == looks[row][0] or looks[others[place]][1] == looks[row][1]:
            place += 1
        keys.append(looks[others[place]][2])
        place += 1
    _write(book, rows, keys)


def _others(book: Book) -> None:
    """Book what no platform lists, what has no date, and what waits for a red confirmation form."""
    kinds = book.rows("elsewhere")
    words = resources.load("simulation")["elsewhere"]
    numbers = [words["number"].format(number=at) for at in 1_000_001 + book.dice.below(8_000_000, len(kinds))]
    nothing = [None] * len(kinds)
    book.patch(kinds, kind=[words["kind"]] * len(kinds), invoice_code=nothing, invoice_number=numbers, clean=nothing)
    undated = book.rows("unexplained")
    book.patch(undated, issued=[None] * len(undated))
    waiting = book.rows("red_pending")
    book.patch(waiting, status=["red_full"] * len(waiting))


SPOILERS = (
    _mistype,
    _invalidate,
    _lose_precision,
    _damage,
    _blur,
    _amounts,
    _dates,
    _parties,
    _states,
    _reuse,
    _others,
)


def platform(draft: Draft, at: int) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return what the platform lists at a time (seconds), newest first, and what a broken export cut off it.

    `i` is the true invoice. What an outage or the way there lost is never listed, nor the branch, nor another period.
    """
    listed = (draft.visible <= at) & ~reached(draft, *ON_THE_WAY)
    status = draft.base["status"].scatter(np.flatnonzero(draft.fate == "voided"), "voided")
    frame = draft.base.with_columns(status=status, i=pl.int_range(pl.len(), dtype=pl.UInt32)).with_columns(
        visible=pl.Series(draft.visible),
        cut=pl.Series(draft.fate == "export_truncated"),
        risk=pl.when(pl.Series(draft.fate == "risk_flagged")).then(
            pl.lit(resources.load("simulation")["words"]["risk"])
        ),
    )
    frame = frame.filter(pl.Series(listed)).sort("issued", "i", descending=True)
    return frame.filter(~pl.col("cut")), frame.filter("cut")


def canonical(frame: pl.DataFrame, table: str, source: str) -> pl.DataFrame:
    """Return rows as a canonical table; fen become yuan, seconds become times."""
    frame = frame.with_columns(
        *((pl.col(name) / 100).alias(name) for name in ("net", "tax", "gross")),
        issued_at=times(frame["issued"].to_numpy()),
        date_only=pl.lit(value=False),
        remark=pl.when(pl.col("remark") != "").then("remark"),
    )
    return shaping.shaped(frame, table, source=source)
