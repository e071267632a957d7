"""Every scenario can be solved, is told apart from blanket answers, and from the others by the kit itself."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

import polars as pl
import pytest

from audit_kit.core.identity import with_key
from audit_kit.core.policy import Policy
from audit_kit.rules.causes.diagnosis import diagnose
from audit_kit.rules.causes.evidence import Evidence
from audit_kit.rules.matching.reconcile import reconcile
from audit_kit.rules.sync import observations as delays
from audit_kit.training.drill import drill, making, scoring, sealing
from audit_kit.training.drill.answer_sheet import Answers, Named, from_labels
from audit_kit.training.drill.scenarios import scenarios

if TYPE_CHECKING:
    from audit_kit.training.drill.making import Plan

PLAYED = [name for name, one in scenarios().items() if one.levels]
EASY = [(name, level) for name in PLAYED for level in scenarios()[name].levels if level <= 3]


@cache
def plan(name: str, level: int, size: int | None = None) -> Plan:
    nonce = sealing.nonce_of(1, f"{name} {level}", trainer=None)
    return making.planned(scenarios()[name], scenarios(), level=level, seed=1, nonce=nonce, size=size)


def scored(made: Plan, answers: Answers) -> scoring.Score:
    truth = making._rows(made.made)
    facts = scoring.facts(truth, made.made.ledger)
    return scoring.score(truth, answers, facts=facts, innocent={}, null=not made.causes, hint_cost=0, lang="en")


def perfect(truth: pl.DataFrame) -> Answers:
    rows = truth.drop_nulls("cause")
    first = rows.filter(~pl.col("cause").is_in(scoring.NOT_CAUSES)).unique("cause", keep="first", maintain_order=True)
    named = [
        Named(cause=cause, confidence=1.0, evidence=(serial,)) for cause, serial in first["cause", "serial"].iter_rows()
    ]
    return Answers(named=tuple(named), labels=rows.select("ledger_row", "cause"))


@pytest.mark.parametrize("name", PLAYED)
def test_the_truth_gets_all_points_and_no_blanket_answer_a_third(name):
    made = plan(name, scenarios()[name].levels[0], 900)
    rows = making._rows(made.made).drop_nulls("cause").select("ledger_row", "cause")
    assert scored(made, perfect(making._rows(made.made))).total == 100.0
    every = tuple(Named(cause=cause, confidence=1.0) for cause in drill.menu() if cause not in scoring.NOT_CAUSES)
    menu = drill.menu()
    turns = [menu[at % len(menu)] for at in range(rows.height)]
    blanket = {
        "every cause is named": Answers(named=every),
        "the causes take turns": from_labels(rows.with_columns(cause=pl.Series(turns))),
        "the sheet as it was given": Answers(blank=True),
    }
    # Where nothing is wrong, calling everything late is no blanket answer but the truth.
    blanket |= {
        cause: from_labels(rows.with_columns(cause=pl.lit(cause))) for cause in menu if made.causes or cause != "late"
    }
    totals = {what: scored(made, answer).total for what, answer in blanket.items()}
    assert max(totals.values()) < 35, {what: total for what, total in totals.items() if total >= 35}


@pytest.mark.parametrize(("name", "level"), EASY, ids=str)
@pytest.mark.slow
def test_the_kit_itself_tells_the_lower_levels_apart(name, level):
    made = plan(name, level)
    found = diagnose(_evidence(made.made)).drop_nulls("ledger_row").select("ledger_row", "cause")
    assert scored(made, from_labels(found)).total >= 85


def _evidence(w: Any) -> Evidence:
    matches = reconcile(w.ledger, w.platform)
    observations = delays.observations(
        w.ledger, w.platform, matches, sync_log=w.sync_log, taken_at=w.taken_at, notices=w.notices,
        exports={at: with_key(rows) for at, rows in w.earlier.items()},
    )  # fmt: skip
    keys = pl.DataFrame(schema=dict.fromkeys(("invoice_key", "repo_id", "backup_id"), pl.String()))
    return Evidence(
        ledger=w.ledger, platform=w.platform, matches=matches, observations=observations,
        stops=delays.stops(observations, w.notices, taken_at=w.taken_at), accounts=w.accounts, notices=w.notices,
        operations=w.operations, sync_log=w.sync_log, confirmations=w.confirmations, substitute=w.substitute,
        control=w.control, backup_keys=keys, export=w.export, policy=Policy(), taxpayer_ids=w.taxpayer_ids,
        direction=w.direction, taken_at=w.taken_at, red_confirmations=w.red_confirmations,
        taxpayer_name=w.taxpayer_name,
    )  # fmt: skip


@pytest.mark.slow
def test_the_upper_levels_take_sources_away_and_tear_files_that_no_cause_is_told_from(tmp_path):
    made = drill.new(tmp_path / "d", seed=4, level=5, scenario="backup")
    sealed = sealing.opened(made.folder)
    scene = sealed.content["scene"]
    assert (len(scene["away"]), len(scene["damaged"])) == (2, 1)
    settings = (made.engagement / "audit.toml").read_text(encoding="utf-8")
    for name in scene["away"]:
        assert not (made.engagement / "logs" / f"{name}.csv").exists()
        assert f"\n{name} = " not in settings
    torn = (made.engagement / "logs" / f"{scene['damaged'][0]}.csv").read_bytes()
    assert not torn.endswith(b"\n")
    assert "BK02" in scene["backup_faults"]
    told = drill.score(made.folder, Answers(), lang="en").debrief
    assert "could not be had" in told
    assert "backups of this month fail too" in told
    assert drill.demonstrated(made).total > 85
