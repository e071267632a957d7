"""An engagement worked up once: reconciled, timed, diagnosed, backups and response audited, and kept for others."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import polars as pl

from audit_kit.analysis import cache, earlier
from audit_kit.analysis.analysis import Analysis
from audit_kit.analysis.step_totals import superseded
from audit_kit.core import schema
from audit_kit.core.errors import EngagementError, RequestError
from audit_kit.core.identity import with_key
from audit_kit.core.words import LANGUAGES
from audit_kit.loaders.catalogues.reader import every_file
from audit_kit.loaders.engagement import shared_inputs
from audit_kit.loaders.engagement.settings import SISTERS
from audit_kit.loaders.reading import CONTROL, FILES, SET_ASIDE
from audit_kit.resources.languages import Table
from audit_kit.rules.backups import audit as backup_rules
from audit_kit.rules.causes import diagnosis
from audit_kit.rules.matching.reconcile import reconcile
from audit_kit.rules.matching.side import side_by_side
from audit_kit.rules.response.response import ResponseEvidence, respond
from audit_kit.rules.sync import observations as delays
from audit_kit.rules.sync.cuts import edges

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import datetime
    from pathlib import Path

    from audit_kit.loaders.engagement.engagement import Engagement
    from audit_kit.loaders.reading import Reading

EVIDENCE = ("accounts", "notices", "operations", "sync_log", "confirmations", "red_confirmations", "substitute")
BACKUP_TABLES = ("backups", "backup_checks", "restore_tests", "backup_listing", "schedule")
RESPONSE_TABLES = (
    "register", "tickets", "confirmations", "substitute", "operations", "sync_log", "metrics", "notices", "accounts",
    "invoice_files", "exports", "restore_tests",
)  # fmt: skip
READ = {"files": FILES, "set_aside": SET_ASIDE, "control": CONTROL}


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
        progress: told the name of each step as it begins: reading, matching, delays, backups, diagnosis, response.

    Raises:
        RequestError: another language.
        EngagementError, SourceError: what the engagement or one of its sources says cannot be used, or one changed
            while it was read.
    """
    if lang not in LANGUAGES:
        raise RequestError("error_analysis.no_language", lang=lang, known=" and ".join(LANGUAGES))
    shared_inputs.state(engagement.folder, engagement.fingerprint())
    past = earlier.history(history)

    def work() -> Analysis:
        analysis = _compute(engagement, lang, past, progress or (lambda _name: None))
        engagement.check_unchanged()
        return analysis

    return cache.kept(engagement, lang, history, past, work)


def require_both_sides(engagement: Engagement) -> None:
    """Refuse an engagement of which nothing can be said: one without a ledger, or without a platform export.

    Raises:
        EngagementError: one of them is not there.
    """
    for table in ("ledger", "platform"):
        if not engagement.has(table):
            raise EngagementError("error_analysis.no_source", name=engagement.name, table=Table(table))


def diagnose(engagement: Engagement, *, lang: str = "zh") -> pl.DataFrame:
    """Return the findings of area missing and sync: see schema.Findings.

    Raises:
        EngagementError: there is no ledger, or no platform export.
    """
    require_both_sides(engagement)
    return analyse(engagement, lang=lang).findings


def audit_backups(engagement: Engagement, *, lang: str = "zh") -> pl.DataFrame:
    """Return the findings of area backup: see schema.Findings."""
    return analyse(engagement, lang=lang).backup_findings


def _compute(engagement: Engagement, lang: str, history: pl.DataFrame | None, step: Callable[[str], None]) -> Analysis:
    """Work the engagement up, from the sources to the findings."""
    step("reading")
    readings = _readings(engagement)
    ledger, platform, taken_at = engagement.table("ledger"), engagement.table("platform"), engagement.taken_at
    step("matching")
    matches = reconcile(ledger, platform, policy=engagement.policy.matching)
    step("delays")
    observations, stops = _delays(engagement, matches, taken_at)
    step("backups")
    world = backup_world(engagement, ledger, taken_at)
    backup = backup_rules.audit_backups(world, lang=lang)
    step("diagnosis")
    evidence = diagnosis.Evidence(
        ledger=ledger,
        platform=platform,
        matches=matches,
        observations=observations,
        stops=stops,
        **_tables(engagement),
        control=engagement.reading("platform").control,
        ledger_aside=engagement.reading("ledger").set_aside.height,
        backup_keys=backup_rules.backup_keys(world),
        export=engagement.export,
        policy=engagement.policy,
        taxpayer_ids=engagement.own_ids,
        direction=engagement.direction,
        taken_at=taken_at,
        history=history,
        archive=_keyed(engagement, "invoice_files"),
        sisters=_keyed(engagement, SISTERS),
        taxpayer_name=engagement.settings.taxpayer_name,
        exported=engagement.has("platform"),
        taken_stated=engagement.taken_stated is not None,
    )
    findings = diagnosis.diagnose(evidence, lang=lang)
    step("response")
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
        response=respond(_response(engagement, evidence, findings), lang=lang),
        history=history,
        superseded=superseded(engagement.table("exports"), platform),
        **{name: _all(readings, name, shape) for name, shape in READ.items()},
    )


