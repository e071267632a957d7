"""The first step of a report: the engagement worked up once, and kept for the notebooks to read."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import polars as pl

from audit_kit.analysis import earlier, step_totals
from audit_kit.analysis.month import month as one_month
from audit_kit.analysis.report_scope import EVERYTHING, latest, months_of, scope
from audit_kit.analysis.work import analyse
from audit_kit.core.errors import PlaceError, ReportError, RequestError
from audit_kit.core.words import Words
from audit_kit.loaders.engagement.settings import FILE
from audit_kit.report import manifest, workbook, working_papers
from audit_kit.report.history import memory
from audit_kit.report.job import HISTORY, STEPS, WORKBOOK, Job
from audit_kit.resources.languages import Phrase
from audit_kit.rules.sync import observations
from audit_kit.views.overview import lines, periods, step_lines
from audit_kit.views.show import event_rows
from audit_kit.views.show.page import Page, left_out
from audit_kit.views.show.sentences import withheld

if TYPE_CHECKING:
    from datetime import datetime
    from pathlib import Path

    from audit_kit.analysis.analysis import Analysis
    from audit_kit.loaders.engagement.engagement import Engagement


MOST_NAMED = 3


@dataclass(frozen=True, kw_only=True)
class Material:
    """What the pages need of the analysis, so that its frames are let go before the notebooks run.

    `rows` are those of both sides; `history` is the file of earlier months, `previous` the last one's manifest.
    `concluded` is what auditors filled in; `inputs` the files that were read: `table`, `source_file`, `size`, `sha256`;
    `file_totals` the files of both sides as in step_totals.files; `entry` is what the history of findings keeps of the
    month, see histories.ENTRY; `unnamed` the five lines with nobody named, where they are wanted.
    """

    job: Job
    month: str
    owner: manifest.Owner
    rows: int
    taken_at: datetime
    manifest: dict[str, Any]
    findings: pl.DataFrame
    sheets: list[workbook.Sheet]
    history: Path | None
    delays: pl.DataFrame
    previous: Path | None
    concluded: pl.DataFrame
    inputs: pl.DataFrame
    file_totals: list[dict[str, Any]]
    unnamed: list[dict[str, Any]]
    entry: pl.DataFrame | None


def work_up(job: Job) -> Material:
    """Work the engagement up, and return what the pages need.

    Raises:
        RequestError, EngagementError, SourceError: a month without an invoice, or an input that cannot be used.
    """
    engagement = job.engagement
    month = scope(job.month).name if job.month else None
    if month is None and (job.out / HISTORY).is_file():
        month = latest(engagement.table("ledger"))
    history = _earlier_months(job, month)
    words = Words(job.lang)
    step = job.progress.step
    whole = analyse(engagement, lang=job.lang, history=history, progress=lambda name: step(words(f"progress.{name}")))
    job.progress.reach(len(STEPS))
    month = month or latest(whole.ledger)
    of_month = one_month(whole, month)
    _check_months(whole.ledger, month)
    manifest.check_month(job.out / month)
    owner = manifest.owner(engagement)
    before = manifest.previous(job.out, month, owner)
    page = Page(
        whole=whole,
        analysis=of_month,
        month=month,
        lang=job.lang,
        redact=job.redact,
        previous=str(before or ""),
        parameters={"month": month, "lang": job.lang, "redact": job.redact} | left_out(job.without, redact=job.redact),
        by_default=not job.month,
    )
    job.progress.note(*periods.scope(page), *page.say([withheld(page)]))
    found = page.safe(manifest.findings(page))
    memories = memory.remember(page, job.out)
    job.progress.note(*memory.overdue_lines(memories.told, page, words))
    paper = _paper(page, found, concluded := _concluded(job, month, before))
    steps = step_lines.totals(page, found, written=paper.height)
    _require_sums(whole, steps)
    return Material(
        job=replace(job, engagement=engagement.without_readings()),  # its frames are in the cache now
        month=month,
        owner=owner,
        rows=whole.ledger.height + whole.platform.height,
        taken_at=whole.taken_at,
        manifest=manifest.build(page, found, steps=steps, started_at=job.started_at) | {"history": memories.told},
        findings=found,
        sheets=_sheets(page, found, paper, steps, settled=working_papers.settled(concluded, found)),
        history=history,
        delays=observations.of_delays(of_month.observations, of_month.findings),
        previous=before,
        concluded=concluded,
        inputs=page.safe(_inputs(engagement)),
        file_totals=page.safe(step_totals.files(whole)).to_dicts(),
        unnamed=_unnamed(page) if job.unnamed else [],
        entry=memories.entry,
    )


def _unnamed(page: Page) -> list[dict[str, Any]]:
    """Return the five lines with nobody named; none where no key of pseudonyms can be kept, which stops no report."""
    with suppress(PlaceError):
        return lines.lines(replace(page, redact=True))
    return []


def _concluded(job: Job, month: str, before: Path | None) -> pl.DataFrame:
    """Return what was filled in so far: in the papers beside it, the last written first, and before all in those named.

    A redacted report keeps no notes, for they name whom they like.

    Raises:
        RequestError: it would take the place of a paper with notes.
    """
    own = job.out / month / WORKBOOK
    concluded = working_papers.conclusions([*_papers_beside(job, month, before), *job.papers])
    if not job.redact:
        return concluded
    if own.is_file() and working_papers.conclusions([own]).height:
        raise RequestError("error_report.holds_notes", paper=own)
    bare = concluded.with_columns(pl.lit(None, pl.String).alias(name) for name in working_papers.NOTES)
    return bare.filter(pl.any_horizontal(pl.col(working_papers.FILLED_IN).is_not_null()))


def _papers_beside(job: Job, month: str, before: Path | None) -> list[Path]:
    """Return the papers of the same company in the folder of reports that may hold notes of it, the last written last.

    Its own as it stands, that of the last report, and those of months within a year, or of a year around a month.
    """
    mine, owner = scope(month), manifest.owner(job.engagement)
    beside = [path.parent for path in manifest.all_in(job.out) if manifest.belongs(manifest.read(path), owner)]
    near = [one for one in beside if mine.contains(scope(one.name)) or scope(one.name).contains(mine)]
    found = {folder / WORKBOOK for folder in [job.out / month, *near, *([before.parent] if before else [])]}
    return sorted((file for file in found if file.is_file()), key=lambda file: (file.stat().st_mtime_ns, file))


def _inputs(engagement: Engagement) -> pl.DataFrame:
    """Return every file that was read, the settings first: `table`, `source_file`, `size`, `sha256`."""
    settings = engagement.folder / FILE
    told: list[tuple[str, str, int | None, str | None]] = []
    if settings.is_file():
        told.append(("audit.toml", FILE, settings.stat().st_size, engagement.settings.sha256))
    for table, files in engagement.contents().items():
        sizes = (path.stat().st_size if path.is_file() else None for path in files)
        told += [
            (table, engagement.relative(path), size, sha256)
            for (path, sha256), size in zip(files.items(), sizes, strict=True)
        ]
    shape = {"table": pl.String, "source_file": pl.String, "size": pl.Int64, "sha256": pl.String}
    return pl.DataFrame(told, schema=shape, orient="row")


def _require_sums(whole: Analysis, steps: pl.DataFrame) -> None:
    """Refuse a report of which a step does not add up.

    Raises:
        ReportError: it says which, and of a file's rows in which file.
    """
    for apart in step_totals.breaks(steps).head(1).iter_rows(named=True):
        files = step_totals.files(whole).filter(~pl.col("adds_up"), pl.col("table") == apart["side"])["source_file"]
        named = ", ".join(files.fill_null("–").head(MOST_NAMED)) if apart["step"] == "read" else ""
        raise ReportError(
            "error_report.does_not_add_up",
            **{name: f"{apart[name]:,}" for name in ("rows", "yuan", "rows_there", "yuan_there")},
            step=Phrase(f"totals_step.{apart['step']}"),
            side=Phrase(f"totals_side.{apart['side']}"),
            files=Phrase("error_report.of_files", files=named) if named else "",
        )


def _paper(page: Page, found: pl.DataFrame, concluded: pl.DataFrame) -> pl.DataFrame:
    """Return the findings as they stand in the working paper."""
    month = page.analysis
    return working_papers.papers(
        found,
        page.safe(month.ledger),
        page.safe(month.platform),
        month.matches,
        concluded=concluded,
        events=_numbers(page),
        direction=page.whole.engagement.direction,
        words=page.words,
    )


def _sheets(
    page: Page, found: pl.DataFrame, paper: pl.DataFrame, steps: pl.DataFrame, *, settled: pl.DataFrame
) -> list[workbook.Sheet]:
    """Return the sheets of the workbook, as they may be shown."""
    whole = page.whole
    return workbook.report_sheets(
        found,
        paper,
        *(page.safe(frame) for frame in (whole.files, whole.control, whole.set_aside)),
        unused=page.unused,
        settled=settled,
        steps=[step_lines.sheet(steps, page.words), page.safe(step_totals.files(whole))],
        events=event_rows.event_sheet(page),
        lang=page.lang,
    )


def _numbers(page: Page) -> pl.DataFrame:
    """Return the event of each finding: `finding_id`, `event`."""
    numbers = page.events.select("key", "event")
    return page.weighed.join(numbers, on="key", how="left").select("finding_id", "event")


def _earlier_months(job: Job, month: str | None) -> Path | None:
    """Return a file of the delays of earlier months alone, so that a month made again is made from the same."""
    with suppress(RequestError):  # it counts as none, and is kept aside when the report is published
        kept = earlier.history(job.out / HISTORY)
        if kept is None or month in {None, EVERYTHING}:
            return None
        if not (before := kept.filter(pl.col("month") < month)).is_empty():
            before.write_parquet(job.stage / HISTORY)
            return job.stage / HISTORY
    return None


def _check_months(ledger: pl.DataFrame, month: str) -> None:
    """Refuse a month or a year of which the ledger has nothing."""
    months = months_of(ledger)
    if scope(month).start is not None and not any(known.startswith(month) for known in months):
        raise RequestError(
            "error_report.no_invoice_of", month=month, known=", ".join(months) or Phrase("error_core.unknown")
        )
