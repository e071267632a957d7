"""The command line: it parses, calls one function of one room, and turns what comes back into an exit code.

Exit codes: 0 done; 1 findings at or above `--fail-on`; 2 the request or an input cannot be used (one sentence on
stderr); 70 a defect of ours (traceback); 130, 143 ended by a signal (128 and its number). Progress goes to stderr,
results to stdout. Every command imports its room only when it runs, so that `--help` answers at once.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from audit_kit.cli import allow_command, backup_commands
from audit_kit.cli.engagement_option import add_without, opened
from audit_kit.core import processes
from audit_kit.core.errors import EXIT_DEFECT, EXIT_DONE, AuditError, RequestError, defect
from audit_kit.core.files import shown
from audit_kit.core.words import LANGUAGES

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import polars as pl

SEVERITIES = ("critical", "high", "medium", "low", "info")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code; without arguments the process is ours, and takes those it was given."""
    if arguments is None:
        processes.forget_folder()
    with processes.endings():
        return _run(parser().parse_args(arguments))


def _run(options: argparse.Namespace) -> int:
    run: Callable[[argparse.Namespace], int] = options.run
    try:
        code = run(options)
        sys.stdout.flush()
    except AuditError as error:
        print(f"audit-kit: {shown(str(error))}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt as stop:
        print("audit-kit: stopped; nothing was left half done.", file=sys.stderr)
        return processes.SIGNALLED + (stop.number if isinstance(stop, processes.Ended) else signal.SIGINT)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_DONE
    except Exception as error:  # noqa: BLE001  the last door: whatever else is raised is our defect
        from audit_kit.core.outputs import told

        if (said := told(error)) is None:
            print(defect(), file=sys.stderr)
            return EXIT_DEFECT
        print(f"audit-kit: {said}", file=sys.stderr)
        return said.exit_code
    return code


def _report(options: argparse.Namespace) -> int:
    from audit_kit.core.places import sample
    from audit_kit.report.run import run_report

    if options.sample == (options.engagement is not None):
        raise RequestError("Name the engagement's folder, or ask for --sample, one of the two.")
    result = run_report(
        sample() if options.sample else options.engagement,
        month=options.month,
        out=options.out,
        lang=options.lang,
        pdf=options.pdf,
        redact=options.redact,
        fail_on=options.fail_on,
        jobs=options.jobs,
        without=options.without,
    )
    page = result.folder / "index.html"
    if options.json:
        _print_json({"folder": str(result.folder), "page": str(page), "summary": result.summary})
    else:
        print(page.resolve().as_uri())
    return result.exit_code


def _inspect(options: argparse.Namespace) -> int:
    from audit_kit.loaders.read import inspect

    tables = inspect(options.files, headings=dict(options.heading), lang="en" if options.json else options.lang)
    if options.json:
        _print_json(tables)
    else:
        from audit_kit.cli.inspection import inspection

        print(inspection(tables, lang=options.lang))
    return EXIT_DONE


def _templates(options: argparse.Namespace) -> int:
    from audit_kit.loaders.tables.templates import write_templates

    paths = write_templates(options.folder, tables=options.table or None)
    if options.json:
        _print_json([str(path) for path in paths])
    else:
        print("\n".join(str(path) for path in paths))
    return EXIT_DONE


def _reconcile(options: argparse.Namespace) -> int:
    from audit_kit.engines.disk import reconcile_to

    found = reconcile_to(options.ledger, options.platform, options.out, engine=options.engine, lang=options.lang)
    return _told(dict(found.sort("len", descending=True).iter_rows()), "outcome", options)


def _diagnose(options: argparse.Namespace) -> int:
    from audit_kit.analysis.work import diagnose
    from audit_kit.report.workbook import write_findings

    return _counted(write_findings(diagnose, opened(options), options.out, lang=options.lang), "cause", options)


def _backups(options: argparse.Namespace) -> int:
    from audit_kit.analysis.work import audit_backups
    from audit_kit.report.workbook import write_findings

    return _counted(write_findings(audit_backups, opened(options), options.out, lang=options.lang), "cause", options)


def _trace(options: argparse.Namespace) -> int:
    from audit_kit.views.trace import tell, trace

    story = trace(opened(options), options.number, lang=options.lang, reveal=options.reveal)
    if options.json:
        print(story.write_json())
    else:
        print(tell(story, lang=options.lang))
    return EXIT_DONE


def _settle(options: argparse.Namespace) -> int:
    from audit_kit.analysis.settle import settle_engagement

    settled = settle_engagement(
        opened(options), options.later, predictions=options.predictions, taken_at=options.taken_at
    )
    figures = settled.figures()
    if options.json:
        _print_json(figures)
    else:
        print("\n".join(f"{name:<16} {value}" for name, value in figures.items()))
    return EXIT_DONE


def _dictionary(options: argparse.Namespace) -> int:
    from audit_kit.cli.dictionary import data_dictionary
    from audit_kit.core import outputs

    if options.out is None:
        print(data_dictionary(), end="")
    else:
        with outputs.writing(options.out) as made:
            made.write_text(data_dictionary(), encoding="utf-8")
    return EXIT_DONE


def _simulate(options: argparse.Namespace) -> int:
    from audit_kit.training.world.simulate import DEFAULT, simulate

    truth = simulate(
        options.folder,
        invoices=options.invoices,
        seed=options.seed,
        month=options.month,
        format=options.format,
        causes=dict(options.cause) or DEFAULT,
    )
    return _counted(truth, "cause", options)


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
            _print_json({**vars(scored), **frames})
        else:
            print(scored.debrief)
    return EXIT_DONE


def _lab(options: argparse.Namespace) -> int:
    from audit_kit.report.lab import run_lab

    return run_lab(
        options.engagement,
        lang=options.lang,
        folder=options.folder,
        port=options.port,
        browser=not options.no_browser,
        without=options.without,
        terminals=options.terminals,
    )


def _counted(frame: pl.DataFrame, column: str, options: argparse.Namespace) -> int:
    counts = dict(frame[column].drop_nulls().value_counts(sort=True).iter_rows())
    return _told(counts, column, options, rows=frame.height)


def _told(counts: dict[str, int], column: str, options: argparse.Namespace, *, rows: int | None = None) -> int:
    out = shown(str(getattr(options, "out", getattr(options, "folder", ""))))
    rows = sum(counts.values()) if rows is None else rows
    if options.json:
        _print_json({"out": out, "rows": rows, column: counts})
    else:
        print("\n".join([f"{out}: {rows:,}", *(f"{count:>12,}  {word}" for word, count in counts.items())]))
    return EXIT_DONE


def _print_json(value: object) -> None:
    print(json.dumps(value, ensure_ascii=False, indent=2, default=str))


def _pair(text: str) -> tuple[str, str]:
    name, mark, value = text.partition("=")
    if not (name and mark and value):
        raise argparse.ArgumentTypeError(f"{text!r} is not of the form NAME=VALUE")
    return name, value


def _moment(text: str) -> datetime:
    try:
        return datetime.fromisoformat(text).replace(tzinfo=None)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a time such as 2025-06-10T09:00") from None


def _share(text: str) -> tuple[str, float]:
    name, value = _pair(text)
    try:
        return name, float(value)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{value!r} is not a share such as 0.01") from None


def parser() -> argparse.ArgumentParser:
    """Return the parser of all commands; each sets `run`."""
    top = argparse.ArgumentParser(
        prog="audit-kit",
        description="Why issued invoices are not on the tax platform: reconcile, explain, report.",
        epilog="Try it: audit-kit report --sample",
    )
    top.add_argument("--version", action=_Version)
    commands = top.add_subparsers(title="commands", metavar="COMMAND", required=True)

    def command(
        name: str, run: Callable[[argparse.Namespace], int], text: str, example: str, *, json_too: bool = True
    ) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=text, description=text, epilog=f"Example: audit-kit {example}")
        sub.set_defaults(run=run)
        sub.add_argument("--lang", choices=LANGUAGES, default="zh", help="language of the result (default: zh)")
        if json_too:
            sub.add_argument("--json", action="store_true", help="print the result as JSON")
        return sub

    _add_report(command)
    _add_tables(command)
    _add_engagement(command)
    _add_training(command)
    backup_commands.add(command)
    allow_command.add(command)
    return top


