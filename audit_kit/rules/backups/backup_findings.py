"""Findings of area backup: their wording from `backup_causes.toml`, their id from what they are about."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from string import Formatter
from typing import TYPE_CHECKING, Any

import polars as pl

from audit_kit.core import schema
from audit_kit.resources import load

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime

MOST_NAMED = 12
UNKNOWN_SEVERITY = "medium"


class Words:
    """The wording of one language."""

    def __init__(self, lang: str) -> None:
        """Load the wording of `zh` or `en`."""
        self.lang = lang
        self.causes = load("backup_causes")["causes"]

    def say(self, word: str) -> str:
        """Return a short word, such as the name of a fault."""
        said: str = load("backup_causes")["words"][self.lang].get(word, word)
        return said

    def kind(self, kind: str) -> str:
        """Return what a kind of backup is called."""
        label: str = load("vocabularies")["backup_kinds"].get(kind, {}).get(self.lang, kind)
        return label

    def finding(  # noqa: D417 (values are the template's fields)
        self,
        cause: str,
        *about: object,
        variant: str = "evidence",
        state: str = "fails",
        severity: str | None = None,
        invoice_key: str | None = None,
        source: tuple[str | None, int | None] = (None, None),
        **values: Any,  # noqa: ANN401 (fields of a template)
    ) -> dict[str, Any]:
        """Return one finding.

        Args:
            cause: BKnn.
            about: what it is about, in an order that stays the same from run to run; makes the id.
            variant: which wording of the evidence.
            state: fails or unknown; an unknown is medium at most.
            severity: another than the cause's own.
            invoice_key: the invoice.
            source: file and row that say so.
        """
        entry = self.causes[cause]
        own = severity or (entry["severity"] if state == "fails" else entry.get("unknown_severity", UNKNOWN_SEVERITY))
        return {
            "finding_id": identifier(cause, invoice_key, *about),
            "area": "backup",
            "cause": cause,
            "severity": own,
            "state": state,
            "invoice_key": invoice_key,
            "evidence": entry[self.lang][variant].format_map(
                defaultdict(lambda: "–", {k: shown(v) for k, v in values.items()})
            ),
            "next_step": entry[self.lang]["next_step"],
            "source_file": source[0],
            "source_row": source[1],
        }

    def of_invoices(self, cause: str, rows: pl.DataFrame, *, variant: str = "evidence") -> pl.DataFrame:
        """Return one finding a row of `rows`, which has `invoice_key` and the template's fields."""
        entry = self.causes[cause]
        pieces: list[pl.Expr] = []
        for text, name, _, _ in Formatter().parse(entry[self.lang][variant]):
            pieces.append(pl.lit(text))
            if name:
                known = pl.col(name).cast(pl.String) if name in rows.columns else pl.lit(None, pl.String)
                pieces.append(known.fill_null("–"))
        ids = [identifier(cause, key) for key in rows["invoice_key"]]
        return rows.select(
            pl.Series("finding_id", ids, dtype=pl.String),
            area=pl.lit("backup"),
            cause=pl.lit(cause),
            severity=pl.lit(entry["severity"]),
            state=pl.lit("fails"),
            invoice_key="invoice_key",
            evidence=pl.concat_str(pieces),
            next_step=pl.lit(entry[self.lang]["next_step"]),
            **{name: pl.col(name) for name in ("source_file", "source_row") if name in rows.columns},
        )


def identifier(*about: object) -> str:
    """Return the id of a finding about these things: 16 hexadecimal digits."""
    return hashlib.sha256("\x1f".join(str(part) for part in about).encode()).hexdigest()[:16]


def shown(value: object) -> object:
    """Return a value as evidence shows it: times to the minute, lists joined, null as a dash."""
    if value is None or value in ("", [], ()):
        return "–"
    if hasattr(value, "strftime"):
        return clock(value)  # type: ignore[arg-type]
    if isinstance(value, float):
        return f"{value:.2f}".rstrip("0").rstrip(".")
    if isinstance(value, list | tuple):
        return some(value)
    return value


def clock(moment: datetime | None) -> str:
    """Return a Beijing time as `YYYY-MM-DD HH:MM`."""
    return "–" if moment is None else f"{moment:%Y-%m-%d %H:%M}"


def some(names: Sequence[object], *, most: int = MOST_NAMED) -> str:
    """Return the first of many names, and how many more there are."""
    text = "、".join(str(name) for name in names[:most])
    return text if len(names) <= most else f"{text} … (+{len(names) - most})"


def frame(rows: Iterable[dict[str, Any]], many: Iterable[pl.DataFrame], ledger: pl.DataFrame) -> pl.DataFrame:
    """Return findings in canonical columns, the worst first, each with the ledger's row and amount of its invoice.

    Args:
        rows: findings as `Words.finding` makes them.
        many: findings as `Words.of_invoices` makes them.
        ledger: `invoice_key`, `ledger_row`, `gross`; the first row of a key counts.
    """
    dtypes = schema.dtypes("findings")
    plain = {name: pl.String() if isinstance(dtype, pl.Enum) else dtype for name, dtype in dtypes.items()}
    single = pl.DataFrame([{name: row.get(name) for name in dtypes} for row in rows], schema=plain, orient="row")
    found = pl.concat([single, *many], how="diagonal")
    booked = (
        ledger.join(found.select("invoice_key").drop_nulls().unique(), on="invoice_key", how="semi")
        .sort("ledger_row")
        .unique("invoice_key", keep="first", maintain_order=True)
    )
    return (
        found.drop("ledger_row", "amount")
        .join(booked.rename({"gross": "amount"}), on="invoice_key", how="left", maintain_order="left")
        .select(list(dtypes))
        .cast(dtypes)  # type: ignore[arg-type]
        .sort(pl.col("severity").to_physical(), "state", "cause", "invoice_key", "finding_id", maintain_order=True)
        .unique("finding_id", keep="first", maintain_order=True)
    )
