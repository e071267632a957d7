"""`audit.toml` as settings: every key known, every value of its kind, every mistake one sentence.

Times are Beijing time; a TOML datetime with an offset is converted. Ranges include their start and exclude their end.
"""

from __future__ import annotations

import difflib
import hashlib
import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from datetime import date, datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any, NoReturn, get_type_hints
from zoneinfo import ZoneInfo

from audit_kit.core import policy, schema
from audit_kit.core.errors import EngagementError

if TYPE_CHECKING:
    from pathlib import Path

FILE = "audit.toml"
BEIJING = timezone(timedelta(hours=8))
DIRECTIONS = ("issued", "received")
SECTIONS = ("engagement", "export", "sources", "headers", "policy", "plan", "calendar", "training", "training_log")
ENGAGEMENT = ("name", "taxpayer_id", "taxpayer_name", "direction", "taken_at")
SOURCES = (*schema.INPUTS, "exports")
SOURCE = ("path", "tz", "taken_at", "uri", "query")
# The plan's parts are free tables; only a near miss of one of these names is refused.
FREE: dict[str, tuple[str, ...]] = {
    "plan": ("roles", "priorities", "resources", "contacts", "drills"),
    "calendar": ("filing_deadlines", "month_end", "year_end"),
    "training": (),
    "training_log": (),
}
# What we find out ourselves is no key.
DERIVED = ("period_stated",)
# These may be lists of tables: [[training_log]].
LISTS = ("training", "training_log")
SHARES = ("target_share", "late_threshold", "shrink_share")

HIDDEN = "…"
# An address, or something so like it that a password may stand in it.
_ADDRESS = re.compile(
    r"://|\w:[^\s/\\]*@|^\s*(?:postgres(?:ql)?|mysql|oracle|mssql|sqlite)(?:\+\w+)?:|\bpassword\s*=|\bpwd\s*=",
    re.IGNORECASE,
)

Kind = Callable[[str, Any], Any]


@dataclass(frozen=True, kw_only=True)
class Source:
    """One entry of `[sources]`: files by `path` (a path or glob), or a database by `uri` and `query`.

    `tz` is the zone of times without one; `taken_at` when a successive platform export was taken.
    """

    path: str | None = None
    uri: str | None = field(default=None, repr=False)
    query: str | None = None
    tz: str | None = None
    taken_at: datetime | None = None


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What `audit.toml` says; null or empty = not said. `sha256` is that of the file's bytes as they were read."""

    name: str | None = None
    taxpayer_ids: tuple[str, ...] = ()
    taxpayer_name: str | None = None
    direction: str = "issued"
    taken_at: datetime | None = None
    export: policy.Export = field(default_factory=policy.Export)
    policy: policy.Policy = field(default_factory=policy.Policy)
    sources: dict[str, tuple[Source, ...]] | None = None
    headings: dict[str, str] = field(default_factory=dict)
    plan: dict[str, Any] = field(default_factory=dict)
    calendar: dict[str, Any] = field(default_factory=dict)
    training: dict[str, Any] = field(default_factory=dict)
    sha256: str | None = None


