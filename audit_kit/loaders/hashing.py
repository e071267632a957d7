"""Hash a folder: every byte, by as many processes as there are processors, with a cache that distrusts itself.

The cache knows a file by path, size, time of change and inode. Silent damage on the disk changes none of these, so
with every use a random sample is read again; one difference and the whole cache is thrown away.
"""

from __future__ import annotations

import json
import logging
import os
import random
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Never

import polars as pl
from tqdm import tqdm

from audit_kit.errors import SourceError
from audit_kit.loaders import digest

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

HASHES = {"path": pl.String(), "size": pl.UInt64(), "sha256": pl.String()}
CACHE = {"path": pl.String(), "size": pl.UInt64(), "mtime_ns": pl.Int64(), "inode": pl.UInt64(), "sha256": pl.String()}
IDENTITY = ["path", "size", "mtime_ns", "inode"]
FEW_FILES = 1000
FEW_BYTES = 64 << 20
SAMPLE_SHARE = 0.01
SAMPLE_LEAST = 20
LOG = logging.getLogger(__name__)


def hash_file(path: Path, algorithm: str = "sha256") -> str:
    """Return the hexadecimal hash of a file."""
    return digest.sha256(str(path), algorithm)


def hash_files(folder: str | Path, *, cache: Path | None = None, progress: bool = False) -> pl.DataFrame:
    """Return `path` (relative, forward slashes), `size` (bytes) and `sha256` of every file below a folder, by path.

    Every byte is read unless a cache is given. Links are not followed.

    Args:
        folder: the folder.
        cache: parquet of an earlier run, read if it is there and written anew; a random hundredth of its files, at
            least 20, is read again all the same.
        progress: show a bar on standard error.

    Raises:
        SourceError: no such folder, or a file in it cannot be read.
    """
    root = Path(folder)
    if not root.is_dir():
        raise SourceError(f"{root}: no such folder.")
    files = pl.DataFrame(
        list(_walk(str(root), "")), schema={"at": pl.String, **{name: CACHE[name] for name in IDENTITY}}, orient="row"
    )
    known = _known(files, cache)
    hashes = _digests(known.filter(pl.col("sha256").is_null()), progress=progress)
    if _has_rotted(known.filter(pl.col("sha256").is_not_null())):
        LOG.warning("%s: a file's content changed while its size and time did not; everything is read again.", root)
        known = known.with_columns(sha256=pl.lit(None, pl.String))
        hashes = _digests(known, progress=progress)
    fresh = known.filter(pl.col("sha256").is_null()).with_columns(sha256=pl.Series(hashes, dtype=pl.String))
    done = pl.concat([known.filter(pl.col("sha256").is_not_null()), fresh]).sort("path")
    if cache is not None:
        _keep(done.select(list(CACHE)), cache)
    return done.select(list(HASHES))


def _walk(folder: str, prefix: str) -> Iterator[tuple[str, str, int, int, int]]:
    """Yield place, relative path, size, time of change and inode of every file."""
    with os.scandir(folder) as entries:
        for entry in entries:
            name = prefix + entry.name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
            if entry.is_dir(follow_symlinks=False):
                yield from _walk(entry.path, name + "/")
            elif entry.is_file(follow_symlinks=False):
                stat = entry.stat(follow_symlinks=False)
                place = json.dumps(entry.path)
                yield place, name, stat.st_size, stat.st_mtime_ns, stat.st_ino


def _known(files: pl.DataFrame, cache: Path | None) -> pl.DataFrame:
    """Return the files with the hash that the cache holds of them; null = must be read."""
    if cache is None or not cache.exists():
        return files.with_columns(sha256=pl.lit(None, pl.String))
    try:
        kept = pl.read_parquet(cache).cast(CACHE).unique(IDENTITY)  # type: ignore[arg-type]
    except (pl.exceptions.PolarsError, OSError):
        return files.with_columns(sha256=pl.lit(None, pl.String))
    return files.join(kept, on=IDENTITY, how="left", maintain_order="left")


def _has_rotted(cached: pl.DataFrame) -> bool:
    """Read a random sample of the cached files again and tell whether one is no longer what it was."""
    size = min(cached.height, max(SAMPLE_LEAST, int(cached.height * SAMPLE_SHARE)))
    if size == 0:
        return False
    sample = cached[sorted(random.SystemRandom().sample(range(cached.height), size))]
    return _digests(sample, progress=False) != sample["sha256"].to_list()


def _digests(files: pl.DataFrame, *, progress: bool) -> list[str]:
    """Return the hash of every file, in order."""
    places = files["at"].to_list()
    workers = min(os.cpu_count() or 1, 8)
    if workers == 1 or (len(places) < FEW_FILES and (files["size"].sum() or 0) < FEW_BYTES):
        return [_checked(place, _here(place)) for place in places]
    # By size, largest first, dealt out in turn: every process gets as many bytes as the others.
    order = files["size"].arg_sort(descending=True).to_list()
    shares = [sorted(order[start::workers]) for start in range(workers)]
    answers = [""] * len(places)
    with _bar(len(places), shown=progress) as bar, ThreadPoolExecutor(workers) as pool:
        parts = pool.map(lambda share: list(_answers([places[at] for at in share], bar)), shares)
        for share, part in zip(shares, parts, strict=True):
            for at, answer in zip(share, part, strict=True):
                answers[at] = _checked(places[at], answer)
    return answers


def _here(place: str) -> str:
    try:
        return digest.sha256(json.loads(place))
    except OSError as error:
        return f"!{error.strerror}"


def _checked(place: str, answer: str) -> str:
    if answer.startswith("!"):
        raise SourceError(f"{json.loads(place)}: cannot be read ({answer[1:]}).")
    return answer


def _answers(places: Sequence[str], bar: tqdm[Never]) -> Iterator[str]:
    """Yield what one process of its own says of every file, in order."""
    with tempfile.TemporaryFile("w+", encoding="ascii") as questions:
        questions.write("\n".join(places))
        questions.seek(0)
        command = [sys.executable, "-I", "-S", digest.__file__]
        with subprocess.Popen(command, stdin=questions, stdout=subprocess.PIPE, encoding="utf-8") as process:  # noqa: S603
            for line in process.stdout or ():
                yield line.rstrip("\n")
                bar.update()
        if process.returncode:
            raise SourceError(f"a process that hashes files ended with code {process.returncode}; try again.")


def _bar(total: int, *, shown: bool) -> tqdm[Never]:
    return tqdm(total=total, unit="file", desc="sha256", disable=not shown, file=sys.stderr, leave=False)


def _keep(known: pl.DataFrame, cache: Path) -> None:
    """Write the cache beside its place, then move it there in one step."""
    cache.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=cache.parent, suffix=".parquet", delete=False) as file:
        known.write_parquet(file.name, compression="lz4")
    Path(file.name).replace(cache)
