"""Causes that lie in how the platform was asked: for which period, direction, status, kinds, and whether all came.

A limit must bite: where the export lists rows beyond a supposed limit, that limit explains nothing there.
"""

from __future__ import annotations

import math
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import polars as pl

from audit_kit import resources
from audit_kit.core.identity import fold_tax_id
from audit_kit.rules.causes.evidence import ROW, side_of
from audit_kit.rules.causes.permission import denied, exporting, folded, listed_ids, no_permission
from audit_kit.rules.causes.systems import upload_failed
from audit_kit.rules.sync.cuts import edges

if TYPE_CHECKING:
    from collections.abc import Callable

    from audit_kit.rules.causes.evidence import Case, Evidence
    from audit_kit.rules.sync.cuts import Edge

DIMENSIONS = ("kind", "origin")
SORTED_SHARE = 0.99
FITS = 0.02  # how far the missing amount may be from what the control total lacks
LEVEL_LEAST = 5  # ledger rows of a kind or origin from which its absence tells a filter
OTHERS_LEAST = 5
BY_CHANCE = math.log(1e-4)  # of all of them missing, at the rate at which others of that time are
BETWEEN_LEAST = 5  # others of its channel that are listed in between: else it may be a lost batch of that channel,
DAYS_LEAST = 2  # or, where the channel has no others, an outage of it
DAY = timedelta(days=1)
EMPTY_LEAST = 5  # ledger rows that should be visible by now from which a list without rows is no matter of lateness
MOST_UNSTATED = 20  # more tax ids than this are another direction, not a group
LEVELS = {
    "level": pl.String(),
    "level_rows": pl.UInt32(),
    "others_rows": pl.UInt32(),
    "others_listed": pl.UInt32(),
}


def export_truncated(case: Case) -> pl.DataFrame:
    """The export broke off: its total exceeds its rows, nothing is listed beyond its first or last, or it is empty."""
    asked = _without(case.missing, [_stated(case)])
    parts = [_short_of_its_total(case, asked), *_empty(case, asked)]
    rest = _without(asked, parts)
    unlisted = [part for dimension in DIMENSIONS for part in _unlisted(case, dimension, rest)]
    case.edges = _edges(case, _without(rest, unlisted) if unlisted else rest)
    parts += [_cut(rest, edge, case.evidence) for edge in case.edges if edge.what == "cut"]
    return pl.concat([part for part in parts if part.height] or parts[:1], how="diagonal").sort(ROW)


def outside_export(case: Case) -> pl.DataFrame:
    """The export was not asked for this invoice: its date, direction, status, kind or origin, or the list it is."""
    export, parts = case.evidence.export, [_stated(case)]
    for dimension in DIMENSIONS:
        parts += _unlisted(case, dimension, _without(case.missing, parts))
    rest = _without(case.missing, parts)
    for edge in case.edges:
        if edge.what == "asked":
            word = "begins" if edge.side == "first" else "ends"
            beyond = rest.filter(pl.col("ledger_row").is_in(edge.rows.implode()))
            parts.append(beyond.with_columns(reason=pl.lit(word), edge=pl.lit(edge.at), state=pl.lit("unknown")))
    if not case.evidence.taken_stated:
        newer = _without(rest, parts).filter(pl.col("issued_at") >= case.evidence.taken_at)
        parts.append(newer.with_columns(reason=pl.lit("newer"), state=pl.lit("unknown")))
    start = export.period_start if export.start_stated else None
    end = export.period_end if export.period_stated else None
    plain = {"state": pl.String(), "subject": pl.String(), **LEVELS, "edge": pl.Datetime("us")}
    rows = pl.concat(parts, how="diagonal")
    rows = rows.with_columns(pl.lit(None, kind).alias(name) for name, kind in plain.items() if name not in rows.columns)
    return rows.sort(ROW).with_columns(
        state=pl.col("state").fill_null("fails"),
        period=pl.lit("stated" if start or end else "unstated"),
        since=pl.lit(start and f"{start:%Y-%m-%d}", pl.String),
        until=pl.lit(end and f"{end:%Y-%m-%d}", pl.String),
    )


def _without(rows: pl.DataFrame, parts: list[pl.DataFrame]) -> pl.DataFrame:
    return rows.filter(~pl.col(ROW).is_in(pl.concat([part[ROW] for part in parts]).implode()))


