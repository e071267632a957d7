"""An engagement as files: the platform's export in its exact shape, a company's ledger, logs, and audit.toml."""

from __future__ import annotations

import json
from datetime import datetime
from typing import TYPE_CHECKING, Any

import polars as pl

from audit_kit import resources
from audit_kit.core import schema
from audit_kit.core.spreadsheet_csv import new_workbook

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path

    from audit_kit.training.world.backup_runs import Archive
    from audit_kit.training.world.shape import World

FORMATS = ("xlsx", "csv", "parquet")
TIME = "%Y-%m-%d %H:%M:%S"
CREATED = datetime(2025, 1, 1)  # noqa: DTZ001  one moment for every workbook, so that its bytes never change
MANY_ROWS = 100_000  # a larger workbook is written row by row, and without the sheet of lines
XLSX_ROWS = 1_000_000
TWO_LINES = 10  # every tenth invoice has two lines
MONEY = ("net", "tax", "gross")
LOGS = ("accounts", "notices", "operations", "confirmations", "substitute", "register", "tickets", "metrics")
SELDOM = ("red_confirmations",)  # written only where there are some
ARCHIVED = ("backups", "backup_checks", "restore_tests", "backup_listing", "schedule")
HIDDEN = ("source_file", "source_row", "cleaning", "date_only")


def write(world: World, folder: Path, *, file_format: str, plain: bool = False, coded: str = "") -> None:
    """Write a world into an empty folder; a `plain` one without its logs. `coded`: what its files are called."""
    month = f"{world.export.period_start:%Y-%m}"
    for name in ("ledger", "platform", *(() if plain else ("logs",))):
        (folder / name).mkdir(parents=True)
    export = f"{_stem(f'export-{month}', 'platform', coded)}.{file_format}"
    _write_platform(world, world.platform, folder / "platform" / export, plain=bool(coded))
    for at, rows in world.earlier.items():
        (folder / "exports").mkdir(exist_ok=True)
        _write_platform(world, rows, folder / "exports" / f"export-{at:%Y-%m-%d}.{file_format}")
    _write_ledger(world.ledger, folder / "ledger" / f"{_stem(f'ledger-{month}', 'ledger', coded)}.{file_format}")
    sources = {} if plain else _write_logs(world, folder, file_format, coded)
    if world.archive:
        sources |= _write_archive(world.archive, folder)
    text = _settings(world, file_format, sources)
    (folder / "audit.toml").write_text(text, encoding="utf-8", newline="\n")


def write_later(world: World, path: Path) -> None:
    """Write the export taken later; the name's ending is the format."""
    _write_platform(world, world.later, path)


def _stem(name: str, table: str, coded: str) -> str:
    """Return the name of a table's file; `coded`: it is numbered, so that no name of another engagement is in it."""
    tables = ("ledger", "platform", "sync_log", *LOGS, *SELDOM)
    return f"{coded}{tables.index(table) + 1:02d}" if coded else name


def _write_platform(world: World, rows: pl.DataFrame, path: Path, *, plain: bool = False) -> None:
    """Write an export: as a workbook with its three sheets (`plain`: with one), as csv (UTF-8 with BOM), or parquet."""
    timed = rows["visible_at"].null_count() < len(rows)
    if path.suffix == ".parquet":
        hidden = HIDDEN if timed else (*HIDDEN, "visible_at")
        rows.drop(hidden).write_parquet(path)
        return
    words = resources.load("simulation")["export"]
    key = pl.coalesce("digital_number", pl.col("invoice_code") + pl.col("invoice_number"))
    details = world.draft.base.select("key", "rate", "good")
    listed = _listed(rows.with_columns(key=key).join(details, on="key", how="left", maintain_order="left"), words)
    if rows is world.platform:
        totals = dict(world.control.select("column", "stated").iter_rows())
    else:
        totals = {name: rows[name].sum() for name in ("net", "tax")}
    stated = {words["money"][name]: [float(total)] for name, total in totals.items()}
    basic = listed.select(*words["basic"], *([words["visible"]] if timed else []))
    basic = pl.concat([basic, pl.DataFrame({words["basic"][0]: [words["total"]]} | stated)], how="diagonal")
    if path.suffix == ".csv":
        _write_csv(basic, path)
        return
    sheets = {words["basic_sheet"]: basic}
    if len(rows) <= MANY_ROWS and not plain:
        lines = _lines(listed, words)
        sheets[words["lines_sheet"]] = lines.select(words["lines"])
        sheets |= _special(lines, words["special"])
    _workbook(path, sheets)


