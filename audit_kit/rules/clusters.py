"""Causes that show only in what missing invoices have in common: lost batches, stops of the platform, excess levels.

Everything is judged against expectation: the chance that an invoice of this channel and age is not visible though
nothing is wrong with it. What earlier causes explain is left out on both sides.
"""

from __future__ import annotations

import math
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from audit_kit.rules.evidence import moment
from audit_kit.rules.lateness import at_age, chance, lateness
from audit_kit.rules.patterns import (
    BIN_MINUTES,
    EXPECTED_FLOOR,
    RUN_EVIDENCE,
    RUN_SHARE,
    WINDOW_LEAST,
    WINDOW_RATIO,
    levels,
    runs,
    windows,
)
from audit_kit.rules.stops import ALL_CHANNELS

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from audit_kit.rules.evidence import Case

    Floats = NDArray[np.float64]

STILL_TO_COME = 0.002  # levels are compared among ages at which at most this share is yet to come
LEVEL_SHARE = 0.04  # a level that loses less than this is no cause, whatever the odds
ODDS_LOWER = 2.0
MOST_LEVELS = 24
LEVEL_EVIDENCE = 8.0  # log likelihood that a level must add beside the others
LEVEL_ROUNDS = 60
NOTICE_EVIDENCE = 6.0  # log likelihood ratio at which an announced stop is no longer innocent
IN_STOP = 0.9  # within a stop a missing invoice is nothing unusual for its channel
BATCH_LEAST = 5  # invoices of an upload batch from which its loss can be told
RUN_LEAST_SHARE = 0.9  # a stretch in which fewer are missing is no lost batch; windows look at it
AROUND_SHARE = 0.3
OTHERS_LEAST = 3  # missing invoices of other channels that make a half hour suspect for all
MOSTLY = 0.5


def population(case: Case) -> pl.DataFrame:
    """Return all timed ledger rows that no cause has taken yet, with what was to be expected of each.

    `ledger_row`, `channel`, `issued_at`, `missing`, `age` (operational), `serial`, `account`, `kind`, `expected` (chance
    to be missing at that age), `undisturbed` (the same had there been no stop), `plateau` (lost share of the channel),
    `invoices`.
    """
    evidence = case.evidence
    taken = case.rows.join(case.missing.select("row"), on="row", how="anti")
    gone = taken.filter(pl.col("outcome") == "missing")["ledger_row"]
    known = evidence.observations.filter(pl.col("issued_at").is_not_null())
    if len(gone):
        known = known.filter(~pl.col("ledger_row").is_in(gone.implode()))
    table = lateness(known, history=evidence.history)
    ledger, place = evidence.ledger, known["ledger_row"]
    extra = [
        (
            ledger[name].gather(place).cast(pl.String)
            if name in ledger.columns
            else pl.repeat(None, known.height, dtype=pl.String, eager=True)
        ).alias(name)
        for name in ("serial", "account", "kind")
    ]
    wall = ((pl.lit(evidence.taken_at) - pl.col("issued_at")).dt.total_microseconds() / 60e6).clip(0)
    known = known.with_columns(wall=wall)
    now = at_age(known, table)
    return known.select("ledger_row", "channel", "issued_at", "age", missing=~pl.col("visible")).with_columns(
        *extra,
        now["survival"].alias("expected"),
        at_age(known, table, age="wall")["survival"].alias("undisturbed"),
        now["plateau"],
        now["invoices"],
    )


def batch_lost(case: Case) -> pl.DataFrame:
    """A run of consecutive issues within a channel, or an upload batch, is missing far beyond the local expectation."""
    case.population = population(case)
    local = _local(case)
    found = _runs(case, local)
    rest = local.filter(~pl.col("ledger_row").is_in(found["ledger_row"].implode()))
    hits = pl.concat([found, _upload_batches(case, rest)])
    return case.missing.join(hits, on="ledger_row", how="inner", maintain_order="left")


HITS = {
    "ledger_row": pl.UInt32(),
    "what": pl.String(),
    "first_at": pl.String(),
    "last_at": pl.String(),
    "count": pl.String(),
    "issued": pl.String(),
    "expected": pl.String(),
    "lost_share": pl.Float64(),
    "group": pl.Float64(),
}


