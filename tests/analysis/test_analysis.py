"""An engagement is worked up once: kept whole, read again as it was, computed anew where it is damaged."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from datetime import datetime, timedelta
from operator import attrgetter
from typing import TYPE_CHECKING

import polars as pl
import pytest
from filelock import FileLock
from polars.testing import assert_frame_equal

import audit_kit
from audit_kit.analysis import cache as kept_analyses
from audit_kit.analysis import month as months
from audit_kit.analysis import work as analysis
from audit_kit.core import schema
from audit_kit.core.errors import EngagementError, RequestError, SourceError
from audit_kit.core.identity import with_key
from audit_kit.loaders.engagement import shared_inputs
from audit_kit.loaders.engagement.engagement import open_engagement
from audit_kit.rules.sync import observations
from audit_kit.training.world.simulate import simulate
from audit_kit.views.show import vega

if TYPE_CHECKING:
    from pathlib import Path

HEAD = "数电发票号码,开票日期,金额,税额,价税合计\n"


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    target = tmp_path_factory.mktemp("made") / "engagement"
    simulate(target, invoices=300, seed=5, format="csv")
    return target


@pytest.fixture(scope="module")
def kept(folder, tmp_path_factory) -> Path:
    """A cache that holds the folder's analysis."""
    place = tmp_path_factory.mktemp("kept") / "cache"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AUDIT_KIT_CACHE", str(place))
        analysis.analyse(open_engagement(folder))
    return place


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch) -> Path:
    place = tmp_path / "cache"
    monkeypatch.setenv("AUDIT_KIT_CACHE", str(place))
    return place


@pytest.fixture
def whole(folder, kept, cache) -> analysis.Analysis:
    """The folder's analysis, from a copy of that cache."""
    shutil.copytree(kept, cache)
    return analysis.analyse(open_engagement(folder))


def frames(found: analysis.Analysis) -> dict[str, pl.DataFrame]:
    return {name: attrgetter(name)(found) for name in kept_analyses.NAMES}


def assert_same(one: analysis.Analysis, other: analysis.Analysis) -> None:
    assert (one.taken_at, one.export, one.lang) == (other.taken_at, other.export, other.lang)
    for name, frame in frames(one).items():
        assert_frame_equal(frame, frames(other)[name])


def write(target: Path, **files: str) -> Path:
    target.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (target / f"{name}.csv").write_text(text, encoding="utf-8")
    return target


def line(number: int, day: str, gross: str = "106.00") -> str:
    return f"2511200000{number:010d},{day} 10:00:00,{float(gross) - 6:.2f},6.00,{gross}\n"


def test_everything_is_there_and_has_its_shape(folder):
    steps = []
    found = analysis.analyse(open_engagement(folder), progress=steps.append)
    assert steps == ["reading", "matching", "delays", "backups", "diagnosis", "response"]
    booked = found.matches.filter(pl.col("ledger_row").is_not_null())
    assert booked["ledger_row"].to_list() == list(range(found.ledger.height))
    for frame, table in (
        (found.findings, "findings"),
        (found.backup_findings, "findings"),
        (found.response_findings, "findings"),
        (found.matches, "matches"),
    ):
        assert {name: frame.schema[name] for name in schema.dtypes(table)} == schema.dtypes(table)
    assert set(found.findings["area"].cast(pl.String)) <= {"missing", "sync"}
    assert set(found.backup_findings["area"].cast(pl.String)) == {"backup"}
    assert found.files["table"].n_unique() > 10
    assert found.files.filter(pl.col("table") == "ledger")["rows_kept"].sum() == found.ledger.height


def test_it_is_computed_once_and_then_read(folder, whole, monkeypatch):
    monkeypatch.setattr(analysis, "_compute", lambda *_: pytest.fail("computed again"))
    engagement = open_engagement(folder)
    assert_same(analysis.analyse(engagement), whole)
    assert engagement._readings == {}


