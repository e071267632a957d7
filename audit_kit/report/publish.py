"""The last step of a report: history, report and list of the months in their places, each whole before and after."""

from __future__ import annotations

import re
import shutil
from typing import TYPE_CHECKING

from audit_kit.analysis import earlier, findings_history
from audit_kit.analysis.report_scope import scope
from audit_kit.core import outputs
from audit_kit.core.errors import RequestError
from audit_kit.core.words import Words
from audit_kit.report import front, manifest, pages
from audit_kit.report.history import months_register, trend
from audit_kit.report.job import FAILED, HISTORY, INDEX
from audit_kit.rules.sync import observations

if TYPE_CHECKING:
    from pathlib import Path

    import polars as pl

    from audit_kit.report.write_pages import Finished

UNREADABLE = "history.unreadable.parquet"
_MONTH = re.compile(r"[0-9]{4}-[0-9]{2}")


def publish(finished: Finished) -> Path:
    """Put a finished report in its place, and return that.

    Raises:
        EngagementError: an input changed while the report was made.
        RequestError: another run has meanwhile put something else there.
        PlaceError: another run holds the folder.
    """
    job, month = finished.job, finished.month
    job.engagement.check_unchanged()
    job.progress.step(Words(job.lang)("progress.saving"))
    out, folder = job.out, job.out / month
    with outputs.alone(out):  # other runs may have published since this one began
        months_register.check_owner(out, finished.owner)
        manifest.check_month(folder)
        kept = _history(out, job.stage)
        if scope(month).kind == "month":
            made = observations.remembered(kept, finished.delays, month=month)
            outputs.write_parquet(made, job.stage / HISTORY)
            outputs.move_in(job.stage / HISTORY, out / HISTORY)
        if finished.entry is not None:
            entry = findings_history.place(out, month)
            entry.parent.mkdir(exist_ok=True)
            outputs.write_parquet(finished.entry, job.stage / entry.name)
            outputs.move_in(job.stage / entry.name, entry)
        outputs.move_in(finished.folder, folder)
        shutil.rmtree(out / FAILED / month, ignore_errors=True)
        list_months(out, month, lang=job.lang)
    return folder


def bring_back(out: Path) -> None:
    """Bring back a report that a run which died while it published has hidden."""
    outputs.bring_back(out)
    outputs.bring_back(out / FAILED)
    for hidden in out.glob(f"{outputs.MAKING}*/earlier"):  # where version 0.1 put it
        about = manifest.read(hidden / manifest.FILE) or {}
        place = out / str(about.get("month"))
        if _MONTH.fullmatch(place.name) and not place.exists():
            hidden.rename(place)


def _history(out: Path, stage: Path) -> pl.DataFrame | None:
    """Return the delays of the months reported so far; a file that cannot be read is kept aside."""
    try:
        return earlier.history(out / HISTORY)
    except RequestError:
        shutil.copy(out / HISTORY, stage / UNREADABLE)
        outputs.move_in(stage / UNREADABLE, out / UNREADABLE)
        return None


def list_months(out: Path, month: str, *, lang: str) -> None:
    """Bring the list of the months and the page on how they went up to date; the months' own pages stay as they are."""
    since = min([month, *_made_up_for(out)])
    found = months_register.renew(out, since)
    trend.write(out, found, lang=lang)
    pages.write(out / INDEX, front.months_page(found.lines, lang=lang, trend=trend.FILE))


def _made_up_for(out: Path) -> list[str]:
    """Write the entry of each month that was reported before there was a history, and return these months."""
    made = []
    for path in manifest.all_in(out):
        place = findings_history.place(out, path.parent.name)
        if _MONTH.fullmatch(path.parent.name) and not place.exists():
            entry = earlier.made_up_for(path)
            if entry is not None:
                place.parent.mkdir(exist_ok=True)
                with outputs.writing(place) as file:
                    outputs.write_parquet(entry, file)
                made.append(path.parent.name)
    return made
