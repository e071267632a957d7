"""The sentences say what the frames hold, in both languages, for a rich month and for an empty one."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta
from types import SimpleNamespace
from typing import TYPE_CHECKING

import polars as pl
import pytest

from audit_kit.analysis.report_scope import scope
from audit_kit.core import schema
from audit_kit.core.policy import Export, Policy
from audit_kit.core.words import Words
from audit_kit.rules.causes.diagnosis import Evidence, diagnose
from audit_kit.rules.matching.reconcile import reconcile
from audit_kit.rules.sync import observations as delays
from audit_kit.training.world.simulate import world
from audit_kit.views.missing import answers
from audit_kit.views.missing.answers import missing
from audit_kit.views.overview.answers import group
from audit_kit.views.sync.answers import delays as delay_answers

if TYPE_CHECKING:
    from datetime import datetime


@dataclass(frozen=True)
class Work:
    ledger: pl.DataFrame
    platform: pl.DataFrame
    matches: pl.DataFrame
    observations: pl.DataFrame
    stops: pl.DataFrame
    findings: pl.DataFrame
    taken_at: datetime
    history: None = None

    @property
    def engagement(self) -> SimpleNamespace:
        return SimpleNamespace(policy=Policy(), taken_at=self.taken_at, has=lambda _table: True)


def page(work: Work, lang: str = "zh") -> SimpleNamespace:
    return SimpleNamespace(
        analysis=work,
        whole=work,
        words=Words(lang),
        lang=lang,
        month="all",
        scope=scope("all"),
        start=None,
        end=None,
        say=lambda lines: [line for line in lines if line],
    )


def worked(lang: str, *, empty: bool = False) -> Work:
    w = world(invoices=6000, seed=7)
    ledger, platform = (w.ledger.clear(), w.platform.clear()) if empty else (w.ledger, w.platform)
    matches = reconcile(ledger, platform)
    observations = delays.observations(
        ledger, platform, matches, sync_log=w.sync_log, taken_at=w.taken_at, notices=w.notices
    )
    stops = delays.stops(observations, w.notices, taken_at=w.taken_at)
    evidence = Evidence(
        ledger=ledger, platform=platform, matches=matches, observations=observations, stops=stops, accounts=w.accounts,
        notices=w.notices, operations=w.operations, sync_log=w.sync_log, confirmations=w.confirmations,
        substitute=w.substitute, control=w.control, backup_keys=schema.empty("backups").select(
            invoice_key="backup_id", repo_id="repo_id", backup_id="backup_id"),
        export=Export() if empty else w.export, policy=Policy(), taxpayer_ids=w.taxpayer_ids, direction=w.direction,
        taken_at=w.taken_at,
    )  # fmt: skip
    return Work(ledger, platform, matches, observations, stops, diagnose(evidence, lang=lang), w.taken_at)


@pytest.mark.slow
@pytest.mark.parametrize("lang", ["zh", "en"])
def test_the_answers_hold_the_figures(lang: str) -> None:
    work = worked(lang)
    told = "\n".join(delay_answers(page(work, lang)))
    gone = int((work.matches["outcome"] == "missing").sum())
    assert f"{gone:,}" in told
    assert "99.00%" in told
    why = "\n".join(missing(page(work, lang)))
    unbooked = work.findings.filter(pl.col("cause") == "unbooked")
    assert (unbooked["amount"] < 0).any()  # a red invoice takes away, as it does in the tables beside the sentence
    assert f"{unbooked['amount'].sum():,.2f}" in why
    unbooked = unbooked.height
    assert f"{gone:,}" in why
    assert f"{unbooked:,}" in why
    assert "{" not in told + why
    chances = work.findings["probability_late"].drop_nulls()
    assert f"{(1 - chances).sum():,.0f}" in why


@pytest.mark.parametrize("lang", ["zh", "en"])
def test_the_languages_say_as_much(lang: str) -> None:
    work = worked(lang, empty=True)
    assert len(delay_answers(page(work, lang))) == 1
    assert len(missing(page(work, lang))) >= 1


def test_without_a_ledger_the_platform_tells_delays_but_not_losses() -> None:
    work = worked("zh", empty=True)
    issued = pl.datetime_range(work.taken_at - timedelta(days=9), work.taken_at, "10m", eager=True, closed="left")
    platform = pl.DataFrame({"issued_at": issued}).with_columns(visible_at=pl.col("issued_at").dt.offset_by("60m"))
    platform = platform.filter(pl.col("visible_at") <= work.taken_at)
    speed, warning = delay_answers(page(replace(work, platform=platform)))
    assert "60 分钟" in speed
    assert "需要台账" in warning


def test_both_languages_answer_the_same_questions() -> None:
    zh, en = worked("zh"), worked("en")
    assert len(missing(page(zh))) == len(missing(page(en, "en")))
    assert len(delay_answers(page(zh))) == len(delay_answers(page(en, "en")))


@pytest.mark.parametrize("separator", ["；", "; "])
def test_events_are_counted_by_their_subject_whatever_their_titles_hold(separator: str) -> None:
    rows = {
        "cause": ["outage", "outage", "batch_lost", "account_excess", "late"],
        "subject": [f"升级{separator}甲", f"升级{separator}乙", None, "甲：乙", None],
        "evidence": ["—"] * 5,
    }
    lines = answers._common(Words("zh"), pl.DataFrame(rows))
    assert lines == ["整批丢失 1 处，共 1 张。", "2 个异常时段造成 2 张缺失。", "缺失偏高的有：账号 甲：乙 (1)。"]


def test_findings_of_one_event_carry_its_subject() -> None:
    for lang in ("zh", "en"):
        found = worked(lang).findings
        of = dict(found.group_by("cause").agg(pl.col("subject").drop_nulls().n_unique()).iter_rows())
        assert of["channel_excess"] + of["account_excess"] + of["kind_excess"] >= 1
        assert of["late"] == 0
        levels = found.filter(pl.col("cause") == "account_excess")["subject"].drop_nulls().unique()
        assert not [level for level in levels if " " in level or "：" in level]


@pytest.mark.parametrize(("own", "named"), [(("91A",), True), (("91A", "91b"), False), ((), False), (("91C",), False)])
def test_tax_ids_listed_beside_the_companys_own_are_named_once(own: tuple[str, ...], *, named: bool) -> None:
    rows = pl.DataFrame({"seller_tax_id": ["91A", "91B", "91B", None]})
    engagement = SimpleNamespace(own_ids=own, direction="issued")
    whole = SimpleNamespace(ledger=rows, platform=rows, engagement=engagement)
    said = group(SimpleNamespace(whole=whole, words=Words("en"), safe=lambda frame: frame))  # type: ignore[arg-type]
    assert ("91B" in said) is named
    assert bool(said) is named