def test_a_language_is_an_entry_of_its_own(folder, whole, cache):
    english = analysis.analyse(open_engagement(folder), lang="en")
    assert len(list(cache.glob("*/manifest.json"))) == 2
    assert whole.findings["next_step"][0] != english.findings["next_step"][0]
    with pytest.raises(RequestError, match="'fr'"):
        analysis.analyse(open_engagement(folder), lang="fr")


def test_another_input_is_another_entry(tmp_path, cache):
    target = write(tmp_path / "e", ledger=HEAD + line(1, "2025-05-03"), platform=HEAD + line(1, "2025-05-03"))
    assert analysis.analyse(open_engagement(target)).findings.is_empty()
    write(target, ledger=HEAD + line(1, "2025-05-03") + line(2, "2025-05-03"))
    assert analysis.analyse(open_engagement(target)).findings.height == 1
    assert len(list(cache.glob("*/manifest.json"))) == 2


def truncated(entry: Path) -> None:
    file = entry / "matches.parquet"
    file.write_bytes(file.read_bytes()[:100])


def altered(entry: Path) -> None:
    file = entry / "findings.parquet"
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)


def lacking(entry: Path) -> None:
    (entry / "ledger.parquet").unlink()


def not_json(entry: Path) -> None:
    (entry / "manifest.json").write_text("{", encoding="utf-8")


def older_shape(entry: Path) -> None:
    _, _, kept = (entry / "manifest.json").read_text(encoding="utf-8").partition("\n")
    (entry / "manifest.json").write_text(kept, encoding="utf-8")


def another_time(entry: Path) -> None:
    text = (entry / "manifest.json").read_text(encoding="utf-8")
    (entry / "manifest.json").write_text(text.replace('"taken_at": "2', '"taken_at": "1', 1), encoding="utf-8")


def without_a_sum(entry: Path) -> None:
    altered(entry)
    text = (entry / "manifest.json").read_text(encoding="utf-8")
    (entry / "manifest.json").write_text(text.replace('"findings.parquet"', '"x"'), encoding="utf-8")


@pytest.mark.slow
@pytest.mark.parametrize("damage", [truncated, altered, lacking, not_json, older_shape, another_time, without_a_sum])
def test_a_damaged_entry_is_computed_again(folder, whole, cache, damage):
    (entry,) = (path.parent for path in cache.glob("*/manifest.json"))
    time.sleep(0.01)
    damage(entry)
    assert_same(analysis.analyse(open_engagement(folder)), whole)
    assert kept_analyses.load(entry, open_engagement(folder), "zh") is not None


def test_an_entry_is_written_whole_or_not_at_all(folder, cache, monkeypatch):
    real = pl.DataFrame.write_parquet
    written = []

    def full_disk(self, file, **options):
        written.append(file)
        if len(written) > 3:
            raise OSError(28, "No space left on device")
        return real(self, file, **options)

    monkeypatch.setattr(pl.DataFrame, "write_parquet", full_disk)
    assert analysis.analyse(open_engagement(folder)).findings.height > 0
    assert [path.name for path in cache.iterdir() if path.suffix != ".lock"] == []


