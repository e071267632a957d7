"""Tables as files: parquet for programs, csv and xlsx for people.

In a workbook, identifiers are text, money is a number of yuan, and nothing that comes from the data is ever a formula
or a link. What does not fit a sheet is left out, and the sheet says so.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import polars as pl

from audit_kit.core import outputs, schema, spreadsheet_csv
from audit_kit.core.spreadsheet_csv import flat
from audit_kit.core.words import Words
from audit_kit.loaders.reading import said

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from datetime import datetime
    from pathlib import Path

    from xlsxwriter import Workbook
    from xlsxwriter.format import Format
    from xlsxwriter.worksheet import Worksheet


MOST_LINES = 1_048_576
LONGEST_TEXT = 32_767
WRAPPED = 40
_TIME_WIDTH, _TEXT_WIDTH, _FIGURE_WIDTH = 17, 14, 13
_A4 = 9  # in the numbers of Excel
_WIDTHS = {
    "evidence": 60,
    "next_step": 48,
    "reason": 60,
    "value": 30,
    "sha256": 66,
    "invoice_key": 23,
    "file": 40,
    "counterparty": 28,
    "ledger_value": 32,
    "platform_value": 32,
    "audit_note": 42,
    "reference": 9,
    "severity": 9,
    "cause": 18,
    "what": 22,
    "subject": 36,
    "event": 8,
    "conclusion": 16,
    "finding_id": 18,
}
_SAFE = {"strings_to_formulas": False, "strings_to_urls": False, "strings_to_numbers": False, "constant_memory": True}
_NOTES = {
    "zh": "本表共 {rows:,} 行，Excel 一页只能放 {most:,} 行，其余见同名 parquet 文件。",
    "en": "{rows:,} rows in all; a sheet holds {most:,}, the others are in the parquet file of the same name.",
}


@dataclass(frozen=True)
class Sheet:
    """One sheet: its name, its rows, a header for every column, lines above the table, and what may be chosen where."""

    name: str
    rows: pl.DataFrame
    headers: Mapping[str, str]
    above: Sequence[str] = ()
    choices: Mapping[str, Sequence[str]] = field(default_factory=dict)


def write_table(frame: pl.DataFrame, path: Path, *, table: str, lang: str = "zh", inputs: Iterable[Path] = ()) -> None:
    """Write a table of the schema as the name's ending says: .parquet, .csv (with BOM) or .xlsx.

    Raises:
        RequestError: another ending, a folder that is not there, or one of the `inputs`.
        PlaceError: the folder has no room, or cannot be written to.
    """
    writers: dict[str, Callable[[Path], Any]] = {
        ".parquet": lambda made: outputs.write_parquet(frame, made),
        ".csv": lambda made: spreadsheet_csv.write_csv(frame, made),
        ".xlsx": lambda made: write_workbook(made, [Sheet(table, frame, headers(table, lang))], lang=lang),
    }
    outputs.write_as(path, writers, inputs=inputs)


def report_sheets(
    found: pl.DataFrame,
    paper: pl.DataFrame,
    inputs: pl.DataFrame,
    control: pl.DataFrame,
    set_aside: pl.DataFrame,
    *,
    unused: pl.DataFrame,
    settled: pl.DataFrame,
    steps: Sequence[pl.DataFrame],
    events: pl.DataFrame,
    lang: str,
) -> list[Sheet]:
    """Return the sheets of findings.xlsx: findings, events, causes, sources, rows set aside and files not used.

    `paper`: the findings as `working_papers.papers` gives them; `settled`: what was concluded of earlier ones; `steps`:
    the lines of every step and the files of both sides (see step_totals); `events`: see `event_rows.event_sheet`.
    """
    words = Words(lang)
    named = {**words.section("front"), **words.section("workbook")}
    causes = found.group_by("cause", maintain_order=True).agg(
        pl.col("severity").first(), findings=pl.len(), amount=pl.col("amount").sum()
    )
    sources = inputs.select(
        *("table", "source_file", "sheet", "rows_in", "rows_kept", "rows_set_aside", "net", "tax", "gross"),
        *("encoding", "size", "sha256"),
    )
    totals = control.select("table", "source_file", "sheet", "column", "stated", "computed", "agrees")
    heads = {name: words(f"workbook.{name}") for name in totals["column"].unique()}
    totals = totals.with_columns(pl.col("column").replace(heads), _yes_or_no("agrees", words))
    left = unused.select(source_file="file", reason="why")
    rest = set_aside.select("table", "source_file", "source_row", said(set_aside, lang), "value", "gross")
    aside = pl.concat([rest.clear(), left, rest], how="diagonal_relaxed")
    earlier = [Sheet(words("workbook.settled"), settled, named)] if settled.height else []
    return [
        findings_sheet(paper, words),
        events_sheet(events, words),
        Sheet(words("workbook.causes"), _named_causes(causes, words), named, (words("front.causes_note"),)),
        Sheet(words("workbook.sources"), _with_tables(sources, words), named, (words("front.sources_note"),)),
        Sheet(words("workbook.control"), _with_tables(totals, words), named),
        *_steps(steps, words),
        Sheet(words("workbook.set_aside"), _with_tables(aside, words), named),
        *earlier,
    ]


def _steps(steps: Sequence[pl.DataFrame], words: Words) -> list[Sheet]:
    """Return the sheets of the totals: every step, and the files of both sides one by one."""
    lines, files = steps
    heads = words.section("totals")
    sides = _with_tables(files, words).with_columns(_yes_or_no("adds_up", words))
    return [Sheet(heads["sheet"], lines, heads, (heads["note"],)), Sheet(heads["files"], sides, heads)]


def events_sheet(events: pl.DataFrame, words: Words) -> Sheet:
    """Return the sheet of events; `events`: see `event_rows.sheet_of`."""
    named = {**words.section("front"), **words.section("workbook"), **words.section("matters")}
    return Sheet(words("matters.title"), events, named, (words("matters.note"),))


def findings_sheet(paper: pl.DataFrame, words: Words) -> Sheet:
    """Return the sheet on which an auditor works: `working_papers.papers`, with columns to fill in."""
    return Sheet(
        words("workbook.findings"),
        paper,
        {**words.section("front"), **words.section("workbook"), "event": words("matters.title")},
        (words("workbook.sorted") + words("workbook.to_fill_in"),),
        {"conclusion": words("workbook.conclusions").split("；")},
    )


def _with_tables(rows: pl.DataFrame, words: Words) -> pl.DataFrame:
    """Return rows with the name of their table in the reader's language."""
    known = {table: words.term("table", table) for table in schema.INPUTS}
    return rows.with_columns(pl.col("table").cast(pl.String).replace(known))


