"""The house rules that no linter knows: which room may import which, how large a room may be, what is committed."""

from __future__ import annotations

import ast
import json
import re
import subprocess
from functools import cache
from pathlib import Path

import pytest

from audit_kit.core import errors

HOUSE = Path(__file__).parents[1]
PACKAGE = HOUSE / "audit_kit"
LONGEST_ROOM = 450
LONGEST_FUNCTION = 60

# From the ground up: a room imports only rooms of a lower floor, or its own.
FLOORS = (
    ("resources",),
    ("core",),
    ("rules", "loaders"),
    ("engines", "analysis", "training"),
    ("views",),
    ("report",),
    ("paper",),
    ("unattended", "privacy"),
    ("cli",),
    ("__main__",),
)
# Arrows that no floor forbids, each with the reason.
NEVER = (
    ("rules", "loaders", "rules are frames in and frames out"),
    ("loaders", "rules", "a reader judges nothing"),
    ("engines", "loaders", "an engine matches frames and parquet files"),
    *(("engines", f"rules.{room}", "the same") for room in ("sync", "causes", "backups")),
    ("engines", "analysis", "an engine matches two lists and knows no engagement"),
    ("training.world", "rules", "the truth must not be made by the code that is judged by it"),
    ("training.world", "analysis", "the same"),
    ("training.world", "loaders", "the same"),
    *(
        (f"views.{page}", f"views.{other}", "what two pages share is in views/show")
        for page in ("overview", "sync", "missing", "backups", "response", "drill")
        for other in ("overview", "sync", "missing", "backups", "response", "drill")
        if page != other
    ),
)
ROOMS = sorted(path for path in PACKAGE.rglob("*.py") if path.name != "__init__.py")


