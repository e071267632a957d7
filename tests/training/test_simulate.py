from __future__ import annotations

import filecmp
import re
import tomllib
import zipfile
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import openpyxl
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from python_calamine import CalamineWorkbook
from stdnum.cn import uscc

from audit_kit.analysis.work import analyse
from audit_kit.cli.main import main
from audit_kit.core import schema
from audit_kit.core.errors import RequestError
from audit_kit.core.identity import with_key
from audit_kit.loaders.engagement.engagement import open_engagement
from audit_kit.rules.matching.reconcile import reconcile
from audit_kit.training.world.simulate import DEFAULT, simulate, world

if TYPE_CHECKING:
    from audit_kit.training.world.shape import World

SAMPLE = Path(__file__).parents[2] / "data" / "sample"
MISSING = (
    *("outside_export", "export_truncated", "no_permission", "upload_failed", "not_migrated_back", "only_in_backup"),
    *("batch_lost", "outage", "channel_excess", "account_excess", "kind_excess", "lost", "not_issued"),
)
FOUND = {
    "precision_lost": "matched_cleaned",
    "number_damaged": "matched_cleaned",
    "number_mistyped": "mistyped",
    "ambiguous": "ambiguous",
    "booked_twice": "duplicate",
    "amount_conflict": "conflict",
    "date_conflict": "conflict",
    "party_conflict": "conflict",
    "status_conflict": "conflict",
    "voided": "conflict",
    "red_reversed": "conflict",
    "edited_not_synced": "conflict",
    "number_invalid": "missing",
} | dict.fromkeys(MISSING, "missing")


@pytest.fixture(scope="module")
def month() -> World:
    return world(invoices=20_000, seed=7)


