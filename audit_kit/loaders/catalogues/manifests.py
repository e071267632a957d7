"""Manifests that any company can make: sha256sum, tar beside sha256sum, BagIt bags, rclone `lsjson`.

What lies beside its manifest is read whole and compared with it. A plain tar that was cut at the edge of a member
gives no error to any tool, so its members are counted against the manifest and its end is looked for.
"""

from __future__ import annotations

import hashlib
import lzma
import re
import tarfile
import zlib
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

import polars as pl

from audit_kit.core.hashing import hash_file
from audit_kit.loaders.catalogues import tars
from audit_kit.loaders.catalogues.found import Content, Found, Origin, backup, listed, moment, moments, named_time

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

GNU = re.compile(r"^(\\?)([0-9a-fA-F]{64}) [ *](.+)$")
BSD = re.compile(r"^(\\?)SHA256 \((.+)\) = ([0-9a-fA-F]{64})$")
OURS = "audit-kit"
BLOCK = 512
BUFFER = 1 << 20
Member = tuple[int, float, str]


def read_sums(text: str, origin: Origin) -> Found:
    """Return the files of a sha256sum manifest as one backup; all three of its syntaxes are read."""
    found = Found()
    sums = _sums(text, found)
    found.contents.append(_content(sums, origin, tool="sha256sum"))
    return found


def _sums(text: str, found: Found) -> dict[str, str]:
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


