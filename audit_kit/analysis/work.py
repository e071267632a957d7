"""An engagement worked up once: reconciled, timed, diagnosed, its backups audited, and kept for whoever asks next.

The frames are kept as parquet in the user's cache folder (`AUDIT_KIT_CACHE` names another), under the fingerprint of
everything they depend on. An entry is written whole or not at all; a damaged one is computed again.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from contextlib import suppress
from dataclasses import asdict, dataclass, fields, replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from audit_kit.core import schema
from audit_kit.core.cache_folder import NEW, alone, cache_folder, clear, warn
from audit_kit.core.errors import EngagementError, RequestError
from audit_kit.core.hashing import hash_file, hash_once
from audit_kit.core.identity import with_key
from audit_kit.core.policy import Export
from audit_kit.core.words import LANGUAGES
from audit_kit.loaders.catalogues.reader import every_file
from audit_kit.loaders.engagement import shared_inputs
from audit_kit.loaders.reading import CONTROL, FILES, SET_ASIDE
from audit_kit.rules.backups import audit as backup_rules
from audit_kit.rules.causes import diagnosis
from audit_kit.rules.matching.reconcile import reconcile
from audit_kit.rules.sync import observations as delays

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from audit_kit.loaders.engagement.engagement import Engagement
    from audit_kit.loaders.reading import Reading

CACHE_BYTES = 4 << 30
CACHE_ENTRIES = 24
EVIDENCE = ("accounts", "notices", "operations", "sync_log", "confirmations", "substitute")
BACKUP_TABLES = ("backups", "backup_checks", "restore_tests", "backup_listing", "schedule")
READ = {"files": FILES, "set_aside": SET_ASIDE, "control": CONTROL}
MANIFEST = "manifest.json"


@dataclass(frozen=True, kw_only=True, eq=False)
class Analysis:
    """What is known of an engagement; positions such as `ledger_row` are those in the frames here.

    `observations`, `stops`, `curves`, `quantiles`: see rules.delays. `findings`: causes of area missing and sync.
    `backup`: see rules.backups. `files`, `set_aside`, `control`: how every source was read, by `table`.
    """

    engagement: Engagement
    lang: str
    taken_at: datetime
    export: Export
    ledger: pl.DataFrame
    platform: pl.DataFrame
    matches: pl.DataFrame
    observations: pl.DataFrame
    stops: pl.DataFrame
    curves: pl.DataFrame
    quantiles: pl.DataFrame
    findings: pl.DataFrame
    files: pl.DataFrame
    set_aside: pl.DataFrame
    control: pl.DataFrame
    backup: backup_rules.BackupAudit

    @property
    def backup_findings(self) -> pl.DataFrame:
        """Causes of area backup."""
        return self.backup.findings


FRAMES = tuple(field.name for field in fields(Analysis) if field.type == "pl.DataFrame")
BACKUP_FRAMES = tuple(field.name for field in fields(backup_rules.BackupAudit))
KEPT = {*(f"{name}.parquet" for name in FRAMES), *(f"backup.{name}.parquet" for name in BACKUP_FRAMES)}


def analyse(
    engagement: Engagement,
    *,
    lang: str = "zh",
    history: Path | None = None,
    progress: Callable[[str], None] | None = None,
) -> Analysis:
    """Return everything the rules say of an engagement; computed once, afterwards read from the cache.

    Args:
        engagement: see `open_engagement`.
        lang: language of evidence and next steps, `zh` or `en`.
        history: parquet of earlier months' delays, to borrow from where this export is short.
        progress: told the name of each step as it begins: reading, matching, delays, backups, diagnosis.

    Raises:
        RequestError: another language.
        EngagementError, SourceError: what the engagement or one of its sources says cannot be used, or one changed
            while it was read.
    """
    if lang not in LANGUAGES:
        raise RequestError(f"{lang!r} is no language of the reports; they are {' and '.join(LANGUAGES)}.")
    entry = cache_folder() / _key(engagement, lang, history)
    shared_inputs.state(engagement.folder, engagement.fingerprint())
    if (kept := _load(entry, engagement, lang)) is not None:
        return kept
    step = progress or (lambda _name: None)
    with alone(entry) as may_keep:
        if (kept := _load(entry, engagement, lang)) is not None:
            return kept
        analysis = _compute(engagement, lang, history, step)
        engagement.check_unchanged()
        if may_keep:
            try:
                clear(entry)
                _save(entry, analysis)
                _prune(entry)
            except (OSError, pl.exceptions.PolarsError) as error:
                warn(error)
    return analysis


def diagnose(engagement: Engagement, *, lang: str = "zh") -> pl.DataFrame:
    """Return the findings of area missing and sync: see schema.Findings.

    Raises:
        EngagementError: there is no ledger, or no platform export.
    """
    for table in ("ledger", "platform"):
        if not engagement.has(table):
            raise EngagementError(f"{engagement.name}: no {table} is there; name it under [sources] in audit.toml.")
    return analyse(engagement, lang=lang).findings


def audit_backups(engagement: Engagement, *, lang: str = "zh") -> pl.DataFrame:
    """Return the findings of area backup: see schema.Findings."""
    return analyse(engagement, lang=lang).backup_findings


def month(analysis: Analysis, wanted: str) -> Analysis:
    """Return the analysis of one month, `YYYY-MM`: the ledger's rows of it, and earlier ones still missing.

    Rows without a date stay, for nobody knows that they are not of it. Positions are those in the new frames.

    Raises:
        RequestError: `wanted` is no month.
    """
    start, end = _bounds(wanted)
    issued, outcome = pl.col("issued_at"), pl.col("outcome").cast(pl.String)
    dates = analysis.ledger.select("issued_at").with_row_index("ledger_row")
    status = analysis.matches.select("ledger_row", outcome).drop_nulls("ledger_row")
    within = issued.is_between(start, end, closed="left") | issued.is_null()
    kept = dates.join(status, on="ledger_row", how="left", maintain_order="left").filter(
        within | ((issued < start) & (outcome == "missing"))
    )["ledger_row"]
    unbooked = analysis.platform.select("issued_at").with_row_index("platform_row").filter(within)["platform_row"]
    booked = pl.col("ledger_row").is_in(kept.implode())
    matches = analysis.matches.filter(
        booked | (pl.col("ledger_row").is_null() & pl.col("platform_row").is_in(unbooked.implode()))
    )
    listed = pl.concat([matches["platform_row"], matches["candidates"].explode()]).drop_nulls().unique().sort()
    if matches.height == analysis.matches.height and len(listed) == analysis.platform.height:
        return analysis
    move = _Moves(kept, listed)
    without_row = pl.col("ledger_row").is_null() & (
        pl.col("platform_row").is_null() | pl.col("platform_row").is_in(listed.implode())
    )
    return replace(
        analysis,
        ledger=analysis.ledger[kept],
        platform=analysis.platform[listed],
        matches=move.rows(matches).with_columns(
            candidates=pl.col("candidates").list.eval(pl.element().replace_strict(listed, move.listed))
        ),
        observations=move.rows(analysis.observations.filter(booked)),
        findings=move.rows(analysis.findings.filter(booked | without_row)),
    )


class _Moves:
    """Positions before and after rows were left out."""

    def __init__(self, kept: pl.Series, listed: pl.Series) -> None:
        self.kept = pl.DataFrame({"ledger_row": kept}).with_row_index("_ledger")
        self.listed = pl.Series(range(len(listed)), dtype=pl.UInt32)
        self._platform = pl.DataFrame({"platform_row": listed}).with_row_index("_platform")

    def rows(self, frame: pl.DataFrame) -> pl.DataFrame:
        """Return the frame with its positions moved."""
        columns = frame.columns
        for moved, name in ((self.kept, "ledger_row"), (self._platform, "platform_row")):
            if name in columns:
                new = moved.columns[0]
                frame = frame.join(moved, on=name, how="left", maintain_order="left").drop(name).rename({new: name})
        return frame.select(columns)


def _bounds(wanted: str) -> tuple[datetime, datetime]:
    try:
        start = datetime.strptime(wanted, "%Y-%m")  # noqa: DTZ007 (Beijing time, stored without zone)
    except ValueError:
        raise RequestError(f"{wanted!r} is no month; write it as 2025-05.") from None
    return start, datetime(start.year + start.month // 12, start.month % 12 + 1, 1)  # noqa: DTZ001 (the same)


def _compute(engagement: Engagement, lang: str, history: Path | None, step: Callable[[str], None]) -> Analysis:
    """Work the engagement up, from the sources to the findings."""
    step("reading")
    readings = {table: engagement.reading(table) for table in schema.INPUTS if engagement.has(table)}
    ledger, platform, taken_at = engagement.table("ledger"), engagement.table("platform"), engagement.taken_at
    step("matching")
    matches = reconcile(ledger, platform, policy=engagement.policy.matching)
    step("delays")
    observations = delays.observations(
        ledger,
        platform,
        matches,
        sync_log=engagement.table("sync_log"),
        taken_at=taken_at,
        exports=_earlier_exports(engagement.table("exports"), taken_at),
        notices=engagement.table("notices"),
    )
    stops = delays.stops(observations, engagement.table("notices"), taken_at=taken_at)
    step("backups")
    world = _world(engagement, ledger, taken_at)
    backup = backup_rules.audit_backups(world, lang=lang)
    step("diagnosis")
    evidence = diagnosis.Evidence(
        ledger=ledger,
        platform=platform,
        matches=matches,
        observations=observations,
        stops=stops,
        **{table: engagement.table(table) for table in EVIDENCE},
        control=engagement.reading("platform").control,
        backup_keys=backup_rules.backup_keys(world),
        export=engagement.export,
        policy=engagement.policy,
        taxpayer_ids=engagement.taxpayer_ids,
        direction=engagement.direction,
        taken_at=taken_at,
        history=_earlier_months(history),
        archive=with_key(engagement.table("invoice_files")) if engagement.has("invoice_files") else None,
    )
    findings = diagnosis.diagnose(evidence, lang=lang)
    curves = delays.survival(delays.of_delays(observations, findings))
    return Analysis(
        engagement=engagement,
        lang=lang,
        taken_at=taken_at,
        export=engagement.export,
        ledger=ledger,
        platform=platform,
        matches=matches,
        observations=observations,
        stops=stops,
        curves=curves,
        quantiles=delays.quantiles(curves),
        findings=findings,
        backup=backup,
        **{name: _all(readings, name, shape) for name, shape in READ.items()},
    )


def _world(engagement: Engagement, ledger: pl.DataFrame, taken_at: datetime) -> backup_rules.BackupWorld:
    """Return what the backups are judged by."""
    return backup_rules.BackupWorld(
        **{table: engagement.table(table) for table in BACKUP_TABLES},
        invoice_files=every_file(engagement.reading("invoice_files"), engagement.folder),
        ledger=ledger,
        policy=engagement.policy.backup,
        taken_at=taken_at,
    )


def _earlier_exports(exports: pl.DataFrame, taken_at: datetime) -> dict[datetime, pl.DataFrame] | None:
    """Return successive exports by their times, each with `invoice_key`; null where there is only one."""
    parts = exports.filter(pl.col("taken_at") < taken_at).partition_by("taken_at", as_dict=True)
    return {time[0]: with_key(part) for time, part in parts.items()} or None


def _earlier_months(history: Path | None) -> pl.DataFrame | None:
    """Return earlier months' delays, or null where there are none."""
    if history is None or not history.exists():
        return None
    try:
        return pl.read_parquet(history, glob=False).select(*delays.HISTORY).cast(pl.Schema(delays.HISTORY))
    except (OSError, pl.exceptions.PolarsError) as error:
        raise RequestError(f"{history}: not the history.parquet that reports keep; leave it out ({error}).") from error


