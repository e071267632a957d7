"""A problem report for one recipient: a letter as docx and PDF, a workbook, and the list of both with their hashes."""

from __future__ import annotations

import json
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from audit_kit import resources
from audit_kit.analysis.work import analyse, require_both_sides
from audit_kit.core import outputs
from audit_kit.core.errors import RequestError
from audit_kit.core.hashing import hash_file
from audit_kit.core.kept.pseudonyms import Pseudonyms, key_of
from audit_kit.core.words import LANGUAGES, Words
from audit_kit.paper.docx_file import write_docx
from audit_kit.paper.letter import ANNEX, RECIPIENTS, Letter
from audit_kit.paper.pdf_file import write_pdf
from audit_kit.paper.trouble import case_of, chosen
from audit_kit.paper.veil import veil
from audit_kit.report.workbook import Sheet, write_workbook

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager

    from audit_kit.loaders.engagement.engagement import Engagement

MANIFEST = "manifest.json"


@dataclass(frozen=True, kw_only=True)
class Package:
    """What was written: folder, files, how many findings it tells, and why there is no PDF (null = there is)."""

    folder: Path
    files: tuple[str, ...]
    findings: int
    reference: str
    no_pdf: str | None


def package(
    engagement: Engagement,
    out: Path,
    *,
    to: str,
    finding: str | None = None,
    cause: str | None = None,
    lang: str = "zh",
) -> Package:
    """Write a problem report about one finding or all of a cause; the folder appears whole or not at all.

    Args:
        engagement: see `open_engagement`.
        out: the package's folder: a new or empty one, or an earlier package, which it takes the place of.
        to: support, it, management or tax_bureau.
        finding: the id of a finding.
        cause: the code or title of a cause.
        lang: the recipient's language.

    Raises:
        RequestError: no such recipient, finding or cause, or `out` is in the engagement or holds other files.
        EngagementError: there is no ledger, or no platform export.
        PlaceError: `out` cannot be written to, or the key of the pseudonyms cannot be kept.
    """
    if to not in RECIPIENTS or lang not in LANGUAGES:
        raise RequestError("error_paper.no_recipient", to=to, lang=lang, known=", ".join(RECIPIENTS))
    require_both_sides(engagement)
    with whole(engagement, out) as folder:
        analysis = analyse(engagement, lang=lang)
        case = case_of(analysis, chosen(analysis, finding=finding, cause=cause), lang=lang)
        about = resources.load("recipients")[to]
        seen = veil(
            analysis,
            (case.invoices, case.tried, case.tickets, case.messages),
            about,
            Pseudonyms(key_of(engagement.folder), lang),
        )
        letter = Letter(case, to, about, seen, lang)
        document = letter.document()
        folder.mkdir()
        write_docx(document, folder / "letter.docx", lang=lang, made_at=analysis.taken_at)
        write_workbook(folder / ANNEX, list(_sheets(letter)), lang=lang, made_at=analysis.taken_at)
        try:
            write_pdf(document, folder / "letter.pdf", lang=lang, made_at=analysis.taken_at)
            no_pdf = None
        except RequestError as error:
            no_pdf = str(error)
        engagement.check_unchanged()
        files = list_files(folder, {"to": to, "lang": lang, "reference": letter.reference})
    return Package(folder=out, files=files, findings=case.found.height, reference=letter.reference, no_pdf=no_pdf)


def whole(engagement: Engagement, out: Path) -> AbstractContextManager[Path]:
    """Give a folder that becomes `out` in one step; one that holds what we did not write is never replaced.

    Raises:
        RequestError: `out` lies in the engagement, or is a folder with other files in it.
    """
    used = [path for entries in engagement.sources.values() for entry in entries for path in entry.paths]
    if Path(out).resolve().is_relative_to(engagement.folder):
        raise RequestError("error_paper.inside", out=out)
    if out.is_dir() and not _is_ours(out):
        raise RequestError("error_paper.other_files", out=out)
    return outputs.writing(Path(out), inputs=[engagement.folder, *used], folder=True)


def list_files(folder: Path, about: dict[str, Any]) -> tuple[str, ...]:
    """Write the list of a folder's files with their hashes, and return their names."""
    names = sorted(path.name for path in folder.iterdir())
    listed = {"audit_kit": version("audit-kit"), **about, "files": {name: hash_file(folder / name) for name in names}}
    (folder / MANIFEST).write_text(json.dumps(listed, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")
    return (*names, MANIFEST)


def _is_ours(folder: Path) -> bool:
    """Say whether a folder is empty, or holds nothing but what its own list names."""
    names = {path.name for path in folder.iterdir()}
    if not names:
        return True
    try:
        listed = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        return "audit_kit" in listed and names <= {*listed["files"], MANIFEST}
    except (OSError, ValueError, TypeError, KeyError):
        return False


def _sheets(letter: Letter) -> Iterator[Sheet]:
    """Yield the sheets of the workbook: what it is, and every row that the letter has no room for."""
    words = letter.words
    heads = words.section("annex_head")
    about = pl.DataFrame(letter.head(), schema={"item": pl.String(), "value": pl.String()}, orient="row")
    note = words("letter.masked")
    yield Sheet(words("annex.about"), about, {name: words(f"annex.{name}") for name in about.columns}, (note,))
    yield Sheet(words("annex.invoices" if letter.case.of_books else "annex.items"), letter.invoices, heads)
    if letter.about["messages"] and letter.figures.count:
        yield Sheet(words("annex.messages"), letter.messages, heads | {"last_at": heads["last_at_message"]})
    yield Sheet(words("annex.tried"), letter.tried, heads)
    missing = pl.col("sha256").fill_null(words("letter.missing"))
    yield Sheet(words("annex.attachments"), letter.attachments.drop("of_invoice").with_columns(missing), heads)


def notes(made: Package, lang: str) -> list[str]:
    """Return what whoever sends a package should know."""
    words = Words(lang)
    told = [words("package.no_pdf", reason=made.no_pdf)] if made.no_pdf else []
    return [*told, words("package.read_first")]