def _add_report(command: Callable[..., argparse.ArgumentParser]) -> None:
    sub = command(
        "report",
        _report,
        "Write a month's report: HTML pages, findings.xlsx, manifest.",
        "report engagements/acme --month 2025-05 --out reports",
    )
    sub.add_argument("engagement", nargs="?", type=Path, help="folder with the audit.toml, or with the files alone")
    sub.add_argument("--sample", action="store_true", help="report on the sample engagement that comes with the kit")
    sub.add_argument("--month", metavar="YYYY-MM", help="default: the latest month in the ledger")
    sub.add_argument("--out", type=Path, default=Path("reports"), help="where reports are kept (default: reports)")
    sub.add_argument("--pdf", action="store_true", help="also print every page as PDF (needs Chromium, Chrome or Edge)")
    sub.add_argument("--redact", action="store_true", help="mask names and tax ids, to send the report outside")
    sub.add_argument("--fail-on", choices=SEVERITIES, help="exit 1 if a finding is at least this severe")
    sub.add_argument("--jobs", type=int, default=2, help="notebooks run at the same time (default: 2)")
    add_without(sub)


def _add_tables(command: Callable[..., argparse.ArgumentParser]) -> None:
    sub = command("inspect", _inspect, "Show how files are read, before anything is judged.", "inspect 平台导出.xlsx")
    sub.add_argument("files", nargs="+", type=Path, metavar="FILE")
    sub.add_argument(
        "--heading",
        action="append",
        type=_pair,
        default=[],
        metavar="THEIRS=OURS",
        help="such as 票号=invoice_number",
    )

    sub = command(
        "dictionary",
        _dictionary,
        "Write the data dictionary: every table and column there is.",
        "dictionary --out docs/data-dictionary.md",
        json_too=False,
    )
    sub.add_argument("--out", type=Path, help="default: print it")

    sub = command(
        "templates",
        _templates,
        "Write ready-to-fill workbooks: Chinese headers, notes, drop-down lists.",
        "templates engagements/acme/forms",
    )
    sub.add_argument("folder", type=Path, metavar="DIR")
    sub.add_argument("--table", action="append", default=[], metavar="NAME", help="only this table; may be repeated")

    sub = command(
        "reconcile",
        _reconcile,
        "Match a ledger with a platform export, row by row.",
        "reconcile ledger.xlsx platform.xlsx --out matches.xlsx",
    )
    sub.add_argument("ledger", type=Path)
    sub.add_argument("platform", type=Path)
    sub.add_argument("--engine", choices=("local", "spark"), default="local", help="spark: parquet in, parquet out")
    _add_out(sub)


