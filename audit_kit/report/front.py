"""The front page of a report, and the page that lists the reports: figures in, words and HTML out."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import polars as pl

from audit_kit.analysis.report_scope import EVERYTHING, scope
from audit_kit.analysis.step_totals import TOTALS
from audit_kit.core import schema
from audit_kit.core.words import Words
from audit_kit.loaders.engagement.unused import LEFT_OUT
from audit_kit.report.job import WORKBOOK
from audit_kit.report.manifest import ACUTE, CHANGES
from audit_kit.report.pages import render
from audit_kit.views.overview import step_lines
from audit_kit.views.overview.charts import PLACED
from audit_kit.views.overview.periods import FIGURES, place_name
from audit_kit.views.overview.periods import month_name as month_of
from audit_kit.views.show import event_rows, theme

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

SIDES = ("ledger", "platform")
MOST_SOURCES = 60
_FILES = ("workbook", "parquet", "manifest")
FILE_NAMES = {"workbook": WORKBOOK, "parquet": "findings.parquet", "manifest": "manifest.json"}


@dataclass(frozen=True)
class Tab:
    """A page of the report: its file, its title, one line on what it answers."""

    file: str
    name: str
    title: str
    about: str


def head(manifest: Mapping[str, Any], *, lang: str) -> dict[str, Any]:
    """Return what every page of a report shows at its head and foot."""
    engagement = manifest["engagement"]
    named = [engagement["taxpayer_name"] or engagement["name"], *engagement["taxpayer_ids"]]
    words, kind = Words(lang), scope(manifest["month"]).kind
    return {
        "title": words(f"page_title.{kind}"),
        "short": words(f"page_short.{kind}"),
        "month": month_name(manifest["month"], lang=lang),
        "name": named[0],
        "taxpayer": " · ".join(named),
        "taken_at": _moment(manifest["taken_at"]),
        "made_at": _moment(manifest["started_at"]),
        "fingerprint": manifest["fingerprint"],
        "redacted": manifest["parameters"]["redact"],
    }


def front_page(manifest: Mapping[str, Any], tabs: Sequence[Tab], *, lang: str, pdf: bool = False) -> str:
    """Return the page that answers the auditor's question at its head and shows where the answer comes from."""
    words = Words(lang)
    figures = manifest["summary"]
    about = head(manifest, lang=lang)
    files = [{"name": FILE_NAMES[name], "about": words(f"front.{name}")} for name in _FILES]
    if binder := manifest.get("binder"):
        files.append({"name": binder["file"], "about": words("binder.file")})
    printed = [{"name": tab.file.replace(".html", ".pdf"), "about": tab.name} for tab in tabs] if pdf else []
    return render(
        "front",
        lang=lang,
        title=f"{about['short']} {about['month']} {about['name']}",
        head=about,
        tabs=tabs,
        terms={"severity": words.terms("severities", schema.SEVERITIES)},
        verdict=_verdict(manifest, words),
        scope=figures["scope"]["lines"],
        months=_months(figures, words),
        tiles=_tiles(manifest, words),
        bars=_bars(figures, words),
        tie=_tie(figures, words),
        **_totals(figures, words),
        events=[_event(event, words) for event in figures["events"]],
        more_events=_more_events(figures, words),
        causes=[_cause(cause, words) for cause in figures["causes"]],
        change=_change(manifest, words),
        files=files + printed,
        sources=_sources(manifest, words),
        more_sources=_more(manifest, lang),
        unused=_unused(manifest),
        more_unused=_more_unused(manifest, words),
        binder=manifest.get("binder"),
        parameters=manifest["parameters"],
        versions=manifest["versions"],
    )


def months_page(manifests: Sequence[Mapping[str, Any]], *, lang: str, trend: str) -> str:
    """Return the list of the reports, newest first, with a link to the page on how they went."""
    words = Words(lang)
    return render(
        "months",
        lang=lang,
        title=words("months.title"),
        trend=trend,
        lines=[_month_line(manifest, words) for manifest in manifests],
    )


