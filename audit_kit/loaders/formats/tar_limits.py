"""Tars from strangers, measured while they are read: a few bytes can claim, repeat or pack any number of others."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import tarfile
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING, cast

from audit_kit.resources.languages import Phrase

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

FREE_BYTES = 1 << 30  # that any archive may unpack to
MAX_RATIO = 100  # beyond them: text packs 5 to 30 times smaller
FREE_MEMBERS = 100_000
BYTES_PER_MEMBER = 50  # that each further one takes at least in the packed archive
BLOCK = 1 << 20
PACKED = ((b"\x1f\x8b", gzip.open), (b"BZh", bz2.open), (b"\xfd7zXZ\x00", lzma.open))


class TooMuchError(tarfile.TarError):
    """An archive that holds more than one of its size does."""

    def __init__(self, reason: Phrase) -> None:
        """Take the reason."""
        super().__init__(reason.said("en"))
        self.reason = reason

    def said(self, lang: str = "en") -> str:
        """Return the reason in a language (zh, en)."""
        return self.reason.said(lang)


class Left:
    """What an archive may still unpack to: bytes and members."""

    def __init__(self, path: Path) -> None:
        """Measure the archive itself."""
        size = path.stat().st_size
        self._bytes = FREE_BYTES + MAX_RATIO * size
        self._members = FREE_MEMBERS + size // BYTES_PER_MEMBER

    def take(self, size: int, name: str) -> None:
        """Count bytes before they are read.

        Raises:
            TarError: more than an archive of this size holds.
        """
        self._bytes -= size
        if self._bytes < 0:
            raise TooMuchError(Phrase("error_formats.tar_bytes", name=name[:100]))

    def take_member(self) -> None:
        """Count a member.

        Raises:
            TarError: more than an archive of this size holds.
        """
        self._members -= 1
        if self._members < 0:
            raise TooMuchError(Phrase("error_formats.tar_members"))


class _Measured(io.RawIOBase):
    """An unpacked stream of which no more is read than may be."""

    def __init__(self, file: gzip.GzipFile | bz2.BZ2File | lzma.LZMAFile, left: Left) -> None:
        self._file, self._left = file, left

    def read(self, size: int = -1) -> bytes:
        """Return the next bytes; tar asks for a header or a part of a member at a time."""
        if size < 0 or size > BLOCK:
            raise TooMuchError(Phrase("error_formats.tar_header"))
        data = self._file.read(size)
        self._left.take(len(data), "the stream")
        return data

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go forward by unpacking, counted; back as the stream can."""
        here = self._file.tell()
        target = offset if whence == io.SEEK_SET else here + offset
        while here < target and (data := self.read(min(BLOCK, target - here))):
            here += len(data)
        return here if here <= target else self._file.seek(target)

    def tell(self) -> int:
        """Return the place in the unpacked stream."""
        return self._file.tell()


@contextmanager
def opened(path: Path) -> Iterator[tuple[tarfile.TarFile, Left]]:
    """Give an archive, packed or plain, and what may still be read of it.

    Raises:
        TarError, OSError: no tar that can be read.
    """
    left = Left(path)
    with path.open("rb") as file:
        head = file.read(6)
    unpack = next((unpack for magic, unpack in PACKED if head.startswith(magic)), None)
    if unpack is None:
        with tarfile.open(path, "r:") as archive:
            yield archive, left
        return
    with (
        unpack(path, "rb") as stream,
        tarfile.open(fileobj=cast("IO[bytes]", _Measured(stream, left)), mode="r:") as archive,
    ):
        yield archive, left
