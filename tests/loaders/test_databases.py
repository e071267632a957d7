"""Databases: a real PostgreSQL started here as an unprivileged user, and SQLite."""

from __future__ import annotations

import os
import shutil
import socket
import sqlite3
import subprocess
import traceback
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from open_folders import open_folder

from audit_kit.core.errors import SourceError
from audit_kit.loaders.tables import databases
from audit_kit.loaders.tables.databases import read_database

if TYPE_CHECKING:
    from collections.abc import Iterator

NUMBER = "25112000000123456789"
READERS_WORD = "geheim@wort/1"
# ruff: noqa: S608 (the statements are written here, for a server that lives as long as the tests)
CREATE = f"""
create table invoices (
    digital_number text, code_as_number numeric(20, 0), issued_at timestamp, seen timestamptz, net numeric(18, 2),
    tax numeric(18, 2), gross numeric, remark text
);
insert into invoices values
    ('{NUMBER}', {NUMBER}, '2025-05-03 10:11:12', '2025-05-03 02:11:12+00', 100.10, 6.01, 106.11, '甲'),
    ('25112000000123456790', null, '2025-05-04', null, 50, 3, 53.001, null);
create function sneaky() returns int language sql as $$ delete from invoices returning 1 $$;
create role reader login password '{READERS_WORD}';
create role chief superuser login password '{READERS_WORD}';
grant select, delete on invoices to reader;
"""


def _tool(name: str) -> str:
    found = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"), reverse=True)
    tool = str(found[0]) if found else shutil.which(name)
    assert tool, "these tests need a PostgreSQL server: apt-get install postgresql"
    return tool


def _unprivileged(command: list[str]) -> list[str]:
    return ["runuser", "-u", "postgres", "--", *command] if os.geteuid() == 0 else command


@dataclass(frozen=True)
class Server:
    port: int
    socket: Path

    def psql(self, sql: str) -> str:
        command = [_tool("psql"), "-h", str(self.socket), "-p", str(self.port), "-U", "postgres", "-Atqc", sql]
        return subprocess.run(
            _unprivileged(command), check=True, capture_output=True, text=True, cwd="/"
        ).stdout.strip()

    @property
    def uri(self) -> str:
        return f"postgresql://${{AUDIT_KIT_DB_USER}}:${{AUDIT_KIT_DB_PASSWORD}}@127.0.0.1:{self.port}/postgres"


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with open_folder("postgres") as home:
        yield from _running(home)


def _running(home: Path) -> Iterator[Server]:
    data = home / "data"
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    options = f"-p {port} -k {home} -c listen_addresses=127.0.0.1 -c fsync=off"

    def run(*command: str) -> None:
        subprocess.run(_unprivileged(list(command)), check=True, capture_output=True, cwd="/")

    run(
        _tool("initdb"),
        "-D",
        str(data),
        "-U",
        "postgres",
        "--auth-local=trust",
        "--auth-host=scram-sha-256",
        "-E",
        "UTF8",
    )
    run(_tool("pg_ctl"), "-D", str(data), "-o", options, "-l", str(home / "log"), "-w", "start")
    try:
        running = Server(port, home)
        running.psql(CREATE)
        yield running
    finally:
        run(_tool("pg_ctl"), "-D", str(data), "-m", "immediate", "-w", "stop")


@pytest.fixture
def credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AUDIT_KIT_DB_USER", "reader")
    monkeypatch.setenv("AUDIT_KIT_DB_PASSWORD", READERS_WORD)


@pytest.mark.usefixtures("credentials")
def test_postgresql_numbers_money_and_times_are_exact(server: Server) -> None:
    reading = read_database({"uri": server.uri, "query": "select * from invoices order by 1"}, table="platform")
    assert reading.rows.select("digital_number", "net", "tax", "gross", "issued_at").rows() == [
        (NUMBER, Decimal("100.10"), Decimal("6.01"), Decimal("106.11"), datetime(2025, 5, 3, 10, 11, 12))
    ]
    assert reading.rows["code_as_number"].to_list() == [NUMBER]
    assert reading.rows["seen"].to_list() == ["2025-05-03 10:11:12"]
    assert reading.set_aside.select("source_row", "reason").rows() == [(2, "gross: more than two decimals")]
    assert reading.rows["source_file"].item() == f"postgresql://127.0.0.1:{server.port}/postgres"


