"""One engagement: a folder, its `audit.toml`, and its sources, read when first asked for.

Nothing is ever written into the folder.
"""

from __future__ import annotations

import hashlib
import json
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from functools import cache
from importlib.metadata import version
from importlib.resources import as_file, files
from pathlib import Path
from threading import RLock
from typing import TYPE_CHECKING

from audit_kit.core import files as places
from audit_kit.core.errors import EngagementError, SourceError
from audit_kit.core.hashing import hash_file
from audit_kit.loaders.engagement import permits, shared_inputs, sources
from audit_kit.loaders.engagement import settings as settings_
from audit_kit.loaders.engagement.exports import end_of, last_export, settle_export, successive
from audit_kit.loaders.engagement.inputs import Input, inputs_of, settings_of, ways_out
from audit_kit.loaders.engagement.unused import LEFT_OUT, Unended, relative, way_out
from audit_kit.loaders.reading import Reading, joined
from audit_kit.resources.languages import Phrase

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import polars as pl

    from audit_kit.core.policy import Export, Policy
    from audit_kit.loaders.engagement.settings import Settings
    from audit_kit.loaders.engagement.unused import Unused

FROM_BACKUPS = ("backups", "backup_checks", "backup_listing")
TOGETHER = (FROM_BACKUPS, ("platform", "exports"))  # tables that are read in one go


