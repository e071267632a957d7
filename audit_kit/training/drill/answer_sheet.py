"""What a trainee answers: named causes with confidence and evidence, and a label for every invoice."""

from __future__ import annotations

import json
import tomllib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import polars as pl

from audit_kit import resources
from audit_kit.core import outputs
from audit_kit.core.cause_records import of_stage, records
from audit_kit.core.errors import RequestError
from audit_kit.core.spreadsheet_csv import undone

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

ROW_HEADERS = {
    "流水号": "serial",
    "serial": "serial",
    "ledger_row": "ledger_row",
    "台账行": "ledger_row",
    "发票主键": "key",
    "invoice_key": "key",
}
CAUSE_HEADERS = ("cause", "原因")
NAMED = {"cause", "confidence", "evidence"}
SURE = 0.9  # the confidence of a cause that only labels name


@dataclass(frozen=True, kw_only=True)
class Named:
    """A cause named by the trainee: confidence from 0 to 1, evidence as serials, numbers or words."""

    cause: str
    confidence: float
    evidence: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Answers:
    """A trainee's answer. `labels`: `ledger_row`, `cause`; an invoice without a label is called merely late.

    `tell`: who is told, in this order. `report`: the parts of the problem report. `blank`: the sheet as it was given.
    """

    name: str = ""
    tell: tuple[str, ...] = ()
    report: Mapping[str, Any] = field(default_factory=dict)
    blank: bool = False
    hypothesis: str = ""
    named: tuple[Named, ...] = ()
    labels: pl.DataFrame = field(
        default_factory=lambda: pl.DataFrame(schema={"ledger_row": pl.UInt32(), "cause": pl.String()})
    )


def read_answers(path: Path, truth: pl.DataFrame) -> Answers:
    """Read answers: a TOML file as the drill's own, or a table of labels alone (csv or parquet, such as findings).

    `truth` maps serials and numbers to ledger rows. A table alone names every cause in it but lateness.

    Raises:
        RequestError: a file that is not there or cannot be read, an unknown cause, a confidence that is none.
    """
    if not path.is_file():
        raise RequestError("error_training.no_answers", path=path)
    if path.suffix.lower() != ".toml":
        return from_labels(_labels(path, truth))
    content = sheet(path)
    table = labels_of(path)
    labels = _labels(table, truth) if table else Answers().labels
    named = tuple(_named(one, path.name) for one in content.get("causes", []))
    tell = content.get("tell", [])
    report = content.get("report", {})
    if not isinstance(tell, list) or not isinstance(report, dict):
        raise RequestError("error_training.response_shape", name=path.name)
    return Answers(
        name=str(content.get("name", "")),
        hypothesis=str(content.get("hypothesis", "")),
        named=named,
        labels=labels,
        tell=tuple(map(str, tell)),
        report=report,
        blank=labels.is_empty() and is_blank(path, str(content.get("drill", ""))),
    )


