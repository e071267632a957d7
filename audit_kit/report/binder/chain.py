"""The chain of hashes over a binder's members: each link is taken of the one before it and of its member.

The last link is the head. Who changes a member, its name, its place or takes one out changes the head too, so that the
head on a signed page proves all of it; a head that lies in the binder alone proves nothing against its forger.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import unquote

if TYPE_CHECKING:
    from collections.abc import Iterable

FILE = "chain.jsonl"
START = hashlib.sha256(b"audit-kit binder 1").hexdigest()
_SHA256 = re.compile(r"[0-9a-f]{64}")
_ODD = re.compile(r"[\x00-\x1f\x7f%:\\]")  # what some system takes for more than a letter


class Member(NamedTuple):
    """One member: its name in the archive, its size in bytes unpacked, its SHA-256."""

    name: str
    size: int
    sha256: str


def member_name(path: str) -> str:
    """Return the name in the archive of a relative path with forward slashes, its odd characters as %XX."""
    return _ODD.sub(lambda odd: f"%{ord(odd[0]):02X}", path)


def path_of(name: str) -> str | None:
    """Return the path that a member's name stands for; null where it would lead out of its folder on this system."""
    path = unquote(name)
    inside = is_inside(name) and all(part not in {"", ".", ".."} for part in path.split("/"))
    odd = "\0" in path or path.count("/") != name.count("/") or (os.name == "nt" and _ODD.search(path))
    return path if inside and not odd else None


def is_inside(name: str) -> bool:
    """Tell whether a member's name is a plain relative path with forward slashes, on every system."""
    return not any(part in {"", ".", ".."} for part in name.split("/")) and not _ODD.search(name.replace("%", ""))


def links(members: Iterable[Member]) -> list[str]:
    """Return the link of each member, in order."""
    found, before = [], START
    for member in members:
        text = json.dumps([before, *member], ensure_ascii=False)
        before = hashlib.sha256(text.encode()).hexdigest()
        found.append(before)
    return found


def written(members: list[Member]) -> str:
    """Return the chain as it stands in a binder, a line a member."""
    lines = [{**member._asdict(), "link": link} for member, link in zip(members, links(members), strict=True)]
    return "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)


def read(text: str) -> list[Member] | None:
    """Return the members that a chain names; null where it is not as it was written, links included."""
    members = []
    for line in text.splitlines():
        try:
            told = json.loads(line)
            member = Member(told["name"], told["size"], told["sha256"])
        except (ValueError, KeyError, TypeError, RecursionError):
            return None
        sound = isinstance(member.name, str) and isinstance(member.size, int) and isinstance(member.sha256, str)
        if not sound or member.size < 0 or not _SHA256.fullmatch(member.sha256):
            return None
        members.append(member)
    try:
        return members if written(members) == text else None
    except UnicodeEncodeError:
        return None
