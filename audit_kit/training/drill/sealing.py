"""The seal of a drill: who keeps its truth, the digest that is published before, and the log that nobody can shorten.

A drill's chance comes from a nonce of 128 bits. With a trainer it is made from a secret that only the trainer's folder
holds, so that a trainee who knows every seed cannot make the drill again. The digest of the truth under that nonce
stands in the brief; each hint and each handing in is a line of a log, chained by the same nonce and kept on both sides.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import os
import re
import secrets
import zlib
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from audit_kit.core import outputs
from audit_kit.core.errors import RequestError

if TYPE_CHECKING:
    from collections.abc import Mapping

SEAL, LOG, KEY, ENDING = "seal.txt", "log.txt", "trainer.key", ".sealed"
BRIEFS = ("brief.zh.md", "brief.en.md")
TRUTH = ("ledger_row", "serial", "key", "outcome", "cause")
NONCE_BYTES = 16
_DIGEST = re.compile(r"\b[0-9a-f]{64}\b")
_TIME = "%Y-%m-%dT%H:%M:%S"


@dataclass(frozen=True)
class Entry:
    """A line of the log: when, what (started, hint, handed_in, scored), its detail, and its mac over all before."""

    at: str
    what: str
    detail: str
    mac: str

    def __str__(self) -> str:
        """Return the line as it stands in the trainee's folder."""
        return f"{self.at}\t{self.what}\t{self.detail}\t{self.mac}"


@dataclass(frozen=True, kw_only=True)
class Sealed:
    """What is sealed: the nonce, `content` (truth, causes, facts …) and the log so far."""

    nonce: str
    content: Mapping[str, Any]
    log: tuple[Entry, ...] = ()
    path: Path = field(default_factory=Path)

    @property
    def digest(self) -> str:
        """The digest that is published: HMAC-SHA-256 of the content under the nonce."""
        return mac(self.nonce, canonical(self.content))

    @property
    def truth(self) -> pl.DataFrame:
        """The truth about every ledger row: `TRUTH`."""
        types = {name: pl.UInt32() if name == "ledger_row" else pl.String() for name in TRUTH}
        return pl.read_csv(zlib.decompress(base64.b64decode(self.content["truth"])), schema=types)

    def of(self, what: str) -> list[Entry]:
        """Return the lines of the log of one kind."""
        return [entry for entry in self.log if entry.what == what]


