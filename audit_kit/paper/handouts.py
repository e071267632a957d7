"""A two-hour course and a page for each scenario, made from the tables that drills are made from."""

from __future__ import annotations

import json
import re
from contextlib import contextmanager
from datetime import datetime
from typing import TYPE_CHECKING

from audit_kit import resources
from audit_kit.core import outputs
from audit_kit.core.errors import RequestError
from audit_kit.core.words import LANGUAGES, Words
from audit_kit.paper.document import Document, Facts, Heading, Paragraph, Table
from audit_kit.paper.pdf_file import page_of, write_pdfs
from audit_kit.training.drill import scenarios
from audit_kit.training.drill.debrief import QUESTIONS, place_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from audit_kit.training.drill.scenarios import Scenario

_SENTENCE = re.compile(r"(?<=。)|(?<=\.) ")
MARK = "drill.json"  # by which a folder of ours is known again


def write_handouts(out: Path, *, own: Path | None = None, pages: bool = False) -> tuple[str, ...]:
    """Write the course outline and a handout a scenario, in both languages; return the names of the files.

    Args:
        out: a new or empty folder, or an earlier one of ours.
        own: a trainer's file of scenarios.
        pages: HTML instead of PDF.

    Raises:
        RequestError: `out` holds other files, `own` cannot be used, or there is no browser that could print.
    """
    known = scenarios.read(own) if own else scenarios.scenarios()
    played = {name: one for name, one in known.items() if one.levels}
    with folder_of_ours(out, "handouts") as made:
        documents = {}
        for lang in LANGUAGES:
            (made / lang).mkdir()
            documents[made / lang / "00-course.pdf"] = (course(played, lang=lang), lang)
            for place, one in enumerate(played.values(), 1):
                documents[made / lang / f"{place:02d}-{one.name}.pdf"] = (handout(one, lang=lang), lang)
        if pages:
            for path, (document, lang) in documents.items():
                path.with_suffix(".html").write_text(page_of(document, lang=lang), encoding="utf-8")
        else:
            write_pdfs(documents, made_at=datetime.now())  # noqa: DTZ005  the day it was printed
        names = sorted(path.relative_to(made).as_posix() for path in made.rglob("*") if path.is_file())
    return tuple(name for name in names if name != MARK)


@contextmanager
def folder_of_ours(out: Path, what: str) -> Iterator[Path]:
    """Give a folder to write to that takes the place of `out` at the end, if that is new, empty or an earlier one.

    Raises:
        RequestError: `out` holds other files.
    """
    if out.exists() and not (out / MARK).is_file() and (not out.is_dir() or any(out.iterdir())):
        raise RequestError("error_paper.other_files", out=out)
    with outputs.writing(out, folder=True) as made:
        made.mkdir()
        (made / MARK).write_text(json.dumps({"what": what}) + "\n", encoding="utf-8")
        yield made


def handout(scenario: Scenario, *, lang: str) -> Document:
    """Return the page of a scenario: the call, what leads astray, the lesson, where it shows, the first step."""
    words = Words(lang)
    comma = words("answer.comma")
    causes = [words.cause(cause) for cause in scenario.causes] or [words("drill_course.no_cause")]
    facts = [
        (words("drill_course.level"), comma.join(map(str, scenario.levels))),
        (words("drill_course.causes"), (words("drill_course.or") if scenario.one_of else comma).join(causes)),
        (words("drill_course.tell"), words("drill.then").join(words(f"recipient.{one}") for one in scenario.tell)),
    ]
    blocks: list[Heading | Paragraph | Facts | Table] = [Heading(scenario.said("title", lang), 0), Facts(facts)]
    blocks += [Heading(words("drill_course.call"))]
    call = [(words(f"drill_course.{name}"), scenario.said(name, lang)) for name in scenarios.CALL]
    blocks += [Facts(call), Heading(words("drill_course.astray"))]
    blocks += [Paragraph(pair[LANGUAGES.index(lang)], "item") for pair in scenario.distractors]
    blocks += [Paragraph(words("drill_course.innocent"), "item")]
    taught = [(words(f"drill_course.{name}"), scenario.said(name, lang)) for name in ("lesson", "signals", "step")]
    blocks += [Heading(words("drill_course.learn")), Facts(taught)]
    rows = [(words.cause(cause), *_where(cause, words), _first(words.next_step(cause))) for cause in scenario.causes]
    heads = [words(f"drill_course.{name}") for name in ("cause", "where", "then")]
    blocks += [Table(heads, rows)] if rows else []
    blocks += [Heading(words("debrief.questions"))]
    blocks += [Paragraph(f"{at}. {words(f'drill_question.{one}')}") for at, one in enumerate(QUESTIONS, 1)]
    return Document(scenario.said("title", lang), blocks, words("drill_course.note"))


def _first(text: str) -> str:
    """Return the first sentence: the page is one, and the whole stands in the list of causes."""
    return _SENTENCE.split(text, maxsplit=1)[0]


def _where(cause: str, words: Words) -> tuple[str]:
    notebook, chart = place_of(cause)
    return (f"{notebook}: {words(f'drill_chart.{chart}')}",)


def course(known: Mapping[str, Scenario], *, lang: str) -> Document:
    """Return the outline of two hours, and the scenarios by level with what each teaches."""
    words = Words(lang)
    steps, at = [], 0
    for step, minutes in resources.load("drills")["course"].items():
        steps.append((f"{at}–{at + minutes}", words(f"course_step.{step}"), words(f"course_how.{step}")))
        at += minutes
    heads = [words(f"drill_course.{name}") for name in ("minutes", "what", "how")]
    rows = [
        (words("answer.comma").join(map(str, one.levels)), one.said("title", lang), one.said("lesson", lang))
        for one in sorted(known.values(), key=lambda one: (one.levels, one.name))
    ]
    blocks: list[Heading | Paragraph | Facts | Table] = [
        Heading(words("drill_course.title"), 0),
        Paragraph(words("drill_course.aim")),
        Heading(words("drill_course.before")),
        *(Paragraph(words(f"drill_course.before_{at}"), "item") for at in range(1, 4)),
        Heading(words("drill_course.plan")),
        Table(heads, steps),
        Heading(words("drill_course.scenarios")),
        Table([words(f"drill_course.{name}") for name in ("level", "scenario", "lesson")], rows),
    ]
    return Document(words("drill_course.title"), blocks, words("drill_course.note"))
