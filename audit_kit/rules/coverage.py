"""Which invoices would really come back: every file of the archive against what every backup holds.

A listing is sparse: a file, and the first and last backup that hold it. With running totals of the restorable and the
verified backups of a repository, one subtraction tells whether a span has any, so files are never multiplied by
backups. Files are matched by SHA-256; where a listing has none, by the end of their path, size and, where both know
it, time, which is the weaker proof.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import polars as pl

from audit_kit.identity import with_key

if TYPE_CHECKING:
    from audit_kit.rules.backup_world import State

NOWHERE, LISTED, RESTORABLE, VERIFIED = range(4)
HASHED = ("sha256", "blob")
SAME_MOMENT = 2_000_000
LOST_TIMES_LEAST = 20
LOST_TIMES_SHARE = 0.9
NUMBER = r"(?:^|\D)(\d{20}|\d{18}|\d{10,12}[-_]\d{8})(?:\D|$)"
REQUIRED = ("xml", "ofd", "pdf", "xbrl")
BASE = r"[^/\\]+$"


@dataclass(frozen=True, eq=False)
class Held:
    """What one repository holds of the archive.

    `files`: `file` (position in the archive), `level`, `last_ord`, `by_hash`, one row a file that it holds.
    `differing`: `file`, `path_norm`, `hash`, `size`, `last_ord`: another content under the same path.
    `timeless`: the archive's times were lost in copying and had to be left aside.
    """

    repo_id: str
    files: pl.DataFrame
    differing: pl.DataFrame
    timeless: bool


class Coverage:
    """The archive's files and invoices against all repositories."""

    def __init__(self, state: State) -> None:
        """Match the archive's files against the listing of every repository."""
        self.state = state
        self.files = archive(state.world.invoice_files)
        listing = state.world.backup_listing.filter(pl.col("first_ord").is_not_null())
        self.repositories = listing["repo_id"].drop_nulls().unique().sort().to_list()
        self.held = [] if self.files.is_empty() else [self._held(repo, listing) for repo in self.repositories]

    def _held(self, repo: str, listing: pl.DataFrame) -> Held:
        rows = levels(self.state.runs, listing.filter(pl.col("repo_id") == repo), repo)
        by_hash, unmatched = _by_hash(self.files, rows)
        by_path, timeless = _by_path(self.files, unmatched)
        files = (
            pl.concat([by_hash, by_path])
            .group_by("file")
            .agg(pl.col("level").max(), pl.col("last_ord").max(), pl.col("by_hash").max())
        )
        made = self.state.runs.filter(pl.col("repo_id") == repo).select(last_ord="ord", made="data_time")
        differing = _differing(self.files, unmatched, files, made)
        return Held(repo, files, differing, timeless)

    @cached_property
    def numbers(self) -> pl.DataFrame:
        """Return `invoice_key`, `repo_id`, `level`, `last_ord` of the invoice numbers in listed names."""
        nothing = pl.DataFrame(
            schema={"invoice_key": pl.String, "repo_id": pl.String, "level": pl.UInt8, "last_ord": pl.UInt32}
        )
        listing = self.state.world.backup_listing.filter(pl.col("first_ord").is_not_null())
        found = [nothing]
        for repo in self.repositories:
            rows = levels(self.state.runs, listing.filter(pl.col("repo_id") == repo), repo)
            found.append(
                rows.select("level", "last_ord", invoice_key=numbered(pl.col("path_norm").str.extract(f"({BASE})")))
                .drop_nulls("invoice_key")
                .group_by("invoice_key")
                .agg(pl.col("level").max(), pl.col("last_ord").max())
                .select("invoice_key", pl.lit(repo).alias("repo_id"), "level", "last_ord")
            )
        return pl.concat(found)

    @cached_property
    def file_levels(self) -> pl.DataFrame:
        """Return the archive's files with `level`, `last_repo`, `last_ord`, `by_hash` of the best repository."""
        nothing = pl.DataFrame(
            schema={
                "file": pl.UInt32,
                "level": pl.UInt8,
                "last_ord": pl.UInt32,
                "by_hash": pl.Boolean,
                "repo": pl.UInt32,
            }
        )
        best = (
            pl.concat(
                [nothing, *(held.files.with_columns(repo=pl.lit(at, pl.UInt32)) for at, held in enumerate(self.held))]
            )
            .sort("level", "repo", descending=[True, False])
            .unique("file", keep="first", maintain_order=True)
        )
        return self.files.join(best, on="file", how="left", maintain_order="left").with_columns(
            pl.col("level").fill_null(NOWHERE)
        )

    @cached_property
    def invoices(self) -> pl.DataFrame:
        """Return `invoice_key`, `level` (the lowest of its files), `copies`, `file` (the first such), `differs`."""
        required = self.file_levels.filter(pl.col("invoice_key").is_not_null() & pl.col("required"))
        worst = required.group_by("invoice_key", maintain_order=True).agg(
            pl.col("level").min(),
            pl.col("file").sort_by("level", "file").first(),
            files=pl.len(),
        )
        whole = [
            required.select("file", "invoice_key")
            .join(held.files.filter(pl.col("level") >= RESTORABLE), on="file")
            .group_by("invoice_key")
            .len("held")
            for held in self.held
        ]
        copies = pl.concat([pl.DataFrame(schema={"invoice_key": pl.String, "held": pl.get_index_type()}), *whole]).join(
            worst.select("invoice_key", "files"), on="invoice_key"
        )
        full = copies.filter(pl.col("held") == pl.col("files")).group_by("invoice_key").len("copies")
        differing = pl.concat(
            [pl.DataFrame(schema={"file": pl.UInt32}), *(held.differing.select("file") for held in self.held)]
        )
        marked = required.join(differing.unique(), on="file", how="semi").select("invoice_key").unique()
        return (
            worst.join(full, on="invoice_key", how="left", maintain_order="left")
            .join(marked.with_columns(differs=pl.lit(value=True)), on="invoice_key", how="left", maintain_order="left")
            .with_columns(pl.col("copies").fill_null(0), pl.col("differs").fill_null(value=False))
        )