def sheet(path: Path) -> dict[str, Any]:
    """Return what a sheet of answers says.

    Raises:
        RequestError: it cannot be read.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as error:
        raise RequestError("error_training.answers_unreadable", file=path.name, error=error) from error


def template(drill: str) -> str:
    """Return the sheet that a trainee is given; `drill` is the beginning of the digest."""
    return str(resources.load("drills")["answers"]["template"]).replace("{drill}", drill)


def is_blank(path: Path, drill: str) -> bool:
    """Tell whether a sheet is as it was given."""
    return path.read_text(encoding="utf-8-sig").split() == template(drill).split()


def labels_of(path: Path) -> Path | None:
    """Return the table of labels that goes with a file of answers; none where there is none."""
    if path.suffix.lower() != ".toml":
        return None
    table = path.parent / str(sheet(path).get("labels", "labels.csv"))
    return table if table.is_file() else None


def from_labels(labels: pl.DataFrame, *, confidence: float = SURE, evidence: int = 3) -> Answers:
    """Return answers that name every cause in the labels but lateness, their first rows as evidence.

    Raises:
        RequestError: an unknown cause.
    """
    for cause in labels["cause"].drop_nulls().unique(maintain_order=True):
        _known(cause)
    causes = labels.filter(~pl.col("cause").is_in(of_stage("age", "unbooked")))
    rows = causes.group_by("cause", maintain_order=True).agg(pl.col("ledger_row").head(evidence))
    named = [Named(cause=cause, confidence=confidence, evidence=tuple(map(str, at))) for cause, at in rows.iter_rows()]
    return Answers(named=tuple(named), labels=labels)


def write(folder: Path, answers: Answers, rows: pl.DataFrame) -> Path:
    """Write answers as a sheet and its labels into a drill's folder; return the sheet.

    `rows` maps `ledger_row` to `serial`, or to `key` where there is no serial.
    """
    path = folder / "answers.toml"
    drill = str(sheet(path).get("drill", "")) if path.is_file() else ""
    said = {"drill": drill, "name": answers.name, "hypothesis": answers.hypothesis, "labels": "labels.csv"}
    lines = [f"{name} = {json.dumps(text, ensure_ascii=False)}" for name, text in said.items()]
    lines += [f"tell = {json.dumps(answers.tell)}"] if answers.tell else []
    for one in answers.named:
        lines += ["", "[[causes]]", f"cause = {json.dumps(one.cause)}", f"confidence = {one.confidence:.4g}"]
        lines += [f"evidence = {json.dumps(one.evidence, ensure_ascii=False)}"]
    lines += ["", "[report]"] if answers.report else []
    lines += [f"{part} = {json.dumps(said, ensure_ascii=False)}" for part, said in answers.report.items()]
    named = rows.select("ledger_row", 流水号=pl.coalesce("serial", "key"))
    labels = answers.labels.join(named, on="ledger_row", maintain_order="left").select("流水号", 原因="cause")
    with outputs.writing(folder / "labels.csv") as made:
        labels.write_csv(made, include_bom=True)
    with outputs.writing(path) as made:
        made.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def write_feedback(folder: Path, said: Mapping[str, str]) -> Path:
    """Write the answers to the three questions into a drill's folder; return the file."""
    path = folder / "feedback.toml"
    known = sheet(path) if path.is_file() else {}
    content = {"drill": str(known.get("drill", "")), "name": str(known.get("name", "")), **said}
    with outputs.writing(path) as made:
        lines = [f"{name} = {json.dumps(text, ensure_ascii=False)}\n" for name, text in content.items()]
        made.write_text("".join(lines), encoding="utf-8")
    return path


def _named(one: dict[str, Any], name: str) -> Named:
    """Return one named cause, checked."""
    if not isinstance(one, dict) or not one.keys() <= NAMED or "cause" not in one:
        raise RequestError("error_training.cause_shape", name=name, known=", ".join(map(str, one)))
    confidence = one.get("confidence", SURE)
    if isinstance(confidence, bool) or not isinstance(confidence, (int, float)) or not 0 <= confidence <= 1:
        raise RequestError("error_training.confidence", name=name, cause=one["cause"], confidence=confidence)
    evidence = one.get("evidence", [])
    texts = evidence if isinstance(evidence, list) else [evidence]
    return Named(cause=_known(str(one["cause"])), confidence=float(confidence), evidence=tuple(map(str, texts)))


def _known(cause: str) -> str:
    """Return the code of a cause given by code or title."""
    titles = {title: code for code, one in records().items() for title in one.title}
    code = cause.strip() if cause.strip() in records() else titles.get(cause.strip(), "")
    if not code:
        raise RequestError("error_training.no_cause", cause=cause)
    return code


def _labels(path: Path, truth: pl.DataFrame) -> pl.DataFrame:
    """Return `ledger_row`, `cause` of a table of labels, whatever names its rows."""
    try:
        table = (
            pl.read_parquet(path, glob=False) if path.suffix == ".parquet" else pl.read_csv(path, infer_schema=False)
        )
    except (pl.exceptions.PolarsError, OSError) as error:
        raise RequestError("error_training.no_labels", file=path.name, error=str(error).splitlines()[0]) from error
    cause = next((name for name in CAUSE_HEADERS if name in table.columns), None)
    row = next((name for name in ROW_HEADERS if name in table.columns), None)
    if cause is None or row is None:
        raise RequestError("error_training.label_columns", file=path.name, columns=table.columns)
    at = undone(table[row].cast(pl.String).str.strip_chars())
    given = table.select(at.alias("at"), pl.col(cause).alias("cause"))
    given = given.drop_nulls().filter(pl.col("cause") != "")
    codes = {text: _known(text) for text in given["cause"].unique()}
    known = truth.select(pl.col(ROW_HEADERS[row]).cast(pl.String).alias("at"), row="ledger_row").unique("at")
    placed = given.join(known, on="at", how="inner", maintain_order="left")
    labels = placed.select(ledger_row="row", cause=pl.col("cause").replace_strict(codes, return_dtype=pl.String))
    return labels.unique("ledger_row", keep="first", maintain_order=True)