def test_a_cache_that_cannot_be_written_hinders_nobody(folder, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("not a folder")
    monkeypatch.setenv("AUDIT_KIT_CACHE", str(tmp_path / "file" / "cache"))
    assert analysis.analyse(open_engagement(folder)).findings.height > 0


def test_nothing_is_written_into_the_engagement(folder):
    before = sorted((str(path), path.stat().st_mtime_ns) for path in folder.rglob("*"))
    analysis.analyse(open_engagement(folder))
    assert sorted((str(path), path.stat().st_mtime_ns) for path in folder.rglob("*")) == before


@pytest.mark.slow
def test_two_processes_at_once_keep_one_entry(folder, cache):
    program = (
        "import sys\nfrom audit_kit.analysis.work import analyse\n"
        "from audit_kit.loaders.engagement.engagement import open_engagement\n"
        "found = analyse(open_engagement(sys.argv[1]), progress=lambda step: print(step, file=sys.stderr))\n"
        "print(found.findings.height)\n"
    )
    command = [sys.executable, "-c", program, str(folder)]
    runs = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    said = [run.communicate() for run in runs]
    assert [run.returncode for run in runs] == [0, 0], said
    assert said[0][0] == said[1][0]
    assert sum("matching" in error for _, error in said) == 1
    assert len(list(cache.glob("*/manifest.json"))) == 1
    assert not list(cache.glob("new-*"))


def test_the_cache_stays_within_its_bounds(tmp_path, cache, monkeypatch):
    monkeypatch.setattr(kept_analyses, "CACHE_ENTRIES", 2)
    for number in range(4):
        row = line(number + 1, "2025-05-03")
        target = write(tmp_path / f"e{number}", ledger=HEAD + row, platform=HEAD + row)
        analysis.analyse(open_engagement(target))
        time.sleep(0.02)
    assert len(list(cache.glob("*/manifest.json"))) == 2
    monkeypatch.setattr(kept_analyses, "CACHE_BYTES", 1)
    analysis.analyse(open_engagement(write(tmp_path / "last", ledger=HEAD + row + row, platform=HEAD + row)))
    assert len(list(cache.glob("*/manifest.json"))) == 1


def test_a_month_is_its_own_rows_and_earlier_ones_still_missing(tmp_path):
    ledger = [
        line(1, "2025-04-03"),
        line(2, "2025-04-04"),
        line(3, "2025-05-05"),
        line(4, "2025-05-06"),
        line(5, "2025-06-01"),
    ]
    platform = [line(5, "2025-06-01"), line(9, "2025-05-07"), line(1, "2025-04-03"), line(3, "2025-05-05", "107.00")]
    target = write(tmp_path / "e", ledger=HEAD + "".join(ledger), platform=HEAD + "".join(platform))
    whole = analysis.analyse(open_engagement(target))
    may = months.month(whole, "2025-05")
    assert may.ledger["digital_number"].str.slice(-1).to_list() == ["2", "3", "4"]
    assert may.platform["digital_number"].str.slice(-1).to_list() == ["9", "3"]
    assert may.matches.select(pl.col("outcome").cast(pl.String), "ledger_row", "platform_row").rows() == [
        ("missing", 0, None),
        ("conflict", 1, 1),
        ("missing", 2, None),
        ("unbooked", None, 0),
    ]
    assert may.findings.filter(pl.col("ledger_row") == 1)["cause"].to_list() == ["amount_conflict"]
    assert may.findings.filter(pl.col("ledger_row").is_null())["platform_row"].to_list() == [0]
    assert may.observations["ledger_row"].to_list() == [0, 1, 2]


def test_positions_hold_in_every_month(whole):
    for wanted in whole.ledger["issued_at"].drop_nulls().dt.strftime("%Y-%m").unique().to_list():
        part = months.month(whole, wanted)
        booked = part.matches.filter(pl.col("ledger_row").is_not_null())
        assert booked["ledger_row"].sort().to_list() == list(range(part.ledger.height))
        listed = pl.concat([part.matches["platform_row"], part.matches["candidates"].explode()]).drop_nulls()
        assert sorted(set(listed)) == list(range(part.platform.height))
        found = part.findings.filter(pl.col("ledger_row").is_not_null())
        rows = part.ledger[found["ledger_row"]]
        assert rows["source_row"].to_list() == found["source_row"].to_list()
        assert set(found["finding_id"]) <= set(whole.findings["finding_id"])
        for others in (part.backup_findings, part.response_findings):
            named = others.filter(pl.col("ledger_row").is_not_null())
            keys = with_key(part.ledger)["invoice_key"][named["ledger_row"]]
            assert keys.to_list() == named["invoice_key"].to_list()


UNDATED = ["", " ", "--", "无", "/"]


def undated_rows(count: int, *, date: str) -> str:
    """Ledger rows, five of each kind: two kinds missing under a number, one listed, a draft, a bare sum."""
    lines = []
    for i in range(count):
        day = date or UNDATED[i % len(UNDATED)]
        lines += [
            f"2511200000010000{2 * i + 1:04d},,,{day},1,0,{i + 1}.00,正常",
            f",011002500111,2000{i:04d},{day},1,0,{i + 1}.50,正常",
            f"2511200000030000{2 * i + 1:04d},,,{day},1,0,{i + 1}.25,正常",
            f",,,{day},1,0,{i + 1}.75,未开具",
            f"期初余额,,,,1,0,{i + 1}.00,",
        ]
    return "\n".join(lines) + "\n"


def undated_engagement(folder: Path, date: str, *, count: int = 7) -> Path:
    """An engagement of two ordinary months beside rows whose date is not stated, or `date`."""
    head = "数电发票号码,发票代码,发票号码,开票日期,金额,税额,价税合计,发票状态\n"
    ordinary = "".join(
        f"2511200000090{month}{2 * i + 1:05d},,,2025-{month}-{i % 28 + 1:02d} 10:00:00,1,0,1.00,正常\n"
        for month in ("04", "05")
        for i in range(60)
    )
    listed = "".join(
        f"2511200000030000{2 * i + 1:04d},,,2025-05-0{i + 1} 10:00:00,1,0,{i + 1}.25,正常\n" for i in range(count)
    )
    folder.mkdir()
    (folder / "ledger.csv").write_text(head + ordinary + undated_rows(count, date=date), encoding="utf-8")
    (folder / "platform.csv").write_text(head + ordinary + listed, encoding="utf-8")
    return folder


def test_ledger_rows_without_a_date_are_found_or_missing_in_every_month(tmp_path):
    whole = analysis.analyse(open_engagement(undated_engagement(tmp_path / "甲", "")))
    aside = whole.set_aside.filter(pl.col("table") == "ledger")
    assert aside["reason"].unique().to_list() == ["without 开票日期"]
    assert aside.height == 7
    assert aside["value"].str.contains("期初余额").all()
    assert whole.ledger["issued_at"].null_count() == 28
    for one in (whole, months.month(whole, "2025-04"), months.month(whole, "2025-05")):
        gone = one.findings.filter(pl.col("ledger_row").is_not_null())
        counts = dict(gone.group_by("cause").len().iter_rows())
        assert counts == {"unexplained": 14, "not_issued": 7}
        assert gone.filter(pl.col("cause") == "unexplained")["state"].unique().to_list() == ["unknown"]
        assert gone["probability_late"].null_count() == gone.height
        missing = one.matches.filter(pl.col("outcome") == "missing")["ledger_row"]
        listed = one.matches.filter(pl.col("platform_row").is_not_null() & pl.col("ledger_row").is_not_null())
        yuan = one.ledger["gross"]
        assert len(missing) == one.ledger.height - listed.height == 21
        assert yuan.gather(missing).sum() == yuan.sum() - yuan.gather(listed["ledger_row"]).sum()
        assert yuan.gather(missing).sum() == 3 * 28 + 7 * (0.5 + 0.75)


def test_the_same_rows_with_a_date_are_of_its_month_alone(tmp_path):
    whole = analysis.analyse(open_engagement(undated_engagement(tmp_path / "乙", "2025-05-20 10:00:00")))
    assert not whole.ledger["issued_at"].null_count()
    assert "unexplained" not in whole.findings["cause"].to_list()
    assert not months.month(whole, "2025-04").matches.filter(pl.col("outcome") == "missing").height


def test_a_date_that_cannot_be_read_is_set_aside_with_what_stood_there(tmp_path):
    whole = analysis.analyse(open_engagement(undated_engagement(tmp_path / "丙", "32/13/2025")))
    aside = whole.set_aside.filter(pl.col("code") == "reason.no_date")
    assert aside.height == 28
    assert aside["value"].unique().to_list() == ["32/13/2025"]


@pytest.mark.parametrize("wanted", ["2025-13", "May", "25-05", "2025-5-1", "2025-00", "20255", ""])
def test_what_is_no_month_is_said(whole, wanted):
    with pytest.raises(RequestError, match="no month"):
        months.month(whole, wanted)


def test_december_ends_with_the_year(tmp_path):
    rows = line(1, "2024-12-31") + line(2, "2025-01-01")
    target = write(tmp_path / "e", ledger=HEAD + rows, platform=HEAD + rows)
    assert months.month(analysis.analyse(open_engagement(target)), "2024-12").ledger.height == 1


def test_what_is_missing_is_asked_for(tmp_path):
    target = write(tmp_path / "e", ledger=HEAD + line(1, "2025-05-03"))
    with pytest.raises(EngagementError, match="no platform is there"):
        analysis.diagnose(open_engagement(target))


def test_backups_can_be_audited_without_an_export(tmp_path):
    target = write(tmp_path / "e", ledger=HEAD + line(1, "2025-05-03"))
    target.joinpath("audit.toml").write_text(
        "[engagement]\ntaken_at = 2025-06-01T09:00:00\n[sources]\nledger = 'ledger.csv'\nbackups = 'backups.csv'\n",
        encoding="utf-8",
    )
    head = "backup_id,repo_id,job,tool,kind,data_time,started_at,finished_at,status\n"
    write(target, backups=head + "b1,r,r,tar,full,2025-05-31 02:00:00,2025-05-31 02:00:00,2025-05-31 02:05:00,ok\n")
    findings = analysis.audit_backups(open_engagement(target))
    assert findings["cause"].str.starts_with("BK").all()
    assert findings.height > 0


def test_successive_exports_reach_the_delays(tmp_path):
    first, second = datetime(2025, 5, 5, 8), datetime(2025, 5, 10, 8)
    target = write(
        tmp_path / "e",
        ledger=HEAD + line(1, "2025-05-03") + line(2, "2025-05-04"),
        p1=HEAD + line(1, "2025-05-03"),
        p2=HEAD + line(1, "2025-05-03") + line(2, "2025-05-04"),
    )
    exports = ", ".join(
        f"{{path = '{name}.csv', taken_at = {at.isoformat()}}}" for name, at in (("p1", first), ("p2", second))
    )
    target.joinpath("audit.toml").write_text(
        f"[sources]\nledger = 'ledger.csv'\nplatform = [{exports}]\n", encoding="utf-8"
    )
    seen = analysis.analyse(open_engagement(target)).observations.sort("ledger_row")
    assert seen["visible_at"].to_list() == [first, second]
    assert seen["minutes"].to_list() == [
        (first - datetime(2025, 5, 3, 10)) / timedelta(minutes=1),
        (second - datetime(2025, 5, 4, 10)) / timedelta(minutes=1),
    ]


@pytest.mark.slow
def test_a_history_is_part_of_the_key_and_must_be_one(folder, tmp_path, cache):
    history = tmp_path / "history.parquet"
    pl.DataFrame(schema=observations.HISTORY).write_parquet(history)
    analysis.analyse(open_engagement(folder), history=history)
    analysis.analyse(open_engagement(folder), history=tmp_path / "none.parquet")
    assert len(list(cache.glob("*/manifest.json"))) == 2
    history.write_bytes(b"no parquet")
    with pytest.raises(RequestError, match=r"history\.parquet"):
        analysis.analyse(open_engagement(folder), history=history)


def test_reading_one_file_gives_its_rows(tmp_path):
    write(tmp_path, book=HEAD + line(1, "2025-05-03"))
    assert audit_kit.read(tmp_path / "book.csv", table="ledger")["gross"].to_list() == [
        pl.Series(["106.00"]).cast(pl.Decimal(18, 2))[0]
    ]
    with pytest.raises(SourceError):
        audit_kit.read(tmp_path / "nowhere.csv", table="ledger")


def test_the_door_opens_every_name_and_no_other():
    assert set(audit_kit.__all__) <= set(dir(audit_kit))
    for name in audit_kit.__all__:
        assert getattr(audit_kit, name) is not None
    assert audit_kit.__version__.count(".") == 2
    with pytest.raises(AttributeError, match="nothing"):
        _ = audit_kit.nothing


def test_the_door_is_light():
    program = "import sys, audit_kit; print('polars' in sys.modules)"
    said = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert said == "False\n"


def test_an_input_that_changes_while_it_is_read_stops_the_work_and_keeps_nothing(tmp_path, cache, monkeypatch):
    row = line(1, "2025-05-03")
    target = write(tmp_path / "e", ledger=HEAD + row, platform=HEAD + row)
    book = target / "ledger.csv"
    before, real = book.stat(), analysis._compute

    def meanwhile(*given):
        found = real(*given)
        book.write_text(HEAD + line(2, "2025-05-03"), encoding="utf-8")
        os.utime(book, ns=(before.st_atime_ns, before.st_mtime_ns))
        assert (book.stat().st_size, book.stat().st_mtime_ns) == (before.st_size, before.st_mtime_ns)
        return found

    monkeypatch.setattr(analysis, "_compute", meanwhile)
    with pytest.raises(EngagementError, match=r"ledger\.csv changed while"):
        analysis.analyse(open_engagement(target))
    assert list(cache.glob("*/manifest.json")) == []
    monkeypatch.setattr(analysis, "_compute", real)
    assert analysis.analyse(open_engagement(target)).ledger["digital_number"].item().endswith("2")


def test_a_table_read_before_the_fingerprint_is_of_it(tmp_path):
    row = line(1, "2025-05-03")
    target = write(tmp_path / "e", ledger=HEAD + row, platform=HEAD + row)
    engagement = open_engagement(target)
    assert engagement.table("ledger").height == 1
    write(target, ledger=HEAD + row + line(2, "2025-05-03"))
    with pytest.raises(EngagementError, match=r"ledger\.csv changed while"):
        analysis.analyse(engagement)


def test_another_process_of_the_report_takes_the_same_truth_or_stops(tmp_path):
    row = line(1, "2025-05-03")
    target = write(tmp_path / "e", ledger=HEAD + row, platform=HEAD + row)
    with shared_inputs.shared(tmp_path / "truth"):
        analysis.analyse(open_engagement(target))
        analysis.analyse(open_engagement(target))
        write(target, ledger=HEAD + row + line(2, "2025-05-03"))
        with pytest.raises(EngagementError, match="changed while the report was made"):
            analysis.analyse(open_engagement(target))
    assert analysis.analyse(open_engagement(target)).findings.height == 1


def test_what_dead_runs_left_in_the_cache_is_cleared_and_what_others_write_stays(folder, cache):
    for name in ("new-aa", "new-bb"):
        (cache / name).mkdir(parents=True)
        (cache / f"{name}.lock").touch()
    with FileLock(cache / "new-bb.lock"):
        analysis.analyse(open_engagement(folder))
    assert [path.name for path in cache.glob("new-*") if path.is_dir()] == ["new-bb"]


@pytest.mark.slow
def test_a_full_disk_in_the_cache_stops_nothing(folder, cache):
    program = (
        "import resource, sys\nfrom audit_kit.analysis.work import analyse\n"
        "from audit_kit.loaders.engagement.engagement import open_engagement\n"
        "def full(step): step != 'diagnosis' or resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, -1))\n"
        "def free(step): resource.setrlimit(resource.RLIMIT_FSIZE, (-1, -1)) if step == 'reading' else full(step)\n"
        "for lang in ('zh', 'en'):\n"
        "    print(analyse(open_engagement(sys.argv[1]), lang=lang, progress=free).findings.height)\n"
    )
    done = subprocess.run([sys.executable, "-c", program, str(folder)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.split()) == 2
    assert done.stderr.count("无法在此保存") == 1
    assert [path.name for path in cache.iterdir() if path.suffix != ".lock"] == []


@pytest.mark.slow
def test_the_cache_is_its_owners_alone_and_a_changed_script_is_made_anew(kept, tmp_path, monkeypatch):
    (entry,) = (path.parent for path in kept.glob("*/manifest.json"))
    assert entry.stat().st_mode & 0o077 == 0
    monkeypatch.setenv("AUDIT_KIT_CACHE", str(tmp_path / "new"))
    script = vega.vega()
    (script_file,) = (tmp_path / "new").glob("vega-*.js")
    assert (tmp_path / "new").stat().st_mode & 0o077 == 0
    for damaged in (script_file.read_bytes()[:-9], b"alert(1)", script_file.read_bytes().replace(b"vega", b"Vega", 1)):
        script_file.write_bytes(damaged)
        assert vega.vega() == script
