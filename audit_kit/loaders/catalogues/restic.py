"""restic: `snapshots --json`, `ls --json`, `stats --json`.

A snapshot is complete in itself; its parent is only a hint for speed. Its `time` can be set by whoever makes it, so
`summary.backup_start`, where the version writes it, is kept beside it. A repository is always encrypted.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import polars as pl

from audit_kit.loaders.catalogues.found import (
    Content,
    Found,
    Origin,
    backup,
    line_numbers,
    listed,
    moment,
    moments,
    snapshot,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

NODES = {name: pl.String() for name in ("type", "path", "mtime", "sha256", "struct_type", "message_type")} | {
    "size": pl.Int64()
}


def read_json(content: Any, text: str, origin: Origin) -> Found | None:  # noqa: ANN401 (parsed JSON)
    """Return the snapshots of `restic snapshots --json`, grouped or not, or the size of one by `restic stats`."""
    if isinstance(content, dict) and "total_file_count" in content and origin.backup_id:
        return read_stats(content, origin)
    if not isinstance(content, list) or not all(isinstance(row, dict) and _is_snapshot(row) for row in content):
        return None
    rows = [inner for row in content for inner in row.get("snapshots", [row])]
    lines = line_numbers(text, (row["id"] for row in rows))
    return Found(
        backups=[_snapshot(row, origin, line=line) for row, line in zip(rows, lines, strict=True)], rows_in=len(rows)
    )


def _is_snapshot(row: Mapping[str, Any]) -> bool:
    return ("tree" in row and "time" in row) or "snapshots" in row


def _snapshot(row: Mapping[str, Any], origin: Origin, *, line: int = 1) -> dict[str, Any]:
    summary = row.get("summary") or {}
    data_time = moment(row["time"], origin)
    return snapshot(
        origin,
        line=line,
        backup_id=row["id"],
        tool="restic",
        tool_version=row.get("program_version"),
        source_host=row.get("hostname"),
        source_paths=row.get("paths"),
        parent_id=row.get("parent"),
        data_time=data_time,
        started_at=moment(summary.get("backup_start"), origin) or data_time,
        finished_at=moment(summary.get("backup_end"), origin),
        time_source="offset" if summary else "settable",
        status="ok",
        raw_status="listed",
        files=summary.get("total_files_processed"),
        bytes_source=summary.get("total_bytes_processed"),
        bytes_stored=summary.get("data_added_packed", summary.get("data_added")),
        encrypted=True,
        enc_method="AES-256-CTR-Poly1305-AES",
        excludes=row.get("excludes") or [],
    )


def read_lines(head: Mapping[str, Any], data: bytes, origin: Origin) -> Found | None:
    """Return the files of `restic ls --json`; its first line is the snapshot itself."""
    if "struct_type" not in head and "message_type" not in head:
        return None
    rows = pl.read_ndjson(io.BytesIO(data), schema=NODES)
    files = rows.filter(pl.col("type").is_in(["file", "symlink"]))
    files = files.with_columns(path_norm="path", mtime=moments(files["mtime"], origin), hash_kind=pl.lit("none"))
    own = _snapshot(head, origin) if "tree" in head else None
    content = Content(
        repo_id=origin.repo_id,
        backup_id=head["id"] if own else origin.backup_id,
        files=listed(files.filter(pl.col("type") == "file")),
        origin=origin,
        backup=own,
    )
    return Found(contents=[content], rows_in=rows.height)


def read_stats(content: Mapping[str, Any], origin: Origin) -> Found:
    """Return the size of one snapshot from `restic stats --json ID`."""
    row = backup(
        origin,
        backup_id=origin.backup_id,
        files=content.get("total_file_count"),
        bytes_source=content.get("total_size"),
    )
    return Found(backups=[row], rows_in=1)
