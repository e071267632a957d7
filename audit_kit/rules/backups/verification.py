"""BK10 to BK14: encryption, checks that were never made, too weak or failed, and restore tests, one repository each.

The evidence of one repository never names another.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import polars as pl

from audit_kit.rules.backups.coverage import numbered

if TYPE_CHECKING:
    from collections.abc import Iterator

    from audit_kit.rules.backups.backup_findings import Words
    from audit_kit.rules.backups.state import State

DATA_READ, COMPARED = 2, 3


def not_encrypted(state: State, words: Words) -> Iterator[dict[str, Any]]:
    """BK10: a repository whose backups are not encrypted, or of which nothing says so."""
    if not state.world.policy.encrypted:
        return
    for repo in state.repositories:
        runs = state.runs.filter((pl.col("repo_id") == repo) & ~pl.col("gone"))
        plain = runs.filter(pl.col("encrypted").eq(other=False))
        unsaid = runs.filter(pl.col("encrypted").is_null())
        if plain.height:
            yield words.finding(
                "BK10", repo, repo=repo, method=plain["enc_method"][0], count=plain.height, source=_source(plain)
            )
        elif unsaid.height:
            yield words.finding(
                "BK10",
                repo,
                variant="evidence_unknown",
                state="unknown",
                repo=repo,
                count=unsaid.height,
                source=_source(unsaid),
            )


def never_verified(state: State, words: Words) -> Iterator[dict[str, Any]]:
    """BK11 and BK12: a repository that no check of the data covered in time, or only checks of its structure ever.

    A restore test is no check of the repository: it has a finding of its own, BK14. Where the engagement has no checks
    at all, this is unknown.
    """
    policy, now = state.world.policy, state.world.taken_at
    oldest = now - timedelta(days=policy.verify_every_days)
    done = state.checks.filter(~pl.col("test"))
    for repo in _own_repositories(state):
        checks = done.filter((pl.col("repo_id") == repo) & pl.col("performed_at").is_not_null()).sort("performed_at")
        checks = checks.filter(pl.col("result") != "unknown")
        strong = checks.filter(pl.col("level") >= DATA_READ)
        known: dict[str, Any] = {"repo": repo, "days": policy.verify_every_days, "now": now}
        if strong.is_empty() and checks.filter(pl.col("level") == 1).height:
            last = checks.row(-1, named=True)
            yield words.finding(
                "BK12",
                repo,
                command=last["command"],
                at=last["performed_at"],
                source=(last["source_file"], last["source_row"]),
                **known,
            )
        elif strong.is_empty():
            absent = state.checks.is_empty()
            yield words.finding(
                "BK11",
                repo,
                variant="evidence_unknown" if absent else "evidence_never",
                state="unknown" if absent else "fails",
                source=_source(state.runs.filter(pl.col("repo_id") == repo)),
                **known,
            )
        elif strong["performed_at"][-1] < oldest:
            last = strong.row(-1, named=True)
            yield words.finding(
                "BK11",
                repo,
                at=last["performed_at"],
                level=last["level"],
                scope=100.0 if last["scope_pct"] is None else last["scope_pct"],
                source=(last["source_file"], last["source_row"]),
                **known,
            )


def failed(state: State, words: Words) -> Iterator[dict[str, Any]]:
    """BK13: a check or restore test found damage, and no later one as strong was good for the same backups."""
    checks = state.checks.sort("performed_at", nulls_last=True)
    for row in checks.filter(pl.col("result") == "error").to_dicts():
        repaired = checks.filter(
            (pl.col("repo_id") == row["repo_id"])
            & (pl.col("result") == "ok")
            & (pl.col("level") >= row["level"])
            & (pl.col("performed_at") > row["performed_at"])
            & (pl.col("backup_id").is_null() | pl.col("backup_id").eq_missing(row["backup_id"]))
        )
        if repaired.height:
            continue
        damaged = row["damaged"] or []
        invoices = pl.Series(damaged, dtype=pl.String).to_frame("name").select(numbered(pl.col("name"))).to_series()
        yield words.finding(
            "BK13",
            row["repo_id"],
            row["backup_id"],
            row["performed_at"],
            row["command"],
            repo=row["repo_id"],
            backup=_short(state, row["repo_id"], row["backup_id"]),
            at=row["performed_at"],
            command=row["command"],
            code=row["exit_code"],
            errors=row["errors"],
            damaged=damaged,
            invoices=invoices.drop_nulls().unique(maintain_order=True).to_list(),
            source=(row["source_file"], row["source_row"]),
        )


def _short(state: State, repo: str, backup_id: str | None) -> str | None:
    named = state.runs.filter((pl.col("repo_id") == repo) & pl.col("backup_id").eq_missing(backup_id))["short"]
    return named[0] if len(named) else backup_id


def never_restored(state: State, words: Words) -> Iterator[dict[str, Any]]:
    """BK14: a repository from which nothing was restored and compared within the policy's time.

    Where the engagement has no restore tests at all, this is unknown.
    """
    policy, now = state.world.policy, state.world.taken_at
    tests = state.checks.filter((pl.col("result") == "ok") & pl.col("performed_at").is_not_null())
    compared = pl.col("level") >= COMPARED
    if "compared_by" in tests.columns:
        compared |= pl.col("compared_by").cast(pl.String).is_in(["hash", "open"]).fill_null(value=False)
    for repo in _own_repositories(state):
        good = tests.filter((pl.col("repo_id") == repo) & compared).sort("performed_at")
        if good.height and good["performed_at"][-1] >= now - timedelta(days=policy.restore_test_every_days):
            continue
        absent = state.world.restore_tests.is_empty() and good.is_empty()
        yield words.finding(
            "BK14",
            repo,
            variant="evidence_unknown" if absent else ("evidence" if good.height else "evidence_never"),
            state="unknown" if absent else "fails",
            repo=repo,
            days=policy.restore_test_every_days,
            at=good["performed_at"][-1] if good.height else None,
            source=_source(state.runs.filter(pl.col("repo_id") == repo)),
        )


def _own_repositories(state: State) -> list[str]:
    """Return the repositories that backup runs fill; a store of which only a scan is known is not one."""
    held: list[str] = state.runs.filter(pl.col("kind") != "copy")["repo_id"].drop_nulls().unique().sort().to_list()
    return held


def _source(runs: pl.DataFrame) -> tuple[str | None, int | None]:
    return (runs["source_file"][0], runs["source_row"][0]) if runs.height else (None, None)
