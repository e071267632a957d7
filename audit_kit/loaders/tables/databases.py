"""Tables from databases: `{uri, query}`, read-only, credentials from the environment and never shown.

PostgreSQL is read through ADBC, which keeps a `numeric` of 20 digits exact (connectorx fails on it); MySQL, Oracle and
SQL Server through connectorx (both are in the extra `databases`); SQLite by Python itself, which keeps every value's
type.
A query is one SELECT (see `queries`); where the database has read-only sessions, it runs in one. Of the environment
only variables that begin with `AUDIT_KIT_` are read, for the address may be somebody else's.
"""

from __future__ import annotations

import os
import re
import socket
import sqlite3
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import SplitResult, parse_qsl, quote, unquote, urlsplit

import polars as pl

from audit_kit.core.errors import SourceError, of_system
from audit_kit.core.files import shown
from audit_kit.loaders.formats.grid import File
from audit_kit.loaders.formats.opening import framed
from audit_kit.loaders.tables.pipeline import read_file
from audit_kit.loaders.tables.queries import checked
from audit_kit.resources.languages import Phrase

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pyarrow as pa

    from audit_kit.loaders.reading import Reading

POSTGRESQL = ("postgresql", "postgres")
PORTS = {"postgresql": 5432, "postgres": 5432, "mysql": 3306, "oracle": 1521, "mssql": 1433}
READ_ONLY = "-c default_transaction_read_only=on"
READ_ONLY_MYSQL = "SET SESSION TRANSACTION READ ONLY"
ANSWER_S = 10  # seconds that a server may take to answer at all
_VARIABLE = re.compile(r"\$\{(\w+)\}")
_HOST = re.compile(r"[\w.-]+|[0-9a-f:.]+", re.IGNORECASE)
OWN = "AUDIT_KIT_"
# What may follow the question mark; others name another host, a file, or undo the read-only session.
PARAMETERS = (
    "application_name",
    "channel_binding",
    "charset",
    "connect_timeout",
    "encrypt",
    "gssencmode",
    "require_ssl",
    "sslmode",
    "sslrootcert",
    "target_session_attrs",
    "trust_server_certificate",
    "trusted_connection",
)
_SHORTEST_SECRET = 1


@dataclass(frozen=True, kw_only=True)
class _Address:
    """A database's address: `uri` with its credentials, `name` without, `secrets` that must not be shown."""

    uri: str = field(repr=False)
    name: str
    user: str
    kind: str
    host: str | None
    port: int | None
    secrets: tuple[str, ...] = field(repr=False)

    @property
    def place(self) -> str:
        """What a user allows: the address with the user's name, or the variable for it, and without a password."""
        kind, _, rest = self.name.partition("://")
        return f"{kind}://{self.user}@{rest}" if self.user else self.name


def read_database(
    source: Mapping[str, str],
    *,
    table: str,
    headings: Mapping[str, str] | None = None,
    tz: str | None = None,
    personal_ids: bool = False,
) -> Reading:
    """Read a table from a database.

    Args:
        source: `uri`, such as `postgresql://${AUDIT_KIT_USER}:${AUDIT_KIT_PASSWORD}@host/database` or
            `sqlite:///path/file.db`, and `query`, one SELECT or WITH. `${AUDIT_KIT_NAME}` is taken from the
            environment.
        table: one of `schema.INPUTS`.
        headings: the user's own synonyms, their column → ours.
        tz: the zone of times that state none (default: Beijing).
        personal_ids: read columns of persons too.

    Returns:
        The reading; `source_file` is the address without credentials, `source_row` counts the result's rows from 1.

    Raises:
        SourceError: an unknown kind of database, a variable that is not set, a query that is more than one SELECT, or a
            server that refuses. The sentence never holds a credential.
    """
    address = _address(source["uri"])
    query = checked(source["query"], kind=address.kind, name=address.name)
    frame = _sqlite(address, query) if address.kind == "sqlite" else _server(address, query)
    file = File(
        grids=[framed(frame)],
        name=address.name,
        source=shown(address.name),
        table=table,
        headings=headings or {},
        zone=tz,
        personal_ids=personal_ids,
    )
    return read_file(file)


def place_of(template: str) -> tuple[Path | None, str, str]:
    """Return what an address leads to: the file of SQLite or null, the place as a user allows it, and the user.

    Raises:
        SourceError: it is no address.
    """
    address = _address(template)
    return (_file(address) if address.kind == "sqlite" else None), address.place, address.user


def _address(template: str) -> _Address:
    """Put the environment's values into an address, and take it apart."""
    values = _values(_VARIABLE.findall(template))
    credentials = template.rfind("@")

    def filled(found: re.Match[str]) -> str:
        value = values[found[1]]
        return quote(value, safe="") if found.start() < credentials else value

    uri = _VARIABLE.sub(filled, template)
    try:
        parts = urlsplit(uri)
        host, port = parts.hostname, parts.port
    except ValueError:
        raise SourceError("error_tables.no_address") from None
    kind = parts.scheme.split("+")[0]
    if kind != "sqlite" and kind not in PORTS:
        raise SourceError("error_tables.address_kind")
    _check_parts(parts, kind)
    secrets = [*values.values(), parts.username or "", parts.password or ""]
    shown = f"{kind}:{parts.path}" if kind == "sqlite" else f"{kind}://{host}:{port or PORTS[kind]}{parts.path}"
    hidden = {form for secret in secrets for form in (secret, unquote(secret), quote(secret, safe=""))}
    return _Address(
        uri=uri,
        name=shown,
        user=_user(template),
        kind=kind,
        host=host,
        port=port or PORTS.get(kind),
        secrets=tuple(form for form in hidden if len(form) >= _SHORTEST_SECRET),
    )