def canonical(content: Mapping[str, Any]) -> bytes:
    """Return the bytes of content that are sealed."""
    return json.dumps(content, ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode()


def packed(truth: pl.DataFrame) -> str:
    """Return the truth as text."""
    return base64.b64encode(zlib.compress(truth.write_csv().encode())).decode()


def mac(nonce: str, content: bytes) -> str:
    """Return the HMAC-SHA-256 of some bytes, as hex."""
    return hmac.new(bytes.fromhex(nonce), content, hashlib.sha256).hexdigest()


def nonce_of(seed: int | None, name: str, *, trainer: Path | None) -> str:
    """Return the nonce of a drill: chance without a seed; with one the same again, with a trainer only for this one.

    Raises:
        RequestError: the trainer's key is none, or the folder cannot be made.
    """
    if seed is None:
        return secrets.token_hex(NONCE_BYTES)
    known = f"audit-kit drill {name} {seed}".encode()
    return (mac(key_of(trainer), known) if trainer else hashlib.sha256(known).hexdigest())[: 2 * NONCE_BYTES]


def world_seed(nonce: str) -> int:
    """Return the seed of a drill's month, 128 bits."""
    return int(mac(nonce, b"world")[: 2 * NONCE_BYTES], 16)


def key_of(trainer: Path) -> str:
    """Return the secret of a trainer's folder, made where there is none; its owner alone may read it.

    Raises:
        RequestError: what stands there is no key.
    """
    place = trainer / KEY
    if not place.exists():
        trainer.mkdir(parents=True, exist_ok=True)
        handle = os.open(place, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "w", encoding="ascii") as file:
            file.write(secrets.token_hex(2 * NONCE_BYTES) + "\n")
    text = place.read_text(encoding="utf-8", errors="replace").strip()
    if not _DIGEST.fullmatch(text):
        raise RequestError("error_training.no_trainer_key", file=place)
    return text


def place_of(folder: Path, trainer: Path | None) -> Path:
    """Return where the truth of a new drill is kept: with the trainer, else beside the folder."""
    return (trainer or folder.resolve().parent) / f"{folder.resolve().name}{ENDING}"


def keep(sealed: Sealed) -> None:
    """Write what is sealed, in one step, for its owner alone."""
    content = {"nonce": sealed.nonce, **sealed.content, "log": [str(entry) for entry in sealed.log]}
    sealed.path.parent.mkdir(parents=True, exist_ok=True)
    with outputs.writing(sealed.path) as made:
        made.write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")
        made.chmod(0o600)


def opened(folder: Path, trainer: Path | None = None) -> Sealed:
    """Return what is sealed of a drill, if folder and truth still belong together and the log is whole on both sides.

    Raises:
        RequestError: no drill, no truth to it, or one that was changed, or a log that was.
    """
    published = seals(folder)
    path = _found(folder, trainer, published)
    sealed = read(path)
    if published != {sealed.digest}:
        raise RequestError("error_training.broken_seal", folder=folder.name, file=path.name)
    check_log(sealed)
    lines = (folder / LOG).read_text(encoding="utf-8").splitlines() if (folder / LOG).is_file() else []
    if lines != [str(entry) for entry in sealed.log]:
        raise RequestError("error_training.broken_log", folder=folder.name, file=path.name)
    return sealed


def seals(folder: Path) -> set[str]:
    """Return the digests that a drill's folder publishes, in its seal and its briefs; of a sound one there is one.

    Raises:
        RequestError: the folder is no drill.
    """
    if not (folder / SEAL).is_file():
        raise RequestError("error_training.no_drill", folder=folder)
    places = [folder / name for name in (SEAL, *BRIEFS) if (folder / name).is_file()]
    found = [_DIGEST.findall(place.read_text(encoding="utf-8", errors="replace")) or [""] for place in places]
    return {digest for one in found for digest in one}


def read(path: Path) -> Sealed:
    """Return what a sealed file holds; nothing is checked yet.

    Raises:
        RequestError: it is none.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        nonce, log = str(content.pop("nonce")), [Entry(*line.split("\t")) for line in content.pop("log")]
        bytes.fromhex(nonce)
    except (ValueError, KeyError, TypeError, AttributeError, OSError) as error:
        raise RequestError("error_training.not_sealed", file=path.name) from error
    return Sealed(nonce=nonce, content=content, log=tuple(log), path=path)


def check_log(sealed: Sealed) -> None:
    """Refuse a log of which a line was changed, put in or taken from its middle.

    Raises:
        RequestError: it was.
    """
    before = sealed.digest
    for entry in sealed.log:
        before = _chained(sealed.nonce, before, entry.at, entry.what, entry.detail)
        if not hmac.compare_digest(before, entry.mac):
            raise RequestError("error_training.broken_log", folder=sealed.path.stem, file=sealed.path.name)


def note(folder: Path, sealed: Sealed, what: str, detail: str) -> Sealed:
    """Add a line to the log, on both sides, and return what is sealed now."""
    at = datetime.now().strftime(_TIME)  # noqa: DTZ005  the clock on the wall, as a person reads it
    before = sealed.log[-1].mac if sealed.log else sealed.digest
    entry = Entry(at, what, detail, _chained(sealed.nonce, before, at, what, detail))
    made = Sealed(nonce=sealed.nonce, content=sealed.content, log=(*sealed.log, entry), path=sealed.path)
    keep(made)
    with outputs.writing(folder / LOG) as file:
        file.write_text("".join(f"{one}\n" for one in made.log), encoding="utf-8")
    return made


def _chained(nonce: str, before: str, at: str, what: str, detail: str) -> str:
    return mac(nonce, f"{before}\t{at}\t{what}\t{detail}".encode())


def _found(folder: Path, trainer: Path | None, published: set[str]) -> Path:
    """Return where the truth of a drill is: by its name, or where the folder was given another, by its digest."""
    path = place_of(folder, trainer)
    if path.is_file():
        return path
    others = sorted(path.parent.glob(f"*{ENDING}")) if path.parent.is_dir() else []
    for other in others:
        try:
            if {read(other).digest} == published:
                return other
        except RequestError:
            continue
    raise RequestError("error_training.no_sealed", file=path.name)
