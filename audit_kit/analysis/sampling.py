"""A sample of an engagement's ledger: the population with its control totals, what is drawn, what it said of it all."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field
from decimal import Decimal
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import polars as pl

from audit_kit.analysis.report_scope import scope
from audit_kit.core.clock import now
from audit_kit.core.errors import RequestError
from audit_kit.core.identity import with_key
from audit_kit.rules.sampling import draws, selection, sizes
from audit_kit.rules.sampling.evaluation import Evaluation, evaluate
from audit_kit.rules.sampling.totals import Total, cents_of, fingerprint, tie

if TYPE_CHECKING:
    from audit_kit.loaders.engagement.engagement import Engagement

USUAL_RATE = 0.05  # of deviations, where nobody says what is tolerable
UNSEALED = ("seal", "made_at", "version")  # what is another whenever the same sample is drawn again
SHOWN = ("invoice_key", "issued_at", "seller_name", "buyer_name", "source_file", "source_row")


@dataclass(frozen=True, kw_only=True)
class Request:
    """What was asked for: see docs/sampling.md.

    `tolerable`, `expected`: misstatement in yuan; null = the materiality of audit.toml, none. `size`: null = by the
    formula of the method. `month`: only invoices of that month or year. `only`: only rows whose column has that value.
    `rows`, `yuan`: the ledger's control totals as another source has them. `difference`: why the ledger does not agree
    with the totals that it states itself.
    """

    method: str = "mus"
    seed: str = "1"
    confidence: float = 0.95
    size: int | None = None
    tolerable: Decimal | None = None
    expected: Decimal | None = None
    tolerable_rate: float = USUAL_RATE
    expected_rate: float = 0.0
    strata: int = selection.STRATA
    month: str | None = None
    only: dict[str, str] = field(default_factory=dict)
    rows: int | None = None
    yuan: Decimal | None = None
    difference: str = ""


@dataclass(frozen=True, kw_only=True)
class Sample:
    """What was drawn: `record` is everything it follows from as plain values, `rows` the rows of the ledger with it."""

    record: dict[str, Any]
    parts: pl.DataFrame
    rows: pl.DataFrame


def draw(engagement: Engagement, asked: Request) -> Sample:
    """Draw a sample from the ledger of an engagement.

    Raises:
        RequestError: no size can be told, nothing is left to draw from, or the population does not tie.
    """
    _check(asked)
    total, exclusions, rows = _population(engagement, asked)
    if rows.is_empty():
        raise RequestError("error_sampling.empty")
    tolerable = asked.tolerable if asked.tolerable is not None else engagement.policy.materiality_yuan
    cents = None if tolerable is None else round(float(tolerable) * 100)
    size, formula = _size(asked, rows["cents"], cents)
    chosen = selection.select(
        rows["cents"],
        method=asked.method,
        size=size,
        seed=asked.seed,
        top_from=cents or 0,
        strata=asked.strata,
    )
    shown = rows.with_row_index("row").drop("cents")
    drawn = chosen.rows.join(shown, on="row", how="left", maintain_order="left")
    record = {
        "method": asked.method,
        "seed": asked.seed,
        "generator": draws.GENERATOR,
        "confidence": asked.confidence,
        "tolerable_cents": cents,
        "expected_cents": None if asked.expected is None else round(float(asked.expected) * 100),
        "tolerable_rate": None if asked.method == "mus" else asked.tolerable_rate,
        "expected_rate": None if asked.method == "mus" else asked.expected_rate,
        "strata": asked.strata if asked.method == "stratified" else None,
        "formula": formula,
        "size": size,
        "engagement": engagement.name,
        "month": asked.month,
        "only": asked.only,
        "ledger": asdict(total),
        "exclusions": [asdict(one) for one in exclusions],
        "difference": asked.difference,
        "population": {"name": "population", "rows": rows.height, "cents": int(rows["cents"].sum())},
        "population_sha256": fingerprint(rows),
        "parts": chosen.parts.to_dicts(),
    }
    record["seal"] = seal(record, drawn)
    record |= {"made_at": f"{now():%Y-%m-%d %H:%M}", "version": f"audit-kit {version('audit-kit')}"}
    return Sample(record=record, parts=chosen.parts, rows=drawn)


def seal(record: dict[str, Any], rows: pl.DataFrame) -> str:
    """Return the SHA-256 over the record, without `UNSEALED`, and the rows drawn with their book amounts."""
    plain = {name: value for name, value in record.items() if name not in UNSEALED}
    lines = rows.sort("row").select(
        pl.concat_str("row", "part", "cents", pl.col("invoice_key").fill_null(""), separator="\t")
    )
    text = "\n".join([json.dumps(plain, ensure_ascii=False, sort_keys=True), *lines.to_series()])
    return hashlib.sha256(text.encode()).hexdigest()


def score(record: dict[str, Any], rows: pl.DataFrame, *, engagement: Engagement | None = None) -> Evaluation:
    """Evaluate a sample that was filled in.

    Args:
        record: as `draw` gave it.
        rows: `row`, `part`, `cents`, `invoice_key`, `audited` (cents, none null).
        engagement: where it is given, the sample is drawn again and must be the same.

    Raises:
        RequestError: record or rows are not those that were drawn, or the population is no longer the same.
    """
    parts = pl.DataFrame(record["parts"], schema=selection.PART)
    tie(Total(**record["ledger"]), [Total(**one) for one in record["exclusions"]], Total(**record["population"]))
    tie(Total(**record["population"]), [], Total("parts", int(parts["rows"].sum()), int(parts["cents"].sum())))
    if record["seal"] != seal(record, rows):
        raise RequestError("error_sampling.changed")
    if engagement is not None and draw(engagement, _asked(record)).record["seal"] != record["seal"]:
        raise RequestError("error_sampling.other_population", name=engagement.name)
    return evaluate(parts, rows, confidence=record["confidence"], tolerable_cents=record["tolerable_cents"])


def _asked(record: dict[str, Any]) -> Request:
    """Return what a record was asked for."""
    return Request(
        method=record["method"],
        seed=record["seed"],
        confidence=record["confidence"],
        size=record["size"] if record["formula"] == "stated" else None,
        tolerable=_yuan(record["tolerable_cents"]),
        expected=_yuan(record["expected_cents"]),
        tolerable_rate=USUAL_RATE if record["tolerable_rate"] is None else record["tolerable_rate"],
        expected_rate=record["expected_rate"] or 0.0,
        strata=record["strata"] or selection.STRATA,
        month=record["month"],
        only=record["only"],
        difference=record["difference"],
    )


def _yuan(cents: int | None) -> Decimal | None:
    return None if cents is None else Decimal(cents) / 100


def _check(asked: Request) -> None:
    if not 0.5 <= asked.confidence < 1:  # noqa: PLR2004  less would be no confidence
        raise RequestError("error_sampling.confidence", value=asked.confidence)
    if asked.size is not None and asked.size < 1:
        raise RequestError("error_sampling.size", value=asked.size)
    if asked.strata < 1:
        raise RequestError("error_sampling.size", value=asked.strata)
    if not 0 <= asked.expected_rate < asked.tolerable_rate < 1:
        raise RequestError("error_sampling.rates")


def _population(engagement: Engagement, asked: Request) -> tuple[Total, list[Total], pl.DataFrame]:
    """Return the ledger's total, what is left out by name, and the rows to draw from, in reading order."""
    reading = engagement.reading("ledger")
    if not asked.difference and (wrong := reading.control.filter(~pl.col("agrees"))).height:
        line = wrong.row(0, named=True)
        raise RequestError(
            "error_sampling.control", file=line["source_file"], stated=line["stated"], computed=line["computed"]
        )
    rows = with_key(engagement.table("ledger")).with_columns(cents=cents_of(pl.col("gross")))
    aside = reading.set_aside.height
    total = Total("ledger", rows.height + aside, int(rows["cents"].sum()))
    if (asked.rows is not None and asked.rows != total.rows) or (
        asked.yuan is not None and round(float(asked.yuan) * 100) != total.cents
    ):
        raise RequestError("error_sampling.stated", rows=f"{total.rows:,}", yuan=f"{total.cents / 100:,.2f}")
    exclusions = [Total("set_aside", aside, 0)] if aside else []
    for name, kept in _filters(rows, asked):
        out = rows.filter(~kept.fill_null(value=False))
        rows = rows.filter(kept.fill_null(value=False))
        if out.height:
            exclusions.append(Total(name, out.height, int(out["cents"].sum())))
    tie(total, exclusions, Total("population", rows.height, int(rows["cents"].sum())))
    names = [name for name in SHOWN if name in rows.columns]
    return total, exclusions, rows.select(*names, "cents")


