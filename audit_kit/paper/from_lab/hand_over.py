"""Files that the lab asks for: the basket as a working paper, and a problem report. They stand beside the notebook."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl

from audit_kit.analysis.exploration_log import lines, who
from audit_kit.core import outputs
from audit_kit.core.words import Words
from audit_kit.paper.document import Document, Facts, Heading, Paragraph, Table
from audit_kit.paper.docx_file import write_docx
from audit_kit.paper.letter import RECIPIENTS
from audit_kit.paper.package import list_files, package
from audit_kit.report.workbook import Sheet, write_workbook
from audit_kit.views.show import masking
from audit_kit.views.workbench.basket import JUDGEMENTS, OPEN

if TYPE_CHECKING:
    from audit_kit.views.show.page import Page
    from audit_kit.views.workbench.basket import Basket, Lot

MOST_IN_LETTER = 200
COLUMNS = (
    "lot", "judgement", "note", "invoice_key", "level", "cause", "issued_at", "amount", "buyer_name", "evidence",
    "source_file", "source_row", "finding_id", "who", "at",
)  # fmt: skip
IN_LETTER = ("judgement", "note", "invoice_key", "cause", "issued_at", "amount", "evidence")
_HEADS = {"lot": "basket.lot", "judgement": "basket.judgement", "note": "basket.note", "who": "basket.who"}
_HEADS |= {"at": "basket.at", "level": "head.severity", "finding_id": "workbook.finding_id"}
_HEADS |= {"source_row": "workbook.source_row"}


def recipients(lang: str) -> dict[str, str]:
    """Return to whom a problem report may go, with the word for it."""
    words = Words(lang)
    return {name: words(f"recipient.{name}") for name in RECIPIENTS}


def problem_report(page: Page, finding_id: str, *, to: str) -> Path:
    """Write a problem report about a finding beside the notebook, and return its folder.

    Raises:
        RequestError, PlaceError, EngagementError: see `package`.
    """
    out = Path.cwd() / f"problem-report-{to}-{_now():%Y%m%d-%H%M%S}"
    with ThreadPoolExecutor(max_workers=1) as beside:  # a kernel's own loop would not let the browser print
        beside.submit(package, page.whole.engagement, out, to=to, finding=finding_id, lang=page.lang).result()
    return out


def working_paper(page: Page, basket: Basket) -> Path:
    """Write the basket as xlsx and docx, with their hashes, into a new folder beside the notebook, and return it.

    Raises:
        RequestError, PlaceError: the folder cannot be written.
    """
    words, rows, lots, now = page.words, page.safe(basket.rows), basket.lots, _now()
    out = Path.cwd() / f"working-paper-{now:%Y%m%d-%H%M%S-%f}"
    facts = about(page, rows, basket)
    heads = {name: words(_HEADS.get(name, f"head.{name}")) for name in COLUMNS}
    told = rows.with_columns(pl.col("judgement").replace(words.section("judgement"))).select(COLUMNS)
    with outputs.writing(out, folder=True) as folder:
        folder.mkdir()
        first = pl.DataFrame(facts, schema={"item": pl.String(), "value": pl.String()}, orient="row")
        named = {name: words(f"basket_paper.{name}") for name in ("item", "value")}
        sheets = [Sheet(words("basket_paper.about"), first, named), Sheet(words("basket_paper.rows"), told, heads)]
        write_workbook(folder / "working-paper.xlsx", sheets, lang=page.lang, made_at=now)
        document = _document(page, told, facts, heads)
        write_docx(document, folder / "working-paper.docx", lang=page.lang, made_at=now)
        list_files(folder, {"fingerprint": page.whole.engagement.fingerprint(), "lots": len(lots)})
    return out


def about(page: Page, rows: pl.DataFrame, basket: Basket) -> list[tuple[str, str]]:
    """Return what the working paper is: engagement, control totals, judgements, and each lot with its filter."""
    words, log = page.words, lines(basket.engagement)
    counts = dict(rows.group_by("judgement").len().iter_rows())
    judged = [
        f"{words(f'judgement.{name}')} {words.count(counts[name])}" for name in (OPEN, *JUDGEMENTS) if name in counts
    ]
    used = set(rows["lot"].to_list())
    facts = {
        "engagement": masking.company(page.whole.engagement, page.hide)["name"],
        "period": words.month(page.month),
        "taken_at": f"{page.whole.taken_at:%Y-%m-%d %H:%M}",
        "count": words.count(rows.height),
        "yuan": words.yuan(rows["amount"].sum()),
        "judgements": words("answer.comma").join(judged),
        "fingerprint": page.whole.engagement.fingerprint(),
        "log": words(
            "basket_paper.log_told", lines=words.count(len(log)), hash=log[-1].get("hash", "–") if log else "–"
        ),
        "made_by": f"{who()}  {_now():%Y-%m-%d %H:%M}",
        "reviewed_by": "",
    }
    made = [(words(f"basket_paper.{name}"), value) for name, value in facts.items()]
    return made + [
        (words("basket_paper.lot", number=lot.number), _told(page, lot)) for lot in basket.lots if lot.number in used
    ]


def _told(page: Page, lot: Lot) -> str:
    words = page.words
    filters = words("answer.comma").join(f"{name} {value}" for name, value in lot.filters.items())
    said = words(
        "basket_paper.lot_told",
        source=lot.source,
        period=words.month(lot.period),
        filters=filters or words("basket_paper.no_filter"),
        rows=words.count(lot.rows),
        yuan=f"{pl.Series([lot.yuan]).cast(pl.Decimal(18, 2))[0]:,}",
        fingerprint=lot.fingerprint[:16],
        who=lot.who,
        at=lot.at,
    )
    return page.say([said])[0]


def _document(page: Page, rows: pl.DataFrame, facts: list[tuple[str, str]], heads: dict[str, str]) -> Document:
    words = page.words
    shown = rows.head(MOST_IN_LETTER).with_columns(
        pl.col("issued_at").dt.strftime("%Y-%m-%d"),
        amount=pl.Series(
            [None if value is None else f"{value:,.2f}" for value in rows["amount"].head(MOST_IN_LETTER)],
            dtype=pl.String,
        ),
    )
    cells = [[cell or "–" for cell in row] for row in shown.select(IN_LETTER).iter_rows()]
    title = words("basket_paper.title", name=facts[0][1])
    blocks: list[Heading | Paragraph | Facts | Table] = [
        Heading(title, 0),
        Facts(facts),
        Heading(words("basket_paper.rows")),
        Table([heads[name] for name in IN_LETTER], cells),
    ]
    if rows.height > MOST_IN_LETTER:
        rest = {"most": words.count(MOST_IN_LETTER), "rest": words.count(rows.height - MOST_IN_LETTER)}
        blocks.append(Paragraph(words("basket_paper.more", **rest), "note"))
    return Document(title, blocks)


def _now() -> datetime:
    return datetime.now()  # noqa: DTZ005  the clock on the user's wall
