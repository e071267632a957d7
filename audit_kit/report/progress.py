"""Progress on stderr: one bar where a person watches, plain lines in a log."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Self

from tqdm import tqdm

from audit_kit.core.words import Words
from audit_kit.loaders.engagement.unused import LEFT_OUT

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType

    from audit_kit.loaders.engagement.unused import Unused


MOST_UNUSED = 20
LAST = ("hidden",)


def unused_lines(unused: Sequence[Unused], *, lang: str) -> list[str]:
    """Return a line for each file that is not used, the first of them and then how many more there are."""
    words = Words(lang)
    ordered = sorted(unused, key=lambda file: (file.kind in LAST, file.kind != LEFT_OUT))
    lines = [words("console.unused", file=file.file, why=file.said(lang)) for file in ordered[:MOST_UNUSED]]
    more = [words("console.unused_more", count=f"{len(ordered) - MOST_UNUSED:,}")] if len(ordered) > MOST_UNUSED else []
    # A name may hold a line break, or what a terminal obeys.
    return ["".join(c if c.isprintable() else repr(c)[1:-1] for c in line) for line in (*lines, *more)]


class Progress:
    """So many steps, each with a name."""

    def __init__(self, *, steps: int) -> None:
        """Begin at none of `steps`."""
        self.steps = steps
        self.done = 0
        self._began = time.monotonic()
        shape = "{desc:<32} {bar:24} {n_fmt}/{total_fmt} {elapsed}"
        self._bar = tqdm(total=steps, bar_format=shape, file=sys.stderr, leave=False) if sys.stderr.isatty() else None

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Take the bar away."""
        if self._bar is not None:
            self._bar.close()

    def doing(self, name: str) -> None:
        """Say what is worked on, where a person watches."""
        if self._bar is not None:
            self._bar.set_description_str(name[:32])

    def note(self, *lines: str) -> None:
        """Say lines that stay."""
        for line in lines:
            tqdm.write(line, file=sys.stderr)

    def step(self, name: str) -> None:
        """Say that one more step is begun or done."""
        self.reach(self.done + 1)
        self.doing(name)
        if self._bar is None:
            seconds = time.monotonic() - self._began
            print(f"[{self.done}/{self.steps}] {seconds:4.0f} s  {name}", file=sys.stderr, flush=True)  # noqa: T201

    def reach(self, done: int) -> None:
        """Move to so many steps done."""
        self.done = min(done, self.steps)
        if self._bar is not None:
            self._bar.n = self.done
            self._bar.refresh()
