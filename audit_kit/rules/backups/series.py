"""BK07, BK08 and BK15 to BK18: what a run needs of others, and what it says of itself beside the runs before it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import polars as pl

from audit_kit.core.policy import SEGMENT_BYTES, WAL
from audit_kit.rules.backups import chains
from audit_kit.rules.backups.backup_findings import facts, first_of, of_runs, together
from audit_kit.rules.backups.schedule import WHOLE_KINDS
from audit_kit.rules.backups.tool_traits import tools_that

if TYPE_CHECKING:
    from collections.abc import Iterator

    from audit_kit.rules.backups.state import State


def broken_chains(state: State) -> pl.DataFrame:
    """BK07: a backup that others need is not there, failed, or the log positions leave a hole; one finding a fault."""
    short = {(repo, one): name for repo, one, name in state.runs.select("repo_id", "backup_id", "short").iter_rows()}
    rows = []
    for (repo, root), group in state.broken.sort("depth").group_by(["repo_id", "root"], maintain_order=True):
        names = [short.get((repo, one), one) for one in group["backup_id"]]
        known = {"root": short.get((repo, root), root), "fault": group["fault"][0], "first": names[0]}
        rows.append({"about": (repo, root), "repo": repo, **known, "count": len(names), "ids": names})
    return facts(rows)


def wal_gaps(state: State) -> pl.DataFrame:
    """BK08: WAL segments that must be there and are not; consecutive ones are one finding."""
    gaps = state.gaps.with_columns(
        spell=(pl.col("position") // SEGMENT_BYTES).diff().fill_null(1).ne(1).cum_sum().over("repo_id")
    )
    rows: list[dict[str, Any]] = []
    for (repo, _), group in gaps.group_by(["repo_id", "spell"], maintain_order=True):
        torn = chains.torn_by(group.drop("spell"), state.runs)["backup_id"].sort().to_list()
        names = group["segment"].to_list()
        known = {"repo": repo, "segment": names[0], "segments": names, "count": len(names), "ids": torn}
        rows.append({"about": [repo, *names], **known})
    listed = set(state.world.backup_listing.filter(pl.col("path_norm").str.starts_with(WAL))["repo_id"])
    archiving = state.runs.filter(pl.col("tool").is_in(tools_that("wal")))["repo_id"].unique().sort()
    unknown = {"variant": "unknown", "state": "unknown"}
    unlisted = ({"about": [repo], "repo": repo, **unknown} for repo in archiving if repo not in listed)
    return facts([*rows, *unlisted])


def shrinking(state: State) -> pl.DataFrame:
    """BK15: a run holds far fewer files or bytes than the largest before it, or nothing; several in a row are one."""
    comparable = pl.col("kind").is_in(WHOLE_KINDS)
    comparable |= pl.col("tool").is_in(tools_that("whole_sizes")).fill_null(value=False)
    runs = state.runs.filter(comparable & pl.col("status").is_in(["ok", "warning"]) & pl.col("whole"))
    return together(*(_shrunk(group, state.policy.shrink_share) for group in _series(runs)))


def _shrunk(group: pl.DataFrame, share: float) -> pl.DataFrame:
    """Return the runs of one series that are smaller than one before them, several in a row as one."""
    files, size = pl.col("files"), pl.col("bytes_source")
    most_files, most_bytes = files.cum_max().shift(1), size.cum_max().shift(1)
    small = (files < (1 - share) * most_files) | (size < (1 - share) * most_bytes) | (files == 0) | (size == 0)
    marked = group.with_columns(most_files=most_files, most_bytes=most_bytes, bad=small.fill_null(value=False))
    spells = marked.with_columns(spell=pl.col("bad").rle_id()).filter("bad")
    pairs = (("files", "most_files"), ("bytes_source", "most_bytes"))
    less = [pl.when(pl.col(most) > 0).then(1 - pl.col(held) / pl.col(most)) for held, most in pairs]
    return of_runs(
        first_of(spells, "spell"),
        ids=pl.col("ids"),
        files=files,
        most_files=pl.col("most_files"),
        bytes=size,
        most_bytes=pl.col("most_bytes"),
        percent=100 * pl.max_horizontal(less).fill_null(1.0),
        excludes=pl.col("excludes"),
    )


def _series(runs: pl.DataFrame) -> Iterator[pl.DataFrame]:
    """Yield the runs that back up the same thing, in order: one job, host and kind, with source folders in common."""
    for _, group in runs.sort("ord").group_by(["repo_id", "job", "source_host", "kind"], maintain_order=True):
        rows = group["source_paths"].to_list()
        lines: list[tuple[set[str], list[int]]] = []
        for at, paths in enumerate(rows):
            own = set(paths or [])
            line = next((line for line in lines if not own or not line[0] or line[0] & own), None)
            if line is None:
                lines.append((own, [at]))
            else:
                line[0].update(own)
                line[1].append(at)
        for _, members in lines:
            yield group[members]


def damaged(state: State) -> pl.DataFrame:
    """BK16: a backup that lies beside its manifest, or carries one, is cut short or differs from it."""
    bad = state.own_checks.filter(pl.col("result").cast(pl.String) == "error")
    name = pl.col("evidence_file").fill_null("None").str.extract(r"([^/]*)$")
    return of_runs(bad.with_columns(short="backup_id", data_time="performed_at"), name=name, faults=pl.col("damaged"))


def left_out(state: State) -> pl.DataFrame:
    """BK17: a run leaves out patterns, or a folder that policy expects or that the run before it had."""
    runs = state.runs.filter(~pl.col("gone"))
    excluding = runs.filter(pl.col("excludes").list.len() > 0).with_columns(
        pattern=pl.col("excludes").list.sort().list.join("、")
    )
    excluded = of_runs(
        first_of(excluding.sort("ord"), "repo_id", "pattern"),
        about=pl.concat_list("repo_id", pl.lit("excludes"), "pattern"),
        ids=pl.col("ids"),
        left_out=pl.col("excludes"),
    )
    lacking = [
        {
            "about": (row["repo_id"], row["backup_id"], *folders),
            "variant": "paths",
            "repo": row["repo_id"],
            "backup": row["short"],
            "ids": [row["short"]],
            "left_out": folders,
            "paths": row["source_paths"],
            "at": row["data_time"],
            "source_file": row["source_file"],
            "source_row": row["source_row"],
        }
        for row, folders in _missing_folders(state, runs)
    ]
    return together(excluded, facts(lacking))


def _missing_folders(state: State, runs: pl.DataFrame) -> Iterator[tuple[dict[str, Any], list[str]]]:
    """Yield runs, of those that say what they back up, and the folders they lack.

    Expected is what policy names, if the run's own series has it in another run or no run of any has it; without a
    policy, what the run before had.
    """
    expected = state.policy.paths
    known = runs.filter(pl.col("source_paths").list.len() > 0)
    nobody = [
        folder for folder in expected if not any(_holds(paths, folder) for paths in known["source_paths"].to_list())
    ]
    for group in _series(known):
        rows = group.to_dicts()
        here = [folder for folder in expected if any(_holds(row["source_paths"], folder) for row in rows)]
        before: list[str] = []
        for row in rows:
            lacking = [folder for folder in (*here, *nobody) if not _holds(row["source_paths"], folder)]
            if not expected:
                lacking = [folder for folder in before if folder not in row["source_paths"]]
            before = row["source_paths"]
            if lacking:
                yield row, lacking


def _holds(paths: list[str], folder: str) -> bool:
    """Tell whether a folder is among source folders, compared by its end, or lies in one of them."""
    wanted = _parts(folder)
    for path in paths:
        held = _parts(path)
        shorter = min(len(wanted), len(held))
        if shorter and held[-shorter:] == wanted[-shorter:]:
            return True
        if held and wanted[: len(held)] == held:
            return True
    return False


def _parts(path: str) -> list[str]:
    return [part for part in path.replace("\\", "/").split("/") if part not in ("", ".")]


def warnings(state: State) -> pl.DataFrame:
    """BK18: a run ended with warnings, which its tool counts as success."""
    return of_runs(state.runs.filter(pl.col("status") == "warning"), at=pl.col("start"), raw=pl.col("raw_status"))


CAUSES = {
    "BK07": broken_chains,
    "BK08": wal_gaps,
    "BK15": shrinking,
    "BK16": damaged,
    "BK17": left_out,
    "BK18": warnings,
}
