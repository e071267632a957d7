"""The invoices as they were truly issued: when, by whom, to whom, with which number, how soon the platform has them.

Nothing here is wrong yet; spoiling.py spoils what this makes. Times are seconds of Beijing time, money is whole fen.
"""

from __future__ import annotations

import calendar
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from audit_kit import resources
from audit_kit.training.world import parties
from audit_kit.training.world.dice import Dice

if TYPE_CHECKING:
    from audit_kit.training.world.dice import Floats, Integers

EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001  Beijing time is kept without zone
DAY = 86_400
HOUR = 3_600
SATURDAY = 5  # as days of the week are counted, Monday being 0
BLUE_FROM, BLUE_UNTIL, RED_UNTIL = (
    0.1,
    0.5,
    0.75,
)  # share of the period: what is reversed comes early, its red invoice before the peak
BRANCH_AFTER = 8  # the branch issues nothing in the first eighth, where an export may be cut off
EARLY_DAYS = 3  # invoices before the exported period lie in the last days of the month before


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What is to be issued: how many, from `start` to before `end` (seconds, in an evening), and how many earlier."""

    count: int
    seed: int
    start: int
    end: int
    before: int
    branch: int
    hostile: bool


def seconds(moment: datetime) -> int:
    """Return the seconds of a Beijing time."""
    return int((moment - EPOCH).total_seconds())


def times(stamps: Integers | Floats) -> pl.Series:
    """Return Beijing times of seconds; NaN and the lowest integer become null."""
    values = pl.Series(stamps, nan_to_null=True).cast(pl.Int64)
    return (values * 1_000_000).cast(pl.Datetime("us"))


def channels() -> list[str]:
    """Return the channels by which invoices are issued, in the order of their numbers here."""
    return list(resources.load("simulation")["channels"])


def issue(plan: Plan) -> tuple[pl.DataFrame, list[parties.Company]]:
    """Return the true invoices in order of issue, and the company with its branch.

    Columns: `issued` and `delay` (seconds), `channel` and `owner` (positions), `kind`, `origin`, `code`, `number`,
    `digital`, `key`, seller and buyer, `net`, `tax`, `gross` (fen), `rate`, `positive`, `status`, `account`, `drawer`,
    `remark`, `red_of`, `blue` (position of the invoice reversed, else −1), `good`, `early` (before the period).
    """
    words = resources.load("simulation")
    owners = parties.companies(2, Dice(plan.seed, "owners"), words["names"], mark=words["mark"], home=True)
    frame = _moments(plan, words)
    frame = _owners(frame, plan, owners)
    frame = _amounts(frame, plan, words)
    frame = _kinds(frame, plan, words)
    frame = _numbers(frame, plan, words)
    frame = _reversals(frame, plan, words)
    return _delays(frame, plan, words), owners


def _moments(plan: Plan, words: dict[str, Any]) -> pl.DataFrame:
    """Draw channel and time of every invoice, and put them in order of time."""
    dice = Dice(plan.seed, "moments")
    laws = list(words["channels"].values())
    total = plan.count + plan.before
    channel = dice.weighted([law["share"] for law in laws], total)
    nightly = dice.uniform(total) < np.array([law["night"] for law in laws])[channel]
    rhythm = words["rhythm"]
    hour = np.where(nightly, dice.below(24, total), dice.weighted(rhythm["hours"], total))
    inside = dice.weighted(_day_weights(plan, rhythm), total) * DAY + plan.start
    outside = plan.start - DAY * (1 + dice.below(EARLY_DAYS, total))
    early = np.arange(total) < plan.before
    issued = np.where(early, outside, inside) + hour * HOUR + dice.below(HOUR, total)
    issued = np.where(issued >= plan.end, issued - DAY // 2, issued)  # the last evening is over: that morning instead
    order = np.argsort(issued, kind="stable")
    return pl.DataFrame({"issued": issued[order], "channel": channel[order], "early": early[order]})


def _day_weights(plan: Plan, rhythm: dict[str, Any]) -> Floats:
    """Weigh the days of the period: working days, weekends, holidays, the peak at the end of a month."""
    days = [EPOCH + timedelta(seconds=at) for at in range(plan.start, plan.end, DAY)]
    weights = []
    for day in days:
        last = day.replace(day=calendar.monthrange(day.year, day.month)[1])
        left = sum((day + timedelta(days=ahead)).weekday() < SATURDAY for ahead in range(1, (last - day).days + 1))
        peak = rhythm["month_end"][-1 - left] if left < len(rhythm["month_end"]) else 1.0
        quiet = 1.0 if day.weekday() < SATURDAY else rhythm["weekend"]
        weights.append(rhythm["holiday"] if f"{day:%m-%d}" in rhythm["holidays"] else peak * quiet)
    return np.array(weights)


def _owners(frame: pl.DataFrame, plan: Plan, owners: list[parties.Company]) -> pl.DataFrame:
    """Give every invoice its seller, buyer, account and the person who issued it."""
    words = resources.load("simulation")
    dice = Dice(plan.seed, "parties")
    count = len(frame)
    owner = np.zeros(count, dtype=np.int64)
    owner[dice.sample(np.arange(count // BRANCH_AFTER, count), plan.branch)] = 1
    many = min(max(count // 25, 40), 5_000)
    others = parties.buyers(many, dice, words["names"], mark=words["mark"], hostile=plan.hostile)
    buyer = dice.weighted(others["weight"].to_numpy(), count)
    prefixes = [law["prefix"] for law in words["channels"].values()]
    accounts = parties.account_names(channels(), prefixes, np.arange(2))
    channel = frame["channel"].to_numpy()
    place = (owner * len(prefixes) + channel) * 3 + dice.weighted([6, 3, 2], count)
    drawers = pl.Series(words["names"]["drawers"])
    return frame.with_columns(
        owner=pl.Series(owner),
        seller_tax_id=pl.Series([one.tax_id for one in owners]).gather(owner),
        seller_name=pl.Series([one.name for one in owners]).gather(owner),
        buyer=pl.Series(buyer),
        buyer_tax_id=others["tax_id"].gather(buyer),
        buyer_name=others["name"].gather(buyer),
        account=accounts["account"].gather(place),
        drawer=drawers.gather(place % len(drawers)),
    )


def _amounts(frame: pl.DataFrame, plan: Plan, words: dict[str, Any]) -> pl.DataFrame:
    """Draw prices: a buyer's recurring fee, a round price, or any; and the tax inside them."""
    dice = Dice(plan.seed, "amounts")
    count = len(frame)
    rates = words["amounts"]["rates"]
    rate = np.array([rate for rate, _ in rates])[dice.weighted([share for _, share in rates], count)]
    free = np.round(np.exp(11.2 + 1.4 * dice.normal(count))).astype(np.int64) + 100
    prices = np.array(words["amounts"]["round_prices"], dtype=np.int64)
    fee = prices[(frame["buyer"].to_numpy() * 7 + dice.below(2, count)) % len(prices)]
    gross = np.where(dice.uniform(count) < words["amounts"]["recurring"], fee, free)
    net = np.floor(gross / (1.0 + rate) + 0.5).astype(np.int64)
    good = dice.below(len(words["goods"]["rows"]), count)
    return frame.with_columns(
        rate=pl.Series(rate),
        net=pl.Series(net),
        tax=pl.Series(gross - net),
        gross=pl.Series(gross),
        good=pl.Series(good),
        positive=pl.lit(value=True),
    )