def _listed(rows: pl.DataFrame, words: dict[str, Any]) -> pl.DataFrame:
    """Return the columns of the real export, ids and times as text, and `rate` and `good`."""
    yes, no = pl.lit(words["yes"]), pl.lit(words["no"])
    code, number, digital = words["basic"][1:4]
    return rows.select(
        *(pl.lit(text).alias(header) for header, text in words["rest"].items() if header != words["risk"]),
        pl.col("risk").fill_null(words["rest"][words["risk"]]).alias(words["risk"]),
        *(pl.col(name).fill_null("").alias(header) for name, header in words["texts"].items()),
        *(pl.col(name).cast(pl.Float64).alias(header) for name, header in words["money"].items()),
        "rate",
        "good",
        _counted(words),
        pl.col("invoice_code").fill_null("").alias(code),
        pl.col("invoice_number").fill_null("").alias(number),
        pl.col("digital_number").fill_null(words["none"]).alias(digital),
        pl.col("issued_at").dt.strftime(TIME).alias("开票日期"),
        pl.col("status").cast(pl.String).replace_strict(_labels("statuses")).alias("发票状态"),
        pl.when("positive").then(yes).otherwise(no).alias("是否正数发票"),
        pl.col("visible_at").dt.strftime(TIME).alias(words["visible"]),
    )


def _counted(words: dict[str, Any]) -> pl.Expr:
    """Number the rows of a sheet, as text."""
    return pl.int_range(1, pl.len() + 1).cast(pl.String).alias(words["basic"][0])


def _lines(listed: pl.DataFrame, words: dict[str, Any]) -> pl.DataFrame:
    """Return the sheet of lines: one row a line, every tenth invoice with two."""
    goods = pl.DataFrame(resources.load("simulation")["goods"]["rows"], schema=words["goods"], orient="row")
    net, tax, gross = (words["money"][name] for name in MONEY)
    rows = listed.hstack(goods[listed["good"].to_numpy()]).with_row_index("row")
    split = (pl.col("row") % TWO_LINES == TWO_LINES - 1) & (pl.col(net).abs() > 1)
    parts = {name: (pl.col(name) / 2).round(2) for name in (net, tax)}
    first = [pl.when(split).then(part).otherwise(pl.col(name)).alias(name) for name, part in parts.items()]
    second = [(pl.col(name) - part).round(2).alias(name) for name, part in parts.items()]
    lines = pl.concat([rows.with_columns(first), rows.filter(split).with_columns(second)])
    lines = lines.sort("row", maintain_order=True)
    special = pl.col(words["goods"][1]).is_in(words["special"]["items"]) & (pl.col(words["basic"][3]) != words["none"])
    percent = (pl.col("rate") * 100).round(0).cast(pl.Int64).cast(pl.String) + "%"
    return lines.with_columns(
        _counted(words),
        (pl.col(net) + pl.col(tax)).round(2).alias(gross),
        pl.col(net).alias("单价"),
        pl.when(pl.col("rate") == 0).then(pl.lit(words["exempt"])).otherwise(percent).alias("税率"),
        pl.when(special).then(pl.lit(words["special"]["sheet"])).otherwise(pl.lit("")).alias("特定业务类型"),
    )


