"""A document as docx: the same document and time give the same bytes, and no text is ever a field or a link."""

from __future__ import annotations

import io
import zipfile
from typing import TYPE_CHECKING

import docx
from docx.enum.section import WD_ORIENT
from docx.enum.text import WD_ALIGN_PARAGRAPH, WD_COLOR_INDEX
from docx.oxml import OxmlElement
from docx.oxml.ns import qn
from docx.shared import Emu, Mm, Pt, RGBColor

from audit_kit.paper.document import Facts, Heading, Paragraph, Table, plain

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime
    from pathlib import Path

    from docx.document import Document as Docx
    from docx.oxml.xmlchemy import BaseOxmlElement
    from docx.styles.style import ParagraphStyle
    from docx.text.paragraph import Paragraph as DocxParagraph

    from audit_kit.paper.document import Document

FONTS = {"zh": ("Times New Roman", "宋体", "黑体"), "en": ("Calibri", "宋体", "黑体")}
LONG_AGO = (1980, 1, 1, 0, 0, 0)  # the earliest time a zip can bear
WIDE = 8  # columns that need the page's long side
_LATIN, _NARROW, _BROAD, _MARGIN = 0x2E7F, 6, 34, 3
_INK = RGBColor(0x1F, 0x29, 0x33)


def write_docx(document: Document, path: Path, *, lang: str, made_at: datetime) -> None:
    """Write a document as docx; `made_at` stands in its properties."""
    paper = docx.Document()
    _prepare(paper, document, lang)
    about = paper.core_properties
    about.author = about.last_modified_by = about.comments = about.keywords = ""
    about.title, about.language, about.revision = plain(document.title), "zh-CN" if lang == "zh" else "en-GB", 1
    about.created = about.modified = made_at
    for block in document.blocks:
        if isinstance(block, Heading):
            _heading(paper, block)
        elif isinstance(block, Paragraph):
            _paragraph(paper, block)
        elif isinstance(block, Facts):
            _table(paper, (), block.rows)
        else:
            _table(paper, block.heads, block.rows, block)
    packed = io.BytesIO()
    paper.save(packed)
    path.write_bytes(_settled(packed.getvalue()))


def _settled(packed: bytes) -> bytes:
    """Return a zip with its parts in order and without the time at which it was made."""
    settled = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(packed)) as parts, zipfile.ZipFile(settled, "w", zipfile.ZIP_DEFLATED) as out:
        for name in parts.namelist():
            out.writestr(zipfile.ZipInfo(name, LONG_AGO), parts.read(name), zipfile.ZIP_DEFLATED)
    return settled.getvalue()


def _prepare(paper: Docx, document: Document, lang: str) -> None:
    """Set page, fonts and the note at the foot."""
    section = paper.sections[0]
    section.page_width, section.page_height = Mm(210), Mm(297)
    if any(isinstance(block, Table) and len(block.heads) >= WIDE for block in document.blocks):
        section.orientation = WD_ORIENT.LANDSCAPE
        section.page_width, section.page_height = Mm(297), Mm(210)
    section.left_margin = section.right_margin = Mm(24)
    section.top_margin = section.bottom_margin = Mm(22)
    latin, body, head = FONTS[lang]
    styles = [("Normal", 10.5, body), ("Title", 18, head), ("Heading 1", 13, head), ("Heading 2", 11.5, head)]
    for name, size, east in styles:
        _font(paper.styles[name], latin, east, size)
    for line in paper.styles["Title"].element.iter(qn("w:pBdr")):
        line.getparent().remove(line)
        break
    paper.styles["Normal"].paragraph_format.space_after = Pt(4)
    foot = section.footer.paragraphs[0]
    foot.alignment = WD_ALIGN_PARAGRAPH.CENTER
    foot.add_run(plain(document.note)).font.size = Pt(8)


def _font(style: ParagraphStyle, latin: str, east: str, size: float) -> None:
    style.font.name, style.font.size, style.font.color.rgb = latin, Pt(size), _INK
    fonts = style.element.get_or_add_rPr().get_or_add_rFonts()
    for theme in [name for name in fonts.attrib if name.endswith("Theme")]:
        del fonts.attrib[theme]
    fonts.set(qn("w:eastAsia"), east)
    fonts.set(qn("w:hAnsi"), latin)


def _heading(paper: Docx, block: Heading) -> None:
    said = paper.add_heading(plain(block.text), block.level)
    if block.level == 0:
        said.alignment = WD_ALIGN_PARAGRAPH.CENTER


def _paragraph(paper: Docx, block: Paragraph) -> None:
    if block.style == "item":
        paper.add_paragraph(plain(block.text), style="List Bullet")
        return
    said = paper.add_paragraph()
    run = said.add_run(plain(block.text))
    if block.style == "note":
        run.font.size = Pt(9)
    if block.style == "gap":
        run.font.highlight_color = WD_COLOR_INDEX.YELLOW
    if block.style == "right":
        said.alignment = WD_ALIGN_PARAGRAPH.RIGHT


def _table(paper: Docx, heads: Sequence[str], rows: Sequence[Sequence[str]], marked: Table | None = None) -> None:
    """Write a table with its heads repeated on each page; without heads the first column is bold."""
    width = len(heads) or len(rows[0])
    table = paper.add_table(rows=0, cols=width)
    table.style, table.autofit = "Table Grid", False
    lines = [heads, *rows] if heads else list(rows)
    section = paper.sections[0]
    room = int(section.page_width or 0) - int(section.left_margin or 0) - int(section.right_margin or 0)
    widths = [Emu(int(room * share)) for share in shares(lines)]
    for column, size in zip(table.columns, widths, strict=True):
        column.width = size
    for number, line in enumerate(lines):
        row = table.add_row()
        is_head = bool(heads) and number == 0
        if is_head:
            row._tr.get_or_add_trPr().append(_repeated())  # noqa: SLF001  the library has no word for it
        for place, (cell, text) in enumerate(zip(row.cells, line, strict=True)):
            gap, cell.width = marked is not None and marked.is_gap(text), widths[place]
            _cell(cell.paragraphs[0], text, bold=is_head or (not heads and place == 0), gap=gap)
    paper.add_paragraph().paragraph_format.space_after = Pt(2)


def shares(lines: Sequence[Sequence[str]]) -> list[float]:
    """Return the share of a table's width that each column needs, by its longest text; a Chinese character is two."""
    longest = [
        max(sum(1 + (ord(sign) > _LATIN) for sign in text) for text in column) for column in zip(*lines, strict=True)
    ]
    needed = [min(max(size, _NARROW), _BROAD) + _MARGIN for size in longest]
    return [size / sum(needed) for size in needed]


def _cell(said: DocxParagraph, text: str, *, bold: bool, gap: bool) -> None:
    said.paragraph_format.space_before = said.paragraph_format.space_after = Pt(1.5)
    run = said.add_run(plain(text))
    run.font.size, run.bold = Pt(8.5), bold
    if gap:
        run.font.highlight_color = WD_COLOR_INDEX.YELLOW


def _repeated() -> BaseOxmlElement:
    mark = OxmlElement("w:tblHeader")
    mark.set(qn("w:val"), "true")
    return mark
