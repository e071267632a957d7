"""Every sentence of every page of five engagements against figures computed apart, from the input files alone.

The pages' own cells are run, and whatever they say is caught where it is put into words: no sentence with a figure may
be said whose figures are not worked out here as well, by reading the engagement's files with polars. What the rules
judge (chances, causes) is taken from the findings; how it is counted and told is not.
"""

from __future__ import annotations

import ast
import json
import re
from collections import Counter
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from functools import cached_property
from math import sqrt
from typing import TYPE_CHECKING, Any

import polars as pl
import pytest
import xlsxwriter

from audit_kit.core import places, words
from audit_kit.core.cause_records import records
from audit_kit.resources.languages import texts
from audit_kit.rules.sync.lateness import lost_interval
from audit_kit.views.overview import lines as head_lines
from audit_kit.views.show.page import open_page

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from audit_kit.views.show.page import Page

OURS, THEIRS = "91110108MA01A2B3XP", "91110105MA009T5X6U"
HOURS, SHARE, Z = 24, 0.99, 1.959963984540054
LAST_DAYS, LARGEST, LEAST_YUAN = 35, 3, Decimal(1000)
HEADS = (
    "数电发票号码", "开票日期", "销方识别号", "销方名称", "购方识别号", "购买方名称",
    "金额", "税额", "价税合计", "发票状态",
)  # fmt: skip
CHANNELS = {"2": "网页", "7": "乐企", "4": "开票渠道码 4"}
PAGES = [path for path in places.notebooks() if not path.name.startswith("04_")]
# Labels and units hold no figure of an engagement; a panel counts what is chosen in it, see test_panel.
PLAIN = re.compile(r"unit\.|page\.|head\.|panel\.|searching\.|response\.band|answer\.absent|scope\.and_lonely")


@dataclass(frozen=True)
class Row:
    """An invoice: as the ledger has it, as the platform has it (null: not), and when it arrived there."""

    place: int
    issued: datetime
    gross: Decimal | None
    listed: Decimal | None
    arrived: datetime | None = None

    def cells(self, gross: Decimal, direction: str, *, arrival: bool = False) -> list[Any]:
        parties = (OURS, "北京示例甲有限公司", THEIRS, "北京示例乙有限公司")
        parties = parties if direction == "issued" else (*parties[2:], *parties[:2])
        number = f"{self.issued:%y}11{'27472'[self.place % 5]}{self.place:015d}"
        cells = [number, f"{self.issued:%Y-%m-%d %H:%M:%S}", *parties, float(gross - 1), 1.0, float(gross), "正常"]
        return [*cells, f"{self.arrived:%Y-%m-%d %H:%M:%S}"] if arrival else cells


@dataclass(frozen=True)
class Made:
    """An engagement in the shape of real ones: a ledger, an export of several sheets, and what is reported of it."""

    name: str
    rows: tuple[Row, ...]
    taken_at: datetime
    scope: str
    direction: str = "issued"
    arrival: bool = False

    def write(self, folder: Path) -> Path:
        folder.mkdir()
        booked = [row.cells(row.gross, self.direction) for row in self.rows if row.gross is not None]
        text = [",".join(HEADS), *(",".join(map(str, cells)) for cells in booked), ""]
        (folder / "ledger.csv").write_text("\n".join(text), encoding="utf-8")
        seen = [row.cells(row.listed, self.direction, arrival=self.arrival) for row in self.rows if row.listed]
        total = ["合计", *[""] * 5, sum(cells[6] for cells in seen), sum(cells[7] for cells in seen)]
        with xlsxwriter.Workbook(folder / "platform.xlsx") as book:
            for name, lines in (("信息汇总表", seen), ("发票基础信息", [*seen, total])):
                page = book.add_worksheet(name)
                for at, cells in enumerate([(*HEADS, "入库时间") if self.arrival else HEADS, *lines]):
                    page.write_row(at, 0, cells)
        toml = f'[engagement]\nname = "{self.name}"\ntaxpayer_id = "{OURS}"\ndirection = "{self.direction}"\n'
        toml += (
            f'taken_at = {self.taken_at.isoformat()}\n[sources]\nledger = "ledger.csv"\nplatform = "platform.xlsx"\n'
        )
        (folder / "audit.toml").write_text(toml, encoding="utf-8")
        return folder