def month_name(month: str, *, lang: str) -> str:
    """Return what a report is about as a person writes it."""
    return Words(lang).month(month)


def acute(figures: Mapping[str, Any]) -> int:
    """Return how many findings are critical or high."""
    return sum(figures["severities"].get(word, 0) for word in ACUTE)


def _verdict(manifest: Mapping[str, Any], words: Words) -> dict[str, Any]:
    figures, unused = manifest["summary"], manifest["unused_in_all"]
    count = acute(figures)
    said = {sentence for line in figures["lines"] for sentence in line["sentences"]}
    rest = [sentence for sentence in figures["answer"] if sentence not in said]
    lines = [*figures["counted"], *([] if count else [words("verdict.calm")])]
    if figures["set_aside"]:
        lines.append(words("verdict.aside", count=words.count(figures["set_aside"])))
    if unused:
        lines.append(words("verdict.unused", count=words.count(unused)))
    return {"lines": figures["lines"], "rest": [*lines, *rest], "tone": "bad" if count else "good"}


def _months(figures: Mapping[str, Any], words: Words) -> list[dict[str, Any]]:
    """Return the lines of the table of months, and their sum."""
    months = figures["scope"]["months"]
    total = {name: sum(line[name] for line in months) for name in FIGURES}
    partly = figures["scope"]["kind"] != EVERYTHING
    lines = [
        line
        | {
            "name": month_of(line, words),
            "place": place_name(line, words),
            "own": partly and line["place"] == "within",
        }
        for line in months
    ]
    lines.append({"name": words("front.total"), "place": "", "total": True} | total)
    return [
        {key: line.get(key) for key in ("name", "own", "total", "place")}
        | {"cells": [f"{line[name]:,.2f}" if name.endswith("_yuan") else words.count(line[name]) for name in FIGURES]}
        for line in lines
    ]


def _tiles(manifest: Mapping[str, Any], words: Words) -> list[dict[str, str]]:
    figures = manifest["summary"]
    ledger, missing, early = figures["ledger"], figures["missing"], figures["before"]["missing"]
    changed = figures["changes"]
    found = {key: ledger[key] - missing[key] + early[key] for key in ("rows", "yuan")}
    first = figures["first"]
    tiles = [
        {
            "name": words(f"tile.{name}"),
            "value": words.count(side["rows"]),
            "note": words.yuan(side["yuan"]),
            "tone": tone,
        }
        for name, side, tone in (
            ("ledger", ledger, ""),
            ("found", found, ""),
            ("missing", missing, "bad" if missing["rows"] else "good"),
        )
    ]
    if early["rows"]:
        tiles[-1]["note"] = words("tile.early", yuan=tiles[-1]["note"], rows=words.count(early["rows"]))
    tiles.append(
        {
            "name": words("tile.acute"),
            "value": words.count(first),
            "note": words("tile.acute_note", events=words.count(figures["events_in_all"])),
            "tone": "bad" if first else "good",
        }
    )
    value = _not_yet(manifest, words) if changed is None else _three(changed, words)
    tiles.append({"name": words("tile.change"), "value": value, "note": words("tile.change_note"), "tone": ""})
    return tiles


def _not_yet(manifest: Mapping[str, Any], words: Words) -> str:
    return words("tile.not_compared" if scope(manifest["month"]).start is None else "tile.first")


def _three(changed: Mapping[str, Any], words: Words) -> str:
    rows = {word: changed.get(word, {"rows": 0})["rows"] for word in CHANGES}
    new, still, closed = (words.count(rows[word]) for word in ("new", "open", "closed"))
    again = words("tile.reopened", count=words.count(rows["reopened"])) if rows["reopened"] else ""
    return f"+{new} / −{closed} / {still}{again}"


