"""The month's report: the engagement worked up once, the notebooks run, everything published together or not at all."""

from __future__ import annotations

import re
import shutil
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import nbformat
import polars as pl

from audit_kit.analysis import work as analyses
from audit_kit.core import outputs, places, schema
from audit_kit.core.errors import EXIT_DONE, EXIT_FINDINGS, EngagementError, PlaceError, ReportError, RequestError
from audit_kit.core.files import shown, shown_path
from audit_kit.core.words import LANGUAGES, Words
from audit_kit.loaders.engagement import shared_inputs
from audit_kit.loaders.engagement.engagement import open_engagement
from audit_kit.report import front, manifest, pages, workbook
from audit_kit.report import notebooks as execution
from audit_kit.report.progress import Progress, unused_lines
from audit_kit.rules.sync import observations
from audit_kit.views.show.page import Page, one_a_line

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from audit_kit.loaders.engagement.engagement import Engagement

BEIJING = timedelta(hours=8)
FAILED = "failed"
HISTORY = "history.parquet"
LARGE = 1_000_000  # rows of both sides; from here on one notebook at a time, for each holds them in memory
INDEX = "index.html"
UNREADABLE = "history.unreadable.parquet"
STEPS = ("reading", "matching", "delays", "backups", "diagnosis")
TRAINING = "04_"
WHY = "why.txt"
_MONTH = re.compile(r"[0-9]{4}-[0-9]{2}")


@dataclass(frozen=True, kw_only=True)
class ReportResult:
    """A finished report: its folder, the exit code, its findings (see schema.Findings) and its figures."""

    folder: Path
    exit_code: int
    findings: pl.DataFrame
    summary: dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class _Request:
    """A report as it was asked for."""

    engagement: Path
    month: str | None
    out: Path
    lang: str
    pdf: bool
    redact: bool
    jobs: int
    without: tuple[str, ...]
    started_at: datetime


@dataclass(frozen=True, kw_only=True)
class _Material:
    """What the pages need of the analysis, so that its frames are let go before the notebooks run."""

    month: str
    owner: Engagement
    rows: int
    manifest: dict[str, Any]
    findings: pl.DataFrame
    sheets: list[workbook.Sheet]
    history: Path | None
    delays: pl.DataFrame
    previous: Path | None


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
) -> ReportResult:
    """Write the report of one month to `out/month`, replacing an earlier one only when the new one is whole.

    Args:
        engagement: the engagement's folder.
        month: `YYYY-MM`; null = the latest in the ledger.
        out: folder of the reports of this engagement; its index.html lists the months.
        lang: `zh` or `en`.
        pdf: also print each page; needs a Chromium.
        redact: mask names and tax ids.
        fail_on: the exit code is 1 if a finding is at least this severe.
        jobs: notebooks run at the same time.
        without: files of the engagement that are left out on the user's word: paths within it, or globs.

    Raises:
        RequestError, EngagementError, SourceError: what was asked for cannot be done.
        PlaceError: `out` has no room, cannot be written to, or is held by another run.
        ReportError: a notebook failed; it stands in `out/failed/month` with its failing cell.
    """
    _check(lang=lang, fail_on=fail_on, jobs=jobs, pdf=pdf)
    request = _Request(
        engagement=Path(engagement).resolve(),
        month=month,
        out=Path(out),
        lang=lang,
        pdf=pdf,
        redact=redact,
        jobs=jobs,
        without=tuple(without),
        started_at=_now(),
    )
    notebooks = [path for path in places.notebooks() if not path.name.startswith(TRAINING)]
    with Progress(steps=len(STEPS) + len(notebooks) + 1) as progress:
        opened = open_engagement(engagement, without=without)
        progress.note(*unused_lines(opened.unused, lang=lang))
        _check_folder(opened, request.out)
        with _staging(request.out) as stage, shared_inputs.shared(stage / "truth"):
            material = _worked_up(request, opened, stage, progress)
            opened = opened.without_readings()  # its frames are in the cache now, for the notebooks to read
            with ThreadPoolExecutor(1) as beside:  # the workbook is written while the notebooks run elsewhere
                written = beside.submit(workbook.write_workbook, stage / "findings.xlsx", material.sheets, lang=lang)
                _run_notebooks(request, material, notebooks, stage, progress)
                written.result()
            _write_pages(request, material, stage)
            opened.check_unchanged()
            folder = _publish(request, material, stage)
    return _result(folder, material, fail_on)


