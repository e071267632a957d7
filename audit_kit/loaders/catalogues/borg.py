"""borg: `info --json`, `list --json`, `list --json-lines ARCHIVE`.

borg 1 prints times without a zone, in the zone of whoever runs the command; the zone must be declared. An archive is
complete in itself. `encryption.mode` `none` and the `authenticated` modes leave the content readable.
"""

from __future__ import annotations

import io
import re
import shlex
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
    named_time,
    snapshot,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

ITEMS = {name: pl.String() for name in ("type", "path", "mtime", "sha256")} | {
    "size": pl.Int64(),
    "healthy": pl.Boolean(),
}
# Options of `borg create` that take a value in the next word.
VALUED = re.compile(
    "-[Cc]|--(?:compression|comment|timestamp|chunker-params|checkpoint-interval|files-cache|files-changed|stdin-name"
    "|stdin-user|stdin-group|stdin-mode|filter|upload-ratelimit|upload-buffer|umask|remote-path|rsh|lock-wait|debug-topic)"
)


def read_json(content: Any, text: str, origin: Origin) -> Found | None:  # noqa: ANN401 (parsed JSON)
    """Return the archives of `borg info --json` or `borg list --json`.

    Without `--last` or `--glob-archives`, info tells of the repository alone: a row without a backup.
    """
    if not isinstance(content, dict) or "repository" not in content or not {"archives", "encryption"} & set(content):
        return None
    mode = (content.get("encryption") or {}).get("mode")
    rows = content.get("archives") or []
    names = [row.get("name") or row["archive"] for row in rows]
    lines = line_numbers(text, (f'"{name}"' for name in names))
    location = (content.get("repository") or {}).get("location")
    encrypted = None if mode is None else not (mode == "none" or mode.startswith("authenticated"))
    found = Found(rows_in=len(rows))
    if not rows:
        told: dict[str, Any] = {"encrypted": encrypted, "enc_method": mode, "location": location}
        found.backups.append(backup(origin, tool="borg", **told))
    for row, name, line in zip(rows, names, lines, strict=True):
        stats, (paths, excludes) = row.get("stats") or {}, _sources(row.get("command_line"))
        started = moment(row.get("start") or row.get("time"), origin)
        found.backups.append(
            snapshot(
                origin,
                backup_id=name,
                tool="borg",
                source_host=row.get("hostname"),
                source_paths=paths,
                data_time=started,
                started_at=started,
                finished_at=moment(row.get("end"), origin),
                time_source="naive_tz",
                source_tz=origin.tz,
                status="warning" if name.endswith(".checkpoint") else "ok",
                raw_status="checkpoint" if name.endswith(".checkpoint") else "listed",
                files=stats.get("nfiles"),
                bytes_source=stats.get("original_size"),
                bytes_stored=stats.get("deduplicated_size"),
                encrypted=encrypted,
                enc_method=mode,
                location=location,
                excludes=excludes,
                line=line,
            )
        )
    return found


def _sources(command: list[str] | str | None) -> tuple[list[str] | None, list[str] | None]:
    """Return the source folders and the excluded patterns of a `borg create` command line; null = not said."""
    if not command:
        return None, None
    words = shlex.split(command) if isinstance(command, str) else list(command)
    paths: list[str] = []
    excludes: list[str] = []
    archive_seen = False
    after = iter(words[words.index("create") + 1 :] if "create" in words else ())
    for word in after:
        option, _, value = word.partition("=")
        if option in ("-e", "--exclude"):
            excludes.append(value or next(after, ""))
        elif option in ("--exclude-from", "--patterns-from", "--pattern", "--exclude-if-present"):
            excludes.append(f"{option} {value or next(after, '')}")
        elif VALUED.fullmatch(word):
            next(after, None)
        elif not word.startswith("-"):
            if archive_seen:
                paths.append(word)
            archive_seen = True
    return (paths or None), excludes


def read_lines(_head: Mapping[str, Any], data: bytes, origin: Origin) -> Found:
    """Return the files of `borg list --json-lines`, with their SHA-256 where the format asked for it."""
    rows = pl.read_ndjson(io.BytesIO(data), schema=ITEMS)
    files = rows.filter(pl.col("type") == "-")
    files = files.with_columns(
        path_norm="path",
        mtime=moments(files["mtime"], origin),
        hash="sha256",
        hash_kind=pl.when(pl.col("sha256").is_null()).then(pl.lit("none")).otherwise(pl.lit("sha256")),
    )
    made = named_time(origin)
    own = snapshot(
        origin,
        backup_id=origin.backup_id,
        tool="borg",
        data_time=made,
        started_at=made,
        time_source="epoch",
        status="ok",
        raw_status="listed",
    )
    content = Content(
        repo_id=origin.repo_id, backup_id=origin.backup_id, files=listed(files), origin=origin, backup=own
    )
    return Found(contents=[content], rows_in=rows.height)