def _bars(figures: Mapping[str, Any], words: Words) -> list[dict[str, Any]]:
    bars = []
    for side in SIDES:
        parts = [
            {
                "name": words.term("outcomes", line["outcome"]),
                "rows": line["rows"],
                "rows_text": words.count(line["rows"]),
                "yuan_text": words.yuan(line["yuan"]),
                "colour": theme.OUTCOMES[line["outcome"]],
            }
            for line in figures["outcomes"]
            if line["side"] == side
        ]
        bars.append({"name": words(f"front.{side}"), "parts": parts, "rows_text": words.count(figures[side]["rows"])})
    return bars


def _tie(figures: Mapping[str, Any], words: Words) -> list[dict[str, Any]]:
    by_place = {(line["side"], line["outcome"]): line for line in figures["outcomes"]}
    lines = []
    for outcome in PLACED:
        sides = [by_place.get((side, outcome)) for side in SIDES]
        if any(sides):
            lines.append(
                {
                    "name": words.term("outcomes", outcome),
                    "colour": theme.OUTCOMES[outcome],
                    "cells": _money_cells(sides, words),
                }
            )
    total = {
        "name": words("front.total"),
        "total": True,
        "cells": _money_cells([figures[side] for side in SIDES], words),
    }
    before = figures["before"]
    if not any(side["rows"] for side in before.values()):
        return [*lines, total]
    early = {"name": words("tables.before"), "cells": _money_cells([before[side] for side in SIDES], words)}
    return [*lines, total, early]


def _totals(figures: Mapping[str, Any], words: Words) -> dict[str, list[dict[str, Any]]]:
    """Return the lines of the totals by step: `steps` of both sides, `found` of all findings."""
    lines = pl.DataFrame(figures["totals"], schema=TOTALS)
    frames = {"steps": step_lines.both_sides(lines, words), "found": step_lines.of_findings(lines, words)}
    return {
        name: [
            {
                "step": row["step"] if row["step"] != before else "",
                "kind": row["kind"],
                "line": row["line"],
                "total": row["kind"] == words("totals_kind.out"),
                "part": row["kind"] == words("totals_kind.part"),
                "cells": [
                    f"{row[column]:,.2f}" if column.endswith("yuan") else words.count(row[column])
                    for column in frame.columns[3:]
                ],
            }
            for row, before in zip(frame.iter_rows(named=True), [None, *frame["step"]], strict=False)
        ]
        for name, frame in frames.items()
    }


def _money_cells(sides: Sequence[Mapping[str, Any] | None], words: Words) -> list[str]:
    cells = []
    for side in sides:
        cells += [words.count(side["rows"]), f"{side['yuan'] or 0:,.2f}"] if side else ["–", "–"]
    ledger, platform = (Decimal(side["yuan"] or 0) if side else Decimal(0) for side in sides)
    return [*cells, f"{ledger - platform:+,.2f}" if ledger != platform else "0.00"]


def _event(event: Mapping[str, Any], words: Words) -> dict[str, Any]:
    return {
        "event": event["event"],
        "severity": event["severity"],
        "title": event_rows.what(words, event),
        "about": event_rows.about(words, event),
        "rows": words.count(event["findings"]),
        **event_rows.figures(event),
        "next_step": words.next_step(event["cause"]),
    }


def _more_events(figures: Mapping[str, Any], words: Words) -> str:
    most, count = len(figures["events"]), figures["events_in_all"]
    return words("matters.more", most=most, count=words.count(count)) if count > most else ""


def _cause(cause: Mapping[str, Any], words: Words) -> dict[str, Any]:
    unknown = words("front.unknown_state", count=words.count(cause["unknown"])) if cause["unknown"] else ""
    return {
        "severity": cause["severity"],
        "title": words.cause(cause["cause"]),
        "sentence": words.rule(cause["cause"]),
        "rows": words.count(cause["rows"]),
        "yuan": f"{cause['yuan']:,.2f}" if cause["yuan"] else "–",
        "unknown": unknown,
        "next_step": words.next_step(cause["cause"]),
    }


