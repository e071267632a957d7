"""Matching against a slow oracle that follows the rules of the tables word by word, and case by case."""

from __future__ import annotations

from collections import defaultdict
from datetime import datetime
from decimal import Decimal

import polars as pl
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from audit_kit import identity, schema
from audit_kit.rules import comparison
from audit_kit.rules.matching import reconcile

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


# --- the oracle ---------------------------------------------------------------------------------------------------


def one_error(ours: str, theirs: str) -> bool:
    if len(ours) != len(theirs):
        return False
    apart = [at for at, (a, b) in enumerate(zip(ours, theirs, strict=True)) if a != b]
    if len(apart) == 1:
        return True
    swapped = len(apart) == 2 and apart[1] == apart[0] + 1
    return swapped and ours[apart[0]] == theirs[apart[1]] and ours[apart[1]] == theirs[apart[0]]


def stated_fits(stated: str | None, whole: str | None) -> bool:
    if stated is None or whole is None or len(whole) != 20:
        return False
    return -50_000 <= int(whole) - int(stated) < 100_000


class Row:
    """A row as a person reads it."""

    def __init__(self, at: int, values: dict, fields: list[str]) -> None:
        self.at, self.key, self.cleaning = at, values["invoice_key"], values["cleaning"]
        self.stated, self.day, self.gross = values["stated"], values["issued_at"].date(), values["gross"]
        self.values = {name: values[name] for name in fields}
        self.values["issued_at"] = self.day

    def differences(self, other: Row) -> list[str]:
        found = []
        for name in comparison.FIELDS:
            ours, theirs = self.values.get(name), other.values.get(name)
            if ours is None or theirs is None or ("unknown" in (ours, theirs) and name == "status"):
                continue
            if name in comparison.MONEY:
                if abs(ours - theirs) > Decimal("0.01"):
                    found.append(name)
            elif ours != theirs:
                found.append(name)
        return found


def rows_of(frame: pl.DataFrame) -> list[Row]:
    keyed = identity.with_key(frame)
    keyed = keyed.with_columns(stated=identity.stated_number(frame))
    for name, fold in comparison.FOLDS.items():
        if name in keyed.columns:
            keyed = keyed.with_columns(fold(pl.col(name)).alias(name))
    fields = [name for name in comparison.FIELDS if name in frame.columns]
    return [Row(at, values, fields) for at, values in enumerate(keyed.to_dicts())]


def oracle(ledger: pl.DataFrame, platform: pl.DataFrame) -> list[tuple]:
    """Return ledger row, platform row, outcome, candidates, differences, found by comparing all with all."""
    ours, theirs = rows_of(ledger), rows_of(platform)
    ledger_found: dict[int, tuple] = {}
    platform_found: dict[int, str] = {}
    claimed: dict[str, int] = {}

    def best(key: str) -> tuple | None:
        pairs = [
            ("gross" in row.differences(other), len(row.differences(other)), row.at, other.at)
            for row in ours
            for other in theirs
            if row.key == other.key == key and row.at not in ledger_found and other.at not in platform_found
        ]
        return min(pairs, default=None)

    def link(row: Row, other: Row, outcome: str | None = None) -> None:
        different = row.differences(other)
        cleaned = bool(row.cleaning or other.cleaning)
        plain = "conflict" if different else "matched_cleaned" if cleaned else "matched"
        ledger_found[row.at] = (other.at, outcome or plain, [], different)
        platform_found[other.at] = "claimed"
        if other.key is not None:
            claimed[other.key] = min(other.at, claimed.get(other.key, other.at))

    def double(row: Row, at: int) -> None:
        ledger_found[row.at] = (at, "duplicate", [], [])

    def further() -> None:
        for other in theirs:
            if other.key in claimed and other.at not in platform_found:
                platform_found[other.at] = "duplicate"

    keys = {row.key for row in ours if row.key is not None}
    for key in sorted(keys):
        head = best(key)
        if head is None or head[0]:
            continue
        link(ours[head[2]], theirs[head[3]])
        for row in ours:
            if row.key == key and row.at not in ledger_found and "gross" not in row.differences(theirs[head[3]]):
                double(row, head[3])
    further()

    candidates, claimants = defaultdict(set), defaultdict(set)
    for row in ours:
        for other in theirs:
            if row.at in ledger_found or other.at in platform_found:
                continue
            near = row.key is not None and other.key is not None and one_error(row.key, other.key)
            lost = stated_fits(row.stated, other.key) or stated_fits(other.stated, row.key)
            both = row.stated and other.stated and row.stated[:15] == other.stated[:15]
            both = both and -50_000 <= int(other.stated) - int(row.stated) < 100_000
            if (near or lost or both) and row.day == other.day and row.gross == other.gross:
                candidates[row.at].add(other.at)
                claimants[other.at].add(row.at)
    for at, others in candidates.items():
        row, other = ours[at], theirs[min(others)]
        strangers = {"seller_tax_id", "buyer_tax_id"} & set(row.differences(other))
        if len(others) == 1 and len(claimants[other.at]) == 1 and not strangers:
            lossy = row.stated is not None or other.stated is not None
            if lossy:
                outcome = "conflict" if row.differences(other) else "matched_cleaned"
            link(row, other, outcome if lossy else "mistyped")
        else:
            ledger_found[at] = (None, "ambiguous", sorted(others), [])

    for row in ours:
        if row.at not in ledger_found and row.key in claimed:
            double(row, claimed[row.key])
    for key in sorted(keys):
        head = best(key)
        if head is not None and key not in claimed:
            link(ours[head[2]], theirs[head[3]])
            for row in ours:
                if row.key == key and row.at not in ledger_found:
                    double(row, head[3])
    further()

    table = [(row.at, *ledger_found.get(row.at, (None, "missing", [], []))) for row in ours]
    rest = [other for other in theirs if platform_found.get(other.at) != "claimed"]
    return table + [(None, other.at, platform_found.get(other.at, "unbooked"), [], []) for other in rest]


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


@CALM
@given(BOOKS, BOOKS)
def test_random_books_are_reconciled_as_the_oracle_says(ledger: pl.DataFrame, platform: pl.DataFrame):
    matches = reconcile(ledger, platform)
    columns = ["ledger_row", "platform_row", "outcome", "candidates", "differences"]
    assert matches.select(columns).rows() == oracle(ledger, platform)


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
    assert not unclear or platform["digital_number"].drop_nulls().is_duplicated().any() or _same_key(ledger)


def _same_key(ledger: pl.DataFrame) -> bool:
    return identity.with_key(ledger)["invoice_key"].drop_nulls().is_duplicated().any()
