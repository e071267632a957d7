"""Drills: a month with hidden causes, a brief, hints at a price, answers, a score and a debrief.

The trainee's folder never holds the truth. It lies sealed beside it, in FOLDER.sealed: the seal in the folder is the
HMAC of the truth under a salt that is kept with the truth, so that neither side can change it unseen.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from audit_kit import resources
from audit_kit.core import outputs
from audit_kit.core.cause_records import records
from audit_kit.core.errors import RequestError
from audit_kit.core.words import LANGUAGES, Words
from audit_kit.training.drill import scoring
from audit_kit.training.drill.answer_sheet import Answers, from_labels, read_answers
from audit_kit.training.world.dice import Dice
from audit_kit.training.world.simulate import world
from audit_kit.training.world.writing import write

if TYPE_CHECKING:
    from collections.abc import Mapping

    from audit_kit.training.world.shape import World
ENGAGEMENT = "engagement"
SEAL = "seal.txt"
TRUTH = ("ledger_row", "serial", "key", "outcome", "cause")


@dataclass(frozen=True, kw_only=True)
class Drill:
    """A drill: the trainee's folder, seed and level, and the causes a trainee should find (none in a null drill)."""

    folder: Path
    seed: int
    level: int
    causes: tuple[str, ...]

    @property
    def engagement(self) -> Path:
        """The engagement to investigate."""
        return self.folder / ENGAGEMENT


def new(folder: str | Path, *, seed: int, level: int) -> Drill:
    """Write a drill into a new or empty folder, and the sealed truth beside it.

    Raises:
        RequestError: there is no such level, or the folder (or FOLDER.sealed) holds something.
    """
    target = Path(folder)
    plan = _plan(level)
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise RequestError("error_training.drill_not_empty", folder=target)
    if _sealed_path(target).exists():
        raise RequestError("error_training.sealed_there", file=_sealed_path(target).name)
    causes = _drawn(plan, Dice(seed, f"drill {level}"))
    shares = _shares(plan, causes)
    made = world(invoices=plan["invoices"], seed=seed * 7 + level, causes=shares, backups=False)
    target.parent.mkdir(parents=True, exist_ok=True)
    with outputs.scratch(target.parent, outputs.MAKING) as stage:
        whole = stage / "whole"
        (whole / ENGAGEMENT).mkdir(parents=True)
        write(made, whole / ENGAGEMENT, file_format="xlsx")
        sealed = _seal(whole, made, seed=seed, level=level, causes=causes)
        for lang in LANGUAGES:
            (whole / f"brief.{lang}.md").write_text(_brief(made, lang, seed=seed, level=level), encoding="utf-8")
        template = resources.load("drills")["answers"]["template"]
        (whole / "answers.toml").write_text(template, encoding="utf-8")
        (whole / "labels.csv").write_text("流水号,原因\n", encoding="utf-8-sig")
        outputs.move_in(whole, target)
        _keep(sealed, target)
    return Drill(folder=target, seed=seed, level=level, causes=causes)


def opened(folder: str | Path, *, seed: int, level: int) -> Drill:
    """Return the drill in a folder; where there is none, make one.

    Raises:
        RequestError: see `new`, `hint`.
    """
    target = Path(folder)
    if not (target / SEAL).is_file():
        return new(target, seed=seed, level=level)
    sealed = _opened(target)
    return Drill(folder=target, seed=sealed["seed"], level=sealed["level"], causes=tuple(sealed["causes"]))


def brief(folder: str | Path, *, lang: str = "zh") -> str:
    """Return the brief of a drill, in Markdown."""
    return (Path(folder) / f"brief.{Words(lang).lang}.md").read_text(encoding="utf-8")


def demonstrated(drill: Drill, *, lang: str = "zh") -> scoring.Score:
    """Return the score of the toolkit's own diagnosis, as a trainee who only runs the command would hand it in."""
    from audit_kit.analysis.work import analyse  # noqa: PLC0415  the rules, only where a drill is answered by them
    from audit_kit.loaders.engagement.engagement import open_engagement  # noqa: PLC0415

    found = analyse(open_engagement(drill.engagement), lang=lang).findings
    labels = found.drop_nulls("ledger_row").select("ledger_row", "cause")
    return score(drill.folder, from_labels(labels), lang=lang)


def hint(folder: str | Path, *, lang: str = "zh") -> str:
    """Return the next hint with its price; it is counted with the sealed truth.

    Raises:
        RequestError: the folder is no drill, or its truth is not beside it.
    """
    target = Path(folder)
    sealed = _opened(target)
    words, prices = Words(lang), resources.load("drills")["hints"]["prices"]
    taken = sealed["hints"]
    if taken >= len(prices):
        return words("drill_hint.used_up")
    sealed["hints"] = taken + 1
    _keep(sealed, target)
    price = words("drill_hint.priced", price=prices[taken])
    causes = sealed["causes"]
    if not causes:
        return words("drill_hint.nothing") + price
    group = next(name for name, group in _groups().items() if causes[0] in group)
    count = len(sealed["facts"].keys() - set(scoring.NOT_CAUSES))
    said = {"group": words(f"drill_group.{group}"), "count": count, "cause": words.cause(causes[-1])}
    return words(f"drill_hint.text_{taken}", **said) + price


