"""Tables from databases: `{uri, query}`, read-only, credentials from the environment and never shown.

PostgreSQL is read through ADBC, which keeps a `numeric` of 20 digits exact (connectorx fails on it); MySQL, Oracle and
SQL Server through connectorx (both are in the extra `databases`); SQLite by Python itself, which keeps every value's
type.
A query is one SELECT or WITH; where the database has read-only sessions, it runs in one.
"""

from __future__ import annotations

import os
import re
import socket
import sqlite3
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, quote, unquote, urlsplit

import polars as pl

from audit_kit.errors import SourceError
from audit_kit.loaders.opening import framed
from audit_kit.loaders.tables import read_grids

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pyarrow as pa

    from audit_kit.loaders.reading import Reading

POSTGRESQL = ("postgresql", "postgres")
PORTS = {"postgresql": 5432, "postgres": 5432, "mysql": 3306, "oracle": 1521, "mssql": 1433}
READ_ONLY = "-c default_transaction_read_only=on"
READ_ONLY_MYSQL = "SET SESSION TRANSACTION READ ONLY"
ANSWER_S = 10  # seconds that a server may take to answer at all
_VARIABLE = re.compile(r"\$\{(\w+)\}")
_COMMENTS_AND_TEXTS = re.compile(
    r"--[^\n]*|/\*.*?\*/|'(?:[^']|'')*'|\"(?:[^\"]|\"\")*\"|`[^`]*`|\$(\w*)\$.*?\$\1\$", re.DOTALL
)
_CHANGES = re.compile(
    r"\b(?:insert|update|delete|merge|upsert|drop|alter|create|truncate|grant|revoke|call|exec|execute|into|copy|attach"
    r"|detach|pragma|vacuum|lock|set|begin|commit|load_extension)\b",
    re.IGNORECASE,
)
_SHORTEST_SECRET = 1


@dataclass(frozen=True, kw_only=True)
class _Address:
    """A database's address: `uri` with its credentials, `name` without, `secrets` that must not be shown."""

    uri: str
    name: str
    kind: str
    host: str | None
    port: int | None
    secrets: tuple[str, ...]


def read_database(
    source: Mapping[str, str],
    *,
    table: str,
    headings: Mapping[str, str] | None = None,
    tz: str | None = None,
) -> Reading:
    """Read a table from a database.

    Args:
        source: `uri`, such as `postgresql://${DB_USER}:${DB_PASSWORD}@host/database` or `sqlite:///path/file.db`, and
            `query`, one SELECT or WITH. `${NAME}` is taken from the environment.
        table: one of `schema.INPUTS`.
        headings: the user's own synonyms, their column → ours.
        tz: the zone of times that state none (default: Beijing).

    Returns:
        The reading; `source_file` is the address without credentials, `source_row` counts the result's rows from 1.

    Raises:
        SourceError: an unknown kind of database, a variable that is not set, a query that is more than one SELECT, or a
            server that refuses. The sentence never holds a credential.
    """
    address = _address(source["uri"])
    query = _checked(source["query"], address)
    frame = _sqlite(address, query) if address.kind == "sqlite" else _server(address, query)
    return read_grids([framed(frame)], file=address.name, path=None, table=table, headings=headings or {}, tz=tz)


def _address(template: str) -> _Address:
    """Put the environment's values into an address, and take it apart."""
    missing = [name for name in _VARIABLE.findall(template) if name not in os.environ]
    if missing:
        raise SourceError(f"the database address needs the environment variable {missing[0]}, which is not set.")
    credentials = template.rfind("@")
    secrets = [os.environ[name] for name in _VARIABLE.findall(template)]

    def filled(found: re.Match[str]) -> str:
        value = os.environ[found[1]]
        return quote(value, safe="") if found.start() < credentials else value

    uri = _VARIABLE.sub(filled, template)
    try:
        parts = urlsplit(uri)
        host, port = parts.hostname, parts.port
    except ValueError:
        raise SourceError("the database address is no address such as postgresql://user@host/database.") from None
    kind = parts.scheme.split("+")[0]
    if kind != "sqlite" and kind not in PORTS:
        raise SourceError(
            "the database address must begin with postgresql://, mysql://, sqlite://, oracle:// or mssql://."
        )
    secrets += [parts.username or "", parts.password or "", *(value for _, value in parse_qsl(parts.query))]
    shown = f"{kind}:{parts.path}" if kind == "sqlite" else f"{kind}://{host}:{port or PORTS[kind]}{parts.path}"
    hidden = {form for secret in secrets for form in (secret, unquote(secret), quote(secret, safe=""))}
    return _Address(
        uri=uri,
        name=_VARIABLE.sub("…", shown),
        kind=kind,
        host=host,
        port=port or PORTS.get(kind),
        secrets=tuple(form for form in hidden if len(form) >= _SHORTEST_SECRET),
    )


