"""What every catalogue reader is given and gives back, and how the times of a catalogue are read.

The zone of every time is proved (an offset, seconds since 1970) or declared; a time without a zone is refused with the
line to add to `audit.toml`. Times come out as Beijing time without zone.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import polars as pl

from audit_kit.core import schema
from audit_kit.core.clock import BEIJING, beijing, written_at
from audit_kit.core.errors import EngagementError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

ENCODINGS = ("utf-8-sig", "gb18030")
UTF16 = (b"\xff\xfe", b"\xfe\xff")
ZONED = r"(?:[Zz]|[+-]\d\d:?\d\d)$"
DAY_IN_NAME = re.compile(r"(?<!\d)(20\d\d)-?([01]\d)-?([0-3]\d)(?!\d{7})")
LISTED = {
    "path_norm": pl.String(),
    "size": pl.UInt64(),
    "mtime": pl.Datetime("us"),
    "hash": pl.String(),
    "hash_kind": pl.String(),
}


@dataclass(frozen=True, kw_only=True)
class Origin:
    """One file or folder to read: `name` as findings show it, the repository and backup its name gives, its zone."""

    path: Path
    name: str
    repo_id: str
    backup_id: str | None
    tz: str | None
    sha256: str | None = None


@dataclass(frozen=True, kw_only=True)
class Content:
    """The files of one backup, in the columns of `LISTED`; a null `backup_id` means no backup in particular."""

    repo_id: str
    backup_id: str | None
    files: pl.DataFrame
    origin: Origin
    backup: dict[str, Any] | None = None


@dataclass(kw_only=True)
class Found:
    """What was found in one file or folder.

    `backups` and `checks` are rows by canonical column, `contents` the listed files, `set_aside` pairs of physical row
    and reason.
    """

    backups: list[dict[str, Any]] = field(default_factory=list)
    contents: list[Content] = field(default_factory=list)
    checks: list[dict[str, Any]] = field(default_factory=list)
    set_aside: list[tuple[int, str, str]] = field(default_factory=list)
    rows_in: int = 0


def decoded(data: bytes) -> str:
    """Return the text of a file in UTF-8, UTF-16 with its mark (as PowerShell writes), or GB18030."""
    if data.startswith(UTF16):
        return data.decode("utf-16")
    for encoding in ENCODINGS:
        try:
            return data.decode(encoding)
        except UnicodeDecodeError:
            continue
    return data.decode("utf-8", "replace")


def zone(origin: Origin, example: str) -> ZoneInfo:
    """Return the declared zone of a source whose times have none.

    Raises:
        EngagementError: no zone is declared, or it is none; the sentence holds the line to add.
    """
    if origin.tz is None:
        like = origin.name[: len(origin.name) - len(origin.path.name)] + f"{origin.repo_id}*"
        raise EngagementError("error_catalogues.no_zone", file=origin.name, example=example, like=like)
    try:
        return ZoneInfo(origin.tz)
    except (ZoneInfoNotFoundError, ValueError):
        raise EngagementError("error_catalogues.unknown_zone", file=origin.name, tz=origin.tz) from None


def moment(value: str | float | None, origin: Origin) -> datetime | None:
    """Return a time of a catalogue as Beijing time: ISO 8601 text, or seconds since 1970; null where it is none.

    Raises:
        EngagementError: the text has no zone and none is declared.
    """
    if value is None or value == "":
        return None
    if isinstance(value, int | float):
        return beijing(datetime.fromtimestamp(value, BEIJING)) if value > 0 else None
    try:
        read = datetime.fromisoformat(value.strip().replace("/", "-"))
    except ValueError:
        return None
    if read.tzinfo is None:
        read = read.replace(tzinfo=zone(origin, value))
    return beijing(read)


def moments(values: pl.Series, origin: Origin) -> pl.Series:
    """Return a column of ISO 8601 times as Beijing time; null where a text is none.

    Raises:
        EngagementError: a text has no zone and none is declared.
    """
    text = values.cast(pl.String).str.strip_chars().str.replace(r"(\.\d{6})\d+", "$1")
    zoned = text.str.contains(ZONED)
    exact = text.str.to_datetime("%+", time_unit="us", time_zone="UTC", strict=False).dt.convert_time_zone(
        "Asia/Shanghai"
    )
    read = exact.dt.replace_time_zone(None)
    naive = text.filter(~zoned).drop_nulls()
    if naive.is_empty():
        return read
    declared = zone(origin, naive[0])
    local = text.str.to_datetime(time_unit="us", strict=False, format="%Y-%m-%dT%H:%M:%S%.f")
    moved = local.dt.replace_time_zone(str(declared), ambiguous="earliest", non_existent="null")
    moved = moved.dt.convert_time_zone("Asia/Shanghai").dt.replace_time_zone(None)
    return read.zip_with(zoned.fill_null(value=True), moved)


def named_time(origin: Origin) -> datetime:
    """Return when a backup without a time of its own was made: the file's time, unless the day in its name is another.

    The zone of a file's time is proved (seconds since 1970). A day alone is read as its first moment, Beijing time.
    """
    written = written_at(origin.path)
    if found := DAY_IN_NAME.search(origin.backup_id or origin.path.name):
        try:
            day = datetime(*(int(part) for part in found.groups()))  # type: ignore[arg-type]  # noqa: DTZ001
        except ValueError:
            return written
        return written if written.date() == day.date() else day
    return written


def backup(origin: Origin, *, line: int = 1, **known: Any) -> dict[str, Any]:  # noqa: ANN401 (cells of every type)
    """Return a row of table backups, told of on a line of its file, with what file and name say, the rest null."""
    row: dict[str, Any] = dict.fromkeys(schema.dtypes("backups"))
    evidence = {
        "source_file": origin.name,
        "source_row": line,
        "repo_id": origin.repo_id,
        "job": origin.repo_id,
        "evidence_file": origin.name,
        "evidence_line": line,
        "evidence_sha256": origin.sha256,
    }
    return row | evidence | known


def listed(files: pl.DataFrame) -> pl.DataFrame:
    """Return a listing in the columns of `LISTED`, paths normalised: forward slashes, NFC."""
    path = pl.col("path_norm").str.replace_all("\\", "/", literal=True).str.normalize("NFC")
    present = [pl.col(name).cast(dtype) for name, dtype in LISTED.items() if name in files.columns]
    absent = [pl.lit(None, dtype).alias(name) for name, dtype in LISTED.items() if name not in files.columns]
    return files.select(*present, *absent).select(list(LISTED)).with_columns(path_norm=path)


def line_numbers(text: str, needles: Iterable[str]) -> list[int]:
    """Return the line on which each needle stands, from 1, looked for in order; 1 where it is not found."""
    lines, position, line = [], 0, 1
    for needle in needles:
        at = text.find(needle, position)
        if at >= 0:
            line += text.count("\n", position, at)
            position = at
        lines.append(line if at >= 0 else 1)
    return lines


def snapshot(origin: Origin, **known: Any) -> dict[str, Any]:  # noqa: ANN401 (cells of every type)
    """Return a row of a backup that is whole in itself."""
    return backup(origin, kind="snapshot", chain_semantics="independent", **known)


def single(origin: Origin, rows: pl.DataFrame, /, *, made: datetime | None, **known: Any) -> Content:  # noqa: ANN401
    """Return the one backup that a listing stands for, with its files; made at one moment, and complete."""
    row = backup(
        origin,
        backup_id=origin.backup_id or origin.path.name,
        chain_semantics="independent",
        status="ok",
        raw_status="listed",
        **dict.fromkeys(("data_time", "started_at", "finished_at"), made),
        **known,
    )
    return Content(repo_id=origin.repo_id, backup_id=row["backup_id"], files=listed(rows), origin=origin, backup=row)
