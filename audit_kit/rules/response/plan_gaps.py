"""What an emergency plan should say and does not, or says no longer: the one place that decides, for page and paper."""

from __future__ import annotations

from datetime import date, timedelta
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

    from audit_kit.core.policy import Calendar, Plan, PlannedDrill, Role, Training

YEAR_DAYS = 365
CALLED = ("support", "tax_bureau")  # whom every plan must be able to call


class Gap(NamedTuple):
    """A gap: the key of its sentence in `plan_gap`, whom it is about, and since when.

    Keys: roles, priorities, resources, contacts (there are none); person, deputy, same, contact, old (of a role);
    undated, plan_old; drills (none), drill_last, drill_every, drill_due; call, deadlines, training, training_due.
    """

    key: str
    name: str = ""
    since: date | None = None


def gaps(plan: Plan, calendar: Calendar, training: Training, day: date) -> list[Gap]:
    """Return what the emergency plan, the calendar and the training lack on a day."""
    found = of_plan(plan, day)
    if numbers_of(plan):
        found += [Gap("call", name) for name in CALLED if name not in numbers_of(plan)]
    found += [gap for drill in plan.drills for gap in of_drill(drill, day)]
    if not any(deadline >= day for deadline in calendar.filing_deadlines):
        found.append(Gap("deadlines"))
    due = due_on(training.last, training.every_days)
    if due is None:
        found.append(Gap("training"))
    elif due < day:
        found.append(Gap("training_due", since=due))
    return found


def of_plan(plan: Plan, day: date) -> list[Gap]:
    """Return what the plan itself lacks: its sections, its roles, its date, drills."""
    found = [] if plan.roles else [Gap("roles")]
    found += [gap for role in plan.roles for gap in of_role(role, plan, day)]
    lists = {"priorities": plan.priorities, "resources": plan.resources, "contacts": numbers_of(plan)}
    found += [Gap(name) for name, said in lists.items() if not said]
    checked = last_checked(plan)
    if checked is None:
        found.append(Gap("undated"))
    elif is_old(checked, day) and not any(role.updated for role in plan.roles):
        found.append(Gap("plan_old", since=checked))
    return found if plan.drills else [*found, Gap("drills")]


def of_role(role: Role, plan: Plan, day: date) -> Iterator[Gap]:
    """Yield what a role lacks: a person, another person as deputy, a contact, a check within a year."""
    person, deputy = ((part or "").strip() for part in (role.person, role.deputy))
    if not person:
        yield Gap("person", role.name)
    if not deputy:
        yield Gap("deputy", role.name)
    elif deputy == person:
        yield Gap("same", role.name)
    if not contact_of(role, plan):
        yield Gap("contact", role.name)
    if role.updated and is_old(role.updated, day):
        yield Gap("old", role.name, role.updated)


def of_drill(drill: PlannedDrill, day: date) -> Iterator[Gap]:
    """Yield what a drill lacks, and since when it is due: a year after the last where the plan does not say."""
    if drill.every_days is None:
        yield Gap("drill_every", drill.name)
    if drill.last is None:
        yield Gap("drill_last", drill.name)
    due = due_on(drill.last, drill.every_days or YEAR_DAYS)
    if due and due < day:
        yield Gap("drill_due", drill.name, due)


def is_old(checked: date, day: date) -> bool:
    """Say whether something was last checked more than a year before a day."""
    return (day - checked).days > YEAR_DAYS


def due_on(last: date | None, every_days: float | None) -> date | None:
    """Return when something is due again; null where that is not known."""
    return None if last is None or every_days is None else last + timedelta(days=every_days)


def last_checked(plan: Plan) -> date | None:
    """Return when anything of the plan was last checked; null where it does not say."""
    return max(filter(None, (plan.updated, *(role.updated for role in plan.roles))), default=None)


def numbers_of(plan: Plan) -> dict[str, str]:
    """Return whom the plan can call, each with the number; those without one left out."""
    return {name.strip().casefold(): number.strip() for name, number in plan.contacts.items() if number.strip()}


def contact_of(role: Role, plan: Plan) -> str:
    """Return how a role is reached: its own contact, else that of its name or person; empty where none is stated."""
    numbers = numbers_of(plan)
    named = (numbers.get((name or "").strip().casefold(), "") for name in (role.name, role.person))
    return (role.contact or "").strip() or next(filter(None, named), "")