def _hits(runs: pl.DataFrame, what: pl.Expr) -> pl.DataFrame:
    """Return the rows of runs as hits: see HITS."""
    return (
        runs.select(
            pl.col("rows").alias("ledger_row"),
            what=what,
            first_at=moment("first_at"),
            last_at=moment("last_at"),
            count=pl.col("missing").cast(pl.String),
            issued=pl.col("issued").cast(pl.String),
            expected=pl.col("expected").round(1).cast(pl.String),
            lost_share=(pl.col("missing") + 0.5) / (pl.col("issued") + 1),
            group="issued",
        )
        .explode("ledger_row")
        .cast(HITS)
    )


def _upload_batches(case: Case, local: pl.DataFrame) -> pl.DataFrame:
    """Return the missing rows of upload batches that were lost as a whole."""
    log = case.evidence.sync_log.filter(pl.col("batch").is_not_null())
    gone = case.missing["invoice_key"].drop_nulls()
    hit = log.filter(pl.col("invoice_number").is_in(gone.implode())).group_by("batch").agg(
        n=pl.col("invoice_number").n_unique()
    )
    suspects = hit.filter(pl.col("n") >= BATCH_LEAST)["batch"]
    named = log.filter(pl.col("batch").is_in(suspects.implode())).select(invoice_key="invoice_number", batch="batch")
    named = named.unique("invoice_key", keep="last")
    keys = case.evidence.matches.filter(pl.col("ledger_row").is_not_null()).select("ledger_row", "invoice_key")
    rows = local.join(keys.join(named, on="invoice_key").select("ledger_row", "batch"), on="ledger_row")
    expected = pl.col("expected").clip(EXPECTED_FLOOR, 0.999)
    there = ((1 - RUN_SHARE) / (1 - expected)).log()
    score = pl.when("missing").then((RUN_SHARE / expected).log()).otherwise(there)
    sums = rows.group_by("batch").agg(
        pl.col("channel").first(),
        pl.col("expected").sum(),
        pl.col("missing").sum(),
        score=score.sum(),
        issued=pl.len(),
        first_at=pl.col("issued_at").min(),
        last_at=pl.col("issued_at").max(),
        rows=pl.col("ledger_row").filter("missing"),
    )
    lost = sums.filter(
        (pl.col("score") > RUN_EVIDENCE + math.log(sums.height + 1))
        & (pl.col("missing") >= BATCH_LEAST)
        & (pl.col("missing") >= RUN_LEAST_SHARE * pl.col("issued"))
    ).sort("first_at", "batch")
    lost = lost.filter(pl.Series([_alone(run, local) for run in lost.iter_rows(named=True)], dtype=pl.Boolean))
    return _hits(lost, pl.format(case.phrase("batch"), "batch"))


def _runs(case: Case, local: pl.DataFrame) -> pl.DataFrame:
    """Return the missing rows of lost runs of consecutive issues."""
    found = runs(local).filter(pl.col("missing") >= RUN_LEAST_SHARE * pl.col("issued"))
    found = found.filter(pl.Series([_alone(run, local) for run in found.iter_rows(named=True)], dtype=pl.Boolean))
    return _hits(found, pl.format(case.phrase("run"), "channel"))


def _local(case: Case) -> pl.DataFrame:
    """Return the population with what is expected locally: no less than other channels miss in the same half hour."""
    people = case.population.sort("issued_at").with_columns(slot=pl.col("issued_at").dt.truncate(f"{BIN_MINUTES}m"))
    own = people.group_by("slot", "channel").agg(n=pl.len(), gone=pl.col("missing").sum().cast(pl.Int64))
    own = own.with_columns(
        others=pl.col("n").sum().over("slot") - pl.col("n"), lost=pl.col("gone").sum().over("slot") - pl.col("gone")
    )
    own = own.filter(pl.col("lost") >= OTHERS_LEAST).select("slot", "channel", around=pl.col("lost") / pl.col("others"))
    people = people.join(own, on=["slot", "channel"], how="left", maintain_order="left")
    stopped = pl.lit(value=False)
    for stop in case.evidence.stops.filter((pl.col("share") > MOSTLY) & pl.col("announced")).iter_rows(named=True):
        end = stop["ends_at"] or case.evidence.taken_at
        within = pl.col("issued_at").is_between(stop["starts_at"], end, closed="left")
        stopped |= within & (pl.lit(stop["channel"] == ALL_CHANNELS) | (pl.col("channel") == stop["channel"]))
    floor = pl.when(stopped).then(IN_STOP).otherwise(0.0)
    return people.with_columns(expected=pl.max_horizontal("expected", pl.col("around").fill_null(0.0), floor))