def archive(invoice_files: pl.DataFrame) -> pl.DataFrame:
    """Return the archive's files: `file`, `path`, `base`, `size`, `mtime`, `sha256`, `role`, `invoice_key`, `required`.

    An invoice's number is the one read from the file, else the digits in its name. Data-base dumps and the like are
    not required; a file without a role is.
    """
    keyed = with_key(invoice_files)
    mtime = pl.col("mtime") if "mtime" in keyed.columns else pl.lit(None, pl.Datetime("us"))
    if "mtime" in keyed.columns and keyed["mtime"].dtype == pl.String:
        mtime = pl.col("mtime").str.to_datetime(time_unit="us", strict=False)
    path = pl.col("path").str.replace_all("\\", "/", literal=True).str.normalize("NFC")
    return (
        keyed.select(
            path=path,
            base=path.str.extract(f"({BASE})"),
            size=pl.col("size"),
            mtime=mtime.cast(pl.Datetime("us")),
            sha256=pl.col("sha256").str.to_lowercase(),
            role=pl.col("role"),
            issued_at=pl.col("issued_at"),
            invoice_key=pl.col("invoice_key"),
        )
        .with_row_index("file")
        .with_columns(
            invoice_key=pl.coalesce("invoice_key", numbered(pl.col("base"))),
            required=pl.col("role").is_in(REQUIRED).fill_null(value=True),
        )
    )


def numbered(name: pl.Expr) -> pl.Expr:
    """Return the invoice number in a name: 20 digits, or code and number of an old invoice; else null."""
    return name.str.extract(NUMBER).str.replace_all(r"\D", "")


def levels(runs: pl.DataFrame, listing: pl.DataFrame, repo: str) -> pl.DataFrame:
    """Return the listing of one repository with `level`: the best of the backups between first and last."""
    own = runs.filter(pl.col("repo_id") == repo).sort("ord")
    count = own.height
    restorable, present = own["restorable"], ~own["gone"]
    kinds = (present, restorable, restorable & own["verified_at"].is_not_null())
    first = listing["first_ord"].clip(0, count)
    end = (listing["last_ord"].fill_null(0) + 1).clip(0, count)
    level = pl.Series("level", [0], dtype=pl.UInt8).new_from_index(0, listing.height)
    for holds in kinds:
        totals = pl.concat([pl.Series([0], dtype=pl.UInt32), holds.cast(pl.UInt32).cum_sum()])
        level += (totals.gather(end) > totals.gather(first)).cast(pl.UInt8)
    return (
        listing.select("path_norm", "size", "mtime", "hash", "hash_kind", "first_ord", "last_ord")
        .with_columns(level.alias("level"))
        .filter(pl.col("level") > NOWHERE)
    )


