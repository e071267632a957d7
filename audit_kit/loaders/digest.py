"""Hash files named on standard input: the work of one process of `loaders.hashing`, with the standard library only.

Paths come in as bytes, separated by a zero byte; for each goes out a line, its SHA-256, or `!` and the reason it
cannot be read.
"""

from __future__ import annotations

import hashlib
import os
import sys

# A first read that holds most invoices whole, small enough for the allocator to hand out without new pages.
FIRST = 96 << 10
NEXT = 1 << 20
MANY = 500


def digest(path: str | bytes, algorithm: str = "sha256") -> str:
    """Return the hexadecimal hash of a file; a small one takes a single read."""
    place = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0))
    try:
        data = os.read(place, FIRST)
        total = hashlib.sha256(data) if algorithm == "sha256" else hashlib.new(algorithm, data)
        if len(data) == FIRST:
            while data := os.read(place, NEXT):
                total.update(data)
    finally:
        os.close(place)
    return total.hexdigest()


def answers(paths: list[bytes]) -> list[str]:
    """Return the answer to each path."""
    found = []
    for path in paths:
        try:
            found.append(digest(path))
        except OSError as error:
            found.append(f"!{error.strerror}")
    return found


def main() -> None:
    """Answer standard input, some hundred paths at a time."""
    paths = sys.stdin.buffer.read().split(b"\0")
    for start in range(0, len(paths), MANY):
        sys.stdout.write("\n".join(answers(paths[start : start + MANY])) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
