"""The second step of a report: notebooks run, pages, workbook and manifest written into the folder where it is made."""

from __future__ import annotations

import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import nbformat

from audit_kit.core import outputs, places
from audit_kit.core.errors import ReportError
from audit_kit.core.files import shown, shown_path
from audit_kit.core.words import Words
from audit_kit.report import front, manifest, notebooks, pages, workbook
from audit_kit.report.job import FAILED, INDEX, WORKBOOK, Job, now
from audit_kit.views.show.page import one_a_line

if TYPE_CHECKING:
    import polars as pl

    from audit_kit.report.work_up import Material

LARGE = 1_000_000  # rows of both sides; from here on one notebook at a time, for each holds them in memory
WHY = "why.txt"


@dataclass(frozen=True, kw_only=True)
class Finished:
    """A report whose files are whole in `folder`, not yet in its place.

    `delays` and `entry` are what the month adds to the histories of delays and of findings.
    """

    job: Job
    month: str
    owner: manifest.Owner
    folder: Path
    delays: pl.DataFrame
    entry: pl.DataFrame | None


def write_pages(material: Material) -> Finished:
    """Write the report of what was worked up; the workbook is written while the notebooks run elsewhere.

    Raises:
        ReportError: a notebook failed; it stands in `out/failed/month` with its failing cell.
    """
    job, folder = material.job, material.job.stage / "report"
    folder.mkdir()
    with ThreadPoolExecutor(1) as beside:
        written = beside.submit(
            workbook.write_workbook, folder / WORKBOOK, material.sheets, lang=job.lang, made_at=material.taken_at
        )
        executed = _executed(material)
        written.result()
    _write(material, executed, folder)
    return Finished(
        job=job, month=material.month, owner=material.owner, folder=folder, delays=material.delays, entry=material.entry
    )


def _executed(material: Material) -> dict[str, nbformat.NotebookNode]:
    """Run the notebooks, and return them by their names."""
    job = material.job
    values = {
        "engagement": _as_typed(job.place),
        "month": material.month,
        "lang": job.lang,
        "redact": job.redact,
        "previous": _as_typed(material.previous) if material.previous else "",
        "history": _as_typed(material.history) if material.history else "",
        "without": one_a_line(job.without),
    }
    folder = job.stage / "notebooks"
    folder.mkdir()
    job.progress.doing(Words(job.lang)("progress.pages"))
    try:
        notebooks.run_all(
            job.notebooks,
            values,
            lang=job.lang,
            folder=folder,
            jobs=job.jobs if material.rows < LARGE else 1,
            done=lambda path: job.progress.step(pages.short(_title(path, job.lang))),
        )
    except notebooks.NotebookFailed as failure:
        raise _kept(failure, job.out, material.month, job.stage / FAILED, lang=job.lang) from None
    return {path.stem: nbformat.read(path, as_version=4) for path in sorted(folder.glob("*.ipynb"))}


def _title(notebook: Path, lang: str) -> str:
    """Return the title of a notebook that ran, read without its outputs."""
    source = next((path for path in places.notebooks() if path.name == notebook.name), notebook)
    prepared = notebooks.prepared(nbformat.read(source, as_version=4), lang=lang)
    return pages.title_of(prepared, default=notebook.stem)


def _kept(failure: notebooks.NotebookFailed, out: Path, month: str, made: Path, *, lang: str) -> Exception:
    """Keep the failed notebook and say in one sentence what happened; a user's mistake stays a user's mistake."""
    folder = out / FAILED / month
    folder.parent.mkdir(parents=True, exist_ok=True)
    made.mkdir()
    if failure.path.is_file():
        shutil.copy(failure.path, made / failure.path.name)
    error = (failure.user_error or ReportError)(
        "error_report.stopped",
        file=failure.path.name,
        cell=failure.cell,
        kind="" if failure.user_error else f"{failure.kind}: ",
        why=failure,
        folder=folder,
    )
    (made / WHY).write_text(f"{shown(error.said(lang))}\n", encoding="utf-8")
    with outputs.alone(out):
        outputs.move_in(made, folder)
    return error


def _write(material: Material, executed: dict[str, nbformat.NotebookNode], folder: Path) -> None:
    """Write the pages, the findings and the manifest."""
    lang, about = material.job.lang, material.manifest
    answers = Words(lang).section("notebook")
    titles = {stem: pages.title_of(notebook, default=stem) for stem, notebook in executed.items()}
    tabs = [
        front.Tab(f"{stem}.html", pages.short(title), title, answers.get(stem, "")) for stem, title in titles.items()
    ]
    head = front.head(about, lang=lang)
    for stem, notebook in executed.items():
        page = pages.notebook_page(notebook, file=f"{stem}.html", lang=lang, head=head, tabs=tabs)
        (folder / f"{stem}.html").write_text(page, encoding="utf-8")
    outputs.write_parquet(material.findings, folder / manifest.FINDINGS)
    if material.job.binder:
        from audit_kit.report.binder import binding  # noqa: PLC0415  only where one is asked for

        sealed = binding.seal(material, folder)
        about = {**about, "binder": {"file": binding.FILE, "head": sealed.head, "inputs_copied": sealed.copied}}
    about = manifest.finished(about, at=now())
    (folder / INDEX).write_text(front.front_page(about, tabs, lang=lang, pdf=material.job.pdf), encoding="utf-8")
    if material.job.pdf:
        from audit_kit.report.printing import print_pages  # noqa: PLC0415  an extra

        print_pages([folder / INDEX, *(folder / tab.file for tab in tabs)], made_at=material.taken_at)
    manifest.write(folder, about)


def _as_typed(path: Path) -> str:
    """Return a path as a page may show it: relative to where we stand, if it is below."""
    whole, here = path.resolve(), Path.cwd()
    inside = whole.is_relative_to(here) and whole != here
    return shown_path(whole.relative_to(here)) if inside else shown(str(whole))
