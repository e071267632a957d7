"""What an emergency plan should say and does not, or says no longer."""

from __future__ import annotations

from datetime import date, timedelta
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

    from audit_kit.core.policy import Calendar, Plan, Role, Training

A_YEAR = timedelta(days=365)
CALLED = ("support", "tax_bureau")  # whom every plan must be able to call


class Gap(NamedTuple):
    """A gap: the key of its sentence in `plan_gap`, whom it is about, and since when."""

    key: str
    name: str = ""
    since: date | None = None


def gaps(plan: Plan, calendar: Calendar, training: Training, day: date) -> list[Gap]:
    """Return the gaps of a plan on a day, in the order of its chapters."""
    found = [] if plan.roles else [Gap("roles")]
    found += [gap for role in plan.roles for gap in _of_role(role, plan, day)]
    found += [Gap(name) for name in ("priorities", "resources") if not getattr(plan, name)]
    found += [Gap("contacts", name) for name in CALLED if not plan.contacts.get(name, "").strip()]
    if plan.updated is None:
        found.append(Gap("plan_updated"))
    elif is_old(plan.updated, day):
        found.append(Gap("plan_old", since=plan.updated))
    if not any(deadline >= day for deadline in calendar.filing_deadlines):
        found.append(Gap("deadlines"))
    found += [] if plan.drills else [Gap("drills")]
    for drill in plan.drills:
        found += [Gap("drill_every", drill.name)] if drill.every_days is None else []
        found += [Gap("drill_last", drill.name)] if drill.last is None else []
        due = due_on(drill.last, drill.every_days)
        found += [Gap("drill_due", drill.name, due)] if due and due < day else []
    due = due_on(training.last, training.every_days)
    if due is None:
        found.append(Gap("training"))
    elif due < day:
        found.append(Gap("training_due", since=due))
    return found


def is_old(checked: date, day: date) -> bool:
    """Say whether something was last checked more than a year before a day."""
    return checked < day - A_YEAR


def due_on(last: date | None, every_days: float | None) -> date | None:
    """Return when something is due again; null where that is not known."""
    return None if last is None or every_days is None else last + timedelta(days=every_days)


def contact_of(role: Role, plan: Plan) -> str:
    """Return how a role is reached: its own contact, else that of its name or person; empty where none is stated."""
    numbers = {name.strip().casefold(): number.strip() for name, number in plan.contacts.items()}
    named = (numbers.get((name or "").strip().casefold(), "") for name in (role.name, role.person))
    return (role.contact or "").strip() or next(filter(None, named), "")


def _of_role(role: Role, plan: Plan, day: date) -> Iterator[Gap]:
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
