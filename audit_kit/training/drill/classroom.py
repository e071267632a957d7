"""A class: a folder of answers scored against the sealed truths; who struggles with what, the trend, what is next."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import date, datetime
from typing import TYPE_CHECKING, Any

import polars as pl

from audit_kit.core.errors import AuditError, RequestError
from audit_kit.core.words import LANGUAGES, Words
from audit_kit.training.drill import answer_sheet, drill, scoring, sealing
from audit_kit.training.drill.debrief import QUESTIONS
from audit_kit.training.drill.making import ANSWERS, FEEDBACK, ID_LETTERS, LABELS
from audit_kit.training.drill.scenarios import group_of, scenarios

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from audit_kit.training.drill.sealing import Sealed

RESULTS: dict[str, Any] = {
    "session": pl.String(), "day": pl.Date(), "name": pl.String(), "drill": pl.String(), "scenario": pl.String(),
    "level": pl.Int64(), "total": pl.Float64(), "macro_f1": pl.Float64(), "hint_cost": pl.Int64(),
    "false": pl.Int64(), "order": pl.Float64(), "report": pl.Float64(), "file": pl.String(),
}  # fmt: skip
BY_CAUSE: dict[str, Any] = {
    "session": pl.String(), "name": pl.String(), "cause": pl.String(), "recall": pl.Float64(), "f1": pl.Float64(),
}  # fmt: skip
ASIDE: dict[str, Any] = {"file": pl.String(), "reason": pl.String()}
SAID: dict[str, Any] = {"session": pl.String(), "name": pl.String(), **dict.fromkeys(QUESTIONS, pl.String())}
WEAK = 0.6  # below this mean F1 a cause is one that people struggle with
STRONG = 80.0  # points from which a harder drill comes next
HARDEST = 5


@dataclass(frozen=True, kw_only=True)
class Classroom:
    """The scored answers of a class: RESULTS, BY_CAUSE (causes that were there), ASIDE (files not scored), SAID."""

    results: pl.DataFrame
    by_cause: pl.DataFrame
    aside: pl.DataFrame
    feedback: pl.DataFrame

    def weakest(self) -> pl.DataFrame:
        """Return `cause`, `people`, `struggling` (below WEAK), `f1` (mean), the hardest first."""
        grouped = self.by_cause.group_by("cause").agg(
            people=pl.col("name").n_unique(), struggling=(pl.col("f1") < WEAK).sum(), f1=pl.col("f1").mean()
        )
        return grouped.sort("f1", "cause")

    def trend(self) -> pl.DataFrame:
        """Return `session`, `day`, `people`, `total` (mean), `least`, `most`, in order of time."""
        grouped = self.results.group_by("session").agg(
            day=pl.col("day").max(),
            people=pl.col("name").n_unique(),
            total=pl.col("total").mean(),
            least=pl.col("total").min(),
            most=pl.col("total").max(),
        )
        return grouped.sort("day", "session")

    def people(self) -> pl.DataFrame:
        """Return `name`, `sessions`, `first`, `last` (points), `weakest` (cause), `next` (scenario), `level`."""
        rows = []
        for (name,), own in self.results.sort("day", "session").group_by("name", maintain_order=True):
            causes = self.by_cause.filter((pl.col("name") == name) & (pl.col("f1") < WEAK)).sort("f1", "cause")
            weak = causes["cause"].to_list()
            level = int(own["level"][-1])
            wanted = min(level + 1, HARDEST) if own["total"][-1] >= STRONG else level
            found, at = next_drill(weak, wanted, set(own["scenario"]))
            rows.append(
                (name, own["session"].n_unique(), own["total"][0], own["total"][-1], *(weak or [None])[:1], found, at)
            )
        types = [pl.String(), pl.Int64(), pl.Float64(), pl.Float64(), pl.String(), pl.String(), pl.Int64()]
        names = ("name", "sessions", "first", "last", "weakest", "next", "level")
        return pl.DataFrame(rows, schema=dict(zip(names, types, strict=True)), orient="row").sort("last", "name")


def next_drill(weak: list[str], level: int, played: set[str]) -> tuple[str, int]:
    """Return the scenario to play next and its level: one that holds the weakest cause, then one not played yet."""

    def merit(name: str) -> tuple[bool, bool, bool, int, str]:
        one = scenarios()[name]
        holds = bool(weak) and weak[0] in one.causes
        kin = bool(weak) and any(group_of(cause) == group_of(weak[0]) for cause in one.causes)
        return not holds, not kin, name in played, min(abs(at - level) for at in one.levels), name

    best = min((name for name, one in scenarios().items() if one.levels), key=merit)
    return best, min(scenarios()[best].levels, key=lambda at: (abs(at - level), at))


def gather(folder: Path, *, trainer: Path | None = None, names: bool = False, lang: str = "zh") -> Classroom:
    """Score every answer in a folder: `*.toml` or tables of labels, in it or in a folder a person or a session.

    A sheet names its drill by the beginning of the digest; where there is one drill only, that is meant. The session
    is the folder that holds the sheets, or the sheet's `session`, else the day of the file. What cannot be scored is
    set aside with its reason.

    Args:
        folder: the answers.
        trainer: the folder with the truths; null = they lie in `folder` or beside it.
        names: show names; else they are masked.
        lang: of the reasons.

    Raises:
        RequestError: no such folder, no truth at all, or no answer.
    """
    if not folder.is_dir():
        raise RequestError("error_training.no_answers", path=folder)
    truths = _truths([trainer] if trainer else [folder, folder.resolve().parent])
    if not truths:
        raise RequestError("error_training.no_truths", folder=trainer or folder)
    results: list[tuple[Any, ...]] = []
    causes: list[tuple[Any, ...]] = []
    aside: list[tuple[str, str]] = []
    for path in _sheets(folder):
        place = path.relative_to(folder).as_posix()
        try:
            row, own = _one(path, folder, truths, lang)
        except AuditError as error:
            aside.append((place, error.said(lang)))
            continue
        results.append((*row, place))
        causes += own
    if not results and not aside:
        raise RequestError("error_training.no_answers", path=folder)
    made = Classroom(
        results=pl.DataFrame(results, schema=RESULTS, orient="row"),
        by_cause=pl.DataFrame(causes, schema=BY_CAUSE, orient="row"),
        aside=pl.DataFrame(aside, schema=ASIDE, orient="row"),
        feedback=pl.DataFrame(list(_feedback(folder)), schema=SAID, orient="row"),
    )
    return made if names else _masked(made, Words(lang))


def _truths(places: list[Path]) -> dict[str, Sealed]:
    """Return what is sealed by the beginning of its digest."""
    found = {}
    for path in (path for place in places for path in sorted(place.glob(f"*{sealing.ENDING}"))):
        sealed = sealing.read(path)
        sealing.check_log(sealed)
        found[sealed.digest[:ID_LETTERS]] = sealed
    return found


def _sheets(folder: Path) -> Iterator[Path]:
    """Return the files that are answers; labels that a sheet names, and what else a drill's folder holds, are none."""
    sheets = [path for path in sorted(folder.rglob("*.toml")) if _is_sheet(path.relative_to(folder))]
    named = {labels.resolve() for sheet in sheets if (labels := _labels_of(sheet))}
    tables = [path for ending in ("csv", "parquet") for path in sorted(folder.rglob(f"*.{ending}"))]
    apart = [
        path
        for path in tables
        if path.resolve() not in named and path.name != LABELS and _is_sheet(path.relative_to(folder))
    ]
    yield from (*sheets, *apart)