def _add_engagement(command: Callable[..., argparse.ArgumentParser]) -> None:
    for name, run, text, example in (
        ("diagnose", _diagnose, "Give every missing invoice a cause with its evidence.", "--out findings.xlsx"),
        ("backups", _backups, "Check whether the backups would bring every invoice back.", "--out backups.xlsx"),
    ):
        sub = command(name, run, text, f"{name} engagements/acme {example}")
        sub.add_argument("engagement", type=Path)
        add_without(sub)
        _add_out(sub)

    sub = command(
        "trace",
        _trace,
        "Tell everything known of one invoice, in time order.",
        "trace engagements/acme 25112000000012345678",
    )
    sub.add_argument("engagement", type=Path)
    sub.add_argument("number", help="the invoice number, as written anywhere")
    add_without(sub)
    sub.add_argument("--reveal", action="store_true", help="show names of persons and identity-card numbers")

    sub = command(
        "settle",
        _settle,
        "Score last time's chances of being merely late against a later export.",
        "settle engagements/acme later.xlsx --taken-at 2025-06-10T09:00",
    )
    sub.add_argument("engagement", type=Path)
    sub.add_argument("later", type=Path, metavar="LATER_EXPORT")
    sub.add_argument("--predictions", type=Path, metavar="findings.parquet", help="the report whose chances are scored")
    add_without(sub)
    sub.add_argument("--taken-at", type=_moment, metavar="TIME", help="when the later export was taken, Beijing time")

    sub = command(
        "lab",
        _lab,
        "Open JupyterLab on the notebooks, your engagement set.",
        "lab engagements/acme",
        json_too=False,
    )
    sub.add_argument("engagement", nargs="?", type=Path, help="default: the sample engagement")
    sub.add_argument("--folder", type=Path, help="where your copies of the notebooks are kept")
    sub.add_argument("--port", type=int, help="default: the first free one from 8888")
    add_without(sub)
    sub.add_argument("--no-browser", action="store_true", help="print the address, open nothing")
    sub.add_argument("--terminals", action="store_true", help="let JupyterLab open terminals")


