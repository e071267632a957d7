"""The command line: it parses, calls one function of one room, and turns what comes back into an exit code.

Exit codes: 0 done; 1 findings at or above `--fail-on`; 2 the request or an input cannot be used (one sentence on
stderr); 3 done, but the mail about it was not sent; 70 a defect of ours (traceback); 130, 143 ended by a signal (128
and its number). Progress goes to stderr, results to stdout. Every command imports its room only when it runs, so that
`--help` answers at once.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
from typing import TYPE_CHECKING

from audit_kit.cli.commands import (
    backup_commands,
    binder_commands,
    engagement_commands,
    init_command,
    machine_commands,
    paper_commands,
    privacy_commands,
    report_commands,
    sample_command,
    table_commands,
    training_commands,
    unattended_commands,
)
from audit_kit.cli.parsing import Parser, language
from audit_kit.core import processes
from audit_kit.core.errors import EXIT_DEFECT, EXIT_DONE, AuditError, defect
from audit_kit.core.files import shown
from audit_kit.core.words import LANGUAGES, Words, reader_language
from audit_kit.resources.languages import reading

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


GROUPS = (
    init_command,
    machine_commands,
    report_commands,
    table_commands,
    engagement_commands,
    sample_command,
    training_commands,
    unattended_commands,
    backup_commands,
    binder_commands,
    paper_commands,
    privacy_commands,
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code; without arguments the process is ours, and takes those it was given."""
    if arguments is None:
        processes.forget_folder()
    with processes.endings(), reading(language(sys.argv[1:] if arguments is None else arguments)):
        return _run(parser().parse_args(arguments))


def _run(options: argparse.Namespace) -> int:
    run: Callable[[argparse.Namespace], int] = options.run
    try:
        code = run(options)
        sys.stdout.flush()
    except AuditError as error:
        print(f"audit-kit: {shown(error.said(reader_language()))}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt as stop:
        print(f"audit-kit: {Words(reader_language())('console.stopped')}", file=sys.stderr)
        return processes.SIGNALLED + (stop.number if isinstance(stop, processes.Ended) else signal.SIGINT)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_DONE
    except Exception as error:  # noqa: BLE001  the last door: whatever else is raised is our defect
        from audit_kit.core.outputs import told

        if (said := told(error)) is None:
            print(defect(), file=sys.stderr)
            return EXIT_DEFECT
        print(f"audit-kit: {said.said(reader_language())}", file=sys.stderr)
        return said.exit_code
    return code


def parser() -> Parser:
    """Return the parser of all commands, in the reader's language; each sets `run`."""
    words = Words(reader_language())
    top = Parser(prog="audit-kit", description="argparse.about", epilog=words("argparse.try"))
    top.add_argument("--version", action=_Version, help="option.version")
    top.set_defaults(run=_welcome)
    commands = top.add_subparsers(title=words("argparse.commands"), metavar=words("metavar.command"))

    def command(
        name: str, run: Callable[[argparse.Namespace], int], text: str, example: str, *, json_too: bool = True
    ) -> Parser:
        sub = top.command(commands, name, text, example)
        sub.set_defaults(run=run)
        sub.add_argument("--lang", choices=LANGUAGES, default=reader_language(), help="option.lang")
        if json_too:
            sub.add_argument("--json", action="store_true", help="option.json")
        return sub

    for group in GROUPS:
        group.add(command)
    return top


def _welcome(_: argparse.Namespace) -> int:
    """Show what people come to do."""
    print("\n".join(Words(reader_language()).section("welcome").values()))
    return EXIT_DONE


class _Version(argparse.Action):
    """Print the version; read from the package only when asked."""

    def __init__(self, option_strings: Sequence[str], dest: str, help: str | None = None) -> None:  # noqa: A002  as there
        super().__init__(option_strings, dest, nargs=0, help=help)

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        from audit_kit import __version__

        print(f"audit-kit {__version__}")
        parser.exit()
