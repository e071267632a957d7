"""Hash a folder: every byte, by as many processes as there are processors, with a cache that distrusts itself.

The cache knows a file by path, size, time of change and inode. Silent damage on the disk changes none of these, so
with every use a random sample is read again; one difference and the whole cache is thrown away.
"""

from __future__ import annotations

import logging
import os
import random
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import Never

import polars as pl
from tqdm import tqdm

from audit_kit.core import hash_worker, outputs
from audit_kit.core.errors import AuditError, SourceError, of_system
from audit_kit.core.files import shown_path
from audit_kit.core.processes import Staff
from audit_kit.resources.languages import Phrase, reader_language, said

HASHES = {"path": pl.String(), "size": pl.UInt64(), "sha256": pl.String()}
CACHE = {"path": pl.String(), "size": pl.UInt64(), "mtime_ns": pl.Int64(), "inode": pl.UInt64(), "sha256": pl.String()}
IDENTITY = ["path", "size", "mtime_ns", "inode"]
FEW_FILES = 1000
FEW_BYTES = 64 << 20
SAMPLE_SHARE = 0.01
SAMPLE_LEAST = 20
Entry = tuple[bytes, str, int, int, int]
LOG = logging.getLogger(__name__)


def hash_file(path: Path, algorithm: str = "sha256") -> str:
    """Return the hexadecimal hash of a file, read whatever its size and times say."""
    return hash_worker.digest(str(path), algorithm)


def hash_once(path: Path) -> str:
    """Return the SHA-256 of a file; within a process one whose size, times and inode stay the same is read once."""
    stat = path.stat()
    return _hash_once(str(path), stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino)


@lru_cache(maxsize=1 << 18)
def _hash_once(path: str, *_state: int) -> str:
    return hash_file(Path(path))


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
        raise SourceError("error_core.no_folder", folder=root)
    found: list[Entry] = []
    _walk(str(root), "", found)
    names = {"at": pl.Binary(), **{name: CACHE[name] for name in IDENTITY}}
    columns = zip(*found, strict=True) if found else [()] * len(names)
    files = pl.DataFrame(
        [pl.Series(name, cells, dtype) for (name, dtype), cells in zip(names.items(), columns, strict=True)]
    )
    known = _known(files, cache)
    hashes = _digests(known.filter(pl.col("sha256").is_null()), progress=progress)
    if _has_rotted(known.filter(pl.col("sha256").is_not_null())):
        LOG.warning(said("console.rotted", reader_language(), {"folder": root}))
        known = known.with_columns(sha256=pl.lit(None, pl.String))
        hashes = _digests(known, progress=progress)
    fresh = known.filter(pl.col("sha256").is_null()).with_columns(sha256=pl.Series(hashes, dtype=pl.String))
    done = pl.concat([known.filter(pl.col("sha256").is_not_null()), fresh]).sort("path")
    if cache is not None:
        _keep(done.select(list(CACHE)), cache)
    return done.select(list(HASHES))


def sums(files: pl.DataFrame) -> str:
    """Return `path` and `sha256` as lines of sha256sum, which escapes backslashes and line ends in names."""
    odd = r"[\\\n\r]"
    escaped = pl.col("path").str.replace_all("\\", "\\\\", literal=True)
    escaped = escaped.str.replace_all("\n", "\\n", literal=True).str.replace_all("\r", "\\r", literal=True)
    lines = files.select(
        pl.when(pl.col("path").str.contains(odd))
        .then(pl.concat_str(pl.lit("\\"), "sha256", pl.lit("  "), escaped, pl.lit("\n")))
        .otherwise(pl.concat_str("sha256", pl.lit("  "), "path", pl.lit("\n")))
    )
    return "".join(lines.to_series())


def _walk(folder: str, prefix: str, found: list[Entry]) -> None:
    """Add place, relative path, size, time of change and inode of every file."""
    with os.scandir(folder) as entries:
        for entry in entries:
            name = prefix + entry.name
            if entry.is_dir(follow_symlinks=False):
                _walk(entry.path, name + "/", found)
            elif entry.is_file(follow_symlinks=False):
                stat = entry.stat(follow_symlinks=False)
                shown = name if name.isascii() else shown_path(Path(name))
                found.append((os.fsencode(entry.path), shown, stat.st_size, stat.st_mtime_ns, stat.st_ino))


def _known(files: pl.DataFrame, cache: Path | None) -> pl.DataFrame:
    """Return the files with the hash that the cache holds of them; null = must be read."""
    if cache is None or not cache.exists():
        return files.with_columns(sha256=pl.lit(None, pl.String))
    try:
        kept = pl.read_parquet(cache, glob=False).cast(CACHE).unique(IDENTITY)  # type: ignore[arg-type]
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
        return [_checked(place, answer) for place, answer in zip(places, hash_worker.answers(places), strict=True)]
    # By size, dealt out in turn: every process gets as many bytes as the others.
    order = files["size"].arg_sort(descending=True)
    shares = [order.gather_every(workers, start).sort() for start in range(workers)]
    hashes = pl.Series([""] * len(places))
    with _bar(len(places), shown=progress) as bar, ThreadPoolExecutor(workers) as pool, Staff() as staff:
        asked = (files["at"].gather(share).to_list() for share in shares)
        for share, part in zip(shares, pool.map(lambda some: _ask(staff, some, bar), asked), strict=True):
            hashes = hashes.scatter(share, part)
    if (failed := hashes.str.starts_with("!")).any():
        at = int(failed.arg_true()[0])
        _checked(places[at], hashes[at])
    return hashes.to_list()


def _checked(place: bytes, answer: str) -> str:
    if answer.startswith("!"):
        raise SourceError("error_core.unreadable", path=os.fsdecode(place), why=of_system(answer[1:]))
    return answer


def _ask(staff: Staff, places: list[bytes], bar: tqdm[Never]) -> list[str]:
    """Return what one process of its own says of every file, in order.

    Raises:
        SourceError: the process died.
    """
    question = b"\0".join(places)
    answers: list[str] = []
    with staff.start("-I", "-S", hash_worker.__file__) as process:
        if process.stdin:
            with suppress(OSError):  # it died, which its code tells
                process.stdin.write(b"%d\n" % len(question) + question)
                process.stdin.flush()
        while process.stdout and (lines := list(islice(process.stdout, hash_worker.MANY))):
            answers += [line.decode().rstrip("\r\n") for line in lines]
            bar.update(len(lines))
    if process.returncode or len(answers) != len(places):
        raise SourceError("error_core.hashing_ended", code=process.returncode)
    return answers


def _bar(total: int, *, shown: bool) -> tqdm[Never]:
    return tqdm(
        total=total,
        unit="file",
        desc=said("progress.hashing", reader_language(), {}),
        disable=not shown,
        file=sys.stderr,
        leave=False,
    )


def _keep(known: pl.DataFrame, cache: Path) -> None:
    """Write the cache, whole or not at all; one that cannot be written stops nothing."""
    try:
        cache.parent.mkdir(parents=True, exist_ok=True)
        with outputs.writing(cache) as made:
            known.write_parquet(made, compression="lz4")
    except (OSError, AuditError) as error:
        LOG.warning(Phrase("console.hashes_not_kept", error=error).said(reader_language()))
