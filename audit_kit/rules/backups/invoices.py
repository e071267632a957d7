"""BK01 to BK04: invoices that no backup would bring back, or only unverified, differing or single ones."""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl

from audit_kit.rules.backups import due
from audit_kit.rules.backups.backup_findings import facts, together
from audit_kit.rules.backups.coverage import LISTED, NOWHERE, RESTORABLE, VERIFIED

if TYPE_CHECKING:
    from audit_kit.rules.backups.state import State

MOST_EXAMPLES = 5
BY_MONTH = {
    "month": pl.String(),
    "role": pl.String(),
    "covered": pl.UInt32(),
    "unverified": pl.UInt32(),
    "uncovered": pl.UInt32(),
}


def unverified(state: State) -> pl.DataFrame:
    """BK01: invoices of which a file is only in backups that no check covered, or that cannot be restored."""
    level = pl.col("level")
    return together(
        _weakest(state, level == RESTORABLE),
        _weakest(state, level == LISTED, variant="listed"),
        _by_number(state, level < VERIFIED),
    )


def nowhere(state: State) -> pl.DataFrame:
    """BK02: invoices of which a file is in no backup; as unknown, how many there is nothing to compare of."""
    if state.runs.is_empty():
        return facts()
    numbers = state.coverage.numbers
    if not state.coverage.is_comparable:
        unknown = {"about": ["unknown"], "variant": "unknown", "state": "unknown", "count": len(state.bare)}
        return facts([unknown]) if numbers.is_empty() else _by_number(state, pl.col("level").is_null())
    unseen = state.bare.filter(~state.bare.is_in(numbers["invoice_key"].implode()))
    some = {"about": ["no file"], "variant": "no_file", "state": "unknown", "count": len(unseen)}
    told = facts([{**some, "keys": unseen.head(MOST_EXAMPLES).to_list()}] if len(unseen) else ())
    return together(told, _weakest(state, pl.col("level") == NOWHERE))


def _weakest(state: State, wanted: pl.Expr, *, variant: str | None = None) -> pl.DataFrame:
    """Return invoices with the first of their files that reaches the least, and the last backup that lists it.

    One whose content is nowhere because it differs is told once, as BK03.
    """
    coverage = state.coverage
    if state.runs.is_empty() or not coverage.is_comparable:
        return facts()
    at = pl.Series("repo", range(len(coverage.repositories)), dtype=pl.UInt32)
    places = pl.DataFrame({"repo": at, "repo_id": coverage.repositories})
    rows = (
        coverage.weak.filter(wanted & (pl.col("level") < VERIFIED))
        .filter(~(pl.col("differs") & (pl.col("level") == NOWHERE)))
        .join(coverage.file_levels.select("file", "path", "sha256", "last_ord", "repo"), on="file", how="left")
        .join(places, on="repo", how="left")
        .join(_names(state), on=["repo_id", "last_ord"], how="left")
        .select("file", "invoice_key", "path", "sha256", "backup", repo="repo_id", variant=pl.lit(variant, pl.String))
        .sort("invoice_key")
    )
    return _sourced(state, rows)


def _names(state: State) -> pl.DataFrame:
    return state.runs.select("repo_id", last_ord="ord", backup="short")


def _sourced(state: State, rows: pl.DataFrame) -> pl.DataFrame:
    """Replace `file` by where the archive's file was read."""
    told = state.world.invoice_files
    return rows.with_columns(told[name].gather(rows["file"]) for name in ("source_file", "source_row")).drop("file")


def differing(state: State) -> pl.DataFrame:
    """BK03: the first file with another content of every invoice that has one."""
    coverage = state.coverage
    if state.runs.is_empty() or not coverage.is_comparable:
        return facts()
    own = coverage.files.select("file", "invoice_key", "path", "sha256", "size", "mtime").drop_nulls("invoice_key")
    found = [
        held.differing.select("file", "last_ord", other_hash="hash", other_size="size", repo_id=pl.lit(held.repo_id))
        .join(own, on="file")
        .join(_names(state), on=["repo_id", "last_ord"], how="left")
        for held in coverage.held
    ]
    rows = pl.concat(found).sort("file", maintain_order=True).unique("invoice_key", keep="first", maintain_order=True)
    hashed = pl.col("other_hash").is_not_null() & pl.col("sha256").is_not_null()
    variant = pl.when(~hashed).then(pl.lit("size"))
    return _sourced(state, rows.rename({"repo_id": "repo"}).with_columns(variant=variant))


