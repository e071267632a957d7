"""What the values of `audit.toml` must be: each kind gives the value, or a mistake in words."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from datetime import date, datetime, timedelta, timezone
from functools import partial
from operator import eq
from types import GenericAlias
from typing import Any, get_args, get_origin
from zoneinfo import ZoneInfo

from cattrs import Converter
from cattrs.gen import make_dict_structure_fn, override

from audit_kit.core import policy, schema
from audit_kit.resources.languages import Phrase

BEIJING = timezone(timedelta(hours=8))
DIRECTIONS = ("issued", "received")
HOURS_A_DAY = 24
EARLIEST_YEAR, LATEST_YEAR = 1900, 9000
SECURITY = ("starttls", "tls", "none")
WHEN = ("always", "findings", "failure")
HIGHEST_PORT = 65_535
DERIVED = ("period_stated", "start_stated")  # what is found out is no key
_MAIL = re.compile(r"[0-9A-Za-z._%+-]+@[0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*")
_HOST = re.compile(r"[0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*|[0-9A-Fa-f:]+")
_LINK = re.compile(r"(?:https?|file)://[^\s<>\"]+")

Step = str | int
Kind = Callable[[Any, Any], Any]


class MistakeError(Exception):
    """A value that is not of its kind: the reason, and the way from the value that was read to the one at fault."""

    def __init__(self, reason: Phrase, *steps: Step, known: tuple[str, ...] = ()) -> None:
        """Take the reason and the keys or positions; `known` are the keys that an unknown one may have meant."""
        super().__init__(reason.key)
        self.reason = reason
        self.steps = steps
        self.known = known


def converter() -> Converter:
    """Return a converter of TOML's values into frozen dataclasses, whose fields are the keys."""
    made = Converter()
    for kind, read in KINDS.items():
        if type(kind) is type:
            made.register_structure_hook(kind, read)
        else:
            made.register_structure_hook_func(partial(eq, kind), read)
    made.register_structure_hook_factory(is_dataclass, lambda record: _record(made, record))
    made.register_structure_hook_factory(_is_several, lambda record: _several(made, record))
    made.register_structure_hook(policy.Training, _training(made))
    made.register_structure_hook(policy.Export, _in_order(_record(made, policy.Export), "period_start", "period_end"))
    made.register_structure_hook(
        policy.ResponsePolicy, _in_order(_record(made, policy.ResponsePolicy), "day_starts", "day_ends")
    )
    made.register_structure_hook(policy.Window, _in_order(_record(made, policy.Window), "start", "end"))
    made.register_structure_hook_func(partial(eq, tuple[policy.Role, ...]), _roles(made))
    return made


def keys_of(record: type[Any]) -> tuple[str, ...]:
    """Return the keys of a section."""
    return tuple(part.name for part in fields(record) if part.name not in DERIVED)


def section(value: object) -> dict[str, Any]:
    """Return a section as it stands."""
    if not isinstance(value, dict):
        raise MistakeError(Phrase("mistake.section"))
    return value


def check_known(value: Mapping[str, Any], known: tuple[str, ...]) -> None:
    """Refuse a key that is not known."""
    for key in value:
        if key not in known and "password" in key.casefold():
            raise MistakeError(Phrase("mistake.password"), key)
        if key not in known:
            raise MistakeError(Phrase("mistake.unknown"), key, known=known)


def _record(made: Converter, record: type[Any]) -> Kind:
    special: dict[str, Any] = {name: override(struct_hook=NAMED[name]) for name in keys_of(record) if name in NAMED}
    special |= {part.name: override(omit=True) for part in fields(record) if part.name in DERIVED}
    read: Kind = make_dict_structure_fn(record, made, **special)
    needed = [part.name for part in fields(record) if part.default is part.default_factory]

    def checked(value: object, kind: object) -> object:
        check_known(section(value), keys_of(record))
        if missing := next((name for name in needed if name not in section(value)), None):
            raise MistakeError(Phrase("mistake.needs", name=missing))
        return read(value, kind)

    return checked


