"""A restored folder against the archive: every file by its hash, every e-invoice by opening it.

Evidence level 3: all that came back is what the archive holds; 4: and every OFD and XML of it opens as an invoice.
The result is a row of table restore_tests, which an engagement reads like any other.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from audit_kit.core import clock, outputs, schema, spreadsheet_csv
from audit_kit.core.errors import RequestError, SourceError
from audit_kit.core.hashing import hash_files
from audit_kit.core.policy import COMPARED, OPENED
from audit_kit.loaders.einvoices import folder as einvoices

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import datetime

OPENABLE = (".xml", ".ofd")
MOST_DAMAGED = 1000


@dataclass(frozen=True, kw_only=True)
class Restored:
    """What was found: `row` of table restore_tests, and `files`: `path`, `state` (equal, differs, extra, unopened)."""

    row: Mapping[str, Any]
    files: pl.DataFrame

    @property
    def is_good(self) -> bool:
        """Whether everything that could be compared was equal."""
        return bool(self.row["result"] == "ok")


def verify_restore(
    folder: str | Path,
    archive: str | Path | pl.DataFrame,
    *,
    repo_id: str,
    backup_id: str | None = None,
    performed_at: datetime | None = None,
    by: str | None = None,
    progress: bool = False,
) -> Restored:
    """Return how a restored folder compares with the archive.

    Args:
        folder: where the backup was restored to; it may hold the archive's folders under others, and only a part of it.
        archive: the archive's folder, or `path`, `sha256` of its files.
        repo_id: the repository that was restored.
        backup_id: the backup.
        performed_at: Beijing time; default: now.
        by: who did it.
        progress: show bars on standard error.

    Raises:
        SourceError: a folder is not there or holds no file.
    """
    began = time.monotonic()
    restored = hash_files(folder, progress=progress)
    if restored.is_empty():
        raise SourceError("error_catalogues.nothing_restored", folder=folder)
    known = archive if isinstance(archive, pl.DataFrame) else hash_files(archive, progress=progress)
    files = _compared(restored, known.filter(pl.col("sha256").is_not_null()))
    unopened = _unopened(Path(folder), files.filter(pl.col("state") != "extra")["path"])
    differing = files.filter(pl.col("state") == "differs")["path"].to_list()
    equal = files.filter(pl.col("state") == "equal").height
    openable = any(Path(path).suffix.lower() in OPENABLE for path in files["path"])
    row = {
        "repo_id": repo_id,
        "backup_id": backup_id,
        "performed_at": performed_at or clock.now(),
        "level": (OPENED if openable and not unopened else COMPARED) if equal or differing else None,
        "scope_pct": round(100 * equal / known.height, 4) if known.height else None,
        "result": "error" if differing else ("ok" if equal else "unknown"),
        "errors": len(differing),
        "damaged": differing[:MOST_DAMAGED],
        "command": f"audit-kit verify-restore {Path(folder).name}",
        "exit_code": 1 if differing else 0,
        "by": by,
        "files_restored": restored.height,
        "bytes_restored": int(restored["size"].sum()),
        "duration_s": round(time.monotonic() - began, 1),
        "compared_by": "hash" if equal or differing else "none",
        "target": Path(folder).name,
    }
    marked = files.with_columns(
        state=pl.when(pl.col("path").is_in(unopened) & (pl.col("state") == "equal"))
        .then(pl.lit("unopened"))
        .otherwise("state")
    )
    return Restored(row=row, files=marked)


def _compared(restored: pl.DataFrame, known: pl.DataFrame) -> pl.DataFrame:
    """Return `path` and `state` of every restored file; the archive's is the one whose path ends alike.

    A name that is the only one of its kind in the archive is enough.
    """
    name = pl.col("path").str.extract(r"([^/]+)$")
    own = known.select(path="path", wanted="sha256", name=name).with_columns(alone=pl.len().over("name") == 1)
    pairs = restored.select(held="path", sha256="sha256", name=name).join(own, on="name")
    ours, theirs = pl.lit("/") + pl.col("path"), pl.lit("/") + pl.col("held")
    alike = pairs.filter(pl.col("alone") | ours.str.ends_with(theirs) | theirs.str.ends_with(ours))
    verdicts = alike.group_by("held").agg(equal=(pl.col("sha256") == pl.col("wanted")).any())
    return restored.join(verdicts, left_on="path", right_on="held", how="left", maintain_order="left").select(
        "path",
        state=pl.when(pl.col("equal").is_null())
        .then(pl.lit("extra"))
        .when(pl.col("equal"))
        .then(pl.lit("equal"))
        .otherwise(pl.lit("differs")),
    )


def _unopened(folder: Path, paths: pl.Series) -> list[str]:
    """Return the OFD and XML files among the paths that do not open as invoices."""
    aside = einvoices.read_folder(folder, root=folder).set_aside["source_file"]
    wanted = set(paths.to_list())
    return sorted(name for name in aside.unique() if name in wanted and Path(name).suffix.lower() in OPENABLE)


def write_evidence(row: Mapping[str, Any], path: Path) -> None:
    """Write a row of table restore_tests as .csv or .json; an engagement names it under `restore_tests`.

    Raises:
        RequestError: another ending, no such folder, or a file that is there already: evidence is never overwritten.
    """
    if path.exists():
        raise RequestError("error_cli.evidence_there", file=path.name)
    names = [name for name in schema.dtypes("restore_tests") if name in row]
    plain = {name: "；".join(row[name]) if isinstance(row[name], list) else row[name] for name in names}
    frame = pl.DataFrame([plain], infer_schema_length=None)
    text = frame.with_columns(pl.selectors.datetime().dt.strftime(spreadsheet_csv.TIME)).write_json()
    writers: dict[str, Callable[[Path], object]] = {
        ".csv": lambda made: spreadsheet_csv.write_csv(frame, made),
        ".json": lambda made: made.write_text(text, encoding="utf-8"),
    }
    outputs.write_as(path, writers)
