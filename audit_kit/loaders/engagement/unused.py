"""The files of an engagement that no table took, each with why; those that stop the run, in one sentence."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from audit_kit.core.errors import SourceError
from audit_kit.core.files import shown, shown_path
from audit_kit.loaders.reading import Reason
from audit_kit.resources.languages import Phrase

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


LEFT_OUT = "left_out"
SHOWN_STOPS = 5


@dataclass(frozen=True)
class Unused:
    """A file that no table took: its path as shown, the kind of reason (an entry of `[unused]`), and the reason."""

    file: str
    kind: str
    why: str
    fields: Mapping[str, object] = field(default_factory=dict)

    def said(self, lang: str) -> str:
        """Return the reason in a language (zh, en)."""
        return why(self.kind, self.fields, lang=lang)


@dataclass(frozen=True)
class Unended:
    """An error as a part of a sentence: without the stop at its end, and the file's name at its beginning."""

    error: SourceError
    file: str | None = None

    def said(self, lang: str = "en") -> str:
        """Return the words in a language (zh, en)."""
        words = shown(self.error.said(lang)).removesuffix(".").removesuffix("。")
        return words.removeprefix(f"{self.file}: ").removeprefix(f"{self.file}：")


@dataclass
class Sorting:
    """The files of a folder as they are sorted: for a table, unused, or such that the run stops."""

    folder: Path
    found: dict[str, list[Path]] = field(default_factory=dict)
    unused: list[Unused] = field(default_factory=list)
    stops: list[Unused] = field(default_factory=list)

    def name(self, path: Path, kind: str, **parts: object) -> None:
        """Name a file as unused."""
        self.unused.append(Unused(relative(self.folder, path), kind, why(kind, parts), parts))

    def stop(self, path: Path, kind: str, **parts: object) -> None:
        """Name a file that looks like a table and cannot be read."""
        self.stops.append(Unused(relative(self.folder, path), kind, why(kind, parts), parts))

    def check(self) -> None:
        """Stop where a file that looks like a table cannot be read.

        Raises:
            SourceError: there is one; the sentence says how to go on without it.
        """
        if not self.stops:
            return
        first, *more = self.stops
        others = [stop.file for stop in more[:SHOWN_STOPS]] + (["…"] if len(more) > SHOWN_STOPS else [])
        also = Phrase("error_engagement.more_stops", count=len(more), files=", ".join(others)) if more else ""
        raise SourceError("error_engagement.stops", file=first.file, why=first, way_out=way_out(first.file), also=also)


def why(kind: str, parts: Mapping[str, object], *, lang: str = "en") -> str:
    """Return the words of a kind of reason."""
    return Reason(code=f"unused.{kind}", fields=parts).said(lang)


def way_out(file: str) -> Phrase:
    """Return how to go on without a file."""
    return Phrase("error_engagement.go_on", file=file)


def relative(folder: Path, path: Path) -> str:
    """Return a path as findings show it: relative to the engagement, outside of it the file's name."""
    inside = str(path).removeprefix(f"{folder}{os.sep}")  # pathlib takes its time, and there may be many files
    return shown_path(inside) if inside != str(path) else shown(path.name)