def _yes_or_no(column: str, words: Words) -> pl.Expr:
    yes, no = words("workbook.yes"), words("workbook.no")
    return pl.when(column).then(pl.lit(yes)).when(~pl.col(column)).then(pl.lit(no)).alias(column)


def _named_causes(causes: pl.DataFrame, words: Words) -> pl.DataFrame:
    codes = causes["cause"].to_list()
    return causes.select(
        pl.col("severity").cast(pl.String).replace(words.terms("severities", schema.SEVERITIES)),
        pl.col("cause").replace(words.causes(codes)),
        "findings",
        "amount",
        next_step=pl.col("cause").replace({code: words.next_step(code) for code in codes}),
        cause_code=pl.col("cause"),
    )


def headers(table: str, lang: str) -> dict[str, str]:
    """Return what stands above each column: the Chinese header, in English the column's own name."""
    return {name: header if lang == "zh" else name for name, header in schema.headers(table).items()}


def write_workbook(
    path: Path,
    sheets: Sequence[Sheet],
    *,
    lang: str = "zh",
    most: int = MOST_LINES,
    made_at: datetime | None = None,
) -> None:
    """Write sheets with a frozen header and a filter each; at most `most` lines a sheet, and it says so.

    `made_at` stands in its properties; null = now.
    """
    with spreadsheet_csv.new_workbook(path, _SAFE) as book:
        if made_at is not None:
            book.set_properties({"created": made_at})
        formats = _formats(book)
        for sheet in sheets:
            _write_sheet(book.add_worksheet(sheet.name), sheet, formats, lang=lang, most=most)


