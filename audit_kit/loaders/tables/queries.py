"""Whether a query is one plain SELECT: parsed in the database's own dialect, not guessed at by its words."""

from __future__ import annotations

import logging
import re
from typing import TYPE_CHECKING

from audit_kit import resources
from audit_kit.core.errors import SourceError
from audit_kit.resources.languages import Phrase

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlglot import exp
    from sqlglot.tokenizer_core import Token

DIALECTS = {"postgresql": "postgres", "postgres": "postgres", "mssql": "tsql"}  # others bear sqlglot's own name
LONGEST_QUERY = 100_000  # characters
LONGEST_PARTS = 3  # database, schema, table; a fourth part names another server
SEQUENCES = ("nextval", "currval")
QUOTES = "'\"`["
_EXECUTED = re.compile(r"/\*M?!")
# Where a server is told to take the backslash for itself, such a text would end elsewhere than we think.
_ESCAPED_QUOTE = re.compile(r"\\['\"]")


def checked(query: str, *, kind: str, name: str) -> str:
    """Return the query as it may be sent: the words that were understood, without comments and closing semicolon.

    One SELECT, with WITH, UNION and the like, that locks nothing, writes nowhere, and calls nothing but functions
    computed from their arguments.

    Args:
        query: as the user wrote it.
        kind: the address's kind: postgresql, mysql, sqlite, oracle or mssql.
        name: the address without credentials, for the error.

    Raises:
        SourceError: it is anything else.
    """
    import sqlglot  # noqa: PLC0415 (only where a database is read)

    logging.getLogger("sqlglot").setLevel(logging.ERROR)  # it would print the query
    dialect = DIALECTS.get(kind, kind)
    words = ""
    try:
        words = _words(query, dialect)
        fault = _token_fault(query, words, dialect) or _fault(sqlglot.parse(words, read=dialect), dialect)
    except Exception:  # noqa: BLE001 (its errors quote the query, and whatever it is, the query was not understood)
        fault = Phrase("query.unclear")
    if fault:
        raise SourceError("error_tables.query", name=name, fault=fault)
    return words


def _tokens(query: str, dialect: str) -> list[Token]:
    import sqlglot  # noqa: PLC0415 (only where a database is read)
    from sqlglot.tokenizer_core import TokenType  # noqa: PLC0415 (the same)

    found: list[Token] = sqlglot.tokenize(query[:LONGEST_QUERY], read=dialect)
    while found and found[-1].token_type == TokenType.SEMICOLON:
        found.pop()
    return found


def _words(query: str, dialect: str) -> str:
    """Return the query's own words, one blank between them: comments are gone, nothing is put in other words."""
    return " ".join(query[token.start : token.end + 1] for token in _tokens(query, dialect))


def _token_fault(query: str, words: str, dialect: str) -> Phrase | None:
    """Return what the words alone show, where a server might take them otherwise than the parser does."""
    if len(query) > LONGEST_QUERY:
        return Phrase("query.long", most=LONGEST_QUERY)
    sent, written = _tokens(words, dialect), _tokens(query, dialect)
    if [(token.token_type, token.text) for token in sent] != [(token.token_type, token.text) for token in written]:
        return Phrase("query.ambiguous")
    ends = [0, *(token.end + 1 for token in written)]
    starts = [*(token.start for token in written), len(query)]
    if any(_EXECUTED.search(query[end:start]) for end, start in zip(ends, starts, strict=True)):
        return Phrase("query.executed_comment")
    return _text_fault([words[token.start : token.end + 1] for token in sent], dialect)


def _text_fault(texts: Sequence[str], dialect: str) -> Phrase | None:
    """Return what is wrong in a dialect with the texts of a query's parts."""
    if dialect == "mysql" and any(text[0] in "'\"" and _ESCAPED_QUOTE.search(text[1:-1]) for text in texts):
        return Phrase("query.quote")
    bare = [text.casefold() for text in texts if text[0] not in QUOTES]
    if dialect == "oracle" and any("@" in text for text in bare):
        return Phrase("query.other_server")
    if dialect == "tsql" and (verbs := set(bare) & set(resources.load("queries")["tsql"]["statements"])):
        return Phrase("query.says", word=min(verbs).upper())
    return None


def _fault(statements: Sequence[exp.Expr | None], dialect: str) -> Phrase | None:
    """Return what is wrong with what was parsed, or null."""
    from sqlglot import exp  # noqa: PLC0415 (only where a database is read)

    if len(statements) != 1 or statements[0] is None:
        return Phrase("query.none") if not any(statements) else Phrase("query.several", count=len(statements))
    top = statements[0]
    while isinstance(top, exp.Subquery):
        top = top.this
    if not isinstance(top, exp.Select | exp.SetOperation):
        return Phrase("query.begins", word=_word(top))
    return next(filter(None, (_node_fault(node, dialect) for node in statements[0].walk())), None)


def _node_fault(node: exp.Expr, dialect: str) -> Phrase | None:
    from sqlglot import exp  # noqa: PLC0415 (only where a database is read)

    forbidden = (
        exp.DML, exp.DDL, exp.Command, exp.Into, exp.Lock, exp.Hint, exp.Set, exp.Parameter, exp.SessionParameter,
        exp.Placeholder, exp.PropertyEQ, exp.Pragma, exp.Attach, exp.Copy, exp.LoadData, exp.Drop, exp.Alter,
    )  # fmt: skip
    if isinstance(node, forbidden) and not isinstance(node, exp.Query):
        return Phrase("query.says", word=_word(node))
    if isinstance(node, exp.Dot) and isinstance(node.expression, exp.Func) and not _is_built_in(node.this):
        return Phrase("query.calls_of_schema", name=node.expression.name or node.expression.sql_name())
    if dialect == "oracle" and isinstance(node, exp.Column) and node.name.casefold() in SEQUENCES:
        return Phrase("query.calls", name=node.name.upper())
    if isinstance(node, exp.Table):
        return _table_fault(node)
    return _function_fault(node) if isinstance(node, exp.Func) else None


def _function_fault(node: exp.Expr) -> Phrase | None:
    from sqlglot import exp  # noqa: PLC0415 (only where a database is read)

    rules = resources.load("queries")["functions"]
    if isinstance(node, exp.Anonymous | exp.AnonymousAggFunc):
        name = str(node.this.name if isinstance(node.this, exp.Expr) else node.this)
        return None if name.casefold() in rules["allowed"] else Phrase("query.calls", name=f"{_plain(name)}()")
    return Phrase("query.calls", name=_word(node)) if type(node).__name__ in rules["refused"] else None


def _table_fault(node: exp.Table) -> Phrase | None:
    rules = resources.load("queries")["tables"]
    parts = [part.name.casefold() for part in node.parts]
    if len(parts) > LONGEST_PARTS:
        return Phrase("query.other_server")
    own = any(part in rules["schemas"] for part in parts[:-1]) or parts[-1].startswith(tuple(rules["prefixes"]))
    return Phrase("query.own_table", name=_plain(parts[-1])) if own else None


def _is_built_in(schema: exp.Expr) -> bool:
    return schema.name.casefold() == "pg_catalog"


def _word(node: exp.Expr) -> str:
    return node.key.upper()


def _plain(name: str) -> str:
    """Return a name that may stand in an error: letters, digits, and no more than a line holds."""
    return re.sub(r"[^\w$.]", "?", name)[:40]
