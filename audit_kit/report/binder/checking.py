"""Whether a binder is as it was sealed: every member against the chain, the chain against a head from outside.

A binder may come from anybody. It is read in a stream, nothing of it is unpacked, and what would unpack to far more
than it is, is refused before that.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import stat
import zipfile
import zlib
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from audit_kit.core import files as places
from audit_kit.core.errors import AuditError, RequestError
from audit_kit.core.hashing import hash_file
from audit_kit.loaders.engagement.engagement import open_engagement
from audit_kit.loaders.formats.archives import stream
from audit_kit.report.binder import chain
from audit_kit.report.binder.binding import FILE, INPUTS, MADE
from audit_kit.report.job import INDEX, WORKBOOK
from audit_kit.resources.languages import Phrase

if TYPE_CHECKING:
    from collections.abc import Iterator

    from audit_kit.report.binder.chain import Member

MOST_DIRECTORY_BYTES = 32 << 20  # of some 200,000 members
END_BYTES = (1 << 16) + 100
UNKNOWN = 0xFFFFFFFF
HEADER_BYTES, LENGTHS_AT, END_RECORD_BYTES = 30, 26, 22
_SIZE_BEHIND = 8  # a flag: the size stands behind the entry
MOST_CHAIN_BYTES = 128 << 20
MOST_TEXT_BYTES = 256 << 20
SUSPECT_BYTES = 1 << 30  # that any binder may unpack to; beyond them the ratio is looked at
MAX_RATIO = 100
MOST_FAULTS = 50
DAMAGED = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, OSError, RuntimeError, ValueError)
_HEAD = re.compile(r'id="binder-head">([0-9a-f]{64})<')
_END, _END_64 = re.compile(rb"PK\x05\x06"), re.compile(rb"PK\x06\x06")
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass
class Checked:
    """What was found of a binder: its members and bytes, its head, where the head it was held against is from.

    `head_from` is `given`, `report` or null; without one from outside, the binder only agrees with itself.
    """

    path: Path
    members: list[Member] = field(default_factory=list)
    head: str | None = None
    head_from: str | None = None
    faults: list[Phrase] = field(default_factory=list)

    @property
    def is_intact(self) -> bool:
        """Whether nothing was found to be changed."""
        return not self.faults

    @property
    def size(self) -> int:
        """The bytes of all members, unpacked."""
        return sum(member.size for member in self.members)

    def fault(self, key: str, **fields: object) -> None:
        """Note what is wrong; of many, the first."""
        if len(self.faults) < MOST_FAULTS:
            self.faults.append(Phrase(f"binder_fault.{key}", **fields))


def verify(path: str | Path, *, head: str | None = None, engagement: str | Path | None = None) -> Checked:
    """Hold a binder against its chain, the chain against a head, and the inputs against an engagement.

    Args:
        path: the binder, or the folder of the report that it lies in.
        head: as the signed front page has it; null = the front page beside the binder is read, if there is one.
        engagement: the folder whose files are to be what the report was made of; null = they are not looked at.

    Raises:
        RequestError: there is no such file, or `head` is no head.
    """
    file = Path(path) / FILE if Path(path).is_dir() else Path(path)
    if not file.is_file():
        raise RequestError("error_binder.no_file", file=file)
    if head is not None and not _SHA256.fullmatch(head := "".join(head.split()).lower()):
        raise RequestError("error_binder.no_head", head=head)
    checked = Checked(file)
    try:
        if (directory := _directory_bytes(file)) > MOST_DIRECTORY_BYTES:
            checked.fault("many_members", bytes=f"{directory:,}")
            return checked
        with zipfile.ZipFile(file) as archive:
            _check(archive, checked)
            _check_head(checked, head)
            if checked.is_intact:
                _check_report(archive, checked)
            if checked.is_intact and engagement is not None:
                for fault in changed_inputs(lines(archive, INPUTS), Path(engagement)):
                    checked.faults.append(fault)
    except DAMAGED:
        checked.fault("damaged")
    except (KeyError, TypeError, AttributeError, RecursionError):
        checked.fault("no_record")
    return checked


def _directory_bytes(file: Path) -> int:
    """Return how large an archive's directory says it is: it is read as a whole before anything else."""
    with file.open("rb") as archive:
        archive.seek(max(0, file.stat().st_size - END_BYTES))
        end = archive.read()
    plain = [int.from_bytes(end[at.start() + 12 : at.start() + 16], "little") for at in _END.finditer(end)]
    large = [int.from_bytes(end[at.start() + 40 : at.start() + 48], "little") for at in _END_64.finditer(end)]
    return max((size for size in [*plain, *large] if size != UNKNOWN), default=0)


