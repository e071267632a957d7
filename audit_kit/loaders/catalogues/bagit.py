"""BagIt bags: every file that a manifest names is hashed and compared, and the Payload-Oxum counted.

The library bagit is not used: it follows links out of a bag, and says of a bag that it is invalid, not which files it
holds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import unquote

from audit_kit.core.hashing import hash_file
from audit_kit.loaders.catalogues.found import Found, Origin, moment
from audit_kit.loaders.catalogues.sums import content_of, own_check

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


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
    content = content_of(
        held, origin, tool="bagit", members={name: ((folder / name).stat().st_size, 0, held[name]) for name in held}
    )
    row = content.backup
    if row is not None:
        dated = moment(info.get("Bagging-Date", "")[:10] and f"{info['Bagging-Date'][:10]}T00:00:00+08:00", origin)
        row |= dict.fromkeys(("data_time", "started_at", "finished_at"), dated or row["data_time"])
    return Found(
        contents=[content], checks=[own_check(origin, str((row or {})["backup_id"]), faults)], rows_in=len(held)
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
