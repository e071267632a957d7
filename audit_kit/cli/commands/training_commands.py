"""Commands for training: engagements whose truth is known, and drills."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from audit_kit.cli.options import counted, pair, print_json, wrong
from audit_kit.core.errors import EXIT_DONE
from audit_kit.core.words import LANGUAGES

if TYPE_CHECKING:
    from collections.abc import Callable

    from audit_kit.cli.parsing import Parser


def add(command: Callable[..., Parser]) -> None:
    """Add `simulate` and `drill` to the command line."""
    sub = command(
        "simulate",
        _simulate,
        "command.simulate",
        "simulate /tmp/acme --invoices 3000 --seed 7 --cause outage=0.02",
    )
    sub.add_argument("folder", type=Path, metavar="metavar.dir")
    sub.add_argument("--invoices", type=int, default=3000)
    sub.add_argument("--seed", type=int, default=1)
    sub.add_argument("--month", default="2025-05", metavar="metavar.month")
    sub.add_argument("--cause", action="append", type=_share, default=[], metavar="metavar.share")
    sub.add_argument("--format", choices=("xlsx", "csv", "parquet"), default="xlsx")
    sub.add_argument(
        "--arrivals",
        choices=("log", "exports", "platform", "none"),
        default="log",
        help="option.arrivals",
    )
    sub.add_argument("--plain", action="store_true", help="option.plain")

    sub = command("drill", _drill, "command.drill", "drill new /tmp/drill --trainer /tmp/trainer --level 3")
    _steps(sub)


def _steps(sub: Parser) -> None:
    """Add the steps of `drill`; each is a function of the same name here."""
    steps = sub.add_subparsers(dest="step", metavar=sub.words("metavar.step"), required=True)
    made = {}
    for step, text, example in (
        ("new", "command.drill_new", "new /tmp/drill --trainer /tmp/trainer --level 3"),
        ("brief", "command.drill_brief", "brief /tmp/drill"),
        ("hint", "command.drill_hint", "hint /tmp/drill --trainer /tmp/trainer"),
        ("hand-in", "command.drill_hand_in", "hand-in /tmp/drill"),
        ("score", "command.drill_score", "score /tmp/drill /tmp/drill/answers.toml"),
        ("from", "command.drill_from", "from engagements/acme /tmp/drill --month 2025-05 --trainer /tmp/trainer"),
        ("class", "command.drill_class", "class /tmp/answers --trainer /tmp/trainer --out /tmp/class"),
        ("handouts", "command.drill_handouts", "handouts --out /tmp/handouts"),
    ):
        part = made[step] = sub.command(steps, step, text, f"drill {example}")
        # Where they are not given here, what stood before the step holds.
        part.add_argument("--lang", choices=LANGUAGES, default=argparse.SUPPRESS, help="option.step_lang")
        if step == "from":
            part.add_argument("engagement", type=Path, metavar="metavar.engagement")
        if step != "handouts":
            part.add_argument("folder", type=Path, metavar="metavar.dir")
            part.add_argument("--trainer", type=Path, metavar="metavar.dir", help="option.trainer")
    for step in ("new", "from"):
        made[step].add_argument("--seed", type=int, help="option.seed")
    new = made["new"]
    new.add_argument("--level", type=int, choices=range(1, 6), help="option.level")
    new.add_argument("--scenario", metavar="metavar.scenario", help="option.scenario")
    new.add_argument("--scenarios", type=Path, metavar="metavar.file", help="option.scenarios")
    made["from"].add_argument("--month", metavar="metavar.month", help="option.drill_month")
    made["from"].add_argument("--without", action="append", default=[], metavar="metavar.file", help="option.without")
    made["hand-in"].add_argument("answers", type=Path, nargs="?", metavar="metavar.answers", help="option.answers")
    made["score"].add_argument("answers", type=Path, metavar="metavar.answers", help="option.answers")
    made["class"].add_argument("--names", action="store_true", help="option.names")
    made["class"].add_argument("--every", type=int, metavar="metavar.days", help="option.every")
    made["handouts"].add_argument("--scenarios", type=Path, metavar="metavar.file", help="option.scenarios")
    made["handouts"].add_argument("--pages", action="store_true", help="option.pages")
    for step in ("class", "handouts"):
        made[step].add_argument("--out", type=Path, required=True, metavar="metavar.dir", help="option.out_folder")
    for step in ("score", "class"):
        made[step].add_argument("--json", action="store_true", default=argparse.SUPPRESS, help="option.score_json")


def _simulate(options: argparse.Namespace) -> int:
    from audit_kit.training.world.simulate import DEFAULT, simulate

    truth = simulate(
        options.folder,
        invoices=options.invoices,
        seed=options.seed,
        month=options.month,
        format=options.format,
        arrivals=options.arrivals,
        plain=options.plain,
        causes=dict(options.cause) or DEFAULT,
    )
    return counted(truth, "cause", options)


def _drill(options: argparse.Namespace) -> int:
    return STEPS[options.step](options)


def _new(options: argparse.Namespace) -> int:
    from audit_kit.training.drill import drill

    made = drill.new(
        options.folder,
        seed=options.seed,
        level=options.level,
        scenario=options.scenario,
        trainer=options.trainer,
        own=options.scenarios,
    )
    print(made.folder / f"brief.{options.lang}.md")
    return EXIT_DONE


def _brief(options: argparse.Namespace) -> int:
    from audit_kit.training.drill import drill

    drill.start(options.folder, trainer=options.trainer)
    print(drill.brief(options.folder, lang=options.lang))
    return EXIT_DONE


def _from(options: argparse.Namespace) -> int:
    from audit_kit.cli.options import opened
    from audit_kit.training.drill import drill

    made = drill.from_engagement(
        opened(options), options.folder, month=options.month, seed=options.seed, trainer=options.trainer
    )
    print(made.folder / f"brief.{options.lang}.md")
    return EXIT_DONE


def _hint(options: argparse.Namespace) -> int:
    from audit_kit.training.drill import drill

    print(drill.hint(options.folder, lang=options.lang, trainer=options.trainer))
    return EXIT_DONE


def _hand_in(options: argparse.Namespace) -> int:
    from audit_kit.training.drill import drill

    print(drill.hand_in(options.folder, options.answers, trainer=options.trainer))
    return EXIT_DONE


def _score(options: argparse.Namespace) -> int:
    from audit_kit.training.drill import drill

    scored = drill.score(options.folder, options.answers, lang=options.lang, trainer=options.trainer)
    if options.json:
        frames = {name: getattr(scored, name).to_dicts() for name in ("causes", "confusion")}
        print_json({**vars(scored), **frames, "response": vars(scored.response) if scored.response else None})
    else:
        print(scored.debrief)
    return EXIT_DONE


def _class(options: argparse.Namespace) -> int:
    from audit_kit.paper.class_page import write_class

    made = write_class(
        options.folder,
        options.out,
        trainer=options.trainer,
        names=options.names,
        every_days=options.every,
        lang=options.lang,
    )
    if options.json:
        frames = {name: getattr(made, name).to_dicts() for name in ("results", "aside", "feedback")}
        print_json(
            {
                "out": str(options.out),
                **frames,
                "weakest": made.weakest().to_dicts(),
                "people": made.people().to_dicts(),
            }
        )
    else:
        print(options.out / "class.html")
    return EXIT_DONE


def _handouts(options: argparse.Namespace) -> int:
    from audit_kit.paper.handouts import write_handouts

    for name in write_handouts(options.out, own=options.scenarios, pages=options.pages):
        print(options.out / name)
    return EXIT_DONE


def _share(text: str) -> tuple[str, float]:
    name, value = pair(text)
    try:
        return name, float(value)
    except ValueError:
        raise wrong("fault.share", value=value) from None


STEPS: dict[str, Callable[[argparse.Namespace], int]] = {
    "new": _new,
    "brief": _brief,
    "hint": _hint,
    "hand-in": _hand_in,
    "score": _score,
    "from": _from,
    "class": _class,
    "handouts": _handouts,
}