def _filters(rows: pl.DataFrame, asked: Request) -> list[tuple[str, pl.Expr]]:
    """Return each filter with its name: rows without an amount, the month, and what was asked for."""
    filters = [("no_amount", pl.col("cents").is_not_null())]
    if asked.month:
        filters.append((f"month={asked.month}", scope(asked.month).holds()))
    for column, value in asked.only.items():
        if column not in rows.columns:
            raise RequestError("error_sampling.no_column", column=column, known=", ".join(rows.columns))
        filters.append((f"{column}={value}", pl.col(column).cast(pl.String) == value))
    return filters


def _size(asked: Request, cents: pl.Series, tolerable: int | None) -> tuple[int, str]:
    """Return the number to draw, and the formula it is from."""
    if asked.size is not None:
        return asked.size, "stated"
    if asked.method != "mus":
        rate = {"tolerable": asked.tolerable_rate, "expected": asked.expected_rate}
        found = sizes.attributes(**rate, confidence=asked.confidence)
        formula = "attributes"
    else:
        base = int(cents.filter(cents > 0).sum()) or int(cents.abs().sum())
        if not tolerable:
            raise RequestError("error_sampling.no_tolerable")
        expected = round(float(asked.expected or 0) * 100)
        found = (
            1
            if not base
            else sizes.monetary_unit(tolerable=tolerable / base, expected=expected / base, confidence=asked.confidence)
        )
        formula = "monetary_unit"
    if found is None:
        raise RequestError("error_sampling.no_size")
    return found, formula
