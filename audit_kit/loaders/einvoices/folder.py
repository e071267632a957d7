"""Folders of e-invoices: every file becomes a row of `invoice_files`, or is set aside with its reason.

OFD and PDF, and large folders whole, are read by processes of their own (see `workers`). What a file says is judged
alone in `row`, against its neighbours here.
"""

from __future__ import annotations

import hashlib
import os
import sys
from bisect import bisect_right
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn

import polars as pl
from tqdm import tqdm

from audit_kit.core.errors import SourceError
from audit_kit.core.files import CLOSED, EMPTY_FOLDER, HIDDEN, Place, census, fault_of, is_inside, shown_path
from audit_kit.loaders.einvoices import row as einvoice_row
from audit_kit.loaders.einvoices.workers import COLUMNS, Workers
from audit_kit.loaders.reading import CONTROL, FILES, Reading, Reason
from audit_kit.loaders.reading import aside as rows_aside
from audit_kit.loaders.red_links import red_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from audit_kit.loaders.einvoices.workers import Answer

CHUNK = 250  # files between two steps of the bar
FEW_FILES = 2_000
# Numbers rise with time within digits 1-5, but not on the direct link (digit 5 = 7).
DIRECT_LINK = "7"
BACKWARDS = timedelta(days=1)


def read_folder(folder: str | Path, *, root: Path | None = None, progress: bool = False) -> Reading:
    """Return the e-invoices of a folder and all folders below it, one row a file; hidden files are left out.

    Beside the canonical columns of `invoice_files` stand `eiid`, `tax_rates`, `red_confirmation`, the accounting
    XBRL's `booked`, `posted_at` and `usage`, and the lists `file_faults` and `file_hints` (see `row`).

    Args:
        folder: where they lie.
        root: what `source_file` is relative to; null = the folder itself.
        progress: show a bar on standard error; where that is no terminal, a line now and then.

    Raises:
        SourceError: no such folder.
    """
    if not Path(folder).is_dir():
        raise SourceError("error_einvoices.no_folder", folder=folder)
    return read_paths([Path(folder)], root=root or Path(folder), progress=progress)


def read_paths(
    paths: Iterable[Path], *, root: Path, progress: bool = False, without: frozenset[Path] = frozenset()
) -> Reading:
    """Return the e-invoices of several folders and files as one reading, but for those left out; see `read_folder`."""
    places = [place for path in paths for place in _places(path, root, without)]
    files = [place for place in places if not place.fault]
    answers = _answers([(place.path, place.name) for place in files], progress=progress)
    rows: list[dict[str, Any]] = []
    aside = [(place.shown, place.fault, "") for place in places if place.fault]
    folders: list[str] = []
    for place, answer in zip(files, answers, strict=True):
        if isinstance(answer, dict):
            rows.append(answer | {"source_file": place.shown})
            folders.append(place.folder)
        else:
            aside.append((place.shown, *answer))
    frame = _frame(rows)
    return Reading(
        table="invoice_files",
        rows=_compared(frame),
        set_aside=rows_aside((file, None, _reason(*fault), fault[1]) for file, *fault in aside),
        control=pl.DataFrame(schema=CONTROL),
        files=_files(Counter(place.folder for place in places), frame, folders),
    )


class _Place(NamedTuple):
    """A file: where it is, its path within its folder, how findings show it, its folder; and why it is not read."""

    path: str
    name: str
    shown: str
    folder: str
    fault: str


def _places(path: Path, root: Path, without: frozenset[Path]) -> Iterator[_Place]:
    """Yield the files of one folder, or the one file, and what in it cannot be read."""
    is_folder = path.is_dir()
    folder = path if is_folder else path.parent
    shown = shown_path(folder.relative_to(root)) if folder.is_relative_to(root) else shown_path(Path(folder.name))
    base = "" if shown == "." or not folder.is_relative_to(root) else f"{shown}/"
    listed = census(path) if is_folder else [Place(path, fault_of(path))]
    for place, fault in listed:
        if fault in (HIDDEN, EMPTY_FOLDER) or place in without:
            continue
        outside = place.is_symlink() and not is_inside(folder, place)
        name = shown_path(place.relative_to(folder)) or place.name
        why = "closed" if fault == CLOSED and place.is_dir() else "link" if outside else ""
        yield _Place(str(place), name, base + name, shown_path(Path(folder.name)) if shown == "." else shown, why)


def _answers(files: list[tuple[str, str]], *, progress: bool) -> Iterator[Answer]:
    """Yield each file's row, or its reason and what was found, in order."""
    with _bar(len(files), shown=progress) as bar:
        known: list[Answer | None] = [None] * len(files)
        if len(files) < FEW_FILES:  # XML is read here, sooner than a process starts
            known = [einvoice_row.answer_of(path, name, unpack=False) for path, name in files]
            bar.update(len(files) - known.count(None))
        asked = [file for file, answer in zip(files, known, strict=True) if answer is None]
        told = _told(asked, bar) if asked else iter(())
        for answer in known:
            yield next(told) if answer is None else answer


def _told(files: list[tuple[str, str]], bar: tqdm[NoReturn]) -> Iterator[Answer]:
    """Yield what processes of their own say of each file, in order."""
    chunks = [files[start : start + CHUNK] for start in range(0, len(files), CHUNK)]
    number = min(os.cpu_count() or 1, 8, len(chunks))
    with ThreadPoolExecutor(number) as pool, Workers(number) as readers:
        for answers in pool.map(readers.ask, chunks):
            yield from answers
            bar.update(len(answers))