def _check(archive: zipfile.ZipFile, checked: Checked) -> None:
    """Hold the members of an archive against its chain."""
    entries = archive.infolist()
    if not _is_safe(archive, entries, checked):
        return
    members = _chain(archive, entries, checked)
    if members is None:
        return
    checked.members, checked.head = members, chain.links(members)[-1] if members else chain.START
    named, there = [member.name for member in members], [entry.filename for entry in entries[:-1]]
    for name in sorted(set(named) - set(there)):
        checked.fault("deleted", name=name)
    for name in sorted(set(there) - set(named)):
        checked.fault("added", name=name)
    if len(set(named)) < len(named):
        checked.fault("chain_twice")
    if checked.is_intact and named != there:
        checked.fault("reordered")
    known = {member.name: member for member in members}
    for entry in entries[:-1]:
        if (member := known.get(entry.filename)) is not None and not _is_same(archive, entry, member):
            checked.fault("edited", name=entry.filename)


def _is_safe(archive: zipfile.ZipFile, entries: list[zipfile.ZipInfo], checked: Checked) -> bool:
    """Tell whether an archive may be read on: its names stay inside, it holds files alone, and it is no bomb."""
    size, packed = sum(entry.file_size for entry in entries), checked.path.stat().st_size
    if size > SUSPECT_BYTES and size > MAX_RATIO * packed:
        checked.fault("bomb", size=f"{size:,}", packed=f"{packed:,}")
    else:
        twice = set[str]()
        for entry in entries:
            if entry.filename in twice:
                checked.fault("twice", name=entry.filename)
            twice.add(entry.filename)
            if not chain.is_inside(entry.filename) or entry.orig_filename != entry.filename:
                checked.fault("unsafe_name", name=entry.orig_filename)
            elif stat.S_IFMT(entry.external_attr >> 16) not in {0, stat.S_IFREG} or entry.is_dir():
                checked.fault("no_member_file", name=entry.filename)
            elif entry.flag_bits & 1:
                checked.fault("protected", name=entry.filename)
        if checked.is_intact and not _is_close(archive, entries, checked.path):
            checked.fault("more_bytes")
    return checked.is_intact


def _is_close(archive: zipfile.ZipFile, entries: list[zipfile.ZipInfo], file: Path) -> bool:
    """Tell whether an archive is its entries one behind the other, then its directory, and nothing else."""
    place = 0
    with file.open("rb") as whole:
        for entry in sorted(entries, key=lambda entry: entry.header_offset):
            whole.seek(entry.header_offset + LENGTHS_AT)
            lengths = whole.read(4)
            if entry.header_offset != place or entry.flag_bits & _SIZE_BEHIND:
                return False
            place += HEADER_BYTES + sum(int.from_bytes(lengths[at : at + 2], "little") for at in (0, 2))
            place += entry.compress_size
        whole.seek(-END_RECORD_BYTES, os.SEEK_END)
        return place == archive.start_dir and _END.match(whole.read()) is not None


def _chain(archive: zipfile.ZipFile, entries: list[zipfile.ZipInfo], checked: Checked) -> list[Member] | None:
    """Return the members that the chain names; it is the last entry."""
    if not entries or chain.FILE not in {entry.filename for entry in entries}:
        checked.fault("no_chain")
        return None
    if entries[-1].filename != chain.FILE:
        checked.fault("reordered")
        return None
    text = _text(archive, entries[-1], MOST_CHAIN_BYTES)
    members = None if text is None else chain.read(text)
    if members is None:
        checked.fault("broken_chain")
    return members