def _is_sheet(path: Path) -> bool:
    return not path.name.endswith(FEEDBACK) and path.name != "audit.toml" and drill.ENGAGEMENT not in path.parts


def _labels_of(sheet: Path) -> Path | None:
    try:
        return answer_sheet.labels_of(sheet)
    except RequestError:
        return None


def _one(
    path: Path, folder: Path, truths: Mapping[str, Sealed], lang: str
) -> tuple[tuple[Any, ...], list[tuple[Any, ...]]]:
    """Return a row of RESULTS without its file, and those of BY_CAUSE."""
    content = answer_sheet.sheet(path) if path.suffix == ".toml" else {}
    sealed = _sealed_of(str(content.get("drill", "")), path, truths)
    receipt = path.parent / drill.RECEIPT
    if receipt.is_file() and drill.digest_of(path) not in receipt.read_text(encoding="utf-8"):
        raise RequestError("error_training.answers_changed", file=drill.RECEIPT)
    given = answer_sheet.read_answers(path, sealed.truth)
    made = drill.scored(sealed, given, lang=lang)
    day = datetime.fromtimestamp(path.stat().st_mtime).date()  # noqa: DTZ006  the day on the wall
    said = content.get("day")
    day = said if isinstance(said, date) and not isinstance(said, datetime) else day
    session = _session(path, folder, str(content.get("session", "")), day)
    name = _name(path, folder, given.name)
    reply = made.response
    row = (
        *(session, day, name, sealed.digest[:ID_LETTERS], sealed.content["scenario"], sealed.content["level"]),
        *(made.total, made.macro_f1, made.hint_cost, len(made.false)),
        *((reply.order, reply.report) if reply and reply.given else (None, None)),
    )
    there = made.causes.filter((pl.col("true") > 0) & ~pl.col("cause").is_in(scoring.NOT_CAUSES))
    own = [(session, name, *rest) for rest in there.select("cause", "recall", "f1").iter_rows()]
    return row, own