def _kinds(frame: pl.DataFrame, plan: Plan, words: dict[str, Any]) -> pl.DataFrame:
    """Draw the kind of every invoice; paper ones are issued on the web only."""
    dice = Dice(plan.seed, "kinds")
    count = len(frame)
    kinds = words["kinds"]
    digital = dice.weighted([share for _, share in kinds["digital"]], count)
    old = dice.weighted([share for _, share, _ in kinds["old"]], count)
    is_old = _is_old(frame, words)
    names = pl.Series([name for name, _ in kinds["digital"]] + [name for name, _, _ in kinds["old"]])
    paper = len(kinds["digital"]) - 1
    digital = np.where((digital == paper) & (frame["channel"].to_numpy() != 0), 0, digital)
    place = np.where(is_old, len(kinds["digital"]) + old, digital)
    origins = pl.Series([kinds["origin_digital"], kinds["origin_old"]])
    return frame.with_columns(
        kind=names.gather(place), place=pl.Series(place), origin=origins.gather(is_old.astype(np.int64))
    )


def _is_old(frame: pl.DataFrame, words: dict[str, Any]) -> np.ndarray[Any, np.dtype[np.bool_]]:
    old = np.array([law["digit"] == "" for law in words["channels"].values()])
    return np.asarray(old[frame["channel"].to_numpy()])