def _room(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def _floor(room: str) -> int:
    return next(floor for floor, rooms in enumerate(FLOORS) if room in rooms)


@cache
def _imports(path: Path) -> tuple[str, ...]:
    """Modules of the package that a file imports anywhere, also inside functions and for types."""
    found = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module:
            deeper = [f"{node.module}.{alias.name}" for alias in node.names]
            found += [name if _file_of(name) else node.module for name in deeper]
        elif isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
    return tuple(sorted({name for name in found if name.startswith("audit_kit.")}))


def _file_of(module: str) -> Path | None:
    stem = HOUSE.joinpath(*module.split("."))
    return next((path for path in (stem.with_suffix(".py"), stem / "__init__.py") if path.is_file()), None)


def test_every_room_has_a_floor() -> None:
    rooms = {floor_room for rooms in FLOORS for floor_room in rooms}
    assert {_room(path) for path in ROOMS} <= rooms


@pytest.mark.parametrize("path", ROOMS, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_room_imports_only_downwards(path: Path) -> None:
    room = _room(path)
    upward = [
        name for name in _imports(path) if name.split(".")[1] != room and _floor(name.split(".")[1]) > _floor(room)
    ]
    assert upward == []


@pytest.mark.parametrize(("room", "other", "reason"), NEVER, ids=[f"{room}-{other}" for room, other, _ in NEVER])
def test_some_rooms_never_import_others(room: str, other: str, reason: str) -> None:
    inside = [path for path in ROOMS if ".".join(path.relative_to(PACKAGE).parts).startswith(f"{room}.")]
    assert inside
    arrows = [
        f"{path.relative_to(PACKAGE)} → {name}"
        for path in inside
        for name in _imports(path)
        if f"{name}.".startswith(f"audit_kit.{other}.")
    ]
    assert arrows == [], reason


def test_no_two_modules_import_each_other_in_a_circle() -> None:
    known = {".".join(path.relative_to(HOUSE).with_suffix("").parts): path for path in ROOMS}
    edges = {name: {target for target in _imports(path) if target in known} for name, path in known.items()}
    done: set[str] = set()

    def visit(name: str, trail: tuple[str, ...]) -> None:
        assert name not in trail, " → ".join((*trail[trail.index(name) :], name))
        if name not in done:
            for target in sorted(edges[name]):
                visit(target, (*trail, name))
            done.add(name)

    for name in sorted(edges):
        visit(name, ())


def test_no_folder_is_crowded() -> None:
    folders = {path.parent for path in ROOMS}
    crowded = {str(folder): files for folder in folders if (files := sum(path.parent == folder for path in ROOMS)) > 15}
    assert crowded == {}
    assert [path.name for path in ROOMS if path.parent == PACKAGE] == ["__main__.py"]


def test_a_name_occurs_once_but_for_what_means_the_same_on_every_page() -> None:
    names = [path.stem for path in ROOMS]
    assert {name for name in names if names.count(name) > 1} <= {"answers", "charts", "panel", "tables"}


@pytest.mark.parametrize("path", ROOMS, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_rooms_and_functions_stay_small(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= LONGEST_ROOM
    long = [
        f"{node.name} ({node.end_lineno - node.lineno + 1} lines)"
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and node.end_lineno - node.lineno + 1 > LONGEST_FUNCTION
    ]
    assert long == []


def test_every_user_error_has_an_exit_code_of_the_documented_ones() -> None:
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, errors.AuditError)]
    assert {kind.exit_code for kind in kinds} <= {errors.EXIT_UNUSABLE, errors.EXIT_UNTOLD, errors.EXIT_DEFECT}


def _raised_messages() -> list[tuple[str, ast.Call]]:
    names = {name for name, kind in vars(errors).items() if isinstance(kind, type) and issubclass(kind, Exception)}
    return [
        (f"{path.relative_to(PACKAGE)}:{node.lineno}", node.exc)
        for path in ROOMS
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Raise)
        and isinstance(node.exc, ast.Call)
        and isinstance(node.exc.func, ast.Name)
        and node.exc.func.id in names
    ]


def _is_a_sentence(call: ast.Call) -> bool:
    """A message is computed, or its fixed words are more than a word or two, on one line."""
    fixed = [node.value for node in ast.walk(call) if isinstance(node, ast.Constant) and isinstance(node.value, str)]
    parts = [node for node in ast.walk(call) if isinstance(node, ast.FormattedValue)]
    computed = not call.args or len(parts) > 2 or isinstance(call.args[0], ast.Name | ast.Call | ast.Attribute)
    return (computed or len("".join(fixed)) > 12) and "\n" not in "".join(fixed)


def test_every_user_error_is_a_sentence() -> None:
    assert [where for where, call in _raised_messages() if not _is_a_sentence(call)] == []


def _committed() -> list[Path]:
    names = subprocess.run(["git", "ls-files", "-z"], cwd=HOUSE, check=True, capture_output=True, text=True).stdout
    return [HOUSE / name for name in names.split("\0") if name and (HOUSE / name).is_file()]


def test_nothing_committed_names_a_machine_or_a_registry() -> None:
    private = re.compile(
        r"(?<![\w.])/(?:home|Users)/\w+/|(?<![\w.])/work/|index-url|(?:https?|file)://[^\s\"'<>]*(?:/simple\b|pypi[.-])"
    )
    found = [
        f"{path.relative_to(HOUSE)}:{number}"
        for path in _committed()
        if path.suffix not in {".png", ".xlsx", ".parquet", ".pdf", ".ofd"} and path != Path(__file__)
        for number, line in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), 1)
        if private.search(line)
    ]
    assert found == []


def test_committed_files_are_small() -> None:
    large = [str(path.relative_to(HOUSE)) for path in _committed() if path.stat().st_size > 2_500_000]
    assert large == []


def test_constraints_hold_versions_and_no_address() -> None:
    lines = (HOUSE / "constraints.txt").read_text(encoding="utf-8").splitlines()
    assert [line for line in lines if not re.fullmatch(r"[A-Za-z0-9._-]+==[0-9A-Za-z.+!]+", line)] == []


@pytest.mark.parametrize("path", sorted((HOUSE / "notebooks").glob("*.ipynb")), ids=lambda path: path.name)
def test_notebooks_are_committed_without_outputs(path: Path) -> None:
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    assert [number for number, cell in enumerate(cells) if cell.get("outputs") or cell.get("execution_count")] == []
