"""The trainer's page of a class, with the tables behind it, what people said, and the training log."""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl

from audit_kit.core.spreadsheet_csv import safe_csv
from audit_kit.core.words import LANGUAGES, Words
from audit_kit.paper.document import Document, Facts, Heading, Paragraph, Table
from audit_kit.paper.handouts import folder_of_ours
from audit_kit.paper.pdf_file import page_of
from audit_kit.training.drill import classroom
from audit_kit.training.drill.debrief import QUESTIONS
from audit_kit.training.drill.scenarios import scenarios

if TYPE_CHECKING:
    from pathlib import Path

    from audit_kit.training.drill.classroom import Classroom

EVERY_DAYS = 90
BAR = 20  # signs of a full bar


def write_class(
    folder: Path,
    out: Path,
    *,
    trainer: Path | None = None,
    names: bool = False,
    every_days: int | None = None,
    lang: str = "zh",
) -> Classroom:
    """Score a folder of answers and write the trainer's page, the tables as csv, the feedback and the training log.

    Args:
        folder: see `classroom.gather`.
        out: a new or empty folder, or an earlier one of ours.
        trainer: see `classroom.gather`.
        names: see `classroom.gather`.
        every_days: how often people are trained; null = every 90 days.
        lang: zh or en.

    Raises:
        RequestError: see `classroom.gather`, or `out` holds other files.
    """
    made = classroom.gather(folder, trainer=trainer, names=names, lang=lang)
    log = classroom.training_log(made, every_days=every_days or EVERY_DAYS, names=names, lang=lang)
    with folder_of_ours(out, "class") as place:
        (place / "class.html").write_text(page_of(page(made, lang=lang), lang=lang), encoding="utf-8")
        (place / "training_log.toml").write_text(log, encoding="utf-8")
        for name in ("results", "by_cause", "aside", "feedback"):
            (place / f"{name}.csv").write_bytes(safe_csv(getattr(made, name)))
    return made


def page(made: Classroom, *, lang: str) -> Document:
    """Return the trainer's page: how it went, who struggles with which cause, the trend, which drill next."""
    words = Words(lang)
    people = made.people()
    facts = [
        (words("drill_class.answers"), words.count(made.results.height)),
        (words("drill_class.people"), words.count(people.height)),
        (words("drill_class.mean"), _points(made.results["total"].mean())),
        (words("drill_class.aside"), words.count(made.aside.height)),
    ]
    blocks: list[Heading | Paragraph | Facts | Table] = [Heading(words("drill_class.title"), 0), Facts(facts)]
    blocks += [Heading(words("drill_class.weak")), Paragraph(words("drill_class.weak_how"), "note"), _weak(made, words)]
    blocks += [Heading(words("drill_class.trend")), _trend(made, words)]
    blocks += [Heading(words("drill_class.next")), _people(people, words)]
    if not made.feedback.is_empty():
        blocks.append(Heading(words("drill_class.feedback")))
        heads = [words("drill_class.name"), *(words(f"drill_question.{one}") for one in QUESTIONS)]
        blocks.append(Table(heads, made.feedback.select("name", *QUESTIONS).rows()))
    if not made.aside.is_empty():
        heads = [words("drill_class.sheet"), words("drill_class.reason")]
        blocks += [Heading(words("drill_class.aside")), Table(heads, made.aside.rows())]
    return Document(words("drill_class.title"), blocks, words("drill_class.note"))


def _weak(made: Classroom, words: Words) -> Table:
    who = made.by_cause.filter(pl.col("f1") < classroom.WEAK).group_by("cause").agg(pl.col("name").unique().sort())
    struggling = dict(who.iter_rows())
    rows = [
        (
            words.cause(row["cause"]),
            f"{row['struggling']} / {row['people']}",
            _bar(row["f1"]),
            words("answer.comma").join(struggling.get(row["cause"], [])) or words("unit.nothing"),
        )
        for row in made.weakest().iter_rows(named=True)
    ]
    return Table([words(f"drill_class.{name}") for name in ("cause", "struggling", "found", "who")], rows)


def _trend(made: Classroom, words: Words) -> Table:
    rows = [
        (
            row["session"],
            str(row["day"]),
            str(row["people"]),
            _bar(row["total"] / 100),
            f"{row['least']:.0f}–{row['most']:.0f}",
        )
        for row in made.trend().iter_rows(named=True)
    ]
    return Table([words(f"drill_class.{name}") for name in ("session", "day", "people", "mean", "range")], rows)


def _people(people: pl.DataFrame, words: Words) -> Table:
    at = LANGUAGES.index(words.lang)
    rows = [
        (
            row["name"],
            str(row["sessions"]),
            f"{row['first']:.0f} → {row['last']:.0f}" if row["sessions"] > 1 else f"{row['last']:.0f}",
            words.cause(row["weakest"]) if row["weakest"] else words("unit.nothing"),
            words(
                "drill_class.next_said", title=scenarios()[row["next"]].title[at], level=row["level"], name=row["next"]
            ),
        )
        for row in people.iter_rows(named=True)
    ]
    return Table(
        [words(f"drill_class.{name}") for name in ("name", "sessions", "points", "weakest", "next_drill")], rows
    )


def _bar(share: float) -> str:
    """Return a share as a bar of letters with its per cent, which prints everywhere."""
    full = round(share * BAR)
    return f"{'█' * full}{'░' * (BAR - full)} {share:.0%}"


def _points(mean: object) -> str:
    return f"{mean:.1f}" if isinstance(mean, float) else "–"
