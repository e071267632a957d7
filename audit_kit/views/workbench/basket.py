"""The basket: rows that an auditor kept from the panels, with note and judgement, across sessions.

It lies beside the kept analyses (`analysis.exploration_log.work_folder`), never in the engagement. Rows that are kept
at once are a lot, which knows the filter, the control totals and the fingerprint of what it was taken from.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

import polars as pl

from audit_kit.analysis.exploration_log import held, who, work_folder
from audit_kit.core import outputs

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

ROWS = {
    "row_id": pl.String(),
    "lot": pl.UInt32(),
    "judgement": pl.String(),
    "note": pl.String(),
    "invoice_key": pl.String(),
    "level": pl.String(),
    "cause": pl.String(),
    "issued_at": pl.Datetime("us"),
    "amount": pl.Decimal(18, 2),
    "buyer_name": pl.String(),
    "evidence": pl.String(),
    "source_file": pl.String(),
    "source_row": pl.UInt32(),
    "finding_id": pl.String(),
    "who": pl.String(),
    "at": pl.Datetime("us"),
}
OPEN = "open"
JUDGEMENTS = ("agreed", "to_ask", "explained", "our_error")
FILE, LOTS = "basket.parquet", "lots.json"
_AMOUNTS = ("amount", "gross", "yuan")
_TIMES = ("issued_at", "opened_at", "due")


@dataclass(frozen=True, kw_only=True)
class Lot:
    """Rows that were kept at once: from which page and period, by which filter, with which totals and fingerprint."""

    number: int
    source: str
    period: str
    filters: Mapping[str, str]
    rows: int
    yuan: str
    fingerprint: str
    who: str
    at: str


class Basket:
    """The basket of one engagement, read anew each time, since several notebooks may add to it."""

    def __init__(self, engagement: Path) -> None:
        """Look after the basket of an engagement's folder."""
        self.engagement = engagement

    @property
    def rows(self) -> pl.DataFrame:
        """What is kept: `ROWS`, the first kept first."""
        path = work_folder(self.engagement) / FILE
        try:
            return (
                pl.read_parquet(path, glob=False).select(ROWS.keys()) if path.is_file() else pl.DataFrame(schema=ROWS)
            )
        except pl.exceptions.PolarsError:
            return pl.DataFrame(schema=ROWS)

    @property
    def lots(self) -> list[Lot]:
        """The lots, the first first."""
        path = work_folder(self.engagement) / LOTS
        return [Lot(**one) for one in json.loads(path.read_text(encoding="utf-8"))] if path.is_file() else []

    def keep(
        self,
        rows: pl.DataFrame,
        *,
        source: str,
        period: str,
        filters: Mapping[str, str],
        fingerprint: str,
        note: str = "",
        judgement: str = OPEN,
    ) -> Lot:
        """Keep rows of a panel; one that is kept already is not kept twice, but gets the new note and judgement."""
        with held(self.engagement):
            before = self.lots
            taken = _taken(rows, source)
            lot = Lot(
                number=len(before) + 1,
                source=source,
                period=period,
                filters=dict(filters),
                rows=taken.height,
                yuan=f"{taken['amount'].sum():.2f}",
                fingerprint=fingerprint,
                who=who(),
                at=datetime.now().astimezone().isoformat(timespec="seconds"),
            )
            now = pl.lit(datetime.now(), pl.Datetime("us"))  # noqa: DTZ005  the clock on the user's wall
            new = taken.with_columns(lot=pl.lit(lot.number, pl.UInt32), who=pl.lit(lot.who), at=now)
            new = new.with_columns(note=pl.lit(note), judgement=pl.lit(judgement)).select(ROWS.keys())
            self._write(pl.concat([self.rows, new]).unique("row_id", keep="last", maintain_order=True), [*before, lot])
        return lot

    def judge(self, row_ids: pl.Series, *, note: str | None = None, judgement: str | None = None) -> None:
        """Set note and judgement of rows; null leaves one as it is."""
        mine = pl.col("row_id").is_in(row_ids.implode())
        values = {"note": note, "judgement": judgement}
        with held(self.engagement):
            self._write(
                self.rows.with_columns(
                    pl.when(mine).then(pl.lit(value)).otherwise(name).alias(name)
                    for name, value in values.items()
                    if value is not None
                ),
                self.lots,
            )

    def remove(self, row_ids: pl.Series) -> None:
        """Take rows out of the basket."""
        with held(self.engagement):
            self._write(self.rows.filter(~pl.col("row_id").is_in(row_ids.implode())), self.lots)

    def _write(self, rows: pl.DataFrame, lots: list[Lot]) -> None:
        folder = work_folder(self.engagement)
        with outputs.writing(folder / FILE) as made:
            rows.write_parquet(made)
        with outputs.writing(folder / LOTS) as made:
            text = json.dumps([asdict(lot) for lot in lots], ensure_ascii=False, indent=1)
            made.write_text(text, encoding="utf-8")


def _taken(rows: pl.DataFrame, source: str) -> pl.DataFrame:
    """Return rows of any panel as the basket holds them, each known by its finding, else by all that it says."""
    sources: dict[str, Any] = {name: name for name in ROWS if name in rows.columns}
    sources["amount"] = next((name for name in _AMOUNTS if name in rows.columns), None)
    sources["issued_at"] = next((name for name in _TIMES if name in rows.columns), None)
    if "severity" not in rows.columns:  # the level of a ticket is none
        sources.pop("level", None)
    if "invoice_key" not in rows.columns and "number" in rows.columns:
        sources["invoice_key"] = "number"
    made = rows.select(
        (pl.col(sources[name]) if sources.get(name) else pl.lit(None)).cast(dtype, strict=False).alias(name)
        for name, dtype in ROWS.items()
    )
    if "evidence" not in rows.columns:
        others = [name for name in _TOLD if name in rows.columns]
        told = pl.concat_str([pl.col(name).cast(pl.String) for name in others], separator=" · ", ignore_nulls=True)
        made = made.with_columns(rows.select(told.alias("evidence")).to_series()) if others else made
    known = pl.concat_str(
        [
            pl.col(name).cast(pl.String).fill_null("")
            for name in ("invoice_key", "cause", "issued_at", "amount", "evidence")
        ],
        separator="\x1f",
    )
    ids = made.select(row_id=pl.coalesce("finding_id", pl.lit(f"{source}\x1f") + known))["row_id"].to_list()
    hashed = [hashlib.sha256(one.encode(errors="surrogateescape")).hexdigest()[:KEY] for one in ids]
    return made.with_columns(row_id=pl.Series(hashed, dtype=pl.String))


KEY = 20
_TOLD = ("seen", "shown", "job", "kind_name", "backup_id", "ticket", "rung", "said", "reply")
