"""A document as PDF, printed from a page by the browser that prints the reports."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from audit_kit.core import outputs
from audit_kit.paper.document import Facts, Heading, Paragraph, Table, plain
from audit_kit.paper.docx_file import WIDE
from audit_kit.report.pages import render
from audit_kit.report.printing import browser_path, print_pages

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime
    from pathlib import Path

    from audit_kit.paper.document import Document


def page_of(document: Document, *, lang: str) -> str:
    """Return a document as one page of HTML; every text is escaped."""
    return render(
        "paper",
        lang=lang,
        title=plain(document.title),
        blocks=[(type(block).__name__, _plain(block)) for block in document.blocks],
        note=plain(document.note),
        wide=any(isinstance(block, Table) and len(block.heads) >= WIDE for block in document.blocks),
    )


def write_pdf(document: Document, path: Path, *, lang: str, made_at: datetime) -> None:
    """Print a document; `made_at` stands in its properties, so that it is the same whenever it is printed.

    Raises:
        RequestError: there is no browser that could print, or no playwright.
    """
    write_pdfs({path: (document, lang)}, made_at=made_at)


def write_pdfs(documents: Mapping[Path, tuple[Document, str]], *, made_at: datetime) -> None:
    """Print several documents, each in its language, by one browser; see `write_pdf`.

    Raises:
        RequestError: there is no browser that could print, or no playwright.
    """
    browser_path()
    with outputs.scratch() as beside:
        pages = [beside / f"{place:04d}.html" for place in range(len(documents))]
        for page, (document, lang) in zip(pages, documents.values(), strict=True):
            page.write_text(page_of(document, lang=lang), encoding="utf-8")
        for path, printed in zip(documents, print_pages(pages, made_at=made_at), strict=True):
            path.write_bytes(printed.read_bytes())


def _plain(block: Heading | Paragraph | Facts | Table) -> Heading | Paragraph | Facts | Table:
    if isinstance(block, Heading | Paragraph):
        return replace(block, text=plain(block.text))
    if isinstance(block, Facts):
        return replace(block, rows=[(plain(name), plain(value)) for name, value in block.rows])
    return replace(block, rows=[tuple(plain(cell) for cell in row) for row in block.rows])
