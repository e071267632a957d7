"""What a trainee reads after the score: what was missed and where it stood, the seal, three questions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import polars as pl

from audit_kit import resources
from audit_kit.core.cause_records import records
from audit_kit.core.words import LANGUAGES, Words
from audit_kit.training.drill.scenarios import group_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from audit_kit.training.drill.answer_sheet import Answers
    from audit_kit.training.drill.reply import Response
    from audit_kit.training.drill.score import Score

MATCHED = "matched"
QUESTIONS = ("expected", "noticed", "next_time")
MOST_CONFUSED = 6


def text(
    made: Score,
    answers: Answers,
    *,
    facts: Mapping[str, Any],
    innocent: Mapping[str, Any],
    null: bool,
    lang: str,
) -> str:
    """Return the debrief: the score and its parts, a table by cause, missed signals, false causes, the confusion."""
    words = Words(lang)
    parts = [f"# {words('debrief.title')}", words("debrief.total", total=f"{made.total:.1f}"), _parts(made, words)]
    if answers.hypothesis:
        parts.append(words("debrief.hypothesis", text=answers.hypothesis))
    if null:
        parts.append(words("debrief.null"))
    parts.append(_table(made, words))
    missed = [f"- **{words.cause(cause)}** {_signal(cause, facts[cause], lang)}" for cause in made.missed]
    parts += [f"## {words('debrief.missed')}", "\n".join(missed) or words("debrief.none_missed")]
    if made.false:
        parts += [f"## {words('debrief.false')}", "\n".join(f"- {words.cause(cause)}" for cause in made.false)]
    if innocent:
        parts.append(words("debrief.innocent", **innocent))
    wrong = made.confusion.filter(pl.col("true") != pl.col("labelled")).sort(
        "rows", descending=True, maintain_order=True
    )
    for at, (true, labelled, rows) in enumerate(wrong.head(MOST_CONFUSED).iter_rows()):
        titles = {"true": _title(true, words), "labelled": _title(labelled, words)}
        parts += [f"## {words('debrief.confusion')}", words("debrief.confused", **titles, rows=rows)] if at == 0 else []
        parts += [words("debrief.also_confused", **titles, rows=rows)] if at else []
    return "\n\n".join(parts) + "\n"


def _signal(cause: str, facts: Mapping[str, Any], lang: str) -> str:
    """Return what would have given a cause away, and the chart where it stands."""
    signal = records()[cause].signal
    words, (notebook, chart) = Words(lang), place_of(cause)
    where = words("debrief.where", notebook=notebook, chart=words(f"drill_chart.{chart}"))
    return f"{signal[LANGUAGES.index(lang)].format(**facts)} {where}" if signal else where


def place_of(cause: str) -> tuple[str, str]:
    """Return the notebook and the chart, an entry of `drill_chart`, in which a cause shows."""
    charts = resources.load("drills")["charts"]
    notebook, chart = charts.get(cause) or charts["group"][group_of(cause)]
    return notebook, chart


def _title(cause: str, words: Words) -> str:
    return words("drill.matched") if cause == MATCHED else words.cause(cause)


def _parts(made: Score, words: Words) -> str:
    return words(
        "debrief.parts",
        macro_f1=f"{made.macro_f1:.3f}",
        skill=f"{made.skill:.3f}",
        brier=f"{made.brier:.3f}",
        false=len(made.false),
        unsupported=len(made.unsupported),
        hints=made.hint_cost,
    )


def _table(made: Score, words: Words) -> str:
    """Return the table by cause, in Markdown."""
    head = words("debrief.head")
    lines = [head, "|" + "---|" * (head.count("|") - 1)]
    for row in made.causes.iter_rows(named=True):
        confidence = "–" if row["confidence"] is None else f"{row['confidence']:.0%}"
        evidence = f"{row['evidence_right']}/{row['evidence']}" if row["evidence"] else "–"
        cells = (
            *(words.cause(row["cause"]), row["true"], row["labelled"], row["right"]),
            *(f"{row['recall']:.0%}", f"{row['precision']:.0%}", confidence, evidence),
        )
        lines.append("| " + " | ".join(str(cell) for cell in cells) + " |")
    return "\n".join(lines)


def scene(told: Mapping[str, Any], response: Response | None, words: Words) -> str:
    """Return what the scenario teaches: its lesson, signals and first step, what was not there, and the response.

    `told`: the scenario's texts as pairs, and `tell`, `away`, `damaged`, `backup_faults`.
    """
    at = LANGUAGES.index(words.lang)
    parts = [f"## {words('debrief.scene', title=told['title'][at])}"]
    parts += [words(f"debrief.{name}", text=told[name][at]) for name in ("lesson", "signals", "step")]
    for name in ("away", "damaged"):
        tables = [words.term("table", table) for table in told[name]]
        parts += [words(f"debrief.{name}", tables=words("answer.comma").join(tables))] if tables else []
    faults = words("answer.comma").join(words.cause(cause) for cause in told["backup_faults"])
    parts += [words("debrief.backups", faults=faults)] if faults else []
    parts += [f"## {words('debrief.response')}"]
    right = words("drill.then").join(words(f"recipient.{one}") for one in told["tell"])
    if response is None or not response.given:
        return "\n\n".join([*parts, words("debrief.no_response", right=right)])
    parts.append(words("debrief.order", share=f"{response.order:.0%}", right=right))
    lacking = words("answer.comma").join(words(f"drill_report.{part}") for part in response.lacking)
    parts.append(words("debrief.report", share=f"{response.report:.0%}", lacking=lacking or words("drill.nothing")))
    return "\n\n".join(parts)


def closing(made: Score, words: Words) -> str:
    """Return the truth against its seal, the time, what was done before, and the three questions."""
    parts = [f"## {words('debrief.seal')}", words("debrief.sealed", digest=made.seal)]
    if made.minutes is not None:
        parts.append(words("debrief.time", minutes=f"{made.minutes:.0f}"))
    if made.attempt == "changed":
        parts.append(words("debrief.changed"))
    parts += [
        f"## {words('debrief.questions')}",
        *(f"{n}. {words(f'drill_question.{q}')}" for n, q in enumerate(QUESTIONS, 1)),
    ]
    return "\n\n".join([*parts, words("debrief.feedback")])
