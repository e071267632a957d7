"""Archives from strangers: looked into in a stream, measured by unpacking, never unpacked to disk."""

from __future__ import annotations

import zipfile
import zlib
from copy import copy
from typing import TYPE_CHECKING

from lxml import etree

from audit_kit.core.errors import SourceError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

BLOCK = 1 << 20
MAX_BYTES = 3 << 30  # of everything in one archive
SUSPECT_BYTES = 100 << 20  # that any archive may hold; beyond them the ratio is looked at
MAX_RATIO = 50  # a workbook packs 5 to 30 times smaller
_UNKNOWN = 1 << 62
MAX_ENTRIES = 20_000
MAX_XML = 20 << 20  # of a part that is read as a tree


def stream(archive: zipfile.ZipFile, entry: str | zipfile.ZipInfo) -> Iterator[bytes]:
    """Yield an entry in blocks of one megabyte, to its true end whatever size it claims."""
    claimed = archive.getinfo(entry) if isinstance(entry, str) else entry
    true = copy(claimed)
    true.file_size = _UNKNOWN
    with archive.open(true) as part:
        while block := part.read(BLOCK):
            yield block


def measure(path: Path, watch: Mapping[str, Callable[[bytes], None]] | None = None) -> None:
    """Unpack an archive into nothing, to know that it is whole and no bomb; `watch` sees the blocks of some entries.

    Raises:
        SourceError: too many entries, too large, packed more tightly than a table can be, protected or damaged.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
            if len(entries) > MAX_ENTRIES:
                raise SourceError("error_formats.many_entries", file=path.name, entries=len(entries))
            if any(entry.flag_bits & 1 for entry in entries):
                raise SourceError("error_formats.archive_password", file=path.name)
            allowed = min(MAX_BYTES, SUSPECT_BYTES + MAX_RATIO * path.stat().st_size)
            total = 0
            for entry in entries:
                total += _unpacked(path, archive, entry, allowed - total, (watch or {}).get(entry.filename))
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, OSError) as error:
        raise SourceError("error_formats.damaged", file=path.name) from error


def _unpacked(
    path: Path, archive: zipfile.ZipFile, entry: zipfile.ZipInfo, allowed: int, watch: Callable[[bytes], None] | None
) -> int:
    size = 0
    for block in stream(archive, entry):
        size += len(block)
        if size > allowed:
            raise SourceError("error_formats.bomb", file=path.name)
        if watch is not None:
            watch(block)
    return size


def read_within(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, most: int) -> bytes | None:
    """Return an entry as a whole; none where it unpacks to more bytes than `most`."""
    blocks, size = [], 0
    for block in stream(archive, entry):
        size += len(block)
        if size > most:
            return None
        blocks.append(block)
    return b"".join(blocks)


def tree(archive: zipfile.ZipFile, name: str) -> etree._Element | None:
    """Return a small XML part as a tree, entities and network off; null where there is none or it is no XML."""
    if name not in archive.namelist() or (data := read_within(archive, archive.getinfo(name), MAX_XML)) is None:
        return None
    parser = etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False, huge_tree=False)
    try:
        return etree.fromstring(data, parser)
    except (etree.XMLSyntaxError, ValueError):
        return None
