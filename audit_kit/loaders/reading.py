"""What a reader returns: the rows, the rows set aside with their reasons, and the control totals."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import polars as pl

from audit_kit import resources
from audit_kit.core import schema
from audit_kit.core.words import Words

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

MONEY_COLUMNS = ("net", "tax", "gross")
NUMBER_COLUMNS = ("digital_number", "invoice_number", "invoice_code")
LIST = "list of "  # before a column of money: what a line for the list of an invoice's lines states, if they disagree
LONGEST_VALUE = 200
ORIGINAL = "（原文）"  # behind the header of a column: its words that no vocabulary knows
MOST_UNREAD = 20  # words of a file that are named, those of most rows
BETWEEN = ";"  # the codes of one row
SET_ASIDE = {
    "source_file": pl.String(),
    "source_row": pl.UInt32(),
    "reason": pl.String(),
    "value": pl.String(),
    "code": pl.String(),
    "fields": pl.String(),
    "gross": pl.Decimal(18, 2),
}
CONTROL = {
    "source_file": pl.String(),
    "sheet": pl.String(),
    "column": pl.String(),
    "stated": pl.Decimal(18, 2),
    "computed": pl.Decimal(18, 2),
    "agrees": pl.Boolean(),
}
FILES = {
    "source_file": pl.String(),
    "table": pl.String(),
    "sheet": pl.String(),
    "encoding": pl.String(),
    "sha256": pl.String(),
    "size": pl.UInt64(),
    "rows_in": pl.UInt32(),
    "rows_kept": pl.UInt32(),
    "rows_set_aside": pl.UInt32(),
    "net": pl.Decimal(18, 2),
    "tax": pl.Decimal(18, 2),
    "gross": pl.Decimal(18, 2),
    "columns": pl.List(pl.Struct({"theirs": pl.String(), "ours": pl.String()})),
    "unplaced": pl.List(pl.String()),
    "withheld": pl.List(pl.Struct({"column": pl.String(), "cells": pl.UInt32()})),
    "unread": pl.List(pl.Struct({"column": pl.String(), "word": pl.String(), "rows": pl.UInt32()})),
}


@dataclass(frozen=True)
class Reading:
    """One source as it was read: rows in = rows kept + rows set aside, for every file.

    `rows`: the canonical columns of `table` (see schema), then columns of the source that have no place there.
    `set_aside`: `source_file`, `source_row`, `reason` (an English sentence), `value` (what stood there), `code` (the
    reasons' keys in resources/words/reasons.toml, `;` between), `fields` (JSON: an object a key, for its sentence),
    `gross` (yuan; null where it could not be read).
    `control`: the file's own totals against ours, yuan. `files`: how each file or sheet was read.
    """

    table: str
    rows: pl.DataFrame
    set_aside: pl.DataFrame
    control: pl.DataFrame
    files: pl.DataFrame

    @classmethod
    def nothing(cls, table: str) -> Reading:
        """Return the reading of a source that is not there."""
        return cls(
            table=table,
            rows=schema.empty(table),
            set_aside=pl.DataFrame(schema=SET_ASIDE),
            control=pl.DataFrame(schema=CONTROL),
            files=pl.DataFrame(schema=FILES),
        )


@dataclass(frozen=True, kw_only=True)
class Reason:
    """Why a row is set aside: the key of an entry of reasons.toml, and what stands in its sentence."""

    code: str
    fields: Mapping[str, object] = field(default_factory=dict)

    def said(self, lang: str = "en") -> str:
        """Return the reason as a sentence."""
        return Words(lang)(self.code, **self.fields)

    def written(self) -> str:
        """Return what stands in its sentence, as JSON."""
        return json.dumps(dict(self.fields), ensure_ascii=False)


@dataclass(frozen=True, kw_only=True)
class Fault:
    """Rows of a table that cannot be used: which, why, and what stood there."""

    mask: pl.Series
    reason: Reason
    values: pl.Series | None = None


@dataclass(frozen=True, kw_only=True)
class Checked:
    """One sheet, read and held against itself; `names` are its headers by our column.

    `withheld`: columns of persons that were not read in, with their filled cells.
    """

    table: str
    sheet: str | None
    encoding: str | None
    check_only: bool
    rows: pl.DataFrame
    set_aside: pl.DataFrame
    control: pl.DataFrame
    names: Mapping[str, str | None]
    unplaced: Sequence[str]
    withheld: Sequence[tuple[str, int]] = ()


def reading(found: Sequence[Checked], *, unread: Sequence[str | None], source: str) -> Reading:
    """Return the sheets of one file as one reading; those that only check the others give control totals.

    `unread` are the sheets that are not this table, so that they are named and not dropped silently.
    """
    main = [sheet for sheet in found if not sheet.check_only]
    sheets = [Reading(sheet.table, sheet.rows, sheet.set_aside, sheet.control, _file(sheet)) for sheet in main]
    others = [replace(Reading.nothing(main[0].table), files=_files({"sheet": name})) for name in unread]
    whole = joined(main[0].table, [*sheets, *others])
    checks = [sheet for sheet in found if sheet.check_only]
    against = [part for sheet in checks for part in (_against_lines(whole.rows, sheet), _of_lists(sheet))]
    files = whole.files.with_columns(source_file=pl.lit(source))
    return replace(whole, control=pl.concat([whole.control, *against]), files=files.select(*FILES))


def _file(sheet: Checked) -> pl.DataFrame:
    kept, aside_ = sheet.rows.height, sheet.set_aside.height
    return _files(
        {
            "table": sheet.table,
            "sheet": sheet.sheet,
            "encoding": sheet.encoding,
            "rows_in": kept + aside_,
            "rows_kept": kept,
            "rows_set_aside": aside_,
            **sums(sheet.rows),
            "columns": [{"theirs": theirs, "ours": ours} for ours, theirs in sheet.names.items()],
            "unplaced": list(sheet.unplaced),
            "withheld": [{"column": column, "cells": cells} for column, cells in sheet.withheld],
            "unread": _unread(sheet.rows, sheet.names),
        }
    )


def _unread(rows: pl.DataFrame, names: Mapping[str, str | None]) -> list[dict[str, object]]:
    """Return the words that no vocabulary knows, each with its column and its rows, those of most rows first."""
    nothing = resources.load("vocabularies")["nothing"]["words"]
    found = [
        rows[theirs + ORIGINAL]
        .drop_nulls()
        .value_counts(name="rows")
        .select(pl.lit(theirs).alias("column"), word, "rows")
        for theirs in names.values()
        if theirs is not None and theirs + ORIGINAL in rows.columns
        for word in [pl.col(theirs + ORIGINAL).str.slice(0, LONGEST_VALUE).alias("word")]
    ]
    if not found:
        return []
    told = pl.concat(found).filter(~pl.col("word").str.strip_chars().str.to_lowercase().is_in(nothing))
    return told.sort("rows", "column", "word", descending=[True, False, False]).head(MOST_UNREAD).to_dicts()


def _files(told: Mapping[str, Any]) -> pl.DataFrame:
    counts = {name: 0 for name in FILES if name.startswith("rows_")}
    return pl.DataFrame([{**dict.fromkeys(FILES), **counts, **told}], schema=FILES)


def sums(rows: pl.DataFrame) -> dict[str, Any]:
    """Return the sum of each column of money in yuan; null where there is no such column, or no amount in it."""
    known = [name for name in MONEY_COLUMNS if name in rows.columns and rows[name].null_count() < rows.height]
    return {name: rows[name].sum() if name in known else None for name in MONEY_COLUMNS}


def _against_lines(rows: pl.DataFrame, lines: Checked) -> pl.DataFrame:
    """Return sums and count of the invoices that line items make, against those of the invoices themselves."""
    source = rows["source_file"].first() if rows.height else None
    numbers = [name for name in NUMBER_COLUMNS if name in rows.columns]
    pairs: list[tuple[str, object, object]] = [("rows", lines.rows.n_unique(numbers), rows.height)]
    pairs += [(name, lines.rows[name].sum(), rows[name].sum()) for name in MONEY_COLUMNS]
    told = [(source, lines.sheet, name, stated, computed, stated == computed) for name, stated, computed in pairs]
    return pl.DataFrame(told, schema=CONTROL, orient="row", strict=False)


def _of_lists(lines: Checked) -> pl.DataFrame:
    """Return what a sheet of line items says of its own lists; a total at its foot is told by the invoices' own."""
    return lines.control.filter(pl.col("column").str.starts_with(LIST))


def joined(table: str, readings: Sequence[Reading]) -> Reading:
    """Return several readings of one table as one, in order; columns without a place stand after the canonical ones."""
    if len(readings) == 1:
        return readings[0]
    parts = [Reading.nothing(table), *readings]

    def together(name: str) -> pl.DataFrame:
        frames: list[pl.DataFrame] = [getattr(part, name) for part in parts]
        return pl.concat(frames, how="diagonal_relaxed")

    return Reading(table, together("rows"), together("set_aside"), together("control"), together("files"))


def aside(found: Iterable[tuple[str, int | None, Reason, str | None]]) -> pl.DataFrame:
    """Return what was set aside, each (file, row, reason, value), as `Reading.set_aside` has it."""
    rows = [
        (file, row, reason.said(), value, reason.code, f"[{reason.written()}]", None)
        for file, row, reason, value in found
    ]
    return pl.DataFrame(rows, schema=SET_ASIDE, orient="row")


def aside_of(faults: Iterable[Fault], rows: pl.Series, *, source: str) -> pl.DataFrame:
    """Return the rows of a table that have a fault, each once with all its reasons; `rows` are the physical rows."""
    pieces = [
        pl.DataFrame({"source_row": rows, "value": fault.values})
        .filter(fault.mask.fill_null(value=False))
        .with_columns(
            reason=pl.lit(fault.reason.said()),
            code=pl.lit(fault.reason.code),
            fields=pl.lit(fault.reason.written()),
        )
        for fault in faults
    ]
    if not pieces:
        return pl.DataFrame(schema=SET_ASIDE)
    return (
        pl.concat(pieces)
        .group_by("source_row", maintain_order=True)
        .agg(
            pl.col("reason").str.join("; "),
            pl.col("value").drop_nulls().first().str.slice(0, LONGEST_VALUE),
            pl.col("code").str.join(BETWEEN),
            pl.col("fields").str.join(", "),
        )
        .sort("source_row")
        .with_columns(source_file=pl.lit(source), fields=pl.format("[{}]", "fields"), gross=pl.lit(None))
        .select(pl.col(name).cast(dtype) for name, dtype in SET_ASIDE.items())
    )


def said(set_aside: pl.DataFrame, lang: str) -> pl.Series:
    """Return the reasons of rows set aside in a language (zh, en)."""
    words = Words(lang)
    between = words("reason.and")
    pairs = zip(set_aside["code"], set_aside["fields"], strict=True)
    sentences = [
        between.join(words(code, **given) for code, given in zip(codes.split(BETWEEN), json.loads(fields), strict=True))
        for codes, fields in pairs
    ]
    return pl.Series("reason", sentences, dtype=pl.String)
