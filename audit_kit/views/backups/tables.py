"""Tables of the backups: every rule with its state, and every gap in the schedule."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

import polars as pl

from audit_kit.core.words import Words
from audit_kit.views.show import theme
from audit_kit.views.show.tables import badge, first_of, markup, said, table

if TYPE_CHECKING:
    from datetime import datetime

    import great_tables as gt
    from IPython.display import HTML

    from audit_kit.rules.backups.audit import BackupAudit

MOST_GAPS = 25
_ORDER = ("fails", "unknown", "pass")


def rules(audit: BackupAudit, *, lang: str = "zh") -> gt.GT | HTML:
    """Return every rule as a plain sentence with its state, how often it is broken, its source and edition."""
    words = Words(lang)
    if audit.rules.is_empty():
        return said(words("tables.rules_none"))
    found = audit.rules.sort(pl.col("state").cast(pl.String).cast(pl.Enum(_ORDER)), "id")
    lines = [
        {
            "state": badge(row["state"], words.term("rules", row["state"])),
            "rule": f"<b>{escape(row['id'])}</b> {escape(row['text'] or '')}",
            "findings": row["findings"] if row["state"] == "fails" else None,
            "source": " ".join(str(row[name]) for name in ("source", "edition") if row[name] and row[name] != "–"),
            "valid_from": str(row["valid_from"] or ""),
        }
        for row in found.iter_rows(named=True)
    ]
    labels = words.heads("state", "rule", "findings", "source", "valid_from")
    return table(
        pl.DataFrame(lines, schema_overrides={"findings": pl.Int64}, infer_schema_length=None),
        labels=labels,
        html=["state", "rule"],
        numbers=["findings"],
        note=words("tables.unknown_note"),
        widths={"state": "84px", "rule": "50%", "source": "24%", "valid_from": "104px"},
    )


def gaps(
    audit: BackupAudit, *, start: datetime | None = None, end: datetime | None = None, lang: str = "zh"
) -> gt.GT | HTML:
    """Return the incidents of a period, the longest first: job, first and last missing slot, when it recovered."""
    words = Words(lang)
    found = audit.incidents
    if start is not None:
        found = found.filter(pl.col("last_due") >= start)
    if end is not None:
        found = found.filter(pl.col("first_due") < end)
    if found.is_empty():
        return said(words("tables.incidents_none" if audit.slots.height else "backup.slots_none"))
    kinds = words.terms("backup_kinds", found["kind"].cast(pl.String).unique())
    shown = found.sort("slots", "first_due", descending=[True, False]).head(MOST_GAPS)
    shown = shown.with_columns(
        pl.col("first_due", "last_due", "next_good").dt.strftime("%Y-%m-%d %H:%M"),
        pl.col("kind").cast(pl.String).replace(kinds),
    )
    headings = words.heads("job", kind="backup_kind", first_due="first_due", last_due="last_due", slots="slots")
    return table(
        shown,
        labels=headings | words.heads("next_good"),
        numbers=["slots"],
        note=first_of(words, MOST_GAPS, found.height),
    )


_BLACK = "#05080f"  # on the middle blue neither ink nor paper can be read well


def level_scale(lang: str = "zh") -> HTML:
    """Return the evidence levels 0-4 as one line: a listed backup is not a verified one."""
    words = Words(lang)
    steps = "".join(
        f'<span style="background:{colour};color:{ink};padding:3px 12px;font-size:12px">{level} '
        f"{escape(words(f'level.{level}'))}</span>"
        for level, (colour, ink) in enumerate(
            zip(theme.COOL, (theme.INK, theme.INK, theme.INK, _BLACK, theme.PAPER), strict=True)
        )
    )
    return markup(f'<div style="font-family:{escape(theme.FONT)};margin:6px 0">{steps}</div>')
