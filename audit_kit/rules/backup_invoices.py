"""BK01 to BK04: invoices that no backup would bring back, or only unverified, differing or single ones."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import polars as pl

from audit_kit.rules.coverage import LISTED, NOWHERE, VERIFIED

if TYPE_CHECKING:
    from collections.abc import Iterator

    from audit_kit.rules.backup_findings import Words
    from audit_kit.rules.backup_world import State
    from audit_kit.rules.coverage import Coverage

Names = dict[tuple[str | None, int | None], str]
MOST_EXAMPLES = 5
BY_MONTH = {
    "month": pl.String(),
    "role": pl.String(),
    "covered": pl.UInt32(),
    "unverified": pl.UInt32(),
    "uncovered": pl.UInt32(),
}


def uncovered(state: State, coverage: Coverage, ledger: pl.DataFrame, words: Words) -> Iterator[dict[str, Any]]:
    """BK01, BK02 and BK03: an invoice in no verified backup, in none at all, or only with another content."""
    if state.runs.is_empty():
        return
    booked = ledger["invoice_key"].drop_nulls().unique(maintain_order=True)
    if coverage.files.is_empty() or not coverage.repositories:
        yield from _by_number(coverage, booked, words)
        return
    yield from _without_file(coverage, booked, words)
    bad = coverage.invoices.filter((pl.col("level") < VERIFIED) | pl.col("differs"))
    rows = bad.join(coverage.file_levels.select("file", "path", "sha256", "last_ord", "repo"), on="file", how="left")
    differing = _differing(coverage)
    names = _names(state)
    for row in rows.sort("invoice_key").to_dicts():
        if row["differs"]:
            yield _other_content(words, row["invoice_key"], differing[row["invoice_key"]], names)
        # An invoice whose content is nowhere because it differs is told once.
        if row["level"] == VERIFIED or (row["differs"] and row["level"] == NOWHERE):
            continue
        repo = None if row["repo"] is None else coverage.held[row["repo"]].repo_id
        yield words.finding(
            "BK02" if row["level"] == NOWHERE else "BK01",
            invoice_key=row["invoice_key"],
            variant="evidence_listed" if row["level"] == LISTED else "evidence",
            key=row["invoice_key"],
            path=row["path"],
            sha256=row["sha256"],
            repo=repo,
            backup=names.get((repo, row["last_ord"])),
        )


def _differing(coverage: Coverage) -> dict[str, dict[str, Any]]:
    """Return the first file with another content of every invoice that has one, with what the repository holds."""
    found: dict[str, dict[str, Any]] = {}
    for held in coverage.held:
        theirs = held.differing.select(
            "file", "last_ord", theirs="path_norm", other_hash="hash", other_size="size", repo=pl.lit(held.repo_id)
        )
        own = coverage.files.select("file", "invoice_key", "path", "sha256", "size", "mtime")
        for row in theirs.join(own, on="file").drop_nulls("invoice_key").sort("file").to_dicts():
            found.setdefault(row["invoice_key"], row)
    return found


def _other_content(words: Words, key: str, row: dict[str, Any], names: Names) -> dict[str, Any]:
    return words.finding(
        "BK03",
        invoice_key=key,
        variant="evidence" if row["other_hash"] and row["sha256"] else "evidence_size",
        key=key,
        backup=names.get((row["repo"], row["last_ord"])),
        **{name: row[name] for name in ("path", "sha256", "size", "mtime", "repo", "other_hash", "other_size")},
    )


def _names(state: State) -> dict[tuple[str | None, int | None], str]:
    """Return the short id of every backup by repository and ordinal."""
    return {(repo, ord_): short for repo, ord_, short in state.runs.select("repo_id", "ord", "short").iter_rows()}


def _by_number(coverage: Coverage, booked: pl.Series, words: Words) -> Iterator[dict[str, Any]]:
    """Judge the ledger's invoices by the numbers in listed names, where no archive is there to compare."""
    seen = _levels_by_number(coverage)
    if not seen or booked.is_empty():
        yield words.finding("BK02", "unknown", variant="evidence_unknown", state="unknown", count=len(booked))
        return
    for key in booked:
        level = seen.get(key, NOWHERE)
        if level < VERIFIED:
            cause = "BK02" if level == NOWHERE else "BK01"
            yield words.finding(cause, invoice_key=key, variant="evidence_by_number", key=key)


