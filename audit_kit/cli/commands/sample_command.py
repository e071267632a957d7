"""An audit sample: drawn from an engagement's ledger into a workbook, and evaluated once that is filled in."""

from __future__ import annotations

import secrets
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import TYPE_CHECKING

from audit_kit.cli.options import add_without, opened, pair, print_json, wrong
from audit_kit.core.errors import EXIT_DONE, RequestError
from audit_kit.core.files import shown
from audit_kit.core.words import Words

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

    from audit_kit.cli.parsing import Parser

METHODS = ("mus", "random", "stratified")


def add(command: Callable[..., Parser]) -> None:
    """Add `sample` to the command line."""
    sub = command("sample", _sample, "command.sample", "sample engagements/acme --tolerable 50000 --out sample.xlsx")
    sub.add_argument("engagement", nargs="?", type=Path, metavar="metavar.engagement", help="option.engagement")
    sub.add_argument("--method", choices=METHODS, default="mus", help="option.sample_method")
    sub.add_argument("--out", type=Path, help="option.sample_out")
    sub.add_argument("--tolerable", type=yuan, metavar="metavar.yuan", help="option.tolerable")
    sub.add_argument("--expected", type=yuan, metavar="metavar.yuan", help="option.expected")
    sub.add_argument("--tolerable-rate", type=float, default=0.05, metavar="metavar.rate", help="option.tolerable_rate")
    sub.add_argument("--expected-rate", type=float, default=0.0, metavar="metavar.rate", help="option.expected_rate")
    sub.add_argument("--size", type=int, metavar="N", help="option.sample_size")
    sub.add_argument("--strata", type=int, default=4, metavar="N", help="option.strata")
    sub.add_argument("--confidence", type=float, default=0.95, metavar="metavar.rate", help="option.confidence")
    sub.add_argument("--seed", help="option.sample_seed")
    sub.add_argument("--month", metavar="metavar.month", help="option.sample_month")
    sub.add_argument("--only", action="append", type=pair, default=[], metavar="metavar.only", help="option.only")
    sub.add_argument("--rows", type=int, metavar="N", help="option.control_rows")
    sub.add_argument("--yuan", type=yuan, metavar="metavar.yuan", help="option.control_yuan")
    sub.add_argument("--difference", default="", metavar="metavar.text", help="option.difference")
    sub.add_argument("--evaluate", type=Path, metavar="metavar.file", help="option.evaluate")
    add_without(sub)


def yuan(text: str) -> Decimal:
    """Return an amount of yuan, 0 or more, as it is typed."""
    try:
        amount = Decimal(text.replace(",", ""))
    except InvalidOperation:
        amount = Decimal("NaN")
    if not amount.is_finite() or amount < 0:
        raise wrong("fault.yuan", text=text)
    return amount


def _sample(options: argparse.Namespace) -> int:
    if options.evaluate is not None:
        return _evaluate(options)
    if options.engagement is None or options.out is None:
        raise RequestError("error_sampling.what")
    from audit_kit.analysis.sampling import Request, draw
    from audit_kit.report.sampling.sample_workbook import write_sample

    engagement = opened(options)
    asked = {name: getattr(options, name) for name in ("method", "confidence", "size", "tolerable", "expected")}
    asked |= {name: getattr(options, name) for name in ("tolerable_rate", "expected_rate", "strata", "month")}
    asked |= {name: getattr(options, name) for name in ("rows", "yuan", "difference")}
    sample = draw(engagement, Request(**asked, seed=options.seed or secrets.token_hex(4), only=dict(options.only)))
    used = [path for entries in engagement.sources.values() for entry in entries for path in entry.paths]
    write_sample(sample, options.out, lang=options.lang, inputs=used)
    record, words = sample.record, Words(options.lang)
    if options.json:
        print_json({"out": str(options.out), "drawn": sample.rows.height, **record})
        return EXIT_DONE
    print(
        words(
            "sampling.printed",
            out=shown(str(options.out)),
            method=words(f"sampling_methods.{record['method']}"),
            drawn=words.count(sample.rows.height),
            rows=words.count(record["population"]["rows"]),
            yuan=words.yuan(Decimal(record["population"]["cents"]) / 100),
            seed=record["seed"],
        )
    )
    return EXIT_DONE


def _evaluate(options: argparse.Namespace) -> int:
    from dataclasses import asdict

    from audit_kit.analysis.sampling import score
    from audit_kit.report.sampling.sample_workbook import read_sample, told, write_result

    record, rows = read_sample(options.evaluate)
    engagement = opened(options) if options.engagement is not None else None
    found = score(record, rows, engagement=engagement)
    words = Words(options.lang)
    if options.out is not None:
        write_result(found, record, rows, options.out, lang=options.lang, inputs=[options.evaluate])
    if options.json:
        print_json(
            {name: value for name, value in asdict(found).items() if name != "parts"}
            | {"parts": found.parts.to_dicts()}
        )
    else:
        checked = words("sampling.unread" if engagement is None else "sampling.reread")
        print("\n".join([*told(found, record, words), checked]))
    return EXIT_DONE
