"""The page on how the months went, from the register alone: its cost does not grow with the invoices."""

from __future__ import annotations

from dataclasses import asdict
from datetime import date
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import polars as pl
from markupsafe import Markup

from audit_kit.core.words import Words
from audit_kit.report import pages
from audit_kit.report.history import memory
from audit_kit.rules.history import shrinkage
from audit_kit.rules.history.histories import CHANGES
from audit_kit.views.history import charts
from audit_kit.views.show import theme, vega

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from audit_kit.report.history.months_register import Register

FILE = "trend.html"
OLD_MONTHS = 3
LAST_MONTHS = 12
MOST_LINES = 24
SMALLEST_P = 0.001
INVOICE_AREAS = ("missing", "sync")  # whose causes are counted against the invoices of the month
Line = dict[str, Any]


def write(out: Path, register: Register, *, lang: str) -> None:
    """Write the page beside the list of the reports."""
    pages.write(out / FILE, page(register, lang=lang))


def page(register: Register, *, lang: str) -> str:
    """Return the page."""
    words, months = Words(lang), register.months
    known = pl.Series([line["month"] for line in months], dtype=pl.String)
    causes = register.causes.filter(pl.col("month").is_in(known.implode())).with_columns(
        pl.col("own_yuan").fill_null(0)
    )
    settled = latest_scores(months)
    drawn = {
        "changes": charts.change_bars(change_frame(months), lang=lang),
        "causes": charts.cause_bars(charts.cause_totals(causes), lang=lang),
        "settled": charts.settled_points(settled, lang=lang),
    }
    about = months[0] if months else None
    newest = max(register.lines, key=lambda line: str(line["started_at"]), default=None)
    told = actions(newest["actions"], months, causes, words, on=str(about["taken_at"])) if newest and about else []
    lead, tone = _lead(about, words, found=causes.filter(pl.col("month") == about["month"]).height if about else 0)
    return pages.render(
        "trend",
        lang=lang,
        title=words("trend.title"),
        name=about["engagement"]["taxpayer_name"] or about["engagement"]["name"] if about else "",
        scripts=Markup(vega.scripts()),  # noqa: S704  the library's own text
        charts={name: Markup(theme.as_html(chart, lang)) for name, chart in drawn.items()},  # noqa: S704  our own charts
        lead=[*lead, *(line["overdue_line"] for line in told if line["overdue"])],
        tone=tone,
        ages=_ages(about, words),
        often=_often(causes, months, words),
        actions=told,
        settled=_settled(settled, words),
    )


def change_frame(months: Sequence[Line]) -> pl.DataFrame:
    """Return `month`, `change`, `rows`, `yuan` of each month."""
    rows = [
        (line["month"], change, counts[change]["rows"], Decimal(str(counts[change]["yuan"] or 0)))
        for line in months
        for counts in [line.get("fates", {})]
        for change in CHANGES
        if change in counts
    ]
    shape = {"month": pl.String(), "change": pl.String(), "rows": pl.Int64(), "yuan": pl.Decimal(18, 2)}
    return pl.DataFrame(rows, schema=shape, orient="row").sort("month", "change")


def latest_scores(months: Sequence[Line]) -> pl.DataFrame:
    """Return the score of each month's predictions by the latest export that scored them, `by` being its month."""
    best: dict[str, Line] = {}
    for line in months:
        for score in line["settled"]:
            known = best.get(score["month"])
            if known is None or str(score["taken_at"]) > str(known["taken_at"]):
                best[score["month"]] = {**score, "by": line["month"]}
    names = (
        "month",
        "by",
        "rows",
        "late_predicted",
        "late_observed",
        "late_lower",
        "late_upper",
        "brier",
        "brier_base",
    )
    shape = {name: pl.String() if name in ("month", "by") else pl.Float64() for name in names}
    rows = [{name: score[name] for name in names} for score in best.values()]
    return pl.DataFrame(rows, schema=shape, strict=False).sort("month")


def actions(
    stated: Sequence[Mapping[str, Any]], months: Sequence[Line], causes: pl.DataFrame, words: Words, *, on: str
) -> list[dict[str, Any]]:
    """Return each action as the page shows it, those that are overdue first; `on` is when the last export was taken."""
    lines = []
    for one in stated:
        done = date.fromisoformat(str(one["done"])) if one["done"] else None
        found = shrinkage.compare(_counted(one["cause"], months, causes), done=done)
        late, owner = memory.is_overdue(dict(one), on), one["owner"] or words("trend.nobody")
        days = (date.fromisoformat(on[:10]) - date.fromisoformat(str(one["due"]))).days if late else 0
        lines.append(
            {
                "what": one["what"],
                "owner": owner,
                "cause": words.cause(one["cause"]),
                "due": one["due"] or "–",
                "done": one["done"] or "–",
                "overdue": words("trend.overdue", days=days) if late else "",
                "overdue_line": words("trend.overdue_line", what=one["what"], owner=owner, due=one["due"], days=days),
                "before": _rate(found, "before", words, of_invoices=_of_invoices(one["cause"], causes)),
                "after": _rate(found, "after", words, of_invoices=_of_invoices(one["cause"], causes)),
                "effect": words(f"verdicts.{found.verdict}"),
                "p": _chance(found.p, words),
            }
        )
    return sorted(lines, key=lambda line: not line["overdue"])