def _alone(run: dict[str, Any], people: pl.DataFrame) -> bool:
    """Return whether all else went on as usual around a run: the other channels, and its own before and after it.

    If not, a stop is the better explanation, and windows look at it.
    """
    spread = max(timedelta(minutes=BIN_MINUTES), run["last_at"] - run["first_at"])
    times = people["issued_at"]
    first = int(times.search_sorted(run["first_at"] - spread, side="left"))
    last = int(times.search_sorted(run["last_at"] + spread, side="right"))
    near = people[first:last].filter(~pl.col("ledger_row").is_in(run["rows"]))
    within = pl.col("issued_at").is_between(run["first_at"], run["last_at"])
    own = pl.col("channel") == run["channel"]
    return not (_stands_out(near.filter(~own & within), MOSTLY) or _stands_out(near.filter(own), AROUND_SHARE))


def _stands_out(rows: pl.DataFrame, share: float) -> bool:
    gone, usual = int(rows["missing"].sum()), float(rows["undisturbed"].sum())
    return gone >= WINDOW_LEAST and gone > WINDOW_RATIO * usual and gone > share * rows.height


def outage(case: Case) -> pl.DataFrame:
    """It was issued, or was due, in a time in which far more is missing than usual; an innocent notice explains nothing."""
    people = case.population.join(
        case.missing.select("ledger_row", open=pl.lit(value=True)), on="ledger_row", how="left"
    )
    people = people.filter(~pl.col("missing") | pl.col("open").fill_null(value=False))
    hits = [_in_notice(case, people, notice) for notice in case.evidence.notices.iter_rows(named=True)]
    hits.append(_held_up(case, people))
    taken = pl.concat(hits)["ledger_row"] if hits else pl.Series(dtype=pl.UInt32)
    rest = people.filter(~(pl.col("missing") & pl.col("ledger_row").is_in(taken.implode())))
    hits += [
        _in_window(case, rest, window)
        for window in windows(rest.with_columns(expected="undisturbed")).iter_rows(named=True)
    ]
    found = pl.concat(hits).unique("ledger_row", keep="first", maintain_order=True)
    return case.missing.join(found, on="ledger_row", how="inner", maintain_order="left")


OUTAGE_HITS = {
    "ledger_row": pl.UInt32(),
    "what": pl.String(),
    "counts": pl.String(),
    "lost_share": pl.Float64(),
    "group": pl.Float64(),
}


def _in_notice(case: Case, people: pl.DataFrame, notice: dict[str, object]) -> pl.DataFrame:
    """Return the missing rows issued in an announced stop, if more is missing there than would be without it."""
    start, end = notice["starts_at"], notice["ends_at"] or case.evidence.taken_at
    inside = people.filter(pl.col("issued_at").is_between(pl.lit(start), pl.lit(end), closed="left"))
    scope = notice["scope"]
    if scope not in (None, ALL_CHANNELS):
        inside = inside.filter(pl.lit(str(scope)).str.contains(pl.col("channel"), literal=True))
    gone, usual = float(inside["missing"].sum()), max(float(inside["undisturbed"].sum()), 0.05)
    if gone <= WINDOW_RATIO * usual or gone * math.log(gone / usual) - (gone - usual) < NOTICE_EVIDENCE:
        return pl.DataFrame(schema=OUTAGE_HITS)
    return _taken(case, inside, _announced(case, notice))


def _literal(value: object) -> str:
    return "—" if value is None else str(value)


def _announced(case: Case, notice: dict[str, object]) -> str:
    """Return the notice in words: title, time, file and row."""
    times = [f"{time:%Y-%m-%d %H:%M}" if time is not None else "…" for time in (notice["starts_at"], notice["ends_at"])]  # type: ignore[str-format]
    return case.phrase("announced").format(
        title=_literal(notice["title"]),
        start=times[0],
        end=times[1],
        file=_literal(notice["source_file"]),
        row=_literal(notice["source_row"]),
    )


