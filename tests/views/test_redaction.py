"""A redacted report, whole: no name, taxpayer id, account or file name of the inputs is anywhere in it."""

from __future__ import annotations

import ast
import base64
import gzip
import html
import json
import re
from typing import TYPE_CHECKING, Any

import nbformat
import openpyxl
import polars as pl
import pytest

from audit_kit.core import places, schema
from audit_kit.loaders.engagement.engagement import open_engagement
from audit_kit.report import run
from audit_kit.training.world.simulate import simulate
from audit_kit.views.show import masking

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from audit_kit.loaders.engagement.engagement import Engagement

pytestmark = pytest.mark.slow

LEAST = 3  # a shorter secret, such as a name of two characters, stands in other words by chance
PACKED = re.compile(r"<template>(.*?)</template>")


def secrets(engagement: Engagement) -> set[str]:
    """Return every name, tax id and account in the tables of an engagement, and the name of every file of it."""
    roles = {name for name, role in masking.ROLES.items() if role in {"party", "person", "tax_id", "account"}}
    found = {engagement.name, engagement.settings.taxpayer_name, *engagement.taxpayer_ids}
    for table in schema.INPUTS:
        frame = engagement.table(table)
        for name in roles & set(frame.columns):
            found |= set(frame[name].drop_nulls().cast(pl.String))
    found |= {path.name for path in engagement.folder.rglob("*") if path.is_file() and path.name != "audit.toml"}
    return {secret for secret in found if secret and len(secret) >= LEAST}


def drawn(notebook: Path, values: dict[str, Any]) -> str:
    """Return what the cells of a notebook show, run here, without a kernel."""
    names: dict[str, Any] = {}
    texts = []
    for cell in nbformat.read(notebook, as_version=4).cells:
        tags = cell.metadata.get("tags", ())
        if cell.cell_type != "code" or "interactive" in tags:
            continue
        body = ast.parse(cell.source).body
        last = ast.Expression(body.pop().value) if isinstance(body[-1], ast.Expr) else None
        exec(compile(ast.Module(body, []), notebook.name, "exec"), names)  # noqa: S102 -- the kit's own notebooks
        names |= values if "parameters" in tags else {}
        if last is not None:
            texts.append(_html(eval(compile(last, notebook.name, "eval"), names)))  # noqa: S307 -- the same
    return "\n".join(texts)


def _html(shown: Any) -> str:
    if hasattr(shown, "_repr_mimebundle_"):
        bundle = shown._repr_mimebundle_()
        return (bundle[0] if isinstance(bundle, tuple) else bundle)["text/html"]
    return shown._repr_html_()


def unpacked(text: str) -> Iterator[str]:
    """Yield a text as a reader's browser has it, and the rows that its buttons save."""
    yield html.unescape(text).replace("\\u003c", "<")
    for packed in PACKED.findall(text):
        yield gzip.decompress(base64.b64decode(packed)).decode("utf-8-sig")


def contents(path: Path) -> str:
    """Return all that a file of a report says, as text."""
    if path.suffix == ".xlsx":
        book = openpyxl.load_workbook(path)
        return "\n".join(str(cell.value) for sheet in book for row in sheet for cell in row)
    if path.suffix == ".parquet":
        return pl.read_parquet(path).write_json()
    return path.read_text(encoding="utf-8")


@pytest.fixture(scope="module", params=["sample", "simulated"])
def engagement(request, tmp_path_factory) -> Engagement:
    if request.param == "sample":
        return open_engagement(places.sample())
    folder = tmp_path_factory.mktemp("redaction") / "simulated"
    simulate(folder, invoices=500, seed=5, month="2025-05", hostile=True)
    return open_engagement(folder)


def named(text: str, words: set[str]) -> list[str]:
    spelt = {spelling: word for word in words for spelling in (word, json.dumps(word).strip('"'))}
    found = pl.Series([text]).str.extract_many(list(spelt), overlapping=True)[0]
    return sorted({spelt[spelling] for spelling in found})


def test_a_redacted_report_holds_no_secret_of_its_inputs(engagement, tmp_path, monkeypatch):
    notebooks = [path for path in places.notebooks() if not path.name.startswith("04_")]
    monkeypatch.setattr(places, "notebooks", list)  # their cells are run below, without a kernel each
    folder = run.run_report(engagement.folder, out=tmp_path / "reports", redact=True).folder
    files = {path.name: contents(path) for path in [folder.parent / "index.html", *folder.iterdir()]}
    values = {"engagement": str(engagement.folder), "month": "2025-05", "lang": "zh", "redact": True}
    pages = {path.stem: drawn(path, values | {"previous": "", "history": ""}) for path in notebooks}
    hidden = secrets(engagement)
    assert len(hidden) > 100
    texts = [(name, part) for name, text in (files | pages).items() for part in unpacked(text)]
    assert len(texts) > len(files) + len(pages)
    assert {name: found for name, text in texts if (found := named(text, hidden))} == {}


def test_an_open_report_shows_them(engagement):
    values = {"engagement": str(engagement.folder), "month": "2025-05", "lang": "zh", "redact": False}
    text = drawn(places.notebooks()[0], values | {"previous": "", "history": ""})
    assert len(named("\n".join(unpacked(text)), secrets(engagement))) > 20