def load(folder: Path) -> Settings:
    """Return the settings of an engagement's folder; a folder without `audit.toml` has none.

    Raises:
        EngagementError: the file is no TOML, a key is unknown, or a value is not of its kind.
    """
    file = folder / FILE
    if not file.exists():
        return Settings()
    try:
        data = file.read_bytes()
        content = tomllib.loads(data.decode("utf-8-sig").replace("\r\n", "\n"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as error:
        raise EngagementError(f"{FILE} cannot be read: {error}.") from error
    _known(content, SECTIONS, "")
    for name, value in content.items():
        if not isinstance(value, dict) and not (isinstance(value, list) and name in LISTS):
            _refuse("", name, value, f"must be a section: write [{name}]")
    return replace(_settings(content), sha256=hashlib.sha256(data).hexdigest())


def _settings(content: dict[str, Any]) -> Settings:
    about = content.get("engagement", {})
    _known(about, ENGAGEMENT, "engagement")
    free = {name: _free(name, content.get(name, {})) for name in FREE}
    log = [entry for name in LISTS for entry in (free[name] if isinstance(free[name], list) else ())]
    training = {key: value for name in LISTS if isinstance(free[name], dict) for key, value in free[name].items()}
    if log:
        training["log"] = log
    return Settings(
        name=_optional(_text, "[engagement] name", about.get("name")),
        taxpayer_ids=_texts("[engagement] taxpayer_id", about.get("taxpayer_id", ())),
        taxpayer_name=_optional(_text, "[engagement] taxpayer_name", about.get("taxpayer_name")),
        direction=_choice("[engagement] direction", about.get("direction", "issued"), DIRECTIONS),
        taken_at=_optional(_time, "[engagement] taken_at", about.get("taken_at")),
        export=_export(content.get("export", {})),
        policy=_policy(content.get("policy", {})),
        sources=_sources(content["sources"]) if content.get("sources") else None,
        headings=_headings(content.get("headers", {})),
        plan=free["plan"],
        calendar=free["calendar"],
        training=training,
    )


def _export(section: dict[str, Any]) -> policy.Export:
    export: policy.Export = _record(policy.Export, section, "export")
    if export.period_start and export.period_end and export.period_start >= export.period_end:
        _refuse("export", "period_end", export.period_end, "must be later than period_start")
    return export


def _policy(section: dict[str, Any]) -> policy.Policy:
    kinds = {part.name: part for part in fields(policy.Policy)}
    _known(section, tuple(kinds), "policy")
    hints = get_type_hints(policy.Policy)
    parts: dict[str, Any] = {}
    for name, value in section.items():
        if not isinstance(value, dict):
            _refuse("policy", name, value, f"must be a section: write [policy.{name}]")
        if name == "metrics":
            parts[name] = _numbers("policy.metrics", value, schema.METRICS)
        else:
            parts[name] = _record(hints[name], value, f"policy.{name}")
    return policy.Policy(**parts)


def _record(record: type[Any], section: dict[str, Any], where: str) -> Any:  # noqa: ANN401 (any of the policies)
    """Read a section into a policy: keys are its fields, values of the fields' kinds."""
    hints = _keys(record)
    _known(section, tuple(hints), where)
    values = {
        name: (_NAMED.get(name) or _KINDS[str(hints[name])])(f"[{where}] {name}", value)
        for name, value in section.items()
    }
    if "first_reply_hours" in values:
        values["first_reply_hours"] = record().first_reply_hours | values["first_reply_hours"]
    return record(**values)


def _keys(record: type[Any]) -> dict[str, Any]:
    """Return the keys that a policy takes, with their kinds."""
    return {name: kind for name, kind in get_type_hints(record).items() if name not in DERIVED}


def _sources(section: dict[str, Any]) -> dict[str, tuple[Source, ...]]:
    _known(section, SOURCES, "sources")
    return {table: tuple(_entries(table, value)) for table, value in section.items()}


def _entries(table: str, value: object) -> list[Source]:
    if isinstance(value, list):
        return [entry for part in value for entry in _entries(table, part)]
    if isinstance(value, str) and value.strip():
        return [Source(path=_path(table, value))]
    if not isinstance(value, dict):
        _refuse("sources", table, value, "must be a path, a glob, a list of them, {path, tz} or {uri, query}")
    where = f"sources.{table}"
    _known(value, SOURCE, where)
    if ("path" in value) == ("uri" in value) or ("uri" in value) != ("query" in value):
        _refuse("sources", table, value, "needs either path, or uri and query")
    paths = value.get("path", "")
    shared = {
        "tz": _optional(_zone, f"[{where}] tz", value.get("tz")),
        "taken_at": _optional(_time, f"[{where}] taken_at", value.get("taken_at")),
    }
    if "uri" in value:
        uri, query = (_text(f"[{where}] {key}", value[key]) for key in ("uri", "query"))
        return [Source(uri=uri, query=query, **shared)]
    return [Source(path=_path(table, path), **shared) for path in _texts(f"[{where}] path", paths)]


def _path(table: str, text: str) -> str:
    if _ADDRESS.search(text):
        _refuse("sources", table, text, "is an address, not a path; write {uri = …, query = …}")
    return text


def _headings(section: dict[str, Any]) -> dict[str, str]:
    columns = tuple(dict.fromkeys(name for table in schema.INPUTS for name in schema.dtypes(table)))
    for theirs, ours in section.items():
        if ours not in columns:
            _refuse("headers", theirs, ours, "is no column of ours" + _likely(str(ours), columns))
    return section


def _free(name: str, section: object) -> Any:  # noqa: ANN401 (a free table)
    for key in section if isinstance(section, dict) else ():
        if key not in FREE[name] and difflib.get_close_matches(key, FREE[name], cutoff=0.8):
            _known({key: section[key]}, FREE[name], name)  # type: ignore[index]
    return section


def _known(section: Mapping[str, Any], names: tuple[str, ...], where: str) -> None:
    if not isinstance(section, Mapping):
        raise EngagementError(f"{FILE}: [{where}] must be a section of keys, not {section!r}.")
    for key, value in section.items():
        if key not in names:
            _refuse(where, key, value, "is not known" + _likely(key, names))


def _likely(key: str, names: tuple[str, ...]) -> str:
    if home := next((where for where, keys in _HOMES.items() if key in keys and keys != names), None):
        return f"; it belongs to [{home}]."
    if close := difflib.get_close_matches(key, names, n=1, cutoff=0.5):
        return f"; did you mean {close[0]}?"
    return f"; known are {', '.join(names)}."


def _refuse(where: str, key: str, value: object, reason: str) -> NoReturn:
    if isinstance(value, dict):
        place = f"[{where}.{key}]" if where else f"[{key}]"
    else:
        place = f"[{where}] {key}" if where else key
    secret = where.startswith("sources.") and key not in ("path", "tz", "taken_at")
    if _ADDRESS.search(key):
        place = f"[{where}] {HIDDEN}"
    shown = "" if isinstance(value, dict) else f" = {HIDDEN if secret else _shown(value)}"
    raise EngagementError(f"{FILE}: {place}{shown} {reason}" + ("" if reason[-1] in ".?" else "."))


def _shown(value: object) -> str:
    """Return a value as an error may quote it; what may hold a password is left out."""
    if _ADDRESS.search(str(value)):
        return HIDDEN
    text = str(value) if isinstance(value, (datetime, date)) else repr(value)
    return text if len(text) <= 80 else text[:77] + "…"  # noqa: PLR2004 (a line to read)


def _wrong(where: str, value: object, reason: str) -> NoReturn:
    section, _, key = where.partition("] ")
    _refuse(section.removeprefix("["), key, value, reason)


def _optional(kind: Kind, where: str, value: object) -> Any:  # noqa: ANN401 (what the kind gives)
    return None if value is None else kind(where, value)


def _text(where: str, value: object) -> str:
    if not isinstance(value, str) or not value.strip():
        _wrong(where, value, 'must be text in quotes: "…"')
    return value.strip()


def _text_or_none(where: str, value: object) -> str | None:
    """Return the text; an empty one means: there is none."""
    return None if value == "" else _text(where, value)


def _texts(where: str, value: object) -> tuple[str, ...]:
    if isinstance(value, str):
        return (_text(where, value),)
    if not isinstance(value, (list, tuple)):
        _wrong(where, value, 'must be text or a list of texts: ["…", "…"]')
    return tuple(_text(where, part) for part in value)


def _choice(where: str, value: object, words: tuple[str, ...]) -> str:
    if value not in words:
        _wrong(where, value, f"must be one of {', '.join(words)}")
    return str(value)


def _time(where: str, value: object) -> datetime:
    """Return a Beijing time without zone; a date is its first moment."""
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value)
        except ValueError:
            _wrong(where, value, "must be a time: 2025-06-01T09:30:00")
    if isinstance(value, datetime):
        return value.astimezone(BEIJING).replace(tzinfo=None) if value.tzinfo else value
    if isinstance(value, date):
        return datetime(value.year, value.month, value.day)  # noqa: DTZ001 (Beijing time, stored without zone)
    _wrong(where, value, "must be a time: 2025-06-01T09:30:00")


def _zone(where: str, value: object) -> str:
    try:
        return ZoneInfo(_text(where, value)).key
    except (KeyError, ValueError, OSError):
        _wrong(where, value, 'must be a time zone: "Asia/Shanghai" or "UTC"')


def _cron(where: str, value: object) -> str | None:
    """Return a cron expression; an empty one means: no such job."""
    from cronsim import CronSim, CronSimError  # noqa: PLC0415 (only where a schedule is written)

    text = _text_or_none(where, value)
    try:
        if text:
            CronSim(text, datetime(2025, 1, 1))  # noqa: DTZ001 (any moment will do)
    except CronSimError:
        _wrong(where, value, 'must be a cron expression: "0 2 * * *"')
    return text


def _number(where: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < float("inf"):
        _wrong(where, value, "must be a number, 0 or more")
    if where.rpartition(" ")[2] in SHARES and value > 1:
        _wrong(where, value, "must be a share between 0 and 1")
    return float(value)


def _whole(where: str, value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        _wrong(where, value, "must be a whole number, 0 or more")
    return value


def _flag(where: str, value: object) -> bool:
    if not isinstance(value, bool):
        _wrong(where, value, "must be true or false")
    return value


def _replies(where: str, value: object) -> dict[str, float]:
    section = where.removeprefix("[").replace("] ", ".")
    return _numbers(section, value, schema.TICKET_LEVELS)


def _numbers(where: str, value: object, names: tuple[str, ...]) -> dict[str, float]:
    if not isinstance(value, dict):
        raise EngagementError(f"{FILE}: [{where}] = {_shown(value)} must be a section of numbers.")
    _known(value, names, where)
    return {key: _number(f"[{where}] {key}", number) for key, number in value.items()}


_KINDS: dict[str, Kind] = {
    "<class 'float'>": _number,
    "<class 'int'>": _whole,
    "<class 'bool'>": _flag,
    "<class 'str'>": _text,
    "str | None": _text_or_none,
    "datetime.datetime | None": _time,
    "tuple[str, ...]": _texts,
    "dict[str, float]": _replies,
}
_NAMED: dict[str, Kind] = {"tz": _zone, "full": _cron, "incremental": _cron}
_HOMES: dict[str, tuple[str, ...]] = {
    "engagement": ENGAGEMENT,
    "export": tuple(_keys(policy.Export)),
    "sources": SOURCES,
    **{
        f"policy.{part.name}": tuple(get_type_hints(kind))
        for part in fields(policy.Policy)
        if hasattr(kind := get_type_hints(policy.Policy)[part.name], "__dataclass_fields__")
    },
    "policy": tuple(part.name for part in fields(policy.Policy)),
    "plan": FREE["plan"],
}
