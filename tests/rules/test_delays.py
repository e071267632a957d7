"""Operational minutes by hand, stops in the data, and chances against simulated months whose truth is known."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, NamedTuple

import numpy as np
import polars as pl
import pytest

from audit_kit.core import schema
from audit_kit.core.policy import SyncPolicy
from audit_kit.rules.matching.reconcile import reconcile
from audit_kit.rules.sync import lateness, stops
from audit_kit.rules.sync import observations as delays
from audit_kit.rules.sync.lateness import probability_late
from audit_kit.rules.sync.service_level import budget_by_incident, service_level
from audit_kit.rules.sync.settling import settle

START = datetime(2025, 5, 1)
# Channel: share, two lognormal delays (share, median minutes, sigma), lost share.
LAWS = {
    "乐企": (0.6, ((0.85, 3, 0.8), (0.15, 40, 1.0)), 0.006),
    "网页": (0.3, ((0.7, 40, 0.9), (0.3, 300, 0.8)), 0.012),
    "税控": (0.1, ((0.6, 600, 0.7), (0.4, 1500, 0.6)), 0.028),
}


class Month(NamedTuple):
    """A simulated month: its frames, and when each ledger row becomes visible (minutes from the start; inf = never)."""

    ledger: pl.DataFrame
    platform: pl.DataFrame
    matches: pl.DataFrame
    notices: pl.DataFrame
    taken_at: datetime
    visible: np.ndarray[Any, Any]
    lost: np.ndarray[Any, Any]

    def observations(self, **other: Any) -> pl.DataFrame:
        return delays.observations(
            self.ledger,
            self.platform,
            self.matches,
            sync_log=other.pop("sync_log", schema.empty("sync_log")),
            taken_at=self.taken_at,
            notices=self.notices,
            **other,
        )

    def late(self, chances: pl.DataFrame) -> np.ndarray[Any, Any]:
        return ~self.lost[chances["ledger_row"].to_numpy()]


def simulated(
    seed: int, *, n: int = 40_000, days: int = 31, spread: float = 1.0, open_hours: float = 0.0, announced: bool = True,
    held: float = 1.0, closed: int = 3, slower: float = 1.0, times: bool = True, only: str | None = None,
) -> Month:  # fmt: skip
    draw = np.random.default_rng(seed)
    taken = days * 1440
    issued = np.sort(draw.integers(0, days, n) * 1440 + np.clip(draw.normal(13, 3.2, n), 0, 23.99) * 60)
    names = list(LAWS)
    channel = draw.choice(3, n, p=[law[0] for law in LAWS.values()])
    delay, lost = np.zeros(n), np.zeros(n, dtype=bool)
    for place, (_, (one, two), share) in enumerate(LAWS.values()):
        mine = np.flatnonzero(channel == place)
        first = draw.random(len(mine)) < one[0]
        median, sigma = np.where(first, one[1], two[1]), np.where(first, one[2], two[2]) * spread
        delay[mine] = median * slower * np.exp(sigma * draw.normal(size=len(mine)))
        lost[mine] = draw.random(len(mine)) < share
    starts = [int(draw.integers(1, days - 1)) * 1440 + int(draw.integers(480, 960)) for _ in range(closed)]
    stops = [(start, start + int(draw.integers(120, 600)), 1.0, True) for start in starts]
    if open_hours:
        stops.append((taken - round(open_hours * 60), taken + 600, held, announced))
    visible = issued + delay
    for start, end, share, _ in sorted(stops):
        waits = (issued < end) & (visible > start) & (draw.random(n) < share)
        if only and end > taken:
            waits &= channel == names.index(only)
        drain = draw.random(n) * 0.15 * (end - start)
        visible = np.where(waits, visible + end - np.maximum(issued, start) + drain, visible)
    visible[lost] = np.inf
    seen = visible <= taken
    ledger = pl.DataFrame(
        {
            "digital_number": [f"25112{place}{serial:014d}" for serial, place in enumerate(channel)],
            "issued_at": moments(issued),
            "channel": np.array(names)[channel],
        }
    )
    arrived = moments(visible[seen]) if times else pl.Series([None] * int(seen.sum()), dtype=pl.Datetime("us"))
    platform = ledger.filter(pl.Series(seen)).with_columns(visible_at=arrived)
    matches = pl.DataFrame(
        {
            "ledger_row": np.arange(n),
            "platform_row": pl.Series(np.maximum(np.cumsum(seen) - 1, 0)),
            "invoice_key": ledger["digital_number"],
            "outcome": np.where(seen, "matched", "missing"),
        }
    ).with_columns(platform_row=pl.when(pl.Series(seen)).then("platform_row"))
    told = [
        {"starts_at": START + timedelta(minutes=start),
         "ends_at": START + timedelta(minutes=end) if end < taken else None,
         "kind": "outage", "scope": "全部", "title": "停机公告"}
        for start, end, _, said in stops if said
    ]  # fmt: skip
    return Month(
        canonical(ledger, "ledger"), canonical(platform, "platform"), canonical(matches, "matches"),
        canonical(pl.DataFrame(told) if told else schema.empty("notices"), "notices"),
        START + timedelta(minutes=taken), visible, lost,
    )  # fmt: skip


def moments(minutes: np.ndarray[Any, Any]) -> pl.Series:
    return pl.Series(np.floor(minutes * 60).astype("int64") * 1_000_000).cast(pl.Duration("us")) + START


def canonical(frame: pl.DataFrame, table: str) -> pl.DataFrame:
    types = schema.dtypes(table)
    return frame.select(
        (pl.col(name) if name in frame.columns else pl.lit(None)).cast(dtype).alias(name)
        for name, dtype in types.items()
    )


def scored(months: list[Month], **other: Any) -> dict[str, float]:
    chances, truth = [], []
    for month in months:
        found = probability_late(month.observations(), **other)
        chances.append(found["probability_late"].to_numpy())
        truth.append(month.late(found).astype(float))
    p, y = np.concatenate(chances), np.concatenate(truth)
    place = np.clip((p * 10).astype(int), 0, 9)
    gaps = [abs(p[place == bin_].sum() - y[place == bin_].sum()) for bin_ in range(10)]
    return {
        "brier": float(np.mean((p - y) ** 2)),
        "base": float(y.mean() * (1 - y.mean())),
        "ece": sum(gaps) / len(p),
        "count": float(p.sum() / y.sum()),
        "least": float(p.min()),
        "most": float(p.max()),
    }


def tiny(rows: list[tuple[datetime, datetime | None]], **other: Any) -> pl.DataFrame:
    """Observations of invoices given as issue and arrival; null = missing at 3 May noon."""
    ledger = pl.DataFrame(
        {"digital_number": [f"25112{place:015d}" for place in range(len(rows))], "issued_at": [row[0] for row in rows]}
    )
    seen = [row[1] is not None for row in rows]
    platform = ledger.with_columns(visible_at=pl.Series([row[1] for row in rows], dtype=pl.Datetime("us")))
    ledger, platform = canonical(ledger, "ledger"), canonical(platform.filter(pl.Series(seen)), "platform")
    terms: dict[str, Any] = {"sync_log": schema.empty("sync_log"), "taken_at": datetime(2025, 5, 3, 12)} | other
    return delays.observations(ledger, platform, reconcile(ledger, platform), **terms)


def stop(start: datetime, end: datetime | None, share: float = 1.0, channel: str = "全部") -> dict[str, Any]:
    return {"channel": channel, "starts_at": start, "ends_at": end, "announced": True, "title": "停", "share": share}


def test_delay_and_age_in_minutes() -> None:
    seen, missing = tiny(
        [(datetime(2025, 5, 2, 9), datetime(2025, 5, 2, 10, 30)), (datetime(2025, 5, 3, 9), None)]
    ).rows(named=True)
    assert (seen["minutes"], seen["visible"], seen["channel"]) == (90, True, "网页")
    assert (missing["minutes"], missing["visible"], missing["age"]) == (180, False, 180)


def test_stops_are_taken_off_delay_and_age() -> None:
    known = pl.DataFrame([stop(datetime(2025, 5, 2, 10), datetime(2025, 5, 2, 22))], schema=delays.STOPS)
    rows = tiny(
        [
            (datetime(2025, 5, 2, 9), datetime(2025, 5, 2, 23)),  # an hour before, an hour after
            (datetime(2025, 5, 2, 12), datetime(2025, 5, 2, 22, 5)),  # issued within
            (datetime(2025, 5, 2, 20), None),  # 40 hours less the two it stood still
            (datetime(2025, 5, 2, 23), None),  # after it
        ],
        known_stops=known,
    )
    assert rows["minutes"].to_list() == [120, 5, 14 * 60, 13 * 60]


def test_a_stop_of_another_channel_takes_nothing_off() -> None:
    known = pl.DataFrame([stop(datetime(2025, 5, 2, 10), None, channel="乐企")], schema=delays.STOPS)
    rows = tiny(
        [(datetime(2025, 5, 2, 9), datetime(2025, 5, 2, 9, 30)), (datetime(2025, 5, 3, 9), None)], known_stops=known
    )
    assert rows["minutes"].to_list() == [30, 180]


def test_a_partial_stop_holds_up_what_is_missing_not_what_slipped_through() -> None:
    known = pl.DataFrame([stop(datetime(2025, 5, 3, 0), None, share=0.7)], schema=delays.STOPS)
    slipped, missing = tiny(
        [(datetime(2025, 5, 3, 1), datetime(2025, 5, 3, 3)), (datetime(2025, 5, 2, 23), None)], known_stops=known
    ).rows(named=True)
    assert slipped["minutes"] == 120
    assert (missing["age"], missing["loose"], missing["held"]) == (60, 13 * 60, 0.7)


def test_times_come_from_the_log_where_the_platform_has_none() -> None:
    rows = [(datetime(2025, 5, 2, 9), datetime(2025, 5, 2, 9, 1))]
    ledger = canonical(pl.DataFrame({"digital_number": ["25112" + "0" * 15], "issued_at": [rows[0][0]]}), "ledger")
    log = [
        {"invoice_number": "25112" + "0" * 15, "event": "received", "at": datetime(2025, 5, 2, 9, 10)},
        {"invoice_number": "25112" + "0" * 15, "event": "visible", "at": datetime(2025, 5, 2, 9, 45)},
    ]
    found = delays.observations(
        ledger, canonical(ledger, "platform"), reconcile(ledger, ledger),
        sync_log=canonical(pl.DataFrame(log), "sync_log"),
        taken_at=datetime(2025, 5, 3, 12),
    )  # fmt: skip
    assert found["minutes"].to_list() == [45]


def test_successive_exports_give_an_interval() -> None:
    key = "25112" + "0" * 15
    ledger = canonical(pl.DataFrame({"digital_number": [key], "issued_at": [datetime(2025, 5, 2, 9)]}), "ledger")
    absent, there = pl.DataFrame({"invoice_key": ["x"]}), pl.DataFrame({"invoice_key": [key]})
    exports = {datetime(2025, 5, 2, 12): absent, datetime(2025, 5, 2, 18): there, datetime(2025, 5, 3, 6): there}
    row = delays.observations(
        ledger, canonical(ledger, "platform"), reconcile(ledger, ledger), sync_log=schema.empty("sync_log"),
        taken_at=datetime(2025, 5, 3, 12), exports=exports,
    ).row(0, named=True)  # fmt: skip
    assert (row["since"], row["minutes"]) == (180, 540)


def test_without_any_time_of_arrival_presence_at_its_age_is_all() -> None:
    month = simulated(1, n=500, times=False)
    rows = month.observations()
    assert rows.filter("visible")["since"].unique().to_list() == [0]
    assert (rows["minutes"] == rows["age"]).all()


def test_the_channel_is_the_ledgers_or_a_hint_of_the_number() -> None:
    keys = ["25112" + "0" * 15, "25117" + "0" * 15, "25114" + "0" * 15]
    ledger = canonical(pl.DataFrame({"digital_number": keys, "issued_at": [START] * 3}), "ledger")
    named = ledger.with_columns(channel=pl.Series(["移动端", None, None], dtype=pl.String))
    found = delays.observations(
        named, schema.empty("platform"), reconcile(named, schema.empty("platform")), sync_log=schema.empty("sync_log"),
        taken_at=datetime(2025, 5, 3),
    )  # fmt: skip
    assert found["channel"].to_list() == ["移动端", "乐企", "开票渠道码 4"]


@pytest.mark.parametrize("announced", [True, False])
def test_an_open_stop_is_read_off_the_arrivals(*, announced: bool) -> None:
    month = simulated(2, open_hours=30, announced=announced, closed=0)
    found = delays.stops(month.observations(), month.notices, taken_at=month.taken_at)
    assert set(found["channel"]) == set(LAWS)
    assert found["ends_at"].null_count() == 3
    began = month.taken_at - timedelta(hours=30)
    assert all(began - timedelta(hours=2) < start < began + timedelta(hours=1) for start in found["starts_at"])
    assert set(found["announced"]) == {announced}


def test_closed_and_partial_and_single_channel_stops() -> None:
    closed = simulated(3, closed=1)
    found = delays.stops(closed.observations(), schema.empty("notices"), taken_at=closed.taken_at)
    truth = closed.notices.row(0, named=True)
    assert found.filter(pl.col("channel") == "乐企").height == 1
    assert abs(found["starts_at"][0] - truth["starts_at"]) < timedelta(hours=1)
    part = simulated(4, closed=0, open_hours=30, announced=False, held=0.7)
    found = delays.stops(part.observations(), part.notices, taken_at=part.taken_at)
    assert found.filter((pl.col("channel") == "乐企") & pl.col("ends_at").is_null())["share"].item() == pytest.approx(
        0.7, abs=0.05
    )
    single = simulated(5, closed=0, open_hours=30, announced=False, only="乐企")
    found = delays.stops(single.observations(), single.notices, taken_at=single.taken_at)
    assert found["channel"].to_list() == ["乐企"]


def test_an_innocent_notice_is_no_stop_and_a_quiet_month_has_none() -> None:
    month = simulated(6, closed=0)
    notice = {"starts_at": START + timedelta(days=9, hours=9), "ends_at": START + timedelta(days=9, hours=15),
              "scope": "全部", "kind": "network", "title": "无关"}  # fmt: skip
    notices = canonical(pl.DataFrame([notice]), "notices")
    assert delays.stops(month.observations(), notices, taken_at=month.taken_at).is_empty()


def test_an_open_stop_shows_without_any_time_of_arrival() -> None:
    month = simulated(2, open_hours=30, announced=False, closed=0, times=False)
    (stop,) = delays.stops(month.observations(), month.notices, taken_at=month.taken_at).rows(named=True)
    assert (stop["ends_at"], stop["announced"]) == (None, False)
    assert abs(stop["starts_at"] - (month.taken_at - timedelta(hours=30))) < timedelta(hours=1)
    # One channel alone may wait for its upload; and an ordinary month has no sudden end.
    for other in ({"open_hours": 30, "only": "乐企"}, {}):
        quiet = simulated(3, announced=False, closed=0, times=False, **other)
        assert delays.stops(quiet.observations(), quiet.notices, taken_at=quiet.taken_at).is_empty()


def test_a_channel_that_uploads_every_night_has_no_stops() -> None:
    draw = np.random.default_rng(7)
    issued = np.sort(draw.uniform(0, 31 * 1440, 6000))
    visible = np.floor(issued / 1440 + 1) * 1440 + 120 + draw.exponential(10, 6000)
    rows = pl.DataFrame(
        {
            "channel": "税控", "issued_at": moments(issued), "visible": visible < 31 * 1440,
            "visible_at": moments(visible),
        }
    ).with_columns(visible_at=pl.when("visible").then("visible_at"))  # fmt: skip
    assert delays.stops(rows, schema.empty("notices"), taken_at=START + timedelta(days=31)).is_empty()


def test_calibrated_on_ordinary_months() -> None:
    score = scored([simulated(seed, n=100_000) for seed in range(3)])
    assert score["brier"] < 0.05 < score["base"]
    assert score["ece"] <= 0.03
    assert score["count"] == pytest.approx(1, abs=0.05)
    assert score["least"] > 0
    assert score["most"] < 1


@pytest.mark.parametrize("announced", [True, False])
def test_calibrated_with_thirty_hours_still_open(*, announced: bool) -> None:
    score = scored([simulated(seed, open_hours=30, announced=announced) for seed in range(2)])
    assert score["brier"] <= 0.04
    assert score["ece"] <= 0.03
    assert score["count"] == pytest.approx(1, abs=0.05)


def test_calibrated_with_a_partial_stop_still_open() -> None:
    score = scored([simulated(seed, open_hours=30, announced=False, held=0.7) for seed in range(2)])
    assert score["brier"] <= 0.04
    assert score["count"] == pytest.approx(1, abs=0.05)


@pytest.mark.slow
def test_calibrated_from_presence_alone_as_the_real_export_has_it() -> None:
    score = scored([simulated(seed, times=False) for seed in range(3)])
    assert score["brier"] <= 0.05
    assert score["ece"] <= 0.03
    stopped = scored([simulated(seed, times=False, open_hours=30) for seed in range(2)])
    assert stopped["brier"] <= 0.04


def test_a_short_export_with_heavy_tails_borrows_or_says_that_it_is_unsure() -> None:
    short = simulated(11, days=5, closed=0, slower=2.5)
    history = delays.remembered(None, simulated(12, slower=2.5).observations(), month="2025-04")
    alone = delays.lateness(short.observations())
    assert not alone.filter(pl.col("channel") == "税控")["certain"].any()
    borrowed = delays.lateness(short.observations(), history=history)
    assert borrowed.filter(pl.col("channel") == "税控")["method"].unique().to_list() == ["history"]
    assert borrowed.filter(pl.col("channel") == "乐企")["method"].unique().to_list() == ["km"]
    shorts = [simulated(seed, days=5, closed=0, slower=2.5) for seed in range(3)]
    assert scored(shorts, history=history)["ece"] <= 0.05
    # Delays that have become another matter since are not borrowed from.
    faster = delays.remembered(None, simulated(13).observations(), month="2025-04")
    changed = delays.lateness(short.observations(), history=faster).filter(pl.col("channel") == "税控")
    assert changed["method"].unique().to_list() == ["mixture"]


def test_tails_twice_as_wide() -> None:
    score = scored([simulated(seed, spread=2.0) for seed in range(4)])
    assert score["ece"] <= 0.05
    assert score["count"] == pytest.approx(1, abs=0.08)


def test_nothing_lost_is_not_called_lost() -> None:
    month = simulated(21)
    everyone = month._replace(lost=np.zeros_like(month.lost))
    found = probability_late(everyone.observations().filter(pl.col("visible") | ~pl.Series(month.lost)))
    assert found["probability_late"].mean() > 0.97


def test_history_keeps_the_other_months() -> None:
    month = simulated(22, n=5000)
    first = delays.remembered(None, month.observations(), month="2025-04")
    both = delays.remembered(first, month.observations(), month="2025-05")
    again = delays.remembered(both, month.observations(), month="2025-05")
    assert again.equals(both)
    assert both["month"].unique().sort().to_list() == ["2025-04", "2025-05"]
    assert first.group_by("channel").len()["len"].max() <= 801


def test_the_interval_holds_the_number_really_lost() -> None:
    held = 0
    for seed in range(20):
        month = simulated(100 + seed, n=3000)
        found = probability_late(month.observations())
        bounds = delays.lost_interval(found["probability_late"])
        held += bounds["lower"] - 0.5 <= (~month.late(found)).sum() <= bounds["upper"] + 0.5
    assert held >= 16


def test_settle_scores_what_then_happened() -> None:
    chances = pl.DataFrame({"ledger_row": [0, 1, 2, 3], "probability_late": [0.9, 0.8, 0.1, None]},
                           schema_overrides={"ledger_row": pl.UInt32})  # fmt: skip
    later = canonical(
        pl.DataFrame({"ledger_row": [0, 1, 2, 3], "outcome": ["matched", "missing", "missing", "matched"]}), "matches"
    )
    result = settle(chances, later)
    assert result.rows == 3
    assert result.brier == pytest.approx((0.01 + 0.64 + 0.01) / 3)
    assert result.brier_base == pytest.approx(2 / 9)
    assert result.ece == pytest.approx((0.1 + 0.8 + 0.1) / 3)
    assert (result.late_predicted, result.late_observed, result.still_missing) == (pytest.approx(1.8), 1, 2)
    assert result.arrivals["came"].to_list() == [True, False, False]
    assert list(result.figures()) == [
        "rows", "brier", "brier_base", "ece", "late_predicted", "late_observed", "still_missing",
    ]  # fmt: skip


def test_settle_with_nothing_to_score() -> None:
    nothing = pl.DataFrame(schema={"ledger_row": pl.UInt32, "probability_late": pl.Float64})
    result = settle(nothing, schema.empty("matches"))
    assert (result.rows, result.brier, result.ece) == (0, None, None)


def test_settled_a_week_later_as_our_own_score_says() -> None:
    month = simulated(31)
    found = probability_late(month.observations())
    seen = month.visible <= 38 * 1440
    later = month.matches.with_columns(outcome=pl.Series(np.where(seen, "matched", "missing")))
    result = settle(found, later)
    truth = month.late(found).astype(float)
    own = float(np.mean((found["probability_late"].to_numpy() - truth) ** 2))
    assert result.brier == pytest.approx(own, abs=0.005)
    assert result.late_lower <= result.late_observed <= result.late_upper


def test_what_was_not_asked_for_says_nothing_of_delays() -> None:
    observations = tiny([(datetime(2025, 5, 2, 9), None), (datetime(2025, 5, 2, 10), None)])
    findings = pl.DataFrame({"ledger_row": [0, 1], "cause": ["outside_export", "batch_lost"]},
                            schema_overrides={"ledger_row": pl.UInt32})  # fmt: skip
    assert delays.of_delays(observations, findings)["ledger_row"].to_list() == [1]


def test_the_service_level_counts_the_waiting_and_names_the_incident() -> None:
    month = simulated(41, closed=0, open_hours=30)
    observations = month.observations()
    stops = delays.stops(observations, month.notices, taken_at=month.taken_at)
    table = service_level(observations, policy=SyncPolicy(), taken_at=month.taken_at)
    whole = table.filter(pl.col("channel") == "全部").row(0, named=True)
    issued = (month.ledger["issued_at"] - START).dt.total_microseconds().to_numpy() / 60e6
    old_enough = issued + 1440 <= (month.taken_at - START).total_seconds() / 60
    missed = old_enough & (month.visible - issued > 1440)
    assert (whole["issued"], whole["used"], whole["open"]) == (old_enough.sum(), missed.sum(), 0)
    assert whole["share"] == pytest.approx(1 - missed.sum() / old_enough.sum())
    assert whole["lower"] < whole["share"] < whole["upper"]
    assert whole["state"] == "fails"
    assert whole["budget"] == pytest.approx(0.01 * old_enough.sum())
    used = budget_by_incident(
        observations, schema.empty("findings"), stops, policy=SyncPolicy(), taken_at=month.taken_at
    )
    assert used["incident"].to_list()[:2] == ["slow", "停机公告"] or used["incident"][0] == "停机公告"
    assert used["share"].sum() == pytest.approx(1)
    rows = observations.select("ledger_row", cause=pl.lit("risk_flagged"))
    doubted = pl.concat([schema.empty("findings"), rows], how="diagonal_relaxed")
    assert used.equals(
        budget_by_incident(observations, doubted, stops, policy=SyncPolicy(), taken_at=month.taken_at)
    )  # a doubt of the platform explains no delay
    assert used["misses"].sum() == whole["used"]  # the sentence, the table and the chart count the same invoices


def test_without_times_of_arrival_there_is_no_service_level() -> None:
    month = simulated(41, times=False)
    observations = month.observations()
    how = {"policy": SyncPolicy(), "taken_at": month.taken_at}
    assert service_level(observations, **how).is_empty()
    assert budget_by_incident(observations, schema.empty("findings"), schema.empty("notices"), **how).is_empty()


def test_a_channel_without_times_is_left_out_and_the_others_are_judged() -> None:
    day, rows = datetime(2025, 5, 2, 9), ("网页", "网页", "税控", "税控")
    observations = tiny([(day, day + timedelta(hours=1)), (day, None), (day, day + timedelta(hours=40)), (day, None)])
    observations = observations.with_columns(channel=pl.Series(rows))
    untimed = observations.with_columns(
        visible_at=pl.when(pl.col("channel") == "税控").then(None).otherwise("visible_at")
    )
    level = service_level(untimed, policy=SyncPolicy(), taken_at=datetime(2025, 5, 20))
    assert level["channel"].to_list() == ["全部", "网页"]
    assert level["issued"].to_list() == [2, 2]
    level = service_level(observations, policy=SyncPolicy(), taken_at=datetime(2025, 5, 20))
    assert level.select("channel", "issued", "used").rows() == [("全部", 4, 3), ("税控", 2, 2), ("网页", 2, 1)]


def test_what_is_visible_without_a_time_counts_by_the_share_of_the_others() -> None:
    day = datetime(2025, 5, 2, 9)
    late, soon = day + timedelta(hours=40), day + timedelta(hours=1)
    observations = tiny([(day, soon), (day, soon), (day, late), (day, soon), (day, soon), (day, late), (day, None)])
    rows = observations.with_columns(
        visible_at=pl.when(pl.col("ledger_row").is_between(3, 5)).then(None).otherwise("visible_at")
    )
    row = service_level(rows, policy=SyncPolicy(), taken_at=datetime(2025, 5, 20)).row(0, named=True)
    assert (row["issued"], row["untimed"]) == (7, 3)
    assert row["used"] == pytest.approx(3)  # two of six late by the timed ones, and the missing one


def test_between_two_exports_the_share_is_a_range() -> None:
    day = datetime(2025, 5, 2, 9)
    observations = tiny([(day, day + timedelta(hours=60))] * 4)
    observations = observations.with_columns(since=pl.Series([600.0, 600.0, 3000.0, 10.0]))
    row = service_level(observations, policy=SyncPolicy(), taken_at=datetime(2025, 5, 20)).row(0, named=True)
    assert (row["issued"], row["used"], row["open"], row["share"], row["state"]) == (4, 1, 3, None, "fails")
    assert row["lower"] == pytest.approx(0, abs=1e-9)


# --- very many channels ---------------------------------------------------------------------------------------------


def many_channels(channels: int, each: int, *, presence: bool) -> pl.DataFrame:
    """Return observations of channels of which the first have the most invoices."""
    draw = np.random.default_rng(5)
    channel = np.concatenate([np.full(each + channels - place, place) for place in range(channels)])
    n = len(channel)
    age, delay = draw.uniform(0, 3000, n).round(), draw.lognormal(5, 1, n).round()
    visible = (delay < age) & (draw.random(n) > 0.05)
    return pl.DataFrame(
        {
            "channel": pl.Series(channel).cast(pl.String).str.zfill(4),
            "minutes": age if presence else np.where(visible, delay, age),
            "visible": visible,
            "since": pl.Series([0.0 if presence and seen else None for seen in visible], dtype=pl.Float64),
            "weight": 1.0,
            "age": age,
            "loose": age,
            "held": 1.0,
        }
    )


@pytest.mark.slow
@pytest.mark.parametrize("presence", [True, False])
def test_of_very_many_channels_the_largest_are_fitted_and_the_others_use_the_curve_of_all(
    presence: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = many_channels(40, 60, presence=presence)
    whole = delays.lateness(seen)
    fits = []
    fit = lateness.mixture
    monkeypatch.setattr(lateness, "MOST_FITS", 10)
    monkeypatch.setattr(lateness, "mixture", lambda part, **bounds: fits.append(len(part)) or fit(part, **bounds))
    table = delays.lateness(seen)
    assert len(fits) <= 11
    largest = pl.col("channel") <= "0009"
    assert table.filter(largest).equals(whole.filter(largest))
    pooled = table.filter(pl.col("method").str.starts_with("pooled"))
    assert pooled["channel"].is_unique().all()
    assert (pooled.height, (table["channel"] == "*").sum() > 20) == (30, True) if presence else pooled.height > 0
    rows = seen.filter(pl.col("channel") == pooled["channel"][0])
    known = lateness.at_age(rows, table)
    nobody = lateness.at_age(rows.with_columns(channel=pl.lit("elsewhere")), table)
    assert known["method"].unique().to_list() == ["pooled " + nobody["method"][0]]
    assert known.drop("method").equals(nobody.drop("method"))


def test_a_channel_too_sparse_for_any_window_is_searched_at_its_arrivals_only(monkeypatch: pytest.MonkeyPatch) -> None:
    draw = np.random.default_rng(6)
    due = np.zeros(20_000)
    np.add.at(due, draw.integers(0, 20_000, 150), 1.0)
    came = np.where(np.arange(20_000) < 14_000, due, 0.0)  # a stop still open: the last third never came
    least = stops.PARTIAL_EVIDENCE
    looked = []
    deficit = stops._deficit
    monkeypatch.setattr(stops, "_deficit", lambda came, due: looked.append(np.size(came)) or deficit(came, due))
    found = stops._emptiest(came.copy(), due.copy(), least=least)
    few = sum(looked)
    whole = stops._emptiest(came.copy(), due.copy(), least=0.0)
    assert few < 1_000 < sum(looked) - few
    assert found is not None
    assert found == whole
    assert found[0] > least
    usual = stops._emptiest(due.copy(), due.copy(), least=least)
    assert usual is None or usual[0] < least
