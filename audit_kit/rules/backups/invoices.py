"""BK01 to BK04: invoices that no backup would bring back, or only unverified, differing or single ones."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import polars as pl

from audit_kit.rules.backups.coverage import LISTED, NOWHERE, RESTORABLE, VERIFIED

if TYPE_CHECKING:
    from collections.abc import Iterator

    from audit_kit.rules.backups.backup_findings import Words
    from audit_kit.rules.backups.coverage import Coverage
    from audit_kit.rules.backups.state import State

MOST_EXAMPLES = 5
BY_MONTH = {
    "month": pl.String(),
    "role": pl.String(),
    "covered": pl.UInt32(),
    "unverified": pl.UInt32(),
    "uncovered": pl.UInt32(),
}


def uncovered(state: State, coverage: Coverage, bare: pl.Series, words: Words) -> list[pl.DataFrame]:
    """BK01 to BK04, one finding an invoice.

    In no verified backup, in none at all, with another content, in fewer copies than policy asks. One whose content is
    nowhere because it differs is told once, as BK03. `bare`: the invoices that have no file in the archive.
    """
    if state.runs.is_empty():
        return []
    if coverage.files.is_empty() or not coverage.repositories:
        return _by_number(coverage, bare, words, complete=True)
    at = pl.Series("repo", range(len(coverage.repositories)), dtype=pl.UInt32)
    places = pl.DataFrame({"repo": at, "repo_id": coverage.repositories})
    names = state.runs.select("repo_id", last_ord="ord", backup="short")
    rows = (
        coverage.weak.filter((pl.col("level") < VERIFIED) & ~(pl.col("differs") & (pl.col("level") == NOWHERE)))
        .join(coverage.file_levels.select("file", "path", "sha256", "last_ord", "repo"), on="file", how="left")
        .join(places, on="repo", how="left")
        .join(names, on=["repo_id", "last_ord"], how="left")
        .select("file", "invoice_key", "level", "path", "sha256", "backup", key="invoice_key", repo="repo_id")
        .sort("invoice_key")
    )
    rows = _sourced(coverage, rows)
    return [
        words.of_invoices("BK01", rows.filter(pl.col("level") == RESTORABLE)),
        words.of_invoices("BK01", rows.filter(pl.col("level") == LISTED), variant="evidence_listed"),
        words.of_invoices("BK02", rows.filter(pl.col("level") == NOWHERE)),
        *_other_content(coverage, names, words),
        *_few_copies(state, coverage, words),
        *_by_number(coverage, bare, words, complete=False),
    ]


def _sourced(coverage: Coverage, rows: pl.DataFrame) -> pl.DataFrame:
    """Add where the archive's file was read."""
    told = coverage.state.world.invoice_files
    return rows.with_columns(told[name].gather(rows["file"]) for name in ("source_file", "source_row"))


def _other_content(coverage: Coverage, names: pl.DataFrame, words: Words) -> list[pl.DataFrame]:
    """Return BK03: the first file with another content of every invoice that has one."""
    own = coverage.files.select("file", "invoice_key", "path", "sha256", "size", "mtime").drop_nulls("invoice_key")
    found = [
        held.differing.select("file", "last_ord", other_hash="hash", other_size="size", repo_id=pl.lit(held.repo_id))
        .join(own, on="file")
        .join(names, on=["repo_id", "last_ord"], how="left")
        for held in coverage.held
    ]
    rows = (
        pl.concat(found)
        .sort("file", maintain_order=True)
        .unique("invoice_key", keep="first", maintain_order=True)
        .with_columns(pl.col("mtime").dt.strftime("%Y-%m-%d %H:%M"), key="invoice_key", repo="repo_id")
    )
    rows = _sourced(coverage, rows)
    hashed = pl.col("other_hash").is_not_null() & pl.col("sha256").is_not_null()
    return [
        words.of_invoices("BK03", rows.filter(hashed)),
        words.of_invoices("BK03", rows.filter(~hashed), variant="evidence_size"),
    ]


def _by_number(coverage: Coverage, keys: pl.Series, words: Words, *, complete: bool) -> list[pl.DataFrame]:
    """Judge invoices by the numbers in listed names, where the archive has no file to compare.

    Where there is no archive at all (`complete`), a number that is in no name is in no backup.
    """
    if coverage.numbers.is_empty():
        return []
    seen = coverage.numbers.group_by("invoice_key").agg(pl.col("level").max())
    levels = keys.to_frame("invoice_key").sort("invoice_key").join(seen, on="invoice_key", how="left")
    found = [words.of_invoices("BK01", _keyed(levels, pl.col("level") < VERIFIED), variant="evidence_by_number")]
    if complete:
        found.append(words.of_invoices("BK02", _keyed(levels, pl.col("level").is_null()), variant="evidence_by_number"))
    return found


def _keyed(levels: pl.DataFrame, wanted: pl.Expr) -> pl.DataFrame:
    return levels.filter(wanted).select("invoice_key", key="invoice_key")


def without_file(coverage: Coverage, ledger: pl.DataFrame) -> pl.Series:
    """Return the ledger's invoices that have no file in the archive, sorted."""
    booked = ledger.select("invoice_key").drop_nulls().unique()
    if booked.height and coverage.files.height:
        booked = booked.join(coverage.files.select("invoice_key"), on="invoice_key", how="anti")
    return booked["invoice_key"].sort()


def undecided(state: State, coverage: Coverage, bare: pl.Series, words: Words) -> Iterator[dict[str, Any]]:
    """BK02 as unknown, where there is nothing to compare; BK04 for all, where too few repositories have listings."""
    if state.runs.is_empty():
        return
    if coverage.files.is_empty() or not coverage.repositories:
        if coverage.numbers.is_empty():
            yield words.finding("BK02", "unknown", variant="evidence_unknown", state="unknown", count=len(bare))
        return
    nowhere = bare.filter(~bare.is_in(coverage.numbers["invoice_key"].implode()))
    if len(nowhere):
        yield words.finding(
            "BK02",
            "no file",
            variant="evidence_no_file",
            state="unknown",
            count=len(nowhere),
            keys=nowhere.head(MOST_EXAMPLES).to_list(),
        )
    wanted = state.world.policy.copies
    if len(coverage.repositories) < wanted:
        count = coverage.file_levels.filter((pl.col("level") > LISTED) & pl.col("required")).height
        known = state.runs.filter(~pl.col("gone"))["repo_id"].n_unique() < wanted
        if count:
            yield words.finding(
                "BK04",
                "all",
                variant="evidence_all",
                state="fails" if known else "unknown",
                count=count,
                repos=coverage.repositories,
                wanted=wanted,
            )


def _few_copies(state: State, coverage: Coverage, words: Words) -> list[pl.DataFrame]:
    """Return BK04: invoices that some repository holds whole, but fewer than policy asks."""
    wanted, there = state.world.policy.copies, len(coverage.repositories)
    if there < wanted:
        return []
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
    held = pl.concat_list(has).list.drop_nulls().list.join("、")
    rows = few.select("invoice_key", "copies", key="invoice_key", wanted=pl.lit(wanted), repos=held)
    return [words.of_invoices("BK04", rows)]


def by_month(coverage: Coverage, ledger: pl.DataFrame) -> pl.DataFrame:
    """Return `month`, `role`, and how many files are covered (verified), unverified and uncovered.

    The month is that of the invoice's issue, in the file or in the ledger; null where neither knows.
    """
    files = coverage.file_levels.select("role", "level", "issued_at", "invoice_key")
    if files["issued_at"].null_count():
        issued = ledger.unique("invoice_key", keep="first").drop_nulls("invoice_key")
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
