"""Parquet files are reconciled from disk as frames are in memory, however small the stretches."""

from __future__ import annotations

from datetime import date, datetime
from decimal import Decimal
from typing import TYPE_CHECKING

import polars as pl
import pytest

from audit_kit.cli.reconcile_to import reconcile_to
from audit_kit.core.errors import RequestError
from audit_kit.engines import disk
from audit_kit.rules.matching.reconcile import reconcile

if TYPE_CHECKING:
    from pathlib import Path


def number(serial: int) -> str:
    return f"25112{serial:015d}"


def books() -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return a ledger and a platform of 60 invoices in which every outcome occurs."""
    numbers = [number(serial * 111) for serial in range(60)]
    issued = [datetime(2025, 5, 1 + serial % 20, 9) for serial in range(60)]
    gross = [Decimal(100 + serial) for serial in range(60)]
    names = ["甲（北京）" if serial % 2 else None for serial in range(60)]
    platform = pl.DataFrame({"digital_number": numbers, "issued_at": issued, "gross": gross, "buyer_name": names})
    typed = dict(enumerate(numbers))
    typed[3] = typed[3][:-1] + "9"
    typed[7] = f"'{typed[7]}"
    typed[11] = typed[10]
    typed[13] = "2.51120000000014E+19"
    ledger = platform.with_columns(
        pl.Series("digital_number", list(typed.values())),
        pl.col("buyer_name").str.replace("（北京）", "(北京) "),
        gross=pl.when(pl.int_range(60) == 20).then(pl.col("gross") + 5).otherwise("gross").cast(pl.Decimal(18, 2)),
        issued_at=pl.when(~pl.int_range(60).is_in([2, 15, 31])).then("issued_at"),
    )
    return pl.concat([ledger[:40], ledger[5:6], ledger[41:]]), pl.concat([platform[:30], platform[32:]])


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path, Path]:
    ledger, platform = books()
    ledger.write_parquet(tmp_path / "ledger.parquet", row_group_size=16)
    platform.write_parquet(tmp_path / "platform.parquet", row_group_size=16)
    return tmp_path / "ledger.parquet", tmp_path / "platform.parquet", tmp_path / "matches.parquet"


@pytest.mark.parametrize(("stretch", "partitions"), [(7, 1), (7, 4), (1000, 2), (1000, None)])
def test_stretches_and_partitions_do_not_change_the_answer(
    files: tuple[Path, Path, Path], monkeypatch: pytest.MonkeyPatch, stretch: int, partitions: int | None
):
    monkeypatch.setattr(disk, "STRETCH", stretch)
    counts = disk.reconcile_files(*files, partitions=partitions)
    alone = reconcile(*books())
    assert pl.read_parquet(files[2]).rows() == alone.rows()
    assert dict(counts.rows()) == dict(alone.group_by("outcome").len().rows())
    assert alone["outcome"].n_unique() >= 6
    assert alone["outcome"][2, 15, 31].to_list() == ["matched", "matched", "missing"]  # those without a day


def test_nothing_on_either_side(tmp_path: Path):
    ledger, platform = books()
    ledger.clear().write_parquet(tmp_path / "ledger.parquet")
    platform.write_parquet(tmp_path / "platform.parquet")
    both = tmp_path / "ledger.parquet", tmp_path / "platform.parquet"
    counts = disk.reconcile_files(*both, tmp_path / "matches.parquet", partitions=2)
    assert counts.rows() == [("unbooked", platform.height)]


def test_which_files_are_used_as_they_are(tmp_path: Path):
    good, bad = tmp_path / "good.parquet", tmp_path / "bad.parquet"
    pl.DataFrame({"digital_number": ["1"], "issued_at": [date(2025, 5, 6)], "gross": [1.5]}).write_parquet(good)
    pl.DataFrame({"数电发票号码": ["1"], "issued_at": ["2025-05-06"], "gross": ["1.5"]}).write_parquet(bad)
    assert disk.suits(good)
    assert not disk.suits(bad)
    assert not disk.suits(tmp_path / "ledger.csv")


def test_a_missing_column_is_named(files: tuple[Path, Path, Path]):
    books()[0].drop("gross").write_parquet(files[0])
    with pytest.raises(RequestError, match="ledger has no column gross"):
        disk.reconcile_files(*files)


def test_what_spark_wrote_is_counted_without_its_files_of_sums(
    files: tuple[Path, Path, Path], monkeypatch: pytest.MonkeyPatch
):
    def as_spark_writes(ledger: Path, platform: Path, out: Path) -> None:
        out.mkdir()
        reconcile(pl.read_parquet(ledger), pl.read_parquet(platform)).write_parquet(out / "part-0.snappy.parquet")
        (out / ".part-0.snappy.parquet.crc").write_bytes(b"crc")
        (out / "_SUCCESS").touch()

    monkeypatch.setattr("audit_kit.engines.spark.reconcile_files", as_spark_writes)
    counts = reconcile_to(*files, engine="spark")
    assert counts.sort("outcome").equals(reconcile(*books()).group_by("outcome").len().sort("outcome"))