def _content(
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
    made = named_time(origin)
    row = backup(
        origin,
        backup_id=origin.backup_id or origin.path.name,
        tool=tool,
        kind="full",
        chain_semantics="independent",
        data_time=made,
        started_at=made,
        finished_at=made,
        time_source="epoch",
        status="ok",
        raw_status="listed",
        files=len(sums),
        bytes_source=sum(size for size, _, _ in members.values()) if members else None,
    )
    return Content(repo_id=origin.repo_id, backup_id=row["backup_id"], files=listed(files), origin=origin, backup=row)


def read_tar(origin: Origin, manifest: Path | None) -> Found:
    """Return the members of a tar, compared with the sha256sum manifest beside it, if there is one."""
    members, faults = _members(origin.path)
    found = Found(rows_in=len(members))
    stated = _sums(manifest.read_text(encoding="utf-8", errors="replace"), found) if manifest else {}
    whole = {name: digest for name, digest in stated.items() if PurePosixPath(name).name == origin.path.name}
    faults += [
        f"{name}: sha256 differs from the manifest"
        for name, digest in whole.items()
        if hash_file(origin.path) != digest
    ]
    expected = {name.removeprefix("./"): digest for name, digest in stated.items() if name not in whole}
    if expected:
        held = dict(_by_manifest_names(expected, members))
        missing = [name for name in expected if name not in held]
        differing = [name for name, digest in expected.items() if name in held and held[name] != digest]
        if missing:
            faults.append(f"{len(expected) - len(missing)}/{len(expected)} members; missing: {_some(missing)}")
        if differing:
            faults.append(f"sha256 differs: {_some(differing)}")
    found.contents.append(
        _content({name: member[2] for name, member in members.items()}, origin, tool="tar", members=members)
    )
    row = found.contents[0].backup
    if faults and row is not None:
        row["raw_status"] = "damaged"
    found.checks.append(_own_check(origin, str((row or {})["backup_id"]), faults, level=2 if stated else 1))
    return found


def _by_manifest_names(expected: Mapping[str, str], members: Mapping[str, Member]) -> Iterator[tuple[str, str]]:
    """Yield the hash of each expected file that the archive holds, found by its path or by the end of its path."""
    tails: dict[str, list[str]] = {}
    for path in members:
        tails.setdefault(PurePosixPath(path).name, []).append(path)
    for name in expected:
        if name in members:
            yield name, members[name][2]
            continue
        for path in tails.get(PurePosixPath(name).name, []):
            if path.endswith(f"/{name}") or name.endswith(f"/{path}"):
                yield name, members[path][2]
                break


def _members(path: Path) -> tuple[dict[str, Member], list[str]]:
    """Return size, mtime and SHA-256 of every member that can be read, and what is wrong with the archive."""
    members: dict[str, Member] = {}
    faults: list[str] = []
    try:
        with tars.opened(path) as (archive, left):
            for member in archive:
                left.take_member()
                if not member.isfile() or (source := archive.extractfile(member)) is None:
                    continue
                left.take(member.size, member.name)
                digest = hashlib.sha256()
                while block := source.read(BUFFER):
                    digest.update(block)
                members[member.name.removeprefix("./")] = (member.size, member.mtime, digest.hexdigest())
            ended = archive.offset
    except (tarfile.TarError, EOFError, OSError, ValueError, zlib.error, lzma.LZMAError) as error:
        return members, [f"cannot be read to its end: {str(error).partition(chr(10))[0] or type(error).__name__}"]
    if path.suffix == ".tar" and not _is_closed(path, ended):
        faults.append("the two empty blocks that close a tar are not there")
    return members, faults


def _is_closed(path: Path, ended: int) -> bool:
    """Tell whether a plain tar ends with the two empty blocks that close it."""
    with path.open("rb") as file:
        file.seek(max(0, ended - 2 * BLOCK))
        tail = file.read()
    return len(tail) >= 2 * BLOCK and not any(tail[-2 * BLOCK :])


def _some(names: Sequence[str], *, most: int = 5) -> str:
    return "、".join(names[:most]) + (" …" if len(names) > most else "")


def _own_check(origin: Origin, backup_id: str, faults: list[str], *, level: int = 2) -> dict[str, Any]:
    """Return what our own reading of a backup found, as a row of table backup_checks; level 2: held against hashes."""
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


def read_bag(origin: Origin) -> Found:
    """Return the files of a BagIt bag that are there, hashed and compared with its manifests and its Payload-Oxum."""
    folder = origin.path
    info = dict(_tags(folder / "bag-info.txt"))
    stated = {algorithm: dict(_manifest(folder, algorithm)) for algorithm in ("sha256", "sha512", "sha1", "md5")}
    faults, held, total = [], {}, 0
    for name in sorted({name for sums in stated.values() for name in sums}):
        file = folder / name
        if not file.is_file() or not file.resolve().is_relative_to(folder.resolve()):
            faults.append(f"{name}: not there")
            continue
        total += file.stat().st_size
        held[name] = hash_file(file)
        for algorithm, sums in stated.items():
            if name in sums and (held[name] if algorithm == "sha256" else hash_file(file, algorithm)) != sums[name]:
                faults.append(f"{name}: {algorithm} differs from the manifest")
    if (oxum := info.get("Payload-Oxum")) and oxum != f"{total}.{len(held)}":
        faults.append(f"Payload-Oxum {oxum}, found {total}.{len(held)}")
    if not any(stated.values()):
        faults.append("no manifest")
    content = _content(
        held, origin, tool="bagit", members={name: ((folder / name).stat().st_size, 0, held[name]) for name in held}
    )
    row = content.backup
    if row is not None:
        dated = moment(info.get("Bagging-Date", "")[:10] and f"{info['Bagging-Date'][:10]}T00:00:00+08:00", origin)
        row |= dict.fromkeys(("data_time", "started_at", "finished_at"), dated or row["data_time"])
    return Found(
        contents=[content], checks=[_own_check(origin, str((row or {})["backup_id"]), faults)], rows_in=len(held)
    )


def _tags(file: Path) -> Iterator[tuple[str, str]]:
    if file.is_file():
        for line in file.read_text(encoding="utf-8", errors="replace").splitlines():
            label, colon, value = line.partition(":")
            if colon:
                yield label.strip(), value.strip()


def _manifest(folder: Path, algorithm: str) -> Iterator[tuple[str, str]]:
    file = folder / f"manifest-{algorithm}.txt"
    if file.is_file():
        for line in file.read_text(encoding="utf-8", errors="replace").splitlines():
            digest, _, name = line.strip().partition(" ")
            if name:
                yield unquote(name.strip().lstrip("*")), digest.lower()


def is_rclone(content: Any) -> bool:  # noqa: ANN401 (parsed JSON)
    """Tell whether parsed JSON is the output of `rclone lsjson`."""
    return (
        isinstance(content, list) and bool(content) and all(isinstance(row, dict) and "Path" in row for row in content)
    )


def read_rclone(content: Sequence[Mapping[str, Any]], origin: Origin) -> Found:
    """Return the files of `rclone lsjson -R --hash`; which hashes there are depends on the storage."""
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
    made = named_time(origin)
    row = backup(
        origin,
        backup_id=origin.backup_id or origin.path.name,
        tool="rclone",
        kind="copy",
        chain_semantics="independent",
        data_time=made,
        started_at=made,
        finished_at=made,
        time_source="epoch",
        status="ok",
        raw_status="listed",
        files=len(rows),
        bytes_source=frame["size"].sum(),
    )
    content_ = Content(
        repo_id=origin.repo_id, backup_id=row["backup_id"], files=listed(frame), origin=origin, backup=row
    )
    return Found(contents=[content_], rows_in=len(content))


def _rclone_hash(hashes: Mapping[str, str]) -> tuple[str, str | None]:
    return next(
        ((kind, hashes[kind].lower()) for kind in ("sha256", "sha1", "md5") if hashes.get(kind)), ("none", None)
    )