def _formats(book: Workbook) -> dict[str, Format]:
    font = {"font_name": "Microsoft YaHei", "font_size": 10, "valign": "top"}
    return {
        "head": book.add_format({**font, "bold": True, "bg_color": "#E9EEF4", "bottom": 1, "text_wrap": True}),
        "text": book.add_format({**font, "num_format": "@"}),
        "long": book.add_format({**font, "num_format": "@", "text_wrap": True}),
        "money": book.add_format({**font, "num_format": "#,##0.00"}),
        "count": book.add_format({**font, "num_format": "#,##0"}),
        "share": book.add_format({**font, "num_format": "0.0%"}),
        "time": book.add_format({**font, "num_format": "yyyy-mm-dd hh:mm"}),
        "note": book.add_format({**font, "italic": True, "font_color": "#5B6573"}),
    }


def _write_sheet(page: Worksheet, sheet: Sheet, formats: Mapping[str, Format], *, lang: str, most: int) -> None:
    rows = flat(sheet.rows)
    above = list(sheet.above)
    room = most - len(above) - 1
    if rows.height > room:
        above.append(_NOTES[lang].format(rows=rows.height, most=room - 1))
        rows = rows.head(room - 1)
    top = len(above)
    for place, (name, dtype) in enumerate(rows.schema.items()):
        usual = _TIME_WIDTH if dtype.is_temporal() else _TEXT_WIDTH if dtype == pl.String else _FIGURE_WIDTH
        page.set_column(place, place, _WIDTHS.get(name, usual))
        if name in sheet.choices:
            last = top + max(rows.height, 1)
            page.data_validation(
                top + 1, place, last, place,
                {"validate": "list", "source": list(sheet.choices[name]), "error_type": "information"},
            )  # fmt: skip
    for place, line in enumerate(above):
        page.write_string(place, 0, line, formats["note"])
    for place, name in enumerate(rows.columns):
        page.write_string(top, place, sheet.headers.get(name, name), formats["head"])
    page.freeze_panes(top + 1, 0)
    page.set_landscape()
    page.set_paper(_A4)
    page.fit_to_pages(1, 0)
    page.repeat_rows(top)
    page.set_footer("&L&A&R&P / &N")
    page.autofilter(top, 0, top + max(rows.height, 1), max(rows.width - 1, 0))
    writers = [_writer(page, name, dtype, formats) for name, dtype in rows.schema.items()]
    for number, row in enumerate(rows.iter_rows(), top + 1):
        for place, (value, write) in enumerate(zip(row, writers, strict=True)):
            if value is not None:
                write(number, place, value)


def _writer(page: Worksheet, name: str, dtype: pl.DataType, formats: Mapping[str, Format]) -> Callable[..., Any]:
    """Return the one function that writes a column's values."""
    if dtype.is_decimal():
        return lambda row, column, value: page.write_number(row, column, float(value), formats["money"])
    if dtype.is_float():
        shape = formats["share"] if name == "probability_late" else formats["money"]
        return lambda row, column, value: page.write_number(row, column, value, shape)
    if dtype.is_integer():
        return lambda row, column, value: page.write_number(row, column, value, formats["count"])
    if dtype.is_temporal():
        return lambda row, column, value: page.write_datetime(row, column, value, formats["time"])
    shape = formats["long" if _WIDTHS.get(name, 0) > WRAPPED else "text"]
    return lambda row, column, value: page.write_string(row, column, str(value)[:LONGEST_TEXT], shape)