def _add_training(command: Callable[..., argparse.ArgumentParser]) -> None:
    sub = command(
        "simulate",
        _simulate,
        "Make a whole engagement whose truth is known; the truth stands beside DIR, not in it.",
        "simulate /tmp/acme --invoices 3000 --seed 7 --cause outage=0.02",
    )
    sub.add_argument("folder", type=Path, metavar="DIR")
    sub.add_argument("--invoices", type=int, default=3000)
    sub.add_argument("--seed", type=int, default=1)
    sub.add_argument("--month", default="2025-05", metavar="YYYY-MM")
    sub.add_argument("--cause", action="append", type=_share, default=[], metavar="CAUSE=SHARE")
    sub.add_argument("--format", choices=("xlsx", "csv", "parquet"), default="xlsx")

    sub = command(
        "drill",
        _drill,
        "Train on a month with hidden causes: a brief, hints at a price, a score and a debrief.",
        "drill new /tmp/drill --seed 7 --level 3",
    )
    steps = sub.add_subparsers(dest="step", metavar="STEP", required=True)
    for step, text, example in (
        ("new", "Make a drill; its truth is sealed beside DIR.", "new /tmp/drill --seed 7 --level 3"),
        ("hint", "Give the next hint; it costs points.", "hint /tmp/drill"),
        ("score", "Score answers and tell what was missed.", "score /tmp/drill /tmp/drill/answers.toml"),
    ):
        part = steps.add_parser(step, help=text, description=text, epilog=f"Example: audit-kit drill {example}")
        part.add_argument("folder", type=Path, metavar="DIR")
        # Where they are not given here, what stood before the step holds.
        part.add_argument("--lang", choices=LANGUAGES, default=argparse.SUPPRESS, help="language (default: zh)")
        if step == "new":
            part.add_argument("--seed", type=int, default=1, help="the same seed gives the same drill (default: 1)")
            part.add_argument("--level", type=int, choices=range(1, 6), default=1, help="1 is the easiest (default: 1)")
        if step == "score":
            part.add_argument("answers", type=Path, help="answers.toml, or a table of labels such as findings.csv")
            part.add_argument("--json", action="store_true", default=argparse.SUPPRESS, help="print the score as JSON")


def _add_out(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("--out", type=Path, required=True, help="the ending decides: .parquet, .csv or .xlsx")


class _Version(argparse.Action):
    """Print the version; read from the package only when asked."""

    def __init__(self, option_strings: Sequence[str], dest: str) -> None:
        super().__init__(option_strings, dest, nargs=0, help="print the version")

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        from audit_kit import __version__

        print(f"audit-kit {__version__}")
        parser.exit()
