"""What an engagement's settings name: its inputs, and what of them leads out of its folder."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from audit_kit.core import files as places
from audit_kit.core.errors import EngagementError
from audit_kit.loaders.engagement import permits, sources
from audit_kit.loaders.engagement import settings as settings_
from audit_kit.loaders.reading import Reason

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from audit_kit.loaders.engagement.settings import Settings
    from audit_kit.loaders.engagement.unused import Unused


@dataclass(frozen=True, kw_only=True)
class Input:
    """One entry of a table's sources: the files it names, or a database; see `settings.Source`."""

    paths: tuple[Path, ...] = ()
    uri: str | None = field(default=None, repr=False)
    query: str | None = None
    tz: str | None = None
    taken_at: datetime | None = None


def settings_of(folder: Path) -> Settings:
    """Return the settings of a folder; what bears their name and is no file is not waited for."""
    file = folder / settings_.FILE
    if os.path.lexists(file) and (fault := places.fault_of(file)):
        raise EngagementError(
            "error_engagement.settings_closed", file=settings_.FILE, why=Reason(code=f"unused.{fault}")
        )
    return settings_.load(folder)


def inputs_of(
    folder: Path, settings: Settings, left: frozenset[Path]
) -> tuple[dict[str, tuple[Input, ...]], tuple[Unused, ...]]:
    """Return the inputs of each table and the files that are none: as `[sources]` says, else as they are recognised.

    Raises:
        EngagementError: a source that is not there, or leads out and is not allowed.
        SourceError: a file looks like a table and cannot be read.
    """
    if settings.sources is not None:
        return _stated(folder, settings.sources, left)
    found, unused = sources.recognised(folder, settings.headings, left)
    return {table: (Input(paths=paths),) for table, paths in found.items()}, unused


def _stated(
    folder: Path, stated: Mapping[str, tuple[settings_.Source, ...]], left: frozenset[Path]
) -> tuple[dict[str, tuple[Input, ...]], tuple[Unused, ...]]:
    """Return the inputs that `[sources]` names, and the files that it does not name; what is left out is no input."""
    listed = [(table, source) for table, entries in stated.items() for source in entries]
    with_path = [(table, source.path) for table, source in listed if source.path is not None]
    found, unused = sources.stated(folder, with_path, left)
    paths = iter(found)
    inputs: dict[str, tuple[Input, ...]] = {}
    for table, source in listed:
        named = () if source.path is None else next(paths)
        if named or source.path is None:
            entry = Input(paths=named, uri=source.uri, query=source.query, tz=source.tz, taken_at=source.taken_at)
            inputs[table] = (*inputs.get(table, ()), entry)
    return inputs, unused


def ways_out(folder: Path, settings: Settings) -> list[permits.Way]:
    """Return what of an engagement's sources leads out of its folder: hosts, files and folders; none is touched."""
    ways = []
    for table, entries in (settings.sources or {}).items():
        for entry in entries:
            file, host, user = None, None, ""
            if entry.uri is not None:
                from audit_kit.loaders.tables.databases import place_of  # noqa: PLC0415 (only where there is one)

                file, host, user = place_of(entry.uri)
            places = [host] if host and not file else sources.ways_out(folder, str(file or entry.path))
            ways += [permits.Way(table=table, place=place, user=user) for place in places]
    return ways


def mail_ways(settings: Settings) -> list[permits.Way]:
    """Return the way out that `[notify]` asks for: server, user, recipients, and whether parties are named to them."""
    notify = settings.notify
    if not (notify.to and notify.server):
        return []
    named = "&names=true" if notify.names else ""
    place = f"smtp://{notify.server}:{notify.port or ''}?security={notify.security}&to={','.join(notify.to)}{named}"
    return [permits.Way(table=permits.MAIL, place=place, user=notify.user or "")]


def allow(path: str | Path, places: Sequence[str] = ()) -> list[tuple[permits.Way, bool]]:
    """Allow places out of an engagement for good, or ask for each on a terminal; return all, and which are allowed.

    Raises:
        RequestError: a place is none that its `audit.toml` names.
        EngagementError: see `open_engagement`.
    """
    folder = Path(path)
    folder = (folder.parent if folder.is_file() else folder).resolve()
    if not folder.is_dir():
        raise EngagementError("error_engagement.no_folder", folder=folder)
    settings = settings_.load(folder)
    ways = list(dict.fromkeys([*ways_out(folder, settings), *mail_ways(settings)]))
    permits.allow(folder, ways, places)
    still = permits.asked_for(folder, ways)
    return [(way, way not in still) for way in ways]
