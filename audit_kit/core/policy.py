"""The terms of an engagement: how the export was asked for, the thresholds that findings are judged by, and the plan.

`audit.toml` sets them under `[export]`, `[policy.*]`, `[plan]`, `[calendar]` and `[training]`; a name that it does not
know is refused. Of training nothing is judged yet.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date, datetime

Day = date  # where a field bears its name

# What the readers of backups write and the rules look for.
DATA_READ, COMPARED, OPENED = 2, 3, 4  # evidence levels; 0 is listed, 1 structure checked
WHOLE_PERCENT = 100.0
OURS = "audit-kit"  # who made a check that reading a backup was
WAL = "wal/"  # how the path of a log segment begins in a listing
SEGMENT_BYTES = 16 << 20
LEAST_LETTERS = 6  # of an id that is given by its beginning


@dataclass(frozen=True, kw_only=True)
class Export:
    """How the platform export was asked for; null = not said. The period ends before `period_end`.

    `start_stated`, `period_stated` are false where the period's start, or end, was read off the platform's dates: what
    is older was perhaps not asked for, and what is newer may be late.
    """

    account: str | None = None
    period_start: datetime | None = None
    period_end: datetime | None = None
    status_filter: tuple[str, ...] = ()
    later_taken_at: datetime | None = None
    period_stated: bool = True
    start_stated: bool = True


@dataclass(frozen=True, kw_only=True)
class MatchingPolicy:
    """How far two records of one invoice may differ."""

    amount_tolerance_yuan: float = 0.01


@dataclass(frozen=True, kw_only=True)
class SyncPolicy:
    """How soon an issued invoice should be visible on the platform."""

    target_hours: float = 24
    target_share: float = 0.99
    late_threshold: float = 0.5


@dataclass(frozen=True, kw_only=True)
class BackupPolicy:
    """How often backups run, how they are kept, checked and restored."""

    full: str | None = "0 2 * * *"
    incremental: str | None = "0 * * * *"
    tolerance_minutes: float = 60
    tz: str = "Asia/Shanghai"
    encrypted: bool = True
    verify_every_days: float = 31
    restore_test_every_days: float = 92
    rpo_minutes: float = 120
    restore_minutes: float = 240
    copies: int = 2
    sites: int = 2
    retention_years: float = 5
    shrink_share: float = 0.2
    paths: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class ResponsePolicy:
    """How soon a ticket gets its first reply, by level, in working hours; from when to when a working day lasts.

    `bring_back_hours`: how long after the end of a stop, or else after issue, what was issued in a substitute system
    may take to be brought back.
    """

    first_reply_hours: dict[str, float] = field(
        default_factory=lambda: {"support": 24.0, "it": 8.0, "management": 24.0, "tax_bureau": 72.0}
    )
    day_starts: float = 9
    day_ends: float = 18
    bring_back_hours: float = 72


@dataclass(frozen=True, kw_only=True)
class Policy:
    """All policies of an engagement; `metrics` maps a metric to its highest allowed value.

    `materiality_yuan`: from how much at risk an event is material; null = see analysis.events.
    """

    materiality_yuan: float | None = None
    matching: MatchingPolicy = field(default_factory=MatchingPolicy)
    sync: SyncPolicy = field(default_factory=SyncPolicy)
    backup: BackupPolicy = field(default_factory=BackupPolicy)
    metrics: dict[str, float] = field(default_factory=dict)
    response: ResponsePolicy = field(default_factory=ResponsePolicy)


@dataclass(frozen=True, kw_only=True)
class Role:
    """Who does what in an emergency: person and deputy, how they are reached, and when that was last checked."""

    name: str
    person: str | None = None
    deputy: str | None = None
    contact: str | None = None
    updated: date | None = None


@dataclass(frozen=True, kw_only=True)
class PlannedDrill:
    """A drill of the emergency plan: how often it is held, in days, and when it was last."""

    name: str
    every_days: float | None = None
    last: date | None = None


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The emergency plan; `priorities` stand in their order, `contacts` maps whom to call to a number."""

    roles: tuple[Role, ...] = ()
    priorities: tuple[str, ...] = ()
    resources: tuple[str, ...] = ()
    contacts: dict[str, str] = field(default_factory=dict)
    drills: tuple[PlannedDrill, ...] = ()
    updated: date | None = None


@dataclass(frozen=True, kw_only=True)
class Window:
    """Days from `start` on, before `end`."""

    start: date
    end: date


@dataclass(frozen=True, kw_only=True)
class Calendar:
    """Filing deadlines, and the windows of month-end and year-end."""

    filing_deadlines: tuple[date, ...] = ()
    month_end: tuple[Window, ...] = ()
    year_end: tuple[Window, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Privacy:
    """What of persons is read in; `personal_ids`: columns such as 出行人证件号码, which else stay where they are."""

    personal_ids: bool = False


@dataclass(frozen=True, kw_only=True)
class Notify:
    """Who is mailed when a report was made or failed, and through which server; nobody unless both are set.

    `when`: always, findings (at or above `--fail-on`, and failures), failure. `security`: starttls, tls, none. `names`:
    the mail may name parties and files. `link`: where the reports' folder can be opened; null = the path is told.
    """

    to: tuple[str, ...] = ()
    server: str | None = None
    sender: str | None = None
    port: int | None = None
    security: str = "starttls"
    user: str | None = None
    when: str = "always"
    names: bool = False
    link: str | None = None


@dataclass(frozen=True, kw_only=True)
class TrainingEntry:
    """One entry of the training log: `who` took part by name, or how many `people`; `score` as the drill gave it."""

    date: Day | None = None
    drill: str | None = None
    who: tuple[str, ...] = ()
    people: int | None = None
    score: float | None = None
    note: str | None = None


@dataclass(frozen=True, kw_only=True)
class Training:
    """How often people are trained, in days, when they last were, and the log."""

    every_days: float | None = None
    last: date | None = None
    log: tuple[TrainingEntry, ...] = ()
