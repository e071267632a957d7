"""From a scenario to a drill's folder: the month, what is taken away or torn, the brief, the sheets, the seal."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import polars as pl

from audit_kit import resources
from audit_kit.core import outputs
from audit_kit.core.cause_records import records
from audit_kit.core.errors import RequestError
from audit_kit.core.words import LANGUAGES, Words
from audit_kit.training.drill import answer_sheet, scenarios, scoring, sealing
from audit_kit.training.drill.debrief import QUESTIONS
from audit_kit.training.world.dice import Dice
from audit_kit.training.world.simulate import world
from audit_kit.training.world.writing import write

if TYPE_CHECKING:
    from pathlib import Path

    from audit_kit.training.drill.scenarios import Scenario
    from audit_kit.training.world.shape import World

ENGAGEMENT, ANSWERS, LABELS, FEEDBACK = "engagement", "answers.toml", "labels.csv", "feedback.toml"
ID_LETTERS = 12  # of the digest, by which an answer names its drill
TORN_AT = 0.7  # of a torn file so much is left
SHORTEST = 400  # bytes; a shorter file is not torn


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A drill to be made: its month, its scenario and whose call it borrows, its causes, and what is sealed besides."""

    made: World
    scenario: Scenario
    call: Scenario
    causes: tuple[str, ...]
    level: int
    seed: int | None
    nonce: str
    coded: str = ""


def planned(
    scenario: Scenario, known: dict[str, Scenario], *, level: int, seed: int | None, nonce: str, size: int | None = None
) -> Plan:
    """Make the month of a scenario; `size`: of how many invoices, null = as the level says."""
    chance = sealing.world_seed(nonce)
    dice = Dice(chance, "drill")
    causes = scenarios.drawn(scenario, level, dice)
    call = [scenario, *(known[name] for name in scenario.like)][dice.one(1 + len(scenario.like))]
    size = size or resources.load("drills")["levels"][str(level)]["invoices"]
    background = dict(scenario.background) if causes else {}
    options = {"backups": False} | dict(scenario.world)
    made = world(invoices=size, seed=chance, causes=background | causes, **options)
    return Plan(made=made, scenario=scenario, call=call, causes=tuple(causes), level=level, seed=seed, nonce=nonce)


def written(plan: Plan, target: Path, *, trainer: Path | None) -> sealing.Sealed:
    """Write a drill into a new or empty folder, and what is sealed beside it or to the trainer.

    Raises:
        RequestError: the folder holds something, there is a truth of its name, or the trainer's folder lies in it.
    """
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise RequestError("error_training.drill_not_empty", folder=target)
    place = sealing.place_of(target, trainer)
    if place.exists():
        raise RequestError("error_training.sealed_there", file=place.name)
    if trainer and place.parent.resolve().is_relative_to(target.resolve()):
        raise RequestError("error_training.trainer_inside", folder=target)
    target.parent.mkdir(parents=True, exist_ok=True)
    with outputs.scratch(target.parent, outputs.MAKING) as stage:
        whole = stage / "whole"
        (whole / ENGAGEMENT).mkdir(parents=True)
        write(plan.made, whole / ENGAGEMENT, file_format="xlsx", coded=plan.coded)
        away, damaged = _spoilt(plan, whole / ENGAGEMENT)
        sealed = sealing.Sealed(nonce=plan.nonce, content=_content(plan, away, damaged), path=place)
        (whole / sealing.SEAL).write_text(sealed.digest + "\n", encoding="utf-8")
        for lang in LANGUAGES:
            text = _brief(plan, lang, digest=sealed.digest, alone=trainer is None)
            (whole / f"brief.{lang}.md").write_text(text, encoding="utf-8")
        (whole / ANSWERS).write_text(answer_sheet.template(sealed.digest[:ID_LETTERS]), encoding="utf-8")
        (whole / LABELS).write_text("流水号,原因\n", encoding="utf-8-sig")
        (whole / FEEDBACK).write_text(_feedback(sealed.digest[:ID_LETTERS]), encoding="utf-8")
        outputs.move_in(whole, target)
        sealing.keep(sealed)
    return sealed


def _content(plan: Plan, away: list[str], damaged: list[str]) -> dict[str, Any]:
    """Return what is sealed: the truth and all that is told after the drill."""
    made, scenario = plan.made, plan.scenario
    truth = _rows(made)
    faults = made.archive.faults["cause"].unique().sort().to_list() if made.archive else []
    texts = {name: list(getattr(scenario, name)) for name in scenarios.TEXTS}
    return {
        "scenario": scenario.name,
        "level": plan.level,
        "seed": plan.seed,
        "truth": sealing.packed(truth),
        "causes": list(plan.causes),
        "facts": scoring.facts(truth, made.ledger),
        "innocent": _innocent(made),
        "scene": texts | {"tell": list(scenario.tell), "away": away, "damaged": damaged, "backup_faults": faults},
    }