def _checked(query: str, address: _Address) -> str:
    """Return the query without a closing semicolon, if it is one SELECT or WITH that changes nothing."""
    bare = _COMMENTS_AND_TEXTS.sub(" '' ", query).strip().rstrip(";").strip()
    first = bare.split(None, 1)[0].casefold() if bare else ""
    if first not in ("select", "with") or ";" in bare or (found := _CHANGES.search(bare)) is not None:
        what = (
            f"it says {found[0].upper()}"
            if first in ("select", "with") and ";" not in bare and found
            else "it does not"
        )
        raise SourceError(f"{address.name}: a query must be one SELECT or WITH that changes nothing; {what}.")
    return query.strip().rstrip(";")


def _sqlite(address: _Address, query: str) -> pl.DataFrame:
    """Read from a SQLite file that is opened read-only; every value keeps its own type."""
    path = Path(unquote(urlsplit(address.uri).path))
    if not path.is_file():
        raise SourceError(f"{address.name}: there is no such file; write sqlite:///folder/file.db.")
    try:
        connection = sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)
        try:
            connection.execute("PRAGMA query_only = on")
            cursor = connection.execute(query)
            names = [column[0] for column in cursor.description]
            rows = cursor.fetchall()
        finally:
            connection.close()
    except (sqlite3.Error, sqlite3.Warning) as error:
        raise SourceError(f"{address.name}: the query failed ({error}).") from None
    columns = list(zip(*rows, strict=True)) if rows else [()] * len(names)
    texts = {name: [_written(value) for value in column] for name, column in zip(names, columns, strict=True)}
    return pl.DataFrame(texts, schema=dict.fromkeys(names, pl.String()))


def _written(value: object) -> str | None:
    if value is None:
        return None
    if isinstance(value, bytes):
        return value.decode("utf-8", errors="replace")
    return repr(value) if isinstance(value, float) else str(value)


def _server(address: _Address, query: str) -> pl.DataFrame:
    """Read from a database server, in a read-only session where there are such."""
    _answers(address)
    fetch = _postgresql if address.kind in POSTGRESQL else _others
    try:
        frame = pl.from_arrow(fetch(address, query))
    except ImportError as error:
        raise SourceError("databases need an extra: pip install 'audit-kit[databases]'.") from error
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt | SystemExit | MemoryError):
            raise
        raise SourceError(f"{address.name}: the query failed ({_harmless(str(error), address)}).") from None
    if not isinstance(frame, pl.DataFrame):
        raise SourceError(f"{address.name}: the query gave no table.")
    return frame


def _postgresql(address: _Address, query: str) -> pa.Table:
    import pyarrow as pa  # noqa: PLC0415 (heavy, and only where a server is read)
    from adbc_driver_postgresql import dbapi  # noqa: PLC0415 (an extra)

    joint = "&" if urlsplit(address.uri).query else "?"
    session = f"{joint}connect_timeout={ANSWER_S}&options={quote(READ_ONLY)}"
    with dbapi.connect(address.uri + session) as connection, connection.cursor() as cursor:
        cursor.execute(query)
        found: pa.Table = cursor.fetch_arrow_table()
    return found.cast(
        pa.schema([(field.name, getattr(field.type, "storage_type", field.type)) for field in found.schema])
    )


def _others(address: _Address, query: str) -> pa.Table:
    os.environ.setdefault("RUST_LOG", "off")  # the driver logs what it should not
    import connectorx  # noqa: PLC0415 (an extra)

    session = READ_ONLY_MYSQL if address.kind == "mysql" else None
    found: pa.Table = connectorx.read_sql(address.uri, query, return_type="arrow", pre_execution_query=session)
    return found


def _answers(address: _Address) -> None:
    """Knock before the driver does, which would try for half a minute."""
    try:
        socket.create_connection((address.host or "localhost", address.port or 0), timeout=ANSWER_S).close()
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise SourceError(
            f"{address.name}: the server does not answer ({reason}); check address and network."
        ) from None


def _harmless(message: str, address: _Address) -> str:
    """Return the first line of a driver's message, or nothing of it if it holds a credential."""
    line = next(iter(message.strip().splitlines()), "").strip()
    if any(secret in message for secret in address.secrets) or "://" in line:
        return "its message is withheld, as it names credentials; check user, password and rights"
    return line[:200] or "no reason given"
