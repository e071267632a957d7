"""audit.toml and the folder around it: what is understood, what is refused, and that nothing leads out of it."""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import sqlite3
import traceback
from dataclasses import replace
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path

import polars as pl
import pytest

from audit_kit.core import hashing, policy, schema
from audit_kit.core.errors import AuditError, EngagementError, SourceError
from audit_kit.loaders.engagement import inputs, permits
from audit_kit.loaders.engagement.engagement import open_engagement
from audit_kit.loaders.engagement.exports import settle_export
from audit_kit.loaders.engagement.settings import load
from audit_kit.loaders.tables import pipeline
from audit_kit.training.world.einvoice_files import Paper, xml

HEAD = "数电发票号码,开票日期,销方识别号,购方识别号,金额,税额,价税合计,发票状态\n"
FULL = """
[engagement]
name = "甲公司 2025 年审计"
taxpayer_id = "91110108MA01ABCD2X"
taxpayer_name = "北京甲科技有限公司"
direction = "received"
taken_at = 2025-06-01T09:30:00

[export]
account = "kpy01"
period_start = 2025-05-01
period_end = 2025-06-01T00:00:00+08:00
status_filter = ["正常"]
later_taken_at = 2025-06-08T09:30:00

[sources]
ledger = ["books/a.csv", "books/b.csv"]
platform = "exports/*.csv"

[headers]
"票号" = "digital_number"

[policy.sync]
target_hours = 48

[policy.backup]
full = "0 3 * * *"
incremental = ""
rpo_minutes = 90
paths = ["/srv/invoices"]

[policy.metrics]
cpu = 0.9

[policy.response]
first_reply_hours = { it = 4 }
day_starts = 8.5

[plan]
roles = [{ name = "负责人", deputy = "" }]

[calendar]
filing_deadlines = [2025-06-16]

[[training_log]]
date = 2025-03-01
"""


def line(number: int, day: int = 3) -> str:
    parties = "91110108MA01ABCD2X,91110105MA00XYQW3Q"
    return f"2511200000{number:010d},2025-05-{day:02d} 10:00:00,{parties},100.00,6.00,106.00,正常\n"


def book(*numbers: int, **kwargs) -> str:
    return HEAD + "".join(line(number, **kwargs) for number in numbers)


def write(folder: Path, files: dict[str, str | bytes]) -> Path:
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return folder


def settings_of(folder: Path, toml: str):
    return open_engagement(write(folder, {"audit.toml": toml, "ledger.csv": book(1)}))


def refused(folder: Path, toml: str) -> str:
    with pytest.raises(EngagementError) as caught:
        settings_of(folder, toml)
    return str(caught.value)


def test_a_full_audit_toml_is_understood(tmp_path):
    files = {"books/a.csv": book(1), "books/b.csv": book(2), "exports/x.csv": book(1, 2), "audit.toml": FULL}
    engagement = open_engagement(write(tmp_path, files))
    assert engagement.name == "甲公司 2025 年审计"
    assert engagement.taxpayer_ids == ("91110108MA01ABCD2X",)
    assert (engagement.settings.taxpayer_name, engagement.direction) == ("北京甲科技有限公司", "received")
    assert engagement.taken_at == datetime(2025, 6, 1, 9, 30)
    assert engagement.export == policy.Export(
        account="kpy01",
        period_start=datetime(2025, 5, 1),
        period_end=datetime(2025, 6, 1),
        status_filter=("正常",),
        later_taken_at=datetime(2025, 6, 8, 9, 30),
    )
    assert engagement.settings.headings == {"票号": "digital_number"}
    assert engagement.policy.sync == policy.SyncPolicy(target_hours=48)
    assert (engagement.policy.backup.full, engagement.policy.backup.incremental) == ("0 3 * * *", None)
    assert engagement.policy.backup.paths == ("/srv/invoices",)
    assert engagement.policy.metrics == {"cpu": 0.9}
    assert (engagement.policy.response.day_starts, engagement.policy.response.day_ends) == (8.5, 18)
    assert engagement.policy.response.first_reply_hours == {
        "support": 24.0,
        "it": 4.0,
        "management": 24.0,
        "tax_bureau": 72.0,
    }
    assert engagement.settings.plan.roles == (policy.Role(name="负责人"),)
    assert engagement.settings.calendar.filing_deadlines == (date(2025, 6, 16),)
    assert engagement.settings.training.log == (policy.TrainingEntry(date=date(2025, 3, 1)),)
    assert engagement.table("ledger")["source_file"].to_list() == ["books/a.csv", "books/b.csv"]
    assert engagement.table("platform").height == 2


