"""What must not be seen of a real month, and a made month without any of it."""

from __future__ import annotations

import re
from dataclasses import fields, is_dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from audit_kit import resources
from audit_kit.core import schema
from audit_kit.core.errors import RequestError
from audit_kit.training.world import parties
from audit_kit.training.world.dice import Dice

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from audit_kit.loaders.engagement.engagement import Engagement
    from audit_kit.training.world.dice import Integers
    from audit_kit.training.world.shape import World

# Columns whose words are the trade's and no company's own, and those that are numbers of invoices, made anew anyway.
COMMON = {
    "kind", "origin", "channel", "status", "role", "grants", "action", "field", "result", "event", "level", "state",
    "outcome", "metric", "scope", "risk", "risk_state", "unit", "source_file", "tz", "tool", "cron",
}  # fmt: skip
NUMBERS = {"invoice_code", "invoice_number", "digital_number", "red_of", "checked_number", "form", "invoice_key"}
NAMES = {"seller_name", "buyer_name"}
TAX_IDS = {"seller_tax_id", "buyer_tax_id", "tax_id"}
TABLES = (
    "ledger", "platform", "later", "sync_log", "accounts", "notices", "operations", "confirmations", "substitute",
    "red_confirmations", "register", "tickets", "metrics",
)  # fmt: skip
SHORTEST = 4  # letters of a value that is looked for within others
AT_ONCE, MOST_TRIES = 500, 20
_FIGURE = re.compile(r"[\d.,:\-/ ]+")


def words_of(engagement: Engagement) -> set[str]:
    """Return every name, tax id, number, account, remark, file name and other free text of an engagement."""
    found = {text for table in schema.INPUTS if engagement.has(table) for text in _texts(engagement.table(table))}
    found |= {part for path in engagement.folder.rglob("*") for part in (path.name, path.stem) if path.is_file()}
    settings = engagement.settings
    found |= set(_strings((settings.name, settings.taxpayer_ids, settings.branches, settings.former_ids)))
    found |= set(_strings((settings.taxpayer_name, settings.export.account, settings.plan, settings.training)))
    return {text.strip() for text in found if len(text.strip()) > 1}


def amounts_of(engagement: Engagement) -> Integers:
    """Return every amount of an engagement in fen, without sign; nothing is no amount."""
    held: set[int] = set()
    for table in schema.INPUTS:
        if engagement.has(table):
            frame = engagement.table(table).select(pl.selectors.decimal())
            for column in frame.iter_columns():
                held |= set((column.drop_nulls().cast(pl.Float64).abs() * 100).round(0).cast(pl.Int64).unique())
    return np.array(sorted(held - {0}), dtype=np.int64)


def _texts(frame: pl.DataFrame) -> Iterator[str]:
    for name, dtype in frame.schema.items():
        if dtype == pl.String and (name not in COMMON or name == "source_file"):
            yield from frame[name].drop_nulls().unique()


def _strings(value: Any) -> Iterator[str]:  # noqa: ANN401  whatever a setting holds
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        yield from (text for one in value.values() for text in _strings(one))
    elif isinstance(value, (tuple, list)):
        yield from (text for one in value for text in _strings(one))
    elif is_dataclass(value):
        yield from (text for one in fields(value) for text in _strings(getattr(value, one.name)))