def _chance(p: float | None, words: Words) -> str:
    if p is None:
        return ""
    return words("trend.p", p=f"{p:.3f}") if p >= SMALLEST_P else words("trend.p_small", p=SMALLEST_P)


def _counted(cause: str, months: Sequence[Line], causes: pl.DataFrame) -> pl.DataFrame:
    """Return `month`, `rows`, `square`, `invoices` of one cause in every month that was reported."""
    of_invoices = _of_invoices(cause, causes)
    invoices = [int(line["summary"]["ledger"]["rows"]) if of_invoices else 1 for line in months]
    all_months = pl.DataFrame(
        {"month": [line["month"] for line in months], "invoices": invoices},
        schema={"month": pl.String(), "invoices": pl.Int64()},
    )
    own = causes.filter(pl.col("cause") == cause).select("month", rows="own_rows", square="own_square")
    return all_months.join(own, on="month", how="left").with_columns(pl.col("rows", "square").fill_null(0))


def _of_invoices(cause: str, causes: pl.DataFrame) -> bool:
    area = causes.filter(pl.col("cause") == cause)["area"].head(1)
    return area.is_empty() or area[0] in INVOICE_AREAS


def _rate(found: shrinkage.Comparison, side: str, words: Words, *, of_invoices: bool) -> str:
    told = asdict(found)
    months = told[f"{side}_months"]
    if not months:
        return "–"
    rows, invoices = words.count(told[f"{side}_rows"]), words.count(told[f"{side}_invoices"])
    return words("trend.rate" if of_invoices else "trend.count_only", rows=rows, invoices=invoices, months=months)


def _lead(about: Line | None, words: Words, *, found: int) -> tuple[list[str], str]:
    if about is None:
        return [words("trend.nothing")], ""
    month = words.month(about["month"])
    ages = about["ages"]
    if not ages and found:
        return [words("trend.lead_unknown", month=month)], ""
    count = sum(int(band["rows"]) for band in ages)
    if not count:
        return [words("trend.lead_none", month=month)], "good"
    lines = [
        words(
            "trend.lead",
            month=month,
            open=words.count(count),
            yuan=words.yuan(sum((Decimal(str(band["yuan"] or 0)) for band in ages), Decimal(0))),
            old=words.count(sum(int(band["rows"]) for band in ages if band["from"] >= OLD_MONTHS)),
            unseen=words.count(sum(int(band["unseen"]) for band in ages)),
        )
    ]
    again = about.get("fates", {}).get("reopened", {}).get("rows", 0)
    return lines + ([words("trend.reopened", rows=words.count(again))] if again else []), "bad"


def _ages(about: Line | None, words: Words) -> list[dict[str, str]]:
    bands = list(memory.BANDS)
    lines = []
    for band in about["ages"] if about else ():
        least = band["from"]
        after = bands[bands.index(least) + 1 :] if least in bands else []
        name = words("trend.span_one") if not least else words("trend.span_from", **{"from": least})
        if least and after:
            name = (
                str(least) if after[0] == least + 1 else words("trend.span_to", **{"from": least, "to": after[0] - 1})
            )
        lines.append(
            {
                "name": name,
                "rows": words.count(band["rows"]),
                "yuan": f"{Decimal(str(band['yuan'] or 0)):,.2f}",
                "unseen": words.count(band["unseen"]),
            }
        )
    return lines


def _often(causes: pl.DataFrame, months: Sequence[Line], words: Words) -> list[dict[str, str]]:
    """Return the causes that occurred in two or more of the last months, the most frequent first."""
    last = [line["month"] for line in months[:LAST_MONTHS]]
    recent = causes.filter(pl.col("month").is_in(last) & (pl.col("own_rows") > 0))
    counted = (
        recent.group_by("cause")
        .agg(
            months=pl.col("month").n_unique(),
            first=pl.col("month").min(),
            last=pl.col("month").max(),
            rows=pl.col("own_rows").sum(),
            yuan=pl.col("own_yuan").sum(),
        )
        .filter(pl.col("months") > 1)
        .sort("months", "rows", "cause", descending=[True, True, False])
    )
    return [
        {
            "cause": words.cause(row["cause"]),
            "months": f"{row['months']}/{len(last)}",
            "first": row["first"],
            "last": row["last"],
            "rows": words.count(row["rows"]),
            "yuan": f"{row['yuan']:,.2f}",
        }
        for row in counted.iter_rows(named=True)
    ]


def _settled(scores: pl.DataFrame, words: Words) -> list[dict[str, Any]]:
    lines = []
    for row in scores.sort("month", descending=True).head(MOST_LINES).iter_rows(named=True):
        held = row["late_lower"] <= row["late_observed"] <= row["late_upper"]
        brier = "–" if row["brier"] is None else f"{row['brier']:.3f} ({row['brier_base']:.3f})"
        lines.append(
            {
                "month": row["month"],
                "by": row["by"],
                "rows": words.count(row["rows"]),
                "predicted": f"{row['late_predicted']:.1f}",
                "interval": f"{row['late_lower']:.1f}–{row['late_upper']:.1f}",
                "came": words.count(row["late_observed"]),
                "within": held,
                "held": words("trend.within" if held else "trend.outside"),
                "brier": brier,
            }
        )
    return lines