def test_a_folder_without_audit_toml_is_an_engagement_too(tmp_path):
    folder = write(
        tmp_path / "甲公司",
        {
            "企业台账.csv": book(1, 2),
            "全量发票查询导出结果.csv": book(1),
            "同步日志.csv": "发票号码,事件,时间\n25112000000000000001,入库,2025-05-03 11:00:00\n",
            "电子原件/a.xml": b"<EInvoice/>",
            "notes.docx": b"PK",
        },
    )
    engagement = open_engagement(folder)
    assert engagement.name == "甲公司"
    assert {table for table in schema.INPUTS if engagement.has(table)} == {
        "ledger",
        "platform",
        "sync_log",
        "invoice_files",
    }
    assert [(file.file, file.kind) for file in engagement.unused] == [("notes.docx", "other")]
    assert engagement.table("ledger").height == 2
    assert engagement.table("sync_log")["event"].to_list() == ["visible"]
    assert engagement.reading("invoice_files").set_aside.height == 1
    assert engagement.table("accounts").equals(schema.empty("accounts"))


def test_files_whose_names_tell_nothing_are_told_by_their_headers(tmp_path):
    files = {
        "a.csv": "账号,角色,权限,状态,有效期起,有效期止\nkpy01,开票员,发票业务,正常,2025-01-01,\n",
        "b.csv": "开始时间,结束时间,类型,范围,标题\n2025-05-01 00:00:00,,维护,全部,升级\n",
        "ledger.csv": book(1),
    }
    engagement = open_engagement(write(tmp_path, files))
    assert engagement.has("accounts")
    assert engagement.has("notices")


@pytest.mark.slow
def test_the_sample_is_understood_without_its_audit_toml(tmp_path):
    sample = Path(__file__).parents[2] / "data" / "sample"
    shutil.copytree(sample, tmp_path / "sample")
    (tmp_path / "sample" / "audit.toml").unlink()
    told, found = open_engagement(sample), open_engagement(tmp_path / "sample")
    assert found.unused == ()
    for table in schema.INPUTS:
        assert found.has(table) == told.has(table), table
        assert found.table(table).drop("mtime", strict=False).equals(told.table(table).drop("mtime", strict=False)), (
            table
        )


@pytest.mark.parametrize(
    ("toml", "parts"),
    [
        ("[sources]\nledgr = 'a.csv'", ["audit.toml", "[sources]", "ledgr", "'a.csv'", "ledger"]),
        ("[policy.sync]\ntarget_hour = 24", ["[policy.sync]", "target_hour = 24", "target_hours"]),
        ("[policy.backups]\nfull = '0 2 * * *'", ["policy.backups", "backup"]),
        ("[engagment]\nname = 'x'", ["engagment", "engagement"]),
        ("[export]\ntaken_at = 2025-06-01T09:00:00", ["[export] taken_at", "[engagement]"]),
        ("taken_at = 2025-06-01", ["taken_at", "[engagement]"]),
        ("[engagement]\ndirection = 'out'", ["direction", "'out'", "issued, received"]),
        ("[engagement]\ntaken_at = 'yesterday'", ["taken_at", "'yesterday'", "2025-06-01T09:30:00"]),
        ("[engagement]\ntaxpayer_id = 91110108", ["taxpayer_id", "91110108", "list of texts"]),
        ("[engagement]\nname = ''", ["name", "text"]),
        ("[policy.sync]\ntarget_share = 99", ["target_share = 99", "between 0 and 1"]),
        ("[policy.sync]\ntarget_hours = -1", ["target_hours = -1", "0 or more"]),
        ("[policy.sync]\ntarget_hours = true", ["target_hours = True", "number"]),
        ("[policy.backup]\nfull = 'every day'", ["'every day'", "cron"]),
        ("[policy.backup]\ntz = 'Beijing'", ["'Beijing'", "Asia/Shanghai"]),
        ("[policy.backup]\ncopies = 1.5", ["copies = 1.5", "whole number"]),
        ("[policy.backup]\nencrypted = 'yes'", ["encrypted = 'yes'", "true or false"]),
        ("[policy.metrics]\ncpus = 0.9", ["cpus = 0.9", "cpu"]),
        ("[policy.response]\nfirst_reply_hours = 4", ["first_reply_hours", "section"]),
        ("[policy.response.first_reply_hours]\nItt = 4", ["Itt = 4", "it"]),
        ("[policy.response]\nday_ends = 25", ["day_ends = 25", "hour"]),
        ("[policy.response]\nday_starts = 9\nday_ends = 8", ["day_ends = 8", "later than day_starts"]),
        ("[policy]\nsync = 3", ["sync = 3", "[policy.sync]"]),
        ("[headers]\n'票号' = 'invoice_nummer'", ["票号", "'invoice_nummer'", "invoice_number"]),
        ("[sources]\nledger = 5", ["ledger = 5", "path"]),
        ("[sources]\nledger = {path = 'a.csv', zone = 'UTC'}", ["zone = …", "known are path"]),
        ("[sources]\nledger = {uri = 'sqlite:///x'}", ["ledger", "query"]),
        ("[sources]\nledger = {path = 'a.csv', tz = 'Mars'}", ["tz = 'Mars'", "time zone"]),
        ("[export]\nperiod_start = 2025-06-01\nperiod_end = 2025-05-01", ["period_end", "later than period_start"]),
        ("[plan]\nrole = []", ["role", "roles"]),
        ("[engagement\nname = 1", ["audit.toml cannot be read", "line 1"]),
        ("engagement = 3", ["engagement = 3", "[engagement]"]),
    ],
)
def test_a_mistake_is_one_sentence_with_file_key_value_and_the_likely_right_key(tmp_path, toml, parts):
    sentence = refused(tmp_path, toml)
    assert [part for part in parts if part not in sentence] == []
    assert "\n" not in sentence.strip()
    assert len(sentence) < 400


