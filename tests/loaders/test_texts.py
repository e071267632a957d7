"""No row of a text is lost, wherever its quotes and line ends stand: held against the standard library's reading."""

from __future__ import annotations

import csv
import io
import random
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import polars as pl
import pytest

from audit_kit.core.errors import SourceError
from audit_kit.loaders.formats import texts
from audit_kit.loaders.formats.texts import read_text
from audit_kit.loaders.tables import pipeline
from audit_kit.loaders.tables.pipeline import read

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from audit_kit.loaders.tables.body import Body
    from audit_kit.loaders.tables.canonical import Typed

HEAD = ["数电发票号码", "开票日期", "价税合计", "购方名称", "备注"]
SEPARATORS = (",", "\t", ";")
ENDS = ("\n", "\r\n", "\r")
PIECES = ("甲", "乙", "a", " ", "\x1f", "'", "12", "|", "0,5", "\t", ";")
IN_QUOTES = ('""', "\n", "\r\n", "\r", ",", "\n\n")
OPENED = "a quote that opens and never closes"
SIZES = {0: 100_000, 1: 10_000}
FILES = 300


class Written:
    """A text of invoices whose quotes and line ends stand anywhere, and the rows whose quote opens and never closes."""

    def __init__(self, seed: int, rows: int) -> None:
        self._chance = chance = random.Random(seed)
        self.separator = chance.choice(SEPARATORS)
        self.encoding = chance.choice(["utf-8", "utf-8", "utf-8-sig", "gb18030", "utf-16"])
        self.strays = chance.choice(["none", "in text", "opening"])
        ends = ENDS if chance.random() < 0.3 else [chance.choice(ENDS)]
        self._often = chance.choice([0.0, 0.001, 0.1, 0.9])
        self.opened: set[int] = set()
        self.sound = [self.separator.join(HEAD) + chance.choice(ends)]
        spoiled = list(self.sound)
        for row in range(2, rows + 2):
            fields = [f"25112{row * 2 + 1:015d}", "2025-05-03", f"{row}.50", self._word(), self._word()]
            end = chance.choice(ends)
            line = self.separator.join(fields)
            self.sound.append(line + end)
            if self.strays != "none" and chance.random() < 0.02:
                line = self._with_stray(fields, row)
            spoiled.append(line + end)
        self.text = "".join(spoiled)

    def _word(self) -> str:
        chance = self._chance
        word = "".join(chance.choices([*PIECES, self.separator], k=chance.randrange(6)))
        if chance.random() >= self._often:
            return "".join(letter for letter in word if letter != self.separator)
        return f'"乙{word}{"".join(chance.choices(IN_QUOTES, k=chance.randrange(4)))}"'

    def _with_stray(self, fields: list[str], row: int) -> str:
        """Put a quote into the fields of a row, none of which is quoted: text where it stands within a cell."""
        at = self._chance.randrange(3 if self.strays == "opening" else 5)
        fields = [field if '"' not in field else "丙" for field in fields]
        if self.strays == "opening":
            self.opened.add(row)
            fields[at] = f'"{fields[at]}'
        else:
            fields[at] = f'x{fields[at]}"{self._chance.choice(["", "甲", chr(34)])}'
        return self.separator.join(fields)

    def records(self, text: str) -> list[list[str | None]]:
        """The standard library's reading, every row as wide as the header."""
        return [
            [field or None for field in record] + [None] * (len(HEAD) - len(record))
            for record in csv.reader(io.StringIO(text, newline=""), delimiter=self.separator)
        ]


def held_against_csv(seed: int, rows: int, path: Path) -> None:
    written = Written(seed, rows)
    path.write_bytes(written.text.encode(written.encoding))
    cells = [[cell or None for cell in row] for row in read_text(path).cells.rows()]
    sound = written.records("".join(written.sound))
    expected = sound if written.opened else written.records(written.text)
    assert len(cells) == len(expected) == rows + 1
    wrong = [row for row, (ours, theirs) in enumerate(zip(cells, expected, strict=True), 1) if ours[:5] != theirs]
    assert set(wrong) <= written.opened
    reading = read(path, table="ledger")
    kept, aside = reading.rows, reading.set_aside
    assert sorted([*kept["source_row"], *aside["source_row"]]) == list(range(2, rows + 2))
    assert written.opened == set(aside.filter(pl.col("reason").str.contains(OPENED))["source_row"])
    if written.strays != "in text":
        assert written.opened == set(aside["source_row"])
        assert kept["digital_number"].to_list() == [sound[row - 1][0] for row in kept["source_row"]]


@pytest.mark.slow
@pytest.mark.parametrize("part", range(10))
def test_every_row_of_a_text_is_kept_or_set_aside_as_the_standard_library_reads_it(part: int, tmp_path: Path) -> None:
    for seed in range(part, FILES, 10):
        held_against_csv(seed, SIZES.get(seed, 60 + seed % 30), tmp_path / "ledger.csv")


def _ledger(path: Path, *, remark: str) -> Path:
    rows = [[f"25112{row * 2 + 1:015d}", "2025-05-03", "1.00", "甲", remark] for row in range(200)]
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([HEAD, *rows])
    return path


def test_a_file_whose_count_is_not_what_was_read_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = _ledger(tmp_path / "ledger.csv", remark="甲\n乙")
    assert read(path, table="ledger").rows.height == 200
    whole = texts._records

    def every_second(*arguments: Any) -> Iterator[tuple[list[str], bool]]:
        return (record for at, record in enumerate(whole(*arguments)) if at < 60 or at % 2)

    monkeypatch.setattr(texts, "_records", every_second)
    with pytest.raises(SourceError, match=r"^ledger.csv: 201 rows are counted in it but 130 were read"):
        read(path, table="ledger")


def test_a_row_that_is_lost_after_the_reader_is_missed_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = _ledger(tmp_path / "ledger.csv", remark="甲")
    whole = pipeline.typed

    def lossy(body: Body) -> Typed:
        typed = whole(body)
        return replace(typed, rows=typed.rows.head(150), body=replace(body, data=body.data.head(150)))

    monkeypatch.setattr(pipeline, "typed", lossy)
    with pytest.raises(SourceError, match=r"^ledger.csv: 200 rows stand below its header but 150 were kept"):
        read(path, table="ledger")
