"""What a backup needs to be restored, and whether it is there: parents by the tool's own meaning, log positions, WAL.

A parent of restic or borg is only a hint, so their backups stand alone. A linked backup needs all it names, or the
one before it; an LSN chain needs a backup that ended where this one begins.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import polars as pl

from audit_kit.core.policy import SEGMENT_BYTES, WAL

if TYPE_CHECKING:
    from collections.abc import Iterator

LINKED, LSN = "linked", "lsn"
PARTS = ("incr", "diff", "log")
NEEDED = (
    "repo_id",
    "backup_id",
    "kind",
    "status",
    "gone",
    "start",
    "chain_semantics",
    "parent_id",
    "needs_ids",
    "lsn_from",
    "lsn_to",
)
BROKEN = {
    "repo_id": pl.String(),
    "backup_id": pl.String(),
    "root": pl.String(),
    "fault": pl.String(),
    "depth": pl.UInt32(),
}
GAPS = {"repo_id": pl.String(), "segment": pl.String(), "position": pl.UInt64()}


def broken(runs: pl.DataFrame) -> pl.DataFrame:
    """Return `repo_id`, `backup_id`, `root`, `fault`, `depth`: every backup that cannot be restored, and why.

    `root` is the needed backup that is at fault, or the backup itself where its log positions fit nothing. `fault` is
    absent, failed, gone or lsn. `depth` counts the links between the two; 1 is the first broken link.
    """
    rows = []
    for _, group in runs.select(*NEEDED).group_by("repo_id", maintain_order=True):
        rows += list(_broken_in(group.to_dicts()))
    return pl.DataFrame(rows, schema=BROKEN, orient="row")


def _broken_in(rows: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Yield the broken backups of one repository, walking every chain once."""
    known = {row["backup_id"]: row for row in rows}
    ends: dict[int, list[dict[str, Any]]] = {}
    for row in rows:
        if row["lsn_to"] is not None:
            ends.setdefault(row["lsn_to"], []).append(row)
    needs = {row["backup_id"]: _needs(row, ends) for row in rows}
    verdicts: dict[str, tuple[str, str, int] | None] = {}
    for start in known:
        trail = [start]
        while trail:
            one = trail[-1]
            if one in verdicts:
                trail.pop()
                continue
            open_ = [need for need in needs[one] or () if need in known and need not in verdicts and need not in trail]
            if open_:
                trail.append(open_[0])
                continue
            verdicts[one] = _verdict(one, needs[one], known, verdicts)
            trail.pop()
    for one, verdict in verdicts.items():
        if verdict is not None:
            root, fault, depth = verdict
            yield {"repo_id": rows[0]["repo_id"], "backup_id": one, "root": root, "fault": fault, "depth": depth}


def _needs(row: dict[str, Any], ends: dict[int, list[dict[str, Any]]]) -> list[str] | None:
    """Return the ids a backup needs directly; null = an LSN chain whose beginning fits nothing."""
    semantics = str(row["chain_semantics"] or "")
    if semantics == LINKED:
        return row["needs_ids"] or ([row["parent_id"]] if row["parent_id"] else [])
    if semantics != LSN or not row["lsn_from"] or row["kind"] not in PARTS:
        return []
    # Two backups may end at one position; the later of those made before this one is its base.
    bases = [base for base in ends.get(row["lsn_from"], ()) if base is not row and _before(base, row)]
    return [max(bases, key=lambda base: str(base["start"]))["backup_id"]] if bases else None


def _before(base: dict[str, Any], row: dict[str, Any]) -> bool:
    return base["start"] is None or row["start"] is None or base["start"] <= row["start"]


def _verdict(
    one: str,
    needs: list[str] | None,
    known: dict[str, dict[str, Any]],
    verdicts: dict[str, tuple[str, str, int] | None],
) -> tuple[str, str, int] | None:
    if needs is None:
        return one, LSN, 1
    for need in needs:
        if need not in known:
            return need, "absent", 1
        if known[need]["gone"]:
            return need, "gone", 1
        if known[need]["status"] in ("failed", "running"):
            return need, "failed", 1
    for need in needs:
        if (deeper := verdicts.get(need)) is not None:
            return deeper[0], deeper[1], deeper[2] + 1
    return None


def wal_gaps(runs: pl.DataFrame, listing: pl.DataFrame) -> pl.DataFrame:
    """Return `repo_id`, `segment`, `position` (bytes): WAL segments that are not in the archive but must be.

    Every segment must be there from the start of the oldest backup to the last one archived, and to the end of the
    newest backup.
    """
    segments = listing.filter(pl.col("path_norm").str.starts_with(WAL) & pl.col("first_ord").is_null())
    rows: list[dict[str, Any]] = []
    for (repo,), group in segments.group_by(["repo_id"], maintain_order=True):
        names = sorted(name.removeprefix(WAL) for name in group["path_norm"])
        of_repo = runs.filter((pl.col("repo_id") == repo) & ~pl.col("gone"))
        rows += [{"repo_id": repo, **gap} for gap in _gaps(names, of_repo)]
    return pl.DataFrame(rows, schema=GAPS, orient="row")


def _gaps(names: list[str], runs: pl.DataFrame) -> Iterator[dict[str, Any]]:
    held = {number: name for name in names for number in [_number(name)]}
    if not held:
        return
    firsts, lasts = runs["lsn_from"].drop_nulls(), runs["lsn_to"].drop_nulls()
    first = min((value // SEGMENT_BYTES for value in firsts), default=min(held))
    # A backup that ends exactly where a segment begins needs the segment before it.
    last = max([max(held), *((max(value, 1) - 1) // SEGMENT_BYTES for value in lasts)])
    timeline = names[0][:8]
    for number in range(first, last + 1):
        if number in held:
            timeline = held[number][:8]
        else:
            segment = f"{timeline}{number >> 8:08X}{number & 0xFF:08X}"
            yield {"segment": segment, "position": number * SEGMENT_BYTES}


def _number(segment: str) -> int:
    """Return the running number of a segment of 16 MiB, timelines left aside."""
    return (int(segment[8:16], 16) << 8) + int(segment[16:24], 16)


def torn_by(gaps: pl.DataFrame, runs: pl.DataFrame) -> pl.DataFrame:
    """Return `repo_id`, `backup_id` of backups that cannot become consistent: a gap lies between their two ends."""
    end = pl.max_horizontal(pl.col("lsn_to"), pl.lit(1, pl.UInt64)) - 1
    first, last = pl.col("lsn_from") // SEGMENT_BYTES, end // SEGMENT_BYTES
    return (
        runs.join(gaps, on="repo_id")
        .filter((pl.col("position") // SEGMENT_BYTES).is_between(first, last))
        .select("repo_id", "backup_id")
        .unique()
    )