def _values(names: list[str]) -> dict[str, str]:
    """Return the environment's values, of our own variables only."""
    for name in names:
        if not name.startswith(OWN):
            raise SourceError("error_tables.foreign_variable", name=name, own=OWN)
        if name not in os.environ:
            raise SourceError("error_tables.unset_variable", name=name)
    return {name: os.environ[name] for name in names}


def _check_parts(parts: SplitResult, kind: str) -> None:
    """Refuse an address that another reader might take apart otherwise, so that it led elsewhere than is shown."""
    if "@" in parts.path or "@" in parts.query or parts.fragment:
        raise SourceError("error_tables.odd_address", own=OWN)
    if kind == "sqlite":
        return
    if not _HOST.fullmatch(parts.hostname or ""):
        raise SourceError("error_tables.no_host")
    if any(key not in PARAMETERS for key, _ in parse_qsl(parts.query, keep_blank_values=True)):
        raise SourceError("error_tables.address_settings", known=", ".join(PARAMETERS))


def _user(template: str) -> str:
    """Return the user as the address has it, a variable by its name."""
    before, at, _ = template.partition("://")[2].rpartition("@")
    return before.partition(":")[0] if at else ""


def _file(address: _Address) -> Path:
    return Path(unquote(urlsplit(address.uri).path))


def _sqlite(address: _Address, query: str) -> pl.DataFrame:
    """Read from a SQLite file that is opened read-only; every value keeps its own type."""
    path = _file(address)
    if not path.is_file():
        raise SourceError("error_tables.no_sqlite_file", address=address.name)
    try:
        connection = sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)
        try:
            connection.execute("PRAGMA query_only = on")
            connection.execute("PRAGMA trusted_schema = off")
            connection.set_authorizer(_authorised)
            cursor = connection.execute(query)
            names = [column[0] for column in cursor.description]
            rows = cursor.fetchall()
        finally:
            connection.close()
    except (sqlite3.Error, sqlite3.Warning) as error:
        raise SourceError("error_tables.query_failed", address=address.name, error=error) from None
    columns = list(zip(*rows, strict=True)) if rows else [()] * len(names)
    return pl.DataFrame({name: _column(name, column) for name, column in zip(names, columns, strict=True)})


def _authorised(action: int, _what: str | None, name: str | None, *_: str | None) -> int:
    """Let SQLite read tables and call functions, and nothing else."""
    may = action in (sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_FUNCTION, sqlite3.SQLITE_RECURSIVE)
    return sqlite3.SQLITE_OK if may and name != "load_extension" else sqlite3.SQLITE_DENY


def _column(name: str, values: Sequence[object]) -> pl.Series:
    """Return a column as text; as bytes where it holds any, for whoever reads the column to judge."""
    if not any(isinstance(value, bytes) for value in values):
        return pl.Series(name, [_written(value) for value in values], dtype=pl.String)
    written = [value if isinstance(value, bytes) else _written(value) for value in values]
    return pl.Series(name, [v.encode() if isinstance(v, str) else v for v in written], dtype=pl.Binary)


def _written(value: object) -> str | None:
    if value is None:
        return None
    return repr(value) if isinstance(value, float) else str(value)


def _server(address: _Address, query: str) -> pl.DataFrame:
    """Read from a database server, in a read-only session where there are such."""
    _answers(address)
    fetch = _postgresql if address.kind in POSTGRESQL else _others
    try:
        frame = pl.from_arrow(fetch(address, query))
    except ImportError as error:
        raise SourceError("error_tables.databases_extra") from error
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt | SystemExit | MemoryError):
            raise
        raise SourceError(
            "error_tables.query_failed", address=address.name, error=_harmless(str(error), address)
        ) from None
    if not isinstance(frame, pl.DataFrame):
        raise SourceError("error_tables.no_result", address=address.name)
    return frame


def _postgresql(address: _Address, query: str) -> pa.Table:
    import pyarrow as pa  # noqa: PLC0415 (heavy, and only where a server is read)
    from adbc_driver_postgresql import dbapi  # noqa: PLC0415 (an extra)

    joint = "&" if urlsplit(address.uri).query else "?"
    session = f"{joint}connect_timeout={ANSWER_S}&options={quote(READ_ONLY)}"
    with dbapi.connect(address.uri + session) as connection, connection.cursor() as cursor:
        cursor.execute("SET TRANSACTION READ ONLY")
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
        reason = of_system(error.strerror or type(error).__name__)
        raise SourceError("error_tables.no_answer", address=address.name, reason=reason) from None


def _harmless(message: str, address: _Address) -> str | Phrase:
    """Return the first line of a driver's message, or nothing of it if it holds a credential."""
    line = next(iter(message.strip().splitlines()), "").strip()
    if any(secret in message for secret in address.secrets) or "://" in line:
        return Phrase("error_tables.withheld")
    return line[:200] or Phrase("error_tables.no_reason")
