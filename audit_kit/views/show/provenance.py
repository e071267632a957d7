"""Where the figures come from: sources with control totals and hashes, parameters, policy, versions."""

from __future__ import annotations

import platform
from dataclasses import asdict
from html import escape
from importlib.metadata import version
from typing import TYPE_CHECKING

import polars as pl

from audit_kit.views.show import theme
from audit_kit.views.show.sentences import unread_words, withheld
from audit_kit.views.show.tables import first_of, markup, said, table

if TYPE_CHECKING:
    import great_tables as gt
    from IPython.display import HTML

    from audit_kit.views.show.page import Page

PACKAGES = ("audit-kit", "polars", "dataframely", "altair", "great-tables", "ipywidgets", "papermill", "nbconvert")
MOST_SOURCES = 40


def versions() -> dict[str, str]:
    """Return what the figures were made with, by the name of the package."""
    return {"python": platform.python_version()} | {name: version(name) for name in PACKAGES}


def sources(page: Page) -> gt.GT | HTML:
    """Return how each file was read: rows in = kept + set aside, money, the file's own totals, sha256."""
    words, files, control = page.words, page.whole.files, page.whole.control
    if files.is_empty():
        return said(words("tables.no_sources"))
    stated = control.group_by("table", "source_file").agg(agrees=pl.col("agrees").all())
    frame = page.safe(files.head(MOST_SOURCES).join(stated, on=["table", "source_file"], how="left"))
    marks = {True: words("tables.agrees"), False: words("tables.disagrees"), None: words("tables.not_stated")}
    frame = frame.with_columns(
        table=pl.col("table").replace(words.terms("table", frame["table"].unique())),
        stated=pl.Series([marks[value] for value in frame["agrees"]], dtype=pl.String),
        sha256=pl.col("sha256").str.slice(0, 12),
    )
    counts = ("rows_in", "rows_kept", "rows_set_aside")
    notes = [
        first_of(words, MOST_SOURCES, files.height) or words("tables.sources_note"),
        *page.say([unread_words(page), withheld(page)]),
    ]
    return table(
        frame,
        labels=words.heads("table", "source_file", *counts, "gross", "stated", "sha256"),
        numbers=counts,
        money=["gross"],
        note=" ".join(notes),
    )


def unused(page: Page) -> HTML:
    """Return the files of the engagement that no table took, each with why; nothing where all are used."""
    files = page.unused
    if files.is_empty():
        return markup("")
    lines = [f"{row['file']}: {row['why']}" for row in files.head(MOST_SOURCES).iter_rows(named=True)]
    left = files.height - MOST_SOURCES
    more = [page.words("tables.unused_more", count=page.words.count(left))] if left > 0 else []
    return said(page.words("tables.unused"), *lines, *more)


def foot(page: Page) -> HTML:
    """Return the foot of a page: fingerprint, inputs, parameters, thresholds, versions; all to make it again."""
    words, analysis = page.words, page.whole
    inputs = analysis.files["sha256"].drop_nulls().n_unique()
    lines = {
        "foot.fingerprint": [analysis.engagement.fingerprint()],
        "foot.taken_at": [f"{analysis.taken_at:%Y-%m-%d %H:%M}"],
        "foot.inputs": [words("foot.inputs_are", files=inputs, rows=words.count(analysis.files["rows_in"].sum()))],
        "foot.parameters": [f"{name} = {value!r}" for name, value in page.parameters.items()],
        "foot.policy": [f"{name} = {value}" for name, value in asdict(analysis.engagement.policy.sync).items()],
        "foot.versions": [f"{name} {number}" for name, number in versions().items()],
    }
    rows = "".join(
        f'<tr><td style="color:{theme.MUTED};padding:3px 14px 3px 0;white-space:nowrap;vertical-align:top">'
        f'{escape(words(key))}</td><td style="padding:3px 0;overflow-wrap:anywhere">'
        + " ".join(f'<code style="margin-right:10px">{escape(value)}</code>' for value in values)
        + "</td></tr>"
        for key, values in lines.items()
    )
    return markup(
        f'<table style="font-family:{escape(theme.FONT)};font-size:12px;color:{theme.INK};border-collapse:collapse">'
        f"{rows}</table>"
    )
