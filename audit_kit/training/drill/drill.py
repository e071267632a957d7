"""Drills: a month with hidden causes, a brief, hints at a price, answers, a score and a debrief.

The trainee's folder never holds the truth. With a trainer it lies sealed in his folder, else beside the drill's, in
FOLDER.sealed; see `sealing`.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from audit_kit import resources
from audit_kit.core import outputs
from audit_kit.core.errors import RequestError
from audit_kit.core.words import Words
from audit_kit.training.drill import answer_sheet, debrief, making, reply, scenarios, scoring, sealing
from audit_kit.training.drill.answer_sheet import Answers, from_labels, read_answers
from audit_kit.training.drill.making import ANSWERS, ENGAGEMENT, menu
from audit_kit.training.world.dice import Dice

if TYPE_CHECKING:
    import polars as pl

    from audit_kit.loaders.engagement.engagement import Engagement
    from audit_kit.training.drill.sealing import Sealed

__all__ = ["ENGAGEMENT", "Drill", "brief", "demonstrated", "hand_in", "hint", "menu", "new", "opened", "rows", "score"]

RECEIPT = "handed_in.txt"


@dataclass(frozen=True, kw_only=True)
class Drill:
    """A drill: the trainee's folder and where its truth is kept, null = beside it.

    What only the truth tells is empty where it is not at hand: `level`, `scenario`, and `causes`, those that a trainee
    should find (none in a null drill either).
    """

    folder: Path
    trainer: Path | None = None
    seed: int | None = None
    level: int = 0
    scenario: str = ""
    causes: tuple[str, ...] = ()

    @property
    def engagement(self) -> Path:
        """The engagement to investigate."""
        return self.folder / ENGAGEMENT

    @property
    def has_truth(self) -> bool:
        """Whether the truth is at hand, so that hints and a score can be had."""
        return bool(self.scenario)


def new(
    folder: str | Path,
    *,
    seed: int | None = None,
    level: int | None = None,
    scenario: str | None = None,
    trainer: str | Path | None = None,
    own: str | Path | None = None,
) -> Drill:
    """Write a drill into a new or empty folder, and seal its truth.

    Args:
        folder: the trainee's.
        seed: the same seed gives the same drill, with a trainer only from the same trainer's folder; null = chance.
        level: 1 to 5; null = the first of the scenario, else 1.
        scenario: its name; null = one of the level, by chance.
        trainer: the folder that keeps the truth and the secret; null = solo, the truth beside the drill.
        own: a trainer's file of scenarios, in the shape of ours.

    Raises:
        RequestError: no such level or scenario, or a folder that holds something.
    """
    known = scenarios.read(Path(own)) if own else scenarios.scenarios()
    if scenario is not None and scenario not in known:
        raise RequestError("error_training.no_scenario", scenario=scenario, known=", ".join(known))
    level = level or (known[scenario].levels[0] if scenario and known[scenario].levels else 1)
    at_hand = scenarios.of_level(level, known)
    keeper = Path(trainer) if trainer else None
    nonce = sealing.nonce_of(seed, f"{level} {scenario or ''}", trainer=keeper)
    dice = Dice(sealing.world_seed(nonce), "scenario")
    chosen = known[scenario] if scenario else at_hand[dice.one(len(at_hand))]
    plan = making.planned(chosen, known, level=level, seed=seed, nonce=nonce)
    return _drill(Path(folder), making.written(plan, Path(folder), trainer=keeper), keeper)


def from_engagement(
    engagement: Engagement,
    folder: str | Path,
    *,
    month: str | None = None,
    seed: int | None = None,
    trainer: str | Path | None = None,
) -> Drill:
    """Write a drill made from a real past month: its shape kept, every name, number and amount made up.

    Args:
        engagement: the real one; nothing is written to it.
        folder: the trainee's.
        month: `YYYY-MM`; null = the one with most missing invoices.
        seed: see `new`.
        trainer: see `new`.

    Raises:
        RequestError: no such month, a folder that holds something or lies in the engagement, or see `new`.
        EngagementError: there is no ledger, or no platform export.
    """
    from audit_kit.training.drill.past_month import planned  # noqa: PLC0415  the rules, only where they are asked

    target, keeper = Path(folder), Path(trainer) if trainer else None
    for place in (target, keeper):
        if place and place.resolve().is_relative_to(engagement.folder.resolve()):
            raise RequestError("error_core.among_inputs", path=place)
    nonce = sealing.nonce_of(seed, f"from {month or ''}", trainer=keeper)
    return _drill(target, making.written(planned(engagement, month, nonce, seed), target, trainer=keeper), keeper)


def _drill(folder: Path, sealed: Sealed, trainer: Path | None) -> Drill:
    told = sealed.content
    return Drill(
        folder=folder,
        trainer=trainer,
        seed=told["seed"],
        level=told["level"],
        scenario=told["scenario"],
        causes=tuple(told["causes"]),
    )


def opened(
    folder: str | Path, *, seed: int | None = None, level: int | None = None, trainer: str | Path | None = None
) -> Drill:
    """Return the drill in a folder; where there is none, make one. A trainee's copy has no truth: see `Drill`.

    Raises:
        RequestError: see `new`, `hint`.
    """
    target, keeper = Path(folder), Path(trainer) if trainer else None
    if not (target / sealing.SEAL).is_file():
        return new(target, seed=seed, level=level, trainer=keeper)
    if keeper is None and not sealing.place_of(target, None).is_file():
        return Drill(folder=target)
    return _drill(target, sealing.opened(target, keeper), keeper)


def brief(folder: str | Path, *, lang: str = "zh") -> str:
    """Return the brief of a drill, in Markdown.

    Raises:
        RequestError: the folder is no drill.
    """
    sealing.seals(Path(folder))
    return (Path(folder) / f"brief.{Words(lang).lang}.md").read_text(encoding="utf-8")


def start(folder: str | Path, *, trainer: str | Path | None = None) -> None:
    """Note when a drill was begun, once; where its truth is not at hand nothing is noted.

    Raises:
        RequestError: see `sealing.opened`.
    """
    target = Path(folder)
    if trainer is None and not sealing.place_of(target, None).is_file():
        return
    sealed = sealing.opened(target, Path(trainer) if trainer else None)
    if not sealed.of("started"):
        sealing.note(target, sealed, "started", "")


def demonstrated(drill: Drill, *, lang: str = "zh") -> scoring.Score:
    """Return the score of the toolkit's own diagnosis, as a trainee who only runs the command would hand it in."""
    from audit_kit.analysis.work import analyse  # noqa: PLC0415  the rules, only where a drill is answered by them
    from audit_kit.loaders.engagement.engagement import open_engagement  # noqa: PLC0415

    found = analyse(open_engagement(drill.engagement), lang=lang).findings
    labels = found.drop_nulls("ledger_row").select("ledger_row", "cause")
    return score(drill.folder, from_labels(labels), lang=lang, trainer=drill.trainer)