class Veil:
    """New words for those that a real month has; the same word always gets the same one."""

    def __init__(self, held: set[str], frames: Iterable[pl.DataFrame], seed: int) -> None:
        """Take the words that must not be seen, the frames to be disguised, and the seed of the made month."""
        self._held, self._seed = held, seed
        self._within = [word for word in sorted(held) if len(word) >= SHORTEST and not _FIGURE.fullmatch(word)]
        self._new: dict[str, str] = {}
        self._given: set[str] = set()
        self._made: dict[str, int] = {}
        self._pools: dict[str, list[str]] = {}
        texts = {text for frame in frames for name in _free(frame) for text in frame[name].drop_nulls().unique()}
        listed = pl.Series(sorted(texts), dtype=pl.String)
        within = listed.filter(listed.str.contains_any(self._within)) if self._within else listed.clear()
        self._shown = {*within, *(text for text in texts if text.strip() in held)}

    def over(self, frame: pl.DataFrame) -> pl.DataFrame:
        """Return a frame with new words for those that must not be seen."""
        for name in _free(frame):
            wanted = [text for text in frame[name].drop_nulls().unique(maintain_order=True) if text in self._shown]
            if wanted:
                frame = frame.with_columns(pl.col(name).replace({text: self._of(text, name) for text in wanted}))
        return frame

    def _of(self, text: str, column: str) -> str:
        if text not in self._new:
            self._new[text] = self._fresh(column)
        return self._new[text]

    def _fresh(self, column: str) -> str:
        """Return a word that nobody has; they are made by the many, for looking them over costs."""
        pool = self._pools.setdefault(column, [])
        for _ in range(MOST_TRIES):
            if pool:
                return pool.pop()
            first = self._made[column] = self._made.get(column, 0) + AT_ONCE
            words = pl.Series([self._word(column, turn) for turn in range(first, first - AT_ONCE, -1)]).unique(
                maintain_order=True
            )
            clear = ~words.is_in(list(self._held)) & ~words.is_in(list(self._given))
            clear &= ~words.str.contains_any(self._within) if self._within else clear
            pool += words.filter(clear).to_list()
            self._given |= set(pool)
        raise RequestError("error_training.not_disguised", column=column)

    def _word(self, column: str, turn: int) -> str:
        words = resources.load("simulation")
        if column in NAMES | TAX_IDS:
            dice = Dice(self._seed, f"veil {column} {turn}")
            [other] = parties.companies(1, dice, words["names"], mark=words["veil"]["mark"])
            return other.name if column in NAMES else other.tax_id
        forms = words["veil"]["forms"]
        return str(forms.get(column, forms["other"]).format(turn=turn))


def _free(frame: pl.DataFrame) -> list[str]:
    """Return the columns of a frame that hold a company's own words."""
    return [
        name
        for name, dtype in frame.schema.items()
        if dtype == pl.String and name not in COMMON and name not in NUMBERS
    ]


def disguised(made: World, held: set[str], seed: int) -> World:
    """Return a made month in which no word of a real one is left."""
    alone = pl.DataFrame({"account": [made.export.account], "seller_name": [made.taxpayer_name]})
    ids = pl.DataFrame({"tax_id": list(made.taxpayer_ids)}, schema={"tax_id": pl.String()})
    held_frames = [getattr(made, name) for name in TABLES]
    veil = Veil(held, [*held_frames, alone, ids], seed)
    frames: dict[str, Any] = {name: veil.over(frame) for name, frame in zip(TABLES, held_frames, strict=True)}
    words = resources.load("simulation")
    plainly = pl.col("result").replace({words["words"]["failed"]: words["veil"]["failed"]})
    frames["operations"] = frames["operations"].with_columns(plainly)
    account, name = veil.over(alone).row(0)
    return replace(
        made,
        **frames,
        export=replace(made.export, account=account),
        taxpayer_name=name,
        taxpayer_ids=tuple(veil.over(ids)["tax_id"]),
    )


def numbers_shown(made: World, held: set[str]) -> bool:
    """Tell whether a number of a real month is among those of a made one."""
    numbers: Iterable[pl.Series] = (
        frame[name] for frame in (made.ledger, made.later) for name in NUMBERS if name in frame
    )
    wanted = pl.Series(sorted(held), dtype=pl.String).implode()
    return any(bool(column.drop_nulls().is_in(wanted).any()) for column in numbers)


def amounts_shown(made: World, amounts: Integers) -> int:
    """Return how many amounts of a made month, in any of its tables, are amounts of a real one."""
    shown = 0
    for name in TABLES:
        for column in getattr(made, name).select(pl.selectors.decimal()).iter_columns():
            fen = (column.drop_nulls().cast(pl.Float64).abs() * 100).round(0).cast(pl.Int64)
            shown += int(np.isin(fen.to_numpy(), amounts).sum())
    return shown
