"""A whole engagement with known truth: sample data, drills and tests.

Everything is made up and marked so. The same arguments give the same bytes on every machine.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from audit_kit.core import outputs, schema
from audit_kit.core.cause_records import of_stage, simulated
from audit_kit.core.errors import RequestError
from audit_kit.core.policy import Export
from audit_kit.training.world import backup_runs, fates, followups, logs, spoiling, stream, truth, windows, writing
from audit_kit.training.world.dice import Dice
from audit_kit.training.world.shape import World

if TYPE_CHECKING:
    from collections.abc import Mapping

    from audit_kit.training.likeness.likeness import Likeness
    from audit_kit.training.world.parties import Company

DEFAULT: Mapping[str, float] = MappingProxyType({cause: how.share for cause, how in simulated().items() if how.share})
ARRIVALS = ("log", "exports", "platform", "none")  # where the times of arrival are to be had
EXPORT_HOUR = 20  # the export is taken in the evening of the last working day
LATER_DAYS = 7


def world(
    *,
    invoices: int = 3000,
    seed: int = 1,
    month: str = "2025-05",
    causes: Mapping[str, float] = DEFAULT,
    days: int | None = None,
    open_outage_hours: float = 0.0,
    open_outage_announced: bool = True,
    outage_announced: bool | None = None,
    direction: str = "issued",
    backups: bool = True,
    arrivals: str = "log",
    exports: int = 0,
    hostile: bool = False,
    like: Likeness | None = None,
) -> World:
    """Make an engagement of `invoices` in a month; `causes` maps a cause to its share of them, {} = nothing is wrong.

    `days` shortens the period to the first days of the month. An outage of `open_outage_hours` is still going on when
    the export is taken; `outage_announced`: whether one that loses invoices is announced, null = by chance. `hostile`
    puts names into it that attack pages and workbooks.

    The real export states no times of arrival; `arrivals` says what does: the sync log (`log`), or no sync log but an
    earlier export (`exports`), or nothing (`none`), or, beside the log, a column 入库时间 that the real export has not
    (`platform`). `exports` earlier ones were taken on the evenings before. `like` is the shape of a real month, which
    takes the place of `invoices`, `month`, `days` and `causes`.

    Raises:
        RequestError: unknown causes, direction or arrivals, a month that is none, or fewer than one invoice.
    """
    if arrivals not in ARRIVALS:
        raise RequestError("error_training.no_arrivals", arrivals=arrivals, known=", ".join(ARRIVALS))
    start, taken = (like.start, like.taken) if like else _period(month, days)
    counts = dict(like.counts) if like else _counts(causes, invoices, direction)
    plan = stream.Plan(
        like=like.rows if like else None,
        batch=like.batch if like else None,
        avoided=like.amounts if like else None,
        count=like.rows.height if like else invoices,
        seed=seed,
        start=start,
        end=taken,
        before=counts.get("outside_export", 0),
        branch=counts.get("no_permission", 0),
        hostile=hostile,
    )
    base, owners = stream.issue(plan)
    draft = fates.Draft(base=base, seed=seed, taken=taken, counts=counts, outage_announced=outage_announced)
    draft.avoided = like.amounts if like else draft.avoided
    draft.windows = windows.calendar(start, taken, Dice(seed, "calendar"))
    if open_outage_hours > 0:
        draft.windows.append(_still_open(taken, open_outage_hours, announced=open_outage_announced))
    fates.allot(draft, like.befall if like else None)
    exports = max(exports, 1) if arrivals == "exports" else exports
    made = _assemble(draft, owners, start=start, direction=direction, backups=backups, exports=exports)
    return made if arrivals == "platform" else _untimed(made, logged=arrivals == "log")


def _period(month: str, days: int | None) -> tuple[int, int]:
    """Return the first second of the period and the moment of the export: the evening of its last working day."""
    try:
        first = datetime.strptime(month, "%Y-%m")  # noqa: DTZ007  Beijing time is kept without zone
    except ValueError as error:
        raise RequestError("error_training.no_month", month=month) from error
    following = (first + timedelta(days=32)).replace(day=1)
    last = (following if days is None else first + timedelta(days=days)) - timedelta(days=1)
    while days is None and last.weekday() >= stream.SATURDAY:
        last -= timedelta(days=1)
    return stream.seconds(first), stream.seconds(last) + EXPORT_HOUR * stream.HOUR


def _counts(causes: Mapping[str, float], invoices: int, direction: str) -> dict[str, int]:
    """Return how many invoices each cause takes, at least one where its share is above 0."""
    if unknown := sorted(causes.keys() - simulated().keys() - {"late"}):
        raise RequestError("error_training.unknown_cause", unknown=unknown[0], known=", ".join(sorted(simulated())))
    if invoices < 1 or direction not in ("issued", "received"):
        raise RequestError("error_training.no_invoice")
    if any(share < 0 or share > 1 for share in causes.values()):
        raise RequestError("error_training.share")
    return {cause: max(1, round(share * invoices)) for cause, share in causes.items() if share > 0}


def _still_open(taken: int, hours: float, *, announced: bool) -> windows.Window:
    return windows.Window(
        start=taken - round(hours * stream.HOUR),
        end=taken + 5 * stream.HOUR,
        kind="outage",
        announced=announced,
        open_at_export=True,
    )


def _assemble(
    draft: fates.Draft, owners: list[Company], *, start: int, direction: str, backups: bool, exports: int
) -> World:
    """Turn a draft into the tables an auditor gets, and the truth about them."""
    book = spoiling.ledger(draft)
    listed, cut = spoiling.platform(draft, draft.taken)
    later_taken = draft.taken + LATER_DAYS * stream.DAY
    later, later_cut = spoiling.platform(draft, later_taken)
    later = pl.concat([later, later_cut]).sort("issued", "i", descending=True)
    book = book.with_columns(serial=pl.format("XS{}", pl.int_range(1, pl.len() + 1).cast(pl.String).str.zfill(9)))
    facts = pl.DataFrame({"fate": _fates(draft), "late": _late(draft), "key": draft.base["key"]})
    answer = truth.answer(_facts(book, facts), _facts(listed, facts))
    book = book.with_columns(voucher=_vouchers(book))
    return World(
        ledger=_direct(spoiling.canonical(book, "ledger", "ledger.xlsx"), direction),
        platform=_direct(_platform(listed, "platform.xlsx"), direction),
        later=_direct(_platform(later, "later.xlsx"), direction),
        earlier={
            stream.EPOCH + timedelta(seconds=at): _direct(
                _platform(spoiling.platform(draft, at)[0], "earlier"), direction
            )
            for at in range(draft.taken - exports * stream.DAY, draft.taken, stream.DAY)
        },
        control=_control(listed, cut),
        sync_log=logs.sync_log(draft),
        accounts=logs.accounts(draft, owners, start),
        notices=windows.notices(draft.windows),
        operations=followups.operations(draft, book),
        confirmations=followups.confirmations(draft),
        substitute=_direct(_substitute(draft, book), direction),
        red_confirmations=followups.red_forms(draft),
        register=_direct(followups.register(draft, book), direction),
        tickets=followups.tickets(draft),
        metrics=logs.metrics(draft, start),
        true_stops=_true_stops(draft),
        truth=answer,
        archive=backup_runs.archive(draft, stream.EPOCH + timedelta(seconds=start), faulty=bool(draft.counts))
        if backups
        else None,
        taxpayer_ids=tuple(one.tax_id for one in owners[: 2 if "no_permission" in draft.counts else 1]),
        taxpayer_name=owners[0].name,
        direction=direction,
        taken_at=stream.EPOCH + timedelta(seconds=draft.taken),
        later_taken_at=stream.EPOCH + timedelta(seconds=later_taken),
        export=Export(
            account=logs.exporter(0),
            period_start=stream.EPOCH + timedelta(seconds=start),
            period_end=stream.EPOCH + timedelta(seconds=draft.taken // stream.DAY * stream.DAY + stream.DAY),
            later_taken_at=stream.EPOCH + timedelta(seconds=later_taken),
        ),
        draft=draft,
    )


def _fates(draft: fates.Draft) -> pl.Series:
    """Name what happened to every invoice: its fate, else late where the platform does not have it yet.

    The causes have an order: what is gone, or held up, in an outage is the outage's, whatever else is wrong with it.
    """
    unseen = (draft.fate == "") & (draft.visible > draft.taken)
    named = np.where(unseen, "late", draft.fate)
    issued, channel = draft.column("issued"), draft.column("channel")
    inside = np.zeros(len(named), dtype=bool)
    for one in draft.windows:
        if one.real and one.kind == "outage":
            everywhere = one.channel == windows.EVERYWHERE
            inside |= (issued >= one.start) & (issued < one.end) & (everywhere | (channel == one.channel))
    named = np.where(inside & np.isin(named, of_stage("level", "age")), "outage", named)
    if any(one.open_at_export for one in draft.windows):
        closed = [one for one in draft.windows if not one.open_at_export]
        without = windows.arrivals(issued, draft.column("delay"), channel, closed, Dice(draft.seed, "drain"))
        named = np.where(unseen & (without <= draft.taken), "outage", named)
    return pl.Series(named, dtype=pl.String)


def _late(draft: fates.Draft) -> pl.Series:
    """Tell which invoices would be listed later under their own number, as far as the ledger has it right."""
    return pl.Series((draft.fate == "") & (draft.visible > draft.taken))


def _untimed(made: World, *, logged: bool) -> World:
    """Return a world whose exports state no time of arrival, and that keeps a sync log only if `logged`."""

    def without(rows: pl.DataFrame) -> pl.DataFrame:
        return rows.with_columns(visible_at=pl.lit(None, pl.Datetime("us")))

    return replace(
        made,
        platform=without(made.platform),
        later=without(made.later),
        earlier={at: without(rows) for at, rows in made.earlier.items()},
        sync_log=made.sync_log if logged else made.sync_log.clear(),
    )


def _facts(frame: pl.DataFrame, facts: pl.DataFrame) -> pl.DataFrame:
    """Return the compared fields of ledger or platform rows with what is known of their invoice."""
    known = facts[frame["i"].to_numpy()]
    clean = "clean" if "clean" in frame.columns else "key"
    return frame.select(
        "net", "tax", "gross", "status", *spoiling.PARTIES, clean=pl.col(clean), day=pl.col("issued") // stream.DAY
    ).with_columns(
        known["fate"],
        known["late"],
        known["key"],
        dirty=known["fate"] == "number_damaged",
        stated=known.select(pl.when(pl.col("fate") == "precision_lost").then("key")).to_series(),
    )


def _vouchers(book: pl.DataFrame) -> pl.Series:
    """Number the vouchers: one for about five invoices of a month."""
    number = pl.Series(np.arange(len(book)) // 5 + 1).cast(pl.String).str.zfill(4)
    return "记-" + stream.times(book["issued"].to_numpy()).dt.strftime("%Y%m") + "-" + number


def _platform(listed: pl.DataFrame, source: str) -> pl.DataFrame:
    """Return platform rows in canonical form, with their times of arrival; the real export has no channel either."""
    frame = listed.with_columns(
        visible_at=stream.times(listed["visible"].to_numpy()),
        invoice_code=pl.col("code"),
        invoice_number=pl.col("number"),
        digital_number=pl.col("digital"),
    ).with_columns(account=pl.col("drawer"))
    frame = frame.drop("channel", "red_of")
    return spoiling.canonical(frame, "platform", source)


def _direct(frame: pl.DataFrame, direction: str) -> pl.DataFrame:
    """Swap seller and buyer where invoices are received."""
    if direction == "issued":
        return frame
    swapped = {"seller_tax_id": "buyer_tax_id", "seller_name": "buyer_name"}
    both = swapped | {theirs: mine for mine, theirs in swapped.items()}
    return frame.with_columns(**{mine: pl.col(theirs) for mine, theirs in both.items()})


def _control(listed: pl.DataFrame, cut: pl.DataFrame) -> pl.DataFrame:
    """Return the totals that the export states (金额 and 税额) against the sums of its rows."""
    stated = {name: int(listed[name].sum()) + int(cut[name].sum()) for name in ("net", "tax")}
    frame = pl.DataFrame(
        {
            "source_file": ["platform.xlsx"] * 2,
            "sheet": ["发票基础信息"] * 2,
            "column": list(stated),
            "stated": [value / 100 for value in stated.values()],
            "computed": [int(listed[name].sum()) / 100 for name in stated],
        }
    ).cast({"stated": pl.Decimal(18, 2), "computed": pl.Decimal(18, 2)})
    return frame.with_columns(agrees=pl.col("stated") == pl.col("computed"))


def _substitute(draft: fates.Draft, book: pl.DataFrame) -> pl.DataFrame:
    """Return the substitute system's rows: those never brought back, and as many that were."""
    kept = book.filter(pl.Series(draft.fate[book["i"].to_numpy()] == "not_migrated_back"))
    fine = np.flatnonzero(draft.seen())
    back = Dice(draft.seed, "substitute").sample(fine, len(kept))
    brought = book.filter(pl.col("i").is_in(pl.Series(back).cast(pl.UInt32).implode()) & ~pl.col("copy"))
    frame = pl.concat(
        [
            kept.with_columns(migrated_at=pl.lit(None, dtype=pl.Datetime("us"))),
            brought.with_columns(migrated_at=stream.times(brought["issued"].to_numpy() + stream.DAY)),
        ]
    ).drop("serial", "voucher", strict=False)
    return spoiling.canonical(frame, "substitute", "substitute.csv")