def hint(folder: str | Path, *, lang: str = "zh", trainer: str | Path | None = None) -> str:
    """Return the next hint with its price; it becomes a line of the log, on both sides.

    Raises:
        RequestError: the folder is no drill, its truth is not there, or truth or log were changed.
    """
    target = Path(folder)
    sealed = sealing.opened(target, Path(trainer) if trainer else None)
    words, prices = Words(lang), resources.load("drills")["hints"]["prices"]
    taken = len(sealed.of("hint"))
    if taken >= len(prices):
        return words("drill_hint.used_up")
    sealing.note(target, sealed, "hint", str(taken + 1))
    price = words("drill_hint.priced", price=prices[taken])
    causes = sealed.content["causes"]
    if not causes:
        return words("drill_hint.nothing") + price
    count = len(sealed.content["facts"].keys() - set(scoring.NOT_CAUSES))
    group = words(f"drill_group.{scenarios.group_of(causes[0])}")
    said = {"group": group, "count": count, "cause": words.cause(causes[-1])}
    return words(f"drill_hint.text_{taken}", **said) + price


def hand_in(folder: str | Path, answers: str | Path | None = None, *, trainer: str | Path | None = None) -> str:
    """Seal answers, so that a later change is seen; return their digest.

    A receipt stands in the folder then, and, where the truth is at hand, a line in the log.

    Raises:
        RequestError: no answers, or others were handed in before.
    """
    target = Path(folder)
    path = Path(answers) if answers else target / ANSWERS
    sealing.seals(target)
    digest = digest_of(path)
    receipt = target / RECEIPT
    if trainer is not None or sealing.place_of(target, None).is_file():
        sealed = sealing.opened(target, Path(trainer) if trainer else None)
        if _check_handed_in(sealed, digest):
            return digest
        sealing.note(target, sealed, "handed_in", digest)
    elif receipt.is_file() and digest not in receipt.read_text(encoding="utf-8"):
        raise RequestError("error_training.answers_changed", file=RECEIPT)
    with outputs.writing(receipt) as made:
        made.write_text(f"{datetime.now():%Y-%m-%dT%H:%M:%S}\t{digest}\n", encoding="utf-8")  # noqa: DTZ005
    return digest


