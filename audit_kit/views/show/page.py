"""What a notebook opens: an engagement worked up, a month or more of it, findings, and what may be shown of them."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import itables
import polars as pl
from IPython.display import publish_display_data
from itables.javascript import generate_init_offline_itables_html

from audit_kit.analysis import earlier
from audit_kit.analysis import events as rolled
from audit_kit.analysis import report_scope as scopes
from audit_kit.analysis.month import month as one_month
from audit_kit.analysis.work import analyse
from audit_kit.core.files import shown
from audit_kit.core.places import sample
from audit_kit.core.words import Words
from audit_kit.loaders.engagement.engagement import open_engagement
from audit_kit.views.show import masking, theme

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime

    from audit_kit.analysis.analysis import Analysis
    from audit_kit.analysis.report_scope import Scope
    from audit_kit.core.kept.pseudonyms import Pseudonyms

ENGAGEMENT = "AUDIT_KIT_ENGAGEMENT"


@dataclass(frozen=True)
class Page:
    """A month, a year or all of an engagement, in one language, with personal data hidden as far as asked.

    `month` names which of them (analysis.report_scope); `by_default`: nobody named it. `analysis` holds what is of it
    and what is still open of before; `whole` everything. Frames of an analysis are not masked: what shows rows passes
    them through `safe`.
    """

    whole: Analysis
    analysis: Analysis
    month: str
    lang: str
    redact: bool
    previous: str
    parameters: dict[str, Any]
    by_default: bool = False

    @property
    def words(self) -> Words:
        """The labels of the page's language."""
        return Words(self.lang)

    @property
    def scope(self) -> Scope:
        """What the page is about."""
        return scopes.scope(self.month or scopes.EVERYTHING)

    @property
    def start(self) -> datetime | None:
        """The first moment of what the page is about; null where that is everything."""
        return self.scope.start

    @property
    def end(self) -> datetime | None:
        """The moment after what the page is about; null where that is everything."""
        return self.scope.end

    @cached_property
    def findings(self) -> pl.DataFrame:
        """Findings of the sync, of what is missing, of the backups and of the response, together."""
        found = self.analysis
        return pl.concat([found.findings, found.backup_findings, found.response_findings], how="diagonal_relaxed")

    @cached_property
    def materiality(self) -> rolled.Materiality:
        """From how much on an event of the period is material."""
        work = self.whole
        return rolled.materiality(work.ledger, work.engagement.policy, start=self.start, end=self.end)

    @cached_property
    def weighed(self) -> pl.DataFrame:
        """What each finding weighs, and the event it belongs to: see events.weigh. Not masked."""
        work, sides = self.analysis, ("ledger", "platform", "matches")
        frames = {side: getattr(work, side) for side in sides}
        return rolled.weigh(self.findings, **frames, materiality=self.materiality)

    @cached_property
    def events(self) -> pl.DataFrame:
        """The findings rolled up, what matters most first: see events.roll_up. Not masked."""
        return rolled.roll_up(self.weighed, materiality=self.materiality)

    @cached_property
    def compared(self) -> pl.DataFrame:
        """Findings with `change` against the previous report: see earlier.changes."""
        return earlier.changes(self.findings, self.previous, whole=self.whole)

    @cached_property
    def known(self) -> dict[str, str]:
        """Words of the engagement that may not be shown, with what stands in their place; none unless redacted."""
        return masking.known_of(self.whole, self.hide) if self.hide else {}

    @cached_property
    def hide(self) -> Pseudonyms | None:
        """The pseudonyms of the engagement; null unless redacted."""
        return masking.pseudonyms_of(self.whole.engagement, self.lang) if self.redact else None

    def safe(self, frame: pl.DataFrame) -> pl.DataFrame:
        """Return rows that may be shown: see masking; names in their text are those of their own parties."""
        known = self.known
        if self.redact:
            known = {**masking.known_in(frame, known), **self._parties(frame), **known}
        return masking.mask(frame, hide=self.hide, known=known)

    @property
    def unused(self) -> pl.DataFrame:
        """The files of the engagement that no table took, as they may be shown: `file`, `kind`, `why`."""
        files = self.whole.engagement.unused
        shape = {"source_file": pl.String, "kind": pl.String, "why": pl.String}
        rows = pl.DataFrame(
            [(file.file, file.kind, file.said(self.lang)) for file in files], schema=shape, orient="row"
        )
        return self.safe(rows).rename({"source_file": "file"})

    def say(self, sentences: list[str]) -> list[str]:
        """Return the sentences that are not empty, as they may be shown."""
        said = pl.DataFrame({"sentence": [text for text in sentences if text]}, schema={"sentence": pl.String})
        return self.safe(said)["sentence"].to_list()

    def _parties(self, frame: pl.DataFrame) -> dict[str, str]:
        """Return names and tax ids that the free text of these rows may hold, with what stands in their place."""
        found: dict[str, str] = {}
        for table, rows in self._rows(frame).items():
            whole = getattr(self.analysis, table)
            for name in (name for name in masking.PARTIES if name in whole.columns):
                if self.hide:
                    found |= masking.instead(whole[name].gather(rows), masking.ROLES[name], self.hide)
        return found

    def _rows(self, frame: pl.DataFrame) -> dict[str, pl.Series]:
        """Rows of ledger and platform that a frame speaks of, those that the matches pair with them included."""
        matches = self.analysis.matches
        if "ledger_row" in frame.columns:
            matches = matches.filter(pl.col("ledger_row").is_in(frame["ledger_row"].drop_nulls().unique().implode()))
        elif "platform_row" not in frame.columns:
            return {}
        listed = [matches["platform_row"], matches["candidates"].explode()]
        listed += [frame["platform_row"]] if "platform_row" in frame.columns else []
        return {"ledger": matches["ledger_row"].drop_nulls(), "platform": pl.concat(listed).drop_nulls().unique()}