def files(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def booked(made: World, cause: str) -> pl.DataFrame:
    """The ledger rows of a cause, with the truth about them."""
    rows = made.truth.filter(pl.col("cause") == cause, pl.col("ledger_row").is_not_null())
    return rows.hstack(made.ledger[rows["ledger_row"].to_numpy()])


def test_every_ledger_row_has_one_truth_and_every_unclaimed_platform_row_too(month):
    rows = month.truth["ledger_row"].drop_nulls()
    assert rows.to_list() == list(range(len(month.ledger)))
    claimed = set(month.truth.filter(pl.col("ledger_row").is_not_null())["platform_row"].drop_nulls())
    unbooked = month.truth.filter(pl.col("ledger_row").is_null())
    assert set(unbooked["platform_row"]) == set(range(len(month.platform))) - claimed
    assert unbooked["cause"].unique().to_list() == ["unbooked"]


@pytest.mark.parametrize("cause", sorted(FOUND))
def test_each_cause_leads_to_its_outcome(month, cause):
    outcomes = set(booked(month, cause)["outcome"])
    unclear = {"ambiguous"} if cause == "precision_lost" else set()  # fifteen digits may fit two invoices
    assert FOUND[cause] in outcomes <= {FOUND[cause]} | unclear


@pytest.mark.parametrize("cause", sorted(FOUND.keys() - {"ambiguous", "booked_twice", "number_mistyped"}))
def test_each_cause_takes_its_share(month, cause):
    meant = round(DEFAULT[cause] * 20_000)
    assert meant * 0.97 <= len(booked(month, cause)) <= meant + 2


def test_a_month_can_have_no_cause_at_all():
    quiet = world(invoices=5_000, seed=9, causes={})
    assert quiet.truth.select("outcome", "cause").unique().sort("outcome").rows() == [
        ("matched", None),
        ("missing", "late"),
    ]
    assert quiet.truth["late"].sum() == quiet.truth.filter(pl.col("cause") == "late").height
    assert quiet.control["agrees"].all()


def test_late_invoices_are_those_that_the_later_export_has(month):
    later = month.later.select(key=pl.coalesce("digital_number", pl.col("invoice_code") + pl.col("invoice_number")))
    missing = month.truth.filter(pl.col("outcome") == "missing")
    shown = missing["true_key"].is_in(later["key"].implode())
    assert shown.filter(missing["cause"] == "late").mean() > 0.999
    assert not shown.filter(missing["cause"].is_in(["lost", "batch_lost", "outage", "upload_failed"])).any()
    assert missing.filter(pl.col("late"))["cause"].unique().to_list() == ["late"]


def test_numbers_look_like_beijing_numbers(month):
    digital = month.platform.filter(pl.col("digital_number").is_not_null())
    assert digital["digital_number"].str.contains("^2511[247][0-9]{15}$").all()
    paper = digital.filter(pl.col("kind") == "数电纸质发票（普通发票）")
    assert len(paper) > 50
    assert paper["invoice_code"].str.contains("^[0-9]{12}$").all()
    assert paper["invoice_number"].str.contains("^[0-9]{8}$").all()
    old = month.platform.filter(pl.col("digital_number").is_null())
    assert old["invoice_code"].str.contains("^(1100251130|01100250(0204|0111))$").all()
    assert old["origin"].unique().to_list() == ["增值税发票管理系统"]


def test_numbers_rise_with_time_and_often_follow_each_other(month):
    for digit in "247":
        own = month.platform.filter(pl.col("digital_number").str.slice(4, 1) == digit).sort("digital_number")
        assert (own["issued_at"].diff().drop_nulls() >= timedelta(0)).all()
        assert (own["digital_number"].str.slice(5).cast(pl.Int64).diff() == 1).mean() > 0.2


def test_parties_are_valid_in_form_and_marked_as_made_up(month):
    ids = pl.concat([month.platform["seller_tax_id"], month.platform["buyer_tax_id"]]).drop_nulls().unique()
    assert len(ids) > 500
    assert all(uscc.is_valid(tax_id) for tax_id in ids)
    names = pl.concat([month.platform["seller_name"], month.platform["buyer_name"]]).unique()
    assert (names.str.contains("示例") | (names == "个人")).all()


def test_amounts_add_up_and_recur(month):
    rows = month.platform
    assert ((rows["net"] + rows["tax"]) == rows["gross"]).all()
    assert rows["gross"].cast(pl.String).value_counts(sort=True)["count"][0] > 200
    assert (rows.filter(~pl.col("positive"))["gross"] < 0).all()


def test_red_invoices_name_their_blue_one_in_every_form(month):
    reds = month.platform.filter(~pl.col("positive"))
    forms = ("被红冲蓝字数电票号码：", "被红冲蓝字数电发票号码：", "被红冲蓝字发票号码：", "对应正数发票代码:")
    assert all(reds["remark"].str.starts_with(form).any() for form in forms)
    keys = set(
        month.platform.select(
            pl.coalesce("digital_number", pl.col("invoice_code") + pl.col("invoice_number"))
        ).to_series()
    )
    named = reds["remark"].str.extract("(?:数电票号码|数电发票号码)：([0-9]{20})").drop_nulls()
    assert set(named) <= keys


def test_the_day_and_the_month_have_a_rhythm(month):
    hours = month.platform["issued_at"].dt.hour().value_counts().sort("issued_at")
    by_hour = dict(hours.iter_rows())
    assert by_hour[10] > 5 * by_hour[3]
    days = dict(month.ledger["issued_at"].dt.date().value_counts().iter_rows())
    assert days[datetime(2025, 5, 30).date()] > 1.5 * days[datetime(2025, 5, 14).date()]
    assert days[datetime(2025, 5, 17).date()] < 0.5 * days[datetime(2025, 5, 14).date()]


def test_a_lost_batch_is_one_run_of_its_channel(month):
    rows = booked(month, "batch_lost")
    batches = (
        month.sync_log.filter(pl.col("batch").str.contains("X")).select("batch", true_key="invoice_number").unique()
    )
    runs = rows.join(batches, on="true_key")
    assert len(runs) == len(rows)
    order = month.ledger.with_columns(place=pl.int_range(pl.len()).over("channel"))["place"]
    spans = (
        runs.with_columns(place=order[runs["ledger_row"].to_numpy()])
        .group_by("batch")
        .agg(pl.len(), span=pl.col("place").max() - pl.col("place").min() + 1)
    )
    assert (spans["len"] >= spans["span"] - 4).all()  # an invoice booked twice may lie between


def test_what_an_outage_lost_was_issued_while_it_lasted(month):
    rows = booked(month, "outage")
    stops = month.true_stops.filter(pl.col("ends_at") - pl.col("starts_at") < pl.duration(hours=15))
    inside = [((stops["starts_at"] <= at) & (at < stops["ends_at"])).any() for at in rows["issued_at"]]
    assert all(inside)
    announced = month.notices.filter(pl.col("kind") == "outage")
    assert announced["starts_at"].is_in(stops["starts_at"].implode()).all()


def test_there_is_always_a_notice_that_means_nothing():
    month = world(invoices=20_000, seed=7, causes={"outage": 0.02, "lost": 0.005})
    innocent = month.notices.filter(pl.col("kind") == "network").row(0, named=True)
    assert not month.true_stops["starts_at"].is_in([innocent["starts_at"]]).any()
    inside = month.ledger.with_row_index("ledger_row").filter(
        pl.col("issued_at").is_between(innocent["starts_at"], innocent["ends_at"])
    )
    missing = inside.join(month.truth, on="ledger_row")["outcome"] == "missing"
    assert len(missing) > 100
    assert missing.mean() < 0.03


def test_an_outage_still_open_keeps_invoices_back_and_they_come_later():
    made = world(invoices=5_000, seed=3, causes={"lost": 0.005}, open_outage_hours=30)
    waiting = made.truth.filter(pl.col("cause") == "outage")
    assert len(waiting) > 200
    assert 0.98 < waiting["late"].mean() < 1  # what is lost meanwhile cannot be told from what waits
    came = with_key(made.later)["invoice_key"].implode()
    assert waiting.filter(pl.col("true_key").is_in(came) != pl.col("late")).is_empty()
    open_notice = made.notices.filter(pl.col("kind") == "outage").row(0, named=True)
    assert open_notice["ends_at"] is None
    silent = world(invoices=5_000, seed=3, causes={"lost": 0.005}, open_outage_hours=30, open_outage_announced=False)
    assert silent.notices.filter(pl.col("kind") == "outage").is_empty()
    assert silent.truth.equals(made.truth)


def test_the_logs_tell_what_happened(month):
    log = month.sync_log.group_by("invoice_number").agg(pl.col("event").cast(pl.String))
    events = dict(log.iter_rows())
    assert all(events[key][-1] == "failed" for key in booked(month, "upload_failed")["true_key"])
    assert all(events[key][-1] == "uploaded" for key in booked(month, "lost")["true_key"])
    assert not set(booked(month, "not_issued")["true_key"]) & events.keys()
    edits = month.operations.filter(pl.col("action") == "edit")
    assert set(edits["invoice_number"]) == set(booked(month, "edited_not_synced")["true_key"])
    waiting = month.substitute.filter(pl.col("migrated_at").is_null())
    assert len(waiting) == len(booked(month, "not_migrated_back"))
    export = month.operations.filter(pl.col("action") == "export").row(-1, named=True)
    assert (export["account"], export["at"]) == (month.export.account, month.taken_at)


def test_the_branch_is_out_of_the_exporting_accounts_reach(month):
    rows = booked(month, "no_permission")
    account = month.accounts.filter(pl.col("account") == month.export.account).row(0, named=True)
    assert rows["seller_tax_id"].unique().to_list() == [month.taxpayer_ids[1]]
    assert account["tax_id"] == month.taxpayer_ids[0]


def test_an_export_that_was_cut_off_lost_its_oldest_rows_and_its_totals_say_so(month):
    cut = booked(month, "export_truncated")
    assert cut["issued_at"].max() <= month.platform["issued_at"].min()
    assert not month.control["agrees"].any()


def test_seller_and_buyer_change_places_where_invoices_are_received():
    made = world(invoices=300, seed=2, direction="received", causes={})
    assert made.ledger["buyer_tax_id"].unique().to_list() == [made.taxpayer_ids[0]]
    assert made.ledger["seller_tax_id"].n_unique() > 10


def test_hostile_names_are_in_only_when_asked_for():
    assert not world(invoices=500).ledger["buyer_name"].str.contains("<script>").any()
    names = world(invoices=500, hostile=True).ledger["buyer_name"]
    for attack in ("<script>", "=HYPERLINK(", "{{7*7}}"):
        assert names.str.contains(attack, literal=True).any(), attack


@settings(max_examples=12, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    invoices=st.integers(1, 400),
    causes=st.dictionaries(st.sampled_from(sorted(DEFAULT)), st.floats(0, 0.05), max_size=6),
)
def test_any_month_is_made_whole_and_agrees_with_the_rules(seed, invoices, causes):
    made = world(seed=seed, invoices=invoices, causes=causes, backups=False)
    for table in ("ledger", "platform", "sync_log", "accounts", "notices", "operations", "substitute", "tickets"):
        assert dict(getattr(made, table).schema) == schema.dtypes(table), table
    found = reconcile(made.ledger, made.platform).select(
        "ledger_row", "platform_row", pl.col("outcome").cast(pl.String)
    )
    true = made.truth.select("ledger_row", "platform_row", "outcome")
    assert found.sort("ledger_row", "platform_row").equals(true.sort("ledger_row", "platform_row"))


@pytest.mark.parametrize(
    ("asked", "sentence"),
    [
        ({"causes": {"outrage": 0.1}}, "Unknown cause 'outrage'"),
        ({"month": "May"}, "'May' is not a month"),
        ({"invoices": 0}, "At least one invoice"),
        ({"causes": {"lost": 2.0}}, "a number from 0 to 1"),
        ({"format": "docx"}, "'docx' is not a format"),
        ({"arrivals": "guessed"}, "'guessed' tells no arrivals"),
    ],
)
def test_what_cannot_be_made_is_refused_in_one_sentence(tmp_path, asked, sentence):
    with pytest.raises(RequestError, match=sentence):
        simulate(tmp_path / "e", **asked)


def test_a_folder_with_something_in_it_is_left_alone(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(RequestError, match="is not empty"):
        simulate(tmp_path)
    assert files(tmp_path) == ["notes.txt"]


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["xlsx", "csv", "parquet"])
def test_the_same_arguments_give_the_same_bytes(tmp_path, kind):
    for name in ("first", "second"):
        simulate(tmp_path / name / "e", invoices=400, seed=5, format=kind)
    first, second = tmp_path / "first", tmp_path / "second"
    assert files(first) == files(second)
    assert [name for name in files(first) if not filecmp.cmp(first / name, second / name, shallow=False)] == []


def test_another_seed_gives_another_month():
    assert not world(invoices=100, seed=1).ledger.equals(world(invoices=100, seed=2).ledger)


def test_the_truth_lies_beside_the_engagement_and_not_in_it(tmp_path):
    truth = simulate(tmp_path / "acme", invoices=200)
    assert pl.read_parquet(tmp_path / "acme.truth.parquet").equals(truth)
    assert not [name for name in files(tmp_path / "acme") if "truth" in name or "later" in name]


@pytest.mark.slow
def test_the_export_has_the_shape_of_the_real_one(tmp_path):
    simulate(tmp_path / "e", invoices=300)
    book = CalamineWorkbook.from_path(next((tmp_path / "e" / "platform").iterdir()))
    assert book.sheet_names == ["发票基础信息", "信息汇总表", "建筑服务"]
    rows = book.get_sheet_by_name("发票基础信息").to_python()
    assert rows[0] == [
        *(
            "序号",
            "发票代码",
            "发票号码",
            "数电发票号码",
            "销方识别号",
            "销方名称",
            "购方识别号",
            "购买方名称",
            "开票日期",
        ),
        *(
            "金额",
            "税额",
            "价税合计",
            "发票来源",
            "发票票种",
            "发票状态",
            "是否正数发票",
            "发票风险等级",
            "开票人",
            "备注",
        ),
    ]
    old = next(row for row in rows[1:] if row[12] == "增值税发票管理系统")
    assert old[3] == "--"
    assert isinstance(old[8], str)
    assert len(old[8]) == len("2024-12-31 15:39:19")
    assert isinstance(old[9], float)
    assert rows[-1][0] == "合计行"
    assert [at for at, value in enumerate(rows[-1]) if value != ""] == [0, 9, 10]
    lines = book.get_sheet_by_name("信息汇总表").to_python()
    assert len(lines[0]) == 27
    assert len(lines) > len(rows) - 1
    special = book.get_sheet_by_name("建筑服务").to_python()
    assert special[0][:9] == rows[0][:9]
    known, business = {row[3]: row for row in rows}, lines[0].index("特定业务类型")
    assert all(row[:9][1:] == known[row[3]][:9][1:] for row in special[1:])
    assert {row[3] for row in special[1:]} == {row[3] for row in lines if row[business] == "建筑服务"}
    assert not [sheet for sheet in book.sheet_names if "入库时间" in book.get_sheet_by_name(sheet).to_python()[0]]


@pytest.mark.parametrize(
    ("arrivals", "told"),
    [
        ("log", (True, False, 0)),
        ("exports", (False, False, 1)),
        ("platform", (True, True, 0)),
        ("none", (False, False, 0)),
    ],
)
@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_arrivals_stand_where_they_are_asked_for(tmp_path, kind, arrivals, told):
    logged, timed, earlier = told
    simulate(tmp_path / "e", invoices=60, arrivals=arrivals, format=kind, backups=False)
    engagement = open_engagement(tmp_path / "e")
    made = world(invoices=60, arrivals=arrivals, backups=False)
    assert (engagement.table("sync_log").height > 0) == (made.sync_log.height > 0) == logged
    for platform in (engagement.table("platform"), made.platform):
        assert platform["visible_at"].is_not_null().all() if timed else platform["visible_at"].is_null().all()
    assert engagement.table("exports")["taken_at"].n_unique() == len(made.earlier) == earlier


def test_a_plain_engagement_is_the_ledger_and_the_exports(tmp_path):
    simulate(tmp_path / "e", invoices=60, plain=True)
    assert [path.name for path in sorted((tmp_path / "e").iterdir())] == ["audit.toml", "ledger", "platform"]
    assert sorted(open_engagement(tmp_path / "e").sources) == ["ledger", "platform"]


def test_csv_comes_in_the_encodings_that_are_met(tmp_path):
    simulate(tmp_path / "e", invoices=200, format="csv")
    ledger = next((tmp_path / "e" / "ledger").iterdir()).read_bytes()
    platform = next((tmp_path / "e" / "platform").iterdir()).read_bytes()
    with pytest.raises(UnicodeDecodeError):
        ledger.decode("utf-8")
    assert ledger.decode("gb18030").startswith("流水号,发票代码,发票号码")
    assert platform.startswith(b"\xef\xbb\xbf")


def test_the_settings_say_how_the_export_was_asked_for(tmp_path):
    simulate(tmp_path / "e", invoices=200, arrivals="platform")
    content = tomllib.loads((tmp_path / "e" / "audit.toml").read_text(encoding="utf-8"))
    engagement = open_engagement(tmp_path / "e")
    assert content["engagement"]["taken_at"] == engagement.taken_at == datetime(2025, 5, 30, 20)
    assert content["export"]["account"] == engagement.export.account
    assert engagement.table("platform")["visible_at"].null_count() == 0


@pytest.mark.slow
@pytest.mark.parametrize("name", ["sample", "sample_two_exports"])
def test_the_samples_are_made_again_byte_for_byte(tmp_path, name):
    text, kept = (SAMPLE.parent / "README.md").read_text(encoding="utf-8"), SAMPLE.parent / name
    [options] = re.findall(rf"audit-kit simulate {name} ([^`]*)`", text)
    assert main(["simulate", str(tmp_path / name), *options.split()]) == 0
    assert files(tmp_path / name) == files(kept)
    assert [path for path in files(kept) if (tmp_path / name / path).read_bytes() != (kept / path).read_bytes()] == []
    truth = pl.read_parquet(tmp_path / f"{name}.truth.parquet")
    counts = dict(truth.drop_nulls("cause")["cause"].value_counts().iter_rows())
    named = set(re.findall(r"--cause (\w+)=", options)) or DEFAULT.keys()
    assert counts.keys() == named | {"late"}
    assert min(counts.values()) >= (3 if name == "sample" else 2)


def test_what_most_companies_bring_states_no_arrival_and_still_tells_late_from_lost():
    engagement = open_engagement(SAMPLE.parent / "sample_two_exports")
    assert engagement.table("platform")["visible_at"].null_count() == engagement.table("platform").height
    assert sorted(engagement.sources) == ["exports", "ledger", "platform"]
    work = analyse(engagement)
    assert work.stops.is_empty()
    chances = dict(work.findings.group_by("cause").agg(pl.col("probability_late").mean()).iter_rows())
    assert work.observations["since"].drop_nulls().gt(0).any()
    assert chances["late"] > 0.9
    assert chances["lost"] < 0.1
    assert chances["outage"] < 0.1


@pytest.mark.parametrize(("name", "most"), [("sample", 2_000_000), ("sample_two_exports", 300_000)])
def test_the_samples_are_small_and_marked(name, most):
    kept = SAMPLE.parent / name
    assert sum((kept / path).stat().st_size for path in files(kept)) < most
    assert "synthetic" in (kept / "audit.toml").read_text(encoding="utf-8").splitlines()[0]
    assert "made up" in (SAMPLE.parent / "README.md").read_text(encoding="utf-8")


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["xlsx", "csv", "parquet"])
def test_reconciling_through_the_real_loaders_finds_the_truth(tmp_path, kind):
    """20,000 invoices: recall and precision as the project promises them."""
    truth = simulate(tmp_path / "e", invoices=20_000, seed=11, format=kind, backups=False)
    engagement = open_engagement(tmp_path / "e")
    found = reconcile(engagement.table("ledger"), engagement.table("platform"))
    assert found["ledger_row"].drop_nulls().to_list() == list(range(len(engagement.table("ledger"))))
    pairs = truth.drop_nulls("ledger_row").join(found.drop_nulls("ledger_row"), on="ledger_row", suffix="_found")
    pairs = pairs.with_columns(pl.col("outcome_found").cast(pl.String))
    right = pairs["outcome"] == pairs["outcome_found"]
    right &= pairs["platform_row"].eq_missing(pairs["platform_row_found"])
    for outcome, floor in {
        "matched": 0.999,
        "conflict": 0.999,
        "duplicate": 0.999,
        "missing": 0.999,
        "matched_cleaned": 0.99,
        "mistyped": 0.98,
    }.items():
        recall = right.filter(pairs["outcome"] == outcome).mean()
        precision = right.filter(pairs["outcome_found"] == outcome).mean()
        assert recall >= floor, (outcome, recall)
        assert precision >= (0.99 if outcome == "matched_cleaned" else 0.999), (outcome, precision)
    unclear = pairs.filter(pl.col("outcome") == "ambiguous")
    assert (unclear["outcome_found"] == "ambiguous").all()