def _numbers(frame: pl.DataFrame, plan: Plan, words: dict[str, Any]) -> pl.DataFrame:
    """Number the invoices: 20 digits rising in time, old ones by code and number, paper ones with all three."""
    dice = Dice(plan.seed, "numbers")
    laws = list(words["channels"].values())
    sequence = np.zeros(len(frame), dtype=np.int64)
    for at, law in enumerate(laws):
        here = np.flatnonzero(frame["channel"].to_numpy() == at)
        sequence[here] = _sequence(frame["issued"].to_numpy()[here], dice, own=law["digit"] == "7")
    serial = np.zeros(len(frame), dtype=np.int64)
    for place in range(len(words["kinds"]["digital"]) + len(words["kinds"]["old"])):
        here = np.flatnonzero(frame["place"].to_numpy() == place)
        serial[here] = 10_000_001 + dice.one(60_000_000) + np.arange(len(here))
    digits = pl.Series([law["digit"] for law in laws]).gather(frame["channel"])
    codes = pl.Series(
        [""] * (len(words["kinds"]["digital"]) - 1)
        + [words["kinds"]["paper_code"]]
        + [code for _, _, code in words["kinds"]["old"]]
    ).gather(frame["place"])
    year = pl.Series(times(frame["issued"].to_numpy())).dt.strftime("%y")
    frame = frame.with_columns(
        digital=pl.when(digits != "").then(year + "11" + digits + pl.Series(sequence).cast(pl.String).str.zfill(15)),
        code=pl.when(codes != "").then(pl.lit(codes).str.replace("{year}", pl.lit(year), literal=True)),
        number=pl.when(codes != "").then(pl.Series(serial).cast(pl.String)),
    )
    return frame.with_columns(key=pl.coalesce("digital", pl.col("code") + pl.col("number")))


