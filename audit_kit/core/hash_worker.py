"""Hash files named on standard input: the work of one process of `loaders.hashing`, with the standard library only.

First comes the number of bytes that follow, on a line of its own, then the paths, separated by a zero byte; for each
goes out a line, its SHA-256, or `!` and the reason it cannot be read. Standard input stays open: once it closes nobody
is there to read the answers, and the work ends.
"""

from __future__ import annotations

import hashlib
import os
import sys
import threading

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
    asked = sys.stdin.buffer
    paths = asked.read(int(asked.readline())).split(b"\0")
    threading.Thread(target=_end_with_the_asker, daemon=True).start()
    for start in range(0, len(paths), MANY):
        sys.stdout.write("\n".join(answers(paths[start : start + MANY])) + "\n")
        sys.stdout.flush()


def _end_with_the_asker() -> None:
    """Wait until standard input closes; read past its buffer, whose lock would be held when we end by ourselves."""
    os.read(sys.stdin.fileno(), 1)
    os._exit(1)


if __name__ == "__main__":
    main()