def _held_up(case: Case, people: pl.DataFrame) -> pl.DataFrame:
    """Return the missing rows that would most likely be visible had the channel not stood still since their issue."""
    held = people.filter(pl.col("missing") & (pl.col("undisturbed") < (1 - MOSTLY) * pl.col("expected")))
    parts = []
    for stop in case.evidence.stops.sort("starts_at", descending=True).iter_rows(named=True):
        end = stop["ends_at"] or case.evidence.taken_at
        mine = held.filter(
            (pl.col("issued_at") < end) & ((pl.col("channel") == stop["channel"]) | (stop["channel"] == ALL_CHANNELS))
        )
        if mine.is_empty():
            continue
        what = case.phrase("named" if stop["announced"] else "found").format(
            title=_literal(stop["title"]),
            start=f"{stop['starts_at']:%Y-%m-%d %H:%M}",
            end=f"{end:%Y-%m-%d %H:%M}",
            channel=stop["channel"],
        )
        counts = case.phrase("held").format(count=mine.height, usual=f"{float(mine['undisturbed'].sum()):.1f}")
        parts.append(
            mine.select(
                "ledger_row",
                what=pl.lit(what),
                counts=pl.lit(counts),
                lost_share=pl.lit(None, pl.Float64),
                group=pl.lit(None, pl.Float64),
            )
        )
    return pl.concat([pl.DataFrame(schema=OUTAGE_HITS), *parts])


def _in_window(case: Case, people: pl.DataFrame, window: dict[str, object]) -> pl.DataFrame:
    """Return the missing rows issued in a window that the data show."""
    inside = people.filter(
        pl.col("issued_at").is_between(pl.lit(window["starts_at"]), pl.lit(window["ends_at"]), closed="left")
    )
    if window["channel"] != ALL_CHANNELS:
        inside = inside.filter(pl.col("channel") == window["channel"])
    what = case.phrase("window").format(
        start=f"{window['starts_at']:%Y-%m-%d %H:%M}",
        end=f"{window['ends_at']:%Y-%m-%d %H:%M}",
        channel=window["channel"],
    )
    return _taken(case, inside, what)


def _taken(case: Case, inside: pl.DataFrame, what: str) -> pl.DataFrame:
    """Return the missing rows of the channels that stand out in a window, but not those too young to be visible."""
    each = inside.group_by("channel").agg(
        gone=pl.col("missing").sum().cast(pl.Float64), usual=pl.col("undisturbed").sum(), n=pl.len()
    )
    hit = each.filter(pl.col("gone") > WINDOW_RATIO * pl.col("usual"))["channel"]
    rows = inside.filter(pl.col("channel").is_in(hit.implode()))
    gone = rows.filter(pl.col("missing") & (pl.col("undisturbed") < MOSTLY))
    if rows.is_empty():
        return pl.DataFrame(schema=OUTAGE_HITS)
    counts = case.phrase("against").format(
        missing=int(rows["missing"].sum()), issued=rows.height, usual=f"{float(rows['undisturbed'].sum()):.1f}"
    )
    share = _lost_share(rows)
    return gone.select(
        "ledger_row",
        what=pl.lit(what),
        counts=pl.lit(counts),
        lost_share=pl.lit(share, pl.Float64),
        group=pl.lit(rows.height, pl.Float64),
    )


def _lost_share(rows: pl.DataFrame) -> float | None:
    """Return which share of a group is lost, what is merely late at its age taken out; null where all is still open."""
    late = float(((rows["expected"] - rows["plateau"]) / (1 - rows["plateau"])).mean() or 0.0)  # type: ignore[operator, arg-type]
    share = (float(rows["missing"].sum()) + 0.5) / (rows.height + 1)
    return None if late > MOSTLY else max((share - late) / (1 - late), 0.0)


def channel_excess(case: Case) -> pl.DataFrame:
    """One channel loses several times more than the others."""
    return _excess(case, "channel")


def account_excess(case: Case) -> pl.DataFrame:
    """One issuing account loses several times more than the others."""
    return _excess(case, "account")


def kind_excess(case: Case) -> pl.DataFrame:
    """One kind of invoice is lost several times more often than the others."""
    return _excess(case, "kind")


def _excess(case: Case, dimension: str) -> pl.DataFrame:
    """Return the missing rows of the levels of this dimension that stand out, but not those that are likely just late."""
    found = case.excess.filter(pl.col("dimension") == dimension)
    parts = []
    for level in found.iter_rows(named=True):
        rows = case.population.filter(pl.col(dimension) == level["level"])
        rows = rows.with_columns(late=chance(alive(pl.lit(level["share"])), pl.lit(level["share"]), pl.col("invoices")))
        hits = rows.filter(pl.col("missing") & (pl.col("late") < case.evidence.policy.sync.late_threshold))
        facts = {
            "level": level["level"],
            "count": str(level["missing"]),
            "issued": str(level["issued"]),
            "others": str(level["others_missing"]),
            "others_issued": str(level["others_issued"]),
            "odds": f"{level['odds_ratio']:.1f}",
            "q": f"{level['q']:.1g}",
            "excess": f"{level['excess']:.0f}",
        }
        parts.append(
            hits.select(
                "ledger_row",
                lost_share=pl.lit(level["share"]),
                group=pl.lit(float(level["issued"])),
                **{name: pl.lit(text) for name, text in facts.items()},
            )
        )
    if not parts:
        return case.missing.clear()
    hits = pl.concat(parts).unique("ledger_row", keep="first", maintain_order=True)
    return case.missing.join(hits, on="ledger_row", how="inner", maintain_order="left")


