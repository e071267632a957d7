"""Job lists of backup products as csv, or as the tables that bconsole draws, by the presets of `catalogues.toml`.

A list may hold verify and restore jobs beside the backups; those are proofs, and are returned as checks.
"""

from __future__ import annotations

import csv
import io
import re
from datetime import datetime
from typing import TYPE_CHECKING, Any

from audit_kit.loaders.catalogues.found import Found, Origin, backup, moment
from audit_kit.loaders.catalogues.tools import tools

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

BORDER = re.compile(r"^\+[-+]+\+$")
WRITTEN = ("%m/%d/%Y %I:%M:%S %p", "%m/%d/%Y %H:%M:%S", "%m/%d/%Y %H:%M", "%Y-%m-%d %H:%M", "%Y.%m.%d %H:%M:%S")
SECONDS = re.compile(r"^\d{9,10}$")


def rows_of(text: str) -> list[tuple[int, dict[str, str]]]:
    """Return physical row and cells by folded header, of a csv or of a table drawn with `|` and `+`."""
    lines = text.splitlines()
    drawn = [(number, line) for number, line in enumerate(lines, 1) if line.startswith("|")]
    if drawn and any(BORDER.match(line) for line in lines):
        cells = [(number, [cell.strip() for cell in line.strip("|").split("|")]) for number, line in drawn]
    else:
        skipped = 1 if lines and lines[0].startswith("#TYPE") else 0
        sample = lines[skipped] if len(lines) > skipped else ""
        delimiter = max(",;\t", key=sample.count)
        reader = csv.reader(io.StringIO("\n".join(lines[skipped:])), delimiter=delimiter)
        cells = [(reader.line_num + skipped, [cell.strip() for cell in row]) for row in reader if any(row)]
    if not cells:
        return []
    headers = [_folded(cell) for cell in cells[0][1]]
    return [(number, dict(zip(headers, row, strict=False))) for number, row in cells[1:] if row != cells[0][1]]


def _folded(word: str) -> str:
    return re.sub(r"[\s_]+", "", word).lower()


def preset_of(headers: Sequence[str]) -> str | None:
    """Return the name of the preset whose headers are all there, or null."""
    told = ((tool.name, {_folded(need) for need in tool.jobs["needs"]}) for tool in tools().values() if tool.jobs)
    return next((name for name, needed in told if needed <= set(headers)), None)


def read_jobs(rows: Sequence[tuple[int, Mapping[str, str]]], name: str, origin: Origin) -> Found:
    """Return the jobs of a list by the preset `name`; a row without id or start is set aside."""
    preset = {"tool": name, **tools()[name].jobs}
    found = Found(rows_in=len(rows))
    for number, cells in rows:
        values = {
            ours: next((cells[key] for theirs in options if (key := _folded(theirs)) in cells and cells[key]), None)
            for ours, options in preset["columns"].items()
        }
        started = _time(values.get("started_at"), origin)
        if started is None:
            found.set_aside.append((number, "catalogue.no_start", str(values.get("started_at") or "")))
            continue
        row = _job(values, preset, origin, started, number)
        proof = preset.get("proofs", {}).get(values.get("proof") or "")
        if proof:
            found.checks += [_proof(row, proof, values)] if proof["level"] else []
        else:
            found.backups.append(row)
    if preset["chain"] == "bacula":
        _link(found.backups)
    return found


def _job(
    values: Mapping[str, str | None], preset: Mapping[str, Any], origin: Origin, started: datetime, number: int
) -> dict[str, Any]:
    word = values.get("status") or ""
    finished = _time(values.get("finished_at"), origin)
    return backup(
        origin,
        backup_id=values.get("backup_id") or f"{values.get('job') or origin.repo_id} {started:%Y-%m-%dT%H:%M:%S}",
        job=values.get("job") or origin.repo_id,
        tool=preset["tool"],
        source_host=values.get("source_host"),
        kind=preset["kinds"].get(values.get("kind") or "", "unknown"),
        chain_semantics="independent" if preset["chain"] == "independent" else "linked",
        data_time=started,
        started_at=started,
        finished_at=finished,
        time_source="epoch" if SECONDS.match(values.get("started_at") or "") else "naive_tz",
        source_tz=origin.tz,
        status=preset["statuses"].get(word, "unknown"),
        raw_status=word or None,
        files=_count(values.get("files")),
        bytes_source=_count(values.get("bytes_source")),
        bytes_stored=_count(values.get("bytes_stored")),
        line=number,
    )


def _proof(row: Mapping[str, Any], proof: Mapping[str, Any], values: Mapping[str, str | None]) -> dict[str, Any]:
    """Return a verify or restore job as a check of its repository."""
    result = {"ok": "ok", "warning": "error", "failed": "error"}.get(row["status"], "unknown")
    return {
        **{
            name: row[name]
            for name in ("source_file", "source_row", "repo_id", "evidence_file", "evidence_line", "evidence_sha256")
        },
        "performed_at": row["finished_at"] or row["started_at"],
        "level": proof["level"],
        "result": result,
        "errors": _count(values.get("errors")),
        "command": f"{row['tool']} {values.get('proof')} {row['job']}",
    }


def _link(rows: list[dict[str, Any]]) -> None:
    """Say what each job needs: an incremental the last good job before it, a differential the last good full."""
    last: dict[tuple[str, str | None], dict[str, str]] = {}
    for row in sorted(rows, key=lambda row: row["started_at"]):
        known = last.setdefault((row["job"], row["source_host"]), {})
        needed = {"incr": "any", "diff": "full"}.get(row["kind"])
        if needed and needed in known:
            row["parent_id"], row["needs_ids"] = known[needed], [known[needed]]
        if row["status"] in ("ok", "warning"):
            known["any"] = row["backup_id"]
            if row["kind"] == "full":
                known["full"] = row["backup_id"]


def _time(text: str | None, origin: Origin) -> datetime | None:
    if not text or text.startswith("0000"):
        return None
    if SECONDS.match(text):
        return moment(int(text), origin)
    for form in WRITTEN:
        try:
            return moment(datetime.strptime(text, form).isoformat(), origin)  # noqa: DTZ007 (moment asks for the zone)
        except ValueError:
            continue
    return moment(text, origin)


def _count(text: str | None) -> int | None:
    digits = re.sub(r"[,\s]", "", text or "")
    return int(float(digits)) if re.fullmatch(r"\d+(\.\d+)?", digits) else None
