"""What the two sides say differently of one invoice: old → new with the signed difference, and each field's tally."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

import polars as pl

from audit_kit.core import schema
from audit_kit.core.words import Words
from audit_kit.views.show import theme
from audit_kit.views.show.tables import first_of, markup, said, table

if TYPE_CHECKING:
    import great_tables as gt
    from IPython.display import HTML

    from audit_kit.analysis.analysis import Analysis

MOST_SHOWN = 20
_MONEY = ("net", "tax", "gross")
_CHANGED = {
    "ledger_row": pl.UInt32,
    "platform_row": pl.UInt32,
    "invoice_key": pl.String,
    "field": pl.String,
    "ledger": pl.String,
    "platform": pl.String,
    "difference": pl.Float64,
}


def changed_fields(analysis: Analysis) -> pl.DataFrame:
    """Return one row a field that differs: what the ledger holds, what the platform holds, the signed difference.

    Columns: `ledger_row`, `platform_row`, `invoice_key`, `field`, `ledger`, `platform` (text), `difference` (ledger
    less platform: yuan for amounts, days for times; null for words), largest first within amounts, then the rest.
    """
    apart = analysis.matches.filter(
        pl.col("ledger_row").is_not_null()
        & pl.col("platform_row").is_not_null()
        & (pl.col("differences").list.len() > 0)
    )
    named = apart.select("ledger_row", "platform_row", "invoice_key", field="differences").explode("field")
    known = set(analysis.ledger.columns) & set(analysis.platform.columns)
    parts = [_of_field(part, str(name), analysis) for (name,), part in named.group_by("field") if name in known]
    frame = pl.concat([pl.DataFrame(schema=_CHANGED), *parts])
    money = pl.col("field").is_in(_MONEY)
    return frame.sort(
        money, pl.col("difference").abs(), "ledger_row", "field", descending=[True, True, False, False], nulls_last=True
    )


def _of_field(part: pl.DataFrame, name: str, analysis: Analysis) -> pl.DataFrame:
    old = analysis.ledger[name].gather(part["ledger_row"])
    new = analysis.platform[name].gather(part["platform_row"])
    both = part.with_columns(old=old, new=new)
    difference = pl.lit(None, pl.Float64)
    if name in _MONEY:
        difference = (pl.col("old") - pl.col("new")).cast(pl.Float64)
    elif old.dtype == pl.Datetime:
        difference = (pl.col("old") - pl.col("new")).dt.total_minutes() / (24 * 60)
    sides = pl.col("old", "new")
    text = sides.dt.strftime("%Y-%m-%d %H:%M") if old.dtype == pl.Datetime else sides.cast(pl.String)
    shown = both.with_columns(difference=difference).with_columns(text)
    return shown.rename({"old": "ledger", "new": "platform"}).select(_CHANGED.keys())


def field_tally(changed: pl.DataFrame) -> pl.DataFrame:
    """Return for each field how often it differs, how often a side is empty, the largest and the net difference."""
    return (
        changed.group_by("field")
        .agg(
            rows=pl.len(),
            empty=(pl.col("ledger").is_null() | pl.col("platform").is_null()).sum(),
            largest=pl.col("difference").sort_by(pl.col("difference").abs(), descending=True, nulls_last=True).first(),
            net=pl.when(pl.col("difference").is_not_null().any()).then(pl.col("difference").sum()),
        )
        .sort("rows", "field", descending=[True, False])
    )


def tally(frame: pl.DataFrame, *, lang: str = "zh") -> gt.GT | HTML:
    """Return the tally of fields as a table; see field_tally."""
    words = Words(lang)
    if frame.is_empty():
        return said(words("tables.nothing_differs"))
    names = _field_names(words)
    lines = [
        row
        | {name: _signed(row["field"], row[name], words) for name in ("largest", "net")}
        | {"field": names.get(row["field"], row["field"])}
        for row in frame.iter_rows(named=True)
    ]
    labels = words.heads("field", rows="times", empty="one_side_empty", largest="largest", net="net_difference")
    return table(
        pl.DataFrame(lines),
        labels=labels,
        numbers=["rows", "empty"],
        right=["largest", "net"],
        note=words("tables.tally_note"),
    )


def changes(changed: pl.DataFrame, *, lang: str = "zh", most: int = MOST_SHOWN) -> gt.GT | HTML:
    """Return the largest changes, the ledger's value struck through, the platform's beside it; see changed_fields."""
    words = Words(lang)
    if changed.is_empty():
        return markup("")  # the tally above it says so
    names = _field_names(words)
    lines = [
        {
            "invoice_key": row["invoice_key"],
            "field": names.get(row["field"], row["field"]),
            "change": f'<del style="color:{theme.MUTED}">{_shown(row["ledger"])}</del> → '
            f'<b style="color:{theme.RED}">{_shown(row["platform"])}</b>',
            "difference": _signed(row["field"], row["difference"], words),
        }
        for row in changed.head(most).iter_rows(named=True)
    ]
    labels = words.heads(invoice_key="invoice", field="field", change="ledger_to_platform", difference="difference")
    frame = pl.DataFrame(lines)
    made = table(frame, labels=labels, html=["change"], note=first_of(words, most, changed.height))
    return made.cols_align("right", columns=["difference"])


def _shown(text: str | None) -> str:
    return "∅" if text is None else escape(text)


def _signed(field: str, difference: float | None, words: Words) -> str:
    if difference is None:
        return "–"
    if field in _MONEY:
        return words("unit.yuan", amount=f"{difference:+,.2f}")
    return words("tables.days", days=f"{difference:+,.1f}")


def _field_names(words: Words) -> dict[str, str]:
    if words.lang == "zh":
        return schema.headers("ledger")
    return {name: name.replace("_", " ") for name in schema.dtypes("ledger")}