def test_earlier_exports_list_less_and_are_named_with_their_times(tmp_path):
    made = world(invoices=800, seed=4, exports=3)
    counts = [len(rows) for rows in made.earlier.values()]
    assert counts == sorted(counts)
    assert counts[-1] < len(made.platform)
    assert list(made.earlier) == [made.taken_at - timedelta(days=days) for days in (3, 2, 1)]
    simulate(tmp_path / "e", invoices=800, seed=4, exports=3, format="csv")
    engagement = open_engagement(tmp_path / "e")
    read = engagement.table("exports").group_by("taken_at").len().sort("taken_at")
    assert read.rows() == list(zip(made.earlier, counts, strict=True))
    assert len(engagement.table("platform")) == len(made.platform)


def test_hostile_names_stand_in_workbooks_as_text(tmp_path):
    simulate(tmp_path / "e", invoices=400, hostile=True, backups=False)
    for folder in ("ledger", "platform"):
        sheets = openpyxl.load_workbook(next((tmp_path / "e" / folder).iterdir())).worksheets
        cells = [cell for sheet in sheets for row in sheet.iter_rows() for cell in row]
        assert any(str(cell.value).startswith("=HYPERLINK(") for cell in cells)
        assert not [cell.coordinate for cell in cells if cell.hyperlink]
        parts = zipfile.ZipFile(next((tmp_path / "e" / folder).iterdir()))
        assert not [name for name in parts.namelist() if b"<f>" in parts.read(name)]


@pytest.mark.slow
def test_a_large_month_is_made_whole(tmp_path):
    truth = simulate(tmp_path / "e", invoices=200_000, format="parquet")
    assert truth["ledger_row"].max() >= 200_000