@pytest.mark.usefixtures("credentials")
def test_a_number_column_of_the_database_stays_exact(server: Server) -> None:
    query = f"select {NUMBER}::numeric as invoice_number, now() as issued_at, 1 as gross"
    reading = read_database({"uri": server.uri, "query": query}, table="ledger")
    assert reading.rows.select("invoice_number", "cleaning").rows() == [(NUMBER, [])]


@pytest.mark.usefixtures("credentials")
def test_postgresql_runs_the_query_in_a_read_only_session(server: Server, monkeypatch) -> None:
    monkeypatch.setattr(databases, "checked", lambda query, **_: query)
    for hostile in ("select sneaky()", "select set_config('transaction_read_only', 'off', false), sneaky()"):
        with pytest.raises(SourceError, match=r"read-only|read-write"):
            read_database({"uri": server.uri, "query": hostile}, table="ledger")
    assert server.psql("select count(*) from invoices") == "2"


@pytest.mark.usefixtures("credentials")
@pytest.mark.parametrize(
    "query",
    [
        "delete from invoices",
        "select 1; drop table invoices",
        "with gone as (delete from invoices returning *) select * from gone",
        "select * into copied from invoices",
        "/* select */ truncate invoices",
        "",
    ],
)
def test_anything_but_one_select_is_refused_before_it_is_sent(query: str, server: Server) -> None:
    with pytest.raises(SourceError, match="one SELECT or WITH"):
        read_database({"uri": server.uri, "query": query}, table="ledger")
    assert server.psql("select count(*) from invoices") == "2"


@pytest.mark.parametrize(
    "query",
    [
        "select pg_read_file('{file}') as remark",
        "select pg_catalog.pg_read_file('{file}') as remark",
        "select lo_import('{file}') as remark",
        "select * from dblink_exec('x', 'drop table invoices')",
        "select query_to_xml('delete from invoices', true, true, '') as remark",
        "select rolpassword as remark from pg_authid",
        "select * from invoices for update",
        "copy (select 1) to program 'id'",
        "select public.sneaky()",
        "select set_config('transaction_read_only', 'off', false)",
        "explain analyze delete from invoices",
        "do $$ begin delete from invoices; end $$",
    ],
)
def test_a_superusers_account_changes_and_reads_nothing_else(server: Server, query: str, monkeypatch) -> None:
    monkeypatch.setenv("AUDIT_KIT_DB_USER", "chief")
    monkeypatch.setenv("AUDIT_KIT_DB_PASSWORD", READERS_WORD)
    source = {"uri": server.uri, "query": query.replace("{file}", str(server.socket / "log"))}
    with pytest.raises(SourceError, match="one SELECT or WITH that changes nothing"):
        read_database(source, table="ledger")
    assert server.psql("select count(*) from invoices") == "2"
    assert server.psql("select count(*) from pg_largeobject_metadata") == "0"


@pytest.mark.usefixtures("credentials")
def test_words_inside_texts_and_comments_are_no_commands(server: Server) -> None:
    query = "select digital_number, issued_at, net as gross, 'drop; delete' as remark from invoices -- update;\n;"
    assert read_database({"uri": server.uri, "query": query}, table="ledger").rows.height == 2