def paced(start: datetime, days: int, a_day: int, fate: Callable[..., dict[str, Any]]) -> tuple[Row, ...]:
    """Return invoices at even paces through office hours; `fate` says what becomes of each."""
    made = []
    for place in range(days * a_day):
        at = start + timedelta(days=place // a_day, hours=9, minutes=place % a_day * 480 // a_day)
        gross = Decimal(100 + place % 37)
        made.append(Row(**({"place": place, "issued": at, "gross": gross, "listed": gross} | fate(place, at, gross))))
    return tuple(made)


def _plain(place: int, _at: datetime, gross: Decimal) -> dict[str, Any]:
    changed = {17: {"listed": gross + 5}, 41: {"gross": None}}.get(place % 97, {})
    return {"listed": None} if place % 61 == 7 else changed


def _timed(place: int, at: datetime, gross: Decimal) -> dict[str, Any]:
    slow = place % 5 == 2 and place % 2  # the channel of digit 4
    arrived = at + timedelta(hours=50 if slow else 2, minutes=place % 30)
    return {"listed": None} if place % 53 == 0 else {"arrived": arrived, "listed": gross}


def _dated_wrongly() -> tuple[Row, ...]:
    first, *rest = paced(datetime(2024, 1, 1), 366, 2, _plain)
    return (Row(9_000, datetime(2025, 2, 21, 9), first.gross, None), *rest)


MADE = {
    one.name: one
    for one in (
        Made("全年", paced(datetime(2024, 1, 1), 366, 3, _timed), datetime(2025, 1, 12, 9), "2024", arrival=True),
        Made("误记日期", _dated_wrongly(), datetime(2025, 3, 1, 9), "2024-12"),
        Made("取得", paced(datetime(2025, 3, 1), 61, 6, _plain), datetime(2025, 5, 6, 18), "2025-04", "received"),
        Made(
            "有入库时间",
            paced(datetime(2025, 4, 1), 58, 20, _timed),
            datetime(2025, 5, 31, 20),
            "2025-05",
            arrival=True,
        ),
        Made("全部", paced(datetime(2025, 1, 1), 120, 3, _plain), datetime(2025, 5, 10, 8), "all"),
    )
}


class Truth:
    """What the files of an engagement say, read apart."""

    def __init__(self, folder: Path, made: Made, page: Page) -> None:
        self.made, self.page, self.say = made, page, words.Words("zh")
        self.findings = page.analysis.findings
        self.ledger = self._read(pl.read_csv(folder / "ledger.csv", infer_schema=False).with_row_index("at", offset=2))
        listed = pl.read_excel(folder / "platform.xlsx", sheet_name="发票基础信息", infer_schema_length=0)
        self.platform = self._read(listed.filter(pl.col("数电发票号码") != "合计"))

    def _read(self, frame: pl.DataFrame) -> pl.DataFrame:
        """Return key, issued, gross, channel, month, own (of the scope), arrived and, of the ledger, the file's row."""
        scope = "" if self.made.scope == "all" else self.made.scope
        key, month = pl.col("数电发票号码"), pl.col("开票日期").str.head(7)
        arrived = pl.col("入库时间") if "入库时间" in frame.columns else pl.lit(None, pl.String)
        return frame.select(
            *(["at"] if "at" in frame.columns else []),
            key=key,
            issued=pl.col("开票日期").str.to_datetime("%Y-%m-%d %H:%M:%S"),
            gross=pl.col("价税合计").cast(pl.Decimal(18, 2)),
            channel=key.str.slice(4, 1).replace_strict(CHANNELS, default=None),
            month=month,
            own=month.str.starts_with(scope),
            early=month.str.head(len(scope)) < scope,
            arrived=arrived.str.to_datetime("%Y-%m-%d %H:%M:%S", strict=False),
        )

    @cached_property
    def both(self) -> pl.DataFrame:
        """The ledger beside what the platform has under the same number."""
        listed = self.platform.select("key", "arrived", p_gross="gross", seen=True)
        return (
            self.ledger.drop("arrived")
            .join(listed, on="key", how="left")
            .with_columns(pl.col("seen").fill_null(value=False))
        )

    @cached_property
    def gone(self) -> pl.DataFrame:
        return self.both.filter(~pl.col("seen"), pl.col("own") | pl.col("early"))

    @cached_property
    def unbooked(self) -> pl.DataFrame:
        return self.platform.join(self.ledger, on="key", how="anti").filter(pl.col("own") | pl.col("early"))

    @cached_property
    def causes(self) -> dict[str, pl.DataFrame]:
        """The invoices of each cause, as the files have them."""
        known = pl.concat([self.ledger.select("key", "gross"), self.unbooked.select("key", "gross")])
        told = self.findings.select("cause", key="invoice_key").join(known, on="key", how="left")
        return {str(cause): part for (cause,), part in told.group_by("cause", maintain_order=True)}

    @cached_property
    def chances(self) -> dict[str, str]:
        late = self.findings["probability_late"].drop_nulls()
        never = round(sum(1 - chance for chance in late))
        ends = lost_interval(late)
        counts = {"missing": len(late), "late": len(late) - never, "lost": never}
        return {name: f"{count:,}" for name, count in counts.items()} | {
            name: f"{ends[name]:,.0f}" for name in ("lower", "upper")
        }

    def level(self, rows: pl.DataFrame) -> tuple[int, int]:
        """How many can be judged, and how many of them missed the target."""
        due = pl.col("issued") + timedelta(hours=HOURS)
        old = rows.filter(due <= self.made.taken_at, pl.col("seen") == pl.col("arrived").is_not_null())
        return old.height, old.filter((pl.col("arrived") > due).fill_null(value=True)).height

    @cached_property
    def levels(self) -> dict[str, tuple[int, int]]:
        """The same of the months, of which a year and everything are made."""
        return {
            str(month): self.level(part)
            for (month,), part in self.both.sort("month").group_by("month", maintain_order=True)
        }

    def waits(self) -> tuple[str, str]:
        """How long half of the invoices took, and 95 %: by the product of Kaplan and Meier over all that are known."""
        until = pl.coalesce("arrived", pl.lit(self.made.taken_at))
        waited = self.both.select("seen", minutes=((until - pl.col("issued")).dt.total_seconds() / 60).round(0)).sort(
            "minutes"
        )
        alive, found = 1.0, {}
        for (minutes,), part in waited.group_by("minutes", maintain_order=True):
            at_risk = waited.filter(pl.col("minutes") >= minutes).height
            alive *= 1 - part["seen"].sum() / at_risk
            for share in (0.5, 0.05):
                if alive <= share + 1e-9:
                    found.setdefault(share, minutes)
        return self.say.about(found.get(0.5)), self.say.about(found.get(0.05))  # type: ignore[arg-type]

    @cached_property
    def risk(self) -> dict[str, tuple[int, Decimal]]:
        """Invoices at risk and their yuan, by cause; of those that differ the difference."""
        at_risk = {}
        for cause, rows in self.causes.items():
            if records()[cause].stake == "differs":
                gap = (
                    self.both.filter(pl.col("key").is_in(rows["key"].implode()))
                    .select((pl.col("gross") - pl.col("p_gross")).abs().sum())
                    .item()
                )
                at_risk[cause] = (rows.height, gap)
            elif records()[cause].stake == "risk":
                at_risk[cause] = (rows.height, rows["gross"].sum())
        return at_risk


def wilson(hits: int, rows: int) -> tuple[float, float]:
    share, room = hits / rows, Z * Z / rows
    half = Z * sqrt(share * (1 - share) / rows + room / (4 * rows))
    ends = ((share + room / 2 - half) / (1 + room), (share + room / 2 + half) / (1 + room))
    return (share if share == 0 else ends[0], share if share == 1 else ends[1])


def state(rows: int, missed: int) -> str:
    lower, upper = wilson(rows - missed, rows)
    return "pass" if lower >= SHARE else "fails" if upper < SHARE else "unknown"


def count(rows: int) -> str:
    return f"{rows:,}"


def yuan(amounts: pl.Series | Decimal) -> str:
    return f"{amounts.sum() if isinstance(amounts, pl.Series) else amounts:,.2f} 元"


def per_cent(part: float, whole: float) -> str:
    return f"{100 * part / whole:.2f}%"


# --- what each sentence must say --------------------------------------------------------------------------------------

Said = dict[str, str]


def tie(truth: Truth) -> list[Said]:
    own, listed = truth.ledger.filter("own"), truth.platform.filter("own")
    agreed = truth.both.filter("own", pl.col("gross") == pl.col("p_gross")).height
    sums = {"ledger": own, "platform": listed}
    told = {name: count(side.height) for name, side in sums.items()}
    told |= {f"{name}_yuan": yuan(side["gross"]) for name, side in sums.items()}
    return [told | {"agreed": count(agreed), "share": f"{100 * agreed / own.height:.1f} %"}]


def missing(truth: Truth) -> list[Said]:
    own, early, all_own = truth.gone.filter("own"), truth.gone.filter("early"), truth.ledger.filter("own").height
    return [
        {
            "missing": count(truth.gone.height),
            "ledger": count(all_own),
            "share": share,
            "yuan": yuan(truth.gone["gross"]),
            "own": count(own.height),
            "own_yuan": yuan(own["gross"]),
            "early": count(early.height),
            "early_yuan": yuan(early["gross"]),
        }
        for share in (f"{100 * own.height / all_own:.2f} %", per_cent(own.height, all_own))
    ]


def kinds(truth: Truth) -> list[Said]:
    """What is not on both sides alike, beside what is missing."""
    conflict = truth.both.filter("own", pl.col("gross") != pl.col("p_gross")).height
    counts = {"内容不一致": conflict, "台账未登记": truth.unbooked.filter("own").height}
    return [{"name": name, "count": count(rows)} for name, rows in counts.items() if rows]


def by_cause(truth: Truth) -> list[Said]:
    told = {truth.say.cause(cause): rows for cause, rows in truth.causes.items()}
    return [{"title": name, "rows": count(rows.height), "yuan": yuan(rows["gross"])} for name, rows in told.items()]


def called_late(truth: Truth) -> list[Said]:
    return [{"rows": count(truth.causes["late"].height if "late" in truth.causes else 0), "threshold": "50 %"}]


def explained(truth: Truth) -> list[Said]:
    gone = truth.gone["key"].to_list()
    known = [rows for cause, rows in truth.causes.items() if cause not in {"late", "lost", "unexplained"}]
    rows = sum(key in gone for part in known for key in part["key"])
    return [{"rows": count(rows), "share": per_cent(rows, len(gone))}]


def days(truth: Truth) -> list[Said]:
    own = truth.both.filter("own").with_columns(day=pl.col("issued").dt.date())
    recent = own.filter(pl.col("day") > own["day"].max() - timedelta(days=LAST_DAYS))
    table = recent.group_by("day").agg(pl.len(), gone=(~pl.col("seen")).sum()).sort("day")
    worst = table.filter(pl.col("gone") == pl.col("gone").max())
    if worst.height == 1:
        day, all_, gone = worst.row(0)
        return [{"day": str(day), "issued": count(all_), "missing": count(gone), "share": per_cent(gone, all_)}]
    more = f" 等 {worst.height} 天" if worst.height > LARGEST else ""
    return [
        {
            "days": "、".join(str(day) for day in worst["day"].head(LARGEST)) + more,
            "missing": count(worst["gone"][0]),
            "n": str(worst.height),
        }
    ]


def level(truth: Truth) -> list[Said]:
    rows, missed = truth.level(truth.both.filter("own"))
    lower, upper = wilson(rows - missed, rows)
    return [
        {
            "month": truth.say.month(truth.made.scope),
            "hours": str(HOURS),
            "issued": count(rows),
            "share": per_cent(rows - missed, rows),
            "lower": per_cent(lower, 1),
            "upper": per_cent(upper, 1),
            "target": "99.00%",
            "state": truth.say(f"answer_sync.{state(rows, missed)}"),
            "budget": count(int(rows * (1 - SHARE) + 1e-9)),
            "used": count(missed),
        }
    ]


def months(truth: Truth) -> list[Said]:
    own = {month: one for month, one in truth.levels.items() if month.startswith(truth.made.scope)}
    states = Counter(state(*one) for one in own.values())
    worst = max(missed / rows for rows, missed in own.values())
    names = [truth.say.month(month) for month, (rows, missed) in own.items() if missed / rows == worst]
    assert len(names) <= LARGEST
    told = {name: count(states[name]) for name in ("pass", "fails", "unknown")} | {"hours": str(HOURS)}
    told["share"] = per_cent(1 - worst, 1)
    return [told | {"months": text} for text in (count(len(own)), "、".join(names))]


def slowest(truth: Truth) -> list[Said]:
    own = truth.both.filter("own")
    rows, missed = truth.level(own)
    each = {str(channel): truth.level(part) for (channel,), part in own.group_by("channel")}
    worst = max(gone / all_ for all_, gone in each.values())
    (name,) = [channel for channel, (all_, gone) in each.items() if gone / all_ == worst]
    assert wilson(each[name][0] - each[name][1], each[name][0])[1] < 1 - missed / rows
    return [
        {"hours": str(HOURS), "channels": name, "share": per_cent(1 - worst, 1), "whole": per_cent(rows - missed, rows)}
    ]


def trend(truth: Truth) -> list[Said]:
    before, own = truth.levels["2025-04"], truth.levels["2025-05"]
    shares = [round(100 * (rows - missed) / rows, 2) for rows, missed in (before, own)]
    way = "上升" if shares[1] > shares[0] else "下降"
    told = {"before": "2025 年 4 月", "share": f"{shares[0]:.2f}%", "change": way}
    return [told | {"points": f"{abs(shares[1] - shares[0]):.2f}"}]


def incident(truth: Truth) -> list[Said]:
    """What most misses are due to: those that came late for no reason known, or a cause of those still missing."""
    due = pl.col("issued") + timedelta(hours=HOURS)
    missed = truth.both.filter("own", due <= truth.made.taken_at, (pl.col("arrived") > due).fill_null(value=True))
    of_key = {key: cause for cause, rows in truth.causes.items() for key in rows["key"]}
    causes = Counter(
        "无特定原因的延迟" if seen else truth.say.cause(of_key[key])
        for key, seen in missed.select("key", "seen").iter_rows()
    )
    name, most = causes.most_common(1)[0]
    return [{"incident": name, "misses": count(most), "share": per_cent(most, missed.height)}]


def tomorrow(truth: Truth) -> list[Said]:
    """Of what is told of tomorrow: the moment, and that no more arrive than are merely late today."""
    (said,) = [said for key, said in truth.page.__dict__["told"] if key == "answer_sync.tomorrow"]
    assert int(said["arriving"]) <= int(truth.chances["late"])
    assert int(said["lower"]) <= int(said["late"]) <= int(said["upper"])
    assert int(said["late"]) >= int(said["new"])
    return [said | {"until": f"{truth.made.taken_at + timedelta(days=1):%Y-%m-%d %H:%M}"}]


def waits(truth: Truth) -> list[Said]:
    half, most = truth.waits()
    return [{"half": half, "most": most}]


def at_risk(truth: Truth) -> list[Said]:
    risky = {cause: one for cause, one in truth.risk.items() if records()[cause].stake == "risk"}
    apart = {cause: one for cause, one in truth.risk.items() if cause not in risky}
    tax = Decimal(sum(rows for rows, _ in risky.values()))  # each has 1.00; of those that differ it is the same
    rows, money = (sum(one[place] for one in risky.values()) for place in (0, 1))
    total = money + sum((gap for _, gap in apart.values()), Decimal(0))
    told = {"total": yuan(total), "tax": yuan(tax), "rows": count(rows), "yuan": yuan(Decimal(money))}
    return [
        told,
        {
            "rows": count(sum(rows for rows, _ in apart.values())),
            "gap": yuan(sum((gap for _, gap in apart.values()), Decimal(0))),
        },
    ]


def largest(truth: Truth) -> list[Said]:
    """Events: all of one cause, but an invoice that is material alone; none here is."""
    assert max(rows["gross"].max() for rows in truth.causes.values()) < LEAST_YUAN
    total = sum((money for _, money in truth.risk.values()), Decimal(0))
    told = []
    for cause, (rows, money) in truth.risk.items():
        tax = Decimal(rows if records()[cause].stake == "risk" else 0)
        told.append({"what": truth.say.cause(cause), "rows": count(rows), "yuan": yuan(money), "tax": yuan(tax)})
    top = sum(sorted((money for _, money in truth.risk.values()), reverse=True)[:LARGEST], Decimal(0))
    return [*told, {"share": truth.say.share(float(top / total))}]


def waiting(truth: Truth) -> list[Said]:
    late = truth.causes.get("late", truth.ledger.clear())
    return [{"rows": count(late.height), "yuan": yuan(late["gross"])}]


def materiality(truth: Truth) -> list[Said]:
    base = truth.ledger.filter("own")["gross"].sum()
    return [{"yuan": yuan(max((base * Decimal("0.005")).quantize(Decimal("0.01")), LEAST_YUAN)), "base": yuan(base)}]


def counted(truth: Truth) -> list[Said]:
    """Findings and events in all; the lack of backups is one of each."""
    material = sum(money >= LEAST_YUAN for _, money in truth.risk.values())
    told = {"findings": truth.findings.height + 1, "events": len(truth.causes) + 1, "material": material, "others": 0}
    return [{name: count(rows) for name, rows in (told | {"first": material}).items()}]


def outside(truth: Truth) -> list[Said]:
    booked, listed = truth.ledger.filter(~pl.col("own")), truth.platform.filter(~pl.col("own"))
    keys = pl.concat([booked["key"], listed["key"]]).unique()
    whole = truth.page.whole.findings.filter(pl.col("invoice_key").is_in(keys.implode()))
    shown = truth.findings.filter(pl.col("invoice_key").is_in(keys.implode())).height
    told = {"ledger_rows": count(booked.height), "platform_rows": count(listed.height), "findings": count(whole.height)}
    money = {"ledger_yuan": yuan(booked["gross"]), "platform_yuan": yuan(listed["gross"])}
    return [told | money, {"shown": count(shown)}]


def head(truth: Truth) -> list[Said]:
    own, listed = truth.ledger.filter("own"), truth.platform.filter("own")
    told = {"month": truth.say.month(truth.made.scope), "taken_at": f"{truth.made.taken_at:%Y-%m-%d %H:%M}"}
    return [told | {"ledger": count(own.height), "platform": count(listed.height)}]


def carried(truth: Truth) -> list[Said]:
    """Earlier rows of the ledger that are missing, or that the platform has with another amount."""
    still = truth.both.filter("early", ~pl.col("seen") | (pl.col("gross") != pl.col("p_gross")))
    return [{"rows": count(still.height)}]


def lonely(truth: Truth) -> list[Said]:
    row = truth.ledger.sort("issued").row(-1, named=True)
    return [
        {
            "month": truth.say.month(row["month"]),
            "rows": "1",
            "file": "ledger.csv",
            "row": str(row["at"]),
            "day": f"{row['issued']:%Y-%m-%d}",
        }
    ]


def observed(truth: Truth) -> list[Said]:
    """Of each cause: all of it, or, on the page of what is missing, the missing of it; and the lack of backups."""
    keys = truth.gone["key"].implode()
    parts = [part for rows in truth.causes.values() for part in (rows, rows.filter(pl.col("key").is_in(keys)))]
    return [{"findings": "1"}, *({"findings": count(part.height), "yuan": yuan(part["gross"])} for part in parts)]


def unknown(truth: Truth) -> list[Said]:
    by_cause = truth.findings.filter(pl.col("state") == "unknown")["cause"].value_counts()["count"].to_list()
    return [{"unknown": count(rows)} for rows in [1, *by_cause]] + [{"rows": count(sum(by_cause))}]


def unbooked(truth: Truth) -> list[Said]:
    return [{"rows": count(truth.unbooked.height), "yuan": yuan(truth.unbooked["gross"])}]


def downloads(truth: Truth) -> list[Said]:
    rows = {truth.findings.height, truth.findings.height + 1, 1, 0, truth.gone.height}
    return [{"rows": count(number)} for number in rows]


CHECKS: dict[str, Callable[[Truth], list[Said]]] = {
    "answer_overview.tie": tie,
    "answer_overview.count_of": kinds,
    "answer_overview.missing": missing,
    "answer_overview.missing_early": missing,
    "answer_overview.late": lambda truth: [truth.chances],
    "answer_overview.late_presence": lambda truth: [truth.chances],
    "answer_overview.control": lambda _: [
        {"totals": "6"}
    ],  # rows and three sums of the two sheets, two of the last row
    "answer_missing.count": missing,
    "answer_missing.count_early": missing,
    "answer_missing.cause": by_cause,
    "answer_missing.explained": explained,
    "answer_missing.explained_none": lambda truth: [{} for one in explained(truth) if one["rows"] == "0"],
    "answer_missing.day": days,
    "answer_missing.days": days,
    "answer_missing.more_days": lambda truth: [{"days": one["n"]} for one in days(truth)],
    "answer_missing.likely": lambda truth: [truth.chances],
    "answer_missing.likely_presence": lambda truth: [truth.chances],
    "answer_missing.called_late": called_late,
    "answer_missing.called_late_none": lambda truth: [one for one in called_late(truth) if one["rows"] == "0"],
    "answer_missing.unbooked": unbooked,
    "answer_missing.unknown": unknown,
    "answer_sync.late": lambda truth: [truth.chances],
    "answer_sync.half": waits,
    "answer_sync.most": waits,
    "answer_sync.level": level,
    "answer_sync.months": months,
    "answer_sync.worst": months,
    "answer_sync.slowest": slowest,
    "answer_sync.trend": trend,
    "answer_sync.incident": incident,
    "answer_sync.tomorrow": tomorrow,
    "answer_backups.rules": lambda _: [{"rules": "15", "passed": "0", "fails": "0", "unknown": "15"}],
    "download.button": downloads,
    "foot.inputs_are": lambda truth: [{"files": "2", "rows": count(truth.ledger.height + truth.platform.height)}],
    "lines.of_month": head,
    "lines.carried": carried,
    "matters.risk": at_risk,
    "matters.part_risk": at_risk,
    "matters.part_differs": at_risk,
    "matters.one": largest,
    "matters.largest": largest,
    "matters.beside_late": waiting,
    "matters.level_least": materiality,
    "matters.counted": counted,
    "matters.counted_calm": counted,
    "scope.about": lambda truth: [{"scope": truth.say.month(truth.made.scope)}],
    "scope.outside": outside,
    "scope.outside_shown": outside,
    "scope.lonely_month": lonely,
    "tables.observed": observed,
    "tables.observed_yuan": observed,
    "tables.observed_unknown": unknown,
}


# --- the pages --------------------------------------------------------------------------------------------------------


def displayed(page: Page, notebook: Path) -> list[Any]:
    """Run a page's cells on an engagement that is open, and return what they display."""
    values = {"month": page.month, "lang": page.lang, "p": page, "redact": False, "previous": "", "history": ""}
    shown = []
    for cell in json.loads(notebook.read_text(encoding="utf-8"))["cells"]:
        if cell["cell_type"] != "code" or {"parameters", "interactive"} & set(cell["metadata"].get("tags", [])):
            continue
        lines = [node for node in ast.parse("".join(cell["source"])).body if "open_page(" not in ast.unparse(node)]
        last = lines.pop() if lines and isinstance(lines[-1], ast.Expr) else None
        exec(compile(ast.Module(lines, []), notebook.name, "exec"), values)  # noqa: S102  our own notebooks
        if last is not None:
            last_line = compile(ast.Expression(last.value), notebook.name, "eval")
            shown.append(eval(last_line, values))  # noqa: S307  our own notebooks
    return shown


@pytest.fixture(scope="module", params=list(MADE))
def told(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Truth, list[Any], list[Any]]]:
    """The truth of an engagement, every sentence that its pages say (key, fields, text), and all that they show."""
    made = MADE[request.param]
    folder = made.write(tmp_path_factory.mktemp("every") / "e")
    page = open_page(str(folder), month=made.scope)
    sentences: list[Any] = []
    with pytest.MonkeyPatch.context() as patch:
        plain = words.said

        def said(key: str, lang: str, fields: Mapping[str, object]) -> str:
            text = plain(key, lang, fields)
            sentences.append((key, {name: str(value) for name, value in fields.items()}, text))
            return text

        patch.setattr(words, "said", said)
        shown = [one for notebook in PAGES for one in displayed(page, notebook)]
        head_lines.shown(page)
    page.__dict__["told"] = [
        (key, fields) for key, fields, _ in {text: one for one in sentences for text in [one[2]]}.values()
    ]
    return Truth(folder, made, page), sentences, shown


