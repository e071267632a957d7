"""Which invoices would really come back: every file of the archive against what every backup holds.

A listing is sparse: a file, and the first and last backup that hold it. With running totals of the restorable and the
verified backups of a repository, one subtraction tells whether a span has any, so files are never multiplied by
backups. Files are matched by SHA-256; where a listing has none, by the end of their path, size and, where both know
it, time, which is the weaker proof.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import polars as pl

from audit_kit.core.identity import with_key

NOWHERE, LISTED, RESTORABLE, VERIFIED = range(4)
HASHED = ("sha256", "blob")
SLICE = 500_000
SAME_MOMENT = 2_000_000
LOST_TIMES_LEAST = 20
LOST_TIMES_SHARE = 0.9
NUMBER = r"(?:^|\D)(\d{20}|\d{18}|\d{10,12}[-_]\d{8})(?:\D|$)"
REQUIRED = ("xml", "ofd", "pdf", "xbrl")

DIFFERING = {
    "file": pl.UInt32(),
    "path_norm": pl.String(),
    "last_ord": pl.UInt32(),
    "hash": pl.String(),
    "size": pl.UInt64(),
}


@dataclass(frozen=True, eq=False)
class Held:
    """What one repository holds of the archive, file by file.

    `level`, `first_ord`, `last_ord`, `by_hash`: of every file of the archive, in its order; level 0 = not there.
    `differing`: `file`, `path_norm`, `hash`, `size`, `last_ord`: another content under the same path.
    `spare`: `path_norm`, `level`, `last_ord` of listed files that are none of the archive's.
    `listed`: how many files the listing has in every backup, in their order.
    `timeless`: the archive's times were lost in copying and had to be left aside.
    """

    repo_id: str
    level: pl.Series
    first_ord: pl.Series
    last_ord: pl.Series
    by_hash: pl.Series
    differing: pl.DataFrame
    spare: pl.DataFrame
    listed: pl.Series
    timeless: bool


class Coverage:
    """The archive's files and invoices against all repositories."""

    def __init__(self, runs: pl.DataFrame, backup_listing: pl.DataFrame, invoice_files: pl.DataFrame) -> None:
        """Match the archive's files against the listing of every repository.

        Args:
            runs: `repo_id`, `ord`, `data_time`, `gone`, `whole`, `restorable`, `verified_at` of every run.
            backup_listing: the table.
            invoice_files: the table.
        """
        self.runs = runs
        self.files = archive(invoice_files)
        listing = backup_listing.filter(pl.col("first_ord").is_not_null())
        self.repositories = listing["repo_id"].drop_nulls().unique().sort().to_list()
        alone = len(self.repositories) == 1
        self.held = [
            self._held(repo, listing if alone else listing.filter(pl.col("repo_id") == repo))
            for repo in self.repositories
        ]

    def _held(self, repo: str, listing: pl.DataFrame) -> Held:
        rows = levels(self.runs, listing, repo)
        pairs, matched = _by_hash(self.files, rows)
        rest = rows.filter(~matched)
        named, timeless = _by_path(self.named, rest) if rest.height else (None, False)
        if named is not None and named.height:
            pairs = pl.concat([pairs, named.drop("row")])
        best = _one_each(pairs)
        count = self.files.height
        level = pl.zeros(count, dtype=pl.UInt8, eager=True).scatter(best["file"], best["level"])
        first, last = (
            pl.repeat(None, count, dtype=pl.UInt32, eager=True).scatter(best["file"], best[name])
            for name in ("first_ord", "last_ord")
        )
        hashed = pl.repeat(value=False, n=count, dtype=pl.Boolean, eager=True).scatter(best["file"], best["by_hash"])
        made = self.runs.filter(pl.col("repo_id") == repo).select("whole", last_ord="ord", made="data_time")
        spare = rest if named is None else rest.with_row_index("row").join(named.select("row"), on="row", how="anti")
        differing = _differing(self.named, spare, level, made) if spare.height else pl.DataFrame(schema=DIFFERING)
        return Held(
            repo_id=repo,
            level=level,
            first_ord=first,
            last_ord=last,
            by_hash=hashed,
            differing=differing,
            spare=spare.select("path_norm", "level", "last_ord"),
            listed=_listed(listing, made.height),
            timeless=timeless,
        )

    @property
    def is_comparable(self) -> bool:
        """Whether there are files of the archive and listings to hold against each other."""
        return bool(self.files.height and self.repositories)

    @cached_property
    def named(self) -> pl.DataFrame:
        """Return the archive's files with `name`, the last part of their path."""
        return self.files.select("file", "path", "size", "mtime", "sha256", name=base(pl.col("path")))

    @cached_property
    def numbers(self) -> pl.DataFrame:
        """Return `invoice_key`, `repo_id`, `level`, `last_ord` of the numbers in names of files the archive lacks."""
        nothing = pl.DataFrame(
            schema={"invoice_key": pl.String, "repo_id": pl.String, "level": pl.UInt8, "last_ord": pl.UInt32}
        )
        named = [
            held.spare.select("level", "last_ord", invoice_key=numbered(base(pl.col("path_norm"))))
            .drop_nulls("invoice_key")
            .group_by("invoice_key")
            .agg(pl.col("level").max(), pl.col("last_ord").max())
            .select("invoice_key", pl.lit(held.repo_id).alias("repo_id"), "level", "last_ord")
            for held in self.held
        ]
        return pl.concat([nothing, *named])

    @cached_property
    def file_levels(self) -> pl.DataFrame:
        """Return the archive's files with `level`, `repo` (position of the best repository) and its `last_ord`."""
        count = self.files.height
        level = pl.zeros(count, dtype=pl.UInt8, eager=True)
        last = pl.repeat(None, count, dtype=pl.UInt32, eager=True)
        repo = pl.repeat(None, count, dtype=pl.UInt32, eager=True)
        for at, held in enumerate(self.held):
            better = held.level > level
            level = held.level.zip_with(better, level)
            last = held.last_ord.zip_with(better, last)
            repo = pl.repeat(at, count, dtype=pl.UInt32, eager=True).zip_with(better, repo)
        return self.files.with_columns(level.alias("level"), last.alias("last_ord"), repo.alias("repo"))

    @cached_property
    def weak(self) -> pl.DataFrame:
        """Return the invoices that are not wholly verified, or differ somewhere.

        `invoice_key`, `level` (the lowest of its files), `file` (the first such), `differs`.
        """
        required = self.file_levels.filter(pl.col("invoice_key").is_not_null() & pl.col("required"))
        differing = pl.concat(
            [pl.DataFrame(schema={"file": pl.UInt32}), *(held.differing.select("file") for held in self.held)]
        ).unique()
        marked = required.join(differing, on="file", how="semi")["invoice_key"].unique()
        bad = pl.col("level") < VERIFIED
        touched = required.filter(bad | pl.col("invoice_key").is_in(marked.implode()) if len(marked) else bad)
        return (
            touched.sort("level", "file")
            .group_by("invoice_key", maintain_order=True)
            .agg(pl.col("level").first(), pl.col("file").first())
            .with_columns(differs=pl.col("invoice_key").is_in(marked.implode()))
        )

    @cached_property
    def lacking(self) -> list[pl.Series]:
        """Return for every repository the invoices of which it does not hold all files restorable."""
        wanted = self.files["invoice_key"].is_not_null() & self.files["required"]
        return [self.files["invoice_key"].filter(wanted & (held.level < RESTORABLE)).unique() for held in self.held]