def _sealed_of(named: str, path: Path, truths: Mapping[str, Sealed]) -> Sealed:
    """Return what is sealed of the drill that an answer is to."""
    if named and named[:ID_LETTERS] in truths:
        return truths[named[:ID_LETTERS]]
    beside = path.parent / sealing.SEAL
    if not named and beside.is_file():
        named = beside.read_text(encoding="utf-8").strip()[:ID_LETTERS]
    if not named and len(truths) == 1:
        return next(iter(truths.values()))
    if named not in truths:
        raise RequestError("error_training.which_drill", file=path.name, drill=named or "–")
    return truths[named]


def _session(path: Path, folder: Path, said: str, day: date) -> str:
    """Return the session: as said, else the folder below the given one that holds the sheets or people's folders."""
    between = path.relative_to(folder).parts[:-1]
    if path.name == ANSWERS:
        between = between[:-1]
    return said or (between[0] if between else f"{day:%Y-%m-%d}")


def _name(path: Path, folder: Path, said: str) -> str:
    """Return who answered: as said, else the name of the person's folder or of the file."""
    own = path.name == ANSWERS and path.parent != folder
    return said.strip() or (path.parent.name if own else path.stem)


def _feedback(folder: Path) -> Iterator[tuple[str, ...]]:
    """Return what people wrote on the three questions, of every sheet that holds anything."""
    for path in sorted(folder.rglob(f"*{FEEDBACK}")):
        try:
            said = answer_sheet.sheet(path)
        except RequestError:
            continue
        answers = [str(said.get(question, "")).strip() for question in QUESTIONS]
        if any(answers):
            between = path.relative_to(folder).parts[:-1]
            name = str(said.get("name", "")).strip() or (path.parent.name if between else path.stem)
            yield (between[0] if len(between) > 1 else "", name, *answers)


def _masked(made: Classroom, words: Words) -> Classroom:
    """Return a class with signs for names, the order of which says nothing; what may hold a name is hidden."""
    known = {*made.results["name"], *made.feedback["name"]}
    order = sorted(known, key=lambda name: hashlib.sha256(name.encode()).hexdigest())
    signs = {name: words("drill_class.person", number=at) for at, name in enumerate(order, 1)}
    files = [words("drill_class.file", number=at) for at in range(1, made.aside.height + 1)]

    def sign(frame: pl.DataFrame) -> pl.DataFrame:
        return frame.with_columns(pl.col("name").replace(signs))

    return Classroom(
        results=sign(made.results).with_columns(file=pl.lit(None, pl.String)),
        by_cause=sign(made.by_cause),
        aside=made.aside.with_columns(
            file=pl.Series(files, dtype=pl.String), reason=pl.lit(words("drill_class.not_scored"))
        ),
        feedback=sign(made.feedback),
    )


def training_log(made: Classroom, *, every_days: int, names: bool, lang: str) -> str:
    """Return the entries for an engagement's `audit.toml`: each session, and when the next is due."""
    lines = ["# audit.toml", ""]
    at = LANGUAGES.index(lang)
    last = made.results["day"].max()
    for row in made.trend().iter_rows(named=True):
        own = made.results.filter(pl.col("session") == row["session"])
        titles = [
            scenarios()[name].title[at] if name in scenarios() else name for name in own["scenario"].unique().sort()
        ]
        lines += ["[[training_log]]", f"date = {row['day']:%Y-%m-%d}", f"drill = {_quoted('; '.join(titles))}"]
        lines += [f"people = {row['people']}", f"score = {row['total']:.1f}"]
        lines += [f"who = [{', '.join(_quoted(name) for name in own['name'].unique().sort())}]"] if names else []
        lines += [f"note = {_quoted(row['session'])}", ""]
    lines += [
        "[training]",
        f"every_days = {every_days}",
        *([f"last = {last:%Y-%m-%d}"] if isinstance(last, date) else []),
        "",
    ]
    return "\n".join(lines)


def _quoted(text: str) -> str:
    """Return text as a TOML string on one line."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return '"' + "".join(letter if letter.isprintable() else " " for letter in escaped) + '"'
