"""The register of the months: of each report what the list and the trend say of it, so that no other manifest is read.

It follows from the manifests and the history of findings alone: a line whose manifest has changed is read again, one
whose report is gone falls out, and a register that cannot be read is made anew.
"""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import polars as pl

from audit_kit.analysis import findings_history
from audit_kit.core import outputs
from audit_kit.core.errors import RequestError
from audit_kit.report import manifest
from audit_kit.rules.history import histories

if TYPE_CHECKING:
    from pathlib import Path

LINES, CAUSES = "months.json", "causes.parquet"
CAUSE = {
    "month": pl.String(),
    "area": pl.String(),
    "cause": pl.String(),
    "own_rows": pl.Int64(),
    "own_yuan": pl.Decimal(18, 2),
    "own_square": pl.Int64(),
}
_VERSION = 1
_MONTH = re.compile(r"[12]\d{3}-\d{2}")
_KEPT = ("month", "engagement", "started_at", "taken_at", "previous")
_FIGURES = ("ledger", "missing", "severities", "changes")
_TOLD = ("ages", "settled", "actions")
_SEEN = ("month", "taken_at", "item", "seen", "amount")


@dataclass(frozen=True)
class Register:
    """A line for each report, the newest month first, and the causes of each month: see `CAUSE`, histories.causes."""

    lines: list[dict[str, Any]]
    causes: pl.DataFrame

    @property
    def months(self) -> list[dict[str, Any]]:
        """The lines of reports on one month."""
        return [line for line in self.lines if _MONTH.fullmatch(str(line["month"]))]


def read(out: Path) -> Register:
    """Return the register of a folder of reports as the manifests there have it; nothing is written."""
    kept = _kept(out)
    known = {str(line["month"]): line for line in kept.lines}
    lines, causes, changed = [], [], set[str]()
    for path in manifest.all_in(out):
        about, name = os.stat(path), path.parent.name  # noqa: PTH116  a thousand of them
        stamp = [about.st_size, about.st_mtime_ns]
        line = known.get(name)
        if line is None or line["stamp"] != stamp:
            made = manifest.read(path)
            if made is None or "summary" not in made:
                continue
            line = {**_line(made), "stamp": stamp}
            changed.add(name)
            causes += _causes(made)
        lines.append(line)
    names = pl.Series([str(line["month"]) for line in lines if line["month"] not in changed], dtype=pl.String)
    same = kept.causes.filter(pl.col("month").is_in(names.implode()))
    fresh = pl.DataFrame(causes, schema=dict.fromkeys(CAUSE, pl.String), orient="row").cast(CAUSE)  # type: ignore[arg-type]
    return Register(
        sorted(lines, key=lambda line: str(line["month"]), reverse=True),
        pl.concat([same, fresh]).sort("month", "area", "cause"),
    )


def renew(out: Path, month: str) -> Register:
    """Bring the register up to date after a month was published, and return it.

    What changed is counted anew for that month and every later one, and from the first month that has no count yet.
    """
    found = read(out)
    since = min([str(line["month"]) for line in found.months if "fates" not in line] + [month])
    if _MONTH.fullmatch(since):
        counted = _counted(out, since)
        for line in found.months:
            if line["month"] >= since:
                line["fates"] = counted.get(line["month"], {})
    folder = out / findings_history.FOLDER
    folder.mkdir(exist_ok=True)
    with outputs.writing(folder / CAUSES) as made:
        outputs.write_parquet(found.causes, made)
    with outputs.writing(folder / LINES) as made:
        kept = {"version": _VERSION, "lines": found.lines}
        # Without an indent the whole is written in C, which at a thousand months is twenty times as fast.
        made.write_text(json.dumps(kept, ensure_ascii=False, default=str), encoding="utf-8")
    return found


def check_owner(out: Path, owner: manifest.Owner) -> None:
    """Refuse a folder with the reports of another engagement.

    Raises:
        RequestError: it has some.
    """
    for line in read(out).lines:
        if not manifest.belongs(line, owner):
            raise RequestError("error_report.other_owner", out=out, owner=line["engagement"]["name"])


def _kept(out: Path) -> Register:
    """Return the register as it was kept; without a line where it cannot be read."""
    folder = out / findings_history.FOLDER
    try:
        said = json.loads((folder / LINES).read_text(encoding="utf-8"))
        causes = pl.read_parquet(folder / CAUSES, glob=False).select(*CAUSE).cast(CAUSE)  # type: ignore[arg-type]
        lines = [line for line in said["lines"] if said["version"] == _VERSION and isinstance(line["stamp"], list)]
    except (OSError, ValueError, KeyError, TypeError, pl.exceptions.PolarsError):
        return Register([], pl.DataFrame(schema=CAUSE))
    return Register(lines, causes)


def _line(made: dict[str, Any]) -> dict[str, Any]:
    """Return what the register keeps of a manifest; of one from before there was a history, what it has."""
    told = made.get("history") or {}
    return {
        **{name: made.get(name) for name in _KEPT},
        "summary": {name: made["summary"].get(name) for name in _FIGURES},
        **{name: told.get(name, []) for name in _TOLD},
    }


def _causes(made: dict[str, Any]) -> list[tuple[str | None, ...]]:
    """Return the causes of a manifest as texts, in the order of `CAUSE`; an older one has no own rows apart."""
    told = (made.get("history") or {}).get("causes")
    if told is None:
        told = [
            {"area": one.get("area", "missing"), "cause": one["cause"], "own_rows": one["rows"]}
            | {"own_yuan": one["yuan"], "own_square": one["rows"]}
            for one in made["summary"].get("causes") or ()
        ]
    names = tuple(CAUSE)[1:]
    return [(str(made["month"]), *(_text(one.get(name)) for name in names)) for one in told]


def _text(value: object) -> str | None:
    return None if value is None else str(value)


def _counted(out: Path, since: str) -> dict[str, dict[str, Any]]:
    """Return for each month from one on, and each change, rows and yuan: see histories.monthly."""
    seen = findings_history.read(out, columns=_SEEN)
    touched = seen.filter(pl.col("month") >= since)["item"].unique()
    seen = seen.filter(pl.col("item").is_in(touched.implode()))
    counts = histories.monthly(seen, histories.fates(seen)).filter(pl.col("month") >= since)
    made: dict[str, dict[str, Any]] = {}
    for row in counts.iter_rows(named=True):
        made.setdefault(row["month"], {})[row["change"]] = {"rows": row["rows"], "yuan": row["yuan"]}
    return made
