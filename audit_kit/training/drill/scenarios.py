"""Scenarios: calls for help as tables, and which month each of them hides.

A trainer adds one by an entry of `resources/scenarios.toml`, or of a file of his own (see `read`).
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Any

from audit_kit import resources
from audit_kit.core.cause_records import records, simulated
from audit_kit.core.errors import RequestError
from audit_kit.core.words import LANGUAGES

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from audit_kit.training.world.dice import Dice

TEXTS = ("title", "caller", "sees", "believes", "pressure", "lesson", "signals", "step")
CALL = ("caller", "sees", "believes", "pressure")
KNOWN = {*TEXTS, "levels", "causes", "one_of", "background", "like", "tell", "distractors", "world"}
WORLD = {"open_outage_hours", "open_outage_announced", "outage_announced", "backups", "arrivals", "month"}
RECIPIENTS = ("support", "it", "management", "tax_bureau")


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """A scenario; each text is Chinese, then English.

    `causes`: cause to its share of the invoices, of which `one_of` takes one alone; none = nothing is wrong. `like`:
    scenarios whose call it may borrow, so that a call gives no cause away. `tell`: who is told, in this order.
    `world`: options of `simulate.world`.
    """

    name: str
    levels: tuple[int, ...]
    title: tuple[str, str]
    caller: tuple[str, str]
    sees: tuple[str, str]
    believes: tuple[str, str]
    pressure: tuple[str, str]
    lesson: tuple[str, str]
    signals: tuple[str, str]
    step: tuple[str, str]
    tell: tuple[str, ...]
    like: tuple[str, ...] = ()
    causes: Mapping[str, float] = field(default_factory=dict)
    one_of: bool = False
    background: Mapping[str, float] = field(default_factory=dict)
    distractors: tuple[tuple[str, str], ...] = ()
    world: Mapping[str, Any] = field(default_factory=dict)

    def said(self, text: str, lang: str) -> str:
        """Return one of the texts in a language."""
        pair: tuple[str, str] = getattr(self, text)
        return pair[LANGUAGES.index(lang)]


@cache
def scenarios() -> dict[str, Scenario]:
    """Return every scenario of ours by its name; callers must not change it.

    Raises:
        RequestError: an entry is none.
    """
    return _checked(resources.load("scenarios")["scenarios"], "scenarios.toml", others={})


def read(path: Path) -> dict[str, Scenario]:
    """Return our scenarios and those of a trainer's own file, which has the same shape; his take the place of ours.

    Raises:
        RequestError: the file cannot be read, or an entry is no scenario.
    """
    try:
        entries = tomllib.loads(path.read_text(encoding="utf-8-sig")).get("scenarios", {})
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as error:
        raise RequestError("error_training.scenarios_unreadable", file=path.name, error=error) from error
    return scenarios() | _checked(entries, path.name, others=scenarios())


def _checked(entries: Mapping[str, Any], file: str, *, others: Mapping[str, Any]) -> dict[str, Scenario]:
    for name, entry in entries.items():
        if fault := _fault(entry, {*others, *entries} - {name}):
            raise RequestError("error_training.scenario", file=file, name=name, fault=fault)
    return {name: _made(name, dict(entry)) for name, entry in entries.items()}


def _fault(entry: Any, others: set[str]) -> str:  # noqa: ANN401  as TOML gives it
    """Return the key of an entry that is not as it must be, with its value; an empty text where all are."""
    if not isinstance(entry, dict):
        return repr(entry)
    for key in (*TEXTS, "levels", "tell"):
        if key not in entry:
            return key
    two = [*TEXTS] + [f"distractors {at}" for at in range(len(entry.get("distractors", [])))]
    pairs = [*(entry[key] for key in TEXTS), *entry.get("distractors", [])]
    checks = {
        **{key: _is_pair(pair) for key, pair in zip(two, pairs, strict=True)},
        "levels": set(entry["levels"]) <= {1, 2, 3, 4, 5},
        "tell": bool(entry["tell"]) and set(entry["tell"]) <= set(RECIPIENTS),
        "like": set(entry.get("like", [])) <= others,
        "causes": _are_shares(entry.get("causes", {})),
        "background": _are_shares(entry.get("background", {})),
        "world": set(entry.get("world", {})) <= WORLD,
    }
    unknown = [key for key in entry if key not in KNOWN]
    return next((key for key, holds in checks.items() if not holds), unknown[0] if unknown else "")


def _is_pair(pair: object) -> bool:
    return isinstance(pair, list) and len(pair) == len(LANGUAGES) and all(isinstance(one, str) and one for one in pair)


def _are_shares(shares: object) -> bool:
    return isinstance(shares, dict) and all(
        name in simulated() and isinstance(share, (int, float)) and 0 < share <= 1 for name, share in shares.items()
    )


def _made(name: str, entry: dict[str, Any]) -> Scenario:
    lists = {key: tuple(value) for key, value in entry.items() if isinstance(value, list)}
    lists["distractors"] = tuple(tuple(pair) for pair in entry.get("distractors", ()))
    return Scenario(name=name, **(entry | lists))


def of_level(level: int, known: Mapping[str, Scenario]) -> list[Scenario]:
    """Return the scenarios of a level.

    Raises:
        RequestError: there is no such level.
    """
    levels = resources.load("drills")["levels"]
    if str(level) not in levels:
        raise RequestError("error_training.no_level", level=level, known=", ".join(levels))
    return [one for one in known.values() if level in one.levels]


def drawn(scenario: Scenario, level: int, dice: Dice) -> dict[str, float]:
    """Return the causes of a drill with their shares: the scenario's own, and on the upper levels one of each group."""
    own = dict(scenario.causes)
    if scenario.one_of and own:
        name = list(own)[dice.one(len(own))]
        own = {name: own[name]}
    if not own:
        return {}
    groups = _groups()
    for name in resources.load("drills")["levels"][str(level)]["more"]:
        left = [cause for cause in groups[name] if cause not in own and cause not in scenario.background]
        chosen = left[dice.one(len(left))]
        own[chosen] = groups[name][chosen]
    return own


def _groups() -> dict[str, dict[str, float]]:
    """Return the groups from which further causes are drawn: cause to share of the invoices, in running order."""
    groups: dict[str, dict[str, float]] = {}
    for name, cause in records().items():
        if cause.drill:
            groups.setdefault(cause.drill.group, {})[name] = cause.drill.share
    return groups


def group_of(cause: str) -> str:
    """Return the group of a cause: that of its drill, else that of the stage that explains it."""
    record = records()[cause]
    if record.drill:
        return record.drill.group
    return {"entry": "entries", "known": "status", "asked": "access", "logs": "logs"}.get(record.stage, "common")