def _bar(total: int, *, shown: bool) -> tqdm[NoReturn]:
    """Return a bar on standard error; where that is no terminal it speaks seldom."""
    terminal = sys.stderr.isatty()
    bar: tqdm[NoReturn] = tqdm(
        total=total, disable=not shown, unit="张", leave=not terminal, mininterval=0.2 if terminal else 15
    )
    return bar


def _frame(rows: list[dict[str, Any]]) -> pl.DataFrame:
    """Return the rows in canonical columns, then what is said beyond them."""
    shape = COLUMNS
    columns = {name: pl.Series(name, [row.get(name) for row in rows], dtype) for name, dtype in shape.items()}
    frame = pl.DataFrame(columns)
    frame = frame.with_columns(red_of=pl.coalesce("red_of", red_of(frame["remark"])))
    return frame.with_columns(cleaning=pl.lit([], pl.List(pl.String())) if rows else pl.col("cleaning"))


def _reason(name: str, detail: str) -> Reason:
    return Reason(code=f"einvoice.{name}", fields={"detail": detail[:200]})


def _files(found: Counter[str], rows: pl.DataFrame, folders: list[str]) -> pl.DataFrame:
    """Return one record a folder, of the files found in it and the rows kept of it."""
    parts = rows.with_columns(folder=pl.Series(folders, dtype=pl.String)).partition_by("folder", as_dict=True)
    records = [_record(folder, number, parts.get((folder,), rows.clear())) for folder, number in found.items()]
    return pl.DataFrame({name: [record.get(name) for record in records] for name in FILES}, schema=FILES)


def _record(folder: str, found: int, rows: pl.DataFrame) -> dict[str, Any]:
    """Describe a folder as it was read; its hash is over the hashes and names of the files kept."""
    total = hashlib.sha256()
    for path, sha256 in rows.select("path", "sha256").sort("path").iter_rows():
        total.update(f"{sha256}  {path}\n".encode())
    return {
        "source_file": folder,
        "table": "invoice_files",
        "sha256": total.hexdigest(),
        "size": rows["size"].sum(),
        "rows_in": found,
        "rows_kept": rows.height,
        "rows_set_aside": found - rows.height,
        **{column: rows[column].sum() for column in ("net", "tax", "gross")},
    }


def _compared(rows: pl.DataFrame) -> pl.DataFrame:
    """Add the faults that show only beside other files: copies_differ, and the hint out_of_order."""
    number, day = pl.col("digital_number"), pl.col("issued_at").dt.date()
    differ = number.is_not_null() & (
        (pl.col("gross").drop_nulls().n_unique().over(number) > 1) | (day.drop_nulls().n_unique().over(number) > 1)
    )
    late = number.is_in(_out_of_order(rows))
    return rows.with_columns(
        file_faults=_with("file_faults", differ, "copies_differ"), file_hints=_with("file_hints", late, "out_of_order")
    )


def _with(column: str, condition: pl.Expr, word: str) -> pl.Expr:
    more = pl.when(condition).then(pl.lit([word])).otherwise(pl.lit([], pl.List(pl.String())))
    return pl.concat_list(pl.col(column), more)


def _out_of_order(rows: pl.DataFrame) -> list[str]:
    """Return the numbers whose date of issue lies more than a day off the order of their neighbours.

    Numbers rise with time within digits 1-5. The fewest that break this are the odd ones: all but a longest rising
    sequence, so that one forged date does not accuse its neighbours.
    """
    series = (
        rows.select("digital_number", "issued_at")
        .drop_nulls()
        .filter(pl.col("digital_number").str.len_chars() == 20, pl.col("digital_number").str.slice(4, 1) != DIRECT_LINK)  # noqa: PLR2004 (digits)
        .unique("digital_number", keep="first")
        .sort("digital_number")
        .group_by(pl.col("digital_number").str.head(5), maintain_order=True)
        .agg(numbers="digital_number", times="issued_at")
        if rows.height
        else None
    )
    odd: list[str] = []
    for numbers, times in series.select("numbers", "times").iter_rows() if series is not None else ():
        odd += [numbers[at] for at in _breaks(times)]
    return odd


def _breaks(times: list[datetime]) -> list[int]:
    """Return the positions outside a longest rising sequence that are more than a day off their neighbours in it."""
    rising = _rising(times)
    odd = []
    for before, after in zip([None, *rising], [*rising, None], strict=True):
        for at in range(0 if before is None else before + 1, len(times) if after is None else after):
            too_early = before is not None and times[at] < times[before] - BACKWARDS
            too_late = after is not None and times[at] > times[after] + BACKWARDS
            if too_early or too_late:
                odd.append(at)
    return odd


def _rising(times: list[datetime]) -> list[int]:
    """Return the positions of a longest sequence that never goes back."""
    ends: list[datetime] = []
    at_end: list[int] = []
    previous: list[int] = []
    for at, time in enumerate(times):
        place = bisect_right(ends, time)
        previous.append(at_end[place - 1] if place else -1)
        ends[place : place + 1] = [time]
        at_end[place : place + 1] = [at]
    chain, at = [], at_end[-1] if at_end else -1
    while at >= 0:
        chain.append(at)
        at = previous[at]
    return chain[::-1]