def digest_of(path: Path) -> str:
    """Return the SHA-256 of answers and of the labels that go with them.

    Raises:
        RequestError: they are not there.
    """
    if not path.is_file():
        raise RequestError("error_training.no_answers", path=path)
    labels = answer_sheet.labels_of(path)
    parts = [path.read_bytes(), labels.read_bytes() if labels else b""]
    return hashlib.sha256(b"".join(hashlib.sha256(part).digest() for part in parts)).hexdigest()


def _check_handed_in(sealed: Sealed, digest: str) -> bool:
    """Tell whether these answers were handed in; refuse others than those that were."""
    lines = sealed.of("handed_in")
    if lines and lines[0].detail != digest:
        raise RequestError("error_training.answers_changed", file=sealing.LOG)
    return bool(lines)


def score(
    folder: str | Path, answers: str | Path | Answers, *, lang: str = "zh", trainer: str | Path | None = None
) -> scoring.Score:
    """Score answers (a file, see `read_answers`, or `Answers`) against the sealed truth.

    A file that is scored becomes a line of the log; `Score.attempt` says whether it is the one that was scored first.

    Raises:
        RequestError: no drill, a broken seal or log, answers that cannot be read, or others than were handed in.
    """
    target = Path(folder)
    sealed = sealing.opened(target, Path(trainer) if trainer else None)
    given = answers if isinstance(answers, Answers) else read_answers(Path(answers), sealed.truth)
    receipt = target / RECEIPT
    attempt = ""
    if not isinstance(answers, Answers):
        digest = digest_of(Path(answers))
        if not _check_handed_in(sealed, digest) and receipt.is_file() and digest not in receipt.read_text("utf-8"):
            raise RequestError("error_training.answers_changed", file=RECEIPT)
        before = [line.detail.split(" ")[0] for line in sealed.of("scored")]
        attempt = "first" if not before else "same" if before[0] == digest else "changed"
    made = scored(sealed, given, lang=lang, attempt=attempt)
    if attempt in ("first", "changed"):
        sealing.note(target, sealed, "scored", f"{digest} {made.total}")
    return made


def scored(sealed: Sealed, answers: Answers, *, lang: str = "zh", attempt: str = "") -> scoring.Score:
    """Score answers against what is sealed, with the whole debrief."""
    told, words, truth = sealed.content, Words(lang), sealed.truth
    prices = resources.load("drills")["hints"]["prices"]
    made = scoring.score(
        truth,
        answers,
        facts=told["facts"],
        innocent=told["innocent"],
        null=not told["causes"],
        hint_cost=sum(prices[: len(sealed.of("hint"))]),
        lang=lang,
    )
    judged = reply.judged(answers, truth, told["scene"]["tell"])
    made = replace(made, response=judged, minutes=minutes(sealed), seal=sealed.digest, attempt=attempt)
    parts = [made.debrief.rstrip("\n"), debrief.scene(told["scene"], judged, words), debrief.closing(made, words)]
    return replace(made, debrief="\n\n".join(parts) + "\n")


def minutes(sealed: Sealed) -> float | None:
    """Return how long the drill took, from its start to the handing in or the first score; null where not noted."""
    begun = sealed.of("started")
    done = sealed.of("handed_in") or sealed.of("scored")
    if not begun:
        return None
    end = datetime.fromisoformat(done[0].at) if done else datetime.now()  # noqa: DTZ005  as in the log
    return (end - datetime.fromisoformat(begun[0].at)).total_seconds() / 60


def rows(folder: str | Path, *, trainer: str | Path | None = None) -> pl.DataFrame:
    """Return `ledger_row`, `serial`, `key` of every row of the ledger, by which labels find their invoices.

    Raises:
        RequestError: no drill, or a broken seal.
    """
    sealed = sealing.opened(Path(folder), Path(trainer) if trainer else None)
    return sealed.truth.select("ledger_row", "serial", "key")
