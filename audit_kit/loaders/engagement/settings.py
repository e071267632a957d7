"""`audit.toml` as settings: every key known, every value of its kind, every mistake one sentence.

Times are Beijing time; a TOML datetime with an offset is converted. Ranges include their start and exclude their end.
The keys of a section are the fields of its dataclass; `setting_kinds` says what each kind of value must be.
"""

from __future__ import annotations

import difflib
import hashlib
import re
import tomllib
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from typing import TYPE_CHECKING, Any

from cattrs.errors import (
    AttributeValidationNote,
    BaseValidationError,
    ClassValidationError,
    IterableValidationError,
)

from audit_kit.core import schema
from audit_kit.core.errors import EngagementError
from audit_kit.core.policy import (
    BackupPolicy,
    Calendar,
    Export,
    MatchingPolicy,
    Notify,
    Plan,
    Policy,
    Privacy,
    ResponsePolicy,
    SyncPolicy,
    Training,
)
from audit_kit.loaders.engagement.setting_kinds import (
    MistakeError,
    Step,
    check_known,
    converter,
    keys_of,
    section,
)
from audit_kit.resources.languages import Phrase

if TYPE_CHECKING:
    from pathlib import Path

FILE = "audit.toml"
SISTERS = "sister_exports"  # what the platform lists of other companies of the group
SOURCES = (*schema.INPUTS, "exports", SISTERS)
LONGEST_SHOWN = 80
HIDDEN = "…"
# An address, or something so like it that a password may stand in it.
_ADDRESS = re.compile(
    r"://|\w:[^\s/\\]*@|^\s*(?:postgres(?:ql)?|mysql|oracle|mssql|sqlite)(?:\+\w+)?:|\bpassword\s*=|\bpwd\s*=",
    re.IGNORECASE,
)

_AT = re.compile(r"(?P<error>.*) \(at line (?P<line>\d+), column (?P<column>\d+)\)", re.DOTALL)


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
    branches: tuple[str, ...] = ()
    former_ids: tuple[str, ...] = ()
    taxpayer_name: str | None = None
    direction: str = "issued"
    taken_at: datetime | None = None
    export: Export = field(default_factory=Export)
    policy: Policy = field(default_factory=Policy)
    sources: dict[str, tuple[Source, ...]] | None = None
    headings: dict[str, str] = field(default_factory=dict)
    plan: Plan = field(default_factory=Plan)
    calendar: Calendar = field(default_factory=Calendar)
    training: Training = field(default_factory=Training)
    notify: Notify = field(default_factory=Notify)
    privacy: Privacy = field(default_factory=Privacy)
    sha256: str | None = None


@dataclass(frozen=True, kw_only=True)
class _About:
    name: str | None = None
    taxpayer_id: tuple[str, ...] = ()
    branches: tuple[str, ...] = ()
    former_ids: tuple[str, ...] = ()
    taxpayer_name: str | None = None
    direction: str = "issued"
    taken_at: datetime | None = None


@dataclass(frozen=True, kw_only=True)
class _Entry:
    """A table of `[sources]` as it is written: several paths share what else it says."""

    path: tuple[str, ...] = ()
    tz: str | None = None
    taken_at: datetime | None = None
    uri: str | None = None
    query: str | None = None


class _Sources(dict[str, tuple[Source, ...]]):
    """The section `[sources]`."""


class _Headings(dict[str, str]):
    """The section `[headers]`."""


@dataclass(frozen=True, kw_only=True)
class _Document:
    """The sections of `audit.toml` under their own names."""

    engagement: _About = field(default_factory=_About)
    export: Export = field(default_factory=Export)
    sources: _Sources = field(default_factory=_Sources)
    headers: _Headings = field(default_factory=_Headings)
    policy: Policy = field(default_factory=Policy)
    plan: Plan = field(default_factory=Plan)
    calendar: Calendar = field(default_factory=Calendar)
    training: Training = field(default_factory=Training)
    training_log: Training = field(default_factory=Training)
    notify: Notify = field(default_factory=Notify)
    privacy: Privacy = field(default_factory=Privacy)


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
    except tomllib.TOMLDecodeError as error:
        raise _no_toml(str(error)) from error
    except (UnicodeDecodeError, OSError) as error:
        raise EngagementError("error_engagement.settings_unreadable", file=FILE, error=error) from error
    try:
        document = _CONVERTER.structure(content, _Document)
    except (BaseValidationError, MistakeError) as error:
        mistake = _explained(content, *_first(error))
    else:
        return replace(_settings(document), sha256=hashlib.sha256(data).hexdigest())
    raise mistake  # outside of the handler: what it came from quotes values, and a password may be one


def _settings(said: _Document) -> Settings:
    log, training = said.training_log, said.training
    return Settings(
        name=said.engagement.name,
        taxpayer_ids=said.engagement.taxpayer_id,
        branches=said.engagement.branches,
        former_ids=said.engagement.former_ids,
        taxpayer_name=said.engagement.taxpayer_name,
        direction=said.engagement.direction,
        taken_at=said.engagement.taken_at,
        export=said.export,
        policy=said.policy,
        sources=dict(said.sources) or None,
        headings=dict(said.headers),
        plan=said.plan,
        calendar=said.calendar,
        notify=said.notify,
        privacy=said.privacy,
        training=Training(
            every_days=training.every_days if training.every_days is not None else log.every_days,
            last=max(filter(None, (training.last, log.last)), default=None),
            log=(*training.log, *log.log),
        ),
    )


