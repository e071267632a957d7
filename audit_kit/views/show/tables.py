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

from audit_kit.core import schema
from audit_kit.core.words import Words
from audit_kit.views.show import theme

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from audit_kit.analysis.work import Analysis

MOST_SEARCHED = 500
_MANY = 20


def table(
    frame: pl.DataFrame,
    *,
    labels: Mapping[str, str],
    heading: str = "",
    note: str = "",
    numbers: Iterable[str] = (),
    money: Iterable[str] = (),
    widths: Mapping[str, str] | None = None,
    html: Iterable[str] = (),
) -> gt.GT:
    """Return a printable table of the columns in `labels`, in that order.

    `numbers` are counts, `money` yuan with two decimals; `html` names columns that hold markup of our own making, all
    other text is escaped.
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
    figures = [name for name in (*numbers, *money) if name in labels]
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


def _badges(frame: pl.DataFrame, column: str, vocabulary: str, words: Words) -> pl.DataFrame:
    present = frame[column].cast(pl.String).drop_nulls().unique().to_list()
    marks = {word: badge(word, words.term(vocabulary, word)) for word in present}
    return frame.with_columns(pl.col(column).cast(pl.String).replace(marks))


def tie(totals: pl.DataFrame, *, lang: str = "zh") -> gt.GT:
    """Return outcomes by number and yuan on both sides, with totals that tie; `totals` from charts.outcome_totals."""
    words = Words(lang)
    present = [word for word in schema.OUTCOMES if word in totals["outcome"].to_list()]
    wide = pl.DataFrame({"outcome": present}, schema={"outcome": pl.String})
    for side in ("ledger", "platform"):
        part = totals.filter(pl.col("side") == side).select(
            "outcome", pl.col("rows").alias(f"{side}_rows"), pl.col("yuan").alias(f"{side}_yuan")
        )
        wide = wide.join(part, on="outcome", how="left", maintain_order="left")
    sums = wide.select(pl.lit("total").alias("outcome"), pl.exclude("outcome").sum())
    wide = pl.concat([wide, sums], how="vertical_relaxed").with_columns(
        difference=pl.col("ledger_yuan").fill_null(0) - pl.col("platform_yuan").fill_null(0)
    )
    named = {**words.terms("outcome", schema.OUTCOMES), "total": words("unit.total")}
    wide = wide.with_columns(pl.col("outcome").replace(named))
    labels = {
        "outcome": words("head.outcome"),
        "ledger_rows": words("head.rows"),
        "ledger_yuan": words("head.yuan"),
        "platform_rows": words("head.rows"),
        "platform_yuan": words("head.yuan"),
        "difference": words("head.difference"),
    }
    made = table(
        wide,
        labels=labels,
        note=words("tables.tie_note"),
        numbers=["ledger_rows", "platform_rows"],
        money=["ledger_yuan", "platform_yuan", "difference"],
    )
    for side in ("ledger", "platform"):
        made = made.tab_spanner(words.term("side", side), columns=[f"{side}_rows", f"{side}_yuan"])
    bold = gt.style.text(weight="bold")
    return made.tab_style(bold, gt.loc.body(rows=[wide.height - 1]))


def cause_summary(findings: pl.DataFrame, ledger: pl.DataFrame) -> pl.DataFrame:
    """Return one row a cause, the worst first.

    Columns: `severity`, `cause`, `findings`, `unknown`, `yuan`, `first`, `last` (issue), `evidence` (an example:
    that of the largest amount), `ledger_row`, `platform_row` (of the example: whose names a redacted page hides).
    """
    issued = ledger.select("issued_at").with_row_index("ledger_row")
    joined = findings.join(issued, on="ledger_row", how="left")
    order = pl.col("severity").cast(pl.Enum(schema.SEVERITIES))
    return (
        joined.sort(pl.col("amount").abs(), descending=True, nulls_last=True)
        .group_by("cause", maintain_order=True)
        .agg(
            severity=order.min().cast(pl.String),
            findings=pl.len(),
            unknown=(pl.col("state").cast(pl.String) == "unknown").sum(),
            yuan=pl.when(pl.col("amount").is_not_null().any()).then(pl.col("amount").sum()),
            first=pl.col("issued_at").min(),
            last=pl.col("issued_at").max(),
            evidence=pl.col("evidence").first(),
            ledger_row=pl.col("ledger_row").first(),
            platform_row=pl.col("platform_row").first(),
        )
        .sort(
            pl.col("severity").cast(pl.Enum(schema.SEVERITIES)),
            pl.col("yuan").abs(),
            descending=[False, True],
            nulls_last=True,
        )
    )


def causes(summary: pl.DataFrame, *, lang: str = "zh") -> gt.GT | HTML:
    """Return causes with the rule as a plain sentence, what was observed beside it, and the next step."""
    words = Words(lang)
    if summary.is_empty():
        return said(words("overview.causes_none"))
    lines = [
        {
            "severity": badge(row["severity"], words.term("severity", row["severity"])),
            "rule": _rule(row["cause"], words),
            "observed": _observed(row, words),
            "next_step": words.next_step(row["cause"]),
        }
        for row in summary.iter_rows(named=True)
    ]
    labels = {name: words(f"head.{name}") for name in ("severity", "rule", "observed", "next_step")}
    widths = {"severity": "74px", "rule": "33%", "observed": "35%"}
    return table(pl.DataFrame(lines), labels=labels, html=["severity", "rule", "observed"], widths=widths)


def _rule(cause: str, words: Words) -> str:
    sentence = words.rule(cause)
    return f"<b>{escape(words.cause(cause))}</b>" + (f"<br>{escape(sentence)}" if sentence else "")


def _observed(row: Mapping[str, Any], words: Words) -> str:
    text = words("tables.observed", findings=words.count(row["findings"]))
    if row["yuan"] is not None:
        text += words("tables.observed_yuan", yuan=words.yuan(row["yuan"]))
    if row["unknown"]:
        text += words("tables.observed_unknown", unknown=words.count(row["unknown"]))
    example = escape(words("tables.example") + (row["evidence"] or ""))
    return f'<b>{escape(text)}</b><br><span style="color:{theme.MUTED};overflow-wrap:anywhere">{example}</span>'


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
    more = words("tables.first", most=words.count(most), rows=words.count(frame.height))
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
        caption=more if frame.height > most else None,
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


def findings_list(analysis: Analysis, findings: pl.DataFrame) -> pl.DataFrame:
    """Return findings as a person reads them, the most severe and dearest first.

    Columns: `severity`, `cause` (words), `invoice_key`, `issued_at`, `channel`, `buyer_name`, `amount`, `late` (P(late)
    in per cent), `evidence`, `next_step`, `source_file`, `source_row`.
    """
    words = Words(analysis.lang)
    wanted = [name for name in ("issued_at", "channel", "buyer_name") if name in analysis.ledger.columns]
    rows = analysis.ledger.select(wanted).with_row_index("ledger_row")
    order = pl.col("severity").cast(pl.Enum(schema.SEVERITIES))
    joined = findings.sort(order, pl.col("amount").abs(), descending=[False, True], nulls_last=True).join(
        rows, on="ledger_row", how="left", maintain_order="left"
    )
    present = joined["cause"].unique().to_list()
    return joined.with_columns(
        pl.col("severity").cast(pl.String).replace(words.terms("severity", schema.SEVERITIES)),
        pl.col("cause").replace({cause: words.cause(cause) for cause in present}),
        late=(pl.col("probability_late") * 100).round(1),
    )


FINDING_COLUMNS = (
    "severity", "cause", "invoice_key", "issued_at", "channel", "buyer_name", "amount", "late", "evidence",
    "next_step", "source_file", "source_row",
)  # fmt: skip


def finding_labels(lang: str = "zh") -> dict[str, str]:
    """Return the headings of the columns of findings_list that a page lists."""
    words = Words(lang)
    shown = [name for name in FINDING_COLUMNS if name not in {"next_step", "source_file", "source_row"}]
    return {name: words("head.late_percent" if name == "late" else f"head.{name}") for name in shown}