def _sequence(issued: Integers, dice: Dice, *, own: bool) -> Integers:
    """Return numbers that rise with time: the city's counter, often the next one; `own` segments are consecutive."""
    start = dice.one(10_000_000)
    if not len(issued):
        return issued
    waits = np.diff(issued, prepend=issued[0])
    jumps = np.floor(dice.uniform(len(issued)) * (1.0 + (0.02 if own else 8.0) * waits)).astype(np.int64)
    follow = dice.uniform(len(issued)) < (0.9 if own else 0.3)
    day_of_year = (issued[0] // DAY) % 365
    first = 100_000_000 + day_of_year * 2_000_000 + start
    return np.asarray(first + np.cumsum(np.where(follow, 1, 1 + jumps)), dtype=np.int64)


def _reversals(frame: pl.DataFrame, plan: Plan, words: dict[str, Any]) -> pl.DataFrame:
    """Turn some later invoices into red ones that reverse an earlier one, and void a few old ones."""
    dice, laws = Dice(plan.seed, "reversals"), words["reversals"]
    is_old = _is_old(frame, words)
    usable = ~frame["early"].to_numpy() & (frame["owner"].to_numpy() == 0)
    part = np.arange(len(frame)) / max(len(frame), 1)
    blue = np.full(len(frame), -1, dtype=np.int64)
    partial = np.zeros(len(frame), dtype=bool)
    for old in (False, True):
        kin = usable & (is_old == old)
        many = round(laws["share"] * int(kin.sum()))
        firsts = dice.sample(np.flatnonzero(kin & (part >= BLUE_FROM) & (part < BLUE_UNTIL)), many)
        laters = dice.sample(np.flatnonzero(kin & (part >= BLUE_UNTIL) & (part < RED_UNTIL)), len(firsts))
        blue[laters] = firsts[: len(laters)]
        partial[laters] = dice.uniform(len(laters)) < laws["partial"]
    reds = np.flatnonzero(blue >= 0)
    blues = blue[reds]
    frame = _redden(frame.with_columns(blue=pl.Series(blue)), reds, blues, partial[reds])
    status = np.full(len(frame), "normal", dtype=object)
    status[blues] = np.where(partial[reds], "red_part", "red_full")
    voids = np.flatnonzero(usable & is_old & (blue < 0) & (status == "normal"))
    status[dice.sample(voids, round(laws["voided"] * len(voids)))] = "voided"
    return _remarks(frame.with_columns(status=pl.Series(status, dtype=pl.String)), reds, blues, dice, words)


def _redden(frame: pl.DataFrame, reds: Integers, blues: Integers, partial: np.ndarray[Any, Any]) -> pl.DataFrame:
    """Give red invoices the parties and the negative amount of the blue ones."""
    money = {name: frame[name].to_numpy(writable=True) for name in ("net", "tax", "gross")}
    for name in ("net", "tax"):
        money[name][reds] = -np.where(partial, money[name][blues] // 2, money[name][blues])
    money["gross"][reds] = money["net"][reds] + money["tax"][reds]
    source = np.arange(len(frame))
    source[reds] = blues
    copied = ("buyer", "buyer_tax_id", "buyer_name", "rate", "good")
    return frame.with_columns(
        *(frame[name].gather(source) for name in copied),
        *(pl.Series(name, values) for name, values in money.items()),
        positive=pl.Series(money["gross"] >= 0),
    )


def _remarks(frame: pl.DataFrame, reds: Integers, blues: Integers, dice: Dice, words: dict[str, Any]) -> pl.DataFrame:
    """Write remarks: everyday ones, and the forms by which a red invoice names its blue one."""
    forms = words["remarks"]
    serial = pl.Series(100_000 + dice.below(900_000, len(frame))).cast(pl.String)
    plain = pl.Series(forms["plain"]).gather(dice.below(len(forms["plain"]), len(frame)))
    stamp = times(frame["issued"].to_numpy())
    frame = frame.with_columns(remark=plain).with_columns(
        remark=pl.col("remark")
        .str.replace("{serial}", pl.lit(serial), literal=True)
        .str.replace("{number}", pl.lit(serial), literal=True)
        .str.replace("{year}", pl.lit(stamp.dt.strftime("%Y")), literal=True)
        .str.replace("{month}", pl.lit(stamp.dt.strftime("%-m")), literal=True),
        red_of=pl.lit(None, dtype=pl.String),
    )
    chosen = frame.select("key", "code", "number", "digital")[blues]
    lines = []
    for at, (key, code, number, digital) in enumerate(chosen.iter_rows()):
        form = forms[("red_new", "red")[at % 2]] if digital else forms[("red_old", "red_older")[at % 2]]
        lines.append(form.format(key=key, code=code, number=number, slip=f"110125{at:014d}"))
    remark = frame["remark"].scatter(reds, lines)
    return frame.with_columns(remark=remark, red_of=frame["red_of"].scatter(reds, chosen["key"]))


def _delays(frame: pl.DataFrame, plan: Plan, words: dict[str, Any]) -> pl.DataFrame:
    """Draw how long the platform takes: a mixture of two lognormals by channel."""
    dice = Dice(plan.seed, "delays")
    laws = list(words["channels"].values())
    channel = frame["channel"].to_numpy()
    second = dice.uniform(len(frame)) >= np.array([law["shares"][0] for law in laws])[channel]
    law_of = channel * 2 + second
    median = np.array([median for law in laws for median in law["medians"]])[law_of]
    sigma = np.array([sigma for law in laws for sigma in law["sigmas"]])[law_of]
    minutes = median * np.exp(sigma * dice.normal(len(frame)))
    return frame.with_columns(delay=pl.Series(np.floor(minutes * 60.0) + 1.0))
