"""The head of the first page in the lab: which engagement and month, what was read, the questions, what to do first."""

from __future__ import annotations

import os
from html import escape
from typing import TYPE_CHECKING

import polars as pl

from audit_kit.views.show import choices, event_rows, masking, theme
from audit_kit.views.show.tables import markup, table

if TYPE_CHECKING:
    from IPython.display import HTML

    from audit_kit.views.show.page import Page

QUESTIONS = {
    "q00": "00_overview.ipynb",
    "q01": "01_sync_delays.ipynb",
    "q02": "02_missing_invoices.ipynb",
    "q03": "03_backup_completeness.ipynb",
    "q05": "05_response.ipynb",
}
MOST_TOTALS = 5
_SIDE = "flex:1 1 330px;min-width:300px"


def landing(page: Page) -> HTML:
    """Return the landing; outside the lab nothing, since its lists and links would do nothing."""
    lists = choices.lists(page).data
    if not os.environ.get(choices.COPIES):
        return markup("")
    words, engagement = page.words, page.whole.engagement
    name = masking.company(engagement, page.hide)["name"]
    head = words("landing.engagement", name=name, taken_at=f"{page.whole.taken_at:%Y-%m-%d %H:%M}")
    links = "".join(
        f'<li><a href="{file}">{escape(words(f"landing.{question}"))}</a></li>' for question, file in QUESTIONS.items()
    )
    steps = "".join(f"<li>{escape(step)}</li>" for step in page.say(event_rows.first_steps(page)))
    blocks = {
        "read": read(page),
        "first": f"<ol>{steps}</ol>",
        "questions": f"<ol>{links}</ol>",
    }
    right = "".join(_block(words(f"landing.{key}"), blocks[key]) for key in ("first", "questions"))
    left = _block(words("landing.read"), blocks["read"])
    return markup(
        f'<section aria-label="{escape(words.month(page.month))}"><p><b>{escape(head)}</b></p>{lists}'
        f'<div style="display:flex;flex-wrap:wrap;gap:4px 28px"><div style="{_SIDE}">{left}</div>'
        f'<div style="{_SIDE}">{right}</div></div></section>'
    )


def read(page: Page) -> str:
    """Return what was read as HTML: a row a table with rows kept and set aside, and the totals that do not tie."""
    words = page.words
    frame = sums(page)
    if frame.is_empty():
        return f"<p>{escape(words('landing.no_files'))}</p>"
    lines = [
        {**row, "table": words.term("table", row["table"]), "totals": _totals(page, row["agree"], row["differ"])}
        for row in frame.iter_rows(named=True)
    ]
    counts = ("files", "rows_in", "rows_kept", "rows_set_aside")
    labels = {name: words(f"landing.{name}") for name in ("table", *counts, "totals")}
    made: str = table(pl.DataFrame(lines), labels=labels, numbers=counts, html=["totals"]).as_raw_html()
    wrong = page.whole.control.filter(~pl.col("agrees"))
    shown = page.safe(wrong.head(MOST_TOTALS))
    said = [
        words(
            "landing.differs",
            file=row["source_file"],
            column=words(f"workbook.{row['column']}"),
            stated=f"{row['stated']:,.2f}",
            computed=f"{row['computed']:,.2f}",
        )
        for row in shown.iter_rows(named=True)
    ]
    if wrong.height > MOST_TOTALS:
        said.append(words("landing.more", count=words.count(wrong.height - MOST_TOTALS)))
    return made + "".join(f'<div style="color:{theme.RED}">{escape(one)}</div>' for one in said)


def sums(page: Page) -> pl.DataFrame:
    """Return `table`, `files`, `rows_in`, `rows_kept`, `rows_set_aside`, `agree`, `differ` (totals of the files)."""
    control = page.whole.control.group_by("table").agg(agree=pl.col("agrees").sum(), differ=(~pl.col("agrees")).sum())
    counts = ("rows_in", "rows_kept", "rows_set_aside")
    files = page.whole.files.group_by("table", maintain_order=True).agg(
        pl.col("source_file").n_unique().alias("files"), *(pl.col(name).sum() for name in counts)
    )
    return files.join(control, on="table", how="left", maintain_order="left")


def _totals(page: Page, agree: int | None, differ: int | None) -> str:
    told = [(agree, "agree", theme.INK), (differ, "differ", theme.RED)]
    said = [
        f'<span style="color:{colour}">{escape(page.words(f"landing.{key}", count=count))}</span>'
        for count, key, colour in told
        if count
    ]
    return "<br>".join(said) or escape(page.words("landing.none"))


def _block(heading: str, inside: str) -> str:
    return f"<h3 style='margin:10px 0 4px'>{escape(heading)}</h3>{inside}"