def archive(invoice_files: pl.DataFrame) -> pl.DataFrame:
    """Return the archive's files: `file`, `path`, `size`, `mtime`, `sha256`, `role`, `invoice_key`, `required`.

    An invoice's number is the one read from the file, else the digits in its name. Data-base dumps and the like are
    not required; a file without a role is.
    """
    path = _normal(invoice_files["path"])
    keys = _keys(invoice_files)
    unknown = keys.is_null()
    if unknown.any():
        named = path.to_frame("path").select(
            pl.when(pl.lit(unknown)).then(numbered(base(pl.col("path")))).alias("invoice_key")
        )
        keys = named["invoice_key"].zip_with(unknown, keys)
    return invoice_files.select(
        pl.int_range(pl.len(), dtype=pl.UInt32).alias("file"),
        path.alias("path"),
        "size",
        "mtime",
        _lower(invoice_files["sha256"]),
        "role",
        "issued_at",
        keys.alias("invoice_key"),
        pl.col("role").is_in(REQUIRED).fill_null(value=True).alias("required"),
    )


def _keys(invoice_files: pl.DataFrame) -> pl.Series:
    """Return the key of every file by its numbers; 20 plain digits are one already."""
    number = pl.coalesce("digital_number", "invoice_number")
    plain = number.str.contains(r"^[0-9]{20}$") & (number.str.head(10) != number.str.tail(10))
    told = invoice_files.select(number.alias("invoice_key"), plain.fill_null(value=False).alias("tidy"))
    if told["tidy"].all():
        return told["invoice_key"]
    rest = with_key(invoice_files.filter(~told["tidy"]).select("digital_number", "invoice_number", "invoice_code"))
    return told["invoice_key"].scatter((~told["tidy"]).arg_true(), rest["invoice_key"])