def _special(lines: pl.DataFrame, words: dict[str, Any]) -> dict[str, pl.DataFrame]:
    """Return the sheet of a special business, one row an invoice, if there is any; all of it stands elsewhere too."""
    rows = lines.filter(pl.col("特定业务类型") == words["sheet"]).unique("row", keep="first", maintain_order=True)
    constant = (pl.lit(text).alias(header) for header, text in words["facts"].items())
    table = rows.with_columns(pl.int_range(1, pl.len() + 1).cast(pl.String).alias("序号"), *constant)
    return {words["sheet"]: table.select(*words["columns"], *words["facts"])} if len(table) else {}


def _labels(vocabulary: str) -> dict[str, str]:
    """Return the Chinese labels of a vocabulary's words."""
    return {word: label["zh"] for word, label in resources.load("vocabularies")[vocabulary].items()}


def _write_ledger(rows: pl.DataFrame, path: Path) -> None:
    """Write the ledger as a company keeps it: as a workbook, as csv in GB18030, or typed as parquet."""
    words = resources.load("simulation")["ledger"]
    headers: dict[str, str] = words["headers"]
    if path.suffix == ".parquet":
        rows.select(headers.keys()).write_parquet(path)
        return
    status = pl.col("status").cast(pl.String).replace_strict(_labels("statuses"))
    table = rows.with_columns(pl.col(*MONEY).cast(pl.Float64), status).select(headers.keys()).rename(headers)
    if path.suffix == ".csv":
        dated = table.with_columns(pl.col(headers["issued_at"]).dt.strftime("%Y/%m/%d %H:%M:%S"))
        path.write_bytes(dated.write_csv(line_terminator="\r\n", float_precision=2).encode("gb18030"))
        return
    lost = set(rows["cleaning"].is_not_null().arg_true())
    number = list(headers).index("invoice_number")
    _workbook(path, {words["sheet"]: table}, numbers={(row, number) for row in lost})


def _write_csv(table: pl.DataFrame, path: Path) -> None:
    """Write a table as csv, UTF-8 with BOM."""
    table.write_csv(
        path, include_bom=True, line_terminator="\r\n", float_precision=2 if "税额" in table.columns else None
    )


def _write_logs(world: World, folder: Path, file_format: str, coded: str) -> dict[str, str]:
    """Write what is logged beside the invoices; return the paths by the tables."""
    tables = [*LOGS, *(table for table in SELDOM if len(getattr(world, table)))]
    paths = {table: f"logs/{_stem(table, table, coded)}.csv" for table in tables}
    for table, path in paths.items():
        _write_csv(_worded(getattr(world, table), table), folder / path)
    if world.sync_log.is_empty():
        return paths
    return {"sync_log": f"logs/{_write_sync_log(world.sync_log, folder / 'logs', file_format, coded)}"} | paths


def _write_sync_log(rows: pl.DataFrame, folder: Path, file_format: str, coded: str) -> str:
    """Write the sync log, as parquet where it is too long for a workbook; return the name of its file."""
    kind = "parquet" if file_format == "xlsx" and len(rows) > MANY_ROWS else file_format
    path = folder / f"{_stem('sync_log', 'sync_log', coded)}.{kind}"
    if kind == "csv":
        _write_csv(_worded(rows, "sync_log"), path)
    elif kind == "xlsx":
        _workbook(path, {resources.load("simulation")["ledger"]["sync_sheet"]: _worded(rows, "sync_log")})
    else:
        rows.drop("source_file", "source_row").write_parquet(path)
    return path.name


def _worded(rows: pl.DataFrame, table: str) -> pl.DataFrame:
    """Return a canonical table with Chinese headers and words, times as text, and only the columns that are filled."""
    words, headers = resources.load("simulation")["export"], schema.headers(table)
    columns = []
    for name, dtype in rows.schema.items():
        if name in HIDDEN or (len(rows) and rows[name].is_null().all()):
            continue
        column = pl.col(name)
        if isinstance(dtype, pl.Enum):
            column = column.cast(pl.String).replace_strict(_labels(_vocabulary(dtype)))
        elif dtype == pl.Datetime:
            column = column.dt.strftime(TIME)
        elif isinstance(dtype, pl.List):
            column = column.list.join("；")
        elif dtype == pl.Boolean:
            column = pl.when(column).then(pl.lit(words["yes"])).when(~column).then(pl.lit(words["no"]))
        columns.append(column.alias(headers[name]))
    return rows.select(columns)