def test_credentials_are_in_no_error(
    server: Server, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    secret = "w" + "rong/secret"
    monkeypatch.setenv("AUDIT_KIT_DB_USER", "reader")
    monkeypatch.setenv("AUDIT_KIT_DB_PASSWORD", secret)
    with pytest.raises(SourceError) as raised:
        read_database({"uri": server.uri, "query": "select 1"}, table="ledger")
    shown = "".join(traceback.format_exception(raised.value)) + "".join(capfd.readouterr())
    assert "127.0.0.1" in shown
    assert secret not in shown
    assert "wrong%2Fsecret" not in shown


def test_a_variable_that_is_not_set_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AUDIT_KIT_DB_USER", raising=False)
    with pytest.raises(SourceError, match="AUDIT_KIT_DB_USER"):
        read_database({"uri": "postgresql://${AUDIT_KIT_DB_USER}@localhost/x", "query": "select 1"}, table="ledger")


def test_a_server_that_is_not_there_is_said_soon() -> None:
    with pytest.raises(SourceError, match="does not answer"):
        read_database({"uri": "mysql://me:secret@127.0.0.1:9/x", "query": "select 1"}, table="ledger")


@pytest.mark.parametrize("uri", ["mongodb://h/x", "nonsense", "postgresql://h:port/x"])
def test_an_unknown_kind_of_address_is_refused(uri: str) -> None:
    with pytest.raises(SourceError, match="address"):
        read_database({"uri": uri, "query": "select 1"}, table="ledger")


@pytest.fixture
def database(tmp_path: Path) -> Path:
    path = tmp_path / "内部.db"
    with sqlite3.connect(path) as connection:
        connection.execute("create table inv (发票号码 text, 开票日期 text, 价税合计 numeric, 备注)")
        connection.executemany(
            "insert into inv values (?, ?, ?, ?)",
            [
                (NUMBER, "2025-05-03 10:11:12", 106.11, None),
                (float(NUMBER), "2025-05-04", 53, 7),
                ("x", "gestern", 1, ""),
            ],
        )
    connection.close()
    return path


def test_sqlite_keeps_the_type_of_every_value(database: Path) -> None:
    reading = read_database({"uri": f"sqlite://{database}", "query": "select * from inv"}, table="ledger")
    assert reading.rows.select("invoice_number", "gross", "remark").rows() == [
        (NUMBER, Decimal("106.11"), None),
        ("2.51120000001235e+19", Decimal("53.00"), "7"),
    ]
    assert reading.rows["cleaning"].to_list() == [[], ["precision_lost"]]
    assert reading.set_aside["source_row"].to_list() == [3]


def test_sqlite_is_opened_read_only(database: Path) -> None:
    before = database.read_bytes()
    with pytest.raises(SourceError, match="SELECT"):
        read_database({"uri": f"sqlite://{database}", "query": "drop table inv"}, table="ledger")
    with pytest.raises(SourceError, match="no such table"):
        read_database({"uri": f"sqlite://{database}", "query": "select * from absent"}, table="ledger")
    assert database.read_bytes() == before


def test_a_sqlite_file_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="no such file"):
        read_database({"uri": f"sqlite://{tmp_path}/none.db", "query": "select 1"}, table="ledger")
    assert list(tmp_path.iterdir()) == []


def test_bytes_are_hashes_or_text_and_anything_else_is_set_aside(tmp_path: Path) -> None:
    path = tmp_path / "files.db"
    raw = [bytes((7 * at + part) % 256 for part in range(32)) for at in range(200, 203)]
    rows = [
        ("a", 1, raw[0], None), (b"b", 2, raw[1].hex(), b"\xff\xfe"), (b"\xff\xfe", 3, raw[2], "x"),
        ("d", 4, b"\x80\x81", 1.5), ("e", 5, None, None),
    ]  # fmt: skip
    with sqlite3.connect(path) as made:
        made.execute("create table files (path, size, sha256, note)")
        made.executemany("insert into files values (?, ?, ?, ?)", rows)
    made.close()
    found = read_database({"uri": f"sqlite:///{path}", "query": "select * from files"}, table="invoice_files")
    kept = found.rows.select("path", "size", "sha256", "note").rows()
    assert kept == [("a", 1, raw[0].hex(), None), ("b", 2, raw[1].hex(), "fffe"), ("e", 5, None, None)]
    assert found.set_aside.select("source_row", "code", "value").rows() == [
        (3, "reason.binary", "fffe"), (4, "reason.no_hash", "8081"),
    ]  # fmt: skip


def test_bytea_is_a_hash(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AUDIT_KIT_DB_USER", "reader")
    monkeypatch.setenv("AUDIT_KIT_DB_PASSWORD", READERS_WORD)
    query = "select 'a' as path, 1 as size, decode(repeat('80', 32), 'hex') as sha256"
    found = read_database({"uri": server.uri, "query": query}, table="invoice_files")
    assert found.rows["sha256"].to_list() == ["80" * 32]
