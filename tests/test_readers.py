"""Every table and every setting that the kit takes is read by something that judges or shows it, or is listed here.

Trace tells of every table, so that it counts for none. Code is read as a syntax tree: a table is read where a rule
takes it from its evidence, or where an analysis or a page takes it from the engagement; asking whether it is there, or
naming it in a list, reads nothing.
"""

from __future__ import annotations

import ast
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import audit_kit
from audit_kit.core import policy, schema

if TYPE_CHECKING:
    from collections.abc import Iterator

PACKAGE = Path(audit_kit.__file__).parent
ROOMS = ("rules", "engines", "analysis", "views", "report")
TRACE = ("trace.py", "held_numbers.py")
HOLDERS = {"evidence", "world"}  # what rules take tables from
TAKERS = {"table", "reading"}  # how they are taken from an engagement
SECTIONS = {
    "policy": policy.Policy,
    "plan": policy.Plan,
    "calendar": policy.Calendar,
    "training": policy.Training,
}
# What nothing reads yet, with the issue that brings its reader.
UNREAD = {
    "tables": {},
    "policy": {},
    "plan": {},
    "calendar": {},
    "training": {"log": 16},
}


def trees() -> list[ast.Module]:
    files = [file for room in ROOMS for file in (PACKAGE / room).rglob("*.py") if file.name not in TRACE]
    assert len(files) > 80
    return [ast.parse(file.read_text(encoding="utf-8")) for file in files]


def owner(node: ast.expr) -> str:
    """The last name of what an attribute is of: `evidence` of `case.evidence.notices`."""
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""


def loads(modules: list[ast.Module]) -> Iterator[tuple[str, str]]:
    """Every attribute that is read, after what it is of; and every table taken from an engagement, after `table`."""
    for module in modules:
        for node in ast.walk(module):
            if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load):
                yield owner(node.value), node.attr
            elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in TAKERS:
                yield from (("table", part.value) for part in node.args if isinstance(part, ast.Constant))


def tables_read(modules: list[ast.Module]) -> set[str]:
    found = {name for of, name in loads(modules) if of in HOLDERS | {"table"}}
    return found & set(schema.INPUTS)


def keys(section: type) -> dict[str, set[str]]:
    """Every key of a section, below it with the section's own name, after the names that its owner may go by."""
    found = {}
    for one in fields(section):
        inner = one.default_factory if is_dataclass(one.default_factory) else None
        name = section.__name__.removesuffix("Policy").lower() or "policy"
        if inner is None:
            found[one.name] = {name, "policy"} if section.__name__.endswith("Policy") else {name}
        else:
            found |= {f"{one.name}.{key}": owners | {one.name} for key, owners in keys(inner).items()}
    return found


def keys_read(section: type, modules: list[ast.Module]) -> set[str]:
    seen = set(loads(modules))
    return {key for key, owners in keys(section).items() if any((of, key.rpartition(".")[2]) in seen for of in owners)}


def test_every_table_is_read_or_listed():
    assert set(schema.INPUTS) - tables_read(trees()) == set(UNREAD["tables"])


@pytest.mark.parametrize("section", SECTIONS)
def test_every_setting_is_read_or_listed(section):
    known = keys(SECTIONS[section])
    assert len(known) >= 3
    assert set(known) - keys_read(SECTIONS[section], trees()) == set(UNREAD[section])


@pytest.mark.parametrize(
    ("code", "read"),
    [
        ("case.evidence.tickets.filter(x)", True),
        ("self.world.tickets", True),
        ("engagement.table('tickets')", True),
        ("engagement.reading('tickets').rows", True),
        ("engagement.has('tickets')", False),
        ("EVIDENCE = ('tickets',)", False),
        ("words.term('table', 'tickets')", False),
        ("'tickets'", False),
        ("evidence.tickets = 1", False),
        ("tickets.slots()", False),
    ],
)
def test_what_counts_as_reading_a_table(code, read):
    assert (tables_read([ast.parse(code)]) == {"tickets"}) is read


@pytest.mark.parametrize(
    ("section", "code", "read"),
    [
        ("policy", "evidence.policy.metrics", {"metrics"}),
        ("policy", "policy.response.first_reply_hours", {"response.first_reply_hours"}),
        ("policy", "schedule.metrics", set()),
        ("policy", "{'metrics': 1}", set()),
        ("training", "engagement.settings.training.last", {"last"}),
        ("training", "frame.last", set()),
        ("plan", "plan.roles", {"roles"}),
    ],
)
def test_what_counts_as_reading_a_setting(section, code, read):
    assert keys_read(SECTIONS[section], [ast.parse(code)]) == read