SECTIONS = {
    "engagement": ("name", "taxpayer_id", "taxpayer_name", "branches", "former_ids", "direction", "taken_at"),
    "export": ("account", "period_start", "period_end", "status_filter", "later_taken_at", "period_stated"),
    "sources": ("ledger", "ledger.path", "ledger.tz", "ledger.taken_at", "ledger.uri", "platform"),
    "headers": ("x",),
    "policy": ("sync", "sync.target_hours", "backup.full", "backup.copies", "metrics.cpu", "response"),
    "plan": ("roles", "priorities", "resources", "contacts", "drills", "updated"),
    "calendar": ("filing_deadlines", "month_end", "year_end"),
    "training": ("every_days", "last", "log"),
    "training_log": ("x",),
}
VALUES = ("[]", "{}", "[[]]", "[{}]", "{ x = [] }", "-1", "inf", "nan", "true", "''", "[1, 'a']", "07:32:00")
VALUES += ("0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", "0001-01-01", "[{ name = {} }]")


def test_whatever_stands_at_a_key_is_understood_or_refused_in_one_sentence(tmp_path):
    said = set()
    for section, keys in SECTIONS.items():
        for line in [f"{section} = {value}" for value in VALUES] + [
            f"[{section}]\n{key} = {value}" for key in keys for value in VALUES
        ]:
            (tmp_path / "audit.toml").write_text(line, encoding="utf-8")
            try:
                load(tmp_path)
            except EngagementError as error:
                said.add(str(error))
    assert len(said) > 400
    assert all(words.startswith("audit.toml: ") and "\n" not in words and "object" not in words for words in said)


@pytest.mark.parametrize(
    ("toml", "training"),
    [
        (
            "[[training]]\nwho = 'a'\n[[training_log]]\nwho = ['b', 'c']",
            {"log": [{"who": ("a",)}, {"who": ("b", "c")}]},
        ),
        ("[training]\nevery_days = 180\n[[training_log]]\npeople = 3", {"every_days": 180, "log": [{"people": 3}]}),
        ("[training_log]\nlast = 2025-03-01", {"last": date(2025, 3, 1)}),
        ("", {}),
    ],
)
def test_training_is_a_section_or_a_list(tmp_path, toml, training):
    log = tuple(policy.TrainingEntry(**entry) for entry in training.pop("log", ()))
    assert settings_of(tmp_path, toml).settings.training == policy.Training(**training, log=log)


PLAN = """
[plan]
roles = [{ name = "IT", person = "乙", deputy = "丙", contact = "8001", updated = 2025-01-10 }]
priorities = ["开票"]
resources = "备用终端"
contacts = { tax_bureau = "12366" }
drills = [{ name = "停机", every_days = 180, last = "2025-03-01" }]
updated = 2025-01-10

[calendar]
filing_deadlines = ["2025-06-16", 2025-07-15]
month_end = { start = 2025-05-26, end = 2025-06-01 }
year_end = [{ start = 2025-12-15, end = 2026-01-10 }]

[[training_log]]
date = 2025-03-01
drill = "停机"
who = ["甲", "乙"]
people = 2
score = 87.5
note = "补训一人"
"""


def test_plan_calendar_and_training_are_what_they_say(tmp_path):
    settings = settings_of(tmp_path, PLAN).settings
    assert settings.plan == policy.Plan(
        roles=(policy.Role(name="IT", person="乙", deputy="丙", contact="8001", updated=date(2025, 1, 10)),),
        priorities=("开票",),
        resources=("备用终端",),
        contacts={"tax_bureau": "12366"},
        drills=(policy.PlannedDrill(name="停机", every_days=180, last=date(2025, 3, 1)),),
        updated=date(2025, 1, 10),
    )
    assert settings.calendar == policy.Calendar(
        filing_deadlines=(date(2025, 6, 16), date(2025, 7, 15)),
        month_end=(policy.Window(start=date(2025, 5, 26), end=date(2025, 6, 1)),),
        year_end=(policy.Window(start=date(2025, 12, 15), end=date(2026, 1, 10)),),
    )
    (entry,) = settings.training.log
    assert (entry.date, entry.drill, entry.people, entry.score) == (date(2025, 3, 1), "停机", 2, 87.5)
    roles = settings_of(tmp_path, "[plan]\nroles = { lead = '甲' }").settings.plan.roles
    assert roles == (policy.Role(name="lead", person="甲"),)


