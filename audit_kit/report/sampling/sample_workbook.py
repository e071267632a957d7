"""A sample as a workbook: the rows to examine, the record they follow from, and what was filled in read back."""

from __future__ import annotations

import json
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Any

import polars as pl

from audit_kit.core import outputs
from audit_kit.core.errors import RequestError, SourceError
from audit_kit.core.words import LANGUAGES, Words
from audit_kit.loaders.formats.opening import open_grids
from audit_kit.report.workbook import Sheet, write_workbook

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from audit_kit.analysis.sampling import Sample
    from audit_kit.loaders.formats.grid import Grid
    from audit_kit.rules.sampling.evaluation import Evaluation

READ_BACK = ("row", "part", "invoice_key", "book", "audited", "reference")
CARRIED = ("remark", "issued_at", "seller_name", "buyer_name", "source_file", "source_row")
PARAMETERS = (
    "method", "seed", "generator", "confidence", "tolerable_cents", "expected_cents", "tolerable_rate", "expected_rate",
    "strata", "formula", "size", "engagement", "month", "only", "made_at", "version",
)  # fmt: skip
PIECE = 30_000  # characters of a cell, which holds 32,767
SEARCHED_ROWS = 20


def write_sample(sample: Sample, path: Path, *, lang: str = "zh", inputs: Iterable[Path] = ()) -> None:
    """Write a sample as .xlsx: the rows with columns to fill in, and its record.

    Raises:
        RequestError, PlaceError: another ending, or see `outputs.writing`.
    """
    words = Words(lang)
    sheets = [_rows_sheet(sample.rows, words), _record_sheet(sample.record, words)]
    outputs.write_as(path, {".xlsx": lambda made: write_workbook(made, sheets, lang=lang)}, inputs=inputs)


def write_result(
    found: Evaluation,
    record: Mapping[str, Any],
    rows: pl.DataFrame,
    path: Path,
    *,
    lang: str,
    inputs: Iterable[Path] = (),
) -> None:
    """Write an evaluation as .xlsx: its figures, the rows as they were filled in, the record."""
    words = Words(lang)
    sheets = [
        Sheet(words("sampling.result"), _result(found, words), _heads(words), told(found, record, words)),
        _rows_sheet(rows, words),
        _record_sheet(record, words),
    ]
    outputs.write_as(path, {".xlsx": lambda made: write_workbook(made, sheets, lang=lang)}, inputs=inputs)