def _change(manifest: Mapping[str, Any], words: Words) -> dict[str, Any]:
    changed = manifest["summary"]["changes"]
    month = manifest["previous"] or "–"
    tones = {"new": "bad", "reopened": "bad", "closed": "good", "open": ""}
    tiles = [
        {
            "name": words(f"front.{word}"),
            "value": words.count(changed[word]["rows"]),
            "note": words.yuan(changed[word]["yuan"]),
            "tone": tones[word] if changed[word]["rows"] else "",
        }
        for word in (CHANGES if changed else ())
    ]
    title = words("front.change", month=month) if changed else words("tile.change")
    first = words("front.change_all" if scope(manifest["month"]).start is None else "front.change_first")
    return {"title": title, "first": first if changed is None else "", "tiles": tiles}


def _sources(manifest: Mapping[str, Any], words: Words) -> list[dict[str, Any]]:
    lines, taken = [], set[str]()
    sheets = {(file["source_file"], file["sheet"]) for file in manifest["inputs"]}
    for file in manifest["inputs"][:MOST_SOURCES]:
        name = file["source_file"]
        totals = [line for line in manifest["control"] if line["source_file"] == name]
        own = [line for line in totals if line["sheet"] == file["sheet"]]
        # A sheet that only checks another is no line here; its totals stand on the first line of its file.
        others = [line for line in totals if name not in taken and (name, line["sheet"]) not in sheets]
        totals = own + others
        taken.add(name)
        wrong = [line for line in totals if not line["agrees"]]
        sheet = f" · {file['sheet']}" if file["sheet"] else ""
        verdict = f"{words('front.disagrees')} {len(wrong)}/{len(totals)}" if wrong else words("front.agrees")
        lines.append(
            {
                "table": words.term("table", file["table"]),
                "file": f"{file['source_file']}{sheet}",
                "rows_in": words.count(file["rows_in"]),
                "rows_kept": words.count(file["rows_kept"]),
                "rows_set_aside": words.count(file["rows_set_aside"]),
                "aside": bool(file["rows_set_aside"]),
                "gross": "–" if file["gross"] is None else f"{file['gross']:,.2f}",
                "stated": verdict if totals else words("front.no_totals"),
                "disagrees": bool(wrong),
                "sha256": file["sha256"] or "",
            }
        )
    return lines


def _more(manifest: Mapping[str, Any], lang: str) -> str:
    left = manifest["inputs_in_all"] - min(len(manifest["inputs"]), MOST_SOURCES)
    return Words(lang)("front.more_sources", count=f"{left:,}") if left > 0 else ""


def _unused(manifest: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return the unused files that have room on the page, those first that were left out on the user's word."""
    return sorted(manifest["unused"], key=lambda file: (file["kind"] != LEFT_OUT, file["kind"]))[:MOST_SOURCES]


def _more_unused(manifest: Mapping[str, Any], words: Words) -> str:
    left = manifest["unused_in_all"] - MOST_SOURCES
    return words("front.more_sources", count=words.count(left)) if left > 0 else ""


def _month_line(manifest: Mapping[str, Any], words: Words) -> dict[str, str]:
    figures = manifest["summary"]
    changed = figures["changes"]
    return {
        "month": manifest["month"],
        "period": month_name(manifest["month"], lang=words.lang),
        "name": manifest["engagement"]["taxpayer_name"] or manifest["engagement"]["name"],
        "invoices": words.count(figures["ledger"]["rows"]),
        "missing": words.count(figures["missing"]["rows"]),
        "missing_yuan": f"{Decimal(figures['missing']['yuan']):,.2f}",
        "acute": words.count(acute(figures)),
        "change": _not_yet(manifest, words) if changed is None else _three(changed, words),
        "made_at": _moment(manifest["started_at"]),
    }


def _moment(value: Any) -> str:  # noqa: ANN401  a time, or the text of one from an older manifest
    return str(value)[:16].replace("T", " ")
