"""Pseudonyms of one engagement: the same word always gets the same one, and only the key's owner can tell which.

Whatever leaves the house uses them: problem reports, redacted reports, drills made of a real month. The key is made
once and stays beside the kept analyses, its owner's alone; nothing that leaves ever holds it.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import re
import secrets
from functools import cache
from typing import TYPE_CHECKING

from audit_kit.core.cache_folder import alone, cache_folder, make_folder, owner_of
from audit_kit.core.errors import PlaceError
from audit_kit.core.words import LANGUAGES, Words
from audit_kit.resources.languages import Phrase

if TYPE_CHECKING:
    from pathlib import Path

KEYS = "keys"
KEY_BYTES = 32
LETTERS = 8  # of a pseudonym: 40 bits
ROLES = ("party", "tax_id", "account", "person", "other")


class Pseudonyms:
    """What stands in place of a word, in the reader's language."""

    def __init__(self, key: bytes, lang: str) -> None:
        """Take the engagement's key, see `key_of`."""
        self._key, self._words = key, Words(lang)

    def of(self, role: str, word: str) -> str:
        """Return the pseudonym of a word; `role`, one of ROLES, only gives its first word."""
        sum_ = hmac.new(self._key, word.strip().casefold().encode("utf-8", "surrogatepass"), hashlib.sha256).digest()
        return f"{self._words(f'pseudonym.{role}')}-{base64.b32encode(sum_)[:LETTERS].decode()}"


@cache
def shape() -> str:
    """Return the pattern of what looks like a pseudonym, in any language."""
    heads = {re.escape(Words(lang)(f"pseudonym.{role}")) for lang in LANGUAGES for role in ROLES}
    return f"(?:{'|'.join(sorted(heads))})-[A-Z2-7]{{{LETTERS}}}"


def key_place(folder: Path) -> Path:
    """Return where the key of the engagement in a folder is kept: by the folder, so that all that leaves uses one."""
    return cache_folder() / KEYS / f"{owner_of(folder)}.key"


def key_of(folder: Path) -> bytes:
    """Return the key of the engagement in a folder, made where there is none; its owner alone may read it.

    Raises:
        PlaceError: it cannot be kept, or what is kept is no key.
    """
    place = key_place(folder)
    try:
        make_folder(cache_folder())
    except OSError as error:
        raise _not_kept(place, error) from error
    with alone(place) as may_keep:
        if not may_keep:
            raise _not_kept(place, None)
        if not place.exists():
            _make(place)
        place.chmod(0o600)
        key = place.read_bytes()
    if len(key) != KEY_BYTES:
        raise PlaceError("error_paper.no_key", place=place, size=KEY_BYTES)
    return key


def _make(place: Path) -> None:
    new = place.with_suffix(".new")
    try:
        new.unlink(missing_ok=True)
        handle = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "wb") as file:
            file.write(secrets.token_bytes(KEY_BYTES))
            file.flush()
            os.fsync(file.fileno())
        new.replace(place)
    except OSError as error:
        raise _not_kept(place, error) from error


def _not_kept(place: Path, error: OSError | None) -> PlaceError:
    why = error.strerror if error is not None and error.strerror else Phrase("error_paper.not_allowed")
    return PlaceError("error_paper.not_kept", folder=place.parent, why=why)
