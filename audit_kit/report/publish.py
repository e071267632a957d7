"""The last step of a report: history, report and list of the months in their places, each whole before and after."""

from __future__ import annotations

import re
import shutil
from typing import TYPE_CHECKING

from audit_kit.analysis import earlier
from audit_kit.analysis.report_scope import scope
from audit_kit.core import outputs
from audit_kit.core.errors import RequestError
from audit_kit.core.words import Words
from audit_kit.report import front, manifest, pages
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
        manifest.check_owner(out, finished.owner)
        manifest.check_month(folder)
        kept = _history(out, job.stage)
        if scope(month).kind == "month":
            made = observations.remembered(kept, finished.delays, month=month)
            outputs.write_parquet(made, job.stage / HISTORY)
            outputs.move_in(job.stage / HISTORY, out / HISTORY)
        outputs.move_in(finished.folder, folder)
        shutil.rmtree(out / FAILED / month, ignore_errors=True)
        _list_months(out, job.lang)
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


def _list_months(out: Path, lang: str) -> None:
    """Bring the list of the months up to date; the months' own pages stay as they are."""
    found = [manifest.read(path) for path in sorted(manifest.all_in(out), reverse=True)]
    page = front.months_page([about for about in found if about is not None], lang=lang)
    pages.write(out / INDEX, page)