def _rows(made: World) -> pl.DataFrame:
    """Return the truth about every ledger row: its row, serial, true number, outcome and cause."""
    rows = made.truth.filter(pl.col("ledger_row").is_not_null())
    return rows.select(
        "ledger_row",
        serial=made.ledger["serial"].gather(rows["ledger_row"]),
        key="true_key",
        outcome="outcome",
        cause="cause",
    )


def _innocent(made: World) -> dict[str, Any]:
    """Return the notice that means nothing, with how many were issued meanwhile and how many of them are missing."""
    notice = made.notices.filter(pl.col("kind") == "network").head(1)
    if notice.is_empty():
        return {}
    start, end, title = notice.select("starts_at", "ends_at", "title").row(0)
    inside = made.ledger.with_row_index("ledger_row").filter(pl.col("issued_at").is_between(start, end))
    missing = inside.join(made.truth.filter(pl.col("outcome") == "missing"), on="ledger_row")
    return {"title": title, "start": str(start), "end": str(end), "rows": len(inside), "missing": len(missing)}


def _spoilt(plan: Plan, folder: Path) -> tuple[list[str], list[str]]:
    """Take sources away and tear a file, as the level asks; none that a cause of this drill is told from."""
    level = resources.load("drills")["levels"][str(plan.level)]
    needed = {*plan.causes, *plan.scenario.background}
    tells: dict[str, list[str]] = resources.load("drills")["sources"]
    files = {name: folder / "logs" / f"{name}.csv" for name, told in tells.items() if not needed & set(told)}
    dice = Dice(sealing.world_seed(plan.nonce), "sources")
    names = sorted(name for name, path in files.items() if path.is_file())
    away: list[str] = []
    for _ in range(min(level["away"], len(names))):
        away.append(names.pop(dice.one(len(names))))
        files[away[-1]].unlink()
    settings = folder / "audit.toml"
    lines = settings.read_text(encoding="utf-8").splitlines(keepends=True)
    if plan.coded:
        lines = _without_plan(lines)
    kept = [line for line in lines if not line.startswith(tuple(f"{name} = " for name in away))] if away else lines
    settings.write_text("".join(kept), encoding="utf-8", newline="\n")
    may_be = resources.load("drills")["torn"]["files"]
    whole = [name for name in names if name in may_be and files[name].stat().st_size > SHORTEST]
    damaged = [whole.pop(dice.one(len(whole))) for _ in range(min(level["damaged"], len(whole)))]
    for name in damaged:
        content = files[name].read_bytes()
        files[name].write_bytes(content[: _letter(content, int(len(content) * TORN_AT))])
    return away, damaged


def _without_plan(lines: list[str]) -> list[str]:
    """Return the settings without the emergency plan, whose people and numbers every made month shares."""
    starts = [at for at, line in enumerate(lines) if line.startswith("[")] + [len(lines)]
    begin = next(at for at in starts if lines[at].startswith("[plan]"))
    return lines[:begin] + lines[starts[starts.index(begin) + 1] :]


def _letter(content: bytes, at: int) -> int:
    """Return a place at or before `at` where no letter is torn in two."""
    while content[at] & 0xC0 == 0x80:  # noqa: PLR2004  the bits of a byte that goes on
        at -= 1
    return at


def _brief(plan: Plan, lang: str, *, digest: str, alone: bool) -> str:
    """Return the brief: the call, what to do, how it is scored, the seal, the causes to choose from."""
    words, made = Words(lang), plan.made
    values = {
        "company": made.taxpayer_name,
        "month": f"{made.export.period_start:%Y-%m}",
        "ledger": f"{len(made.ledger):,}",
        "platform": f"{len(made.platform):,}",
        "taken_at": f"{made.taken_at:%Y-%m-%d %H:%M}",
        "prices": ", ".join(str(price) for price in resources.load("drills")["hints"]["prices"]),
        "label_weight": f"{scoring.LABELS_WEIGHT:.0%}",
        "brier_weight": f"{1 - scoring.LABELS_WEIGHT:.0%}",
        "penalty": scoring.FALSE_CAUSE,
        "unsupported": scoring.UNSUPPORTED,
        **{name: plan.call.said(name, lang) for name in scenarios.CALL},
    }
    causes = "\n".join(f"- `{cause}` {words.cause(cause)}" for cause in menu())
    seal = words("drill_brief.seal", digest=digest) + words("drill_brief.alone" if alone else "drill_brief.kept")
    title = words("drill_brief.title", name=digest[:8])
    return f"# {title}\n{words('drill_brief.text', **values)}\n{seal}\n\n## {words('drill_brief.menu')}\n\n{causes}\n"


def _feedback(drill: str) -> str:
    """Return the sheet for the three questions, empty."""
    lines = [f'drill = "{drill}"', 'name = ""']
    for question in QUESTIONS:
        lines += [f"# {Words(lang)(f'drill_question.{question}')}" for lang in LANGUAGES] + [f'{question} = ""']
    return "\n".join(lines) + "\n"


def menu() -> list[str]:
    """Return the causes a trainee may name, in the order of the wording."""
    return [name for name, cause in records().items() if cause.signal]