@pytest.mark.parametrize(
    ("right", "wrong", "parts"),
    [
        ('priorities = ["开票"]', "priorities = 3", ["[plan] priorities = 3", "list of texts"]),
        ("priorities =", "priority =", ["[plan] priority", "did you mean priorities?"]),
        ('contacts = { tax_bureau = "12366" }', "contacts = { x = 1 }", ["[plan.contacts] x = 1", "text"]),
        ('name = "IT", ', "", ["[plan.roles 1]", "needs name"]),
        ("deputy =", "deputies =", ["[plan.roles 1] deputies", "did you mean deputy?"]),
        ("every_days = 180", "every_days = 'often'", ["[plan.drills 1] every_days = 'often'", "number"]),
        ("updated = 2025-01-10\n", "updated = 'lately'\n", ["[plan] updated = 'lately'", "2025-06-16"]),
        ("2025-07-15]", "'mid-July']", ["[calendar] filing_deadlines 2 = 'mid-July'", "date: 2025-06-16"]),
        ("filing_deadlines =", "filing_deadline =", ["filing_deadline", "did you mean filing_deadlines?"]),
        ("end = 2025-06-01", "end = 2025-05-26", ["[calendar.month_end] end = 2025-05-26", "later than start"]),
        ("month_end = {", "month_end = 3 # {", ["[calendar] month_end = 3", "section"]),
        ("year_end =", "yearly =", ["[calendar] yearly", "did you mean year_end?"]),
        ("date = 2025-03-01", "date = 'spring'", ["[training_log 1] date = 'spring'", "date: 2025-06-16"]),
        ("score = 87.5", "scores = 87.5", ["[training_log 1] scores = 87.5", "did you mean score?"]),
        ("people = 2", "people = 'two'", ["people = 'two'", "whole number"]),
        ("[[training_log]]", "[training]\nyearly = true\n[[training_log]]", ["[training] yearly = True", "known are"]),
    ],
)
def test_garbage_in_plan_calendar_and_training_is_refused(tmp_path, right, wrong, parts):
    assert right in PLAN
    sentence = refused(tmp_path, PLAN.replace(right, wrong, 1))
    assert [part for part in ("audit.toml", *parts) if part not in sentence] == []


def test_the_text_of_a_time_and_an_offset_are_beijing_time(tmp_path):
    assert settings_of(tmp_path, "[engagement]\ntaken_at = 2025-06-01T01:30:00Z").taken_at == datetime(
        2025, 6, 1, 9, 30
    )
    assert settings_of(tmp_path, "[engagement]\ntaken_at = '2025-06-01 09:30'").taken_at == datetime(2025, 6, 1, 9, 30)


def test_a_byte_order_mark_before_audit_toml_is_no_mistake(tmp_path):
    assert settings_of(tmp_path, "\ufeff[engagement]\nname = '甲'").name == "甲"


def test_an_empty_folder_and_a_missing_one_are_said(tmp_path):
    with pytest.raises(EngagementError, match="neither an audit"):
        open_engagement(tmp_path)
    with pytest.raises(EngagementError, match="no such folder"):
        open_engagement(tmp_path / "nowhere")


def test_audit_toml_itself_may_be_named(tmp_path):
    write(tmp_path, {"audit.toml": "[engagement]\nname = '甲'\n", "ledger.csv": book(1)})
    assert open_engagement(tmp_path / "audit.toml").name == "甲"


@pytest.mark.parametrize("path", ["../out.csv", "in/../../out.csv", "link.csv", "linked/*.csv", "linked/out.csv"])
def test_a_relative_path_never_leads_out(tmp_path, path):
    folder = tmp_path / "engagement"
    write(tmp_path, {"out.csv": book(1), "outside/out.csv": book(1)})
    write(folder, {"audit.toml": f"[sources]\nledger = '{path}'\n", "in/a.csv": book(1)})
    (folder / "link.csv").symlink_to(tmp_path / "out.csv")
    (folder / "linked").symlink_to(tmp_path / "outside")
    with pytest.raises(EngagementError, match="leads out of the engagement"):
        open_engagement(folder)


def test_an_absolute_path_that_is_allowed_may_lead_out(tmp_path):
    outside = write(tmp_path / "books", {"ledger 2025.csv": book(1)})
    folder = write(tmp_path / "engagement", {"audit.toml": f"[sources]\nledger = '{outside}/*.csv'\n"})
    ledger = open_engagement(folder, allow=[f"{outside}/*.csv"]).table("ledger")
    assert ledger["source_file"].to_list() == ["ledger 2025.csv"]


PASSWORD = "Geheim-77"  # noqa: S105 (what must not be shown)