def few_copies(state: State) -> pl.DataFrame:
    """BK04: invoices that some repository holds whole, but fewer than policy asks, though a further copy was due.

    All of them, where too few repositories are listed.
    """
    coverage, wanted = state.coverage, state.policy.copies
    there = len(coverage.repositories)
    if state.runs.is_empty() or not coverage.is_comparable:
        return facts()
    if there < wanted:
        count = coverage.file_levels.filter((pl.col("level") > LISTED) & pl.col("required")).height
        fails = state.runs.filter(~pl.col("gone"))["repo_id"].n_unique() < wanted
        known = {"count": count, "repos": coverage.repositories, "wanted": wanted}
        verdict = {"variant": "all", "state": "fails" if fails else "unknown"}
        return facts([{"about": ["all"], **verdict, **known}] if count else ())
    lacking = pl.concat(
        [
            keys.to_frame().with_columns(repo=pl.lit(repo))
            for repo, keys in zip(coverage.repositories, coverage.lacking, strict=True)
        ]
    )
    few = (
        lacking.group_by("invoice_key")
        .agg(pl.col("repo"))
        .with_columns(copies=there - pl.col("repo").list.len().cast(pl.Int64))
        .filter(pl.col("copies").is_between(1, wanted - 1))
        .sort("invoice_key")
    )
    has = [pl.when(~pl.col("repo").list.contains(repo)).then(pl.lit(repo)) for repo in coverage.repositories]
    few = few.with_columns(repos=pl.concat_list(has).list.drop_nulls().list.join("、"), wanted=pl.lit(wanted))
    return _by_standing(state, few) if few.height else facts()


def _by_standing(state: State, few: pl.DataFrame) -> pl.DataFrame:
    """Leave out the invoices of which no further copy is due yet; where nothing tells, they are one unknown."""
    standings = due.standings(state, few.select("invoice_key", "repo").explode("repo"))
    standings = standings.group_by("invoice_key").agg(
        due=(pl.col("standing") == due.DUE).any(), where=pl.col("repo").filter(pl.col("standing") == due.UNKNOWN)
    )
    few = few.join(standings, on="invoice_key", how="left", maintain_order="left")
    fails = few.filter(pl.col("due").fill_null(value=True)).select("invoice_key", "copies", "wanted", "repos")
    unknown = few.filter(~pl.col("due") & (pl.col("where").list.len() > 0))
    if unknown.is_empty():
        return fails
    known = {"count": unknown.height, "keys": unknown["invoice_key"].head(MOST_EXAMPLES).to_list()}
    where = "、".join(unknown["where"].explode().drop_nulls().unique().sort())
    about = {"about": ["not due"], "variant": "unknown", "state": "unknown", "repos": where}
    return together(fails, facts([{**about, **known}]))


def _by_number(state: State, wanted: pl.Expr) -> pl.DataFrame:
    """Judge invoices by the numbers in listed names, where the archive has no file to compare."""
    numbers = state.coverage.numbers
    if state.runs.is_empty() or numbers.is_empty():
        return facts()
    seen = numbers.group_by("invoice_key").agg(pl.col("level").max())
    levels = state.bare.to_frame("invoice_key").join(seen, on="invoice_key", how="left")
    return levels.filter(wanted).select("invoice_key", variant=pl.lit("by_number")).sort("invoice_key")


def by_month(state: State) -> pl.DataFrame:
    """Return `month`, `role`, and how many files are covered (verified), unverified and uncovered.

    The month is that of the invoice's issue, in the file or in the ledger; null where neither knows.
    """
    files = state.coverage.file_levels.select("role", "level", "issued_at", "invoice_key")
    if files["issued_at"].null_count():
        issued = state.ledger.unique("invoice_key", keep="first").drop_nulls("invoice_key")
        files = files.join(issued.select("invoice_key", booked="issued_at"), on="invoice_key", how="left")
        files = files.with_columns(pl.coalesce("issued_at", "booked"))
    level = pl.col("level")
    return (
        files.group_by(pl.col("issued_at").dt.truncate("1mo").alias("month"), "role")
        .agg(
            covered=(level == VERIFIED).sum(),
            unverified=level.is_between(LISTED, VERIFIED, closed="left").sum(),
            uncovered=(level == NOWHERE).sum(),
        )
        .with_columns(pl.col("month").dt.strftime("%Y-%m"))
        .select(list(BY_MONTH))
        .cast(BY_MONTH)  # type: ignore[arg-type]
        .sort("month", "role", nulls_last=True)
    )


CAUSES = {"BK01": unverified, "BK02": nowhere, "BK03": differing, "BK04": few_copies}