def _all(readings: Mapping[str, Reading], name: str, shape: Mapping[str, pl.DataType]) -> pl.DataFrame:
    """Return one frame of all readings, each row with its table."""
    frames: list[pl.DataFrame] = [
        getattr(reading, name).with_columns(table=pl.lit(table)) for table, reading in readings.items()
    ]
    nothing = pl.DataFrame(schema={**shape, "table": pl.String()})
    return pl.concat([nothing, *frames], how="diagonal_relaxed")


def _key(engagement: Engagement, lang: str, history: Path | None) -> str:
    earlier = hash_once(history) if history is not None and history.exists() else ""
    return hashlib.sha256(f"{engagement.fingerprint()} {lang} {earlier}".encode()).hexdigest()[:40]


def _save(entry: Path, analysis: Analysis) -> None:
    """Write an entry beside its place, then move it there in one step."""
    frames = {name: getattr(analysis, name) for name in FRAMES}
    frames |= {f"backup.{name}": getattr(analysis.backup, name) for name in BACKUP_FRAMES}
    with tempfile.TemporaryDirectory(
        dir=entry.parent, prefix=f"{NEW}{entry.name}-", ignore_cleanup_errors=True
    ) as scratch:
        folder = Path(scratch) / entry.name
        folder.mkdir(mode=0o700)
        for name, frame in frames.items():
            frame.write_parquet(folder / f"{name}.parquet", compression="lz4", statistics=False)
        kept = {
            "taken_at": analysis.taken_at,
            "export": asdict(analysis.export),
            "sha256": {file.name: hash_file(file) for file in sorted(folder.iterdir())},
        }
        text = json.dumps(kept, default=str)
        (folder / MANIFEST).write_text(f"{_sum(entry, text)}\n{text}", encoding="utf-8")
        shutil.rmtree(entry, ignore_errors=True)
        folder.replace(entry)


