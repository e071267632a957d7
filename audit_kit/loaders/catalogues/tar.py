"""tar files beside a sha256sum manifest, or alone: every member hashed, and the archive's end looked for.

A plain tar that was cut at the edge of a member gives no error to any tool, so its members are counted against the
manifest and the two empty blocks that close it are looked for.
"""

from __future__ import annotations

import hashlib
import lzma
import tarfile
import zlib
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from audit_kit.core.hashing import hash_file
from audit_kit.loaders.catalogues.found import Found, Origin
from audit_kit.loaders.catalogues.sums import Member, content_of, own_check, parsed, some
from audit_kit.loaders.catalogues.tools import tools
from audit_kit.loaders.formats import tar_limits

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

BLOCK = 512
BUFFER = 1 << 20


def read_file(origin: Origin) -> Found:
    """Return the members of a tar; one with a manifest beside it is compared with it."""
    return read_tar(origin, manifest_beside(origin.path))


def read_tar(origin: Origin, manifest: Path | None) -> Found:
    """Return the members of a tar, compared with the sha256sum manifest beside it, if there is one."""
    members, faults = _members(origin.path)
    found = Found(rows_in=len(members))
    stated = parsed(manifest.read_text(encoding="utf-8", errors="replace"), found) if manifest else {}
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
            faults.append(f"{len(expected) - len(missing)}/{len(expected)} members; missing: {some(missing)}")
        if differing:
            faults.append(f"sha256 differs: {some(differing)}")
    found.contents.append(
        content_of({name: member[2] for name, member in members.items()}, origin, tool="tar", members=members)
    )
    row = found.contents[0].backup
    if faults and row is not None:
        row["raw_status"] = "damaged"
    found.checks.append(own_check(origin, str((row or {})["backup_id"]), faults, level=2 if stated else 1))
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
        with tar_limits.opened(path) as (archive, left):
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


def manifest_beside(path: Path) -> Path | None:
    """Return the sha256sum manifest of a tar: of the same name with another ending, or with one more."""
    endings = sorted(tools()["tar"].endings, key=len, reverse=True)
    ending = next(ending for ending in endings if path.name.lower().endswith(ending))
    options = (path.with_name(f"{path.name[: -len(ending)]}.sha256"), path.with_name(f"{path.name}.sha256"))
    return next((option for option in options if option.is_file()), None)