@pytest.mark.parametrize(
    "toml",
    [
        "[sources.ledger]\nury = 'postgres://u:Geheim-77@h/d'\nquery = 'select 1'",
        "[sources.ledger]\nuri = 'postgres://u@h/d'\nquery = 'select 1'\npasswort = 'Geheim-77'",
        "[sources]\nledger = 'postgres://u:Geheim-77@h/d'",
        "[sources]\nledger = ['a.csv', 'postgres://u:Geheim-77@h/d']",
        "[sources]\nledger = {path = 'mysql://u:Geheim-77@h/d'}",
        "[sources]\nledger = {uri = 'nosql://u:Geheim-77@h/d', query = 'select 1'}",
        "[sources]\nledger = {uri = 'u:Geheim-77@h/d', query = 'select 1'}",
        "[sources]\nledger = {uri = 'postgres://u:Geheim-77@h:port/d', query = 'select 1'}",
        "[sources]\nledger = {uri = 'postgres://u:12/Geheim-77@h/d', query = 'select 1'}",
        "[sources]\nledger = {uri = 'postgres://u:#Geheim-77@h/d', query = 'select 1'}",
        "[sources]\nledger = {uri = 'postgres://u@h/d?password=Geheim-77', query = 'select 1'}",
        "[sources]\nledger = {uri = ['postgres://u:Geheim-77@h/d'], query = 'select 1'}",
        "[sources]\nledger = {uri = 'postgres://u:Geheim-77@h/d', query = 'select 1'}",
        "[engagement]\nurl = 'postgres://u:Geheim-77@h/d'",
        "uri = 'postgres://u:Geheim-77@h/d'",
    ],
)
def test_a_password_is_in_no_error(tmp_path, toml):
    with pytest.raises(AuditError) as caught:
        settings_of(tmp_path, toml)
    assert PASSWORD not in "".join(traceback.format_exception(caught.value))


@pytest.fixture
def config(tmp_path, monkeypatch):
    monkeypatch.setenv("AUDIT_KIT_CONFIG", str(tmp_path / "config"))
    return tmp_path / "config"


@pytest.mark.parametrize(
    ("entry", "place"),
    [
        ("'HERE/out.csv'", "HERE/out.csv"),
        ("'HERE/engagement/link.csv'", "HERE/out.csv"),
        ("'\\\\host\\share\\a.csv'", "\\\\host\\share\\a.csv"),
        ("{uri = 'sqlite://HERE/out.db', query = 'select 1'}", "HERE/out.db"),
        ("{uri = 'postgres://me:pw@db.example/x', query = 'select 1'}", "postgres://me@db.example:5432/x"),
    ],
)
def test_what_leads_out_is_used_once_it_is_allowed_and_asked_again_when_it_changes(tmp_path, config, entry, place):
    folder = write(
        tmp_path / "engagement", {"audit.toml": f"[sources]\nledger = {entry}\n".replace("HERE", str(tmp_path))}
    )
    write(tmp_path, {"out.csv": book(1), "out.db": ""})
    (folder / "link.csv").symlink_to(tmp_path / "out.csv")
    place = place.replace("HERE", str(tmp_path))
    with pytest.raises(EngagementError, match="audit-kit allow") as caught:
        open_engagement(folder)
    assert place in str(caught.value)
    ((way, allowed),) = inputs.allow(folder, [place])
    assert (way.place, allowed) == (place, True)
    assert (config / "allowed.toml").stat().st_mode & 0o077 == 0
    assert permits.asked_for(folder, [way]) == []
    assert permits.asked_for(tmp_path, [way]) == [way]
    assert permits.asked_for(folder, [replace(way, place=f"{place}2")]) != []
    assert [path.name for path in folder.iterdir() if path.name not in ("audit.toml", "link.csv")] == []
    with pytest.raises(AuditError, match="no such place"):
        inputs.allow(folder, ["elsewhere"])


def test_the_question_names_everything_and_only_yes_is_yes(tmp_path, monkeypatch):
    monkeypatch.setenv("AUDIT_KIT_LANG", "en")
    way = permits.Way(table="ledger", place="mysql://me@h:3306/\x1b[2J", user="me")
    for answer, meant in (("y\n", True), ("", False), ("n\n", False)):
        out = io.StringIO()
        assert permits.ask(tmp_path, way, source=io.StringIO(answer), out=out) is meant
        assert all(word in out.getvalue() for word in (str(tmp_path), "ledger", "mysql://me@h:3306", "as me", "[y/N]"))
        assert "\x1b" not in out.getvalue()


def test_only_our_own_variables_are_read(tmp_path, monkeypatch):
    monkeypatch.setenv("ANY_SECRET", PASSWORD)
    toml = "[sources]\nledger = {uri = 'postgres://u:${ANY_SECRET}@h/d', query = 'select 1'}"
    with pytest.raises(AuditError, match="name it AUDIT_KIT_ANY_SECRET") as caught:
        settings_of(tmp_path, toml)
    assert PASSWORD not in str(caught.value)


def test_links_that_lead_out_stop_the_run_where_they_are_named_as_a_source(tmp_path):
    write(tmp_path, {"secret/ledger.csv": book(1)})
    folder = write(tmp_path / "engagement", {"platform.csv": book(1)})
    (folder / "ledger.csv").symlink_to(tmp_path / "secret" / "ledger.csv")
    (folder / "ledger").symlink_to(tmp_path / "secret")
    with pytest.raises(SourceError, match=r"ledger: a link that leads out .* --without 'ledger' .*ledger\.csv"):
        open_engagement(folder)
    assert not open_engagement(folder, without=["ledger*"]).has("ledger")