def _by_hash(files: pl.DataFrame, rows: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return the archive's files that a listing holds by hash, and the listing's rows that match none."""
    hashed = rows.with_row_index("row").filter(
        pl.col("hash").is_not_null() & pl.col("hash_kind").cast(pl.String).is_in(HASHED)
    )
    known = files.filter(pl.col("sha256").is_not_null()).select("file", "sha256", key=pl.col("sha256").hash())
    pairs = (
        hashed.select("row", "level", "last_ord", pl.col("hash"), key=pl.col("hash").hash())
        .join(known, on="key")
        .filter(pl.col("hash") == pl.col("sha256"))
    )
    matched = pairs.select("row").unique()
    unmatched = rows.with_row_index("row").join(matched, on="row", how="anti").drop("row")
    return pairs.select("file", "level", "last_ord", by_hash=pl.lit(value=True)), unmatched


def _by_path(files: pl.DataFrame, rows: pl.DataFrame) -> tuple[pl.DataFrame, bool]:
    """Return the archive's files that a listing without their hash holds by path and size; see `_same_path`.

    Where nearly no time agrees, the archive's own times were lost in copying; they are left aside then.
    """
    plain = rows.filter(
        pl.col("hash").is_null() | ~pl.col("hash_kind").cast(pl.String).is_in(("sha256",)).fill_null(value=False)
    )
    pairs = _same_path(plain, files).filter(pl.col("size") == pl.col("size_held"))
    also = _same_path(
        rows.filter(pl.col("hash_kind").cast(pl.String) == "sha256"), files.filter(pl.col("sha256").is_null())
    )
    pairs = pl.concat([pairs, also.filter(pl.col("size_held").is_null() | (pl.col("size") == pl.col("size_held")))])
    apart = (pl.col("mtime") - pl.col("mtime_held")).dt.total_microseconds().abs() > SAME_MOMENT
    timed = pairs.filter(pl.col("mtime").is_not_null() & pl.col("mtime_held").is_not_null())
    lost = timed.filter(apart)["file"].n_unique()
    timeless = timed.height >= LOST_TIMES_LEAST and lost >= LOST_TIMES_SHARE * timed["file"].n_unique()
    if not timeless:
        pairs = pairs.filter(~apart.fill_null(value=False))
    return pairs.select("file", "level", "last_ord", by_hash=pl.lit(value=False)), timeless


def _same_path(rows: pl.DataFrame, files: pl.DataFrame) -> pl.DataFrame:
    """Return pairs of a listed and an archived file whose paths end alike; the listing's columns end in `_held`.

    One path must be the end of the other; where a name is the only one of its kind in the archive, the name is enough.
    """
    held = rows.select(
        "path_norm",
        "level",
        "last_ord",
        base=pl.col("path_norm").str.extract(f"({BASE})"),
        size_held="size",
        mtime_held="mtime",
        hash_held="hash",
    )
    unique = (
        files.with_columns(alone=pl.len().over("base") == 1)
        if files.height
        else files.with_columns(alone=pl.lit(value=True))
    )
    ours, theirs = pl.lit("/") + pl.col("path"), pl.lit("/") + pl.col("path_norm")
    return held.join(unique, on="base").filter(
        pl.col("alone") | theirs.str.ends_with(ours) | ours.str.ends_with(theirs)
    )


def _differing(files: pl.DataFrame, unmatched: pl.DataFrame, held: pl.DataFrame, made: pl.DataFrame) -> pl.DataFrame:
    """Return the archive's files under whose path a backup made after their last change holds another content.

    By hash where both have one, else by size. Without a time of the archive's file, it counts only where the
    repository holds its content nowhere.
    """
    pairs = _same_path(unmatched, files.drop("issued_at")).join(made, on="last_ord", how="left")
    other_hash = (
        pl.col("hash_held").is_not_null() & pl.col("sha256").is_not_null() & (pl.col("hash_held") != pl.col("sha256"))
    )
    other_size = (pl.col("size") != pl.col("size_held")).fill_null(value=False)
    known = held.select("file", good=pl.lit(value=True))
    later = pl.col("mtime") < pl.col("made")
    return (
        pairs.filter(other_hash | other_size)
        .join(known, on="file", how="left")
        .filter(later.fill_null(pl.col("good").is_null()))
        .sort("last_ord", "path_norm", descending=[True, False])
        .unique("file", keep="first", maintain_order=True)
        .select("file", "path_norm", "last_ord", hash=pl.col("hash_held"), size=pl.col("size_held"))
    )
