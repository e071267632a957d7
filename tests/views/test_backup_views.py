from __future__ import annotations

from datetime import datetime, timedelta
from types import SimpleNamespace

import polars as pl
import pytest

from audit_kit.views.backups import charts, tables
from audit_kit.views.show import parts, theme

MAY = datetime(2025, 5, 1)


@pytest.fixture(autouse=True)
def quiet():
    theme.setup("zh", batch=True)


def audit(**frames: pl.DataFrame) -> SimpleNamespace:
    slots = frames.get(
        "slots",
        pl.DataFrame(schema={"job": pl.String, "kind": pl.String, "due": pl.Datetime("us"), "state": pl.String}),
    )
    points = pl.DataFrame(schema={"at": pl.Datetime("us"), "series": pl.String, "minutes": pl.Float64})
    cover = {
        "month": pl.String,
        "role": pl.String,
        "covered": pl.UInt32,
        "unverified": pl.UInt32,
        "uncovered": pl.UInt32,
    }
    gap = {"job": pl.String, "kind": pl.String, "first_due": pl.Datetime("us"), "last_due": pl.Datetime("us")}
    gap |= {"slots": pl.UInt32, "next_good": pl.Datetime("us")}
    empty = {"recovery_points": points, "coverage": pl.DataFrame(schema=cover), "incidents": pl.DataFrame(schema=gap)}
    rules = dict.fromkeys(("id", "text", "source", "edition", "valid_from", "state"), pl.String)
    empty["rules"] = pl.DataFrame(schema={**rules, "findings": pl.UInt32})
    return SimpleNamespace(**{**empty, "slots": slots, **frames})


def hourly(states: str, job: str = "db", start: datetime = MAY) -> pl.DataFrame:
    words = {"o": "ok", "m": "missing", "l": "late", "u": "unknown"}
    return pl.DataFrame(
        {
            "job": [job] * len(states),
            "kind": ["log"] * len(states),
            "due": [start + timedelta(hours=place) for place in range(len(states))],
            "state": [words[state] for state in states],
        },
        schema_overrides={"due": pl.Datetime("us")},
    )


def test_consecutive_slots_in_one_state_are_one_stretch_and_none_is_lost():
    frame = charts.segments(audit(slots=hourly("ooommuo")))
    assert frame.select("state", "slots").rows() == [("ok", 3), ("missing", 2), ("unknown", 1), ("ok", 1)]
    assert frame["starts"].to_list() == [MAY + timedelta(hours=place) for place in (0, 3, 5, 6)]
    assert frame["ends"].to_list() == [*frame["starts"].to_list()[1:], MAY + timedelta(hours=7)]


def test_a_gap_is_never_bridged_when_only_good_slots_are_looked_at():
    slots = charts.with_next(hourly("oommoo"))
    frame = charts.stretches(slots.filter(pl.col("state") == "ok"))
    assert frame.select("starts", "ends").rows() == [
        (MAY, MAY + timedelta(hours=2)),
        (MAY + timedelta(hours=4), MAY + timedelta(hours=6)),
    ]


def test_the_period_bounds_what_is_drawn():
    frame = charts.segments(audit(slots=hourly("oooooo")), start=MAY + timedelta(hours=2), end=MAY + timedelta(hours=5))
    assert frame["slots"].to_list() == [3]


def test_a_year_of_hourly_slots_that_alternate_keeps_the_gaps():
    frame = charts.segments(audit(slots=hourly("om" * 4380)))
    assert frame.height == charts.MOST_SEGMENTS
    assert set(frame["state"]) == {"missing"}


def test_thinning_keeps_the_worst_hour():
    hours = 9000
    points = pl.DataFrame(
        {
            "at": [MAY + timedelta(hours=place) for place in range(hours)],
            "series": ["listed"] * hours,
            "minutes": [6000.0 if place == 4321 else 30.0 for place in range(hours)],
        }
    )
    frame = charts.recovery(audit(recovery_points=points))
    assert frame.height <= charts.MOST_POINTS
    assert frame["hours"].max() == 100


def test_the_timeline_zooms_the_slots_by_a_brush_on_the_recovery_point():
    points = pl.DataFrame({"at": [MAY, MAY + timedelta(hours=5)], "series": ["listed"] * 2, "minutes": [10.0, 20.0]})
    world = audit(slots=hourly("oomo"), recovery_points=points)
    spec = charts.timeline(charts.segments(world), charts.recovery(world), target_minutes=60).to_dict()
    assert {param["name"] for param in spec["params"]} == {"backup_time", "slot_state", "recovery_series"}
    upper, lower = spec["vconcat"]
    assert upper["encoding"]["x"]["scale"]["domain"]["param"] == "backup_time"
    assert len(lower["layer"]) == 3
    assert all(len(rows) <= parts.MOST_ROWS for rows in spec["datasets"].values())


