"""Manifests that any company can make: sha256sum, in all three of its syntaxes, and what manifests have in common.

What lies beside its manifest is read whole and compared with it.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import polars as pl

from audit_kit.core.policy import DATA_READ, OURS
from audit_kit.loaders.catalogues.found import Content, Found, Origin, decoded, named_time, single
from audit_kit.loaders.catalogues.tools import tools

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

GNU = re.compile(r"^(\\?)([0-9a-fA-F]{64}) [ *](.+)$")
BSD = re.compile(r"^(\\?)SHA256 \((.+)\) = ([0-9a-fA-F]{64})$")
Member = tuple[int, float, str]


def read_file(origin: Origin) -> Found:
    """Read a manifest; one that lies beside its tar is read with it."""
    stem, endings = origin.path.name.rpartition(".")[0], tools()["tar"].endings
    beside = (stem, *(stem + ending for ending in endings))
    if any(name.lower().endswith(endings) and origin.path.with_name(name).is_file() for name in beside):
        return Found()
    return read_sums(decoded(origin.path.read_bytes()), origin)


def read_sums(text: str, origin: Origin) -> Found:
    """Return the files of a sha256sum manifest as one backup; all three of its syntaxes are read."""
    found = Found()
    sums = parsed(text, found)
    found.contents.append(content_of(sums, origin, tool="sha256sum"))
    return found


def parsed(text: str, found: Found) -> dict[str, str]:
    """Return path and hash of every line; a leading backslash marks a name with escaped newlines or backslashes."""
    sums: dict[str, str] = {}
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        found.rows_in += 1
        if hit := GNU.match(line):
            escaped, digest, name = hit.groups()
        elif hit := BSD.match(line):
            escaped, name, digest = hit.groups()
        else:
            found.set_aside.append((number, "catalogue.no_sum", line[:200]))
            continue
        sums[_unescaped(name) if escaped else name] = digest.lower()
    return sums


def _unescaped(name: str) -> str:
    return re.sub(r"\\([\\nr])", lambda hit: {"\\": "\\", "n": "\n", "r": "\r"}[hit[1]], name)


def content_of(
    sums: Mapping[str, str], origin: Origin, *, tool: str, members: Mapping[str, Member] | None = None
) -> Content:
    """Return the listing of a manifest and the backup it stands for."""
    sizes = members or {}
    files = pl.DataFrame(
        {
            "path_norm": [name.removeprefix("./") for name in sums],
            "hash": list(sums.values()),
            "size": [sizes[name][0] if name in sizes else None for name in sums],
        },
        schema={"path_norm": pl.String, "hash": pl.String, "size": pl.UInt64},
    ).with_columns(hash_kind=pl.lit("sha256"))
    size = sum(size for size, _, _ in members.values()) if members else None
    known = {"kind": "full", "time_source": "epoch", "files": len(sums), "bytes_source": size}
    return single(origin, files, made=named_time(origin), tool=tool, **known)


def some(names: Sequence[str], *, most: int = 5) -> str:
    """Return the first of many names."""
    return "、".join(names[:most]) + (" …" if len(names) > most else "")


def own_check(origin: Origin, backup_id: str, faults: list[str], *, level: int = DATA_READ) -> dict[str, Any]:
    """Return what our own reading of a backup found, as a row of backup_checks; by default held against hashes."""
    return {
        "source_file": origin.name,
        "source_row": 1,
        "repo_id": origin.repo_id,
        "backup_id": backup_id,
        "level": level,
        "result": "error" if faults else "ok",
        "errors": len(faults),
        "damaged": faults,
        "by": OURS,
        "evidence_file": origin.name,
        "evidence_line": 1,
        "evidence_sha256": origin.sha256,
    }
