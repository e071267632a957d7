"""The month's report: the engagement worked up once, the notebooks run, everything published together or not at all."""

from __future__ import annotations

import os
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from audit_kit.analysis.report_scope import scope
from audit_kit.analysis.work import require_both_sides
from audit_kit.core import outputs, places, schema
from audit_kit.core.errors import EXIT_DONE, EXIT_FINDINGS, PlaceError, RequestError, of_system
from audit_kit.core.files import shown_path
from audit_kit.core.words import LANGUAGES
from audit_kit.loaders.engagement import shared_inputs
from audit_kit.loaders.engagement.engagement import open_engagement
from audit_kit.report import manifest
from audit_kit.report.history import months_register
from audit_kit.report.job import STEPS, Job
from audit_kit.report.progress import Progress, unused_lines
from audit_kit.report.publish import bring_back, publish
from audit_kit.report.work_up import work_up
from audit_kit.report.write_pages import write_pages

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from audit_kit.loaders.engagement.engagement import Engagement
    from audit_kit.report.work_up import Material

TRAINING = "04_"


@dataclass(frozen=True, kw_only=True)
class ReportResult:
    """A finished report: its folder, the exit code, its findings (see schema.Findings), its figures, its binder.

    `month` is what it is of; `unnamed` are the five lines with nobody named, where they were asked for.
    `binder` has `file`, `head` and `inputs_copied`; null where none was asked for.
    """

    folder: Path
    exit_code: int
    findings: pl.DataFrame
    summary: dict[str, Any]
    month: str = ""
    unnamed: Sequence[dict[str, Any]] = ()
    binder: dict[str, Any] | None = None


def run_report(
    engagement: str | Path,
    *,
    month: str | None = None,
    out: str | Path = "reports",
    lang: str = "zh",
    pdf: bool = False,
    redact: bool = False,
    fail_on: str | None = None,
    jobs: int = 2,
    without: Sequence[str] = (),
    papers: Sequence[str | Path] = (),
    binder: str | None = None,
    unnamed: bool = False,
) -> ReportResult:
    """Write the report of a month, a year or everything to `out/month`; an earlier one is replaced by a whole one.

    Args:
        engagement: the engagement's folder.
        month: as `2025-05`, `2024` or `all`; null = the latest month that is not lonely (analysis.report_scope).
        out: folder of the reports of this engagement; its index.html lists them.
        lang: `zh` or `en`.
        pdf: also print each page; needs a Chromium.
        redact: mask names and tax ids.
        fail_on: the exit code is 1 if a finding is at least this severe.
        jobs: notebooks run at the same time.
        papers: working papers (findings.xlsx) that auditors filled in elsewhere.
        binder: also write binder.zip, with `copies` of the inputs or with their `hashes`; null = none.
        unnamed: also return the five lines with nobody named.
        without: files of the engagement that are left out on the user's word: paths within it, or globs.

    Raises:
        RequestError, EngagementError, SourceError: what was asked for cannot be done.
        PlaceError: `out` has no room, cannot be written to, or is held by another run.
        ReportError: a notebook failed; it stands in `out/failed/month` with its failing cell; or a step does not tie.
    """
    _check(month=month, lang=lang, fail_on=fail_on, jobs=jobs, pdf=pdf, binder=binder)
    notebooks = [path for path in places.notebooks() if not path.name.startswith(TRAINING)]
    with Progress(steps=len(STEPS) + len(notebooks) + 1) as progress:
        opened = _opened(engagement, without, Path(out), progress, lang)
        with _staging(Path(out)) as stage, shared_inputs.shared(stage / "truth"):
            job = Job(
                engagement=opened,
                place=Path(engagement).resolve(),
                month=month,
                out=Path(out),
                lang=lang, pdf=pdf, redact=redact, jobs=jobs,
                without=tuple(without),
                notebooks=notebooks,
                papers=tuple(map(Path, papers)),
                binder=binder,
                stage=stage,
                progress=progress,
                unnamed=unnamed,
            )  # fmt: skip
            material = work_up(job)
            del opened, job  # their frames are in the cache now, for the notebooks to read
            return _result(publish(write_pages(material)), material, fail_on)


def _result(folder: Path, material: Material, fail_on: str | None) -> ReportResult:
    return ReportResult(
        folder=folder,
        exit_code=EXIT_FINDINGS if _at_least(material.findings, fail_on) else EXIT_DONE,
        findings=material.findings,
        summary=material.manifest["summary"],
        month=material.month,
        unnamed=material.unnamed,
        binder=(manifest.read(folder / manifest.FILE) or {}).get("binder"),
    )


def _check(*, month: str | None, lang: str, fail_on: str | None, jobs: int, pdf: bool, binder: str | None) -> None:
    if lang not in LANGUAGES:
        raise RequestError("error_analysis.no_language", lang=lang, known=" and ".join(LANGUAGES))
    if fail_on is not None and fail_on not in schema.SEVERITIES:
        raise RequestError("error_report.no_severity", fail_on=fail_on, known=", ".join(schema.SEVERITIES))
    if month is not None:
        scope(month)
    if binder not in {None, "copies", "hashes"}:
        raise RequestError("error_binder.no_kind", binder=binder)
    if jobs < 1:
        raise RequestError("error_report.jobs", jobs=jobs)
    if pdf:
        from audit_kit.report.printing import browser_path  # noqa: PLC0415  an extra, and looked for before the work begins

        browser_path()


def _opened(engagement: str | Path, without: Sequence[str], out: Path, progress: Progress, lang: str) -> Engagement:
    """Open an engagement, say which of its files are not used, and refuse what cannot become a report there."""
    opened = open_engagement(engagement, without=without)
    progress.note(*unused_lines(opened.unused, lang=lang))
    _check_place(opened, out)
    return opened


def _check_place(engagement: Engagement, out: Path) -> None:
    """Refuse an engagement without both sides, and a folder for its reports that would mix with something else."""
    require_both_sides(engagement)
    if shown_path(named := os.path.realpath(out)) != Path(named).as_posix():
        raise RequestError("error_report.odd_name", out=out)
    if engagement.settings.sources is None and out.resolve().is_relative_to(engagement.folder):
        raise RequestError("error_report.inside", out=out)
    months_register.check_owner(out, manifest.owner(engagement))


@contextmanager
def _staging(out: Path) -> Iterator[Path]:
    """Give a folder beside the reports; whatever is still in it at the end is removed."""
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise PlaceError("error_report.not_made", out=out, why=of_system(error.strerror)) from error
    with outputs.scratch(out.resolve(), outputs.MAKING) as folder:
        with outputs.alone(out):
            bring_back(out)
        yield folder


def _at_least(found: pl.DataFrame, severity: str | None) -> bool:
    if severity is None:
        return False
    wanted = schema.SEVERITIES[: schema.SEVERITIES.index(severity) + 1]
    return bool(found["severity"].cast(pl.String).is_in(wanted).any())
