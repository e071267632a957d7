"""What lies in a store: inventories of OSS, COS and S3, a `manifest.json` with `data/*.csv.gz`; rclone `lsjson`.

Which columns an inventory has, and in which order, stands in its manifest. Keys are URL-encoded. An ETag is no proof of
content, so an inventory says only that an object is listed.
"""

from __future__ import annotations

import gzip
import io
import json
import re
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote_plus

import polars as pl

from audit_kit.core.errors import SourceError
from audit_kit.loaders.catalogues.found import Found, Origin, moment, moments, named_time, single
from audit_kit.loaders.formats import archives
from audit_kit.loaders.formats.grid import Places

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

SCANNED = re.compile(r"(\d{4}-\d\d-\d\d)T(\d\d)-(\d\d)(?:-(\d\d))?Z")
COLUMNS = {"key": "key", "size": "size", "lastmodifieddate": "mtime", "etag": "hash", "encryptionstatus": "encryption"}
UNENCRYPTED = ("", "not-sse", "none", "false")


def read_folder(origin: Origin) -> Found | None:
    """Return the objects of an inventory whose folder is given."""
    return read_json(json.loads((origin.path / "manifest.json").read_text(encoding="utf-8")), "", origin)


def read_json(content: Any, _text: str, origin: Origin) -> Found | None:  # noqa: ANN401 (parsed JSON)
    """Return the objects of an inventory as one copy, made when the storage was scanned.

    Raises:
        SourceError: a data file that the manifest names is not beside it.
    """
    if not isinstance(content, dict) or "fileSchema" not in content or "files" not in content:
        return None
    schema = content["fileSchema"]
    names = [name.strip().lower() for name in (schema.split(",") if isinstance(schema, str) else schema)]
    rows = pl.concat(
        [
            _rows(_place(origin, str(file.get("key", file) if isinstance(file, dict) else file)), names)
            for file in content["files"]
        ]
        or [pl.DataFrame(schema=dict.fromkeys(names, pl.String))]
    )
    kept = rows.rename({theirs: ours for theirs, ours in COLUMNS.items() if theirs in names})
    if {"isdeletemarker", "islatest"} & set(names):
        for name, wanted in (("isdeletemarker", "false"), ("islatest", "true")):
            if name in names:
                kept = kept.filter(pl.col(name).str.to_lowercase().is_in([wanted, ""]) | pl.col(name).is_null())
    files = kept.with_columns(
        path_norm=pl.Series([unquote_plus(key) for key in kept["key"]], dtype=pl.String),
        size=pl.col("size").cast(pl.UInt64, strict=False) if "size" in kept.columns else pl.lit(None, pl.UInt64),
        mtime=_modified(kept, origin),
        hash_kind=pl.lit("etag" if "hash" in kept.columns else "none"),
    )
    held = single(
        origin,
        files,
        made=_scanned(content, origin),
        tool="inventory",
        kind="copy",
        time_source="offset",
        source_tz="UTC",
        files=files.height,
        bytes_source=files["size"].sum(),
        encrypted=_encrypted(kept),
        location=content.get("sourceBucket") or content.get("destinationBucket"),
        medium="object storage",
    )
    held = replace(held, files=held.files.filter(~pl.col("path_norm").str.ends_with("/")))
    return Found(contents=[held], rows_in=rows.height)


def _place(origin: Origin, key: str) -> Path:
    """Return where a data file lies: beside the manifest, in `data/` there or one folder up."""
    name = key.rpartition("/")[2]
    folder = origin.path if origin.path.is_dir() else origin.path.parent
    for place in (folder / "data" / name, folder / name, folder.parent / "data" / name):
        if place.is_file():
            return place
    raise SourceError("error_catalogues.no_data_file", file=origin.name, name=name)


def _rows(file: Path, names: list[str]) -> pl.DataFrame:
    data = _unpacked(file) if file.suffix == ".gz" else file.read_bytes()
    if not data.strip():
        return pl.DataFrame(schema=dict.fromkeys(names, pl.String))
    Places(file).take(data.count(b"\n"), len(names))
    frame = pl.read_csv(io.BytesIO(data), has_header=False, infer_schema=False)
    return frame.rename(dict(zip(frame.columns, names, strict=True)))


def _unpacked(file: Path) -> bytes:
    most = archives.SUSPECT_BYTES + archives.MAX_RATIO * file.stat().st_size
    with gzip.open(file) as packed:
        data = packed.read(most + 1)
    if len(data) > most:
        raise SourceError("error_catalogues.bomb", file=file.name)
    return data


def _modified(rows: pl.DataFrame, origin: Origin) -> pl.Series:
    if "mtime" not in rows.columns:
        return pl.Series("mtime", [None] * rows.height, dtype=pl.Datetime("us"))
    # The storage writes these in GMT, some with and some without saying so.
    text = rows["mtime"].str.replace(r"^(\d{4}-\d\d-\d\d)[T ](\d\d)[:-](\d\d)[:-](\d\d)", "${1}T${2}:${3}:${4}")
    return moments(text.str.replace(r"(\d\d:\d\d:\d\d(?:\.\d+)?)$", "${1}Z"), origin)


def _scanned(content: Mapping[str, Any], origin: Origin) -> datetime | None:
    """Return when the storage was scanned: the folder's name says it in GMT, else the manifest in milliseconds."""
    if hit := SCANNED.search(str(origin.path)):
        day, hour, minute, second = hit.groups()
        return moment(f"{day}T{hour}:{minute}:{second or '00'}Z", origin)
    stamp = content.get("creationTimestamp")
    if stamp is None:
        return moment(datetime.fromtimestamp(origin.path.stat().st_mtime, UTC).isoformat(), origin)
    seconds = int(stamp)
    return moment(seconds / 1000 if seconds > 10**11 else float(seconds), origin)


def _encrypted(rows: pl.DataFrame) -> bool | None:
    if "encryption" not in rows.columns or rows.is_empty():
        return None
    return not rows["encryption"].fill_null("").str.to_lowercase().is_in(list(UNENCRYPTED)).any()


def read_rclone(content: Any, _text: str, origin: Origin) -> Found | None:  # noqa: ANN401 (parsed JSON)
    """Return the files of `rclone lsjson -R --hash`; which hashes there are depends on the storage."""
    if not isinstance(content, list) or not all(isinstance(row, dict) and "Path" in row for row in content):
        return None
    rows = [row for row in content if not row.get("IsDir")]
    known = [_rclone_hash({name.lower(): value for name, value in (row.get("Hashes") or {}).items()}) for row in rows]
    frame = pl.DataFrame(
        {
            "path_norm": [row["Path"] for row in rows],
            "size": [max(row.get("Size") or 0, 0) for row in rows],
            "mtime": moments(pl.Series([row.get("ModTime") for row in rows], dtype=pl.String), origin),
            "hash": [digest for _, digest in known],
            "hash_kind": [kind for kind, _ in known],
        },
        schema_overrides={"path_norm": pl.String, "hash": pl.String, "hash_kind": pl.String},
    )
    size = frame["size"].sum()
    told = {"kind": "copy", "time_source": "epoch", "files": len(rows), "bytes_source": size}
    held = single(origin, frame, made=named_time(origin), tool="rclone", **told)
    return Found(contents=[held], rows_in=len(content))


def _rclone_hash(hashes: Mapping[str, str]) -> tuple[str, str | None]:
    return next(
        ((kind, hashes[kind].lower()) for kind in ("sha256", "sha1", "md5") if hashes.get(kind)), ("none", None)
    )