def _stated(case: Case) -> pl.DataFrame:
    """Return what lies outside what the export was asked for, as far as that is stated and it lists none beyond."""
    evidence, export = case.evidence, case.evidence.export
    issued = pl.col("issued_at")
    reasons = [("after_taken", (issued >= _reached(evidence, evidence.taken_at)) & pl.lit(evidence.taken_stated))]
    if export.period_start is not None and export.start_stated:
        oldest = evidence.platform["issued_at"].min()
        if isinstance(oldest, datetime) and oldest < export.period_start:
            reasons.append(("before_period", issued.dt.date() < oldest.date()))
        else:
            reasons.append(("before_period", issued < export.period_start))
    if export.period_end is not None and export.period_stated:
        reasons.append(("after_period", issued >= _reached(evidence, export.period_end)))
    if export.status_filter:
        asked = {*_statuses(export.status_filter), *evidence.platform["status"].cast(pl.String).drop_nulls().unique()}
        reasons.append(("status", ~pl.col("status").cast(pl.String).is_in(sorted(asked))))
    own = [tax_id for tax_id in folded(evidence.taxpayer_ids) if tax_id]
    if own and not _account_of_another(case, own):
        reasons.append(("direction", ~fold_tax_id(pl.col(evidence.side)).is_in([*own, *listed_ids(case)])))
    reason = pl.coalesce(*(pl.when(test.fill_null(value=False)).then(pl.lit(name)) for name, test in reasons))
    return case.missing.with_columns(reason=reason).filter(pl.col("reason").is_not_null())


def _reached(evidence: Evidence, limit: datetime) -> datetime:
    """Return the end of what the export lists where that goes beyond a limit, else the limit."""
    newest = evidence.platform["issued_at"].max()
    if not isinstance(newest, datetime) or newest < limit:
        return limit
    return newest.replace(hour=0, minute=0, second=0, microsecond=0) + DAY


def _statuses(words: tuple[str, ...]) -> list[str]:
    """Return statuses by their names; a word that is none of ours stands as it is."""
    known = resources.load("vocabularies")["statuses"]
    names = {word: name for name, said in known.items() for word in (said["zh"], said["en"], *said.get("also", ()))}
    return [names.get(word.strip(), word.strip()) for word in words]


def _account_of_another(case: Case, own: list[str]) -> bool:
    """Return whether the exporting account is listed, but for other taxpayers than the audited ones only."""
    rows = exporting(case)
    theirs = [tax_id for tax_id in folded(tuple(str(row["tax_id"] or "") for row in rows)) if tax_id]
    return bool(theirs) and len(theirs) == len(rows) and not set(theirs) & set(own)


def unstated_ids(ledger: pl.DataFrame, platform: pl.DataFrame, *, own: tuple[str, ...], direction: str) -> list[str]:
    """Return tax ids that the export lists on the company's side beside its own, as of a group, a branch, a former id.

    None where its own are not stated or not listed, or so many others are that the direction must be another.
    """
    mine, side = [tax_id for tax_id in folded(own) if tax_id], side_of(direction)
    if not mine or side not in platform.columns or side not in ledger.columns:
        return []
    ids = platform.select(id=side).drop_nulls().unique().sort("id").with_columns(folded=fold_tax_id(pl.col("id")))
    booked = ledger.select(pl.col(side).unique()).select(fold_tax_id(pl.col(side))).to_series().drop_nulls()
    both = ids.filter(pl.col("folded").is_in(booked.implode()) & ~pl.col("folded").is_in(mine))
    others: list[str] = both.unique("folded", keep="first", maintain_order=True)["id"].to_list()
    listed = bool(ids["folded"].is_in(mine).any())
    return others if listed and len(others) <= MOST_UNSTATED else []


def _unlisted(case: Case, dimension: str, missing: pl.DataFrame) -> list[pl.DataFrame]:
    """Return the missing rows of each kind, or origin, of which the export has none while others are there as usual."""
    ledger, platform = case.evidence.ledger, case.evidence.platform
    if any(dimension not in frame.columns for frame in (ledger, platform)) or missing[ROW].is_empty():
        return []
    words = platform[dimension].cast(pl.String).drop_nulls().unique()
    if words.is_empty():
        return []
    failed = upload_failed(case)["ledger_row"]
    gone = missing.filter(~pl.col("ledger_row").is_in(failed.implode())).select("ledger_row")
    people = case.evidence.observations.select("ledger_row", "channel", "issued_at", "visible").drop_nulls("issued_at")
    level = ledger[dimension].gather(people["ledger_row"]).cast(pl.String)
    people = people.with_columns(level=level).drop_nulls("level")
    people = people.filter(pl.col("visible") | pl.col("ledger_row").is_in(gone["ledger_row"].implode()))
    counts = people.group_by("level").agg(pl.len(), pl.col("visible").sum()).sort("level")
    present = counts.filter(pl.col("visible") > 0)["level"]
    others = people.filter(pl.col("level").is_in(present.implode()))
    known = _lists(platform) if dimension == "kind" else []
    parts = []
    for name in counts.filter((pl.col("visible") == 0) & ~_same(words))["level"]:
        mine = people.filter(pl.col("level") == name)
        of_list = bool(known) and not any(word in name for word in known)
        around = _around(mine, others, is_known=of_list)
        if around is None:
            continue
        facts = {"level": name, "level_rows": mine.height, "others_rows": around.height}
        facts["others_listed"] = int(around["visible"].sum())
        rows = missing.filter(pl.col("ledger_row").is_in(mine["ledger_row"].implode()))
        told = [pl.lit(value, LEVELS[key]).alias(key) for key, value in facts.items()]
        reason = pl.lit("list" if of_list else dimension)
        parts.append(rows.with_columns(*told, reason=reason, state=pl.lit("unknown"), subject=pl.lit(name)))
    return parts