@dataclass(frozen=True, kw_only=True, eq=False)
class Engagement:
    """What is audited, on what terms, and from which sources.

    `sources` maps a table to its inputs; `unused` are files in the folder that no table took, `without` the places that
    were left out on the user's word.
    """

    folder: Path
    name: str
    settings: Settings
    sources: Mapping[str, tuple[Input, ...]]
    unused: tuple[Unused, ...] = ()
    without: frozenset[Path] = frozenset()
    _readings: dict[str, Reading] = field(default_factory=dict, repr=False)
    _contents: dict[str, dict[Path, str]] = field(default_factory=dict, repr=False)
    _lock: RLock = field(default_factory=RLock, repr=False)
    _reading_locks: dict[tuple[str, ...], RLock] = field(default_factory=dict, repr=False)

    @property
    def taxpayer_ids(self) -> tuple[str, ...]:
        """The audited company's taxpayer ids, as stated."""
        return self.settings.taxpayer_ids

    @property
    def own_ids(self) -> tuple[str, ...]:
        """The ids under which the company's invoices are issued or received: its own, its branches', former ones."""
        settings = self.settings
        return (*settings.taxpayer_ids, *settings.branches, *settings.former_ids)

    @property
    def direction(self) -> str:
        """`issued` or `received`."""
        return self.settings.direction

    @property
    def policy(self) -> Policy:
        """The thresholds that findings are judged by."""
        return self.settings.policy

    @property
    def taken_at(self) -> datetime:
        """When the platform export was taken, Beijing time.

        Where it is not stated: the newest export's time, else the last 导出 operation, else the end of what the
        platform, or the ledger, or the backups show.
        """
        if stated := self.taken_stated:
            return stated
        for table, column in (("platform", "issued_at"), ("ledger", "issued_at"), ("backups", "started_at")):
            if isinstance(latest := self.table(table)[column].max(), datetime):
                return end_of(latest)
        raise EngagementError("error_engagement.no_time", name=self.name)

    @property
    def taken_stated(self) -> datetime | None:
        """When the platform export was taken, as settings, sources or the operation log say; null where none does."""
        dated = [entry.taken_at for table in ("platform", "exports") for entry in self.sources.get(table, ())]
        if stated := self.settings.taken_at or max((time for time in dated if time), default=None):
            return stated
        exported = last_export(self.table("operations"))
        return exported["at"] if exported else None

    @property
    def export(self) -> Export:
        """How the export was asked for, what is not stated filled in by `settle_export`."""
        return settle_export(self.settings.export, self.table("operations"), self.table("platform"))

    def has(self, table: str) -> bool:
        """Tell whether the engagement has a source of this table."""
        _known(table)
        if table == "platform":
            return "platform" in self.sources or "exports" in self.sources
        return table in self.sources

    def table(self, table: str) -> pl.DataFrame:
        """Return a table's kept rows; without a source, none."""
        return self.reading(table).rows

    def reading(self, table: str) -> Reading:
        """Return a table as it was read, `Reading.nothing` where there is no source; each source is read once."""
        _known(table)
        group = next((group for group in TOGETHER if table in group), (table,))
        with self._lock:
            lock = self._reading_locks.setdefault(group, RLock())
        with lock:
            if table not in self._readings:
                for together in group:
                    self._content(together)
                self._readings.update(self._read(table))
            return self._readings[table]

    def _read(self, table: str) -> dict[str, Reading]:
        if table in FROM_BACKUPS:
            return self._read_backups()
        if table in ("platform", "exports"):
            return self._read_exports()
        shape = "platform" if table == settings_.SISTERS else table
        readings = [self._read_input(shape, entry) for entry in self.sources.get(table, ())]
        return {table: _evaluated(joined(shape, readings), self.folder)}

    def _read_input(self, table: str, entry: Input) -> Reading:
        """Read one input by the reader of its kind."""
        personal_ids = self.settings.privacy.personal_ids
        if entry.uri is not None and entry.query is not None:
            from audit_kit.loaders.tables.databases import read_database  # noqa: PLC0415 (drivers are an extra)

            place = {"uri": entry.uri, "query": entry.query}
            return shared_inputs.once(
                f"{self.folder}\n{table}\n{entry.uri}\n{entry.query}\n{entry.tz}",
                table,
                lambda: read_database(
                    place, table=table, headings=self.settings.headings, tz=entry.tz, personal_ids=personal_ids
                ),
            )
        readings: list[Reading] = []
        inside = [path for path in entry.paths if table == "invoice_files" and _is_einvoice(path)]
        if inside:
            from audit_kit.loaders.einvoices import folder as einvoices  # noqa: PLC0415 (lxml and ofdkit only where needed)

            readings.append(einvoices.read_paths(inside, root=self.folder, without=self.without))
        files = [path for path in entry.paths if table != "invoice_files" or not _is_einvoice(path)]
        from audit_kit.loaders.tables import pipeline  # noqa: PLC0415 (heavy, and only where a table is read)

        for path in files:
            with self._way_out(self.relative(path) if path.is_relative_to(self.folder) else None):
                readings.append(
                    pipeline.read(
                        path,
                        table=table,
                        headings=self.settings.headings,
                        root=self.folder,
                        tz=entry.tz,
                        personal_ids=personal_ids,
                    )
                )
        return joined(table, readings)

    @contextmanager
    def _way_out(self, file: str | None) -> Iterator[None]:
        """Say of a source that cannot be read how to go on without it; null = it cannot be left out."""
        try:
            yield
        except SourceError as error:
            if file is None:
                raise
            raise SourceError("error_engagement.with_way_out", error=Unended(error), way_out=way_out(file)) from error

    def _read_backups(self) -> dict[str, Reading]:
        """Read the tools' own output, and beside it the canonical tables of checks and listings."""
        parts: dict[str, list[Reading]] = {table: [] for table in FROM_BACKUPS}
        entries = self.sources.get("backups", ())
        parts["backups"] += [self._read_input("backups", entry) for entry in entries if entry.uri is not None]
        if zones := {path: entry.tz for entry in entries for path in entry.paths}:
            from audit_kit.loaders.catalogues.reader import read_backups  # noqa: PLC0415 (only where there are backups)

            with self._way_out("FILE"):
                found = read_backups(
                    list(zones), root=self.folder, tz=zones, headings=self.settings.headings, without=self.without
                )
            for table, reading in found.items():
                parts[table].append(reading)
        for table in FROM_BACKUPS[1:]:
            own = joined(table, [self._read_input(table, entry) for entry in self.sources.get(table, ())])
            parts[table].append(_evaluated(own, self.folder))
        return {table: joined(table, readings) for table, readings in parts.items()}

    def _read_exports(self) -> dict[str, Reading]:
        """Read the platform's export, or several that were taken one after the other."""
        entries = (*self.sources.get("platform", ()), *self.sources.get("exports", ()))
        dated = sorted(((entry.taken_at, entry) for entry in entries if entry.taken_at), key=lambda pair: str(pair[0]))
        return successive(
            [(taken_at, self._read_input("platform", entry)) for taken_at, entry in dated],
            [self._read_input("platform", entry) for entry in entries if not entry.taken_at],
        )

    def fingerprint(self) -> str:
        """Return the SHA-256 over every input's content, the settings and the version of this package.

        What it is taken of is what is read: a file's hash is taken before the file is read, and only once.
        """
        stated = {key: value for key, value in asdict(self.settings).items() if key not in ("sources", "sha256")}
        total = hashlib.sha256(json.dumps(stated, default=str, sort_keys=True).encode())
        total.update(package_version().encode())
        for table, entries in sorted(self.sources.items()):
            for path, sha256 in self._content(table).items():
                total.update(f"{table} {sha256} {self.relative(path)}\n".encode(errors="surrogateescape"))
            for entry in entries:
                total.update(f"{table} {len(entry.paths)} {entry.query} {entry.tz} {entry.taken_at}".encode())
                if entry.uri is not None:
                    total.update(self.table(table).write_ipc(None, compat_level=None).getvalue())
        for file in self.unused:
            if file.kind == LEFT_OUT:
                total.update(f"without {file.file}\n".encode())
        return total.hexdigest()

    def check_unchanged(self) -> None:
        """Read every file again that was hashed, and the settings.

        Raises:
            EngagementError: one is no longer what was hashed.
        """
        if self.settings.sha256 is not None and hash_file(self.folder / settings_.FILE) != self.settings.sha256:
            raise _changed(self, self.folder / settings_.FILE)
        for table, before in list(self._contents.items()):
            after = dict(sources.digests(self._paths(table), self.without, afresh=True))
            if differing := {path for path, _ in before.items() ^ after.items()}:
                raise _changed(self, min(differing))

    def without_readings(self) -> Engagement:
        """Return the same engagement without the frames it has read; what was hashed stays known."""
        return replace(self, _readings={})

    def contents(self) -> dict[str, dict[Path, str]]:
        """Return the files of each table with their SHA-256, as they were when first asked for."""
        return {table: dict(self._content(table)) for table in self.sources}

    def _paths(self, table: str) -> list[Path]:
        return [path for entry in self.sources.get(table, ()) for path in entry.paths]

    def _content(self, table: str) -> dict[Path, str]:
        """Return the files of a table with their hashes, as they were when first asked for."""
        with self._lock:
            if table not in self._contents:
                self._contents[table] = dict(sources.digests(self._paths(table), self.without))
            return self._contents[table]

    def relative(self, path: Path) -> str:
        """Return a path as the findings show it: relative to the engagement, outside of it the file's name."""
        return relative(self.folder, path)