def _without_file(coverage: Coverage, booked: pl.Series, words: Words) -> Iterator[dict[str, Any]]:
    """Judge the ledger's invoices that have no file in the archive: by number, or together as unknown."""
    filed = coverage.files["invoice_key"].drop_nulls().unique()
    bare = booked.filter(~booked.is_in(filed.implode()))
    seen = _levels_by_number(coverage) if len(bare) else {}
    nowhere = [key for key in bare if key not in seen]
    for key in bare:
        if LISTED <= seen.get(key, NOWHERE) < VERIFIED:
            yield words.finding("BK01", invoice_key=key, variant="evidence_by_number", key=key)
    if nowhere:
        yield words.finding(
            "BK02",
            "no file",
            variant="evidence_no_file",
            state="unknown",
            count=len(nowhere),
            keys=nowhere[:MOST_EXAMPLES],
        )


def _levels_by_number(coverage: Coverage) -> dict[str, int]:
    return dict(coverage.numbers.group_by("invoice_key").agg(pl.col("level").max()).iter_rows())


def one_copy(state: State, coverage: Coverage, words: Words) -> Iterator[dict[str, Any]]:
    """BK04: an invoice that fewer repositories hold than policy asks; or one for all of them."""
    wanted = state.world.policy.copies
    if coverage.files.is_empty() or not coverage.repositories or wanted < 2:  # noqa: PLR2004 (one copy is no copy more)
        return
    few = coverage.invoices.filter(
        (pl.col("level") > LISTED) & (pl.col("copies") < wanted) & (pl.col("copies") > 0)
    ).sort("invoice_key")
    if few.is_empty():
        return
    if len(coverage.repositories) < wanted:
        yield words.finding(
            "BK04", "all", variant="evidence_all", count=few.height, repos=coverage.repositories, wanted=wanted
        )
        return
    holders = _holders(coverage, few)
    for key, copies in few.select("invoice_key", "copies").iter_rows():
        yield words.finding("BK04", invoice_key=key, key=key, copies=copies, wanted=wanted, repos=holders.get(key, []))


def _holders(coverage: Coverage, invoices: pl.DataFrame) -> dict[str, list[str]]:
    """Return the repositories that hold a file of each invoice."""
    files = coverage.files.select("file", "invoice_key").join(
        invoices.select("invoice_key"), on="invoice_key", how="semi"
    )
    held: dict[str, list[str]] = {}
    for one in coverage.held:
        keys = files.join(one.files.filter(pl.col("level") > LISTED), on="file", how="semi")["invoice_key"].unique()
        for key in keys:
            held.setdefault(key, []).append(one.repo_id)
    return held


def by_month(coverage: Coverage, ledger: pl.DataFrame) -> pl.DataFrame:
    """Return `month`, `role`, and how many files are covered (verified), unverified and uncovered.

    The month is that of the invoice's issue, in the file or in the ledger; null where neither knows.
    """
    issued = (
        ledger.unique("invoice_key", keep="first").drop_nulls("invoice_key").select("invoice_key", booked="issued_at")
    )
    level = pl.col("level")
    return (
        coverage.file_levels.join(issued, on="invoice_key", how="left")
        .group_by(month=pl.coalesce("issued_at", "booked").dt.strftime("%Y-%m"), role="role")
        .agg(
            covered=(level == VERIFIED).sum(),
            unverified=level.is_between(LISTED, VERIFIED, closed="left").sum(),
            uncovered=(level == NOWHERE).sum(),
        )
        .select(list(BY_MONTH))
        .cast(BY_MONTH)  # type: ignore[arg-type]
        .sort("month", "role", nulls_last=True)
    )
