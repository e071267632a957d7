"""kopia: `snapshot list --all --json`.

A snapshot is complete in itself. Checkpoints of a run that was cut off are listed too, as `incomplete`, and files that
could not be read are counted. Nothing here says whether the repository is encrypted.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from audit_kit.loaders.catalogues.found import Found, Origin, line_numbers, moment, snapshot

if TYPE_CHECKING:
    from collections.abc import Mapping

NEEDED = {"id", "source", "startTime", "endTime"}


def read_json(content: Any, text: str, origin: Origin) -> Found | None:  # noqa: ANN401 (parsed JSON)
    """Return the snapshots of `kopia snapshot list --json`."""
    if not isinstance(content, list) or not all(isinstance(row, dict) and set(row) >= NEEDED for row in content):
        return None
    lines = line_numbers(text, ('"' + row["id"] + '"' for row in content))
    rows = zip(content, lines, strict=True)
    return Found(backups=[_snapshot(row, line, origin) for row, line in rows], rows_in=len(content))


def _snapshot(row: Mapping[str, Any], line: int, origin: Origin) -> dict[str, Any]:
    stats, summary = row.get("stats") or {}, (row.get("rootEntry") or {}).get("summ") or {}
    source, started = row["source"] or {}, moment(row["startTime"], origin)
    unread = (summary.get("numFailed") or 0) + (summary.get("numIgnoredErrors") or 0)
    reason = row.get("incomplete") or summary.get("incomplete")
    path = source.get("path")
    return snapshot(
        origin,
        backup_id=row["id"],
        tool="kopia",
        source_host=source.get("host"),
        source_paths=None if path is None else [path],
        data_time=started,
        started_at=started,
        finished_at=moment(row["endTime"], origin),
        time_source="offset",
        status="failed" if reason else ("warning" if unread else "ok"),
        raw_status=f"incomplete: {reason}" if reason else (f"{unread} errors" if unread else "listed"),
        files=summary.get("files", stats.get("fileCount")),
        bytes_source=summary.get("size", stats.get("totalSize")),
        line=line,
    )
