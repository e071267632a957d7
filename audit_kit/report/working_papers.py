"""The findings as an auditor's working paper: both sides' values side by side, and columns for what was concluded.

What an auditor fills in comes back with the next report by the finding's id, and is never lost when a month is made
again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl

from audit_kit.analysis import events as rolled
from audit_kit.analysis.work import analyse
from audit_kit.core import outputs, schema
from audit_kit.core.errors import RequestError, SourceError
from audit_kit.core.words import LANGUAGES, Words
from audit_kit.loaders.formats.opening import open_grids
from audit_kit.report import workbook
from audit_kit.views.show import event_rows

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from audit_kit.loaders.engagement.engagement import Engagement
    from audit_kit.loaders.formats.grid import Grid

FILLED_IN = ("conclusion", "audit_note", "prepared_by", "reviewed_by")
NOTES = FILLED_IN[1:]
CONCLUSIONS = {name: pl.String() for name in ("finding_id", *FILLED_IN)}
COMPARED = (
    "net", "tax", "gross", "issued_at", "status", "seller_tax_id", "seller_name", "buyer_tax_id", "buyer_name",
)  # fmt: skip
NUMBER_OUTCOMES = ("matched_cleaned", "mistyped")
SEARCHED_ROWS = 20
LETTERS = {"missing": "Q", "sync": "T", "backup": "B", "response": "X"}


def papers(
    found: pl.DataFrame,
    ledger: pl.DataFrame,
    platform: pl.DataFrame,
    matches: pl.DataFrame,
    *,
    concluded: pl.DataFrame,
    direction: str,
    words: Words,
    events: pl.DataFrame | None = None,
) -> pl.DataFrame:
    """Return one row a finding as it stands in the working paper, words in the reader's language.

    Args:
        found: schema.Findings, in the order in which they are shown.
        ledger: the rows that `ledger_row` of findings and matches counts.
        platform: the rows that `platform_row` counts.
        matches: schema.Matches.
        concluded: `CONCLUSIONS`, as filled in before.
        direction: `issued` or `received`: on which side the other party stands.
        words: the reader's language.
        events: `finding_id`, `event` (the event's place); null = no such column.
    """
    text = pl.String()
    rows = found.with_columns(pl.col("platform_row") if "platform_row" in found.columns else pl.lit(None, pl.UInt32))
    rows = _beside(rows, ledger, platform, matches, words)
    party = "buyer_name" if direction == "issued" else "seller_name"
    booked = _gathered(ledger, rows["ledger_row"])
    listed = _gathered(platform, rows["platform_row"])
    either = [pl.Series(name, _first(booked, listed, name)) for name in ("issued_at", "tax", party, "voucher")]
    rows = rows.with_columns(
        either[0],
        either[1],
        either[2].alias("counterparty"),
        either[3],
        reference=pl.format(
            "{}-{}",
            pl.col("area").cast(text).replace_strict(LETTERS, default="X"),
            pl.col("area").cum_count().over("area").cast(text).str.zfill(4),
        ),
    )
    for known in [concluded, *([] if events is None else [events])]:
        rows = rows.join(known, on="finding_id", how="left", maintain_order="left")
    causes = words.causes(found["cause"].unique())
    return rows.select(
        "reference",
        pl.col("severity").cast(text).replace(words.terms("severities", schema.SEVERITIES)),
        pl.col("cause").replace(causes),
        *("invoice_key", "issued_at", "counterparty", "ledger_value", "platform_value", "tax", "amount"),
        *("probability_late", "evidence", "next_step", *FILLED_IN),
        *(["event"] if events is not None else []),
        "voucher",
        pl.col("area").cast(text).replace(words.terms("areas", schema.AREAS)),
        pl.col("state").cast(text).replace(words.section("state")),
        *("source_file", "source_row", "finding_id"),
        cause_code=pl.col("cause"),
    )


def write_findings(
    rules: Callable[..., pl.DataFrame], engagement: Engagement, out: Path, *, lang: str = "zh"
) -> pl.DataFrame:
    """Write what rules such as `analysis.diagnose` find in an engagement, and return it; a workbook is a working paper.

    No file of the engagement is ever the place of the findings.

    Raises:
        RequestError, PlaceError: see `workbook.write_table`.
    """
    used = [path for entries in engagement.sources.values() for entry in entries for path in entry.paths]
    inputs = [engagement.folder / "audit.toml", *used]
    outputs.check(out, inputs=inputs)
    found = rules(engagement, lang=lang)
    if out.suffix.lower() != ".xlsx":
        workbook.write_table(found, out, table="findings", lang=lang, inputs=inputs)
        return found
    whole, words = analyse(engagement, lang=lang), Words(lang)
    sides = {side: getattr(whole, side) for side in ("ledger", "platform", "matches")}
    material = rolled.materiality(whole.ledger, engagement.policy)
    weighed = rolled.weigh(found, **sides, materiality=material)
    events = rolled.roll_up(weighed, materiality=material)
    paper = papers(
        found.sort(schema.by_severity(), pl.col("amount").abs(), "finding_id", descending=[False, True, False]),
        **sides,
        concluded=pl.DataFrame(schema=CONCLUSIONS),
        direction=engagement.direction,
        words=words,
        events=weighed.join(events.select("key", "event"), on="key", how="left").select("finding_id", "event"),
    )
    sheets = [
        workbook.findings_sheet(paper, words),
        workbook.events_sheet(event_rows.sheet_of(events, words), words),
    ]
    with outputs.writing(out, inputs=inputs) as made:
        workbook.write_workbook(made, sheets, lang=lang)
    return found


def matched_rows(matches: pl.DataFrame, ledger: pl.DataFrame, platform: pl.DataFrame, *, words: Words) -> pl.DataFrame:
    """Return matches as a person reads them: what became of each row, both sides' fields, and the rows of the files."""
    booked, listed = _gathered(ledger, matches["ledger_row"]), _gathered(platform, matches["platform_row"])
    where = pl.concat(
        [_place(ledger, matches["ledger_row"], "ledger"), _place(platform, matches["platform_row"], "platform")],
        how="horizontal",
    )
    heads = schema.headers("ledger") if words.lang == "zh" else {}
    physical = platform["source_row"] if "source_row" in platform.columns else None
    candidates = (
        pl.col("candidates")
        if physical is None
        else pl.Series(
            "candidates", [[physical[at] for at in row] for row in matches["candidates"].to_list()], pl.List(pl.UInt32)
        )
    )
    either = {name: _first(booked, listed, name) for name in ("issued_at", "seller_name", "buyer_name")}
    return matches.hstack(where).select(
        pl.col("outcome").cast(pl.String).replace(words.terms("outcomes", schema.OUTCOMES)),
        "invoice_key",
        *(pl.Series(name, values) for name, values in either.items()),
        booked["gross"].alias("ledger_gross"),
        listed["gross"].alias("platform_gross"),
        pl.col("differences").list.eval(pl.element().replace(heads)),
        pl.col("cleaning").list.eval(pl.element().cast(pl.String).replace(words.terms("cleanings", schema.CLEANINGS))),
        *("ledger_file", "ledger_line", "platform_file", "platform_line"),
        candidates,
    )


def _place(side: pl.DataFrame, positions: pl.Series, name: str) -> pl.DataFrame:
    """Return the file and the physical row of each position."""
    return pl.DataFrame(
        {
            f"{name}_{part}": side[column].gather(positions)
            for part, column in (("file", "source_file"), ("line", "source_row"))
        }
    )


def _beside(
    rows: pl.DataFrame, ledger: pl.DataFrame, platform: pl.DataFrame, matches: pl.DataFrame, words: Words
) -> pl.DataFrame:
    """Add `ledger_value` and `platform_value`: what differs as each side has it, or that one side has nothing."""
    known = matches.filter(pl.col("ledger_row").is_not_null()).select(
        "ledger_row", "differences", "outcome", of_match="platform_row"
    )
    rows = rows.join(known, on="ledger_row", how="left", maintain_order="left").with_columns(
        platform_row=pl.coalesce("platform_row", "of_match")
    )
    ours, theirs = pl.col("ledger_row").is_not_null(), pl.col("platform_row").is_not_null()
    sides = {
        "ledger_value": _stated(rows, ledger, rows["ledger_row"], words),
        "platform_value": _stated(rows, platform, rows["platform_row"], words),
    }
    rows = rows.with_columns(pl.Series(name, values, dtype=pl.String) for name, values in sides.items())
    return rows.with_columns(
        ledger_value=pl.when(~ours & theirs).then(pl.lit(words("workbook.not_booked"))).otherwise("ledger_value"),
        platform_value=pl.when(ours & ~theirs).then(pl.lit(words("workbook.not_listed"))).otherwise("platform_value"),
    )


def _stated(rows: pl.DataFrame, side: pl.DataFrame, positions: pl.Series, words: Words) -> pl.Series:
    """Return the fields that differ as one side has them; of rows without a difference, its number or its amount."""
    values = _gathered(side, positions)
    heads = schema.headers("ledger") if words.lang == "zh" else {name: name.replace("_", " ") for name in COMPARED}
    frame = rows.select("differences", pl.col("outcome").cast(pl.String)).hstack(values)
    parts = [
        pl.when(pl.col("differences").list.contains(name)).then(
            pl.format(f"{heads[name]} {{}}", _as_text(frame, name, words))
        )
        for name in COMPARED
        if name in frame.columns
    ]
    number = pl.coalesce(
        "digital_number", pl.concat_str(["invoice_code", "invoice_number"], separator=" ", ignore_nulls=True)
    )
    own = pl.when(pl.col("outcome").is_in(NUMBER_OUTCOMES)).then(number).otherwise(_as_text(frame, "gross", words))
    differing = pl.concat_str(parts, separator="；", ignore_nulls=True)
    stated = pl.when(pl.col("differences").list.len() > 0).then(differing).otherwise(own)
    return frame.select(pl.when(positions.is_not_null()).then(stated)).to_series()


def _as_text(frame: pl.DataFrame, name: str, words: Words) -> pl.Expr:
    column = pl.col(name)
    if frame.schema[name].is_temporal():
        return column.dt.strftime("%Y-%m-%d").fill_null("–")
    if name == "status":
        return column.cast(pl.String).replace(words.terms("statuses", schema.STATUSES)).fill_null("–")
    return column.cast(pl.String).fill_null("–")


def _gathered(side: pl.DataFrame, positions: pl.Series) -> pl.DataFrame:
    """Return the rows at these positions, null where there is none; columns that the side lacks are null."""
    types = schema.dtypes("ledger")
    names = (*COMPARED, "digital_number", "invoice_code", "invoice_number", "voucher")
    found = [
        (
            side[name].gather(positions)
            if name in side.columns
            else pl.Series([None] * len(positions), dtype=types[name])
        )
        for name in names
    ]
    return pl.DataFrame([column.alias(name) for column, name in zip(found, names, strict=True)])


def _first(booked: pl.DataFrame, listed: pl.DataFrame, name: str) -> pl.Series:
    """Return a column of the ledger's rows, of the platform's where there is none."""
    return booked.select(pl.coalesce(pl.col(name), listed[name])).to_series()


def conclusions(files: Sequence[Path]) -> pl.DataFrame:
    """Return what auditors filled into working papers, the later files before the earlier: see `CONCLUSIONS`.

    Raises:
        RequestError: a file is no working paper, or cannot be read.
    """
    parts = [_conclusions_of(file) for file in files]
    told = pl.concat([pl.DataFrame(schema=CONCLUSIONS), *reversed(parts)])
    return told.unique("finding_id", keep="first", maintain_order=True)


def _conclusions_of(file: Path) -> pl.DataFrame:
    try:
        grids = open_grids(file)
    except SourceError as error:
        raise RequestError("error_report.paper_unreadable", file=file, error=error) from error
    titles = {Words(lang)(f"workbook.{name}"): name for lang in LANGUAGES for name in ("finding_id", *FILLED_IN)}
    parts = [part for grid in grids if (part := _filled_in(grid, titles)) is not None]
    if not parts:
        raise RequestError("error_report.no_paper", file=file)
    return pl.concat(parts)


def _filled_in(grid: Grid, titles: dict[str, str]) -> pl.DataFrame | None:
    """Return what a sheet has in the columns to fill in; null where it has no such columns."""
    for at, row in enumerate(grid.cells.head(SEARCHED_ROWS).rows()):
        places = {titles[str(cell).strip()]: place for place, cell in enumerate(row) if str(cell).strip() in titles}
        if "finding_id" not in places or len(places) < 2:  # noqa: PLR2004  the id, and something to fill in
            continue
        below = grid.cells.slice(at + 1)
        kept = below.select(
            (pl.col(str(places[name])) if name in places else pl.lit(None))
            .cast(pl.String)
            .str.strip_chars()
            .replace("", None)
            .alias(name)
            for name in CONCLUSIONS
        )
        return kept.filter(pl.col("finding_id").is_not_null() & pl.any_horizontal(pl.col(FILLED_IN).is_not_null()))
    return None


def settled(concluded: pl.DataFrame, found: pl.DataFrame) -> pl.DataFrame:
    """Return what was concluded of findings that this report no longer has."""
    return concluded.join(found, on="finding_id", how="anti", maintain_order="left")
