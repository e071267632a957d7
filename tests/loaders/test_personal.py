"""Columns of persons are left where they are, unless asked for, and it is said how much was left."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import polars as pl
import pytest

from audit_kit.cli.main import main
from audit_kit.core.errors import EngagementError
from audit_kit.loaders.engagement import proposal, settings
from audit_kit.loaders.engagement.engagement import open_engagement
from audit_kit.loaders.tables import databases, pipeline
from audit_kit.loaders.tables.personal import is_personal

if TYPE_CHECKING:
    from pathlib import Path

CARD, NAME = "110105199003071234", "欧阳行远"
HEAD = "数电发票号码,开票日期,价税合计,出行人,出行人证件类型,出行人证件号码,出发地"
ROWS = [
    f"25112000000000000001,2025-05-06 10:00:00,113.00,{NAME},身份证,{CARD},北京",
    f"25112000000000000002,不是日期,113.00,{NAME},身份证,{CARD},上海",
    f"25112000000000000003,2025-05-06 10:00:00,113.00,,,{CARD},上海,多",
]


def sheet(folder: Path, name: str = "ledger.csv") -> Path:
    (folder / name).write_text("\n".join([HEAD, *ROWS]) + "\n", encoding="utf-8")
    return folder / name


@pytest.mark.parametrize(
    "header",
    [
        "出行人",
        "出行人证件号码",
        "证件 号",
        "有效身份证件号码",
        "乘车人姓名",
        "*旅客姓名",
        "姓名",
        "护照号",
        "Passenger Name",
        "ID card",
        "患者姓名",
        "乘机人2",
        "旅客1姓名",
        "住客",
        "出行人员",
    ],
)
def test_headers_of_persons_are_known(header: str) -> None:
    assert is_personal(header)


@pytest.mark.parametrize(
    "header",
    [
        "出发地",
        "购买方名称",
        "项目名称",
        "登记证号",
        "交通工具类型",
        "paid",
        "valid to",
        "旅客运输服务",
        "证件齐全",
        "住宿",
        "旅游",
        "出行日期",
    ],
)
def test_other_headers_are_not(header: str) -> None:
    assert not is_personal(header)


def test_no_table_and_no_row_set_aside_holds_them(tmp_path: Path) -> None:
    reading = pipeline.read(sheet(tmp_path), table="ledger")
    whole = reading.rows.write_json() + reading.set_aside.write_json()
    assert (reading.rows.height, reading.set_aside.height) == (1, 2)
    assert CARD not in whole
    assert NAME not in whole
    assert "上海" in whole
    assert reading.files["withheld"][0].to_list() == [
        {"column": "出行人", "cells": 2},
        {"column": "出行人证件类型", "cells": 2},
        {"column": "出行人证件号码", "cells": 3},
    ]


def test_they_are_read_where_it_is_asked_and_a_column_with_a_place_is_its_own(tmp_path: Path) -> None:
    asked = pipeline.read(sheet(tmp_path), table="ledger", personal_ids=True)
    assert CARD in asked.rows["出行人证件号码"].to_list()
    assert asked.files["withheld"][0].to_list() == []
    placed = pipeline.read(sheet(tmp_path), table="ledger", headings={"出行人": "buyer_name"})
    assert placed.rows["buyer_name"].to_list() == [NAME]
    assert "出行人证件号码" not in placed.rows.columns


def test_a_database_and_a_parquet_are_no_way_around(tmp_path: Path) -> None:
    frame = pl.DataFrame(
        {"digital_number": ["25112000000000000001"], "issued_at": ["2025-05-06"], "gross": ["1.00"], "证件号码": [CARD]}
    )
    frame.write_parquet(tmp_path / "ledger.parquet")
    import sqlite3  # noqa: PLC0415

    with sqlite3.connect(tmp_path / "books.db") as base:
        base.execute("create table ledger (digital_number, issued_at, gross, 证件号码)")
        base.execute("insert into ledger values (?, ?, ?, ?)", frame.row(0))
    base.close()
    source = {"uri": f"sqlite:///{tmp_path / 'books.db'}", "query": "select * from ledger"}
    for reading in (
        pipeline.read(tmp_path / "ledger.parquet", table="ledger"),
        databases.read_database(source, table="ledger"),
    ):
        assert reading.rows.height == 1
        assert CARD not in reading.rows.write_json()
        assert reading.files["withheld"][0].to_list() == [{"column": "证件号码", "cells": 1}]


@pytest.mark.parametrize("asked", [False, True])
def test_an_engagement_reads_them_only_where_its_settings_ask(tmp_path: Path, asked: bool) -> None:
    sheet(tmp_path)
    sheet(tmp_path, "platform.csv")
    (tmp_path / "audit.toml").write_text(f"[privacy]\npersonal_ids = {str(asked).lower()}\n", encoding="utf-8")
    rows = open_engagement(tmp_path).table("ledger")
    assert (CARD in rows.write_json()) is asked


def test_inspect_says_which_and_init_shows_none(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = sheet(tmp_path)
    main(["inspect", str(file), "--json"])
    printed = capsys.readouterr().out
    assert json.loads(printed)[0]["withheld"][2] == {"column": "出行人证件号码", "cells": 3}
    assert CARD not in printed
    main(["inspect", str(file)])
    assert "出行人证件号码  × 3" in capsys.readouterr().out
    assert CARD not in str(proposal.propose(tmp_path))


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('password = "hunter2"', "password has no place in audit.toml"),
        ('to = "not an address"', "address of mail"),
        ('to = ["a@b.cn", "c@d.cn\\nBcc: e@f.cn"]', "address of mail"),
        ("port = 0", "port from 1 to 65535"),
        ('server = "mail.example.com/x"', "name of a mail server"),
        ('security = "ssl"', "one of starttls, tls, none"),
        ('link = "javascript:alert(1)"', "begins with https://"),
    ],
)
def test_a_mistake_in_notify_is_one_sentence_and_shows_no_password(tmp_path: Path, line: str, said: str) -> None:
    (tmp_path / "audit.toml").write_text(f"[notify]\n{line}\n", encoding="utf-8")
    with pytest.raises(EngagementError, match=said) as error:
        settings.load(tmp_path)
    assert "hunter2" not in str(error.value)
    assert "\n" not in str(error.value)
