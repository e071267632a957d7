"""Matching: a table of cases labelled by hand, what holds for any books, and very many rows of one number."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from audit_kit.core import identity, schema
from audit_kit.core.errors import RequestError
from audit_kit.core.policy import MatchingPolicy
from audit_kit.rules.matching import comparison, first_pass, near_numbers, rivals
from audit_kit.rules.matching.reconcile import PASSES, open_case, reconcile

MAY = datetime(2025, 5, 6, 9, 30)
COLUMNS = {
    "digital_number": pl.String,
    "issued_at": pl.Datetime("us"),
    "gross": pl.Decimal(18, 2),
    "buyer_tax_id": pl.String,
    "buyer_name": pl.String,
    "status": pl.Enum(schema.STATUSES),
}


def number(serial: int) -> str:
    return f"25112{serial:015d}"


def book(*rows: tuple, columns: dict = COLUMNS) -> pl.DataFrame:
    """Rows of number, then day of May, yuan, buyer's id, buyer's name, status, as far as they are given."""
    full = []
    for given_number, *rest in rows:
        values = [*rest, *[6, 100, "91110105MA00000001", "乙", "normal"][len(rest) :]]
        day, gross, buyer, name, status = values
        full.append((given_number, datetime(2025, 5, day, 9, 30), Decimal(str(gross)), buyer, name, status))
    return pl.DataFrame(full, schema=columns, orient="row")


def outcomes(matches: pl.DataFrame) -> list[tuple]:
    return matches.select("ledger_row", "platform_row", "outcome").rows()


# --- the table of cases -------------------------------------------------------------------------------------------

TABLE = Path(__file__).with_name("matching_cases.txt").read_text(encoding="utf-8").splitlines()
CASES = [re.split(r" \|(?= |$)", line) for line in TABLE if line and not line.startswith("#")]
ANSWER = re.compile(
    r"(?P<left>\+\d+ )?(?P<outcome>[a-z_]+)(?P<rows>( \d+)*)(: (?P<fields>[a-z_ ]+?))?"
    r"( \((?P<cleaning>.+?)\))?( key (?P<key>\S+))?"
)


def moment(text: str) -> datetime | date | str | None:
    """What a day of the table means."""
    day, *rest = text.split()
    if day.startswith("2025"):
        return text
    if day == "-" or rest == ["date"]:
        return None if day == "-" else date(2025, 5, int(day))
    time = rest[0] if rest else "09:30"
    zone = UTC if time.endswith("Z") else None
    return datetime.strptime(f"2025-05-{int(day):02d} {time.rstrip('Z')}", "%Y-%m-%d %H:%M").replace(tzinfo=zone)


def side(cell: str) -> pl.DataFrame:
    """The rows of a cell of the table as a frame."""
    rows = []
    for number_, day, gross, *fields in (row.strip(" ").split(", ") for row in cell.split(" ; ") if row.strip(" ")):
        parts = number_.removeprefix("+ ").split(" + ")
        names = ("invoice_code", "invoice_number", "digital_number")
        names = names if len(parts) > 1 else names[1:2] if number_.startswith("+ ") else names[2:]
        row: dict = {
            name: None if part == "-" else part.replace("␣", " ") for name, part in zip(names, parts, strict=False)
        }
        money = {
            name: Decimal(text) for name, text in (field.split("=") for field in fields) if name in comparison.MONEY
        }
        texts = {name: None if text == "-" else text for name, text in (field.split("=") for field in fields)}
        amount = None if gross == "-" else float(gross[:-1]) if gross.endswith("f") else Decimal(gross)
        rows.append(row | texts | money | {"issued_at": moment(day), "gross": amount})
    empty = {"digital_number": pl.String, "issued_at": pl.Datetime("us"), "gross": pl.Decimal(18, 2)}
    frame = pl.DataFrame(rows, infer_schema_length=None) if rows else pl.DataFrame(schema=empty)
    if "cleaning" in frame.columns:
        frame = frame.with_columns(pl.concat_list("cleaning"))
    typed = [("gross", pl.Decimal(18, 2)), ("issued_at", pl.Datetime("us"))]
    return frame.with_columns(pl.col(name).cast(dtype) for name, dtype in typed if frame[name].dtype == pl.Null)


@pytest.mark.parametrize(("ours", "theirs", "answer"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_a_case_of_the_table(ours: str, theirs: str, answer: str):
    found = reconcile(side(ours), side(theirs)).to_dicts()
    lines = [line.strip(" ") for line in answer.split(" ; ") if line.strip(" ")]
    assert len(found) == len(lines)
    for row, line in zip(found, lines, strict=True):
        said = ANSWER.fullmatch(line)
        assert said, line
        rows = [int(at) for at in (said["left"] or said["rows"]).split()]
        linked = row["candidates"] if row["outcome"] == "ambiguous" else [row["platform_row"]]
        assert (row["outcome"], [at for at in linked if at is not None]) == (said["outcome"], rows), line
        assert (row["ledger_row"] is None) == bool(said["left"]), line
        assert row["differences"] == (said["fields"] or "").split(), line
        assert set(row["cleaning"]) == set((said["cleaning"] or "").split()), line
        assert said["key"] in (None, row["invoice_key"] or "-"), line


def test_the_table_names_each_case_once_and_tries_every_outcome_and_cleaning():
    assert len(CASES) == len({tuple(case[1:]) for case in CASES}) >= 120
    answers = " ".join(case[3] for case in CASES)
    assert [word for word in (*schema.OUTCOMES, *schema.CLEANINGS, *comparison.FIELDS) if word not in answers] == []


# --- random books -------------------------------------------------------------------------------------------------

SERIALS = st.sampled_from([1, 2, 3, 12, 21, 13, 31, 100_001, 100_010, 200_001, 1_100_001])
DRESSES = st.sampled_from(
    [
        lambda text: text,
        lambda text: text,
        lambda text: text,
        lambda text: text,
        lambda text: f"'{text}",
        lambda text: f"{text[:8]}-{text[8:]} ",
        lambda text: text.replace("0", "O", 1),
        lambda text: text.translate(str.maketrans("0123456789", "０１２３４５６７８９")),
        lambda text: f"{text[0]}.{text[1:15]}E+19",
        lambda text: f"1{text[1:]}",
        lambda text: text[:-1],
        lambda _: None,
        lambda _: "--",
    ]
)
ROWS = st.tuples(
    st.builds(lambda dress, serial: dress(number(serial)), DRESSES, SERIALS),
    st.sampled_from([6, 6, 6, 7]),
    st.sampled_from([100, 100, 100.01, 250, 250.02]),
    st.sampled_from(["91110105MA00000001", "91110105MA00000001", "91110105ma0000000l", "91110105MA00000002", None]),
    st.sampled_from(["乙（北京）", "乙(北京) ", "丙", None]),
    st.sampled_from(["normal", "normal", "voided", "unknown", None]),
)
BOOKS = st.lists(ROWS, max_size=9).map(lambda rows: book(*rows))
CALM = settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])


@pytest.mark.slow
@CALM
@given(BOOKS, BOOKS)
def test_matches_keep_their_schema_and_every_row(ledger: pl.DataFrame, platform: pl.DataFrame):
    matches = reconcile(ledger, platform)
    assert dict(matches.schema) == schema.dtypes("matches")
    assert matches["ledger_row"].drop_nulls().to_list() == list(range(ledger.height))
    seen = set(matches["platform_row"].drop_nulls().to_list())
    assert seen == set(range(platform.height))
    for name in ("candidates", "differences", "cleaning"):
        assert matches[name].null_count() == 0


@pytest.mark.slow
@CALM
@given(st.lists(ROWS, max_size=9, unique_by=lambda row: row[0]), BOOKS, st.randoms(use_true_random=False))
def test_the_order_of_rows_does_not_matter(rows: list, platform: pl.DataFrame, random):
    ledger = book(*rows)
    order = list(range(ledger.height))
    random.shuffle(order)
    backwards = list(range(platform.height))[::-1]
    first = reconcile(ledger, platform)
    second = reconcile(ledger[order], platform[backwards])
    known = {at: row for at, *row in first.drop_nulls("ledger_row").select("ledger_row", "outcome").rows()}
    found = {order[at]: row for at, *row in second.drop_nulls("ledger_row").select("ledger_row", "outcome").rows()}
    unclear = {at for at, row in known.items() if row != found[at]}
    assert not unclear or _same_key(platform) or _same_key(ledger)


@pytest.mark.slow
@CALM
@given(BOOKS, BOOKS)
def test_what_was_linked_is_linked_again_when_nothing_else_is_there(ledger: pl.DataFrame, platform: pl.DataFrame):
    linked = reconcile(ledger, platform).drop_nulls("platform_row").filter(pl.col("outcome") != "duplicate")
    linked = linked.drop_nulls("ledger_row").with_row_index("place")
    again = reconcile(ledger[linked["ledger_row"]], platform[linked["platform_row"]])
    assert again.select("platform_row", "outcome").rows() == linked.select("place", "outcome").rows()


def _same_key(ledger: pl.DataFrame) -> bool:
    return identity.with_key(ledger)["invoice_key"].drop_nulls().is_duplicated().any()


# --- case by case -------------------------------------------------------------------------------------------------


def told(ledger: pl.DataFrame, platform: pl.DataFrame) -> list[tuple]:
    """Outcome, platform row, differences and cleaning of every row."""
    matches = reconcile(ledger, platform)
    return matches.select("outcome", "platform_row", "differences", "cleaning").rows()


@pytest.mark.parametrize(
    ("ours", "theirs", "differences"),
    [
        ((6, 100), (6, 100.01), []),
        ((6, 100), (6, 100.02), ["gross"]),
        ((6,), (7,), ["issued_at"]),
        ((6, 100, "91110105MA00000001"), (6, 100, "９１１１０１０５ma0000OOO1"), []),
        ((6, 100, "91110105MA00000001"), (6, 100, "91110105MA00000002"), ["buyer_tax_id"]),
        ((6, 100, None), (6, 100, "91110105MA00000002"), []),
        ((6, 100, None, "甲（北京）公司"), (6, 100, None, "甲 (北京) 公司"), []),
        ((6, 100, None, "甲公司"), (6, 100, None, "乙公司"), ["buyer_name"]),
        ((6, 100, None, None, "normal"), (6, 100, None, None, "red_full"), ["status"]),
        ((6, 100, None, None, "unknown"), (6, 100, None, None, "voided"), []),
        ((6, 100, None, None, None), (6, 100, None, None, "voided"), []),
        (
            (6, 100, None, "甲", "normal"),
            (7, 300, None, "乙", "voided"),
            ["issued_at", "buyer_name", "gross", "status"],
        ),
    ],
)
def test_what_is_a_conflict(ours: tuple, theirs: tuple, differences: list[str]):
    outcome = "conflict" if differences else "matched"
    assert told(book((number(1), *ours)), book((number(1), *theirs))) == [(outcome, 0, differences, [])]


def test_the_time_of_day_is_no_conflict_and_a_date_is_enough():
    ledger = pl.DataFrame({"digital_number": [number(1)], "issued_at": [MAY.date()], "gross": [100]})
    platform = pl.DataFrame({"digital_number": [number(1)], "issued_at": [MAY], "gross": [100.0]})
    assert told(ledger, platform) == [("matched", 0, [], [])]


def test_a_cleaned_number_matches_unless_the_fields_disagree():
    dirty = f"'{number(1)}"
    assert told(book((dirty,)), book((number(1),))) == [("matched_cleaned", 0, [], ["quote"])]
    assert told(book((dirty,)), book((number(1), 7))) == [("conflict", 0, ["issued_at"], ["quote"])]


@pytest.mark.parametrize(
    ("typed", "outcome"),
    [(number(124), "mistyped"), (number(213), "mistyped"), (number(321), "missing"), (number(123)[:-1], "missing")],
)
def test_one_typing_error_is_forgiven_and_two_are_not(typed: str, outcome: str):
    assert told(book((typed,)), book((number(123),)))[0][0] == outcome


def test_a_typing_error_needs_day_and_amount_and_the_same_taxpayer():
    assert outcomes(reconcile(book((number(2), 6, 100)), book((number(1), 6, 100.01)))) == [
        (0, None, "missing"),
        (None, 0, "unbooked"),
    ]
    assert told(book((number(2), 6)), book((number(1), 7)))[0][0] == "missing"
    stranger = reconcile(book((number(2), 6, 100, "91110105MA00000009")), book((number(1),)))
    assert stranger.select("outcome", "candidates").row(0) == ("ambiguous", [0])


def test_a_number_typed_as_that_of_another_days_invoice_to_another_buyer():
    other = (number(13), 7, 100, "91110105MA00000002")
    ledger = book(other, (number(13), 6, 100, "91110105MA00000001"))
    platform = book(other, (number(12), 6, 100, "91110105MA00000001"))
    assert outcomes(reconcile(ledger, platform)) == [(0, 0, "matched"), (1, 1, "mistyped")]
    # Without an invoice that it may be, it is booked twice.
    assert outcomes(reconcile(ledger, platform[:1])) == [(0, 0, "matched"), (1, 0, "duplicate")]


def test_several_candidates_are_listed_and_stay_unbooked():
    matches = reconcile(book((number(10),)), book((number(11),), (number(12),)))
    assert matches.select("ledger_row", "platform_row", "outcome", "candidates").rows() == [
        (0, None, "ambiguous", [0, 1]),
        (None, 0, "unbooked", []),
        (None, 1, "unbooked", []),
    ]


def test_two_claimants_of_one_invoice_are_ambiguous_both():
    matches = reconcile(book((number(11),), (number(12),)), book((number(10),)))
    assert matches["outcome"].to_list() == ["ambiguous", "ambiguous", "unbooked"]
    assert matches["candidates"].to_list()[:2] == [[0], [0]]


def test_of_several_rows_with_one_number_the_agreeing_one_is_matched():
    ledger = book((number(1), 7), (number(1), 6), (number(1), 6))
    assert outcomes(reconcile(ledger, book((number(1), 6)))) == [
        (0, 0, "duplicate"),
        (1, 0, "matched"),
        (2, 0, "duplicate"),
    ]


def test_a_further_platform_row_of_a_matched_number_belongs_to_nobody():
    assert outcomes(reconcile(book((number(1),)), book((number(1),), (number(1),)))) == [
        (0, 0, "matched"),
        (None, 1, "duplicate"),
    ]


def test_a_number_of_another_invoice_is_tried_for_a_typing_error_first():
    ledger = book((number(12), 6, 70), (number(12), 6, 100))
    assert outcomes(reconcile(ledger, book((number(12), 6, 100), (number(13), 6, 70)))) == [
        (0, 1, "mistyped"),
        (1, 0, "matched"),
    ]
    assert outcomes(reconcile(book((number(12), 6, 70)), book((number(12), 6, 100)))) == [(0, 0, "conflict")]


def test_a_number_that_lost_precision_is_found_by_what_is_left_if_that_is_unique():
    lossy = book(("2.51120000000777E+19", 6, 70))
    whole = number(77_712_345)
    assert told(lossy, book((whole, 6, 70))) == [("matched_cleaned", 0, [], ["precision_lost"])]
    twice = reconcile(lossy, book((whole, 6, 70), (number(77_712_346), 6, 70)))
    assert twice.select("outcome", "candidates", "invoice_key").row(0) == ("ambiguous", [0, 1], None)


def test_old_invoices_and_paper_ones():
    columns = {"digital_number": pl.String, "invoice_code": pl.String, "invoice_number": pl.String}
    rest = {"issued_at": [MAY] * 3, "gross": [1, 2, 3]}
    ledger = pl.DataFrame(
        {
            "digital_number": [None, None, None],
            "invoice_code": ["11002300211", "011002300311", "251120000000"],
            "invoice_number": ["12345678", "00000009", "00000010"],
            **rest,
        },
        schema_overrides=columns,
    )
    platform = pl.DataFrame(
        {
            "digital_number": ["--", number(5), number(10)],
            "invoice_code": ["011002300211", "011002300311", ""],
            "invoice_number": ["12345678", "00000009", ""],
            **rest,
        },
        schema_overrides=columns,
    )
    assert told(ledger, platform) == [
        ("matched_cleaned", 0, [], ["leading_zero"]),
        ("matched", 1, [], []),
        ("matched_cleaned", 2, [], ["split_number"]),
    ]


def test_the_first_pass_alone_settles_only_what_is_tidy_and_single():
    ledger = book((number(1),), (number(2),), (number(2),), (f"'{number(3)}",), (number(4), 6, 5))
    platform = book((number(1),), (number(2),), (number(3),), (number(4), 6, 6))
    case = PASSES[0](open_case(ledger, platform))
    assert case.left["row"].to_list() == [1, 2, 3, 4]
    assert case.right["row"].to_list() == [1, 2, 3]


def test_policy_says_how_far_amounts_may_differ():
    ledger, platform = book((number(1), 6, 100)), book((number(1), 6, 100.5))
    assert outcomes(reconcile(ledger, platform, policy=MatchingPolicy(amount_tolerance_yuan=0.5))) == [
        (0, 0, "matched")
    ]


def test_what_is_missing_is_said_in_one_sentence():
    with pytest.raises(RequestError, match="ledger has no column gross"):
        reconcile(book().drop("gross"), book())
    with pytest.raises(RequestError, match="platform has no number column"):
        reconcile(book(), book().drop("digital_number"))


# --- very many rows of one number, one day and amount ---------------------------------------------------------------


def damaged(whole: str) -> str:
    return f"{whole[0]}.{whole[1:15]}E+19"


def crowd(numbers: list[str], gross: list[int] | None = None) -> pl.DataFrame:
    frame = pl.DataFrame({"digital_number": numbers}, schema={"digital_number": pl.String})
    amounts = pl.Series(gross) if gross else pl.repeat(100, frame.height, eager=True)
    return frame.with_columns(issued_at=pl.lit(MAY), gross=amounts.cast(pl.Decimal(18, 2)))


CROWD = 20_000
CROWDS = {
    "one number": ([number(7)] * CROWD, [number(7)] * CROWD, 1),
    "damaged": ([damaged(number(at)) for at in range(CROWD)], [number(at) for at in range(CROWD)], 1),
    "repeated": ([number(7)] * CROWD, [number(8)] * CROWD, 1),
    "one number of many amounts": ([number(7)] * CROWD, [number(7)] * CROWD, 2),
}


@pytest.mark.parametrize("name", CROWDS)
def test_crowds_are_settled_without_joining_all_with_all(name: str, monkeypatch: pytest.MonkeyPatch):
    ours, theirs, apart = CROWDS[name]
    compared = []
    measured = comparison.apart
    monkeypatch.setattr(comparison, "apart", lambda *rows, **kw: compared.append(len(rows[0])) or measured(*rows, **kw))
    joined = []
    join = pl.DataFrame.join

    def counting(self: pl.DataFrame, *rest, **options) -> pl.DataFrame:
        found = join(self, *rest, **options)
        joined.append(found.height)
        return found

    monkeypatch.setattr(pl.DataFrame, "join", counting)
    amounts = None if apart == 1 else ([2 * at for at in range(CROWD)], [2 * at + 500_001 for at in range(CROWD)])
    matches = reconcile(crowd(ours, amounts and amounts[0]), crowd(theirs, amounts and amounts[1]))
    assert max([*joined, *compared]) <= 60 * CROWD
    assert matches["ledger_row"].drop_nulls().to_list() == list(range(CROWD))
    expected = {
        "one number": {"matched": 1, "duplicate": 2 * CROWD - 2},
        "one number of many amounts": {"conflict": 1, "duplicate": 2 * CROWD - 2},
    }.get(name, {"ambiguous": CROWD, "unbooked": CROWD})
    assert dict(matches["outcome"].cast(pl.String).value_counts().iter_rows()) == expected


def test_of_too_many_candidates_the_first_are_listed_and_all_are_counted():
    theirs = [number(at) for at in range(450)][::-1]
    matches = reconcile(crowd([damaged(number(0)), number(98_765)]), crowd(theirs))
    first = matches.row(0, named=True)
    assert (first["outcome"], first["candidate_count"]) == ("ambiguous", 450)
    assert first["candidates"] == list(range(near_numbers.MOST_CANDIDATES_ROWS))
    assert matches.row(1, named=True)["candidate_count"] == 0


def test_damaged_numbers_of_different_amounts_are_all_matched():
    amounts = list(range(1, 2_001))
    numbers = [number(at) for at in amounts]
    matches = reconcile(crowd([damaged(one) for one in numbers], amounts), crowd(numbers[::-1], amounts[::-1]))
    assert matches["outcome"].unique().to_list() == ["matched_cleaned"]
    assert matches["platform_row"].to_list() == list(range(1_999, -1, -1))


@pytest.mark.slow
@settings(max_examples=12, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 12), st.booleans(), st.sampled_from([100, 101, None])), max_size=25),
    st.lists(st.tuples(st.integers(0, 12), st.booleans(), st.sampled_from([100, 101, None])), max_size=25),
    st.integers(8, 40),
)
def test_the_size_of_the_blocks_changes_nothing(ours: list, theirs: list, at_once: int):
    sides = [
        book(*((damaged(number(at)) if lossy else number(at), 6, gross or 0) for at, lossy, gross in rows))
        for rows in (ours, theirs)
    ]
    usual = reconcile(*sides)
    with pytest.MonkeyPatch.context() as patch:
        for function in (rivals.best, near_numbers.links):
            patch.setitem(function.__kwdefaults__, "pairs_at_once", at_once)
        patch.setitem(rivals.best.__kwdefaults__, "many_pairs", at_once % 3)
        patch.setattr(first_pass, "_SWELLS", 0)
        assert reconcile(*sides).equals(usual)