def test_every_sentence_with_a_figure_says_what_the_files_say(told: tuple[Truth, list[Any], list[Any]]) -> None:
    truth, sentences, _ = told
    texts_said = {text for _, _, text in sentences if text}
    wrong: list[Any] = []
    assert len(texts_said) > 60
    for key, fields, text in sentences:
        section, _, name = key.partition(".")
        named = {field: value for field, value in fields.items() if f"{{{field}}}" in texts()[section][name][0]}
        figures = {field: value for field, value in named.items() if re.search(r"\d", value)}
        if PLAIN.match(key) or not figures:
            continue
        loose = {
            field
            for field, value in figures.items()
            if any(part in value for part in texts_said - {text} if re.search(r"\d", part))
        }
        if key not in CHECKS:
            wrong += [] if set(figures) <= loose else [(key, text, "nothing here checks it")]
            continue
        wanted = CHECKS[key](truth)
        right = [
            one
            for one in wanted
            if all(one.get(field, value if field in loose else None) == value for field, value in figures.items())
        ]
        wrong += [] if right else [(key, text, wanted)]
    assert not wrong


def test_no_stop_is_said_to_be_taken_off_where_there_is_none(told: tuple[Truth, list[Any], list[Any]]) -> None:
    truth, sentences, shown = told
    assert truth.page.whole.stops.is_empty()
    assert not [text for key, _, text in sentences if "扣除停机" in text and not key.startswith("head.")]
    assert not [one for one in truth.findings["evidence"] if "扣除停机" in one]
    assert not [one for one in shown if hasattr(one, "data") and "扣除停机" in str(one.data)]


