"""Where the figures come from: sources with control totals and hashes, parameters, policy, versions; and last month."""

from __future__ import annotations

import platform
from dataclasses import asdict
from html import escape
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from audit_kit.core import schema
from audit_kit.core.errors import RequestError
from audit_kit.core.words import Words
from audit_kit.views.show import theme
from audit_kit.views.show.tables import badge, markup, said, table

if TYPE_CHECKING:
    from collections.abc import Mapping

    import great_tables as gt
    from IPython.display import HTML

    from audit_kit.analysis.work import Analysis

FINDINGS = "findings.parquet"
CHANGES = ("new", "open", "closed")
PACKAGES = ("audit-kit", "polars", "altair", "great-tables", "ipywidgets", "papermill", "nbconvert")
MOST_SOURCES = 40


def changes(findings: pl.DataFrame, previous: str) -> pl.DataFrame:
    """Return `change` (new, open, closed) beside the columns of findings, compared by finding_id.

    `previous` is the manifest of an earlier report, whose findings lie beside it; empty = no rows.

    Raises:
        RequestError: `previous` is named, and has no findings beside it.
    """
    nothing = findings.clear().with_columns(change=pl.lit(None, pl.String))
    if not previous:
        return nothing
    earlier = Path(previous).parent / FINDINGS
    if not earlier.is_file():
        raise RequestError(f"{previous}: there is no {FINDINGS} beside it; name the manifest.json of a report.")
    before = pl.read_parquet(earlier, glob=False)
    known = pl.col("finding_id").is_in(before["finding_id"].unique().implode())
    now = findings.with_columns(change=pl.when(known).then(pl.lit("open")).otherwise(pl.lit("new")))
    gone = before.join(findings, on="finding_id", how="anti").with_columns(change=pl.lit("closed"))
    return pl.concat([now, gone], how="diagonal_relaxed")


def change_table(compared: pl.DataFrame, *, lang: str = "zh", most: int = 6) -> gt.GT | HTML:
    """Return the new and closed findings by cause; `compared` is from changes."""
    words = Words(lang)
    if compared.is_empty():
        return markup("")  # the chart beside it says that there is nothing to compare with
    severity = pl.col("severity").cast(pl.String).cast(pl.Enum(schema.SEVERITIES))
    amount = pl.when(pl.col("amount").is_not_null().any()).then(pl.col("amount").sum())
    grouped = (
        compared.group_by("change", "cause")
        .agg(severity=severity.min().cast(pl.String), findings=pl.len(), yuan=amount)
        .sort(
            pl.col("change").cast(pl.Enum(CHANGES)),
            pl.col("severity").cast(pl.Enum(schema.SEVERITIES)),
            pl.col("yuan").abs(),
            descending=[False, False, True],
            nulls_last=True,
        )
    )
    shown = grouped.group_by("change", maintain_order=True).head(most)
    lines = [
        {
            "change": badge(row["change"], words.term("change", row["change"])),
            "severity": badge(row["severity"], words.term("severity", row["severity"])),
            "cause": words.cause(row["cause"]),
            "findings": row["findings"],
            "yuan": row["yuan"],
        }
        for row in shown.iter_rows(named=True)
    ]
    labels = {name: words(f"head.{name}") for name in ("change", "severity", "cause", "findings", "yuan")}
    frame = pl.DataFrame(lines, schema_overrides={"yuan": pl.Decimal(18, 2)})
    return table(frame, labels=labels, html=["change", "severity"], numbers=["findings"], money=["yuan"])


def sources(analysis: Analysis, *, lang: str = "zh") -> gt.GT | HTML:
    """Return how each file was read: rows in = kept + set aside, money, the file's own totals, sha256."""
    words = Words(lang)
    if analysis.files.is_empty():
        return said(words("tables.no_sources"))
    stated = analysis.control.group_by("table", "source_file").agg(agrees=pl.col("agrees").all())
    frame = analysis.files.head(MOST_SOURCES).join(stated, on=["table", "source_file"], how="left")
    marks = {True: words("tables.agrees"), False: words("tables.disagrees"), None: words("tables.not_stated")}
    frame = frame.with_columns(
        table=pl.col("table").replace({name: words.term("table", name) for name in schema.INPUTS}),
        stated=pl.Series([marks[value] for value in frame["agrees"]], dtype=pl.String),
        sha256=pl.col("sha256").str.slice(0, 12),
    )
    names = ("table", "source_file", "rows_in", "rows_kept", "rows_set_aside", "gross", "stated", "sha256")
    note = words("tables.first", most=words.count(MOST_SOURCES), rows=words.count(analysis.files.height))
    return table(
        frame,
        labels={name: words(f"head.{name}") for name in names},
        numbers=["rows_in", "rows_kept", "rows_set_aside"],
        money=["gross"],
        note=note if analysis.files.height > MOST_SOURCES else words("tables.sources_note"),
    )


def unused(analysis: Analysis, *, lang: str = "zh") -> HTML:
    """Return the files of the engagement that no table took, each with why; nothing where all are used."""
    words, files = Words(lang), analysis.engagement.unused
    if not files:
        return markup("")
    lines = [f"{file.file}: {file.said(lang)}" for file in files[:MOST_SOURCES]]
    left = len(files) - MOST_SOURCES
    more = [words("tables.unused_more", count=words.count(left))] if left > 0 else []
    return said(words("tables.unused"), *lines, *more)


def foot(analysis: Analysis, parameters: Mapping[str, Any], *, lang: str = "zh") -> HTML:
    """Return the foot of a page: fingerprint, inputs, parameters, thresholds, versions; all to make it again."""
    words = Words(lang)
    versions = {"python": platform.python_version()} | {name: version(name) for name in PACKAGES}
    inputs = analysis.files["sha256"].drop_nulls().n_unique()
    lines = {
        "foot.fingerprint": [analysis.engagement.fingerprint()],
        "foot.taken_at": [f"{analysis.taken_at:%Y-%m-%d %H:%M}"],
        "foot.inputs": [words("foot.inputs_are", files=inputs, rows=words.count(analysis.files["rows_in"].sum()))],
        "foot.parameters": [f"{name} = {value!r}" for name, value in parameters.items()],
        "foot.policy": [f"{name} = {value}" for name, value in asdict(analysis.engagement.policy.sync).items()],
        "foot.versions": [f"{name} {number}" for name, number in versions.items()],
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
