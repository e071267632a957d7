"""Rows that a reader saves from inside the page, as csv (see `audit_kit.core.spreadsheet_csv`).

At most 5,000 rows, and it says so. The bytes travel gzipped inside the page; a few lines of script unpack them, and no
request is made.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
from html import escape
from typing import TYPE_CHECKING

from audit_kit.core import schema
from audit_kit.core.spreadsheet_csv import safe_csv
from audit_kit.core.words import Words
from audit_kit.views.show.tables import markup

if TYPE_CHECKING:
    from collections.abc import Sequence

    import polars as pl
    from IPython.display import HTML

MOST_ROWS = 5000
_SCRIPT = """
(async () => {
  const box = document.getElementById("%(id)s"), button = box.querySelector("button");
  button.addEventListener("click", async () => {
    const text = box.querySelector("template").content.textContent.trim();
    const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
    const csv = await new Response(stream).blob();
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([csv], {type: "text/csv;charset=utf-8"}));
    link.download = box.dataset.name;
    document.body.appendChild(link);
    link.click();
    link.remove();
    setTimeout(() => URL.revokeObjectURL(link.href), 10000);
  });
})();
"""


def headings(columns: Sequence[str], words: Words) -> dict[str, str]:
    """Return the headings of columns; one that has none, or that of another column, keeps its name."""
    known = {name: head for table in schema.TABLES for name, head in schema.headers(table).items()}
    known |= words.section("workbook") | words.section("head")
    known |= {"late": words("head.late_percent"), "age": words("download.age")}
    found: dict[str, str] = {}
    for name in columns:
        heading = known.get(name, name)
        found[name] = name if heading in found.values() else heading
    return found


def button(frame: pl.DataFrame, *, name: str, lang: str = "zh", most: int = MOST_ROWS) -> HTML:
    """Return a button that saves the rows as `name`.csv; of more than `most` rows, the first.

    In Chinese the columns are headed as on the page; in English they keep their names.
    """
    words = Words(lang)
    if frame.is_empty():
        return markup("")
    saved = frame.head(most) if lang == "en" else frame.head(most).rename(headings(frame.columns, words))
    packed = base64.b64encode(gzip.compress(safe_csv(saved), mtime=0)).decode()
    key = "csv-" + hashlib.sha256(f"{name} {packed}".encode()).hexdigest()[:16]
    label = words("download.button", rows=words.count(min(most, frame.height)))
    note = (
        words("download.first", most=words.count(most), rows=words.count(frame.height)) if frame.height > most else ""
    )
    return markup(
        f'<div class="download" id="{key}" data-name="{escape(name)}.csv" style="margin:6px 0">'
        f'<button type="button" style="font:13px/1.4 inherit;padding:5px 14px;border:1px solid #b3b9c2;'
        f'border-radius:5px;background:#fff;color:#1f2937;cursor:pointer">{escape(label)}</button> '
        f'<span style="color:#6b7280;font-size:12px">{escape(note)}</span>'
        f"<template>{packed}</template></div><script>{_SCRIPT % {'id': key}}</script>"
    )
