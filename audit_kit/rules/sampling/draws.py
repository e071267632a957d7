"""Random numbers that anybody can draw again: SHA-256 over the seed and a counter, in any language and version.

Number i of a stream is the hash of "seed|stream|i" in UTF-8, its first eight bytes read as an unsigned big-endian
integer.
"""

from __future__ import annotations

import hashlib
from itertools import count
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

GENERATOR = "sha256-counter-1"
_RANGE = 1 << 64


def numbers(seed: str, stream: str) -> Iterator[int]:
    """Yield integers of 64 bits, each as likely as any other."""
    for at in count():
        yield int.from_bytes(hashlib.sha256(f"{seed}|{stream}|{at}".encode()).digest()[:8], "big")


def choose(size: int, of: int, *, seed: str, stream: str) -> list[int]:
    """Return so many different positions of 0 … of-1, in ascending order; all of them where `size` is no smaller.

    Every set of positions is equally likely: numbers that would favour low positions are passed over, and so are
    positions that were drawn before.
    """
    if size >= of:
        return list(range(of))
    drawn: set[int] = set()
    fair = _RANGE - _RANGE % of
    for number in numbers(seed, stream):
        if len(drawn) >= size:
            break
        if number < fair:
            drawn.add(number % of)
    return sorted(drawn)


def start(interval: int, *, seed: str, stream: str) -> int:
    """Return a random start from 1 to the interval."""
    fair = _RANGE - _RANGE % interval
    return next(number for number in numbers(seed, stream) if number < fair) % interval + 1