def _is_several(kind: object) -> bool:
    return get_origin(kind) is tuple and get_args(kind)[0] is not str


def _several(made: Converter, kind: object) -> Kind:
    """Read a list, or one value that stands for a list of itself."""
    entries: Any = GenericAlias(list, get_args(kind)[:1])
    return lambda value, _: tuple(made.structure(value if isinstance(value, list) else [value], entries))


def _training(made: Converter) -> Kind:
    """Read a section, or a list of tables, which is the log alone."""
    read = _record(made, policy.Training)
    entries = _several(made, tuple[policy.TrainingEntry, ...])

    def either(value: object, kind: object) -> object:
        return policy.Training(log=entries(value, kind)) if isinstance(value, list) else read(value, kind)

    return either


def _roles(made: Converter) -> Kind:
    """Read a list of tables, or a section that maps a role to its person."""
    entries = _several(made, tuple[policy.Role, ...])

    def either(value: object, kind: object) -> object:
        if isinstance(value, dict) and "name" not in value:
            return tuple(policy.Role(name=name, person=person) for name, person in names(value, kind).items())
        return entries(value, kind)

    return either


def _in_order(read: Kind, start: str, end: str) -> Kind:
    """Refuse a range that does not end after its start."""

    def checked(value: object, kind: object) -> object:
        found = read(value, kind)
        first, last = getattr(found, start), getattr(found, end)
        if first and last and first >= last:
            raise MistakeError(Phrase("mistake.order", start=start), end)
        return found

    return checked


def text(value: object, _: object = None) -> str:
    """Return a text that is not empty."""
    if not isinstance(value, str) or not value.strip():
        raise MistakeError(Phrase("mistake.text"))
    return value.strip()


def _text_or_none(value: object, _: object) -> str | None:
    """Return the text; an empty one means: there is none."""
    return None if value == "" else text(value)


def _texts(value: object, _: object) -> tuple[str, ...]:
    if isinstance(value, str):
        return (text(value),)
    if not isinstance(value, list) or not all(isinstance(part, str) and part.strip() for part in value):
        raise MistakeError(Phrase("mistake.texts"))
    return tuple(part.strip() for part in value)


def _direction(value: object, _: object) -> str:
    if value not in DIRECTIONS:
        raise MistakeError(Phrase("mistake.direction", known=", ".join(DIRECTIONS)))
    return str(value)


def _one_of(*known: str) -> Kind:
    def read(value: object, _: object) -> str:
        if value not in known:
            raise MistakeError(Phrase("mistake.direction", known=", ".join(known)))
        return str(value)

    return read


def _address(value: object, _: object = None) -> str:
    """Return an address of mail; nothing that could be another line of a header, or another address."""
    if not isinstance(value, str) or not _MAIL.fullmatch(value.strip()):
        raise MistakeError(Phrase("mistake.mail"))
    return value.strip()


def _addresses(value: object, kind: object) -> tuple[str, ...]:
    return tuple(_address(one) for one in _texts(value, kind))


def _host(value: object, _: object) -> str:
    if not isinstance(value, str) or not _HOST.fullmatch(value.strip()):
        raise MistakeError(Phrase("mistake.host"))
    return value.strip()


def _port(value: object, _: object) -> int:
    if not 1 <= (port := _whole(value, None)) <= HIGHEST_PORT:
        raise MistakeError(Phrase("mistake.port"))
    return port


def _link(value: object, _: object) -> str:
    if not isinstance(value, str) or not _LINK.fullmatch(value.strip()):
        raise MistakeError(Phrase("mistake.link"))
    return value.strip()


