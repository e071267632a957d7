"""BK10 to BK14: encryption, checks that were never made, too weak or failed, and restore tests, one repository each.

The evidence of one repository never names another.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import polars as pl

from audit_kit.core.policy import COMPARED, DATA_READ, WHOLE_PERCENT
from audit_kit.rules.backups.backup_findings import facts
from audit_kit.rules.backups.coverage import numbered

if TYPE_CHECKING:
    from collections.abc import Iterator

    from audit_kit.rules.backups.state import State


def not_encrypted(state: State) -> pl.DataFrame:
    """BK10: a repository whose backups are not encrypted, or of which nothing says so."""
    rows = []
    for repo in state.repositories if state.policy.encrypted else ():
        runs = state.runs.filter((pl.col("repo_id") == repo) & ~pl.col("gone"))
        plain = runs.filter(pl.col("encrypted").eq(other=False))
        unsaid = runs.filter(pl.col("encrypted").is_null())
        if plain.height:
            known = {"method": plain["enc_method"][0], "count": plain.height}
            rows.append({"about": [repo], "repo": repo, **known, **_source(plain)})
        elif unsaid.height:
            unknown = {"variant": "unknown", "state": "unknown", "count": unsaid.height}
            rows.append({"about": [repo], "repo": repo, **unknown, **_source(unsaid)})
    return facts(rows)


def never_verified(state: State) -> pl.DataFrame:
    """BK11: a repository whose data no check read in time, or ever; where there are no checks at all, unknown."""
    oldest = state.now - timedelta(days=state.policy.verify_every_days)
    rows = []
    for repo, checks, strong in _checked(state):
        known = {"about": [repo], "repo": repo, "days": state.policy.verify_every_days}
        if strong.is_empty() and not _is_weak(checks):
            absent = state.checks.is_empty()
            verdict = {"variant": "unknown", "state": "unknown"} if absent else {"variant": "never"}
            rows.append({**known, **verdict, **_source(state.runs.filter(pl.col("repo_id") == repo))})
        elif strong.height and strong["performed_at"][-1] < oldest:
            last = strong.row(-1, named=True)
            scope = WHOLE_PERCENT if last["scope_pct"] is None else last["scope_pct"]
            seen = {"at": last["performed_at"], "level": last["level"], "scope": scope}
            rows.append({**known, **seen, **_source(strong.tail(1))})
    return facts(rows)


def too_weak(state: State) -> pl.DataFrame:
    """BK12: a repository of which only the structure was ever checked."""
    rows = []
    for repo, checks, strong in _checked(state):
        if strong.is_empty() and _is_weak(checks):
            last = checks.row(-1, named=True)
            seen = {"command": last["command"], "at": last["performed_at"]}
            rows.append({"about": [repo], "repo": repo, **seen, **_source(checks.tail(1))})
    return facts(rows)


def _checked(state: State) -> Iterator[tuple[str, pl.DataFrame, pl.DataFrame]]:
    """Yield every repository with its checks that ended, in order, and those of them that read the data.

    A restore test is no check of the repository: it has a finding of its own, BK14.
    """
    ended = pl.col("performed_at").is_not_null() & (pl.col("result") != "unknown")
    done = state.checks.filter(~pl.col("test") & ended).sort("performed_at")
    for repo in _own_repositories(state):
        checks = done.filter(pl.col("repo_id") == repo)
        yield repo, checks, checks.filter(pl.col("level") >= DATA_READ)


def _is_weak(checks: pl.DataFrame) -> bool:
    return bool((checks["level"] == 1).any())


def failed(state: State) -> pl.DataFrame:
    """BK13: a check or restore test found damage, and no later one as strong was good for the same backups."""
    checks = state.checks.sort("performed_at", nulls_last=True)
    short = {(repo, one): name for repo, one, name in state.runs.select("repo_id", "backup_id", "short").iter_rows()}
    rows = []
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
        damaged = pl.Series("name", row["damaged"] or [], dtype=pl.String)
        invoices = damaged.to_frame().select(numbered(pl.col("name"))).to_series().drop_nulls()
        rows.append(
            {
                "about": (row["repo_id"], row["backup_id"], row["performed_at"], row["command"]),
                "repo": row["repo_id"],
                "backup": short.get((row["repo_id"], row["backup_id"]), row["backup_id"]),
                "at": row["performed_at"],
                "command": row["command"],
                "code": row["exit_code"],
                "errors": row["errors"],
                "damaged": damaged.to_list(),
                "invoices": invoices.unique(maintain_order=True).to_list(),
                "source_file": row["source_file"],
                "source_row": row["source_row"],
            }
        )
    return facts(rows)


def never_restored(state: State) -> pl.DataFrame:
    """BK14: a repository from which nothing was restored and compared within the policy's time.

    Where the engagement has no restore tests at all, this is unknown.
    """
    oldest = state.now - timedelta(days=state.policy.restore_test_every_days)
    tests = state.checks.filter((pl.col("result") == "ok") & pl.col("performed_at").is_not_null())
    compared = pl.col("level") >= COMPARED
    if "compared_by" in tests.columns:
        compared |= pl.col("compared_by").cast(pl.String).is_in(["hash", "open"]).fill_null(value=False)
    rows = []
    for repo in _own_repositories(state):
        good = tests.filter((pl.col("repo_id") == repo) & compared).sort("performed_at")
        last = good["performed_at"][-1] if good.height else None
        if last is not None and last >= oldest:
            continue
        verdict: dict[str, Any] = {"at": last} if good.height else {"variant": "never"}
        if state.world.restore_tests.is_empty() and good.is_empty():
            verdict = {"variant": "unknown", "state": "unknown"}
        known = {"about": [repo], "repo": repo, "days": state.policy.restore_test_every_days}
        rows.append({**known, **verdict, **_source(state.runs.filter(pl.col("repo_id") == repo))})
    return facts(rows)


def _own_repositories(state: State) -> list[str]:
    """Return the repositories that backup runs fill; a store of which only a scan is known is not one."""
    held: list[str] = state.runs.filter(pl.col("kind") != "copy")["repo_id"].drop_nulls().unique().sort().to_list()
    return held


def _source(rows: pl.DataFrame) -> dict[str, Any]:
    """Return where the first of some rows was read."""
    return rows.select("source_file", "source_row").row(0, named=True) if rows.height else {}


CAUSES = {
    "BK10": not_encrypted,
    "BK11": never_verified,
    "BK12": too_weak,
    "BK13": failed,
    "BK14": never_restored,
}
