"""The sentences of findings: what causes found, as data, filled into the templates of `causes.toml` at the very end.

A field of a template is a column; what stands behind its colon says how it reads: see the head of causes.toml.
"""

from __future__ import annotations

from string import Formatter

import polars as pl

from audit_kit import resources
from audit_kit.core import schema
from audit_kit.core.cause_records import records
from audit_kit.core.words import LANGUAGES

NOTHING, OPEN = "—", "…"
BETWEEN = "、"


def sentences(cause: str, rows: pl.DataFrame, lang: str) -> pl.Expr:
    """Return the evidence of a cause for each of its rows. Cells are data: braces in them mean nothing.

    Raises:
        KeyError: the template names a column, or a value a phrase, that is not there.
    """
    return rendered(records()[cause].evidence[LANGUAGES.index(lang)], rows, lang)


def phrase(name: str, rows: pl.DataFrame, lang: str) -> pl.Expr:
    """Return a phrase of `causes.toml` filled row by row."""
    return rendered(_phrase(name, lang), rows, lang)


def rendered(template: str, rows: pl.DataFrame, lang: str) -> pl.Expr:
    """Return the template filled row by row.

    Raises:
        KeyError: see `sentences`.
    """
    parts: list[pl.Expr] = []
    for literal, name, style, _ in Formatter().parse(template):
        if literal:
            parts.append(pl.lit(literal))
        if name is not None:
            if name not in rows.columns:
                raise KeyError(name)
            parts.append(_part(rows, name, style or "", lang).fill_null(OPEN if style == OPEN else NOTHING))
    return pl.concat_str(parts) if parts else pl.lit("")


def _part(rows: pl.DataFrame, name: str, style: str, lang: str) -> pl.Expr:
    """Return a column as text, in the style asked for."""
    column, dtype = pl.col(name), rows.schema[name]
    if style == "%":
        return pl.concat_str((column * 100).round(1).cast(pl.String), pl.lit("%"))
    if style.isdigit():
        return column.round(int(style)).cast(pl.String)
    if style.startswith("."):
        figures = rows[name].unique().drop_nulls()
        return column.replace_strict(figures, [format(figure, style) for figure in figures], return_dtype=pl.String)
    if isinstance(dtype, pl.List):
        return _list(rows, name, style, lang)
    if style in ("", OPEN):
        return column.dt.strftime("%Y-%m-%d %H:%M") if dtype == pl.Datetime else column.cast(pl.String)
    text = pl.lit(None, pl.String)
    for word in rows[name].cast(pl.String).unique().drop_nulls().sort():
        phrase = rendered(_phrase(f"{style}_{word}", lang), rows, lang)
        text = pl.when(column.cast(pl.String) == word).then(phrase).otherwise(text)
    return text


def _list(rows: pl.DataFrame, name: str, style: str, lang: str) -> pl.Expr:
    """Return the parts of a list, each by its phrase, in a row; a list of records is filled into one phrase."""
    between = resources.load("causes")["between"].get(style, BETWEEN)
    parts = rows.select(name).with_row_index("at").explode(name).drop_nulls(name)
    if isinstance(parts.schema[name], pl.Struct):
        parts = parts.unnest(name)
        parts = parts.with_columns(said=rendered(_phrase(style, lang), parts, lang))
    else:
        parts = parts.with_columns(said=_part(parts, name, style, lang))
    told = parts.group_by("at", maintain_order=True).agg(pl.col("said").str.join(between))
    placed = rows.select(pl.int_range(pl.len(), dtype=pl.UInt32).alias("at")).join(
        told, on="at", how="left", maintain_order="left"
    )
    return pl.lit(placed["said"].fill_null(""))


def _phrase(name: str, lang: str) -> str:
    """Return a phrase; a field is called by its header, in English by its name, a state of a form by its vocabulary."""
    if (field := name.removeprefix("field_")) != name:
        return schema.headers("ledger")[field] if lang == "zh" else field
    if (state := name.removeprefix("form_state_")) != name:
        return str(resources.load("vocabularies")["red_form_states"][state][lang])
    text: str = resources.load("causes")["phrases"][name][LANGUAGES.index(lang)]
    return text