def _same(words: pl.Series) -> pl.Expr:
    """Return whether a level is one of the words of the platform, however it is written."""
    spellings = resources.load("vocabularies")["kinds"]
    names = {_plain(word): _plain(name) for name, others in spellings.items() for word in others}
    theirs = {names.get(_plain(word), _plain(word)) for word in words}

    def is_theirs(level: str) -> bool:
        return names.get(_plain(level), _plain(level)) in theirs

    return pl.col("level").map_elements(is_theirs, return_dtype=pl.Boolean)


def _plain(word: str) -> str:
    return "".join(letter for letter in word.lower() if letter.isalnum())


def _lists(platform: pl.DataFrame) -> list[str]:
    """Return what the kinds hold that the platform's file lists, where its headers show that it lists some only."""
    headers = {_plain(name) for name in platform.columns}
    for known in resources.load("causes")["lists"].values():
        if len(headers & set(known["headers"])) >= known["least"]:
            kinds: list[str] = known["kinds"]
            return kinds
    return []


def _around(mine: pl.DataFrame, others: pl.DataFrame, *, is_known: bool) -> pl.DataFrame | None:
    """Return the others of the time of a level that is not listed; null where they do not show that it was left out.

    Too few, too many missing among them as well, or it may be a lost batch: one day, one stretch of a channel.
    """
    at, listed = pl.col("issued_at"), others.filter("visible")["issued_at"]
    first, last = listed.min(), listed.max()
    if not isinstance(first, datetime) or not isinstance(last, datetime):
        return None
    mine = mine.filter(at.is_between(first - DAY, last + DAY))
    if mine.height < (1 if is_known else LEVEL_LEAST):
        return None
    start, end = mine["issued_at"].min(), mine["issued_at"].max()
    assert isinstance(start, datetime)  # noqa: S101 - rows without a time are left out
    assert isinstance(end, datetime)  # noqa: S101 - the same
    near = others.filter(at.is_between(start, end))
    if near.height < OTHERS_LEAST:
        near = others.filter(at.is_between(start - DAY, end + DAY))
    share = float(near["visible"].sum()) / (near.height + 1)
    if near.height < OTHERS_LEAST or (not is_known and mine.height * math.log1p(-share) > BY_CHANCE):
        return None
    of_channel = others.filter("visible", pl.col("channel").is_in(mine["channel"].unique().implode()))
    between = of_channel.filter(at.is_between(start, end, closed="none")).height
    alone = of_channel.is_empty() and mine["issued_at"].dt.date().n_unique() >= DAYS_LEAST
    return near if is_known or alone or between >= BETWEEN_LEAST else None


def _edges(case: Case, missing: pl.DataFrame) -> list[Edge]:
    """Return where the export breaks off, as far as what is still missing tells."""
    evidence = case.evidence
    if evidence.platform.is_empty() or missing.is_empty():
        return []
    still = pl.col("visible") | pl.col("ledger_row").is_in(missing["ledger_row"].implode())
    return edges(
        evidence.observations.filter(still),
        evidence.platform,
        evidence.matches,
        sync_log=evidence.sync_log,
        notices=evidence.notices,
        export=evidence.export,
        policy=evidence.policy.sync,
        taken_at=evidence.taken_at if evidence.taken_stated else None,
    )