def _time(value: object, _: object) -> datetime:
    """Return a Beijing time without zone; a date is its first moment."""
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value)
        except ValueError:
            value = None
    if isinstance(value, datetime) and EARLIEST_YEAR <= value.year <= LATEST_YEAR:
        return value.astimezone(BEIJING).replace(tzinfo=None) if value.tzinfo else value
    if isinstance(value, date) and not isinstance(value, datetime):
        return datetime(value.year, value.month, value.day)  # noqa: DTZ001 (Beijing time, stored without zone)
    raise MistakeError(Phrase("mistake.time"))


def _day(value: object, kind: object) -> date:
    try:
        return _time(value, kind).date()
    except MistakeError:
        raise MistakeError(Phrase("mistake.date")) from None


def _zone(value: object, _: object) -> str:
    try:
        return ZoneInfo(text(value)).key
    except (MistakeError, KeyError, ValueError, OSError):
        raise MistakeError(Phrase("mistake.zone")) from None


def _cron(value: object, kind: object) -> str | None:
    """Return a cron expression; an empty one means: no such job."""
    from cronsim import CronSim, CronSimError  # noqa: PLC0415 (only where a schedule is written)

    said = _text_or_none(value, kind)
    try:
        if said:
            CronSim(said, datetime(2025, 1, 1))  # noqa: DTZ001 (any moment will do)
    except CronSimError:
        raise MistakeError(Phrase("mistake.cron")) from None
    return said


def _number(value: object, _: object = None) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < float("inf"):
        raise MistakeError(Phrase("mistake.number"))
    return float(value)


def _share(value: object, _: object) -> float:
    if (share := _number(value)) > 1:
        raise MistakeError(Phrase("mistake.share"))
    return share


def _hour(value: object, _: object) -> float:
    if (hour := _number(value)) > HOURS_A_DAY:
        raise MistakeError(Phrase("mistake.hour"))
    return hour


def _whole(value: object, _: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise MistakeError(Phrase("mistake.whole"))
    return value


def _flag(value: object, _: object) -> bool:
    if not isinstance(value, bool):
        raise MistakeError(Phrase("mistake.flag"))
    return value


def names(value: object, _: object) -> dict[str, str]:
    """Return a section of texts under keys of the user's own."""
    return {key: _of(key, text, part) for key, part in section(value).items()}


def _numbers(*known: str) -> Kind:
    """Return the kind of a section of numbers, of these keys only."""

    def read(value: object, _: object) -> dict[str, float]:
        check_known(section(value), known)
        return {key: _of(key, _number, part) for key, part in section(value).items()}

    return read


def _of(key: str, kind: Callable[[object], Any], value: object) -> Any:  # noqa: ANN401 (what the kind gives)
    try:
        return kind(value)
    except MistakeError as error:
        raise MistakeError(error.reason, key, *error.steps) from None


def _replies(value: object, kind: object) -> dict[str, float]:
    stated: dict[str, float] = _numbers(*schema.TICKET_LEVELS)(value, kind)
    return policy.ResponsePolicy().first_reply_hours | stated


KINDS: dict[Any, Kind] = {
    float: _number,
    int: _whole,
    bool: _flag,
    str: text,
    str | None: _text_or_none,
    datetime: _time,
    date: _day,
    tuple[str, ...]: _texts,
    dict[str, str]: names,
}
# Keys whose values are of a narrower kind than their type.
NAMED: dict[str, Kind] = {
    "to": _addresses,
    "sender": _address,
    "server": _host,
    "port": _port,
    "security": _one_of(*SECURITY),
    "when": _one_of(*WHEN),
    "link": _link,
    "name": text,
    "taxpayer_name": text,
    "uri": text,
    "query": text,
    "direction": _direction,
    "tz": _zone,
    "full": _cron,
    "incremental": _cron,
    "target_share": _share,
    "late_threshold": _share,
    "shrink_share": _share,
    "day_starts": _hour,
    "day_ends": _hour,
    "metrics": _numbers(*schema.METRICS),
    "first_reply_hours": _replies,
}
