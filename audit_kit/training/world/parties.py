"""Synthetic companies and people: valid check digits, names marked as made up, nobody real."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
from stdnum.cn import uscc

if TYPE_CHECKING:
    from audit_kit.training.world.dice import Dice, Integers


@dataclass(frozen=True)
class Company:
    """A made-up company and its taxpayer id."""

    tax_id: str
    name: str


def companies(count: int, dice: Dice, names: dict[str, Any], *, mark: str, home: bool = False) -> list[Company]:
    """Return `count` companies; `home` = all of them in the first place listed."""
    places = dice.below(1 if home else len(names["places"]), count)
    parts = [dice.below(len(names[part]), count) for part in ("first", "second", "trades", "forms")]
    serials = dice.below(1_000_000, count)
    made = []
    for at in range(count):
        words = [names[part][picks[at]] for part, picks in zip(("first", "second", "trades"), parts[:3], strict=True)]
        form = names["forms"][0 if home else parts[3][at]]
        body = f"91{names['regions'][places[at]]}XN{serials[at]:06d}{at % 10}"
        tax_id = body + uscc.calc_check_digit(body)
        made.append(Company(tax_id, names["places"][places[at]] + mark + "".join(words) + form))
    return made


def buyers(count: int, dice: Dice, names: dict[str, Any], *, mark: str, hostile: bool) -> pl.DataFrame:
    """Return `tax_id` (null for persons), `name`, `weight`: counterparties, a few of which take most invoices."""
    made = companies(count, dice, names, mark=mark)
    tax_ids: list[str | None] = [company.tax_id for company in made]
    labels = [company.name for company in made]
    for at in range(7, count, 13):
        tax_ids[at], labels[at] = None, names["person"]
    if hostile:
        labels[1 : 1 + len(names["hostile"])] = names["hostile"][: count - 1]
    return pl.DataFrame(
        {"tax_id": tax_ids, "name": labels, "weight": 1.0 / (np.arange(count) + 2.0)},
        schema={"tax_id": pl.String(), "name": pl.String(), "weight": pl.Float64()},
    )


def account_names(channels: list[str], prefixes: list[str], owners: Integers) -> pl.DataFrame:
    """Return `account`, `channel`, `owner` (position of the taxpayer), `weight`: three accounts a channel and owner."""
    rows = [
        (f"{prefix}{owner + 1}{place:02d}", channel, int(owner), 1.0 / place)
        for owner in owners
        for channel, prefix in zip(channels, prefixes, strict=True)
        for place in (1, 2, 3)
    ]
    return pl.DataFrame(rows, schema=["account", "channel", "owner", "weight"], orient="row")