def _vocabulary(dtype: pl.Enum) -> str:
    """Return the vocabulary that has the words of an enumeration."""
    known = set(dtype.categories)
    return next(name for name, words in resources.load("vocabularies").items() if set(words) == known)


def _write_archive(archive: Archive, folder: Path) -> dict[str, str]:
    """Write the backup tables and the sample of e-invoice files; return the paths by the tables."""
    (folder / "backups").mkdir()
    paths = {table: f"backups/{table}.csv" for table in ARCHIVED}
    for table, path in paths.items():
        _write_csv(_worded(getattr(archive, table), table), folder / path)
    for path, content in archive.files.items():
        file = folder / "invoice_files" / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
    return paths | {"invoice_files": "invoice_files"}


def _workbook(path: Path, sheets: dict[str, pl.DataFrame], *, numbers: Collection[tuple[int, int]] = ()) -> None:
    """Write frames as sheets, every cell of its kind; `numbers`: places of texts that go in as numbers."""
    large = any(len(frame) > MANY_ROWS for frame in sheets.values())
    options = {
        "constant_memory": large,
        "strings_to_formulas": False,
        "strings_to_urls": False,
    }
    with new_workbook(path, options) as book:
        book.set_properties({"created": CREATED, "comments": resources.load("simulation")["settings"]["mark"]})
        time = book.add_format({"num_format": "yyyy-mm-dd hh:mm:ss"})
        for name, frame in sheets.items():
            sheet = book.add_worksheet(name)
            sheet.freeze_panes(1, 0)
            sheet.write_row(0, 0, frame.columns)
            for at, row in enumerate(frame.iter_rows()):
                for place, value in enumerate(row):
                    if value is None or value == "":
                        continue
                    if isinstance(value, datetime):
                        sheet.write_datetime(at + 1, place, value, time)
                    elif isinstance(value, (int, float)) or (at, place) in numbers:
                        sheet.write_number(at + 1, place, float(value))
                    else:
                        sheet.write_string(at + 1, place, value)


def _settings(world: World, file_format: str, others: dict[str, str]) -> str:
    """Return the engagement's audit.toml; `others` are the paths of what stands beside ledger and platform."""
    sources = {"ledger": f"ledger/*.{file_format}", "platform": f"platform/*.{file_format}"}
    sources |= others
    export = world.export
    times = {
        "taken_at": world.taken_at,
        "period_start": export.period_start,
        "period_end": export.period_end,
        "later_taken_at": world.later_taken_at,
    }
    template: str = resources.load("simulation")["settings"]["toml"]
    return template.format(
        name=_quoted(f"{world.taxpayer_name} {export.period_start:%Y-%m}"),
        taxpayer_id=", ".join(_quoted(tax_id) for tax_id in world.taxpayer_ids),
        taxpayer_name=_quoted(world.taxpayer_name),
        direction=world.direction,
        account=export.account,
        month_end=f"{export.period_end:%Y-%m-%d}",
        sources="\n".join([*(f'{table} = "{path}"' for table, path in sources.items()), *_exports(world, file_format)]),
        **{name: moment.isoformat() for name, moment in times.items() if moment},
    )


def _exports(world: World, file_format: str) -> list[str]:
    """Return the line of audit.toml that names the earlier exports, if there are any."""
    entries = [
        f'{{ path = "exports/export-{at:%Y-%m-%d}.{file_format}", taken_at = {at.isoformat()} }}'
        for at in world.earlier
    ]
    return [f"exports = [{', '.join(entries)}]"] if entries else []


def _quoted(value: str) -> str:
    """Return text as a TOML string."""
    return json.dumps(value, ensure_ascii=False)