def _lower(hashes: pl.Series) -> pl.Series:
    return hashes.str.to_lowercase() if hashes.str.contains("[A-F]").any() else hashes


def _normal(paths: pl.Series) -> pl.Series:
    """Return paths with forward slashes, in NFC; plain ones, nearly all, are not touched."""
    odd = (paths.str.len_bytes() != paths.str.len_chars()) | paths.str.contains("\\", literal=True)
    if not odd.any():
        return paths
    places = odd.fill_null(value=False).arg_true()
    return paths.clone().scatter(
        places, paths.gather(places).str.replace_all("\\", "/", literal=True).str.normalize("NFC")
    )


def base(path: pl.Expr) -> pl.Expr:
    """Return the last part of a path."""
    return path.str.extract(r"([^/\\]+)$")


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
    level = pl.zeros(listing.height, dtype=pl.UInt8, eager=True)
    for holds in kinds:
        totals = pl.concat([pl.Series([0], dtype=pl.UInt32), holds.cast(pl.UInt32).cum_sum()])
        level += (totals.gather(end) > totals.gather(first)).cast(pl.UInt8)
    rows = listing.select(
        "path_norm",
        "size",
        "mtime",
        "hash",
        pl.col("hash_kind").cast(pl.String),
        "first_ord",
        "last_ord",
        level.alias("level"),
    )
    return rows if (level > NOWHERE).all() else rows.filter(pl.col("level") > NOWHERE)


def _listed(listing: pl.DataFrame, count: int) -> pl.Series:
    """Return how many files each of `count` backups has in a sparse listing."""
    steps = pl.zeros(count + 1, dtype=pl.Int64, eager=True)
    for column, ahead, sign in (("first_ord", 0, 1), ("last_ord", 1, -1)):
        tally = listing[column].drop_nulls().value_counts(name="files")
        places = tally[column].cast(pl.Int64) + ahead
        known = tally.filter(places <= count)
        steps += sign * pl.zeros(count + 1, dtype=pl.Int64, eager=True).scatter(
            places.filter(places <= count), known["files"].cast(pl.Int64)
        )
    return steps.cum_sum().head(count)


def _by_hash(files: pl.DataFrame, rows: pl.DataFrame) -> tuple[pl.DataFrame, pl.Series]:
    """Return the archive's files that a listing holds by hash, and which of the listing's rows they are.

    Joined by a 64-bit hash of the hash, confirmed by the whole of it.
    """
    matched = pl.repeat(value=False, n=rows.height, dtype=pl.Boolean, eager=True)
    theirs = rows.select(
        pl.int_range(pl.len(), dtype=pl.UInt32).alias("row"),
        pl.when(pl.col("hash_kind").is_in(HASHED)).then(pl.col("hash").hash()).alias("key"),
    ).filter(rows["hash"].is_not_null())
    ours = files.select("file", key=pl.col("sha256").hash()).filter(files["sha256"].is_not_null())
    pairs = ours.join(theirs.drop_nulls("key"), on="key").drop("key")
    del ours, theirs
    pairs = pl.concat(
        [
            part.filter(files["sha256"].gather(part["file"]) == rows["hash"].gather(part["row"]))
            for part in pairs.iter_slices(SLICE)
        ]
        or [pairs]
    )
    matched = matched.scatter(pairs["row"], pl.repeat(value=True, n=pairs.height, dtype=pl.Boolean, eager=True))
    found = pairs.select(
        "file",
        *(rows[name].gather(pairs["row"]).alias(name) for name in ("level", "first_ord", "last_ord")),
        pl.lit(value=True).alias("by_hash"),
    )
    return found, matched


