"""A drill from a real month keeps its shape and none of its names, numbers or amounts."""

from __future__ import annotations

import csv
from decimal import Decimal

import polars as pl
import pytest
from python_calamine import CalamineWorkbook

from audit_kit.analysis.work import analyse
from audit_kit.cli.main import main
from audit_kit.core import schema
from audit_kit.core.errors import RequestError
from audit_kit.loaders.engagement.engagement import open_engagement
from audit_kit.training.drill import drill, sealing
from audit_kit.training.world.simulate import DEFAULT, simulate

# What words of the trade are, and no company's own.
TRADE = (
    "kind", "origin", "channel", "status", "role", "grants", "action", "field", "result", "event", "metric", "scope",
    "risk", "risk_state",
)  # fmt: skip
CLEAN = {cause: share for cause, share in DEFAULT.items() if cause != "only_in_backup"}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """The real month, the drill made from it, and the trainer's folder."""
    folder = tmp_path_factory.mktemp("past")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AUDIT_KIT_CACHE", str(folder / "cache"))
        simulate(folder / "real", invoices=900, seed=9, causes=CLEAN, hostile=True, backups=False)
        engagement = open_engagement(folder / "real")
        before = {path: path.read_bytes() for path in (folder / "real").rglob("*") if path.is_file()}
        yield engagement, drill.from_engagement(engagement, folder / "drill", seed=3, trainer=folder / "trainer")
        assert {path: path.read_bytes() for path in (folder / "real").rglob("*") if path.is_file()} == before


def cells(folder) -> set[str]:
    """Every cell of every file, every line of every other file, and every file's name."""
    found: set[str] = set()
    for path in (path for path in folder.rglob("*") if path.is_file()):
        found |= {path.name, path.stem}
        if path.suffix == ".xlsx":
            book = CalamineWorkbook.from_path(path)
            found |= {
                str(cell)
                for sheet in book.sheet_names
                for row in book.get_sheet_by_name(sheet).to_python()
                for cell in row
            }
        elif path.suffix == ".csv":
            found |= {cell for row in csv.reader(path.read_text(encoding="utf-8-sig").splitlines()) for cell in row}
        elif path.suffix == ".toml" and path.name == "audit.toml":
            found |= set(path.read_text(encoding="utf-8").replace('"', "\n").splitlines())
    return {cell.strip() for cell in found if cell.strip()}


def test_no_word_or_number_or_amount_of_the_real_month_is_left(made):
    engagement, held = made
    left = cells(held.engagement)
    texts, money = set(), set()
    for table in (table for table in schema.INPUTS if engagement.has(table)):
        frame = engagement.table(table)
        for name, dtype in frame.schema.items():
            if dtype == pl.String and name not in TRADE:
                texts |= set(frame[name].drop_nulls())
            if isinstance(dtype, pl.Decimal):
                money |= {abs(value) for value in frame[name].drop_nulls() if value}
    texts |= {part for path in engagement.folder.rglob("*") if path.is_file() for part in (path.name, path.stem)}
    texts -= {"audit.toml", "audit", "logs", "ledger", "platform"}
    texts = {text.strip() for text in texts if not (text.isdecimal() and len(text) < 6)}  # a row's place is no name
    assert len(texts) > 2000
    assert len(money) > 1000
    assert texts & left == set()
    figures = {
        Decimal(cell).copy_abs() for cell in left if cell.lstrip("-").replace(".", "", 1).isdecimal() and len(cell) < 12
    }
    figures = {
        figure.quantize(Decimal("0.01"))
        for figure in figures
        if figure > 1000 or (figure > 1 and figure != figure.to_integral())  # what lies below may be a share
    }
    assert {figure for figure in figures if figure in money} == set()
    texts -= set(schema.INPUTS)  # what audit.toml calls its tables
    long = [text for text in texts if len(text) >= 6 and not text.replace(".", "").isdecimal()]
    every = "\n".join(left)
    assert [text for text in long if text in every] == []
    assert engagement.settings.taxpayer_name not in drill.brief(held.folder)


def test_its_shape_is_kept(made):
    engagement, held = made
    analysis = analyse(engagement)
    sealed = sealing.opened(held.folder, held.trainer)
    again = open_engagement(held.engagement).table("ledger")
    assert abs(again.height - analysis.ledger.height) <= 0.02 * analysis.ledger.height
    hours = [
        frame["issued_at"].drop_nulls().dt.truncate("1h").value_counts().sort("issued_at")
        for frame in (analysis.ledger, again)
    ]
    both = hours[0].join(hours[1], on="issued_at", how="full", coalesce=True).fill_null(0)
    assert (both["count"] - both["count_right"]).abs().sum() <= 0.05 * analysis.ledger.height
    theirs = dict(analysis.findings.drop_nulls("ledger_row")["cause"].value_counts().iter_rows())
    ours = dict(sealed.truth["cause"].drop_nulls().value_counts().iter_rows())
    for cause in ("outage", "batch_lost", "upload_failed", "number_damaged", "late"):
        assert abs(ours[cause] - theirs[cause]) <= max(2, 0.2 * theirs[cause]), cause
    ratio = again["gross"].cast(pl.Float64).abs().median() / analysis.ledger["gross"].cast(pl.Float64).abs().median()
    assert 0.7 < ratio < 1.4


def test_the_same_seed_gives_the_same_drill_and_the_kit_solves_most_of_it(made, tmp_path):
    engagement, held = made
    (tmp_path / "t").mkdir()
    (tmp_path / "t" / "trainer.key").write_bytes((held.trainer / "trainer.key").read_bytes())
    again = drill.from_engagement(engagement, tmp_path / "d", seed=3, trainer=tmp_path / "t")
    for path in (path for path in held.folder.rglob("*") if path.is_file()):
        assert (again.folder / path.relative_to(held.folder)).read_bytes() == path.read_bytes(), path.name
    assert drill.demonstrated(held).macro_f1 > 0.7


def test_a_month_that_is_not_there_and_a_folder_within_the_engagement_are_refused(made, tmp_path, capsys):
    engagement, _ = made
    with pytest.raises(RequestError, match="2019-01"):
        drill.from_engagement(engagement, tmp_path / "d", month="2019-01")
    with pytest.raises(RequestError, match="among the files that are read"):
        drill.from_engagement(engagement, engagement.folder / "d")
    assert main(["drill", "from", str(engagement.folder), str(tmp_path / "d"), "--month", "2019-01"]) == 2
    assert "2019-01" in capsys.readouterr().err