def read_sample(path: Path) -> tuple[dict[str, Any], pl.DataFrame]:
    """Return the record of a sample that was filled in, and its rows as `analysis.sampling.score` takes them.

    Raises:
        RequestError: no such sample, or a row that is not filled in with an amount.
    """
    try:
        grids = open_grids(path)
    except SourceError as error:
        raise RequestError("error_sampling.no_file", file=path.name) from error
    record, rows = _record(grids), next((found for grid in grids if (found := _rows(grid)) is not None), None)
    if record is None or rows is None:
        raise RequestError("error_sampling.no_file", file=path.name)
    empty = rows.filter(pl.col("audited").is_null())
    if empty.height:
        raise RequestError(
            "error_sampling.not_filled", file=path.name, count=empty.height, reference=empty["reference"][0]
        )
    audited = [_cents(value, path, reference) for value, reference in rows.select("audited", "reference").iter_rows()]
    book = [_cents(value, path, reference) for value, reference in rows.select("book", "reference").iter_rows()]
    return record, rows.with_columns(
        pl.Series("row", [_cents(value, path, "row") // 100 for value in rows["row"]], pl.UInt32),
        pl.Series("cents", book, pl.Int64),
        pl.Series("audited", audited, pl.Int64),
        part=pl.col("part").replace(_part_codes(record.get("parts", ()))),
    ).drop("book").sort("row")


def told(found: Evaluation, record: Mapping[str, Any], words: Words) -> list[str]:
    """Return what an evaluation says, in sentences."""
    confidence = (
        f"{found.confidence:.0%}"
        if round(found.confidence * 100) == found.confidence * 100
        else f"{found.confidence:.1%}"
    )
    lines = [
        words(
            "sampling.told",
            projected=_money(found.projected, words),
            lower=_money(found.lower, words),
            upper=_money(found.upper, words),
            known=_money(found.known, words),
            confidence=confidence,
            drawn=words.count(found.drawn),
            errors=words.count(found.errors),
        ),
        words("sampling.signs"),
    ]
    if found.stringer is not None:
        lines.append(words("sampling.stringer", yuan=_money(found.stringer, words)))
    if found.rate_lower is not None and found.drawn:
        shares = {"share": found.errors / found.drawn, "lower": found.rate_lower, "upper": found.rate_upper}
        shown = {name: words.share(share) for name, share in shares.items()}
        lines.append(words("sampling.rate", confidence=confidence, **shown))
    tolerable = record["tolerable_cents"]
    lines.append(words(f"sampling_conclusions.{found.conclusion}", tolerable=_money(tolerable or 0, words)))
    return lines


def _heads(words: Words) -> dict[str, str]:
    return words.section("sampling")


def _rows_sheet(rows: pl.DataFrame, words: Words) -> Sheet:
    """Return the sheet to fill in; amounts that were filled in stand in it."""
    text, money = pl.String(), pl.Decimal(18, 2)
    size = len(str(rows.height)) if rows.height > 9999 else 4  # noqa: PLR2004  references of one width
    audited = _yuan(pl.col("audited")) if "audited" in rows.columns else pl.lit(None, money)
    names = {part: _part_name(part, words) for part in rows["part"].unique()}
    shown = rows.select(
        reference=pl.format("S-{}", pl.int_range(1, pl.len() + 1).cast(text).str.zfill(size)),
        part=pl.col("part").replace(names),
        **{
            name: pl.col(name)
            for name in ("invoice_key", "issued_at", "seller_name", "buyer_name")
            if name in rows.columns
        },
        **{name: pl.col(name) for name in ("source_file", "source_row") if name in rows.columns},
        book=_yuan(pl.col("cents")),
        audited=audited,
        remark=pl.col("remark") if "remark" in rows.columns else pl.lit(None, text),
        row=pl.col("row"),
    )
    return Sheet(words("sampling.sheet"), shown, _heads(words), (words("sampling.fill_in"),))


def _record_sheet(record: Mapping[str, Any], words: Words) -> Sheet:
    lines = [*record_lines(record, words)]
    plain = json.dumps(record, ensure_ascii=False, sort_keys=True)
    lines += [(words("sampling.machine"), plain[at : at + PIECE]) for at in range(0, len(plain), PIECE)]
    frame = pl.DataFrame(lines, schema={"name": pl.String(), "value": pl.String()}, orient="row")
    return Sheet(words("sampling.record"), frame, _heads(words))


def record_lines(record: Mapping[str, Any], words: Words) -> list[tuple[str, str]]:
    """Return the record as a person reads it: what, and its content."""
    lines = [
        (words(f"sampling_record.{name}"), _plain(name, record[name], words)) for name in PARAMETERS if record[name]
    ]
    lines.append((words("sampling_record.ledger"), _total(record["ledger"], words)))
    for one in record["exclusions"]:
        known = words.section("sampling_exclusions")
        name = known.get(one["name"]) or words("sampling_exclusions.other", filter=one["name"])
        lines.append((words("sampling_record.exclusion", name=name), _total(one, words)))
    lines.append((words("sampling_record.population"), _total(record["population"], words)))
    if record["difference"]:
        lines.append((words("sampling_record.difference"), record["difference"]))
    for part in record["parts"]:
        value = words(
            "sampling_record.part_value",
            way=words(f"sampling_ways.{part['way']}"),
            rows=words.count(part["rows"]),
            yuan=_money(part["cents"], words),
            drawn=words.count(part["drawn"]),
        )
        if part["interval"]:
            fields = {name: _money(part[name], words) for name in ("interval", "start")}
            value += words("sampling_record.part_interval", **fields)
        lines.append((words("sampling_record.part", name=_part_name(part["part"], words)), value))
    hashes = [(words(f"sampling_record.{name}"), record[name]) for name in ("population_sha256", "seal")]
    return [*lines, *hashes, (words("sampling_record.sources"), words("sampling_record.sources_value"))]


def _plain(name: str, value: Any, words: Words) -> str:  # noqa: ANN401  of a record
    if name == "method":
        return words(f"sampling_methods.{value}")
    if name == "formula":
        return words(f"sampling_formulas.{value}")
    if name.endswith("_cents"):
        return f"{Decimal(value) / 100:,.2f}"
    if name in {"confidence", "tolerable_rate", "expected_rate"}:
        return f"{value:.1%}"
    return "；".join(f"{column} = {one}" for column, one in value.items()) if isinstance(value, dict) else str(value)


def _part_name(part: str, words: Words) -> str:
    if part.startswith("stratum_"):
        return words("sampling_parts.stratum", number=part.removeprefix("stratum_"))
    return words(f"sampling_parts.{part}")


def _part_codes(parts: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    return {_part_name(str(part["part"]), Words(lang)): str(part["part"]) for part in parts for lang in LANGUAGES}


def _total(total: Mapping[str, Any], words: Words) -> str:
    return words("sampling_record.total_value", rows=words.count(total["rows"]), yuan=_money(total["cents"], words))


def _money(cents: float, words: Words) -> str:
    return words.yuan(Decimal(round(cents)) / 100)


def _yuan(cents: pl.Expr) -> pl.Expr:
    return (cents.cast(pl.Decimal(20, 2)) / 100).cast(pl.Decimal(18, 2))


def _result(found: Evaluation, words: Words) -> pl.DataFrame:
    money = ("cents", "known", "projected", "lower", "upper")
    whole = {"part": words("sampling.whole"), "way": "", "taint": None} | {
        name: getattr(found, name) for name in ("drawn", "errors", "known", "projected", "lower", "upper")
    }
    whole |= {name: found.parts[name].sum() for name in ("rows", "cents")}
    parts = found.parts.with_columns(
        part=pl.Series([_part_name(part, words) for part in found.parts["part"]], dtype=pl.String),
        way=pl.Series([words(f"sampling_ways.{way}") for way in found.parts["way"]], dtype=pl.String),
    )
    both = pl.concat([parts, pl.DataFrame([whole], schema=parts.schema, strict=False)])
    shown = both.with_columns(_yuan(pl.col(name).round().cast(pl.Int64)).alias(name) for name in money)
    taint = pl.Series([None if one is None else f"{one:.2%}" for one in both["taint"]], dtype=pl.String)
    return shown.with_columns(taint=taint).rename({"cents": "yuan"})


def _record(grids: Sequence[Grid]) -> dict[str, Any] | None:
    """Return the record that a file holds for programs."""
    names = {Words(lang)("sampling.machine") for lang in LANGUAGES}
    for grid in grids:
        pieces = [str(row[1] or "") for row in grid.cells.rows() if len(row) > 1 and str(row[0]).strip() in names]
        if pieces:
            try:
                found = json.loads("".join(pieces))
            except ValueError:
                return None
            return found if isinstance(found, dict) else None
    return None


def _rows(grid: Grid) -> pl.DataFrame | None:
    """Return the rows of the sheet that was filled in, as text; null where it is another sheet."""
    titles = {Words(lang)(f"sampling.{name}"): name for lang in LANGUAGES for name in (*READ_BACK, *CARRIED)}
    for at, row in enumerate(grid.cells.head(SEARCHED_ROWS).rows()):
        places = {titles[str(cell).strip()]: place for place, cell in enumerate(row) if str(cell).strip() in titles}
        if not set(READ_BACK) <= set(places):
            continue
        below = grid.cells.slice(at + 1)
        text = below.select(
            pl.col(str(place)).cast(pl.String).str.strip_chars().replace("", None).alias(name)
            for name, place in places.items()
        )
        return text.filter(pl.any_horizontal(pl.all().is_not_null()))
    return None


def _cents(text: str | None, path: Path, reference: str | None) -> int:
    """Return an amount as whole cents."""
    try:
        amount = Decimal((text or "").replace(",", "").replace("，", "")) * 100
    except InvalidOperation:
        amount = Decimal("NaN")
    if not amount.is_finite() or amount != amount.to_integral_value():
        raise RequestError("error_sampling.no_amount", file=path.name, reference=reference or "–", value=text or "")
    return int(amount)