def _one_each(pairs: pl.DataFrame) -> pl.DataFrame:
    """Return one row a file: its best level, first and last backup."""
    if pairs["file"].n_unique() == pairs.height:
        return pairs
    best = (pl.col(name).max() for name in ("last_ord", "by_hash"))
    return pairs.group_by("file").agg(pl.col("level").max(), pl.col("first_ord").min(), *best)


def _by_path(named: pl.DataFrame, rows: pl.DataFrame) -> tuple[pl.DataFrame, bool]:
    """Return the archive's files that a listing holds by path and size, where one of the two has no hash; with `row`.

    Where nearly no time agrees, the archive's own times were lost in copying; they are left aside then.
    """
    pairs = _same_path(rows.with_row_index("row"), named)
    hashless = (pl.col("hash_kind_held") != "sha256").fill_null(value=True) | pl.col("hash_held").is_null()
    same_size = (pl.col("size") == pl.col("size_held")) | (pl.col("size_held").is_null() & ~hashless)
    pairs = pairs.filter((hashless | pl.col("sha256").is_null()) & same_size)
    apart = (pl.col("mtime") - pl.col("mtime_held")).dt.total_microseconds().abs() > SAME_MOMENT
    timed = pairs.filter(pl.col("mtime").is_not_null() & pl.col("mtime_held").is_not_null())
    lost, known = timed.filter(apart)["file"].n_unique(), timed["file"].n_unique()
    timeless = known >= LOST_TIMES_LEAST and lost >= LOST_TIMES_SHARE * known
    if not timeless:
        pairs = pairs.filter(~apart.fill_null(value=False))
    return pairs.select("file", "level", "first_ord", "last_ord", by_hash=pl.lit(value=False), row="row"), timeless


def _same_path(rows: pl.DataFrame, named: pl.DataFrame) -> pl.DataFrame:
    """Return pairs of a listed and an archived file whose paths end alike; the listing's columns end in `_held`.

    One path must be the end of the other; where a name is the only one of its kind in the archive, the name is enough.
    """
    held = rows.rename({name: f"{name}_held" for name in ("size", "mtime", "hash", "hash_kind")}).with_columns(
        name=base(pl.col("path_norm"))
    )
    own = named.join(held.select("name").unique(), on="name", how="semi")
    pairs = held.join(own.with_columns(alone=pl.len().over("name") == 1), on="name").drop("name")
    ours, theirs = pl.lit("/") + pl.col("path"), pl.lit("/") + pl.col("path_norm")
    return pairs.filter(pl.col("alone") | theirs.str.ends_with(ours) | ours.str.ends_with(theirs))


def _differing(named: pl.DataFrame, spare: pl.DataFrame, level: pl.Series, made: pl.DataFrame) -> pl.DataFrame:
    """Return the archive's files under whose path a backup made after their last change holds another content.

    By hash where both have one, else by size; a backup that is damaged itself is left aside. Without a time of the
    archive's file, it counts only where the repository holds its content nowhere.
    """
    pairs = _same_path(spare, named).join(made.filter("whole"), on="last_ord")
    other_hash = (pl.col("hash_held") != pl.col("sha256")) & (pl.col("hash_kind_held") == "sha256")
    other_size = pl.col("size") != pl.col("size_held")
    absent = level.gather(pairs["file"]) == NOWHERE
    return (
        pairs.filter(
            (other_hash.fill_null(value=False) | other_size.fill_null(value=False))
            & (pl.col("mtime") < pl.col("made")).fill_null(pl.lit(absent))
        )
        .sort("last_ord", "path_norm", descending=[True, False])
        .unique("file", keep="first", maintain_order=True)
        .select("file", "path_norm", "last_ord", hash=pl.col("hash_held"), size=pl.col("size_held"))
    )
