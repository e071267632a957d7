"""The parser of the commands in the reader's language: its help, its usage and what it says of a wrong word."""

from __future__ import annotations

import argparse
import re
import sys
from functools import cache
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NoReturn
from unicodedata import east_asian_width

from audit_kit.core.errors import EXIT_UNUSABLE
from audit_kit.core.words import LANGUAGES, Words, reader_language, texts

if TYPE_CHECKING:
    from collections.abc import Sequence

LANG = "--lang"
# What argparse says of a wrong word, as entries of [fault].
TOLD = (
    "argument",
    "required",
    "choice",
    "value",
    "one",
    "some",
    "unknown",
    "ambiguous",
    "together",
    "explicit",
)
_SPAN = re.compile(r"[^\s\u2e80-\uffef]+|\S")  # a word, or one letter of a script that has no words


def language(arguments: Sequence[str]) -> str:
    """Return the language that is asked for by `--lang`, else that of the reader."""
    after = [word for before, word in pairwise(arguments) if before == LANG]
    joined = [word.removeprefix(f"{LANG}=") for word in arguments if word.startswith(f"{LANG}=")]
    return next((word for word in reversed(after + joined) if word in LANGUAGES), reader_language())


def width(text: str) -> int:
    """Return how many columns of a terminal a text takes."""
    return sum(2 if east_asian_width(letter) in "WF" else 1 for letter in text)


def wrapped(text: str, columns: int) -> list[str]:
    """Return a text in lines of at most so many columns; Chinese is broken anywhere, but before no stop."""
    lines = [""]
    for found in _SPAN.finditer(text):
        gap = " " if found.start() and text[found.start() - 1].isspace() and lines[-1] else ""
        if lines[-1] and width(lines[-1] + gap + found[0]) > columns and found[0] not in "，。；：、）”？":
            lines.append(found[0])
        else:
            lines[-1] += gap + found[0]
    return lines


class _Formatter(argparse.HelpFormatter):
    """Help whose columns stand where Chinese letters, which are twice as wide, leave them."""

    def _split_lines(self, text: str, width: int) -> list[str]:
        return wrapped(text, width)

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        return "\n".join(indent + line for line in wrapped(text, width - len(indent)))

    def _get_default_metavar_for_optional(self, action: argparse.Action) -> str:
        known = texts()["metavar"].get(action.dest)
        return known[LANGUAGES.index(reader_language())] if known else super()._get_default_metavar_for_optional(action)

    def _format_action(self, action: argparse.Action) -> str:
        shown, head = super()._format_action(action), self._format_action_invocation(action)
        return shown.replace(head + " " * (width(head) - len(head)), head, 1)


class Parser(argparse.ArgumentParser):
    """A parser that is told keys of `resources/words/cli.toml`; another text stands for itself."""

    def __init__(self, **options: Any) -> None:  # noqa: ANN401  as argparse takes them
        """Take what argparse takes, but texts by their keys."""
        self.words = Words(reader_language())
        options |= {name: self._text(options[name]) for name in ("description",) if options.get(name)}
        super().__init__(formatter_class=_Formatter, add_help=False, **options)
        self._positionals.title = self.words("argparse.positionals")
        self._optionals.title = self.words("argparse.options")
        self.add_argument("-h", "--help", action="help", default=argparse.SUPPRESS, help="argparse.help")

    def add_argument(self, *names: Any, **options: Any) -> argparse.Action:  # noqa: ANN401  as argparse takes them
        """Add an argument whose help and metavar may be keys."""
        options |= {name: self._text(options[name]) for name in ("help", "metavar") if options.get(name)}
        return super().add_argument(*names, **options)

    def command(self, commands: Any, name: str, text: str, example: str) -> Parser:  # noqa: ANN401  it has no public type
        """Add a command with what it does, by its key, and an example of it."""
        said = self._text(text)
        epilog = self.words("argparse.example", example=f"audit-kit {example}")
        made: Parser = commands.add_parser(name, help=said, description=said, epilog=epilog)
        return made

    def format_usage(self) -> str:
        """Return the usage in the reader's language."""
        return self._usage(super().format_usage())

    def format_help(self) -> str:
        """Return the help in the reader's language."""
        return self._usage(super().format_help())

    def _usage(self, text: str) -> str:
        return text.replace("usage: ", self.words("argparse.usage"), 1)

    def error(self, message: str) -> NoReturn:
        """Say in the reader's language what is wrong, and end."""
        self.print_usage(sys.stderr)
        self.exit(EXIT_UNUSABLE, self.words("argparse.error", program=self.prog, fault=_said(message, self.words)))

    def _text(self, key: str) -> str:
        section, _, name = key.partition(".")
        return self.words(key) if name in texts().get(section, {}) else key


def _said(message: str, words: Words) -> str:
    """Return what argparse says of a fault in a language; what it does not know stays as it is."""
    for name, pattern in _patterns().items():
        if found := pattern.fullmatch(message):
            parts = {part: _said(text, words) if part == "fault" else text for part, text in found.groupdict().items()}
            return words(f"fault.{name}", **parts)
    return message


@cache
def _patterns() -> dict[str, re.Pattern[str]]:
    """Return how argparse tells each fault, from the English of our own entries."""
    told = texts()["fault"]
    return {
        name: re.compile(re.sub(r"\\{(\w+)\\}", r"(?P<\1>.+?)", re.escape(told[name][1])), re.DOTALL) for name in TOLD
    }