def score(folder: str | Path, answers: str | Path | Answers, *, lang: str = "zh") -> scoring.Score:
    """Score answers (a file, see `read_answers`, or `Answers`) against the sealed truth.

    Raises:
        RequestError: no drill, a broken seal, or answers that cannot be read.
    """
    target = Path(folder)
    sealed = _opened(target)
    truth = _truth(sealed)
    given = answers if isinstance(answers, Answers) else read_answers(Path(answers), truth)
    prices = resources.load("drills")["hints"]["prices"]
    return scoring.score(
        truth,
        given,
        facts=sealed["facts"],
        innocent=sealed["innocent"],
        null=not sealed["causes"],
        hint_cost=sum(prices[: sealed["hints"]]),
        lang=lang,
    )


def rows(folder: str | Path) -> pl.DataFrame:
    """Return `ledger_row`, `serial`, `key` of every row of the ledger, by which labels find their invoices.

    Raises:
        RequestError: no drill, or a broken seal.
    """
    return _truth(_opened(Path(folder))).select("ledger_row", "serial", "key")


def menu() -> list[str]:
    """Return the causes a trainee may name, in the order of the wording."""
    return [name for name, cause in records().items() if cause.signal]


def _plan(level: int) -> dict[str, Any]:
    levels = resources.load("drills")["levels"]
    if str(level) not in levels:
        raise RequestError("error_training.no_level", level=level, known=", ".join(levels))
    plan: dict[str, Any] = levels[str(level)]
    return plan


def _drawn(plan: Mapping[str, Any], dice: Dice) -> tuple[str, ...]:
    """Draw the causes of a drill, one of each group asked for; none if it is a null drill."""
    if dice.uniform(1)[0] < plan["null"]:
        return ()
    groups = _groups()
    chosen: list[str] = []
    for name in plan["groups"]:
        left = [cause for cause in groups[name] if cause not in chosen]
        chosen.append(left[dice.one(len(left))])
    return tuple(chosen)


def _shares(plan: Mapping[str, Any], causes: tuple[str, ...]) -> dict[str, float]:
    """Return the share of every cause of a drill; a null drill has none, not even in the background."""
    if not causes:
        return {}
    shares = {cause: share for group in _groups().values() for cause, share in group.items()}
    return dict(plan["background"]) | {cause: shares[cause] for cause in causes}


def _groups() -> dict[str, dict[str, float]]:
    """Return the groups from which causes are drawn: cause to share of the invoices, in running order."""
    groups: dict[str, dict[str, float]] = {}
    for name, cause in records().items():
        if cause.drill:
            groups.setdefault(cause.drill.group, {})[name] = cause.drill.share
    return groups


def _seal(folder: Path, made: World, *, seed: int, level: int, causes: tuple[str, ...]) -> dict[str, Any]:
    """Write the seal of the truth into the folder, and return the truth."""
    truth = _rows(made)
    content = truth.write_csv().encode()
    salt = hashlib.sha256(f"audit-kit drill {seed} {level}".encode()).hexdigest()
    sealed = {
        "seed": seed,
        "level": level,
        "salt": salt,
        "truth": base64.b64encode(zlib.compress(content)).decode(),
        "causes": list(causes),
        "facts": scoring.facts(truth, made.ledger),
        "innocent": _innocent(made),
        "hints": 0,
    }
    (folder / SEAL).write_text(_hmac(salt, content) + "\n", encoding="utf-8")
    return sealed


def _keep(sealed: Mapping[str, Any], target: Path) -> None:
    """Write the truth of a drill and what has been asked of it beside its folder."""
    with outputs.writing(_sealed_path(target)) as made:
        made.write_text(json.dumps(sealed), encoding="utf-8")


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


def _brief(made: World, lang: str, *, seed: int, level: int) -> str:
    """Return the brief: the call, what to do, how it is scored, the causes to choose from."""
    words = Words(lang)
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
    }
    title, text = words("drill_brief.title", seed=seed, level=level), words("drill_brief.text", **values)
    causes = "\n".join(f"- `{cause}` {words.cause(cause)}" for cause in menu())
    return f"# {title}\n{text}\n## {words('drill_brief.menu')}\n\n{causes}\n"


def _sealed_path(folder: Path) -> Path:
    return folder.parent / f"{folder.name}.sealed"


def _opened(folder: Path) -> dict[str, Any]:
    """Return the sealed truth, if folder and truth still belong together."""
    path = _sealed_path(folder)
    if not (folder / SEAL).is_file():
        raise RequestError("error_training.no_drill", folder=folder)
    if not path.is_file():
        raise RequestError("error_training.no_sealed", file=path.name)
    sealed: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    stated = (folder / SEAL).read_text(encoding="utf-8").strip()
    if not hmac.compare_digest(stated, _hmac(sealed["salt"], _content(sealed))):
        raise RequestError("error_training.broken_seal", folder=folder.name, file=path.name)
    return sealed


def _content(sealed: Mapping[str, Any]) -> bytes:
    return zlib.decompress(base64.b64decode(sealed["truth"]))


def _truth(sealed: Mapping[str, Any]) -> pl.DataFrame:
    """Return the sealed truth as a frame: `TRUTH`."""
    types = {name: pl.UInt32() if name == "ledger_row" else pl.String() for name in TRUTH}
    return pl.read_csv(_content(sealed), schema=types)


def _hmac(salt: str, content: bytes) -> str:
    return hmac.new(bytes.fromhex(salt), content, hashlib.sha256).hexdigest()
