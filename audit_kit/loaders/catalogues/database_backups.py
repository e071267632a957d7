"""Database backups: pgBackRest `info --output=json` and its WAL archive, xtrabackup and mariadb-backup info files.

The catalogue of pgBackRest stays green when files are gone, so the WAL segments are listed here one by one and the
gaps are searched by our own rules. A database backup brings back the moment at which it stopped.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import polars as pl

from audit_kit.core.policy import SEGMENT_BYTES, WAL
from audit_kit.loaders.catalogues.found import Content, Found, Origin, backup, decoded, line_numbers, listed, moment

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

SEGMENT = re.compile(r"^([0-9A-F]{24})(?![0-9A-F.])|^([0-9A-F]{24})(?=\.(?:gz|lz4|zst|bz2|xz)$)", re.IGNORECASE)
KINDS = {"full": "full", "diff": "diff", "incr": "incr"}
INFO_FILES = ("xtrabackup_checkpoints", "mariadb_backup_checkpoints", "xtrabackup_info", "mariadb_backup_info")


def read_pgbackrest(content: Any, text: str, origin: Origin) -> Found | None:  # noqa: ANN401 (parsed JSON)
    """Return the backups of every stanza of pgBackRest's info; several stanzas are repositories of their own."""
    if not isinstance(content, list) or not all(
        isinstance(stanza, dict) and "backup" in stanza and "archive" in stanza for stanza in content
    ):
        return None
    found = Found()
    for stanza in content:
        repo = origin.repo_id if len(content) == 1 else f"{origin.repo_id}/{stanza['name']}"
        ciphers = {entry.get("key"): entry.get("cipher") for entry in stanza.get("repo") or []}
        rows = stanza["backup"]
        for row, line in zip(rows, line_numbers(text, (f'"{row["label"]}"' for row in rows)), strict=True):
            key = (row.get("database") or {}).get("repo-key")
            cipher = ciphers.get(key) or stanza.get("cipher")
            found.backups.append(_backup(row, cipher, origin, line) | {"repo_id": repo, "job": repo})
        found.rows_in += len(rows)
    return found


def _backup(row: Mapping[str, Any], cipher: str | None, origin: Origin, line: int) -> dict[str, Any]:
    times, info = row.get("timestamp") or {}, row.get("info") or {}
    stored = (info.get("repository") or {}).get("size", (info.get("repository") or {}).get("delta"))
    lsn, archive = row.get("lsn") or {}, row.get("archive") or {}
    return backup(
        origin,
        line=line,
        backup_id=row["label"],
        tool="pgbackrest",
        tool_version=(row.get("backrest") or {}).get("version"),
        kind=KINDS.get(str(row.get("type")), "unknown"),
        chain_semantics="linked",
        parent_id=row.get("prior"),
        needs_ids=row.get("reference") or [],
        lsn_from=position(lsn.get("start")) or segment_position(archive.get("start")),
        lsn_to=position(lsn.get("stop")) or _inside(archive.get("stop")),
        data_time=moment(times.get("stop"), origin),
        started_at=moment(times.get("start"), origin),
        finished_at=moment(times.get("stop"), origin),
        time_source="epoch",
        status="warning" if row.get("error") else "ok",
        raw_status=f"error: {str(bool(row.get('error'))).lower()}",
        bytes_source=info.get("size"),
        bytes_stored=stored,
        encrypted=None if cipher is None else cipher != "none",
        enc_method=cipher,
    )


def position(lsn: str | None) -> int | None:
    """Return a log position `0/4000028` as bytes."""
    high, slash, low = (lsn or "").partition("/")
    return (int(high, 16) << 32) + int(low, 16) if slash else None


def segment_position(segment: str | None) -> int | None:
    """Return where a WAL segment of 16 MiB starts, in bytes."""
    if not segment or len(segment) != 24:  # noqa: PLR2004 (timeline, log and segment, 8 digits each)
        return None
    return (int(segment[8:16], 16) << 32) + int(segment[16:], 16) * SEGMENT_BYTES


def _inside(segment: str | None) -> int | None:
    """Return a position within a WAL segment."""
    start = segment_position(segment)
    return None if start is None else start + 1


def read_wal(origin: Origin) -> Found:
    """Return the WAL segments listed one a line as files of no backup in particular."""
    found = Found()
    text = decoded(origin.path.read_bytes())
    names = []
    for number, line in enumerate(text.splitlines(), 1):
        word = line.strip().rpartition("/")[2]
        if not word:
            continue
        found.rows_in += 1
        if hit := SEGMENT.match(word.partition("-")[0].partition(" ")[0]) or SEGMENT.match(word):
            names.append((hit[1] or hit[2]).upper())
        elif not word.endswith((".history", ".backup", ".partial")):
            found.set_aside.append((number, "catalogue.no_segment", word))
    files = pl.DataFrame({"path_norm": [WAL + name for name in dict.fromkeys(names)]}, schema={"path_norm": pl.String})
    files = listed(files.with_columns(hash_kind=pl.lit("none")))
    found.contents.append(Content(repo_id=origin.repo_id, backup_id=None, files=files, origin=origin))
    return found


def read_info_file(origin: Origin) -> Found:
    """Return the backup that `xtrabackup_info` alone describes."""
    return read_info([decoded(origin.path.read_bytes())], origin)


def read_info_folder(origin: Origin) -> Found:
    """Return the backup that the info files in its folder describe."""
    files = [origin.path / name for name in INFO_FILES if (origin.path / name).is_file()]
    return read_info([file.read_text(encoding="utf-8", errors="replace") for file in files], origin)


def read_info(texts: Sequence[str], origin: Origin) -> Found:
    """Return the backup that `xtrabackup_info` and `xtrabackup_checkpoints` describe; their lines are `key = value`."""
    values = {
        key.strip(): value.strip()
        for text in texts
        for key, mark, value in (line.partition("=") for line in text.splitlines())
        if mark
    }
    first, last = (values.get(f"innodb_{name}") or values.get(name) for name in ("from_lsn", "to_lsn"))
    incremental = values.get("incremental") == "Y" or values.get("backup_type") == "incremental"
    finished = moment(values.get("end_time"), origin)
    row = backup(
        origin,
        backup_id=origin.backup_id or values.get("name") or values.get("uuid"),
        tool=values.get("tool_name") or "xtrabackup",
        tool_version=values.get("tool_version"),
        kind="incr" if incremental else "full",
        chain_semantics="lsn",
        lsn_from=int(first) if first else None,
        lsn_to=int(last) if last else None,
        data_time=finished or moment(values.get("start_time"), origin),
        started_at=moment(values.get("start_time"), origin),
        finished_at=finished,
        time_source="naive_tz",
        source_tz=origin.tz,
        status="ok" if finished else "unknown",
        raw_status=f"partial = {values['partial']}" if "partial" in values else None,
        encrypted=values["encrypted"] == "Y" if "encrypted" in values else None,
    )
    return Found(backups=[row], rows_in=1)
