"""The outcome of a check from its command, exit code and raw output, by the records of `catalogues.toml`.

Tools differ: some end with code 0 and say `status: error`, some say nothing when all is well, some write JSON in one
version and prose in the next. What the text says outweighs the exit code; silence where a tool should speak is
`unknown`, never a pass.
"""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Any

import polars as pl

from audit_kit import resources
from audit_kit.core.files import actual, is_inside
from audit_kit.core.hashing import hash_file
from audit_kit.core.policy import COMPARED, OPENED, WHOLE_PERCENT
from audit_kit.loaders.catalogues.tools import tools

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from audit_kit.loaders.catalogues.tools import Tool

LONGEST = 4 << 20
MOST_DAMAGED = 1000
PARTS = ("not_run", "broken", "sound", "damaged")


@dataclass(frozen=True)
class Command:
    """What a command line proves at best: evidence level, how it compared, and whether its silence is success."""

    level: int | None = None
    compared_by: str | None = None
    silent: bool = False
    speaks: bool = False
    scope_pct: float | None = None
    outcomes: Mapping[str, Sequence[str]] = field(default_factory=lambda: resources.load("checks")["outcomes"])


def read_checks(frame: pl.DataFrame, root: Path) -> pl.DataFrame:
    """Return table backup_checks or restore_tests with `level` and `result` told from command, exit code and output.

    A stated level or result stays, except that an `ok` gives way where the output shows errors. `errors`, `damaged`,
    `scope_pct` and `compared_by` are filled in where they are null. The files named by `output` and `errors_output`
    are relative to `root`.
    """
    if frame.is_empty():
        return frame
    rows = [row | _resolved(row, root) for row in frame.to_dicts()]
    plain = {name: pl.String() if isinstance(dtype, pl.Enum) else dtype for name, dtype in frame.schema.items()}
    return pl.DataFrame(rows, schema=plain, orient="row").cast(frame.schema)


def _resolved(row: Mapping[str, Any], root: Path) -> dict[str, Any]:
    command = understood(row.get("command"))
    texts = [_text(root, row.get(name)) for name in ("output", "errors_output")]
    text = "\n".join(part for part in texts if part)
    read, damaged = outcome(command, text if any(part is not None for part in texts) else None, row.get("exit_code"))
    stated = row.get("result")
    result = read if stated in (None, "unknown") or (stated == "ok" and read == "error") else stated
    if result == "ok" and (row.get("errors") or 0) > 0:
        result = "error"
    known: dict[str, Any] = {
        "level": command.level if row.get("level") is None else row["level"],
        "result": result,
        "damaged": row.get("damaged") or damaged,
        "errors": max(len(damaged), 1) if row.get("errors") is None and result == "error" else row.get("errors"),
        "scope_pct": command.scope_pct if row.get("scope_pct") is None else row["scope_pct"],
    }
    if "compared_by" in row:
        known["compared_by"] = row["compared_by"] or command.compared_by
        if row.get("level") is None and known["level"] is None:
            known["level"] = {"hash": COMPARED, "open": OPENED}.get(known["compared_by"] or "")
    if row.get("evidence_file") is None and (file := _file(root, row.get("output") or row.get("errors_output"))):
        known["evidence_file"] = row.get("output") or row.get("errors_output")
        known["evidence_sha256"] = hash_file(file)
    return {name: value for name, value in known.items() if name in row}


def _file(root: Path, name: str | None) -> Path | None:
    """Return an output file that lies in the engagement; null = none, or outside."""
    if not name:
        return None
    file = actual(root / name)
    return file if file.is_file() and is_inside(root, file) else None


def _text(root: Path, name: str | None) -> str | None:
    file = _file(root, name)
    if file is None:
        return None
    with file.open("rb") as source:
        return source.read(LONGEST).decode("utf-8", "replace")


def understood(command: str | None) -> Command:
    """Return what a command line proves, by the first command of a tool's record that fits."""
    if not command:
        return Command()
    try:
        words = shlex.split(command)
    except ValueError:
        words = command.split()
    names = [word.replace("\\", "/").rpartition("/")[2].removesuffix(".exe") for word in words]
    for tool in tools().values():
        for entry in tool.commands:
            program = next((program for program in tool.programs if program in names), None)
            if program and all(_given(wanted, names[names.index(program) + 1 :], tool) for wanted in entry["with"]):
                return _command(tool, entry, words)
    return Command(level=1)


def _command(tool: Tool, entry: Mapping[str, Any], words: Sequence[str]) -> Command:
    patterns = tool.text_outcomes if entry.get("outcomes") else tool.outcomes
    return Command(
        level=entry["level"],
        compared_by=entry.get("compared_by"),
        silent=entry.get("silent", False),
        speaks=tool.speaks,
        scope_pct=_scope(words, **tool.part) if tool.part else None,
        **({"outcomes": patterns} if patterns else {}),
    )


def _given(wanted: str, words: Sequence[str], tool: Tool) -> bool:
    """Tell whether an option is among the words, alone or with its value."""
    valued = f"{wanted}=" if wanted == tool.part.get("option") else None
    return any(word == wanted or (valued and word.startswith(valued)) for word in words)


def _scope(words: Sequence[str], option: str, unit: str) -> float | None:
    """Return how much of the data a partial check reads, in percent; null = all, or not said."""
    for word, following in zip(words, [*words[1:], ""], strict=True):
        name, _, value = word.partition("=")
        if name != option:
            continue
        value = value or following
        if hit := re.fullmatch(r"(\d+)/(\d+)", value):
            return WHOLE_PERCENT / int(hit[2])
        if hit := re.fullmatch(rf"([\d.]+){unit}", value):
            return float(hit[1])
        return 0.0
    return None


def outcome(command: Command, text: str | None, exit_code: int | None) -> tuple[str, list[str]]:
    """Return `ok`, `error` or `unknown`, and what is named as damaged.

    Args:
        command: what was run.
        text: stdout and stderr; null = not kept.
        exit_code: its exit code; null = not kept.
    """
    not_run, broken, sound, damaged = (_compiled(tuple(command.outcomes[part])) for part in PARTS)
    said = text or ""
    verdicts = ((not_run, "unknown"), (broken, "error"), (sound, "ok"))
    read = next((word for patterns, word in verdicts if any(pattern.search(said) for pattern in patterns)), None)
    result = read or _by_code(command, text, exit_code)
    named = (hit[1] for pattern in damaged for hit in pattern.finditer(said)) if result == "error" else ()
    return result, list(dict.fromkeys(named))[:MOST_DAMAGED]


def _by_code(command: Command, text: str | None, exit_code: int | None) -> str:
    """Return what an exit code says where the text says nothing; silence counts only for tools known to be silent."""
    if exit_code is None or exit_code in resources.load("checks")["not_run_codes"]:
        return "unknown"
    if exit_code:
        return "error"
    speaks = command.speaks or (text is not None and not text.strip() and not command.silent)
    return "unknown" if speaks else "ok"


@cache
def _compiled(patterns: tuple[str, ...]) -> list[re.Pattern[str]]:
    return [re.compile(pattern, re.IGNORECASE | re.MULTILINE) for pattern in patterns]