def _result(folder: Path, material: _Material, fail_on: str | None) -> ReportResult:
    code = EXIT_FINDINGS if _at_least(material.findings, fail_on) else EXIT_DONE
    return ReportResult(folder=folder, exit_code=code, findings=material.findings, summary=material.manifest["summary"])


def _check(*, lang: str, fail_on: str | None, jobs: int, pdf: bool) -> None:
    if lang not in LANGUAGES:
        raise RequestError(f"{lang!r} is no language of the reports; they are {' and '.join(LANGUAGES)}.")
    if fail_on is not None and fail_on not in schema.SEVERITIES:
        raise RequestError(f"{fail_on!r} is no severity; they are {', '.join(schema.SEVERITIES)}.")
    if jobs < 1:
        raise RequestError(f"jobs is {jobs}; at least 1 notebook must run at a time.")
    if pdf:
        from audit_kit.report.printing import browser_path  # noqa: PLC0415  an extra, and looked for before the work begins

        browser_path()


def _check_folder(engagement: Engagement, out: Path) -> None:
    """Refuse a folder that would mix the report with the sources, or with the reports of another engagement."""
    for table in ("ledger", "platform"):
        if not engagement.has(table):
            raise EngagementError(f"{engagement.name}: no {table} is there; name it under [sources] in audit.toml.")
    if engagement.settings.sources is None and out.resolve().is_relative_to(engagement.folder):
        raise RequestError(
            f"{out} is inside the engagement, where its files would be taken for sources: choose another --out."
        )
    for path in manifest.all_in(out):
        found = manifest.read(path)
        if found is not None and not manifest.belongs(found, engagement):
            raise RequestError(f"{out} holds the reports of {found['engagement']['name']}: choose another --out.")


def _check_month(place: Path) -> None:
    """Refuse to replace what is no report."""
    if place.exists() and not (place / manifest.FILE).exists() and not (place.is_dir() and not any(place.iterdir())):
        raise RequestError(f"{place} is there, and is no report: choose another --out, so that nothing is lost.")


def _worked_up(request: _Request, engagement: Engagement, stage: Path, progress: Progress) -> _Material:
    """Compute everything once; the cache then holds it for the notebooks."""
    month = request.month
    if month is None and (request.out / HISTORY).is_file():
        month = _latest_month(engagement.table("ledger"))
    kept = _kept_history(request.out / HISTORY)
    history = _earlier_history(kept, month, stage)
    whole = analyses.analyse(engagement, lang=request.lang, history=history, progress=progress.step)
    progress.reach(len(STEPS))
    month = month or _latest_month(whole.ledger)
    of_month = analyses.month(whole, month)
    if month not in (months := _months(whole.ledger)):
        raise RequestError(f"The ledger has no invoice of {month}; its months are {', '.join(months) or 'unknown'}.")
    _check_month(request.out / month)
    earlier = None if kept is None else kept.filter(pl.col("month") < month)
    before = manifest.previous(request.out, month, engagement)
    page = Page(
        whole=whole,
        analysis=of_month,
        month=month,
        lang=request.lang,
        redact=request.redact,
        previous=str(before or ""),
        history=earlier,
        parameters={"month": month, "lang": request.lang, "redact": request.redact}
        | ({"without": one_a_line(request.without)} if request.without else {}),
    )
    found = page.safe(manifest.findings(page))
    detailed = workbook.detailed(found, page.safe(of_month.ledger), direction=engagement.direction)
    return _Material(
        month=month,
        owner=replace(engagement, _readings={}),
        rows=whole.ledger.height + whole.platform.height,
        manifest=manifest.build(page, found, started_at=request.started_at),
        findings=found,
        sheets=workbook.report_sheets(
            *(detailed, page.safe(whole.files), page.safe(whole.control), page.safe(whole.set_aside)),
            unused=page.unused,
            lang=request.lang,
        ),
        history=history,
        delays=observations.of_delays(of_month.observations, of_month.findings),
        previous=before,
    )