def open_engagement(path: str | Path, *, without: Sequence[str] = (), allow: Sequence[str] = ()) -> Engagement:
    """Open the engagement in a folder, or of an `audit.toml`; its sources are found, but not yet read.

    Args:
        path: the folder, or its `audit.toml`.
        without: files that are left out on the user's word: paths within the folder, folders, or globs.
        allow: places out of the folder that its `audit.toml` may use this once, as the error names them; others must
            have been allowed by the user before: see `permits`.

    Raises:
        EngagementError: no such folder, an `audit.toml` that does not say what it must, or a source that is not there.
        RequestError: `without` names nothing.
        SourceError: a file looks like a table and cannot be read.
    """
    folder = places.actual(Path(path))
    folder = folder.parent if folder.name == settings_.FILE and folder.is_file() else folder
    if not folder.is_dir():
        raise EngagementError("error_engagement.no_folder", folder=folder)
    folder = folder.resolve()
    settings = settings_of(folder)
    left = sources.left_out(folder, without)
    if settings.sources is not None:
        permits.require(folder, ways_out(folder, settings), allow=allow)
    inputs, unused = inputs_of(folder, settings, left)
    if not inputs:
        first = {"count": len(unused), "file": unused[0].file, "why": unused[0]} if unused else {}
        also = Phrase("error_engagement.not_used", **first) if unused else ""
        raise EngagementError("error_engagement.nothing_known", folder=places.shown(folder.name), also=also)
    name = settings.name or places.shown(folder.name)
    return Engagement(folder=folder, name=name, settings=settings, sources=inputs, unused=unused, without=left)


def _is_einvoice(path: Path) -> bool:
    """Tell a file of one invoice, or a folder of them, from a table that lists such files."""
    return path.is_dir() or not sources.is_table(path)


def _evaluated(reading: Reading, root: Path) -> Reading:
    """Return checks and restore tests with level and result read from the tools' own output."""
    if reading.table not in ("backup_checks", "restore_tests") or reading.rows.is_empty():
        return reading
    from audit_kit.loaders.catalogues.reader import read_checks  # noqa: PLC0415 (only where there are backups)

    rows: pl.DataFrame = read_checks(reading.rows, root)
    return replace(reading, rows=rows)


def _changed(engagement: Engagement, path: Path) -> EngagementError:
    return EngagementError("error_engagement.changed", name=engagement.name, file=engagement.relative(path))


def _known(table: str) -> None:
    if table not in settings_.SOURCES:
        raise EngagementError("error_engagement.no_table", table=table, known=", ".join(settings_.SOURCES))


@cache
def package_version() -> str:
    """Return the version of this package with the hash of its content, so that a changed rule is a new version."""
    total = hashlib.sha256()
    with as_file(files("audit_kit")) as package:
        for file in sorted((*package.rglob("*.py"), *package.rglob("*.toml"))):
            total.update(file.read_bytes())
    return f"{version('audit-kit')}+{total.hexdigest()[:16]}"
