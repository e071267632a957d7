"""The emergency plan on paper: the plan, an exercise from a past month, and its answers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from audit_kit.analysis.work import analyse, require_both_sides
from audit_kit.core.errors import RequestError
from audit_kit.core.words import LANGUAGES
from audit_kit.paper.docx_file import write_docx
from audit_kit.paper.exercise import Exercise, check_month, month_of
from audit_kit.paper.package import list_files, whole
from audit_kit.paper.plan_document import PlanDocument

if TYPE_CHECKING:
    from pathlib import Path

    from audit_kit.loaders.engagement.engagement import Engagement


@dataclass(frozen=True, kw_only=True)
class PlanPaper:
    """What was written: its folder, its files, the plan's gaps in words, the month of the exercise."""

    folder: Path
    files: tuple[str, ...]
    gaps: tuple[str, ...]
    month: str


def write_plan(engagement: Engagement, out: Path, *, month: str | None = None, lang: str = "zh") -> PlanPaper:
    """Write the emergency plan with its gaps marked, an exercise and its answers; the folder appears whole or not.

    Args:
        engagement: see `open_engagement`; `[plan]`, `[calendar]`, `[training]` and `[policy]` fill the plan.
        out: the folder: a new or empty one, or an earlier one of ours, which it takes the place of.
        month: `YYYY-MM` of the exercise; null = the month with most missing invoices.
        lang: zh or en.

    Raises:
        RequestError: no such month or language, or `out` is in the engagement or holds other files.
        EngagementError: there is no ledger, or no platform export.
        PlaceError: `out` cannot be written to.
    """
    if lang not in LANGUAGES:
        raise RequestError("error_analysis.no_language", lang=lang, known=" and ".join(LANGUAGES))
    check_month(month)
    require_both_sides(engagement)
    with whole(engagement, out) as folder:
        analysis = analyse(engagement, lang=lang)
        plan = PlanDocument(engagement, analysis.taken_at, lang)
        exercise = Exercise(analysis, month_of(analysis, month), plan.role, lang)
        folder.mkdir()
        documents = {"plan": plan.document(), "exercise": exercise.document(), "answers": exercise.answers()}
        for name, document in documents.items():
            write_docx(document, folder / f"{name}.docx", lang=lang, made_at=analysis.taken_at)
        engagement.check_unchanged()
        files = list_files(folder, {"lang": lang, "month": exercise.month.name, "gaps": len(plan.gaps)})
    said = tuple(plan.said(gap) for gap in plan.gaps)
    return PlanPaper(folder=out, files=files, gaps=said, month=exercise.month.name)
