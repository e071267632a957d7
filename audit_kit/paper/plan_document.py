"""The emergency plan as a document, filled from the settings; what they do not say is marked."""

from __future__ import annotations

from typing import TYPE_CHECKING

from audit_kit.core.schema import TICKET_LEVELS
from audit_kit.core.words import Words
from audit_kit.paper.document import Document, Facts, Heading, Paragraph, Table
from audit_kit.rules.response.plan_gaps import CALLED, contact_of, due_on, gaps, is_old, last_checked

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import date, datetime

    from audit_kit.core.policy import Policy, Role, Window
    from audit_kit.loaders.engagement.engagement import Engagement
    from audit_kit.rules.response.plan_gaps import Gap

STEPS = ("notice", "contain", "verify", "report", "recover", "tie_out", "look_back")
ROLES = ("lead", "it", "finance", "tax", "communication", "support")


class PlanDocument:
    """The plan of one engagement, as it stands on the day the export was taken."""

    def __init__(self, engagement: Engagement, taken_at: datetime, lang: str) -> None:
        """Take the engagement's settings."""
        self.settings, self.policy, self.words = engagement.settings, engagement.policy, Words(lang)
        self.day, self.taken_at = taken_at.date(), taken_at
        self.name = engagement.settings.taxpayer_name or engagement.name
        self.plan, self.calendar = self.settings.plan, self.settings.calendar
        self.gaps = gaps(self.plan, self.calendar, self.settings.training, self.day)
        self.gap = self.words("plan.gap")

    def document(self) -> Document:
        """Return the plan."""
        words = self.words
        title = words("plan.title", name=self.name)
        ids = words("answer.comma").join(self.settings.taxpayer_ids) or self.gap
        head = Table(
            (words("plan.taxpayer"), words("plan.taxpayer_id"), words("plan.updated")),
            [(self.name, ids, self._checked(last_checked(self.plan)))],
            self.gap,
        )
        chapters = (self._gaps, self._roles, self._lists, self._contacts, self._triggers, self._steps)
        blocks = [Heading(title, 0), head, *(block for chapter in chapters for block in chapter())]
        blocks += [*self._backups(self.policy), *self._calendar(), *self._drills(), Paragraph(words("plan.approved"))]
        return Document(title, blocks, words("plan.note", taken_at=f"{self.taken_at:%Y-%m-%d %H:%M}"))

    def said(self, gap: Gap) -> str:
        """Return a gap in words."""
        name = self._contact(gap.name) if gap.key == "call" else self.role(gap.name)
        fields = {"name": name} if gap.name else {}
        return self.words(f"plan_gap.{gap.key}", **fields, **({"date": f"{gap.since}"} if gap.since else {}))

    def role(self, name: str) -> str:
        """Return a role as a person reads it: the words for a known one, else its own name."""
        return self.words(f"plan_role.{name}") if name in ROLES else name

    def _contact(self, name: str) -> str:
        return self.words.term("ticket_levels", name) if name in TICKET_LEVELS else self.role(name)

    def _gaps(self) -> Iterator[Heading | Paragraph | Facts | Table]:
        words = self.words
        yield Heading(words("plan.gaps"))
        if not self.gaps:
            yield Paragraph(words("plan.gaps_none"))
            return
        yield Paragraph(words("plan.gaps_said", count=len(self.gaps)))
        for gap in self.gaps:
            yield Paragraph(self.said(gap), "item")

    def _roles(self) -> Iterator[Heading | Paragraph | Facts | Table]:
        words = self.words
        yield Heading(words("plan.scope"))
        yield Paragraph(words("plan.scope_said"))
        yield Heading(words("plan.roles"))
        if not self.plan.roles:
            yield Paragraph(self.gap, "gap")
            return
        heads = [words(f"plan.{name}") for name in ("role", "person", "deputy", "contact", "checked")]
        yield Table(heads, [self._role(role) for role in self.plan.roles], self.gap)

    def _role(self, role: Role) -> tuple[str, ...]:
        person, deputy = ((part or "").strip() for part in (role.person, role.deputy))
        deputy = f"{self.gap} {deputy}".strip() if deputy in ("", person) else deputy
        contact = contact_of(role, self.plan) or self.gap
        dated = role.updated or self.plan.updated
        checked = self._checked(dated) if dated or last_checked(self.plan) is None else self.words("unit.nothing")
        return (self.role(role.name), person or self.gap, deputy, contact, checked)

    def _checked(self, checked: date | None) -> str:
        if checked is None:
            return self.gap
        return self.words("plan.gap_old", date=str(checked)) if is_old(checked, self.day) else str(checked)

    def _lists(self) -> Iterator[Heading | Paragraph | Facts | Table]:
        for name in ("priorities", "resources"):
            yield Heading(self.words(f"plan.{name}"))
            entries = getattr(self.plan, name)
            yield from (Paragraph(entry, "item") for entry in entries) if entries else [Paragraph(self.gap, "gap")]

    def _contacts(self) -> Iterator[Heading | Paragraph | Facts | Table]:
        words = self.words
        needed = dict.fromkeys(CALLED, "")
        rows = [(self._contact(name), to.strip() or self.gap) for name, to in (needed | self.plan.contacts).items()]
        yield Heading(words("plan.contacts"))
        yield Table((words("plan.whom"), words("plan.contact")), rows, self.gap)

    def _triggers(self) -> Iterator[Heading | Paragraph | Facts | Table]:
        words, sync = self.words, self.policy.sync
        share, span = words.share(sync.target_share), words.about(sync.target_hours * 60)
        rows = [(words("plan.trigger_sync"), words("plan.limit_sync", share=share, span=span))]
        rows += [
            (words("plan.trigger_metric", metric=metric), f"{limit:g}") for metric, limit in self.policy.metrics.items()
        ]
        rows.append((words("plan.trigger_rpo"), words.about(self.policy.backup.rpo_minutes)))
        yield Heading(words("plan.triggers"))
        yield Table((words("plan.trigger"), words("plan.limit")), rows)

    def _steps(self) -> Iterator[Heading | Paragraph | Facts | Table]:
        words, hours = self.words, self.policy.response.first_reply_hours
        yield Heading(words("plan.steps"))
        for step in STEPS:
            yield Paragraph(words(f"plan.step_{step}"), "item")
        yield Heading(words("plan.ladder"), 2)
        rows = [
            (
                words.term("ticket_levels", level),
                f"{hours[level]:g}" if level in hours else self.gap,
                self.plan.contacts.get(level, "").strip() or self.gap,
            )
            for level in TICKET_LEVELS
        ]
        yield Table([words(f"plan.{name}") for name in ("rung", "reply", "number")], rows, self.gap)

    def _backups(self, policy: Policy) -> Iterator[Heading | Paragraph | Facts | Table]:
        words, backup = self.words, policy.backup
        yield Heading(words("plan.backups"))
        copies = words("plan.backup_copies_said", copies=backup.copies, sites=backup.sites)
        yield Facts(
            [
                (words("plan.backup_full"), backup.full or words("unit.nothing")),
                (words("plan.backup_incremental"), backup.incremental or words("unit.nothing")),
                (words("plan.backup_rpo"), words.about(backup.rpo_minutes)),
                (words("plan.backup_copies"), copies),
                (words("plan.backup_verify"), f"{backup.verify_every_days:g}"),
                (words("plan.backup_restore"), f"{backup.restore_test_every_days:g}"),
            ]
        )

    def _calendar(self) -> Iterator[Heading | Paragraph | Facts | Table]:
        words = self.words
        yield Heading(words("plan.calendar"))
        coming = [str(day) for day in sorted(self.calendar.filing_deadlines) if day >= self.day]
        windows = {name: getattr(self.calendar, name) for name in ("month_end", "year_end")}
        rows = [(words("plan.deadlines"), words("answer.comma").join(coming) or self.gap)]
        rows += [(words(f"plan.{name}"), self._spans(spans)) for name, spans in windows.items()]
        yield Table((words("annex.item"), words("annex.value")), rows, self.gap)

    def _spans(self, windows: tuple[Window, ...]) -> str:
        words = self.words
        spans = [words("plan.span", start=str(window.start), end=str(window.end)) for window in windows]
        return words("answer.semicolon").join(spans) or words("unit.nothing")

    def _drills(self) -> Iterator[Heading | Paragraph | Facts | Table]:
        words, training = self.words, self.settings.training
        held = [(drill.name, drill.every_days, drill.last) for drill in self.plan.drills] or [("", None, None)]
        held.append((words("plan.training"), training.every_days, training.last))
        yield Heading(words("plan.drills"))
        heads = [words(f"plan.{name}") for name in ("drill", "every", "last", "next")]
        yield Table(heads, [self._held(*one) for one in held], self.gap)

    def _held(self, name: str, every_days: float | None, last: date | None) -> tuple[str, ...]:
        due = due_on(last, every_days)
        late = self.gap if due is None else self.words("plan.gap_due", date=str(due)) if due < self.day else str(due)
        return (name or self.gap, self.gap if every_days is None else f"{every_days:g}", str(last or self.gap), late)