def _cut(missing: pl.DataFrame, edge: Edge, evidence: Evidence) -> pl.DataFrame:
    """Return the missing rows beyond a cut, with what they come to."""
    within = pl.col("ledger_row").is_in(edge.on_day.implode())
    rows = missing.filter(pl.col("ledger_row").is_in(edge.rows.implode()) | within)
    known = "source_file" in evidence.platform.columns
    files = evidence.platform["source_file"].drop_nulls().to_list() if known else []
    moment = f"{edge.at:%Y-%m-%d %H:%M}"
    subject = f"{edge.file or next(iter(files), '')} " + (f"– {moment}" if edge.side == "first" else f"{moment} –")
    if rows.is_empty():
        return rows
    signs = [sign for sign, shows in (("round", edge.is_round), ("logged", edge.is_logged)) if shows]
    return _summed(rows).with_columns(
        how=pl.when(within).then(pl.lit("day")).otherwise(pl.lit(f"between_{edge.side}" if edge.file else edge.side)),
        part=pl.lit(edge.file, pl.String),
        state=pl.when(within).then(pl.lit("unknown")).otherwise(pl.lit(edge.state)),
        subject=pl.lit(subject.strip()),
        edge=pl.lit(edge.at),
        edge_day=pl.lit(f"{edge.at:%Y-%m-%d}"),
        listed=pl.lit(edge.listed),
        signs=pl.lit(pl.Series([signs], dtype=pl.List(pl.String))).first(),
    )


def _summed(rows: pl.DataFrame) -> pl.DataFrame:
    yuan = rows["gross"].sum()
    return rows.with_columns(cut_rows=pl.lit(rows.height), cut_yuan=pl.lit(str(yuan)))


def _empty(case: Case, missing: pl.DataFrame) -> list[pl.DataFrame]:
    """Return the missing rows where the export has none at all, though many should be visible by now.

    Those that its account may not see say nothing of the export.
    """
    evidence, export = case.evidence, case.evidence.export
    if evidence.platform.height or not evidence.exported or denied(case) is not None:
        return []
    due = evidence.taken_at - timedelta(hours=evidence.policy.sync.target_hours)
    missing = _without(missing, [no_permission(case)])
    if missing.filter(pl.col("issued_at") < due).height < EMPTY_LEAST:
        return []
    stated = (export.period_start and export.start_stated) or (export.period_end and export.period_stated)
    state = pl.lit("fails" if stated else "unknown")
    return [_summed(missing).with_columns(how=pl.lit("empty"), state=state)]


def _short_of_its_total(case: Case, missing: pl.DataFrame) -> pl.DataFrame:
    """Return the missing rows that an export lacks whose own total exceeds the sum of its rows."""
    control = case.evidence.control.filter(
        ~pl.col("agrees").fill_null(value=True) & pl.col("column").is_in(["net", "gross"])
    )
    control = control.with_columns(lack=pl.col("stated").cast(pl.Float64) - pl.col("computed").cast(pl.Float64))
    if control.is_empty():
        return missing.clear()
    worst = control.sort(pl.col("lack").abs(), descending=True, maintain_order=True).row(0, named=True)
    tail = _beyond_the_end(case, missing)
    rows = missing.filter(tail) if tail is not None else missing
    total = float(rows.select(pl.col(worst["column"]).sum().cast(pl.Float64)).item() or 0.0)
    if tail is None and abs(total - worst["lack"]) > FITS * abs(worst["lack"]):
        return missing.clear()
    facts = {name: str(worst[name]) for name in ("source_file", "stated", "computed")}
    return rows.with_columns(
        how=pl.lit("control"),
        state=pl.lit("fails"),
        subject=pl.lit(facts["source_file"]),
        control_file=pl.lit(facts["source_file"]),
        stated=pl.lit(facts["stated"]),
        computed=pl.lit(facts["computed"]),
        lack=pl.lit(worst["lack"]),
        total=pl.lit(total),
    )


def _beyond_the_end(case: Case, missing: pl.DataFrame) -> pl.Expr | None:
    """Return which dates lie beyond the break of an export that is sorted by date; null if it is not sorted.

    The break is where, from that end, the ledger rows that are missing outnumber those listed the most.
    """
    dates = case.evidence.platform["issued_at"].drop_nulls()
    steps = dates.diff().drop_nulls()
    if len(steps) == 0:
        return None
    upwards = bool((steps >= timedelta(0)).mean() >= SORTED_SHARE)  # type: ignore[operator]
    if not upwards and (steps <= timedelta(0)).mean() < SORTED_SHARE:  # type: ignore[operator]
        return None
    listed = case.evidence.observations.filter("visible").select("issued_at", gone=pl.lit(-1))
    rows = pl.concat([listed, missing.select("issued_at", gone=pl.lit(1))]).drop_nulls()
    if rows.is_empty():
        return None
    ordered = rows.sort("issued_at", "gone", descending=[upwards, False]).with_columns(lead=pl.col("gone").cum_sum())
    best = ordered.sort("lead", descending=True, maintain_order=True).row(0, named=True)
    if best["lead"] <= 0:
        return pl.lit(value=False)
    at = pl.lit(best["issued_at"])
    return pl.col("issued_at") >= at if upwards else pl.col("issued_at") <= at


CAUSES: tuple[Callable[[Case], pl.DataFrame], ...] = (
    export_truncated,
    outside_export,
)
