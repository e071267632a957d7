"""Tables: great-tables where they are read and printed, itables where a reader searches and sorts.

Every table takes a tidy frame; the function above it prepares that frame. All text is escaped before it becomes HTML.
"""

from __future__ import annotations

import re
from html import escape
from typing import TYPE_CHECKING, Any

import great_tables as gt
import itables
import polars as pl
from IPython.display import HTML

from audit_kit.core import schema
from audit_kit.core.words import Words
from audit_kit.views.show import theme
from audit_kit.views.show.element_ids import element_id

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
        gt.GT(shown, id=element_id("table"))
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


_BADGES = dict.fromkeys(("pass", "closed"), "#24715f")  # white text can be read on it


def badge(word: str, label: str) -> str:
    """Return a severity, state or change as a small coloured label that also says its name."""
    colours = theme.SEVERITIES | theme.RULES | theme.CHANGES
    colour = _BADGES.get(word) or colours.get(word, theme.GREY)
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


def folded(sentence: str, made: gt.GT) -> HTML:
    """Return a table behind a sentence that says all it has to say; a click opens it."""
    summary = f'<summary style="cursor:pointer;font-size:14px;padding:6px 0">{escape(sentence)}</summary>'
    return markup(f"<details>{summary}{made.as_raw_html()}</details>")


def first_of(words: Words, most: int, rows: int) -> str:
    """Return the sentence that only the first rows are listed; empty where they are all."""
    return words("tables.first", most=words.count(most), rows=words.count(rows)) if rows > most else ""


def searchable(frame: pl.DataFrame, *, labels: Mapping[str, str], lang: str = "zh", most: int = MOST_SEARCHED) -> HTML:
    """Return a table to search, filter by column and sort, of at most `most` rows; it says openly when there are more.

    A click on a title sorts: severities by rank, amounts as numbers, all else as text. Amounts have separators, and are
    found with them and without.
    """
    words = Words(lang)
    if frame.is_empty():
        return said(words("tables.nothing"))
    shown, options = sortable(frame.head(most), labels=labels, words=words)
    caption = first_of(words, most, frame.height) or None
    html = itables.to_html_datatable(shown, connected=False, caption=caption, table_id=element_id("list"), **options)
    return markup(_in_language(html, words) + _PLAIN_NUMBERS)


def _in_language(html: str, words: Words) -> str:
    """Return a table of itables with what it says to a reader without JavaScript in the page's language."""
    html = re.sub(r"Loading ITables v.*?</a>\?\)", lambda _: escape(words("searching.loading")), html, flags=re.DOTALL)
    more = r"\((\d+) more rows? not shown\)"
    return re.sub(more, lambda found: escape(words("searching.more", rows=found[1])), html)


# What is typed into a column's filter of numbers may have separators.
_PLAIN_NUMBERS = (
    "<script>window.auditKitPlainNumbers ??= (document.addEventListener('input', (event) => {"
    "if (event.target.closest?.('.dtcc-searchNumber')) "
    "event.target.value = event.target.value.replace(/[,，\\s]/g, '');}, true), true);</script>"
)


def sortable(frame: pl.DataFrame, *, labels: Mapping[str, str], words: Words) -> tuple[pl.DataFrame, dict[str, Any]]:
    """Return a frame as itables shows it, under its labels, and the options it is shown with.

    Behind the columns that are seen stand hidden ones, by which severities and amounts are sorted and amounts found.
    """
    shown = frame.select(labels.keys())
    money = shown.select(pl.selectors.decimal()).columns
    behind = {name: pl.col(name).cast(pl.String) for name in money}
    if "severity" in labels:
        ranks = list(words.terms("severities", schema.SEVERITIES).values())
        behind["severity"] = pl.col("severity").cast(pl.String).replace_strict(ranks, range(len(ranks)), default=None)
    hidden = {name: len(labels) + place for place, name in enumerate(behind)}
    places = {name: place for place, name in enumerate(labels)}
    columns = [
        {"targets": [places[name]], **_column(name, shown.schema[name])}
        | ({"orderData": [hidden[name]]} if name in hidden else {})
        for name in labels
    ]
    columns.append({"targets": [*hidden.values()], "visible": False, "type": "num", "columnControl": []})
    shown = shown.with_columns(
        *(_separated(name) for name in money),
        *(value.alias(f"{name} ") for name, value in behind.items()),
        pl.selectors.datetime().dt.strftime("%Y-%m-%d %H:%M"),
        pl.selectors.by_dtype(pl.List(pl.String)).list.join("、"),
        pl.selectors.categorical().cast(pl.String),
    ).rename({**labels, **{f"{name} ": f"{labels[name]} " for name in behind}})
    return shown, _OPTIONS | {"columnDefs": columns, "language": _language(words)}


def _separated(name: str) -> pl.Expr:
    """Return an amount in yuan with separators and two decimals, exactly; null stays."""
    return pl.col(name).map_elements(lambda amount: f"{amount:,.2f}", return_dtype=pl.String)


def _column(name: str, kind: pl.DataType) -> dict[str, Any]:
    """Return how a column is aligned, sorted and filtered: by a list of its values, as a number, or as text."""
    is_number = kind.is_numeric()
    classes = "dt-right whole" if is_number else f"dt-left{' whole' if name in _WHOLE else ''}"
    content = _BY_LIST if name in _LISTED else "searchNumber" if is_number else "searchText"
    filters = {"className": classes, "columnControl": [{"target": 1, "content": [content]}]}
    return filters if is_number else {**filters, "type": "string"}


_WHOLE = ("severity", "invoice_key", "channel", "amount")  # columns that are never broken over two lines
_SEARCHED = (
    "table.dataTable td{vertical-align:top;overflow-wrap:anywhere;min-width:64px}"
    "table.dataTable td:last-child{min-width:240px}table.dataTable th{white-space:nowrap}"
    ".dt-container{font-size:12.5px}table.dataTable td.whole{white-space:nowrap}"
)
_OPTIONS: dict[str, Any] = {
    "allow_html": False,
    "show_dtypes": False,
    "maxBytes": 0,
    "maxColumns": 0,
    "classes": "display compact",
    "style": "table-layout:auto;width:100%;font-size:12.5px",
    "css": _SEARCHED,
    "autoWidth": False,
    "lengthMenu": [10, 25, 50, 100],
    "text_in_header_can_be_selected": False,  # else only the small arrow sorts
}
_LISTED = ("severity", "cause", "channel")  # columns of few values, filtered by a list of them
_BY_LIST = {"extend": "dropdown", "icon": "search", "content": ["searchList"]}


def _language(words: Words) -> dict[str, Any]:
    names = ("search", "lengthMenu", "info", "infoEmpty", "infoFiltered", "zeroRecords")
    control = {
        group: {name: words(f"searching.{name}") for name in named}
        for group, named in (("text", _TEXT), ("number", _NUMBER), ("list", _LIST))
    }
    listed = {name.removeprefix("list_"): said for name, said in control.pop("list").items()}
    told = {name: words(f"searching.{name}") for name in names}
    return {**told, "columnControl": {"search": control, "list": listed}}


_TEXT = ("contains", "notContains", "equal", "notEqual", "starts", "ends", "empty", "notEmpty")
_NUMBER = ("equal", "notEqual", "greater", "greaterOrEqual", "less", "lessOrEqual", "empty", "notEmpty")
_LIST = ("list_all", "list_none", "list_empty", "list_search")