@pytest.mark.parametrize(("lang", "word"), [("zh", "未知"), ("en", "unknown")])
def test_without_any_backups_everything_is_said_to_be_unknown(lang, word):
    world = audit()
    chart = charts.timeline(charts.segments(world), charts.recovery(world), target_minutes=60, lang=lang)
    cover = charts.coverage_bars(charts.coverage(world), lang=lang)
    for drawn in (chart, cover):
        (data,) = drawn.to_dict()["datasets"].values()
        assert word in data[0]["sentence"]
    assert tables.rules(world, lang=lang).data
    assert tables.gaps(world, lang=lang).data


def test_coverage_counts_every_file_of_every_month_and_role():
    wide = pl.DataFrame(
        {
            "month": ["2025-04", "2025-05"],
            "role": ["xml", "pdf"],
            "covered": [5, 0],
            "unverified": [1, 2],
            "uncovered": [0, 3],
        }
    )
    frame = charts.coverage(audit(coverage=wide))
    assert frame["rows"].sum() == 11
    assert frame.filter(month="2025-05", state="uncovered")["rows"].item() == 3


def test_broken_rules_come_first_and_unknown_is_no_pass():
    rules = pl.DataFrame(
        {
            "id": ["R1", "R2", "R3"],
            "text": ["<b>加密</b>", "恢复测试", "按计划"],
            "source": ["CIS", "CIS", "–"],
            "edition": ["v8", None, "–"],
            "valid_from": ["2021-05-18", None, None],
            "state": ["pass", "unknown", "fails"],
            "findings": [0, 0, 4],
        }
    )
    text = tables.rules(audit(rules=rules)).as_raw_html()
    assert text.index("R3") < text.index("R2") < text.index("R1")
    assert "&lt;b&gt;加密" in text
    assert "不算通过" in text


def test_gaps_of_the_period_are_listed_longest_first():
    found = pl.DataFrame(
        {
            "job": ["a", "b", "c"],
            "kind": ["full"] * 3,
            "first_due": [MAY, MAY + timedelta(days=3), MAY + timedelta(days=40)],
            "last_due": [MAY, MAY + timedelta(days=5), MAY + timedelta(days=41)],
            "slots": [1, 3, 2],
            "next_good": [MAY + timedelta(days=1), None, None],
        }
    )
    text = tables.gaps(audit(incidents=found), start=MAY, end=MAY + timedelta(days=31)).as_raw_html()
    assert text.index(">b<") < text.index(">a<")
    assert ">c<" not in text
    assert "全量" in text


def test_the_levels_of_evidence_are_named():
    assert "已打开查看" in tables.level_scale("zh").data
    assert "opened" in tables.level_scale("en").data


def runs(**columns: list[object]) -> pl.DataFrame:
    count = len(columns["files"])
    base = {"job": ["files"] * count, "started_at": [MAY + timedelta(hours=8 * place) for place in range(count)]}
    base |= {"status": ["ok"] * count, "bytes_source": [None] * count}
    return pl.DataFrame({**base, **columns}, schema_overrides={"bytes_source": pl.UInt64, "files": pl.UInt64})


def test_the_smallest_and_worst_run_of_a_day_is_what_counts():
    frame = charts.sizes(runs(files=[100, 40, 90, 100], status=["ok", "ok", "warning", "ok"]))
    assert frame.select("files", "status", "runs").rows() == [(40, "warning", 3), (100, "ok", 1)]
    spec = charts.size_lines(frame).to_dict()
    assert {param["name"] for param in spec["params"]} == {"size_job"}
    assert len(spec["hconcat"]) == 2


def test_sizes_that_no_catalogue_gives_are_unknown():
    nothing = charts.size_lines(charts.sizes(runs(files=[None, None])))
    (data,) = nothing.to_dict()["datasets"].values()
    assert "未知" in data[0]["sentence"]


def test_a_decade_of_runs_of_many_jobs_stays_within_what_a_chart_takes():
    many = pl.concat([runs(files=[1] * 4000).with_columns(job=pl.lit(f"job{place}")) for place in range(12)])
    frame = charts.sizes(many)
    assert frame.height <= parts.MOST_ROWS
    assert frame["job"].n_unique() == 8
