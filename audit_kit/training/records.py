"""What else an auditor gets: the sync log, accounts, operations, confirmations, tickets, the substitute system."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from audit_kit import resources, schema
from audit_kit.training.dice import Dice
from audit_kit.training.stream import DAY, HOUR, channels, times

if TYPE_CHECKING:
    from audit_kit.training.dice import Integers
    from audit_kit.training.fates import Draft
    from audit_kit.training.parties import Company

BATCH = 50  # invoices in an upload batch


@dataclass(frozen=True)
class Events:
    """Events of the sync log before they become a table: true invoice, word, seconds."""

    i: Integers
    word: str
    at: Any
    code: str | None = None
    message: str | None = None


def _table(table: str, columns: dict[str, Any]) -> pl.DataFrame:
    """Return columns as a canonical table; `source_row` is where the row stands in a file with one header."""
    types = schema.dtypes(table)
    frame = pl.DataFrame(columns, schema={name: types[name] for name in columns}, strict=False)
    frame = frame.with_columns(
        source_file=pl.lit(f"{table}.csv"), source_row=pl.int_range(pl.len(), dtype=pl.UInt32) + 2
    )
    missing = [pl.lit(None, dtype=dtype).alias(name) for name, dtype in types.items() if name not in frame.columns]
    return frame.with_columns(missing).select(pl.col(name).cast(dtype) for name, dtype in types.items())


def sync_log(draft: Draft) -> pl.DataFrame:
    """Return the events of every invoice: issued, uploaded, then received and visible where it got so far."""
    issued, fate = draft.column("issued"), draft.fate
    dice = Dice(draft.seed, "sync log")
    everyone = np.arange(len(issued))
    sent = issued + 1 + dice.below(20, len(issued))
    real = everyone[fate != "not_issued"]
    failed = everyone[fate == "upload_failed"]
    uploaded = everyone[~np.isin(fate, ["not_issued", "upload_failed", "not_migrated_back", "only_in_backup"])]
    gone = ["outside_export", "no_permission"]
    arrived = everyone[(draft.visible <= draft.taken) & (~_never(draft) | np.isin(fate, gone))]
    stumbled = dice.sample(arrived, len(arrived) // 150)
    words = resources.load("simulation")["words"]
    seen = draft.visible[arrived].astype(np.int64)
    before = np.maximum(sent[arrived], seen - 1 - dice.below(30, len(arrived)))
    events = [
        Events(real, "issued", issued[real]),
        Events(failed, "failed", sent[failed] + 30, words["failed_code"], words["failed"]),
        Events(stumbled, "failed", issued[stumbled], words["failed_code"], words["failed"]),
        Events(uploaded, "uploaded", sent[uploaded]),
        Events(arrived, "received", before),
        Events(arrived, "visible", seen),
    ]
    return _log(draft, events)


def _never(draft: Draft) -> np.ndarray[Any, np.dtype[np.bool_]]:
    from audit_kit.training.fates import ABSENT  # noqa: PLC0415

    return np.isin(draft.fate, ABSENT)


def _log(draft: Draft, events: list[Events]) -> pl.DataFrame:
    """Put events in order of time and name their invoices, channels and batches."""
    at = np.concatenate([event.at for event in events])
    who = np.concatenate([event.i for event in events])
    which = np.concatenate([np.full(len(event.i), place) for place, event in enumerate(events)])
    order = np.lexsort((which, who, at))
    who, which = who[order], which[order]
    batch = _batches(draft)
    frame = pl.DataFrame(
        {
            "invoice_number": draft.base["key"].gather(who),
            "event": pl.Series([event.word for event in events]).gather(which),
            "at": times(at[order]),
            "channel": pl.Series(channels()).gather(draft.base["channel"].gather(who)),
            "batch": batch.gather(who),
            "error_code": pl.Series([event.code for event in events], dtype=pl.String).gather(which),
            "message": pl.Series([event.message for event in events], dtype=pl.String).gather(which),
        }
    )
    return _table("sync_log", {name: frame[name] for name in frame.columns})


def _batches(draft: Draft) -> pl.Series:
    """Number the upload batches: so many of a channel in a row; a lost run is one batch."""
    rank = draft.base.select(pl.int_range(pl.len()).over("channel") // BATCH).to_series()
    prefixes = pl.Series([law["prefix"] for law in resources.load("simulation")["channels"].values()])
    names = prefixes.gather(draft.base["channel"]) + rank.cast(pl.String).str.zfill(6)
    lost = np.flatnonzero(draft.batch < 0)
    own = [f"{names[int(row)]}X{-int(draft.batch[row])}" for row in lost]
    return names.scatter(lost, own) if len(lost) else names


def accounts(draft: Draft, owners: list[Company], start: int) -> pl.DataFrame:
    """Return who may do what: the exporting account of the head office, its issuers, and an unusable branch account."""
    words = resources.load("simulation")
    roles, drawers = words["words"]["roles"], words["names"]["drawers"]
    full, issue = words["words"]["grants_full"], words["words"]["grants_issue"]
    way = draft.seed % 3
    branch = [
        (exporter(1), drawers[1], owners[1].tax_id, roles[1], full, "locked", None),
        (exporter(1), drawers[1], owners[1].tax_id, roles[1], full, "active", start - 40 * DAY),
        (exporter(1), drawers[1], owners[1].tax_id, roles[2], issue, "active", None),
    ][way]
    rows = [
        (exporter(0), drawers[0], owners[0].tax_id, roles[1], full, "active", None),
        ("CW0001", drawers[2], owners[0].tax_id, roles[0], full, "active", None),
        ("KP0099", drawers[3], owners[0].tax_id, roles[2], issue, "active", None),
        ("BS0098", drawers[4], owners[0].tax_id, roles[1], full, "frozen", None),
        branch,
    ]
    used = draft.base.select("account", "owner").unique(maintain_order=True).sort("account")
    rows += [
        (account, drawers[at % len(drawers)], owners[owner].tax_id, roles[2], issue, "active", None)
        for at, (account, owner) in enumerate(used.iter_rows())
    ]
    names = ("account", "holder", "tax_id", "role", "grants", "status")
    columns: dict[str, Any] = {name: [row[at] for row in rows] for at, name in enumerate(names)}
    columns["valid_from"] = times(np.full(len(rows), start - 500 * DAY))
    columns["valid_to"] = times(np.array([np.nan if row[6] is None else row[6] for row in rows], dtype=np.float64))
    return _table("accounts", columns)


def exporter(owner: int) -> str:
    """Return the account that exports for a taxpayer."""
    return f"BS000{owner + 1}"


def operations(draft: Draft, ledger: pl.DataFrame) -> pl.DataFrame:
    """Return what people did: edits that were never synchronised, voids, red invoices, resends, logins, the export."""
    words = resources.load("simulation")["words"]
    base, fate = draft.base, draft.fate
    issued, accounts_ = draft.column("issued"), base["account"]
    by_i = dict(zip(ledger["i"], range(len(ledger)), strict=True))
    rows: list[tuple[Any, ...]] = []
    for i in np.flatnonzero(fate == "edited_not_synced"):
        book = ledger.row(by_i[int(i)], named=True)
        money = book["gross"] != base["gross"][int(i)]
        before = f"{base['gross'][int(i)] / 100:.2f}" if money else base["buyer_name"][int(i)]
        after = f"{book['gross'] / 100:.2f}" if money else book["buyer_name"]
        field = words["gross"] if money else words["buyer"]
        at = min(int(draft.visible[i]) + HOUR, draft.taken - 120)
        rows.append((at, accounts_[int(i)], "edit", base["key"][int(i)], field, before, after, words["saved"]))
    for cause, action, wait in (("voided", "void", 2 * HOUR), ("upload_failed", "resend", 26 * HOUR)):
        result = words["success"] if action == "void" else words["failed"]
        rows += [
            (
                min(int(issued[i]) + wait, draft.taken - 90),
                accounts_[int(i)],
                action,
                base["key"][int(i)],
                *_NONE,
                result,
            )
            for i in np.flatnonzero(fate == cause)[:: 1 if action == "void" else 3]
        ]
    blue = draft.column("blue")
    reds = np.flatnonzero(blue >= 0)
    rows += [
        (int(issued[i]), accounts_[int(i)], "red", base["key"][int(blue[i])], *_NONE, words["success"]) for i in reds
    ]
    for day in range(1 + (draft.taken - int(issued[0])) // DAY):
        at = int(issued[0]) // DAY * DAY + day * DAY + 8 * HOUR + 1_800 + (day * 977) % 600
        if at < draft.taken:
            rows.append((at, exporter(0), "login", None, *_NONE, words["success"]))
    rows.append((draft.taken, exporter(0), "export", None, *_NONE, words["success"]))
    rows.sort(key=lambda row: (row[0], row[1], row[2], row[3] or ""))
    names = ("account", "action", "invoice_number", "field", "before", "after", "result")
    columns: dict[str, Any] = {"at": times(np.array([row[0] for row in rows], dtype=np.int64))}
    columns |= {name: [row[at + 1] for row in rows] for at, name in enumerate(names)}
    return _table("operations", columns)


_NONE = (None, None, None)


def confirmations(draft: Draft) -> pl.DataFrame:
    """Return what other sources said of invoices that could not be found, and of a few that could."""
    dice = Dice(draft.seed, "confirmations")
    asked = {"lost": "agree", "late": "agree", "not_issued": "absent", "number_invalid": "absent", "": "agree"}
    rows: list[tuple[Any, ...]] = []
    late = ~(draft.visible <= draft.taken) & (draft.fate == "")
    for cause, result in asked.items():
        some = np.flatnonzero(late if cause == "late" else draft.fate == cause)
        for at, i in enumerate(dice.sample(some, 6)):
            source = schema.CONFIRMATION_SOURCES[at % 4]
            word = "over_limit" if source == "national" and at % 8 == 4 else result  # noqa: PLR2004
            when = draft.taken - 6 * HOUR + dice.one(5 * HOUR)
            rows.append((draft.base["key"][int(i)], source, word, when, f"QR-{len(rows) + 1:04d}.pdf"))
    names = ("invoice_number", "source", "result")
    columns: dict[str, Any] = {name: [row[at] for row in rows] for at, name in enumerate(names)}
    columns["at"] = times(np.array([row[3] for row in rows], dtype=np.int64))
    columns["evidence"] = [row[4] for row in rows]
    return _table("confirmations", columns)


def tickets(draft: Draft) -> pl.DataFrame:
    """Return tickets on missing invoices, some past their due time."""
    dice = Dice(draft.seed, "tickets")
    missing = np.flatnonzero(np.isin(draft.fate, ["lost", "upload_failed", "batch_lost", "outage"]))
    chosen = dice.sample(missing, 12)
    opened = np.minimum(draft.column("issued")[chosen] + 30 * HOUR, draft.taken - 2 * HOUR)
    waits = np.array([24, 8, 24, 72])
    place = np.arange(len(chosen))
    states = np.array(["open", "waiting", "solved", "closed"])[place % 4]
    return _table(
        "tickets",
        {
            "ticket": [f"GD{at + 1:05d}" for at in place],
            "invoice_number": draft.base["key"].gather(chosen),
            "level": [schema.TICKET_LEVELS[at % 4] for at in place],
            "opened_at": times(opened),
            "updated_at": times(np.minimum(opened + 5 * HOUR, draft.taken)),
            "due_at": times(opened + waits[place % 4] * HOUR),
            "state": states.tolist(),
            "outcome": [None] * len(chosen),
        },
    )


def metrics(draft: Draft, start: int) -> pl.DataFrame:
    """Return hourly measurements of two machines; during a real stop the queue and the processor rise."""
    hours = np.arange(start, draft.taken, HOUR)
    dice = Dice(draft.seed, "metrics")
    busy = np.zeros(len(hours), dtype=bool)
    for window in draft.windows:
        busy |= window.real & (hours >= window.start - HOUR) & (hours < window.end)
    parts = []
    for host in ("kp-01", "kp-02"):
        for metric in ("cpu", "memory", "disk"):
            grow = 0.55 + 0.3 * np.arange(len(hours)) / max(len(hours), 1) if metric == "disk" else 0.35
            value = np.round(grow + 0.12 * dice.uniform(len(hours)) + (0.45 if metric == "cpu" else 0.0) * busy, 4)
            parts.append(
                pl.DataFrame({"at": times(hours), "value": value}).with_columns(
                    host=pl.lit(host), metric=pl.lit(metric)
                )
            )
    frame = pl.concat(parts).sort("at", maintain_order=True)
    return _table("metrics", {name: frame[name] for name in frame.columns})