def test_every_chart_holds_what_the_files_say(told: tuple[Truth, list[Any], list[Any]]) -> None:
    truth, _, shown = told
    own = truth.both.filter("own")
    sums: dict[frozenset[str], list[dict[str, Any]]] = {}
    for one in shown:
        if hasattr(one, "to_dict") and hasattr(one, "to_json"):
            for rows in one.to_dict().get("datasets", {}).values():
                if rows:
                    sums.setdefault(frozenset(rows[0]), []).append(rows)
    outcomes = next(rows for names, (rows, *_) in sums.items() if {"side", "outcome", "rows", "rows_share"} <= names)
    assert sum(row["rows"] for row in outcomes) == own.height + truth.platform.filter("own").height
    cells = next((rows for names, (rows, *_) in sums.items() if {"day", "hour", "issued", "missing"} <= names), [])
    recent = own.filter(pl.col("issued").dt.date() > own["issued"].max().date() - timedelta(days=LAST_DAYS))
    gone = recent.filter(~pl.col("seen")).height
    assert sum(row["missing"] or 0 for row in cells) == gone
    causes = [rows for names, many in sums.items() if {"cause", "severity", "day", "rows"} <= names for rows in many]
    assert truth.gone.height in {sum(row["rows"] or 0 for row in rows) for rows in causes}
    named = {row["channel"] for names, many in sums.items() if "channel" in names for rows in many for row in rows}
    assert named - {"全部", "其他", None} <= set(CHANNELS.values())
    slow = next((rows for names, (rows, *_) in sums.items() if {"hour", "issued", "late"} <= names), [])
    assert bool(slow) == truth.made.arrival
    if slow:
        judged, missed = truth.level(recent)
        assert round(sum(row["issued"] or 0 for row in slow)) == judged
        assert round(sum(row["late"] or 0 for row in slow)) == missed


