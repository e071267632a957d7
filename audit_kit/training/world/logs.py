"""What systems keep beside the invoices: the sync log, the accounts and what they may do, measurements."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from audit_kit import resources
from audit_kit.training.world import shaping
from audit_kit.training.world.dice import Dice
from audit_kit.training.world.fates import reached
from audit_kit.training.world.stream import DAY, HOUR, channels, times

if TYPE_CHECKING:
    from audit_kit.training.world.dice import Integers
    from audit_kit.training.world.fates import Draft
    from audit_kit.training.world.parties import Company

BATCH = 50  # invoices in an upload batch
HOSTS = ("kp-01", "kp-02")
MEASURED_EVERY = 4 * HOUR


@dataclass(frozen=True)
class Events:
    """Events of the sync log before they become a table: true invoice, word, seconds."""

    i: Integers
    word: str
    at: Any
    code: str | None = None
    message: str | None = None


def sync_log(draft: Draft) -> pl.DataFrame:
    """Return the events of every invoice: issued, uploaded, then received and visible where it got so far."""
    issued = draft.column("issued")
    dice = Dice(draft.seed, "sync log")
    everyone = np.arange(len(issued))
    sent = issued + 1 + dice.below(20, len(issued))
    real = everyone[~reached(draft, "nowhere")]
    failed = everyone[reached(draft, "failed")]
    uploaded = everyone[~reached(draft, "nowhere", "failed", "issued")]
    arrived = everyone[(draft.visible <= draft.taken) & ~reached(draft, "nowhere", "failed", "issued", "uploaded")]
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
    return shaping.listed("sync_log", {name: frame[name] for name in frame.columns})


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
    columns = shaping.transposed(rows, names)
    columns["valid_from"] = times(np.full(len(rows), start - 500 * DAY))
    columns["valid_to"] = times(np.array([np.nan if row[6] is None else row[6] for row in rows], dtype=np.float64))
    return shaping.listed("accounts", columns)


def exporter(owner: int) -> str:
    """Return the account that exports for a taxpayer."""
    return f"BS000{owner + 1}"


def metrics(draft: Draft, start: int) -> pl.DataFrame:
    """Return measurements of two machines; the processors are busy during a real stop, one disk fills up."""
    hours = np.arange(start, draft.taken, MEASURED_EVERY)
    dice = Dice(draft.seed, "metrics")
    busy = np.zeros(len(hours), dtype=bool)
    for window in draft.windows:
        busy |= window.real & (hours >= window.start - HOUR) & (hours < window.end)
    level = {"cpu": 0.35 + 0.45 * busy, "memory": 0.35 + 0.0 * busy, "disk": 0.55 + 0.3 * np.linspace(0, 1, len(hours))}
    parts = [
        pl.DataFrame(
            {"at": times(hours), "value": np.round(level[metric] + 0.12 * dice.uniform(len(hours)), 4)}
        ).select("at", "value", host=pl.lit(host), metric=pl.lit(metric))
        for host in HOSTS
        for metric in level
    ]
    frame = pl.concat(parts).sort("at", maintain_order=True)
    return shaping.listed("metrics", {name: frame[name] for name in frame.columns})
