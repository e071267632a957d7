"""The lists at the head of a notebook in `audit-kit lab`: which month, which engagement.

They are plain lists of the page; the lab's own script (resources/jupyterlab) acts on a choice: it sets the parameter
and runs the notebook again, or opens the copies of another engagement.
"""

from __future__ import annotations

import json
import os
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import polars as pl

from audit_kit.core.files import shown
from audit_kit.views.show.tables import markup

if TYPE_CHECKING:
    from collections.abc import Iterable

    from IPython.display import HTML

    from audit_kit.views.show.page import Page

COPIES = "AUDIT_KIT_COPIES"  # the folder that holds a folder of notebooks for each engagement; set by the lab alone
RECORD = ".audit-kit.json"
FIRST = "00_overview.ipynb"


def lists(page: Page) -> HTML:
    """Return the lists; nothing outside the lab, where they would do nothing."""
    home = os.environ.get(COPIES)
    if not home:
        return markup("")
    words = page.words
    made = _list("month", words("choices.month"), periods(page), page.month)
    others = [] if page.redact else engagements(Path(home))
    if len(others) > 1:
        here = next((address for address, _, folder in others if folder == page.whole.engagement.folder.resolve()), "")
        made += _list("engagement", words("choices.engagement"), [(one[0], one[1]) for one in others], here)
    return markup(f'<div style="display:flex;flex-wrap:wrap;gap:6px 22px;margin:6px 0">{made}</div>')


def months(page: Page) -> list[tuple[str, str]]:
    """Return each month of the ledger, the latest first, with what a list says of it."""
    found = page.whole.ledger.select(month=pl.col("issued_at").dt.strftime("%Y-%m")).drop_nulls()
    counts = found.group_by("month").len().sort("month", descending=True)
    return [
        (month, page.words("choices.rows", month=month, rows=page.words.count(rows))) for month, rows in counts.rows()
    ]


def periods(page: Page) -> list[tuple[str, str]]:
    """Return each month of the ledger, the latest first, then its years and everything."""
    found = months(page)
    years = page.whole.ledger.select(year=pl.col("issued_at").dt.strftime("%Y")).drop_nulls().group_by("year").len()
    longer = [*years.sort("year", descending=True).rows(), ("all", page.whole.ledger.height)]
    return found + [
        (name, page.words("choices.rows", month=page.words.month(name), rows=page.words.count(rows)))
        for name, rows in longer
    ]


def engagements(home: Path) -> list[tuple[str, str, Path]]:
    """Return address in the lab, name and folder of each engagement that was opened and is still there, by name."""
    found = []
    for file in sorted(home.glob(f"*/{RECORD}")):
        told = read_record(file.parent).get("engagement")
        folder = Path(told) if isinstance(told, str) and told else None
        if folder and folder.is_dir() and (file.parent / FIRST).is_file():
            found.append((address(file.parent.name), f"{shown(folder.name)} · {shown(str(folder.parent))}", folder))
    return sorted(found, key=lambda one: one[1])


def address(place: str) -> str:
    """Return where in the lab the copies of one engagement open: each in a workspace of its own; empty = the root."""
    key = place.rpartition("-")[2]
    space = f"/workspaces/{quote(key)}" if key else ""
    return f"/lab{space}/tree/{quote(f'{place}/{FIRST}' if place else FIRST)}"


def read_record(folder: Path) -> dict[str, Any]:
    """Return what the lab noted of the copies in a folder; empty where it noted nothing that can be read."""
    try:
        noted = json.loads((folder / RECORD).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return noted if isinstance(noted, dict) else {}


def _list(name: str, heading: str, entries: Iterable[tuple[str, str]], chosen: str) -> str:
    options = "".join(
        f'<option value="{escape(value)}"{" selected" if value == chosen else ""}>{escape(label)}</option>'
        for value, label in entries
    )
    return f'<label><b>{escape(heading)}</b> <select data-audit-kit="{escape(name)}">{options}</select></label>'