def test_every_table_of_figures_holds_what_the_files_say(told: tuple[Truth, list[Any], list[Any]]) -> None:
    truth, _, shown = told
    cells = [
        re.findall(r"<td[^>]*>(.*?)</td>", one.as_raw_html(), re.DOTALL) for one in shown if hasattr(one, "as_raw_html")
    ]
    (tie_cells,) = [rows for rows in cells if "平台缺失" in rows]
    own, listed = truth.ledger.filter("own"), truth.platform.filter("own")
    total = tie_cells[tie_cells.index("合计") :][:6]
    gap = own["gross"].sum() - listed["gross"].sum()
    assert total[1:5] == [
        count(own.height),
        f"{own['gross'].sum():,.2f}",
        count(listed.height),
        f"{listed['gross'].sum():,.2f}",
    ]
    assert total[5].replace("\u2212", "-").lstrip("+") == f"{gap:,.2f}"
    (by_month,) = [rows for rows in cells if any("本报告" in cell for cell in rows)]
    for month in truth.ledger["month"].unique():
        at = by_month.index(truth.say.month(month))
        sides = (
            truth.ledger.filter(month=month),
            truth.platform.filter(month=month),
            truth.both.filter(~pl.col("seen"), month=month),
        )
        wanted = [text for side in sides for text in (count(side.height), f"{side['gross'].sum() or 0:,.2f}")]
        assert by_month[at + 1 : at + 7] == wanted
    level_cells = [rows for rows in cells if any("99.00 %" in cell for cell in rows)]
    assert bool(level_cells) == truth.made.arrival
    if level_cells:
        rows, missed = truth.level(truth.both.filter("own"))
        at = level_cells[0].index(truth.say.month(truth.made.scope))
        assert level_cells[0][at + 1 : at + 3] == ["全部", count(rows)]
        assert level_cells[0][at + 6] == count(missed)
        for month in {month for month in truth.levels if month.startswith(truth.made.scope)}:
            at = level_cells[0].index(truth.say.month(month))
            assert level_cells[0][at + 2] == count(truth.levels[month][0])
            assert level_cells[0][at + 6] == count(truth.levels[month][1])
