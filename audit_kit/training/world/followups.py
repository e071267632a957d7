"""What people did about the invoices: operations, questions to other sources, tickets, the register by hand."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from audit_kit import resources
from audit_kit.core import schema
from audit_kit.training.world import parties, shaping, spoiling
from audit_kit.training.world.dice import Dice
from audit_kit.training.world.logs import exporter
from audit_kit.training.world.stream import DAY, HOUR, times

if TYPE_CHECKING:
    from audit_kit.training.world.dice import Integers
    from audit_kit.training.world.fates import Draft

ASKED = {"lost": "agree", "late": "agree", "not_issued": "absent", "number_invalid": "absent", "": "agree"}
NOT_THERE = ("lost", "late")  # the verification page would not have them either
ANSWERED = {
    "exists_not_listed": ("national", "agree"),
    "unknown_to_authority": ("national", "absent"),
    "issued_to_other": ("counterparty", "differ"),
}  # all of them were asked for
EACH = 6  # questions asked about each of them
TICKETS = 12
REGISTERED = 10
HOURS_TO_ANSWER = (24, 8, 24, 72)  # by level, as schema.TICKET_LEVELS
NAMES = ("at", "account", "action", "invoice_number", "field", "before", "after", "result")


def operations(draft: Draft, ledger: pl.DataFrame) -> pl.DataFrame:
    """Return what was done: edits that were never synchronised, voids, red invoices, resends, logins, the export."""
    words = resources.load("simulation")["words"]
    blue = draft.column("blue")
    reds = np.flatnonzero(blue >= 0)
    resent = np.flatnonzero(draft.fate == "upload_failed")[::3]
    voided = np.flatnonzero(draft.fate == "voided")
    first = int(draft.column("issued")[0]) // DAY * DAY
    mornings = first + np.arange((draft.taken - first) // DAY + 1) * DAY + 8 * HOUR + 1_800
    mornings = mornings[mornings < draft.taken]
    frame = pl.concat(
        [
            _edits(draft, ledger, words),
            _deeds(draft, "void", voided, voided, wait=2 * HOUR, result=words["success"]),
            _deeds(draft, "resend", resent, resent, wait=26 * HOUR, result=words["failed"]),
            _deeds(draft, "red", reds, blue[reds], wait=0, result=words["success"]),
            _exporting("login", mornings, words["success"]),
            _exporting("export", np.array([draft.taken]), words["success"]),
        ],
        how="diagonal_relaxed",
    ).sort("at", "account", "action", "invoice_number", maintain_order=True)
    columns = {name: frame[name] for name in NAMES}
    return shaping.listed("operations", columns | {"at": times(frame["at"].to_numpy())})


def _edits(draft: Draft, ledger: pl.DataFrame, words: dict[str, Any]) -> pl.DataFrame:
    """Return the edits of which the platform never heard: amount or buyer, old and new."""
    rows = np.flatnonzero(draft.fate == "edited_not_synced")
    true = draft.base.select("account", "key", "gross", "buyer_name")[rows]
    booked = ledger.select("i", "gross", "buyer_name").filter(pl.col("i").is_in(pl.Series(rows).implode()))
    at = np.minimum(draft.visible[rows].astype(np.int64) + HOUR, draft.taken - 120)
    made = []
    for moment, was, now in zip(at, true.iter_rows(named=True), booked.iter_rows(named=True), strict=True):
        money = was["gross"] != now["gross"]
        field = words["gross"] if money else words["buyer"]
        values = [f"{one['gross'] / 100:.2f}" if money else one["buyer_name"] for one in (was, now)]
        made.append((int(moment), was["account"], "edit", was["key"], field, *values, words["saved"]))
    return pl.DataFrame(made, schema={"at": pl.Int64()} | dict.fromkeys(NAMES[1:], pl.String()), orient="row")


def _deeds(draft: Draft, action: str, rows: Integers, on: Integers, *, wait: int, result: str) -> pl.DataFrame:
    """Return an action that the issuers of `rows` did on the invoices `on`, some time after the issue."""
    return draft.base.select("issued", "account")[rows].select(
        "account",
        at=pl.min_horizontal(pl.col("issued") + wait, pl.lit(draft.taken - 90)),
        action=pl.lit(action),
        invoice_number=draft.base["key"].gather(on),
        result=pl.lit(result),
    )


def _exporting(action: str, at: Integers, result: str) -> pl.DataFrame:
    """Return what the exporting account did."""
    return pl.DataFrame({"at": at}).with_columns(
        account=pl.lit(exporter(0)), action=pl.lit(action), result=pl.lit(result)
    )


def confirmations(draft: Draft) -> pl.DataFrame:
    """Return what other sources said of invoices that could not be found, and of a few that could."""
    dice = Dice(draft.seed, "confirmations")
    late = (draft.visible > draft.taken) & (draft.fate == "")
    rows: list[tuple[Any, ...]] = []
    at: list[int] = []
    for cause, result in ASKED.items():
        some = np.flatnonzero(late if cause == "late" else draft.fate == cause)
        for place, i in enumerate(dice.sample(some, EACH)):
            source = schema.CONFIRMATION_SOURCES[place % 4]
            word = "over_limit" if source == "national" and (place or cause in NOT_THERE) else result
            rows.append((draft.base["key"][int(i)], source, word, f"QR-{len(rows) + 1:04d}.pdf"))
            at.append(draft.taken - 6 * HOUR + dice.one(5 * HOUR))
    for cause, (source, result) in ANSWERED.items():
        for i in np.flatnonzero(draft.fate == cause):
            rows.append((draft.base["key"][int(i)], source, result, _answer(cause, len(rows))))
            at.append(draft.taken - 6 * HOUR + dice.one(5 * HOUR))
    columns = shaping.transposed(rows, ("invoice_number", "source", "result", "evidence"))
    return shaping.listed("confirmations", columns | {"at": times(np.array(at, dtype=np.int64))})


def _answer(cause: str, place: int) -> str:
    """Return what was kept of an answer: a picture, or the words of the counterparty."""
    if cause != "issued_to_other":
        return f"QR-{place + 1:04d}.pdf"
    [other] = parties.companies(1, Dice(place // EACH, "other seller"), resources.load("simulation")["names"], mark="")
    return str(resources.load("simulation")["words"]["other_seller"].format(tax_id=other.tax_id))


def red_forms(draft: Draft) -> pl.DataFrame:
    """Return the red confirmation forms that still wait, or lapsed, of what the ledger reversed too early."""
    rows = np.flatnonzero(draft.fate == "red_pending")
    true = draft.base.select("key", "net", "tax")[rows]
    applied = np.maximum(draft.column("issued")[rows] + 2 * HOUR, draft.taken - 6 * DAY)
    old = applied + 3 * DAY < draft.taken
    return shaping.listed(
        "red_confirmations",
        {
            "form": [f"110125{at:014d}" for at in rows],
            "invoice_number": true["key"].to_list(),
            "state": ["lapsed" if late else "waiting_for_buyer" for late in old],
            "applied_at": times(applied),
            "net": (-true["net"] / 100).to_list(),
            "tax": (-true["tax"] / 100).to_list(),
        },
    )


def tickets(draft: Draft) -> pl.DataFrame:
    """Return tickets on missing invoices, some past their due time."""
    missing = np.flatnonzero(np.isin(draft.fate, ["lost", "upload_failed", "batch_lost", "outage"]))
    chosen = Dice(draft.seed, "tickets").sample(missing, TICKETS)
    opened = np.minimum(draft.column("issued")[chosen] + 30 * HOUR, draft.taken - 2 * HOUR)
    place = np.arange(len(chosen))
    return shaping.listed(
        "tickets",
        {
            "ticket": [f"GD{at + 1:05d}" for at in place],
            "invoice_number": draft.base["key"].gather(chosen),
            "level": [schema.TICKET_LEVELS[at % 4] for at in place],
            "opened_at": times(opened),
            "updated_at": times(np.minimum(opened + 5 * HOUR, draft.taken)),
            "due_at": times(opened + np.array(HOURS_TO_ANSWER)[place % 4] * HOUR),
            "state": [schema.TICKET_STATES[at % 4] for at in place],
            "outcome": [None] * len(chosen),
        },
    )


def register(draft: Draft, ledger: pl.DataFrame) -> pl.DataFrame:
    """Return what was written down by hand during the outage: one checked by its own writer, one read differently."""
    drawers = resources.load("simulation")["names"]["drawers"]
    rows = ledger.filter(pl.Series(draft.fate[ledger["i"].to_numpy()] == "outage")).head(REGISTERED)
    place = pl.int_range(pl.len())
    number = pl.col("invoice_number")
    frame = rows.with_columns(
        entered_by=pl.lit(drawers[3]),
        checked_by=pl.when(place == 1).then(pl.lit(drawers[3])).otherwise(pl.lit(drawers[4])),
        checked_number=pl.when(place == 2).then(number.str.head(-1) + "X").otherwise(number),  # noqa: PLR2004
        checked_gross=(pl.col("gross") + pl.when(place == 3).then(100).otherwise(0)) / 100,  # noqa: PLR2004
    ).drop("serial", "voucher", strict=False)
    return spoiling.canonical(frame, "register", "register.csv")