def _sources(value: object, _: object) -> _Sources:
    check_known(section(value), SOURCES)
    return _Sources({table: tuple(_entries(entry, (table,))) for table, entry in section(value).items()})


def _entries(value: object, steps: tuple[Step, ...]) -> list[Source]:
    if isinstance(value, list):
        return [entry for at, part in enumerate(value) for entry in _entries(part, (*steps, at))]
    if isinstance(value, str) and value.strip():
        return [Source(path=_path(value, steps))]
    if not isinstance(value, dict):
        raise MistakeError(Phrase("mistake.source"), *steps)
    try:
        said = _CONVERTER.structure(value, _Entry)
    except (BaseValidationError, MistakeError) as error:
        inner, mistake = _first(error)
        raise MistakeError(mistake.reason, *steps, *inner, known=mistake.known) from None
    if ("path" in value) == ("uri" in value) or ("uri" in value) != ("query" in value):
        raise MistakeError(Phrase("mistake.either"), *steps)
    if said.uri is not None:
        return [Source(uri=said.uri, query=said.query, tz=said.tz, taken_at=said.taken_at)]
    return [Source(path=_path(path, steps), tz=said.tz, taken_at=said.taken_at) for path in said.path]


def _path(text: str, steps: tuple[Step, ...]) -> str:
    if _ADDRESS.search(text):
        raise MistakeError(Phrase("mistake.address"), *steps)
    return text


def _headings(value: object, _: object) -> _Headings:
    columns = tuple(dict.fromkeys(name for table in schema.INPUTS for name in schema.dtypes(table)))
    for theirs, ours in section(value).items():
        if ours not in columns:
            raise MistakeError(Phrase("mistake.column", hint=_likely(str(ours), columns)), theirs)
    return _Headings(section(value))


def _first(error: Exception, steps: tuple[Step, ...] = ()) -> tuple[tuple[Step, ...], MistakeError]:
    """Return the first mistake of those found, and the way to it from the top of the file."""
    if isinstance(error, MistakeError):
        return (*steps, *error.steps), error
    if not isinstance(error, ClassValidationError | IterableValidationError):
        raise error
    inner, note = error.group_exceptions()[0][0]
    return _first(inner, (*steps, note.name if isinstance(note, AttributeValidationNote) else note.index))


def _no_toml(words: str) -> EngagementError:
    """Return the error for a file that is no TOML, by what its reader says of it."""
    if found := _AT.fullmatch(words):
        return EngagementError("error_engagement.settings_broken", file=FILE, **found.groupdict())
    return EngagementError("error_engagement.settings_unreadable", file=FILE, error=words)


def _explained(content: dict[str, Any], steps: tuple[Step, ...], mistake: MistakeError) -> EngagementError:
    """Return a mistake in one sentence: the section, the key, its value unless it may hold a password, the reason."""
    value: Any = content
    names: list[str] = []
    for step in steps:
        if isinstance(step, int):
            if not isinstance(value, list):
                continue
            names[-1] += f" {step + 1}"
        else:
            names.append(step)
        value = value[step]
    *above, key = [HIDDEN if _ADDRESS.search(name) else name for name in names]
    where = ".".join(above)
    place = f"[{where}] {key}" if where else key
    if isinstance(value, dict):
        place = f"[{where}.{key}]" if where else f"[{key}]"
    is_secret = where.startswith("sources.") and key not in ("path", "tz", "taken_at")
    is_secret |= "password" in key.casefold()
    shown = "" if isinstance(value, dict) else f" = {HIDDEN if is_secret else _shown(value)}"
    reason = Phrase(mistake.reason.key, **mistake.reason.fields, place=f"{where}.{key}" if where else key)
    hint = _likely(names[-1], mistake.known) if mistake.known else ""
    ends = Phrase("mistake.stop") if not (mistake.known or "hint" in reason.fields) else ""
    return EngagementError(
        "error_engagement.setting", file=FILE, place=place, value=shown, reason=reason, hint=hint, ends=ends
    )


def _shown(value: object) -> str:
    """Return a value as an error may quote it; what may hold a password is left out."""
    if _ADDRESS.search(str(value)):
        return HIDDEN
    text = str(value) if isinstance(value, (datetime, date)) else repr(value)
    return text if len(text) <= LONGEST_SHOWN else text[: LONGEST_SHOWN - 3] + "…"


def _likely(key: str, names: tuple[str, ...]) -> Phrase:
    if home := next((where for where, keys in _HOMES.items() if key in keys and keys != names), None):
        return Phrase("mistake.belongs", home=home)
    if close := difflib.get_close_matches(key, names, n=1, cutoff=0.5):
        return Phrase("mistake.meant", name=close[0])
    return Phrase("mistake.known", known=", ".join(names))


_CONVERTER = converter()
_CONVERTER.register_structure_hook(_Sources, _sources)
_CONVERTER.register_structure_hook(_Headings, _headings)
_HOMES: dict[str, tuple[str, ...]] = {
    "engagement": keys_of(_About),
    "export": keys_of(Export),
    "sources": SOURCES,
    "policy.matching": keys_of(MatchingPolicy),
    "policy.sync": keys_of(SyncPolicy),
    "policy.backup": keys_of(BackupPolicy),
    "policy.response": keys_of(ResponsePolicy),
    "policy": keys_of(Policy),
    "plan": keys_of(Plan),
    "calendar": keys_of(Calendar),
    "training": keys_of(Training),
    "notify": keys_of(Notify),
    "privacy": keys_of(Privacy),
}
