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

    sub = command(
        "drill",
        _drill,
        "command.drill",
        "drill new /tmp/drill --seed 7 --level 3",
    )
    steps = sub.add_subparsers(dest="step", metavar=sub.words("metavar.step"), required=True)
    for step, text, example in (
        ("new", "command.drill_new", "new /tmp/drill --seed 7 --level 3"),
        ("hint", "command.drill_hint", "hint /tmp/drill"),
        ("score", "command.drill_score", "score /tmp/drill /tmp/drill/answers.toml"),
    ):
        part = sub.command(steps, step, text, f"drill {example}")
        part.add_argument("folder", type=Path, metavar="metavar.dir")
        # Where they are not given here, what stood before the step holds.
        part.add_argument("--lang", choices=LANGUAGES, default=argparse.SUPPRESS, help="option.step_lang")
        if step == "new":
            part.add_argument("--seed", type=int, default=1, help="option.seed")
            part.add_argument("--level", type=int, choices=range(1, 6), default=1, help="option.level")
        if step == "score":
            part.add_argument("answers", type=Path, metavar="metavar.answers", help="option.answers")
            part.add_argument("--json", action="store_true", default=argparse.SUPPRESS, help="option.score_json")


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
    from audit_kit.training.drill import drill

    if options.step == "new":
        made = drill.new(options.folder, seed=options.seed, level=options.level)
        print(made.folder / f"brief.{options.lang}.md")
    elif options.step == "hint":
        print(drill.hint(options.folder, lang=options.lang))
    else:
        scored = drill.score(options.folder, options.answers, lang=options.lang)
        if options.json:
            frames = {name: getattr(scored, name).to_dicts() for name in ("causes", "confusion")}
            print_json({**vars(scored), **frames})
        else:
            print(scored.debrief)
    return EXIT_DONE


def _share(text: str) -> tuple[str, float]:
    name, value = pair(text)
    try:
        return name, float(value)
    except ValueError:
        raise wrong("fault.share", value=value) from None
