"""Hash files named on standard input: the work of one process of `loaders.hashing`, with the standard library only.

Each line in is a JSON text, the path of a file; each line out its SHA-256, or `!` and the reason it cannot be read.
"""

from __future__ import annotations

import hashlib
import json
import sys

WHOLE = 8 << 20


def sha256(path: str, algorithm: str = "sha256") -> str:
    """Return the hexadecimal hash of a file; small files are read at once, which is faster."""
    with open(path, "rb", buffering=0) as file:  # noqa: PTH123 (a Path costs more than a small file's hash)
        data = file.read(WHOLE)
        digest = hashlib.new(algorithm, data)
        while data:
            data = file.read(WHOLE)
            digest.update(data)
    return digest.hexdigest()


def main() -> None:
    """Answer every line of standard input."""
    answers = []
    for line in sys.stdin:
        try:
            answers.append(sha256(json.loads(line)))
        except OSError as error:
            answers.append(f"!{error.strerror}")
        if len(answers) >= 500:  # noqa: PLR2004 (few writes, and progress that moves)
            sys.stdout.write("\n".join(answers) + "\n")
            sys.stdout.flush()
            answers.clear()
    if answers:
        sys.stdout.write("\n".join(answers) + "\n")


if __name__ == "__main__":
    main()
