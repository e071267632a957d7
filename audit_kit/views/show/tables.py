"""Tables: great-tables where they are read and printed, itables where a reader searches and sorts.

Every table takes a tidy frame; the function above it prepares that frame. All text is escaped before it becomes HTML.
"""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, Any

import great_tables as gt
import itables
import polars as pl
from IPython.display import HTML

from audit_kit.core.words import Words
from audit_kit.views.show import theme

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


MOST_SEARCHED = 500


def table(
    frame: pl.DataFrame,
    *,
    labels: Mapping[str, str],
    heading: str = "",
    note: str = "",
    numbers: Iterable[str] = (),
    money: Iterable[str] = (),
    right: Iterable[str] = (),
    widths: Mapping[str, str] | None = None,
    html: Iterable[str] = (),
) -> gt.GT:
    """Return a printable table of the columns in `labels`, in that order.

    `numbers` are counts, `money` yuan with two decimals, `right` figures already written; `html` names columns
    that hold markup of our own making, all other text is escaped.
    """
    shown = frame.select(labels.keys())
    as_markup = [name for name in html if name in labels]
    made = (
        gt.GT(shown)
        .cols_label(dict(labels))
        .fmt_number(columns=[name for name in money if name in labels], decimals=2)
        .fmt_integer(columns=[name for name in numbers if name in labels])
        .sub_missing(missing_text="–")
        .tab_options(**_LOOK)
        .opt_row_striping(row_striping=False)
        .opt_css(_PLAIN)
    )
    if as_markup:
        made = made.fmt(fns=str, columns=as_markup)
    figures = [name for name in (*numbers, *money, *right) if name in labels]
    made = made.cols_align("left").cols_align("right", columns=figures)
    if widths:
        made = made.cols_width({name: width for name, width in widths.items() if name in labels})
    if heading:
        made = made.tab_header(title=heading)
    return made.tab_source_note(note) if note else made


# JupyterLab draws every table with fixed columns, stripes and cut-off text; ours wrap.
_PLAIN = (
    ".gt_table{table-layout:auto!important}.gt_table td{overflow-wrap:anywhere;white-space:normal!important}"
    ".gt_table tbody tr{background:none!important}"
)
_LOOK: dict[str, Any] = {
    "table_font_names": [name.strip('" ') for name in theme.FONT.split(",")],
    "table_font_size": "13px",
    "table_font_color": theme.INK,
    "table_width": "100%",
    "table_border_top_style": "none",
    "table_border_bottom_color": theme.GREY,
    "heading_align": "left",
    "heading_title_font_size": "14px",
    "heading_border_bottom_style": "none",
    "column_labels_font_size": "12px",
    "column_labels_font_weight": "600",
    "column_labels_border_top_style": "none",
    "column_labels_border_bottom_color": theme.MUTED,
    "table_body_hlines_color": theme.GRID,
    "table_body_border_bottom_color": theme.GREY,
    "data_row_padding": "6px",
    "data_row_padding_horizontal": "9px",
    "column_labels_padding_horizontal": "9px",
    "source_notes_font_size": "12px",
}


def markup(text: str) -> HTML:
    """Return markup of our own making, to be shown as it is."""
    return HTML(text)  # type: ignore[no-untyped-call]


def badge(word: str, label: str) -> str:
    """Return a severity, state or change as a small coloured label that also says its name."""
    colours = theme.SEVERITIES | theme.RULES | theme.CHANGES
    colour = colours.get(word, theme.GREY)
    dark = word in {"info", "unknown", "low", "medium", "open"}
    return (
        f'<span style="background:{colour};color:{theme.INK if dark else theme.PAPER};border-radius:9px;'
        f'padding:1px 9px;font-size:12px;white-space:nowrap">{escape(label)}</span>'
    )


def said(*sentences: str, strong: bool = False) -> HTML:
    """Return computed sentences as a paragraph each; the answer to a section's question."""
    size = "16px" if strong else "14px"
    edge = theme.BLUE if strong else theme.SKY
    return markup(
        f'<div style="border-left:4px solid {edge};padding:6px 16px;margin:8px 0;background:#f5f7f9;'
        f'font-family:{escape(theme.FONT)};font-size:{size};line-height:1.7;color:{theme.INK}">'
        + "".join(f"<div>{escape(sentence)}</div>" for sentence in sentences if sentence)
        + "</div>"
    )


def first_of(words: Words, most: int, rows: int) -> str:
    """Return the sentence that only the first rows are listed; empty where they are all."""
    return words("tables.first", most=words.count(most), rows=words.count(rows)) if rows > most else ""


def searchable(frame: pl.DataFrame, *, labels: Mapping[str, str], lang: str = "zh", most: int = MOST_SEARCHED) -> HTML:
    """Return a table to search and sort, of at most `most` rows; it says openly when there are more."""
    words = Words(lang)
    if frame.is_empty():
        return said(words("tables.nothing"))
    shown = frame.head(most).select(labels.keys())
    shown = shown.with_columns(
        pl.selectors.decimal().cast(pl.String),
        pl.selectors.datetime().dt.strftime("%Y-%m-%d %H:%M"),
        pl.selectors.by_dtype(pl.List(pl.String)).list.join("、"),
        pl.selectors.categorical().cast(pl.String),
    ).rename(dict(labels))
    whole = [place for place, name in enumerate(labels) if name in _WHOLE]
    html = itables.to_html_datatable(
        shown,
        connected=False,
        allow_html=False,
        show_dtypes=False,
        maxBytes=0,
        maxColumns=0,
        classes="display compact",
        style="table-layout:auto;width:100%;font-size:12.5px",
        css=_SEARCHED,
        autoWidth=False,
        columnDefs=[
            {"targets": whole, "className": "dt-left whole"},
            {"targets": [place for place in range(shown.width) if place not in whole], "className": "dt-left"},
        ],
        language=_language(words),
        lengthMenu=[10, 25, 50, 100],
        caption=first_of(words, most, frame.height) or None,
    )
    return markup(html)


_WHOLE = ("severity", "invoice_key", "channel", "amount")  # columns that are never broken over two lines
_SEARCHED = (
    "table.dataTable td{vertical-align:top;overflow-wrap:anywhere;min-width:64px}"
    "table.dataTable td:last-child{min-width:240px}table.dataTable th{white-space:nowrap}"
    ".dt-container{font-size:12.5px}table.dataTable td.whole{white-space:nowrap}"
)


def _language(words: Words) -> dict[str, Any]:
    names = ("search", "lengthMenu", "info", "infoEmpty", "infoFiltered", "zeroRecords")
    return {name: words(f"searching.{name}") for name in names}