def test_a_source_that_is_not_there_is_said_when_the_engagement_is_opened(tmp_path):
    write(tmp_path, {"audit.toml": "[sources]\nledger = 'books/*.csv'\n"})
    with pytest.raises(EngagementError, match=re.escape('[sources] ledger = "books/*.csv" names no file')):
        open_engagement(tmp_path)


def test_a_pipe_is_no_source(tmp_path):
    write(tmp_path, {"audit.toml": "[sources]\nledger = 'pipe.csv'\n"})
    os.mkfifo(tmp_path / "pipe.csv")
    with pytest.raises(SourceError, match=r"pipe\.csv: a pipe"):
        open_engagement(tmp_path)


def test_a_folder_as_a_source_means_its_files(tmp_path):
    files = {"audit.toml": "[sources]\nledger = 'books'\n", "books/1.csv": book(1), "books/x/2.csv": book(2)}
    files |= {"books/.hidden.csv": "x", "books/~$1.xlsx": "x"}
    assert open_engagement(write(tmp_path, files)).table("ledger").height == 2


def test_a_sources_times_are_read_in_its_zone(tmp_path):
    log = "发票号码,事件,时间\n25112000000000000001,入库,2025-05-03 03:00:00\n"
    files = {"audit.toml": "[sources]\nsync_log = {path = 'log.csv', tz = 'UTC'}\n", "log.csv": log}
    assert open_engagement(write(tmp_path, files)).table("sync_log")["at"].to_list() == [datetime(2025, 5, 3, 11)]


def test_a_database_is_a_source(tmp_path):
    with sqlite3.connect(tmp_path / "books.db") as database:
        database.execute("create table l (发票号码 text, 开票日期 text, 金额 text, 税额 text, 价税合计 text)")
        database.execute(
            "insert into l values ('25112000000000000001', '2025-05-03 10:00:00', '100.00', '6.00', '106.00')"
        )
    database.close()
    toml = "[sources.ledger]\nuri = 'sqlite://HERE/books.db'\nquery = 'select * from l'\n".replace(
        "HERE", str(tmp_path)
    )
    engagement = open_engagement(write(tmp_path, {"audit.toml": toml}))
    assert engagement.table("ledger")["gross"].to_list() == [Decimal("106.00")]
    assert len(engagement.fingerprint()) == 64


def test_successive_exports_give_the_newest_and_their_history(tmp_path):
    toml = (
        "[sources]\nledger = 'ledger.csv'\nplatform = ["
        "{path = 'p2.csv', taken_at = 2025-05-10T08:00:00}, {path = 'p1.csv', taken_at = 2025-05-05T08:00:00}]\n"
    )
    files = {
        "audit.toml": toml,
        "ledger.csv": book(1, 2, 3),
        "p1.csv": HEAD + line(1, day=1) + line(2, day=3),
        "p2.csv": HEAD + line(2, day=3) + line(3, day=4),
    }
    engagement = open_engagement(write(tmp_path, files))
    assert engagement.taken_at == datetime(2025, 5, 10, 8)
    # 1 lies outside the newest export's dates, so the older one still speaks for it; 2 comes from the newest alone.
    assert engagement.table("platform").select("digital_number", "source_file").rows() == [
        ("25112000000000000001", "p1.csv"),
        ("25112000000000000002", "p2.csv"),
        ("25112000000000000003", "p2.csv"),
    ]
    history = engagement.table("exports")
    assert history.group_by("taken_at", maintain_order=True).len().rows() == [
        (datetime(2025, 5, 5, 8), 2),
        (datetime(2025, 5, 10, 8), 2),
    ]
    assert engagement.reading("platform").files["rows_in"].sum() == 4


@pytest.mark.parametrize("stated", [True, False])
def test_what_sister_companies_list_is_a_table_of_its_own(tmp_path, stated):
    toml = "[engagement]\ntaken_at = 2025-05-10T08:00:00\n"
    toml += "[sources]\nplatform = 'p.csv'\nsister_exports = ['sister_exports/*.csv']\n" if stated else ""
    files = {
        "audit.toml": toml,
        "p.csv" if stated else "platform.csv": HEAD + line(1, day=1),
        "sister_exports/platform.csv": HEAD + line(2, day=3),
    }
    engagement = open_engagement(write(tmp_path, files))
    assert engagement.table("platform")["digital_number"].to_list() == ["25112000000000000001"]
    assert engagement.table("sister_exports")["digital_number"].to_list() == ["25112000000000000002"]
    assert engagement.table("sister_exports")["source_file"].to_list() == ["sister_exports/platform.csv"]
    assert engagement.unused == ()


