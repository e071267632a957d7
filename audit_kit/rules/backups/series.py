"""BK15 to BK18 and BK20: what a run says of itself beside the runs before it."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import polars as pl

if TYPE_CHECKING:
    from collections.abc import Iterator

    from audit_kit.rules.backups.backup_findings import Words
    from audit_kit.rules.backups.state import State

CLOCK_MINUTES = 10
WHOLE_KINDS = ("full", "snapshot")
# These tell the size of the whole database also for their incremental backups.
WHOLE_TOOLS = ("pgbackrest",)
SETTABLE = "settable"


def shrinking(state: State, words: Words) -> Iterator[dict[str, Any]]:
    """BK15: a run holds far fewer files or bytes than the largest before it, or nothing; several in a row are one."""
    share = state.world.policy.shrink_share
    comparable = pl.col("kind").is_in(WHOLE_KINDS) | pl.col("tool").is_in(WHOLE_TOOLS).fill_null(value=False)
    runs = state.runs.filter(comparable & pl.col("status").is_in(["ok", "warning"]) & pl.col("whole"))
    for group in _series(runs):
        marked = group.with_columns(
            most_files=pl.col("files").cum_max().shift(1),
            most_bytes=pl.col("bytes_source").cum_max().shift(1),
        ).with_columns(
            fewer=(pl.col("files") < (1 - share) * pl.col("most_files")).fill_null(value=False),
            smaller=(pl.col("bytes_source") < (1 - share) * pl.col("most_bytes")).fill_null(value=False),
            empty=((pl.col("files") == 0) | (pl.col("bytes_source") == 0)).fill_null(value=False),
        )
        marked = marked.with_columns(bad=pl.col("fewer") | pl.col("smaller") | pl.col("empty"))
        for _, spell in (
            marked.with_columns(spell=pl.col("bad").rle_id()).filter("bad").group_by("spell", maintain_order=True)
        ):
            first = spell.row(0, named=True)
            drop = max(
                (
                    1 - first[held] / first[most]
                    for held, most in (("files", "most_files"), ("bytes_source", "most_bytes"))
                    if first[most] and first[held] is not None
                ),
                default=1.0,
            )
            yield words.finding(
                "BK15",
                first["repo_id"],
                first["backup_id"],
                repo=first["repo_id"],
                ids=spell["short"].to_list(),
                at=first["data_time"],
                files=first["files"],
                most_files=first["most_files"],
                bytes=first["bytes_source"],
                most_bytes=first["most_bytes"],
                percent=100 * drop,
                excludes=first["excludes"],
                source=(first["source_file"], first["source_row"]),
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


def damaged(state: State, words: Words) -> Iterator[dict[str, Any]]:
    """BK16: a backup that lies beside its manifest, or carries one, is cut short or differs from it."""
    for row in state.own_checks.filter(pl.col("result").cast(pl.String) == "error").to_dicts():
        yield words.finding(
            "BK16",
            row["repo_id"],
            row["backup_id"],
            name=str(row["evidence_file"]).rpartition("/")[2],
            repo=row["repo_id"],
            backup=row["backup_id"],
            faults=row["damaged"],
            source=(row["source_file"], row["source_row"]),
        )


def left_out(state: State, words: Words) -> Iterator[dict[str, Any]]:
    """BK17: a run leaves out patterns, or a folder that policy expects or that the run before it had."""
    runs = state.runs.filter(~pl.col("gone"))
    marked = runs.filter(pl.col("excludes").list.len() > 0).with_columns(
        pattern=pl.col("excludes").list.sort().list.join("、")
    )
    for (repo, pattern), group in marked.sort("ord").group_by(["repo_id", "pattern"], maintain_order=True):
        first = group.row(0, named=True)
        yield words.finding(
            "BK17",
            repo,
            "excludes",
            pattern,
            repo=repo,
            ids=group["short"].to_list(),
            left_out=first["excludes"],
            at=first["data_time"],
            source=(first["source_file"], first["source_row"]),
        )
    for row, folders in _missing_folders(state, runs):
        yield words.finding(
            "BK17",
            row["repo_id"],
            row["backup_id"],
            *folders,
            variant="evidence_paths",
            repo=row["repo_id"],
            ids=[row["short"]],
            left_out=folders,
            paths=row["source_paths"],
            at=row["data_time"],
            source=(row["source_file"], row["source_row"]),
        )


def _missing_folders(state: State, runs: pl.DataFrame) -> Iterator[tuple[dict[str, Any], list[str]]]:
    """Yield runs, of those that say what they back up, and the folders they lack.

    Expected is what policy names, if the run's own series has it in another run or no run of any has it; without a
    policy, what the run before had.
    """
    expected = state.world.policy.paths
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


def warnings(state: State, words: Words) -> Iterator[dict[str, Any]]:
    """BK18: a run ended with warnings, which its tool counts as success."""
    for row in state.runs.filter(pl.col("status") == "warning").to_dicts():
        yield words.finding(
            "BK18",
            row["repo_id"],
            row["backup_id"],
            repo=row["repo_id"],
            backup=row["short"],
            at=row["start"],
            raw=row["raw_status"],
            source=(row["source_file"], row["source_row"]),
        )


def clocks(state: State, words: Words) -> Iterator[dict[str, Any]]:
    """BK20: a run's time is not when it was made, is later than its own child's, or is that of another run."""
    # A database backup's time is its end, so only the start of tools whose time is their start can differ from it.
    runs = state.runs.filter(pl.col("data_time").is_not_null() & (pl.col("kind") != "copy"))
    apart = (pl.col("data_time") - pl.col("start")).abs()
    limit = timedelta(minutes=CLOCK_MINUTES)
    starting = (
        (pl.col("kind") == "snapshot")
        | (pl.col("data_time") < pl.col("start"))
        | (pl.col("data_time") > pl.col("finished_at") + limit)
    )
    moved = runs.filter((apart > limit) & starting)
    for row in moved.to_dicts():
        yield _clock(words, row, "evidence", severity="high", other=row["start"])
    told = set(moved["backup_id"])
    parents = runs.select("repo_id", parent_id="backup_id", parent_time="data_time", parent_short="short")
    for row in (
        runs.join(parents, on=["repo_id", "parent_id"])
        .filter(pl.col("parent_time") > pl.col("data_time") + limit)
        .to_dicts()
    ):
        if row["backup_id"] not in told:
            yield _clock(
                words, row, "evidence_parent", severity="high", other=row["parent_time"], parent=row["parent_short"]
            )
    paths = pl.col("source_paths").list.join("\n").fill_null("")
    twins = runs.with_columns(paths=paths).filter(
        pl.len().over("repo_id", "job", "source_host", "kind", "paths", "data_time") > 1
    )
    for (repo, _), group in twins.group_by(["repo_id", "data_time"], maintain_order=True):
        row = group.row(0, named=True)
        yield words.finding(
            "BK20",
            repo,
            "twins",
            row["data_time"],
            variant="evidence_twins",
            severity="medium",
            repo=repo,
            ids=group["short"].to_list(),
            at=row["data_time"],
            source=(row["source_file"], row["source_row"]),
        )


def _clock(words: Words, row: dict[str, Any], variant: str, *, severity: str, **more: Any) -> dict[str, Any]:  # noqa: ANN401
    return words.finding(
        "BK20",
        row["repo_id"],
        row["backup_id"],
        variant=variant,
        severity=severity,
        repo=row["repo_id"],
        ids=[row["short"]],
        at=row["data_time"],
        source=(row["source_file"], row["source_row"]),
        **more,
    )
