"""A drill's month from a real one: its likeness, disguised, with a scenario that says so."""

from __future__ import annotations

from typing import TYPE_CHECKING

from audit_kit import resources
from audit_kit.analysis.work import analyse, require_both_sides
from audit_kit.core.cause_records import of_stage
from audit_kit.core.errors import RequestError
from audit_kit.training.drill import sealing
from audit_kit.training.drill.making import Plan
from audit_kit.training.drill.scenarios import scenarios
from audit_kit.training.likeness import disguise
from audit_kit.training.likeness.from_month import likeness, month_of
from audit_kit.training.world.dice import Dice
from audit_kit.training.world.simulate import world

if TYPE_CHECKING:
    from audit_kit.loaders.engagement.engagement import Engagement

SCENARIO = "past_month"
ATTEMPTS = 8  # a number or an amount may by chance be one of the real month's


def planned(engagement: Engagement, month: str | None, nonce: str, seed: int | None) -> Plan:
    """Return the plan of a drill from a real month.

    Raises:
        RequestError: there is no such month, or no made month is free of its numbers and amounts.
        EngagementError: there is no ledger, or no platform export.
    """
    require_both_sides(engagement)
    analysis = analyse(engagement)
    wanted = month_of(analysis, month)
    held, amounts = disguise.words_of(engagement), disguise.amounts_of(engagement)
    for attempt in range(ATTEMPTS):
        chance = sealing.world_seed(nonce) + attempt
        like = likeness(analysis, wanted, Dice(chance, "shape"), taken_amounts=amounts, codes=held)
        made = disguise.disguised(world(seed=chance, like=like, backups=False), held, chance)
        if not disguise.numbers_shown(made, held) and not disguise.amounts_shown(made, amounts):
            break
    else:
        raise RequestError("error_training.not_disguised", column=wanted)
    engagement.check_unchanged()
    lesser = (*of_stage("age", "unbooked"), "late")
    rows = made.truth["cause"].drop_nulls().value_counts(sort=True)
    causes = tuple(cause for cause in rows["cause"] if cause not in lesser)
    scenario = scenarios()[SCENARIO]
    coded = str(resources.load("simulation")["veil"]["files"])
    while any(coded in word for word in held):
        coded += "x"
    return Plan(
        made=made, scenario=scenario, call=scenario, causes=causes, level=1, seed=seed, nonce=nonce, coded=coded
    )
