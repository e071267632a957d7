"""Csv that a spreadsheet opens right and that cannot do harm there, and workbooks that are whole or not at all.

Csv begins with a byte order mark. Text that a spreadsheet would take for a number, such as a number of 20 digits, is
written as ="…" so that no digit is lost; text that it would take for a formula gets an apostrophe.
"""

from __future__ import annotations

import io
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import polars as pl

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from xlsxwriter import Workbook

LINE_END = "\r\n"
TIME = "%Y-%m-%d %H:%M:%S"
FORMULA = r"^'*[=+\-@＝＋－＠\t\r\n]"
_NUMBER = r"^[0-9]{8,}$|^0[0-9]+$|^[0-9]+[eE][0-9]+$"
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_WORDS = (pl.Enum, pl.Categorical)


def safe_csv(frame: pl.DataFrame) -> bytes:
    """Return a frame as csv."""
    return _BYTE_ORDER_MARK + harmless(frame).write_csv(line_terminator=LINE_END).encode()


def write_csv(frame: pl.DataFrame, path: Path) -> None:
    """Write a frame as csv."""
    with path.open("wb") as file:  # a path may hold bytes that are no letters, and polars knows no such path
        harmless(frame).write_csv(file, include_bom=True, line_terminator=LINE_END)


class _Packed(io.BytesIO):
    """Bytes that stay open until nobody holds them: a half-made zip closes itself late, and must not complain."""

    def close(self) -> None:
        """Do nothing."""


@contextmanager
def new_workbook(path: Path, options: Mapping[str, Any] | None = None) -> Iterator[Workbook]:
    """Give a workbook to fill; until it is whole, its packed bytes are in memory and its parts beside `path`."""
    import xlsxwriter  # noqa: PLC0415  readers need this room and no workbook

    packed = _Packed()
    with xlsxwriter.Workbook(packed, {**(options or {}), "tmpdir": str(path.parent)}) as book:
        yield book
    path.write_bytes(packed.getbuffer())


def undone(text: pl.Series) -> pl.Series:
    """Return text as it was before `harmless` made it safe."""
    if not (text.str.starts_with("'") | text.str.starts_with('="')).any():
        return text
    cell = pl.col(text.name)
    plain = (
        pl.when(cell.str.starts_with("'") & cell.str.contains(FORMULA))
        .then(cell.str.slice(1))
        .otherwise(cell.str.replace(r'^="([^"]*)"$', "${1}"))
    )
    return text.to_frame().select(plain.alias(text.name)).to_series()


def flat(frame: pl.DataFrame) -> pl.DataFrame:
    """Return the frame with lists joined to text and words as text."""
    lists = [name for name, dtype in frame.schema.items() if isinstance(dtype, pl.List)]
    words = [name for name, dtype in frame.schema.items() if isinstance(dtype, _WORDS)]
    return frame.with_columns(
        *(pl.col(name).cast(pl.List(pl.String)).list.join("；") for name in lists),
        *(pl.col(name).cast(pl.String) for name in words),
    )


def harmless(frame: pl.DataFrame) -> pl.DataFrame:
    """Return the frame flat, its times and all text as they are safe in a csv."""
    shown = flat(frame)
    times = [name for name, dtype in shown.schema.items() if isinstance(dtype, pl.Datetime)]
    texts = [name for name, dtype in shown.schema.items() if dtype == pl.String]
    return shown.with_columns(
        *(pl.col(name).dt.strftime(TIME) for name in times), *(_safe(pl.col(name)).alias(name) for name in texts)
    )


def _safe(text: pl.Expr) -> pl.Expr:
    return (
        pl.when(text.str.contains(_NUMBER))
        .then(pl.format('="{}"', text))
        .when(text.str.contains(FORMULA))
        .then(pl.format("'{}", text))
        .otherwise(text)
    )