def test_an_undated_export_is_the_newest(tmp_path):
    toml = (
        "[engagement]\ntaken_at = 2025-05-10T08:00:00\n[sources]\nplatform = 'now.csv'\n"
        "exports = [{path = 'p1.csv', taken_at = 2025-05-05T08:00:00}]\n"
    )
    files = {
        "audit.toml": toml,
        "p1.csv": HEAD + line(1, day=1) + line(2, day=3),
        "now.csv": HEAD + line(2, day=3) + line(3, day=4),
    }
    engagement = open_engagement(write(tmp_path, files))
    assert engagement.table("platform")["source_file"].to_list() == ["p1.csv", "now.csv", "now.csv"]
    assert engagement.table("exports").height == 2
    assert engagement.taken_at == datetime(2025, 5, 10, 8)


def test_sources_are_read_when_asked_for_and_once(tmp_path, monkeypatch):
    asked = []
    real = pipeline.read
    monkeypatch.setattr(pipeline, "read", lambda path, **kwargs: asked.append(path.name) or real(path, **kwargs))
    toml = "[sources]\nledger = 'ledger.csv'\nplatform = 'platform.csv'\n"
    engagement = open_engagement(write(tmp_path, {"audit.toml": toml, "ledger.csv": book(1), "platform.csv": book(1)}))
    assert asked == []
    engagement.table("ledger")
    engagement.reading("ledger")
    assert asked == ["ledger.csv"]


def test_nothing_is_written_into_the_engagement(tmp_path):
    write(tmp_path, {"ledger.csv": book(1, 2), "platform.csv": book(1)})
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    tmp_path.chmod(0o555)
    engagement = open_engagement(tmp_path)
    for table in schema.INPUTS:
        engagement.reading(table)
    engagement.fingerprint()
    tmp_path.chmod(0o755)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before


def operations(*rows: tuple[str, str, str]) -> pl.DataFrame:
    frame = pl.DataFrame(
        [(datetime.fromisoformat(at), account, action) for at, account, action in rows],
        schema={"at": pl.Datetime("us"), "account": pl.String, "action": schema.dtypes("operations")["action"]},
        orient="row",
    )
    return pl.concat([schema.empty("operations"), frame], how="diagonal")


def listed(*times: str) -> pl.DataFrame:
    frame = pl.DataFrame({"issued_at": [datetime.fromisoformat(time) for time in times]}).cast(pl.Datetime("us"))
    return pl.concat([schema.empty("platform"), frame], how="diagonal")


def test_the_last_export_gives_the_account_and_the_platform_the_period():
    log = operations(
        ("2025-06-01 09:00", "cw02", "export"),
        ("2025-05-20 09:00", "kpy01", "export"),
        ("2025-06-02 09:00", "kpy03", "login"),
    )
    found = settle_export(policy.Export(), log, listed("2025-05-02 08:00", "2025-05-30 23:10"))
    assert (found.account, found.period_start, found.period_end) == (
        "cw02",
        datetime(2025, 5, 2),
        datetime(2025, 5, 31),
    )
    assert (found.start_stated, found.period_stated) == (False, False)


def test_an_export_that_was_refused_is_not_the_one_that_was_taken(tmp_path):
    log = operations(("2025-06-01 09:00", "cw02", "export"), ("2025-06-02 09:00", "kpy01", "export"))
    log = log.with_columns(result=pl.Series(["成功", "失败：无权限"]))
    assert settle_export(policy.Export(), log, listed("2025-05-02 08:00")).account == "cw02"
    book_ = book(1)
    write(tmp_path, {"ledger.csv": book_, "platform.csv": book(1, day=4)})
    assert open_engagement(tmp_path).taken_stated is None
    denied = "时间,账号,操作,发票号码,字段,原值,新值,结果\n2025-06-02 09:00:00,cw02,导出,,,,,被拒绝\n"
    write(tmp_path, {"operations.csv": denied})
    assert open_engagement(tmp_path).taken_stated is None
    assert open_engagement(tmp_path).export.account is None


def test_branches_and_former_ids_are_the_companys_own(tmp_path):
    text = '[engagement]\ntaxpayer_id = "91A"\nbranches = ["91B", "91C"]\nformer_ids = "1101"\n'
    write(tmp_path, {"audit.toml": text, "ledger.csv": book(1)})
    engagement = open_engagement(tmp_path)
    assert engagement.taxpayer_ids == ("91A",)
    assert engagement.own_ids == ("91A", "91B", "91C", "1101")
    write(tmp_path, {"audit.toml": "[engagement]\nbranches = 5\n"})
    with pytest.raises(EngagementError, match="branches"):
        open_engagement(tmp_path)


def test_what_was_stated_stands():
    stated = policy.Export(account="kpy09", period_start=datetime(2025, 5, 1), status_filter=("正常",))
    found = settle_export(stated, operations(("2025-06-01 09:00", "cw02", "export")), listed("2025-05-02 08:00"))
    assert (found.account, found.period_start, found.period_end) == (
        "kpy09",
        datetime(2025, 5, 1),
        datetime(2025, 5, 3),
    )
    assert found.status_filter == ("正常",)


def test_nothing_known_of_the_export_stays_unknown():
    found = settle_export(policy.Export(), schema.empty("operations"), schema.empty("platform"))
    assert (found.account, found.period_start, found.period_end) == (None, None, None)