def _run_notebooks(
    request: _Request, material: _Material, notebooks: list[Path], stage: Path, progress: Progress
) -> None:
    values = {
        "engagement": _as_typed(request.engagement),
        "month": material.month,
        "lang": request.lang,
        "redact": request.redact,
        "previous": _as_typed(material.previous) if material.previous else "",
        "history": _as_typed(material.history) if material.history else "",
        "without": one_a_line(request.without),
    }
    folder = stage / "notebooks"
    folder.mkdir()
    jobs = request.jobs if material.rows < LARGE else 1
    progress.doing(", ".join(path.stem for path in notebooks))
    try:
        execution.run_all(
            notebooks,
            values,
            lang=request.lang,
            folder=folder,
            jobs=jobs,
            done=lambda path: progress.step(path.stem),
        )
    except execution.NotebookFailed as failure:
        raise _kept(failure, request.out, material.month, stage / FAILED) from None


def _kept(failure: execution.NotebookFailed, out: Path, month: str, made: Path) -> Exception:
    """Keep the failed notebook and say in one sentence what happened; a user's mistake stays a user's mistake."""
    folder = out / FAILED / month
    folder.parent.mkdir(parents=True, exist_ok=True)
    made.mkdir()
    if failure.path.is_file():
        shutil.copy(failure.path, made / failure.path.name)
    kind = "" if failure.user_error else f"{failure.kind}: "
    words = f"{failure.path.name} stopped at cell {failure.cell}: {kind}{failure.message.rstrip('. ')}"
    words = " ".join(f"{words}; the notebook up to there is in {folder}.".split())
    (made / WHY).write_text(f"{words}\n", encoding="utf-8")
    with outputs.alone(out):
        outputs.move_in(made, folder)
    return (failure.user_error or ReportError)(words)


def _write_pages(request: _Request, material: _Material, stage: Path) -> None:
    """Write the pages, the workbook and the manifest into the stage."""
    folder, lang, about = stage / "report", request.lang, material.manifest
    folder.mkdir()
    executed = {path.stem: nbformat.read(path, as_version=4) for path in sorted((stage / "notebooks").glob("*.ipynb"))}
    answers = Words(lang).section("notebook")
    titles = {stem: pages.title_of(notebook, default=stem) for stem, notebook in executed.items()}
    tabs = [
        front.Tab(f"{stem}.html", pages.short(title), title, answers.get(stem, "")) for stem, title in titles.items()
    ]
    head = front.head(about, lang=lang)
    for stem, notebook in executed.items():
        page = pages.notebook_page(notebook, file=f"{stem}.html", lang=lang, head=head, tabs=tabs)
        (folder / f"{stem}.html").write_text(page, encoding="utf-8")
    material.findings.write_parquet(folder / manifest.FINDINGS)
    (stage / "findings.xlsx").rename(folder / "findings.xlsx")
    about = manifest.finished(about, at=_now())
    (folder / INDEX).write_text(front.front_page(about, tabs, lang=lang, pdf=request.pdf), encoding="utf-8")
    if request.pdf:
        from audit_kit.report.printing import print_pages  # noqa: PLC0415  an extra

        print_pages([folder / INDEX, *(folder / tab.file for tab in tabs)])
    manifest.write(folder, about)