def _is_same(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, member: Member) -> bool:
    """Tell whether an entry unpacks to what the chain says of it; no more of it is unpacked than that."""
    total, length = hashlib.sha256(), 0
    try:
        for block in stream(archive, entry):
            length += len(block)
            if length > member.size:
                return False
            total.update(block)
    except DAMAGED:
        return False
    return length == member.size and total.hexdigest() == member.sha256


def _check_head(checked: Checked, given: str | None) -> None:
    """Hold the head against the one given, else against the one that the front page beside the binder has."""
    page = checked.path.parent / INDEX
    wanted = given
    if given is None and page.is_file():
        found = _HEAD.search(page.read_text(encoding="utf-8", errors="replace"))
        wanted = found[1] if found else None
    if wanted is None or checked.head is None:
        return
    checked.head_from = "given" if given is not None else "report"
    if wanted != checked.head:
        checked.fault("other_head" if given is not None else "other_head_report", head=checked.head, wanted=wanted)


def _check_report(archive: zipfile.ZipFile, checked: Checked) -> None:
    """Hold the report's files beside the binder against it; the workbook is there to be filled in."""
    if checked.head_from is None or not (checked.path.parent / INDEX).is_file():
        return
    for made in json.loads(text_of(archive, MADE)):
        file = checked.path.parent / str(made["file"])
        if file.name == WORKBOOK or not chain.is_inside(str(made["file"])):
            continue
        if not file.is_file():
            checked.fault("report_deleted", name=file.name)
        elif hash_file(file) != made["sha256"]:
            checked.fault("report_edited", name=file.name)


def changed_inputs(inputs: Iterator[dict[str, Any]], engagement: Path) -> list[Phrase]:
    """Return which of the inputs that a binder names are no longer in a folder as they were.

    One whose name is masked, or that lies elsewhere, is known by its hash alone.

    Raises:
        RequestError: there is no such folder.
    """
    if not engagement.is_dir():
        raise RequestError("error_binder.no_engagement", folder=engagement)
    listed = [place.path for place in places.census(engagement) if place.fault is None]
    by_name = {places.shown_path(path.relative_to(engagement)): path for path in listed}
    found, unknown = [], []
    for told in inputs:
        name, sha256 = str(told["source_file"]), str(told["sha256"])
        if not _SHA256.fullmatch(sha256):
            continue  # it could not be read then either
        if (path := by_name.get(name)) is None:
            unknown.append((name, sha256))
        elif hash_file(path) != sha256:
            found.append(Phrase("binder_fault.input_changed", name=name))
    there = {hash_file(path) for path in [*listed, *_elsewhere(engagement)]} if unknown else set()
    return [*found, *(Phrase("binder_fault.input_gone", name=name) for name, sha256 in unknown if sha256 not in there)]


def _elsewhere(engagement: Path) -> list[Path]:
    """Return the inputs that lie outside of an engagement's folder; none where it cannot be opened."""
    with suppress(AuditError):
        contents = open_engagement(engagement).contents()
        return [path for table in contents.values() for path in table if path.is_file()]
    return []


def text_of(archive: zipfile.ZipFile, name: str) -> str:
    """Return a text member of a binder that was verified.

    Raises:
        RequestError: there is none, or it is too large to be one.
    """
    text = _text(archive, archive.getinfo(name), MOST_TEXT_BYTES) if name in archive.namelist() else None
    if text is None:
        raise RequestError("error_binder.no_member", name=name)
    return text


def lines(archive: zipfile.ZipFile, name: str) -> Iterator[dict[str, Any]]:
    """Yield the lines of a member of JSON lines."""
    for line in text_of(archive, name).splitlines():
        yield json.loads(line)


def _text(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, most: int) -> str | None:
    """Return an entry as text; null where it unpacks to more than `most` bytes, or is no text."""
    blocks, length = [], 0
    for block in stream(archive, entry):
        length += len(block)
        if length > most:
            return None
        blocks.append(block)
    try:
        return b"".join(blocks).decode("utf-8")
    except UnicodeDecodeError:
        return None