def _delays(engagement: Engagement, matches: pl.DataFrame, taken_at: datetime) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return observations and stops; that an export ends early is no stop of the platform."""
    ledger, platform = engagement.table("ledger"), engagement.table("platform")
    log, notices = engagement.table("sync_log"), engagement.table("notices")
    observe = partial(
        delays.observations,
        ledger,
        platform,
        matches,
        sync_log=log,
        taken_at=taken_at,
        exports=_earlier_exports(engagement.table("exports"), taken_at),
        notices=notices,
    )
    observations = observe()
    stops = delays.stops(observations, notices, taken_at=taken_at)
    found = edges(
        observations,
        platform,
        matches,
        sync_log=log,
        notices=notices,
        export=engagement.export,
        policy=engagement.policy.sync,
        taken_at=taken_at if engagement.taken_stated else None,
    )
    late = [edge for edge in found if edge.side == "last"]
    if not late:
        return observations, stops
    beyond = pl.concat([late[0].rows, late[0].on_day])
    kept = observations.filter(~pl.col("ledger_row").is_in(beyond.implode()))
    stops = delays.stops(kept, notices, taken_at=taken_at)
    return observe(known_stops=stops), stops


def _tables(engagement: Engagement) -> dict[str, Any]:
    return {table: engagement.table(table) for table in EVIDENCE}


def _readings(engagement: Engagement) -> dict[str, Reading]:
    """Return every table as it was read; the two largest are read at once."""
    side_by_side(engagement.reading, "ledger", "platform")
    return {table: engagement.reading(table) for table in (*schema.INPUTS, SISTERS) if engagement.has(table)}


def backup_world(engagement: Engagement, ledger: pl.DataFrame, taken_at: datetime) -> backup_rules.BackupWorld:
    """Return what the backups are judged by."""
    return backup_rules.BackupWorld(
        **{table: engagement.table(table) for table in BACKUP_TABLES},
        invoice_files=every_file(engagement.reading("invoice_files"), engagement.folder),
        ledger=ledger,
        policy=engagement.policy.backup,
        taken_at=taken_at,
    )


def _keyed(engagement: Engagement, table: str) -> pl.DataFrame | None:
    """Return a table of invoices by `invoice_key`; null where there is none."""
    return with_key(engagement.table(table)) if engagement.has(table) else None


def _response(engagement: Engagement, evidence: diagnosis.Evidence, findings: pl.DataFrame) -> ResponseEvidence:
    """Return what the response is judged by."""
    settings = engagement.settings
    return ResponseEvidence(
        ledger=evidence.ledger,
        platform=evidence.platform,
        matches=evidence.matches,
        findings=findings,
        stops=evidence.stops,
        observations=evidence.observations,
        **{table: engagement.table(table) for table in RESPONSE_TABLES},
        given=frozenset(table for table in (*schema.INPUTS, "exports") if engagement.has(table)),
        policy=engagement.policy,
        plan=settings.plan,
        calendar=settings.calendar,
        training=settings.training,
        direction=engagement.direction,
        taken_at=engagement.taken_at,
    )


def _earlier_exports(exports: pl.DataFrame, taken_at: datetime) -> dict[datetime, pl.DataFrame] | None:
    """Return successive exports by their times, each with `invoice_key`; null where there is only one."""
    parts = exports.filter(pl.col("taken_at") < taken_at).partition_by("taken_at", as_dict=True)
    return {time[0]: with_key(part) for time, part in parts.items()} or None


def _all(readings: Mapping[str, Reading], name: str, shape: Mapping[str, pl.DataType]) -> pl.DataFrame:
    """Return one frame of all readings, each row with its table."""
    frames: list[pl.DataFrame] = [
        getattr(reading, name).with_columns(table=pl.lit(table)) for table, reading in readings.items()
    ]
    nothing = pl.DataFrame(schema={**shape, "table": pl.String()})
    return pl.concat([nothing, *frames], how="diagonal_relaxed")
