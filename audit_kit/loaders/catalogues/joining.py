"""From what was found in each file to the tables of a whole: one row a backup, and the listing made sparse.

A backup may be told of by several files (catalogue, statistics, listing); they are joined by repository and id, a
beginning of the id being enough where only one has it. What one file leaves out, another fills in.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import polars as pl

from audit_kit.core import schema
from audit_kit.core.policy import LEAST_LETTERS
from audit_kit.loaders.catalogues.found import LISTED, Content

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

KEY = ["repo_id", *LISTED]


def rows_of(table: str, rows: Iterable[dict[str, Any]]) -> pl.DataFrame:
    """Return rows by canonical column as a frame of the table."""
    dtypes = schema.dtypes(table)
    plain = {name: pl.String() if isinstance(dtype, pl.Enum) else dtype for name, dtype in dtypes.items()}
    complete = [{name: row.get(name) for name in dtypes} for row in rows]
    return pl.DataFrame(complete, schema=plain, orient="row").cast(dtypes)  # type: ignore[arg-type]


class Catalogue:
    """All backups that are known, by repository and id."""

    def __init__(self, canonical: pl.DataFrame) -> None:
        """Begin with the ids of backups that canonical tables name."""
        self.rows: dict[tuple[str, str], dict[str, Any]] = {}
        self._canonical = {
            (row["repo_id"], row["backup_id"]) for row in canonical.select("repo_id", "backup_id").to_dicts()
        }

    def resolve(self, repo_id: str, backup_id: str) -> str | None:
        """Return the full id of a backup, of which a beginning is enough; null where none or several have it."""
        known = {one for repo, one in (*self.rows, *self._canonical) if repo == repo_id}
        if backup_id in known:
            return backup_id
        hits = [one for one in known if one.startswith(backup_id)] if len(backup_id) >= LEAST_LETTERS else []
        return hits[0] if len(hits) == 1 else None

    def add(self, row: dict[str, Any]) -> None:
        """Add a backup, or to one that is known what is still unknown of it."""
        key = (row["repo_id"], row["backup_id"])
        if (known := self.rows.get(key)) is None:
            self.rows[key] = row
            return
        for name, value in row.items():
            if known[name] is None or known[name] == []:
                known[name] = value

    def tell(self, row: dict[str, Any]) -> None:
        """Fill in what is told of a whole repository for each of its backups."""
        told = {name: row[name] for name in ("tool", "encrypted", "enc_method", "location")}
        for (repo_id, _), known in self.rows.items():
            if repo_id == row["repo_id"]:
                known.update({name: value for name, value in told.items() if known[name] is None})

    def place(self, content: Content) -> Content:
        """Return a content under the full id of its backup; a backup that no catalogue names becomes known by it."""
        if content.backup_id is None:
            return content
        own = content.backup
        resolved = self.resolve(content.repo_id, content.backup_id)
        if resolved is None:
            resolved = content.backup_id
            if own is not None:
                self.add(own)
        if (known := self.rows.get((content.repo_id, resolved))) is not None:
            size = content.files["size"].sum() if content.files["size"].null_count() == 0 else None
            known["files"] = content.files.height if known["files"] is None else known["files"]
            known["bytes_source"] = size if known["bytes_source"] is None else known["bytes_source"]
        return replace(content, backup_id=resolved)


def collect(
    rows: Sequence[dict[str, Any]], contents: Sequence[Content], canonical: pl.DataFrame
) -> tuple[pl.DataFrame, list[Content]]:
    """Return table backups, and the contents under the ids of their backups.

    Args:
        rows: what catalogues and statistics say, in reading order; statistics may give the beginning of an id.
        contents: the listed files.
        canonical: backups read from canonical tables; their ids are known too.
    """
    catalogue = Catalogue(canonical)
    whole = [row for row in rows if row["tool"] is not None and row["backup_id"] is not None]
    for row in whole:
        catalogue.add(row)
    for row in rows:
        if row["tool"] is None and row["backup_id"] and (full := catalogue.resolve(row["repo_id"], row["backup_id"])):
            catalogue.add(row | {"backup_id": full})
    placed = [catalogue.place(content) for content in contents]
    for row in rows:
        if row["backup_id"] is None:
            catalogue.tell(row)
    return rows_of("backups", catalogue.rows.values()), placed


def sparse(contents: Sequence[Content], backups: pl.DataFrame) -> pl.DataFrame:
    """Return table backup_listing: each file once for every unbroken run of backups that hold it.

    The ordinal is the 0-based order within the repository by `data_time`, then `backup_id`. Files of no backup in
    particular have none.
    """
    if not contents:
        return schema.empty("backup_listing")
    ordered = backups.select("repo_id", "backup_id", "data_time").sort(
        "repo_id", "data_time", "backup_id", nulls_last=True
    )
    ordinals = ordered.select("repo_id", "backup_id", ord=pl.int_range(pl.len(), dtype=pl.Int64).over("repo_id"))
    known = {(row["repo_id"], row["backup_id"]): row["ord"] for row in ordinals.to_dicts()}
    held = pl.concat(
        content.files.select(
            pl.lit(content.repo_id).alias("repo_id"),
            *LISTED,
            ord=pl.lit(known.get((content.repo_id, content.backup_id or "")), pl.Int64),
            source_file=pl.lit(content.origin.name),
        )
        for content in contents
    )
    runs = (
        held.unique([*KEY, "ord"], keep="first")
        .sort([*KEY, "ord"])
        .with_columns(run=pl.col("ord") - pl.int_range(pl.len(), dtype=pl.Int64).over(KEY))
        .group_by([*KEY, "run"], maintain_order=True)
        .agg(pl.col("source_file").first(), first_ord=pl.col("ord").min(), last_ord=pl.col("ord").max())
    )
    dtypes = schema.dtypes("backup_listing")
    return runs.with_columns(source_row=pl.lit(None, pl.UInt32)).select(list(dtypes)).cast(dtypes)  # type: ignore[arg-type]
