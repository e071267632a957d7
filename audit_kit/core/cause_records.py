"""What is known of each cause of area missing and sync: one record a cause, from `resources/causes.toml`.

A cause is its rule in `rules/causes` and its record here; texts, order, drills and made-up months follow from both.
The records of area backup and response are plain: see `of_area`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import polars as pl

from audit_kit import resources

TABLES = {"backup": "backup_causes", "response": "response_causes"}
TEXTS = ("title", "sentence", "evidence", "next_step", "needs", "example")  # each in two languages
LASTING = ("entry", "known", "asked", "logs")  # what such a cause explains does not come by waiting


@dataclass(frozen=True, kw_only=True)
class Simulation:
    """How a made-up month holds a cause: a step of training/world/fates, when it is drawn, and what its rows become.

    `share`: of the invoices, unless another is asked for. `outcome`: of its ledger rows. `reaches`: how far such an
    invoice gets: nowhere, failed (at the upload), issued, uploaded, platform (but not this export), export.
    """

    step: str
    turn: int
    share: float
    outcome: str
    reaches: str = "export"


@dataclass(frozen=True, kw_only=True)
class DrillGroup:
    """The group of causes from which drills draw this one, and the share of invoices it takes there."""

    group: str
    share: float


@dataclass(frozen=True, kw_only=True)
class Cause:
    """A cause: what is said of it (each text Chinese, then English), what explains it, and how it is trained.

    `stage`: entry, known, asked, logs, event, level, age, unbooked or beside. `delays`: whether an invoice missing for
    this reason says something of delays. `comes`: it may well come by waiting, whatever its stage. `needs`: the
    evidence it is told from. `signal`: what would have given it away in a drill. `stake`: risk (not found, or cannot be
    proved), differs (found, with other content), late, found (only written otherwise, or not collected) or outside.
    """

    name: str
    area: str
    severity: str
    stage: str
    title: tuple[str, str]
    sentence: tuple[str, str]
    evidence: tuple[str, str]
    next_step: tuple[str, str]
    confused_with: tuple[str, ...]
    needs: tuple[str, str]
    example: tuple[str, str]
    delays: bool = True
    comes: bool = False
    stake: str = "risk"
    simulate: Simulation | None = None
    drill: DrillGroup | None = None
    signal: tuple[str, str] | None = None

    @property
    def lasting(self) -> bool:
        """Whether an invoice missing for this reason will not appear by waiting."""
        return self.stage in LASTING and not self.comes


@cache
def records() -> dict[str, Cause]:
    """Return the record of every cause, in running order; callers must not change it.

    Raises:
        LookupError: a record lacks a text, or names a cause that there is not.
    """
    entries = resources.load("causes")["causes"]
    require_texts("causes", entries)
    return {name: _record(name, dict(entry)) for name, entry in entries.items()}


def require_texts(table: str, entries: dict[str, dict[str, Any]]) -> None:
    """Refuse records that do not say what each must: TEXTS as Chinese and English, and what they are confused with.

    Raises:
        LookupError: with every cause and what it lacks.
    """
    faults = []
    for name, entry in entries.items():
        lacks = [text for text in TEXTS if [bool(part) for part in entry.get(text, ())] != [True, True]]
        lacks += [] if "confused_with" in entry else ["confused_with"]
        faults += [f"{name} lacks {', '.join(lacks)}"] if lacks else []
        strange = [other for other in entry.get("confused_with", ()) if other == name or other not in entries]
        faults += [f"{name} is confused with {', '.join(strange)}, which is no other cause"] if strange else []
    if faults:
        raise LookupError(f"resources/{table}.toml: {'; '.join(faults)}.")


def of_area(area: str) -> dict[str, dict[str, Any]]:
    """Return the record of every cause of area backup or response, in running order; callers must not change it."""
    found: dict[str, dict[str, Any]] = resources.load(TABLES[area])["causes"]
    return found


def of_stage(*stages: str) -> tuple[str, ...]:
    """Return the causes of these stages, in running order."""
    return tuple(name for name, one in records().items() if one.stage in stages)


def simulated() -> dict[str, Simulation]:
    """Return how each cause that a made-up month may hold is made, in running order."""
    return {name: one.simulate for name, one in records().items() if one.simulate}


def refused(result: pl.Expr) -> pl.Expr:
    """Return whether the result of an export says that it was refused or failed; false where it says nothing."""
    words = resources.load("causes")["permissions"]
    plain = result.cast(pl.String).str.to_lowercase().str.replace_all(r"\s", "")
    done = plain.str.replace_many(dict.fromkeys(words["refused"], "")).str.contains_any(words["done"])
    return (plain.str.contains_any(words["refused"]) & ~done).fill_null(value=False)


def _record(name: str, entry: dict[str, Any]) -> Cause:
    if "simulate" in entry:
        entry["simulate"] = Simulation(**entry["simulate"])
    if "drill" in entry:
        entry["drill"] = DrillGroup(**entry["drill"])
    lists = {key: tuple(value) for key, value in entry.items() if isinstance(value, list)}
    return Cause(name=name, **(entry | lists))