def alive(share: pl.Expr) -> pl.Expr:
    """Return the chance to be missing at an age when `share` of a group is lost, by the delays of its channel."""
    return share + (1 - share) * (pl.col("expected") - pl.col("plateau")) / (1 - pl.col("plateau"))


def excess_levels(case: Case) -> pl.DataFrame:
    """Return the levels that are at fault: `patterns.levels` and `share`, the chance that a row of the level is lost to it.

    Levels overlap: an account belongs to a channel, and a channel stands out because one of its accounts does. So the
    levels that stand out are weighed against each other, and one that adds nothing beside the others is left out.
    """
    still = case.missing.select("ledger_row", open=pl.lit(value=True))
    rows = case.population.join(still, on="ledger_row", how="left", maintain_order="left")
    rows = rows.filter(~pl.col("missing") | pl.col("open").fill_null(value=False))
    rows = rows.filter((pl.col("expected") - pl.col("plateau")) <= STILL_TO_COME)
    rate = (pl.col("missing") + 0.5) / (pl.col("issued") + 1)
    clear = pl.col("stands_out") & (rate >= LEVEL_SHARE) & (pl.col("odds_lower") > ODDS_LOWER)
    table = (
        levels(rows)
        .filter(clear)
        .sort("missing", "dimension", "level", descending=[True, False, False])
        .head(MOST_LEVELS)
    )
    if table.is_empty():
        return table.with_columns(share=pl.lit(0.0))
    share = blame(rows, table)
    return table.with_columns(share=pl.Series(share)).filter(pl.col("share") >= LEVEL_SHARE / 2)


def blame(rows: pl.DataFrame, table: pl.DataFrame) -> Floats:
    """Return for each level the share of its rows that is lost to it, all levels and a common share fitted at once.

    A level is kept only where leaving it out would cost the fit more than chance would.
    """
    names = table["dimension"].unique().to_list()
    cells = rows.group_by(names).agg(n=pl.len(), gone=pl.col("missing").sum())
    member = np.stack(
        [
            (cells[row["dimension"]] == row["level"]).fill_null(value=False).to_numpy()
            for row in table.iter_rows(named=True)
        ]
    )
    n, gone = cells["n"].cast(pl.Float64).to_numpy(), cells["gone"].cast(pl.Float64).to_numpy()
    kept = sorted(range(table.height), key=lambda place: int((member[place] * n).sum()))
    share, fit = _noisy_or(member[kept], n, gone)
    while kept:
        costs = [fit - _noisy_or(np.delete(member[kept], place, axis=0), n, gone)[1] for place in range(len(kept))]
        idle = [place for place, cost in enumerate(costs) if cost < LEVEL_EVIDENCE]
        if not idle:
            break
        kept.pop(idle[0])  # the narrowest: a channel at fault is one finding, not one for each of its accounts
        share, fit = _noisy_or(member[kept], n, gone)
    result = np.zeros(table.height)
    result[kept] = share
    return result


def _noisy_or(member: NDArray[np.bool_], n: Floats, gone: Floats) -> tuple[Floats, float]:
    """Return each level's share and the log likelihood, where a row is lost to any of its levels or to none of them."""
    parts = np.vstack([np.ones((1, len(n)), dtype=bool), member])
    share = np.full(len(parts), max(float(gone.sum() / n.sum()), 1e-6))
    kept = np.ones(len(n))
    for _ in range(LEVEL_ROUNDS):
        kept = np.clip(1 - np.prod(np.where(parts, 1 - share[:, None], 1), axis=0), 1e-9, 1 - 1e-9)
        # Of those gone, a level took share / kept; of those there, none.
        took = (parts * (gone / kept)).sum(axis=1) * share
        share = np.clip(took / np.maximum((parts * n).sum(axis=1), 1), 1e-9, 1 - 1e-9)
    likelihood = float((gone * np.log(kept) + (n - gone) * np.log(1 - kept)).sum())
    return share[1:], likelihood