def _true_stops(draft: fates.Draft) -> pl.DataFrame:
    """Return the stops that really happened."""
    real = sorted((one for one in draft.windows if one.real), key=lambda one: one.start)
    names = [*stream.channels(), schema.ALL_CHANNELS]
    return pl.DataFrame(
        {
            "starts_at": stream.times(np.array([one.start for one in real], dtype=np.int64)),
            "ends_at": stream.times(np.array([one.end for one in real], dtype=np.int64)),
            "channel": pl.Series([names[one.channel] for one in real], dtype=pl.String),
            "announced": pl.Series([one.announced for one in real], dtype=pl.Boolean),
        }
    )


def simulate(
    folder: str | Path,
    *,
    invoices: int = 3000,
    seed: int = 1,
    month: str = "2025-05",
    causes: Mapping[str, float] = DEFAULT,
    format: str = "xlsx",  # noqa: A002  the word of the command line
    backups: bool = True,
    plain: bool = False,
    **options: Any,  # noqa: ANN401  the other options of `world`
) -> pl.DataFrame:
    """Write an engagement into a new or empty folder and return the truth about it (see `World.truth`).

    The truth goes beside the folder, not in it: FOLDER.truth.parquet; so does a later export, FOLDER.later.*.
    `format` is xlsx, csv or parquet. A `plain` engagement is the ledger and the exports alone, as most companies bring
    it: no logs, no backups.

    Raises:
        RequestError: the folder holds something, or see `world`.
    """
    target = Path(folder)
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise RequestError("error_training.not_empty", folder=target)
    if format not in writing.FORMATS:
        raise RequestError("error_training.no_format", format=format, known=", ".join(writing.FORMATS))
    if format == "xlsx" and invoices > writing.XLSX_ROWS:
        raise RequestError("error_training.too_many_rows", rows=writing.XLSX_ROWS)
    made = world(invoices=invoices, seed=seed, month=month, causes=causes, backups=backups and not plain, **options)
    later, truth = f"{target.name}.later.{format}", f"{target.name}.truth.parquet"
    target.parent.mkdir(parents=True, exist_ok=True)
    with outputs.scratch(target.parent, outputs.MAKING) as stage:
        whole = stage / "whole"
        whole.mkdir()
        writing.write(made, whole, file_format=format, plain=plain)
        writing.write_later(made, stage / later)
        made.truth.write_parquet(stage / truth)
        for name in (later, truth):
            outputs.move_in(stage / name, target.parent / name)
        outputs.move_in(whole, target)
    return made.truth
