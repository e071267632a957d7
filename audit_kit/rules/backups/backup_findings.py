"""Findings of area backup and response: rules give figures, here they get their words, severity, id and subject.

A rule gives one row a finding. Of its columns these are known here: `about` (what makes the id, in an order that stays
the same from run to run), `variant` (which wording of the evidence; null = the plain one), `state` (null = fails),
`severity` (null = the record's own), `invoice_key`, `amount` (null = the ledger's), `source_file`, `source_row`. All
others are figures, which fill the named places of `backup_causes.toml` and `response_causes.toml`.
"""

from __future__ import annotations

import hashlib
from string import Formatter
from typing import TYPE_CHECKING, Any

import polars as pl

from audit_kit.core import cause_records, schema
from audit_kit.core.words import LANGUAGES, Words
from audit_kit.resources import load

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

MOST_NAMED = 12
UNKNOWN_SEVERITY = "medium"
NOTHING = "–"
TIME = "%Y-%m-%d %H:%M"
KNOWN = {
    "about": pl.List(pl.String),
    "variant": pl.String(),
    "state": pl.String(),
    "severity": pl.String(),
    "invoice_key": pl.String(),
    "amount": pl.Decimal(18, 2),
    "source_file": pl.String(),
    "source_row": pl.UInt32(),
}
SHOWN_AS = {"kind": "backup_kinds"}
OF_RUN = {
    "about": pl.concat_list("repo_id", "backup_id"),
    "repo": pl.col("repo_id"),
    "backup": pl.col("short"),
    "at": pl.col("data_time"),
    "source_file": pl.col("source_file"),
    "source_row": pl.col("source_row"),
}


def facts(rows: Iterable[Mapping[str, Any]] = ()) -> pl.DataFrame:
    """Return rows of a rule as its frame; `about` may hold anything that reads the same in every run."""
    told = [{**row, "about": [str(part) for part in row.get("about", ())]} for row in rows]
    return pl.DataFrame(told, infer_schema_length=None, strict=False)


def of_runs(runs: pl.DataFrame, **figures: pl.Expr) -> pl.DataFrame:
    """Return one row a run: `repo`, `backup`, `at` (its time), where it was read, and the figures given."""
    return runs.select(**{**OF_RUN, **figures})


def first_of(runs: pl.DataFrame, *by: str) -> pl.DataFrame:
    """Return the first run of every group, with `ids`, what all of the group are called."""
    return runs.group_by(by, maintain_order=True).agg(pl.all().first(), ids=pl.col("short"))


def together(*frames: pl.DataFrame) -> pl.DataFrame:
    """Return what several parts of a rule found."""
    found = [frame for frame in frames if frame.height]
    return pl.concat(found, how="diagonal_relaxed") if found else facts()


def worded(cause: str, found: pl.DataFrame, *, lang: str, area: str = "backup") -> pl.DataFrame:
    """Return what a rule of an area (backup, response) found as findings, without the ledger's columns."""
    if found.is_empty():
        return pl.DataFrame()
    entry, at, words = cause_records.of_area(area)[cause], LANGUAGES.index(lang), Words(lang)
    absent = {name: pl.lit(None, dtype) for name, dtype in KNOWN.items() if name not in found.columns}
    rows = found.with_columns(**absent).cast(KNOWN)  # type: ignore[arg-type]
    rows = rows.with_columns(key="invoice_key", state=pl.col("state").fill_null("fails"))
    wordings = {variant: _wording(entry, variant)[at] for variant in rows["variant"].unique()}
    fields = {name for text in wordings.values() for _, name, _, _ in Formatter().parse(text) if name}
    wanted = [name for name in rows.columns if name in fields | set(entry.get("subject", ()))]
    kinds = SHOWN_AS | entry.get("vocabularies", {})
    rows = rows.with_columns(_told(rows[name], entry, words) for name in wanted if _is_told(rows[name]))
    figures = rows.select("variant", *(_shown(rows[name], words, kinds) for name in wanted))
    unknown = entry.get("unknown_severity", UNKNOWN_SEVERITY)
    own = pl.when(pl.col("state") == "fails").then(pl.lit(entry["severity"])).otherwise(pl.lit(unknown))
    subject = [pl.when(pl.col(name) != NOTHING).then(name) for name in entry.get("subject", ()) if name in figures]
    parts = rows.select("invoice_key", "about").iter_rows()
    return rows.select(
        pl.Series("finding_id", [identifier(cause, key, *(about or ())) for key, about in parts]),
        "state",
        "invoice_key",
        "amount",
        "source_file",
        "source_row",
        area=pl.lit(area),
        cause=pl.lit(cause),
        severity=pl.coalesce("severity", own),
        next_step=pl.lit(entry["next_step"][at]),
        evidence=pl.lit(_evidence(wordings, figures)),
        subject=pl.lit(_subject(figures, subject)),
    )


def _is_told(figures: pl.Series) -> bool:
    return isinstance(figures.dtype, pl.List) and isinstance(figures.dtype.inner, pl.Struct)