def open_page(
    engagement: str,
    *,
    month: str = "",
    lang: str = "zh",
    redact: bool = False,
    previous: str = "",
    history: str = "",
    without: str = "",
) -> Page:
    """Open an engagement for a notebook: set up charts and tables, work it up (or take it from the cache).

    Args:
        engagement: its folder; empty = the one `audit-kit lab` was given, else the sample.
        month: as 2025-05, 2024 or all; empty = the ledger's latest month that is not lonely: see analysis.report_scope.
        lang: `zh` or `en`.
        redact: hide names and taxpayer ids.
        previous: manifest.json of last month's report; empty = no comparison.
        history: history.parquet beside the reports; empty = none.
        without: files of the engagement that are left out, one a line; empty = none.

    Raises:
        RequestError: a language, month or earlier report that is none.
        EngagementError, SourceError: an engagement or source that cannot be used.
    """
    theme.setup(lang)
    tables_of_pages = generate_init_offline_itables_html(itables.options.dt_bundle)
    without_script = re.sub(r"<noscript>.*</noscript>", "", tables_of_pages, flags=re.DOTALL)
    publish_display_data({"text/html": without_script})  # type: ignore[no-untyped-call]
    opened = open_engagement(engagement or os.environ.get(ENGAGEMENT) or sample(), without=without.splitlines())
    whole = analyse(opened, lang=lang, history=Path(history) if history else None)
    wanted = scopes.scope(month or scopes.latest(whole.ledger)).name
    return Page(
        whole=whole,
        analysis=one_month(whole, wanted),
        month=wanted,
        lang=lang,
        redact=redact,
        previous=previous,
        parameters={
            "engagement": masking.company(opened, masking.pseudonyms_of(opened, lang) if redact else None)["name"],
            "month": wanted,
            "lang": lang,
            "redact": redact,
        }
        | left_out(without.splitlines(), redact=redact),
        by_default=not month,
    )


def left_out(names: Sequence[str], *, redact: bool) -> dict[str, str]:
    """Return the parameter `without` as a page may show it; nothing where no file is left out."""
    return {"without": one_a_line(masking.hidden_file(name) if redact else name for name in names)} if names else {}


def one_a_line(names: Iterable[str]) -> str:
    """Return names as the notebooks' parameter `without` takes them."""
    return "\n".join(map(shown, names))