def test_the_time_of_the_export_falls_back_on_what_the_sources_show(tmp_path):
    log = "时间,账号,操作,发票号码,字段,原值,新值,结果\n2025-05-31 18:00:00,cw02,导出,,,,,成功\n"
    write(tmp_path, {"ledger.csv": book(1), "platform.csv": book(1, day=4)})
    assert open_engagement(tmp_path).taken_at == datetime(2025, 5, 5)
    write(tmp_path, {"operations.csv": log})
    engagement = open_engagement(tmp_path)
    assert engagement.taken_at == datetime(2025, 5, 31, 18)
    assert engagement.export.account == "cw02"


def test_the_fingerprint_follows_content_settings_and_nothing_else(tmp_path):
    one = write(tmp_path / "one", {"audit.toml": "[engagement]\nname = 'a'\n", "ledger.csv": book(1)})
    two = write(tmp_path / "two", {"audit.toml": "# a comment\n[engagement]\nname = 'a'\n", "ledger.csv": book(1)})
    os.utime(two / "ledger.csv", (0, 0))
    first = open_engagement(one).fingerprint()
    assert re.fullmatch("[0-9a-f]{64}", first)
    assert open_engagement(two).fingerprint() == first
    write(two, {"ledger.csv": book(2)})
    second = open_engagement(two).fingerprint()
    write(two, {"audit.toml": "[engagement]\nname = 'a'\ndirection = 'received'\n"})
    assert len({first, second, open_engagement(two).fingerprint()}) == 3


def test_an_unchanged_file_is_hashed_once_a_process(tmp_path, monkeypatch):
    file = write(tmp_path, {"a.csv": "x"}) / "a.csv"
    first = hashing.hash_once(file)
    monkeypatch.setattr(hashing, "hash_file", lambda *_: pytest.fail("read again"))
    assert hashing.hash_once(file) == first


def test_a_folder_of_invoices_beside_a_table_of_files(tmp_path):
    paper = Paper(
        number="25112000000000000001",
        issued_at=datetime(2025, 5, 3, 10),
        seller_tax_id="91110108MA01ABCD2X",
        seller_name="甲",
        buyer_tax_id="91110105MA00XYQW3Q",
        buyer_name="乙",
        net=Decimal(100),
        tax=Decimal(6),
        gross=Decimal(106),
    )
    files = {
        "audit.toml": "[sources]\ninvoice_files = ['xml', 'list.csv']\n",
        "xml/a.xml": xml(paper),
        "list.csv": "path,invoice_number,role,size,mtime\nb.ofd,25112000000000000002,ofd,10,2025-05-03 10:00:00\n",
    }
    rows = open_engagement(write(tmp_path, files)).table("invoice_files")
    assert rows.select("path", "role", "size").rows() == [
        ("a.xml", "xml", len(files["xml/a.xml"])),
        ("b.ofd", "ofd", 10),
    ]


def test_a_folder_of_invoices_is_told_by_its_name_with_all_that_is_in_it(tmp_path):
    files = {"ledger.csv": book(1), "电子原件/05/25112000000000000003.jpg": b"x", "电子原件/a.xml": b"<x/>"}
    engagement = open_engagement(write(tmp_path / "plain", files))
    assert engagement.table("invoice_files")["path"].to_list() == ["05/25112000000000000003.jpg"]
    assert engagement.reading("invoice_files").files["rows_in"].to_list() == [2]
    assert engagement.unused == ()
    mixed = files | {"电子原件/list.csv": "path,invoice_number,role\nb.ofd,25112000000000000002,ofd\n"}
    engagement = open_engagement(write(tmp_path / "mixed", mixed))
    assert engagement.table("invoice_files")["path"].to_list() == ["25112000000000000003.jpg", "b.ofd"]
    assert engagement.reading("invoice_files").set_aside.height == 1


def test_an_unknown_table_is_said(tmp_path):
    engagement = settings_of(tmp_path, "[engagement]\nname = 'a'")
    with pytest.raises(EngagementError, match="ledgers is no table"):
        engagement.table("ledgers")


def test_the_example_in_the_documentation_is_true(tmp_path):
    page = Path(__file__).parents[2].joinpath("docs", "engagement.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"```toml\n(.*?)```", page, flags=re.DOTALL)
    named = dict.fromkeys(re.findall(r'"([\w./-]+\.(?:csv|xlsx|json))"', example), "")
    engagement_files = {name: book(1) if name.endswith("csv") else json.dumps([]) for name in named}
    write(tmp_path, engagement_files | {"audit.toml": example, "电子原件/a.xml": "<x/>", "exports/p.csv": book(1)})
    engagement = open_engagement(tmp_path)
    assert engagement.table("ledger").height == 1
    assert engagement.policy.sync.target_hours == 24
    assert engagement.export.account == "cw02"


def test_misuse_is_always_one_of_our_errors(tmp_path):
    with pytest.raises(AuditError):
        settings_of(tmp_path, "[sources]\nledger = '[' \n")