def _told(figures: pl.Series, entry: Mapping[str, Any], words: Words) -> pl.Series:
    """Return lists of structs as a sentence each: the wording of its `part`, filled with its other fields."""
    at, kinds = LANGUAGES.index(words.lang), entry.get("vocabularies", {})
    between = ("；", "; ")[at]

    def said(part: Mapping[str, str]) -> str:
        fields = {name: words.term(kinds[name], text) if name in kinds else text for name, text in part.items()}
        pair: Sequence[str] = entry["parts"][part["part"]]
        return pair[at].format(**fields)

    texts = [between.join(map(said, row[:MOST_NAMED])) if row else None for row in figures.to_list()]
    return pl.Series(figures.name, texts, dtype=pl.String)


def _wording(entry: Mapping[str, Any], variant: str | None) -> list[str]:
    pair: list[str] = entry[f"evidence_{variant}" if variant else "evidence"]
    return pair


def _evidence(wordings: Mapping[str | None, str], figures: pl.DataFrame) -> pl.Series:
    """Return the evidence of every row, its variant's wording filled with the row's figures."""
    said = pl.lit(None, pl.String)
    for variant, wording in wordings.items():
        pieces: list[pl.Expr] = []
        for text, name, _, _ in Formatter().parse(wording):
            pieces.append(pl.lit(text))
            if name:
                pieces.append(pl.col(name) if name in figures.columns else pl.lit(NOTHING))
        said = pl.when(pl.col("variant").eq_missing(pl.lit(variant))).then(pl.concat_str(pieces)).otherwise(said)
    return figures.select(evidence=said).to_series()


def _subject(figures: pl.DataFrame, parts: Sequence[pl.Expr]) -> pl.Series:
    """Return what every row is about: the parts that are known, with a space between; null where none is."""
    if not parts:
        return pl.Series([None] * figures.height, dtype=pl.String)
    said = figures.select(subject=pl.concat_str(parts, separator=" ", ignore_nulls=True)).to_series()
    return said.replace("", None)


def _shown(figures: pl.Series, words: Words, kinds: Mapping[str, str]) -> pl.Series:
    """Return figures as evidence shows them: times to the minute, lists joined, nothing as a dash.

    `kinds` maps a figure to the vocabulary that holds its words.
    """
    if vocabulary := kinds.get(figures.name):
        present = figures.drop_nulls().unique().to_list()
        terms = words.causes(present) if vocabulary == "causes" else words.terms(vocabulary, present)
        return figures.cast(pl.String).replace(terms).fill_null(NOTHING)
    if figures.name == "fault":
        faults = load("backup_causes")["faults"]
        return figures.replace({name: pair[LANGUAGES.index(words.lang)] for name, pair in faults.items()})
    if isinstance(figures.dtype, pl.Datetime):
        text = figures.dt.strftime(TIME)
    elif isinstance(figures.dtype, pl.List):
        text = pl.Series(figures.name, [some(names) for names in figures.to_list()], dtype=pl.String)
    elif figures.dtype.is_decimal():
        numbers = [None if value is None else f"{value:,.2f}" for value in figures]
        text = pl.Series(figures.name, numbers, dtype=pl.String)
    elif figures.dtype.is_float():
        numbers = [None if value is None else f"{value:.2f}".rstrip("0").rstrip(".") for value in figures]
        text = pl.Series(figures.name, numbers, dtype=pl.String)
    else:
        text = figures.cast(pl.String).replace("", None)
    return text.fill_null(NOTHING)


def some(names: Sequence[object] | None, *, most: int = MOST_NAMED) -> str | None:
    """Return the first of many names, and how many more there are; null for none."""
    if not names:
        return None
    text = "、".join(str(name) for name in names[:most])
    return text if len(names) <= most else f"{text} … (+{len(names) - most})"


def identifier(*about: object) -> str:
    """Return the id of a finding about these things: 16 hexadecimal digits."""
    return hashlib.sha256("\x1f".join(str(part) for part in about).encode()).hexdigest()[:16]


def findings(found: Iterable[pl.DataFrame], ledger: pl.DataFrame) -> pl.DataFrame:
    """Return findings in canonical columns, the worst first, each with the ledger's row and amount of its invoice.

    Args:
        found: findings as `worded` makes them.
        ledger: `invoice_key`, `ledger_row`, `gross`; the first row of a key counts.
    """
    dtypes = schema.dtypes("findings")
    plain = {name: pl.String() if isinstance(dtype, pl.Enum) else dtype for name, dtype in dtypes.items()}
    whole = pl.concat([pl.DataFrame(schema=plain), *(frame for frame in found if frame.width)], how="diagonal")
    booked = (
        ledger.join(whole.select("invoice_key").drop_nulls().unique(), on="invoice_key", how="semi")
        .sort("ledger_row")
        .unique("invoice_key", keep="first", maintain_order=True)
    )
    return (
        whole.drop("ledger_row")
        .join(booked, on="invoice_key", how="left", maintain_order="left")
        .with_columns(pl.coalesce("amount", "gross").alias("amount"))
        .select(list(dtypes))
        .cast(dtypes)  # type: ignore[arg-type]
        .sort(pl.col("severity").to_physical(), "state", "cause", "invoice_key", "finding_id", maintain_order=True)
        .unique("finding_id", keep="first", maintain_order=True)
    )
