"""Numbers of which a part is left, or that were taken for damaged: linked where one invoice fits, never wrongly."""

from __future__ import annotations

import random
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from audit_kit.core import identity
from audit_kit.loaders.read import read
from audit_kit.rules.matching import incomplete
from audit_kit.rules.matching.reconcile import reconcile

if TYPE_CHECKING:
    from pathlib import Path

BUYERS = [f"91110105MA{at:07d}X" for at in range(200)]
FEES = (Decimal("1060.00"), Decimal("530.00"), Decimal("99.00"))


def issued(seed: int, rows: int) -> pl.DataFrame:
    """A month of invoices: three channels that count by themselves, fees of equal amounts, a few ends that recur."""
    dice = random.Random(seed)
    serials = [dice.randrange(10**9, 10**12) for _ in range(3)]
    found = []
    for at in range(rows):
        channel = dice.randrange(3)
        serials[channel] += dice.choice([1, 1, 1, 5, 400])
        gross = dice.choice(FEES) if dice.random() < 0.4 else Decimal(dice.randrange(100, 10**8)) / 100
        time = datetime(2025, 5, 1) + timedelta(minutes=at * 31 * 1440 / rows)
        found.append((f"2511{channel}{serials[channel]:015d}", time, gross, dice.choice(BUYERS)))
    for number, *rest in dice.sample(found, rows // 50):  # the same end, day and amount, for another buyer
        found.append((f"2699{number[4:]}", *rest[:2], dice.choice([one for one in BUYERS if one != rest[2]])))
    schema = {"digital_number": pl.String, "issued_at": pl.Datetime("us"), "gross": pl.Decimal(18, 2)}
    return pl.DataFrame(found, schema=schema | {"buyer_tax_id": pl.String}, orient="row")


def ends(frame: pl.DataFrame, share: float, seed: int) -> pl.DataFrame:
    """The rows with the last eight digits only, for this share of them."""
    dice = random.Random(seed)
    short = pl.Series([dice.random() < share for _ in range(frame.height)])
    number = pl.when(short).then(pl.col("digital_number").str.tail(8)).otherwise("digital_number")
    return frame.select(invoice_number=number, **{name: pl.col(name) for name in frame.columns[1:]})


def links(matches: pl.DataFrame, platform: pl.DataFrame, truth: pl.Series) -> tuple[float, int]:
    """The share of ledger rows that are linked, and how many wrongly."""
    linked = matches.drop_nulls(["ledger_row", "platform_row"])
    wrong = platform["digital_number"].gather(linked["platform_row"]) != truth.gather(linked["ledger_row"])
    return linked.height / len(truth), int(wrong.sum())


@pytest.mark.parametrize("seed", range(20))
def test_a_ledger_of_last_digits_finds_its_invoices_and_no_others(seed: int):
    share = (1, 0.5)[seed % 2]
    platform = issued(seed, 400)
    booked = platform.sample(fraction=0.95, seed=seed, shuffle=True)
    matches = reconcile(ends(booked, share, seed).with_columns(pl.col("issued_at").dt.date()), platform)
    found, wrong = links(matches, platform, booked["digital_number"])
    assert found >= 0.99
    assert wrong == 0
    assert set(matches["outcome"]) <= {"matched", "matched_cleaned", "ambiguous", "unbooked"}
    free = platform.height - platform["digital_number"].is_in(booked["digital_number"].implode()).sum()
    ambiguous = matches.filter(pl.col("outcome") == "ambiguous").height
    assert free <= matches.filter(pl.col("outcome") == "unbooked").height <= free + ambiguous
    # Without the buyers, ends that recur on one day for one amount are listed, not chosen.
    unknown = reconcile(ends(booked, share, seed).drop("buyer_tax_id"), platform)
    assert links(unknown, platform, booked["digital_number"])[1] == 0


@pytest.mark.parametrize("seed", range(20))
def test_whole_numbers_stay_as_they_were(seed: int):
    platform = issued(seed, 300)
    matches = reconcile(ends(platform, 0, seed), platform)
    assert matches["outcome"].unique().to_list() == ["matched"]
    assert matches["cleaning"].list.len().sum() == 0


def test_thirty_thousand_rows_of_last_digits_without_their_zeros():
    platform = issued(1, 30_000)
    booked = platform.sample(fraction=0.97, seed=1, shuffle=True)
    ledger = ends(booked, 1, 1).with_columns(pl.col("invoice_number").str.strip_chars_start("0"))
    found, wrong = links(reconcile(ledger, platform), platform, booked["digital_number"])
    assert found >= 0.99
    assert wrong == 0


@pytest.mark.parametrize("seed", range(20))
def test_old_invoices_keep_their_own(seed: int):
    """Old invoices with their codes are settled by them, whatever ends alike; those without find theirs or nothing."""
    new = issued(seed, 200)
    new = new.filter(new["digital_number"].str.tail(8).is_unique())
    old = new.with_columns(
        invoice_code=pl.lit("011002300211"), invoice_number=pl.col("digital_number").str.tail(8), digital_number=None
    )
    platform = pl.concat([new, old], how="diagonal_relaxed")
    both = reconcile(platform, platform)
    assert both["outcome"].unique().to_list() == ["matched"]
    assert both["ledger_row"].equals(both["platform_row"].alias("ledger_row"))
    bare = reconcile(old.with_columns(invoice_code=None), platform)
    assert bare.drop_nulls(["ledger_row", "platform_row"]).is_empty()
    assert bare.drop_nulls("ledger_row")["outcome"].unique().to_list() == ["ambiguous"]
    alone = reconcile(old.with_columns(invoice_code=None), old)
    linked = alone.drop_nulls(["ledger_row", "platform_row"])
    assert linked.height == old.height
    assert linked["ledger_row"].equals(linked["platform_row"].alias("ledger_row"))


PARTS = st.lists(
    st.tuples(
        st.sampled_from(["2511200000012345678", "2511200000012345679", "2599900000012345678"]).map(
            lambda n: n[:5] + "0" + n[5:]
        ),
        st.sampled_from([6, 6, 7]),
        st.sampled_from([100, 100, 250]),
        st.sampled_from([BUYERS[0], BUYERS[1], None]),
    ),
    max_size=7,
    unique_by=lambda row: row[0],
)


@pytest.mark.slow
@settings(deadline=None, max_examples=30, suppress_health_check=[HealthCheck.too_slow])
@given(platform=PARTS, ledger=PARTS, short=st.lists(st.booleans(), min_size=7, max_size=7), dice=st.randoms())
def test_the_order_of_rows_decides_nothing(platform: list, ledger: list, short: list, dice: random.Random):
    columns = {"invoice_number": pl.String, "issued_at": pl.Date, "gross": pl.Int64, "buyer_tax_id": pl.String}
    rows = [(n[-8:] if cut else n, *rest) for (n, *rest), cut in zip(ledger, short, strict=False)]
    books = [
        pl.DataFrame([(n, date(2025, 5, day), *rest) for n, day, *rest in some], schema=columns, orient="row")
        for some in (rows, platform)
    ]
    orders = [dice.sample(range(book.height), book.height) for book in books]
    first = reconcile(*books)
    again = reconcile(*(book[order] for book, order in zip(books, orders, strict=True)))

    def told(matches: pl.DataFrame, mine: list[int], other: list[int]) -> list:
        found = matches.drop_nulls("ledger_row").select("ledger_row", "platform_row", "outcome", "candidates").rows()
        return sorted(
            (mine[at], -1 if to is None else other[to], word, sorted(other[one] for one in candidates))
            for at, to, word, candidates in found
        )

    assert told(again, *orders) == told(first, *(list(range(book.height)) for book in books))


def test_one_end_in_every_row_is_listed_and_counted_without_pairing_all(monkeypatch: pytest.MonkeyPatch):
    count = 20_000
    joined = []
    join = pl.DataFrame.join

    def counting(self: pl.DataFrame, *rest, **options) -> pl.DataFrame:
        found = join(self, *rest, **options)
        joined.append(found.height)
        return found

    monkeypatch.setattr(pl.DataFrame, "join", counting)
    rest = {"issued_at": pl.lit(date(2025, 5, 6)), "gross": pl.lit(100)}
    ledger = pl.DataFrame({"invoice_number": ["12345678"] * count}).with_columns(**rest)
    platform = pl.DataFrame({"invoice_number": [f"2511{at:08d}12345678" for at in range(count)]}).with_columns(**rest)
    matches = reconcile(ledger, platform)
    assert max(joined) <= 2 * count
    assert dict(matches["outcome"].value_counts().iter_rows()) == {"ambiguous": count, "unbooked": count}
    assert matches["candidate_count"][0] == count
    assert matches["candidates"][0].to_list() == list(range(incomplete.MOST_CANDIDATES_ROWS))


# --- honest numbers that a number cell could have made ----------------------------------------------------------------

HEAD = "数电发票号码,开票日期,价税合计,购方识别号"


def stored(folder: Path, name: str, rows: list[tuple], kind: str) -> pl.DataFrame:
    """The rows as a file, and as they are read."""
    path = folder / f"{name}.{kind}"
    if kind == "csv":
        path.write_text("\n".join([HEAD, *(",".join(map(str, row)) for row in rows)]), encoding="utf-8")
    else:
        columns = ["digital_number", "issued_at", "gross", "buyer_tax_id"]
        pl.DataFrame(rows, schema=columns, orient="row").write_parquet(path)
    return read(path, table="ledger" if name == "ledger" else "platform")


def honest(dice: random.Random, count: int, special: int) -> list[tuple]:
    """Rows of which some have a number that a binary float holds exactly."""
    numbers = [dice.randrange(25112 * 10**15, 25113 * 10**15) for _ in range(count)]
    numbers = [number // 4096 * 4096 if at < special else number for at, number in enumerate(numbers)]
    return [
        (
            number,
            f"2025-05-{dice.randrange(1, 29):02d} 10:00:00",
            dice.choice(["106.00", "212.00"]),
            dice.choice(BUYERS),
        )
        for number in map(str, numbers)
    ]


@pytest.mark.parametrize("kind", ["csv", "parquet"])
@pytest.mark.parametrize("seed", range(20))
def test_an_honest_number_stays_a_key(tmp_path: Path, seed: int, kind: str):
    rows = honest(random.Random(seed), 30, 1)
    ledger, platform = (stored(tmp_path, name, rows, kind) for name in ("ledger", "platform"))
    assert identity.with_key(ledger)["invoice_key"].to_list() == [row[0] for row in rows]
    assert reconcile(ledger, platform)["outcome"].unique().to_list() == ["matched"]


@pytest.mark.parametrize("seed", range(20))
def test_honest_numbers_in_a_suspected_column_are_matched_where_they_are_listed(tmp_path: Path, seed: int):
    dice = random.Random(seed)
    rows = honest(dice, 4, 4)
    ledger = stored(tmp_path, "ledger", rows, "csv")
    assert all("precision_lost" in words for words in ledger["cleaning"].to_list())
    assert not ledger["digital_number"].str.contains("^[0-9]{20}$").any()
    platform = stored(tmp_path, "platform", rows + honest(dice, 3_000, 0), "parquet")
    matches = reconcile(ledger, platform).drop_nulls("ledger_row")
    assert matches["outcome"].unique().to_list() == ["matched"]
    assert matches["invoice_key"].to_list() == [row[0] for row in rows]
    assert matches["cleaning"].list.len().sum() == 0


@pytest.mark.parametrize("seed", range(20))
def test_honest_numbers_suspected_on_both_sides_are_matched(tmp_path: Path, seed: int):
    rows = honest(random.Random(seed), 300, 20)
    ledger, platform = (stored(tmp_path, name, rows, "csv") for name in ("ledger", "platform"))
    assert ledger["cleaning"].list.contains("precision_lost").sum() >= 20
    matches = reconcile(ledger, platform)
    assert matches["outcome"].unique().to_list() == ["matched"]
    assert matches["invoice_key"].to_list() == [row[0] for row in rows]


@pytest.mark.parametrize("damage", ["excel", "float"])
@pytest.mark.parametrize("seed", range(20))
def test_a_damaged_column_stays_damaged(tmp_path: Path, seed: int, damage: str):
    rows = honest(random.Random(seed), 40, 0)
    rows = [row for row in rows if int(float(row[0])) != int(row[0])]
    spoilt = {"excel": lambda n: int(n) // 10**5 * 10**5, "float": lambda n: int(float(n))}[damage]
    ledger = stored(tmp_path, "ledger", [(spoilt(number), *rest) for number, *rest in rows], "csv")
    matches = reconcile(ledger, stored(tmp_path, "platform", rows, "parquet")).drop_nulls("ledger_row")
    assert matches["outcome"].unique().to_list() == ["matched_cleaned"]
    assert matches["platform_row"].to_list() == list(range(len(rows)))
    assert all("precision_lost" in words for words in matches["cleaning"].to_list())
    assert matches["invoice_key"].null_count() == len(rows)
    both = [(spoilt(number), *rest) for number, *rest in rows]
    matches = reconcile(ledger, stored(tmp_path, "platform", both, "csv"))
    assert matches["outcome"].unique().to_list() == ["matched_cleaned"]
