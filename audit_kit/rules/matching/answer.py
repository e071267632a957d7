"""Put the decided rows of a reconciliation together: `schema.Matches`, whole or a stretch at a time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import polars as pl
import pyarrow as pa

from audit_kit.core import schema

if TYPE_CHECKING:
    from audit_kit.rules.matching.case import Case

_NONE = np.iinfo(np.uint32).max
_OUTCOME = pl.Enum(schema.OUTCOMES)
_LISTS = {"candidates": pl.UInt32(), "differences": pl.String(), "cleaning": pl.String()}


@dataclass(frozen=True)
class Answer:
    """What was decided: for every ledger row its partner and outcome, and notes on the few rows that need one.

    `keys` (`ledger_row`, `own`) are the keys that are not the number as it stands; `notes` the lists that are not
    empty, by column; `counts` (`ledger_row`, `candidate_count`) say of how many candidates the first are listed.
    `unclaimed` are the platform rows that no ledger row claims, as `schema.Matches`.
    """

    partners: pl.Series
    outcomes: pl.Series
    keys: pl.DataFrame
    notes: dict[str, pl.DataFrame]
    counts: pl.DataFrame
    unclaimed: pl.DataFrame

    def booked(self, text: pl.Series, start: int = 0) -> pl.DataFrame:
        """Return the ledger rows from `start` on, as many as their numbers as they stand (`text`)."""
        stop = start + len(text)
        keys = _stretch(self.keys, start, stop)
        counted = _stretch(self.counts, start, stop)
        lists = {name: _lists(_stretch(notes, start, stop), len(text), name) for name, notes in self.notes.items()}
        return pl.DataFrame(
            {
                "ledger_row": pl.int_range(start, stop, dtype=pl.UInt32, eager=True),
                "platform_row": self.partners[start:stop],
                "invoice_key": text.clone().scatter(keys["ledger_row"], keys["own"]) if keys.height else text,
                "candidates": lists["candidates"],
                "candidate_count": pl.zeros(len(text), pl.UInt32, eager=True).scatter(
                    counted["ledger_row"], counted["candidate_count"]
                ),
                "outcome": self.outcomes[start:stop],
                "differences": lists["differences"],
                "cleaning": lists["cleaning"],
            }
        )


def matches(case: Case, text: pl.Series) -> pl.DataFrame:
    """Return the ledger rows in order, then the platform rows that no ledger row claims, in order.

    `text` are the ledger's numbers as they stand.
    """
    found = answer(case)
    return pl.concat([found.booked(text), found.unclaimed])


def answer(case: Case) -> Answer:
    """Gather what was decided."""
    height = len(case.ledger.whole)
    partner, codes = np.full(height, _NONE, dtype=np.uint32), np.zeros(height, dtype=np.uint8)
    for rows in case.found:
        places = rows["ledger_row"]
        if places.null_count() < rows.height:
            partner[places.to_numpy()] = rows["platform_row"].fill_null(_NONE).to_numpy()
            codes[places.to_numpy()] = rows["outcome"].to_physical().to_numpy()
    partners = pl.Series(partner)
    partners = partners.set(partners == _NONE, None)
    left = case.cleaned[0] if case.cleaned else case.left.clear().with_columns(own=pl.lit(None, pl.String))
    return Answer(
        partners=partners,
        outcomes=pl.Series(codes).cat.to(_OUTCOME),
        keys=left.select("own", ledger_row="row").sort("ledger_row"),
        notes={
            "candidates": _noted(case.candidates, "candidates"),
            "differences": _noted(case.differences, "differences"),
            "cleaning": _noted(_cleaning(case, partners), "cleaning"),
        },
        counts=_counts(case),
        unclaimed=_unclaimed(case),
    )


def _unclaimed(case: Case) -> pl.DataFrame:
    """Return the platform rows without a ledger row."""
    rows = pl.concat([rows.filter(pl.col("ledger_row").is_null()) for rows in case.found]).sort("platform_row")
    cleaned = case.cleaned[1] if case.cleaned else pl.DataFrame(schema={"row": pl.UInt32, "own": pl.String})
    named = rows.join(cleaned, left_on="platform_row", right_on="row", how="left", maintain_order="left")
    return named.select(
        "ledger_row",
        "platform_row",
        invoice_key="own",
        candidates=pl.lit([], pl.List(pl.UInt32)),
        candidate_count=pl.lit(0, pl.UInt32),
        outcome="outcome",
        differences=pl.lit([], pl.List(pl.String)),
        cleaning="cleaning",
    )


def _cleaning(case: Case, partners: pl.Series) -> tuple[pl.DataFrame, ...]:
    """Return `ledger_row`, `cleaning`: what was cleaned in the ledger's number or in that of its platform row."""
    if case.cleaned is None:
        return ()
    left, right = (rows.select("row", "cleaning") for rows in case.cleaned)
    ours = left.select("cleaning", ledger_row="row", partner=partners.gather(left["row"]))
    both = ours.join(right, left_on="partner", right_on="row", how="left")
    words = pl.concat_list("cleaning", pl.col("cleaning_right").fill_null(pl.lit([], pl.List(pl.String))))
    both = both.select("ledger_row", cleaning=words.list.unique(maintain_order=True))
    return (both.filter(pl.col("cleaning").list.len() > 0),)


def _counts(case: Case) -> pl.DataFrame:
    """Return how many candidates the ambiguous rows have, in the order of the ledger."""
    nothing = pl.DataFrame(schema={"ledger_row": pl.UInt32, "candidate_count": pl.UInt32})
    return pl.concat([nothing, *(part.select(nothing.columns) for part in case.candidates)]).sort("ledger_row")


def _noted(notes: tuple[pl.DataFrame, ...], name: str) -> pl.DataFrame:
    """Return the notes of one column in the order of the ledger."""
    columns = {"ledger_row": pl.UInt32(), name: pl.List(_LISTS[name])}
    return pl.concat([pl.DataFrame(schema=columns), *(part.select(*columns) for part in notes)]).sort("ledger_row")


def _stretch(rows: pl.DataFrame, start: int, stop: int) -> pl.DataFrame:
    """Return the rows (sorted) of the ledger rows from `start` to before `stop`, counted from `start`."""
    first, last = np.searchsorted(rows["ledger_row"].to_numpy(), [start, stop])
    return rows[int(first) : int(last)].with_columns((pl.col("ledger_row") - start).cast(pl.UInt32))


def _lists(noted: pl.DataFrame, height: int, name: str) -> pl.Series:
    """Return a list column that is empty but for the noted rows; nothing is allocated for the others."""
    lengths = np.zeros(height + 1, dtype=np.int64)
    lengths[noted["ledger_row"].to_numpy() + 1] = noted[name].list.len().to_numpy()
    values = noted[name].explode(empty_as_null=False).to_arrow(compat_level=pl.CompatLevel.oldest())
    # The buffer as it is: `pa.array` of a numpy array imports pandas where that is installed, a third of a second.
    starts = pa.Array.from_buffers(pa.int64(), height + 1, [None, pa.py_buffer(np.cumsum(lengths))])
    lists = pa.LargeListArray.from_arrays(starts, values)
    return pl.Series(name, lists, dtype=pl.List(_LISTS[name]))
