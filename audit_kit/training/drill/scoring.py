"""From answers to a score: macro-F1 of the labels, a Brier term, penalties, and a debrief that shows what was missed.

Accuracy alone can be gamed by naming the biggest cause, and counting causes by naming all; this cannot: labels count
as far as they are better than the best single label for everything.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import polars as pl

from audit_kit.core.cause_records import of_stage
from audit_kit.training.drill import debrief
from audit_kit.training.drill.score import PER_CAUSE, Score

__all__ = ["Score", "facts", "one_label", "score"]

if TYPE_CHECKING:
    from collections.abc import Mapping

    from audit_kit.training.drill.answer_sheet import Answers

LABELS_WEIGHT = 0.75
FALSE_CAUSE = 8  # points for every cause that is not there
UNSUPPORTED = 3  # points for every true cause named without evidence that holds
UNSURE = 0.25  # the Brier score of saying 0.5 to everything: worth nothing
LOW_RECALL = 0.5  # below it a cause counts as missed
MATCHED = "matched"
NOT_CAUSES = (*of_stage("age", "unbooked"), MATCHED)


def score(
    truth: pl.DataFrame,
    answers: Answers,
    *,
    facts: Mapping[str, Any],
    innocent: Mapping[str, Any],
    null: bool,
    hint_cost: int,
    lang: str,
) -> Score:
    """Score answers against the truth (`ledger_row`, `serial`, `key`, `outcome`, `cause`).

    `facts`: see `facts`. `innocent`: the notice that means nothing. `null`: there was no cause to find.
    """
    pairs = _pairs(truth, answers.labels)
    confusion = pairs.group_by("true", "labelled").agg(rows=pl.len()).sort("true", "labelled")
    causes = _per_cause(confusion, truth, answers)
    true = set(pairs["true"].unique()) - set(NOT_CAUSES)
    named = {one.cause: one.confidence for one in answers.named if one.cause not in NOT_CAUSES}
    false = sorted(named.keys() - true)
    macro = _mean(causes.filter(pl.col("cause") != MATCHED)["f1"])
    plain = one_label(truth)
    skill = macro if null or plain >= 1 else max(0.0, (macro - plain) / (1 - plain))
    brier = _brier(named, true)
    supported = set(causes.filter(pl.col("evidence_right") > 0)["cause"])
    unsupported = sorted((named.keys() & true) - supported)
    recall = dict(causes.select("cause", "recall").iter_rows())
    missed = sorted(cause for cause in true if recall[cause] < LOW_RECALL or cause not in named)
    points = 100 * (LABELS_WEIGHT * skill + (1 - LABELS_WEIGHT) * max(0.0, 1 - brier / UNSURE))
    points -= FALSE_CAUSE * len(false) + UNSUPPORTED * len(unsupported) + hint_cost
    points = 0.0 if answers.blank else points
    made = Score(
        total=round(min(max(points, 0.0), 100.0), 1),
        macro_f1=macro,
        skill=skill,
        brier=brier,
        false=tuple(false),
        missed=tuple(missed),
        unsupported=tuple(unsupported),
        hint_cost=hint_cost,
        causes=causes,
        confusion=confusion,
        debrief="",
    )
    text = debrief.text(made, answers, facts=facts, innocent=innocent, null=null, lang=lang)
    return Score(**{**vars(made), "debrief": text})


def facts(truth: pl.DataFrame, ledger: pl.DataFrame) -> dict[str, dict[str, Any]]:
    """Return what a debrief tells of each cause: rows, first and last time, the commonest account, channel and kind."""
    levels = ("account", "channel", "kind")
    rows = truth.filter(pl.col("cause").is_not_null()).hstack(
        ledger.select("issued_at", *levels)[truth.filter(pl.col("cause").is_not_null())["ledger_row"].to_numpy()]
    )
    told = rows.group_by("cause", maintain_order=True).agg(
        rows=pl.len(),
        first=pl.col("issued_at").min().dt.strftime("%Y-%m-%d %H:%M"),
        last=pl.col("issued_at").max().dt.strftime("%Y-%m-%d %H:%M"),
        **{name: pl.col(name).mode().sort().first() for name in levels},
    )
    return {row.pop("cause"): row for row in told.iter_rows(named=True)}


def one_label(truth: pl.DataFrame) -> float:
    """Return the macro-F1 of calling every invoice by the one cause that pays best."""
    counts = [int(count) for count in truth["cause"].drop_nulls().value_counts()["count"]]
    if not counts:
        return 1.0
    part = max(counts) / sum(counts)
    return 2 * part / (1 + part) / len(counts)


def _pairs(truth: pl.DataFrame, labels: pl.DataFrame) -> pl.DataFrame:
    """Return `true`, `labelled` of every row that is not simply matched or that the trainee labelled."""
    joined = truth.join(labels.select("ledger_row", labelled="cause"), on="ledger_row", how="left")
    told = joined.filter(pl.col("cause").is_not_null() | pl.col("labelled").is_not_null())
    return told.select(true=pl.col("cause").fill_null(MATCHED), labelled=pl.col("labelled").fill_null("late"))


def _per_cause(confusion: pl.DataFrame, truth: pl.DataFrame, answers: Answers) -> pl.DataFrame:
    """Return recall, precision and F1 of every cause, true or labelled, with confidence and evidence."""
    named = {one.cause: one for one in answers.named}
    rows = []
    for cause in sorted({*confusion["true"], *confusion["labelled"], *named} - {MATCHED}):
        truly, as_labelled = pl.col("true") == cause, pl.col("labelled") == cause
        true, labelled, right = (_counted(confusion, where) for where in (truly, as_labelled, truly & as_labelled))
        one = named.get(cause)
        evidence = one.evidence if one else ()
        own = truth.filter(pl.col("cause") == cause)
        ids = {*own["serial"], *own["key"], *own["ledger_row"].cast(pl.String)}
        rows.append(
            (
                *(cause, true, labelled, right, _ratio(right, true), _ratio(right, labelled)),
                *(_ratio(2 * right, true + labelled), one.confidence if one else None),
                *(len(evidence), sum(text.strip() in ids for text in evidence)),
            )
        )
    types = [pl.String(), *[pl.Int64()] * 3, *[pl.Float64()] * 4, *[pl.Int64()] * 2]
    return pl.DataFrame(rows, schema=dict(zip(PER_CAUSE, types, strict=True)), orient="row")


def _counted(confusion: pl.DataFrame, where: pl.Expr) -> int:
    return int(confusion.filter(where)["rows"].sum())


def _ratio(part: int, whole: int) -> float:
    return part / whole if whole else 0.0


def _mean(values: pl.Series) -> float:
    """Return the mean; 1 where there is nothing to be wrong about."""
    mean = values.mean()
    return float(mean) if isinstance(mean, (int, float)) else 1.0


def _brier(named: Mapping[str, float], true: set[str]) -> float:
    """Return the Brier score of the confidence in every cause that is true or named; 0 where there is none."""
    causes = named.keys() | true
    return sum((named.get(cause, 0.0) - (cause in true)) ** 2 for cause in causes) / len(causes) if causes else 0.0