def _load(entry: Path, engagement: Engagement, lang: str) -> Analysis | None:
    """Return a kept analysis, or null where there is none or it is not what was written."""
    try:
        sum_, _, text = (entry / MANIFEST).read_text(encoding="utf-8").partition("\n")
        if sum_ != _sum(entry, text):
            return None
        kept = json.loads(text)
        if set(kept["sha256"]) != KEPT or any(
            hash_file(entry / name) != sha256 for name, sha256 in kept["sha256"].items()
        ):
            return None
        with suppress(OSError):  # a cache shared read-only keeps no track of its use
            os.utime(entry / MANIFEST)
        frames = {name: pl.read_parquet(entry / f"{name}.parquet", glob=False) for name in FRAMES}
        backup = {name: pl.read_parquet(entry / f"backup.{name}.parquet", glob=False) for name in BACKUP_FRAMES}
        taken_at, export = datetime.fromisoformat(kept["taken_at"]), _export(kept["export"])
    except (OSError, ValueError, KeyError, TypeError, pl.exceptions.PolarsError):
        return None
    return Analysis(
        engagement=engagement,
        lang=lang,
        taken_at=taken_at,
        export=export,
        backup=backup_rules.BackupAudit(**backup),
        **frames,
    )


def _sum(entry: Path, text: str) -> str:
    """Return the sum over an entry's manifest; the entry's own name is in it, so that none stands for another."""
    return hashlib.sha256(f"{entry.name}\n{text}".encode()).hexdigest()


def _export(kept: dict[str, Any]) -> Export:
    times = ("period_start", "period_end", "later_taken_at")
    read = {name: datetime.fromisoformat(kept[name]) if kept[name] else None for name in times}
    filters, stated = tuple(kept["status_filter"]), bool(kept["period_stated"])
    return Export(account=kept["account"], status_filter=filters, period_stated=stated, **read)


def _prune(newest: Path) -> None:
    """Keep the cache within its bounds: the entries longest unused go first, the newest stays."""
    entries = sorted(newest.parent.glob(f"*/{MANIFEST}"), key=lambda file: file.stat().st_mtime, reverse=True)
    total = 0
    for number, manifest in enumerate(entries):
        total += sum(file.stat().st_size for file in manifest.parent.iterdir())
        if manifest.parent != newest and (number >= CACHE_ENTRIES or total > CACHE_BYTES):
            shutil.rmtree(manifest.parent, ignore_errors=True)
            manifest.parent.with_suffix(".lock").unlink(missing_ok=True)