def _publish(request: _Request, material: _Material, stage: Path) -> Path:
    """Put history, report and list of the months in their places; each is whole, before and after."""
    out, folder = request.out, request.out / material.month
    with outputs.alone(out):  # other runs may have published since this one began
        _check_folder(material.owner, out)
        _check_month(folder)
        kept = _kept_history(out / HISTORY)
        if kept is None and (out / HISTORY).exists():
            shutil.copy(out / HISTORY, stage / UNREADABLE)
            outputs.move_in(stage / UNREADABLE, out / UNREADABLE)
        observations.remembered(kept, material.delays, month=material.month).write_parquet(stage / HISTORY)
        outputs.move_in(stage / HISTORY, out / HISTORY)
        outputs.move_in(stage / "report", folder)
        shutil.rmtree(out / FAILED / material.month, ignore_errors=True)
        _publish_months(request)
    return folder


def _publish_months(request: _Request) -> None:
    """Bring the list of the months up to date; the months' own pages stay as they are."""
    found = [manifest.read(path) for path in sorted(manifest.all_in(request.out), reverse=True)]
    page = front.months_page([about for about in found if about is not None], lang=request.lang)
    pages.write(request.out / INDEX, page)


@contextmanager
def _staging(out: Path) -> Iterator[Path]:
    """Give a folder beside the reports; whatever is still in it at the end is removed."""
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise PlaceError(f"{out} cannot be made ({error.strerror}); choose another --out.") from error
    with outputs.scratch(out.resolve(), outputs.MAKING) as folder:
        with outputs.alone(out):
            _bring_back(out)
        yield folder


def _bring_back(out: Path) -> None:
    """Bring back a report that a run which died while it published has hidden."""
    outputs.bring_back(out)
    outputs.bring_back(out / FAILED)
    for hidden in out.glob(f"{outputs.MAKING}*/earlier"):  # where version 0.1 put it
        about = manifest.read(hidden / manifest.FILE) or {}
        place = out / str(about.get("month"))
        if _MONTH.fullmatch(place.name) and not place.exists():
            hidden.rename(place)


def _kept_history(path: Path) -> pl.DataFrame | None:
    """Return the delays of the months reported so far; a file that cannot be read counts as none."""
    try:
        return pl.read_parquet(path, glob=False).select(*observations.HISTORY).cast(pl.Schema(observations.HISTORY))
    except (OSError, pl.exceptions.PolarsError):
        return None


def _earlier_history(kept: pl.DataFrame | None, month: str | None, stage: Path) -> Path | None:
    """Return the delays of earlier months alone, so that a month made again is made from the same."""
    if kept is None or month is None or (earlier := kept.filter(pl.col("month") < month)).is_empty():
        return None
    earlier.write_parquet(stage / HISTORY)
    return stage / HISTORY


def _as_typed(path: Path) -> str:
    """Return a path as a page may show it: relative to where we stand, if it is below."""
    whole, here = path.resolve(), Path.cwd()
    inside = whole.is_relative_to(here) and whole != here
    return shown_path(whole.relative_to(here)) if inside else shown(str(whole))


def _latest_month(ledger: pl.DataFrame) -> str:
    latest = ledger["issued_at"].max()
    if not isinstance(latest, datetime):
        raise RequestError("No row of the ledger has a date; name the month as --month 2025-05.")
    return f"{latest:%Y-%m}"


def _months(ledger: pl.DataFrame) -> list[str]:
    return ledger["issued_at"].drop_nulls().dt.strftime("%Y-%m").unique().sort().to_list()


def _at_least(found: pl.DataFrame, severity: str | None) -> bool:
    if severity is None:
        return False
    wanted = schema.SEVERITIES[: schema.SEVERITIES.index(severity) + 1]
    return bool(found["severity"].cast(pl.String).is_in(wanted).any())


def _now() -> datetime:
    """Return the time in Beijing, without a zone, to the second."""
    return (datetime.now(UTC) + BEIJING).replace(tzinfo=None, microsecond=0)
